/*
 * The REST interface: patients over HTTPS, other hospitals by mutual TLS, the hospital's
 * IT over a local socket.
 *
 * Owns: the three listeners, the table of routes (checked against schemas/openapi*.yaml by a test),
 * problem documents, the patient's unified document in its two views, the calls to other hospitals.
 * May use: base, ledger's client door and formats, gateway/sync's types, gateway/identity,
 * libmicrohttpd with GnuTLS, OpenSSL, Jansson, zlib, libcurl. Refuses: to show a record without its
 * verdict, to leave out in silence a hospital or a source that could not be asked, to log.
 *
 * What it asks of the vault, the sources and the node goes through struct rest_backend, which the
 * program fills (gateway/backend.c); tests fill it with canned answers. All of its functions are
 * called from many threads.
 */
#ifndef GATEWAY_REST_REST_H
#define GATEWAY_REST_REST_H

#include "gateway/identity/identity.h"
#include "gateway/sync/records.h"
#include "gateway/sync/sync.h"
#include "ledger/ledger.h"

enum {
    REST_CONNECTIONS_MAX = 256, /* a listener */
    REST_CONNECTIONS_PER_ADDRESS_MAX = 192,
    REST_HEADER_BYTES_MAX = 32 << 10,
    REST_BODY_BYTES_MAX = 64 << 10,
    REST_ANSWER_BYTES_MAX = 64 << 20,
    REST_ARENA_BYTES_MAX = 128 << 20,
    REST_PATIENT_REQUESTS_MAX = 16,    /* that read sources, at once */
    REST_IDLE_S_MAX = 15,              /* without a byte */
    REST_RECEIVE_MS_MAX = 20000,       /* handshake, header and body of one request together */
    REST_ANSWER_MS_MAX = 120000,       /* work and sending together */
    REST_DOCUMENT_RECORDS_MAX = 10000, /* of one hospital in a document; past it `truncated` */
    REST_PEERS_MAX = 100,
    REST_PEER_CONNECT_MS_MAX = 5000,
    REST_PEER_ANSWER_MS_MAX = 30000,
};

struct rest_backend {
    void *context;

    enum error_code (*records_of_patient)(void *context, const char *patient,
                                          const struct records_query *query, struct arena *arena,
                                          struct records *ret_records, struct error *err);
    enum error_code (*record_by_address)(void *context, const char *address, const char *patient,
                                         const struct records_query *query, struct arena *arena,
                                         struct record *ret_record, struct error *err);

    enum error_code (*status)(void *context, struct arena *arena, struct sync_status *ret_status,
                              struct error *err);
    enum error_code (*sync_start)(void *context, const struct sync_request *request,
                                  struct error *err);
    enum error_code (*sync_cancel)(void *context, const char *source, struct error *err);
    enum error_code (*quarantine_list)(void *context, const char *source, uint64_t after,
                                       size_t limit, struct arena *arena,
                                       const struct sync_quarantined **ret_rows, size_t *ret_count,
                                       struct error *err);
    enum error_code (*quarantine_drop)(void *context, uint64_t id, struct error *err);
    enum error_code (*keysets)(void *context, const char *source, struct arena *arena,
                               const struct sync_keyset **ret_keysets, size_t *ret_count,
                               struct error *err);
    enum error_code (*characters)(void *context, const char *source, struct arena *arena,
                                  const struct sync_characters **ret_reports, size_t *ret_count,
                                  struct error *err);

    enum error_code (*enrol)(void *context, const char *thumbprint, const char *patient,
                             const char *public_jwk, struct error *err);
    enum error_code (*enrolment_find)(void *context, const char *thumbprint, struct arena *arena,
                                      struct sync_enrolment *ret_enrolment, struct error *err);
    enum error_code (*enrolment_remove)(void *context, const char *thumbprint, struct error *err);
    enum error_code (*enrolment_list)(void *context, const char *after, size_t limit,
                                      struct arena *arena, const struct sync_enrolment **ret_list,
                                      size_t *ret_count, struct error *err);

    enum error_code (*head)(void *context, struct ledger_head *ret_head, struct error *err);
    enum error_code (*block)(void *context, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err);
    enum error_code (*transaction)(void *context, const struct hash *id,
                                   struct buffer *ret_transaction,
                                   struct ledger_receipt *ret_receipt, struct error *err);
    enum error_code (*latest)(void *context, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err);
    enum error_code (*history)(void *context, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err);
};

/* What happened, for the program to log. Texts are valid during the call; they hold no record's
 * value, no address and no path of a request. Called from many threads. */
struct rest_event {
    const char *event; /* "request", "peer", "http" */
    const char *listener;
    const char *operation;
    const char *method;
    const char *request; /* its UUID, as in the answer */
    const char *who;     /* first characters of the key's thumbprint, a hospital's name, or "" */
    unsigned status;
    uint64_t duration_ms;
    const struct error *err; /* NULL: nothing failed */
};
typedef void rest_event_function(void *context, const struct rest_event *event);

struct rest_listen {
    const char *address; /* numeric; NULL: there is no such listener */
    uint16_t port;       /* 0: a free one */
    const char *certificate;
    const char *key;
    const char *const *urls; /* none: https://<address>:<port> */
    size_t url_count;
};

struct rest_peer {
    const char *name;
    const char *url;
    const char *certificate; /* PEM file: its machine certificate, or the authority that issued it;
                                CRLs in the same file are used */
};

/* Strings are copied. */
struct rest_options {
    const char *hospital;
    struct rest_listen listen;
    struct rest_listen machine;
    const struct rest_peer *peers;
    size_t peer_count;
    const char *admin_socket; /* NULL: none */
    const struct rest_backend *backend;
    rest_event_function *event;
    void *event_context;
};

struct rest;

/* Binds and starts to serve. */
MUST_CHECK enum error_code rest_open(const struct rest_options *options, struct rest **ret_rest,
                                     struct error *err);
/* Takes no more connections, lets running requests end, and closes. NULL is fine. */
void rest_close(struct rest *rest);

/* The first of the addresses by which a listener is reached; "" where there is none. */
const char *rest_url(const struct rest *rest);
const char *rest_machine_url(const struct rest *rest);
/* When the certificates end that the listeners of patients and machines serve, which are those of
 * the start; wall clock, 0 where there is no such listener. */
uint64_t rest_certificate_end_ms(const struct rest *rest);
uint64_t rest_machine_certificate_end_ms(const struct rest *rest);

#endif
