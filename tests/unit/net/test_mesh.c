/* The mesh among honest peers: everybody connects, exchanges, survives restarts; caps and order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/wire.h"
#include "tests/unit/net/fixture.h"

enum { MIB = 1 << 20 };

static enum mesh_sent send_number(struct node *node, uint32_t peer, enum mesh_lane lane,
                                  uint32_t number) {
    uint8_t raw[4];
    wire_store_u32(raw, number);
    return mesh_send(node->mesh, peer, lane, bytes_of(raw, sizeof raw));
}

static void expect_from_sender(struct node *node, uint32_t peer, enum mesh_lane lane,
                               struct bytes bytes) {
    assert_int_equal(bytes.len, 4);
    assert_int_equal(wire_load_u32(bytes.data), peer * 10 + lane);
    node->note |= 1ull << (peer * 2 + lane);
}

static void four_connect_and_every_pair_exchanges_on_both_lanes(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 4);
    fixture_until(f, fixture_all_up(f, 4));
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(f->node[i].ups, 3);
        f->node[i].on_message = expect_from_sender;
        for (uint32_t k = 0; k < 4; k++)
            for (enum mesh_lane lane = MESH_VOTES; k != i && lane < MESH_LANES; lane++)
                assert_int_equal(send_number(&f->node[i], k, lane, i * 10 + lane), MESH_QUEUED);
    }
    for (uint32_t i = 0; i < 4; i++)
        fixture_until(f, f->node[i].note == (0xffull & ~(3ull << (i * 2))));
    struct mesh_stats stats = fixture_stats(f, 2, 1);
    assert_true(stats.up);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.lane[MESH_BULK].messages_in, 1);
    assert_int_equal(stats.lane[MESH_VOTES].messages_out, 1);
    assert_true(stats.lane[MESH_VOTES].bytes_out > 9 && stats.lane[MESH_VOTES].bytes_in > 9);
    assert_int_equal(stats.last_error.code, ERROR_NONE);
    assert_memory_equal(stats.address, "127.0.0.1:", 10);
    fixture_until(f, fixture_stats(f, 2, 1).rtt_us > 0);
}

static void broadcast_reaches_every_validator_that_is_up(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 4);
    fixture_until(f, fixture_all_up(f, 4));
    assert_int_equal(mesh_broadcast(f->node[1].mesh, MESH_VOTES, bytes_of("vote", 4)), 3);
    fixture_until(f, f->node[0].messages[MESH_VOTES] == 1 && f->node[2].messages[MESH_VOTES] == 1 &&
                         f->node[3].messages[MESH_VOTES] == 1);
    fixture_stop(f, 3);
    fixture_until(f, f->node[1].downs == 1);
    assert_int_equal(mesh_broadcast(f->node[1].mesh, MESH_VOTES, bytes_of("vote", 4)), 2);
    assert_int_equal(mesh_send(f->node[1].mesh, 3, MESH_VOTES, bytes_of("vote", 4)), MESH_DOWN);
    assert_int_equal(mesh_send(f->node[1].mesh, 77, MESH_VOTES, bytes_of("vote", 4)), MESH_DOWN);
}

static void restarted_node_is_back_whoever_dials(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 3);
    fixture_until(f, fixture_all_up(f, 3));
    static const uint32_t ORDER[] = {2, 0, 1}; /* is dialled by all, dials all, both */
    for (size_t i = 0; i < 3; i++) {
        uint32_t number = ORDER[i];
        struct mesh_config config;
        fixture_config(f, number, 3, &config);
        char listen[32];
        (void)snprintf(listen, sizeof listen, "%s", f->address[number]);
        config.listen = listen;
        fixture_stop(f, number);
        uint32_t other = (number + 1) % 3;
        fixture_until(f, !fixture_stats(f, other, number).up);
        assert_int_equal(fixture_stats(f, other, number).last_error.code, ERROR_TLS);
        fixture_start(f, number, &config);
        fixture_until(f, fixture_all_up(f, 3));
        assert_int_equal(send_number(&f->node[number], other, MESH_VOTES, 1), MESH_QUEUED);
        uint64_t before = f->node[other].messages[MESH_VOTES];
        fixture_until(f, f->node[other].messages[MESH_VOTES] > before);
    }
}

static void unreachable_peer_is_told_once_and_named(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    fixture_config(f, 0, 2, &config);
    fixture_start(f, 0, &config);
    fixture_until(f, fixture_stats(f, 0, 1).failures >= 3);
    assert_int_equal(f->node[0].troubles, 1);
    assert_int_equal(f->node[0].trouble.code, ERROR_NODE_UNREACHABLE);
    assert_string_equal(f->node[0].trouble.message,
                        "validator 1 (127.0.0.1:1): cannot connect: Connection refused");
    assert_int_equal(f->node[0].downs, 0);
}

static void expect_next(struct node *node, uint32_t peer, enum mesh_lane lane,
                        struct bytes bytes) {
    (void)peer;
    (void)lane;
    assert_int_equal(wire_load_u32(bytes.data), node->note);
    node->note++;
}

static void lane_keeps_order_with_sizes_mixed(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 2000 };
    fixture_start_all(f, 2);
    fixture_until(f, fixture_all_up(f, 2));
    f->node[1].on_message = expect_next;
    uint8_t *message = calloc(1, 200000);
    assert_non_null(message);
    for (uint32_t i = 0; i < COUNT;) {
        wire_store_u32(message, i);
        size_t len = i % 97 == 0 ? 200000 : 4 + i % 50;
        enum mesh_sent sent = mesh_send(f->node[0].mesh, 1, MESH_BULK, bytes_of(message, len));
        if (sent == MESH_QUEUED)
            i++;
        else
            fixture_until(f, f->node[0].writables > 0);
    }
    fixture_until(f, f->node[1].note == COUNT);
    free(message);
}

static void slow_reader_meets_the_cap_and_gets_all_when_it_reads_again(void **state) {
    struct fixture *f = *state;
    for (uint32_t i = 2; i-- > 0;) {
        struct mesh_config config;
        fixture_config(f, i, 2, &config);
        config.bulk_queue_bytes_max = 4 * MIB;
        fixture_start(f, i, &config);
    }
    fixture_until(f, fixture_all_up(f, 2));
    mesh_pause(f->node[1].mesh, 0, MESH_BULK, true);
    f->node[1].on_message = expect_next;
    uint8_t *message = calloc(1, MIB);
    assert_non_null(message);
    uint32_t sent = 0;
    /* Sockets' buffers take some megabytes before the queue grows. */
    uint64_t still = 0;
    while (still < 50) {
        wire_store_u32(message, sent);
        if (mesh_send(f->node[0].mesh, 1, MESH_BULK, bytes_of(message, MIB)) == MESH_QUEUED) {
            sent++;
            still = 0;
        } else {
            still++;
        }
        assert_true(fixture_stats(f, 0, 1).lane[MESH_BULK].queue_bytes <= 4 * MIB + (16 << 10));
        fixture_watch(f);
        fixture_turn(f, "the cap");
    }
    assert_true(sent > 3 && sent < 64);
    assert_true(fixture_stats(f, 0, 1).lane[MESH_BULK].refused >= 50);
    assert_int_equal(f->node[1].messages[MESH_BULK], 0);
    uint32_t writables = f->node[0].writables;
    /* The other lane does not notice. */
    f->node[0].on_message = NULL;
    assert_int_equal(send_number(&f->node[1], 0, MESH_VOTES, 5), MESH_QUEUED);
    fixture_until(f, f->node[0].messages[MESH_VOTES] == 1);
    mesh_pause(f->node[1].mesh, 0, MESH_BULK, false);
    fixture_until(f, f->node[1].note == sent);
    fixture_until(f, f->node[0].writables == writables + 1);
    assert_int_equal(f->node[0].downs, 0);
    free(message);
}

static void dropped_peer_is_named_and_returns_after_a_while(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 2);
    fixture_until(f, fixture_all_up(f, 2));
    struct error why;
    (void)error_set(&why, ERROR_PROTOCOL, "a vote with a bad signature");
    mesh_drop(f->node[1].mesh, 0, &why);
    assert_int_equal(f->node[1].downs, 1);
    assert_int_equal(f->node[1].down.code, ERROR_PROTOCOL);
    assert_string_equal(f->node[1].down.message,
                        "validator 0 (127.0.0.1:1): we hung up: a vote with a bad signature");
    fixture_until(f, f->node[0].downs == 1);
    fixture_until(f, fixture_all_up(f, 2));
    assert_int_equal(f->node[1].ups, 2);
}

static void start_two_that_come_back_soon(struct fixture *f, uint32_t trouble_ms) {
    for (uint32_t i = 2; i-- > 0;) {
        struct mesh_config config;
        fixture_config(f, i, 2, &config);
        config.backoff_ms_max = config.backoff_ms;
        config.trouble_ms = trouble_ms;
        fixture_start(f, i, &config);
    }
    fixture_until(f, fixture_all_up(f, 2));
}

/* Losses 1, 2, 4 and 8 are told, each with the return; the owner hears of all of them. */
static void who_comes_and_goes_fills_no_log(void **state) {
    struct fixture *f = *state;
    struct error why;
    start_two_that_come_back_soon(f, FIXTURE_DEADLINE_MS);
    assert_int_equal(f->node[1].news, 1);
    (void)error_set(&why, ERROR_PROTOCOL, "once more");
    for (uint32_t losses = 1; losses <= 9; losses++) {
        mesh_drop(f->node[1].mesh, 0, &why);
        assert_int_equal(f->node[1].downs, losses);
        fixture_until(f, f->node[0].downs == losses);
        fixture_until(f, fixture_all_up(f, 2));
    }
    assert_int_equal(f->node[1].ups, 10);
    assert_int_equal(f->node[1].news, 1 + 2 * 4);
}

/* The third loss in a row is no news, and what is behind it none either until it has lasted. */
static void an_untold_loss_that_lasts_is_told_as_trouble(void **state) {
    struct fixture *f = *state;
    struct error why;
    start_two_that_come_back_soon(f, 500);
    (void)error_set(&why, ERROR_PROTOCOL, "once more");
    for (uint32_t losses = 1; losses <= 2; losses++) {
        mesh_drop(f->node[1].mesh, 0, &why);
        fixture_until(f, f->node[0].downs == losses);
        fixture_until(f, fixture_all_up(f, 2));
    }
    uint32_t troubles = f->node[0].troubles;
    uint32_t news = f->node[0].news;
    uint64_t before_ms = uv_now(&f->loop);
    fixture_stop(f, 1);
    fixture_until(f, f->node[0].downs == 3);
    assert_int_equal(f->node[0].news, news);
    fixture_until(f, f->node[0].troubles > troubles);
    assert_true(uv_now(&f->loop) - before_ms >= 500);
}

static void observer_reads_along_and_only_when_listed(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    for (uint32_t i = 2; i-- > 0;) {
        fixture_config(f, i, 2, &config);
        config.observers = &f->pin[4];
        config.observer_count = i == 0 ? 1 : 0; /* validator 1 does not know it */
        fixture_start(f, i, &config);
    }
    fixture_config(f, 4, 2, &config);
    config.self = MESH_OBSERVER;
    config.listen = NULL;
    fixture_start(f, 4, &config);
    assert_int_equal(mesh_port(f->node[4].mesh), 0);
    fixture_until(f, f->node[4].ups == 1 && f->node[1].strangers > 0 && f->node[4].troubles > 0);
    fixture_until(f, fixture_all_up(f, 2));
    assert_int_equal(send_number(&f->node[4], 0, MESH_BULK, 1), MESH_QUEUED);
    fixture_until(f, f->node[0].messages[MESH_BULK] == 1);
    assert_int_equal(send_number(&f->node[0], MESH_OBSERVER_FIRST, MESH_VOTES, 1), MESH_QUEUED);
    fixture_until(f, f->node[4].messages[MESH_VOTES] == 1);
    assert_int_equal(mesh_broadcast(f->node[0].mesh, MESH_BULK, bytes_of("x", 1)), 1);
    assert_int_equal(mesh_broadcast(f->node[0].mesh, MESH_VOTES, bytes_of("x", 1)), 2);
    struct mesh_totals totals;
    mesh_totals(f->node[0].mesh, &totals);
    assert_int_equal(totals.peers_up, 1);
    assert_int_equal(totals.observers_up, 1);
    assert_string_equal(f->node[4].trouble.hint,
                        "compare our certificate with tls_pin in its genesis file");
}

struct runs {
    uint32_t last;
    uint32_t length;
    uint32_t longest;
    uint32_t count[2];
};
static struct runs runs;
enum { RUNS_COUNTED = 400 }; /* of each: so many wait in the sockets before the first is read */

static void count_runs(struct node *node, uint32_t peer, enum mesh_lane lane, struct bytes bytes) {
    (void)node;
    (void)lane;
    (void)bytes;
    if (++runs.count[peer] > RUNS_COUNTED || runs.count[1 - peer] >= RUNS_COUNTED)
        return; /* alone, one may speak as long as it wants */
    runs.length = peer == runs.last ? runs.length + 1 : 1;
    runs.last = peer;
    runs.longest = runs.length > runs.longest ? runs.length : runs.longest;
}

static void one_peer_does_not_starve_another(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 4000, BYTES = 1000, TURN_BYTES = 32 << 10 };
    for (uint32_t i = 3; i-- > 0;) {
        struct mesh_config config;
        fixture_config(f, i, 3, &config);
        config.turn_bytes_max = TURN_BYTES;
        fixture_start(f, i, &config);
    }
    fixture_until(f, fixture_all_up(f, 3));
    runs = (struct runs){0};
    f->node[2].on_message = count_runs;
    mesh_pause(f->node[2].mesh, 0, MESH_BULK, true);
    mesh_pause(f->node[2].mesh, 1, MESH_BULK, true);
    uint8_t message[BYTES] = {0};
    for (uint32_t i = 0; i < COUNT; i++)
        for (uint32_t k = 0; k < 2; k++)
            assert_int_equal(mesh_send(f->node[k].mesh, 2, MESH_BULK, bytes_of(message, BYTES)),
                             MESH_QUEUED);
    /* Both have filled the sockets before the first byte is read. */
    fixture_until(f, fixture_stats(f, 0, 2).lane[MESH_BULK].bytes_out > MIB / 2 &&
                         fixture_stats(f, 1, 2).lane[MESH_BULK].bytes_out > MIB / 2);
    mesh_pause(f->node[2].mesh, 0, MESH_BULK, false);
    mesh_pause(f->node[2].mesh, 1, MESH_BULK, false);
    fixture_until(f, f->node[2].messages[MESH_BULK] == 2 * COUNT);
    print_message("longest run of one peer: %u messages of %d\n", runs.longest, BYTES);
    /* The last of one turn and the first of the next may be the same peer's. */
    assert_true(runs.longest <= 2 * (TURN_BYTES + (16 << 10)) / BYTES + 1);
}

static void echo(struct node *node, uint32_t peer, enum mesh_lane lane, struct bytes bytes) {
    assert_int_equal(mesh_send(node->mesh, peer, lane, bytes), MESH_QUEUED);
}

static void hundred_thousand_small_messages_go_there_and_back(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 100000, BYTES = 200, WINDOW = 4096 };
    fixture_start_all(f, 2);
    fixture_until(f, fixture_all_up(f, 2));
    f->node[1].on_message = echo;
    uint8_t message[BYTES] = {0};
    uint64_t sent = 0;
    uint64_t begin_ns = clock_monotonic_ns();
    fixture_watch(f);
    while (f->node[0].messages[MESH_VOTES] < COUNT) {
        for (; sent < COUNT && sent - f->node[0].messages[MESH_VOTES] < WINDOW; sent++)
            assert_int_equal(mesh_send(f->node[0].mesh, 1, MESH_VOTES, bytes_of(message, BYTES)),
                             MESH_QUEUED);
        fixture_turn(f, "100000 echoes");
    }
    uint64_t ns = clock_monotonic_ns() - begin_ns;
    print_message("%d messages of %d bytes there and back in %.0f ms: %.0f a second\n", COUNT,
                  BYTES, (double)ns / 1e6, COUNT * 1e9 / (double)ns);
}

static void stall(struct node *node, uint32_t peer, enum mesh_lane lane, struct bytes bytes) {
    (void)node;
    (void)peer;
    (void)lane;
    (void)bytes;
    clock_sleep_ms(700);
}

/* A loop that was busy did not listen; that is no silence of the others. */
static void stalled_loop_does_not_hang_up_on_its_peers(void **state) {
    struct fixture *f = *state;
    for (uint32_t i = 2; i-- > 0;) {
        struct mesh_config config;
        fixture_config(f, i, 2, &config);
        config.keepalive_ms = 100;
        config.silence_ms_max = 500;
        fixture_start(f, i, &config);
    }
    fixture_until(f, fixture_all_up(f, 2));
    f->node[1].on_message = stall;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(send_number(&f->node[0], 1, MESH_VOTES, i), MESH_QUEUED);
        fixture_until(f, f->node[1].messages[MESH_VOTES] == i + 1);
        uint32_t rtt = fixture_stats(f, 0, 1).rtt_us;
        fixture_until(f, fixture_stats(f, 0, 1).rtt_us != rtt); /* a ping went there and back */
    }
    if (f->node[0].downs + f->node[1].downs > 0)
        fail_msg("%s / %s", f->node[0].down.message, f->node[1].down.message);
}

static void largest_block_goes_through(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 2);
    fixture_until(f, fixture_all_up(f, 2));
    uint8_t *message = calloc(1, MESH_BULK_BYTES_MAX);
    assert_non_null(message);
    f->node[1].on_message = expect_next;
    assert_int_equal(mesh_send(f->node[0].mesh, 1, MESH_BULK,
                               bytes_of(message, MESH_BULK_BYTES_MAX)),
                     MESH_QUEUED);
    fixture_until(f, f->node[1].note == 1);
    free(message);
}

static void close_in_up(struct node *node, uint32_t peer) {
    (void)peer;
    mesh_close(node->mesh, NULL, NULL);
    node->mesh = NULL;
}

static void close_in_message(struct node *node, uint32_t peer, enum mesh_lane lane,
                             struct bytes bytes) {
    (void)lane;
    (void)bytes;
    close_in_up(node, peer);
}

static void callback_may_close_the_mesh(void **state) {
    struct fixture *f = *state;
    f->node[0].on_up = close_in_up;
    fixture_start_all(f, 3);
    fixture_until(f, f->node[0].mesh == NULL);
    f->node[1].on_message = close_in_message;
    fixture_until(f, f->node[2].ups > 0 && fixture_stats(f, 2, 1).up);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(send_number(&f->node[2], 1, MESH_VOTES, i), MESH_QUEUED);
    fixture_until(f, f->node[1].mesh == NULL);
    assert_int_equal(f->node[1].messages[MESH_VOTES], 1);
}

static void expect_config_error(struct fixture *f, uint32_t number,
                                const struct mesh_config *config, enum error_code code,
                                const char *message) {
    char key[128];
    char certificate[128];
    struct mesh_config own = *config;
    fixture_path(f, number, "key", key);
    fixture_path(f, number, "pem", certificate);
    if (own.key_path == NULL)
        own.key_path = key;
    own.certificate_path = certificate;
    struct mesh *mesh = NULL;
    struct error err;
    assert_int_equal(mesh_new(&f->loop, &own, &mesh, &err), code);
    assert_string_equal(err.message, message);
    assert_null(mesh);
}

static void wrong_configuration_is_told(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    fixture_config(f, 0, 3, &config);
    expect_config_error(f, 1, &config, ERROR_CONFIG,
                        "mesh: our key is not the pinned one of validator 0");
    f->peers[2].pin = f->pin[0];
    expect_config_error(f, 0, &config, ERROR_CONFIG, "mesh: validator 2 has our own key");
    f->peers[2].pin = f->pin[1];
    expect_config_error(f, 0, &config, ERROR_CONFIG,
                        "mesh: validator 2 (127.0.0.1:1) has the key of another peer");
    f->peers[2].pin = f->pin[2];
    f->peers[2].index = 1;
    expect_config_error(f, 0, &config, ERROR_CONFIG, "mesh: validator 1 stands twice");
    f->peers[2].index = 2;
    f->peers[2].address = "localhost";
    expect_config_error(f, 0, &config, ERROR_CONFIG,
                        "'localhost': expected host:port or [host]:port");
    f->peers[2].address = "::1:70";
    expect_config_error(f, 0, &config, ERROR_CONFIG,
                        "'::1:70': expected host:port or [host]:port");
    f->peers[2].address = "[::1]:65536";
    expect_config_error(f, 0, &config, ERROR_CONFIG,
                        "'[::1]:65536': expected host:port or [host]:port");
    f->peers[2].address = "[::1]:7";
    config.silence_ms_max = config.keepalive_ms;
    expect_config_error(f, 0, &config, ERROR_CONFIG,
                        "mesh: silence_ms_max 2000 is below twice keepalive_ms 2000");
    config.silence_ms_max = 10000;
    char other_key[128];
    fixture_path(f, 1, "key", other_key);
    config.key_path = other_key;
    char message[512];
    char own[128];
    fixture_path(f, 0, "pem", own);
    (void)snprintf(message, sizeof message, "%s: not usable as the key of %s: key values mismatch",
                   other_key, own);
    expect_config_error(f, 0, &config, ERROR_CRYPTO, message);
}

static void peers_change_while_running(void **state) {
    struct fixture *f = *state;
    fixture_start_all(f, 3);
    fixture_until(f, fixture_all_up(f, 3));
    /* Node 2 is dropped by the others, and node 1 becomes number 0 for node 0 without a new connection. */
    struct mesh_peer list[] = {f->peers[1], f->peers[0]};
    list[0].index = 0;
    list[1].index = 1;
    struct error err;
    assert_int_equal(mesh_set_peers(f->node[0].mesh, 1, list, 2, NULL, 0, &err), ERROR_NONE);
    assert_int_equal(fixture_stats(f, 0, 0).connections, 1);
    assert_true(mesh_is_up(f->node[0].mesh, 0));
    assert_false(mesh_is_up(f->node[0].mesh, 2));
    assert_int_equal(f->node[0].downs, 1);
    assert_int_equal(f->node[0].down_peer, MESH_FORMER_PEER); /* and not who has its number now */
    assert_non_null(strstr(f->node[0].down.message, ": it is no peer any more"));
    fixture_until(f, !mesh_is_up(f->node[2].mesh, 0));
    uint64_t before = f->node[1].messages[MESH_VOTES];
    assert_int_equal(mesh_broadcast(f->node[0].mesh, MESH_VOTES, bytes_of("vote", 4)), 1);
    fixture_until(f, f->node[1].messages[MESH_VOTES] > before);
    /* A wrong list changes nothing. */
    list[0].pin = f->pin[0];
    assert_int_equal(mesh_set_peers(f->node[0].mesh, 1, list, 2, NULL, 0, &err), ERROR_CONFIG);
    assert_true(mesh_is_up(f->node[0].mesh, 0));
    /* Node 2 comes back. */
    assert_int_equal(mesh_set_peers(f->node[0].mesh, 0, f->peers, 3, NULL, 0, &err), ERROR_NONE);
    fixture_until(f, fixture_all_up(f, 3));
}

static void key_changes_while_running(void **state) {
    struct fixture *f = *state;
    char certificate[128];
    char key[128];
    struct error err;
    fixture_start_all(f, 3);
    fixture_until(f, fixture_all_up(f, 3));
    /* Node 2 takes the key of node 4, and the others hear of it. */
    fixture_path(f, 4, "pem", certificate);
    fixture_path(f, 4, "key", key);
    struct mesh_peer list[] = {f->peers[0], f->peers[1], f->peers[2]};
    list[2].pin = f->pin[4];
    assert_int_equal(mesh_set_identity(f->node[2].mesh, certificate, key, &err), ERROR_NONE);
    assert_false(mesh_is_up(f->node[2].mesh, 0)); /* by the old key nothing goes on */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(mesh_set_peers(f->node[i].mesh, i, list, 3, NULL, 0, &err), ERROR_NONE);
    fixture_until(f, fixture_all_up(f, 3));
    assert_int_equal(fixture_stats(f, 0, 2).connections, 1); /* of the peer with the new key */
    assert_int_equal(fixture_stats(f, 0, 1).connections, 1); /* untouched */
}

/* Who missed the block that made its new key valid: the others know the new one only, and by it the
 * node that was dialled is the one that dials. */
static void who_learns_late_of_its_new_key_comes_back(void **state) {
    struct fixture *f = *state;
    char certificate[128];
    char key[128];
    struct error err;
    struct mesh_config config;
    f->peers[0].pin = f->pin[4]; /* the lowest key is to be the new one of node 2 */
    for (uint32_t i = 1; i < 3; i++) { /* in this order: each is to know where it can dial the other */
        fixture_config(f, i, 3, &config);
        fixture_start(f, i, &config);
    }
    struct mesh_peer list[] = {f->peers[0], f->peers[1], f->peers[2]};
    assert_int_equal(mesh_set_peers(f->node[1].mesh, 1, list, 3, NULL, 0, &err), ERROR_NONE);
    fixture_until(f, mesh_is_up(f->node[1].mesh, 2) && mesh_is_up(f->node[2].mesh, 1));
    list[2].pin = f->pin[0];
    assert_int_equal(mesh_set_peers(f->node[1].mesh, 1, list, 3, NULL, 0, &err), ERROR_NONE);
    fixture_until(f, !mesh_is_up(f->node[2].mesh, 1));
    fixture_path(f, 0, "pem", certificate);
    fixture_path(f, 0, "key", key);
    assert_int_equal(mesh_set_identity(f->node[2].mesh, certificate, key, &err), ERROR_NONE);
    fixture_until(f, mesh_is_up(f->node[1].mesh, 2) && mesh_is_up(f->node[2].mesh, 1));
}

static void taken_port_is_told(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    fixture_config(f, 1, 2, &config);
    fixture_start(f, 1, &config);
    fixture_config(f, 0, 2, &config);
    config.listen = f->address[1];
    char message[128];
    (void)snprintf(message, sizeof message, "cannot listen on %s: Address already in use",
                   f->address[1]);
    expect_config_error(f, 0, &config, ERROR_IO, message);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(four_connect_and_every_pair_exchanges_on_both_lanes),
        EACH(broadcast_reaches_every_validator_that_is_up),
        EACH(restarted_node_is_back_whoever_dials),
        EACH(unreachable_peer_is_told_once_and_named),
        EACH(lane_keeps_order_with_sizes_mixed),
        EACH(slow_reader_meets_the_cap_and_gets_all_when_it_reads_again),
        EACH(dropped_peer_is_named_and_returns_after_a_while),
        EACH(who_comes_and_goes_fills_no_log),
        EACH(an_untold_loss_that_lasts_is_told_as_trouble),
        EACH(observer_reads_along_and_only_when_listed),
        EACH(one_peer_does_not_starve_another),
        EACH(hundred_thousand_small_messages_go_there_and_back),
        EACH(stalled_loop_does_not_hang_up_on_its_peers),
        EACH(largest_block_goes_through),
        EACH(callback_may_close_the_mesh),
        EACH(wrong_configuration_is_told),
        EACH(peers_change_while_running),
        EACH(key_changes_while_running),
        EACH(who_learns_late_of_its_new_key_comes_back),
        EACH(taken_port_is_told),
    };
    return cmocka_run_group_tests(tests, fixture_keys, fixture_remove);
}
