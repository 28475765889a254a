#include "ledger/people.h"

#include <string.h>

#include "base/wire.h"

enum { PEOPLE_FORMAT = 1 };

static bool is_zero(const uint8_t *bytes, size_t len) {
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

bool permission_name_is_zero(const uint8_t name[PERMISSION_NAME_BYTES]) {
    return is_zero(name, PERMISSION_NAME_BYTES);
}

void person_encode(const struct person *person, uint8_t ret_bytes[PERSON_BYTES]) {
    ret_bytes[0] = PEOPLE_FORMAT;
    ret_bytes[1] = (uint8_t)person->kind;
    ret_bytes[2] = (uint8_t)person->operation;
    ret_bytes[3] = 0;
    wire_store_u32(ret_bytes + 4, person->version);
    memcpy(ret_bytes + 8, person->reference.byte, HASH_BYTES);
    memcpy(ret_bytes + 40, person->key.byte, HASH_BYTES);
    memcpy(ret_bytes + 72, person->content.byte, HASH_BYTES);
}

static const char *check_person(const struct person *p) {
    if (p->kind != PERSON_PATIENT && p->kind != PERSON_DOCTOR)
        return "its kind is neither patient nor doctor";
    if ((int)p->operation < PERSON_REGISTER || p->operation > PERSON_REVOKE)
        return "its operation is not known";
    if (p->version == 0 || (p->version == 1) != (p->operation == PERSON_REGISTER))
        return "its version does not fit the operation";
    if (hash_is_zero(&p->reference))
        return "it has no reference";
    bool revoked = p->operation == PERSON_REVOKE;
    if (hash_is_zero(&p->key) != revoked || hash_is_zero(&p->content) != revoked)
        return "its digests do not fit the operation";
    return NULL;
}

enum error_code person_decode(struct bytes body, struct person *ret_person, struct error *err) {
    struct wire_reader r = wire_reader(body);
    unsigned format = wire_read_u8(&r);
    struct person p = {.kind = (enum person_kind)wire_read_u8(&r)};
    p.operation = (enum person_operation)wire_read_u8(&r);
    unsigned zero = wire_read_u8(&r);
    p.version = wire_read_u32(&r);
    wire_read_fixed(&r, p.reference.byte, HASH_BYTES);
    wire_read_fixed(&r, p.key.byte, HASH_BYTES);
    wire_read_fixed(&r, p.content.byte, HASH_BYTES);
    if (!wire_read_end(&r) || format != PEOPLE_FORMAT || zero != 0)
        return error_set(err, ERROR_PROTOCOL, "person: %zu bytes, expected %d of format 1",
                         body.len, PERSON_BYTES);
    const char *wrong = check_person(&p);
    if (wrong != NULL)
        return error_set(err, ERROR_PROTOCOL, "person: %s", wrong);
    *ret_person = p;
    return ERROR_NONE;
}

void permission_encode(const struct permission *permission, uint8_t ret_bytes[PERMISSION_BYTES]) {
    ret_bytes[0] = PEOPLE_FORMAT;
    ret_bytes[1] = (uint8_t)permission->operation;
    memcpy(ret_bytes + 2, permission->name, PERMISSION_NAME_BYTES);
    wire_store_u32(ret_bytes + 18, permission->version);
    memcpy(ret_bytes + 22, permission->patient.byte, HASH_BYTES);
    memcpy(ret_bytes + 54, permission->doctor.byte, HASH_BYTES);
    memcpy(ret_bytes + 86, permission->grantee, PERMISSION_GRANTEE_BYTES);
    memcpy(ret_bytes + 118, permission->content.byte, HASH_BYTES);
}

static const char *check_permission(const struct permission *p) {
    if (p->operation != PERMISSION_GRANT && p->operation != PERMISSION_REVOKE)
        return "its operation is not known";
    bool revoked = p->operation == PERMISSION_REVOKE;
    if (permission_name_is_zero(p->name))
        return "it has no name";
    if (p->version == 0 || (p->version == 1 && revoked))
        return "its version does not fit the operation";
    if (hash_is_zero(&p->patient) || hash_is_zero(&p->content))
        return "it has no patient's reference or no digest of a consent";
    if (is_zero(p->grantee, sizeof p->grantee) != revoked ||
        (revoked && !hash_is_zero(&p->doctor)))
        return "its grantee or doctor does not fit the operation";
    if (hash_equal(&p->patient, &p->doctor))
        return "one reference stands for patient and doctor";
    return NULL;
}

enum error_code permission_decode(struct bytes body, struct permission *ret_permission,
                                  struct error *err) {
    struct wire_reader r = wire_reader(body);
    unsigned format = wire_read_u8(&r);
    struct permission p = {.operation = (enum permission_operation)wire_read_u8(&r)};
    wire_read_fixed(&r, p.name, sizeof p.name);
    p.version = wire_read_u32(&r);
    wire_read_fixed(&r, p.patient.byte, HASH_BYTES);
    wire_read_fixed(&r, p.doctor.byte, HASH_BYTES);
    wire_read_fixed(&r, p.grantee, sizeof p.grantee);
    wire_read_fixed(&r, p.content.byte, HASH_BYTES);
    if (!wire_read_end(&r) || format != PEOPLE_FORMAT)
        return error_set(err, ERROR_PROTOCOL, "permission: %zu bytes, expected %d of format 1",
                         body.len, PERMISSION_BYTES);
    const char *wrong = check_permission(&p);
    if (wrong != NULL)
        return error_set(err, ERROR_PROTOCOL, "permission: %s", wrong);
    *ret_permission = p;
    return ERROR_NONE;
}

void query_encode(const struct query *query, struct buffer *out) {
    wire_u8(out, PEOPLE_FORMAT);
    wire_fixed(out, query->permission, PERMISSION_NAME_BYTES);
    wire_fixed(out, query->patient.byte, HASH_BYTES);
    wire_fixed(out, query->doctor.byte, HASH_BYTES);
    wire_fixed(out, query->content.byte, HASH_BYTES);
    wire_bytes(out, query->sealed);
}

enum error_code query_decode(struct bytes body, struct query *ret_query, struct error *err) {
    struct wire_reader r = wire_reader(body);
    struct query q = {.sealed = {0}};
    unsigned format = wire_read_u8(&r);
    wire_read_fixed(&r, q.permission, sizeof q.permission);
    wire_read_fixed(&r, q.patient.byte, HASH_BYTES);
    wire_read_fixed(&r, q.doctor.byte, HASH_BYTES);
    wire_read_fixed(&r, q.content.byte, HASH_BYTES);
    q.sealed = wire_read_bytes(&r, QUERY_SEALED_BYTES_MAX);
    if (!wire_read_end(&r) || format != PEOPLE_FORMAT)
        return error_set(err, ERROR_PROTOCOL, "query: %zu bytes are not one query of format 1",
                         body.len);
    /* Of two that are equal, one of the two zero ones is refused, too. */
    if (hash_equal(&q.patient, &q.doctor) || hash_is_zero(&q.content))
        return error_set(err, ERROR_PROTOCOL, "query: it needs a patient's or a doctor's "
                                              "reference, not one for both, and a digest");
    *ret_query = q;
    return ERROR_NONE;
}
