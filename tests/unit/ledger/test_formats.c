/* Leaf, anchor, transaction, block and genesis against bytes that Python built from the tables of
 * docs/formats.md, and against every cut and many changed bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "ledger/anchor.h"
#include "ledger/block.h"
#include "ledger/genesis.h"
#include "ledger/ledger.h"
#include "ledger/people.h"
#include "ledger/signer.h"
#include "ledger/store/crc.h"
#include "ledger/transaction.h"
#include "tests/unit/ledger/vectors.h"

static struct bytes vector(const uint8_t *data, size_t len) {
    return bytes_of(data, len);
}
#define VECTOR(name) vector(name, sizeof name)

static struct ledger_signer *signer(void) {
    struct ledger_signer *s = NULL;
    assert_int_equal(ledger_signer_seeded(vector_seed, &s, NULL), ERROR_NONE);
    return s;
}

static void leaves_are_the_vectors(void **state) {
    (void)state;
    const uint8_t *vectors[] = {vector_leaf_1, vector_leaf_2, vector_leaf_3};
    for (size_t i = 0; i < 3; i++) {
        struct leaf leaf;
        uint8_t again[LEAF_BYTES];
        assert_int_equal(leaf_decode(vectors[i], &leaf, NULL), ERROR_NONE);
        leaf_encode(&leaf, again);
        assert_memory_equal(again, vectors[i], LEAF_BYTES);
        struct hash hash = leaf_hash(&leaf);
        assert_memory_equal(hash.byte, vector_leaf_hashes + i * HASH_BYTES, HASH_BYTES);
    }
}

static void leaves_out_of_shape_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } breaks[] = {
        {0, 2},   /* format */
        {1, 2},   /* algorithm */
        {2, 0},   /* operation */
        {2, 4},   /* operation */
        {2, 2},   /* modify as version 1 */
        {2, 3},   /* delete with digests */
        {3, 0},   /* origin */
        {3, 3},   /* origin */
        {7, 0},   /* version 0 */
        {7, 2},   /* version 2 without a previous hash */
        {24, 1},  /* version 1 with one */
        {184, 1}, /* reserved */
        {199, 1}, /* reserved */
    };
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        uint8_t raw[LEAF_BYTES];
        struct leaf leaf;
        memcpy(raw, vector_leaf_1, sizeof raw);
        raw[breaks[i].at] = breaks[i].value;
        assert_int_equal(leaf_decode(raw, &leaf, NULL), ERROR_PROTOCOL);
    }
}

static void build_vector_transaction(struct buffer *out) {
    struct leaf leaves[3];
    assert_int_equal(leaf_decode(vector_leaf_1, &leaves[0], NULL), ERROR_NONE);
    assert_int_equal(leaf_decode(vector_leaf_2, &leaves[1], NULL), ERROR_NONE);
    assert_int_equal(leaf_decode(vector_leaf_3, &leaves[2], NULL), ERROR_NONE);
    struct hash chain;
    memcpy(chain.byte, vector_chain, HASH_BYTES);
    struct ledger_anchor anchor = {
        .batch = 5,
        .snapshot = BYTES_LITERAL("snapshot-1"),
        .leaves = leaves,
        .leaf_count = 3,
    };
    memset(anchor.source.byte, 0x77, HASH_BYTES);
    struct ledger_signer *s = signer();
    assert_int_equal(ledger_build_anchor(s, &chain, 9, 1700000000123, &anchor, out, NULL),
                     ERROR_NONE);
    ledger_signer_free(s);
}

static void an_anchor_is_built_as_python_builds_it(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    build_vector_transaction(&out);
    assert_int_equal(out.len, sizeof vector_transaction);
    assert_memory_equal(out.data, vector_transaction, out.len);
    struct hash id = ledger_transaction_id(buffer_bytes(&out));
    assert_memory_equal(id.byte, vector_transaction_id, HASH_BYTES);
}

static void an_anchor_is_read_back(void **state) {
    (void)state;
    struct transaction tx;
    struct anchor anchor;
    assert_int_equal(transaction_decode(VECTOR(vector_transaction), &tx, NULL), ERROR_NONE);
    assert_int_equal(transaction_verify(&tx, NULL), ERROR_NONE);
    assert_int_equal(tx.type, TRANSACTION_ANCHOR);
    assert_int_equal(tx.sequence, 9);
    assert_int_equal(tx.wall_ms, 1700000000123);
    assert_memory_equal(tx.submitter, vector_public, sizeof tx.submitter);
    assert_int_equal(anchor_decode(tx.body, &anchor, NULL), ERROR_NONE);
    assert_int_equal(anchor.leaf_count, 3);
    struct hash hashes[3];
    assert_int_equal(anchor_hashes(&anchor, hashes, NULL), ERROR_NONE);
    assert_memory_equal(hashes, vector_leaf_hashes, sizeof hashes);
    struct anchor_cursor cursor = anchor_cursor(&anchor);
    struct leaf leaf;
    uint8_t raw[LEAF_BYTES];
    assert_true(anchor_next(&cursor, &leaf));
    assert_true(anchor_next(&cursor, &leaf));
    leaf_encode(&leaf, raw);
    assert_memory_equal(raw, vector_leaf_2, LEAF_BYTES);
    assert_true(anchor_next(&cursor, &leaf));
    assert_false(anchor_next(&cursor, &leaf));
}

static void a_created_record_costs_82_bytes(void **state) {
    (void)state;
    enum { COUNT = 100 };
    struct leaf leaves[COUNT];
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(leaf_decode(vector_leaf_1, &leaves[i], NULL), ERROR_NONE);
        leaves[i].locator.byte[0] = (uint8_t)i;
    }
    struct ledger_anchor anchor = {.batch = 1, .leaves = leaves, .leaf_count = COUNT};
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(anchor_encode(&anchor, 0, bytes_of(NULL, 0), &body, NULL), ERROR_NONE);
    size_t head = 1 + 32 + 8 + 4 + 4 + 32 + 4 + 32 + 2;
    assert_int_equal(body.len, head + 82 * COUNT);
    /* With hashes that the caller has already, it is the same body. */
    struct hash hashes[COUNT];
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, LEDGER_TRANSACTION_BYTES_MAX);
    leaf_hashes(leaves, COUNT, hashes);
    anchor.leaf_hashes = hashes;
    assert_int_equal(anchor_encode(&anchor, 0, bytes_of(NULL, 0), &again, NULL), ERROR_NONE);
    assert_true(bytes_equal(buffer_bytes(&body), buffer_bytes(&again)));
}

static void index_slots_stand_behind_the_leaves(void **state) {
    (void)state;
    struct leaf leaf;
    assert_int_equal(leaf_decode(vector_leaf_1, &leaf, NULL), ERROR_NONE);
    struct ledger_anchor plain = {.batch = 1, .leaves = &leaf, .leaf_count = 1};
    uint8_t slot[160] = {7};
    slot[40] = 8;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(anchor_encode(&plain, 160, bytes_of(slot, 160), &body, NULL), ERROR_NONE);
    struct anchor anchor;
    assert_int_equal(anchor_decode(buffer_bytes(&body), &anchor, NULL), ERROR_NONE);
    assert_int_equal(anchor.slots.len, 160);
    assert_memory_equal(anchor.slots.data, slot, 160);
    assert_int_equal(anchor_encode(&plain, 160, bytes_of(slot, 159), &body, NULL), ERROR_LIMIT);
    assert_int_equal(anchor_encode(&plain, 63, bytes_of(slot, 63), &body, NULL), ERROR_LIMIT);
}

/* Numbers of the references in vector_references: the patient's 0 to 5, then the doctor's 0 to 3. */
static void assert_reference(const struct hash *found, int number) {
    assert_memory_equal(found->byte, vector_references + number * HASH_BYTES, HASH_BYTES);
}

static void records_name_their_people_by_reference(void **state) {
    (void)state;
    enum { LEN = sizeof vector_slotted_anchor, SLOTS_AT = LEN - 2 * 72 };
    struct anchor anchor;
    struct hash patient;
    struct hash doctor;
    assert_int_equal(anchor_decode(VECTOR(vector_slotted_anchor), &anchor, NULL), ERROR_NONE);
    anchor_people(&anchor, 0, &patient, &doctor);
    assert_reference(&patient, 4);
    assert_reference(&doctor, 9);
    anchor_people(&anchor, 1, &patient, &doctor);
    assert_reference(&patient, 5);
    assert_true(hash_is_zero(&doctor)); /* no doctor stands behind it */
    uint8_t changed[LEN];
    memcpy(changed, vector_slotted_anchor, LEN);
    memset(changed + SLOTS_AT, 0, HASH_BYTES); /* nobody's record */
    assert_int_equal(anchor_decode(bytes_of(changed, LEN), &anchor, NULL), ERROR_PROTOCOL);
    memcpy(changed, vector_slotted_anchor, LEN);
    memcpy(changed + SLOTS_AT, changed + SLOTS_AT + HASH_BYTES, HASH_BYTES);
    assert_int_equal(anchor_decode(bytes_of(changed, LEN), &anchor, NULL), ERROR_PROTOCOL);
}

/* Decodes the body of a type and, where that succeeds, encodes it again into out. */
static bool read_body(enum transaction_type type, struct bytes body, struct buffer *out) {
    struct person person;
    struct permission permission;
    struct query query;
    uint8_t raw[PERMISSION_BYTES];
    buffer_clear(out);
    if (type == TRANSACTION_PERSON && person_decode(body, &person, NULL) == ERROR_NONE) {
        person_encode(&person, raw);
        buffer_append(out, raw, PERSON_BYTES);
    } else if (type == TRANSACTION_PERMISSION &&
               permission_decode(body, &permission, NULL) == ERROR_NONE) {
        permission_encode(&permission, raw);
        buffer_append(out, raw, PERMISSION_BYTES);
    } else if (type == TRANSACTION_QUERY && query_decode(body, &query, NULL) == ERROR_NONE) {
        query_encode(&query, out);
    }
    return out->len > 0;
}

static void bodies_about_people_are_the_vectors(void **state) {
    (void)state;
    static const struct {
        enum transaction_type type;
        const uint8_t *data;
        size_t len;
    } bodies[] = {
        {TRANSACTION_PERSON, vector_person, sizeof vector_person},
        {TRANSACTION_PERSON, vector_person_revoked, sizeof vector_person_revoked},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission},
        {TRANSACTION_PERMISSION, vector_permission_revoked, sizeof vector_permission_revoked},
        {TRANSACTION_QUERY, vector_query, sizeof vector_query},
    };
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, QUERY_BYTES_MAX);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        size_t len = bodies[i].len;
        struct bytes body = bytes_of(bodies[i].data, len);
        assert_true(read_body(bodies[i].type, body, &again));
        assert_true(bytes_equal(buffer_bytes(&again), body));
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *part = malloc(cut + 1); /* exact, so that the sanitizer sees a read past it */
            memcpy(part, bodies[i].data, cut);
            assert_false(read_body(bodies[i].type, bytes_of(part, cut), &again));
            free(part);
        }
        uint8_t changed[QUERY_BYTES_MAX] = {0};
        memcpy(changed, bodies[i].data, len);
        assert_false(read_body(bodies[i].type, bytes_of(changed, len + 1), &again));
        for (size_t bit = 0; bit < 8 * len; bit++) {
            changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (read_body(bodies[i].type, bytes_of(changed, len), &again))
                assert_true(bytes_equal(buffer_bytes(&again), bytes_of(changed, len)));
            changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    struct person person;
    assert_int_equal(person_decode(VECTOR(vector_person), &person, NULL), ERROR_NONE);
    assert_int_equal(person.kind, PERSON_PATIENT);
    assert_reference(&person.reference, 0);
    struct permission permission;
    assert_int_equal(permission_decode(VECTOR(vector_permission), &permission, NULL), ERROR_NONE);
    assert_reference(&permission.patient, 1);
    assert_reference(&permission.doctor, 7);
    assert_memory_equal(permission.grantee, vector_public, sizeof permission.grantee);
    struct query query;
    assert_int_equal(query_decode(VECTOR(vector_query), &query, NULL), ERROR_NONE);
    assert_reference(&query.doctor, 8);
    assert_true(bytes_equal(query.sealed, BYTES_LITERAL("sealed")));
}

static void bodies_about_people_out_of_shape_are_refused(void **state) {
    (void)state;
    static const struct {
        enum transaction_type type;
        const uint8_t *data;
        size_t len;
        size_t at;      /* bytes from here on ... */
        size_t count;   /* ... so many ... */
        uint8_t value;  /* ... become this */
    } breaks[] = {
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 0, 1, 2},   /* format */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 1, 1, 0},   /* kind */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 1, 1, 3},   /* kind */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 2, 1, 0},   /* operation */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 2, 1, 2},   /* replaces at 1 */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 2, 1, 4},   /* operation */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 3, 1, 1},   /* reserved */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 7, 1, 0},   /* version 0 */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 7, 1, 2},   /* registers at 2 */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 8, 32, 0},  /* no reference */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 40, 32, 0}, /* no key */
        {TRANSACTION_PERSON, vector_person, sizeof vector_person, 72, 32, 0}, /* no digest */
        {TRANSACTION_PERSON, vector_person_revoked, sizeof vector_person_revoked, 40, 1, 1},
        {TRANSACTION_PERSON, vector_person_revoked, sizeof vector_person_revoked, 72, 1, 1},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 0, 1, 2},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 1, 1, 0},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 1, 1, 2}, /* at 1 */
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 1, 1, 3},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 2, 16, 0},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 21, 1, 0},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 22, 32, 0},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 22, 64, 5}, /* one */
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 86, 32, 0},
        {TRANSACTION_PERMISSION, vector_permission, sizeof vector_permission, 118, 32, 0},
        {TRANSACTION_PERMISSION, vector_permission_revoked, sizeof vector_permission_revoked, 54,
         1, 1},
        {TRANSACTION_PERMISSION, vector_permission_revoked, sizeof vector_permission_revoked, 86,
         1, 1},
        {TRANSACTION_QUERY, vector_query, sizeof vector_query, 0, 1, 2},
        {TRANSACTION_QUERY, vector_query, sizeof vector_query, 17, 64, 0}, /* about nobody */
        {TRANSACTION_QUERY, vector_query, sizeof vector_query, 17, 64, 9}, /* one for both */
        {TRANSACTION_QUERY, vector_query, sizeof vector_query, 81, 32, 0}, /* no digest */
    };
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, QUERY_BYTES_MAX);
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        uint8_t raw[sizeof vector_query + sizeof vector_permission];
        memcpy(raw, breaks[i].data, breaks[i].len);
        memset(raw + breaks[i].at, breaks[i].value, breaks[i].count);
        if (read_body(breaks[i].type, bytes_of(raw, breaks[i].len), &again))
            fail_msg("row %zu was accepted", i);
    }
    uint8_t alone[sizeof vector_query];
    memcpy(alone, vector_query, sizeof alone);
    memset(alone + 49, 0, HASH_BYTES); /* the patient asked: no doctor is needed */
    assert_true(read_body(TRANSACTION_QUERY, bytes_of(alone, sizeof alone), &again));
}

/* Decodes and, where that succeeds, encodes again: the bytes must be the same ones, or two texts
 * would mean one transaction. */
static bool decodes_canonically(struct bytes input) {
    struct transaction tx;
    if (transaction_decode(input, &tx, NULL) != ERROR_NONE)
        return false;
    struct anchor anchor;
    if (tx.type != TRANSACTION_ANCHOR || anchor_decode(tx.body, &anchor, NULL) != ERROR_NONE)
        return true;
    struct leaf leaves[3];
    assert_true(anchor.leaf_count <= 3);
    struct anchor_cursor cursor = anchor_cursor(&anchor);
    struct leaf leaf;
    while (anchor_next(&cursor, &leaf))
        leaves[cursor.index - 1] = leaf;
    struct ledger_anchor plain = {anchor.source, anchor.batch, anchor.snapshot, leaves,
                                  anchor.leaf_count, NULL};
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LEDGER_TRANSACTION_BYTES_MAX);
    assert_int_equal(anchor_encode(&plain, anchor.slot_bytes, anchor.slots, &body, NULL),
                     ERROR_NONE);
    /* The root of a changed leaf is not that of the body: it is compared by anchor_hashes. */
    struct anchor again;
    assert_int_equal(anchor_decode(buffer_bytes(&body), &again, NULL), ERROR_NONE);
    size_t root_at = (size_t)(again.leaves.data - body.data) - HASH_BYTES;
    memcpy(body.data + root_at, anchor.root.byte, HASH_BYTES);
    assert_true(bytes_equal(buffer_bytes(&body), tx.body));
    return true;
}

static void cut_and_changed_transactions_are_refused_or_canonical(void **state) {
    (void)state;
    enum { LEN = sizeof vector_transaction };
    struct transaction tx;
    for (size_t len = 0; len < LEN; len++) {
        uint8_t *cut = malloc(len + 1); /* exact, so that the sanitizer sees a read past it */
        memcpy(cut, vector_transaction, len);
        assert_int_not_equal(transaction_decode(bytes_of(cut, len), &tx, NULL), ERROR_NONE);
        free(cut);
    }
    uint8_t longer[LEN + 1] = {0};
    memcpy(longer, vector_transaction, LEN);
    assert_int_not_equal(transaction_decode(bytes_of(longer, LEN + 1), &tx, NULL), ERROR_NONE);
    for (size_t at = 0; at < LEN; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t changed[LEN];
            memcpy(changed, vector_transaction, LEN);
            changed[at] ^= (uint8_t)(1u << bit);
            if (decodes_canonically(bytes_of(changed, LEN))) {
                assert_int_equal(transaction_decode(bytes_of(changed, LEN), &tx, NULL),
                                 ERROR_NONE);
                assert_int_equal(transaction_verify(&tx, NULL), ERROR_TX_REJECTED);
            }
        }
}

static void a_wrong_root_is_found(void **state) {
    (void)state;
    struct transaction tx;
    struct anchor anchor;
    assert_int_equal(transaction_decode(VECTOR(vector_transaction), &tx, NULL), ERROR_NONE);
    assert_int_equal(anchor_decode(tx.body, &anchor, NULL), ERROR_NONE);
    anchor.root.byte[0] ^= 1;
    struct hash hashes[3];
    assert_int_equal(anchor_hashes(&anchor, hashes, NULL), ERROR_TX_REJECTED);
}

static void incidents_and_notes(void **state) {
    (void)state;
    struct incident incident;
    assert_int_equal(incident_decode(VECTOR(vector_incident), &incident, NULL), ERROR_NONE);
    assert_int_equal(incident.version, 3);
    uint8_t raw[INCIDENT_BYTES];
    incident_encode(&incident, raw);
    assert_memory_equal(raw, vector_incident, sizeof vector_incident);
    raw[1] = 2; /* missing, yet with digests */
    assert_int_equal(incident_decode(bytes_of(raw, sizeof raw), &incident, NULL), ERROR_PROTOCOL);

    struct ledger_signer *s = signer();
    struct hash chain = {{1}};
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
    uint8_t text[NOTE_BYTES_MAX + 1] = {0};
    assert_int_equal(
        ledger_build_note(s, &chain, 1, 2, bytes_of(text, sizeof text), &out, NULL), ERROR_LIMIT);
    assert_int_equal(ledger_build_note(s, &chain, 1, 2, bytes_of(text, 100), &out, NULL),
                     ERROR_NONE);
    struct transaction tx;
    assert_int_equal(transaction_decode(buffer_bytes(&out), &tx, NULL), ERROR_NONE);
    assert_int_equal(tx.body.len, 100);
    ledger_signer_free(s);
}

static void a_block_is_read_and_its_hash_is_the_vector(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, BLOCK_BYTES_MAX);
    buffer_append(&raw, vector_header, sizeof vector_header);
    block_entry(&raw, VECTOR(vector_transaction), TX_DONE);
    struct block block;
    assert_int_equal(block_decode(buffer_bytes(&raw), &block, NULL), ERROR_NONE);
    uint8_t again[BLOCK_HEADER_BYTES];
    block_header_encode(&block.header, again);
    assert_memory_equal(again, vector_header, sizeof vector_header);
    struct hash hash = block_hash(&block.header);
    assert_memory_equal(hash.byte, vector_block_hash, HASH_BYTES);
    struct block_cursor cursor = block_cursor(&block);
    struct bytes entry;
    enum transaction_status status;
    struct transaction tx;
    assert_true(block_next(&cursor, &entry, &status));
    assert_int_equal(transaction_decode(entry, &tx, NULL), ERROR_NONE);
    struct hash leaf = block_transaction_leaf(&tx, status);
    assert_true(hash_equal(&leaf, &block.header.transaction_root)); /* a tree of one leaf */
    assert_false(block_next(&cursor, &entry, &status));

    for (size_t len = 0; len < raw.len; len++)
        assert_int_not_equal(block_decode(bytes_of(raw.data, len), &block, NULL), ERROR_NONE);
    buffer_append_byte(&raw, 0);
    assert_int_not_equal(block_decode(buffer_bytes(&raw), &block, NULL), ERROR_NONE);
}

static void keys_survive_their_file(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-signer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    (void)snprintf(path, sizeof path, "%s/key.pem", folder);
    struct ledger_signer *s = NULL;
    assert_int_equal(ledger_signer_create(path, NULL), ERROR_NONE);
    assert_int_equal(ledger_signer_create(path, NULL), ERROR_EXISTS);
    assert_int_equal(ledger_signer_load(path, &s, NULL), ERROR_NONE);
    uint8_t key[32];
    uint8_t signature[64];
    struct hash digest = {{3}};
    ledger_signer_public(s, key);
    ledger_signer_sign(s, &digest, signature);
    assert_true(signature_valid(key, &digest, signature));
    digest.byte[0]++;
    assert_false(signature_valid(key, &digest, signature));
    ledger_signer_free(s);
    (void)unlink(path);
    (void)rmdir(folder);
}

static struct genesis *small_genesis(struct buffer *text) {
    static struct genesis_validator validators[4];
    static struct genesis_submitter submitters[1];
    struct genesis g = {.name = "east", .created_ms = 5, .validators = validators,
                        .submitters = submitters, .validator_count = 4, .submitter_count = 1,
                        .parameters = genesis_parameters_default()};
    for (uint8_t i = 0; i < 4; i++) {
        (void)snprintf(validators[i].name, sizeof validators[i].name, "node-%u", i);
        (void)snprintf(validators[i].address, sizeof validators[i].address, "127.0.0.1:%u",
                       7000u + i);
        validators[i].vote_key[0] = i;
        validators[i].tls_pin.byte[0] = i;
    }
    (void)snprintf(submitters[0].name, sizeof submitters[0].name, "hospital-a");
    assert_int_equal(genesis_write(&g, text, NULL), ERROR_NONE);
    struct genesis *read = NULL;
    assert_int_equal(genesis_parse(buffer_bytes(text), &read, NULL), ERROR_NONE);
    return read;
}

static void genesis_round_trips_and_refuses_what_it_does_not_know(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    struct genesis *g = small_genesis(&text);
    assert_int_equal(g->validator_count, 4);
    assert_string_equal(g->validators[3].address, "127.0.0.1:7003");
    assert_int_equal(genesis_validator_by_key(g, g->validators[2].vote_key), 2);
    struct bytes parts[] = {BYTES_LITERAL("renkei/genesis/1\n"), buffer_bytes(&text)};
    struct hash chain = sha256_of_parts(parts, 2);
    assert_true(hash_equal(&chain, &g->chain));
    genesis_free(g);

    static const char *const changes[][2] = {
        {"\"window\"", "\"widow1\""},        /* unknown key */
        {"\"node-3\"", "\"node-2\""},        /* a name twice */
        {"127.0.0.1:7003", "127.0.0.1:70030000"},
        {"127.0.0.1:7003", "127.0.0.1-7003"},
        {"\"format\": 1", "\"format\": 2"},
        {"\"window\": 4", "\"window\": 9"},
        {"\"east\"", "\"East\""},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        SCOPED_BUFFER struct buffer changed;
        buffer_init(&changed, GENESIS_BYTES_MAX);
        const char *at = memmem(text.data, text.len, changes[i][0], strlen(changes[i][0]));
        assert_non_null(at);
        size_t before = (size_t)(at - (const char *)text.data);
        size_t after = before + strlen(changes[i][0]);
        buffer_append(&changed, text.data, before);
        buffer_append_text(&changed, changes[i][1]);
        buffer_append(&changed, text.data + after, text.len - after);
        assert_int_equal(genesis_parse(buffer_bytes(&changed), &g, NULL), ERROR_CONFIG);
    }
}

/* The vectors of RFC 3720, B.4, and that the two ways of computing never differ. */
static void checksums_are_the_vectors(void **state) {
    (void)state;
    uint8_t data[64 + 8];
    memset(data, 0, sizeof data);
    assert_int_equal(crc32c(0, bytes_of(data, 32)), 0x8a9136aa);
    assert_int_equal(crc32c_portable(0, bytes_of(data, 32)), 0x8a9136aa);
    assert_int_equal(crc32c(0, bytes_text("123456789")), 0xe3069283);
    assert_int_equal(crc32c_portable(0, bytes_text("123456789")), 0xe3069283);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 151 + 7);
    for (size_t at = 0; at < 8; at++)
        for (size_t len = 0; len <= 64; len++) {
            struct bytes part = bytes_of(data + at, len);
            assert_int_equal(crc32c(0x12345678, part), crc32c_portable(0x12345678, part));
            uint32_t halves = crc32c(crc32c(0, bytes_of(data + at, len / 2)),
                                     bytes_of(data + at + len / 2, len - len / 2));
            assert_int_equal(halves, crc32c(0, part));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_are_the_vectors),
        cmocka_unit_test(leaves_out_of_shape_are_refused),
        cmocka_unit_test(an_anchor_is_built_as_python_builds_it),
        cmocka_unit_test(an_anchor_is_read_back),
        cmocka_unit_test(a_created_record_costs_82_bytes),
        cmocka_unit_test(index_slots_stand_behind_the_leaves),
        cmocka_unit_test(records_name_their_people_by_reference),
        cmocka_unit_test(bodies_about_people_are_the_vectors),
        cmocka_unit_test(bodies_about_people_out_of_shape_are_refused),
        cmocka_unit_test(cut_and_changed_transactions_are_refused_or_canonical),
        cmocka_unit_test(a_wrong_root_is_found),
        cmocka_unit_test(incidents_and_notes),
        cmocka_unit_test(a_block_is_read_and_its_hash_is_the_vector),
        cmocka_unit_test(keys_survive_their_file),
        cmocka_unit_test(genesis_round_trips_and_refuses_what_it_does_not_know),
        cmocka_unit_test(checksums_are_the_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
