/*
 * The matrix of types, cell by cell: what a source's type and the mapping's make of a value, with
 * the reason that is left. docs/types.md shows the same to people.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "normalizer/normalizer.h"
#include "tests/unit/normalizer/rows.h"

struct cell_row {
    enum renkei_type source;
    const char *mapped; /* of the field: "type: date, era: flag"; "": as the source says */
    const char *raw;
    const char *shown; /* in the document; NULL: the row is quarantined */
    enum value_type type;
    enum reason reason;
};

static void check_cell(const struct cell_row *row, uint32_t bits) {
    char text[512];
    struct error err = {0};
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    snprintf(text, sizeof text,
             "source: s\nconnector: c\ntime_zone: \"+09:00\"\n"
             "tables: [{table: t, category: EMR01, key: k, fields: [{column: v%s%s}]}]\n",
             row->mapped[0] != '\0' ? ", " : "", row->mapped);
    const struct renkei_column columns[] = {
        {.name = "k", .type = RENKEI_TYPE_INTEGER},
        {.name = "v", .type = row->source, .charset = RENKEI_CHARSET_UTF8, .bits = bits},
    };
    if (mapping_parse("m", bytes_text(text), &mapping, &err) != ERROR_NONE ||
        normalizer_new(mapping, &mapping->tables[0], "h", columns, 2, "", &normalizer, &err) !=
            ERROR_NONE)
        fail_msg("%s", err.message);
    const struct bytes cells[] = {BYTES_LITERAL("1"), bytes_text(row->raw)};
    struct one_row one;
    struct normalized_row result;
    one_row_set(&one, cells, 2);
    assert_int_equal(normalizer_row(normalizer, &one.batch, 0, &result, &err), ERROR_NONE);
    enum reason reason = result.reason_count > 0 ? result.reasons[0].reason : REASON_NONE;
    if (row->shown == NULL) {
        if (!result.quarantined || reason != row->reason)
            fail_msg("%d '%s' [%s]: not quarantined, or for %s", row->source, row->raw,
                     row->mapped, reason_name(reason));
    } else {
        char document[1024];
        snprintf(document, sizeof document,
                 "{\"address\":\"renkei://h/s/t/1\",\"category\":\"EMR01\",\"fields\":{\"v\":%s}}",
                 row->shown);
        if (!bytes_equal(result.document, bytes_text(document)))
            fail_msg("%d '%s' [%s]: %.*s", row->source, row->raw, row->mapped,
                     (int)result.document.len, (const char *)result.document.data);
        if (result.types[0] != row->type || reason != row->reason)
            fail_msg("%d '%s' [%s]: type %s, reason %s", row->source, row->raw, row->mapped,
                     value_type_name(result.types[0]), reason_name(reason));
    }
    normalizer_free(normalizer);
    mapping_free(mapping);
}

#define CHECK_ALL(rows)                                                                            \
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows)[0]; i++)                                    \
    check_cell(&(rows)[i], 0)

static void each_type_of_a_source_has_its_own_value(void **state) {
    (void)state;
    static const struct cell_row rows[] = {
        {RENKEI_TYPE_TEXT, "", "a\"表\n", "\"a\\\"表\\n\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_TEXT, "", "", "\"\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_TEXT, "", "  padded  ", "\"  padded  \"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_OTHER, "", "(1,2)", "\"(1,2)\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_ENUM, "", "有", "\"有\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_INTEGER, "", "42", "42", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_INTEGER, "", "00042", "42", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_INTEGER, "", "-9007199254740991", "-9007199254740991", VALUE_NUMBER,
         REASON_NONE},
        {RENKEI_TYPE_INTEGER, "", "18446744073709551615", "\"18446744073709551615\"", VALUE_NUMBER,
         REASON_BIG_NUMBER},
        {RENKEI_TYPE_INTEGER, "", "9007199254740992", "\"9007199254740992\"", VALUE_NUMBER,
         REASON_BIG_NUMBER},
        {RENKEI_TYPE_DECIMAL, "", "12.50", "12.5", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_DECIMAL, "", "0.00", "0", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_DECIMAL, "",
         "12345678901234567890123456789012345678901234567890123456789012345",
         "\"12345678901234567890123456789012345678901234567890123456789012345\"", VALUE_NUMBER,
         REASON_BIG_NUMBER},
        {RENKEI_TYPE_DECIMAL, "", "-0.12345678901234567890", "\"-0.1234567890123456789\"",
         VALUE_NUMBER, REASON_BIG_NUMBER},
        {RENKEI_TYPE_FLOAT, "", "1e-07", "1e-7", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_FLOAT, "", "-0", "0", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_FLOAT, "", "1.5e300", "\"15" /* and 299 zeros: see below */, VALUE_NUMBER,
         REASON_BIG_NUMBER},
        {RENKEI_TYPE_FLOAT, "", "NaN", "\"NaN\"", VALUE_STRING, REASON_NOT_A_NUMBER},
        {RENKEI_TYPE_FLOAT, "", "-Infinity", "\"-Infinity\"", VALUE_STRING, REASON_NOT_A_NUMBER},
        {RENKEI_TYPE_BOOL, "", "t", "true", VALUE_BOOL, REASON_NONE},
        {RENKEI_TYPE_BOOL, "", "0", "false", VALUE_BOOL, REASON_NONE},
        {RENKEI_TYPE_DATE, "", "2011-03-24", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_DATE, "", "0001-01-01", "\"0001/01/01\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_DATE, "", "9999-12-31", "\"9999/12/31\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_DATE, "", "0000-00-00", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_DATE, "", "2011-00-24", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_DATE, "", "2011-03-00", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_DATE, "", "0044-03-15 BC", "\"0044-03-15 BC\"", VALUE_STRING,
         REASON_OUT_OF_RANGE_DATE},
        {RENKEI_TYPE_DATE, "", "infinity", "\"infinity\"", VALUE_STRING, REASON_OUT_OF_RANGE_DATE},
        {RENKEI_TYPE_DATE, "", "10000-01-01", "\"10000-01-01\"", VALUE_STRING,
         REASON_OUT_OF_RANGE_DATE},
        {RENKEI_TYPE_DATE, "", "2011-02-30", "\"2011-02-30\"", VALUE_STRING,
         REASON_OUT_OF_RANGE_DATE},
        {RENKEI_TYPE_DATE, "", "1900-02-29", "\"1900-02-29\"", VALUE_STRING,
         REASON_OUT_OF_RANGE_DATE},
        {RENKEI_TYPE_DATE, "", "garbage", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TIMESTAMP, "", "2011-03-24 00:00:00", "\"2011/03/24\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TIMESTAMP, "", "2011-03-24 00:00:00.000001", "\"2011/03/24\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TIMESTAMP, "", "0000-00-00 00:00:00", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_TIME, "", "-838:59:59.000000", "\"-838:59:59.000000\"", VALUE_STRING,
         REASON_NONE},
        {RENKEI_TYPE_YEAR, "", "2011", "2011", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_BINARY, "", "\x01\xFF", "\"Af8=\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_BIT, "", "0101", "\"0101\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_JSON, "", "{\"b\": 1.0, \"a\": [true, null]}",
         "\"{\\\"a\\\":[true,null],\\\"b\\\":1}\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_JSON, "", "{\"a\":1,\"a\":2}", "\"{\\\"a\\\":1,\\\"a\\\":2}\"", VALUE_STRING,
         REASON_NOT_CANONICAL},
        {RENKEI_TYPE_JSON, "", "[12345678901234567890]", "\"[12345678901234567890]\"",
         VALUE_STRING, REASON_BIG_NUMBER},
        {RENKEI_TYPE_ARRAY, "", "{1,NULL,\"a \\\"b\\\"\",{x,\"NULL\"}}",
         "\"[\\\"1\\\",null,\\\"a \\\\\\\"b\\\\\\\"\\\",[\\\"x\\\",\\\"NULL\\\"]]\"", VALUE_STRING,
         REASON_NONE},
        {RENKEI_TYPE_ARRAY, "", "{}", "\"[]\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_ARRAY, "", "[0:1]={1,2}", "\"[0:1]={1,2}\"", VALUE_STRING,
         REASON_NOT_CANONICAL},
        {RENKEI_TYPE_UUID, "", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
         "\"9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_INTERVAL, "", "1 year 2 mons", "\"1 year 2 mons\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_MONEY, "", "￥1,234", "\"￥1,234\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_GEOMETRY, "", "0101000000", "\"0101000000\"", VALUE_STRING, REASON_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].raw, "1.5e300") != 0) {
            check_cell(&rows[i], 0);
            continue;
        }
        char shown[320];
        memset(shown, '0', sizeof shown);
        memcpy(shown, "\"15", 3);
        memcpy(shown + 302, "\"", 2);
        struct cell_row long_row = rows[i];
        long_row.shown = shown;
        check_cell(&long_row, 0);
    }
}

static void an_instant_is_shown_as_the_day_it_is_in_the_mappings_zone(void **state) {
    (void)state;
    static const struct cell_row rows[] = {
        /* 15:00 in Greenwich is midnight in Japan */
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "2011-12-31 15:00:00+00", "\"2012/01/01\"", VALUE_DATE,
         REASON_NONE},
        /* MySQL's TIMESTAMP: UTC, as the session is, and no offset. */
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "2011-12-31 15:00:00", "\"2012/01/01\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "2011-12-31 14:59:59.5", "\"2011/12/31\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "0000-00-00 00:00:00", "null", VALUE_EMPTY,
         REASON_ZERO_DATE},
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "2011-12-31 14:59:59+00", "\"2011/12/31\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TIMESTAMP_ZONE, "", "9999-12-31 20:00:00+00", "\"9999-12-31 20:00:00+00\"",
         VALUE_STRING, REASON_OUT_OF_RANGE_DATE},
    };
    CHECK_ALL(rows);
}

static void one_bit_is_a_bool_and_tinyint_is_a_number(void **state) {
    (void)state;
    static const struct cell_row bit = {RENKEI_TYPE_BIT, "", "1", "true", VALUE_BOOL, REASON_NONE};
    static const struct cell_row tiny = {RENKEI_TYPE_INTEGER, "",           "7", "7",
                                         VALUE_NUMBER,        REASON_NONE};
    check_cell(&bit, 1);
    check_cell(&tiny, 1);
}

static void the_mapping_may_say_another_type(void **state) {
    (void)state;
    static const struct cell_row rows[] = {
        {RENKEI_TYPE_INTEGER, "type: string", "00042", "\"00042\"", VALUE_STRING, REASON_NONE},
        {RENKEI_TYPE_DATE, "type: string", "2011-03-24", "\"2011-03-24\"", VALUE_STRING,
         REASON_NONE},
        {RENKEI_TYPE_INTEGER, "type: bool", "1", "true", VALUE_BOOL, REASON_NONE},
        {RENKEI_TYPE_INTEGER, "type: bool", "2", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: bool", " Yes ", "true", VALUE_BOOL, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: bool", "０", "false", VALUE_BOOL, REASON_FULL_WIDTH},
        {RENKEI_TYPE_TEXT, "type: bool", "maybe", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: bool", "", "null", VALUE_EMPTY, REASON_BLANK},
        {RENKEI_TYPE_BOOL, "type: number", "t", "1", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_BIT, "type: number", "1010", "10", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_BIT, "type: number",
         "1111111111111111111111111111111111111111111111111111111111111111",
         "\"18446744073709551615\"", VALUE_NUMBER, REASON_BIG_NUMBER},
        {RENKEI_TYPE_TEXT, "type: number", " 36.5 ", "36.5", VALUE_NUMBER, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: number", "－３６．５　", "-36.5", VALUE_NUMBER,
         REASON_FULL_WIDTH},
        {RENKEI_TYPE_TEXT, "type: number", "1,234", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: number", "０x１", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: number", "  ", "null", VALUE_EMPTY, REASON_BLANK},
        {RENKEI_TYPE_DATE, "type: number", "2011-03-24", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_DATE, "type: bool", "2011-03-24", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TIME, "type: date", "10:00:00", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_INTEGER, "type: date", "20110324", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_INTEGER, "type: date", "0", "null", VALUE_EMPTY, REASON_ZERO_DATE},
    };
    CHECK_ALL(rows);
}

static void dates_that_people_wrote_are_read(void **state) {
    (void)state;
    static const struct cell_row rows[] = {
        {RENKEI_TYPE_TEXT, "type: date", "2011/3/24", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", "2011-03-24", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", "2011.3.4", "\"2011/03/04\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", " 20110324 ", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", "20110324093000", "\"2011/03/24\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TEXT, "type: date", "2011年3月24日", "\"2011/03/24\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", "２０１１／０３／２４", "\"2011/03/24\"", VALUE_DATE,
         REASON_FULL_WIDTH},
        {RENKEI_TYPE_TEXT, "type: date", "2011/3/24 9:30", "\"2011/03/24\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TEXT, "type: date", "2011/3/24 24:00", "\"2011/03/25\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TEXT, "type: date", "00000000", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_TEXT, "type: date", "0000/00/00", "null", VALUE_EMPTY, REASON_ZERO_DATE},
        {RENKEI_TYPE_TEXT, "type: date", "", "null", VALUE_EMPTY, REASON_BLANK},
        {RENKEI_TYPE_TEXT, "type: date", "20110324240000", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "20110324096000", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "20110324093060", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "2011/3-24", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "2011/02/30", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "24/03/2011", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "2011/3", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "2011/3/24x", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, "type: date", "不明", NULL, VALUE_EMPTY, REASON_TYPE},
        /* an era is read only where the mapping says so */
        {RENKEI_TYPE_TEXT, "type: date", "H23.3.24", NULL, VALUE_EMPTY, REASON_TYPE},
    };
    CHECK_ALL(rows);
}

#define STRICT "type: date, era: strict"
#define FLAG   "type: date, era: flag"
#define REJECT "type: date, era: reject"

static void japanese_eras_are_read(void **state) {
    (void)state;
    static const struct cell_row rows[] = {
        {RENKEI_TYPE_TEXT, STRICT, "S64.1.7", "\"1989/01/07\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "R6/3/1", "\"2024/03/01\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "令和元年5月1日", "\"2019/05/01\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "平成２３年３月２４日", "\"2011/03/24\"", VALUE_DATE,
         REASON_FULL_WIDTH},
        {RENKEI_TYPE_TEXT, STRICT, "Ｈ２３．０３．２４", "\"2011/03/24\"", VALUE_DATE,
         REASON_FULL_WIDTH},
        {RENKEI_TYPE_TEXT, STRICT, "h230324", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "平23.3.24", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "㍻23年3月24日", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "㋿6.1.1", "\"2024/01/01\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "昭和 60 年 12 月 31 日", "\"1985/12/31\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "昭和五十三年十月二十一日", "\"1978/10/21\"", VALUE_DATE,
         REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "H.23-3-24 09:30", "\"2011/03/24\"", VALUE_DATE,
         REASON_TIME_DROPPED},
        {RENKEI_TYPE_TEXT, STRICT, "2011/3/24", "\"2011/03/24\"", VALUE_DATE, REASON_NONE},
        /* both ends of each era; the day of a change belongs to both */
        {RENKEI_TYPE_TEXT, STRICT, "M6.1.1", "\"1873/01/01\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "M45.7.30", "\"1912/07/30\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "T1.7.30", "\"1912/07/30\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "大正15年12月25日", "\"1926/12/25\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "昭和元年12月25日", "\"1926/12/25\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "平成元年1月8日", "\"1989/01/08\"", VALUE_DATE, REASON_NONE},
        {RENKEI_TYPE_TEXT, STRICT, "平成31年4月30日", "\"2019/04/30\"", VALUE_DATE, REASON_NONE},
        /* one day outside */
        {RENKEI_TYPE_TEXT, STRICT, "昭和64年1月8日", "\"昭和64年1月8日\"", VALUE_STRING,
         REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "昭和64年1月8日", "\"1989/01/08\"", VALUE_DATE,
         REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, REJECT, "昭和64年1月8日", NULL, VALUE_EMPTY, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, STRICT, "平成31年5月1日", "\"平成31年5月1日\"", VALUE_STRING,
         REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "H31.5.1", "\"2019/05/01\"", VALUE_DATE, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, REJECT, "H31.5.1", NULL, VALUE_EMPTY, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "R1.4.30", "\"2019/04/30\"", VALUE_DATE, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "H1.1.7", "\"1989/01/07\"", VALUE_DATE, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "T15.12.26", "\"1926/12/26\"", VALUE_DATE, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "M45.7.31", "\"1912/07/31\"", VALUE_DATE, REASON_ERA_OVERRUN},
        {RENKEI_TYPE_TEXT, FLAG, "T1.7.29", "\"1912/07/29\"", VALUE_DATE, REASON_ERA_OVERRUN},
        /* no day, no era, the lunar calendar */
        {RENKEI_TYPE_TEXT, FLAG, "M5.12.2", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "H0.1.1", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "H23.2.29", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "H23.13.1", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "X23.1.1", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "H23", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "平成", NULL, VALUE_EMPTY, REASON_TYPE},
        {RENKEI_TYPE_TEXT, FLAG, "H100.1.1", NULL, VALUE_EMPTY, REASON_TYPE},
    };
    CHECK_ALL(rows);
}

/* Every day of every era, three ways of writing it: the parser against counting. */
static void every_day_of_the_eras_is_itself(void **state) {
    (void)state;
    static const struct {
        const char *kanji;
        char letter;
        int first_year;
        int from;
        int to;
    } eras[] = {{"明治", 'M', 1868, 18730101, 19120730}, {"大正", 'T', 1912, 19120730, 19261225},
                {"昭和", 'S', 1926, 19261225, 19890107}, {"平成", 'H', 1989, 19890108, 20190430},
                {"令和", 'R', 2019, 20190501, 20401231}};
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    struct error err = {0};
    static const char text[] =
        "source: s\nconnector: c\ntables: [{table: t, category: EMR01, key: k, fields: "
        "[{column: k, type: date, era: reject}]}]\n";
    const struct renkei_column columns[] = {
        {.name = "k", .type = RENKEI_TYPE_TEXT, .charset = RENKEI_CHARSET_UTF8}};
    assert_int_equal(mapping_parse("m", bytes_text(text), &mapping, &err), ERROR_NONE);
    assert_int_equal(
        normalizer_new(mapping, &mapping->tables[0], "h", columns, 1, "", &normalizer, &err),
        ERROR_NONE);
    for (size_t e = 0; e < 5; e++) {
        for (int day = eras[e].from; day <= eras[e].to; day++) {
            int month = day / 100 % 100;
            if (day % 100 < 1 || day % 100 > 28 || month < 1 || month > 12)
                continue;
            char written[3][64];
            char expected[16];
            int year = day / 10000 - eras[e].first_year + 1;
            snprintf(expected, sizeof expected, "%04d/%02d/%02d", day / 10000, month, day % 100);
            snprintf(written[0], 64, "%s%d年%d月%d日", eras[e].kanji, year, month, day % 100);
            snprintf(written[1], 64, "%c%d.%d.%d", eras[e].letter, year, month, day % 100);
            snprintf(written[2], 64, "%c%02d%02d%02d", eras[e].letter, year, month, day % 100);
            for (int way = 0; way < 3; way++) {
                const struct bytes cells[] = {bytes_text(written[way])};
                struct one_row one;
                struct normalized_row result;
                one_row_set(&one, cells, 1);
                assert_int_equal(normalizer_row(normalizer, &one.batch, 0, &result, &err),
                                 ERROR_NONE);
                if (result.quarantined ||
                    memmem(result.document.data, result.document.len, expected, 10) == NULL)
                    fail_msg("%s", written[way]);
            }
        }
    }
    normalizer_free(normalizer);
    mapping_free(mapping);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_of_a_source_has_its_own_value),
        cmocka_unit_test(an_instant_is_shown_as_the_day_it_is_in_the_mappings_zone),
        cmocka_unit_test(one_bit_is_a_bool_and_tinyint_is_a_number),
        cmocka_unit_test(the_mapping_may_say_another_type),
        cmocka_unit_test(dates_that_people_wrote_are_read),
        cmocka_unit_test(japanese_eras_are_read),
        cmocka_unit_test(every_day_of_the_eras_is_itself),
    };
    return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
