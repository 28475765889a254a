/* Every decoder of the ledger's stored and signed formats; the first byte chooses which. Where a
 * format has an encoder, what was accepted must be encoded to the same bytes. */
#include <stdint.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/anchor.h"
#include "ledger/block.h"
#include "ledger/checkpoint.h"
#include "ledger/genesis.h"
#include "ledger/members.h"
#include "ledger/pbft/vote.h"
#include "ledger/people.h"
#include "ledger/transaction.h"
#include "ledger/trust.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_anchor(struct bytes input) {
    struct anchor anchor;
    struct error err;
    if (anchor_decode(input, &anchor, &err) != ERROR_NONE)
        return;
    struct anchor_cursor cursor = anchor_cursor(&anchor);
    struct leaf leaf;
    uint32_t count = 0;
    while (anchor_next(&cursor, &leaf)) {
        uint8_t raw[LEAF_BYTES];
        struct leaf again;
        REQUIRE(leaf_check(&leaf, &err) == ERROR_NONE);
        leaf_encode(&leaf, raw);
        REQUIRE(leaf_decode(raw, &again, &err) == ERROR_NONE);
        count++;
    }
    REQUIRE(count == anchor.leaf_count && count >= 1 && count <= ANCHOR_LEAVES_MAX);
    REQUIRE(anchor.slots.len == (size_t)anchor.slot_bytes * count);
    static struct hash hashes[ANCHOR_LEAVES_MAX];
    (void)!anchor_hashes(&anchor, hashes, &err);
}

static void try_transaction(struct bytes input) {
    struct transaction tx;
    struct error err;
    if (transaction_decode(input, &tx, &err) != ERROR_NONE)
        return;
    REQUIRE(tx.body.len + tx.extensions.len < input.len);
    REQUIRE(tx.sequence > 0);
    struct leaf leaf;
    for (size_t at = TRANSACTION_BODY_AT; at < input.len && at < 400; at += 7)
        (void)!anchor_leaf_at(input, bytes_of(input.data + at, input.len - at), &leaf, &err);
    if (tx.type == TRANSACTION_ANCHOR)
        try_anchor(tx.body);
}

static void try_block(struct bytes input) {
    struct block block;
    struct error err;
    if (block_decode(input, &block, &err) != ERROR_NONE)
        return;
    uint8_t header[BLOCK_HEADER_BYTES];
    block_header_encode(&block.header, header);
    REQUIRE(memcmp(header, input.data, sizeof header) == 0);
    struct block_cursor cursor = block_cursor(&block);
    struct bytes transaction;
    enum transaction_status status;
    uint32_t count = 0;
    while (block_next(&cursor, &transaction, &status))
        count++;
    REQUIRE(count == block.header.transaction_count);
    (void)block_entries_fit(input);
}

static void try_incident(struct bytes input) {
    struct incident incident;
    struct error err;
    if (incident_decode(input, &incident, &err) != ERROR_NONE)
        return;
    uint8_t again[INCIDENT_BYTES];
    incident_encode(&incident, again);
    REQUIRE(input.len == sizeof again && memcmp(again, input.data, sizeof again) == 0);
}

static void try_people(struct bytes input) {
    struct person person;
    struct permission permission;
    struct query query;
    struct error err;
    uint8_t again[PERMISSION_BYTES];
    if (person_decode(input, &person, &err) == ERROR_NONE) {
        person_encode(&person, again);
        REQUIRE(bytes_equal(bytes_of(again, PERSON_BYTES), input));
    }
    if (permission_decode(input, &permission, &err) == ERROR_NONE) {
        permission_encode(&permission, again);
        REQUIRE(bytes_equal(bytes_of(again, PERMISSION_BYTES), input));
    }
    if (query_decode(input, &query, &err) == ERROR_NONE) {
        SCOPED_BUFFER struct buffer bytes;
        buffer_init(&bytes, QUERY_BYTES_MAX);
        query_encode(&query, &bytes);
        REQUIRE(bytes_equal(buffer_bytes(&bytes), input));
    }
}

static void try_genesis(struct bytes input) {
    struct genesis *genesis = NULL;
    struct genesis *again = NULL;
    struct error err;
    if (genesis_parse(input, &genesis, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    REQUIRE(genesis_write(genesis, &text, &err) == ERROR_NONE);
    REQUIRE(genesis_parse(buffer_bytes(&text), &again, &err) == ERROR_NONE);
    struct members *first = members_of_genesis(genesis);
    struct members *second = members_of_genesis(again);
    second->chain = first->chain; /* the bytes differ in their white space */
    members_seal(second);
    REQUIRE(hash_equal(&first->hash, &second->hash));
    members_free(first);
    members_free(second);
    REQUIRE(genesis->submitter_count == again->submitter_count);
    genesis_free(genesis);
    genesis_free(again);
}

static bool any_signature(void *context, uint32_t signer, const struct hash *statement,
                          const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    (void)context;
    (void)statement;
    REQUIRE(signer < 4);
    return signature[0] != 1;
}

static void try_certificate(struct bytes input) {
    struct pbft_certificate certificate;
    struct pbft_domain domain = {0};
    struct error err;
    if (pbft_certificate_decode(input, &certificate, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, PBFT_CERTIFICATE_BYTES_MAX);
    pbft_certificate_encode(&certificate, &again);
    REQUIRE(bytes_equal(buffer_bytes(&again), input));
    if (pbft_certificate_verify(&certificate, &domain, 4, any_signature, NULL, &err) == ERROR_NONE)
        REQUIRE(certificate.seal_count >= 3 && certificate.seal_count <= 4);
}

static bool any_in_epoch(void *context, uint64_t epoch, uint32_t signer,
                         const struct hash *statement, const uint8_t *signature) {
    return epoch < 4 && signer < 4 && any_signature(context, signer, statement, signature);
}

static void try_evidence(struct bytes input) {
    struct pbft_evidence evidence;
    struct error err;
    if (pbft_evidence_decode(input, &evidence, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, PBFT_EVIDENCE_BYTES);
    pbft_evidence_encode(&evidence, &again);
    REQUIRE(bytes_equal(buffer_bytes(&again), input));
    struct hash chain = {{0}};
    (void)!pbft_evidence_check(input, &chain, any_in_epoch, NULL, &evidence, &err);
}

static void try_members(struct bytes input) {
    struct members *members = NULL;
    struct error err;
    if (members_decode(input, &members, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, MEMBERS_BYTES_MAX);
    members_encode(members, &again);
    REQUIRE(bytes_equal(buffer_bytes(&again), input));
    members_free(members);
}

/* Whatever the change, the list that comes of it is one that others can read, and never empty. */
static void try_change(struct bytes input) {
    static struct genesis_validator validators[4];
    static struct genesis genesis = {.validators = validators, .validator_count = 4};
    struct change change;
    struct members *next = NULL;
    struct error err;
    if (change_decode(input, &change, &err) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, CHANGE_BYTES_MAX);
    REQUIRE(change_encode(&change, &again, &err) == ERROR_NONE);
    REQUIRE(bytes_equal(buffer_bytes(&again), input));
    for (uint8_t i = 0; i < 4; i++) {
        validators[i].name[0] = (char)('a' + i);
        memcpy(validators[i].address, "a:1", 4);
        validators[i].vote_key[0] = validators[i].tls_pin.byte[0] = i + 1;
    }
    struct members *members = members_of_genesis(&genesis);
    REQUIRE(change_check_signatures(&change, members, &err) != ERROR_NONE);
    if (members_change(members, &change, &next, &err) == ERROR_NONE) {
        buffer_done(&again);
        buffer_init(&again, MEMBERS_BYTES_MAX);
        members_encode(next, &again);
        REQUIRE(next->epoch == 1 && next->validator_count > 0);
        try_members(buffer_bytes(&again));
        members_free(next);
    }
    members_free(members);
}

/* Without keys nothing is ever proven, whatever the bytes: header, certificate, list. */
static void try_trust(struct bytes input) {
    static struct genesis_validator validators[4];
    static struct genesis genesis = {.validators = validators, .validator_count = 4};
    struct wire_reader r = wire_reader(input);
    struct block_header header;
    struct error err;
    struct bytes raw = wire_read_raw(&r, BLOCK_HEADER_BYTES);
    struct bytes certificate = wire_read_bytes(&r, PBFT_CERTIFICATE_BYTES_MAX);
    struct bytes list = wire_read_bytes(&r, MEMBERS_BYTES_MAX);
    if (r.failed || block_header_decode(raw, &header, &err) != ERROR_NONE)
        return;
    genesis.chain = header.chain;
    for (uint8_t i = 0; i < 4; i++)
        validators[i].vote_key[0] = i + 1;
    struct trust *trust = trust_new(&genesis);
    REQUIRE(trust_next(trust, &header, certificate, list, &err) != ERROR_NONE);
    trust_free(trust);
}

/* What is proven was laid out well. */
static void try_checkpoint(struct bytes input) {
    struct block_header head;
    struct block_header proven;
    struct error err;
    bool whole = checkpoint_decode(input, &head, &err) == ERROR_NONE;
    if (checkpoint_prove(input, &proven, &err) != ERROR_NONE)
        return;
    struct hash read = block_hash(&head);
    struct hash again = block_hash(&proven);
    REQUIRE(whole && proven.height > 0 && hash_equal(&read, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const TRY_ONE[])(struct bytes input) = {
        try_transaction, try_block,       try_anchor,   try_incident,
        try_genesis,     try_certificate, try_evidence, try_members,
        try_change,      try_trust,       try_checkpoint, try_people,
    };
    if (size == 0)
        return 0;
    TRY_ONE[data[0] % (sizeof TRY_ONE / sizeof *TRY_ONE)](bytes_of(data + 1, size - 1));
    return 0;
}
