#include "tests/sim/world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *broken_name(enum broken broken) {
    static const char *const names[BROKEN_COUNT] = {
        "nothing",     "fork",     "certificate-fork", "certificate-chain",
        "certificate", "twice",    "equivocation",     "accused",
        "contract",    "restart",  "diverged",         "epoch",
        "liveness",
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

void world_push(struct world *w, struct happening h) {
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

void world_push_own(struct world *w, struct sim_instance *in, enum happening_kind kind,
                    uint32_t delay_ms, struct happening h) {
    h.kind = kind;
    h.at_ms = w->now_ms + delay_ms;
    h.instance = in->number;
    h.life = in->life;
    world_push(w, h);
}

void world_plan(struct world *w, uint64_t at_ms, uint64_t number) {
    world_push(w, (struct happening){.kind = HAPPEN_PLAN, .at_ms = at_ms, .number = number});
}

/* ---- keys, headers, blocks ---- */

void world_sign(uint32_t signer, const struct hash *statement, uint8_t *ret_signature) {
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

struct bytes world_header(uint8_t *into, uint64_t height, uint64_t epoch, const struct hash *parent,
                          uint64_t time_ms, uint64_t request, uint64_t salt, bool last) {
    wire_store_u64(into, height);
    wire_store_u64(into + 8, epoch);
    memcpy(into + 16, parent->byte, HASH_BYTES);
    wire_store_u64(into + 48, time_ms);
    wire_store_u64(into + 56, request);
    wire_store_u64(into + 64, salt);
    wire_store_u64(into + 72, last ? 1 : 0);
    return bytes_of(into, SIM_HEADER_BYTES);
}

bool world_header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    (void)context;
    if (header.len != SIM_HEADER_BYTES || wire_load_u64(header.data + 72) > 1)
        return false;
    ret_header->height = wire_load_u64(header.data);
    ret_header->epoch = wire_load_u64(header.data + 8);
    memcpy(ret_header->parent.byte, header.data + 16, HASH_BYTES);
    ret_header->time_ms = wire_load_u64(header.data + 48);
    ret_header->last = header.data[79] == 1;
    return true;
}

static struct registered *registry_place(struct world *w, const struct hash *digest) {
    uint64_t key;
    memcpy(&key, digest->byte, 8);
    for (uint32_t probe = 0; probe < SIM_REGISTRY; probe++) {
        struct registered *r = &w->registry[(key + probe) & (SIM_REGISTRY - 1)];
        if (r->run != w->run || hash_equal(&r->digest, digest))
            return r;
    }
    abort();
}

struct registered *world_block(struct world *w, const struct hash *digest) {
    struct registered *r = registry_place(w, digest);
    return r->run == w->run ? r : NULL;
}

struct registered *world_register(struct world *w, struct bytes header, uint32_t proposer) {
    struct hash digest = pbft_block_digest(header);
    struct registered *r = registry_place(w, &digest);
    if (r->run == w->run)
        return r;
    struct pbft_header h;
    bool good = world_header_read(NULL, header, &h);
    assert(good);
    *r = (struct registered){.run = w->run,
                             .digest = digest,
                             .parent = h.parent,
                             .height = h.height,
                             .request = wire_load_u64(header.data + 56),
                             .epoch = h.epoch,
                             .last = h.last,
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
        .drift_ms_max = 30000,
        .delay_ms_min = 10,
        .delay_ms_max = 10,
    };
}

bool world_honest(const struct world *w, const struct sim_instance *in) {
    return w->config.lies[in->identity] == 0;
}

/* Tables that are the same size in every run are taken over from the run before, so that a short
 * schedule is not mostly the clearing of memory. */
static struct {
    struct registered registry[SIM_REGISTRY];
    struct certified commits[SIM_CERTIFIED];
    struct signed_place places[SIM_REGISTRY];
    uint32_t run;
} tables;

struct world *world_new(const struct sim_config *config) {
    struct world *w = pbft__must(calloc(1, sizeof *w));
    w->config = *config;
    w->random[0] = config->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    w->random[1] = ~config->seed ^ UINT64_C(0xc2b2ae3d27d4eb4f);
    for (int i = 0; i < 8; i++)
        world_random(w);
    w->registry = tables.registry;
    w->commits = tables.commits;
    w->places = tables.places;
    w->run = ++tables.run;
    struct hash none = {{0}};
    struct bytes genesis = world_header(w->genesis, 0, 0, &none, SIM_WALL_MS, 0, 0, false);
    w->genesis_digest = pbft_block_digest(genesis);
    w->identities = config->n + config->spare;
    assert(w->identities <= SIM_NODES_MAX);
    for (uint32_t i = 0; i < w->identities; i++)
        w->any_lies = w->any_lies || config->lies[i] != 0;
    w->epochs[0].n = config->n;
    for (uint32_t i = 0; i < config->n; i++) {
        w->epochs[0].member[i] = (uint8_t)i;
        w->epochs[0].key[i] = (uint16_t)i;
    }
    w->instances = pbft__must(calloc(2 * w->identities, sizeof *w->instances));
    for (uint32_t twin = 0; twin < 2; twin++)
        for (uint32_t i = 0; i < w->identities; i++) {
            if (twin == 1 && (config->lies[i] & LIE_TWIN) == 0)
                continue;
            struct sim_instance *in = &w->instances[w->instance_count];
            in->world = w;
            in->identity = i;
            in->number = w->instance_count++;
            in->twin = twin == 1;
        }
    return w;
}

void world_free(struct world *w) {
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->instance_count; i++)
        host_free(&w->instances[i]);
    free(w->instances);
    for (size_t i = 0; i < w->heap_count; i++) {
        blob_unref(w->heap[i].a);
        blob_unref(w->heap[i].b);
    }
    for (int i = 0; i < SIM_REPLAY_MAX; i++)
        blob_unref(w->replay[i]);
    for (int i = 0; i < SIM_NODES_MAX; i++)
        blob_unref(w->changes[i]);
    free(w->heap);
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

uint32_t world_delay(struct world *w) {
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
            world_push(w, (struct happening){.kind = HAPPEN_MESSAGE,
                                             .at_ms = w->now_ms + world_delay(w),
                                             .instance = i,
                                             .from = from->identity,
                                             .a = blob_ref(message)});
    }
}

void world_send(struct world *w, struct sim_instance *in, struct bytes message, uint32_t to_mask,
                struct blob *blob) {
    check_sent(w, in, message);
    w->fingerprint = w->fingerprint * UINT64_C(0x100000001b3) ^ message.len;
    for (size_t i = 0; i < message.len; i += 4)
        w->fingerprint = w->fingerprint * UINT64_C(0x100000001b3) ^ message.data[i];
    liar_heard(w, message);
    if (w->config.lies[in->identity] != 0) {
        liar_send(w, in, message, to_mask);
        return;
    }
    for (uint32_t to = 0; to < w->identities; to++)
        if ((to_mask >> to & 1) != 0) {
            w->messages++;
            w->bytes += message.len;
            world_post(w, in->number, to, blob);
        }
}

/* ---- running ---- */

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
        world_push(w, (struct happening){.kind = HAPPEN_REQUEST,
                                         .at_ms = w->now_ms + world_below(w, delay_ms_max + 1),
                                         .instance = i,
                                         .number = number});
}

static void on_fetch(struct world *w, const struct happening *h) {
    const struct sim_instance *asked = &w->instances[h->instance], *asks = &w->instances[h->from];
    if (!asked->alive || !asks->alive || w->groups[h->instance] != w->groups[h->from])
        return;
    uint64_t last = h->to_height < h->number + 7 ? h->to_height : h->number + 7;
    uint32_t delay_ms = world_delay(w);
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
        world_push(w, (struct happening){.kind = HAPPEN_BLOCK,
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
        host_dump(w->dump, (uint16_t)w->config.tick_ms, (struct bytes){NULL, 0});
    }
    if (w->dump != NULL && in->number == 1 && h->kind == HAPPEN_MESSAGE) {
        fputc((int)world_index(w, in->epoch, h->from), w->dump);
        host_dump(w->dump, (uint16_t)h->a->len, blob_bytes(h->a));
    }
    switch (h->kind) {
    case HAPPEN_TICK:
        if (w->config.lies[in->identity] != 0)
            liar_tick(w, in);
        host_poll_payload(w, in);
        host_ask_unasked(w, in);
        world_step(w, in, &event);
        world_push_own(w, in, HAPPEN_TICK, w->config.tick_ms, (struct happening){0});
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
        if (wire_load_u64(h->a->data + 8) > in->epoch)
            return; /* the next object is not there yet; it will be asked for again */
        event.kind = PBFT_EVENT_BLOCK;
        event.block.header = blob_bytes(h->a);
        event.block.certificate = blob_bytes(h->b);
        break;
    case HAPPEN_MESSAGE:
        event.kind = PBFT_EVENT_MESSAGE;
        event.message.from = world_index(w, in->epoch, h->from);
        event.message.bytes = blob_bytes(h->a);
        break;
    case HAPPEN_REQUEST:
        in->knows[h->number] = 1;
        event.kind = PBFT_EVENT_PENDING;
        event.pending.pending = in->told_pending;
        break;
    case HAPPEN_SYNC:
        host_release_all(w, in);
        return;
    case HAPPEN_FETCH:
    case HAPPEN_PLAN:
        return;
    }
    world_step(w, in, &event);
    host_propose_if_open(w, in);
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
            if ((in->done[r / 64] >> r % 64 & 1) == 0)
                return false;
    }
    return true;
}
