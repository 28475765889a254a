/* Rows as a plugin may hand them over: cells cut from the input by their length bytes, one column of
 * every type of a source under every type of a mapping. A document that comes out is canonical, its
 * address and key go back and forth, and the raw preimage holds every byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "normalizer/normalizer.h"
#include "normalizer/value.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TYPES = RENKEI_TYPE_GEOMETRY + 1, COLUMNS = TYPES + 1, KINDS = 5, DOCUMENT_MAX = 1 << 22 };

static struct normalizer *normalizers[KINDS];
static char names[COLUMNS][4];
static struct renkei_column columns[COLUMNS];

/* Kind 0 takes every type as the source says it; the others map every column to one type. Texts
 * are CP932 in kind 0 and UTF-8 in the others. */
static struct normalizer *make(unsigned kind) {
    static const char *const types[KINDS] = {"", ", type: string", ", type: number",
                                             ", type: date, era: flag", ", type: bool"};
    struct buffer text = {.bytes_max = 1 << 16};
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    struct error err = {0};
    buffer_append_format(&text,
                         "source: s\nconnector: c\ncharset: %s\ninvalid_text: %s\n"
                         "time_zone: \"+09:00\"\ntables:\n  - {table: 表, category: EMR16,"
                         " key: [k, c01], patient: c01, date: c08, fields: [{column: k}",
                         kind == 0 ? "cp932" : "utf-8", kind < 2 ? "replace" : "quarantine");
    for (unsigned i = 0; i < TYPES; i++)
        if (kind < 2 || i != RENKEI_TYPE_BINARY)
            buffer_append_format(&text, ", {column: c%02u%s}", i, types[kind]);
    buffer_append_text(&text, "]}\n");
    REQUIRE(mapping_parse("m", buffer_bytes(&text), &mapping, &err) == ERROR_NONE);
    if (normalizer_new(mapping, &mapping->tables[0], "h", columns, COLUMNS, "", &normalizer,
                       &err) != ERROR_NONE) {
        (void)fprintf(stderr, "%s\n", err.message);
        abort();
    }
    buffer_done(&text);
    return normalizer;
}

static void make_all(void) {
    for (unsigned i = 0; i < TYPES; i++) {
        (void)snprintf(names[i], sizeof names[i], "c%02u", i);
        columns[i] = (struct renkei_column){.name = names[i], .type = (enum renkei_type)i,
                                            .bits = i == RENKEI_TYPE_BIT};
    }
    columns[TYPES] = (struct renkei_column){.name = "k", .type = RENKEI_TYPE_BINARY};
    for (unsigned kind = 0; kind < KINDS; kind++)
        normalizers[kind] = make(kind);
}

static void check_document(const struct normalized_row *row) {
    static struct buffer again = {.bytes_max = DOCUMENT_MAX};
    bool inexact = false;
    buffer_clear(&again);
    REQUIRE(value_json_canonical(row->document, &again, &inexact));
    REQUIRE(bytes_equal(buffer_bytes(&again), row->document));
}

static void check_key(struct normalizer *normalizer, const struct normalized_row *row,
                      struct bytes first) {
    const struct renkei_value *values = NULL;
    uint32_t count = 0;
    struct address address;
    REQUIRE(normalizer_key_values(normalizer, row->key, &values, &count, NULL) == ERROR_NONE);
    REQUIRE(count == 2);
    REQUIRE(bytes_equal(bytes_of(values[0].data, values[0].len), first));
    REQUIRE(address_parse(row->address, &address, NULL) == ERROR_NONE);
    REQUIRE(bytes_equal(bytes_text(address.key), row->key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct renkei_batch_column cells[COLUMNS];
    uint32_t lengths[COLUMNS];
    uint32_t offset = 0;
    struct normalized_row row;
    if (normalizers[0] == NULL)
        make_all();
    if (size == 0)
        return 0;
    struct normalizer *normalizer = normalizers[data[0] % KINDS];
    uint32_t count = 0;
    (void)normalizer_columns(normalizer, &count);
    uint8_t *exact = malloc(size);
    REQUIRE(exact != NULL);
    memcpy(exact, data, size);
    size_t at = 1;
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t left = size - at;
        uint8_t wanted = left > 0 ? exact[at++] : 255;
        left = size - at;
        lengths[i] = wanted == 255 ? RENKEI_NULL : (uint32_t)(wanted < left ? wanted : left);
        cells[i] = (struct renkei_batch_column){exact + at, &offset, &lengths[i]};
        size_t used = lengths[i] == RENKEI_NULL ? 0 : lengths[i];
        at += used;
        total += used;
    }
    struct renkei_batch batch = {1, count, cells};
    REQUIRE(normalizer_row(normalizer, &batch, 0, &row, NULL) == ERROR_NONE);
    REQUIRE(row.raw.len == 1 + 4 + row.address.len + 4 + 5 * count + total);
    REQUIRE(row.quarantined == (row.document.len == 0));
    REQUIRE(row.reason_count <= NORMALIZER_REASONS_MAX);
    REQUIRE(row.date.len == 0 || row.date.len == DATE_BYTES);
    REQUIRE(text_utf8_valid(row.patient));
    if (!row.quarantined)
        check_document(&row);
    if (row.key.len > 0 && lengths[0] != RENKEI_NULL && lengths[1] != RENKEI_NULL)
        check_key(normalizer, &row, bytes_of(cells[0].data, lengths[0]));
    free(exact);
    return 0;
}
