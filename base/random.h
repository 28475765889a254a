/*
 * Random bytes from the kernel. The only source of randomness outside tests; a protocol that must
 * be replayed takes its randomness as a parameter instead.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>

/* Cannot fail: a machine without getrandom(2) is ended with a message. */
void random_bytes(void *ret_data, size_t len);

enum { RANDOM_UUID_BYTES = 37 };
/* A version 4 UUID in lower case with its NUL. */
void random_uuid(char ret_text[RANDOM_UUID_BYTES]);

#endif
