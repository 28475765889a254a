/* Texts that come from outside: hexadecimal, base64url, UTF-8, numbers; and errors that are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/text.h"

static void base64url_follows_rfc_4648(void **state) {
    (void)state;
    /* RFC 4648 section 10, without padding; the last row has both characters that differ. */
    const struct {
        struct bytes plain;
        const char *encoded;
    } rows[] = {
        {BYTES_LITERAL(""), ""},           {BYTES_LITERAL("f"), "Zg"},
        {BYTES_LITERAL("fo"), "Zm8"},      {BYTES_LITERAL("foo"), "Zm9v"},
        {BYTES_LITERAL("foob"), "Zm9vYg"}, {BYTES_LITERAL("fooba"), "Zm9vYmE"},
        {BYTES_LITERAL("foobar"), "Zm9vYmFy"}, {BYTES_LITERAL("\xFB\xFF"), "-_8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SCOPED_BUFFER struct buffer out;
        buffer_init(&out, 100);
        text_base64url(rows[i].plain, &out);
        assert_true(bytes_equal(buffer_bytes(&out), bytes_text(rows[i].encoded)));
        buffer_clear(&out);
        assert_true(text_unbase64url(bytes_text(rows[i].encoded), &out));
        assert_true(bytes_equal(buffer_bytes(&out), rows[i].plain));
    }
    SCOPED_BUFFER struct buffer padded;
    buffer_init(&padded, 100);
    text_base64(BYTES_LITERAL("foob"), &padded);
    assert_true(bytes_equal(buffer_bytes(&padded), BYTES_LITERAL("Zm9vYg==")));
}

static void base64url_refuses_what_has_a_second_form(void **state) {
    (void)state;
    static const char *const bad[] = {"Z", "Zg==", "Zh", "Zm9", "Zm 8", "Zm8\n", "Zm+v", "Zm/v"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        SCOPED_BUFFER struct buffer out;
        buffer_init(&out, 100);
        assert_false(text_unbase64url(bytes_text(bad[i]), &out));
        assert_int_equal(out.len, 0);
    }
}

static void hexadecimal_needs_exactly_its_length(void **state) {
    (void)state;
    uint8_t data[2] = {7, 7};
    assert_true(text_unhex("0aFf", 2, data));
    assert_int_equal(data[0], 0x0A);
    assert_int_equal(data[1], 0xFF);
    assert_false(text_unhex("0aF", 2, data));
    assert_false(text_unhex("0aFf0", 2, data));
    assert_false(text_unhex("0aFg", 2, data));
    char text[5];
    text_hex(data, 2, text);
    assert_string_equal(text, "0aff");
}

static void utf8_accepts_exactly_the_well_formed_table(void **state) {
    (void)state;
    const struct {
        struct bytes text;
        bool valid;
    } rows[] = {
        {BYTES_LITERAL("plain"), true},
        {BYTES_LITERAL("\xE9\xAB\x99"), true},      /* 髙 */
        {BYTES_LITERAL("\xF0\x9F\x8F\xA5"), true},  /* a hospital */
        {BYTES_LITERAL("\xF4\x8F\xBF\xBF"), true},  /* U+10FFFF */
        {BYTES_LITERAL("\xF4\x90\x80\x80"), false}, /* past it */
        {BYTES_LITERAL("\xC0\x80"), false},         /* overlong NUL */
        {BYTES_LITERAL("\xE0\x9F\xBF"), false},     /* overlong */
        {BYTES_LITERAL("\xED\xA0\x80"), false},     /* surrogate */
        {BYTES_LITERAL("\xE9\xAB"), false},         /* cut */
        {BYTES_LITERAL("\x80"), false},
        {BYTES_LITERAL("a\x83\x5C"), false}, /* Shift_JIS */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(text_utf8_valid(rows[i].text), rows[i].valid);
}

static void a_cut_text_ends_with_a_whole_character(void **state) {
    (void)state;
    const char *text = "a\xE9\xAB\x99z"; /* a髙z */
    static const size_t expected[] = {0, 1, 1, 1, 4, 5};
    for (size_t len = 0; len <= 5; len++)
        assert_int_equal(text_utf8_whole(text, len), expected[len]);
}

static void numbers_refuse_signs_blanks_and_overflow(void **state) {
    (void)state;
    uint64_t value = 5;
    assert_true(text_u64("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "18446744073709551616", "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_u64(bad[i], &value));
    assert_true(value == UINT64_MAX);
}

static void distance_finds_the_near_name(void **state) {
    (void)state;
    assert_int_equal(text_distance("pasword_file", "password_file", 3), 1);
    assert_int_equal(text_distance("kitten", "sitting", 5), 3);
    assert_int_equal(text_distance("key", "category", 2), 3);
}

static void an_error_keeps_its_first_words_and_its_hint(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, ERROR_SOURCE_TABLE, "table %s", "visits"), ERROR_SOURCE_TABLE);
    assert_string_equal(error_hint_text(&err), "run 'renkei discover' to list the tables");
    error_hint(&err, "did you mean 'visit'?");
    assert_string_equal(error_hint_text(&err), "did you mean 'visit'?");
    assert_int_equal(error_wrap(&err, ERROR_SOURCE_TABLE, "source %s", "main"),
                     ERROR_SOURCE_TABLE);
    assert_string_equal(err.message, "source main: table visits");

    char wide[2 * ERROR_MESSAGE_BYTES_MAX];
    for (size_t i = 0; i + 3 < sizeof wide; i += 3)
        memcpy(wide + i, "\xE9\xAB\x99", 4);
    error_set(&err, ERROR_TEXT, "x%s", wide);
    assert_true(text_utf8_valid(bytes_text(err.message)));
    error_wrap(&err, ERROR_TEXT, "yy");
    assert_true(text_utf8_valid(bytes_text(err.message)));
    assert_int_equal(error_set(NULL, ERROR_IO, "nobody listens"), ERROR_IO);
}

static void the_error_table_is_whole(void **state) {
    (void)state;
    for (int i = 1; i < ERROR_COUNT; i++) {
        const struct error_info *info = error_info((enum error_code)i);
        assert_int_equal(error_code_from_name(info->name), i);
        assert_in_range(info->exit_status, 2, 125);
        assert_in_range(info->http_status, 400, 599);
        assert_true(text_utf8_valid(bytes_text(info->title_ja)) && info->title_ja[0] != '\0');
        assert_true(info->hint[0] != '\0');
        for (int j = 1; j < i; j++)
            assert_int_not_equal(error_info((enum error_code)j)->exit_status, info->exit_status);
    }
    assert_string_equal(error_info((enum error_code)9999)->name, "internal");
}

static void assert_hex(const uint8_t *data, size_t len, const char *expected) {
    char text[2 * HASH_BYTES + 1];
    text_hex(data, len, text);
    assert_string_equal(text, expected);
}

static void hashes_give_the_published_vectors(void **state) {
    (void)state;
    /* FIPS 180-2 appendix B.1; RFC 4231 case 2; RFC 5869 case 1 (its first 32 bytes). */
    struct hash h = sha256_of(BYTES_LITERAL("abc"));
    assert_hex(h.byte, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    h = hmac_sha256(BYTES_LITERAL("Jefe"), BYTES_LITERAL("what do ya want for nothing?"));
    assert_hex(h.byte, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t secret[22];
    memset(secret, 0x0B, sizeof secret);
    static const uint8_t salt[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint8_t info[] = {0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9};
    uint8_t key[32];
    hkdf_sha256(bytes_of(secret, 22), bytes_of(salt, 13), bytes_of(info, 10), key, 32);
    assert_hex(key, 32, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

static void times_are_written_as_rfc_3339(void **state) {
    (void)state;
    char text[CLOCK_RFC3339_BYTES];
    clock_rfc3339(UINT64_C(951782399007), text);
    assert_string_equal(text, "2000-02-28T23:59:59.007Z");
    clock_rfc3339(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void a_uuid_has_its_version_and_variant(void **state) {
    (void)state;
    char text[RANDOM_UUID_BYTES];
    random_uuid(text);
    assert_int_equal(strlen(text), 36);
    assert_int_equal(text[14], '4');
    assert_non_null(strchr("89ab", text[19]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_follows_rfc_4648),
        cmocka_unit_test(base64url_refuses_what_has_a_second_form),
        cmocka_unit_test(hexadecimal_needs_exactly_its_length),
        cmocka_unit_test(utf8_accepts_exactly_the_well_formed_table),
        cmocka_unit_test(a_cut_text_ends_with_a_whole_character),
        cmocka_unit_test(numbers_refuse_signs_blanks_and_overflow),
        cmocka_unit_test(distance_finds_the_near_name),
        cmocka_unit_test(an_error_keeps_its_first_words_and_its_hint),
        cmocka_unit_test(the_error_table_is_whole),
        cmocka_unit_test(hashes_give_the_published_vectors),
        cmocka_unit_test(times_are_written_as_rfc_3339),
        cmocka_unit_test(a_uuid_has_its_version_and_variant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
