/* The document's two views, from sections as hospitals give them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/rest/document.h"
#include "gateway/rest/scan.h"

#define SECTION(hospital, status, errors, records)                                                 \
    "{\"hospital\":\"" hospital "\",\"status\":\"" status "\",\"errors\":[" errors                 \
    "],\"records\":[" records "]}"
#define RECORD(address, verdict, more)                                                             \
    "{\"address\":\"" address "\",\"verdict\":\"" verdict "\"" more "}"
#define FIELDS(personal, fields) ",\"personal\":[" personal "],\"fields\":{" fields "}"

struct given {
    const char *hospital;
    const char *section; /* NULL: unreachable */
};

static void check_plain(const struct given *given, size_t count, const char *expected) {
    SCOPED_ARENA struct arena *arena = arena_new(16 << 20);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    struct document_part parts[8] = {{0}};
    for (size_t i = 0; i < count; i++) {
        parts[i].hospital = given[i].hospital;
        parts[i].status = "unreachable";
        if (given[i].section != NULL)
            assert_int_equal(
                document_part_read(bytes_text(given[i].section), arena, &parts[i], NULL),
                ERROR_NONE);
    }
    assert_int_equal(document_plain(parts, count, arena, &out, NULL), ERROR_NONE);
    buffer_append_byte(&out, 0);
    assert_string_equal((char *)out.data, expected);
    buffer_clear(&out);
    assert_int_equal(document_verified("west", 0, parts, count, arena, &out, NULL), ERROR_NONE);
    assert_true(scan_valid(buffer_bytes(&out)));
}

static void records_stand_by_date_and_values_as_they_are(void **state) {
    (void)state;
    static const struct given given[] = {
        {"west",
         SECTION(
             "west", "complete", "",
             RECORD("renkei://west/m/v/3", "match", FIELDS("", "\"n\":\"no date\"")) "," RECORD(
                 "renkei://west/m/v/2", "match",
                 ",\"date\":\"2011/03/24\"" FIELDS("",
                                                   "\"Allergy\":false,\"dose\":0.10,\"ok\":true,"
                                                   "\"x\":null")) "," RECORD("renkei://west/m/v/1",
                                                                             "match",
                                                                             ",\"date\":\"2010/08/"
                                                                             "06\"" FIELDS(
                                                                                 "",
                                                                                 "\"n\":1e21")))}};
    check_plain(given, 1,
                "[{},{\"n\":1e21},"
                "{\"Allergy\":\"False\",\"dose\":0.10,\"ok\":\"True\",\"x\":null},"
                "{\"n\":\"no date\"}]\n");
}

static void personal_information_is_merged_and_a_difference_is_kept(void **state) {
    (void)state;
    static const struct given given[] = {
        {"west", SECTION("west", "complete", "",
                         RECORD("renkei://west/m/p/1", "match",
                                FIELDS("\"name\",\"tel\",\"age\"",
                                       "\"age\":50,\"name\":\"A\",\"tel\":null")))},
        {"east",
         SECTION(
             "east", "complete", "",
             RECORD(
                 "renkei://east/m/p/1", "match",
                 FIELDS(
                     "\"name\",\"tel\",\"age\"",
                     "\"age\":50,\"name\":\"B\",\"tel\":\"1\"")) "," RECORD("renkei://east/m/p/2",
                                                                            "match",
                                                                            FIELDS("\"name\"",
                                                                                   "\"name\":"
                                                                                   "\"\"")))}};
    check_plain(given, 2,
                "[{\"age\":50,\"name\":\"A\",\"name@renkei://east/m/p/1\":\"B\",\"tel\":\"1\"}]\n");
}

static void what_does_not_match_says_so(void **state) {
    (void)state;
    static const struct given given[] = {
        {"west",
         SECTION("west", "complete", "",
                 RECORD("renkei://west/m/v/1", "mismatch", FIELDS("", "\"A\":\"x\"")) "," RECORD(
                     "renkei://west/m/v/2", "missing",
                     "") "," RECORD("renkei://west/m/p/1", "unanchored",
                                    FIELDS("\"name\"", "\"name\":\"A\"")))}};
    check_plain(given, 1,
                "[{\"name\":\"A\"},"
                "{\"@address\":\"renkei://west/m/v/1\",\"@verdict\":\"mismatch\",\"A\":\"x\"},"
                "{\"@address\":\"renkei://west/m/v/2\",\"@verdict\":\"missing\"},"
                "{\"@address\":\"renkei://west/m/p/1\",\"@verdict\":\"unanchored\"}]\n");
}

static void who_could_not_be_asked_is_named(void **state) {
    (void)state;
    static const struct given given[] = {
        {"west",
         SECTION("west", "partial",
                 "{\"source\":\"s\",\"table\":\"t\",\"error\":{\"code\":\"source-login\"}}", "")},
        {"east", NULL},
        {"north", SECTION("north", "truncated", "", "")}};
    check_plain(given, 3,
                "[{},{\"@hospital\":\"west\",\"@source\":\"s\",\"@status\":\"source-login\","
                "\"@table\":\"t\"},{\"@hospital\":\"east\",\"@status\":\"unreachable\"},"
                "{\"@hospital\":\"north\",\"@status\":\"truncated\"}]\n");
}

static void names_sort_by_utf16_and_cannot_pass_for_the_views_own(void **state) {
    (void)state;
    static const struct given given[] = {
        {"west", SECTION("west", "complete", "",
                         RECORD("renkei://west/m/v/1", "match",
                                FIELDS("", "\"\xef\xbf\xa5\":1,\"\xf0\x9f\x98\x80\":2,"
                                           "\"@verdict\":\"match\",\"b\":3,\"B\":4")))}};
    check_plain(given, 1,
                "[{},{\"@@verdict\":\"match\",\"B\":4,\"b\":3,\"\xf0\x9f\x98\x80\":2,"
                "\"\xef\xbf\xa5\":1}]\n");
}

static void a_section_that_is_not_sound_is_refused(void **state) {
    (void)state;
    static const char *const sections[] = {
        "",
        "{}",
        "[]",
        "null",
        "x",
        SECTION("west", "complete", "", ""), /* another hospital's */
        SECTION("east", "fine", "", ""),
        "{\"hospital\":\"east\",\"status\":\"complete\",\"records\":[]}",
        "{\"hospital\":\"east\",\"status\":\"complete\",\"errors\":[],\"records\":{}}",
        SECTION("east", "complete", "", "1"),
        SECTION("east", "complete", "", "{\"address\":\"renkei://east/m/v/1\"}"), /* no verdict */
        SECTION("east", "complete", "", RECORD("renkei://east/m/v/1", "good", "")),
        SECTION("east", "complete", "", RECORD("renkei://west/m/v/1", "missing", "")),
        SECTION("east", "complete", "", RECORD("renkei://easter/m/v/1", "missing", "")),
        SECTION("east", "complete", "", RECORD("renkei://east/m/v/1", "match", ",\"fields\":1")),
        SECTION("east", "complete", "", RECORD("renkei://east/m/v/1", "match", ",\"fields\":{}")),
        SECTION("east", "complete", "", RECORD("renkei://east/m/v/1", "match", ",\"date\":1")),
        "{\"hospital\":\"east\",\"status\":\"complete\",\"errors\":[],\"records\":[]",
    };
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        SCOPED_ARENA struct arena *arena = arena_new(1 << 20);
        struct document_part part = {.hospital = "east", .status = "refused"};
        struct error err = {0};
        assert_int_equal(document_part_read(bytes_text(sections[i]), arena, &part, &err),
                         ERROR_PROTOCOL);
        assert_int_equal(part.section.len, 0);
        assert_string_equal(part.status, "refused");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_stand_by_date_and_values_as_they_are),
        cmocka_unit_test(personal_information_is_merged_and_a_difference_is_kept),
        cmocka_unit_test(what_does_not_match_says_so),
        cmocka_unit_test(who_could_not_be_asked_is_named),
        cmocka_unit_test(names_sort_by_utf16_and_cannot_pass_for_the_views_own),
        cmocka_unit_test(a_section_that_is_not_sound_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
