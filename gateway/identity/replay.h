/*
 * Remembers what may be used once (nonces, jti values) until it would not be accepted any more.
 * Bounded: a full memory refuses instead of forgetting, since what is forgotten can be replayed.
 * Not locked; the caller has one thread in it at a time.
 */
#ifndef GATEWAY_IDENTITY_REPLAY_H
#define GATEWAY_IDENTITY_REPLAY_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

struct replay;

struct replay *replay_new(size_t entries_max); /* NULL: out of memory */
void replay_free(struct replay *replay);

/* Remembers id until until_ms. ERROR_EXISTS: it is remembered already; ERROR_BUSY: there is no
 * room. */
MUST_CHECK enum error_code replay_use(struct replay *replay, const struct hash *id, uint64_t now_ms,
                                      uint64_t until_ms);

#endif
