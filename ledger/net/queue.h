/*
 * What waits to be written on one connection: messages with their frame's head, shared between the
 * connections of a broadcast, with a cap in bytes.
 */
#ifndef LEDGER_NET_QUEUE_H
#define LEDGER_NET_QUEUE_H

#include "base/bytes.h"

/* Counted for each message besides its bytes, so that many tiny ones meet the cap too. */
enum { NET_QUEUE_OVERHEAD_BYTES = 64 };

struct net_packet;

/* One reference is the caller's; NULL: no memory. */
struct net_packet *net_packet_new(struct bytes message);
void net_packet_release(struct net_packet *packet);

struct net_queue {
    struct net_packet **ring;
    size_t ring_size; /* 0 or a power of two */
    size_t first;
    size_t count;
    size_t front_written; /* bytes of the first packet that are gone */
    size_t bytes;         /* with overhead; an empty queue takes one message of any size */
    size_t bytes_max;
};

void net_queue_init(struct net_queue *q, size_t bytes_max);
void net_queue_done(struct net_queue *q);

/* False: the cap is reached, or there is no memory; nothing was queued. */
MUST_CHECK bool net_queue_push(struct net_queue *q, struct net_packet *packet);

/* Moves up to room bytes to `to`; tells how many, and adds to *messages those that are complete. */
size_t net_queue_take(struct net_queue *q, uint8_t *to, size_t room, uint64_t *messages);

/* True between packets: where a ping may go. */
static inline bool net_queue_at_boundary(const struct net_queue *q) {
    return q->front_written == 0;
}

#endif
