/*
 * Writes JSON into a buffer, value by value, and keeps what must not be touched as it is: a
 * record's canonical bytes are spliced in raw, because reading and writing a number again could
 * change its digits.
 *
 * The buffer's failure sticks; ask buffer_check once at the end.
 */
#ifndef GATEWAY_REST_EMIT_H
#define GATEWAY_REST_EMIT_H

#include "base/bytes.h"
#include "base/hash.h"

/* name NULL: an item of a list, or the outermost value. */
void emit_object(struct buffer *out, const char *name); /* { */
void emit_object_end(struct buffer *out);
void emit_list(struct buffer *out, const char *name); /* [ */
void emit_list_end(struct buffer *out);
void emit_text(struct buffer *out, const char *name, const char *text);
void emit_u64(struct buffer *out, const char *name, uint64_t value);
void emit_bool(struct buffer *out, const char *name, bool value);
/* RFC 3339 */
void emit_time(struct buffer *out, const char *name, uint64_t wall_ms);
void emit_hex(struct buffer *out, const char *name, struct bytes data);
void emit_hash(struct buffer *out, const char *name, const struct hash *hash);
/* A whole JSON value as it is. */
void emit_raw(struct buffer *out, const char *name, struct bytes json);

/* A JSON string by the rules of RFC 8785, with its quotes. text is UTF-8. */
void emit_string(struct buffer *out, struct bytes text);

#endif
