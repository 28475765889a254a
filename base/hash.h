/*
 * SHA-256, HMAC-SHA-256 and HKDF. SHA-256 goes by a fetched EVP_MD and a context that is reused,
 * which is a third cheaper a call than the one-shot functions. A struct sha256 is not shared
 * between threads.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

#include "base/bytes.h"

enum { HASH_BYTES = 32 };

struct hash {
    uint8_t byte[HASH_BYTES];
};

struct sha256;

struct sha256 *sha256_new(void); /* ends the process where OpenSSL has no SHA-256 */
void sha256_free(struct sha256 *h);
void sha256_begin(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t len);
struct hash sha256_end(struct sha256 *h);

/* One call for what is not a hot path. Uses a context of the calling thread. */
struct hash sha256_of(struct bytes data);
/* SHA-256 over the concatenation of the parts. */
struct hash sha256_of_parts(const struct bytes *parts, size_t count);

/* Many messages, each a short head and a body. Where the processor has SHA instructions two at a
 * time go through them, which takes little more than half the time of one after the other. */
enum { SHA256_HEAD_BYTES_MAX = 64 };
struct sha256_message {
    struct bytes head;
    struct bytes body;
};
void sha256_many(const struct sha256_message *messages, size_t count, struct hash *ret_hashes);
/* The same by OpenSSL: what a processor without these instructions gets, and what tests compare. */
void sha256_many_plain(const struct sha256_message *messages, size_t count,
                       struct hash *ret_hashes);

struct hash hmac_sha256(struct bytes key, struct bytes data);

/* One key for many. To be wiped where the key is secret. */
enum { HMAC_BLOCK_BYTES = 64 };
struct hmac_key {
    uint8_t inner[HMAC_BLOCK_BYTES];
    uint8_t outer[HMAC_BLOCK_BYTES];
};
void hmac_key_init(struct hmac_key *ret_hmac_key, struct bytes key);
void hmac_sha256_many(const struct hmac_key *key, const struct bytes *data, size_t count,
                      struct hash *ret_macs);
/* HKDF-SHA-256 (RFC 5869), one output block or less: len <= 32. */
void hkdf_sha256(struct bytes secret, struct bytes salt, struct bytes info, uint8_t *ret_key,
                 size_t len);

bool hash_equal(const struct hash *a, const struct hash *b);
bool hash_is_zero(const struct hash *h);

static inline struct bytes hash_bytes(const struct hash *h) {
    return bytes_of(h->byte, HASH_BYTES);
}

#endif
