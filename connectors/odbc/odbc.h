/*
 * Inside the ODBC connector: what its files share.
 */
#ifndef CONNECTORS_ODBC_ODBC_H
#define CONNECTORS_ODBC_ODBC_H

#include <sql.h>
#include <sqlext.h>

#include <locale.h>

#include "connectors/support.h"

enum {
    ODBC_NAME_BYTES = 128,
    ODBC_SETTINGS_BYTES_MAX = 512,
    ODBC_CONNECTION_BYTES_MAX = 8192,
    /* Some drivers zero-fill the whole buffer for each cell: longer cells go by SQLGetData. */
    ODBC_BIND_BYTES = 512,
    ODBC_PIECE_BYTES = 64 << 10,
    ODBC_REAL_BYTES_MAX = 40,
    ODBC_READ_AHEAD = 2, /* batches that wait for the worker */
    ODBC_PARAMETERS_MAX = RENKEI_BATCH_ROWS_MAX * 4,
};

/* How a value stands in a statement. */
enum odbc_literal {
    ODBC_PARAMETER = 0, /* a marker, the bytes as a parameter */
    ODBC_SQLITE,        /* CAST(X'..' AS TEXT) */
    ODBC_MARIADB,       /* _cp932 X'..' */
    ODBC_POSTGRESQL,    /* convert_from('\x..', 'SQL_ASCII')::type */
};

/* How a running query is ended from another thread. Never by SQLCancel of its own statement: the
 * driver manager clears the statement's diagnostics in it without a lock, and the drivers close its
 * cursor, under the feet of the call that runs (docs/connectors.md tells what each one does). */
enum odbc_cancel {
    ODBC_CANCEL_BETWEEN_ROWS = 0, /* the fetching thread looks at a flag */
    ODBC_CANCEL_IDLE_STATEMENT,   /* SQLCancel of another, idle statement stops the connection */
    ODBC_CANCEL_STATEMENT,        /* a statement of SQL by a connection of its own */
};

/* What must be known of a driver to get raw bytes out of it. By the beginning of its file's name,
 * as SQL_DRIVER_NAME tells it, without "lib". */
struct odbc_quirks {
    const char *driver;
    const char *product;
    const char *environment;      /* a variable that must name the text's charset, as x.CHARSET */
    const char *connect;          /* put at the end of the connection string */
    const char *encoding_query;   /* its answer is put into `encoding_connect` */
    const char *encoding_connect; /* a format with one %s, or NULL */
    const char *const *session;   /* statements after the login; ended by NULL */
    bool read_only;               /* these make the session refuse writes */
    const char *begin;            /* statement; NULL: autocommit off; "": no snapshot */
    const char *end;              /* statement; NULL: autocommit is off and SQLEndTran ends it */
    enum odbc_cancel cancel;
    const char *packet_query;  /* how many bytes a row may have at most; NULL: as many as it likes */
    const char *backend_query; /* ODBC_CANCEL_STATEMENT: the connection's number at the server */
    const char *cancel_format; /* and what ends its query: a format with one %s */
    enum odbc_literal literal;
    bool limit;        /* knows LIMIT */
    bool binds;        /* SQLBindCol with a short buffer and SQLGetData for longer cells works */
    bool order;        /* knows ORDER BY */
    bool reads_ahead;  /* its calls compute: a thread of their own pays, and they stand one */
    bool chooses_here; /* no condition can be trusted to the driver: all rows are read */
    bool no_data_is_null; /* SQLGetData ends before it begins: NULL, and an empty text too */
    bool loses_characters; /* what is beyond 16 bits comes as two question marks */
    size_t text_bytes_max; /* a text of more bytes may have been cut; 0: none is */
    bool no_statistics; /* SQLPrimaryKeys and SQLStatistics are not to be called */
    bool catalog;      /* the catalog calls need the database's name, or list them all */
    enum renkei_charset text; /* what the driver itself makes of text; UNKNOWN: raw */
    int transactional;
};

const struct odbc_quirks *odbc_quirks_of(const char *driver);

struct odbc_reader;

struct renkei_cursor {
    struct odbc_reader *reader; /* NULL: rows are fetched when they are asked for */
    struct renkei_session *session;
    SQLHSTMT statement;
    struct support_batch batch;
    const char *table; /* borrowed from the description, for messages */
    uint32_t column_count;
    uint32_t asked_count; /* of them, what was asked for: the first ones */
    bool guarded; /* one more column is fetched: which cells the server left out */
    bool checks; /* one more column is fetched: how many bytes the row's counted texts have */
    bool *is_text;
    bool *counted;
    uint64_t counted_bytes; /* that came in the row being read */
    bool *shortens; /* odbc_real_shorten */
    char *exact_sql; /* the same query, texts as blobs; NULL where that is not needed */
    uint64_t delivered;
    char (*names)[ODBC_NAME_BYTES]; /* for messages */
    SQLSMALLINT *c_types;           /* SQL_C_CHAR or SQL_C_BINARY */
    uint32_t *bits;                 /* of BIT columns that come as bytes; else 0 */
    uint8_t *bound; /* ODBC_BIND_BYTES a column, where the driver binds */
    SQLLEN *indicators;
    uint8_t *piece;
    uint64_t rows_max; /* UINT64_MAX: no limit */
    size_t row_start;  /* where in the batch the row being read begins */
    struct support_match match; /* where the quirks say so */
    bool open;
    bool binds;
    bool ended;
    atomic_bool unwanted; /* the reader's thread is to end */
};

struct renkei_session {
    SQLHENV environment;
    SQLHDBC connection;
    struct support_options options;
    const struct odbc_quirks *quirks;
    struct support_cancel cancel;
    SQLHSTMT idle;                 /* ODBC_CANCEL_IDLE_STATEMENT: nothing is ever run in it */
    char backend[ODBC_NAME_BYTES]; /* ODBC_CANCEL_STATEMENT: digits; "": not known */
    bool connected;
    bool in_snapshot;
    bool can_get_bound; /* SQL_GD_BOUND and SQL_GD_ANY_COLUMN */
    bool can_commit;
    locale_t plain_locale; /* "C" */
    bool wide; /* SQLite's texts are UTF-16 in the file: as a blob one is other bytes */
    uint64_t packet_bytes_max; /* what packet_query said; 0: nothing */
    bool texts_as_blobs; /* a text was met that the driver would cut */
    char quote;
    char encoding[ODBC_NAME_BYTES]; /* what encoding_query said */
    char driver[ODBC_NAME_BYTES];
    char database[RENKEI_NAME_BYTES_MAX]; /* for the catalog calls; "": none */
    char product[ODBC_NAME_BYTES];
    char version[ODBC_NAME_BYTES];
    char settings[ODBC_SETTINGS_BYTES_MAX];
    char label[ODBC_NAME_BYTES];
    const struct renkei_value *parameters[ODBC_PARAMETERS_MAX];
    SQLLEN parameter_lengths[ODBC_PARAMETERS_MAX];
    uint32_t parameter_count;
    struct support_table *tables;
    struct renkei_cursor cursor;
};

/* The first diagnostic record of a handle as a fault. object: what was done, for the message. */
enum renkei_status odbc_fault(const struct renkei_session *s, SQLSMALLINT kind, SQLHANDLE handle,
                              const char *object, struct renkei_fault *fault);

/* The first cell of a statement's answer; "" where there is none. */
void odbc_ask(struct renkei_session *s, const char *sql, char *ret_text, size_t size);

/* A connection of `environment`; *ret_connection is to be freed, and on failure says why. Nothing of
 * the session is changed. */
enum renkei_status odbc_dial(const struct renkei_session *s, SQLHENV environment,
                             const char *password, SQLHDBC *ret_connection, bool *ret_connected,
                             struct renkei_fault *fault);
enum renkei_status odbc_environment(SQLHENV *ret_environment, struct renkei_fault *fault);

/* cancel.c */
enum renkei_status odbc_cancel_prepare(struct renkei_session *s, struct renkei_fault *fault);
void odbc_cancel_done(struct renkei_session *s); /* before the connection is closed */
void odbc_cancel(struct renkei_session *s);

/* One SQL_C_CHAR cell of a catalog call's result; "" for NULL. */
void odbc_text(SQLHSTMT statement, SQLUSMALLINT column, char *ret_text, size_t size);

/* columns.c */
enum renkei_status odbc_tables(struct renkei_session *s, renkei_table_visitor *visitor,
                               void *context, struct renkei_fault *fault);
enum renkei_status odbc_columns(struct renkei_session *s, const char *schema, const char *table,
                                const struct renkei_column **ret_columns, uint32_t *ret_count,
                                struct renkei_fault *fault);
enum renkei_status odbc_describe(struct renkei_session *s, const char *schema, const char *table,
                                 struct support_table **ret_table, struct renkei_fault *fault);

/* sqlite.c */
enum odbc_reals {
    ODBC_REALS_NONE = 0,
    ODBC_REALS_AND_NUMBERS, /* and what else is in the column does not look like a number */
    ODBC_REALS_AMONG_TEXTS,
};
enum odbc_reals odbc_reals_of(const struct renkei_session *s, const struct renkei_column *c);
void odbc_reals_select(const struct renkei_session *s, enum odbc_reals reals,
                       struct support_sql *sql, const char *column);
/* A cell of ODBC_REALS_AND_NUMBERS, in place, in a buffer of ODBC_REAL_BYTES_MAX at least; gives its new
 * length. */
size_t odbc_real_shorten(const struct renkei_session *s, uint8_t *cell, size_t len);
/* The column's part of the sum that tells whether a row's texts came whole: of a column that is counted
 * its bytes; of any other nothing, but more where it holds a NUL. */
bool odbc_is_counted(const struct renkei_session *s, const struct renkei_column *c);
void odbc_check_select(const struct renkei_session *s, const struct renkei_column *c,
                       struct support_sql *sql);

/* guard.c */
struct odbc_guard {
    const struct renkei_session *session;
    const struct support_table *table;
    struct support_guard guard;
};
bool odbc_can_be_long(const struct renkei_session *s, const struct renkei_column *c);
/* The guard is to be ended by support_guard_done. */
enum renkei_status odbc_guard_make(struct odbc_guard *x, struct renkei_session *s,
                                   const struct support_table *t, const struct renkei_query *q,
                                   struct renkei_fault *fault);

/* rows.c */
enum renkei_status odbc_query(struct renkei_session *s, const struct renkei_query *query,
                              struct renkei_cursor **ret_cursor, struct renkei_fault *fault);
/* RENKEI_OK with rows in c->batch, RENKEI_END, or an error. */
enum renkei_status odbc_fill(struct renkei_cursor *c, struct renkei_fault *fault);
void odbc_finish(struct renkei_cursor *c);

/* reader.c */
enum renkei_status odbc_reader_start(struct renkei_cursor *c, struct renkei_fault *fault);
void odbc_reader_stop(struct renkei_cursor *c);
enum renkei_status odbc_next(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                             struct renkei_fault *fault);

#endif
