/*
 * The gateway's side of a worker: starts `renkei-worker`, talks to it over a socket pair, and
 * turns its death into an error.
 *
 * Owns: the child process, the protocol with it, deadlines, the backoff of restarts. May use: base,
 * the record types of normalizer.h and connector.h. Refuses: to load a plugin or a mapping into
 * this process, to pass a document in a pull, to log, to hand on a password (the worker reads the
 * password file itself).
 *
 * One struct worker is one child with one database session, and does one call at a time: a second
 * thread's call waits. A pull takes minutes, so a gateway keeps one worker a source for pulls and
 * another for fetches. Only worker_cancel may be called beside a running call.
 *
 * The child is started at the first call. A child that died gives ERROR_WORKER, which names the
 * source and the signal or exit status; the next call starts it again. From the second death in a
 * row on, calls fail at once until a backoff has passed (WORKER_BACKOFF_MS_MIN, doubled up to
 * WORKER_BACKOFF_MS_MAX; a call that succeeds ends it). An error that the database gave
 * (ERROR_SOURCE_*) does not end the child: it opens a new session by itself at the next call.
 *
 * Lifetimes: what callbacks are given is valid until they return. What a call returns through
 * ret_* is one block of memory, freed with worker_result_free.
 */
#ifndef GATEWAY_WORKER_WORKER_H
#define GATEWAY_WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "connectors/connector.h"
#include "normalizer/normalizer.h"

enum {
    WORKER_BATCH_ROWS_MAX = 1024,  /* rows in one exchange of a pull */
    WORKER_FETCH_KEYS_MAX = 1024,  /* keys of one fetch */
    WORKER_EARLIER_MAX = 16,       /* mappings that a pull knows beside the one in force */
    WORKER_FETCH_BYTES_MAX = 64 << 20, /* what one fetch may return */
    WORKER_PREVIEW_ROWS_MAX = 1000,
    WORKER_FRAME_BYTES_MAX = 128 << 20, /* one message of the protocol */
    WORKER_SALT_BYTES = 32,
    WORKER_BACKOFF_MS_MIN = 250,
    WORKER_BACKOFF_MS_MAX = 30000,
    WORKER_CALL_MS_DEFAULT = 30000,      /* describe, preview, fetch */
    WORKER_PULL_IDLE_MS_DEFAULT = 300000, /* a pull that says nothing for so long */
    WORKER_MEMORY_BYTES_DEFAULT = 512 << 20,
    WORKER_CPU_S_DEFAULT = 60,
};

/* Everything is copied by worker_new. */
struct worker_config {
    const char *program;       /* path of renkei-worker */
    const char *plugin_folder; /* where the connectors' .so files are */
    const char *mapping_path;
    const char *hospital; /* stands in addresses */
    const char *source;   /* the mapping's `source:`, for messages */
    uint32_t call_ms_max;      /* past it the child is killed: ERROR_TIMEOUT; 0: the default */
    uint32_t pull_idle_ms_max; /* 0: the default */
    uint64_t memory_bytes_max; /* of the child; 0: WORKER_MEMORY_BYTES_DEFAULT */
    uint32_t cpu_seconds_max;  /* between two messages of the child; 0: WORKER_CPU_S_DEFAULT */
    uint32_t rows_per_second_max; /* of pulls; 0: none */
    /* When pulls may read, see window.h; NULL: always. A pull that meets a window's end lets go of
     * the source and goes on behind its last key when the next one opens. */
    const char *windows;
    const char *time_zone; /* of the windows; NULL: UTC */
    /* A pull is slowed down while the source's round trip is more than this many times its best;
     * 0: never. */
    uint32_t latency_factor_max;
};

struct worker;

/* Starts nothing. ERROR_NOT_FOUND where the program or the plugin folder is not there. */
MUST_CHECK enum error_code worker_new(const struct worker_config *config,
                                      struct worker **ret_worker, struct error *err);
/* Ends the child: waits shortly for it, then kills it. NULL is fine. */
void worker_free(struct worker *w);

/* From any thread: the running call returns ERROR_SOURCE_CANCELLED soon. Without a running call it
 * does nothing. */
void worker_cancel(struct worker *w);

/* The child's process id, 0 where none runs. For tests and status pages. */
int64_t worker_process(struct worker *w);

/* --- what there is: discover, check ------------------------------------------------------------- */

struct worker_table {
    struct renkei_table table;
    const struct renkei_column *columns; /* NULL in worker_describe's list */
    uint32_t column_count;
};

struct worker_right {
    const char *text; /* what the account may do, in the source's own words */
    int write;        /* 1: more than reading; 0: reading only; -1: cannot be told */
};

struct worker_description {
    const char *connector;         /* "mysql" */
    const char *connector_version;
    uint64_t capabilities;         /* RENKEI_CAN_* */
    struct renkei_server server;
    const struct worker_table *tables;
    size_t table_count;
    const struct worker_right *rights;
    size_t right_count;
};

/* The server, the tables the account sees (without their columns) and its rights. */
MUST_CHECK enum error_code worker_describe(struct worker *w,
                                           const struct worker_description **ret_description,
                                           struct error *err);
/* The columns of one table, which need not be in the mapping. schema may be NULL or "". */
MUST_CHECK enum error_code worker_columns(struct worker *w, const char *schema, const char *table,
                                          const struct worker_table **ret_table,
                                          struct error *err);
/* Frees what any call of this header returned through ret_*. NULL is fine. */
void worker_result_free(const void *result);

/* --- a mapped table, as it will be read --------------------------------------------------------- */

struct worker_plan {
    const char *table;
    struct hash mapping_digest;
    struct bytes mapping_description;      /* JSON; what mapping_digest is over */
    const char *const *columns;            /* what is selected, key columns first */
    uint32_t column_count;
    const struct normalizer_field *fields; /* in the order of the document's bytes */
    size_t field_count;
    int transactional;         /* of the source's table: 0: no snapshot is possible */
    const char *engine;        /* "InnoDB", "MyISAM", "heap", "" */
    const char *snapshot;      /* of a pull: the label of its snapshot; "" where there is none */
    int64_t rows_estimate;     /* for progress; -1: unknown */
};

/* Checks a table of the mapping against the source without reading a row. */
MUST_CHECK enum error_code worker_plan(struct worker *w, const char *table,
                                       const struct worker_plan **ret_plan, struct error *err);

/* --- preview: rows as they will be, raw beside JSON --------------------------------------------- */

struct worker_preview_row {
    const struct renkei_value *cells; /* raw, in the order of plan->columns; data NULL: SQL NULL */
    struct bytes key;
    struct bytes address;
    struct bytes patient;
    struct bytes date;
    struct bytes document; /* empty where quarantined */
    const enum value_type *types; /* plan->field_count of them */
    bool quarantined;
    const struct normalized_reason *reasons;
    size_t reason_count;
};

struct worker_preview {
    const struct worker_plan *plan;
    const struct worker_preview_row *rows;
    size_t row_count;
};

MUST_CHECK enum error_code worker_preview(struct worker *w, const char *table, uint32_t rows_max,
                                          const struct worker_preview **ret_preview,
                                          struct error *err);

/* --- pull: every row's digests, without its document -------------------------------------------- */

enum worker_mode {
    WORKER_FULL = 0,      /* every row, digests compared */
    WORKER_KEYS = 1,      /* every row's key only: for deletes. salts is not called, rows gives
                             WORKER_KEY rows */
    WORKER_WATERMARK = 2, /* rows whose watermark column is >= watermark_from */
    WORKER_LISTED = 3,    /* the rows of some keys: worker_pull_keys */
};

/* The gateway's answer for one key. */
struct worker_salt {
    uint8_t fresh[WORKER_SALT_BYTES]; /* for a new row or a new version */
    bool known;                       /* the row has an anchored version: */
    uint8_t stored[WORKER_SALT_BYTES];
    struct hash content;
    struct hash raw;
    /* The mapping that it was anchored under: its place in worker_pull_calls.earlier, from 1; 0: the
     * one in force, or none of these. */
    uint8_t earlier;
};

enum worker_change {
    WORKER_NEW = 1,       /* not known: digests under `fresh` */
    WORKER_SAME = 2,      /* known, both digests as stored */
    WORKER_CHANGED = 3,   /* known, and a digest differs: digests under `fresh` */
    WORKER_QUARANTINED = 4, /* cannot be normalized: no digests, see reasons */
    WORKER_KEY = 5,       /* mode keys */
};

struct worker_row {
    enum worker_change change;
    bool content_changed; /* WORKER_CHANGED: which of the digests differ */
    bool raw_changed;
    bool same_bytes; /* WORKER_CHANGED of a salt with `earlier`: what that mapping read of the row is
                        what was anchored; only the mapping is another */
    struct bytes key; /* canonical, docs/formats.md; empty where a key column is NULL */
    struct bytes address;
    struct bytes patient; /* UTF-8; empty: none */
    struct bytes date;    /* "yyyy/mm/dd"; empty: none */
    struct hash content;
    struct hash raw;
    const struct normalized_reason *reasons; /* column: index into plan->columns */
    size_t reason_count;
};

/* What a pull is doing to its source. */
enum worker_pause {
    WORKER_READING = 0,
    WORKER_SLOWED = 1, /* the source answers slower than it could */
    WORKER_CLOSED = 2, /* outside of the work windows: no session is open */
};

struct worker_totals {
    uint64_t rows;
    uint64_t rows_new;
    uint64_t rows_same;
    uint64_t rows_changed;
    uint64_t rows_quarantined;
    uint64_t raw_bytes;   /* of the cells */
    uint64_t queries;     /* statements sent, and round trips measured */
    uint64_t source_us;   /* time spent in the connector: the load caused, at most */
    uint64_t normalize_us; /* in the normalizer: text, values, canonical JSON, preimage */
    uint64_t digest_us;    /* in the digests, and in handing the rows over */
    uint64_t wait_us;     /* waiting for the gateway */
    uint64_t paused_us;   /* slowed down by rows_per_second_max */
    uint64_t slowed_us;   /* slowed down by the source's latency */
    uint64_t closed_us;   /* waiting for a work window */
    uint64_t latency_us;  /* the latest round trip, 0: none was measured */
    uint64_t latency_base_us; /* the best one */
    char watermark[256];  /* the greatest watermark value met, raw bytes as text; "" : none */
};

/* Each may stop the pull by returning an error, which worker_pull then returns. NULL: not called,
 * but for salts and rows. characters comes once, after the last row of a pull that is whole, unless
 * in mode keys: the characters that the hospital should look at (their column: an index into
 * plan->columns), and how many more were of codes that did not fit. */
struct worker_pull_calls {
    void *context;
    /* Descriptions of the mappings that rows may be anchored under, WORKER_EARLIER_MAX at most. Their
     * columns are read, too, where they are still there and may be read; not in mode keys. */
    const struct bytes *earlier;
    size_t earlier_count;
    enum error_code (*start)(void *context, const struct worker_plan *plan, struct error *err);
    /* Fills one salt a key, in the keys' order. Keys of quarantined rows are among them. */
    enum error_code (*salts)(void *context, const struct bytes *keys, size_t count,
                             struct worker_salt *ret_salts, struct error *err);
    /* The rows of the same batch, in the same order as their keys were. */
    enum error_code (*rows)(void *context, const struct worker_row *rows, size_t count,
                            struct error *err);
    enum error_code (*characters)(void *context, const struct character_count *counts,
                                  size_t count, uint64_t beyond, struct error *err);
    /* About once a second, and at the end: the load so far. until_ms: of WORKER_CLOSED, the wall
     * clock's time at which a window opens. */
    void (*load)(void *context, const struct worker_totals *totals, enum worker_pause pause,
                 uint64_t until_ms);
};

/* A whole result or an error: where the connection breaks in the middle it is ERROR_SOURCE_LOST,
 * and the rows given so far are each right but not all. ret_totals may be NULL. watermark_from: "":
 * from the start; used by WORKER_WATERMARK only. */
MUST_CHECK enum error_code worker_pull(struct worker *w, const char *table, enum worker_mode mode,
                                       const char *watermark_from,
                                       const struct worker_pull_calls *calls,
                                       struct worker_totals *ret_totals, struct error *err);

/* The same of the rows of some keys only, WORKER_FETCH_KEYS_MAX at most, none of them twice. A key
 * that names no row gives none; where the database's collation takes one key for another, that row
 * comes too. ERROR_BAD_REQUEST for a key of another shape than the mapping's. */
MUST_CHECK enum error_code worker_pull_keys(struct worker *w, const char *table,
                                            const struct bytes *keys, size_t key_count,
                                            const struct worker_pull_calls *calls,
                                            struct worker_totals *ret_totals, struct error *err);

/* --- fetch: the live rows behind some keys, for retrieval --------------------------------------- */

struct worker_fetch_key {
    struct bytes key;   /* canonical */
    const uint8_t *r;   /* WORKER_SALT_BYTES to compute the digests with; NULL: no digests */
};

struct worker_fetched_row {
    bool found;       /* false: no row has this key */
    bool quarantined; /* found, but it cannot be normalized: no document, no digests */
    struct bytes key;
    struct bytes address;
    struct bytes patient;
    struct bytes date;
    struct bytes document;        /* RFC 8785 */
    struct bytes raw;             /* the raw preimage */
    const enum value_type *types; /* plan->field_count of them, or NULL */
    struct hash content;          /* zero without r */
    struct hash raw_digest;
    const struct normalized_reason *reasons;
    size_t reason_count;
};

struct worker_fetched {
    const struct worker_plan *plan;
    const struct worker_fetched_row *rows; /* in the order of the keys asked for */
    size_t row_count;
};

MUST_CHECK enum error_code worker_fetch(struct worker *w, const char *table,
                                        const struct worker_fetch_key *keys, size_t key_count,
                                        const struct worker_fetched **ret_fetched,
                                        struct error *err);

/* The same, as the mapping of this description read them (worker_plan.mapping_description of a plan
 * then). ERROR_MAPPING where the table cannot be read so any more. */
MUST_CHECK enum error_code worker_fetch_under(struct worker *w, const char *table,
                                              struct bytes description,
                                              const struct worker_fetch_key *keys,
                                              size_t key_count,
                                              const struct worker_fetched **ret_fetched,
                                              struct error *err);

/* The live rows whose patient column holds this id, without digests (the caller does not know
 * their r yet): for rows that are not anchored. At most rows_max rows; more is ERROR_LIMIT.
 * patient: UTF-8. An id that is not ASCII is compared in the column's charset only where that is
 * UTF-8, else ERROR_BAD_REQUEST. */
MUST_CHECK enum error_code worker_fetch_patient(struct worker *w, const char *table,
                                                const char *patient, uint32_t rows_max,
                                                const struct worker_fetched **ret_fetched,
                                                struct error *err);

#endif
