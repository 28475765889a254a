/*
 * Bytes on their way to the end of a file. They are collected at the place in their first page at which
 * they will stand in the file: so whole pages of the file are whole pages of memory and can be written
 * past the page cache, where they would be copied to and never read.
 */
#ifndef LEDGER_STORE_PAGES_H
#define LEDGER_STORE_PAGES_H

#include "base/bytes.h"

enum {
    /* So much goes past the page cache; less is cheaper to copy. */
    PAGES_DIRECT_BYTES_MIN = 128 << 10,
};

struct pages {
    uint64_t at; /* where in the file the first byte will stand */
    size_t len;
    size_t bytes_max;
    size_t capacity;
    uint8_t *memory;
};

void pages_init(struct pages *pages, size_t bytes_max);
void pages_done(struct pages *pages);
/* Nothing is collected, and what comes will stand from here on. Keeps the memory. */
void pages_begin(struct pages *pages, uint64_t at);
/* Room for so many bytes more, to be filled before the next call; NULL where they would be more than
 * bytes_max, or there is no memory. */
uint8_t *pages_add(struct pages *pages, size_t len);
struct bytes pages_bytes(const struct pages *pages);
/* All of it, to where it stands in the file; nothing is synced. Nobody else may read or write through
 * this descriptor meanwhile: its flags are changed. what: for the error, ERROR_DISK_FULL or ERROR_IO. */
MUST_CHECK enum error_code pages_write(const struct pages *pages, int fd, const char *what,
                                       struct error *err);

#endif
