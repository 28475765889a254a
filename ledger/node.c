#include "ledger/node_inside.h"

#include <assert.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

enum { PATH_BYTES_MAX = 4096 };

uint64_t node_now_ms(void) {
    return clock_monotonic_ms();
}

static void stop(struct node *node) {
    node->stopping = true;
    uv_stop(node->loop);
}

void node_fail(struct node *node, enum error_code code, const struct error *err) {
    if (node->failure == ERROR_NONE) {
        node->failure = code;
        node->failure_error = *err;
        /* A write found out first, which LMDB calls EIO: how much is needed is said instead. */
        if ((code == ERROR_DISK_FULL || code == ERROR_IO) &&
            node_disk_room(node, &node->failure_error) != ERROR_NONE)
            node->failure = ERROR_DISK_FULL;
    }
    stop(node);
}

/* Events of our own. */

struct own_event *node_event(struct node *node, const struct pbft_event *event,
                             struct bytes header, struct bytes certificate) {
    assert(node->event_count < NODE_EVENTS_MAX); /* each turn steps through all there are */
    struct own_event *own =
        &node->events[(node->event_first + node->event_count++) % NODE_EVENTS_MAX];
    own->event = *event;
    buffer_init(&own->header, PBFT_HEADER_BYTES_MAX);
    buffer_init(&own->certificate, PBFT_CERTIFICATE_BYTES_MAX);
    buffer_append(&own->header, header.data, header.len);
    buffer_append(&own->certificate, certificate.data, certificate.len);
    own->from = PBFT_OBSERVER;
    return own;
}

static void plain_event(struct node *node, const struct pbft_event *event) {
    (void)node_event(node, event, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

static void executed(struct node *node, uint64_t height, const struct hash *digest, bool valid) {
    struct pbft_event event = {.kind = PBFT_EVENT_EXECUTED,
                               .executed = {height, *digest, valid}};
    plain_event(node, &event);
}

/* Effects. */

static struct held *hold(struct node *node, enum pbft_effect_kind kind, struct bytes bytes) {
    if (node->held_count == node->held_capacity) {
        node->held_capacity = node->held_capacity == 0 ? 64 : node->held_capacity * 2;
        node->held = realloc(node->held, node->held_capacity * sizeof *node->held);
        if (node->held == NULL)
            abort();
    }
    struct held *held = &node->held[node->held_count++];
    *held = (struct held){.kind = kind};
    buffer_init(&held->bytes, PBFT_MESSAGE_BYTES_MAX);
    buffer_append(&held->bytes, bytes.data, bytes.len);
    assert(!held->bytes.failed);
    node->held_bytes += sizeof *held + bytes.len;
    return held;
}

bool node_holds_enough(const struct node *node) {
    return node->held_bytes >= node->held_bytes_max;
}

static void want(struct node *node, const struct pbft_effect *effect) {
    struct wanted *free_slot = NULL;
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++) {
        struct wanted *w = &node->wanted[i];
        if (w->active && w->height == effect->execute.height)
            w->active = false; /* a later view's block for the same height */
        if (!w->active && free_slot == NULL)
            free_slot = w;
    }
    assert(free_slot != NULL); /* one a height, and the window is smaller */
    *free_slot = (struct wanted){
        .active = true,
        .height = effect->execute.height,
        .digest = effect->execute.digest,
        .from = effect->execute.from,
        .asked_ms = node_now_ms(),
    };
}

static void undo(struct node *node, uint64_t height) {
    application_undo(node->chain, height);
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
        if (node->wanted[i].height >= height)
            node->wanted[i].active = false;
}

static void log_view(struct node *node, const struct pbft_effect *effect) {
    if (effect->view.changing)
        node->count.view_changes++;
    if (effect->view.cause == PBFT_CAUSE_NONE)
        return;
    node->watch.view_changed_ms = clock_wall_ms();
    node->watch.view_since_ms = node_now_ms();
    node->watch.view_height = chain_height(node->chain);
    log_event(effect->view.changing ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "view",
              "view", log_u64(effect->view.view), "state",
              effect->view.changing ? "changing" : "normal", "cause",
              pbft_cause_name(effect->view.cause), "leader",
              node_validator_name(node, effect->view.leader), NULL);
}

static void log_evidence(struct node *node, const struct pbft_effect *effect) {
    node->count.evidence++;
    node_keep_evidence(node, effect->evidence.evidence);
    uint64_t count = ++node->equivocations[effect->evidence.signer];
    if (!log_is_due(count)) /* who is not expelled for it, or not yet, may go on */
        return;
    SCOPED_BUFFER struct buffer hex;
    buffer_init(&hex, 2 * PBFT_EVIDENCE_BYTES + 1);
    if (effect->evidence.evidence.len <= PBFT_EVIDENCE_BYTES &&
        buffer_reserve(&hex, 2 * effect->evidence.evidence.len + 1) != NULL)
        text_hex(effect->evidence.evidence.data, effect->evidence.evidence.len, (char *)hex.data);
    log_event(LOG_LEVEL_ERROR, "equivocation", "validator",
              node_validator_name(node, effect->evidence.signer), "evidence",
              hex.data != NULL ? (const char *)hex.data : "", "count", log_u64(count), NULL);
}

void node_blame(struct node *node, uint32_t peer, const char *what) {
    uint64_t count = ++node->count.faults;
    if (log_is_due(count))
        log_event(LOG_LEVEL_WARNING, "fault", "peer", node_validator_name(node, peer), "what", what,
                  "count", log_u64(count), NULL);
    struct error reason;
    error_set(&reason, ERROR_PROTOCOL, "%s", what);
    if (node->mesh != NULL && peer < node->members->validator_count)
        mesh_drop(node->mesh, peer, &reason);
}

static void log_fault(struct node *node, const struct pbft_effect *effect) {
    uint32_t from = effect->fault.from;
    if (from == PBFT_OBSERVER && node->fetch.block_from != PBFT_OBSERVER) {
        struct pbft_status status;
        pbft_status(node->pbft, &status);
        from = node->fetch.block_from;
        node_refuse_transfer(node, from, status.committed + 1, effect->fault.what);
    }
    node_blame(node, from, effect->fault.what);
}

static void diverged(struct node *node, uint64_t height, const char *what) {
    struct error err;
    error_set(&err, ERROR_CORRUPT,
              "block %llu: Q validators certified what is invalid here: %s",
              (unsigned long long)height, what);
    error_hint(&err, "this node's disk or program differs from the others'; keep its data folder "
                     "and set the node up anew");
    node_fail(node, ERROR_CORRUPT, &err);
}

/* What is committed by transfer must outlive a power cut as well. */
static void keep_transferred(struct node *node, const struct hash *digest) {
    const struct payload *payload = node_payload(node, digest);
    if (payload != NULL)
        votes_add(node->votes, VOTES_PAYLOAD, buffer_bytes(&payload->block));
}

static void take_effect(struct node *node, const struct pbft_effect *effect) {
    struct held *held;
    switch (effect->kind) {
    case PBFT_EFFECT_PERSIST:
        votes_add(node->votes, VOTES_RECORD, effect->persist.record);
        break;
    case PBFT_EFFECT_SEND:
        held = hold(node, effect->kind, effect->send.message);
        held->peer = effect->send.to;
        held->lane = effect->send.lane;
        break;
    case PBFT_EFFECT_COMMITTED:
        /* The core's later records stand on this block, and segments are not synced with them. */
        if (!effect->committed.executed) /* else it was kept when it was executed */
            keep_transferred(node, &effect->committed.digest);
        votes_add(node->votes, VOTES_COMMITTED, effect->committed.certificate);
        held = hold(node, effect->kind, effect->committed.certificate);
        held->first = effect->committed.height;
        held->digest = effect->committed.digest;
        held->executed = effect->committed.executed;
        held->ends = effect->committed.last;
        node->epoch_over = node->epoch_over || effect->committed.last;
        break;
    case PBFT_EFFECT_FETCH:
        held = hold(node, effect->kind, bytes_of(NULL, 0));
        held->peer = effect->fetch.from;
        held->first = effect->fetch.first;
        held->last = effect->fetch.to;
        break;
    case PBFT_EFFECT_EXECUTE:
        want(node, effect);
        break;
    case PBFT_EFFECT_UNDO:
        undo(node, effect->undo.height);
        break;
    case PBFT_EFFECT_PROPOSE:
        node->proposal.open = true;
        node->proposal.height = effect->propose.height;
        node->proposal.parent = effect->propose.parent;
        node->proposal.time_ms_min = effect->propose.time_ms_min;
        break;
    case PBFT_EFFECT_PROPOSE_STOP:
        node->proposal.open = false;
        break;
    case PBFT_EFFECT_VIEW:
        log_view(node, effect);
        break;
    case PBFT_EFFECT_EVIDENCE:
        log_evidence(node, effect);
        break;
    case PBFT_EFFECT_FAULT:
        log_fault(node, effect);
        break;
    case PBFT_EFFECT_DIVERGED:
        diverged(node, effect->diverged.height, "an executed block was judged invalid");
        break;
    }
}

void node_step(struct node *node, struct pbft_event *event) {
    struct pbft_effects effects;
    event->now_ms = node_now_ms();
    event->wall_ms = clock_wall_ms();
    pbft_step(node->pbft, event, &effects);
    for (size_t i = 0; i < effects.count; i++)
        take_effect(node, &effects.list[i]);
}

/* All there are, or those of which the effects have room; the others' turn comes after a sync. */
static void step_own(struct node *node) {
    while (node->event_count > 0 && !node->stopping && !node->epoch_over &&
           !node_holds_enough(node)) {
        struct own_event own = node->events[node->event_first];
        node->event_first = (node->event_first + 1) % NODE_EVENTS_MAX;
        node->event_count--;
        if (own.event.kind == PBFT_EVENT_PROPOSAL)
            own.event.proposal.header = buffer_bytes(&own.header);
        if (own.event.kind == PBFT_EVENT_BLOCK) {
            node_check_seal(node, buffer_bytes(&own.certificate));
            own.event.block.header = buffer_bytes(&own.header);
            own.event.block.certificate = buffer_bytes(&own.certificate);
        }
        node->fetch.block_from = own.from;
        node_step(node, &own.event);
        node->fetch.block_from = PBFT_OBSERVER;
        buffer_done(&own.header);
        buffer_done(&own.certificate);
    }
}

/* Executing what the core wants. */

/* The core may know of a commit that waits for its sync; a header speaks of the map as of a window
 * below it, so that block must be committed here, too. */
static bool is_beyond_window(const struct node *node, uint64_t height) {
    return height > chain_height(node->chain) + node->genesis->parameters.window;
}

static void execute_wanted(struct node *node, struct wanted *w) {
    struct bytes own = chain_tentative_block(node->chain, w->height, &w->digest);
    if (own.data != NULL) { /* built here, or executed in an earlier view */
        w->active = false;
        executed(node, w->height, &w->digest, true);
        return;
    }
    struct payload *payload = node_payload(node, &w->digest);
    if (payload == NULL || chain_tentative(node->chain) < w->height - 1 ||
        is_beyond_window(node, w->height))
        return;
    if (chain_tentative(node->chain) >= w->height)
        application_undo(node->chain, w->height);
    struct error err;
    struct bytes block = buffer_bytes(&payload->block);
    enum error_code code = application_process(node->chain, node->pool, block, &err);
    if (code == ERROR_VERIFY && !block_entries_fit(block)) {
        /* Whole blocks were looked at when they came: it was made of what this peer named. The leader's
         * own proposal may come yet, and else somebody is asked for the block. */
        uint32_t from = payload->from;
        payloads_drop(node->payloads, payload);
        node_blame(node, from, "a proposal names what its header does not bind");
        return;
    }
    w->active = false;
    if (code == ERROR_NONE) {
        votes_add(node->votes, VOTES_PAYLOAD, block);
        payloads_executed(node->payloads, payload);
    } else if (code != ERROR_VERIFY) {
        node_fail(node, code, &err);
        return;
    } else
        log_error(LOG_LEVEL_WARNING, "invalid-block", &err);
    executed(node, w->height, &w->digest, code == ERROR_NONE);
}

static void run_wanted(struct node *node) {
    uint64_t from = chain_height(node->chain) + 1;
    for (uint64_t height = from; height <= from + PBFT_WINDOW_MAX; height++)
        for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
            if (node->wanted[i].active && node->wanted[i].height == height)
                execute_wanted(node, &node->wanted[i]);
}

/* Committing. */

/* Sooner while the map's root lags behind the log, so that the latest version can be proved soon. */
static bool is_empty_due(const struct node *node) {
    uint64_t pause_ms = node->genesis->parameters.empty_block_ms;
    if (pause_ms > NODE_MAP_BLOCK_MS && chain_map_is_behind(node->chain))
        pause_ms = NODE_MAP_BLOCK_MS;
    return clock_wall_ms() >= chain_head(node->chain)->time_ms + pause_ms;
}

static void tell_pending(struct node *node) {
    bool pending = pool_ready(node->pool) || is_empty_due(node);
    if (pending == node->pending_told)
        return;
    node->pending_told = pending;
    struct pbft_event event = {.kind = PBFT_EVENT_PENDING, .pending = {pending}};
    plain_event(node, &event);
}

/* At a start, and when an epoch begins: whoever joins may have submitted before, under another number. In
 * between each block's own transactions say it. */
static enum error_code advance_pool(struct node *node, struct error *err) {
    for (uint32_t i = 0; i < node->members->submitter_count; i++) {
        struct state_submitter submitter;
        if (node->members->submitters[i].removed)
            continue;
        TRY(chain_submitter(node->chain, node->members->submitters[i].key, &submitter, err));
        pool_advance(node->pool, i, submitter.next_sequence);
    }
    return ERROR_NONE;
}

/* What was decided: executed here before, or by transfer, when it is executed only now; its certificate
 * was checked by the core. */
static bool finalize(struct node *node, const struct held *held,
                     struct application_result *ret_result) {
    struct error err;
    struct bytes block = chain_tentative_block(node->chain, held->first, &held->digest);
    struct payload *payload = node_payload(node, &held->digest);
    bool transferred = block.data == NULL;
    if (transferred && payload == NULL) {
        error_set(&err, ERROR_INTERNAL, "block %llu: committed by transfer without its payload",
                  (unsigned long long)held->first);
        node_fail(node, ERROR_INTERNAL, &err);
        return false;
    }
    if (transferred)
        block = buffer_bytes(&payload->block);
    enum error_code code =
        application_finalize(node->chain, node->pool, block, ret_result, &err);
    if (code == ERROR_VERIFY)
        diverged(node, held->first, err.message);
    else if (code != ERROR_NONE)
        node_fail(node, code, &err);
    node->transferred = node->transferred || transferred;
    return code == ERROR_NONE;
}

static void drop_old(struct node *node, uint64_t height) {
    payloads_drop_old(node->payloads, height);
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
        if (node->wanted[i].height <= height)
            node->wanted[i].active = false;
}

static void committed(struct node *node, const struct held *held) {
    struct error err;
    struct application_result result;
    if (!finalize(node, held, &result))
        return;
    assert(hash_equal(&result.hash, &held->digest));
    SCOPED_BUFFER struct buffer block;
    buffer_init(&block, BLOCK_BYTES_MAX);
    enum error_code code =
        application_commit(node->chain, buffer_bytes(&held->bytes), &block, &err);
    if (code == ERROR_NONE && held->executed)
        node_votes_live(node);
    node->members = chain_members(node->chain); /* others, where the epoch ended */
    if (code == ERROR_NONE)
        code = node_finish_block(node, buffer_bytes(&block), &err);
    if (code == ERROR_NONE && held->ends) {
        node_next_epoch(node);
        code = advance_pool(node, &err);
    }
    if (code != ERROR_NONE) {
        node_fail(node, code, &err);
        return;
    }
    node->count.blocks++;
    node->count.commit_ms = node_now_ms();
    drop_old(node, held->first);
}

static void emit(struct node *node, struct held *held) {
    if (held->kind == PBFT_EFFECT_SEND && (node->doubt.open || node->doubt.core_stale))
        return; /* what may be said is said again when it is known that it may */
    if (held->kind == PBFT_EFFECT_SEND)
        node_send(node, held->peer, held->lane == PBFT_LANE_VOTE ? MESH_VOTES : MESH_BULK,
                  NODE_PBFT, buffer_bytes(&held->bytes));
    else if (held->kind == PBFT_EFFECT_COMMITTED)
        committed(node, held);
    else if (held->last > node->fetch.to)
        node_fetch_from(node, held->peer, held->last);
}

/* Syncs what the steps asked to persist, then lets out what stood behind it. */
static void sync_and_emit(struct node *node) {
    struct error err;
    if (votes_dirty(node->votes)) {
        enum error_code code = ERROR_NONE;
        /* The vote log has no payload of what came by transfer: its segment must be durable before a
         * vote that stands on it is, or a power cut leaves votes whose parents are gone. */
        if (node->transferred)
            code = store_sync(chain_store(node->chain), &err);
        node->transferred = false;
        if (code == ERROR_NONE)
            code = votes_sync(node->votes, &err);
        if (code != ERROR_NONE) {
            node_fail(node, code, &err);
            return;
        }
        node->count.syncs++;
    }
    struct held *list = node->held;
    size_t count = node->held_count;
    node->held = NULL;
    node->held_count = node->held_capacity = node->held_bytes = 0;
    bool ended = false; /* what the old core said after its last block means nothing to the new one */
    for (size_t i = 0; i < count; i++) {
        if (!node->stopping && !ended)
            emit(node, &list[i]);
        ended = ended || list[i].ends;
        buffer_done(&list[i].bytes);
    }
    free(list);
}

static bool something_to_order(struct node *node) {
    if (is_empty_due(node))
        return true;
    return pool_count(node->pool) > 0 && chain_has_work(node->chain, node->pool);
}

static void try_propose(struct node *node) {
    if (!node->proposal.open || node->stopping || node->doubt.open || node->doubt.core_stale ||
        chain_tentative(node->chain) < node->proposal.height - 1 ||
        is_beyond_window(node, node->proposal.height) || !something_to_order(node))
        return;
    node->proposal.open = false;
    application_undo(node->chain, node->proposal.height); /* what an earlier view left there */
    struct error err;
    struct hash digest;
    struct bytes block;
    uint64_t time_ms = clock_wall_ms();
    if (time_ms < node->proposal.time_ms_min)
        time_ms = node->proposal.time_ms_min;
    enum error_code code =
        application_prepare(node->chain, node->pool, time_ms, &digest, &block, &err);
    if (code != ERROR_NONE) {
        node_fail(node, code, &err);
        return;
    }
    votes_add(node->votes, VOTES_PAYLOAD, block);
    /* Nobody else has it whole, and an UNDO of what an earlier view wanted at its height may drop its
     * execution before the core asks for it. */
    struct payload *built =
        payloads_keep(node->payloads, PAYLOAD_OWN, &digest, node->proposal.height, block);
    if (built != NULL)
        payloads_executed(node->payloads, built);
    node_send_proposal(node, block);
    struct pbft_event event = {.kind = PBFT_EVENT_PROPOSAL};
    node_event(node, &event, bytes_of(block.data, BLOCK_HEADER_BYTES), bytes_of(NULL, 0));
}

void node_settle(struct node *node) {
    for (int turn = 0; turn < NODE_TURNS_MAX && !node->stopping; turn++) {
        tell_pending(node);
        step_own(node);
        run_wanted(node);
        if (node->event_count > 0 && !node->epoch_over && !node_holds_enough(node))
            continue;
        if (node->held_count > 0 || votes_dirty(node->votes)) {
            sync_and_emit(node);
            continue;
        }
        node_doubt_settle(node);
        try_propose(node);
        if (node->event_count == 0)
            break;
    }
    node_flush_outgoing(node);
    if (node->local != NULL)
        local_flush(node->local);
}

/* The blocks under way: executed now, or in an earlier view, or before the last start. */
static size_t add_payloads(const struct node *node, struct votes_entry *ret_entries) {
    const struct payload *list[PAYLOADS_MAX];
    size_t count = payloads_durable(node->payloads, list);
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        ret_entries[used++] =
            (struct votes_entry){VOTES_PAYLOAD, buffer_bytes(&list[i]->block)};
    for (uint64_t h = chain_height(node->chain) + 1; h <= chain_tentative(node->chain); h++) {
        struct bytes block = chain_tentative_at(node->chain, h);
        bool there = false;
        for (size_t i = 0; i < count && !there; i++)
            there = chain_tentative_block(node->chain, h, &list[i]->digest).data != NULL;
        if (!there)
            ret_entries[used++] = (struct votes_entry){VOTES_PAYLOAD, block};
    }
    return used;
}

/* The vote log is rewritten when it is long: the core's records and the blocks under way. */
static void compact(struct node *node) {
    if (votes_bytes(node->votes) < node->votes_compacted_bytes + VOTES_COMPACT_BYTES)
        return;
    if (node->held_count > 0 || node->event_count > 0)
        return; /* else votes for what is held would be forgotten */
    struct error err;
    enum error_code code = store_sync(chain_store(node->chain), &err);
    const struct bytes *records = NULL;
    size_t count = 0;
    pbft_records(node->pbft, &records, &count);
    struct votes_entry *entries =
        calloc(count + PAYLOADS_MAX + STATE_LAYERS_MAX + NODE_KEYS + 1, sizeof *entries);
    if (entries == NULL)
        abort();
    uint8_t identities[NODE_KEYS][NODE_IDENTITY_BYTES];
    size_t used = 0;
    for (int k = 0; k < NODE_KEYS; k++) {
        if (node->keys[k].signer == NULL)
            continue;
        node_identity_entry(&node->keys[k], identities[k]);
        entries[used++] =
            (struct votes_entry){VOTES_IDENTITY, bytes_of(identities[k], sizeof identities[k])};
    }
    if (chain_height(node->chain) > 0) /* see node_remember_head */
        entries[used++] =
            (struct votes_entry){VOTES_COMMITTED, chain_head_certificate(node->chain)};
    used += add_payloads(node, entries + used);
    for (size_t i = 0; i < count; i++)
        entries[used++] = (struct votes_entry){VOTES_RECORD, records[i]};
    if (code == ERROR_NONE)
        code = votes_replace(node->votes, entries, used, &err);
    free(entries);
    node->votes_compacted_bytes = votes_bytes(node->votes);
    if (code != ERROR_NONE)
        node_fail(node, code, &err);
}

/* Moving the state to the database, on libuv's pool. */

static struct error flush_error;
static enum error_code flush_code;

static void flush_run(uv_work_t *work) {
    struct node *node = work->data;
    flush_code = store_flush_run(chain_store(node->chain), &flush_error);
}

static void flush_done(uv_work_t *work, int status) {
    struct node *node = work->data;
    (void)status; /* it is never cancelled */
    if (flush_code != ERROR_NONE)
        node_fail(node, flush_code, &flush_error);
    else
        store_flush_finish(chain_store(node->chain));
}

static void flush_if_due(struct node *node, uint64_t now_ms) {
    struct store *store = chain_store(node->chain);
    bool late = now_ms - node->flushed_ms >= NODE_FLUSH_MS;
    if (store_flush_busy(store) || (!late && !store_flush_due(store)))
        return;
    node->flushed_ms = now_ms;
    store_flush_start(store);
    node->flush.data = node;
    int rc = uv_queue_work(node->loop, &node->flush, flush_run, flush_done);
    assert(rc == 0);
}

/* The head of a submitter's line that stays out while blocks are committed is being censored. How long it
 * waited behind others of the line says nothing: a long line is a load. Nor do as many blocks as there
 * were other heads meanwhile: an honest leader takes one of each in turn. */
static void watch_for_censorship(struct node *node, uint64_t now_ms) {
    uint64_t height = chain_height(node->chain);
    uint32_t heads = pool_heads(node->pool);
    if (node->stopping || node->epoch_over)
        return;
    for (uint32_t i = 0; i < node->members->submitter_count; i++) {
        struct pool_entry *entry = pool_head(node->pool, i, now_ms, height);
        if (entry == NULL)
            continue;
        if (entry->heads_max < heads)
            entry->heads_max = heads;
        uint64_t blocks = NODE_CENSORED_BLOCKS + entry->heads_max;
        if (now_ms - entry->head_ms < NODE_CENSORED_MS || height < entry->head_height + blocks)
            continue;
        /* Every leader gets the same patience: what the one before left out is not this one's. */
        if (now_ms - node->watch.view_since_ms < NODE_CENSORED_MS ||
            height < node->watch.view_height + blocks)
            continue;
        entry->head_ms = now_ms;
        entry->head_height = height;
        entry->heads_max = 0;
        struct pbft_event event = {.kind = PBFT_EVENT_SUSPECT,
                                   .suspect = {PBFT_CAUSE_CENSORSHIP}};
        /* At once: a message that starts the next view must not come between, or it is the next leader
         * that is suspected. */
        node_step(node, &event);
        return;
    }
}

static void on_tick(uv_timer_t *timer) {
    struct node *node = timer->data;
    uint64_t now_ms = node_now_ms();
    struct pbft_event event = {.kind = PBFT_EVENT_TICK};
    if (!node->doubt.open) /* no timer of the core's runs before it may sign */
        plain_event(node, &event);
    node_doubt(node, now_ms);
    if (now_ms - node->watched_ms >= NODE_WATCH_MS) {
        node->watched_ms = now_ms;
        node_resend(node, now_ms);
        pool_rest(node->pool, now_ms);
        watch_for_censorship(node, now_ms);
        node_watch(node, now_ms);
        node_look_for_next_key(node);
        node_try_other_tls(node, now_ms);
        node_submit_evidence(node);
        node_guess(node, now_ms);
    }
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
        if (node->wanted[i].active)
            node_ask_payload(node, &node->wanted[i], now_ms);
    node_pass_on(node, now_ms);
    node_fetch(node, now_ms);
    flush_if_due(node, now_ms);
}

/* Keeps the loop from waiting; the work is done in on_check. */
static void on_idle(uv_idle_t *idle) {
    (void)idle;
}

/* After every round of input: all that came in is one turn, with one sync. */
static void on_check(uv_check_t *check) {
    struct node *node = check->data;
    node_take_inbox(node);
    node_settle(node);
    node_fetch(node, node_now_ms());
    if (node->inbox.waiting > 0)
        (void)uv_idle_start(&node->idle, on_idle);
    else
        (void)uv_idle_stop(&node->idle);
    if (!node->stopping)
        compact(node);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct node *node = handle->data;
    log_event(LOG_LEVEL_INFO, "stopping", "signal", log_u64((uint64_t)number), NULL);
    stop(node);
}

/* Starting. */

/* The block of a certificate among the log's payloads; NULL data where it is not there. */
static struct bytes find_payload(const struct votes_entry *entries, size_t count,
                                 const struct hash *digest) {
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind != VOTES_PAYLOAD || entries[i].bytes.len < BLOCK_HEADER_BYTES)
            continue;
        struct hash hash = pbft_block_digest(bytes_of(entries[i].bytes.data, BLOCK_HEADER_BYTES));
        if (hash_equal(&hash, digest))
            return entries[i].bytes;
    }
    return bytes_of(NULL, 0);
}

/* Commits again what was committed and whose segment was lost with the page cache. */
static enum error_code recommit(struct node *node, const struct votes_entry *entries,
                                size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        struct pbft_certificate certificate;
        if (entries[i].kind != VOTES_COMMITTED)
            continue;
        TRY(pbft_certificate_decode(entries[i].bytes, &certificate, err));
        if (certificate.ballot.height != chain_height(node->chain) + 1)
            continue;
        struct bytes block = find_payload(entries, count, &certificate.ballot.digest);
        if (block.data == NULL)
            return ERROR_NONE; /* the core fetches it from the others, and all above */
        TRY(application_restore(node->chain, block, entries[i].bytes, err));
    }
    return ERROR_NONE;
}

/* The log has every block's certificate before the block is stored: where it ends below the blocks, it
 * is an older one. */
static bool log_reaches(const struct votes_entry *entries, size_t count, uint64_t height) {
    struct pbft_certificate certificate;
    if (count == 0 || height == 0)
        return true; /* a log that is not there is another matter: node_read_identities */
    for (size_t i = count; i > 0; i--)
        if (entries[i - 1].kind == VOTES_COMMITTED &&
            pbft_certificate_decode(entries[i - 1].bytes, &certificate, NULL) == ERROR_NONE &&
            certificate.ballot.height >= height)
            return true;
    return false;
}

/* Sorts the vote log's entries: records for the core, payloads into the cache. */
static enum error_code read_votes(struct node *node, const struct votes_entry *entries,
                                  size_t count, struct bytes *records, size_t *ret_records,
                                  struct error *err) {
    size_t used = 0;
    bool whole = log_reaches(entries, count, chain_height(node->chain));
    TRY(recommit(node, entries, count, err));
    TRY(node_read_identities(node, entries, count, err));
    node_choose_identity(node); /* by the list that the log ends with; what is kept below is ours */
    node_promote_keys(node);
    if (!whole)
        node_votes_forgotten(node, "blocks above the end of the vote log");
    for (size_t i = 0; i < count; i++) {
        struct block block;
        if (entries[i].kind == VOTES_RECORD)
            records[used++] = entries[i].bytes;
        if (entries[i].kind != VOTES_PAYLOAD ||
            block_decode(entries[i].bytes, &block, NULL) != ERROR_NONE)
            continue;
        struct hash digest = block_hash(&block.header);
        if (block.header.height <= chain_height(node->chain))
            continue;
        struct payload *kept = payloads_keep(node->payloads, PAYLOAD_OWN, &digest,
                                             block.header.height, entries[i].bytes);
        if (kept != NULL) /* it is in the log because it was */
            payloads_executed(node->payloads, kept);
    }
    *ret_records = used;
    return ERROR_NONE;
}

static enum error_code open_votes(struct node *node, const struct votes_entry **ret_entries,
                                  size_t *ret_count, struct error *err) {
    char path[PATH_BYTES_MAX];
    if (snprintf(path, sizeof path, "%s/votes", node->settings->data) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", node->settings->data);
    return votes_open(path, &node->votes, ret_entries, ret_count, err);
}

static enum error_code open_core(struct node *node, struct error *err) {
    const struct votes_entry *entries = NULL;
    size_t count = 0;
    TRY(open_votes(node, &entries, &count, err));
    SCOPED_FREE struct bytes *records = calloc(count + 1, sizeof *records);
    size_t record_count = 0;
    if (records == NULL)
        return error_set(err, ERROR_NO_MEMORY, "node: no memory");
    TRY(read_votes(node, entries, count, records, &record_count, err));
    node->pool = pool_new(node->members); /* not before: the vote log may hold an epoch's last block */
    TRY(node_new_core(node, records, record_count, err));
    if (!votes_dirty(node->votes))
        return ERROR_NONE;
    TRY(votes_sync(node->votes, err));
    return file_sync_folder(node->settings->data, err);
}

static void watch_signal(struct node *node, uv_signal_t *handle, int number) {
    int rc = uv_signal_init(node->loop, handle);
    assert(rc == 0);
    handle->data = node;
    rc = uv_signal_start(handle, on_signal, number);
    assert(rc == 0);
}

static enum error_code open_node(struct node *node, struct error *err) {
    TRY(genesis_load(node->settings->genesis, &node->genesis, err));
    TRY(node_load_keys(node, err));
    TRY(file_make_folder(node->settings->data, 0700, err));
    TRY(node_disk_room(node, err));
    TRY(application_open(node->genesis, node->settings->data, node_tell_progress, node, &node->chain,
                         err));
    if (store_made_anew(chain_store(node->chain)))
        log_event(LOG_LEVEL_WARNING, "state-made-anew", "reason",
                  "its database was not readable; all blocks were executed again", NULL);
    TRY(open_core(node, err));
    TRY(advance_pool(node, err));
    int rc = uv_timer_init(node->loop, &node->tick);
    assert(rc == 0);
    rc = uv_check_init(node->loop, &node->check);
    assert(rc == 0);
    rc = uv_idle_init(node->loop, &node->idle);
    assert(rc == 0);
    node->tick.data = node->check.data = node->idle.data = node;
    watch_signal(node, &node->terminate, SIGTERM);
    watch_signal(node, &node->interrupt, SIGINT);
    rc = uv_timer_start(&node->tick, on_tick, 0, NODE_TICK_MS);
    assert(rc == 0);
    rc = uv_check_start(&node->check, on_check);
    assert(rc == 0);
    TRY(node_open_mesh(node, err));
    return local_new(node->loop, node->settings->socket, node_request, node, &node->local, err);
}

static void close_handle(uv_handle_t *handle) {
    if (handle->loop != NULL && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Runs the loop dry, so that everything that was given to it is given back. */
static void close_node(struct node *node) {
    local_close(node->local);
    mesh_close(node->mesh, NULL, NULL);
    close_handle((uv_handle_t *)&node->tick);
    close_handle((uv_handle_t *)&node->check);
    close_handle((uv_handle_t *)&node->idle);
    close_handle((uv_handle_t *)&node->terminate);
    close_handle((uv_handle_t *)&node->interrupt);
    uv_run(node->loop, UV_RUN_DEFAULT);
    while (node->event_count > 0) {
        struct own_event *own = &node->events[node->event_first];
        buffer_done(&own->header);
        buffer_done(&own->certificate);
        node->event_first = (node->event_first + 1) % NODE_EVENTS_MAX;
        node->event_count--;
    }
    for (size_t i = 0; i < node->held_count; i++)
        buffer_done(&node->held[i].bytes);
    payloads_free(node->payloads);
    free(node->held);
    free(node->events);
    buffer_done(&node->outgoing);
    node_inbox_done(node);
    node_trees_done(node);
    pbft_free(node->pbft);
    votes_close(node->votes);
    pool_free(node->pool);
    application_close(node->chain);
    for (int k = 0; k < NODE_KEYS; k++)
        ledger_signer_free(node->keys[k].signer);
    genesis_free(node->genesis);
    if (node->key_lock_fd >= 0)
        (void)close(node->key_lock_fd);
    free(node);
}

static void log_started(const struct node *node) {
    uint32_t n = node->members->validator_count;
    log_event(LOG_LEVEL_INFO, "started", "chain", node->genesis->name, "validator",
              node_own_name(node), "role", node_role(node), "height",
              log_u64(chain_height(node->chain)), "executed_again",
              log_u64(node->watch.executed_again), "epoch", log_u64(node->members->epoch),
              "validators", log_u64(n), "faults_tolerated",
              log_u64(pbft_faults(n)), "socket", node->settings->socket, NULL);
}

/* A node moves megabytes of blocks and tables for as long as it runs. To give them back after each
 * block and fault them in again for the next would cost a tenth of its time. */
static void keep_memory(void) {
    enum { LARGE_BYTES = 32 << 20, KEPT_BYTES_MAX = 64 << 20 };
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
}

enum error_code node_run(const struct node_settings *settings, struct error *err) {
    keep_memory();
    struct node *node = calloc(1, sizeof *node);
    uv_loop_t loop;
    if (node == NULL || sodium_init() < 0 || uv_loop_init(&loop) != 0) {
        free(node);
        return error_set(err, ERROR_NO_MEMORY, "node: no memory");
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a lost connection is an error of its write */
    node->settings = settings;
    node->loop = &loop;
    node->key_lock_fd = -1;
    node->held_bytes_max = NODE_HELD_BYTES_MAX;
    node->watch.certificate_stage = CERTIFICATE_STAGES;
    node->fetch.block_from = PBFT_OBSERVER;
    node->events = calloc(NODE_EVENTS_MAX, sizeof *node->events);
    node->payloads =
        payloads_new(node->wanted, sizeof node->wanted / sizeof node->wanted[0]);
    buffer_init(&node->outgoing, MESH_BULK_BYTES_MAX);
    node->flushed_ms = node->watch.progress_told_ms = node_now_ms();
    enum error_code code = node->events == NULL
                               ? error_set(err, ERROR_NO_MEMORY, "node: no memory")
                               : open_node(node, err);
    if (code == ERROR_NONE) {
        log_started(node);
        node_log_suspended(node);
        uv_run(&loop, UV_RUN_DEFAULT);
        code = node->failure;
        if (code != ERROR_NONE && err != NULL)
            *err = node->failure_error;
    }
    node->stopping = true;
    close_node(node);
    int rc = uv_loop_close(&loop);
    assert(rc == 0);
    return code;
}
