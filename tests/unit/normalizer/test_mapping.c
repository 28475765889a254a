/* The mapping: what a whole file says, and the words of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "normalizer/mapping.h"

static const char whole[] = "source: main\n"
                            "connector: mysql\n"
                            "connection:\n"
                            "  socket: /run/mysqld/mysqld.sock\n"
                            "  password_file: main.password\n"
                            "  database: emr\n"
                            "charset: cp932\n"
                            "invalid_text: replace\n"
                            "environment: {NLS_LANG: JAPANESE_JAPAN.JA16SJISTILDE}\n"
                            "tables:\n"
                            "  - table: visits\n"
                            "    category: EMR03\n"
                            "    key: [visit_no]\n"
                            "    patient: IdentificationID\n"
                            "    date: RecordDate\n"
                            "    personal: [userName]\n"
                            "    fields:\n"
                            "      - column: RecordDate\n"
                            "        name: recordDate\n"
                            "        type: date\n"
                            "        era: flag\n"
                            "      - column: userName\n"
                            "        charset: euc-jp\n"
                            "  - table: 予約\n"
                            "    schema: legacy\n"
                            "    category: EMR16\n"
                            "    key: [年, 番号]\n"
                            "    personal: all\n"
                            "    watermark: updated\n"
                            "    immutable: true\n";

static void a_whole_mapping_reads_as_written(void **state) {
    (void)state;
    struct mapping *mapping = NULL;
    struct error err = {0};
    if (mapping_parse("/etc/renkei/main.yaml", bytes_text(whole), &mapping, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    assert_string_equal(mapping->source, "main");
    assert_string_equal(mapping->connector, "mysql");
    assert_int_equal(mapping->option_count, 3);
    assert_string_equal(mapping->options[0].value, "/run/mysqld/mysqld.sock");
    assert_string_equal(mapping->options[1].value, "/etc/renkei/main.password");
    assert_int_equal(mapping->option_lines[2], 6);
    assert_int_equal(mapping->charset, RENKEI_CHARSET_CP932);
    assert_int_equal(mapping->invalid_text, MAPPING_REPLACE);
    assert_int_equal(mapping->environment_count, 1);
    assert_string_equal(mapping->environment[0].name, "NLS_LANG");
    assert_true(bytes_equal(mapping->text, bytes_text(whole)));
    assert_int_equal(mapping->table_count, 2);

    const struct mapping_table *visits = mapping_find(mapping, "visits");
    assert_non_null(visits);
    assert_string_equal(visits->category, "EMR03");
    assert_string_equal(visits->schema, "");
    assert_int_equal(visits->key_count, 1);
    assert_string_equal(visits->patient, "IdentificationID");
    assert_string_equal(visits->date, "RecordDate");
    assert_null(visits->watermark);
    assert_false(visits->all_columns);
    assert_int_equal(visits->field_count, 2);
    assert_string_equal(visits->fields[0].name, "recordDate");
    assert_true(visits->fields[0].typed);
    assert_int_equal(visits->fields[0].type, VALUE_DATE);
    assert_int_equal(visits->fields[0].era, MAPPING_ERA_FLAG);
    assert_false(visits->fields[0].personal);
    assert_int_equal(visits->fields[0].line, 18);
    assert_string_equal(visits->fields[1].name, "userName");
    assert_false(visits->fields[1].typed);
    assert_int_equal(visits->fields[1].charset, RENKEI_CHARSET_EUC_JP);
    assert_true(visits->fields[1].personal);

    const struct mapping_table *booked = mapping_find(mapping, "予約");
    assert_non_null(booked);
    assert_true(booked->all_columns);
    assert_true(booked->personal_all);
    assert_true(booked->immutable);
    assert_int_equal(booked->key_count, 2);
    assert_string_equal(booked->keys[1], "番号");
    assert_string_equal(booked->watermark, "updated");
    assert_null(mapping_find(mapping, "visit"));
    mapping_free(mapping);
    mapping_free(NULL);
}

#define HEAD "source: main\nconnector: mysql\ntables:\n  - table: t\n    category: EMR01\n"

static void a_wrong_mapping_is_refused_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *message;
        const char *hint;
    } rows[] = {
        {"source: Main\nconnector: mysql\ntables: [{table: t, category: EMR01, key: a}]\n",
         "1:9: 'source': 'Main' cannot stand in an address",
         "1 to 63 of a-z, 0-9 and -, not - first"},
        {"source: main\nconnector: mysql\ntabels: []\n", "3:1: unknown key 'tabels'",
         "did you mean 'tables'?"},
        {"source: main\nconnector: mysql\ntables: []\n",
         "3:9: 'tables': found 0 items, expected 1 to 1024 items", NULL},
        {HEAD, "4:5: 'key' is missing", NULL},
        {HEAD "    key: [a, a]\n", "6:10: 'key' names 'a' twice", NULL},
        {HEAD "    key: [\"\"]\n", "6:10: 'key': a name has 1 to 511 bytes", NULL},
        {HEAD "    key: a\n    fields:\n      - colum: a\n", "8:9: unknown key 'colum'",
         "did you mean 'column'?"},
        {HEAD "    key: a\n    fields:\n      - {column: a, type: integer}\n",
         "8:27: 'type': 'integer' is not one of its words",
         "words here: string, number, date, bool"},
        {HEAD "    key: a\n    fields:\n      - {column: a, era: flag}\n",
         "8:26: 'era' is for fields with 'type: date'", NULL},
        {HEAD "    key: a\n    fields: [{column: a}, {column: b, name: a}]\n",
         "7:45: the field 'a' is there twice", NULL},
        {HEAD "    key: a\n    personal: [b]\n    fields: [{column: a}]\n",
         "7:15: 'personal' names 'b', no field's column", NULL},
        {HEAD "    key: a\n  - {table: t, category: EMR01, key: a}\n",
         "7:13: the table 't' is there twice", NULL},
        {HEAD "    key: a\ncharset: cp923\n", "7:10: 'charset': 'cp923' is not one of its words",
         "did you mean 'cp932'?"},
        {HEAD "    key: a\nenvironment: {A=B: c}\n", "7:15: 'A=B' is not a variable's name", NULL},
        {"source: main\nconnector: mysql\ntables: [{table: t, category: EMR17, key: a}]\n",
         "3:31: 'category': 'EMR17' is not one of its words", "did you mean 'EMR07'?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mapping *untouched = NULL;
        struct error err = {0};
        char message[256];
        snprintf(message, sizeof message, "main.yaml:%s", rows[i].message);
        assert_int_equal(mapping_parse("main.yaml", bytes_text(rows[i].text), &untouched, &err),
                         ERROR_CONFIG);
        assert_string_equal(err.message, message);
        assert_string_equal(error_hint_text(&err),
                            rows[i].hint != NULL ? rows[i].hint : error_info(ERROR_CONFIG)->hint);
        assert_null(untouched);
    }
}

static void names_that_stand_in_addresses_are_plain(void **state) {
    (void)state;
    assert_true(mapping_name_valid("a"));
    assert_true(mapping_name_valid("9-hospital-b"));
    assert_false(mapping_name_valid(""));
    assert_false(mapping_name_valid("-a"));
    assert_false(mapping_name_valid("A"));
    assert_false(mapping_name_valid("a_b"));
    assert_false(mapping_name_valid("病院"));
    char name[MAPPING_NAME_BYTES_MAX + 1];
    memset(name, 'a', sizeof name);
    name[MAPPING_NAME_BYTES_MAX] = '\0';
    assert_false(mapping_name_valid(name));
    name[MAPPING_NAME_BYTES_MAX - 1] = '\0';
    assert_true(mapping_name_valid(name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_mapping_reads_as_written),
        cmocka_unit_test(a_wrong_mapping_is_refused_with_its_place),
        cmocka_unit_test(names_that_stand_in_addresses_are_plain),
    };
    return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}
