/* Changes of the members: their bytes, their signatures, and what becomes of the list. */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/members.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"

enum {
    CHANGE_FORMAT = 1,
    OPERATION_BYTES_MIN = 1 + 1 + 4 + 1 + GENESIS_KEY_BYTES + HASH_BYTES + 4,
    SIGNATURE_BYTES = 2 + CHANGE_SIGNATURE_BYTES,
};

static const char change_domain[] = "renkei/change/1\n";

/* What an operation of a kind must have besides its name. */
static const struct kind_info {
    const char *name;
    bool role;
    bool key;
    bool pin;
    bool address;
} kinds[CHANGE_KIND_COUNT] = {
    [CHANGE_ADD_VALIDATOR] = {"add-validator", false, true, true, true},
    [CHANGE_REMOVE_VALIDATOR] = {"remove-validator", false, false, false, false},
    [CHANGE_REPLACE_VALIDATOR] = {"replace-validator", false, true, true, true},
    [CHANGE_ADD_OBSERVER] = {"add-observer", false, true, true, false},
    [CHANGE_REMOVE_OBSERVER] = {"remove-observer", false, false, false, false},
    [CHANGE_REPLACE_OBSERVER] = {"replace-observer", false, true, true, false},
    [CHANGE_ADD_SUBMITTER] = {"add-submitter", true, true, false, false},
    [CHANGE_REMOVE_SUBMITTER] = {"remove-submitter", false, false, false, false},
    [CHANGE_REPLACE_SUBMITTER] = {"replace-submitter", false, true, false, false},
};

const char *change_kind_name(enum change_kind kind) {
    return (unsigned)kind < CHANGE_KIND_COUNT ? kinds[kind].name : NULL;
}

enum change_kind change_kind_by_name(const char *name) {
    for (int kind = CHANGE_ADD_VALIDATOR; kind < CHANGE_KIND_COUNT; kind++)
        if (strcmp(kinds[kind].name, name) == 0)
            return (enum change_kind)kind;
    return (enum change_kind)0;
}

static bool key_is_zero(const uint8_t *key) {
    static const uint8_t zero[GENESIS_KEY_BYTES];
    return memcmp(key, zero, sizeof zero) == 0;
}

static enum error_code check_operation(const struct change_operation *o, struct error *err) {
    if ((int)o->kind < CHANGE_ADD_VALIDATOR || o->kind >= CHANGE_KIND_COUNT)
        return error_set(err, ERROR_PROTOCOL, "change: operation %d is not known", (int)o->kind);
    const struct kind_info *kind = &kinds[o->kind];
    if (!genesis_name_valid(o->name))
        return error_set(err, ERROR_PROTOCOL,
                         "change: %s: name: expected 1 to 63 of a-z, 0-9 and '-'", kind->name);
    bool role = o->role == MEMBER_GATEWAY || o->role == MEMBER_AUDITOR;
    if (kind->role ? !role : o->role != 0)
        return error_set(err, ERROR_PROTOCOL, "change: %s %s: its role does not fit", kind->name,
                         o->name);
    if (kind->key == key_is_zero(o->key) || kind->pin == hash_is_zero(&o->tls_pin))
        return error_set(err, ERROR_PROTOCOL, "change: %s %s: its keys do not fit", kind->name,
                         o->name);
    if (kind->address ? !genesis_address_valid(o->address, false) : o->address[0] != '\0')
        return error_set(err, ERROR_PROTOCOL, "change: %s %s: its address does not fit", kind->name,
                         o->name);
    return ERROR_NONE;
}

static void put_operations(struct buffer *out, const struct change *change) {
    wire_u32(out, change->operation_count);
    for (uint32_t i = 0; i < change->operation_count; i++) {
        const struct change_operation *o = &change->operations[i];
        wire_u8(out, (uint8_t)o->kind);
        wire_u8(out, (uint8_t)o->role);
        wire_bytes(out, bytes_of(o->name, strlen(o->name)));
        wire_fixed(out, o->key, GENESIS_KEY_BYTES);
        wire_fixed(out, o->tls_pin.byte, HASH_BYTES);
        wire_bytes(out, bytes_of(o->address, strlen(o->address)));
    }
}

enum error_code change_encode(const struct change *change, struct buffer *out, struct error *err) {
    wire_u8(out, CHANGE_FORMAT);
    wire_u64(out, change->epoch);
    put_operations(out, change);
    wire_u32(out, change->signature_count);
    for (uint32_t i = 0; i < change->signature_count; i++) {
        wire_u16(out, change->signatures[i].validator);
        wire_fixed(out, change->signatures[i].signature, CHANGE_SIGNATURE_BYTES);
    }
    return buffer_check(out, "change", err);
}

static void read_text(struct wire_reader *r, size_t len_max, char *ret_text) {
    struct bytes text = wire_read_bytes(r, len_max);
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL)
        r->failed = true;
    if (text.len > 0)
        memcpy(ret_text, text.data, text.len);
    ret_text[text.len] = '\0';
}

static enum error_code read_operations(struct wire_reader *r, struct change *ret_change,
                                       struct error *err) {
    ret_change->operation_count =
        wire_read_count(r, CHANGE_OPERATIONS_MAX, OPERATION_BYTES_MIN);
    for (uint32_t i = 0; i < ret_change->operation_count && !r->failed; i++) {
        struct change_operation *o = &ret_change->operations[i];
        o->kind = (enum change_kind)wire_read_u8(r);
        o->role = (enum member_role)wire_read_u8(r);
        read_text(r, GENESIS_NAME_BYTES_MAX, o->name);
        wire_read_fixed(r, o->key, GENESIS_KEY_BYTES);
        wire_read_fixed(r, o->tls_pin.byte, HASH_BYTES);
        read_text(r, GENESIS_ADDRESS_BYTES_MAX, o->address);
        if (!r->failed)
            TRY(check_operation(o, err));
    }
    return ERROR_NONE;
}

enum error_code change_decode(struct bytes input, struct change *ret_change, struct error *err) {
    struct wire_reader r = wire_reader(input);
    struct change *c = ret_change;
    memset(c, 0, sizeof *c);
    unsigned format = wire_read_u8(&r);
    c->epoch = wire_read_u64(&r);
    TRY(read_operations(&r, c, err));
    c->signature_count = wire_read_count(&r, GENESIS_VALIDATORS_MAX, SIGNATURE_BYTES);
    for (uint32_t i = 0; i < c->signature_count && !r.failed; i++) {
        c->signatures[i].validator = wire_read_u16(&r);
        wire_read_fixed(&r, c->signatures[i].signature, CHANGE_SIGNATURE_BYTES);
        if (i > 0 && c->signatures[i].validator <= c->signatures[i - 1].validator)
            r.failed = true;
    }
    if (!wire_read_end(&r) || format != CHANGE_FORMAT || c->operation_count == 0)
        return error_set(err, ERROR_PROTOCOL, "change: %zu bytes are not one change of format 1",
                         input.len);
    return ERROR_NONE;
}

struct hash change_statement(const struct change *change, const struct hash *chain) {
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, CHANGE_BYTES_MAX);
    wire_fixed(&bytes, change_domain, sizeof change_domain - 1);
    wire_fixed(&bytes, chain->byte, HASH_BYTES);
    wire_u64(&bytes, change->epoch);
    put_operations(&bytes, change);
    if (bytes.failed)
        abort(); /* the maxima of an operation keep it below the maximum */
    return sha256_of(buffer_bytes(&bytes));
}

enum error_code change_check_signatures(const struct change *change, const struct members *members,
                                        struct error *err) {
    struct hash statement = change_statement(change, &members->chain);
    for (uint32_t i = 0; i < change->signature_count; i++) {
        const struct change_signature *s = &change->signatures[i];
        if (s->validator >= members->validator_count ||
            !signature_valid(members->validators[s->validator].vote_key, &statement, s->signature))
            return error_set(err, ERROR_VERIFY, "change: the signature of validator %u is wrong",
                             s->validator);
    }
    uint32_t quorum = pbft_quorum(members->validator_count);
    if (change->signature_count < quorum)
        return error_set(err, ERROR_VERIFY,
                         "change: %u of %u validators signed it, expected at least %u",
                         change->signature_count, members->validator_count, quorum);
    return ERROR_NONE;
}

/* What an operation does to the list that is being made. */

static enum error_code refuse(const struct change_operation *o, const char *why,
                              struct error *err) {
    return error_set(err, ERROR_TX_REJECTED, "change: %s %s: %s", kinds[o->kind].name, o->name,
                     why);
}

static struct member_node *find_node(struct member_node *nodes, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(nodes[i].name, name) == 0)
            return &nodes[i];
    return NULL;
}

static struct member_submitter *find_submitter(struct members *m, const uint8_t *key,
                                               bool removed) {
    for (uint32_t i = 0; i < m->submitter_count; i++)
        if (m->submitters[i].removed == removed &&
            memcmp(m->submitters[i].key, key, GENESIS_KEY_BYTES) == 0)
            return &m->submitters[i];
    return NULL;
}

static struct member_submitter *find_submitter_name(struct members *m, const char *name) {
    for (uint32_t i = 0; i < m->submitter_count; i++)
        if (!m->submitters[i].removed && m->submitters[i].role != MEMBER_NODE &&
            strcmp(m->submitters[i].name, name) == 0)
            return &m->submitters[i];
    return NULL;
}

/* A key that was here before gets its old number, and with it its sequence. */
static enum error_code add_submitter(struct members *m, const struct change_operation *o,
                                     enum member_role role, struct error *err) {
    if (find_submitter(m, o->key, false) != NULL)
        return refuse(o, "another submitter or node has this key", err);
    struct member_submitter *s = find_submitter(m, o->key, true);
    if (s == NULL) {
        if (m->submitter_count == MEMBERS_SUBMITTERS_MAX)
            return refuse(o, "the chain has no more numbers for submitters", err);
        s = &m->submitters[m->submitter_count++];
    }
    *s = (struct member_submitter){.role = role};
    memcpy(s->name, o->name, sizeof s->name);
    memcpy(s->key, o->key, GENESIS_KEY_BYTES);
    return ERROR_NONE;
}

static void remove_own_submitter(struct members *m, const uint8_t *key) {
    struct member_submitter *s = find_submitter(m, key, false);
    if (s != NULL && s->role == MEMBER_NODE)
        s->removed = true;
}

static void fill_node(struct member_node *node, const struct change_operation *o) {
    *node = (struct member_node){.tls_pin = o->tls_pin};
    memcpy(node->name, o->name, sizeof node->name);
    memcpy(node->address, o->address, sizeof node->address);
    memcpy(node->vote_key, o->key, GENESIS_KEY_BYTES);
}

static void drop_node(struct member_node *nodes, uint32_t *count, struct member_node *node) {
    size_t at = (size_t)(node - nodes);
    memmove(node, node + 1, (*count - at - 1) * sizeof *node);
    (*count)--;
}

static enum error_code add_node(struct members *m, const struct change_operation *o,
                                struct error *err) {
    bool votes = o->kind == CHANGE_ADD_VALIDATOR;
    struct member_node *observer = find_node(m->observers, m->observer_count, o->name);
    if (find_node(m->validators, m->validator_count, o->name) != NULL ||
        (observer != NULL && !votes))
        return refuse(o, "there is a node of this name", err);
    if (observer != NULL) {
        if (memcmp(observer->vote_key, o->key, GENESIS_KEY_BYTES) != 0 ||
            !hash_equal(&observer->tls_pin, &o->tls_pin))
            return refuse(o, "the observer of this name has other keys", err);
        drop_node(m->observers, &m->observer_count, observer);
    } else {
        TRY(add_submitter(m, o, MEMBER_NODE, err));
    }
    if (votes ? m->validator_count == GENESIS_VALIDATORS_MAX
              : m->observer_count == MEMBERS_OBSERVERS_MAX)
        return refuse(o, "there are as many as can be", err);
    fill_node(votes ? &m->validators[m->validator_count++] : &m->observers[m->observer_count++], o);
    return ERROR_NONE;
}

static enum error_code remove_node(struct members *m, const struct change_operation *o,
                                   struct error *err) {
    bool votes = o->kind == CHANGE_REMOVE_VALIDATOR;
    struct member_node *nodes = votes ? m->validators : m->observers;
    uint32_t *count = votes ? &m->validator_count : &m->observer_count;
    struct member_node *node = find_node(nodes, *count, o->name);
    if (node == NULL)
        return refuse(o, "there is none of this name", err);
    if (votes && *count == 1)
        return refuse(o, "it is the last validator", err);
    remove_own_submitter(m, node->vote_key);
    drop_node(nodes, count, node);
    return ERROR_NONE;
}

static enum error_code replace_node(struct members *m, const struct change_operation *o,
                                    struct error *err) {
    bool votes = o->kind == CHANGE_REPLACE_VALIDATOR;
    struct member_node *node = votes ? find_node(m->validators, m->validator_count, o->name)
                                     : find_node(m->observers, m->observer_count, o->name);
    if (node == NULL)
        return refuse(o, "there is none of this name", err);
    if (memcmp(node->vote_key, o->key, GENESIS_KEY_BYTES) != 0) {
        if (find_submitter(m, o->key, false) != NULL || find_submitter(m, o->key, true) != NULL)
            return refuse(o, "its new key was used before", err);
        struct member_submitter *own = find_submitter(m, node->vote_key, false);
        if (own != NULL && own->role == MEMBER_NODE)
            memcpy(own->key, o->key, GENESIS_KEY_BYTES);
    }
    fill_node(node, o);
    return ERROR_NONE;
}

static enum error_code change_submitter(struct members *m, const struct change_operation *o,
                                        struct error *err) {
    struct member_submitter *s = find_submitter_name(m, o->name);
    if (o->kind == CHANGE_ADD_SUBMITTER)
        return s != NULL ? refuse(o, "there is a submitter of this name", err)
                         : add_submitter(m, o, o->role, err);
    if (s == NULL)
        return refuse(o, "there is none of this name", err);
    if (o->kind == CHANGE_REMOVE_SUBMITTER) {
        s->removed = true;
        return ERROR_NONE;
    }
    if (find_submitter(m, o->key, false) != NULL || find_submitter(m, o->key, true) != NULL)
        return refuse(o, "its new key was used before", err);
    memcpy(s->key, o->key, GENESIS_KEY_BYTES);
    return ERROR_NONE;
}

static enum error_code apply(struct members *m, const struct change_operation *o,
                             struct error *err) {
    switch (o->kind) {
    case CHANGE_ADD_VALIDATOR:
    case CHANGE_ADD_OBSERVER:
        return add_node(m, o, err);
    case CHANGE_REMOVE_VALIDATOR:
    case CHANGE_REMOVE_OBSERVER:
        return remove_node(m, o, err);
    case CHANGE_REPLACE_VALIDATOR:
    case CHANGE_REPLACE_OBSERVER:
        return replace_node(m, o, err);
    case CHANGE_ADD_SUBMITTER:
    case CHANGE_REMOVE_SUBMITTER:
    case CHANGE_REPLACE_SUBMITTER:
        return change_submitter(m, o, err);
    case CHANGE_KIND_COUNT:
    default:
        return refuse(o, "there is no such operation", err);
    }
}

/* Whom a pin means must be one node, and a node that listens must be reachable. */
static enum error_code check_whole(const struct members *m, struct error *err) {
    for (uint32_t i = 0; i < m->validator_count + m->observer_count; i++) {
        const struct member_node *a =
            i < m->validator_count ? &m->validators[i] : &m->observers[i - m->validator_count];
        for (uint32_t j = 0; j < i; j++) {
            const struct member_node *b =
                j < m->validator_count ? &m->validators[j] : &m->observers[j - m->validator_count];
            if (hash_equal(&a->tls_pin, &b->tls_pin) ||
                memcmp(a->vote_key, b->vote_key, GENESIS_KEY_BYTES) == 0)
                return error_set(err, ERROR_TX_REJECTED, "change: %s and %s would have one key",
                                 b->name, a->name);
        }
        if (i < m->validator_count && m->validator_count > 1 &&
            !genesis_address_valid(a->address, false))
            return error_set(err, ERROR_TX_REJECTED,
                             "change: %s would have no address that others can reach", a->name);
    }
    return ERROR_NONE;
}

enum error_code members_change(const struct members *members, const struct change *change,
                               struct members **ret_next, struct error *err) {
    struct members *next = members_copy(members);
    next->epoch++;
    enum error_code code = ERROR_NONE;
    for (uint32_t i = 0; i < change->operation_count && code == ERROR_NONE; i++)
        code = apply(next, &change->operations[i], err);
    if (code == ERROR_NONE)
        code = check_whole(next, err);
    if (code != ERROR_NONE) {
        members_free(next);
        return code;
    }
    members_seal(next);
    *ret_next = next;
    return ERROR_NONE;
}

enum error_code members_expel(const struct members *members, uint32_t validator,
                              struct members **ret_next, struct error *err) {
    bool few = members->validator_count <= MEMBERS_EXPEL_LEAST;
    if (few && members->validators[validator].suspended)
        return error_set(err, ERROR_TX_REJECTED, "evidence: %s is suspended already",
                         members->validators[validator].name);
    struct members *next = members_copy(members);
    next->epoch++;
    struct member_node *node = &next->validators[validator];
    if (few) {
        node->suspended = true;
    } else {
        remove_own_submitter(next, node->vote_key);
        drop_node(next->validators, &next->validator_count, node);
    }
    members_seal(next);
    *ret_next = next;
    return ERROR_NONE;
}
