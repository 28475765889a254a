/*
 * What the REST interface asks, answered by gateway/sync and the ledger's client.
 */
#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include "gateway/rest/rest.h"

struct backend;

/* sync must outlive it. The node need not be up. */
MUST_CHECK enum error_code backend_new(struct sync *sync, const char *node_socket,
                                       const char *genesis, struct backend **ret_backend,
                                       struct error *err);
void backend_free(struct backend *backend); /* NULL is fine */
const struct rest_backend *backend_calls(const struct backend *backend);

#endif
