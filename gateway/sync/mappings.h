/*
 * The mappings that records of one table may be anchored under.
 */
#ifndef GATEWAY_SYNC_MAPPINGS_H
#define GATEWAY_SYNC_MAPPINGS_H

#include "base/arena.h"
#include "gateway/vault/vault.h"
#include "gateway/worker/worker.h"

enum { SYNC__MAPPINGS_MAX = WORKER_EARLIER_MAX };

/* As they were at a pass's start. */
struct sync__mappings {
    struct arena *arena;
    uint32_t count;
    struct hash digests[SYNC__MAPPINGS_MAX];
    struct bytes descriptions[SYNC__MAPPINGS_MAX];
    uint32_t ids[SYNC__MAPPINGS_MAX];  /* of vault_mapping */
    bool stays[SYNC__MAPPINGS_MAX];    /* the pass has left records under it */
};

MUST_CHECK enum error_code sync__mappings_load(struct sync__mappings *m, struct vault *vault,
                                               uint32_t table, struct arena *arena,
                                               struct error *err);
/* The place of a mapping among them, from 1; 0: it is none of them. */
uint8_t sync__mappings_place(const struct sync__mappings *m, uint32_t id);
/* The pass leaves a record under this mapping, as it was; 0: nobody knows under which. */
void sync__mappings_stays(struct sync__mappings *m, uint32_t id);
/* Records are going to be anchored under this mapping. */
MUST_CHECK enum error_code sync__mappings_use(const struct sync__mappings *m, struct vault *vault,
                                              uint32_t table, const struct hash *digest,
                                              struct error *err);
/* A pass under this mapping met every row: those that it left no record under go. */
MUST_CHECK enum error_code sync__mappings_passed(const struct sync__mappings *m,
                                                 struct vault *vault, uint32_t table,
                                                 const struct hash *digest, struct error *err);

#endif
