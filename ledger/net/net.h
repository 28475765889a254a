/*
 * The mesh: authenticated connections between renkei-nodes.
 *
 * Owns: sockets, TLS 1.3 with pinned keys, frames, write queues, keepalive and reconnection. May
 * use: base, libuv, OpenSSL. Refuses: what stands in a message, votes' signatures, retries. A
 * message that was queued may still be lost with its connection: whoever sends makes it anew from
 * its own state after on_peer_up, so nothing is queued for a peer that is not there.
 *
 * The rules:
 *
 * 1. One loop, one thread. Every function is called on the loop's thread; callbacks come from the
 *    loop, never from inside mesh_send, mesh_broadcast or mesh_new. A callback may call any
 *    function of this header.
 * 2. A peer is who its key is: its certificate's SubjectPublicKeyInfo hashes to the pin. Names,
 *    dates and signers of certificates mean nothing. A host name leads to an address only.
 * 3. Between two validators the one of lower pin dials, by the keys of that moment, and it dials both
 *    lanes; an observer dials every validator and is never dialled. Two nodes that know different
 *    lists of members may both dial: the two connections of one attempt carry the same session number,
 *    and one of another session replaces the peer's old ones, which is how a restarted peer gets in at
 *    once. Two attempts that cross may so end each other; chance makes the next ones miss.
 * 4. A peer is up when both lanes are, and down when either is lost; both are closed then.
 * 5. Each lane keeps the order of its messages. There is no order between lanes.
 * 6. Memory has a bound: per peer and lane, one frame being read and the queue's cap.
 */
#ifndef LEDGER_NET_NET_H
#define LEDGER_NET_NET_H

#include <uv.h>

#include "base/bytes.h"
#include "base/hash.h"

enum {
    MESH_VERSION = 1,
    MESH_VALIDATORS_MAX = 100,
    MESH_OBSERVERS_MAX = 1000,
    MESH_VOTE_BYTES_MAX = 1 << 20,                /* one message of the votes' lane */
    MESH_BULK_BYTES_MAX = (8 << 20) + (64 << 10), /* a whole block and what is put before it */
};

/* `self` of a node that is not among the validators. */
#define MESH_OBSERVER UINT32_MAX
/* Peers from here on are observers: MESH_OBSERVER_FIRST + place in config.observers. */
#define MESH_OBSERVER_FIRST 0x10000u
/* Indexes from here on are of nodes that the configuration names and the list of members does not:
 * they are dialled, and nothing is broadcast to them. */
#define MESH_SOURCE_FIRST 0x20000u
/* For on_peer_down: a new list does not name it. Its old index may be another's by now. */
#define MESH_FORMER_PEER UINT32_MAX

enum mesh_lane { MESH_VOTES = 0, MESH_BULK, MESH_LANES };

struct mesh_peer {
    uint32_t index;      /* of the validator */
    const char *address; /* host:port or [host]:port */
    struct hash pin;     /* SHA-256 of the SubjectPublicKeyInfo: certificate_pin() */
    bool dial;           /* in any case: it may not know us as what we are */
};

/* All of them may call back into the mesh. Any may be NULL. */
struct mesh_callbacks {
    void *context;
    /* bytes are borrowed for the call. */
    void (*on_message)(void *context, uint32_t peer, enum mesh_lane lane, struct bytes bytes);
    /* news: worth a line in a log. Not where it comes and goes all the time: then only some of it is,
     * and a loss that lasts is told as trouble. */
    void (*on_peer_up)(void *context, uint32_t peer, bool news);
    void (*on_peer_down)(void *context, uint32_t peer, bool news, const struct error *reason);
    /* A lane that refused a message has room again: half of its cap is free. */
    void (*on_writable)(void *context, uint32_t peer, enum mesh_lane lane);
    /* A peer that is not up cannot be reached or is refused. Once for each new kind of reason,
     * not for each attempt, and ever more seldom where the kinds take turns. */
    void (*on_peer_trouble)(void *context, uint32_t peer, const struct error *reason);
    /* Somebody who is no peer was turned away. Anybody can cause these: limit what you log. */
    void (*on_stranger)(void *context, const char *address, const struct error *reason);
};

/* Strings and lists are borrowed for mesh_new only. */
struct mesh_config {
    uint32_t self;     /* own index, or MESH_OBSERVER */
    struct hash chain; /* a peer of another chain is refused */
    const char *certificate_path;
    const char *key_path;
    /* Every validator; the own entry may stand among them, and then its pin must be ours. */
    const struct mesh_peer *peers;
    size_t peer_count;
    const struct hash *observers; /* pins of those who may read along */
    size_t observer_count;
    const char *listen; /* host:port, port 0: any free one; NULL: do not listen */

    uint32_t votes_queue_bytes_max; /* unsent bytes a peer; beyond, MESH_FULL */
    uint32_t bulk_queue_bytes_max;
    uint32_t turn_bytes_max;   /* read from one connection before the others get their turn */
    uint32_t backoff_ms;       /* pause before the second attempt; doubles with each failure */
    uint32_t backoff_ms_max;   /* the pause is between half of it and all of it, by random */
    uint32_t handshake_ms_max; /* from the first packet to the other's hello */
    uint32_t keepalive_ms;     /* a ping this often */
    uint32_t silence_ms_max;   /* a peer that says nothing, or takes nothing, this long is gone */
    uint32_t steady_ms;  /* a peer that stayed up for so long has not just come and gone */
    uint32_t trouble_ms; /* a loss that was no news is trouble then; a peer's second trouble waits so long
                            to be told, the third twice so long, and so on */
    uint64_t (*random)(void *context); /* NULL: the kernel's */
    void *random_context;
    struct mesh_callbacks callbacks;
};

/* Defaults for all of the numbers: 4 MiB, 32 MiB, 256 KiB, 100 ms, 5 s, 5 s, 2 s, 10 s, 60 s,
 * 10 s. */
void mesh_config_defaults(struct mesh_config *ret_config);

struct mesh;

/* Listens, and begins to dial when the loop runs. ERROR_CONFIG, ERROR_CRYPTO (key files), ERROR_IO
 * (the address). */
MUST_CHECK enum error_code mesh_new(uv_loop_t *loop, const struct mesh_config *config,
                                    struct mesh **ret_mesh, struct error *err);

/* Hangs up everywhere. The mesh is freed when the loop has run on_closed (may be NULL); no other
 * callback comes any more. NULL is fine, and then on_closed is not called. */
void mesh_close(struct mesh *mesh, void (*on_closed)(void *context), void *context);

/* Other peers from now on. Who stays, by its pin, keeps its connections and may get another index or
 * address; who is not named any more is hung up on. Not from a callback of the mesh. On an error nothing
 * has changed. */
MUST_CHECK enum error_code mesh_set_peers(struct mesh *mesh, uint32_t self,
                                          const struct mesh_peer *peers, size_t peer_count,
                                          const struct hash *observers, size_t observer_count,
                                          struct error *err);
/* Another certificate and key of ours. Where the key differs, all connections are ended and made anew:
 * they say of us what is past. Not from a callback of the mesh. On an error nothing has changed. */
MUST_CHECK enum error_code mesh_set_identity(struct mesh *mesh, const char *certificate_path,
                                             const char *key_path, struct error *err);

/* The port that is listened on; 0 where none is. */
uint16_t mesh_port(const struct mesh *mesh);

enum mesh_sent {
    MESH_QUEUED = 0,
    MESH_FULL, /* the lane's cap is reached: not queued; on_writable comes when there is room */
    MESH_DOWN, /* the peer is not up: not queued */
};

/* Copies the bytes. A message longer than the lane's maximum, or empty, is a programmer's error. */
MUST_CHECK enum mesh_sent mesh_send(struct mesh *mesh, uint32_t peer, enum mesh_lane lane,
                                    struct bytes bytes);
/* To every validator that is up, and on the votes' lane to every observer, with one copy of the bytes;
 * tells how many it was queued for. */
size_t mesh_broadcast(struct mesh *mesh, enum mesh_lane lane, struct bytes bytes);

/* Stops and resumes reading from one lane of a peer, while its work is not done; TCP then slows
 * the sender. A peer whose lane is paused is not taken for dead. Ends with the connection. */
void mesh_pause(struct mesh *mesh, uint32_t peer, enum mesh_lane lane, bool paused);

/* Hangs up on a peer that broke a rule above this layer; it may come back after the backoff. */
void mesh_drop(struct mesh *mesh, uint32_t peer, const struct error *reason);

struct mesh_lane_stats {
    uint64_t messages_in; /* since the start, over all connections */
    uint64_t messages_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t refused;     /* sends that met the cap */
    uint32_t queue_bytes; /* not yet handed to the kernel */
};

struct mesh_stats {
    bool up;
    uint64_t up_ms;       /* how long it has been up; 0 where it is not */
    uint64_t connections; /* how often it came up */
    uint32_t rtt_us;      /* of the last ping of the votes' lane; 0: none yet */
    uint32_t failures;    /* attempts since it was last up */
    char address[64];     /* the other end, numeric; empty where there is none */
    struct mesh_lane_stats lane[MESH_LANES];
    struct error last_error; /* code ERROR_NONE: none since it came up */
};

/* ERROR_NOT_FOUND where there is no such peer. */
MUST_CHECK enum error_code mesh_stats(const struct mesh *mesh, uint32_t peer,
                                      struct mesh_stats *ret_stats, struct error *err);

bool mesh_is_up(const struct mesh *mesh, uint32_t peer);

struct mesh_totals {
    uint32_t peers_up;
    uint32_t observers_up;
    uint64_t strangers; /* turned away */
};
void mesh_totals(const struct mesh *mesh, struct mesh_totals *ret_totals);

#endif
