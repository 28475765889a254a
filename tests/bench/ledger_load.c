/*
 * Load for a chain: signs transactions ahead, submits them to one node a thread through the
 * clients' door, and prints what it measured as one JSON object.
 *
 *   ledger_load GENESIS note BYTES COUNT IN_FLIGHT PER_SECOND SOCKET=KEY...
 *   ledger_load GENESIS anchor LEAVES COUNT IN_FLIGHT PER_SECOND SOCKET=KEY...
 *
 * COUNT transactions a thread, IN_FLIGHT of them at a time; with 1 the latency of each is measured.
 * PER_SECOND by all threads together, 0 for as many as go: each submission then has its moment, and
 * latency counts from that moment, so that a stalled chain is not measured less often.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/text.h"
#include "ledger/ledger.h"

enum { THREADS_MAX = 128, DEADLINE_MS = 120000 };

struct load {
    pthread_t thread;
    const char *genesis;
    char *socket;
    const char *key;
    bool anchors;
    uint32_t size;
    uint32_t count;
    uint32_t in_flight;
    uint64_t begin_ns;    /* of the first submission */
    uint64_t interval_ns; /* between submissions; 0: none */
    struct ledger *ledger;
    struct buffer *made;
    struct bytes *transactions;
    uint64_t *latency_ns;
    uint64_t failed;
};

static void give_up(const struct error *err) {
    (void)fprintf(stderr, "ledger_load: %s\n", err->message);
    exit(EXIT_FAILURE);
}

static void make_leaves(struct leaf *leaves, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        leaves[i] = (struct leaf){
            .operation = LEAF_CREATE, .origin = LEAF_DECLARED, .version = 1};
        random_bytes(leaves[i].locator.byte, LOCATOR_BYTES);
        random_bytes(leaves[i].content.byte, HASH_BYTES);
        random_bytes(leaves[i].raw.byte, HASH_BYTES);
        leaves[i].mapping.byte[0] = 1;
    }
}

static void make(struct load *load) {
    struct error err;
    struct ledger_signer *signer = NULL;
    uint8_t public[32];
    uint64_t next = 0;
    if (ledger_open(load->socket, load->genesis, &load->ledger, &err) != ERROR_NONE ||
        ledger_signer_load(load->key, &signer, &err) != ERROR_NONE)
        give_up(&err);
    ledger_signer_public(signer, public);
    if (ledger_next_sequence(load->ledger, public, &next, &err) != ERROR_NONE)
        give_up(&err);
    struct hash chain = ledger_chain(load->ledger);
    struct leaf *leaves = calloc(load->size + 1, sizeof *leaves);
    uint8_t *note = calloc(load->size + 1, 1);
    for (uint32_t i = 0; i < load->count; i++) {
        buffer_init(&load->made[i], LEDGER_TRANSACTION_BYTES_MAX);
        enum error_code code;
        if (load->anchors) {
            make_leaves(leaves, load->size);
            struct ledger_anchor anchor = {
                .batch = i + 1, .leaves = leaves, .leaf_count = load->size};
            code = ledger_build_anchor(signer, &chain, next + i, clock_wall_ms(), &anchor,
                                       &load->made[i], &err);
        } else {
            random_bytes(note, load->size);
            code = ledger_build_note(signer, &chain, next + i, clock_wall_ms(),
                                     bytes_of(note, load->size), &load->made[i], &err);
        }
        if (code != ERROR_NONE)
            give_up(&err);
        load->transactions[i] = buffer_bytes(&load->made[i]);
    }
    free(leaves);
    free(note);
    ledger_signer_free(signer);
}

static void *run(void *argument) {
    struct load *load = argument;
    struct error err;
    struct ledger_receipt *receipts = calloc(load->in_flight, sizeof *receipts);
    for (uint32_t at = 0; at < load->count; at += load->in_flight) {
        uint32_t count =
            load->count - at < load->in_flight ? load->count - at : load->in_flight;
        uint64_t begin = clock_monotonic_ns();
        if (load->interval_ns > 0) {
            uint64_t due = load->begin_ns + at / load->in_flight * load->interval_ns;
            if (due > begin + 1000000)
                clock_sleep_ms((uint32_t)((due - begin) / 1000000));
            begin = due;
        }
        if (ledger_submit_all(load->ledger, load->transactions + at, count, DEADLINE_MS, receipts,
                              &err) != ERROR_NONE)
            give_up(&err);
        load->latency_ns[at] = clock_monotonic_ns() - begin;
        for (uint32_t i = 0; i < count; i++)
            load->failed += receipts[i].result != LEDGER_COMMITTED ? 1 : 0;
    }
    free(receipts);
    return NULL;
}

static int order(const void *a, const void *b) {
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void report(struct load *loads, int threads, uint64_t ns) {
    uint64_t failed = 0;
    size_t count = 0;
    uint64_t *all = calloc((size_t)threads * loads[0].count + 1, sizeof *all);
    for (int i = 0; i < threads; i++) {
        failed += loads[i].failed;
        for (uint32_t j = 0; j < loads[i].count; j += loads[i].in_flight)
            all[count++] = loads[i].latency_ns[j];
    }
    qsort(all, count, sizeof *all, order);
    double transactions = (double)threads * loads[0].count;
    (void)printf("{\"seconds\": %.3f, \"transactions\": %.0f, \"transactions_per_s\": %.1f, "
                 "\"leaves_per_s\": %.1f, \"failed\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
                 "\"max_ms\": %.3f}\n",
                 (double)ns / 1e9, transactions, transactions * 1e9 / (double)ns,
                 loads[0].anchors ? transactions * loads[0].size * 1e9 / (double)ns : 0.0,
                 (unsigned long long)failed, (double)all[count / 2] / 1e6,
                 (double)all[count * 99 / 100] / 1e6, (double)all[count - 1] / 1e6);
    free(all);
}

static uint32_t number(const char *text) {
    uint64_t value = 0;
    if (!text_u64(text, &value) || value > 10000000)
        exit(EXIT_FAILURE);
    return (uint32_t)value;
}

int main(int argc, char **argv) {
    static struct load loads[THREADS_MAX];
    int threads = argc - 7;
    if (threads < 1 || threads > THREADS_MAX) {
        (void)fprintf(stderr, "usage: ledger_load GENESIS note|anchor SIZE COUNT IN_FLIGHT "
                              "PER_SECOND SOCKET=KEY...\n");
        return EXIT_FAILURE;
    }
    for (int i = 0; i < threads; i++) {
        struct load *load = &loads[i];
        char *equal = strchr(argv[7 + i], '=');
        if (equal == NULL)
            return EXIT_FAILURE;
        *equal = '\0';
        *load = (struct load){.genesis = argv[1],
                              .socket = argv[7 + i],
                              .key = equal + 1,
                              .anchors = strcmp(argv[2], "anchor") == 0,
                              .size = number(argv[3]),
                              .count = number(argv[4]),
                              .in_flight = number(argv[5])};
        uint64_t per_second = number(argv[6]);
        if (load->size == 0 || load->count == 0 || load->in_flight == 0)
            return EXIT_FAILURE;
        if (per_second > 0)
            load->interval_ns = UINT64_C(1000000000) * (uint64_t)threads * load->in_flight /
                                per_second;
        load->made = calloc(load->count, sizeof *load->made);
        load->transactions = calloc(load->count, sizeof *load->transactions);
        load->latency_ns = calloc(load->count, sizeof *load->latency_ns);
        if (load->made == NULL || load->transactions == NULL || load->latency_ns == NULL)
            return EXIT_FAILURE;
        make(load);
    }
    uint64_t begin = clock_monotonic_ns();
    for (int i = 0; i < threads; i++) {
        /* Each has its place in the interval: no bursts. */
        loads[i].begin_ns = begin + loads[i].interval_ns * (uint64_t)i / (uint64_t)threads;
        if (pthread_create(&loads[i].thread, NULL, run, &loads[i]) != 0)
            return EXIT_FAILURE;
    }
    for (int i = 0; i < threads; i++)
        (void)pthread_join(loads[i].thread, NULL);
    report(loads, threads, clock_monotonic_ns() - begin);
    for (int i = 0; i < threads; i++) {
        for (uint32_t j = 0; j < loads[i].count; j++)
            buffer_done(&loads[i].made[j]);
        free(loads[i].made);
        free(loads[i].transactions);
        free(loads[i].latency_ns);
        ledger_close(loads[i].ledger);
    }
    return EXIT_SUCCESS;
}
