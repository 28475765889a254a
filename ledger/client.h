/*
 * One node behind the clients' door: its socket, its answers, and what of them is believed.
 *
 * Owns: one connection, and the checking of certificates, proofs and freshness. Refuses: to choose
 * among nodes; nodes.c does that. What is asked and answered: ledger/ledger.h, function by function.
 */
#ifndef LEDGER_CLIENT_H
#define LEDGER_CLIENT_H

#include "ledger/ledger.h"

struct client;

/* alone: there is no other node to ask, so that a slow answer is waited for. */
MUST_CHECK enum error_code client_open(const char *node_socket, const char *genesis, bool alone,
                                       struct client **ret_client, struct error *err);
void client_close(struct client *client);
/* The next call connects anew. */
void client_disconnect(struct client *client);
struct hash client_chain(const struct client *client);
uint32_t client_validator_count(const struct client *client);

/* Asks nodes[*at] first and goes on to the others; *at is left at the node that served. */
MUST_CHECK enum error_code client_submit_all(struct client *const *nodes, size_t node_count,
                                             size_t *at, const struct bytes *transactions,
                                             size_t count, uint32_t deadline_ms,
                                             struct ledger_receipt *ret_receipts,
                                             struct error *err);
MUST_CHECK enum error_code client_next_sequence(struct client *client,
                                                const uint8_t submitter[32],
                                                uint64_t *ret_sequence, struct error *err);
MUST_CHECK enum error_code client_head(struct client *client, struct ledger_head *ret_head,
                                       struct error *err);
MUST_CHECK enum error_code client_history(struct client *client, const struct locator *locator,
                                          struct ledger_version *ret_versions,
                                          size_t versions_max, size_t *ret_count,
                                          uint64_t *ret_total, struct error *err);
MUST_CHECK enum error_code client_latest(struct client *client, const struct locator *locators,
                                         size_t count, struct ledger_version *ret_versions,
                                         struct error *err);
MUST_CHECK enum error_code client_prove(struct client *client, const struct locator *locators,
                                        size_t count, struct ledger_version *ret_versions,
                                        uint64_t *ret_height, struct error *err);
MUST_CHECK enum error_code client_block(struct client *client, uint64_t height,
                                        struct buffer *ret_block, struct buffer *ret_certificate,
                                        struct error *err);
MUST_CHECK enum error_code client_transaction(struct client *client, const struct hash *id,
                                              struct buffer *ret_transaction,
                                              struct ledger_receipt *ret_receipt,
                                              struct error *err);
MUST_CHECK enum error_code client_checkpoint(struct client *client, struct bytes genesis,
                                             struct buffer *ret_body, struct error *err);
MUST_CHECK enum error_code client_checkpoint_of(struct client *client, const struct hash *chain,
                                                struct hash *ret_transaction, struct error *err);
MUST_CHECK enum error_code client_members(struct client *client, struct members **ret_members,
                                          struct error *err);
MUST_CHECK enum error_code client_status(struct client *client, struct buffer *ret_json,
                                         struct error *err);
MUST_CHECK enum error_code client_metrics(struct client *client, struct buffer *ret_text,
                                          struct error *err);

#endif
