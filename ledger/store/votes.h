/*
 * The vote log: what a validator must remember before it says anything. An append-only file of
 * records with CRCs. A torn last batch is cut off, a damaged record before it is refused.
 *
 * A record: magic (4), kind (4), length (4), where its batch begins in the file (8), CRC-32C over
 * those and the bytes (4), the bytes.
 */
#ifndef LEDGER_STORE_VOTES_H
#define LEDGER_STORE_VOTES_H

#include "base/bytes.h"

enum {
    VOTES_RECORD_BYTES_MAX = 9 << 20,
    VOTES_BYTES_MAX = 512 << 20,
    VOTES_COMPACT_BYTES = 64 << 20, /* a longer log is due to be rewritten */
};

enum votes_kind {
    VOTES_RECORD = 1,  /* of the protocol core */
    VOTES_PAYLOAD = 2,  /* a whole block */
    VOTES_IDENTITY = 3, /* the public key that votes: the first entry of every log */
    VOTES_COMMITTED = 4, /* a certificate: the block's segment may be lost with the page cache */
};

struct votes_entry {
    enum votes_kind kind;
    struct bytes bytes;
};

struct votes;

/* Opens or makes the file; *ret_entries, owned by the log until the next call that writes, are what
 * it held, in order. */
MUST_CHECK enum error_code votes_open(const char *path, struct votes **ret_votes,
                                      const struct votes_entry **ret_entries, size_t *ret_count,
                                      struct error *err);
/* Reads it through, without opening it for writing or cutting anything: how many whole records there
 * are, and how many bytes of a torn batch stand behind them. ERROR_CORRUPT as votes_open. */
MUST_CHECK enum error_code votes_check(const char *path, size_t *ret_records, uint64_t *ret_torn,
                                       struct error *err);
void votes_close(struct votes *votes);
uint64_t votes_bytes(const struct votes *votes);

/* Collects; nothing is written before votes_sync, which writes and syncs all of it at once. */
void votes_add(struct votes *votes, enum votes_kind kind, struct bytes bytes);
bool votes_dirty(const struct votes *votes);
MUST_CHECK enum error_code votes_sync(struct votes *votes, struct error *err);

/* Replaces the whole file by these entries: new file, sync, rename, sync of the folder. */
MUST_CHECK enum error_code votes_replace(struct votes *votes, const struct votes_entry *entries,
                                         size_t count, struct error *err);

#endif
