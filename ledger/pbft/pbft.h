/*
 * The protocol core: signed, chained PBFT (Castro and Liskov 1999) with a window of W heights.
 *
 * Owns: the rules by which n validators agree on one chain of blocks. May use: base. Refuses:
 * sockets, files, clocks, threads, keys, payloads. It is a state machine,
 *
 *     pbft_step(state, event) -> effects
 *
 * and nothing else: time stands in the event, signatures are made and checked by callbacks that
 * must be pure, a block is (height, parent, digest, opaque header bytes). The same object runs in
 * renkei-node, in the simulator and in the fuzzers.
 *
 * The contract of the host:
 *
 * 1. Effects are carried out in their order, step after step. No SEND, COMMITTED or FETCH may
 *    become visible to anybody before every PERSIST that stands before it (in this step or in an
 *    earlier one) is durable (fdatasync). A host may go on stepping while a sync is under way and
 *    hold the later effects back; one sync may serve many records.
 * 2. EXECUTE asks for a block: get its payload (from anybody: the header binds it), make it
 *    durable, execute it on its parent, compare roots, answer with EXECUTED. The answer may be
 *    given at once or later; the payload must be durable no later than the next PERSIST is.
 *    Execution is tentative until COMMITTED; UNDO(height) drops the tentative executions of that
 *    height and above. EXECUTE is asked in chain order, one block a height.
 * 3. PROPOSE says: you may propose the block at `height` on `parent` now. It stays open until the
 *    host answers with PROPOSAL or PROPOSE_STOP comes. The host answers when it has transactions,
 *    or when an empty block is due. Before it answers it must have built, executed and stored the
 *    block under its digest: EXECUTE for the same digest follows and is answered like any other.
 * 4. COMMITTED comes in height order, each height once in the life of the chain: block and
 *    certificate must be durable no later than the next PERSIST is, or a crash leaves votes for
 *    heights whose parents are gone. `executed` false: the block came by transfer, execute it now.
 * 5. FETCH is a hint: peer `from` says that it has committed blocks up to `to`. The host asks any
 *    peer for block, payload and certificate, stores the payload, and hands each block in by a
 *    BLOCK event, in height order. The core believes the certificate, never the peer.
 * 6. PENDING tells whether there is something that the leader ought to order: an uncommitted
 *    transaction, or a head so old that an empty block is due. The view timer runs only then, or
 *    while a proposal is open. A request that stays out of blocks that do get committed is
 *    censored: the host says so by SUSPECT.
 * 7. After a crash, pbft_new gets every record that PERSIST ever handed out since the last
 *    compaction, in order, and the last committed block. A validator whose records are lost or
 *    rolled back must start as PBFT_OBSERVER until the next epoch.
 * 8. TICK at least every 20 ms or so while anything is under way; every event carries the time.
 *
 * Epochs. One object serves one epoch: one list of validators with their keys. The epoch's last block
 * is the one whose transactions changed the list, and its header says so (pbft_header.last): the host
 * finds such a block valid only if its execution ends the epoch exactly where the header says it. The
 * window needs no W heights of grace above it, because a leader proposes the next height only after it
 * executed the one below, and a validator executes before it signs: nobody honest prepares anything
 * above a last block, so no quorum of the old list ever does, while everything below it is committed
 * with it, parents first. Whatever a view change throws away was tentative, the end of the epoch too.
 *
 *  9. After COMMITTED with `last` the object has ended: it signs nothing more, changes no view and
 *     commits nothing; it only tells its height. The host frees it and makes the next one: domain.epoch
 *     one higher, base_header = committed_header = the last block's, no certificate, the new list,
 *     keys, n and self (PBFT_OBSERVER for who is no member), view 0. Effects of the old object that
 *     stand behind the COMMITTED may be dropped.
 * 10. Records name their epoch, and pbft_new passes over those of earlier ones: the host may hand in
 *     one log whole, and a crash between the two objects needs no care. A record of a later epoch
 *     than the chain's is refused: the chain was rolled back under the log.
 * 11. Messages name their epoch too. What comes too early is dropped (it is made anew and resent until
 *     it is answered); what comes late is answered with our STATUS, and a STATUS of a later epoch
 *     tells how far its sender is. Who missed the end of an epoch so learns of it, FETCHes the last
 *     block and is in the next one: its certificate is all that he needs, no vote of the old epoch.
 *     `from` in MESSAGE is always the sender's index in this object's list, PBFT_OBSERVER where he
 *     is not in it. Who is no member of the new list hears nothing from it: a host that has heard
 *     of no block for long asks any peer for the one after its head.
 * 12. Who lost its votes must be sure that the epoch in which it votes again began after the loss.
 *     A block's time is bound to the validators' clocks by the drift, so: an epoch whose base block is
 *     later than the loss was noticed by more than two drifts began after it.
 */
#ifndef LEDGER_PBFT_PBFT_H
#define LEDGER_PBFT_PBFT_H

#include "ledger/pbft/vote.h"

enum {
    PBFT_WINDOW_MAX = 8,
    PBFT_MESSAGE_BYTES_MAX = 8 << 20, /* a NEW-VIEW of 67 VIEW-CHANGEs at n = 100, W = 8 */
    PBFT_RECORD_BYTES_MAX = PBFT_MESSAGE_BYTES_MAX + 16,
    PBFT_RECORDS_MAX = 1 << 20,
};

/* `self` of a node that follows and never signs; `from` of a peer that is no validator. */
#define PBFT_OBSERVER UINT32_MAX
/* `to` of a SEND that goes to every other validator. */
#define PBFT_EVERYBODY UINT32_MAX

/* What the core must know of a header; all else in it is the host's. */
struct pbft_header {
    uint64_t height;
    uint64_t epoch;
    struct hash parent;
    uint64_t time_ms; /* wall clock of the proposer */
    bool last;        /* the epoch ends with this block; not looked at in the base */
};

struct pbft_host {
    void *context;
    /* Reads a header; false where it is not a well-formed header of this chain. Pure. */
    bool (*header_read)(void *context, struct bytes header, struct pbft_header *ret_header);
    /* Signs with the validator's own key. Pure (Ed25519 is). Never called for an observer. */
    void (*sign)(void *context, const struct hash *statement,
                 uint8_t ret_signature[PBFT_SIGNATURE_BYTES]);
    pbft_verify_fn verify;
};

struct pbft_config {
    uint32_t self; /* index in the validator list, or PBFT_OBSERVER */
    uint32_t n;    /* 1 to PBFT_VALIDATORS_MAX */
    struct pbft_domain domain;
    uint32_t window;       /* W: 1 to PBFT_WINDOW_MAX */
    uint64_t rotation;     /* K: the leader changes every K heights; 0: only by view changes */
    uint32_t timeout_ms;     /* without progress this long: view change */
    uint32_t timeout_ms_max; /* where the backoff (factor 1.5 a failed view) ends */
    uint32_t resend_ms;      /* unanswered messages are sent again this often */
    uint32_t status_ms;      /* view and height are told to everybody this often */
    uint32_t drift_ms_max;   /* a proposal's time may differ so much from the own clock */

    /* The block before the epoch's first one (genesis for epoch 0): trusted without certificate. */
    struct bytes base_header;
    /* The last committed block. Equal to the base: the certificate is empty. */
    struct bytes committed_header;
    struct bytes committed_certificate;

    /* Every record since the last compaction, in order. */
    const struct bytes *records;
    size_t record_count;

    struct pbft_host host;
};

/* Defaults for everything but self, n, domain, headers, records and host: W = 4, K = 0, 1000 ms,
 * 10000 ms, 250 ms, 1000 ms, 30000 ms. */
void pbft_config_defaults(struct pbft_config *ret_config);

struct pbft;

/* Copies what it keeps of config. ERROR_CONFIG for values out of range, ERROR_CORRUPT for records
 * or a certificate that cannot be ours: do not start as validator then. */
MUST_CHECK enum error_code pbft_new(const struct pbft_config *config, struct pbft **ret_pbft,
                                    struct error *err);
void pbft_free(struct pbft *pbft);

enum pbft_event_kind {
    PBFT_EVENT_TICK = 1,
    PBFT_EVENT_MESSAGE,   /* bytes from a peer, as they came; all checks are made here */
    PBFT_EVENT_CONNECTED, /* a peer (re)connected: it is told our state anew */
    PBFT_EVENT_PENDING,
    PBFT_EVENT_SUSPECT, /* the host has a reason to replace the leader */
    PBFT_EVENT_PROPOSAL,
    PBFT_EVENT_EXECUTED,
    PBFT_EVENT_BLOCK, /* a committed block by transfer */
};

enum pbft_cause {
    PBFT_CAUSE_NONE = 0,
    PBFT_CAUSE_TIMEOUT,          /* no progress in time */
    PBFT_CAUSE_NEW_VIEW_TIMEOUT, /* the new leader did not start its view in time */
    PBFT_CAUSE_JOIN,             /* f + 1 others are in higher views */
    PBFT_CAUSE_INVALID,          /* the leader proposed an invalid block */
    PBFT_CAUSE_EQUIVOCATION,     /* the leader proposed two blocks for one height */
    PBFT_CAUSE_CENSORSHIP,       /* the host says: a request stays out */
    PBFT_CAUSE_NEW_VIEW,         /* a valid NEW-VIEW of a higher view came */
    PBFT_CAUSE_READMIT,          /* another left the view alone, and cannot come back to it */
};

struct pbft_event {
    enum pbft_event_kind kind;
    uint64_t now_ms;  /* monotonic */
    uint64_t wall_ms; /* since 1970, for the drift of block times only */
    union {
        struct {
            uint32_t from; /* whom the transport authenticated, or PBFT_OBSERVER */
            struct bytes bytes;
        } message;
        struct {
            uint32_t peer;
        } connected;
        struct {
            bool pending;
        } pending;
        struct {
            enum pbft_cause cause;
        } suspect;
        struct {
            struct bytes header; /* height and parent are read from it */
        } proposal;
        struct {
            uint64_t height;
            struct hash digest;
            bool valid;
        } executed;
        struct {
            struct bytes header;
            struct bytes certificate;
        } block;
    };
};

enum pbft_effect_kind {
    PBFT_EFFECT_PERSIST = 1,
    PBFT_EFFECT_SEND,
    PBFT_EFFECT_EXECUTE,
    PBFT_EFFECT_UNDO,
    PBFT_EFFECT_PROPOSE,
    PBFT_EFFECT_PROPOSE_STOP,
    PBFT_EFFECT_COMMITTED,
    PBFT_EFFECT_FETCH,
    PBFT_EFFECT_VIEW,     /* the view or its state changed: for logs, metrics, the watch */
    PBFT_EFFECT_EVIDENCE, /* a validator equivocated: keep it, submit it as a transaction */
    PBFT_EFFECT_FAULT,    /* a peer sent what no honest node sends; the host may hang up */
    PBFT_EFFECT_DIVERGED, /* Q validators certified what we find invalid: stop and call somebody */
};

enum pbft_lane {
    PBFT_LANE_VOTE = 1, /* small and urgent */
    PBFT_LANE_BULK,     /* VIEW-CHANGE and NEW-VIEW */
};

/* Byte strings are borrowed until the next pbft_step, pbft_records or pbft_free. */
struct pbft_effect {
    enum pbft_effect_kind kind;
    union {
        struct {
            struct bytes record;
        } persist;
        struct {
            uint32_t to; /* or PBFT_EVERYBODY */
            enum pbft_lane lane;
            struct bytes message;
        } send;
        struct {
            uint64_t height;
            struct hash digest;
            struct bytes header;
            uint32_t from; /* who proposed it and so has the payload; others may have it too */
        } execute;
        struct {
            uint64_t height;
        } undo;
        struct {
            uint64_t view;
            uint64_t height;
            struct hash parent;
            uint64_t time_ms_min; /* the new header's time must not be before the parent's */
        } propose;
        struct {
            uint64_t height;
        } propose_stop;
        struct {
            uint64_t height;
            uint64_t view;
            struct hash digest;
            struct bytes header;
            struct bytes certificate;
            uint32_t seal_count;
            bool executed;
            bool last; /* the epoch ended: make the next object */
        } committed;
        struct {
            uint32_t from;
            uint64_t first;
            uint64_t to;
        } fetch;
        struct {
            uint64_t view;
            bool changing; /* true: VIEW-CHANGE sent; false: normal in this view */
            enum pbft_cause cause;
            uint32_t leader; /* of the next height */
        } view;
        struct {
            uint32_t signer;
            struct bytes evidence;
        } evidence;
        struct {
            uint32_t from;
            const char *what; /* static text */
        } fault;
        struct {
            uint64_t height;
            struct hash digest;
        } diverged;
    };
};

struct pbft_effects {
    const struct pbft_effect *list;
    size_t count;
};

/* Never fails: what peers send wrongly is refused by a FAULT effect. Ends the process where memory
 * runs out, since a validator that drops effects is unsafe. */
void pbft_step(struct pbft *pbft, const struct pbft_event *event, struct pbft_effects *ret_effects);

/* Compaction: the records that replace all earlier ones. The list and its bytes are borrowed until
 * the next step. Write them to a new log, sync, rename, sync the folder. */
void pbft_records(struct pbft *pbft, const struct bytes **ret_records, size_t *ret_count);

/* Votes that are forgotten. A host that starts a validator cannot know whether its log was rolled back;
 * others' copies of what it signed can tell. PBFT_VOTES_OF_MAX messages or less, appended as u32 bytes
 * each: all that we hold of a validator's votes in this epoch that are not settled by a commit. */
enum { PBFT_VOTES_OF_MAX = 3 * 2 * PBFT_WINDOW_MAX + 1 };
void pbft_votes_of(struct pbft *pbft, uint32_t validator, struct buffer *out);
/* True where the message is a vote with our own good signature that our records do not account for:
 * sign nothing more in this epoch then. False for whatever is not ours, or is malformed. */
bool pbft_has_forgotten(struct pbft *pbft, struct bytes message);
/* The same of our seal in a commit certificate; ask before its BLOCK is put to the core. */
bool pbft_has_forgotten_seal(struct pbft *pbft, struct bytes certificate);

struct pbft_status {
    uint64_t epoch;
    bool ended; /* its last block is committed */
    uint64_t view;
    bool changing;
    enum pbft_cause cause; /* of the last view change */
    uint64_t committed;
    struct hash committed_digest;
    uint64_t proposed; /* highest height accepted in this view */
    uint32_t leader;   /* of the next height */
    uint32_t faults_tolerated;
    uint32_t quorum;
    uint64_t peer_heights[PBFT_VALIDATORS_MAX]; /* what each last told */
    uint64_t peer_views[PBFT_VALIDATORS_MAX];
    uint64_t signatures_made;
    uint64_t signatures_checked;
};
void pbft_status(const struct pbft *pbft, struct pbft_status *ret_status);

/* leader(view, height) = (view + height / K) mod n; with K = 0, view mod n. */
uint32_t pbft_leader(uint32_t n, uint64_t rotation, uint64_t view, uint64_t height);

/* Static names for logs: "timeout", "join", "committed" ... */
const char *pbft_cause_name(enum pbft_cause cause);
const char *pbft_type_name(enum pbft_type type);

#endif
