/* P-256 keys: JWKs, thumbprints and signatures, against values that python3-jwcrypto made. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/identity/key.h"

#define X "SsV43ELr5DsMszbF2DXt5lcHV0jic_DL2H7P6nycqXY"
#define Y "JLHr-Kt_YTBANNb0PTOWAJK6-7XW89HtGaEj1oTCdi0"
static const char jwk[] = "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" X "\",\"y\":\"" Y "\"}";

static void the_thumbprint_is_jwcryptos(void **state) {
    (void)state;
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    assert_int_equal(identity_key_from_jwk(bytes_text(jwk), &key, NULL), ERROR_NONE);
    struct hash thumbprint = identity_key_thumbprint(key);
    char text[IDENTITY_THUMBPRINT_TEXT_BYTES];
    identity_thumbprint_text(&thumbprint, text);
    assert_string_equal(text, "yIy1EjMXfP-cY_O8jYgXXGEv7nUX0rgtOW7iJlU6lXA");
    struct hash again;
    assert_true(identity_thumbprint_parse(bytes_text(text), &again));
    assert_true(hash_equal(&again, &thumbprint));
}

static void the_jwk_is_given_back_in_the_minimal_form(void **state) {
    (void)state;
    static const char full[] = "{ \"kid\":\"1\", \"use\":\"sig\", \"y\":\"" Y
                               "\", \"kty\":\"EC\", \"x\":\"" X "\", \"crv\":\"P-256\" }";
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    assert_int_equal(identity_key_from_jwk(bytes_text(full), &key, NULL), ERROR_NONE);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1024);
    identity_key_jwk(key, &out);
    assert_true(bytes_equal(buffer_bytes(&out), bytes_text(jwk)));
}

static void bad_jwks_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"", "JWK: not a JSON object"},
        {"[]", "JWK: not a JSON object"},
        {"{\"kty\":\"EC\",\"kty\":\"EC\"}", "JWK: not a JSON object"},
        {"{}", "JWK: found another key type, expected kty EC with crv P-256"},
        {"{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}",
         "JWK: found another key type, expected kty EC with crv P-256"},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\"}",
         "JWK: found another key type, expected kty EC with crv P-256"},
        {"{\"kty\":1,\"crv\":\"P-256\"}",
         "JWK: found another key type, expected kty EC with crv P-256"},
        /* a private key: whoever sent it must make a new one */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\",\"d\":\"AQ\"}",
         "JWK: holds a private key; give the public part only"},
        /* padded, short, long and missing coordinates */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "=\",\"y\":\"" Y "\"}",
         "JWK: x and y must be 32 bytes each in base64url"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"" Y "\"}",
         "JWK: x and y must be 32 bytes each in base64url"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X X "\",\"y\":\"" Y "\"}",
         "JWK: x and y must be 32 bytes each in base64url"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\"}",
         "JWK: x and y must be 32 bytes each in base64url"},
        /* x and y exchanged: not on the curve */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" Y "\",\"y\":\"" X "\"}",
         "JWK: the point is not on the curve P-256"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         "JWK: the point is not on the curve P-256"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        struct identity_key *key = NULL;
        assert_int_equal(identity_key_from_jwk(bytes_text(cases[i].json), &key, &err),
                         ERROR_BAD_REQUEST);
        assert_null(key);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_key_is_made_once_kept_and_signs(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-key-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof path, "%s/sign.pem", folder);
    assert_int_equal(identity_key_create(path, NULL), ERROR_NONE);
    assert_int_equal(identity_key_create(path, NULL), ERROR_EXISTS);
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    assert_int_equal(identity_key_load(path, &key, NULL), ERROR_NONE);

    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    struct bytes data = BYTES_LITERAL("what is signed");
    SCOPED_BUFFER struct buffer public_jwk;
    buffer_init(&public_jwk, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &public_jwk);
    SCOPED_IDENTITY_KEY struct identity_key *public = NULL;
    assert_int_equal(identity_key_from_jwk(buffer_bytes(&public_jwk), &public, NULL), ERROR_NONE);
    /* Often enough that r or s has a leading zero byte at least once. */
    for (int i = 0; i < 600; i++) {
        assert_int_equal(identity_key_sign(key, data, signature, NULL), ERROR_NONE);
        assert_true(identity_key_verify(public, data, signature));
    }
    signature[5] ^= 1;
    assert_false(identity_key_verify(public, data, signature));
    memset(signature, 0, sizeof signature);
    assert_false(identity_key_verify(public, data, signature));
    memset(signature, 0xFF, sizeof signature);
    assert_false(identity_key_verify(public, data, signature));
    assert_int_equal(identity_key_sign(public, data, signature, NULL), ERROR_CRYPTO);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thumbprint_is_jwcryptos),
        cmocka_unit_test(the_jwk_is_given_back_in_the_minimal_form),
        cmocka_unit_test(bad_jwks_are_refused),
        cmocka_unit_test(a_key_is_made_once_kept_and_signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
