/*
 * What the files of the node share. Not for others.
 */
#ifndef LEDGER_NODE_INSIDE_H
#define LEDGER_NODE_INSIDE_H

#include <uv.h>

#include "ledger/application.h"
#include "ledger/budget.h"
#include "ledger/inbox.h"
#include "ledger/lane.h"
#include "ledger/local.h"
#include "ledger/net/net.h"
#include "ledger/node.h"
#include "ledger/pbft/pbft.h"
#include "ledger/payloads.h"
#include "ledger/signer.h"
#include "ledger/store/votes.h"

enum {
    NODE_TICK_MS = 20,
    NODE_PATH_BYTES_MAX = 4096,
    NODE_PAYLOAD_AHEAD_MAX = 64, /* heights above the chain for which payloads are kept */
    NODE_EVENTS_MAX = 4096,
    NODE_TURNS_MAX = 1000,       /* rounds of one turn before the loop gets its chance */
    NODE_PAYLOAD_ASK_MS = 300,
    NODE_MISSING_ASK_MS = 40, /* for which what a proposal names may still be on its way */
    NODE_WATCH_MS = 1000,  /* how often it is looked for what waits too long */
    NODE_RESEND_MS = 3000, /* the first time; the pause doubles with each */
    NODE_RESEND_DOUBLED_MAX = 4,
    NODE_RESEND_BYTES_MAX = 4 << 20,
    NODE_FETCH_ASK_MS = 1000,
    NODE_FETCH_BEYOND_MS = 200,
    NODE_FETCH_PART_MS = 20, /* without another block, after less came than was asked for beyond */
    NODE_FETCH_FROM_MS = 5000, /* then another one is asked, however well this one answers */
    NODE_FETCH_BLOCKS = 64,
    NODE_FETCH_BYTES_MAX = 8 << 20,
    NODE_CENSORED_MS = 5000,
    NODE_CENSORED_BLOCKS = 3,
    NODE_FLUSH_MS = 60000,
    NODE_PROGRESS_MS = 5000, /* between two words of what a start executes again */
    NODE_MAP_BLOCK_MS = 500, /* between empty blocks while the map's root lags behind the log */
    NODE_QUIET_MS = 3000, /* no block for so long, and one is due: somebody is asked for more */
    NODE_KEYS = 2,        /* the key, and the one that takes its place in the next epoch */
    NODE_EVIDENCE_MAX = GENESIS_VALIDATORS_MAX, /* one by each */
    NODE_INBOX_SLICE = 64, /* signatures checked before the votes get their turn */
    NODE_INBOX_PEER_BYTES_MAX = 16 << 20,
    NODE_LANES_MAX = GENESIS_VALIDATORS_MAX + MEMBERS_OBSERVERS_MAX,
    NODE_PEER_SIGNATURES_PER_S = 2000, /* of protocol messages: an eighth of a slow core; */
    NODE_LIARS_SIGNATURES_PER_S = 8000, /* of f peers together: half of one */
    NODE_PEER_SIGNATURES_MIN = 2000,   /* that a peer's budget holds at least when it is full */
    NODE_PEER_ANSWERS_US_PER_S = 100000, /* looking up what a peer asks for: a tenth of our time; */
    NODE_LIARS_ANSWERS_US_PER_S = 400000, /* what f peers and all observers ask for together */
    NODE_ANSWERS_SAVED_S = 2,            /* so much of it may be saved up */
    NODE_CLOCK_MS = 10000, /* how often the others are told our clock */
    NODE_CLOCK_OLD_MS = 60000,
    NODE_HELD_BYTES_MAX = 64 << 20, /* of effects that wait for a sync, and what one step adds */
    NODE_DOUBT_ASK_MS = 300,    /* while it is not known whether we know our votes */
    NODE_DOUBT_LATER_MS = 2000, /* one of the others, in turn */
    NODE_DISK_BYTES_MIN = 16 << 20, /* free for the data folder, or the node does not run */
    NODE_WAITERS_MAX = 16, /* requests that wait for one transaction */
    NODE_TREES_MAX = 4, /* stored blocks whose receipts are at hand */
};

/* Messages between nodes: one byte of kind, then what the kind says (docs/formats.md). */
enum node_message {
    NODE_PBFT = 1,         /* a message of the protocol core */
    NODE_TRANSACTIONS = 2, /* u32 bytes, again and again */
    NODE_PAYLOAD = 3,      /* a whole block */
    NODE_GET_PAYLOAD = 4,  /* u64 height, hash */
    NODE_GET_BLOCKS = 5,   /* u64 first, u32 count */
    NODE_BLOCK = 6,        /* u32 bytes block, u32 bytes certificate */
    NODE_CLOCK = 7,       /* u64 wall clock in ms: for a warning, and for nothing that is agreed on */
    NODE_GET_VOTES = 8,   /* nothing: what do you hold of my votes? */
    NODE_VOTES = 9,       /* u64 epoch, u64 height, u32 bytes vote, again and again */
    NODE_PROPOSAL = 10,   /* a block whose transactions are named */
    NODE_GET_TRANSACTIONS = 11, /* u64 height, hash, u32 index, again and again */
};

/* An event of our own that waits for its step; header and certificate are owned. */
struct own_event {
    struct pbft_event event;
    struct buffer header;
    struct buffer certificate;
    uint32_t from; /* of a transferred block: who sent it */
};

/* An effect that waits for the sync; its bytes are owned. */
struct held {
    enum pbft_effect_kind kind;
    uint32_t peer;
    enum pbft_lane lane;
    uint64_t first;
    uint64_t last;
    bool executed;
    bool ends; /* the epoch */
    struct hash digest;
    struct buffer bytes;
};

/* A vote key, and what is known of the votes that it gave. */
struct node_key {
    struct ledger_signer *signer; /* NULL: there is none */
    uint8_t public[SIGNER_KEY_BYTES];
    bool founding;     /* its log is as old as a data folder that began empty */
    uint64_t since_ms; /* wall clock: later votes are all in the log; 0: all are */
};

/* What one peer passed on and is not checked yet. Each peer has its own, and its turn in the round. */
struct inbox_lane {
    struct inbox inbox;
    bool paused; /* its bulk lane is not read until this is shorter */
    bool former; /* some of it came from whoever had this number in the epoch before */
    struct budget answers_us; /* that looking up what the peer asks for may take */
};

/* What a peer's clock showed when it was heard of last. */
struct node_doubt_answer {
    bool asked;
    bool told;
    uint64_t epoch;
    uint64_t height;
};

struct node_clock {
    uint64_t heard_ms; /* 0: never */
    int64_t ahead_ms;  /* of ours */
    bool off;          /* said so */
};

struct node_watch {
    uint64_t certificate_looked_ms;
    uint64_t certificate_end_ms;
    unsigned certificate_stage; /* how many of the last days are still ahead */
    uint64_t clock_told_ms;
    int64_t skew_ms; /* our clock's, ahead of the middle one */
    uint64_t disk_free_bytes;
    bool disk_low;
    uint64_t view_changed_ms; /* wall clock; 0: not since the start */
    uint64_t view_since_ms;
    uint64_t view_height; /* of the chain then */
    uint64_t executed_again; /* blocks, at the start */
    uint64_t execution_began_ms;
    uint64_t progress_told_ms;
    struct node_clock clock[GENESIS_VALIDATORS_MAX + 1]; /* the last one: ours, where we are no validator */
};

/* A stored block from which receipts are given. */
struct stored_tree {
    uint64_t height; /* 0: free */
    struct buffer block;
    struct buffer certificate;
    struct stored_entry {
        struct bytes transaction; /* borrowed from the block */
        enum transaction_status status;
    } *entries;
    struct block_tree *tree;
};

struct node {
    const struct node_settings *settings;
    uv_loop_t *loop;
    struct genesis *genesis;
    const struct members *members;  /* in force; the chain's */
    const struct member_node *own;  /* our entry; NULL: we are not among them */
    uint32_t self;                  /* index among the validators, or PBFT_OBSERVER */
    bool transferred; /* a block that came by transfer is in a segment and not synced */
    bool epoch_over; /* its last block is committed: nothing more is put to the old core */
    bool mute; /* votes of ours may be lost: follow in this epoch, never sign */
    struct {
        bool open;    /* nothing is signed yet: what the others hold of our votes is not known */
        bool settled; /* it was known once since the start */
        bool core_stale; /* it may sign, and we must not */
        uint64_t asked_ms;
        uint32_t next;
        struct node_doubt_answer answers[GENESIS_VALIDATORS_MAX];
    } doubt;
    struct node_key keys[NODE_KEYS];
    int key_at;
    int tls_at;
    uint64_t lonely_ms;
    struct ledger_signer *signer; /* of keys[key_at] */
    uint8_t evidence[NODE_EVIDENCE_MAX][PBFT_EVIDENCE_BYTES];
    size_t evidence_count;
    uint64_t equivocations[GENESIS_VALIDATORS_MAX]; /* by each validator, seen in this epoch */
    struct chain *chain;
    struct pool *pool;
    struct votes *votes;
    uint64_t votes_compacted_bytes; /* what was left of it when it was rewritten last */
    struct pbft *pbft;
    struct mesh *mesh; /* NULL where the node is alone */
    struct local *local;
    struct stored_tree trees[NODE_TREES_MAX];
    unsigned tree_next;
    int key_lock_fd;

    uv_timer_t tick;
    uv_check_t check;
    uv_idle_t idle; /* runs while there is work that needs no input */
    uv_signal_t terminate;
    uv_signal_t interrupt;
    uv_work_t flush;
    uint32_t handles_open;
    bool stopping;
    enum error_code failure;
    struct error failure_error;

    struct own_event *events; /* a ring */
    size_t event_first;
    size_t event_count;
    struct held *held;
    size_t held_count;
    size_t held_capacity;
    size_t held_bytes; /* with their places in the list */
    size_t held_bytes_max; /* NODE_HELD_BYTES_MAX; a test takes less */

    struct payloads *payloads;
    struct wanted wanted[PBFT_WINDOW_MAX + 1];

    struct {
        bool open;
        uint64_t height;
        struct hash parent;
        uint64_t time_ms_min;
    } proposal;
    bool pending_told;
    struct {
        uint32_t from;
        uint64_t from_since_ms; /* that it is this one */
        bool asked_of[GENESIS_VALIDATORS_MAX]; /* whose answer may still come */
        uint64_t to;      /* 0: nothing is fetched */
        bool beyond;      /* to is a guess: nobody said that there is so much */
        uint64_t asked_to;
        uint64_t fed;     /* the last height that was given to the core */
        uint64_t bytes;   /* of blocks that were given to the core since it was asked */
        uint64_t asked_ms;
        uint64_t height_then; /* of the chain, when it was asked last */
        uint32_t block_from;  /* whose block the core looks at now */
        uint64_t refused[GENESIS_VALIDATORS_MAX]; /* blocks by each peer that were not the chain's */
        uint64_t refused_sources; /* and by those that the configuration names */
    } fetch;
    struct buffer outgoing; /* transactions for the other validators */
    struct {
        struct inbox_lane lanes[NODE_LANES_MAX]; /* validators, then observers */
        uint32_t next;    /* the peer whose turn it is */
        uint32_t waiting; /* messages, of all peers */
        uint64_t came;    /* ever */
        uint32_t checked; /* in this slice */
    } inbox;
    struct budget budgets[GENESIS_VALIDATORS_MAX]; /* of signature checks, by protocol messages */
    uint64_t signatures_asked; /* that the core had checked, ever */
    struct node_watch watch;
    uint64_t watched_ms;
    uint64_t flushed_ms;
    struct {
        uint64_t blocks;
        uint64_t transactions;
        uint64_t failed_transactions;
        uint64_t refused; /* submissions */
        uint64_t syncs;
        uint64_t faults; /* of peers, as the core calls them */
        uint64_t view_changes;
        uint64_t evidence;
        uint64_t bad_transactions; /* from peers */
        uint64_t over_budget;      /* messages and questions of peers that were not looked at */
        uint64_t missing_asked;    /* proposals of which some transactions were asked for */
        uint64_t blocks_asked;     /* times that a whole proposed block was asked for */
        uint64_t strangers;
        uint64_t peer_losses; /* of all peers, told in the log or not */
        uint64_t commit_ms; /* when the last block was committed */
    } count;
};

/* node.c */
void node_fail(struct node *node, enum error_code code, const struct error *err);
/* What no honest peer sends: said, and hung up on, where it is a validator. */
void node_blame(struct node *node, uint32_t peer, const char *what);
void node_settle(struct node *node);
void node_step(struct node *node, struct pbft_event *event);
/* So much waits for a sync that nothing is put to the core before it. */
bool node_holds_enough(const struct node *node);
/* Queues an event for the core; the strings are copied. */
struct own_event *node_event(struct node *node, const struct pbft_event *event,
                             struct bytes header, struct bytes certificate);
uint64_t node_now_ms(void);

/* node_epoch.c */
const char *node_validator_name(const struct node *node, uint32_t index);
const char *node_own_name(const struct node *node);
const char *node_role(const struct node *node);
MUST_CHECK enum error_code node_load_keys(struct node *node, struct error *err);
void node_look_for_next_key(struct node *node);
void node_remember_key(struct node *node, const struct node_key *key);
enum { NODE_IDENTITY_BYTES = SIGNER_KEY_BYTES + 1 + 8 };
void node_identity_entry(const struct node_key *key, uint8_t ret_entry[NODE_IDENTITY_BYTES]);
MUST_CHECK enum error_code node_read_identities(struct node *node,
                                                const struct votes_entry *entries, size_t count,
                                                struct error *err);
/* A list that names the key from now on makes this node a voter, however late it hears of it. */
bool node_key_is_ready(const struct node *node, int k);
/* Of the TLS key in use. */
MUST_CHECK enum error_code node_tls_paths(const struct node *node, char *ret_certificate,
                                          char *ret_key, struct error *err);
void node_try_other_tls(struct node *node, uint64_t now_ms);
/* A block was executed as it was agreed on. */
void node_votes_live(struct node *node);
/* Who we are by the list in force. */
void node_choose_identity(struct node *node);
void node_promote_keys(struct node *node);
MUST_CHECK enum error_code node_new_core(struct node *node, const struct bytes *records,
                                         size_t count, struct error *err);
/* Frees the core, with all that was on its way to it. */
void node_forget_core(struct node *node);
/* At a start, and when an epoch begins: who stays only because too few would be left. */
void node_log_suspended(const struct node *node);
/* After the last block of an epoch was committed. */
void node_next_epoch(struct node *node);
void node_keep_evidence(struct node *node, struct bytes evidence);
void node_submit_evidence(struct node *node);

/* node_doubt.c */
bool node_may_sign(const struct node *node);
void node_doubt_begin(struct node *node);
void node_doubt(struct node *node, uint64_t now_ms);
void node_doubt_settle(struct node *node);
void node_on_get_votes(struct node *node, uint32_t peer, struct bytes body);
void node_on_votes(struct node *node, uint32_t peer, struct bytes body);
void node_check_seal(struct node *node, struct bytes certificate);
/* A vote of ours is not in the log: none are given before the next epoch. */
void node_votes_forgotten(struct node *node, const char *what);
/* In the vote log, which is never behind the blocks. */
void node_remember_head(struct node *node);

/* node_peers.c */
/* The peers of the list in force; opens the mesh where it is not, and is needed. */
MUST_CHECK enum error_code node_open_mesh(struct node *node, struct error *err);
void node_send(struct node *node, uint32_t to, enum mesh_lane lane, enum node_message kind,
               struct bytes body);
void node_fetch(struct node *node, uint64_t now_ms);
/* Blocks up to this height, first from this peer, which said that it has them. */
void node_fetch_from(struct node *node, uint32_t peer, uint64_t to);
/* The block of this height that the peer sent is not the chain's: named, and another peer asked. */
void node_refuse_transfer(struct node *node, uint32_t peer, uint64_t height, const char *what);
/* Asks for more than anybody spoke of, where no block came for long. */
void node_guess(struct node *node, uint64_t now_ms);
/* The core is told of every validator that is connected. */
void node_tell_connected(struct node *node);
void node_flush_outgoing(struct node *node);
/* Checks a slice of what the peers passed on, first what a proposal waits for. */
void node_take_inbox(struct node *node);
void node_inbox_done(struct node *node);
/* What waits is kept; whom to blame for it is not known any more. */
void node_inbox_epoch(struct node *node);
void node_resend(struct node *node, uint64_t now_ms);
/* What others told us of, and nobody seems to order. */
void node_pass_on(struct node *node, uint64_t now_ms);

/* node_payloads.c */
/* To the others, of what was built of our pool just now. */
void node_send_proposal(struct node *node, struct bytes block);
void node_ask_payload(struct node *node, struct wanted *wanted, uint64_t now_ms);
/* NULL where the whole block is not here, and cannot be made of a proposal and the pool yet. */
struct payload *node_payload(struct node *node, const struct hash *digest);
/* The lowest proposal that the core wants, that lacks something, and for which not all that came was
 * looked through; NULL where there is none. */
struct payload *node_waiting_proposal(struct node *node);
void node_on_payload(struct node *node, uint32_t peer, struct bytes body);
void node_on_proposal(struct node *node, uint32_t peer, struct bytes body);
void node_on_get_payload(struct node *node, uint32_t peer, struct bytes body);
void node_on_get_transactions(struct node *node, uint32_t peer, struct bytes body);

/* node_clients.c */
void node_trees_done(struct node *node);
void node_request(void *context, uint64_t client, unsigned kind, uint32_t request,
                  struct bytes body);
/* Of the block that was committed just now: tells those who wait for its transactions, and takes these from
 * the pool. */
MUST_CHECK enum error_code node_finish_block(struct node *node, struct bytes block,
                                             struct error *err);

/* node_watch.c */
void node_watch(struct node *node, uint64_t now_ms);
/* ERROR_DISK_FULL where there is too little room for the data folder to go on. */
MUST_CHECK enum error_code node_disk_room(const struct node *node, struct error *err);
void node_on_clock(struct node *node, uint32_t peer, struct bytes body);
/* An application_tell_fn: says now and then how far the start is, and how long it still takes. */
void node_tell_progress(void *context, const struct application_progress *progress);

/* node_status.c */
MUST_CHECK enum error_code node_status_json(struct node *node, struct buffer *out,
                                            struct error *err);
void node_metrics(struct node *node, struct buffer *out);

#endif
