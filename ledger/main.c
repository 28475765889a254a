/*
 * renkei-node: a validator of the ledger.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "ledger/genesis.h"
#include "ledger/ledger.h"
#include "ledger/node.h"

static const char usage[] =
    "usage: renkei-node --config FILE            run the node\n"
    "       renkei-node status --config FILE [--json]\n"
    "       renkei-node metrics --config FILE\n"
    "       renkei-node --version | --help\n"
    "\n"
    "FILE is a node.yaml, as `renkei init` writes it. SIGTERM ends the node in order.\n";

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

enum command { COMMAND_RUN, COMMAND_STATUS, COMMAND_METRICS };

struct arguments {
    enum command command;
    const char *config;
    bool json;
};

static int report(const struct error *err) {
    (void)fprintf(stderr, "renkei-node: %s: %s\n", error_info(err->code)->title_en, err->message);
    (void)fprintf(stderr, "  hint: %s\n", error_hint_text(err));
    return error_info(err->code)->exit_status;
}

static bool parse(int argc, char **argv, struct arguments *ret_arguments) {
    struct arguments a = {.command = COMMAND_RUN};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "status") == 0 && i == 1)
            a.command = COMMAND_STATUS;
        else if (strcmp(argv[i], "metrics") == 0 && i == 1)
            a.command = COMMAND_METRICS;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            a.config = argv[++i];
        else if (strcmp(argv[i], "--json") == 0 && a.command == COMMAND_STATUS)
            a.json = true;
        else
            return false;
    }
    *ret_arguments = a;
    return a.config != NULL;
}

/* The addresses that the configuration has for validators of the genesis. */
static enum error_code read_peers(const struct config_map *root, const char *genesis_path,
                                  const char **ret_addresses, struct error *err) {
    struct genesis *genesis = NULL;
    TRY(genesis_load(genesis_path, &genesis, err));
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < config_count(root, "peers") && code == ERROR_NONE; i++) {
        const struct config_pair *pair = config_pair(root, "peers", i);
        uint32_t at = 0;
        while (at < genesis->validator_count &&
               strcmp(genesis->validators[at].name, pair->name) != 0)
            at++;
        if (at == genesis->validator_count)
            code = config_error(root, "peers", err, "the genesis has no validator '%s'",
                                pair->name);
        else
            ret_addresses[at] = pair->value;
    }
    genesis_free(genesis);
    return code;
}

static enum error_code run(const struct config_map *root, struct error *err) {
    const char *addresses[GENESIS_VALIDATORS_MAX] = {NULL};
    struct node_settings settings = {
        .genesis = config_text(root, "genesis"),
        .data = config_text(root, "data"),
        .vote_key = config_text(root, "vote_key"),
        .tls_key = config_text(root, "tls_key"),
        .tls_certificate = config_text(root, "tls_certificate"),
        .socket = config_text(root, "socket"),
        .listen = config_text(root, "listen"),
        .addresses = addresses,
    };
    TRY(read_peers(root, settings.genesis, addresses, err));
    log_start("renkei-node", (enum log_level)config_enum(root, "log_level"));
    return node_run(&settings, err);
}

static enum error_code show(const struct config_map *root, const struct arguments *arguments,
                            struct error *err) {
    struct ledger *ledger = NULL;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, LEDGER_STATUS_BYTES_MAX);
    TRY(ledger_open(config_text(root, "socket"), config_text(root, "genesis"), &ledger, err));
    enum error_code code =
        arguments->command == COMMAND_METRICS ? ledger_metrics(ledger, &text, err)
        : arguments->json                     ? ledger_status(ledger, &text, err)
                                              : ledger_status_text(ledger, &text, err);
    ledger_close(ledger);
    if (code == ERROR_NONE)
        (void)fwrite(text.data, 1, text.len, stdout);
    if (code == ERROR_NONE && arguments->json)
        (void)fputc('\n', stdout);
    return code;
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
        code = arguments.command == COMMAND_RUN ? run(config_root(config), &err)
                                                : show(config_root(config), &arguments, &err);
    return code == ERROR_NONE ? EXIT_SUCCESS : report(&err);
}
