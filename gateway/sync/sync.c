#include "gateway/sync/sync.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "gateway/sync/sync_internal.h"

void sync__event(struct sync *sync, const char *event, const char *source,
                 const struct error *err) {
    if (sync->event != NULL)
        sync->event(sync->event_context, event, source, err);
}

void sync__failure_set(struct sync__failure *failure, const struct error *err) {
    failure->code = err->code;
    snprintf(failure->message, sizeof failure->message, "%s", err->message);
    snprintf(failure->hint, sizeof failure->hint, "%s", error_hint_text(err));
}

void sync__explain_full(struct sync *sync, int64_t rows, struct error *err) {
    enum { RECORD_BYTES = 700, MIB = 1 << 20 };
    struct statvfs disk;
    uint64_t used;
    uint64_t used_max;
    if (err->code != ERROR_DISK_FULL || statvfs(sync->vault_folder, &disk) != 0 ||
        vault_size(sync->vault, &used, &used_max, NULL) != ERROR_NONE)
        return;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t pending = 0;
    if (vault_pending_count(sync->vault, 0, &pending, NULL) != ERROR_NONE)
        pending = VAULT_PENDING_MAX;
    /* What is pending, the batch that fails, and the rows that are still to be read. */
    uint64_t needed = (pending + 1) * VAULT_ITEMS_MAX * RECORD_BYTES +
                      (rows > 0 ? (uint64_t)rows * RECORD_BYTES : 0);
    error_hint(err, "%s has %llu MiB free, about %llu MiB are needed to go on; the work goes on where "
               "it stopped", sync->vault_folder, (unsigned long long)(free_bytes / MIB),
               (unsigned long long)(needed / MIB + 1));
}

struct bytes sync__patient_text(struct bytes text) {
    while (text.len > 0 && text.data[text.len - 1] == ' ')
        text.len--;
    return text;
}

void sync__wait_until(struct sync *sync, uint64_t monotonic_ms) {
    struct timespec until = {.tv_sec = (time_t)(monotonic_ms / 1000),
                             .tv_nsec = (long)(monotonic_ms % 1000) * 1000000};
    (void)pthread_cond_timedwait(&sync->changed, &sync->lock, &until);
}

/* -------------------------------------------------------------------------- open, close ---- */

static enum error_code make_locks(struct sync *sync, struct error *err) {
    pthread_condattr_t attributes;
    bool made = pthread_condattr_init(&attributes) == 0 &&
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&sync->changed, &attributes) == 0 &&
                pthread_mutex_init(&sync->lock, NULL) == 0 &&
                pthread_mutex_init(&sync->anchor_lock, NULL) == 0 &&
                pthread_mutex_init(&sync->ledger_lock, NULL) == 0 &&
                pthread_mutex_init(&sync->claim_lock, NULL) == 0;
    (void)pthread_condattr_destroy(&attributes);
    sync->locks_made = made;
    return made ? ERROR_NONE : error_set(err, ERROR_NO_MEMORY, "sync: no memory for locks");
}

static enum error_code make_workers(struct sync__source *source, const struct sync_options *o,
                                    const struct sync_source_options *so, struct error *err) {
    struct worker_config config = {.program = o->worker_program,
                                   .plugin_folder = o->plugins,
                                   .mapping_path = so->mapping,
                                   .hospital = o->hospital,
                                   .source = source->mapping->source,
                                   .memory_bytes_max = so->worker_memory_bytes_max,
                                   .cpu_seconds_max = so->worker_cpu_seconds_max,
                                   .rows_per_second_max = so->rows_per_second_max,
                                   .windows = so->windows,
                                   .time_zone = so->time_zone,
                                   .latency_factor_max = so->latency_factor_max};
    TRY(worker_new(&config, &source->puller, err));
    config.rows_per_second_max = 0;
    config.windows = NULL;
    config.latency_factor_max = 0;
    return worker_new(&config, &source->fetcher, err);
}

static enum error_code open_tables(struct sync__source *source, struct error *err) {
    size_t count = source->mapping->table_count;
    source->table_ids = calloc(count + 1, sizeof *source->table_ids);
    source->alarms = calloc(count + 1, sizeof *source->alarms);
    source->loads = calloc(count + 1, sizeof *source->loads);
    source->loads_total = calloc(count + 1, sizeof *source->loads_total);
    if (source->table_ids == NULL || source->alarms == NULL || source->loads == NULL ||
        source->loads_total == NULL)
        return error_set(err, ERROR_NO_MEMORY, "sync: no memory");
    for (size_t t = 0; t < count; t++) {
        char name[VAULT_TABLE_BYTES_MAX + 1];
        struct vault_table state;
        snprintf(name, sizeof name, "%s/%s", source->mapping->source,
                 source->mapping->tables[t].table);
        TRY(vault_table(source->sync->vault, name, &state, err));
        source->table_ids[t] = state.id;
    }
    return ERROR_NONE;
}

static enum error_code open_source(struct sync *sync, size_t i, const struct sync_options *o,
                                   struct error *err) {
    struct sync__source *source = &sync->sources[i];
    const struct sync_source_options *so = &o->sources[i];
    source->sync = sync;
    source->interval_s = so->intervals.full_s;
    source->deletions_percent_max = so->deletions_percent_max;
    source->only_table = -1;
    source->progress.rows_expected = -1;
    source->progress.left_ms = -1;
    TRY(mapping_load(so->mapping, &source->mapping, err));
    for (size_t j = 0; j < i; j++)
        if (strcmp(sync->sources[j].mapping->source, source->mapping->source) == 0)
            return error_set(err, ERROR_CONFIG, "%s: the source '%s' is also in %s", so->mapping,
                             source->mapping->source, sync->sources[j].mapping->path);
    TRY(open_tables(source, err));
    TRY(sync__schedule_make(source, so, err));
    return make_workers(source, o, so, err);
}

static enum error_code start_threads(struct sync *sync, struct error *err) {
    for (size_t i = 0; i < SYNC__LANES; i++) {
        struct sync__lane *lane = &sync->lanes[i];
        if (pthread_create(&lane->thread, NULL, sync__anchor_thread, lane) != 0)
            return error_set(err, ERROR_NO_MEMORY, "sync: cannot start a thread");
        lane->thread_started = true;
    }
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        if (pthread_create(&source->thread, NULL, sync__source_thread, source) != 0)
            return error_set(err, ERROR_NO_MEMORY, "sync: cannot start a thread");
        source->thread_started = true;
    }
    return ERROR_NONE;
}

static enum error_code open_all(struct sync *sync, const struct sync_options *o,
                                struct error *err) {
    TRY(make_locks(sync, err));
    sync->event = o->event;
    sync->event_context = o->event_context;
    sync->hospital = strdup(o->hospital);
    sync->vault_folder = strdup(o->vault);
    sync->sources = calloc(o->source_count + 1, sizeof *sync->sources);
    if (sync->hospital == NULL || sync->vault_folder == NULL || sync->sources == NULL)
        return error_set(err, ERROR_NO_MEMORY, "sync: no memory");
    TRY(ledger_signer_load(o->signer, &sync->signer, err));
    ledger_signer_public(sync->signer, sync->submitter);
    for (size_t i = 0; i < SYNC__LANES; i++) {
        sync->lanes[i].sync = sync;
        TRY(ledger_open(o->node_socket, o->genesis, &sync->lanes[i].ledger, err));
    }
    TRY(ledger_open(o->node_socket, o->genesis, &sync->read_ledger, err));
    sync->chain = ledger_chain(sync->read_ledger);
    TRY(vault_open(o->vault, 0, clock_wall_ms(), &sync->vault, err));
    for (size_t i = 0; i < o->source_count; i++) {
        sync->source_count = i + 1;
        TRY(open_source(sync, i, o, err));
    }
    TRY(sync__where_vault_stands(sync, err));
    return start_threads(sync, err);
}

enum error_code sync_open(const struct sync_options *options, struct sync **ret_sync,
                          struct error *err) {
    if (options->source_count > SYNC_SOURCES_MAX)
        return error_set(err, ERROR_LIMIT, "%zu sources, at most %d are possible",
                         options->source_count, SYNC_SOURCES_MAX);
    struct sync *sync = calloc(1, sizeof *sync);
    if (sync == NULL)
        return error_set(err, ERROR_NO_MEMORY, "sync: no memory");
    enum error_code code = open_all(sync, options, err);
    if (code != ERROR_NONE)
        sync_close(sync);
    else
        *ret_sync = sync;
    return code;
}

static void stop_threads(struct sync *sync) {
    pthread_mutex_lock(&sync->lock);
    sync->stopping = true;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        if (source->thread_started) {
            worker_cancel(source->puller);
            (void)pthread_join(source->thread, NULL);
        }
    }
    for (size_t i = 0; i < SYNC__LANES; i++)
        if (sync->lanes[i].thread_started)
            (void)pthread_join(sync->lanes[i].thread, NULL);
}

void sync_close(struct sync *sync) {
    if (sync == NULL)
        return;
    if (sync->locks_made)
        stop_threads(sync);
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        worker_free(source->puller);
        worker_free(source->fetcher);
        mapping_free(source->mapping);
        free(source->table_ids);
        free(source->alarms);
        free(source->schedule);
        free(source->overlaps);
        free(source->loads);
        free(source->loads_total);
    }
    vault_close(sync->vault);
    for (size_t i = 0; i < SYNC__LANES; i++)
        ledger_close(sync->lanes[i].ledger);
    ledger_close(sync->read_ledger);
    ledger_signer_free(sync->signer);
    if (sync->locks_made) {
        (void)pthread_cond_destroy(&sync->changed);
        (void)pthread_mutex_destroy(&sync->lock);
        (void)pthread_mutex_destroy(&sync->anchor_lock);
        (void)pthread_mutex_destroy(&sync->ledger_lock);
        (void)pthread_mutex_destroy(&sync->claim_lock);
    }
    free(sync->sources);
    free(sync->hospital);
    free(sync->vault_folder);
    free(sync);
}

/* ------------------------------------------------------------------------------- passes ---- */

static enum error_code no_source(const char *source, struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no source '%s'", source);
}

static bool is_named(const struct sync__source *source, const char *name) {
    return name == NULL || strcmp(source->mapping->source, name) == 0;
}

/* -1: no such table. */
static int table_index(const struct sync__source *source, const char *table) {
    for (size_t t = 0; t < source->mapping->table_count; t++)
        if (strcmp(source->mapping->tables[t].table, table) == 0)
            return (int)t;
    return -1;
}

static enum error_code check_request(const struct sync__source *source,
                                     const struct sync_request *r, struct error *err) {
    const char *name = source->mapping->source;
    if (r->table != NULL && table_index(source, r->table) < 0)
        return error_set(err, ERROR_NOT_FOUND, "the source '%s' has no table '%s'", name,
                         r->table);
    for (size_t t = 0; t < source->mapping->table_count; t++) {
        const struct mapping_table *table = &source->mapping->tables[t];
        bool asked = r->table == NULL || strcmp(r->table, table->table) == 0;
        if (asked && r->mode == SYNC_WATERMARK && table->watermark == NULL)
            return error_set(err, ERROR_MAPPING, "%s: the table '%s' has no watermark: in the "
                             "mapping", source->mapping->path, table->table);
    }
    return ERROR_NONE;
}

/* With the lock held. */
static void request(struct sync__source *source, const struct sync_request *r) {
    source->requested = true;
    source->scheduled = false;
    source->cancelled = false;
    source->mode = r->mode;
    source->dry_run = r->dry_run;
    source->declared = r->declared;
    source->accept_deletions = r->accept_deletions;
    source->only_table = r->table == NULL ? -1 : table_index(source, r->table);
    memset(&source->progress, 0, sizeof source->progress);
    source->progress.state = SYNC_QUEUED;
    source->progress.mode = r->mode;
    source->progress.dry_run = r->dry_run;
    source->progress.declared = r->declared;
    source->progress.rows_expected = -1;
    source->progress.left_ms = -1;
}

enum error_code sync_start(struct sync *sync, const struct sync_request *r, struct error *err) {
    size_t named = 0;
    size_t started = 0;
    if (r->accept_deletions && r->table == NULL)
        return error_set(err, ERROR_BAD_REQUEST, "deletions are accepted of one table, not of all");
    for (size_t i = 0; i < sync->source_count; i++)
        if (is_named(&sync->sources[i], r->source))
            TRY(check_request(&sync->sources[i], r, err));
    pthread_mutex_lock(&sync->lock);
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        if (!is_named(source, r->source))
            continue;
        named++;
        if (source->requested)
            continue;
        request(source, r);
        started++;
    }
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    if (r->source != NULL && named == 0)
        return no_source(r->source, err);
    if (started == 0 && named > 0)
        return error_set(err, ERROR_BUSY, "%s: a pass is running already",
                         r->source != NULL ? r->source : "every source");
    return ERROR_NONE;
}

enum error_code sync_cancel(struct sync *sync, const char *name, struct error *err) {
    size_t named = 0;
    pthread_mutex_lock(&sync->lock);
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        if (!is_named(source, name))
            continue;
        named++;
        source->cancelled = source->requested;
    }
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    for (size_t i = 0; i < sync->source_count; i++)
        if (is_named(&sync->sources[i], name))
            worker_cancel(sync->sources[i].puller);
    return name != NULL && named == 0 ? no_source(name, err) : ERROR_NONE;
}

/* With the lock held. */
static bool at_rest(const struct sync *sync, const char *name) {
    for (size_t i = 0; i < sync->source_count; i++)
        if (is_named(&sync->sources[i], name) && sync->sources[i].requested)
            return false;
    return true;
}

static enum error_code pending_of(struct sync__source *source, uint64_t *ret_count,
                                  struct error *err) {
    uint64_t sum = 0;
    for (size_t t = 0; t < source->mapping->table_count; t++) {
        uint64_t count;
        TRY(vault_pending_count(source->sync->vault, source->table_ids[t], &count, err));
        sum += count;
    }
    *ret_count = sum;
    return ERROR_NONE;
}

static enum error_code pending_of_named(struct sync *sync, const char *name, uint64_t *ret_count,
                                        struct error *err) {
    if (name == NULL)
        return vault_pending_count(sync->vault, 0, ret_count, err);
    for (size_t i = 0; i < sync->source_count; i++)
        if (is_named(&sync->sources[i], name))
            return pending_of(&sync->sources[i], ret_count, err);
    return no_source(name, err);
}

enum error_code sync_wait(struct sync *sync, const char *name, uint32_t deadline_ms,
                          struct error *err) {
    uint64_t until = clock_monotonic_ms() + deadline_ms;
    for (;;) {
        pthread_mutex_lock(&sync->lock);
        while (!at_rest(sync, name) && clock_monotonic_ms() < until)
            sync__wait_until(sync, until);
        bool rest = at_rest(sync, name);
        uint64_t applied = sync->applied;
        pthread_mutex_unlock(&sync->lock);
        uint64_t pending;
        TRY(pending_of_named(sync, name, &pending, err));
        if (rest && pending == 0)
            return ERROR_NONE;
        if (clock_monotonic_ms() >= until)
            return error_set(err, ERROR_TIMEOUT, "%s: not at rest after %u ms, %llu anchors wait "
                             "for the chain", name != NULL ? name : "sync", deadline_ms,
                             (unsigned long long)pending);
        pthread_mutex_lock(&sync->lock);
        if (rest && sync->applied == applied)
            sync__wait_until(sync, until);
        pthread_mutex_unlock(&sync->lock);
    }
}
