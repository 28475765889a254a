/* Compact JWS: one that python3-jwcrypto signed is read, and everything unusual is refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "gateway/identity/jws.h"

static const char jwk[] =
    "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"SsV43ELr5DsMszbF2DXt5lcHV0jic_DL2H7P6nycqXY\","
    "\"y\":\"JLHr-Kt_YTBANNb0PTOWAJK6-7XW89HtGaEj1oTCdi0\"}";
static const char signed_text[] =
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9."
    "eyJpc3MiOiJhIiwiZXhwIjoxNzAwMDAwMDAwLCJ0ZXh0IjoiXHUwMGU5In0."
    "A4_h_GK1mQ_DnUz6oBymFYlX5PjAUwgKB_8AJnUlzBzbrIaTrSZdBqCm3J_TqqsroAYaYEDdJjDnWJ7FPyCkSw";
#define SIGNATURE                                                                                  \
    "A4_h_GK1mQ_DnUz6oBymFYlX5PjAUwgKB_8AJnUlzBzbrIaTrSZdBqCm3J_TqqsroAYaYEDdJjDnWJ7FPyCkSw"

static void a_jws_of_jwcrypto_is_read_and_verified(void **state) {
    (void)state;
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    assert_int_equal(identity_key_from_jwk(bytes_text(jwk), &key, NULL), ERROR_NONE);
    SCOPED_JWS struct jws jws = {0};
    assert_int_equal(jws_parse(bytes_text(signed_text), "JWT", "it", &jws, NULL), ERROR_NONE);
    assert_true(jws_verify(&jws, key));
    const char *text;
    uint64_t time_ms;
    assert_int_equal(jws_claim_text(&jws, "text", "it", 10, &text, NULL), ERROR_NONE);
    assert_string_equal(text, "é");
    assert_int_equal(jws_claim_time(&jws, "exp", "it", &time_ms, NULL), ERROR_NONE);
    assert_int_equal(time_ms, 1700000000000);
    jws.signature[63] ^= 1;
    assert_false(jws_verify(&jws, key));
}

/* Parses header.payload.signature made of plain JSON texts. */
static enum error_code parse_made(const char *header, const char *payload, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, 1 << 20);
    text_base64url(bytes_text(header), &text);
    buffer_append_text(&text, ".");
    text_base64url(bytes_text(payload), &text);
    buffer_append_text(&text, "." SIGNATURE);
    SCOPED_JWS struct jws jws = {0};
    return jws_parse(buffer_bytes(&text), "JWT", "it", &jws, err);
}

static void unusual_headers_are_refused(void **state) {
    (void)state;
    static const char members[] = "it: its header has a member that is not allowed, expected alg, "
                                  "typ, kid and jwk only";
    static const char algorithm[] =
        "it: signed by an algorithm that is not allowed, expected ES256";
    static const struct {
        const char *header, *message;
    } cases[] = {
        {"{\"alg\":\"none\",\"typ\":\"JWT\"}", algorithm},
        {"{\"alg\":\"NONE\",\"typ\":\"JWT\"}", algorithm},
        {"{\"alg\":\"HS256\",\"typ\":\"JWT\"}", algorithm},
        {"{\"alg\":\"es256\",\"typ\":\"JWT\"}", algorithm},
        {"{\"alg\":[\"ES256\"],\"typ\":\"JWT\"}", algorithm},
        {"{\"typ\":\"JWT\"}", algorithm},
        {"{\"alg\":\"ES256\"}", "it: wrong typ in its header, expected JWT"},
        {"{\"alg\":\"ES256\",\"typ\":\"dpop+jwt\"}", "it: wrong typ in its header, expected JWT"},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"crit\":[\"exp\"]}", members},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"zip\":\"DEF\"}", members},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"b64\":false}", members},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"jku\":\"https://x\"}", members},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"x5u\":\"https://x\"}", members},
        {"{\"alg\":\"ES256\",\"alg\":\"none\",\"typ\":\"JWT\"}",
         "it: its header is not a JSON object"},
        {"[]", "it: its header is not a JSON object"},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\"} x", "it: its header is not a JSON object"},
        {"", "it: its header is not a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        assert_int_equal(parse_made(cases[i].header, "{}", &err), ERROR_UNAUTHENTICATED);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void unusual_shapes_are_refused(void **state) {
    (void)state;
    static const char *const shapes[] = {
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.e30.", /* no signature */
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.e30.AAAA",
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9..",
        " eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.e30." SIGNATURE,
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9=.e30." SIGNATURE, /* padding */
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.e30." SIGNATURE "AAAA",
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.W10." SIGNATURE, /* the payload is [] */
        "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.e30." SIGNATURE "." SIGNATURE,
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        SCOPED_JWS struct jws jws = {0};
        assert_int_equal(jws_parse(bytes_text(shapes[i]), "JWT", "it", &jws, NULL),
                         ERROR_UNAUTHENTICATED);
        assert_null(jws.header);
    }
}

static void what_is_too_long_is_refused_before_it_is_decoded(void **state) {
    (void)state;
    char *payload = malloc(JWS_PAYLOAD_BYTES_MAX + 64);
    memset(payload, ' ', JWS_PAYLOAD_BYTES_MAX + 63);
    payload[JWS_PAYLOAD_BYTES_MAX + 63] = '\0';
    payload[0] = '{';
    payload[JWS_PAYLOAD_BYTES_MAX - 1] = '}';
    struct error err = {0};
    static const char header[] = "{\"alg\":\"ES256\",\"typ\":\"JWT\"}";
    assert_int_equal(parse_made(header, payload, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "it: its payload is not base64url of at most 4096 bytes");
    payload[JWS_PAYLOAD_BYTES_MAX] = '\0';
    assert_int_equal(parse_made(header, payload, &err), ERROR_NONE);
    free(payload);

    char *large = calloc(1, JWS_BYTES_MAX + 2);
    memset(large, 'A', JWS_BYTES_MAX + 1);
    SCOPED_JWS struct jws jws = {0};
    assert_int_equal(jws_parse(bytes_text(large), "JWT", "it", &jws, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "it: longer than 8192 bytes");
    free(large);
}

static void claims_of_another_type_are_refused(void **state) {
    (void)state;
    SCOPED_JWS struct jws jws = {0};
    jws.payload = json_loads("{\"a\":1,\"b\":\"\",\"c\":-1,\"d\":1.5,\"e\":\"1\","
                             "\"f\":99999999999999}",
                             0, NULL);
    const char *text = NULL;
    uint64_t time_ms = 7;
    for (const char *name = "abx"; *name != '\0'; name++) {
        char one[] = {*name, '\0'};
        assert_int_equal(jws_claim_text(&jws, one, "it", 10, &text, NULL), ERROR_UNAUTHENTICATED);
    }
    for (const char *name = "cdefx"; *name != '\0'; name++) {
        char one[] = {*name, '\0'};
        assert_int_equal(jws_claim_time(&jws, one, "it", &time_ms, NULL), ERROR_UNAUTHENTICATED);
    }
    assert_null(text);
    assert_int_equal(time_ms, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jws_of_jwcrypto_is_read_and_verified),
        cmocka_unit_test(unusual_headers_are_refused),
        cmocka_unit_test(unusual_shapes_are_refused),
        cmocka_unit_test(what_is_too_long_is_refused_before_it_is_decoded),
        cmocka_unit_test(claims_of_another_type_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
