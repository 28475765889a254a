#include "tests/sim/stack/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 1024, DISKS_MAX = 8, NAME_BYTES_MAX = 64, ROOT_BYTES_MAX = 64,
       FULL_BYTES_MAX = 160, SECTOR_BYTES = 512 };

enum change_kind { CHANGE_WRITE = 1, CHANGE_MADE, CHANGE_RENAMED };

/* How to take one change back. */
struct change {
    enum change_kind kind;
    char path[NAME_BYTES_MAX]; /* below the disk's folder */
    uint64_t at, len;          /* WRITE */
    uint64_t size_before;      /* WRITE, and of the file that a rename replaced */
    bool had;                  /* RENAMED: there was one */
    uint8_t *before;
};

struct disk {
    struct change *changes;
    size_t count, capacity;
    bool frozen;
};

static char root_path[ROOT_BYTES_MAX];
static struct disk disks[DISKS_MAX];
static struct {
    bool known, synced_writes, folder;
    uint32_t disk;
    char path[NAME_BYTES_MAX];
} fds[FDS_MAX];
static uint64_t sync_count, taken_back;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the store has a thread of its own */

void disk_root(const char *root) {
    int used = snprintf(root_path, sizeof root_path, "%s", root);
    assert(used < ROOT_BYTES_MAX);
}

uint64_t disk_syncs(void) {
    return sync_count;
}

uint64_t disk_taken_back(void) {
    return taken_back;
}

static bool on_disk(const char *path, uint32_t *ret_disk, char *ret_rest) {
    size_t len = strlen(root_path);
    if (len == 0 || strncmp(path, root_path, len) != 0 || path[len] != '/' ||
        path[len + 1] < '0' || path[len + 1] >= '0' + DISKS_MAX)
        return false;
    *ret_disk = (uint32_t)(path[len + 1] - '0');
    const char *rest = path + len + 2;
    while (*rest == '/')
        rest++;
    int used = snprintf(ret_rest, NAME_BYTES_MAX, "%s", rest);
    assert(used < NAME_BYTES_MAX);
    return true;
}

static int raw_open(const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static void full_path(uint32_t disk, const char *path, char *ret_full) {
    snprintf(ret_full, FULL_BYTES_MAX, "%s/%u/%s", root_path, disk, path);
}

static struct change *remember(struct disk *d, enum change_kind kind, const char *path) {
    if (d->count == d->capacity) {
        d->capacity = d->capacity == 0 ? 64 : d->capacity * 2;
        d->changes = realloc(d->changes, d->capacity * sizeof *d->changes);
        assert(d->changes != NULL);
    }
    struct change *c = &d->changes[d->count++];
    *c = (struct change){.kind = kind};
    snprintf(c->path, sizeof c->path, "%s", path);
    return c;
}

/* ---- what happens to a descriptor ---- */

static void note_write(int fd, uint64_t at, uint64_t len) {
    struct disk *d = &disks[fds[fd].disk];
    struct stat stat;
    if (fds[fd].synced_writes || fstat(fd, &stat) != 0)
        return;
    struct change *c = remember(d, CHANGE_WRITE, fds[fd].path);
    c->at = at;
    c->len = len;
    c->size_before = (uint64_t)stat.st_size;
    uint64_t old = at >= c->size_before ? 0 : c->size_before - at < len ? c->size_before - at : len;
    c->before = malloc(old + 1);
    assert(c->before != NULL);
    char full[FULL_BYTES_MAX];
    full_path(fds[fd].disk, fds[fd].path, full);
    int own = raw_open(full, O_RDONLY | O_CLOEXEC, 0); /* fd may be for writing only */
    ssize_t got = own < 0 ? -1 : syscall(SYS_pread64, own, c->before, old, at);
    assert(got == (ssize_t)old);
    syscall(SYS_close, own);
}

static bool known(int fd) {
    return fd >= 0 && fd < FDS_MAX && fds[fd].known;
}

static bool frozen(int fd) {
    return known(fd) && disks[fds[fd].disk].frozen;
}

static void change_free(struct change *c) {
    free(c->before);
    c->before = NULL;
}

/* Drops from the list what a sync of this file (or folder) makes durable. */
static void settle(int fd) {
    struct disk *d = &disks[fds[fd].disk];
    const char *path = fds[fd].path;
    size_t kept = 0, len = strlen(path);
    for (size_t i = 0; i < d->count; i++) {
        struct change *c = &d->changes[i];
        bool same = strcmp(c->path, path) == 0;
        bool inside = (len == 0 || (strncmp(c->path, path, len) == 0 && c->path[len] == '/')) &&
                      strchr(c->path + len + (len > 0), '/') == NULL;
        bool durable = fds[fd].folder ? c->kind != CHANGE_WRITE && inside
                                      : c->kind == CHANGE_WRITE && same;
        if (durable)
            change_free(c);
        else
            d->changes[kept++] = *c;
    }
    d->count = kept;
    sync_count++;
}

static int sync_fd(int fd, long number) {
    if (frozen(fd))
        return 0;
    if (known(fd)) {
        pthread_mutex_lock(&lock);
        settle(fd);
        pthread_mutex_unlock(&lock);
        return 0;
    }
    return (int)syscall(number, fd);
}

/* ---- the libc calls ---- */

/* Under their assembler names, since the headers rename some of them. */
#define TAKES_OVER(name) __asm__(name) __attribute__((used))

int disk__open(const char *path, int flags, ...) TAKES_OVER("open");
int disk__open64(const char *path, int flags, ...) TAKES_OVER("open64");
ssize_t disk__pwrite(int fd, const void *data, size_t len, off_t at) TAKES_OVER("pwrite");
ssize_t disk__pwrite64(int fd, const void *data, size_t len, off_t at) TAKES_OVER("pwrite64");
ssize_t disk__pwritev(int fd, const struct iovec *v, int n, off_t at) TAKES_OVER("pwritev");
ssize_t disk__pwritev64(int fd, const struct iovec *v, int n, off_t at) TAKES_OVER("pwritev64");
ssize_t disk__write(int fd, const void *data, size_t len) TAKES_OVER("write");
int disk__fdatasync(int fd) TAKES_OVER("fdatasync");
int disk__fsync(int fd) TAKES_OVER("fsync");
int disk__ftruncate(int fd, off_t len) TAKES_OVER("ftruncate");
int disk__ftruncate64(int fd, off_t len) TAKES_OVER("ftruncate64");
int disk__rename(const char *from, const char *to) TAKES_OVER("rename");
int disk__close(int fd) TAKES_OVER("close");

static int open_any(const char *path, int flags, mode_t mode) {
    uint32_t disk = 0;
    char rest[NAME_BYTES_MAX];
    bool ours = on_disk(path, &disk, rest);
    pthread_mutex_lock(&lock);
    bool there = ours && (flags & O_CREAT) != 0 && access(path, F_OK) == 0;
    int fd = raw_open(path, flags, mode);
    if (fd >= 0 && fd < FDS_MAX)
        fds[fd].known = false;
    if (fd < 0 || !ours) {
        pthread_mutex_unlock(&lock);
        return fd;
    }
    assert(fd < FDS_MAX);
    fds[fd].known = true;
    fds[fd].disk = disk;
    fds[fd].folder = (flags & O_DIRECTORY) != 0;
    fds[fd].synced_writes = (flags & O_DSYNC) != 0;
    snprintf(fds[fd].path, sizeof fds[fd].path, "%s", rest);
    if (!there && (flags & O_CREAT) != 0 && !disks[disk].frozen)
        remember(&disks[disk], CHANGE_MADE, rest);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE_OF(flags)                                                                             \
    va_list args;                                                                                  \
    va_start(args, flags);                                                                         \
    mode_t mode = ((flags)&O_CREAT) != 0 ? va_arg(args, mode_t) : 0;                               \
    va_end(args)

int disk__open(const char *path, int flags, ...) {
    MODE_OF(flags);
    return open_any(path, flags, mode);
}

int disk__open64(const char *path, int flags, ...) {
    MODE_OF(flags);
    return open_any(path, flags, mode);
}

ssize_t disk__pwrite(int fd, const void *data, size_t len, off_t at) {
    if (frozen(fd))
        return (ssize_t)len;
    pthread_mutex_lock(&lock);
    if (known(fd))
        note_write(fd, (uint64_t)at, len);
    ssize_t done = syscall(SYS_pwrite64, fd, data, len, at);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t disk__pwrite64(int fd, const void *data, size_t len, off_t at) {
    return disk__pwrite(fd, data, len, at);
}

ssize_t disk__pwritev(int fd, const struct iovec *v, int n, off_t at) {
    ssize_t total = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = disk__pwrite(fd, v[i].iov_base, v[i].iov_len, at + total);
        if (done < 0)
            return done;
        total += done;
    }
    return total;
}

ssize_t disk__pwritev64(int fd, const struct iovec *v, int n, off_t at) {
    return disk__pwritev(fd, v, n, at);
}

ssize_t disk__write(int fd, const void *data, size_t len) {
    if (frozen(fd))
        return (ssize_t)len;
    pthread_mutex_lock(&lock);
    if (known(fd))
        note_write(fd, (uint64_t)lseek(fd, 0, SEEK_CUR), len);
    ssize_t done = syscall(SYS_write, fd, data, len);
    pthread_mutex_unlock(&lock);
    return done;
}

int disk__fdatasync(int fd) {
    return sync_fd(fd, SYS_fdatasync);
}

int disk__fsync(int fd) {
    return sync_fd(fd, SYS_fsync);
}

int disk__ftruncate(int fd, off_t len) {
    struct stat stat;
    if (frozen(fd))
        return 0;
    pthread_mutex_lock(&lock);
    if (known(fd) && fstat(fd, &stat) == 0 && stat.st_size > len)
        note_write(fd, (uint64_t)len, (uint64_t)(stat.st_size - len));
    else if (known(fd))
        note_write(fd, (uint64_t)len, 0);
    int rc = (int)syscall(SYS_ftruncate, fd, len);
    pthread_mutex_unlock(&lock);
    return rc;
}

int disk__ftruncate64(int fd, off_t len) {
    return disk__ftruncate(fd, len);
}

int disk__close(int fd) {
    if (fd >= 0 && fd < FDS_MAX)
        fds[fd].known = false;
    return (int)syscall(SYS_close, fd);
}

static uint8_t *read_whole(const char *path, uint64_t *ret_len) {
    struct stat stat;
    int fd = raw_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    int rc = fstat(fd, &stat);
    uint8_t *data = malloc((size_t)stat.st_size + 1);
    assert(rc == 0 && data != NULL);
    ssize_t got = syscall(SYS_pread64, fd, data, (size_t)stat.st_size, 0);
    assert(got == stat.st_size);
    syscall(SYS_close, fd);
    *ret_len = (uint64_t)got;
    return data;
}

static void write_whole(const char *path, const uint8_t *data, uint64_t len) {
    int fd = raw_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t done = syscall(SYS_write, fd, data, len);
    assert(done == (ssize_t)len);
    syscall(SYS_close, fd);
}

int disk__rename(const char *from, const char *to) {
    uint32_t disk;
    char rest[NAME_BYTES_MAX];
    if (on_disk(to, &disk, rest)) {
        if (disks[disk].frozen)
            return 0;
        pthread_mutex_lock(&lock);
        struct change *c = remember(&disks[disk], CHANGE_RENAMED, rest);
        c->before = read_whole(to, &c->size_before);
        c->had = c->before != NULL;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_rename, from, to);
}

/* ---- the power cut ---- */

static void take_back_write(uint32_t disk, const struct change *c, uint64_t from, bool zeros) {
    char full[FULL_BYTES_MAX];
    full_path(disk, c->path, full);
    int fd = raw_open(full, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return; /* its name was taken back before */
    uint64_t end = c->at + c->len;
    uint64_t old_end = end < c->size_before ? end : c->size_before;
    if (c->at + from < old_end) {
        ssize_t done = syscall(SYS_pwrite64, fd, c->before + from, old_end - c->at - from,
                               c->at + from);
        assert(done == (ssize_t)(old_end - c->at - from));
    }
    uint64_t keep = c->at + from > c->size_before ? c->at + from : c->size_before;
    int rc = (int)syscall(SYS_ftruncate, fd, keep);
    if (zeros && end > keep)
        rc |= (int)syscall(SYS_ftruncate, fd, end);
    assert(rc == 0);
    syscall(SYS_close, fd);
}

static void take_back_name(uint32_t disk, const struct change *c) {
    char full[FULL_BYTES_MAX];
    full_path(disk, c->path, full);
    if (c->kind == CHANGE_RENAMED && c->had)
        write_whole(full, c->before, c->size_before);
    else
        (void)unlink(full);
}

static void forget(struct disk *d) {
    for (size_t i = 0; i < d->count; i++)
        change_free(&d->changes[i]);
    d->count = 0;
    d->frozen = false;
}

static uint32_t draw(uint64_t *state, uint32_t bound) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 33) % bound);
}

static uint64_t chance_of(uint64_t seed, const char *path) {
    for (; *path != '\0'; path++)
        seed = (seed ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
    return seed;
}

/* One write of this file from which on everything is lost: later ones go first. */
static void cut_file(uint32_t disk, size_t end, uint64_t seed) {
    struct disk *d = &disks[disk];
    char path[NAME_BYTES_MAX];
    memcpy(path, d->changes[end - 1].path, sizeof path);
    uint64_t chance = chance_of(seed, path);
    uint32_t writes = 0;
    for (size_t k = 0; k < end; k++)
        writes += d->changes[k].kind == CHANGE_WRITE && strcmp(d->changes[k].path, path) == 0;
    uint32_t surviving = draw(&chance, writes + 1);
    for (size_t k = end; k > 0; k--) {
        struct change *one = &d->changes[k - 1];
        if (one->kind != CHANGE_WRITE || strcmp(one->path, path) != 0)
            continue;
        if (writes > surviving) {
            bool torn = writes == surviving + 1 && draw(&chance, 2) == 0;
            uint32_t kept = torn ? draw(&chance, (uint32_t)one->len + 1) : 0;
            if (strncmp(path, "state/", 6) == 0)
                kept -= kept % SECTOR_BYTES; /* its writes begin at pages */
            take_back_write(disk, one, kept, torn && draw(&chance, 4) == 0);
            taken_back++;
        }
        writes--;
        one->path[0] = '\0'; /* done */
    }
}

void disk_power_cut(uint32_t disk, uint64_t seed) {
    struct disk *d = &disks[disk];
    pthread_mutex_lock(&lock);
    d->frozen = false;
    for (size_t i = d->count; i > 0; i--)
        if (d->changes[i - 1].kind == CHANGE_WRITE && d->changes[i - 1].path[0] != '\0')
            cut_file(disk, i, seed);
    for (size_t i = d->count; i > 0; i--) {
        struct change *c = &d->changes[i - 1];
        uint64_t chance = chance_of(seed ^ 1, c->path);
        if (c->kind == CHANGE_WRITE || draw(&chance, 2) == 0)
            continue;
        take_back_name(disk, c);
        taken_back++;
    }
    forget(d);
    pthread_mutex_unlock(&lock);
}

void disk_freeze(uint32_t disk) {
    disks[disk].frozen = true;
}

void disk_forget(uint32_t disk) {
    pthread_mutex_lock(&lock);
    forget(&disks[disk]);
    pthread_mutex_unlock(&lock);
}

bool disk_flip(const char *path, size_t at, uint8_t bit) {
    uint64_t len;
    uint8_t *data = read_whole(path, &len);
    bool possible = data != NULL && at < len;
    if (possible) {
        data[at] ^= (uint8_t)(1 << bit % 8);
        write_whole(path, data, len);
    }
    free(data);
    return possible;
}
