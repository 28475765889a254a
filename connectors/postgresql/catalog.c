/*
 * What there is in the database: tables, columns, rights.
 */
#include <stdlib.h>
#include <string.h>

#include "connectors/postgresql/postgresql.h"

enum renkei_status postgresql_catalog(struct renkei_session *s, const char *sql, const char *parameter,
                                  const char *object, PGresult **ret_result,
                                  struct renkei_fault *fault) {
    PGresult *result = PQexecParams(s->connection, sql, parameter == NULL ? 0 : 1, NULL,
                                    &parameter, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        return postgresql_query_fault(s, result, object, fault);
    *ret_result = result;
    return RENKEI_OK;
}

enum renkei_status postgresql_tables(struct renkei_session *s,
                                            renkei_table_visitor *visitor, void *context,
                                            struct renkei_fault *fault) {
    PGresult *result = NULL;
    enum renkei_status status = postgresql_catalog(
        s,
        "SELECT c.relname, CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname END,"
        " CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END,"
        " CASE WHEN c.relkind IN ('r', 'p', 'm') THEN 'heap' ELSE '' END,"
        " CASE WHEN c.relkind = 'f' THEN -1 ELSE 1 END, c.reltuples::bigint"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'"
        " AND n.nspname NOT LIKE 'pg\\_%' ORDER BY n.nspname, c.relname",
        NULL, "list of tables", &result, fault);
    if (status != RENKEI_OK)
        return status;
    for (int i = 0; i < PQntuples(result); i++) {
        struct renkei_table table = {
            .name = PQgetvalue(result, i, 0),
            .schema = PQgetvalue(result, i, 1),
            .kind = PQgetvalue(result, i, 2),
            .engine = PQgetvalue(result, i, 3),
            .transactional = (int)strtol(PQgetvalue(result, i, 4), NULL, 10),
            .rows_estimate = strtoll(PQgetvalue(result, i, 5), NULL, 10),
        };
        visitor(context, &table);
    }
    PQclear(result);
    return RENKEI_OK;
}

static enum renkei_type type_of(const char *name, char kind, char category) {
    static const struct {
        const char *name;
        enum renkei_type type;
    } table[] = {
        {"bool", RENKEI_TYPE_BOOL},
        {"bytea", RENKEI_TYPE_BINARY},
        {"int2", RENKEI_TYPE_INTEGER},
        {"int4", RENKEI_TYPE_INTEGER},
        {"int8", RENKEI_TYPE_INTEGER},
        {"oid", RENKEI_TYPE_INTEGER},
        {"float4", RENKEI_TYPE_FLOAT},
        {"float8", RENKEI_TYPE_FLOAT},
        {"numeric", RENKEI_TYPE_DECIMAL},
        {"date", RENKEI_TYPE_DATE},
        {"time", RENKEI_TYPE_TIME},
        {"timetz", RENKEI_TYPE_TIME},
        {"timestamp", RENKEI_TYPE_TIMESTAMP},
        {"timestamptz", RENKEI_TYPE_TIMESTAMP_ZONE},
        {"interval", RENKEI_TYPE_INTERVAL},
        {"bit", RENKEI_TYPE_BIT},
        {"varbit", RENKEI_TYPE_BIT},
        {"json", RENKEI_TYPE_JSON},
        {"jsonb", RENKEI_TYPE_JSON},
        {"uuid", RENKEI_TYPE_UUID},
        {"money", RENKEI_TYPE_MONEY},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].type;
    if (kind == 'e')
        return RENKEI_TYPE_ENUM;
    if (category == 'A')
        return RENKEI_TYPE_ARRAY;
    if (category == 'G')
        return RENKEI_TYPE_GEOMETRY;
    return category == 'S' ? RENKEI_TYPE_TEXT : RENKEI_TYPE_OTHER;
}

static bool holds_text(enum renkei_type type) {
    return type == RENKEI_TYPE_TEXT || type == RENKEI_TYPE_ENUM || type == RENKEI_TYPE_JSON ||
           type == RENKEI_TYPE_ARRAY || type == RENKEI_TYPE_OTHER;
}

enum { COLUMN_NAME, COLUMN_DECLARED, COLUMN_TYPE, COLUMN_KIND, COLUMN_CATEGORY, COLUMN_NOT_NULL,
       COLUMN_KEY_POSITION, COLUMN_INDEXED, COLUMN_BITS };

static const char columns_query[] =
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typtype, b.typcategory,"
    " a.attnotnull,"
    " COALESCE((SELECT k.position FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY"
    "  k(number, position) WHERE i.indrelid = a.attrelid AND i.indisprimary"
    "  AND k.number = a.attnum), 0),"
    " EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum),"
    " CASE WHEN b.typname = 'bit' THEN GREATEST(a.atttypmod, 1) ELSE 0 END"
    " FROM pg_attribute a, LATERAL ("
    "  WITH RECURSIVE base AS (SELECT t.* FROM pg_type t WHERE t.oid = a.atttypid UNION ALL"
    "  SELECT t.* FROM pg_type t JOIN base ON t.oid = base.typbasetype WHERE base.typtype = 'd')"
    "  SELECT typname, typtype, typcategory FROM base WHERE typtype <> 'd') b"
    " WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

static bool describe_column(struct renkei_session *s, struct support_table *t, PGresult *result,
                            int row) {
    struct renkei_column *c = support_table_column(t);
    if (c == NULL)
        return false;
    const char *name = PQgetvalue(result, row, COLUMN_NAME);
    const char *declared = PQgetvalue(result, row, COLUMN_DECLARED);
    c->name = support_pool_text(&t->pool, name, strlen(name));
    c->declared_type = support_pool_text(&t->pool, declared, strlen(declared));
    c->type = type_of(PQgetvalue(result, row, COLUMN_TYPE),
                      PQgetvalue(result, row, COLUMN_KIND)[0],
                      PQgetvalue(result, row, COLUMN_CATEGORY)[0]);
    c->nullable = PQgetvalue(result, row, COLUMN_NOT_NULL)[0] != 't';
    c->key_position = (int)strtol(PQgetvalue(result, row, COLUMN_KEY_POSITION), NULL, 10);
    c->indexed = PQgetvalue(result, row, COLUMN_INDEXED)[0] == 't';
    c->bits = (uint32_t)strtoul(PQgetvalue(result, row, COLUMN_BITS), NULL, 10);
    c->charset = RENKEI_CHARSET_ASCII;
    if (c->type == RENKEI_TYPE_BINARY)
        c->charset = RENKEI_CHARSET_BINARY;
    if (holds_text(c->type)) {
        c->charset = support_charset(s->encoding);
        c->charset_name = support_pool_text(&t->pool, s->encoding, strlen(s->encoding));
    }
    return true;
}

void postgresql_add_table(struct support_sql *sql, const char *schema, const char *table) {
    if (schema != NULL && schema[0] != '\0') {
        support_sql_name(sql, '"', schema);
        support_sql_add(sql, ".");
    }
    support_sql_name(sql, '"', table);
}

enum renkei_status postgresql_describe(struct renkei_session *s, const char *schema,
                                   const char *table, struct support_table **ret_table,
                                   struct renkei_fault *fault) {
    struct support_sql name = {0};
    PGresult *result = NULL;
    postgresql_add_table(&name, schema, table);
    enum renkei_status status = support_sql_check(&name, fault);
    if (status == RENKEI_OK)
        status = postgresql_catalog(s, columns_query, name.text, table, &result, fault);
    support_sql_done(&name);
    if (status != RENKEI_OK)
        return status;
    struct support_table *t = support_table_new(schema, table);
    bool fits = t != NULL;
    int count = PQntuples(result);
    for (int i = 0; fits && i < count; i++)
        fits = describe_column(s, t, result, i);
    PQclear(result);
    if (fits && count > 0) {
        support_table_keep(&s->tables, t);
        *ret_table = t;
        return RENKEI_OK;
    }
    support_table_free(t);
    if (!fits)
        return support_fault(fault, RENKEI_LIMIT, 0, NULL,
                             "%s: more than %d columns, or no memory for them", table,
                             RENKEI_COLUMNS_MAX);
    return support_fault(fault, RENKEI_NO_TABLE, 0, NULL, "no table %s in the database", table);
}

enum renkei_status postgresql_columns(struct renkei_session *s, const char *schema,
                                             const char *table,
                                             const struct renkei_column **ret_columns,
                                             uint32_t *ret_count, struct renkei_fault *fault) {
    struct support_table *t = NULL;
    enum renkei_status status = postgresql_describe(s, schema, table, &t, fault);
    if (status != RENKEI_OK)
        return status;
    *ret_columns = t->columns;
    *ret_count = t->column_count;
    return RENKEI_OK;
}

enum renkei_status postgresql_rights(struct renkei_session *s,
                                            renkei_right_visitor *visitor, void *context,
                                            struct renkei_fault *fault) {
    PGresult *result = NULL;
    enum renkei_status status = postgresql_catalog(
        s,
        "SELECT 'role attribute ' || a.name, 1 FROM pg_roles r, LATERAL (VALUES"
        " ('SUPERUSER', r.rolsuper), ('CREATEDB', r.rolcreatedb), ('CREATEROLE', r.rolcreaterole),"
        " ('REPLICATION', r.rolreplication), ('BYPASSRLS', r.rolbypassrls)) a(name, has)"
        " WHERE r.rolname = current_user AND a.has UNION ALL "
        "SELECT 'CREATE on database ' || current_database(), 1"
        " WHERE has_database_privilege(current_database(), 'CREATE') UNION ALL "
        "SELECT 'CREATE on schema ' || n.nspname, 1 FROM pg_namespace n"
        " WHERE has_schema_privilege(n.oid, 'CREATE') AND n.nspname NOT LIKE 'pg\\_%' UNION ALL "
        "SELECT p.name || ' on table ' || n.nspname || '.' || c.relname,"
        " CASE WHEN p.name = 'SELECT' THEN 0 ELSE 1 END"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, unnest(ARRAY['SELECT',"
        " 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p(name)"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'"
        " AND n.nspname NOT LIKE 'pg\\_%' AND (has_table_privilege(c.oid, p.name) OR"
        " (p.name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')"
        "  AND has_any_column_privilege(c.oid, p.name)))",
        NULL, "rights of the account", &result, fault);
    if (status != RENKEI_OK)
        return status;
    for (int i = 0; i < PQntuples(result); i++)
        visitor(context, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1)[0] == '1');
    PQclear(result);
    return RENKEI_OK;
}
