/*
 * What there is, by ODBC's catalog functions. Names are compared here: a driver may take an
 * underscore in a table's name for a pattern.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = RENKEI_NAME_BYTES_MAX + 1, TYPE_BYTES = 128 };

/* Columns of SQLColumns' and SQLTables' results, by the standard. */
enum {
    AT_SCHEMA = 2,
    AT_TABLE = 3,
    AT_KIND = 4,
    AT_COLUMN = 4,
    AT_DATA_TYPE = 5,
    AT_TYPE_NAME = 6,
    AT_COLUMN_SIZE = 7,
    AT_NULLABLE = 11,
    AT_KEY_COLUMN = 4,
    AT_KEY_SEQUENCE = 5,
    AT_INDEX_POSITION = 8,
    AT_INDEX_COLUMN = 9,
};

void odbc_text(SQLHSTMT statement, SQLUSMALLINT column, char *ret_text, size_t size) {
    SQLLEN len = 0;
    ret_text[0] = '\0';
    SQLRETURN result =
        SQLGetData(statement, column, SQL_C_CHAR, ret_text, (SQLLEN)size, &len);
    if (!SQL_SUCCEEDED(result) || len == SQL_NULL_DATA)
        ret_text[0] = '\0';
    ret_text[size - 1] = '\0';
}

static long number(SQLHSTMT statement, SQLUSMALLINT column, long otherwise) {
    char text[32];
    odbc_text(statement, column, text, sizeof text);
    return text[0] == '\0' ? otherwise : strtol(text, NULL, 10);
}

static SQLCHAR *catalog_of(struct renkei_session *s) {
    return s->database[0] == '\0' ? NULL : (SQLCHAR *)s->database;
}

static SQLSMALLINT catalog_len(const struct renkei_session *s) {
    return s->database[0] == '\0' ? 0 : SQL_NTS;
}

static bool is_schema_default(const char *schema) {
    return schema == NULL || schema[0] == '\0';
}

enum renkei_status odbc_tables(struct renkei_session *s, renkei_table_visitor *visitor,
                               void *context, struct renkei_fault *fault) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, "list of tables", fault);
    enum renkei_status status = RENKEI_OK;
    SQLCHAR kinds[] = "TABLE,VIEW";
    if (!SQL_SUCCEEDED(SQLTables(statement, catalog_of(s), catalog_len(s), NULL, 0, NULL, 0, kinds, SQL_NTS)))
        status = odbc_fault(s, SQL_HANDLE_STMT, statement, "list of tables", fault);
    while (status == RENKEI_OK && SQL_SUCCEEDED(SQLFetch(statement))) {
        char schema[TEXT_BYTES], name[TEXT_BYTES], kind[TYPE_BYTES];
        odbc_text(statement, AT_SCHEMA, schema, sizeof schema);
        odbc_text(statement, AT_TABLE, name, sizeof name);
        odbc_text(statement, AT_KIND, kind, sizeof kind);
        struct renkei_table table = {
            .name = name,
            .schema = strcmp(schema, "public") == 0 ? "" : schema,
            .kind = support_starts(kind, "VIEW") ? "view" : "table",
            .engine = "",
            .transactional = s->quirks->transactional,
            .rows_estimate = -1,
        };
        visitor(context, &table);
    }
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    return status;
}

/* Types of PostgreSQL's that its driver calls VARCHAR or FLOAT. */
static enum renkei_type postgresql_type(const char *name, enum renkei_type otherwise) {
    static const struct {
        const char *name;
        enum renkei_type type;
    } table[] = {
        {"bool", RENKEI_TYPE_BOOL},         {"bit", RENKEI_TYPE_BIT},
        {"varbit", RENKEI_TYPE_BIT},        {"json", RENKEI_TYPE_JSON},
        {"jsonb", RENKEI_TYPE_JSON},        {"uuid", RENKEI_TYPE_UUID},
        {"money", RENKEI_TYPE_MONEY},       {"interval", RENKEI_TYPE_INTERVAL},
        {"timetz", RENKEI_TYPE_TIME},       {"timestamptz", RENKEI_TYPE_TIMESTAMP_ZONE},
    };
    if (name[0] == '_')
        return RENKEI_TYPE_ARRAY;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].type;
    return otherwise;
}

static enum renkei_type type_of(long sql_type) {
    switch (sql_type) {
    case SQL_CHAR:
    case SQL_VARCHAR:
    case SQL_LONGVARCHAR:
    case SQL_WCHAR:
    case SQL_WVARCHAR:
    case SQL_WLONGVARCHAR:
        return RENKEI_TYPE_TEXT;
    case SQL_TINYINT:
    case SQL_SMALLINT:
    case SQL_INTEGER:
    case SQL_BIGINT:
        return RENKEI_TYPE_INTEGER;
    case SQL_DECIMAL:
    case SQL_NUMERIC:
        return RENKEI_TYPE_DECIMAL;
    case SQL_REAL:
    case SQL_FLOAT:
    case SQL_DOUBLE:
        return RENKEI_TYPE_FLOAT;
    case SQL_BIT:
        return RENKEI_TYPE_BOOL;
    case SQL_TYPE_DATE:
    case SQL_DATE:
        return RENKEI_TYPE_DATE;
    case SQL_TYPE_TIME:
    case SQL_TIME:
        return RENKEI_TYPE_TIME;
    case SQL_TYPE_TIMESTAMP:
    case SQL_TIMESTAMP:
        return RENKEI_TYPE_TIMESTAMP;
    case SQL_BINARY:
    case SQL_VARBINARY:
    case SQL_LONGVARBINARY:
        return RENKEI_TYPE_BINARY;
    case SQL_GUID:
        return RENKEI_TYPE_UUID;
    default:
        return RENKEI_TYPE_OTHER;
    }
}

static bool holds_text(enum renkei_type type) {
    return type == RENKEI_TYPE_TEXT || type == RENKEI_TYPE_OTHER || type == RENKEI_TYPE_JSON ||
           type == RENKEI_TYPE_ARRAY;
}

static bool read_column(struct renkei_session *s, struct support_table *t, SQLHSTMT statement) {
    char name[TEXT_BYTES], type_name[TYPE_BYTES], declared[2 * TYPE_BYTES];
    struct renkei_column *c = support_table_column(t);
    if (c == NULL)
        return false;
    /* In ascending order: not every driver can go back. */
    odbc_text(statement, AT_COLUMN, name, sizeof name);
    long sql_type = number(statement, AT_DATA_TYPE, SQL_UNKNOWN_TYPE);
    odbc_text(statement, AT_TYPE_NAME, type_name, sizeof type_name);
    long size = number(statement, AT_COLUMN_SIZE, 0);
    long nullable = number(statement, AT_NULLABLE, SQL_NULLABLE_UNKNOWN);
    bool sized = s->quirks->literal != ODBC_POSTGRESQL || support_starts(type_name, "varchar") ||
                 support_starts(type_name, "bpchar");
    if (sized && size > 0 && strchr(type_name, '(') == NULL &&
        (sql_type == SQL_CHAR || sql_type == SQL_VARCHAR || sql_type == SQL_WCHAR ||
         sql_type == SQL_WVARCHAR))
        snprintf(declared, sizeof declared, "%s(%ld)", type_name, size);
    else
        snprintf(declared, sizeof declared, "%s", type_name);
    c->name = support_pool_text(&t->pool, name, strlen(name));
    c->declared_type = support_pool_text(&t->pool, declared, strlen(declared));
    c->type = type_of(sql_type);
    if (s->quirks->literal == ODBC_POSTGRESQL)
        c->type = postgresql_type(type_name, c->type);
    if (strcmp(type_name, "bit") == 0 && size > 0)
        c->bits = (uint32_t)size; /* psqlodbc; others have bits read elsewhere */
    c->nullable = nullable == SQL_NO_NULLS ? 0 : nullable == SQL_NULLABLE ? 1 : -1;
    c->charset = RENKEI_CHARSET_ASCII;
    if (c->type == RENKEI_TYPE_BINARY)
        c->charset = RENKEI_CHARSET_BINARY;
    if (holds_text(c->type)) {
        c->charset = s->quirks->text;
        if (s->encoding[0] != '\0') {
            c->charset = support_charset(s->encoding);
            c->charset_name = support_pool_text(&t->pool, s->encoding, strlen(s->encoding));
        }
    }
    return true;
}

static SQLCHAR *sql_text(const char *text) {
    return (SQLCHAR *)(uintptr_t)text;
}

/* Whether this row of a catalog result is of the table, whose name the driver took as a pattern. */
static bool is_of(const struct support_table *t, SQLHSTMT statement) {
    char schema[TEXT_BYTES], name[TEXT_BYTES];
    odbc_text(statement, AT_SCHEMA, schema, sizeof schema);
    odbc_text(statement, AT_TABLE, name, sizeof name);
    return strcmp(name, t->table) == 0 &&
           (is_schema_default(t->schema) || strcmp(schema, t->schema) == 0);
}

/* Key and indexes help but are not needed: drivers without these calls are many. */
static void read_keys(struct renkei_session *s, struct support_table *t) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return;
    SQLCHAR *schema = is_schema_default(t->schema) ? NULL : sql_text(t->schema);
    if (SQL_SUCCEEDED(SQLPrimaryKeys(statement, catalog_of(s), catalog_len(s), schema, schema == NULL ? 0 : SQL_NTS,
                                     sql_text(t->table), SQL_NTS)))
        while (SQL_SUCCEEDED(SQLFetch(statement))) {
            char name[TEXT_BYTES];
            odbc_text(statement, AT_KEY_COLUMN, name, sizeof name);
            long position = number(statement, AT_KEY_SEQUENCE, 0);
            for (uint32_t i = 0; i < t->column_count; i++)
                if (strcmp(t->columns[i].name, name) == 0 && position > 0 &&
                    position <= RENKEI_KEY_COLUMNS_MAX) {
                    t->columns[i].key_position = (int)position;
                    t->columns[i].indexed |= position == 1;
                }
        }
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
}

static void read_indexes(struct renkei_session *s, struct support_table *t) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return;
    SQLCHAR *schema = is_schema_default(t->schema) ? NULL : sql_text(t->schema);
    if (SQL_SUCCEEDED(SQLStatistics(statement, catalog_of(s), catalog_len(s), schema, schema == NULL ? 0 : SQL_NTS,
                                    sql_text(t->table), SQL_NTS, SQL_INDEX_ALL, SQL_QUICK)))
        while (SQL_SUCCEEDED(SQLFetch(statement))) {
            char name[TEXT_BYTES];
            long position = number(statement, AT_INDEX_POSITION, 0);
            odbc_text(statement, AT_INDEX_COLUMN, name, sizeof name);
            for (uint32_t i = 0; i < t->column_count; i++)
                if (position == 1 && strcmp(t->columns[i].name, name) == 0)
                    t->columns[i].indexed = 1;
        }
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
}

/* MariaDB's catalog knows each column's charset, which ODBC has no place for. */
static void read_charsets(struct renkei_session *s, struct support_table *t) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    struct support_sql sql = {0};
    support_sql_add(&sql, "SELECT COLUMN_NAME, CHARACTER_SET_NAME, DATA_TYPE, NUMERIC_PRECISION"
                          " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
                          " AND TABLE_NAME = _utf8 X'");
    support_sql_hex(&sql, t->table, strlen(t->table));
    support_sql_add(&sql, "'");
    if (!sql.failed &&
        SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)) &&
        SQL_SUCCEEDED(SQLExecDirect(statement, (SQLCHAR *)sql.text, SQL_NTS)))
        while (SQL_SUCCEEDED(SQLFetch(statement))) {
            char name[TEXT_BYTES], charset[TYPE_BYTES], type[TYPE_BYTES];
            odbc_text(statement, 1, name, sizeof name);
            odbc_text(statement, 2, charset, sizeof charset);
            odbc_text(statement, 3, type, sizeof type);
            long precision = number(statement, 4, 0);
            for (uint32_t i = 0; i < t->column_count; i++) {
                struct renkei_column *c = &t->columns[i];
                if (strcmp(c->name, name) != 0)
                    continue;
                c->charset_name = support_pool_text(&t->pool, charset, strlen(charset));
                if (charset[0] != '\0')
                    c->charset = support_charset(charset);
                if (strcmp(type, "tinyint") == 0)
                    c->type = RENKEI_TYPE_INTEGER;
                if (strcmp(type, "bit") == 0 && precision > 0 && precision <= 64) {
                    c->type = RENKEI_TYPE_BIT;
                    c->charset = RENKEI_CHARSET_ASCII;
                    c->bits = (uint32_t)precision;
                }
                if (strcmp(type, "year") == 0)
                    c->type = RENKEI_TYPE_YEAR;
                if (strcmp(type, "uuid") == 0 || support_starts(type, "inet")) {
                    /* The driver calls them binary, and gives their text. */
                    c->type = type[0] == 'u' ? RENKEI_TYPE_UUID : RENKEI_TYPE_OTHER;
                    c->charset = RENKEI_CHARSET_ASCII;
                }
                if (strcmp(type, "timestamp") == 0)
                    c->type = RENKEI_TYPE_TIMESTAMP_ZONE; /* an instant, in the session's UTC */
                if (strcmp(type, "enum") == 0 || strcmp(type, "set") == 0)
                    c->type = RENKEI_TYPE_ENUM;
            }
        }
    if (statement != SQL_NULL_HSTMT)
        SQLFreeHandle(SQL_HANDLE_STMT, statement);
    support_sql_done(&sql);
}

static enum renkei_status list_columns(struct renkei_session *s, struct support_table *t,
                                       struct renkei_fault *fault) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &statement)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, t->table, fault);
    enum renkei_status status = RENKEI_OK;
    SQLCHAR *schema = is_schema_default(t->schema) ? NULL : sql_text(t->schema);
    if (!SQL_SUCCEEDED(SQLColumns(statement, catalog_of(s), catalog_len(s), schema, schema == NULL ? 0 : SQL_NTS,
                                  sql_text(t->table), SQL_NTS, NULL, 0)))
        status = odbc_fault(s, SQL_HANDLE_STMT, statement, t->table, fault);
    SQLRETURN result = SQL_NO_DATA;
    while (status == RENKEI_OK && SQL_SUCCEEDED(result = SQLFetch(statement)))
        if (is_of(t, statement) && !read_column(s, t, statement))
            status = support_fault(fault, RENKEI_LIMIT, 0, NULL,
                                   "%s: more than %d columns, or no memory for them", t->table,
                                   RENKEI_COLUMNS_MAX);
    if (status == RENKEI_OK && result != SQL_NO_DATA)
        status = odbc_fault(s, SQL_HANDLE_STMT, statement, t->table, fault);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    if (status == RENKEI_OK && t->column_count == 0)
        status = support_fault(fault, RENKEI_NO_TABLE, 0, NULL,
                               "no table %s in the data source", t->table);
    return status;
}

enum renkei_status odbc_describe(struct renkei_session *s, const char *schema, const char *table,
                                 struct support_table **ret_table, struct renkei_fault *fault) {
    struct support_table *t = support_table_new(schema, table);
    if (t == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory", table);
    enum renkei_status status = list_columns(s, t, fault);
    if (status != RENKEI_OK) {
        support_table_free(t);
        return status;
    }
    if (!s->quirks->no_statistics) {
        read_keys(s, t);
        read_indexes(s, t);
    }
    if (s->quirks->literal == ODBC_MARIADB)
        read_charsets(s, t);
    support_table_keep(&s->tables, t);
    *ret_table = t;
    return RENKEI_OK;
}

enum renkei_status odbc_columns(struct renkei_session *s, const char *schema, const char *table,
                                const struct renkei_column **ret_columns, uint32_t *ret_count,
                                struct renkei_fault *fault) {
    struct support_table *t = NULL;
    enum renkei_status status = odbc_describe(s, schema, table, &t, fault);
    if (status != RENKEI_OK)
        return status;
    *ret_columns = t->columns;
    *ret_count = t->column_count;
    return RENKEI_OK;
}
