/*
 * An ODBC driver that behaves as Oracle's does where that matters, so far as its documentation says; it
 * was never compared with the real one. One table, KARTE, in a database of AL32UTF8:
 *
 *   ID NUMBER(38), NAME VARCHAR2 ('' is NULL), AMOUNT NUMBER(38,10), SEEN DATE (it has a time)
 *
 * NLS_LANG decides what the text comes in, and a wrong one gives ? for each character without a word.
 * TNS_ADMIN must name a folder with a tnsnames.ora that has the service, as the real one needs.
 */
#include <sql.h>
#include <sqlext.h>

#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, COLUMNS = 4, PARAMETERS_MAX = 16, TEXT_BYTES = 256 };

static const char *const karte[ROWS][COLUMNS] = {
    {"12345678901234567890123456789012345678", "髙﨑 太郎", "-1234567890123456789012345678.0123456789",
     "2011-03-24 09:30:00"},
    {"2", "ソ表", "0.5", "2011-03-24 00:00:00"},
    {"3", NULL, NULL, NULL}, /* the name was stored as '' */
    {"4", "①～－", "0", "0001-01-01 00:00:00"},
};
static const char *const names[COLUMNS] = {"ID", "NAME", "AMOUNT", "SEEN"};
static const char *const sql_types[COLUMNS] = {"3", "12", "3", "93"}; /* DECIMAL VARCHAR TIMESTAMP */
static const char *const type_names[COLUMNS] = {"NUMBER", "VARCHAR2", "NUMBER", "DATE"};

static struct {
    int catalog; /* 1: the result of SQLColumns, 2: of SQLTables */
    int row;
    const char *parameters[PARAMETERS_MAX];
    SQLLEN *lengths[PARAMETERS_MAX];
    int parameter_count;
} now;

SQLRETURN SQLAllocHandle(SQLSMALLINT type, SQLHANDLE input, SQLHANDLE *output) {
    static int handles[4];
    (void)input;
    *output = &handles[type & 3];
    return SQL_SUCCESS;
}

SQLRETURN SQLFreeHandle(SQLSMALLINT type, SQLHANDLE handle) {
    (void)type;
    (void)handle;
    return SQL_SUCCESS;
}

SQLRETURN SQLSetEnvAttr(SQLHENV h, SQLINTEGER what, SQLPOINTER value, SQLINTEGER len) {
    (void)h;
    (void)what;
    (void)value;
    (void)len;
    return SQL_SUCCESS;
}

SQLRETURN SQLSetConnectAttr(SQLHDBC h, SQLINTEGER what, SQLPOINTER value, SQLINTEGER len) {
    (void)h;
    (void)what;
    (void)value;
    (void)len;
    return SQL_SUCCESS;
}

SQLRETURN SQLSetStmtAttr(SQLHSTMT h, SQLINTEGER what, SQLPOINTER value, SQLINTEGER len) {
    (void)h;
    (void)what;
    (void)value;
    (void)len;
    return SQL_SUCCESS;
}

SQLRETURN SQLGetStmtAttr(SQLHSTMT h, SQLINTEGER what, SQLPOINTER value, SQLINTEGER len,
                         SQLINTEGER *ret_len) {
    static int descriptor;
    (void)h;
    (void)what;
    (void)len;
    (void)ret_len;
    *(SQLHANDLE *)value = &descriptor;
    return SQL_SUCCESS;
}

SQLRETURN SQLDriverConnect(SQLHDBC h, SQLHWND window, SQLCHAR *in, SQLSMALLINT in_len, SQLCHAR *out,
                           SQLSMALLINT out_max, SQLSMALLINT *out_len, SQLUSMALLINT completion) {
    (void)h, (void)window, (void)in, (void)in_len, (void)out, (void)out_max, (void)completion;
    char path[4096];
    const char *folder = getenv("TNS_ADMIN");
    snprintf(path, sizeof path, "%s/tnsnames.ora", folder == NULL ? "" : folder);
    FILE *file = fopen(path, "r");
    if (out_len != NULL)
        *out_len = 0;
    if (file == NULL)
        return SQL_ERROR; /* ORA-12154 */
    fclose(file);
    return SQL_SUCCESS;
}

SQLRETURN SQLDisconnect(SQLHDBC h) {
    (void)h;
    return SQL_SUCCESS;
}

SQLRETURN SQLEndTran(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT how) {
    (void)type, (void)h, (void)how;
    return SQL_SUCCESS;
}

SQLRETURN SQLGetInfo(SQLHDBC h, SQLUSMALLINT what, SQLPOINTER value, SQLSMALLINT max,
                     SQLSMALLINT *ret_len) {
    const char *text = what == SQL_DRIVER_NAME             ? "libsqora.so.19.1"
                       : what == SQL_DBMS_NAME             ? "Oracle"
                       : what == SQL_IDENTIFIER_QUOTE_CHAR ? "\""
                       : what == SQL_DRIVER_ODBC_VER       ? "03.52"
                                                           : NULL;
    (void)h;
    if (text == NULL)
        return SQL_ERROR;
    snprintf(value, (size_t)max, "%s", text);
    if (ret_len != NULL)
        *ret_len = (SQLSMALLINT)strlen(text);
    return SQL_SUCCESS;
}

SQLRETURN SQLGetDiagRec(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT number, SQLCHAR *state,
                        SQLINTEGER *native, SQLCHAR *text, SQLSMALLINT max, SQLSMALLINT *len) {
    (void)type, (void)h;
    if (number != 1)
        return SQL_NO_DATA;
    memcpy(state, "08004", 6);
    *native = 12154;
    snprintf((char *)text, (size_t)max, "ORA-12154: could not resolve the connect identifier");
    if (len != NULL)
        *len = (SQLSMALLINT)strlen((const char *)text);
    return SQL_SUCCESS;
}

SQLRETURN SQLGetDiagField(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT number, SQLSMALLINT what,
                          SQLPOINTER value, SQLSMALLINT max, SQLSMALLINT *len) {
    (void)type, (void)h, (void)number, (void)what, (void)value, (void)max, (void)len;
    return SQL_ERROR;
}

static SQLRETURN begin(int catalog) {
    now.catalog = catalog;
    now.row = 0;
    return SQL_SUCCESS;
}

SQLRETURN SQLColumns(SQLHSTMT h, SQLCHAR *a, SQLSMALLINT al, SQLCHAR *b, SQLSMALLINT bl,
                     SQLCHAR *c, SQLSMALLINT cl, SQLCHAR *d, SQLSMALLINT dl) {
    (void)h, (void)a, (void)al, (void)b, (void)bl, (void)c, (void)cl, (void)d, (void)dl;
    return begin(1);
}

SQLRETURN SQLTables(SQLHSTMT h, SQLCHAR *a, SQLSMALLINT al, SQLCHAR *b, SQLSMALLINT bl, SQLCHAR *c,
                    SQLSMALLINT cl, SQLCHAR *d, SQLSMALLINT dl) {
    (void)h, (void)a, (void)al, (void)b, (void)bl, (void)c, (void)cl, (void)d, (void)dl;
    return begin(2);
}

SQLRETURN SQLBindParameter(SQLHSTMT h, SQLUSMALLINT number, SQLSMALLINT way, SQLSMALLINT c_type,
                           SQLSMALLINT sql_type, SQLULEN size, SQLSMALLINT digits, SQLPOINTER value,
                           SQLLEN max, SQLLEN *length) {
    (void)h, (void)way, (void)c_type, (void)sql_type, (void)size, (void)digits, (void)max;
    if (number > PARAMETERS_MAX)
        return SQL_ERROR;
    now.parameters[number - 1] = value;
    now.lengths[number - 1] = length;
    now.parameter_count = number;
    return SQL_SUCCESS;
}

/* Its only condition: the ID is one of the parameters. */
SQLRETURN SQLExecDirect(SQLHSTMT h, SQLCHAR *sql, SQLINTEGER len) {
    (void)h, (void)len;
    if (strchr((const char *)sql, '?') == NULL)
        now.parameter_count = 0;
    return begin(0);
}

SQLRETURN SQLNumResultCols(SQLHSTMT h, SQLSMALLINT *count) {
    (void)h;
    *count = now.catalog == 0 ? COLUMNS : now.catalog == 1 ? 18 : 5;
    return SQL_SUCCESS;
}

static int is_wanted(void) {
    const char *id = karte[now.row - 1][0];
    for (int i = 0; i < now.parameter_count; i++)
        if ((size_t)*now.lengths[i] == strlen(id) &&
            memcmp(now.parameters[i], id, strlen(id)) == 0)
            return 1;
    return now.parameter_count == 0;
}

SQLRETURN SQLFetch(SQLHSTMT h) {
    int rows = now.catalog == 0 ? ROWS : now.catalog == 1 ? COLUMNS : 1;
    (void)h;
    while (now.row++ < rows)
        if (now.catalog != 0 || is_wanted())
            return SQL_SUCCESS;
    return SQL_NO_DATA;
}

/* What the client's character set makes of the database's. */
static void convert(const char *text, char ret_text[TEXT_BYTES]) {
    const char *lang = getenv("NLS_LANG");
    const char *set = lang == NULL || strchr(lang, '.') == NULL ? "" : strchr(lang, '.') + 1;
    const char *to = strcmp(set, "AL32UTF8") == 0         ? "UTF-8"
                     : strcmp(set, "JA16SJISTILDE") == 0 ? "CP932"
                                                          : "US-ASCII";
    iconv_t cd = iconv_open(to, "UTF-8");
    char *in = (char *)(size_t)text, *out = ret_text;
    size_t left = strlen(text), room = TEXT_BYTES - 1;
    while (left > 0 && iconv(cd, &in, &left, &out, &room) == (size_t)-1) {
        *out++ = '?';
        room--;
        do {
            in++;
            left--;
        } while (left > 0 && (*in & 0xC0) == 0x80);
    }
    *out = '\0';
    iconv_close(cd);
}

static const char *cell(SQLUSMALLINT column) {
    int row = now.row - 1;
    if (now.catalog == 1)
        return column == 3   ? "KARTE"
               : column == 4 ? names[row]
               : column == 5 ? sql_types[row]
               : column == 6 ? type_names[row]
               : column == 7 ? "38"
                             : "";
    if (now.catalog == 2)
        return column == 3 ? "KARTE" : column == 4 ? "TABLE" : "";
    return karte[row][column - 1];
}

SQLRETURN SQLGetData(SQLHSTMT h, SQLUSMALLINT column, SQLSMALLINT type, SQLPOINTER value,
                     SQLLEN max, SQLLEN *indicator) {
    char converted[TEXT_BYTES];
    (void)h, (void)type;
    const char *text = cell(column);
    if (text == NULL) {
        *indicator = SQL_NULL_DATA;
        return SQL_SUCCESS;
    }
    convert(text, converted);
    snprintf(value, (size_t)max, "%s", converted);
    *indicator = (SQLLEN)strlen(converted);
    return SQL_SUCCESS;
}
