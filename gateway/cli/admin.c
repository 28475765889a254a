/* What an operator asks of the running gateway: sync, status, quarantine, enrol, patients, chain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/output.h"

enum { POLL_MS = 100, JWK_BYTES_MAX = 4096, PAGES_MAX = 1000, PATH_BYTES = 1024 };

/* --- sync --------------------------------------------------------------------------------------- */

struct totals {
    unsigned long long read;
    unsigned long long expected;
    bool expected_known;
};

static struct totals add_up(const json_t *progress) {
    struct totals t = {.expected_known = true};
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(progress, "sources"), i, source) {
        long long read = cli_json_number(source, "rowsRead", 0);
        long long expected = cli_json_number(source, "rowsEstimate", -1);
        t.read += (unsigned long long)read;
        if (expected < 0)
            t.expected_known = false;
        else
            t.expected += (unsigned long long)(expected > read ? expected : read);
    }
    return t;
}

static enum error_code failed_source(const json_t *progress, const char *only, struct error *err) {
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(progress, "sources"), i, source) {
        const json_t *problem = json_object_get(source, "error");
        if (strcmp(cli_json_text(source, "state"), "failed") != 0 ||
            (only != NULL && strcmp(cli_json_text(source, "source"), only) != 0))
            continue;
        enum error_code code = error_code_from_name(cli_json_text(problem, "code"));
        code = code == ERROR_NONE ? ERROR_INTERNAL : code;
        error_set(err, code, "source %s: %s", cli_json_text(source, "source"),
                  cli_json_text(problem, "detail"));
        if (*cli_json_text(problem, "hint") != '\0')
            error_hint(err, "%s", cli_json_text(problem, "hint"));
        return code;
    }
    return ERROR_NONE;
}

static void show_progress(const struct cli_call *call, const json_t *progress,
                          uint64_t elapsed_ms) {
    struct totals t = add_up(progress);
    uint64_t rate = elapsed_ms > 0 ? t.read * 1000 / elapsed_ms : 0;
    struct output_progress line = {
        .what = "sync",
        .done = t.read,
        .expected = t.expected_known ? t.expected : 0,
        .rate = rate,
        .left_ms = t.expected_known && rate > 0 && t.expected >= t.read
                       ? (long long)((t.expected - t.read) * 1000 / rate)
                       : -1};
    output_progress(call, &line, elapsed_ms);
}

/* Polls until every pass has ended. */
static enum error_code follow(const struct cli_call *call, json_t **ret_progress,
                              struct error *err) {
    uint64_t started_ms = clock_monotonic_ms();
    for (;;) {
        SCOPED_JSON json_t *progress = NULL;
        TRY(cli_admin(call, "GET", "/admin/v1/sync", NULL, &progress, err));
        show_progress(call, progress, clock_monotonic_ms() - started_ms + 1);
        if (!json_is_true(json_object_get(progress, "running"))) {
            output_progress_end(call);
            *ret_progress = json_incref(progress);
            return ERROR_NONE;
        }
        clock_sleep_ms(POLL_MS);
    }
}

static enum error_code run_sync(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *body = json_object();
    SCOPED_JSON json_t *started = NULL;
    SCOPED_JSON json_t *progress = NULL;
    const char *source = call->argument_count > 0 ? call->arguments[0] : NULL;
    if (source != NULL)
        json_object_set_new(body, "source", json_string(source));
    if (cli_flag(call, "declared"))
        json_object_set_new(body, "declared", json_true());
    TRY(cli_admin(call, "POST", "/admin/v1/sync", body, &started, err));
    if (cli_flag(call, "no-wait"))
        return ERROR_NONE;
    TRY(follow(call, &progress, err));
    static const struct output_column columns[] = {{"source", "source", false},
                                                   {"state", "state", false},
                                                   {"rowsRead", "read", true},
                                                   {"rowsAnchored", "anchored", true},
                                                   {"rowsQuarantined", "quarantined", true},
                                                   {"records", "records", true},
                                                   {NULL, NULL, false}};
    output_table(call, columns, json_object_get(progress, "sources"));
    return failed_source(progress, source, err);
}

static const struct cli_option sync_options[] = {
    CLI_OPTION_FOLDER,
    {"declared", NULL, "a planned migration: changes are anchored as declared", false, false},
    {"no-wait", NULL, "start it and return", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_sync = {
    "sync", "Operate", "[SOURCE]", 0, 1, "read the databases, anchor what is new or changed",
    "renkei sync", sync_options, run_sync};

/* --- status ------------------------------------------------------------------------------------- */

static void print_chain(const json_t *status) {
    const json_t *chain = json_object_get(status, "chain");
    if (!json_is_object(chain)) {
        printf("chain     %s\n", cli_json_text(status, "chainError"));
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
    printf("\n");
    json_t *sources = json_object_get(status, "sources");
    size_t i;
    json_t *source;
    json_array_foreach(sources, i, source)
        json_object_set_new(source, "trouble",
                            json_string(cli_json_text(json_object_get(source, "error"), "detail")));
    static const struct output_column columns[] = {{"source", "source", false},
                                                   {"connector", "connector", false},
                                                   {"state", "state", false},
                                                   {"records", "records", true},
                                                   {"rowsQuarantined", "quarantined", true},
                                                   {"lastPass", "last pass", false},
                                                   {"trouble", "trouble", false},
                                                   {NULL, NULL, false}};
    output_table(call, columns, sources);
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

/* Appends all pages of `path` to an array. list: the member that holds the rows. */
static enum error_code all_pages(const struct cli_call *call, const char *path, const char *list,
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

/* The first reason of a row stands in the table; --json has them all. */
static enum error_code run_quarantine(const struct cli_call *call, struct error *err) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/admin/v1/quarantine%s%s",
             call->argument_count > 0 ? "?source=" : "",
             call->argument_count > 0 ? call->arguments[0] : "");
    SCOPED_JSON json_t *rows = json_array();
    TRY(all_pages(call, path, "rows", rows, err));
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const json_t *reason = json_array_get(json_object_get(row, "reasons"), 0);
        if (!call->json) {
            json_object_set_new(row, "column", json_string(cli_json_text(reason, "column")));
            json_object_set_new(row, "reason", json_string(cli_json_text(reason, "reason")));
        }
    }
    static const struct output_column columns[] = {
        {"address", "address", false}, {"column", "column", false}, {"reason", "reason", false},
        {"seen", "seen", false},       {NULL, NULL, false}};
    output_table(call, columns, rows);
    return ERROR_NONE;
}

const struct cli_command cli_quarantine = {
    "quarantine", "Operate", "[SOURCE]", 0, 1, "rows that could not be read, and why",
    "renkei quarantine", folder_options, run_quarantine};

static enum error_code run_patients(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *rows = json_array();
    TRY(all_pages(call, "/admin/v1/patients", "patients", rows, err));
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
