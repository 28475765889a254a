/*
 * Inside the PostgreSQL connector: what its files share.
 */
#ifndef CONNECTORS_POSTGRESQL_POSTGRESQL_H
#define CONNECTORS_POSTGRESQL_POSTGRESQL_H

#include <libpq-fe.h>


#include "connectors/support.h"

enum {
    FETCHES_IN_FLIGHT = 2,
    SETTINGS_BYTES_MAX = 512,
    LABEL_BYTES_MAX = 256,
};

struct renkei_cursor {
    struct renkei_session *session;
    struct support_batch batch;
    const char *table; /* borrowed from the description, for messages */
    PGresult *result;  /* being handed over */
    int row;
    bool open;
    bool pipelined;
    bool own_transaction;
    bool guarded; /* one more column tells which cells were left out; rows come one by one */
    bool ended;   /* nothing more will be asked for */
    int rows_got; /* of the FETCH being read, where rows come one by one */
    uint32_t *row_lengths; /* of a row with a long cell */
    int asked[FETCHES_IN_FLIGHT]; /* rows asked for by each FETCH in flight, oldest first */
    int in_flight;
    int fetch_rows;
};

struct renkei_session {
    PGconn *connection;
    PGcancel *canceller;
    struct support_options options;
    struct support_endpoint endpoint;
    char note[SUPPORT_NOTE_BYTES_MAX];
    struct support_cancel cancel;
    bool in_snapshot;
    bool switches; /* statements travel in another encoding than rows */
    char encoding[64];
    char settings[SETTINGS_BYTES_MAX];
    char label[LABEL_BYTES_MAX];
    struct support_table *tables;
    struct renkei_cursor cursor;
};

/* Takes the result, which may be NULL. object: what was done, for the message. */
enum renkei_status postgresql_query_fault(struct renkei_session *s, PGresult *result,
                                          const char *object, struct renkei_fault *fault);

/* catalog.c */

/* A query of the connector's own with at most one parameter, its whole result. */
enum renkei_status postgresql_catalog(struct renkei_session *s, const char *sql,
                                      const char *parameter, const char *object,
                                      PGresult **ret_result, struct renkei_fault *fault);
enum renkei_status postgresql_tables(struct renkei_session *s, renkei_table_visitor *visitor,
                                     void *context, struct renkei_fault *fault);
enum renkei_status postgresql_columns(struct renkei_session *s, const char *schema,
                                      const char *table, const struct renkei_column **ret_columns,
                                      uint32_t *ret_count, struct renkei_fault *fault);
enum renkei_status postgresql_rights(struct renkei_session *s, renkei_right_visitor *visitor,
                                     void *context, struct renkei_fault *fault);
enum renkei_status postgresql_describe(struct renkei_session *s, const char *schema,
                                       const char *table, struct support_table **ret_table,
                                       struct renkei_fault *fault);

/* The table's name, quoted, for to_regclass. */
void postgresql_add_table(struct support_sql *sql, const char *schema, const char *table);

/* guard.c */

/* What a query's text is made from. */
struct postgresql_select {
    const struct renkei_session *session;
    const struct support_table *table;
    struct support_guard guard;
};

/* Decides whether cells of the query may be past our limits, and makes the guard against them. */
enum renkei_status postgresql_guard(struct renkei_session *s, struct postgresql_select *x,
                                    const struct renkei_query *query, struct renkei_fault *fault);
/* A dialect's `column`; context: a struct postgresql_select. */
void postgresql_select_column(void *context, struct support_sql *sql, const char *column);

#endif
