/*
 * TLS 1.3 on a descriptor, by OpenSSL: mutual, no tickets, no resumption, and instead of a chain of
 * certificates one question about the key: whose pin is this?
 */
#ifndef LEDGER_NET_TLS_H
#define LEDGER_NET_TLS_H

#include <openssl/ssl.h>

#include "base/bytes.h"
#include "base/hash.h"

struct net_tls;

/* Asked in the handshake, once the other side has shown its certificate; false ends the handshake.
 * connection is what net_tls_session was given. */
typedef bool (*net_pin_fn)(void *connection, const struct hash *pin);

MUST_CHECK enum error_code net_tls_new(const char *certificate_path, const char *key_path,
                                       net_pin_fn accept, struct net_tls **ret_tls,
                                       struct error *err);
void net_tls_free(struct net_tls *tls);
/* Sessions of tls from now on are made with what fresh holds, which is freed. */
void net_tls_replace(struct net_tls *tls, struct net_tls *fresh);

/* The descriptor stays the caller's. */
MUST_CHECK enum error_code net_tls_session(struct net_tls *tls, int fd, bool dials,
                                           void *connection, SSL **ret_ssl, struct error *err);

enum net_tls_result {
    NET_TLS_DONE = 0,
    NET_TLS_WANT_READ,
    NET_TLS_WANT_WRITE,
    NET_TLS_CLOSED, /* the other side said goodbye */
    NET_TLS_FAILED, /* err is set; the session is of no use */
};

enum net_tls_result net_tls_handshake(SSL *ssl, struct error *err);
/* *ret_bytes is set for NET_TLS_DONE only, and never 0 then. */
enum net_tls_result net_tls_read(SSL *ssl, void *ret_data, size_t room, size_t *ret_bytes,
                                 struct error *err);
enum net_tls_result net_tls_write(SSL *ssl, const void *data, size_t len, size_t *ret_bytes,
                                  struct error *err);
/* A goodbye, if it can be written at once. Only for a session without a failure. */
void net_tls_goodbye(SSL *ssl);

#endif
