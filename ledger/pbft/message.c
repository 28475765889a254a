#include <assert.h>

#include "ledger/pbft/internal.h"

enum {
    /* A certificate and a header, each with its length. */
    PREPARED_BYTES_MIN = 4 + 4,
    VIEW_CHANGE_BYTES_MAX = 4 + 8 + 8 + 8 + PBFT_HEADER_BYTES_MAX + PBFT_CERTIFICATE_BYTES_MAX + 4 +
                            PBFT_WINDOW_MAX *
                                (8 + PBFT_HEADER_BYTES_MAX + PBFT_CERTIFICATE_BYTES_MAX) +
                            PBFT_SIGNATURE_BYTES,
};

_Static_assert(32 + 67 * (VIEW_CHANGE_BYTES_MAX + 4) + PBFT_SIGNATURE_BYTES <=
                   PBFT_MESSAGE_BYTES_MAX,
               "a NEW-VIEW of Q = 67 largest VIEW-CHANGEs (n = 100) fits a message");

static const char *decode_view_change(struct wire_reader *r, struct message *m) {
    m->header = wire_read_bytes(r, PBFT_HEADER_BYTES_MAX);
    m->certificate = wire_read_bytes(r, PBFT_CERTIFICATE_BYTES_MAX);
    m->prepared_count = wire_read_count(r, PBFT_WINDOW_MAX, PREPARED_BYTES_MIN);
    for (uint32_t i = 0; i < m->prepared_count; i++) {
        m->prepared[i].certificate = wire_read_bytes(r, PBFT_CERTIFICATE_BYTES_MAX);
        m->prepared[i].header = wire_read_bytes(r, PBFT_HEADER_BYTES_MAX);
    }
    return r->failed ? "VIEW-CHANGE is cut short or goes past a limit" : NULL;
}

static const char *decode_new_view(struct wire_reader *r, struct message *m) {
    m->view_change_count = wire_read_count(r, PBFT_VALIDATORS_MAX, 4);
    for (uint32_t i = 0; i < m->view_change_count; i++)
        m->view_changes[i] = wire_read_bytes(r, VIEW_CHANGE_BYTES_MAX);
    return r->failed ? "NEW-VIEW is cut short or goes past a limit" : NULL;
}

static const char *decode_body(struct wire_reader *r, struct message *m) {
    switch (m->type) {
    case PBFT_PROPOSE:
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_STATUS:
        m->height = wire_read_u64(r);
        wire_read_fixed(r, m->digest.byte, HASH_BYTES);
        if (m->type == PBFT_PROPOSE)
            m->header = wire_read_bytes(r, PBFT_HEADER_BYTES_MAX);
        if (m->type == PBFT_STATUS) {
            uint8_t changing = wire_read_u8(r);
            if (changing > 1)
                return "STATUS has an unknown state";
            m->changing = changing == 1;
        }
        if (m->height > PBFT_HEIGHT_MAX)
            return "the height is out of range";
        return r->failed ? "the message is cut short" : NULL;
    case PBFT_VIEW_CHANGE:
        return decode_view_change(r, m);
    case PBFT_NEW_VIEW:
        return decode_new_view(r, m);
    }
    return "the message is of an unknown type";
}

const char *pbft__message_decode(struct bytes input, struct message *ret_message) {
    if (input.len > PBFT_MESSAGE_BYTES_MAX)
        return "the message goes past its limit";
    if (input.len < 4 + 8 + 8)
        return "the message is cut short";
    struct wire_reader r = wire_reader(input);
    struct message *m = ret_message;
    memset(m, 0, offsetof(struct message, prepared));
    m->view_change_count = 0;
    if (wire_read_u8(&r) != MESSAGE_VERSION)
        return "the message is not of format version 1";
    m->type = (enum pbft_type)wire_read_u8(&r);
    m->signer = wire_read_u16(&r);
    m->epoch = wire_read_u64(&r);
    m->view = wire_read_u64(&r);
    if (m->view > PBFT_VIEW_MAX)
        return "the view is out of range";
    const char *wrong = decode_body(&r, m);
    if (wrong != NULL)
        return wrong;
    m->signed_body = bytes_of(input.data, (size_t)(r.at - input.data));
    /* A STATUS is a hint that only the transport vouches for; it carries no signature. */
    if (m->type != PBFT_STATUS)
        wire_read_fixed(&r, m->signature, PBFT_SIGNATURE_BYTES);
    return wire_read_end(&r) ? NULL : "the message is cut short or has bytes after its end";
}

void pbft__message_encode(const struct message *m, struct buffer *out) {
    wire_u8(out, MESSAGE_VERSION);
    wire_u8(out, (uint8_t)m->type);
    wire_u16(out, m->signer);
    wire_u64(out, m->epoch);
    wire_u64(out, m->view);
    switch (m->type) {
    case PBFT_PROPOSE:
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_STATUS:
        wire_u64(out, m->height);
        wire_fixed(out, m->digest.byte, HASH_BYTES);
        if (m->type == PBFT_PROPOSE)
            wire_bytes(out, m->header);
        if (m->type == PBFT_STATUS)
            wire_u8(out, m->changing ? 1 : 0);
        return;
    case PBFT_VIEW_CHANGE:
        wire_bytes(out, m->header);
        wire_bytes(out, m->certificate);
        wire_u32(out, m->prepared_count);
        for (uint32_t i = 0; i < m->prepared_count; i++) {
            wire_bytes(out, m->prepared[i].certificate);
            wire_bytes(out, m->prepared[i].header);
        }
        return;
    case PBFT_NEW_VIEW:
        wire_u32(out, m->view_change_count);
        for (uint32_t i = 0; i < m->view_change_count; i++)
            wire_bytes(out, m->view_changes[i]);
        return;
    }
    assert(!"a message of ours has a type");
}
