#include "tests/sim/world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { WALL_MS = 1000000 };

const char *broken_name(enum broken broken) {
    static const char *const names[BROKEN_COUNT] = {
        "nothing",     "fork",     "certificate-fork", "certificate-chain",
        "certificate", "twice",    "equivocation",     "accused",
        "contract",    "restart",  "diverged",         "liveness",
    };
    return names[broken];
}

void world_broken(struct world *w, enum broken broken, const char *format, ...) {
    if (w->broken != BROKEN_NOTHING)
        return; /* the first thing that broke is the one to look at */
    w->broken = broken;
    va_list args;
    va_start(args, format);
    vsnprintf(w->broken_text, sizeof w->broken_text, format, args);
    va_end(args);
    world_trace(w, "BROKEN %s: %s", broken_name(broken), w->broken_text);
}

void world_trace(const struct world *w, const char *format, ...) {
    if (!w->config.trace)
        return;
    printf("%8llu  ", (unsigned long long)w->now_ms);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- blobs, chance ---- */

struct blob *blob_new(struct bytes data) {
    struct blob *blob = pbft__must(malloc(sizeof *blob + data.len));
    blob->refs = 1;
    blob->len = (uint32_t)data.len;
    if (data.len > 0)
        memcpy(blob->data, data.data, data.len);
    return blob;
}

struct blob *blob_ref(struct blob *blob) {
    if (blob != NULL)
        blob->refs++;
    return blob;
}

void blob_unref(struct blob *blob) {
    if (blob != NULL && --blob->refs == 0)
        free(blob);
}

uint64_t world_random(struct world *w) {
    uint64_t a = w->random[0], b = w->random[1];
    w->random[0] = b;
    a ^= a << 23;
    w->random[1] = a ^ b ^ a >> 17 ^ b >> 26;
    return w->random[1] + b;
}

uint32_t world_below(struct world *w, uint32_t bound) {
    return bound == 0 ? 0 : (uint32_t)((world_random(w) >> 32) * bound >> 32);
}

bool world_chance(struct world *w, uint32_t permille) {
    return permille > 0 && world_below(w, 1000) < permille;
}

/* ---- what is going to happen ---- */

static bool earlier(const struct happening *a, const struct happening *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(struct world *w, struct happening h) {
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 256 : w->heap_capacity * 2;
        w->heap = pbft__must(realloc(w->heap, w->heap_capacity * sizeof *w->heap));
    }
    h.order = w->order++;
    size_t at = w->heap_count++;
    while (at > 0 && earlier(&h, &w->heap[(at - 1) / 2])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = h;
}

static struct happening pop(struct world *w) {
    struct happening top = w->heap[0], last = w->heap[--w->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && earlier(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!earlier(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return top;
}

static void push_own(struct world *w, struct sim_instance *in, enum happening_kind kind,
                     uint32_t delay_ms, struct happening h) {
    h.kind = kind;
    h.at_ms = w->now_ms + delay_ms;
    h.instance = in->number;
    h.life = in->life;
    push(w, h);
}

void world_plan(struct world *w, uint64_t at_ms, uint64_t number) {
    push(w, (struct happening){.kind = HAPPEN_PLAN, .at_ms = at_ms, .number = number});
}

/* ---- keys, headers, blocks ---- */

void world_sign(const struct world *w, uint32_t signer, const struct hash *statement,
                uint8_t *ret_signature) {
    (void)w;
    memset(ret_signature, 0, PBFT_SIGNATURE_BYTES);
    uint64_t key = (signer + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 2; i++) {
        uint64_t word;
        memcpy(&word, statement->byte + 8 * i, 8);
        word = (word ^ key) * UINT64_C(0xd6e8feb86659fd93);
        word ^= word >> 29;
        memcpy(ret_signature + 8 * i, &word, 8);
        key = word;
    }
}

static void host_sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    world_sign(NULL, ((struct sim_instance *)context)->identity, statement, ret_signature);
}

bool world_verify(void *context, uint32_t signer, const struct hash *statement,
                  const uint8_t *signature) {
    (void)context;
    uint8_t expected[PBFT_SIGNATURE_BYTES];
    world_sign(NULL, signer, statement, expected);
    return memcmp(expected, signature, sizeof expected) == 0;
}

struct bytes world_header(struct world *w, uint8_t *into, uint64_t height,
                          const struct hash *parent, uint64_t time_ms, uint64_t request,
                          uint64_t salt) {
    (void)w;
    wire_store_u64(into, height);
    wire_store_u64(into + 8, 0);
    memcpy(into + 16, parent->byte, HASH_BYTES);
    wire_store_u64(into + 48, time_ms);
    wire_store_u64(into + 56, request);
    wire_store_u64(into + 64, salt);
    wire_store_u64(into + 72, 0);
    return bytes_of(into, SIM_HEADER_BYTES);
}

static bool host_header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    (void)context;
    if (header.len != SIM_HEADER_BYTES)
        return false;
    ret_header->height = wire_load_u64(header.data);
    ret_header->epoch = wire_load_u64(header.data + 8);
    memcpy(ret_header->parent.byte, header.data + 16, HASH_BYTES);
    ret_header->time_ms = wire_load_u64(header.data + 48);
    ret_header->last = false;
    return true;
}

static struct registered *registry_place(struct world *w, const struct hash *digest) {
    uint64_t key;
    memcpy(&key, digest->byte, 8);
    for (uint32_t probe = 0; probe < SIM_REGISTRY; probe++) {
        struct registered *r = &w->registry[(key + probe) & (SIM_REGISTRY - 1)];
        if (!r->set || hash_equal(&r->digest, digest))
            return r;
    }
    abort();
}

struct registered *world_block(struct world *w, const struct hash *digest) {
    struct registered *r = registry_place(w, digest);
    return r->set ? r : NULL;
}

struct registered *world_register(struct world *w, struct bytes header, uint32_t proposer) {
    struct hash digest = pbft_block_digest(header);
    struct registered *r = registry_place(w, &digest);
    if (r->set)
        return r;
    struct pbft_header h;
    host_header_read(NULL, header, &h);
    *r = (struct registered){.set = true,
                             .digest = digest,
                             .parent = h.parent,
                             .height = h.height,
                             .request = wire_load_u64(header.data + 56),
                             .holders = 1u << proposer,
                             .proposer = proposer};
    return r;
}

bool world_has_request(struct world *w, struct hash at, uint64_t request) {
    for (;;) {
        struct registered *block = world_block(w, &at);
        if (block == NULL)
            return false;
        if (block->request == request)
            return true;
        at = block->parent;
    }
}

/* ---- birth and end ---- */

void sim_config_defaults(struct sim_config *ret_config) {
    *ret_config = (struct sim_config){
        .seed = 1,
        .n = 4,
        .window = 1,
        .timeout_ms = 200,
        .timeout_ms_max = 1600,
        .resend_ms = 80,
        .status_ms = 160,
        .tick_ms = 40,
        .delay_ms_min = 10,
        .delay_ms_max = 10,
    };
}

bool world_honest(const struct world *w, const struct sim_instance *in) {
    return w->config.lies[in->identity] == 0;
}

struct world *world_new(const struct sim_config *config) {
    struct world *w = pbft__must(calloc(1, sizeof *w));
    w->config = *config;
    w->random[0] = config->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    w->random[1] = ~config->seed ^ UINT64_C(0xc2b2ae3d27d4eb4f);
    for (int i = 0; i < 8; i++)
        world_random(w);
    w->registry = pbft__must(calloc(SIM_REGISTRY, sizeof *w->registry));
    w->commits = pbft__must(calloc(SIM_CERTIFIED, sizeof *w->commits));
    w->places = pbft__must(calloc(SIM_REGISTRY, sizeof *w->places));
    struct hash none = {{0}};
    struct bytes genesis = world_header(w, w->genesis, 0, &none, WALL_MS, 0, 0);
    w->genesis_digest = pbft_block_digest(genesis);
    for (uint32_t i = 0; i < config->n; i++)
        w->instances[w->instance_count++] =
            (struct sim_instance){.identity = i, .number = i, .alive = false};
    for (uint32_t i = 0; i < config->n; i++)
        if (config->lies[i] & LIE_TWIN) {
            uint32_t number = w->instance_count++;
            w->instances[number] =
                (struct sim_instance){.identity = i, .number = number, .twin = true};
        }
    return w;
}

static void items_drop(struct sim_instance *in, size_t from) {
    for (size_t i = from; i < in->item_count; i++) {
        blob_unref(in->items[i].a);
        blob_unref(in->items[i].b);
    }
    in->item_count = from;
}

static void held_drop(struct sim_instance *in) {
    for (size_t i = 0; i < in->held_count; i++) {
        blob_unref(in->held[i].a);
        blob_unref(in->held[i].b);
    }
    in->held_count = 0;
}

void world_free(struct world *w) {
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->instance_count; i++) {
        struct sim_instance *in = &w->instances[i];
        pbft_free(in->core);
        held_drop(in);
        items_drop(in, 0);
        free(in->items);
        free(in->held);
    }
    for (size_t i = 0; i < w->heap_count; i++) {
        blob_unref(w->heap[i].a);
        blob_unref(w->heap[i].b);
    }
    for (int i = 0; i < SIM_REPLAY_MAX; i++)
        blob_unref(w->replay[i]);
    for (int i = 0; i < SIM_NODES_MAX; i++)
        blob_unref(w->changes[i]);
    free(w->heap);
    free(w->registry);
    free(w->commits);
    free(w->places);
    free(w);
}

/* ---- network ---- */

static bool dropped_by_rule(const struct world *w, uint32_t from, uint32_t to, uint8_t type) {
    for (size_t i = 0; i < sizeof w->drops / sizeof w->drops[0]; i++) {
        const struct drop_rule *r = &w->drops[i];
        if (r->set && (r->type == 0 || r->type == type) &&
            (r->from == UINT32_MAX || r->from == from) && (r->to == UINT32_MAX || r->to == to))
            return true;
    }
    return false;
}

static uint32_t draw_delay(struct world *w) {
    const struct sim_config *c = &w->config;
    uint32_t delay_ms = c->delay_ms_min + world_below(w, c->delay_ms_max - c->delay_ms_min + 1);
    if (!w->healed && world_chance(w, c->slow_permille))
        delay_ms += world_below(w, 400);
    return delay_ms;
}

void world_post(struct world *w, uint32_t from_instance, uint32_t to, struct blob *message) {
    const struct sim_instance *from = &w->instances[from_instance];
    for (uint32_t i = 0; i < w->instance_count; i++) {
        struct sim_instance *in = &w->instances[i];
        if (in->identity != to || in->identity == from->identity)
            continue;
        if (w->groups[i] != w->groups[from_instance])
            continue;
        if (dropped_by_rule(w, from->identity, to, message->len > 1 ? message->data[1] : 0))
            continue;
        if (!w->healed && world_chance(w, w->config.loss_permille))
            continue;
        int copies = !w->healed && world_chance(w, w->config.duplicate_permille) ? 2 : 1;
        for (int k = 0; k < copies; k++)
            push(w, (struct happening){.kind = HAPPEN_MESSAGE,
                                       .at_ms = w->now_ms + draw_delay(w),
                                       .instance = i,
                                       .from = from->identity,
                                       .a = blob_ref(message)});
    }
}

static void send(struct world *w, struct sim_instance *in, const struct pbft_effect *e,
                 struct blob *message) {
    check_sent(w, in, e->send.message);
    w->fingerprint = w->fingerprint * UINT64_C(0x100000001b3) ^ message->len;
    for (uint32_t i = 0; i < message->len; i += 4)
        w->fingerprint = w->fingerprint * UINT64_C(0x100000001b3) ^ message->data[i];
    liar_heard(w, e->send.message);
    if (w->config.lies[in->identity] != 0) {
        liar_send(w, in, e);
        return;
    }
    for (uint32_t to = 0; to < w->config.n; to++)
        if (to != in->identity && (e->send.to == PBFT_EVERYBODY || e->send.to == to)) {
            w->messages++;
            w->bytes += message->len;
            world_post(w, in->number, to, message);
        }
}

static void dump(FILE *file, uint16_t len, struct bytes bytes) {
    fputc(len >> 8, file);
    fputc(len & 0xff, file);
    if (bytes.len > 0)
        fwrite(bytes.data, 1, bytes.len, file);
}

/* ---- the host's side of the effects ---- */

static void append_item(struct world *w, struct sim_instance *in, enum item_kind kind,
                        struct blob *a, struct blob *b) {
    if (in->item_count == in->item_capacity) {
        in->item_capacity = in->item_capacity == 0 ? 64 : in->item_capacity * 2;
        in->items = pbft__must(realloc(in->items, in->item_capacity * sizeof *in->items));
    }
    in->items[in->item_count++] = (struct item){kind, a, b};
    if (w->config.sync_ms_max == 0)
        in->durable = in->item_count;
    else if (!in->syncing) {
        in->syncing = true;
        push_own(w, in, HAPPEN_SYNC, 1 + world_below(w, w->config.sync_ms_max),
                 (struct happening){0});
    }
}

static void release(struct world *w, struct sim_instance *in, const struct pbft_effect *e,
                    struct blob *a) {
    if (e->kind == PBFT_EFFECT_SEND) {
        send(w, in, e, a);
    } else if (e->kind == PBFT_EFFECT_COMMITTED) {
        in->released = e->committed.height;
        if (world_honest(w, in))
            check_committed(w, in, e);
    } else if (e->kind == PBFT_EFFECT_FETCH && e->fetch.from < w->config.n) {
        push(w, (struct happening){.kind = HAPPEN_FETCH,
                                   .at_ms = w->now_ms + draw_delay(w),
                                   .instance = e->fetch.from,
                                   .from = in->number,
                                   .number = e->fetch.first,
                                   .to_height = e->fetch.to});
    }
}

/* Rule 1 of the contract: nothing becomes visible before what stands before it is durable. */
static void hold_or_release(struct world *w, struct sim_instance *in, const struct pbft_effect *e,
                            struct blob *a, struct blob *b) {
    struct pbft_effect effect = *e;
    if (e->kind == PBFT_EFFECT_SEND)
        effect.send.message = blob_bytes(a);
    if (e->kind == PBFT_EFFECT_COMMITTED) {
        effect.committed.header = blob_bytes(a);
        effect.committed.certificate = blob_bytes(b);
    }
    if (in->durable == in->item_count && in->held_count == 0) {
        release(w, in, &effect, a);
        blob_unref(a);
        blob_unref(b);
        return;
    }
    if (in->held_count == in->held_capacity) {
        in->held_capacity = in->held_capacity == 0 ? 64 : in->held_capacity * 2;
        in->held = pbft__must(realloc(in->held, in->held_capacity * sizeof *in->held));
    }
    in->held[in->held_count++] = (struct held){effect, in->item_count, a, b};
}

static void on_sync(struct world *w, struct sim_instance *in) {
    /* What was written while the sync ran is not covered by it; a short one follows. */
    in->syncing = false;
    in->durable = in->item_count;
    for (size_t i = 0; i < in->held_count; i++)
        release(w, in, &in->held[i].effect, in->held[i].a);
    held_drop(in);
}

static void execute_now(struct world *w, struct sim_instance *in, uint64_t height,
                        const struct hash *digest) {
    struct registered *block = world_block(w, digest);
    bool valid = block != NULL && !block->invalid &&
                 (block->request == 0 || !world_has_request(w, block->parent, block->request));
    if (block != NULL)
        block->holders |= 1u << in->identity;
    if (valid) {
        in->executed = height;
        in->chain[height] = *digest;
    }
    push_own(w, in, HAPPEN_EXECUTED, world_below(w, w->config.execute_ms_max + 1),
             (struct happening){.number = height, .digest = *digest, .valid = valid});
}

static void on_execute(struct world *w, struct sim_instance *in, const struct pbft_effect *e) {
    uint64_t h = e->execute.height;
    struct pbft_header header;
    if (h >= SIM_HEIGHTS_MAX || h != in->executed + 1 ||
        !host_header_read(NULL, e->execute.header, &header) ||
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
static void poll_payload(struct world *w, struct sim_instance *in) {
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
    in->headers[h] = blob_new(e->committed.header);
    in->certificates[h] = blob_new(e->committed.certificate);
    append_item(w, in, ITEM_BLOCK, in->headers[h], in->certificates[h]);
    world_trace(w, "%u commits height %llu (view %llu)%s", in->number, (unsigned long long)h,
                (unsigned long long)e->committed.view, e->committed.executed ? "" : " by transfer");
    hold_or_release(w, in, e, blob_ref(in->headers[h]), blob_ref(in->certificates[h]));
}

static bool pending(struct world *w, const struct sim_instance *in) {
    for (uint64_t r = 1; r <= w->request_count; r++)
        if (in->knows[r] && !world_has_request(w, in->chain[in->committed], r))
            return true;
    return false;
}

static void propose_if_open(struct world *w, struct sim_instance *in) {
    if (!in->open)
        return;
    uint64_t request = 0;
    for (uint64_t r = 1; r <= w->request_count && request == 0; r++)
        if (in->knows[r] && !world_has_request(w, in->open_parent, r))
            request = r;
    if (request == 0)
        return;
    uint8_t bytes[SIM_HEADER_BYTES];
    uint64_t wall_ms = (uint64_t)((int64_t)(WALL_MS + w->now_ms) + in->skew_ms);
    uint64_t time_ms = wall_ms > in->open_time_ms ? wall_ms : in->open_time_ms;
    struct bytes header = world_header(w, bytes, in->open_height, &in->open_parent, time_ms,
                                       request, (uint64_t)in->number << 32 | in->life);
    struct registered *block = world_register(w, header, in->identity);
    if ((w->config.lies[in->identity] & LIE_INVALID) != 0 && world_chance(w, 400))
        block->invalid = true;
    else if ((w->config.lies[in->identity] & LIE_INVALID) == 0)
        block->holders = UINT32_MAX; /* an honest proposer hands the payload to everybody */
    else
        block->holders |= (uint32_t)world_random(w);
    in->open = false;
    push_own(w, in, HAPPEN_PROPOSAL, 0, (struct happening){.a = blob_new(header)});
}

static void carry_out(struct world *w, struct sim_instance *in, const struct pbft_effect *e) {
    switch (e->kind) {
    case PBFT_EFFECT_PERSIST:
        if (w->dump_records != NULL && in->number == 1)
            dump(w->dump_records, (uint16_t)e->persist.record.len, e->persist.record);
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
        propose_if_open(w, in);
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
        check_evidence(w, e);
        return;
    case PBFT_EFFECT_FAULT:
        world_trace(w, "%u blames %d: %s", in->number, (int)e->fault.from, e->fault.what);
        if (e->fault.from < w->config.n && world_honest(w, in))
            w->faults_named |= 1u << e->fault.from;
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
    event->wall_ms = (uint64_t)((int64_t)(WALL_MS + w->now_ms) + in->skew_ms);
    struct pbft_effects effects;
    pbft_step(in->core, event, &effects);
    w->steps++;
    uint64_t committed = in->committed;
    for (size_t i = 0; i < effects.count; i++)
        carry_out(w, in, &effects.list[i]);
    if (in->committed != committed || event->kind == PBFT_EVENT_PENDING) {
        bool now = pending(w, in);
        if (now != in->told_pending) {
            in->told_pending = now;
            struct pbft_event again = {.kind = PBFT_EVENT_PENDING, .pending = {now}};
            world_step(w, in, &again);
        }
    }
}

/* ---- crash and restart ---- */

void world_crash(struct world *w, uint32_t instance) {
    struct sim_instance *in = &w->instances[instance];
    if (!in->alive)
        return;
    world_trace(w, "%u crashes, %zu of %zu writes durable", instance, in->durable, in->item_count);
    pbft_free(in->core);
    in->core = NULL;
    in->alive = in->open = in->syncing = in->waiting_payload = in->told_pending = false;
    in->life++;
    held_drop(in);
    items_drop(in, in->durable);
}

static void load_items(struct sim_instance *in, struct bytes *records, size_t *ret_count) {
    in->committed = 0;
    *ret_count = 0;
    for (size_t i = 0; i < in->item_count; i++) {
        struct item *item = &in->items[i];
        if (item->kind == ITEM_RECORD) {
            records[(*ret_count)++] = blob_bytes(item->a);
            continue;
        }
        uint64_t h = ++in->committed;
        in->headers[h] = item->a;
        in->certificates[h] = item->b;
        in->chain[h] = pbft_block_digest(blob_bytes(item->a));
    }
    in->executed = in->released = in->committed;
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

void world_restart(struct world *w, uint32_t instance, bool forget_votes) {
    struct sim_instance *in = &w->instances[instance];
    if (in->alive)
        return;
    if (forget_votes)
        forget_records(in);
    struct bytes *records = pbft__must(calloc(in->item_count + 1, sizeof *records));
    size_t record_count;
    in->chain[0] = w->genesis_digest;
    load_items(in, records, &record_count);
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = in->identity;
    config.n = w->config.n;
    config.window = w->config.window;
    config.rotation = w->config.rotation;
    config.timeout_ms = w->config.timeout_ms;
    config.timeout_ms_max = w->config.timeout_ms_max;
    config.resend_ms = w->config.resend_ms;
    config.status_ms = w->config.status_ms;
    config.base_header = bytes_of(w->genesis, SIM_HEADER_BYTES);
    config.committed_header = config.base_header;
    if (in->committed > 0) {
        config.committed_header = blob_bytes(in->headers[in->committed]);
        config.committed_certificate = blob_bytes(in->certificates[in->committed]);
    }
    config.records = records;
    config.record_count = record_count;
    config.host = (struct pbft_host){in, host_header_read, host_sign, world_verify};
    struct error err = {0};
    if (pbft_new(&config, &in->core, &err) != ERROR_NONE) {
        world_broken(w, BROKEN_RESTART, "validator %u does not start: %s", in->identity,
                     err.message);
        free(records);
        return;
    }
    free(records);
    in->alive = true;
    in->skew_ms = (int64_t)world_below(w, 2 * w->config.skew_ms_max + 1) - w->config.skew_ms_max;
    struct pbft_status status;
    pbft_status(in->core, &status);
    in->last_view = status.view;
    world_trace(w, "%u starts at height %llu, view %llu%s", instance,
                (unsigned long long)in->committed, (unsigned long long)status.view,
                forget_votes ? ", its votes forgotten" : "");
    struct pbft_event event = {.kind = PBFT_EVENT_PENDING, .pending = {false}};
    world_step(w, in, &event);
    push_own(w, in, HAPPEN_TICK, 1 + world_below(w, w->config.tick_ms), (struct happening){0});
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

void world_start(struct world *w) {
    for (uint32_t i = 0; i < w->instance_count; i++)
        world_restart(w, i, false);
}

void world_heal(struct world *w) {
    w->healed = true;
    memset(w->groups, 0, sizeof w->groups);
    memset(w->drops, 0, sizeof w->drops);
    for (uint32_t i = 0; i < w->instance_count; i++)
        if (!w->instances[i].alive)
            world_restart(w, i, false);
    world_trace(w, "everything is healed");
}

void world_request(struct world *w, uint64_t number, uint32_t delay_ms_max) {
    if (number > w->request_count)
        w->request_count = number;
    for (uint32_t i = 0; i < w->instance_count; i++)
        push(w, (struct happening){.kind = HAPPEN_REQUEST,
                                   .at_ms = w->now_ms + world_below(w, delay_ms_max + 1),
                                   .instance = i,
                                   .number = number});
}

/* ---- running ---- */

static void on_fetch(struct world *w, const struct happening *h) {
    const struct sim_instance *asked = &w->instances[h->instance], *asks = &w->instances[h->from];
    if (!asked->alive || !asks->alive || w->groups[h->instance] != w->groups[h->from])
        return;
    uint64_t last = h->to_height < h->number + 7 ? h->to_height : h->number + 7;
    uint32_t delay_ms = draw_delay(w);
    for (uint64_t height = h->number; height <= last && height <= asked->released; height++) {
        struct blob *header = blob_ref(asked->headers[height]);
        struct blob *certificate = blob_ref(asked->certificates[height]);
        if ((w->config.lies[asked->identity] & LIE_FORGE) != 0 && world_chance(w, 500)) {
            struct blob **forged = world_chance(w, 500) ? &certificate : &header;
            struct blob *copy = blob_new(blob_bytes(*forged));
            copy->data[world_below(w, copy->len)] ^= 1;
            blob_unref(*forged);
            *forged = copy;
        }
        push(w, (struct happening){.kind = HAPPEN_BLOCK,
                                   .at_ms = w->now_ms + delay_ms,
                                   .instance = h->from,
                                   .life = asks->life,
                                   .a = header,
                                   .b = certificate});
    }
}

static void happen_to(struct world *w, struct sim_instance *in, const struct happening *h) {
    struct pbft_event event = {.kind = PBFT_EVENT_TICK};
    if (w->dump != NULL && in->number == 1 && h->kind == HAPPEN_TICK) {
        fputc(0xff, w->dump);
        dump(w->dump, (uint16_t)w->config.tick_ms, (struct bytes){NULL, 0});
    }
    if (w->dump != NULL && in->number == 1 && h->kind == HAPPEN_MESSAGE) {
        fputc((int)h->from, w->dump);
        dump(w->dump, (uint16_t)h->a->len, blob_bytes(h->a));
    }
    switch (h->kind) {
    case HAPPEN_TICK:
        if (w->config.lies[in->identity] != 0)
            liar_tick(w, in);
        poll_payload(w, in);
        world_step(w, in, &event);
        push_own(w, in, HAPPEN_TICK, w->config.tick_ms, (struct happening){0});
        return;
    case HAPPEN_EXECUTED:
        event.kind = PBFT_EVENT_EXECUTED;
        event.executed.height = h->number;
        event.executed.digest = h->digest;
        event.executed.valid = h->valid;
        break;
    case HAPPEN_PROPOSAL:
        event.kind = PBFT_EVENT_PROPOSAL;
        event.proposal.header = blob_bytes(h->a);
        break;
    case HAPPEN_BLOCK:
        event.kind = PBFT_EVENT_BLOCK;
        event.block.header = blob_bytes(h->a);
        event.block.certificate = blob_bytes(h->b);
        break;
    case HAPPEN_MESSAGE:
        event.kind = PBFT_EVENT_MESSAGE;
        event.message.from = h->from;
        event.message.bytes = blob_bytes(h->a);
        break;
    case HAPPEN_REQUEST:
        in->knows[h->number] = 1;
        event.kind = PBFT_EVENT_PENDING;
        event.pending.pending = in->told_pending;
        break;
    case HAPPEN_SYNC:
        on_sync(w, in);
        return;
    case HAPPEN_FETCH:
    case HAPPEN_PLAN:
        return;
    }
    world_step(w, in, &event);
    propose_if_open(w, in);
}

bool world_run_one(struct world *w) {
    if (w->heap_count == 0)
        return false;
    struct happening h = pop(w);
    if (h.at_ms > w->now_ms)
        w->now_ms = h.at_ms;
    struct sim_instance *in = &w->instances[h.instance];
    bool life_bound = h.kind == HAPPEN_TICK || h.kind == HAPPEN_SYNC ||
                      h.kind == HAPPEN_EXECUTED || h.kind == HAPPEN_PROPOSAL ||
                      h.kind == HAPPEN_BLOCK;
    if (h.kind == HAPPEN_PLAN)
        w->on_plan(w, &h);
    else if (h.kind == HAPPEN_FETCH)
        on_fetch(w, &h);
    else if (h.kind == HAPPEN_REQUEST && !in->alive)
        in->knows[h.number] = 1;
    else if (in->alive && (!life_bound || h.life == in->life))
        happen_to(w, in, &h);
    blob_unref(h.a);
    blob_unref(h.b);
    return true;
}

void world_run(struct world *w, uint64_t until_ms) {
    while (w->broken == BROKEN_NOTHING && w->heap_count > 0 && w->heap[0].at_ms <= until_ms)
        world_run_one(w);
    if (w->now_ms < until_ms)
        w->now_ms = until_ms;
}

bool world_done(struct world *w) {
    for (uint32_t i = 0; i < w->instance_count; i++) {
        const struct sim_instance *in = &w->instances[i];
        if (!world_honest(w, in))
            continue;
        if (!in->alive || in->committed != in->released)
            return false;
        for (uint64_t r = 1; r <= w->request_count; r++)
            if (!world_has_request(w, in->chain[in->committed], r))
                return false;
    }
    return true;
}
