#include "tests/unit/sync/fakes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct fake_database fake_database;

struct worker {
    bool cancelled;
};

static const char *const columns[] = {"id", "patient", "text"};
static const struct normalizer_field fields[] = {{"patient", true}, {"text", false}};
static const enum value_type types[] = {VALUE_STRING, VALUE_STRING};

void fake_database_reset(void) {
    memset(&fake_database, 0, sizeof fake_database);
    fake_database.batch_rows = 1000;
    fake_database.mapping = 1;
}

struct fake_row *fake_find(const char *key) {
    for (size_t i = 0; i < fake_database.count; i++)
        if (strcmp(fake_database.rows[i].key, key) == 0)
            return &fake_database.rows[i];
    return NULL;
}

struct fake_row *fake_put(const char *key, const char *patient, const char *text) {
    struct fake_row *row = &fake_database.rows[fake_database.count++];
    memset(row, 0, sizeof *row);
    snprintf(row->key, sizeof row->key, "%s", key);
    snprintf(row->patient, sizeof row->patient, "%s", patient);
    snprintf(row->text, sizeof row->text, "%s", text);
    return row;
}

void fake_remove(const char *key) {
    struct fake_row *row = fake_find(key);
    *row = fake_database.rows[--fake_database.count];
}

/* What tells one mapping from another, and no more. */
static char descriptions[256][64];

static struct worker_plan plan(void) {
    char *description = descriptions[fake_database.mapping];
    snprintf(description, sizeof descriptions[0], "{\"category\":\"EMR0%d\",\"m\":%d}",
             fake_database.mapping, fake_database.mapping);
    struct worker_plan p = {.table = "visits",
                            .mapping_description = bytes_text(description),
                            .columns = columns,
                            .column_count = 3,
                            .fields = fields,
                            .field_count = 2,
                            .transactional = 1,
                            .engine = "InnoDB",
                            .snapshot = "snapshot-1",
                            .rows_estimate = (int64_t)fake_database.count};
    if (fake_database.mapping > 1 && fake_database.columns_read > 0)
        p.column_count = fake_database.columns_read;
    memset(p.mapping_digest.byte, fake_database.mapping, HASH_BYTES);
    return p;
}

static void write_texts(const struct fake_row *row, char *document, size_t document_room,
                        char *raw, size_t raw_room) {
    snprintf(document, document_room, "{\"m\":%d,\"p\":\"%s\",\"t\":\"%s\"}", fake_database.mapping,
             row->patient, row->text);
    snprintf(raw, raw_room, "%d|%s|%s|%s|%s", fake_database.mapping, row->key, row->patient,
             row->text, row->shadow);
}

static void digests(struct sha256 *h, const struct fake_row *row, const uint8_t *r,
                    struct hash *ret_content, struct hash *ret_raw) {
    char document[160];
    char raw[160];
    write_texts(row, document, sizeof document, raw, sizeof raw);
    *ret_content = digest_content(h, r, bytes_text(document));
    *ret_raw = digest_raw(h, r, bytes_text(raw));
}

enum error_code worker_new(const struct worker_config *config, struct worker **ret_worker,
                           struct error *err) {
    (void)config;
    (void)err;
    *ret_worker = calloc(1, sizeof **ret_worker);
    return ERROR_NONE;
}

void worker_free(struct worker *w) {
    free(w);
}

void worker_cancel(struct worker *w) {
    (void)w;
}

static const struct normalized_reason invalid = {.column = 2, .reason = REASON_INVALID_BYTES,
                                                 .code = 0x8320, .count = 1};

static uint8_t mapping_of(struct bytes description) {
    const char *m = memmem(description.data, description.len, "\"m\":", 4);
    return m == NULL ? 0 : (uint8_t)strtoul(m + 4, NULL, 10);
}

/* As the earlier mapping read it, is it what was anchored? */
static bool is_same_under(struct sha256 *h, const struct worker_pull_calls *calls,
                          const struct fake_row *row, const struct worker_salt *salt) {
    uint8_t now = fake_database.mapping;
    struct hash content, raw;
    if (salt->earlier == 0 || salt->earlier > calls->earlier_count ||
        fake_database.forgets_mappings)
        return false;
    fake_database.mapping = mapping_of(calls->earlier[salt->earlier - 1]);
    digests(h, row, salt->stored, &content, &raw);
    fake_database.mapping = now;
    return hash_equal(&raw, &salt->raw);
}

static void fill_row(struct sha256 *h, const struct worker_pull_calls *calls,
                     const struct fake_row *from, const struct worker_salt *salt,
                     struct worker_row *to) {
    *to = (struct worker_row){.key = bytes_text(from->key),
                              .patient = bytes_text(from->patient),
                              .date = BYTES_LITERAL("2011/03/24")};
    if (from->unreadable) {
        to->change = WORKER_QUARANTINED;
        to->reasons = &invalid;
        to->reason_count = 1;
        return;
    }
    digests(h, from, salt->known ? salt->stored : salt->fresh, &to->content, &to->raw);
    to->change = WORKER_NEW;
    if (!salt->known)
        return;
    to->content_changed = !hash_equal(&to->content, &salt->content);
    to->raw_changed = !hash_equal(&to->raw, &salt->raw);
    to->change = to->content_changed || to->raw_changed ? WORKER_CHANGED : WORKER_SAME;
    if (to->change == WORKER_SAME)
        return;
    to->same_bytes = is_same_under(h, calls, from, salt);
    digests(h, from, salt->fresh, &to->content, &to->raw);
}

static enum error_code give_batch(const struct worker_pull_calls *calls,
                                  const struct fake_row *const *rows, size_t count,
                                  struct error *err) {
    static struct bytes keys[WORKER_BATCH_ROWS_MAX];
    static struct worker_salt salts[WORKER_BATCH_ROWS_MAX];
    static struct worker_row out[WORKER_BATCH_ROWS_MAX];
    for (size_t i = 0; i < count; i++)
        keys[i] = bytes_text(rows[i]->key);
    TRY(calls->salts(calls->context, keys, count, salts, err));
    struct sha256 *h = sha256_new();
    for (size_t i = 0; i < count; i++)
        fill_row(h, calls, rows[i], &salts[i], &out[i]);
    sha256_free(h);
    return calls->rows(calls->context, out, count, err);
}

enum error_code worker_pull(struct worker *w, const char *table, enum worker_mode mode,
                            const char *from, const struct worker_pull_calls *calls,
                            struct worker_totals *ret_totals, struct error *err) {
    (void)w;
    (void)table;
    (void)mode;
    (void)from;
    if (fake_database.down)
        return error_set(err, ERROR_SOURCE_UNREACHABLE, "main: the database is down");
    struct worker_plan p = plan();
    TRY(calls->start(calls->context, &p, err));
    const struct fake_row *rows[WORKER_BATCH_ROWS_MAX];
    size_t filled = 0;
    size_t given = 0;
    for (size_t i = 0; i < fake_database.count; i++) {
        if (fake_database.rows[i].hidden_from_pull)
            continue;
        if (fake_database.lose_after != 0 && given + filled == fake_database.lose_after)
            return error_set(err, ERROR_SOURCE_LOST, "main: the connection was lost");
        rows[filled++] = &fake_database.rows[i];
        if (filled < fake_database.batch_rows)
            continue;
        TRY(give_batch(calls, rows, filled, err));
        given += filled;
        filled = 0;
    }
    if (filled > 0)
        TRY(give_batch(calls, rows, filled, err));
    *ret_totals = (struct worker_totals){.rows = given + filled};
    if (calls->characters == NULL || fake_database.wave_dashes == 0)
        return ERROR_NONE;
    struct character_count counted = {.column = 2, .kind = CHARACTER_WAVE_DASH, .code = 0x8160,
                                      .count = fake_database.wave_dashes, .sample_key = "0"};
    return calls->characters(calls->context, &counted, 1, 1, err);
}

enum error_code worker_pull_keys(struct worker *w, const char *table, const struct bytes *keys,
                                 size_t key_count, const struct worker_pull_calls *calls,
                                 struct worker_totals *ret_totals, struct error *err) {
    (void)w;
    (void)table;
    (void)ret_totals;
    if (fake_database.down)
        return error_set(err, ERROR_SOURCE_UNREACHABLE, "main: the database is down");
    struct worker_plan p = plan();
    TRY(calls->start(calls->context, &p, err));
    const struct fake_row *rows[WORKER_BATCH_ROWS_MAX];
    size_t filled = 0;
    for (size_t i = 0; i < key_count; i++) {
        char key[512];
        snprintf(key, sizeof key, "%.*s", (int)keys[i].len, (const char *)keys[i].data);
        const struct fake_row *row = fake_find(key);
        if (row != NULL)
            rows[filled++] = row;
    }
    return filled == 0 ? ERROR_NONE : give_batch(calls, rows, filled, err);
}

/* One block: the answer, its plan, rows, and their texts. */
struct answer {
    struct worker_fetched fetched;
    struct worker_plan plan;
    struct worker_fetched_row *rows;
    char (*texts)[2][160];
};

static struct answer *answer_new(size_t count) {
    struct answer *a = calloc(1, sizeof *a);
    a->rows = calloc(count + 1, sizeof *a->rows);
    a->texts = calloc(count + 1, sizeof *a->texts);
    a->plan = plan();
    a->fetched = (struct worker_fetched){.plan = &a->plan, .rows = a->rows};
    return a;
}

static void answer_row(struct answer *a, const struct fake_row *row) {
    size_t i = a->fetched.row_count++;
    struct worker_fetched_row *to = &a->rows[i];
    if (row == NULL)
        return;
    to->found = true;
    to->key = bytes_text(row->key);
    to->patient = bytes_text(row->patient);
    to->quarantined = row->unreadable;
    to->reasons = row->unreadable ? &invalid : NULL;
    to->reason_count = row->unreadable;
    if (row->unreadable)
        return;
    write_texts(row, a->texts[i][0], 160, a->texts[i][1], 160);
    to->document = bytes_text(a->texts[i][0]);
    to->raw = bytes_text(a->texts[i][1]);
    to->date = BYTES_LITERAL("2011/03/24");
    to->types = types;
}

void worker_result_free(const void *result) {
    struct answer *a = (struct answer *)(uintptr_t)result;
    if (a == NULL)
        return;
    free(a->rows);
    free(a->texts);
    free(a);
}

enum error_code worker_fetch(struct worker *w, const char *table,
                             const struct worker_fetch_key *keys, size_t count,
                             const struct worker_fetched **ret_fetched, struct error *err) {
    (void)w;
    (void)table;
    if (fake_database.down)
        return error_set(err, ERROR_SOURCE_UNREACHABLE, "main: the database is down");
    struct answer *a = answer_new(count);
    for (size_t i = 0; i < count; i++) {
        char key[512];
        snprintf(key, sizeof key, "%.*s", (int)keys[i].key.len, (const char *)keys[i].key.data);
        answer_row(a, fake_find(key));
    }
    *ret_fetched = &a->fetched;
    return ERROR_NONE;
}

enum error_code worker_fetch_under(struct worker *w, const char *table, struct bytes description,
                                   const struct worker_fetch_key *keys, size_t count,
                                   const struct worker_fetched **ret_fetched, struct error *err) {
    uint8_t now = fake_database.mapping;
    if (mapping_of(description) == 0 || fake_database.forgets_mappings)
        return error_set(err, ERROR_MAPPING, "main: it cannot be read so any more");
    fake_database.mapping = mapping_of(description);
    enum error_code code = worker_fetch(w, table, keys, count, ret_fetched, err);
    fake_database.mapping = now;
    return code;
}

enum error_code worker_fetch_patient(struct worker *w, const char *table, const char *patient,
                                     uint32_t rows_max, const struct worker_fetched **ret_fetched,
                                     struct error *err) {
    (void)w;
    (void)table;
    (void)rows_max;
    if (fake_database.down)
        return error_set(err, ERROR_SOURCE_UNREACHABLE, "main: the database is down");
    struct answer *a = answer_new(fake_database.count);
    for (size_t i = 0; i < fake_database.count; i++)
        if (strcasecmp(fake_database.rows[i].patient, patient) == 0) /* as a collation does */
            answer_row(a, &fake_database.rows[i]);
    *ret_fetched = &a->fetched;
    return ERROR_NONE;
}
