/* Dates: the source's own, what people write, and Japanese eras. Written by hand, because ICU's
 * calendar accepts 昭和64年1月8日 even when told to be strict. */
#include "normalizer/value.h"

#include <string.h>

#include "base/text.h"

enum { POINTS_MAX = 64, MINUTES_A_DAY = 24 * 60, ERA_YEAR_MAX = 99 };

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool is_day(int year, int month, int day) {
    return month >= 1 && month <= 12 && day >= 1 && day <= days_in_month(year, month);
}

void date_write(const struct date *date, uint8_t ret_text[DATE_BYTES]) {
    ret_text[0] = (uint8_t)('0' + date->year / 1000 % 10);
    ret_text[1] = (uint8_t)('0' + date->year / 100 % 10);
    ret_text[2] = (uint8_t)('0' + date->year / 10 % 10);
    ret_text[3] = (uint8_t)('0' + date->year % 10);
    ret_text[4] = '/';
    ret_text[5] = (uint8_t)('0' + date->month / 10);
    ret_text[6] = (uint8_t)('0' + date->month % 10);
    ret_text[7] = '/';
    ret_text[8] = (uint8_t)('0' + date->day / 10);
    ret_text[9] = (uint8_t)('0' + date->day % 10);
}

/* --- reading code points --- */

struct cursor {
    const uint32_t *at;
    const uint32_t *end;
};

static uint32_t look(const struct cursor *c) {
    return c->at < c->end ? *c->at : 0;
}

static bool take(struct cursor *c, uint32_t point) {
    if (look(c) != point)
        return false;
    c->at++;
    return true;
}

static void skip_spaces(struct cursor *c) {
    while (take(c, ' '))
        ;
}

static bool is_digit(uint32_t point) {
    return point >= '0' && point <= '9';
}

/* Between min and max digits; greedy. */
static bool take_digits(struct cursor *c, unsigned min, unsigned max, int *ret_value) {
    int value = 0;
    unsigned count = 0;
    for (; count < max && is_digit(look(c)); count++)
        value = value * 10 + (int)(*c->at++ - '0');
    *ret_value = value;
    return count >= min;
}

static size_t digits_ahead(const struct cursor *c) {
    size_t count = 0;
    while (c->at + count < c->end && is_digit(c->at[count]))
        count++;
    return count;
}

/* hh:mm[:ss[.f]], or nothing. ret_minutes: of the day; ret_rest: seconds or fractions are there. */
static bool take_time(struct cursor *c, int *ret_minutes, bool *ret_rest) {
    int hour = 0;
    int minute = 0;
    int second = 0;
    bool fraction = false;
    if (!take_digits(c, 1, 2, &hour) || !take(c, ':') || !take_digits(c, 2, 2, &minute))
        return false;
    if (take(c, ':')) {
        if (!take_digits(c, 2, 2, &second))
            return false;
        if (take(c, '.')) {
            if (!is_digit(look(c)))
                return false;
            for (; is_digit(look(c)); c->at++)
                fraction = fraction || *c->at != '0';
        }
    }
    if (hour > 24 || minute > 59 || second > 60 || (hour == 24 && (minute > 0 || second > 0)))
        return false;
    *ret_minutes = hour * 60 + minute;
    *ret_rest = second > 0 || fraction;
    return true;
}

/* Z, +hh, +hh:mm, +hh:mm:ss. */
static bool take_zone(struct cursor *c, int *ret_minutes) {
    if (take(c, 'Z')) {
        *ret_minutes = 0;
        return true;
    }
    int sign = look(c) == '-' ? -1 : 1;
    if (!take(c, '+') && !take(c, '-'))
        return false;
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!take_digits(c, 2, 2, &hour))
        return false;
    if (take(c, ':') && !take_digits(c, 2, 2, &minute))
        return false;
    if (take(c, ':') && !take_digits(c, 2, 2, &second))
        return false;
    if (hour > 15 || minute > 59)
        return false;
    *ret_minutes = sign * (hour * 60 + minute);
    return true;
}

/* Moves a date by whole days, at most one either way. */
static void move_days(struct date *date, int days) {
    date->day += days;
    if (date->day < 1) {
        if (--date->month < 1) {
            date->month = 12;
            date->year--;
        }
        date->day = days_in_month(date->year, date->month);
    } else if (date->day > days_in_month(date->year, date->month)) {
        date->day = 1;
        if (++date->month > 12) {
            date->month = 1;
            date->year++;
        }
    }
}

/* The day that an instant is elsewhere: minutes of its own day, and how much later it is there. */
static int move_zone(int minutes, int later_minutes, struct date *date) {
    minutes += later_minutes;
    for (; minutes < 0; minutes += MINUTES_A_DAY)
        move_days(date, -1);
    for (; minutes >= MINUTES_A_DAY; minutes -= MINUTES_A_DAY)
        move_days(date, 1);
    return minutes;
}

/* What follows the day: nothing, a time, a zone. instant: where no zone stands there, it is UTC. */
static enum date_form take_rest(struct cursor *c, bool zone, bool instant, int offset_minutes,
                                struct date *date) {
    int minutes = 0;
    bool rest = false;
    int zone_minutes = 0;
    skip_spaces(c);
    if (c->at == c->end)
        return DATE_GOOD;
    (void)take(c, 'T');
    if (!take_time(c, &minutes, &rest))
        return DATE_BAD;
    if (minutes == MINUTES_A_DAY) {
        move_days(date, 1);
        minutes = 0;
    }
    bool has_zone = zone && c->at < c->end && take_zone(c, &zone_minutes);
    skip_spaces(c);
    if (c->at != c->end)
        return DATE_BAD;
    if (has_zone || instant)
        minutes = move_zone(minutes, offset_minutes - zone_minutes, date);
    date->time = minutes > 0 || rest;
    return date->year >= 1 && date->year <= 9999 ? DATE_GOOD : DATE_RANGE;
}

static bool has_word(struct bytes text, const char *word) {
    return memmem(text.data, text.len, word, strlen(word)) != NULL;
}

/* A year, month and day that stand there plainly. */
static enum date_form check_day(int year, int month, int day) {
    if (year == 0 || month == 0 || day == 0)
        return DATE_ZERO;
    if (year < 1 || year > 9999 || !is_day(year, month, day))
        return DATE_RANGE;
    return DATE_GOOD;
}

/* Most dates are plain: yyyy-mm-dd, or that and hh:mm:ss, all digits and no zone. Anything else,
 * also anything wrong, is for the careful reader. */
static bool read_plain(struct bytes text, struct date *ret_date) {
    static const char form[] = "0000-00-00 00:00:00";
    if (text.len != 10 && text.len != sizeof form - 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (form[i] == '0' ? !digit : text.data[i] != (uint8_t)form[i])
            return false;
    }
    const uint8_t *d = text.data;
    struct date date = {
        .year = (d[0] - '0') * 1000 + (d[1] - '0') * 100 + (d[2] - '0') * 10 + (d[3] - '0'),
        .month = (d[5] - '0') * 10 + (d[6] - '0'),
        .day = (d[8] - '0') * 10 + (d[9] - '0'),
    };
    if (date.year == 0 || !is_day(date.year, date.month, date.day))
        return false;
    if (text.len > 10) {
        if (memcmp(d + 11, "23:59:59", 8) > 0 || d[14] > '5' || d[17] > '5')
            return false;
        date.time = memcmp(d + 11, "00:00:00", 8) != 0;
    }
    *ret_date = date;
    return true;
}

enum date_form date_from_source(struct bytes text, bool instant, int offset_minutes,
                                struct date *ret_date) {
    uint32_t points[POINTS_MAX];
    if (!instant && read_plain(text, ret_date))
        return DATE_GOOD;
    if (text.len == 0 || text.len > POINTS_MAX)
        return DATE_BAD;
    if (bytes_equal(text, bytes_text("infinity")) || bytes_equal(text, bytes_text("-infinity")) ||
        has_word(text, " BC"))
        return DATE_RANGE;
    for (size_t i = 0; i < text.len; i++)
        points[i] = text.data[i];
    struct cursor c = {points, points + text.len};
    struct date date = {0};
    if (digits_ahead(&c) > 4 && digits_ahead(&c) < 8)
        return DATE_RANGE;
    if (!take_digits(&c, 4, 4, &date.year) || !take(&c, '-') ||
        !take_digits(&c, 2, 2, &date.month) || !take(&c, '-') || !take_digits(&c, 2, 2, &date.day))
        return DATE_BAD;
    enum date_form form = check_day(date.year, date.month, date.day);
    if (form == DATE_GOOD)
        form = take_rest(&c, true, instant, offset_minutes, &date);
    if (form == DATE_GOOD)
        *ret_date = date;
    return form;
}

/* --- what people write --- */

/* Full-width forms, ideographic blanks and the many dashes become ASCII. */
static uint32_t fold(uint32_t point) {
    if (point >= 0xFF01 && point <= 0xFF5E)
        return point - 0xFF01 + '!';
    if (point == 0x3000 || point == 0x00A0 || point == '\t')
        return ' ';
    if (point == 0x2010 || point == 0x2212 || point == 0x2015 || point == 0x30FC)
        return '-';
    if (point == 0x30FB)
        return '.';
    return point;
}

static size_t read_points(struct bytes text, uint32_t *points, bool *ret_folded) {
    size_t count = 0;
    for (size_t i = 0; i < text.len;) {
        uint8_t lead = text.data[i];
        size_t len = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        uint32_t point = len == 1 ? lead : lead & (0xFFu >> (len + 1));
        for (size_t k = 1; k < len && i + k < text.len; k++)
            point = point << 6 | (text.data[i + k] & 0x3Fu);
        if (count == POINTS_MAX)
            return POINTS_MAX + 1;
        points[count] = fold(point);
        if (points[count] != point && points[count] != ' ')
            *ret_folded = true;
        count++;
        i += len;
    }
    return count;
}

struct era {
    uint32_t kanji[2];
    uint32_t square; /* ㍾ */
    char letter;
    int first_year; /* of which the era's year 1 is */
    int from;       /* yyyymmdd, both ends belong to it */
    int to;
};

/* The day of a change belongs to both eras, as the law of the time had it. Dates before 1873 are
 * of the lunar calendar: they are not converted at all. */
static const struct era eras[] = {
    {{0x660E, 0x6CBB}, 0x337E, 'M', 1868, 18730101, 19120730},
    {{0x5927, 0x6B63}, 0x337D, 'T', 1912, 19120730, 19261225},
    {{0x662D, 0x548C}, 0x337C, 'S', 1926, 19261225, 19890107},
    {{0x5E73, 0x6210}, 0x337B, 'H', 1989, 19890108, 20190430},
    {{0x4EE4, 0x548C}, 0x32FF, 'R', 2019, 20190501, 99991231},
};
enum { ERAS = sizeof eras / sizeof eras[0], LUNAR_BEFORE = 18730101 };

static const struct era *take_era(struct cursor *c) {
    for (size_t i = 0; i < ERAS; i++) {
        const struct era *era = &eras[i];
        if (take(c, era->square))
            return era;
        if (look(c) == era->kanji[0]) {
            c->at++;
            (void)take(c, era->kanji[1]);
            return era;
        }
        if (look(c) == (uint32_t)era->letter || look(c) == (uint32_t)(era->letter + 'a' - 'A')) {
            c->at++;
            (void)take(c, '.');
            return era;
        }
    }
    return NULL;
}

static int kanji_digit(uint32_t point) {
    static const uint32_t digits[] = {0x3007, 0x4E00, 0x4E8C, 0x4E09, 0x56DB,
                                      0x4E94, 0x516D, 0x4E03, 0x516B, 0x4E5D};
    for (int i = 0; i < 10; i++)
        if (digits[i] == point)
            return i;
    return -1;
}

/* 十五, 二十, 元; up to 99. */
static bool take_kanji_number(struct cursor *c, int *ret_value) {
    int tens = 0;
    int units = kanji_digit(look(c));
    if (units > 0)
        c->at++;
    if (take(c, 0x5341)) {
        tens = units > 0 ? units : 1;
        units = kanji_digit(look(c));
        if (units > 0)
            c->at++;
    }
    int value = tens * 10 + (units > 0 ? units : 0);
    *ret_value = value;
    return value > 0;
}

/* One or two digits, or kanji. */
static bool take_part(struct cursor *c, int *ret_value) {
    skip_spaces(c);
    return take_digits(c, 1, 2, ret_value) || take_kanji_number(c, ret_value);
}

/* month and day after the year: 年3月24日, /3/24, -3-24, .3.24, all with one kind of sign. */
static bool take_month_day(struct cursor *c, struct date *date) {
    enum { YEAR_SIGN = 0x5E74, MONTH_SIGN = 0x6708, DAY_SIGN = 0x65E5 };
    skip_spaces(c);
    uint32_t sign = look(c);
    if (sign == YEAR_SIGN) {
        c->at++;
        if (!take_part(c, &date->month))
            return false;
        skip_spaces(c);
        if (!take(c, MONTH_SIGN) || !take_part(c, &date->day))
            return false;
        skip_spaces(c);
        return take(c, DAY_SIGN);
    }
    if (sign != '/' && sign != '-' && sign != '.')
        return false;
    c->at++;
    if (!take_part(c, &date->month) || !take(c, sign))
        return false;
    return take_part(c, &date->day);
}

static enum date_form take_era_date(struct cursor *c, const struct era *era,
                                    enum mapping_era policy, struct date *date) {
    int year = 0;
    bool plain = true;
    skip_spaces(c);
    if (take(c, 0x5143)) { /* 元 */
        year = 1;
        plain = take_month_day(c, date);
    } else if (digits_ahead(c) == 6) {
        plain = take_digits(c, 2, 2, &year) && take_digits(c, 2, 2, &date->month) &&
                take_digits(c, 2, 2, &date->day);
    } else {
        plain = take_part(c, &year) && take_month_day(c, date);
    }
    if (!plain || year < 1 || year > ERA_YEAR_MAX)
        return DATE_BAD;
    date->year = era->first_year + year - 1;
    if (!is_day(date->year, date->month, date->day))
        return DATE_BAD;
    int number = (date->year * 100 + date->month) * 100 + date->day;
    if (number < LUNAR_BEFORE)
        return DATE_BAD;
    date->overrun = number < era->from || number > era->to;
    return date->overrun && policy != MAPPING_ERA_FLAG ? DATE_OVERRUN : DATE_GOOD;
}

enum date_form date_from_text(struct bytes text, enum mapping_era policy, struct date *ret_date) {
    uint32_t points[POINTS_MAX];
    struct date date = {0};
    size_t count = text_utf8_valid(text) ? read_points(text, points, &date.full_width) : 0;
    if (count == 0 || count > POINTS_MAX)
        return DATE_BAD;
    struct cursor c = {points, points + count};
    skip_spaces(&c);
    enum date_form form = DATE_GOOD;
    size_t digits = digits_ahead(&c);
    if (digits == 8 || digits == 14) {
        (void)take_digits(&c, 4, 4, &date.year);
        (void)take_digits(&c, 2, 2, &date.month);
        (void)take_digits(&c, 2, 2, &date.day);
        int hour = 0;
        int minute = 0;
        int second = 0;
        if (digits == 14 && (!take_digits(&c, 2, 2, &hour) || !take_digits(&c, 2, 2, &minute) ||
                             !take_digits(&c, 2, 2, &second) || hour > 23 || minute > 59 ||
                             second > 59))
            return DATE_BAD;
        date.time = hour > 0 || minute > 0 || second > 0;
        form = check_day(date.year, date.month, date.day);
        skip_spaces(&c);
        if (c.at != c.end)
            return DATE_BAD;
    } else if (digits == 4) {
        (void)take_digits(&c, 4, 4, &date.year);
        if (!take_month_day(&c, &date))
            return DATE_BAD;
        form = check_day(date.year, date.month, date.day);
        if (form == DATE_GOOD)
            form = take_rest(&c, false, false, 0, &date);
    } else if (policy != MAPPING_ERA_NONE) {
        const struct era *era = take_era(&c);
        form = era != NULL ? take_era_date(&c, era, policy, &date) : DATE_BAD;
        enum date_form rest =
            form == DATE_GOOD || form == DATE_OVERRUN ? take_rest(&c, false, false, 0, &date) : form;
        form = rest == DATE_BAD ? DATE_BAD : form;
    } else {
        return DATE_BAD;
    }
    if (form == DATE_RANGE)
        return DATE_BAD; /* a text is no date type: what is not a day is no date */
    if (form == DATE_GOOD)
        *ret_date = date;
    return form;
}
