#include "ledger/store/writer.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/store/pages.h"

struct writer {
    const char *what;
    int fd; /* -1: none yet. Who has set busy writes through it */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed; /* busy, ending, or there is work for the thread */
    struct pages collected;
    struct pages under_way; /* stands in the file before what is collected; empty where it is written */
    uint64_t cached; /* from here on the page cache may have the file */
    bool busy; /* somebody writes what is under way */
    enum error_code failed;
    struct error failure;
    bool has_thread;
    bool ending;
    pthread_t thread;
};

enum error_code writer_new(const char *what, struct writer **ret_writer, struct error *err) {
    struct writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory", what);
    writer->what = what;
    writer->fd = -1;
    int rc = pthread_mutex_init(&writer->lock, NULL);
    assert(rc == 0); /* Linux needs nothing for it */
    rc = pthread_cond_init(&writer->changed, NULL);
    assert(rc == 0);
    pages_init(&writer->collected, WRITER_COLLECTED_BYTES_MAX);
    pages_init(&writer->under_way, WRITER_COLLECTED_BYTES_MAX);
    *ret_writer = writer;
    return ERROR_NONE;
}

/* Up to here the file has it. Locked. */
static uint64_t written(const struct writer *writer) {
    return writer->under_way.len > 0 ? writer->under_way.at : writer->collected.at;
}

/* What is collected becomes what is under way, and is written by the caller. Locked, but not during the
 * writing. */
static void write_collected(struct writer *writer) {
    assert(!writer->busy && writer->under_way.len == 0 && writer->failed == ERROR_NONE);
    struct pages pages = writer->collected;
    writer->collected = writer->under_way;
    writer->under_way = pages;
    uint64_t end = pages.at + pages.len;
    pages_begin(&writer->collected, end);
    writer->busy = true;
    pthread_mutex_unlock(&writer->lock);
    struct error err;
    enum error_code code = pages_write(&pages, writer->fd, writer->what, &err);
    if (code == ERROR_NONE)
        file_forget_written(writer->fd, &writer->cached, end);
    pthread_mutex_lock(&writer->lock);
    writer->busy = false;
    if (code == ERROR_NONE)
        pages_begin(&writer->under_way, end);
    else { /* it stays, to be read */
        writer->failed = code;
        writer->failure = err;
    }
    pthread_cond_broadcast(&writer->changed);
}

static bool can_write(const struct writer *writer) {
    return !writer->busy && writer->failed == ERROR_NONE && writer->collected.len > 0;
}

static void *run(void *context) {
    struct writer *writer = context;
    pthread_mutex_lock(&writer->lock);
    while (!writer->ending) {
        if (can_write(writer))
            write_collected(writer);
        else
            pthread_cond_wait(&writer->changed, &writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* Signals are for the program's other threads. Where there is no thread to be had, its owner writes. */
static bool start_thread(struct writer *writer) {
    sigset_t all;
    sigset_t before;
    if (writer->has_thread)
        return true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    writer->has_thread = pthread_create(&writer->thread, NULL, run, writer) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return writer->has_thread;
}

static enum error_code failure(const struct writer *writer, struct error *err) {
    if (writer->failed != ERROR_NONE && err != NULL)
        *err = writer->failure;
    return writer->failed;
}

static enum error_code finish(struct writer *writer, struct error *err) {
    uint64_t end = writer->collected.at + writer->collected.len;
    while (writer->failed == ERROR_NONE && written(writer) < end) {
        if (writer->busy)
            pthread_cond_wait(&writer->changed, &writer->lock);
        else
            write_collected(writer);
    }
    return failure(writer, err);
}

enum error_code writer_finish(struct writer *writer, struct error *err) {
    pthread_mutex_lock(&writer->lock);
    enum error_code code = finish(writer, err);
    pthread_mutex_unlock(&writer->lock);
    return code;
}

void writer_free(struct writer *writer) {
    if (writer == NULL)
        return;
    pthread_mutex_lock(&writer->lock);
    (void)finish(writer, NULL); /* whoever needs to know calls writer_finish first */
    writer->ending = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    if (writer->has_thread)
        (void)pthread_join(writer->thread, NULL);
    if (writer->fd >= 0)
        (void)close(writer->fd);
    pages_done(&writer->collected);
    pages_done(&writer->under_way);
    (void)pthread_cond_destroy(&writer->changed);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer);
}

void writer_begin(struct writer *writer, int fd, uint64_t at) {
    pthread_mutex_lock(&writer->lock);
    assert(!writer->busy && writer->collected.len == 0 && writer->under_way.len == 0);
    if (writer->fd >= 0)
        (void)close(writer->fd);
    writer->fd = fd;
    writer->cached = at;
    pages_begin(&writer->collected, at);
    pthread_mutex_unlock(&writer->lock);
}

static enum error_code collect(struct writer *writer, const struct bytes *parts, size_t count,
                               struct error *err) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    if (writer->collected.len + len > WRITER_COLLECTED_BYTES_MAX)
        TRY(finish(writer, err));
    TRY(failure(writer, err));
    uint8_t *at = pages_add(&writer->collected, len);
    if (at == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory for %zu bytes", writer->what, len);
    for (size_t i = 0; i < count; at += parts[i++].len)
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
    return ERROR_NONE;
}

enum error_code writer_add(struct writer *writer, const struct bytes *parts, size_t count,
                           struct error *err) {
    pthread_mutex_lock(&writer->lock);
    enum error_code code = collect(writer, parts, count, err);
    if (code == ERROR_NONE && can_write(writer)) {
        if (writer->collected.len >= PAGES_DIRECT_BYTES_MIN && start_thread(writer))
            pthread_cond_broadcast(&writer->changed);
        else {
            write_collected(writer);
            code = failure(writer, err);
        }
    }
    pthread_mutex_unlock(&writer->lock);
    return code;
}

size_t writer_read(struct writer *writer, uint64_t at, uint8_t *ret_bytes, size_t len,
                   size_t *ret_in_file) {
    size_t copied = 0;
    *ret_in_file = 0;
    pthread_mutex_lock(&writer->lock);
    uint64_t begin = written(writer);
    const struct pages *pages =
        at < writer->collected.at ? &writer->under_way : &writer->collected;
    if (at < begin)
        *ret_in_file = len < begin - at ? len : (size_t)(begin - at);
    else if (at - pages->at < pages->len) {
        size_t left = pages->len - (size_t)(at - pages->at);
        copied = len < left ? len : left;
        memcpy(ret_bytes, pages_bytes(pages).data + (at - pages->at), copied);
    }
    pthread_mutex_unlock(&writer->lock);
    return copied;
}
