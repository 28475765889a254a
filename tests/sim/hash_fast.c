/*
 * base/hash.h for the simulator: a fast mixing function in place of SHA-256. Nobody in the
 * simulated world looks for collisions, and a million schedules should not wait for hashes. The
 * linker takes these in place of base's; ledger/pbft is the shipped object all the same.
 */
#include <string.h>

#include "base/hash.h"

static uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static void absorb(uint64_t *state, struct bytes part) {
    size_t at = 0;
    for (; at + 8 <= part.len; at += 8) {
        uint64_t word;
        memcpy(&word, part.data + at, 8);
        state[0] = (state[0] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        state[0] ^= state[0] >> 29;
        state[1] = (state[1] + word) * UINT64_C(0xc2b2ae3d27d4eb4f);
        state[1] ^= state[1] >> 31;
    }
    uint64_t tail = part.len;
    for (; at < part.len; at++)
        tail = tail << 8 ^ part.data[at];
    state[0] = (state[0] ^ tail) * UINT64_C(0x9e3779b97f4a7c15);
    state[1] = (state[1] + (state[0] >> 17) + tail) * UINT64_C(0xc2b2ae3d27d4eb4f);
}

struct hash sha256_of_parts(const struct bytes *parts, size_t count) {
    uint64_t state[2] = {UINT64_C(0x243f6a8885a308d3), UINT64_C(0x13198a2e03707344)};
    for (size_t i = 0; i < count; i++)
        absorb(state, parts[i]);
    struct hash result;
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t word = mix(state[i & 1] + mix(state[(i + 1) & 1] + i));
        memcpy(result.byte + 8 * i, &word, 8);
    }
    return result;
}

struct hash sha256_of(struct bytes data) {
    return sha256_of_parts(&data, 1);
}

bool hash_equal(const struct hash *a, const struct hash *b) {
    return memcmp(a->byte, b->byte, HASH_BYTES) == 0;
}

bool hash_is_zero(const struct hash *h) {
    static const struct hash zero;
    return hash_equal(h, &zero);
}
