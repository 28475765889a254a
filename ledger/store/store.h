/*
 * What a node keeps on disk: blocks in append-only segments, the committed state, the log's tree.
 *
 * Owns: the data folder (but the vote log, ledger/store/votes.h), its lock, recovery after a crash.
 * May use: base, the ledger's formats and state, LMDB. Refuses: to judge what it stores.
 *
 * Blocks are the truth. The state in LMDB, the tree's nodes and the places of leaves are derived
 * from them and may lag behind: after a crash the caller executes the blocks above
 * store_state_height() again. Everything that LMDB speaks of is synced before LMDB commits. Records are
 * not the store's: the map finds them.
 *
 *   blocks/00000001 ...  segments: records of block and certificate with their CRC
 *   heights              16 bytes a height: segment, offset
 *   places               32 bytes a leaf: height, submitter, positions, the version before
 *   log/00 ...           32 bytes a complete subtree, one file a level
 *   map/                 the map's runs (ledger/store/map.h): what is known of records
 *   state/               LMDB: submitter, transaction and epoch entries, and how far they go
 *   lock                 one process a folder
 */
#ifndef LEDGER_STORE_H
#define LEDGER_STORE_H

#include "ledger/state/state.h"

enum {
    STORE_SEGMENT_BYTES = 256 << 20,   /* a segment is closed when it is larger */
    /* What makes a flush due, as it is what a start executes again after a crash: */
    STORE_FLUSH_ENTRIES = 1 << 17, /* entries in memory, about one a transaction, */
    STORE_FLUSH_LEAVES = 1 << 16,  /* or leaves in the log, */
    STORE_FLUSH_BLOCKS = 1 << 13,  /* or blocks, whatever is in them, */
    STORE_FLUSH_BYTES = 256 << 20, /* or bytes of blocks */
    STORE_CERTIFICATE_BYTES_MAX = 16 << 10,
};

struct store;

/* Makes the folder where it is missing. ERROR_LOCKED, ERROR_CORRUPT, ERROR_CONFIG where it belongs
 * to another chain. A torn last record is cut off; a damaged one before it is refused. */
MUST_CHECK enum error_code store_open(const char *folder, const struct hash *chain,
                                      struct store **ret_store, struct error *err);
void store_close(struct store *store);

uint64_t store_height(const struct store *store);       /* of the last block */
/* True where the state's database was unreadable, so that all blocks are executed again. */
bool store_made_anew(const struct store *store);
uint64_t store_state_height(const struct store *store); /* that the state has reached */
/* Of the blocks and certificates that the state had not reached when the store was opened. */
uint64_t store_unreached_bytes(const struct store *store);
const struct merkle_frontier *store_frontier(const struct store *store); /* ... at that height */
struct state_base store_base(struct store *store);

/* The block after the last one. Not synced: see store_sync. */
MUST_CHECK enum error_code store_append(struct store *store, uint64_t height, struct bytes block,
                                        struct bytes certificate, struct error *err);
MUST_CHECK enum error_code store_sync(struct store *store, struct error *err);
/* The height up to which blocks, log, places and state outlive a loss of power; on any thread. */
uint64_t store_durable_height(const struct store *store);

/* The changes of the block after store_state_height(), but for records. */
MUST_CHECK enum error_code store_apply(struct store *store, const struct state_change *change,
                                       size_t block_bytes, struct error *err);

/* Moving the changes in memory into LMDB: start takes what there is, run does the work and may be
 * called on another thread, finish drops it from memory. Reads go on all the time. */
bool store_flush_due(const struct store *store);
bool store_flush_busy(const struct store *store);
void store_flush_start(struct store *store);
MUST_CHECK enum error_code store_flush_run(struct store *store, struct error *err);
void store_flush_finish(struct store *store);
/* Bytes on disk of the blocks. */
uint64_t store_block_bytes(const struct store *store);

/* Appended to the buffers, of which either may be NULL. ERROR_NOT_FOUND, ERROR_CORRUPT. */
MUST_CHECK enum error_code store_read(struct store *store, uint64_t height,
                                      struct buffer *ret_block, struct buffer *ret_certificate,
                                      struct error *err);
/* len bytes of a block from offset; a read past its end is ERROR_CORRUPT. */
MUST_CHECK enum error_code store_read_part(struct store *store, uint64_t height, size_t offset,
                                           uint8_t *ret_bytes, size_t len, struct error *err);
/* As much of len bytes as the block has from offset. */
MUST_CHECK enum error_code store_read_some(struct store *store, uint64_t height, size_t offset,
                                           uint8_t *ret_bytes, size_t len, size_t *ret_len,
                                           struct error *err);
/* The database's entry that says how far it goes, for those who look at it without a store. */
#define STORE_META_KEY "meta"
enum { STORE_META_FORMAT = 2, STORE_META_HEIGHT_AT = 1 + HASH_BYTES };
/* An entry of the file places, for those who look at it without a store. */
enum { STORE_PLACE_BYTES = 32 };
struct leaf_place store_place_decode(const uint8_t raw[STORE_PLACE_BYTES]);
MUST_CHECK enum error_code store_place(struct store *store, uint64_t log_index,
                                       struct leaf_place *ret_place, struct error *err);
/* Of several leaves that follow one another. */
MUST_CHECK enum error_code store_places(struct store *store, uint64_t first, size_t count,
                                        struct leaf_place *ret_places, struct error *err);
MUST_CHECK enum error_code store_leaf_hashes(struct store *store, uint64_t first, size_t count,
                                             struct hash *ret_hashes, struct error *err);
/* Reads complete subtrees of the log, for proofs. */
struct merkle_reader store_merkle(struct store *store);

#endif
