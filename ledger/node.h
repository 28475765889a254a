/*
 * A node: protocol core, chain, pool, vote log, mesh and local socket joined on one loop.
 *
 * Owns: the order of things. What a step of the core asks to persist is synced, once for all steps
 * of a turn of the loop, before anything that stands behind it leaves the node.
 */
#ifndef LEDGER_NODE_H
#define LEDGER_NODE_H

#include "ledger/genesis.h"

struct node_settings {
    const char *genesis;
    const char *data;
    const char *vote_key;
    const char *tls_key;
    const char *tls_certificate;
    const char *socket;
    const char *listen; /* NULL: the own address of the genesis */
    /* Addresses that stand for those of the genesis, by validator; entries may be NULL. */
    const char *const *addresses;
};

/* Runs until SIGTERM or SIGINT, or until the node must stop: then the error says why. */
MUST_CHECK enum error_code node_run(const struct node_settings *settings, struct error *err);

#endif
