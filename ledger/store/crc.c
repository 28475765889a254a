#include "ledger/store/crc.h"

#include <pthread.h>
#include <string.h>

enum { SLICES = 8 };

static uint32_t table[SLICES][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    const uint32_t polynomial = 0x82f63b78; /* reflected */
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < SLICES; slice++)
            table[slice][i] =
                (table[slice - 1][i] >> 8) ^ table[0][table[slice - 1][i] & 0xff];
}

#if defined(__x86_64__)
/* The processor's own instruction computes this very polynomial. */
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, struct bytes data) {
    const uint8_t *at = data.data;
    size_t left = data.len;
    uint64_t wide = ~crc;
    for (; left >= sizeof wide; left -= sizeof wide, at += sizeof wide) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; left > 0; left--, at++)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return ~crc;
}
#endif

/* Eight bytes at a time: each table holds the effect of a byte that far from the end. */
uint32_t crc32c_portable(uint32_t crc, struct bytes data) {
    pthread_once(&table_once, make_table);
    const uint8_t *at = data.data;
    size_t left = data.len;
    crc = ~crc;
    for (; left >= SLICES; left -= SLICES, at += SLICES) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
              table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
              table[0][at[7]];
    }
    for (; left > 0; left--, at++)
        crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
    return ~crc;
}

uint32_t crc32c(uint32_t crc, struct bytes data) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, data);
#endif
    return crc32c_portable(crc, data);
}
