/*
 * Cells past our limits, which the server is asked to leave out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connectors/postgresql/postgresql.h"

enum {
    /* A value is compressed to no less than 1/255 of its size (LZ4; pglz is far from that), and one
     * that is past RENKEI_CELL_BYTES_MAX is then longer than a page: it is in the TOAST table. */
    TOAST_BYTES_MIN = RENKEI_CELL_BYTES_MAX / 256,
    CHARACTER_BYTES_MAX = 4,
};

static bool is_declared(const struct renkei_column *c, const char *type) {
    return support_starts(c->declared_type, type);
}

/* No cell of these is long: numbers, times, labels, and texts of a declared length. */
static bool can_be_long(const struct renkei_column *c) {
    const char *length = strchr(c->declared_type, '(');
    if (c->type == RENKEI_TYPE_TEXT || c->type == RENKEI_TYPE_BIT)
        return length == NULL ||
               strtoul(length + 1, NULL, 10) > RENKEI_CELL_BYTES_MAX / CHARACTER_BYTES_MAX;
    return c->type == RENKEI_TYPE_BINARY || c->type == RENKEI_TYPE_JSON ||
           c->type == RENKEI_TYPE_ARRAY || c->type == RENKEI_TYPE_GEOMETRY ||
           c->type == RENKEI_TYPE_OTHER;
}

/* Of a text or bytea the length is known without reading it; others are told by their text. */
static void cell_length(void *context, struct support_sql *sql, const char *column) {
    const struct postgresql_select *x = context;
    const struct renkei_column *c = support_table_find_column(x->table, column);
    bool plain = c != NULL && (is_declared(c, "text") || is_declared(c, "bytea") ||
                               is_declared(c, "character")) && c->type != RENKEI_TYPE_ARRAY;
    support_sql_add(sql, "octet_length(");
    support_sql_name(sql, '"', column);
    support_sql_add(sql, plain ? ")" : "::text)");
}

/* Named anew: without a name it is "case", which ORDER BY takes before a key column of that name. */
static void add_guarded(const struct postgresql_select *x, struct support_sql *sql,
                        const char *column) {
    support_guard_column(&x->guard, sql, column);
    support_sql_add(sql, " AS \"renkei cell\"");
}

void postgresql_select_column(void *context, struct support_sql *sql, const char *column) {
    const struct postgresql_select *x = context;
    const struct renkei_column *c = support_table_find_column(x->table, column);
    if (x->guard.on && c != NULL && can_be_long(c))
        add_guarded(x, sql, column);
    else
        support_sql_name(sql, '"', column);
}

/* Only within a snapshot does the answer hold for the rows that will be read. */
static enum renkei_status may_hold_long(struct renkei_session *s, const struct support_table *t,
                                        bool *ret_may, struct renkei_fault *fault) {
    struct support_sql name = {0};
    PGresult *result = NULL;
    char sql[320];
    *ret_may = true;
    if (!s->in_snapshot)
        return RENKEI_OK;
    snprintf(sql, sizeof sql,
             "SELECT c.relkind NOT IN ('r', 'm') OR c.relhassubclass OR"
             " COALESCE(pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0) >= %d"
             " FROM pg_class c WHERE c.oid = to_regclass($1::text)",
             TOAST_BYTES_MIN);
    postgresql_add_table(&name, t->schema, t->table);
    enum renkei_status status = support_sql_check(&name, fault);
    if (status == RENKEI_OK)
        status = postgresql_catalog(s, sql, name.text, t->table, &result, fault);
    support_sql_done(&name);
    if (status == RENKEI_OK && PQntuples(result) == 1)
        *ret_may = PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    return status;
}

enum renkei_status postgresql_guard(struct renkei_session *s, struct postgresql_select *x,
                                      const struct renkei_query *query,
                                      struct renkei_fault *fault) {
    struct support_guard *g = &x->guard;
    bool any = false, may = false;
    *g = (struct support_guard){
        .quote = '"', .length = cell_length, .context = x, .lateral = true};
    for (uint32_t i = 0; i < query->column_count; i++) {
        const struct renkei_column *c = support_table_find_column(x->table, query->columns[i]);
        g->guarded[i] = c != NULL && can_be_long(c);
        any = any || g->guarded[i];
    }
    enum renkei_status status = any ? may_hold_long(s, x->table, &may, fault) : RENKEI_OK;
    return status == RENKEI_OK && may ? support_guard_make(g, query, fault) : status;
}
