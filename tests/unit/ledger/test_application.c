/* The application's door, driven from outside as another engine would: one that has nothing of our PBFT
 * but the certificates. Several applications in folders of their own must say the same of the same
 * decisions, whatever they executed before, over restarts, and restored from another one's chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ledger/application.h"
#include "ledger/ledger.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"
#include "ledger/store/store.h"

enum { VALIDATORS = 4, SUBMITTERS = 5, TIME_AT = 84, SEED_GATEWAY = 100, SEED_STRANGER = 200 };

/* The engine: the validators' keys, and where it lets applications work. */
struct engine {
    char folder[32];
    struct genesis_validator validators[VALIDATORS];
    struct genesis_submitter submitters[SUBMITTERS];
    struct genesis *genesis;
    struct ledger_signer *votes[VALIDATORS];
    struct ledger_signer *gateways[SUBMITTERS];
    struct ledger_signer *gateway; /* the first of them */
    uint64_t sequence;
    uint64_t time_ms;
};

/* One application under it, with the pool that stands for the engine's. */
struct app {
    struct chain *chain;
    struct pool *pool;
    char folder[64];
};

static struct ledger_signer *seeded(uint8_t number) {
    uint8_t seed[32] = {number, 7};
    struct ledger_signer *signer = NULL;
    assert_int_equal(ledger_signer_seeded(seed, &signer, NULL), ERROR_NONE);
    return signer;
}

static int make_engine_of(void **state, struct genesis_parameters parameters) {
    struct engine *e = calloc(1, sizeof *e);
    (void)snprintf(e->folder, sizeof e->folder, "/tmp/renkei-app-XXXXXX");
    assert_non_null(mkdtemp(e->folder));
    for (uint8_t i = 0; i < VALIDATORS; i++) {
        struct genesis_validator *v = &e->validators[i];
        e->votes[i] = seeded(i);
        ledger_signer_public(e->votes[i], v->vote_key);
        (void)snprintf(v->name, sizeof v->name, "node-%u", i);
        (void)snprintf(v->address, sizeof v->address, "127.0.0.1:%u", 7000u + i);
        v->tls_pin.byte[0] = i + 1;
    }
    for (uint8_t i = 0; i < SUBMITTERS; i++) {
        e->gateways[i] = seeded(SEED_GATEWAY + i);
        ledger_signer_public(e->gateways[i], e->submitters[i].key);
        (void)snprintf(e->submitters[i].name, sizeof e->submitters[i].name, "gateway-%u", i);
    }
    e->gateway = e->gateways[0];
    struct genesis plain = {.name = "engine", .created_ms = 5, .validators = e->validators,
                            .validator_count = VALIDATORS, .submitters = e->submitters,
                            .submitter_count = SUBMITTERS, .parameters = parameters};
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    assert_int_equal(genesis_write(&plain, &text, NULL), ERROR_NONE);
    assert_int_equal(genesis_parse(buffer_bytes(&text), &e->genesis, NULL), ERROR_NONE);
    e->sequence = 1;
    e->time_ms = 1000;
    *state = e;
    return 0;
}

static int make_engine(void **state) {
    return make_engine_of(state, genesis_parameters_default());
}

/* Of small blocks. */
static int make_narrow_engine(void **state) {
    struct genesis_parameters parameters = genesis_parameters_default();
    parameters.block_transactions_max = 2;
    return make_engine_of(state, parameters);
}

static int free_engine(void **state) {
    struct engine *e = *state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", e->folder);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < VALIDATORS; i++)
        ledger_signer_free(e->votes[i]);
    for (int i = 0; i < SUBMITTERS; i++)
        ledger_signer_free(e->gateways[i]);
    genesis_free(e->genesis);
    free(e);
    return 0;
}

static void app_start(const struct engine *e, struct app *app, const char *name) {
    (void)snprintf(app->folder, sizeof app->folder, "%s/%s", e->folder, name);
    assert_int_equal(file_make_folder(app->folder, 0700, NULL), ERROR_NONE);
    assert_int_equal(application_open(e->genesis, app->folder, NULL, NULL, &app->chain, NULL),
                     ERROR_NONE);
    app->pool = pool_new(chain_members(app->chain));
}

static void app_stop(struct app *app) {
    pool_free(app->pool);
    application_close(app->chain);
    *app = (struct app){.chain = NULL};
}

/* Takes a gateway's note into the application's pool; its bytes appended. */
static void offer_of(const struct engine *e, struct app *app, size_t gateway, uint64_t sequence,
                     const char *text, struct buffer *ret_bytes) {
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    assert_int_equal(ledger_build_note(e->gateways[gateway], &e->genesis->chain, sequence, 1,
                                       bytes_text(text), ret_bytes, NULL),
                     ERROR_NONE);
    assert_int_equal(application_check(app->chain, buffer_bytes(ret_bytes), &checked, NULL),
                     ERROR_NONE);
    assert_int_equal(pool_add(app->pool, checked, 0, 0, &entry), POOL_ADDED);
}

/* The first gateway's next one. */
static void offer(struct engine *e, struct app *app, const char *text, struct buffer *ret_bytes) {
    offer_of(e, app, 0, e->sequence++, text, ret_bytes);
}

/* A block of the application's pool, copied: what the engine sends around. */
static void propose(struct engine *e, struct app *app, struct buffer *ret_block) {
    struct hash hash;
    struct bytes block;
    assert_int_equal(
        application_prepare(app->chain, app->pool, e->time_ms++, &hash, &block, NULL), ERROR_NONE);
    buffer_clear(ret_block);
    buffer_append(ret_block, block.data, block.len);
}

static void certify(const struct engine *e, struct bytes block, uint32_t signatures,
                    struct buffer *ret_certificate) {
    struct block_header header;
    assert_int_equal(
        block_header_decode(bytes_of(block.data, BLOCK_HEADER_BYTES), &header, NULL), ERROR_NONE);
    struct pbft_domain domain = {e->genesis->chain, header.epoch};
    struct pbft_certificate *c = calloc(1, sizeof *c);
    c->ballot = (struct pbft_ballot){PBFT_COMMIT, 0, header.height, block_hash(&header)};
    struct hash statement = pbft_ballot_statement(&domain, &c->ballot);
    for (uint32_t i = 0; i < signatures; i++) {
        struct pbft_seal *seal = &c->seals[c->seal_count++];
        seal->signer = (uint16_t)i;
        ledger_signer_sign(e->votes[i], &statement, seal->signature);
    }
    buffer_clear(ret_certificate);
    pbft_certificate_encode(c, ret_certificate);
    free(c);
}

/* The tree that receipts are made of is that of the block which was committed, not of one that was
 * executed at its height before. */
static void assert_head_tree(const struct chain *chain, struct bytes raw) {
    struct block block;
    assert_int_equal(block_decode(raw, &block, NULL), ERROR_NONE);
    const struct block_tree *tree = chain_head_tree(chain);
    assert_non_null(tree);
    struct hash root = block_tree_root(tree);
    assert_true(hash_equal(&root, &block.header.transaction_root));
    assert_int_equal(block_tree_count(tree), block.header.transaction_count);
    struct hash *leaves = calloc((size_t)block.header.transaction_count + 1, sizeof *leaves);
    assert_int_equal(block_leaves(&block, leaves, NULL), ERROR_NONE);
    for (uint32_t i = 0; i < block.header.transaction_count; i++) {
        struct merkle_path path;
        block_tree_path(tree, i, &path);
        assert_true(merkle_verify_inclusion(&leaves[i], i, block.header.transaction_count, &path,
                                            &block.header.transaction_root));
    }
    free(leaves);
}

/* The engine decided: every application finalizes, answers the same, and commits. */
static void decide(const struct engine *e, struct app *apps, size_t count, struct bytes block) {
    struct application_result results[4];
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&certificate, PBFT_CERTIFICATE_BYTES_MAX);
    certify(e, block, 3, &certificate);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(application_finalize(apps[i].chain, NULL, block, &results[i], NULL),
                         ERROR_NONE);
        assert_true(hash_equal(&results[i].hash, &results[0].hash));
        assert_true(bytes_equal(results[i].block, block));
        assert_false(results[i].epoch_ends);
        assert_int_equal(application_commit(apps[i].chain, buffer_bytes(&certificate), NULL, NULL),
                         ERROR_NONE);
        pool_advance(apps[i].pool, 0, e->sequence);
        assert_head_tree(apps[i].chain, block);
    }
}

static void assert_same(const struct app *a, const struct app *b, uint64_t height) {
    struct application_info one;
    struct application_info other;
    application_info(a->chain, &one);
    application_info(b->chain, &other);
    assert_int_equal(one.height, height);
    assert_int_equal(other.height, height);
    assert_true(hash_equal(&one.head, &other.head));
    assert_true(hash_equal(&one.header->log_root, &other.header->log_root));
    assert_true(hash_equal(&one.members->hash, &other.members->hash));
    assert_true(bytes_equal(one.certificate, other.certificate));
}

#define BLOCK_BUFFER(name)                                                                         \
    SCOPED_BUFFER struct buffer name;                                                              \
    buffer_init(&name, BLOCK_BYTES_MAX)

static void what_is_decided_is_what_everybody_has(void **state) {
    struct engine *e = *state;
    struct app apps[2];
    BLOCK_BUFFER(bytes);
    BLOCK_BUFFER(one);
    BLOCK_BUFFER(two);
    BLOCK_BUFFER(three);
    app_start(e, &apps[0], "a");
    app_start(e, &apps[1], "b");
    assert_same(&apps[0], &apps[1], 0);

    /* Proposed by one, executed by the other, decided. */
    offer(e, &apps[0], "first", &bytes);
    propose(e, &apps[0], &one);
    assert_int_equal(application_process(apps[1].chain, NULL, buffer_bytes(&one), NULL),
                     ERROR_NONE);
    decide(e, apps, 2, buffer_bytes(&one));
    assert_same(&apps[0], &apps[1], 1);
    struct state_place place;
    bool found = false;
    struct hash id = ledger_transaction_id(buffer_bytes(&bytes));
    assert_int_equal(chain_find(apps[1].chain, &id, &place, &found, NULL), ERROR_NONE);
    assert_true(found);
    assert_int_equal(place.height, 1);

    /* Two proposals; one of them is decided, which the second application has never executed. The first
     * has even executed a block that stands on the other. */
    propose(e, &apps[1], &one); /* empty */
    application_undo(apps[1].chain, 2);
    buffer_clear(&bytes);
    offer(e, &apps[0], "second", &bytes);
    propose(e, &apps[0], &two);
    propose(e, &apps[0], &three); /* on it */
    assert_int_equal(chain_tentative(apps[0].chain), 3);
    assert_int_equal(application_process(apps[1].chain, NULL, buffer_bytes(&two), NULL),
                     ERROR_NONE);
    decide(e, apps, 2, buffer_bytes(&one));
    assert_same(&apps[0], &apps[1], 2);
    assert_int_equal(chain_tentative(apps[0].chain), 2);
    assert_int_equal(chain_tentative(apps[1].chain), 2);
    id = ledger_transaction_id(buffer_bytes(&bytes));
    assert_int_equal(chain_find(apps[0].chain, &id, &place, &found, NULL), ERROR_NONE);
    assert_false(found); /* what was given up has no effect */
    app_stop(&apps[0]);
    app_stop(&apps[1]);
}

static void what_is_invalid_is_refused_and_leaves_nothing(void **state) {
    struct engine *e = *state;
    struct app apps[2];
    struct error err;
    struct application_result result;
    BLOCK_BUFFER(bytes);
    BLOCK_BUFFER(block);
    app_start(e, &apps[0], "a");
    app_start(e, &apps[1], "b");
    struct checked_transaction *checked = NULL;
    struct ledger_signer *stranger = seeded(SEED_STRANGER);
    assert_int_equal(ledger_build_note(stranger, &e->genesis->chain, 1, 1, BYTES_LITERAL("x"),
                                       &bytes, NULL),
                     ERROR_NONE);
    assert_int_equal(application_check(apps[0].chain, buffer_bytes(&bytes), &checked, &err),
                     ERROR_TX_REJECTED);
    ledger_signer_free(stranger);
    buffer_clear(&bytes);
    offer(e, &apps[0], "note", &bytes);
    bytes.data[bytes.len - 1] ^= 1; /* of the signature */
    assert_int_equal(application_check(apps[0].chain, buffer_bytes(&bytes), &checked, &err),
                     ERROR_TX_REJECTED);

    propose(e, &apps[0], &block);
    for (size_t at = 0; at < block.len; at += 3) { /* whatever of it is another byte */
        if (at >= TIME_AT && at < TIME_AT + 8)
            continue; /* but for the time, which is the engine's to judge */
        block.data[at] ^= 0x10;
        assert_int_equal(application_process(apps[1].chain, NULL, buffer_bytes(&block), &err),
                         ERROR_VERIFY);
        assert_int_equal(application_finalize(apps[1].chain, NULL, buffer_bytes(&block), &result,
                                              &err),
                         ERROR_VERIFY);
        assert_int_equal(chain_tentative(apps[1].chain), 0);
        block.data[at] ^= 0x10;
    }
    assert_int_equal(application_process(apps[1].chain, NULL,
                                         bytes_of(block.data, BLOCK_HEADER_BYTES - 1), &err),
                     ERROR_VERIFY);
    decide(e, apps, 2, buffer_bytes(&block));
    assert_same(&apps[0], &apps[1], 1);
    assert_int_equal(application_process(apps[1].chain, NULL, buffer_bytes(&block), &err),
                     ERROR_VERIFY); /* its height is over */
    app_stop(&apps[0]);
    app_stop(&apps[1]);
}

static void a_start_goes_on_where_the_last_commit_was(void **state) {
    struct engine *e = *state;
    struct app apps[2];
    BLOCK_BUFFER(bytes);
    BLOCK_BUFFER(block);
    app_start(e, &apps[0], "a");
    app_start(e, &apps[1], "b");
    for (int i = 0; i < 3; i++) {
        buffer_clear(&bytes);
        offer(e, &apps[0], "note", &bytes);
        propose(e, &apps[0], &block);
        decide(e, apps, 2, buffer_bytes(&block));
    }
    buffer_clear(&bytes);
    offer(e, &apps[0], "never decided", &bytes);
    propose(e, &apps[0], &block);
    app_stop(&apps[0]);
    app_start(e, &apps[0], "a");
    assert_same(&apps[0], &apps[1], 3);
    assert_int_equal(chain_tentative(apps[0].chain), 3);
    decide(e, apps, 2, buffer_bytes(&block)); /* it is decided after all: nobody has executed it */
    assert_same(&apps[0], &apps[1], 4);
    app_stop(&apps[0]);
    app_stop(&apps[1]);
}

/* What application_open told last. */
static struct application_progress told;

static void tell(void *context, const struct application_progress *progress) {
    assert_ptr_equal(context, &told);
    assert_int_equal(progress->height, told.height == 0 ? progress->first : told.height + 1);
    assert_true(progress->bytes > told.bytes && progress->bytes <= progress->bytes_all);
    told = *progress;
}

static void start_again(const struct engine *e, struct app *app) {
    told = (struct application_progress){.height = 0};
    application_close(app->chain);
    assert_int_equal(application_open(e->genesis, app->folder, tell, &told, &app->chain, NULL),
                     ERROR_NONE);
    assert_int_equal(told.bytes, told.bytes_all);
    assert_int_equal(told.height, told.last);
}

static void a_start_executes_again_no_more_than_a_flush_leaves(void **state) {
    struct engine *e = *state;
    enum { MORE = 50, ALL = STORE_FLUSH_BLOCKS + MORE };
    struct app app;
    BLOCK_BUFFER(block);
    app_start(e, &app, "a");
    for (int i = 0; i < ALL; i++) { /* of empty blocks, and never flushed */
        struct application_result result;
        propose(e, &app, &block);
        assert_int_equal(application_finalize(app.chain, NULL, buffer_bytes(&block), &result, NULL),
                         ERROR_NONE);
        assert_int_equal(application_commit(app.chain, BYTES_LITERAL("decided"), NULL, NULL),
                         ERROR_NONE);
    }
    assert_true(store_flush_due(chain_store(app.chain)));
    assert_int_equal(store_durable_height(chain_store(app.chain)), 0);
    start_again(e, &app);
    assert_int_equal(told.first, 1);
    assert_int_equal(told.last, ALL);
    assert_int_equal(told.bytes, ALL * (BLOCK_HEADER_BYTES + strlen("decided")));
    assert_int_equal(store_durable_height(chain_store(app.chain)), STORE_FLUSH_BLOCKS);
    start_again(e, &app); /* what was flushed on the way is not executed a second time */
    assert_int_equal(told.first, STORE_FLUSH_BLOCKS + 1);
    assert_int_equal(told.last, ALL);
    app_stop(&app);
}

static void a_snapshot_is_restored_chunk_by_chunk_and_each_is_proven(void **state) {
    struct engine *e = *state;
    enum { HEIGHT = 5 };
    struct app from;
    struct app to;
    struct error err;
    BLOCK_BUFFER(bytes);
    BLOCK_BUFFER(block);
    BLOCK_BUFFER(certificate);
    BLOCK_BUFFER(weak);
    app_start(e, &from, "from");
    for (int i = 0; i < HEIGHT; i++) {
        buffer_clear(&bytes);
        offer(e, &from, "note", &bytes);
        propose(e, &from, &block);
        decide(e, &from, 1, buffer_bytes(&block));
    }
    struct application_info info;
    application_info(from.chain, &info);
    app_start(e, &to, "to");
    for (uint64_t height = 1; height <= info.height; height++) {
        buffer_clear(&block);
        buffer_clear(&certificate);
        if (height < HEIGHT) { /* one that is not next */
            assert_int_equal(application_chunk(from.chain, height + 1, &block, &certificate, NULL),
                             ERROR_NONE);
            assert_int_equal(application_restore(to.chain, buffer_bytes(&block),
                                                 buffer_bytes(&certificate), &err),
                             ERROR_VERIFY);
            buffer_clear(&block);
        }
        buffer_clear(&weak);
        buffer_append(&weak, certificate.data, certificate.len); /* another block's */
        buffer_clear(&certificate);
        assert_int_equal(application_chunk(from.chain, height, &block, &certificate, NULL),
                         ERROR_NONE);
        assert_int_equal(
            application_restore(to.chain, buffer_bytes(&block), buffer_bytes(&weak), &err),
            ERROR_VERIFY);
        certify(e, buffer_bytes(&block), 2, &weak); /* fewer than Q */
        assert_int_equal(
            application_restore(to.chain, buffer_bytes(&block), buffer_bytes(&weak), &err),
            ERROR_VERIFY);
        assert_int_equal(chain_height(to.chain), height - 1);
        assert_int_equal(application_restore(to.chain, buffer_bytes(&block),
                                             buffer_bytes(&certificate), NULL),
                         ERROR_NONE);
    }
    assert_same(&from, &to, HEIGHT);
    buffer_clear(&block);
    assert_int_equal(application_chunk(from.chain, 0, &block, &certificate, &err),
                     ERROR_NOT_FOUND);
    assert_int_equal(application_chunk(from.chain, HEIGHT + 1, &block, &certificate, &err),
                     ERROR_NOT_FOUND);
    app_stop(&to);
    app_start(e, &to, "to");
    assert_same(&from, &to, HEIGHT); /* restored for good */
    app_stop(&from);
    app_stop(&to);
}

/* A change of members that Q of them signed: the gateway's key is removed, and added as an auditor's. */
static void offer_demotion(struct engine *e, struct app *app) {
    struct change change = {
        .epoch = chain_members(app->chain)->epoch,
        .operation_count = 2,
        .operations = {{.kind = CHANGE_REMOVE_SUBMITTER, .name = "gateway-0"},
                       {.kind = CHANGE_ADD_SUBMITTER, .role = MEMBER_AUDITOR, .name = "audit"}},
    };
    ledger_signer_public(e->gateway, change.operations[1].key);
    struct hash statement = change_statement(&change, &e->genesis->chain);
    change.signature_count = 3;
    for (uint16_t i = 0; i < 3; i++) {
        change.signatures[i].validator = i;
        ledger_signer_sign(e->votes[i], &statement, change.signatures[i].signature);
    }
    BLOCK_BUFFER(body);
    BLOCK_BUFFER(bytes);
    assert_int_equal(change_encode(&change, &body, NULL), ERROR_NONE);
    struct transaction tx = {.type = TRANSACTION_CHANGE, .chain = e->genesis->chain,
                             .sequence = e->sequence++, .body = buffer_bytes(&body)};
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    assert_int_equal(transaction_sign(e->gateway, &tx, &bytes, NULL), ERROR_NONE);
    assert_int_equal(application_check(app->chain, buffer_bytes(&bytes), &checked, NULL),
                     ERROR_NONE);
    assert_int_equal(pool_add(app->pool, checked, 0, 0, &entry), POOL_ADDED);
}

static void nothing_stands_on_an_epochs_last_block_before_it_is_committed(void **state) {
    struct engine *e = *state;
    struct app app;
    BLOCK_BUFFER(block);
    BLOCK_BUFFER(certificate);
    app_start(e, &app, "a");
    offer_demotion(e, &app);
    propose(e, &app, &block);
    struct block_header header;
    uint8_t raw[BLOCK_HEADER_BYTES];
    assert_int_equal(
        block_header_decode(bytes_of(block.data, BLOCK_HEADER_BYTES), &header, NULL), ERROR_NONE);
    header.previous = block_hash(&header);
    header.height++;
    header.transaction_count = header.size = 0;
    header.members = chain_members(app.chain)->hash;
    block_header_encode(&header, raw);
    struct error err;
    struct hash hash;
    struct bytes above;
    assert_int_equal(application_process(app.chain, NULL, bytes_of(raw, sizeof raw), &err),
                     ERROR_VERIFY);
    assert_string_equal(err.message,
                        "block 2: it stands on an epoch's last block, which is not committed");
    assert_int_equal(application_prepare(app.chain, app.pool, e->time_ms, &hash, &above, &err),
                     ERROR_VERIFY);
    struct application_result result;
    certify(e, buffer_bytes(&block), 3, &certificate);
    assert_int_equal(application_finalize(app.chain, NULL, buffer_bytes(&block), &result, NULL),
                     ERROR_NONE);
    assert_int_equal(application_commit(app.chain, buffer_bytes(&certificate), NULL, NULL),
                     ERROR_NONE);
    pool_advance(app.pool, 0, e->sequence);
    propose(e, &app, &block);
    decide(e, &app, 1, buffer_bytes(&block));
    assert_int_equal(chain_height(app.chain), 2);
    app_stop(&app);
}

/* Four of five gateways always have more ready than two blocks take. */
static void whoever_has_something_ready_gets_a_share_of_the_blocks(void **state) {
    enum { WAITING = 4, BLOCKS = 8 };
    struct engine *e = *state;
    struct app app;
    uint64_t next[SUBMITTERS] = {1, 1, 1, 1, 1};
    BLOCK_BUFFER(block);
    app_start(e, &app, "a");
    for (size_t i = 0; i < WAITING; i++)
        for (uint64_t sequence = 1; sequence <= BLOCKS; sequence++) {
            BLOCK_BUFFER(bytes);
            offer_of(e, &app, i, sequence, "waits", &bytes);
        }
    for (int made = 0; made < BLOCKS; made++) {
        struct block decoded;
        struct bytes transaction;
        enum transaction_status status;
        propose(e, &app, &block);
        assert_int_equal(block_decode(buffer_bytes(&block), &decoded, NULL), ERROR_NONE);
        assert_int_equal(decoded.header.transaction_count, 2);
        struct block_cursor cursor = block_cursor(&decoded);
        while (block_next(&cursor, &transaction, &status)) {
            uint32_t submitter;
            uint64_t sequence;
            assert_true(pool_peek(chain_members(app.chain), transaction, &submitter, &sequence));
            assert_int_equal(sequence, next[submitter]++);
        }
        decide(e, &app, 1, buffer_bytes(&block));
        for (uint32_t i = 0; i < SUBMITTERS; i++)
            pool_advance(app.pool, i, next[i]);
    }
    for (size_t i = 0; i < WAITING; i++)
        assert_int_equal(next[i], 1 + 2 * BLOCKS / WAITING);
    app_stop(&app);
}

/* Others come and go by chance, so that it is another number of them that have something each time. A block
 * takes two. */
static void nobody_waits_for_more_than_one_of_each_of_the_others(void **state) {
    enum { BLOCKS = 400 };
    struct engine *e = *state;
    struct app app;
    uint64_t next[SUBMITTERS] = {1, 1, 1, 1, 1};
    int since[SUBMITTERS]; /* the block before which it came; BLOCKS: nothing is there */
    uint32_t chance = 1;
    BLOCK_BUFFER(block);
    app_start(e, &app, "a");
    for (size_t i = 0; i < SUBMITTERS; i++)
        since[i] = BLOCKS;
    for (int made = 0; made < BLOCKS; made++) {
        for (size_t i = 0; i < SUBMITTERS; i++) {
            BLOCK_BUFFER(bytes);
            chance = chance * 1664525 + 1013904223;
            if (since[i] < BLOCKS || (chance >> 16) % 3 == 0)
                continue;
            offer_of(e, &app, i, next[i], "comes and goes", &bytes);
            since[i] = made;
        }
        struct block decoded;
        struct bytes transaction;
        enum transaction_status status;
        propose(e, &app, &block);
        assert_int_equal(block_decode(buffer_bytes(&block), &decoded, NULL), ERROR_NONE);
        struct block_cursor cursor = block_cursor(&decoded);
        while (block_next(&cursor, &transaction, &status)) {
            uint32_t submitter;
            uint64_t sequence;
            assert_true(pool_peek(chain_members(app.chain), transaction, &submitter, &sequence));
            next[submitter]++;
            since[submitter] = BLOCKS;
        }
        decide(e, &app, 1, buffer_bytes(&block));
        for (uint32_t i = 0; i < SUBMITTERS; i++) {
            pool_advance(app.pool, i, next[i]);
            assert_true(since[i] == BLOCKS || made - since[i] < (SUBMITTERS - 1) / 2);
        }
    }
    app_stop(&app);
}

static void a_role_that_changed_since_it_was_asked_holds_in_the_block(void **state) {
    struct engine *e = *state;
    struct app apps[2];
    BLOCK_BUFFER(bytes);
    BLOCK_BUFFER(block);
    BLOCK_BUFFER(certificate);
    app_start(e, &apps[0], "a");
    app_start(e, &apps[1], "b");
    offer_demotion(e, &apps[0]);
    propose(e, &apps[0], &block);
    /* A record of the gateway's waits at the first node, checked while the key was a gateway's. */
    struct leaf leaf = {.operation = LEAF_CREATE, .origin = LEAF_DECLARED, .version = 1,
                        .content = {{1}}, .raw = {{1}}, .mapping = {{1}}};
    struct ledger_anchor anchor = {.batch = 1, .leaves = &leaf, .leaf_count = 1};
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    assert_int_equal(ledger_build_anchor(e->gateway, &e->genesis->chain, e->sequence, 1, &anchor,
                                         &bytes, NULL),
                     ERROR_NONE);
    assert_int_equal(application_check(apps[0].chain, buffer_bytes(&bytes), &checked, NULL),
                     ERROR_NONE);
    assert_int_equal(pool_add(apps[0].pool, checked, 0, 0, &entry), POOL_ADDED);

    certify(e, buffer_bytes(&block), 3, &certificate);
    for (size_t i = 0; i < 2; i++) {
        struct application_result result;
        assert_int_equal(
            application_finalize(apps[i].chain, NULL, buffer_bytes(&block), &result, NULL),
            ERROR_NONE);
        assert_true(result.epoch_ends);
        assert_int_equal(application_commit(apps[i].chain, buffer_bytes(&certificate), NULL, NULL),
                         ERROR_NONE);
        pool_advance(apps[i].pool, 0, e->sequence);
        pool_members(apps[i].pool, chain_members(apps[i].chain));
        assert_int_equal(chain_members(apps[i].chain)->epoch, 1);
        checked = NULL;
        assert_int_equal(
            application_check(apps[i].chain, buffer_bytes(&bytes), &checked, NULL),
            ERROR_TX_REJECTED);
    }
    /* The first one proposes it all the same; the second, that would not have taken it, agrees what
     * became of it. */
    propose(e, &apps[0], &block);
    struct block decoded;
    struct bytes transaction;
    enum transaction_status status = TX_DONE;
    assert_int_equal(block_decode(buffer_bytes(&block), &decoded, NULL), ERROR_NONE);
    struct block_cursor cursor = block_cursor(&decoded);
    assert_true(block_next(&cursor, &transaction, &status));
    assert_int_equal(status, TX_ROLE);
    assert_int_equal(decoded.header.log_size, 0);
    assert_int_equal(application_process(apps[1].chain, NULL, buffer_bytes(&block), NULL),
                     ERROR_NONE);
    e->sequence++;
    decide(e, apps, 2, buffer_bytes(&block));
    assert_same(&apps[0], &apps[1], 2);
    app_stop(&apps[0]);
    app_stop(&apps[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_decided_is_what_everybody_has, make_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(what_is_invalid_is_refused_and_leaves_nothing, make_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(a_start_goes_on_where_the_last_commit_was, make_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(a_start_executes_again_no_more_than_a_flush_leaves,
                                        make_engine, free_engine),
        cmocka_unit_test_setup_teardown(a_snapshot_is_restored_chunk_by_chunk_and_each_is_proven,
                                        make_engine, free_engine),
        cmocka_unit_test_setup_teardown(
            nothing_stands_on_an_epochs_last_block_before_it_is_committed, make_engine,
            free_engine),
        cmocka_unit_test_setup_teardown(whoever_has_something_ready_gets_a_share_of_the_blocks,
                                        make_narrow_engine, free_engine),
        cmocka_unit_test_setup_teardown(nobody_waits_for_more_than_one_of_each_of_the_others,
                                        make_narrow_engine, free_engine),
        cmocka_unit_test_setup_teardown(a_role_that_changed_since_it_was_asked_holds_in_the_block,
                                        make_engine, free_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
