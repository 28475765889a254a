/*
 * What the chain says of people: that a patient or a doctor is registered, what a patient permits,
 * that somebody looked. The bodies of three types of transactions, fixed layouts (docs/formats.md).
 *
 * Owns: the layouts. A person's key stands in them by a reference alone: bytes that nobody without
 * the secret of person and hospital can tell from random ones, fresh in each transaction, so that no
 * two can be linked. Refuses: names, numbers, keys, anything that was derived from them without a
 * secret. Pure.
 */
#ifndef LEDGER_PEOPLE_H
#define LEDGER_PEOPLE_H

#include "base/bytes.h"
#include "base/hash.h"

enum {
    PERSON_BYTES = 104,
    PERMISSION_BYTES = 150,
    PERMISSION_NAME_BYTES = 16,
    PERMISSION_GRANTEE_BYTES = 32,
    QUERY_SEALED_BYTES_MAX = 1024,
    QUERY_BYTES_MAX = 1 + PERMISSION_NAME_BYTES + 3 * HASH_BYTES + 4 + QUERY_SEALED_BYTES_MAX,
};

enum person_kind { PERSON_PATIENT = 1, PERSON_DOCTOR = 2 };
enum person_operation { PERSON_REGISTER = 1, PERSON_REPLACE = 2, PERSON_REVOKE = 3 };

/* Patient information, doctor information. */
struct person {
    enum person_kind kind;
    enum person_operation operation;
    uint32_t version;       /* expected on commit: the latest one's plus one; 1 registers */
    struct hash reference;  /* constant over the versions of this registration */
    struct hash key;        /* salted commitment of the public key; zero where revoked */
    struct hash content;    /* salted digest of what is told of the person; zero where revoked */
};
void person_encode(const struct person *person, uint8_t ret_bytes[PERSON_BYTES]);
MUST_CHECK enum error_code person_decode(struct bytes body, struct person *ret_person,
                                         struct error *err);

enum permission_operation { PERMISSION_GRANT = 1, PERMISSION_REVOKE = 2 };

/* Permission information. */
struct permission {
    enum permission_operation operation;
    uint8_t name[PERMISSION_NAME_BYTES]; /* random, constant over its versions */
    uint32_t version; /* expected on commit, as above; a later grant changes the terms */
    struct hash patient; /* references */
    struct hash doctor;  /* zero: whoever the grantee lets read, and where revoked */
    uint8_t grantee[PERMISSION_GRANTEE_BYTES]; /* submitter that may query; zero where revoked */
    struct hash content; /* salted digest of the patient's signed consent or revocation */
};
void permission_encode(const struct permission *permission, uint8_t ret_bytes[PERMISSION_BYTES]);
MUST_CHECK enum error_code permission_decode(struct bytes body, struct permission *ret_permission,
                                             struct error *err);

/* Query information: somebody was shown records. */
struct query {
    uint8_t permission[PERMISSION_NAME_BYTES]; /* zero: none was needed */
    struct hash patient; /* references; one of the two may be zero */
    struct hash doctor;
    struct hash content; /* salted digest of what was asked and shown */
    struct bytes sealed; /* encrypted to the patient and the auditor, or empty; borrowed */
};
void query_encode(const struct query *query, struct buffer *out);
MUST_CHECK enum error_code query_decode(struct bytes body, struct query *ret_query,
                                        struct error *err);
bool permission_name_is_zero(const uint8_t name[PERMISSION_NAME_BYTES]);

#endif
