/* Frames and hello as a peer may send them, in pieces whose sizes the input chooses too. What comes
 * out must be the same however the input was cut, and never larger than the lane's maximum. */
#include <stdint.h>
#include <string.h>

#include "ledger/net/frame.h"
#include "ledger/net/net.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_BYTES_MAX = 3000 };

struct sum {
    uint64_t frames;
    uint64_t hash;
    enum error_code code;
};

static void add(struct sum *sum, const struct net_frame *frame) {
    sum->frames++;
    sum->hash = sum->hash * 31 + (uint64_t)frame->kind;
    for (size_t i = 0; i < frame->body.len; i++)
        sum->hash = sum->hash * 31 + frame->body.data[i];
}

static void hello(const struct net_frame *frame) {
    struct net_hello said;
    struct error err;
    if (net_hello_read(frame->body, &said, &err) != ERROR_NONE)
        return;
    uint8_t again[NET_HELLO_BYTES];
    net_hello_write(&said, again);
    if (said.version == MESH_VERSION)
        REQUIRE(frame->body.len == NET_HELLO_BYTES &&
                memcmp(again, frame->body.data, sizeof again) == 0);
}

static struct sum read_all(struct bytes input, size_t piece) {
    struct net_reader r;
    struct sum sum = {0};
    struct error err;
    net_reader_init(&r, MESSAGE_BYTES_MAX);
    while (input.len > 0 && sum.code == ERROR_NONE) {
        struct bytes part = {input.data, piece < input.len ? piece : input.len};
        input.data += part.len;
        input.len -= part.len;
        while (part.len > 0 && sum.code == ERROR_NONE) {
            bool whole = false;
            struct net_frame frame;
            REQUIRE(net_reader_missing(&r) > 0);
            sum.code = net_reader_next(&r, &part, &whole, &frame, &err);
            REQUIRE(r.body_capacity <= MESSAGE_BYTES_MAX);
            if (sum.code != ERROR_NONE || !whole)
                continue;
            REQUIRE(frame.body.len <= MESSAGE_BYTES_MAX);
            add(&sum, &frame);
            if (frame.kind == NET_FRAME_HELLO)
                hello(&frame);
        }
    }
    net_reader_done(&r);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct bytes input = {data + 1, size - 1};
    struct sum at_once = read_all(input, SIZE_MAX);
    struct sum in_pieces = read_all(input, 1u + data[0]);
    REQUIRE(at_once.frames == in_pieces.frames && at_once.hash == in_pieces.hash &&
            at_once.code == in_pieces.code);
    return 0;
}
