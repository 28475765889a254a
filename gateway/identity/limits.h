/*
 * The lifetimes and limits of sign-in, one table for both sides.
 */
#ifndef GATEWAY_IDENTITY_LIMITS_H
#define GATEWAY_IDENTITY_LIMITS_H

#define IDENTITY_FORWARD_TYP      "renkei-forward+jwt"
#define IDENTITY_FORWARD_RESOURCE "/v1/me/records"

enum {
    IDENTITY_NONCE_LIFE_MS = 120000,
    IDENTITY_ASSERTION_LIFE_MS_MAX = 300000,
    IDENTITY_TOKEN_LIFE_MS = 600000,
    IDENTITY_PROOF_AGE_MS_MAX = 60000,   /* of a DPoP proof, by its iat */
    IDENTITY_CLOCK_AHEAD_MS_MAX = 30000, /* how far a client's clock may be ahead */
    IDENTITY_FORWARD_LIFE_MS_MAX = 60000,

    IDENTITY_JTI_BYTES_MAX = 128,
    IDENTITY_URL_BYTES_MAX = 1024,
    IDENTITY_URLS_MAX = 16,
    IDENTITY_TOKENS_MAX = 16384,
    IDENTITY_TOKENS_PER_KEY_MAX = 8, /* a further sign-in ends the oldest */
    IDENTITY_TOKEN_REQUESTS_PER_MINUTE_MAX = 600,
    IDENTITY_REPLAYS_MAX = 131072, /* jti values and nonces that are remembered at once */
};

#endif
