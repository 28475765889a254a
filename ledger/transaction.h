/*
 * Transactions: what a submitter signs and the chain keeps byte for byte (docs/formats.md).
 *
 * Owns: the layout, the id, the signature, the bodies of the types note and incident; the anchor's
 * body is ledger/anchor.h, those about people are ledger/people.h. Refuses: to re-encode what was
 * signed. Pure: no input or output.
 */
#ifndef LEDGER_TRANSACTION_H
#define LEDGER_TRANSACTION_H

#include "base/bytes.h"
#include "base/hash.h"
#include "ledger/leaf.h"

enum transaction_type {
    TRANSACTION_ANCHOR = 1,
    TRANSACTION_NOTE = 2,
    TRANSACTION_INCIDENT = 3,
    TRANSACTION_CHANGE = 4,   /* of the members: ledger/members.h */
    TRANSACTION_EVIDENCE = 5, /* that a validator equivocated: ledger/pbft/vote.h */
    TRANSACTION_CHECKPOINT = 6, /* another chain's head, proven: ledger/checkpoint.h */
    TRANSACTION_PERSON = 7,     /* these three: ledger/people.h */
    TRANSACTION_PERMISSION = 8,
    TRANSACTION_QUERY = 9,
    TRANSACTION_TYPE_COUNT
};
/* "anchor" ...; "unknown" where there is no such type. */
const char *transaction_type_name(enum transaction_type type);

enum {
    TRANSACTION_BYTES_MAX = 2 << 20,
    TRANSACTION_KEY_BYTES = 32,
    TRANSACTION_SIGNATURE_BYTES = 64,
    TRANSACTION_EXTENSIONS_MAX = 16,
    TRANSACTION_EXTENSION_BYTES_MAX = 4096,
    /* Extensions below this number must be understood; none is known to format 1. */
    TRANSACTION_EXTENSION_OPTIONAL = 0x8000,
    TRANSACTION_BODY_AT = 84, /* offset of the body's length */
    NOTE_BYTES_MAX = 4096,
};

/* A decoded transaction borrows from the bytes it was decoded from. */
struct transaction {
    enum transaction_type type;
    struct hash chain;
    uint8_t submitter[TRANSACTION_KEY_BYTES]; /* Ed25519 */
    uint64_t sequence;                        /* from 1 */
    uint64_t wall_ms;
    struct bytes body;
    struct bytes extensions; /* the list as it was encoded */
    uint8_t signature[TRANSACTION_SIGNATURE_BYTES];
    struct hash id; /* SHA-256("renkei/transaction/1\n" || everything before the signature) */
};

/* Checks the layout and the body's, computes the id; does not verify the signature. */
MUST_CHECK enum error_code transaction_decode(struct bytes input, struct transaction *ret_tx,
                                              struct error *err);
MUST_CHECK enum error_code transaction_verify(const struct transaction *tx, struct error *err);

struct ledger_signer;
/* Appends the signed transaction to out: type, chain, sequence, wall_ms and body are taken from tx,
 * without extensions; the key from the signer. */
MUST_CHECK enum error_code transaction_sign(const struct ledger_signer *signer,
                                            const struct transaction *tx, struct buffer *out,
                                            struct error *err);

/* An incident: somebody looked, and what the database held was not what was anchored. */
enum incident_kind { INCIDENT_MISMATCH = 1, INCIDENT_MISSING = 2 };
enum { INCIDENT_BYTES = 94 };
struct incident {
    enum incident_kind kind;
    struct locator locator;
    uint32_t version;    /* the anchored version it was compared with */
    struct hash content; /* as observed, with that version's r; zero where the row is missing */
    struct hash raw;
    uint64_t observed_ms;
};
void incident_encode(const struct incident *incident, uint8_t ret_bytes[INCIDENT_BYTES]);
MUST_CHECK enum error_code incident_decode(struct bytes body, struct incident *ret_incident,
                                           struct error *err);

#endif
