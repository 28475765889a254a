#include "ledger/genesis.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "base/wire.h"

enum { GENESIS_FORMAT = 1, ADDRESS_PORT_MAX = 65535 };

static const char genesis_domain[] = "renkei/genesis/1\n";

struct genesis_parameters genesis_parameters_default(void) {
    return (struct genesis_parameters){
        .block_bytes_max = 4 << 20,
        .block_transactions_max = 8192,
        .empty_block_ms = 20000,
        .rotate_blocks = 1000,
        .window = 4,
        .view_timeout_ms = 1500,
        .clock_drift_ms_max = 10000,
    };
}

/* One row a parameter: its name in the file, its place, its bounds. */
static const struct parameter {
    const char *name;
    size_t at;
    uint32_t least;
    uint32_t most;
} parameters[] = {
    {"block_bytes_max", offsetof(struct genesis_parameters, block_bytes_max), 2229248, 8 << 20},
    {"block_transactions_max", offsetof(struct genesis_parameters, block_transactions_max), 1,
     16384},
    {"empty_block_ms", offsetof(struct genesis_parameters, empty_block_ms), 100, 30000},
    {"rotate_blocks", offsetof(struct genesis_parameters, rotate_blocks), 1, 1000000000},
    {"window", offsetof(struct genesis_parameters, window), 1, 4},
    {"view_timeout_ms", offsetof(struct genesis_parameters, view_timeout_ms), 100, 60000},
    {"clock_drift_ms_max", offsetof(struct genesis_parameters, clock_drift_ms_max), 100, 600000},
};
enum { PARAMETER_COUNT = sizeof parameters / sizeof parameters[0] };

static enum error_code bad(struct error *err, const char *where, const char *what) {
    return error_set(err, ERROR_CONFIG, "genesis: %s: %s", where, what);
}

/* Every key of the object must be one of the names, and every name there. */
static enum error_code check_keys(const json_t *object, const char *where,
                                  const char *const *names, size_t count, struct error *err) {
    if (!json_is_object(object))
        return bad(err, where, "expected an object");
    for (size_t i = 0; i < count; i++)
        if (json_object_get(object, names[i]) == NULL)
            return error_set(err, ERROR_CONFIG, "genesis: %s: key '%s' is missing", where,
                             names[i]);
    if (json_object_size(object) != count)
        return error_set(err, ERROR_CONFIG, "genesis: %s: %zu keys, expected exactly %zu", where,
                         json_object_size(object), count);
    return ERROR_NONE;
}

bool genesis_name_valid(const char *name) {
    size_t len = strlen(name);
    if (len == 0 || len > GENESIS_NAME_BYTES_MAX || name[0] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static enum error_code read_name(const json_t *object, const char *where, char *ret_name,
                                 struct error *err) {
    const char *text = json_string_value(json_object_get(object, "name"));
    if (text == NULL || !genesis_name_valid(text))
        return bad(err, where, "name: expected 1 to 63 of a-z, 0-9 and '-'");
    memcpy(ret_name, text, strlen(text) + 1);
    return ERROR_NONE;
}

static enum error_code read_hex(const json_t *object, const char *where, const char *key,
                                uint8_t *ret_bytes, struct error *err) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL || !text_unhex(text, GENESIS_KEY_BYTES, ret_bytes) ||
        strlen(text) != (size_t)2 * GENESIS_KEY_BYTES)
        return error_set(err, ERROR_CONFIG, "genesis: %s: %s: expected 64 hexadecimal digits",
                         where, key);
    return ERROR_NONE;
}

bool genesis_address_valid(const char *text, bool alone) {
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    return colon != NULL && colon != text && strlen(text) <= GENESIS_ADDRESS_BYTES_MAX &&
           text_u64(colon + 1, &port) && (port != 0 || alone) && port <= ADDRESS_PORT_MAX;
}

static enum error_code read_address(const json_t *object, const char *where, bool alone,
                                    char *ret_address, struct error *err) {
    const char *text = json_string_value(json_object_get(object, "address"));
    if (text == NULL || !genesis_address_valid(text, alone))
        return bad(err, where, "address: expected host:port");
    memcpy(ret_address, text, strlen(text) + 1);
    return ERROR_NONE;
}

static enum error_code read_parameters(const json_t *object, struct genesis_parameters *ret,
                                       struct error *err) {
    const char *names[PARAMETER_COUNT];
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        names[i] = parameters[i].name;
    TRY(check_keys(object, "parameters", names, PARAMETER_COUNT, err));
    for (size_t i = 0; i < PARAMETER_COUNT; i++) {
        const struct parameter *p = &parameters[i];
        const json_t *value = json_object_get(object, p->name);
        if (!json_is_integer(value) || json_integer_value(value) < p->least ||
            json_integer_value(value) > p->most)
            return error_set(err, ERROR_CONFIG, "genesis: parameters: %s: expected %u to %u",
                             p->name, p->least, p->most);
        uint32_t number = (uint32_t)json_integer_value(value);
        memcpy((uint8_t *)ret + p->at, &number, sizeof number);
    }
    return ERROR_NONE;
}

static enum error_code read_validators(const json_t *array, struct genesis *g, struct error *err) {
    static const char *const keys[] = {"name", "vote_key", "tls_pin", "address"};
    size_t count = json_array_size(array);
    if (count == 0 || count > GENESIS_VALIDATORS_MAX)
        return bad(err, "validators", "expected an array of 1 to 100");
    g->validators = calloc(count, sizeof *g->validators);
    if (g->validators == NULL)
        return error_set(err, ERROR_NO_MEMORY, "genesis: no memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(array, i);
        struct genesis_validator *v = &g->validators[i];
        TRY(check_keys(object, "validators", keys, 4, err));
        TRY(read_name(object, "validators", v->name, err));
        TRY(read_hex(object, v->name, "vote_key", v->vote_key, err));
        TRY(read_hex(object, v->name, "tls_pin", v->tls_pin.byte, err));
        TRY(read_address(object, v->name, count == 1, v->address, err));
        for (uint32_t j = 0; j < g->validator_count; j++)
            if (strcmp(g->validators[j].name, v->name) == 0 ||
                memcmp(g->validators[j].vote_key, v->vote_key, GENESIS_KEY_BYTES) == 0 ||
                hash_equal(&g->validators[j].tls_pin, &v->tls_pin))
                return bad(err, v->name, "name, vote_key or tls_pin stands twice");
        g->validator_count++;
    }
    return ERROR_NONE;
}

static enum error_code read_submitters(const json_t *array, struct genesis *g, struct error *err) {
    static const char *const keys[] = {"name", "key"};
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > GENESIS_SUBMITTERS_MAX)
        return bad(err, "submitters", "expected an array of at most 1000");
    g->submitters = calloc(count + 1, sizeof *g->submitters);
    if (g->submitters == NULL)
        return error_set(err, ERROR_NO_MEMORY, "genesis: no memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(array, i);
        struct genesis_submitter *s = &g->submitters[i];
        TRY(check_keys(object, "submitters", keys, 2, err));
        TRY(read_name(object, "submitters", s->name, err));
        TRY(read_hex(object, s->name, "key", s->key, err));
        if (genesis_submitter_by_key(g, s->key) >= 0)
            return bad(err, s->name, "key stands twice");
        g->submitter_count++;
    }
    return ERROR_NONE;
}

static enum error_code read_root(const json_t *root, struct genesis *g, struct error *err) {
    static const char *const keys[] = {"format",     "name",       "created_ms",
                                       "parameters", "validators", "submitters"};
    TRY(check_keys(root, "file", keys, 6, err));
    if (json_integer_value(json_object_get(root, "format")) != GENESIS_FORMAT)
        return bad(err, "format", "expected 1");
    TRY(read_name(root, "file", g->name, err));
    const json_t *created = json_object_get(root, "created_ms");
    if (!json_is_integer(created) || json_integer_value(created) < 0)
        return bad(err, "created_ms", "expected milliseconds since 1970");
    g->created_ms = (uint64_t)json_integer_value(created);
    TRY(read_parameters(json_object_get(root, "parameters"), &g->parameters, err));
    TRY(read_validators(json_object_get(root, "validators"), g, err));
    return read_submitters(json_object_get(root, "submitters"), g, err);
}

enum error_code genesis_parse(struct bytes file, struct genesis **ret_genesis,
                              struct error *err) {
    json_error_t at;
    if (file.len > GENESIS_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "genesis: %zu bytes, at most %d", file.len,
                         GENESIS_BYTES_MAX);
    json_t *root = json_loadb((const char *)file.data, file.len, JSON_REJECT_DUPLICATES, &at);
    if (root == NULL)
        return error_set(err, ERROR_CONFIG, "genesis: line %d, column %d: not JSON", at.line,
                         at.column);
    struct genesis *g = calloc(1, sizeof *g);
    enum error_code code = g == NULL ? error_set(err, ERROR_NO_MEMORY, "genesis: no memory")
                                     : read_root(root, g, err);
    json_decref(root);
    if (code != ERROR_NONE) {
        genesis_free(g);
        return code;
    }
    struct bytes parts[] = {bytes_of(genesis_domain, sizeof genesis_domain - 1), file};
    g->chain = sha256_of_parts(parts, 2);
    *ret_genesis = g;
    return ERROR_NONE;
}

enum error_code genesis_load(const char *path, struct genesis **ret_genesis, struct error *err) {
    SCOPED_BUFFER struct buffer file;
    buffer_init(&file, GENESIS_BYTES_MAX);
    TRY(file_read(path, &file, GENESIS_BYTES_MAX, err));
    enum error_code code = genesis_parse(buffer_bytes(&file), ret_genesis, err);
    return code == ERROR_NONE ? code : error_wrap(err, code, "%s", path);
}

void genesis_free(struct genesis *genesis) {
    if (genesis == NULL)
        return;
    free(genesis->validators);
    free(genesis->submitters);
    free(genesis);
}

static const char *hex_of(const uint8_t *key, char ret_text[2 * GENESIS_KEY_BYTES + 1]) {
    text_hex(key, GENESIS_KEY_BYTES, ret_text);
    return ret_text;
}

enum error_code genesis_write(const struct genesis *genesis, struct buffer *out,
                              struct error *err) {
    char hex[2 * GENESIS_KEY_BYTES + 1];
    buffer_append_format(out, "{\n  \"format\": %d,\n  \"name\": \"%s\",\n", GENESIS_FORMAT,
                         genesis->name);
    buffer_append_format(out, "  \"created_ms\": %llu,\n  \"parameters\": {",
                         (unsigned long long)genesis->created_ms);
    for (size_t i = 0; i < PARAMETER_COUNT; i++) {
        uint32_t number;
        memcpy(&number, (const uint8_t *)&genesis->parameters + parameters[i].at, sizeof number);
        buffer_append_format(out, "%s\n    \"%s\": %u", i > 0 ? "," : "", parameters[i].name,
                             number);
    }
    buffer_append_text(out, "\n  },\n  \"validators\": [");
    for (uint32_t i = 0; i < genesis->validator_count; i++) {
        const struct genesis_validator *v = &genesis->validators[i];
        buffer_append_format(out, "%s\n    {\"name\": \"%s\",", i > 0 ? "," : "", v->name);
        buffer_append_format(out, "\n     \"vote_key\": \"%s\",", hex_of(v->vote_key, hex));
        buffer_append_format(out, "\n     \"tls_pin\": \"%s\",", hex_of(v->tls_pin.byte, hex));
        buffer_append_format(out, "\n     \"address\": \"%s\"}", v->address);
    }
    buffer_append_text(out, "\n  ],\n  \"submitters\": [");
    for (uint32_t i = 0; i < genesis->submitter_count; i++) {
        const struct genesis_submitter *s = &genesis->submitters[i];
        buffer_append_format(out, "%s\n    {\"name\": \"%s\",", i > 0 ? "," : "", s->name);
        buffer_append_format(out, "\n     \"key\": \"%s\"}", hex_of(s->key, hex));
    }
    buffer_append_text(out, "\n  ]\n}\n");
    return buffer_check(out, "genesis", err);
}

int genesis_validator_by_key(const struct genesis *genesis, const uint8_t *vote_key) {
    for (uint32_t i = 0; i < genesis->validator_count; i++)
        if (memcmp(genesis->validators[i].vote_key, vote_key, GENESIS_KEY_BYTES) == 0)
            return (int)i;
    return -1;
}

int genesis_submitter_by_key(const struct genesis *genesis, const uint8_t *key) {
    for (uint32_t i = 0; i < genesis->submitter_count; i++)
        if (memcmp(genesis->submitters[i].key, key, GENESIS_KEY_BYTES) == 0)
            return (int)i;
    return -1;
}
