/*
 * The vault's tables and small helpers, shared by its own files.
 *
 * Every function of the vault follows one shape: begin an LMDB transaction, do everything in it,
 * commit; the scope guard aborts it on every other way out.
 */
#ifndef GATEWAY_VAULT_VAULT_INTERNAL_H
#define GATEWAY_VAULT_VAULT_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>

#include "base/wire.h"
#include "gateway/vault/vault.h"

enum vault__dbi {
    VAULT__META,           /* name -> small value */
    VAULT__TABLE,          /* u32 table -> state, name */
    VAULT__TABLE_NAME,     /* "source/table" -> u32 table */
    VAULT__ROW,            /* u32 table, canonical key -> u64 record */
    VAULT__RECORD,         /* u64 record -> latest version, what belongs to the record, key */
    VAULT__VERSION,        /* u64 record, u32 version -> an earlier version */
    VAULT__PATIENT,        /* HMAC of the patient id -> u64 patient */
    VAULT__PATIENT_RECORD, /* u64 patient, u64 record -> nothing */
    VAULT__ANCHOR,         /* u64 sequence -> what the chain said */
    VAULT__PENDING,        /* u64 sequence -> transaction and items */
    VAULT__MAPPING,        /* digest -> u32 mapping, description */
    VAULT__MAPPING_ID,     /* u32 mapping -> digest */
    VAULT__QUARANTINE,     /* u64 id -> entry */
    VAULT__QUARANTINE_KEY, /* u32 table, hash -> u64 id */
    VAULT__ENROLMENT,      /* thumbprint -> patient, key, time */
    VAULT__DBI_COUNT
};

enum {
    VAULT__FORMAT = 1,
    VAULT__VERSION_BYTES = 156,
    VAULT__RECORD_BYTES = VAULT__VERSION_BYTES + 32, /* before the key */
    /* New records wait in the order of their numbers until this many are put into the index by
     * patient at once, sorted: one by one they would rewrite a page each. */
    VAULT__UNINDEXED_MAX = 65536,
    /* In one transaction: each may cost a page of its own, which LMDB holds in memory. */
    VAULT__INDEX_PUTS_MAX = 4096,
    /* Records that go to another patient before the next entry has a transaction of its own: each
     * changes two places of the index. */
    VAULT__MOVED_MAX = 1024,
    /* Pages of files that this process may have mapped in before the vault's are let go, and how
     * many look-ups go by between two looks at that: each may map in a few pages and their
     * neighbours (64 KiB at a fault). */
    VAULT__MAPPED_BYTES_MAX = 22 << 20,
    VAULT__LOOKUPS_MAX = 32,
    VAULT__FAULTS_MAX = 16, /* of one thread between two looks */
};

struct vault {
    MDB_env *env;
    MDB_dbi dbi[VAULT__DBI_COUNT];
    int lock_fd;
    int statm_fd; /* -1: what is resident cannot be asked */
    void *map;    /* where the file is mapped; NULL: unknown */
    size_t map_bytes;
    _Atomic uint32_t lookups;
    pthread_mutex_t index_lock; /* held while records move to other patients or are indexed; taken
                                   before a transaction begins */
    bool index_lock_made;
    uint64_t bytes_max;
    uint8_t secret[32];
    char *folder;
};

struct vault_view {
    struct vault *vault;
    MDB_txn *txn;
};

/* LMDB's number as our error; doing names the step. */
enum error_code vault__error(struct error *err, int number, const char *doing);
enum error_code vault__corrupt(struct error *err, const char *what);

MUST_CHECK enum error_code vault__begin(struct vault *vault, unsigned flags, MDB_txn **ret_txn,
                                        struct error *err);
/* Takes *txn, also where it fails. */
MUST_CHECK enum error_code vault__commit(MDB_txn **txn, struct error *err);
void vault__abort_scoped(MDB_txn **txn);
#define SCOPED_TXN __attribute__((cleanup(vault__abort_scoped)))
void vault__cursor_scoped(MDB_cursor **cursor);
#define SCOPED_CURSOR __attribute__((cleanup(vault__cursor_scoped)))

static inline MDB_val vault__val(struct bytes data) {
    return (MDB_val){.mv_size = data.len, .mv_data = (void *)(uintptr_t)data.data};
}
static inline struct bytes vault__bytes(MDB_val v) {
    return bytes_of(v.mv_data, v.mv_size);
}

/* *ret_found false where there is no such key. */
MUST_CHECK enum error_code vault__get(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                                      struct bytes *ret_value, bool *ret_found,
                                      struct error *err);
/* flags: MDB_NOOVERWRITE, MDB_APPEND or 0. */
MUST_CHECK enum error_code vault__put(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                                      struct bytes value, unsigned flags, struct error *err);
/* A key that is not there is fine. */
MUST_CHECK enum error_code vault__delete(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                                         struct error *err);
/* Appending where the key is the largest, else an ordinary put: tables that grow at their end are
 * filled page by page. */
MUST_CHECK enum error_code vault__put_last(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                                           struct bytes value, struct error *err);

/* Numbers in META; 0 where never set. */
MUST_CHECK enum error_code vault__number(MDB_txn *txn, const struct vault *vault,
                                         const char *name, uint64_t *ret_value,
                                         struct error *err);
MUST_CHECK enum error_code vault__number_set(MDB_txn *txn, const struct vault *vault,
                                             const char *name, uint64_t value, struct error *err);

/* Table state. */
MUST_CHECK enum error_code vault__table_read(MDB_txn *txn, const struct vault *vault,
                                             uint32_t table, struct vault_table *ret_table,
                                             struct bytes *ret_name, struct error *err);
MUST_CHECK enum error_code vault__table_write(MDB_txn *txn, const struct vault *vault,
                                              const struct vault_table *table, struct bytes name,
                                              struct error *err);

/* Records. */
struct vault__row_key {
    uint8_t byte[4 + VAULT_KEY_BYTES_MAX];
    size_t len;
};
MUST_CHECK enum error_code vault__row_key(uint32_t table, struct bytes key,
                                          struct vault__row_key *ret_key, struct error *err);
void vault__version_encode(const struct vault_version *v, uint8_t ret_bytes[VAULT__VERSION_BYTES]);
MUST_CHECK enum error_code vault__version_decode(struct bytes data, struct vault_version *ret_v,
                                                 struct error *err);
void vault__record_encode(const struct vault_record *record, struct buffer *out);
MUST_CHECK enum error_code vault__record_decode(uint64_t id, struct bytes data,
                                                struct vault_record *ret_record,
                                                struct error *err);
/* Of an encoded record, nothing else of which is looked at. */
MUST_CHECK enum error_code vault__record_patient(struct bytes data, uint64_t *ret_patient,
                                                 struct error *err);
/* The last record that is committed; 0: there is none. Those above wait in pending transactions. */
MUST_CHECK enum error_code vault__record_last(MDB_txn *txn, const struct vault *vault,
                                              uint64_t *ret_last, struct error *err);
MUST_CHECK enum error_code vault__record_get(MDB_txn *txn, const struct vault *vault, uint64_t id,
                                             bool *ret_found, struct vault_record *ret_record,
                                             struct error *err);
MUST_CHECK enum error_code vault__record_set(MDB_txn *txn, const struct vault *vault,
                                             const struct vault_record *record,
                                             struct buffer *scratch, struct error *err);

/* Patients. The number of a patient, 0 where there is none. */
MUST_CHECK enum error_code vault__patient(MDB_txn *txn, struct vault *vault,
                                          struct bytes patient, uint64_t *ret_number,
                                          struct error *err);
/* The numbers of several, made where there are none; 0 for an empty patient id. */
MUST_CHECK enum error_code vault__patients_make(MDB_txn *txn, struct vault *vault,
                                                const struct bytes *patients, size_t count,
                                                uint64_t *ret_numbers, struct error *err);
/* A record went from one patient to another (0: none); indexed: the mark up to which records are in
 * the index by patient, or may be. */
MUST_CHECK enum error_code vault__patient_move(MDB_txn *txn, const struct vault *vault,
                                               uint64_t record, uint64_t from, uint64_t to,
                                               uint64_t indexed, struct error *err);
/* Puts all records above the mark into the index where more than `least` wait, in transactions of
 * its own. The caller holds index_lock and is in no transaction. */
MUST_CHECK enum error_code vault__patient_index(struct vault *vault, uint64_t least,
                                                struct error *err);

/* Lets the file's pages go where many are mapped in, so that the gateway's memory does not grow with
 * the vault. They stay in the system's cache. Called by what reads many pages at once; by what looks
 * up single records, the first form, which mostly does nothing. */
void vault__looked_up(struct vault *vault);
void vault__let_go(struct vault *vault);

/* Drops a table's entries that pass did not meet; counts what stays. */
MUST_CHECK enum error_code vault__quarantine_sweep(MDB_txn *txn, const struct vault *vault,
                                                   uint32_t table, uint64_t pass,
                                                   uint64_t *ret_dropped, struct error *err);

#endif
