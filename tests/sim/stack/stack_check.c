#include <stdio.h>
#include <string.h>

#include "tests/sim/stack/stack.h"

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t *signature) {
    const struct genesis *genesis = context;
    return signer < genesis->validator_count &&
           signature_valid(genesis->validators[signer].vote_key, statement, signature);
}

/* Every signature for the first node that commits a height; the others must have the same block. */
static bool certified(struct stack *s, const struct block_header *header, const struct hash *digest,
                      struct bytes bytes) {
    struct pbft_certificate c;
    struct pbft_domain domain = {s->genesis->chain, header->epoch};
    return pbft_certificate_decode(bytes, &c, NULL) == ERROR_NONE &&
           c.ballot.type == PBFT_COMMIT && c.ballot.height == header->height &&
           hash_equal(&c.ballot.digest, digest) &&
           pbft_certificate_verify(&c, &domain, STACK_NODES, verify, s->genesis, NULL) == ERROR_NONE;
}

static uint32_t client_of(const struct stack *s, const struct transaction *tx) {
    for (uint32_t i = 0; i < STACK_CLIENTS; i++)
        if (memcmp(s->clients[i].key, tx->submitter, SIGNER_KEY_BYTES) == 0)
            return i;
    return STACK_CLIENTS;
}

/* Exactly once, in order, none left out. */
static void check_sequences(struct stack *s, const struct block *block) {
    uint64_t height = block->header.height;
    uint64_t *next = s->sequences[height];
    memcpy(next, s->sequences[height - 1], sizeof s->sequences[0]);
    struct block_cursor cursor = block_cursor(block);
    struct bytes bytes;
    enum transaction_status status;
    while (block_next(&cursor, &bytes, &status)) {
        struct transaction tx;
        uint32_t who = STACK_CLIENTS;
        if (transaction_decode(bytes, &tx, NULL) == ERROR_NONE)
            who = client_of(s, &tx);
        if (who == STACK_CLIENTS)
            stack_broken(s, "transaction", "block %llu holds what nobody submitted",
                         (unsigned long long)height);
        else if (tx.sequence != next[who]++)
            stack_broken(s, "twice", "block %llu: client %u's transaction %llu, expected %llu",
                         (unsigned long long)height, who, (unsigned long long)tx.sequence,
                         (unsigned long long)next[who] - 1);
        else if (status != TX_DONE)
            stack_broken(s, "status", "block %llu: transaction %llu has status %d",
                         (unsigned long long)height, (unsigned long long)tx.sequence, (int)status);
    }
}

void stack_check_commit(struct stack_node *n, struct bytes bytes, struct bytes certificate) {
    struct stack *s = n->stack;
    struct block block;
    if (block_decode(bytes, &block, NULL) != ERROR_NONE ||
        block.header.height >= STACK_HEIGHTS_MAX) {
        stack_broken(s, "block", "node %u committed what is no block", n->index);
        return;
    }
    uint64_t height = block.header.height;
    struct hash digest = block_hash(&block.header);
    if (!block_entries_fit(bytes))
        stack_broken(s, "payload", "node %u, height %llu: its transactions are not the header's",
                     n->index, (unsigned long long)height);
    stack_trace(s, "%u commits height %llu, %u transactions", n->index, (unsigned long long)height,
                block.header.transaction_count);
    if (!s->has_committed[height]) {
        s->has_committed[height] = true;
        s->committed[height] = digest;
        s->result.blocks++;
        if (!certified(s, &block.header, &digest, certificate))
            stack_broken(s, "certificate", "node %u: the certificate of height %llu is bad",
                         n->index, (unsigned long long)height);
        check_sequences(s, &block);
    } else if (!hash_equal(&s->committed[height], &digest)) {
        stack_broken(s, "fork", "node %u committed another block at height %llu", n->index,
                     (unsigned long long)height);
    }
    for (uint32_t i = 0; i < STACK_CLIENTS; i++)
        if (stack_next_sequence(n, i) != s->sequences[height][i])
            stack_broken(s, "state", "node %u, height %llu: client %u is at %llu, expected %llu",
                         n->index, (unsigned long long)height, i,
                         (unsigned long long)stack_next_sequence(n, i),
                         (unsigned long long)s->sequences[height][i]);
}

/* The header of a record that says PROPOSE, PREPARE or prepared (docs/formats.md, "Vote records"); NULL
 * data of others. */
static struct bytes header_voted_for(struct bytes record) {
    struct wire_reader r = wire_reader(record);
    (void)wire_read_u8(&r);
    uint8_t kind = wire_read_u8(&r);
    (void)wire_read_u64(&r);
    if (kind == 3) {
        (void)wire_read_u8(&r);
        (void)wire_read_u64(&r);
    } else if (kind == 4) {
        (void)wire_read_bytes(&r, PBFT_CERTIFICATE_BYTES_MAX);
    } else {
        return bytes_of(NULL, 0);
    }
    struct bytes header = wire_read_bytes(&r, PBFT_HEADER_BYTES_MAX);
    return r.failed ? bytes_of(NULL, 0) : header;
}

/* Whoever voted for a block has it, until its height is committed. */
void stack_check_log(struct stack_node *n, const struct votes_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct block_header header;
        struct bytes raw = header_voted_for(entries[i].bytes);
        if (entries[i].kind != VOTES_RECORD || raw.data == NULL ||
            block_header_decode(raw, &header, NULL) != ERROR_NONE ||
            header.height <= chain_height(n->chain))
            continue;
        bool there = false;
        for (size_t k = 0; k < count && !there; k++)
            there = entries[k].kind == VOTES_PAYLOAD &&
                    entries[k].bytes.len >= BLOCK_HEADER_BYTES &&
                    memcmp(entries[k].bytes.data, raw.data, BLOCK_HEADER_BYTES) == 0;
        if (!there)
            stack_broken(n->stack, "payload", "node %u: its vote log has a record of kind %u for "
                         "height %llu, and not the block", n->index, entries[i].bytes.data[1],
                         (unsigned long long)header.height);
    }
}

/* Every node holds the same blocks, the same roots, and every record that was anchored. */
static void check_node(struct stack_node *n) {
    struct stack *s = n->stack;
    struct error err;
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, BLOCK_BYTES_MAX);
    for (uint64_t h = 1; h <= chain_height(n->chain); h++) {
        struct block_header header;
        buffer_clear(&raw);
        if (store_read(chain_store(n->chain), h, &raw, NULL, &err) != ERROR_NONE ||
            raw.len < BLOCK_HEADER_BYTES ||
            block_header_decode(bytes_of(raw.data, BLOCK_HEADER_BYTES), &header, NULL) !=
                ERROR_NONE) {
            stack_broken(s, "disk", "node %u cannot read height %llu", n->index,
                         (unsigned long long)h);
            return;
        }
        struct hash digest = block_hash(&header);
        if (!hash_equal(&digest, &s->committed[h]))
            stack_broken(s, "disk", "node %u holds another block at height %llu", n->index,
                         (unsigned long long)h);
    }
    for (uint32_t i = 0; i < STACK_CLIENTS; i++) {
        const struct stack_client *c = &s->clients[i];
        if (stack_next_sequence(n, i) != c->most + 1)
            stack_broken(s, "lost", "node %u: client %u is at %llu, expected %llu", n->index, i,
                         (unsigned long long)stack_next_sequence(n, i),
                         (unsigned long long)c->most + 1);
        for (uint32_t k = 0; k < c->locator_count; k++) {
            struct state_record record;
            bool found = false;
            if (chain_latest(n->chain, &c->locators[k], &record, &found, &err) != ERROR_NONE ||
                !found || record.version != 1 || record.owner != i)
                stack_broken(s, "state", "node %u lacks a record of client %u", n->index, i);
        }
    }
}

void stack_check_end(struct stack *s) {
    for (uint32_t i = 0; i < STACK_NODES; i++)
        if (s->nodes[i].alive)
            check_node(&s->nodes[i]);
    for (uint32_t i = 1; i < STACK_NODES; i++) {
        const struct stack_node *a = &s->nodes[0], *b = &s->nodes[i];
        if (a->alive && b->alive && chain_height(a->chain) == chain_height(b->chain) &&
            (!hash_equal(&chain_head(a->chain)->log_root, &chain_head(b->chain)->log_root) ||
             chain_head(a->chain)->log_size != chain_head(b->chain)->log_size))
            stack_broken(s, "state", "nodes 0 and %u have different log roots", i);
    }
}
