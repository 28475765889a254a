/*
 * The client lane: frames between a client and its node's local socket (docs/formats.md). Used by
 * the node (ledger/local.c) and by the client library (ledger/client.c).
 */
#ifndef LEDGER_LANE_H
#define LEDGER_LANE_H

#include "base/bytes.h"
#include "base/wire.h"
#include "ledger/block.h"
#include "ledger/merkle/merkle.h"

enum {
    LANE_HEAD_BYTES = 9, /* u32 length of what follows it, u8 kind, u32 request */
    LANE_REQUEST_BYTES_MAX = TRANSACTION_BYTES_MAX + 64,
    LANE_ANSWER_BYTES_MAX = 16 << 20,
    LANE_LOCATORS_MAX = 4096,
    LANE_PROVE_MAX = 256,
    LANE_HISTORY_MAX = 1000,
    LANE_TEXT_BYTES_MAX = 1 << 20,
    LANE_CERTIFICATE_BYTES_MAX = 16 << 10,
    LANE_EPOCHS_BYTES = 8 << 20, /* no further epoch is put into an answer of this size */
};

enum lane_kind {
    LANE_SUBMIT = 1,      /* transaction -> receipt, once it is committed */
    LANE_HEAD = 2,        /* nothing -> head */
    LANE_SEQUENCE = 3,    /* key (32) -> u64 */
    LANE_HISTORY = 4,     /* locator (16), u32 most -> head, u64 total, u32 count, versions */
    LANE_LATEST = 5,      /* u32 count, locators -> head, u32 count, each: u8 found, version */
    LANE_BLOCK = 6,       /* u64 height -> u32 bytes block, u32 bytes certificate */
    LANE_TRANSACTION = 7, /* id (32) -> u32 bytes transaction, receipt */
    LANE_STATUS = 8,      /* nothing -> u32 bytes JSON */
    LANE_METRICS = 9,     /* nothing -> u32 bytes Prometheus text */
    LANE_EPOCHS = 10,     /* u64 first -> u32 count, epochs that have ended, from the first on */
    LANE_PROVE = 11,      /* u32 count, locators -> head, u32 count, each: map proof, version if any */
    LANE_CHECKPOINT = 12, /* chain (32) -> u8 found, id (32) of the highest checkpoint's transaction */
    LANE_ANSWER = 0x80,   /* added to the request's kind */
    LANE_ERROR = 0xff,    /* u32 bytes name, u32 bytes message, u32 bytes hint */
};

/* Head: header (244), u32 bytes certificate. */
struct lane_head {
    struct block_header header;
    struct bytes certificate;
};
void lane_write_head(struct buffer *out, const struct block_header *header,
                     struct bytes certificate);
MUST_CHECK enum error_code lane_read_head(struct wire_reader *r, struct lane_head *ret_head,
                                          struct error *err);

/* Receipt: head, id (32), signature (64), u8 status, u32 index, u64 log number of its first leaf,
 * path. The path leads from SHA-256(0x00 || id || signature || status) to the header's root. */
struct lane_receipt {
    struct lane_head head;
    struct hash id;
    uint8_t signature[TRANSACTION_SIGNATURE_BYTES];
    enum transaction_status status;
    uint32_t index;
    uint64_t log_index;
    struct merkle_path path;
};
void lane_write_receipt(struct buffer *out, const struct lane_receipt *receipt);
MUST_CHECK enum error_code lane_read_receipt(struct wire_reader *r,
                                             struct lane_receipt *ret_receipt, struct error *err);

/* Version: leaf (200), u64 log number, u64 height, u32 transaction, u32 leaf, u64 time of the block,
 * transaction id (32), path from the leaf to the head's log root. */
struct lane_version {
    struct leaf leaf;
    uint64_t log_index;
    uint64_t height;
    uint32_t transaction;
    uint32_t leaf_index;
    uint64_t block_time_ms;
    struct hash id;
    struct merkle_path path;
};
void lane_write_version(struct buffer *out, const struct lane_version *version);
MUST_CHECK enum error_code lane_read_version(struct wire_reader *r,
                                             struct lane_version *ret_version, struct error *err);

#endif
