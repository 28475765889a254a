/*
 * An arena: memory that is given out piece by piece and freed at once, for one request, one row or
 * one message. Allocations are zeroed and aligned for any type. The arena has a maximum; past it,
 * and where memory runs out, arena_alloc returns NULL.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"

struct arena;

struct arena *arena_new(size_t bytes_max); /* NULL: out of memory */
void arena_free(struct arena *arena);      /* NULL is fine */
void arena_reset(struct arena *arena);     /* everything given out is gone; keeps one chunk */

void *arena_alloc(struct arena *arena, size_t size);
char *arena_text(struct arena *arena, const char *text);
char *arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
struct bytes arena_bytes(struct arena *arena, struct bytes data); /* data NULL: no room */

void arena_free_scoped(struct arena **arena);
#define SCOPED_ARENA __attribute__((cleanup(arena_free_scoped)))

#endif
