/* Whether a column's bytes give away that they are in another charset than declared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "normalizer/evidence.h"

/* Four sentences of a chart, as Python's codecs write them: 経過良好、次回は来週の予定 ·
 * アスピリン錠を処方した · 頭痛がひどいとのこと · 血圧は正常です。安静にしてください */
enum { TEXTS = 4 };
static const char *const cp932_euc_utf8[3][TEXTS] = {
    {"\x8c\x6f\x89\xdf\x97\xc7\x8d\x44\x81\x41\x8e\x9f\x89\xf1\x82\xcd\x97\x88\x8f"
     "\x54\x82\xcc\x97\x5c\x92\xe8",
     "\x83\x41\x83\x58\x83\x73\x83\x8a\x83\x93\x8f\xf9\x82\xf0\x8f\x88\x95\xfb\x82\xb5\x82\xbd",
     "\x93\xaa\x92\xc9\x82\xaa\x82\xd0\x82\xc7\x82\xa2\x82\xc6\x82\xcc\x82\xb1\x82\xc6",
     "\x8c\x8c\x88\xb3\x82\xcd\x90\xb3\x8f\xed\x82\xc5\x82\xb7\x81\x42\x88\xc0\x90"
     "\xc3\x82\xc9\x82\xb5\x82\xc4\x82\xad\x82\xbe\x82\xb3\x82\xa2"},
    {"\xb7\xd0\xb2\xe1\xce\xc9\xb9\xa5\xa1\xa2\xbc\xa1\xb2\xf3\xa4\xcf\xcd\xe8\xbd"
     "\xb5\xa4\xce\xcd\xbd\xc4\xea",
     "\xa5\xa2\xa5\xb9\xa5\xd4\xa5\xea\xa5\xf3\xbe\xfb\xa4\xf2\xbd\xe8\xca\xfd\xa4\xb7\xa4\xbf",
     "\xc6\xac\xc4\xcb\xa4\xac\xa4\xd2\xa4\xc9\xa4\xa4\xa4\xc8\xa4\xce\xa4\xb3\xa4\xc8",
     "\xb7\xec\xb0\xb5\xa4\xcf\xc0\xb5\xbe\xef\xa4\xc7\xa4\xb9\xa1\xa3\xb0\xc2\xc0"
     "\xc5\xa4\xcb\xa4\xb7\xa4\xc6\xa4\xaf\xa4\xc0\xa4\xb5\xa4\xa4"},
    {"\xe7\xb5\x8c\xe9\x81\x8e\xe8\x89\xaf\xe5\xa5\xbd\xe3\x80\x81\xe6\xac\xa1\xe5"
     "\x9b\x9e\xe3\x81\xaf\xe6\x9d\xa5\xe9\x80\xb1\xe3\x81\xae\xe4\xba\x88\xe5\xae"
     "\x9a",
     "\xe3\x82\xa2\xe3\x82\xb9\xe3\x83\x94\xe3\x83\xaa\xe3\x83\xb3\xe9\x8c\xa0\xe3"
     "\x82\x92\xe5\x87\xa6\xe6\x96\xb9\xe3\x81\x97\xe3\x81\x9f",
     "\xe9\xa0\xad\xe7\x97\x9b\xe3\x81\x8c\xe3\x81\xb2\xe3\x81\xa9\xe3\x81\x84\xe3"
     "\x81\xa8\xe3\x81\xae\xe3\x81\x93\xe3\x81\xa8",
     "\xe8\xa1\x80\xe5\x9c\xa7\xe3\x81\xaf\xe6\xad\xa3\xe5\xb8\xb8\xe3\x81\xa7\xe3"
     "\x81\x99\xe3\x80\x82\xe5\xae\x89\xe9\x9d\x99\xe3\x81\xab\xe3\x81\x97\xe3\x81"
     "\xa6\xe3\x81\x8f\xe3\x81\xa0\xe3\x81\x95\xe3\x81\x84"},
};
static const char *const half_width[TEXTS] = {
    "\xb1\xbd\xcb\xdf\xd8\xdd",
    "\xd4\xcf\xc0\xde \xc0\xdb\xb3",
    "\xca\xc5\xba",
    "\xc0\xb9\xbc"};
static const char *const french[TEXTS] = {"pr\xe9lev\xe9", "t\xeate", "f\xe9vrier", "\xe0 jeun"};

static struct evidence_finding judge(enum renkei_charset declared, const char *const *texts,
                                     size_t count) {
    struct evidence *e = NULL;
    assert_int_equal(evidence_new(declared, &e, NULL), ERROR_NONE);
    evidence_add(e, bytes_text("plain ASCII says nothing"));
    for (size_t i = 0; i < count; i++)
        evidence_add(e, bytes_text(texts[i]));
    struct evidence_finding finding = evidence_judge(e);
    evidence_free(e);
    assert_int_equal(finding.values, count);
    return finding;
}

static void what_is_declared_rightly_raises_no_doubt(void **state) {
    (void)state;
    static const enum renkei_charset right[3] = {RENKEI_CHARSET_CP932, RENKEI_CHARSET_EUC_JP,
                                                 RENKEI_CHARSET_UTF8};
    for (size_t i = 0; i < 3; i++) {
        struct evidence_finding f = judge(right[i], cp932_euc_utf8[i], TEXTS);
        assert_int_equal(f.invalid, 0);
        assert_int_equal(f.looks_like, RENKEI_CHARSET_UNKNOWN);
    }
    assert_int_equal(judge(RENKEI_CHARSET_SJIS, cp932_euc_utf8[0], TEXTS).looks_like,
                     RENKEI_CHARSET_UNKNOWN);
    assert_int_equal(judge(RENKEI_CHARSET_CP932, half_width, TEXTS).looks_like,
                     RENKEI_CHARSET_UNKNOWN);
    assert_int_equal(judge(RENKEI_CHARSET_LATIN1, french, TEXTS).looks_like,
                     RENKEI_CHARSET_UNKNOWN);
}

static void every_wrong_declaration_of_japanese_text_is_found_out(void **state) {
    (void)state;
    static const enum renkei_charset real[3] = {RENKEI_CHARSET_CP932, RENKEI_CHARSET_EUC_JP,
                                                RENKEI_CHARSET_UTF8};
    static const enum renkei_charset declared[] = {
        RENKEI_CHARSET_ASCII,  RENKEI_CHARSET_UTF8,   RENKEI_CHARSET_CP932, RENKEI_CHARSET_SJIS,
        RENKEI_CHARSET_EUC_JP, RENKEI_CHARSET_LATIN1};
    for (size_t i = 0; i < 3; i++)
        for (size_t d = 0; d < sizeof declared / sizeof declared[0]; d++) {
            if (declared[d] == real[i] ||
                (declared[d] == RENKEI_CHARSET_SJIS && real[i] == RENKEI_CHARSET_CP932))
                continue;
            struct evidence_finding f = judge(declared[d], cp932_euc_utf8[i], TEXTS);
            if (f.looks_like != real[i])
                fail_msg("declared %d, is %d: taken for %d", declared[d], real[i], f.looks_like);
        }
}

static void few_values_that_are_valid_as_declared_are_no_evidence(void **state) {
    (void)state;
    assert_int_equal(judge(RENKEI_CHARSET_LATIN1, cp932_euc_utf8[0], 2).looks_like,
                     RENKEI_CHARSET_UNKNOWN);
    assert_int_equal(judge(RENKEI_CHARSET_LATIN1, cp932_euc_utf8[0], 3).looks_like,
                     RENKEI_CHARSET_CP932);
}

static void broken_text_is_counted_and_taken_for_nothing(void **state) {
    (void)state;
    static const char *const broken[] = {"\x83\x20", "\xff\xfe\x80", "\x8c\x6f"};
    struct evidence_finding f = judge(RENKEI_CHARSET_CP932, broken, 3);
    assert_int_equal(f.invalid, 2);
    assert_int_equal(f.looks_like, RENKEI_CHARSET_UNKNOWN);
}

static void charsets_of_which_bytes_tell_nothing_are_left_alone(void **state) {
    (void)state;
    struct evidence *e = NULL;
    assert_int_equal(evidence_new(RENKEI_CHARSET_UTF16LE, &e, NULL), ERROR_NONE);
    evidence_add(e, bytes_text(cp932_euc_utf8[0][0]));
    assert_int_equal(evidence_judge(e).values, 0);
    evidence_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_declared_rightly_raises_no_doubt),
        cmocka_unit_test(every_wrong_declaration_of_japanese_text_is_found_out),
        cmocka_unit_test(few_values_that_are_valid_as_declared_are_no_evidence),
        cmocka_unit_test(broken_text_is_counted_and_taken_for_nothing),
        cmocka_unit_test(charsets_of_which_bytes_tell_nothing_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
