#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES_MIN = 4096 };

struct chunk {
    struct chunk *next;
    size_t size;
    size_t used;
    alignas(max_align_t) uint8_t data[];
};

struct arena {
    struct chunk *chunks; /* the newest first */
    size_t bytes_max;
    size_t bytes;
};

struct arena *arena_new(size_t bytes_max) {
    struct arena *arena = calloc(1, sizeof *arena);
    if (arena != NULL)
        arena->bytes_max = bytes_max;
    return arena;
}

static void free_chunks(struct chunk *chunk) {
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void arena_free(struct arena *arena) {
    if (arena == NULL)
        return;
    free_chunks(arena->chunks);
    free(arena);
}

void arena_reset(struct arena *arena) {
    struct chunk *kept = arena->chunks;
    if (kept == NULL)
        return;
    free_chunks(kept->next);
    kept->next = NULL;
    kept->used = 0;
    arena->bytes = kept->size;
}

void *arena_alloc(struct arena *arena, size_t size) {
    size_t align = alignof(max_align_t);
    if (size > arena->bytes_max)
        return NULL;
    size = size == 0 ? align : (size + align - 1) / align * align;
    struct chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t chunk_bytes = chunk != NULL ? chunk->size * 2 : CHUNK_BYTES_MIN;
        if (chunk_bytes > arena->bytes_max - arena->bytes)
            chunk_bytes = arena->bytes_max - arena->bytes;
        if (chunk_bytes < size)
            chunk_bytes = size;
        if (arena->bytes > arena->bytes_max || chunk_bytes > arena->bytes_max - arena->bytes)
            return NULL;
        chunk = malloc(sizeof *chunk + chunk_bytes);
        if (chunk == NULL)
            return NULL;
        *chunk = (struct chunk){.next = arena->chunks, .size = chunk_bytes};
        arena->chunks = chunk;
        arena->bytes += chunk_bytes;
    }
    void *piece = chunk->data + chunk->used;
    chunk->used += size;
    memset(piece, 0, size);
    return piece;
}

struct bytes arena_bytes(struct arena *arena, struct bytes data) {
    uint8_t *copy = arena_alloc(arena, data.len);
    if (copy == NULL)
        return (struct bytes){NULL, 0};
    if (data.len > 0)
        memcpy(copy, data.data, data.len);
    return bytes_of(copy, data.len);
}

char *arena_text(struct arena *arena, const char *text) {
    return (char *)(uintptr_t)arena_bytes(arena, bytes_of(text, strlen(text) + 1)).data;
}

char *arena_format(struct arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return NULL;
    char *text = arena_alloc(arena, (size_t)len + 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

void arena_free_scoped(struct arena **arena) {
    arena_free(*arena);
}
