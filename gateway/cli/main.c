/* renkei: finds the command in the table, runs it, and turns its error into words and a status. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "gateway/cli/cli.h"

enum { COMMANDS_MAX = 64 };

const struct cli_command *const cli_commands[] = {
    &cli_init, &cli_genesis, &cli_join, &cli_start, &cli_stop, &cli_discover, &cli_grants,
    &cli_check, &cli_preview, &cli_sync, &cli_status, &cli_chain, &cli_quarantine,
    &cli_characters, &cli_keysets, &cli_enrol, &cli_patients, &cli_backup, &cli_restore,
    &cli_keygen, &cli_document, &cli_sign, NULL,
};

static const struct cli_command *find(const char *name) {
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

/* The same error as a person or as a program reads it. */
void cli_print_error(const struct error *err, bool json) {
    const struct error_info *info = error_info(err->code);
    if (json) {
        json_t *object = json_pack("{s:s, s:s, s:s}", "error", info->name, "message", err->message,
                                   "hint", error_hint_text(err));
        if (object != NULL)
            json_dumpf(object, stderr, JSON_COMPACT);
        json_decref(object);
        fputc('\n', stderr);
    } else {
        fprintf(stderr, "renkei: %s: %s\n  hint: %s\n", info->title_en, err->message,
                error_hint_text(err));
    }
}

static int show_error(const struct error *err, bool json) {
    cli_print_error(err, json);
    return error_info(err->code)->exit_status;
}

static int unknown_command(const char *name) {
    const char *names[COMMANDS_MAX] = {NULL};
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        names[i] = cli_commands[i]->name;
    struct error err;
    error_set(&err, ERROR_USAGE, "unknown command '%s'", name);
    const char *near = config_nearest(name, names);
    if (near != NULL)
        error_hint(&err, "did you mean 'renkei %s'?", near);
    else
        error_hint(&err, "renkei --help lists the commands");
    return show_error(&err, false);
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "C.UTF-8");
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        cli_help();
        return argc < 2 ? error_info(ERROR_USAGE)->exit_status : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("renkei %s\n", RENKEI_VERSION);
        return 0;
    }
    const struct cli_command *command = find(argv[1]);
    if (command == NULL)
        return unknown_command(argv[1]);
    struct error err;
    struct cli_call call;
    if (cli_parse(command, argc - 2, argv + 2, &call, &err) != ERROR_NONE)
        return show_error(&err, false);
    if (call.help) {
        cli_help_command(command);
        return 0;
    }
    call.program = argv[0];
    call.terminal = isatty(STDERR_FILENO) == 1;
    if (command->run(&call, &err) != ERROR_NONE)
        return show_error(&err, call.json);
    if (fflush(stdout) != 0) {
        perror("renkei: standard output");
        return error_info(ERROR_IO)->exit_status;
    }
    return 0;
}
