/*
 * A validator that censors: whenever it looks for a transaction of the genesis' first submitter to
 * put into a block, it finds none. Linked with --wrap=pool_find; all else is the shipped node.
 */
#include "ledger/pool.h"

struct pool_entry *__real_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence);
struct pool_entry *__wrap_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence);

struct pool_entry *__wrap_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence) {
    return submitter == 0 ? NULL : __real_pool_find(pool, submitter, sequence);
}
