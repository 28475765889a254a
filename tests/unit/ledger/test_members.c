/* Lists of members, changes, what evidence costs, and what a client believes: rules one by one, and
 * every flipped byte of what must not be changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/members.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"
#include "ledger/state/epochs.h"
#include "ledger/trust.h"

enum { NODES = 8 };

struct world {
    struct ledger_signer *signers[NODES];
    uint8_t keys[NODES][SIGNER_KEY_BYTES];
    struct genesis_validator validators[4];
    struct genesis_submitter submitter;
    struct genesis genesis;
    struct members *members;
};

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    for (uint8_t i = 0; i < NODES; i++) {
        uint8_t seed[32] = {i + 1};
        assert_int_equal(ledger_signer_seeded(seed, &w->signers[i], NULL), ERROR_NONE);
        ledger_signer_public(w->signers[i], w->keys[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        struct genesis_validator *v = &w->validators[i];
        (void)snprintf(v->name, sizeof v->name, "node-%u", i);
        (void)snprintf(v->address, sizeof v->address, "127.0.0.1:%u", 7000 + i);
        memcpy(v->vote_key, w->keys[i], SIGNER_KEY_BYTES);
        v->tls_pin.byte[0] = (uint8_t)(i + 1);
    }
    memset(w->submitter.key, 0x55, sizeof w->submitter.key);
    (void)snprintf(w->submitter.name, sizeof w->submitter.name, "east");
    memset(w->genesis.chain.byte, 0xcc, HASH_BYTES);
    w->genesis.validators = w->validators;
    w->genesis.validator_count = 4;
    w->genesis.submitters = &w->submitter;
    w->genesis.submitter_count = 1;
    w->members = members_of_genesis(&w->genesis);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    for (int i = 0; i < NODES; i++)
        ledger_signer_free(w->signers[i]);
    members_free(w->members);
    free(w);
    return 0;
}

/* An operation on node-<number> with that number's key. */
static struct change_operation on(const struct world *w, enum change_kind kind, int number) {
    struct change_operation o = {.kind = kind};
    (void)snprintf(o.name, sizeof o.name, "node-%d", number);
    bool removes = kind == CHANGE_REMOVE_VALIDATOR || kind == CHANGE_REMOVE_OBSERVER;
    if (removes)
        return o;
    memcpy(o.key, w->keys[number], SIGNER_KEY_BYTES);
    o.tls_pin.byte[0] = (uint8_t)(number + 1);
    if (kind == CHANGE_ADD_VALIDATOR || kind == CHANGE_REPLACE_VALIDATOR)
        (void)snprintf(o.address, sizeof o.address, "127.0.0.1:%d", 7000 + number);
    return o;
}

static void sign(const struct world *w, struct change *change, uint32_t from, uint32_t count) {
    struct hash statement = change_statement(change, &w->members->chain);
    change->signature_count = count;
    for (uint32_t i = 0; i < count; i++) {
        change->signatures[i].validator = (uint16_t)(from + i);
        ledger_signer_sign(w->signers[from + i], &statement, change->signatures[i].signature);
    }
}

/* Consumes the list; the next one, or NULL where the change is refused. */
static struct members *step(struct members *members, const struct change_operation *operations,
                            uint32_t count) {
    static struct change change;
    change = (struct change){.epoch = members->epoch, .operation_count = count};
    memcpy(change.operations, operations, count * sizeof *operations);
    struct members *next = NULL;
    (void)!members_change(members, &change, &next, NULL);
    members_free(members);
    return next;
}

static void a_list_is_its_bytes(void **state) {
    struct world *w = *state;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, MEMBERS_BYTES_MAX);
    members_encode(w->members, &bytes);
    struct members *again = NULL;
    assert_int_equal(members_decode(buffer_bytes(&bytes), &again, NULL), ERROR_NONE);
    assert_true(hash_equal(&again->hash, &w->members->hash));
    assert_int_equal(again->submitter_count, 5); /* the hospital's, and each node's own */
    assert_int_equal(members_submitter_by_key(again, w->submitter.key), 0);
    assert_int_equal(members_submitter_by_key(again, w->keys[2]), 3);
    assert_int_equal(members_submitter_by_key(again, w->keys[7]), -1);
    members_free(again);
    again = NULL;
    assert_int_equal(members_decode(bytes_of(bytes.data, bytes.len - 1), &again, NULL),
                     ERROR_PROTOCOL);
    assert_null(again);
}

static void nodes_come_and_go(void **state) {
    struct world *w = *state;
    struct change_operation come[] = {on(w, CHANGE_ADD_OBSERVER, 4)};
    struct members *m = step(members_copy(w->members), come, 1);
    assert_non_null(m);
    assert_int_equal(m->epoch, 1);
    assert_int_equal(m->observer_count, 1);
    assert_false(hash_equal(&m->hash, &w->members->hash));
    int number = members_submitter_by_key(m, w->keys[4]);
    assert_int_equal(number, 5);
    struct change_operation promote[] = {on(w, CHANGE_ADD_VALIDATOR, 4)};
    m = step(m, promote, 1);
    assert_int_equal(m->validator_count, 5);
    assert_int_equal(m->observer_count, 0);
    assert_int_equal(members_submitter_by_key(m, w->keys[4]), number);
    struct change_operation leave[] = {on(w, CHANGE_REMOVE_VALIDATOR, 4)};
    m = step(m, leave, 1);
    assert_int_equal(members_submitter_by_key(m, w->keys[4]), -1);
    m = step(m, promote, 1); /* who comes back has its old number */
    assert_int_equal(members_submitter_by_key(m, w->keys[4]), number);
    members_free(m);
}

static void what_does_not_fit_is_refused(void **state) {
    struct world *w = *state;
    struct change_operation other_key = on(w, CHANGE_ADD_VALIDATOR, 5);
    (void)snprintf(other_key.name, sizeof other_key.name, "node-4");
    struct change_operation same_pin = on(w, CHANGE_ADD_OBSERVER, 4);
    same_pin.tls_pin.byte[0] = 1;
    struct change_operation old_key = on(w, CHANGE_REPLACE_VALIDATOR, 1);
    memcpy(old_key.key, w->keys[0], SIGNER_KEY_BYTES);
    struct change_operation cases[][2] = {
        {on(w, CHANGE_ADD_VALIDATOR, 1), on(w, CHANGE_ADD_OBSERVER, 4)},  /* is there */
        {on(w, CHANGE_REMOVE_VALIDATOR, 6), on(w, CHANGE_ADD_OBSERVER, 4)}, /* is not there */
        {on(w, CHANGE_ADD_OBSERVER, 4), other_key}, /* another's name, other keys */
        {on(w, CHANGE_ADD_OBSERVER, 5), same_pin},  /* one pin, two nodes */
        {on(w, CHANGE_ADD_OBSERVER, 4), old_key},   /* a key that another has */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_null(step(members_copy(w->members), cases[i], 2));
    struct change_operation all[4];
    for (int i = 0; i < 4; i++)
        all[i] = on(w, CHANGE_REMOVE_VALIDATOR, i);
    assert_null(step(members_copy(w->members), all, 4)); /* nobody would be left */
}

static void a_quorum_must_sign_what_it_says(void **state) {
    struct world *w = *state;
    static struct change c;
    c = (struct change){.operation_count = 1};
    c.operations[0] = on(w, CHANGE_ADD_OBSERVER, 4);
    sign(w, &c, 0, 3);
    assert_int_equal(change_check_signatures(&c, w->members, NULL), ERROR_NONE);
    sign(w, &c, 0, 2);
    assert_int_equal(change_check_signatures(&c, w->members, NULL), ERROR_VERIFY);
    sign(w, &c, 3, 3); /* two of them are no validators */
    assert_int_equal(change_check_signatures(&c, w->members, NULL), ERROR_VERIFY);
    sign(w, &c, 0, 3);
    c.operations[0].tls_pin.byte[5] ^= 1;
    assert_int_equal(change_check_signatures(&c, w->members, NULL), ERROR_VERIFY);
    c.operations[0].tls_pin.byte[5] ^= 1;
    c.epoch = 1; /* what was signed for one epoch is nothing in another */
    assert_int_equal(change_check_signatures(&c, w->members, NULL), ERROR_VERIFY);
    c.epoch = 0;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, CHANGE_BYTES_MAX);
    c.signatures[1] = c.signatures[0]; /* one signature twice is none */
    assert_int_equal(change_encode(&c, &bytes, NULL), ERROR_NONE);
    assert_int_equal(change_decode(buffer_bytes(&bytes), &c, NULL), ERROR_PROTOCOL);
}

static void evidence_expels_down_to_four_then_suspends(void **state) {
    struct world *w = *state;
    struct change_operation come[] = {on(w, CHANGE_ADD_VALIDATOR, 4)};
    struct members *five = step(members_copy(w->members), come, 1);
    struct members *four = NULL;
    struct members *suspended = NULL;
    struct members *none = NULL;
    assert_int_equal(members_expel(five, 1, &four, NULL), ERROR_NONE);
    assert_int_equal(four->validator_count, 4);
    assert_int_equal(members_validator_by_key(four, w->keys[1]), -1);
    assert_int_equal(members_submitter_by_key(four, w->keys[1]), -1);
    assert_int_equal(members_expel(four, 1, &suspended, NULL), ERROR_NONE);
    assert_int_equal(suspended->validator_count, 4);
    assert_true(suspended->validators[1].suspended);
    assert_false(hash_equal(&suspended->hash, &four->hash));
    assert_int_equal(members_expel(suspended, 1, &none, NULL), ERROR_TX_REJECTED);
    struct change_operation renew = on(w, CHANGE_REPLACE_VALIDATOR, 5);
    (void)snprintf(renew.name, sizeof renew.name, "%s", suspended->validators[1].name);
    suspended = step(suspended, &renew, 1);
    assert_false(suspended->validators[1].suspended);
    members_free(suspended);
    members_free(four);
    members_free(five);
}

/* The evidence that the validator with this number signed two blocks in epoch 0. */
static void make_evidence(const struct world *w, uint16_t number, struct buffer *out) {
    struct pbft_evidence e = {.domain = {w->genesis.chain, 0}, .signer = number};
    for (int i = 0; i < 2; i++) {
        e.ballots[i] = (struct pbft_ballot){PBFT_PREPARE, 0, 7, {{(uint8_t)(i + 1)}}};
        struct hash statement = pbft_ballot_statement(&e.domain, &e.ballots[i]);
        ledger_signer_sign(w->signers[number], &statement, e.signatures[i]);
    }
    pbft_evidence_encode(&e, out);
}

static enum transaction_status judge(const struct epochs *epochs, struct bytes evidence) {
    struct transaction tx = {.type = TRANSACTION_EVIDENCE, .body = evidence};
    enum transaction_status status = TX_DONE;
    struct members *next = NULL;
    assert_int_equal(epochs_judge(epochs, &tx, &status, &next, NULL), ERROR_NONE);
    assert_int_equal(next != NULL, status == TX_DONE);
    members_free(next);
    return status;
}

static void evidence_counts_against_a_key_that_votes(void **state) {
    struct world *w = *state;
    struct epochs epochs;
    SCOPED_BUFFER struct buffer evidence;
    buffer_init(&evidence, PBFT_EVIDENCE_BYTES);
    make_evidence(w, 2, &evidence);
    epochs_init(&epochs, members_copy(w->members));
    assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_DONE);
    evidence.data[100] ^= 1;
    assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_EVIDENCE);
    evidence.data[100] ^= 1;
    for (int i = 0; i < EPOCHS_KEPT; i++) { /* as long as the epoch is kept */
        assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_DONE);
        struct members *next = members_copy(epochs.members);
        next->epoch++;
        members_seal(next);
        epochs_next(&epochs, next);
    }
    assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_DONE);
    struct members *later = members_copy(epochs.members);
    later->epoch++;
    members_seal(later);
    epochs_next(&epochs, later);
    assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_EVIDENCE);
    epochs_done(&epochs);
    /* The key was replaced: whoever found it can make such ballots, and it is nobody's fault. */
    epochs_init(&epochs, members_copy(w->members));
    struct change_operation renew = on(w, CHANGE_REPLACE_VALIDATOR, 6);
    (void)snprintf(renew.name, sizeof renew.name, "node-2");
    epochs_next(&epochs, step(members_copy(w->members), &renew, 1));
    assert_int_equal(judge(&epochs, buffer_bytes(&evidence)), TX_EVIDENCE);
    epochs_done(&epochs);
}

static void certify(const struct world *w, const struct block_header *header, uint32_t count,
                    struct buffer *out) {
    static struct pbft_certificate c;
    struct pbft_domain domain = {header->chain, header->epoch};
    struct hash hash = block_hash(header);
    c = (struct pbft_certificate){.ballot = {PBFT_COMMIT, 0, header->height, hash},
                                  .epoch = header->epoch,
                                  .seal_count = count};
    struct hash statement = pbft_ballot_statement(&domain, &c.ballot);
    for (uint32_t i = 0; i < count; i++) {
        c.seals[i].signer = (uint16_t)i;
        ledger_signer_sign(w->signers[i], &statement, c.seals[i].signature);
    }
    buffer_clear(out);
    pbft_certificate_encode(&c, out);
}

static void a_client_goes_from_list_to_list(void **state) {
    struct world *w = *state;
    struct trust *trust = trust_new(&w->genesis);
    struct change_operation come[] = {on(w, CHANGE_ADD_VALIDATOR, 4)};
    struct members *next = step(members_copy(w->members), come, 1);
    struct block_header last = {.chain = w->genesis.chain, .height = 9, .members = next->hash};
    SCOPED_BUFFER struct buffer certificate;
    SCOPED_BUFFER struct buffer list;
    buffer_init(&certificate, PBFT_CERTIFICATE_BYTES_MAX);
    buffer_init(&list, MEMBERS_BYTES_MAX);
    members_encode(next, &list);
    certify(w, &last, 2, &certificate); /* no quorum */
    assert_int_equal(trust_next(trust, &last, buffer_bytes(&certificate), buffer_bytes(&list), NULL),
                     ERROR_VERIFY);
    certify(w, &last, 3, &certificate);
    for (size_t i = 0; i < list.len; i += 7) { /* another list than the header names */
        list.data[i] ^= 1;
        assert_int_not_equal(
            trust_next(trust, &last, buffer_bytes(&certificate), buffer_bytes(&list), NULL),
            ERROR_NONE);
        list.data[i] ^= 1;
    }
    struct block_header bent = last;
    bent.members.byte[3] ^= 1; /* another header than the certificate's */
    assert_int_equal(trust_next(trust, &bent, buffer_bytes(&certificate), buffer_bytes(&list), NULL),
                     ERROR_VERIFY);
    struct block_header above = {.chain = w->genesis.chain, .epoch = 1, .height = 10};
    SCOPED_BUFFER struct buffer by_five;
    buffer_init(&by_five, PBFT_CERTIFICATE_BYTES_MAX);
    certify(w, &above, 4, &by_five);
    assert_int_equal(trust_check(trust, &above, buffer_bytes(&by_five), NULL, NULL), ERROR_VERIFY);
    assert_int_equal(trust_epoch(trust), 0);
    assert_int_equal(trust_next(trust, &last, buffer_bytes(&certificate), buffer_bytes(&list), NULL),
                     ERROR_NONE);
    assert_int_equal(trust_epoch(trust), 1);
    assert_int_equal(trust_validator_count(trust), 5);
    assert_int_equal(trust_check(trust, &above, buffer_bytes(&by_five), NULL, NULL), ERROR_NONE);
    certify(w, &above, 3, &by_five); /* a quorum of four is none of five */
    assert_int_equal(trust_check(trust, &above, buffer_bytes(&by_five), NULL, NULL), ERROR_VERIFY);
    /* The same step a second time leads nowhere. */
    assert_int_equal(trust_next(trust, &last, buffer_bytes(&certificate), buffer_bytes(&list), NULL),
                     ERROR_VERIFY);
    members_free(next);
    trust_free(trust);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, make_world, free_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(a_list_is_its_bytes),
        EACH(nodes_come_and_go),
        EACH(what_does_not_fit_is_refused),
        EACH(a_quorum_must_sign_what_it_says),
        EACH(evidence_expels_down_to_four_then_suspends),
        EACH(evidence_counts_against_a_key_that_votes),
        EACH(a_client_goes_from_list_to_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
