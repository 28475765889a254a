/*
 * Making the files of a new node: keys, certificate, configuration. For the command line; a running
 * node only reads them.
 */
#ifndef LEDGER_SETUP_H
#define LEDGER_SETUP_H

#include "ledger/genesis.h"

/* The names of the files in a node's folder. */
#define SETUP_VOTE_KEY        "vote.key"  /* Ed25519, PKCS#8 PEM, 0600 */
#define SETUP_TLS_KEY         "tls.key"   /* P-256, PKCS#8 PEM, 0600 */
#define SETUP_TLS_CERTIFICATE "tls.crt"   /* self-signed: peers pin its key, not its issuer */
#define SETUP_CONFIG          "node.yaml"
#define SETUP_GENESIS         "genesis.json"

/* Makes vote key, TLS key, certificate and node.yaml in the folder, which is made where it is
 * missing. ERROR_EXISTS where a key is there already. The genesis file, which node.yaml names, is
 * the caller's to write (genesis_write), once all validators are known. */
MUST_CHECK enum error_code setup_node(const char *folder, const char *name, const char *address,
                                      uint64_t wall_ms, struct genesis_validator *ret_validator,
                                      struct error *err);
/* What setup_node returned, read again from the folder's keys. */
MUST_CHECK enum error_code setup_node_read(const char *folder, const char *name,
                                           const char *address,
                                           struct genesis_validator *ret_validator,
                                           struct error *err);

#endif
