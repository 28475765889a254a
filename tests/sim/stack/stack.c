#include "tests/sim/stack/stack.h"

#include <assert.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/wire.h"
#include "tests/sim/stack/disk.h"

enum {
    LIVENESS_MS_MAX = 60000,
    CLIENT_MS = 60,
    VOTES_FIRST_BYTES = 100, /* the record of the identity, and more */
    NOBODY = UINT32_MAX,
};

enum happening_kind { TICK = 1, BYTES, SYNC, CLIENT, CONNECT, CRASH, RESTART, BREAK, KEEP, FORGET };

struct stack_happening {
    uint64_t at_ms, order;
    enum happening_kind kind;
    uint32_t a, b; /* slot of a node, or client; the other end */
    uint32_t life; /* of the node, or the connection's number */
    struct stack_blob *blob;
};

/* ---- chance, words ---- */

static uint64_t next_random(struct stack *s) {
    uint64_t a = s->random[0], b = s->random[1];
    s->random[0] = b;
    a ^= a << 23;
    s->random[1] = a ^ b ^ a >> 17 ^ b >> 26;
    return s->random[1] + b;
}

uint32_t stack_below(struct stack *s, uint32_t bound) {
    return bound == 0 ? 0 : (uint32_t)((next_random(s) >> 32) * bound >> 32);
}

bool stack_chance(struct stack *s, uint32_t permille) {
    return permille > 0 && stack_below(s, 1000) < permille;
}

void stack_trace(const struct stack *s, const char *format, ...) {
    if (!s->options.trace)
        return;
    printf("%8llu  ", (unsigned long long)s->now_ms);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void stack_broken(struct stack *s, const char *what, const char *format, ...) {
    if (s->result.broken != NULL)
        return;
    s->result.broken = what;
    va_list args;
    va_start(args, format);
    vsnprintf(s->result.text, sizeof s->result.text, format, args);
    va_end(args);
    stack_trace(s, "BROKEN %s: %s", what, s->result.text);
}

/* ---- what is going to happen ---- */

static bool earlier(const struct stack_happening *a, const struct stack_happening *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(struct stack *s, struct stack_happening h) {
    if (s->heap_count == s->heap_capacity) {
        s->heap_capacity = s->heap_capacity == 0 ? 256 : s->heap_capacity * 2;
        s->heap = realloc(s->heap, s->heap_capacity * sizeof *s->heap);
        assert(s->heap != NULL);
    }
    h.order = s->order++;
    size_t at = s->heap_count++;
    for (; at > 0 && earlier(&h, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = h;
}

static struct stack_happening pop(struct stack *s) {
    struct stack_happening top = s->heap[0], last = s->heap[--s->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < s->heap_count; at = child) {
        if (child + 1 < s->heap_count && earlier(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!earlier(&s->heap[child], &last))
            break;
        s->heap[at] = s->heap[child];
    }
    s->heap[at] = last;
    return top;
}

static void later(struct stack *s, enum happening_kind kind, uint32_t delay_ms, uint32_t a,
                  uint32_t b, uint32_t life) {
    push(s, (struct stack_happening){
                .at_ms = s->now_ms + delay_ms, .kind = kind, .a = a, .b = b, .life = life});
}

void stack_later_sync(struct stack_node *n) {
    struct stack *s = n->stack;
    later(s, SYNC, stack_below(s, s->sync_ms_max + 1), n->slot, 0, n->life);
}

/* ---- connections ---- */

static void blob_done(struct stack_blob *blob) {
    if (blob != NULL && --blob->refs == 0)
        free(blob);
}

static void put_on_line(struct stack *s, uint32_t from, uint32_t to, enum net_frame_kind kind,
                        struct bytes body) {
    struct stack_line *line = &s->lines[from][to];
    struct stack_blob *blob = malloc(sizeof *blob + NET_HEAD_BYTES + body.len);
    assert(blob != NULL);
    blob->refs = 1;
    blob->len = (uint32_t)(NET_HEAD_BYTES + body.len);
    net_head_write(blob->data, kind, body.len);
    memcpy(blob->data + NET_HEAD_BYTES, body.data, body.len);
    for (uint32_t i = 0; i < blob->len; i += 7)
        s->result.fingerprint =
            s->result.fingerprint * UINT64_C(0x100000001b3) ^ (blob->data[i] + from * 7 + to);
    uint64_t at_ms = s->now_ms + 1 + stack_below(s, s->delay_ms_max);
    line->last_at_ms = at_ms > line->last_at_ms ? at_ms : line->last_at_ms;
    push(s, (struct stack_happening){.at_ms = line->last_at_ms,
                                     .kind = BYTES,
                                     .a = from,
                                     .b = to,
                                     .life = line->connection,
                                     .blob = blob});
}

/* Both directions end; what is on the way is lost. */
static void break_line(struct stack *s, uint32_t a, uint32_t b) {
    s->result.resets += s->lines[a][b].up;
    for (int way = 0; way < 2; way++) {
        struct stack_line *line = way == 0 ? &s->lines[a][b] : &s->lines[b][a];
        if (line->up)
            net_reader_done(&line->reader);
        line->up = false;
        line->connection++;
    }
    later(s, CONNECT, 5 + stack_below(s, s->healed ? 20 : 200), a, b, s->lines[a][b].connection);
}

/* The other process with the same keys; the same slot where there is none. */
static uint32_t twin_of(const struct stack *s, uint32_t slot) {
    if (s->forgets != STACK_IS_CLONED)
        return slot;
    return slot == STACK_CLONE ? s->forgetful : slot == s->forgetful ? STACK_CLONE : slot;
}

/* A node keeps one connection to whoever has these keys: the one that it has, or the new one. */
static bool twin_makes_room(struct stack *s, uint32_t a, uint32_t b) {
    uint32_t x = a, y = twin_of(s, b);
    if (twin_of(s, a) != a) {
        x = twin_of(s, a);
        y = b;
    }
    if ((x == a && y == b) || !s->lines[x][y].up)
        return true;
    if (stack_chance(s, 500)) {
        later(s, CONNECT, 5 + stack_below(s, 50), a, b, s->lines[a][b].connection);
        return false;
    }
    break_line(s, x, y);
    return true;
}

static void connect_line(struct stack *s, uint32_t a, uint32_t b) {
    if (!s->nodes[a].alive || !s->nodes[b].alive || s->nodes[a].stopped ||
        s->nodes[b].stopped || s->lines[a][b].up || s->nodes[a].index == s->nodes[b].index ||
        !twin_makes_room(s, a, b))
        return;
    for (int way = 0; way < 2; way++) {
        uint32_t from = way == 0 ? a : b, to = way == 0 ? b : a;
        struct stack_line *line = &s->lines[from][to];
        line->up = true;
        line->last_at_ms = s->now_ms;
        net_reader_init(&line->reader, STACK_MESSAGE_BYTES_MAX);
        struct net_hello hello = {
            .version = 1, .chain = s->genesis->chain, .lane = 1,
            .index = s->nodes[from].index, .session = 1};
        uint8_t body[NET_HELLO_BYTES];
        net_hello_write(&hello, body);
        put_on_line(s, from, to, NET_FRAME_HELLO, bytes_of(body, sizeof body));
    }
    stack_connected(&s->nodes[a], s->nodes[b].index);
    stack_connected(&s->nodes[b], s->nodes[a].index);
}

/* What a faulty node bends: anything behind the kind. */
static void bend(struct stack *s, struct stack_blob *blob) {
    uint32_t first = NET_HEAD_BYTES + 1;
    if (blob->len > first)
        blob->data[first + stack_below(s, blob->len - first)] ^=
            (uint8_t)(1 << stack_below(s, 8));
}

/* Whom the node's connection to these keys leads to. */
static uint32_t slot_of(const struct stack_node *n, uint32_t peer) {
    uint32_t twin = twin_of(n->stack, peer);
    return n->stack->lines[n->slot][twin].up ? twin : peer;
}

bool stack_is_up(const struct stack_node *n, uint32_t peer) {
    return n->stack->lines[n->slot][slot_of(n, peer)].up;
}

void stack_send(struct stack_node *n, uint32_t to, uint8_t kind, struct bytes body) {
    struct stack *s = n->stack;
    if (to >= STACK_NODES || to == n->index || !stack_is_up(n, to))
        return;
    to = slot_of(n, to);
    if (!s->healed && stack_chance(s, s->reset_permille)) {
        break_line(s, n->slot, to);
        return;
    }
    SCOPED_BUFFER struct buffer message;
    buffer_init(&message, STACK_MESSAGE_BYTES_MAX);
    wire_u8(&message, kind);
    buffer_append(&message, body.data, body.len);
    assert(!message.failed);
    put_on_line(s, n->slot, to, NET_FRAME_MESSAGE, buffer_bytes(&message));
    if (s->bad == n->index && stack_chance(s, kind == STACK_PBFT ? 30 : 200))
        for (size_t i = 0; i < s->heap_count; i++)
            if (s->heap[i].order == s->order - 1)
                bend(s, s->heap[i].blob);
}

static void take_frame(struct stack *s, uint32_t from, uint32_t to, const struct net_frame *frame) {
    struct net_hello hello;
    if (frame->kind == NET_FRAME_HELLO) {
        if (net_hello_read(frame->body, &hello, NULL) != ERROR_NONE || hello.index != s->nodes[from].index ||
            !hash_equal(&hello.chain, &s->genesis->chain))
            stack_broken(s, "frame", "node %u cannot read the hello of node %u", to, from);
        return;
    }
    if (frame->body.len == 0)
        return;
    SCOPED_BUFFER struct buffer body; /* the line may break while it is handled */
    buffer_init(&body, STACK_MESSAGE_BYTES_MAX);
    buffer_append(&body, frame->body.data, frame->body.len);
    stack_message(&s->nodes[to], s->nodes[from].index, body.data[0], bytes_of(body.data + 1, body.len - 1));
}

/* The bytes come in pieces, as a socket hands them over. */
static void deliver(struct stack *s, const struct stack_happening *h) {
    struct stack_line *line = &s->lines[h->a][h->b];
    size_t at = 0;
    while (at < h->blob->len && line->up && line->connection == h->life &&
           s->nodes[h->b].alive && !s->nodes[h->b].stopped) {
        size_t piece = 1 + stack_below(s, h->blob->len - (uint32_t)at);
        struct bytes input = bytes_of(h->blob->data + at, piece);
        at += piece;
        while (input.len > 0 && line->up && line->connection == h->life) {
            struct net_frame frame;
            struct error err;
            bool whole = false;
            if (net_reader_next(&line->reader, &input, &whole, &frame, &err) != ERROR_NONE) {
                stack_broken(s, "frame", "node %u: %s", h->b, err.message);
                return;
            }
            if (whole)
                take_frame(s, h->a, h->b, &frame);
        }
    }
}

/* ---- clients ---- */

static enum error_code make_note(struct stack *s, const struct stack_client *c, struct buffer *out,
                                 struct error *err) {
    uint8_t note[24];
    for (size_t i = 0; i < sizeof note; i++)
        note[i] = (uint8_t)next_random(s);
    return ledger_build_note(c->signer, &s->genesis->chain, c->sequence, STACK_WALL_MS,
                             bytes_of(note, sizeof note), out, err);
}

static void make_transaction(struct stack *s, struct stack_client *c) {
    buffer_clear(&c->transaction);
    buffer_clear(&c->other);
    enum error_code code;
    struct error err;
    if (stack_chance(s, 500) || c->locator_count + 2 > STACK_LOCATORS_MAX) {
        code = make_note(s, c, &c->transaction, &err);
        if (code == ERROR_NONE && c->two_faced)
            code = make_note(s, c, &c->other, &err);
    } else {
        struct leaf leaves[2];
        uint32_t count = 1 + stack_below(s, 2);
        for (uint32_t i = 0; i < count; i++) {
            leaves[i] = (struct leaf){
                .operation = LEAF_CREATE, .origin = LEAF_DECLARED, .version = 1};
            for (size_t k = 0; k < LOCATOR_BYTES; k++)
                leaves[i].locator.byte[k] = (uint8_t)next_random(s);
            leaves[i].content.byte[0] = leaves[i].raw.byte[0] = leaves[i].mapping.byte[0] = 1;
            c->locators[c->locator_count++] = leaves[i].locator;
        }
        struct ledger_anchor anchor = {.batch = 1, .leaves = leaves, .leaf_count = count};
        code = ledger_build_anchor(c->signer, &s->genesis->chain, c->sequence, STACK_WALL_MS,
                                   &anchor, &c->transaction, &err);
    }
    if (code != ERROR_NONE)
        stack_broken(s, "client", "%s", err.message);
}

/* Asks any node whether it is done, and hands it in again where it is not: the same bytes. */
static void client_turn(struct stack *s, uint32_t who) {
    struct stack_client *c = &s->clients[who];
    struct stack_node *n = &s->nodes[stack_below(s, STACK_NODES)];
    later(s, CLIENT, CLIENT_MS / 2 + stack_below(s, CLIENT_MS), who, 0, 0);
    if (!n->alive || n->stopped || c->sequence > c->most)
        return;
    if (stack_next_sequence(n, who) > c->sequence) {
        s->result.acknowledged++;
        c->sequence++;
        if (c->sequence <= c->most)
            make_transaction(s, c);
    }
    bool other = c->other.len > 0 && stack_chance(s, 500);
    if (c->sequence <= c->most)
        stack_submit(n, buffer_bytes(other ? &c->other : &c->transaction));
}

/* ---- crashes ---- */

static int remove_one(const char *path, const struct stat *stat_buffer, int kind, struct FTW *place) {
    (void)stat_buffer;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(const char *folder) {
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void crash(struct stack *s, uint32_t who) {
    struct stack_node *n = &s->nodes[who];
    if (!n->alive)
        return;
    stack_trace(s, "%u crashes at height %llu", who, (unsigned long long)chain_height(n->chain));
    stack_crash(n);
    disk_power_cut(who, next_random(s));
    s->result.crashes++;
    for (uint32_t other = 0; other < STACK_SLOTS; other++)
        if (other != who)
            break_line(s, who, other);
    char path[160];
    snprintf(path, sizeof path, "%s/votes", n->folder);
    /* In the first record, with votes behind it: damage to the last batch looks like a torn write. */
    struct stat stat_votes;
    if (s->bad == who && !s->healed && s->flipped == NOBODY && stack_chance(s, 500) &&
        stat(path, &stat_votes) == 0 && stat_votes.st_size > VOTES_FIRST_BYTES &&
        disk_flip(path, stack_below(s, 40), (uint8_t)stack_below(s, 8))) {
        s->flipped = who;
        s->result.flips++;
        stack_trace(s, "a bit flips in the vote log of %u", who);
    }
}

static void restart(struct stack *s, uint32_t who) {
    struct stack_node *n = &s->nodes[who];
    if (n->alive)
        return;
    bool observed = n->observer;
    stack_start(n);
    if (!n->alive && !observed && n->observer) { /* its disk was refused */
        disk_forget(who);
        remove_folder(n->folder);
        stack_start(n);
    } else if (s->flipped == who && !n->observer) {
        stack_broken(s, "flip", "node %u did not notice that its vote log was damaged", who);
    }
    for (uint32_t other = 0; other < STACK_SLOTS && !n->stopped; other++)
        if (other != who)
            connect_line(s, who, other);
}

/* A copy of the folder as a power cut leaves it: for later, or with a clone on it from now on. */
static void keep(struct stack *s, uint32_t who) {
    char kept[160];
    crash(s, who);
    bool cloned = s->forgets == STACK_IS_CLONED;
    snprintf(kept, sizeof kept, "%s/%s", s->options.root, cloned ? "4" : "kept");
    stack_copy_folder(s->nodes[who].folder, kept);
    stack_trace(s, "the folder of %u is copied", who);
    if (!cloned)
        return;
    disk_forget(STACK_CLONE);
    s->result.forgotten++;
    restart(s, STACK_CLONE);
}

/* Nothing of the node's folder, or of its vote log, is newer than the copy. */
static void forget(struct stack *s, uint32_t who) {
    char from[160], to[160];
    const char *part = s->forgets == STACK_LOG_PUT_BACK ? "/votes" : "";
    crash(s, who);
    snprintf(from, sizeof from, "%s/kept%s", s->options.root, part);
    snprintf(to, sizeof to, "%s%s", s->nodes[who].folder, part);
    remove_folder(to);
    if (s->forgets != STACK_FOLDER_EMPTIED)
        stack_copy_folder(from, to);
    disk_forget(who);
    s->nodes[who].observer = s->nodes[who].observer_synced = false;
    s->result.forgotten++;
    stack_trace(s, "%u forgets", who);
}

/* ---- a run ---- */

static void happen(struct stack *s, const struct stack_happening *h) {
    struct stack_node *n = &s->nodes[h->a % STACK_SLOTS];
    bool running = n->alive && !n->stopped && h->life == n->life;
    switch (h->kind) {
    case TICK:
        if (n->alive && !n->stopped)
            stack_tick(n);
        later(s, TICK, STACK_TICK_MS, h->a, 0, 0);
        return;
    case BYTES:
        deliver(s, h);
        return;
    case SYNC:
        if (running)
            stack_synced(n);
        return;
    case CLIENT:
        client_turn(s, h->a);
        return;
    case CONNECT:
        if (h->life == s->lines[h->a][h->b].connection)
            connect_line(s, h->a, h->b);
        return;
    case CRASH:
        if (!s->healed)
            crash(s, h->a);
        return;
    case RESTART:
        restart(s, h->a);
        return;
    case BREAK:
        if (!s->healed)
            break_line(s, h->a, h->b);
        return;
    case KEEP:
        if (!s->healed)
            keep(s, h->a);
        return;
    case FORGET:
        if (!s->healed)
            forget(s, h->a);
        return;
    }
}

static bool done(struct stack *s) {
    uint64_t height = 0;
    for (uint32_t i = 0; i < STACK_CLIENTS; i++)
        if (s->clients[i].sequence <= s->clients[i].most)
            return false;
    for (uint32_t i = 0; i < STACK_NODES; i++) {
        if (!s->nodes[i].alive)
            return false;
        if (chain_height(s->nodes[i].chain) > height)
            height = chain_height(s->nodes[i].chain);
    }
    for (uint32_t i = 0; i < STACK_NODES; i++)
        for (uint32_t k = 0; k < STACK_CLIENTS; k++)
            if (stack_next_sequence(&s->nodes[i], k) != s->clients[k].most + 1)
                return false;
    return true;
}

static void run_until(struct stack *s, uint64_t until_ms) {
    while (s->result.broken == NULL && s->heap_count > 0 && s->heap[0].at_ms <= until_ms) {
        struct stack_happening h = pop(s);
        s->now_ms = h.at_ms;
        happen(s, &h);
        blob_done(h.blob);
    }
    if (s->now_ms < until_ms)
        s->now_ms = until_ms;
}

static void make_genesis(struct stack *s) {
    struct genesis_validator validators[STACK_NODES] = {0};
    struct genesis_submitter submitters[STACK_CLIENTS] = {0};
    struct genesis g = {.name = "simulated",
                        .created_ms = STACK_WALL_MS,
                        .validators = validators,
                        .submitters = submitters,
                        .validator_count = STACK_NODES,
                        .submitter_count = STACK_CLIENTS,
                        .parameters = genesis_parameters_default()};
    g.parameters.window = s->window;
    struct error err;
    enum error_code code = ERROR_NONE;
    for (uint8_t i = 0; i < STACK_NODES && code == ERROR_NONE; i++) {
        uint8_t seed[32] = {1, i};
        code = ledger_signer_seeded(seed, &s->signers[i], &err);
        ledger_signer_public(s->signers[i], validators[i].vote_key);
        snprintf(validators[i].name, sizeof validators[i].name, "node-%u", i);
        snprintf(validators[i].address, sizeof validators[i].address, "127.0.0.1:%u", 7000u + i);
        validators[i].tls_pin.byte[0] = i;
    }
    for (uint8_t i = 0; i < STACK_CLIENTS && code == ERROR_NONE; i++) {
        uint8_t seed[32] = {2, i};
        code = ledger_signer_seeded(seed, &s->clients[i].signer, &err);
        ledger_signer_public(s->clients[i].signer, submitters[i].key);
        memcpy(s->clients[i].key, submitters[i].key, SIGNER_KEY_BYTES);
        snprintf(submitters[i].name, sizeof submitters[i].name, "client-%u", i);
    }
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, GENESIS_BYTES_MAX);
    if (code == ERROR_NONE)
        code = genesis_write(&g, &text, &err);
    if (code == ERROR_NONE)
        code = genesis_parse(buffer_bytes(&text), &s->genesis, &err);
    if (code != ERROR_NONE) {
        fprintf(stderr, "stack: %s\n", err.message);
        abort();
    }
}

static void draw(struct stack *s) {
    static const uint32_t windows[] = {1, 1, 2, 4}, rotations[] = {0, 0, 1, 3};
    static const uint32_t syncs[] = {0, 5, 5, 40}, delays[] = {4, 10, 10, 60};
    static const uint32_t resets[] = {0, 0, 5, 30}, unheard[] = {0, 0, 300, STACK_UNHEARD_ALL};
    s->window = windows[stack_below(s, 4)];
    s->rotation = rotations[stack_below(s, 4)];
    s->sync_ms_max = syncs[stack_below(s, 4)];
    s->delay_ms_max = delays[stack_below(s, 4)];
    s->reset_permille = resets[stack_below(s, 4)];
    s->unheard_permille = unheard[stack_below(s, 4)];
    s->bad = stack_chance(s, 400) ? stack_below(s, STACK_NODES) : NOBODY;
    s->flipped = s->forgetful = NOBODY;
    if (s->bad == NOBODY && stack_chance(s, 400)) {
        s->forgetful = stack_below(s, STACK_NODES);
        s->forgets = 1 + stack_below(s, STACK_IS_CLONED);
    }
    for (uint32_t i = 0; i < STACK_CLIENTS; i++) {
        s->clients[i].most = stack_below(s, 4) + (i == 0);
        s->clients[i].two_faced = stack_chance(s, 200);
    }
}

static void plan_forgetting(struct stack *s, uint32_t fault_ms) {
    uint32_t who = s->forgetful, first_ms = stack_below(s, fault_ms / 2);
    uint32_t second_ms = first_ms + 20 + stack_below(s, fault_ms - first_ms);
    if (who == NOBODY)
        return;
    if (s->forgets != STACK_FOLDER_EMPTIED) {
        later(s, KEEP, first_ms, who, 0, 0);
        later(s, RESTART, first_ms + 1 + stack_below(s, 50), who, 0, 0);
    }
    if (s->forgets != STACK_IS_CLONED) {
        later(s, FORGET, second_ms, who, 0, 0);
        later(s, RESTART, second_ms + 1 + stack_below(s, 100), who, 0, 0);
    }
}

static void plan(struct stack *s, uint32_t fault_ms) {
    plan_forgetting(s, fault_ms);
    for (uint32_t i = stack_below(s, 5); i > 0; i--) {
        uint32_t who = stack_below(s, STACK_NODES), at_ms = stack_below(s, fault_ms);
        later(s, CRASH, at_ms, who, 0, 0);
        later(s, RESTART, at_ms + 1 + stack_below(s, 150), who, 0, 0);
    }
    if (stack_chance(s, 150)) /* all at once, as a power cut does it */
        for (uint32_t who = 0; who < STACK_NODES; who++) {
            later(s, CRASH, fault_ms / 2, who, 0, 0);
            later(s, RESTART, fault_ms / 2 + 1 + stack_below(s, 100), who, 0, 0);
        }
    for (uint32_t i = stack_below(s, 4); i > 0; i--) {
        uint32_t a = stack_below(s, STACK_NODES), b = stack_below(s, STACK_NODES);
        if (a != b)
            later(s, BREAK, stack_below(s, fault_ms), a, b, 0);
    }
}

static void finish(struct stack *s) {
    char kept[160];
    snprintf(kept, sizeof kept, "%s/kept", s->options.root);
    remove_folder(kept);
    for (uint32_t i = 0; i < STACK_NODES; i++)
        ledger_signer_free(s->signers[i]);
    for (uint32_t i = 0; i < STACK_SLOTS; i++) {
        stack_crash(&s->nodes[i]);
        free(s->nodes[i].held);
        disk_forget(i);
        remove_folder(s->nodes[i].folder);
        for (uint32_t k = 0; k < STACK_SLOTS; k++)
            if (s->lines[i][k].up)
                net_reader_done(&s->lines[i][k].reader);
    }
    for (size_t i = 0; i < s->heap_count; i++)
        blob_done(s->heap[i].blob);
    for (uint32_t i = 0; i < STACK_CLIENTS; i++) {
        ledger_signer_free(s->clients[i].signer);
        buffer_done(&s->clients[i].transaction);
        buffer_done(&s->clients[i].other);
    }
    genesis_free(s->genesis);
    free(s->heap);
    free(s);
}

void stack_run(const struct stack_options *options, struct stack_result *ret_result) {
    struct stack *s = calloc(1, sizeof *s);
    assert(s != NULL);
    s->options = *options;
    s->random[0] = options->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    s->random[1] = ~options->seed ^ UINT64_C(0xc2b2ae3d27d4eb4f);
    for (int i = 0; i < 8; i++)
        (void)next_random(s);
    disk_root(options->root);
    draw(s);
    make_genesis(s);
    uint32_t fault_ms = 100 + stack_below(s, 400);
    plan(s, fault_ms);
    for (uint32_t i = 0; i < STACK_SLOTS; i++) {
        struct stack_node *n = &s->nodes[i];
        n->stack = s;
        n->index = i == STACK_CLONE ? s->forgetful : i;
        n->slot = i;
        snprintf(n->folder, sizeof n->folder, "%s/%u", options->root, i);
        if (i != STACK_CLONE)
            restart(s, i);
        later(s, TICK, 1 + stack_below(s, STACK_TICK_MS), i, 0, 0);
    }
    for (uint32_t i = 0; i < STACK_CLIENTS; i++) {
        struct stack_client *c = &s->clients[i];
        c->sequence = 1;
        buffer_init(&c->transaction, LEDGER_TRANSACTION_BYTES_MAX);
        buffer_init(&c->other, LEDGER_TRANSACTION_BYTES_MAX);
        if (c->most > 0)
            make_transaction(s, c);
        later(s, CLIENT, stack_below(s, fault_ms / 2), i, 0, 0);
        s->sequences[0][i] = 1;
    }
    run_until(s, fault_ms);
    crash(s, STACK_CLONE);
    s->healed = true;
    stack_trace(s, "everything is healed");
    for (uint32_t i = 0; i < STACK_NODES && s->result.broken == NULL; i++)
        restart(s, i);
    while (s->result.broken == NULL && !done(s) && s->now_ms < fault_ms + LIVENESS_MS_MAX)
        run_until(s, s->now_ms + 20);
    if (s->result.broken == NULL && !done(s))
        stack_broken(s, "liveness", "%d ms after healing not every transaction is done everywhere",
                     LIVENESS_MS_MAX);
    if (s->result.broken == NULL)
        stack_check_end(s);
    *ret_result = s->result;
    finish(s);
}
