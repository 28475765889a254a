#include "ledger/store/pages.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum {
    PAGE_BYTES = 4096,
    CAPACITY_FIRST = 64 << 10,
};

void pages_init(struct pages *pages, size_t bytes_max) {
    *pages = (struct pages){.bytes_max = bytes_max};
}

void pages_done(struct pages *pages) {
    free(pages->memory);
    *pages = (struct pages){0};
}

void pages_begin(struct pages *pages, uint64_t at) {
    pages->at = at;
    pages->len = 0;
}

static size_t lead(const struct pages *pages) {
    return (size_t)(pages->at % PAGE_BYTES);
}

static bool reserve(struct pages *pages, size_t len) {
    size_t used = lead(pages) + pages->len;
    size_t capacity = pages->capacity == 0 ? CAPACITY_FIRST : pages->capacity;
    if (len > pages->bytes_max || pages->len > pages->bytes_max - len)
        return false;
    while (used + len > capacity)
        capacity *= 2;
    if (capacity == pages->capacity)
        return true;
    uint8_t *more = aligned_alloc(PAGE_BYTES, capacity);
    if (more == NULL)
        return false;
    if (pages->len > 0)
        memcpy(more + lead(pages), pages->memory + lead(pages), pages->len);
    free(pages->memory);
    pages->memory = more;
    pages->capacity = capacity;
    return true;
}

uint8_t *pages_add(struct pages *pages, size_t len) {
    if (!reserve(pages, len))
        return NULL;
    uint8_t *at = pages->memory + lead(pages) + pages->len;
    pages->len += len;
    return at;
}

struct bytes pages_bytes(const struct pages *pages) {
    return bytes_of(pages->len > 0 ? pages->memory + lead(pages) : NULL, pages->len);
}

/* Whole pages, of memory and of the file; how much was written. What a file system does not take this
 * way, or takes in part, is for the caller to write as usual. */
static size_t write_direct(int fd, struct bytes whole, uint64_t at) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0)
        return 0;
    ssize_t written = pwrite(fd, whole.data, whole.len, (off_t)at);
    int rc = fcntl(fd, F_SETFL, flags);
    assert(rc == 0); /* what was set a moment ago */
    return written > 0 ? (size_t)written : 0;
}

enum error_code pages_write(const struct pages *pages, int fd, const char *what,
                            struct error *err) {
    struct bytes data = pages_bytes(pages);
    size_t done = 0;
    if (data.len >= PAGES_DIRECT_BYTES_MIN) {
        size_t first = (PAGE_BYTES - lead(pages)) % PAGE_BYTES;
        size_t whole = (data.len - first) / PAGE_BYTES * PAGE_BYTES;
        TRY(file_write_at(fd, bytes_of(data.data, first), pages->at, what, err));
        done = first + write_direct(fd, bytes_of(data.data + first, whole), pages->at + first);
    }
    return file_write_at(fd, bytes_of(data.data + done, data.len - done), pages->at + done, what, err);
}
