/*
 * The local socket: clients of this node on the same machine (gateway, command line).
 *
 * Owns: the Unix socket, its connections, their frames and write queues. Refuses: to know what a
 * request means. Whoever may open the socket may ask and submit; its file's mode is the lock.
 */
#ifndef LEDGER_LOCAL_H
#define LEDGER_LOCAL_H

#include <uv.h>

#include "ledger/lane.h"

enum {
    LOCAL_CLIENTS_MAX = 64,
    LOCAL_QUEUE_BYTES_MAX = 64 << 20, /* unsent answers of one client; beyond, it is hung up on */
    LOCAL_SOCKET_MODE = 0660,
};

struct local;

/* client numbers are never used again. body is borrowed for the call. */
typedef void (*local_request_fn)(void *context, uint64_t client, unsigned kind, uint32_t request,
                                 struct bytes body);

/* A socket file that is there already is replaced: the caller holds the node's lock. */
MUST_CHECK enum error_code local_new(uv_loop_t *loop, const char *path,
                                     local_request_fn on_request, void *context,
                                     struct local **ret_local, struct error *err);
/* Queues an answer; local_flush sends it. Nothing happens where the client is gone. */
void local_answer(struct local *local, uint64_t client, unsigned kind, uint32_t request,
                  struct bytes body);
void local_refuse(struct local *local, uint64_t client, uint32_t request,
                  const struct error *reason);
void local_flush(struct local *local);
size_t local_clients(const struct local *local);
bool local_is_there(const struct local *local, uint64_t client);
/* Hangs up; freed when the loop has run its closing callbacks. NULL is fine. */
void local_close(struct local *local);

#endif
