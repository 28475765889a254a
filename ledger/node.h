/*
 * A node: protocol core, chain, pool, vote log, mesh and local socket joined on one loop.
 *
 * Owns: the order of things. What a step of the core asks to persist is synced, once for all steps
 * of a turn of the loop, before anything that stands behind it leaves the node.
 */
#ifndef LEDGER_NODE_H
#define LEDGER_NODE_H

#include "ledger/genesis.h"

/* A node that the configuration names: another address than the list has, or a peer to learn from
 * although the list that is known here does not have it. */
struct node_source {
    const char *name;
    const char *address;
    bool pinned;
    struct hash pin;
};

/* Beside vote_key, tls_key and tls_certificate files with ".next" after the name may stand: the keys of
 * the next epoch. They take the others' places when the chain's list names them. */
struct node_settings {
    const char *genesis;
    const char *data;
    const char *vote_key;
    const char *tls_key;
    const char *tls_certificate;
    const char *socket;
    const char *listen; /* NULL: the own address of the list */
    const struct node_source *sources;
    size_t source_count;
};

/* Runs until SIGTERM or SIGINT, or until the node must stop: then the error says why. */
MUST_CHECK enum error_code node_run(const struct node_settings *settings, struct error *err);

#endif
