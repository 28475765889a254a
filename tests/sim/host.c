/*
 * The host's side of the contract: what is durable, what is held back, executing, proposing, crash and
 * restart, and the next epoch's object when an epoch has ended.
 */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdlib.h>

void host_dump(FILE *file, uint16_t len, struct bytes bytes) {
    fputc(len >> 8, file);
    fputc(len & 0xff, file);
    if (bytes.len > 0)
        fwrite(bytes.data, 1, bytes.len, file);
}

/* ---- the host's side of the effects ---- */

/* A sync covers what was written when it began, not what came while it ran. */
static void start_sync(struct world *w, struct sim_instance *in) {
    in->syncing = true;
    in->sync_target = in->item_count;
    world_push_own(w, in, HAPPEN_SYNC, 1 + world_below(w, w->config.sync_ms_max),
                   (struct happening){0});
}

static void append_item(struct world *w, struct sim_instance *in, enum item_kind kind,
                        struct blob *a, struct blob *b) {
    if (in->item_count == in->item_capacity) {
        in->item_capacity = in->item_capacity == 0 ? 64 : in->item_capacity * 2;
        in->items = pbft__must(realloc(in->items, in->item_capacity * sizeof *in->items));
    }
    in->items[in->item_count++] = (struct item){kind, a, b};
    if (w->config.sync_ms_max == 0)
        in->durable = in->item_count;
    else if (!in->syncing)
        start_sync(w, in);
}

static void ask(struct world *w, const struct sim_instance *in, uint32_t instance, uint64_t first,
                uint64_t last) {
    world_push(w, (struct happening){.kind = HAPPEN_FETCH,
                                     .at_ms = w->now_ms + world_delay(w),
                                     .instance = instance,
                                     .from = in->number,
                                     .number = first,
                                     .to_height = last});
}

static void release(struct world *w, struct sim_instance *in, const struct held *held) {
    const struct pbft_effect *e = &held->effect;
    if (e->kind == PBFT_EFFECT_SEND) {
        world_send(w, in, e->send.message, held->to, held->a);
    } else if (e->kind == PBFT_EFFECT_COMMITTED) {
        in->released = e->committed.height;
        in->epoch_ended = in->epoch_ended || e->committed.last;
        if (world_honest(w, in))
            check_committed(w, in, e);
    } else if (e->kind == PBFT_EFFECT_FETCH && e->fetch.from < w->instance_count) {
        ask(w, in, e->fetch.from, e->fetch.first, e->fetch.to);
    }
}

/* To whom a SEND goes, as identities: the list may be another one when it is let out. */
static uint32_t recipients(const struct world *w, const struct sim_instance *in,
                           const struct pbft_effect *e) {
    const struct sim_epoch *epoch = world_epoch(w, in->epoch);
    uint32_t mask = 0;
    for (uint32_t i = 0; i < epoch->n; i++)
        if (epoch->member[i] != in->identity &&
            (e->send.to == PBFT_EVERYBODY || e->send.to == i))
            mask |= 1u << epoch->member[i];
    return mask;
}

/* Rule 1 of the contract: nothing becomes visible before what stands before it is durable. */
static void hold_or_release(struct world *w, struct sim_instance *in, const struct pbft_effect *e,
                            struct blob *a, struct blob *b) {
    struct held held = {.effect = *e, .position = in->item_count, .a = a, .b = b};
    if (e->kind == PBFT_EFFECT_SEND) {
        held.effect.send.message = blob_bytes(a);
        held.to = recipients(w, in, e);
    } else if (e->kind == PBFT_EFFECT_COMMITTED) {
        held.effect.committed.header = blob_bytes(a);
        held.effect.committed.certificate = blob_bytes(b);
    } else {
        held.effect.fetch.from = world_identity(w, in->epoch, e->fetch.from);
    }
    if (in->durable == in->item_count && in->held_count == 0) {
        release(w, in, &held);
        blob_unref(a);
        blob_unref(b);
        return;
    }
    if (in->held_count == in->held_capacity) {
        in->held_capacity = in->held_capacity == 0 ? 64 : in->held_capacity * 2;
        in->held = pbft__must(realloc(in->held, in->held_capacity * sizeof *in->held));
    }
    in->held[in->held_count++] = held;
}

static void items_drop(struct sim_instance *in, size_t from) {
    for (size_t i = from; i < in->item_count; i++) {
        blob_unref(in->items[i].a);
        blob_unref(in->items[i].b);
    }
    in->item_count = from;
}

static void held_drop(struct sim_instance *in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        blob_unref(in->held[i].a);
        blob_unref(in->held[i].b);
    }
    in->held_count -= count;
    if (in->held_count > 0)
        memmove(in->held, in->held + count, in->held_count * sizeof *in->held);
}

static void next_epoch(struct world *w, struct sim_instance *in);

void host_release_all(struct world *w, struct sim_instance *in) {
    in->syncing = false;
    in->durable = in->sync_target;
    size_t count = 0;
    while (count < in->held_count && in->held[count].position <= in->durable)
        release(w, in, &in->held[count++]);
    held_drop(in, count);
    if (in->durable < in->item_count)
        start_sync(w, in);
    if (in->epoch_ended)
        next_epoch(w, in);
}

void host_free(struct sim_instance *in) {
    pbft_free(in->core);
    held_drop(in, in->held_count);
    items_drop(in, 0);
    free(in->items);
    free(in->held);
}

static void execute_now(struct world *w, struct sim_instance *in, uint64_t height,
                        const struct hash *digest) {
    struct registered *block = world_block(w, digest);
    bool valid = block != NULL && !block->invalid &&
                 block->last == world_next_epoch(w, block->epoch, block->request, NULL) &&
                 (block->request == 0 || !world_has_request(w, block->parent, block->request));
    if (block != NULL)
        block->holders |= 1u << in->identity;
    if (valid) {
        in->executed = height;
        in->chain[height] = *digest;
    }
    world_push_own(w, in, HAPPEN_EXECUTED, world_below(w, w->config.execute_ms_max + 1),
                   (struct happening){.number = height, .digest = *digest, .valid = valid});
}

static void on_execute(struct world *w, struct sim_instance *in, const struct pbft_effect *e) {
    uint64_t h = e->execute.height;
    struct pbft_header header;
    if (h >= SIM_HEIGHTS_MAX || h != in->executed + 1 ||
        !world_header_read(NULL, e->execute.header, &header) ||
        !hash_equal(&header.parent, &in->chain[h - 1])) {
        world_broken(w, BROKEN_CONTRACT, "validator %u is asked to execute height %llu on %llu",
                     in->identity, (unsigned long long)h, (unsigned long long)in->executed);
        return;
    }
    struct registered *block = world_block(w, &e->execute.digest);
    if (block != NULL && (block->holders >> in->identity & 1) == 0) {
        in->waiting_payload = true;
        in->waiting_height = h;
        in->waiting_digest = e->execute.digest;
        return;
    }
    execute_now(w, in, h, &e->execute.digest);
}

/* Payloads are fetched from whoever has them and can be reached: polled at the tick. */
void host_poll_payload(struct world *w, struct sim_instance *in) {
    if (!in->waiting_payload)
        return;
    struct registered *block = world_block(w, &in->waiting_digest);
    for (uint32_t i = 0; i < w->instance_count; i++) {
        const struct sim_instance *other = &w->instances[i];
        if (other->alive && world_honest(w, other) && w->groups[i] == w->groups[in->number] &&
            (block->holders >> other->identity & 1) != 0) {
            in->waiting_payload = false;
            execute_now(w, in, in->waiting_height, &in->waiting_digest);
            return;
        }
    }
}

static void on_undo(struct world *w, struct sim_instance *in, uint64_t height) {
    if (height <= in->committed)
        world_broken(w, BROKEN_CONTRACT, "validator %u is asked to undo committed height %llu",
                     in->identity, (unsigned long long)height);
    if (in->executed >= height)
        in->executed = height - 1;
    if (in->waiting_payload && in->waiting_height >= height)
        in->waiting_payload = false;
}

static void note_done(struct sim_instance *in, struct bytes header) {
    uint64_t request = wire_load_u64(header.data + 56) % SIM_REQUESTS_MAX;
    in->done[request / 64] |= UINT64_C(1) << request % 64;
}

static void on_committed(struct world *w, struct sim_instance *in, const struct pbft_effect *e) {
    uint64_t h = e->committed.height;
    if (h != in->committed + 1 || h >= SIM_HEIGHTS_MAX ||
        (e->committed.executed &&
         (in->executed < h || !hash_equal(&in->chain[h], &e->committed.digest))) ||
        (!e->committed.executed && in->executed != h - 1)) {
        world_broken(w, BROKEN_CONTRACT,
                     "validator %u: COMMITTED %llu after %llu, executed to %llu",
                     in->identity, (unsigned long long)h, (unsigned long long)in->committed,
                     (unsigned long long)in->executed);
        return;
    }
    if (!e->committed.executed)
        in->executed = h;
    in->waiting_payload = in->waiting_payload && in->waiting_height > h;
    struct registered *block = world_block(w, &e->committed.digest);
    if (block != NULL)
        block->holders |= 1u << in->identity;
    in->chain[h] = e->committed.digest;
    in->committed = h;
    in->progress_ms = w->now_ms;
    note_done(in, e->committed.header);
    if (e->committed.last)
        world_epoch_ended(w, in->epoch, h, block == NULL ? 0 : block->request);
    in->headers[h] = blob_new(e->committed.header);
    in->certificates[h] = blob_new(e->committed.certificate);
    append_item(w, in, ITEM_BLOCK, in->headers[h], in->certificates[h]);
    world_trace(w, "%u commits height %llu (view %llu)%s", in->number, (unsigned long long)h,
                (unsigned long long)e->committed.view, e->committed.executed ? "" : " by transfer");
    hold_or_release(w, in, e, blob_ref(in->headers[h]), blob_ref(in->certificates[h]));
}

static bool pending(struct world *w, const struct sim_instance *in) {
    for (uint64_t r = 1; r <= w->request_count; r++)
        if (in->knows[r] && (in->done[r / 64] >> r % 64 & 1) == 0)
            return true;
    return false;
}

void host_propose_if_open(struct world *w, struct sim_instance *in) {
    if (!in->open)
        return;
    uint64_t request = 0;
    for (uint64_t r = 1; r <= w->request_count && request == 0; r++)
        if (in->knows[r] && !world_has_request(w, in->open_parent, r))
            request = r;
    if (request == 0)
        return;
    uint8_t bytes[SIM_HEADER_BYTES];
    bool lies = (w->config.lies[in->identity] & LIE_INVALID) != 0;
    uint64_t wall_ms = (uint64_t)((int64_t)(SIM_WALL_MS + w->now_ms) + in->skew_ms);
    uint64_t time_ms = wall_ms > in->open_time_ms ? wall_ms : in->open_time_ms;
    bool last = world_next_epoch(w, in->epoch, request, NULL);
    if (lies && world_chance(w, 200))
        last = !last;
    struct bytes header =
        world_header(bytes, in->open_height, in->epoch, &in->open_parent, time_ms, request,
                     (uint64_t)in->number << 32 | in->life, last);
    struct registered *block = world_register(w, header, in->identity);
    if (lies && world_chance(w, 400))
        block->invalid = true;
    else if (!lies)
        block->holders = UINT32_MAX; /* an honest proposer hands the payload to everybody */
    else
        block->holders |= (uint32_t)world_random(w);
    in->open = false;
    world_push_own(w, in, HAPPEN_PROPOSAL, 0, (struct happening){.a = blob_new(header)});
}

static void carry_out(struct world *w, struct sim_instance *in, const struct pbft_effect *e) {
    switch (e->kind) {
    case PBFT_EFFECT_PERSIST:
        if (w->dump_records != NULL && in->number == 1)
            host_dump(w->dump_records, (uint16_t)e->persist.record.len, e->persist.record);
        append_item(w, in, ITEM_RECORD, blob_new(e->persist.record), NULL);
        return;
    case PBFT_EFFECT_SEND:
        hold_or_release(w, in, e, blob_new(e->send.message), NULL);
        return;
    case PBFT_EFFECT_FETCH:
        hold_or_release(w, in, e, NULL, NULL);
        return;
    case PBFT_EFFECT_EXECUTE:
        on_execute(w, in, e);
        return;
    case PBFT_EFFECT_UNDO:
        on_undo(w, in, e->undo.height);
        return;
    case PBFT_EFFECT_PROPOSE:
        in->open = true;
        in->open_height = e->propose.height;
        in->open_parent = e->propose.parent;
        in->open_time_ms = e->propose.time_ms_min;
        host_propose_if_open(w, in);
        return;
    case PBFT_EFFECT_PROPOSE_STOP:
        in->open = false;
        return;
    case PBFT_EFFECT_COMMITTED:
        on_committed(w, in, e);
        return;
    case PBFT_EFFECT_VIEW:
        if (e->view.view > in->last_view && world_honest(w, in))
            w->view_changes++;
        in->last_view = e->view.view;
        in->last_cause = e->view.cause;
        world_trace(w, "%u %s view %llu (%s)", in->number,
                    e->view.changing ? "changes to" : "enters",
                    (unsigned long long)e->view.view, pbft_cause_name(e->view.cause));
        return;
    case PBFT_EFFECT_EVIDENCE:
        world_trace(w, "%u holds evidence against %u", in->number, e->evidence.signer);
        check_evidence(w, in, e);
        return;
    case PBFT_EFFECT_FAULT:
        world_trace(w, "%u blames %d: %s", in->number, (int)e->fault.from, e->fault.what);
        if (world_identity(w, in->epoch, e->fault.from) < SIM_NODES_MAX && world_honest(w, in))
            w->faults_named |= 1u << world_identity(w, in->epoch, e->fault.from);
        return;
    case PBFT_EFFECT_DIVERGED:
        if (world_honest(w, in))
            world_broken(w, BROKEN_DIVERGED, "validator %u finds certified height %llu invalid",
                         in->identity, (unsigned long long)e->diverged.height);
        return;
    }
}

void world_step(struct world *w, struct sim_instance *in, struct pbft_event *event) {
    if (!in->alive)
        return;
    event->now_ms = w->now_ms + 1;
    event->wall_ms = (uint64_t)((int64_t)(SIM_WALL_MS + w->now_ms) + in->skew_ms);
    struct pbft_effects effects;
    pbft_step(in->core, event, &effects);
    w->steps++;
    uint64_t committed = in->committed;
    for (size_t i = 0; i < effects.count; i++)
        carry_out(w, in, &effects.list[i]);
    if (in->epoch_ended) {
        next_epoch(w, in);
        return;
    }
    if (in->committed != committed || event->kind == PBFT_EVENT_PENDING) {
        bool now = pending(w, in);
        if (now != in->told_pending) {
            in->told_pending = now;
            struct pbft_event again = {.kind = PBFT_EVENT_PENDING, .pending = {now}};
            world_step(w, in, &again);
        }
    }
}

/* ---- crash, restart, and the next epoch ---- */

void world_crash(struct world *w, uint32_t instance) {
    struct sim_instance *in = &w->instances[instance];
    if (!in->alive)
        return;
    /* What was written and not synced is lost, or some of it, from its front, is not. */
    size_t kept = in->durable;
    if (w->config.unsynced_may_stay)
        kept += world_below(w, (uint32_t)(in->item_count - in->durable) + 1);
    for (size_t i = in->durable; i < kept; i++)
        if (in->items[i].kind == ITEM_BLOCK)
            check_kept(w, in, blob_bytes(in->items[i].b));
    world_trace(w, "%u crashes, %zu of %zu writes durable", instance, kept, in->item_count);
    pbft_free(in->core);
    in->core = NULL;
    in->alive = in->open = in->syncing = in->waiting_payload = in->told_pending = false;
    in->epoch_ended = false;
    in->life++;
    held_drop(in, in->held_count);
    items_drop(in, kept);
    in->durable = kept;
}

static size_t load_items(struct sim_instance *in, struct bytes *records) {
    size_t count = 0;
    in->committed = 0;
    memset(in->done, 0, sizeof in->done);
    for (size_t i = 0; i < in->item_count; i++) {
        struct item *item = &in->items[i];
        if (item->kind == ITEM_RECORD) {
            records[count++] = blob_bytes(item->a);
            continue;
        }
        uint64_t h = ++in->committed;
        in->headers[h] = item->a;
        in->certificates[h] = item->b;
        in->chain[h] = pbft_block_digest(blob_bytes(item->a));
        note_done(in, blob_bytes(item->a));
    }
    in->executed = in->released = in->committed;
    return count;
}

static void forget_records(struct sim_instance *in) {
    size_t kept = 0;
    for (size_t i = 0; i < in->item_count; i++) {
        if (in->items[i].kind == ITEM_BLOCK)
            in->items[kept++] = in->items[i];
        else
            blob_unref(in->items[i].a);
    }
    in->item_count = in->durable = kept;
}

/* The epoch of the next block, and the last block of the one before it. */
static struct bytes find_epoch(const struct sim_instance *in, uint64_t *ret_epoch) {
    uint64_t h = in->committed;
    struct pbft_header header = {0};
    while (h > 0 && world_header_read(NULL, blob_bytes(in->headers[h]), &header) && !header.last)
        h--;
    *ret_epoch = h == 0 ? 0 : header.epoch + 1;
    return h == 0 ? bytes_of(in->world->genesis, SIM_HEADER_BYTES) : blob_bytes(in->headers[h]);
}

/* Rule 12: the epoch began, by the time of its base, certainly after the votes were lost. */
static bool may_vote(const struct world *w, struct sim_instance *in, struct bytes base) {
    if (in->lost_ms == 0)
        return true;
    if (wire_load_u64(base.data + 48) <= in->lost_ms + 2 * (uint64_t)w->config.drift_ms_max)
        return false;
    in->lost_ms = 0;
    return true;
}

static void host_sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    const struct sim_instance *in = context;
    world_epoch_sign(in->world, in->epoch, in->self, statement, ret_signature);
}

static bool host_verify(void *context, uint32_t signer, const struct hash *statement,
                        const uint8_t *signature) {
    const struct sim_instance *in = context;
    return world_epoch_verify(in->world, in->epoch, signer, statement, signature);
}

/* The object of the epoch that comes after what is committed. */
static bool start_core(struct world *w, struct sim_instance *in, const struct bytes *records,
                       size_t record_count) {
    struct bytes base = find_epoch(in, &in->epoch);
    struct pbft_config config;
    pbft_config_defaults(&config);
    in->self = may_vote(w, in, base) ? world_index(w, in->epoch, in->identity) : PBFT_OBSERVER;
    config.self = in->self;
    config.n = world_epoch(w, in->epoch)->n;
    config.domain.epoch = in->epoch;
    config.window = w->config.window;
    config.rotation = w->config.rotation;
    config.timeout_ms = w->config.timeout_ms;
    config.timeout_ms_max = w->config.timeout_ms_max;
    config.resend_ms = w->config.resend_ms;
    config.status_ms = w->config.status_ms;
    config.drift_ms_max = w->config.drift_ms_max;
    config.base_header = base;
    config.committed_header = base;
    if (in->committed > 0 && wire_load_u64(base.data) < in->committed) {
        config.committed_header = blob_bytes(in->headers[in->committed]);
        config.committed_certificate = blob_bytes(in->certificates[in->committed]);
    }
    config.records = records;
    config.record_count = in->self == PBFT_OBSERVER ? 0 : record_count;
    config.host = (struct pbft_host){in, world_header_read, host_sign, host_verify};
    struct error err = {0};
    if (pbft_new(&config, &in->core, &err) != ERROR_NONE) {
        world_broken(w, BROKEN_RESTART, "validator %u does not start: %s", in->identity,
                     err.message);
        return false;
    }
    struct pbft_status status;
    pbft_status(in->core, &status);
    in->last_view = status.view;
    return true;
}

/* The whole log is handed in, as after a crash: what was signed in the old epoch is passed over. */
static void next_epoch(struct world *w, struct sim_instance *in) {
    struct bytes *records = pbft__must(calloc(in->item_count + 1, sizeof *records));
    size_t count = 0;
    for (size_t i = 0; i < in->item_count; i++)
        if (in->items[i].kind == ITEM_RECORD)
            records[count++] = blob_bytes(in->items[i].a);
    pbft_free(in->core);
    in->core = NULL;
    in->open = in->waiting_payload = in->told_pending = in->epoch_ended = false;
    in->executed = in->committed;
    bool started = start_core(w, in, records, count);
    free(records);
    if (!started)
        return;
    w->epochs_begun++;
    world_trace(w, "%u begins epoch %llu as %s", in->number, (unsigned long long)in->epoch,
                in->self == PBFT_OBSERVER ? "an observer" : "a validator");
    struct pbft_event event = {.kind = PBFT_EVENT_PENDING, .pending = {false}};
    world_step(w, in, &event);
}

void world_restart(struct world *w, uint32_t instance, bool forget_votes) {
    struct sim_instance *in = &w->instances[instance];
    if (in->alive)
        return;
    if (forget_votes)
        forget_records(in);
    struct bytes *records = pbft__must(calloc(in->item_count + 1, sizeof *records));
    in->chain[0] = w->genesis_digest;
    size_t count = load_items(in, records);
    bool started = start_core(w, in, records, count);
    free(records);
    if (!started)
        return;
    in->alive = true;
    in->progress_ms = w->now_ms;
    in->skew_ms = (int64_t)world_below(w, 2 * w->config.skew_ms_max + 1) - w->config.skew_ms_max;
    world_trace(w, "%u starts at height %llu, view %llu%s", instance,
                (unsigned long long)in->committed, (unsigned long long)in->last_view,
                forget_votes ? ", its votes forgotten" : "");
    struct pbft_event event = {.kind = PBFT_EVENT_PENDING, .pending = {false}};
    world_step(w, in, &event);
    world_push_own(w, in, HAPPEN_TICK, 1 + world_below(w, w->config.tick_ms),
                   (struct happening){0});
}

void world_lose(struct world *w, uint32_t instance) {
    struct sim_instance *in = &w->instances[instance];
    world_crash(w, instance);
    in->lost_ms = (uint64_t)((int64_t)(SIM_WALL_MS + w->now_ms) + in->skew_ms);
    world_restart(w, instance, true);
}

void world_compact(struct world *w, uint32_t instance) {
    struct sim_instance *in = &w->instances[instance];
    if (!in->alive || in->durable != in->item_count)
        return;
    const struct bytes *records;
    size_t count;
    pbft_records(in->core, &records, &count);
    forget_records(in);
    for (size_t i = 0; i < count; i++)
        append_item(w, in, ITEM_RECORD, blob_new(records[i]), NULL);
    in->durable = in->item_count; /* the new log took the old one's place at once, by a rename */
    world_trace(w, "%u compacts its vote log to %zu records", instance, count);
}

/* Rule 11: whom the list's STATUSes do not reach asks somebody for the block after its head. Everybody
 * else learns of what it lacks from the core, and has much more patience here. */
void host_ask_unasked(struct world *w, struct sim_instance *in) {
    bool told = world_index(w, w->last_epoch, in->identity) != PBFT_OBSERVER;
    uint64_t patience_ms = told ? 15 * (uint64_t)w->config.timeout_ms : 2 * w->config.timeout_ms;
    if (!in->told_pending || w->now_ms - in->progress_ms < patience_ms)
        return;
    in->progress_ms = w->now_ms;
    uint32_t whom = world_below(w, w->instance_count);
    if (whom != in->number)
        ask(w, in, whom, in->committed + 1, in->committed + 1);
}
