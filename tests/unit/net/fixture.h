/* Several meshes on one loop, over loopback, and what each was told. */
#ifndef TESTS_UNIT_NET_FIXTURE_H
#define TESTS_UNIT_NET_FIXTURE_H

#include "ledger/net/net.h"

enum { FIXTURE_NODES = 5, FIXTURE_DEADLINE_MS = 120000 };

struct fixture;

struct node {
    struct fixture *fixture;
    uint32_t number;
    struct mesh *mesh;
    uint16_t port;
    uint32_t ups;
    uint32_t downs;
    uint32_t news; /* of these and the ups */
    uint32_t troubles;
    uint32_t strangers;
    uint32_t writables;
    uint64_t messages[MESH_LANES];
    struct error down;
    uint32_t down_peer;
    struct error trouble;
    struct error stranger;
    const char *look_for; /* in any stranger's or peer's reason; NULL: nothing */
    bool found;
    /* Called besides the counting, where it is set. */
    void (*on_message)(struct node *node, uint32_t peer, enum mesh_lane lane, struct bytes bytes);
    void (*on_up)(struct node *node, uint32_t peer);
    void (*on_writable)(struct node *node, uint32_t peer, enum mesh_lane lane);
    uint64_t note; /* of the test */
};

struct fixture {
    uv_loop_t loop;
    char folder[64];
    struct hash pin[FIXTURE_NODES];
    struct mesh_peer peers[FIXTURE_NODES];
    char address[FIXTURE_NODES][32];
    struct node node[FIXTURE_NODES];
    uv_timer_t watchdog;
};

/* Makes keys for all and no mesh; group setup and teardown. */
int fixture_keys(void **state);
int fixture_remove(void **state);
/* The loop and fresh counters: setup and teardown of each test. Teardown closes every mesh. */
int fixture_begin(void **state);
int fixture_end(void **state);

/* Quick timers, the node's own files and callbacks, peers 0 to count - 1. */
void fixture_config(struct fixture *f, uint32_t number, uint32_t count, struct mesh_config *config);
void fixture_start(struct fixture *f, uint32_t number, const struct mesh_config *config);
/* From the highest down, since the lower ones dial, and must know the port. */
void fixture_start_all(struct fixture *f, uint32_t count);
void fixture_stop(struct fixture *f, uint32_t number);
void fixture_path(const struct fixture *f, uint32_t number, const char *end, char ret_path[128]);

/* Turns the loop until the condition holds, or fails the test at the deadline. */
#define fixture_until(f, condition)                                                                \
    do {                                                                                           \
        fixture_watch(f);                                                                          \
        while (!(condition))                                                                       \
            fixture_turn(f, #condition);                                                           \
    } while (0)
void fixture_watch(struct fixture *f);
void fixture_turn(struct fixture *f, const char *waiting_for);

bool fixture_all_up(struct fixture *f, uint32_t count);
struct mesh_stats fixture_stats(struct fixture *f, uint32_t number, uint32_t peer);

/* One that speaks TLS with the key of `number` and no mesh around it, in a thread of its own. It
 * says what `say` holds, then reads until the other side ends it. */
struct rogue {
    struct fixture *fixture;
    uint32_t number;
    uint16_t port;
    bool tls12;
    struct bytes say;     /* on the first connection */
    struct bytes say_too; /* on a second one, opened after the first was answered; empty: none */
    size_t heard;         /* bytes, on the first */
    uv_thread_t thread;
};
void rogue_start(struct rogue *rogue);
void rogue_join(struct rogue *rogue);

#endif
