#include "ledger/state/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64 };

/* Where an entry stands. Most look-ups find nothing: they end here, in few cache lines. */
struct cell {
    uint32_t hash;
    uint32_t entry; /* its number + 1; 0: free */
};

struct state_table {
    uint64_t seed;
    size_t slots; /* a power of two */
    struct cell *cell;
    size_t count;
    size_t capacity;
    struct state_entry *entry; /* in the order of their first put */
};

struct state_key state_key(enum state_kind kind, const uint8_t *data, size_t len) {
    struct state_key key = {{(uint8_t)kind}};
    assert(len < STATE_KEY_BYTES);
    memcpy(key.byte + 1, data, len);
    return key;
}

static void *must(void *memory) {
    if (memory == NULL)
        abort(); /* a validator that forgets an effect is worse than one that stops */
    return memory;
}

struct state_table *state_table_new(uint64_t seed) {
    struct state_table *table = must(calloc(1, sizeof *table));
    table->seed = seed;
    table->slots = SLOTS_MIN;
    table->cell = must(calloc(SLOTS_MIN, sizeof *table->cell));
    return table;
}

static void free_arrays(struct state_table *table) {
    free(table->cell);
    free(table->entry);
}

void state_table_reserve(struct state_table *table, size_t count) {
    assert(table->count == 0);
    assert(count < UINT32_MAX / 4);
    while (table->slots < 2 * count)
        table->slots *= 2;
    free_arrays(table);
    table->cell = must(calloc(table->slots, sizeof *table->cell));
    table->entry = must(malloc((count + 1) * sizeof *table->entry));
    table->capacity = count + 1;
}

void state_table_free(struct state_table *table) {
    if (table == NULL)
        return;
    free_arrays(table);
    free(table);
}

size_t state_table_count(const struct state_table *table) {
    return table->count;
}

/* Keys come from submitters, so the mixing is seeded: nobody outside can aim at one slot. */
static uint32_t mix(const struct state_table *table, const struct state_key *key) {
    uint64_t hash = table->seed ^ key->byte[0];
    for (int i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, key->byte + 1 + 8 * i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(hash ^ hash >> 32);
}

/* The cell of the key, or the free one where it would stand. */
static struct cell *find(const struct state_table *table, const struct state_key *key,
                         uint32_t hash) {
    size_t at = hash & (table->slots - 1);
    for (;; at = (at + 1) & (table->slots - 1)) {
        struct cell *cell = &table->cell[at];
        if (cell->entry == 0 ||
            (cell->hash == hash &&
             memcmp(&table->entry[cell->entry - 1].key, key, sizeof *key) == 0))
            return cell;
    }
}

/* Cells hold the whole hash, so the entries are not touched. */
static void grow_cells(struct state_table *table) {
    struct cell *old = table->cell;
    size_t old_slots = table->slots;
    table->slots *= 2;
    table->cell = must(calloc(table->slots, sizeof *table->cell));
    for (size_t i = 0; i < old_slots; i++) {
        if (old[i].entry == 0)
            continue;
        size_t at = old[i].hash & (table->slots - 1);
        while (table->cell[at].entry != 0)
            at = (at + 1) & (table->slots - 1);
        table->cell[at] = old[i];
    }
    free(old);
}

static struct state_entry *append(struct state_table *table) {
    if (table->count == table->capacity) {
        assert(table->capacity < UINT32_MAX / 2);
        table->capacity = table->capacity == 0 ? SLOTS_MIN / 2 : table->capacity * 2;
        table->entry = must(realloc(table->entry, table->capacity * sizeof *table->entry));
    }
    return &table->entry[table->count++];
}

const struct state_value *state_table_get(const struct state_table *table,
                                          const struct state_key *key) {
    const struct cell *cell = find(table, key, mix(table, key));
    if (cell->entry == 0)
        return NULL;
    const struct state_value *value = &table->entry[cell->entry - 1].value;
    return value->len > 0 ? value : NULL;
}

struct state_value state_table_put(struct state_table *table, const struct state_key *key,
                                   const struct state_value *value) {
    uint32_t hash = mix(table, key);
    if ((table->count + 1) * 2 > table->slots) /* half empty, so that probes stay short */
        grow_cells(table);
    struct cell *cell = find(table, key, hash);
    struct state_value before = {.len = 0};
    if (cell->entry == 0) {
        struct state_entry *fresh = append(table);
        fresh->key = *key;
        *cell = (struct cell){hash, (uint32_t)table->count};
    } else {
        before = table->entry[cell->entry - 1].value;
    }
    table->entry[cell->entry - 1].value = *value;
    return before;
}

const struct state_entry *state_table_each(const struct state_table *table, size_t *cursor) {
    while (*cursor < table->count) {
        const struct state_entry *entry = &table->entry[(*cursor)++];
        if (entry->value.len > 0)
            return entry;
    }
    return NULL;
}
