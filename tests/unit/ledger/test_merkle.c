/* The tree against roots that Python computed by RFC 6962's definition, and against itself: every
 * proof of every small tree verifies, and nothing that differs from it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/block_tree.h"
#include "tests/unit/ledger/vectors.h"

enum { SIZES = 70 };

struct nodes {
    struct hash node[8][SIZES];
    uint64_t count[8];
};

static void keep(void *self, unsigned level, uint64_t index, const struct hash *hash) {
    struct nodes *n = self;
    assert_true(level < 8);
    assert_int_equal(index, n->count[level]);
    n->node[level][n->count[level]++] = *hash;
}

static bool give(void *self, unsigned level, uint64_t index, struct hash *ret_hash) {
    struct nodes *n = self;
    if (level >= 8 || index >= n->count[level])
        return false;
    *ret_hash = n->node[level][index];
    return true;
}

static struct hash leaf_number(uint32_t i) {
    uint8_t raw[4];
    wire_store_u32(raw, i);
    return merkle_leaf_hash(bytes_of(raw, sizeof raw));
}

struct tree {
    struct nodes nodes;
    struct hash leaves[SIZES];
    struct hash roots[SIZES];
};

static int make_tree(void **state) {
    struct tree *t = calloc(1, sizeof *t);
    struct merkle_frontier frontier;
    struct merkle_sink sink = {keep, &t->nodes};
    merkle_frontier_init(&frontier);
    for (uint32_t i = 0; i < SIZES; i++) {
        t->roots[i] = merkle_root(&frontier);
        t->leaves[i] = leaf_number(i);
        merkle_append(&frontier, &t->leaves[i], &sink);
    }
    *state = t;
    return 0;
}

static int free_tree(void **state) {
    free(*state);
    return 0;
}

static void roots_are_those_of_the_definition(void **state) {
    struct tree *t = *state;
    assert_int_equal(sizeof vector_roots_of_0_to_69, SIZES * HASH_BYTES);
    assert_memory_equal(t->roots, vector_roots_of_0_to_69, sizeof vector_roots_of_0_to_69);
    struct hash of_23 = merkle_root_of(t->leaves, 23);
    assert_true(hash_equal(&of_23, &t->roots[23]));
}

struct all_nodes {
    struct hash node[12][2048];
    uint64_t count[12];
};

static void keep_all(void *self, unsigned level, uint64_t index, const struct hash *hash) {
    struct all_nodes *n = self;
    assert_true(level < 12);
    assert_int_equal(index, n->count[level]);
    n->node[level][n->count[level]++] = *hash;
}

/* From every alignment and across the pieces in which many are taken. */
static void many_leaves_are_appended_as_one_by_one(void **state) {
    enum { MOST = 700 };
    (void)state;
    struct all_nodes *one = calloc(1, sizeof *one);
    struct all_nodes *many = calloc(1, sizeof *many);
    struct hash *leaves = calloc(MOST, sizeof *leaves);
    for (uint32_t i = 0; i < MOST; i++)
        leaves[i] = leaf_number(i);
    for (size_t before = 0; before < 34; before++)
        for (size_t count = 0; before + count <= MOST; count = count < 20 ? count + 1 : count * 5 / 3) {
            struct merkle_frontier a, b;
            struct merkle_sink sink_a = {keep_all, one}, sink_b = {keep_all, many};
            memset(one, 0, sizeof *one);
            memset(many, 0, sizeof *many);
            merkle_frontier_init(&a);
            merkle_frontier_init(&b);
            for (size_t i = 0; i < before + count; i++)
                merkle_append(&a, &leaves[i], &sink_a);
            merkle_append_many(&b, leaves, before, &sink_b);
            merkle_append_many(&b, leaves + before, count, &sink_b);
            struct hash root_a = merkle_root(&a), root_b = merkle_root(&b);
            assert_int_equal(b.size, before + count);
            assert_true(hash_equal(&root_a, &root_b));
            assert_memory_equal(one, many, sizeof *one);
        }
    free(leaves);
    free(many);
    free(one);
}

static void every_inclusion_proof_verifies_and_no_other_does(void **state) {
    struct tree *t = *state;
    struct merkle_reader reader = {give, &t->nodes};
    struct merkle_path path;
    struct merkle_path same;
    assert_false(merkle_inclusion(&reader, 5, 5, &path));
    for (uint32_t size = 1; size < SIZES; size++)
        for (uint32_t i = 0; i < size; i++) {
            assert_true(merkle_inclusion(&reader, i, size, &path));
            assert_true(merkle_inclusion_of(t->leaves, size, i, &same));
            assert_int_equal(path.count, same.count);
            assert_memory_equal(path.hash, same.hash, path.count * sizeof path.hash[0]);
            const struct hash *root = &t->roots[size];
            assert_true(merkle_verify_inclusion(&t->leaves[i], i, size, &path, root));
            assert_false(merkle_verify_inclusion(&t->leaves[i], i, size, &path, &t->roots[0]));
            uint32_t other = (i + 1) % size;
            if (other != i) {
                assert_false(merkle_verify_inclusion(&t->leaves[i], other, size, &path, root));
                assert_false(merkle_verify_inclusion(&t->leaves[other], i, size, &path, root));
            }
            assert_false(merkle_verify_inclusion(&t->leaves[i], i + size, size, &path, root));
            path.hash[path.count++] = t->leaves[0];
            assert_false(merkle_verify_inclusion(&t->leaves[i], i, size, &path, root));
            path.count--;
            if (path.count > 0) {
                path.hash[path.count - 1].byte[31] ^= 1;
                assert_false(merkle_verify_inclusion(&t->leaves[i], i, size, &path, root));
                path.count--;
                assert_false(merkle_verify_inclusion(&t->leaves[i], i, size, &path, root));
            }
        }
}

static void every_consistency_proof_verifies_and_no_other_does(void **state) {
    struct tree *t = *state;
    struct merkle_reader reader = {give, &t->nodes};
    struct merkle_path path;
    assert_false(merkle_consistency(&reader, 0, 5, &path));
    assert_false(merkle_consistency(&reader, 6, 5, &path));
    for (uint32_t size = 1; size < SIZES; size++)
        for (uint32_t old = 1; old <= size; old++) {
            assert_true(merkle_consistency(&reader, old, size, &path));
            const struct hash *before = &t->roots[old];
            const struct hash *after = &t->roots[size];
            assert_true(merkle_verify_consistency(old, before, size, after, &path));
            assert_false(merkle_verify_consistency(old, &t->roots[0], size, after, &path));
            assert_false(merkle_verify_consistency(old, before, size, &t->roots[0], &path));
            path.hash[path.count++] = t->leaves[0];
            assert_false(merkle_verify_consistency(old, before, size, after, &path));
            path.count--;
            if (path.count > 0) {
                path.hash[0].byte[0] ^= 1;
                assert_false(merkle_verify_consistency(old, before, size, after, &path));
                path.count--;
                assert_false(merkle_verify_consistency(old, before, size, after, &path));
            }
        }
}

static void a_reader_that_fails_makes_no_proof(void **state) {
    struct tree *t = *state;
    struct merkle_reader reader = {give, &t->nodes};
    struct merkle_path path;
    assert_false(merkle_inclusion(&reader, 3, SIZES + 8, &path));
}

/* SIZES cuts levels of odd widths at every height; the maximum is more than one round of appending. */
static void a_blocks_tree_gives_its_root_and_every_path(void **state) {
    struct tree *t = *state;
    for (uint32_t size = 0; size < SIZES; size++) {
        struct block_tree *tree = block_tree_new(t->leaves, size);
        struct hash root = block_tree_root(tree);
        assert_true(hash_equal(&root, &t->roots[size]));
        assert_int_equal(block_tree_count(tree), size);
        for (uint32_t i = 0; i < size; i++) {
            struct merkle_path path;
            struct merkle_path expected;
            block_tree_path(tree, i, &path);
            assert_true(merkle_inclusion_of(t->leaves, size, i, &expected));
            assert_int_equal(path.count, expected.count);
            assert_memory_equal(path.hash, expected.hash, path.count * sizeof path.hash[0]);
        }
        block_tree_free(tree);
    }
    struct hash *leaves = calloc(BLOCK_TRANSACTIONS_MAX, sizeof *leaves);
    for (uint32_t i = 0; i < BLOCK_TRANSACTIONS_MAX; i++)
        wire_store_u32(leaves[i].byte, i);
    for (uint32_t less = 0; less < 2; less++) {
        uint32_t size = BLOCK_TRANSACTIONS_MAX - less;
        struct block_tree *tree = block_tree_new(leaves, size);
        struct hash root = block_tree_root(tree);
        for (uint32_t i = 0; i < size; i += i < size - 300 ? 257 : 1) {
            struct merkle_path path;
            block_tree_path(tree, i, &path);
            assert_true(merkle_verify_inclusion(&leaves[i], i, size, &path, &root));
        }
        block_tree_free(tree);
    }
    free(leaves);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_those_of_the_definition),
        cmocka_unit_test(many_leaves_are_appended_as_one_by_one),
        cmocka_unit_test(every_inclusion_proof_verifies_and_no_other_does),
        cmocka_unit_test(every_consistency_proof_verifies_and_no_other_does),
        cmocka_unit_test(a_reader_that_fails_makes_no_proof),
        cmocka_unit_test(a_blocks_tree_gives_its_root_and_every_path),
    };
    return cmocka_run_group_tests(tests, make_tree, free_tree);
}
