#include "ledger/checkpoint.h"

#include "base/wire.h"
#include "ledger/genesis.h"
#include "ledger/members.h"
#include "ledger/pbft/vote.h"
#include "ledger/trust.h"

enum { CHECKPOINT_FORMAT = 1, EPOCHS_MAX = CHECKPOINT_BYTES_MAX / BLOCK_HEADER_BYTES };

enum error_code checkpoint_encode(struct bytes genesis, uint32_t epoch_count, struct bytes epochs,
                                  const struct block_header *head, struct bytes certificate,
                                  struct buffer *out, struct error *err) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    size_t start = out->len;
    block_header_encode(head, raw);
    wire_u8(out, CHECKPOINT_FORMAT);
    wire_bytes(out, genesis);
    wire_u32(out, epoch_count);
    wire_fixed(out, epochs.data, epochs.len);
    wire_fixed(out, raw, sizeof raw);
    wire_bytes(out, certificate);
    TRY(buffer_check(out, "checkpoint", err));
    if (out->len - start > CHECKPOINT_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "checkpoint: %zu bytes, at most %d are allowed",
                         out->len - start, CHECKPOINT_BYTES_MAX);
    return ERROR_NONE;
}

/* A header and its certificate. */
struct certified {
    struct block_header header;
    struct bytes certificate;
};

static enum error_code read_certified(struct wire_reader *r, struct certified *ret_certified,
                                      struct error *err) {
    struct bytes raw = wire_read_raw(r, BLOCK_HEADER_BYTES);
    ret_certified->certificate = wire_read_bytes(r, PBFT_CERTIFICATE_BYTES_MAX);
    if (r->failed)
        return error_set(err, ERROR_PROTOCOL, "checkpoint: it is cut short");
    return block_header_decode(raw, &ret_certified->header, err);
}

/* Reads it all; trust is NULL where only the layout is wanted. */
static enum error_code read_all(struct bytes body, struct trust *trust,
                                struct block_header *ret_head,
                                struct bytes *ret_genesis, struct error *err) {
    struct wire_reader r = wire_reader(body);
    struct certified at;
    if (body.len > CHECKPOINT_BYTES_MAX)
        return error_set(err, ERROR_PROTOCOL, "checkpoint: %zu bytes, expected at most %d",
                         body.len, CHECKPOINT_BYTES_MAX);
    unsigned format = wire_read_u8(&r);
    if (format != CHECKPOINT_FORMAT)
        return error_set(err, ERROR_PROTOCOL, "checkpoint: format %u, expected %d", format,
                         CHECKPOINT_FORMAT);
    struct bytes genesis = wire_read_bytes(&r, GENESIS_BYTES_MAX);
    uint32_t count = wire_read_count(&r, EPOCHS_MAX, BLOCK_HEADER_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        TRY(read_certified(&r, &at, err));
        struct bytes list = wire_read_bytes(&r, MEMBERS_BYTES_MAX);
        if (trust != NULL)
            TRY(trust_next(trust, &at.header, at.certificate, list, err));
    }
    TRY(read_certified(&r, &at, err));
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "checkpoint: %zu bytes are not one whole checkpoint",
                         body.len);
    if (at.header.height == 0)
        return error_set(err, ERROR_PROTOCOL, "checkpoint: of height 0, which says nothing");
    if (trust != NULL)
        TRY(trust_check(trust, &at.header, at.certificate, NULL, err));
    *ret_head = at.header;
    *ret_genesis = genesis;
    return ERROR_NONE;
}

enum error_code checkpoint_decode(struct bytes body, struct block_header *ret_head,
                                  struct error *err) {
    struct bytes genesis;
    return read_all(body, NULL, ret_head, &genesis, err);
}

enum error_code checkpoint_prove(struct bytes body, struct block_header *ret_head,
                                 struct error *err) {
    struct block_header head;
    struct bytes text;
    struct genesis *genesis = NULL;
    TRY(read_all(body, NULL, &head, &text, err));
    TRY(genesis_parse(text, &genesis, err));
    struct trust *trust = trust_new(genesis);
    enum error_code code = read_all(body, trust, &head, &text, err);
    trust_free(trust);
    genesis_free(genesis);
    if (code == ERROR_NONE)
        *ret_head = head;
    return code;
}
