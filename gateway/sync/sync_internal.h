/*
 * What the files of this room share. Two locks: `lock` guards everything that status shows and is
 * held for moments; `anchor_lock` is held while a transaction takes its number and goes into the
 * vault. Where both are needed, anchor_lock is taken first.
 */
#ifndef GATEWAY_SYNC_SYNC_INTERNAL_H
#define GATEWAY_SYNC_SYNC_INTERNAL_H

#include <pthread.h>

#include "gateway/sync/records.h"
#include "gateway/vault/vault.h"
#include "gateway/worker/worker.h"
#include "ledger/ledger.h"
#include "normalizer/mapping.h"

enum {
    SYNC__PENDING_MAX = 32,       /* anchors that may wait before passes wait for the chain */
    SYNC__LANES = 2,              /* while one carries out its flight, the other's is at the chain */
    SYNC__SUBMIT_MAX = 4,         /* transactions of a flight, all of which are in memory */
    SYNC__SUBMIT_MS_MAX = 30000,
    SYNC__BACKOFF_MS_MIN = 250,
    SYNC__BACKOFF_MS_MAX = 15000,
    SYNC__PASS_BACKOFF_MS_MIN = 5000,
    SYNC__ERROR_BYTES_MAX = ERROR_MESSAGE_BYTES_MAX,
};

/* What is kept of an error for the status. */
struct sync__failure {
    enum error_code code;
    char message[ERROR_MESSAGE_BYTES_MAX];
    char hint[ERROR_HINT_BYTES_MAX];
};

/* A pass that begins by itself. */
struct sync__due {
    int table; /* index; -1: all that have no interval of their own */
    enum sync_mode mode;
    uint32_t interval_s;
    uint64_t next_monotonic_ms;
};

struct sync__alarms {
    uint64_t vanished;
    uint64_t immutable_changed;
};

/* How far behind the last watermark a pass starts; 0 and 0: where the pass before the last ended. */
struct sync__overlap {
    uint32_t seconds; /* of a watermark that is a date or a time */
    uint32_t rows;    /* of one that is a number */
};

struct sync__source {
    struct sync *sync;
    struct mapping *mapping;
    uint32_t interval_s;
    uint32_t deletions_percent_max;
    struct worker *puller;  /* of the source's thread */
    struct worker *fetcher; /* of retrieval; calls wait for one another in it */
    uint32_t *table_ids;    /* of the vault, in the mapping's order */
    pthread_t thread;
    bool thread_started;

    /* Under sync->lock: */
    bool requested;
    enum sync_mode mode;
    bool dry_run;
    bool declared;
    bool accept_deletions;
    struct sync__alarms *alarms; /* of each table */
    int only_table; /* index; -1: all */
    bool cancelled;
    struct sync_progress progress; /* its strings are not used */
    char table[SYNC_TABLE_NAME_BYTES_MAX];
    struct sync_load *loads;       /* of the last pass, in the mapping's order */
    struct sync_load *loads_total; /* of all passes before */
    struct sync__failure pass_failure;
    struct sync__failure failure;
    uint32_t failures;
    uint64_t last_pass_ms;
    struct sync__overlap *overlaps; /* in the mapping's order */
    struct sync__due *schedule;
    size_t schedule_count;
    bool scheduled; /* the request is the schedule's */
    uint64_t pass_started_monotonic_ms;
    uint64_t anchors_failed; /* transactions of this source that were without effect */
    struct sync__failure anchor_failure;
};

/* A thread that submits, with its own connection. */
struct sync__lane {
    struct sync *sync;
    struct ledger *ledger;
    pthread_t thread;
    bool thread_started;
};

struct sync {
    char *hospital;
    char *vault_folder;
    struct vault *vault;
    struct ledger_signer *signer;
    uint8_t submitter[32];
    struct hash chain;
    struct sync__lane lanes[SYNC__LANES];
    uint64_t next_at_start;   /* the sequence that the vault would have given out then */
    uint64_t lowest_at_start; /* of what was pending; 0: nothing was */
    struct ledger *read_ledger;   /* of retrieval, under ledger_lock */
    struct sync__source *sources;
    size_t source_count;
    sync_event_function *event;
    void *event_context;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything that somebody may wait for */
    pthread_mutex_t anchor_lock;
    pthread_mutex_t ledger_lock;
    pthread_mutex_t claim_lock;
    bool locks_made;

    /* Under claim_lock, which is taken before lock: */
    uint64_t claimed; /* pending sequences below it are in a flight, or were */
    uint64_t flights;

    /* Under lock: */
    bool stopping;
    uint64_t added;   /* pending transactions put in since the start: wakes the lanes */
    uint64_t applied; /* transactions carried out since the start */
    bool chain_checked; /* vault and chain agree on where this gateway stands */
    bool vault_is_old;  /* the chain has more of this gateway's than the vault gave out */
    struct sync__failure ledger_failure;
    uint64_t carried;  /* flights carried out: the turn of the flight with this number */
    uint64_t troubles; /* attempts of the lanes that failed since the start */
    uint64_t retries;  /* counted up: they are to try again now, not only when their backoff ends */
};

/* sync.c */
void sync__event(struct sync *sync, const char *event, const char *source,
                 const struct error *err);
void sync__failure_set(struct sync__failure *failure, const struct error *err);
/* Waits on `changed` (lock held) until woken or past. Monotonic time. */
void sync__wait_until(struct sync *sync, uint64_t monotonic_ms);
/* True where the pass should end. Takes the lock. */
bool sync__pass_must_stop(struct sync__source *source);

/* pass: how many passes are in it. */
struct sync_load sync__load_sum(const struct sync_load *sum, const struct sync_load *one);

/* Where the vault's disk is full: how much is free and how much more is needed, as the hint. rows:
 * that are still to be read, -1: unknown. */
void sync__explain_full(struct sync *sync, int64_t rows, struct error *err);

/* A patient id as it is compared and indexed: blanks at its end come from padded columns. */
struct bytes sync__patient_text(struct bytes text);

/* anchor.c */
/* The items become leaves and one transaction, which is pending when this returns, and durable before
 * it is submitted. previous: each item's previous leaf hash. */
struct sync__batch {
    struct vault_item items[VAULT_ITEMS_MAX];
    struct hash previous[VAULT_ITEMS_MAX];
    struct hash mapping[VAULT_ITEMS_MAX];
    uint32_t count;
    /* Room for what sync__anchor makes of them: fresh memory for it at each batch would cost more
     * than filling it. */
    struct leaf leaves[VAULT_ITEMS_MAX];
    struct hash leaf_hashes[VAULT_ITEMS_MAX];
};
MUST_CHECK enum error_code sync__anchor(struct sync__source *source, size_t table,
                                        const char *snapshot, struct sync__batch *batch,
                                        struct error *err);
/* What a table is called on the chain, where no plain name goes. */
struct hash sync__source_tag(const struct sync__source *source, const char *table);
/* A note, durable before it is submitted. */
MUST_CHECK enum error_code sync__anchor_note(struct sync__source *source, struct bytes note,
                                             uint64_t *ret_sequence, struct error *err);
/* Once for each mark; a second time is no error. */
MUST_CHECK enum error_code sync__anchor_incident(struct sync *sync,
                                                 const struct ledger_incident *incident,
                                                 struct error *err);
/* Waits until at most `most` transactions of a table (0: of all) are pending, or the pass must
 * stop (source may be NULL: the program). */
MUST_CHECK enum error_code sync__wait_pending(struct sync *sync, struct sync__source *source,
                                              uint32_t table, uint64_t most, struct error *err);
/* Before the threads start. */
MUST_CHECK enum error_code sync__where_vault_stands(struct sync *sync, struct error *err);
void *sync__anchor_thread(void *lane);

/* pass.c */
MUST_CHECK enum error_code sync__pass_table(struct sync__source *source, size_t table,
                                            uint64_t pass, struct error *err);

/* keysets.c */
struct sync__keyset;
/* For the keys of a table; its secret is the vault's. */
MUST_CHECK enum error_code sync__keyset_of_table(struct sync *sync, uint32_t table,
                                                 struct sync__keyset **ret_keyset,
                                                 struct error *err);
/* Anchors the root of a pass that met every row, and remembers it. */
MUST_CHECK enum error_code sync__keyset_anchor(struct sync__source *source, size_t table,
                                               enum sync_mode mode, uint64_t pass,
                                               const char *snapshot, struct sync__keyset *keyset,
                                               struct error *err);

/* characters.c */
struct sync__characters {
    uint64_t pass;
    bool full;
    uint64_t rows;
    const char *const *columns; /* of the plan */
    uint32_t column_count;
};
/* Keeps the report of a pass that read all it was to read. */
MUST_CHECK enum error_code sync__characters_keep(struct sync *sync, uint32_t table,
                                                 const struct sync__characters *pass,
                                                 const struct character_count *counts,
                                                 size_t count, uint64_t beyond,
                                                 struct error *err);

/* source.c */
void *sync__source_thread(void *source);

/* schedule.c. Under lock, but for the first. */
/* watermark.c */
enum { SYNC__WATERMARK_BYTES_MAX = 256 };
/* False, and the text untouched, where the overlap does not fit such a watermark. */
bool sync__watermark_back(const struct sync__overlap *overlap,
                          char text[SYNC__WATERMARK_BYTES_MAX + 1]);
MUST_CHECK enum error_code sync__watermark_from(struct sync *sync, uint32_t table,
                                                const struct sync__overlap *overlap,
                                                char ret_from[SYNC__WATERMARK_BYTES_MAX + 1],
                                                struct error *err);
MUST_CHECK enum error_code sync__watermark_moved(struct sync *sync, uint32_t table,
                                                 const char *reached, struct error *err);

/* schedule.c; the overlaps too. */
MUST_CHECK enum error_code sync__schedule_make(struct sync__source *source,
                                               const struct sync_source_options *options,
                                               struct error *err);
/* The pass that is due for longest, NULL where none is. */
struct sync__due *sync__schedule_due(struct sync__source *source);
/* Monotonic; UINT64_MAX: there is none. */
uint64_t sync__schedule_next_ms(const struct sync__source *source);
/* The pass that the source ran has ended; retry_ms: after which it is tried again where that is
 * sooner than its interval, UINT64_MAX: it need not be. */
void sync__schedule_passed(struct sync__source *source, uint64_t retry_ms);
/* Is this table part of the pass that is asked for? */
bool sync__schedule_covers(const struct sync__source *source, int only, size_t table);

/* verdict.c */
struct sync__comparison {
    bool chain_known;            /* the chain has an anchored version */
    enum leaf_operation operation; /* of the latest */
    bool row_found;
    bool row_readable;           /* it could be normalized */
    bool mapping_same;           /* the live row's mapping is the anchored one */
    bool content_same;
    bool raw_same;
};
enum verdict sync__verdict(const struct sync__comparison *c);

#endif
