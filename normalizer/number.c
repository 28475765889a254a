/* Numbers: exact decimals, and the doubles that RFC 8785 prints. */
#include "normalizer/value.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DOUBLE_DIGITS = 17,      /* decimal digits that tell any two doubles apart */
    DOUBLE_DIGITS_SAFE = 15, /* decimal digits that any double carries */
    PLAIN_DIGITS_MAX = 400,  /* an exact decimal of more digits keeps its exponent */
    EXPONENT_MAX = 1000000,
};

/* 0.d1d2d3... x 10^exponent, without zeros at either end. */
struct decimal {
    bool minus;
    bool has_exponent; /* as written */
    const uint8_t *digits;
    size_t digit_span; /* bytes from the first to the last digit that counts, maybe with a point */
    size_t digit_count;
    long exponent;
};

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static bool read_exponent(const uint8_t *at, const uint8_t *end, long *ret_exponent) {
    bool minus = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (at == end)
        return false;
    long value = 0;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return false;
        if (value < EXPONENT_MAX)
            value = value * 10 + (*at - '0');
    }
    if (value >= EXPONENT_MAX)
        return false;
    *ret_exponent = minus ? -value : value;
    return true;
}

static bool read_decimal(struct bytes text, struct decimal *ret_decimal) {
    const uint8_t *at = text.data;
    const uint8_t *end = text.data + text.len;
    struct decimal d = {0};
    if (at < end && (*at == '-' || *at == '+'))
        d.minus = *at++ == '-';
    const uint8_t *first = NULL; /* digit that counts */
    const uint8_t *last = NULL;
    const uint8_t *point = NULL;
    size_t digits = 0;
    for (; at < end && (is_digit(*at) || (*at == '.' && point == NULL)); at++) {
        if (*at == '.') {
            point = at;
            continue;
        }
        digits++;
        if (*at != '0') {
            first = first != NULL ? first : at;
            last = at;
        }
    }
    const uint8_t *mantissa_end = at;
    long exponent = 0;
    if (digits == 0)
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        if (!read_exponent(at + 1, end, &exponent))
            return false;
        d.has_exponent = true;
    } else if (at != end) {
        return false;
    }
    if (first != NULL) {
        const uint8_t *units = point != NULL ? point : mantissa_end;
        d.digits = first;
        d.digit_span = (size_t)(last - first) + 1;
        d.digit_count = d.digit_span - (point != NULL && point > first && point < last ? 1 : 0);
        /* The first digit stands this many places before the point, or after it. */
        long places = first < units ? (long)(units - first) : -(long)(first - units - 1);
        d.exponent = exponent + places;
    }
    *ret_decimal = d;
    return true;
}

static void copy_digits(const struct decimal *d, char *ret_digits) {
    for (size_t i = 0, n = 0; i < d->digit_span; i++)
        if (d->digits[i] != '.')
            ret_digits[n++] = (char)d->digits[i];
}

/* e+21, e-7 */
static size_t layout_exponent(long exponent, char *o) {
    char text[16];
    int len = snprintf(text, sizeof text, "e%+ld", exponent);
    memcpy(o, text, (size_t)len);
    return (size_t)len;
}

/* Digits without a point, as ECMAScript's Number::toString lays them out. */
static size_t layout(bool minus, const char *digits, size_t count, long exponent, char *ret_text) {
    char *o = ret_text;
    long k = (long)count;
    if (minus)
        *o++ = '-';
    if (k <= exponent && exponent <= 21) {
        memcpy(o, digits, count);
        memset(o + k, '0', (size_t)(exponent - k));
        o += exponent;
    } else if (exponent > 0 && exponent <= 21) {
        memcpy(o, digits, (size_t)exponent);
        o[exponent] = '.';
        memcpy(o + exponent + 1, digits + exponent, (size_t)(k - exponent));
        o += k + 1;
    } else if (exponent > -6 && exponent <= 0) {
        memcpy(o, "0.", 2);
        memset(o + 2, '0', (size_t)-exponent);
        o += 2 - exponent;
        memcpy(o, digits, count);
        o += k;
    } else {
        *o++ = digits[0];
        if (count > 1) {
            *o++ = '.';
            memcpy(o, digits + 1, count - 1);
            o += count - 1;
        }
        o += layout_exponent(exponent - 1, o);
    }
    return (size_t)(o - ret_text);
}

/* The double that 0.digits x 10^exponent reads as. */
static double read_digits(const char *digits, size_t count, long exponent) {
    char text[64];
    snprintf(text, sizeof text, "0.%.*se%ld", (int)count, digits, exponent);
    return strtod(text, NULL);
}

/* The next decimal of as many digits. */
static void next_up(char *digits, size_t count, long *exponent) {
    size_t i = count;
    while (i > 0 && digits[i - 1] == '9')
        digits[--i] = '0';
    if (i > 0) {
        digits[i - 1]++;
        return;
    }
    digits[0] = '1';
    (*exponent)++;
}

/* The nearest decimal of count digits. */
static long nearest_digits(double value, size_t count, char *ret_digits) {
    char text[40];
    snprintf(text, sizeof text, "%.*e", (int)count - 1, value);
    ret_digits[0] = text[0];
    memcpy(ret_digits + 1, text + 2, count - 1);
    return strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
}

/* The digits of the shortest decimal that reads as this double again; of several the nearest. */
static size_t shortest_digits(double value, char ret_digits[DOUBLE_DIGITS], long *ret_exponent) {
    /* A normal double gives back every decimal of 15 digits: where one of 15 or fewer reads as this
     * double, the nearest of 15 is that one with zeros behind it. */
    size_t count = value < DBL_MIN ? 1 : DOUBLE_DIGITS_SAFE;
    long exponent = 0;
    for (;; count++) {
        exponent = nearest_digits(value, count, ret_digits);
        if (count == DOUBLE_DIGITS || read_digits(ret_digits, count, exponent) == value)
            break;
        /* At a power of two the gap below is half the gap above: the nearest may read as the lower
         * neighbour while the next one up still reads as this one. */
        next_up(ret_digits, count, &exponent);
        if (read_digits(ret_digits, count, exponent) == value)
            break;
    }
    while (count > 1 && ret_digits[count - 1] == '0')
        count--;
    *ret_exponent = exponent;
    return count;
}

size_t number_shortest(double value, char ret_text[NUMBER_SHORTEST_BYTES_MAX]) {
    if (value == 0) {
        ret_text[0] = '0';
        return 1;
    }
    char digits[DOUBLE_DIGITS];
    long exponent = 0;
    size_t count = shortest_digits(fabs(value), digits, &exponent);
    return layout(value < 0, digits, count, exponent, ret_text);
}

/* True where ECMAScript prints the nearest double with exactly these digits. */
static bool double_prints(const char *digits, size_t count, long exponent) {
    if (exponent > -300 && exponent < 300 && count <= DOUBLE_DIGITS_SAFE)
        return true;
    double value = read_digits(digits, count, exponent);
    if (value == 0 || isinf(value))
        return false;
    char printed[DOUBLE_DIGITS];
    long printed_exponent = 0;
    size_t printed_count = shortest_digits(value, printed, &printed_exponent);
    return printed_count == count && printed_exponent == exponent &&
           memcmp(printed, digits, count) == 0;
}

/* Integers only where a double has no neighbour that prints the same: 2^53 and 2^53+1 do. */
static bool integer_fits(const char *digits, size_t count, long exponent) {
    static const char most[] = "9007199254740991"; /* 2^53 - 1 */
    if (exponent < (long)sizeof most - 1)
        return true;
    if (exponent > (long)sizeof most - 1)
        return false;
    char padded[sizeof most];
    memset(padded, '0', sizeof padded - 1);
    memcpy(padded, digits, count);
    return memcmp(padded, most, sizeof most - 1) <= 0;
}

/* All digits, without an exponent where that is not absurd. */
static void write_exact(const struct decimal *d, struct buffer *out) {
    long count = (long)d->digit_count;
    long width = d->exponent > count ? d->exponent : count - (d->exponent < 0 ? d->exponent : 0);
    bool plain = !d->has_exponent || width <= PLAIN_DIGITS_MAX;
    uint8_t *room = buffer_reserve(out, (size_t)(plain ? width : count) + 32);
    if (room == NULL)
        return;
    char *o = (char *)room;
    if (d->minus)
        *o++ = '-';
    if (!plain) {
        copy_digits(d, o + 1);
        o[0] = o[1];
        o[1] = '.';
        o += count > 1 ? count + 1 : 1;
        o += layout_exponent(d->exponent - 1, o);
    } else if (d->exponent <= 0) {
        memcpy(o, "0.", 2);
        memset(o + 2, '0', (size_t)-d->exponent);
        copy_digits(d, o + 2 - d->exponent);
        o += 2 - d->exponent + count;
    } else if (d->exponent >= count) {
        copy_digits(d, o);
        memset(o + count, '0', (size_t)(d->exponent - count));
        o += d->exponent;
    } else {
        copy_digits(d, o + 1);
        memmove(o, o + 1, (size_t)d->exponent);
        o[d->exponent] = '.';
        o += count + 1;
    }
    out->len += (size_t)(o - (char *)room);
}

static bool is_special(struct bytes text) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity", "+Infinity",
                                        "nan", "inf",      "-inf",      "-nan"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (bytes_equal(text, bytes_text(words[i])))
            return true;
    return false;
}

/* Most numbers are short integers: they are themselves. */
static bool write_short_integer(struct bytes text, struct buffer *out) {
    bool minus = text.len > 0 && text.data[0] == '-';
    size_t digits = text.len - minus;
    if (digits == 0 || digits > DOUBLE_DIGITS_SAFE)
        return false;
    if (text.data[minus] == '0' && (digits > 1 || minus))
        return false;
    for (size_t i = minus; i < text.len; i++)
        if (!is_digit(text.data[i]))
            return false;
    buffer_append(out, text.data, text.len);
    return true;
}

enum number_form number_write(struct bytes text, struct buffer *out) {
    struct decimal d;
    if (write_short_integer(text, out))
        return NUMBER_JSON;
    if (text.len == 0 || !read_decimal(text, &d))
        return is_special(text) ? NUMBER_SPECIAL : NUMBER_BAD;
    if (d.digit_count == 0) {
        buffer_append_byte(out, '0');
        return NUMBER_JSON;
    }
    if (d.digit_count <= DOUBLE_DIGITS) {
        char digits[DOUBLE_DIGITS];
        copy_digits(&d, digits);
        bool integer = d.exponent >= (long)d.digit_count;
        if (integer ? integer_fits(digits, d.digit_count, d.exponent)
                    : double_prints(digits, d.digit_count, d.exponent)) {
            char printed[NUMBER_SHORTEST_BYTES_MAX];
            size_t len = layout(d.minus, digits, d.digit_count, d.exponent, printed);
            buffer_append(out, printed, len);
            return NUMBER_JSON;
        }
    }
    write_exact(&d, out);
    return NUMBER_EXACT;
}
