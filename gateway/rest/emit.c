#include "gateway/rest/emit.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

void emit_string(struct buffer *out, struct bytes text) {
    static const char shorts[] = "btnvfr"; /* 0x08 .. 0x0D; 0x0B has no short form */
    buffer_append_byte(out, '"');
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        uint8_t c = i < text.len ? text.data[i] : '"';
        if (i < text.len && c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (i > start)
            buffer_append(out, text.data + start, i - start);
        start = i + 1;
        if (i == text.len)
            break;
        if (c == '"' || c == '\\')
            buffer_append_format(out, "\\%c", c);
        else if (c >= 0x08 && c <= 0x0D && c != 0x0B)
            buffer_append_format(out, "\\%c", shorts[c - 0x08]);
        else
            buffer_append_format(out, "\\u%04x", c);
    }
    buffer_append_byte(out, '"');
}

/* A comma where a value stands before, and the name. */
static void begin(struct buffer *out, const char *name) {
    uint8_t last = out->len > 0 ? out->data[out->len - 1] : '[';
    if (last != '[' && last != '{' && last != '\n')
        buffer_append_byte(out, ',');
    if (name == NULL)
        return;
    emit_string(out, bytes_text(name));
    buffer_append_byte(out, ':');
}

void emit_object(struct buffer *out, const char *name) {
    begin(out, name);
    buffer_append_byte(out, '{');
}

void emit_object_end(struct buffer *out) {
    buffer_append_byte(out, '}');
}

void emit_list(struct buffer *out, const char *name) {
    begin(out, name);
    buffer_append_byte(out, '[');
}

void emit_list_end(struct buffer *out) {
    buffer_append_byte(out, ']');
}

void emit_text(struct buffer *out, const char *name, const char *text) {
    begin(out, name);
    emit_string(out, bytes_text(text));
}

void emit_u64(struct buffer *out, const char *name, uint64_t value) {
    begin(out, name);
    buffer_append_format(out, "%" PRIu64, value);
}

void emit_bool(struct buffer *out, const char *name, bool value) {
    begin(out, name);
    buffer_append_text(out, value ? "true" : "false");
}

void emit_time(struct buffer *out, const char *name, uint64_t wall_ms) {
    char text[CLOCK_RFC3339_BYTES];
    clock_rfc3339(wall_ms, text);
    emit_text(out, name, text);
}

void emit_hex(struct buffer *out, const char *name, struct bytes data) {
    begin(out, name);
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < data.len; i++) {
        char digits[3];
        text_hex(data.data + i, 1, digits);
        buffer_append(out, digits, 2);
    }
    buffer_append_byte(out, '"');
}

void emit_hash(struct buffer *out, const char *name, const struct hash *hash) {
    emit_hex(out, name, hash_bytes(hash));
}

void emit_raw(struct buffer *out, const char *name, struct bytes json) {
    begin(out, name);
    buffer_append(out, json.data, json.len);
}
