/* What peers passed on: every transaction has its turn, and what a proposal waits for is found before,
 * held against a walk over all that there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/inbox.h"
#include "ledger/signer.h"

enum { SUBMITTERS = 3, BYTES = 100 };

struct world {
    struct ledger_signer *signers[SUBMITTERS];
    struct genesis_submitter submitters[SUBMITTERS];
    struct genesis genesis;
    struct members *members;
    struct pool *pool;
    struct inbox inbox;
    uint64_t order;
    struct buffer message; /* that is being made */
};

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    for (uint8_t i = 0; i < SUBMITTERS; i++) {
        uint8_t seed[32] = {i};
        assert_int_equal(ledger_signer_seeded(seed, &w->signers[i], NULL), ERROR_NONE);
        ledger_signer_public(w->signers[i], w->submitters[i].key);
    }
    w->genesis.submitters = w->submitters;
    w->genesis.submitter_count = SUBMITTERS;
    w->members = members_of_genesis(&w->genesis);
    w->pool = pool_new(w->members);
    buffer_init(&w->message, 1 << 20);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    (void)inbox_clear(&w->inbox);
    assert_int_equal(w->inbox.bytes, 0);
    pool_free(w->pool);
    members_free(w->members);
    for (int i = 0; i < SUBMITTERS; i++)
        ledger_signer_free(w->signers[i]);
    buffer_done(&w->message);
    free(w);
    return 0;
}

/* One more transaction in the message. The inbox looks at the two fields only. */
static void say(struct world *w, uint32_t who, uint64_t sequence) {
    uint8_t raw[BYTES] = {0};
    memcpy(raw + 36, w->submitters[who].key, sizeof w->submitters[who].key);
    wire_store_u64(raw + 68, sequence);
    wire_bytes(&w->message, bytes_of(raw, sizeof raw));
}

static void arrive(struct world *w) {
    assert_true(inbox_add(&w->inbox, ++w->order, buffer_bytes(&w->message)));
    buffer_clear(&w->message);
}

/* Makes the chain's and the pool's view: next is due, and the sequences after it are here or not. */
static void pool_has(struct world *w, uint32_t who, uint64_t sequence) {
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    assert_int_equal(ledger_build_note(w->signers[who], &w->genesis.chain, sequence, 1,
                                       bytes_text("note"), &out, NULL),
                     ERROR_NONE);
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_NONE);
    assert_int_equal(pool_add(w->pool, checked, 1, 1, &entry), POOL_ADDED);
}

static void expect_turn(struct world *w, uint32_t who, uint64_t sequence, bool last) {
    struct bytes found;
    uint32_t submitter = 99;
    uint64_t number = 0;
    assert_true(inbox_first(&w->inbox, &found));
    assert_true(pool_peek(w->members, found, &submitter, &number));
    assert_int_equal(submitter, who);
    assert_int_equal(number, sequence);
    assert_int_equal(inbox_pass(&w->inbox), last);
}

static struct inbox_search search_for(struct world *w, uint64_t proposal, const uint64_t *last) {
    return (struct inbox_search){.at = w->inbox.first, .members = w->members, .pool = w->pool,
                                 .proposal = proposal, .last = last};
}

/* 100 * who + sequence of what is found next; 0: nothing. */
static uint64_t next(struct world *w, struct inbox_search *search) {
    struct bytes found;
    uint32_t submitter = 0;
    uint64_t sequence = 0;
    if (!inbox_search_next(search, &found))
        return 0;
    assert_int_equal(found.len, BYTES);
    assert_true(pool_peek(w->members, found, &submitter, &sequence));
    return 100 * (uint64_t)submitter + sequence;
}

static void each_transaction_has_its_turn(void **state) {
    struct world *w = *state;
    say(w, 0, 1);
    say(w, 1, 7);
    arrive(w);
    say(w, 2, 3);
    arrive(w);
    assert_true(w->inbox.bytes > 3 * (BYTES + 4));
    expect_turn(w, 0, 1, false);
    expect_turn(w, 1, 7, true);
    expect_turn(w, 2, 3, true);
    assert_null(w->inbox.first);
    assert_int_equal(w->inbox.bytes, 0);
    say(w, 2, 4); /* the emptied one takes on */
    arrive(w);
    say(w, 2, 5);
    arrive(w);
    assert_int_equal(inbox_clear(&w->inbox), 2);
}

static void a_message_that_is_cut_short_is_so_when_its_turn_comes(void **state) {
    struct world *w = *state;
    static const uint64_t last[SUBMITTERS] = {9, 9, 9};
    say(w, 0, 1);
    say(w, 0, 2);
    w->message.len--;
    arrive(w);
    struct inbox_search search = search_for(w, 1, last);
    assert_int_equal(next(w, &search), 1);
    assert_int_equal(next(w, &search), 0);
    struct bytes found = bytes_text("untouched");
    expect_turn(w, 0, 1, false);
    assert_false(inbox_first(&w->inbox, &found));
    assert_true(bytes_equal(found, bytes_text("untouched")));
}

static void only_what_is_waited_for_is_found(void **state) {
    struct world *w = *state;
    static const uint64_t last[SUBMITTERS] = {4, 0, 9};
    pool_advance(w->pool, 2, 3);
    pool_has(w, 2, 5);
    say(w, 0, 1); /* is passed before */
    say(w, 0, 4);
    say(w, 0, 5); /* not named */
    say(w, 1, 1); /* of nobody who is named */
    wire_bytes(&w->message, bytes_text("no transaction"));
    say(w, 2, 2); /* on the chain */
    say(w, 2, 3);
    say(w, 2, 5); /* in the pool */
    say(w, 2, 6);
    arrive(w);
    expect_turn(w, 0, 1, false);
    struct inbox_search search = search_for(w, 1, last);
    assert_int_equal(next(w, &search), 4);
    assert_int_equal(next(w, &search), 203);
    assert_int_equal(next(w, &search), 206);
    assert_int_equal(next(w, &search), 0);
    expect_turn(w, 0, 4, false); /* what was found has its turn all the same */
}

static void a_search_goes_on_where_it_stopped_and_another_begins_anew(void **state) {
    struct world *w = *state;
    static const uint64_t last[SUBMITTERS] = {9, 9, 9};
    for (uint64_t i = 1; i <= 4; i++) {
        say(w, 0, 2 * i - 1);
        say(w, 0, 2 * i);
        arrive(w);
    }
    struct inbox_search search = search_for(w, 7, last);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(next(w, &search), i);
    search = search_for(w, 7, last); /* a slice was used up */
    assert_int_equal(next(w, &search), 4);
    search = search_for(w, 8, last);
    assert_int_equal(next(w, &search), 1);
    search = search_for(w, 9, last);
    search.after = 2; /* the first two messages were looked through for it */
    for (uint64_t i = 5; i <= 8; i++)
        assert_int_equal(next(w, &search), i);
    assert_int_equal(next(w, &search), 0);
    say(w, 1, 9);
    arrive(w);
    search.at = w->inbox.first;
    search.after = 4;
    assert_int_equal(next(w, &search), 109); /* what came since */
}

/* The same keys have other numbers by the next list. */
static void another_list_of_members_finds_the_places_anew(void **state) {
    struct world *w = *state;
    static const uint64_t last[SUBMITTERS] = {9, 0, 0};
    say(w, 0, 1);
    say(w, 1, 2);
    arrive(w);
    struct inbox_search search = search_for(w, 1, last);
    assert_int_equal(next(w, &search), 1);
    assert_int_equal(next(w, &search), 0);
    struct genesis_submitter first = w->submitters[0];
    w->submitters[0] = w->submitters[1];
    w->submitters[1] = first;
    members_free(w->members);
    w->members = members_of_genesis(&w->genesis);
    w->members->epoch = 1;
    search = search_for(w, 2, last);
    assert_int_equal(next(w, &search), 2);
    assert_int_equal(next(w, &search), 0);
}

static uint32_t chance(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % below;
}

/* Against a list of all that was said and has not had its turn. */
static void searches_find_what_a_walk_finds(void **state) {
    struct world *w = *state;
    struct {
        uint32_t who;
        uint64_t sequence;
    } said[600];
    size_t count = 0;
    size_t had = 0;
    for (uint32_t seed = 1, round = 1; round <= 60; round++) {
        for (uint32_t i = chance(&seed, 10) + 1; i > 0; i--, count++) {
            said[count].who = chance(&seed, SUBMITTERS);
            said[count].sequence = chance(&seed, 90) + 1;
            say(w, said[count].who, said[count].sequence);
        }
        arrive(w);
        for (uint32_t i = chance(&seed, 6); i > 0 && had < count; i--, had++) {
            struct bytes found;
            assert_true(inbox_first(&w->inbox, &found));
            (void)inbox_pass(&w->inbox);
        }
        uint32_t who = chance(&seed, SUBMITTERS);
        pool_advance(w->pool, who, pool_next(w->pool, who) + chance(&seed, 3));
        uint64_t last[SUBMITTERS];
        for (uint32_t i = 0; i < SUBMITTERS; i++)
            last[i] = chance(&seed, 99);
        struct inbox_search search = search_for(w, round, last);
        for (size_t i = had; i < count; i++)
            if (said[i].sequence <= last[said[i].who] &&
                said[i].sequence >= pool_next(w->pool, said[i].who))
                assert_int_equal(next(w, &search), 100 * said[i].who + said[i].sequence);
        assert_int_equal(next(w, &search), 0);
    }
    assert_true(count > 200 && had > 100);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, make_world, free_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(each_transaction_has_its_turn),
        EACH(a_message_that_is_cut_short_is_so_when_its_turn_comes),
        EACH(only_what_is_waited_for_is_found),
        EACH(a_search_goes_on_where_it_stopped_and_another_begins_anew),
        EACH(another_list_of_members_finds_the_places_anew),
        EACH(searches_find_what_a_walk_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
