/*
 * What a node does about votes that it may have forgotten, as ledger/node_doubt.c does it, over the
 * core's own pbft_votes_of and pbft_has_forgotten; how a node comes to forget; and the check that it
 * asked before it signs.
 */
#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/wire.h"
#include "tests/sim/stack/disk.h"
#include "tests/sim/stack/stack.h"

enum {
    ASK_MS = 60,    /* while it is not known whether it knows its votes */
    LATER_MS = 150, /* one of the others, in turn */
    COPY_BYTES = 1 << 16,
};

void stack_doubt_begin(struct stack_node *n) {
    memset(&n->doubt, 0, sizeof n->doubt);
    n->doubt.open = !n->observer && !n->stack->options.never_asks;
}

bool stack_may_sign(const struct stack_node *n) {
    return !n->doubt.open && !n->doubt.core_stale;
}

void stack_votes_forgotten(struct stack_node *n, const char *what) {
    struct stack *s = n->stack;
    if (n->observer)
        return;
    stack_trace(s, "%u does not know all its votes: %s", n->index, what);
    if (n->index != s->forgetful)
        stack_broken(s, "forgotten", "node %u, whose disk is its own, does not know its votes: %s",
                     n->index, what);
    s->result.noticed++;
    n->observer = true;
    stack_remember_identity(n); /* what is synced next makes it last */
    n->doubt.open = false;
    n->doubt.core_stale = n->core != NULL;
}

static void ask(struct stack_node *n, uint32_t peer) {
    if (peer == n->index)
        return;
    n->doubt.answers[peer].asked = true;
    stack_send(n, peer, STACK_GET_VOTES, bytes_of(NULL, 0));
}

void stack_on_get_votes(struct stack_node *n, uint32_t from) {
    SCOPED_BUFFER struct buffer votes;
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&votes, STACK_MESSAGE_BYTES_MAX / 2);
    buffer_init(&answer, STACK_MESSAGE_BYTES_MAX);
    pbft_votes_of(n->core, from, &votes);
    assert(!votes.failed);
    wire_u64(&answer, chain_height(n->chain));
    wire_fixed(&answer, votes.data, votes.len);
    stack_send(n, from, STACK_VOTES, buffer_bytes(&answer));
}

void stack_on_votes(struct stack_node *n, uint32_t from, struct bytes body) {
    if (!n->doubt.answers[from].asked)
        return;
    n->doubt.answers[from].asked = false;
    n->doubt.answers[from].told = false;
    struct wire_reader r = wire_reader(body);
    uint64_t height = wire_read_u64(&r);
    for (int i = 0; !r.failed && r.at < body.data + body.len && i < PBFT_VOTES_OF_MAX; i++) {
        struct bytes message = wire_read_bytes(&r, PBFT_MESSAGE_BYTES_MAX);
        if (!r.failed && !n->observer && pbft_has_forgotten(n->core, message))
            stack_votes_forgotten(n, "a vote that another validator holds");
    }
    if (r.failed)
        return;
    n->doubt.answers[from].told = true;
    n->doubt.answers[from].height = height;
}

void stack_check_seal(struct stack_node *n, struct bytes certificate) {
    if (!n->observer && pbft_has_forgotten_seal(n->core, certificate))
        stack_votes_forgotten(n, "a vote in a block's certificate");
}

/* What one honest of those who told has; false where too few told. */
static bool height_told(const struct stack_node *n, uint64_t *ret_height) {
    uint64_t heights[STACK_NODES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < STACK_NODES; i++) {
        if (!n->doubt.answers[i].told)
            continue;
        uint32_t at = count++;
        for (; at > 0 && heights[at - 1] < n->doubt.answers[i].height; at--)
            heights[at] = heights[at - 1];
        heights[at] = n->doubt.answers[i].height;
    }
    if (count + 1 < pbft_quorum(STACK_NODES))
        return false;
    *ret_height = heights[pbft_faults(STACK_NODES)];
    return true;
}

static void fetch_from_who_told(struct stack_node *n, uint64_t height) {
    for (uint32_t i = 0; i < STACK_NODES; i++)
        if (n->doubt.answers[i].told && n->doubt.answers[i].height >= height) {
            stack_fetch(n, i);
            return;
        }
}

static void look(struct stack_node *n) {
    uint64_t height = 0, now_ms = n->stack->now_ms;
    bool told = height_told(n, &height), due = now_ms - n->doubt.asked_ms >= ASK_MS;
    if (told && chain_height(n->chain) >= height) {
        stack_trace(n->stack, "%u knows its votes", n->index);
        memset(&n->doubt, 0, sizeof n->doubt);
        stack_tell_connected(n);
        return;
    }
    if (!due && n->doubt.asked_ms != 0)
        return;
    n->doubt.asked_ms = now_ms;
    if (told)
        fetch_from_who_told(n, height);
    for (uint32_t i = 0; i < STACK_NODES; i++)
        if (!n->doubt.answers[i].told)
            ask(n, i);
}

void stack_doubt(struct stack_node *n) {
    if (n->observer)
        return;
    if (n->doubt.open) {
        look(n);
        return;
    }
    if (n->stack->options.never_asks || n->stack->now_ms - n->doubt.asked_ms < LATER_MS)
        return;
    n->doubt.asked_ms = n->stack->now_ms;
    ask(n, n->doubt.next++ % STACK_NODES);
}

/* ---- how a node comes to forget ---- */

static const char *copy_to;
static size_t copy_base;

static int copy_one(const char *path, const struct stat *stat_buffer, int kind, struct FTW *place) {
    (void)stat_buffer;
    (void)place;
    static uint8_t data[COPY_BYTES];
    char target[256];
    int used = snprintf(target, sizeof target, "%s%s", copy_to, path + copy_base);
    assert(used < (int)sizeof target);
    if (kind == FTW_D)
        return mkdir(target, 0700);
    FILE *in = fopen(path, "rb"), *out = fopen(target, "wb");
    assert(in != NULL && out != NULL);
    for (size_t got; (got = fread(data, 1, sizeof data, in)) > 0;) {
        size_t put = fwrite(data, 1, got, out);
        assert(put == got);
    }
    (void)fclose(in);
    return fclose(out);
}

void stack_copy_folder(const char *from, const char *to) {
    copy_to = to;
    copy_base = strlen(from);
    int rc = nftw(from, copy_one, 16, FTW_PHYS);
    assert(rc == 0);
}

/* ---- the check ---- */

struct held_vote {
    struct hash of; /* the whole message */
    uint32_t holders;
};

/* What a message says, by docs/formats.md; a VIEW-CHANGE speaks of no height. */
static bool read_ballot(struct bytes message, struct pbft_ballot *ret_ballot) {
    struct wire_reader r = wire_reader(message);
    *ret_ballot = (struct pbft_ballot){.height = 0};
    (void)wire_read_u8(&r);
    ret_ballot->type = (enum pbft_type)wire_read_u8(&r);
    (void)wire_read_u16(&r);
    (void)wire_read_u64(&r);
    ret_ballot->view = wire_read_u64(&r);
    if (ret_ballot->type == PBFT_VIEW_CHANGE)
        return !r.failed;
    ret_ballot->height = wire_read_u64(&r);
    wire_read_fixed(&r, ret_ballot->digest.byte, HASH_BYTES);
    return !r.failed && (ret_ballot->type == PBFT_PROPOSE || ret_ballot->type == PBFT_PREPARE ||
                         ret_ballot->type == PBFT_COMMIT);
}

static void bind_to(struct stack_node *n, struct bytes message) {
    if (n->bound_count < STACK_BOUND_MAX && read_ballot(message, &n->bound[n->bound_count]))
        n->bound_count++;
}

/* What the others hold of its votes at this moment, each by how many. */
static void gather(struct stack_node *n) {
    struct stack *s = n->stack;
    struct held_vote votes[STACK_NODES * PBFT_VOTES_OF_MAX];
    size_t count = 0;
    SCOPED_BUFFER struct buffer told;
    buffer_init(&told, STACK_MESSAGE_BYTES_MAX);
    for (uint32_t i = 0; i < STACK_NODES; i++) {
        if (i == n->index || !s->nodes[i].alive || s->nodes[i].stopped)
            continue;
        buffer_clear(&told);
        pbft_votes_of(s->nodes[i].core, n->index, &told);
        struct wire_reader r = wire_reader(buffer_bytes(&told));
        while (r.at < told.data + told.len) {
            struct bytes message = wire_read_bytes(&r, PBFT_MESSAGE_BYTES_MAX);
            struct hash of = sha256_of(message);
            size_t at = 0;
            while (at < count && !hash_equal(&votes[at].of, &of))
                at++;
            if (at == count)
                votes[count++] = (struct held_vote){of, 0};
            if (++votes[at].holders != STACK_NODES - pbft_quorum(STACK_NODES) + 1)
                continue;
            bind_to(n, message);
            if (pbft_has_forgotten(n->core, message))
                stack_broken(s, "asked", "node %u signs, and does not know what others hold of it",
                             n->index);
        }
    }
}

/*
 * What n - Q + 1 honest validators hold, one at least of any Q - 1 must have told. So a node that sends
 * its first vote since a start accounts for all that, and contradicts none of it later. Not of a node
 * whose clone signs meanwhile.
 */
void stack_check_asked(struct stack_node *n, struct bytes message) {
    struct stack *s = n->stack;
    struct pbft_ballot m;
    if (n->index != s->forgetful || s->forgets == STACK_IS_CLONED || !read_ballot(message, &m))
        return;
    if (!n->gathered)
        gather(n);
    n->gathered = true;
    for (size_t i = 0; i < n->bound_count; i++) {
        const struct pbft_ballot *b = &n->bound[i];
        bool other = b->type == m.type && b->view == m.view && b->height == m.height &&
                     !hash_equal(&b->digest, &m.digest);
        if (other || (b->type == PBFT_VIEW_CHANGE && m.view < b->view))
            stack_broken(s, "twice", "node %u contradicts a vote of its own that others hold",
                         n->index);
    }
}
