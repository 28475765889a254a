/*
 * Lets other implementations ask ours: oracle.py reads what this prints. One answer a line.
 *
 *   probe charset NAME        every sequence that may be a character: "HEX HEX-of-UTF-8"; "-": bad
 *   probe double              lines of 16 hexadecimal digits (a double's bits)
 *   probe decimal             lines of decimal texts: "J text", "E text", "S", "B"
 *   probe json                lines of JSON: the canonical form, "inexact", or "no"
 *   probe rows MAPPING TYPE:CHARSET:BITS...
 *                             lines of cells in hexadecimal ("-": NULL), columns c00, c01, ...:
 *                             the document, or "quarantined", then a tab and the reasons
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "normalizer/charset.h"
#include "normalizer/value.h"
#include "tests/unit/normalizer/rows.h"

enum { LINE_BYTES_MAX = 1 << 20 };

static char line[LINE_BYTES_MAX];

static void die(const struct error *err) {
    fprintf(stderr, "probe: %s\n", err->message);
    exit(1);
}

static bool read_line(void) {
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

static void on_character(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    (void)code;
    (void)offset;
    if (kind == CHARACTER_INVALID)
        *(bool *)context = true;
}

static void print_hex(struct bytes data) {
    for (size_t i = 0; i < data.len; i++)
        printf("%02x", data.data[i]);
}

static void print_sequence(struct charset *charset, struct bytes raw) {
    static struct buffer out = {.bytes_max = 1 << 16};
    bool invalid = false;
    buffer_clear(&out);
    charset_decode(charset, raw, false, on_character, &invalid, &out);
    print_hex(raw);
    putchar(' ');
    if (invalid)
        putchar('-');
    else
        print_hex(buffer_bytes(&out));
    putchar('\n');
}

static enum renkei_charset charset_named(const char *name) {
    for (int i = 0; charset_words[i] != NULL; i++)
        if (strcmp(charset_words[i], name) == 0)
            return charset_of_word(i);
    return RENKEI_CHARSET_UNKNOWN;
}

static void print_charset(const char *name) {
    struct charset *charset = NULL;
    struct error err = {0};
    if (charset_new(charset_named(name), NULL, &charset, &err) != ERROR_NONE)
        die(&err);
    uint8_t raw[3];
    for (unsigned code = 0; code < 256; code++) {
        raw[0] = (uint8_t)code;
        print_sequence(charset, bytes_of(raw, 1));
    }
    for (unsigned code = 0x8000; code < 0x10000; code++) {
        raw[0] = (uint8_t)(code >> 8);
        raw[1] = (uint8_t)code;
        print_sequence(charset, bytes_of(raw, 2));
    }
    for (unsigned code = 0xA1A1; code < 0xFFFF && strcmp(name, "euc-jp") == 0; code++) {
        raw[0] = 0x8F;
        raw[1] = (uint8_t)(code >> 8);
        raw[2] = (uint8_t)code;
        print_sequence(charset, bytes_of(raw, 3));
    }
    charset_free(charset);
}

static void print_doubles(void) {
    while (read_line()) {
        uint64_t bits = strtoull(line, NULL, 16);
        double value;
        char text[NUMBER_SHORTEST_BYTES_MAX];
        memcpy(&value, &bits, sizeof value);
        size_t len = number_shortest(value, text);
        printf("%.*s\n", (int)len, text);
    }
}

static void print_decimals(void) {
    static const char letters[] = {
        [NUMBER_JSON] = 'J', [NUMBER_EXACT] = 'E', [NUMBER_SPECIAL] = 'S', [NUMBER_BAD] = 'B'};
    struct buffer out = {.bytes_max = LINE_BYTES_MAX};
    while (read_line()) {
        buffer_clear(&out);
        enum number_form form = number_write(bytes_text(line), &out);
        printf("%c %.*s\n", letters[form], (int)out.len, (const char *)out.data);
    }
    buffer_done(&out);
}

static void print_json(void) {
    struct buffer out = {.bytes_max = LINE_BYTES_MAX};
    while (read_line()) {
        bool inexact = false;
        buffer_clear(&out);
        if (value_json_canonical(bytes_text(line), &out, &inexact))
            printf("%.*s\n", (int)out.len, (const char *)out.data);
        else
            puts(inexact ? "inexact" : "no");
    }
    buffer_done(&out);
}

static uint32_t read_cells(struct bytes *cells, uint8_t *data) {
    uint32_t count = 0;
    char *rest = line;
    for (char *word = strsep(&rest, " "); word != NULL && count < ROW_CELLS_MAX;
         word = strsep(&rest, " ")) {
        size_t len = strlen(word) / 2;
        cells[count] = strcmp(word, "-") == 0 ? bytes_of(NULL, 0) : bytes_of(data, len);
        if (len > 0 && !text_unhex(word, len, data))
            exit(1);
        data += len;
        count++;
    }
    return count;
}

static void print_rows(const char *path, char **specs, uint32_t count) {
    static uint8_t data[LINE_BYTES_MAX];
    static char names[ROW_CELLS_MAX][4];
    struct renkei_column columns[ROW_CELLS_MAX] = {0};
    struct error err = {0};
    struct mapping *mapping = NULL;
    struct normalizer *normalizer = NULL;
    for (uint32_t i = 0; i < count; i++) {
        char charset[32];
        int type = 0;
        unsigned bits = 0;
        if (sscanf(specs[i], "%d:%31[^:]:%u", &type, charset, &bits) != 3)
            exit(1);
        snprintf(names[i], sizeof names[i], "c%02u", i % 100);
        columns[i] = (struct renkei_column){.name = names[i],
                                            .type = (enum renkei_type)type,
                                            .charset = charset_named(charset),
                                            .bits = bits};
    }
    if (mapping_load(path, &mapping, &err) != ERROR_NONE ||
        normalizer_new(mapping, &mapping->tables[0], "h", columns, count, "", &normalizer, &err) !=
            ERROR_NONE)
        die(&err);
    while (read_line()) {
        struct bytes cells[ROW_CELLS_MAX];
        struct one_row row;
        struct normalized_row result;
        one_row_set(&row, cells, read_cells(cells, data));
        if (normalizer_row(normalizer, &row.batch, 0, &result, &err) != ERROR_NONE)
            die(&err);
        if (result.quarantined)
            printf("quarantined\t");
        else
            printf("%.*s\t", (int)result.document.len, (const char *)result.document.data);
        for (size_t i = 0; i < result.reason_count; i++)
            printf("%u:%s ", result.reasons[i].column, reason_name(result.reasons[i].reason));
        putchar('\n');
    }
    normalizer_free(normalizer);
    mapping_free(mapping);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (argc == 3 && strcmp(mode, "charset") == 0)
        print_charset(argv[2]);
    else if (strcmp(mode, "double") == 0)
        print_doubles();
    else if (strcmp(mode, "decimal") == 0)
        print_decimals();
    else if (strcmp(mode, "json") == 0)
        print_json();
    else if (argc > 3 && argc - 3 <= ROW_CELLS_MAX && strcmp(mode, "rows") == 0)
        print_rows(argv[2], argv + 3, (uint32_t)argc - 3);
    else
        return 2;
    return 0;
}
