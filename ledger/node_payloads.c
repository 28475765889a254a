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

struct payload *node_payload(struct node *node, const struct hash *digest) {
    return payloads_whole(node->payloads, digest, node->pool, node->members);
}

struct payload *node_waiting_proposal(struct node *node) {
    struct payload *lowest = NULL;
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++) {
        if (!node->wanted[i].active || node_payload(node, &node->wanted[i].digest) != NULL)
            continue;
        struct payload *p = payloads_find(node->payloads, &node->wanted[i].digest);
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
    struct payload *p = payloads_find(node->payloads, &w->digest);
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
    if (block_decode(body, &block, NULL) != ERROR_NONE)
        return;
    struct hash digest = block_hash(&block.header);
    const struct payload *there = payloads_find(node->payloads, &digest);
    if (payloads_wanted(node->payloads, &digest) == NULL ||
        (there != NULL && there->proposal == NULL))
        return;
    /* A changed one must not stand where the leader's proposal or the right block would. */
    if (!block_entries_fit(body)) {
        node_blame(node, peer, "a block's entries are not what its header binds");
        return;
    }
    (void)payloads_keep(node->payloads, peer, &digest, block.header.height, body);
}

void node_on_proposal(struct node *node, uint32_t peer, struct bytes body) {
    struct proposal *proposal = NULL;
    if (peer >= node->members->validator_count ||
        proposal_read(body, &proposal, NULL) != ERROR_NONE)
        return; /* as if it were lost: the block is asked for */
    if (!is_ahead(node, proposal_header(proposal))) {
        proposal_free(proposal);
        return;
    }
    struct payload *place = payloads_propose(node->payloads, peer, proposal);
    if (place == NULL)
        return;
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
    struct bytes block = chain_executed_block(node->chain, height, &digest, &stored);
    struct payload *payload = block.data != NULL ? NULL : node_payload(node, &digest);
    /* What somebody's proposal made is not vouched for before it is looked at. */
    if (payload != NULL && (payload->executed || block_entries_fit(buffer_bytes(&payload->block))))
        block = buffer_bytes(&payload->block);
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
