/*
 * Values: texts of numbers, dates and JSON, in the one form that a document has. Inside the
 * normalizer only. Everything here takes ASCII or UTF-8 and appends to a buffer.
 */
#ifndef NORMALIZER_VALUE_H
#define NORMALIZER_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "normalizer/mapping.h"

/* --- numbers --- */

enum number_form {
    NUMBER_JSON,   /* appended as RFC 8785 prints it */
    NUMBER_EXACT,  /* appended as an exact decimal: a double does not carry it */
    NUMBER_SPECIAL, /* NaN or an infinity; nothing appended */
    NUMBER_BAD,    /* no number; nothing appended */
};

/* -?digits[.digits][e[+-]digits], "NaN", "[+-]Infinity"; leading zeros and a plus are fine.
 * Integers within +-(2^53-1), and other decimals that a double prints again digit by digit, are
 * JSON numbers. */
enum number_form number_write(struct bytes text, struct buffer *out);

enum { NUMBER_SHORTEST_BYTES_MAX = 32 };
/* A finite double as ECMAScript and RFC 8785 print it; returns the length, without a NUL. */
size_t number_shortest(double value, char ret_text[NUMBER_SHORTEST_BYTES_MAX]);

/* --- dates --- */

enum { DATE_BYTES = 10 }; /* yyyy/mm/dd */

enum date_form {
    DATE_GOOD,
    DATE_ZERO,     /* 0000-00-00, 2020-00-01 */
    DATE_RANGE,    /* infinity, BC, year > 9999, 30 February: a date of the source, but none here */
    DATE_OVERRUN,  /* an era's date outside the era, and the policy is not to convert it */
    DATE_BAD,      /* no date */
};

struct date {
    int year;
    int month;
    int day;
    bool time;       /* a time of day that is not midnight was dropped */
    bool overrun;    /* 平成31年5月1日, converted */
    bool full_width; /* full-width digits or signs */
};

/* The source's own form: yyyy-mm-dd, with a time and a zone or without. Timestamps with a zone, and
 * instants, which are in UTC where no zone stands there, are shown as the day they are at
 * offset_minutes east of Greenwich. */
enum date_form date_from_source(struct bytes text, bool instant, int offset_minutes,
                                struct date *ret_date);
/* What people write: 2011/3/24, 20110324, 2011年3月24日, S64.1.7, 令和元年5月1日, ... */
enum date_form date_from_text(struct bytes text, enum mapping_era era, struct date *ret_date);
void date_write(const struct date *date, uint8_t ret_text[DATE_BYTES]);

/* --- JSON and arrays as values --- */

enum {
    JSON_DEPTH_MAX = 64,
    JSON_MEMBERS_MAX = 1 << 16, /* of one text, over all objects */
};

/* A JSON text as RFC 8785 writes it. false: not JSON, duplicate keys, too deep or too large; or a
 * number that a double does not carry (then *ret_inexact is set). out is as it was then. */
bool value_json_canonical(struct bytes text, struct buffer *out, bool *ret_inexact);
/* PostgreSQL's array text as a JSON array of strings and nulls. */
bool value_json_from_array(struct bytes text, struct buffer *out);
/* UTF-8 text between quotes, as RFC 8785 writes it. */
void value_json_string(struct bytes text, struct buffer *out);

/* Order of RFC 8785: by UTF-16 code units. Both are UTF-8. */
int value_json_compare_names(struct bytes a, struct bytes b);

#endif
