/* Batches as a plugin may hand them over: many rows, columns that share bytes or overlap, NULLs,
 * cells of no bytes, another number of columns or rows than there should be. A row's document,
 * address, key and raw preimage do not depend on the rows around it, nor on where its bytes lie; a
 * batch of another shape is refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "normalizer/normalizer.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COLUMNS = 6, ROWS_MAX = 16, COPY_MAX = 1 << 20, HEAD = 3 };

static const struct renkei_column columns[COLUMNS] = {
    {.name = "k", .type = RENKEI_TYPE_TEXT, .charset = RENKEI_CHARSET_CP932},
    {.name = "p", .type = RENKEI_TYPE_TEXT, .charset = RENKEI_CHARSET_EUC_JP},
    {.name = "n", .type = RENKEI_TYPE_DECIMAL},
    {.name = "d", .type = RENKEI_TYPE_TIMESTAMP},
    {.name = "j", .type = RENKEI_TYPE_JSON, .charset = RENKEI_CHARSET_UTF8},
    {.name = "b", .type = RENKEI_TYPE_BINARY},
};

static struct normalizer *make(void) {
    static const char text[] =
        "source: s\nconnector: c\ninvalid_text: replace\ntables:\n  - {table: t, category: EMR01,"
        " key: [k], patient: p, date: d}\n";
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    REQUIRE(mapping_parse("m", bytes_text(text), &mapping, NULL) == ERROR_NONE);
    REQUIRE(normalizer_new(mapping, &mapping->tables[0], "h", columns, COLUMNS, "", &normalizer,
                           NULL) == ERROR_NONE);
    return normalizer;
}

/* A row's parts, one after another: they borrow from a normalizer that goes on. */
struct copy {
    uint8_t *bytes;
    size_t len;
};

static void add(struct copy *copy, struct bytes part) {
    REQUIRE(copy->len + part.len + sizeof part.len <= COPY_MAX);
    memcpy(copy->bytes + copy->len, &part.len, sizeof part.len);
    copy->len += sizeof part.len;
    if (part.len > 0)
        memcpy(copy->bytes + copy->len, part.data, part.len);
    copy->len += part.len;
}

static void keep(const struct normalized_row *row, struct copy *copy) {
    copy->len = 0;
    add(copy, row->key);
    add(copy, row->address);
    add(copy, row->patient);
    add(copy, row->date);
    add(copy, row->document);
    add(copy, row->raw);
    add(copy, bytes_of((const uint8_t *)&row->quarantined, sizeof row->quarantined));
    for (size_t i = 0; i < row->reason_count; i++) {
        uint32_t words[] = {row->reasons[i].column, row->reasons[i].reason, row->reasons[i].code,
                            row->reasons[i].count};
        add(copy, bytes_of((const uint8_t *)words, sizeof words));
    }
}

/* The row alone: its cells in memory of their own, which ends where they end. */
static void normalize_alone(struct normalizer *n, const struct renkei_batch *batch, uint32_t row,
                            struct copy *copy) {
    struct renkei_batch_column alone[COLUMNS];
    struct normalized_row result;
    uint32_t lengths[COLUMNS];
    static const uint32_t offset;
    uint8_t *cells[COLUMNS];
    for (uint32_t i = 0; i < COLUMNS; i++) {
        lengths[i] = batch->columns[i].length[row];
        size_t len = lengths[i] == RENKEI_NULL ? 0 : lengths[i];
        cells[i] = malloc(len + (len == 0));
        REQUIRE(cells[i] != NULL);
        memcpy(cells[i], batch->columns[i].data + batch->columns[i].offset[row], len);
        alone[i] = (struct renkei_batch_column){cells[i], &offset, &lengths[i]};
    }
    struct renkei_batch one = {1, COLUMNS, alone};
    REQUIRE(normalizer_row(n, &one, 0, &result, NULL) == ERROR_NONE);
    keep(&result, copy);
    for (uint32_t i = 0; i < COLUMNS; i++)
        free(cells[i]);
}

static void refuse_other_shapes(struct normalizer *n, struct renkei_batch batch, uint8_t more) {
    struct normalized_row untouched = {.reason_count = 7};
    REQUIRE(normalizer_row(n, &batch, batch.row_count + more, &untouched, NULL) == ERROR_PLUGIN);
    batch.column_count += more % 2 == 0 ? 1 : UINT32_MAX;
    REQUIRE(normalizer_row(n, &batch, 0, &untouched, NULL) == ERROR_PLUGIN);
    REQUIRE(untouched.reason_count == 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct normalizer *together, *apart;
    static uint8_t first[COPY_MAX], second[COPY_MAX];
    static uint32_t offsets[COLUMNS][ROWS_MAX], lengths[COLUMNS][ROWS_MAX];
    struct renkei_batch_column cells[COLUMNS];
    if (together == NULL) {
        together = make();
        apart = make();
    }
    if (size < HEAD)
        return 0;
    uint32_t rows = 1 + data[0] % ROWS_MAX;
    /* Two bytes a cell say where it is, of what the table leaves over. */
    size_t head = HEAD + (size_t)rows * COLUMNS * 2;
    if (size <= head)
        return 0;
    size_t pool = size - head;
    uint8_t *exact = malloc(pool);
    REQUIRE(exact != NULL);
    memcpy(exact, data + head, pool);
    for (uint32_t i = 0; i < COLUMNS; i++) {
        for (uint32_t row = 0; row < rows; row++) {
            const uint8_t *cell = data + HEAD + ((size_t)row * COLUMNS + i) * 2;
            offsets[i][row] = (uint32_t)(cell[0] * pool / 256);
            uint32_t left = (uint32_t)pool - offsets[i][row];
            lengths[i][row] = cell[1] == 255 ? RENKEI_NULL : cell[1] < left ? cell[1] : left;
        }
        cells[i] = (struct renkei_batch_column){exact, offsets[i], lengths[i]};
    }
    struct renkei_batch batch = {rows, COLUMNS, cells};
    for (uint32_t row = 0; row < rows; row++) {
        struct normalized_row result;
        struct copy ours = {first, 0}, alone = {second, 0};
        REQUIRE(normalizer_row(together, &batch, row, &result, NULL) == ERROR_NONE);
        keep(&result, &ours);
        normalize_alone(apart, &batch, row, &alone);
        REQUIRE(ours.len == alone.len && memcmp(first, second, ours.len) == 0);
    }
    refuse_other_shapes(together, batch, data[1]);
    free(exact);
    return 0;
}
