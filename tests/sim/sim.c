/*
 * sim: random schedules of the protocol core, one after another.
 *
 *   sim [--from SEED] [--schedules N] [--seconds T]   many; ends at the first that is broken
 *   sim ... --all                                     ... and time that does not suffice for N fails
 *   sim --seed SEED [--trace] [--dump FILE]           one again, bit for bit; what validator 1
 *                                                     hears and persists becomes seeds for
 *                                                     tests/fuzz, FILE and FILE.records
 *   sim --above-f ...                                 f + 1 liars: the checkers must see a fork
 *   sim --cost                                        what a block costs at n = 4, 7, 16, 31
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/sim/schedule.h"

enum { REPLAY_EVERY = 500 };

struct options {
    uint64_t from, schedules, seconds;
    bool one, cost, all;
    struct schedule_options schedule;
};

static bool open_dumps(const char *path, struct schedule_options *o) {
    char records[4096];
    snprintf(records, sizeof records, "%s.records", path);
    o->dump = fopen(path, "wb");
    o->dump_records = fopen(records, "wb");
    if (o->dump == NULL || o->dump_records == NULL)
        return false;
    fputc('m', o->dump);
    fputc('r', o->dump_records);
    return true;
}

static bool read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.from = 1, .schedules = UINT64_MAX, .seconds = 60};
    for (int i = 1; i < argc; i++) {
        uint64_t *number = NULL;
        if (strcmp(argv[i], "--trace") == 0)
            o->schedule.trace = true;
        else if (strcmp(argv[i], "--above-f") == 0)
            o->schedule.above_f = true;
        else if (strcmp(argv[i], "--all") == 0)
            o->all = true;
        else if (strcmp(argv[i], "--cost") == 0)
            o->cost = true;
        else if (strcmp(argv[i], "--dump") == 0 && i + 1 < argc) {
            if (!open_dumps(argv[++i], &o->schedule))
                return false;
        } else if (strcmp(argv[i], "--from") == 0)
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

/* The normal case, one block at a time, no faults: what agreement itself costs. */
static int print_cost(void) {
    enum { BLOCKS = 100 };
    static const uint32_t sizes[] = {4, 7, 16, 31};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sim_config config;
        sim_config_defaults(&config);
        config.n = sizes[i];
        config.status_ms = 3600 * 1000;
        struct world *w = world_new(&config);
        world_start(w);
        uint64_t made = 0, checked = 0;
        for (uint64_t r = 1; r <= BLOCKS; r++)
            world_request(w, r, 0);
        world_run(w, 20000);
        bool done = w->broken == BROKEN_NOTHING && world_done(w);
        for (uint32_t k = 0; k < w->instance_count; k++) {
            struct pbft_status status;
            pbft_status(w->instances[k].core, &status);
            made += status.signatures_made;
            checked += status.signatures_checked;
        }
        const struct {
            const char *name;
            uint64_t value;
        } rows[] = {{"messages", w->messages},
                    {"bytes", w->bytes},
                    {"signatures-made", made},
                    {"signatures-checked", checked}};
        for (size_t k = 0; done && k < sizeof rows / sizeof rows[0]; k++)
            printf("{\"bench\": \"pbft-cost\", \"case\": \"n=%u %s\", \"value\": %.1f, "
                   "\"unit\": \"per block\"}\n",
                   sizes[i], rows[k].name, (double)rows[k].value / BLOCKS);
        world_free(w);
        if (!done)
            return 1;
    }
    return 0;
}

struct totals {
    uint64_t schedules, steps, commits, changed, messages, membership;
    uint64_t broken[BROKEN_COUNT];
    uint64_t first_fork;
};

/* A seed is worth something only if it gives the same run again, bit for bit. */
static bool replays(uint64_t seed, const struct schedule_options *options,
                    const struct schedule_result *first) {
    struct schedule_result again;
    schedule_run(seed, options, &again);
    return again.fingerprint == first->fingerprint && again.steps == first->steps &&
           again.ended_ms == first->ended_ms && again.broken == first->broken;
}

static bool is_fork(enum broken broken) {
    return broken == BROKEN_FORK || broken == BROKEN_CERTIFICATE_FORK ||
           broken == BROKEN_CERTIFICATE_CHAIN || broken == BROKEN_TWICE;
}

static void print_totals(const struct totals *t, uint64_t from, double seconds) {
    double count = (double)t->schedules;
    printf("%" PRIu64 " schedules (seeds %" PRIu64 " to %" PRIu64 ") in %.1f s (%.0f/s), %.0f events "
           "each, %.0f %% with a view change, %.0f %% with a change of members, %" PRIu64
           " commits\n",
           t->schedules, from, from + t->schedules - 1, seconds, count / seconds,
           (double)t->steps / count, 100.0 * (double)t->changed / count,
           100.0 * (double)t->membership / count, t->commits);
}

int main(int argc, char **argv) {
    struct options o;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: sim --cost\n"
                        "       sim [--from SEED] [--schedules N] [--seconds T] [--all] "
                        "[--above-f]\n"
                        "       sim --seed SEED [--trace] [--dump FILE] [--above-f]\n");
        return 2;
    }
    if (o.cost)
        return print_cost();
    struct totals t = {0};
    uint64_t start_ms = clock_monotonic_ms();
    for (uint64_t seed = o.from; t.schedules < o.schedules; seed++) {
        struct schedule_result r;
        schedule_run(seed, &o.schedule, &r);
        if (t.schedules % REPLAY_EVERY == 0 && !o.one && !replays(seed, &o.schedule, &r)) {
            printf("BROKEN replay: seed %" PRIu64 " did not give the same run twice\n", seed);
            return 1;
        }
        t.schedules++;
        t.steps += r.steps;
        t.commits += r.commits;
        t.messages += r.messages;
        t.changed += r.view_changes > 0;
        t.membership += r.epochs > 0;
        t.broken[r.broken]++;
        if (o.one)
            printf("seed %" PRIu64 ": %s; %" PRIu64 " events, %" PRIu64 " commits, %" PRIu64
                   " view changes, ended at %" PRIu64 " ms, fingerprint %016" PRIx64 "\n",
                   seed, r.broken == BROKEN_NOTHING ? "fine" : r.text, r.steps, r.commits,
                   r.view_changes, r.ended_ms, r.fingerprint);
        if (r.broken != BROKEN_NOTHING && !o.schedule.above_f) {
            printf("BROKEN %s: %s\nreplay: sim --seed %" PRIu64 " --trace\n", broken_name(r.broken),
                   r.text, seed);
            print_totals(&t, o.from, (double)(clock_monotonic_ms() - start_ms + 1) / 1000);
            return 1;
        }
        if (is_fork(r.broken) && t.first_fork == 0)
            t.first_fork = seed;
        if ((clock_monotonic_ms() - start_ms) / 1000 >= o.seconds)
            break;
    }
    print_totals(&t, o.from, (double)(clock_monotonic_ms() - start_ms + 1) / 1000);
    if (o.all && t.schedules < o.schedules) {
        printf("%" PRIu64 " s did not suffice for %" PRIu64 " schedules\n", o.seconds, o.schedules);
        return 1;
    }
    if (o.schedule.dump != NULL &&
        (fclose(o.schedule.dump) != 0 || fclose(o.schedule.dump_records) != 0))
        return 1;
    if (!o.schedule.above_f)
        return 0;
    for (int i = 1; i < BROKEN_COUNT; i++)
        if (t.broken[i] > 0)
            printf("above f: %s in %" PRIu64 " schedules\n", broken_name((enum broken)i),
                   t.broken[i]);
    if (t.first_fork == 0)
        printf("the safety checkers never fired\n");
    return t.first_fork != 0 ? 0 : 1;
}
