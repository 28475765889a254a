/*
 * Pending transactions: durable before they are submitted, carried out once they are committed.
 *
 * Exactly once: an entry is put in together with the number it takes, and goes in the same LMDB
 * transaction that carries it out. Between the two, a crash leaves the exact bytes, which the
 * chain takes at most once.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/vault/vault_internal.h"

enum {
    ENTRY_HEAD_BYTES = 1 + 4 + 8 + 4 + 4, /* without the transaction */
    ITEM_HEAD_BYTES = 8 + LOCATOR_BYTES + 4 + 2 + VAULT_R_BYTES + 3 * HASH_BYTES + 4 + 4 + 8 + 4,
    ENTRY_BYTES_MAX = ENTRY_HEAD_BYTES + VAULT_TRANSACTION_BYTES_MAX +
                      VAULT_ITEMS_MAX * (ITEM_HEAD_BYTES + VAULT_KEY_BYTES_MAX),
};

/* The sequence that the next transaction takes; 0 in META stands for 1. */
static enum error_code sequence_next(MDB_txn *txn, const struct vault *vault,
                                     uint64_t *ret_sequence, struct error *err) {
    uint64_t next;
    TRY(vault__number(txn, vault, "sequence", &next, err));
    *ret_sequence = next == 0 ? 1 : next;
    return ERROR_NONE;
}

enum error_code vault_sequence_next(struct vault *vault, uint64_t *ret_sequence,
                                    struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    return sequence_next(txn, vault, ret_sequence, err);
}

enum error_code vault_sequence_start(struct vault *vault, uint64_t sequence, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    uint64_t next;
    TRY(sequence_next(txn, vault, &next, err));
    if (next > 1)
        return error_set(err, ERROR_CORRUPT,
                         "the vault has given out transactions up to %llu already",
                         (unsigned long long)(next - 1));
    TRY(vault__number_set(txn, vault, "sequence", sequence, err));
    return vault__commit(&txn, err);
}

/* Only a record's first version brings its key. */
static struct bytes kept_key(const struct vault_item *item) {
    return item->version == 1 ? item->key : bytes_of(NULL, 0);
}

static void encode_item(const struct vault_item *item, uint64_t patient, struct buffer *out) {
    wire_u64(out, item->record);
    wire_fixed(out, item->locator.byte, LOCATOR_BYTES);
    wire_u32(out, item->version);
    wire_u8(out, (uint8_t)item->operation);
    wire_u8(out, (uint8_t)item->origin);
    wire_fixed(out, item->r, VAULT_R_BYTES);
    wire_fixed(out, item->content.byte, HASH_BYTES);
    wire_fixed(out, item->raw.byte, HASH_BYTES);
    wire_u32(out, item->mapping);
    wire_fixed(out, item->leaf.byte, HASH_BYTES);
    wire_u32(out, item->date);
    wire_u64(out, patient);
    wire_bytes(out, kept_key(item));
}

static void decode_item(struct wire_reader *r, struct vault_item *ret_item, uint64_t *ret_patient) {
    ret_item->record = wire_read_u64(r);
    wire_read_fixed(r, ret_item->locator.byte, LOCATOR_BYTES);
    ret_item->version = wire_read_u32(r);
    ret_item->operation = (enum leaf_operation)wire_read_u8(r);
    ret_item->origin = (enum leaf_origin)wire_read_u8(r);
    wire_read_fixed(r, ret_item->r, VAULT_R_BYTES);
    wire_read_fixed(r, ret_item->content.byte, HASH_BYTES);
    wire_read_fixed(r, ret_item->raw.byte, HASH_BYTES);
    ret_item->mapping = wire_read_u32(r);
    wire_read_fixed(r, ret_item->leaf.byte, HASH_BYTES);
    ret_item->date = wire_read_u32(r);
    *ret_patient = wire_read_u64(r);
    ret_item->key = wire_read_bytes(r, VAULT_KEY_BYTES_MAX);
}

static enum error_code pending_entries(MDB_txn *txn, const struct vault *vault, size_t *ret_count,
                                       struct error *err) {
    MDB_stat stat;
    int rc = mdb_stat(txn, vault->dbi[VAULT__PENDING], &stat);
    if (rc != 0)
        return vault__error(err, rc, "counting");
    *ret_count = stat.ms_entries;
    return ERROR_NONE;
}

/* Numbers new records and puts their rows in. */
static enum error_code reserve_rows(MDB_txn *txn, struct vault *vault, struct vault_pending *p,
                                    uint64_t *last, struct error *err) {
    for (uint32_t i = 0; i < p->item_count; i++) {
        struct vault_item *item = &p->items[i];
        if (item->record != 0)
            continue;
        vault__looked_up(vault);
        struct vault__row_key row;
        TRY(vault__row_key(p->table, item->key, &row, err));
        uint8_t id[8];
        wire_store_u64(id, ++*last);
        TRY(vault__put(txn, vault->dbi[VAULT__ROW], bytes_of(row.byte, row.len), bytes_of(id, 8),
                       MDB_NOOVERWRITE, err));
        item->record = *last;
    }
    return ERROR_NONE;
}

/* The patients' numbers, made where they are new; 0 where an item names none. */
static enum error_code number_patients(MDB_txn *txn, struct vault *vault,
                                       const struct vault_pending *p, uint64_t *ret_numbers,
                                       struct error *err) {
    SCOPED_FREE struct bytes *patients = malloc((p->item_count + 1) * sizeof *patients);
    if (patients == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    for (uint32_t i = 0; i < p->item_count; i++)
        patients[i] = p->items[i].operation != LEAF_DELETE ? p->items[i].patient
                                                           : bytes_of(NULL, 0);
    return vault__patients_make(txn, vault, patients, p->item_count, ret_numbers, err);
}

/* Written right into the pages that LMDB will write: an entry has a megabyte. */
static enum error_code put_entry(MDB_txn *txn, const struct vault *vault,
                                 const struct vault_pending *p, const uint64_t *patients,
                                 struct error *err) {
    size_t bytes = ENTRY_HEAD_BYTES + p->transaction.len;
    for (uint32_t i = 0; i < p->item_count; i++)
        bytes += ITEM_HEAD_BYTES + kept_key(&p->items[i]).len;
    uint8_t key[8];
    wire_store_u64(key, p->sequence);
    MDB_val k = vault__val(bytes_of(key, sizeof key));
    MDB_val v = {.mv_size = bytes};
    int rc = mdb_put(txn, vault->dbi[VAULT__PENDING], &k, &v, MDB_RESERVE);
    if (rc != 0)
        return vault__error(err, rc, "writing");
    struct buffer out = {.data = v.mv_data, .capacity = bytes, .bytes_max = bytes};
    wire_u8(&out, 1);
    wire_u32(&out, p->table);
    wire_u64(&out, p->batch);
    wire_bytes(&out, p->transaction);
    wire_u32(&out, p->item_count);
    for (uint32_t i = 0; i < p->item_count; i++)
        encode_item(&p->items[i], patients[i], &out);
    assert(!out.failed && out.len == bytes);
    return ERROR_NONE;
}

static enum error_code take_batch(MDB_txn *txn, struct vault *vault,
                                  const struct vault_pending *p, struct error *err) {
    if (p->table == 0)
        return ERROR_NONE;
    struct vault_table table;
    struct bytes stored;
    TRY(vault__table_read(txn, vault, p->table, &table, &stored, err));
    if (p->batch != table.batches + 1)
        return error_set(err, ERROR_INTERNAL, "batch %llu, expected %llu",
                         (unsigned long long)p->batch, (unsigned long long)table.batches + 1);
    char name[VAULT_TABLE_BYTES_MAX];
    memcpy(name, stored.data, stored.len);
    table.batches++;
    return vault__table_write(txn, vault, &table, bytes_of(name, stored.len), err);
}

static enum error_code use_mark(MDB_txn *txn, const struct vault *vault, const char *mark,
                                uint64_t sequence, struct error *err) {
    char name[VAULT_NAME_BYTES_MAX - 1];
    if (mark == NULL)
        return ERROR_NONE;
    if (snprintf(name, sizeof name, "mark/%s", mark) >= (int)sizeof name)
        return error_set(err, ERROR_LIMIT, "a mark of %zu bytes in the vault", strlen(mark));
    uint8_t value[8];
    wire_store_u64(value, sequence);
    return vault__put(txn, vault->dbi[VAULT__META], bytes_text(name), bytes_of(value, 8),
                      MDB_NOOVERWRITE, err);
}

/* May go without a sync of the meta page, as in apply_all: vault_pending_sync has it before anybody
 * sends. LMDB 0.9 drops the flag of a single transaction, and syncs all the same. */
enum error_code vault_pending_add(struct vault *vault, struct vault_pending *p,
                                  struct error *err) {
    if (p->item_count > VAULT_ITEMS_MAX || p->transaction.len > VAULT_TRANSACTION_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a transaction of %u records and %zu bytes, at most "
                         "%d and %d", p->item_count, p->transaction.len, VAULT_ITEMS_MAX,
                         VAULT_TRANSACTION_BYTES_MAX);
    SCOPED_FREE uint64_t *patients = malloc((p->item_count + 1) * sizeof *patients);
    if (patients == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_NOMETASYNC, &txn, err));
    uint64_t next;
    uint64_t last;
    size_t waiting = 0;
    TRY(sequence_next(txn, vault, &next, err));
    TRY(vault__number(txn, vault, "record", &last, err));
    TRY(pending_entries(txn, vault, &waiting, err));
    if (p->sequence != next)
        return error_set(err, ERROR_INTERNAL, "transaction %llu, expected %llu",
                         (unsigned long long)p->sequence, (unsigned long long)next);
    if (waiting >= VAULT_PENDING_MAX)
        return error_set(err, ERROR_LIMIT, "%zu transactions wait for the chain already", waiting);
    uint64_t before = last;
    enum error_code code = reserve_rows(txn, vault, p, &last, err);
    if (code == ERROR_NONE)
        code = use_mark(txn, vault, p->mark, p->sequence, err);
    if (code == ERROR_NONE)
        code = take_batch(txn, vault, p, err);
    if (code == ERROR_NONE)
        code = number_patients(txn, vault, p, patients, err);
    if (code == ERROR_NONE)
        code = vault__number_set(txn, vault, "record", last, err);
    if (code == ERROR_NONE)
        code = vault__number_set(txn, vault, "sequence", next + 1, err);
    if (code == ERROR_NONE)
        code = put_entry(txn, vault, p, patients, err);
    if (code == ERROR_NONE)
        code = vault__commit(&txn, err);
    for (uint32_t i = 0; code != ERROR_NONE && i < p->item_count; i++)
        if (p->items[i].record > before)
            p->items[i].record = 0; /* outputs stay untouched on failure */
    return code;
}

enum error_code vault_pending_sync(struct vault *vault, struct error *err) {
    int rc = mdb_env_sync(vault->env, 1);
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "syncing");
}

enum error_code vault_pending_read(struct vault *vault, uint64_t from, uint64_t *ret_sequence,
                                   uint32_t *ret_table, struct buffer *ret_transaction,
                                   struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__PENDING], &cursor);
    uint8_t key[8];
    wire_store_u64(key, from);
    MDB_val k = vault__val(bytes_of(key, 8));
    MDB_val v;
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) {
        *ret_sequence = 0;
        return ERROR_NONE;
    }
    if (rc != 0)
        return vault__error(err, rc, "reading pending transactions");
    struct wire_reader r = wire_reader(vault__bytes(v));
    uint8_t format = wire_read_u8(&r);
    uint32_t table = wire_read_u32(&r);
    (void)wire_read_u64(&r);
    struct bytes transaction = wire_read_bytes(&r, VAULT_TRANSACTION_BYTES_MAX);
    if (format != 1 || r.failed || k.mv_size != 8)
        return vault__corrupt(err, "pending transaction");
    buffer_append(ret_transaction, transaction.data, transaction.len);
    vault__let_go(vault);
    TRY(buffer_check(ret_transaction, "a pending transaction", err));
    *ret_sequence = wire_load_u64(k.mv_data);
    *ret_table = table;
    return ERROR_NONE;
}

enum error_code vault_pending_count(struct vault *vault, uint32_t table, uint64_t *ret_count,
                                    struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__PENDING], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading pending transactions");
    MDB_val k;
    MDB_val v;
    uint64_t count = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (v.mv_size < 5)
            return vault__corrupt(err, "pending transaction");
        if (table == 0 || wire_load_u32((const uint8_t *)v.mv_data + 1) == table)
            count++;
    }
    if (rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading pending transactions");
    *ret_count = count;
    return ERROR_NONE;
}

/* -------------------------------------------------------------------------------- apply ---- */

struct apply {
    MDB_txn *txn;
    struct vault *vault;
    struct vault_table table;
    uint64_t indexed;
    uint64_t record_last; /* that the vault holds: a later one is new */
    uint32_t moved;       /* records that went to another patient since the transaction began */
    struct buffer entry;
    struct buffer scratch;
};

static enum error_code keep_earlier(struct apply *a, const struct vault_record *record,
                                    struct error *err) {
    uint8_t key[12];
    wire_store_u64(key, record->id);
    wire_store_u32(key + 8, record->latest.version);
    uint8_t value[VAULT__VERSION_BYTES];
    vault__version_encode(&record->latest, value);
    return vault__put(a->txn, a->vault->dbi[VAULT__VERSION], bytes_of(key, sizeof key),
                      bytes_of(value, sizeof value), 0, err);
}

static enum error_code start_record(const struct vault_item *item, uint32_t table, uint64_t patient,
                                    struct vault_record *ret_record, struct error *err) {
    if (item->version != 1)
        return vault__corrupt(err, "pending transaction: a version without the one before");
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->id = item->record;
    ret_record->table = table;
    ret_record->locator = item->locator;
    ret_record->patient = patient;
    ret_record->key_len = item->key.len;
    memcpy(ret_record->key, item->key.data, item->key.len);
    return ERROR_NONE;
}

static void count_operation(struct vault_table *table, const struct vault_record *before,
                            bool existed, const struct vault_item *item) {
    bool was_live = existed && before->latest.operation != LEAF_DELETE;
    bool was_deleted = existed && !was_live;
    bool is_live = item->operation != LEAF_DELETE;
    if (is_live && !was_live)
        table->live++;
    if (!is_live && was_live && table->live > 0)
        table->live--;
    if (!is_live && !was_deleted)
        table->deleted++;
    if (is_live && was_deleted && table->deleted > 0)
        table->deleted--;
}

static enum error_code apply_item(struct apply *a, const struct vault_item *item, uint64_t patient,
                                  uint64_t sequence, uint32_t index, struct error *err) {
    struct vault_record record;
    bool existed = false;
    vault__looked_up(a->vault);
    if (item->record <= a->record_last)
        TRY(vault__record_get(a->txn, a->vault, item->record, &existed, &record, err));
    else
        a->record_last = item->record;
    if (existed && item->version != record.latest.version + 1)
        return vault__corrupt(err, "pending transaction: its version does not follow the record's");
    count_operation(&a->table, &record, existed, item);
    uint64_t owner = existed ? record.patient : 0;
    if (existed)
        TRY(keep_earlier(a, &record, err));
    else
        TRY(start_record(item, a->table.id, patient, &record, err));
    if (item->operation != LEAF_DELETE)
        record.patient = patient;
    a->moved += existed && owner != record.patient;
    if (existed && item->origin == LEAF_OBSERVED)
        record.observed_changes++;
    struct vault_version *v = &record.latest;
    v->version = item->version;
    v->operation = item->operation;
    v->origin = item->origin;
    memcpy(v->r, item->r, VAULT_R_BYTES);
    v->content = item->content;
    v->raw = item->raw;
    v->mapping = item->mapping;
    v->leaf = item->leaf;
    v->sequence = sequence;
    v->leaf_index = index;
    v->date = item->date;
    TRY(vault__record_set(a->txn, a->vault, &record, &a->scratch, err));
    return vault__patient_move(a->txn, a->vault, record.id, owner, record.patient, a->indexed, err);
}

static enum error_code write_anchor(struct apply *a, const struct vault_anchor *anchor,
                                    uint64_t batch, struct error *err) {
    buffer_clear(&a->scratch);
    wire_u8(&a->scratch, 1);
    wire_fixed(&a->scratch, anchor->transaction.byte, HASH_BYTES);
    wire_u32(&a->scratch, a->table.id);
    wire_u64(&a->scratch, batch);
    wire_u64(&a->scratch, anchor->height);
    wire_u32(&a->scratch, anchor->transaction_index);
    wire_u64(&a->scratch, anchor->log_index);
    wire_u64(&a->scratch, anchor->block_time_ms);
    wire_u32(&a->scratch, anchor->leaf_count);
    TRY(buffer_check(&a->scratch, "an anchor of the vault", err));
    uint8_t key[8];
    wire_store_u64(key, anchor->sequence);
    return vault__put_last(a->txn, a->vault->dbi[VAULT__ANCHOR], bytes_of(key, 8),
                           buffer_bytes(&a->scratch), err);
}

/* The items of one entry, whose bytes are the caller's copy: LMDB's own move when pages are
 * written. */
static enum error_code apply_entry(struct apply *a, struct bytes entry,
                                   const struct vault_outcome *outcome, struct error *err) {
    struct wire_reader r = wire_reader(entry);
    uint8_t format = wire_read_u8(&r);
    uint32_t table = wire_read_u32(&r);
    uint64_t batch = wire_read_u64(&r);
    (void)wire_read_bytes(&r, VAULT_TRANSACTION_BYTES_MAX);
    uint32_t count = wire_read_count(&r, VAULT_ITEMS_MAX, 8);
    if (format != 1 || r.failed)
        return vault__corrupt(err, "pending transaction");
    struct vault_anchor anchor = outcome->anchor;
    anchor.leaf_count = count;
    char name[VAULT_TABLE_BYTES_MAX];
    struct bytes stored = {NULL, 0};
    a->table = (struct vault_table){0};
    if (table != 0) {
        TRY(vault__table_read(a->txn, a->vault, table, &a->table, &stored, err));
        memcpy(name, stored.data, stored.len);
    }
    if (outcome->committed)
        TRY(write_anchor(a, &anchor, batch, err));
    for (uint32_t i = 0; outcome->committed && i < count; i++) {
        struct vault_item item;
        uint64_t patient;
        decode_item(&r, &item, &patient);
        if (r.failed)
            return vault__corrupt(err, "pending transaction");
        TRY(apply_item(a, &item, patient, outcome->anchor.sequence, i, err));
    }
    if (table != 0)
        TRY(vault__table_write(a->txn, a->vault, &a->table, bytes_of(name, stored.len), err));
    return ERROR_NONE;
}

static enum error_code apply_one(struct apply *a, const struct vault_outcome *outcome,
                                 struct error *err) {
    uint8_t key[8];
    wire_store_u64(key, outcome->anchor.sequence);
    struct bytes entry;
    bool found;
    TRY(vault__get(a->txn, a->vault->dbi[VAULT__PENDING], bytes_of(key, 8), &entry, &found, err));
    if (!found)
        return ERROR_NONE;
    buffer_clear(&a->entry);
    buffer_append(&a->entry, entry.data, entry.len);
    TRY(buffer_check(&a->entry, "a pending transaction of the vault", err));
    vault__let_go(a->vault);
    TRY(vault__delete(a->txn, a->vault->dbi[VAULT__PENDING], bytes_of(key, 8), err));
    return apply_entry(a, buffer_bytes(&a->entry), outcome, err);
}

/* An entry is carried out whole or not at all; several need not be one transaction. */
static enum error_code renew_transaction(struct apply *a, MDB_txn **txn, struct error *err) {
    TRY(vault__commit(txn, err));
    TRY(vault__begin(a->vault, MDB_NOMETASYNC, txn, err));
    a->txn = *txn;
    a->moved = 0;
    return ERROR_NONE;
}

/* The meta page may go out with the next sync: a power cut may undo these transactions, each whole, and
 * then the entries are pending as before and the chain gives the same receipts again. */
static enum error_code apply_all(struct vault *vault, const struct vault_outcome *outcomes,
                                 size_t count, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_NOMETASYNC, &txn, err));
    struct apply a = {.txn = txn, .vault = vault};
    uint64_t indexing;
    TRY(vault__number(txn, vault, "indexed", &a.indexed, err));
    TRY(vault__number(txn, vault, "indexing", &indexing, err));
    a.indexed = indexing > a.indexed ? indexing : a.indexed;
    TRY(vault__record_last(txn, vault, &a.record_last, err));
    buffer_init(&a.entry, ENTRY_BYTES_MAX);
    buffer_init(&a.scratch, VAULT__RECORD_BYTES + VAULT_KEY_BYTES_MAX);
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; code == ERROR_NONE && i < count; i++) {
        if (a.moved > VAULT__MOVED_MAX)
            code = renew_transaction(&a, &txn, err);
        if (code == ERROR_NONE)
            code = apply_one(&a, &outcomes[i], err);
    }
    buffer_done(&a.entry);
    buffer_done(&a.scratch);
    return code == ERROR_NONE ? vault__commit(&txn, err) : code;
}

enum error_code vault_pending_apply(struct vault *vault, const struct vault_outcome *outcomes,
                                    size_t count, struct error *err) {
    pthread_mutex_lock(&vault->index_lock);
    /* Before, not after: what was carried out is not to be reported as failed. */
    enum error_code code = vault__patient_index(vault, VAULT__UNINDEXED_MAX, err);
    if (code == ERROR_NONE)
        code = apply_all(vault, outcomes, count, err);
    pthread_mutex_unlock(&vault->index_lock);
    return code;
}
