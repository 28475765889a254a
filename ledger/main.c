/*
 * renkei-node: a validator of the ledger.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "base/text.h"
#include "ledger/checkpoint_command.h"
#include "ledger/backup_command.h"
#include "ledger/genesis.h"
#include "ledger/ledger.h"
#include "ledger/members_command.h"
#include "ledger/node.h"

static const char usage[] =
    "usage: renkei-node --config FILE            run the node\n"
    "       renkei-node status --config FILE [--json]\n"
    "       renkei-node metrics --config FILE\n"
    "       renkei-node members --config FILE [--json]      who the members are, proven\n"
    "       renkei-node keys --config FILE --out MEMBER     make keys for the next epoch\n"
    "       renkei-node change --config FILE --out CHANGE OPERATION...\n"
    "       renkei-node sign --config FILE [--out SIGNED] CHANGE\n"
    "       renkei-node submit --config FILE [--json] SIGNED...\n"
    "       renkei-node checkpoint --config FILE --out CHECKPOINT   this chain's head, proven\n"
    "       renkei-node anchor --config FILE CHECKPOINT     of another chain, on this one\n"
    "       renkei-node anchored --config FILE [--json] GENESIS     what is anchored of it\n"
    "       renkei-node backup --config FILE [--json] FOLDER        of a node that may run\n"
    "       renkei-node restore --config FILE [--json] [--alone] FOLDER\n"
    "       renkei-node fsck --config FILE [--json] [--repair]      of a node that does not run\n"
    "       renkei-node --version | --help\n"
    "\n"
    "FILE is a node.yaml, as `renkei init` writes it. SIGTERM ends the node in order.\n"
    "\n"
    "A restored node follows without voting until the next epoch: a backup never holds its votes.\n"
    "--alone: this node is the only validator, and whatever it made since the backup is given up.\n"
    "\n"
    "A change of the members is made by one operator, signed by a quorum of the validators'\n"
    "operators, each beside the own node, and submitted by any of them. OPERATION is one of\n"
    "  add-validator=MEMBER  replace-validator=MEMBER  remove-validator=NAME\n"
    "  add-observer=MEMBER   replace-observer=MEMBER   remove-observer=NAME\n"
    "  add-submitter=MEMBER  replace-submitter=MEMBER  remove-submitter=NAME\n"
    "  add-auditor=MEMBER\n"
    "MEMBER is a member.json, as `renkei init --join` and `renkei-node keys` write it. Example:\n"
    "  renkei-node change --config node.yaml --out join.json add-observer=west/member.json\n"
    "  renkei-node sign --config node.yaml join.json        # the others, one after another\n"
    "  renkei-node submit --config node.yaml join.json\n";

static const char *const levels[] = {"debug", "info", "warning", "error", NULL};

static const struct config_key keys[] = {
    {.name = "genesis", .kind = CONFIG_PATH, .required = true},
    {.name = "data", .kind = CONFIG_PATH, .required = true},
    {.name = "vote_key", .kind = CONFIG_PATH, .required = true},
    {.name = "tls_key", .kind = CONFIG_PATH, .required = true},
    {.name = "tls_certificate", .kind = CONFIG_PATH, .required = true},
    {.name = "socket", .kind = CONFIG_PATH, .required = true},
    {.name = "listen", .kind = CONFIG_TEXT},
    {.name = "peers", .kind = CONFIG_PAIRS, .max = GENESIS_VALIDATORS_MAX},
    {.name = "log_level", .kind = CONFIG_ENUM, .words = levels, .default_text = "info"},
    {0}};

enum command {
    COMMAND_RUN,
    COMMAND_STATUS,
    COMMAND_METRICS,
    COMMAND_MEMBERS,
    COMMAND_KEYS,
    COMMAND_CHANGE,
    COMMAND_SIGN,
    COMMAND_SUBMIT,
    COMMAND_CHECKPOINT,
    COMMAND_ANCHOR,
    COMMAND_ANCHORED,
    COMMAND_BACKUP,
    COMMAND_RESTORE,
    COMMAND_FSCK,
    COMMAND_COUNT
};

/* What each command takes besides --config. */
static const struct command_info {
    const char *name;
    bool json;
    bool out;
    bool words;
    enum error_code (*run)(const struct members_call *call, struct error *err);
} commands[COMMAND_COUNT] = {
    [COMMAND_RUN] = {NULL, false, false, false, NULL},
    [COMMAND_STATUS] = {"status", true, false, false, NULL},
    [COMMAND_METRICS] = {"metrics", false, false, false, NULL},
    [COMMAND_MEMBERS] = {"members", true, false, false, members_show},
    [COMMAND_KEYS] = {"keys", false, true, false, members_keys},
    [COMMAND_CHANGE] = {"change", false, true, true, members_make},
    [COMMAND_SIGN] = {"sign", false, true, true, members_sign},
    [COMMAND_SUBMIT] = {"submit", true, false, true, members_submit},
    [COMMAND_CHECKPOINT] = {"checkpoint", false, true, false, checkpoint_make},
    [COMMAND_ANCHOR] = {"anchor", false, false, true, checkpoint_anchor},
    [COMMAND_ANCHORED] = {"anchored", true, false, true, checkpoint_show},
    [COMMAND_BACKUP] = {"backup", true, false, true, ledger_backup},
    [COMMAND_RESTORE] = {"restore", true, false, true, ledger_restore},
    [COMMAND_FSCK] = {"fsck", true, false, false, ledger_fsck},
};

struct arguments {
    enum command command;
    const char *config;
    struct members_call call;
};

static int report(const struct error *err) {
    (void)fprintf(stderr, "renkei-node: %s: %s\n", error_info(err->code)->title_en, err->message);
    (void)fprintf(stderr, "  hint: %s\n", error_hint_text(err));
    return error_info(err->code)->exit_status;
}

static bool parse(int argc, char **argv, struct arguments *ret_arguments) {
    struct arguments a = {.command = COMMAND_RUN};
    int i = 1;
    for (int c = COMMAND_STATUS; argc > 1 && c < COMMAND_COUNT; c++)
        if (strcmp(argv[1], commands[c].name) == 0) {
            a.command = (enum command)c;
            i = 2;
        }
    const struct command_info *info = &commands[a.command];
    for (; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            a.config = argv[++i];
        else if (info->json && strcmp(argv[i], "--json") == 0)
            a.call.json = true;
        else if (a.command == COMMAND_RESTORE && strcmp(argv[i], "--alone") == 0)
            a.call.alone = true;
        else if (a.command == COMMAND_FSCK && strcmp(argv[i], "--repair") == 0)
            a.call.repair = true;
        else if (info->out && strcmp(argv[i], "--out") == 0 && i + 1 < argc)
            a.call.out = argv[++i];
        else if (info->words && argv[i][0] != '-' && a.call.word_count < MEMBERS_WORDS_MAX)
            a.call.words[a.call.word_count++] = argv[i];
        else
            return false;
    }
    *ret_arguments = a;
    return a.config != NULL;
}

/* A source's pin: "host:port sha256:<64 hexadecimal digits>". The address is cut off it in place. */
static bool split_pin(char *address, struct node_source *source) {
    static const char mark[] = " sha256:";
    char *pin = strstr(address, mark);
    source->address = address;
    if (pin == NULL)
        return true;
    *pin = '\0';
    pin += sizeof mark - 1;
    source->pinned = true;
    return strlen(pin) == 2 * (size_t)HASH_BYTES && text_unhex(pin, HASH_BYTES, source->pin.byte);
}

/* The addresses that the configuration has for nodes. One that the genesis does not name needs a pin:
 * else nobody could tell who answers there. */
static enum error_code read_peers(const struct config_map *root, const char *genesis_path,
                                  struct node_source *ret_sources, struct error *err) {
    struct genesis *genesis = NULL;
    TRY(genesis_load(genesis_path, &genesis, err));
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < config_count(root, "peers") && code == ERROR_NONE; i++) {
        const struct config_pair *pair = config_pair(root, "peers", i);
        uint32_t at = 0;
        while (at < genesis->validator_count &&
               strcmp(genesis->validators[at].name, pair->name) != 0)
            at++;
        ret_sources[i].name = pair->name;
        char *address = strdup(pair->value);
        if (address == NULL)
            code = error_set(err, ERROR_NO_MEMORY, "peers: no memory");
        else if (!split_pin(address, &ret_sources[i]))
            code = config_error(root, "peers", err,
                                "'%s': expected host:port, or host:port sha256:<64 digits>",
                                pair->value);
        else if (!ret_sources[i].pinned && at == genesis->validator_count)
            code = config_error(root, "peers", err,
                                "the genesis has no validator '%s'; of others the pin is needed: "
                                "host:port sha256:<64 digits>",
                                pair->name);
    }
    genesis_free(genesis);
    return code;
}

static enum error_code run(const struct config_map *root, struct error *err) {
    struct node_source sources[GENESIS_VALIDATORS_MAX] = {{.name = NULL}};
    struct node_settings settings = {
        .genesis = config_text(root, "genesis"),
        .data = config_text(root, "data"),
        .vote_key = config_text(root, "vote_key"),
        .tls_key = config_text(root, "tls_key"),
        .tls_certificate = config_text(root, "tls_certificate"),
        .socket = config_text(root, "socket"),
        .listen = config_text(root, "listen"),
        .sources = sources,
        .source_count = config_count(root, "peers"),
    };
    enum error_code code = read_peers(root, settings.genesis, sources, err);
    if (code == ERROR_NONE) {
        log_start("renkei-node", (enum log_level)config_enum(root, "log_level"));
        code = node_run(&settings, err);
    }
    for (size_t i = 0; i < settings.source_count; i++)
        free((void *)(uintptr_t)sources[i].address);
    return code;
}

static enum error_code show(const struct config_map *root, const struct arguments *arguments,
                            struct error *err) {
    struct ledger *ledger = NULL;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, LEDGER_STATUS_BYTES_MAX);
    TRY(ledger_open(config_text(root, "socket"), config_text(root, "genesis"), &ledger, err));
    enum error_code code =
        arguments->command == COMMAND_METRICS ? ledger_metrics(ledger, &text, err)
        : arguments->call.json                ? ledger_status(ledger, &text, err)
                                              : ledger_status_text(ledger, &text, err);
    ledger_close(ledger);
    if (code == ERROR_NONE)
        (void)fwrite(text.data, 1, text.len, stdout);
    if (code == ERROR_NONE && arguments->call.json)
        (void)fputc('\n', stdout);
    return code;
}

static enum error_code dispatch(const struct config_map *root, struct arguments *arguments,
                                struct error *err) {
    struct members_call *call = &arguments->call;
    if (arguments->command == COMMAND_RUN)
        return run(root, err);
    if (commands[arguments->command].run == NULL)
        return show(root, arguments, err);
    call->genesis = config_text(root, "genesis");
    call->socket = config_text(root, "socket");
    call->data = config_text(root, "data");
    call->vote_key = config_text(root, "vote_key");
    call->tls_key = config_text(root, "tls_key");
    call->tls_certificate = config_text(root, "tls_certificate");
    return commands[arguments->command].run(call, err);
}

int main(int argc, char **argv) {
    struct arguments arguments;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("renkei-node " RENKEI_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (!parse(argc, argv, &arguments)) {
        (void)fputs(usage, stderr);
        return error_info(ERROR_USAGE)->exit_status;
    }
    struct error err;
    SCOPED_CONFIG struct config *config = NULL;
    enum error_code code = config_load(arguments.config, keys, &config, &err);
    if (code == ERROR_NONE)
        code = dispatch(config_root(config), &arguments, &err);
    return code == ERROR_NONE ? EXIT_SUCCESS : report(&err);
}
