/*
 * SHA-256 of many messages, two at once, by the processor's SHA instructions (FIPS 180-4 has the
 * rounds).
 *
 * One message cannot keep the instructions busy: each of its rounds waits for the one before. Two
 * independent messages, round beside round, take hardly longer than one. OpenSSL has no such call;
 * it serves where the processor lacks the instructions, and the tests compare the two.
 */
#include "base/hash.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/wire.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

enum { BLOCK_BYTES = 64, LENGTH_BYTES = 8, GROUPS = 16, SEGMENTS = 3 };

#define SHA_CODE   __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_INLINE SHA_CODE __attribute__((always_inline)) static inline

/* Blocks that stand side by side: the first one with the head, those within the body, the end. */
struct segment {
    const uint8_t *at;
    size_t blocks;
};

struct lane {
    __m128i abef;
    __m128i cdgh;
    struct segment segments[SEGMENTS];
    size_t segment;
    uint8_t first[BLOCK_BYTES];
    uint8_t last[2 * BLOCK_BYTES];
};

static const uint32_t constants[4 * GROUPS] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

SHA_INLINE void load(__m128i words[4], const uint8_t *at) {
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    for (int i = 0; i < 4; i++)
        words[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)at + i), swap);
}

/* Four words of the message schedule, of the 16 before them. */
SHA_INLINE void extend(__m128i words[4], int group) {
    const __m128i newest = words[(group + 3) & 3];
    __m128i sum = _mm_sha256msg1_epu32(words[group & 3], words[(group + 1) & 3]);
    sum = _mm_add_epi32(sum, _mm_alignr_epi8(newest, words[(group + 2) & 3], 4));
    words[group & 3] = _mm_sha256msg2_epu32(sum, newest);
}

SHA_INLINE void four_rounds(__m128i *abef, __m128i *cdgh, __m128i words, int group) {
    const __m128i *k = (const __m128i *)(const void *)constants + group;
    __m128i sum = _mm_add_epi32(words, _mm_load_si128(k));
    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0E));
}

SHA_CODE static void compress_one(struct lane *lane, const uint8_t *at, size_t blocks) {
    __m128i abef = lane->abef, cdgh = lane->cdgh, words[4];
    for (; blocks > 0; blocks--, at += BLOCK_BYTES) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        load(words, at);
#pragma GCC unroll 16
        for (int group = 0; group < GROUPS; group++) {
            if (group >= 4)
                extend(words, group);
            four_rounds(&abef, &cdgh, words[group & 3], group);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    lane->abef = abef;
    lane->cdgh = cdgh;
}

SHA_CODE static void compress_two(struct lane *a, const uint8_t *a_at, struct lane *b,
                                  const uint8_t *b_at, size_t blocks) {
    __m128i a_abef = a->abef, a_cdgh = a->cdgh, a_words[4];
    __m128i b_abef = b->abef, b_cdgh = b->cdgh, b_words[4];
    for (; blocks > 0; blocks--, a_at += BLOCK_BYTES, b_at += BLOCK_BYTES) {
        const __m128i a_abef_before = a_abef, a_cdgh_before = a_cdgh;
        const __m128i b_abef_before = b_abef, b_cdgh_before = b_cdgh;
        load(a_words, a_at);
        load(b_words, b_at);
#pragma GCC unroll 16
        for (int group = 0; group < GROUPS; group++) {
            if (group >= 4) {
                extend(a_words, group);
                extend(b_words, group);
            }
            four_rounds(&a_abef, &a_cdgh, a_words[group & 3], group);
            four_rounds(&b_abef, &b_cdgh, b_words[group & 3], group);
        }
        a_abef = _mm_add_epi32(a_abef, a_abef_before);
        a_cdgh = _mm_add_epi32(a_cdgh, a_cdgh_before);
        b_abef = _mm_add_epi32(b_abef, b_abef_before);
        b_cdgh = _mm_add_epi32(b_cdgh, b_cdgh_before);
    }
    a->abef = a_abef;
    a->cdgh = a_cdgh;
    b->abef = b_abef;
    b->cdgh = b_cdgh;
}

/* Lays the message out in blocks; the body is copied only where a block begins or ends in it. */
SHA_CODE static void begin(struct lane *lane, const struct sha256_message *m) {
    const uint64_t total = m->head.len + m->body.len;
    struct bytes rest = m->body;
    size_t open = m->head.len; /* bytes of the message in the last blocks */
    struct segment *segments = lane->segments;
    lane->segment = 0;
    segments[0] = segments[1] = (struct segment){NULL, 0};
    if (m->head.len > 0)
        memcpy(lane->first, m->head.data, m->head.len);
    if (total >= BLOCK_BYTES) {
        const size_t fill = BLOCK_BYTES - m->head.len;
        if (fill > 0)
            memcpy(lane->first + m->head.len, rest.data, fill);
        rest = bytes_of(rest.data + fill, rest.len - fill);
        segments[0] = (struct segment){lane->first, 1};
        segments[1] = (struct segment){rest.data, rest.len / BLOCK_BYTES};
        rest = bytes_of(rest.data + rest.len / BLOCK_BYTES * BLOCK_BYTES, rest.len % BLOCK_BYTES);
        open = 0;
    }
    const size_t ends = open + rest.len;
    const size_t blocks = ends + 1 + LENGTH_BYTES > BLOCK_BYTES ? 2 : 1;
    memset(lane->last, 0, blocks * BLOCK_BYTES);
    if (open > 0)
        memcpy(lane->last, lane->first, open);
    if (rest.len > 0)
        memcpy(lane->last + open, rest.data, rest.len);
    lane->last[ends] = 0x80;
    wire_store_u64(lane->last + blocks * BLOCK_BYTES - LENGTH_BYTES, total * 8);
    segments[2] = (struct segment){lane->last, blocks};
    /* FIPS 180-4's initial value, in the order of the instructions. */
    lane->abef = _mm_set_epi32(0x6A09E667, (int)0xBB67AE85, 0x510E527F, (int)0x9B05688C);
    lane->cdgh = _mm_set_epi32(0x3C6EF372, (int)0xA54FF53A, 0x1F83D9AB, 0x5BE0CD19);
}

/* The segment that has blocks left, or NULL. */
static struct segment *next_segment(struct lane *lane) {
    while (lane->segment < SEGMENTS && lane->segments[lane->segment].blocks == 0)
        lane->segment++;
    return lane->segment < SEGMENTS ? &lane->segments[lane->segment] : NULL;
}

static void take(struct segment *segment, size_t blocks) {
    segment->at += blocks * BLOCK_BYTES;
    segment->blocks -= blocks;
}

SHA_CODE static struct hash result(const struct lane *lane) {
    struct hash hash;
    uint32_t abef[4], cdgh[4];
    _mm_storeu_si128((__m128i *)(void *)abef, lane->abef);
    _mm_storeu_si128((__m128i *)(void *)cdgh, lane->cdgh);
    const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2],
                               abef[1], abef[0], cdgh[1], cdgh[0]};
    for (int i = 0; i < 8; i++)
        wire_store_u32(hash.byte + 4 * i, words[i]);
    return hash;
}

/* Two lanes; one that ends takes the next message, so that both are busy up to the last. */
SHA_CODE static void many(const struct sha256_message *messages, size_t count,
                          struct hash *ret_hashes) {
    struct lane lanes[2];
    size_t message[2] = {0, 1};
    size_t next = 0;
    struct segment *segment[2] = {NULL, NULL};
    for (int i = 0; i < 2 && next < count; i++) {
        begin(&lanes[i], &messages[next++]);
        segment[i] = next_segment(&lanes[i]);
    }
    while (segment[0] != NULL && segment[1] != NULL) {
        const size_t a = segment[0]->blocks, b = segment[1]->blocks, blocks = a < b ? a : b;
        compress_two(&lanes[0], segment[0]->at, &lanes[1], segment[1]->at, blocks);
        for (int i = 0; i < 2; i++) {
            take(segment[i], blocks);
            segment[i] = next_segment(&lanes[i]);
            if (segment[i] != NULL)
                continue;
            ret_hashes[message[i]] = result(&lanes[i]);
            if (next == count)
                continue;
            message[i] = next++;
            begin(&lanes[i], &messages[message[i]]);
            segment[i] = next_segment(&lanes[i]);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (segment[i] == NULL)
            continue;
        for (; segment[i] != NULL; segment[i] = next_segment(&lanes[i])) {
            compress_one(&lanes[i], segment[i]->at, segment[i]->blocks);
            take(segment[i], segment[i]->blocks);
        }
        ret_hashes[message[i]] = result(&lanes[i]);
    }
}

static bool has_instructions(void) {
    return __builtin_cpu_supports("sha") && __builtin_cpu_supports("sse4.1") &&
           __builtin_cpu_supports("ssse3");
}

#else

static bool has_instructions(void) {
    return false;
}

static void many(const struct sha256_message *messages, size_t count, struct hash *ret_hashes) {
    sha256_many_plain(messages, count, ret_hashes);
}

#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool two_at_a_time;

/* Asked once a process: the instructions are there, and give what OpenSSL gives. A digest that is
 * wrong would be anchored for ever, so nothing rests on what a hypervisor says of its processor. */
static void choose(void) {
    enum { PROBES = 5 };
    static const uint8_t text[300] = {0};
    static const size_t lengths[PROBES] = {0, 20, 55, 64, 300};
    struct sha256_message messages[PROBES];
    struct hash expected[PROBES], found[PROBES];
    if (!has_instructions())
        return;
    for (size_t i = 0; i < PROBES; i++)
        messages[i] = (struct sha256_message){BYTES_LITERAL("head"), bytes_of(text, lengths[i])};
    sha256_many_plain(messages, PROBES, expected);
    many(messages, PROBES, found);
    two_at_a_time = memcmp(expected, found, sizeof expected) == 0;
}

void sha256_many(const struct sha256_message *messages, size_t count, struct hash *ret_hashes) {
    for (size_t i = 0; i < count; i++)
        assert(messages[i].head.len <= SHA256_HEAD_BYTES_MAX);
    (void)pthread_once(&once, choose);
    if (two_at_a_time)
        many(messages, count, ret_hashes);
    else
        sha256_many_plain(messages, count, ret_hashes);
}
