/*
 * Doubles of SQLite. As text, which is all that its driver asks for, SQLite gives 15 digits of one: the
 * last two are lost, and two different numbers look the same. So a column that can hold a double is
 * selected with 20 digits, more than any has, and what is handed over is SQLite's own 15 where they
 * are the number, else the 16 or 17 that are.
 *
 * A column can hold one by its declared type's affinity (SQLite's manual, "Datatypes", section 3.1).
 * Where it is numeric no text looks like a number, since SQLite makes numbers of those. A column
 * without a declared type keeps texts as they are: there nothing can be shortened.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SQLITE_DIGITS = 15, DOUBLE_DIGITS_MAX = 17, REAL_BYTES_MAX = 40 };

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
    if (type[0] == '\0')
        return ODBC_REALS_AMONG_TEXTS;
    if (!has_word(type, "int") &&
        (has_word(type, "char") || has_word(type, "clob") || has_word(type, "text")))
        return ODBC_REALS_NONE;
    return ODBC_REALS_AND_NUMBERS;
}

void odbc_reals_select(const struct renkei_session *s, enum odbc_reals reals,
                       struct support_sql *sql, const char *column) {
    if (reals != ODBC_REALS_NONE) {
        support_sql_add(sql, "CASE typeof(");
        support_sql_name(sql, s->quote, column);
        support_sql_add(sql, ") WHEN 'real' THEN printf('%!.20g', ");
        support_sql_name(sql, s->quote, column);
        support_sql_add(sql, ") ELSE ");
    }
    support_sql_name(sql, s->quote, column);
    support_sql_add(sql, reals != ODBC_REALS_NONE ? " END" : "");
}

/* As SQLite writes 15 digits: with a point always. */
static void write_short(double value, char text[REAL_BYTES_MAX]) {
    snprintf(text, REAL_BYTES_MAX, "%.*g", SQLITE_DIGITS, value);
    char rest[REAL_BYTES_MAX];
    char *exponent = text + strcspn(text, "e");
    if (memchr(text, '.', (size_t)(exponent - text)) != NULL)
        return;
    snprintf(rest, sizeof rest, ".0%s", exponent);
    snprintf(exponent, REAL_BYTES_MAX - (size_t)(exponent - text), "%s", rest);
}

size_t odbc_real_shorten(const struct renkei_session *s, uint8_t *cell, size_t len) {
    char text[REAL_BYTES_MAX];
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
    size_t short_len = strlen(text);
    if (!whole || short_len > len)
        return len;
    memcpy(cell, text, short_len);
    return short_len;
}
