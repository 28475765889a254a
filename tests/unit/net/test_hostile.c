/* The mesh among those who lie, babble or fall silent: each is turned away with its reason, named
 * where its key is known, and the others do not notice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "tests/unit/net/fixture.h"

enum { HELLO_BYTES = 52, INDEX_AT = 5 + 35 };

/* A right hello of validator 0 for the votes' lane, by the byte table of docs/formats.md. */
static void hello(uint8_t ret_frame[HELLO_BYTES], uint8_t lane) {
    memset(ret_frame, 0, HELLO_BYTES);
    ret_frame[3] = 48;
    ret_frame[4] = 1;
    ret_frame[6] = 1;
    memset(ret_frame + 7, 7, 32);
    ret_frame[39] = lane;
    ret_frame[51] = 9;
}

static void start_one(struct fixture *f, uint32_t number, uint32_t count) {
    struct mesh_config config;
    fixture_config(f, number, count, &config);
    config.keepalive_ms = 200;
    /* Longer than a busy machine keeps anybody waiting. */
    config.silence_ms_max = 1000;
    config.handshake_ms_max = 2000;
    fixture_start(f, number, &config);
}

static int knock(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void assert_ends_with(const char *text, const char *end) {
    size_t len = strlen(text);
    size_t tail = strlen(end);
    if (len < tail || strcmp(text + len - tail, end) != 0)
        fail_msg("'%s' does not end with '%s'", text, end);
}

static void peer_with_another_key_is_refused_by_who_dials(void **state) {
    struct fixture *f = *state;
    start_one(f, 1, 2);
    f->peers[1].pin = f->pin[3];
    /* The other lane's connection just ends: one of them tells why. */
    f->node[1].look_for = ": it refuses our key";
    start_one(f, 0, 2);
    fixture_until(f, f->node[0].troubles > 0 && f->node[1].found);
    char expected[128];
    (void)snprintf(expected, sizeof expected, "validator 1 (%s): its key is not the pinned one",
                   f->address[1]);
    assert_string_equal(f->node[0].trouble.message, expected);
    assert_int_equal(f->node[0].trouble.code, ERROR_TLS);
    assert_string_equal(f->node[0].trouble.hint,
                        "compare its certificate with tls_pin in the genesis file");
    assert_int_equal(f->node[0].ups + f->node[1].ups, 0);
}

static void peer_with_another_key_is_refused_by_who_accepts(void **state) {
    struct fixture *f = *state;
    struct hash right = f->peers[0].pin;
    f->peers[0].pin = f->pin[3];
    start_one(f, 1, 2);
    f->peers[0].pin = right;
    f->node[1].look_for = ": its key is not the pinned one";
    start_one(f, 0, 2);
    fixture_until(f, f->node[0].troubles > 0);
    assert_ends_with(f->node[0].trouble.message, ": it refuses our key");
    fixture_until(f, f->node[1].found);
    assert_int_equal(f->node[0].ups + f->node[1].ups, 0);
}

/* Who knows an older list calls itself by its number there; the key alone says who it is. */
static void a_peer_is_who_its_key_is_whatever_it_calls_itself(void **state) {
    struct fixture *f = *state;
    uint8_t say[HELLO_BYTES];
    uint8_t too[HELLO_BYTES];
    hello(say, 0);
    hello(too, 1);
    say[INDEX_AT + 3] = too[INDEX_AT + 3] = 2;
    start_one(f, 3, 4);
    struct rogue rogue = {f, 0, f->node[3].port, false, bytes_of(say, sizeof say),
                          bytes_of(too, sizeof too), 0, 0};
    rogue_start(&rogue);
    fixture_until(f, fixture_stats(f, 3, 0).connections == 1);
    assert_int_equal(f->node[3].strangers, 0);
    fixture_stop(f, 3);
    rogue_join(&rogue);
}

static void other_chain_is_named_on_both_sides(void **state) {
    struct fixture *f = *state;
    start_one(f, 1, 2);
    struct mesh_config config;
    fixture_config(f, 0, 2, &config);
    config.chain.byte[0] = 8;
    fixture_start(f, 0, &config);
    fixture_until(f, f->node[0].troubles > 0 && f->node[1].troubles > 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(f->node[i].trouble.code, ERROR_PROTOCOL);
        assert_ends_with(f->node[i].trouble.message, ": it belongs to another chain");
        assert_int_equal(f->node[i].ups, 0);
    }
}

static void other_version_is_named(void **state) {
    struct fixture *f = *state;
    uint8_t say[HELLO_BYTES];
    hello(say, 0);
    say[6] = 2;
    start_one(f, 1, 2);
    struct rogue rogue = {f, 0, f->node[1].port, false, bytes_of(say, sizeof say), {0}, 0, 0};
    rogue_start(&rogue);
    fixture_until(f, f->node[1].troubles > 0);
    rogue_join(&rogue);
    assert_ends_with(f->node[1].trouble.message, ": it speaks version 2 of the mesh, expected 1");
    assert_int_equal(rogue.heard, HELLO_BYTES); /* was told our version in turn */
}

/* Two at once; the next waits. What it was last stands in the statistics all the same. */
static void a_peer_with_ever_new_troubles_fills_no_log(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    fixture_config(f, 1, 2, &config);
    config.trouble_ms = FIXTURE_DEADLINE_MS;
    fixture_start(f, 1, &config);
    for (uint8_t version = 2; version < 8; version++) {
        uint8_t say[HELLO_BYTES];
        char expected[64];
        hello(say, 0);
        say[6] = version;
        (void)snprintf(expected, sizeof expected, "it speaks version %d of the mesh", version);
        struct rogue rogue = {f, 0, f->node[1].port, false, bytes_of(say, sizeof say), {0}, 0, 0};
        rogue_start(&rogue);
        fixture_until(f, strstr(fixture_stats(f, 1, 0).last_error.message, expected) != NULL);
        rogue_join(&rogue);
        assert_int_equal(f->node[1].troubles, version == 2 ? 1 : 2);
    }
}

/* It may know a list in which it is no validator, and so dial everybody. */
static void who_dials_against_the_order_gets_in(void **state) {
    struct fixture *f = *state;
    uint8_t say[HELLO_BYTES];
    uint8_t too[HELLO_BYTES];
    hello(say, 0);
    hello(too, 1);
    start_one(f, 0, 2);
    struct rogue rogue = {f, 1, f->node[0].port, false, bytes_of(say, sizeof say),
                          bytes_of(too, sizeof too), 0, 0};
    rogue_start(&rogue);
    fixture_until(f, fixture_stats(f, 0, 1).connections == 1);
    fixture_stop(f, 0);
    rogue_join(&rogue);
}

struct lie {
    const char *what;
    bool both; /* the second lane comes up too */
    uint8_t after[13];
    size_t after_len;
    uint8_t lane_too;
    enum error_code code;
    const char *reason;
};

/* By a validator with its right key, after a right hello. */
static void broken_frames_end_the_connection_and_name_the_peer(void **state) {
    struct fixture *f = *state;
    static const struct lie LIES[] = {
        {"message above the lane's maximum", true, {0, 16, 0, 2, 2}, 5, 1, ERROR_PROTOCOL,
         ": frame of kind 2: length 1048578, expected 2 to 1048577"},
        {"gigabytes", true, {255, 255, 255, 255, 2}, 5, 1, ERROR_PROTOCOL,
         ": frame of kind 2: length 4294967295, expected 2 to 1048577"},
        {"unknown kind", true, {0, 0, 0, 9, 9}, 5, 1, ERROR_PROTOCOL, ": frame: kind 9 is unknown"},
        {"silence", true, {0}, 0, 1, ERROR_TIMEOUT, ": nothing heard for 1000 ms"},
        {"half a frame, then silence", true, {0, 0, 0, 9, 2, 'x'}, 6, 1, ERROR_TIMEOUT,
         ": nothing heard for 1000 ms"},
        {"the same lane twice", false, {0}, 0, 0, ERROR_PROTOCOL,
         ": two connections for lane 0 of one session"},
    };
    start_one(f, 1, 2);
    for (size_t i = 0; i < sizeof LIES / sizeof *LIES; i++) {
        struct node *node = &f->node[1];
        uint8_t say[HELLO_BYTES + 13];
        uint8_t too[HELLO_BYTES];
        hello(say, 0);
        memcpy(say + HELLO_BYTES, LIES[i].after, LIES[i].after_len);
        hello(too, LIES[i].lane_too);
        struct rogue rogue = {f, 0, node->port, false,
                              bytes_of(say, HELLO_BYTES + LIES[i].after_len),
                              bytes_of(too, sizeof too), 0, 0};
        node->downs = node->troubles = node->ups = 0;
        rogue_start(&rogue);
        if (LIES[i].both)
            fixture_until(f, node->downs == 1);
        else
            fixture_until(f, node->troubles > 0 && !fixture_stats(f, 1, 0).up);
        /* What it still waits for ends by our own clock. */
        fixture_until(f, fixture_stats(f, 1, 0).address[0] == '\0');
        rogue_join(&rogue);
        const struct error *reason = LIES[i].both ? &node->down : &node->trouble;
        if (LIES[i].both) {
            assert_int_equal(node->ups, 1);
            assert_ends_with(reason->message, LIES[i].reason);
            assert_int_equal(reason->code, LIES[i].code);
        }
        assert_memory_equal(reason->message, "validator 0 (127.0.0.1:1)", 25);
        assert_int_equal(node->messages[MESH_VOTES], 0);
    }
    assert_int_equal(f->node[1].strangers, 0);
}

static void message_before_the_hello_is_refused(void **state) {
    struct fixture *f = *state;
    static const uint8_t SAY[] = {0, 0, 0, 2, 2, 'x'};
    start_one(f, 1, 2);
    struct rogue rogue = {f, 0, f->node[1].port, false, bytes_of(SAY, sizeof SAY), {0}, 0, 0};
    rogue_start(&rogue);
    fixture_until(f, f->node[1].troubles > 0);
    rogue_join(&rogue);
    assert_ends_with(f->node[1].trouble.message,
                     ": frame: kind 2, but the hello comes first and once");
}

static void older_tls_is_refused(void **state) {
    struct fixture *f = *state;
    start_one(f, 1, 2);
    struct rogue rogue = {f, 0, f->node[1].port, true, {0}, {0}, 0, 0};
    rogue_start(&rogue);
    fixture_until(f, f->node[1].strangers > 0);
    rogue_join(&rogue);
    assert_ends_with(f->node[1].stranger.message, ": TLS failed: unsupported protocol");
}

static void garbage_and_truncated_tls_do_no_harm(void **state) {
    struct fixture *f = *state;
    static const uint8_t CUT[] = {22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 1}; /* a hello's */
    static const char PLAIN[] = "GET / HTTP/1.1\r\nHost: renkei\r\n\r\n";
    fixture_start_all(f, 2);
    fixture_until(f, fixture_all_up(f, 2));
    struct node *node = &f->node[1];
    int fd = knock(node->port);
    assert_int_equal(write(fd, PLAIN, sizeof PLAIN - 1), sizeof PLAIN - 1);
    fixture_until(f, node->strangers == 1);
    assert_ends_with(node->stranger.message, ": TLS failed: http request");
    (void)close(fd);

    fd = knock(node->port);
    assert_int_equal(write(fd, CUT, sizeof CUT), sizeof CUT);
    (void)close(fd);
    fixture_until(f, node->strangers == 2);
    assert_ends_with(node->stranger.message, ": the connection ended without a goodbye");

    uint8_t noise[4096];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * 2654435761u >> 13);
    fd = knock(node->port);
    assert_int_equal(write(fd, noise, sizeof noise), sizeof noise);
    fixture_until(f, node->strangers == 3);
    (void)close(fd);

    struct mesh_totals totals;
    mesh_totals(node->mesh, &totals);
    assert_int_equal(totals.strangers, 3);
    assert_int_equal(mesh_send(f->node[0].mesh, 1, MESH_VOTES, bytes_of("x", 1)), MESH_QUEUED);
    fixture_until(f, node->messages[MESH_VOTES] == 1);
    assert_int_equal(node->downs, 0);
}

static void silent_stranger_is_hung_up_on_in_time(void **state) {
    struct fixture *f = *state;
    struct mesh_config config;
    fixture_config(f, 1, 2, &config);
    config.handshake_ms_max = 300;
    fixture_start(f, 1, &config);
    int fd = knock(f->node[1].port);
    fixture_until(f, f->node[1].strangers == 1);
    assert_int_equal(f->node[1].stranger.code, ERROR_TIMEOUT);
    assert_ends_with(f->node[1].stranger.message, ": no connection within 300 ms");
    (void)close(fd);
}

static void crowd_of_silent_strangers_does_not_keep_a_peer_out(void **state) {
    struct fixture *f = *state;
    enum { CROWD = 300 };
    int fd[CROWD];
    struct mesh_config config;
    fixture_config(f, 1, 2, &config);
    config.handshake_ms_max = 60000;
    fixture_start(f, 1, &config);
    for (int i = 0; i < CROWD; i++) {
        fd[i] = knock(f->node[1].port);
        fixture_watch(f);
        fixture_turn(f, "the crowd");
    }
    fixture_config(f, 0, 2, &config);
    fixture_start(f, 0, &config);
    fixture_until(f, fixture_all_up(f, 2));
    assert_true(f->node[1].strangers >= CROWD - 256);
    assert_ends_with(f->node[1].stranger.message, ": 256 connections have not said who they are");
    for (int i = 0; i < CROWD; i++)
        (void)close(fd[i]);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(peer_with_another_key_is_refused_by_who_dials),
        EACH(peer_with_another_key_is_refused_by_who_accepts),
        EACH(a_peer_is_who_its_key_is_whatever_it_calls_itself),
        EACH(other_chain_is_named_on_both_sides),
        EACH(other_version_is_named),
        EACH(a_peer_with_ever_new_troubles_fills_no_log),
        EACH(who_dials_against_the_order_gets_in),
        EACH(broken_frames_end_the_connection_and_name_the_peer),
        EACH(message_before_the_hello_is_refused),
        EACH(older_tls_is_refused),
        EACH(garbage_and_truncated_tls_do_no_harm),
        EACH(silent_stranger_is_hung_up_on_in_time),
        EACH(crowd_of_silent_strangers_does_not_keep_a_peer_out),
    };
    return cmocka_run_group_tests(tests, fixture_keys, fixture_remove);
}
