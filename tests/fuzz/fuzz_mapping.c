/* Mappings and gaiji tables from any bytes; an error has a place and a text, a mapping that loads
 * can be asked everything. The first byte says which. */
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "normalizer/gaiji.h"
#include "normalizer/mapping.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(enum error_code code, const struct error *err) {
    REQUIRE(code == ERROR_CONFIG || code == ERROR_LIMIT);
    REQUIRE(err->code == code);
    REQUIRE(strncmp(err->message, "m.yaml", 6) == 0);
    REQUIRE(text_utf8_valid(bytes_text(err->message)));
    REQUIRE(text_utf8_valid(bytes_text(err->hint)));
}

static void check_table(const struct mapping *mapping, const struct mapping_table *table) {
    REQUIRE(mapping_find(mapping, table->table) == table);
    REQUIRE(table->key_count >= 1 && table->key_count <= RENKEI_KEY_COLUMNS_MAX);
    REQUIRE(table->all_columns == (table->field_count == 0));
    for (size_t i = 0; i < table->field_count; i++)
        REQUIRE(table->fields[i].name[0] != '\0' && table->fields[i].line > 0);
}

static void check_mapping(struct bytes text) {
    struct mapping *mapping = NULL;
    struct error err = {0};
    enum error_code code = mapping_parse("m.yaml", text, &mapping, &err);
    if (code != ERROR_NONE) {
        REQUIRE(mapping == NULL);
        check_error(code, &err);
        return;
    }
    REQUIRE(mapping_name_valid(mapping->source));
    REQUIRE(mapping->table_count >= 1);
    for (size_t i = 0; i < mapping->table_count; i++)
        check_table(mapping, &mapping->tables[i]);
    mapping_free(mapping);
}

static void check_gaiji(struct bytes text) {
    struct gaiji *gaiji = NULL;
    struct error err = {0};
    enum error_code code = gaiji_parse("m.yaml", text, &gaiji, &err);
    if (code != ERROR_NONE) {
        check_error(code, &err);
        return;
    }
    for (uint32_t c = GAIJI_FIRST; c <= GAIJI_LAST; c++) {
        struct bytes shown = gaiji_find(gaiji, c);
        REQUIRE(shown.len <= GAIJI_TEXT_BYTES_MAX && text_utf8_valid(shown));
        REQUIRE(memchr(shown.data, '"', shown.len) == NULL);
    }
    gaiji_free(gaiji);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    if (data[0] == 'g')
        check_gaiji(bytes_of(data + 1, size - 1));
    else
        check_mapping(bytes_of(data, size));
    return 0;
}
