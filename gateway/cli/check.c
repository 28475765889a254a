/* Compares a mapping with its database: what will not work, what will be slow, and what is probably
 * declared wrongly. */
#include <stdio.h>
#include <string.h>

#include "gateway/cli/output.h"
#include "gateway/cli/source.h"
#include "normalizer/charset.h"
#include "normalizer/evidence.h"

enum { SAMPLE_ROWS = 200, FINDING_BYTES = 1024 };

static void add_finding(json_t *rows, const char *level, const char *object, const char *finding) {
    json_array_append_new(
        rows, json_pack("{s:s, s:s, s:s}", "level", level, "object", object, "finding", finding));
}

static enum error_code check_source(struct worker *worker, const char *object, json_t *rows,
                                    struct error *err) {
    SCOPED_RESULT const struct worker_description *all = NULL;
    char finding[1024];
    TRY(worker_describe(worker, &all, err));
    snprintf(finding, sizeof finding, "%s %s answers", all->server.product, all->server.version);
    add_finding(rows, "ok", object, finding);
    const char *note = all->server.note;
    if (note != NULL && note[0] != '\0') {
        bool as_wished = strncmp(note, "reads replica", strlen("reads replica")) == 0 &&
                         strstr(note, "does not tell") == NULL;
        add_finding(rows, as_wished ? "ok" : "warning", object, note);
    }
    for (size_t i = 0; i < all->right_count; i++) {
        if (all->rights[i].write != 1)
            continue;
        snprintf(finding, sizeof finding, "the account may do more than read: %s",
                 all->rights[i].text);
        add_finding(rows, "warning", object, finding);
    }
    return ERROR_NONE;
}

static const struct renkei_column *column_named(const struct worker_table *table,
                                                const char *name) {
    for (uint32_t c = 0; c < table->column_count; c++)
        if (strcmp(table->columns[c].name, name) == 0)
            return &table->columns[c];
    return NULL;
}

/* What will work, but slowly or not for long. A connector that does not know of indexes gives 0 for
 * every column; then nothing is said. */
static void check_indexes(const struct worker_table *table, const struct mapping_table *mapped,
                          json_t *rows) {
    bool any = false;
    bool key_is_primary = true;
    for (uint32_t c = 0; c < table->column_count; c++)
        any = any || table->columns[c].indexed != 0 || table->columns[c].key_position > 0;
    if (!any)
        return;
    for (size_t k = 0; k < mapped->key_count; k++) {
        const struct renkei_column *column = column_named(table, mapped->keys[k]);
        key_is_primary = key_is_primary && column != NULL && column->key_position > 0;
    }
    if (!key_is_primary)
        add_finding(rows, "warning", mapped->table,
                    "the key is not the primary key: two rows with one key go to quarantine");
    const struct {
        const char *column;
        const char *finding;
    } looked_up[] = {
        {mapped->patient, "the patient column has no index: each document reads the whole table"},
        {mapped->watermark, "the watermark column has no index: each pass reads the whole table"},
    };
    for (size_t i = 0; i < sizeof looked_up / sizeof looked_up[0]; i++) {
        const struct renkei_column *column =
            looked_up[i].column != NULL ? column_named(table, looked_up[i].column) : NULL;
        if (column != NULL && column->indexed == 0 && column->key_position != 1)
            add_finding(rows, "warning", mapped->table, looked_up[i].finding);
    }
}

/* --- a sample of rows --- */

static enum renkei_charset charset_named(const char *name) {
    for (int c = RENKEI_CHARSET_UNKNOWN; c <= RENKEI_CHARSET_LATIN1; c++)
        if (strcmp(charset_name((enum renkei_charset)c), name) == 0)
            return (enum renkei_charset)c;
    return RENKEI_CHARSET_UNKNOWN;
}

/* What the bytes of a text column look like, against what they are declared to be. */
static enum error_code check_charset(const struct worker_preview *preview, uint32_t column,
                                     const json_t *declared, json_t *rows, struct error *err) {
    const char *name = cli_json_text(declared, "charset");
    struct evidence *evidence = NULL;
    char object[FINDING_BYTES];
    char finding[FINDING_BYTES];
    TRY(evidence_new(charset_named(name), &evidence, err));
    for (size_t r = 0; r < preview->row_count; r++) {
        const struct renkei_value *cell = &preview->rows[r].cells[column];
        if (cell->data != NULL)
            evidence_add(evidence, bytes_of(cell->data, cell->len));
    }
    struct evidence_finding f = evidence_judge(evidence);
    evidence_free(evidence);
    snprintf(object, sizeof object, "%s.%s", preview->plan->table,
             cli_json_text(declared, "name"));
    if (f.looks_like != RENKEI_CHARSET_UNKNOWN) {
        snprintf(finding, sizeof finding,
                 "declared %s, and looks like %s: of %llu sampled values that are not ASCII, all "
                 "are valid %s, and %llu are not valid %s",
                 name, charset_name(f.looks_like), (unsigned long long)f.values,
                 charset_name(f.looks_like), (unsigned long long)f.invalid, name);
        add_finding(rows, "warning", object, finding);
    } else if (f.invalid > 0) {
        snprintf(finding, sizeof finding,
                 "%llu of %llu sampled values that are not ASCII are not valid %s",
                 (unsigned long long)f.invalid, (unsigned long long)f.values, name);
        add_finding(rows, "warning", object, finding);
    }
    return ERROR_NONE;
}

static void check_quarantine(const struct worker_preview *preview, json_t *rows) {
    const struct normalized_reason *first = NULL;
    size_t bad = 0;
    char finding[FINDING_BYTES];
    for (size_t r = 0; r < preview->row_count; r++) {
        const struct worker_preview_row *row = &preview->rows[r];
        bad += row->quarantined;
        if (row->quarantined && first == NULL && row->reason_count > 0)
            first = &row->reasons[0];
    }
    if (bad == 0)
        return;
    snprintf(finding, sizeof finding, "%zu of %zu sampled rows would go to quarantine%s%s%s%s",
             bad, preview->row_count, first != NULL ? ", the first for " : "",
             first != NULL ? reason_name(first->reason) : "", first != NULL ? " in " : "",
             first != NULL ? preview->plan->columns[first->column] : "");
    add_finding(rows, "warning", preview->plan->table, finding);
}

static enum error_code check_rows(struct worker *worker, const struct mapping_table *mapped,
                                  json_t *rows, struct error *err) {
    SCOPED_RESULT const struct worker_preview *preview = NULL;
    TRY(worker_preview(worker, mapped->table, SAMPLE_ROWS, &preview, err));
    struct bytes text = preview->plan->mapping_description;
    SCOPED_JSON json_t *described = json_loadb((const char *)text.data, text.len, 0, NULL);
    const json_t *columns = json_object_get(described, "columns");
    if (json_array_size(columns) != preview->plan->column_count)
        return error_set(err, ERROR_PROTOCOL, "table %s: the worker described %zu of %u columns",
                         mapped->table, json_array_size(columns), preview->plan->column_count);
    for (uint32_t c = 0; c < preview->plan->column_count; c++)
        TRY(check_charset(preview, c, json_array_get(columns, c), rows, err));
    check_quarantine(preview, rows);
    return ERROR_NONE;
}

static enum error_code check_table(const struct cli_call *call, struct worker *worker,
                                   const struct mapping_table *mapped, json_t *rows,
                                   struct error *err) {
    SCOPED_RESULT const struct worker_plan *plan = NULL;
    SCOPED_RESULT const struct worker_table *table = NULL;
    TRY(worker_plan(worker, mapped->table, &plan, err));
    char finding[512];
    char rows_text[48] = "";
    if (plan->rows_estimate >= 0)
        snprintf(rows_text, sizeof rows_text, ", about %lld rows",
                 (long long)plan->rows_estimate);
    snprintf(finding, sizeof finding, "%zu fields from %u columns%s", plan->field_count,
             plan->column_count, rows_text);
    add_finding(rows, "ok", mapped->table, finding);
    if (plan->transactional == 0) {
        snprintf(finding, sizeof finding,
                 "engine %s has no snapshots: it is read in short key ranges", plan->engine);
        add_finding(rows, "warning", mapped->table, finding);
    }
    TRY(worker_columns(worker, mapped->schema, mapped->table, &table, err));
    check_indexes(table, mapped, rows);
    return cli_flag(call, "no-rows") ? ERROR_NONE : check_rows(worker, mapped, rows, err);
}

/* Every table is looked at, so that one run shows all that is wrong; the first error is the
 * command's. */
static enum error_code check_mapping(const struct cli_call *call, const char *path, json_t *rows,
                                     struct error *err) {
    SCOPED_MAPPING struct mapping *mapping = NULL;
    SCOPED_WORKER struct worker *worker = NULL;
    TRY(mapping_load(path, &mapping, err));
    TRY(cli_source_worker(path, mapping->source, &worker, err));
    TRY(check_source(worker, path, rows, err));
    enum error_code code = ERROR_NONE;
    for (size_t t = 0; t < mapping->table_count; t++) {
        struct error wrong = {0};
        if (check_table(call, worker, &mapping->tables[t], rows, &wrong) == ERROR_NONE)
            continue;
        add_finding(rows, "error", mapping->tables[t].table, wrong.message);
        if (code == ERROR_NONE && err != NULL)
            *err = wrong;
        code = code == ERROR_NONE ? wrong.code : code;
    }
    return code;
}

static enum error_code run_check(const struct cli_call *call, struct error *err) {
    SCOPED_JSON json_t *rows = json_array();
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < call->argument_count; i++) {
        struct error wrong = {0};
        if (check_mapping(call, call->arguments[i], rows, &wrong) == ERROR_NONE)
            continue;
        if (code == ERROR_NONE && err != NULL)
            *err = wrong;
        code = code == ERROR_NONE ? wrong.code : code;
    }
    static const struct output_column columns[] = {{"level", "level", false},
                                                   {"object", "object", false},
                                                   {"finding", "finding", false},
                                                   {NULL, NULL, false}};
    if (json_array_size(rows) > 0)
        output_table(call, columns, rows);
    return code;
}

static const struct cli_option check_options[] = {
    {"no-rows", NULL, "read no row: then nothing is said of charsets", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_check = {
    "check", "Connect a database", "MAPPING...", 1, CLI_ARGUMENTS_MAX,
    "compare a mapping with its database: rights, indexes, charsets", "renkei check main.yaml",
    check_options, run_check};

