/*
 * The mesh from inside. A connection is a socket with TLS on it; a peer has a slot for one
 * connection a lane, and all policy (who is up, who dials when) is the peer's.
 *
 * Lifetimes: a closed connection stays in the mesh's list, as NET_CLOSED, until libuv has let go
 * of its handle, which is never inside one of our calls. So a loop over connections stays valid
 * whatever a callback closes; it only has to look at the state again after each callback.
 */
#ifndef LEDGER_NET_INSIDE_H
#define LEDGER_NET_INSIDE_H

#include <sys/socket.h>

#include "ledger/net/frame.h"
#include "ledger/net/net.h"
#include "ledger/net/news.h"
#include "ledger/net/queue.h"
#include "ledger/net/tls.h"

enum {
    NET_TICK_MS = 50,
    NET_CHUNK_BYTES = 16 << 10, /* the largest TLS record: one read, and one write */
    NET_TURN_WRITE_BYTES_MAX = 1 << 20,
    NET_UNKNOWN_MAX = 256, /* connections whose hello has not come yet; the oldest gives way */
    NET_ACCEPTS_PER_TURN_MAX = 16,
    NET_BULK_PATIENCE = 6, /* times silence_ms_max a bulk lane may take nothing: it may be paused */
    NET_TELLINGS_MAX = 30, /* times trouble_ms that the next trouble may have to wait to be told */
    NET_NAME_BYTES_MAX = 320,
    NET_HOST_BYTES_MAX = 255,
    NET_NUMERIC_BYTES_MAX = 64, /* "[ipv6%scope]:65535" */
};

enum net_state {
    NET_CONNECTING,
    NET_HANDSHAKE,
    NET_GREETING, /* the hello went out (who dials) or is awaited (who accepts) */
    NET_OPEN,
    NET_CLOSED,
};

struct net_peer;

struct net_connection {
    struct mesh *mesh;
    struct net_connection *next;
    struct net_connection *previous;
    uv_poll_t poll;
    int fd;
    int interest; /* what uv_poll watches now */
    SSL *ssl;
    enum net_state state;
    bool dials;
    bool broken; /* the session failed: no goodbye can be said */
    struct net_peer *peer; /* who dials: from the start; who accepts: once the key is known */
    enum mesh_lane lane;
    bool adopted; /* stands in the peer's slot of this lane */
    uint64_t session;
    char address[NET_NUMERIC_BYTES_MAX];

    uint64_t started_ms;
    uint64_t heard_ms;
    uint64_t took_ms; /* when the kernel last took something, or there was nothing to take */

    struct net_reader reader;
    bool paused;
    bool ready; /* bytes may wait inside OpenSSL, where no poll sees them */

    struct net_queue queue;
    uint8_t stage[NET_CHUNK_BYTES]; /* what is being written: OpenSSL wants the same bytes again */
    size_t stage_len;
    size_t stage_at;
    bool blocked; /* wait for the socket to be writable */
    bool dirty;   /* something to write came since the last flush */
    bool refused; /* a send met the cap: the owner waits for on_writable */

    bool ping_due;
    bool pong_due;
    uint8_t pong[NET_PING_BYTES];
    uint64_t ping_ns; /* the unanswered ping's content; 0: none */
    uint64_t pinged_ms;
};

struct net_peer {
    struct mesh *mesh;
    uint32_t id;
    bool observer;
    bool dial; /* by us, whatever its pin is */
    bool wanted;  /* while the list is being changed */
    bool gone;    /* no peer any more: freed when the name was resolved */
    struct hash pin;
    char host[NET_HOST_BYTES_MAX + 1];
    char port[6];
    char name[NET_NAME_BYTES_MAX]; /* for errors: "validator 2 (host:port)" */

    struct net_connection *lane[MESH_LANES];
    uint64_t session;
    bool up;
    uint64_t up_since_ms;
    bool resolving;
    uv_getaddrinfo_t resolve;
    uint64_t next_ms; /* no attempt before */
    uint64_t banned_until_ms; /* after mesh_drop */
    uint32_t failures;

    uint64_t connections;
    uint32_t rtt_us;
    struct mesh_lane_stats stats[MESH_LANES];
    struct error last_error;
    struct net_news news;
    struct error told; /* the trouble that was last told */
    uint32_t tellings; /* of trouble, since it last stayed up for long */
    uint64_t quiet_until_ms; /* no other trouble is told before */
};

struct mesh {
    uv_loop_t *loop;
    struct mesh_config config; /* its pointers are not used after mesh_new */
    struct net_tls *tls;
    struct net_peer **peers;
    size_t peer_count;
    struct hash own_pin;
    struct net_connection *connections;
    uint64_t strangers;
    uint64_t last_tick_ms;

    uv_timer_t tick;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* runs while some connection is ready */
    bool idle_runs;
    bool dirty;
    int listen_fd;
    uv_poll_t listen_poll;
    bool listen_paused; /* out of descriptors; tried again by the next tick */
    uint16_t port;

    bool closing;
    size_t handles; /* of libuv, not yet closed, and names being resolved */
    void (*on_closed)(void *context);
    void *on_closed_context;

    uint8_t chunk[NET_CHUNK_BYTES];
};

/* connection.c. The socket is theirs from the call on, also when it fails. */
enum error_code net__connect(struct net_peer *peer, enum mesh_lane lane, uint64_t session,
                             const struct sockaddr *to, struct error *err) MUST_CHECK;
enum error_code net__accepted(struct mesh *mesh, int fd, const struct sockaddr *from,
                              struct error *err) MUST_CHECK;
bool net__accept_pin(void *connection, const struct hash *pin);
/* Lets go of the socket, and of nothing else: no callback comes. */
void net__close(struct net_connection *c);
/* The connection is of no use: tells its peer, or that a stranger was turned away. */
void net__fail(struct net_connection *c, struct error *reason);
void net__read(struct net_connection *c);
void net__flush(struct net_connection *c);
void net__interest(struct net_connection *c);
/* Lets the loop's next turn come without waiting for a socket. */
void net__wake(struct mesh *mesh);
void net__mark_ready(struct net_connection *c);
void net__mark_dirty(struct net_connection *c);
void net__say_hello(struct net_connection *c);

/* peer.c */
void net__peer_tick(struct net_peer *peer, uint64_t now_ms);
enum error_code net__peer_hello(struct net_connection *c, struct bytes body,
                                struct error *err) MUST_CHECK;
/* Hangs up on both lanes and plans the next attempt. */
void net__peer_reset(struct net_peer *peer, const struct error *reason);
void net__peer_trouble(struct net_peer *peer, const struct error *reason);
void net__peer_free(struct net_peer *peer);
struct net_peer *net__peer_by_pin(struct mesh *mesh, const struct hash *pin);

/* listen.c */
enum error_code net__address_split(const char *address, char ret_host[NET_HOST_BYTES_MAX + 1],
                                   char ret_port[6], struct error *err) MUST_CHECK;
void net__address_numeric(const struct sockaddr *address, char ret_text[NET_NUMERIC_BYTES_MAX]);
enum error_code net__listen(struct mesh *mesh, const char *address, struct error *err) MUST_CHECK;
void net__listen_resume(struct mesh *mesh);

/* mesh.c */
void net__handle_closed(uv_handle_t *handle); /* handle->data is the mesh */
void net__release(struct mesh *mesh);         /* one handle less; frees after the last one */

#endif
