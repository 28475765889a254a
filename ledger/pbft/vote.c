#include "ledger/pbft/vote.h"

#include <assert.h>

#include "base/wire.h"

enum {
    CERTIFICATE_VERSION = 1,
    EVIDENCE_VERSION = 1,
    SEAL_BYTES = 2 + PBFT_SIGNATURE_BYTES,
    BALLOT_BODY_BYTES = 8 + 8 + HASH_BYTES,
};

_Static_assert(1 + 1 + HASH_BYTES + 8 + 2 + 8 + 8 + 2 * (HASH_BYTES + PBFT_SIGNATURE_BYTES) ==
                   PBFT_EVIDENCE_BYTES,
               "the layout of evidence");

uint32_t pbft_faults(uint32_t n) {
    assert(n >= 1);
    return (n - 1) / 3;
}

uint32_t pbft_quorum(uint32_t n) {
    return (n + pbft_faults(n) + 1 + 1) / 2;
}

struct hash pbft_statement(const struct pbft_domain *domain, enum pbft_type type,
                           struct bytes body) {
    uint8_t epoch[8];
    wire_store_u64(epoch, domain->epoch);
    uint8_t type_byte = (uint8_t)type;
    struct bytes parts[] = {
        BYTES_LITERAL("renkei/vote/1\n"), hash_bytes(&domain->chain), bytes_of(epoch, sizeof epoch),
        bytes_of(&type_byte, 1),          body,
    };
    return sha256_of_parts(parts, sizeof parts / sizeof parts[0]);
}

struct hash pbft_ballot_statement(const struct pbft_domain *domain,
                                  const struct pbft_ballot *ballot) {
    uint8_t body[BALLOT_BODY_BYTES];
    wire_store_u64(body, ballot->view);
    wire_store_u64(body + 8, ballot->height);
    memcpy(body + 16, ballot->digest.byte, HASH_BYTES);
    return pbft_statement(domain, ballot->type, bytes_of(body, sizeof body));
}

struct hash pbft_block_digest(struct bytes header) {
    struct bytes parts[] = {BYTES_LITERAL("renkei/block/1\n"), header};
    return sha256_of_parts(parts, 2);
}

void pbft_certificate_encode(const struct pbft_certificate *certificate, struct buffer *out) {
    assert(certificate->seal_count <= PBFT_VALIDATORS_MAX);
    wire_u8(out, CERTIFICATE_VERSION);
    wire_u8(out, (uint8_t)certificate->ballot.type);
    wire_u64(out, certificate->epoch);
    wire_u64(out, certificate->ballot.view);
    wire_u64(out, certificate->ballot.height);
    wire_fixed(out, certificate->ballot.digest.byte, HASH_BYTES);
    wire_u16(out, (uint16_t)certificate->seal_count);
    for (uint32_t i = 0; i < certificate->seal_count; i++) {
        wire_u16(out, certificate->seals[i].signer);
        wire_fixed(out, certificate->seals[i].signature, PBFT_SIGNATURE_BYTES);
    }
}

static enum error_code certificate_refuse(struct error *err, const char *what) {
    return error_set(err, ERROR_PROTOCOL, "certificate: %s", what);
}

enum error_code pbft_certificate_decode(struct bytes input,
                                        struct pbft_certificate *ret_certificate,
                                        struct error *err) {
    struct wire_reader r = wire_reader(input);
    struct pbft_certificate c;
    uint8_t version = wire_read_u8(&r);
    uint8_t type = wire_read_u8(&r);
    c.epoch = wire_read_u64(&r);
    c.ballot.view = wire_read_u64(&r);
    c.ballot.height = wire_read_u64(&r);
    wire_read_fixed(&r, c.ballot.digest.byte, HASH_BYTES);
    c.seal_count = wire_read_u16(&r);
    if (r.failed || version != CERTIFICATE_VERSION)
        return certificate_refuse(err, "not of format version 1");
    if (type != PBFT_PREPARE && type != PBFT_COMMIT)
        return certificate_refuse(err, "its type is neither prepare nor commit");
    c.ballot.type = (enum pbft_type)type;
    if (c.ballot.view > PBFT_VIEW_MAX || c.ballot.height > PBFT_HEIGHT_MAX)
        return certificate_refuse(err, "its view or height is out of range");
    if (c.seal_count > PBFT_VALIDATORS_MAX ||
        wire_read_left(&r) != (size_t)c.seal_count * SEAL_BYTES)
        return certificate_refuse(err, "its length does not fit its number of signatures");
    for (uint32_t i = 0; i < c.seal_count; i++) {
        uint8_t signer[2];
        wire_read_fixed(&r, signer, 2);
        c.seals[i].signer = (uint16_t)(signer[0] << 8 | signer[1]);
        wire_read_fixed(&r, c.seals[i].signature, PBFT_SIGNATURE_BYTES);
        if (i > 0 && c.seals[i].signer <= c.seals[i - 1].signer)
            return certificate_refuse(err, "its signers are not in strictly ascending order");
    }
    if (!wire_read_end(&r))
        return certificate_refuse(err, "bytes stand after its end");
    *ret_certificate = c;
    return ERROR_NONE;
}

enum error_code pbft_certificate_verify(const struct pbft_certificate *certificate,
                                        const struct pbft_domain *domain, uint32_t n,
                                        pbft_verify_fn verify, void *context, struct error *err) {
    assert(n >= 1);
    assert(n <= PBFT_VALIDATORS_MAX);
    const struct pbft_certificate *c = certificate;
    if (c->epoch != domain->epoch)
        return error_set(err, ERROR_VERIFY,
                         "certificate of height %llu: found epoch %llu, expected %llu",
                         (unsigned long long)c->ballot.height, (unsigned long long)c->epoch,
                         (unsigned long long)domain->epoch);
    if (c->seal_count < pbft_quorum(n))
        return error_set(err, ERROR_VERIFY,
                         "certificate of height %llu: found %u signatures, expected at least %u "
                         "of %u",
                         (unsigned long long)c->ballot.height, c->seal_count, pbft_quorum(n), n);
    struct hash statement = pbft_ballot_statement(domain, &c->ballot);
    for (uint32_t i = 0; i < c->seal_count; i++) {
        const struct pbft_seal *seal = &c->seals[i];
        /* Ascending order is looked at again: a caller may have filled the struct by hand, and a
         * signer who is counted twice would halve the quorum. */
        if (seal->signer >= n || (i > 0 && seal->signer <= c->seals[i - 1].signer))
            return error_set(err, ERROR_VERIFY,
                             "certificate of height %llu: signer %u is not in its place",
                             (unsigned long long)c->ballot.height, seal->signer);
        if (!verify(context, seal->signer, &statement, seal->signature))
            return error_set(err, ERROR_VERIFY,
                             "certificate of height %llu: the signature of validator %u is wrong",
                             (unsigned long long)c->ballot.height, seal->signer);
    }
    return ERROR_NONE;
}

void pbft_evidence_encode(const struct pbft_evidence *evidence, struct buffer *out) {
    const struct pbft_evidence *e = evidence;
    wire_u8(out, EVIDENCE_VERSION);
    wire_u8(out, (uint8_t)e->ballots[0].type);
    wire_fixed(out, e->domain.chain.byte, HASH_BYTES);
    wire_u64(out, e->domain.epoch);
    wire_u16(out, e->signer);
    wire_u64(out, e->ballots[0].view);
    wire_u64(out, e->ballots[0].height);
    for (int i = 0; i < 2; i++) {
        wire_fixed(out, e->ballots[i].digest.byte, HASH_BYTES);
        wire_fixed(out, e->signatures[i], PBFT_SIGNATURE_BYTES);
    }
}

enum error_code pbft_evidence_decode(struct bytes input, struct pbft_evidence *ret_evidence,
                                     struct error *err) {
    struct wire_reader r = wire_reader(input);
    struct pbft_evidence e;
    uint8_t version = wire_read_u8(&r);
    uint8_t type = wire_read_u8(&r);
    wire_read_fixed(&r, e.domain.chain.byte, HASH_BYTES);
    e.domain.epoch = wire_read_u64(&r);
    e.signer = wire_read_u16(&r);
    uint64_t view = wire_read_u64(&r);
    uint64_t height = wire_read_u64(&r);
    for (int i = 0; i < 2; i++) {
        e.ballots[i].type = (enum pbft_type)type;
        e.ballots[i].view = view;
        e.ballots[i].height = height;
        wire_read_fixed(&r, e.ballots[i].digest.byte, HASH_BYTES);
        wire_read_fixed(&r, e.signatures[i], PBFT_SIGNATURE_BYTES);
    }
    if (!wire_read_end(&r) || version != EVIDENCE_VERSION)
        return error_set(err, ERROR_PROTOCOL, "evidence: not of format version 1");
    if (type != PBFT_PROPOSE && type != PBFT_PREPARE && type != PBFT_COMMIT)
        return error_set(err, ERROR_PROTOCOL, "evidence: type %u is no ballot", type);
    if (view > PBFT_VIEW_MAX || height > PBFT_HEIGHT_MAX)
        return error_set(err, ERROR_PROTOCOL, "evidence: its view or height is out of range");
    if (memcmp(e.ballots[0].digest.byte, e.ballots[1].digest.byte, HASH_BYTES) >= 0)
        return error_set(err, ERROR_PROTOCOL,
                         "evidence: its two digests are not in ascending order");
    *ret_evidence = e;
    return ERROR_NONE;
}

enum error_code pbft_evidence_check(struct bytes input, const struct hash *chain,
                                    pbft_epoch_verify_fn verify, void *context,
                                    struct pbft_evidence *ret_evidence, struct error *err) {
    struct pbft_evidence e;
    TRY(pbft_evidence_decode(input, &e, err));
    if (!hash_equal(&e.domain.chain, chain))
        return error_set(err, ERROR_VERIFY, "evidence: it speaks of another chain");
    /* One type, view and height stand in the layout for both, and the digests are in strictly
     * ascending order: what decodes is a contradiction. */
    for (int i = 0; i < 2; i++) {
        struct hash statement = pbft_ballot_statement(&e.domain, &e.ballots[i]);
        if (!verify(context, e.domain.epoch, e.signer, &statement, e.signatures[i]))
            return error_set(err, ERROR_VERIFY,
                             "evidence: signature %d is not that of validator %u of epoch %llu",
                             i + 1, e.signer, (unsigned long long)e.domain.epoch);
    }
    *ret_evidence = e;
    return ERROR_NONE;
}
