#include "ledger/net/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/net/net.h"

/* A larger body's memory is given back with its frame: quiet connections stay small. */
enum { BODY_KEPT_BYTES_MAX = 64 << 10 };

void net_head_write(uint8_t ret_head[NET_HEAD_BYTES], enum net_frame_kind kind, size_t body_bytes) {
    wire_store_u32(ret_head, (uint32_t)body_bytes + 1);
    ret_head[4] = (uint8_t)kind;
}

void net_hello_write(const struct net_hello *hello, uint8_t ret_body[NET_HELLO_BYTES]) {
    wire_store_u16(ret_body, hello->version);
    memcpy(ret_body + 2, hello->chain.byte, HASH_BYTES);
    ret_body[34] = hello->lane;
    wire_store_u32(ret_body + 35, hello->index);
    wire_store_u64(ret_body + 39, hello->session);
}

enum error_code net_hello_read(struct bytes body, struct net_hello *ret_hello, struct error *err) {
    struct wire_reader r = wire_reader(body);
    struct net_hello hello = {.version = wire_read_u16(&r)};
    if (!r.failed && hello.version != MESH_VERSION) {
        *ret_hello = hello;
        return ERROR_NONE;
    }
    wire_read_fixed(&r, hello.chain.byte, HASH_BYTES);
    hello.lane = wire_read_u8(&r);
    hello.index = wire_read_u32(&r);
    hello.session = wire_read_u64(&r);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "hello: %zu bytes, expected %d", body.len,
                         NET_HELLO_BYTES);
    if (hello.lane >= MESH_LANES)
        return error_set(err, ERROR_PROTOCOL, "hello: lane %u, expected 0 or 1", hello.lane);
    *ret_hello = hello;
    return ERROR_NONE;
}

void net_reader_init(struct net_reader *r, size_t message_bytes_max) {
    *r = (struct net_reader){.message_bytes_max = message_bytes_max};
}

void net_reader_done(struct net_reader *r) {
    free(r->body);
    *r = (struct net_reader){0};
}

size_t net_reader_missing(const struct net_reader *r) {
    return r->head_have < NET_HEAD_BYTES ? NET_HEAD_BYTES - r->head_have
                                         : r->body_len - r->body_have;
}

/* The kind and the length of a head; nothing is allocated before this has agreed. */
static enum error_code head_check(struct net_reader *r, struct error *err) {
    size_t len = wire_load_u32(r->head);
    uint8_t kind = r->head[4];
    size_t least = 0;
    size_t most = 0;
    switch (kind) {
    case NET_FRAME_HELLO:
        least = 2;
        most = NET_HELLO_BYTES_MAX;
        break;
    case NET_FRAME_MESSAGE:
        least = 1;
        most = r->message_bytes_max;
        break;
    case NET_FRAME_PING:
    case NET_FRAME_PONG:
        least = NET_PING_BYTES;
        most = NET_PING_BYTES;
        break;
    default:
        return error_set(err, ERROR_PROTOCOL, "frame: kind %u is unknown", kind);
    }
    if ((kind == NET_FRAME_HELLO) == r->greeted)
        return error_set(err, ERROR_PROTOCOL, "frame: kind %u, but the hello comes first and once",
                         kind);
    if (len < least + 1 || len > most + 1)
        return error_set(err, ERROR_PROTOCOL,
                         "frame of kind %u: length %zu, expected %zu to %zu", kind, len, least + 1,
                         most + 1);
    r->kind = (enum net_frame_kind)kind;
    r->body_len = len - 1;
    r->body_have = 0;
    return ERROR_NONE;
}

static enum error_code body_room(struct net_reader *r, struct error *err) {
    if (r->body_capacity < r->body_len) {
        uint8_t *body = malloc(r->body_len);
        if (body == NULL)
            return error_set(err, ERROR_NO_MEMORY, "frame: no memory for %zu bytes", r->body_len);
        free(r->body);
        r->body = body;
        r->body_capacity = r->body_len;
    }
    return ERROR_NONE;
}

static void give(struct net_reader *r, struct bytes body, bool *ret_whole,
                 struct net_frame *ret_frame) {
    r->head_have = 0;
    r->greeted = true;
    *ret_frame = (struct net_frame){.kind = r->kind, .body = body};
    *ret_whole = true;
}

static size_t take(struct bytes *input, uint8_t *to, size_t want) {
    size_t n = want < input->len ? want : input->len;
    if (n > 0)
        memcpy(to, input->data, n);
    input->data += n;
    input->len -= n;
    return n;
}

enum error_code net_reader_next(struct net_reader *r, struct bytes *input, bool *ret_whole,
                                struct net_frame *ret_frame, struct error *err) {
    if (r->head_have < NET_HEAD_BYTES) {
        if (r->head_have == 0 && r->body_capacity > BODY_KEPT_BYTES_MAX) {
            free(r->body);
            r->body = NULL;
            r->body_capacity = 0;
        }
        struct bytes rest = *input;
        size_t n = take(&rest, r->head + r->head_have, NET_HEAD_BYTES - r->head_have);
        if (r->head_have + n < NET_HEAD_BYTES) {
            r->head_have += n;
            *input = rest;
            *ret_whole = false;
            return ERROR_NONE;
        }
        TRY(head_check(r, err));
        r->head_have = NET_HEAD_BYTES;
        *input = rest;
        if (input->len >= r->body_len) {
            /* The common case: the whole frame stands in the input, and is not copied. */
            struct bytes body = {input->data, r->body_len};
            input->data += r->body_len;
            input->len -= r->body_len;
            give(r, body, ret_whole, ret_frame);
            return ERROR_NONE;
        }
        TRY(body_room(r, err));
    }
    r->body_have += take(input, r->body + r->body_have, r->body_len - r->body_have);
    if (r->body_have < r->body_len)
        *ret_whole = false;
    else
        give(r, bytes_of(r->body, r->body_len), ret_whole, ret_frame);
    return ERROR_NONE;
}
