/* Proposals by digest: the block made again of the pool is the same; what is missing, another's or
 * more than the header says is never made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/proposal.h"
#include "ledger/signer.h"

enum { NOTES = 5, MANY = PROPOSAL_MISSING_MAX + 40 };

struct world {
    struct ledger_signer *signer;
    struct genesis_submitter submitter;
    struct genesis genesis;
    struct members *members;
    struct pool *leader;
    struct pool *pool; /* of whoever is proposed to */
    struct buffer block;
    struct buffer proposal;
};

static void note(struct world *w, struct pool *pool, uint64_t sequence, const char *text) {
    SCOPED_BUFFER struct buffer out;
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(ledger_build_note(w->signer, &w->genesis.chain, sequence, 1, bytes_text(text),
                                       &out, NULL),
                     ERROR_NONE);
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL), ERROR_NONE);
    assert_int_equal(pool_add(pool, checked, 1, 0, &entry), POOL_ADDED);
}

/* The leader's block of its first notes, with a status that is not the usual one in the third. */
static void make_block(struct world *w, uint32_t count) {
    struct block_header header = {.chain = w->genesis.chain,
                                  .height = 1,
                                  .time_ms = 7,
                                  .transaction_count = count};
    uint8_t raw[BLOCK_HEADER_BYTES] = {0};
    struct merkle_frontier tree;
    merkle_frontier_init(&tree);
    buffer_clear(&w->block);
    buffer_append(&w->block, raw, sizeof raw);
    for (uint32_t i = 0; i < count; i++) {
        const struct checked_transaction *tx = pool_find(w->leader, 0, i + 1)->checked;
        enum transaction_status status = i == 2 ? TX_UNKNOWN : TX_DONE;
        block_entry(&w->block, bytes_of(tx->bytes, tx->len), status);
        struct hash leaf = block_transaction_leaf(&tx->tx, status);
        merkle_append(&tree, &leaf, NULL);
    }
    header.size = (uint32_t)w->block.len - BLOCK_HEADER_BYTES;
    header.transaction_root = merkle_root(&tree);
    block_header_encode(&header, w->block.data);
    buffer_clear(&w->proposal);
    proposal_write(w->leader, w->members, buffer_bytes(&w->block), &w->proposal);
    assert_int_equal(w->proposal.len, BLOCK_HEADER_BYTES + count * PROPOSAL_ENTRY_BYTES);
}

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    uint8_t seed[32] = {1};
    assert_int_equal(ledger_signer_seeded(seed, &w->signer, NULL), ERROR_NONE);
    ledger_signer_public(w->signer, w->submitter.key);
    w->genesis.submitters = &w->submitter;
    w->genesis.submitter_count = 1;
    w->members = members_of_genesis(&w->genesis);
    w->leader = pool_new(w->members);
    w->pool = pool_new(w->members);
    buffer_init(&w->block, BLOCK_BYTES_MAX);
    buffer_init(&w->proposal, PROPOSAL_BYTES_MAX);
    for (uint64_t i = 1; i <= NOTES; i++)
        note(w, w->leader, i, i == 4 ? "the longest of them" : "a note");
    make_block(w, NOTES);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    pool_free(w->leader);
    pool_free(w->pool);
    members_free(w->members);
    ledger_signer_free(w->signer);
    buffer_done(&w->block);
    buffer_done(&w->proposal);
    free(w);
    return 0;
}

static struct proposal *read(struct world *w) {
    struct proposal *p = NULL;
    assert_int_equal(proposal_read(buffer_bytes(&w->proposal), &p, NULL), ERROR_NONE);
    return p;
}

static void assert_same_block(struct world *w, struct proposal *p) {
    SCOPED_BUFFER struct buffer made;
    proposal_take(p, &made);
    assert_true(bytes_equal(buffer_bytes(&made), buffer_bytes(&w->block)));
    assert_true(block_entries_fit(buffer_bytes(&made)));
}

static void the_block_is_made_of_the_pool_in_whatever_order_it_fills(void **state) {
    struct world *w = *state;
    struct proposal *p = read(w);
    static const uint64_t order[NOTES] = {2, 5, 1, 4, 3};
    for (size_t i = 0; i < NOTES; i++) {
        assert_int_equal(proposal_rebuild(p, w->pool, w->members), PROPOSAL_MISSING);
        note(w, w->pool, order[i], order[i] == 4 ? "the longest of them" : "a note");
    }
    assert_int_equal(proposal_rebuild(p, w->pool, w->members), PROPOSAL_WHOLE);
    assert_same_block(w, p);
    proposal_free(p);
}

static void what_is_missing_is_named_asked_for_and_answered(void **state) {
    struct world *w = *state;
    struct proposal *p = read(w);
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    uint64_t last = 0;
    note(w, w->pool, 1, "a note");
    note(w, w->pool, 3, "a note");
    assert_int_equal(proposal_rebuild(p, w->pool, w->members), PROPOSAL_MISSING);
    proposal_awaits(p, w->members, &last);
    assert_int_equal(last, NOTES);
    uint32_t count = proposal_missing(p, w->pool, w->members, indexes);
    assert_int_equal(count, 3);
    assert_int_equal(indexes[0], 1);
    assert_int_equal(indexes[1], 3);
    assert_int_equal(indexes[2], 4);
    SCOPED_BUFFER struct buffer asked;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&asked, 4096);
    buffer_init(&answer, BLOCK_BYTES_MAX);
    proposal_ask(p, indexes, count, &asked);
    struct proposal_request request;
    assert_int_equal(proposal_request_read(buffer_bytes(&asked), &request, NULL), ERROR_NONE);
    assert_int_equal(request.height, 1);
    struct hash digest = block_hash(proposal_header(p));
    assert_true(hash_equal(&request.digest, &digest));
    proposal_answer(buffer_bytes(&w->block), &request, &answer);
    struct wire_reader r = wire_reader(buffer_bytes(&answer));
    for (uint32_t i = 0; i < count; i++) {
        struct checked_transaction *checked = NULL;
        struct pool_entry *entry = NULL;
        struct bytes bytes = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
        assert_int_equal(transaction_check(w->members, bytes, &checked, NULL), ERROR_NONE);
        assert_int_equal(pool_add(w->pool, checked, 1, 0, &entry), POOL_ADDED);
    }
    assert_true(wire_read_end(&r));
    assert_int_equal(proposal_rebuild(p, w->pool, w->members), PROPOSAL_WHOLE);
    assert_same_block(w, p);
    proposal_free(p);
}

static void another_transaction_of_the_same_sequence_is_not_the_one_that_is_named(void **state) {
    struct world *w = *state;
    struct proposal *p = read(w);
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    for (uint64_t i = 1; i <= NOTES; i++)
        note(w, w->pool, i, i == 4 ? "the longest of them" : i == 2 ? "A note" : "a note");
    assert_int_equal(proposal_rebuild(p, w->pool, w->members), PROPOSAL_OTHER);
    assert_int_equal(proposal_missing(p, w->pool, w->members, indexes), 1);
    assert_int_equal(indexes[0], 1);
    proposal_free(p);
}

/* A leader that states a status which is not in the leaf, or names a transaction where there is none. */
static void every_field_of_an_entry_counts(void **state) {
    struct world *w = *state;
    static const struct {
        size_t at;
        enum proposal_state state;
    } fields[] = {{0, PROPOSAL_OTHER},    /* status */
                  {4, PROPOSAL_MISSING},  /* submitter */
                  {5, PROPOSAL_MISSING},  /* sequence, far away */
                  {12, PROPOSAL_OTHER},   /* the next sequence */
                  {13, PROPOSAL_OTHER},   /* leaf */
                  {44, PROPOSAL_OTHER}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t at = BLOCK_HEADER_BYTES + PROPOSAL_ENTRY_BYTES + fields[i].at;
        w->proposal.data[at] ^= 1;
        struct proposal *p = read(w);
        assert_int_equal(proposal_rebuild(p, w->leader, w->members), fields[i].state);
        w->proposal.data[at] ^= 1;
        proposal_free(p);
    }
}

static void a_block_of_another_size_than_the_headers_is_wrong(void **state) {
    struct world *w = *state;
    uint8_t *low = w->proposal.data + 99; /* the last byte of the header's size */
    *low += 1;
    struct proposal *p = read(w);
    assert_int_equal(proposal_rebuild(p, w->leader, w->members), PROPOSAL_WRONG);
    proposal_free(p);
    *low -= 2;
    p = read(w);
    assert_int_equal(proposal_rebuild(p, w->leader, w->members), PROPOSAL_WRONG);
    proposal_free(p);
}

static void numbers_of_another_epoch_mean_nothing(void **state) {
    struct world *w = *state;
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    w->proposal.data[43] = 1; /* the last byte of the header's epoch */
    struct proposal *p = read(w);
    assert_int_equal(proposal_rebuild(p, w->leader, w->members), PROPOSAL_MISSING);
    assert_int_equal(proposal_missing(p, w->leader, w->members, indexes), NOTES);
    proposal_free(p);
}

static void much_is_not_asked_for_one_by_one(void **state) {
    struct world *w = *state;
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    for (uint64_t i = NOTES + 1; i <= MANY; i++)
        note(w, w->leader, i, "a note");
    make_block(w, PROPOSAL_MISSING_MAX);
    struct proposal *p = read(w);
    assert_int_equal(proposal_missing(p, w->pool, w->members, indexes), PROPOSAL_MISSING_MAX);
    proposal_free(p);
    make_block(w, MANY);
    p = read(w);
    assert_int_equal(proposal_missing(p, w->pool, w->members, indexes), PROPOSAL_MISSING_MAX + 1);
    proposal_free(p);
}

static void refused(struct bytes input, const char *message) {
    struct proposal *p = NULL;
    struct error err;
    assert_int_equal(proposal_read(input, &p, &err), ERROR_PROTOCOL);
    assert_string_equal(err.message, message);
}

static void lengths_are_checked_before_anything_is_allocated(void **state) {
    struct world *w = *state;
    uint8_t *at = w->proposal.data;
    size_t len = w->proposal.len;
    refused(bytes_of(at, BLOCK_HEADER_BYTES - 1),
            "proposal: 243 bytes, expected 244 to 737524");
    refused(bytes_of(at, len - 1), "proposal: header says 838 bytes and 5 transactions, found 468 "
                                   "bytes");
    wire_store_u32(at + 92, BLOCK_TRANSACTIONS_MAX + 1);
    refused(bytes_of(at, len), "proposal: header says 838 bytes and 16385 transactions, found 469 "
                               "bytes");
    wire_store_u32(at + 92, NOTES);
    wire_store_u32(at + 96, BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES + 1);
    refused(bytes_of(at, len), "proposal: header says 8388365 bytes and 5 transactions, found 469 "
                               "bytes");
    wire_store_u32(at + 96, 838);
    at[BLOCK_HEADER_BYTES] = TX_STATUS_COUNT;
    refused(bytes_of(at, len), "proposal: transaction 0 has an unknown status");
}

static void requests_are_short_and_ascending(void **state) {
    (void)state;
    uint8_t raw[8 + HASH_BYTES + 4 * (PROPOSAL_MISSING_MAX + 1)] = {0};
    struct proposal_request request;
    for (uint32_t i = 0; i <= PROPOSAL_MISSING_MAX; i++)
        wire_store_u32(raw + 40 + 4 * (size_t)i, i);
    assert_int_equal(proposal_request_read(bytes_of(raw, 40), &request, NULL), ERROR_PROTOCOL);
    assert_int_equal(proposal_request_read(bytes_of(raw, 43), &request, NULL), ERROR_PROTOCOL);
    assert_int_equal(proposal_request_read(bytes_of(raw, 44), &request, NULL), ERROR_NONE);
    assert_int_equal(proposal_request_read(bytes_of(raw, sizeof raw - 4), &request, NULL),
                     ERROR_NONE);
    assert_int_equal(proposal_request_read(bytes_of(raw, sizeof raw), &request, NULL),
                     ERROR_PROTOCOL);
    wire_store_u32(raw + 44, 0);
    assert_int_equal(proposal_request_read(bytes_of(raw, 48), &request, NULL), ERROR_PROTOCOL);
}

static void an_answer_has_only_what_the_block_has(void **state) {
    struct world *w = *state;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&answer, BLOCK_BYTES_MAX);
    struct proposal_request request = {.count = 2, .indexes = {1, NOTES}};
    proposal_answer(buffer_bytes(&w->block), &request, &answer);
    struct wire_reader r = wire_reader(buffer_bytes(&answer));
    const struct checked_transaction *tx = pool_find(w->leader, 0, 2)->checked;
    assert_true(bytes_equal(wire_read_bytes(&r, TRANSACTION_BYTES_MAX),
                            bytes_of(tx->bytes, tx->len)));
    assert_true(wire_read_end(&r));
    buffer_clear(&answer);
    proposal_answer(bytes_of(w->block.data, w->block.len - 1), &request, &answer);
    assert_int_equal(answer.len, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, free_world)
    const struct CMUnitTest tests[] = {
        TEST(the_block_is_made_of_the_pool_in_whatever_order_it_fills),
        TEST(what_is_missing_is_named_asked_for_and_answered),
        TEST(another_transaction_of_the_same_sequence_is_not_the_one_that_is_named),
        TEST(every_field_of_an_entry_counts),
        TEST(a_block_of_another_size_than_the_headers_is_wrong),
        TEST(numbers_of_another_epoch_mean_nothing),
        TEST(much_is_not_asked_for_one_by_one),
        TEST(lengths_are_checked_before_anything_is_allocated),
        TEST(requests_are_short_and_ascending),
        TEST(an_answer_has_only_what_the_block_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
