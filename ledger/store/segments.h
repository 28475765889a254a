/*
 * The segments of blocks, inside the store: append, read, find the end after a crash.
 *
 * A record: magic (4), block length (4), certificate length (4), height (8), height up to which all
 * was synced when this was written (8), CRC-32C over those and what follows (4), block, certificate.
 */
#ifndef LEDGER_STORE_SEGMENTS_H
#define LEDGER_STORE_SEGMENTS_H

#include "base/bytes.h"

struct segments;

/* first: heights up to it are known to be synced and are not read again. */
MUST_CHECK enum error_code segments_open(const char *folder, uint64_t first,
                                         struct segments **ret_segments, struct error *err);
void segments_close(struct segments *segments);
uint64_t segments_height(const struct segments *segments);
uint64_t segments_bytes(const struct segments *segments);
/* Of the blocks and certificates above `first` that were there when it was opened. */
uint64_t segments_scanned_bytes(const struct segments *segments);
MUST_CHECK enum error_code segments_append(struct segments *segments, uint64_t height,
                                           struct bytes block, struct bytes certificate,
                                           struct error *err);
/* Everything up to this height, which was appended before. May be called on another thread than the
 * others, at any time. */
MUST_CHECK enum error_code segments_sync(struct segments *segments, uint64_t height,
                                         struct error *err);
MUST_CHECK enum error_code segments_read(struct segments *segments, uint64_t height,
                                         struct buffer *ret_block, struct buffer *ret_certificate,
                                         struct error *err);
MUST_CHECK enum error_code segments_read_some(struct segments *segments, uint64_t height,
                                              size_t offset, uint8_t *ret_bytes, size_t len,
                                              size_t *ret_len, struct error *err);

/* A whole record, as segments_scan found it; borrowed during the call. */
struct segments_record {
    uint32_t segment;
    uint64_t offset;
    uint64_t height;
    struct bytes raw; /* all of the record */
    struct bytes block;
    struct bytes certificate;
};
/* Where the whole records end, and what is torn behind them. */
struct segments_end {
    uint32_t segment; /* 0: there is none */
    uint64_t height;
    uint64_t offset;
    uint64_t torn; /* bytes */
};
typedef enum error_code (*segments_take_fn)(void *context, const struct segments_record *record,
                                            struct error *err);
/* Gives all records in order, from block 1 on; writes and cuts nothing, so that a node may be running.
 * ERROR_CORRUPT names file and byte where a record is damaged and others stand behind it. What take
 * returns ends it, too. ret_end is set in any case: up to where it got. */
MUST_CHECK enum error_code segments_scan(const char *folder, segments_take_fn take, void *context,
                                         struct segments_end *ret_end, struct error *err);

#endif
