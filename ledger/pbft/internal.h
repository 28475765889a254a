/*
 * The core's state, shared by its files: pbft.c (door, timers), normal.c (the three phases),
 * view.c (view change), message.c (codec), record.c (durable records and recovery).
 */
#ifndef LEDGER_PBFT_INTERNAL_H
#define LEDGER_PBFT_INTERNAL_H

#include "base/arena.h"
#include "base/wire.h"
#include "ledger/pbft/pbft.h"

enum {
    MESSAGE_VERSION = 1,
    RECORD_VERSION = 1,
    /* The receive window is larger than the send window, so that what a validator ahead of us
     * sends is not lost: W of ours, and W more of his. */
    RECEIVE_MAX = 2 * PBFT_WINDOW_MAX,
    VERIFIED_MAX = 64,
    /* So many view timeouts a validator that left the view alone waits for the others. */
    READMIT_TIMEOUTS = 30,
    EFFECT_ARENA_BYTES_MAX = 256 << 20,
};

/* ---- messages (message.c) ---- */

struct message_prepared {
    struct pbft_ballot ballot;
    struct bytes certificate;
    struct bytes header;
};

/* A decoded message borrows from its bytes. */
struct message {
    enum pbft_type type;
    uint16_t signer;
    uint64_t epoch;
    uint64_t view;
    struct bytes signed_body; /* what stands under the signature */
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    /* PROPOSE, PREPARE, COMMIT; STATUS: the last committed block */
    uint64_t height;
    struct hash digest;
    struct bytes header; /* PROPOSE; VIEW_CHANGE: of the last committed block */
    bool changing;       /* STATUS */
    /* VIEW_CHANGE */
    struct bytes certificate;
    uint32_t prepared_count;
    struct message_prepared prepared[PBFT_WINDOW_MAX];
    /* NEW_VIEW */
    uint32_t view_change_count;
    struct bytes view_changes[PBFT_VALIDATORS_MAX];
};

/* Shape only: canonical, within the limits. No signature, hash or header is looked at. NULL, or
 * what is wrong. */
MUST_CHECK const char *pbft__message_decode(struct bytes input, struct message *ret_message);
/* Writes everything but the signature's 64 bytes, which the caller appends. */
void pbft__message_encode(const struct message *message, struct buffer *out);

/* ---- state ---- */

struct block {
    struct hash digest;
    struct pbft_header header;
    uint32_t header_len;
    uint8_t header_bytes[PBFT_HEADER_BYTES_MAX];
};

/* One validator's latest ballot of one type at one height. */
struct tally {
    bool set;
    uint64_t view;
    struct hash digest;
    uint8_t signature[PBFT_SIGNATURE_BYTES];
};

/* What was signed by us at one height, as far as the records tell: never contradicted. */
struct own_ballot {
    bool set;
    uint64_t view;
    struct hash digest;
};

enum execution { EXECUTION_NONE = 0, EXECUTION_ASKED, EXECUTION_VALID, EXECUTION_INVALID };

struct slot {
    uint64_t height;

    bool has_block;
    struct block block; /* the latest one accepted here, in whatever view */
    uint32_t source;    /* who proposed it */
    bool accepted;      /* in the current view */
    bool prepared;      /* in the current view */
    bool commit_sent;   /* in the current view */
    uint64_t resend_ms; /* when our ballots are due to be sent again */

    bool has_early; /* a proposal that waits for its parent or for its NEW-VIEW */
    uint64_t early_view;
    struct block early;
    uint8_t early_signature[PBFT_SIGNATURE_BYTES];

    /* The proposal accepted in the current view, kept as one half of possible evidence. */
    bool has_proposal_signature;
    uint8_t proposal_signature[PBFT_SIGNATURE_BYTES];

    enum execution execution;
    struct hash execution_digest;

    struct own_ballot own_propose;
    struct own_ballot own_prepare;

    bool has_prepared_certificate; /* the highest view in which it was prepared */
    struct pbft_ballot prepared_ballot;
    struct block prepared_block;
    struct buffer prepared_certificate;

    bool has_commit_certificate;
    struct pbft_ballot commit_ballot;
    uint32_t commit_seal_count;
    struct buffer commit_certificate;

    struct tally *prepares; /* n of each */
    struct tally *commits;
};

struct peer {
    uint64_t height; /* claimed; nothing but a hint */
    uint64_t view;
    bool heard;
    uint64_t reply_ms; /* when the next answer may go: they are spaced by resend_ms */
    /* Its latest valid VIEW-CHANGE. */
    bool has_view_change;
    uint64_t change_view;
    uint64_t change_ms; /* when it came */
    struct buffer view_change;
};

/* What a NEW-VIEW chooses: the base and the blocks above it that are proposed again. */
struct choice {
    uint64_t base;
    struct hash base_digest;
    uint32_t count;
    struct block *blocks[PBFT_WINDOW_MAX]; /* of heights base + 1 ... base + count */
};

struct pbft {
    struct pbft_config config; /* pointers to headers and records are not used after pbft_new */
    uint32_t faults;
    uint32_t quorum;
    uint32_t receive; /* number of slots */

    struct block base;
    struct block committed;
    struct buffer committed_certificate;

    uint64_t view;
    bool changing;
    enum pbft_cause cause;
    struct choice choice;   /* of the NEW-VIEW that started the current or an earlier view */
    struct buffer new_view; /* its bytes; empty in view 0 */

    struct slot *slots; /* ring, height % receive */
    struct peer *peers; /* n */

    bool pending;
    bool propose_open;
    uint64_t propose_height;
    struct hash propose_parent;

    uint64_t now_ms, wall_ms;
    uint32_t attempts;          /* view changes since the last commit */
    uint64_t progress_ms;       /* deadline; 0: not armed */
    uint64_t new_view_ms;       /* deadline; 0: not armed */
    uint64_t change_resend_ms;  /* when our VIEW-CHANGE is due again */
    uint64_t status_ms;         /* when our STATUS is due */
    uint64_t fetch_ms;          /* when the next FETCH may be given */
    uint32_t fetch_peer;        /* whom the last one named */

    struct hash verified[VERIFIED_MAX]; /* certificates whose signatures were checked */
    uint32_t verified_next;

    uint64_t signatures_made, signatures_checked;

    struct arena *arena;
    struct pbft_effect *effects;
    size_t effect_count, effect_capacity;
    struct buffer scratch;
    struct bytes *records; /* of the last pbft_records */
};

/* ---- helpers (pbft.c) ---- */

void *pbft__must(void *memory); /* ends the process on NULL: see pbft_step */
struct pbft_effect *pbft__effect(struct pbft *p, enum pbft_effect_kind kind);
struct bytes pbft__keep(struct pbft *p, struct bytes data); /* into the step's arena */
void pbft__fault(struct pbft *p, uint32_t from, const char *what);
bool pbft__observer(const struct pbft *p);
/* The epoch's last block is committed: nothing more happens in it. */
bool pbft__ended(const struct pbft *p);
void pbft__sign(struct pbft *p, const struct hash *statement, uint8_t *ret_signature);
bool pbft__verify(struct pbft *p, uint32_t signer, const struct hash *statement,
                  const uint8_t *signature);
/* Signs, appends the signature, and sends. */
void pbft__send(struct pbft *p, uint32_t to, const struct message *message);
void pbft__send_raw(struct pbft *p, uint32_t to, enum pbft_lane lane, struct bytes message);
void pbft__send_status(struct pbft *p, uint32_t to);
uint32_t pbft__timeout(const struct pbft *p);
/* NULL outside of the receive window. */
struct slot *pbft__slot(struct pbft *p, uint64_t height);
/* Checks that the bytes are a header of this chain and epoch; NULL, or what is wrong. */
const char *pbft__block_read(const struct pbft *p, struct bytes header, struct block *ret_block);
/* Decodes and checks a certificate of this type; the signatures only where it was not seen. */
const char *pbft__certificate_check(struct pbft *p, struct bytes bytes, enum pbft_type type,
                                    struct pbft_certificate *ret_certificate);
/* A peer showed (or claims) that it has committed up to height. */
void pbft__heard_height(struct pbft *p, uint32_t peer, uint64_t height);
void pbft__progress_arm(struct pbft *p);

/* ---- the three phases (normal.c) ---- */

void pbft__on_propose(struct pbft *p, uint32_t from, const struct message *m);
void pbft__on_vote(struct pbft *p, uint32_t from, const struct message *m);
void pbft__on_proposal(struct pbft *p, struct bytes header);
void pbft__on_executed(struct pbft *p, uint64_t height, const struct hash *digest, bool valid);
void pbft__on_block(struct pbft *p, struct bytes header, struct bytes certificate);
/* Does everything that the state allows now. */
void pbft__advance(struct pbft *p);
void pbft__propose_stop(struct pbft *p);
/* Sends our ballots of one height again, to one peer or everybody. */
void pbft__resend_slot(struct pbft *p, struct slot *s, uint32_t to);
void pbft__leave_view(struct pbft *p); /* forgets what holds only in the current view */
void pbft__accept(struct pbft *p, struct slot *s, const struct block *block, uint32_t source);

/* ---- view change (view.c) ---- */

void pbft__start_change(struct pbft *p, uint64_t view, enum pbft_cause cause);
void pbft__on_view_change(struct pbft *p, uint32_t from, const struct message *m,
                          struct bytes bytes);
void pbft__on_new_view(struct pbft *p, uint32_t from, const struct message *m,
                       struct bytes bytes);
void pbft__change_tick(struct pbft *p);
/* Makes our own VIEW-CHANGE for the current view and keeps it as our peer entry. */
void pbft__make_view_change(struct pbft *p);
/* Computes p->choice from a NEW-VIEW whose checks are done, or which is our own record. NULL, or
 * what is wrong; p->choice is untouched then. */
MUST_CHECK const char *pbft__choose(struct pbft *p, const struct message *new_view);
/* Tells a peer that lags what it lacks: our NEW-VIEW (in_view), and how far we are. */
void pbft__answer_lagging(struct pbft *p, uint32_t peer, bool in_view);
void pbft__choice_clear(struct choice *choice);

/* ---- durable records (record.c) ---- */

void pbft__persist_view(struct pbft *p);
void pbft__persist_entered(struct pbft *p, struct bytes new_view);
void pbft__persist_ballot(struct pbft *p, enum pbft_type type, const struct block *block);
void pbft__persist_prepared(struct pbft *p, const struct slot *s);
MUST_CHECK enum error_code pbft__recover(struct pbft *p, const struct bytes *records, size_t count,
                                         struct error *err);

#endif
