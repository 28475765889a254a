/*
 * Cells past our limits, which a server is asked to leave out (connectors/support.h, long cells), so that
 * they cost neither the network nor our memory. Not SQLite: it computes in the worker itself and cannot
 * tell a text's length without reading it.
 */
#include "connectors/odbc/odbc.h"

#include <stdlib.h>
#include <string.h>

enum {
    VARCHAR_CHARACTERS_MAX = 8000, /* what psqlodbc is told to say where none is declared */
    PACKET_HEAD_BYTES = 64 << 10,  /* what is left of the server's packet for short columns */
};

static bool is_long_mariadb(const char *type) {
    static const char *const words[] = {"long", "medium", "json", "geometry",
                                        "point", "linestring", "polygon", "multi"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (support_starts(type, words[i]))
            return true;
    return false;
}

static bool is_long_postgresql(const struct renkei_column *c) {
    const char *length = strchr(c->declared_type, '(');
    if (c->type == RENKEI_TYPE_TEXT)
        return length == NULL || strtoul(length + 1, NULL, 10) >= VARCHAR_CHARACTERS_MAX;
    return c->type == RENKEI_TYPE_BINARY || c->type == RENKEI_TYPE_JSON ||
           c->type == RENKEI_TYPE_ARRAY || c->type == RENKEI_TYPE_OTHER ||
           support_starts(c->declared_type, "varbit");
}

bool odbc_can_be_long(const struct renkei_session *s, const struct renkei_column *c) {
    if (c == NULL)
        return false;
    return s->quirks->literal == ODBC_MARIADB      ? is_long_mariadb(c->declared_type)
           : s->quirks->literal == ODBC_POSTGRESQL ? is_long_postgresql(c)
                                                   : false;
}

/* Of this type and no other whose name begins so, of whatever length. */
static bool is_declared(const struct renkei_column *c, const char *type) {
    char after = support_starts(c->declared_type, type) ? c->declared_type[strlen(type)] : '?';
    return after == '\0' || after == '(';
}

/* Of a text or bytea PostgreSQL knows the length without reading it; others are told by their text. */
static void cell_length(void *context, struct support_sql *sql, const char *column) {
    const struct odbc_guard *x = context;
    const struct renkei_column *c = support_table_find_column(x->table, column);
    bool mariadb = x->session->quirks->literal == ODBC_MARIADB;
    bool plain = is_declared(c, "text") || is_declared(c, "varchar") || is_declared(c, "bpchar") ||
                 is_declared(c, "bytea");
    support_sql_add(sql, mariadb ? "LENGTH(" : "octet_length(");
    support_sql_name(sql, x->session->quote, column);
    support_sql_add(sql, mariadb || plain ? ")" : "::text)");
}

enum renkei_status odbc_guard_make(struct odbc_guard *x, struct renkei_session *s,
                                   const struct support_table *t, const struct renkei_query *q,
                                   struct renkei_fault *fault) {
    struct support_guard *g = &x->guard;
    x->session = s;
    x->table = t;
    *g = (struct support_guard){.quote = s->quote,
                                .length = cell_length,
                                .context = x,
                                .lateral = s->quirks->literal == ODBC_POSTGRESQL};
    for (uint32_t i = 0; i < q->column_count; i++)
        g->guarded[i] = odbc_can_be_long(s, support_table_find_column(t, q->columns[i]));
    if (s->packet_bytes_max > 2 * PACKET_HEAD_BYTES)
        g->row_bytes_max = s->packet_bytes_max - PACKET_HEAD_BYTES;
    return support_guard_make(g, q, fault);
}
