/*
 * Look-ups of records, and the index by patient.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/vault/vault_internal.h"

enum error_code vault_view_open(struct vault *vault, struct vault_view **ret_view,
                                struct error *err) {
    struct vault_view *view = calloc(1, sizeof *view);
    if (view == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    view->vault = vault;
    enum error_code code = vault__begin(vault, MDB_RDONLY, &view->txn, err);
    if (code != ERROR_NONE)
        free(view);
    else
        *ret_view = view;
    return code;
}

enum error_code vault_view_renew(struct vault_view *view, struct error *err) {
    mdb_txn_reset(view->txn);
    int rc = mdb_txn_renew(view->txn);
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "renewing a view");
}

void vault_view_close(struct vault_view *view) {
    if (view == NULL)
        return;
    mdb_txn_abort(view->txn);
    free(view);
}

/* The number of a row's record, 0 where there is none. */
static enum error_code row_number(MDB_txn *txn, const struct vault *vault, uint32_t table,
                                  struct bytes key, uint64_t *ret_id, struct error *err) {
    struct vault__row_key row;
    TRY(vault__row_key(table, key, &row, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__ROW], bytes_of(row.byte, row.len), &value, &found, err));
    if (found && value.len != 8)
        return vault__corrupt(err, "row");
    *ret_id = found ? wire_load_u64(value.data) : 0;
    return ERROR_NONE;
}

enum error_code vault_record_find(struct vault_view *view, uint32_t table, struct bytes key,
                                  bool *ret_found, struct vault_record *ret_record,
                                  struct error *err) {
    uint64_t id;
    vault__looked_up(view->vault);
    TRY(row_number(view->txn, view->vault, table, key, &id, err));
    if (id == 0) {
        *ret_found = false;
        return ERROR_NONE;
    }
    bool committed;
    TRY(vault__record_get(view->txn, view->vault, id, &committed, ret_record, err));
    if (!committed) {
        memset(ret_record, 0, sizeof *ret_record);
        ret_record->id = id;
        ret_record->table = table;
        ret_record->key_len = key.len;
        memcpy(ret_record->key, key.data, key.len);
    }
    *ret_found = true;
    return ERROR_NONE;
}

enum error_code vault_record_read(struct vault_view *view, uint64_t id,
                                  struct vault_record *ret_record, struct error *err) {
    bool found;
    TRY(vault__record_get(view->txn, view->vault, id, &found, ret_record, err));
    return found ? ERROR_NONE
                 : error_set(err, ERROR_NOT_FOUND, "the vault has no record %llu",
                             (unsigned long long)id);
}

enum error_code vault_version_read(struct vault_view *view, const struct vault_record *record,
                                   uint32_t version, struct vault_version *ret_version,
                                   struct error *err) {
    if (version == record->latest.version && version > 0) {
        *ret_version = record->latest;
        return ERROR_NONE;
    }
    uint8_t key[12];
    wire_store_u64(key, record->id);
    wire_store_u32(key + 8, version);
    struct bytes value;
    bool found;
    TRY(vault__get(view->txn, view->vault->dbi[VAULT__VERSION], bytes_of(key, sizeof key), &value,
                   &found, err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "the vault has no version %u of record %llu",
                         version, (unsigned long long)record->id);
    return vault__version_decode(value, ret_version, err);
}

enum error_code vault_record_last(struct vault_view *view, uint64_t *ret_id, struct error *err) {
    return vault__number(view->txn, view->vault, "record", ret_id, err);
}

enum error_code vault_rows_visit(struct vault_view *view, uint32_t table,
                                 vault_row_visitor *visit, void *context, struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(view->txn, view->vault->dbi[VAULT__ROW], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading rows");
    uint8_t prefix[4];
    wire_store_u32(prefix, table);
    MDB_val k = vault__val(bytes_of(prefix, sizeof prefix));
    MDB_val v;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (k.mv_size < 4 || memcmp(k.mv_data, prefix, 4) != 0)
            return ERROR_NONE;
        if (v.mv_size != 8)
            return vault__corrupt(err, "row");
        struct bytes key = bytes_of((const uint8_t *)k.mv_data + 4, k.mv_size - 4);
        vault__looked_up(view->vault);
        TRY(visit(context, wire_load_u64(v.mv_data), key, err));
    }
    return rc == MDB_NOTFOUND ? ERROR_NONE : vault__error(err, rc, "reading rows");
}

enum error_code vault_anchor_read(struct vault_view *view, uint64_t sequence,
                                  struct vault_anchor *ret_anchor, struct error *err) {
    uint8_t key[8];
    wire_store_u64(key, sequence);
    struct bytes value;
    bool found;
    TRY(vault__get(view->txn, view->vault->dbi[VAULT__ANCHOR], bytes_of(key, 8), &value, &found,
                   err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "the vault has no anchor %llu",
                         (unsigned long long)sequence);
    struct wire_reader r = wire_reader(value);
    struct vault_anchor a = {.sequence = sequence};
    uint8_t format = wire_read_u8(&r);
    wire_read_fixed(&r, a.transaction.byte, HASH_BYTES);
    a.table = wire_read_u32(&r);
    a.batch = wire_read_u64(&r);
    a.height = wire_read_u64(&r);
    a.transaction_index = wire_read_u32(&r);
    a.log_index = wire_read_u64(&r);
    a.block_time_ms = wire_read_u64(&r);
    a.leaf_count = wire_read_u32(&r);
    if (format != 1 || !wire_read_end(&r))
        return vault__corrupt(err, "anchor");
    *ret_anchor = a;
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------------ patients ---- */

static enum error_code check_patient(struct bytes patient, struct error *err) {
    if (patient.len > VAULT_PATIENT_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a patient id has %zu bytes, at most %d are possible",
                         patient.len, VAULT_PATIENT_BYTES_MAX);
    return ERROR_NONE;
}

/* 0 where there is none. */
static enum error_code find_patient(MDB_txn *txn, struct vault *vault, const struct hash *tag,
                                    uint64_t *ret_number, struct error *err) {
    struct bytes value;
    bool found;
    vault__looked_up(vault);
    TRY(vault__get(txn, vault->dbi[VAULT__PATIENT], hash_bytes(tag), &value, &found, err));
    if (found && value.len != 8)
        return vault__corrupt(err, "patient");
    *ret_number = found ? wire_load_u64(value.data) : 0;
    return ERROR_NONE;
}

enum error_code vault__patient(MDB_txn *txn, struct vault *vault, struct bytes patient,
                               uint64_t *ret_number, struct error *err) {
    TRY(check_patient(patient, err));
    struct hash tag = hmac_sha256(bytes_of(vault->secret, sizeof vault->secret), patient);
    return find_patient(txn, vault, &tag, ret_number, err);
}

static enum error_code make_patient(MDB_txn *txn, struct vault *vault, const struct hash *tag,
                                    uint64_t *ret_number, struct error *err) {
    uint64_t last;
    uint8_t number[8];
    TRY(vault__number(txn, vault, "patient", &last, err));
    TRY(vault__number_set(txn, vault, "patient", last + 1, err));
    wire_store_u64(number, last + 1);
    TRY(vault__put(txn, vault->dbi[VAULT__PATIENT], hash_bytes(tag), bytes_of(number, 8), 0, err));
    *ret_number = last + 1;
    return ERROR_NONE;
}

enum error_code vault__patients_make(MDB_txn *txn, struct vault *vault,
                                     const struct bytes *patients, size_t count,
                                     uint64_t *ret_numbers, struct error *err) {
    enum { AT_ONCE = 64 };
    struct hash tags[AT_ONCE];
    struct hmac_key secret;
    for (size_t i = 0; i < count; i++)
        TRY(check_patient(patients[i], err));
    hmac_key_init(&secret, bytes_of(vault->secret, sizeof vault->secret));
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; code == ERROR_NONE && i < count; i++) {
        size_t left = count - i;
        if (i % AT_ONCE == 0)
            hmac_sha256_many(&secret, patients + i, left < AT_ONCE ? left : AT_ONCE, tags);
        ret_numbers[i] = 0;
        if (patients[i].len > 0)
            code = find_patient(txn, vault, &tags[i % AT_ONCE], &ret_numbers[i], err);
        if (code == ERROR_NONE && patients[i].len > 0 && ret_numbers[i] == 0)
            code = make_patient(txn, vault, &tags[i % AT_ONCE], &ret_numbers[i], err);
    }
    explicit_bzero(&secret, sizeof secret);
    return code;
}

static void patient_record_key(uint64_t patient, uint64_t record, uint8_t ret_key[16]) {
    wire_store_u64(ret_key, patient);
    wire_store_u64(ret_key + 8, record);
}

enum error_code vault__patient_move(MDB_txn *txn, const struct vault *vault, uint64_t record,
                                    uint64_t from, uint64_t to, uint64_t indexed,
                                    struct error *err) {
    if (record > indexed || from == to)
        return ERROR_NONE; /* the record itself says whose it is, until it is put into the index */
    uint8_t key[16];
    if (from != 0) {
        patient_record_key(from, record, key);
        TRY(vault__delete(txn, vault->dbi[VAULT__PATIENT_RECORD], bytes_of(key, 16), err));
    }
    if (to == 0)
        return ERROR_NONE;
    patient_record_key(to, record, key);
    return vault__put(txn, vault->dbi[VAULT__PATIENT_RECORD], bytes_of(key, 16),
                      bytes_of("", 0), 0, err);
}

struct patient_pair {
    uint8_t key[16];
};

static int compare_pairs(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct patient_pair));
}

/* The pairs of the records in (mark, last]. pairs has room for all of them. */
static enum error_code collect_pairs(MDB_txn *txn, struct vault *vault, uint64_t mark,
                                     uint64_t last, struct patient_pair *pairs, size_t *ret_count,
                                     struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__RECORD], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading records");
    uint8_t from[8];
    wire_store_u64(from, mark + 1);
    MDB_val k = vault__val(bytes_of(from, 8));
    MDB_val v;
    size_t count = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        uint64_t patient;
        uint64_t id = wire_load_u64(k.mv_data);
        if (id > last)
            break;
        vault__looked_up(vault);
        TRY(vault__record_patient(vault__bytes(v), &patient, err));
        if (patient != 0)
            patient_record_key(patient, id, pairs[count++].key);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading records");
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code vault__record_last(MDB_txn *txn, const struct vault *vault, uint64_t *ret_last,
                                   struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    MDB_val k;
    MDB_val v;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__RECORD], &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading records");
    *ret_last = rc == MDB_NOTFOUND ? 0 : wire_load_u64(k.mv_data);
    return ERROR_NONE;
}

/* The next records to be indexed: at most VAULT__UNINDEXED_MAX. From here on they count as indexed
 * for vault__patient_move, since a crash may leave some of them in the index. */
static enum error_code begin_indexing(struct vault *vault, uint64_t least,
                                      struct patient_pair *pairs, size_t *ret_count,
                                      uint64_t *ret_last, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    uint64_t last;
    uint64_t mark;
    TRY(vault__record_last(txn, vault, &last, err));
    TRY(vault__number(txn, vault, "indexed", &mark, err));
    *ret_last = 0;
    if (last <= mark || last - mark <= least)
        return ERROR_NONE;
    last = last - mark > VAULT__UNINDEXED_MAX ? mark + VAULT__UNINDEXED_MAX : last;
    TRY(collect_pairs(txn, vault, mark, last, pairs, ret_count, err));
    TRY(vault__number_set(txn, vault, "indexing", last, err));
    TRY(vault__commit(&txn, err));
    *ret_last = last;
    return ERROR_NONE;
}

/* mark: 0, or what is indexed with these pairs. */
static enum error_code put_pairs(struct vault *vault, const struct patient_pair *pairs,
                                 size_t count, uint64_t mark, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    for (size_t i = 0; i < count; i++) {
        vault__looked_up(vault);
        TRY(vault__put(txn, vault->dbi[VAULT__PATIENT_RECORD],
                       bytes_of(pairs[i].key, sizeof pairs[i].key), bytes_of("", 0), 0, err));
    }
    if (mark != 0)
        TRY(vault__number_set(txn, vault, "indexed", mark, err));
    return vault__commit(&txn, err);
}

static enum error_code index_some(struct vault *vault, uint64_t least, struct patient_pair *pairs,
                                  bool *ret_more, struct error *err) {
    size_t count = 0;
    uint64_t last = 0;
    TRY(begin_indexing(vault, least, pairs, &count, &last, err));
    *ret_more = last != 0;
    if (last == 0)
        return ERROR_NONE;
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    size_t from = 0;
    for (; count - from > VAULT__INDEX_PUTS_MAX; from += VAULT__INDEX_PUTS_MAX)
        TRY(put_pairs(vault, pairs + from, VAULT__INDEX_PUTS_MAX, 0, err));
    /* A record below the mark whose first transaction was without effect is put into the index when
     * another one is carried out, as vault__patient_move does for all below the mark. */
    return put_pairs(vault, pairs + from, count - from, last, err);
}

enum error_code vault__patient_index(struct vault *vault, uint64_t least, struct error *err) {
    SCOPED_FREE struct patient_pair *pairs = malloc(VAULT__UNINDEXED_MAX * sizeof *pairs);
    if (pairs == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    bool more = true;
    while (more)
        TRY(index_some(vault, least, pairs, &more, err));
    return ERROR_NONE;
}

/* Records of the patient in the index, after `after`, up to mark: past it the index may hold some
 * already, which newest_records gives. */
static enum error_code indexed_records(struct vault_view *view, uint64_t patient, uint64_t after,
                                       uint64_t mark, uint64_t *ret_ids, size_t ids_max,
                                       size_t *ret_count, struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(view->txn, view->vault->dbi[VAULT__PATIENT_RECORD], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading the index by patient");
    uint8_t from[16];
    patient_record_key(patient, after + 1, from);
    MDB_val k = vault__val(bytes_of(from, sizeof from));
    MDB_val v;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && *ret_count < ids_max;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (k.mv_size != 16 || wire_load_u64(k.mv_data) != patient)
            break;
        uint64_t id = wire_load_u64((const uint8_t *)k.mv_data + 8);
        if (id > mark)
            break;
        ret_ids[(*ret_count)++] = id;
    }
    return rc == 0 || rc == MDB_NOTFOUND ? ERROR_NONE
                                         : vault__error(err, rc, "reading the index by patient");
}

/* Records of the patient that are not in the index yet. */
static enum error_code newest_records(struct vault_view *view, uint64_t patient, uint64_t after,
                                      uint64_t *ret_ids, size_t ids_max, size_t *ret_count,
                                      struct error *err) {
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(view->txn, view->vault->dbi[VAULT__RECORD], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading records");
    uint8_t from[8];
    wire_store_u64(from, after + 1);
    MDB_val k = vault__val(bytes_of(from, sizeof from));
    MDB_val v;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && *ret_count < ids_max;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        uint64_t number;
        uint64_t id = wire_load_u64(k.mv_data);
        TRY(vault__record_patient(vault__bytes(v), &number, err));
        if (number == patient)
            ret_ids[(*ret_count)++] = id;
    }
    return rc == 0 || rc == MDB_NOTFOUND ? ERROR_NONE : vault__error(err, rc, "reading records");
}

enum error_code vault_records_of_patient(struct vault_view *view, struct bytes patient,
                                         uint64_t after, uint64_t *ret_ids, size_t ids_max,
                                         size_t *ret_count, struct error *err) {
    uint64_t number;
    uint64_t mark;
    TRY(vault__patient(view->txn, view->vault, patient, &number, err));
    TRY(vault__number(view->txn, view->vault, "indexed", &mark, err));
    size_t count = 0;
    if (number != 0) {
        TRY(indexed_records(view, number, after, mark, ret_ids, ids_max, &count, err));
        TRY(newest_records(view, number, after > mark ? after : mark, ret_ids, ids_max, &count,
                           err));
    }
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code vault_record_is_of(struct vault_view *view, const struct vault_record *record,
                                   struct bytes patient, bool *ret_is, struct error *err) {
    uint64_t number;
    TRY(vault__patient(view->txn, view->vault, patient, &number, err));
    *ret_is = number != 0 && number == record->patient;
    return ERROR_NONE;
}
