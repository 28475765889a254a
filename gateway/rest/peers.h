/*
 * The other hospitals' gateways: who a machine certificate belongs to, and asking them all at once
 * for a patient's records. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_PEERS_H
#define GATEWAY_REST_PEERS_H

#include "gateway/rest/document.h"
#include "gateway/rest/rest.h"

struct peers;

/* Loads the certificates. ERROR_CONFIG, ERROR_TLS, ERROR_IO. */
MUST_CHECK enum error_code peers_new(const struct rest_options *options, struct peers **ret_peers,
                                     struct error *err);
void peers_free(struct peers *peers);

size_t peers_count(const struct peers *peers);
const char *peers_name(const struct peers *peers, size_t index);
const char *peers_url(const struct peers *peers, size_t index);
/* When the peer answered last (0: never), and the last error, "" after an answer. */
void peers_last(struct peers *peers, size_t index, uint64_t *ret_answer_ms, char ret_error[256]);

/* All certificates of all peers in PEM, for the listener's trust list. */
struct bytes peers_trust(const struct peers *peers);

/* The hospital that the chain of certificates (DER, the leaf first) belongs to: the leaf is the
 * peer's own certificate, or it was issued by the peer's authority and holds the URI
 * renkei://<name>. NULL: nobody's; err says why. */
const char *peers_identify(const struct peers *peers, const struct bytes *chain, size_t count,
                           struct error *err);

/* Sends the patient's request to each peer of its audience, all at once, and fills one part for
 * each peer: its section, or why there is none. audience: a list of raw JSON strings. */
void peers_ask(struct peers *peers, struct bytes request, struct bytes audience,
               struct arena *arena, struct document_part *ret_parts);

#endif
