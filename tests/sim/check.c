/*
 * The checkers. They watch what leaves the nodes, so they see what a light client could be shown,
 * not only what validators believe.
 */
#include "tests/sim/world.h"

#include <stdlib.h>

enum {
    AT_TYPE = 1,
    AT_SIGNER = 2,
    AT_EPOCH = 4,
    AT_VIEW = 12,
    AT_HEIGHT = 20,
    AT_DIGEST = 28,
    BALLOT_END = 60
};

static uint64_t place_key(uint32_t signer, uint8_t type, uint64_t epoch, uint64_t view,
                          uint64_t height) {
    return ((((view * 31 + height) * 4 + type) * 32 + signer) * 16 + epoch) *
           UINT64_C(0x9e3779b97f4a7c15);
}

/* A block stands in the epoch that the block below it leaves open. */
static void check_epoch(struct world *w, const struct registered *block,
                        const struct registered *below) {
    uint64_t expected = below == NULL ? 0 : below->epoch + (below->last ? 1 : 0);
    if (block->epoch != expected)
        world_broken(w, BROKEN_EPOCH, "height %llu was certified in epoch %llu, expected %llu",
                     (unsigned long long)block->height, (unsigned long long)block->epoch,
                     (unsigned long long)expected);
}

/* Two commit certificates for one height, or a certified block whose parent is not the certified
 * one: light clients see it even where the executed chains agree. */
static void certify(struct world *w, const struct certified *c) {
    struct registered *block = world_block(w, &c->digest);
    if (c->height >= SIM_HEIGHTS_MAX)
        return;
    if (!w->has_certified_at[c->height]) {
        w->has_certified_at[c->height] = true;
        w->certified_at[c->height] = c->digest;
    } else if (!hash_equal(&w->certified_at[c->height], &c->digest)) {
        world_broken(w, BROKEN_CERTIFICATE_FORK, 
                     "two certificates for height %llu, one of view %llu",
                     (unsigned long long)c->height, (unsigned long long)c->view);
        return;
    }
    uint64_t h = c->height;
    struct registered *below = block == NULL ? NULL : world_block(w, &block->parent);
    if (block != NULL && (below != NULL || h == 1))
        check_epoch(w, block, below);
    if (block != NULL && h > 1 && w->has_certified_at[h - 1] &&
        !hash_equal(&block->parent, &w->certified_at[h - 1]))
        world_broken(w, BROKEN_CERTIFICATE_CHAIN,
                     "the certified block of height %llu is not built on that of %llu",
                     (unsigned long long)h, (unsigned long long)h - 1);
    struct registered *above = h + 1 < SIM_HEIGHTS_MAX && w->has_certified_at[h + 1]
                                   ? world_block(w, &w->certified_at[h + 1])
                                   : NULL;
    if (above != NULL && !hash_equal(&above->parent, &c->digest))
        world_broken(w, BROKEN_CERTIFICATE_CHAIN,
                     "the certified block of height %llu is not built on that of %llu",
                     (unsigned long long)h + 1, (unsigned long long)h);
}

static struct certified *commits_for(struct world *w, uint64_t epoch, uint64_t view,
                                     uint64_t height, const struct hash *digest) {
    uint64_t key;
    memcpy(&key, digest->byte, 8);
    key ^= view * 7919 + epoch;
    for (uint32_t probe = 0; probe < SIM_CERTIFIED; probe++) {
        struct certified *c = &w->commits[(key + probe) & (SIM_CERTIFIED - 1)];
        if (c->run != w->run)
            *c = (struct certified){w->run, epoch, view, height, *digest, 0};
        if (c->epoch == epoch && c->view == view && c->height == height && hash_equal(&c->digest, digest))
            return c;
    }
    abort();
}

static void count_commit(struct world *w, uint32_t signer, uint64_t epoch, uint64_t view,
                         uint64_t height, const struct hash *digest) {
    struct certified *c = commits_for(w, epoch, view, height, digest);
    uint32_t quorum = pbft_quorum(world_epoch(w, epoch)->n);
    uint32_t before = (uint32_t)__builtin_popcount(c->signers);
    c->signers |= 1u << signer;
    uint32_t after = (uint32_t)__builtin_popcount(c->signers);
    if (before < quorum && after >= quorum)
        certify(w, c);
}

/* An honest validator never signs two digests for one (type, view, height), over all its lives. */
static void check_place(struct world *w, uint32_t signer, uint8_t type, uint64_t epoch,
                        uint64_t view, uint64_t height, const struct hash *digest) {
    uint64_t key = place_key(signer, type, epoch, view, height) >> 40;
    for (uint32_t probe = 0; probe < SIM_REGISTRY; probe++) {
        struct signed_place *p = &w->places[(key + probe) & (SIM_REGISTRY - 1)];
        if (p->run != w->run) {
            *p = (struct signed_place){w->run, signer, type, epoch, view, height, *digest};
            return;
        }
        if (p->signer != signer || p->type != type || p->epoch != epoch || p->view != view ||
            p->height != height)
            continue;
        if (!hash_equal(&p->digest, digest))
            world_broken(w, BROKEN_EQUIVOCATION,
                         "honest validator %u signed two blocks: %s, view %llu, height %llu",
                         signer,
                         pbft_type_name((enum pbft_type)type), (unsigned long long)view,
                         (unsigned long long)height);
        return;
    }
}

void check_sent(struct world *w, const struct sim_instance *in, struct bytes message) {
    if (message.len < BALLOT_END)
        return;
    uint8_t type = message.data[AT_TYPE];
    if (type != PBFT_PROPOSE && type != PBFT_PREPARE && type != PBFT_COMMIT)
        return;
    uint32_t signer = (uint32_t)message.data[AT_SIGNER] << 8 | message.data[AT_SIGNER + 1];
    uint64_t epoch = wire_load_u64(message.data + AT_EPOCH);
    if (world_identity(w, epoch, signer) != in->identity)
        return;
    uint64_t view = wire_load_u64(message.data + AT_VIEW);
    uint64_t height = wire_load_u64(message.data + AT_HEIGHT);
    struct hash digest;
    memcpy(digest.byte, message.data + AT_DIGEST, HASH_BYTES);
    if (type == PBFT_COMMIT)
        count_commit(w, signer, epoch, view, height, &digest);
    if (world_honest(w, in))
        check_place(w, in->identity, type, epoch, view, height, &digest);
}

void check_committed(struct world *w, const struct sim_instance *in,
                     const struct pbft_effect *effect) {
    uint64_t h = effect->committed.height;
    struct pbft_certificate c;
    uint64_t epoch = wire_load_u64(effect->committed.header.data + 8);
    const struct sim_epoch *list = world_epoch(w, epoch);
    /* Counted and compared here; the signatures were watched when they were sent. */
    if (list == NULL ||
        pbft_certificate_decode(effect->committed.certificate, &c, NULL) != ERROR_NONE ||
        c.epoch != epoch || c.ballot.type != PBFT_COMMIT || c.ballot.height != h ||
        !hash_equal(&c.ballot.digest, &effect->committed.digest) ||
        c.seal_count < pbft_quorum(list->n) || c.seal_count != effect->committed.seal_count) {
        world_broken(w, BROKEN_CERTIFICATE, "validator %u: the certificate of height %llu is bad",
                     in->identity, (unsigned long long)h);
        return;
    }
    struct pbft_domain domain = {{{0}}, epoch};
    struct hash statement = pbft_ballot_statement(&domain, &c.ballot);
    const struct certified *seen = commits_for(w, epoch, c.ballot.view, h, &c.ballot.digest);
    for (uint32_t i = 0; i < c.seal_count; i++) {
        uint32_t signer = c.seals[i].signer;
        bool sent = list->n == 1 || signer >= list->n || w->config.lies[list->member[signer]] != 0 ||
                    (seen->signers >> signer & 1) != 0;
        if (!sent)
            world_broken(w, BROKEN_CERTIFICATE,
                         "validator %u: a seal of %u, who never sent it, stands in the certificate "
                         "of height %llu",
                         in->identity, signer, (unsigned long long)h);
        if (!world_epoch_verify(w, epoch, signer, &statement, c.seals[i].signature))
            world_broken(w, BROKEN_CERTIFICATE,
                         "validator %u: a forged seal stands in the certificate of height %llu",
                         in->identity, (unsigned long long)h);
    }
    w->commits_seen++;
    if (!w->has_committed_at[h]) {
        w->has_committed_at[h] = true;
        w->committed_at[h] = effect->committed.digest;
        struct registered *block = world_block(w, &effect->committed.digest);
        if (block != NULL)
            check_epoch(w, block, world_block(w, &block->parent));
        if (block != NULL && block->request != 0 &&
            world_has_request(w, block->parent, block->request))
            world_broken(w, BROKEN_TWICE, "request %llu was executed twice, at height %llu too",
                         (unsigned long long)block->request, (unsigned long long)h);
        if (block != NULL && block->invalid)
            world_broken(w, BROKEN_DIVERGED, "an invalid block was committed at height %llu",
                         (unsigned long long)h);
    } else if (!hash_equal(&w->committed_at[h], &effect->committed.digest)) {
        world_broken(w, BROKEN_FORK, "validator %u committed another block at height %llu",
                     in->identity, (unsigned long long)h);
    }
}

void check_kept(struct world *w, const struct sim_instance *in, struct bytes certificate) {
    struct pbft_certificate c;
    if (pbft_certificate_decode(certificate, &c, NULL) != ERROR_NONE)
        return;
    uint32_t signer = world_index(w, c.epoch, in->identity);
    for (uint32_t i = 0; i < c.seal_count; i++)
        if (c.seals[i].signer == signer)
            count_commit(w, signer, c.epoch, c.ballot.view, c.ballot.height, &c.ballot.digest);
}

static bool verify_in_epoch(void *context, uint64_t epoch, uint32_t signer,
                            const struct hash *statement, const uint8_t *signature) {
    return world_epoch_verify(context, epoch, signer, statement, signature);
}

void check_evidence(struct world *w, const struct sim_instance *in,
                    const struct pbft_effect *effect) {
    struct pbft_evidence e;
    struct hash chain = {{0}};
    uint32_t signer = effect->evidence.signer, who = world_identity(w, in->epoch, signer);
    w->evidence_count++;
    if (pbft_evidence_check(effect->evidence.evidence, &chain, verify_in_epoch, w, &e, NULL) !=
            ERROR_NONE ||
        e.signer != signer || e.domain.epoch != in->epoch) {
        world_broken(w, BROKEN_ACCUSED, "evidence that does not verify, against %u", signer);
        return;
    }
    w->evidence_against |= 1u << who;
    if (w->config.lies[who] == 0)
        world_broken(w, BROKEN_ACCUSED, "evidence against the honest validator %u", who);
}
