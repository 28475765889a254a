/*
 * An ODBC driver that does wrong what drivers in the wild do wrong. It has one table, t (id, v), of
 * three rows; DATABASE= in the connection string chooses the fault:
 *
 *   good, no-total        right, the second with lengths that are not known in advance
 *   crash, hang           within a fetch
 *   lost                  SQLSTATE 08S01 after the first row
 *   longer, shorter       reports more, or fewer, bytes than it gives
 *   negative              reports -7 bytes
 *   half                  writes 32 of the 64 bits of a length
 *   null-later            NULL in the middle of a cell
 *   endless               a cell that never ends, of an unknown length
 *   garbage               leaves the length as it was
 *   end                   all rows come; the connection is lost when their transaction ends
 */
#include <sql.h>
#include <sqlext.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 3, LONG_BYTES = 100000 };

static char fault[32];
static struct {
    int catalog; /* 1: the result of SQLColumns, 2: of SQLTables */
    int row;
    size_t given;       /* bytes of the present cell given so far */
    SQLUSMALLINT column;
    int lost;
} now;

static int is(const char *name) {
    return strcmp(fault, name) == 0;
}

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
    (void)h;
    (void)window;
    (void)in_len;
    (void)out;
    (void)out_max;
    (void)completion;
    const char *at = strstr((const char *)in, "DATABASE=");
    if (at != NULL)
        snprintf(fault, sizeof fault, "%.*s", (int)strcspn(at + 9, ";"), at + 9);
    if (out_len != NULL)
        *out_len = 0;
    return SQL_SUCCESS;
}

SQLRETURN SQLDisconnect(SQLHDBC h) {
    (void)h;
    return SQL_SUCCESS;
}

SQLRETURN SQLEndTran(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT how) {
    (void)type;
    (void)h;
    (void)how;
    now.lost = is("end");
    return now.lost ? SQL_ERROR : SQL_SUCCESS;
}

SQLRETURN SQLGetInfo(SQLHDBC h, SQLUSMALLINT what, SQLPOINTER value, SQLSMALLINT max,
                     SQLSMALLINT *ret_len) {
    const char *text = what == SQL_DRIVER_NAME            ? "libfaulty.so"
                       : what == SQL_DBMS_NAME            ? "Faulty"
                       : what == SQL_IDENTIFIER_QUOTE_CHAR ? "\""
                       : what == SQL_DRIVER_ODBC_VER      ? "03.00"
                                                          : NULL;
    (void)h;
    if (what == SQL_TXN_CAPABLE && is("end")) {
        *(SQLUSMALLINT *)value = SQL_TC_ALL;
        return SQL_SUCCESS;
    }
    if (text == NULL)
        return SQL_ERROR;
    snprintf(value, (size_t)max, "%s", text);
    if (ret_len != NULL)
        *ret_len = (SQLSMALLINT)strlen(text);
    return SQL_SUCCESS;
}

SQLRETURN SQLGetDiagRec(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT number, SQLCHAR *state,
                        SQLINTEGER *native, SQLCHAR *text, SQLSMALLINT max, SQLSMALLINT *len) {
    (void)type;
    (void)h;
    if (number != 1)
        return SQL_NO_DATA;
    memcpy(state, now.lost ? "08S01" : "HY000", 6);
    *native = 1;
    snprintf((char *)text, (size_t)max, "fault");
    if (len != NULL)
        *len = 5;
    return SQL_SUCCESS;
}

/* The driver manager asks for this one before it uses the other. */
SQLRETURN SQLGetDiagField(SQLSMALLINT type, SQLHANDLE h, SQLSMALLINT number, SQLSMALLINT what,
                          SQLPOINTER value, SQLSMALLINT max, SQLSMALLINT *len) {
    (void)type, (void)h, (void)number, (void)what, (void)value, (void)max, (void)len;
    return SQL_ERROR;
}

static SQLRETURN begin(int catalog) {
    memset(&now, 0, sizeof now);
    now.catalog = catalog;
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

SQLRETURN SQLExecDirect(SQLHSTMT h, SQLCHAR *sql, SQLINTEGER len) {
    (void)h;
    (void)sql;
    (void)len;
    return begin(0);
}

SQLRETURN SQLNumResultCols(SQLHSTMT h, SQLSMALLINT *count) {
    (void)h;
    *count = now.catalog == 0 ? 2 : now.catalog == 1 ? 18 : 5;
    return SQL_SUCCESS;
}

SQLRETURN SQLFetch(SQLHSTMT h) {
    int rows = now.catalog == 0 ? ROWS : now.catalog == 1 ? 2 : 1;
    (void)h;
    now.column = 0;
    if (now.row++ == rows)
        return SQL_NO_DATA;
    if (now.catalog != 0 || now.row != 2)
        return SQL_SUCCESS;
    if (is("crash"))
        raise(SIGSEGV);
    if (is("hang"))
        pause();
    now.lost = is("lost");
    return now.lost ? SQL_ERROR : SQL_SUCCESS;
}

static const char *cell(SQLUSMALLINT column) {
    static char text[LONG_BYTES + 1];
    if (now.catalog == 1) {
        if (column == 4)
            return now.row == 1 ? "id" : "v";
        if (column == 5)
            return now.row == 1 ? "4" : "12"; /* SQL_INTEGER, SQL_VARCHAR */
        return column == 3 ? "t" : column == 6 ? "text" : column == 7 ? "9" : "";
    }
    if (now.catalog == 2)
        return column == 3 ? "t" : column == 4 ? "TABLE" : "";
    if (column == 1) {
        snprintf(text, sizeof text, "%d", now.row);
        return text;
    }
    memset(text, 'a' + now.row, LONG_BYTES);
    text[LONG_BYTES] = '\0';
    return text;
}

SQLRETURN SQLGetData(SQLHSTMT h, SQLUSMALLINT column, SQLSMALLINT type, SQLPOINTER value,
                     SQLLEN max, SQLLEN *indicator) {
    (void)h;
    (void)type;
    const char *text = cell(column);
    size_t len = strlen(text);
    if (column != now.column) {
        now.column = column;
        now.given = 0;
    }
    size_t left = len - now.given, fits = (size_t)max - 1;
    size_t piece = left < fits ? left : fits;
    memcpy(value, text + now.given, piece);
    ((char *)value)[piece] = '\0';
    now.given += piece;
    SQLLEN before = *indicator;
    *indicator = (SQLLEN)left;
    int more = piece < left;
    bool faulty = now.catalog == 0 && column == 2 && now.row == 2;
    if (faulty && is("endless")) {
        memset(value, 'e', (size_t)max - 1);
        *indicator = SQL_NO_TOTAL;
        return SQL_SUCCESS_WITH_INFO;
    }
    if (faulty && is("garbage")) {
        *indicator = before;
        return SQL_SUCCESS;
    }
    if (faulty) {
        if (is("no-total") && more)
            *indicator = SQL_NO_TOTAL;
        if (is("longer"))
            *indicator = (SQLLEN)left + 5;
        if (is("shorter") && !more)
            *indicator = (SQLLEN)left - 5;
        if (is("negative"))
            *indicator = -7;
        if (is("null-later") && !more)
            *indicator = SQL_NULL_DATA;
    }
    if (now.catalog == 0 && is("half")) {
        SQLLEN whole = 0x5A5A5A5A5A5A5A5A;
        int32_t half = (int32_t)left;
        memcpy(&whole, &half, sizeof half);
        *indicator = whole;
    }
    return more ? SQL_SUCCESS_WITH_INFO : SQL_SUCCESS;
}
