/* The map: its root against one computed from all records in the plainest way, proofs of presence
 * and absence now and as of the renewal before, and what is found after closing and after damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/store/map.h"

enum { RECORDS = 90000 };

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
    for (size_t i = 0; i < fresh + again; i++) {
        size_t record = i < fresh ? m->count : (i - fresh) * step % m->count;
        uint8_t name[16];
        locator(record, name);
        if (i < fresh) {
            m->entries[m->count].key = map_key(name);
            m->version[m->count++] = 0;
        }
        m->version[record]++;
        m->entries[record].log_index = m->log_size++;
        memcpy(changes[i].locator, name, sizeof name);
        changes[i].value = value_of(m, record);
    }
    map_renew(map, changes, fresh + again, m->log_size);
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

static enum error_code no_sync(void *context, struct error *err) {
    (void)err;
    ++*(int *)context;
    return ERROR_NONE;
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *ftw) {
    (void)s, (void)flag, (void)ftw;
    return remove(path);
}

static struct map *opened(const char *folder, int *syncs, uint8_t chain) {
    struct map *map = NULL;
    struct map_settings settings = {folder, {{chain}}, no_sync, syncs};
    assert_int_equal(map_open(&settings, &map, NULL), ERROR_NONE);
    return map;
}

static void roots_and_proofs_are_those_of_the_plain_tree(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-map-XXXXXX";
    assert_non_null(mkdtemp(folder));
    int syncs = 0;
    struct model *m = calloc(1, sizeof *m);
    struct model *before = calloc(1, sizeof *before);
    struct map *map = opened(folder, &syncs, 1);
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

static void give_again(struct map *map, const struct model *m, uint64_t from) {
    struct map_change *changes = calloc(m->count, sizeof *changes);
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->entries[i].log_index >= from) {
            locator(i, changes[count].locator);
            changes[count++].value = value_of(m, i);
        }
    map_renew(map, changes, count, m->log_size);
}

static void parts_are_written_and_found_again(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-map-XXXXXX";
    char part[64];
    assert_non_null(mkdtemp(folder));
    int syncs = 0;
    struct model *m = calloc(1, sizeof *m);
    struct map *map = opened(folder, &syncs, 1);
    struct hash root;
    uint64_t number = 0;
    renew(map, m, 80000, 0, 1);
    renew(map, m, 5000, 3000, 11);
    renew(map, m, 2000, 300000, 13); /* so many leaves later that the other parts are written, too */
    renew(map, m, 1000, 10, 1);
    check_root(map, m, &root);
    assert_true(syncs > 0);
    for (uint64_t record = 0; record < RECORDS; record += 501)
        assert_int_equal(ask(map, m->log_size, m, record, &root, &number),
                         record < m->count ? MAP_PRESENT : MAP_ABSENT);
    map_close(map);
    map = opened(folder, &syncs, 1);
    assert_true(map_position(map) > 0 && map_position(map) < m->log_size);
    give_again(map, m, map_position(map));
    check_root(map, m, &root);
    assert_int_equal(map_reset(map, NULL), ERROR_NONE);
    assert_int_equal(map_position(map), 0);
    map_close(map);
    map = opened(folder, &syncs, 1);
    for (int i = 0; i < 2; i++) {
        give_again(map, m, 0);
        check_root(map, m, &root);
        renew(map, m, 100, 0, 1);
        check_root(map, m, &root);
        map_close(map);
        (void)snprintf(part, sizeof part, "%s/07", folder);
        int fd = open(part, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "x", 1, 70), 1);
        assert_int_equal(close(fd), 0);
        map = opened(folder, &syncs, 1); /* a damaged part is an empty one */
        assert_int_equal(map_position(map), 0);
    }
    map_close(map);
    map = opened(folder, &syncs, 2);
    assert_int_equal(map_position(map), 0); /* the parts of another chain are nobody's */
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
        cmocka_unit_test(parts_are_written_and_found_again),
        cmocka_unit_test(a_proof_has_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
