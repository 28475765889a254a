#include "ledger/chain_recent.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/random.h"

enum { SLOTS_MIN = 1024 };

/* The tag is of the key's mix: a change is not touched where it differs. */
struct slot {
    uint32_t number; /* of a change plus 1; 0: free */
    uint32_t tag;
};

struct recent {
    uint64_t seed;
    struct map_change *changes;
    size_t count;
    size_t capacity;
    struct slot *slots;
    size_t slot_count; /* a power of two, at least twice the changes */
};

struct recent *recent_new(void) {
    struct recent *r = array_new(1, sizeof *r);
    random_bytes(&r->seed, sizeof r->seed);
    r->slot_count = SLOTS_MIN;
    r->slots = array_new(SLOTS_MIN, sizeof *r->slots);
    return r;
}

void recent_free(struct recent *r) {
    if (r == NULL)
        return;
    free(r->changes);
    free(r->slots);
    free(r);
}

/* Keys are hashes of what submitters choose, so the mixing is seeded: nobody can aim at a slot. */
static uint64_t mix(const struct recent *r, const struct hash *key) {
    uint64_t a = wire_load_u64(key->byte) ^ r->seed;
    uint64_t b = wire_load_u64(key->byte + 8) + r->seed;
    uint64_t mixed = (a ^ a >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + b;
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ mixed >> 32;
}

/* The slot of the key, or the free one where it would stand. */
static struct slot *find(const struct recent *r, const struct hash *key, uint64_t mixed) {
    uint32_t tag = (uint32_t)(mixed >> 32);
    size_t at = (size_t)mixed & (r->slot_count - 1);
    for (; r->slots[at].number != 0; at = (at + 1) & (r->slot_count - 1))
        if (r->slots[at].tag == tag && hash_equal(&r->changes[r->slots[at].number - 1].key, key))
            break;
    return &r->slots[at];
}

static void put_slot(struct recent *r, size_t number) {
    const struct hash *key = &r->changes[number].key;
    uint64_t mixed = mix(r, key);
    *find(r, key, mixed) = (struct slot){(uint32_t)number + 1, (uint32_t)(mixed >> 32)};
}

static void grow_slots(struct recent *r) {
    free(r->slots);
    r->slot_count *= 4;
    r->slots = array_new(r->slot_count, sizeof *r->slots);
    for (size_t i = 0; i < r->count; i++)
        put_slot(r, i); /* of one key the last one stays */
}

void recent_put(struct recent *r, const struct map_change *change) {
    if (r->count == r->capacity) {
        r->capacity = r->capacity < SLOTS_MIN ? SLOTS_MIN : 2 * r->capacity;
        r->changes = realloc(r->changes, r->capacity * sizeof *r->changes);
        if (r->changes == NULL)
            abort();
    }
    if (2 * (r->count + 1) > r->slot_count)
        grow_slots(r);
    r->changes[r->count] = *change;
    put_slot(r, r->count++);
}

const struct map_change *recent_find(const struct recent *r, const struct hash *key) {
    const struct slot *slot = find(r, key, mix(r, key));
    return slot->number != 0 ? &r->changes[slot->number - 1] : NULL;
}

size_t recent_count(const struct recent *r) {
    return r->count;
}

const struct map_change *recent_changes(const struct recent *r) {
    return r->changes;
}
