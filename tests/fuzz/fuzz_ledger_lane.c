/* What a node's answers are made of on the clients' lane, and the map's proofs: a client believes no
 * node, so every byte of an answer is foreign. What was accepted is written as the same bytes. */
#include <stdint.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/lane.h"
#include "ledger/merkle/map.h"
#include "ledger/merkle/merkle.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct buffer *again, struct bytes input, const struct wire_reader *r) {
    size_t len = input.len - wire_read_left(r);
    REQUIRE(bytes_equal(buffer_bytes(again), bytes_of(input.data, len)));
}

static void try_head(struct bytes input, struct buffer *again) {
    struct wire_reader r = wire_reader(input);
    struct lane_head head;
    struct error err;
    if (lane_read_head(&r, &head, &err) != ERROR_NONE)
        return;
    lane_write_head(again, &head.header, head.certificate);
    same(again, input, &r);
}

static void try_receipt(struct bytes input, struct buffer *again) {
    struct wire_reader r = wire_reader(input);
    struct lane_receipt receipt;
    struct error err;
    if (lane_read_receipt(&r, &receipt, &err) != ERROR_NONE)
        return;
    REQUIRE(receipt.path.count <= MERKLE_PATH_MAX);
    lane_write_receipt(again, &receipt);
    same(again, input, &r);
    const struct block_header *header = &receipt.head.header;
    (void)!merkle_verify_inclusion(&receipt.id, receipt.index, header->transaction_count,
                                   &receipt.path, &header->transaction_root);
}

static void try_version(struct bytes input, struct buffer *again) {
    struct wire_reader r = wire_reader(input);
    struct lane_version version;
    struct error err;
    if (lane_read_version(&r, &version, &err) != ERROR_NONE)
        return;
    REQUIRE(version.path.count <= MERKLE_PATH_MAX);
    lane_write_version(again, &version);
    same(again, input, &r);
}

/* No proof of somebody's making holds against a root that nobody computed. */
static void try_map_proof(struct bytes input, struct buffer *again) {
    struct wire_reader r = wire_reader(input);
    struct map_proof proof;
    struct hash key = {{1}};
    struct hash root = {{2}};
    map_proof_decode(&r, &proof);
    if (r.failed)
        return;
    REQUIRE(proof.depth <= MAP_DEPTH_MAX);
    map_proof_encode(&proof, again);
    same(again, input, &r);
    REQUIRE(map_verify(&proof, &key, &root) == MAP_WRONG);
    if (proof.some)
        REQUIRE(map_verify(&proof, &proof.key, &root) == MAP_WRONG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const TRY_ONE[])(struct bytes input, struct buffer *again) = {
        try_head, try_receipt, try_version, try_map_proof};
    if (size == 0)
        return 0;
    SCOPED_BUFFER struct buffer again;
    buffer_init(&again, LANE_ANSWER_BYTES_MAX);
    TRY_ONE[data[0] % (sizeof TRY_ONE / sizeof *TRY_ONE)](bytes_of(data + 1, size - 1), &again);
    return 0;
}
