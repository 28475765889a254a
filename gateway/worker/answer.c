#include "gateway/worker/answer.h"

#include <stdlib.h>

/* The arena's own address stands before the result, so that one pointer is enough to free it. */
struct answer_head {
    struct arena *arena;
    max_align_t result[];
};

bool answer_new(size_t size, struct answer *ret_answer) {
    struct arena *arena = arena_new(ANSWER_BYTES_MAX);
    struct answer_head *head =
        arena == NULL ? NULL : arena_alloc(arena, sizeof(struct answer_head) + size);
    if (head == NULL) {
        arena_free(arena);
        return false;
    }
    head->arena = arena;
    *ret_answer = (struct answer){arena, head->result};
    return true;
}

void answer_free(struct answer *answer) {
    arena_free(answer->arena);
    *answer = (struct answer){0};
}

void worker_result_free(const void *result) {
    if (result == NULL)
        return;
    struct answer_head head;
    memcpy(&head, (const uint8_t *)result - offsetof(struct answer_head, result), sizeof head);
    arena_free(head.arena);
}

/* Texts of ours hold no NUL; one from a database that did would only be shown cut. */
static const char *text(struct arena *arena, struct wire_reader *r) {
    struct bytes bytes = wire_read_bytes(r, FRAME_BYTES_MAX);
    char *copy = arena_alloc(arena, bytes.len + 1);
    if (copy == NULL) {
        r->failed = true;
        return "";
    }
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return copy;
}

static struct bytes data(struct arena *arena, struct wire_reader *r) {
    struct bytes bytes = wire_read_bytes(r, FRAME_BYTES_MAX);
    if (bytes.len == 0)
        return (struct bytes){0};
    struct bytes copy = arena_bytes(arena, bytes);
    if (copy.data == NULL)
        r->failed = true;
    return copy;
}

static void *many(struct arena *arena, struct wire_reader *r, uint32_t count, size_t size) {
    void *items = arena_alloc(arena, (size_t)count * size + 1);
    if (items == NULL)
        r->failed = true;
    return r->failed ? NULL : items;
}

bool answer_plan(struct arena *arena, struct wire_reader *r, struct worker_plan *ret_plan) {
    struct worker_plan plan = {0};
    plan.table = text(arena, r);
    wire_read_fixed(r, plan.mapping_digest.byte, HASH_BYTES);
    plan.mapping_description = data(arena, r);
    plan.column_count = wire_read_count(r, RENKEI_COLUMNS_MAX, 4);
    const char **columns = many(arena, r, plan.column_count, sizeof *columns);
    for (uint32_t i = 0; columns != NULL && i < plan.column_count; i++)
        columns[i] = text(arena, r);
    plan.columns = columns;
    uint32_t count = wire_read_count(r, RENKEI_COLUMNS_MAX, 5);
    struct normalizer_field *fields = many(arena, r, count, sizeof *fields);
    for (uint32_t i = 0; fields != NULL && i < count; i++) {
        fields[i].name = text(arena, r);
        fields[i].personal = wire_read_u8(r) != 0;
    }
    plan.fields = fields;
    plan.field_count = count;
    plan.transactional = (int8_t)wire_read_u8(r);
    plan.engine = text(arena, r);
    plan.snapshot = text(arena, r);
    plan.rows_estimate = (int64_t)wire_read_u64(r);
    if (!wire_read_end(r))
        return false;
    *ret_plan = plan;
    return true;
}

bool answer_characters(struct arena *arena, struct wire_reader *r,
                       const struct character_count **ret_counts, size_t *ret_count,
                       uint64_t *ret_beyond) {
    uint64_t beyond = wire_read_u64(r);
    uint32_t count = wire_read_count(r, NORMALIZER_CHARACTERS_MAX, 4 + 1 + 4 + 8 + 4);
    struct character_count *counts = many(arena, r, count, sizeof *counts);
    for (uint32_t i = 0; counts != NULL && i < count; i++) {
        uint32_t column = wire_read_u32(r);
        uint8_t kind = wire_read_u8(r);
        uint32_t code = wire_read_u32(r);
        uint64_t times = wire_read_u64(r);
        counts[i] = (struct character_count){.column = column, .kind = (enum character_kind)kind,
                                             .code = code, .count = times,
                                             .sample_key = text(arena, r)};
        if (kind > CHARACTER_WAVE_DASH || column >= RENKEI_COLUMNS_MAX)
            r->failed = true;
    }
    if (!wire_read_end(r))
        return false;
    *ret_counts = counts;
    *ret_count = count;
    *ret_beyond = beyond;
    return true;
}

bool answer_server(struct arena *arena, struct wire_reader *r,
                   struct worker_description *description) {
    description->connector = text(arena, r);
    description->connector_version = text(arena, r);
    description->capabilities = wire_read_u64(r);
    description->server.product = text(arena, r);
    description->server.version = text(arena, r);
    description->server.charset = text(arena, r);
    description->server.time_zone = text(arena, r);
    description->server.settings = text(arena, r);
    description->server.read_only = wire_read_u8(r);
    description->server.note = text(arena, r);
    return wire_read_end(r);
}

static void read_column(struct arena *arena, struct wire_reader *r, struct renkei_column *c) {
    c->name = text(arena, r);
    c->declared_type = text(arena, r);
    c->type = (enum renkei_type)wire_read_u8(r);
    c->charset = (enum renkei_charset)wire_read_u8(r);
    c->charset_name = text(arena, r);
    c->bits = wire_read_u32(r);
    c->nullable = (int8_t)wire_read_u8(r);
    c->key_position = wire_read_u8(r);
    c->indexed = wire_read_u8(r);
}

bool answer_table(struct arena *arena, struct wire_reader *r, struct worker_table *ret_table) {
    struct worker_table table = {0};
    table.table.name = text(arena, r);
    table.table.schema = text(arena, r);
    table.table.kind = text(arena, r);
    table.table.engine = text(arena, r);
    table.table.transactional = (int8_t)wire_read_u8(r);
    table.table.rows_estimate = (int64_t)wire_read_u64(r);
    table.column_count = wire_read_count(r, RENKEI_COLUMNS_MAX, 21);
    struct renkei_column *columns = NULL;
    if (table.column_count > 0)
        columns = many(arena, r, table.column_count, sizeof *columns);
    for (uint32_t i = 0; columns != NULL && i < table.column_count; i++)
        read_column(arena, r, &columns[i]);
    table.columns = columns;
    if (!wire_read_end(r))
        return false;
    *ret_table = table;
    return true;
}

bool answer_right(struct arena *arena, struct wire_reader *r, struct worker_right *ret_right) {
    struct worker_right right = {.text = text(arena, r), .write = (int8_t)wire_read_u8(r)};
    if (!wire_read_end(r))
        return false;
    *ret_right = right;
    return true;
}

static void read_reason(struct wire_reader *r, struct normalized_reason *reason) {
    reason->column = wire_read_u32(r);
    reason->reason = (enum reason)wire_read_u32(r);
    reason->code = wire_read_u32(r);
    reason->count = wire_read_u32(r);
}

static void read_cells(struct arena *arena, struct wire_reader *r, struct answer_row *row) {
    uint32_t count = wire_read_count(r, RENKEI_COLUMNS_MAX, 1);
    struct renkei_value *cells = many(arena, r, count, sizeof *cells);
    for (uint32_t i = 0; cells != NULL && i < count; i++) {
        if (wire_read_u8(r) == 1) {
            cells[i] = (struct renkei_value){NULL, 0};
            continue;
        }
        struct bytes cell = data(arena, r);
        cells[i] = (struct renkei_value){
            cell.data != NULL ? cell.data : (const uint8_t *)"", (uint32_t)cell.len};
    }
    row->cells = cells;
}

bool answer_row(struct arena *arena, struct wire_reader *r, struct answer_row *ret_row) {
    struct answer_row row = {0};
    row.index = wire_read_u32(r);
    uint8_t flags = wire_read_u8(r);
    row.row.found = (flags & ROW_FOUND) != 0;
    row.row.quarantined = (flags & ROW_QUARANTINED) != 0;
    row.row.key = data(arena, r);
    row.row.address = data(arena, r);
    row.row.patient = data(arena, r);
    row.row.date = data(arena, r);
    row.row.document = data(arena, r);
    row.row.raw = data(arena, r);
    uint32_t count = wire_read_count(r, RENKEI_COLUMNS_MAX, 1);
    enum value_type *types = count == 0 ? NULL : many(arena, r, count, sizeof *types);
    for (uint32_t i = 0; types != NULL && i < count; i++)
        types[i] = (enum value_type)wire_read_u8(r);
    row.row.types = types;
    wire_read_fixed(r, row.row.content.byte, HASH_BYTES);
    wire_read_fixed(r, row.row.raw_digest.byte, HASH_BYTES);
    row.row.reason_count = wire_read_count(r, NORMALIZER_REASONS_MAX, 16);
    struct normalized_reason *reasons =
        many(arena, r, (uint32_t)row.row.reason_count, sizeof *reasons);
    for (size_t i = 0; reasons != NULL && i < row.row.reason_count; i++)
        read_reason(r, &reasons[i]);
    row.row.reasons = reasons;
    if ((flags & ROW_HAS_CELLS) != 0)
        read_cells(arena, r, &row);
    if (!wire_read_end(r))
        return false;
    *ret_row = row;
    return true;
}

bool answer_pull_row(struct wire_reader *r, struct worker_row *ret_row,
                     struct normalized_reason *reasons, size_t reasons_max) {
    struct worker_row row = {0};
    row.change = (enum worker_change)wire_read_u8(r);
    uint8_t changed = wire_read_u8(r);
    row.content_changed = (changed & 1) != 0;
    row.raw_changed = (changed & 2) != 0;
    row.same_bytes = (changed & 4) != 0;
    row.key = wire_read_bytes(r, NORMALIZER_KEY_BYTES_MAX);
    row.address = wire_read_bytes(r, NORMALIZER_ADDRESS_BYTES_MAX);
    row.patient = wire_read_bytes(r, FRAME_BYTES_MAX);
    row.date = wire_read_bytes(r, 16);
    wire_read_fixed(r, row.content.byte, HASH_BYTES);
    wire_read_fixed(r, row.raw.byte, HASH_BYTES);
    row.reason_count = wire_read_count(r, NORMALIZER_REASONS_MAX, 16);
    if (row.reason_count > reasons_max)
        return false;
    for (size_t i = 0; i < row.reason_count; i++)
        read_reason(r, &reasons[i]);
    row.reasons = reasons;
    if (r->failed || row.change < WORKER_NEW || row.change > WORKER_KEY)
        return false;
    *ret_row = row;
    return true;
}
