#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/wire.h"
#include "tests/sim/stack/disk.h"
#include "tests/sim/stack/stack.h"

static void settle(struct stack_node *n);

static void fail(struct stack_node *n, const char *doing, const struct error *err) {
    stack_broken(n->stack, "node", "node %u, %s: %s", n->index, doing, err->message);
    n->stopped = true;
}

/* ---- payloads ---- */

/* As what a peer sent, or as our own. */
static struct payload *keep_payload(struct stack_node *n, uint32_t from, struct bytes raw) {
    struct block block;
    if (block_decode(raw, &block, NULL) != ERROR_NONE ||
        block.header.height <= chain_height(n->chain))
        return NULL;
    struct hash digest = block_hash(&block.header);
    return payloads_keep(n->payloads, from, &digest, block.header.height, raw);
}

static void keep_executed(struct stack_node *n, struct bytes raw) {
    struct payload *p = keep_payload(n, PAYLOAD_OWN, raw);
    if (p != NULL)
        payloads_executed(n->payloads, p);
}

static void on_payload(struct stack_node *n, uint32_t from, struct bytes raw) {
    struct block block;
    if (block_decode(raw, &block, NULL) != ERROR_NONE)
        return;
    struct hash digest = block_hash(&block.header);
    if (payloads_wanted(n->payloads, &digest) != NULL && block_entries_fit(raw))
        (void)keep_payload(n, from, raw);
}

static void on_proposal(struct stack_node *n, uint32_t from, struct bytes raw) {
    struct proposal *proposal = NULL;
    if (proposal_read(raw, &proposal, NULL) != ERROR_NONE)
        return;
    if (proposal_header(proposal)->height <= chain_height(n->chain))
        proposal_free(proposal);
    else
        (void)payloads_propose(n->payloads, from, proposal);
}

/* The whole block, where it is here or can be made of a proposal and the pool. */
static struct payload *whole_payload(struct stack_node *n, const struct hash *digest) {
    const struct payload *before = payloads_find(n->payloads, digest);
    bool named = before != NULL && before->proposal != NULL;
    struct payload *p =
        payloads_whole(n->payloads, digest, n->pool, chain_members(n->chain));
    n->stack->result.rebuilt += named && p != NULL;
    return p;
}

/* ---- events of our own ---- */

static void own_event(struct stack_node *n, const struct pbft_event *event, struct bytes header,
                      struct bytes certificate) {
    assert(n->own_count < STACK_OWN_MAX);
    size_t at = n->own_count++;
    n->own[at].event = *event;
    buffer_init(&n->own[at].header, PBFT_HEADER_BYTES_MAX);
    buffer_init(&n->own[at].certificate, PBFT_CERTIFICATE_BYTES_MAX);
    buffer_append(&n->own[at].header, header.data, header.len);
    buffer_append(&n->own[at].certificate, certificate.data, certificate.len);
}

static void plain_event(struct stack_node *n, struct pbft_event event) {
    own_event(n, &event, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

static void executed(struct stack_node *n, uint64_t height, const struct hash *digest, bool valid) {
    plain_event(n, (struct pbft_event){.kind = PBFT_EVENT_EXECUTED,
                                       .executed = {height, *digest, valid}});
}

/* ---- effects ---- */

static void hold(struct stack_node *n, const struct pbft_effect *effect, struct bytes bytes) {
    if (n->held_count == n->held_capacity) {
        n->held_capacity = n->held_capacity == 0 ? 64 : n->held_capacity * 2;
        n->held = realloc(n->held, n->held_capacity * sizeof *n->held);
        assert(n->held != NULL);
    }
    struct stack_held *held = &n->held[n->held_count++];
    held->effect = *effect;
    buffer_init(&held->bytes, PBFT_MESSAGE_BYTES_MAX);
    buffer_append(&held->bytes, bytes.data, bytes.len);
}

static void want(struct stack_node *n, const struct pbft_effect *e) {
    size_t place = 0;
    for (size_t i = 0; i < sizeof n->wanted / sizeof n->wanted[0]; i++) {
        if (n->wanted[i].active && n->wanted[i].height == e->execute.height)
            n->wanted[i].active = false;
        if (!n->wanted[i].active)
            place = i;
    }
    assert(!n->wanted[place].active);
    n->wanted[place] = (struct wanted){
        true, e->execute.height, e->execute.digest, e->execute.from, 0, n->stack->now_ms};
}

static void undo(struct stack_node *n, uint64_t height) {
    application_undo(n->chain, height);
    for (size_t i = 0; i < sizeof n->wanted / sizeof n->wanted[0]; i++)
        if (n->wanted[i].height >= height)
            n->wanted[i].active = false;
}

static void take_effect(struct stack_node *n, const struct pbft_effect *e) {
    struct stack *s = n->stack;
    switch (e->kind) {
    case PBFT_EFFECT_PERSIST:
        votes_add(n->votes, VOTES_RECORD, e->persist.record);
        return;
    case PBFT_EFFECT_SEND:
        hold(n, e, e->send.message);
        return;
    case PBFT_EFFECT_COMMITTED:
        votes_add(n->votes, VOTES_COMMITTED, e->committed.certificate);
        hold(n, e, e->committed.certificate);
        return;
    case PBFT_EFFECT_FETCH:
        hold(n, e, bytes_of(NULL, 0));
        return;
    case PBFT_EFFECT_EXECUTE:
        want(n, e);
        return;
    case PBFT_EFFECT_UNDO:
        undo(n, e->undo.height);
        return;
    case PBFT_EFFECT_PROPOSE:
        n->proposal.open = true;
        n->proposal.height = e->propose.height;
        n->proposal.time_ms_min = e->propose.time_ms_min;
        return;
    case PBFT_EFFECT_PROPOSE_STOP:
        n->proposal.open = false;
        return;
    case PBFT_EFFECT_VIEW:
        s->result.view_changes += e->view.changing;
        stack_trace(s, "%u %s view %llu (%s)", n->index,
                    e->view.changing ? "changes to" : "enters", (unsigned long long)e->view.view,
                    pbft_cause_name(e->view.cause));
        return;
    case PBFT_EFFECT_FAULT:
        stack_trace(s, "%u blames %d: %s", n->index, (int)e->fault.from, e->fault.what);
        if (e->fault.from < STACK_NODES && e->fault.from != s->bad && e->fault.from != s->forgetful)
            stack_broken(s, "blame", "node %u blames the honest node %u: %s", n->index,
                         e->fault.from, e->fault.what);
        return;
    case PBFT_EFFECT_EVIDENCE:
        if (e->evidence.signer != s->forgetful) /* it may take votes with it that few had */
            stack_broken(s, "evidence", "node %u holds evidence against node %u, which signs once",
                         n->index, e->evidence.signer);
        return;
    case PBFT_EFFECT_DIVERGED:
        stack_broken(s, "diverged", "node %u finds certified height %llu invalid", n->index,
                     (unsigned long long)e->diverged.height);
        return;
    }
}

static void step(struct stack_node *n, struct pbft_event *event) {
    struct stack *s = n->stack;
    struct pbft_effects effects;
    event->now_ms = s->now_ms + 1;
    event->wall_ms = (uint64_t)((int64_t)(STACK_WALL_MS + s->now_ms) + n->skew_ms);
    s->result.events++;
    pbft_step(n->core, event, &effects);
    for (size_t i = 0; i < effects.count; i++)
        take_effect(n, &effects.list[i]);
}

static void step_own(struct stack_node *n) {
    for (size_t i = 0; i < n->own_count; i++) {
        struct pbft_event event = n->own[i].event;
        if (event.kind == PBFT_EVENT_PROPOSAL)
            event.proposal.header = buffer_bytes(&n->own[i].header);
        if (event.kind == PBFT_EVENT_BLOCK) {
            event.block.header = buffer_bytes(&n->own[i].header);
            event.block.certificate = buffer_bytes(&n->own[i].certificate);
            stack_check_seal(n, event.block.certificate);
        }
        if (!n->stopped)
            step(n, &event);
        buffer_done(&n->own[i].header);
        buffer_done(&n->own[i].certificate);
    }
    n->own_count = 0;
}

/* ---- executing and committing ---- */

/* A header speaks of the map as of a window below it: that block must be committed here, too. */
static bool is_beyond_window(const struct stack_node *n, uint64_t height) {
    return height > chain_height(n->chain) + n->stack->window;
}

static void execute_wanted(struct stack_node *n, size_t at) {
    uint64_t height = n->wanted[at].height;
    struct hash digest = n->wanted[at].digest;
    if (chain_tentative_block(n->chain, height, &digest).data != NULL) {
        n->wanted[at].active = false;
        executed(n, height, &digest, true);
        return;
    }
    struct payload *payload = whole_payload(n, &digest);
    if (payload == NULL || chain_tentative(n->chain) < height - 1 || is_beyond_window(n, height))
        return;
    if (chain_tentative(n->chain) >= height)
        application_undo(n->chain, height);
    struct error err;
    struct bytes block = buffer_bytes(&payload->block);
    enum error_code code = application_process(n->chain, n->pool, block, &err);
    if (code == ERROR_VERIFY && !block_entries_fit(block)) {
        payloads_drop(n->payloads, payload); /* whoever sent it bent it: somebody else is asked */
        return;
    }
    n->wanted[at].active = false;
    if (code == ERROR_NONE) {
        votes_add(n->votes, VOTES_PAYLOAD, block);
        payloads_executed(n->payloads, payload);
    } else if (code != ERROR_VERIFY) {
        fail(n, "executing", &err);
    }
    executed(n, height, &digest, code == ERROR_NONE);
}

static void run_wanted(struct stack_node *n) {
    uint64_t from = chain_height(n->chain) + 1;
    for (uint64_t height = from; height <= from + PBFT_WINDOW_MAX; height++)
        for (size_t i = 0; i < sizeof n->wanted / sizeof n->wanted[0]; i++)
            if (n->wanted[i].active && n->wanted[i].height == height)
                execute_wanted(n, i);
}

uint64_t stack_next_sequence(struct stack_node *n, uint32_t client) {
    struct state_submitter submitter = {.next_sequence = 1};
    struct error err;
    if (chain_submitter(n->chain, n->stack->clients[client].key, &submitter, &err) != ERROR_NONE)
        fail(n, "asking for a sequence", &err);
    return submitter.next_sequence;
}

static void advance_pool(struct stack_node *n) {
    for (uint32_t i = 0; i < STACK_CLIENTS; i++)
        pool_advance(n->pool, i, stack_next_sequence(n, i));
}

static void committed(struct stack_node *n, struct stack_held *held) {
    struct error err;
    uint64_t height = held->effect.committed.height;
    struct hash digest = held->effect.committed.digest;
    struct application_result result;
    struct bytes block = chain_tentative_block(n->chain, height, &digest);
    if (block.data == NULL) {
        struct payload *payload = whole_payload(n, &digest);
        error_set(&err, ERROR_INTERNAL, "no payload");
        if (payload == NULL) {
            fail(n, "a block by transfer", &err);
            return;
        }
        block = buffer_bytes(&payload->block);
        n->transferred = true;
    }
    if (application_finalize(n->chain, n->pool, block, &result, &err) != ERROR_NONE) {
        fail(n, "finalizing", &err);
        return;
    }
    assert(hash_equal(&result.hash, &digest));
    SCOPED_BUFFER struct buffer committed;
    buffer_init(&committed, BLOCK_BYTES_MAX);
    if (application_commit(n->chain, buffer_bytes(&held->bytes), &committed, &err) != ERROR_NONE) {
        fail(n, "committing", &err);
        return;
    }
    advance_pool(n);
    stack_check_commit(n, buffer_bytes(&committed), buffer_bytes(&held->bytes));
    payloads_drop_old(n->payloads, height);
}

void stack_fetch(struct stack_node *n, uint32_t from) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, 64);
    n->fed = chain_height(n->chain);
    wire_u64(&body, n->fed + 1);
    stack_send(n, from, STACK_GET_BLOCKS, buffer_bytes(&body));
}

static void send_vote(struct stack_node *n, const struct stack_held *held) {
    const struct pbft_effect *e = &held->effect;
    if (!stack_may_sign(n))
        return; /* what may be said is said again when it is known that it may */
    stack_check_asked(n, buffer_bytes(&held->bytes));
    for (uint32_t to = 0; to < STACK_NODES; to++)
        if (to != n->index && (e->send.to == PBFT_EVERYBODY || e->send.to == to))
            stack_send(n, to, STACK_PBFT, buffer_bytes(&held->bytes));
}

static void emit(struct stack_node *n, struct stack_held *held) {
    const struct pbft_effect *e = &held->effect;
    if (e->kind == PBFT_EFFECT_COMMITTED)
        committed(n, held);
    else if (e->kind == PBFT_EFFECT_FETCH)
        stack_fetch(n, e->fetch.from);
    else
        send_vote(n, held);
}

void stack_synced(struct stack_node *n) {
    struct error err;
    n->syncing = false;
    /* What came by transfer has no payload in the vote log, so its segment goes first. */
    if (votes_dirty(n->votes)) {
        enum error_code code =
            n->transferred ? store_sync(chain_store(n->chain), &err) : ERROR_NONE;
        n->transferred = false;
        if (code == ERROR_NONE)
            code = votes_sync(n->votes, &err);
        if (code != ERROR_NONE) {
            fail(n, "syncing", &err);
            return;
        }
    }
    n->observer_synced = n->observer;
    struct stack_held *list = n->held;
    size_t count = n->held_count;
    n->held = NULL;
    n->held_count = n->held_capacity = 0;
    for (size_t i = 0; i < count; i++) {
        if (!n->stopped)
            emit(n, &list[i]);
        buffer_done(&list[i].bytes);
    }
    free(list);
    settle(n);
}

/* ---- proposing ---- */

static bool work(struct stack_node *n) {
    uint64_t wall_ms = (uint64_t)((int64_t)(STACK_WALL_MS + n->stack->now_ms) + n->skew_ms);
    return chain_has_work(n->chain, n->pool) ||
           wall_ms >= chain_head(n->chain)->time_ms + STACK_EMPTY_MS;
}

static void try_propose(struct stack_node *n) {
    if (!n->proposal.open || !stack_may_sign(n) ||
        chain_tentative(n->chain) < n->proposal.height - 1 || is_beyond_window(n, n->proposal.height) || !work(n))
        return;
    n->proposal.open = false;
    application_undo(n->chain, n->proposal.height);
    struct error err;
    struct hash digest;
    struct bytes block;
    uint64_t time_ms = (uint64_t)((int64_t)(STACK_WALL_MS + n->stack->now_ms) + n->skew_ms);
    if (time_ms < n->proposal.time_ms_min)
        time_ms = n->proposal.time_ms_min;
    if (application_prepare(n->chain, n->pool, time_ms, &digest, &block, &err) != ERROR_NONE) {
        fail(n, "building a block", &err);
        return;
    }
    votes_add(n->votes, VOTES_PAYLOAD, block);
    keep_executed(n, block); /* an UNDO of what stood there before may stand before its EXECUTE */
    SCOPED_BUFFER struct buffer proposal;
    buffer_init(&proposal, PROPOSAL_BYTES_MAX);
    proposal_write(n->pool, chain_members(n->chain), block, &proposal);
    for (uint32_t to = 0; to < STACK_NODES; to++)
        if (to != n->index)
            stack_send(n, to, STACK_PROPOSAL, buffer_bytes(&proposal));
    struct pbft_event event = {.kind = PBFT_EVENT_PROPOSAL};
    own_event(n, &event, bytes_of(block.data, BLOCK_HEADER_BYTES), bytes_of(NULL, 0));
}

/* ---- the core ---- */

static bool header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    const struct stack_node *n = context;
    struct block_header h;
    if (block_header_decode(header, &h, NULL) != ERROR_NONE ||
        !hash_equal(&h.chain, &n->stack->genesis->chain))
        return false;
    *ret_header = (struct pbft_header){h.height, h.epoch, h.previous, h.time_ms, false};
    return true;
}

static void sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    const struct stack_node *n = context;
    ledger_signer_sign(n->stack->signers[n->index], statement, ret_signature);
}

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t *signature) {
    const struct stack_node *n = context;
    return signer < STACK_NODES &&
           signature_valid(n->stack->genesis->validators[signer].vote_key, statement, signature);
}

static enum error_code new_core(struct stack_node *n, const struct bytes *records, size_t count,
                                struct error *err) {
    const struct stack *s = n->stack;
    uint8_t base_raw[BLOCK_HEADER_BYTES], head_raw[BLOCK_HEADER_BYTES];
    block_header_encode(chain_epoch_base(n->chain), base_raw);
    block_header_encode(chain_head(n->chain), head_raw);
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = n->observer ? PBFT_OBSERVER : n->index;
    config.n = STACK_NODES;
    config.domain = (struct pbft_domain){s->genesis->chain, 0};
    config.window = s->window;
    config.rotation = s->rotation;
    config.timeout_ms = 200;
    config.timeout_ms_max = 1600;
    config.resend_ms = 80;
    config.status_ms = 200;
    config.base_header = bytes_of(base_raw, sizeof base_raw);
    config.committed_header = bytes_of(head_raw, sizeof head_raw);
    config.committed_certificate = chain_head_certificate(n->chain);
    config.records = records;
    config.record_count = count;
    config.host = (struct pbft_host){n, header_read, n->observer ? NULL : sign, verify};
    TRY(pbft_new(&config, &n->core, err));
    stack_doubt_begin(n);
    return ERROR_NONE;
}

/* Makes the core an observer's, where nothing of the old one waits. */
static void replace_stale_core(struct stack_node *n) {
    struct error err;
    if (!n->doubt.core_stale || n->syncing || n->held_count > 0)
        return;
    n->doubt.core_stale = false;
    application_undo(n->chain, chain_height(n->chain) + 1);
    memset(n->wanted, 0, sizeof n->wanted);
    n->proposal.open = n->pending_told = false;
    n->fed = chain_height(n->chain);
    pbft_free(n->core);
    n->core = NULL;
    if (new_core(n, NULL, 0, &err) != ERROR_NONE)
        fail(n, "following", &err);
    else
        stack_tell_connected(n);
}

static void settle(struct stack_node *n) {
    for (;;) {
        bool pending = pool_ready(n->pool) || work(n);
        if (pending != n->pending_told) {
            n->pending_told = pending;
            plain_event(n, (struct pbft_event){.kind = PBFT_EVENT_PENDING, .pending = {pending}});
        }
        step_own(n);
        run_wanted(n);
        if (n->stopped)
            return;
        if (n->own_count > 0)
            continue;
        replace_stale_core(n);
        try_propose(n);
        if (n->own_count == 0)
            break;
    }
    if (n->syncing || (n->held_count == 0 && !votes_dirty(n->votes)))
        return;
    n->syncing = true;
    stack_later_sync(n);
}

/* ---- what comes in ---- */

static void on_get_blocks(struct stack_node *n, uint32_t from, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    uint64_t first = wire_read_u64(&r);
    SCOPED_BUFFER struct buffer block;
    SCOPED_BUFFER struct buffer certificate;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&block, BLOCK_BYTES_MAX);
    buffer_init(&certificate, STORE_CERTIFICATE_BYTES_MAX);
    buffer_init(&answer, STACK_MESSAGE_BYTES_MAX);
    for (uint64_t h = first; h > 0 && h < first + 8 && h <= chain_height(n->chain); h++) {
        struct error err;
        buffer_clear(&block);
        buffer_clear(&certificate);
        buffer_clear(&answer);
        if (application_chunk(n->chain, h, &block, &certificate, &err) != ERROR_NONE) {
            fail(n, "reading a block", &err);
            return;
        }
        wire_bytes(&answer, buffer_bytes(&block));
        wire_bytes(&answer, buffer_bytes(&certificate));
        stack_send(n, from, STACK_BLOCK, buffer_bytes(&answer));
    }
}

static void on_block(struct stack_node *n, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    struct bytes raw = wire_read_bytes(&r, BLOCK_BYTES_MAX);
    struct bytes certificate = wire_read_bytes(&r, PBFT_CERTIFICATE_BYTES_MAX);
    struct block block;
    uint64_t next = (n->fed > chain_height(n->chain) ? n->fed : chain_height(n->chain)) + 1;
    if (!wire_read_end(&r) || block_decode(raw, &block, NULL) != ERROR_NONE ||
        block.header.height != next || !block_entries_fit(raw))
        return;
    struct payload *kept = keep_payload(n, PAYLOAD_OWN, raw);
    if (kept == NULL)
        return;
    kept->transferred = true;
    n->fed = next;
    struct pbft_event event = {.kind = PBFT_EVENT_BLOCK};
    own_event(n, &event, bytes_of(raw.data, BLOCK_HEADER_BYTES), certificate);
}

static void on_get_payload(struct stack_node *n, uint32_t from, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    uint64_t height = wire_read_u64(&r);
    struct hash digest;
    wire_read_fixed(&r, digest.byte, HASH_BYTES);
    if (!wire_read_end(&r))
        return;
    SCOPED_BUFFER struct buffer stored;
    buffer_init(&stored, BLOCK_BYTES_MAX);
    struct bytes block = chain_executed_block(n->chain, height, &digest, &stored);
    const struct payload *payload = block.data != NULL ? NULL : whole_payload(n, &digest);
    if (payload != NULL)
        block = buffer_bytes(&payload->block);
    if (block.data != NULL)
        stack_send(n, from, STACK_PAYLOAD, block);
}

static void on_get_transactions(struct stack_node *n, uint32_t from, struct bytes body) {
    struct proposal_request request;
    if (proposal_request_read(body, &request, NULL) != ERROR_NONE)
        return;
    SCOPED_BUFFER struct buffer stored;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&stored, BLOCK_BYTES_MAX);
    buffer_init(&answer, BLOCK_BYTES_MAX);
    struct bytes block = chain_executed_block(n->chain, request.height, &request.digest, &stored);
    if (block.data != NULL)
        proposal_answer(block, &request, &answer);
    if (answer.len > 0)
        stack_send(n, from, STACK_TRANSACTION, buffer_bytes(&answer));
}

static bool take_transaction(struct stack_node *n, struct bytes bytes) {
    struct checked_transaction *checked = NULL;
    if (application_check(n->chain, bytes, &checked, NULL) != ERROR_NONE)
        return false;
    struct pool_entry *entry;
    bool added = pool_add(n->pool, checked, n->stack->now_ms, chain_height(n->chain), &entry) ==
                 POOL_ADDED;
    if (!added)
        checked_transaction_free(checked);
    return added;
}

void stack_submit(struct stack_node *n, struct bytes transaction) {
    struct stack *s = n->stack;
    SCOPED_BUFFER struct buffer passed;
    buffer_init(&passed, STACK_MESSAGE_BYTES_MAX);
    wire_bytes(&passed, transaction);
    if (take_transaction(n, transaction))
        for (uint32_t to = 0; to < STACK_NODES; to++)
            if (to != n->index && !stack_chance(s, s->unheard_permille))
                stack_send(n, to, STACK_TRANSACTION, buffer_bytes(&passed));
    settle(n);
}

static void on_transactions(struct stack_node *n, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    while (wire_read_left(&r) > 0) {
        struct bytes transaction = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
        if (r.failed)
            return;
        bool added = take_transaction(n, transaction);
        n->stack->result.helped += added && n->stack->unheard_permille == STACK_UNHEARD_ALL;
    }
}

void stack_message(struct stack_node *n, uint32_t from, uint8_t kind, struct bytes body) {
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE, .message = {from, body}};
    if (kind == STACK_PBFT && !n->doubt.open) /* else as if it were lost: it is sent again */
        step(n, &event);
    else if (kind == STACK_TRANSACTION)
        on_transactions(n, body);
    else if (kind == STACK_PAYLOAD)
        on_payload(n, from, body);
    else if (kind == STACK_PROPOSAL)
        on_proposal(n, from, body);
    else if (kind == STACK_GET_PAYLOAD)
        on_get_payload(n, from, body);
    else if (kind == STACK_GET_TRANSACTIONS)
        on_get_transactions(n, from, body);
    else if (kind == STACK_GET_BLOCKS)
        on_get_blocks(n, from, body);
    else if (kind == STACK_BLOCK)
        on_block(n, body);
    else if (kind == STACK_GET_VOTES)
        stack_on_get_votes(n, from);
    else if (kind == STACK_VOTES)
        stack_on_votes(n, from, body);
    settle(n);
}

void stack_tell_connected(struct stack_node *n) {
    for (uint32_t peer = 0; peer < STACK_NODES; peer++)
        if (peer != n->index && stack_is_up(n, peer))
            plain_event(n, (struct pbft_event){.kind = PBFT_EVENT_CONNECTED, .connected = {peer}});
}

void stack_connected(struct stack_node *n, uint32_t peer) {
    struct pbft_event event = {.kind = PBFT_EVENT_CONNECTED, .connected = {peer}};
    step(n, &event);
    n->doubt.asked_ms = 0; /* it is asked for our votes */
    settle(n);
}

/* ---- upkeep ---- */

static void compact(struct stack_node *n) {
    if (n->syncing || n->held_count > 0 || votes_dirty(n->votes) || n->observer ||
        chain_height(n->chain) == 0) /* a log is long before it is rewritten */
        return;
    struct error err;
    const struct bytes *records = NULL;
    size_t count = 0, used = 0;
    pbft_records(n->core, &records, &count);
    const struct payload *list[PAYLOADS_MAX];
    size_t payloads = payloads_durable(n->payloads, list);
    struct votes_entry *entries = calloc(count + payloads + 2, sizeof *entries);
    assert(entries != NULL);
    uint8_t key[SIGNER_KEY_BYTES];
    ledger_signer_public(n->stack->signers[n->index], key);
    entries[used++] = (struct votes_entry){VOTES_IDENTITY, bytes_of(key, sizeof key)};
    entries[used++] = (struct votes_entry){VOTES_COMMITTED, chain_head_certificate(n->chain)};
    for (size_t i = 0; i < payloads; i++)
        entries[used++] =
            (struct votes_entry){VOTES_PAYLOAD, buffer_bytes(&list[i]->block)};
    for (size_t i = 0; i < count; i++)
        entries[used++] = (struct votes_entry){VOTES_RECORD, records[i]};
    if (store_sync(chain_store(n->chain), &err) != ERROR_NONE ||
        votes_replace(n->votes, entries, used, &err) != ERROR_NONE)
        fail(n, "compacting", &err);
    free(entries);
}

static void flush(struct stack_node *n) {
    struct store *store = chain_store(n->chain);
    struct error err;
    if (store_flush_busy(store))
        return;
    store_flush_start(store);
    if (store_flush_run(store, &err) != ERROR_NONE)
        fail(n, "flushing", &err);
    else
        store_flush_finish(store);
}

/* Once for what the proposal names and the pool lacks, then for the whole block. */
static void ask(struct stack_node *n, size_t at) {
    const struct hash *digest = &n->wanted[at].digest;
    if (whole_payload(n, digest) != NULL)
        return;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, 64 + 4 * PROPOSAL_MISSING_MAX);
    struct payload *p = payloads_find(n->payloads, digest);
    if (p != NULL && !p->asked) {
        uint32_t indexes[PROPOSAL_MISSING_MAX];
        uint32_t count =
            proposal_missing(p->proposal, n->pool, chain_members(n->chain), indexes);
        p->asked = true;
        n->stack->result.missing++;
        proposal_ask(p->proposal, indexes, count, &body);
        stack_send(n, p->from, STACK_GET_TRANSACTIONS, buffer_bytes(&body));
        return;
    }
    if (p != NULL && n->wanted[at].asked++ == 0)
        return; /* the answer may be on its way */
    n->stack->result.whole++;
    stack_trace(n->stack, "%u asks for the block of height %llu", n->index,
                (unsigned long long)n->wanted[at].height);
    wire_u64(&body, n->wanted[at].height);
    wire_fixed(&body, digest->byte, HASH_BYTES);
    uint32_t to = (n->index + 1 + stack_below(n->stack, STACK_NODES - 1)) % STACK_NODES;
    stack_send(n, to, STACK_GET_PAYLOAD, buffer_bytes(&body));
}

void stack_tick(struct stack_node *n) {
    struct stack *s = n->stack;
    struct pbft_event event = {.kind = PBFT_EVENT_TICK};
    if (!n->doubt.open)
        step(n, &event);
    stack_doubt(n);
    for (size_t i = 0; i < sizeof n->wanted / sizeof n->wanted[0]; i++)
        if (n->wanted[i].active)
            ask(n, i);
    settle(n);
    if (!s->healed && !n->stopped && stack_chance(s, 30))
        flush(n);
    if (!s->healed && !n->stopped && stack_chance(s, 30))
        compact(n);
}

/* ---- start and crash ---- */

/* What was committed and whose segment was lost is committed again from the vote log. */
static enum error_code recommit(struct stack_node *n, const struct votes_entry *entries,
                                size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        struct pbft_certificate c;
        if (entries[i].kind != VOTES_COMMITTED)
            continue;
        TRY(pbft_certificate_decode(entries[i].bytes, &c, err));
        if (c.ballot.height != chain_height(n->chain) + 1)
            continue;
        struct bytes block = {NULL, 0};
        for (size_t k = 0; k < count && block.data == NULL; k++) {
            if (entries[k].kind != VOTES_PAYLOAD || entries[k].bytes.len < BLOCK_HEADER_BYTES)
                continue;
            struct hash digest =
                pbft_block_digest(bytes_of(entries[k].bytes.data, BLOCK_HEADER_BYTES));
            if (hash_equal(&digest, &c.ballot.digest))
                block = entries[k].bytes;
        }
        if (block.data == NULL)
            return ERROR_NONE; /* the others have it */
        TRY(application_restore(n->chain, block, entries[i].bytes, err));
    }
    return ERROR_NONE;
}

/* Where the log ends below the blocks, it is an older one. */
static bool log_reaches(const struct votes_entry *entries, size_t count, uint64_t height) {
    struct pbft_certificate c;
    for (size_t i = count; i > 0; i--)
        if (entries[i - 1].kind == VOTES_COMMITTED &&
            pbft_certificate_decode(entries[i - 1].bytes, &c, NULL) == ERROR_NONE &&
            c.ballot.height >= height)
            return true;
    return count == 0 || height == 0;
}

void stack_remember_identity(struct stack_node *n) {
    uint8_t key[SIGNER_KEY_BYTES];
    ledger_signer_public(n->stack->signers[n->index], key);
    votes_add(n->votes, VOTES_IDENTITY, bytes_of(key, sizeof key));
}

static enum error_code open_votes(struct stack_node *n, struct bytes **ret_records,
                                  size_t *ret_count, struct error *err) {
    char path[160];
    snprintf(path, sizeof path, "%s/votes", n->folder);
    const struct votes_entry *entries = NULL;
    size_t count = 0;
    TRY(votes_open(path, &n->votes, &entries, &count, err));
    bool whole = log_reaches(entries, count, chain_height(n->chain));
    if (count == 0 && chain_height(n->chain) == 0 && !n->observer) {
        stack_remember_identity(n);
        TRY(votes_sync(n->votes, err));
        TRY(file_sync_folder(n->folder, err));
    } else if (count == 0 && !n->observer) {
        return error_set(err, ERROR_CORRUPT, "%s: the vote log is gone", path);
    }
    TRY(recommit(n, entries, count, err));
    if (!n->observer)
        stack_check_log(n, entries, count);
    if (!whole)
        stack_votes_forgotten(n, "blocks above the end of the vote log");
    struct bytes *records = calloc(count + 1, sizeof *records);
    assert(records != NULL);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == VOTES_RECORD && !n->observer)
            records[(*ret_count)++] = entries[i].bytes;
        if (entries[i].kind == VOTES_PAYLOAD)
            keep_executed(n, entries[i].bytes);
    }
    *ret_records = records;
    return ERROR_NONE;
}

static enum error_code open_core(struct stack_node *n, struct error *err) {
    SCOPED_FREE struct bytes *records = NULL;
    size_t count = 0;
    TRY(open_votes(n, &records, &count, err));
    return new_core(n, records, n->observer ? 0 : count, err);
}

void stack_start(struct stack_node *n) {
    struct error err;
    struct stack *s = n->stack;
    enum error_code code = application_open(s->genesis, n->folder, NULL, NULL, &n->chain, &err);
    if (code == ERROR_NONE) {
        n->pool = pool_new(chain_members(n->chain));
        n->payloads = payloads_new(n->wanted, sizeof n->wanted / sizeof n->wanted[0]);
        code = open_core(n, &err);
    }
    n->alive = true;
    n->stopped = false;
    n->life++;
    n->skew_ms = (int64_t)stack_below(s, 2001) - 1000;
    if (code != ERROR_NONE && s->flipped == n->index && code == ERROR_CORRUPT) {
        stack_trace(s, "%u refuses its disk: %s", n->index, err.message);
        stack_crash(n);
        n->observer = n->observer_synced = true; /* and from an empty folder */
        return;
    }
    if (code != ERROR_NONE) {
        fail(n, "starting", &err);
        return;
    }
    advance_pool(n);
    stack_trace(s, "%u starts at height %llu", n->index,
                (unsigned long long)chain_height(n->chain));
    settle(n);
}

void stack_crash(struct stack_node *n) {
    if (!n->alive)
        return;
    n->alive = false;
    n->life++;
    n->observer = n->observer_synced;
    n->gathered = false;
    n->bound_count = 0;
    disk_freeze(n->slot);
    pbft_free(n->core);
    n->core = NULL;
    for (size_t i = 0; i < n->own_count; i++) {
        buffer_done(&n->own[i].header);
        buffer_done(&n->own[i].certificate);
    }
    for (size_t i = 0; i < n->held_count; i++)
        buffer_done(&n->held[i].bytes);
    n->own_count = n->held_count = 0;
    payloads_free(n->payloads);
    n->payloads = NULL;
    memset(n->wanted, 0, sizeof n->wanted);
    n->proposal.open = n->pending_told = n->syncing = n->transferred = false;
    pool_free(n->pool);
    votes_close(n->votes);
    application_close(n->chain);
    n->pool = NULL;
    n->votes = NULL;
    n->chain = NULL;
}
