#include "gateway/cli/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

static size_t take(char *data, size_t size, size_t count, void *context) {
    struct buffer *body = context;
    buffer_append(body, data, size * count);
    return body->failed ? 0 : size * count;
}

/* A problem document's own code where it has one of ours; otherwise by the status. */
static enum error_code problem(const struct http_request *request, long status,
                               const struct buffer *body, struct error *err) {
    json_t *object = json_loadb((const char *)body->data, body->len, 0, NULL);
    const char *name = json_string_value(json_object_get(object, "code"));
    const char *detail = json_string_value(json_object_get(object, "detail"));
    const char *title = json_string_value(json_object_get(object, "title"));
    const char *hint = json_string_value(json_object_get(object, "hint"));
    enum error_code code = name != NULL ? error_code_from_name(name) : ERROR_NONE;
    if (code == ERROR_NONE)
        code = ERROR_PROTOCOL;
    if (detail != NULL || title != NULL)
        error_set(err, code, "%s", detail != NULL ? detail : title);
    else
        error_set(err, code, "%s: HTTP status %ld", request->url, status);
    if (hint != NULL)
        error_hint(err, "%s", hint);
    json_decref(object);
    return code;
}

/* system: the errno of the connection, 0 where there was none. */
static enum error_code failed(const struct http_request *request, CURLcode result,
                              const char *reason, long system, struct error *err) {
    const char *where = request->socket != NULL ? request->socket : request->url;
    const char *why = reason[0] != '\0' ? reason : curl_easy_strerror(result);
    /* libcurl speaks of a host and a port, and a socket has neither. */
    if (request->socket != NULL && system != 0)
        why = strerror((int)system);
    if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CONNECT_ERROR ||
        result == CURLE_SSL_CACERT_BADFILE)
        return error_set(err, ERROR_TLS, "%s: %s", where, why);
    if (result == CURLE_OPERATION_TIMEDOUT)
        return error_set(err, ERROR_TIMEOUT, "%s: no answer within %u ms", where,
                         request->timeout_ms);
    if (result == CURLE_WRITE_ERROR)
        return error_set(err, ERROR_LIMIT, "%s: an answer of more than %d bytes", where,
                         HTTP_ANSWER_BYTES_MAX);
    error_set(err, ERROR_GATEWAY_UNREACHABLE, "%s: %s", where, why);
    return ERROR_GATEWAY_UNREACHABLE;
}

static struct curl_slist *header_list(const struct http_request *request) {
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < HTTP_HEADERS_MAX && request->headers[i] != NULL; i++)
        list = curl_slist_append(list, request->headers[i]);
    if (request->content_type != NULL) {
        SCOPED_BUFFER struct buffer line;
        buffer_init(&line, 256);
        buffer_append_format(&line, "Content-Type: %s", request->content_type);
        buffer_append_byte(&line, '\0');
        if (!line.failed)
            list = curl_slist_append(list, (const char *)line.data);
    }
    return list;
}

enum error_code http_send(const struct http_request *request, struct buffer *ret_body,
                          struct error *err) {
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no HTTP client");
    struct curl_slist *headers = header_list(request);
    char reason[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, request->socket != NULL ? "http" : "https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret_body);
    if (request->socket != NULL)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request->socket);
    if (request->ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, request->ca);
    if (request->body.data != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, (const char *)request->body.data);
    }
    CURLcode result = curl_easy_perform(curl);
    long status = 0, system = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &system);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (result != CURLE_OK)
        return failed(request, result, reason, system, err);
    if (status < 200 || status > 299)
        return problem(request, status, ret_body, err);
    return ERROR_NONE;
}

enum error_code http_json(struct http_request request, const json_t *body, json_t **ret_answer,
                          struct error *err) {
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    if (text != NULL) {
        request.body = bytes_text(text);
        request.content_type = "application/json";
    }
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&answer, HTTP_ANSWER_BYTES_MAX);
    enum error_code code = http_send(&request, &answer, err);
    free(text);
    TRY(code);
    json_t *parsed = NULL;
    if (answer.len > 0) {
        json_error_t where;
        parsed = json_loadb((const char *)answer.data, answer.len, JSON_REJECT_DUPLICATES, &where);
        if (parsed == NULL)
            return error_set(err, ERROR_PROTOCOL, "%s: the answer is not JSON: line %d",
                             request.url, where.line);
    }
    *ret_answer = parsed != NULL ? parsed : json_null();
    return ERROR_NONE;
}
