/* What transactions do, over a base that is a plain table: the rules one by one, exactly once,
 * failed transactions without effect, dropped blocks; then the same over the real store, with a
 * crash between append and apply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/ledger.h"
#include "ledger/signer.h"
#include "ledger/merkle/map.h"
#include "ledger/state/state.h"
#include "ledger/store/store.h"
#include "ledger/store/votes.h"

static struct hash filled(uint8_t byte) {
    struct hash h;
    memset(h.byte, byte, sizeof h.byte);
    return h;
}

struct world {
    struct ledger_signer *signers[2];
    struct genesis_submitter submitters[2];
    struct genesis genesis;
    struct members *members;
    struct state_table *table;
    struct state *state;
    uint64_t sequence[2];
};

static enum error_code table_get(void *self, const struct state_key *key,
                                 struct state_value *ret_value, bool *ret_found,
                                 struct error *err) {
    (void)err;
    struct world *w = self;
    const struct state_value *value = state_table_get(w->table, key);
    *ret_found = value != NULL;
    if (value != NULL)
        *ret_value = *value;
    return ERROR_NONE;
}

static struct epochs first_epoch(const struct world *w) {
    struct epochs epochs;
    epochs_init(&epochs, members_copy(w->members));
    return epochs;
}

static int make_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    for (uint8_t i = 0; i < 2; i++) {
        uint8_t seed[32] = {i};
        assert_int_equal(ledger_signer_seeded(seed, &w->signers[i], NULL), ERROR_NONE);
        ledger_signer_public(w->signers[i], w->submitters[i].key);
        w->sequence[i] = 1;
    }
    w->genesis.chain = filled(0xcc);
    w->genesis.submitters = w->submitters;
    w->genesis.submitter_count = 2;
    w->table = state_table_new(1);
    struct merkle_frontier frontier;
    merkle_frontier_init(&frontier);
    struct state_base base = {table_get, w};
    w->members = members_of_genesis(&w->genesis);
    struct epochs epochs = first_epoch(w);
    w->state = state_new(&epochs, &base, 0, &frontier, 7);
    *state = w;
    return 0;
}

static int free_world(void **state) {
    struct world *w = *state;
    state_free(w->state);
    members_free(w->members);
    state_table_free(w->table);
    ledger_signer_free(w->signers[0]);
    ledger_signer_free(w->signers[1]);
    free(w);
    return 0;
}

static struct leaf created(uint8_t name) {
    struct leaf leaf = {.operation = LEAF_CREATE, .origin = LEAF_DECLARED, .version = 1,
                        .content = filled(1), .raw = filled(2), .mapping = filled(3)};
    memset(leaf.locator.byte, name, LOCATOR_BYTES);
    return leaf;
}

static struct leaf follows(const struct leaf *before, enum leaf_operation operation) {
    struct leaf leaf = *before;
    leaf.operation = operation;
    leaf.version++;
    leaf.previous = leaf_hash(before);
    leaf.content = operation == LEAF_DELETE ? filled(0) : filled(9);
    leaf.raw = operation == LEAF_DELETE ? filled(0) : filled(8);
    return leaf;
}

static struct checked_transaction *anchor_of(struct world *w, int who, const struct leaf *leaves,
                                             uint32_t count) {
    struct ledger_anchor anchor = {.batch = 1, .leaves = leaves, .leaf_count = count};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(ledger_build_anchor(w->signers[who], &w->genesis.chain, w->sequence[who]++,
                                         1, &anchor, &out, NULL),
                     ERROR_NONE);
    struct checked_transaction *checked = NULL;
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_NONE);
    return checked;
}

static enum transaction_status run(struct world *w, int who, const struct leaf *leaves,
                                   uint32_t count) {
    struct checked_transaction *checked = anchor_of(w, who, leaves, count);
    enum transaction_status status = TX_STATUS_COUNT;
    assert_int_equal(state_execute(w->state, checked, 0, 0, &status, NULL), ERROR_NONE);
    checked_transaction_free(checked);
    return status;
}

static bool record_of(struct state *state, uint8_t name, struct state_record *ret_record) {
    uint8_t locator[LOCATOR_BYTES];
    memset(locator, name, sizeof locator);
    struct hash map = map_key(locator);
    struct state_key key = state_key(STATE_RECORD, map.byte, HASH_BYTES);
    struct state_value value;
    bool found = false;
    assert_int_equal(state_get(state, &key, &value, &found, NULL), ERROR_NONE);
    if (found)
        state_record_decode(&value, ret_record);
    return found;
}

static struct state_submitter counts_of(struct world *w, int who) {
    struct state_submitter submitter;
    assert_int_equal(state_submitter(w->state, w->submitters[who].key, &submitter, NULL),
                     ERROR_NONE);
    return submitter;
}

/* Whatever room was made before, a table holds what was put, in the order of the first put. */
static void a_table_with_room_for_some_takes_any_number(void **state) {
    enum { MOST = 300 };
    (void)state;
    for (size_t room = 0; room < MOST; room += 37) {
        struct state_table *table = state_table_new(5);
        state_table_reserve(table, room);
        for (uint32_t i = 0; i < MOST; i++) {
            uint8_t raw[4] = {(uint8_t)i, (uint8_t)(i >> 8)};
            struct state_key key = state_key(STATE_TRANSACTION, raw, sizeof raw);
            struct state_value value = {.len = 1, .byte = {(uint8_t)i}};
            assert_null(state_table_get(table, &key));
            assert_int_equal(state_table_put(table, &key, &value).len, 0);
            assert_int_equal(state_table_put(table, &key, &value).len, 1);
        }
        assert_int_equal(state_table_count(table), MOST);
        size_t cursor = 0;
        for (uint32_t i = 0; i < MOST; i++) {
            const struct state_entry *entry = state_table_each(table, &cursor);
            assert_non_null(entry);
            assert_int_equal(entry->value.byte[0], (uint8_t)i);
            assert_ptr_equal(state_table_get(table, &entry->key), &entry->value);
        }
        assert_null(state_table_each(table, &cursor));
        state_table_free(table);
    }
}

static void versions_follow_one_another(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct leaf one = created('a');
    struct leaf two = follows(&one, LEAF_MODIFY);
    struct leaf gone = follows(&two, LEAF_DELETE);
    struct leaf back = follows(&gone, LEAF_CREATE);
    struct leaf all[] = {one, two}; /* two versions in one anchor */
    assert_int_equal(run(w, 0, all, 2), TX_DONE);
    struct leaf twice = follows(&two, LEAF_CREATE);
    assert_int_equal(run(w, 0, &twice, 1), TX_OPERATION);
    assert_int_equal(run(w, 0, &gone, 1), TX_DONE);
    assert_int_equal(counts_of(w, 0).records, 0);
    struct leaf ghost = follows(&gone, LEAF_MODIFY);
    assert_int_equal(run(w, 0, &ghost, 1), TX_OPERATION);
    assert_int_equal(run(w, 0, &back, 1), TX_DONE);
    assert_int_equal(counts_of(w, 0).records, 1);
    assert_int_equal(counts_of(w, 0).versions, 4);
    assert_int_equal(counts_of(w, 1).versions, 0);
    assert_int_equal(counts_of(w, 1).next_sequence, 1);
    struct state_record record;
    assert_true(record_of(w->state, 'a', &record));
    assert_int_equal(record.version, 4);
    assert_int_equal(record.log_index, 3);
    assert_int_equal(state_log_size(w->state), 4);
    struct hash hashes[] = {leaf_hash(&one), leaf_hash(&two), leaf_hash(&gone), leaf_hash(&back)};
    struct hash root = merkle_root_of(hashes, 4);
    struct hash found = state_log_root(w->state);
    assert_true(hash_equal(&found, &root));
}

static void wrong_links_have_no_effect_at_all(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct leaf one = created('a');
    assert_int_equal(run(w, 0, &one, 1), TX_DONE);
    struct leaf skipped = follows(&one, LEAF_MODIFY);
    skipped.version = 3;
    struct leaf unlinked = follows(&one, LEAF_MODIFY);
    unlinked.previous = filled(5);
    struct leaf foreign = follows(&one, LEAF_MODIFY);
    struct leaf good = created('b');
    struct leaf batches[][2] = {{good, skipped}, {good, unlinked}, {good, one}};
    static const enum transaction_status expected[] = {TX_VERSION, TX_PREVIOUS, TX_VERSION};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run(w, 0, batches[i], 2), expected[i]);
        struct state_record record;
        assert_false(record_of(w->state, 'b', &record)); /* the good leaf had no effect either */
        assert_int_equal(state_log_size(w->state), 1);
    }
    assert_int_equal(run(w, 1, &foreign, 1), TX_OWNER);
    struct state_submitter submitter = counts_of(w, 0);
    assert_int_equal(submitter.next_sequence, 5); /* failed ones count: they stand in the block */
    assert_int_equal(submitter.records, 1);       /* and add nothing else */
    assert_int_equal(submitter.versions, 1);
    assert_int_equal(run(w, 0, &good, 1), TX_DONE);
}

static void a_sequence_executes_once(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct leaf one = created('a');
    struct checked_transaction *checked = anchor_of(w, 0, &one, 1);
    struct leaf other = created('b');
    struct checked_transaction *later = anchor_of(w, 0, &other, 1);
    enum transaction_status status;
    assert_int_equal(state_execute(w->state, later, 0, 0, &status, NULL), ERROR_TX_REJECTED);
    assert_int_equal(state_execute(w->state, checked, 0, 0, &status, NULL), ERROR_NONE);
    assert_int_equal(state_execute(w->state, checked, 1, 0, &status, NULL), ERROR_TX_REJECTED);
    assert_int_equal(state_execute(w->state, later, 1, 0, &status, NULL), ERROR_NONE);
    checked_transaction_free(checked);
    checked_transaction_free(later);
}

/* Executes one transaction of this type and body. */
static enum transaction_status run_body(struct world *w, int who, enum transaction_type type,
                                        struct bytes body) {
    struct transaction tx = {.type = type, .chain = w->genesis.chain,
                             .sequence = w->sequence[who]++, .body = body};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(transaction_sign(w->signers[who], &tx, &out, NULL), ERROR_NONE);
    struct checked_transaction *checked = NULL;
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_NONE);
    enum transaction_status status = TX_STATUS_COUNT;
    assert_int_equal(state_execute(w->state, checked, 3, 0, &status, NULL), ERROR_NONE);
    checked_transaction_free(checked);
    return status;
}

static enum transaction_status run_person(struct world *w, int who, const struct person *person) {
    uint8_t raw[PERSON_BYTES];
    person_encode(person, raw);
    return run_body(w, who, TRANSACTION_PERSON, bytes_of(raw, sizeof raw));
}

static enum transaction_status run_permission(struct world *w, int who,
                                              const struct permission *permission) {
    uint8_t raw[PERMISSION_BYTES];
    permission_encode(permission, raw);
    return run_body(w, who, TRANSACTION_PERMISSION, bytes_of(raw, sizeof raw));
}

/* As somebody asks under the permission 'p', or under none; each time with a fresh reference. */
static enum transaction_status run_query(struct world *w, int who, uint8_t permission,
                                         uint8_t patient) {
    struct query query = {.patient = filled(patient), .content = filled(1)};
    memset(query.permission, permission, sizeof query.permission);
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, QUERY_BYTES_MAX);
    query_encode(&query, &body);
    return run_body(w, who, TRANSACTION_QUERY, buffer_bytes(&body));
}

static bool place_of(struct world *w, uint8_t reference, struct state_reference *ret_place) {
    struct hash h = filled(reference);
    struct state_key key = state_key(STATE_REFERENCE, h.byte, HASH_BYTES);
    struct state_value value;
    bool found = false;
    assert_int_equal(state_get(w->state, &key, &value, &found, NULL), ERROR_NONE);
    if (found)
        state_reference_decode(&value, ret_place);
    return found;
}

static void a_registration_goes_on_by_expected_versions(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct person one = {PERSON_PATIENT, PERSON_REGISTER, 1, filled(0x50), filled(1), filled(2)};
    assert_int_equal(run_person(w, 0, &one), TX_DONE);
    assert_int_equal(run_person(w, 0, &one), TX_VERSION); /* again: that version is there */
    struct person two = one;
    two.operation = PERSON_REPLACE;
    two.version = 3;
    two.key = filled(9);
    assert_int_equal(run_person(w, 0, &two), TX_VERSION);
    two.version = 2;
    assert_int_equal(run_person(w, 1, &two), TX_OWNER);
    two.kind = PERSON_DOCTOR;
    assert_int_equal(run_person(w, 0, &two), TX_OPERATION);
    two.kind = PERSON_PATIENT;
    assert_int_equal(run_person(w, 0, &two), TX_DONE);
    assert_int_equal(run_person(w, 0, &two), TX_VERSION);
    struct person gone = {PERSON_PATIENT, PERSON_REVOKE, 3, filled(0x50), filled(0), filled(0)};
    assert_int_equal(run_person(w, 0, &gone), TX_DONE);
    two.version = 4;
    assert_int_equal(run_person(w, 0, &two), TX_OPERATION); /* for good */
    struct state_key key = state_key(STATE_PERSON, one.reference.byte, HASH_BYTES);
    struct state_value value;
    struct state_person latest;
    bool found = false;
    assert_int_equal(state_get(w->state, &key, &value, &found, NULL), ERROR_NONE);
    assert_true(found);
    state_person_decode(&value, &latest);
    assert_int_equal(latest.version, 3);
    assert_int_equal(latest.operation, PERSON_REVOKE);
    assert_int_equal(latest.owner, 0);
    struct person lone = {PERSON_DOCTOR, PERSON_REPLACE, 2, filled(0x51), filled(1), filled(2)};
    assert_int_equal(run_person(w, 0, &lone), TX_VERSION); /* of nobody who was registered */
}

static void a_query_needs_the_permission_that_it_names(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct permission grant = {.operation = PERMISSION_GRANT, .version = 1,
                               .patient = filled(0x60), .doctor = filled(0x61),
                               .content = filled(1)};
    memset(grant.name, 'p', sizeof grant.name);
    memset(grant.grantee, 0x77, sizeof grant.grantee);
    assert_int_equal(run_query(w, 1, 'p', 0x70), TX_PERMISSION); /* there is none yet */
    assert_int_equal(run_permission(w, 0, &grant), TX_PERMISSION); /* to nobody on this chain */
    memcpy(grant.grantee, w->submitters[0].key, sizeof grant.grantee);
    assert_int_equal(run_permission(w, 0, &grant), TX_DONE);
    assert_int_equal(run_query(w, 1, 'p', 0x71), TX_PERMISSION); /* it is another's */
    grant.patient = filled(0x62);
    grant.doctor = filled(0);
    memcpy(grant.grantee, w->submitters[1].key, sizeof grant.grantee);
    assert_int_equal(run_permission(w, 0, &grant), TX_VERSION);
    grant.version = 2;
    assert_int_equal(run_permission(w, 1, &grant), TX_OWNER); /* nobody grants himself another's */
    assert_int_equal(run_permission(w, 0, &grant), TX_DONE);
    assert_int_equal(run_query(w, 1, 'p', 0x72), TX_DONE);
    assert_int_equal(run_query(w, 0, 'p', 0x73), TX_DONE); /* who granted it may ask, too */
    struct permission revoke = {.operation = PERMISSION_REVOKE, .version = 3,
                                .patient = filled(0x63), .content = filled(1)};
    memset(revoke.name, 'p', sizeof revoke.name);
    assert_int_equal(run_permission(w, 1, &revoke), TX_OWNER);
    assert_int_equal(run_permission(w, 0, &revoke), TX_DONE);
    assert_int_equal(run_query(w, 1, 'p', 0x74), TX_PERMISSION);
    assert_int_equal(run_query(w, 0, 'p', 0x74), TX_PERMISSION); /* it is over for both */
    assert_int_equal(run_query(w, 1, 0, 0x74), TX_DONE); /* its own patient: none is needed */
    grant.version = 4;
    grant.patient = filled(0x64);
    assert_int_equal(run_permission(w, 0, &grant), TX_OPERATION);
    assert_int_equal(counts_of(w, 0).next_sequence, 9); /* failed ones count, too */
}

static void a_reference_stands_on_the_chain_once(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct state_reference place;
    assert_int_equal(run_query(w, 0, 0, 0x70), TX_DONE);
    assert_true(place_of(w, 0x70, &place));
    assert_int_equal(place.height, 1);
    assert_int_equal(place.transaction, 3);
    assert_int_equal(run_query(w, 1, 0, 0x70), TX_REFERENCE);
    struct person person = {PERSON_DOCTOR, PERSON_REGISTER, 1, filled(0x70), filled(1), filled(2)};
    assert_int_equal(run_person(w, 1, &person), TX_REFERENCE);
    struct permission grant = {.operation = PERMISSION_GRANT, .name = {1}, .version = 1,
                               .patient = filled(0x71), .doctor = filled(0x70),
                               .content = filled(1)};
    memcpy(grant.grantee, w->submitters[1].key, sizeof grant.grantee);
    assert_int_equal(run_permission(w, 1, &grant), TX_REFERENCE);
    assert_false(place_of(w, 0x71, &place)); /* what failed used nothing */
    struct state_key key = state_key(STATE_PERMISSION, grant.name, sizeof grant.name);
    struct state_value value;
    bool found = true;
    assert_int_equal(state_get(w->state, &key, &value, &found, NULL), ERROR_NONE);
    assert_false(found);
    grant.doctor = filled(0x72);
    assert_int_equal(run_permission(w, 1, &grant), TX_DONE);
}

/* An anchor with slots: leaf i is of the patient and the doctor of these bytes. */
static enum transaction_status run_slotted(struct world *w, const struct leaf *leaves,
                                           const uint8_t people[][2], uint32_t count) {
    enum { SLOT = 80 };
    struct ledger_anchor anchor = {.batch = 1, .leaves = leaves, .leaf_count = count};
    uint8_t slots[4 * SLOT] = {0};
    for (uint32_t i = 0; i < count; i++) {
        memset(slots + (size_t)i * SLOT, people[i][0], HASH_BYTES);
        memset(slots + (size_t)i * SLOT + HASH_BYTES, people[i][1], HASH_BYTES);
    }
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(anchor_encode(&anchor, SLOT, bytes_of(slots, (size_t)count * SLOT), &body,
                                   NULL),
                     ERROR_NONE);
    return run_body(w, 0, TRANSACTION_ANCHOR, buffer_bytes(&body));
}

static void records_are_found_by_their_peoples_references(void **state) {
    struct world *w = *state;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    struct leaf leaves[] = {created('a'), created('b')};
    struct state_reference place;
    struct state_record record;
    assert_int_equal(run_slotted(w, leaves, (const uint8_t[][2]){{0x80, 0x90}, {0x81, 0x90}}, 2),
                     TX_REFERENCE); /* one doctor's reference for two records */
    assert_false(place_of(w, 0x80, &place));
    assert_false(place_of(w, 0x90, &place));
    assert_false(record_of(w->state, 'a', &record));
    assert_int_equal(state_log_size(w->state), 0);
    assert_int_equal(run_slotted(w, leaves, (const uint8_t[][2]){{0x80, 0x90}, {0x81, 0}}, 2),
                     TX_DONE);
    assert_true(place_of(w, 0x81, &place));
    assert_int_equal(place.transaction, 3);
    assert_int_equal(place.leaf, 1);
    assert_true(record_of(w->state, 'b', &record));
    struct leaf next = follows(&leaves[0], LEAF_MODIFY);
    assert_int_equal(run_slotted(w, &next, (const uint8_t[][2]){{0x80, 0}}, 1), TX_REFERENCE);
    assert_int_equal(run_slotted(w, &next, (const uint8_t[][2]){{0x82, 0}}, 1), TX_DONE);
    state_undo(w->state, 1);
    assert_false(place_of(w, 0x80, &place)); /* a dropped block used none */
}

/* What transaction_check says of a transaction of this type, signed by who. */
static enum error_code endorse(struct world *w, int who, enum transaction_type type,
                               struct bytes body, struct checked_transaction **ret_ordered,
                               struct error *err) {
    struct transaction tx = {.type = type, .chain = w->genesis.chain,
                             .sequence = w->sequence[who], .body = body};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(transaction_sign(w->signers[who], &tx, &out, NULL), ERROR_NONE);
    assert_int_equal(
        transaction_check_ordered(w->members, buffer_bytes(&out), ret_ordered, NULL), ERROR_NONE);
    struct checked_transaction *checked = NULL;
    enum error_code code = transaction_check(w->members, buffer_bytes(&out), &checked, err);
    checked_transaction_free(checked);
    return code;
}

/* The world again, with the second submitter in another role. */
static void give_role(struct world *w, enum member_role role) {
    struct merkle_frontier frontier;
    struct state_base base = {table_get, w};
    merkle_frontier_init(&frontier);
    w->members->submitters[1].role = role;
    (void)snprintf(w->members->submitters[1].name, sizeof w->members->submitters[1].name, "east");
    members_seal(w->members);
    struct epochs epochs = first_epoch(w);
    state_free(w->state);
    w->state = state_new(&epochs, &base, 0, &frontier, 7);
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    w->sequence[1] = 1;
}

static void a_role_submits_its_types_and_no_others(void **state) {
    struct world *w = *state;
    uint8_t person_raw[PERSON_BYTES];
    struct person person = {PERSON_DOCTOR, PERSON_REGISTER, 1, filled(3), filled(1), filled(2)};
    person_encode(&person, person_raw);
    uint8_t incident_raw[INCIDENT_BYTES];
    struct incident incident = {.kind = INCIDENT_MISSING, .version = 1};
    incident_encode(&incident, incident_raw);
    struct query query = {.patient = filled(4), .content = filled(1)};
    SCOPED_BUFFER struct buffer query_raw;
    buffer_init(&query_raw, QUERY_BYTES_MAX);
    query_encode(&query, &query_raw);
    const struct {
        enum member_role role;
        enum transaction_type type;
        struct bytes body;
        const char *refused; /* NULL: it may */
        enum transaction_status status; /* where it stands in a block all the same */
    } rows[] = {
        {MEMBER_GATEWAY, TRANSACTION_PERSON, bytes_of(person_raw, sizeof person_raw), NULL, TX_DONE},
        {MEMBER_GATEWAY, TRANSACTION_QUERY, buffer_bytes(&query_raw), NULL, TX_DONE},
        {MEMBER_AUDITOR, TRANSACTION_QUERY, buffer_bytes(&query_raw), NULL, TX_DONE},
        {MEMBER_AUDITOR, TRANSACTION_INCIDENT, bytes_of(incident_raw, sizeof incident_raw), NULL,
         TX_UNKNOWN},
        {MEMBER_AUDITOR, TRANSACTION_PERSON, bytes_of(person_raw, sizeof person_raw),
         "transaction: east has the role auditor, which may not submit the type person: that needs "
         "gateway",
         TX_ROLE},
        {MEMBER_NODE, TRANSACTION_QUERY, buffer_bytes(&query_raw),
         "transaction: east has the role node, which may not submit the type query: that needs "
         "gateway or auditor",
         TX_ROLE},
        {MEMBER_NODE, TRANSACTION_NOTE, BYTES_LITERAL("x"),
         "transaction: east has the role node, which may not submit the type note: that needs "
         "gateway or auditor",
         TX_ROLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err;
        struct checked_transaction *ordered = NULL;
        enum transaction_status status = TX_STATUS_COUNT;
        give_role(w, rows[i].role);
        enum error_code code = endorse(w, 1, rows[i].type, rows[i].body, &ordered, &err);
        assert_int_equal(code, rows[i].refused == NULL ? ERROR_NONE : ERROR_TX_REJECTED);
        if (rows[i].refused != NULL)
            assert_string_equal(err.message, rows[i].refused);
        /* A leader that asked nobody: in the block without effect, and its sequence is used. */
        assert_int_equal(state_execute(w->state, ordered, 0, 0, &status, NULL), ERROR_NONE);
        assert_int_equal(status, rows[i].status);
        assert_int_equal(counts_of(w, 1).next_sequence, 2);
        struct state_reference place;
        bool used = rows[i].status == TX_DONE;
        assert_int_equal(place_of(w, rows[i].type == TRANSACTION_PERSON ? 3 : 4, &place), used);
        checked_transaction_free(ordered);
    }
}

static void every_type_has_a_role_that_may_submit_it(void **state) {
    (void)state;
    for (int type = TRANSACTION_ANCHOR; type < TRANSACTION_TYPE_COUNT; type++) {
        bool some = false;
        for (int role = MEMBER_GATEWAY; role <= MEMBER_AUDITOR; role++)
            some = some || transaction_permitted((enum member_role)role,
                                                 (enum transaction_type)type);
        assert_true(some);
        assert_string_not_equal(transaction_type_name((enum transaction_type)type), "unknown");
    }
    assert_false(transaction_permitted(MEMBER_GATEWAY, (enum transaction_type)0));
    assert_false(transaction_permitted(MEMBER_GATEWAY, TRANSACTION_TYPE_COUNT));
    assert_false(transaction_permitted(MEMBER_AUDITOR, TRANSACTION_ANCHOR));
    assert_false(transaction_permitted(MEMBER_NODE, TRANSACTION_ANCHOR));
    assert_false(transaction_permitted(MEMBER_AUDITOR, TRANSACTION_PERMISSION));
    assert_false(transaction_permitted(MEMBER_AUDITOR, TRANSACTION_CHANGE));
}

static void a_dropped_block_leaves_nothing(void **state) {
    struct world *w = *state;
    struct leaf one = created('a');
    struct leaf two = follows(&one, LEAF_MODIFY);
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    assert_int_equal(run(w, 0, &one, 1), TX_DONE);
    struct hash before = state_log_root(w->state);
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    assert_int_equal(run(w, 0, &two, 1), TX_DONE);
    assert_int_equal(state_height(w->state), 2);
    state_undo(w->state, 2);
    assert_int_equal(state_height(w->state), 1);
    struct hash after = state_log_root(w->state);
    assert_true(hash_equal(&before, &after));
    struct state_record record;
    assert_true(record_of(w->state, 'a', &record));
    assert_int_equal(record.version, 1);
    w->sequence[0] = 2;
    assert_int_equal(state_begin(w->state, NULL), ERROR_NONE);
    assert_int_equal(run(w, 0, &two, 1), TX_DONE);
}

static void strangers_and_other_chains_are_refused(void **state) {
    struct world *w = *state;
    uint8_t seed[32] = {99};
    struct ledger_signer *stranger = NULL;
    struct checked_transaction *checked = NULL;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(ledger_signer_seeded(seed, &stranger, NULL), ERROR_NONE);
    assert_int_equal(ledger_build_note(stranger, &w->genesis.chain, 1, 1, BYTES_LITERAL("x"), &out,
                                       NULL),
                     ERROR_NONE);
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_TX_REJECTED);
    buffer_clear(&out);
    struct hash other = filled(1);
    assert_int_equal(ledger_build_note(w->signers[0], &other, 1, 1, BYTES_LITERAL("x"), &out, NULL),
                     ERROR_NONE);
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_TX_REJECTED);
    /* Nor what its submitter did not sign, in a block as little as before. */
    buffer_clear(&out);
    assert_int_equal(ledger_build_note(w->signers[0], &w->genesis.chain, 1, 1, BYTES_LITERAL("x"),
                                       &out, NULL),
                     ERROR_NONE);
    out.data[out.len - 1] ^= 1;
    assert_int_equal(transaction_check(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_TX_REJECTED);
    assert_int_equal(transaction_check_ordered(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_TX_REJECTED);
    /* In an own block that was looked for when the block was stored. */
    assert_int_equal(transaction_check_stored(w->members, buffer_bytes(&out), &checked, NULL),
                     ERROR_NONE);
    checked_transaction_free(checked);
    ledger_signer_free(stranger);
}

static void remove_tree(const char *folder) {
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* One block of one anchor each, appended and, but for the last, applied. */
static void flush_all(struct store *store) {
    store_flush_start(store);
    assert_int_equal(store_flush_run(store, NULL), ERROR_NONE);
    store_flush_finish(store);
}

static void fill_store(struct world *w, struct store *store, struct state *state, int blocks) {
    for (int i = 1; i <= blocks; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "block %d", i);
        struct leaf leaf = created((uint8_t)i);
        assert_int_equal(state_begin(state, NULL), ERROR_NONE);
        struct state *kept = w->state;
        w->state = state;
        assert_int_equal(run(w, 0, &leaf, 1), TX_DONE);
        w->state = kept;
        struct state_change change;
        assert_true(state_lowest(state, &change));
        assert_int_equal(store_append(store, (uint64_t)i, bytes_text(text),
                                      BYTES_LITERAL("certificate"), NULL),
                         ERROR_NONE);
        if (i < blocks) {
            assert_int_equal(store_apply(store, &change, strlen(text), NULL), ERROR_NONE);
            (void)state_settle(state);
        }
        if (i == blocks / 2)
            flush_all(store);
    }
}

static void check_block(struct store *store, uint64_t height) {
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&block, 100);
    buffer_init(&certificate, 100);
    char text[32];
    int len = snprintf(text, sizeof text, "block %d", (int)height);
    assert_int_equal(store_read(store, height, &block, &certificate, NULL), ERROR_NONE);
    assert_int_equal(block.len, len);
    assert_memory_equal(block.data, text, block.len);
    assert_int_equal(certificate.len, 11);
}

static void the_store_comes_back_after_a_crash(void **state) {
    struct world *w = *state;
    enum { BLOCKS = 10 };
    char folder[] = "/tmp/renkei-store-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct store *store = NULL;
    struct store *second = NULL;
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    assert_int_equal(store_open(folder, &w->genesis.chain, &second, NULL), ERROR_LOCKED);
    struct state_base base = store_base(store);
    struct epochs epochs = first_epoch(w);
    struct state *s = state_new(&epochs, &base, 0, store_frontier(store), 1);
    fill_store(w, store, s, BLOCKS);
    assert_int_equal(store_state_height(store), BLOCKS - 1);
    struct leaf_place place;
    assert_int_equal(store_place(store, 3, &place, NULL), ERROR_NONE);
    assert_int_equal(place.height, 4);
    struct merkle_reader reader = store_merkle(store);
    struct merkle_path path;
    assert_true(merkle_inclusion(&reader, 3, BLOCKS - 1, &path));
    struct leaf leaf = created(4);
    struct hash hash = leaf_hash(&leaf);
    struct hash root = merkle_root(store_frontier(store));
    assert_true(merkle_verify_inclusion(&hash, 3, BLOCKS - 1, &path, &root));
    state_free(s);
    store_close(store); /* what was in memory is lost, as in a crash */

    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    assert_int_equal(store_height(store), BLOCKS);
    assert_int_equal(store_state_height(store), BLOCKS / 2);
    assert_int_equal(store_frontier(store)->size, BLOCKS / 2);
    for (uint64_t height = 1; height <= BLOCKS; height++)
        check_block(store, height);
    base = store_base(store);
    epochs = first_epoch(w);
    s = state_new(&epochs, &base, store_state_height(store), store_frontier(store), 1);
    struct state_submitter submitter;
    assert_int_equal(state_submitter(s, w->submitters[0].key, &submitter, NULL), ERROR_NONE);
    assert_int_equal(submitter.next_sequence, BLOCKS / 2 + 1); /* the rest comes by executing the blocks again */
    assert_int_equal(store_durable_height(store), BLOCKS / 2);
    state_free(s);
    store_close(store);
    struct hash other = filled(1);
    assert_int_equal(store_open(folder, &other, &store, NULL), ERROR_CONFIG);
    remove_tree(folder);
}

static void apply_empty(struct store *store, struct state *state, size_t block_bytes) {
    struct state_change change;
    assert_int_equal(state_begin(state, NULL), ERROR_NONE);
    assert_true(state_lowest(state, &change));
    assert_int_equal(store_apply(store, &change, block_bytes, NULL), ERROR_NONE);
    (void)state_settle(state);
}

static void a_flush_is_due_whatever_the_blocks_are_made_of(void **state) {
    struct world *w = *state;
    char folder[] = "/tmp/renkei-store-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct store *store = NULL;
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    struct state_base base = store_base(store);
    struct epochs epochs = first_epoch(w);
    struct state *s = state_new(&epochs, &base, 0, store_frontier(store), 1);
    for (int round = 0; round < 2; round++) {
        for (int i = 1; i < STORE_FLUSH_BLOCKS; i++) /* many */
            apply_empty(store, s, BLOCK_HEADER_BYTES);
        assert_false(store_flush_due(store));
        apply_empty(store, s, BLOCK_HEADER_BYTES);
        assert_true(store_flush_due(store));
        flush_all(store);
        for (size_t bytes = BLOCK_BYTES_MAX; bytes < STORE_FLUSH_BYTES; bytes += BLOCK_BYTES_MAX)
            apply_empty(store, s, BLOCK_BYTES_MAX); /* large */
        assert_false(store_flush_due(store));
        apply_empty(store, s, BLOCK_BYTES_MAX);
        assert_true(store_flush_due(store));
        flush_all(store);
    }
    state_free(s);
    store_close(store);
    remove_tree(folder);
}

/* Where a start reads from the second segment on only, the first one counts, and is missed. */
static void closed_segments_are_known_to_a_start_that_does_not_read_them(void **state) {
    struct world *w = *state;
    char folder[] = "/tmp/renkei-store-XXXXXX";
    char path[128];
    assert_non_null(mkdtemp(folder));
    struct store *store = NULL;
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    struct state_base base = store_base(store);
    struct epochs epochs = first_epoch(w);
    struct state *s = state_new(&epochs, &base, 0, store_frontier(store), 1);
    SCOPED_FREE uint8_t *block = calloc(1, BLOCK_BYTES_MAX);
    assert_non_null(block);
    uint64_t height = 0;
    while (store_block_bytes(store) < STORE_SEGMENT_BYTES + 2 * (uint64_t)BLOCK_BYTES_MAX) {
        assert_int_equal(store_append(store, ++height, bytes_of(block, BLOCK_BYTES_MAX),
                                      BYTES_LITERAL("c"), NULL), ERROR_NONE);
        apply_empty(store, s, BLOCK_BYTES_MAX);
    }
    flush_all(store);
    assert_int_equal(store_state_height(store), height);
    uint64_t bytes = store_block_bytes(store);
    store_close(store);
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    assert_int_equal(store_height(store), height);
    assert_int_equal(store_block_bytes(store), bytes);
    store_close(store);
    (void)snprintf(path, sizeof path, "%s/blocks/00000001", folder);
    assert_int_equal(unlink(path), 0);
    struct error err;
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, &err), ERROR_CORRUPT);
    assert_non_null(strstr(err.message, "segment 1 is missing"));
    state_free(s);
    remove_tree(folder);
}

static void change_byte(const char *path, off_t at, off_t cut) {
    struct stat stat_;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &stat_), 0);
    if (cut > 0)
        assert_int_equal(ftruncate(fd, stat_.st_size - cut), 0);
    uint8_t byte = 0;
    if (at >= 0) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_int_equal(close(fd), 0);
}

static void a_torn_block_is_cut_off_and_a_damaged_one_refused(void **state) {
    struct world *w = *state;
    enum { RECORD = 32 + 5 + 1 };
    char folder[] = "/tmp/renkei-store-XXXXXX";
    char path[128];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/blocks/00000001", folder);
    struct store *store = NULL;
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(store_append(store, i, BYTES_LITERAL("block"), BYTES_LITERAL("c"), NULL),
                         ERROR_NONE);
    store_close(store);
    change_byte(path, -1, 3);
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    assert_int_equal(store_height(store), 4);
    assert_int_equal(store_append(store, 5, BYTES_LITERAL("again"), BYTES_LITERAL("c"), NULL),
                     ERROR_NONE);
    for (uint64_t i = 6; i <= 8; i++)
        assert_int_equal(store_append(store, i, BYTES_LITERAL("block"), BYTES_LITERAL("c"), NULL),
                         ERROR_NONE);
    store_close(store);
    change_byte(path, 6 * RECORD + 34, 0); /* the seventh: torn, though the eighth is whole */
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_NONE);
    assert_int_equal(store_height(store), 6);
    store_close(store);
    change_byte(path, RECORD + 34, 0); /* the second, after which others were synced */
    assert_int_equal(store_open(folder, &w->genesis.chain, &store, NULL), ERROR_CORRUPT);
    remove_tree(folder);
}

static void votes_survive_and_a_torn_one_is_cut_off(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-votes-XXXXXX";
    char path[128];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/votes", folder);
    struct votes *votes = NULL;
    const struct votes_entry *entries = NULL;
    size_t count = 9;
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 0);
    votes_add(votes, VOTES_RECORD, BYTES_LITERAL("one"));
    votes_add(votes, VOTES_PAYLOAD, BYTES_LITERAL("two"));
    assert_int_equal(votes_sync(votes, NULL), ERROR_NONE);
    votes_add(votes, VOTES_RECORD, BYTES_LITERAL("three"));
    assert_int_equal(votes_sync(votes, NULL), ERROR_NONE);
    votes_add(votes, VOTES_RECORD, BYTES_LITERAL("never synced"));
    votes_close(votes);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 3);
    assert_int_equal(entries[1].kind, VOTES_PAYLOAD);
    assert_memory_equal(entries[2].bytes.data, "three", 5);
    votes_close(votes);
    change_byte(path, -1, 1);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 2);
    struct votes_entry fresh[] = {{VOTES_RECORD, BYTES_LITERAL("compacted")},
                                  {VOTES_RECORD, BYTES_LITERAL("more")}};
    assert_int_equal(votes_replace(votes, fresh, 2, NULL), ERROR_NONE);
    votes_add(votes, VOTES_RECORD, BYTES_LITERAL("after"));
    assert_int_equal(votes_sync(votes, NULL), ERROR_NONE);
    votes_close(votes);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 3);
    votes_close(votes);
    change_byte(path, 17, 0);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_CORRUPT);
    remove_tree(folder);
}

/* Batches that hold blocks take another way to the disk than small ones, in whole pages: what stands
 * in the file must not tell. Lengths around those at which the way changes, and places in a page. */
static void batches_of_every_length_stand_in_the_log_as_they_were_given(void **state) {
    (void)state;
    enum { BYTES = 300000, HEAD = 24 };
    static const size_t lengths[] = {1,          5000,   (128 << 10) - HEAD - 1, (128 << 10) - HEAD,
                                     7,          BYTES,  4096 - HEAD,            200000,
                                     (256 << 10) - HEAD, 3, 262147, BYTES - 1};
    enum { COUNT = sizeof lengths / sizeof lengths[0] };
    static uint8_t data[BYTES + COUNT];
    char folder[] = "/tmp/renkei-votes-XXXXXX";
    char path[128];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/votes", folder);
    struct votes *votes = NULL;
    const struct votes_entry *entries = NULL;
    size_t count = 0;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    uint64_t expected = 0;
    for (size_t i = 0; i < COUNT; i++) {
        votes_add(votes, VOTES_PAYLOAD, bytes_of(data + i, lengths[i]));
        votes_add(votes, VOTES_RECORD, BYTES_LITERAL("after it"));
        assert_int_equal(votes_sync(votes, NULL), ERROR_NONE);
        expected += 2 * HEAD + 8 + lengths[i];
        assert_int_equal(votes_bytes(votes), expected);
    }
    votes_close(votes);
    struct stat stat_log;
    assert_int_equal(stat(path, &stat_log), 0);
    assert_int_equal(stat_log.st_size, expected);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 2 * COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        struct bytes given = bytes_of(data + i, lengths[i]);
        assert_int_equal(entries[2 * i].kind, VOTES_PAYLOAD);
        assert_true(bytes_equal(entries[2 * i].bytes, given));
        assert_true(bytes_equal(entries[2 * i + 1].bytes, BYTES_LITERAL("after it")));
    }
    votes_close(votes);
    change_byte(path, -1, 100000); /* within the last batch: it was torn */
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 2 * COUNT - 2);
    votes_add(votes, VOTES_PAYLOAD, bytes_of(data, BYTES)); /* from where it was cut */
    assert_int_equal(votes_sync(votes, NULL), ERROR_NONE);
    votes_close(votes);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 2 * COUNT - 1);
    assert_true(bytes_equal(entries[count - 1].bytes, bytes_of(data, BYTES)));
    votes_close(votes);
    change_byte(path, 300000, 0);
    assert_int_equal(votes_open(path, &votes, &entries, &count, NULL), ERROR_CORRUPT);
    remove_tree(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_with_room_for_some_takes_any_number),
        cmocka_unit_test_setup_teardown(versions_follow_one_another, make_world, free_world),
        cmocka_unit_test_setup_teardown(wrong_links_have_no_effect_at_all, make_world, free_world),
        cmocka_unit_test_setup_teardown(a_sequence_executes_once, make_world, free_world),
        cmocka_unit_test_setup_teardown(a_registration_goes_on_by_expected_versions, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(a_query_needs_the_permission_that_it_names, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(a_reference_stands_on_the_chain_once, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(records_are_found_by_their_peoples_references, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(a_role_submits_its_types_and_no_others, make_world,
                                        free_world),
        cmocka_unit_test(every_type_has_a_role_that_may_submit_it),
        cmocka_unit_test_setup_teardown(a_dropped_block_leaves_nothing, make_world, free_world),
        cmocka_unit_test_setup_teardown(strangers_and_other_chains_are_refused, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(the_store_comes_back_after_a_crash, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(a_flush_is_due_whatever_the_blocks_are_made_of, make_world,
                                        free_world),
        cmocka_unit_test_setup_teardown(closed_segments_are_known_to_a_start_that_does_not_read_them,
                                        make_world, free_world),
        cmocka_unit_test_setup_teardown(a_torn_block_is_cut_off_and_a_damaged_one_refused,
                                        make_world, free_world),
        cmocka_unit_test(votes_survive_and_a_torn_one_is_cut_off),
        cmocka_unit_test(batches_of_every_length_stand_in_the_log_as_they_were_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
