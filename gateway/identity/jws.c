#include "gateway/identity/jws.h"

#include <string.h>

#include "base/text.h"

/* 9999-12-31, so that a time in milliseconds never overflows. */
static const json_int_t seconds_max = 253402300799;

void jws_done(struct jws *jws) {
    json_decref(jws->header);
    json_decref(jws->payload);
    *jws = (struct jws){0};
}

static enum error_code decode_object(struct bytes part, size_t bytes_max, const char *what,
                                     const char *which, json_t **ret_object, struct error *err) {
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, bytes_max);
    if (!text_unbase64url(part, &raw) || raw.failed)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: its %s is not base64url of at most %zu bytes", what, which,
                         bytes_max);
    json_t *object = json_loadb((const char *)raw.data, raw.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: its %s is not a JSON object", what,
                         which);
    }
    *ret_object = object;
    return ERROR_NONE;
}

static enum error_code check_header(json_t *header, const char *typ, const char *what,
                                    struct error *err) {
    static const char *const allowed[] = {"alg", "typ", "kid", "jwk"};
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        bool known = false;
        for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
            known = known || strcmp(name, allowed[i]) == 0;
        if (!known)
            return error_set(err, ERROR_UNAUTHENTICATED,
                             "%s: its header has a member that is not allowed, expected alg, typ, "
                             "kid and jwk only",
                             what);
    }
    const char *alg = json_string_value(json_object_get(header, "alg"));
    if (alg == NULL || strcmp(alg, "ES256") != 0)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: signed by an algorithm that is not allowed, expected ES256", what);
    const char *found = json_string_value(json_object_get(header, "typ"));
    if (found == NULL || strcmp(found, typ) != 0)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: wrong typ in its header, expected %s",
                         what, typ);
    return ERROR_NONE;
}

/* The three parts between exactly two dots. */
static bool split(struct bytes text, struct bytes ret_part[3]) {
    size_t start = 0;
    int part = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != '.')
            continue;
        if (part == 3)
            return false;
        ret_part[part++] = bytes_of(text.data + start, i - start);
        start = i + 1;
    }
    return part == 3;
}

enum error_code jws_parse(struct bytes text, const char *typ, const char *what, struct jws *ret_jws,
                          struct error *err) {
    struct bytes part[3];
    if (text.len > JWS_BYTES_MAX)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: longer than %d bytes", what,
                         (int)JWS_BYTES_MAX);
    if (text.len == 0 || !split(text, part))
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: not three parts joined by dots", what);
    SCOPED_JWS struct jws jws = {0};
    TRY(decode_object(part[0], JWS_HEADER_BYTES_MAX, what, "header", &jws.header, err));
    TRY(check_header(jws.header, typ, what, err));
    TRY(decode_object(part[1], JWS_PAYLOAD_BYTES_MAX, what, "payload", &jws.payload, err));
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, IDENTITY_SIGNATURE_BYTES);
    if (!text_unbase64url(part[2], &raw) || raw.len != IDENTITY_SIGNATURE_BYTES)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: its signature is not %d bytes", what,
                         (int)IDENTITY_SIGNATURE_BYTES);
    memcpy(jws.signature, raw.data, sizeof jws.signature);
    jws.signing_input = bytes_of(text.data, part[0].len + 1 + part[1].len);
    *ret_jws = jws;
    jws = (struct jws){0};
    return ERROR_NONE;
}

bool jws_verify(const struct jws *jws, const struct identity_key *key) {
    return identity_key_verify(key, jws->signing_input, jws->signature);
}

enum error_code jws_sign(const struct identity_key *key, struct bytes header, struct bytes payload,
                         struct buffer *out, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, JWS_BYTES_MAX);
    text_base64url(header, &text);
    buffer_append_byte(&text, '.');
    text_base64url(payload, &text);
    TRY(buffer_check(&text, "JWS", err));
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    TRY(identity_key_sign(key, buffer_bytes(&text), signature, err));
    buffer_append_byte(&text, '.');
    text_base64url(bytes_of(signature, sizeof signature), &text);
    TRY(buffer_check(&text, "JWS", err));
    buffer_append(out, text.data, text.len);
    return buffer_check(out, "JWS", err);
}

enum error_code jws_claim_text(const struct jws *jws, const char *name, const char *what,
                               size_t bytes_max, const char **ret_text, struct error *err) {
    json_t *value = json_object_get(jws->payload, name);
    if (!json_is_string(value) || json_string_length(value) == 0 ||
        json_string_length(value) > bytes_max)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: the claim %s is missing or not a text of 1 to %zu bytes", what, name,
                         bytes_max);
    *ret_text = json_string_value(value);
    return ERROR_NONE;
}

enum error_code jws_claim_time(const struct jws *jws, const char *name, const char *what,
                               uint64_t *ret_ms, struct error *err) {
    json_t *value = json_object_get(jws->payload, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > seconds_max)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: the claim %s is missing or not a time in whole seconds", what, name);
    *ret_ms = (uint64_t)json_integer_value(value) * 1000;
    return ERROR_NONE;
}
