#include "gateway/cli/cli.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/text.h"

static size_t option_index(const struct cli_command *command, const char *name) {
    size_t i = 0;
    while (command->options[i].name != NULL && strcmp(command->options[i].name, name) != 0)
        i++;
    return i;
}

static enum error_code unknown_option(const struct cli_command *command, const char *name,
                                      struct error *err) {
    const char *names[CLI_OPTIONS_MAX + 1] = {NULL};
    for (size_t i = 0; command->options[i].name != NULL; i++)
        names[i] = command->options[i].name;
    error_set(err, ERROR_USAGE, "renkei %s: unknown option --%s", command->name, name);
    const char *near = config_nearest(name, names);
    if (near != NULL)
        error_hint(err, "did you mean --%s?", near);
    else
        error_hint(err, "renkei %s --help lists the options", command->name);
    return ERROR_USAGE;
}

/* One "--name value", "--name=value" or "--flag" at argv[*at]. */
static enum error_code parse_option(const struct cli_command *command, int argc, char **argv,
                                    int *at, struct cli_call *call, struct error *err) {
    char name[64];
    const char *text = argv[*at] + 2;
    const char *equals = strchr(text, '=');
    size_t len = equals != NULL ? (size_t)(equals - text) : strlen(text);
    if (len >= sizeof name)
        return error_set(err, ERROR_USAGE, "renkei %s: unknown option", command->name);
    memcpy(name, text, len);
    name[len] = '\0';
    size_t i = option_index(command, name);
    const struct cli_option *option = &command->options[i];
    if (option->name == NULL)
        return unknown_option(command, name, err);
    if (option->value_name == NULL && equals != NULL)
        return error_set(err, ERROR_USAGE, "renkei %s: --%s takes no value", command->name, name);
    const char *value = "";
    if (option->value_name != NULL) {
        if (equals == NULL && *at + 1 >= argc)
            return error_set(err, ERROR_USAGE, "renkei %s: --%s needs %s", command->name, name,
                             option->value_name);
        value = equals != NULL ? equals + 1 : argv[++*at];
    }
    size_t count = call->value_counts[i];
    if (count > 0 && !option->repeated && option->value_name != NULL)
        return error_set(err, ERROR_USAGE, "renkei %s: --%s is given twice", command->name, name);
    if (count >= CLI_REPEATS_MAX)
        return error_set(err, ERROR_USAGE, "renkei %s: more than %d times --%s", command->name,
                         CLI_REPEATS_MAX, name);
    call->values[i][count] = value;
    call->value_counts[i] = count + 1;
    return ERROR_NONE;
}

static enum error_code check_complete(const struct cli_call *call, struct error *err) {
    const struct cli_command *command = call->command;
    for (size_t i = 0; command->options[i].name != NULL; i++) {
        const struct cli_option *option = &command->options[i];
        if (!option->required || call->value_counts[i] > 0)
            continue;
        error_set(err, ERROR_USAGE, "renkei %s: --%s %s is missing", command->name, option->name,
                  option->value_name);
        error_hint(err, "for example: %s", command->example);
        return ERROR_USAGE;
    }
    if (call->argument_count < command->arguments_min) {
        error_set(err, ERROR_USAGE, "renkei %s: %s is missing", command->name, command->arguments);
        error_hint(err, "for example: %s", command->example);
        return ERROR_USAGE;
    }
    return ERROR_NONE;
}

enum error_code cli_parse(const struct cli_command *command, int argc, char **argv,
                          struct cli_call *ret_call, struct error *err) {
    struct cli_call call = {.command = command};
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            TRY(parse_option(command, argc, argv, &i, &call, err));
            continue;
        }
        if (call.argument_count >= command->arguments_max)
            return error_set(err, ERROR_USAGE, "renkei %s: unexpected argument '%s'",
                             command->name, argv[i]);
        call.arguments[call.argument_count++] = argv[i];
    }
    call.json = cli_flag(&call, "json");
    call.help = cli_flag(&call, "help");
    if (!call.help)
        TRY(check_complete(&call, err));
    *ret_call = call;
    return ERROR_NONE;
}

size_t cli_count(const struct cli_call *call, const char *name) {
    size_t i = option_index(call->command, name);
    assert(call->command->options[i].name != NULL);
    return call->value_counts[i];
}

const char *cli_value_at(const struct cli_call *call, const char *name, size_t index) {
    assert(index < cli_count(call, name));
    return call->values[option_index(call->command, name)][index];
}

const char *cli_value(const struct cli_call *call, const char *name) {
    return cli_count(call, name) > 0 ? cli_value_at(call, name, 0) : NULL;
}

const char *cli_value_or(const struct cli_call *call, const char *name, const char *otherwise) {
    const char *value = cli_value(call, name);
    return value != NULL ? value : otherwise;
}

bool cli_flag(const struct cli_call *call, const char *name) {
    return cli_count(call, name) > 0;
}

enum error_code cli_number(const struct cli_call *call, const char *name, unsigned long least,
                           unsigned long most, unsigned long otherwise, unsigned long *ret_number,
                           struct error *err) {
    const char *text = cli_value(call, name);
    uint64_t number = otherwise;
    if (text != NULL && (!text_u64(text, &number) || number < least || number > most))
        return error_set(err, ERROR_USAGE, "renkei %s: --%s: found '%s', expected %lu to %lu",
                         call->command->name, name, text, least, most);
    *ret_number = (unsigned long)number;
    return ERROR_NONE;
}

void cli_help(void) {
    printf("renkei %s: hospitals' records as one document, each proven by the chain\n\n"
           "usage: renkei COMMAND [OPTIONS]    renkei COMMAND --help shows one command\n",
           RENKEI_VERSION);
    const char *group = "";
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(group, cli_commands[i]->group) != 0) {
            group = cli_commands[i]->group;
            printf("\n%s\n", group);
        }
        printf("  %-12s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    }
    printf("\nexample: renkei init --hospital clinic --folder ./clinic\n");
}

void cli_help_command(const struct cli_command *command) {
    printf("renkei %s: %s\n\nusage: renkei %s%s%s [OPTIONS]\n\n", command->name, command->summary,
           command->name, command->arguments[0] != '\0' ? " " : "", command->arguments);
    for (size_t i = 0; command->options[i].name != NULL; i++) {
        const struct cli_option *option = &command->options[i];
        char head[64];
        snprintf(head, sizeof head, "--%s%s%s", option->name,
                 option->value_name != NULL ? " " : "",
                 option->value_name != NULL ? option->value_name : "");
        printf("  %-24s %s%s%s\n", head, option->help, option->required ? " (needed)" : "",
               option->repeated ? " (may be repeated)" : "");
    }
    printf("\nexample:\n  %s\n", command->example);
}
