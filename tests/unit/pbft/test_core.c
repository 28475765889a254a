/*
 * The core's door: a few validators in one process, their messages in one queue, in order. Faults
 * are the simulator's (tests/sim); here is what must hold when nothing goes wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/wire.h"
#include "ledger/pbft/pbft.h"

enum { NODES_MAX = 100, QUEUE_MAX = 1 << 17, HEIGHTS_MAX = 64, HEADER_BYTES = 64 };

struct node {
    uint32_t index;
    struct pbft *pbft;
    uint64_t executed;  /* tentatively, up to this height */
    uint64_t committed;
    struct hash digests[HEIGHTS_MAX];
    struct buffer headers[HEIGHTS_MAX];
    struct buffer certificates[HEIGHTS_MAX];
    struct buffer *records;
    size_t record_count;
    bool dead;
    uint64_t view;
};

struct letter {
    uint32_t from, to;
    struct buffer bytes;
};

struct cluster {
    uint32_t n;
    uint64_t blocks_wanted;
    struct node nodes[NODES_MAX];
    struct letter *letters;
    size_t head, tail;
    uint64_t now_ms;
    uint32_t window;
    uint64_t rotation;
    uint64_t base, epoch; /* the height before the first one, and the epoch of all after it */
    bool observed;        /* the last node is no validator */
    uint64_t last;        /* the epoch ends at this height; 0: it does not */
    uint32_t wrong_clock; /* this one's proposals are a minute ahead; UINT32_MAX: nobody's */
    uint64_t bad_payload; /* nodes find the first block proposed at this height invalid */
    uint32_t liar;
    size_t faults;
};

static void fake_signature(uint32_t signer, const struct hash *statement, uint8_t *ret_signature) {
    memset(ret_signature, 0, PBFT_SIGNATURE_BYTES);
    wire_store_u32(ret_signature, signer);
    memcpy(ret_signature + 4, statement->byte, HASH_BYTES);
}

static void sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    fake_signature(((struct node *)context)->index, statement, ret_signature);
}

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t *signature) {
    (void)context;
    uint8_t expected[PBFT_SIGNATURE_BYTES];
    fake_signature(signer, statement, expected);
    return memcmp(expected, signature, sizeof expected) == 0;
}

static struct bytes make_header(uint8_t *into, uint64_t epoch, uint64_t height,
                                const struct hash *parent, uint64_t time_ms, uint64_t salt) {
    wire_store_u64(into, height);
    wire_store_u64(into + 8, epoch);
    memcpy(into + 16, parent->byte, HASH_BYTES);
    wire_store_u64(into + 48, time_ms);
    wire_store_u64(into + 56, salt);
    return bytes_of(into, HEADER_BYTES);
}

static bool header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    (void)context;
    if (header.len != HEADER_BYTES)
        return false;
    ret_header->height = wire_load_u64(header.data);
    ret_header->epoch = wire_load_u64(header.data + 8);
    memcpy(ret_header->parent.byte, header.data + 16, HASH_BYTES);
    ret_header->time_ms = wire_load_u64(header.data + 48);
    ret_header->last = wire_load_u64(header.data + 56) >> 63 != 0;
    return true;
}

static void post(struct cluster *c, uint32_t from, uint32_t to, struct bytes message) {
    assert_true(c->tail < QUEUE_MAX);
    struct letter *letter = &c->letters[c->tail++];
    letter->from = from;
    letter->to = to;
    buffer_init(&letter->bytes, PBFT_MESSAGE_BYTES_MAX);
    buffer_append(&letter->bytes, message.data, message.len);
}

static void step(struct cluster *c, struct node *node, struct pbft_event event);

static void on_committed(struct node *node, const struct pbft_effect *e) {
    assert_int_equal(e->committed.height, node->committed + 1);
    node->committed++;
    node->digests[node->committed] = e->committed.digest;
    buffer_append(&node->headers[node->committed], e->committed.header.data,
                  e->committed.header.len);
    buffer_append(&node->certificates[node->committed], e->committed.certificate.data,
                  e->committed.certificate.len);
    if (node->executed < node->committed)
        node->executed = node->committed;
}

/* The effects are copied first: answering one by a step ends the life of the list. */
static void carry_out(struct cluster *c, struct node *node, const struct pbft_effect *e) {
    struct pbft_event event = {.now_ms = c->now_ms, .wall_ms = 1000};
    uint8_t header[HEADER_BYTES];
    switch (e->kind) {
    case PBFT_EFFECT_PERSIST:
        node->records = realloc(node->records, (node->record_count + 1) * sizeof *node->records);
        buffer_init(&node->records[node->record_count], PBFT_RECORD_BYTES_MAX);
        buffer_append(&node->records[node->record_count], e->persist.record.data,
                      e->persist.record.len);
        node->record_count++;
        return;
    case PBFT_EFFECT_SEND:
        for (uint32_t to = 0; to < c->n; to++)
            if (to != node->index && (e->send.to == PBFT_EVERYBODY || e->send.to == to))
                post(c, node->index, to, e->send.message);
        return;
    case PBFT_EFFECT_EXECUTE:
        assert_int_equal(e->execute.height, node->executed + 1);
        event.kind = PBFT_EVENT_EXECUTED;
        event.executed.height = e->execute.height;
        event.executed.digest = e->execute.digest;
        event.executed.valid = !(e->execute.height == c->bad_payload &&
                                 e->execute.from == c->liar && node->index != c->liar);
        if (event.executed.valid)
            node->executed = e->execute.height;
        step(c, node, event);
        return;
    case PBFT_EFFECT_UNDO:
        node->executed = e->undo.height - 1;
        return;
    case PBFT_EFFECT_PROPOSE:
        if (e->propose.height > c->blocks_wanted)
            return;
        event.kind = PBFT_EVENT_PROPOSAL;
        event.proposal.header =
            make_header(header, c->epoch, e->propose.height, &e->propose.parent,
                        1000 + e->propose.height + (node->index == c->wrong_clock ? 60000 : 0),
                        e->propose.view << 32 | node->index |
                            (uint64_t)(e->propose.height == c->last) << 63);
        step(c, node, event);
        return;
    case PBFT_EFFECT_COMMITTED:
        on_committed(node, e);
        return;
    case PBFT_EFFECT_FAULT:
        c->faults++;
        return;
    case PBFT_EFFECT_VIEW:
        node->view = e->view.view;
        return;
    case PBFT_EFFECT_PROPOSE_STOP:
    case PBFT_EFFECT_FETCH:
    case PBFT_EFFECT_EVIDENCE:
    case PBFT_EFFECT_DIVERGED:
        return;
    }
}

static void step(struct cluster *c, struct node *node, struct pbft_event event) {
    struct pbft_effects effects;
    event.now_ms = c->now_ms;
    event.wall_ms = 1000;
    pbft_step(node->pbft, &event, &effects);
    struct pbft_effect *list = calloc(effects.count + 1, sizeof *list);
    struct buffer *copies = calloc(effects.count + 1, 2 * sizeof *copies);
    assert_non_null(list);
    assert_non_null(copies);
    for (size_t i = 0; i < effects.count; i++) {
        list[i] = effects.list[i];
        struct bytes *parts[2] = {NULL, NULL};
        if (list[i].kind == PBFT_EFFECT_PERSIST)
            parts[0] = &list[i].persist.record;
        if (list[i].kind == PBFT_EFFECT_SEND)
            parts[0] = &list[i].send.message;
        if (list[i].kind == PBFT_EFFECT_EXECUTE)
            parts[0] = &list[i].execute.header;
        if (list[i].kind == PBFT_EFFECT_COMMITTED) {
            parts[0] = &list[i].committed.header;
            parts[1] = &list[i].committed.certificate;
        }
        for (int k = 0; k < 2; k++) {
            struct buffer *copy = &copies[2 * i + (size_t)k];
            buffer_init(copy, PBFT_RECORD_BYTES_MAX);
            if (parts[k] == NULL)
                continue;
            buffer_append(copy, parts[k]->data, parts[k]->len);
            *parts[k] = buffer_bytes(copy);
        }
    }
    size_t count = effects.count;
    for (size_t i = 0; i < count; i++)
        carry_out(c, node, &list[i]);
    for (size_t i = 0; i < 2 * count; i++)
        buffer_done(&copies[i]);
    free(copies);
    free(list);
}

static void node_start(struct cluster *c, uint32_t i) {
    struct node *node = &c->nodes[i];
    uint8_t genesis[HEADER_BYTES];
    struct hash none = {{0}};
    struct pbft_config config;
    pbft_config_defaults(&config);
    bool observer = c->observed && i == c->n - 1;
    config.self = observer ? PBFT_OBSERVER : i;
    config.n = c->observed ? c->n - 1 : c->n;
    config.domain.epoch = c->epoch;
    config.window = c->window;
    config.rotation = c->rotation;
    uint64_t epoch_before = c->epoch == 0 ? 0 : c->epoch - 1;
    config.base_header = make_header(genesis, epoch_before, c->base, &none, 1000, 0);
    config.committed_header = config.base_header;
    if (node->committed > c->base) {
        config.committed_header = buffer_bytes(&node->headers[node->committed]);
        config.committed_certificate = buffer_bytes(&node->certificates[node->committed]);
    }
    config.host = (struct pbft_host){node, header_read, observer ? NULL : sign, verify};
    if (node->committed < c->base)
        node->committed = c->base;
    struct bytes *records = calloc(node->record_count + 1, sizeof *records);
    for (size_t k = 0; k < node->record_count; k++)
        records[k] = buffer_bytes(&node->records[k]);
    config.records = records;
    config.record_count = node->record_count;
    struct error err = {0};
    if (pbft_new(&config, &node->pbft, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    free(records);
    node->executed = node->committed;
    step(c, node, (struct pbft_event){.kind = PBFT_EVENT_PENDING, .pending = {true}});
}

static struct cluster *cluster_new(uint32_t n, uint32_t window, uint64_t rotation,
                                   uint64_t blocks_wanted) {
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    *c = (struct cluster){.n = n,
                          .window = window,
                          .rotation = rotation,
                          .blocks_wanted = blocks_wanted,
                          .now_ms = 1,
                          .wrong_clock = UINT32_MAX,
                          .liar = UINT32_MAX};
    c->letters = calloc(QUEUE_MAX, sizeof *c->letters);
    assert_non_null(c->letters);
    for (uint32_t i = 0; i < n; i++) {
        c->nodes[i].index = i;
        for (int h = 0; h < HEIGHTS_MAX; h++) {
            buffer_init(&c->nodes[i].headers[h], PBFT_HEADER_BYTES_MAX);
            buffer_init(&c->nodes[i].certificates[h], PBFT_CERTIFICATE_BYTES_MAX);
        }
    }
    return c;
}

static void cluster_start(struct cluster *c) {
    for (uint32_t i = 0; i < c->n; i++)
        if (!c->nodes[i].dead)
            node_start(c, i);
}

static void cluster_free(struct cluster *c) {
    for (size_t i = 0; i < c->tail; i++)
        buffer_done(&c->letters[i].bytes);
    free(c->letters);
    for (uint32_t i = 0; i < c->n; i++) {
        struct node *node = &c->nodes[i];
        pbft_free(node->pbft);
        for (int h = 0; h < HEIGHTS_MAX; h++) {
            buffer_done(&node->headers[h]);
            buffer_done(&node->certificates[h]);
        }
        for (size_t k = 0; k < node->record_count; k++)
            buffer_done(&node->records[k]);
        free(node->records);
    }
    free(c);
}

static void deliver_all(struct cluster *c) {
    while (c->head < c->tail) {
        struct letter *letter = &c->letters[c->head++];
        struct node *node = &c->nodes[letter->to];
        if (!node->dead)
            step(c, node,
                 (struct pbft_event){
                     .kind = PBFT_EVENT_MESSAGE,
                     .message = {letter->from, buffer_bytes(&letter->bytes)}});
        buffer_done(&letter->bytes);
    }
    c->head = c->tail = 0;
}

static void run_ms(struct cluster *c, uint64_t ms) {
    for (uint64_t end = c->now_ms + ms; c->now_ms < end; c->now_ms += 20) {
        for (uint32_t i = 0; i < c->n; i++)
            if (!c->nodes[i].dead)
                step(c, &c->nodes[i], (struct pbft_event){.kind = PBFT_EVENT_TICK});
        deliver_all(c);
    }
}

static void check_all_committed(struct cluster *c, uint64_t height) {
    for (uint32_t i = 0; i < c->n; i++) {
        struct node *node = &c->nodes[i];
        if (node->dead)
            continue;
        assert_int_equal(node->committed, height);
        for (uint64_t h = c->base + 1; h <= height; h++) {
            uint32_t first = c->nodes[0].dead ? 1 : 0;
            assert_true(hash_equal(&node->digests[h], &c->nodes[first].digests[h]));
            struct pbft_certificate certificate;
            struct pbft_domain domain = {.epoch = c->epoch};
            struct error err = {0};
            assert_int_equal(pbft_certificate_decode(buffer_bytes(&node->certificates[h]),
                                                     &certificate, &err), ERROR_NONE);
            assert_int_equal(pbft_certificate_verify(&certificate, &domain,
                                                     c->observed ? c->n - 1 : c->n, verify, node,
                                                     &err), ERROR_NONE);
            assert_int_equal(certificate.ballot.type, PBFT_COMMIT);
            assert_true(hash_equal(&certificate.ballot.digest, &node->digests[h]));
        }
    }
}

static void normal_case(uint32_t n, uint32_t window, uint64_t rotation) {
    struct cluster *c = cluster_new(n, window, rotation, 20);
    cluster_start(c);
    deliver_all(c);
    check_all_committed(c, 20);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(c->nodes[i].view, 0);
    assert_int_equal(c->faults, 0);
    cluster_free(c);
}

static void commits_alone(void **state) {
    (void)state;
    normal_case(1, 1, 0);
    normal_case(1, 4, 0);
}

static void commits_with_few(void **state) {
    (void)state;
    normal_case(2, 1, 0);
    normal_case(3, 4, 0);
}

static void commits_with_four_and_seven(void **state) {
    (void)state;
    normal_case(4, 1, 0);
    normal_case(4, 4, 0);
    normal_case(7, 4, 0);
}

static void commits_with_many(void **state) {
    (void)state;
    normal_case(31, 4, 0);
}

static void rotates_the_leader_every_k_heights(void **state) {
    (void)state;
    normal_case(4, 4, 3);
    normal_case(4, 1, 1);
}

static void commits_with_f_dead(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->nodes[3].dead = true;
    cluster_start(c);
    deliver_all(c);
    check_all_committed(c, 20);
    cluster_free(c);
}

static void dead_leader_is_replaced_in_view_1(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->nodes[0].dead = true;
    cluster_start(c);
    deliver_all(c);
    assert_int_equal(c->nodes[1].committed, 0);
    run_ms(c, 1100);
    check_all_committed(c, 20);
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(c->nodes[i].view, 1);
    cluster_free(c);
}

static void invalid_block_replaces_the_leader_at_once(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->liar = 0;
    c->bad_payload = 5;
    cluster_start(c);
    deliver_all(c);
    check_all_committed(c, 20);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(c->nodes[i].view, 1);
    cluster_free(c);
}

static void all_restart_and_go_on_in_the_same_view(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 9);
    c->nodes[0].dead = true;
    cluster_start(c);
    run_ms(c, 1500);
    check_all_committed(c, 9);
    for (uint32_t i = 1; i < 4; i++) {
        pbft_free(c->nodes[i].pbft);
        c->nodes[i].view = 0;
    }
    c->blocks_wanted = 15;
    cluster_start(c);
    run_ms(c, 500);
    check_all_committed(c, 15);
    for (uint32_t i = 1; i < 4; i++) {
        struct pbft_status status;
        pbft_status(c->nodes[i].pbft, &status);
        assert_int_equal(status.view, 1);
        assert_false(status.changing);
    }
    cluster_free(c);
}

static void observer_follows_and_never_signs(void **state) {
    (void)state;
    struct cluster *c = cluster_new(5, 4, 0, 20); /* four validators and one who looks on */
    c->observed = true;
    cluster_start(c);
    deliver_all(c);
    run_ms(c, 3000);
    check_all_committed(c, 20);
    assert_int_equal(c->nodes[4].record_count, 0);
    struct pbft_status status;
    pbft_status(c->nodes[4].pbft, &status);
    assert_int_equal(status.signatures_made, 0);
    cluster_free(c);
}

static void an_epoch_begins_on_a_block_of_the_one_before(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 30);
    c->base = 10;
    c->epoch = 3;
    c->nodes[0].dead = true; /* so that a view change starts from the base, too */
    cluster_start(c);
    run_ms(c, 1500);
    check_all_committed(c, 30);
    cluster_free(c);
}

static void a_clock_that_is_a_minute_ahead_costs_its_leader_the_view(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 10);
    c->wrong_clock = 0;
    cluster_start(c);
    run_ms(c, 1500);
    check_all_committed(c, 10);
    assert_true(c->faults > 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(c->nodes[i].view, 1);
    cluster_free(c);
}

/* How many of a validator's votes that a peer holds it has forgotten; of all that the peer holds. */
static size_t forgotten(struct cluster *c, uint32_t validator, uint32_t peer, size_t *ret_held) {
    struct buffer held;
    buffer_init(&held, PBFT_MESSAGE_BYTES_MAX);
    pbft_votes_of(c->nodes[peer].pbft, validator, &held);
    struct wire_reader r = wire_reader(buffer_bytes(&held));
    size_t count = 0;
    for (*ret_held = 0; r.at < held.data + held.len; ++*ret_held) {
        struct bytes message = wire_read_bytes(&r, PBFT_MESSAGE_BYTES_MAX);
        assert_false(r.failed);
        count += pbft_has_forgotten(c->nodes[validator].pbft, message) ? 1 : 0;
        assert_false(pbft_has_forgotten(c->nodes[peer].pbft, message)); /* it is not the peer's */
        held.data[message.data + message.len - held.data - 1] ^= 1; /* a signature that is not ours */
        assert_false(pbft_has_forgotten(c->nodes[validator].pbft, message));
    }
    buffer_done(&held);
    return count;
}

static void start_again(struct cluster *c, uint32_t i, bool with_records) {
    struct node *node = &c->nodes[i];
    pbft_free(node->pbft);
    while (!with_records && node->record_count > 0)
        buffer_done(&node->records[--node->record_count]);
    node_start(c, i);
}

static void votes_that_the_records_lack_are_known_by_those_who_hold_them(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 3);
    size_t held = 0;
    c->nodes[1].dead = c->nodes[2].dead = true; /* two alone prepare, and commit nothing */
    cluster_start(c);
    deliver_all(c);
    assert_int_equal(forgotten(c, 3, 0, &held), 0);
    assert_true(held >= 1); /* PREPARE */
    start_again(c, 3, true);
    assert_int_equal(forgotten(c, 3, 0, &held), 0);
    run_ms(c, 5000);
    assert_int_equal(forgotten(c, 3, 0, &held), 0);
    start_again(c, 3, false);
    assert_int_equal(forgotten(c, 3, 0, &held), held); /* and its VIEW-CHANGE */
    assert_true(held >= 2);
    cluster_free(c);
}

static void a_seal_on_a_block_that_was_never_prepared_is_seen(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 3);
    cluster_start(c);
    deliver_all(c);
    check_all_committed(c, 3);
    struct bytes bytes = buffer_bytes(&c->nodes[0].certificates[1]);
    struct pbft_certificate certificate;
    assert_int_equal(pbft_certificate_decode(bytes, &certificate, NULL), ERROR_NONE);
    for (uint32_t i = 0; i < 4; i++) {
        bool sealed = false;
        for (uint32_t k = 0; k < certificate.seal_count; k++)
            sealed = sealed || certificate.seals[k].signer == i;
        assert_false(pbft_has_forgotten_seal(c->nodes[i].pbft, bytes)); /* it has the block */
        c->nodes[i].committed = 0;
        start_again(c, i, true);
        assert_false(pbft_has_forgotten_seal(c->nodes[i].pbft, bytes)); /* it has its votes */
        start_again(c, i, false);
        assert_true(pbft_has_forgotten_seal(c->nodes[i].pbft, bytes) == sealed);
    }
    cluster_free(c);
}

static void records_past_the_window_are_refused(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 1, 0, 9);
    cluster_start(c);
    deliver_all(c);
    check_all_committed(c, 9);
    struct node *node = &c->nodes[1];
    struct bytes records[256];
    for (size_t k = 0; k < node->record_count; k++)
        records[k] = buffer_bytes(&node->records[k]);
    uint8_t genesis[HEADER_BYTES];
    struct hash none = {{0}};
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = 1;
    config.n = 4;
    config.window = 1;
    config.base_header = config.committed_header = make_header(genesis, 0, 0, &none, 1000, 0);
    config.records = records;
    config.record_count = node->record_count;
    config.host = (struct pbft_host){node, header_read, sign, verify};
    struct pbft *untouched = NULL;
    struct error err = {0};
    assert_int_equal(pbft_new(&config, &untouched, &err), ERROR_CORRUPT);
    assert_null(untouched);
    assert_string_equal(err.message, "vote log: record 5: its height is past the window: committed "
                                     "blocks are missing");
    cluster_free(c);
}

static struct pbft *next_epoch(struct node *node, uint64_t epoch, enum error_code expected,
                               struct error *err) {
    struct bytes records[256];
    assert_true(node->record_count <= 256);
    for (size_t k = 0; k < node->record_count; k++)
        records[k] = buffer_bytes(&node->records[k]);
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = node->index;
    config.n = 3; /* one left */
    config.domain.epoch = epoch;
    config.base_header = config.committed_header = buffer_bytes(&node->headers[node->committed]);
    config.records = records;
    config.record_count = node->record_count;
    config.host = (struct pbft_host){node, header_read, sign, verify};
    struct pbft *core = NULL;
    assert_int_equal(pbft_new(&config, &core, err), expected);
    return core;
}

static size_t count_effects(struct pbft *core, struct pbft_event event,
                            enum pbft_effect_kind kind, struct pbft_effect *ret_last) {
    struct pbft_effects effects;
    pbft_step(core, &event, &effects);
    size_t count = 0;
    for (size_t i = 0; i < effects.count; i++)
        if (effects.list[i].kind == kind) {
            count++;
            if (ret_last != NULL)
                *ret_last = effects.list[i];
        }
    return count;
}

static void nothing_stands_above_an_epochs_last_block(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->last = 6;
    cluster_start(c);
    deliver_all(c);
    run_ms(c, 20000); /* every timer has had its time: a finished epoch suspects no leader */
    check_all_committed(c, 6);
    for (uint32_t i = 0; i < 4; i++) {
        struct pbft_status status;
        pbft_status(c->nodes[i].pbft, &status);
        assert_true(status.ended);
        assert_int_equal(status.view, 0);
        assert_int_equal(status.proposed, 6);
    }
    struct pbft_event suspect = {.kind = PBFT_EVENT_SUSPECT, .now_ms = c->now_ms};
    assert_int_equal(count_effects(c->nodes[1].pbft, suspect, PBFT_EFFECT_PERSIST, NULL), 0);
    cluster_free(c);
}

static void the_next_epoch_begins_with_fresh_votes_in_view_0(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->last = 6;
    c->nodes[0].dead = true; /* so that the first epoch ends in view 1 */
    cluster_start(c);
    deliver_all(c);
    run_ms(c, 1100);
    check_all_committed(c, 6);
    struct error err = {0};
    /* The whole log of the epoch before is passed over: view 0, nothing signed. */
    struct pbft *core = next_epoch(&c->nodes[1], 1, ERROR_NONE, &err);
    struct pbft_status status;
    pbft_status(core, &status);
    assert_int_equal(status.epoch, 1);
    assert_int_equal(status.view, 0);
    assert_int_equal(status.committed, 6);
    assert_false(status.ended);
    const struct bytes *records;
    size_t count;
    pbft_records(core, &records, &count);
    assert_int_equal(count, 0);
    pbft_free(core);
    /* Votes of an epoch that the chain has not reached: it was rolled back under them. */
    c->nodes[1].records[0].data[9] = 9;
    core = next_epoch(&c->nodes[1], 1, ERROR_CORRUPT, &err);
    assert_null(core);
    assert_string_equal(err.message,
                        "vote log: record 1: it is of a later epoch: the chain was rolled back");
    cluster_free(c);
}

/* Somebody who missed the end of the epoch hears a STATUS of the next one and fetches; somebody who is
 * already there answers what comes late with a STATUS. Neither blames the other. */
static void epochs_tell_each_other_how_far_they_are(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, 4, 0, 20);
    c->last = 6;
    cluster_start(c);
    deliver_all(c);
    struct error err = {0};
    struct pbft *next = next_epoch(&c->nodes[1], 1, ERROR_NONE, &err);
    /* Lagging node 3: the epoch before, from its base. */
    while (c->nodes[3].record_count > 0)
        buffer_done(&c->nodes[3].records[--c->nodes[3].record_count]);
    pbft_free(c->nodes[3].pbft);
    c->nodes[3].committed = c->nodes[3].executed = 0;
    node_start(c, 3);
    struct pbft *late = c->nodes[3].pbft;
    struct pbft_effect effect = {0};
    struct pbft_event tick = {.kind = PBFT_EVENT_TICK, .now_ms = 5000, .wall_ms = 6000};
    assert_true(count_effects(late, tick, PBFT_EFFECT_SEND, &effect) > 0);
    assert_int_equal(effect.send.message.data[1], PBFT_STATUS);
    SCOPED_BUFFER struct buffer told;
    buffer_init(&told, PBFT_MESSAGE_BYTES_MAX);
    buffer_append(&told, effect.send.message.data, effect.send.message.len);
    struct pbft_event heard = {.kind = PBFT_EVENT_MESSAGE, .now_ms = 5000, .wall_ms = 6000};
    heard.message.from = 2; /* its number in the new list */
    heard.message.bytes = buffer_bytes(&told);
    assert_int_equal(count_effects(next, heard, PBFT_EFFECT_FAULT, NULL), 0);
    heard.now_ms += 1000; /* answers are spaced */
    assert_int_equal(count_effects(next, heard, PBFT_EFFECT_SEND, &effect), 1);
    assert_int_equal(effect.send.to, 2);
    buffer_clear(&told);
    buffer_append(&told, effect.send.message.data, effect.send.message.len);
    heard.message.from = 1;
    heard.message.bytes = buffer_bytes(&told);
    assert_int_equal(count_effects(late, heard, PBFT_EFFECT_FAULT, NULL), 0);
    tick.now_ms = 7000;
    assert_int_equal(count_effects(late, tick, PBFT_EFFECT_FETCH, &effect), 1);
    assert_int_equal(effect.fetch.from, 1);
    assert_int_equal(effect.fetch.to, 6);
    pbft_free(next);
    cluster_free(c);
}

static void hear_status(struct pbft *core, uint32_t from, uint64_t height, uint64_t now_ms) {
    static const struct hash nothing;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, PBFT_MESSAGE_BYTES_MAX);
    wire_u8(&bytes, 1);
    wire_u8(&bytes, PBFT_STATUS);
    wire_u16(&bytes, (uint16_t)from);
    wire_u64(&bytes, 0); /* epoch */
    wire_u64(&bytes, 0); /* view */
    wire_u64(&bytes, height);
    wire_fixed(&bytes, nothing.byte, HASH_BYTES);
    wire_u8(&bytes, 0);
    struct pbft_event heard = {.kind = PBFT_EVENT_MESSAGE, .now_ms = now_ms, .wall_ms = now_ms};
    heard.message.from = from;
    heard.message.bytes = buffer_bytes(&bytes);
    assert_int_equal(count_effects(core, heard, PBFT_EFFECT_FAULT, NULL), 0);
}

/* What f + 1 say is there; of one alone the next few heights are believed, which he may be the only one
 * to have. */
static void nobody_fetches_what_a_single_liar_says_that_there_is(void **state) {
    (void)state;
    static const struct {
        uint64_t heights[4]; /* of node 0 to 3; 0 is ours */
        uint64_t to;
    } rows[] = {
        {{0, 3, 0, 0}, 3},
        {{0, 1000, 0, 0}, 8}, /* the receive window is twice the window of 4 */
        {{0, UINT64_C(1) << 61, 900, 700}, 900},
        {{0, 700, UINT64_C(1) << 61, 900}, 700},
        {{0, 1000, 900, 0}, 900},
        {{0, 5, UINT64_C(1) << 61, 6}, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cluster *c = cluster_new(4, 4, 0, 20);
        cluster_start(c);
        struct pbft *core = c->nodes[0].pbft;
        for (uint32_t from = 1; from < 4; from++)
            hear_status(core, from, rows[i].heights[from], 5000);
        struct pbft_effect effect = {0};
        struct pbft_event tick = {.kind = PBFT_EVENT_TICK, .now_ms = 20000, .wall_ms = 20000};
        assert_int_equal(count_effects(core, tick, PBFT_EFFECT_FETCH, &effect), 1);
        assert_int_equal(effect.fetch.to, rows[i].to);
        cluster_free(c);
    }
}

static void quorums(void **state) {
    (void)state;
    /* n, f, Q as in the paper for n = 3f + 1, and for the sizes between. */
    static const uint32_t rows[][3] = {{1, 0, 1}, {2, 0, 2},  {3, 0, 2},  {4, 1, 3},    {5, 1, 4},
                                       {6, 1, 4}, {7, 2, 5},  {8, 2, 6},  {9, 2, 6},    {10, 3, 7},
                                       {31, 10, 21}, {100, 33, 67}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(pbft_faults(rows[i][0]), rows[i][1]);
        assert_int_equal(pbft_quorum(rows[i][0]), rows[i][2]);
    }
    for (uint32_t n = 1; n <= PBFT_VALIDATORS_MAX; n++) {
        uint32_t f = pbft_faults(n), q = pbft_quorum(n);
        assert_true(2 * q > n + f);  /* two quorums share more than f */
        assert_true(q <= n - f);     /* the honest ones are a quorum */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_fetches_what_a_single_liar_says_that_there_is),
        cmocka_unit_test(quorums),
        cmocka_unit_test(commits_alone),
        cmocka_unit_test(commits_with_few),
        cmocka_unit_test(commits_with_four_and_seven),
        cmocka_unit_test(commits_with_many),
        cmocka_unit_test(rotates_the_leader_every_k_heights),
        cmocka_unit_test(commits_with_f_dead),
        cmocka_unit_test(dead_leader_is_replaced_in_view_1),
        cmocka_unit_test(invalid_block_replaces_the_leader_at_once),
        cmocka_unit_test(all_restart_and_go_on_in_the_same_view),
        cmocka_unit_test(observer_follows_and_never_signs),
        cmocka_unit_test(an_epoch_begins_on_a_block_of_the_one_before),
        cmocka_unit_test(a_clock_that_is_a_minute_ahead_costs_its_leader_the_view),
        cmocka_unit_test(votes_that_the_records_lack_are_known_by_those_who_hold_them),
        cmocka_unit_test(a_seal_on_a_block_that_was_never_prepared_is_seen),
        cmocka_unit_test(records_past_the_window_are_refused),
        cmocka_unit_test(nothing_stands_above_an_epochs_last_block),
        cmocka_unit_test(the_next_epoch_begins_with_fresh_votes_in_view_0),
        cmocka_unit_test(epochs_tell_each_other_how_far_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
