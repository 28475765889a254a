/*
 * libsodium's Ed25519 for the simulated stack: a signature is two hashes of key and message. Nobody here
 * forges one, and thousands of schedules should not wait for curves. The linker takes these in place of
 * the library's; everything of the ledger is as it ships.
 */
#include <sodium.h>
#include <string.h>

#include "base/hash.h"

/* The public key is the second half of the secret one. */
static void make(const unsigned char *message, unsigned long long len, const unsigned char *public,
                 unsigned char *ret_signature) {
    struct bytes parts[] = {bytes_of(public, crypto_sign_PUBLICKEYBYTES),
                            bytes_of(message, (size_t)len)};
    struct hash first = sha256_of_parts(parts, 2), second = sha256_of(hash_bytes(&first));
    memcpy(ret_signature, first.byte, HASH_BYTES);
    memcpy(ret_signature + HASH_BYTES, second.byte, HASH_BYTES);
}

int crypto_sign_detached(unsigned char *sig, unsigned long long *siglen_p, const unsigned char *m,
                         unsigned long long mlen, const unsigned char *sk) {
    make(m, mlen, sk + crypto_sign_SEEDBYTES, sig);
    if (siglen_p != NULL)
        *siglen_p = crypto_sign_BYTES;
    return 0;
}

int crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
                                unsigned long long mlen, const unsigned char *pk) {
    unsigned char expected[crypto_sign_BYTES];
    make(m, mlen, pk, expected);
    return memcmp(expected, sig, sizeof expected) == 0 ? 0 : -1;
}
