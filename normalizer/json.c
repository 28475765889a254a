/* JSON inside of values: the source's json texts and arrays, made canonical. Not on the hot path.
 */
#include "normalizer/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* --- names --- */

static uint32_t next_point(struct bytes text, size_t *at) {
    uint8_t lead = text.data[*at];
    size_t len = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t c = len == 1 ? lead : lead & (0xFFu >> (len + 1));
    for (size_t k = 1; k < len && *at + k < text.len; k++)
        c = c << 6 | (text.data[*at + k] & 0x3Fu);
    *at += len;
    return c;
}

/* A code point's place in the order of UTF-16 units: what needs surrogates (D800 to DFFF) stands
 * before U+E000 to U+FFFF. */
static uint32_t utf16_place(uint32_t c) {
    if (c >= 0x10000)
        return c - 0x10000 + 0xE000;
    return c >= 0xE000 ? c + 0x100000 : c;
}

int value_json_compare_names(struct bytes a, struct bytes b) {
    size_t i = 0;
    size_t j = 0;
    while (i < a.len && j < b.len) {
        uint32_t left = utf16_place(next_point(a, &i));
        uint32_t right = utf16_place(next_point(b, &j));
        if (left != right)
            return left < right ? -1 : 1;
    }
    return i < a.len ? 1 : j < b.len ? -1 : 0;
}

void value_json_string(struct bytes text, struct buffer *out) {
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        static const char from[] = "\b\t\n\f\r\"\\";
        static const char to[] = "btnfr\"\\";
        uint8_t byte = text.data[i];
        const char *found = byte != 0 ? strchr(from, byte) : NULL;
        if (found != NULL)
            buffer_append_format(out, "\\%c", to[found - from]);
        else if (byte < 0x20)
            buffer_append_format(out, "\\u%04x", byte);
        else
            buffer_append_byte(out, byte);
    }
    buffer_append_byte(out, '"');
}

/* --- reading --- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    unsigned depth;
    size_t members;
    bool inexact;
};

static bool read_value(struct reader *r, struct buffer *out);

static void skip_blank(struct reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, uint8_t byte) {
    if (r->at == r->end || *r->at != byte)
        return false;
    r->at++;
    return true;
}

static bool take_word(struct reader *r, const char *word, struct buffer *out) {
    size_t len = strlen(word);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    buffer_append(out, word, len);
    return true;
}

static bool read_hex4(struct reader *r, uint32_t *ret_unit) {
    uint8_t two[2];
    char digits[5] = "";
    if (r->end - r->at < 4)
        return false;
    memcpy(digits, r->at, 4);
    if (strlen(digits) != 4 || !text_unhex(digits, 2, two))
        return false;
    r->at += 4;
    *ret_unit = (uint32_t)two[0] << 8 | two[1];
    return true;
}

static void put_point(uint32_t c, struct buffer *out) {
    if (c < 0x80) {
        buffer_append_byte(out, (uint8_t)c);
    } else if (c < 0x800) {
        buffer_append_byte(out, (uint8_t)(0xC0 | c >> 6));
        buffer_append_byte(out, (uint8_t)(0x80 | (c & 0x3F)));
    } else {
        if (c < 0x10000) {
            buffer_append_byte(out, (uint8_t)(0xE0 | c >> 12));
        } else {
            buffer_append_byte(out, (uint8_t)(0xF0 | c >> 18));
            buffer_append_byte(out, (uint8_t)(0x80 | (c >> 12 & 0x3F)));
        }
        buffer_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
        buffer_append_byte(out, (uint8_t)(0x80 | (c & 0x3F)));
    }
}

/* \uXXXX; a surrogate needs its partner, since lone ones are no text. */
static bool read_unicode_escape(struct reader *r, struct buffer *out) {
    uint32_t unit = 0;
    uint32_t low = 0;
    if (!read_hex4(r, &unit) || (unit >= 0xDC00 && unit <= 0xDFFF))
        return false;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (!take(r, '\\') || !take(r, 'u') || !read_hex4(r, &low) || low < 0xDC00 || low > 0xDFFF)
            return false;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    put_point(unit, out);
    return true;
}

/* The text between quotes, unescaped. */
static bool read_text(struct reader *r, struct buffer *text) {
    if (!take(r, '"'))
        return false;
    while (r->at < r->end && *r->at != '"') {
        uint8_t byte = *r->at++;
        if (byte < 0x20)
            return false;
        if (byte != '\\') {
            buffer_append_byte(text, byte);
            continue;
        }
        static const char from[] = "btnfr\"\\/";
        static const char to[] = "\b\t\n\f\r\"\\/";
        if (r->at == r->end)
            return false;
        byte = *r->at++;
        const char *found = byte != 0 ? strchr(from, byte) : NULL;
        if (found != NULL)
            buffer_append_byte(text, (uint8_t)to[found - from]);
        else if (byte != 'u' || !read_unicode_escape(r, text))
            return false;
    }
    return take(r, '"') && !text->failed;
}

static bool read_string(struct reader *r, struct buffer *out) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, RENKEI_CELL_BYTES_MAX);
    if (!read_text(r, &text))
        return false;
    value_json_string(buffer_bytes(&text), out);
    return true;
}

static bool read_number(struct reader *r, struct buffer *out) {
    const uint8_t *start = r->at;
    (void)take(r, '-');
    const uint8_t *digits = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    if (r->at == digits || (*digits == '0' && r->at - digits > 1))
        return false;
    while (r->at < r->end && memchr("0123456789.eE+-", *r->at, 15) != NULL)
        r->at++;
    struct bytes text = bytes_of(start, (size_t)(r->at - start));
    if (text.data[text.len - 1] == '.' || memmem(text.data, text.len, ".e", 2) != NULL ||
        memmem(text.data, text.len, ".E", 2) != NULL)
        return false;
    enum number_form form = number_write(text, out);
    r->inexact = r->inexact || form == NUMBER_EXACT;
    return form == NUMBER_JSON;
}

struct member {
    size_t name_at;
    size_t name_len;
    size_t value_at;
    size_t value_len;
};

/* An object's members in the order they came, their names and values in one buffer. */
struct object {
    struct buffer bytes;
    struct member *members;
    size_t count;
    size_t capacity;
};

static void object_done(struct object *object) {
    buffer_done(&object->bytes);
    free(object->members);
}
#define SCOPED_OBJECT __attribute__((cleanup(object_done)))

static bool read_member(struct reader *r, struct object *object) {
    if (++r->members > JSON_MEMBERS_MAX)
        return false;
    if (object->count == object->capacity) {
        size_t capacity = object->capacity == 0 ? 8 : object->capacity * 2;
        struct member *members = reallocarray(object->members, capacity, sizeof *members);
        if (members == NULL)
            return false;
        object->members = members;
        object->capacity = capacity;
    }
    struct member *member = &object->members[object->count];
    member->name_at = object->bytes.len;
    skip_blank(r);
    if (!read_text(r, &object->bytes))
        return false;
    member->name_len = object->bytes.len - member->name_at;
    skip_blank(r);
    if (!take(r, ':'))
        return false;
    member->value_at = object->bytes.len;
    if (!read_value(r, &object->bytes))
        return false;
    member->value_len = object->bytes.len - member->value_at;
    object->count++;
    return true;
}

static int compare_members(const void *left, const void *right, void *context) {
    const struct object *object = context;
    const struct member *a = left;
    const struct member *b = right;
    return value_json_compare_names(bytes_of(object->bytes.data + a->name_at, a->name_len),
                                          bytes_of(object->bytes.data + b->name_at, b->name_len));
}

static bool read_object(struct reader *r, struct buffer *out) {
    SCOPED_OBJECT struct object object = {0};
    buffer_init(&object.bytes, out->bytes_max);
    if (!take(r, '{'))
        return false;
    skip_blank(r);
    if (!take(r, '}')) {
        do {
            if (!read_member(r, &object))
                return false;
            skip_blank(r);
        } while (take(r, ','));
        if (!take(r, '}'))
            return false;
        qsort_r(object.members, object.count, sizeof *object.members, compare_members, &object);
    }
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < object.count; i++) {
        const struct member *member = &object.members[i];
        if (i > 0 && compare_members(member - 1, member, &object) == 0)
            return false; /* twice the same name: which value would be meant? */
        if (i > 0)
            buffer_append_byte(out, ',');
        value_json_string(bytes_of(object.bytes.data + member->name_at, member->name_len), out);
        buffer_append_byte(out, ':');
        buffer_append(out, object.bytes.data + member->value_at, member->value_len);
    }
    buffer_append_byte(out, '}');
    return true;
}

static bool read_array(struct reader *r, struct buffer *out) {
    if (!take(r, '['))
        return false;
    buffer_append_byte(out, '[');
    skip_blank(r);
    if (!take(r, ']')) {
        for (;;) {
            if (!read_value(r, out))
                return false;
            skip_blank(r);
            if (!take(r, ','))
                break;
            buffer_append_byte(out, ',');
        }
        if (!take(r, ']'))
            return false;
    }
    buffer_append_byte(out, ']');
    return true;
}

static bool read_value(struct reader *r, struct buffer *out) {
    skip_blank(r);
    if (r->at == r->end || r->depth == JSON_DEPTH_MAX || out->failed)
        return false;
    r->depth++;
    bool good = false;
    switch (*r->at) {
    case '{':
        good = read_object(r, out);
        break;
    case '[':
        good = read_array(r, out);
        break;
    case '"':
        good = read_string(r, out);
        break;
    case 't':
        good = take_word(r, "true", out);
        break;
    case 'f':
        good = take_word(r, "false", out);
        break;
    case 'n':
        good = take_word(r, "null", out);
        break;
    default:
        good = read_number(r, out);
        break;
    }
    r->depth--;
    return good;
}

bool value_json_canonical(struct bytes text, struct buffer *out, bool *ret_inexact) {
    struct reader r = {.at = text.data, .end = text.data + text.len};
    size_t before = out->len;
    bool good = text_utf8_valid(text) && read_value(&r, out);
    skip_blank(&r);
    if (!good || r.at != r.end || out->failed) {
        *ret_inexact = r.inexact;
        out->len = before;
        return false;
    }
    return true;
}

/* --- PostgreSQL's arrays --- */

static bool read_array_item(struct reader *r, struct buffer *text, struct buffer *out) {
    buffer_clear(text);
    if (take(r, '"')) {
        while (r->at < r->end && *r->at != '"') {
            if (*r->at == '\\' && ++r->at == r->end)
                return false;
            buffer_append_byte(text, *r->at++);
        }
        value_json_string(buffer_bytes(text), out);
        return take(r, '"');
    }
    while (r->at < r->end && memchr(",{}\"", *r->at, 4) == NULL) {
        if (*r->at == '\\' && ++r->at == r->end)
            return false;
        buffer_append_byte(text, *r->at++);
    }
    if (text->len == 0)
        return false;
    if (bytes_equal(buffer_bytes(text), BYTES_LITERAL("NULL")))
        buffer_append_text(out, "null");
    else
        value_json_string(buffer_bytes(text), out);
    return true;
}

static bool read_array_level(struct reader *r, struct buffer *text, struct buffer *out) {
    if (!take(r, '{') || r->depth == JSON_DEPTH_MAX)
        return false;
    r->depth++;
    buffer_append_byte(out, '[');
    if (!take(r, '}')) {
        for (;;) {
            bool nested = r->at < r->end && *r->at == '{';
            if (nested ? !read_array_level(r, text, out) : !read_array_item(r, text, out))
                return false;
            if (!take(r, ','))
                break;
            buffer_append_byte(out, ',');
        }
        if (!take(r, '}'))
            return false;
    }
    buffer_append_byte(out, ']');
    r->depth--;
    return true;
}

bool value_json_from_array(struct bytes text, struct buffer *out) {
    SCOPED_BUFFER struct buffer item;
    buffer_init(&item, RENKEI_CELL_BYTES_MAX);
    struct reader r = {.at = text.data, .end = text.data + text.len};
    size_t before = out->len;
    if (text.len == 0 || !text_utf8_valid(text) || !read_array_level(&r, &item, out) ||
        r.at != r.end || item.failed || out->failed) {
        out->len = before;
        return false;
    }
    return true;
}
