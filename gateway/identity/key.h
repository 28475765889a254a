/*
 * P-256 keys as patients hold them: made, kept as PKCS#8 PEM, shown as minimal public JWKs, named
 * by their RFC 7638 thumbprint. ES256 goes by OpenSSL's EVP directly.
 *
 * Owns: key files, JWK parsing, thumbprints, raw ES256 signatures. May use: base, OpenSSL, Jansson.
 * Refuses: every other curve and algorithm, private members in a JWK, a point off the curve.
 *
 * A key is immutable and may be used by several threads.
 */
#ifndef GATEWAY_IDENTITY_KEY_H
#define GATEWAY_IDENTITY_KEY_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

enum {
    IDENTITY_JWK_BYTES_MAX = 1024,
    IDENTITY_SIGNATURE_BYTES = 64,      /* r and s, 32 bytes each, big-endian (RFC 7518) */
    IDENTITY_THUMBPRINT_TEXT_BYTES = 44 /* base64url of 32 bytes, and the NUL */
};

struct identity_key;

/* A fresh key pair, written to path with mode 0600. ERROR_EXISTS where the file is there. */
MUST_CHECK enum error_code identity_key_create(const char *path, struct error *err);
/* A key pair from its PEM file. */
MUST_CHECK enum error_code identity_key_load(const char *path, struct identity_key **ret_key,
                                             struct error *err);
/* A public key from JSON. Unknown public members (kid, use, alg, key_ops) are let be; "d" and every
 * kty but EC, crv but P-256 are refused. */
MUST_CHECK enum error_code identity_key_from_jwk(struct bytes json, struct identity_key **ret_key,
                                                 struct error *err);
void identity_key_free(struct identity_key *key);
void identity_key_free_scoped(struct identity_key **key);
#define SCOPED_IDENTITY_KEY __attribute__((cleanup(identity_key_free_scoped)))

/* {"crv":"P-256","kty":"EC","x":"...","y":"..."}: the form that RFC 7638 hashes. */
void identity_key_jwk(const struct identity_key *key, struct buffer *out);
struct hash identity_key_thumbprint(const struct identity_key *key);

void identity_thumbprint_text(const struct hash *thumbprint,
                              char ret_text[IDENTITY_THUMBPRINT_TEXT_BYTES]);
/* Exactly 43 characters of base64url. */
MUST_CHECK bool identity_thumbprint_parse(struct bytes text, struct hash *ret_thumbprint);

MUST_CHECK enum error_code identity_key_sign(const struct identity_key *key, struct bytes data,
                                             uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES],
                                             struct error *err);
MUST_CHECK bool identity_key_verify(const struct identity_key *key, struct bytes data,
                                    const uint8_t signature[IDENTITY_SIGNATURE_BYTES]);

#endif
