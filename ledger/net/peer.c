#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "ledger/net/inside.h"

struct net_peer *net__peer_by_pin(struct mesh *mesh, const struct hash *pin) {
    struct net_peer *found = NULL;
    for (size_t i = 0; i < mesh->peer_count; i++)
        if (bytes_equal_secret(hash_bytes(&mesh->peers[i]->pin), hash_bytes(pin)))
            found = mesh->peers[i];
    return found;
}

void net__peer_free(struct net_peer *peer) {
    free(peer);
}

static uint64_t random_u64(struct mesh *mesh) {
    if (mesh->config.random != NULL)
        return mesh->config.random(mesh->config.random_context);
    uint64_t value = 0;
    random_bytes(&value, sizeof value);
    return value;
}

/* Doubles with each failure; by chance between half of that and all of it, so that a hundred nodes
 * do not knock at once on the one that restarts. */
static uint64_t backoff_ms(struct net_peer *peer) {
    const struct mesh_config *config = &peer->mesh->config;
    uint64_t pause = config->backoff_ms;
    for (uint32_t i = 0; i < peer->failures && pause < config->backoff_ms_max; i++)
        pause *= 2;
    if (pause > config->backoff_ms_max)
        pause = config->backoff_ms_max;
    return pause / 2 + random_u64(peer->mesh) % (pause / 2 + 1);
}

void net__peer_trouble(struct net_peer *peer, const struct error *reason) {
    const struct mesh_callbacks *call = &peer->mesh->config.callbacks;
    const struct mesh_config *config = &peer->mesh->config;
    uint64_t now_ms = uv_now(peer->mesh->loop);
    peer->last_error = *reason;
    bool untold_loss = !peer->up && peer->news.told_up; /* it may be back at once, as it was before */
    if (peer->mesh->closing || untold_loss || now_ms < peer->quiet_until_ms ||
        strcmp(peer->told.message, reason->message) == 0)
        return;
    peer->told = *reason;
    peer->quiet_until_ms = now_ms + (uint64_t)config->trouble_ms * peer->tellings;
    if (peer->tellings < NET_TELLINGS_MAX)
        peer->tellings++;
    if (call->on_peer_trouble != NULL)
        call->on_peer_trouble(call->context, peer->id, reason);
}

void net__peer_reset(struct net_peer *peer, const struct error *reason) {
    struct mesh *mesh = peer->mesh;
    uint64_t now_ms = uv_now(mesh->loop);
    bool was_up = peer->up;
    struct error copy = *reason; /* the reason may be the peer's own, and callbacks overwrite it */
    /* Of one that comes up and falls at once, again and again, the pauses still grow. */
    if (was_up && now_ms - peer->up_since_ms > mesh->config.backoff_ms_max)
        peer->failures = 0;
    if (was_up && now_ms - peer->up_since_ms >= mesh->config.steady_ms)
        peer->tellings = 0;
    bool news = was_up && net_news_down(&peer->news, now_ms, mesh->config.steady_ms);
    peer->next_ms = now_ms + backoff_ms(peer);
    if (peer->failures < UINT32_MAX)
        peer->failures++;
    peer->up = false;
    peer->session = 0;
    for (int lane = 0; lane < MESH_LANES; lane++)
        if (peer->lane[lane] != NULL)
            net__close(peer->lane[lane]);
    peer->last_error = copy;
    if (!was_up) {
        net__peer_trouble(peer, &copy);
    } else if (!mesh->closing && mesh->config.callbacks.on_peer_down != NULL) {
        mesh->config.callbacks.on_peer_down(mesh->config.callbacks.context, peer->id, news, &copy);
    }
}

static void peer_up(struct net_peer *peer) {
    struct mesh *mesh = peer->mesh;
    peer->up = true;
    peer->up_since_ms = uv_now(mesh->loop);
    peer->connections++;
    peer->rtt_us = 0;
    peer->last_error = (struct error){0};
    peer->told = (struct error){0};
    bool news = net_news_up(&peer->news, peer->up_since_ms);
    for (int lane = 0; lane < MESH_LANES; lane++) {
        struct net_connection *c = peer->lane[lane];
        c->ping_due = true;
        net__mark_dirty(c);
        net__mark_ready(c);
        net__interest(c);
    }
    if (mesh->config.callbacks.on_peer_up != NULL)
        mesh->config.callbacks.on_peer_up(mesh->config.callbacks.context, peer->id, news);
}

static void lane_open(struct net_connection *c) {
    struct net_peer *peer = c->peer;
    const struct mesh_config *config = &c->mesh->config;
    c->state = NET_OPEN;
    net_queue_init(&c->queue, c->lane == MESH_VOTES ? config->votes_queue_bytes_max
                                                    : config->bulk_queue_bytes_max);
    bool all = true;
    for (int lane = 0; lane < MESH_LANES; lane++)
        all = all && peer->lane[lane] != NULL && peer->lane[lane]->state == NET_OPEN;
    if (all)
        peer_up(peer);
}

/* What must be equal on both sides before anything else of a hello is looked at. The index is not: who
 * lags knows an older list of members, in which it and the others may have other numbers. */
static enum error_code hello_fits(const struct net_connection *c, const struct net_hello *hello,
                                  struct error *err) {
    if (hello->version != MESH_VERSION) {
        (void)error_set(err, ERROR_PROTOCOL, "it speaks version %u of the mesh, expected %d",
                        hello->version, MESH_VERSION);
        error_hint(err, "run the same version of renkei-node on both sides");
        return ERROR_PROTOCOL;
    }
    if (!hash_equal(&hello->chain, &c->mesh->config.chain)) {
        (void)error_set(err, ERROR_PROTOCOL, "it belongs to another chain");
        error_hint(err, "compare the SHA-256 of the genesis files");
        return ERROR_PROTOCOL;
    }
    return ERROR_NONE;
}

static enum error_code answer_fits(const struct net_connection *c, const struct net_hello *hello,
                                   struct error *err) {
    if (hello->lane != (uint8_t)c->lane || hello->session != c->session)
        return error_set(err, ERROR_PROTOCOL, "its hello answers another connection");
    return ERROR_NONE;
}

/* Puts an accepted connection into its slot. Its session tells whether the other lane is of the
 * same attempt; if not, what stands there is the past. */
static enum error_code adopt(struct net_connection *c, const struct net_hello *hello,
                             struct error *err) {
    struct net_peer *peer = c->peer;
    if (uv_now(c->mesh->loop) < peer->banned_until_ms)
        return error_set(err, ERROR_BUSY, "it was hung up on a moment ago");
    if (peer->session != hello->session &&
        (peer->lane[MESH_VOTES] != NULL || peer->lane[MESH_BULK] != NULL)) {
        struct error reason;
        (void)error_set(&reason, ERROR_TLS, "%s: it connected anew", peer->name);
        net__peer_reset(peer, &reason);
        if (c->state == NET_CLOSED) /* the callback closed the mesh */
            return ERROR_NONE;
    }
    if (peer->lane[hello->lane] != NULL)
        return error_set(err, ERROR_PROTOCOL, "two connections for lane %u of one session",
                         hello->lane);
    peer->session = hello->session;
    peer->lane[hello->lane] = c;
    c->session = hello->session;
    c->adopted = true;
    net__say_hello(c);
    lane_open(c);
    return ERROR_NONE;
}

enum error_code net__peer_hello(struct net_connection *c, struct bytes body, struct error *err) {
    struct net_hello hello;
    TRY(net_hello_read(body, &hello, err));
    enum error_code code = hello_fits(c, &hello, err);
    if (code == ERROR_NONE && c->dials)
        code = answer_fits(c, &hello, err);
    if (code != ERROR_NONE) {
        if (!c->dials) {
            /* Our own hello tells the other side what does not fit. */
            net__say_hello(c);
            net__flush(c);
        }
        return code;
    }
    if (!c->dials) {
        c->lane = (enum mesh_lane)hello.lane;
        return adopt(c, &hello, err);
    }
    lane_open(c);
    return ERROR_NONE;
}

static void attempt_failed(struct net_peer *peer, enum error_code code, const char *what) {
    struct error reason;
    (void)error_set(&reason, code, "%s: %s", peer->name, what);
    if (code == ERROR_NODE_UNREACHABLE)
        error_hint(&reason, "check its address in the genesis file, and the name server");
    net__peer_reset(peer, &reason);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list) {
    struct net_peer *peer = request->data;
    struct mesh *mesh = peer->mesh;
    peer->resolving = false;
    if (mesh->closing) {
        uv_freeaddrinfo(list);
        if (peer->gone)
            net__peer_free(peer);
        net__release(mesh);
        return;
    }
    mesh->handles--;
    if (peer->gone) {
        uv_freeaddrinfo(list);
        net__peer_free(peer);
        return;
    }
    if (peer->lane[MESH_VOTES] != NULL || peer->lane[MESH_BULK] != NULL) {
        uv_freeaddrinfo(list); /* it came to us meanwhile */
        return;
    }
    if (status != 0) {
        attempt_failed(peer, ERROR_NODE_UNREACHABLE, uv_strerror(status));
        uv_freeaddrinfo(list);
        return;
    }
    /* A name with several addresses: each attempt takes the next one. */
    uint32_t count = 0;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next)
        count++;
    struct addrinfo *chosen = list;
    for (uint32_t skip = count == 0 ? 0 : peer->failures % count; skip > 0; skip--)
        chosen = chosen->ai_next;
    if (chosen == NULL) {
        attempt_failed(peer, ERROR_NODE_UNREACHABLE, "the name has no address");
        return;
    }
    peer->session = random_u64(mesh) | 1;
    for (int lane = 0; lane < MESH_LANES; lane++) {
        struct error reason;
        enum error_code code = net__connect(peer, (enum mesh_lane)lane, peer->session,
                                            chosen->ai_addr, &reason);
        if (code != ERROR_NONE) {
            attempt_failed(peer, code, reason.message);
            break;
        }
    }
    uv_freeaddrinfo(list);
}

static void dial(struct net_peer *peer) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    peer->resolve.data = peer;
    int status = uv_getaddrinfo(peer->mesh->loop, &peer->resolve, on_resolved, peer->host,
                                peer->port, &hints);
    if (status != 0) {
        attempt_failed(peer, ERROR_NODE_UNREACHABLE, uv_strerror(status));
        return;
    }
    peer->resolving = true;
    peer->mesh->handles++;
}

/* Asked anew for each attempt: both keys may have changed since the last one. */
static bool dials(const struct net_peer *peer) {
    const struct mesh *mesh = peer->mesh;
    return !peer->observer && (mesh->config.self == MESH_OBSERVER || peer->dial ||
                               memcmp(mesh->own_pin.byte, peer->pin.byte, HASH_BYTES) < 0);
}

void net__peer_tick(struct net_peer *peer, uint64_t now_ms) {
    if (!peer->up && net_news_absent(&peer->news, now_ms, peer->mesh->config.trouble_ms)) {
        struct error reason = peer->last_error;
        peer->told = (struct error){0};
        peer->quiet_until_ms = 0;
        net__peer_trouble(peer, &reason);
    }
    bool idle = !peer->resolving && peer->lane[MESH_VOTES] == NULL && peer->lane[MESH_BULK] == NULL;
    if (dials(peer) && idle && now_ms >= peer->next_ms)
        dial(peer);
}
