/* Charsets that keep a state or are rare: ISO-2022-JP and UTF-16 go through ICU's converters. */
#include "normalizer/charset.h"

#include <stdlib.h>

#include <unicode/ucnv.h>
#include <unicode/ucnv_err.h>
#include <unicode/ustring.h>

enum { UNITS = 512 };

struct charset_icu {
    UConverter *converter;
    /* of the running decode */
    charset_visitor *visitor;
    void *context;
    const char *begin;
};

/* What is invalid is reported and becomes U+FFFD; the default callback would write U+001A. */
static void on_invalid(const void *context, UConverterToUnicodeArgs *args, const char *bytes,
                       int32_t length, UConverterCallbackReason reason, UErrorCode *status) {
    static const UChar replacement = 0xFFFD;
    if (reason > UCNV_IRREGULAR)
        return;
    const struct charset_icu *icu = context;
    uint32_t code = 0;
    for (int32_t i = 0; i < length; i++)
        code = code << 8 | (uint8_t)bytes[i];
    size_t read = (size_t)(args->source - icu->begin);
    icu->visitor(icu->context, CHARACTER_INVALID, code,
                 read >= (size_t)length ? read - (size_t)length : 0);
    *status = U_ZERO_ERROR;
    ucnv_cbToUWriteUChars(args, &replacement, 1, 0, status);
}

enum error_code charset_icu_new(const char *name, struct charset_icu **ret_icu, struct error *err) {
    struct charset_icu *icu = calloc(1, sizeof *icu);
    if (icu == NULL)
        return error_set(err, ERROR_NO_MEMORY, "charset: out of memory");
    UErrorCode status = U_ZERO_ERROR;
    icu->converter = ucnv_open(name, &status);
    if (U_SUCCESS(status))
        ucnv_setFromUCallBack(icu->converter, UCNV_FROM_U_CALLBACK_STOP, NULL, NULL, NULL, &status);
    if (U_SUCCESS(status))
        ucnv_setToUCallBack(icu->converter, on_invalid, icu, NULL, NULL, &status);
    if (U_FAILURE(status)) {
        charset_icu_free(icu);
        return error_set(err, ERROR_INTERNAL, "ICU's converter %s: %s", name, u_errorName(status));
    }
    *ret_icu = icu;
    return ERROR_NONE;
}

void charset_icu_free(struct charset_icu *icu) {
    if (icu == NULL)
        return;
    if (icu->converter != NULL)
        ucnv_close(icu->converter);
    free(icu);
}

void charset_icu_decode(struct charset *charset, struct charset_icu *icu, struct bytes raw,
                        bool escape, charset_visitor *visitor, void *context, struct buffer *out) {
    static const char nothing[1] = "";
    icu->visitor = visitor;
    icu->context = context;
    const char *source = raw.len > 0 ? (const char *)raw.data : nothing;
    const char *end = source + raw.len;
    icu->begin = source;
    ucnv_resetToUnicode(icu->converter);
    uint32_t high = 0; /* a surrogate whose partner is in the next piece */
    for (;;) {
        UChar units[UNITS];
        UChar *target = units;
        UErrorCode status = U_ZERO_ERROR;
        ucnv_toUnicode(icu->converter, &target, units + UNITS, &source, end, NULL, true, &status);
        size_t offset = (size_t)(source - icu->begin);
        for (const UChar *at = units; at < target; at++) {
            if (U16_IS_LEAD(*at)) {
                high = *at;
                continue;
            }
            uint32_t c = U16_IS_TRAIL(*at) ? (uint32_t)U16_GET_SUPPLEMENTARY(high, *at) : *at;
            charset_visit_private(charset, c, offset, visitor, context);
            charset_put(charset, c, escape, out);
        }
        if (status != U_BUFFER_OVERFLOW_ERROR)
            return;
    }
}

bool charset_icu_encode(struct charset_icu *icu, struct bytes text, struct buffer *out) {
    enum { TEXT_UNITS = 1024, TEXT_BYTES = 8 * TEXT_UNITS };
    UChar units[TEXT_UNITS];
    char bytes[TEXT_BYTES];
    int32_t count = 0;
    UErrorCode status = U_ZERO_ERROR;
    if (text.len > TEXT_UNITS)
        return false;
    u_strFromUTF8(units, TEXT_UNITS, &count, (const char *)text.data, (int32_t)text.len, &status);
    int32_t len = ucnv_fromUChars(icu->converter, bytes, TEXT_BYTES, units, count, &status);
    if (U_FAILURE(status))
        return false;
    buffer_append(out, bytes, (size_t)len);
    return !out->failed;
}
