/*
 * The `renkei` command: one table of commands, for operators, patients and auditors.
 *
 * Owns: options and help, what is printed, the HTTP client, and the commands. May use: base,
 * normalizer/mapping.h, gateway/worker, gateway/identity, gateway/settings.h, the ledger's doors,
 * libcurl, Jansson. Refuses: to open the vault (the gateway does), to take a secret on the command
 * line, to print a table that has no JSON form.
 *
 * Output for people goes to standard output, progress and errors to standard error. The exit status
 * is the error table's.
 */
#ifndef GATEWAY_CLI_CLI_H
#define GATEWAY_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

enum { CLI_OPTIONS_MAX = 16, CLI_ARGUMENTS_MAX = 64, CLI_REPEATS_MAX = 32 };

struct cli_option {
    const char *name;       /* without the dashes; NULL ends the table */
    const char *value_name; /* NULL: a flag */
    const char *help;
    bool required;
    bool repeated;
};

struct cli_call;

struct cli_command {
    const char *name;
    const char *group;     /* heading in the list of commands */
    const char *arguments; /* "[TABLE]", or "" */
    size_t arguments_min;
    size_t arguments_max;
    const char *summary;
    const char *example;   /* a line, or several */
    const struct cli_option *options;
    enum error_code (*run)(const struct cli_call *call, struct error *err);
};

struct cli_call {
    const struct cli_command *command;
    const char *program; /* argv[0] */
    const char *values[CLI_OPTIONS_MAX][CLI_REPEATS_MAX];
    size_t value_counts[CLI_OPTIONS_MAX];
    const char *arguments[CLI_ARGUMENTS_MAX];
    size_t argument_count;
    bool json;
    bool help;
    bool terminal; /* standard error is one: progress bars */
};

/* Every command's table ends with these. */
#define CLI_OPTIONS_COMMON                                                                         \
    {"json", NULL, "print JSON instead of text", false, false},                                    \
        {"help", NULL, "show this help", false, false}, {                                          \
        NULL, NULL, NULL, false, false                                                             \
    }
#define CLI_OPTION_FOLDER                                                                          \
    {"folder", "DIR", "the hospital's folder (default: $RENKEI_FOLDER, or here)", false, false}

extern const struct cli_command *const cli_commands[]; /* ended by NULL */

/* ERROR_USAGE with the nearest name as hint. */
MUST_CHECK enum error_code cli_parse(const struct cli_command *command, int argc, char **argv,
                                     struct cli_call *ret_call, struct error *err);
/* NULL where the option was not given. The name must be declared. */
const char *cli_value(const struct cli_call *call, const char *name);
const char *cli_value_or(const struct cli_call *call, const char *name, const char *otherwise);
size_t cli_count(const struct cli_call *call, const char *name);
const char *cli_value_at(const struct cli_call *call, const char *name, size_t index);
bool cli_flag(const struct cli_call *call, const char *name);
/* The option as a number within [least, most]; absent: otherwise. */
MUST_CHECK enum error_code cli_number(const struct cli_call *call, const char *name,
                                      unsigned long least, unsigned long most,
                                      unsigned long otherwise, unsigned long *ret_number,
                                      struct error *err);

/* The folder of --folder, $RENKEI_FOLDER, or the present one. */
const char *cli_folder(const struct cli_call *call);
/* <folder>/<name>; ERROR_LIMIT where it is too long. ret_path has PATH_MAX bytes. */
MUST_CHECK enum error_code cli_path(const char *folder, const char *name, char *ret_path,
                                    struct error *err);
/* A program, or the folder of plugins, of this installation: beside this program, or where the
 * build puts it. */
enum cli_program { CLI_NODE, CLI_GATEWAY, CLI_WORKER, CLI_PLUGINS };
MUST_CHECK enum error_code cli_program_path(enum cli_program what, char *ret_path,
                                            struct error *err);
/* A call over the administration socket of the folder's gateway. body may be NULL; the answer is a
 * new reference. */
MUST_CHECK enum error_code cli_admin(const struct cli_call *call, const char *method,
                                     const char *path, const json_t *body, json_t **ret_answer,
                                     struct error *err);

/* Adds an item (whole lines) under a top-level list of a YAML text, whose key is made where it is
 * missing. Only for files in the shape that `renkei init` writes. */
void cli_yaml_add(struct buffer *text, const char *key, const char *item);

/* Members of an object, or the given stand-in. */
const char *cli_json_text(const json_t *object, const char *name);
long long cli_json_number(const json_t *object, const char *name, long long otherwise);
void cli_json_free_scoped(json_t **json);
#define SCOPED_JSON __attribute__((cleanup(cli_json_free_scoped)))

void cli_print_error(const struct error *err, bool json);
void cli_help(void);
void cli_help_command(const struct cli_command *command);

extern const struct cli_command cli_init, cli_genesis, cli_join, cli_start, cli_stop;
extern const struct cli_command cli_discover, cli_grants, cli_check, cli_preview;
extern const struct cli_command cli_sync, cli_status, cli_quarantine, cli_characters;
extern const struct cli_command cli_keysets, cli_enrol, cli_patients;
extern const struct cli_command cli_backup, cli_restore;
extern const struct cli_command cli_keygen, cli_document, cli_sign, cli_chain;

#endif
