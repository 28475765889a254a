#include "ledger/payloads.h"

#include <stdlib.h>

struct payloads {
    const struct wanted *wanted;
    size_t wanted_count;
    struct payload list[PAYLOADS_MAX];
    size_t bytes;
    uint64_t order;
};

struct payloads *payloads_new(const struct wanted *wanted, size_t wanted_count) {
    struct payloads *payloads = calloc(1, sizeof *payloads);
    if (payloads == NULL)
        abort();
    payloads->wanted = wanted;
    payloads->wanted_count = wanted_count;
    return payloads;
}

void payloads_free(struct payloads *payloads) {
    if (payloads == NULL)
        return;
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        payloads_drop(payloads, &payloads->list[i]);
    free(payloads);
}

const struct wanted *payloads_wanted(const struct payloads *payloads,
                                     const struct hash *digest) {
    for (size_t i = 0; i < payloads->wanted_count; i++)
        if (payloads->wanted[i].active && hash_equal(&payloads->wanted[i].digest, digest))
            return &payloads->wanted[i];
    return NULL;
}

struct payload *payloads_find(struct payloads *payloads, const struct hash *digest) {
    const struct wanted *wanted = payloads_wanted(payloads, digest);
    struct payload *best = NULL;
    for (size_t i = 0; i < PAYLOADS_MAX; i++) {
        struct payload *p = &payloads->list[i];
        if (p->height == 0 || !hash_equal(&p->digest, digest))
            continue;
        if (p->proposal == NULL)
            return p;
        if (best == NULL || (wanted != NULL && p->from == wanted->from))
            best = p;
    }
    return best;
}

/* True where a proposal that this peer sends now says nothing new. */
static bool is_told(const struct payloads *payloads, uint32_t peer, const struct hash *digest) {
    for (size_t i = 0; i < PAYLOADS_MAX; i++) {
        const struct payload *p = &payloads->list[i];
        if (p->height != 0 && hash_equal(&p->digest, digest) &&
            (p->proposal == NULL || p->from == peer))
            return true;
    }
    return false;
}

void payloads_drop(struct payloads *payloads, struct payload *payload) {
    payloads->bytes -= payload->bytes;
    buffer_done(&payload->block);
    proposal_free(payload->proposal);
    *payload = (struct payload){.height = 0};
}

/* Nobody's proposal but the one that would be used next is kept for being wanted. */
static bool is_kept(struct payloads *payloads, const struct payload *p) {
    return p->executed || p->transferred ||
           (payloads_wanted(payloads, &p->digest) != NULL && payloads_find(payloads, &p->digest) == p);
}

static struct payload *place_for(struct payloads *payloads, uint32_t from) {
    struct payload *own = NULL;
    struct payload *oldest = NULL;
    struct payload *free_place = NULL;
    size_t own_count = 0;
    for (size_t i = 0; i < PAYLOADS_MAX; i++) {
        struct payload *p = &payloads->list[i];
        if (p->height == 0) {
            free_place = p;
            continue;
        }
        if (is_kept(payloads, p))
            continue;
        if (oldest == NULL || p->order < oldest->order)
            oldest = p;
        if (p->from != from)
            continue;
        own_count++;
        if (own == NULL || p->order < own->order)
            own = p;
    }
    if (own_count >= PAYLOADS_PEER_MAX)
        return own;
    if (free_place != NULL && payloads->bytes < PAYLOADS_BYTES_MAX)
        return free_place;
    return own != NULL ? own : oldest;
}

/* Empties the place first. */
static void fill_place(struct payloads *payloads, struct payload *place, uint32_t from,
                       const struct hash *digest, uint64_t height, size_t bytes) {
    if (place->height != 0)
        payloads_drop(payloads, place);
    place->digest = *digest;
    place->height = height;
    place->from = from;
    place->order = ++payloads->order;
    place->bytes = bytes;
    payloads->bytes += bytes;
}

struct payload *payloads_keep(struct payloads *payloads, uint32_t from, const struct hash *digest,
                              uint64_t height, struct bytes raw) {
    struct payload *place = payloads_find(payloads, digest);
    if (place != NULL && (place->executed || (place->proposal == NULL && from != PAYLOAD_OWN)))
        return place;
    if (place == NULL)
        place = place_for(payloads, from);
    if (place == NULL)
        return NULL;
    struct buffer block;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_append(&block, raw.data, raw.len);
    if (block.failed) {
        buffer_done(&block);
        return NULL;
    }
    fill_place(payloads, place, from, digest, height, raw.len);
    place->block = block;
    return place;
}

struct payload *payloads_propose(struct payloads *payloads, uint32_t from,
                                 struct proposal *proposal) {
    const struct block_header *header = proposal_header(proposal);
    struct hash digest = block_hash(header);
    struct payload *place =
        is_told(payloads, from, &digest) ? NULL : place_for(payloads, from);
    if (place == NULL) {
        proposal_free(proposal);
        return NULL;
    }
    fill_place(payloads, place, from, &digest, header->height, proposal_bytes(proposal));
    place->proposal = proposal;
    return place;
}

struct payload *payloads_whole(struct payloads *payloads, const struct hash *digest,
                               const struct pool *pool, const struct members *members) {
    struct payload *p = payloads_find(payloads, digest);
    if (p == NULL || p->proposal == NULL)
        return p;
    switch (proposal_rebuild(p->proposal, pool, members)) {
    case PROPOSAL_OTHER: /* a submitter who says one thing here and another there delays nobody */
        p->asked = true;
        p->hopeless = true;
        return NULL;
    case PROPOSAL_MISSING:
        return NULL;
    case PROPOSAL_WRONG:
        payloads_drop(payloads, p);
        return NULL;
    case PROPOSAL_WHOLE:
    default:
        break;
    }
    proposal_take(p->proposal, &p->block);
    proposal_free(p->proposal);
    p->proposal = NULL;
    payloads->bytes -= p->bytes - p->block.len; /* a proposal counts more than its block */
    p->bytes = p->block.len;
    return p;
}

void payloads_executed(struct payloads *payloads, struct payload *payload) {
    payload->executed = true;
    for (;;) {
        struct payload *oldest = payload;
        size_t count = 0;
        size_t bytes = 0;
        for (size_t i = 0; i < PAYLOADS_MAX; i++) {
            struct payload *p = &payloads->list[i];
            if (!p->executed)
                continue;
            count++;
            bytes += p->bytes;
            if (p->order < oldest->order)
                oldest = p;
        }
        if (oldest == payload ||
            (count <= PAYLOADS_EXECUTED_MAX && bytes <= PAYLOADS_EXECUTED_BYTES_MAX))
            return;
        oldest->executed = false;
    }
}

size_t payloads_durable(const struct payloads *payloads,
                        const struct payload *ret_list[PAYLOADS_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        if (payloads->list[i].executed)
            ret_list[count++] = &payloads->list[i];
    return count;
}

void payloads_drop_old(struct payloads *payloads, uint64_t height) {
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        if (payloads->list[i].height != 0 && payloads->list[i].height <= height)
            payloads_drop(payloads, &payloads->list[i]);
}

void payloads_forget_senders(struct payloads *payloads) {
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        payloads->list[i].from = PAYLOAD_OWN;
}

void payloads_drop_transferred(struct payloads *payloads, uint64_t height) {
    for (size_t i = 0; i < PAYLOADS_MAX; i++)
        if (payloads->list[i].transferred && !payloads->list[i].executed &&
            payloads->list[i].height >= height)
            payloads_drop(payloads, &payloads->list[i]);
}
