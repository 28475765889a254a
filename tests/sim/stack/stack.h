/*
 * The full stack in one thread and one seed: four nodes of the shipped core, chain, state, store with
 * LMDB and vote log, on simulated disks (disk.h); their messages in the mesh's frames over connections
 * that break; clients that submit again until they are told that it is done. Blocks are proposed by
 * the digests of their transactions.
 *
 * What may go wrong, and must be survived:
 *   network  delay, frames in pieces, connections that break and lose what was on the way; of what
 *            nodes pass on of their clients' transactions, some or all may be lost for good
 *   disk     what disk.h lists, at every crash
 *   process  crash at any moment between two events, in the middle of an unfinished sync too
 *   clocks   walls differ by less than the allowed drift
 *   clients  sign two transactions of one sequence, and hand either to whatever node they ask
 *   one node of four, at most, is faulty: it bends blocks and messages that it passes on, or its disk
 *   flips a bit of a synced vote log, which it must notice: it follows from then on; or it forgets
 *   votes, since an older copy of its folder or of its vote log is put back, its folder is emptied, or
 *   a clone of it runs. It asks the others at its start and now and then, as ledger/node_doubt.c does
 * After healing every client's transactions must be done on every node.
 *
 * Checked: one block a height; exactly once by (submitter, sequence), in order; nothing that a client
 * was told is lost; every node's sequences, records and roots are the same; a node starts from its own
 * disk; who forgot votes that enough others hold signs nothing, and who did not is not said to have.
 */
#ifndef TESTS_SIM_STACK_H
#define TESTS_SIM_STACK_H

#include "ledger/application.h"
#include "ledger/net/frame.h"
#include "ledger/pbft/pbft.h"
#include "ledger/payloads.h"
#include "ledger/signer.h"
#include "ledger/store/votes.h"

enum {
    STACK_NODES = 4,
    STACK_CLIENTS = 2,
    STACK_HEIGHTS_MAX = 256,
    STACK_OWN_MAX = 256,
    STACK_MESSAGE_BYTES_MAX = 1 << 20,
    STACK_WALL_MS = 1000000,
    STACK_EMPTY_MS = 200, /* an empty block at least so often */
    STACK_TICK_MS = 50,
    STACK_LOCATORS_MAX = 64,
    STACK_CLONE = STACK_NODES, /* the slot of the process that runs with another's keys */
    STACK_SLOTS = STACK_NODES + 1,
    STACK_BOUND_MAX = 64,
    STACK_UNHEARD_ALL = 1000, /* permille: nothing that a node passes on arrives */
};

/* How the votes of one node are forgotten. */
enum stack_forgets {
    STACK_FORGETS_NOTHING,
    STACK_FOLDER_PUT_BACK,
    STACK_LOG_PUT_BACK,
    STACK_FOLDER_EMPTIED,
    STACK_IS_CLONED,
};

struct stack;

/* An effect that waits for the sync; its bytes are owned. */
struct stack_held {
    struct pbft_effect effect;
    struct buffer bytes;
};

struct stack_node {
    struct stack *stack;
    uint32_t index; /* whose keys it has */
    uint32_t slot;  /* its place among the processes and the disks: its index, or STACK_CLONE */
    bool alive, observer, stopped;
    bool observer_synced; /* what of that outlives a crash */
    uint32_t life;
    char folder[128];
    struct chain *chain;
    struct pool *pool;
    struct votes *votes;
    struct pbft *core;
    int64_t skew_ms;
    bool syncing;
    struct stack_held *held;
    size_t held_count, held_capacity;
    struct {
        struct pbft_event event;
        struct buffer header, certificate;
    } own[STACK_OWN_MAX]; /* events of our own that wait for their step */
    size_t own_count;
    struct payloads *payloads;
    struct wanted wanted[PBFT_WINDOW_MAX + 1];
    struct {
        bool open;
        uint64_t height, time_ms_min;
    } proposal;
    bool pending_told, transferred;
    uint64_t fed;
    struct {
        bool open;       /* nothing is signed yet: what the others hold of our votes is not known */
        bool core_stale; /* it may sign, and we must not */
        uint64_t asked_ms;
        uint32_t next;
        struct {
            bool asked, told;
            uint64_t height;
        } answers[STACK_NODES];
    } doubt;
    bool gathered; /* for the check: what others held when it first signed in this life */
    struct pbft_ballot bound[STACK_BOUND_MAX];
    size_t bound_count;
};

struct stack_options {
    uint64_t seed;
    bool trace;
    bool never_asks; /* for the test of the check: a start that does not ask must be seen */
    const char *root; /* a folder in memory */
};

struct stack_result {
    const char *broken; /* NULL: nothing */
    char text[256];
    uint64_t events, blocks, crashes, view_changes, resets, flips, acknowledged, fingerprint;
    uint64_t forgotten, noticed;
    /* Proposals that became blocks; that lacked some; transactions fetched, where nothing else could
     * come; whole blocks asked for. */
    uint64_t rebuilt, missing, helped, whole;
};

struct stack_happening;
struct stack_blob {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

/* One direction of a connection. */
struct stack_line {
    bool up;
    uint32_t connection;
    uint64_t last_at_ms; /* a stream keeps its order */
    struct net_reader reader;
};

struct stack_client {
    struct ledger_signer *signer;
    uint8_t key[SIGNER_KEY_BYTES];
    uint64_t sequence; /* the one that is under way */
    uint64_t most;
    struct buffer transaction;
    struct buffer other; /* another one with the same sequence, for the next node; or empty */
    bool two_faced;
    struct locator locators[STACK_LOCATORS_MAX];
    uint32_t locator_count;
};

struct stack {
    struct stack_options options;
    uint64_t random[2];
    uint64_t now_ms, order;
    struct stack_happening *heap;
    size_t heap_count, heap_capacity;
    struct genesis *genesis;
    struct stack_node nodes[STACK_SLOTS];
    struct ledger_signer *signers[STACK_NODES];
    struct stack_line lines[STACK_SLOTS][STACK_SLOTS]; /* from, to */
    struct stack_client clients[STACK_CLIENTS];
    uint32_t window, sync_ms_max, delay_ms_max, reset_permille, unheard_permille, bad, flipped,
        forgetful;
    enum stack_forgets forgets;
    uint64_t rotation;
    bool healed;
    struct hash committed[STACK_HEIGHTS_MAX];
    bool has_committed[STACK_HEIGHTS_MAX];
    uint64_t sequences[STACK_HEIGHTS_MAX][STACK_CLIENTS]; /* the next ones, after this height */
    struct stack_result result;
};

/* stack.c: chance, time, network, clients */
uint32_t stack_below(struct stack *s, uint32_t bound);
bool stack_chance(struct stack *s, uint32_t permille);
void stack_broken(struct stack *s, const char *what, const char *format, ...) PRINTF_LIKE(3, 4);
void stack_trace(const struct stack *s, const char *format, ...) PRINTF_LIKE(2, 3);
void stack_later_sync(struct stack_node *n);
void stack_send(struct stack_node *n, uint32_t to, uint8_t kind, struct bytes body);
bool stack_is_up(const struct stack_node *n, uint32_t peer);
void stack_run(const struct stack_options *options, struct stack_result *ret_result);

/* stack_node.c: a node, as ledger/node.c is one */
void stack_start(struct stack_node *n);
void stack_crash(struct stack_node *n);
void stack_message(struct stack_node *n, uint32_t from, uint8_t kind, struct bytes body);
void stack_connected(struct stack_node *n, uint32_t peer);
void stack_submit(struct stack_node *n, struct bytes transaction);
void stack_tick(struct stack_node *n);
void stack_synced(struct stack_node *n);
uint64_t stack_next_sequence(struct stack_node *n, uint32_t client);
void stack_fetch(struct stack_node *n, uint32_t from);
void stack_tell_connected(struct stack_node *n);
void stack_remember_identity(struct stack_node *n);

/* stack_doubt.c: whether it knows its votes, as ledger/node_doubt.c asks */
void stack_doubt_begin(struct stack_node *n);
void stack_doubt(struct stack_node *n);
bool stack_may_sign(const struct stack_node *n);
void stack_votes_forgotten(struct stack_node *n, const char *what);
void stack_on_get_votes(struct stack_node *n, uint32_t from);
void stack_on_votes(struct stack_node *n, uint32_t from, struct bytes body);
void stack_check_seal(struct stack_node *n, struct bytes certificate);
void stack_check_asked(struct stack_node *n, struct bytes message);
void stack_copy_folder(const char *from, const char *to);

/* stack_check.c */
void stack_check_commit(struct stack_node *n, struct bytes block, struct bytes certificate);
/* What a vote log holds at a start. */
void stack_check_log(struct stack_node *n, const struct votes_entry *entries, size_t count);
void stack_check_end(struct stack *s);
void stack_check_certificate(struct stack_node *n, struct bytes header, struct bytes certificate);

enum stack_message_kind {
    STACK_PBFT = 1,
    STACK_TRANSACTION = 2,
    STACK_PAYLOAD = 3,
    STACK_GET_PAYLOAD = 4,
    STACK_GET_BLOCKS = 5,
    STACK_BLOCK = 6,
    STACK_GET_VOTES = 7,
    STACK_VOTES = 8,
    STACK_PROPOSAL = 9,
    STACK_GET_TRANSACTIONS = 10,
};

#endif
