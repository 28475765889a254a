#include "ledger/store/segments.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/wire.h"
#include "ledger/block.h"
#include "ledger/store/crc.h"
#include "ledger/store/store.h"
#include "ledger/store/writer.h"

enum {
    RECORD_MAGIC = 0x52424c4b, /* "RBLK" */
    RECORD_HEAD_BYTES = 32,
    RECORD_SYNCED_AT = 20,
    RECORD_CRC_AT = 28,
    HEIGHT_BYTES = 16,
    RECORD_BYTES_MAX = RECORD_HEAD_BYTES + BLOCK_BYTES_MAX + STORE_CERTIFICATE_BYTES_MAX,
    TAIL_CHUNK_BYTES = 64 << 10,
    OPEN_MAX = 16, /* older segments that are kept open for reading */
};

struct segments {
    char folder[PATH_MAX];
    int heights_fd;
    int fd; /* of the segment that is written: for reading and syncing */
    struct writer *writer; /* of its end */
    uint32_t segment;
    uint64_t offset; /* where the next record goes */
    uint64_t height;
    uint64_t earlier_bytes; /* in closed segments */
    uint64_t scanned_bytes; /* above `first` when it was opened */
    _Atomic uint64_t synced; /* the height up to which blocks are known to be synced */
    pthread_mutex_t sync_lock; /* guards fd against being replaced while another thread syncs it */
    struct {
        uint32_t segment; /* 0: none */
        int fd;
    } open[OPEN_MAX];
    unsigned open_next;
};

struct record {
    uint32_t block_len;
    uint32_t certificate_len;
    uint64_t height;
    uint64_t synced; /* when it was written: what it says was synced cannot have been torn */
    uint32_t crc;
};

static bool record_head(const uint8_t raw[RECORD_HEAD_BYTES], struct record *ret_record) {
    if (wire_load_u32(raw) != RECORD_MAGIC)
        return false;
    *ret_record = (struct record){wire_load_u32(raw + 4), wire_load_u32(raw + 8),
                                  wire_load_u64(raw + 12), wire_load_u64(raw + RECORD_SYNCED_AT),
                                  wire_load_u32(raw + RECORD_CRC_AT)};
    return ret_record->block_len <= BLOCK_BYTES_MAX &&
           ret_record->certificate_len <= STORE_CERTIFICATE_BYTES_MAX;
}

static enum error_code segment_path(const struct segments *s, uint32_t segment, char *ret_path,
                                    struct error *err) {
    int len = snprintf(ret_path, PATH_MAX, "%s/blocks/%08u", s->folder, segment);
    if (len < 0 || len >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", s->folder);
    return ERROR_NONE;
}

static enum error_code closed_fd(struct segments *s, uint32_t segment, int *ret_fd,
                                 struct error *err) {
    for (unsigned i = 0; i < OPEN_MAX; i++)
        if (s->open[i].segment == segment) {
            *ret_fd = s->open[i].fd;
            return ERROR_NONE;
        }
    char path[PATH_MAX];
    TRY(segment_path(s, segment, path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(err, errno, "cannot open", path);
    unsigned slot = s->open_next++ % OPEN_MAX;
    if (s->open[slot].segment != 0)
        (void)close(s->open[slot].fd);
    s->open[slot].segment = segment;
    s->open[slot].fd = fd;
    *ret_fd = fd;
    return ERROR_NONE;
}

/* The end of the segment that is written may not be in the file yet. */
static enum error_code read_written(struct segments *s, uint64_t at, uint8_t *data, size_t len,
                                    size_t *ret_len, struct error *err) {
    size_t done = 0;
    while (done < len) {
        size_t in_file = 0;
        size_t got = writer_read(s->writer, at + done, data + done, len - done, &in_file);
        if (in_file > 0)
            TRY(file_read_at(s->fd, data + done, in_file, at + done, "blocks", &got, err));
        done += got;
        if (got == 0 || got < in_file)
            break;
    }
    *ret_len = done;
    return ERROR_NONE;
}

static enum error_code read_segment(struct segments *s, uint32_t segment, uint64_t at,
                                    uint8_t *data, size_t len, size_t *ret_len,
                                    struct error *err) {
    int fd = -1;
    if (segment == s->segment)
        return read_written(s, at, data, len, ret_len, err);
    TRY(closed_fd(s, segment, &fd, err));
    return file_read_at(fd, data, len, at, "blocks", ret_len, err);
}

static enum error_code write_height(struct segments *s, uint64_t height, uint32_t segment,
                                    uint64_t offset, struct error *err) {
    uint8_t raw[HEIGHT_BYTES] = {0};
    wire_store_u32(raw, segment);
    wire_store_u64(raw + 4, offset);
    return file_write_at(s->heights_fd, bytes_of(raw, sizeof raw), (height - 1) * HEIGHT_BYTES,
                         "heights", err);
}

static enum error_code find_height(struct segments *s, uint64_t height, uint32_t *ret_segment,
                                   uint64_t *ret_offset, struct error *err) {
    if (height == 0 || height > s->height)
        return error_set(err, ERROR_NOT_FOUND, "block %llu: the chain has %llu",
                         (unsigned long long)height, (unsigned long long)s->height);
    uint8_t raw[HEIGHT_BYTES];
    size_t len = 0;
    TRY(file_read_at(s->heights_fd, raw, sizeof raw, (height - 1) * HEIGHT_BYTES, "heights", &len,
                     err));
    if (len != sizeof raw || wire_load_u32(raw) == 0)
        return error_set(err, ERROR_CORRUPT, "heights: no entry for block %llu",
                         (unsigned long long)height);
    *ret_segment = wire_load_u32(raw);
    *ret_offset = wire_load_u64(raw + 4);
    return ERROR_NONE;
}

/* Reads and checks the whole record at an offset. found is false where there is no valid one. */
static enum error_code check_record(int fd, uint64_t at, uint8_t *scratch, bool *ret_found,
                                    struct record *ret_record, struct error *err) {
    size_t len = 0;
    TRY(file_read_at(fd, scratch, RECORD_HEAD_BYTES, at, "blocks", &len, err));
    *ret_found = false;
    if (len != RECORD_HEAD_BYTES || !record_head(scratch, ret_record))
        return ERROR_NONE;
    size_t body = (size_t)ret_record->block_len + ret_record->certificate_len;
    TRY(file_read_at(fd, scratch + RECORD_HEAD_BYTES, body, at + RECORD_HEAD_BYTES, "blocks", &len,
                     err));
    uint32_t crc = crc32c(0, bytes_of(scratch, RECORD_CRC_AT));
    crc = crc32c(crc, bytes_of(scratch + RECORD_HEAD_BYTES, body));
    *ret_found = len == body && crc == ret_record->crc;
    return ERROR_NONE;
}

/* Blocks that were not synced may be torn by a loss of power in any part, also before a whole one.
 * A whole one that says that the torn one was synced makes it damage. height: of the torn one. */
static enum error_code check_tail(int fd, uint64_t from, uint64_t size, uint64_t height,
                                  uint8_t *scratch, struct error *err) {
    uint8_t chunk[TAIL_CHUNK_BYTES];
    uint8_t magic[4];
    wire_store_u32(magic, RECORD_MAGIC);
    for (uint64_t at = from + 1; at + RECORD_HEAD_BYTES <= size;) {
        size_t len = 0;
        TRY(file_read_at(fd, chunk, sizeof chunk, at, "blocks", &len, err));
        const uint8_t *hit = memmem(chunk, len, magic, sizeof magic);
        if (hit == NULL) {
            at += len < sizeof chunk ? len : len - sizeof magic + 1;
            continue;
        }
        bool found = false;
        struct record record;
        at += (uint64_t)(hit - chunk);
        TRY(check_record(fd, at, scratch, &found, &record, err));
        if (found && record.synced >= height)
            return error_set(err, ERROR_CORRUPT,
                             "blocks: block %llu is damaged at byte %llu, and block %llu was "
                             "written after it was synced",
                             (unsigned long long)height, (unsigned long long)from,
                             (unsigned long long)record.height);
        at++;
    }
    return ERROR_NONE;
}

/* Reads one segment from an offset on, to its last whole record. */
static enum error_code scan_segment(struct segments *s, uint8_t *scratch, struct error *err) {
    for (;;) {
        struct record record;
        bool found = false;
        TRY(check_record(s->fd, s->offset, scratch, &found, &record, err));
        if (!found)
            return ERROR_NONE;
        if (record.height != s->height + 1)
            return error_set(err, ERROR_CORRUPT, "blocks: found block %llu after block %llu",
                             (unsigned long long)record.height, (unsigned long long)s->height);
        uint64_t bytes = (uint64_t)record.block_len + record.certificate_len;
        TRY(write_height(s, record.height, s->segment, s->offset, err));
        if (record.height > s->synced) /* while opening, this is `first` */
            s->scanned_bytes += bytes;
        s->offset += RECORD_HEAD_BYTES + bytes;
        s->height = record.height;
    }
}

static enum error_code open_segment(struct segments *s, uint32_t segment, bool create,
                                    bool *ret_there, struct error *err) {
    char path[PATH_MAX];
    TRY(segment_path(s, segment, path, err));
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (fd < 0 && errno == ENOENT && !create) {
        *ret_there = false;
        return ERROR_NONE;
    }
    if (fd < 0)
        return file_error(err, errno, "cannot open", path);
    pthread_mutex_lock(&s->sync_lock);
    int old = s->fd;
    s->fd = fd;
    s->segment = segment;
    s->offset = 0;
    pthread_mutex_unlock(&s->sync_lock);
    if (old >= 0)
        (void)close(old);
    *ret_there = true;
    return ERROR_NONE;
}

/* From s->offset on, by a descriptor of the writer's own: its flags change while others read. */
static enum error_code begin_writing(struct segments *s, struct error *err) {
    char path[PATH_MAX];
    TRY(segment_path(s, s->segment, path, err));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(err, errno, "cannot open", path);
    writer_begin(s->writer, fd, s->offset);
    return ERROR_NONE;
}

/* Of those before the one that is read first. */
static enum error_code count_earlier(struct segments *s, uint32_t segment, struct error *err) {
    for (uint32_t i = 1; i < segment; i++) {
        char path[PATH_MAX];
        struct stat stat_;
        TRY(segment_path(s, i, path, err));
        if (stat(path, &stat_) != 0)
            return errno == ENOENT
                       ? error_set(err, ERROR_CORRUPT, "blocks: segment %u is missing", i)
                       : file_error(err, errno, "cannot look at", path);
        s->earlier_bytes += (uint64_t)stat_.st_size;
    }
    return ERROR_NONE;
}

static enum error_code recover(struct segments *s, uint8_t *scratch, struct error *err) {
    uint32_t segment = 1;
    uint64_t offset = 0;
    bool there = false;
    if (s->height > 0)
        TRY(find_height(s, s->height, &segment, &offset, err));
    TRY(count_earlier(s, segment, err));
    TRY(open_segment(s, segment, s->height == 0, &there, err));
    if (!there)
        return error_set(err, ERROR_CORRUPT, "blocks: segment %u is missing", segment);
    s->offset = offset;
    uint64_t wanted = s->height;
    if (s->height > 0)
        s->height--; /* the block at this height is read once more: it must be whole */
    for (;;) {
        struct stat stat;
        TRY(scan_segment(s, scratch, err));
        if (s->height < wanted)
            return error_set(err, ERROR_CORRUPT, "blocks: block %llu is damaged",
                             (unsigned long long)wanted);
        if (fstat(s->fd, &stat) != 0)
            return file_error(err, errno, "cannot look at", "blocks");
        uint64_t size = (uint64_t)stat.st_size;
        uint64_t end = s->offset;
        if (size > end)
            TRY(check_tail(s->fd, end, size, s->height + 1, scratch, err));
        TRY(open_segment(s, s->segment + 1, false, &there, err));
        if (there && size > end)
            return error_set(err, ERROR_CORRUPT, "blocks: segment %u is damaged at byte %llu",
                             s->segment - 1, (unsigned long long)end);
        if (!there) {
            if (size > end && ftruncate(s->fd, (off_t)end) != 0)
                return file_error(err, errno, "cannot cut", "blocks");
            return begin_writing(s, err);
        }
        s->earlier_bytes += size;
    }
}

enum error_code segments_open(const char *folder, uint64_t first, struct segments **ret_segments,
                              struct error *err) {
    struct segments *s = calloc(1, sizeof *s);
    uint8_t *scratch = malloc(RECORD_BYTES_MAX);
    enum error_code code = ERROR_NONE;
    if (s == NULL || scratch == NULL) {
        free(s);
        free(scratch);
        return error_set(err, ERROR_NO_MEMORY, "blocks: no memory");
    }
    s->fd = s->heights_fd = -1;
    (void)pthread_mutex_init(&s->sync_lock, NULL);
    char path[PATH_MAX];
    (void)snprintf(s->folder, sizeof s->folder, "%s", folder);
    if (snprintf(path, sizeof path, "%s/blocks", folder) >= (int)sizeof path)
        code = error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    if (code == ERROR_NONE)
        code = file_make_folder(path, 0700, err);
    if (code == ERROR_NONE && snprintf(path, sizeof path, "%s/heights", folder) > 0) {
        s->heights_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (s->heights_fd < 0)
            code = file_error(err, errno, "cannot open", path);
    }
    s->height = first;
    s->synced = first;
    if (code == ERROR_NONE)
        code = writer_new("blocks", &s->writer, err);
    if (code == ERROR_NONE)
        code = recover(s, scratch, err);
    if (code == ERROR_NONE)
        code = segments_sync(s, s->height, err); /* what follows may then call this much synced */
    if (code == ERROR_NONE && snprintf(path, sizeof path, "%s/blocks", folder) > 0)
        code = file_sync_folder(path, err);
    free(scratch);
    if (code != ERROR_NONE) {
        segments_close(s);
        return code;
    }
    *ret_segments = s;
    return ERROR_NONE;
}

void segments_close(struct segments *segments) {
    if (segments == NULL)
        return;
    writer_free(segments->writer);
    if (segments->fd >= 0)
        (void)close(segments->fd);
    if (segments->heights_fd >= 0)
        (void)close(segments->heights_fd);
    for (unsigned i = 0; i < OPEN_MAX; i++)
        if (segments->open[i].segment != 0)
            (void)close(segments->open[i].fd);
    (void)pthread_mutex_destroy(&segments->sync_lock);
    free(segments);
}

uint64_t segments_height(const struct segments *segments) {
    return segments->height;
}

uint64_t segments_bytes(const struct segments *segments) {
    return segments->earlier_bytes + segments->offset;
}

uint64_t segments_scanned_bytes(const struct segments *segments) {
    return segments->scanned_bytes;
}

static enum error_code next_segment(struct segments *s, struct error *err) {
    bool there = false;
    TRY(segments_sync(s, s->height, err));
    s->earlier_bytes += s->offset;
    TRY(open_segment(s, s->segment + 1, true, &there, err));
    TRY(begin_writing(s, err));
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/blocks", s->folder) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", s->folder);
    return file_sync_folder(path, err);
}

enum error_code segments_append(struct segments *s, uint64_t height, struct bytes block,
                                struct bytes certificate, struct error *err) {
    if (height != s->height + 1)
        return error_set(err, ERROR_INTERNAL, "blocks: block %llu cannot follow block %llu",
                         (unsigned long long)height, (unsigned long long)s->height);
    if (block.len > BLOCK_BYTES_MAX || certificate.len > STORE_CERTIFICATE_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "blocks: block %llu of %zu bytes, certificate of %zu",
                         (unsigned long long)height, block.len, certificate.len);
    if (s->offset >= STORE_SEGMENT_BYTES)
        TRY(next_segment(s, err));
    uint8_t head[RECORD_HEAD_BYTES];
    wire_store_u32(head, RECORD_MAGIC);
    wire_store_u32(head + 4, (uint32_t)block.len);
    wire_store_u32(head + 8, (uint32_t)certificate.len);
    wire_store_u64(head + 12, height);
    wire_store_u64(head + RECORD_SYNCED_AT, s->synced);
    uint32_t crc = crc32c(0, bytes_of(head, RECORD_CRC_AT));
    crc = crc32c(crc, block);
    wire_store_u32(head + RECORD_CRC_AT, crc32c(crc, certificate));
    const struct bytes parts[] = {bytes_of(head, sizeof head), block, certificate};
    TRY(writer_add(s->writer, parts, 3, err));
    TRY(write_height(s, height, s->segment, s->offset, err));
    s->offset += sizeof head + block.len + certificate.len;
    s->height = height;
    return ERROR_NONE;
}

enum error_code segments_sync(struct segments *s, uint64_t height, struct error *err) {
    TRY(writer_finish(s->writer, err));
    pthread_mutex_lock(&s->sync_lock);
    int failed = fdatasync(s->fd) != 0 || fdatasync(s->heights_fd) != 0 ? errno : 0;
    if (failed == 0 && height > s->synced)
        s->synced = height;
    pthread_mutex_unlock(&s->sync_lock);
    return failed == 0 ? ERROR_NONE : file_error(err, failed, "cannot sync", "blocks");
}

enum error_code segments_read(struct segments *s, uint64_t height, struct buffer *ret_block,
                              struct buffer *ret_certificate, struct error *err) {
    uint32_t segment = 0;
    uint64_t offset = 0;
    size_t len = 0;
    uint8_t head[RECORD_HEAD_BYTES];
    struct record record;
    TRY(find_height(s, height, &segment, &offset, err));
    TRY(read_segment(s, segment, offset, head, sizeof head, &len, err));
    if (len != sizeof head || !record_head(head, &record) || record.height != height)
        return error_set(err, ERROR_CORRUPT, "block %llu: its record is damaged",
                         (unsigned long long)height);
    size_t body = (size_t)record.block_len + record.certificate_len;
    SCOPED_FREE uint8_t *data = malloc(body + 1);
    if (data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "block: no memory");
    TRY(read_segment(s, segment, offset + sizeof head, data, body, &len, err));
    uint32_t crc = crc32c(crc32c(0, bytes_of(head, RECORD_CRC_AT)), bytes_of(data, body));
    if (len != body || crc != record.crc)
        return error_set(err, ERROR_CORRUPT, "block %llu: its checksum is wrong",
                         (unsigned long long)height);
    if (ret_block != NULL) {
        buffer_append(ret_block, data, record.block_len);
        TRY(buffer_check(ret_block, "block", err));
    }
    if (ret_certificate != NULL) {
        buffer_append(ret_certificate, data + record.block_len, record.certificate_len);
        TRY(buffer_check(ret_certificate, "certificate", err));
    }
    return ERROR_NONE;
}

enum error_code segments_read_some(struct segments *s, uint64_t height, size_t offset,
                                   uint8_t *ret_bytes, size_t len, size_t *ret_len,
                                   struct error *err) {
    uint32_t segment = 0;
    uint64_t record = 0;
    TRY(find_height(s, height, &segment, &record, err));
    return read_segment(s, segment, record + RECORD_HEAD_BYTES + offset, ret_bytes, len, ret_len, err);
}

/* Reading all there is, without a segments object. */

struct scan {
    const char *folder;
    segments_take_fn take;
    void *context;
    struct segments_end *end;
    uint8_t *scratch;
};

static enum error_code scan_path(const char *folder, uint32_t segment, char *ret_path,
                                 struct error *err) {
    if (snprintf(ret_path, PATH_MAX, "%s/blocks/%08u", folder, segment) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    return ERROR_NONE;
}

static enum error_code damaged(int fd, const struct scan *scan, const char *path,
                               struct error *err) {
    uint8_t raw[RECORD_HEAD_BYTES];
    size_t len = 0;
    struct record record;
    bool found = false;
    const struct segments_end *end = scan->end;
    TRY(file_read_at(fd, raw, sizeof raw, end->offset, "blocks", &len, err));
    if (len < sizeof raw || !record_head(raw, &record))
        return error_set(err, ERROR_CORRUPT,
                         "%s: byte %llu: found no record, expected that of block %llu", path,
                         (unsigned long long)end->offset, (unsigned long long)end->height + 1);
    TRY(check_record(fd, end->offset, scan->scratch, &found, &record, err));
    uint32_t crc = crc32c(0, bytes_of(scan->scratch, RECORD_CRC_AT));
    crc = crc32c(crc, bytes_of(scan->scratch + RECORD_HEAD_BYTES,
                               (size_t)record.block_len + record.certificate_len));
    return error_set(err, ERROR_CORRUPT,
                     "%s: byte %llu: block %llu: found checksum %08x, expected %08x", path,
                     (unsigned long long)end->offset, (unsigned long long)end->height + 1, crc,
                     record.crc);
}

static enum error_code take_record(const struct scan *scan, const char *path,
                                   const struct record *record, struct error *err) {
    struct segments_end *end = scan->end;
    if (record->height != end->height + 1)
        return error_set(err, ERROR_CORRUPT, "%s: byte %llu: found block %llu, expected block %llu",
                         path, (unsigned long long)end->offset, (unsigned long long)record->height,
                         (unsigned long long)end->height + 1);
    size_t len = RECORD_HEAD_BYTES + (size_t)record->block_len + record->certificate_len;
    const uint8_t *body = scan->scratch + RECORD_HEAD_BYTES;
    struct segments_record given = {
        .segment = end->segment,
        .offset = end->offset,
        .height = record->height,
        .raw = bytes_of(scan->scratch, len),
        .block = bytes_of(body, record->block_len),
        .certificate = bytes_of(body + record->block_len, record->certificate_len),
    };
    TRY(scan->take(scan->context, &given, err));
    end->height = record->height;
    end->offset += len;
    return ERROR_NONE;
}

/* A record that is torn in the last segment, with no whole one behind it, is the end: a loss of power
 * left it so, or the node is writing it now. */
static enum error_code scan_file(const struct scan *scan, int fd, const char *path, bool last,
                                 struct error *err) {
    for (int again = 0; again < 2;) {
        struct record record;
        struct stat stat;
        bool found = false;
        TRY(check_record(fd, scan->end->offset, scan->scratch, &found, &record, err));
        if (found) {
            again = 0;
            TRY(take_record(scan, path, &record, err));
            continue;
        }
        if (fstat(fd, &stat) != 0)
            return file_error(err, errno, "cannot look at", path);
        scan->end->torn = (uint64_t)stat.st_size - scan->end->offset;
        if (scan->end->torn == 0 ||
            (last && check_tail(fd, scan->end->offset, (uint64_t)stat.st_size, 0, scan->scratch,
                                NULL) == ERROR_NONE))
            return ERROR_NONE;
        again++; /* it may have been written between the two looks */
    }
    return damaged(fd, scan, path, err);
}

static enum error_code scan_all(const struct scan *scan, struct error *err) {
    for (uint32_t segment = 1;; segment++) {
        char path[PATH_MAX];
        char next[PATH_MAX];
        TRY(scan_path(scan->folder, segment, path, err));
        TRY(scan_path(scan->folder, segment + 1, next, err));
        SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            return ERROR_NONE;
        if (fd < 0)
            return file_error(err, errno, "cannot open", path);
        bool last = access(next, F_OK) != 0;
        *scan->end = (struct segments_end){segment, scan->end->height, 0, 0};
        TRY(scan_file(scan, fd, path, last, err));
        if (last && access(next, F_OK) == 0) /* begun meanwhile: this one may have grown before */
            TRY(scan_file(scan, fd, path, false, err));
    }
}

enum error_code segments_scan(const char *folder, segments_take_fn take, void *context,
                              struct segments_end *ret_end, struct error *err) {
    SCOPED_FREE uint8_t *scratch = malloc(RECORD_BYTES_MAX);
    *ret_end = (struct segments_end){0};
    if (scratch == NULL)
        return error_set(err, ERROR_NO_MEMORY, "blocks: no memory");
    struct scan scan = {folder, take, context, ret_end, scratch};
    return scan_all(&scan, err);
}
