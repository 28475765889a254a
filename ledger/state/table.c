#include "ledger/state/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64 };

struct state_table {
    uint64_t seed;
    size_t slots; /* a power of two */
    size_t used;  /* slots with a key */
    struct state_entry *slot;
};

struct state_key state_key(enum state_kind kind, const uint8_t *data, size_t len) {
    struct state_key key = {{(uint8_t)kind}};
    assert(len < STATE_KEY_BYTES);
    memcpy(key.byte + 1, data, len);
    return key;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort(); /* a validator that forgets an effect is worse than one that stops */
    return memory;
}

struct state_table *state_table_new(uint64_t seed) {
    struct state_table *table = allocate(1, sizeof *table);
    table->seed = seed;
    table->slots = SLOTS_MIN;
    table->slot = allocate(SLOTS_MIN, sizeof *table->slot);
    return table;
}

void state_table_free(struct state_table *table) {
    if (table == NULL)
        return;
    free(table->slot);
    free(table);
}

void state_table_clear(struct state_table *table) {
    free(table->slot);
    table->slots = SLOTS_MIN;
    table->used = 0;
    table->slot = allocate(SLOTS_MIN, sizeof *table->slot);
}

size_t state_table_count(const struct state_table *table) {
    return table->used;
}

/* Keys come from submitters, so the mixing is seeded: nobody outside can aim at one slot. */
static uint64_t mix(const struct state_table *table, const struct state_key *key) {
    uint64_t hash = table->seed ^ key->byte[0];
    for (int i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, key->byte + 1 + 8 * i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    return hash ^ hash >> 32;
}

/* The slot of the key, or the free one where it would stand. A key's kind is never 0. */
static struct state_entry *find(const struct state_table *table, const struct state_key *key) {
    size_t at = (size_t)mix(table, key) & (table->slots - 1);
    for (;; at = (at + 1) & (table->slots - 1)) {
        struct state_entry *entry = &table->slot[at];
        if (entry->key.byte[0] == 0 || memcmp(&entry->key, key, sizeof *key) == 0)
            return entry;
    }
}

static void grow(struct state_table *table) {
    struct state_entry *old = table->slot;
    size_t old_slots = table->slots;
    table->slots *= 2;
    table->slot = allocate(table->slots, sizeof *table->slot);
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].key.byte[0] != 0)
            *find(table, &old[i].key) = old[i];
    free(old);
}

const struct state_value *state_table_get(const struct state_table *table,
                                          const struct state_key *key) {
    const struct state_entry *entry = find(table, key);
    return entry->key.byte[0] != 0 && entry->value.len > 0 ? &entry->value : NULL;
}

struct state_value state_table_put(struct state_table *table, const struct state_key *key,
                                   const struct state_value *value) {
    if ((table->used + 1) * 4 > table->slots * 3)
        grow(table);
    struct state_entry *entry = find(table, key);
    struct state_value before = entry->value;
    if (entry->key.byte[0] == 0) {
        entry->key = *key;
        table->used++;
        before.len = 0;
    }
    entry->value = *value;
    return before;
}

const struct state_entry *state_table_each(const struct state_table *table, size_t *cursor) {
    while (*cursor < table->slots) {
        const struct state_entry *entry = &table->slot[(*cursor)++];
        if (entry->key.byte[0] != 0 && entry->value.len > 0)
            return entry;
    }
    return NULL;
}
