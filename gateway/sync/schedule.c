/*
 * When a source's passes begin by themselves: each mode has its own interval, and so may each table.
 * A table that has one of its own for a mode is left out of the source's passes of that mode.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/sync/sync_internal.h"

static void add(struct sync__source *source, int table, enum sync_mode mode,
                uint32_t interval_s) {
    if (interval_s == 0)
        return;
    /* A full pass at the start; the others add to it. */
    uint64_t first_ms = mode == SYNC_FULL ? 0 : (uint64_t)interval_s * 1000;
    source->schedule[source->schedule_count++] =
        (struct sync__due){.table = table,
                           .mode = mode,
                           .interval_s = interval_s,
                           .next_monotonic_ms = clock_monotonic_ms() + first_ms};
}

static enum error_code add_all(struct sync__source *source, int table,
                               const struct sync_intervals *intervals, struct error *err) {
    const struct mapping *mapping = source->mapping;
    bool moves = table >= 0 && mapping->tables[table].watermark != NULL;
    for (size_t t = 0; table < 0 && t < mapping->table_count; t++)
        moves = moves || mapping->tables[t].watermark != NULL;
    if (intervals->watermark_s > 0 && !moves)
        return table >= 0
                   ? error_set(err, ERROR_CONFIG, "%s: passes by watermark are asked for, but the "
                               "table '%s' has no watermark: in the mapping", mapping->path,
                               mapping->tables[table].table)
                   : error_set(err, ERROR_CONFIG, "%s: passes by watermark are asked for, but no "
                               "table has a watermark: in the mapping", mapping->path);
    add(source, table, SYNC_FULL, intervals->full_s);
    add(source, table, SYNC_WATERMARK, intervals->watermark_s);
    add(source, table, SYNC_KEYS, intervals->keys_s);
    return ERROR_NONE;
}

static void set_overlap(struct sync__source *source, size_t table,
                        const struct sync_intervals *intervals) {
    if (intervals->overlap_s > 0 || intervals->overlap_rows > 0)
        source->overlaps[table] =
            (struct sync__overlap){intervals->overlap_s, intervals->overlap_rows};
}

enum error_code sync__schedule_make(struct sync__source *source,
                                    const struct sync_source_options *options,
                                    struct error *err) {
    source->schedule = calloc((options->table_count + 1) * 3, sizeof *source->schedule);
    source->overlaps = calloc(source->mapping->table_count + 1, sizeof *source->overlaps);
    if (source->schedule == NULL || source->overlaps == NULL)
        return error_set(err, ERROR_NO_MEMORY, "sync: no memory");
    for (size_t t = 0; t < source->mapping->table_count; t++)
        set_overlap(source, t, &options->intervals);
    TRY(add_all(source, -1, &options->intervals, err));
    for (size_t i = 0; i < options->table_count; i++) {
        const char *name = options->tables[i].table;
        size_t t = 0;
        while (t < source->mapping->table_count &&
               strcmp(source->mapping->tables[t].table, name) != 0)
            t++;
        if (t == source->mapping->table_count)
            return error_set(err, ERROR_CONFIG, "%s has no table '%s', which gateway.yaml gives "
                             "intervals", source->mapping->path, name);
        TRY(add_all(source, (int)t, &options->tables[i].intervals, err));
        set_overlap(source, t, &options->tables[i].intervals);
    }
    return ERROR_NONE;
}

struct sync__due *sync__schedule_due(struct sync__source *source) {
    uint64_t now_ms = clock_monotonic_ms();
    struct sync__due *first = NULL;
    for (size_t i = 0; i < source->schedule_count; i++) {
        struct sync__due *due = &source->schedule[i];
        if (due->next_monotonic_ms <= now_ms &&
            (first == NULL || due->next_monotonic_ms < first->next_monotonic_ms))
            first = due;
    }
    return first;
}

uint64_t sync__schedule_next_ms(const struct sync__source *source) {
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < source->schedule_count; i++)
        if (source->schedule[i].next_monotonic_ms < next_ms)
            next_ms = source->schedule[i].next_monotonic_ms;
    return next_ms;
}

void sync__schedule_passed(struct sync__source *source, uint64_t retry_ms) {
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < source->schedule_count; i++) {
        struct sync__due *due = &source->schedule[i];
        if (due->mode != source->mode || due->table != source->only_table || source->dry_run)
            continue;
        uint64_t wait_ms = (uint64_t)due->interval_s * 1000;
        due->next_monotonic_ms = now_ms + (retry_ms < wait_ms ? retry_ms : wait_ms);
    }
}

bool sync__schedule_covers(const struct sync__source *source, int only, size_t table) {
    if (only >= 0)
        return (size_t)only == table;
    if (!source->scheduled)
        return true;
    if (source->mode == SYNC_WATERMARK && source->mapping->tables[table].watermark == NULL)
        return false;
    for (size_t i = 0; i < source->schedule_count; i++)
        if (source->schedule[i].table == (int)table && source->schedule[i].mode == source->mode)
            return false;
    return true;
}
