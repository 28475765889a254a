#include "ledger/walk.h"

#include <stdlib.h>

#include "ledger/anchor.h"
#include "ledger/state/epochs.h"
#include "ledger/trust.h"

struct walk {
    const struct genesis *genesis;
    struct trust *trust;
    struct epochs epochs;
    struct block_header head;
    struct hash head_hash;
    struct merkle_frontier frontier;
    struct walk_sink sink;
    struct hash leaves[ANCHOR_LEAVES_MAX];
};

struct walk *walk_new(const struct genesis *genesis, const struct walk_sink *sink) {
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        abort();
    walk->genesis = genesis;
    walk->trust = trust_new(genesis);
    epochs_init(&walk->epochs, members_of_genesis(genesis));
    block_genesis_header(genesis, walk->epochs.members, &walk->head);
    walk->head_hash = block_hash(&walk->head);
    merkle_frontier_init(&walk->frontier);
    if (sink != NULL)
        walk->sink = *sink;
    return walk;
}

void walk_free(struct walk *walk) {
    if (walk == NULL)
        return;
    trust_free(walk->trust);
    epochs_done(&walk->epochs);
    free(walk);
}

const struct block_header *walk_head(const struct walk *walk) {
    return &walk->head;
}

struct hash walk_head_hash(const struct walk *walk) {
    return walk->head_hash;
}

const struct members *walk_members(const struct walk *walk) {
    return walk->epochs.members;
}

static enum error_code wrong(struct error *err, const struct walk *walk, const char *what) {
    return error_set(err, ERROR_CORRUPT, "block %llu: %s",
                     (unsigned long long)walk->head.height + 1, what);
}

/* The anchor's leaves, one by one, for whoever wants them. */
static void tell_leaves(const struct walk *walk, const struct transaction *tx,
                        const struct anchor *anchor, const struct leaf_place *place,
                        const uint8_t *bytes) {
    struct anchor_cursor cursor = anchor_cursor(anchor);
    const uint8_t *leaf_at = cursor.at;
    struct leaf leaf;
    int submitter = members_submitter_by_key(walk->epochs.members, tx->submitter);
    for (uint32_t i = 0; anchor_next(&cursor, &leaf); i++) {
        struct walk_leaf told = {&leaf, walk->leaves[i], walk->frontier.size + i, *place};
        told.place.submitter = (uint32_t)submitter;
        told.place.leaf = i;
        told.place.leaf_at = place->transaction_at + (uint32_t)(leaf_at - bytes);
        walk->sink.leaf(walk->sink.self, &told);
        leaf_at = cursor.at;
    }
}

static enum error_code add_leaves(struct walk *walk, const struct block *block,
                                  struct error *err) {
    struct block_cursor cursor = block_cursor(block);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        struct transaction tx;
        struct anchor anchor;
        TRY(transaction_decode(bytes, &tx, err));
        if (tx.type != TRANSACTION_ANCHOR || status != TX_DONE)
            continue;
        TRY(anchor_decode(tx.body, &anchor, err));
        TRY(anchor_hashes(&anchor, walk->leaves, err));
        struct leaf_place place = {
            .height = block->header.height,
            .transaction = cursor.index - 1,
            .transaction_at = (uint32_t)(bytes.data - block->entries.data) + BLOCK_HEADER_BYTES,
        };
        if (walk->sink.leaf != NULL)
            tell_leaves(walk, &tx, &anchor, &place, bytes.data);
        struct merkle_sink sink = {walk->sink.node, walk->sink.self};
        merkle_append_many(&walk->frontier, walk->leaves, anchor.leaf_count,
                           sink.node != NULL ? &sink : NULL);
    }
    return ERROR_NONE;
}

static enum error_code check_links(const struct walk *walk, const struct block_header *header,
                                   struct error *err) {
    if (!hash_equal(&header->chain, &walk->genesis->chain))
        return wrong(err, walk, "it is of another chain than the genesis file");
    if (header->height != walk->head.height + 1)
        return wrong(err, walk, "its header has another height");
    if (!hash_equal(&header->previous, &walk->head_hash))
        return wrong(err, walk, "it does not name the block before it by its hash");
    if (header->epoch != walk->epochs.members->epoch)
        return wrong(err, walk, "it is of another epoch than its members");
    return ERROR_NONE;
}

/* The list that the block gives way to must be what its transactions make of the one before. */
static enum error_code end_epoch(struct walk *walk, const struct block *block,
                                 struct bytes certificate, struct error *err) {
    SCOPED_BUFFER struct buffer list;
    buffer_init(&list, MEMBERS_BYTES_MAX);
    TRY(epochs_read(&walk->epochs, block, err));
    members_encode(walk->epochs.members, &list);
    TRY(buffer_check(&list, "members", err));
    return trust_next(walk->trust, &block->header, certificate, buffer_bytes(&list), err);
}

static enum error_code check(struct walk *walk, struct bytes raw, struct bytes certificate,
                             struct block *ret_block, struct error *err) {
    struct block block;
    TRY(block_decode(raw, &block, err));
    TRY(check_links(walk, &block.header, err));
    if (!block_entries_fit(raw))
        return wrong(err, walk, "its transactions do not give the root in its header");
    TRY(trust_check(walk->trust, &block.header, certificate, NULL, err));
    TRY(add_leaves(walk, &block, err));
    struct hash root = merkle_root(&walk->frontier);
    if (block.header.log_size != walk->frontier.size ||
        !hash_equal(&root, &block.header.log_root))
        return wrong(err, walk, "the log up to it does not give the root in its header");
    if (!hash_equal(&block.header.members, &walk->epochs.members->hash))
        TRY(end_epoch(walk, &block, certificate, err));
    *ret_block = block;
    return ERROR_NONE;
}

enum error_code walk_block(struct walk *walk, struct bytes raw, struct bytes certificate,
                           struct error *err) {
    struct block block;
    enum error_code code = check(walk, raw, certificate, &block, err);
    if (code == ERROR_NO_MEMORY || code == ERROR_CORRUPT)
        return code;
    if (code != ERROR_NONE)
        return error_wrap(err, ERROR_CORRUPT, "block %llu",
                          (unsigned long long)walk->head.height + 1);
    walk->head = block.header;
    walk->head_hash = block_hash(&block.header);
    return ERROR_NONE;
}
