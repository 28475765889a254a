/* What an operator asks of the running gateway: sync, status, enrol, patients, chain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "gateway/cli/admin.h"
#include "gateway/cli/output.h"

enum {
    POLL_MS = 100,
    JWK_BYTES_MAX = 4096,
    PAGES_MAX = 1000,
    PATH_BYTES = 1024,
    START_ATTEMPTS_MAX = 10,
    STATE_BYTES = 96,
};

/* --- sync --------------------------------------------------------------------------------------- */

static const json_t *progress_of(const json_t *source) {
    return json_object_get(source, "progress");
}

static bool state_is(const json_t *source, const char *state) {
    return strcmp(cli_json_text(progress_of(source), "state"), state) == 0;
}

/* All sources together, or the only one that was asked for. */
static struct output_progress add_up(const json_t *answer, const char *only) {
    struct output_progress line = {.what = "sync", .left_ms = -1};
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(answer, "sources"), i, source) {
        const json_t *progress = progress_of(source);
        if (only != NULL && strcmp(cli_json_text(source, "source"), only) != 0)
            continue;
        long long read = cli_json_number(json_object_get(progress, "counts"), "read", 0);
        long long expected = cli_json_number(progress, "rowsExpected", 0);
        long long left_ms = cli_json_number(progress, "leftMs", -1);
        /* An estimate can be too low, or, once all is read, too high. */
        if (expected < read || state_is(source, "done"))
            expected = read;
        line.done += (unsigned long long)read;
        line.expected += (unsigned long long)expected;
        if (left_ms > line.left_ms)
            line.left_ms = left_ms;
        if (state_is(source, "reading"))
            line.rate += (unsigned long long)cli_json_number(progress, "rowsPerSecond", 0);
    }
    return line;
}

/* Polls until every pass has ended. */
static enum error_code follow(const struct cli_call *call, const char *only,
                              json_t **ret_answer, struct error *err) {
    uint64_t started_ms = clock_monotonic_ms();
    for (;;) {
        SCOPED_JSON json_t *answer = NULL;
        TRY(cli_admin(call, "GET", "/admin/v1/sync", NULL, &answer, err));
        struct output_progress line = add_up(answer, only);
        uint64_t elapsed_ms = clock_monotonic_ms() - started_ms + 1;
        if (!json_is_true(json_object_get(answer, "running"))) {
            output_progress_end(call, &line, elapsed_ms);
            *ret_answer = json_incref(answer);
            return ERROR_NONE;
        }
        output_progress(call, &line, elapsed_ms);
        clock_sleep_ms(POLL_MS);
    }
}

/* A pass that runs already began before this command was given, so it may have read past what the
 * user has just changed: wait for its end, then start our own. */
enum error_code cli_pass(const struct cli_call *call, const char *source, const json_t *body,
                         bool wait, json_t **ret_answer, struct error *err) {
    enum error_code code = ERROR_NONE;
    for (int attempt = 0; attempt < START_ATTEMPTS_MAX; attempt++) {
        SCOPED_JSON json_t *started = NULL;
        SCOPED_JSON json_t *ended = NULL;
        code = cli_admin(call, "POST", "/admin/v1/sync", body, &started, err);
        if (code == ERROR_NONE)
            return wait ? follow(call, source, ret_answer, err) : ERROR_NONE;
        if (code != ERROR_BUSY)
            return code;
        TRY(follow(call, source, &ended, err));
    }
    return code;
}

json_t *cli_pass_rows(const json_t *answer, const char *only) {
    json_t *rows = json_array();
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(answer, "sources"), i, source) {
        const json_t *progress = progress_of(source);
        json_t *row = json_pack("{s:s, s:s}", "source", cli_json_text(source, "source"), "state",
                                cli_json_text(progress, "state"));
        if (only == NULL || strcmp(cli_json_text(source, "source"), only) == 0)
            json_array_append(rows, row);
        json_object_update(row, json_object_get(progress, "counts"));
        json_decref(row);
    }
    return rows;
}

enum error_code cli_pass_error(const json_t *answer, const char *only, struct error *err) {
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(answer, "sources"), i, source) {
        const json_t *problem = json_object_get(progress_of(source), "error");
        if (!state_is(source, "failed") ||
            (only != NULL && strcmp(cli_json_text(source, "source"), only) != 0))
            continue;
        enum error_code code = error_code_from_name(cli_json_text(problem, "code"));
        code = code == ERROR_NONE ? ERROR_INTERNAL : code;
        const char *detail = cli_json_text(problem, "detail");
        error_set(err, code, "%s", detail);
        if (strncmp(detail, "source ", strlen("source ")) != 0)
            error_wrap(err, code, "source %s", cli_json_text(source, "source"));
        if (*cli_json_text(problem, "hint") != '\0')
            error_hint(err, "%s", cli_json_text(problem, "hint"));
        return code;
    }
    return ERROR_NONE;
}

/* What somebody should look at is said where the pass is, in a line. */
static enum error_code say_characters(const struct cli_call *call, const char *source,
                                      struct error *err) {
    SCOPED_JSON json_t *rows = json_array();
    TRY(cli_character_rows(call, source, rows, err));
    if (json_array_size(rows) > 0 && !call->json)
        fprintf(stderr, "%zu kinds of characters to look at: renkei characters\n",
                json_array_size(rows));
    return ERROR_NONE;
}

/* A mapping that changed makes rows read differently that nobody touched. */
static void say_remapped(const struct cli_call *call, const json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        long long remapped = cli_json_number(row, "remapped", 0);
        if (remapped > 0 && !call->json)
            fprintf(stderr, "%s: %lld of the changed rows only read differently: the mapping is new\n",
                    cli_json_text(row, "source"), remapped);
    }
}

static enum error_code run_sync(const struct cli_call *call, struct error *err) {
    const char *source = call->argument_count > 0 ? call->arguments[0] : NULL;
    SCOPED_JSON json_t *body = json_object();
    SCOPED_JSON json_t *answer = NULL;
    if (source != NULL)
        json_object_set_new(body, "source", json_string(source));
    if (cli_flag(call, "declared"))
        json_object_set_new(body, "declared", json_true());
    if (cli_flag(call, "dry-run"))
        json_object_set_new(body, "dryRun", json_true());
    if (cli_value(call, "mode") != NULL)
        json_object_set_new(body, "mode", json_string(cli_value(call, "mode")));
    if (cli_value(call, "table") != NULL)
        json_object_set_new(body, "table", json_string(cli_value(call, "table")));
    if (cli_value(call, "accept-deletions") != NULL) {
        json_object_set_new(body, "table", json_string(cli_value(call, "accept-deletions")));
        json_object_set_new(body, "acceptDeletions", json_true());
    }
    bool wait = !cli_flag(call, "no-wait");
    TRY(cli_pass(call, source, body, wait, &answer, err));
    if (!wait)
        return ERROR_NONE;
    SCOPED_JSON json_t *rows = cli_pass_rows(answer, source);
    static const struct output_column columns[] = {
        {"source", "source", false},     {"state", "state", false},
        {"read", "read", true},          {"created", "new", true},
        {"modified", "changed", true},   {"deleted", "vanished", true},
        {"quarantined", "quarantined", true}, {"anchored", "anchored", true},
        {NULL, NULL, false}};
    output_table(call, columns, rows);
    say_remapped(call, rows);
    TRY(say_characters(call, source, err));
    return cli_pass_error(answer, source, err);
}

static const struct cli_option sync_options[] = {
    CLI_OPTION_FOLDER,
    {"declared", NULL, "a planned migration: changes are anchored as declared", false, false},
    {"mode", "MODE", "full (default), watermark or keys", false, false},
    {"table", "TABLE", "only this one", false, false},
    {"accept-deletions", "TABLE", "its vanished rows are gone, however many: somebody has looked",
     false, false},
    {"dry-run", NULL, "read and count, anchor nothing", false, false},
    {"no-wait", NULL, "start it and return", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_sync = {
    "sync", "Operate", "[SOURCE]", 0, 1, "read the databases, anchor what is new or changed",
    "renkei sync", sync_options, run_sync};

/* --- status ------------------------------------------------------------------------------------- */

static void print_chain(const json_t *status) {
    const json_t *chain = json_object_get(status, "chain");
    if (!json_is_object(chain)) {
        printf("chain     %s\n",
               cli_json_text(json_object_get(status, "chainError"), "detail"));
        return;
    }
    printf("chain     height %s, %s leaves; %lld of %lld validators signed, %lld may fail (%s)\n"
           "head      %s\n",
           output_count((unsigned long long)cli_json_number(chain, "height", 0)),
           output_count((unsigned long long)cli_json_number(chain, "leaves", 0)),
           cli_json_number(chain, "signatures", 0), cli_json_number(chain, "validators", 0),
           cli_json_number(chain, "faultsTolerated", 0), cli_json_text(chain, "assurance"),
           cli_json_text(chain, "time"));
}

/* One flat object a source, its tables added up. */
static json_t *source_row(const json_t *source) {
    json_int_t records = 0;
    json_int_t quarantined = 0;
    json_int_t changed = 0;
    size_t i;
    json_t *table;
    json_array_foreach(json_object_get(source, "tables"), i, table) {
        records += cli_json_number(table, "records", 0);
        quarantined += cli_json_number(table, "quarantined", 0);
        changed += cli_json_number(table, "immutableChanged", 0);
    }
    const char *trouble = cli_json_text(json_object_get(source, "error"), "detail");
    const char *pause = cli_json_text(progress_of(source), "pause");
    const char *until = cli_json_text(progress_of(source), "pauseUntil");
    char state[STATE_BYTES];
    snprintf(state, sizeof state, "%s%s%s%s%s", cli_json_text(progress_of(source), "state"),
             *pause != '\0' ? ", " : "", pause, *until != '\0' ? " until " : "", until);
    json_t *row = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "source",
                            cli_json_text(source, "source"), "connector",
                            cli_json_text(source, "connector"), "state",
                            state, "records", records,
                            "quarantined", quarantined, "pending",
                            (json_int_t)cli_json_number(source, "pending", 0));
    if (*cli_json_text(source, "lastPass") != '\0')
        json_object_set_new(row, "lastPass", json_string(cli_json_text(source, "lastPass")));
    if (*trouble != '\0')
        json_object_set_new(row, "trouble", json_string(trouble));
    else if (changed > 0)
        json_object_set_new(row, "trouble",
                            json_sprintf("%lld rows of immutable tables changed or are gone: "
                                         "renkei quarantine", (long long)changed));
    return row;
}

/* What the last pass over each table asked of its source. */
static void print_load(const struct cli_call *call, const json_t *status) {
    SCOPED_JSON json_t *rows = json_array();
    size_t i, k;
    json_t *source, *table;
    json_array_foreach(json_object_get(status, "sources"), i, source)
        json_array_foreach(json_object_get(source, "tables"), k, table) {
            json_t *load = json_object_get(table, "load");
            if (load == NULL)
                continue;
            json_t *row = json_pack("{s:s, s:s}", "source", cli_json_text(source, "source"),
                                    "table", cli_json_text(table, "table"));
            json_object_update(row, load);
            json_array_append_new(rows, row);
        }
    static const struct output_column columns[] = {
        {"source", "source", false},      {"table", "table", false},
        {"rows", "rows read", true},      {"bytes", "bytes", true},
        {"queries", "queries", true},     {"sourceMs", "source ms", true},
        {"pausedMs", "capped ms", true},  {"slowedMs", "slowed ms", true},
        {"latencyUs", "latency us", true}, {"latencyBestUs", "best us", true},
        {NULL, NULL, false}};
    if (json_array_size(rows) == 0)
        return;
    printf("\nload of the last pass\n");
    output_table(call, columns, rows);
}

static enum error_code run_status(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *status = NULL;
    TRY(cli_admin(call, "GET", "/admin/v1/status", NULL, &status, err));
    if (call->json) {
        output_json(status);
        return ERROR_NONE;
    }
    printf("hospital  %s\nversion   %s\n", cli_json_text(status, "hospital"),
           cli_json_text(status, "version"));
    if (*cli_json_text(status, "url") != '\0')
        printf("patients  %s, %lld enrolled keys\n", cli_json_text(status, "url"),
               cli_json_number(status, "patients", 0));
    print_chain(status);
    size_t i;
    json_t *warning;
    json_array_foreach(json_object_get(status, "warnings"), i, warning)
        printf("warning   %s\n", cli_json_text(warning, "text"));
    printf("\n");
    SCOPED_JSON json_t *rows = json_array();
    json_t *source;
    json_array_foreach(json_object_get(status, "sources"), i, source)
        json_array_append_new(rows, source_row(source));
    static const struct output_column columns[] = {
        {"source", "source", false},       {"connector", "connector", false},
        {"state", "state", false},         {"records", "records", true},
        {"pending", "pending", true},      {"quarantined", "quarantined", true},
        {"lastPass", "last pass", false},  {"trouble", "trouble", false},
        {NULL, NULL, false}};
    output_table(call, columns, rows);
    print_load(call, status);
    return ERROR_NONE;
}

static const struct cli_option folder_options[] = {CLI_OPTION_FOLDER, CLI_OPTIONS_COMMON};

const struct cli_command cli_status = {
    "status", "Operate", "", 0, 0, "the gateway, its chain and its sources at a glance",
    "renkei status --json | jq .chain.height", folder_options, run_status};

static enum error_code run_chain(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *status = NULL;
    TRY(cli_admin(call, "GET", "/admin/v1/status", NULL, &status, err));
    if (call->json)
        output_json(json_object_get(status, "chain"));
    else
        print_chain(status);
    return ERROR_NONE;
}

const struct cli_command cli_chain = {"chain", "Operate", "", 0, 0,
                                      "the chain's head, as the gateway checked it",
                                      "renkei chain", folder_options, run_chain};

/* --- lists that come in pages ------------------------------------------------------------------- */

enum error_code cli_admin_pages(const struct cli_call *call, const char *path, const char *list,
                                json_t *rows, struct error *err) {
    char cursor[256] = "";
    for (int page = 0; page < PAGES_MAX; page++) {
        char full[PATH_BYTES];
        SCOPED_JSON json_t *answer = NULL;
        snprintf(full, sizeof full, "%s%climit=1000%s%s", path,
                 strchr(path, '?') != NULL ? '&' : '?', *cursor != '\0' ? "&cursor=" : "", cursor);
        TRY(cli_admin(call, "GET", full, NULL, &answer, err));
        json_array_extend(rows, json_object_get(answer, list));
        if (*cli_json_text(answer, "next") == '\0')
            return ERROR_NONE;
        snprintf(cursor, sizeof cursor, "%s", cli_json_text(answer, "next"));
    }
    return error_set(err, ERROR_LIMIT, "more than %d pages of %s", PAGES_MAX, list);
}

static enum error_code run_patients(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *rows = json_array();
    TRY(cli_admin_pages(call, "/admin/v1/patients", "patients", rows, err));
    static const struct output_column columns[] = {{"patient", "patient", false},
                                                   {"key", "key", false},
                                                   {"enrolled", "enrolled", false},
                                                   {NULL, NULL, false}};
    output_table(call, columns, rows);
    return ERROR_NONE;
}

const struct cli_command cli_patients = {"patients", "Operate", "", 0, 0, "the enrolled keys",
                                         "renkei patients", folder_options, run_patients};

/* --- enrol -------------------------------------------------------------------------------------- */

static enum error_code run_enrol(const struct cli_call *call, struct error *err) {
    const char *path = call->arguments[1];
    SCOPED_BUFFER struct buffer file;
    buffer_init(&file, JWK_BYTES_MAX);
    TRY(file_read(path, &file, JWK_BYTES_MAX, err));
    json_t *key = json_loadb((const char *)file.data, file.len, JSON_REJECT_DUPLICATES, NULL);
    if (key == NULL) {
        error_set(err, ERROR_USAGE, "%s: not a public key in JSON (JWK)", path);
        error_hint(err, "the patient makes one with 'renkei keygen' and hands over the .jwk file");
        return ERROR_USAGE;
    }
    SCOPED_JSON json_t *body = json_object();
    SCOPED_JSON json_t *answer = NULL;
    json_object_set_new(body, "key", key);
    json_t *patient = json_string(call->arguments[0]);
    if (patient == NULL)
        return error_set(err, ERROR_USAGE, "the patient id is not UTF-8");
    json_object_set_new(body, "patient", patient);
    TRY(cli_admin(call, "POST", "/admin/v1/patients", body, &answer, err));
    if (call->json)
        output_json(answer);
    else
        printf("enrolled: key %s\n", cli_json_text(answer, "key"));
    return ERROR_NONE;
}

const struct cli_command cli_enrol = {
    "enrol", "Operate", "PATIENT PUBLIC-KEY", 2, 2,
    "let a patient's public key open that patient's records",
    "renkei enrol 999-99-9999 patient.jwk", folder_options, run_enrol};
