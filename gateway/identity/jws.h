/*
 * Compact JWS (RFC 7515), as narrow as Renkei needs it: ES256 only, JSON object payloads, a closed
 * list of header members. Fuzzed: tests/fuzz/jws.
 *
 * Refuses: every alg but ES256, crit, zip, b64, a key by reference (jku, x5u, x5c), duplicate JSON
 * members, padding and white space in base64url, anything longer than its limit.
 */
#ifndef GATEWAY_IDENTITY_JWS_H
#define GATEWAY_IDENTITY_JWS_H

#include <jansson.h>

#include "gateway/identity/key.h"

enum {
    JWS_BYTES_MAX = 8192,
    JWS_HEADER_BYTES_MAX = 2048, /* decoded */
    JWS_PAYLOAD_BYTES_MAX = 4096,
};

struct jws {
    json_t *header;
    json_t *payload;
    struct bytes signing_input; /* borrows from the text that was parsed */
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
};

/* typ: the exact value that the header must have. The signature is not checked here. what names the
 * object in messages ("the DPoP proof"). ERROR_UNAUTHENTICATED. */
MUST_CHECK enum error_code jws_parse(struct bytes text, const char *typ, const char *what,
                                     struct jws *ret_jws, struct error *err);
void jws_done(struct jws *jws); /* a zeroed struct is fine */
#define SCOPED_JWS __attribute__((cleanup(jws_done)))

MUST_CHECK bool jws_verify(const struct jws *jws, const struct identity_key *key);

/* Signs header and payload (JSON texts) and appends the compact form to out. */
MUST_CHECK enum error_code jws_sign(const struct identity_key *key, struct bytes header,
                                    struct bytes payload, struct buffer *out, struct error *err);

/* Claims. A missing claim, or one of another type or size, is ERROR_UNAUTHENTICATED that names
 * it. Texts borrow from the jws. */
MUST_CHECK enum error_code jws_claim_text(const struct jws *jws, const char *name, const char *what,
                                          size_t bytes_max, const char **ret_text,
                                          struct error *err);
/* A NumericDate in whole seconds, given back in milliseconds. */
MUST_CHECK enum error_code jws_claim_time(const struct jws *jws, const char *name, const char *what,
                                          uint64_t *ret_ms, struct error *err);

#endif
