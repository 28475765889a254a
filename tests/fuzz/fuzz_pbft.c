/*
 * What peers and disks can hand to the protocol core. The first byte chooses:
 *
 *   'm'  messages to a live core, until the input ends: from (1 byte), length (2), bytes; from 0xff
 *        lets so many milliseconds pass
 *   'r'  vote records to start from: length (2), bytes
 *   'c'  one certificate and one piece of evidence
 *
 * Every signature counts as good here, so that the bytes get to the checks behind it, above all to
 * those of VIEW-CHANGE and NEW-VIEW: not even n liars may make the core stop. What decodes must
 * encode to the same bytes.
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
    ret_header->last = false;
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
    else if (data[0] == 'r')
        fuzz_records(&r);
    else if (data[0] == 'c')
        fuzz_certificate(bytes_of(data + 1, size - 1));
    return 0;
}
