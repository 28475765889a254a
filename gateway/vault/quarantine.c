/*
 * Rows that cannot be normalized: where they are and why, never what they hold.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/vault/vault_internal.h"

enum { ENTRY_BYTES_MAX = 4096, WORD_BYTES_MAX = 1024 };

/* An entry as it is stored. Texts borrow. */
struct entry {
    uint32_t table;
    uint64_t pass;
    uint64_t first_ms;
    uint64_t last_ms;
    uint32_t code;
    struct bytes key;
    struct bytes column;
    struct bytes reason;
};

static void encode_entry(const struct entry *e, struct buffer *out) {
    wire_u8(out, 1);
    wire_u32(out, e->table);
    wire_u64(out, e->pass);
    wire_u64(out, e->first_ms);
    wire_u64(out, e->last_ms);
    wire_u32(out, e->code);
    wire_bytes(out, e->key);
    wire_bytes(out, e->column);
    wire_bytes(out, e->reason);
}

static enum error_code decode_entry(struct bytes data, struct entry *ret_entry,
                                    struct error *err) {
    struct wire_reader r = wire_reader(data);
    uint8_t format = wire_read_u8(&r);
    struct entry e = {0};
    e.table = wire_read_u32(&r);
    e.pass = wire_read_u64(&r);
    e.first_ms = wire_read_u64(&r);
    e.last_ms = wire_read_u64(&r);
    e.code = wire_read_u32(&r);
    e.key = wire_read_bytes(&r, VAULT_KEY_BYTES_MAX);
    e.column = wire_read_bytes(&r, WORD_BYTES_MAX);
    e.reason = wire_read_bytes(&r, WORD_BYTES_MAX);
    if (format != 1 || !wire_read_end(&r))
        return vault__corrupt(err, "quarantine entry");
    *ret_entry = e;
    return ERROR_NONE;
}

/* What makes two entries the same row: the key, or column and reason where the key is the
 * trouble. */
static void entry_key(uint32_t table, struct bytes key, struct bytes column, struct bytes reason,
                      uint8_t ret_key[4 + HASH_BYTES]) {
    struct bytes no_key[4] = {BYTES_LITERAL("\1"), column, BYTES_LITERAL("\n"), reason};
    struct bytes with_key[2] = {BYTES_LITERAL("\2"), key};
    struct hash h = key.len == 0 ? sha256_of_parts(no_key, 4) : sha256_of_parts(with_key, 2);
    wire_store_u32(ret_key, table);
    memcpy(ret_key + 4, h.byte, HASH_BYTES);
}

static enum error_code write_entry(MDB_txn *txn, const struct vault *vault, uint64_t id,
                                   const struct entry *e, struct error *err) {
    uint8_t key[8];
    wire_store_u64(key, id);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, ENTRY_BYTES_MAX);
    encode_entry(e, &out);
    TRY(buffer_check(&out, "a quarantine entry", err));
    return vault__put_last(txn, vault->dbi[VAULT__QUARANTINE], bytes_of(key, 8),
                           buffer_bytes(&out), err);
}

static enum error_code add_to_table(MDB_txn *txn, const struct vault *vault, uint32_t table,
                                    int64_t change, struct error *err) {
    struct vault_table t;
    struct bytes stored;
    TRY(vault__table_read(txn, vault, table, &t, &stored, err));
    char name[VAULT_TABLE_BYTES_MAX];
    memcpy(name, stored.data, stored.len);
    if (change >= 0)
        t.quarantined += (uint64_t)change;
    else if (t.quarantined > 0)
        t.quarantined--;
    return vault__table_write(txn, vault, &t, bytes_of(name, stored.len), err);
}

static enum error_code put_one(MDB_txn *txn, struct vault *vault,
                               const struct vault_quarantined *row, bool *ret_kept,
                               struct error *err) {
    struct entry e = {.table = row->table, .pass = row->pass, .first_ms = row->first_ms,
                      .last_ms = row->last_ms, .code = row->code, .key = row->key,
                      .column = bytes_text(row->column), .reason = bytes_text(row->reason)};
    uint8_t key[4 + HASH_BYTES];
    entry_key(row->table, row->key, e.column, e.reason, key);
    struct bytes found_id;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__QUARANTINE_KEY], bytes_of(key, sizeof key), &found_id,
                   &found, err));
    if (found) {
        uint64_t id = wire_load_u64(found_id.data);
        struct bytes old;
        struct entry before;
        TRY(vault__get(txn, vault->dbi[VAULT__QUARANTINE], found_id, &old, &found, err));
        if (!found)
            return vault__corrupt(err, "quarantine index");
        TRY(decode_entry(old, &before, err));
        e.first_ms = before.first_ms;
        *ret_kept = true;
        return write_entry(txn, vault, id, &e, err);
    }
    MDB_stat stat;
    int rc = mdb_stat(txn, vault->dbi[VAULT__QUARANTINE], &stat);
    if (rc != 0)
        return vault__error(err, rc, "counting");
    *ret_kept = stat.ms_entries < VAULT_QUARANTINE_MAX;
    if (!*ret_kept)
        return ERROR_NONE;
    uint64_t last;
    TRY(vault__number(txn, vault, "quarantine", &last, err));
    TRY(vault__number_set(txn, vault, "quarantine", last + 1, err));
    uint8_t id[8];
    wire_store_u64(id, last + 1);
    TRY(vault__put(txn, vault->dbi[VAULT__QUARANTINE_KEY], bytes_of(key, sizeof key),
                   bytes_of(id, 8), 0, err));
    TRY(add_to_table(txn, vault, row->table, 1, err));
    return write_entry(txn, vault, last + 1, &e, err);
}

enum error_code vault_quarantine_put(struct vault *vault, const struct vault_quarantined *rows,
                                     size_t count, size_t *ret_kept, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool one;
        TRY(put_one(txn, vault, &rows[i], &one, err));
        kept += one;
    }
    TRY(vault__commit(&txn, err));
    *ret_kept = kept;
    return ERROR_NONE;
}

static enum error_code copy_entry(uint64_t id, const struct entry *e, struct arena *arena,
                                  struct vault_quarantined *ret_row, struct error *err) {
    ret_row->id = id;
    ret_row->table = e->table;
    ret_row->key = arena_bytes(arena, e->key);
    ret_row->column = arena_format(arena, "%.*s", (int)e->column.len,
                                   (const char *)e->column.data);
    ret_row->reason = arena_format(arena, "%.*s", (int)e->reason.len,
                                   (const char *)e->reason.data);
    ret_row->code = e->code;
    ret_row->pass = e->pass;
    ret_row->first_ms = e->first_ms;
    ret_row->last_ms = e->last_ms;
    if ((ret_row->key.data == NULL && e->key.len > 0) || ret_row->column == NULL ||
        ret_row->reason == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the quarantine's list: no memory");
    return ERROR_NONE;
}

enum error_code vault_quarantine_list(struct vault *vault, uint32_t table, uint64_t after,
                                      size_t rows_max, struct arena *arena,
                                      struct vault_quarantined **ret_rows, size_t *ret_count,
                                      struct error *err) {
    struct vault_quarantined *rows = arena_alloc(arena, (rows_max + 1) * sizeof *rows);
    if (rows == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the quarantine's list: no memory");
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__QUARANTINE], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading the quarantine");
    uint8_t from[8];
    wire_store_u64(from, after + 1);
    MDB_val k = vault__val(bytes_of(from, 8));
    MDB_val v;
    size_t count = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && count < rows_max;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct entry e;
        TRY(decode_entry(vault__bytes(v), &e, err));
        if (table == 0 || e.table == table)
            TRY(copy_entry(wire_load_u64(k.mv_data), &e, arena, &rows[count++], err));
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading the quarantine");
    *ret_rows = rows;
    *ret_count = count;
    return ERROR_NONE;
}

static enum error_code remove_entry(MDB_txn *txn, const struct vault *vault, uint64_t id,
                                    const struct entry *e, struct error *err) {
    uint8_t key[4 + HASH_BYTES];
    entry_key(e->table, e->key, e->column, e->reason, key);
    uint8_t number[8];
    wire_store_u64(number, id);
    TRY(vault__delete(txn, vault->dbi[VAULT__QUARANTINE_KEY], bytes_of(key, sizeof key), err));
    return vault__delete(txn, vault->dbi[VAULT__QUARANTINE], bytes_of(number, 8), err);
}

enum error_code vault_quarantine_drop(struct vault *vault, uint64_t id, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    uint8_t key[8];
    wire_store_u64(key, id);
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__QUARANTINE], bytes_of(key, 8), &value, &found, err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "the quarantine has no row %llu",
                         (unsigned long long)id);
    struct entry e;
    TRY(decode_entry(value, &e, err));
    uint32_t table = e.table;
    TRY(remove_entry(txn, vault, id, &e, err));
    TRY(add_to_table(txn, vault, table, -1, err));
    return vault__commit(&txn, err);
}

/* Ids first, then removal: a cursor does not stay where entries go from under it. */
static enum error_code stale_ids(MDB_txn *txn, const struct vault *vault, uint32_t table,
                                 uint64_t pass, uint64_t *ids, size_t *ret_count,
                                 struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__QUARANTINE], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading the quarantine");
    MDB_val k;
    MDB_val v;
    size_t count = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && count < VAULT_QUARANTINE_MAX;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct entry e;
        TRY(decode_entry(vault__bytes(v), &e, err));
        if (e.table == table && e.pass != pass)
            ids[count++] = wire_load_u64(k.mv_data);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading the quarantine");
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code vault__quarantine_sweep(MDB_txn *txn, const struct vault *vault, uint32_t table,
                                        uint64_t pass, uint64_t *ret_dropped, struct error *err) {
    SCOPED_FREE uint64_t *ids = malloc(VAULT_QUARANTINE_MAX * sizeof *ids);
    if (ids == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    size_t count = 0;
    TRY(stale_ids(txn, vault, table, pass, ids, &count, err));
    for (size_t i = 0; i < count; i++) {
        uint8_t key[8];
        wire_store_u64(key, ids[i]);
        struct bytes value;
        bool found;
        TRY(vault__get(txn, vault->dbi[VAULT__QUARANTINE], bytes_of(key, 8), &value, &found, err));
        struct entry e;
        if (!found)
            return vault__corrupt(err, "quarantine");
        TRY(decode_entry(value, &e, err));
        TRY(remove_entry(txn, vault, ids[i], &e, err));
    }
    *ret_dropped = count;
    return ERROR_NONE;
}
