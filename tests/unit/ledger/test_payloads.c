/* The payloads under way: what peers send pushes out neither what the core wants nor what was executed,
 * one peer cannot take the others' places, and what must outlive a crash is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/payloads.h"

enum { LEADER = 0, LIAR = 2, LIARS = 40 };

struct world {
    struct wanted wanted[2];
    struct payloads *payloads;
    struct members members;
    struct pool *pool;
};

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    w->payloads = payloads_new(w->wanted, 2);
    w->pool = pool_new(&w->members);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    payloads_free(w->payloads);
    pool_free(w->pool);
    free(w);
    return 0;
}

/* Blocks differ by their time. An empty one, or one that says that it has a transaction of some size. */
static struct hash header_of(uint64_t height, uint64_t number, uint32_t size,
                             uint8_t ret_raw[BLOCK_HEADER_BYTES]) {
    struct block_header header = {.height = height, .time_ms = number, .size = size};
    header.transaction_count = size > 0 ? 1 : 0;
    block_header_encode(&header, ret_raw);
    return block_hash(&header);
}

static struct payload *keep(struct world *w, uint32_t from, uint64_t height, uint64_t number) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    struct hash digest = header_of(height, number, 0, raw);
    return payloads_keep(w->payloads, from, &digest, height, bytes_of(raw, sizeof raw));
}

static struct payload *propose(struct world *w, uint32_t from, uint64_t height, uint64_t number,
                               uint32_t size) {
    uint8_t raw[BLOCK_HEADER_BYTES + PROPOSAL_ENTRY_BYTES] = {0};
    (void)header_of(height, number, size, raw);
    struct proposal *proposal = NULL;
    size_t len = size > 0 ? sizeof raw : BLOCK_HEADER_BYTES;
    assert_int_equal(proposal_read(bytes_of(raw, len), &proposal, NULL), ERROR_NONE);
    return payloads_propose(w->payloads, from, proposal);
}

static struct payload *find(struct world *w, uint64_t height, uint64_t number, uint32_t size) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    struct hash digest = header_of(height, number, size, raw);
    return payloads_find(w->payloads, &digest);
}

static void want(struct world *w, uint64_t height, uint64_t number, uint32_t size) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    struct hash digest = header_of(height, number, size, raw);
    w->wanted[0] =
        (struct wanted){.active = true, .height = height, .digest = digest, .from = LEADER};
}

/* Proposals of many that name what nobody has, each with the largest of blocks. */
static void lie(struct world *w, uint64_t height) {
    for (uint64_t i = 0; i < (uint64_t)LIARS * PAYLOADS_PEER_MAX; i++)
        (void)propose(w, LIAR + (uint32_t)(i % LIARS), height, 1000 + i, 4 << 20);
}

static void many_liars_push_out_nothing_that_is_wanted_or_was_executed(void **state) {
    struct world *w = *state;
    payloads_executed(w->payloads, keep(w, LEADER, 5, 1));
    payloads_executed(w->payloads, keep(w, PAYLOAD_OWN, 5, 2)); /* of another view */
    assert_non_null(propose(w, LEADER, 6, 3, 500));
    want(w, 6, 3, 500);
    assert_non_null(propose(w, 1, 7, 4, 500));
    lie(w, 8);
    assert_non_null(find(w, 5, 1, 0));
    assert_non_null(find(w, 5, 2, 0));
    assert_non_null(find(w, 6, 3, 500));
    assert_null(find(w, 7, 4, 500)); /* is not wanted yet, and is asked for when it is */
    w->wanted[0].active = false;
    lie(w, 8);
    assert_null(find(w, 6, 3, 500));
    payloads_drop_old(w->payloads, 5);
    assert_null(find(w, 5, 1, 0));
    assert_null(find(w, 5, 2, 0));
}

static void one_liar_pushes_out_its_own_alone(void **state) {
    struct world *w = *state;
    assert_non_null(propose(w, LEADER, 5, 1, 500));
    for (uint64_t i = 0; i < PAYLOADS_MAX; i++)
        assert_non_null(propose(w, LIAR, 5, 100 + i, 500));
    assert_non_null(find(w, 5, 1, 500));
    assert_null(find(w, 5, 100 + PAYLOADS_MAX - PAYLOADS_PEER_MAX - 1, 500));
    assert_non_null(find(w, 5, 100 + PAYLOADS_MAX - PAYLOADS_PEER_MAX, 500));
    for (uint64_t i = 0; i < PAYLOADS_MAX; i++)
        assert_non_null(propose(w, LIAR, 5, 500 + i, 4 << 20));
    assert_non_null(find(w, 5, 1, 500));
}

static void the_leaders_proposal_goes_before_whoever_proposes_the_same(void **state) {
    struct world *w = *state;
    struct payload *liars = propose(w, LIAR, 5, 1, 500);
    want(w, 5, 1, 500);
    assert_ptr_equal(find(w, 5, 1, 500), liars);
    struct payload *leaders = propose(w, LEADER, 5, 1, 500);
    assert_ptr_equal(find(w, 5, 1, 500), leaders);
    assert_null(propose(w, LEADER, 5, 1, 500)); /* says nothing new */
    (void)propose(w, LIAR + 1, 5, 1, 500);
    assert_ptr_equal(find(w, 5, 1, 500), leaders);
    payloads_forget_senders(w->payloads);
    assert_int_equal(find(w, 5, 1, 500)->from, PAYLOAD_OWN);
}

static void a_proposal_counts_with_the_block_that_it_may_become(void **state) {
    struct world *w = *state;
    uint32_t size = 8 << 20;
    size -= BLOCK_HEADER_BYTES;
    for (uint64_t i = 0; i < PAYLOADS_MAX; i++)
        (void)propose(w, (uint32_t)i, 5, i, size);
    size_t found = 0;
    for (uint64_t i = 0; i < PAYLOADS_MAX; i++)
        found += find(w, 5, i, size) != NULL;
    assert_int_equal(found, PAYLOADS_BYTES_MAX / (8 << 20));
}

static void an_empty_block_is_made_of_its_proposal_alone(void **state) {
    struct world *w = *state;
    struct payload *p = propose(w, LEADER, 5, 1, 0);
    struct payload *whole = payloads_whole(w->payloads, &p->digest, w->pool, &w->members);
    assert_ptr_equal(whole, p);
    assert_null(p->proposal);
    assert_int_equal(p->block.len, BLOCK_HEADER_BYTES);
    assert_int_equal(p->bytes, BLOCK_HEADER_BYTES);
    assert_null(payloads_whole(w->payloads, &propose(w, LEADER, 5, 2, 500)->digest, w->pool,
                               &w->members));
}

static void what_was_executed_in_whatever_view_must_outlive_a_crash(void **state) {
    struct world *w = *state;
    const struct payload *list[PAYLOADS_MAX];
    assert_int_equal(payloads_durable(w->payloads, list), 0);
    for (uint64_t view = 0; view < PAYLOADS_EXECUTED_MAX; view++)
        payloads_executed(w->payloads, keep(w, LEADER, 5, view));
    (void)keep(w, LEADER, 5, 1000);
    assert_int_equal(payloads_durable(w->payloads, list), PAYLOADS_EXECUTED_MAX);
    /* Of more, the oldest are given up, and never the one that was executed just now. */
    payloads_executed(w->payloads, keep(w, LEADER, 5, 2000));
    assert_int_equal(payloads_durable(w->payloads, list), PAYLOADS_EXECUTED_MAX);
    assert_false(find(w, 5, 0, 0)->executed);
    assert_true(find(w, 5, 1, 0)->executed);
    assert_true(find(w, 5, 2000, 0)->executed);
}

static void a_refused_transfer_takes_nothing_with_it_that_was_executed(void **state) {
    struct world *w = *state;
    keep(w, PAYLOAD_OWN, 5, 1)->transferred = true;
    keep(w, PAYLOAD_OWN, 6, 2)->transferred = true;
    struct payload *executed = keep(w, LEADER, 6, 3);
    payloads_executed(w->payloads, executed);
    assert_ptr_equal(keep(w, PAYLOAD_OWN, 6, 3), executed);
    executed->transferred = true;
    lie(w, 8);
    assert_non_null(find(w, 6, 2, 0));
    payloads_drop_transferred(w->payloads, 6);
    assert_non_null(find(w, 5, 1, 0));
    assert_null(find(w, 6, 2, 0));
    assert_non_null(find(w, 6, 3, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            many_liars_push_out_nothing_that_is_wanted_or_was_executed, make_world, free_world),
        cmocka_unit_test_setup_teardown(one_liar_pushes_out_its_own_alone, make_world, free_world),
        cmocka_unit_test_setup_teardown(
            the_leaders_proposal_goes_before_whoever_proposes_the_same, make_world, free_world),
        cmocka_unit_test_setup_teardown(a_proposal_counts_with_the_block_that_it_may_become,
                                        make_world, free_world),
        cmocka_unit_test_setup_teardown(an_empty_block_is_made_of_its_proposal_alone, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(what_was_executed_in_whatever_view_must_outlive_a_crash,
                                        make_world, free_world),
        cmocka_unit_test_setup_teardown(
            a_refused_transfer_takes_nothing_with_it_that_was_executed, make_world, free_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
