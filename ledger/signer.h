/*
 * Ed25519 keys of submitters and validators: files, public halves, signatures. The public part of
 * this door is in ledger/ledger.h; this header is for the rooms of the ledger.
 */
#ifndef LEDGER_SIGNER_H
#define LEDGER_SIGNER_H

#include "base/hash.h"
#include "ledger/ledger.h"

enum { SIGNER_SIGNATURE_BYTES = 64, SIGNER_KEY_BYTES = 32 };

void ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                        uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]);
/* A key from its 32 secret bytes, for tests and simulators. */
MUST_CHECK enum error_code ledger_signer_seeded(const uint8_t seed[32],
                                                struct ledger_signer **ret_signer,
                                                struct error *err);
/* True where the signature over the digest is of this key. */
MUST_CHECK bool signature_valid(const uint8_t key[SIGNER_KEY_BYTES], const struct hash *digest,
                                const uint8_t signature[SIGNER_SIGNATURE_BYTES]);

#endif
