/*
 * Byte strings and growing buffers.
 *
 * A struct bytes borrows: it never owns what it points to. A struct buffer owns its memory, and
 * has a maximum from its birth: growing past it is an error that sticks, so that a writer may
 * append many times and ask once at the end.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

struct bytes {
    const uint8_t *data;
    size_t len;
};

#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct bytes bytes_of(const void *data, size_t len) {
    return (struct bytes){(const uint8_t *)data, len};
}

struct bytes bytes_text(const char *text); /* without the final NUL */
bool bytes_equal(struct bytes a, struct bytes b);
/* In time that depends on the lengths only. */
bool bytes_equal_secret(struct bytes a, struct bytes b);
int bytes_compare(struct bytes a, struct bytes b); /* memcmp order, shorter first */

struct buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t bytes_max;
    bool failed; /* an append went past bytes_max, or memory ran out */
};

void buffer_init(struct buffer *b, size_t bytes_max);
void buffer_done(struct buffer *b);  /* NULL and a zeroed struct are fine */
/* len = 0 and failed = false; memory is kept */
static inline void buffer_clear(struct buffer *b) {
    b->len = 0;
    b->failed = false;
}

/* As buffer_append; for where there is no room yet. */
void buffer_append_grow(struct buffer *b, const void *data, size_t len);

static inline void buffer_append(struct buffer *b, const void *data, size_t len) {
    if (b->failed || len == 0 || len > b->capacity - b->len) {
        buffer_append_grow(b, data, len);
        return;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}
void buffer_append_text(struct buffer *b, const char *text);
static inline void buffer_append_byte(struct buffer *b, uint8_t byte) {
    buffer_append(b, &byte, 1);
}
void buffer_append_format(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Room for len more bytes at the end, or NULL (and failed is set). The caller writes there and
 * then adds to b->len what it wrote. */
uint8_t *buffer_reserve(struct buffer *b, size_t len);

/* ERROR_LIMIT (or ERROR_NO_MEMORY) where an append failed; what names the object. */
MUST_CHECK enum error_code buffer_check(const struct buffer *b, const char *what,
                                        struct error *err);

static inline struct bytes buffer_bytes(const struct buffer *b) {
    return (struct bytes){b->data, b->len};
}

/* free() and its kin as scope guards. */
void bytes_free_scoped(void *pointer_to_pointer);
#define SCOPED_FREE   __attribute__((cleanup(bytes_free_scoped)))
#define SCOPED_BUFFER __attribute__((cleanup(buffer_done)))

#endif
