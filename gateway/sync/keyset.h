/*
 * The set of keys that a pass met, as one root.
 */
#ifndef GATEWAY_SYNC_KEYSET_H
#define GATEWAY_SYNC_KEYSET_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

struct sync__keyset;

/* folder: where a large set is sorted, in a file that no name leads to. */
MUST_CHECK enum error_code sync__keyset_new(const char *folder, const uint8_t secret[32],
                                            struct sync__keyset **ret_keyset, struct error *err);
void sync__keyset_free(struct sync__keyset *keyset); /* NULL is fine */
MUST_CHECK enum error_code sync__keyset_add(struct sync__keyset *keyset,
                                            const struct bytes *keys, size_t count,
                                            struct error *err);
/* Ends the set: nothing can be added any more. */
MUST_CHECK enum error_code sync__keyset_root(struct sync__keyset *keyset, struct hash *ret_root,
                                             uint64_t *ret_count, struct error *err);

#endif
