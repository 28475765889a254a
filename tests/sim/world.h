/*
 * A world of validators in one thread: the shipped core (ledger/pbft), a network, disks, clocks and
 * liars, all driven by one seed. The same seed gives the same run, bit for bit.
 *
 * What may go wrong is what must be survived, and is written down here:
 *   network   delay, loss, duplication, reordering, partitions
 *   disk      everything that was not synced is lost in a crash; what was synced stays
 *   process   crash and restart at any moment, with the durable state only
 *   clocks    walls differ by less than the allowed drift
 *   members   come, go and change their keys by requests, as long as f covers the faults of the list
 *   liars     at most f identities of each list (enum lie), with their real keys, nobody else's; who
 *             lost its votes counts among them, since it may not speak until a later epoch
 * After world_heal() the network is good, everybody is up, the liars go on lying, and every request
 * must be committed by every honest validator in bounded time.
 *
 * Signatures are fakes that only the world can make, so that they cost nothing; the checkers watch
 * every message that leaves a node.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ledger/pbft/internal.h"

enum {
    SIM_NODES_MAX = 32,
    SIM_INSTANCES_MAX = 2 * SIM_NODES_MAX,
    SIM_HEIGHTS_MAX = 160,
    SIM_EPOCHS_MAX = 16,
    SIM_REQUESTS_MAX = 256,
    SIM_HEADER_BYTES = 80,
    SIM_WALL_MS = 1000000, /* the wall clock at the start */
    SIM_REGISTRY = 8192, /* blocks of one run; a power of two */
    SIM_CERTIFIED = 4096,
    SIM_REPLAY_MAX = 64,
};

enum lie {
    LIE_TWIN = 1 << 0,       /* two processes with one key */
    LIE_AMNESIA = 1 << 1,    /* a restart forgets the vote log */
    LIE_EQUIVOCATE = 1 << 2, /* another proposal for some of the peers */
    LIE_VOTE_ALL = 1 << 3,   /* PREPARE and COMMIT for everything that anybody proposes */
    LIE_WITHHOLD = 1 << 4,   /* sends to some only */
    LIE_FORGE = 1 << 5,      /* VIEW-CHANGE without certificates or with forged ones, NEW-VIEWs of
                                other subsets for different peers, blocks with bad certificates */
    LIE_REPLAY = 1 << 6,     /* old messages of anybody, again */
    LIE_VIEW_SPAM = 1 << 7,  /* VIEW-CHANGEs for huge views */
    LIE_STATUS = 1 << 8,     /* claims heights that nobody has */
    LIE_GARBAGE = 1 << 9,    /* bits flipped */
    LIE_INVALID = 1 << 10,   /* proposes blocks that do not execute, or keeps the payload back */
    LIE_SILENT = 1 << 11,    /* says nothing at all */
};

/* What a rule of safety or of the contract found broken. */
enum broken {
    BROKEN_NOTHING = 0,
    BROKEN_FORK,              /* two honest validators committed different blocks */
    BROKEN_CERTIFICATE_FORK,  /* two blocks of one height have Q COMMITs */
    BROKEN_CERTIFICATE_CHAIN, /* a certified block does not name the certified one below it */
    BROKEN_CERTIFICATE,       /* a COMMITTED with a certificate that does not verify */
    BROKEN_TWICE,             /* a request was executed twice */
    BROKEN_EQUIVOCATION,      /* an honest validator signed two things for one place */
    BROKEN_ACCUSED,           /* evidence against an honest validator */
    BROKEN_CONTRACT,          /* effects in an order that the header forbids */
    BROKEN_RESTART,           /* a validator does not start from its own records */
    BROKEN_DIVERGED,          /* a certified block is not valid */
    BROKEN_EPOCH,             /* a block of an epoch that had ended, or of one that had not begun */
    BROKEN_LIVENESS,          /* not everything was committed after healing */
    BROKEN_COUNT,
};
const char *broken_name(enum broken broken);

struct blob {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

/* A list of validators. */
struct sim_epoch {
    uint32_t n; /* 0: there is no such epoch yet */
    uint8_t member[SIM_NODES_MAX]; /* identities */
    uint16_t key[SIM_NODES_MAX];
    uint64_t base; /* the last height of the epoch before */
};

/* What a request does to the list: identities, a bit each. All zero: nothing. */
struct sim_change {
    uint32_t add, remove, rekey;
};

struct sim_config {
    uint64_t seed;
    uint32_t n;     /* validators of epoch 0: identities 0 ... n - 1 */
    uint32_t spare; /* identities after them, that follow and may become members */
    uint32_t mute;  /* identities that lose their votes: they count as faulty */
    uint32_t drift_ms_max;
    bool above_f;
    bool unsynced_may_stay; /* a crash keeps some of what was written and not synced */
    uint32_t window;
    uint64_t rotation;
    uint32_t timeout_ms, timeout_ms_max, resend_ms, status_ms, tick_ms;
    uint32_t delay_ms_min, delay_ms_max;
    uint32_t loss_permille, duplicate_permille, slow_permille;
    uint32_t sync_ms_max; /* 0: synced at once */
    uint32_t execute_ms_max;
    uint32_t skew_ms_max;
    uint32_t lies[SIM_NODES_MAX]; /* by identity; 0: honest */
    bool trace;
};

enum item_kind { ITEM_RECORD = 1, ITEM_BLOCK };

/* One durable write, in the order in which the effects ask for it. */
struct item {
    enum item_kind kind;
    struct blob *a; /* record, or header */
    struct blob *b; /* certificate */
};

struct held {
    struct pbft_effect effect;
    uint32_t to; /* of a SEND: identities, a bit each */
    size_t position; /* items that must be durable before it may be seen */
    struct blob *a, *b;
};

struct sim_instance {
    struct world *world;
    uint32_t identity;
    uint32_t number;
    bool alive;
    bool twin;
    uint32_t life; /* counts restarts: what was meant for an earlier life is void */
    struct pbft *core;
    uint64_t epoch;      /* the core's */
    uint32_t self;       /* its index in that epoch's list, or PBFT_OBSERVER */
    bool epoch_ended;    /* its last block is durable: the next object is due */
    uint64_t lost_ms;    /* wall clock when it noticed that its votes were lost; 0: they are not */
    uint64_t progress_ms; /* when it last committed, or asked for what nobody tells it */
    int64_t skew_ms;

    struct item *items;
    size_t item_count, item_capacity, durable, sync_target;
    bool syncing;
    struct held *held;
    size_t held_count, held_capacity;

    uint64_t committed; /* as the core says */
    uint64_t released;  /* durable, and so visible */
    struct blob *headers[SIM_HEIGHTS_MAX];
    struct blob *certificates[SIM_HEIGHTS_MAX];
    struct hash chain[SIM_HEIGHTS_MAX]; /* committed and tentative */
    uint64_t executed;
    uint64_t done[SIM_REQUESTS_MAX / 64]; /* requests in its committed chain, a bit each */

    bool waiting_payload;
    uint64_t waiting_height;
    struct hash waiting_digest;

    bool open;
    uint64_t open_height, open_time_ms;
    struct hash open_parent;
    bool told_pending;
    uint8_t knows[SIM_REQUESTS_MAX];
    uint64_t last_view;
    enum pbft_cause last_cause;
    uint32_t leader_seen;
};

struct registered {
    uint32_t run; /* entries of another run are empty */
    struct hash digest, parent;
    uint64_t height, request, epoch;
    bool last;
    bool invalid;
    uint32_t holders; /* identities that have the payload */
    uint32_t proposer;
};

/* Who sent COMMIT for (view, height, digest). */
struct certified {
    uint32_t run;
    uint64_t epoch, view, height;
    struct hash digest;
    uint32_t signers;
};

struct signed_place {
    uint32_t run;
    uint32_t signer; /* identity */
    uint8_t type;
    uint64_t epoch, view, height;
    struct hash digest;
};

enum happening_kind {
    HAPPEN_TICK = 1,
    HAPPEN_MESSAGE,
    HAPPEN_SYNC,
    HAPPEN_EXECUTED,
    HAPPEN_PROPOSAL,
    HAPPEN_FETCH,
    HAPPEN_BLOCK,
    HAPPEN_REQUEST,
    HAPPEN_PLAN, /* the schedule's own: crash, restart, partition (sim.c) */
};

struct happening {
    uint64_t at_ms, order;
    enum happening_kind kind;
    uint32_t instance, life;
    uint32_t from;
    uint64_t number, to_height;
    struct hash digest;
    bool valid;
    struct blob *a, *b;
};

struct drop_rule {
    bool set;
    uint32_t type;     /* 0: any */
    uint32_t from, to; /* UINT32_MAX: any */
};

struct world {
    struct sim_config config;
    uint64_t random[2];
    uint64_t now_ms;
    uint64_t order;
    struct happening *heap;
    size_t heap_count, heap_capacity;

    struct sim_instance *instances;
    uint32_t instance_count;
    uint32_t identities;
    bool any_lies;
    struct sim_epoch epochs[SIM_EPOCHS_MAX];
    uint64_t last_epoch;
    struct sim_change changes_asked[SIM_REQUESTS_MAX];
    uint64_t request_count;
    uint32_t groups[SIM_INSTANCES_MAX]; /* partition: only the same group hears each other */
    bool healed;
    struct drop_rule drops[16];

    uint8_t genesis[SIM_HEADER_BYTES];
    struct hash genesis_digest;
    uint32_t run;
    struct registered *registry;
    struct certified *commits;
    struct signed_place *places;
    struct hash certified_at[SIM_HEIGHTS_MAX];
    bool has_certified_at[SIM_HEIGHTS_MAX];
    struct hash committed_at[SIM_HEIGHTS_MAX];
    bool has_committed_at[SIM_HEIGHTS_MAX];
    struct blob *replay[SIM_REPLAY_MAX];
    uint32_t replay_next;
    struct blob *changes[SIM_NODES_MAX]; /* the latest VIEW-CHANGE of each, for forged NEW-VIEWs */

    enum broken broken;
    char broken_text[256];
    uint64_t steps, messages, bytes, view_changes, commits_seen, evidence_count, epochs_begun;
    uint32_t evidence_against; /* identities, a bit each */
    uint32_t faults_named;     /* peers that FAULT named */
    uint64_t fingerprint;      /* of everything that was sent: equal for equal seeds */
    void (*on_plan)(struct world *w, const struct happening *happening);
    /* NULL, or where what validator 1 hears and what it persists is written, for tests/fuzz. */
    FILE *dump, *dump_records;
};

/* ---- world.c ---- */
void sim_config_defaults(struct sim_config *ret_config);
struct world *world_new(const struct sim_config *config);
void world_free(struct world *w);
uint64_t world_random(struct world *w);
uint32_t world_below(struct world *w, uint32_t bound);   /* 0 ... bound - 1 */
bool world_chance(struct world *w, uint32_t permille);
void world_start(struct world *w);
/* Runs until the time, or until something is broken. */
void world_run(struct world *w, uint64_t until_ms);
bool world_run_one(struct world *w); /* false: nothing left */
void world_crash(struct world *w, uint32_t instance);
/* Its votes are lost, and it knows: it follows until an epoch that began after that. */
void world_lose(struct world *w, uint32_t instance);
void world_restart(struct world *w, uint32_t instance, bool forget_votes);
void world_compact(struct world *w, uint32_t instance);
void world_heal(struct world *w);
void world_request(struct world *w, uint64_t number, uint32_t delay_ms_max);
void world_push(struct world *w, struct happening happening);
void world_push_own(struct world *w, struct sim_instance *in, enum happening_kind kind,
                    uint32_t delay_ms, struct happening happening);
uint32_t world_delay(struct world *w);
void world_plan(struct world *w, uint64_t at_ms, uint64_t number);
void world_step(struct world *w, struct sim_instance *in, struct pbft_event *event);
/* Every honest validator is up and has committed every request. */
bool world_done(struct world *w);
bool world_honest(const struct world *w, const struct sim_instance *in);
void world_broken(struct world *w, enum broken broken, const char *format, ...) PRINTF_LIKE(3, 4);
void world_trace(const struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);

struct blob *blob_new(struct bytes data);
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob);
static inline struct bytes blob_bytes(const struct blob *blob) {
    return blob == NULL ? (struct bytes){NULL, 0} : bytes_of(blob->data, blob->len);
}

void world_sign(uint32_t key, const struct hash *statement, uint8_t *ret_signature);
/* height, epoch, parent, time, request, salt (8 bytes each but the parent), whether it is the last */
struct bytes world_header(uint8_t *into, uint64_t height, uint64_t epoch, const struct hash *parent,
                          uint64_t time_ms, uint64_t request, uint64_t salt, bool last);
bool world_header_read(void *context, struct bytes header, struct pbft_header *ret_header);
struct registered *world_block(struct world *w, const struct hash *digest); /* NULL: unknown */
struct registered *world_register(struct world *w, struct bytes header, uint32_t proposer);
bool world_has_request(struct world *w, struct hash at, uint64_t request);
/* Sends one message to one identity, through the network's faults. */
void world_post(struct world *w, uint32_t from_instance, uint32_t to, struct blob *message);
void world_send(struct world *w, struct sim_instance *in, struct bytes message, uint32_t to_mask,
                struct blob *blob);

/* ---- host.c ---- */
void host_release_all(struct world *w, struct sim_instance *in);
void host_free(struct sim_instance *in);
void host_poll_payload(struct world *w, struct sim_instance *in);
void host_propose_if_open(struct world *w, struct sim_instance *in);
void host_ask_unasked(struct world *w, struct sim_instance *in);
void host_dump(FILE *file, uint16_t len, struct bytes bytes);

/* ---- members.c ---- */
const struct sim_epoch *world_epoch(const struct world *w, uint64_t epoch); /* NULL: none yet */
uint32_t world_index(const struct world *w, uint64_t epoch, uint32_t identity);
uint32_t world_identity(const struct world *w, uint64_t epoch, uint32_t signer);
void world_epoch_sign(const struct world *w, uint64_t epoch, uint32_t signer,
                      const struct hash *statement, uint8_t *ret_signature);
bool world_epoch_verify(const struct world *w, uint64_t epoch, uint32_t signer,
                        const struct hash *statement, const uint8_t *signature);
/* Whether the request, in a block of this epoch, ends it, and with which list. */
bool world_next_epoch(const struct world *w, uint64_t epoch, uint64_t request,
                      struct sim_epoch *ret_next);
void world_epoch_ended(struct world *w, uint64_t epoch, uint64_t height, uint64_t request);

/* ---- check.c ---- */
void check_sent(struct world *w, const struct sim_instance *in, struct bytes message);
void check_committed(struct world *w, const struct sim_instance *in,
                     const struct pbft_effect *effect);
/* A certificate that stayed on a disk: our own seal in it counts, though it never was sent. */
void check_kept(struct world *w, const struct sim_instance *in, struct bytes certificate);
void check_evidence(struct world *w, const struct sim_instance *in,
                    const struct pbft_effect *effect);

/* ---- liar.c ---- */
void liar_send(struct world *w, struct sim_instance *in, struct bytes message, uint32_t to_mask);
void liar_tick(struct world *w, struct sim_instance *in);
void liar_heard(struct world *w, struct bytes message);

#endif
