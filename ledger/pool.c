#include "ledger/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

enum { SUBMITTER_AT = 36, SEQUENCE_AT = 68, HEAD_BYTES = 76 };

struct ring {
    uint64_t next; /* the chain's next sequence */
    uint64_t end;  /* one past the highest that is here; next where none is */
    size_t count;
    size_t bytes;
    uint64_t used_ms; /* when the last entry came */
    struct pool_entry *slot; /* POOL_WINDOW, by sequence; made with the first entry */
};

struct pool {
    uint32_t submitters;
    size_t count;
    size_t bytes;
    uint32_t ready; /* rings whose next sequence is here */
    struct ring *rings;
};

static void grow(struct pool *pool, uint32_t submitters) {
    if (submitters <= pool->submitters)
        return;
    pool->rings = realloc(pool->rings, submitters * sizeof *pool->rings);
    if (pool->rings == NULL)
        abort();
    for (uint32_t i = pool->submitters; i < submitters; i++)
        pool->rings[i] = (struct ring){.next = 1, .end = 1};
    pool->submitters = submitters;
}

struct pool *pool_new(const struct members *members) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        abort();
    grow(pool, members->submitter_count);
    return pool;
}

static void entry_done(struct pool_entry *entry) {
    while (entry->waiters != NULL) {
        struct pool_waiter *next = entry->waiters->next;
        free(entry->waiters);
        entry->waiters = next;
    }
    checked_transaction_free(entry->checked);
    *entry = (struct pool_entry){0};
}

void pool_free(struct pool *pool) {
    if (pool == NULL)
        return;
    for (uint32_t i = 0; i < pool->submitters; i++) {
        struct ring *ring = &pool->rings[i];
        for (size_t j = 0; ring->slot != NULL && j < POOL_WINDOW; j++)
            entry_done(&ring->slot[j]);
        free(ring->slot);
    }
    free(pool->rings);
    free(pool);
}

static bool ring_ready(const struct ring *ring) {
    return ring->slot != NULL && ring->slot[ring->next % POOL_WINDOW].checked != NULL;
}

enum pool_result pool_add(struct pool *pool, struct checked_transaction *checked,
                          uint64_t now_ms, uint64_t height, struct pool_entry **ret_entry) {
    assert(checked->submitter < pool->submitters);
    struct ring *ring = &pool->rings[checked->submitter];
    uint64_t sequence = checked->tx.sequence;
    if (sequence < ring->next)
        return POOL_OLD;
    if (sequence - ring->next >= POOL_WINDOW || checked->len > POOL_BYTES_MAX - pool->bytes ||
        checked->len > POOL_SUBMITTER_BYTES_MAX - ring->bytes)
        return POOL_FULL;
    if (ring->slot == NULL) {
        ring->slot = calloc(POOL_WINDOW, sizeof *ring->slot);
        if (ring->slot == NULL)
            return POOL_FULL;
    }
    struct pool_entry *entry = &ring->slot[sequence % POOL_WINDOW];
    if (entry->checked != NULL) {
        bool same = bytes_equal(bytes_of(entry->checked->bytes, entry->checked->len),
                                bytes_of(checked->bytes, checked->len));
        *ret_entry = entry;
        return same ? POOL_KNOWN : POOL_CONFLICT;
    }
    bool is_head = sequence == ring->next;
    *entry = (struct pool_entry){.checked = checked, .added_ms = now_ms,
                                 .head_ms = is_head ? now_ms : 0, .head_height = height};
    ring->used_ms = now_ms;
    ring->count++;
    ring->bytes += checked->len;
    pool->count++;
    pool->bytes += checked->len;
    if (sequence >= ring->end)
        ring->end = sequence + 1;
    if (is_head)
        pool->ready++;
    *ret_entry = entry;
    return POOL_ADDED;
}

struct pool_entry *pool_find(const struct pool *pool, uint32_t submitter, uint64_t sequence) {
    const struct ring *ring = &pool->rings[submitter];
    if (ring->slot == NULL || sequence < ring->next || sequence - ring->next >= POOL_WINDOW)
        return NULL;
    struct pool_entry *entry = &ring->slot[sequence % POOL_WINDOW];
    return entry->checked != NULL ? entry : NULL;
}

bool pool_peek(const struct members *members, struct bytes transaction, uint32_t *ret_submitter,
               uint64_t *ret_sequence) {
    if (transaction.len < HEAD_BYTES)
        return false;
    int submitter = members_submitter_by_key(members, transaction.data + SUBMITTER_AT);
    if (submitter < 0)
        return false;
    *ret_submitter = (uint32_t)submitter;
    *ret_sequence = wire_load_u64(transaction.data + SEQUENCE_AT);
    return true;
}

/* What stands at the transaction's place: itself, another one of the same sequence, or NULL. */
static struct pool_entry *at_place(const struct pool *pool, const struct members *members,
                                   struct bytes transaction) {
    uint32_t submitter;
    uint64_t sequence;
    return pool_peek(members, transaction, &submitter, &sequence)
               ? pool_find(pool, submitter, sequence)
               : NULL;
}

static bool is_it(const struct pool_entry *entry, struct bytes transaction) {
    return bytes_equal(transaction, bytes_of(entry->checked->bytes, entry->checked->len));
}

struct pool_entry *pool_find_bytes(const struct pool *pool, const struct members *members,
                                   struct bytes transaction) {
    struct pool_entry *entry = at_place(pool, members, transaction);
    return entry != NULL && is_it(entry, transaction) ? entry : NULL;
}

struct pool_entry *pool_find_awaited(const struct pool *pool, const struct members *members,
                                     struct bytes transaction) {
    struct pool_entry *entry = at_place(pool, members, transaction);
    return entry != NULL && entry->waiters != NULL && is_it(entry, transaction) ? entry : NULL;
}

bool pool_knows(const struct pool *pool, const struct members *members, struct bytes transaction) {
    uint32_t submitter;
    uint64_t sequence;
    return pool_peek(members, transaction, &submitter, &sequence) &&
           (sequence < pool->rings[submitter].next ||
            pool_find_bytes(pool, members, transaction) != NULL);
}

void pool_advance(struct pool *pool, uint32_t submitter, uint64_t next) {
    struct ring *ring = &pool->rings[submitter];
    if (next <= ring->next)
        return;
    pool->ready -= ring_ready(ring) ? 1 : 0;
    for (uint64_t i = ring->next; i < next && i < ring->end; i++) {
        struct pool_entry *entry = &ring->slot[i % POOL_WINDOW];
        if (entry->checked == NULL)
            continue;
        ring->count--;
        ring->bytes -= entry->checked->len;
        pool->count--;
        pool->bytes -= entry->checked->len;
        entry_done(entry);
    }
    ring->next = next;
    if (ring->end < next)
        ring->end = next;
    pool->ready += ring_ready(ring) ? 1 : 0;
}

/* A ring's entries were signed with the key that the submitter had; after a removal or a new key they
 * can be in no block. */
static void purge(struct pool *pool, struct ring *ring, const uint8_t *key) {
    bool ready = ring_ready(ring);
    for (uint64_t i = ring->next; ring->slot != NULL && i < ring->end; i++) {
        struct pool_entry *entry = &ring->slot[i % POOL_WINDOW];
        if (entry->checked == NULL ||
            (key != NULL && memcmp(entry->checked->tx.submitter, key, TRANSACTION_KEY_BYTES) == 0))
            continue;
        ring->count--;
        ring->bytes -= entry->checked->len;
        pool->count--;
        pool->bytes -= entry->checked->len;
        entry_done(entry);
    }
    pool->ready -= ready && !ring_ready(ring) ? 1 : 0;
}

void pool_members(struct pool *pool, const struct members *members) {
    grow(pool, members->submitter_count);
    for (uint32_t i = 0; i < pool->submitters; i++)
        purge(pool, &pool->rings[i],
              members->submitters[i].removed ? NULL : members->submitters[i].key);
}

/* A ring takes more than a megabyte, and there may be thousands of submitters. Not at once: one that is
 * emptied by every block would be made anew for the next. */
void pool_rest(struct pool *pool, uint64_t now_ms) {
    for (uint32_t i = 0; i < pool->submitters; i++) {
        struct ring *ring = &pool->rings[i];
        if (ring->slot == NULL || ring->count > 0 || now_ms - ring->used_ms < POOL_IDLE_MS)
            continue;
        free(ring->slot);
        ring->slot = NULL;
        ring->end = ring->next;
    }
}

bool pool_waits(const struct pool *pool, uint32_t submitter) {
    return pool->rings[submitter].count > 0;
}

uint64_t pool_next(const struct pool *pool, uint32_t submitter) {
    return pool->rings[submitter].next;
}

struct pool_entry *pool_head(const struct pool *pool, uint32_t submitter, uint64_t now_ms,
                             uint64_t height) {
    struct pool_entry *entry = pool_find(pool, submitter, pool->rings[submitter].next);
    if (entry != NULL && entry->head_ms == 0) {
        entry->head_ms = now_ms;
        entry->head_height = height;
    }
    return entry;
}

bool pool_ready(const struct pool *pool) {
    return pool->ready > 0;
}

uint32_t pool_heads(const struct pool *pool) {
    return pool->ready;
}

size_t pool_count(const struct pool *pool) {
    return pool->count;
}

size_t pool_bytes(const struct pool *pool) {
    return pool->bytes;
}

size_t pool_ring_bytes(const struct pool *pool) {
    size_t rings = 0;
    for (uint32_t i = 0; i < pool->submitters; i++)
        rings += pool->rings[i].slot != NULL ? 1 : 0;
    return rings * POOL_WINDOW * sizeof(struct pool_entry);
}

struct pool_entry *pool_each(const struct pool *pool, struct pool_cursor *cursor) {
    for (; cursor->submitter < pool->submitters; cursor->submitter++, cursor->offset = 0) {
        const struct ring *ring = &pool->rings[cursor->submitter];
        while (ring->slot != NULL && ring->next + cursor->offset < ring->end) {
            uint64_t sequence = ring->next + cursor->offset++;
            struct pool_entry *entry = &ring->slot[sequence % POOL_WINDOW];
            if (entry->checked != NULL)
                return entry;
        }
    }
    return NULL;
}
