/*
 * Synchronisation: keeps the chain in step with the hospital's databases.
 *
 * Owns: passes over the sources (one thread a source), the anchoring of what they find (one thread
 * for all, because the chain counts one submitter's transactions), schedules and backoff, the
 * quarantine, enrolments, and retrieval with verdicts (records.h). May use: base, normalizer,
 * ledger.h, gateway/worker, gateway/vault. Refuses: to log (events go to a callback), to anchor a
 * deletion after a pass that was not whole, to anchor anything that is not durable in the vault
 * first, to let one source's failure stop another.
 *
 * All functions may be called from any thread, but for sync_open and sync_close.
 */
#ifndef GATEWAY_SYNC_SYNC_H
#define GATEWAY_SYNC_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

enum {
    SYNC_SOURCES_MAX = 64,
    SYNC_SOURCE_NAME_BYTES_MAX = 64, /* with the NUL */
    SYNC_TABLE_NAME_BYTES_MAX = 512, /* with the NUL */
    SYNC_INTERVAL_S_MAX = 7 * 24 * 3600,
    SYNC_LIST_MAX = 1000,            /* quarantined rows, enrolments in one answer */
    SYNC_PATIENT_BYTES_MAX = 256,    /* a patient id, in UTF-8 */
    SYNC_DELETIONS_MIN = 100,        /* vanished rows that no pass stops for, */
    SYNC_EMPTIED_MIN = 10,           /* but for a table of more records that reads empty */
};

/* What a daemon logs. source may be NULL. err is NULL where nothing failed. Never holds a record's
 * value. Called from several threads. */
typedef void sync_event_function(void *context, const char *event, const char *source,
                                 const struct error *err);

/* Between two passes of a mode; 0: on demand only. */
struct sync_intervals {
    uint32_t full_s;
    uint32_t watermark_s;
    uint32_t keys_s;
    /* How far behind the last watermark a pass starts: of a date, of a number. Both 0: where the pass
     * before the last ended. */
    uint32_t overlap_s;
    uint32_t overlap_rows;
};

struct sync_table_options {
    const char *table;
    struct sync_intervals intervals; /* the source's are for the tables without one of their own */
};

struct sync_source_options {
    const char *mapping;           /* path of the mapping file, which names the source */
    struct sync_intervals intervals;
    const struct sync_table_options *tables;
    size_t table_count;
    uint32_t rows_per_second_max;  /* 0: no cap */
    uint32_t deletions_percent_max; /* of a table's records that one pass may anchor as deleted
                                       unasked; 100: all. Up to SYNC_DELETIONS_MIN always */
    /* As in worker.h; NULL and 0: always open, no slowing down, the worker's own limits. */
    const char *windows;
    const char *time_zone;
    uint32_t latency_factor_max;
    uint64_t worker_memory_bytes_max;
    uint32_t worker_cpu_seconds_max;
};

/* Strings are copied. */
struct sync_options {
    const char *hospital;       /* as in addresses */
    const char *vault;          /* folder, made when missing */
    const char *node_socket;
    const char *genesis;
    const char *signer;         /* the gateway's Ed25519 key file */
    const char *worker_program; /* path of renkei-worker */
    const char *plugins;        /* folder of connector plugins */
    const struct sync_source_options *sources;
    size_t source_count;
    sync_event_function *event; /* NULL: nobody listens */
    void *event_context;
};

struct sync;

/* Loads the mappings, opens the vault (ERROR_LOCKED where another gateway has it) and starts the
 * threads. Neither a database nor the node needs to be up: what is down is retried with backoff
 * and shown in the status. Anchors that were pending at the last end are submitted again first. */
MUST_CHECK enum error_code sync_open(const struct sync_options *options, struct sync **ret_sync,
                                     struct error *err);
/* Cancels passes, ends workers and threads, closes the vault. What is pending stays pending. NULL
 * is fine. */
void sync_close(struct sync *sync);

/* ------------------------------------------------------------------------------ passes ---- */

enum sync_mode {
    SYNC_FULL = 1, /* every row, by digest; finds inserts, changes and deletions */
    SYNC_WATERMARK = 2, /* rows whose watermark column moved; needs `watermark:` in the mapping */
    SYNC_KEYS = 3,      /* keys only: finds deletions; new rows wait for a full pass */
    SYNC_REPLAY = 4,    /* the rows in quarantine, by their keys: what is well again is anchored,
                           what is gone leaves the quarantine. Entries without a key and alarms of
                           deleted rows wait for a full pass */
};
const char *sync_mode_name(enum sync_mode mode); /* "full", "watermark", "keys", "replay" */

struct sync_request {
    const char *source; /* NULL: all */
    const char *table;  /* NULL: all of the source */
    enum sync_mode mode;
    bool dry_run;  /* reads and counts, anchors nothing, stores nothing but the character report */
    bool declared; /* what is found new or changed is anchored as declared, not as observed: a
                      first load or a planned migration that the hospital answers for */
    bool accept_deletions; /* however many rows have vanished, somebody has looked and says that
                              they are gone; needs a table */
};

/* Asks the source's thread for a pass and returns at once. ERROR_NOT_FOUND: no such source or
 * table. ERROR_BUSY: a pass of it is running or asked for; with source == NULL only where that is
 * so of every source. */
MUST_CHECK enum error_code sync_start(struct sync *sync, const struct sync_request *request,
                                      struct error *err);
/* Ends the running pass (or all, source == NULL) at the next batch. What it anchored stays. */
MUST_CHECK enum error_code sync_cancel(struct sync *sync, const char *source, struct error *err);
/* Waits until no pass of the source (NULL: of all) runs or is asked for and nothing of it is
 * pending. ERROR_TIMEOUT. The outcome stands in the status. */
MUST_CHECK enum error_code sync_wait(struct sync *sync, const char *source, uint32_t deadline_ms,
                                     struct error *err);

enum sync_state {
    SYNC_NEVER = 0,     /* no pass yet since the start of the program */
    SYNC_QUEUED = 1,
    SYNC_READING = 2,
    SYNC_ANCHORING = 3, /* all rows are read; waits for the chain */
    SYNC_DONE = 4,
    SYNC_FAILED = 5,    /* error says why; what was anchored before stays */
    SYNC_CANCELLED = 6,
};
const char *sync_state_name(enum sync_state state); /* "never", "queued", "reading", ... */

struct sync_counts {
    uint64_t read;
    uint64_t unchanged;
    uint64_t created;
    uint64_t modified;
    uint64_t deleted;
    uint64_t quarantined;
    uint64_t anchored; /* of created, modified and deleted: committed on the chain */
    uint64_t remapped; /* of modified: only because the mapping changed */
};

/* What a pass asks of a source. */
struct sync_load {
    uint64_t pass; /* 0: none yet */
    uint64_t rows;
    uint64_t bytes;     /* of the cells */
    uint64_t queries;
    uint64_t source_ms; /* waited for the source: what it worked for us, at most */
    uint64_t wait_ms;   /* the source was not asked because vault and chain were waited for */
    uint64_t paused_ms; /* by rows_per_second_max */
    uint64_t slowed_ms; /* by the source's latency */
    uint64_t closed_ms; /* outside of the work windows */
    uint64_t latency_us; /* the last round trip; 0: none was measured */
    uint64_t latency_base_us; /* the best one */
};

enum sync_pause {
    SYNC_NOT_PAUSED = 0,
    SYNC_SLOWED = 1, /* the source answers slower than it could: the pass gives way */
    SYNC_CLOSED = 2, /* outside of the work windows */
};
const char *sync_pause_name(enum sync_pause pause); /* "", "slowed", "closed" */

struct sync_progress {
    uint64_t pass; /* counts the passes of this source for ever, from 1; 0: none yet */
    enum sync_state state;
    enum sync_mode mode;
    bool dry_run;
    bool declared;
    const char *table; /* the one being read; "" between */
    enum sync_pause pause;
    uint64_t pause_until_ms; /* of SYNC_CLOSED, wall clock */
    uint32_t tables_done;
    uint32_t tables;
    struct sync_counts counts;
    int64_t rows_expected; /* -1: unknown. The source's estimate or the last pass's count */
    uint64_t started_ms;   /* wall clock */
    uint64_t ended_ms;     /* 0: still running */
    uint64_t rows_per_second;
    int64_t left_ms; /* -1: unknown */
    enum error_code code; /* of a failed pass */
    const char *error;
    const char *hint;
};

struct sync_table_status {
    const char *table;
    const char *category;
    uint64_t records;      /* live, as anchored */
    uint64_t deleted;      /* anchored as deleted */
    uint64_t quarantined;
    uint64_t batches;      /* anchored */
    uint64_t last_pass_ms; /* wall clock of the end of the last whole pass; 0: none */
    uint64_t cursor_rows;  /* rows of that pass */
    /* Alarms of the last full or keys pass since the start of the program: */
    uint64_t vanished;     /* rows not anchored as deleted, since they are too many at once */
    uint64_t immutable_changed; /* rows of an immutable table that changed or are gone */
    struct sync_load load; /* of the last pass, or the running one */
    struct sync_load load_total; /* of all since the start of the program; pass: how many */
};

struct sync_source_status {
    const char *source;
    const char *connector;
    const char *mapping; /* path */
    uint32_t interval_s; /* of full passes over all its tables */
    uint64_t last_pass_ms; /* end of the last pass that was whole, over all tables; 0: none */
    uint64_t next_pass_ms; /* of any mode and table; 0: on demand only */
    uint32_t failures;     /* passes failed one after another */
    enum error_code code;  /* of the last failure, ERROR_NONE once a pass went through */
    const char *error;
    const char *hint;
    uint64_t pending; /* anchor transactions that are durable but not yet committed */
    struct sync_progress progress;
    const struct sync_table_status *tables;
    size_t table_count;
};

struct sync_status {
    const struct sync_source_status *sources;
    size_t source_count;
    uint64_t pending;           /* of all sources */
    uint64_t sequence;          /* the last one given out */
    enum error_code ledger_code; /* of the last submission that failed; ERROR_NONE: fine */
    const char *ledger_error;
    uint64_t vault_bytes;
    uint64_t vault_bytes_max;
    uint64_t enrolments;
};

/* Everything at this moment; strings and arrays are the arena's. */
MUST_CHECK enum error_code sync_status(struct sync *sync, struct arena *arena,
                                       struct sync_status *ret_status, struct error *err);

/* -------------------------------------------------------------------------- quarantine ---- */

/* A row that cannot be normalized, with the reason and without any value. */
struct sync_quarantined {
    uint64_t id; /* names it in the calls below; stable while the row stays in quarantine */
    const char *source;
    const char *table;
    const char *key;    /* canonical, as in the address; "": the key itself is the trouble */
    const char *column;
    const char *reason; /* "invalid-bytes", "type", ... */
    uint32_t code;      /* the byte sequence or code point met first; 0: none */
    uint64_t first_ms;
    uint64_t last_ms;
    bool anchored;      /* an earlier version of the row is on the chain */
};

/* In the order of id, from after (0: the first). At most SYNC_LIST_MAX. source NULL: all. */
MUST_CHECK enum error_code sync_quarantine_list(struct sync *sync, const char *source,
                                                uint64_t after, size_t limit, struct arena *arena,
                                                const struct sync_quarantined **ret_rows,
                                                size_t *ret_count, struct error *err);
/* Forgets the entry; the next pass that meets the row puts it in again. ERROR_NOT_FOUND. */
MUST_CHECK enum error_code sync_quarantine_drop(struct sync *sync, uint64_t id,
                                                struct error *err);

/* -------------------------------------------------------------------------- characters ---- */

/* Characters of one column that somebody should look at, and no value: the key says where. */
struct sync_character {
    const char *column;
    const char *kind; /* "invalid", "not-round-trip", "gaiji", "gaiji-mapped", "wave-dash" */
    uint32_t code;    /* the bytes, first byte highest; of Unicode charsets the code point */
    uint64_t count;
    const char *sample_key; /* canonical, of the first row that has it */
};
/* The character report of a table: of its last full pass (a dry run too), with what watermark
 * passes met since added to it, so that a row they read again counts again. */
struct sync_characters {
    const char *source;
    const char *table;
    uint64_t pass;  /* the full pass; 0: none has ended, what follows is of watermark passes */
    uint64_t ended_ms; /* of the last pass in it */
    uint64_t passes;
    uint64_t rows;
    uint64_t beyond; /* characters of codes that found no room in the list */
    const struct sync_character *list;
    size_t count;
};
/* Of every table that has a report, in the order of the configuration. source NULL: of all;
 * ERROR_NOT_FOUND: no such source. */
MUST_CHECK enum error_code sync_characters(struct sync *sync, const char *source,
                                           struct arena *arena,
                                           const struct sync_characters **ret_reports,
                                           size_t *ret_count, struct error *err);

/* ---------------------------------------------------------------------------- key sets ---- */

enum { SYNC_SNAPSHOT_BYTES_MAX = 64 };

/* Which rows a table held, as one root on the chain: who knows the table's secret can recompute it
 * from the table, and from nothing else. docs/formats.md, "Key set". */
struct sync_keyset {
    const char *source;
    const char *table;
    uint8_t secret[32];
    uint64_t pass; /* the last full or keys pass that was whole; 0: none yet */
    enum sync_mode mode;
    uint64_t count; /* of different keys */
    struct hash root;
    const char *snapshot;
    uint64_t sequence; /* of the note that carries it */
    uint64_t height;   /* of the note's block; 0: it is pending */
};
/* Of every table, in the order of the configuration. source NULL: of all; ERROR_NOT_FOUND: no such
 * source. */
MUST_CHECK enum error_code sync_keysets(struct sync *sync, const char *source,
                                        struct arena *arena,
                                        const struct sync_keyset **ret_keysets,
                                        size_t *ret_count, struct error *err);

/* -------------------------------------------------------------------------- enrolments ---- */

/* Which patient of this hospital a public key belongs to. thumbprint: RFC 7638, base64url. */
struct sync_enrolment {
    const char *thumbprint;
    const char *patient;
    const char *public_jwk; /* as given, at most SYNC_JWK_BYTES_MAX */
    uint64_t enrolled_ms;
};
enum { SYNC_THUMBPRINT_BYTES_MAX = 64, SYNC_JWK_BYTES_MAX = 2048 };

/* ERROR_EXISTS where the key is enrolled for another patient; the same again is fine. */
MUST_CHECK enum error_code sync_enrol(struct sync *sync, const char *thumbprint,
                                      const char *patient, const char *public_jwk,
                                      struct error *err);
MUST_CHECK enum error_code sync_enrolment_find(struct sync *sync, const char *thumbprint,
                                               struct arena *arena,
                                               struct sync_enrolment *ret_enrolment,
                                               struct error *err); /* ERROR_NOT_FOUND */
MUST_CHECK enum error_code sync_enrolment_remove(struct sync *sync, const char *thumbprint,
                                                 struct error *err);
/* In the order of thumbprints, after `after` (NULL: from the first). */
MUST_CHECK enum error_code sync_enrolment_list(struct sync *sync, const char *after, size_t limit,
                                               struct arena *arena,
                                               const struct sync_enrolment **ret_list,
                                               size_t *ret_count, struct error *err);

#endif
