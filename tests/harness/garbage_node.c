/*
 * A validator that lies: RENKEI_GARBAGE=transactions passes on what its clients gave it whether it is
 * signed or not, RENKEI_GARBAGE=votes signs nothing right, RENKEI_GARBAGE=blocks proposes by names that
 * nobody has and hands out blocks that it changed, RENKEI_GARBAGE=slow answers whoever catches
 * up with one block of all that he asks for. All else is the shipped node.
 */
#include <stdlib.h>
#include <string.h>

#include "ledger/node_inside.h"

enum error_code __real_transaction_verify(const struct transaction *tx, struct error *err);
enum error_code __wrap_transaction_verify(const struct transaction *tx, struct error *err);
void __real_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]);
void __wrap_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]);

void __real_proposal_write(const struct pool *pool, const struct members *members,
                           struct bytes block, struct buffer *out);
void __wrap_proposal_write(const struct pool *pool, const struct members *members,
                           struct bytes block, struct buffer *out);
void __real_node_send(struct node *node, uint32_t to, enum mesh_lane lane, enum node_message kind,
                      struct bytes body);
void __wrap_node_send(struct node *node, uint32_t to, enum mesh_lane lane, enum node_message kind,
                      struct bytes body);

enum error_code __real_application_chunk(struct chain *chain, uint64_t height,
                                         struct buffer *ret_block, struct buffer *ret_certificate,
                                         struct error *err);
enum error_code __wrap_application_chunk(struct chain *chain, uint64_t height,
                                         struct buffer *ret_block, struct buffer *ret_certificate,
                                         struct error *err);

static bool lies_in(const char *what) {
    const char *garbage = getenv("RENKEI_GARBAGE");
    return garbage != NULL && strcmp(garbage, what) == 0;
}

enum error_code __wrap_transaction_verify(const struct transaction *tx, struct error *err) {
    return lies_in("transactions") ? ERROR_NONE : __real_transaction_verify(tx, err);
}

void __wrap_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]) {
    __real_ledger_signer_sign(signer, digest, ret_signature);
    if (lies_in("votes"))
        ret_signature[SIGNER_SIGNATURE_BYTES / 2] ^= 1;
}

/* The last byte: of a leaf, where there is a transaction. */
void __wrap_proposal_write(const struct pool *pool, const struct members *members,
                           struct bytes block, struct buffer *out) {
    __real_proposal_write(pool, members, block, out);
    if (lies_in("blocks") && out->len > BLOCK_HEADER_BYTES)
        out->data[out->len - 1] ^= 1;
}

/* The last byte: of a signature, where there is a transaction. */
void __wrap_node_send(struct node *node, uint32_t to, enum mesh_lane lane, enum node_message kind,
                      struct bytes body) {
    SCOPED_BUFFER struct buffer changed;
    buffer_init(&changed, BLOCK_BYTES_MAX);
    if (lies_in("blocks") && kind == NODE_PAYLOAD && body.len > BLOCK_HEADER_BYTES) {
        buffer_append(&changed, body.data, body.len);
        changed.data[changed.len - 1] ^= 1;
        body = buffer_bytes(&changed);
    }
    __real_node_send(node, to, lane, kind, body);
}

enum error_code __wrap_application_chunk(struct chain *chain, uint64_t height,
                                         struct buffer *ret_block, struct buffer *ret_certificate,
                                         struct error *err) {
    static uint64_t last = UINT64_MAX;
    static bool ended;
    ended = lies_in("slow") && height == last + 1 && !ended;
    if (ended)
        return error_set(err, ERROR_NOT_FOUND, "block: with the next question");
    last = height;
    return __real_application_chunk(chain, height, ret_block, ret_certificate, err);
}
