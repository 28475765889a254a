/*
 * Enrolments: which patient of this hospital a public key belongs to.
 */
#include <string.h>

#include "base/text.h"
#include "gateway/vault/vault_internal.h"

enum { ENROLMENT_BYTES_MAX = VAULT_JWK_BYTES_MAX + VAULT_PATIENT_BYTES_MAX + 64 };

struct stored {
    uint64_t enrolled_ms;
    struct bytes patient;
    struct bytes jwk;
};

static enum error_code decode(struct bytes data, struct stored *ret_stored, struct error *err) {
    struct wire_reader r = wire_reader(data);
    uint8_t format = wire_read_u8(&r);
    struct stored s;
    s.enrolled_ms = wire_read_u64(&r);
    s.patient = wire_read_bytes(&r, VAULT_PATIENT_BYTES_MAX);
    s.jwk = wire_read_bytes(&r, VAULT_JWK_BYTES_MAX);
    if (format != 1 || !wire_read_end(&r))
        return vault__corrupt(err, "enrolment");
    *ret_stored = s;
    return ERROR_NONE;
}

static enum error_code check(const struct vault_enrolment *e, struct error *err) {
    struct bytes patient = bytes_text(e->patient);
    size_t thumbprint = strlen(e->thumbprint);
    size_t jwk = strlen(e->public_jwk);
    if (thumbprint == 0 || thumbprint > VAULT_THUMBPRINT_BYTES_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "a thumbprint of %zu bytes, 1 to %d are possible",
                         thumbprint, VAULT_THUMBPRINT_BYTES_MAX);
    if (patient.len == 0 || patient.len > VAULT_PATIENT_BYTES_MAX || !text_utf8_valid(patient))
        return error_set(err, ERROR_BAD_REQUEST,
                         "a patient id is 1 to %d bytes of UTF-8, found %zu bytes",
                         VAULT_PATIENT_BYTES_MAX, patient.len);
    if (jwk > VAULT_JWK_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a public key of %zu bytes, at most %d", jwk,
                         VAULT_JWK_BYTES_MAX);
    return ERROR_NONE;
}

enum error_code vault_enrolment_put(struct vault *vault, const struct vault_enrolment *e,
                                    struct error *err) {
    TRY(check(e, err));
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    struct bytes key = bytes_text(e->thumbprint);
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__ENROLMENT], key, &value, &found, err));
    if (found) {
        struct stored before;
        TRY(decode(value, &before, err));
        if (bytes_equal(before.patient, bytes_text(e->patient)))
            return ERROR_NONE;
        return error_set(err, ERROR_EXISTS, "the key is enrolled for another patient");
    }
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, ENROLMENT_BYTES_MAX);
    wire_u8(&out, 1);
    wire_u64(&out, e->enrolled_ms);
    wire_bytes(&out, bytes_text(e->patient));
    wire_bytes(&out, bytes_text(e->public_jwk));
    TRY(buffer_check(&out, "an enrolment", err));
    TRY(vault__put(txn, vault->dbi[VAULT__ENROLMENT], key, buffer_bytes(&out), 0, err));
    return vault__commit(&txn, err);
}

static enum error_code copy(struct bytes thumbprint, struct bytes value, struct arena *arena,
                            struct vault_enrolment *ret_enrolment, struct error *err) {
    struct stored s;
    TRY(decode(value, &s, err));
    struct vault_enrolment e = {
        .thumbprint = arena_format(arena, "%.*s", (int)thumbprint.len,
                                   (const char *)thumbprint.data),
        .patient = arena_format(arena, "%.*s", (int)s.patient.len, (const char *)s.patient.data),
        .public_jwk = arena_format(arena, "%.*s", (int)s.jwk.len, (const char *)s.jwk.data),
        .enrolled_ms = s.enrolled_ms,
    };
    if (e.thumbprint == NULL || e.patient == NULL || e.public_jwk == NULL)
        return error_set(err, ERROR_NO_MEMORY, "an enrolment: no memory");
    *ret_enrolment = e;
    return ERROR_NONE;
}

static enum error_code not_enrolled(struct error *err) {
    error_set(err, ERROR_NOT_FOUND, "the key is not enrolled at this hospital");
    error_hint(err, "the hospital enrols a patient's public key with 'renkei enrol'");
    return ERROR_NOT_FOUND;
}

enum error_code vault_enrolment_read(struct vault *vault, const char *thumbprint,
                                     struct arena *arena, struct vault_enrolment *ret_enrolment,
                                     struct error *err) {
    struct bytes key = bytes_text(thumbprint);
    if (key.len == 0 || key.len > VAULT_THUMBPRINT_BYTES_MAX)
        return not_enrolled(err);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__ENROLMENT], key, &value, &found, err));
    return found ? copy(key, value, arena, ret_enrolment, err) : not_enrolled(err);
}

enum error_code vault_enrolment_remove(struct vault *vault, const char *thumbprint,
                                       struct error *err) {
    struct bytes key = bytes_text(thumbprint);
    if (key.len == 0 || key.len > VAULT_THUMBPRINT_BYTES_MAX)
        return not_enrolled(err);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__ENROLMENT], key, NULL, &found, err));
    if (!found)
        return not_enrolled(err);
    TRY(vault__delete(txn, vault->dbi[VAULT__ENROLMENT], key, err));
    return vault__commit(&txn, err);
}

enum error_code vault_enrolment_list(struct vault *vault, const char *after, size_t list_max,
                                     struct arena *arena, struct vault_enrolment **ret_list,
                                     size_t *ret_count, struct error *err) {
    struct vault_enrolment *list = arena_alloc(arena, (list_max + 1) * sizeof *list);
    if (list == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the enrolments: no memory");
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    SCOPED_CURSOR MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, vault->dbi[VAULT__ENROLMENT], &cursor);
    if (rc != 0)
        return vault__error(err, rc, "reading enrolments");
    struct bytes from = bytes_text(after != NULL ? after : "");
    bool start = from.len == 0 || from.len > VAULT_THUMBPRINT_BYTES_MAX;
    MDB_val k = vault__val(from);
    MDB_val v;
    size_t count = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, start ? MDB_FIRST : MDB_SET_RANGE);
         rc == 0 && count < list_max; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
        if (start || !bytes_equal(vault__bytes(k), from))
            TRY(copy(vault__bytes(k), vault__bytes(v), arena, &list[count++], err));
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading enrolments");
    *ret_list = list;
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code vault_enrolment_count(struct vault *vault, uint64_t *ret_count,
                                      struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    MDB_stat stat;
    int rc = mdb_stat(txn, vault->dbi[VAULT__ENROLMENT], &stat);
    if (rc != 0)
        return vault__error(err, rc, "counting");
    *ret_count = stat.ms_entries;
    return ERROR_NONE;
}
