/*
 * Who is asking: the gateway's side of a patient's sign-in.
 *
 * Owns: nonces, the check of sign-in assertions (RFC 7523), opaque tokens bound to a key by DPoP
 * (RFC 9449), forward requests that a patient signed for several hospitals. May use: base, OpenSSL,
 * Jansson. Refuses: bearer tokens, a second use of anything, to remember more than its limits.
 *
 * Enrolments (which key belongs to which patient) are the vault's: they are asked for at every
 * request, so that an enrolment that has ended, ends at once. Time is a parameter. Every function
 * may be called from several threads.
 */
#ifndef GATEWAY_IDENTITY_IDENTITY_H
#define GATEWAY_IDENTITY_IDENTITY_H

#include "gateway/identity/key.h"
#include "gateway/identity/limits.h"

enum {
    IDENTITY_NONCE_TEXT_BYTES = 44, /* base64url of 32 bytes, and the NUL */
    IDENTITY_TOKEN_TEXT_BYTES = 44,
    IDENTITY_PATIENT_BYTES_MAX = 400,
    IDENTITY_HOSPITAL_BYTES_MAX = 64,
};

struct identity_enrolment {
    char patient[IDENTITY_PATIENT_BYTES_MAX + 1]; /* id in this hospital, UTF-8 */
    char jwk[IDENTITY_JWK_BYTES_MAX + 1];
};

/* ERROR_NOT_FOUND where the key is not enrolled. */
typedef enum error_code identity_find(void *context, const struct hash *thumbprint,
                                      struct identity_enrolment *ret_enrolment, struct error *err);

struct identity_config {
    const char *hospital;    /* this gateway's own name */
    const char *const *urls; /* by which clients reach it: "https://host:port", no path */
    size_t url_count;        /* 1 .. IDENTITY_URLS_MAX */
    identity_find *find;
    void *find_context;
};

struct identity;

/* Copies the configuration. */
MUST_CHECK enum error_code identity_new(const struct identity_config *config,
                                        struct identity **ret_identity, struct error *err);
void identity_free(struct identity *identity);

/* A nonce for one sign-in. Nothing is stored for it: it carries its own end and a MAC, so that
 * asking for many costs no memory. */
void identity_nonce(struct identity *identity, uint64_t now_ms,
                    char ret_nonce[IDENTITY_NONCE_TEXT_BYTES]);

struct identity_session {
    struct hash key; /* thumbprint of the sign-in key */
    char patient[IDENTITY_PATIENT_BYTES_MAX + 1];
};

/* path: of the token endpoint, "/v1/token". ERROR_UNAUTHENTICATED, ERROR_BUSY. */
MUST_CHECK enum error_code identity_sign_in(struct identity *identity, uint64_t now_ms,
                                            const char *path, struct bytes assertion,
                                            struct bytes proof,
                                            char ret_token[IDENTITY_TOKEN_TEXT_BYTES],
                                            struct identity_session *ret_session,
                                            struct error *err);

struct identity_request {
    const char *method;
    const char *path;          /* raw, without query */
    const char *authorization; /* header, or NULL */
    const char *proof;         /* DPoP header, or NULL */
};
/* ERROR_UNAUTHENTICATED, ERROR_RATE, ERROR_BUSY. */
MUST_CHECK enum error_code identity_authenticate(struct identity *identity, uint64_t now_ms,
                                                 const struct identity_request *request,
                                                 struct identity_session *ret_session,
                                                 struct error *err);

/* A forward request that another hospital's gateway handed over for this hospital. from: the
 * hospital whose certificate the connection has; the request must name it as its reader. Uses the
 * request up. ERROR_UNAUTHENTICATED, ERROR_FORBIDDEN, ERROR_BUSY. */
MUST_CHECK enum error_code identity_check_forward(struct identity *identity, uint64_t now_ms,
                                                  struct bytes request, const char *from,
                                                  struct identity_session *ret_session,
                                                  struct error *err);

/* Whether the request that a patient handed to this gateway for others is that patient's and names
 * this gateway as its reader: what can be said before it is sent. */
MUST_CHECK enum error_code identity_check_outgoing(struct identity *identity, uint64_t now_ms,
                                                   struct bytes request,
                                                   const struct identity_session *session,
                                                   struct error *err);

/* Ends every token of a key. */
void identity_forget(struct identity *identity, const struct hash *key);

/* Tokens that have not ended. */
size_t identity_token_count(struct identity *identity, uint64_t now_ms);

#endif
