/* What the gateway takes from a worker, in which a database's driver may have run wild: every
 * answer's decoder on any bytes. What is accepted is whole: its lists are within their limits and all
 * that they point to can be read; what is not leaves the output as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/worker/answer.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KINDS = 6, ROWS_MAX = 64 };

static volatile uint32_t read_through;

static void touch(const void *data, size_t len) {
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++)
        read_through += at[i];
}

static void touch_text(const char *text) {
    REQUIRE(text != NULL);
    touch(text, strlen(text) + 1);
}

static void check_plan(struct arena *arena, struct wire_reader *r) {
    struct worker_plan plan = {.column_count = 77777};
    if (!answer_plan(arena, r, &plan)) {
        REQUIRE(plan.column_count == 77777);
        return;
    }
    REQUIRE(plan.column_count <= RENKEI_COLUMNS_MAX && plan.field_count <= RENKEI_COLUMNS_MAX);
    for (uint32_t i = 0; i < plan.column_count; i++)
        touch_text(plan.columns[i]);
    for (size_t i = 0; i < plan.field_count; i++)
        touch_text(plan.fields[i].name);
    touch_text(plan.table);
    touch_text(plan.engine);
    touch_text(plan.snapshot);
    touch(plan.mapping_description.data, plan.mapping_description.len);
}

static void check_server(struct arena *arena, struct wire_reader *r) {
    struct worker_description description = {0};
    if (!answer_server(arena, r, &description))
        return;
    touch_text(description.connector);
    touch_text(description.connector_version);
    touch_text(description.server.product);
    touch_text(description.server.settings);
}

static void check_table(struct arena *arena, struct wire_reader *r) {
    struct worker_table table = {.column_count = 77777};
    if (!answer_table(arena, r, &table)) {
        REQUIRE(table.column_count == 77777);
        return;
    }
    REQUIRE(table.column_count <= RENKEI_COLUMNS_MAX);
    for (uint32_t i = 0; i < table.column_count; i++) {
        touch_text(table.columns[i].name);
        touch_text(table.columns[i].declared_type);
        touch_text(table.columns[i].charset_name);
    }
}

static void check_row(struct arena *arena, struct wire_reader *r) {
    struct answer_row row = {.index = 77777};
    if (!answer_row(arena, r, &row)) {
        REQUIRE(row.index == 77777);
        return;
    }
    REQUIRE(row.row.reason_count <= NORMALIZER_REASONS_MAX);
    touch(row.row.document.data, row.row.document.len);
    touch(row.row.raw.data, row.row.raw.len);
    touch(row.row.reasons, row.row.reason_count * sizeof *row.row.reasons);
}

/* A frame of a pull: rows one after another, their reasons in one list. */
static void check_pull_rows(struct wire_reader *r) {
    struct normalized_reason *reasons = calloc(ROWS_MAX, sizeof *reasons);
    size_t used = 0;
    REQUIRE(reasons != NULL);
    uint32_t count = wire_read_count(r, ROWS_MAX, 4);
    for (uint32_t i = 0; i < count; i++) {
        struct worker_row row = {0};
        if (!answer_pull_row(r, &row, reasons + used, ROWS_MAX - used))
            break;
        REQUIRE(row.reason_count <= ROWS_MAX - used);
        REQUIRE(row.change >= WORKER_NEW && row.change <= WORKER_KEY);
        REQUIRE(row.key.len <= NORMALIZER_KEY_BYTES_MAX && row.date.len <= 16);
        used += row.reason_count;
        touch(row.address.data, row.address.len);
        touch(row.patient.data, row.patient.len);
    }
    free(reasons);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    uint8_t *exact = malloc(size);
    REQUIRE(exact != NULL);
    memcpy(exact, data + 1, size - 1);
    struct wire_reader r = wire_reader(bytes_of(exact, size - 1));
    SCOPED_ARENA struct arena *arena = arena_new(1 << 20);
    REQUIRE(arena != NULL);
    struct worker_right right = {0};
    switch (data[0] % KINDS) {
    case 0:
        check_plan(arena, &r);
        break;
    case 1:
        check_server(arena, &r);
        break;
    case 2:
        check_table(arena, &r);
        break;
    case 3:
        check_row(arena, &r);
        break;
    case 4:
        check_pull_rows(&r);
        break;
    default:
        if (answer_right(arena, &r, &right))
            touch_text(right.text);
        break;
    }
    free(exact);
    return 0;
}
