/*
 * Preloaded into a program, it writes down everything that the program does to files below one
 * folder, so that tests/harness/power_loss.py can make again what a disk would hold had the power
 * gone at any moment. It changes nothing that the program sees.
 *
 *   RENKEI_DISK_ROOT    the folder, absolute
 *   RENKEI_DISK_RECORD  the file that is written
 *   RENKEI_DISK_LIES    for files whose path contains this, fsync and fdatasync return at once and
 *                       nothing is synced, and so says the record: the tests' negative control
 *
 * An entry: u64 monotonic ns, u32 operation, u32 descriptor or flags, u64 offset, u32 length of the
 * first string, u32 of the second, the strings; all in the machine's own order of bytes.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 1024 };

enum operation {
    OPEN = 1,    /* path; number: descriptor, offset: flags */
    WRITE = 2,   /* number: descriptor, offset, data */
    CUT = 3,     /* number: descriptor, offset: new size */
    SYNCING = 4, /* number: descriptor */
    SYNCED = 5,  /* number: descriptor, offset: 1 where only the last write is meant */
    RENAME = 6, /* paths */
    UNLINK = 7, /* path */
    FOLDER = 8, /* path */
};

struct entry {
    uint64_t ns;
    uint32_t operation;
    uint32_t number;
    uint64_t offset;
    uint32_t first;
    uint32_t second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static char root[PATH_MAX];
static const char *lies;
static bool ours[FDS];
static bool synchronous[FDS];
static bool lying[FDS];

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_close)(int);

/* A pointer to an object becomes one to a function, as POSIX allows and C does not say. */
#define FIND(name) (*(void **)(&real_##name) = dlsym(RTLD_NEXT, #name))

/* Another library's constructor may come before ours. */
static void find(void) {
    if (real_open != NULL)
        return;
    FIND(open), FIND(write), FIND(pwrite), FIND(writev), FIND(pwritev), FIND(ftruncate);
    FIND(fsync), FIND(fdatasync), FIND(rename), FIND(unlink), FIND(mkdir), FIND(close);
}

__attribute__((constructor)) static void start(void) {
    find();
    const char *folder = getenv("RENKEI_DISK_ROOT");
    const char *record = getenv("RENKEI_DISK_RECORD");
    lies = getenv("RENKEI_DISK_LIES");
    if (folder == NULL || record == NULL || strlen(folder) >= sizeof root)
        return;
    (void)snprintf(root, sizeof root, "%s", folder);
    record_fd = real_open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static bool below(const char *path) {
    size_t len = strlen(root);
    return record_fd >= 0 && len > 0 && strncmp(path, root, len) == 0;
}

static bool is_ours(int fd) {
    return record_fd >= 0 && fd >= 0 && fd < FDS && ours[fd];
}

static void put(enum operation operation, uint32_t number, uint64_t offset, const void *first,
                size_t first_len, const void *second, size_t second_len) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    struct entry entry = {(uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec,
                          (uint32_t)operation,
                          number,
                          offset,
                          (uint32_t)first_len,
                          (uint32_t)second_len};
    struct iovec parts[] = {{&entry, sizeof entry},
                            {(void *)(uintptr_t)first, first_len},
                            {(void *)(uintptr_t)second, second_len}};
    size_t len = sizeof entry + first_len + second_len;
    if (real_writev(record_fd, parts, 3) != (ssize_t)len)
        abort();
}

static void note_open(const char *path, int fd, int flags) {
    if (fd < 0 || fd >= FDS)
        return;
    ours[fd] = below(path);
    lying[fd] = ours[fd] && lies != NULL && strstr(path, lies) != NULL;
    synchronous[fd] = ours[fd] && !lying[fd] && (flags & (O_DSYNC | O_SYNC)) != 0;
    if (!ours[fd])
        return;
    pthread_mutex_lock(&lock);
    put(OPEN, (uint32_t)fd, (uint64_t)flags, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
}

int open(const char *path, int flags, ...) {
    find();
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    int fd = real_open(path, flags, mode);
    note_open(path, fd, flags);
    return fd;
}

int open64(const char *path, int flags, ...);
int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open(path, flags, mode);
}

/* With fortification, open() without a mode is this. */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags) {
    return open(path, flags);
}
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) {
    return open(path, flags);
}

/* What a descriptor with O_DSYNC takes is on the disk when the call returns. */
static void note_write(int fd, uint64_t at, const void *data, ssize_t len) {
    if (len <= 0)
        return;
    put(WRITE, (uint32_t)fd, at, data, (size_t)len, NULL, 0);
    if (synchronous[fd])
        put(SYNCED, (uint32_t)fd, 1, NULL, 0, NULL, 0);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
    find();
    if (!is_ours(fd))
        return real_pwrite(fd, data, len, at);
    pthread_mutex_lock(&lock);
    ssize_t written = real_pwrite(fd, data, len, at);
    note_write(fd, (uint64_t)at, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) {
    return pwrite(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len) {
    find();
    if (!is_ours(fd))
        return real_write(fd, data, len);
    pthread_mutex_lock(&lock);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = real_write(fd, data, len);
    note_write(fd, (uint64_t)at, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

static void note_vector(int fd, uint64_t at, const struct iovec *parts, int count, ssize_t len) {
    for (int i = 0; i < count && len > 0; i++) {
        ssize_t part = (ssize_t)parts[i].iov_len < len ? (ssize_t)parts[i].iov_len : len;
        note_write(fd, at, parts[i].iov_base, part);
        at += (uint64_t)part;
        len -= part;
    }
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    find();
    if (!is_ours(fd))
        return real_writev(fd, parts, count);
    pthread_mutex_lock(&lock);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = real_writev(fd, parts, count);
    note_vector(fd, (uint64_t)at, parts, count, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    find();
    if (!is_ours(fd))
        return real_pwritev(fd, parts, count, at);
    pthread_mutex_lock(&lock);
    ssize_t written = real_pwritev(fd, parts, count, at);
    note_vector(fd, (uint64_t)at, parts, count, written);
    pthread_mutex_unlock(&lock);
    return written;
}

int ftruncate(int fd, off_t size) {
    find();
    if (!is_ours(fd))
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int rc = real_ftruncate(fd, size);
    if (rc == 0)
        put(CUT, (uint32_t)fd, (uint64_t)size, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

int ftruncate64(int fd, off_t size);
int ftruncate64(int fd, off_t size) {
    return ftruncate(fd, size);
}

static int sync_it(int fd, int (*const *pointer)(int)) {
    find();
    int (*real)(int) = *pointer;
    if (!is_ours(fd))
        return real(fd);
    if (lying[fd])
        return 0;
    pthread_mutex_lock(&lock);
    put(SYNCING, (uint32_t)fd, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    int rc = real(fd);
    pthread_mutex_lock(&lock);
    if (rc == 0)
        put(SYNCED, (uint32_t)fd, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

int fsync(int fd) {
    return sync_it(fd, &real_fsync);
}

int fdatasync(int fd) {
    return sync_it(fd, &real_fdatasync);
}

int rename(const char *from, const char *to) {
    find();
    pthread_mutex_lock(&lock);
    int rc = real_rename(from, to);
    if (rc == 0 && below(from))
        put(RENAME, 0, 0, from, strlen(from), to, strlen(to));
    pthread_mutex_unlock(&lock);
    return rc;
}

int unlink(const char *path) {
    find();
    pthread_mutex_lock(&lock);
    int rc = real_unlink(path);
    if (rc == 0 && below(path))
        put(UNLINK, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* The next one with this number may be a socket. */
int close(int fd) {
    find();
    if (fd >= 0 && fd < FDS)
        ours[fd] = false;
    return real_close(fd);
}

int mkdir(const char *path, mode_t mode) {
    find();
    pthread_mutex_lock(&lock);
    int rc = real_mkdir(path, mode);
    if (rc == 0 && below(path))
        put(FOLDER, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}
