/* The pool: one ring a submitter, by sequence; what is taken, what is refused, what goes when the
 * chain has moved on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/pool.h"
#include "ledger/signer.h"

struct world {
    struct ledger_signer *signers[2];
    struct genesis_submitter submitters[2];
    struct genesis genesis;
    struct members *members;
    struct pool *pool;
};

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    for (uint8_t i = 0; i < 2; i++) {
        uint8_t seed[32] = {i};
        assert_int_equal(ledger_signer_seeded(seed, &w->signers[i], NULL), ERROR_NONE);
        ledger_signer_public(w->signers[i], w->submitters[i].key);
    }
    w->genesis.submitters = w->submitters;
    w->genesis.submitter_count = 2;
    w->members = members_of_genesis(&w->genesis);
    w->pool = pool_new(w->members);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    pool_free(w->pool);
    members_free(w->members);
    ledger_signer_free(w->signers[0]);
    ledger_signer_free(w->signers[1]);
    free(w);
    return 0;
}

static struct checked_transaction *note(struct world *w, int who, uint64_t sequence,
                                        const char *text) {
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(ledger_build_note(w->signers[who], &w->genesis.chain, sequence, 1,
                                       bytes_text(text), &out, NULL),
                     ERROR_NONE);
    struct checked_transaction *checked = NULL;
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_NONE);
    buffer_done(&out); /* what was checked stands on bytes of its own */
    assert_true(checked->tx.body.data > checked->bytes);
    assert_true(bytes_equal(checked->tx.body, bytes_text(text)));
    assert_true(checked->tx.extensions.data == checked->tx.body.data + checked->tx.body.len);
    return checked;
}

/* The answer to adding; what the pool did not take is freed. */
static enum pool_result add(struct world *w, int who, uint64_t sequence, const char *text) {
    struct pool_entry *entry = NULL;
    struct checked_transaction *checked = note(w, who, sequence, text);
    enum pool_result result = pool_add(w->pool, checked, 5, 0, &entry);
    if (result != POOL_ADDED)
        checked_transaction_free(checked);
    return result;
}

static void each_sequence_has_one_transaction(void **state) {
    struct world *w = *state;
    assert_false(pool_ready(w->pool));
    assert_int_equal(add(w, 0, 2, "second"), POOL_ADDED);
    assert_false(pool_ready(w->pool)); /* the first is missing */
    assert_int_equal(add(w, 0, 1, "first"), POOL_ADDED);
    assert_true(pool_ready(w->pool));
    assert_int_equal(add(w, 0, 1, "first"), POOL_KNOWN);
    assert_int_equal(add(w, 0, 1, "other"), POOL_CONFLICT);
    assert_int_equal(add(w, 1, 1, "another submitter's"), POOL_ADDED);
    assert_int_equal(pool_count(w->pool), 3);
}

static void what_the_chain_has_goes_and_does_not_come_back(void **state) {
    struct world *w = *state;
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(add(w, 0, i, "note"), POOL_ADDED);
    struct checked_transaction *old = note(w, 0, 3, "note");
    struct bytes old_bytes = bytes_of(old->bytes, old->len);
    assert_non_null(pool_find_bytes(w->pool, w->members, old_bytes));
    pool_advance(w->pool, 0, 4);
    assert_int_equal(pool_count(w->pool), 2);
    assert_true(pool_ready(w->pool));
    assert_null(pool_find_bytes(w->pool, w->members, old_bytes));
    assert_true(pool_knows(w->pool, w->members, old_bytes));
    assert_int_equal(add(w, 0, 3, "note"), POOL_OLD);
    pool_advance(w->pool, 0, 2); /* never backwards */
    assert_int_equal(pool_next(w->pool, 0), 4);
    pool_advance(w->pool, 0, 100); /* ordered without having been here */
    assert_int_equal(pool_count(w->pool), 0);
    assert_int_equal(pool_bytes(w->pool), 0);
    assert_false(pool_ready(w->pool));
    assert_int_equal(add(w, 0, 100, "next"), POOL_ADDED);
    assert_true(pool_ready(w->pool));
    checked_transaction_free(old);
}

static void only_what_somebody_waits_for_is_awaited(void **state) {
    struct world *w = *state;
    assert_int_equal(add(w, 0, 1, "note"), POOL_ADDED);
    struct checked_transaction *same = note(w, 0, 1, "note");
    struct checked_transaction *other = note(w, 0, 1, "other");
    struct bytes same_bytes = bytes_of(same->bytes, same->len);
    struct pool_entry *entry = pool_find_bytes(w->pool, w->members, same_bytes);
    assert_non_null(entry);
    assert_null(pool_find_awaited(w->pool, w->members, same_bytes));
    entry->waiters = calloc(1, sizeof *entry->waiters);
    assert_ptr_equal(pool_find_awaited(w->pool, w->members, same_bytes), entry);
    assert_null(pool_find_awaited(w->pool, w->members, bytes_of(other->bytes, other->len)));
    checked_transaction_free(same);
    checked_transaction_free(other);
}

static void a_sequence_too_far_ahead_is_refused(void **state) {
    struct world *w = *state;
    assert_int_equal(add(w, 0, POOL_WINDOW + 1, "far"), POOL_FULL);
    assert_int_equal(add(w, 0, POOL_WINDOW, "just near enough"), POOL_ADDED);
    pool_advance(w->pool, 0, 3);
    assert_int_equal(add(w, 0, POOL_WINDOW + 1, "near now"), POOL_ADDED);
    struct pool_entry *entry = pool_find(w->pool, 0, POOL_WINDOW);
    assert_non_null(entry);
    assert_int_equal(entry->checked->tx.sequence, POOL_WINDOW);
}

static void every_entry_is_walked_once(void **state) {
    struct world *w = *state;
    assert_int_equal(add(w, 1, 7, "gap"), POOL_ADDED);
    assert_int_equal(add(w, 0, 1, "a"), POOL_ADDED);
    assert_int_equal(add(w, 1, 1, "b"), POOL_ADDED);
    struct pool_cursor cursor = {0, 0};
    uint64_t sequences[3];
    for (int i = 0; i < 3; i++) {
        struct pool_entry *entry = pool_each(w->pool, &cursor);
        assert_non_null(entry);
        sequences[i] = entry->checked->submitter * 10 + entry->checked->tx.sequence;
    }
    assert_null(pool_each(w->pool, &cursor));
    assert_int_equal(sequences[0], 1);
    assert_int_equal(sequences[1], 11);
    assert_int_equal(sequences[2], 17);
}

static void what_waits_behind_others_is_the_head_only_from_its_turn_on(void **state) {
    struct world *w = *state;
    assert_null(pool_head(w->pool, 0, 5, 1));
    assert_int_equal(add(w, 0, 1, "first"), POOL_ADDED); /* at 5 ms */
    assert_int_equal(add(w, 0, 2, "second"), POOL_ADDED);
    struct pool_entry *head = pool_head(w->pool, 0, 900, 7);
    assert_int_equal(head->checked->tx.sequence, 1);
    assert_int_equal(head->head_ms, 5);
    assert_int_equal(head->head_height, 0);
    pool_advance(w->pool, 0, 2);
    head = pool_head(w->pool, 0, 1000, 8);
    assert_int_equal(head->checked->tx.sequence, 2);
    assert_int_equal(head->head_ms, 1000);
    assert_int_equal(head->head_height, 8);
    head = pool_head(w->pool, 0, 2000, 9);
    assert_int_equal(head->head_ms, 1000); /* since then, however often it is asked for */
    assert_int_equal(head->head_height, 8);
    assert_int_equal(head->added_ms, 5);
    pool_advance(w->pool, 0, 3);
    assert_null(pool_head(w->pool, 0, 3000, 10));
}

static void the_ring_of_an_idle_submitter_is_given_back(void **state) {
    struct world *w = *state;
    assert_int_equal(pool_ring_bytes(w->pool), 0);
    assert_int_equal(add(w, 0, 1, "note"), POOL_ADDED); /* at 5 ms */
    assert_int_equal(add(w, 1, 1, "note"), POOL_ADDED);
    assert_int_equal(add(w, 1, 9, "after a gap"), POOL_ADDED);
    size_t one = POOL_WINDOW * sizeof(struct pool_entry);
    assert_int_equal(pool_ring_bytes(w->pool), 2 * one);
    pool_rest(w->pool, 5 + POOL_IDLE_MS); /* something waits */
    assert_int_equal(pool_ring_bytes(w->pool), 2 * one);
    pool_advance(w->pool, 0, 2);
    pool_rest(w->pool, 5 + POOL_IDLE_MS - 1); /* it may be back with the next block */
    assert_int_equal(pool_ring_bytes(w->pool), 2 * one);
    pool_rest(w->pool, 5 + POOL_IDLE_MS);
    assert_int_equal(pool_ring_bytes(w->pool), one);
    assert_null(pool_find(w->pool, 0, 2));
    assert_int_equal(add(w, 0, 1, "note"), POOL_OLD);
    assert_int_equal(add(w, 0, 2, "back"), POOL_ADDED);
    assert_true(pool_ready(w->pool));
    assert_non_null(pool_find(w->pool, 0, 2));
    assert_int_equal(pool_ring_bytes(w->pool), 2 * one);

    memset(w->submitters[1].key, 1, sizeof w->submitters[1].key); /* a new key: all of the old goes */
    struct members *later = members_of_genesis(&w->genesis);
    pool_members(w->pool, later);
    assert_false(pool_waits(w->pool, 1));
    pool_rest(w->pool, 5 + POOL_IDLE_MS);
    assert_int_equal(pool_ring_bytes(w->pool), one);
    pool_advance(w->pool, 1, 5); /* amid where the last one stood */
    assert_int_equal(pool_next(w->pool, 1), 5);
    struct pool_cursor cursor = {0, 0};
    assert_non_null(pool_each(w->pool, &cursor));
    assert_null(pool_each(w->pool, &cursor));
    members_free(later);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_sequence_has_one_transaction, make_world, free_world),
        cmocka_unit_test_setup_teardown(what_the_chain_has_goes_and_does_not_come_back, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(only_what_somebody_waits_for_is_awaited, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(a_sequence_too_far_ahead_is_refused, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(what_waits_behind_others_is_the_head_only_from_its_turn_on,
                                        make_world, free_world),
        cmocka_unit_test_setup_teardown(every_entry_is_walked_once, make_world, free_world),
        cmocka_unit_test_setup_teardown(the_ring_of_an_idle_submitter_is_given_back, make_world,
                                        free_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
