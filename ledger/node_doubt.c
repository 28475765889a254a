/*
 * Whether this validator still knows all that it signed. Its vote log may be older than its last votes
 * (a disk image was restored, the folder emptied), or another process may sign with its key (a clone).
 *
 * After a start it says nothing before Q - 1 others have told what they hold of its votes and how far
 * they are, and it is as far itself: no block can be made without so many anyway, so nobody waits longer
 * for it. Later it asks one of them every now and then. A vote of its own that its log does not account
 * for, there or in a certificate, ends its voting for this epoch: then it follows as an observer, as
 * after a lost log.
 */
#include "ledger/node_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"

bool node_may_sign(const struct node *node) {
    return !node->mute && !node->doubt.open;
}

static void answers_clear(struct node *node) {
    memset(node->doubt.answers, 0, sizeof node->doubt.answers);
    node->doubt.asked_ms = 0;
}

/* For a core that was just made. */
void node_doubt_begin(struct node *node) {
    struct pbft_status status;
    pbft_status(node->pbft, &status);
    answers_clear(node);
    bool votes = node->self != PBFT_OBSERVER && !node->mute;
    node->doubt.open = votes && !node->doubt.settled && status.quorum > 1;
    if (votes && status.quorum == 1)
        node->doubt.settled = true; /* nobody could tell */
}

void node_remember_head(struct node *node) {
    if (chain_height(node->chain) > 0)
        votes_add(node->votes, VOTES_COMMITTED, chain_head_certificate(node->chain));
}

void node_votes_forgotten(struct node *node, const char *what) {
    struct node_key *key = &node->keys[node->key_at];
    if (node->self == PBFT_OBSERVER || node->mute)
        return;
    log_event(LOG_LEVEL_ERROR, "votes-forgotten", "folder", node->settings->data, "found", what,
              "effect",
              "this node does not vote before the next epoch: its vote log is older than its votes, or "
              "another process signs with its key",
              NULL);
    key->since_ms = clock_wall_ms();
    key->founding = false;
    node_remember_key(node, key);
    node_remember_head(node);
    node->mute = true;
    node->doubt.open = false;
    node->doubt.settled = true; /* there is no doubt any more */
    node->doubt.core_stale = node->pbft != NULL;
}

/* Makes the core an observer's, where nothing of the old one waits. */
void node_doubt_settle(struct node *node) {
    struct error err;
    if (!node->doubt.core_stale || node->epoch_over || node->stopping || node->held_count > 0)
        return;
    node->doubt.core_stale = false;
    if (!node->mute)
        return; /* an epoch ended in between */
    application_undo(node->chain, chain_height(node->chain) + 1);
    node_forget_core(node);
    enum error_code code = node_new_core(node, NULL, 0, &err);
    if (code != ERROR_NONE)
        node_fail(node, code, &err);
    else
        node_tell_connected(node);
}

static void ask(struct node *node, uint32_t peer) {
    if (peer == node->self || !mesh_is_up(node->mesh, peer))
        return;
    node->doubt.answers[peer].asked = true;
    node_send(node, peer, MESH_BULK, NODE_GET_VOTES, bytes_of(NULL, 0));
}

void node_on_get_votes(struct node *node, uint32_t peer, struct bytes body) {
    if (peer >= node->members->validator_count || body.len != 0)
        return;
    SCOPED_BUFFER struct buffer votes;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&votes, MESH_BULK_BYTES_MAX / 2);
    buffer_init(&answer, MESH_BULK_BYTES_MAX);
    pbft_votes_of(node->pbft, peer, &votes);
    wire_u64(&answer, node->members->epoch);
    wire_u64(&answer, chain_height(node->chain));
    wire_fixed(&answer, votes.data, votes.len);
    if (!votes.failed)
        node_send(node, peer, MESH_BULK, NODE_VOTES, buffer_bytes(&answer));
}

/* What a peer has of our votes counts at once; how far it is, when Q - 1 have told. */
void node_on_votes(struct node *node, uint32_t peer, struct bytes body) {
    if (peer >= node->members->validator_count || !node->doubt.answers[peer].asked)
        return;
    struct node_doubt_answer *answer = &node->doubt.answers[peer];
    *answer = (struct node_doubt_answer){.asked = false};
    struct wire_reader r = wire_reader(body);
    uint64_t epoch = wire_read_u64(&r);
    uint64_t height = wire_read_u64(&r);
    for (int i = 0; !r.failed && r.at < body.data + body.len && i < PBFT_VOTES_OF_MAX; i++) {
        struct bytes message = wire_read_bytes(&r, PBFT_MESSAGE_BYTES_MAX);
        if (!r.failed && !node->mute && node->self != PBFT_OBSERVER &&
            pbft_has_forgotten(node->pbft, message))
            node_votes_forgotten(node, "a vote that another validator holds");
    }
    if (r.failed)
        return;
    answer->told = true;
    answer->epoch = epoch;
    answer->height = height;
}

/* In a block that was committed without us. */
void node_check_seal(struct node *node, struct bytes certificate) {
    if (node->self != PBFT_OBSERVER && !node->mute &&
        pbft_has_forgotten_seal(node->pbft, certificate))
        node_votes_forgotten(node, "a vote in a block's certificate");
}

static int descending(const void *a, const void *b) {
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x > *y ? -1 : *x < *y;
}

/* The height that one honest validator at least has, of those that told; false where too few did. */
static bool height_told(const struct node *node, uint64_t *ret_height) {
    uint64_t heights[GENESIS_VALIDATORS_MAX];
    uint32_t count = 0;
    uint32_t n = node->members->validator_count;
    for (uint32_t i = 0; i < n; i++)
        if (node->doubt.answers[i].told)
            heights[count++] = node->doubt.answers[i].height;
    if (count + 1 < pbft_quorum(n))
        return false;
    qsort(heights, count, sizeof heights[0], descending);
    *ret_height = heights[pbft_faults(n)];
    return true;
}

/* A founder that nobody knows a vote of, in epoch 0 with everybody who told: its log is as old as its
 * votes, and holds all those of later epochs, also where it had the first epoch's blocks by transfer. */
static void know_founder(struct node *node) {
    struct node_key *key = &node->keys[node->key_at];
    bool all = key->founding && key->since_ms != 0 && node->members->epoch == 0;
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        all = all && (!node->doubt.answers[i].told || node->doubt.answers[i].epoch == 0);
    if (!all)
        return;
    key->since_ms = 0;
    node_remember_key(node, key);
}

static void close_doubt(struct node *node) {
    know_founder(node);
    node->doubt.open = false;
    node->doubt.settled = true;
    answers_clear(node);
    log_event(LOG_LEVEL_INFO, "votes-known", "height", log_u64(chain_height(node->chain)), NULL);
    node_tell_connected(node); /* what was held back is said now */
}

static void fetch_up_to(struct node *node, uint64_t height) {
    if (node->fetch.to >= height)
        return;
    uint32_t from = node->fetch.from;
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        if (node->doubt.answers[i].told && node->doubt.answers[i].height >= height)
            from = i;
    node_fetch_from(node, from, height);
}

/* Answers of a later epoch than ours mean that we are behind: we get there, and ask anew. */
static void look(struct node *node, uint64_t now_ms) {
    uint64_t height = 0;
    bool told = height_told(node, &height);
    if (told && chain_height(node->chain) < height)
        fetch_up_to(node, height);
    else if (told) {
        close_doubt(node);
        return;
    }
    if (node->doubt.asked_ms != 0 && now_ms - node->doubt.asked_ms < NODE_DOUBT_ASK_MS)
        return;
    node->doubt.asked_ms = now_ms;
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        if (!node->doubt.answers[i].told)
            ask(node, i);
}

void node_doubt(struct node *node, uint64_t now_ms) {
    if (node->mesh == NULL || node->self == PBFT_OBSERVER || node->mute)
        return;
    if (node->doubt.open) {
        look(node, now_ms);
        return;
    }
    if (now_ms - node->doubt.asked_ms < NODE_DOUBT_LATER_MS)
        return;
    node->doubt.asked_ms = now_ms;
    ask(node, node->doubt.next++ % node->members->validator_count);
}
