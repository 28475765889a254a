/*
 * The ledger's door for clients: what the gateway and the command line use of a renkei-node.
 *
 * Owns: building and signing transactions, the connection to a node's local socket, submitting and
 * waiting for the commit certificate, reading blocks, transactions, records and proofs, checking a
 * certificate against the genesis file. May use: base, ledger/leaf.h, ledger/transaction.h,
 * ledger/block.h. Refuses: to believe a node without a certificate of Q validators.
 *
 * One thread a client. Calls block, up to a deadline.
 */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "ledger/leaf.h"

enum {
    LEDGER_ANCHOR_LEAVES_MAX = 4096,      /* leaves of one anchor transaction */
    LEDGER_TRANSACTION_BYTES_MAX = 2 << 20,
    LEDGER_HISTORY_MAX = 1000,            /* versions of a record in one answer */
    LEDGER_PROVE_MAX = 256,               /* records in one answer of ledger_prove */
    LEDGER_STATUS_BYTES_MAX = 1 << 20,
    LEDGER_NODES_MAX = 16,                /* that a client asks */
    LEDGER_HEAD_AGE_MS_MAX = 120000,      /* an older head is not believed: ERROR_NODE_STALE */
};

/* Where a committed thing stands. */
struct ledger_position {
    uint64_t height;
    uint32_t transaction; /* index in the block */
    uint32_t leaf;        /* index in the transaction */
    uint64_t log_index;   /* of the leaf, in the tree over all leaves of the chain */
};

/* The submitter's Ed25519 key. */
struct ledger_signer;
MUST_CHECK enum error_code ledger_signer_load(const char *path, struct ledger_signer **ret_signer,
                                              struct error *err);
/* A fresh key, written to path with mode 0600 (PKCS#8 PEM). */
MUST_CHECK enum error_code ledger_signer_create(const char *path, struct error *err);
void ledger_signer_public(const struct ledger_signer *signer, uint8_t ret_key[32]);
void ledger_signer_free(struct ledger_signer *signer);

/* An anchor: the leaves of one batch of one source. */
struct ledger_anchor {
    struct hash source;   /* SHA-256 of "hospital/source/table": no plain names on the chain */
    uint64_t batch;       /* counts the submitter's batches of this source, from 1 */
    struct bytes snapshot; /* label of the source's snapshot, at most 64 bytes */
    const struct leaf *leaves;
    uint32_t leaf_count;
    const struct hash *leaf_hashes; /* of these leaves, where they are at hand; NULL: made here */
};

/* Builds and signs; the result is the exact bytes to keep and to submit, again and again. sequence
 * counts the submitter's transactions from 1: the ledger executes each at most once, in order. */
MUST_CHECK enum error_code ledger_build_anchor(const struct ledger_signer *signer,
                                               const struct hash *chain, uint64_t sequence,
                                               uint64_t wall_ms,
                                               const struct ledger_anchor *anchor,
                                               struct buffer *ret_transaction, struct error *err);

/* A met mismatch: a live row that is not what was anchored, or is gone. */
struct ledger_incident {
    bool missing; /* content and raw are zero */
    struct locator locator;
    uint32_t version;    /* the anchored version it was compared with */
    struct hash content; /* as observed, with that version's r */
    struct hash raw;
    uint64_t observed_ms;
};
MUST_CHECK enum error_code ledger_build_incident(const struct ledger_signer *signer,
                                                 const struct hash *chain, uint64_t sequence,
                                                 uint64_t wall_ms,
                                                 const struct ledger_incident *incident,
                                                 struct buffer *ret_transaction,
                                                 struct error *err);
/* Opaque bytes, at most 4096. Whoever can read the chain can read them: no record, no name. */
MUST_CHECK enum error_code ledger_build_note(const struct ledger_signer *signer,
                                             const struct hash *chain, uint64_t sequence,
                                             uint64_t wall_ms, struct bytes note,
                                             struct buffer *ret_transaction, struct error *err);
/* Zero where the bytes are no well-formed transaction. */
struct hash ledger_transaction_id(struct bytes transaction);

struct ledger;

/* Connects lazily: the first call that needs the node does. genesis: path of the genesis file,
 * which is all that is trusted. node_sockets: one path, or several with a comma between, the own
 * node's first; where one is away, silent, stale or lies, the next is asked, within the same call. */
MUST_CHECK enum error_code ledger_open(const char *node_sockets, const char *genesis,
                                       struct ledger **ret_ledger, struct error *err);
void ledger_close(struct ledger *ledger);
struct hash ledger_chain(const struct ledger *ledger);
/* Validators of the last epoch that was proven here, from the genesis on: 1 means that every proof is
 * self-attested. */
uint32_t ledger_validator_count(const struct ledger *ledger);

enum ledger_result { LEDGER_COMMITTED = 1, LEDGER_FAILED = 2 };

struct ledger_receipt {
    struct hash transaction;
    enum ledger_result result;  /* FAILED: in the block, without effect; reason says why */
    char reason[128];
    struct ledger_position position; /* of the first leaf */
    uint64_t block_time_ms;
};

/* Submits (idempotent: the same bytes give the same receipt for ever) and waits until the block is
 * committed with a certificate that was checked here. ERROR_TX_REJECTED where no node will ever
 * take it, ERROR_TIMEOUT where it is not known yet: submit the same bytes again. */
MUST_CHECK enum error_code ledger_submit(struct ledger *ledger, struct bytes transaction,
                                         uint32_t deadline_ms, struct ledger_receipt *ret_receipt,
                                         struct error *err);
/* Several at once, in order, in flight together; receipts in the same order. */
MUST_CHECK enum error_code ledger_submit_all(struct ledger *ledger, const struct bytes *transactions,
                                             size_t count, uint32_t deadline_ms,
                                             struct ledger_receipt *ret_receipts,
                                             struct error *err);

/* The next sequence the chain expects of a submitter, from 1. */
MUST_CHECK enum error_code ledger_next_sequence(struct ledger *ledger,
                                                const uint8_t submitter[32],
                                                uint64_t *ret_sequence, struct error *err);

struct ledger_head {
    uint64_t height;
    uint64_t view;
    uint64_t time_ms;
    uint64_t leaves; /* in the log */
    struct hash block;
    struct hash log_root;
    uint32_t validators;
    uint32_t faults_tolerated;
    uint32_t signatures; /* of the certificate that was checked */
    uint32_t nodes_answered; /* with a fresh head, of which this is the highest */
};
/* Asks f + 1 nodes where so many are named and answer: then one of them at least hides nothing. */
MUST_CHECK enum error_code ledger_head(struct ledger *ledger, struct ledger_head *ret_head,
                                       struct error *err);

/* A record's versions, the latest first. */
struct ledger_version {
    struct leaf leaf;
    struct hash leaf_hash;
    struct ledger_position position;
    uint64_t block_time_ms;
    struct hash transaction;
};
/* ret_versions has room for versions_max (at most LEDGER_HISTORY_MAX); ret_count 0: the chain knows
 * no such locator. ret_total: how many there are. The previous-leaf links are checked here. */
MUST_CHECK enum error_code ledger_history(struct ledger *ledger, const struct locator *locator,
                                          struct ledger_version *ret_versions,
                                          size_t versions_max, size_t *ret_count,
                                          uint64_t *ret_total, struct error *err);
/* The latest version of each of several locators in one round trip; version 0 in ret_versions[i]
 * means unknown. At most LEDGER_ANCHOR_LEAVES_MAX. */
MUST_CHECK enum error_code ledger_latest(struct ledger *ledger, const struct locator *locators,
                                         size_t count, struct ledger_version *ret_versions,
                                         struct error *err);

/* The same with a proof that it is the latest one, or that the chain does not know the record, as of
 * block *ret_height: by the map root in the certified head, which lags a few blocks behind it. At most
 * LEDGER_PROVE_MAX. */
MUST_CHECK enum error_code ledger_prove(struct ledger *ledger, const struct locator *locators,
                                        size_t count, struct ledger_version *ret_versions,
                                        uint64_t *ret_height, struct error *err);

/* The exact stored bytes, appended to ret_*; checked against the certificate. ERROR_NOT_FOUND. */
MUST_CHECK enum error_code ledger_block(struct ledger *ledger, uint64_t height,
                                        struct buffer *ret_block, struct buffer *ret_certificate,
                                        struct error *err);
MUST_CHECK enum error_code ledger_transaction(struct ledger *ledger, const struct hash *id,
                                              struct buffer *ret_transaction,
                                              struct ledger_receipt *ret_receipt,
                                              struct error *err);

struct members;
/* The list of members in force, proven from the genesis on. Free with members_free (members.h). */
MUST_CHECK enum error_code ledger_members(struct ledger *ledger, struct members **ret_members,
                                          struct error *err);

/* A checkpoint of this chain's head, to be anchored on another chain (checkpoint.h), appended. genesis:
 * this chain's file. ERROR_LIMIT where the members have changed too often for one transaction. */
MUST_CHECK enum error_code ledger_checkpoint(struct ledger *ledger, struct bytes genesis,
                                             struct buffer *ret_body, struct error *err);
/* The highest checkpoint that this chain has of another one: its head, the transaction and its receipt,
 * proven. ERROR_NOT_FOUND. */
struct block_header;
MUST_CHECK enum error_code ledger_checkpoint_of(struct ledger *ledger, const struct hash *chain,
                                                struct block_header *ret_head,
                                                struct ledger_receipt *ret_receipt,
                                                struct error *err);

/* What the node tells of itself, appended: a JSON object; lines for people; Prometheus text. Not
 * signed by anybody. */
MUST_CHECK enum error_code ledger_status(struct ledger *ledger, struct buffer *ret_json,
                                         struct error *err);
MUST_CHECK enum error_code ledger_status_text(struct ledger *ledger, struct buffer *ret_text,
                                              struct error *err);
MUST_CHECK enum error_code ledger_metrics(struct ledger *ledger, struct buffer *ret_text,
                                          struct error *err);

#endif
