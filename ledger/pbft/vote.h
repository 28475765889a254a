/*
 * Votes and certificates: what a validator signs about a block, and Q such signatures together.
 *
 * Part of the pure protocol core; also used by everybody who checks a block without taking part:
 * clients, auditors, light nodes. May use: base. Refuses: keys. A signature is checked by the
 * caller's callback, over the hash that pbft_statement() gives.
 */
#ifndef LEDGER_PBFT_VOTE_H
#define LEDGER_PBFT_VOTE_H

#include "base/bytes.h"
#include "base/hash.h"

enum {
    PBFT_VALIDATORS_MAX = 100,
    PBFT_SIGNATURE_BYTES = 64,
    PBFT_HEADER_BYTES_MAX = 1024,
    /* 60 bytes before the signatures, 66 a signature (docs/formats.md). */
    PBFT_CERTIFICATE_BYTES_MAX = 60 + 66 * PBFT_VALIDATORS_MAX,
    PBFT_EVIDENCE_BYTES = 252,
};

/* A view above this is refused wherever it comes from, so that no addition can overflow. */
#define PBFT_VIEW_MAX   (UINT64_C(1) << 62)
#define PBFT_HEIGHT_MAX (UINT64_C(1) << 62)

/* f: how many faulty validators n of them tolerate; 0 for n < 4. */
uint32_t pbft_faults(uint32_t n);
/* Q = ceil((n + f + 1) / 2): any two sets of Q share an honest validator, and n - f >= Q. */
uint32_t pbft_quorum(uint32_t n);

/* The type byte of every message and of every signed statement. */
enum pbft_type {
    PBFT_PROPOSE = 1,
    PBFT_PREPARE = 2,
    PBFT_COMMIT = 3,
    PBFT_VIEW_CHANGE = 4,
    PBFT_NEW_VIEW = 5,
    PBFT_STATUS = 6,
};

/* Signatures count for one chain in one epoch only. */
struct pbft_domain {
    struct hash chain;
    uint64_t epoch;
};

/* What PROPOSE, PREPARE and COMMIT sign. */
struct pbft_ballot {
    enum pbft_type type;
    uint64_t view;
    uint64_t height;
    struct hash digest; /* the block's hash */
};

/* SHA-256("renkei/vote/1\n" || chain || epoch || type || body): the hash that is signed. */
struct hash pbft_statement(const struct pbft_domain *domain, enum pbft_type type,
                           struct bytes body);
/* The same for a ballot; body = view || height || digest. */
struct hash pbft_ballot_statement(const struct pbft_domain *domain,
                                  const struct pbft_ballot *ballot);

/* The hash of a block: SHA-256("renkei/block/1\n" || header). */
struct hash pbft_block_digest(struct bytes header);

struct pbft_seal {
    uint16_t signer; /* index in the epoch's validator list */
    uint8_t signature[PBFT_SIGNATURE_BYTES];
};

/* seals are strictly ascending by signer. */
struct pbft_certificate {
    struct pbft_ballot ballot; /* type PBFT_PREPARE or PBFT_COMMIT */
    uint64_t epoch;
    uint32_t seal_count;
    struct pbft_seal seals[PBFT_VALIDATORS_MAX];
};

/* True where `signature` is validator `signer`'s over `statement`. Pure: same answer every time. */
typedef bool (*pbft_verify_fn)(void *context, uint32_t signer, const struct hash *statement,
                               const uint8_t signature[PBFT_SIGNATURE_BYTES]);

/* Appends the canonical bytes. */
void pbft_certificate_encode(const struct pbft_certificate *certificate, struct buffer *out);
/* Accepts exactly what encode writes. ERROR_PROTOCOL otherwise. Signatures are not looked at. */
MUST_CHECK enum error_code pbft_certificate_decode(struct bytes input,
                                                   struct pbft_certificate *ret_certificate,
                                                   struct error *err);
/* Checks the epoch, that at least Q of n validators signed, and every signature. What the
 * certificate speaks of (type, height, digest) is the caller's to compare. ERROR_VERIFY. */
MUST_CHECK enum error_code pbft_certificate_verify(const struct pbft_certificate *certificate,
                                                   const struct pbft_domain *domain, uint32_t n,
                                                   pbft_verify_fn verify, void *context,
                                                   struct error *err);

/* Equivocation: two ballots of one signer, same type, view and height, different digest. No honest
 * validator ever signs both, over all its lives. The bytes say all that was signed, the chain and the
 * epoch too, so that a stranger needs only the list of validators of that epoch to check them. */
struct pbft_evidence {
    struct pbft_domain domain;
    uint16_t signer; /* index in the list of domain.epoch */
    struct pbft_ballot ballots[2]; /* the smaller digest first */
    uint8_t signatures[2][PBFT_SIGNATURE_BYTES];
};

void pbft_evidence_encode(const struct pbft_evidence *evidence, struct buffer *out);
MUST_CHECK enum error_code pbft_evidence_decode(struct bytes input,
                                                struct pbft_evidence *ret_evidence,
                                                struct error *err);
/* As pbft_verify_fn, for a validator of the list of `epoch`; false where it has no such signer, or
 * where that epoch is not (any more) known. */
typedef bool (*pbft_epoch_verify_fn)(void *context, uint64_t epoch, uint32_t signer,
                                     const struct hash *statement,
                                     const uint8_t signature[PBFT_SIGNATURE_BYTES]);
/* All there is to check: the layout, that it speaks of this chain, that the two ballots contradict
 * each other, and both signatures. Pure, so that every executor judges alike. ERROR_PROTOCOL for the
 * layout, ERROR_VERIFY otherwise. */
MUST_CHECK enum error_code pbft_evidence_check(struct bytes input, const struct hash *chain,
                                               pbft_epoch_verify_fn verify, void *context,
                                               struct pbft_evidence *ret_evidence,
                                               struct error *err);

#endif
