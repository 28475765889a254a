#include "ledger/trust.h"

#include <stdlib.h>
#include <string.h>

#include "ledger/members.h"
#include "ledger/signer.h"

struct voters {
    uint32_t count;
    uint8_t (*keys)[GENESIS_KEY_BYTES];
};

struct trust {
    struct hash chain;
    struct hash genesis_hash; /* of the header that stands for it */
    struct voters *epochs;
    size_t count;
    size_t capacity;
    struct members *last;
};

static void *must(void *memory) {
    if (memory == NULL)
        abort();
    return memory;
}

/* Takes the list over. */
static void add(struct trust *trust, struct members *members) {
    if (trust->count == trust->capacity) {
        trust->capacity = trust->capacity == 0 ? 8 : trust->capacity * 2;
        trust->epochs = must(realloc(trust->epochs, trust->capacity * sizeof *trust->epochs));
    }
    struct voters *voters = &trust->epochs[trust->count++];
    voters->count = members->validator_count;
    voters->keys = must(calloc(voters->count, sizeof *voters->keys));
    for (uint32_t i = 0; i < voters->count; i++)
        memcpy(voters->keys[i], members->validators[i].vote_key, GENESIS_KEY_BYTES);
    members_free(trust->last);
    trust->last = members;
}

struct trust *trust_new(const struct genesis *genesis) {
    struct trust *trust = must(calloc(1, sizeof *trust));
    struct members *members = members_of_genesis(genesis);
    struct block_header header;
    block_genesis_header(genesis, members, &header);
    trust->chain = genesis->chain;
    trust->genesis_hash = block_hash(&header);
    add(trust, members);
    return trust;
}

void trust_free(struct trust *trust) {
    if (trust == NULL)
        return;
    for (size_t i = 0; i < trust->count; i++)
        free(trust->epochs[i].keys);
    free(trust->epochs);
    members_free(trust->last);
    free(trust);
}

const struct members *trust_members(const struct trust *trust) {
    return trust->last;
}

uint64_t trust_epoch(const struct trust *trust) {
    return trust->count - 1;
}

uint32_t trust_validator_count(const struct trust *trust) {
    return trust->epochs[trust->count - 1].count;
}

static bool verify_vote(void *context, uint32_t signer, const struct hash *statement,
                        const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    const struct voters *voters = context;
    return signer < voters->count && signature_valid(voters->keys[signer], statement, signature);
}

/* The header that stands for the genesis needs no certificate: it is what we trust. */
static bool is_genesis(const struct trust *trust, const struct block_header *header) {
    struct hash hash = block_hash(header);
    return hash_equal(&hash, &trust->genesis_hash);
}

enum error_code trust_fits(const struct trust *trust, const struct block_header *header,
                           struct bytes certificate, struct pbft_certificate *ret_certificate,
                           struct error *err) {
    struct pbft_certificate c = {.seal_count = 0};
    struct hash hash = block_hash(header);
    if (!is_genesis(trust, header)) {
        if (!hash_equal(&header->chain, &trust->chain))
            return error_set(err, ERROR_VERIFY, "block %llu: it is of another chain",
                             (unsigned long long)header->height);
        TRY(pbft_certificate_decode(certificate, &c, err));
        if (c.ballot.type != PBFT_COMMIT || c.ballot.height != header->height ||
            c.epoch != header->epoch || !hash_equal(&c.ballot.digest, &hash))
            return error_set(err, ERROR_VERIFY, "block %llu: its certificate is of another block",
                             (unsigned long long)header->height);
    }
    *ret_certificate = c;
    return ERROR_NONE;
}

enum error_code trust_check(const struct trust *trust, const struct block_header *header,
                            struct bytes certificate, struct pbft_certificate *ret_certificate,
                            struct error *err) {
    struct pbft_certificate c;
    TRY(trust_fits(trust, header, certificate, &c, err));
    if (!is_genesis(trust, header)) {
        if (header->epoch >= trust->count)
            return error_set(err, ERROR_VERIFY, "block %llu: the members of epoch %llu are unproven",
                             (unsigned long long)header->height,
                             (unsigned long long)header->epoch);
        struct voters *voters = &trust->epochs[header->epoch];
        struct pbft_domain domain = {trust->chain, header->epoch};
        TRY(pbft_certificate_verify(&c, &domain, voters->count, verify_vote, voters, err));
    }
    if (ret_certificate != NULL)
        *ret_certificate = c;
    return ERROR_NONE;
}

enum error_code trust_next(struct trust *trust, const struct block_header *last,
                           struct bytes certificate, struct bytes list, struct error *err) {
    struct members *members = NULL;
    uint64_t epoch = trust_epoch(trust);
    if (trust->count == TRUST_EPOCHS_MAX)
        return error_set(err, ERROR_LIMIT, "members: more than %d epochs", TRUST_EPOCHS_MAX);
    if (last->height == 0 || last->epoch != epoch)
        return error_set(err, ERROR_VERIFY, "block %llu: of epoch %llu, expected %llu",
                         (unsigned long long)last->height, (unsigned long long)last->epoch,
                         (unsigned long long)epoch);
    TRY(trust_check(trust, last, certificate, NULL, err));
    TRY(members_decode(list, &members, err));
    bool fits = hash_equal(&members->hash, &last->members) && members->epoch == epoch + 1 &&
                hash_equal(&members->chain, &trust->chain);
    if (!fits) {
        members_free(members);
        return error_set(err, ERROR_VERIFY,
                         "block %llu: the list of members is not the one that it names",
                         (unsigned long long)last->height);
    }
    add(trust, members);
    return ERROR_NONE;
}
