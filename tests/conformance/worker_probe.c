/*
 * Drives a worker through the gateway's door, worker.h, from a script of commands on standard
 * input; answers are JSON objects, one a line. It plays the vault: it keeps each row's r and
 * digests in memory, so that a second pull finds what changed.
 *
 *   worker-probe PROGRAM PLUGINS MAPPING HOSPITAL SOURCE [call_ms [memory_bytes [rows_a_second
 *                [cpu_seconds [latency_factor [WINDOWS]]]]]]
 *
 *   describe | columns TABLE | plan TABLE | preview TABLE N | pull TABLE full|keys|watermark [FROM]
 *   fetch TABLE KEY... | patient TABLE ID N | forget | process
 *   cancel-after ROWS | fail-after ROWS | kill-after ROWS | pause-after ROWS
 *
 * Tables and keys are written as they are: tests use no blanks in them. The four *-after commands
 * are for the next pull.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/random.h"
#include "base/text.h"
#include "gateway/worker/worker.h"

enum { LINE_BYTES_MAX = 1 << 20, WORDS_MAX = 1100, VAULT_ROWS_MAX = 1 << 20 };

struct vault_row {
    char *key;
    uint8_t r[WORKER_SALT_BYTES];
    struct hash content, raw;
};

static struct {
    struct vault_row *rows; /* a hash table by key, open addressing */
    struct worker *worker;
    uint64_t rows_seen, cancel_after, fail_after, kill_after, pause_after;
    uint8_t (*fresh)[WORKER_SALT_BYTES]; /* of the batch whose salts were given last */
    struct worker_totals totals;
} probe;

static char line[LINE_BYTES_MAX];

static void put(json_t *object) {
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    puts(text == NULL ? "{\"broken\":true}" : text);
    fflush(stdout);
    free(text);
    json_decref(object);
}

static json_t *hex(const void *data, size_t len) {
    char *text = calloc(1, 2 * len + 1);
    if (text == NULL)
        abort();
    text_hex(data, len, text);
    json_t *value = json_string(text);
    free(text);
    return value;
}

static json_t *text_of(struct bytes bytes) {
    json_t *value = json_stringn((const char *)bytes.data, bytes.len);
    return value == NULL ? hex(bytes.data, bytes.len) : value;
}

static json_t *reasons_of(const struct normalized_reason *reasons, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:i,s:s,s:i,s:i}", "column", reasons[i].column,
                                              "reason", reason_name(reasons[i].reason), "code",
                                              reasons[i].code, "count", reasons[i].count));
    return list;
}

static void put_error(const struct error *err) {
    put(json_pack("{s:s,s:s,s:s}", "error", error_info(err->code)->name, "message", err->message,
                  "hint", error_hint_text(err)));
}

static json_t *plan_of(const struct worker_plan *plan) {
    json_t *columns = json_array(), *fields = json_array();
    for (uint32_t i = 0; i < plan->column_count; i++)
        json_array_append_new(columns, json_string(plan->columns[i]));
    for (size_t i = 0; i < plan->field_count; i++)
        json_array_append_new(fields, json_pack("{s:s,s:b}", "name", plan->fields[i].name,
                                                "personal", plan->fields[i].personal));
    return json_pack("{s:s,s:o,s:o,s:o,s:i,s:s,s:s}", "table", plan->table, "mapping_digest",
                     hex(plan->mapping_digest.byte, HASH_BYTES), "columns", columns, "fields",
                     fields, "transactional", plan->transactional, "engine", plan->engine,
                     "snapshot", plan->snapshot);
}

/* --- the vault --- */

static struct vault_row *vault_find(struct bytes key) {
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 1099511628211u;
    for (size_t i = h % VAULT_ROWS_MAX;; i = (i + 1) % VAULT_ROWS_MAX) {
        struct vault_row *row = &probe.rows[i];
        if (row->key == NULL ||
            (strlen(row->key) == key.len && memcmp(row->key, key.data, key.len) == 0))
            return row;
    }
}

static void vault_clear(void) {
    for (size_t i = 0; i < VAULT_ROWS_MAX; i++)
        free(probe.rows[i].key);
    memset(probe.rows, 0, VAULT_ROWS_MAX * sizeof *probe.rows);
}

static enum error_code on_start(void *context, const struct worker_plan *plan, struct error *err) {
    (void)context;
    (void)err;
    json_t *answer = plan_of(plan);
    json_object_set_new(answer, "start", json_true());
    put(answer);
    return ERROR_NONE;
}

static enum error_code on_salts(void *context, const struct bytes *keys, size_t count,
                                struct worker_salt *ret_salts, struct error *err) {
    (void)context;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct vault_row *row = vault_find(keys[i]);
        random_bytes(ret_salts[i].fresh, WORKER_SALT_BYTES);
        memcpy(probe.fresh[i], ret_salts[i].fresh, WORKER_SALT_BYTES);
        ret_salts[i].known = row->key != NULL;
        if (row->key == NULL)
            continue;
        memcpy(ret_salts[i].stored, row->r, WORKER_SALT_BYTES);
        ret_salts[i].content = row->content;
        ret_salts[i].raw = row->raw;
    }
    return ERROR_NONE;
}

static void *cancel_from_beside(void *context) {
    (void)context;
    worker_cancel(probe.worker);
    return NULL;
}

static void cancel(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancel_from_beside, NULL) == 0)
        pthread_join(thread, NULL);
}

static bool passed(uint64_t after, size_t count) {
    return after > 0 && probe.rows_seen < after && probe.rows_seen + count >= after;
}

static void put_row(const struct worker_row *row, const uint8_t *fresh) {
    static const char *const names[] = {"", "new", "same", "changed", "quarantined", "key"};
    put(json_pack("{s:s,s:o,s:o,s:o,s:o,s:b,s:b,s:o,s:o,s:o,s:o}", "row", names[row->change],
                  "key",
                  text_of(row->key), "address", text_of(row->address), "patient",
                  text_of(row->patient), "date", text_of(row->date), "content_changed",
                  row->content_changed, "raw_changed", row->raw_changed, "content",
                  hex(row->content.byte, HASH_BYTES), "raw", hex(row->raw.byte, HASH_BYTES),
                  "r", hex(fresh, WORKER_SALT_BYTES), "reasons",
                  reasons_of(row->reasons, row->reason_count)));
}

static enum error_code on_rows(void *context, const struct worker_row *rows, size_t count,
                               struct error *err) {
    bool quiet = *(const bool *)context;
    for (size_t i = 0; i < count; i++) {
        const struct worker_row *row = &rows[i];
        if (!quiet)
            put_row(row, probe.fresh[i]);
        if (row->change != WORKER_NEW && row->change != WORKER_CHANGED)
            continue;
        struct vault_row *kept = vault_find(row->key);
        if (kept->key == NULL)
            kept->key = strndup((const char *)row->key.data, row->key.len);
        memcpy(kept->r, probe.fresh[i], WORKER_SALT_BYTES);
        kept->content = row->content;
        kept->raw = row->raw;
    }
    if (passed(probe.cancel_after, count))
        cancel();
    if (passed(probe.kill_after, count))
        kill((pid_t)worker_process(probe.worker), SIGKILL);
    if (passed(probe.pause_after, count)) {
        char answer[16];
        puts("{\"paused\":true}");
        fflush(stdout);
        if (fgets(answer, sizeof answer, stdin) == NULL)
            exit(2);
    }
    bool fail = passed(probe.fail_after, count);
    probe.rows_seen += count;
    return fail ? error_set(err, ERROR_IO, "the vault says no") : ERROR_NONE;
}

static void on_load(void *context, const struct worker_totals *t, enum worker_pause pause,
                    uint64_t until_ms) {
    static const char *const names[] = {"reading", "slowed", "closed"};
    (void)context;
    put(json_pack("{s:s,s:I,s:I}", "load", names[pause], "read", (json_int_t)t->rows, "until",
                  (json_int_t)until_ms));
}

/* --- commands --- */

static enum error_code describe(struct error *err) {
    const struct worker_description *d;
    TRY(worker_describe(probe.worker, &d, err));
    json_t *tables = json_array(), *rights = json_array();
    for (size_t i = 0; i < d->table_count; i++)
        json_array_append_new(tables, json_string(d->tables[i].table.name));
    for (size_t i = 0; i < d->right_count; i++)
        json_array_append_new(rights, json_pack("[s,i]", d->rights[i].text, d->rights[i].write));
    put(json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o}", "note", d->server.note, "connector", d->connector, "product",
                  d->server.product, "settings", d->server.settings, "charset", d->server.charset,
                  "tables", tables, "rights", rights));
    worker_result_free(d);
    return ERROR_NONE;
}

static enum error_code columns(const char *table, struct error *err) {
    const struct worker_table *t;
    TRY(worker_columns(probe.worker, NULL, table, &t, err));
    json_t *list = json_array();
    for (uint32_t i = 0; i < t->column_count; i++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "name", t->columns[i].name, "type",
                                              t->columns[i].declared_type, "charset",
                                              t->columns[i].charset_name));
    put(json_pack("{s:s,s:o,s:s}", "table", t->table.name, "columns", list, "engine",
                  t->table.engine));
    worker_result_free(t);
    return ERROR_NONE;
}

static enum error_code plan(const char *table, struct error *err) {
    const struct worker_plan *p;
    TRY(worker_plan(probe.worker, table, &p, err));
    put(plan_of(p));
    worker_result_free(p);
    return ERROR_NONE;
}

static enum error_code preview(const char *table, uint32_t rows, struct error *err) {
    const struct worker_preview *p;
    TRY(worker_preview(probe.worker, table, rows, &p, err));
    for (size_t i = 0; i < p->row_count; i++) {
        const struct worker_preview_row *row = &p->rows[i];
        json_t *cells = json_array();
        for (uint32_t k = 0; k < p->plan->column_count; k++)
            json_array_append_new(cells, row->cells[k].data == NULL
                                             ? json_null()
                                             : hex(row->cells[k].data, row->cells[k].len));
        put(json_pack("{s:o,s:o,s:o,s:b,s:o}", "cells", cells, "key", text_of(row->key),
                      "document", text_of(row->document), "quarantined", row->quarantined,
                      "reasons", reasons_of(row->reasons, row->reason_count)));
    }
    put(json_pack("{s:I}", "previewed", (json_int_t)p->row_count));
    worker_result_free(p);
    return ERROR_NONE;
}

static void put_fetched(const struct worker_fetched *f) {
    for (size_t i = 0; i < f->row_count; i++) {
        const struct worker_fetched_row *row = &f->rows[i];
        struct vault_row *kept = vault_find(row->key);
        json_t *types = json_array();
        for (size_t k = 0; row->types != NULL && k < f->plan->field_count; k++)
            json_array_append_new(types, json_string(value_type_name(row->types[k])));
        bool match = kept->key != NULL && hash_equal(&kept->content, &row->content) &&
                     hash_equal(&kept->raw, &row->raw_digest);
        put(json_pack("{s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:o}", "found", row->found,
                      "quarantined", row->quarantined, "key", text_of(row->key), "address",
                      text_of(row->address), "document", text_of(row->document), "raw",
                      hex(row->raw.data, row->raw.len), "date", text_of(row->date), "types", types,
                      "match", match, "content", hex(row->content.byte, HASH_BYTES), "r",
                      hex(kept->r, WORKER_SALT_BYTES)));
    }
    put(json_pack("{s:I}", "fetched", (json_int_t)f->row_count));
    worker_result_free(f);
}

static enum error_code fetch(char **words, size_t count, struct error *err) {
    static struct worker_fetch_key keys[WORDS_MAX];
    const struct worker_fetched *f;
    for (size_t i = 0; i < count; i++) {
        keys[i].key = bytes_text(words[i + 1]);
        struct vault_row *row = vault_find(keys[i].key);
        keys[i].r = row->key == NULL ? NULL : row->r;
    }
    TRY(worker_fetch(probe.worker, words[0], keys, count, &f, err));
    put_fetched(f);
    return ERROR_NONE;
}

static enum error_code patient(const char *table, const char *id, uint32_t rows,
                               struct error *err) {
    const struct worker_fetched *f;
    TRY(worker_fetch_patient(probe.worker, table, id, rows, &f, err));
    put_fetched(f);
    return ERROR_NONE;
}

static enum error_code pull(const char *table, const char *mode, const char *from, bool quiet,
                            struct error *err) {
    enum worker_mode m = strcmp(mode, "keys") == 0        ? WORKER_KEYS
                         : strcmp(mode, "watermark") == 0 ? WORKER_WATERMARK
                                                          : WORKER_FULL;
    struct worker_pull_calls calls = {
        .context = &quiet, .start = on_start, .salts = on_salts, .rows = on_rows, .load = on_load};
    struct worker_totals t;
    probe.rows_seen = 0;
    enum error_code code =
        worker_pull(probe.worker, table, m, from == NULL ? "" : from, &calls, &t, err);
    probe.cancel_after = probe.fail_after = probe.kill_after = probe.pause_after = 0;
    if (code != ERROR_NONE)
        return code;
    put(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s}", "queries",
                  (json_int_t)t.queries, "slowed_us", (json_int_t)t.slowed_us, "closed_us",
                  (json_int_t)t.closed_us, "latency_us", (json_int_t)t.latency_us,
                  "latency_base_us", (json_int_t)t.latency_base_us, "rows", (json_int_t)t.rows, "new",
                  (json_int_t)t.rows_new, "same", (json_int_t)t.rows_same, "changed",
                  (json_int_t)t.rows_changed, "quarantined", (json_int_t)t.rows_quarantined,
                  "source_us", (json_int_t)t.source_us, "normalize_us",
                  (json_int_t)(t.normalize_us + t.digest_us), "wait_us", (json_int_t)t.wait_us, "paused_us",
                  (json_int_t)t.paused_us, "watermark", t.watermark));
    return ERROR_NONE;
}

static uint64_t number(const char *word) {
    return word == NULL ? 0 : strtoull(word, NULL, 10);
}

static enum error_code act(char **word, size_t count, struct error *err) {
    const char *name = word[0];
    if (strcmp(name, "describe") == 0)
        return describe(err);
    if (strcmp(name, "columns") == 0)
        return columns(word[1], err);
    if (strcmp(name, "plan") == 0)
        return plan(word[1], err);
    if (strcmp(name, "preview") == 0)
        return preview(word[1], (uint32_t)number(word[2]), err);
    if (strcmp(name, "pull") == 0 || strcmp(name, "pull-quietly") == 0)
        return pull(word[1], word[2], word[3], strcmp(name, "pull") != 0, err);
    if (strcmp(name, "fetch") == 0)
        return fetch(word + 1, count - 2, err);
    if (strcmp(name, "patient") == 0)
        return patient(word[1], word[2], (uint32_t)number(word[3]), err);
    if (strcmp(name, "forget") == 0)
        vault_clear();
    else if (strcmp(name, "process") == 0)
        put(json_pack("{s:I}", "process", (json_int_t)worker_process(probe.worker)));
    else if (strcmp(name, "cancel-after") == 0)
        probe.cancel_after = number(word[1]);
    else if (strcmp(name, "fail-after") == 0)
        probe.fail_after = number(word[1]);
    else if (strcmp(name, "kill-after") == 0)
        probe.kill_after = number(word[1]);
    else if (strcmp(name, "pause-after") == 0)
        probe.pause_after = number(word[1]);
    else
        return error_set(err, ERROR_USAGE, "unknown command");
    return ERROR_NONE;
}

int main(int argc, char **argv) {
    struct error err;
    if (argc < 6)
        return 2;
    struct worker_config config = {
        .program = argv[1],
        .plugin_folder = argv[2],
        .mapping_path = argv[3],
        .hospital = argv[4],
        .source = argv[5],
        .call_ms_max = argc > 6 ? (uint32_t)number(argv[6]) : 0,
        .memory_bytes_max = argc > 7 ? number(argv[7]) : 0,
        .rows_per_second_max = argc > 8 ? (uint32_t)number(argv[8]) : 0,
        .cpu_seconds_max = argc > 9 ? (uint32_t)number(argv[9]) : 0,
        .latency_factor_max = argc > 10 ? (uint32_t)number(argv[10]) : 0,
        .windows = argc > 11 && argv[11][0] != '\0' ? argv[11] : NULL,
    };
    probe.rows = calloc(VAULT_ROWS_MAX, sizeof *probe.rows);
    probe.fresh = calloc(WORKER_BATCH_ROWS_MAX, WORKER_SALT_BYTES);
    if (probe.rows == NULL || probe.fresh == NULL)
        return 2;
    if (worker_new(&config, &probe.worker, &err) != ERROR_NONE) {
        put_error(&err);
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        static char *word[WORDS_MAX + 1];
        char *rest = NULL;
        size_t count = 0;
        for (char *at = strtok_r(line, " \n", &rest); at != NULL && count < WORDS_MAX;
             at = strtok_r(NULL, " \n", &rest))
            word[count++] = at;
        word[count] = NULL;
        if (count > 0 && act(word, count, &err) != ERROR_NONE)
            put_error(&err);
    }
    worker_free(probe.worker);
    vault_clear();
    free(probe.rows);
    free(probe.fresh);
    return 0;
}
