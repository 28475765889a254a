/* The tables of the charsets, filled from ICU once a process. */
#include "normalizer/charset.h"

#include <string.h>

#include <unicode/ucnv.h>

enum { PLANE_BYTES = 65536 / 8 };

static void converter_done(UConverter **converter) {
    if (*converter != NULL)
        ucnv_close(*converter);
}
#define SCOPED_CONVERTER __attribute__((cleanup(converter_done)))

uint32_t charset_entry(uint32_t c) {
    if (c < 0x80)
        return UINT32_C(1) << 24 | c;
    if (c < 0x800)
        return UINT32_C(2) << 24 | (0x80 | (c & 0x3F)) << 8 | (0xC0 | c >> 6);
    return UINT32_C(3) << 24 | (0x80 | (c & 0x3F)) << 16 | (0x80 | (c >> 6 & 0x3F)) << 8 |
           (0xE0 | c >> 12);
}

/* Opens a converter that stops at what is invalid, and makes sure that it is the one meant: ICU
 * resolves names generously, and ibm-943 alone is another table. */
static enum error_code open_converter(const char *name, UConverter **ret_converter,
                                      struct error *err) {
    UErrorCode status = U_ZERO_ERROR;
    UConverter *converter = ucnv_open(name, &status);
    const char *found = U_SUCCESS(status) ? ucnv_getName(converter, &status) : "";
    if (U_FAILURE(status) || strcmp(found, name) != 0) {
        if (converter != NULL)
            ucnv_close(converter);
        return error_set(err, ERROR_INTERNAL, "ICU's converter %s: found '%s' (%s)", name, found,
                         u_errorName(status));
    }
    ucnv_setToUCallBack(converter, UCNV_TO_U_CALLBACK_STOP, NULL, NULL, NULL, &status);
    ucnv_setFromUCallBack(converter, UCNV_FROM_U_CALLBACK_STOP, NULL, NULL, NULL, &status);
    if (U_FAILURE(status)) {
        ucnv_close(converter);
        return error_set(err, ERROR_INTERNAL, "ICU's converter %s: %s", name, u_errorName(status));
    }
    *ret_converter = converter;
    return ERROR_NONE;
}

/* The one BMP code point that these bytes are, or 0. */
static uint32_t code_point(UConverter *converter, const uint8_t *raw, int32_t len) {
    UErrorCode status = U_ZERO_ERROR;
    UChar units[4];
    int32_t count = ucnv_toUChars(converter, units, 4, (const char *)raw, len, &status);
    bool one = U_SUCCESS(status) && count == 1 && !U16_IS_SURROGATE(units[0]);
    return one ? units[0] : 0;
}

static bool comes_back(UConverter *converter, uint32_t c, const uint8_t *raw, int32_t len) {
    UErrorCode status = U_ZERO_ERROR;
    UChar unit = (UChar)c;
    char bytes[8];
    int32_t count = ucnv_fromUChars(converter, bytes, sizeof bytes, &unit, 1, &status);
    return U_SUCCESS(status) && count == len && memcmp(bytes, raw, (size_t)len) == 0;
}

static bool is_private(uint32_t c) {
    return c >= GAIJI_FIRST && c <= GAIJI_LAST;
}

/* What converters disagree about: ～ ― ∥ － ￠ ￡ ￢ against U+301C and its kin. */
static bool is_wave_dash(uint32_t c) {
    static const uint16_t points[] = {0xFF5E, 0x2015, 0x2225, 0xFF0D, 0xFFE0, 0xFFE1, 0xFFE2};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        if (points[i] == c)
            return true;
    return false;
}

static uint32_t marked_entry(uint32_t c, bool round_trip) {
    if (c == 0)
        return CHARSET_BAD;
    uint32_t entry = charset_entry(c);
    if (!round_trip)
        entry |= CHARSET_LOSSY;
    else if (is_private(c) || is_wave_dash(c))
        entry |= CHARSET_MARKED;
    return entry;
}

static bool is_trail(unsigned byte) {
    return byte >= 0x40 && byte <= 0xFC && byte != 0x7F;
}

static void fill_cp932_single(UConverter *converter, uint32_t single[256]) {
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t raw = (uint8_t)byte;
        single[byte] = CHARSET_BAD;
        if (byte < 0x80)
            single[byte] = charset_entry(byte);
        else if (byte >= 0xA1 && byte <= 0xDF)
            single[byte] = marked_entry(code_point(converter, &raw, 1), true);
    }
}

enum error_code charset_fill_cp932(struct charset_cp932 *ret_table, struct error *err) {
    SCOPED_CONVERTER UConverter *converter = NULL;
    TRY(open_converter("ibm-943_P15A-2003", &converter, err));
    fill_cp932_single(converter, ret_table->single);
    int row = 0;
    for (unsigned lead = 0; lead < 256; lead++) {
        bool leads = (lead >= 0x81 && lead <= 0x9F) || (lead >= 0xE0 && lead <= 0xFC);
        ret_table->lead[lead] = leads ? (int8_t)row : -1;
        if (!leads)
            continue;
        uint32_t *pairs = &ret_table->pair[256 * row++];
        for (unsigned trail = 0; trail < 256; trail++) {
            uint8_t raw[2] = {(uint8_t)lead, (uint8_t)trail};
            uint32_t c = is_trail(trail) ? code_point(converter, raw, 2) : 0;
            /* No pair is an ASCII character: such a table would smuggle quotes past the escaping.
             */
            if (c != 0 && c < 0x80)
                return error_set(err, ERROR_INTERNAL, "ICU's converter: %02X%02X is U+%04X", lead,
                                 trail, c);
            pairs[trail] = marked_entry(c, c != 0 && comes_back(converter, c, raw, 2));
        }
    }
    return ERROR_NONE;
}

/* The vendors' characters that are not in JIS X 0212, at 8FF3F3 to 8FF4FE, as PostgreSQL and
 * eucJP-ms have them: IBM's numerals and signs, then its kanji. */
static const uint16_t ibm_extension[106] = {
    0x2170, 0x2171, 0x2172, 0x2173, 0x2174, 0x2175, 0x2176, 0x2177, 0x2178, 0x2179, 0x2160, 0x2161,
    0x2162, 0x2163, 0x2164, 0x2165, 0x2166, 0x2167, 0x2168, 0x2169, 0xFF07, 0xFF02, 0x3231, 0x2116,
    0x2121, 0x70BB, 0x4EFC, 0x50F4, 0x51EC, 0x5307, 0x5324, 0xFA0E, 0x548A, 0x5759, 0xFA0F, 0xFA10,
    0x589E, 0x5BEC, 0x5CF5, 0x5D53, 0xFA11, 0x5FB7, 0x6085, 0x6120, 0x654E, 0x663B, 0x6665, 0xFA12,
    0xF929, 0x6801, 0xFA13, 0xFA14, 0x6A6B, 0x6AE2, 0x6DF8, 0x6DF2, 0x7028, 0xFA15, 0xFA16, 0x7501,
    0x7682, 0x769E, 0xFA17, 0x7930, 0xFA18, 0xFA19, 0xFA1A, 0xFA1B, 0x7AE7, 0xFA1C, 0xFA1D, 0x7DA0,
    0x7DD6, 0xFA1E, 0x8362, 0xFA1F, 0x85B0, 0xFA20, 0xFA21, 0x8807, 0xFA22, 0x8B7F, 0x8CF4, 0x8D76,
    0xFA23, 0xFA24, 0xFA25, 0x90DE, 0xFA26, 0x9115, 0xFA27, 0xFA28, 0x9592, 0xF9DC, 0xFA29, 0x973B,
    0x974D, 0x9751, 0xFA2A, 0xFA2B, 0xFA2C, 0x999E, 0x9AD9, 0x9B72, 0xFA2D, 0x9ED1,
};

/* JIS X 0208's row and cell (from 0) as Shift_JIS writes them. */
static uint32_t cp932_at(const struct charset_cp932 *cp932, unsigned row, unsigned cell) {
    unsigned lead = row / 2 + (row < 62 ? 0x81 : 0xC1);
    unsigned trail = row % 2 == 1 ? cell + 0x9F : cell + (cell >= 63 ? 0x41 : 0x40);
    return cp932->pair[256 * (unsigned)cp932->lead[lead] + trail];
}

static uint32_t entry_code_point(uint32_t entry) {
    if (CHARSET_LENGTH(entry) == 2)
        return (entry & 0x1F) << 6 | (entry >> 8 & 0x3F);
    if (CHARSET_LENGTH(entry) == 3)
        return (entry & 0x0F) << 12 | (entry >> 8 & 0x3F) << 6 | (entry >> 16 & 0x3F);
    return 0;
}

/* Marks a character as lossy where an earlier code has it already. */
static uint32_t entry_once(uint32_t c, uint8_t seen[PLANE_BYTES]) {
    if (c == 0)
        return CHARSET_BAD;
    bool first = (seen[c / 8] & 1u << c % 8) == 0;
    seen[c / 8] |= (uint8_t)(1u << c % 8);
    return marked_entry(c, first);
}

enum { JIS_X_0212_ROW_LAST = 76, GAIJI_ROW = 84, GAIJI_ROWS = 10, IBM_ROW = 82, IBM_CELL = 82 };
enum {
    BAR_ROW = 1,
    BAR_CELL = 34
}; /* 8FA2C3: ICU says U+00A6, PostgreSQL and glibc the wide one */

enum error_code charset_fill_euc(const struct charset_cp932 *cp932, struct charset_euc *ret_table,
                                 struct error *err) {
    SCOPED_CONVERTER UConverter *converter = NULL;
    TRY(open_converter("euc-jp-2007", &converter, err));
    uint8_t seen[PLANE_BYTES] = {0};
    for (unsigned row = 0; row < 94; row++) {
        for (unsigned cell = 0; cell < 94; cell++) {
            uint32_t c = row >= GAIJI_ROW ? GAIJI_FIRST + (row - GAIJI_ROW) * 94 + cell
                                          : entry_code_point(cp932_at(cp932, row, cell));
            ret_table->set1[row * 94 + cell] = entry_once(c, seen);
        }
    }
    for (unsigned row = 0; row < 94; row++) {
        for (unsigned cell = 0; cell < 94; cell++) {
            uint8_t raw[3] = {0x8F, (uint8_t)(row + 0xA1), (uint8_t)(cell + 0xA1)};
            uint32_t c = 0;
            if (row >= GAIJI_ROW)
                c = GAIJI_FIRST + (row - GAIJI_ROW + GAIJI_ROWS) * 94 + cell;
            else if (row == IBM_ROW && cell >= IBM_CELL)
                c = ibm_extension[cell - IBM_CELL];
            else if (row == IBM_ROW + 1)
                c = ibm_extension[94 - IBM_CELL + cell];
            else if (row == BAR_ROW && cell == BAR_CELL)
                c = 0xFFE4;
            else if (row <= JIS_X_0212_ROW_LAST) /* behind it ICU has a vendor's rows of its own */
                c = code_point(converter, raw, 3);
            ret_table->set3[row * 94 + cell] = entry_once(c, seen);
        }
    }
    for (unsigned byte = 0; byte < 256; byte++)
        ret_table->kana[byte] =
            byte >= 0xA1 && byte <= 0xDF ? charset_entry(0xFF61 + byte - 0xA1) : CHARSET_BAD;
    return ERROR_NONE;
}

enum error_code charset_fill_single(const char *icu_name, uint32_t ret_single[256],
                                    struct error *err) {
    SCOPED_CONVERTER UConverter *converter = NULL;
    TRY(open_converter(icu_name, &converter, err));
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t raw = (uint8_t)byte;
        uint32_t c = code_point(converter, &raw, 1);
        ret_single[byte] = byte < 0x80 ? charset_entry(byte)
                           : c != 0    ? charset_entry(c)
                                       : CHARSET_BAD;
    }
    return ERROR_NONE;
}
