/*
 * renkei init, genesis, join: a hospital's folder, and a chain that several hospitals found together.
 *
 * A hospital alone: `init` also founds a chain of one node. Several: each runs `init --join`, which
 * leaves member.json, public and to be handed on; one person puts the members into a genesis file
 * with `genesis`; each hospital installs it, and the other members' gateways, with `join`.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/output.h"
#include "ledger/ledger.h"
#include "ledger/setup.h"

enum {
    CERTIFICATE_DAYS = 825,
    MEMBER_BYTES_MAX = 64 << 10,
    CONFIG_FILE_BYTES_MAX = 64 << 10,
    ADDRESS_HOST_BYTES = 256,
};

static bool name_valid(const char *name) {
    size_t len = strlen(name);
    if (len == 0 || len > 63 || name[0] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* "host:port" or "[host]:port". */
static enum error_code split_address(const char *address, char ret_host[ADDRESS_HOST_BYTES],
                                     unsigned *ret_port, struct error *err) {
    const char *colon = strrchr(address, ':');
    uint64_t port = 0;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    if (colon == NULL || len == 0 || len >= ADDRESS_HOST_BYTES || !text_u64(colon + 1, &port) ||
        port > 65535) {
        error_set(err, ERROR_USAGE, "address: found '%s', expected host:port", address);
        error_hint(err, "for example 127.0.0.1:8443");
        return ERROR_USAGE;
    }
    bool bracketed = address[0] == '[' && address[len - 1] == ']';
    snprintf(ret_host, ADDRESS_HOST_BYTES, "%.*s", (int)(bracketed ? len - 2 : len),
             bracketed ? address + 1 : address);
    *ret_port = (unsigned)port;
    return ERROR_NONE;
}

static enum error_code make_certificate(const char *folder, const char *file, const char *hospital,
                                        const char *host, struct error *err) {
    char key[PATH_MAX];
    char certificate[PATH_MAX];
    char uri[80];
    char name[32];
    snprintf(name, sizeof name, "tls/%s.key", file);
    TRY(cli_path(folder, name, key, err));
    snprintf(name, sizeof name, "tls/%s.crt", file);
    TRY(cli_path(folder, name, certificate, err));
    snprintf(uri, sizeof uri, "renkei://%s", hospital);
    const char *const addresses[] = {host, "localhost"};
    bool local = strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0;
    struct certificate_request request = {.name = hospital,
                                          .addresses = addresses,
                                          .address_count = local ? 2 : 1,
                                          .uri = uri,
                                          .days = CERTIFICATE_DAYS,
                                          .wall_ms = clock_wall_ms()};
    return certificate_create(&request, key, certificate, err);
}

struct plan {
    const char *hospital;
    const char *folder;
    const char *listen;
    const char *machine; /* NULL: none */
    const char *node;    /* the node's address for other nodes; NULL: this machine only */
    bool node_only;
    bool join;
};

static enum error_code write_gateway_config(const struct plan *plan, struct error *err) {
    char host[ADDRESS_HOST_BYTES];
    unsigned port;
    TRY(split_address(plan->listen, host, &port, err));
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, CONFIG_FILE_BYTES_MAX);
    buffer_append_format(&text,
                         "# Read by renkei-gateway and by the renkei command. Paths are read\n"
                         "# against this file's folder.\n"
                         "hospital: %s\n"
                         "listen:\n"
                         "  address: %s\n"
                         "  port: %u\n"
                         "  certificate: tls/gateway.crt\n"
                         "  key: tls/gateway.key\n",
                         plan->hospital, host, port);
    if (plan->machine != NULL) {
        TRY(split_address(plan->machine, host, &port, err));
        buffer_append_format(&text,
                             "machine:                # for the other hospitals' gateways\n"
                             "  address: %s\n"
                             "  port: %u\n"
                             "  certificate: tls/machine.crt\n"
                             "  key: tls/machine.key\n",
                             host, port);
    }
    buffer_append_format(&text,
                         "admin_socket: admin.sock\n"
                         "node_socket: node/node.sock\n"
                         "genesis: node/genesis.json\n"
                         "signer: signer.pem\n"
                         "vault: vault\n");
    TRY(buffer_check(&text, "gateway.yaml", err));
    char path[PATH_MAX];
    TRY(cli_path(plan->folder, "gateway.yaml", path, err));
    return file_create(path, buffer_bytes(&text), 0644, err);
}

static enum error_code gateway_files(const struct plan *plan, struct genesis_submitter *submitter,
                                     struct error *err) {
    char path[PATH_MAX];
    char host[ADDRESS_HOST_BYTES];
    unsigned port;
    TRY(cli_path(plan->folder, "tls", path, err));
    TRY(file_make_folder(path, 0700, err));
    TRY(write_gateway_config(plan, err));
    TRY(split_address(plan->listen, host, &port, err));
    TRY(make_certificate(plan->folder, "gateway", plan->hospital, host, err));
    if (plan->machine != NULL) {
        TRY(split_address(plan->machine, host, &port, err));
        TRY(make_certificate(plan->folder, "machine", plan->hospital, host, err));
    }
    TRY(cli_path(plan->folder, "signer.pem", path, err));
    TRY(ledger_signer_create(path, err));
    struct ledger_signer *signer = NULL;
    TRY(ledger_signer_load(path, &signer, err));
    ledger_signer_public(signer, submitter->key);
    ledger_signer_free(signer);
    snprintf(submitter->name, sizeof submitter->name, "%s", plan->hospital);
    return ERROR_NONE;
}

static json_t *hex_json(const uint8_t *data, size_t len) {
    char hex[2 * HASH_BYTES + 1];
    text_hex(data, len, hex);
    return json_string(hex);
}

/* The public part of a member, for the others. */
static enum error_code write_member(const struct plan *plan,
                                    const struct genesis_validator *validator,
                                    const struct genesis_submitter *submitter,
                                    struct error *err) {
    json_t *member = json_pack("{s:i, s:s, s:o, s:o, s:s}", "format", 1, "name", plan->hospital,
                               "vote_key", hex_json(validator->vote_key, GENESIS_KEY_BYTES),
                               "tls_pin", hex_json(validator->tls_pin.byte, HASH_BYTES), "address",
                               validator->address);
    if (!plan->node_only)
        json_object_set_new(member, "submitter", hex_json(submitter->key, GENESIS_KEY_BYTES));
    enum error_code code = ERROR_NONE;
    char path[PATH_MAX];
    if (plan->machine != NULL) {
        SCOPED_BUFFER struct buffer pem;
        buffer_init(&pem, MEMBER_BYTES_MAX);
        code = cli_path(plan->folder, "tls/machine.crt", path, err);
        if (code == ERROR_NONE)
            code = file_read(path, &pem, MEMBER_BYTES_MAX, err);
        if (code == ERROR_NONE)
            json_object_set_new(member, "gateway",
                                json_pack("{s:s+, s:s%}", "url", "https://", plan->machine,
                                          "certificate", (const char *)pem.data, pem.len));
    }
    char *text = code == ERROR_NONE ? json_dumps(member, JSON_INDENT(2)) : NULL;
    if (text != NULL) {
        code = cli_path(plan->folder, "member.json", path, err);
        if (code == ERROR_NONE)
            code = file_create(path, bytes_text(text), 0644, err);
    } else if (code == ERROR_NONE) {
        code = error_set(err, ERROR_INTERNAL, "member.json cannot be put together");
    }
    free(text);
    json_decref(member);
    return code;
}

static enum error_code found_alone(const struct plan *plan,
                                   const struct genesis_validator *validator,
                                   const struct genesis_submitter *submitter, struct error *err) {
    struct genesis_validator validators[1] = {*validator};
    struct genesis_submitter submitters[1] = {*submitter};
    struct genesis genesis = {.created_ms = clock_wall_ms(),
                              .parameters = genesis_parameters_default(),
                              .validator_count = 1,
                              .validators = validators,
                              .submitter_count = 1,
                              .submitters = submitters};
    snprintf(genesis.name, sizeof genesis.name, "%s", plan->hospital);
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    TRY(genesis_write(&genesis, &text, err));
    char path[PATH_MAX];
    TRY(cli_path(plan->folder, "node/" SETUP_GENESIS, path, err));
    return file_create(path, buffer_bytes(&text), 0644, err);
}

static enum error_code make_folder(const struct plan *plan, struct error *err) {
    if (!name_valid(plan->hospital)) {
        error_set(err, ERROR_USAGE,
                  "hospital: found '%s', expected up to 63 of a-z, 0-9 and -", plan->hospital);
        error_hint(err, "it stands in every address: renkei://NAME/...");
        return ERROR_USAGE;
    }
    TRY(file_make_folder(plan->folder, 0700, err));
    struct genesis_submitter submitter = {0};
    if (!plan->node_only)
        TRY(gateway_files(plan, &submitter, err));
    char node_folder[PATH_MAX];
    TRY(cli_path(plan->folder, "node", node_folder, err));
    struct genesis_validator validator;
    TRY(setup_node(node_folder, plan->hospital, plan->node != NULL ? plan->node : "127.0.0.1:0",
                   clock_wall_ms(), &validator, err));
    if (plan->join)
        return write_member(plan, &validator, &submitter, err);
    return found_alone(plan, &validator, &submitter, err);
}

static void say_next_steps(const struct plan *plan) {
    if (plan->join) {
        printf("%s is ready to join a chain.\n\n"
               "Next: hand %s/member.json to whoever writes the genesis file (renkei genesis),\n"
               "then: renkei join --folder %s --genesis genesis.json --member OTHER.json ...\n",
               plan->hospital, plan->folder, plan->folder);
        return;
    }
    printf("%s is ready: a chain of one node (its proofs are self-attested) and a gateway.\n\n"
           "Next, in %s:\n"
           "  1. renkei discover --connector mysql --set ... --mapping main.yaml\n"
           "                             looks at your database and writes a mapping; correct it\n"
           "  2. renkei check main.yaml  does the mapping fit the tables?\n"
           "  3. renkei start            runs node and gateway\n"
           "  4. renkei sync             anchors every record\n",
           plan->hospital, plan->folder);
}

static enum error_code run_init(const struct cli_call *call, struct error *err) {
    struct plan plan = {.hospital = cli_value(call, "hospital"),
                        .folder = cli_value_or(call, "folder", cli_value(call, "hospital")),
                        .listen = cli_value_or(call, "listen", "127.0.0.1:8443"),
                        .machine = cli_value(call, "machine"),
                        .node = cli_value(call, "node"),
                        .node_only = cli_flag(call, "node-only"),
                        .join = cli_flag(call, "join")};
    if (plan.node_only && !plan.join)
        return error_set(err, ERROR_USAGE, "renkei init: --node-only goes with --join");
    if (plan.join && plan.node == NULL)
        return error_set(err, ERROR_USAGE,
                         "renkei init: --join needs --node HOST:PORT, where other nodes reach it");
    TRY(make_folder(&plan, err));
    if (call->json) {
        json_t *made = json_pack("{s:s, s:s, s:b}", "hospital", plan.hospital, "folder",
                                 plan.folder, "selfAttested", !plan.join);
        output_json(made);
        json_decref(made);
    } else {
        say_next_steps(&plan);
    }
    return ERROR_NONE;
}

static const struct cli_option init_options[] = {
    {"hospital", "NAME", "the hospital's name in every address", true, false},
    {"folder", "DIR", "what to make (default: ./NAME)", false, false},
    {"listen", "HOST:PORT", "patients' HTTPS (default: 127.0.0.1:8443)", false, false},
    {"machine", "HOST:PORT", "HTTPS for other hospitals' gateways", false, false},
    {"node", "HOST:PORT", "where other nodes reach this one", false, false},
    {"join", NULL, "found no chain; write member.json for one that is shared", false, false},
    {"node-only", NULL, "a validator without a gateway (with --join)", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_init = {
    "init", "Set up", "", 0, 0, "make a hospital's folder: configuration, keys, a chain",
    "renkei init --hospital clinic --folder ./clinic", init_options, run_init};

/* ------------------------------------------------------------------- genesis and join ---- */

static enum error_code read_member(const char *path, json_t **ret_member, struct error *err) {
    json_error_t where;
    json_t *member = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (member == NULL)
        return error_set(err, ERROR_CONFIG, "%s:%d:%d: %s", path, where.line, where.column,
                         where.text);
    static const char *const needed[] = {"name", "vote_key", "tls_pin", "address"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (json_is_string(json_object_get(member, needed[i])))
            continue;
        json_decref(member);
        error_set(err, ERROR_CONFIG, "%s: '%s' is missing", path, needed[i]);
        error_hint(err, "take the member.json that `renkei init --join` wrote");
        return ERROR_CONFIG;
    }
    *ret_member = member;
    return ERROR_NONE;
}

static const char *member_text(const json_t *member, const char *key) {
    return json_string_value(json_object_get(member, key));
}

static enum error_code add_member(const char *path, struct genesis *genesis, struct error *err) {
    json_t *member = NULL;
    TRY(read_member(path, &member, err));
    struct genesis_validator *validator = &genesis->validators[genesis->validator_count];
    struct genesis_submitter *submitter = &genesis->submitters[genesis->submitter_count];
    snprintf(validator->name, sizeof validator->name, "%s", member_text(member, "name"));
    snprintf(validator->address, sizeof validator->address, "%s", member_text(member, "address"));
    bool good = text_unhex(member_text(member, "vote_key"), GENESIS_KEY_BYTES,
                           validator->vote_key) &&
                text_unhex(member_text(member, "tls_pin"), HASH_BYTES, validator->tls_pin.byte);
    genesis->validator_count++;
    const char *key = member_text(member, "submitter");
    if (key != NULL) {
        good = good && text_unhex(key, GENESIS_KEY_BYTES, submitter->key);
        snprintf(submitter->name, sizeof submitter->name, "%s", validator->name);
        genesis->submitter_count++;
    }
    json_decref(member);
    if (!good)
        return error_set(err, ERROR_CONFIG, "%s: a key is not 64 hexadecimal digits", path);
    return ERROR_NONE;
}

static enum error_code run_genesis(const struct cli_call *call, struct error *err) {
    struct genesis_validator validators[CLI_REPEATS_MAX] = {0};
    struct genesis_submitter submitters[CLI_REPEATS_MAX] = {0};
    struct genesis genesis = {.created_ms = clock_wall_ms(),
                              .parameters = genesis_parameters_default(),
                              .validators = validators,
                              .submitters = submitters};
    snprintf(genesis.name, sizeof genesis.name, "%s", cli_value(call, "name"));
    for (size_t i = 0; i < cli_count(call, "member"); i++)
        TRY(add_member(cli_value_at(call, "member", i), &genesis, err));
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    TRY(genesis_write(&genesis, &text, err));
    struct genesis *parsed = NULL;
    TRY(genesis_parse(buffer_bytes(&text), &parsed, err));
    char chain[2 * HASH_BYTES + 1];
    text_hex(parsed->chain.byte, HASH_BYTES, chain);
    genesis_free(parsed);
    const char *out = cli_value_or(call, "out", "genesis.json");
    TRY(file_create(out, buffer_bytes(&text), 0644, err));
    unsigned faults = (genesis.validator_count - 1) / 3;
    if (call->json) {
        json_t *made = json_pack("{s:s, s:s, s:i, s:i}", "genesis", out, "chain", chain,
                                 "validators", (int)genesis.validator_count, "faultsTolerated",
                                 (int)faults);
        output_json(made);
        json_decref(made);
    } else {
        printf("%s: chain %s\n%u validators, %u may fail. Every member installs this same file:\n"
               "  renkei join --folder DIR --genesis %s --member OTHER.json ...\n",
               out, chain, genesis.validator_count, faults, out);
    }
    return ERROR_NONE;
}

static const struct cli_option genesis_options[] = {
    {"name", "NAME", "the chain's name", true, false},
    {"member", "FILE", "a member.json", true, true},
    {"out", "FILE", "the file to write (default: genesis.json)", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_genesis = {
    "genesis", "Set up", "", 0, 0, "found a chain of several members",
    "renkei genesis --name region --member a/member.json --member b/member.json",
    genesis_options, run_genesis};

/* A member's file comes from outside; its texts go into gateway.yaml. */
static bool url_valid(const char *url) {
    return strncmp(url, "https://", 8) == 0 &&
           strspn(url + 8, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") ==
               strlen(url + 8);
}

/* Appends the other hospitals' gateways to gateway.yaml, with their certificates beside it. */
static enum error_code add_hospital(const char *folder, const char *path, struct buffer *config,
                                    struct error *err) {
    json_t *member = NULL;
    TRY(read_member(path, &member, err));
    const json_t *gateway = json_object_get(member, "gateway");
    const char *url = member_text(gateway, "url");
    const char *certificate = member_text(gateway, "certificate");
    const char *name = member_text(member, "name");
    enum error_code code = ERROR_NONE;
    if (!name_valid(name) || (url != NULL && !url_valid(url)))
        code = error_set(err, ERROR_CONFIG, "%s: the name or the gateway's url is not valid", path);
    if (code == ERROR_NONE && url != NULL && certificate != NULL) {
        char file[128];
        char full[PATH_MAX];
        snprintf(file, sizeof file, "tls/%s-machine.crt", name);
        code = cli_path(folder, file, full, err);
        if (code == ERROR_NONE)
            code = file_replace(full, bytes_text(certificate), 0644, err);
        SCOPED_BUFFER struct buffer item;
        buffer_init(&item, CONFIG_FILE_BYTES_MAX);
        buffer_append_format(&item, "  - name: %s\n    url: %s\n    certificate: %s\n", name, url,
                             file);
        buffer_append_byte(&item, '\0');
        if (!item.failed)
            cli_yaml_add(config, "hospitals", (const char *)item.data);
    }
    json_decref(member);
    return code;
}

static enum error_code run_join(const struct cli_call *call, struct error *err) {
    const char *folder = cli_value(call, "folder");
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    TRY(file_read(cli_value(call, "genesis"), &text, GENESIS_BYTES_MAX, err));
    struct genesis *genesis = NULL;
    TRY(genesis_parse(buffer_bytes(&text), &genesis, err));
    genesis_free(genesis);
    char path[PATH_MAX];
    TRY(cli_path(folder, "node/" SETUP_GENESIS, path, err));
    TRY(file_create(path, buffer_bytes(&text), 0644, err));
    TRY(cli_path(folder, "gateway.yaml", path, err));
    if (cli_count(call, "member") > 0 && access(path, F_OK) == 0) {
        SCOPED_BUFFER struct buffer config;
        buffer_init(&config, CONFIG_FILE_BYTES_MAX);
        TRY(file_read(path, &config, CONFIG_FILE_BYTES_MAX, err));
        for (size_t i = 0; i < cli_count(call, "member"); i++)
            TRY(add_hospital(folder, cli_value_at(call, "member", i), &config, err));
        TRY(buffer_check(&config, path, err));
        TRY(file_replace(path, buffer_bytes(&config), 0644, err));
    }
    if (!call->json)
        printf("%s has joined; next, there: renkei start\n", folder);
    return ERROR_NONE;
}

static const struct cli_option join_options[] = {
    {"folder", "DIR", "this hospital's folder", true, false},
    {"genesis", "FILE", "the chain's genesis file", true, false},
    {"member", "FILE", "another hospital's member.json", false, true},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_join = {
    "join", "Set up", "", 0, 0, "install a shared chain's genesis and the other gateways",
    "renkei join --folder west --genesis genesis.json --member east/member.json", join_options,
    run_join};
