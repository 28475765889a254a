#include "gateway/identity/client.h"

#include <stdlib.h>

#include "base/random.h"
#include "base/text.h"
#include "gateway/identity/jws.h"
#include "gateway/identity/limits.h"

/* Signs and gives back the objects' memory, also on failure. NULL payload: out of memory. */
static enum error_code sign_objects(const struct identity_key *key, json_t *header, json_t *payload,
                                    struct buffer *out, struct error *err) {
    char *header_text = json_dumps(header, JSON_COMPACT);
    char *payload_text = json_dumps(payload, JSON_COMPACT);
    enum error_code code;
    if (header_text == NULL || payload_text == NULL)
        code = error_set(err, ERROR_NO_MEMORY, "no memory for a signed request");
    else
        code = jws_sign(key, bytes_text(header_text), bytes_text(payload_text), out, err);
    free(header_text);
    free(payload_text);
    json_decref(header);
    json_decref(payload);
    return code;
}

static json_t *thumbprint_json(const struct identity_key *key) {
    char text[IDENTITY_THUMBPRINT_TEXT_BYTES];
    struct hash thumbprint = identity_key_thumbprint(key);
    identity_thumbprint_text(&thumbprint, text);
    return json_string(text);
}

static json_t *fresh_jti(void) {
    char uuid[RANDOM_UUID_BYTES];
    random_uuid(uuid);
    return json_string(uuid);
}

static json_int_t seconds(uint64_t wall_ms) {
    return (json_int_t)(wall_ms / 1000);
}

enum error_code identity_client_assertion(const struct identity_key *key, const char *token_url,
                                          const char *nonce, uint64_t wall_ms, struct buffer *out,
                                          struct error *err) {
    json_t *header = json_pack("{s:s, s:s}", "alg", "ES256", "typ", "JWT");
    json_t *payload =
        json_pack("{s:o, s:o, s:s, s:s, s:o, s:I, s:I}", "iss", thumbprint_json(key), "sub",
                  thumbprint_json(key), "aud", token_url, "nonce", nonce, "jti", fresh_jti(), "iat",
                  seconds(wall_ms), "exp", seconds(wall_ms) + 60);
    return sign_objects(key, header, payload, out, err);
}

/* RFC 9449 section 4.1: ath is the base64url of the token's SHA-256. */
static json_t *token_hash(const char *token) {
    struct hash hash = sha256_of(bytes_text(token));
    char text[IDENTITY_THUMBPRINT_TEXT_BYTES];
    identity_thumbprint_text(&hash, text);
    return json_string(text);
}

enum error_code identity_client_dpop(const struct identity_key *key, const char *method,
                                     const char *url, const char *token, uint64_t wall_ms,
                                     struct buffer *out, struct error *err) {
    SCOPED_BUFFER struct buffer jwk;
    buffer_init(&jwk, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &jwk);
    TRY(buffer_check(&jwk, "JWK", err));
    json_t *jwk_object = json_loadb((const char *)jwk.data, jwk.len, 0, NULL);
    json_t *header =
        json_pack("{s:s, s:s, s:o}", "alg", "ES256", "typ", "dpop+jwt", "jwk", jwk_object);
    json_t *payload = json_pack("{s:o, s:s, s:s, s:I}", "jti", fresh_jti(), "htm", method, "htu",
                                url, "iat", seconds(wall_ms));
    if (token != NULL && payload != NULL &&
        json_object_set_new(payload, "ath", token_hash(token)) != 0) {
        json_decref(payload);
        payload = NULL;
    }
    return sign_objects(key, header, payload, out, err);
}

enum error_code identity_client_forward(const struct identity_key *key,
                                        const char *const *hospitals, size_t hospital_count,
                                        const char *reader, uint64_t wall_ms, struct buffer *out,
                                        struct error *err) {
    if (hospital_count == 0 || hospital_count > IDENTITY_FORWARD_HOSPITALS_MAX)
        return error_set(err, ERROR_USAGE, "a request can be forwarded to 1 to %d hospitals",
                         (int)IDENTITY_FORWARD_HOSPITALS_MAX);
    json_t *audience = json_array();
    for (size_t i = 0; i < hospital_count; i++)
        json_array_append_new(audience, json_string(hospitals[i]));
    json_t *header = json_pack("{s:s, s:s}", "alg", "ES256", "typ", IDENTITY_FORWARD_TYP);
    json_t *payload =
        json_pack("{s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:I, s:I}", "iss", thumbprint_json(key),
                  "sub", thumbprint_json(key), "aud", audience, "htm", "GET", "resource",
                  IDENTITY_FORWARD_RESOURCE, "reader", reader, "jti", fresh_jti(), "iat",
                  seconds(wall_ms), "exp", seconds(wall_ms) + IDENTITY_FORWARD_LIFE_MS_MAX / 1000);
    return sign_objects(key, header, payload, out, err);
}
