/* The blocks that are proposed: named to the others, made again of the pool, fetched where that fails. */
#include "ledger/node_inside.h"

#include <string.h>

#include "base/wire.h"

/* What our clients' transactions wait for goes first: it is named. */
void node_send_proposal(struct node *node, struct bytes block) {
    if (node->mesh == NULL)
        return;
    node_flush_outgoing(node);
    SCOPED_BUFFER struct buffer proposal;
    buffer_init(&proposal, PROPOSAL_BYTES_MAX);
    proposal_write(node->pool, node->members, block, &proposal);
    if (!proposal.failed)
        node_send(node, PBFT_EVERYBODY, MESH_BULK, NODE_PROPOSAL, buffer_bytes(&proposal));
}

/* Who proposed it, as the core says. */
static uint32_t proposer_of(const struct node *node, const struct hash *digest) {
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
        if (node->wanted[i].active && hash_equal(&node->wanted[i].digest, digest))
            return node->wanted[i].from;
    return PBFT_OBSERVER;
}

/* The block, or else its proposer's proposal, or else anybody's: whoever learnt of the header may send
 * a proposal that names nothing, and must not stand in the way of the leader's. */
static struct payload *find(struct node *node, const struct hash *digest) {
    struct payload *best = NULL;
    for (size_t i = 0; i < NODE_PAYLOADS_MAX; i++) {
        struct payload *p = &node->payloads[i];
        if (p->height == 0 || !hash_equal(&p->digest, digest))
            continue;
        if (p->proposal == NULL)
            return p;
        if (best == NULL || p->from == proposer_of(node, digest))
            best = p;
    }
    return best;
}

/* True where a proposal that this peer sends now says nothing new. */
static bool is_told(const struct node *node, uint32_t peer, const struct hash *digest) {
    for (size_t i = 0; i < NODE_PAYLOADS_MAX; i++) {
        const struct payload *p = &node->payloads[i];
        if (p->height != 0 && hash_equal(&p->digest, digest) &&
            (p->proposal == NULL || p->from == peer))
            return true;
    }
    return false;
}

void node_drop_payload(struct node *node, struct payload *payload) {
    node->payload_bytes -= payload->bytes;
    buffer_done(&payload->block);
    proposal_free(payload->proposal);
    *payload = (struct payload){.height = 0};
}

/* A place for one more from this peer: a free one, or that of its own oldest, or of the oldest of
 * all peers. So one peer cannot push out what all the others sent, and nobody what we keep for the
 * core ourselves. NULL where there is none. */
static struct payload *place_for(struct node *node, uint32_t from) {
    struct payload *own = NULL;
    struct payload *oldest = NULL;
    struct payload *free_place = NULL;
    size_t own_count = 0;
    for (size_t i = 0; i < NODE_PAYLOADS_MAX; i++) {
        struct payload *p = &node->payloads[i];
        if (p->height == 0) {
            free_place = p;
            continue;
        }
        if (p->from == node->self)
            continue;
        if (oldest == NULL || p->order < oldest->order)
            oldest = p;
        if (p->from != from)
            continue;
        own_count++;
        if (own == NULL || p->order < own->order)
            own = p;
    }
    if (own_count >= NODE_PAYLOADS_PEER_MAX)
        return own;
    if (free_place != NULL && node->payload_bytes < NODE_PAYLOADS_BYTES_MAX)
        return free_place;
    return own != NULL ? own : oldest;
}

/* Empties the place first. */
static void fill_place(struct node *node, struct payload *place, uint32_t from,
                       const struct hash *digest, uint64_t height, size_t bytes) {
    if (place->height != 0)
        node_drop_payload(node, place);
    place->digest = *digest;
    place->height = height;
    place->from = from;
    place->order = ++node->payload_order;
    place->bytes = bytes;
    node->payload_bytes += bytes;
}

bool node_keep_payload(struct node *node, uint32_t from, const struct hash *digest,
                       uint64_t height, struct bytes raw) {
    struct payload *place = find(node, digest);
    if (place != NULL && place->proposal == NULL && from != node->self)
        return true;
    if (place == NULL) /* else ours stands for what a peer sent, and a block for its proposal */
        place = place_for(node, from);
    if (place == NULL)
        return false;
    struct buffer block;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_append(&block, raw.data, raw.len);
    if (block.failed) {
        buffer_done(&block);
        return false;
    }
    fill_place(node, place, from, digest, height, raw.len);
    place->block = block;
    return true;
}

void node_keep_built(struct node *node, const struct hash *digest, uint64_t height,
                     struct bytes block) {
    for (size_t i = 0; i < NODE_PAYLOADS_MAX; i++)
        if (node->payloads[i].built && node->payloads[i].height == height)
            node_drop_payload(node, &node->payloads[i]);
    if (node_keep_payload(node, node->self, digest, height, block))
        node_payload(node, digest)->built = true;
}

struct payload *node_payload(struct node *node, const struct hash *digest) {
    struct payload *p = find(node, digest);
    if (p == NULL || p->proposal == NULL)
        return p;
    switch (proposal_rebuild(p->proposal, node->pool, node->members)) {
    case PROPOSAL_OTHER: /* a submitter who says one thing here and another there delays nobody */
        p->asked = true;
        p->hopeless = true;
        return NULL;
    case PROPOSAL_MISSING:
        return NULL;
    case PROPOSAL_WRONG:
        node_drop_payload(node, p);
        return NULL;
    case PROPOSAL_WHOLE:
    default:
        break;
    }
    proposal_take(p->proposal, &p->block);
    proposal_free(p->proposal);
    p->proposal = NULL;
    node->payload_bytes += p->block.len - p->bytes;
    p->bytes = p->block.len;
    return p;
}

struct payload *node_waiting_proposal(struct node *node) {
    struct payload *lowest = NULL;
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++) {
        if (!node->wanted[i].active || node_payload(node, &node->wanted[i].digest) != NULL)
            continue;
        struct payload *p = find(node, &node->wanted[i].digest);
        if (p != NULL && p->searched < node->inbox.came &&
            (lowest == NULL || p->height < lowest->height))
            lowest = p;
    }
    return lowest;
}

static void whole_is_due(struct wanted *w, uint64_t now_ms) {
    if (w->asked == 0)
        w->asked_ms = now_ms - NODE_PAYLOAD_ASK_MS;
}

/* Once, from whoever named them. What was on its way when the proposal came, and what waits to be
 * checked, is waited for; where much is missing, or a full pool takes nothing more, the whole block is
 * what helps. True: there is nothing more to be done now. */
static bool ask_missing(struct node *node, struct wanted *w, uint64_t now_ms) {
    struct payload *p = find(node, &w->digest);
    if (p != NULL && p->hopeless)
        whole_is_due(w, now_ms);
    if (p == NULL || p->proposal == NULL || p->asked)
        return false;
    if (now_ms - p->came_ms < NODE_MISSING_ASK_MS || p->searched < p->came_after)
        return true;
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    uint32_t count = proposal_missing(p->proposal, node->pool, node->members, indexes);
    p->asked = true;
    if (count > PROPOSAL_MISSING_MAX || pool_bytes(node->pool) > POOL_BYTES_MAX / 4) {
        whole_is_due(w, now_ms);
        return false;
    }
    w->asked_ms = now_ms;
    node->count.missing_asked++;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, 64 + sizeof indexes);
    proposal_ask(p->proposal, indexes, count, &body);
    node_send(node, p->from, MESH_BULK, NODE_GET_TRANSACTIONS, buffer_bytes(&body));
    return true;
}

void node_ask_payload(struct node *node, struct wanted *w, uint64_t now_ms) {
    if (node_payload(node, &w->digest) != NULL || ask_missing(node, w, now_ms) ||
        now_ms - w->asked_ms < NODE_PAYLOAD_ASK_MS)
        return;
    w->asked_ms = now_ms;
    node->count.blocks_asked++;
    /* The proposer first, then everybody in turn: whoever prepared it has it. */
    uint32_t to = (w->from + w->asked++) % node->members->validator_count;
    if (to == node->self)
        to = (w->from + w->asked++) % node->members->validator_count;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, 64);
    wire_u64(&body, w->height);
    wire_fixed(&body, w->digest.byte, HASH_BYTES);
    node_send(node, to, MESH_BULK, NODE_GET_PAYLOAD, buffer_bytes(&body));
}

static bool is_ahead(const struct node *node, const struct block_header *header) {
    uint64_t height = chain_height(node->chain);
    return header->height > height && header->height <= height + NODE_PAYLOAD_AHEAD_MAX;
}

void node_on_payload(struct node *node, uint32_t peer, struct bytes body) {
    struct block block;
    if (block_decode(body, &block, NULL) != ERROR_NONE || !is_ahead(node, &block.header))
        return;
    struct hash digest = block_hash(&block.header);
    (void)node_keep_payload(node, peer, &digest, block.header.height, body);
}

void node_on_proposal(struct node *node, uint32_t peer, struct bytes body) {
    struct proposal *proposal = NULL;
    if (peer >= node->members->validator_count ||
        proposal_read(body, &proposal, NULL) != ERROR_NONE)
        return; /* as if it were lost: the block is asked for */
    const struct block_header *header = proposal_header(proposal);
    struct hash digest = block_hash(header);
    struct payload *place = NULL;
    if (is_ahead(node, header) && !is_told(node, peer, &digest))
        place = place_for(node, peer);
    if (place == NULL) {
        proposal_free(proposal);
        return;
    }
    fill_place(node, place, peer, &digest, header->height, proposal_bytes(proposal));
    place->proposal = proposal;
    place->came_ms = node_now_ms();
    place->came_after = node->inbox.came;
}

void node_on_get_payload(struct node *node, uint32_t peer, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    uint64_t height = wire_read_u64(&r);
    struct hash digest;
    wire_read_fixed(&r, digest.byte, HASH_BYTES);
    if (!wire_read_end(&r))
        return;
    SCOPED_BUFFER struct buffer stored;
    buffer_init(&stored, BLOCK_BYTES_MAX);
    struct payload *payload = node_payload(node, &digest);
    struct bytes block = payload != NULL ? buffer_bytes(&payload->block)
                                         : chain_executed_block(node->chain, height, &digest, &stored);
    if (block.data != NULL)
        node_send(node, peer, MESH_BULK, NODE_PAYLOAD, block);
}

void node_on_get_transactions(struct node *node, uint32_t peer, struct bytes body) {
    struct proposal_request request;
    if (proposal_request_read(body, &request, NULL) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer stored;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&stored, BLOCK_BYTES_MAX);
    buffer_init(&answer, BLOCK_BYTES_MAX);
    struct bytes block = chain_executed_block(node->chain, request.height, &request.digest, &stored);
    if (block.data != NULL)
        proposal_answer(block, &request, &answer);
    if (answer.len > 0 && !answer.failed)
        node_send(node, peer, MESH_BULK, NODE_TRANSACTIONS, buffer_bytes(&answer));
}
