#include "ledger/net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/certificate.h"

enum {
    PEER_CERTIFICATES_BYTES_MAX = 16 << 10, /* one self-signed certificate and room to spare */
    READ_AHEAD_BYTES = 64 << 10,            /* several records by one call of the kernel */
};

struct net_tls {
    SSL_CTX *context;
    BIO_METHOD *socket;
    net_pin_fn accept;
};

/* OpenSSL's own socket BIO writes with write(2), and so a peer that hangs up could end the process
 * by SIGPIPE. This one sends with MSG_NOSIGNAL. */
static int socket_fd(BIO *bio) {
    return (int)(intptr_t)BIO_get_data(bio);
}

static bool try_again(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int socket_write(BIO *bio, const char *data, int len) {
    BIO_clear_retry_flags(bio);
    ssize_t n = send(socket_fd(bio), data, (size_t)len, MSG_NOSIGNAL);
    if (n < 0 && try_again())
        BIO_set_retry_write(bio);
    return (int)n;
}

static int socket_read(BIO *bio, char *data, int len) {
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(socket_fd(bio), data, (size_t)len, 0);
    if (n < 0 && try_again())
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static long socket_control(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return 0;
}

static BIO_METHOD *socket_method(void) {
    /* Without an index of its own: those are few in a process, and nobody looks for this one. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "mesh socket");
    if (method == NULL)
        return NULL;
    if (BIO_meth_set_write(method, socket_write) && BIO_meth_set_read(method, socket_read) &&
        BIO_meth_set_ctrl(method, socket_control))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* What OpenSSL says is wrong; its queue is empty afterwards. Static text. */
static const char *openssl_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason == NULL ? "no reason given" : reason;
}

/* Replaces the whole judging of certificates: only the key counts, and possession of it is proven
 * by the handshake's own signature. */
static int judge_certificate(X509_STORE_CTX *store, void *self) {
    struct net_tls *tls = self;
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    unsigned char *der = NULL;
    int len = certificate == NULL || ssl == NULL
                  ? -1
                  : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (len <= 0) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY);
        return 0;
    }
    struct hash pin = sha256_of(bytes_of(der, (size_t)len));
    OPENSSL_free(der);
    if (!tls->accept(SSL_get_app_data(ssl), &pin)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
        return 0;
    }
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static enum error_code load_keys(SSL_CTX *context, const char *certificate_path,
                                 const char *key_path, struct error *err) {
    struct hash pin; /* asked for its message: it tells missing from malformed */
    TRY(certificate_pin(certificate_path, &pin, err));
    if (SSL_CTX_use_certificate_file(context, certificate_path, SSL_FILETYPE_PEM) != 1)
        return error_set(err, ERROR_CRYPTO, "%s: not usable as a certificate: %s",
                         certificate_path, openssl_reason());
    if (SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) != 1)
        return error_set(err, ERROR_CRYPTO, "%s: not usable as the key of %s: %s", key_path,
                         certificate_path, openssl_reason());
    if (SSL_CTX_check_private_key(context) != 1)
        return error_set(err, ERROR_CRYPTO, "%s: is not the key of %s", key_path,
                         certificate_path);
    return ERROR_NONE;
}

static bool set_rules(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_max_cert_list(context, PEER_CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                             "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1;
}

enum error_code net_tls_new(const char *certificate_path, const char *key_path, net_pin_fn accept,
                            struct net_tls **ret_tls, struct error *err) {
    ERR_clear_error();
    struct net_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return error_set(err, ERROR_NO_MEMORY, "mesh: no memory for TLS");
    tls->accept = accept;
    tls->socket = socket_method();
    tls->context = SSL_CTX_new(TLS_method());
    enum error_code code = ERROR_NONE;
    if (tls->socket == NULL || tls->context == NULL || !set_rules(tls->context))
        code = error_set(err, ERROR_CRYPTO, "mesh: OpenSSL cannot be set up: %s",
                         openssl_reason());
    if (code == ERROR_NONE)
        code = load_keys(tls->context, certificate_path, key_path, err);
    if (code != ERROR_NONE) {
        net_tls_free(tls);
        return code;
    }
    SSL_CTX_set_cert_verify_callback(tls->context, judge_certificate, tls);
    *ret_tls = tls;
    return ERROR_NONE;
}

void net_tls_free(struct net_tls *tls) {
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->socket);
    free(tls);
}

void net_tls_replace(struct net_tls *tls, struct net_tls *fresh) {
    SSL_CTX *old = tls->context;
    tls->context = fresh->context;
    fresh->context = old; /* open sessions keep it alive as long as they need it */
    SSL_CTX_set_cert_verify_callback(tls->context, judge_certificate, tls);
    /* A handshake that is under way is judged by the object that stays. */
    SSL_CTX_set_cert_verify_callback(old, judge_certificate, tls);
    net_tls_free(fresh);
}

enum error_code net_tls_session(struct net_tls *tls, int fd, bool dials, void *connection,
                                SSL **ret_ssl, struct error *err) {
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->context);
    BIO *bio = BIO_new(tls->socket);
    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        return error_set(err, ERROR_NO_MEMORY, "mesh: no memory for a TLS session");
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, connection);
    if (dials)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    *ret_ssl = ssl;
    return ERROR_NONE;
}

/* Alerts and failures in words of ours, where they have one likely cause. */
static enum net_tls_result failure(SSL *ssl, int kernel_error, struct error *err) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    bool of_ssl = ERR_GET_LIB(code) == ERR_LIB_SSL;
    if (code == 0) {
        (void)error_set(err, ERROR_TLS, "the connection was lost: %s",
                        kernel_error == 0 ? "it ended in the middle" : strerror(kernel_error));
        error_hint(err, "it is tried again by itself");
    } else if (of_ssl && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        (void)error_set(err, ERROR_TLS, "the connection ended without a goodbye");
        error_hint(err, "it is tried again by itself");
    } else if (of_ssl && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        bool untrusted = SSL_get_verify_result(ssl) == X509_V_ERR_CERT_UNTRUSTED;
        (void)error_set(err, ERROR_TLS, "%s",
                        untrusted ? "its key is not the pinned one"
                                  : "its certificate cannot be read");
        error_hint(err, "compare its certificate with tls_pin in the genesis file");
    } else if (of_ssl && reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE) {
        (void)error_set(err, ERROR_TLS, "it refuses our key");
        error_hint(err, "compare our certificate with tls_pin in its genesis file");
    } else {
        (void)error_set(err, ERROR_TLS, "TLS failed: %s", openssl_reason());
    }
    ERR_clear_error();
    return NET_TLS_FAILED;
}

static enum net_tls_result result(SSL *ssl, int returned, struct error *err) {
    int kernel_error = errno;
    int why = SSL_get_error(ssl, returned);
    if (why == SSL_ERROR_WANT_READ)
        return NET_TLS_WANT_READ;
    if (why == SSL_ERROR_WANT_WRITE)
        return NET_TLS_WANT_WRITE;
    if (why == SSL_ERROR_ZERO_RETURN)
        return NET_TLS_CLOSED;
    return failure(ssl, kernel_error, err);
}

/* The error queue is a thread's, not a session's: what another session left there would be taken
 * for this one's failure. So it is cleared before each call. */
enum net_tls_result net_tls_handshake(SSL *ssl, struct error *err) {
    ERR_clear_error();
    errno = 0;
    int n = SSL_do_handshake(ssl);
    return n == 1 ? NET_TLS_DONE : result(ssl, n, err);
}

enum net_tls_result net_tls_read(SSL *ssl, void *ret_data, size_t room, size_t *ret_bytes,
                                 struct error *err) {
    ERR_clear_error();
    errno = 0;
    int n = SSL_read_ex(ssl, ret_data, room, ret_bytes);
    return n == 1 ? NET_TLS_DONE : result(ssl, n, err);
}

enum net_tls_result net_tls_write(SSL *ssl, const void *data, size_t len, size_t *ret_bytes,
                                  struct error *err) {
    ERR_clear_error();
    errno = 0;
    int n = SSL_write_ex(ssl, data, len, ret_bytes);
    return n == 1 ? NET_TLS_DONE : result(ssl, n, err);
}

void net_tls_goodbye(SSL *ssl) {
    ERR_clear_error();
    (void)SSL_shutdown(ssl);
    ERR_clear_error();
}
