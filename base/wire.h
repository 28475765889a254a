/*
 * The wire and disk encoding of fixed layouts: big-endian integers of fixed width, byte strings
 * with a 32-bit length, nothing optional by absence, nothing after the end.
 *
 * A reader never reads past its input and its failure sticks: read every field, then ask
 * wire_read_end() once. Integers are big-endian so that the order of bytes is the order of numbers.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

static inline void wire_store_u16(uint8_t *at, uint16_t v) {
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void wire_store_u32(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static inline void wire_store_u64(uint8_t *at, uint64_t v) {
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> (56 - 8 * i));
}

static inline uint32_t wire_load_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t wire_load_u64(const uint8_t *at) {
    return (uint64_t)wire_load_u32(at) << 32 | wire_load_u32(at + 4);
}

/* Writing: appends to a buffer, whose own failure sticks. */
void wire_u8(struct buffer *b, uint8_t v);
void wire_u16(struct buffer *b, uint16_t v);
void wire_u32(struct buffer *b, uint32_t v);
void wire_u64(struct buffer *b, uint64_t v);
void wire_fixed(struct buffer *b, const void *data, size_t len);
void wire_bytes(struct buffer *b, struct bytes v); /* u32 length, then the bytes */

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct wire_reader wire_reader(struct bytes input) {
    return (struct wire_reader){input.data, input.data + input.len, false};
}

/* After a failure every read gives zeros, NULL and empty strings. */
uint8_t wire_read_u8(struct wire_reader *r);
uint16_t wire_read_u16(struct wire_reader *r);
uint32_t wire_read_u32(struct wire_reader *r);
uint64_t wire_read_u64(struct wire_reader *r);
void wire_read_fixed(struct wire_reader *r, void *ret_data, size_t len);
/* Borrows from the input; longer than len_max is a failure. */
struct bytes wire_read_bytes(struct wire_reader *r, size_t len_max);
/* Borrows exactly len bytes. */
struct bytes wire_read_raw(struct wire_reader *r, size_t len);
size_t wire_read_left(const struct wire_reader *r);
/* A count of items of at least item_bytes_min bytes each: more than count_max, or more than can
 * stand in what is left, is a failure. So no count makes a reader allocate more than its input. */
uint32_t wire_read_count(struct wire_reader *r, uint32_t count_max, size_t item_bytes_min);
/* True where nothing failed and nothing is left. */
MUST_CHECK bool wire_read_end(const struct wire_reader *r);

#endif
