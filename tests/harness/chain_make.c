/*
 * Makes a long chain quickly: real blocks, executed, certified by the validators' own keys and
 * stored by the node's own code, without agreement and without waiting.
 *
 *   chain_make chain GENESIS DATA notes|leaves COUNT EACH SUBMITTER_KEY VOTE_KEY...
 *   chain_make votes GENESIS DATA VOTE_KEY
 *
 * "chain" appends COUNT blocks to the data folder, each with one transaction of the submitter: a
 * note of EACH bytes, or an anchor of EACH new leaves; the block times end at about now. "votes"
 * makes the vote log that a validator needs beside such a folder. Locators are counted, so that a
 * test can name them: SHA-256("locator" || log number as u64), its first 16 bytes.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/wire.h"
#include "ledger/application.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"
#include "ledger/store/votes.h"

enum { SYNC_EVERY = 1000 };

struct maker {
    struct genesis *genesis;
    struct chain *chain;
    struct pool *pool;
    struct ledger_signer *submitter;
    uint32_t submitter_index;
    struct ledger_signer *voters[GENESIS_VALIDATORS_MAX]; /* by their index; NULL: not given */
    bool notes;
    uint32_t each;
    uint64_t log_number;
    uint64_t time_ms;
    struct leaf *leaves;
};

static void check(enum error_code code, const struct error *err) {
    if (code == ERROR_NONE)
        return;
    (void)fprintf(stderr, "chain_make: %s\n", err->message);
    exit(EXIT_FAILURE);
}

static void name_locator(uint64_t number, struct locator *ret_locator) {
    uint8_t raw[15] = "locator";
    wire_store_u64(raw + 7, number);
    struct hash hash = sha256_of(bytes_of(raw, sizeof raw));
    memcpy(ret_locator->byte, hash.byte, LOCATOR_BYTES);
}

static void make_leaves(struct maker *m) {
    for (uint32_t i = 0; i < m->each; i++) {
        struct leaf *leaf = &m->leaves[i];
        *leaf = (struct leaf){.operation = LEAF_CREATE, .origin = LEAF_DECLARED, .version = 1};
        name_locator(m->log_number + i, &leaf->locator);
        wire_store_u64(leaf->content.byte, m->log_number + i + 1);
        wire_store_u64(leaf->raw.byte, m->log_number + i + 1);
        leaf->mapping.byte[0] = 1;
    }
}

static void submit(struct maker *m, uint64_t sequence) {
    struct error err;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    if (m->notes) {
        uint8_t note[NOTE_BYTES_MAX] = {0};
        wire_store_u64(note, sequence);
        check(ledger_build_note(m->submitter, &m->genesis->chain, sequence, m->time_ms,
                                bytes_of(note, m->each), &out, &err), &err);
    } else {
        make_leaves(m);
        struct ledger_anchor anchor = {
            .batch = sequence, .leaves = m->leaves, .leaf_count = m->each};
        check(ledger_build_anchor(m->submitter, &m->genesis->chain, sequence, m->time_ms, &anchor,
                                  &out, &err), &err);
    }
    struct checked_transaction *checked = NULL;
    check(application_check(m->chain, buffer_bytes(&out), &checked, &err), &err);
    struct pool_entry *entry = NULL;
    if (pool_add(m->pool, checked, 0, 0, &entry) != POOL_ADDED)
        exit(EXIT_FAILURE);
}

static void certify(const struct maker *m, uint64_t height, const struct hash *hash,
                    struct buffer *ret_certificate) {
    struct pbft_domain domain = {m->genesis->chain, 0};
    struct pbft_certificate *certificate = calloc(1, sizeof *certificate);
    if (certificate == NULL)
        abort();
    certificate->ballot = (struct pbft_ballot){PBFT_COMMIT, 0, height, *hash};
    struct hash statement = pbft_ballot_statement(&domain, &certificate->ballot);
    for (uint32_t i = 0; i < m->genesis->validator_count; i++) {
        if (m->voters[i] == NULL)
            continue;
        struct pbft_seal *seal = &certificate->seals[certificate->seal_count++];
        seal->signer = (uint16_t)i;
        ledger_signer_sign(m->voters[i], &statement, seal->signature);
    }
    pbft_certificate_encode(certificate, ret_certificate);
    free(certificate);
}

/* As the node does it, but on this thread. */
static void flush_if_due(const struct maker *m, bool now) {
    struct error err;
    struct store *store = chain_store(m->chain);
    if (!now && !store_flush_due(store))
        return;
    store_flush_start(store);
    check(store_flush_run(store, &err), &err);
    store_flush_finish(store);
}

static void make_block(struct maker *m, uint64_t sequence) {
    struct error err;
    struct hash hash;
    struct bytes block;
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&certificate, PBFT_CERTIFICATE_BYTES_MAX);
    submit(m, sequence);
    check(application_prepare(m->chain, m->pool, m->time_ms, &hash, &block, &err), &err);
    struct application_result result;
    check(application_finalize(m->chain, m->pool, block, &result, &err), &err);
    certify(m, chain_height(m->chain) + 1, &hash, &certificate);
    check(application_commit(m->chain, buffer_bytes(&certificate), NULL, &err), &err);
    pool_advance(m->pool, m->submitter_index, sequence + 1);
    m->log_number = chain_head(m->chain)->log_size;
    flush_if_due(m, false);
}

static void open_maker(struct maker *m, int argc, char **argv) {
    struct error err;
    uint64_t each = 0;
    uint8_t key[SIGNER_KEY_BYTES];
    check(genesis_load(argv[2], &m->genesis, &err), &err);
    check(application_open(m->genesis, argv[3], NULL, NULL, &m->chain, &err), &err);
    check(ledger_signer_load(argv[7], &m->submitter, &err), &err);
    m->pool = pool_new(chain_members(m->chain));
    m->notes = strcmp(argv[4], "notes") == 0;
    if (!text_u64(argv[6], &each) || each == 0 || each > ANCHOR_LEAVES_MAX)
        exit(EXIT_FAILURE);
    m->each = (uint32_t)each;
    m->leaves = calloc(m->each, sizeof *m->leaves);
    ledger_signer_public(m->submitter, key);
    int submitter = genesis_submitter_by_key(m->genesis, key);
    if (submitter < 0 || m->leaves == NULL)
        exit(EXIT_FAILURE);
    m->submitter_index = (uint32_t)submitter;
    for (int i = 8; i < argc; i++) {
        struct ledger_signer *voter = NULL;
        check(ledger_signer_load(argv[i], &voter, &err), &err);
        ledger_signer_public(voter, key);
        int at = genesis_validator_by_key(m->genesis, key);
        if (at < 0)
            exit(EXIT_FAILURE);
        m->voters[at] = voter;
    }
}

static int make_chain(int argc, char **argv) {
    struct error err;
    struct maker m = {0};
    uint64_t count = 0;
    struct state_submitter submitter;
    uint8_t key[SIGNER_KEY_BYTES];
    if (argc < 9 || !text_u64(argv[5], &count))
        return EXIT_FAILURE;
    open_maker(&m, argc, argv);
    ledger_signer_public(m.submitter, key);
    check(chain_submitter(m.chain, key, &submitter, &err), &err);
    pool_advance(m.pool, m.submitter_index, submitter.next_sequence);
    m.log_number = chain_head(m.chain)->log_size;
    uint64_t now_ms = clock_wall_ms();
    for (uint64_t i = 0; i < count; i++) {
        m.time_ms = now_ms - (count - i); /* never in the future, and ending now */
        make_block(&m, submitter.next_sequence + i);
        if (i % SYNC_EVERY == 0)
            check(store_sync(chain_store(m.chain), &err), &err);
    }
    check(store_sync(chain_store(m.chain), &err), &err);
    flush_if_due(&m, true);
    (void)printf("{\"height\": %llu, \"leaves\": %llu}\n",
                 (unsigned long long)chain_height(m.chain),
                 (unsigned long long)chain_head(m.chain)->log_size);
    for (uint32_t i = 0; i < GENESIS_VALIDATORS_MAX; i++)
        ledger_signer_free(m.voters[i]);
    ledger_signer_free(m.submitter);
    free(m.leaves);
    pool_free(m.pool);
    application_close(m.chain);
    genesis_free(m.genesis);
    return EXIT_SUCCESS;
}

/* A log that ends below the blocks would be taken for an older one that was put back. */
static void add_last_certificate(struct votes *votes, const char *genesis_path,
                                 const char *folder) {
    struct error err;
    struct genesis *genesis = NULL;
    struct store *store = NULL;
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&certificate, PBFT_CERTIFICATE_BYTES_MAX);
    check(genesis_load(genesis_path, &genesis, &err), &err);
    check(store_open(folder, &genesis->chain, &store, &err), &err);
    check(store_read(store, store_height(store), NULL, &certificate, &err), &err);
    votes_add(votes, VOTES_COMMITTED, buffer_bytes(&certificate));
    store_close(store);
    genesis_free(genesis);
}

static int make_votes(char **argv) {
    struct error err;
    struct ledger_signer *voter = NULL;
    struct votes *votes = NULL;
    const struct votes_entry *entries = NULL;
    size_t count = 0;
    uint8_t key[SIGNER_KEY_BYTES];
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/votes", argv[3]) >= (int)sizeof path)
        return EXIT_FAILURE;
    check(ledger_signer_load(argv[4], &voter, &err), &err);
    ledger_signer_public(voter, key);
    ledger_signer_free(voter);
    check(votes_open(path, &votes, &entries, &count, &err), &err);
    votes_add(votes, VOTES_IDENTITY, bytes_of(key, sizeof key));
    add_last_certificate(votes, argv[2], argv[3]);
    check(votes_sync(votes, &err), &err);
    votes_close(votes);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    if (argc >= 2 && strcmp(argv[1], "chain") == 0)
        return make_chain(argc, argv);
    if (argc == 5 && strcmp(argv[1], "votes") == 0)
        return make_votes(argv);
    (void)fprintf(stderr, "usage: chain_make chain GENESIS DATA notes|leaves COUNT EACH "
                          "SUBMITTER_KEY VOTE_KEY...\n"
                          "       chain_make votes GENESIS DATA VOTE_KEY\n");
    return EXIT_FAILURE;
}
