/*
 * What a record is on disk (docs/formats.md, "Vault").
 */
#include <string.h>

#include "gateway/vault/vault_internal.h"

enum error_code vault__row_key(uint32_t table, struct bytes key, struct vault__row_key *ret_key,
                               struct error *err) {
    if (key.len > VAULT_KEY_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a row's key has %zu bytes, at most %d are possible",
                         key.len, VAULT_KEY_BYTES_MAX);
    wire_store_u32(ret_key->byte, table);
    if (key.len > 0)
        memcpy(ret_key->byte + 4, key.data, key.len);
    ret_key->len = 4 + key.len;
    return ERROR_NONE;
}

/* Stores into *at and moves it. */
static void store(uint8_t **at, const void *data, size_t len) {
    memcpy(*at, data, len);
    *at += len;
}

static void store_u32(uint8_t **at, uint32_t value) {
    wire_store_u32(*at, value);
    *at += 4;
}

static void store_u64(uint8_t **at, uint64_t value) {
    wire_store_u64(*at, value);
    *at += 8;
}

void vault__version_encode(const struct vault_version *v,
                           uint8_t ret_bytes[VAULT__VERSION_BYTES]) {
    uint8_t *at = ret_bytes;
    *at++ = 1; /* format */
    *at++ = 1; /* hash algorithm: SHA-256 */
    *at++ = (uint8_t)v->operation;
    *at++ = (uint8_t)v->origin;
    store_u32(&at, v->version);
    store(&at, v->r, VAULT_R_BYTES);
    store(&at, v->content.byte, HASH_BYTES);
    store(&at, v->raw.byte, HASH_BYTES);
    store_u32(&at, v->mapping);
    store(&at, v->leaf.byte, HASH_BYTES);
    store_u64(&at, v->sequence);
    store_u32(&at, v->leaf_index);
    store_u32(&at, v->date);
}

static bool read_version(struct wire_reader *r, struct vault_version *ret_v) {
    uint8_t format = wire_read_u8(r);
    uint8_t algorithm = wire_read_u8(r);
    uint8_t operation = wire_read_u8(r);
    uint8_t origin = wire_read_u8(r);
    ret_v->operation = (enum leaf_operation)operation;
    ret_v->origin = (enum leaf_origin)origin;
    ret_v->version = wire_read_u32(r);
    wire_read_fixed(r, ret_v->r, VAULT_R_BYTES);
    wire_read_fixed(r, ret_v->content.byte, HASH_BYTES);
    wire_read_fixed(r, ret_v->raw.byte, HASH_BYTES);
    ret_v->mapping = wire_read_u32(r);
    wire_read_fixed(r, ret_v->leaf.byte, HASH_BYTES);
    ret_v->sequence = wire_read_u64(r);
    ret_v->leaf_index = wire_read_u32(r);
    ret_v->date = wire_read_u32(r);
    return format == 1 && algorithm == 1 && operation >= LEAF_CREATE && operation <= LEAF_DELETE &&
           origin >= LEAF_DECLARED && origin <= LEAF_OBSERVED && ret_v->version > 0;
}

enum error_code vault__version_decode(struct bytes data, struct vault_version *ret_v,
                                      struct error *err) {
    struct wire_reader r = wire_reader(data);
    struct vault_version v;
    if (!read_version(&r, &v) || !wire_read_end(&r))
        return vault__corrupt(err, "earlier version");
    *ret_v = v;
    return ERROR_NONE;
}

void vault__record_encode(const struct vault_record *record, struct buffer *out) {
    uint8_t *at = buffer_reserve(out, VAULT__RECORD_BYTES);
    if (at == NULL)
        return;
    vault__version_encode(&record->latest, at);
    at += VAULT__VERSION_BYTES;
    store_u32(&at, record->table);
    store(&at, record->locator.byte, LOCATOR_BYTES);
    store_u64(&at, record->patient);
    store_u32(&at, record->observed_changes);
    out->len += VAULT__RECORD_BYTES;
    buffer_append(out, record->key, record->key_len);
}

enum error_code vault__record_decode(uint64_t id, struct bytes data,
                                     struct vault_record *ret_record, struct error *err) {
    struct wire_reader r = wire_reader(data);
    struct vault_record *record = ret_record;
    bool fine = data.len >= VAULT__RECORD_BYTES &&
                data.len <= VAULT__RECORD_BYTES + VAULT_KEY_BYTES_MAX &&
                read_version(&r, &record->latest);
    if (!fine)
        return vault__corrupt(err, "record");
    record->id = id;
    record->table = wire_read_u32(&r);
    wire_read_fixed(&r, record->locator.byte, LOCATOR_BYTES);
    record->patient = wire_read_u64(&r);
    record->observed_changes = wire_read_u32(&r);
    record->key_len = wire_read_left(&r);
    wire_read_fixed(&r, record->key, record->key_len);
    return wire_read_end(&r) ? ERROR_NONE : vault__corrupt(err, "record");
}

enum error_code vault__record_patient(struct bytes data, uint64_t *ret_patient,
                                      struct error *err) {
    enum { PATIENT_AT = VAULT__VERSION_BYTES + 4 + LOCATOR_BYTES };
    if (data.len < VAULT__RECORD_BYTES)
        return vault__corrupt(err, "record");
    *ret_patient = wire_load_u64(data.data + PATIENT_AT);
    return ERROR_NONE;
}

enum error_code vault__record_get(MDB_txn *txn, const struct vault *vault, uint64_t id,
                                  bool *ret_found, struct vault_record *ret_record,
                                  struct error *err) {
    uint8_t key[8];
    wire_store_u64(key, id);
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__RECORD], bytes_of(key, 8), &value, &found, err));
    if (found)
        TRY(vault__record_decode(id, value, ret_record, err));
    *ret_found = found;
    return ERROR_NONE;
}

enum error_code vault__record_set(MDB_txn *txn, const struct vault *vault,
                                  const struct vault_record *record, struct buffer *scratch,
                                  struct error *err) {
    uint8_t key[8];
    wire_store_u64(key, record->id);
    buffer_clear(scratch);
    vault__record_encode(record, scratch);
    TRY(buffer_check(scratch, "a record of the vault", err));
    return vault__put_last(txn, vault->dbi[VAULT__RECORD], bytes_of(key, 8),
                           buffer_bytes(scratch), err);
}
