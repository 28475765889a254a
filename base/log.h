/*
 * Structured logs on standard error, one JSON object a line: time, level, program, event, then the
 * event's own fields. For daemons only: a library returns errors and never logs. A field never
 * holds a record's value, a credential or a query's parameter.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* program: static or kept by the caller. */
void log_start(const char *program, enum log_level least);

/* Pairs of (name, value) texts, ended by NULL: log_event(LOG_LEVEL_INFO, "started", "port", "8443",
 * NULL). An object that does not fit the line's maximum is cut field by field, never in a field. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));
/* An error with its name, message and hint. */
void log_error(enum log_level level, const char *event, const struct error *err);

/* Of what others can cause as often as they like, only the first of each power of two is logged. count:
 * of those so far, this one included. */
bool log_is_due(uint64_t count);

/* For numbers as values: borrows one of 8 static slots of the calling thread. */
const char *log_u64(uint64_t value);

#endif
