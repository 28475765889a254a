/* The map: its root against one computed from all records in the plainest way, proofs of presence
 * and absence now and as of the renewal before, records found while it grows, and what is found after
 * closing and after damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/leaf.h"
#include "ledger/store/map.h"

enum { RECORDS = 90000, WRITE_RECORDS = 3000 };

/* What the map must know: record i has the locator of its number. */
struct model {
    struct map_entry entries[RECORDS];
    uint32_t version[RECORDS];
    size_t count;
    uint64_t log_size;
};

static void locator(uint64_t record, uint8_t ret_locator[16]) {
    memset(ret_locator, 0, 16);
    wire_store_u64(ret_locator + 8, record);
}

static struct hash leaf_of(uint64_t log_index) {
    uint8_t raw[8];
    wire_store_u64(raw, log_index);
    return sha256_of(bytes_of(raw, sizeof raw));
}

static struct map_value value_of(const struct model *m, size_t record) {
    uint64_t log_index = m->entries[record].log_index;
    return (struct map_value){m->version[record], log_index, leaf_of(log_index)};
}

static struct map_change change_of(const struct model *m, size_t record) {
    return (struct map_change){.key = m->entries[record].key,
                               .value = value_of(m, record),
                               .operation = LEAF_MODIFY,
                               .submitter = (uint32_t)record % 7};
}

/* docs/formats.md, word by word: no code of the map's. */
static struct hash plain_leaf(const struct model *m, size_t record) {
    uint8_t raw[1 + 32 + 44] = {0};
    struct hash leaf = leaf_of(m->entries[record].log_index);
    memcpy(raw + 1, m->entries[record].key.byte, 32);
    wire_store_u32(raw + 33, m->version[record]);
    wire_store_u64(raw + 37, m->entries[record].log_index);
    memcpy(raw + 45, leaf.byte, 32);
    return sha256_of(bytes_of(raw, sizeof raw));
}

static int by_key(const void *a, const void *b) {
    const struct map_entry *x = a;
    const struct map_entry *y = b;
    return memcmp(x->key.byte, y->key.byte, 32);
}

static struct hash plain_tree(const struct map_entry *e, size_t count, unsigned depth) {
    if (count <= 1)
        return count == 1 ? e->hash : (struct hash){{0}};
    size_t left = 0;
    while (left < count && (e[left].key.byte[depth / 8] >> (7 - depth % 8) & 1) == 0)
        left++;
    uint8_t raw[65] = {1};
    struct hash a = plain_tree(e, left, depth + 1);
    struct hash b = plain_tree(e + left, count - left, depth + 1);
    memcpy(raw + 1, a.byte, 32);
    memcpy(raw + 33, b.byte, 32);
    return sha256_of(bytes_of(raw, sizeof raw));
}

static struct hash plain_root(const struct model *m) {
    struct map_entry *sorted = malloc((m->count + 1) * sizeof *sorted);
    memcpy(sorted, m->entries, m->count * sizeof *sorted);
    for (size_t i = 0; i < m->count; i++)
        sorted[i].hash = plain_leaf(m, i);
    qsort(sorted, m->count, sizeof *sorted, by_key);
    struct hash root = plain_tree(sorted, m->count, 0);
    free(sorted);
    return root;
}

/* `fresh` new records, then `again` new versions of old ones, every `step`th. */
static void renew(struct map *map, struct model *m, size_t fresh, size_t again, size_t step) {
    struct map_change *changes = calloc(fresh + again + 1, sizeof *changes);
    struct hash root;
    for (size_t i = 0; i < fresh + again; i++) {
        size_t record = i < fresh ? m->count : (i - fresh) * step % m->count;
        if (i < fresh) {
            uint8_t name[16];
            locator(record, name);
            m->entries[m->count].key = map_key(name);
            m->version[m->count++] = 0;
        }
        m->version[record]++;
        m->entries[record].log_index = m->log_size++;
        changes[i] = change_of(m, record);
    }
    map_renew(map, changes, fresh + again, m->log_size, m->log_size);
    assert_int_equal(map_root(map, &root, NULL), ERROR_NONE);
    free(changes);
}

static void check_root(struct map *map, const struct model *m, struct hash *ret_root) {
    struct hash plain = plain_root(m);
    assert_int_equal(map_root(map, ret_root, NULL), ERROR_NONE);
    assert_memory_equal(ret_root, &plain, sizeof plain);
}

/* Through the wire form, which must come back the same and nothing less. */
static enum map_answer ask(struct map *map, uint64_t log_size, const struct model *m,
                           uint64_t record, const struct hash *root, uint64_t *ret_log_index) {
    uint8_t name[16];
    struct map_proof proof;
    struct map_proof again;
    locator(record, name);
    struct hash key = map_key(name);
    assert_int_equal(map_prove(map, log_size, &key, &proof, ret_log_index, NULL), ERROR_NONE);
    if (proof.some) {
        size_t at = 0;
        while (at < m->count && !hash_equal(&m->entries[at].key, &proof.key))
            at++;
        proof.value = value_of(m, at);
        assert_int_equal(proof.value.log_index, *ret_log_index);
    }
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, MAP_PROOF_BYTES_MAX);
    map_proof_encode(&proof, &raw);
    struct wire_reader r = wire_reader(buffer_bytes(&raw));
    map_proof_decode(&r, &again);
    assert_true(wire_read_end(&r));
    enum map_answer answer = map_verify(&again, &key, root);
    for (unsigned i = 0; i < again.depth; i++) {
        again.sibling[i].byte[5] ^= 1;
        assert_int_equal(map_verify(&again, &key, root), MAP_WRONG);
        again.sibling[i].byte[5] ^= 1;
    }
    again.value.version++;
    assert_true(!again.some || map_verify(&again, &key, root) == MAP_WRONG);
    again.value.version--;
    again.key.byte[31] ^= 1;
    assert_true(!again.some || map_verify(&again, &key, root) == MAP_WRONG);
    return answer;
}

/* What outlives a loss of power: here heights are log sizes. Asked by the map's threads. */
static uint64_t durable(void *context) {
    return *(_Atomic uint64_t *)context;
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *ftw) {
    (void)s, (void)flag, (void)ftw;
    return remove(path);
}

static struct map *opened(const char *folder, _Atomic uint64_t *height, uint8_t chain) {
    struct map *map = NULL;
    struct map_settings settings = {folder, {{chain}}, WRITE_RECORDS, durable, height};
    assert_int_equal(map_open(&settings, &map, NULL), ERROR_NONE);
    return map;
}

static void roots_and_proofs_are_those_of_the_plain_tree(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-map-XXXXXX";
    assert_non_null(mkdtemp(folder));
    _Atomic uint64_t height = 0; /* nothing is written */
    struct model *m = calloc(1, sizeof *m);
    struct model *before = calloc(1, sizeof *before);
    struct map *map = opened(folder, &height, 1);
    struct hash root;
    struct hash old_root;
    uint64_t number = 0;
    check_root(map, m, &root);
    assert_int_equal(ask(map, 0, m, 3, &root, &number), MAP_ABSENT);
    renew(map, m, 1, 0, 1);
    check_root(map, m, &root);
    assert_int_equal(ask(map, 1, m, 0, &root, &number), MAP_PRESENT);
    assert_int_equal(ask(map, 1, m, 1, &root, &number), MAP_ABSENT);
    renew(map, m, 300, 20, 7);
    check_root(map, m, &old_root);
    *before = *m;
    renew(map, m, 50, 90, 3);
    check_root(map, m, &root);
    for (uint64_t record = 0; record < 400; record++) {
        assert_int_equal(ask(map, m->log_size, m, record, &root, &number),
                         record < 351 ? MAP_PRESENT : MAP_ABSENT);
        assert_int_equal(ask(map, before->log_size, before, record, &old_root, &number),
                         record < 301 ? MAP_PRESENT : MAP_ABSENT);
    }
    map_close(map);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(before);
    free(m);
}

static void check_found(struct map *map, const struct model *m, size_t step) {
    for (size_t record = 0; record < RECORDS; record += step) {
        struct map_record found;
        uint8_t name[16];
        locator(record, name);
        struct hash key = map_key(name);
        assert_int_equal(map_find(map, &key, &found), record < m->count);
        if (record >= m->count)
            continue;
        assert_memory_equal(&found.key, &key, sizeof key);
        assert_int_equal(found.log_index, m->entries[record].log_index);
        assert_int_equal(found.version, m->version[record]);
        assert_int_equal(found.operation, LEAF_MODIFY);
        assert_int_equal(found.submitter, record % 7);
    }
}

/* As a node does after opening: all leaves that the map has not, of each record the last one. */
static void give_again(struct map *map, const struct model *m) {
    uint64_t from = map_position(map);
    struct map_change *changes = calloc(m->count, sizeof *changes);
    struct hash root;
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->entries[i].log_index >= from)
            changes[count++] = change_of(m, i);
    if (count > 0)
        map_renew(map, changes, count, m->log_size, m->log_size);
    check_root(map, m, &root);
    free(changes);
}

static size_t files_in(const char *folder, char ret_last[PATH_MAX]) {
    size_t count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') {
            (void)snprintf(ret_last, PATH_MAX, "%s/%s", folder, e->d_name);
            count++;
        }
    (void)closedir(d);
    return count;
}

/* Shards split and runs are merged meanwhile: neither may be seen in any answer. */
static void it_grows_and_answers_of_both_states(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-map-XXXXXX";
    assert_non_null(mkdtemp(folder));
    _Atomic uint64_t height = UINT64_MAX;
    struct model *m = calloc(1, sizeof *m);
    struct model *before = calloc(1, sizeof *before);
    struct map *map = opened(folder, &height, 1);
    struct hash roots[2];
    uint64_t number = 0;
    for (size_t round = 0; round < 40; round++) {
        size_t fresh = round * round * 3 + 1;
        *before = *m;
        renew(map, m, fresh, fresh / 3, 7);
        roots[0] = roots[1];
        assert_int_equal(map_root(map, &roots[1], NULL), ERROR_NONE);
        if (round % 4 == 3 && round > 8)
            check_root(map, m, &roots[1]);
        for (uint64_t record = round; round > 0 && record < RECORDS; record += 3001) {
            assert_int_equal(ask(map, m->log_size, m, record, &roots[1], &number),
                             record < m->count ? MAP_PRESENT : MAP_ABSENT);
            assert_int_equal(ask(map, before->log_size, before, record, &roots[0], &number),
                             record < before->count ? MAP_PRESENT : MAP_ABSENT);
        }
        check_found(map, m, 777);
    }
    map_close(map);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(before);
    free(m);
}

static void runs_are_written_when_the_state_has_them_and_found_again(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-map-XXXXXX";
    char file[PATH_MAX];
    assert_non_null(mkdtemp(folder));
    _Atomic uint64_t height = 0;
    struct model *m = calloc(1, sizeof *m);
    struct map *map = opened(folder, &height, 1);
    for (int i = 0; i < 10; i++)
        renew(map, m, 2000, 500, 11);
    map_close(map);
    assert_int_equal(files_in(folder, file), 0); /* the state on disk has nothing of it */
    map = opened(folder, &height, 1);
    assert_int_equal(map_position(map), 0);
    give_again(map, m);
    height = m->log_size;
    uint64_t written = m->log_size;
    for (int i = 0; i < 10; i++)
        renew(map, m, 2000, 500, 13);
    map_close(map);
    assert_int_equal(files_in(folder, file), 1);
    map = opened(folder, &height, 1);
    assert_int_equal(map_position(map), written);
    give_again(map, m);
    check_found(map, m, 101);
    height = UINT64_MAX;
    for (int i = 0; i < 12; i++)
        renew(map, m, 1500, 1500, 17);
    map_close(map);
    size_t files = files_in(folder, file);
    assert_true(files > 0 && files < 6); /* merged as they grow */
    map = opened(folder, &height, 1);
    assert_true(map_position(map) > written && map_position(map) < m->log_size);
    give_again(map, m);
    check_found(map, m, 101);
    assert_int_equal(map_reset(map, NULL), ERROR_NONE);
    assert_int_equal(map_position(map), 0);
    give_again(map, m);
    check_found(map, m, 101);
    map_close(map);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(m);
}

static void change_byte(const char *path, off_t at) {
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void a_file_that_is_damaged_cut_or_strange_is_none(void **state) {
    (void)state;
    const off_t damaged[] = {0, 4, 5, 9, 47, 55, 63, 66, 75};
    char folder[] = "/tmp/renkei-map-XXXXXX";
    char file[PATH_MAX];
    assert_non_null(mkdtemp(folder));
    _Atomic uint64_t height = UINT64_MAX;
    struct model *m = calloc(1, sizeof *m);
    struct map *map = opened(folder, &height, 1);
    renew(map, m, 4000, 0, 1);
    renew(map, m, 10, 0, 1);
    for (size_t i = 0; i <= sizeof damaged / sizeof damaged[0]; i++) {
        map_close(map);
        assert_int_equal(files_in(folder, file), 1);
        if (i < sizeof damaged / sizeof damaged[0])
            change_byte(file, damaged[i]);
        else
            assert_int_equal(truncate(file, 4000), 0);
        map = opened(folder, &height, 1);
        assert_int_equal(map_position(map), 0);
        assert_int_equal(files_in(folder, file), 0);
        give_again(map, m);
        renew(map, m, 1, 0, 1);
    }
    map_close(map);
    map = opened(folder, &height, 2);
    assert_int_equal(map_position(map), 0); /* the runs of another chain are nobody's */
    map_close(map);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(m);
}

static void a_proof_has_one_form(void **state) {
    (void)state;
    const uint8_t bad[][4] = {
        {0x01, 0x01, 0, 0},    /* deeper than a key has bits */
        {0x00, 0x01, 0x40, 0}, /* a sibling beyond its depth */
        {0x00, 0x00, 0x02, 0}, /* neither something nor nothing at its end */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct map_proof proof;
        struct wire_reader r = wire_reader(bytes_of(bad[i], 4));
        map_proof_decode(&r, &proof);
        assert_false(wire_read_end(&r));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_and_proofs_are_those_of_the_plain_tree),
        cmocka_unit_test(it_grows_and_answers_of_both_states),
        cmocka_unit_test(runs_are_written_when_the_state_has_them_and_found_again),
        cmocka_unit_test(a_file_that_is_damaged_cut_or_strange_is_none),
        cmocka_unit_test(a_proof_has_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
