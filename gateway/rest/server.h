/*
 * The listeners: libmicrohttpd with GnuTLS, one thread a connection, every connection under a
 * deadline. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_SERVER_H
#define GATEWAY_REST_SERVER_H

#include "gateway/rest/state.h"

/* Binds the listeners of the options and fills rest->url and rest->machine_url, but serves only
 * after server_start: what clients sign names the address that is known only now. */
MUST_CHECK enum error_code server_bind(struct rest *rest, const struct rest_options *options,
                                       struct server **ret_server, struct error *err);
MUST_CHECK enum error_code server_start(struct server *server, struct error *err);
/* Takes no more connections, lets running requests end. NULL is fine. */
void server_stop(struct server *server);

#endif
