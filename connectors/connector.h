/*
 * The connector ABI: what a plugin that reads one kind of database gives to Renkei.
 *
 * This header stands alone: a plugin includes it and its client library, and nothing else of ours.
 * A plugin is a shared object with exactly one exported symbol, a constant named
 * `renkei_connector` of type struct renkei_connector. It is loaded with RTLD_NOW | RTLD_LOCAL, and
 * its magic block is checked before anything of it is called: a plugin built for another ABI is
 * refused with the version found and the version needed.
 *
 * What a connector does: open a session, say what tables and columns there are, and hand over rows
 * as raw bytes. What it refuses to do: it never writes to the database, never transcodes, never
 * guesses a charset, never drops a row, and never reports an error as an empty result.
 *
 * Raw bytes. A cell is the bytes of the database's own text form of the value, in the column's own
 * encoding, as the server holds it: the connector sets the session so that neither server nor
 * driver converts (docs/connectors.md tells how for each). Binary columns are the bytes themselves.
 *
 * Lifetimes. Everything that a call returns is owned by the session or cursor it came from. A
 * batch is valid until the next call on its cursor. Strings given to a plugin are valid for the
 * time of the call, but for the options, which live until close().
 *
 * Threads. One thread a session. Only cancel() may be called from another thread, at any time
 * between open() and close().
 *
 * Errors. A function that can fail returns a renkei_status and fills the struct renkei_fault it
 * is given. A message names the object and what the server said; it never holds a cell's value, a
 * password or a query's parameters. Outputs are untouched on failure.
 */
#ifndef RENKEI_CONNECTOR_H
#define RENKEI_CONNECTOR_H

#include <stddef.h>
#include <stdint.h>

#define RENKEI_CONNECTOR_MAGIC       0x52454E4Bu /* "RENK" */
#define RENKEI_CONNECTOR_ABI_VERSION 1u
#define RENKEI_CONNECTOR_SYMBOL      "renkei_connector"

/* Limits that both sides keep. */
enum {
    RENKEI_NAME_BYTES_MAX = 512,           /* a table's or column's name, in bytes */
    RENKEI_COLUMNS_MAX = 1024,             /* columns of a table */
    RENKEI_KEY_COLUMNS_MAX = 16,           /* columns of a key */
    RENKEI_BATCH_ROWS_MAX = 4096,          /* rows in a batch */
    RENKEI_CELL_BYTES_MAX = 16 << 20,      /* one cell; a longer one is RENKEI_TOO_LONG */
    RENKEI_ROW_BYTES_MAX = 24 << 20,       /* the cells of one row together */
    RENKEI_BATCH_BYTES_MAX = 32 << 20,     /* one batch */
    RENKEI_FAULT_MESSAGE_BYTES_MAX = 512,
};

enum renkei_status {
    RENKEI_OK = 0,
    RENKEI_END = 1,         /* no more rows; not an error */
    RENKEI_UNREACHABLE = 2, /* no connection: down, wrong host or port */
    RENKEI_LOGIN = 3,       /* refused: user, password, rights to connect */
    RENKEI_NO_TABLE = 4,
    RENKEI_NO_COLUMN = 5,
    RENKEI_QUERY = 6,     /* the server refused the query */
    RENKEI_LOST = 7,      /* the connection broke while rows were read: the result is not whole */
    RENKEI_CANCELLED = 8, /* by cancel() */
    RENKEI_TIMEOUT = 9,
    RENKEI_LIMIT = 10,     /* a named limit of this header; the message says which and where */
    RENKEI_OPTION = 11,    /* an option is missing or not valid */
    RENKEI_NO_MEMORY = 12,
    RENKEI_INTERNAL = 13,
    RENKEI_UNSUPPORTED = 14,
};

struct renkei_fault {
    enum renkei_status status;
    int64_t server_code;                          /* the server's or driver's own number, or 0 */
    char sqlstate[6];                             /* or "" */
    char message[RENKEI_FAULT_MESSAGE_BYTES_MAX]; /* UTF-8, NUL-terminated */
};

/* What a plugin can do. Unknown bits are ignored. */
#define RENKEI_CAN_SNAPSHOT  (UINT64_C(1) << 0) /* begin(): one consistent view over queries */
#define RENKEI_CAN_CANCEL    (UINT64_C(1) << 1) /* cancel() ends a running query */
#define RENKEI_CAN_KEY_RANGE (UINT64_C(1) << 2) /* query.after / query.order_by_key */
#define RENKEI_CAN_WATERMARK (UINT64_C(1) << 3) /* query.watermark_* */
#define RENKEI_CAN_RIGHTS    (UINT64_C(1) << 4) /* rights(): what the account may do */

/* The declared table of options: an option that is not in it is an error of the mapping, with the
 * nearest name as hint. */
enum renkei_option_kind {
    RENKEI_OPTION_TEXT = 0,
    RENKEI_OPTION_NUMBER = 1, /* decimal digits */
    RENKEI_OPTION_BOOL = 2,   /* "true" or "false" */
    RENKEI_OPTION_SECRET = 3, /* comes from a file, is never printed */
};

struct renkei_option_spec {
    const char *name; /* NULL ends the table */
    enum renkei_option_kind kind;
    int required;
    const char *default_value; /* NULL: none */
    const char *help;          /* one line */
};

struct renkei_option {
    const char *name;
    const char *value;
};

/* The charset a column is declared in. UNKNOWN means that the source does not say (SQL_ASCII,
 * ODBC): then the mapping must. */
enum renkei_charset {
    RENKEI_CHARSET_UNKNOWN = 0,
    RENKEI_CHARSET_BINARY = 1,
    RENKEI_CHARSET_ASCII = 2,
    RENKEI_CHARSET_UTF8 = 3,
    RENKEI_CHARSET_CP932 = 4, /* Windows-31J */
    RENKEI_CHARSET_SJIS = 5,  /* MySQL's `sjis`: decoded as CP932, said in the report */
    RENKEI_CHARSET_EUC_JP = 6,
    RENKEI_CHARSET_ISO_2022_JP = 7,
    RENKEI_CHARSET_UTF16LE = 8,
    RENKEI_CHARSET_UTF16BE = 9,
    RENKEI_CHARSET_LATIN1 = 10, /* MySQL's latin1 is CP1252 */
};

/* What the source says a column is. The text form of each is fixed, so that the normalizer need
 * not know the database: */
enum renkei_type {
    RENKEI_TYPE_OTHER = 0,     /* no fixed form; taken as text */
    RENKEI_TYPE_TEXT = 1,      /* in the column's charset */
    RENKEI_TYPE_INTEGER = 2,   /* ASCII: -?[0-9]+ (ZEROFILL may pad with zeros) */
    RENKEI_TYPE_DECIMAL = 3,   /* ASCII: exact decimal */
    RENKEI_TYPE_FLOAT = 4,     /* ASCII: shortest form of the server, NaN and Infinity possible */
    RENKEI_TYPE_BOOL = 5,      /* ASCII: t f true false 1 0 */
    RENKEI_TYPE_DATE = 6,      /* ASCII: yyyy-mm-dd, also 0000-00-00, "infinity", "... BC" */
    RENKEI_TYPE_TIME = 7,      /* ASCII: [-]hh:mm:ss[.f] with or without zone */
    RENKEI_TYPE_TIMESTAMP = 8, /* ASCII: yyyy-mm-dd hh:mm:ss[.f], no zone */
    RENKEI_TYPE_TIMESTAMP_ZONE = 9, /* an instant: the same with an offset, or in UTC without one;
                                       the session's zone is UTC */
    RENKEI_TYPE_YEAR = 10,          /* ASCII: yyyy */
    RENKEI_TYPE_BINARY = 11,        /* the bytes themselves */
    RENKEI_TYPE_BIT = 12,           /* ASCII zeros and ones, most significant first */
    RENKEI_TYPE_JSON = 13,          /* JSON text in the column's charset */
    RENKEI_TYPE_ARRAY = 14,         /* PostgreSQL's array text */
    RENKEI_TYPE_UUID = 15,
    RENKEI_TYPE_INTERVAL = 16,
    RENKEI_TYPE_MONEY = 17,
    RENKEI_TYPE_ENUM = 18, /* enum and set labels, in the column's charset */
    RENKEI_TYPE_GEOMETRY = 19,
};

struct renkei_column {
    const char *name;          /* raw bytes as the source names it, NUL-terminated */
    const char *declared_type; /* as the source writes it, for people: "varchar(40)" */
    enum renkei_type type;
    enum renkei_charset charset;
    const char *charset_name; /* the source's own word: "cp932", "SQL_ASCII"; "" if none */
    uint32_t bits;            /* of BIT and BOOL-like columns (TINYINT(1) is 1); else 0 */
    int nullable;             /* 1, 0, or -1: the source does not say */
    int key_position;         /* 1..n in the primary key; 0: not in it */
    int indexed;              /* 1: first column of some index */
};

struct renkei_table {
    const char *name;
    const char *schema;   /* "" where the source has none */
    const char *kind;     /* "table", "view" */
    const char *engine;   /* "InnoDB", "MyISAM", "heap", "" */
    int transactional;    /* 0: no snapshot is possible; 1; -1: the source does not say */
    int64_t rows_estimate; /* -1: unknown */
};

struct renkei_server {
    const char *product;  /* "MariaDB", "PostgreSQL", "SQLite (ODBC)" */
    const char *version;
    const char *charset;  /* the database's default, in the source's own word */
    const char *time_zone;
    const char *settings; /* what the connector set for the session, one "name=value;" after
                             another: part of the mapping's digest */
    int read_only;        /* 1: the session refuses writes */
    const char *note;     /* for people: which of several servers this is, and why; NULL: nothing */
};

/* A cell's value: data is not NUL-terminated. data == NULL is SQL NULL. */
struct renkei_value {
    const uint8_t *data;
    uint32_t len;
};

/* One query: SELECT columns FROM table [WHERE ...] [ORDER BY key]. The connector quotes names in
 * the way of its database, byte by byte in the table's charset (0x5C and 0x60 are trail bytes in
 * Shift_JIS), and passes values as parameters or with its client library's escaping. */
struct renkei_query {
    const char *schema; /* "" or NULL: the session's default */
    const char *table;
    const char *const *columns;
    uint32_t column_count;
    const char *const *key_columns;
    uint32_t key_column_count;

    /* Rows whose key equals one of these; key_row_count x key_column_count values, row by row.
     * key_row_count == 0: all rows. At most RENKEI_BATCH_ROWS_MAX rows. */
    const struct renkei_value *keys;
    uint32_t key_row_count;

    /* Rows whose column equals a value (a patient's rows); NULL: no such condition. */
    const char *equals_column;
    struct renkei_value equals_value;

    /* Rows whose key is greater than this, in the source's own order (needs order_by_key). NULL:
     * from the start. */
    const struct renkei_value *after;
    int order_by_key;
    /* 0: no limit. A limit of at most RENKEI_BATCH_ROWS_MAX rows also means: fetched whole before
     * the first batch is handed over, so that a slow reader holds no lock in the source. */
    uint64_t rows_max;

    /* Rows whose watermark column is >= this value; NULL: none. */
    const char *watermark_column;
    struct renkei_value watermark_from;
};

/* A column of a batch: cell i is data[offset[i] .. offset[i] + length[i]), and is NULL where
 * length[i] == RENKEI_NULL. RENKEI_TOO_LONG: the cell has a value of more than
 * RENKEI_CELL_BYTES_MAX, or the row's cells are together more than RENKEI_ROW_BYTES_MAX; it is not
 * handed over, and its row goes to quarantine. A connector asks its database to leave such a
 * value out: it must not need the memory for it. */
#define RENKEI_NULL     UINT32_MAX
#define RENKEI_TOO_LONG (UINT32_MAX - 1)
struct renkei_batch_column {
    const uint8_t *data;
    const uint32_t *offset;
    const uint32_t *length;
};

struct renkei_batch {
    uint32_t row_count; /* 1 .. RENKEI_BATCH_ROWS_MAX */
    uint32_t column_count;
    const struct renkei_batch_column *columns; /* in the order of query.columns */
};

struct renkei_session; /* the plugin's own */
struct renkei_cursor;  /* the plugin's own */

struct renkei_magic {
    uint32_t magic;       /* RENKEI_CONNECTOR_MAGIC */
    uint32_t abi_version; /* RENKEI_CONNECTOR_ABI_VERSION */
    uint32_t struct_size; /* sizeof(struct renkei_connector) */
    uint32_t reserved;    /* 0 */
};

typedef void renkei_table_visitor(void *context, const struct renkei_table *table);
/* write: 1: this right allows more than reading; 0: it does not; -1: cannot be told. */
typedef void renkei_right_visitor(void *context, const char *right, int write);

/* No slot is NULL, but cancel, begin and end, and rights where RENKEI_CAN_CANCEL,
 * RENKEI_CAN_SNAPSHOT and RENKEI_CAN_RIGHTS are not set. */
struct renkei_connector {
    struct renkei_magic magic;
    const char *name;        /* "mysql": what a mapping's `connector:` names */
    const char *version;     /* the plugin's own */
    const char *description; /* one line */
    uint64_t capabilities;
    const struct renkei_option_spec *options;

    enum renkei_status (*open)(const struct renkei_option *options, uint32_t option_count,
                               struct renkei_session **ret_session, struct renkei_fault *fault);
    void (*close)(struct renkei_session *session); /* NULL is fine */

    enum renkei_status (*server)(struct renkei_session *session, struct renkei_server *ret_server,
                                 struct renkei_fault *fault);
    enum renkei_status (*tables)(struct renkei_session *session, renkei_table_visitor *visitor,
                                 void *context, struct renkei_fault *fault);
    /* The columns of a table in their order. RENKEI_NO_TABLE where there is none. Valid until the
     * next call of columns(). */
    enum renkei_status (*columns)(struct renkei_session *session, const char *schema,
                                  const char *table, const struct renkei_column **ret_columns,
                                  uint32_t *ret_count, struct renkei_fault *fault);

    /* The rights of the session's account, a line each in the source's own words; a line never
     * holds a password or its hash. */
    enum renkei_status (*rights)(struct renkei_session *session, renkei_right_visitor *visitor,
                                 void *context, struct renkei_fault *fault);

    /* Between begin and end every query sees one snapshot. RENKEI_UNSUPPORTED: the database behind
     * this session has none; nothing is begun. ret_label: what names it (a GTID, an
     * xid, a time), valid until end. */
    enum renkei_status (*begin)(struct renkei_session *session, const char **ret_label,
                                struct renkei_fault *fault);
    enum renkei_status (*end)(struct renkei_session *session, struct renkei_fault *fault);

    /* One cursor a session at a time. */
    enum renkei_status (*query)(struct renkei_session *session, const struct renkei_query *query,
                                struct renkei_cursor **ret_cursor, struct renkei_fault *fault);
    /* RENKEI_OK with a batch, RENKEI_END after the last row of a result that came whole, or an
     * error. */
    enum renkei_status (*next)(struct renkei_cursor *cursor, struct renkei_batch *ret_batch,
                               struct renkei_fault *fault);
    void (*finish)(struct renkei_cursor *cursor); /* also in the middle of a result; NULL is fine */

    /* From another thread: makes the running call of the session return RENKEI_CANCELLED soon. */
    void (*cancel)(struct renkei_session *session);
};

#endif
