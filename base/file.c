#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* No smaller: what is given back is whole folios, and they are up to 2 MiB. */
enum { FORGET_BYTES = 2 << 20 };

enum error_code file_error(struct error *err, int number, const char *doing, const char *path) {
    char reason[128];
    const char *text = strerror_r(number, reason, sizeof reason);
    bool full = number == ENOSPC || number == EDQUOT;
    return error_set(err, full ? ERROR_DISK_FULL : ERROR_IO, "%s %s: %s", doing, path, text);
}

void file_close_scoped(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

enum error_code file_read(const char *path, struct buffer *ret_data, size_t bytes_max,
                          struct error *err) {
    SCOPED_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(err, errno, "cannot open", path);
    for (;;) {
        uint8_t chunk[16384];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_error(err, errno, "cannot read", path);
        if (got == 0)
            return buffer_check(ret_data, path, err);
        if (ret_data->len + (size_t)got > bytes_max)
            return error_set(err, ERROR_LIMIT, "%s: larger than %zu bytes", path, bytes_max);
        buffer_append(ret_data, chunk, (size_t)got);
    }
}

enum error_code file_write_all(int fd, struct bytes data, const char *what, struct error *err) {
    while (data.len > 0) {
        ssize_t written = write(fd, data.data, data.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return file_error(err, errno, "cannot write", what);
        data = bytes_of(data.data + written, data.len - (size_t)written);
    }
    return ERROR_NONE;
}

enum error_code file_write_at(int fd, struct bytes data, uint64_t at, const char *what,
                              struct error *err) {
    while (data.len > 0) {
        ssize_t written = pwrite(fd, data.data, data.len, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return file_error(err, errno, "cannot write", what);
        data = bytes_of(data.data + written, data.len - (size_t)written);
        at += (uint64_t)written;
    }
    return ERROR_NONE;
}

enum error_code file_read_at(int fd, uint8_t *ret_bytes, size_t len, uint64_t at, const char *what,
                             size_t *ret_len, struct error *err) {
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, ret_bytes + done, len - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_error(err, errno, "cannot read", what);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_len = done;
    return ERROR_NONE;
}

enum error_code file_sync_folder(const char *path, struct error *err) {
    SCOPED_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_error(err, errno, "cannot open folder", path);
    if (fsync(fd) != 0)
        return file_error(err, errno, "cannot sync folder", path);
    return ERROR_NONE;
}

/* In portions, of which the last stays: its pages may still be on their way to the disk, and the one
 * that it ends in is written to again. */
void file_forget_written(int fd, uint64_t *from, uint64_t to) {
    if (to < *from || to - *from < 2 * FORGET_BYTES)
        return;
    uint64_t end = to & ~(uint64_t)(FORGET_BYTES - 1);
    (void)posix_fadvise(fd, (off_t)*from, (off_t)(end - *from), POSIX_FADV_DONTNEED);
    *from = end - FORGET_BYTES;
}

enum error_code file_sync_parent(const char *path, struct error *err) {
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes", PATH_MAX);
    return file_sync_folder(dirname(copy), err);
}

/* exclusive: the finished file gets its name by link(2), which refuses a name that is taken. */
static enum error_code write_under_name(const char *path, struct bytes data, mode_t mode,
                                        bool exclusive, struct error *err) {
    char fresh[PATH_MAX];
    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes", PATH_MAX);
    SCOPED_FD int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return file_error(err, errno, "cannot create", fresh);
    TRY(file_write_all(fd, data, fresh, err));
    if (fchmod(fd, mode) != 0 || fdatasync(fd) != 0)
        return file_error(err, errno, "cannot sync", fresh);
    if (exclusive) {
        int failed = link(fresh, path) != 0 ? errno : 0;
        unlink(fresh);
        if (failed == EEXIST)
            return error_set(err, ERROR_EXISTS, "%s exists already", path);
        if (failed != 0)
            return file_error(err, failed, "cannot create", path);
    } else if (rename(fresh, path) != 0) {
        return file_error(err, errno, "cannot rename to", path);
    }
    return file_sync_parent(path, err);
}

enum error_code file_replace(const char *path, struct bytes data, mode_t mode, struct error *err) {
    return write_under_name(path, data, mode, false, err);
}

enum error_code file_create(const char *path, struct bytes data, mode_t mode, struct error *err) {
    return write_under_name(path, data, mode, true, err);
}

enum error_code file_make_folder(const char *path, mode_t mode, struct error *err) {
    char partial[PATH_MAX];
    if (snprintf(partial, sizeof partial, "%s", path) >= (int)sizeof partial)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes", PATH_MAX);
    for (char *at = partial + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(partial, mode) != 0 && errno != EEXIST)
            return file_error(err, errno, "cannot make folder", partial);
        *at = kept;
        if (kept == '\0')
            return ERROR_NONE;
    }
}

enum error_code file_lock(const char *path, int *ret_fd, struct error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(err, errno, "cannot open lock file", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        char holder[32] = "";
        ssize_t got = read(fd, holder, sizeof holder - 1);
        close(fd);
        if (number != EWOULDBLOCK)
            return file_error(err, number, "cannot lock", path);
        holder[got > 0 ? got : 0] = '\0';
        holder[strcspn(holder, "\n")] = '\0';
        return error_set(err, ERROR_LOCKED, "%s is held by process %s", path,
                         holder[0] != '\0' ? holder : "(unknown)");
    }
    char own[32];
    int len = snprintf(own, sizeof own, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, own, (size_t)len, 0) != len) {
        int number = errno;
        close(fd);
        return file_error(err, number, "cannot write lock file", path);
    }
    *ret_fd = fd;
    return ERROR_NONE;
}
