#include "gateway/worker/window.h"

#include <stdlib.h>
#include <string.h>

#include <unicode/ucal.h>
#include <unicode/ustring.h>

enum {
    SECONDS_OF_DAY = 24 * 3600,
    /* A window's end is looked for second by second, then minute by minute, in a day of 25 hours
     * and one of 24 in which nothing changes. */
    SECONDS_SEARCHED_MAX = 120,
    MINUTES_SEARCHED_MAX = 49 * 60,
    SECOND_MS = 1000,
    MINUTE_MS = 60000,
};

struct windows {
    struct {
        int from; /* seconds of the day */
        int to;
    } window[WINDOW_MAX];
    int count;
    UCalendar *calendar;
};

static bool read_two(const char **at, int *ret_number) {
    const char *c = *at;
    if (c[0] < '0' || c[0] > '9' || c[1] < '0' || c[1] > '9')
        return false;
    *ret_number = (c[0] - '0') * 10 + (c[1] - '0');
    *at += 2;
    return true;
}

/* hh:mm or hh:mm:ss */
static bool read_time(const char **at, int *ret_second) {
    int hour, minute, second = 0;
    if (!read_two(at, &hour) || *(*at)++ != ':' || !read_two(at, &minute))
        return false;
    if (**at == ':') {
        (*at)++;
        if (!read_two(at, &second))
            return false;
    }
    *ret_second = (hour * 60 + minute) * 60 + second;
    return minute < 60 && second < 60 && *ret_second <= SECONDS_OF_DAY;
}

static void skip_blanks(const char **at) {
    while (**at == ' ')
        (*at)++;
}

static bool read_windows(struct windows *w, const char *text) {
    for (const char *at = text;; at++) {
        int from, to;
        skip_blanks(&at);
        if (w->count == WINDOW_MAX || !read_time(&at, &from) || *at++ != '-' ||
            !read_time(&at, &to) || from == to)
            return false;
        w->window[w->count].from = from;
        w->window[w->count++].to = to;
        skip_blanks(&at);
        if (*at == '\0')
            return true;
        if (*at != ',')
            return false;
    }
}

static enum error_code open_calendar(struct windows *w, const char *zone, struct error *err) {
    UChar name[WINDOW_ZONE_BYTES_MAX], canonical[WINDOW_ZONE_BYTES_MAX];
    UErrorCode status = U_ZERO_ERROR;
    int32_t len = 0;
    (void)u_strFromUTF8(name, WINDOW_ZONE_BYTES_MAX, &len, zone, -1, &status);
    /* ucal_open takes an unknown zone for GMT and says nothing. */
    (void)ucal_getCanonicalTimeZoneID(name, len, canonical, WINDOW_ZONE_BYTES_MAX, NULL, &status);
    if (U_FAILURE(status) || len == 0) {
        error_set(err, ERROR_CONFIG, "time_zone: found '%s', which is no time zone", zone);
        error_hint(err, "write its name in the tz database, such as Asia/Tokyo");
        return ERROR_CONFIG;
    }
    w->calendar = ucal_open(name, len, "en", UCAL_GREGORIAN, &status);
    if (U_FAILURE(status))
        return error_set(err, ERROR_NO_MEMORY, "time_zone %s: %s", zone, u_errorName(status));
    return ERROR_NONE;
}

enum error_code windows_parse(const char *text, const char *zone, struct windows **ret_windows,
                              struct error *err) {
    struct windows *w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(err, ERROR_NO_MEMORY, "windows: no memory");
    enum error_code code = ERROR_NONE;
    if (!read_windows(w, text)) {
        code = error_set(err, ERROR_CONFIG,
                         "windows: found '%s', expected hh:mm-hh:mm, at most %d of them", text,
                         WINDOW_MAX);
        error_hint(err, "write for example 22:00-05:00; an end is not the beginning itself");
    }
    if (code == ERROR_NONE)
        code = open_calendar(w, zone == NULL || zone[0] == '\0' ? "UTC" : zone, err);
    if (code != ERROR_NONE) {
        windows_free(w);
        return code;
    }
    *ret_windows = w;
    return ERROR_NONE;
}

void windows_free(struct windows *w) {
    if (w == NULL)
        return;
    if (w->calendar != NULL)
        ucal_close(w->calendar);
    free(w);
}

static bool is_open(struct windows *w, uint64_t wall_ms) {
    UErrorCode status = U_ZERO_ERROR;
    ucal_setMillis(w->calendar, (UDate)wall_ms, &status);
    int second = ucal_get(w->calendar, UCAL_HOUR_OF_DAY, &status) * 3600 +
                 ucal_get(w->calendar, UCAL_MINUTE, &status) * 60 +
                 ucal_get(w->calendar, UCAL_SECOND, &status);
    for (int i = 0; U_SUCCESS(status) && i < w->count; i++) {
        int from = w->window[i].from, to = w->window[i].to;
        if (from < to ? second >= from && second < to : second >= from || second < to)
            return true;
    }
    return false;
}

bool windows_open_at(struct windows *w, uint64_t wall_ms, uint64_t *ret_until_ms) {
    bool open = is_open(w, wall_ms);
    uint64_t second_ms = wall_ms - wall_ms % SECOND_MS, minute_ms = wall_ms - wall_ms % MINUTE_MS;
    for (int i = 1; i <= SECONDS_SEARCHED_MAX; i++) {
        *ret_until_ms = second_ms + (uint64_t)i * SECOND_MS;
        if (is_open(w, *ret_until_ms) != open)
            return open;
    }
    for (int i = 2; i <= MINUTES_SEARCHED_MAX; i++) {
        *ret_until_ms = minute_ms + (uint64_t)i * MINUTE_MS;
        if (is_open(w, *ret_until_ms) != open)
            return open;
    }
    *ret_until_ms = 0;
    return open;
}
