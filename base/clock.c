#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void clock_sleep_ms(uint32_t ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

void clock_rfc3339(uint64_t wall_ms, char ret_text[CLOCK_RFC3339_BYTES]) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    if (gmtime_r(&seconds, &utc) == NULL || utc.tm_year > 8099) {
        memcpy(ret_text, "9999-12-31T23:59:59.999Z", 25);
        return;
    }
    size_t used = strftime(ret_text, CLOCK_RFC3339_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(ret_text + used, CLOCK_RFC3339_BYTES - used, ".%03uZ", (unsigned)(wall_ms % 1000));
}

int clock_zone_minutes(uint64_t wall_ms) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm there;
    return localtime_r(&seconds, &there) == NULL ? 0 : (int)(there.tm_gmtoff / 60);
}
