/*
 * What the connectors of this folder share: options, faults, batches and SQL text. It is linked
 * into each plugin; a plugin of another's making may use it or not.
 *
 * Uses connector.h and the C library, nothing else. Refuses to transcode, and to put a value into
 * a message.
 */
#ifndef CONNECTORS_SUPPORT_H
#define CONNECTORS_SUPPORT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "connectors/connector.h"

enum {
    /* Rows that a batch aims at. Not a power of two: one row's offsets and lengths, which stand
     * column by column, would all compete for the same few lines of a processor's cache. */
    SUPPORT_BATCH_ROWS = 1024 + 16,
    SUPPORT_BATCH_BYTES = 1 << 20,      /* bytes after which a batch is handed over */
    SUPPORT_WHOLE_BYTES = 8 << 20,      /* the same, of a query that is fetched whole */
    SUPPORT_SECRET_BYTES_MAX = 1024,    /* a password with its NUL */
    SUPPORT_SQL_BYTES_MAX = 16 << 20,   /* one statement */
    SUPPORT_OPTION_NUMBER_MAX = 1 << 30,
};

#define SUPPORT_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Fills fault (never NULL) and returns status. sqlstate may be NULL. */
enum renkei_status support_fault(struct renkei_fault *fault, enum renkei_status status,
                                 int64_t server_code, const char *sqlstate, const char *format,
                                 ...) SUPPORT_PRINTF(5, 6);

/* --- options --- */

struct support_options {
    const struct renkei_option_spec *specs;
    const struct renkei_option *options;
    uint32_t count;
};

/* Every option is known, every required one is there, numbers and booleans are such. */
enum renkei_status support_options_check(const struct support_options *o,
                                         struct renkei_fault *fault);
/* The option's value, its default, or NULL. */
const char *support_option(const struct support_options *o, const char *name);
uint32_t support_option_number(const struct support_options *o, const char *name);
bool support_option_bool(const struct support_options *o, const char *name);
/* The first line of the file that the SECRET option names; "" where the option is not given. The
 * caller wipes it with support_wipe. */
enum renkei_status support_secret(const struct support_options *o, const char *name,
                                  char ret_secret[SUPPORT_SECRET_BYTES_MAX],
                                  struct renkei_fault *fault);
void support_wipe(void *data, size_t len);

/* Faults of option 'tls', the same in every connector. */
enum renkei_status support_no_authority(struct renkei_fault *fault);
enum renkei_status support_not_encrypted(struct renkei_fault *fault);

/* --- cancel(): from another thread, and never beside the query that it is for ---
 *
 * What ends a query at the server takes a while and knows no query, only a connection. So whoever
 * begins a query, or cleans up behind one, waits for a cancel that is under way: it would hit what
 * comes next. */

struct support_cancel {
    pthread_mutex_t mutex;
    atomic_bool asked;
    bool reaches; /* the server is told; else the flag is all */
};

void support_cancel_init(struct support_cancel *c, bool reaches);
void support_cancel_done(struct support_cancel *c);
/* A query begins: what was cancelled before is over. */
void support_cancel_forget(struct support_cancel *c);
void support_cancel_reaches(struct support_cancel *c, bool reaches);
bool support_cancelled(const struct support_cancel *c);
/* tell: what ends the query at the server. */
void support_cancel_ask(struct support_cancel *c, void (*tell)(struct renkei_session *s),
                        struct renkei_session *s);

/* --- replicas: copies of the source that are read rather than the source itself --- */

enum { SUPPORT_HOST_BYTES_MAX = 256, SUPPORT_PORT_BYTES_MAX = 8, SUPPORT_NOTE_BYTES_MAX = 320 };

/* Where a session goes. */
struct support_endpoint {
    char host[SUPPORT_HOST_BYTES_MAX]; /* "": the option socket */
    char port[SUPPORT_PORT_BYTES_MAX];
};

/* What a replica said of itself, where it is not a number of seconds. */
enum { SUPPORT_LAG_UNKNOWN = -1, SUPPORT_LAG_STOPPED = -2 };

#define SUPPORT_REPLICA_OPTIONS                                                                    \
    {"replicas", RENKEI_OPTION_TEXT, 0, NULL,                                                      \
     "copies to read from, host or host:port with commas between; host itself where none will do"}, \
    {                                                                                              \
        "replica_lag_max_s", RENKEI_OPTION_NUMBER, 0, "60",                                        \
            "a replica that is further behind is passed over"                                      \
    }

/* The index-th item of option replicas. false: there is no such item. */
bool support_replica(const struct support_options *o, unsigned index,
                     struct support_endpoint *ret_endpoint);
/* The endpoint of the options host and port. */
void support_endpoint(const struct support_options *o, struct support_endpoint *ret_endpoint);
/* Whether a replica that was reached is near enough; adds what was found to the note. */
bool support_replica_serves(const struct support_options *o, const struct support_endpoint *replica,
                            int64_t lag_s, char note[SUPPORT_NOTE_BYTES_MAX]);
/* Adds to the note, which is cut at its end. */
void support_note(char note[SUPPORT_NOTE_BYTES_MAX], const char *format, ...)
    SUPPORT_PRINTF(2, 3);

/* --- a batch being filled: cells are copied once, row by row, into one block --- */

struct support_batch {
    uint8_t *data;
    size_t used;
    size_t capacity;
    uint32_t *offsets; /* column by column, SUPPORT_BATCH_ROWS each */
    uint32_t *lengths;
    struct renkei_batch_column *columns;
    uint32_t column_count;
    uint32_t rows;
};

enum renkei_status support_batch_init(struct support_batch *b, uint32_t column_count,
                                      struct renkei_fault *fault);
void support_batch_done(struct support_batch *b);
void support_batch_clear(struct support_batch *b);

/* Room for the rest of a row. RENKEI_LIMIT past RENKEI_BATCH_BYTES_MAX. */
enum renkei_status support_batch_reserve(struct support_batch *b, size_t len,
                                         struct renkei_fault *fault);
/* Which of a row's cells are handed over: one of more than RENKEI_CELL_BYTES_MAX is not, and where
 * the rest is more than RENKEI_ROW_BYTES_MAX the longest is not, and so on. lengths: of NULL
 * RENKEI_NULL; too long ones become RENKEI_TOO_LONG. Returns what the rest needs. */
size_t support_row_fit(uint32_t *lengths, uint32_t column_count);

static inline bool support_batch_full(const struct support_batch *b) {
    return b->rows == SUPPORT_BATCH_ROWS || b->used >= SUPPORT_BATCH_BYTES;
}

/* Where the next cell's bytes go; reserved before. */
static inline uint8_t *support_batch_at(struct support_batch *b) {
    return b->data + b->used;
}

/* The next `len` bytes are the current row's cell of `column`. */
static inline void support_batch_cell(struct support_batch *b, uint32_t column, uint32_t len) {
    size_t i = (size_t)column * SUPPORT_BATCH_ROWS + b->rows;
    b->offsets[i] = (uint32_t)b->used;
    b->lengths[i] = len;
    b->used += len;
}

static inline void support_batch_null(struct support_batch *b, uint32_t column) {
    size_t i = (size_t)column * SUPPORT_BATCH_ROWS + b->rows;
    b->offsets[i] = (uint32_t)b->used;
    b->lengths[i] = RENKEI_NULL;
}

static inline void support_batch_too_long(struct support_batch *b, uint32_t column) {
    support_batch_null(b, column);
    b->lengths[(size_t)column * SUPPORT_BATCH_ROWS + b->rows] = RENKEI_TOO_LONG;
}

static inline void support_batch_row_end(struct support_batch *b) {
    b->rows++;
}

void support_batch_view(struct support_batch *b, struct renkei_batch *ret_batch);

/* --- SQL text --- */

struct support_sql {
    char *text;
    size_t len;
    size_t capacity;
    bool failed;
};

void support_sql_done(struct support_sql *s);
void support_sql_add(struct support_sql *s, const char *text);
void support_sql_bytes(struct support_sql *s, const void *data, size_t len);
void support_sql_number(struct support_sql *s, uint64_t number);
void support_sql_hex(struct support_sql *s, const void *data, size_t len);
/* The name between two quotes, a quote in it doubled. Names come in UTF-8 or in a single-byte
 * view of the server, where no trail byte can be a quote. */
void support_sql_name(struct support_sql *s, char quote, const char *name);
/* RENKEI_LIMIT where the statement grew past SUPPORT_SQL_BYTES_MAX or memory ran out. */
enum renkei_status support_sql_check(const struct support_sql *s, struct renkei_fault *fault);

/* --- the WHERE and ORDER BY of a renkei_query --- */

/* Writes one value as a literal of the database, in a form that compares with the column. */
typedef void support_literal(void *context, struct support_sql *sql, const char *column,
                             const struct renkei_value *value);

/* Writes what to select for a column. */
typedef void support_column(void *context, struct support_sql *sql, const char *column);

struct support_dialect {
    char quote;
    bool row_values; /* (a, b) > (x, y) and (a, b) IN ((x, y)) are written and well planned */
    support_literal *literal;
    support_column *column; /* NULL: the quoted name */
    const char *more;       /* after the last column: ", expression"; NULL: nothing */
    const char *join;       /* after the table's name; NULL: nothing */
    void *context;
};

/* Writes the length of a column's cell in bytes, as an expression. */
typedef void support_length(void *context, struct support_sql *sql, const char *column);

/* Has the database itself leave out the cells that are too long, so that nobody needs the memory
 * for them: the columns that can hold such a cell are selected as CASE WHEN length <= limit THEN
 * cell END, and one more column lists, as "0,3", which of the query's columns were left out. */
struct support_guard {
    bool on;
    uint32_t count;
    bool guarded[RENKEI_COLUMNS_MAX]; /* by the query's columns; filled by the connector */
    char quote;
    support_length *length;
    void *context;
    uint64_t row_bytes_max;  /* 0: RENKEI_ROW_BYTES_MAX */
    bool lateral;            /* the database knows LATERAL: the limit is worked out once a row */
    struct support_sql limit;
    struct support_sql more; /* the dialect's `more` */
    struct support_sql join; /* the dialect's `join` */
};

/* Writes the texts for the columns that are marked in `guarded`; none: stays off. */
enum renkei_status support_guard_make(struct support_guard *g, const struct renkei_query *query,
                                      struct renkei_fault *fault);
void support_guard_done(struct support_guard *g);
/* A dialect's `column` for a column that is guarded. */
void support_guard_column(const struct support_guard *g, struct support_sql *sql,
                          const char *column);
/* Marks what the list names in lengths. */
void support_guard_read(const char *list, uint32_t *lengths, uint32_t column_count);

/* "SELECT a, b FROM t WHERE ... ORDER BY ... LIMIT n". */
enum renkei_status support_select(const struct support_dialect *dialect,
                                  const struct renkei_query *query, struct support_sql *sql,
                                  struct renkei_fault *fault);

/* --- small texts that live as long as a description --- */

struct support_pool {
    void *last;
};

void *support_pool_alloc(struct support_pool *pool, size_t size); /* zeroed; NULL: no memory */
/* A copy, NUL-terminated. NULL data or no memory: "". */
const char *support_pool_text(struct support_pool *pool, const char *data, size_t len);
void support_pool_done(struct support_pool *pool);

/* The columns of a table as a plugin keeps them, most recent first; the owner of their pool. */
struct support_table {
    struct support_table *next;
    struct support_pool pool;
    const char *schema;
    const char *table;
    struct renkei_column *columns;
    uint32_t column_count;
};

enum { SUPPORT_TABLES_MAX = 64 };

struct support_table *support_table_new(const char *schema, const char *table);
void support_table_free(struct support_table *table);
struct support_table *support_table_find(struct support_table *first, const char *schema,
                                         const char *table);
/* Puts a table in front, in place of an older description of the same; drops what is beyond
 * SUPPORT_TABLES_MAX. */
void support_table_keep(struct support_table **first, struct support_table *table);
void support_tables_done(struct support_table **first);
/* Room for one more column, zeroed, with empty texts; NULL: no memory or RENKEI_COLUMNS_MAX. */
struct renkei_column *support_table_column(struct support_table *table);
/* A table of text columns with these names; NULL: no memory. */
struct support_table *support_table_of_texts(const char *table, const struct renkei_value *names,
                                             uint32_t count);
const struct renkei_column *support_table_find_column(const struct support_table *table,
                                                      const char *name);

/* --- rows chosen here, where the source cannot choose them --- */

struct support_match {
    uint32_t at[RENKEI_KEY_COLUMNS_MAX]; /* which of a row's cells are compared */
    uint32_t count;
    uint32_t rows; /* alternatives; 0: every row is wanted */
    struct renkei_value *values;
    struct support_pool pool;
};

/* The query's keys or its `equals`, by the names of the cells that a row will have; the values are
 * copied. RENKEI_UNSUPPORTED for any other condition: what is not applied would give rows that
 * nobody asked for. */
enum renkei_status support_match_init(struct support_match *m, const struct renkei_query *q,
                                      const char *const *names, uint32_t name_count,
                                      struct renkei_fault *fault);
void support_match_done(struct support_match *m);
/* cells: NULL data is SQL NULL, which equals nothing. */
bool support_match_row(const struct support_match *m, const struct renkei_value *cells);


/* --- a plugin that reads row by row --- */

/* Checks the options and makes a session of `size` bytes, zeroed; its first member is a struct
 * support_options, filled. Freed by free(). */
enum renkei_status support_session_new(const struct renkei_option_spec *specs,
                                       const struct renkei_option *options, uint32_t option_count,
                                       size_t size, void **ret_session, struct renkei_fault *fault);

/* A result: batches are filled from rows that are read one at a time. */
struct support_rows {
    const struct support_table *table;
    struct support_batch batch;
    struct support_match match;
    uint32_t wanted[RENKEI_COLUMNS_MAX]; /* the table's column of each that was asked for */
    uint64_t left;
};

/* One row with a cell for each column of the table, or RENKEI_END, or an error. The cells are valid
 * until the next call. */
typedef enum renkei_status support_read_row(void *context, const struct renkei_value **ret_cells,
                                            uint32_t *ret_count, struct renkei_fault *fault);

/* The table outlives the rows. Refuses what no row can be chosen by here. */
enum renkei_status support_rows_init(struct support_rows *rows, const struct support_table *table,
                                     const struct renkei_query *q, struct renkei_fault *fault);
void support_rows_done(struct support_rows *rows);
/* What a connector's next() returns. */
enum renkei_status support_rows_next(struct support_rows *rows, support_read_row *read,
                                     void *context, struct renkei_batch *ret_batch,
                                     struct renkei_fault *fault);

/* True where the text begins with the prefix, ASCII letters of either case. */
bool support_starts(const char *text, const char *prefix);

/* The charset that a name of a database's own means; UNKNOWN where there is no telling. */
enum renkei_charset support_charset(const char *name);

#endif
