/*
 * Walks over JSON without reading its values: gives each member or item as the bytes that stand
 * there, so that they can be handed on unchanged. Fuzzed: tests/fuzz/scan.
 *
 * The input must be one JSON value. Nesting deeper than SCAN_DEPTH_MAX is refused.
 */
#ifndef GATEWAY_REST_SCAN_H
#define GATEWAY_REST_SCAN_H

#include "base/bytes.h"

enum { SCAN_DEPTH_MAX = 32 };

struct scan {
    const uint8_t *at;
    const uint8_t *end;
    bool object;
    bool failed;
    bool first;
};

/* True where the bytes are one whole JSON value in valid UTF-8, strings and numbers by RFC 8259. */
MUST_CHECK bool scan_valid(struct bytes json);

/* Starts at an object or a list; anything else gives no members. */
struct scan scan_open(struct bytes json);
/* The next member. name: the raw string with its quotes (empty in a list). False at the end, or
 * where the input is no JSON: then scan.failed is set. */
bool scan_next(struct scan *scan, struct bytes *ret_name, struct bytes *ret_value);

/* A member's value by its name (ASCII without escapes); len 0: there is none. */
struct bytes scan_find(struct bytes object, const char *name);

/* Appends the text of a raw JSON string. False: it is no string, or not UTF-8. */
MUST_CHECK bool scan_text(struct bytes raw, struct buffer *out);
/* True where the raw value is this string, without escapes. */
bool scan_is(struct bytes raw, const char *text);

#endif
