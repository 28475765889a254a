#include "gateway/rest/scan.h"

#include <string.h>

#include "base/text.h"

static void skip_space(const uint8_t **at, const uint8_t *end) {
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\n' || **at == '\r'))
        (*at)++;
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static bool skip_digits(const uint8_t **at, const uint8_t *end) {
    const uint8_t *start = *at;
    while (*at < end && is_digit(**at))
        (*at)++;
    return *at > start;
}

/* The four digits of a \u escape. */
static bool read_hex4(const uint8_t *at, const uint8_t *end, uint32_t *ret_value) {
    uint32_t value = 0;
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        uint8_t c = (uint8_t)(at[i] | 0x20); /* digits have this bit set already */
        if (is_digit(at[i]))
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_value = value;
    return true;
}

static bool skip_string(const uint8_t **at, const uint8_t *end) {
    const uint8_t *p = *at;
    if (p >= end || *p++ != '"')
        return false;
    while (p < end) {
        uint8_t c = *p++;
        if (c == '"') {
            *at = p;
            return true;
        }
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (p >= end)
            return false;
        c = *p++;
        if (c == 'u') {
            uint32_t unit;
            if (!read_hex4(p, end, &unit))
                return false;
            p += 4;
        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return false;
        }
    }
    return false;
}

static bool skip_number(const uint8_t **at, const uint8_t *end) {
    const uint8_t *p = *at;
    if (p < end && *p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else if (!skip_digits(&p, end))
        return false;
    if (p < end && *p == '.') {
        p++;
        if (!skip_digits(&p, end))
            return false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        if (!skip_digits(&p, end))
            return false;
    }
    *at = p;
    return true;
}

static bool skip_word(const uint8_t **at, const uint8_t *end) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(end - *at) >= len && memcmp(*at, words[i], len) == 0) {
            *at += len;
            return true;
        }
    }
    return false;
}

static bool skip_value(const uint8_t **at, const uint8_t *end, unsigned depth);

/* From behind the opening bracket to behind the closing one. */
static bool skip_members(const uint8_t **at, const uint8_t *end, bool object, unsigned depth) {
    uint8_t close = object ? '}' : ']';
    skip_space(at, end);
    if (*at < end && **at == close) {
        (*at)++;
        return true;
    }
    for (;;) {
        skip_space(at, end);
        if (object) {
            if (!skip_string(at, end))
                return false;
            skip_space(at, end);
            if (*at >= end || *(*at)++ != ':')
                return false;
        }
        if (!skip_value(at, end, depth))
            return false;
        skip_space(at, end);
        if (*at >= end)
            return false;
        uint8_t c = *(*at)++;
        if (c == close)
            return true;
        if (c != ',')
            return false;
    }
}

static bool skip_value(const uint8_t **at, const uint8_t *end, unsigned depth) {
    skip_space(at, end);
    if (*at >= end)
        return false;
    uint8_t c = **at;
    if (c == '"')
        return skip_string(at, end);
    if (c == '-' || is_digit(c))
        return skip_number(at, end);
    if (c != '{' && c != '[')
        return skip_word(at, end);
    if (depth == 0)
        return false;
    (*at)++;
    return skip_members(at, end, c == '{', depth - 1);
}

bool scan_valid(struct bytes json) {
    const uint8_t *at = json.data;
    const uint8_t *end = json.data + json.len;
    if (json.len == 0 || !text_utf8_valid(json) || !skip_value(&at, end, SCAN_DEPTH_MAX))
        return false;
    skip_space(&at, end);
    return at == end;
}

struct scan scan_open(struct bytes json) {
    const uint8_t *at = json.data;
    const uint8_t *end = json.data + json.len;
    if (json.len > 0)
        skip_space(&at, end);
    bool open = json.len > 0 && at < end && (*at == '{' || *at == '[');
    return (struct scan){.at = open ? at + 1 : end,
                         .end = end,
                         .object = open && *at == '{',
                         .failed = !open,
                         .first = true};
}

static bool scan_fail(struct scan *scan) {
    scan->failed = true;
    return false;
}

bool scan_next(struct scan *scan, struct bytes *ret_name, struct bytes *ret_value) {
    if (scan->failed || scan->at >= scan->end)
        return scan->failed ? false : scan_fail(scan);
    skip_space(&scan->at, scan->end);
    uint8_t close = scan->object ? '}' : ']';
    if (scan->at < scan->end && *scan->at == close)
        return false;
    if (!scan->first) {
        if (scan->at >= scan->end || *scan->at++ != ',')
            return scan_fail(scan);
        skip_space(&scan->at, scan->end);
    }
    scan->first = false;
    const uint8_t *name = scan->at;
    size_t name_len = 0;
    if (scan->object) {
        if (!skip_string(&scan->at, scan->end))
            return scan_fail(scan);
        name_len = (size_t)(scan->at - name);
        skip_space(&scan->at, scan->end);
        if (scan->at >= scan->end || *scan->at++ != ':')
            return scan_fail(scan);
        skip_space(&scan->at, scan->end);
    }
    const uint8_t *value = scan->at;
    if (!skip_value(&scan->at, scan->end, SCAN_DEPTH_MAX))
        return scan_fail(scan);
    *ret_name = bytes_of(name, name_len);
    *ret_value = bytes_of(value, (size_t)(scan->at - value));
    return true;
}

bool scan_is(struct bytes raw, const char *text) {
    size_t len = strlen(text);
    return raw.len == len + 2 && raw.data[0] == '"' && memcmp(raw.data + 1, text, len) == 0;
}

struct bytes scan_find(struct bytes object, const char *name) {
    struct scan scan = scan_open(object);
    struct bytes found, value;
    while (scan.object && scan_next(&scan, &found, &value))
        if (scan_is(found, name))
            return value;
    return bytes_of(object.data, 0);
}

static void append_utf8(struct buffer *out, uint32_t c) {
    if (c < 0x80) {
        buffer_append_byte(out, (uint8_t)c);
    } else if (c < 0x800) {
        buffer_append_byte(out, (uint8_t)(0xC0 | c >> 6));
        buffer_append_byte(out, (uint8_t)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        buffer_append_byte(out, (uint8_t)(0xE0 | c >> 12));
        buffer_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
        buffer_append_byte(out, (uint8_t)(0x80 | (c & 0x3F)));
    } else {
        buffer_append_byte(out, (uint8_t)(0xF0 | c >> 18));
        buffer_append_byte(out, (uint8_t)(0x80 | (c >> 12 & 0x3F)));
        buffer_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
        buffer_append_byte(out, (uint8_t)(0x80 | (c & 0x3F)));
    }
}

/* at: behind the "\u". Surrogates count only in pairs. */
static bool append_escaped(const uint8_t **at, const uint8_t *end, struct buffer *out) {
    uint32_t c, low;
    if (!read_hex4(*at, end, &c))
        return false;
    *at += 4;
    if (c >= 0xDC00 && c <= 0xDFFF)
        return false;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u' ||
            !read_hex4(*at + 2, end, &low) || low < 0xDC00 || low > 0xDFFF)
            return false;
        *at += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, c);
    return true;
}

bool scan_text(struct bytes raw, struct buffer *out) {
    const uint8_t *at = raw.data;
    const uint8_t *end = raw.data + raw.len;
    if (raw.len < 2 || !text_utf8_valid(raw) || !skip_string(&at, end) || at != end)
        return false;
    end--;
    for (at = raw.data + 1; at < end;) {
        uint8_t c = *at++;
        if (c != '\\') {
            buffer_append_byte(out, c);
            continue;
        }
        c = *at++;
        if (c == 'u') {
            if (!append_escaped(&at, end, out))
                return false;
            continue;
        }
        static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
        const char *name = strchr(names, c);
        buffer_append_byte(out, name != NULL ? (uint8_t)values[name - names] : c);
    }
    return !out->failed;
}
