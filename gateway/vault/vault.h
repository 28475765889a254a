/*
 * The vault: the gateway's private store, one LMDB environment in a folder of its own (0700, files
 * 0600, one process at a time).
 *
 * Owns: what ties a hospital's rows to the chain and must never be on it: each record's key,
 * locator, r and digests, earlier versions, which patient a record belongs to (under an HMAC of
 * the patient id), pending transactions with what they will change here, quarantine, enrolments,
 * table secrets. May use: base, ledger/leaf.h, LMDB. Refuses: to hold a record's values, to
 * interpret a transaction, to talk to the chain, to log.
 *
 * Every function below is one LMDB transaction, durable when it returns but for two that say so. Any
 * thread may call any function; writers wait for one another. Byte formats: docs/formats.md, "Vault".
 *
 * The secrets in it are protected by the file's mode alone, not wrapped: who can read the file can
 * also read the databases' passwords beside it. A backup is encrypted (docs/operator.md).
 */
#ifndef GATEWAY_VAULT_VAULT_H
#define GATEWAY_VAULT_VAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "ledger/leaf.h"

enum {
    VAULT_KEY_BYTES_MAX = 400, /* a canonical key; with its table it fits an LMDB key */
    VAULT_TABLE_BYTES_MAX = 600, /* "source/table" */
    VAULT_PATIENT_BYTES_MAX = 256,
    VAULT_ITEMS_MAX = 4096,   /* records that one transaction changes */
    VAULT_PENDING_MAX = 256,  /* transactions */
    VAULT_TRANSACTION_BYTES_MAX = 4 << 20,
    VAULT_SNAPSHOT_BYTES_MAX = 64,
    VAULT_MAPPING_BYTES_MAX = 1 << 20,
    VAULT_QUARANTINE_MAX = 100000, /* rows kept; more are counted, not kept */
    VAULT_NAME_BYTES_MAX = 512,
    VAULT_JWK_BYTES_MAX = 2048,
    VAULT_THUMBPRINT_BYTES_MAX = 64,
    VAULT_R_BYTES = 32,
};

struct vault;

/* Opens or makes it. bytes_max: how large the file may grow; 0: 1 TiB, of which nothing is taken
 * before it is needed. now_ms: for the record of its making. */
MUST_CHECK enum error_code vault_open(const char *folder, uint64_t bytes_max, uint64_t now_ms,
                                      struct vault **ret_vault, struct error *err);
void vault_close(struct vault *vault); /* NULL is fine */
MUST_CHECK enum error_code vault_size(struct vault *vault, uint64_t *ret_bytes,
                                      uint64_t *ret_bytes_max, struct error *err);

/* A secret for one purpose, derived from the vault's own. */
void vault_secret(const struct vault *vault, const char *purpose, uint8_t ret_key[32]);

/* -------------------------------------------------------------------------------- tables ---- */

struct vault_table {
    uint32_t id; /* from 1, for ever */
    uint64_t live;
    uint64_t deleted;
    uint64_t quarantined;
    uint64_t batches; /* given out to pending transactions so far */
    uint64_t passes;  /* whole passes */
    uint64_t last_pass_ms;
    uint64_t last_pass_rows;
};

/* The table of this name ("source/table"), which is made when missing. */
MUST_CHECK enum error_code vault_table(struct vault *vault, const char *name,
                                       struct vault_table *ret_table, struct error *err);

/* Appends the name of a table, with its NUL. ERROR_NOT_FOUND. */
MUST_CHECK enum error_code vault_table_name(struct vault *vault, uint32_t table,
                                            struct buffer *ret_name, struct error *err);

/* A whole pass has ended: counts it, and drops the quarantined rows of the table that pass_id did
 * not meet again. */
MUST_CHECK enum error_code vault_table_passed(struct vault *vault, uint32_t table,
                                              uint64_t pass_id, uint64_t rows, uint64_t now_ms,
                                              struct error *err);

/* The value of a named counter plus one, stored: pass numbers. */
MUST_CHECK enum error_code vault_count(struct vault *vault, const char *counter,
                                       uint64_t *ret_value, struct error *err);

/* A small value under a name (a watermark, a key-set root). ret_value is appended to; a name that
 * was never put gives nothing. */
MUST_CHECK enum error_code vault_put(struct vault *vault, const char *name, struct bytes value,
                                     struct error *err);
MUST_CHECK enum error_code vault_get(struct vault *vault, const char *name,
                                     struct buffer *ret_value, struct error *err);

/* ------------------------------------------------------------------------------ mappings ---- */

/* The number of a mapping digest, from 1. Keeps the description when it is new. */
MUST_CHECK enum error_code vault_mapping(struct vault *vault, const struct hash *digest,
                                         struct bytes description, uint32_t *ret_id,
                                         struct error *err);
/* Appends the description. ERROR_NOT_FOUND. */
MUST_CHECK enum error_code vault_mapping_read(struct vault *vault, const struct hash *digest,
                                              struct buffer *ret_description, struct error *err);

/* ------------------------------------------------------------------------------- records ---- */

/* One version of a record. */
struct vault_version {
    uint32_t version; /* 0: none is committed yet */
    enum leaf_operation operation;
    enum leaf_origin origin;
    uint8_t r[VAULT_R_BYTES];
    struct hash content;
    struct hash raw;
    uint32_t mapping; /* of vault_mapping */
    struct hash leaf; /* leaf hash */
    uint64_t sequence; /* of the transaction that carries it */
    uint32_t leaf_index;
    uint32_t date; /* yyyymmdd in decimal; 0: none */
};

struct vault_record {
    uint64_t id;
    uint32_t table;
    struct locator locator;
    uint64_t patient; /* number; 0: none */
    uint32_t observed_changes;
    struct vault_version latest;
    size_t key_len;
    uint8_t key[VAULT_KEY_BYTES_MAX];
};

/* A consistent view for many look-ups. One thread at a time. */
struct vault_view;
MUST_CHECK enum error_code vault_view_open(struct vault *vault, struct vault_view **ret_view,
                                           struct error *err);
/* Sees what was committed since; cheaper than a new one. */
MUST_CHECK enum error_code vault_view_renew(struct vault_view *view, struct error *err);
void vault_view_close(struct vault_view *view); /* NULL is fine */

/* By table and canonical key. ret_found false: the vault has no such row, ret_record is
 * untouched. A row that is only pending is found with latest.version == 0. */
MUST_CHECK enum error_code vault_record_find(struct vault_view *view, uint32_t table,
                                             struct bytes key, bool *ret_found,
                                             struct vault_record *ret_record, struct error *err);

/* Records of a patient in the order of their ids, after `after` (0: from the first).
 * ret_ids has room for ids_max. */
MUST_CHECK enum error_code vault_records_of_patient(struct vault_view *view, struct bytes patient,
                                                    uint64_t after, uint64_t *ret_ids,
                                                    size_t ids_max, size_t *ret_count,
                                                    struct error *err);
MUST_CHECK enum error_code vault_record_read(struct vault_view *view, uint64_t id,
                                             struct vault_record *ret_record, struct error *err);
/* True where the record belongs to this patient. */
MUST_CHECK enum error_code vault_record_is_of(struct vault_view *view,
                                              const struct vault_record *record,
                                              struct bytes patient, bool *ret_is,
                                              struct error *err);
/* The version given, also an earlier one. ERROR_NOT_FOUND. */
MUST_CHECK enum error_code vault_version_read(struct vault_view *view,
                                              const struct vault_record *record, uint32_t version,
                                              struct vault_version *ret_version,
                                              struct error *err);
/* The largest record id given out so far. */
MUST_CHECK enum error_code vault_record_last(struct vault_view *view, uint64_t *ret_id,
                                             struct error *err);
/* Calls visit for every record of a table, in the order of its keys' bytes; stops at the first
 * error and returns it. */
typedef enum error_code vault_row_visitor(void *context, uint64_t id, struct bytes key,
                                          struct error *err);
MUST_CHECK enum error_code vault_rows_visit(struct vault_view *view, uint32_t table,
                                            vault_row_visitor *visit, void *context,
                                            struct error *err);

/* What the chain said of a committed transaction. */
struct vault_anchor {
    uint64_t sequence;
    struct hash transaction;
    uint32_t table;
    uint64_t batch;
    uint64_t height;
    uint32_t transaction_index;
    uint64_t log_index; /* of its first leaf */
    uint64_t block_time_ms;
    uint32_t leaf_count;
};
MUST_CHECK enum error_code vault_anchor_read(struct vault_view *view, uint64_t sequence,
                                             struct vault_anchor *ret_anchor, struct error *err);

/* ------------------------------------------------------------------------------- pending ---- */

/* What one leaf of a pending transaction will do to its record once it is committed. */
struct vault_item {
    uint64_t record; /* 0: a new record, whose number is given back here */
    struct locator locator;
    uint32_t version;
    enum leaf_operation operation;
    enum leaf_origin origin;
    uint8_t r[VAULT_R_BYTES];
    struct hash content;
    struct hash raw;
    uint32_t mapping;
    struct hash leaf;
    uint32_t date;
    struct bytes patient; /* UTF-8; empty: none. Not used of LEAF_DELETE, which keeps its patient */
    struct bytes key;     /* of a new record */
};

/* The sequence of the next transaction, from 1. */
MUST_CHECK enum error_code vault_sequence_next(struct vault *vault, uint64_t *ret_sequence,
                                               struct error *err);
/* Sets it where the vault is new but the chain knows the submitter already. ERROR_CORRUPT where
 * the vault has given out a number at or past it: then the vault is not new. */
MUST_CHECK enum error_code vault_sequence_start(struct vault *vault, uint64_t sequence,
                                                struct error *err);

struct vault_pending {
    uint64_t sequence; /* must be the next */
    uint32_t table;    /* 0: of no table; then no items */
    uint64_t batch;    /* must be the table's batches + 1 */
    struct bytes transaction; /* the exact bytes */
    struct vault_item *items; /* record is filled in where it is 0 */
    uint32_t item_count;
    const char *mark; /* NULL, or a name that may be used once: what is anchored once for ever */
};
/* ERROR_LIMIT where VAULT_PENDING_MAX wait already. ERROR_EXISTS where an item says it is new but
 * its table has the key, or the mark was used. */
MUST_CHECK enum error_code vault_pending_add(struct vault *vault, struct vault_pending *pending,
                                             struct error *err);

/* What was added before is on the disk when this returns. Until then a power cut may undo an addition,
 * whole; a kill of the process does not. To be called before anything that was read is sent. */
MUST_CHECK enum error_code vault_pending_sync(struct vault *vault, struct error *err);

/* The bytes of the pending transaction with the lowest sequence >= from, appended to
 * ret_transaction. ret_sequence 0: there is none. */
MUST_CHECK enum error_code vault_pending_read(struct vault *vault, uint64_t from,
                                              uint64_t *ret_sequence, uint32_t *ret_table,
                                              struct buffer *ret_transaction, struct error *err);
/* How many there are: of a table, or of all (table 0). */
MUST_CHECK enum error_code vault_pending_count(struct vault *vault, uint32_t table,
                                               uint64_t *ret_count, struct error *err);

struct vault_outcome {
    bool committed; /* false: it is in a block without effect, or no node will ever take it */
    struct vault_anchor anchor; /* sequence always; the rest where committed */
};
/* Carries out what the chain decided, each whole, in their order: records move to their new version
 * (or stay, where not committed) and the pending entry goes. A sequence that is not pending any more is
 * passed over, so that doing it twice is doing it once: after an error, or a power cut, which may undo
 * the last of them; the chain gives the same receipts again. */
MUST_CHECK enum error_code vault_pending_apply(struct vault *vault,
                                               const struct vault_outcome *outcomes, size_t count,
                                               struct error *err);

/* ---------------------------------------------------------------------------- quarantine ---- */

struct vault_quarantined {
    uint64_t id;
    uint32_t table;
    struct bytes key; /* canonical; empty: the key itself is the trouble */
    const char *column;
    const char *reason;
    uint32_t code;
    uint64_t pass; /* that met it last */
    uint64_t first_ms;
    uint64_t last_ms;
};
/* Puts rows in, or renews those of the same table and key (where the key is empty: of the same
 * column and reason). id is ignored. ret_kept: how many of them are kept; the others are beyond
 * VAULT_QUARANTINE_MAX. */
MUST_CHECK enum error_code vault_quarantine_put(struct vault *vault,
                                                const struct vault_quarantined *rows, size_t count,
                                                size_t *ret_kept, struct error *err);
/* In the order of id, after `after`; table 0: of all. ret_rows are the arena's. */
MUST_CHECK enum error_code vault_quarantine_list(struct vault *vault, uint32_t table,
                                                 uint64_t after, size_t rows_max,
                                                 struct arena *arena,
                                                 struct vault_quarantined **ret_rows,
                                                 size_t *ret_count, struct error *err);
MUST_CHECK enum error_code vault_quarantine_drop(struct vault *vault, uint64_t id,
                                                 struct error *err); /* ERROR_NOT_FOUND */

/* ---------------------------------------------------------------------------- enrolments ---- */

struct vault_enrolment {
    const char *thumbprint;
    const char *patient;
    const char *public_jwk;
    uint64_t enrolled_ms;
};
/* ERROR_EXISTS where the key is enrolled for another patient. */
MUST_CHECK enum error_code vault_enrolment_put(struct vault *vault,
                                               const struct vault_enrolment *enrolment,
                                               struct error *err);
/* ERROR_NOT_FOUND. Strings are the arena's. */
MUST_CHECK enum error_code vault_enrolment_read(struct vault *vault, const char *thumbprint,
                                                struct arena *arena,
                                                struct vault_enrolment *ret_enrolment,
                                                struct error *err);
MUST_CHECK enum error_code vault_enrolment_remove(struct vault *vault, const char *thumbprint,
                                                  struct error *err);
MUST_CHECK enum error_code vault_enrolment_list(struct vault *vault, const char *after,
                                                size_t list_max, struct arena *arena,
                                                struct vault_enrolment **ret_list,
                                                size_t *ret_count, struct error *err);
MUST_CHECK enum error_code vault_enrolment_count(struct vault *vault, uint64_t *ret_count,
                                                 struct error *err);

#endif
