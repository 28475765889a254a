/* Dates of the Japanese eras: an input says which era, year, month and day, in which of the many
 * ways people write them, and what is broken in it. What comes out is compared with the calendar of
 * the C library and with the days on which the eras changed, written down here a second time. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "normalizer/value.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_BYTES = 256, FIELDS = 9 };

static const struct {
    const char *names[7];
    int before; /* the year before its first */
    int first, last;
} eras[] = {
    {{"明治", "明", "㍾", "M", "m", "Ｍ", "M."}, 1867, 18730101, 19120730},
    {{"大正", "大", "㍽", "T", "t", "Ｔ", "T."}, 1911, 19120730, 19261225},
    {{"昭和", "昭", "㍼", "S", "s", "Ｓ", "ｓ."}, 1925, 19261225, 19890107},
    {{"平成", "平", "㍻", "H", "h", "Ｈ", "H."}, 1988, 19890108, 20190430},
    {{"令和", "令", "㋿", "R", "r", "Ｒ", "ｒ."}, 2018, 20190501, 99991231},
};
enum { ERAS = sizeof eras / sizeof eras[0], NAMES = 7 };

/* The ways to write a number. */
enum style { PLAIN, PADDED, WIDE, KANJI, STYLES };

static void put(char *text, const char *more) {
    size_t len = strlen(text);
    (void)snprintf(text + len, TEXT_BYTES - len, "%s", more);
}

static void put_number(char *text, int number, enum style style) {
    static const char *const wide[] = {"０", "１", "２", "３", "４", "５", "６", "７", "８", "９"};
    static const char *const kanji[] = {"", "一", "二", "三", "四", "五", "六", "七", "八", "九"};
    char plain[16];
    if (style == WIDE) {
        if (number > 9)
            put(text, wide[number / 10]);
        put(text, wide[number % 10]);
    } else if (style == KANJI && number > 0) {
        if (number > 19)
            put(text, kanji[number / 10]);
        if (number > 9)
            put(text, "十");
        put(text, kanji[number % 10]);
    } else {
        (void)snprintf(plain, sizeof plain, style == PADDED ? "%02d" : "%d", number);
        put(text, plain);
    }
}

struct written {
    unsigned era;
    int year, month, day;
    bool wide; /* a full-width digit, letter or sign is in it */
    bool time;
    bool broken; /* no date, whatever its numbers say */
};

static void write_text(const uint8_t *f, char *text, struct written *ret_written) {
    static const char *const signs[] = {"/", "-", ".", "／", "・", "－", "ー", "年"};
    struct written w = {f[0] % ERAS, f[1] % 100, f[2] % 14, f[3] % 33, false, false, false};
    enum style style = (enum style)(f[4] % STYLES);
    unsigned sign = f[5] % 9, name = f[6] % NAMES;
    const char *blank = (f[7] & 1) != 0 ? " " : (f[7] & 2) != 0 ? "\xE3\x80\x80" : "";
    put(text, blank);
    put(text, eras[w.era].names[name]);
    if ((f[7] & 4) == 0)
        put(text, blank);
    if (sign == 8) { /* S640107 */
        char six[32];
        (void)snprintf(six, sizeof six, "%02d%02d%02d", w.year, w.month, w.day);
        put(text, six);
    } else {
        if (w.year == 1 && (f[7] & 8) != 0)
            put(text, "元");
        else
            put_number(text, w.year, style);
        put(text, signs[sign]);
        put_number(text, w.month, style);
        put(text, sign == 7 ? "月" : signs[sign]);
        put_number(text, w.day, style);
        put(text, sign == 7 ? "日" : "");
    }
    bool noon = (f[8] & 1) != 0;
    put(text, noon ? " 12:30" : (f[8] & 2) != 0 ? " 00:00:00.0" : "");
    put(text, (f[8] & 4) != 0 ? "x" : "");
    w.broken = (f[8] & 4) != 0;
    w.time = noon;
    w.wide = eras[w.era].names[name][0] == '\xEF' || (sign != 8 && style == WIDE) ||
             (sign >= 3 && sign <= 6);
    if (sign != 8 && style == WIDE && w.year == 1 && (f[7] & 8) != 0)
        w.wide = true; /* month and day are */
    *ret_written = w;
}

static bool is_day(int year, int month, int day) {
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    (void)timegm(&tm); /* moves what is no day */
    return tm.tm_year == year - 1900 && tm.tm_mon == month - 1 && tm.tm_mday == day;
}

static void check(const char *text, const struct written *w, enum mapping_era policy) {
    struct date date = {.year = -1};
    enum date_form form = date_from_text(bytes_text(text), policy, &date);
    int year = eras[w->era].before + w->year;
    int number = (year * 100 + w->month) * 100 + w->day;
    bool good = !w->broken && w->year > 0 && is_day(year, w->month, w->day) && number >= 18730101;
    bool inside = number >= eras[w->era].first && number <= eras[w->era].last;
    if (!good || policy == MAPPING_ERA_NONE) {
        REQUIRE(form == DATE_BAD && date.year == -1);
        return;
    }
    if (!inside && policy != MAPPING_ERA_FLAG) {
        REQUIRE(form == DATE_OVERRUN);
        return;
    }
    REQUIRE(form == DATE_GOOD && date.overrun == !inside && date.time == w->time);
    REQUIRE(date.year == year && date.month == w->month && date.day == w->day);
    REQUIRE(date.full_width == w->wide);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[TEXT_BYTES] = "";
    struct written written;
    if (size < FIELDS)
        return 0;
    write_text(data, text, &written);
    static const enum mapping_era policies[] = {MAPPING_ERA_NONE, MAPPING_ERA_STRICT,
                                                MAPPING_ERA_FLAG, MAPPING_ERA_REJECT};
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++)
        check(text, &written, policies[i]);
    return 0;
}
