/*
 * What peers and disks can hand to the protocol core. The first byte chooses:
 *
 *   'm'  messages to a live core, until the input ends: from (1 byte), length (2), bytes; from 0xff
 *        lets so many milliseconds pass
 *   'v'  a plan of messages that are whole and signed, or bent in one byte: NEW-VIEWs made of
 *        VIEW-CHANGEs with certificates for a small family of blocks, proposals, votes, time. What a
 *        NEW-VIEW chose is compared with a second computation of it (section 4.4)
 *   'r'  vote records to start from: length (2), bytes
 *   'c'  one certificate and one piece of evidence
 *
 * Every signature counts as good here, so that the bytes get to the checks behind it, above all to
 * those of VIEW-CHANGE and NEW-VIEW: not even n liars may make the core stop. What decodes must
 * encode to the same bytes. Digests are those of tests/sim/hash_fast.c, so that what the simulator
 * dumps (sim --dump) is a seed.
 */
#include <assert.h>
#include <stdlib.h>

#include "ledger/pbft/internal.h"

enum { HEADER_BYTES = 80, VALIDATORS = 4, EFFECTS_MAX = 4096, GENESIS_MS = 1000000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    (void)context;
    if (header.len != HEADER_BYTES)
        return false;
    ret_header->height = wire_load_u64(header.data);
    ret_header->epoch = wire_load_u64(header.data + 8);
    memcpy(ret_header->parent.byte, header.data + 16, HASH_BYTES);
    ret_header->time_ms = wire_load_u64(header.data + 48);
    ret_header->last = header.data[79] == 1;
    return true;
}

static void sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    (void)context;
    memset(ret_signature, 0, PBFT_SIGNATURE_BYTES);
    memcpy(ret_signature, statement->byte, HASH_BYTES);
}

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t *signature) {
    (void)context;
    (void)signer;
    (void)statement;
    return signature[0] != 0xff;
}

struct host {
    struct pbft *core;
    uint64_t now_ms;
    uint64_t executed, committed;
    bool ended;
};

static void step(struct host *host, struct pbft_event event, int depth);

/* Answers EXECUTE at once; checks the order that the contract promises. */
static void carry_out(struct host *host, const struct pbft_effects *effects, int depth) {
    struct pbft_event answers[64];
    size_t count = 0;
    assert(effects->count < EFFECTS_MAX);
    for (size_t i = 0; i < effects->count; i++) {
        const struct pbft_effect *e = &effects->list[i];
        if (e->kind == PBFT_EFFECT_EXECUTE && count < 64) {
            assert(e->execute.height == host->executed + 1);
            host->executed = e->execute.height;
            answers[count] = (struct pbft_event){.kind = PBFT_EVENT_EXECUTED};
            answers[count].executed.height = e->execute.height;
            answers[count].executed.digest = e->execute.digest;
            answers[count++].executed.valid = e->execute.digest.byte[0] % 8 != 0;
            if (e->execute.digest.byte[0] % 8 == 0)
                host->executed--;
        } else if (e->kind == PBFT_EFFECT_UNDO) {
            assert(e->undo.height > host->committed);
            if (host->executed >= e->undo.height)
                host->executed = e->undo.height - 1;
        } else if (e->kind == PBFT_EFFECT_COMMITTED) {
            assert(e->committed.height == host->committed + 1);
            assert(!host->ended); /* nothing stands above an epoch's last block */
            host->ended = e->committed.last;
            host->committed++;
            if (host->executed < host->committed)
                host->executed = host->committed;
        }
    }
    for (size_t i = 0; i < count && depth < 8; i++)
        step(host, answers[i], depth + 1);
}

static void step(struct host *host, struct pbft_event event, int depth) {
    struct pbft_effects effects;
    event.now_ms = host->now_ms;
    event.wall_ms = GENESIS_MS + host->now_ms;
    pbft_step(host->core, &event, &effects);
    carry_out(host, &effects, depth);
}

static struct pbft *core_new(const struct bytes *records, size_t count) {
    uint8_t genesis[HEADER_BYTES] = {0};
    wire_store_u64(genesis + 48, GENESIS_MS);
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = 1;
    config.n = VALIDATORS;
    config.window = 2;
    config.base_header = config.committed_header = bytes_of(genesis, sizeof genesis);
    config.records = records;
    config.record_count = count;
    config.host = (struct pbft_host){NULL, header_read, sign, verify};
    struct pbft *core;
    return pbft_new(&config, &core, NULL) == ERROR_NONE ? core : NULL;
}

static void check_canonical(struct bytes bytes) {
    struct message m;
    if (pbft__message_decode(bytes, &m) != NULL)
        return;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, PBFT_MESSAGE_BYTES_MAX);
    pbft__message_encode(&m, &again);
    if (m.type != PBFT_STATUS)
        buffer_append(&again, m.signature, PBFT_SIGNATURE_BYTES);
    assert(bytes_equal(buffer_bytes(&again), bytes));
}

static void fuzz_messages(struct wire_reader *r) {
    struct host host = {.core = core_new(NULL, 0), .now_ms = 1};
    assert(host.core != NULL);
    step(&host, (struct pbft_event){.kind = PBFT_EVENT_PENDING, .pending = {true}}, 0);
    while (wire_read_left(r) > 3) {
        uint8_t from = wire_read_u8(r);
        uint16_t len = wire_read_u16(r);
        if (from == 0xff) {
            host.now_ms += len;
            step(&host, (struct pbft_event){.kind = PBFT_EVENT_TICK}, 0);
            continue;
        }
        size_t left = wire_read_left(r);
        struct bytes bytes = wire_read_raw(r, len < left ? len : left);
        check_canonical(bytes);
        struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE,
                                   .message = {from % (VALIDATORS + 1), bytes}};
        step(&host, event, 0);
    }
    const struct bytes *records;
    size_t count;
    pbft_records(host.core, &records, &count);
    /* Whatever came in, the validator starts again from its own compacted records, unless it has
     * committed since: then the host would hand in that block. */
    struct pbft *again = core_new(records, count);
    assert(again != NULL || host.committed > 0);
    pbft_free(again);
    pbft_free(host.core);
}

/* ---- messages that are whole ---- */

enum { FAMILY = 16, Q = 3, PLAN_MAX = 64, PREPARED_MAX = 3 };

/* Block i: height 1 + i % 4, on the one of variant `on` below it; variant 3 ends the epoch. */
struct family {
    uint8_t headers[FAMILY][HEADER_BYTES];
    struct hash digests[FAMILY];
};

static void family_make(struct family *f) {
    uint8_t genesis[HEADER_BYTES] = {0};
    wire_store_u64(genesis + 48, GENESIS_MS);
    struct hash base = pbft_block_digest(bytes_of(genesis, sizeof genesis));
    static const int on[] = {0, 1, 0, 0}; /* variants 2 and 3 branch off from 0 */
    memset(f->headers, 0, sizeof f->headers);
    for (int height = 1; height <= 4; height++)
        for (int variant = 0; variant < 4; variant++) {
            int i = variant * 4 + height - 1;
            uint8_t *h = f->headers[i];
            const struct hash *parent =
                height == 1 ? &base : &f->digests[on[variant] * 4 + height - 2];
            wire_store_u64(h, (uint64_t)height);
            memcpy(h + 16, parent->byte, HASH_BYTES);
            wire_store_u64(h + 48, GENESIS_MS + (uint64_t)height);
            h[64] = (uint8_t)variant;
            h[79] = variant == 3;
            f->digests[i] = pbft_block_digest(bytes_of(h, HEADER_BYTES));
        }
}

struct claim {
    int block; /* -1: the base */
    uint64_t view;
};

/* What one VIEW-CHANGE says, for the second computation. */
struct said {
    struct claim committed;
    uint32_t count;
    struct claim prepared[PREPARED_MAX];
};

struct planner {
    struct host *host;
    const struct family *family;
    struct wire_reader *r;
    bool bent; /* a byte was changed: nothing is compared */
};

static void certify(struct planner *p, enum pbft_type type, struct claim claim,
                    struct buffer *out) {
    struct pbft_certificate c = {.ballot = {type, claim.view, (uint64_t)(1 + claim.block % 4),
                                            p->family->digests[claim.block]}};
    uint8_t seals = wire_read_u8(p->r);
    c.seal_count = seals < 240 ? Q : seals % 5;
    for (uint32_t i = 0; i < c.seal_count; i++)
        c.seals[i].signer = (uint16_t)(i + (seals & 1));
    buffer_init(out, PBFT_CERTIFICATE_BYTES_MAX);
    pbft_certificate_encode(&c, out);
}

/* The signature counts as good unless it begins with 0xff; a bent byte may be anywhere. */
static void seal(struct planner *p, const struct message *m, struct buffer *out) {
    static const uint8_t signature[PBFT_SIGNATURE_BYTES];
    buffer_init(out, PBFT_MESSAGE_BYTES_MAX);
    pbft__message_encode(m, out);
    if (m->type != PBFT_STATUS)
        buffer_append(out, signature, sizeof signature);
    assert(!out->failed);
    uint8_t bend = wire_read_u8(p->r);
    if (bend < 200)
        return;
    p->bent = true;
    uint16_t at = wire_read_u16(p->r);
    out->data[at % out->len] ^= (uint8_t)(1 + bend - 200);
}

static void plan_view_change(struct planner *p, uint32_t signer, uint64_t view, struct buffer *out,
                             struct said *said) {
    struct buffer certificates[1 + PREPARED_MAX];
    uint32_t made = 0;
    uint8_t genesis[HEADER_BYTES] = {0};
    wire_store_u64(genesis + 48, GENESIS_MS);
    struct message m = {.type = PBFT_VIEW_CHANGE, .signer = (uint16_t)signer, .view = view};
    m.header = bytes_of(genesis, sizeof genesis);
    *said = (struct said){.committed = {-1, 0}};
    uint8_t committed = wire_read_u8(p->r);
    if (committed >= 128) {
        said->committed = (struct claim){committed % FAMILY, wire_read_u8(p->r) % 4};
        certify(p, PBFT_COMMIT, said->committed, &certificates[made]);
        m.certificate = buffer_bytes(&certificates[made++]);
        m.header = bytes_of(p->family->headers[said->committed.block], HEADER_BYTES);
    }
    m.prepared_count = said->count = wire_read_u8(p->r) % (PREPARED_MAX + 1);
    for (uint32_t i = 0; i < m.prepared_count; i++) {
        said->prepared[i] = (struct claim){wire_read_u8(p->r) % FAMILY, wire_read_u8(p->r) % 8};
        certify(p, PBFT_PREPARE, said->prepared[i], &certificates[made]);
        m.prepared[i].certificate = buffer_bytes(&certificates[made++]);
        m.prepared[i].header =
            bytes_of(p->family->headers[said->prepared[i].block], HEADER_BYTES);
    }
    seal(p, &m, out);
    for (uint32_t i = 0; i < made; i++)
        buffer_done(&certificates[i]);
}

/* The computation of section 4.4 again, from what was said and not from the bytes. */
static void check_choice(const struct planner *p, const struct said *said) {
    const struct choice *choice = &p->host->core->choice;
    int tip = -1;
    for (uint32_t i = 0; i < Q; i++)
        if (said[i].committed.block >= 0 &&
            (tip < 0 || said[i].committed.block % 4 > tip % 4))
            tip = said[i].committed.block;
    uint64_t base = tip < 0 ? 0 : (uint64_t)(1 + tip % 4);
    assert(choice->base == base);
    uint32_t count = 0;
    for (uint64_t height = base + 1; height <= base + 2; height++) {
        const struct claim *best = NULL;
        for (uint32_t i = 0; i < Q; i++)
            for (uint32_t k = 0; k < said[i].count; k++) {
                const struct claim *c = &said[i].prepared[k];
                if ((uint64_t)(1 + c->block % 4) == height && (best == NULL || c->view > best->view))
                    best = c;
            }
        const struct hash *parent = tip < 0 ? NULL : &p->family->digests[tip];
        if (best == NULL ||
            (parent != NULL &&
             memcmp(p->family->headers[best->block] + 16, parent->byte, HASH_BYTES) != 0))
            break;
        tip = best->block;
        assert(count < choice->count);
        assert(hash_equal(&choice->blocks[count]->digest, &p->family->digests[tip]));
        count++;
    }
    assert(choice->count == count);
}

static void hand_in(struct planner *p, uint32_t from, struct buffer *message) {
    check_canonical(buffer_bytes(message));
    step(p->host, (struct pbft_event){.kind = PBFT_EVENT_MESSAGE,
                                      .message = {from, buffer_bytes(message)}}, 0);
    buffer_done(message);
}

static void plan_new_view(struct planner *p) {
    uint64_t view = 1 + wire_read_u8(p->r) % 8;
    uint8_t shape = wire_read_u8(p->r);
    uint32_t left_out = shape % VALIDATORS;
    uint32_t count = shape < 240 ? Q : shape % (VALIDATORS + 1);
    struct message m = {.type = PBFT_NEW_VIEW, .signer = (uint16_t)(view % VALIDATORS)};
    m.view = view;
    struct buffer changes[VALIDATORS], out;
    struct said said[VALIDATORS];
    p->bent = false;
    for (uint32_t i = 0; i < VALIDATORS && m.view_change_count < count; i++) {
        if (i == left_out && count < VALIDATORS)
            continue;
        uint32_t at = m.view_change_count++;
        plan_view_change(p, i, view, &changes[at], &said[at]);
        m.view_changes[at] = buffer_bytes(&changes[at]);
    }
    seal(p, &m, &out);
    uint64_t before = p->host->core->view;
    bool changing = p->host->core->changing;
    hand_in(p, m.signer, &out);
    bool entered = p->host->core->view == view && !p->host->core->changing &&
                   (before < view || changing);
    if (entered && !p->bent) {
        assert(m.view_change_count == Q);
        check_choice(p, said);
    }
    for (uint32_t i = 0; i < m.view_change_count; i++)
        buffer_done(&changes[i]);
}

static void plan_ballot(struct planner *p, enum pbft_type type) {
    uint8_t block = wire_read_u8(p->r) % FAMILY, place = wire_read_u8(p->r);
    struct message m = {.type = type, .signer = place % VALIDATORS, .view = place / 16};
    m.height = (uint64_t)(1 + block % 4);
    m.digest = p->family->digests[block];
    m.header = bytes_of(p->family->headers[block], HEADER_BYTES);
    if (type == PBFT_PROPOSE)
        m.signer = (uint16_t)(m.view % VALIDATORS);
    struct buffer out;
    seal(p, &m, &out);
    hand_in(p, m.signer, &out);
}

static void fuzz_plan(struct wire_reader *r) {
    static struct family family;
    family_make(&family);
    struct host host = {.core = core_new(NULL, 0), .now_ms = 1};
    assert(host.core != NULL);
    struct planner p = {.host = &host, .family = &family, .r = r};
    step(&host, (struct pbft_event){.kind = PBFT_EVENT_PENDING, .pending = {true}}, 0);
    for (int i = 0; i < PLAN_MAX && wire_read_left(r) > 0; i++) {
        uint8_t act = wire_read_u8(r) % 8;
        struct buffer out;
        struct said said;
        if (act <= 1) {
            plan_new_view(&p);
        } else if (act == 2) {
            uint8_t place = wire_read_u8(r);
            plan_view_change(&p, place % VALIDATORS, 1 + place / VALIDATORS % 8, &out, &said);
            hand_in(&p, place % VALIDATORS, &out);
        } else if (act <= 5) {
            plan_ballot(&p, (enum pbft_type)(PBFT_PROPOSE + act - 3));
        } else {
            host.now_ms += wire_read_u8(r) * 8;
            step(&host, (struct pbft_event){.kind = PBFT_EVENT_TICK}, 0);
        }
    }
    pbft_free(host.core);
}

static void fuzz_records(struct wire_reader *r) {
    struct bytes records[64];
    size_t count = 0;
    while (wire_read_left(r) > 2 && count < 64) {
        uint16_t len = wire_read_u16(r);
        size_t left = wire_read_left(r);
        records[count++] = wire_read_raw(r, len < left ? len : left);
    }
    struct host host = {.core = core_new(records, count), .now_ms = 1};
    if (host.core == NULL)
        return;
    for (int i = 0; i < 4; i++) {
        host.now_ms += 700;
        step(&host, (struct pbft_event){.kind = PBFT_EVENT_TICK}, 0);
    }
    pbft_free(host.core);
}

static bool verify_in_epoch(void *context, uint64_t epoch, uint32_t signer,
                            const struct hash *statement, const uint8_t *signature) {
    return epoch == 0 && signer < VALIDATORS && verify(context, signer, statement, signature);
}

static void fuzz_certificate(struct bytes bytes) {
    struct pbft_certificate c;
    struct pbft_evidence e;
    struct pbft_domain domain = {0};
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, PBFT_CERTIFICATE_BYTES_MAX);
    if (pbft_certificate_decode(bytes, &c, NULL) == ERROR_NONE) {
        pbft_certificate_encode(&c, &again);
        assert(bytes_equal(buffer_bytes(&again), bytes));
        if (pbft_certificate_verify(&c, &domain, VALIDATORS, verify, NULL, NULL) == ERROR_NONE)
            assert(c.seal_count >= pbft_quorum(VALIDATORS));
    }
    buffer_clear(&again);
    if (pbft_evidence_decode(bytes, &e, NULL) == ERROR_NONE) {
        pbft_evidence_encode(&e, &again);
        assert(bytes_equal(buffer_bytes(&again), bytes));
        struct hash chain = {{0}};
        if (pbft_evidence_check(bytes, &chain, verify_in_epoch, NULL, &e, NULL) == ERROR_NONE)
            assert(e.signer < VALIDATORS && e.domain.epoch == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 1 << 20)
        return 0;
    struct wire_reader r = wire_reader(bytes_of(data + 1, size - 1));
    if (data[0] == 'm')
        fuzz_messages(&r);
    else if (data[0] == 'v')
        fuzz_plan(&r);
    else if (data[0] == 'r')
        fuzz_records(&r);
    else if (data[0] == 'c')
        fuzz_certificate(bytes_of(data + 1, size - 1));
    return 0;
}
