/*
 * sim_stack: random schedules of the full stack, one after another.
 *
 *   sim_stack [--from SEED] [--schedules N] [--seconds T] [--all]
 *   sim_stack --seed SEED [--trace]
 *   sim_stack --never-asks ...            nobody asks for votes that it forgot: that must be seen
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/sim/stack/disk.h"
#include "tests/sim/stack/stack.h"

enum {
    REPLAY_EVERY = 200,
    PROPOSALS_FROM = 500, /* schedules, in which some proposal must have lacked something */
};

struct options {
    uint64_t from, schedules, seconds;
    bool one, all;
    struct stack_options stack;
};

static bool read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.from = 1, .schedules = UINT64_MAX, .seconds = 60};
    for (int i = 1; i < argc; i++) {
        uint64_t *number = NULL;
        if (strcmp(argv[i], "--trace") == 0)
            o->stack.trace = true;
        else if (strcmp(argv[i], "--never-asks") == 0)
            o->stack.never_asks = true;
        else if (strcmp(argv[i], "--all") == 0)
            o->all = true;
        else if (strcmp(argv[i], "--from") == 0)
            number = &o->from;
        else if (strcmp(argv[i], "--schedules") == 0)
            number = &o->schedules;
        else if (strcmp(argv[i], "--seconds") == 0)
            number = &o->seconds;
        else if (strcmp(argv[i], "--seed") == 0) {
            number = &o->from;
            o->one = true;
        } else
            return false;
        if (number != NULL && (++i >= argc || !text_u64(argv[i], number)))
            return false;
    }
    if (o->one)
        o->schedules = 1;
    return true;
}

static int run_all(const struct options *o) {
    struct stack_result sum = {0};
    struct stack_options stack = o->stack;
    uint64_t count = 0, changed = 0, start_ms = clock_monotonic_ms();
    for (uint64_t seed = o->from; count < o->schedules; seed++) {
        struct stack_result r, again;
        stack.seed = seed;
        stack_run(&stack, &r);
        if (r.broken == NULL && count % REPLAY_EVERY == 0 && !o->one) {
            stack_run(&stack, &again);
            if (again.fingerprint != r.fingerprint || again.events != r.events) {
                printf("BROKEN replay: seed %" PRIu64 " did not give the same run twice\n", seed);
                return 1;
            }
        }
        count++;
        sum.events += r.events;
        sum.blocks += r.blocks;
        sum.crashes += r.crashes;
        sum.resets += r.resets;
        sum.flips += r.flips;
        sum.acknowledged += r.acknowledged;
        sum.forgotten += r.forgotten;
        sum.noticed += r.noticed;
        sum.rebuilt += r.rebuilt;
        sum.missing += r.missing;
        sum.helped += r.helped;
        sum.whole += r.whole;
        changed += r.view_changes > 0;
        if (o->one)
            printf("seed %" PRIu64 ": %s; %" PRIu64 " events, %" PRIu64 " blocks, fingerprint "
                   "%016" PRIx64 "\n",
                   seed, r.broken == NULL ? "fine" : r.text, r.events, r.blocks, r.fingerprint);
        if (r.broken != NULL && stack.never_asks && !o->one) {
            printf("seen in schedule %" PRIu64 ": %s: %s\n", seed, r.broken, r.text);
            return strcmp(r.broken, "asked") == 0 || strcmp(r.broken, "twice") == 0 ? 0 : 1;
        }
        if (r.broken != NULL) {
            printf("BROKEN %s: %s\nreplay: sim_stack --seed %" PRIu64 " --trace\n", r.broken,
                   r.text, seed);
            return 1;
        }
        if ((clock_monotonic_ms() - start_ms) / 1000 >= o->seconds)
            break;
    }
    double seconds = (double)(clock_monotonic_ms() - start_ms + 1) / 1000, n = (double)count;
    printf("%" PRIu64 " schedules of the full stack (seeds %" PRIu64 " to %" PRIu64 ") in %.1f s "
           "(%.0f/s), %.0f events each, %.0f %% with a view change, %" PRIu64 " blocks, %" PRIu64
           " transactions, %" PRIu64 " crashes, %" PRIu64 " writes taken back, %" PRIu64
           " broken connections, %" PRIu64 " flipped bits, %" PRIu64 " times votes forgotten, %" PRIu64
           " noticed; proposals: %" PRIu64 " made whole, %" PRIu64
           " lacked some, whole blocks fetched %" PRIu64 " times\n",
           count, o->from, o->from + count - 1, seconds, n / seconds, (double)sum.events / n,
           100.0 * (double)changed / n, sum.blocks, sum.acknowledged, sum.crashes,
           disk_taken_back(), sum.resets, sum.flips, sum.forgotten, sum.noticed, sum.rebuilt,
           sum.missing, sum.whole);
    if (count >= PROPOSALS_FROM && sum.helped == 0) {
        printf("BROKEN proposals: in %" PRIu64 " schedules nothing that was missing was fetched\n",
               count);
        return 1;
    }
    if (stack.never_asks) {
        printf("nobody asked, and it was not seen\n");
        return 1;
    }
    if (o->all && count < o->schedules) {
        printf("%" PRIu64 " s did not suffice for %" PRIu64 " schedules\n", o->seconds,
               o->schedules);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct options o;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: sim_stack [--from SEED] [--schedules N] [--seconds T] [--all] "
                        "[--never-asks]\n"
                        "       sim_stack --seed SEED [--trace] [--never-asks]\n");
        return 2;
    }
    char root[] = "/dev/shm/sim-stack-XXXXXX";
    if (mkdtemp(root) == NULL) {
        perror(root);
        return 2;
    }
    o.stack.root = root;
    int status = run_all(&o);
    (void)rmdir(root);
    return status;
}
