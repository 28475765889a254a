#include "ledger/lane.h"

#include <string.h>

#include "base/wire.h"

static void write_path(struct buffer *out, const struct merkle_path *path) {
    wire_u8(out, (uint8_t)path->count);
    wire_fixed(out, path->hash, path->count * sizeof path->hash[0]);
}

static void read_path(struct wire_reader *r, struct merkle_path *ret_path) {
    uint32_t count = wire_read_u8(r);
    if (count > MERKLE_PATH_MAX) {
        r->failed = true;
        count = 0;
    }
    ret_path->count = count;
    wire_read_fixed(r, ret_path->hash, count * sizeof ret_path->hash[0]);
}

static enum error_code whole(const struct wire_reader *r, const char *what, struct error *err) {
    return r->failed ? error_set(err, ERROR_PROTOCOL, "%s: the node's answer is cut short", what)
                     : ERROR_NONE;
}

void lane_write_head(struct buffer *out, const struct block_header *header,
                     struct bytes certificate) {
    uint8_t raw[BLOCK_HEADER_BYTES];
    block_header_encode(header, raw);
    wire_fixed(out, raw, sizeof raw);
    wire_bytes(out, certificate);
}

enum error_code lane_read_head(struct wire_reader *r, struct lane_head *ret_head,
                               struct error *err) {
    struct bytes raw = wire_read_raw(r, BLOCK_HEADER_BYTES);
    struct bytes certificate = wire_read_bytes(r, LANE_CERTIFICATE_BYTES_MAX);
    TRY(whole(r, "head", err));
    TRY(block_header_decode(raw, &ret_head->header, err));
    ret_head->certificate = certificate;
    return ERROR_NONE;
}

void lane_write_receipt(struct buffer *out, const struct lane_receipt *receipt) {
    lane_write_head(out, &receipt->head.header, receipt->head.certificate);
    wire_fixed(out, receipt->id.byte, HASH_BYTES);
    wire_fixed(out, receipt->signature, sizeof receipt->signature);
    wire_u8(out, (uint8_t)receipt->status);
    wire_u32(out, receipt->index);
    wire_u64(out, receipt->log_index);
    write_path(out, &receipt->path);
}

enum error_code lane_read_receipt(struct wire_reader *r, struct lane_receipt *ret_receipt,
                                  struct error *err) {
    TRY(lane_read_head(r, &ret_receipt->head, err));
    wire_read_fixed(r, ret_receipt->id.byte, HASH_BYTES);
    wire_read_fixed(r, ret_receipt->signature, sizeof ret_receipt->signature);
    ret_receipt->status = (enum transaction_status)wire_read_u8(r);
    ret_receipt->index = wire_read_u32(r);
    ret_receipt->log_index = wire_read_u64(r);
    read_path(r, &ret_receipt->path);
    return whole(r, "receipt", err);
}

void lane_write_version(struct buffer *out, const struct lane_version *version) {
    uint8_t raw[LEAF_BYTES];
    leaf_encode(&version->leaf, raw);
    wire_fixed(out, raw, sizeof raw);
    wire_u64(out, version->log_index);
    wire_u64(out, version->height);
    wire_u32(out, version->transaction);
    wire_u32(out, version->leaf_index);
    wire_u64(out, version->block_time_ms);
    wire_fixed(out, version->id.byte, HASH_BYTES);
    write_path(out, &version->path);
}

enum error_code lane_read_version(struct wire_reader *r, struct lane_version *ret_version,
                                  struct error *err) {
    struct bytes raw = wire_read_raw(r, LEAF_BYTES);
    TRY(whole(r, "version", err));
    TRY(leaf_decode(raw.data, &ret_version->leaf, err));
    ret_version->log_index = wire_read_u64(r);
    ret_version->height = wire_read_u64(r);
    ret_version->transaction = wire_read_u32(r);
    ret_version->leaf_index = wire_read_u32(r);
    ret_version->block_time_ms = wire_read_u64(r);
    wire_read_fixed(r, ret_version->id.byte, HASH_BYTES);
    read_path(r, &ret_version->path);
    return whole(r, "version", err);
}
