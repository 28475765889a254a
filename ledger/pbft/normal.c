/*
 * The normal case: PROPOSE, PREPARE, COMMIT (Castro and Liskov 1999, section 4.2), chained: a block
 * names its parent, and no phase of a height overtakes the same phase of the height below.
 */
#include <assert.h>

#include "ledger/pbft/internal.h"

/* ---- what a slot knows ---- */

static bool block_is(const struct slot *s, const struct hash *digest) {
    return s->has_block && hash_equal(&s->block.digest, digest);
}

static uint64_t choice_top(const struct pbft *p) {
    return p->choice.base + p->choice.count;
}

static uint32_t leader_of(const struct pbft *p, uint64_t view, uint64_t height) {
    return pbft_leader(p->config.n, p->config.rotation, view, height);
}

/* The leader's term ends where height / K changes: the window drains there, since the next leader
 * may build only on what is committed. */
static bool term_begins(const struct pbft *p, uint64_t height) {
    return p->config.rotation != 0 && height % p->config.rotation == 0;
}

/* The accepted (or committed) block below `height` in the current view; NULL: none yet, or the epoch
 * ends with it. */
static const struct block *parent_of(struct pbft *p, uint64_t height) {
    if (height == p->committed.header.height + 1)
        return pbft__ended(p) ? NULL : &p->committed;
    struct slot *below = pbft__slot(p, height - 1);
    return below != NULL && below->accepted && !below->block.header.last ? &below->block : NULL;
}

/* Whether the block with this digest at `height` is executed, or committed. */
static bool executed(struct pbft *p, uint64_t height, const struct hash *digest) {
    if (height == p->committed.header.height)
        return hash_equal(digest, &p->committed.digest);
    struct slot *s = pbft__slot(p, height);
    return s != NULL && s->execution == EXECUTION_VALID &&
           hash_equal(&s->execution_digest, digest);
}

static uint32_t count_votes(const struct pbft *p, const struct tally *tallies, uint64_t view,
                            const struct hash *digest) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->config.n; i++)
        if (tallies[i].set && tallies[i].view == view && hash_equal(&tallies[i].digest, digest))
            count++;
    return count;
}

/* The first Q matching votes, by signer: so that a certificate's size is bounded by Q. */
static uint32_t certificate_build(const struct pbft *p, const struct tally *tallies,
                                  const struct pbft_ballot *ballot, struct buffer *out) {
    struct pbft_certificate c = {.ballot = *ballot, .epoch = p->config.domain.epoch};
    for (uint32_t i = 0; i < p->config.n && c.seal_count < p->quorum; i++) {
        const struct tally *t = &tallies[i];
        if (!t->set || t->view != ballot->view || !hash_equal(&t->digest, &ballot->digest))
            continue;
        struct pbft_seal *seal = &c.seals[c.seal_count++];
        seal->signer = (uint16_t)i;
        memcpy(seal->signature, t->signature, PBFT_SIGNATURE_BYTES);
    }
    assert(c.seal_count == p->quorum);
    buffer_clear(out);
    pbft_certificate_encode(&c, out);
    assert(!out->failed);
    return c.seal_count;
}

/* ---- our own ballots ---- */

static void send_ballot(struct pbft *p, uint32_t to, enum pbft_type type, const struct slot *s,
                        const uint8_t *signature) {
    struct message m = {
        .type = type,
        .signer = (uint16_t)p->config.self,
        .epoch = p->config.domain.epoch,
        .view = p->view,
        .height = s->height,
        .digest = s->block.digest,
        .header = bytes_of(s->block.header_bytes, s->block.header_len),
    };
    memcpy(m.signature, signature, PBFT_SIGNATURE_BYTES);
    pbft__send(p, to, &m);
}

static void sign_ballot(struct pbft *p, enum pbft_type type, uint64_t height,
                        const struct hash *digest, uint8_t *ret_signature) {
    struct pbft_ballot ballot = {type, p->view, height, *digest};
    struct hash statement = pbft_ballot_statement(&p->config.domain, &ballot);
    pbft__sign(p, &statement, ret_signature);
}

static void tally_own(struct pbft *p, struct tally *tallies, const struct hash *digest,
                      const uint8_t *signature) {
    struct tally *own = &tallies[p->config.self];
    own->set = true;
    own->view = p->view;
    own->digest = *digest;
    memcpy(own->signature, signature, PBFT_SIGNATURE_BYTES);
}

/* Signatures are deterministic and the ballots are durable, so what is sent again is the same. */
void pbft__resend_slot(struct pbft *p, struct slot *s, uint32_t to) {
    if (p->changing || !s->accepted || pbft__observer(p))
        return;
    s->resend_ms = p->now_ms + p->config.resend_ms;
    const struct hash *digest = &s->block.digest;
    const struct own_ballot *propose = &s->own_propose, *prepare = &s->own_prepare;
    if (propose->set && propose->view == p->view && hash_equal(&propose->digest, digest))
        send_ballot(p, to, PBFT_PROPOSE, s, s->proposal_signature);
    if (prepare->set && prepare->view == p->view && hash_equal(&prepare->digest, digest))
        send_ballot(p, to, PBFT_PREPARE, s, s->prepares[p->config.self].signature);
    if (s->commit_sent)
        send_ballot(p, to, PBFT_COMMIT, s, s->commits[p->config.self].signature);
}

void pbft__leave_view(struct pbft *p) {
    for (uint32_t i = 0; i < p->receive; i++) {
        struct slot *s = &p->slots[i];
        s->accepted = s->prepared = s->commit_sent = false;
        s->has_proposal_signature = false;
    }
    pbft__propose_stop(p);
    p->progress_ms = 0;
}

/* ---- execution ---- */

static void undo_from(struct pbft *p, uint64_t height) {
    bool any = false;
    uint64_t end = p->committed.header.height + p->receive;
    for (uint64_t h = height; h <= end; h++) {
        struct slot *s = pbft__slot(p, h);
        any = any || s->execution != EXECUTION_NONE;
        s->execution = EXECUTION_NONE;
    }
    if (any)
        pbft__effect(p, PBFT_EFFECT_UNDO)->undo.height = height;
    /* An offer to build on what is undone here is void. */
    if (p->propose_open && p->propose_height > height)
        pbft__propose_stop(p);
}

/* A block that Q validators committed, and that we know from its proposal only: the certificate
 * says all that accepting it would have to find out. */
static void adopt_certified(struct pbft *p, struct slot *s) {
    const struct hash *certified = &s->commit_ballot.digest;
    if (!s->has_commit_certificate || s->accepted || block_is(s, certified) || !s->has_early ||
        !hash_equal(&s->early.digest, certified))
        return;
    if (s->execution != EXECUTION_NONE && !hash_equal(&s->execution_digest, certified))
        undo_from(p, s->height);
    s->block = s->early;
    s->has_block = true;
    s->source = leader_of(p, s->early_view, s->height);
    s->has_early = false;
}

/* Asks for the execution of a block that we mean to vote for, or that Q validators committed. */
static void execute(struct pbft *p, struct slot *s) {
    if (s->execution != EXECUTION_NONE || !s->has_block)
        return;
    bool certified = s->has_commit_certificate && block_is(s, &s->commit_ballot.digest);
    if (!s->accepted && !certified)
        return;
    if (!executed(p, s->height - 1, &s->block.header.parent))
        return;
    s->execution = EXECUTION_ASKED;
    s->execution_digest = s->block.digest;
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_EXECUTE);
    effect->execute.height = s->height;
    effect->execute.digest = s->block.digest;
    effect->execute.from = s->source;
    effect->execute.header = bytes_of(s->block.header_bytes, s->block.header_len);
    effect->execute.header = pbft__keep(p, effect->execute.header);
}

void pbft__on_executed(struct pbft *p, uint64_t height, const struct hash *digest, bool valid) {
    struct slot *s = pbft__slot(p, height);
    /* An answer that is too late: the height is committed, or the block was undone since. */
    if (s == NULL || s->execution != EXECUTION_ASKED || !hash_equal(&s->execution_digest, digest))
        return;
    s->execution = valid ? EXECUTION_VALID : EXECUTION_INVALID;
    if (valid)
        return;
    bool current = s->accepted && !p->changing;
    bool certified =
        (s->has_commit_certificate && hash_equal(&s->commit_ballot.digest, digest)) ||
        (current && height <= choice_top(p)) ||
        (current && count_votes(p, s->prepares, p->view, digest) >= p->quorum);
    if (certified) {
        struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_DIVERGED);
        effect->diverged.height = height;
        effect->diverged.digest = *digest;
    } else if (current && !pbft__observer(p)) {
        pbft__start_change(p, p->view + 1, PBFT_CAUSE_INVALID);
    }
}

/* ---- accepting a proposal ---- */

void pbft__accept(struct pbft *p, struct slot *s, const struct block *block, uint32_t source) {
    assert(block->header.height == s->height);
    if (s->execution != EXECUTION_NONE && !hash_equal(&s->execution_digest, &block->digest))
        undo_from(p, s->height);
    if (&s->block != block)
        s->block = *block;
    s->has_block = true;
    s->source = source;
    s->accepted = true;
    s->prepared = s->commit_sent = false;
    s->has_proposal_signature = false;
    s->resend_ms = p->now_ms + p->config.resend_ms;
}

static void report_equivocation(struct pbft *p, uint16_t signer, const struct pbft_ballot *a,
                                const uint8_t *a_signature, const struct pbft_ballot *b,
                                const uint8_t *b_signature) {
    struct pbft_evidence e = {.domain = p->config.domain, .signer = signer, .ballots = {*a, *b}};
    memcpy(e.signatures[0], a_signature, PBFT_SIGNATURE_BYTES);
    memcpy(e.signatures[1], b_signature, PBFT_SIGNATURE_BYTES);
    if (memcmp(a->digest.byte, b->digest.byte, HASH_BYTES) > 0) {
        e.ballots[0] = *b;
        e.ballots[1] = *a;
        memcpy(e.signatures[0], b_signature, PBFT_SIGNATURE_BYTES);
        memcpy(e.signatures[1], a_signature, PBFT_SIGNATURE_BYTES);
    }
    buffer_clear(&p->scratch);
    pbft_evidence_encode(&e, &p->scratch);
    struct bytes kept = pbft__keep(p, buffer_bytes(&p->scratch));
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_EVIDENCE);
    effect->evidence.signer = signer;
    effect->evidence.evidence = kept;
}

/* Compares a verified proposal with one that we hold of the same view. True: it is another one. */
static bool proposal_conflicts(struct pbft *p, const struct message *m, const struct hash *held,
                               const uint8_t *held_signature) {
    if (hash_equal(held, &m->digest))
        return false;
    struct pbft_ballot a = {PBFT_PROPOSE, m->view, m->height, *held};
    struct pbft_ballot b = {PBFT_PROPOSE, m->view, m->height, m->digest};
    report_equivocation(p, m->signer, &a, held_signature, &b, m->signature);
    if (!p->changing && m->view == p->view && !pbft__observer(p))
        pbft__start_change(p, p->view + 1, PBFT_CAUSE_EQUIVOCATION);
    return true;
}

void pbft__on_propose(struct pbft *p, uint32_t from, const struct message *m) {
    struct slot *s = pbft__slot(p, m->height);
    if (s == NULL || m->view < p->view)
        return;
    if (m->signer != leader_of(p, m->view, m->height)) {
        pbft__fault(p, from, "a proposal of one who is not the leader");
        return;
    }
    bool held_accepted =
        s->accepted && m->view == p->view && !p->changing && s->has_proposal_signature;
    bool held_early = s->has_early && s->early_view == m->view;
    if ((held_accepted && block_is(s, &m->digest)) ||
        (held_early && hash_equal(&s->early.digest, &m->digest)))
        return; /* known; nothing to check again */
    struct block block;
    const char *wrong = pbft__block_read(p, m->header, &block);
    if (wrong == NULL && !hash_equal(&block.digest, &m->digest))
        wrong = "a proposal's digest is not that of its header";
    if (wrong == NULL && block.header.height != m->height)
        wrong = "a proposal's height is not that of its header";
    struct pbft_ballot ballot = {PBFT_PROPOSE, m->view, m->height, m->digest};
    struct hash statement = pbft_ballot_statement(&p->config.domain, &ballot);
    if (wrong == NULL && !pbft__verify(p, m->signer, &statement, m->signature))
        wrong = "a proposal's signature is wrong";
    if (wrong != NULL) {
        pbft__fault(p, from, wrong);
        return;
    }
    if (held_accepted && proposal_conflicts(p, m, &s->block.digest, s->proposal_signature))
        return;
    if (held_early && proposal_conflicts(p, m, &s->early.digest, s->early_signature))
        return;
    /* One place a height: the current view's proposal is never pushed out by a later view's. */
    if (s->has_early && s->early_view == p->view && m->view > p->view && !p->changing)
        return;
    s->has_early = true;
    s->early_view = m->view;
    s->early = block;
    memcpy(s->early_signature, m->signature, PBFT_SIGNATURE_BYTES);
}

/* Order and drift of the block time. Only for fresh proposals: what a NEW-VIEW proposes again was
 * checked by Q validators when it was fresh. */
static bool time_is_wrong(const struct pbft *p, const struct block *block,
                          const struct block *parent) {
    uint64_t time_ms = block->header.time_ms;
    return time_ms < parent->header.time_ms ||
           (time_ms > p->wall_ms && time_ms - p->wall_ms > p->config.drift_ms_max);
}

/* Nobody is to blame for it: an honest proposal that is sent again, or that waited here, gets old. */
static bool time_is_past(const struct pbft *p, const struct block *block) {
    return p->wall_ms > block->header.time_ms &&
           p->wall_ms - block->header.time_ms > p->config.drift_ms_max;
}

/* Whether the block below was committed in a view after ours, of which we have not heard yet: what the
 * leader of our view proposed on another block was honest then. */
static bool is_overtaken(const struct pbft *p, const struct block *parent) {
    struct pbft_certificate c;
    return parent == &p->committed &&
           pbft_certificate_decode(buffer_bytes(&p->committed_certificate), &c, NULL) ==
               ERROR_NONE &&
           c.ballot.view > p->view;
}

static void accept_early(struct pbft *p, struct slot *s, const struct block *parent) {
    if (!s->has_early || s->early_view != p->view)
        return;
    /* With the window drained the parent is final, and so is the digest it must name. */
    if (term_begins(p, s->height) && parent != &p->committed)
        return;
    bool fits = hash_equal(&s->early.header.parent, &parent->digest);
    if (fits ? time_is_past(p, &s->early) : is_overtaken(p, parent)) {
        s->has_early = false;
        return;
    }
    if (!fits || time_is_wrong(p, &s->early, parent)) {
        pbft__fault(p, leader_of(p, p->view, s->height),
                    fits ? "a proposal's time is out of order or drifts too far"
                         : "a proposal's parent is not the block below it");
        s->has_early = false;
        return;
    }
    /* What we signed before a crash binds us: another block at (view, height) is refused. */
    const struct own_ballot *prepare = &s->own_prepare;
    if (prepare->set && prepare->view == p->view &&
        !hash_equal(&prepare->digest, &s->early.digest)) {
        s->has_early = false;
        return;
    }
    s->has_early = false;
    pbft__accept(p, s, &s->early, leader_of(p, p->view, s->height));
    s->has_proposal_signature = true;
    memcpy(s->proposal_signature, s->early_signature, PBFT_SIGNATURE_BYTES);
}

static void accept_what_can_be(struct pbft *p, struct slot *s) {
    if (p->changing || s->accepted)
        return;
    if (s->height <= p->choice.base)
        return; /* committed by others: it comes by transfer, with its certificate */
    const struct block *parent = parent_of(p, s->height);
    if (parent == NULL)
        return;
    if (s->height > choice_top(p)) {
        accept_early(p, s, parent);
        return;
    }
    /* Section 4.4: what the NEW-VIEW chose is the proposal of this view; nothing else is. */
    const struct block *chosen = p->choice.blocks[s->height - p->choice.base - 1];
    if (hash_equal(&chosen->header.parent, &parent->digest))
        pbft__accept(p, s, chosen, PBFT_EVERYBODY);
}

/* ---- the votes ---- */

void pbft__on_vote(struct pbft *p, uint32_t from, const struct message *m) {
    struct slot *s = pbft__slot(p, m->height);
    if (s == NULL)
        return;
    struct tally *t = &(m->type == PBFT_PREPARE ? s->prepares : s->commits)[m->signer];
    if (t->set && t->view > m->view)
        return;
    if (t->set && t->view == m->view && hash_equal(&t->digest, &m->digest))
        return; /* a duplicate costs no signature check */
    struct pbft_ballot ballot = {m->type, m->view, m->height, m->digest};
    struct hash statement = pbft_ballot_statement(&p->config.domain, &ballot);
    if (!pbft__verify(p, m->signer, &statement, m->signature)) {
        pbft__fault(p, from, "a vote's signature is wrong");
        return;
    }
    if (t->set && t->view == m->view) {
        struct pbft_ballot held = {m->type, t->view, m->height, t->digest};
        report_equivocation(p, m->signer, &held, t->signature, &ballot, m->signature);
        return; /* the first one stays counted; one validator never counts twice */
    }
    t->set = true;
    t->view = m->view;
    t->digest = m->digest;
    memcpy(t->signature, m->signature, PBFT_SIGNATURE_BYTES);
    if (m->type == PBFT_COMMIT && !s->has_commit_certificate &&
        count_votes(p, s->commits, m->view, &m->digest) >= p->quorum) {
        s->commit_ballot = ballot;
        s->commit_seal_count =
            certificate_build(p, s->commits, &ballot, &s->commit_certificate);
        s->has_commit_certificate = true;
    }
}

static void send_prepare(struct pbft *p, struct slot *s) {
    const struct own_ballot *own = &s->own_prepare;
    if (own->set && own->view == p->view) {
        /* Accepting refuses what contradicts our own PREPARE, and a NEW-VIEW of this view was
         * accepted only once: one digest for one (view, height), section 4.2. */
        assert(hash_equal(&own->digest, &s->block.digest));
        return;
    }
    if (s->height > p->committed.header.height + p->config.window)
        return;
    struct slot *below = pbft__slot(p, s->height - 1);
    if (below != NULL && !below->prepared)
        return;
    if (s->execution != EXECUTION_VALID ||
        !hash_equal(&s->execution_digest, &s->block.digest))
        return;
    s->own_prepare = (struct own_ballot){true, p->view, s->block.digest};
    pbft__persist_ballot(p, PBFT_PREPARE, &s->block);
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    sign_ballot(p, PBFT_PREPARE, s->height, &s->block.digest, signature);
    tally_own(p, s->prepares, &s->block.digest, signature);
    send_ballot(p, PBFT_EVERYBODY, PBFT_PREPARE, s, signature);
}

/* The certificate is taken the moment it is complete: a signer who goes on to a later view replaces
 * his own vote in the tally. It becomes durable before the COMMIT that builds on it. */
static void note_prepared(struct pbft *p, struct slot *s) {
    if (s->prepared || count_votes(p, s->prepares, p->view, &s->block.digest) < p->quorum)
        return;
    s->prepared = true;
    s->prepared_ballot = (struct pbft_ballot){PBFT_PREPARE, p->view, s->height, s->block.digest};
    certificate_build(p, s->prepares, &s->prepared_ballot, &s->prepared_certificate);
    s->prepared_block = s->block;
    s->has_prepared_certificate = true;
}

static void send_commit(struct pbft *p, struct slot *s) {
    if (!s->prepared || s->commit_sent)
        return;
    const struct own_ballot *own = &s->own_prepare;
    if (!own->set || own->view != p->view)
        return;
    struct slot *below = pbft__slot(p, s->height - 1);
    if (below != NULL && !below->commit_sent)
        return;
    /* Section 4.2 and 4.4: the certificate must outlive us, since the next view's choice may hang
     * on it alone. */
    assert(s->has_prepared_certificate);
    assert(s->prepared_ballot.view == p->view);
    pbft__persist_prepared(p, s);
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    sign_ballot(p, PBFT_COMMIT, s->height, &s->block.digest, signature);
    tally_own(p, s->commits, &s->block.digest, signature);
    s->commit_sent = true;
    send_ballot(p, PBFT_EVERYBODY, PBFT_COMMIT, s, signature);
    struct pbft_ballot ballot = {PBFT_COMMIT, p->view, s->height, s->block.digest};
    if (!s->has_commit_certificate &&
        count_votes(p, s->commits, p->view, &s->block.digest) >= p->quorum) {
        s->commit_ballot = ballot;
        s->commit_seal_count =
            certificate_build(p, s->commits, &ballot, &s->commit_certificate);
        s->has_commit_certificate = true;
    }
}

/* ---- commit ---- */

static void slot_reset(struct slot *s, uint64_t height, uint32_t n) {
    struct buffer prepared = s->prepared_certificate, commit = s->commit_certificate;
    struct tally *prepares = s->prepares, *commits = s->commits;
    memset(s, 0, sizeof *s);
    memset(prepares, 0, n * sizeof *prepares);
    memset(commits, 0, n * sizeof *commits);
    buffer_clear(&prepared);
    buffer_clear(&commit);
    s->height = height;
    s->prepared_certificate = prepared;
    s->commit_certificate = commit;
    s->prepares = prepares;
    s->commits = commits;
}

/* The commit certificate is the proof that this prefix is stable: it stands for the checkpoint of
 * section 4.3, and everything of this height can be forgotten. */
static void commit(struct pbft *p, const struct block *block, struct bytes certificate,
                   const struct pbft_certificate *c, bool was_executed) {
    uint64_t height = block->header.height;
    assert(height == p->committed.header.height + 1);
    assert(hash_equal(&block->header.parent, &p->committed.digest));
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_COMMITTED);
    effect->committed.height = height;
    effect->committed.view = c->ballot.view;
    effect->committed.digest = block->digest;
    effect->committed.seal_count = c->seal_count;
    effect->committed.executed = was_executed;
    effect->committed.last = block->header.last;
    effect->committed.header = bytes_of(block->header_bytes, block->header_len);
    effect->committed.header = pbft__keep(p, effect->committed.header);
    effect->committed.certificate = pbft__keep(p, certificate);
    struct bytes kept = effect->committed.certificate;

    struct slot *s = pbft__slot(p, height);
    p->committed = *block;
    buffer_clear(&p->committed_certificate);
    buffer_append(&p->committed_certificate, kept.data, kept.len);
    slot_reset(s, height + p->receive, p->config.n);
    p->attempts = 0;
    p->progress_ms = 0;
    p->fetch_ms = 0;
    if (p->propose_open && p->propose_height <= height)
        pbft__propose_stop(p);
}

/* Section 4.2: committed-local, on Q COMMITs of one view for one block, parents first. */
static bool commit_by_votes(struct pbft *p) {
    struct slot *s = pbft__slot(p, p->committed.header.height + 1);
    if (pbft__ended(p) || !s->has_commit_certificate || !block_is(s, &s->commit_ballot.digest))
        return false;
    if (s->execution != EXECUTION_VALID ||
        !hash_equal(&s->execution_digest, &s->commit_ballot.digest))
        return false;
    /* It was executed on the committed parent, so it names it. */
    assert(hash_equal(&s->block.header.parent, &p->committed.digest));
    struct pbft_certificate c = {.ballot = s->commit_ballot, .seal_count = s->commit_seal_count};
    struct block block = s->block;
    commit(p, &block, buffer_bytes(&s->commit_certificate), &c, true);
    return true;
}

void pbft__on_block(struct pbft *p, struct bytes header, struct bytes certificate) {
    struct block block;
    struct pbft_certificate c;
    const char *wrong = pbft__block_read(p, header, &block);
    if (wrong == NULL && block.header.height != p->committed.header.height + 1)
        return; /* late or early: the host hands in the next height, or what came twice */
    if (wrong == NULL)
        wrong = pbft__certificate_check(p, certificate, PBFT_COMMIT, &c);
    if (wrong == NULL && (c.ballot.height != block.header.height ||
                          !hash_equal(&c.ballot.digest, &block.digest)))
        wrong = "a transferred block's certificate is of another block";
    if (wrong != NULL) {
        pbft__fault(p, PBFT_OBSERVER, wrong);
        return;
    }
    struct slot *s = pbft__slot(p, block.header.height);
    bool same = s->execution != EXECUTION_NONE && hash_equal(&s->execution_digest, &block.digest);
    if (!hash_equal(&block.header.parent, &p->committed.digest) ||
        (same && s->execution == EXECUTION_INVALID)) {
        struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_DIVERGED);
        effect->diverged.height = block.header.height;
        effect->diverged.digest = block.digest;
        return;
    }
    bool was_executed = same && s->execution == EXECUTION_VALID;
    if (!was_executed)
        undo_from(p, block.header.height);
    commit(p, &block, certificate, &c, was_executed);
}

/* ---- proposing ---- */

void pbft__propose_stop(struct pbft *p) {
    if (!p->propose_open)
        return;
    p->propose_open = false;
    pbft__effect(p, PBFT_EFFECT_PROPOSE_STOP)->propose_stop.height = p->propose_height;
}

static void propose_offer(struct pbft *p) {
    if (p->changing || p->propose_open || pbft__observer(p))
        return;
    uint64_t committed = p->committed.header.height, height = committed + 1;
    while (height <= committed + p->config.window && pbft__slot(p, height)->accepted)
        height++;
    if (height > committed + p->config.window || height <= choice_top(p) ||
        leader_of(p, p->view, height) != p->config.self)
        return;
    if (term_begins(p, height) && height != committed + 1)
        return;
    struct slot *s = pbft__slot(p, height);
    if (s->own_propose.set && s->own_propose.view == p->view)
        return; /* at most one proposal a (view, height), whatever became of it */
    if (s->own_prepare.set && s->own_prepare.view == p->view)
        return;
    const struct block *parent = parent_of(p, height);
    if (parent == NULL || !executed(p, height - 1, &parent->digest))
        return;
    p->propose_open = true;
    p->propose_height = height;
    p->propose_parent = parent->digest;
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_PROPOSE);
    effect->propose.view = p->view;
    effect->propose.height = height;
    effect->propose.parent = parent->digest;
    effect->propose.time_ms_min = parent->header.time_ms;
}

void pbft__on_proposal(struct pbft *p, struct bytes header) {
    struct block block;
    if (!p->propose_open || pbft__block_read(p, header, &block) != NULL ||
        block.header.height != p->propose_height ||
        !hash_equal(&block.header.parent, &p->propose_parent)) {
        pbft__propose_stop(p); /* built on what is gone: advance offers anew */
        return;
    }
    p->propose_open = false;
    struct slot *s = pbft__slot(p, block.header.height);
    assert(!s->accepted);
    pbft__accept(p, s, &block, p->config.self);
    s->own_propose = (struct own_ballot){true, p->view, block.digest};
    pbft__persist_ballot(p, PBFT_PROPOSE, &block);
    sign_ballot(p, PBFT_PROPOSE, s->height, &block.digest, s->proposal_signature);
    s->has_proposal_signature = true;
    send_ballot(p, PBFT_EVERYBODY, PBFT_PROPOSE, s, s->proposal_signature);
}

/* ---- everything that the state allows ---- */

static void advance_slot(struct pbft *p, struct slot *s) {
    accept_what_can_be(p, s);
    adopt_certified(p, s);
    execute(p, s);
    if (p->changing || !s->accepted)
        return;
    if (!pbft__observer(p))
        send_prepare(p, s);
    note_prepared(p, s);
    if (!pbft__observer(p))
        send_commit(p, s);
}

void pbft__advance(struct pbft *p) {
    bool again = true;
    while (again) {
        uint64_t first = p->committed.header.height + 1;
        for (uint64_t h = first; h < first + p->receive; h++)
            advance_slot(p, pbft__slot(p, h));
        /* Each round commits a height, so the loop ends within the receive window. */
        again = commit_by_votes(p);
    }
    propose_offer(p);
}
