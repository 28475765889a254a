#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/sync/sync_internal.h"

static enum error_code no_memory(struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "the status: no memory");
}

struct sync_load sync__load_sum(const struct sync_load *sum, const struct sync_load *one) {
    return (struct sync_load){.pass = sum->pass + (one->pass > 0),
                              .rows = sum->rows + one->rows,
                              .bytes = sum->bytes + one->bytes,
                              .queries = sum->queries + one->queries,
                              .source_ms = sum->source_ms + one->source_ms,
                              .wait_ms = sum->wait_ms + one->wait_ms,
                              .paused_ms = sum->paused_ms + one->paused_ms,
                              .slowed_ms = sum->slowed_ms + one->slowed_ms,
                              .closed_ms = sum->closed_ms + one->closed_ms,
                              .latency_us = one->latency_us,
                              .latency_base_us = one->latency_base_us};
}

static enum error_code tables_status(struct sync__source *source, struct arena *arena,
                                     struct sync_source_status *out, struct error *err) {
    size_t count = source->mapping->table_count;
    struct sync_table_status *tables = arena_alloc(arena, (count + 1) * sizeof *tables);
    if (tables == NULL)
        return no_memory(err);
    for (size_t t = 0; t < count; t++) {
        const struct mapping_table *table = &source->mapping->tables[t];
        char name[VAULT_TABLE_BYTES_MAX + 1];
        struct vault_table state;
        snprintf(name, sizeof name, "%s/%s", source->mapping->source, table->table);
        TRY(vault_table(source->sync->vault, name, &state, err));
        tables[t] = (struct sync_table_status){.table = arena_text(arena, table->table),
                                               .category = arena_text(arena, table->category),
                                               .records = state.live,
                                               .deleted = state.deleted,
                                               .quarantined = state.quarantined,
                                               .batches = state.batches,
                                               .last_pass_ms = state.last_pass_ms,
                                               .cursor_rows = state.last_pass_rows};
        pthread_mutex_lock(&source->sync->lock);
        tables[t].vanished = source->alarms[t].vanished;
        tables[t].immutable_changed = source->alarms[t].immutable_changed;
        pthread_mutex_unlock(&source->sync->lock);
        if (tables[t].table == NULL || tables[t].category == NULL)
            return no_memory(err);
        pthread_mutex_lock(&source->sync->lock);
        tables[t].load = source->loads[t];
        tables[t].load_total = sync__load_sum(&source->loads_total[t], &source->loads[t]);
        pthread_mutex_unlock(&source->sync->lock);
        uint64_t pending;
        TRY(vault_pending_count(source->sync->vault, state.id, &pending, err));
        out->pending += pending;
    }
    out->tables = tables;
    out->table_count = count;
    return ERROR_NONE;
}

/* With the lock held. Strings that do not fit the arena are NULL, which the caller looks for. */
static void copy_shared(struct sync__source *source, struct arena *arena,
                        struct sync_source_status *out) {
    out->last_pass_ms = source->last_pass_ms;
    uint64_t next_ms = source->requested ? UINT64_MAX : sync__schedule_next_ms(source);
    uint64_t now_ms = clock_monotonic_ms();
    out->next_pass_ms = next_ms == UINT64_MAX
                            ? 0
                            : clock_wall_ms() + (next_ms > now_ms ? next_ms - now_ms : 0);
    out->failures = source->failures;
    out->code = source->failure.code;
    bool failed = source->failure.code != ERROR_NONE;
    out->error = arena_text(arena, failed ? source->failure.message : "");
    out->hint = arena_text(arena, failed ? source->failure.hint : "");
    out->progress = source->progress;
    out->progress.table = arena_text(arena, source->table);
    out->progress.code = source->pass_failure.code;
    bool pass_failed = source->pass_failure.code != ERROR_NONE;
    out->progress.error = arena_text(arena, pass_failed ? source->pass_failure.message : "");
    out->progress.hint = arena_text(arena, pass_failed ? source->pass_failure.hint : "");
}

/* The end of the last pass over all tables, also one before this program started. */
static uint64_t whole_pass_ms(const struct sync_source_status *s) {
    uint64_t oldest = s->table_count > 0 ? s->tables[0].last_pass_ms : 0;
    for (size_t t = 1; t < s->table_count; t++)
        if (s->tables[t].last_pass_ms < oldest)
            oldest = s->tables[t].last_pass_ms;
    return oldest;
}

static enum error_code source_status(struct sync__source *source, struct arena *arena,
                                     struct sync_source_status *out, struct error *err) {
    out->source = arena_text(arena, source->mapping->source);
    out->connector = arena_text(arena, source->mapping->connector);
    out->mapping = arena_text(arena, source->mapping->path);
    out->interval_s = source->interval_s;
    pthread_mutex_lock(&source->sync->lock);
    copy_shared(source, arena, out);
    pthread_mutex_unlock(&source->sync->lock);
    if (out->source == NULL || out->connector == NULL || out->mapping == NULL ||
        out->error == NULL || out->hint == NULL || out->progress.table == NULL ||
        out->progress.error == NULL || out->progress.hint == NULL)
        return no_memory(err);
    TRY(tables_status(source, arena, out, err));
    if (out->last_pass_ms == 0)
        out->last_pass_ms = whole_pass_ms(out);
    return ERROR_NONE;
}

enum error_code sync_status(struct sync *sync, struct arena *arena, struct sync_status *ret_status,
                            struct error *err) {
    struct sync_status status = {.source_count = sync->source_count};
    struct sync_source_status *sources =
        arena_alloc(arena, (sync->source_count + 1) * sizeof *sources);
    if (sources == NULL)
        return no_memory(err);
    for (size_t i = 0; i < sync->source_count; i++)
        TRY(source_status(&sync->sources[i], arena, &sources[i], err));
    status.sources = sources;
    TRY(vault_pending_count(sync->vault, 0, &status.pending, err));
    TRY(vault_sequence_next(sync->vault, &status.sequence, err));
    status.sequence--;
    TRY(vault_size(sync->vault, &status.vault_bytes, &status.vault_bytes_max, err));
    TRY(vault_enrolment_count(sync->vault, &status.enrolments, err));
    pthread_mutex_lock(&sync->lock);
    status.ledger_code = sync->ledger_failure.code;
    status.ledger_error =
        arena_text(arena, status.ledger_code != ERROR_NONE ? sync->ledger_failure.message : "");
    pthread_mutex_unlock(&sync->lock);
    if (status.ledger_error == NULL)
        return no_memory(err);
    *ret_status = status;
    return ERROR_NONE;
}
