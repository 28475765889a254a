/*
 * What travels on a connection: frames, and the hello that each side says first. Pure, so that it
 * can be fuzzed: bytes in, frames out. The byte tables stand in docs/formats.md, "Mesh".
 */
#ifndef LEDGER_NET_FRAME_H
#define LEDGER_NET_FRAME_H

#include "base/bytes.h"
#include "base/hash.h"

enum net_frame_kind {
    NET_FRAME_HELLO = 1,
    NET_FRAME_MESSAGE,
    NET_FRAME_PING,
    NET_FRAME_PONG,
};

enum {
    NET_HEAD_BYTES = 5, /* u32 bytes that follow the length, u8 kind */
    NET_HELLO_BYTES = 47,
    NET_HELLO_BYTES_MAX = 255, /* of a later version, so that it can be named */
    NET_PING_BYTES = 8,
};

struct net_hello {
    uint16_t version;
    struct hash chain;
    uint8_t lane;
    uint32_t index; /* who speaks: a validator's, or MESH_OBSERVER */
    uint64_t session;
};

struct net_frame {
    enum net_frame_kind kind;
    struct bytes body; /* borrowed until the next call on the reader, or from the input */
};

void net_head_write(uint8_t ret_head[NET_HEAD_BYTES], enum net_frame_kind kind, size_t body_bytes);

void net_hello_write(const struct net_hello *hello, uint8_t ret_body[NET_HELLO_BYTES]);
/* Of another version: only ret_hello->version is set, the rest is zero. ERROR_PROTOCOL. */
MUST_CHECK enum error_code net_hello_read(struct bytes body, struct net_hello *ret_hello,
                                          struct error *err);

struct net_reader {
    size_t message_bytes_max;
    bool greeted; /* the hello was read: it comes first and once */
    uint8_t head[NET_HEAD_BYTES];
    size_t head_have;
    enum net_frame_kind kind;
    uint8_t *body;
    size_t body_capacity;
    size_t body_len;
    size_t body_have;
};

void net_reader_init(struct net_reader *r, size_t message_bytes_max);
void net_reader_done(struct net_reader *r);

/* How many bytes are missing until the frame's head, or its body, is whole: never 0. */
size_t net_reader_missing(const struct net_reader *r);

/* Takes bytes off the front of input. *ret_whole: a frame is whole and stands in *ret_frame;
 * otherwise all input is taken. Call again until the input is empty. A length is checked before
 * anything is allocated for it. ERROR_PROTOCOL, ERROR_NO_MEMORY: the connection is of no use. */
MUST_CHECK enum error_code net_reader_next(struct net_reader *r, struct bytes *input,
                                           bool *ret_whole, struct net_frame *ret_frame,
                                           struct error *err);

#endif
