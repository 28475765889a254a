/*
 * The normalizer in memory: transcoding field by field beside ICU's own converter, and each step of
 * a record. One thread, medians of ROUNDS. usage: bench_normalize [--json]
 *
 * Says the processor's SHA instructions with the digests: without them they cost twice as much.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unicode/ucnv.h>

#include "base/clock.h"
#include "base/hash.h"
#include "normalizer/charset.h"
#include "normalizer/normalizer.h"

enum {
    ROUNDS = 9,
    ROUND_BYTES = 4 << 20, /* of input, transcoded in one round */
    ROWS = 4000,
    FIELDS = 12,
    CELL_BYTES_MAX = 64,
};

static bool json;

static int compare_doubles(const void *a, const void *b) {
    const double *left = a;
    const double *right = b;
    return (*left > *right) - (*left < *right);
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    return values[ROUNDS / 2];
}

static void report(const char *name, double value, const char *unit, const char *peer,
                   double peer_value) {
    if (!json && peer == NULL)
        printf("%-44s %10.3f %s\n", name, value, unit);
    else if (!json)
        printf("%-44s %10.3f %s; %s %.3f, ratio %.2f\n", name, value, unit, peer, peer_value,
               value / peer_value);
    else if (peer == NULL)
        printf("{\"bench\":\"normalize\",\"case\":\"%s\",\"value\":%.4f,\"unit\":\"%s\","
               "\"peer\":null,\"peer_value\":null,\"ratio\":null}\n",
               name, value, unit);
    else
        printf("{\"bench\":\"normalize\",\"case\":\"%s\",\"value\":%.4f,\"unit\":\"%s\","
               "\"peer\":\"%s\",\"peer_value\":%.4f,\"ratio\":%.3f}\n",
               name, value, unit, peer, peer_value, value / peer_value);
}

static void die(const struct error *err) {
    fprintf(stderr, "bench_normalize: %s\n", err->message);
    exit(1);
}

static double seconds_since(uint64_t from_ns) {
    return (double)(clock_monotonic_ns() - from_ns) / 1e9;
}

/* --- fields --- */

struct fields {
    struct buffer bytes;
    struct bytes field[ROWS * 4];
    size_t count;
    size_t total;
};

/* BYTES_LITERAL is no constant expression. */
#define FIELD(text) {(const uint8_t *)(text), sizeof(text) - 1}

/* Fields as charts have them, 8 to 60 bytes; two thirds of the bytes of the Japanese ones are
 * ASCII (digits, codes, units), or none of the others'. */
static const struct bytes japanese[] = {
    FIELD("\x8E\x52\x93\x63 \x91\xBE\x98\x59"),
    FIELD("ICD10: I10 \x96\x7B\x91\xD4\x90\xAB\x8D\x82\x8C\x8C\x88\xB3\x8F\xC7"),
    FIELD("BP 142/88 mmHg, HR 72, BT 36.5, SpO2 98% \x88\xC0\x90\xC3\x8E\x9E"),
    FIELD("\x83\x41\x83\x80\x83\x8D\x83\x57\x83\x73\x83\x93 5mg 1T 1x/day 28\x93\xFA\x95\xAA"),
    FIELD("2011-03-24T09:30:00 \x8A\x4F\x97\x88"),
    FIELD("Na 140 K 4.1 Cl 103 BUN 15 Cre 0.8 \x90\xB3\x8F\xED"),
    FIELD("tel 03-1234-5678 \x93\x8C\x8B\x9E\x93\x73"),
    FIELD("WBC 5800 RBC 432 Hb 13.2 Ht 39.8 PLT 21.4 CRP 0.03"),
};
static const struct bytes ascii[] = {
    FIELD("BP 142/88 mmHg, HR 72, BT 36.5, SpO2 98%"),
    FIELD("Na 140 K 4.1 Cl 103 BUN 15 Cre 0.8"),
    FIELD("999-99-9999"),
    FIELD("Amlodipine 5mg 1T 1x/day 28 days, after breakfast"),
};

static void fill(struct fields *f, const struct bytes *samples, size_t sample_count) {
    f->count = 0;
    f->total = 0;
    buffer_clear(&f->bytes);
    for (size_t i = 0; i < sizeof f->field / sizeof f->field[0]; i++) {
        f->field[i] = samples[(i * 7 + i / 13) % sample_count];
        f->total += f->field[i].len;
        f->count++;
    }
}

static void ignore(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    (void)context;
    (void)kind;
    (void)code;
    (void)offset;
}

static double ours_mb_s(struct charset *charset, const struct fields *f, bool escape) {
    struct buffer out = {.bytes_max = 1 << 20};
    double rates[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t from = clock_monotonic_ns();
        size_t done = 0;
        while (done < ROUND_BYTES) {
            for (size_t i = 0; i < f->count; i++) {
                buffer_clear(&out);
                charset_decode(charset, f->field[i], escape, ignore, NULL, &out);
            }
            done += f->total;
        }
        rates[round] = (double)done / seconds_since(from) / 1e6;
    }
    buffer_done(&out);
    return median(rates);
}

/* What a program would do with ICU alone: two open converters, one call a field. */
static double icu_mb_s(const struct fields *f) {
    UErrorCode status = U_ZERO_ERROR;
    UConverter *from_converter = ucnv_open("ibm-943_P15A-2003", &status);
    UConverter *to_converter = ucnv_open("UTF-8", &status);
    double rates[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t from = clock_monotonic_ns();
        size_t done = 0;
        while (done < ROUND_BYTES) {
            for (size_t i = 0; i < f->count; i++) {
                char out[512];
                UChar pivot[256];
                UChar *pivot_source = pivot;
                UChar *pivot_target = pivot;
                char *target = out;
                const char *source = (const char *)f->field[i].data;
                ucnv_convertEx(to_converter, from_converter, &target, out + sizeof out, &source,
                               source + f->field[i].len, pivot, &pivot_source, &pivot_target,
                               pivot + 256, true, true, &status);
            }
            done += f->total;
        }
        rates[round] = (double)done / seconds_since(from) / 1e6;
    }
    if (U_FAILURE(status)) {
        fprintf(stderr, "bench_normalize: ICU: %s\n", u_errorName(status));
        exit(1);
    }
    ucnv_close(from_converter);
    ucnv_close(to_converter);
    return median(rates);
}

static void bench_fields(void) {
    static struct fields f = {.bytes = {.bytes_max = 1 << 20}};
    struct charset *charset = NULL;
    struct error err = {0};
    if (charset_new(RENKEI_CHARSET_CP932, NULL, &charset, &err) != ERROR_NONE)
        die(&err);
    fill(&f, japanese, sizeof japanese / sizeof japanese[0]);
    report("transcode CP932 fields, Japanese", ours_mb_s(charset, &f, false), "MB/s",
           "ucnv_convertEx", icu_mb_s(&f));
    report("transcode CP932 fields, Japanese, escaped", ours_mb_s(charset, &f, true), "MB/s", NULL,
           0);
    fill(&f, ascii, sizeof ascii / sizeof ascii[0]);
    report("transcode CP932 fields, ASCII", ours_mb_s(charset, &f, false), "MB/s",
           "ucnv_convertEx", icu_mb_s(&f));
    charset_free(charset);
}

/* --- records --- */

static const char mapping_text[] =
    "source: s\nconnector: c\ntables: [{table: visits, category: EMR03, key: visit_no,"
    " patient: patient_id, date: record_date}]\n";

#define TEXT_COLUMN(column)                                                                        \
    { .name = column, .type = RENKEI_TYPE_TEXT, .charset = RENKEI_CHARSET_CP932 }

static const struct renkei_column columns[FIELDS] = {
    {.name = "visit_no", .type = RENKEI_TYPE_INTEGER},
    TEXT_COLUMN("patient_id"),
    {.name = "record_date", .type = RENKEI_TYPE_TIMESTAMP},
    TEXT_COLUMN("name"),
    TEXT_COLUMN("department"),
    TEXT_COLUMN("diagnosis"),
    TEXT_COLUMN("prescription"),
    TEXT_COLUMN("note"),
    {.name = "dose", .type = RENKEI_TYPE_DECIMAL},
    {.name = "allergy", .type = RENKEI_TYPE_INTEGER},
    {.name = "weight", .type = RENKEI_TYPE_DECIMAL},
    TEXT_COLUMN("doctor"),
};

struct table {
    uint8_t *data;
    uint32_t *offsets;
    uint32_t *lengths;
    struct renkei_batch_column columns[FIELDS];
    struct renkei_batch batch;
    size_t bytes;
};

static void make_table(struct table *t) {
    t->data = malloc((size_t)ROWS * FIELDS * CELL_BYTES_MAX);
    t->offsets = malloc(sizeof(uint32_t) * ROWS * FIELDS);
    t->lengths = malloc(sizeof(uint32_t) * ROWS * FIELDS);
    if (t->data == NULL || t->offsets == NULL || t->lengths == NULL)
        exit(1);
    uint32_t at = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t c = 0; c < FIELDS; c++) {
            char cell[CELL_BYTES_MAX];
            struct bytes text = japanese[(row + c * 3) % 8];
            int len = 0;
            if (columns[c].type == RENKEI_TYPE_INTEGER)
                len = snprintf(cell, sizeof cell, "%u", c == 0 ? row : row % 2);
            else if (columns[c].type == RENKEI_TYPE_DECIMAL)
                len = snprintf(cell, sizeof cell, "%u.%02u", row % 90, row % 100);
            else if (columns[c].type == RENKEI_TYPE_TIMESTAMP)
                len = snprintf(cell, sizeof cell, "20%02u-%02u-%02u 09:30:00", row % 30,
                               row % 12 + 1, row % 28 + 1);
            else if (c == 1)
                len = snprintf(cell, sizeof cell, "%03u-%02u-%04u", row % 999, row % 99, row);
            if (len > 0)
                text = bytes_of(cell, (size_t)len);
            t->offsets[c * ROWS + row] = at;
            t->lengths[c * ROWS + row] = (uint32_t)text.len;
            memcpy(t->data + at, text.data, text.len);
            at += (uint32_t)text.len;
        }
    }
    for (uint32_t c = 0; c < FIELDS; c++)
        t->columns[c] =
            (struct renkei_batch_column){t->data, t->offsets + c * ROWS, t->lengths + c * ROWS};
    t->batch = (struct renkei_batch){ROWS, FIELDS, t->columns};
    t->bytes = at;
}

static void bench_records(void) {
    struct table table;
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    struct error err = {0};
    struct sha256 *sha = sha256_new();
    uint8_t r[32] = {1};
    double rows_us[ROUNDS];
    double content_us[ROUNDS];
    double raw_us[ROUNDS];
    double whole_us[ROUNDS];
    make_table(&table);
    if (mapping_parse("m", bytes_text(mapping_text), &mapping, &err) != ERROR_NONE ||
        normalizer_new(mapping, &mapping->tables[0], "h", columns, FIELDS, "", &normalizer, &err) !=
            ERROR_NONE)
        die(&err);
    size_t document_bytes = 0;
    size_t raw_bytes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int step = 0; step < 4; step++) {
            uint64_t from = clock_monotonic_ns();
            for (uint32_t row = 0; row < table.batch.row_count; row++) {
                struct normalized_row result = {0};
                bool first = step == 1 || step == 2; /* digests alone: of the first row's bytes */
                if (!first || row == 0)
                    if (normalizer_row(normalizer, &table.batch, row, &result, &err) != ERROR_NONE)
                        die(&err);
                static struct bytes document;
                static struct bytes raw;
                if (!first || row == 0) {
                    document = result.document;
                    raw = result.raw;
                }
                document_bytes += step == 0 && round == 0 ? document.len : 0;
                raw_bytes += step == 0 && round == 0 ? raw.len : 0;
                if (step == 1 || step == 3)
                    r[0] ^= digest_content(sha, r, document).byte[0];
                if (step == 2 || step == 3)
                    r[1] ^= digest_raw(sha, r, raw).byte[0];
            }
            double us = seconds_since(from) * 1e6 / table.batch.row_count;
            (step == 0 ? rows_us : step == 1 ? content_us : step == 2 ? raw_us : whole_us)[round] =
                us;
        }
    }
    if (!json)
        printf("records of %zu B raw cells: document %zu B, raw preimage %zu B\n",
               table.bytes / ROWS, document_bytes / table.batch.row_count,
               raw_bytes / table.batch.row_count);
    report("record: key, preimage, document", median(rows_us), "us", NULL, 0);
    report("record: content digest", median(content_us), "us", NULL, 0);
    report("record: raw digest", median(raw_us), "us", NULL, 0);
    report("record: all of it", median(whole_us), "us", NULL, 0);
    sha256_free(sha);
    normalizer_free(normalizer);
    mapping_free(mapping);
    free(table.data);
    free(table.offsets);
    free(table.lengths);
}

int main(int argc, char **argv) {
    json = argc > 1 && strcmp(argv[1], "--json") == 0;
    bench_fields();
    bench_records();
    return 0;
}
