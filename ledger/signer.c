#include "ledger/signer.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"
#include "ledger/anchor.h"
#include "ledger/transaction.h"

enum { KEY_FILE_BYTES_MAX = 4096, SEED_BYTES = 32 };

_Static_assert(crypto_sign_SEEDBYTES == SEED_BYTES, "Ed25519 seeds have 32 bytes");
_Static_assert(crypto_sign_BYTES == SIGNER_SIGNATURE_BYTES, "Ed25519 signatures have 64 bytes");

struct ledger_signer {
    uint8_t public[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
};

enum error_code ledger_signer_seeded(const uint8_t seed[SEED_BYTES],
                                     struct ledger_signer **ret_signer, struct error *err) {
    struct ledger_signer *signer = calloc(1, sizeof *signer);
    if (signer == NULL)
        return error_set(err, ERROR_NO_MEMORY, "signer: no memory");
    if (sodium_init() < 0 || crypto_sign_seed_keypair(signer->public, signer->secret, seed) != 0) {
        ledger_signer_free(signer);
        return error_set(err, ERROR_CRYPTO, "signer: libsodium cannot make an Ed25519 key");
    }
    *ret_signer = signer;
    return ERROR_NONE;
}

/* No pass phrase is ever asked for: a daemon has nobody to ask. */
static int refuse_pass_phrase(char *buffer, int size, int writing, void *self) {
    (void)buffer, (void)size, (void)writing, (void)self;
    return -1;
}

enum error_code ledger_signer_load(const char *path, struct ledger_signer **ret_signer,
                                   struct error *err) {
    SCOPED_BUFFER struct buffer file;
    buffer_init(&file, KEY_FILE_BYTES_MAX);
    TRY(file_read(path, &file, KEY_FILE_BYTES_MAX, err));
    BIO *bio = BIO_new_mem_buf(file.data, (int)file.len);
    EVP_PKEY *key =
        bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, refuse_pass_phrase, NULL);
    uint8_t seed[SEED_BYTES];
    size_t len = sizeof seed;
    bool good = key != NULL && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
                EVP_PKEY_get_raw_private_key(key, seed, &len) == 1 && len == sizeof seed;
    EVP_PKEY_free(key);
    BIO_free(bio);
    sodium_memzero(file.data, file.len);
    enum error_code code = good ? ledger_signer_seeded(seed, ret_signer, err)
                                : error_set(err, ERROR_CRYPTO,
                                            "%s: found no usable private key, expected an "
                                            "unencrypted Ed25519 key (PKCS#8 PEM)",
                                            path);
    sodium_memzero(seed, sizeof seed);
    return code;
}

enum error_code ledger_signer_create(const char *path, struct error *err) {
    uint8_t seed[SEED_BYTES];
    random_bytes(seed, sizeof seed);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    sodium_memzero(seed, sizeof seed);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;
    enum error_code code;
    if (key == NULL || bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        (len = BIO_get_mem_data(bio, &text)) <= 0) {
        code = error_set(err, ERROR_CRYPTO, "%s: cannot make an Ed25519 key", path);
    } else {
        code = file_create(path, bytes_of(text, (size_t)len), 0600, err);
        sodium_memzero(text, (size_t)len);
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return code;
}

void ledger_signer_public(const struct ledger_signer *signer, uint8_t ret_key[32]) {
    memcpy(ret_key, signer->public, sizeof signer->public);
}

void ledger_signer_free(struct ledger_signer *signer) {
    if (signer == NULL)
        return;
    sodium_memzero(signer, sizeof *signer);
    free(signer);
}

void ledger_signer_sign(const struct ledger_signer *signer, const struct hash *digest,
                        uint8_t ret_signature[SIGNER_SIGNATURE_BYTES]) {
    crypto_sign_detached(ret_signature, NULL, digest->byte, HASH_BYTES, signer->secret);
}

bool signature_valid(const uint8_t key[SIGNER_KEY_BYTES], const struct hash *digest,
                     const uint8_t signature[SIGNER_SIGNATURE_BYTES]) {
    return crypto_sign_verify_detached(signature, digest->byte, HASH_BYTES, key) == 0;
}

enum error_code ledger_build_anchor(const struct ledger_signer *signer, const struct hash *chain,
                                    uint64_t sequence, uint64_t wall_ms,
                                    const struct ledger_anchor *anchor,
                                    struct buffer *ret_transaction, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LEDGER_TRANSACTION_BYTES_MAX);
    TRY(anchor_encode(anchor, 0, bytes_of(NULL, 0), &body, err));
    struct transaction tx = {
        .type = TRANSACTION_ANCHOR,
        .chain = *chain,
        .sequence = sequence,
        .wall_ms = wall_ms,
        .body = buffer_bytes(&body),
    };
    return transaction_sign(signer, &tx, ret_transaction, err);
}

enum error_code ledger_build_incident(const struct ledger_signer *signer, const struct hash *chain,
                                      uint64_t sequence, uint64_t wall_ms,
                                      const struct ledger_incident *incident,
                                      struct buffer *ret_transaction, struct error *err) {
    struct incident plain = {
        .kind = incident->missing ? INCIDENT_MISSING : INCIDENT_MISMATCH,
        .locator = incident->locator,
        .version = incident->version,
        .content = incident->content,
        .raw = incident->raw,
        .observed_ms = incident->observed_ms,
    };
    uint8_t body[INCIDENT_BYTES];
    incident_encode(&plain, body);
    struct incident checked;
    TRY(incident_decode(bytes_of(body, sizeof body), &checked, err));
    struct transaction tx = {
        .type = TRANSACTION_INCIDENT,
        .chain = *chain,
        .sequence = sequence,
        .wall_ms = wall_ms,
        .body = bytes_of(body, sizeof body),
    };
    return transaction_sign(signer, &tx, ret_transaction, err);
}

enum error_code ledger_build_note(const struct ledger_signer *signer, const struct hash *chain,
                                  uint64_t sequence, uint64_t wall_ms, struct bytes note,
                                  struct buffer *ret_transaction, struct error *err) {
    if (note.len > NOTE_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "note: %zu bytes, at most %d are allowed", note.len,
                         NOTE_BYTES_MAX);
    struct transaction tx = {
        .type = TRANSACTION_NOTE,
        .chain = *chain,
        .sequence = sequence,
        .wall_ms = wall_ms,
        .body = note,
    };
    return transaction_sign(signer, &tx, ret_transaction, err);
}

struct hash ledger_transaction_id(struct bytes transaction) {
    struct transaction tx;
    struct hash none = {{0}};
    return transaction_decode(transaction, &tx, NULL) == ERROR_NONE ? tx.id : none;
}
