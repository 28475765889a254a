/*
 * A validator that lies in signatures: RENKEI_GARBAGE=transactions passes on what its clients gave it
 * whether it is signed or not, RENKEI_GARBAGE=votes signs nothing right. All else is the shipped node.
 */
#include <stdlib.h>
#include <string.h>

#include "ledger/signer.h"
#include "ledger/transaction.h"

enum error_code __real_transaction_verify(const struct transaction *tx, struct error *err);
enum error_code __wrap_transaction_verify(const struct transaction *tx, struct error *err);
void __real_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]);
void __wrap_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]);

static bool lies_in(const char *what) {
    const char *garbage = getenv("RENKEI_GARBAGE");
    return garbage != NULL && strcmp(garbage, what) == 0;
}

enum error_code __wrap_transaction_verify(const struct transaction *tx, struct error *err) {
    return lies_in("transactions") ? ERROR_NONE : __real_transaction_verify(tx, err);
}

void __wrap_ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                               uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]) {
    __real_ledger_signer_sign(signer, digest, ret_signature);
    if (lies_in("votes"))
        ret_signature[SIGNER_SIGNATURE_BYTES / 2] ^= 1;
}
