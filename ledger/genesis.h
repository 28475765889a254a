/*
 * The genesis file: who validates and who may submit, and the chain's parameters. It is all that a
 * client trusts. The chain's id is the hash of the file's exact bytes.
 *
 * Owns: reading, checking and writing the file; making the keys and certificates of new nodes.
 */
#ifndef LEDGER_GENESIS_H
#define LEDGER_GENESIS_H

#include "base/bytes.h"
#include "base/hash.h"

enum {
    GENESIS_BYTES_MAX = 1 << 20,
    GENESIS_VALIDATORS_MAX = 100,
    GENESIS_SUBMITTERS_MAX = 1000,
    GENESIS_NAME_BYTES_MAX = 63,    /* [a-z0-9][a-z0-9-]* */
    GENESIS_ADDRESS_BYTES_MAX = 255, /* host:port or [host]:port */
    GENESIS_KEY_BYTES = 32,
};

struct genesis_validator {
    char name[GENESIS_NAME_BYTES_MAX + 1];
    uint8_t vote_key[GENESIS_KEY_BYTES]; /* Ed25519 */
    struct hash tls_pin;                 /* SHA-256 of the certificate's SubjectPublicKeyInfo */
    char address[GENESIS_ADDRESS_BYTES_MAX + 1]; /* port 0 only where it is the one validator */
};

struct genesis_submitter {
    char name[GENESIS_NAME_BYTES_MAX + 1];
    uint8_t key[GENESIS_KEY_BYTES]; /* Ed25519 */
};

struct genesis_parameters {
    uint32_t block_bytes_max;
    uint32_t block_transactions_max;
    uint32_t empty_block_ms;    /* a block at least this often */
    uint32_t rotate_blocks;     /* the leader changes every so many blocks */
    uint32_t window;            /* heights agreed on at once */
    uint32_t view_timeout_ms;   /* first patience with a leader */
    uint32_t clock_drift_ms_max; /* of a proposed block's time */
};

struct genesis {
    char name[GENESIS_NAME_BYTES_MAX + 1];
    uint64_t created_ms;
    struct genesis_parameters parameters;
    uint32_t validator_count;
    struct genesis_validator *validators;
    uint32_t submitter_count;
    struct genesis_submitter *submitters;
    struct hash chain;      /* SHA-256("renkei/genesis/1\n" || file) */
};

struct genesis_parameters genesis_parameters_default(void);

/* Reads the exact bytes. Unknown and missing keys are errors. Free with genesis_free. */
MUST_CHECK enum error_code genesis_parse(struct bytes file, struct genesis **ret_genesis,
                                         struct error *err);
MUST_CHECK enum error_code genesis_load(const char *path, struct genesis **ret_genesis,
                                        struct error *err);
void genesis_free(struct genesis *genesis);
/* Appends the file's text: of everything but chain. */
MUST_CHECK enum error_code genesis_write(const struct genesis *genesis, struct buffer *out,
                                         struct error *err);

bool genesis_name_valid(const char *name);
/* host:port; port 0 is for a validator that is alone: it has nobody to be reached by. */
bool genesis_address_valid(const char *address, bool alone);

/* -1 where there is none. */
int genesis_validator_by_key(const struct genesis *genesis, const uint8_t *vote_key);
int genesis_submitter_by_key(const struct genesis *genesis, const uint8_t *key);

#endif
