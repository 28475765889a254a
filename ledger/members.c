#include "ledger/members.h"

#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

enum {
    MEMBERS_FORMAT = 1,
    MEMBERS_SHA256 = 1,
    NODE_BYTES_MIN = 1 + 4 + 1 + 4 + GENESIS_KEY_BYTES + HASH_BYTES,
    SUBMITTER_BYTES_MIN = 1 + 1 + 4 + 1 + GENESIS_KEY_BYTES,
    FLAG_SUSPENDED = 1,
    FLAG_REMOVED = 1,
};

static const char members_domain[] = "renkei/members/1\n";

static const char *const role_names[] = {
    [MEMBER_GATEWAY] = "gateway", [MEMBER_NODE] = "node", [MEMBER_AUDITOR] = "auditor"};

const char *member_role_name(enum member_role role) {
    return (unsigned)role <= MEMBER_AUDITOR ? role_names[role] : NULL;
}

enum member_role member_role_by_name(const char *name) {
    for (int role = MEMBER_GATEWAY; role <= MEMBER_AUDITOR; role++)
        if (strcmp(role_names[role], name) == 0)
            return (enum member_role)role;
    return (enum member_role)0;
}

static void *must(void *memory) {
    if (memory == NULL)
        abort();
    return memory;
}

static struct members *members_new(uint32_t validators, uint32_t observers, uint32_t submitters) {
    struct members *m = must(calloc(1, sizeof *m));
    m->validator_count = validators;
    m->observer_count = observers;
    m->submitter_count = submitters;
    /* With room for what one change can add (change.c). */
    m->validators = must(calloc((size_t)validators + CHANGE_OPERATIONS_MAX, sizeof *m->validators));
    m->observers = must(calloc((size_t)observers + CHANGE_OPERATIONS_MAX, sizeof *m->observers));
    m->submitters = must(calloc((size_t)submitters + CHANGE_OPERATIONS_MAX, sizeof *m->submitters));
    return m;
}

void members_free(struct members *m) {
    if (m == NULL)
        return;
    free(m->validators);
    free(m->observers);
    free(m->submitters);
    free(m->by_key);
    free(m);
}

/* Keys are random enough to be their own hash; a cheat could only slow the lookups of his own list. */
static uint32_t slot_of(const struct members *m, const uint8_t *key) {
    return (wire_load_u32(key) ^ wire_load_u32(key + 12)) & m->by_key_mask;
}

static void index_submitters(struct members *m) {
    uint32_t size = 16;
    while (size < 4 * m->submitter_count)
        size *= 2;
    free(m->by_key);
    m->by_key = must(calloc(size, sizeof *m->by_key));
    m->by_key_mask = size - 1;
    for (uint32_t i = 0; i < m->submitter_count; i++) {
        if (m->submitters[i].removed)
            continue;
        uint32_t slot = slot_of(m, m->submitters[i].key);
        while (m->by_key[slot] != 0)
            slot = (slot + 1) & m->by_key_mask;
        m->by_key[slot] = i + 1;
    }
}

void members_seal(struct members *m) {
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, MEMBERS_BYTES_MAX);
    members_encode(m, &bytes);
    if (bytes.failed)
        abort(); /* the maxima of the lists keep it below the maximum of its bytes */
    struct bytes parts[] = {bytes_of(members_domain, sizeof members_domain - 1),
                            buffer_bytes(&bytes)};
    m->hash = sha256_of_parts(parts, 2);
    index_submitters(m);
}

struct members *members_of_genesis(const struct genesis *genesis) {
    uint32_t submitters = genesis->submitter_count;
    struct members *m = members_new(genesis->validator_count, 0,
                                    submitters + genesis->validator_count);
    m->chain = genesis->chain;
    for (uint32_t i = 0; i < submitters; i++) {
        memcpy(m->submitters[i].name, genesis->submitters[i].name, sizeof m->submitters[i].name);
        memcpy(m->submitters[i].key, genesis->submitters[i].key, GENESIS_KEY_BYTES);
        m->submitters[i].role = MEMBER_GATEWAY;
    }
    m->submitter_count = submitters;
    for (uint32_t i = 0; i < genesis->validator_count; i++) {
        const struct genesis_validator *from = &genesis->validators[i];
        struct member_node *to = &m->validators[i];
        memcpy(to->name, from->name, sizeof to->name);
        memcpy(to->address, from->address, sizeof to->address);
        memcpy(to->vote_key, from->vote_key, GENESIS_KEY_BYTES);
        to->tls_pin = from->tls_pin;
        if (genesis_submitter_by_key(genesis, from->vote_key) >= 0)
            continue; /* one key for both: it submits as what the genesis says */
        struct member_submitter *own = &m->submitters[m->submitter_count++];
        memcpy(own->name, from->name, sizeof own->name);
        memcpy(own->key, from->vote_key, GENESIS_KEY_BYTES);
        own->role = MEMBER_NODE;
    }
    members_seal(m);
    return m;
}

struct members *members_copy(const struct members *from) {
    struct members *m =
        members_new(from->validator_count, from->observer_count, from->submitter_count);
    m->chain = from->chain;
    m->epoch = from->epoch;
    memcpy(m->validators, from->validators, from->validator_count * sizeof *m->validators);
    memcpy(m->observers, from->observers, from->observer_count * sizeof *m->observers);
    memcpy(m->submitters, from->submitters, from->submitter_count * sizeof *m->submitters);
    members_seal(m);
    return m;
}

static void put_text(struct buffer *out, const char *text) {
    wire_bytes(out, bytes_of(text, strlen(text)));
}

static void put_node(struct buffer *out, const struct member_node *node) {
    wire_u8(out, node->suspended ? FLAG_SUSPENDED : 0);
    put_text(out, node->name);
    put_text(out, node->address);
    wire_fixed(out, node->vote_key, GENESIS_KEY_BYTES);
    wire_fixed(out, node->tls_pin.byte, HASH_BYTES);
}

void members_encode(const struct members *m, struct buffer *out) {
    wire_u8(out, MEMBERS_FORMAT);
    wire_u8(out, MEMBERS_SHA256);
    wire_fixed(out, m->chain.byte, HASH_BYTES);
    wire_u64(out, m->epoch);
    wire_u32(out, m->validator_count);
    for (uint32_t i = 0; i < m->validator_count; i++)
        put_node(out, &m->validators[i]);
    wire_u32(out, m->observer_count);
    for (uint32_t i = 0; i < m->observer_count; i++)
        put_node(out, &m->observers[i]);
    wire_u32(out, m->submitter_count);
    for (uint32_t i = 0; i < m->submitter_count; i++) {
        const struct member_submitter *s = &m->submitters[i];
        wire_u8(out, s->removed ? FLAG_REMOVED : 0);
        wire_u8(out, (uint8_t)s->role);
        put_text(out, s->name);
        wire_fixed(out, s->key, GENESIS_KEY_BYTES);
    }
}

static void read_text(struct wire_reader *r, size_t len_max, char *ret_text) {
    struct bytes text = wire_read_bytes(r, len_max);
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL)
        r->failed = true;
    if (text.len > 0)
        memcpy(ret_text, text.data, text.len);
    ret_text[text.len] = '\0';
}

static void read_node(struct wire_reader *r, struct member_node *ret_node) {
    uint8_t flags = wire_read_u8(r);
    ret_node->suspended = flags == FLAG_SUSPENDED;
    r->failed = r->failed || flags > FLAG_SUSPENDED;
    read_text(r, GENESIS_NAME_BYTES_MAX, ret_node->name);
    read_text(r, GENESIS_ADDRESS_BYTES_MAX, ret_node->address);
    wire_read_fixed(r, ret_node->vote_key, GENESIS_KEY_BYTES);
    wire_read_fixed(r, ret_node->tls_pin.byte, HASH_BYTES);
}

static void read_submitter(struct wire_reader *r, struct member_submitter *ret_submitter) {
    uint8_t flags = wire_read_u8(r);
    uint8_t role = wire_read_u8(r);
    ret_submitter->removed = flags == FLAG_REMOVED;
    ret_submitter->role = (enum member_role)role;
    r->failed = r->failed || flags > FLAG_REMOVED || role < MEMBER_GATEWAY || role > MEMBER_AUDITOR;
    read_text(r, GENESIS_NAME_BYTES_MAX, ret_submitter->name);
    wire_read_fixed(r, ret_submitter->key, GENESIS_KEY_BYTES);
}

enum error_code members_decode(struct bytes input, struct members **ret_members,
                               struct error *err) {
    struct wire_reader r = wire_reader(input);
    struct hash chain;
    unsigned format = wire_read_u8(&r);
    unsigned algorithm = wire_read_u8(&r);
    wire_read_fixed(&r, chain.byte, HASH_BYTES);
    uint64_t epoch = wire_read_u64(&r);
    struct members *m = members_new(GENESIS_VALIDATORS_MAX, MEMBERS_OBSERVERS_MAX,
                                    MEMBERS_SUBMITTERS_MAX);
    m->chain = chain;
    m->epoch = epoch;
    m->validator_count = wire_read_count(&r, GENESIS_VALIDATORS_MAX, NODE_BYTES_MIN);
    for (uint32_t i = 0; i < m->validator_count; i++)
        read_node(&r, &m->validators[i]);
    m->observer_count = wire_read_count(&r, MEMBERS_OBSERVERS_MAX, NODE_BYTES_MIN);
    for (uint32_t i = 0; i < m->observer_count; i++)
        read_node(&r, &m->observers[i]);
    m->submitter_count = wire_read_count(&r, MEMBERS_SUBMITTERS_MAX, SUBMITTER_BYTES_MIN);
    for (uint32_t i = 0; i < m->submitter_count; i++)
        read_submitter(&r, &m->submitters[i]);
    if (!wire_read_end(&r) || format != MEMBERS_FORMAT || algorithm != MEMBERS_SHA256 ||
        m->validator_count == 0) {
        members_free(m);
        return error_set(err, ERROR_PROTOCOL, "members: %zu bytes are not one list of format 1",
                         input.len);
    }
    members_seal(m);
    *ret_members = m;
    return ERROR_NONE;
}

static int node_by_key(const struct member_node *nodes, uint32_t count, const uint8_t *key) {
    for (uint32_t i = 0; i < count; i++)
        if (memcmp(nodes[i].vote_key, key, GENESIS_KEY_BYTES) == 0)
            return (int)i;
    return -1;
}

int members_validator_by_key(const struct members *m, const uint8_t *vote_key) {
    return node_by_key(m->validators, m->validator_count, vote_key);
}

int members_observer_by_key(const struct members *m, const uint8_t *vote_key) {
    return node_by_key(m->observers, m->observer_count, vote_key);
}

int members_validator_by_name(const struct members *m, const char *name) {
    for (uint32_t i = 0; i < m->validator_count; i++)
        if (strcmp(m->validators[i].name, name) == 0)
            return (int)i;
    return -1;
}

int members_submitter_by_key(const struct members *m, const uint8_t *key) {
    for (uint32_t slot = slot_of(m, key); m->by_key[slot] != 0; slot = (slot + 1) & m->by_key_mask) {
        uint32_t i = m->by_key[slot] - 1;
        if (memcmp(m->submitters[i].key, key, GENESIS_KEY_BYTES) == 0)
            return (int)i;
    }
    return -1;
}
