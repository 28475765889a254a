/*
 * `renkei keysets`: which rows each table held after its last whole pass, as the root that stands on
 * the chain. The table's secret goes out only where it is asked for: with it, a key that somebody knows
 * can be looked for in the root's tree.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/cli/cli.h"
#include "gateway/cli/output.h"

enum { PATH_BYTES = 256 };

static const char *state_of(const json_t *table) {
    if (cli_json_number(table, "pass", 0) == 0)
        return "no whole pass yet";
    return json_object_get(table, "height") != NULL ? "on the chain" : "waits for the chain";
}

static enum error_code run_keysets(const struct cli_call *call, struct error *err) {
    const char *source = call->argument_count > 0 ? call->arguments[0] : NULL;
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "/admin/v1/keysets%s%s",
                          source != NULL ? "?source=" : "", source != NULL ? source : "");
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, ERROR_LIMIT, "a source's name of more than %d bytes", PATH_BYTES);
    SCOPED_JSON json_t *answer = NULL;
    TRY(cli_admin(call, "GET", path, NULL, &answer, err));
    json_t *tables = json_object_get(answer, "tables");
    size_t i;
    json_t *table;
    json_array_foreach(tables, i, table) {
        if (!cli_flag(call, "secret"))
            json_object_del(table, "secret");
        json_object_set_new(table, "state", json_string(state_of(table)));
    }
    static const struct output_column columns[] = {
        {"source", "source", false}, {"table", "table", false},   {"state", "key set", false},
        {"height", "block", true},   {"pass", "pass", true},      {"mode", "mode", false},
        {"count", "keys", true},     {"root", "root", false},     {NULL, NULL, false}};
    static const struct output_column with_secret[] = {
        {"source", "source", false}, {"table", "table", false},   {"state", "key set", false},
        {"height", "block", true},   {"pass", "pass", true},      {"mode", "mode", false},
        {"count", "keys", true},     {"root", "root", false},     {"secret", "secret", false},
        {NULL, NULL, false}};
    output_table(call, cli_flag(call, "secret") ? with_secret : columns, tables);
    return ERROR_NONE;
}

static const struct cli_option keysets_options[] = {
    {"secret", NULL, "also each table's secret: for an auditor who recomputes the root", false,
     false},
    CLI_OPTION_FOLDER,
    CLI_OPTIONS_COMMON};

const struct cli_command cli_keysets = {
    "keysets", "Operate", "[SOURCE]", 0, 1, "which rows each table held, as anchored",
    "renkei keysets main\n  renkei keysets main --secret --json > for-the-auditor.json",
    keysets_options, run_keysets};
