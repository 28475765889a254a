/* The decoders on any bytes: the first byte names the charset, the rest is text. The vector path
 * gives what the plain one gives, what comes out is UTF-8, ICU agrees where it is the authority, and
 * the escaped form is what the JSON writer makes of the plain one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <unicode/ucnv.h>
#include <unicode/ucnv_err.h>
#include <unicode/ustring.h>

#include "base/text.h"
#include "normalizer/charset.h"
#include "normalizer/value.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 20, UNITS = 1 << 16 };

static const struct {
    enum renkei_charset id;
    const char *icu; /* NULL: our own table */
} charsets[] = {
    {RENKEI_CHARSET_CP932, "ibm-943_P15A-2003"}, {RENKEI_CHARSET_UTF8, "UTF-8"},
    {RENKEI_CHARSET_EUC_JP, NULL},               {RENKEI_CHARSET_LATIN1, NULL},
    {RENKEI_CHARSET_ISO_2022_JP, "ISO-2022-JP"}, {RENKEI_CHARSET_UTF16LE, "UTF-16LE"},
    {RENKEI_CHARSET_UTF16BE, "UTF-16BE"},        {RENKEI_CHARSET_ASCII, NULL},
};
enum { CHARSETS = sizeof charsets / sizeof charsets[0] };

static struct charset *ours[CHARSETS];
static UConverter *icus[CHARSETS];

struct seen {
    uint64_t hash;
    size_t offset;
    bool invalid;
};

static void see(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    struct seen *seen = context;
    seen->hash = (seen->hash * 31 + (uint64_t)kind) * 31 + code;
    seen->hash = seen->hash * 31 + offset;
    seen->offset = offset;
    seen->invalid = seen->invalid || kind == CHARACTER_INVALID;
}

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

static void open_all(void) {
    for (size_t i = 0; i < CHARSETS && ours[i] == NULL; i++) {
        UErrorCode status = U_ZERO_ERROR;
        REQUIRE(charset_new(charsets[i].id, NULL, &ours[i], NULL) == ERROR_NONE);
        if (charsets[i].icu == NULL)
            continue;
        icus[i] = ucnv_open(charsets[i].icu, &status);
        ucnv_setToUCallBack(icus[i], on_invalid, NULL, NULL, NULL, &status);
        REQUIRE(U_SUCCESS(status));
    }
}

static void compare_with_icu(size_t which, struct bytes raw, struct bytes found) {
    static UChar units[UNITS];
    static char text[4 * UNITS];
    UErrorCode status = U_ZERO_ERROR;
    int32_t len = 0;
    int32_t count =
        ucnv_toUChars(icus[which], units, UNITS, (const char *)raw.data, (int32_t)raw.len, &status);
    for (int32_t i = 0; i < count && charsets[which].id == RENKEI_CHARSET_CP932; i++)
        units[i] = units[i] == 0x1C ? 0x1A : units[i] == 0x7F ? 0x1C
                   : units[i] == 0x1A ? 0x7F : units[i];
    u_strToUTF8(text, sizeof text, &len, units, count, &status);
    REQUIRE(U_SUCCESS(status));
    REQUIRE(bytes_equal(found, bytes_of(text, (size_t)len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct buffer plain = {.bytes_max = TEXT_MAX};
    static struct buffer other = {.bytes_max = TEXT_MAX};
    static struct buffer escaped = {.bytes_max = TEXT_MAX};
    open_all();
    if (size == 0 || size > UNITS / 4)
        return 0;
    size_t which = data[0] % CHARSETS;
    struct charset *charset = ours[which];
    uint8_t *exact = malloc(size); /* its end is the end of its memory */
    REQUIRE(exact != NULL);
    memcpy(exact, data + 1, size - 1);
    struct bytes raw = bytes_of(exact, size - 1);
    struct seen seen[3] = {0};
    buffer_clear(&plain);
    buffer_clear(&other);
    buffer_clear(&escaped);
    charset_set_vector(charset, true);
    charset_decode(charset, raw, false, see, &seen[0], &plain);
    charset_decode(charset, raw, true, see, &seen[1], &escaped);
    charset_set_vector(charset, false);
    charset_decode(charset, raw, false, see, &seen[2], &other);
    free(exact);
    REQUIRE(!plain.failed && !other.failed && !escaped.failed);
    REQUIRE(bytes_equal(buffer_bytes(&plain), buffer_bytes(&other)));
    REQUIRE(seen[0].hash == seen[1].hash && seen[0].hash == seen[2].hash);
    REQUIRE(seen[0].offset < size);
    REQUIRE(text_utf8_valid(buffer_bytes(&plain)));
    buffer_clear(&other);
    value_json_string(buffer_bytes(&plain), &other);
    REQUIRE(other.len == escaped.len + 2 &&
            (escaped.len == 0 || memcmp(other.data + 1, escaped.data, escaped.len) == 0));
    if (charsets[which].icu != NULL)
        compare_with_icu(which, bytes_of(data + 1, size - 1), buffer_bytes(&plain));
    return 0;
}
