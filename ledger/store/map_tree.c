#include "ledger/store/map_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum {
    BUCKET_RECORDS = 8, /* on average at most, in the shard that is split first */
    BITS_MAX = 24,
    LEVELS = BITS_MAX + 1,
    BATCH_BUCKETS = 256, /* hashed together */
};

struct old_node {
    uint32_t number;
    struct map_node node;
};

/* Node 1 is the shard's root, 2 n and 2 n + 1 are the children of n. */
struct nodes {
    unsigned bits;
    struct map_node *node; /* NULL: none */
};

struct shard {
    struct nodes now;
    struct nodes replaced; /* the whole state before, where the last renewal split the shard */
    struct old_node *old;  /* else the nodes that it changed: by level, the lowest first, ascending */
    size_t old_count;
    size_t old_level[LEVELS]; /* where each level begins, by its depth */
};

struct map_tree {
    struct shard shards[MAP_SHARDS];
    struct map_node top[2 * MAP_SHARDS];
    struct map_node top_before[2 * MAP_SHARDS];
};

/* What becomes of one shard. */
struct shard_step {
    struct nodes split; /* NULL: only these are changed: */
    struct old_node *changed;
    size_t count;
    size_t capacity;
    size_t level[LEVELS];
};

struct map_step {
    struct shard_step shards[MAP_SHARDS];
};

static unsigned level_of(uint32_t number) {
    return 31 - (unsigned)__builtin_clz(number);
}

/* Shard 0 splits at half of the size at which the last one does. */
static unsigned bits_for(unsigned shard, uint64_t records, unsigned bits) {
    while (bits < BITS_MAX && records > (uint64_t)(MAP_SHARDS + shard) * BUCKET_RECORDS << bits)
        bits++;
    return bits;
}

/* What stands below a bucket. */

struct source {
    struct map_run *const *runs;
    size_t count;
};

struct bucket {
    const struct map_slot **slots; /* ascending by key, each record once */
    size_t count;
    size_t capacity;
};

static void bucket_put(struct bucket *b, const struct map_slot *slot) {
    size_t at = b->count;
    for (; at > 0; at--) {
        int order = memcmp(b->slots[at - 1]->key, slot->key, HASH_BYTES);
        if (order == 0) {
            b->slots[at - 1] = slot; /* runs come from the oldest to the newest */
            return;
        }
        if (order < 0)
            break;
    }
    b->slots = array_grown(b->slots, b->count, &b->capacity, sizeof(const struct map_slot *));
    memmove(b->slots + at + 1, b->slots + at, (b->count - at) * sizeof(const struct map_slot *));
    b->slots[at] = slot;
    b->count++;
}

static uint32_t bucket_prefix(unsigned shard, unsigned bits, uint32_t bucket) {
    return ((uint32_t)shard << bits | bucket) << (32 - MAP_SHARDS_DEPTH - bits);
}

static void gather(const struct source *source, unsigned shard, unsigned bits, uint32_t bucket,
                   struct bucket *out) {
    uint32_t prefix = bucket_prefix(shard, bits, bucket);
    unsigned shift = 32 - MAP_SHARDS_DEPTH - bits;
    out->count = 0;
    for (size_t i = 0; i < source->count; i++) {
        const struct map_slot *slots = map_run_slots(source->runs[i]);
        size_t count = map_run_count(source->runs[i]);
        for (size_t at = map_run_lower(source->runs[i], prefix);
             at < count && map_prefix(slots[at].key) >> shift == prefix >> shift; at++)
            bucket_put(out, &slots[at]);
    }
}

static struct map_entry entry_of(const struct map_slot *slot) {
    struct map_entry entry = {.log_index = wire_load_u64(slot->log_index)};
    memcpy(entry.key.byte, slot->key, HASH_BYTES);
    memcpy(entry.hash.byte, slot->hash, HASH_BYTES);
    return entry;
}

/* Buckets whose nodes are computed together, because many hashes at once are quicker. */
struct batch {
    struct bucket bucket;
    struct map_entry *entries;
    size_t count;
    size_t capacity;
    size_t ends[BATCH_BUCKETS];
    size_t bucket_count;
    struct map_node nodes[BATCH_BUCKETS];
};

static void batch_add(struct batch *b, const struct source *source, unsigned shard, unsigned bits,
                      uint32_t bucket) {
    gather(source, shard, bits, bucket, &b->bucket);
    for (size_t i = 0; i < b->bucket.count; i++) {
        b->entries = array_grown(b->entries, b->count, &b->capacity, sizeof *b->entries);
        b->entries[b->count++] = entry_of(b->bucket.slots[i]);
    }
    b->ends[b->bucket_count++] = b->count;
}

static void batch_compute(struct batch *b, unsigned bits) {
    map_subtrees(b->entries, b->ends, b->bucket_count, MAP_SHARDS_DEPTH + bits, b->nodes);
    b->count = b->bucket_count = 0;
}

static void batch_free(struct batch *b) {
    free(b->bucket.slots);
    free(b->entries);
    free(b);
}

/* A shard that is made anew, with more buckets. */

static struct nodes whole_shard(const struct source *source, unsigned shard, unsigned bits,
                                struct batch *batch) {
    uint32_t buckets = 1U << bits;
    struct nodes nodes = {bits, array_new((size_t)2 * buckets, sizeof(struct map_node))};
    for (uint32_t first = 0; first < buckets; first += BATCH_BUCKETS) {
        uint32_t some = buckets - first < BATCH_BUCKETS ? buckets - first : BATCH_BUCKETS;
        for (uint32_t i = 0; i < some; i++)
            batch_add(batch, source, shard, bits, first + i);
        batch_compute(batch, bits);
        memcpy(&nodes.node[(size_t)buckets + first], batch->nodes, some * sizeof *nodes.node);
    }
    for (size_t first = buckets; first > 1; first /= 2) /* level by level */
        map_join_many(&nodes.node[first], first / 2, &nodes.node[first / 2]);
    return nodes;
}

/* A shard in which some buckets change. */

static void push_changed(struct shard_step *step, uint32_t number, const struct map_node *node) {
    step->changed = array_grown(step->changed, step->count, &step->capacity, sizeof *step->changed);
    step->changed[step->count++] = (struct old_node){number, *node};
}

static void change_buckets(const struct source *source, unsigned shard, unsigned bits,
                           size_t from, size_t end, struct batch *batch,
                           struct shard_step *step) {
    const struct map_slot *slots = map_run_slots(source->runs[source->count - 1]);
    uint32_t buckets = 1U << bits;
    unsigned shift = 32 - MAP_SHARDS_DEPTH - bits;
    uint32_t numbers[BATCH_BUCKETS];
    step->level[bits] = 0;
    for (size_t at = from; at < end;) {
        while (at < end && batch->bucket_count < BATCH_BUCKETS) {
            uint32_t bucket = map_prefix(slots[at].key) >> shift & (buckets - 1);
            numbers[batch->bucket_count] = buckets + bucket;
            batch_add(batch, source, shard, bits, bucket);
            while (at < end && (map_prefix(slots[at].key) >> shift & (buckets - 1)) == bucket)
                at++;
        }
        size_t some = batch->bucket_count;
        batch_compute(batch, bits);
        for (size_t i = 0; i < some; i++)
            push_changed(step, numbers[i], &batch->nodes[i]);
    }
}

/* The parents of the changed nodes of one level, which stand in step from `begin` to its end. */
static void change_parents(const struct nodes *now, struct shard_step *step, size_t begin) {
    size_t end = step->count;
    struct map_node *children = array_new(2 * (end - begin), sizeof *children);
    struct map_node *nodes = array_new(end - begin, sizeof *nodes);
    uint32_t *numbers = array_new(end - begin, sizeof *numbers);
    size_t count = 0;
    for (size_t i = begin; i < end; count++) {
        uint32_t parent = step->changed[i].number >> 1;
        numbers[count] = parent;
        for (uint32_t side = 0; side < 2; side++) {
            bool changed = i < end && step->changed[i].number == 2 * parent + side;
            children[2 * count + side] =
                changed ? step->changed[i].node : now->node[2 * (size_t)parent + side];
            i += changed ? 1 : 0;
        }
    }
    map_join_many(children, count, nodes);
    for (size_t i = 0; i < count; i++)
        push_changed(step, numbers[i], &nodes[i]);
    free(children);
    free(nodes);
    free(numbers);
}

static void step_shard(const struct map_tree *tree, const struct source *source, unsigned shard,
                       uint64_t records, struct batch *batch, struct shard_step *step) {
    const struct nodes *now = &tree->shards[shard].now;
    const struct map_run *newest = source->runs[source->count - 1];
    size_t from = map_run_lower(newest, bucket_prefix(shard, 0, 0));
    size_t end = shard + 1 == MAP_SHARDS ? map_run_count(newest)
                                         : map_run_lower(newest, bucket_prefix(shard + 1, 0, 0));
    if (from == end)
        return;
    unsigned bits = bits_for(shard, records, now->bits);
    if (bits != now->bits) {
        step->split = whole_shard(source, shard, bits, batch);
        return;
    }
    change_buckets(source, shard, bits, from, end, batch, step);
    size_t begin = 0;
    for (unsigned level = bits; level > 0; level--) {
        size_t above = step->count;
        step->level[level - 1] = above;
        change_parents(now, step, begin);
        begin = above;
    }
}

static uint64_t records_of(struct map_run *const *runs, size_t count) {
    uint64_t records = 0;
    for (size_t i = 0; i < count; i++)
        records += map_run_count(runs[i]);
    return records;
}

struct map_step *map_step_new(const struct map_tree *tree, struct map_run *const *runs,
                              size_t count) {
    struct map_step *step = array_new(1, sizeof *step);
    struct batch *batch = array_new(1, sizeof *batch);
    struct source source = {runs, count};
    uint64_t records = records_of(runs, count);
    for (unsigned i = 0; i < MAP_SHARDS; i++)
        step_shard(tree, &source, i, records, batch, &step->shards[i]);
    batch_free(batch);
    return step;
}

/* The tree. */

static void join_top(struct map_tree *tree) {
    for (unsigned i = 0; i < MAP_SHARDS; i++)
        tree->top[MAP_SHARDS + i] = tree->shards[i].now.node[1];
    for (size_t first = MAP_SHARDS; first > 1; first /= 2)
        map_join_many(&tree->top[first], first / 2, &tree->top[first / 2]);
}

static void forget(struct shard *shard) {
    free(shard->replaced.node);
    free(shard->old);
    shard->replaced.node = NULL;
    shard->old = NULL;
    shard->old_count = 0;
}

struct map_tree *map_tree_new(void) {
    struct map_tree *tree = array_new(1, sizeof *tree);
    for (unsigned i = 0; i < MAP_SHARDS; i++)
        tree->shards[i].now.node = array_new(2, sizeof(struct map_node));
    join_top(tree);
    return tree;
}

void map_tree_free(struct map_tree *tree) {
    if (tree == NULL)
        return;
    for (unsigned i = 0; i < MAP_SHARDS; i++) {
        forget(&tree->shards[i]);
        free(tree->shards[i].now.node);
    }
    free(tree);
}

void map_tree_load(struct map_tree *tree, struct map_run *const *runs, size_t count) {
    struct batch *batch = array_new(1, sizeof *batch);
    struct source source = {runs, count};
    uint64_t records = records_of(runs, count);
    for (unsigned i = 0; i < MAP_SHARDS; i++) {
        struct shard *shard = &tree->shards[i];
        forget(shard);
        free(shard->now.node);
        shard->now = whole_shard(&source, i, bits_for(i, records, 0), batch);
    }
    batch_free(batch);
    join_top(tree);
}

void map_tree_apply(struct map_tree *tree, struct map_step *step) {
    memcpy(tree->top_before, tree->top, sizeof tree->top);
    for (unsigned i = 0; i < MAP_SHARDS; i++) {
        struct shard *shard = &tree->shards[i];
        struct shard_step *s = &step->shards[i];
        forget(shard);
        if (s->split.node != NULL) {
            shard->replaced = shard->now;
            shard->now = s->split;
            continue;
        }
        for (size_t j = 0; j < s->count; j++) {
            struct map_node *node = &shard->now.node[s->changed[j].number];
            struct map_node was = *node;
            *node = s->changed[j].node;
            s->changed[j].node = was;
        }
        shard->old = s->changed;
        shard->old_count = s->count;
        memcpy(shard->old_level, s->level, sizeof s->level);
    }
    free(step);
    join_top(tree);
}

struct map_node map_tree_root(const struct map_tree *tree) {
    return tree->top[1];
}

/* Telling. */

static unsigned bits_at(const struct shard *shard, bool before) {
    return before && shard->replaced.node != NULL ? shard->replaced.bits : shard->now.bits;
}

static struct map_node node_at(const struct shard *shard, uint32_t number, bool before) {
    if (!before)
        return shard->now.node[number];
    if (shard->replaced.node != NULL)
        return shard->replaced.node[number];
    if (shard->old_count == 0)
        return shard->now.node[number];
    unsigned level = level_of(number);
    size_t low = shard->old_level[level];
    size_t end = level == 0 ? shard->old_count : shard->old_level[level - 1];
    size_t high = end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (shard->old[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && shard->old[low].number == number ? shard->old[low].node
                                                          : shard->now.node[number];
}

/* The only record below a node that is one record's. */
static const struct map_slot *only_slot(const struct map_tree *tree, bool before,
                                        const struct source *source, unsigned shard,
                                        uint32_t number) {
    const struct shard *s = &tree->shards[shard];
    unsigned bits = bits_at(s, before);
    while (number < 1U << bits) {
        struct map_node left = node_at(s, 2 * number, before);
        number = 2 * number + (left.kind == MAP_EMPTY ? 1 : 0);
    }
    struct bucket bucket = {0};
    gather(source, shard, bits, number - (1U << bits), &bucket);
    const struct map_slot *slot = bucket.count > 0 ? bucket.slots[0] : NULL; /* a damaged file */
    free(bucket.slots);
    return slot;
}

/* From inside a bucket; NULL where nothing stands at the end. */
static const struct map_slot *descend_bucket(const struct source *source, unsigned shard,
                                             unsigned bits, uint32_t number,
                                             const struct hash *key, struct map_proof *proof) {
    struct bucket bucket = {0};
    gather(source, shard, bits, number - (1U << bits), &bucket);
    struct map_entry *entries = array_new(bucket.count + 1, sizeof *entries);
    for (size_t i = 0; i < bucket.count; i++)
        entries[i] = entry_of(bucket.slots[i]);
    const struct map_entry *entry =
        map_descend(entries, bucket.count, MAP_SHARDS_DEPTH + bits, key, proof);
    const struct map_slot *slot = entry != NULL ? bucket.slots[entry - entries] : NULL;
    free(bucket.slots);
    free(entries);
    return slot;
}

static const struct map_slot *descend_shard(const struct map_tree *tree, bool before,
                                            const struct source *source, const struct hash *key,
                                            struct map_proof *proof) {
    unsigned number_of = map_prefix(key->byte) >> (32 - MAP_SHARDS_DEPTH);
    const struct shard *shard = &tree->shards[number_of];
    unsigned bits = bits_at(shard, before);
    uint32_t at = 1;
    struct map_node node = node_at(shard, at, before);
    for (unsigned depth = MAP_SHARDS_DEPTH; at < 1U << bits && node.kind == MAP_INNER; depth++) {
        at = 2 * at + (map_bit(key, depth) ? 1 : 0);
        proof->sibling[depth] = node_at(shard, at ^ 1, before).hash;
        proof->depth = depth + 1;
        node = node_at(shard, at, before);
    }
    if (node.kind == MAP_EMPTY)
        return NULL;
    if (node.kind == MAP_LEAF)
        return only_slot(tree, before, source, number_of, at);
    return descend_bucket(source, number_of, bits, at, key, proof);
}

void map_tree_prove(const struct map_tree *tree, bool before, struct map_run *const *runs,
                    size_t count, const struct hash *key, struct map_proof *ret_proof,
                    const struct map_slot **ret_slot) {
    const struct map_node *top = before ? tree->top_before : tree->top;
    struct source source = {runs, count};
    const struct map_slot *slot = NULL;
    unsigned at = 1;
    memset(ret_proof, 0, sizeof *ret_proof);
    for (unsigned depth = 0; depth < MAP_SHARDS_DEPTH && top[at].kind == MAP_INNER; depth++) {
        at = 2 * at + (map_bit(key, depth) ? 1 : 0);
        ret_proof->sibling[depth] = top[at ^ 1].hash;
        ret_proof->depth = depth + 1;
    }
    if (top[at].kind == MAP_LEAF) { /* the only one below: follow it to its shard */
        while (at < MAP_SHARDS)
            at = top[2 * at].kind == MAP_EMPTY ? 2 * at + 1 : 2 * at;
        slot = only_slot(tree, before, &source, at - MAP_SHARDS, 1);
    } else if (top[at].kind == MAP_INNER) {
        slot = descend_shard(tree, before, &source, key, ret_proof);
    }
    ret_proof->some = slot != NULL;
    if (slot != NULL)
        memcpy(ret_proof->key.byte, slot->key, HASH_BYTES);
    *ret_slot = slot;
}
