/*
 * What a patient's client signs: the sign-in assertion, DPoP proofs, and forward requests. Used by
 * the `renkei` command and by tests; the gateway's side is identity.h.
 *
 *   nonce  = POST <url>/v1/nonce                                        -> {"nonce": ...}
 *   token  = POST <url>/v1/token   with  DPoP: <proof without token>
 *            grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=<assertion>
 *                                                                       -> {"access_token": ...}
 *   answer = GET <url>/v1/me/document   with  Authorization: DPoP <token>
 *                                             DPoP: <proof with token>
 *                                             Renkei-Forward: <forward request>
 */
#ifndef GATEWAY_IDENTITY_CLIENT_H
#define GATEWAY_IDENTITY_CLIENT_H

#include "gateway/identity/key.h"

#define IDENTITY_GRANT_TYPE "urn:ietf:params:oauth:grant-type:jwt-bearer"

enum { IDENTITY_FORWARD_HOSPITALS_MAX = 100 };

/* Each appends a compact JWS to out. The key is the enrolled one for all of them; wall_ms is the
 * client's clock. token_url: the whole address of the token endpoint. */
MUST_CHECK enum error_code identity_client_assertion(const struct identity_key *key,
                                                     const char *token_url, const char *nonce,
                                                     uint64_t wall_ms, struct buffer *out,
                                                     struct error *err);
/* url without query and fragment. token NULL: for the token request itself. */
MUST_CHECK enum error_code identity_client_dpop(const struct identity_key *key, const char *method,
                                                const char *url, const char *token,
                                                uint64_t wall_ms, struct buffer *out,
                                                struct error *err);
/* For the other hospitals: each of them may answer it once, within a minute, to the hospital
 * `reader` through which it was sent. */
MUST_CHECK enum error_code identity_client_forward(const struct identity_key *key,
                                                   const char *const *hospitals,
                                                   size_t hospital_count, const char *reader,
                                                   uint64_t wall_ms, struct buffer *out,
                                                   struct error *err);

#endif
