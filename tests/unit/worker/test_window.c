/* Work windows: one case a row, times on the wall clock of the zone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/worker/window.h"

#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
/* 2026-01-10 00:00 UTC, a Saturday; `date -d 2026-01-10 +%s`. */
#define JANUARY UINT64_C(1768003200000)
/* 2026-03-29 00:00 UTC: at 01:00 Berlin's clocks go from 02:00 to 03:00. */
#define SPRING UINT64_C(1774742400000)
/* 2026-10-25 00:00 UTC: at 01:00 Berlin's clocks go from 03:00 to 02:00. */
#define AUTUMN UINT64_C(1792886400000)

static void check(const char *text, const char *zone, uint64_t at_ms, bool open,
                  uint64_t until_ms) {
    struct windows *w = NULL;
    struct error err = {0};
    uint64_t until;
    assert_int_equal(windows_parse(text, zone, &w, &err), ERROR_NONE);
    assert_int_equal(windows_open_at(w, at_ms, &until), open);
    assert_int_equal(until, until_ms);
    windows_free(w);
}

static void one_window(void **state) {
    (void)state;
    const char *night = "01:00-05:00";
    check(night, "UTC", JANUARY, false, JANUARY + HOUR_MS);
    check(night, "", JANUARY + HOUR_MS - 1, false, JANUARY + HOUR_MS);
    check(night, NULL, JANUARY + HOUR_MS, true, JANUARY + 5 * HOUR_MS);
    check(night, "UTC", JANUARY + 5 * HOUR_MS - 1, true, JANUARY + 5 * HOUR_MS);
    check(night, "UTC", JANUARY + 5 * HOUR_MS, false, JANUARY + 25 * HOUR_MS);
}

static void over_midnight_in_a_named_zone(void **state) {
    (void)state;
    const char *night = "22:00-05:00";
    /* Tokyo is 9 hours before UTC: 22:00 is 13:00 UTC, 05:00 is 20:00 UTC. */
    check(night, "Asia/Tokyo", JANUARY + 12 * HOUR_MS, false, JANUARY + 13 * HOUR_MS);
    check(night, "Asia/Tokyo", JANUARY + 13 * HOUR_MS, true, JANUARY + 20 * HOUR_MS);
    check(night, "Asia/Tokyo", JANUARY + 15 * HOUR_MS, true, JANUARY + 20 * HOUR_MS);
    check(night, "Asia/Tokyo", JANUARY + 20 * HOUR_MS, false, JANUARY + 37 * HOUR_MS);
}

static void several(void **state) {
    (void)state;
    const char *text = "22:00-05:00, 12:30-13:00,13:00-13:15";
    check(text, "UTC", JANUARY + 6 * HOUR_MS, false, JANUARY + 12 * HOUR_MS + 30 * MINUTE_MS);
    check(text, "UTC", JANUARY + 12 * HOUR_MS + 59 * MINUTE_MS, true,
          JANUARY + 13 * HOUR_MS + 15 * MINUTE_MS);
    check(text, "UTC", JANUARY + 14 * HOUR_MS, false, JANUARY + 22 * HOUR_MS);
    check("01:00:30-01:01:00", "UTC", JANUARY + HOUR_MS, false, JANUARY + HOUR_MS + 30000);
    check("01:00:30-01:01:00", "UTC", JANUARY + HOUR_MS + 30000, true,
          JANUARY + HOUR_MS + 60000);
    check("00:00-24:00", "UTC", JANUARY + HOUR_MS, true, 0);
    check("00:00-12:00,12:00-24:00", "Asia/Tokyo", JANUARY + HOUR_MS, true, 0);
}

static void where_the_clocks_change(void **state) {
    (void)state;
    /* 02:30 does not come that night: the window opens at 03:00, which is 01:00 UTC. */
    check("02:30-05:00", "Europe/Berlin", SPRING + 30 * MINUTE_MS, false, SPRING + HOUR_MS);
    check("02:30-05:00", "Europe/Berlin", SPRING + HOUR_MS, true, SPRING + 3 * HOUR_MS);
    /* 02:30 comes twice: both are in it, what is between is not. */
    check("02:30-02:45", "Europe/Berlin", AUTUMN + 30 * MINUTE_MS, true, AUTUMN + 45 * MINUTE_MS);
    check("02:30-02:45", "Europe/Berlin", AUTUMN + 45 * MINUTE_MS, false,
          AUTUMN + 90 * MINUTE_MS);
}

static void what_is_no_window(void **state) {
    (void)state;
    static const struct {
        const char *text, *zone, *message;
    } cases[] = {
        {"", "UTC", "windows: found '', expected hh:mm-hh:mm, at most 16 of them"},
        {"22:00", "UTC", "windows: found '22:00', expected hh:mm-hh:mm, at most 16 of them"},
        {"22:00-22:00", "UTC",
         "windows: found '22:00-22:00', expected hh:mm-hh:mm, at most 16 of them"},
        {"24:01-05:00", "UTC",
         "windows: found '24:01-05:00', expected hh:mm-hh:mm, at most 16 of them"},
        {"1:00-05:00", "UTC",
         "windows: found '1:00-05:00', expected hh:mm-hh:mm, at most 16 of them"},
        {"01:60-05:00", "UTC",
         "windows: found '01:60-05:00', expected hh:mm-hh:mm, at most 16 of them"},
        {"01:00-05:00,", "UTC",
         "windows: found '01:00-05:00,', expected hh:mm-hh:mm, at most 16 of them"},
        {"01:00-05:00", "Asia/Tokio", "time_zone: found 'Asia/Tokio', which is no time zone"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct windows *w = NULL;
        struct error err = {0};
        assert_int_equal(windows_parse(cases[i].text, cases[i].zone, &w, &err), ERROR_CONFIG);
        assert_null(w);
        assert_string_equal(err.message, cases[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_window),
        cmocka_unit_test(over_midnight_in_a_named_zone),
        cmocka_unit_test(several),
        cmocka_unit_test(where_the_clocks_change),
        cmocka_unit_test(what_is_no_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
