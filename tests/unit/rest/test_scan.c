/* Writing JSON and walking over it without touching it; Jansson is the oracle for validity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/rest/emit.h"
#include "gateway/rest/scan.h"

static void validity_is_what_jansson_says(void **state) {
    (void)state;
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "\"\"",
                                        "0",
                                        "-0",
                                        "1e5",
                                        "1E+5",
                                        "1.5e-7",
                                        "true",
                                        "false",
                                        "null",
                                        " { \"a\" : [ 1 , 2 ] } ",
                                        "{\"a\":{\"b\":[{}]}}",
                                        "\"\\u00e9\\ud83d\\ude00\"",
                                        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                        "\"①㈱髙﨑～\"",
                                        "",
                                        " ",
                                        "{",
                                        "[",
                                        "}",
                                        "]",
                                        "{]",
                                        "[}",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "[1,]",
                                        "[,1]",
                                        "{a:1}",
                                        "{'a':1}",
                                        "{1:1}",
                                        "01",
                                        "1.",
                                        ".5",
                                        "+1",
                                        "1e",
                                        "-",
                                        "tru",
                                        "truee",
                                        "nul",
                                        "\"",
                                        "\"\\\"",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\u12g4\"",
                                        "\"a\nb\"",
                                        "1 2",
                                        "{} {}",
                                        "[1 2]",
                                        "\"\xff\"",
                                        "\"\xc3\"",
                                        "\"\xed\xa0\x80\"",
                                        "[1]x"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        json_t *json = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        if (scan_valid(bytes_text(texts[i])) != (json != NULL))
            fail_msg("%s", texts[i]);
        json_decref(json);
    }
}

static void nesting_has_a_maximum(void **state) {
    (void)state;
    char text[2 * SCAN_DEPTH_MAX + 8];
    for (int depth = SCAN_DEPTH_MAX; depth <= SCAN_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(scan_valid(bytes_of(text, 2 * (size_t)depth)), depth == SCAN_DEPTH_MAX);
    }
}

static void members_are_given_as_they_stand(void **state) {
    (void)state;
    struct bytes json = BYTES_LITERAL(" {\"a\" : 0.10 ,\"b\\u0041\":[1, 2],\"c\":{\"a\":1e400}}");
    struct scan scan = scan_open(json);
    struct bytes name, value;
    assert_true(scan_next(&scan, &name, &value));
    assert_true(scan_is(name, "a") && bytes_equal(value, BYTES_LITERAL("0.10")));
    assert_true(scan_next(&scan, &name, &value));
    assert_true(bytes_equal(name, BYTES_LITERAL("\"b\\u0041\"")));
    assert_true(bytes_equal(value, BYTES_LITERAL("[1, 2]")));
    assert_true(scan_next(&scan, &name, &value));
    assert_true(bytes_equal(scan_find(value, "a"), BYTES_LITERAL("1e400")));
    assert_false(scan_next(&scan, &name, &value));
    assert_false(scan.failed);
    assert_int_equal(scan_find(json, "d").len, 0);
    assert_int_equal(scan_find(BYTES_LITERAL("[1]"), "d").len, 0);
    assert_int_equal(scan_find(bytes_of(NULL, 0), "d").len, 0);
}

static void what_is_no_json_ends_the_walk_with_a_failure(void **state) {
    (void)state;
    static const char *const texts[] = {"", "1", "[1", "[1 2]", "{\"a\" 1}", "{1:2}", "[1,", "[,"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct scan scan = scan_open(bytes_text(texts[i]));
        struct bytes name, value;
        while (scan_next(&scan, &name, &value)) {
        }
        assert_true(scan.failed);
    }
}

static void texts_are_decoded(void **state) {
    (void)state;
    static const struct {
        const char *raw, *text;
    } cases[] = {
        {"\"\"", ""},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t"},
        {"\"\\u00e9\\u2460\\ud83d\\ude00\"", "é①😀"},
        {"\"髙\"", "髙"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SCOPED_BUFFER struct buffer text;
        buffer_init(&text, 100);
        assert_true(scan_text(bytes_text(cases[i].raw), &text));
        assert_true(bytes_equal(buffer_bytes(&text), bytes_text(cases[i].text)));
    }
    static const char *const bad[] = {"",
                                      "\"",
                                      "a",
                                      "\"a\"b",
                                      "\"\\ud83d\"",
                                      "\"\\ude00\"",
                                      "\"\\ud83dx\"",
                                      "\"\\ud83d\\u0041\"",
                                      "\"\xff\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        SCOPED_BUFFER struct buffer text;
        buffer_init(&text, 100);
        assert_false(scan_text(bytes_text(bad[i]), &text));
    }
}

static void what_is_written_is_json_with_every_character(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 4096);
    char all[256];
    size_t len = 0;
    for (char c = 1; c > 0 && c < 127; c++)
        all[len++] = c;
    memcpy(all + len, "①㈱😀", sizeof "①㈱😀");
    emit_object(&out, NULL);
    emit_text(&out, "text", all);
    emit_u64(&out, "number", UINT64_MAX);
    emit_list(&out, "list");
    emit_bool(&out, NULL, true);
    emit_raw(&out, NULL, BYTES_LITERAL("0.1"));
    emit_object(&out, NULL);
    emit_object_end(&out);
    emit_list_end(&out);
    emit_time(&out, "time", 1700000000123);
    emit_hex(&out, "hex", BYTES_LITERAL("\x01\xff"));
    emit_object_end(&out);
    assert_true(scan_valid(buffer_bytes(&out)));
    json_t *json = json_loadb((char *)out.data, out.len, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "text")), all);
    assert_string_equal(json_string_value(json_object_get(json, "hex")), "01ff");
    assert_string_equal(json_string_value(json_object_get(json, "time")),
                        "2023-11-14T22:13:20.123Z");
    assert_int_equal(json_array_size(json_object_get(json, "list")), 3);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validity_is_what_jansson_says),
        cmocka_unit_test(nesting_has_a_maximum),
        cmocka_unit_test(members_are_given_as_they_stand),
        cmocka_unit_test(what_is_no_json_ends_the_walk_with_a_failure),
        cmocka_unit_test(texts_are_decoded),
        cmocka_unit_test(what_is_written_is_json_with_every_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
