/* Frames and hello from bytes written by hand after docs/formats.md, in every cut; the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/net/frame.h"
#include "ledger/net/net.h"
#include "ledger/net/queue.h"

static const uint8_t HELLO[] = {
    0, 0, 0, 48, 1,                                 /* 48 bytes follow, a hello */
    0, 1,                                           /* version */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* chain */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /**/
    1,                                              /* bulk */
    0, 0, 0, 3,                                     /* validator 3 */
    0, 0, 0, 0, 0, 0, 0, 9,                         /* session */
};
static const uint8_t MESSAGE[] = {0, 0, 0, 4, 2, 'a', 'b', 'c'};
static const uint8_t PING[] = {0, 0, 0, 9, 3, 1, 2, 3, 4, 5, 6, 7, 8};

struct seen {
    int count;
    enum net_frame_kind kind[8];
    size_t len[8];
    uint8_t first[8];
};

static enum error_code feed(struct net_reader *r, struct bytes input, struct seen *seen,
                            struct error *err) {
    while (input.len > 0) {
        bool whole = false;
        struct net_frame frame;
        TRY(net_reader_next(r, &input, &whole, &frame, err));
        if (!whole) {
            assert_int_equal(input.len, 0);
            break;
        }
        assert_true(seen->count < 8);
        seen->kind[seen->count] = frame.kind;
        seen->len[seen->count] = frame.body.len;
        seen->first[seen->count++] = frame.body.data[0];
    }
    return ERROR_NONE;
}

static void frames_come_out_whole_in_every_cut(void **state) {
    (void)state;
    uint8_t stream[sizeof HELLO + sizeof MESSAGE + sizeof PING];
    memcpy(stream, HELLO, sizeof HELLO);
    memcpy(stream + sizeof HELLO, MESSAGE, sizeof MESSAGE);
    memcpy(stream + sizeof HELLO + sizeof MESSAGE, PING, sizeof PING);
    for (size_t step = 1; step <= sizeof stream; step++) {
        struct net_reader r;
        struct seen seen = {0};
        struct error err;
        net_reader_init(&r, 100);
        for (size_t at = 0; at < sizeof stream; at += step) {
            size_t n = step < sizeof stream - at ? step : sizeof stream - at;
            assert_int_equal(feed(&r, bytes_of(stream + at, n), &seen, &err), ERROR_NONE);
        }
        assert_int_equal(seen.count, 3);
        assert_int_equal(seen.kind[0], NET_FRAME_HELLO);
        assert_int_equal(seen.len[0], 47);
        assert_int_equal(seen.kind[1], NET_FRAME_MESSAGE);
        assert_int_equal(seen.len[1], 3);
        assert_int_equal(seen.first[1], 'a');
        assert_int_equal(seen.kind[2], NET_FRAME_PING);
        assert_int_equal(seen.first[2], 1);
        assert_int_equal(net_reader_missing(&r), NET_HEAD_BYTES);
        net_reader_done(&r);
    }
}

static void reader_tells_what_is_missing(void **state) {
    (void)state;
    struct net_reader r;
    struct seen seen = {0};
    struct error err;
    net_reader_init(&r, 0);
    assert_int_equal(net_reader_missing(&r), 5);
    assert_int_equal(feed(&r, bytes_of(HELLO, 3), &seen, &err), ERROR_NONE);
    assert_int_equal(net_reader_missing(&r), 2);
    assert_int_equal(feed(&r, bytes_of(HELLO + 3, 2), &seen, &err), ERROR_NONE);
    assert_int_equal(net_reader_missing(&r), 47);
    net_reader_done(&r);
}

struct bad {
    const char *what;
    bool greeted;
    uint8_t head[5];
    const char *message;
};

static void bad_heads_are_refused_before_memory_is_taken(void **state) {
    (void)state;
    static const struct bad BAD[] = {
        {"over the lane's maximum", true, {0, 0, 0, 102, 2},
         "frame of kind 2: length 102, expected 2 to 101"},
        {"gigabytes", true, {255, 255, 255, 255, 2},
         "frame of kind 2: length 4294967295, expected 2 to 101"},
        {"empty message", true, {0, 0, 0, 1, 2}, "frame of kind 2: length 1, expected 2 to 101"},
        {"no room for the kind", true, {0, 0, 0, 0, 2},
         "frame of kind 2: length 0, expected 2 to 101"},
        {"short ping", true, {0, 0, 0, 8, 3}, "frame of kind 3: length 8, expected 9 to 9"},
        {"long pong", true, {0, 0, 0, 10, 4}, "frame of kind 4: length 10, expected 9 to 9"},
        {"unknown kind", true, {0, 0, 0, 9, 5}, "frame: kind 5 is unknown"},
        {"kind 0", false, {0, 0, 0, 9, 0}, "frame: kind 0 is unknown"},
        {"second hello", true, {0, 0, 0, 48, 1},
         "frame: kind 1, but the hello comes first and once"},
        {"message before the hello", false, {0, 0, 0, 4, 2},
         "frame: kind 2, but the hello comes first and once"},
        {"endless hello", false, {0, 0, 1, 1, 1}, "frame of kind 1: length 257, expected 3 to 256"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct net_reader r;
        struct seen seen = {0};
        struct error err;
        net_reader_init(&r, 100);
        r.greeted = BAD[i].greeted;
        assert_int_equal(feed(&r, bytes_of(BAD[i].head, 5), &seen, &err), ERROR_PROTOCOL);
        assert_string_equal(err.message, BAD[i].message);
        assert_null(r.body);
        net_reader_done(&r);
    }
}

static void large_body_is_given_back(void **state) {
    (void)state;
    enum { LARGE = 100 << 10 };
    uint8_t *large = calloc(1, LARGE + 5);
    assert_non_null(large);
    net_head_write(large, NET_FRAME_MESSAGE, LARGE);
    struct net_reader r;
    struct seen seen = {0};
    struct error err;
    net_reader_init(&r, LARGE);
    r.greeted = true;
    assert_int_equal(feed(&r, bytes_of(large, 50000), &seen, &err), ERROR_NONE);
    assert_int_equal(feed(&r, bytes_of(large + 50000, LARGE + 5 - 50000), &seen, &err), ERROR_NONE);
    assert_int_equal(seen.len[0], LARGE);
    assert_int_equal(feed(&r, bytes_of(MESSAGE, 6), &seen, &err), ERROR_NONE);
    assert_int_equal(r.body_capacity, 3);
    net_reader_done(&r);
    free(large);
}

static void hello_is_the_documented_bytes(void **state) {
    (void)state;
    struct net_hello hello;
    struct error err;
    assert_int_equal(net_hello_read(bytes_of(HELLO + 5, 47), &hello, &err), ERROR_NONE);
    assert_int_equal(hello.version, 1);
    assert_int_equal(hello.chain.byte[31], 7);
    assert_int_equal(hello.lane, MESH_BULK);
    assert_int_equal(hello.index, 3);
    assert_int_equal(hello.session, 9);
    uint8_t again[NET_HELLO_BYTES];
    net_hello_write(&hello, again);
    assert_memory_equal(again, HELLO + 5, sizeof again);
}

static void malformed_hello_is_refused_and_leaves_the_output_alone(void **state) {
    (void)state;
    struct net_hello hello = {.version = 77};
    struct error err;
    assert_int_equal(net_hello_read(bytes_of(HELLO + 5, 46), &hello, &err), ERROR_PROTOCOL);
    assert_string_equal(err.message, "hello: 46 bytes, expected 47");
    uint8_t longer[48] = {0};
    memcpy(longer, HELLO + 5, 47);
    assert_int_equal(net_hello_read(bytes_of(longer, 48), &hello, &err), ERROR_PROTOCOL);
    longer[34] = 2;
    assert_int_equal(net_hello_read(bytes_of(longer, 47), &hello, &err), ERROR_PROTOCOL);
    assert_string_equal(err.message, "hello: lane 2, expected 0 or 1");
    assert_int_equal(hello.version, 77);
}

static void hello_of_a_later_version_is_read_as_far_as_its_version(void **state) {
    (void)state;
    static const uint8_t LATER[] = {0, 2, 'x', 'y', 'z'};
    struct net_hello hello;
    struct error err;
    assert_int_equal(net_hello_read(bytes_of(LATER, sizeof LATER), &hello, &err), ERROR_NONE);
    assert_int_equal(hello.version, 2);
    assert_int_equal(hello.session, 0);
}

static void queue_keeps_order_over_growth_and_cuts(void **state) {
    (void)state;
    struct net_queue q;
    net_queue_init(&q, 1 << 20);
    uint64_t messages = 0;
    uint8_t expected = 0;
    uint8_t number = 0;
    uint8_t out[7];
    uint8_t frame[7]; /* head, two bytes of body */
    size_t have = 0;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 5; i++) {
            uint8_t body[2] = {number, number};
            number++;
            struct net_packet *packet = net_packet_new(bytes_of(body, 2));
            assert_true(net_queue_push(&q, packet));
            net_packet_release(packet);
        }
        for (int i = 0; i < (round < 50 ? 9 : 30); i++) {
            size_t n = net_queue_take(&q, out, 3, &messages);
            for (size_t k = 0; k < n; k++) {
                frame[have++] = out[k];
                if (have == sizeof frame) {
                    assert_int_equal(wire_load_u32(frame), 3);
                    assert_int_equal(frame[5], expected);
                    assert_int_equal(frame[6], expected);
                    expected++;
                    have = 0;
                }
            }
        }
    }
    assert_int_equal(messages, 500);
    assert_int_equal(q.count, 0);
    assert_int_equal(q.bytes, 0);
    assert_true(net_queue_at_boundary(&q));
    net_queue_done(&q);
}

static void queue_refuses_beyond_its_cap_and_counts_overhead(void **state) {
    (void)state;
    struct net_queue q;
    net_queue_init(&q, 10 * (NET_QUEUE_OVERHEAD_BYTES + NET_HEAD_BYTES + 1));
    struct net_packet *packet = net_packet_new(bytes_of("x", 1));
    for (int i = 0; i < 10; i++)
        assert_true(net_queue_push(&q, packet));
    assert_false(net_queue_push(&q, packet));
    assert_int_equal(q.bytes, q.bytes_max);
    uint8_t out[6];
    uint64_t messages = 0;
    assert_int_equal(net_queue_take(&q, out, sizeof out, &messages), 6);
    assert_true(net_queue_push(&q, packet));
    net_packet_release(packet);
    net_queue_done(&q);
}

static void empty_queue_takes_one_message_above_its_cap(void **state) {
    (void)state;
    struct net_queue q;
    net_queue_init(&q, 10);
    struct net_packet *packet = net_packet_new(bytes_of("01234567890123456789", 20));
    assert_true(net_queue_push(&q, packet));
    assert_false(net_queue_push(&q, packet));
    net_packet_release(packet);
    net_queue_done(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_out_whole_in_every_cut),
        cmocka_unit_test(reader_tells_what_is_missing),
        cmocka_unit_test(bad_heads_are_refused_before_memory_is_taken),
        cmocka_unit_test(large_body_is_given_back),
        cmocka_unit_test(hello_is_the_documented_bytes),
        cmocka_unit_test(malformed_hello_is_refused_and_leaves_the_output_alone),
        cmocka_unit_test(hello_of_a_later_version_is_read_as_far_as_its_version),
        cmocka_unit_test(queue_keeps_order_over_growth_and_cuts),
        cmocka_unit_test(queue_refuses_beyond_its_cap_and_counts_overhead),
        cmocka_unit_test(empty_queue_takes_one_message_above_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
