/*
 * Small texts: hexadecimal, base64url, UTF-8 checks, numbers from text.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Writes 2 * len lower-case digits and a NUL. */
void text_hex(const uint8_t *data, size_t len, char *ret_text);
/* Exactly 2 * len digits of either case; anything else is false and ret_data is untouched. */
MUST_CHECK bool text_unhex(const char *text, size_t len, uint8_t *ret_data);

/* base64url without padding (RFC 4648 section 5). Appends to out. */
void text_base64url(struct bytes data, struct buffer *out);
/* Strict: no padding, no white space, no non-zero spare bits. Appends to out. */
MUST_CHECK bool text_unbase64url(struct bytes text, struct buffer *out);

/* base64 with padding (RFC 4648 section 4). Appends to out. */
void text_base64(struct bytes data, struct buffer *out);

/* True where the bytes are UTF-8 without overlong forms and surrogates. */
bool text_utf8_valid(struct bytes text);
/* The largest length <= len that does not cut a character in two. */
size_t text_utf8_whole(const char *text, size_t len);

/* Decimal digits only, no sign, no blank; false where it is anything else or does not fit. */
MUST_CHECK bool text_u64(const char *text, uint64_t *ret_value);

/* The number of edits (insert, delete, replace) between two texts, at most `most` + 1. For "did
 * you mean": finds the nearest of many names. */
unsigned text_distance(const char *a, const char *b, unsigned most);

#endif
