/*
 * The batch that a pass fills: at most VAULT_ITEMS_MAX leaves, each key once.
 */
#ifndef GATEWAY_SYNC_BATCH_H
#define GATEWAY_SYNC_BATCH_H

#include "gateway/sync/sync_internal.h"

struct sync__filling;

MUST_CHECK enum error_code sync__filling_new(struct sync__filling **ret_filling,
                                             struct error *err);
void sync__filling_free(struct sync__filling *f);
bool sync__filling_has(const struct sync__filling *f, struct bytes key);
/* key and patient are copied. The batch must not be full. */
MUST_CHECK enum error_code sync__filling_add(struct sync__filling *f,
                                             const struct vault_item *item,
                                             const struct hash *previous,
                                             const struct hash *mapping, struct error *err);
struct sync__batch *sync__filling_batch(struct sync__filling *f);
void sync__filling_clear(struct sync__filling *f);

#endif
