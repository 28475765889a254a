/*
 * The only place that asks the machine what time it is, and the only place that sleeps. Everything
 * else takes the time as a parameter, so that it can be replayed.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#include "base/bytes.h"

/* Milliseconds since 1970-01-01 UTC, without leap seconds. Can jump. */
uint64_t clock_wall_ms(void);
/* Nanoseconds since some moment of this boot. Never goes back. */
uint64_t clock_monotonic_ns(void);
static inline uint64_t clock_monotonic_ms(void) {
    return clock_monotonic_ns() / 1000000;
}
/* For backoff in programs; libraries wait on descriptors instead. */
void clock_sleep_ms(uint32_t ms);

/* How far east of Greenwich this machine's own time zone is at that time, in minutes. */
int clock_zone_minutes(uint64_t wall_ms);

enum { CLOCK_RFC3339_BYTES = 32 };
/* "2026-11-21T09:30:00.123Z" */
void clock_rfc3339(uint64_t wall_ms, char ret_text[CLOCK_RFC3339_BYTES]);

#endif
