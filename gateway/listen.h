/*
 * From the settings to the REST interface's options, and from its events to the log: what
 * renkei-gateway and the tests' canned gateway share.
 */
#ifndef GATEWAY_LISTEN_H
#define GATEWAY_LISTEN_H

#include "gateway/rest/rest.h"
#include "gateway/settings.h"

/* Opens the listeners of the settings and logs "listening" with their addresses. */
MUST_CHECK enum error_code listen_open(const struct settings *settings,
                                       const struct rest_backend *backend, struct rest **ret_rest,
                                       struct error *err);

/* Blocks SIGTERM, SIGINT and SIGHUP for this thread and those it will start, and ignores SIGPIPE.
 * Before the first thread. */
void listen_block_signals(void);
/* Waits for SIGTERM or SIGINT. Logs certificate-ends 30, 7 and 1 days before the end of a listener's
 * certificate, and certificate-ended. */
void listen_wait(const struct rest *rest);

#endif
