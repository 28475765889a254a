/* The node's own files after a damage: the vote log and the segments of blocks. The input says what
 * was written in which batches, then which bytes changed or were cut off. Whatever the damage, what
 * is read back is what was written, from the start on without a gap, or an error. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/wire.h"
#include "ledger/store/segments.h"
#include "ledger/store/votes.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_MAX = 24, PATH_BYTES_MAX = 128, PARTS = 3 };

struct written {
    enum votes_kind kind;
    struct bytes bytes;
    off_t end; /* of the file, behind it */
};

static char folder[PATH_BYTES_MAX];
static char paths[PARTS][PATH_BYTES_MAX]; /* votes, the first segment, heights */

/* A folder in memory for each process. */
static void make_folder(void) {
    static const char *const NAMES[PARTS] = {"votes", "blocks/00000001", "heights"};
    char blocks[PATH_BYTES_MAX + sizeof "/blocks"];
    (void)snprintf(folder, sizeof folder, "/dev/shm/renkei-fuzz-%ld", (long)getpid());
    (void)snprintf(blocks, sizeof blocks, "%s/blocks", folder);
    REQUIRE(mkdir(folder, 0700) == 0 || errno == EEXIST);
    REQUIRE(mkdir(blocks, 0700) == 0 || errno == EEXIST);
    for (int i = 0; i < PARTS; i++)
        REQUIRE(snprintf(paths[i], sizeof paths[i], "%s/%s", folder, NAMES[i]) <
                (int)sizeof paths[i]);
}

static void remove_files(void) {
    char blocks[PATH_BYTES_MAX + sizeof "/blocks"];
    for (int i = 0; i < PARTS; i++)
        (void)unlink(paths[i]);
    (void)snprintf(blocks, sizeof blocks, "%s/blocks", folder);
    (void)rmdir(blocks);
    (void)rmdir(folder);
}

static off_t file_end(const char *path) {
    struct stat stat_of;
    REQUIRE(stat(path, &stat_of) == 0);
    return stat_of.st_size;
}

/* Changes up to four places of a file, or cuts it; returns where the first change is. */
static off_t damage(struct wire_reader *r, const char *path) {
    off_t end = file_end(path);
    off_t first = end;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    for (unsigned count = wire_read_u8(r) % 5; count > 0 && end > 0; count--) {
        off_t at = wire_read_u16(r) % end;
        uint8_t bits = wire_read_u8(r);
        uint8_t byte;
        REQUIRE(pread(fd, &byte, 1, at) == 1);
        byte ^= bits;
        REQUIRE(pwrite(fd, &byte, 1, at) == 1);
        if (bits != 0 && at < first)
            first = at;
    }
    if (wire_read_u8(r) % 4 == 1 && end > 0) {
        off_t cut = wire_read_u16(r) % end;
        REQUIRE(ftruncate(fd, cut) == 0);
        if (cut < first)
            first = cut;
    }
    (void)close(fd);
    return first;
}

static struct bytes some_bytes(struct wire_reader *r) {
    size_t len = wire_read_u8(r);
    size_t left = wire_read_left(r);
    return wire_read_raw(r, len < left ? len : left);
}

static void try_votes(struct wire_reader *r) {
    struct votes *votes = NULL;
    const struct votes_entry *entries = NULL;
    struct written written[RECORDS_MAX];
    size_t count = 0;
    size_t found = 0;
    struct error err;
    REQUIRE(votes_open(paths[0], &votes, &entries, &found, &err) == ERROR_NONE && found == 0);
    for (unsigned planned = wire_read_u8(r) % (RECORDS_MAX + 1); count < planned;) {
        uint8_t kind = wire_read_u8(r);
        struct written *w = &written[count++];
        *w = (struct written){VOTES_RECORD + kind % 4, some_bytes(r), 0};
        votes_add(votes, w->kind, w->bytes);
        if (kind < 128 || count == planned)
            REQUIRE(votes_sync(votes, &err) == ERROR_NONE);
        w->end = kind < 128 || count == planned ? file_end(paths[0]) : 0;
    }
    votes_close(votes);
    off_t first = damage(r, paths[0]);
    size_t untouched = 0; /* whole batches before the damage */
    for (size_t i = 0; i < count; i++)
        if (written[i].end > 0 && written[i].end <= first)
            untouched = i + 1;
    for (int i = 0; i < 2; i++) { /* what was repaired once stays so */
        votes = NULL;
        if (votes_open(paths[0], &votes, &entries, &found, &err) != ERROR_NONE)
            return;
        REQUIRE(found >= untouched && found <= count);
        for (size_t j = 0; j < found; j++)
            REQUIRE(entries[j].kind == written[j].kind &&
                    bytes_equal(entries[j].bytes, written[j].bytes));
        untouched = found;
        count = found;
        votes_close(votes);
    }
}

static void try_segments(struct wire_reader *r) {
    struct segments *segments = NULL;
    struct written written[RECORDS_MAX];
    uint64_t count = 0;
    struct error err;
    REQUIRE(segments_open(folder, 0, &segments, &err) == ERROR_NONE);
    for (unsigned planned = wire_read_u8(r) % (RECORDS_MAX + 1); count < planned;) {
        uint8_t shape = wire_read_u8(r);
        struct written *w = &written[count++];
        w->bytes = some_bytes(r);
        REQUIRE(segments_append(segments, count, w->bytes, w->bytes, &err) == ERROR_NONE);
        if (shape % 2 == 0)
            REQUIRE(segments_sync(segments, count, &err) == ERROR_NONE);
        w->end = file_end(paths[1]);
    }
    segments_close(segments);
    segments = NULL;
    off_t first = damage(r, paths[1]);
    (void)damage(r, paths[2]); /* an index only: made anew from the blocks */
    if (segments_open(folder, 0, &segments, &err) != ERROR_NONE)
        return;
    uint64_t height = segments_height(segments);
    REQUIRE(height <= count);
    for (uint64_t i = 0; i < count; i++)
        REQUIRE(written[i].end > first || height > i);
    for (uint64_t i = 1; i <= height; i++) {
        SCOPED_BUFFER struct buffer block;
        SCOPED_BUFFER struct buffer certificate;
        buffer_init(&block, 1024);
        buffer_init(&certificate, 1024);
        REQUIRE(segments_read(segments, i, &block, &certificate, &err) == ERROR_NONE);
        REQUIRE(bytes_equal(buffer_bytes(&block), written[i - 1].bytes));
        REQUIRE(bytes_equal(buffer_bytes(&certificate), written[i - 1].bytes));
    }
    segments_close(segments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct wire_reader r = wire_reader(bytes_of(data + 1, size - 1));
    make_folder();
    if (data[0] % 2 == 0)
        try_votes(&r);
    else
        try_segments(&r);
    remove_files();
    return 0;
}
