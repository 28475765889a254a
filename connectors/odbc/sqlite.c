/*
 * What SQLite's driver leaves out of a value, without a word.
 *
 * Digits of doubles. It asks for a number's text, and SQLite gives 15 digits of a double: the last two
 * are lost, and two different numbers look the same. So SQLite itself is asked whether the double is a
 * number of at most 15 digits, six of them behind the point, and gives its text then; any other comes
 * with 20 digits, more than any has, and what is handed over is SQLite's own 15 where they are the
 * number, else the 16 or 17 that are. A column can hold a double by its declared type's affinity
 * (SQLite's manual, "Datatypes", section 3.1). Where it is numeric no text looks like a number, since
 * SQLite makes numbers of those. A column without a declared type keeps texts as they are: there nothing
 * can be shortened.
 *
 * Texts behind a NUL, where the driver ends them; and a blob in a column that is none comes as X'...'. As
 * blobs it gives texts whole, in twice the time. So texts are read as texts, with one more column that
 * tells how many bytes those of the row have; the first row whose texts came with fewer has all read as
 * blobs.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SQLITE_DIGITS = 15, DOUBLE_DIGITS_MAX = 17 };

static bool has_word(const char *type, const char *word) {
    for (; *type != '\0'; type++)
        if (strncasecmp(type, word, strlen(word)) == 0)
            return true;
    return false;
}

enum odbc_reals odbc_reals_of(const struct renkei_session *s, const struct renkei_column *c) {
    const char *type = c->declared_type;
    if (s->quirks->literal != ODBC_SQLITE || c->type == RENKEI_TYPE_BINARY)
        return ODBC_REALS_NONE;
    if (type[0] == '\0' || strcasecmp(type, "any") == 0)
        return ODBC_REALS_AMONG_TEXTS;
    if (!has_word(type, "int") &&
        (has_word(type, "char") || has_word(type, "clob") || has_word(type, "text")))
        return ODBC_REALS_NONE;
    return ODBC_REALS_AND_NUMBERS;
}

static void add_format(const struct renkei_session *s, struct support_sql *sql, const char *format,
                       const char *column) {
    for (const char *at = format; *at != '\0';) {
        size_t len = strcspn(at, "$");
        support_sql_bytes(sql, at, len);
        at += len;
        if (*at == '\0')
            break;
        support_sql_name(sql, s->quote, column);
        at++;
    }
}

/* Adding 2^52 + 2^51 and taking it away rounds to a whole number, exactly below 2^51. A whole number below
 * 10^15 divided by 10^6 is rounded once, to the double that the number's text stands for: where that is
 * the column's, SQLite's 15 digits are the whole of it. */
static const char whole_real[] =
    "CASE WHEN $ BETWEEN -1e9 AND 1e9"
    " AND ($ * 1e6 + 6755399441055744.0 - 6755399441055744.0) / 1e6 = $ THEN $"
    " WHEN typeof($) = 'real' THEN printf('%!.20g', $) ELSE $ END";

void odbc_reals_select(const struct renkei_session *s, enum odbc_reals reals,
                       struct support_sql *sql, const char *column) {
    add_format(s, sql, reals != ODBC_REALS_NONE ? whole_real : "$", column);
}

bool odbc_is_counted(const struct renkei_session *s, const struct renkei_column *c) {
    return !s->wide && c->type != RENKEI_TYPE_BINARY && odbc_reals_of(s, c) == ODBC_REALS_NONE;
}

void odbc_check_select(const struct renkei_session *s, const struct renkei_column *c,
                       struct support_sql *sql) {
    if (c->type == RENKEI_TYPE_BINARY)
        return;
    /* A number is less than any text; NULL is neither. */
    add_format(s, sql,
               odbc_is_counted(s, c) ? " + ifnull(length(CAST($ AS BLOB)), 0)"
                                     : " + CASE WHEN $ >= '' THEN instr($, char(0)) ELSE 0 END",
               c->name);
}

/* As SQLite writes 15 digits: with a point always. */
static void write_short(double value, char text[ODBC_REAL_BYTES_MAX]) {
    snprintf(text, ODBC_REAL_BYTES_MAX, "%.*g", SQLITE_DIGITS, value);
    char rest[ODBC_REAL_BYTES_MAX];
    char *exponent = text + strcspn(text, "e");
    if (memchr(text, '.', (size_t)(exponent - text)) != NULL)
        return;
    snprintf(rest, sizeof rest, ".0%s", exponent);
    snprintf(exponent, ODBC_REAL_BYTES_MAX - (size_t)(exponent - text), "%s", rest);
}

size_t odbc_real_shorten(const struct renkei_session *s, uint8_t *cell, size_t len) {
    char text[ODBC_REAL_BYTES_MAX];
    if (len >= sizeof text || len < 3 || memchr(cell, '.', len) == NULL)
        return len;
    /* So few digits are all that the number has, and SQLite writes it so itself. */
    if (len <= SQLITE_DIGITS + 1 && memchr(cell, 'e', len) == NULL)
        return len;
    memcpy(text, cell, len);
    text[len] = '\0';
    if (text[strspn(text, "+-.0123456789e")] != '\0')
        return len;
    /* Somebody else's library in this process may have set another decimal point. */
    locale_t before = uselocale(s->plain_locale);
    char *end;
    double value = strtod(text, &end);
    bool whole = *end == '\0';
    if (whole) {
        write_short(value, text);
        for (int digits = SQLITE_DIGITS + 1;
             strtod(text, NULL) != value && digits <= DOUBLE_DIGITS_MAX; digits++)
            snprintf(text, sizeof text, "%.*g", digits, value);
    }
    (void)uselocale(before);
    if (!whole)
        return len;
    len = strlen(text);
    memcpy(cell, text, len);
    return len;
}
