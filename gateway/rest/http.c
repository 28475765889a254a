#include "gateway/rest/http.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/text.h"
#include "gateway/rest/emit.h"

const char *rest__listener_name(enum rest_listener listener) {
    switch (listener) {
    case REST_PUBLIC:
        return "public";
    case REST_MACHINE:
        return "machine";
    case REST_ADMIN:
        return "admin";
    }
    return "";
}

const char *rest__header_name(enum rest_header header) {
    static const char *const names[HEADER_COUNT] = {
        [HEADER_AUTHORIZATION] = "Authorization",
        [HEADER_DPOP] = "DPoP",
        [HEADER_FORWARD] = "Renkei-Forward",
        [HEADER_CONTENT_TYPE] = "Content-Type",
        [HEADER_ACCEPT] = "Accept",
        [HEADER_ACCEPT_LANGUAGE] = "Accept-Language",
        [HEADER_ACCEPT_ENCODING] = "Accept-Encoding",
        [HEADER_IF_NONE_MATCH] = "If-None-Match",
    };
    return names[header];
}

const char *rest__query(const struct rest_request *request, const char *name) {
    for (size_t i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

enum error_code rest__query_only(const struct rest_request *request, const char *const *names,
                                 struct error *err) {
    for (size_t i = 0; i < request->query_count; i++) {
        bool known = false;
        for (const char *const *name = names; *name != NULL; name++)
            known = known || strcmp(request->query[i].name, *name) == 0;
        if (!known)
            return error_set(err, ERROR_BAD_REQUEST,
                             "the query: a parameter that this resource does not have");
        for (size_t k = 0; k < i; k++)
            if (strcmp(request->query[i].name, request->query[k].name) == 0)
                return error_set(err, ERROR_BAD_REQUEST, "the query: a parameter stands twice");
    }
    return ERROR_NONE;
}

enum error_code rest__query_number(const struct rest_request *request, const char *name,
                                   uint64_t absent, uint64_t min, uint64_t max, uint64_t *ret_value,
                                   struct error *err) {
    const char *text = rest__query(request, name);
    uint64_t value = absent;
    if (text != NULL && (!text_u64(text, &value) || value < min || value > max))
        return error_set(err, ERROR_BAD_REQUEST, "the query: %s must be a number from %llu to %llu",
                         name, (unsigned long long)min, (unsigned long long)max);
    *ret_value = value;
    return ERROR_NONE;
}

void rest__header(struct rest_request *request, struct rest_answer *answer, const char *name,
                  const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return;
    bool good = answer->extra_count < REST_EXTRA_HEADERS_MAX;
    for (const char *at = text; *at != '\0'; at++)
        good = good && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7F;
    char *value = good ? arena_text(request->arena, text) : NULL;
    free(text);
    if (value == NULL)
        return;
    answer->extra[answer->extra_count].name = name;
    answer->extra[answer->extra_count].value = value;
    answer->extra_count++;
}

bool rest__accepts(const char *header, const char *token) {
    size_t len = strlen(token);
    for (const char *at = header; at != NULL && *at != '\0';) {
        at += strspn(at, " \t,");
        size_t word = strcspn(at, " \t,;");
        size_t item = strcspn(at, ",");
        bool refused = false; /* q=0, q=0.0, ... */
        for (const char *q = at + word; q + 1 < at + item; q++)
            if (q[0] == 'q' && q[1] == '=')
                refused = q[2] == '0' && strspn(q + 2, "0.") >= strcspn(q + 2, " \t,;");
        if (word == len && strncasecmp(at, token, len) == 0)
            return !refused;
        at += item;
    }
    return false;
}

bool rest__wants_japanese(const char *accept_language) {
    if (accept_language == NULL)
        return false;
    const char *at = accept_language + strspn(accept_language, " \t");
    return strncasecmp(at, "ja", 2) == 0 && !isalpha((unsigned char)at[2]);
}

/* Errors whose message may speak of this machine's files. */
static bool is_internal(enum error_code code) {
    return code == ERROR_INTERNAL || code == ERROR_IO || code == ERROR_DISK_FULL ||
           code == ERROR_CORRUPT || code == ERROR_CONFIG || code == ERROR_CRYPTO ||
           code == ERROR_NO_MEMORY || code == ERROR_PLUGIN || code == ERROR_LOCKED;
}

void rest__emit_error(struct buffer *out, const char *name, enum error_code code,
                      const char *detail, const char *hint) {
    const struct error_info *info = error_info(code);
    emit_object(out, name);
    emit_text(out, "code", info->name);
    emit_text(out, "title", info->title_en);
    if (detail != NULL && detail[0] != '\0')
        emit_text(out, "detail", detail);
    emit_text(out, "hint", hint != NULL && hint[0] != '\0' ? hint : info->hint);
    emit_object_end(out);
}

void rest__problem(struct rest_request *request, struct rest_answer *answer,
                   const struct error *err) {
    const struct error_info *info = error_info(err->code);
    bool hidden = request->listener != REST_ADMIN && is_internal(err->code);
    bool japanese = rest__wants_japanese(request->header[HEADER_ACCEPT_LANGUAGE]);
    buffer_clear(&answer->body);
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    buffer_append_format(out, "\"type\":\"urn:renkei:error:%s\"", info->name);
    emit_text(out, "title", japanese ? info->title_ja : info->title_en);
    emit_u64(out, "status", (uint64_t)info->http_status);
    emit_text(out, "code", info->name);
    if (!hidden && err->message[0] != '\0')
        emit_text(out, "detail", err->message);
    emit_text(out, "hint", hidden ? info->hint : error_hint_text(err));
    buffer_append_format(out, ",\"instance\":\"urn:uuid:%s\"", request->id);
    emit_object_end(out);
    buffer_append_byte(out, '\n');
    answer->status = (unsigned)info->http_status;
    answer->content_type = "application/problem+json";
    answer->cacheable = false;
    answer->extra_count = 0;
    if (japanese)
        rest__header(request, answer, "Content-Language", "ja");
    if (info->http_status == 401)
        rest__header(request, answer, "WWW-Authenticate", "DPoP algs=\"ES256\"");
    if (info->http_status == 503 || info->http_status == 429)
        rest__header(request, answer, "Retry-After", "%d", info->http_status == 429 ? 60 : 5);
}

bool rest__gzip(struct buffer *body) {
    if (body->len < REST_GZIP_BYTES_MIN)
        return false;
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return false;
    struct buffer packed;
    buffer_init(&packed, body->bytes_max);
    size_t room = deflateBound(&stream, body->len);
    uint8_t *at = buffer_reserve(&packed, room);
    bool good = false;
    if (at != NULL) {
        stream.next_in = body->data;
        stream.avail_in = (uInt)body->len;
        stream.next_out = at;
        stream.avail_out = (uInt)room;
        good = deflate(&stream, Z_FINISH) == Z_STREAM_END;
        packed.len = room - stream.avail_out;
    }
    deflateEnd(&stream);
    if (!good) {
        buffer_done(&packed);
        return false;
    }
    buffer_done(body);
    *body = packed;
    return true;
}
