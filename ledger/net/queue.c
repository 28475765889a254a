#include "ledger/net/queue.h"

#include <stdlib.h>
#include <string.h>

#include "ledger/net/frame.h"

enum { RING_FIRST = 16 };

struct net_packet {
    size_t references;
    size_t len;
    uint8_t data[];
};

struct net_packet *net_packet_new(struct bytes message) {
    size_t len = NET_HEAD_BYTES + message.len;
    struct net_packet *packet = malloc(sizeof *packet + len);
    if (packet == NULL)
        return NULL;
    packet->references = 1;
    packet->len = len;
    net_head_write(packet->data, NET_FRAME_MESSAGE, message.len);
    memcpy(packet->data + NET_HEAD_BYTES, message.data, message.len);
    return packet;
}

void net_packet_release(struct net_packet *packet) {
    if (packet != NULL && --packet->references == 0)
        free(packet);
}

void net_queue_init(struct net_queue *q, size_t bytes_max) {
    *q = (struct net_queue){.bytes_max = bytes_max};
}

void net_queue_done(struct net_queue *q) {
    for (size_t i = 0; i < q->count; i++)
        net_packet_release(q->ring[(q->first + i) & (q->ring_size - 1)]);
    free(q->ring);
    *q = (struct net_queue){0};
}

static bool ring_grow(struct net_queue *q) {
    size_t size = q->ring_size == 0 ? RING_FIRST : q->ring_size * 2;
    struct net_packet **ring = malloc(size * sizeof(*ring));
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < q->count; i++)
        ring[i] = q->ring[(q->first + i) & (q->ring_size - 1)];
    free(q->ring);
    q->ring = ring;
    q->ring_size = size;
    q->first = 0;
    return true;
}

bool net_queue_push(struct net_queue *q, struct net_packet *packet) {
    size_t cost = packet->len + NET_QUEUE_OVERHEAD_BYTES;
    if (q->count > 0 && (q->bytes >= q->bytes_max || cost > q->bytes_max - q->bytes))
        return false;
    if (q->count == q->ring_size && !ring_grow(q))
        return false;
    q->ring[(q->first + q->count) & (q->ring_size - 1)] = packet;
    packet->references++;
    q->count++;
    q->bytes += cost;
    return true;
}

size_t net_queue_take(struct net_queue *q, uint8_t *to, size_t room, uint64_t *messages) {
    size_t taken = 0;
    while (q->count > 0 && taken < room) {
        struct net_packet *packet = q->ring[q->first];
        size_t left = packet->len - q->front_written;
        size_t n = left < room - taken ? left : room - taken;
        memcpy(to + taken, packet->data + q->front_written, n);
        taken += n;
        q->front_written += n;
        if (n < left)
            break;
        q->bytes -= packet->len + NET_QUEUE_OVERHEAD_BYTES;
        q->front_written = 0;
        q->first = (q->first + 1) & (q->ring_size - 1);
        q->count--;
        *messages += 1;
        net_packet_release(packet);
    }
    return taken;
}
