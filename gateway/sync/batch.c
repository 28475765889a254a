#include "gateway/sync/batch.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 8192, /* of the set of keys; a power of two */
    TEXT_BYTES_MAX = 8 << 20,
};
_Static_assert(SLOTS >= 2 * VAULT_ITEMS_MAX, "the set stays half empty, so a probe ends");

struct sync__filling {
    struct sync__batch batch;
    struct arena *texts;
    uint16_t slots[SLOTS]; /* item + 1; 0: free */
};

enum error_code sync__filling_new(struct sync__filling **ret_filling, struct error *err) {
    struct sync__filling *f = calloc(1, sizeof *f);
    if (f != NULL)
        f->texts = arena_new(TEXT_BYTES_MAX);
    if (f == NULL || f->texts == NULL) {
        free(f);
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    }
    *ret_filling = f;
    return ERROR_NONE;
}

void sync__filling_free(struct sync__filling *f) {
    if (f == NULL)
        return;
    arena_free(f->texts);
    free(f);
}

/* FNV-1a. Keys come from the hospital's own database; a flood of colliding ones costs time in one
 * batch, nothing else. */
static uint32_t slot_of(struct bytes key) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 16777619u;
    return h & (SLOTS - 1);
}

/* The slot that has the key, or the free one where it belongs. */
static uint32_t probe(const struct sync__filling *f, struct bytes key) {
    uint32_t slot = slot_of(key);
    while (f->slots[slot] != 0 && !bytes_equal(f->batch.items[f->slots[slot] - 1].key, key))
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

bool sync__filling_has(const struct sync__filling *f, struct bytes key) {
    return f->slots[probe(f, key)] != 0;
}

enum error_code sync__filling_add(struct sync__filling *f, const struct vault_item *item,
                                  const struct hash *previous, const struct hash *mapping,
                                  struct error *err) {
    uint32_t i = f->batch.count;
    struct vault_item copy = *item;
    copy.key = arena_bytes(f->texts, item->key);
    copy.patient = item->patient.len > 0 ? arena_bytes(f->texts, item->patient)
                                         : (struct bytes){NULL, 0};
    if (copy.key.data == NULL || (item->patient.len > 0 && copy.patient.data == NULL))
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    uint32_t slot = probe(f, copy.key);
    f->batch.items[i] = copy;
    f->batch.previous[i] = *previous;
    f->batch.mapping[i] = *mapping;
    f->batch.count++;
    f->slots[slot] = (uint16_t)(i + 1);
    return ERROR_NONE;
}

struct sync__batch *sync__filling_batch(struct sync__filling *f) {
    return &f->batch;
}

void sync__filling_clear(struct sync__filling *f) {
    f->batch.count = 0;
    arena_reset(f->texts);
    memset(f->slots, 0, sizeof f->slots);
}
