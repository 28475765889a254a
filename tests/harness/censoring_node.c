/*
 * A validator that censors: whenever it looks for a transaction of the genesis' first submitter to
 * put into a block, it finds none. Linked with --wrap of the functions below; all else is the shipped
 * node.
 */
#include "ledger/application.h"

struct pool_entry *__real_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence);
struct pool_entry *__wrap_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence);
enum error_code __real_application_prepare(struct chain *chain, const struct pool *pool,
                                           uint64_t time_ms, struct hash *ret_hash,
                                           struct bytes *ret_block, struct error *err);
enum error_code __wrap_application_prepare(struct chain *chain, const struct pool *pool,
                                           uint64_t time_ms, struct hash *ret_hash,
                                           struct bytes *ret_block, struct error *err);

bool __real_chain_has_work(struct chain *chain, const struct pool *pool);
bool __wrap_chain_has_work(struct chain *chain, const struct pool *pool);

static bool looks_for_work;

struct pool_entry *__wrap_pool_find(const struct pool *pool, uint32_t submitter,
                                    uint64_t sequence) {
    return looks_for_work && submitter == 0 ? NULL : __real_pool_find(pool, submitter, sequence);
}

enum error_code __wrap_application_prepare(struct chain *chain, const struct pool *pool,
                                           uint64_t time_ms, struct hash *ret_hash,
                                           struct bytes *ret_block, struct error *err) {
    looks_for_work = true;
    enum error_code code =
        __real_application_prepare(chain, pool, time_ms, ret_hash, ret_block, err);
    looks_for_work = false;
    return code;
}

bool __wrap_chain_has_work(struct chain *chain, const struct pool *pool) {
    looks_for_work = true;
    bool some = __real_chain_has_work(chain, pool);
    looks_for_work = false;
    return some;
}
