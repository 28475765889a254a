#include "normalizer/gaiji.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

enum { CODES = GAIJI_LAST - GAIJI_FIRST + 1, POINTS_MAX = 4 };

struct gaiji {
    struct {
        uint8_t len;
        uint8_t text[GAIJI_TEXT_BYTES_MAX];
    } codes[CODES];
    struct hash digest;
};

struct line {
    const char *path;
    unsigned number;
    const char *at;
    const char *end;
    struct error *err;
};

static enum error_code fail(const struct line *line, const char *what) {
    return error_set(line->err, ERROR_CONFIG, "%s:%u: %s", line->path, line->number, what);
}

static void skip_blank(struct line *line) {
    while (line->at < line->end && (*line->at == ' ' || *line->at == '\t' || *line->at == '\r'))
        line->at++;
    if (line->at < line->end && *line->at == '#')
        line->at = line->end;
}

/* Up to six hexadecimal digits; false where there is none. */
static bool read_hex(struct line *line, uint32_t *ret_value) {
    uint32_t value = 0;
    unsigned digits = 0;
    for (; line->at < line->end && digits < 6; line->at++, digits++) {
        const char c = *line->at;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint32_t)(c - 'a' + 10);
        else
            break;
    }
    *ret_value = value;
    return digits >= 4;
}

static bool starts_point(const struct line *line) {
    return line->end - line->at >= 2 && line->at[0] == 'U' && line->at[1] == '+';
}

/* F040 to F9FC, or U+E000 to U+F8FF, as an index. */
static bool read_code(struct line *line, unsigned *ret_index) {
    bool point = starts_point(line);
    if (point)
        line->at += 2;
    uint32_t value = 0;
    if (!read_hex(line, &value))
        return false;
    if (point) {
        *ret_index = value - GAIJI_FIRST;
        return value >= GAIJI_FIRST && value <= GAIJI_LAST;
    }
    unsigned lead = value >> 8;
    unsigned trail = value & 0xFF;
    if (lead < 0xF0 || lead > 0xF9 || trail < 0x40 || trail > 0xFC || trail == 0x7F)
        return false;
    *ret_index = (lead - 0xF0) * 188 + trail - 0x40 - (trail > 0x7F);
    return true;
}

static size_t utf8_of(uint32_t c, uint8_t utf8[4]) {
    if (c < 0x80) {
        utf8[0] = (uint8_t)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        utf8[i] = (uint8_t)(0x80 | (c & 0x3F));
    utf8[0] = (uint8_t)(leads[len] | c);
    return len;
}

/* What a document's text may not simply hold: controls, quotes and backslashes (it is written into
 * JSON as it is), surrogates, and private characters again. */
static bool is_allowed(uint32_t c) {
    bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    bool private_use = c >= GAIJI_FIRST && c <= GAIJI_LAST;
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7F && !surrogate && !private_use &&
           c <= 0x10FFFF;
}

static enum error_code read_points(struct line *line, struct gaiji *gaiji, unsigned index) {
    uint8_t text[4 * POINTS_MAX];
    size_t len = 0;
    for (unsigned count = 0; starts_point(line); count++) {
        uint32_t c = 0;
        line->at += 2;
        if (count == POINTS_MAX)
            return fail(line, "more than 4 code points");
        if (!read_hex(line, &c) || !is_allowed(c))
            return fail(line, "not a code point that can stand in a text");
        len += utf8_of(c, text + len);
        skip_blank(line);
    }
    gaiji->codes[index].len = (uint8_t)len;
    memcpy(gaiji->codes[index].text, text, len);
    return ERROR_NONE;
}

static enum error_code read_placeholder(struct line *line, struct gaiji *gaiji, unsigned index) {
    const char *start = ++line->at;
    while (line->at < line->end && *line->at != '"') {
        if ((uint8_t)*line->at < 0x20 || *line->at == '\\' || *line->at == 0x7F)
            return fail(line, "a placeholder has no controls and no backslash");
        line->at++;
    }
    size_t len = (size_t)(line->at - start);
    if (line->at == line->end)
        return fail(line, "the placeholder does not end with a quote");
    if (len == 0 || len > GAIJI_TEXT_BYTES_MAX)
        return fail(line, "a placeholder has 1 to 48 bytes");
    line->at++;
    gaiji->codes[index].len = (uint8_t)len;
    memcpy(gaiji->codes[index].text, start, len);
    return ERROR_NONE;
}

static enum error_code read_line(struct line *line, struct gaiji *gaiji) {
    skip_blank(line);
    if (line->at == line->end)
        return ERROR_NONE;
    unsigned index = 0;
    if (!read_code(line, &index))
        return fail(line, "expected a code: F040 to F9FC, or U+E000 to U+F8FF");
    if (gaiji->codes[index].len > 0)
        return fail(line, "this code is there twice");
    skip_blank(line);
    if (starts_point(line))
        TRY(read_points(line, gaiji, index));
    else if (line->at < line->end && *line->at == '"')
        TRY(read_placeholder(line, gaiji, index));
    else
        return fail(line, "expected U+XXXX or a quoted placeholder after the code");
    skip_blank(line);
    return line->at == line->end ? ERROR_NONE : fail(line, "unexpected text at the end");
}

enum error_code gaiji_parse(const char *path, struct bytes text, struct gaiji **ret_gaiji,
                            struct error *err) {
    if (!text_utf8_valid(text))
        return error_set(err, ERROR_CONFIG, "%s: not UTF-8", path);
    struct gaiji *gaiji = calloc(1, sizeof *gaiji);
    if (gaiji == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: out of memory", path);
    struct line line = {.path = path, .err = err};
    const char *at = (const char *)text.data;
    const char *end = at + text.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        line.number++;
        line.at = at;
        line.end = newline != NULL ? newline : end;
        enum error_code code = read_line(&line, gaiji);
        if (code != ERROR_NONE) {
            gaiji_free(gaiji);
            return code;
        }
        at = line.end + 1;
    }
    gaiji->digest = sha256_of(text);
    *ret_gaiji = gaiji;
    return ERROR_NONE;
}

enum error_code gaiji_load(const char *path, struct gaiji **ret_gaiji, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GAIJI_BYTES_MAX);
    TRY(file_read(path, &text, GAIJI_BYTES_MAX, err));
    return gaiji_parse(path, buffer_bytes(&text), ret_gaiji, err);
}

void gaiji_free(struct gaiji *gaiji) {
    free(gaiji);
}

struct bytes gaiji_find(const struct gaiji *gaiji, uint32_t code_point) {
    if (gaiji == NULL || code_point < GAIJI_FIRST || code_point > GAIJI_LAST)
        return bytes_of(NULL, 0);
    return bytes_of(gaiji->codes[code_point - GAIJI_FIRST].text,
                    gaiji->codes[code_point - GAIJI_FIRST].len);
}

struct hash gaiji_digest(const struct gaiji *gaiji) {
    return gaiji->digest;
}
