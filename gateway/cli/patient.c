/*
 * What a patient does: make a key, sign in, fetch the document. The key never leaves its file; what
 * is sent are signatures that are good for a minute.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/http.h"
#include "gateway/cli/output.h"
#include "gateway/identity/client.h"

enum {
    URL_BYTES_MAX = 2048,
    ANSWER_TIMEOUT_MS = 120000,
    SIGNED_BYTES_MAX = 16 << 10, /* one JWS */
};

/* --- keygen ------------------------------------------------------------------------------------- */

/* patient.pem -> patient.jwk */
static enum error_code public_path(const char *key_path, char ret_path[URL_BYTES_MAX],
                                   struct error *err) {
    size_t len = strlen(key_path);
    if (len > 4 && strcmp(key_path + len - 4, ".pem") == 0)
        len -= 4;
    if (len + 5 > URL_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes", URL_BYTES_MAX);
    snprintf(ret_path, URL_BYTES_MAX, "%.*s.jwk", (int)len, key_path);
    return ERROR_NONE;
}

static enum error_code run_keygen(const struct cli_call *call, struct error *err) {
    const char *path = cli_value_or(call, "out", "patient.pem");
    char jwk_path[URL_BYTES_MAX];
    TRY(public_path(path, jwk_path, err));
    TRY(identity_key_create(path, err));
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    TRY(identity_key_load(path, &key, err));
    SCOPED_BUFFER struct buffer jwk;
    buffer_init(&jwk, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &jwk);
    buffer_append_byte(&jwk, '\n');
    TRY(buffer_check(&jwk, jwk_path, err));
    TRY(file_create(jwk_path, buffer_bytes(&jwk), 0644, err));
    struct hash thumbprint = identity_key_thumbprint(key);
    char name[IDENTITY_THUMBPRINT_TEXT_BYTES];
    identity_thumbprint_text(&thumbprint, name);
    if (call->json) {
        SCOPED_JSON json_t *made =
            json_pack("{s:s, s:s, s:s}", "key", path, "public", jwk_path, "thumbprint", name);
        output_json(made);
    } else {
        printf("%s: the private key. Keep it, and a copy of it; nobody can make it again.\n"
               "%s: the public key %s, for the hospital to enrol.\n",
               path, jwk_path, name);
    }
    return ERROR_NONE;
}

static const struct cli_option keygen_options[] = {
    {"out", "FILE", "the private key's file (default: patient.pem)", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_keygen = {"keygen", "Be a patient", "", 0, 0,
                                       "make the key that opens one's records",
                                       "renkei keygen --out patient.pem", keygen_options,
                                       run_keygen};

/* --- sign-in ------------------------------------------------------------------------------------ */

/* Everything that one request of a patient carries. */
struct pass {
    char gateway[URL_BYTES_MAX]; /* https://host:port */
    char url[URL_BYTES_MAX];     /* without its query, which is what is signed */
    struct buffer authorization; /* whole header lines, with their NUL */
    struct buffer proof;
    struct buffer forward;
};

static void pass_init(struct pass *pass) {
    *pass = (struct pass){0};
    buffer_init(&pass->authorization, SIGNED_BYTES_MAX);
    buffer_init(&pass->proof, SIGNED_BYTES_MAX);
    buffer_init(&pass->forward, SIGNED_BYTES_MAX);
}

static void pass_done(struct pass *pass) {
    buffer_done(&pass->authorization);
    buffer_done(&pass->proof);
    buffer_done(&pass->forward);
}

static enum error_code split_url(const char *url, struct pass *pass, struct error *err) {
    static const char scheme[] = "https://";
    size_t len = strlen(url);
    size_t start = sizeof scheme - 1;
    bool good = len < URL_BYTES_MAX && strncmp(url, scheme, start) == 0;
    size_t host_end = good ? start + strcspn(url + start, "/?#") : start;
    if (host_end == start)
        return error_set(err, ERROR_USAGE, "url: found '%.200s', expected https://host:port/...",
                         url);
    memcpy(pass->gateway, url, host_end);
    pass->gateway[host_end] = '\0';
    size_t signed_end = strcspn(url, "?#");
    memcpy(pass->url, url, signed_end);
    pass->url[signed_end] = '\0';
    return ERROR_NONE;
}

static enum error_code get_json(const char *method, const char *gateway, const char *path,
                                const char *ca, json_t **ret_answer, struct error *err) {
    char url[URL_BYTES_MAX + 64];
    snprintf(url, sizeof url, "%s%s", gateway, path);
    struct http_request request = {
        .method = method, .url = url, .ca = ca, .timeout_ms = ANSWER_TIMEOUT_MS};
    return http_json(request, NULL, ret_answer, err);
}

/* nonce -> assertion -> token */
static enum error_code get_token(const struct identity_key *key, const char *gateway,
                                 const char *ca, json_t **ret_token, struct error *err) {
    SCOPED_JSON json_t *nonce = NULL;
    TRY(get_json("POST", gateway, "/v1/nonce", ca, &nonce, err));
    char url[URL_BYTES_MAX + 64];
    snprintf(url, sizeof url, "%s/v1/token", gateway);
    SCOPED_BUFFER struct buffer body;
    SCOPED_BUFFER struct buffer proof;
    buffer_init(&body, SIGNED_BYTES_MAX);
    buffer_init(&proof, SIGNED_BYTES_MAX);
    buffer_append_text(&body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
                              "&assertion=");
    TRY(identity_client_assertion(key, url, cli_json_text(nonce, "nonce"), clock_wall_ms(), &body,
                                  err));
    buffer_append_text(&proof, "DPoP: ");
    TRY(identity_client_dpop(key, "POST", url, NULL, clock_wall_ms(), &proof, err));
    buffer_append_byte(&proof, '\0');
    TRY(buffer_check(&body, "sign-in", err));
    TRY(buffer_check(&proof, "sign-in", err));
    struct http_request request = {.method = "POST",
                                   .url = url,
                                   .ca = ca,
                                   .headers = {(const char *)proof.data, NULL},
                                   .content_type = "application/x-www-form-urlencoded",
                                   .body = buffer_bytes(&body),
                                   .timeout_ms = ANSWER_TIMEOUT_MS};
    return http_json(request, NULL, ret_token, err);
}

/* The patient's own words for the other hospitals, if there are any. */
static enum error_code sign_forward(const struct identity_key *key, struct pass *pass,
                                    const char *ca, struct error *err) {
    SCOPED_JSON json_t *known = NULL;
    TRY(get_json("GET", pass->gateway, "/v1/hospitals", ca, &known, err));
    const json_t *others = json_object_get(known, "hospitals");
    const char *names[IDENTITY_FORWARD_HOSPITALS_MAX];
    size_t count = 0;
    size_t i;
    json_t *name;
    json_array_foreach(others, i, name)
        if (json_is_string(name) && count < IDENTITY_FORWARD_HOSPITALS_MAX)
            names[count++] = json_string_value(name);
    if (count == 0)
        return ERROR_NONE;
    buffer_append_text(&pass->forward, "Renkei-Forward: ");
    TRY(identity_client_forward(key, names, count, cli_json_text(known, "hospital"),
                                clock_wall_ms(), &pass->forward, err));
    buffer_append_byte(&pass->forward, '\0');
    return buffer_check(&pass->forward, "forward request", err);
}

static enum error_code sign_request(const char *key_path, const char *method, const char *url,
                                    const char *ca, struct pass *pass, struct error *err) {
    TRY(split_url(url, pass, err));
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    TRY(identity_key_load(key_path, &key, err));
    SCOPED_JSON json_t *token = NULL;
    TRY(get_token(key, pass->gateway, ca, &token, err));
    const char *access = cli_json_text(token, "access_token");
    if (*access == '\0')
        return error_set(err, ERROR_PROTOCOL, "%s/v1/token: the answer has no access_token",
                         pass->gateway);
    buffer_append_format(&pass->authorization, "Authorization: DPoP %s", access);
    buffer_append_byte(&pass->authorization, '\0');
    buffer_append_text(&pass->proof, "DPoP: ");
    TRY(identity_client_dpop(key, method, pass->url, access, clock_wall_ms(), &pass->proof, err));
    buffer_append_byte(&pass->proof, '\0');
    TRY(buffer_check(&pass->authorization, "sign-in", err));
    TRY(buffer_check(&pass->proof, "sign-in", err));
    return sign_forward(key, pass, ca, err);
}

/* --- document ----------------------------------------------------------------------------------- */

/* The whole path: where --gateway is, with the view or the record that is asked for. */
static enum error_code document_url(const struct cli_call *call, char ret_url[URL_BYTES_MAX],
                                    struct error *err) {
    const char *gateway = cli_value(call, "gateway");
    const char *view = cli_value_or(call, "view", "verified");
    if (strcmp(view, "verified") != 0 && strcmp(view, "plain") != 0)
        return error_set(err, ERROR_USAGE, "view: found '%s', expected verified or plain", view);
    size_t len = strlen(gateway);
    while (len > 0 && gateway[len - 1] == '/')
        len--;
    if (len + 64 > URL_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "url longer than %d bytes", URL_BYTES_MAX);
    snprintf(ret_url, URL_BYTES_MAX, "%.*s/v1/me/document?view=%s", (int)len, gateway, view);
    return ERROR_NONE;
}

static enum error_code fetch(const struct cli_call *call, const char *url, struct pass *pass,
                             struct error *err) {
    const char *ca = cli_value(call, "ca");
    TRY(sign_request(cli_value(call, "key"), "GET", url, ca, pass, err));
    struct http_request request = {
        .method = "GET",
        .url = url,
        .ca = ca,
        .headers = {(const char *)pass->authorization.data, (const char *)pass->proof.data,
                    (const char *)pass->forward.data, NULL},
        .timeout_ms = ANSWER_TIMEOUT_MS};
    SCOPED_BUFFER struct buffer document;
    buffer_init(&document, HTTP_ANSWER_BYTES_MAX);
    TRY(http_send(&request, &document, err));
    output_json_text(buffer_bytes(&document));
    return ERROR_NONE;
}

static enum error_code run_document(const struct cli_call *call, struct error *err) {
    char url[URL_BYTES_MAX];
    TRY(document_url(call, url, err));
    struct pass pass;
    pass_init(&pass);
    enum error_code code = fetch(call, url, &pass, err);
    pass_done(&pass);
    return code;
}

static const struct cli_option document_options[] = {
    {"key", "FILE", "the patient's private key", true, false},
    {"gateway", "URL", "any hospital's gateway", true, false},
    {"ca", "FILE", "the certificate that is trusted (default: the system's)", false, false},
    {"view", "VIEW", "verified (default) or plain", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_document = {
    "document", "Be a patient", "", 0, 0, "all records of every hospital, each with its verdict",
    "renkei document --key patient.pem --gateway https://127.0.0.1:8443 --ca tls/gateway.crt",
    document_options, run_document};

/* --- sign --------------------------------------------------------------------------------------- */

static void print_setting(const char *name, const char *value) {
    printf("%s = \"", name);
    for (; *value != '\0'; value++)
        printf(*value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    printf("\"\n");
}

static enum error_code run_sign(const struct cli_call *call, struct error *err) {
    const char *method = call->arguments[0];
    const char *url = call->arguments[1];
    const char *ca = cli_value(call, "ca");
    struct pass pass;
    pass_init(&pass);
    enum error_code code = sign_request(cli_value(call, "key"), method, url, ca, &pass, err);
    if (code == ERROR_NONE) {
        print_setting("url", url);
        print_setting("request", method);
        if (ca != NULL)
            print_setting("cacert", ca);
        print_setting("header", (const char *)pass.authorization.data);
        print_setting("header", (const char *)pass.proof.data);
        if (pass.forward.data != NULL)
            print_setting("header", (const char *)pass.forward.data);
    }
    pass_done(&pass);
    return code;
}

static const struct cli_option sign_options[] = {
    {"key", "FILE", "the patient's private key", true, false},
    {"ca", "FILE", "the certificate that is trusted (default: the system's)", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_sign = {
    "sign", "Be a patient", "METHOD URL", 2, 2,
    "sign in and print one signed request, as curl's configuration",
    "renkei sign GET https://127.0.0.1:8443/v1/me/document --key patient.pem | curl --config -",
    sign_options, run_sign};
