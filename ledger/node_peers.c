/* The node's side of the mesh: votes, transactions, and blocks for those who lag. */
#include "ledger/node_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"

static const char *peer_name(const struct node *node, uint32_t peer) {
    if (peer == MESH_FORMER_PEER)
        return "(former)"; /* its address stands in the reason */
    if (peer < node->members->validator_count)
        return node->members->validators[peer].name;
    uint32_t source = peer - MESH_SOURCE_FIRST;
    if (peer >= MESH_SOURCE_FIRST)
        return source < node->settings->source_count ? node->settings->sources[source].name : "?";
    uint32_t observer = peer - MESH_OBSERVER_FIRST;
    return observer < node->members->observer_count ? node->members->observers[observer].name : "?";
}

void node_send(struct node *node, uint32_t to, enum mesh_lane lane, enum node_message kind,
               struct bytes body) {
    if (node->mesh == NULL)
        return;
    SCOPED_BUFFER struct buffer message;
    buffer_init(&message, lane == MESH_VOTES ? (size_t)MESH_VOTE_BYTES_MAX
                                             : (size_t)MESH_BULK_BYTES_MAX);
    wire_u8(&message, (uint8_t)kind);
    wire_fixed(&message, body.data, body.len);
    if (message.failed)
        return; /* the core's largest messages go by the bulk lane, which takes them */
    if (to == PBFT_EVERYBODY)
        (void)mesh_broadcast(node->mesh, lane, buffer_bytes(&message));
    else
        /* What does not get through is asked for, or sent again by the core. */
        (void)!mesh_send(node->mesh, to, lane, buffer_bytes(&message));
}

/* Blocks for those who lag, and for us when we do. */

static void on_get_blocks(struct node *node, uint32_t peer, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    uint64_t first = wire_read_u64(&r);
    uint32_t count = wire_read_u32(&r);
    if (!wire_read_end(&r) || first == 0 || count > NODE_FETCH_BLOCKS)
        return;
    size_t sent = 0;
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_init(&certificate, STORE_CERTIFICATE_BYTES_MAX);
    buffer_init(&answer, MESH_BULK_BYTES_MAX);
    for (uint64_t h = first; h - first < count && h <= chain_height(node->chain) &&
                             sent < NODE_FETCH_BYTES_MAX;
         h++) {
        buffer_clear(&block);
        buffer_clear(&certificate);
        buffer_clear(&answer);
        if (application_chunk(node->chain, h, &block, &certificate, NULL) != ERROR_NONE)
            return;
        wire_bytes(&answer, buffer_bytes(&block));
        wire_bytes(&answer, buffer_bytes(&certificate));
        node_send(node, peer, MESH_BULK, NODE_BLOCK, buffer_bytes(&answer));
        sent += answer.len;
    }
}

/* A validator that was asked, and has sent nothing wrong since then; an answer may come late, when
 * others were asked meanwhile. Nodes that only our own configuration names are trusted so far. */
static bool was_asked(const struct node *node, uint32_t peer) {
    return peer < GENESIS_VALIDATORS_MAX ? node->fetch.asked_of[peer] : peer >= MESH_SOURCE_FIRST;
}

/* A block by transfer: only its framing and roots are looked at here; the core judges the
 * certificate, whoever sent it. */
static void on_block(struct node *node, uint32_t peer, struct bytes body) {
    if (!was_asked(node, peer))
        return;
    struct wire_reader r = wire_reader(body);
    struct bytes raw = wire_read_bytes(&r, BLOCK_BYTES_MAX);
    struct bytes certificate = wire_read_bytes(&r, PBFT_CERTIFICATE_BYTES_MAX);
    struct block block;
    if (!wire_read_end(&r) || block_decode(raw, &block, NULL) != ERROR_NONE)
        return;
    uint64_t next =
        (node->fetch.fed > chain_height(node->chain) ? node->fetch.fed
                                                     : chain_height(node->chain)) + 1;
    if (block.header.height != next || next > node->fetch.asked_to ||
        node->event_count > NODE_EVENTS_MAX / 2)
        return;
    if (!block_entries_fit(raw)) {
        node_refuse_transfer(node, peer, next, "its entries are not what its header binds");
        return;
    }
    struct hash digest = block_hash(&block.header);
    struct payload *kept = payloads_keep(node->payloads, PAYLOAD_OWN, &digest, next, raw);
    if (kept == NULL)
        return; /* it is asked for again when those before it are done */
    kept->transferred = true;
    node->fetch.fed = next;
    node->fetch.bytes += body.len;
    if (node->fetch.to == 0) { /* there is more after all: whoever was asked is far away, or busy */
        node->fetch.to = node->fetch.asked_to;
        node->fetch.beyond = true;
    }
    if (node->fetch.beyond)
        node->fetch.asked_ms = node_now_ms(); /* what else was asked for is on its way, too */
    struct pbft_event event = {.kind = PBFT_EVENT_BLOCK};
    node_event(node, &event, bytes_of(raw.data, BLOCK_HEADER_BYTES), certificate)->from = peer;
}

/* The next peer that is up, of the validators and of those that the configuration names. */
static void next_source(struct node *node) {
    uint32_t validators = node->members->validator_count;
    uint32_t count = validators + (uint32_t)node->settings->source_count;
    uint32_t at = node->fetch.from < validators          ? node->fetch.from
                  : node->fetch.from >= MESH_SOURCE_FIRST ? node->fetch.from - MESH_SOURCE_FIRST +
                                                               validators
                                                         : 0;
    for (uint32_t i = 1; i <= count; i++) {
        uint32_t next = (at + i) % count;
        node->fetch.from = next < validators ? next : next - validators + MESH_SOURCE_FIRST;
        if (mesh_is_up(node->mesh, node->fetch.from))
            break;
    }
    node->fetch.from_since_ms = node_now_ms();
}

/* What it sent above goes too: forged blocks never become committed, and would stay for ever. Of many by
 * one peer the first of each power of two is logged: it may be the only one that is up, and lie with
 * each answer. */
void node_refuse_transfer(struct node *node, uint32_t peer, uint64_t height, const char *what) {
    uint64_t *count = peer < GENESIS_VALIDATORS_MAX ? &node->fetch.refused[peer]
                                                    : &node->fetch.refused_sources;
    if (log_is_due(++*count))
        log_event(LOG_LEVEL_WARNING, "transfer-refused", "peer", peer_name(node, peer), "height",
                  log_u64(height), "what", what, "count", log_u64(*count), NULL);
    if (peer < GENESIS_VALIDATORS_MAX)
        node->fetch.asked_of[peer] = false;
    payloads_drop_transferred(node->payloads, height);
    if (node->fetch.from == peer)
        next_source(node);
    node->fetch.fed = height - 1;
    if (node->fetch.from != peer)
        node->fetch.asked_ms = 0; /* the next one is asked at once */
    node->fetch.height_then = 0;
}

void node_fetch_from(struct node *node, uint32_t peer, uint64_t to) {
    if (node->fetch.to == 0 || node->fetch.from != peer)
        node->fetch.from_since_ms = node_now_ms();
    node->fetch.from = peer;
    node->fetch.to = to;
    node->fetch.beyond = false;
}

void node_guess(struct node *node, uint64_t now_ms) {
    bool due = clock_wall_ms() >=
               chain_head(node->chain)->time_ms + node->genesis->parameters.empty_block_ms;
    if (node->mesh == NULL || node->fetch.to != 0 || !due ||
        (node->self != PBFT_OBSERVER && now_ms - node->count.commit_ms < NODE_QUIET_MS))
        return;
    next_source(node);
    node->fetch.to = chain_height(node->chain) + NODE_FETCH_BLOCKS;
    node->fetch.asked_to = chain_height(node->chain);
    node->fetch.beyond = true;
}

void node_fetch(struct node *node, uint64_t now_ms) {
    uint64_t height = chain_height(node->chain);
    if (node->fetch.to == 0 || node->mesh == NULL)
        return;
    if (height >= node->fetch.to) {
        /* The chain has moved on meanwhile: asking on while transfer is what moves us closes the gap
         * to where our own votes count again. */
        node->fetch.beyond = height - node->fetch.fed <= node->genesis->parameters.window;
        node->fetch.to = node->fetch.beyond ? height + NODE_FETCH_BLOCKS : 0;
    }
    /* Of big blocks no more than so much comes at once; what came is executed. */
    bool answered = height >= node->fetch.asked_to ||
                    (node->fetch.bytes >= NODE_FETCH_BYTES_MAX && height == node->fetch.fed);
    uint64_t waited_ms = now_ms - node->fetch.asked_ms;
    /* All that there was, then. The chain has moved on since by more than the window, where it is fast, and
     * what was sent of that came too early for us: to wait here is to lag for good. */
    if (node->fetch.beyond && height >= node->fetch.fed && node->fetch.fed > node->fetch.height_then &&
        waited_ms >= NODE_FETCH_PART_MS)
        answered = true;
    if (node->fetch.beyond && !answered && waited_ms >= NODE_FETCH_BEYOND_MS)
        node->fetch.to = 0; /* there is no more */
    if (node->fetch.to == 0 || (!answered && waited_ms < NODE_FETCH_ASK_MS))
        return;
    /* Who answers, but slowly, has its turn, and no more: the others may be faster. */
    if ((!answered && height == node->fetch.height_then) ||
        now_ms - node->fetch.from_since_ms >= NODE_FETCH_FROM_MS ||
        !mesh_is_up(node->mesh, node->fetch.from))
        next_source(node);
    if (node->fetch.from < GENESIS_VALIDATORS_MAX)
        node->fetch.asked_of[node->fetch.from] = true;
    node->fetch.fed = height;
    node->fetch.bytes = 0;
    node->fetch.asked_ms = now_ms;
    node->fetch.height_then = height;
    node->fetch.asked_to = height + NODE_FETCH_BLOCKS < node->fetch.to
                               ? height + NODE_FETCH_BLOCKS
                               : node->fetch.to;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, 64);
    wire_u64(&body, height + 1);
    wire_u32(&body, (uint32_t)(node->fetch.asked_to - height));
    node_send(node, node->fetch.from, MESH_BULK, NODE_GET_BLOCKS, buffer_bytes(&body));
}

/* Transactions. */

void node_flush_outgoing(struct node *node) {
    if (node->outgoing.len == 0)
        return;
    if (!node->outgoing.failed)
        node_send(node, PBFT_EVERYBODY, MESH_BULK, NODE_TRANSACTIONS,
                  buffer_bytes(&node->outgoing));
    buffer_clear(&node->outgoing);
}

/* Tells the others again of what our clients wait for: a message may be lost with its connection,
 * and a leader that does not know a transaction cannot order it. Ever more seldom: where all of it waits
 * because there is too much, saying it again makes it more. */
void node_resend(struct node *node, uint64_t now_ms) {
    if (node->mesh == NULL)
        return;
    struct pool_cursor cursor = {0, 0};
    for (struct pool_entry *e; (e = pool_each(node->pool, &cursor)) != NULL;) {
        if (e->sent_ms == 0 ||
            now_ms - e->sent_ms < (uint64_t)NODE_RESEND_MS << e->sent_again)
            continue;
        if (node->outgoing.len + e->checked->len + 4 > NODE_RESEND_BYTES_MAX)
            break;
        wire_bytes(&node->outgoing, bytes_of(e->checked->bytes, e->checked->len));
        e->sent_ms = now_ms;
        if (e->sent_again < NODE_RESEND_DOUBLED_MAX)
            e->sent_again++;
    }
    node_flush_outgoing(node);
}

/* What a peer told us of, and the leader may not have been told of before that peer died: whoever still has
 * it tells the others. Sooner than the view's timer, or we would leave the view, alone, for what nobody else
 * knows. While blocks are committed the head of a line only waits its turn. */
void node_pass_on(struct node *node, uint64_t now_ms) {
    uint64_t patience_ms = node->genesis->parameters.view_timeout_ms / 2;
    if (node->mesh == NULL || !pool_ready(node->pool) ||
        now_ms - node->count.commit_ms < patience_ms)
        return;
    for (uint32_t i = 0; i < node->members->submitter_count; i++) {
        struct pool_entry *e = pool_find(node->pool, i, pool_next(node->pool, i));
        if (e == NULL || e->sent_ms != 0 || now_ms - e->added_ms < patience_ms)
            continue;
        if (node->outgoing.len + e->checked->len + 4 > NODE_RESEND_BYTES_MAX)
            break;
        wire_bytes(&node->outgoing, bytes_of(e->checked->bytes, e->checked->len));
        e->sent_ms = now_ms; /* ours to care for from now on */
    }
    node_flush_outgoing(node);
}

/* What a peer passes on waits here, and is checked in slices, so that votes never wait behind a heap
 * of signatures. A peer that sends faster than we check is read no more until we have caught up. */

/* NULL: no peer of ours. */
static struct inbox_lane *inbox_lane(struct node *node, uint32_t peer) {
    if (peer < GENESIS_VALIDATORS_MAX)
        return &node->inbox.lanes[peer];
    uint32_t observer = peer - MESH_OBSERVER_FIRST;
    return peer >= MESH_OBSERVER_FIRST && observer < MEMBERS_OBSERVERS_MAX
               ? &node->inbox.lanes[GENESIS_VALIDATORS_MAX + observer]
               : NULL;
}

static uint32_t lane_peer(uint32_t lane) {
    return lane < GENESIS_VALIDATORS_MAX ? lane
                                         : MESH_OBSERVER_FIRST + lane - GENESIS_VALIDATORS_MAX;
}

void node_inbox_done(struct node *node) {
    for (uint32_t i = 0; i < NODE_LANES_MAX; i++)
        node->inbox.waiting -= inbox_clear(&node->inbox.lanes[i].inbox);
}

void node_inbox_epoch(struct node *node) {
    for (uint32_t i = 0; i < NODE_LANES_MAX; i++) {
        struct inbox_lane *lane = &node->inbox.lanes[i];
        if (lane->paused)
            mesh_pause(node->mesh, lane_peer(i), MESH_BULK, false);
        lane->paused = false;
        lane->answers_us = (struct budget){0};
        lane->former = lane->inbox.first != NULL;
    }
}

static void pause_bulk(struct node *node, uint32_t peer, bool paused) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    if (lane->paused == paused)
        return;
    lane->paused = paused;
    mesh_pause(node->mesh, peer, MESH_BULK, paused);
}

static void on_transactions(struct node *node, uint32_t peer, struct bytes body) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    if (lane == NULL || body.len == 0)
        return;
    if (lane->inbox.bytes >= NODE_INBOX_PEER_BYTES_MAX ||
        !inbox_add(&lane->inbox, node->inbox.came + 1, body))
        return; /* the sender tells us again of what its clients wait for */
    node->inbox.came++;
    node->inbox.waiting++;
    if (lane->inbox.bytes >= NODE_INBOX_PEER_BYTES_MAX / 2)
        pause_bulk(node, peer, true);
}

/* True of what an honest peer may pass on and we must not keep: it is in the epoch before ours, or
 * after, whose list has the submitter's key, or another role for it. No signature was checked for it. */
static bool is_other_epochs(const struct node *node, struct bytes bytes) {
    struct transaction tx;
    const struct members *m = node->members;
    if (transaction_decode(bytes, &tx, NULL) != ERROR_NONE || !hash_equal(&tx.chain, &m->chain))
        return false;
    int by = members_submitter_by_key(m, tx.submitter);
    return by < 0 || !transaction_permitted(m->submitters[by].role, tx.type);
}

/* False where the peer sent what an honest node never passes on, having checked it itself. */
static bool take_transaction(struct node *node, struct bytes bytes, uint64_t now_ms,
                             struct error *err) {
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    if (pool_knows(node->pool, node->members, bytes))
        return true; /* here, or on the chain already: no need to check it */
    node->inbox.checked++;
    if (application_check(node->chain, bytes, &checked, err) != ERROR_NONE)
        return is_other_epochs(node, bytes);
    if (pool_add(node->pool, checked, now_ms, chain_height(node->chain), &entry) != POOL_ADDED)
        checked_transaction_free(checked);
    return true;
}

static void lane_moved(struct node *node, uint32_t peer) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    lane->former = lane->former && lane->inbox.first != NULL;
    if (lane->inbox.bytes < NODE_INBOX_PEER_BYTES_MAX / 4)
        pause_bulk(node, peer, false);
}

/* Nothing that it sent is worth a check now. */
static void refuse_peer(struct node *node, uint32_t peer, const struct error *reason) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    node->count.bad_transactions++;
    node->inbox.waiting -= inbox_clear(&lane->inbox);
    if (!lane->former)
        mesh_drop(node->mesh, peer, reason);
    lane_moved(node, peer);
}

/* One transaction of one peer. */
static void take_one(struct node *node, uint32_t peer, uint64_t now_ms) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    struct bytes bytes;
    struct error err;
    bool good = inbox_first(&lane->inbox, &bytes);
    if (!good)
        error_set(&err, ERROR_PROTOCOL, "transactions: a message that is cut short");
    else
        good = take_transaction(node, bytes, now_ms, &err);
    if (!good) {
        refuse_peer(node, peer, &err);
        return;
    }
    node->inbox.waiting -= inbox_pass(&lane->inbox);
    lane_moved(node, peer);
}

/* Of one peer's, what the proposal awaits. What is taken stays where it is: when its turn comes it is
 * known. False where the slice is used up. */
static bool take_awaited(struct node *node, uint32_t peer, const struct payload *p,
                         const uint64_t *last, uint64_t now_ms) {
    struct inbox_search search = {
        .at = inbox_lane(node, peer)->inbox.first,
        .members = node->members,
        .pool = node->pool,
        .proposal = p->order,
        .after = p->searched,
        .last = last,
    };
    while (node->inbox.checked < NODE_INBOX_SLICE) {
        struct bytes bytes;
        struct error err;
        if (!inbox_search_next(&search, &bytes))
            return true;
        if (!take_transaction(node, bytes, now_ms, &err)) {
            refuse_peer(node, peer, &err);
            return true;
        }
    }
    return false;
}

/* Looks through what waits for what the lowest proposal lacks: others' are not checked before it. */
static void take_for_proposal(struct node *node, uint64_t now_ms) {
    struct payload *p = node_waiting_proposal(node);
    if (p == NULL)
        return;
    SCOPED_FREE uint64_t *last = calloc((size_t)node->members->submitter_count + 1, sizeof *last);
    if (last == NULL)
        return;
    proposal_awaits(p->proposal, node->members, last);
    bool whole = true;
    for (uint32_t i = 0; i < NODE_LANES_MAX && whole; i++)
        whole = take_awaited(node, lane_peer(i), p, last, now_ms);
    if (whole)
        p->searched = node->inbox.came;
}

/* One of each peer in turn, so that a peer's flood waits behind nobody's transactions but its own. */
void node_take_inbox(struct node *node) {
    uint64_t now_ms = node_now_ms();
    node->inbox.checked = 0;
    take_for_proposal(node, now_ms);
    while (node->inbox.waiting > 0 && node->inbox.checked < NODE_INBOX_SLICE) {
        uint32_t lane = node->inbox.next++ % NODE_LANES_MAX;
        if (node->inbox.lanes[lane].inbox.first != NULL)
            take_one(node, lane_peer(lane), now_ms);
    }
}

/* The budget of a peer's protocol messages. A full one holds what the largest NEW-VIEW of this chain
 * costs, twice: Q VIEW-CHANGEs, each with a certificate for every height of the window and one for
 * what is committed. */

static int64_t budget_full(const struct node *node) {
    struct pbft_status status;
    pbft_status(node->pbft, &status);
    int64_t q = status.quorum;
    int64_t certificates = (int64_t)node->genesis->parameters.window + 1;
    return NODE_PEER_SIGNATURES_MIN + 2 * q * (1 + certificates * q);
}

/* A message that is not looked at is as one that was lost: whoever needs the answer sends it again. */
static void over_budget(struct node *node, uint32_t peer) {
    uint64_t count = ++node->count.over_budget;
    if (log_is_due(count))
        log_event(LOG_LEVEL_WARNING, "over-budget", "peer", peer_name(node, peer), "count",
                  log_u64(count), NULL);
}

/* Who does not vote has nothing to say here, and could be blamed for nothing. */
static void on_protocol(struct node *node, uint32_t peer, struct bytes body) {
    if (peer >= node->members->validator_count)
        return;
    struct budget *budget = &node->budgets[peer];
    if (node_holds_enough(node)) { /* the answer would wait as well, and this peer may not be why */
        node->count.over_budget++;
        return;
    }
    int64_t rate = budget_rate(NODE_PEER_SIGNATURES_PER_S, NODE_LIARS_SIGNATURES_PER_S,
                               pbft_faults(node->members->validator_count));
    if (!budget_left(budget, rate, budget_full(node), node_now_ms())) {
        over_budget(node, peer);
        return;
    }
    uint64_t before = node->signatures_asked;
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE, .message = {peer, body}};
    node_step(node, &event);
    budget_spend(budget, node->signatures_asked - before);
}

/* A few bytes ask for megabytes: without a limit one peer's questions would fill all our time. It is
 * that time which counts, so that the limit holds on a slow machine as on a fast one. Nodes that
 * only our own configuration names are trusted so far. */
static void on_question(struct node *node, uint32_t peer, struct bytes body,
                        void (*answer)(struct node *node, uint32_t peer, struct bytes body)) {
    struct inbox_lane *lane = inbox_lane(node, peer);
    const struct members *m = node->members;
    int64_t rate = budget_rate(NODE_PEER_ANSWERS_US_PER_S, NODE_LIARS_ANSWERS_US_PER_S,
                               pbft_faults(m->validator_count) + m->observer_count);
    if (lane != NULL &&
        !budget_left(&lane->answers_us, rate, NODE_ANSWERS_SAVED_S * rate, node_now_ms())) {
        over_budget(node, peer);
        return;
    }
    uint64_t began_ns = clock_monotonic_ns();
    answer(node, peer, body);
    if (lane != NULL)
        budget_spend(&lane->answers_us, (clock_monotonic_ns() - began_ns) / 1000 + 1);
}

/* Callbacks of the mesh. */

static void on_message(void *context, uint32_t peer, enum mesh_lane lane, struct bytes bytes) {
    struct node *node = context;
    (void)lane;
    if (bytes.len == 0 || node->stopping)
        return;
    struct bytes body = bytes_of(bytes.data + 1, bytes.len - 1);
    switch (bytes.data[0]) {
    case NODE_PBFT:
        if (!node->doubt.open) /* as if it were lost: the core's messages are sent again */
            on_protocol(node, peer, body);
        break;
    case NODE_TRANSACTIONS:
        on_transactions(node, peer, body);
        break;
    case NODE_PAYLOAD:
        node_on_payload(node, peer, body);
        break;
    case NODE_GET_PAYLOAD:
        on_question(node, peer, body, node_on_get_payload);
        break;
    case NODE_PROPOSAL:
        node_on_proposal(node, peer, body);
        break;
    case NODE_GET_TRANSACTIONS:
        on_question(node, peer, body, node_on_get_transactions);
        break;
    case NODE_GET_BLOCKS:
        on_question(node, peer, body, on_get_blocks);
        break;
    case NODE_BLOCK:
        on_block(node, peer, body);
        break;
    case NODE_CLOCK:
        node_on_clock(node, peer, body);
        break;
    case NODE_GET_VOTES:
        on_question(node, peer, body, node_on_get_votes);
        break;
    case NODE_VOTES:
        node_on_votes(node, peer, body);
        break;
    default:
        break; /* a newer version's; the peer's votes still count */
    }
}

void node_tell_connected(struct node *node) {
    for (uint32_t i = 0; node->mesh != NULL && i < node->members->validator_count; i++) {
        struct pbft_event event = {.kind = PBFT_EVENT_CONNECTED, .connected = {i}};
        if (mesh_is_up(node->mesh, i))
            node_event(node, &event, bytes_of(NULL, 0), bytes_of(NULL, 0));
    }
}

/* How often it came up since the start: a number that grows fast tells of one that comes and goes. */
static const char *connections(const struct node *node, uint32_t peer) {
    struct mesh_stats stats;
    bool known = mesh_stats(node->mesh, peer, &stats, NULL) == ERROR_NONE;
    return log_u64(known ? stats.connections : 0);
}

static void on_peer_up(void *context, uint32_t peer, bool news) {
    struct node *node = context;
    if (news)
        log_event(LOG_LEVEL_INFO, "peer-up", "peer", peer_name(node, peer), "connections",
                  connections(node, peer), NULL);
    if (node->stopping || peer >= node->members->validator_count)
        return;
    struct pbft_event event = {.kind = PBFT_EVENT_CONNECTED, .connected = {peer}};
    (void)node_event(node, &event, bytes_of(NULL, 0), bytes_of(NULL, 0));
    if (node->inbox.lanes[peer].paused)
        mesh_pause(node->mesh, peer, MESH_BULK, true);
    node->watch.clock_told_ms = 0; /* it hears of our clock soon */
    node->doubt.asked_ms = 0;      /* and is asked for our votes */
    struct pool_cursor cursor = {0, 0}; /* it may have missed what our clients wait for */
    for (struct pool_entry *e; (e = pool_each(node->pool, &cursor)) != NULL;) {
        e->sent_ms = e->sent_ms == 0 ? 0 : 1;
        e->sent_again = 0;
    }
}

static void on_peer_down(void *context, uint32_t peer, bool news, const struct error *reason) {
    struct node *node = context;
    node->count.peer_losses++;
    if (news)
        log_event(LOG_LEVEL_WARNING, "peer-down", "peer", peer_name(node, peer), "reason",
                  reason != NULL ? reason->message : "", "connections", connections(node, peer),
                  NULL);
}

static void on_peer_trouble(void *context, uint32_t peer, const struct error *reason) {
    const struct node *node = context;
    log_event(LOG_LEVEL_WARNING, "peer-trouble", "peer", peer_name(node, peer), "reason",
              reason != NULL ? reason->message : "", NULL);
}

static void on_stranger(void *context, const char *address, const struct error *reason) {
    struct node *node = context;
    uint64_t count = ++node->count.strangers;
    if (log_is_due(count))
        log_event(LOG_LEVEL_WARNING, "stranger", "address", address, "reason",
                  reason != NULL ? reason->message : "", "count", log_u64(count), NULL);
}

/* The address that the configuration has for a node stands for that of the list. */
static const struct node_source *source_of(const struct node *node, const char *name) {
    for (size_t i = 0; i < node->settings->source_count; i++)
        if (strcmp(node->settings->sources[i].name, name) == 0)
            return &node->settings->sources[i];
    return NULL;
}

/* The validators of the list, and those of the configuration that are not in it: a list that is long
 * past may name no key that still lets us in. */
static size_t list_peers(const struct node *node, struct mesh_peer *ret_peers) {
    const struct members *m = node->members;
    size_t count = 0;
    for (uint32_t i = 0; i < m->validator_count; i++) {
        const struct member_node *v = &m->validators[i];
        const struct node_source *source = source_of(node, v->name);
        bool moved = source != NULL && (!source->pinned || hash_equal(&source->pin, &v->tls_pin));
        ret_peers[count++] = (struct mesh_peer){i, moved ? source->address : v->address,
                                                v->tls_pin, moved && source->pinned};
    }
    for (uint32_t i = 0; i < node->settings->source_count; i++) {
        const struct node_source *source = &node->settings->sources[i];
        bool listed = !source->pinned;
        for (size_t j = 0; j < count && !listed; j++)
            listed = hash_equal(&ret_peers[j].pin, &source->pin);
        if (!listed)
            ret_peers[count++] = (struct mesh_peer){MESH_SOURCE_FIRST + i, source->address,
                                                    source->pin, true};
    }
    return count;
}

static enum error_code new_mesh(struct node *node, const struct mesh_peer *peers, size_t count,
                                const struct hash *observers, struct error *err) {
    char certificate[NODE_PATH_BYTES_MAX];
    char key[NODE_PATH_BYTES_MAX];
    TRY(node_tls_paths(node, certificate, key, err));
    struct mesh_config config;
    mesh_config_defaults(&config);
    config.self = node->self;
    config.chain = node->genesis->chain;
    config.certificate_path = certificate;
    config.key_path = key;
    config.peers = peers;
    config.peer_count = count;
    config.observers = observers;
    config.observer_count = node->members->observer_count;
    config.listen = node->settings->listen;
    if (config.listen == NULL && node->self != PBFT_OBSERVER)
        config.listen = peers[node->self].address;
    config.callbacks = (struct mesh_callbacks){
        .context = node,
        .on_message = on_message,
        .on_peer_up = on_peer_up,
        .on_peer_down = on_peer_down,
        .on_peer_trouble = on_peer_trouble,
        .on_stranger = on_stranger,
    };
    return mesh_new(node->loop, &config, &node->mesh, err);
}

enum error_code node_open_mesh(struct node *node, struct error *err) {
    const struct members *m = node->members;
    SCOPED_FREE struct mesh_peer *peers =
        calloc(m->validator_count + node->settings->source_count, sizeof *peers);
    SCOPED_FREE struct hash *observers = calloc((size_t)m->observer_count + 1, sizeof *observers);
    if (peers == NULL || observers == NULL)
        return error_set(err, ERROR_NO_MEMORY, "node: no memory");
    size_t count = list_peers(node, peers);
    for (uint32_t i = 0; i < m->observer_count; i++)
        observers[i] = m->observers[i].tls_pin;
    if (node->mesh != NULL)
        return mesh_set_peers(node->mesh, node->self, peers, count, observers, m->observer_count,
                              err);
    bool alone = count == 1 && m->observer_count == 0 && node->self == 0;
    return alone ? ERROR_NONE : new_mesh(node, peers, count, observers, err);
}
