/* Negotiation, and what a problem document tells whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/rest/http.h"

static void accept_headers(void **state) {
    (void)state;
    static const struct {
        const char *header, *token;
        bool accepts;
    } cases[] = {
        {NULL, "gzip", false},
        {"", "gzip", false},
        {"gzip", "gzip", true},
        {"br, GZIP;q=0.5", "gzip", true},
        {"gzip;q=0", "gzip", false},
        {"gzip;q=0.000, br", "gzip", false},
        {"gzip;q=0.001", "gzip", true},
        {"xgzip, gzipx", "gzip", false},
        {"text/html, application/x-ndjson", "application/x-ndjson", true},
        {",,,", "gzip", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(rest__accepts(cases[i].header, cases[i].token), cases[i].accepts);
    assert_true(rest__wants_japanese("ja"));
    assert_true(rest__wants_japanese("ja-JP,en"));
    assert_true(rest__wants_japanese(" JA;q=0.9"));
    assert_false(rest__wants_japanese("en, ja"));
    assert_false(rest__wants_japanese("jav"));
    assert_false(rest__wants_japanese(NULL));
}

static void problem_text(enum rest_listener listener, enum error_code code, char *ret, size_t n) {
    struct rest_request request = {.listener = listener, .id = "the-id"};
    SCOPED_ARENA struct arena *arena = arena_new(65536);
    request.arena = arena;
    struct rest_answer answer = {0};
    buffer_init(&answer.body, 65536);
    struct error err = {0};
    error_set(&err, code, "cannot open /var/lib/renkei/x");
    rest__problem(&request, &answer, &err);
    assert_true(answer.body.len < n);
    memcpy(ret, answer.body.data, answer.body.len);
    ret[answer.body.len] = '\0';
    assert_int_equal(answer.status, error_info(code)->http_status);
    buffer_done(&answer.body);
}

static void a_stranger_does_not_read_of_this_machines_files(void **state) {
    (void)state;
    char text[2048];
    problem_text(REST_PUBLIC, ERROR_IO, text, sizeof text);
    assert_null(strstr(text, "/var/lib"));
    assert_string_equal(text,
                        "{\"type\":\"urn:renkei:error:io\",\"title\":\"reading or writing failed\","
                        "\"status\":500,\"code\":\"io\","
                        "\"hint\":\"check the path, its rights and the disk\","
                        "\"instance\":\"urn:uuid:the-id\"}\n");
    problem_text(REST_ADMIN, ERROR_IO, text, sizeof text);
    assert_non_null(strstr(text, "/var/lib"));
    problem_text(REST_PUBLIC, ERROR_BAD_REQUEST, text, sizeof text);
    assert_non_null(strstr(text, "\"detail\":\"cannot open"));
}

static void a_header_with_a_line_break_is_left_out(void **state) {
    (void)state;
    SCOPED_ARENA struct arena *arena = arena_new(65536);
    struct rest_request request = {.arena = arena};
    struct rest_answer answer = {0};
    rest__header(&request, &answer, "A", "%s", "x\r\nSet-Cookie: y");
    rest__header(&request, &answer, "A", "%s", "\xff");
    assert_int_equal(answer.extra_count, 0);
    for (int i = 0; i < REST_EXTRA_HEADERS_MAX + 3; i++)
        rest__header(&request, &answer, "A", "%d", i);
    assert_int_equal(answer.extra_count, REST_EXTRA_HEADERS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_headers),
        cmocka_unit_test(a_stranger_does_not_read_of_this_machines_files),
        cmocka_unit_test(a_header_with_a_line_break_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
