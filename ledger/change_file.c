#include "ledger/change_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

enum { CHANGE_FILE_FORMAT = 1 };

static enum error_code read_json(const char *path, json_t **ret_root, struct error *err) {
    SCOPED_BUFFER struct buffer file;
    buffer_init(&file, CHANGE_FILE_BYTES_MAX);
    TRY(file_read(path, &file, CHANGE_FILE_BYTES_MAX, err));
    json_error_t at;
    json_t *root = json_loadb((const char *)file.data, file.len, JSON_REJECT_DUPLICATES, &at);
    if (root == NULL)
        return error_set(err, ERROR_CONFIG, "%s: line %d, column %d: not JSON", path, at.line,
                         at.column);
    *ret_root = root;
    return ERROR_NONE;
}

static json_t *hex_json(const uint8_t *bytes, size_t len) {
    char text[2 * CHANGE_SIGNATURE_BYTES + 1];
    text_hex(bytes, len, text);
    return json_string(text);
}

/* An absent text is an empty one: each kind's needs are checked when the change is decoded. */
static bool read_text(const json_t *object, const char *key, size_t size, char *ret_text) {
    const char *text = json_string_value(json_object_get(object, key));
    size_t len = text == NULL ? 0 : strlen(text);
    if (len >= size)
        return false;
    memcpy(ret_text, text == NULL ? "" : text, len + 1);
    return true;
}

static bool read_hex(const json_t *object, const char *key, size_t len, uint8_t *ret_bytes) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    return value == NULL ||
           (text != NULL && strlen(text) == 2 * len && text_unhex(text, len, ret_bytes));
}

static bool is_submitters(enum change_kind kind) {
    return kind == CHANGE_ADD_SUBMITTER || kind == CHANGE_REMOVE_SUBMITTER ||
           kind == CHANGE_REPLACE_SUBMITTER;
}

static bool read_operation(const json_t *object, struct change_operation *ret_operation) {
    const char *kind = json_string_value(json_object_get(object, "operation"));
    const char *role = json_string_value(json_object_get(object, "role"));
    struct change_operation o = {.kind = kind == NULL ? 0 : change_kind_by_name(kind)};
    o.role = role == NULL ? 0 : member_role_by_name(role);
    if (role != NULL && o.role == 0)
        return false;
    const char *key = is_submitters(o.kind) ? "key" : "vote_key";
    bool good = read_text(object, "name", sizeof o.name, o.name) &&
                read_text(object, "address", sizeof o.address, o.address) &&
                read_hex(object, key, GENESIS_KEY_BYTES, o.key) &&
                read_hex(object, "tls_pin", HASH_BYTES, o.tls_pin.byte);
    if (good)
        *ret_operation = o;
    return good;
}

static bool read_signature(const json_t *object, const struct members *members,
                           struct change_signature *ret_signature) {
    const char *name = json_string_value(json_object_get(object, "validator"));
    int validator = name == NULL ? -1 : members_validator_by_name(members, name);
    if (validator < 0 || json_object_get(object, "signature") == NULL)
        return false;
    ret_signature->validator = (uint16_t)validator;
    return read_hex(object, "signature", CHANGE_SIGNATURE_BYTES, ret_signature->signature);
}

static enum error_code read_root(const json_t *root, const char *path,
                                 const struct members *members, struct change *ret_change,
                                 struct error *err) {
    struct hash chain = {{0}};
    if (json_integer_value(json_object_get(root, "format")) != CHANGE_FILE_FORMAT ||
        !read_hex(root, "chain", HASH_BYTES, chain.byte))
        return error_set(err, ERROR_CONFIG, "%s: not a change of members of format 1", path);
    if (!hash_equal(&chain, &members->chain))
        return error_set(err, ERROR_CONFIG, "%s: the change is for another chain", path);
    json_int_t epoch = json_integer_value(json_object_get(root, "epoch"));
    if (epoch < 0 || (uint64_t)epoch != members->epoch) {
        (void)error_set(err, ERROR_CONFIG, "%s: the change is for epoch %lld, the chain is in %llu",
                        path, (long long)epoch, (unsigned long long)members->epoch);
        error_hint(err, "the members have changed meanwhile: make the change anew and sign it again");
        return ERROR_CONFIG;
    }
    struct change c = {.epoch = members->epoch};
    size_t i;
    const json_t *value;
    json_array_foreach(json_object_get(root, "operations"), i, value) {
        if (i == CHANGE_OPERATIONS_MAX || !read_operation(value, &c.operations[i]))
            return error_set(err, ERROR_CONFIG, "%s: operation %zu cannot be read", path, i + 1);
        c.operation_count++;
    }
    json_array_foreach(json_object_get(root, "signatures"), i, value) {
        struct change_signature signature;
        if (i == GENESIS_VALIDATORS_MAX || !read_signature(value, members, &signature))
            return error_set(err, ERROR_CONFIG, "%s: signature %zu cannot be read", path, i + 1);
        change_add_signature(&c, &signature);
    }
    *ret_change = c;
    return ERROR_NONE;
}

/* Whatever a file says, only what its bytes would be believed for is taken. */
static enum error_code check(const struct change *change, struct error *err) {
    SCOPED_BUFFER struct buffer bytes;
    struct change again;
    buffer_init(&bytes, CHANGE_BYTES_MAX);
    TRY(change_encode(change, &bytes, err));
    return change_decode(buffer_bytes(&bytes), &again, err);
}

enum error_code change_file_read(const char *path, const struct members *members,
                                 struct change *ret_change, struct error *err) {
    json_t *root = NULL;
    struct change change;
    TRY(read_json(path, &root, err));
    enum error_code code = read_root(root, path, members, &change, err);
    json_decref(root);
    if (code != ERROR_NONE)
        return code;
    if (check(&change, err) != ERROR_NONE)
        return error_wrap(err, ERROR_CONFIG, "%s", path);
    *ret_change = change;
    return ERROR_NONE;
}

static json_t *operation_json(const struct change_operation *o) {
    json_t *object = json_object();
    json_object_set_new(object, "operation", json_string(change_kind_name(o->kind)));
    json_object_set_new(object, "name", json_string(o->name));
    static const uint8_t none[HASH_BYTES];
    if (o->role != 0)
        json_object_set_new(object, "role", json_string(member_role_name(o->role)));
    if (memcmp(o->key, none, sizeof none) != 0)
        json_object_set_new(object, is_submitters(o->kind) ? "key" : "vote_key",
                            hex_json(o->key, GENESIS_KEY_BYTES));
    if (!hash_is_zero(&o->tls_pin))
        json_object_set_new(object, "tls_pin", hex_json(o->tls_pin.byte, HASH_BYTES));
    if (o->address[0] != '\0')
        json_object_set_new(object, "address", json_string(o->address));
    return object;
}

enum error_code change_file_write(const char *path, const struct members *members,
                                  const struct change *change, struct error *err) {
    TRY(check(change, err));
    json_t *root = json_object();
    json_t *operations = json_array();
    json_t *signatures = json_array();
    json_object_set_new(root, "format", json_integer(CHANGE_FILE_FORMAT));
    json_object_set_new(root, "chain", hex_json(members->chain.byte, HASH_BYTES));
    json_object_set_new(root, "epoch", json_integer((json_int_t)change->epoch));
    for (uint32_t i = 0; i < change->operation_count; i++)
        json_array_append_new(operations, operation_json(&change->operations[i]));
    for (uint32_t i = 0; i < change->signature_count; i++) {
        const struct change_signature *s = &change->signatures[i];
        json_t *object = json_object();
        json_object_set_new(object, "validator",
                            json_string(members->validators[s->validator].name));
        json_object_set_new(object, "signature", hex_json(s->signature, sizeof s->signature));
        json_array_append_new(signatures, object);
    }
    json_object_set_new(root, "operations", operations);
    json_object_set_new(root, "signatures", signatures);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory", path);
    enum error_code code = file_replace(path, bytes_of(text, strlen(text)), 0644, err);
    free(text);
    return code;
}

/* What a member.json says, for an operation that needs it. */
static enum error_code from_member(const char *path, struct change_operation *operation,
                                   struct error *err) {
    json_t *member = NULL;
    TRY(read_json(path, &member, err));
    bool submitters = is_submitters(operation->kind);
    bool good = read_text(member, "name", sizeof operation->name, operation->name) &&
                read_hex(member, submitters ? "submitter" : "vote_key", GENESIS_KEY_BYTES,
                         operation->key);
    if (good && !submitters)
        good = read_hex(member, "tls_pin", HASH_BYTES, operation->tls_pin.byte);
    if (good && (operation->kind == CHANGE_ADD_VALIDATOR ||
                 operation->kind == CHANGE_REPLACE_VALIDATOR))
        good = read_text(member, "address", sizeof operation->address, operation->address);
    json_decref(member);
    if (good)
        return ERROR_NONE;
    (void)error_set(err, ERROR_CONFIG, "%s: a name, key or address cannot be read", path);
    error_hint(err, "take the member.json that `renkei init --join` or `renkei-node keys` wrote");
    return ERROR_CONFIG;
}

enum error_code change_file_operation(const char *text, struct change *change,
                                      struct error *err) {
    const char *equals = strchr(text, '=');
    char kind[32];
    struct change_operation o = {.role = 0};
    if (equals != NULL && (size_t)(equals - text) < sizeof kind) {
        memcpy(kind, text, (size_t)(equals - text));
        kind[equals - text] = '\0';
        /* An auditor's key is a submitter's with fewer rights. */
        bool auditor = strcmp(kind, "add-auditor") == 0;
        o.kind = auditor ? CHANGE_ADD_SUBMITTER : change_kind_by_name(kind);
        if (o.kind == CHANGE_ADD_SUBMITTER)
            o.role = auditor ? MEMBER_AUDITOR : MEMBER_GATEWAY;
    }
    if (o.kind == 0 || change->operation_count == CHANGE_OPERATIONS_MAX)
        return error_set(err, ERROR_USAGE, "'%s': expected OPERATION=NAME or OPERATION=FILE, at most %d",
                         text, CHANGE_OPERATIONS_MAX);
    bool removes = o.kind == CHANGE_REMOVE_VALIDATOR || o.kind == CHANGE_REMOVE_OBSERVER ||
                   o.kind == CHANGE_REMOVE_SUBMITTER;
    if (removes && strlen(equals + 1) < sizeof o.name)
        memcpy(o.name, equals + 1, strlen(equals + 1) + 1);
    else
        TRY(from_member(equals + 1, &o, err));
    change->operations[change->operation_count++] = o;
    return check(change, err) == ERROR_NONE ? ERROR_NONE
                                            : error_wrap(err, ERROR_USAGE, "%s", text);
}

void change_add_signature(struct change *change, const struct change_signature *signature) {
    uint32_t at = 0;
    while (at < change->signature_count &&
           change->signatures[at].validator < signature->validator)
        at++;
    if (at == change->signature_count ||
        change->signatures[at].validator != signature->validator) {
        memmove(&change->signatures[at + 1], &change->signatures[at],
                (change->signature_count - at) * sizeof change->signatures[0]);
        change->signature_count++;
    }
    change->signatures[at] = *signature;
}

enum error_code change_text(const struct change *change, struct buffer *out, struct error *err) {
    for (uint32_t i = 0; i < change->operation_count; i++) {
        const struct change_operation *o = &change->operations[i];
        char key[2 * GENESIS_KEY_BYTES + 1];
        text_hex(o->key, GENESIS_KEY_BYTES, key);
        bool keyless = strspn(key, "0") == strlen(key);
        buffer_append_format(out, "  %-18s %-24s %s %s\n", change_kind_name(o->kind), o->name,
                             keyless ? "" : key, o->address);
    }
    return buffer_check(out, "change", err);
}

static json_t *nodes_json(const struct member_node *nodes, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_t *node = json_object();
        json_object_set_new(node, "name", json_string(nodes[i].name));
        json_object_set_new(node, "vote_key", hex_json(nodes[i].vote_key, GENESIS_KEY_BYTES));
        json_object_set_new(node, "tls_pin", hex_json(nodes[i].tls_pin.byte, HASH_BYTES));
        if (nodes[i].address[0] != '\0')
            json_object_set_new(node, "address", json_string(nodes[i].address));
        if (nodes[i].suspended)
            json_object_set_new(node, "suspended", json_true());
        json_array_append_new(list, node);
    }
    return list;
}

enum error_code members_json(const struct members *m, struct buffer *out, struct error *err) {
    json_t *root = json_object();
    json_t *submitters = json_array();
    json_object_set_new(root, "chain", hex_json(m->chain.byte, HASH_BYTES));
    json_object_set_new(root, "epoch", json_integer((json_int_t)m->epoch));
    json_object_set_new(root, "hash", hex_json(m->hash.byte, HASH_BYTES));
    json_object_set_new(root, "validators", nodes_json(m->validators, m->validator_count));
    json_object_set_new(root, "observers", nodes_json(m->observers, m->observer_count));
    for (uint32_t i = 0; i < m->submitter_count; i++) {
        const struct member_submitter *s = &m->submitters[i];
        if (s->removed || s->role == MEMBER_NODE)
            continue;
        json_t *submitter = json_object();
        json_object_set_new(submitter, "name", json_string(s->name));
        json_object_set_new(submitter, "role", json_string(member_role_name(s->role)));
        json_object_set_new(submitter, "key", hex_json(s->key, GENESIS_KEY_BYTES));
        json_array_append_new(submitters, submitter);
    }
    json_object_set_new(root, "submitters", submitters);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "members: no memory");
    buffer_append_text(out, text);
    free(text);
    return buffer_check(out, "members", err);
}
