/*
 * Arrays in memory that a program cannot do without: where there is none left it ends, since a node that
 * forgets a record is worse than one that stops.
 */
#ifndef BASE_ARRAY_H
#define BASE_ARRAY_H

#include <stddef.h>
#include <stdlib.h>

enum { ARRAY_CAPACITY_FIRST = 64 };

/* Zeroed; free() it. */
static inline void *array_new(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

/* Room for one more than count; memory may be another afterwards. */
static inline void *array_grown(void *memory, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return memory;
    *capacity = *capacity < ARRAY_CAPACITY_FIRST ? ARRAY_CAPACITY_FIRST : *capacity * 2;
    memory = realloc(memory, *capacity * size);
    if (memory == NULL)
        abort();
    return memory;
}

#endif
