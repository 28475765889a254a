/* Files that are the old one or the new one, and locks that name their holder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"

static char folder[] = "/tmp/renkei-test-file-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink("a");
    unlink("lock");
    rmdir("x/y");
    rmdir("x");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void assert_content(const char *path, const char *expected) {
    SCOPED_BUFFER struct buffer data;
    buffer_init(&data, 1000);
    assert_int_equal(file_read(path, &data, 1000, NULL), ERROR_NONE);
    assert_true(bytes_equal(buffer_bytes(&data), bytes_text(expected)));
}

static void replace_leaves_the_new_content_and_nothing_beside_it(void **state) {
    (void)state;
    assert_int_equal(file_replace("a", BYTES_LITERAL("one"), 0600, NULL), ERROR_NONE);
    assert_int_equal(file_replace("a", BYTES_LITERAL("two"), 0600, NULL), ERROR_NONE);
    assert_content("a", "two");
    struct stat info;
    assert_int_equal(stat("a", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_not_equal(access("a.new", F_OK), 0);
}

static void create_never_writes_over_a_key(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_replace("a", BYTES_LITERAL("key"), 0600, NULL), ERROR_NONE);
    assert_int_equal(file_create("a", BYTES_LITERAL("other"), 0600, &err), ERROR_EXISTS);
    assert_string_equal(err.message, "a exists already");
    assert_content("a", "key");
}

static void read_refuses_a_file_over_its_limit(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_replace("a", BYTES_LITERAL("12345"), 0600, NULL), ERROR_NONE);
    SCOPED_BUFFER struct buffer data;
    buffer_init(&data, 100);
    assert_int_equal(file_read("a", &data, 4, &err), ERROR_LIMIT);
    assert_string_equal(err.message, "a: larger than 4 bytes");
    assert_int_equal(file_read("none", &data, 4, &err), ERROR_IO);
    assert_string_equal(err.message, "cannot open none: No such file or directory");
}

static void a_lock_names_the_process_that_holds_it(void **state) {
    (void)state;
    struct error err;
    int first = -1;
    int second = -1;
    assert_int_equal(file_lock("lock", &first, &err), ERROR_NONE);
    assert_int_equal(file_lock("lock", &second, &err), ERROR_LOCKED);
    char expected[64];
    snprintf(expected, sizeof expected, "lock is held by process %ld", (long)getpid());
    assert_string_equal(err.message, expected);
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(file_lock("lock", &second, &err), ERROR_NONE);
    close(second);
}

static void folders_are_made_with_their_parents(void **state) {
    (void)state;
    assert_int_equal(file_make_folder("x/y", 0700, NULL), ERROR_NONE);
    assert_int_equal(file_make_folder("x/y", 0700, NULL), ERROR_NONE);
    struct stat info;
    assert_int_equal(stat("x/y", &info), 0);
    assert_true(S_ISDIR(info.st_mode));
}

static void a_full_disk_has_a_name_of_its_own(void **state) {
    (void)state;
    struct error err;
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, BYTES_LITERAL("x"), "spool", &err), ERROR_DISK_FULL);
    assert_string_equal(err.message, "cannot write spool: No space left on device");
    err = (struct error){0};
    assert_int_equal(file_write_at(fd, BYTES_LITERAL("x"), 5, "blocks", &err), ERROR_DISK_FULL);
    assert_string_equal(err.message, "cannot write blocks: No space left on device");
    close(fd);
}

/* The kernel writes only what may still stand below the limit of a file's size, and refuses then. */
static void what_was_written_in_part_is_written_on(void **state) {
    (void)state;
    struct error err;
    struct rlimit before;
    static const uint8_t data[1000] = {[0] = 1, [499] = 2, [999] = 3};
    uint8_t read_back[1000];
    int fd = open("part", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_at(fd, bytes_of(data, 600), 24, "part", &err), ERROR_NONE);
    assert_int_equal(pread(fd, read_back, sizeof read_back, 24), 600);
    assert_memory_equal(read_back, data, 600);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = {.rlim_cur = 500, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(file_write_at(fd, bytes_of(data, 1000), 0, "part", &err), ERROR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_string_equal(err.message, "cannot write part: File too large");
    assert_int_equal(pread(fd, read_back, sizeof read_back, 0), 500);
    assert_memory_equal(read_back, data, 500);
    close(fd);
    unlink("part");
}

static void a_read_tells_how_much_there_was(void **state) {
    (void)state;
    struct error err;
    uint8_t data[8] = "--------";
    size_t len = 99;
    int fd = open("some", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, BYTES_LITERAL("0123456789"), "some", NULL), ERROR_NONE);
    assert_int_equal(file_read_at(fd, data, 4, 3, "some", &len, &err), ERROR_NONE);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "3456----", 8);
    assert_int_equal(file_read_at(fd, data, 8, 7, "some", &len, &err), ERROR_NONE);
    assert_int_equal(len, 3); /* the file ends there */
    assert_memory_equal(data, "7896----", 8);
    assert_int_equal(file_read_at(fd, data, 8, 10, "some", &len, &err), ERROR_NONE);
    assert_int_equal(len, 0);
    assert_memory_equal(data, "7896----", 8);
    close(fd);
    unlink("some");
    len = 99;
    fd = open(".", O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(file_read_at(fd, data, 8, 0, "blocks", &len, &err), ERROR_IO);
    assert_string_equal(err.message, "cannot read blocks: Is a directory");
    assert_int_equal(len, 99);
    close(fd);
}

/* The kernel hands out the list of a process's mappings by the page, however much is asked for. */
static void what_was_read_in_part_is_read_on(void **state) {
    (void)state;
    enum { PAGES = 256, PAGE = 4096, FROM = 5, BYTES = 3 * PAGE };
    static uint8_t expected[BYTES];
    static uint8_t found[BYTES];
    uint8_t *many = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(many, MAP_FAILED);
    for (size_t i = 0; i < PAGES; i += 2) /* each a mapping of its own, and so a line */
        assert_int_equal(mprotect(many + i * PAGE, PAGE, PROT_READ), 0);
    int fd = open("/proc/self/maps", O_RDONLY);
    assert_true(fd >= 0);
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(pread(fd, &expected[i], 1, (off_t)(FROM + i)), 1);
    assert_in_range(pread(fd, found, BYTES, FROM), 1, BYTES - 1); /* or this shows nothing */
    size_t len = 0;
    assert_int_equal(file_read_at(fd, found, BYTES, FROM, "maps", &len, NULL), ERROR_NONE);
    assert_int_equal(len, BYTES);
    assert_memory_equal(found, expected, BYTES);
    close(fd);
    munmap(many, PAGES * PAGE);
}

static size_t pages_in_memory(int fd, size_t bytes) {
    static unsigned char resident[(8 << 20) / 4096];
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, bytes, resident), 0);
    munmap(map, bytes);
    size_t count = 0;
    for (size_t i = 0; i < bytes / 4096; i++)
        count += resident[i] & 1;
    return count;
}

static void what_is_written_long_ago_leaves_the_memory_and_not_the_file(void **state) {
    (void)state;
    enum { BYTES = 8 << 20 };
    static uint8_t data[BYTES];
    static uint8_t read_back[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 7 + i / 4099);
    int fd = open("a", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    uint64_t from = 0;
    assert_int_equal(file_write_all(fd, bytes_of(data, BYTES - 100), "a", NULL), ERROR_NONE);
    file_forget_written(fd, &from, 1000); /* too little to be worth it */
    assert_int_equal(from, 0);
    assert_int_equal(fdatasync(fd), 0);
    file_forget_written(fd, &from, BYTES - 100);
    assert_int_equal(from, 4 << 20);
    struct statfs system;
    assert_int_equal(fstatfs(fd, &system), 0);
    if (system.f_type != TMPFS_MAGIC) /* which has nowhere else to keep it */
        assert_true(pages_in_memory(fd, BYTES) <= (2 << 20) / 4096);
    assert_int_equal(pread(fd, read_back, BYTES, 0), BYTES - 100);
    assert_memory_equal(read_back, data, BYTES - 100);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replace_leaves_the_new_content_and_nothing_beside_it),
        cmocka_unit_test(create_never_writes_over_a_key),
        cmocka_unit_test(read_refuses_a_file_over_its_limit),
        cmocka_unit_test(a_lock_names_the_process_that_holds_it),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(a_full_disk_has_a_name_of_its_own),
        cmocka_unit_test(what_was_written_in_part_is_written_on),
        cmocka_unit_test(a_read_tells_how_much_there_was),
        cmocka_unit_test(what_was_read_in_part_is_read_on),
        cmocka_unit_test(what_is_written_long_ago_leaves_the_memory_and_not_the_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
