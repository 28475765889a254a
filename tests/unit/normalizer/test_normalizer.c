/* Rows become documents: canonical bytes, keys, addresses, raw preimages, digests, reasons. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "normalizer/normalizer.h"
#include "tests/unit/normalizer/rows.h"

#define CP932 .charset = RENKEI_CHARSET_CP932, .charset_name = "cp932", .nullable = 1
#define PLAIN .charset = RENKEI_CHARSET_BINARY, .charset_name = "binary", .nullable = 1

static const struct renkei_column visit_columns[] = {
    {.name = "visit_no", .type = RENKEI_TYPE_INTEGER, PLAIN, .key_position = 1},
    {.name = "IdentificationID", .type = RENKEI_TYPE_TEXT, CP932},
    {.name = "RecordDate", .type = RENKEI_TYPE_TIMESTAMP, PLAIN},
    {.name = "userName", .type = RENKEI_TYPE_TEXT, CP932},
    {.name = "allergy", .type = RENKEI_TYPE_INTEGER, PLAIN},
    {.name = "dose", .type = RENKEI_TYPE_DECIMAL, PLAIN},
};

static const char visits[] = "source: main\n"
                             "connector: mysql\n"
                             "tables:\n"
                             "  - table: visits\n"
                             "    category: EMR03\n"
                             "    key: [visit_no]\n"
                             "    patient: IdentificationID\n"
                             "    date: RecordDate\n"
                             "    personal: [userName]\n"
                             "    fields:\n"
                             "      - {column: userName}\n"
                             "      - {column: RecordDate, name: recordDate}\n"
                             "      - {column: allergy, type: bool}\n"
                             "      - {column: dose, name: 量}\n"
                             "      - {column: visit_no}\n";

struct fixture {
    struct mapping *mapping;
    struct normalizer *normalizer;
};

static void fixture_open(struct fixture *f, const char *mapping, const char *table,
                         const struct renkei_column *columns, uint32_t count) {
    struct error err = {0};
    if (mapping_parse("main.yaml", bytes_text(mapping), &f->mapping, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    if (normalizer_new(f->mapping, mapping_find(f->mapping, table), "hospital-b", columns, count,
                       "sql_mode=;", &f->normalizer, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
}

static void fixture_close(struct fixture *f) {
    normalizer_free(f->normalizer);
    mapping_free(f->mapping);
}

static struct normalized_row normalize(struct fixture *f, const struct bytes *cells,
                                       uint32_t count) {
    static struct one_row row;
    struct normalized_row result = {0};
    struct error err = {0};
    one_row_set(&row, cells, count);
    if (normalizer_row(f->normalizer, &row.batch, 0, &result, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return result;
}

static void assert_text(struct bytes found, const char *expected) {
    if (!bytes_equal(found, bytes_text(expected)))
        fail_msg("found    %.*s\n   expected %s", (int)found.len, (const char *)found.data,
                 expected);
}

static void a_row_becomes_its_document(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, visits, "visits", visit_columns, 6);
    uint32_t count = 0;
    const char *const *names = normalizer_columns(f.normalizer, &count);
    static const char *const expected[] = {"visit_no", "IdentificationID", "RecordDate",
                                           "userName", "allergy",          "dose"};
    assert_int_equal(count, 6);
    for (uint32_t i = 0; i < count; i++)
        assert_string_equal(names[i], expected[i]);

    /* 髙﨑 ソ表十 "～" in CP932: 5C as a second byte, NEC's and IBM's extensions, a wave dash. */
    const struct bytes cells[] = {
        BYTES_LITERAL("17"),
        BYTES_LITERAL("999-99-9999  "),
        BYTES_LITERAL("2011-03-24 09:30:00"),
        BYTES_LITERAL(
            "\xFB\xFC\xFA\xB1 \x83\x5C\x95\x5C\x8F\x5C \"\x81\x60\"\n\x87\x40\x87\x8A\xC0"),
        BYTES_LITERAL("1"),
        BYTES_LITERAL("12.50")};
    struct normalized_row row = normalize(&f, cells, 6);
    assert_false(row.quarantined);
    assert_text(row.document,
                "{\"address\":\"renkei://hospital-b/main/visits/17\",\"category\":\"EMR03\","
                "\"fields\":{\"allergy\":true,\"recordDate\":\"2011/03/24\","
                "\"userName\":\"髙﨑 ソ表十 \\\"～\\\"\\n①㈱ﾀ\",\"visit_no\":17,\"量\":12.5}}");
    assert_text(row.key, "17");
    assert_text(row.address, "renkei://hospital-b/main/visits/17");
    assert_text(row.patient, "999-99-9999");
    assert_text(row.date, "2011/03/24");
    size_t fields = 0;
    const struct normalizer_field *field = normalizer_fields(f.normalizer, &fields);
    assert_int_equal(fields, 5);
    assert_string_equal(field[0].name, "allergy");
    assert_string_equal(field[2].name, "userName");
    assert_true(field[2].personal);
    assert_false(field[0].personal);
    static const enum value_type types[] = {VALUE_BOOL, VALUE_DATE, VALUE_STRING, VALUE_NUMBER,
                                            VALUE_NUMBER};
    assert_memory_equal(row.types, types, sizeof types);

    assert_int_equal(row.reason_count, 1);
    assert_int_equal(row.reasons[0].reason, REASON_TIME_DROPPED);
    assert_string_equal(names[row.reasons[0].column], "RecordDate");
    size_t characters = 0;
    uint64_t beyond = 0;
    const struct character_count *counts =
        normalizer_characters(f.normalizer, &characters, &beyond);
    assert_int_equal(characters, 1);
    assert_int_equal(counts[0].kind, CHARACTER_WAVE_DASH);
    assert_int_equal(counts[0].code, 0x8160);
    assert_string_equal(counts[0].sample_key, "17");
    fixture_close(&f);
}

/* docs/formats.md, byte by byte. */
static void the_raw_preimage_has_every_selected_byte(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "id", .type = RENKEI_TYPE_TEXT, CP932},
        {.name = "a", .type = RENKEI_TYPE_TEXT, CP932},
        {.name = "b", .type = RENKEI_TYPE_TEXT, CP932},
    };
    struct fixture f;
    fixture_open(&f, "source: s\nconnector: c\ntables: [{table: t, category: EMR01, key: id}]\n",
                 "t", columns, 3);
    const struct bytes cells[] = {BYTES_LITERAL("\x95\x5C"), bytes_of(NULL, 0), BYTES_LITERAL("")};
    struct normalized_row row = normalize(&f, cells, 3);
    assert_text(row.key, "%95%5C");
    static const char expected[] = "\1"
                                   "\0\0\0\x20renkei://hospital-b/s/t/%95%5C"
                                   "\0\0\0\3"
                                   "\0\0\0\0\2\x95\x5C"
                                   "\1\0\0\0\0"
                                   "\0\0\0\0\0";
    /* The address is 23 + 6 bytes long. */
    char copy[sizeof expected];
    memcpy(copy, expected, sizeof expected);
    copy[4] = (char)strlen("renkei://hospital-b/s/t/%95%5C");
    assert_int_equal(row.raw.len, sizeof expected - 1);
    assert_memory_equal(row.raw.data, copy, sizeof expected - 1);
    assert_text(row.document,
                "{\"address\":\"renkei://hospital-b/s/t/%95%5C\",\"category\":\"EMR01\","
                "\"fields\":{\"a\":null,\"b\":\"\",\"id\":\"表\"}}");
    static const enum value_type types[] = {VALUE_EMPTY, VALUE_STRING, VALUE_STRING};
    assert_memory_equal(row.types, types, sizeof types);
    fixture_close(&f);
}

/* sha256sum is the other implementation. */
static void digests_are_what_sha256sum_says(void **state) {
    (void)state;
    uint8_t r[32];
    for (int i = 0; i < 32; i++)
        r[i] = (uint8_t)(i * 7 + 1);
    struct sha256 *h = sha256_new();
    char r_octal[4 * 32 + 1] = ""; /* for the shell's printf */
    for (int i = 0; i < 32; i++)
        snprintf(r_octal + 4 * i, 5, "\\%03o", r[i]);
    static const char document[] = "{\"address\":\"renkei://a/b/c/d\"}";
    static const char *const domains[] = {"renkei/content/1", "renkei/raw/1"};
    for (int i = 0; i < 2; i++) {
        char command[512];
        char line[128] = "";
        snprintf(command, sizeof command,
                 "(printf '%s\\n'; printf '%s'; printf %%s '%s') | sha256sum", domains[i], r_octal,
                 document);
        FILE *pipe = popen(command, "r");
        assert_non_null(pipe);
        assert_non_null(fgets(line, sizeof line, pipe));
        pclose(pipe);
        struct hash digest = i == 0 ? digest_content(h, r, bytes_text(document))
                                    : digest_raw(h, r, bytes_text(document));
        char hex[65];
        text_hex(digest.byte, 32, hex);
        line[64] = '\0';
        assert_string_equal(hex, line);
    }
    sha256_free(h);
}

static void what_is_invalid_is_quarantined_or_replaced_as_the_mapping_says(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "id", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "a", .type = RENKEI_TYPE_TEXT, CP932},
    };
    const struct bytes cells[] = {BYTES_LITERAL("5"), BYTES_LITERAL("x\x81\"y\xFDz\x85\xA0")};
    struct fixture f;
    fixture_open(&f, "source: s\nconnector: c\ntables: [{table: t, category: EMR01, key: id}]\n",
                 "t", columns, 2);
    struct normalized_row row = normalize(&f, cells, 2);
    assert_true(row.quarantined);
    assert_int_equal(row.document.len, 0);
    assert_text(row.key, "5");
    assert_int_equal(row.reason_count, 1);
    assert_int_equal(row.reasons[0].reason, REASON_INVALID_BYTES);
    assert_int_equal(row.reasons[0].code, 0x81);
    assert_int_equal(row.reasons[0].count, 3);
    const struct bytes good[] = {BYTES_LITERAL("6"), BYTES_LITERAL("x")};
    assert_false(normalize(&f, good, 2).quarantined);
    fixture_close(&f);

    fixture_open(&f,
                 "source: s\nconnector: c\ninvalid_text: replace\n"
                 "tables: [{table: t, category: EMR01, key: id}]\n",
                 "t", columns, 2);
    row = normalize(&f, cells, 2);
    assert_false(row.quarantined);
    assert_text(row.document, "{\"address\":\"renkei://hospital-b/s/t/5\",\"category\":\"EMR01\","
                              "\"fields\":{\"a\":\"x\uFFFD\\\"y\uFFFDz\uFFFD\",\"id\":5}}");
    assert_int_equal(row.reasons[0].count, 3);
    fixture_close(&f);
}

/* Whose record it is does not rest on a replaced character. */
static void a_patient_is_never_replaced(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "id", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "p", .type = RENKEI_TYPE_TEXT, CP932},
    };
    struct fixture f;
    fixture_open(&f,
                 "source: s\nconnector: c\ninvalid_text: replace\n"
                 "tables: [{table: t, category: EMR01, key: id, patient: p}]\n",
                 "t", columns, 2);
    const struct bytes cells[] = {BYTES_LITERAL("5"), BYTES_LITERAL("12\xFF")};
    assert_true(normalize(&f, cells, 2).quarantined);
    const struct bytes null[] = {BYTES_LITERAL("5"), bytes_of(NULL, 0)};
    struct normalized_row row = normalize(&f, null, 2);
    assert_false(row.quarantined);
    assert_int_equal(row.patient.len, 0);
    struct renkei_value value;
    struct error err = {0};
    assert_int_equal(normalizer_patient_value(f.normalizer, bytes_text("表髙①"), &value, &err),
                     ERROR_NONE);
    assert_int_equal(value.len, 6);
    assert_memory_equal(value.data, "\x95\x5C\xFB\xFC\x87\x40", 6);
    assert_int_equal(normalizer_patient_value(f.normalizer, bytes_text("😀"), &value, &err),
                     ERROR_BAD_REQUEST);
    fixture_close(&f);
}

static void keys_go_to_addresses_and_back(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "\x94\x4E", .type = RENKEI_TYPE_TEXT, CP932},
        {.name = "no", .type = RENKEI_TYPE_TEXT, CP932},
    };
    struct fixture f;
    fixture_open(&f,
                 "source: s\nconnector: c\n"
                 "tables: [{table: 予約, category: EMR01, key: [年, no]}]\n",
                 "予約", columns, 2);
    uint32_t count = 0;
    const char *const *names = normalizer_columns(f.normalizer, &count);
    assert_string_equal(names[0], "\x94\x4E"); /* as the source names it */
    const struct bytes cells[] = {BYTES_LITERAL("A,/%\x60"), BYTES_LITERAL("x  ")};
    struct normalized_row row = normalize(&f, cells, 2);
    assert_text(row.key, "A%2C%2F%25%60,x%20%20");
    assert_text(row.address, "renkei://hospital-b/s/%E4%BA%88%E7%B4%84/A%2C%2F%25%60,x%20%20");
    const struct renkei_value *values = NULL;
    struct error err = {0};
    assert_int_equal(normalizer_key_values(f.normalizer, row.key, &values, &count, &err),
                     ERROR_NONE);
    assert_int_equal(count, 2);
    assert_int_equal(values[0].len, 5);
    assert_memory_equal(values[0].data, "A,/%\x60", 5);
    assert_int_equal(values[1].len, 3);
    assert_memory_equal(values[1].data, "x  ", 3);
    static const char *const wrong[] = {"a", "a,b,c", "%41,b", "a%2c,b", "a b,c", "%,b", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(
            normalizer_key_values(f.normalizer, bytes_text(wrong[i]), &values, &count, &err),
            ERROR_BAD_REQUEST);
    assert_int_equal(normalizer_key_values(f.normalizer, bytes_text(","), &values, &count, &err),
                     ERROR_NONE);

    struct address address;
    assert_int_equal(address_parse(row.address, &address, &err), ERROR_NONE);
    assert_string_equal(address.hospital, "hospital-b");
    assert_string_equal(address.source, "s");
    assert_string_equal(address.table, "予約");
    assert_string_equal(address.key, "A%2C%2F%25%60,x%20%20");
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, 1000);
    address_write(address.hospital, address.source, address.table, bytes_text(address.key), &again);
    assert_true(bytes_equal(buffer_bytes(&again), row.address));

    const struct bytes null[] = {BYTES_LITERAL("a"), bytes_of(NULL, 0)};
    assert_true(normalize(&f, null, 2).quarantined);
    char longest[NORMALIZER_KEY_BYTES_MAX + 1];
    memset(longest, 'k', sizeof longest);
    const struct bytes fits[] = {bytes_of(longest, sizeof longest - 2), BYTES_LITERAL("")};
    assert_false(normalize(&f, fits, 2).quarantined);
    const struct bytes exceeds[] = {bytes_of(longest, sizeof longest - 1), BYTES_LITERAL("")};
    row = normalize(&f, exceeds, 2);
    assert_true(row.quarantined);
    assert_int_equal(row.reasons[0].reason, REASON_LIMIT);
    assert_int_equal(row.key.len, 0);
    fixture_close(&f);
}

static void addresses_have_one_form(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "renkei://",
                                        "http://a/b/c/d",
                                        "renkei://A/b/c/d",
                                        "renkei://a/B/c/d",
                                        "renkei://a/b//d",
                                        "renkei://a/b/c",
                                        "renkei://a/b/c/d/e",
                                        "renkei://a/b/%63/d",
                                        "renkei://a/b/%95%5C/d",
                                        "renkei://a/b/c/%64",
                                        "renkei://a/b/%00/d",
                                        "renkei://-a/b/c/d",
                                        "renkei://a/b/c/d e",
                                        "renkei:///b/c/d"};
    struct address address;
    struct error err = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (address_parse(bytes_text(wrong[i]), &address, &err) != ERROR_BAD_REQUEST)
            fail_msg("%s", wrong[i]);
    assert_int_equal(address_parse(bytes_text("renkei://a/b/c/"), &address, &err), ERROR_NONE);
    assert_string_equal(address.key, "");
}

static void a_mapping_that_does_not_fit_says_where(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "visit_no", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "note",
         .type = RENKEI_TYPE_TEXT,
         .charset = RENKEI_CHARSET_UNKNOWN,
         .charset_name = "SQL_ASCII"},
        {.name = "photo", .type = RENKEI_TYPE_BINARY, PLAIN},
        {.name = "seen", .type = RENKEI_TYPE_TIMESTAMP_ZONE, PLAIN},
    };
    static const struct {
        const char *table;
        const char *message;
        const char *hint;
    } rows[] = {
        {"key: visit_no, fields: [{column: visitno}]",
         "main.yaml:3: table 't': there is no column 'visitno' for a field",
         "did you mean 'visit_no'?"},
        {"key: patient, fields: [{column: visit_no}]",
         "main.yaml:3: table 't': there is no column 'patient' for 'key'",
         "its columns: visit_no, note, photo, seen"},
        {"key: visit_no, patient: x, fields: [{column: visit_no}]",
         "main.yaml:3: table 't': there is no column 'x' for 'patient'",
         "its columns: visit_no, note, photo, seen"},
        {"key: visit_no, fields: [{column: note}]",
         "main.yaml:3: table 't': column 'note' has no charset: found 'SQL_ASCII'",
         "name it: 'charset: cp932' in the field or at the top of the mapping"},
        {"key: visit_no, fields: [{column: photo, type: date}]",
         "main.yaml:3: table 't': column 'photo' is binary: it cannot become a date", NULL},
        {"key: visit_no, fields: [{column: seen}]",
         "main.yaml:3: table 't': column 'seen' holds instants, and the mapping has no 'time_zone' "
         "to tell which day they are",
         "add the hospital's own to the mapping: time_zone: \"+09:00\" is Japan's"},
        {"key: visit_no, date: seen, fields: [{column: visit_no}]",
         "main.yaml:3: table 't': column 'seen' holds instants, and the mapping has no 'time_zone' "
         "to tell which day they are",
         "add the hospital's own to the mapping: time_zone: \"+09:00\" is Japan's"},
        {"key: visit_no, personal: [nobody]",
         "main.yaml:3: table 't': column 'note' has no charset: found 'SQL_ASCII'",
         "name it: 'charset: cp932' in the field or at the top of the mapping"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        struct mapping *mapping = NULL;
        struct normalizer *untouched = NULL;
        struct error err = {0};
        snprintf(text, sizeof text,
                 "source: s\nconnector: c\ntables: [{table: t, category: EMR01, %s}]\n",
                 rows[i].table);
        assert_int_equal(mapping_parse("main.yaml", bytes_text(text), &mapping, &err), ERROR_NONE);
        assert_int_equal(
            normalizer_new(mapping, &mapping->tables[0], "h", columns, 4, "", &untouched, &err),
            ERROR_MAPPING);
        assert_string_equal(err.message, rows[i].message);
        assert_string_equal(error_hint_text(&err),
                            rows[i].hint != NULL ? rows[i].hint : error_info(ERROR_MAPPING)->hint);
        assert_null(untouched);
        mapping_free(mapping);
    }
}

/* The description is what the digest is of, and changes with everything that changes a document. */
static void the_mapping_digest_covers_what_decides_a_document(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, visits, "visits", visit_columns, 6);
    struct hash first = normalizer_mapping_digest(f.normalizer);
    struct bytes description = normalizer_mapping_description(f.normalizer);
    assert_non_null(memmem(description.data, description.len, "\"settings\":\"sql_mode=;\"", 23));
    struct bytes parts[] = {BYTES_LITERAL("renkei/mapping/1\n"), description};
    struct hash expected = sha256_of_parts(parts, 2);
    assert_true(hash_equal(&first, &expected));
    fixture_close(&f);
    struct renkei_column changed[6];
    memcpy(changed, visit_columns, sizeof changed);
    changed[3].charset = RENKEI_CHARSET_UTF8;
    fixture_open(&f, visits, "visits", changed, 6);
    struct hash second = normalizer_mapping_digest(f.normalizer);
    assert_false(hash_equal(&first, &second));
    fixture_close(&f);
}

static void a_batch_of_another_shape_is_refused(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, visits, "visits", visit_columns, 6);
    const struct bytes cells[] = {BYTES_LITERAL("17")};
    struct one_row row;
    struct normalized_row untouched = {0};
    struct error err = {0};
    one_row_set(&row, cells, 1);
    assert_int_equal(normalizer_row(f.normalizer, &row.batch, 0, &untouched, &err), ERROR_PLUGIN);
    fixture_close(&f);
}

/* RFC 8785 sorts by UTF-16 units: U+1F600 (D83D) stands before U+FF21. */
static void fields_are_sorted_by_utf16_units(void **state) {
    (void)state;
    static const struct renkei_column columns[] = {
        {.name = "Ａ", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "😀", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "ab", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "a", .type = RENKEI_TYPE_INTEGER, PLAIN},
        {.name = "\xEE\x80\x80", .type = RENKEI_TYPE_INTEGER, PLAIN},
    };
    struct fixture f;
    fixture_open(&f, "source: s\nconnector: c\ntables: [{table: t, category: EMR01, key: a}]\n",
                 "t", columns, 5);
    size_t count = 0;
    const struct normalizer_field *fields = normalizer_fields(f.normalizer, &count);
    static const char *const sorted[] = {"a", "ab", "😀", "\xEE\x80\x80", "Ａ"};
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(fields[i].name, sorted[i]);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_becomes_its_document),
        cmocka_unit_test(the_raw_preimage_has_every_selected_byte),
        cmocka_unit_test(digests_are_what_sha256sum_says),
        cmocka_unit_test(what_is_invalid_is_quarantined_or_replaced_as_the_mapping_says),
        cmocka_unit_test(a_patient_is_never_replaced),
        cmocka_unit_test(keys_go_to_addresses_and_back),
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(a_mapping_that_does_not_fit_says_where),
        cmocka_unit_test(the_mapping_digest_covers_what_decides_a_document),
        cmocka_unit_test(a_batch_of_another_shape_is_refused),
        cmocka_unit_test(fields_are_sorted_by_utf16_units),
    };
    return cmocka_run_group_tests_name("normalizer", tests, NULL, NULL);
}
