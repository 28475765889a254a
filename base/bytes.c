#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes bytes_text(const char *text) {
    return bytes_of(text, strlen(text));
}

bool bytes_equal(struct bytes a, struct bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_equal_secret(struct bytes a, struct bytes b) {
    if (a.len != b.len)
        return false;
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < a.len; i++)
        difference = (uint8_t)(difference | (a.data[i] ^ b.data[i]));
    return difference == 0;
}

int bytes_compare(struct bytes a, struct bytes b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

void buffer_init(struct buffer *b, size_t bytes_max) {
    *b = (struct buffer){.bytes_max = bytes_max};
}

void buffer_done(struct buffer *b) {
    if (b == NULL)
        return;
    free(b->data);
    *b = (struct buffer){.bytes_max = b->bytes_max};
}

uint8_t *buffer_reserve(struct buffer *b, size_t len) {
    if (b->failed)
        return NULL;
    if (len > b->bytes_max || b->len > b->bytes_max - len) {
        b->failed = true;
        return NULL;
    }
    size_t needed = b->len + len;
    if (needed > b->capacity) {
        size_t capacity = b->capacity < 64 ? 64 : b->capacity;
        while (capacity < needed)
            capacity = capacity <= SIZE_MAX / 2 ? capacity * 2 : needed;
        if (capacity > b->bytes_max)
            capacity = b->bytes_max;
        uint8_t *data = realloc(b->data, capacity);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data != NULL ? b->data + b->len : NULL;
}

void buffer_append_grow(struct buffer *b, const void *data, size_t len) {
    if (len == 0)
        return;
    uint8_t *end = buffer_reserve(b, len);
    if (end == NULL)
        return;
    memcpy(end, data, len);
    b->len += len;
}

void buffer_append_text(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

void buffer_append_format(struct buffer *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        b->failed = true;
        return;
    }
    buffer_append(b, text, (size_t)len);
    free(text);
}

enum error_code buffer_check(const struct buffer *b, const char *what, struct error *err) {
    if (!b->failed)
        return ERROR_NONE;
    return error_set(err, ERROR_LIMIT, "%s: more than %zu bytes", what, b->bytes_max);
}

void bytes_free_scoped(void *pointer_to_pointer) {
    free(*(void **)pointer_to_pointer);
}
