/*
 * The character report: what a pass met that converters disagree about, kept by table in the vault
 * so that it outlives a restart. Byte format: docs/formats.md, "Vault".
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/wire.h"
#include "gateway/sync/sync_internal.h"

enum {
    FORMAT = 1,
    REPORT_BYTES_MAX = 4 << 20,
    REPORT_ARENA_BYTES_MAX = 8 << 20,
    CODES_MAX = NORMALIZER_CHARACTERS_MAX,
    CODE_BYTES_MIN = 4 + 1 + 4 + 8 + 4, /* of an entry with an empty column and key */
};

struct report {
    uint64_t pass;
    uint64_t ended_ms;
    uint64_t passes;
    uint64_t rows;
    uint64_t beyond;
    struct sync_character *list;
    size_t count;
};

static void report_name(uint32_t table, char *ret_name, size_t room) {
    snprintf(ret_name, room, "characters/%u", table);
}

static const char *arena_of_bytes(struct arena *arena, struct bytes text) {
    return arena_format(arena, "%.*s", (int)text.len, (const char *)text.data);
}

static bool kind_of(const char *name, uint8_t *ret_kind) {
    for (int kind = CHARACTER_INVALID; kind <= CHARACTER_WAVE_DASH; kind++)
        if (strcmp(name, character_kind_name((enum character_kind)kind)) == 0) {
            *ret_kind = (uint8_t)kind;
            return true;
        }
    return false;
}

static void encode(const struct report *report, struct buffer *out) {
    wire_u8(out, FORMAT);
    wire_u64(out, report->pass);
    wire_u64(out, report->ended_ms);
    wire_u64(out, report->passes);
    wire_u64(out, report->rows);
    wire_u64(out, report->beyond);
    wire_u32(out, (uint32_t)report->count);
    for (size_t i = 0; i < report->count; i++) {
        uint8_t kind = 0;
        (void)kind_of(report->list[i].kind, &kind);
        wire_bytes(out, bytes_text(report->list[i].column));
        wire_u8(out, kind);
        wire_u32(out, report->list[i].code);
        wire_u64(out, report->list[i].count);
        wire_bytes(out, bytes_text(report->list[i].sample_key));
    }
}

/* room: entries that the list shall have room for besides its own. */
static bool decode(struct bytes data, struct arena *arena, size_t room, struct report *report) {
    struct wire_reader r = wire_reader(data);
    uint8_t format = wire_read_u8(&r);
    report->pass = wire_read_u64(&r);
    report->ended_ms = wire_read_u64(&r);
    report->passes = wire_read_u64(&r);
    report->rows = wire_read_u64(&r);
    report->beyond = wire_read_u64(&r);
    uint32_t count = wire_read_count(&r, CODES_MAX, CODE_BYTES_MIN);
    report->list = arena_alloc(arena, (count + room + 1) * sizeof *report->list);
    if (report->list == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct sync_character *c = &report->list[i];
        c->column = arena_of_bytes(arena, wire_read_bytes(&r, RENKEI_NAME_BYTES_MAX));
        uint8_t kind = wire_read_u8(&r);
        c->code = wire_read_u32(&r);
        c->count = wire_read_u64(&r);
        c->sample_key = arena_of_bytes(arena, wire_read_bytes(&r, NORMALIZER_KEY_BYTES_MAX));
        if (kind > CHARACTER_WAVE_DASH || c->column == NULL || c->sample_key == NULL)
            return false;
        c->kind = character_kind_name((enum character_kind)kind);
    }
    report->count = count;
    return format == FORMAT && wire_read_end(&r);
}

/* ret_found false: the table has no report yet. */
static enum error_code read_report(struct sync *sync, uint32_t table, size_t room,
                                   struct arena *arena, struct report *ret_report,
                                   bool *ret_found, struct error *err) {
    struct report report = {0};
    char name[64];
    report_name(table, name, sizeof name);
    SCOPED_BUFFER struct buffer stored;
    buffer_init(&stored, REPORT_BYTES_MAX);
    TRY(vault_get(sync->vault, name, &stored, err));
    *ret_found = stored.len > 0;
    if (stored.len > 0 && !decode(buffer_bytes(&stored), arena, room, &report))
        return error_set(err, ERROR_CORRUPT, "the vault's character report of table %u", table);
    *ret_report = report;
    return ERROR_NONE;
}

static void add(struct report *report, const struct sync_character *one) {
    for (size_t i = 0; i < report->count; i++) {
        struct sync_character *known = &report->list[i];
        if (known->code == one->code && strcmp(known->kind, one->kind) == 0 &&
            strcmp(known->column, one->column) == 0) {
            known->count += one->count;
            return;
        }
    }
    if (report->count < CODES_MAX)
        report->list[report->count++] = *one;
    else
        report->beyond += one->count;
}

enum error_code sync__characters_keep(struct sync *sync, uint32_t table,
                                      const struct sync__characters *pass,
                                      const struct character_count *counts, size_t count,
                                      uint64_t beyond, struct error *err) {
    SCOPED_ARENA struct arena *arena = arena_new(REPORT_ARENA_BYTES_MAX);
    struct sync_character *list =
        arena == NULL ? NULL : arena_alloc(arena, (count + 1) * sizeof *list);
    if (list == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the character report: no memory");
    struct report report = {.pass = pass->full ? pass->pass : 0, .list = list};
    bool found = false;
    if (!pass->full)
        TRY(read_report(sync, table, count, arena, &report, &found, err));
    if (!found)
        report.list = list;
    report.ended_ms = clock_wall_ms();
    report.passes++;
    report.rows += pass->rows;
    report.beyond += beyond;
    for (size_t i = 0; i < count; i++) {
        struct sync_character one = {
            .column = counts[i].column < pass->column_count ? pass->columns[counts[i].column] : "",
            .kind = character_kind_name(counts[i].kind),
            .code = counts[i].code,
            .count = counts[i].count,
            .sample_key = counts[i].sample_key};
        add(&report, &one);
    }
    char name[64];
    report_name(table, name, sizeof name);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, REPORT_BYTES_MAX);
    encode(&report, &out);
    TRY(buffer_check(&out, "the character report", err));
    return vault_put(sync->vault, name, buffer_bytes(&out), err);
}

static enum error_code add_tables(struct sync *sync, const struct sync__source *source,
                                  struct arena *arena, struct sync_characters *reports,
                                  size_t *count, struct error *err) {
    for (size_t t = 0; t < source->mapping->table_count; t++) {
        struct report report;
        bool found;
        TRY(read_report(sync, source->table_ids[t], 0, arena, &report, &found, err));
        if (!found)
            continue;
        reports[(*count)++] = (struct sync_characters){.source = source->mapping->source,
                                                       .table = source->mapping->tables[t].table,
                                                       .pass = report.pass,
                                                       .ended_ms = report.ended_ms,
                                                       .passes = report.passes,
                                                       .rows = report.rows,
                                                       .beyond = report.beyond,
                                                       .list = report.list,
                                                       .count = report.count};
    }
    return ERROR_NONE;
}

enum error_code sync_characters(struct sync *sync, const char *source, struct arena *arena,
                                const struct sync_characters **ret_reports, size_t *ret_count,
                                struct error *err) {
    size_t tables = 0;
    bool known = source == NULL;
    for (size_t i = 0; i < sync->source_count; i++) {
        tables += sync->sources[i].mapping->table_count;
        known = known || strcmp(sync->sources[i].mapping->source, source) == 0;
    }
    if (!known)
        return error_set(err, ERROR_NOT_FOUND, "there is no source '%s'", source);
    struct sync_characters *reports = arena_alloc(arena, (tables + 1) * sizeof *reports);
    if (reports == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the character report: no memory");
    size_t count = 0;
    for (size_t i = 0; i < sync->source_count; i++)
        if (source == NULL || strcmp(sync->sources[i].mapping->source, source) == 0)
            TRY(add_tables(sync, &sync->sources[i], arena, reports, &count, err));
    *ret_reports = reports;
    *ret_count = count;
    return ERROR_NONE;
}
