#include "base/wire.h"

void wire_u8(struct buffer *b, uint8_t v) {
    buffer_append_byte(b, v);
}

void wire_u16(struct buffer *b, uint16_t v) {
    uint8_t raw[2];
    wire_store_u16(raw, v);
    buffer_append(b, raw, sizeof raw);
}

void wire_u32(struct buffer *b, uint32_t v) {
    uint8_t raw[4];
    wire_store_u32(raw, v);
    buffer_append(b, raw, sizeof raw);
}

void wire_u64(struct buffer *b, uint64_t v) {
    uint8_t raw[8];
    wire_store_u64(raw, v);
    buffer_append(b, raw, sizeof raw);
}

void wire_fixed(struct buffer *b, const void *data, size_t len) {
    buffer_append(b, data, len);
}

void wire_bytes(struct buffer *b, struct bytes v) {
    if (v.len > UINT32_MAX) {
        b->failed = true;
        return;
    }
    wire_u32(b, (uint32_t)v.len);
    buffer_append(b, v.data, v.len);
}

size_t wire_read_left(const struct wire_reader *r) {
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

struct bytes wire_read_raw(struct wire_reader *r, size_t len) {
    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes v = bytes_of(r->at, len);
    r->at += len;
    return v;
}

uint8_t wire_read_u8(struct wire_reader *r) {
    struct bytes v = wire_read_raw(r, 1);
    return v.data != NULL ? v.data[0] : 0;
}

uint16_t wire_read_u16(struct wire_reader *r) {
    struct bytes v = wire_read_raw(r, 2);
    return v.data != NULL ? (uint16_t)(v.data[0] << 8 | v.data[1]) : 0;
}

uint32_t wire_read_u32(struct wire_reader *r) {
    struct bytes v = wire_read_raw(r, 4);
    return v.data != NULL ? wire_load_u32(v.data) : 0;
}

uint64_t wire_read_u64(struct wire_reader *r) {
    struct bytes v = wire_read_raw(r, 8);
    return v.data != NULL ? wire_load_u64(v.data) : 0;
}

void wire_read_fixed(struct wire_reader *r, void *ret_data, size_t len) {
    struct bytes v = wire_read_raw(r, len);
    if (v.data != NULL)
        memcpy(ret_data, v.data, len);
    else
        memset(ret_data, 0, len);
}

struct bytes wire_read_bytes(struct wire_reader *r, size_t len_max) {
    uint32_t len = wire_read_u32(r);
    if (len > len_max)
        r->failed = true;
    return wire_read_raw(r, len);
}

uint32_t wire_read_count(struct wire_reader *r, uint32_t count_max, size_t item_bytes_min) {
    uint32_t count = wire_read_u32(r);
    if (count > count_max ||
        (item_bytes_min > 0 && count > wire_read_left(r) / item_bytes_min)) {
        r->failed = true;
        return 0;
    }
    return r->failed ? 0 : count;
}

bool wire_read_end(const struct wire_reader *r) {
    return !r->failed && r->at == r->end;
}
