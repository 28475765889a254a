/* The end of a file that a thread writes: what is collected, what is under way, what is in the file. The
 * test's own pwrite stands before the system's: it holds writes back, and refuses them. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger/store/pages.h"
#include "ledger/store/writer.h"

enum { LARGE = 700000, SMALL = 5000, MODEL_BYTES = 200 << 20 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut;
    bool full;       /* the disk */
    unsigned waits;  /* writes that are held back now */
    unsigned direct; /* writes past the page cache */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static pthread_t owner;

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
    pthread_mutex_lock(&gate.lock);
    while (gate.shut && !pthread_equal(pthread_self(), owner)) {
        gate.waits++;
        pthread_cond_broadcast(&gate.changed);
        pthread_cond_wait(&gate.changed, &gate.lock);
        gate.waits--;
    }
    bool full = gate.full;
    if ((fcntl(fd, F_GETFL) & O_DIRECT) != 0)
        gate.direct++;
    pthread_mutex_unlock(&gate.lock);
    if (full) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, len, at);
}

static void set_gate(bool shut, bool full) {
    pthread_mutex_lock(&gate.lock);
    gate.shut = shut;
    gate.full = full;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_for_write(void) {
    pthread_mutex_lock(&gate.lock);
    while (gate.waits == 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

struct world {
    char path[64];
    struct writer *writer;
    uint8_t *model; /* what the file is to hold in the end */
    size_t len;
    uint32_t dice;
};

static uint32_t roll(struct world *w) {
    w->dice = w->dice * 1664525 + 1013904223;
    return w->dice >> 8;
}

static int begin(void **state) {
    struct world *w = calloc(1, sizeof *w);
    struct error err;
    assert_non_null(w);
    w->model = malloc(MODEL_BYTES);
    assert_non_null(w->model);
    w->dice = 7;
    (void)snprintf(w->path, sizeof w->path, "/tmp/renkei-writer-XXXXXX");
    owner = pthread_self();
    set_gate(false, false);
    gate.direct = 0;
    int fd = mkstemp(w->path);
    assert_true(fd >= 0);
    assert_int_equal(writer_new("blocks", &w->writer, &err), ERROR_NONE);
    writer_begin(w->writer, fd, 0);
    *state = w;
    return 0;
}

static int end(void **state) {
    struct world *w = *state;
    set_gate(false, false);
    writer_free(w->writer);
    (void)unlink(w->path);
    free(w->model);
    free(w);
    return 0;
}

static enum error_code add(struct world *w, size_t len, struct error *err) {
    size_t first = roll(w) % (len + 1);
    assert_true(w->len + len <= MODEL_BYTES);
    for (size_t i = 0; i < len; i++)
        w->model[w->len + i] = (uint8_t)(roll(w) >> 3);
    const struct bytes parts[] = {bytes_of(w->model + w->len, first), bytes_of(NULL, 0),
                                  bytes_of(w->model + w->len + first, len - first)};
    enum error_code code = writer_add(w->writer, parts, 3, err);
    if (code == ERROR_NONE)
        w->len += len;
    return code;
}

static void add_well(struct world *w, size_t len) {
    struct error err;
    assert_int_equal(add(w, len, &err), ERROR_NONE);
}

static size_t file_bytes(const struct world *w) {
    struct stat found;
    assert_int_equal(stat(w->path, &found), 0);
    return (size_t)found.st_size;
}

static void check_file(const struct world *w) {
    uint8_t *found = malloc(w->len + 1);
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);
    assert_non_null(found);
    assert_true(fd >= 0);
    assert_int_equal(file_bytes(w), w->len);
    assert_int_equal(pread(fd, found, w->len + 1, 0), w->len);
    assert_memory_equal(found, w->model, w->len);
    assert_int_equal(close(fd), 0);
    free(found);
}

/* Bytes from a place on, from the writer or, where it says so, from the file. */
static void check_read(struct world *w, size_t at, size_t len) {
    uint8_t *found = malloc(len + 1);
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);
    assert_non_null(found);
    assert_true(fd >= 0);
    size_t there = at >= w->len ? 0 : w->len - at < len ? w->len - at : len;
    for (size_t done = 0; done < there;) {
        size_t in_file = 0;
        size_t got = writer_read(w->writer, at + done, found + done, len - done, &in_file);
        assert_true((got > 0) != (in_file > 0));
        if (in_file > 0)
            assert_int_equal(pread(fd, found + done, in_file, (off_t)(at + done)), in_file);
        done += got + in_file;
        assert_true(done <= there);
    }
    assert_memory_equal(found, w->model + at, there);
    assert_int_equal(close(fd), 0);
    free(found);
}

static void small_pieces_are_in_the_file_at_once(void **state) {
    struct world *w = *state;
    for (int i = 0; i < 100; i++) {
        add_well(w, roll(w) % SMALL);
        check_file(w);
    }
    assert_int_equal(gate.direct, 0);
}

static void pieces_of_any_size_are_read_and_written_as_they_came(void **state) {
    struct world *w = *state;
    struct error err;
    for (int i = 0; i < 120; i++) {
        add_well(w, roll(w) % 3 == 0 ? LARGE + roll(w) % 4096 : roll(w) % SMALL);
        for (int k = 0; k < 3; k++)
            check_read(w, roll(w) % w->len, roll(w) % (2 * LARGE));
        if (roll(w) % 16 == 0) {
            assert_int_equal(writer_finish(w->writer, &err), ERROR_NONE);
            check_file(w);
        }
    }
    assert_int_equal(writer_finish(w->writer, &err), ERROR_NONE);
    check_file(w);
    check_read(w, w->len, 1);
    assert_true(gate.direct > 0);
}

/* A small piece in the file, a large one that the thread cannot write yet, a small one behind it. */
static void hold_a_large_piece(struct world *w) {
    add_well(w, SMALL);
    set_gate(true, false);
    add_well(w, LARGE);
    wait_for_write();
    add_well(w, 10);
}

static void nobody_waits_for_a_disk_that_takes_its_time(void **state) {
    struct world *w = *state;
    struct error err;
    hold_a_large_piece(w);
    add_well(w, LARGE + 1);
    add_well(w, 20);
    assert_int_equal(file_bytes(w), SMALL);
    for (int i = 0; i < 100; i++)
        check_read(w, roll(w) % w->len, roll(w) % (2 * LARGE));
    check_read(w, SMALL - 1, 2); /* over each border */
    check_read(w, SMALL + LARGE - 1, 3);
    check_read(w, w->len - 1, 2);
    set_gate(false, false);
    assert_int_equal(writer_finish(w->writer, &err), ERROR_NONE);
    check_file(w);
    add_well(w, 30);
    check_file(w);
}

static void *finish_elsewhere(void *context) {
    struct world *w = context;
    return writer_finish(w->writer, NULL) == ERROR_NONE ? w : NULL;
}

static void another_thread_may_wait_until_all_is_written(void **state) {
    struct world *w = *state;
    pthread_t other;
    void *done = NULL;
    set_gate(true, false);
    add_well(w, LARGE);
    add_well(w, LARGE);
    wait_for_write();
    assert_int_equal(pthread_create(&other, NULL, finish_elsewhere, w), 0);
    set_gate(false, false);
    assert_int_equal(pthread_join(other, &done), 0);
    assert_ptr_equal(done, w);
    check_file(w);
}

/* What was left in the file's place is a hole, so nothing may follow. */
static void a_full_disk_is_told_at_every_call_from_then_on(void **state) {
    struct world *w = *state;
    struct error err;
    hold_a_large_piece(w);
    set_gate(false, true);
    assert_int_equal(writer_finish(w->writer, &err), ERROR_DISK_FULL);
    assert_non_null(strstr(err.message, "blocks"));
    set_gate(false, false);
    assert_int_equal(add(w, 10, &err), ERROR_DISK_FULL);
    assert_int_equal(add(w, LARGE, NULL), ERROR_DISK_FULL);
    assert_int_equal(writer_finish(w->writer, &err), ERROR_DISK_FULL);
    assert_int_equal(file_bytes(w), SMALL);
    check_read(w, 0, w->len); /* all that was taken can be read until the end */
}

static void a_full_disk_is_told_to_who_writes_a_small_piece(void **state) {
    struct world *w = *state;
    struct error err;
    set_gate(false, true);
    assert_int_equal(add(w, 10, &err), ERROR_DISK_FULL);
    set_gate(false, false);
    assert_int_equal(add(w, 10, &err), ERROR_DISK_FULL);
    assert_int_equal(file_bytes(w), 0);
}

static void what_is_collected_has_a_maximum(void **state) {
    struct world *w = *state;
    struct error err;
    add_well(w, WRITER_COLLECTED_BYTES_MAX);
    add_well(w, WRITER_COLLECTED_BYTES_MAX - 1);
    add_well(w, LARGE); /* waits for what is before it */
    assert_int_equal(add(w, WRITER_COLLECTED_BYTES_MAX + 1, &err), ERROR_NO_MEMORY);
    assert_int_equal(writer_finish(w->writer, &err), ERROR_NONE);
    check_file(w);
}

static void all_is_written_when_it_is_closed_and_another_file_goes_on(void **state) {
    struct world *w = *state;
    struct error err;
    add_well(w, LARGE);
    assert_int_equal(writer_finish(w->writer, &err), ERROR_NONE);
    int fd = open(w->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    writer_begin(w->writer, fd, w->len); /* not at a page's begin */
    add_well(w, LARGE);
    add_well(w, 10);
    writer_free(w->writer);
    w->writer = NULL;
    check_file(w);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(small_pieces_are_in_the_file_at_once),
        CASE(pieces_of_any_size_are_read_and_written_as_they_came),
        CASE(nobody_waits_for_a_disk_that_takes_its_time),
        CASE(another_thread_may_wait_until_all_is_written),
        CASE(a_full_disk_is_told_at_every_call_from_then_on),
        CASE(a_full_disk_is_told_to_who_writes_a_small_piece),
        CASE(what_is_collected_has_a_maximum),
        CASE(all_is_written_when_it_is_closed_and_another_file_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
