/* What somebody should look at: rows that could not be read, and characters that are not plain. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "gateway/cli/admin.h"
#include "gateway/cli/output.h"

enum { PATH_BYTES = 1024 };

/* --- quarantine --------------------------------------------------------------------------------- */

/* What to do about a reason, for whoever meets it at night. */
static const char *advice(const char *reason) {
    static const struct {
        const char *reason;
        const char *advice;
    } rows[] = {
        {"invalid-bytes", "the column's bytes are no text in its charset: correct the row, or the "
                          "column's charset in the mapping; 'invalid_text: replace' shows U+FFFD"},
        {"type", "the value is not of the mapping's type: correct the row, or map the column to a "
                 "type that it fits (string always does)"},
        {"limit", "a value is longer than its limit (docs/types.md): shorten it, or leave the "
                  "column out of the mapping"},
        {"era-overrun", "a date after its era's end, and the mapping says 'era: reject': correct "
                        "the row, or map it with 'era: flag'"},
        {"duplicate-key", "two rows have one key: name all columns of the primary key under 'key:' "
                          "in the mapping"},
        {"immutable-changed", "the table is declared immutable, and the row is not what was "
                              "anchored: find out who changed it"},
        {"immutable-deleted", "the table is declared immutable, and an anchored row is gone: find "
                              "out who removed it"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].reason, reason) == 0)
            return rows[i].advice;
    return "correct the row, or the mapping";
}

static enum error_code list(const struct cli_call *call, const char *source, struct error *err) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/admin/v1/quarantine%s%s", source != NULL ? "?source=" : "",
             source != NULL ? source : "");
    SCOPED_JSON json_t *rows = json_array();
    TRY(cli_admin_pages(call, path, "rows", rows, err));
    static const struct output_column columns[] = {
        {"id", "id", true},          {"source", "source", false}, {"table", "table", false},
        {"key", "key", false},       {"column", "column", false}, {"reason", "reason", false},
        {"last", "last met", false}, {NULL, NULL, false}};
    output_table(call, columns, rows);
    return ERROR_NONE;
}

static enum error_code read_id(const struct cli_call *call, uint64_t *ret_id, struct error *err) {
    const char *text = call->argument_count > 1 ? call->arguments[1] : "";
    if (text_u64(text, ret_id) && *ret_id > 0)
        return ERROR_NONE;
    error_set(err, ERROR_USAGE, "renkei quarantine %s: found '%s', expected a row's id",
              call->arguments[0], text);
    error_hint(err, "'renkei quarantine list' shows the ids");
    return ERROR_USAGE;
}

static enum error_code show(const struct cli_call *call, struct error *err) {
    uint64_t id;
    char path[PATH_BYTES];
    SCOPED_JSON json_t *answer = NULL;
    TRY(read_id(call, &id, err));
    snprintf(path, sizeof path, "/admin/v1/quarantine?limit=1&cursor=%llu",
             (unsigned long long)(id - 1));
    TRY(cli_admin(call, "GET", path, NULL, &answer, err));
    const json_t *row = json_array_get(json_object_get(answer, "rows"), 0);
    if ((uint64_t)cli_json_number(row, "id", 0) != id) {
        error_set(err, ERROR_NOT_FOUND, "the quarantine has no row %llu", (unsigned long long)id);
        error_hint(err, "'renkei quarantine list' shows the ids");
        return ERROR_NOT_FOUND;
    }
    if (call->json) {
        output_json(row);
        return ERROR_NONE;
    }
    long long code = cli_json_number(row, "code", 0);
    const char *key = cli_json_text(row, "key");
    printf("row       %s/%s, key %s\n", cli_json_text(row, "source"), cli_json_text(row, "table"),
           *key != '\0' ? key : "(none: the key is the trouble)");
    printf("column    %s\nreason    %s", cli_json_text(row, "column"),
           cli_json_text(row, "reason"));
    if (code != 0)
        printf(", first at %02llX", (unsigned long long)code);
    printf("\nmet       first %s, last %s\nanchored  %s\nto do     %s;\n"
           "          then 'renkei quarantine replay %s'\n",
           cli_json_text(row, "first"), cli_json_text(row, "last"),
           json_is_true(json_object_get(row, "anchored"))
               ? "an earlier version of the row is on the chain"
               : "nothing of the row is on the chain",
           advice(cli_json_text(row, "reason")), cli_json_text(row, "source"));
    return ERROR_NONE;
}

static enum error_code drop(const struct cli_call *call, struct error *err) {
    uint64_t id;
    char path[PATH_BYTES];
    SCOPED_JSON json_t *nothing = NULL;
    TRY(read_id(call, &id, err));
    snprintf(path, sizeof path, "/admin/v1/quarantine/%llu", (unsigned long long)id);
    return cli_admin(call, "DELETE", path, NULL, &nothing, err);
}

static enum error_code replay(const struct cli_call *call, const char *source, struct error *err) {
    SCOPED_JSON json_t *body = json_pack("{s:s}", "mode", "replay");
    SCOPED_JSON json_t *answer = NULL;
    if (source != NULL)
        json_object_set_new(body, "source", json_string(source));
    TRY(cli_pass(call, source, body, true, &answer, err));
    SCOPED_JSON json_t *rows = cli_pass_rows(answer, source);
    static const struct output_column columns[] = {
        {"source", "source", false},     {"state", "state", false},
        {"read", "read", true},          {"created", "new", true},
        {"modified", "changed", true},   {"unchanged", "as anchored", true},
        {"quarantined", "still in quarantine", true}, {"anchored", "anchored", true},
        {NULL, NULL, false}};
    output_table(call, columns, rows);
    return cli_pass_error(answer, source, err);
}

static enum error_code run_quarantine(const struct cli_call *call, struct error *err) {
    const char *action = call->argument_count > 0 ? call->arguments[0] : "list";
    const char *source = call->argument_count > 1 ? call->arguments[1] : NULL;
    if (strcmp(action, "list") == 0)
        return list(call, source, err);
    if (strcmp(action, "replay") == 0)
        return replay(call, source, err);
    if (strcmp(action, "show") == 0)
        return show(call, err);
    if (strcmp(action, "drop") == 0)
        return drop(call, err);
    return error_set(err, ERROR_USAGE,
                     "renkei quarantine: found '%s', expected list, show, replay or drop", action);
}

static const struct cli_option quarantine_options[] = {CLI_OPTION_FOLDER, CLI_OPTIONS_COMMON};

const struct cli_command cli_quarantine = {
    "quarantine", "Operate", "[list [SOURCE] | show ID | replay [SOURCE] | drop ID]", 0, 2,
    "rows that could not be read, why, and what to do",
    "renkei quarantine show 17\n  renkei quarantine replay main     # read those rows once more",
    quarantine_options, run_quarantine};

/* --- characters --------------------------------------------------------------------------------- */

enum error_code cli_character_rows(const struct cli_call *call, const char *source, json_t *rows,
                                   struct error *err) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/admin/v1/characters%s%s", source != NULL ? "?source=" : "",
             source != NULL ? source : "");
    SCOPED_JSON json_t *answer = NULL;
    TRY(cli_admin(call, "GET", path, NULL, &answer, err));
    size_t t, c;
    json_t *table, *character;
    json_array_foreach(json_object_get(answer, "tables"), t, table) {
        json_array_foreach(json_object_get(table, "characters"), c, character) {
            json_t *row = json_pack("{s:s, s:s}", "source", cli_json_text(table, "source"), "table",
                                    cli_json_text(table, "table"));
            json_object_update(row, character);
            json_array_append_new(rows, row);
        }
        json_int_t beyond = cli_json_number(table, "beyond", 0);
        if (beyond > 0)
            json_array_append_new(
                rows, json_pack("{s:s, s:s, s:s, s:I}", "source", cli_json_text(table, "source"),
                                "table", cli_json_text(table, "table"), "kind", "of further codes",
                                "count", beyond));
    }
    return ERROR_NONE;
}

static enum error_code run_characters(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *rows = json_array();
    TRY(cli_character_rows(call, call->argument_count > 0 ? call->arguments[0] : NULL, rows, err));
    static const struct output_column columns[] = {
        {"source", "source", false}, {"table", "table", false}, {"column", "column", false},
        {"kind", "kind", false},     {"code", "code", false},   {"count", "times", true},
        {"sampleKey", "for example the row", false}, {NULL, NULL, false}};
    output_table(call, columns, rows);
    return ERROR_NONE;
}

const struct cli_command cli_characters = {
    "characters", "Operate", "[SOURCE]", 0, 1,
    "characters to look at: invalid, ambiguous, gaiji",
    "renkei characters main --json | jq '.[] | select(.kind == \"gaiji\")'", quarantine_options,
    run_characters};
