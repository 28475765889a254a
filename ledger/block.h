/*
 * Blocks: their layout, their hash, the leaf of a transaction in them. Certificates are
 * ledger/pbft/vote.h's. Pure: no input or output.
 */
#ifndef LEDGER_BLOCK_H
#define LEDGER_BLOCK_H

#include "base/bytes.h"
#include "base/hash.h"
#include "ledger/transaction.h"

enum {
    BLOCK_HEADER_BYTES = 244,
    BLOCK_TRANSACTIONS_MAX = 16384,
    BLOCK_BYTES_MAX = 8 << 20,
    BLOCK_ENTRY_BYTES = 1 + 4, /* status and length before each transaction */
};

/* The view is not part of it: the same block may be proposed again in a later view. */
struct block_header {
    struct hash chain;
    uint64_t epoch;
    uint64_t height; /* from 1; 0 in the header that stands for the genesis */
    struct hash previous;
    uint64_t time_ms;
    uint32_t transaction_count;
    uint32_t size; /* bytes after the header */
    struct hash transaction_root;
    uint64_t log_size; /* leaves of the chain after this block */
    struct hash log_root;
    uint64_t map_height; /* the height map_root is of; 0 and zero until there is a map */
    struct hash map_root;
    struct hash members; /* of the list that certifies the next block */
};

void block_header_encode(const struct block_header *header, uint8_t ret_bytes[BLOCK_HEADER_BYTES]);
MUST_CHECK enum error_code block_header_decode(struct bytes input, struct block_header *ret_header,
                                               struct error *err);
/* SHA-256("renkei/block/1\n" || header) */
struct hash block_hash(const struct block_header *header);

/* What became of a transaction. Anything but TX_DONE is in the block without effect. */
enum transaction_status {
    TX_DONE = 0,
    TX_VERSION = 1,   /* a version is not the latest one's plus one */
    TX_PREVIOUS = 2,  /* a leaf's previous hash is not that of the latest version */
    TX_OWNER = 3,     /* what it continues belongs to another submitter */
    TX_OPERATION = 4, /* create over a living one, or anything else of one that is gone */
    TX_UNKNOWN = 5,   /* what it speaks of is not on the chain */
    TX_EPOCH = 6,      /* a change or evidence for another epoch, or a second one in a block */
    TX_SIGNATURES = 7, /* a change that not Q of the validators signed */
    TX_CHANGE = 8,     /* a change that does not fit the list of members */
    TX_EVIDENCE = 9,   /* evidence that proves nothing against a key that votes */
    TX_CHECKPOINT = 10, /* a checkpoint that is no higher than the chain's last one of that chain */
    TX_REFERENCE = 11,  /* a reference to a person's key that stands on the chain already */
    TX_PERMISSION = 12, /* a query that no permission in force allows, or a grant to nobody */
    TX_ROLE = 13,       /* its submitter's role may not submit this type */
    TX_STATUS_COUNT
};
const char *transaction_status_text(enum transaction_status status);

/* A decoded block borrows from its bytes. */
struct block {
    struct block_header header;
    struct bytes entries;
};
/* Checks the framing: as many entries as the header says, nothing after them. Neither the
 * transactions nor the roots. */
MUST_CHECK enum error_code block_decode(struct bytes input, struct block *ret_block,
                                        struct error *err);

struct block_cursor {
    struct wire_cursor_bytes {
        const uint8_t *at;
        const uint8_t *end;
    } rest;
    uint32_t index; /* of the next entry */
};
struct block_cursor block_cursor(const struct block *block);
bool block_next(struct block_cursor *cursor, struct bytes *ret_transaction,
                enum transaction_status *ret_status);

/* Appends one entry to a block that is being built. */
void block_entry(struct buffer *entries, struct bytes transaction, enum transaction_status status);

/* The leaf of the transaction tree: SHA-256(0x00 || id || signature || status), so that the header
 * commits to every byte of the transaction and to what became of it. */
struct hash block_transaction_leaf(const struct transaction *tx, enum transaction_status status);

/* The leaves of all of a block's transactions, one for each. Fails where one cannot be decoded. */
MUST_CHECK enum error_code block_leaves(const struct block *block, struct hash *ret_leaves,
                                        struct error *err);

/* True where the block's entries are those that its header binds: whoever sent it did not change
 * it, and what is wrong with it is its proposer's doing. */
bool block_entries_fit(struct bytes block);

struct members;
struct genesis;
/* The header that stands before block 1: height 0, of the genesis and its list of members alone. */
void block_genesis_header(const struct genesis *genesis, const struct members *members,
                          struct block_header *ret_header);

#endif
