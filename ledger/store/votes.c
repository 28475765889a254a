#include "ledger/store/votes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/wire.h"
#include "ledger/store/crc.h"
#include "ledger/store/pages.h"

enum {
    VOTE_MAGIC = 0x52564f54, /* "RVOT" */
    HEAD_BYTES = 24,
    BATCH_AT = 12,
    CRC_AT = 20,
    ENTRIES_MAX = 1 << 20,
    PENDING_BYTES_MAX = 128 << 20,
};

struct votes {
    char path[PATH_MAX];
    int fd;
    uint64_t size;
    uint64_t cached; /* from here on the page cache may have it */
    struct pages pending; /* from size on */
    bool pending_failed;
    struct buffer file; /* what was read at the start */
    struct votes_entry *entries;
};

/* batch: where in the file begins what is written and synced together with this. */
static void encode_head(enum votes_kind kind, struct bytes bytes, uint64_t batch,
                        uint8_t ret_head[HEAD_BYTES]) {
    wire_store_u32(ret_head, VOTE_MAGIC);
    wire_store_u32(ret_head + 4, (uint32_t)kind);
    wire_store_u32(ret_head + 8, (uint32_t)bytes.len);
    wire_store_u64(ret_head + BATCH_AT, batch);
    wire_store_u32(ret_head + CRC_AT, crc32c(crc32c(0, bytes_of(ret_head, CRC_AT)), bytes));
}

/* The entry at the start of the input; false where it is torn or damaged. */
static bool decode(struct bytes input, struct votes_entry *ret_entry, size_t *ret_len) {
    if (input.len < HEAD_BYTES || wire_load_u32(input.data) != VOTE_MAGIC)
        return false;
    uint32_t kind = wire_load_u32(input.data + 4);
    uint32_t len = wire_load_u32(input.data + 8);
    if (len > VOTES_RECORD_BYTES_MAX || len > input.len - HEAD_BYTES)
        return false;
    struct bytes body = bytes_of(input.data + HEAD_BYTES, len);
    if (crc32c(crc32c(0, bytes_of(input.data, CRC_AT)), body) != wire_load_u32(input.data + CRC_AT))
        return false;
    *ret_entry = (struct votes_entry){(enum votes_kind)kind, body};
    *ret_len = HEAD_BYTES + len;
    return kind >= VOTES_RECORD && kind <= VOTES_COMMITTED;
}

/* Where the power went before a batch was synced, any part of it may be missing, also one before a
 * whole record of the same batch. A whole record of a later batch says that what is missing was
 * synced: that is damage, and a validator that forgets a vote may contradict it. */
static enum error_code check_tail(const struct votes *votes, size_t from, struct error *err) {
    uint8_t magic[4];
    wire_store_u32(magic, VOTE_MAGIC);
    const uint8_t *end = votes->file.data + votes->file.len;
    const uint8_t *at = votes->file.data + from + 1;
    while (at < end && (at = memmem(at, (size_t)(end - at), magic, sizeof magic)) != NULL) {
        struct votes_entry entry;
        size_t len;
        if (decode(bytes_of(at, (size_t)(end - at)), &entry, &len) &&
            wire_load_u64(at + BATCH_AT) > from)
            return error_set(err, ERROR_CORRUPT,
                             "%s: damaged at byte %zu, with records behind it that were written "
                             "later",
                             votes->path, from);
        at++;
    }
    return ERROR_NONE;
}

static enum error_code read_all(struct votes *votes, size_t *ret_count, struct error *err) {
    size_t count = 0;
    size_t capacity = 0;
    size_t at = 0;
    while (at < votes->file.len) {
        struct votes_entry entry;
        size_t len = 0;
        if (!decode(bytes_of(votes->file.data + at, votes->file.len - at), &entry, &len))
            break;
        if (count == ENTRIES_MAX)
            return error_set(err, ERROR_LIMIT, "%s: more than %d records", votes->path,
                             ENTRIES_MAX);
        if (count == capacity) {
            capacity = capacity == 0 ? 256 : capacity * 2;
            struct votes_entry *more = realloc(votes->entries, capacity * sizeof *more);
            if (more == NULL)
                return error_set(err, ERROR_NO_MEMORY, "%s: no memory", votes->path);
            votes->entries = more;
        }
        votes->entries[count++] = entry;
        at += len;
    }
    if (at < votes->file.len) {
        TRY(check_tail(votes, at, err));
        if (votes->fd >= 0 && (ftruncate(votes->fd, (off_t)at) != 0 || fdatasync(votes->fd) != 0))
            return file_error(err, errno, "cannot cut", votes->path);
    }
    votes->size = at;
    *ret_count = count;
    return ERROR_NONE;
}

static enum error_code open_log(struct votes *votes, const char *path, size_t *ret_count,
                                struct error *err) {
    if (snprintf(votes->path, sizeof votes->path, "%s", path) >= (int)sizeof votes->path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", path);
    votes->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (votes->fd < 0)
        return file_error(err, errno, "cannot open", path);
    TRY(file_read(path, &votes->file, VOTES_BYTES_MAX, err));
    return read_all(votes, ret_count, err);
}

enum error_code votes_open(const char *path, struct votes **ret_votes,
                           const struct votes_entry **ret_entries, size_t *ret_count,
                           struct error *err) {
    struct votes *votes = calloc(1, sizeof *votes);
    if (votes == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory", path);
    votes->fd = -1;
    buffer_init(&votes->file, VOTES_BYTES_MAX);
    pages_init(&votes->pending, PENDING_BYTES_MAX);
    size_t count = 0;
    enum error_code code = open_log(votes, path, &count, err);
    pages_begin(&votes->pending, votes->size);
    if (code != ERROR_NONE) {
        votes_close(votes);
        return code;
    }
    *ret_votes = votes;
    *ret_entries = votes->entries;
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code votes_check(const char *path, size_t *ret_records, uint64_t *ret_torn,
                            struct error *err) {
    struct votes votes = {.fd = -1};
    size_t count = 0;
    buffer_init(&votes.file, VOTES_BYTES_MAX);
    if (snprintf(votes.path, sizeof votes.path, "%s", path) >= (int)sizeof votes.path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", path);
    enum error_code code = file_read(path, &votes.file, VOTES_BYTES_MAX, err);
    if (code == ERROR_NONE)
        code = read_all(&votes, &count, err);
    if (code == ERROR_NONE) {
        *ret_records = count;
        *ret_torn = votes.file.len - votes.size;
    }
    buffer_done(&votes.file);
    free(votes.entries);
    return code;
}

void votes_close(struct votes *votes) {
    if (votes == NULL)
        return;
    if (votes->fd >= 0)
        (void)close(votes->fd);
    pages_done(&votes->pending);
    buffer_done(&votes->file);
    free(votes->entries);
    free(votes);
}

uint64_t votes_bytes(const struct votes *votes) {
    return votes->size;
}

void votes_add(struct votes *votes, enum votes_kind kind, struct bytes bytes) {
    uint8_t *at = votes->pending_failed ? NULL : pages_add(&votes->pending, HEAD_BYTES + bytes.len);
    if (at == NULL) {
        votes->pending_failed = true;
        return;
    }
    encode_head(kind, bytes, votes->size, at);
    if (bytes.len > 0)
        memcpy(at + HEAD_BYTES, bytes.data, bytes.len);
}

bool votes_dirty(const struct votes *votes) {
    return votes->pending.len > 0 || votes->pending_failed;
}

static void forget_file(struct votes *votes) {
    free(votes->entries);
    votes->entries = NULL;
    buffer_done(&votes->file);
}

enum error_code votes_sync(struct votes *votes, struct error *err) {
    if (votes->pending_failed)
        return error_set(err, ERROR_LIMIT, "%s: no memory for %zu bytes and more", votes->path,
                         votes->pending.len);
    if (votes->pending.len == 0)
        return ERROR_NONE;
    forget_file(votes);
    TRY(pages_write(&votes->pending, votes->fd, votes->path, err));
    if (fdatasync(votes->fd) != 0)
        return file_error(err, errno, "cannot sync", votes->path);
    votes->size += votes->pending.len;
    pages_begin(&votes->pending, votes->size);
    file_forget_written(votes->fd, &votes->cached, votes->size); /* it is read at a start only */
    return ERROR_NONE;
}

enum error_code votes_replace(struct votes *votes, const struct votes_entry *entries,
                              size_t count, struct error *err) {
    SCOPED_BUFFER struct buffer fresh;
    buffer_init(&fresh, VOTES_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        uint8_t head[HEAD_BYTES];
        encode_head(entries[i].kind, entries[i].bytes, fresh.len, head);
        buffer_append(&fresh, head, sizeof head);
        buffer_append(&fresh, entries[i].bytes.data, entries[i].bytes.len);
    }
    TRY(buffer_check(&fresh, votes->path, err));
    TRY(file_replace(votes->path, buffer_bytes(&fresh), 0600, err));
    int fd = open(votes->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return file_error(err, errno, "cannot open", votes->path);
    (void)close(votes->fd);
    votes->fd = fd;
    votes->size = fresh.len;
    votes->cached = 0;
    pages_begin(&votes->pending, votes->size);
    votes->pending_failed = false;
    forget_file(votes);
    return ERROR_NONE;
}
