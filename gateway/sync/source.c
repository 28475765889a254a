/*
 * A source's thread: waits for a request or for the schedule, runs the pass, keeps the outcome.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/sync/sync_internal.h"

bool sync__pass_must_stop(struct sync__source *source) {
    pthread_mutex_lock(&source->sync->lock);
    bool stop = source->cancelled || source->sync->stopping;
    pthread_mutex_unlock(&source->sync->lock);
    return stop;
}

/* With the lock held: the request becomes the running pass. */
static void begin_pass(struct sync__source *source, uint64_t number, int64_t rows_expected) {
    struct sync_progress *p = &source->progress;
    memset(p, 0, sizeof *p);
    p->pass = number;
    p->state = SYNC_READING;
    p->mode = source->mode;
    p->dry_run = source->dry_run;
    p->declared = source->declared;
    for (size_t t = 0; t < source->mapping->table_count; t++)
        p->tables += sync__schedule_covers(source, source->only_table, t);
    p->rows_expected = rows_expected;
    p->left_ms = -1;
    p->started_ms = clock_wall_ms();
    source->pass_started_monotonic_ms = clock_monotonic_ms();
    source->pass_failure.code = ERROR_NONE;
}

/* Rows of the last whole pass over the same tables; -1: there was none. */
static int64_t expected_rows(struct sync__source *source, int only) {
    int64_t rows = -1;
    for (size_t t = 0; t < source->mapping->table_count; t++) {
        char name[VAULT_TABLE_BYTES_MAX + 1];
        struct vault_table state;
        snprintf(name, sizeof name, "%s/%s", source->mapping->source,
                 source->mapping->tables[t].table);
        if (!sync__schedule_covers(source, only, t) ||
            vault_table(source->sync->vault, name, &state, NULL) != ERROR_NONE ||
            state.passes == 0)
            continue;
        rows = (rows < 0 ? 0 : rows) + (int64_t)state.last_pass_rows;
    }
    return rows;
}

/* Every table, also where one of them fails: its failure is the pass's, the first one is shown. */
static enum error_code pass_tables(struct sync__source *source, int only, uint64_t number,
                                   struct error *err) {
    enum error_code first = ERROR_NONE;
    for (size_t t = 0; t < source->mapping->table_count; t++) {
        if (!sync__schedule_covers(source, only, t))
            continue;
        pthread_mutex_lock(&source->sync->lock);
        source->progress.state = SYNC_READING;
        snprintf(source->table, sizeof source->table, "%s", source->mapping->tables[t].table);
        pthread_mutex_unlock(&source->sync->lock);
        struct error one;
        enum error_code code = sync__pass_table(source, t, number, &one);
        pthread_mutex_lock(&source->sync->lock);
        source->progress.tables_done++;
        source->table[0] = 0;
        pthread_mutex_unlock(&source->sync->lock);
        if (code != ERROR_NONE && first == ERROR_NONE) {
            first = code;
            *err = one;
        }
        /* A database that cannot be reached, or a pass to be ended, is so for the next table. */
        if (code == ERROR_SOURCE_CANCELLED || code == ERROR_SOURCE_UNREACHABLE ||
            code == ERROR_SOURCE_LOGIN || code == ERROR_DISK_FULL)
            break;
    }
    return first;
}

/* With the lock held. */
static void end_pass(struct sync__source *source, enum error_code code, const struct error *err) {
    struct sync_progress *p = &source->progress;
    uint64_t wall_ms = clock_wall_ms();
    p->ended_ms = wall_ms;
    p->pause = SYNC_NOT_PAUSED;
    p->pause_until_ms = 0;
    p->left_ms = code == ERROR_NONE ? 0 : -1;
    p->state = code == ERROR_NONE               ? SYNC_DONE
               : code == ERROR_SOURCE_CANCELLED ? SYNC_CANCELLED
                                                : SYNC_FAILED;
    if (code == ERROR_NONE) {
        source->failures = 0;
        source->failure.code = ERROR_NONE;
        /* A pass of the schedule may leave tables out: then the tables' own times tell. */
        if (source->only_table < 0 && !source->scheduled && !source->dry_run &&
            source->mode != SYNC_REPLAY)
            source->last_pass_ms = wall_ms;
    } else {
        sync__failure_set(&source->pass_failure, err);
    }
    if (p->state == SYNC_FAILED) {
        source->failures++;
        sync__failure_set(&source->failure, err);
    }
    /* Rows that have vanished wait for somebody: reading them all again soon helps nobody. */
    unsigned doublings = source->failures < 12 ? source->failures - 1 : 11;
    sync__schedule_passed(source, p->state == SYNC_FAILED && code != ERROR_VANISHED
                                      ? (uint64_t)SYNC__PASS_BACKOFF_MS_MIN << doublings
                                      : UINT64_MAX);
    source->requested = false;
    source->cancelled = false;
    pthread_cond_broadcast(&source->sync->changed);
}

static void run_pass(struct sync__source *source) {
    struct sync *sync = source->sync;
    struct error err = {0};
    pthread_mutex_lock(&sync->lock);
    int only = source->only_table;
    pthread_mutex_unlock(&sync->lock);
    char counter[SYNC_SOURCE_NAME_BYTES_MAX + 8];
    snprintf(counter, sizeof counter, "pass/%s", source->mapping->source);
    uint64_t number = 0;
    enum error_code code = vault_count(sync->vault, counter, &number, &err);
    int64_t rows = expected_rows(source, only);
    pthread_mutex_lock(&sync->lock);
    begin_pass(source, number, rows);
    pthread_mutex_unlock(&sync->lock);
    sync__event(sync, "pass-started", source->mapping->source, NULL);
    if (code == ERROR_NONE)
        code = pass_tables(source, only, number, &err);
    pthread_mutex_lock(&sync->lock);
    int64_t left = source->progress.rows_expected - (int64_t)source->progress.counts.read;
    pthread_mutex_unlock(&sync->lock);
    sync__explain_full(sync, left, &err);
    pthread_mutex_lock(&sync->lock);
    end_pass(source, code, &err);
    pthread_mutex_unlock(&sync->lock);
    sync__event(sync, code == ERROR_NONE ? "pass-done" : "pass-failed", source->mapping->source,
                code == ERROR_NONE ? NULL : &err);
}

/* With the lock held: a scheduled pass that is due is a request like any other. */
static void ask_when_due(struct sync__source *source) {
    const struct sync__due *due = source->requested ? NULL : sync__schedule_due(source);
    if (due == NULL)
        return;
    source->requested = true;
    source->scheduled = true;
    source->mode = due->mode;
    source->dry_run = false;
    source->declared = false;
    source->accept_deletions = false;
    source->only_table = due->table;
}

void *sync__source_thread(void *context) {
    struct sync__source *source = context;
    struct sync *sync = source->sync;
    pthread_mutex_lock(&sync->lock);
    while (!sync->stopping) {
        ask_when_due(source);
        if (source->requested) {
            pthread_mutex_unlock(&sync->lock);
            run_pass(source);
            pthread_mutex_lock(&sync->lock);
            continue;
        }
        uint64_t next_ms = sync__schedule_next_ms(source);
        sync__wait_until(sync, next_ms == UINT64_MAX ? clock_monotonic_ms() + 60000 : next_ms);
    }
    pthread_mutex_unlock(&sync->lock);
    return NULL;
}
