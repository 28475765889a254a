#include "ledger/state/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/wire.h"
#include "ledger/checkpoint.h"
#include "ledger/merkle/map.h"

enum {
    RECORD_BYTES = 4 + 1 + 4 + HASH_BYTES + 8,
    PLACE_BYTES = 8 + 4 + 1 + 8,
    SUBMITTER_BYTES = 24,
    CHECKPOINT_VALUE_BYTES = 8 + HASH_BYTES,
    EPOCH_BYTES = 8,
    PERSON_VALUE_BYTES = 4 + 1 + 1 + 4 + HASH_BYTES,
    PERMISSION_VALUE_BYTES = 4 + 1 + 4 + 4,
    REFERENCE_VALUE_BYTES = 8 + 4 + 4,
    /* What one transaction can put: of each leaf the record and two references. */
    UNDO_MAX = 3 * ANCHOR_LEAVES_MAX,
};
_Static_assert((int)RECORD_BYTES <= (int)STATE_VALUE_BYTES_MAX, "a record fits a value");

struct layer {
    uint64_t height;
    struct state_table *entries;
    struct merkle_frontier frontier;
    uint64_t places_first;
    size_t place_count;
    size_t place_capacity;
    struct leaf_place *places;
    struct state_nodes levels[MERKLE_LEVELS_MAX];
    struct members *next; /* NULL: the epoch goes on */
};

struct undo {
    struct state_key key;
    struct state_value before;
};

struct state {
    struct epochs epochs;
    struct state_base base;
    uint64_t committed;
    struct merkle_frontier frontier;
    uint64_t seed;
    uint32_t layer_count;
    struct layer *layers[STATE_LAYERS_MAX]; /* the lowest first */
    struct undo *undo;                      /* of the transaction under way */
    uint32_t undo_count;
};

void state_record_encode(const struct state_record *record, struct state_value *ret_value) {
    uint8_t *at = ret_value->byte;
    ret_value->len = RECORD_BYTES;
    wire_store_u32(at, record->version);
    at[4] = (uint8_t)record->operation;
    wire_store_u32(at + 5, record->owner);
    memcpy(at + 9, record->leaf.byte, HASH_BYTES);
    wire_store_u64(at + 41, record->log_index);
}

void state_record_decode(const struct state_value *value, struct state_record *ret_record) {
    const uint8_t *at = value->byte;
    assert(value->len == RECORD_BYTES);
    ret_record->version = wire_load_u32(at);
    ret_record->operation = (enum leaf_operation)at[4];
    ret_record->owner = wire_load_u32(at + 5);
    memcpy(ret_record->leaf.byte, at + 9, HASH_BYTES);
    ret_record->log_index = wire_load_u64(at + 41);
}

static void place_encode(const struct state_place *place, struct state_value *ret_value) {
    uint8_t *at = ret_value->byte;
    ret_value->len = PLACE_BYTES;
    wire_store_u64(at, place->height);
    wire_store_u32(at + 8, place->index);
    at[12] = (uint8_t)place->status;
    wire_store_u64(at + 13, place->log_index);
}

void state_place_decode(const struct state_value *value, struct state_place *ret_place) {
    const uint8_t *at = value->byte;
    assert(value->len == PLACE_BYTES);
    ret_place->height = wire_load_u64(at);
    ret_place->index = wire_load_u32(at + 8);
    ret_place->status = (enum transaction_status)at[12];
    ret_place->log_index = wire_load_u64(at + 13);
}

static void layer_free(struct layer *layer) {
    if (layer == NULL)
        return;
    state_table_free(layer->entries);
    free(layer->places);
    for (int i = 0; i < MERKLE_LEVELS_MAX; i++)
        free(layer->levels[i].hash);
    members_free(layer->next);
    free(layer);
}

struct state *state_new(const struct epochs *epochs, const struct state_base *base, uint64_t height,
                        const struct merkle_frontier *frontier, uint64_t seed) {
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        abort();
    state->epochs = *epochs;
    state->base = *base;
    state->committed = height;
    state->frontier = *frontier;
    state->seed = seed;
    state->undo = calloc(UNDO_MAX, sizeof *state->undo);
    if (state->undo == NULL)
        abort();
    return state;
}

void state_free(struct state *state) {
    if (state == NULL)
        return;
    for (uint32_t i = 0; i < state->layer_count; i++)
        layer_free(state->layers[i]);
    epochs_done(&state->epochs);
    free(state->undo);
    free(state);
}

const struct members *state_members(const struct state *state) {
    return state->epochs.members;
}

const struct members *state_members_of(const struct state *state, uint64_t epoch) {
    return epochs_of(&state->epochs, epoch);
}

static struct layer *top(const struct state *state) {
    return state->layer_count > 0 ? state->layers[state->layer_count - 1] : NULL;
}

uint64_t state_height(const struct state *state) {
    return state->committed + state->layer_count;
}

uint64_t state_committed(const struct state *state) {
    return state->committed;
}

enum error_code state_begin(struct state *state, struct error *err) {
    if (state->layer_count == STATE_LAYERS_MAX)
        return error_set(err, ERROR_LIMIT, "state: more than %d tentative blocks",
                         STATE_LAYERS_MAX);
    struct layer *layer = calloc(1, sizeof *layer);
    if (layer == NULL)
        abort();
    layer->height = state_height(state) + 1;
    layer->entries = state_table_new(state->seed);
    layer->frontier = top(state) != NULL ? top(state)->frontier : state->frontier;
    layer->places_first = layer->frontier.size;
    for (int i = 0; i < MERKLE_LEVELS_MAX; i++)
        layer->levels[i].first = layer->frontier.size >> i;
    state->layers[state->layer_count++] = layer;
    return ERROR_NONE;
}

void state_expect(struct state *state, size_t transactions) {
    /* Each puts its place, and a few of them their submitter's counts; leaves and the like come on top. */
    state_table_reserve(top(state)->entries, transactions + transactions / 8);
}

enum error_code state_get(struct state *state, const struct state_key *key,
                          struct state_value *ret_value, bool *ret_found, struct error *err) {
    for (uint32_t i = state->layer_count; i > 0; i--) {
        const struct state_value *value = state_table_get(state->layers[i - 1]->entries, key);
        if (value != NULL) {
            *ret_value = *value;
            *ret_found = true;
            return ERROR_NONE;
        }
    }
    return state->base.get(state->base.self, key, ret_value, ret_found, err);
}

void state_submitter_encode(const struct state_submitter *submitter,
                            struct state_value *ret_value) {
    ret_value->len = SUBMITTER_BYTES;
    wire_store_u64(ret_value->byte, submitter->next_sequence);
    wire_store_u64(ret_value->byte + 8, submitter->records);
    wire_store_u64(ret_value->byte + 16, submitter->versions);
}

void state_submitter_decode(const struct state_value *value,
                            struct state_submitter *ret_submitter) {
    *ret_submitter = (struct state_submitter){wire_load_u64(value->byte),
                                              wire_load_u64(value->byte + 8),
                                              wire_load_u64(value->byte + 16)};
}

enum error_code state_submitter(struct state *state, const uint8_t *submitter,
                                struct state_submitter *ret_submitter, struct error *err) {
    struct state_key key = state_key(STATE_SUBMITTER, submitter, TRANSACTION_KEY_BYTES);
    struct state_value value;
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    *ret_submitter = (struct state_submitter){.next_sequence = 1};
    if (found)
        state_submitter_decode(&value, ret_submitter);
    return ERROR_NONE;
}

static void put_submitter(struct layer *layer, const uint8_t *key,
                          const struct state_submitter *submitter) {
    struct state_key at = state_key(STATE_SUBMITTER, key, TRANSACTION_KEY_BYTES);
    struct state_value value;
    state_submitter_encode(submitter, &value);
    (void)state_table_put(layer->entries, &at, &value);
}

/* The rules for one leaf over the latest version of its record. */
static enum transaction_status judge_leaf(const struct leaf *leaf,
                                          const struct state_record *latest, uint32_t submitter) {
    if (latest == NULL)
        return leaf->version == 1 ? TX_DONE : TX_VERSION;
    if (latest->owner != submitter)
        return TX_OWNER;
    if (leaf->version != latest->version + 1)
        return TX_VERSION;
    if (!hash_equal(&leaf->previous, &latest->leaf))
        return TX_PREVIOUS;
    bool gone = latest->operation == LEAF_DELETE;
    if ((leaf->operation == LEAF_CREATE) != gone)
        return TX_OPERATION;
    return TX_DONE;
}

static void append_node(void *self, unsigned level, uint64_t index, const struct hash *hash) {
    struct layer *layer = self;
    struct state_nodes *nodes = &layer->levels[level];
    assert(index == nodes->first + nodes->count);
    nodes->hash = array_grown(nodes->hash, nodes->count, &nodes->capacity, sizeof *nodes->hash);
    nodes->hash[nodes->count++] = *hash;
}

static void append_place(struct layer *layer, const struct leaf_place *place) {
    layer->places =
        array_grown(layer->places, layer->place_count, &layer->place_capacity, sizeof *layer->places);
    layer->places[layer->place_count++] = *place;
}

/* Puts what can be taken back, so that a transaction takes effect wholly or not at all. */
static void put(struct state *state, const struct state_key *key, const struct state_value *value) {
    assert(state->undo_count < UNDO_MAX);
    state->undo[state->undo_count++] =
        (struct undo){*key, state_table_put(top(state)->entries, key, value)};
}

static void take_back(struct state *state) {
    while (state->undo_count > 0) {
        const struct undo *undo = &state->undo[--state->undo_count];
        (void)state_table_put(top(state)->entries, &undo->key, &undo->before);
    }
}

struct state_key state_anchor_key(uint64_t height, uint32_t index) {
    uint8_t raw[8 + 4];
    wire_store_u64(raw, height);
    wire_store_u32(raw + 8, index);
    return state_key(STATE_ANCHOR, raw, sizeof raw);
}

/* A reference stands on the chain once: of two transactions with one everybody could tell that they
 * are about one person. */
static enum error_code execute_reference(struct state *state, const struct hash *reference,
                                         const struct state_reference *place,
                                         enum transaction_status *ret_status, struct error *err) {
    if (hash_is_zero(reference))
        return ERROR_NONE;
    struct state_key key = state_key(STATE_REFERENCE, reference->byte, HASH_BYTES);
    struct state_value value;
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    if (found) {
        *ret_status = TX_REFERENCE;
        return ERROR_NONE;
    }
    value.len = REFERENCE_VALUE_BYTES;
    wire_store_u64(value.byte, place->height);
    wire_store_u32(value.byte + 8, place->transaction);
    wire_store_u32(value.byte + 12, place->leaf);
    put(state, &key, &value);
    return ERROR_NONE;
}

/* Those of patient and doctor, of which either may be missing. */
static enum error_code execute_people(struct state *state, const struct hash *patient,
                                      const struct hash *doctor,
                                      const struct state_reference *place,
                                      enum transaction_status *ret_status, struct error *err) {
    TRY(execute_reference(state, patient, place, ret_status, err));
    if (*ret_status == TX_DONE)
        TRY(execute_reference(state, doctor, place, ret_status, err));
    return ERROR_NONE;
}

/* An anchor that is being executed. */
struct anchoring {
    const struct checked_transaction *checked;
    uint32_t index; /* in the block */
    uint32_t at;    /* byte offset in the block */
    uint64_t log_index; /* of the first leaf */
    struct state_submitter counts;
};

static enum error_code execute_leaf(struct state *state, struct anchoring *a, uint32_t i,
                                    const struct leaf *leaf, const uint8_t *leaf_at,
                                    enum transaction_status *ret_status, struct error *err) {
    struct layer *layer = top(state);
    const struct checked_transaction *checked = a->checked;
    struct state_key key = state_key(STATE_RECORD, checked->map_keys[i].byte, HASH_BYTES);
    struct state_value value;
    struct state_record latest;
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    if (found)
        state_record_decode(&value, &latest);
    *ret_status = judge_leaf(leaf, found ? &latest : NULL, checked->submitter);
    if (*ret_status != TX_DONE)
        return ERROR_NONE;
    if (checked->anchor.slot_bytes > 0) {
        struct hash patient;
        struct hash doctor;
        anchor_people(&checked->anchor, i, &patient, &doctor);
        struct state_reference place = {layer->height, a->index, i};
        TRY(execute_people(state, &patient, &doctor, &place, ret_status, err));
        if (*ret_status != TX_DONE)
            return ERROR_NONE;
    }
    struct state_record next = {leaf->version, leaf->operation, checked->submitter,
                                checked->leaf_hashes[i], a->log_index + i};
    state_record_encode(&next, &value);
    put(state, &key, &value);
    a->counts.versions++;
    a->counts.records += leaf->operation == LEAF_CREATE ? 1 : 0;
    a->counts.records -= leaf->operation == LEAF_DELETE ? 1 : 0;
    append_place(layer, &(struct leaf_place){
                            .height = layer->height,
                            .submitter = checked->submitter,
                            .transaction = a->index,
                            .leaf = i,
                            .transaction_at = a->at,
                            .leaf_at = a->at + (uint32_t)(leaf_at - checked->bytes),
                            .previous = found ? latest.log_index + 1 : 0,
                        });
    return ERROR_NONE;
}

/* Puts every leaf's record, stopping at the first that breaks a rule; then the anchor is without
 * effect and what was put is taken back. */
static enum error_code execute_anchor(struct state *state,
                                      const struct checked_transaction *checked, uint32_t index,
                                      uint32_t at, struct state_submitter *counts,
                                      enum transaction_status *ret_status, struct error *err) {
    struct layer *layer = top(state);
    struct anchor_cursor cursor = anchor_cursor(&checked->anchor);
    struct leaf leaf;
    struct anchoring anchoring = {checked, index, at, layer->frontier.size, *counts};
    size_t places_before = layer->place_count;
    const uint8_t *leaf_at = cursor.at;
    for (uint32_t i = 0; anchor_next(&cursor, &leaf); i++) {
        enum error_code code =
            execute_leaf(state, &anchoring, i, &leaf, leaf_at, ret_status, err);
        if (code != ERROR_NONE || *ret_status != TX_DONE) {
            take_back(state);
            layer->place_count = places_before;
            return code;
        }
        leaf_at = cursor.at;
    }
    struct merkle_sink sink = {append_node, layer};
    merkle_append_many(&layer->frontier, checked->leaf_hashes, checked->anchor.leaf_count, &sink);
    *counts = anchoring.counts;
    struct state_key key = state_anchor_key(layer->height, index);
    struct state_value id = {.len = HASH_BYTES};
    memcpy(id.byte, checked->tx.id.byte, HASH_BYTES);
    (void)state_table_put(layer->entries, &key, &id);
    return ERROR_NONE;
}

/* An incident may be told by anybody who submits; it must speak of a version that there is. */
static enum error_code execute_incident(struct state *state,
                                        const struct checked_transaction *checked,
                                        enum transaction_status *ret_status, struct error *err) {
    struct incident incident;
    TRY(incident_decode(checked->tx.body, &incident, err));
    struct hash map = map_key(incident.locator.byte);
    struct state_key key = state_key(STATE_RECORD, map.byte, HASH_BYTES);
    struct state_value value;
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    struct state_record latest = {0};
    if (found)
        state_record_decode(&value, &latest);
    *ret_status = found && incident.version <= latest.version ? TX_DONE : TX_UNKNOWN;
    return ERROR_NONE;
}

void state_checkpoint_decode(const struct state_value *value,
                             struct state_checkpoint *ret_checkpoint) {
    ret_checkpoint->height = wire_load_u64(value->byte);
    memcpy(ret_checkpoint->transaction.byte, value->byte + 8, HASH_BYTES);
}

/* That it is proven was checked before it was ordered. */
static enum error_code execute_checkpoint(struct state *state, struct layer *layer,
                                          const struct transaction *tx,
                                          enum transaction_status *ret_status,
                                          struct error *err) {
    struct block_header head;
    TRY(checkpoint_decode(tx->body, &head, err));
    struct state_key key = state_key(STATE_CHECKPOINT, head.chain.byte, HASH_BYTES);
    struct state_value value;
    struct state_checkpoint last = {.height = 0};
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    if (found)
        state_checkpoint_decode(&value, &last);
    if (head.height <= last.height) {
        *ret_status = TX_CHECKPOINT;
        return ERROR_NONE;
    }
    value.len = CHECKPOINT_VALUE_BYTES;
    wire_store_u64(value.byte, head.height);
    memcpy(value.byte + 8, tx->id.byte, HASH_BYTES);
    (void)state_table_put(layer->entries, &key, &value);
    *ret_status = TX_DONE;
    return ERROR_NONE;
}

/* Registrations, permissions, queries. */

void state_person_decode(const struct state_value *value, struct state_person *ret_person) {
    const uint8_t *at = value->byte;
    assert(value->len == PERSON_VALUE_BYTES);
    ret_person->version = wire_load_u32(at);
    ret_person->kind = (enum person_kind)at[4];
    ret_person->operation = (enum person_operation)at[5];
    ret_person->owner = wire_load_u32(at + 6);
    memcpy(ret_person->key.byte, at + 10, HASH_BYTES);
}

void state_permission_decode(const struct state_value *value,
                             struct state_permission *ret_permission) {
    const uint8_t *at = value->byte;
    assert(value->len == PERMISSION_VALUE_BYTES);
    ret_permission->version = wire_load_u32(at);
    ret_permission->operation = (enum permission_operation)at[4];
    ret_permission->owner = wire_load_u32(at + 5);
    ret_permission->grantee = wire_load_u32(at + 9);
}

void state_reference_decode(const struct state_value *value,
                            struct state_reference *ret_reference) {
    assert(value->len == REFERENCE_VALUE_BYTES);
    *ret_reference = (struct state_reference){
        wire_load_u64(value->byte), wire_load_u32(value->byte + 8), wire_load_u32(value->byte + 12)};
}

/* The rules that a registration and a permission share: latest is 0 where there is none yet. */
static enum transaction_status judge_version(uint32_t version, uint32_t latest, bool owned,
                                             bool living) {
    if (latest == 0)
        return version == 1 ? TX_DONE : TX_VERSION;
    if (!owned)
        return TX_OWNER;
    if (version != latest + 1)
        return TX_VERSION;
    return living ? TX_DONE : TX_OPERATION;
}

static enum error_code execute_person(struct state *state,
                                      const struct checked_transaction *checked,
                                      const struct state_reference *place,
                                      enum transaction_status *ret_status, struct error *err) {
    struct person person;
    struct state_person latest = {.version = 0};
    struct state_value value;
    bool found = false;
    TRY(person_decode(checked->tx.body, &person, err));
    struct state_key key = state_key(STATE_PERSON, person.reference.byte, HASH_BYTES);
    TRY(state_get(state, &key, &value, &found, err));
    if (found)
        state_person_decode(&value, &latest);
    *ret_status = judge_version(person.version, latest.version, latest.owner == checked->submitter,
                                latest.operation != PERSON_REVOKE && latest.kind == person.kind);
    if (*ret_status == TX_DONE && !found)
        TRY(execute_reference(state, &person.reference, place, ret_status, err));
    if (*ret_status != TX_DONE)
        return ERROR_NONE;
    value.len = PERSON_VALUE_BYTES;
    wire_store_u32(value.byte, person.version);
    value.byte[4] = (uint8_t)person.kind;
    value.byte[5] = (uint8_t)person.operation;
    wire_store_u32(value.byte + 6, checked->submitter);
    memcpy(value.byte + 10, person.key.byte, HASH_BYTES);
    put(state, &key, &value);
    return ERROR_NONE;
}

/* The permission of a name; version 0 where there is none. */
static enum error_code find_permission(struct state *state, const uint8_t *name,
                                       struct state_permission *ret_permission,
                                       struct error *err) {
    struct state_key key = state_key(STATE_PERMISSION, name, PERMISSION_NAME_BYTES);
    struct state_value value;
    bool found = false;
    TRY(state_get(state, &key, &value, &found, err));
    *ret_permission = (struct state_permission){.version = 0};
    if (found)
        state_permission_decode(&value, ret_permission);
    return ERROR_NONE;
}

static enum error_code execute_permission(struct state *state,
                                          const struct checked_transaction *checked,
                                          const struct state_reference *place,
                                          enum transaction_status *ret_status,
                                          struct error *err) {
    struct permission permission;
    struct state_permission latest;
    TRY(permission_decode(checked->tx.body, &permission, err));
    TRY(find_permission(state, permission.name, &latest, err));
    *ret_status =
        judge_version(permission.version, latest.version, latest.owner == checked->submitter,
                      latest.operation != PERMISSION_REVOKE);
    bool grants = permission.operation == PERMISSION_GRANT;
    int grantee = grants ? members_submitter_by_key(state->epochs.members, permission.grantee)
                         : (int)checked->submitter;
    if (*ret_status == TX_DONE && grantee < 0)
        *ret_status = TX_PERMISSION;
    if (*ret_status == TX_DONE)
        TRY(execute_people(state, &permission.patient, &permission.doctor, place, ret_status,
                           err));
    if (*ret_status != TX_DONE)
        return ERROR_NONE;
    struct state_key key = state_key(STATE_PERMISSION, permission.name, PERMISSION_NAME_BYTES);
    struct state_value value = {.len = PERMISSION_VALUE_BYTES};
    wire_store_u32(value.byte, permission.version);
    value.byte[4] = (uint8_t)permission.operation;
    wire_store_u32(value.byte + 5, checked->submitter);
    wire_store_u32(value.byte + 9, (uint32_t)grantee);
    put(state, &key, &value);
    return ERROR_NONE;
}

/* One that names a permission must be its grantee's, or the owner's, while it is in force. */
static enum error_code execute_query(struct state *state,
                                     const struct checked_transaction *checked,
                                     const struct state_reference *place,
                                     enum transaction_status *ret_status, struct error *err) {
    struct query query;
    TRY(query_decode(checked->tx.body, &query, err));
    if (!permission_name_is_zero(query.permission)) {
        struct state_permission p;
        TRY(find_permission(state, query.permission, &p, err));
        bool allowed = p.operation == PERMISSION_GRANT &&
                       (p.grantee == checked->submitter || p.owner == checked->submitter);
        *ret_status = allowed ? TX_DONE : TX_PERMISSION;
    }
    if (*ret_status == TX_DONE)
        TRY(execute_people(state, &query.patient, &query.doctor, place, ret_status, err));
    return ERROR_NONE;
}

/* One change an epoch: a second one in the same block was made for a list that is past. */
static enum error_code execute_members(const struct state *state, struct layer *layer,
                                       const struct transaction *tx,
                                       enum transaction_status *ret_status, struct error *err) {
    if (layer->next != NULL) {
        *ret_status = TX_EPOCH;
        return ERROR_NONE;
    }
    return epochs_judge(&state->epochs, tx, ret_status, &layer->next, err);
}

/* What each type does; *ret_status is TX_DONE before. */
static enum error_code execute_type(struct state *state,
                                    const struct checked_transaction *checked, uint32_t index,
                                    uint32_t at, struct state_submitter *counts,
                                    enum transaction_status *ret_status, struct error *err) {
    const struct transaction *tx = &checked->tx;
    struct state_reference place = {.height = top(state)->height, .transaction = index};
    switch (tx->type) {
    case TRANSACTION_ANCHOR:
        return execute_anchor(state, checked, index, at, counts, ret_status, err);
    case TRANSACTION_INCIDENT:
        return execute_incident(state, checked, ret_status, err);
    case TRANSACTION_CHANGE:
    case TRANSACTION_EVIDENCE:
        return execute_members(state, top(state), tx, ret_status, err);
    case TRANSACTION_CHECKPOINT:
        return execute_checkpoint(state, top(state), tx, ret_status, err);
    case TRANSACTION_PERSON:
        return execute_person(state, checked, &place, ret_status, err);
    case TRANSACTION_PERMISSION:
        return execute_permission(state, checked, &place, ret_status, err);
    case TRANSACTION_QUERY:
        return execute_query(state, checked, &place, ret_status, err);
    case TRANSACTION_NOTE:
    case TRANSACTION_TYPE_COUNT:
    default:
        return ERROR_NONE;
    }
}

enum error_code state_execute(struct state *state, const struct checked_transaction *checked,
                              uint32_t index, uint32_t at, enum transaction_status *ret_status,
                              struct error *err) {
    struct layer *layer = top(state);
    const struct transaction *tx = &checked->tx;
    assert(layer != NULL);
    struct state_submitter submitter;
    TRY(state_submitter(state, tx->submitter, &submitter, err));
    if (tx->sequence != submitter.next_sequence)
        return error_set(err, ERROR_TX_REJECTED,
                         "transaction: sequence %llu, the submitter's next one is %llu",
                         (unsigned long long)tx->sequence,
                         (unsigned long long)submitter.next_sequence);
    struct state_place place = {
        .height = layer->height, .index = index, .log_index = layer->frontier.size};
    state->undo_count = 0;
    enum error_code code = ERROR_NONE;
    if (!transaction_permitted(state->epochs.members->submitters[checked->submitter].role, tx->type))
        place.status = TX_ROLE;
    else
        code = execute_type(state, checked, index, at, &submitter, &place.status, err);
    if (code != ERROR_NONE || place.status != TX_DONE)
        take_back(state);
    if (code != ERROR_NONE)
        return code;
    submitter.next_sequence++;
    put_submitter(layer, tx->submitter, &submitter);
    struct state_value value;
    place_encode(&place, &value);
    struct state_key key = state_key(STATE_TRANSACTION, tx->id.byte, HASH_BYTES);
    (void)state_table_put(layer->entries, &key, &value);
    *ret_status = place.status;
    return ERROR_NONE;
}

/* A submitter whose key was replaced goes on counting where it was: what was signed with the old key
 * can never be executed under the new one a second time. */
static enum error_code carry_counts(struct state *state, const struct members *next, uint32_t i,
                                      struct error *err) {
    const uint8_t *old_key = state->epochs.members->submitters[i].key;
    const uint8_t *new_key = next->submitters[i].key;
    if (memcmp(old_key, new_key, TRANSACTION_KEY_BYTES) == 0)
        return ERROR_NONE;
    struct state_submitter submitter;
    TRY(state_submitter(state, old_key, &submitter, err));
    put_submitter(top(state), new_key, &submitter);
    return ERROR_NONE;
}

enum error_code state_end(struct state *state, struct error *err) {
    struct layer *layer = top(state);
    assert(layer != NULL);
    if (layer->next == NULL)
        return ERROR_NONE;
    for (uint32_t i = 0; i < state->epochs.members->submitter_count; i++)
        TRY(carry_counts(state, layer->next, i, err));
    uint8_t epoch[EPOCH_BYTES];
    wire_store_u64(epoch, layer->next->epoch);
    struct state_key key = state_key(STATE_EPOCH, epoch, sizeof epoch);
    struct state_value value = {.len = EPOCH_BYTES};
    wire_store_u64(value.byte, layer->height);
    (void)state_table_put(layer->entries, &key, &value);
    return ERROR_NONE;
}

struct hash state_members_hash(const struct state *state) {
    const struct layer *layer = top(state);
    return layer != NULL && layer->next != NULL ? layer->next->hash : state->epochs.members->hash;
}

static const struct merkle_frontier *top_frontier(const struct state *state) {
    return top(state) != NULL ? &top(state)->frontier : &state->frontier;
}

uint64_t state_log_size(const struct state *state) {
    return top_frontier(state)->size;
}

struct hash state_log_root(const struct state *state) {
    return merkle_root(top_frontier(state));
}

void state_undo(struct state *state, uint64_t height) {
    assert(height > state->committed);
    while (state_height(state) >= height && state->layer_count > 0)
        layer_free(state->layers[--state->layer_count]);
}

bool state_lowest(const struct state *state, struct state_change *ret_change) {
    if (state->layer_count == 0)
        return false;
    const struct layer *layer = state->layers[0];
    *ret_change = (struct state_change){
        .height = layer->height,
        .entries = layer->entries,
        .frontier = &layer->frontier,
        .places_first = layer->places_first,
        .place_count = layer->place_count,
        .places = layer->places,
        .levels = layer->levels,
    };
    return true;
}

bool state_settle(struct state *state) {
    assert(state->layer_count > 0);
    struct members *next = state->layers[0]->next;
    assert(next == NULL || state->layer_count == 1); /* nothing stands on an epoch's last block */
    state->layers[0]->next = NULL;
    if (next != NULL)
        epochs_next(&state->epochs, next);
    state->frontier = state->layers[0]->frontier;
    state->committed++;
    layer_free(state->layers[0]);
    state->layer_count--;
    memmove(state->layers, state->layers + 1, state->layer_count * sizeof state->layers[0]);
    return next != NULL;
}
