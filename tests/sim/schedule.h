/* One random schedule: everything that happens in it follows from its seed. */
#ifndef TESTS_SIM_SCHEDULE_H
#define TESTS_SIM_SCHEDULE_H

#include "tests/sim/world.h"

struct schedule_options {
    bool above_f; /* f + 1 liars: safety is not promised, and the checkers must see it broken */
    bool trace;
    FILE *dump, *dump_records; /* see struct world */
};

struct schedule_result {
    enum broken broken;
    char text[256];
    uint64_t steps, commits, view_changes, messages, bytes, fingerprint, ended_ms, epochs;
    uint32_t n;
};

void schedule_run(uint64_t seed, const struct schedule_options *options,
                  struct schedule_result *ret_result);
/* "n 4 window 2 ...": for the reader of a failure. */
void schedule_describe(const struct sim_config *config, char *ret_text, size_t len);

#endif
