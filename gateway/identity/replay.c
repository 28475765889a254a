#include "gateway/identity/replay.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/wire.h"

enum { ID_BYTES = 16, NONE = UINT32_MAX };

/* A shortened id: 128 bits, salted, so that nobody outside can aim at a collision. */
struct entry {
    uint8_t id[ID_BYTES];
    uint64_t until_ms;
    uint32_t next;
};

struct replay {
    uint8_t salt[HASH_BYTES];
    struct entry *entries;
    uint32_t *heads; /* of the chains, one a bucket */
    uint32_t free;   /* head of the chain of unused entries */
    uint32_t count;
    uint64_t swept_ms;
};

struct replay *replay_new(size_t entries_max) {
    struct replay *replay = calloc(1, sizeof *replay);
    if (replay == NULL)
        return NULL;
    replay->count = (uint32_t)entries_max;
    replay->entries = calloc(entries_max, sizeof *replay->entries);
    replay->heads = malloc(entries_max * sizeof *replay->heads);
    if (replay->entries == NULL || replay->heads == NULL) {
        replay_free(replay);
        return NULL;
    }
    random_bytes(replay->salt, sizeof replay->salt);
    for (uint32_t i = 0; i < replay->count; i++) {
        replay->heads[i] = NONE;
        replay->entries[i].next = i + 1 < replay->count ? i + 1 : NONE;
    }
    replay->free = 0;
    return replay;
}

void replay_free(struct replay *replay) {
    if (replay == NULL)
        return;
    free(replay->entries);
    free(replay->heads);
    free(replay);
}

/* Drops the outdated entries of a chain; returns whether id is among those that stay. */
static bool walk(struct replay *replay, uint32_t bucket, const uint8_t *id, uint64_t now_ms) {
    bool found = false;
    uint32_t *link = &replay->heads[bucket];
    while (*link != NONE) {
        struct entry *entry = &replay->entries[*link];
        if (entry->until_ms < now_ms) {
            uint32_t gone = *link;
            *link = entry->next;
            entry->next = replay->free;
            replay->free = gone;
            continue;
        }
        found = found || (id != NULL && memcmp(entry->id, id, ID_BYTES) == 0);
        link = &entry->next;
    }
    return found;
}

enum error_code replay_use(struct replay *replay, const struct hash *id, uint64_t now_ms,
                           uint64_t until_ms) {
    struct hash salted = hmac_sha256(bytes_of(replay->salt, sizeof replay->salt), hash_bytes(id));
    uint32_t bucket = wire_load_u32(salted.byte + ID_BYTES) % replay->count;
    if (walk(replay, bucket, salted.byte, now_ms))
        return ERROR_EXISTS;
    /* One sweep a second at most: with no room, a flood must not buy a walk over everything. */
    if (replay->free == NONE && now_ms >= replay->swept_ms + 1000) {
        replay->swept_ms = now_ms;
        for (uint32_t i = 0; i < replay->count; i++)
            (void)walk(replay, i, NULL, now_ms);
    }
    if (replay->free == NONE)
        return ERROR_BUSY;
    uint32_t at = replay->free;
    struct entry *entry = &replay->entries[at];
    replay->free = entry->next;
    memcpy(entry->id, salted.byte, ID_BYTES);
    entry->until_ms = until_ms;
    entry->next = replay->heads[bucket];
    replay->heads[bucket] = at;
    return ERROR_NONE;
}
