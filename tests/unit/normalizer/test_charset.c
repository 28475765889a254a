/*
 * Charsets against ICU: every single byte and every pair, with and without the vector path, at
 * every alignment, at block boundaries, plain and escaped. ICU is asked here by its streaming
 * interface with a callback of the test's own, not the way the tables are filled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unicode/ucnv.h>
#include <unicode/ucnv_err.h>
#include <unicode/ustring.h>

#include "normalizer/charset.h"

enum { TEXT_MAX = 8 << 20 };

static void on_invalid(const void *context, UConverterToUnicodeArgs *args, const char *bytes,
                       int32_t length, UConverterCallbackReason reason, UErrorCode *status) {
    static const UChar replacement = 0xFFFD;
    (void)context;
    (void)bytes;
    (void)length;
    if (reason > UCNV_IRREGULAR)
        return;
    *status = U_ZERO_ERROR;
    ucnv_cbToUWriteUChars(args, &replacement, 1, 0, status);
}

static UConverter *open_icu(const char *name) {
    UErrorCode status = U_ZERO_ERROR;
    UConverter *converter = ucnv_open(name, &status);
    ucnv_setToUCallBack(converter, on_invalid, NULL, NULL, NULL, &status);
    assert_true(U_SUCCESS(status));
    return converter;
}

/* What the patch to ICU is: 1A, 1C and 7F are themselves (ICU turns them to 1C, 7F and 1A). */
static void unrotate(UChar *units, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        units[i] = units[i] == 0x1C   ? 0x1A
                   : units[i] == 0x7F ? 0x1C
                   : units[i] == 0x1A ? 0x7F
                                      : units[i];
}

static size_t icu_utf8(UConverter *converter, struct bytes raw, bool patch, char *ret_text,
                       size_t room) {
    static UChar units[TEXT_MAX / 4];
    UErrorCode status = U_ZERO_ERROR;
    int32_t len = 0;
    int32_t count = ucnv_toUChars(converter, units, TEXT_MAX / 4, (const char *)raw.data,
                                  (int32_t)raw.len, &status);
    if (patch)
        unrotate(units, count);
    u_strToUTF8(ret_text, (int32_t)room, &len, units, count, &status);
    assert_true(U_SUCCESS(status));
    return (size_t)len;
}

struct seen {
    unsigned count[5];
    uint32_t code;
    size_t offset;
};

static void see(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    struct seen *seen = context;
    if (seen->count[kind]++ == 0) {
        seen->code = code;
        seen->offset = offset;
    }
}

static struct charset *open_charset(enum renkei_charset id, const struct gaiji *gaiji) {
    struct charset *charset = NULL;
    struct error err = {0};
    if (charset_new(id, gaiji, &charset, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return charset;
}

static struct seen decode(struct charset *charset, struct bytes raw, bool escape,
                          struct buffer *out) {
    struct seen seen = {0};
    buffer_clear(out);
    charset_decode(charset, raw, escape, see, &seen, out);
    assert_false(out->failed);
    return seen;
}

static void assert_same(const struct buffer *found, const char *expected, size_t len,
                        unsigned what) {
    if (found->len != len || memcmp(found->data, expected, len) != 0)
        fail_msg("%04X: found '%.*s', expected '%.*s'", what, (int)found->len,
                 (const char *)found->data, (int)len, expected);
}

/* ICU's text of one sequence, patched, between dots; plain and as RFC 8785 escapes it. '.' is no
 * trail byte and no lead byte: what stands between two of them stands alone. */
enum { PADS = 18, SEQUENCE_TEXT = 16 };
struct sequence {
    uint8_t raw[2];
    size_t len;
    char text[SEQUENCE_TEXT], escaped[2 * SEQUENCE_TEXT];
    size_t text_len, escaped_len;
};

/* Numbers 0 to 255 are the single bytes, those after them the pairs. */
enum { SEQUENCES = 256 + 65536 };

static struct sequence sequence_of(UConverter *converter, unsigned number) {
    bool single = number < 256;
    unsigned pair = number - 256;
    struct sequence s = {.len = single ? 1 : 2};
    s.raw[0] = (uint8_t)(single ? number : pair >> 8);
    s.raw[1] = (uint8_t)pair;
    s.text_len = icu_utf8(converter, bytes_of(s.raw, s.len), true, s.text, sizeof s.text);
    for (size_t i = 0; i < s.text_len; i++) {
        static const char named[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
        char c = s.text[i];
        const char *found = c != '\0' ? strchr(named, c) : NULL;
        char *at = s.escaped + s.escaped_len;
        size_t room = sizeof s.escaped - s.escaped_len;
        if (found != NULL)
            s.escaped_len += (size_t)snprintf(at, room, "\\%c", letters[found - named]);
        else if ((unsigned char)c < 0x20)
            s.escaped_len += (size_t)snprintf(at, room, "\\u%04x", (unsigned)(unsigned char)c);
        else
            s.escaped[s.escaped_len++] = c;
    }
    return s;
}

/* The sequence after `before` dots and before `after` more, with and without the vector path, plain
 * and escaped. */
static void check_sequence(struct charset *charset, const struct sequence *s, uint8_t *room,
                           size_t before, size_t after, struct buffer *out) {
    size_t len = before + s->len + after;
    memcpy(room + before, s->raw, s->len);
    memset(room + before + s->len, '.', after);
    for (unsigned way = 0; way < 4; way++) {
        bool escape = (way & 1) != 0;
        const char *text = escape ? s->escaped : s->text;
        size_t text_len = escape ? s->escaped_len : s->text_len;
        charset_set_vector(charset, (way & 2) != 0);
        (void)decode(charset, bytes_of(room, len), escape, out);
        bool same = out->len == before + text_len + after &&
                    memcmp(out->data + before, text, text_len) == 0;
        for (size_t i = 0; same && i < before; i++)
            same = out->data[i] == '.';
        for (size_t i = 0; same && i < after; i++)
            same = out->data[before + text_len + i] == '.';
        if (!same)
            fail_msg("%02X%02X (%zu bytes) after %zu, before %zu, way %u: found '%.*s'", s->raw[0],
                     s->raw[1], s->len, before, after, way, (int)out->len,
                     (const char *)out->data);
    }
    memset(room + before, '.', s->len);
}

/* Also at the very end of the text: so every lead byte is met without its trail byte, and every
 * trail byte without its lead byte, wherever a text is split. */
static void every_pair_at_every_alignment_and_split_is_icu_and_the_patch(void **state) {
    (void)state;
    struct charset *charset = open_charset(RENKEI_CHARSET_CP932, NULL);
    UConverter *converter = open_icu("ibm-943_P15A-2003");
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    uint8_t room[2 * PADS + 2];
    memset(room, '.', sizeof room);
    for (unsigned number = 0; number < SEQUENCES; number++) {
        struct sequence s = sequence_of(converter, number);
        for (size_t before = 0; before < PADS; before++) {
            check_sequence(charset, &s, room, before, 0, &out);
            check_sequence(charset, &s, room, before, 1 + (before * 7 + number) % (PADS - 1), &out);
        }
    }
    ucnv_close(converter);
    charset_free(charset);
}

/* The decoder looks at its room once a block: every sequence lies across a block's end, and beside
 * it on both sides. */
static void every_pair_across_a_blocks_end_is_icu_and_the_patch(void **state) {
    (void)state;
    struct charset *charset = open_charset(RENKEI_CHARSET_CP932, NULL);
    UConverter *converter = open_icu("ibm-943_P15A-2003");
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    static uint8_t room[CHARSET_BLOCK_BYTES + 8];
    memset(room, '.', sizeof room);
    for (unsigned number = 0; number < SEQUENCES; number++) {
        struct sequence s = sequence_of(converter, number);
        size_t before = CHARSET_BLOCK_BYTES - 2 + number % 3;
        check_sequence(charset, &s, room, CHARSET_BLOCK_BYTES - 1, number % 2, &out);
        if (number % 16 == 0)
            check_sequence(charset, &s, room, before, 3, &out);
    }
    ucnv_close(converter);
    charset_free(charset);
}

/* All pairs in one text, moved against the blocks of the decoder byte by byte. */
static void pairs_are_whole_across_blocks(void **state) {
    (void)state;
    enum { MOVES = 19 };
    struct charset *charset = open_charset(RENKEI_CHARSET_CP932, NULL);
    UConverter *converter = open_icu("ibm-943_P15A-2003");
    uint8_t *text = malloc(MOVES + 3 * 65536);
    char *expected = malloc(TEXT_MAX);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, TEXT_MAX);
    memset(text, 'x', MOVES);
    for (unsigned pair = 0; pair < 65536; pair++) {
        text[MOVES + 3 * pair] = (uint8_t)(pair >> 8);
        text[MOVES + 3 * pair + 1] = (uint8_t)pair;
        text[MOVES + 3 * pair + 2] = pair % 5 == 0 ? 0x83 : '.'; /* also leads before leads */
    }
    for (size_t move = 0; move < MOVES; move++) {
        struct bytes raw = bytes_of(text + move, MOVES - move + 3 * 65536);
        size_t len = icu_utf8(converter, raw, true, expected, TEXT_MAX);
        charset_set_vector(charset, move % 2 == 0);
        decode(charset, raw, false, &out);
        assert_int_equal(out.len, len);
        assert_memory_equal(out.data, expected, len);
    }
    free(text);
    free(expected);
    ucnv_close(converter);
    charset_free(charset);
}

/* A text that ends where its memory ends: the sanitizer sees a byte too many. */
static void no_byte_beyond_the_text_is_read(void **state) {
    (void)state;
    static const enum renkei_charset ids[] = {RENKEI_CHARSET_CP932,       RENKEI_CHARSET_EUC_JP,
                                              RENKEI_CHARSET_UTF8,        RENKEI_CHARSET_LATIN1,
                                              RENKEI_CHARSET_ISO_2022_JP, RENKEI_CHARSET_UTF16LE};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct charset *charset = open_charset(ids[i], NULL);
        for (size_t len = 1; len < 40; len++) {
            for (unsigned last = 0; last < 256; last += 5) {
                uint8_t *exact = malloc(len);
                memset(exact, 'a', len);
                exact[len - 1] = (uint8_t)last;
                decode(charset, bytes_of(exact, len), true, &out);
                free(exact);
            }
        }
        decode(charset, bytes_of(NULL, 0), true, &out);
        assert_int_equal(out.len, 0);
        charset_free(charset);
    }
}

static void what_is_odd_is_reported_with_its_bytes(void **state) {
    (void)state;
    const struct {
        enum renkei_charset charset;
        struct bytes raw;
        const char *text;
        enum character_kind kind;
        unsigned count;
        uint32_t code;
        size_t offset;
    } rows[] = {
        /* a lead byte is bad, the ASCII byte after it stays */
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("a\x83 b"), "a\uFFFD b", CHARACTER_INVALID, 1, 0x83,
         1},
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("\x81\""), "\uFFFD\"", CHARACTER_INVALID, 1, 0x81, 0},
        /* a pair that nobody assigned is one character that is bad */
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("ab\x85\x40"), "ab\uFFFD", CHARACTER_INVALID, 1,
         0x8540, 2},
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("\x80\xA0\xFD\xFE\xFF"),
         "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD", CHARACTER_INVALID, 5, 0x80, 0},
        /* a text cut in the middle of a character */
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("x\x95"), "x\uFFFD", CHARACTER_INVALID, 1, 0x95, 1},
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("\xEE\xE0\xFB\xFC"), "髙髙", CHARACTER_NOT_ROUND_TRIP,
         1, 0xEEE0, 0},
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("\xF0\x40\xF9\xFC"), "\uE000\uE757", CHARACTER_GAIJI,
         2, 0xF040, 0},
        {RENKEI_CHARSET_CP932,
         BYTES_LITERAL("\x81\x60\x81\x7C\x81\x5C\x81\x61\x81\x91\x81\x92\x81\xCA"), "～－―∥￠￡￢",
         CHARACTER_WAVE_DASH, 7, 0x8160, 0},
        {RENKEI_CHARSET_CP932, BYTES_LITERAL("\x1A\x1C\x7F\\~"), "\x1A\x1C\x7F\\~",
         CHARACTER_INVALID, 0, 0, 0},
        {RENKEI_CHARSET_SJIS, BYTES_LITERAL("\x87\x40\xFA\xB1"), "①﨑", CHARACTER_INVALID, 0, 0, 0},
        {RENKEI_CHARSET_EUC_JP, BYTES_LITERAL("\xAD\xA1\xAD\xEA\x8F\xF4\xFB\x8F\xF4\xA8\x8E\xC0"),
         "①㈱髙Ⅹﾀ", CHARACTER_NOT_ROUND_TRIP, 1, 0x8FF4A8, 7},
        {RENKEI_CHARSET_EUC_JP, BYTES_LITERAL("\xF5\xA1\x8F\xFE\xFE"), "\uE000\uE757",
         CHARACTER_GAIJI, 2, 0xF5A1, 0},
        {RENKEI_CHARSET_EUC_JP, BYTES_LITERAL("\xA1\xC1"), "～", CHARACTER_WAVE_DASH, 1, 0xA1C1, 0},
        {RENKEI_CHARSET_EUC_JP, BYTES_LITERAL("\xB0\"\x8F\xA2x\x8E\xE0\x80"),
         "\uFFFD\"\uFFFD\uFFFDx\uFFFD\uFFFD\uFFFD", CHARACTER_INVALID, 6, 0xB0, 0},
        {RENKEI_CHARSET_UTF8, BYTES_LITERAL("髙\xED\xA0\x80x"), "髙\uFFFD\uFFFD\uFFFDx",
         CHARACTER_INVALID, 3, 0xED, 3},
        {RENKEI_CHARSET_UTF8, BYTES_LITERAL("\xC0\xAF\xF0\x9F\x98"), "\uFFFD\uFFFD\uFFFD",
         CHARACTER_INVALID, 3, 0xC0, 0},
        {RENKEI_CHARSET_UTF8, BYTES_LITERAL("😀\xEE\x80\x80\xEF\xA3\xBF\xEF\xA4\x80"),
         "😀\uE000\uF8FF\uF900", CHARACTER_GAIJI, 2, 0xE000, 4},
        {RENKEI_CHARSET_LATIN1, BYTES_LITERAL("caf\xE9 \x80"), "café €", CHARACTER_INVALID, 0, 0,
         0},
        {RENKEI_CHARSET_ASCII, BYTES_LITERAL("a\xE9"), "a\uFFFD", CHARACTER_INVALID, 1, 0xE9, 1},
        {RENKEI_CHARSET_ISO_2022_JP, BYTES_LITERAL("a\x1B$B4A;z\x1B(Bb"), "a漢字b",
         CHARACTER_INVALID, 0, 0, 0},
        {RENKEI_CHARSET_UTF16LE, BYTES_LITERAL("\x57\x5B\x3D\xD8\x00\xDE"), "字😀",
         CHARACTER_INVALID, 0, 0, 0},
        {RENKEI_CHARSET_UTF16BE, BYTES_LITERAL("\x5B\x57\xD8\x3D\x00\x41"), "字\uFFFDA",
         CHARACTER_INVALID, 1, 0xD83D, 2},
        {RENKEI_CHARSET_UTF16LE, BYTES_LITERAL("\x57\x5B\x3D"), "字\uFFFD", CHARACTER_INVALID, 1,
         0x3D, 2},
    };
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct charset *charset = open_charset(rows[i].charset, NULL);
        struct seen seen = decode(charset, rows[i].raw, false, &out);
        assert_same(&out, rows[i].text, strlen(rows[i].text), (unsigned)i);
        assert_int_equal(seen.count[rows[i].kind], rows[i].count);
        assert_int_equal(seen.code, rows[i].code);
        assert_int_equal(seen.offset, rows[i].offset);
        charset_free(charset);
    }
}

static void how_many_do_not_round_trip_is_known(void **state) {
    (void)state;
    struct charset *charset = open_charset(RENKEI_CHARSET_CP932, NULL);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1000);
    unsigned lossy = 0;
    unsigned assigned = 0;
    for (unsigned pair = 0x8140; pair <= 0xFCFC; pair++) {
        uint8_t raw[2] = {(uint8_t)(pair >> 8), (uint8_t)pair};
        struct seen seen = decode(charset, bytes_of(raw, 2), false, &out);
        bool lead = raw[0] <= 0x9F || raw[0] >= 0xE0;
        bool good = lead && raw[1] >= 0x40 && raw[1] != 0x7F && seen.count[CHARACTER_INVALID] == 0;
        assigned += good;
        lossy += good && seen.count[CHARACTER_NOT_ROUND_TRIP] > 0;
        /* and what is said to round-trip does, by our own way back */
        if (!good || seen.count[CHARACTER_NOT_ROUND_TRIP] > 0)
            continue;
        SCOPED_BUFFER struct buffer back;
        buffer_init(&back, 100);
        assert_true(charset_encode(charset, buffer_bytes(&out), &back));
        assert_int_equal(back.len, 2);
        assert_memory_equal(back.data, raw, 2);
    }
    assert_int_equal(assigned, 9604);
    assert_int_equal(lossy, 398);
    charset_free(charset);
}

/* RFC 8785: two-character escapes, lower-case \u00xx for the other controls, DEL as it is. */
static void json_escapes_are_those_of_rfc_8785(void **state) {
    (void)state;
    static const enum renkei_charset ids[] = {RENKEI_CHARSET_CP932, RENKEI_CHARSET_EUC_JP,
                                              RENKEI_CHARSET_UTF8,  RENKEI_CHARSET_LATIN1,
                                              RENKEI_CHARSET_ASCII, RENKEI_CHARSET_ISO_2022_JP};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 10000);
    static const char named[] = "\b\t\n\f\r\"\\";
    static const char *const escapes[] = {"\\b", "\\t", "\\n", "\\f", "\\r", "\\\"", "\\\\"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct charset *charset = open_charset(ids[i], NULL);
        for (unsigned byte = 0; byte < 0x80; byte++) {
            /* ISO-2022-JP speaks by escapes and shifts. */
            if (ids[i] == RENKEI_CHARSET_ISO_2022_JP &&
                (byte == 0x1B || byte == 0x0E || byte == 0x0F))
                continue;
            uint8_t text[40];
            char expected[64];
            for (size_t before = 0; before < 20; before++) {
                memset(text, '-', sizeof text);
                text[before] = (uint8_t)byte;
                const char *found = byte != 0 ? strchr(named, (int)byte) : NULL;
                char shown[8] = {(char)byte};
                if (found != NULL)
                    snprintf(shown, sizeof shown, "%s", escapes[found - named]);
                else if (byte < 0x20)
                    snprintf(shown, sizeof shown, "\\u%04x", byte);
                snprintf(expected, sizeof expected, "%.*s%s%.*s", (int)before,
                         "--------------------", shown, 19, "--------------------");
                decode(charset, bytes_of(text, before + 20), true, &out);
                assert_same(&out, expected, strlen(expected), byte);
            }
        }
        charset_free(charset);
    }
}

static void the_hospitals_own_characters_are_shown_as_its_table_says(void **state) {
    (void)state;
    static const char table[] = "# gaiji\n"
                                "F040  U+9AD9\r\n"
                                "\n"
                                "F041\tU+845B U+E0100 # with a variation selector\n"
                                "U+E002 \"(はしご高)\"\n";
    struct gaiji *gaiji = NULL;
    struct error err = {0};
    if (gaiji_parse("gaiji.txt", bytes_text(table), &gaiji, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    struct charset *charset = open_charset(RENKEI_CHARSET_CP932, gaiji);
    struct seen seen =
        decode(charset, BYTES_LITERAL("\xF0\x40\xF0\x41\xF0\x42\xF0\x43"), true, &out);
    assert_same(&out, "髙葛\U000E0100(はしご高)\uE003", 10 + 14 + 3, 0);
    assert_int_equal(seen.count[CHARACTER_GAIJI_MAPPED], 3);
    assert_int_equal(seen.count[CHARACTER_GAIJI], 1);
    charset_free(charset);
    charset = open_charset(RENKEI_CHARSET_UTF16BE, gaiji);
    seen = decode(charset, BYTES_LITERAL("\xE0\x00\xE0\x03"), true, &out);
    assert_same(&out, "髙\uE003", 6, 0);
    assert_int_equal(seen.count[CHARACTER_GAIJI_MAPPED], 1);
    charset_free(charset);

    /* Longer than a block has room for, many times. */
    charset = open_charset(RENKEI_CHARSET_CP932, gaiji);
    uint8_t many[10000];
    for (size_t i = 0; i < sizeof many; i += 2)
        memcpy(many + i, "\xF0\x42", 2);
    decode(charset, bytes_of(many, sizeof many), true, &out);
    assert_int_equal(out.len, sizeof many / 2 * strlen("(はしご高)"));
    charset_free(charset);
    gaiji_free(gaiji);

    static const struct {
        const char *text;
        const char *message;
    } wrong[] = {
        {"F040\n", "g:1: expected U+XXXX or a quoted placeholder after the code"},
        {"\nEFFC U+4E00\n", "g:2: expected a code: F040 to F9FC, or U+E000 to U+F8FF"},
        {"F07F U+4E00\n", "g:1: expected a code: F040 to F9FC, or U+E000 to U+F8FF"},
        {"F040 U+4E00\nU+E000 U+4E01\n", "g:2: this code is there twice"},
        {"F040 U+0022\n", "g:1: not a code point that can stand in a text"},
        {"F040 U+E001\n", "g:1: not a code point that can stand in a text"},
        {"F040 U+D800\n", "g:1: not a code point that can stand in a text"},
        {"F040 \"a\n", "g:1: the placeholder does not end with a quote"},
        {"F040 \"\"\n", "g:1: a placeholder has 1 to 48 bytes"},
        {"F040 \"a\\\"\n", "g:1: a placeholder has no controls and no backslash"},
        {"F040 \"a\" b\n", "g:1: unexpected text at the end"},
        {"F040 U+4E00 U+4E00 U+4E00 U+4E00 U+4E00\n", "g:1: more than 4 code points"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct gaiji *untouched = NULL;
        assert_int_equal(gaiji_parse("g", bytes_text(wrong[i].text), &untouched, &err),
                         ERROR_CONFIG);
        assert_string_equal(err.message, wrong[i].message);
        assert_null(untouched);
    }
}

static void utf16_and_iso_2022_jp_are_icus(void **state) {
    (void)state;
    static const struct {
        enum renkei_charset id;
        const char *name;
    } rows[] = {{RENKEI_CHARSET_UTF16LE, "UTF-16LE"},
                {RENKEI_CHARSET_UTF16BE, "UTF-16BE"},
                {RENKEI_CHARSET_ISO_2022_JP, "ISO-2022-JP"},
                {RENKEI_CHARSET_UTF8, "UTF-8"}};
    static char expected[64 << 10];
    uint32_t random = 1;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct charset *charset = open_charset(rows[i].id, NULL);
        UConverter *converter = open_icu(rows[i].name);
        for (unsigned round = 0; round < 3000; round++) {
            uint8_t raw[1500];
            size_t len = round % 10 == 0 ? sizeof raw - round % 7 : round % 40;
            for (size_t k = 0; k < len; k++) {
                random = random * 1664525 + 1013904223;
                raw[k] = (uint8_t)(random >> 24);
                if (rows[i].id == RENKEI_CHARSET_ISO_2022_JP && random % 9 == 0)
                    raw[k] = "\x1B$B(J@I"[random >> 8 & 7];
                if (rows[i].id == RENKEI_CHARSET_UTF8 && random % 3 != 0)
                    raw[k] = 0x80 | (raw[k] & 0x3F);
            }
            size_t expected_len =
                icu_utf8(converter, bytes_of(raw, len), false, expected, sizeof expected);
            decode(charset, bytes_of(raw, len), false, &out);
            assert_same(&out, expected, expected_len, round);
        }
        ucnv_close(converter);
        charset_free(charset);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_at_every_alignment_and_split_is_icu_and_the_patch),
        cmocka_unit_test(every_pair_across_a_blocks_end_is_icu_and_the_patch),
        cmocka_unit_test(pairs_are_whole_across_blocks),
        cmocka_unit_test(no_byte_beyond_the_text_is_read),
        cmocka_unit_test(what_is_odd_is_reported_with_its_bytes),
        cmocka_unit_test(how_many_do_not_round_trip_is_known),
        cmocka_unit_test(json_escapes_are_those_of_rfc_8785),
        cmocka_unit_test(the_hospitals_own_characters_are_shown_as_its_table_says),
        cmocka_unit_test(utf16_and_iso_2022_jp_are_icus),
    };
    return cmocka_run_group_tests_name("charset", tests, NULL, NULL);
}
