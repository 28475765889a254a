/*
 * Where a pass by watermark starts: far enough back that rows which were written before the last pass
 * and committed after it are met again. How far is the operator's to say, in time or in rows; else it
 * is where the pass before the last ended.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/sync/sync_internal.h"

enum { NAME_BYTES_MAX = 64, DATE_BYTES = 10, STAMP_BYTES = 19, DAY_S = 86400 };

static bool fits(const char *text, const char *form) {
    for (; *form != '\0'; text++, form++)
        if (*form == '9' ? !isdigit((unsigned char)*text) : *form != *text)
            return false;
    return true;
}

/* yyyy-mm-dd, or that with hh:mm:ss and whatever stands behind it. */
static bool date_back(char text[SYNC__WATERMARK_BYTES_MAX + 1], uint32_t seconds) {
    struct tm tm = {.tm_isdst = 0};
    bool stamp = fits(text, "9999-99-99 99:99:99");
    if (!stamp && (!fits(text, "9999-99-99") || text[DATE_BYTES] != '\0'))
        return false;
    tm.tm_year = (int)strtol(text, NULL, 10) - 1900;
    tm.tm_mon = (int)strtol(text + 5, NULL, 10) - 1;
    tm.tm_mday = (int)strtol(text + 8, NULL, 10);
    if (stamp) {
        tm.tm_hour = (int)strtol(text + 11, NULL, 10);
        tm.tm_min = (int)strtol(text + 14, NULL, 10);
        tm.tm_sec = (int)strtol(text + 17, NULL, 10);
    } else {
        seconds = (seconds + DAY_S - 1) / DAY_S * DAY_S;
    }
    time_t at = timegm(&tm) - (time_t)seconds;
    char back[64];
    if (gmtime_r(&at, &tm) == NULL || tm.tm_year < -1899)
        return false;
    snprintf(back, sizeof back, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    memcpy(text, back, stamp ? STAMP_BYTES : DATE_BYTES);
    return true;
}

static bool number_back(char text[SYNC__WATERMARK_BYTES_MAX + 1], uint32_t rows) {
    enum { DIGITS_MAX = 18 };
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || text[digits] != '\0')
        return false;
    uint64_t value = strtoull(text, NULL, 10);
    snprintf(text, SYNC__WATERMARK_BYTES_MAX + 1, "%llu",
             (unsigned long long)(value > rows ? value - rows : 0));
    return true;
}

bool sync__watermark_back(const struct sync__overlap *overlap,
                          char text[SYNC__WATERMARK_BYTES_MAX + 1]) {
    return (overlap->seconds > 0 && date_back(text, overlap->seconds)) ||
           (overlap->rows > 0 && number_back(text, overlap->rows));
}

static enum error_code get(struct sync *sync, uint32_t table, const char *which,
                           char ret_text[SYNC__WATERMARK_BYTES_MAX + 1], struct error *err) {
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "watermark/%u/%s", table, which);
    SCOPED_BUFFER struct buffer value;
    buffer_init(&value, SYNC__WATERMARK_BYTES_MAX);
    TRY(vault_get(sync->vault, name, &value, err));
    snprintf(ret_text, SYNC__WATERMARK_BYTES_MAX + 1, "%.*s", (int)value.len,
             (const char *)value.data);
    return ERROR_NONE;
}

static enum error_code put(struct sync *sync, uint32_t table, const char *which, const char *text,
                           struct error *err) {
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "watermark/%u/%s", table, which);
    return vault_put(sync->vault, name, bytes_text(text), err);
}

enum error_code sync__watermark_from(struct sync *sync, uint32_t table,
                                     const struct sync__overlap *overlap,
                                     char ret_from[SYNC__WATERMARK_BYTES_MAX + 1],
                                     struct error *err) {
    char from[SYNC__WATERMARK_BYTES_MAX + 1];
    TRY(get(sync, table, "last", from, err));
    if (!sync__watermark_back(overlap, from))
        TRY(get(sync, table, "before", from, err));
    memcpy(ret_from, from, sizeof from);
    return ERROR_NONE;
}

enum error_code sync__watermark_moved(struct sync *sync, uint32_t table, const char *reached,
                                      struct error *err) {
    char last[SYNC__WATERMARK_BYTES_MAX + 1];
    TRY(get(sync, table, "last", last, err));
    TRY(put(sync, table, "before", last, err));
    return reached[0] == '\0' ? ERROR_NONE : put(sync, table, "last", reached, err);
}
