/*
 * Who is a validator in which epoch: identities (machines with their disks), their keys, and what a
 * request does that changes the list.
 */
#include "tests/sim/world.h"

/* A key: the identity, and how often it was changed. */
enum { KEY_VERSION = 256 };

uint32_t world_index(const struct world *w, uint64_t epoch, uint32_t identity) {
    const struct sim_epoch *e = world_epoch(w, epoch);
    for (uint32_t i = 0; e != NULL && i < e->n; i++)
        if (e->member[i] == identity)
            return i;
    return PBFT_OBSERVER;
}

uint32_t world_identity(const struct world *w, uint64_t epoch, uint32_t signer) {
    const struct sim_epoch *e = world_epoch(w, epoch);
    return e != NULL && signer < e->n ? e->member[signer] : PBFT_OBSERVER;
}

const struct sim_epoch *world_epoch(const struct world *w, uint64_t epoch) {
    return epoch < SIM_EPOCHS_MAX && w->epochs[epoch].n > 0 ? &w->epochs[epoch] : NULL;
}

void world_epoch_sign(const struct world *w, uint64_t epoch, uint32_t signer,
                      const struct hash *statement, uint8_t *ret_signature) {
    const struct sim_epoch *e = world_epoch(w, epoch);
    world_sign(e != NULL && signer < e->n ? e->key[signer] : UINT16_MAX, statement, ret_signature);
}

bool world_epoch_verify(const struct world *w, uint64_t epoch, uint32_t signer,
                        const struct hash *statement, const uint8_t *signature) {
    const struct sim_epoch *e = world_epoch(w, epoch);
    if (e == NULL || signer >= e->n)
        return false;
    uint8_t expected[PBFT_SIGNATURE_BYTES];
    world_sign(e->key[signer], statement, expected);
    return memcmp(expected, signature, sizeof expected) == 0;
}

static void append_member(struct sim_epoch *e, uint32_t identity, uint16_t key) {
    e->member[e->n] = (uint8_t)identity;
    e->key[e->n++] = key;
}

/* Liars, and those that can say nothing because their votes are lost: what f must cover. */
static uint32_t faulty_members(const struct world *w, const struct sim_epoch *e) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < e->n; i++)
        count += w->config.lies[e->member[i]] != 0 || (w->config.mute >> e->member[i] & 1) != 0;
    return count;
}

bool world_next_epoch(const struct world *w, uint64_t epoch, uint64_t request,
                      struct sim_epoch *ret_next) {
    const struct sim_epoch *now = world_epoch(w, epoch);
    if (request == 0 || request >= SIM_REQUESTS_MAX || now == NULL || epoch + 1 >= SIM_EPOCHS_MAX)
        return false;
    const struct sim_change *c = &w->changes_asked[request];
    struct sim_epoch next = {0};
    bool changed = false;
    uint32_t add = c->add;
    for (uint32_t i = 0; i < now->n; i++) {
        uint32_t who = now->member[i];
        add &= ~(1u << who);
        bool renewed = (c->rekey >> who & 1) != 0;
        changed = changed || renewed || (c->remove >> who & 1) != 0;
        if ((c->remove >> who & 1) == 0)
            append_member(&next, who, (uint16_t)(now->key[i] + (renewed ? KEY_VERSION : 0)));
    }
    for (uint32_t who = 0; who < w->identities; who++)
        if ((add >> who & 1) != 0) {
            append_member(&next, who, (uint16_t)who);
            changed = true;
        }
    /* The members' rules must see to it that the new list can bear its faults; here it is known who
     * is faulty. Such a request stands in its block without effect. */
    if (!changed || next.n == 0 ||
        (!w->config.above_f && faulty_members(w, &next) > pbft_faults(next.n)))
        return false;
    if (ret_next != NULL)
        *ret_next = next;
    return true;
}

void world_epoch_ended(struct world *w, uint64_t epoch, uint64_t height, uint64_t request) {
    struct sim_epoch next;
    if (epoch + 1 >= SIM_EPOCHS_MAX || w->epochs[epoch + 1].n > 0 ||
        !world_next_epoch(w, epoch, request, &next))
        return;
    next.base = height;
    w->epochs[epoch + 1] = next;
    w->last_epoch = epoch + 1;
    world_trace(w, "epoch %llu ends at height %llu; the next one has %u validators",
                (unsigned long long)epoch, (unsigned long long)height, next.n);
}
