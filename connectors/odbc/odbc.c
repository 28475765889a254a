/*
 * The connector for everything with an ODBC driver, by unixODBC.
 *
 * Cells are fetched as SQL_C_CHAR or, where the column is binary, SQL_C_BINARY: never as SQL_C_WCHAR
 * and never as the driver's default, both of which convert and lose. What else a driver needs to
 * hand over raw bytes stands in quirks.c. What a driver says of a cell's length is checked wherever
 * it can be: a wrong length is an error, never a wrong value.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { CONNECT_S_MAX = 10, MESSAGE_BYTES_MAX = 400 };

static const struct renkei_option_spec option_specs[] = {
    {"dsn", RENKEI_OPTION_TEXT, 0, NULL, "data source of odbc.ini; or give driver"},
    {"driver", RENKEI_OPTION_TEXT, 0, NULL, "driver of odbcinst.ini, or its file"},
    {"server", RENKEI_OPTION_TEXT, 0, NULL, "name or address of the server"},
    {"port", RENKEI_OPTION_NUMBER, 0, NULL, "port of the server"},
    {"database", RENKEI_OPTION_TEXT, 0, NULL, "database, or path of its file"},
    {"user", RENKEI_OPTION_TEXT, 0, NULL, "account; it needs SELECT and nothing else"},
    {"password_file", RENKEI_OPTION_SECRET, 0, NULL, "file whose first line is the password"},
    {"settings", RENKEI_OPTION_TEXT, 0, NULL, "further words for the driver: Key=Value;Key=Value"},
    {"statement_timeout_ms", RENKEI_OPTION_NUMBER, 0, "3600000",
     "given to the driver in seconds; 0: never"},
    {NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL},
};

/* --- errors --- */

static bool starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum renkei_status connect_status(const char *state, long native, const char *text) {
    if (starts(state, "IM") || starts(state, "HY024") || native == 1049)
        return RENKEI_OPTION;
    if (starts(state, "28") || native == 1045 || native == 1044 || native == 1698 ||
        strstr(text, "password") != NULL)
        return RENKEI_LOGIN;
    if (starts(state, "HY001"))
        return RENKEI_NO_MEMORY;
    return RENKEI_UNREACHABLE;
}

static enum renkei_status query_status(const struct renkei_session *s, const char *state,
                                       long native, const char *text) {
    if (starts(state, "HY008") || (support_cancelled(&s->cancel) && !starts(state, "08")))
        return RENKEI_CANCELLED;
    if (starts(state, "08") || starts(state, "57P") || native == 2006 || native == 2013 ||
        native == 1927 || native == 1053 || strstr(text, "server closed the connection") != NULL)
        return RENKEI_LOST;
    if (starts(state, "HYT0") || starts(state, "57014") || native == 1969 || native == 3024)
        return RENKEI_TIMEOUT;
    if (starts(state, "42S02") || starts(state, "42P01") || native == 1146 ||
        strstr(text, "no such table") != NULL)
        return RENKEI_NO_TABLE;
    if (starts(state, "42S22") || starts(state, "42703") || native == 1054 ||
        strstr(text, "no such column") != NULL)
        return RENKEI_NO_COLUMN;
    if (starts(state, "HY001"))
        return RENKEI_NO_MEMORY;
    if (starts(state, "HYC00") || starts(state, "IM001"))
        return RENKEI_UNSUPPORTED;
    return RENKEI_QUERY;
}

/* A driver's text may quote a statement, a value, or the connection string: it is never passed on
 * but for what cannot hold any. */
enum renkei_status odbc_fault(const struct renkei_session *s, SQLSMALLINT kind, SQLHANDLE handle,
                              const char *object, struct renkei_fault *fault) {
    SQLCHAR state[SQL_SQLSTATE_SIZE + 1] = "", text[MESSAGE_BYTES_MAX] = "";
    SQLINTEGER native = 0;
    SQLSMALLINT len = 0;
    if (!SQL_SUCCEEDED(SQLGetDiagRec(kind, handle, 1, state, &native, text, sizeof text, &len)))
        text[0] = '\0';
    text[sizeof text - 1] = '\0';
    const char *said = (const char *)text, *code = (const char *)state;
    enum renkei_status status = s->connected ? query_status(s, code, native, said)
                                             : connect_status(code, native, said);
    if (status == RENKEI_CANCELLED)
        return support_fault(fault, status, native, code, "%s: cancelled", object);
    if (status == RENKEI_OPTION && starts(code, "IM"))
        return support_fault(fault, status, native, code, "%s: SQLSTATE %s: %s", object, code,
                             starts(code, "IM002")   ? "no such data source in odbc.ini"
                             : starts(code, "IM003") ? "the driver's file cannot be loaded"
                                                     : "the driver manager refused");
    return support_fault(fault, status, native, code, "%s: SQLSTATE %s, driver's error %ld",
                         object, code[0] != '\0' ? code : "none", (long)native);
}

/* --- the connection string --- */

/* A value in braces, a closing brace doubled: then no character of it is special. */
static void add_word(struct support_sql *text, const char *key, const char *value) {
    if (value == NULL)
        return;
    support_sql_add(text, key);
    support_sql_add(text, "=");
    if (strpbrk(value, "[]{}(),;?*=!@ ") == NULL) {
        support_sql_add(text, value);
    } else {
        support_sql_add(text, "{");
        for (const char *at = value; *at != '\0'; at++) {
            support_sql_bytes(text, at, 1);
            if (*at == '}')
                support_sql_add(text, "}");
        }
        support_sql_add(text, "}");
    }
    support_sql_add(text, ";");
}

static enum renkei_status check_settings(const char *settings, struct renkei_fault *fault) {
    for (const char *at = settings; at != NULL && *at != '\0';) {
        if (support_starts(at, "pwd") || support_starts(at, "password"))
            return support_fault(fault, RENKEI_OPTION, 0, NULL,
                                 "option 'settings' holds a password: use password_file");
        at = strchr(at, ';');
        at = at == NULL ? NULL : at + 1 + strspn(at + 1, " ");
    }
    return RENKEI_OK;
}

static enum renkei_status connection_text(const struct renkei_session *s, const char *password,
                                          struct support_sql *text, struct renkei_fault *fault) {
    const struct support_options *o = &s->options;
    const char *dsn = support_option(o, "dsn"), *driver = support_option(o, "driver");
    const char *settings = support_option(o, "settings");
    if ((dsn != NULL) == (driver != NULL))
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "options 'dsn' and 'driver': expected one of them");
    enum renkei_status status = check_settings(settings, fault);
    if (status != RENKEI_OK)
        return status;
    add_word(text, "DSN", dsn);
    add_word(text, "DRIVER", driver);
    add_word(text, "SERVER", support_option(o, "server"));
    add_word(text, "PORT", support_option(o, "port"));
    add_word(text, "DATABASE", support_option(o, "database"));
    add_word(text, "UID", support_option(o, "user"));
    add_word(text, "PWD", password[0] != '\0' ? password : NULL);
    if (settings != NULL) {
        support_sql_add(text, settings);
        support_sql_add(text, ";");
    }
    if (s->quirks != NULL && s->quirks->connect != NULL)
        support_sql_add(text, s->quirks->connect);
    if (s->quirks != NULL && s->quirks->encoding_connect != NULL && s->encoding[0] != '\0') {
        char word[2 * ODBC_NAME_BYTES];
        snprintf(word, sizeof word, s->quirks->encoding_connect, s->encoding);
        support_sql_add(text, word);
    }
    return support_sql_check(text, fault);
}

/* --- open and close --- */

static void disconnect(struct renkei_session *s) {
    if (s->connection == SQL_NULL_HDBC)
        return;
    if (s->connected) {
        SQLEndTran(SQL_HANDLE_DBC, s->connection, SQL_ROLLBACK);
        SQLDisconnect(s->connection);
    }
    SQLFreeHandle(SQL_HANDLE_DBC, s->connection);
    s->connection = SQL_NULL_HDBC;
    s->connected = false;
}

enum renkei_status odbc_environment(SQLHENV *ret_environment, struct renkei_fault *fault) {
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, ret_environment)) ||
        !SQL_SUCCEEDED(SQLSetEnvAttr(*ret_environment, SQL_ATTR_ODBC_VERSION,
                                     (SQLPOINTER)(uintptr_t)SQL_OV_ODBC3, 0)))
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL, "the driver manager is not usable");
    return RENKEI_OK;
}

enum renkei_status odbc_dial(const struct renkei_session *s, SQLHENV environment,
                             const char *password, SQLHDBC *ret_connection, bool *ret_connected,
                             struct renkei_fault *fault) {
    struct support_sql text = {0};
    enum renkei_status status = connection_text(s, password, &text, fault);
    if (status == RENKEI_OK &&
        !SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_DBC, environment, ret_connection)))
        status = support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a connection");
    if (status == RENKEI_OK) {
        SQLSetConnectAttr(*ret_connection, SQL_ATTR_LOGIN_TIMEOUT,
                          (SQLPOINTER)(uintptr_t)CONNECT_S_MAX, 0);
        SQLSMALLINT len = 0;
        SQLRETURN result = SQLDriverConnect(*ret_connection, NULL, (SQLCHAR *)text.text,
                                            (SQLSMALLINT)text.len, NULL, 0, &len,
                                            SQL_DRIVER_NOPROMPT);
        if (SQL_SUCCEEDED(result))
            *ret_connected = true;
        else
            status = odbc_fault(s, SQL_HANDLE_DBC, *ret_connection, "connection", fault);
    }
    if (text.text != NULL)
        support_wipe(text.text, text.capacity);
    support_sql_done(&text);
    return status;
}

static enum renkei_status connect_once(struct renkei_session *s, const char *password,
                                       struct renkei_fault *fault) {
    return odbc_dial(s, s->environment, password, &s->connection, &s->connected, fault);
}

static void info(struct renkei_session *s, SQLUSMALLINT what, char *ret_text, size_t size) {
    SQLSMALLINT len = 0;
    ret_text[0] = '\0';
    if (!SQL_SUCCEEDED(SQLGetInfo(s->connection, what, ret_text, (SQLSMALLINT)size, &len)))
        ret_text[0] = '\0';
    ret_text[size - 1] = '\0';
}

static enum renkei_status run(struct renkei_session *s, const char *sql,
                              struct renkei_fault *fault) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, sql, fault);
    enum renkei_status status = RENKEI_OK;
    SQLRETURN result = SQLExecDirect(statement, (SQLCHAR *)(uintptr_t)sql, SQL_NTS);
    if (!SQL_SUCCEEDED(result) && result != SQL_NO_DATA)
        status = odbc_fault(s, SQL_HANDLE_STMT, statement, sql, fault);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    return status;
}

void odbc_ask(struct renkei_session *s, const char *sql, char *ret_text, size_t size) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    ret_text[0] = '\0';
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return;
    if (SQL_SUCCEEDED(SQLExecDirect(statement, (SQLCHAR *)(uintptr_t)sql, SQL_NTS)) &&
        SQL_SUCCEEDED(SQLFetch(statement)))
        odbc_text(statement, 1, ret_text, size);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
}

/* The charset in which the driver hands over texts, by the variable that tells it. It must be one
 * that has Japanese characters and that we know: for any other the driver writes question marks. */
static enum renkei_status take_environment(struct renkei_session *s, struct renkei_fault *fault) {
    const char *name = s->quirks->environment, *value = getenv(name);
    const char *charset = value == NULL ? NULL : strchr(value, '.');
    if (charset == NULL || support_charset(charset + 1) == RENKEI_CHARSET_UNKNOWN)
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "%s: found '%s', expected one that ends with .AL32UTF8, .JA16SJISTILDE"
                             " or .JA16EUCTILDE, in the mapping's 'environment'",
                             name, value == NULL ? "" : value);
    snprintf(s->encoding, sizeof s->encoding, "%s", charset + 1);
    return RENKEI_OK;
}

/* The driver's name is known after a first login only; what it needs in the connection string asks
 * for a second one. */
static enum renkei_status dial(struct renkei_session *s, struct renkei_fault *fault) {
    char password[SUPPORT_SECRET_BYTES_MAX];
    enum renkei_status status = support_secret(&s->options, "password_file", password, fault);
    if (status != RENKEI_OK)
        return status;
    status = connect_once(s, password, fault);
    if (status == RENKEI_OK) {
        info(s, SQL_DRIVER_NAME, s->driver, sizeof s->driver);
        if (s->driver[0] == '\0')
            info(s, SQL_DBMS_NAME, s->driver, sizeof s->driver);
        const char *name = strrchr(s->driver, '/');
        name = name == NULL ? s->driver : name + 1;
        s->quirks = odbc_quirks_of(support_starts(name, "lib") ? name + 3 : name);
        if (s->quirks->environment != NULL)
            status = take_environment(s, fault);
        if (s->quirks->encoding_query != NULL)
            odbc_ask(s, s->quirks->encoding_query, s->encoding, sizeof s->encoding);
        bool again = s->quirks->connect != NULL || s->quirks->encoding_connect != NULL;
        if (status == RENKEI_OK && again) {
            disconnect(s);
            status = connect_once(s, password, fault);
        }
    }
    support_wipe(password, sizeof password);
    return status;
}

static enum renkei_status set_session(struct renkei_session *s, struct renkei_fault *fault) {
    SQLUINTEGER extensions = 0;
    SQLUSMALLINT transactions = SQL_TC_NONE;
    char quote[8];
    for (size_t i = 0; s->quirks->session != NULL && s->quirks->session[i] != NULL; i++) {
        enum renkei_status status = run(s, s->quirks->session[i], fault);
        if (status != RENKEI_OK)
            return status;
    }
    if (s->quirks->packet_query != NULL) {
        char packet[ODBC_NAME_BYTES];
        odbc_ask(s, s->quirks->packet_query, packet, sizeof packet);
        s->packet_bytes_max = strtoull(packet, NULL, 10);
    }
    if (s->quirks->literal == ODBC_SQLITE) {
        char encoding[ODBC_NAME_BYTES];
        odbc_ask(s, "PRAGMA encoding", encoding, sizeof encoding);
        s->wide = !support_starts(encoding, "UTF-8");
    }
    info(s, SQL_DBMS_NAME, s->product, sizeof s->product);
    if (s->quirks->catalog)
        info(s, SQL_DATABASE_NAME, s->database, sizeof s->database);
    info(s, SQL_DBMS_VER, s->version, sizeof s->version);
    info(s, SQL_IDENTIFIER_QUOTE_CHAR, quote, sizeof quote);
    s->quote = quote[0] == '\0' ? ' ' : quote[0];
    SQLGetInfo(s->connection, SQL_GETDATA_EXTENSIONS, &extensions, sizeof extensions, NULL);
    SQLGetInfo(s->connection, SQL_TXN_CAPABLE, &transactions, sizeof transactions, NULL);
    s->can_get_bound = (extensions & SQL_GD_BOUND) != 0 && (extensions & SQL_GD_ANY_COLUMN) != 0;
    s->can_commit = transactions != SQL_TC_NONE;
    snprintf(s->settings, sizeof s->settings, "driver=%s;encoding=%s;fetch=char;", s->driver,
             s->encoding);
    return RENKEI_OK;
}

static void odbc_close(struct renkei_session *s) {
    if (s == NULL)
        return;
    odbc_finish(&s->cursor);
    odbc_cancel_done(s);
    disconnect(s);
    if (s->environment != SQL_NULL_HENV)
        SQLFreeHandle(SQL_HANDLE_ENV, s->environment);
    if (s->plain_locale != (locale_t)0)
        freelocale(s->plain_locale);
    support_tables_done(&s->tables);
    free(s);
}

static enum renkei_status odbc_open(const struct renkei_option *options, uint32_t option_count,
                                    struct renkei_session **ret_session,
                                    struct renkei_fault *fault) {
    struct renkei_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    support_cancel_init(&s->cancel, false);
    s->options = (struct support_options){option_specs, options, option_count};
    s->cursor.session = s;
    enum renkei_status status = support_options_check(&s->options, fault);
    s->plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (status == RENKEI_OK && s->plain_locale == (locale_t)0)
        status = support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    if (status == RENKEI_OK)
        status = odbc_environment(&s->environment, fault);
    if (status == RENKEI_OK)
        status = dial(s, fault);
    if (status == RENKEI_OK)
        status = set_session(s, fault);
    if (status == RENKEI_OK)
        status = odbc_cancel_prepare(s, fault);
    if (status != RENKEI_OK) {
        odbc_close(s);
        return status;
    }
    *ret_session = s;
    return RENKEI_OK;
}

/* --- server and snapshot --- */

static enum renkei_status odbc_server(struct renkei_session *s, struct renkei_server *ret_server,
                                      struct renkei_fault *fault) {
    SQLUINTEGER dead = SQL_CD_FALSE;
    if (SQL_SUCCEEDED(SQLGetConnectAttr(s->connection, SQL_ATTR_CONNECTION_DEAD, &dead, 0, NULL)) &&
        dead == SQL_CD_TRUE)
        return support_fault(fault, RENKEI_LOST, 0, NULL, "server: the connection is closed");
    *ret_server = (struct renkei_server){
        .product = s->quirks->product != NULL ? s->quirks->product : s->product,
        .version = s->version,
        .charset = s->encoding,
        .time_zone = "",
        .settings = s->settings,
        .read_only = s->quirks->read_only,
    };
    return RENKEI_OK;
}

static bool set_autocommit(struct renkei_session *s, SQLUINTEGER value) {
    return SQL_SUCCEEDED(SQLSetConnectAttr(s->connection, SQL_ATTR_AUTOCOMMIT,
                                           (SQLPOINTER)(uintptr_t)value, 0));
}

static enum renkei_status odbc_begin(struct renkei_session *s, const char **ret_label,
                                     struct renkei_fault *fault) {
    const char *begin = s->quirks->begin;
    if (!s->can_commit || (begin != NULL && begin[0] == '\0'))
        return support_fault(fault, RENKEI_UNSUPPORTED, 0, NULL,
                             "snapshot: the driver has no transactions");
    if (begin == NULL)
        SQLSetConnectAttr(s->connection, SQL_ATTR_TXN_ISOLATION,
                          (SQLPOINTER)(uintptr_t)SQL_TXN_SERIALIZABLE, 0);
    if (s->quirks->end == NULL && !set_autocommit(s, SQL_AUTOCOMMIT_OFF))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, "snapshot", fault);
    enum renkei_status status = begin == NULL ? RENKEI_OK : run(s, begin, fault);
    if (status != RENKEI_OK) {
        if (s->quirks->end == NULL)
            (void)set_autocommit(s, SQL_AUTOCOMMIT_ON);
        return status;
    }
    time_t now;
    struct tm utc;
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    now = clock.tv_sec;
    gmtime_r(&now, &utc);
    strftime(s->label, sizeof s->label, "%Y-%m-%dT%H:%M:%SZ", &utc);
    s->in_snapshot = true;
    *ret_label = s->label;
    return RENKEI_OK;
}

static enum renkei_status odbc_end(struct renkei_session *s, struct renkei_fault *fault) {
    s->in_snapshot = false;
    if (s->quirks->end != NULL)
        return run(s, s->quirks->end, fault);
    if (!SQL_SUCCEEDED(SQLEndTran(SQL_HANDLE_DBC, s->connection, SQL_ROLLBACK)) ||
        !set_autocommit(s, SQL_AUTOCOMMIT_ON))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, "end of the snapshot", fault);
    return RENKEI_OK;
}

__attribute__((visibility("default"))) extern const struct renkei_connector renkei_connector;

const struct renkei_connector renkei_connector = {
    .magic = {RENKEI_CONNECTOR_MAGIC, RENKEI_CONNECTOR_ABI_VERSION,
              sizeof(struct renkei_connector), 0},
    .name = "odbc",
    .version = "1",
    .description = "any database with an ODBC driver, by unixODBC",
    .capabilities = RENKEI_CAN_SNAPSHOT | RENKEI_CAN_CANCEL | RENKEI_CAN_KEY_RANGE |
                    RENKEI_CAN_WATERMARK,
    .options = option_specs,
    .open = odbc_open,
    .close = odbc_close,
    .server = odbc_server,
    .tables = odbc_tables,
    .columns = odbc_columns,
    .begin = odbc_begin,
    .end = odbc_end,
    .query = odbc_query,
    .next = odbc_next,
    .finish = odbc_finish,
    .cancel = odbc_cancel,
};
