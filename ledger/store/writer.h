/*
 * The end of an append-only file, of which large pieces are written by a thread of its own, past the page
 * cache, while the next ones are collected. Small pieces are written at once, unless larger ones are under
 * way before them. What is not written yet is lost with the process, and until then can be read here.
 *
 * One thread owns a writer and calls all; writer_finish alone may be called on any other.
 */
#ifndef LEDGER_STORE_WRITER_H
#define LEDGER_STORE_WRITER_H

#include "base/bytes.h"

enum {
    /* So much is collected beside what is being written; then an append waits for the disk. */
    WRITER_COLLECTED_BYTES_MAX = 64 << 20,
};

struct writer;

/* what: names the file in errors; borrowed. ERROR_NO_MEMORY. */
MUST_CHECK enum error_code writer_new(const char *what, struct writer **ret_writer,
                                      struct error *err);
/* Writes what is left; may be NULL. */
void writer_free(struct writer *writer);
/* From here on the end of this file, opened for writing and closed by the writer, is written from byte
 * at on. All for the file before it is written already: writer_finish. */
void writer_begin(struct writer *writer, int fd, uint64_t at);
/* The parts, one after the other; they are copied, or an error is returned. An error of earlier bytes
 * comes here as well, and again at each call, since the file has a hole then: ERROR_DISK_FULL,
 * ERROR_IO. ERROR_NO_MEMORY. */
MUST_CHECK enum error_code writer_add(struct writer *writer, const struct bytes *parts, size_t count,
                                      struct error *err);
/* Returns when all is written that was added before; nothing is synced. Errors as writer_add. */
MUST_CHECK enum error_code writer_finish(struct writer *writer, struct error *err);
/* What is not written yet, from byte at of the file on: how many of len bytes were copied. Where that is
 * none, *ret_in_file says how many of them are in the file, and 0 that the file ends there. */
size_t writer_read(struct writer *writer, uint64_t at, uint8_t *ret_bytes, size_t len,
                   size_t *ret_in_file);

#endif
