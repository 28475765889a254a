#include "gateway/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/worker/answer.h"
#include "gateway/worker/process.h"
#include "gateway/worker/window.h"

struct worker {
    struct process process;
    struct arena *texts;
    struct normalized_reason *reasons; /* of one batch of a pull */
};

enum { CONFIG_BYTES_MAX = 1 << 16, TABLES_MAX = 1 << 20, RIGHTS_MAX = 4096 };

/* --- life --- */

static enum error_code copy_config(struct worker *w, const struct worker_config *config,
                                   struct error *err) {
    struct worker_config *c = &w->process.config;
    *c = *config;
    c->program = arena_text(w->texts, config->program);
    c->plugin_folder = arena_text(w->texts, config->plugin_folder);
    c->mapping_path = arena_text(w->texts, config->mapping_path);
    c->hospital = arena_text(w->texts, config->hospital);
    c->source = arena_text(w->texts, config->source);
    if (c->program == NULL || c->plugin_folder == NULL || c->mapping_path == NULL ||
        c->hospital == NULL || c->source == NULL)
        return error_set(err, ERROR_NO_MEMORY, "worker: no memory");
    c->windows = config->windows == NULL ? NULL : arena_text(w->texts, config->windows);
    c->time_zone = config->time_zone == NULL ? NULL : arena_text(w->texts, config->time_zone);
    if (c->windows != NULL) {
        struct windows *windows = NULL;
        TRY(windows_parse(c->windows, c->time_zone, &windows, err));
        windows_free(windows);
    }
    if (c->memory_bytes_max == 0)
        c->memory_bytes_max = WORKER_MEMORY_BYTES_DEFAULT;
    if (c->cpu_seconds_max == 0)
        c->cpu_seconds_max = WORKER_CPU_S_DEFAULT;
    if (c->call_ms_max == 0)
        c->call_ms_max = WORKER_CALL_MS_DEFAULT;
    if (c->pull_idle_ms_max == 0)
        c->pull_idle_ms_max = WORKER_PULL_IDLE_MS_DEFAULT;
    if (access(c->program, X_OK) != 0)
        return error_set(err, ERROR_NOT_FOUND, "worker program %s: found no executable file",
                         c->program);
    if (access(c->plugin_folder, R_OK | X_OK) != 0)
        return error_set(err, ERROR_NOT_FOUND, "plugin folder %s: found no readable folder",
                         c->plugin_folder);
    return ERROR_NONE;
}

enum error_code worker_new(const struct worker_config *config, struct worker **ret_worker,
                           struct error *err) {
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(err, ERROR_NO_MEMORY, "worker: no memory");
    pthread_mutex_init(&w->process.call_mutex, NULL);
    pthread_mutex_init(&w->process.send_mutex, NULL);
    w->process.fd = -1;
    buffer_init(&w->process.out, FRAME_BYTES_MAX);
    buffer_init(&w->process.in[0], FRAME_BYTES_MAX);
    buffer_init(&w->process.in[1], FRAME_BYTES_MAX);
    w->texts = arena_new(CONFIG_BYTES_MAX);
    enum error_code code = w->texts == NULL
                               ? error_set(err, ERROR_NO_MEMORY, "worker: no memory")
                               : copy_config(w, config, err);
    if (code != ERROR_NONE) {
        worker_free(w);
        return code;
    }
    *ret_worker = w;
    return ERROR_NONE;
}

void worker_free(struct worker *w) {
    if (w == NULL)
        return;
    process_stop(&w->process);
    buffer_done(&w->process.out);
    buffer_done(&w->process.in[0]);
    buffer_done(&w->process.in[1]);
    pthread_mutex_destroy(&w->process.call_mutex);
    pthread_mutex_destroy(&w->process.send_mutex);
    arena_free(w->texts);
    free(w->reasons);
    free(w);
}

void worker_cancel(struct worker *w) {
    process_cancel(&w->process);
}

int64_t worker_process(struct worker *w) {
    pthread_mutex_lock(&w->process.send_mutex);
    int64_t pid = w->process.fd >= 0 ? w->process.pid : 0;
    pthread_mutex_unlock(&w->process.send_mutex);
    return pid;
}

/* --- calls --- */

static uint64_t call_deadline(const struct worker *w) {
    return clock_monotonic_ms() + w->process.config.call_ms_max;
}

static void set_in_call(struct worker *w, bool in_call) {
    pthread_mutex_lock(&w->process.send_mutex);
    w->process.in_call = in_call;
    pthread_mutex_unlock(&w->process.send_mutex);
}

/* Takes the worker, starts its process where none runs, and begins a request. */
static enum error_code call_begin(struct worker *w, enum frame_type type, struct error *err) {
    pthread_mutex_lock(&w->process.call_mutex);
    enum error_code code = process_start(&w->process, err);
    if (code != ERROR_NONE) {
        pthread_mutex_unlock(&w->process.call_mutex);
        return code;
    }
    set_in_call(w, true);
    frame_begin(&w->process.out, type);
    return ERROR_NONE;
}

static enum error_code call_end(struct worker *w, enum error_code code) {
    set_in_call(w, false);
    /* A worker that answers lives, also where its answer is the database's error. */
    if (w->process.pid > 0)
        w->process.deaths = 0;
    pthread_mutex_unlock(&w->process.call_mutex);
    return code;
}

typedef bool take_frame(void *context, struct arena *arena, struct frame *frame);

/* Sends the request and hands every frame up to END to `take`. */
static enum error_code exchange(struct worker *w, struct answer *answer, take_frame *take,
                                void *context, struct error *err) {
    struct process *p = &w->process;
    uint64_t deadline_ms = call_deadline(w);
    TRY(process_send(p, &p->out, deadline_ms, err));
    for (;;) {
        struct frame frame;
        TRY(process_receive(p, &p->in[0], deadline_ms, &frame, err));
        if (frame.type == FRAME_END)
            return ERROR_NONE;
        if (!take(context, answer->arena, &frame))
            return process_broken(p, "answer", err);
    }
}

/* An array that grows in an arena: the old one stays behind, which doubling keeps small. */
struct list {
    void *items;
    size_t count;
    size_t capacity;
};

static void *list_add(struct list *list, struct arena *arena, size_t size, size_t count_max) {
    if (list->count == count_max)
        return NULL;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        uint8_t *items = arena_alloc(arena, capacity * size);
        if (items == NULL)
            return NULL;
        if (list->count > 0)
            memcpy(items, list->items, list->count * size);
        list->items = items;
        list->capacity = capacity;
    }
    return (uint8_t *)list->items + list->count++ * size;
}

/* --- describe, columns, plan --- */

struct describing {
    struct worker_description *description;
    struct list tables;
    struct list rights;
};

static bool take_description(void *context, struct arena *arena, struct frame *frame) {
    struct describing *d = context;
    if (frame->type == FRAME_SERVER)
        return answer_server(arena, &frame->payload, d->description);
    if (frame->type == FRAME_TABLE) {
        struct worker_table *table =
            list_add(&d->tables, arena, sizeof(struct worker_table), TABLES_MAX);
        return table != NULL && answer_table(arena, &frame->payload, table);
    }
    if (frame->type == FRAME_RIGHT) {
        struct worker_right *right =
            list_add(&d->rights, arena, sizeof(struct worker_right), RIGHTS_MAX);
        return right != NULL && answer_right(arena, &frame->payload, right);
    }
    return false;
}

static enum error_code no_memory(struct worker *w, struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "source %s: no memory for the worker's answer",
                     w->process.config.source);
}

enum error_code worker_describe(struct worker *w, const struct worker_description **ret_description,
                                struct error *err) {
    struct answer answer;
    if (!answer_new(sizeof(struct worker_description), &answer))
        return no_memory(w, err);
    struct describing d = {.description = answer.result};
    enum error_code code = call_begin(w, FRAME_DESCRIBE, err);
    if (code == ERROR_NONE)
        code = call_end(w, exchange(w, &answer, take_description, &d, err));
    if (code != ERROR_NONE) {
        answer_free(&answer);
        return code;
    }
    d.description->tables = d.tables.items;
    d.description->table_count = d.tables.count;
    d.description->rights = d.rights.items;
    d.description->right_count = d.rights.count;
    *ret_description = d.description;
    return ERROR_NONE;
}

static bool take_table(void *context, struct arena *arena, struct frame *frame) {
    return frame->type == FRAME_TABLE && answer_table(arena, &frame->payload, context);
}

enum error_code worker_columns(struct worker *w, const char *schema, const char *table,
                               const struct worker_table **ret_table, struct error *err) {
    struct answer answer;
    if (!answer_new(sizeof(struct worker_table), &answer))
        return no_memory(w, err);
    enum error_code code = call_begin(w, FRAME_COLUMNS, err);
    if (code == ERROR_NONE) {
        frame_text(&w->process.out, schema);
        frame_text(&w->process.out, table);
        code = call_end(w, exchange(w, &answer, take_table, answer.result, err));
    }
    if (code == ERROR_NONE)
        *ret_table = answer.result;
    else
        answer_free(&answer);
    return code;
}

static bool take_plan(void *context, struct arena *arena, struct frame *frame) {
    return frame->type == FRAME_PLANNED && answer_plan(arena, &frame->payload, context);
}

enum error_code worker_plan(struct worker *w, const char *table,
                            const struct worker_plan **ret_plan, struct error *err) {
    struct answer answer;
    if (!answer_new(sizeof(struct worker_plan), &answer))
        return no_memory(w, err);
    enum error_code code = call_begin(w, FRAME_PLAN, err);
    if (code == ERROR_NONE) {
        frame_text(&w->process.out, table);
        code = call_end(w, exchange(w, &answer, take_plan, answer.result, err));
    }
    if (code == ERROR_NONE)
        *ret_plan = answer.result;
    else
        answer_free(&answer);
    return code;
}

/* --- preview and fetch: a plan, then rows --- */

struct rows_taken {
    struct worker_plan plan;
    struct list rows; /* of struct answer_row */
    size_t rows_max;
};

static bool take_rows(void *context, struct arena *arena, struct frame *frame) {
    struct rows_taken *t = context;
    if (frame->type == FRAME_PLANNED)
        return answer_plan(arena, &frame->payload, &t->plan);
    struct answer_row *row = NULL;
    if (frame->type == FRAME_ROW)
        row = list_add(&t->rows, arena, sizeof(struct answer_row), t->rows_max);
    return row != NULL && answer_row(arena, &frame->payload, row) &&
           (row->row.types == NULL || t->plan.field_count > 0);
}

enum error_code worker_preview(struct worker *w, const char *table, uint32_t rows_max,
                               const struct worker_preview **ret_preview, struct error *err) {
    if (rows_max == 0 || rows_max > WORKER_PREVIEW_ROWS_MAX)
        return error_set(err, ERROR_LIMIT, "preview of %u rows: expected 1 to %d", rows_max,
                         WORKER_PREVIEW_ROWS_MAX);
    struct answer answer;
    if (!answer_new(sizeof(struct worker_preview), &answer))
        return no_memory(w, err);
    struct worker_plan *plan = arena_alloc(answer.arena, sizeof *plan);
    struct rows_taken taken = {.rows_max = rows_max};
    enum error_code code = call_begin(w, FRAME_PREVIEW, err);
    if (code == ERROR_NONE) {
        frame_text(&w->process.out, table);
        wire_u32(&w->process.out, rows_max);
        code = call_end(w, exchange(w, &answer, take_rows, &taken, err));
    }
    struct worker_preview *preview = answer.result;
    struct worker_preview_row *rows =
        arena_alloc(answer.arena, (taken.rows.count + 1) * sizeof *rows);
    if (code == ERROR_NONE && (plan == NULL || rows == NULL))
        code = no_memory(w, err);
    if (code != ERROR_NONE) {
        answer_free(&answer);
        return code;
    }
    const struct answer_row *from = taken.rows.items;
    for (size_t i = 0; i < taken.rows.count; i++) {
        const struct worker_fetched_row *row = &from[i].row;
        rows[i] = (struct worker_preview_row){
            .cells = from[i].cells,
            .key = row->key,
            .address = row->address,
            .patient = row->patient,
            .date = row->date,
            .document = row->document,
            .types = row->types,
            .quarantined = row->quarantined,
            .reasons = row->reasons,
            .reason_count = row->reason_count,
        };
    }
    *plan = taken.plan;
    *preview = (struct worker_preview){plan, rows, taken.rows.count};
    *ret_preview = preview;
    return ERROR_NONE;
}

/* The request of a fetch is in the out buffer, the call is begun. */
static enum error_code fetch_rows(struct worker *w, size_t rows_max,
                                  const struct worker_fetched **ret_fetched, struct error *err) {
    struct answer answer;
    if (!answer_new(sizeof(struct worker_fetched), &answer))
        return no_memory(w, err);
    struct rows_taken taken = {.rows_max = rows_max};
    enum error_code code = exchange(w, &answer, take_rows, &taken, err);
    struct worker_plan *plan = arena_alloc(answer.arena, sizeof *plan);
    struct worker_fetched_row *rows =
        arena_alloc(answer.arena, (taken.rows.count + 1) * sizeof *rows);
    if (code == ERROR_NONE && (plan == NULL || rows == NULL))
        code = no_memory(w, err);
    const struct answer_row *from = taken.rows.items;
    for (size_t i = 0; code == ERROR_NONE && i < taken.rows.count; i++) {
        if (from[i].index >= taken.rows.count)
            code = process_broken(&w->process, "index of a row", err);
        else
            rows[from[i].index] = from[i].row;
    }
    if (code != ERROR_NONE) {
        answer_free(&answer);
        return code;
    }
    *plan = taken.plan;
    struct worker_fetched *fetched = answer.result;
    *fetched = (struct worker_fetched){plan, rows, taken.rows.count};
    *ret_fetched = fetched;
    return ERROR_NONE;
}

/* The request's beginning is in the out buffer. */
static enum error_code fetch_keys(struct worker *w, const struct worker_fetch_key *keys,
                                  size_t key_count, const struct worker_fetched **ret_fetched,
                                  struct error *err) {
    struct buffer *out = &w->process.out;
    wire_u32(out, (uint32_t)key_count);
    for (size_t i = 0; i < key_count; i++) {
        wire_bytes(out, keys[i].key);
        wire_u8(out, keys[i].r != NULL);
        if (keys[i].r != NULL)
            wire_fixed(out, keys[i].r, WORKER_SALT_BYTES);
    }
    const struct worker_fetched *fetched = NULL;
    enum error_code code = fetch_rows(w, key_count, &fetched, err);
    if (code == ERROR_NONE && fetched->row_count != key_count) {
        worker_result_free(fetched);
        code = process_broken(&w->process, "number of rows", err);
    }
    if (code == ERROR_NONE)
        *ret_fetched = fetched;
    return call_end(w, code);
}

static enum error_code check_key_count(size_t key_count, struct error *err) {
    if (key_count == 0 || key_count > WORKER_FETCH_KEYS_MAX)
        return error_set(err, ERROR_LIMIT, "fetch of %zu keys: expected 1 to %d", key_count,
                         WORKER_FETCH_KEYS_MAX);
    return ERROR_NONE;
}

enum error_code worker_fetch(struct worker *w, const char *table,
                             const struct worker_fetch_key *keys, size_t key_count,
                             const struct worker_fetched **ret_fetched, struct error *err) {
    TRY(check_key_count(key_count, err));
    TRY(call_begin(w, FRAME_FETCH, err));
    frame_text(&w->process.out, table);
    return fetch_keys(w, keys, key_count, ret_fetched, err);
}

enum error_code worker_fetch_under(struct worker *w, const char *table, struct bytes description,
                                   const struct worker_fetch_key *keys, size_t key_count,
                                   const struct worker_fetched **ret_fetched, struct error *err) {
    TRY(check_key_count(key_count, err));
    TRY(call_begin(w, FRAME_UNDER, err));
    frame_text(&w->process.out, table);
    wire_bytes(&w->process.out, description);
    return fetch_keys(w, keys, key_count, ret_fetched, err);
}

enum error_code worker_fetch_patient(struct worker *w, const char *table, const char *patient,
                                     uint32_t rows_max,
                                     const struct worker_fetched **ret_fetched,
                                     struct error *err) {
    TRY(call_begin(w, FRAME_PATIENT, err));
    frame_text(&w->process.out, table);
    frame_text(&w->process.out, patient);
    wire_u32(&w->process.out, rows_max);
    return call_end(w, fetch_rows(w, rows_max, ret_fetched, err));
}

/* --- pull --- */

struct pull {
    struct worker *w;
    const struct worker_pull_calls *calls;
    enum worker_mode mode;
    struct bytes *keys; /* WORKER_BATCH_ROWS_MAX of them */
    struct worker_salt *salts;
    struct worker_row *rows;
    bool stopped; /* a callback failed: the worker was told to stop */
    enum error_code code;
};

static uint64_t pull_deadline(const struct worker *w) {
    return clock_monotonic_ms() + w->process.config.pull_idle_ms_max;
}

/* A callback's error ends the pull, but the worker's answers are read to their end, so that it can
 * be used again. */
static void give_up(struct pull *pull, enum error_code code) {
    if (pull->code == ERROR_NONE)
        pull->code = code;
    if (!pull->stopped && pull->mode == WORKER_KEYS)
        process_cancel(&pull->w->process);
    pull->stopped = true;
}

static enum error_code on_keys(struct pull *pull, struct wire_reader *r, struct error *err) {
    struct process *p = &pull->w->process;
    uint32_t count = wire_read_count(r, WORKER_BATCH_ROWS_MAX, 4);
    for (uint32_t i = 0; i < count; i++)
        pull->keys[i] = wire_read_bytes(r, NORMALIZER_KEY_BYTES_MAX);
    if (!wire_read_end(r) || count == 0)
        return process_broken(p, "keys", err);
    if (!pull->stopped) {
        memset(pull->salts, 0, count * sizeof *pull->salts);
        enum error_code code =
            pull->calls->salts(pull->calls->context, pull->keys, count, pull->salts, err);
        if (code != ERROR_NONE)
            give_up(pull, code);
    }
    frame_begin(&p->out, pull->stopped ? FRAME_STOP : FRAME_SALTS);
    if (!pull->stopped) {
        wire_u32(&p->out, count);
        for (uint32_t i = 0; i < count; i++) {
            const struct worker_salt *s = &pull->salts[i];
            wire_u8(&p->out, s->known);
            wire_fixed(&p->out, s->fresh, WORKER_SALT_BYTES);
            if (!s->known)
                continue;
            wire_fixed(&p->out, s->stored, WORKER_SALT_BYTES);
            wire_fixed(&p->out, s->content.byte, HASH_BYTES);
            wire_fixed(&p->out, s->raw.byte, HASH_BYTES);
            wire_u8(&p->out, s->earlier);
        }
    }
    return process_send(p, &p->out, pull_deadline(pull->w), pull->stopped ? NULL : err);
}

static enum error_code on_rows(struct pull *pull, struct wire_reader *r, struct error *err) {
    struct worker *w = pull->w;
    uint32_t count = wire_read_count(r, WORKER_BATCH_ROWS_MAX, 4);
    size_t reasons = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!answer_pull_row(r, &pull->rows[i], w->reasons + reasons,
                             ANSWER_PULL_REASONS_MAX - reasons))
            return process_broken(&w->process, "rows", err);
        reasons += pull->rows[i].reason_count;
    }
    if (!wire_read_end(r))
        return process_broken(&w->process, "rows", err);
    if (pull->stopped)
        return ERROR_NONE;
    enum error_code code = pull->calls->rows(pull->calls->context, pull->rows, count, err);
    if (code != ERROR_NONE)
        give_up(pull, code);
    return ERROR_NONE;
}

static enum error_code on_plan(struct pull *pull, struct wire_reader *r, struct error *err) {
    struct worker_plan plan;
    SCOPED_ARENA struct arena *arena = arena_new(ANSWER_BYTES_MAX);
    if (arena == NULL || !answer_plan(arena, r, &plan))
        return process_broken(&pull->w->process, "plan", err);
    if (pull->calls->start == NULL)
        return ERROR_NONE;
    enum error_code code = pull->calls->start(pull->calls->context, &plan, err);
    if (code != ERROR_NONE)
        give_up(pull, code);
    return ERROR_NONE;
}

static enum error_code on_characters(struct pull *pull, struct wire_reader *r, struct error *err) {
    if (pull->stopped || pull->calls->characters == NULL)
        return ERROR_NONE;
    SCOPED_ARENA struct arena *arena = arena_new(ANSWER_BYTES_MAX);
    const struct character_count *counts = NULL;
    size_t count = 0;
    uint64_t beyond = 0;
    if (arena == NULL || !answer_characters(arena, r, &counts, &count, &beyond))
        return process_broken(&pull->w->process, "characters", err);
    enum error_code code =
        pull->calls->characters(pull->calls->context, counts, count, beyond, err);
    if (code != ERROR_NONE)
        give_up(pull, code);
    return ERROR_NONE;
}

/* The same fields as pace_write_totals. */
static bool read_totals(struct wire_reader *r, struct worker_totals *ret_totals) {
    struct worker_totals t = {0};
    t.rows = wire_read_u64(r);
    t.rows_new = wire_read_u64(r);
    t.rows_same = wire_read_u64(r);
    t.rows_changed = wire_read_u64(r);
    t.rows_quarantined = wire_read_u64(r);
    t.raw_bytes = wire_read_u64(r);
    t.queries = wire_read_u64(r);
    t.source_us = wire_read_u64(r);
    t.normalize_us = wire_read_u64(r);
    t.digest_us = wire_read_u64(r);
    t.wait_us = wire_read_u64(r);
    t.paused_us = wire_read_u64(r);
    t.slowed_us = wire_read_u64(r);
    t.closed_us = wire_read_u64(r);
    t.latency_us = wire_read_u64(r);
    t.latency_base_us = wire_read_u64(r);
    struct bytes watermark = wire_read_bytes(r, sizeof t.watermark - 1);
    if (!wire_read_end(r))
        return false;
    if (watermark.len > 0)
        memcpy(t.watermark, watermark.data, watermark.len);
    *ret_totals = t;
    return true;
}

static enum error_code on_load(struct pull *pull, struct wire_reader *r, struct error *err) {
    struct worker_totals totals;
    uint8_t pause = wire_read_u8(r);
    uint64_t until_ms = wire_read_u64(r);
    if (pause > WORKER_CLOSED || !read_totals(r, &totals))
        return process_broken(&pull->w->process, "load", err);
    if (!pull->stopped && pull->calls->load != NULL)
        pull->calls->load(pull->calls->context, &totals, (enum worker_pause)pause, until_ms);
    return ERROR_NONE;
}

/* Reads to END. The keys of the next batch may come before the rows of this one: they are held
 * back, so that the callbacks always alternate. */
static enum error_code pull_frames(struct pull *pull, struct worker_totals *ret_totals,
                                   struct error *err) {
    struct process *p = &pull->w->process;
    struct frame held = {0};
    bool holding = false, rows_due = false;
    unsigned buffer = 0;
    for (;;) {
        struct frame frame;
        /* After a callback failed, its error is the one that is told. */
        struct error *told = pull->stopped ? NULL : err;
        TRY(process_receive(p, &p->in[buffer], pull_deadline(pull->w), &frame, told));
        enum error_code code = ERROR_NONE;
        if (frame.type == FRAME_END) {
            if (!pull->stopped && !read_totals(&frame.payload, ret_totals))
                return process_broken(p, "totals", err);
            if (!pull->stopped && pull->calls->load != NULL)
                pull->calls->load(pull->calls->context, ret_totals, WORKER_READING, 0);
            return ERROR_NONE;
        }
        if (frame.type == FRAME_KEYS && rows_due && !holding) {
            held = frame;
            holding = true;
            buffer ^= 1;
        } else if (frame.type == FRAME_KEYS && !rows_due) {
            rows_due = true;
            code = on_keys(pull, &frame.payload, told);
        } else if (frame.type == FRAME_ROWS) {
            code = on_rows(pull, &frame.payload, told);
            rows_due = holding;
            if (code == ERROR_NONE && holding)
                code = on_keys(pull, &held.payload, pull->stopped ? NULL : err);
            holding = false;
        } else if (frame.type == FRAME_PLANNED) {
            code = on_plan(pull, &frame.payload, told);
        } else if (frame.type == FRAME_CHARACTERS) {
            code = on_characters(pull, &frame.payload, told);
        } else if (frame.type == FRAME_LOAD) {
            code = on_load(pull, &frame.payload, told);
        } else {
            code = process_broken(p, "answer to a pull", told);
        }
        TRY(code);
    }
}

struct pull_request {
    const char *table;
    enum worker_mode mode;
    const char *watermark_from;
    const struct bytes *keys;
    size_t key_count;
};

static enum error_code pull_call(struct pull *pull, const struct pull_request *request,
                                 struct worker_totals *ret_totals, struct error *err) {
    struct worker *w = pull->w;
    if (pull->calls->earlier_count > WORKER_EARLIER_MAX)
        return error_set(err, ERROR_LIMIT, "a pull under %zu earlier mappings, at most %d",
                         pull->calls->earlier_count, WORKER_EARLIER_MAX);
    TRY(call_begin(w, FRAME_PULL, err));
    frame_text(&w->process.out, request->table);
    wire_u8(&w->process.out, (uint8_t)request->mode);
    frame_text(&w->process.out, request->watermark_from);
    wire_u32(&w->process.out, w->process.config.rows_per_second_max);
    wire_u32(&w->process.out, (uint32_t)request->key_count);
    for (size_t i = 0; i < request->key_count; i++)
        wire_bytes(&w->process.out, request->keys[i]);
    size_t earlier = pull->calls->earlier_count;
    wire_u32(&w->process.out, (uint32_t)earlier);
    for (size_t i = 0; i < earlier; i++)
        wire_bytes(&w->process.out, pull->calls->earlier[i]);
    enum error_code code = process_send(&w->process, &w->process.out, pull_deadline(w), err);
    if (code == ERROR_NONE)
        code = pull_frames(pull, ret_totals, err);
    if (pull->stopped)
        code = pull->code;
    return call_end(w, code);
}

static enum error_code pull(struct worker *w, const struct pull_request *request,
                            const struct worker_pull_calls *calls,
                            struct worker_totals *ret_totals, struct error *err) {
    struct worker_totals totals = {0};
    SCOPED_FREE struct bytes *keys = calloc(WORKER_BATCH_ROWS_MAX, sizeof *keys);
    SCOPED_FREE struct worker_salt *salts = calloc(WORKER_BATCH_ROWS_MAX, sizeof *salts);
    SCOPED_FREE struct worker_row *rows = calloc(WORKER_BATCH_ROWS_MAX, sizeof *rows);
    if (w->reasons == NULL)
        w->reasons = calloc(ANSWER_PULL_REASONS_MAX, sizeof *w->reasons);
    if (keys == NULL || salts == NULL || rows == NULL || w->reasons == NULL)
        return no_memory(w, err);
    struct pull pull = {w, calls, request->mode, keys, salts, rows, false, ERROR_NONE};
    enum error_code code = pull_call(&pull, request, &totals, err);
    if (code == ERROR_NONE && ret_totals != NULL)
        *ret_totals = totals;
    return code;
}

enum error_code worker_pull(struct worker *w, const char *table, enum worker_mode mode,
                            const char *watermark_from, const struct worker_pull_calls *calls,
                            struct worker_totals *ret_totals, struct error *err) {
    struct pull_request request = {
        .table = table, .mode = mode, .watermark_from = watermark_from};
    return pull(w, &request, calls, ret_totals, err);
}

enum error_code worker_pull_keys(struct worker *w, const char *table, const struct bytes *keys,
                                 size_t key_count, const struct worker_pull_calls *calls,
                                 struct worker_totals *ret_totals, struct error *err) {
    if (key_count == 0 || key_count > WORKER_FETCH_KEYS_MAX)
        return error_set(err, ERROR_LIMIT, "a pull of %zu keys: expected 1 to %d", key_count,
                         WORKER_FETCH_KEYS_MAX);
    struct pull_request request = {.table = table,
                                   .mode = WORKER_LISTED,
                                   .watermark_from = "",
                                   .keys = keys,
                                   .key_count = key_count};
    return pull(w, &request, calls, ret_totals, err);
}
