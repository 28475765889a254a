/*
 * Work windows: the hours of the day in which a source may be read. "22:00-05:00, 12:00-13:00" in a
 * named time zone; over midnight, and over the days on which the clocks change.
 *
 * Pure: the time is a parameter. Owned by gateway/worker; the zones are ICU's.
 */
#ifndef GATEWAY_WORKER_WINDOW_H
#define GATEWAY_WORKER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { WINDOW_MAX = 16, WINDOW_ZONE_BYTES_MAX = 64 };

struct windows;

/* text: "hh:mm-hh:mm" with commas between, seconds behind where wanted; the end is not in it, 24:00
 * is a day's end. zone: "" or NULL: UTC. ERROR_CONFIG. */
MUST_CHECK enum error_code windows_parse(const char *text, const char *zone,
                                         struct windows **ret_windows, struct error *err);
void windows_free(struct windows *windows); /* NULL is fine */

/* Whether a window is open. ret_until_ms: when that ends, 0: never (windows that are the whole
 * day). Both on the wall clock, in milliseconds. */
bool windows_open_at(struct windows *windows, uint64_t wall_ms, uint64_t *ret_until_ms);

#endif
