/*
 * Files that must survive a power cut, and the small things around them.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include "base/bytes.h"

/* Reads a whole file of at most bytes_max bytes into ret_data, which must be initialised by
 * buffer_init with a maximum at least as large. */
MUST_CHECK enum error_code file_read(const char *path, struct buffer *ret_data, size_t bytes_max,
                                     struct error *err);

/* Writes path.new, fdatasyncs it, renames it over path and syncs the folder: after a crash the
 * file is the old one or the new one, whole. */
MUST_CHECK enum error_code file_replace(const char *path, struct bytes data, mode_t mode,
                                        struct error *err);

/* As file_replace, but ERROR_EXISTS where the file is there already. For keys. */
MUST_CHECK enum error_code file_create(const char *path, struct bytes data, mode_t mode,
                                       struct error *err);

/* Like mkdir -p. Existing folders keep their mode. */
MUST_CHECK enum error_code file_make_folder(const char *path, mode_t mode, struct error *err);

MUST_CHECK enum error_code file_sync_folder(const char *path, struct error *err);
/* The folder that the file is in. */
MUST_CHECK enum error_code file_sync_parent(const char *path, struct error *err);

/* Takes the lock file (created when missing) or fails with ERROR_LOCKED, naming the process that
 * holds it. The lock goes with the descriptor; a crash releases it. */
MUST_CHECK enum error_code file_lock(const char *path, int *ret_fd, struct error *err);

/* Writes all of it, through EINTR and short writes. */
MUST_CHECK enum error_code file_write_all(int fd, struct bytes data, const char *what,
                                          struct error *err);

/* As file_write_all, at a place of the file. */
MUST_CHECK enum error_code file_write_at(int fd, struct bytes data, uint64_t at, const char *what,
                                         struct error *err);

/* Reads len bytes from a place of the file, through EINTR and short reads. *ret_len is less only
 * where the file ends before. On failure the bytes are undefined. */
MUST_CHECK enum error_code file_read_at(int fd, uint8_t *ret_bytes, size_t len, uint64_t at,
                                        const char *what, size_t *ret_len, struct error *err);

/* For what is written, in order, and hardly read again: each call begins to write to the disk what
 * stands up to here, and gives the page cache of what is there already back to the system, which then
 * has memory for the next bytes that costs nothing to get. *from begins as 0, or where the writing
 * begins, and moves on. A hint: nothing is promised to be durable. */
void file_forget_written(int fd, uint64_t *from, uint64_t to);

/* ERROR_DISK_FULL for ENOSPC and EDQUOT, ERROR_IO for the rest. */
enum error_code file_error(struct error *err, int number, const char *doing, const char *path);

void file_close_scoped(int *fd);
#define SCOPED_FD __attribute__((cleanup(file_close_scoped)))

#endif
