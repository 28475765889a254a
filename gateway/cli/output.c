#include "gateway/cli/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/bytes.h"

enum {
    COLUMNS_MAX = 16,
    CELL_BYTES_MAX = 4096,
    BAR_CELLS = 28,
    COUNT_SLOTS = 8,
    PLAIN_LINE_MS = 5000,
    MS_PER_S = 1000,
};

void output_json(const json_t *value) {
    json_dumpf(value, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
}

static void new_line(int depth) {
    printf("\n%*s", 2 * depth, "");
}

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

void output_json_text(struct bytes text) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (!quoted && is_blank(byte))
            continue;
        bool empty = (byte == '}' || byte == ']') && i > 0 &&
                     (text.data[i - 1] == '{' || text.data[i - 1] == '[');
        if (!quoted && (byte == '}' || byte == ']') && --depth >= 0 && !empty)
            new_line(depth);
        putchar(byte);
        if (quoted && byte == '\\' && i + 1 < text.len)
            putchar(text.data[++i]);
        else if (byte == '"')
            quoted = !quoted;
        else if (!quoted && (byte == '{' || byte == '[') &&
                 (++depth, i + 1 < text.len && text.data[i + 1] != '}' && text.data[i + 1] != ']'))
            new_line(depth);
        else if (!quoted && byte == ',')
            new_line(depth);
        else if (!quoted && byte == ':')
            putchar(' ');
    }
    putchar('\n');
}

/* Columns of a terminal that a UTF-8 text takes; control characters are shown as '?'. */
static int text_width(const char *text) {
    int width = 0;
    mbstate_t state = {0};
    while (*text != '\0') {
        wchar_t character;
        size_t len = mbrtowc(&character, text, MB_CUR_MAX, &state);
        if (len == (size_t)-1 || len == (size_t)-2)
            return width + (int)strlen(text);
        int columns = wcwidth(character);
        width += columns >= 0 ? columns : 1;
        text += len;
    }
    return width;
}

/* A cell's text: what comes from a database or a peer must not move the cursor. */
static void cell_text(const json_t *value, char *ret_text, size_t size) {
    if (json_is_string(value) && json_string_length(value) > 0)
        snprintf(ret_text, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(ret_text, size, "%s", output_count((unsigned long long)json_integer_value(value)));
    else if (json_is_boolean(value))
        snprintf(ret_text, size, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(ret_text, size, "-");
    for (char *c = ret_text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

static void print_cell(const char *text, int width, bool right, bool last) {
    int pad = width - text_width(text);
    if (right)
        printf("%*s", pad > 0 ? pad : 0, "");
    fputs(text, stdout);
    if (!right && !last)
        printf("%*s", pad > 0 ? pad : 0, "");
    fputs(last ? "\n" : "  ", stdout);
}

void output_table(const struct cli_call *call, const struct output_column *columns,
                  const json_t *rows) {
    if (call->json) {
        output_json(rows);
        return;
    }
    int widths[COLUMNS_MAX] = {0};
    size_t count = 0;
    char text[CELL_BYTES_MAX];
    size_t row_count = json_array_size(rows);
    for (; columns[count].key != NULL && count < COLUMNS_MAX; count++) {
        widths[count] = text_width(columns[count].title);
        for (size_t r = 0; r < row_count; r++) {
            cell_text(json_object_get(json_array_get(rows, r), columns[count].key), text,
                      sizeof text);
            int width = text_width(text);
            if (width > widths[count])
                widths[count] = width;
        }
    }
    for (size_t c = 0; c < count; c++)
        print_cell(columns[c].title, widths[c], columns[c].right, c + 1 == count);
    for (size_t r = 0; r < row_count; r++)
        for (size_t c = 0; c < count; c++) {
            cell_text(json_object_get(json_array_get(rows, r), columns[c].key), text, sizeof text);
            print_cell(text, widths[c], columns[c].right, c + 1 == count);
        }
}

const char *output_count(unsigned long long number) {
    static char slots[COUNT_SLOTS][32];
    static unsigned next;
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", number);
    char *slot = slots[next++ % COUNT_SLOTS];
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            slot[at++] = ',';
        slot[at++] = digits[i];
    }
    slot[at] = '\0';
    return slot;
}

static void time_left(long long left_ms, char *ret_text, size_t size) {
    long long seconds = (left_ms + MS_PER_S - 1) / MS_PER_S;
    if (left_ms < 0)
        snprintf(ret_text, size, "time left unknown");
    else if (seconds >= 3600)
        snprintf(ret_text, size, "%lldh %02lldm left", seconds / 3600, seconds % 3600 / 60);
    else if (seconds >= 60)
        snprintf(ret_text, size, "%lldm %02llds left", seconds / 60, seconds % 60);
    else
        snprintf(ret_text, size, "%llds left", seconds);
}

static void draw_bar(const struct output_progress *progress, char ret_bar[BAR_CELLS + 1]) {
    unsigned long long full = progress->expected > 0 ? progress->expected : 1;
    unsigned long long share = progress->expected > 0 ? progress->done * BAR_CELLS / full : 0;
    if (share > BAR_CELLS)
        share = BAR_CELLS;
    memset(ret_bar, '.', BAR_CELLS);
    memset(ret_bar, '#', (size_t)share);
    ret_bar[BAR_CELLS] = '\0';
}

void output_progress(const struct cli_call *call, const struct output_progress *progress,
                     unsigned long long now_ms) {
    static unsigned long long last_ms;
    char left[48];
    time_left(progress->left_ms, left, sizeof left);
    if (!call->terminal) {
        if (now_ms - last_ms < PLAIN_LINE_MS)
            return;
        last_ms = now_ms;
        fprintf(stderr, "%s: %s of %s rows, %s rows/s, %s\n", progress->what,
                output_count(progress->done),
                progress->expected > 0 ? output_count(progress->expected) : "?",
                output_count(progress->rate), left);
        return;
    }
    char bar[BAR_CELLS + 1];
    draw_bar(progress, bar);
    fprintf(stderr, "\r\033[K%s [%s] %s rows, %s/s, %s", progress->what, bar,
            output_count(progress->done), output_count(progress->rate), left);
}

void output_progress_end(const struct cli_call *call, const struct output_progress *progress,
                         unsigned long long elapsed_ms) {
    if (call->json || progress->done == 0)
        return;
    char bar[BAR_CELLS + 1];
    draw_bar(progress, bar);
    unsigned long long rate = elapsed_ms > 0 ? progress->done * MS_PER_S / elapsed_ms : 0;
    fprintf(stderr, "%s%s [%s] %s rows in %llu.%llu s, %s rows/s\n",
            call->terminal ? "\r\033[K" : "", progress->what, bar, output_count(progress->done),
            elapsed_ms / MS_PER_S, elapsed_ms % MS_PER_S / (MS_PER_S / 10), output_count(rate));
}
