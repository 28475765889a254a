/*
 * Ed25519 verifications a second, all processors busy: the bound of a chain whose validators share
 * this machine.
 *
 *   verify_rate THREADS SECONDS
 *
 * Prints {"threads": N, "per_core_per_s": N}.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/text.h"
#include "ledger/signer.h"

enum { THREADS_MAX = 64, SIGNATURES = 1024 };

struct work {
    pthread_t thread;
    uint64_t ns;
    uint64_t checked;
};

static uint8_t key[SIGNER_KEY_BYTES];
static struct hash digests[SIGNATURES];
static uint8_t signatures[SIGNATURES][SIGNER_SIGNATURE_BYTES];

static void *run(void *argument) {
    struct work *work = argument;
    uint64_t begin = clock_monotonic_ns();
    uint64_t bad = 0;
    while (clock_monotonic_ns() - begin < work->ns)
        for (int i = 0; i < SIGNATURES; i++, work->checked++)
            bad += signature_valid(key, &digests[i], signatures[i]) ? 0 : 1;
    work->ns = clock_monotonic_ns() - begin;
    if (bad > 0)
        abort();
    return NULL;
}

int main(int argc, char **argv) {
    static struct work works[THREADS_MAX];
    uint64_t threads = 0;
    uint64_t seconds = 0;
    uint8_t seed[32] = {1};
    struct ledger_signer *signer = NULL;
    if (argc != 3 || !text_u64(argv[1], &threads) || !text_u64(argv[2], &seconds) ||
        threads == 0 || threads > THREADS_MAX || seconds == 0 ||
        ledger_signer_seeded(seed, &signer, NULL) != ERROR_NONE)
        return EXIT_FAILURE;
    ledger_signer_public(signer, key);
    for (int i = 0; i < SIGNATURES; i++) {
        random_bytes(digests[i].byte, HASH_BYTES);
        ledger_signer_sign(signer, &digests[i], signatures[i]);
    }
    ledger_signer_free(signer);
    double rate = 0;
    for (uint64_t i = 0; i < threads; i++) {
        works[i].ns = seconds * 1000000000;
        if (pthread_create(&works[i].thread, NULL, run, &works[i]) != 0)
            return EXIT_FAILURE;
    }
    for (uint64_t i = 0; i < threads; i++) {
        (void)pthread_join(works[i].thread, NULL);
        rate += (double)works[i].checked * 1e9 / (double)works[i].ns;
    }
    (void)printf("{\"threads\": %llu, \"per_core_per_s\": %.0f}\n", (unsigned long long)threads,
                 rate / (double)threads);
    return EXIT_SUCCESS;
}
