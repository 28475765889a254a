/* What strangers sign: compact JWS and JWKs. The first byte chooses: a whole compact text, a JWK,
 * or header and payload in plain JSON (cut at the first line's end), which are encoded here so that
 * the mutator need not learn base64url. */
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "gateway/identity/jws.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_compact(struct bytes text) {
    static const char *const types[] = {"JWT", "dpop+jwt", "renkei-forward+jwt"};
    for (size_t i = 0; i < 3; i++) {
        SCOPED_JWS struct jws jws = {0};
        struct error err;
        if (jws_parse(text, types[i], "it", &jws, &err) != ERROR_NONE)
            continue;
        REQUIRE(json_is_object(jws.header) && json_is_object(jws.payload));
        REQUIRE(strcmp(json_string_value(json_object_get(jws.header, "alg")), "ES256") == 0);
        REQUIRE(json_object_get(jws.header, "crit") == NULL);
        REQUIRE(jws.signing_input.data == text.data && jws.signing_input.len < text.len);
        const char *claim = NULL;
        uint64_t time_ms = 0;
        if (jws_claim_text(&jws, "iss", "it", 64, &claim, &err) == ERROR_NONE)
            REQUIRE(claim != NULL && claim[0] != '\0' && strlen(claim) <= 64);
        if (jws_claim_time(&jws, "exp", "it", &time_ms, &err) == ERROR_NONE)
            REQUIRE(time_ms % 1000 == 0);
    }
}

static void try_jwk(struct bytes json) {
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL, *again = NULL;
    struct error err;
    if (identity_key_from_jwk(json, &key, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer minimal;
    buffer_init(&minimal, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &minimal);
    REQUIRE(identity_key_from_jwk(buffer_bytes(&minimal), &again, &err) == ERROR_NONE);
    struct hash a = identity_key_thumbprint(key), b = identity_key_thumbprint(again);
    REQUIRE(hash_equal(&a, &b));
}

static void try_plain(struct bytes text) {
    const uint8_t *line = text.len > 0 ? memchr(text.data, '\n', text.len) : NULL;
    if (line == NULL)
        return;
    size_t header_len = (size_t)(line - text.data);
    SCOPED_BUFFER struct buffer compact;
    buffer_init(&compact, 2 * JWS_BYTES_MAX);
    text_base64url(bytes_of(text.data, header_len), &compact);
    buffer_append_byte(&compact, '.');
    text_base64url(bytes_of(line + 1, text.len - header_len - 1), &compact);
    buffer_append_byte(&compact, '.');
    static const uint8_t signature[IDENTITY_SIGNATURE_BYTES] = {1};
    text_base64url(bytes_of(signature, sizeof signature), &compact);
    if (!compact.failed)
        try_compact(buffer_bytes(&compact));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (data[0] == 'c')
        try_compact(rest);
    else if (data[0] == 'k')
        try_jwk(rest);
    else
        try_plain(rest);
    return 0;
}
