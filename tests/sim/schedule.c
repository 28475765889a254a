#include "tests/sim/schedule.h"

#include <stdio.h>

enum {
    PLAN_CRASH = 1,
    PLAN_RESTART,
    PLAN_PARTITION,
    PLAN_JOIN,
    PLAN_COMPACT,
    PLAN_SUSPECT,
    PLAN_DROP,
    PLAN_UNDROP,
    PLAN_LOSE,
    /* After healing, what any schedule may take at most: some leaders' timeouts with backoff. */
    LIVENESS_MS_MAX = 60000,
};

struct picked {
    uint32_t weight, value;
};

static uint32_t pick(struct world *w, const struct picked *table, size_t count) {
    uint32_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += table[i].weight;
    uint32_t at = world_below(w, total);
    for (size_t i = 0; i < count; i++) {
        if (at < table[i].weight)
            return table[i].value;
        at -= table[i].weight;
    }
    return table[0].value;
}
#define PICK(w, ...)                                                                               \
    pick(w, (const struct picked[]){__VA_ARGS__},                                                  \
         sizeof((const struct picked[]){__VA_ARGS__}) / sizeof(struct picked))

static void draw_liars(struct world *dice, struct sim_config *c, bool above_f) {
    uint32_t f = pbft_faults(c->n), count = world_below(dice, f + 1);
    if (f > 0 && world_chance(dice, 300))
        count = f;
    if (above_f)
        count = f + 1;
    while (count > 0) {
        uint32_t who = world_below(dice, c->n);
        if (c->lies[who] != 0 || (c->mute >> who & 1) != 0)
            continue;
        if (!above_f && world_chance(dice, 120)) {
            c->mute |= 1u << who;
            count--;
            continue;
        }
        uint32_t lies = (uint32_t)world_random(dice) & 0x7ff;
        lies &= (uint32_t)world_random(dice) & 0x7ff; /* a quarter of them at a time */
        if (above_f)
            lies |= LIE_EQUIVOCATE | LIE_VOTE_ALL | LIE_FORGE;
        if (world_chance(dice, 100) && !above_f)
            lies = LIE_SILENT;
        c->lies[who] = lies == 0 ? LIE_EQUIVOCATE : lies;
        count--;
    }
}

static void draw_config(struct world *dice, struct sim_config *c, bool above_f) {
    c->n = PICK(dice, {76, 4}, {2, 1}, {3, 2}, {5, 3}, {5, 5}, {3, 6}, {5, 7}, {1, 10});
    if (above_f)
        c->n = 4;
    c->window = PICK(dice, {40, 1}, {20, 2}, {35, 4}, {5, 8});
    c->rotation = PICK(dice, {50, 0}, {10, 1}, {20, 2}, {20, 3});
    c->delay_ms_min = 1;
    c->delay_ms_max = PICK(dice, {40, 8}, {35, 40}, {15, 120}, {10, 1});
    if (world_chance(dice, 20)) { /* slower than the timer at first allows: it must back off */
        c->delay_ms_min = 150;
        c->delay_ms_max = 300;
    }
    c->loss_permille = PICK(dice, {50, 0}, {20, 20}, {20, 100}, {10, 300});
    c->duplicate_permille = PICK(dice, {60, 0}, {40, 60});
    c->slow_permille = PICK(dice, {50, 0}, {30, 30}, {20, 150});
    c->sync_ms_max = PICK(dice, {60, 0}, {20, 5}, {20, 60});
    c->execute_ms_max = PICK(dice, {60, 0}, {20, 10}, {20, 60});
    c->skew_ms_max = PICK(dice, {50, 0}, {50, 5000});
    c->unsynced_may_stay = world_chance(dice, 500);
    c->above_f = above_f;
    c->spare = PICK(dice, {60, 0}, {25, 1}, {15, 3});
    /* Where messages are quick and clocks agree, the drift can be short, and who lost its votes is a
     * validator again within the run. */
    if (c->delay_ms_max <= 8 && c->skew_ms_max == 0 && world_chance(dice, 500))
        c->drift_ms_max = 150;
    draw_liars(dice, c, above_f);
}

static uint32_t some_of(struct world *w, uint32_t first, uint32_t count, uint32_t most) {
    uint32_t mask = 0;
    for (uint32_t i = 1 + world_below(w, most); i > 0 && count > 0; i--)
        mask |= 1u << (first + world_below(w, count));
    return mask;
}

/* Some of the requests change the list of validators. */
static void draw_members(struct world *w, uint32_t requests) {
    if (!world_chance(w, 400))
        return;
    for (uint32_t i = 1 + world_below(w, 3); i > 0; i--) {
        struct sim_change *c = &w->changes_asked[1 + world_below(w, requests)];
        uint32_t kind = world_below(w, 5);
        if (kind <= 1)
            c->add |= some_of(w, w->config.n, w->config.spare, 2);
        if (kind == 1 || kind == 2)
            c->remove |= some_of(w, 0, w->identities, 3);
        if (kind >= 3)
            c->rekey |= some_of(w, 0, w->identities, w->config.n);
    }
}

static void plan_faults(struct world *w, uint32_t fault_ms, bool brief) {
    uint32_t crashes = brief ? PICK(w, {60, 0}, {25, 1}, {15, 2})
                             : PICK(w, {30, 0}, {25, 1}, {20, 2}, {15, 4}, {10, 8});
    for (uint32_t i = 0; i < crashes; i++) {
        uint64_t who = world_below(w, w->instance_count), at_ms = world_below(w, fault_ms);
        world_plan(w, at_ms, PLAN_CRASH << 8 | who);
        world_plan(w, at_ms + 1 + world_below(w, brief ? 150 : 400), PLAN_RESTART << 8 | who);
    }
    if (world_chance(w, 40)) /* all at once, as a power cut does it */
        for (uint64_t who = 0; who < w->instance_count; who++) {
            world_plan(w, fault_ms / 2, PLAN_CRASH << 8 | who);
            world_plan(w, fault_ms / 2 + 1 + world_below(w, 200), PLAN_RESTART << 8 | who);
        }
    uint32_t partitions = PICK(w, {45, 0}, {30, 1}, {15, 2}, {10, 4});
    for (uint32_t i = 0; i < partitions; i++) {
        uint64_t at_ms = world_below(w, fault_ms);
        world_plan(w, at_ms, PLAN_PARTITION << 8);
        if (world_chance(w, 600))
            world_plan(w, at_ms + 20 + world_below(w, 500), PLAN_JOIN << 8);
    }
    if (world_chance(w, 150)) { /* a compacted log, put to use at once */
        uint64_t at_ms = world_below(w, fault_ms);
        for (uint64_t who = 0; who < w->instance_count; who++) {
            uint64_t mine_ms = at_ms + world_below(w, 60);
            world_plan(w, mine_ms, PLAN_COMPACT << 8 | who);
            world_plan(w, mine_ms + 1, PLAN_CRASH << 8 | who);
            world_plan(w, mine_ms + 2 + world_below(w, 100), PLAN_RESTART << 8 | who);
        }
    }
    /* Some kinds of messages lost between some pairs: what leaves few validators prepared. */
    uint32_t drops = PICK(w, {40, 0}, {20, 2}, {20, 5}, {20, 10});
    for (uint32_t i = 0; i < drops; i++)
        world_plan(w, world_below(w, fault_ms), PLAN_DROP << 8);
    for (uint32_t i = 0; i < drops / 3; i++)
        world_plan(w, world_below(w, fault_ms), PLAN_UNDROP << 8);
    for (uint64_t who = 0; who < w->config.n; who++)
        if ((w->config.mute >> who & 1) != 0)
            world_plan(w, world_below(w, fault_ms), PLAN_LOSE << 8 | who);
    uint32_t suspects = PICK(w, {50, 0}, {20, 1}, {15, 3}, {15, 8});
    for (uint32_t i = 0; i < suspects; i++)
        world_plan(w, world_below(w, fault_ms), PLAN_SUSPECT << 8 | world_below(w, w->config.n));
}

static void on_plan(struct world *w, const struct happening *h) {
    uint32_t who = (uint32_t)(h->number & 0xff);
    if (w->healed)
        return;
    switch (h->number >> 8) {
    case PLAN_CRASH:
        world_crash(w, who);
        return;
    case PLAN_RESTART:
        world_restart(w, who, (w->config.lies[w->instances[who].identity] & LIE_AMNESIA) != 0);
        return;
    case PLAN_PARTITION:
        for (uint32_t i = 0; i < w->instance_count; i++)
            w->groups[i] = world_below(w, 2);
        world_trace(w, "the network parts");
        return;
    case PLAN_JOIN:
        memset(w->groups, 0, sizeof w->groups);
        return;
    case PLAN_COMPACT:
        world_compact(w, who);
        return;
    case PLAN_SUSPECT: {
        struct pbft_event event = {.kind = PBFT_EVENT_SUSPECT, .suspect = {PBFT_CAUSE_CENSORSHIP}};
        world_step(w, &w->instances[who], &event);
        return;
    }
    case PLAN_DROP: {
        static const uint32_t types[] = {0, PBFT_PREPARE, PBFT_COMMIT, PBFT_COMMIT, PBFT_NEW_VIEW,
                                         PBFT_PROPOSE};
        struct drop_rule *rule = &w->drops[world_below(w, sizeof w->drops / sizeof w->drops[0])];
        *rule = (struct drop_rule){.set = true, .type = types[world_below(w, 6)]};
        rule->from = world_chance(w, 300) ? UINT32_MAX : world_below(w, w->config.n);
        rule->to = world_chance(w, 300) ? UINT32_MAX : world_below(w, w->config.n);
        return;
    }
    case PLAN_LOSE:
        world_lose(w, who);
        return;
    case PLAN_UNDROP:
        memset(w->drops, 0, sizeof w->drops);
        return;
    default:
        return;
    }
}

void schedule_describe(const struct sim_config *c, char *ret_text, size_t len) {
    int at = snprintf(ret_text, len,
                      "n %u window %u rotation %llu delay %u-%u loss %u duplicate %u slow %u "
                      "sync %u execute %u lies",
                      c->n, c->window, (unsigned long long)c->rotation, c->delay_ms_min,
                      c->delay_ms_max, c->loss_permille, c->duplicate_permille, c->slow_permille,
                      c->sync_ms_max, c->execute_ms_max);
    for (uint32_t i = 0; i < c->n && at > 0 && (size_t)at < len; i++)
        at += snprintf(ret_text + at, len - (size_t)at, " %x", c->lies[i]);
}

void schedule_run(uint64_t seed, const struct schedule_options *options,
                  struct schedule_result *ret_result) {
    struct sim_config config;
    sim_config_defaults(&config);
    config.seed = seed;
    config.trace = options->trace;
    struct world dice = {.random = {seed * UINT64_C(0xd6e8feb86659fd93) + 7, seed ^ 0x5bd1e995}};
    for (int i = 0; i < 8; i++)
        world_random(&dice);
    /* Most schedules are short, so that there are many; some are long enough to pile up faults. */
    bool brief = !options->above_f && world_chance(&dice, 900);
    draw_config(&dice, &config, options->above_f);
    if (brief) {
        config.tick_ms = 70;
        config.status_ms = 600;
        config.timeout_ms = 120;
        config.timeout_ms_max = 1000;
        config.spare = config.spare > 1 ? 1 : config.spare;
    }
    struct world *w = world_new(&config);
    w->on_plan = on_plan;
    w->dump = options->dump;
    w->dump_records = options->dump_records;
    char description[256];
    schedule_describe(&config, description, sizeof description);
    world_trace(w, "seed %llu: %s", (unsigned long long)seed, description);
    uint32_t fault_ms = brief ? 20 + world_below(w, 130) : 150 + world_below(w, 900);
    plan_faults(w, fault_ms, brief);
    world_start(w);
    uint32_t requests = brief ? 1 + world_below(w, 2) : 2 + world_below(w, 5);
    draw_members(w, requests);
    bool burst = world_chance(w, 500); /* fills the window */
    for (uint64_t r = 1; r <= requests; r++)
        world_request(w, r, burst ? 20 : fault_ms);
    world_run(w, fault_ms);
    if (w->broken == BROKEN_NOTHING)
        world_heal(w);
    while (w->broken == BROKEN_NOTHING && !world_done(w) &&
           w->now_ms < fault_ms + LIVENESS_MS_MAX)
        world_run(w, w->now_ms + 10);
    if (w->broken == BROKEN_NOTHING && !options->above_f && !world_done(w))
        world_broken(w, BROKEN_LIVENESS, "%d ms after healing not every request is committed",
                     LIVENESS_MS_MAX);
    *ret_result = (struct schedule_result){
        .broken = w->broken,
        .steps = w->steps,
        .commits = w->commits_seen,
        .view_changes = w->view_changes,
        .messages = w->messages,
        .bytes = w->bytes,
        .fingerprint = w->fingerprint,
        .ended_ms = w->now_ms,
        .n = config.n,
        .epochs = w->last_epoch,
    };
    memcpy(ret_result->text, w->broken_text, sizeof ret_result->text);
    world_free(w);
}
