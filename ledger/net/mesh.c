#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "ledger/net/inside.h"

void mesh_config_defaults(struct mesh_config *ret_config) {
    *ret_config = (struct mesh_config){
        .self = MESH_OBSERVER,
        .votes_queue_bytes_max = 4 << 20,
        .bulk_queue_bytes_max = 32 << 20,
        .turn_bytes_max = 256 << 10,
        .backoff_ms = 100,
        .backoff_ms_max = 5000,
        .handshake_ms_max = 5000,
        .keepalive_ms = 2000,
        .silence_ms_max = 10000,
        .steady_ms = 60000,
        .trouble_ms = 10000,
    };
}

static enum error_code config_check(const struct mesh_config *config, struct error *err) {
    if (config->peer_count > MESH_VALIDATORS_MAX || config->observer_count > MESH_OBSERVERS_MAX)
        return error_set(err, ERROR_CONFIG,
                         "mesh: %zu validators and %zu observers, at most %d and %d",
                         config->peer_count, config->observer_count, MESH_VALIDATORS_MAX,
                         MESH_OBSERVERS_MAX);
    if (config->votes_queue_bytes_max == 0 || config->bulk_queue_bytes_max == 0 ||
        config->turn_bytes_max == 0 || config->backoff_ms == 0 || config->keepalive_ms == 0 ||
        config->handshake_ms_max == 0)
        return error_set(err, ERROR_CONFIG, "mesh: no cap and no time may be 0");
    if (config->backoff_ms_max < config->backoff_ms)
        return error_set(err, ERROR_CONFIG, "mesh: backoff_ms_max %u is below backoff_ms %u",
                         config->backoff_ms_max, config->backoff_ms);
    /* A peer that pings as often as we do must get a word in before it is given up. */
    if (config->silence_ms_max < 2 * config->keepalive_ms)
        return error_set(err, ERROR_CONFIG,
                         "mesh: silence_ms_max %u is below twice keepalive_ms %u",
                         config->silence_ms_max, config->keepalive_ms);
    return ERROR_NONE;
}

/* A list of peers that is being made: those that stay, and new ones. */
struct draft {
    struct mesh *mesh;
    uint32_t self;
    struct net_peer **peers;
    size_t count;
};

static enum error_code add_peer(struct draft *draft, const struct net_peer *model,
                                struct error *err) {
    struct mesh *mesh = draft->mesh;
    for (size_t i = 0; i < draft->count; i++)
        if (hash_equal(&draft->peers[i]->pin, &model->pin))
            return error_set(err, ERROR_CONFIG, "mesh: %s has the key of another peer",
                             model->name);
    struct net_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        return error_set(err, ERROR_NO_MEMORY, "mesh: no memory for a peer");
    *peer = *model;
    peer->mesh = mesh;
    draft->peers[draft->count++] = peer;
    return ERROR_NONE;
}

static enum error_code add_validator(struct draft *draft, const struct mesh_peer *from,
                                     struct error *err) {
    bool source = from->index >= MESH_SOURCE_FIRST;
    if (from->index >= MESH_VALIDATORS_MAX && !source)
        return error_set(err, ERROR_CONFIG, "mesh: validator %u, at most %d", from->index,
                         MESH_VALIDATORS_MAX - 1);
    bool own_key = hash_equal(&from->pin, &draft->mesh->own_pin);
    if (from->index == draft->self) {
        if (own_key)
            return ERROR_NONE;
        (void)error_set(err, ERROR_CONFIG, "mesh: our key is not the pinned one of validator %u",
                        from->index);
        error_hint(err, "give the certificate whose pin is in the genesis file");
        return ERROR_CONFIG;
    }
    if (own_key)
        return error_set(err, ERROR_CONFIG, "mesh: validator %u has our own key", from->index);
    struct net_peer peer = {.id = from->index, .pin = from->pin, .dial = from->dial || source};
    TRY(net__address_split(from->address, peer.host, peer.port, err));
    for (size_t i = 0; i < draft->count; i++)
        if (draft->peers[i]->id == from->index)
            return error_set(err, ERROR_CONFIG, "mesh: validator %u stands twice", from->index);
    (void)snprintf(peer.name, sizeof peer.name, source ? "source %u (%s)" : "validator %u (%s)",
                   source ? from->index - MESH_SOURCE_FIRST : from->index, from->address);
    return add_peer(draft, &peer, err);
}

static enum error_code make_draft(struct draft *draft, const struct mesh_peer *peers,
                                  size_t peer_count, const struct hash *observers,
                                  size_t observer_count, struct error *err) {
    for (size_t i = 0; i < peer_count; i++)
        TRY(add_validator(draft, &peers[i], err));
    for (size_t i = 0; i < observer_count; i++) {
        struct net_peer peer = {.id = MESH_OBSERVER_FIRST + (uint32_t)i,
                                .pin = observers[i],
                                .observer = true};
        (void)snprintf(peer.name, sizeof peer.name, "observer %zu", i);
        if (!hash_equal(&peer.pin, &draft->mesh->own_pin))
            TRY(add_peer(draft, &peer, err));
    }
    return ERROR_NONE;
}

static void remove_peer(struct mesh *mesh, struct net_peer *peer) {
    struct error reason;
    (void)error_set(&reason, ERROR_TLS, "%s: it is no peer any more", peer->name);
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next)
        if (c->peer == peer && c->state != NET_CLOSED)
            net__close(c);
    if (peer->up && mesh->config.callbacks.on_peer_down != NULL)
        mesh->config.callbacks.on_peer_down(mesh->config.callbacks.context, MESH_FORMER_PEER, true,
                                            &reason);
    peer->gone = true;
    if (peer->resolving)
        (void)uv_cancel((uv_req_t *)&peer->resolve);
    else
        net__peer_free(peer);
}

/* The draft's peers take the place of the old ones; of those with a known pin the old object stays,
 * with its connections, as what the draft says. */
static void take_draft(struct mesh *mesh, struct draft *draft) {
    for (size_t i = 0; i < mesh->peer_count; i++)
        mesh->peers[i]->wanted = false;
    for (size_t i = 0; i < draft->count; i++) {
        struct net_peer *fresh = draft->peers[i];
        struct net_peer *old = net__peer_by_pin(mesh, &fresh->pin);
        if (old == NULL)
            continue;
        old->id = fresh->id;
        old->observer = fresh->observer;
        old->dial = fresh->dial;
        memcpy(old->host, fresh->host, sizeof old->host);
        memcpy(old->port, fresh->port, sizeof old->port);
        memcpy(old->name, fresh->name, sizeof old->name);
        old->wanted = true;
        net__peer_free(fresh);
        draft->peers[i] = old;
    }
    struct net_peer **before = mesh->peers;
    size_t before_count = mesh->peer_count;
    mesh->peers = draft->peers;
    mesh->peer_count = draft->count;
    mesh->config.self = draft->self;
    for (size_t i = 0; i < before_count; i++)
        if (!before[i]->wanted)
            remove_peer(mesh, before[i]);
    free(before);
}

enum error_code mesh_set_peers(struct mesh *mesh, uint32_t self, const struct mesh_peer *peers,
                               size_t peer_count, const struct hash *observers,
                               size_t observer_count, struct error *err) {
    size_t most = peer_count + observer_count;
    struct draft draft = {.mesh = mesh, .self = self};
    draft.peers = calloc(most == 0 ? 1 : most, sizeof(struct net_peer *));
    if (draft.peers == NULL)
        return error_set(err, ERROR_NO_MEMORY, "mesh: no memory for %zu peers", most);
    enum error_code code =
        make_draft(&draft, peers, peer_count, observers, observer_count, err);
    if (code == ERROR_NONE) {
        take_draft(mesh, &draft);
        return ERROR_NONE;
    }
    for (size_t i = 0; i < draft.count; i++)
        net__peer_free(draft.peers[i]);
    free(draft.peers);
    return code;
}

enum error_code mesh_set_identity(struct mesh *mesh, const char *certificate_path,
                                  const char *key_path, struct error *err) {
    struct hash pin;
    struct net_tls *tls = NULL;
    TRY(certificate_pin(certificate_path, &pin, err));
    if (hash_equal(&pin, &mesh->own_pin))
        return ERROR_NONE;
    TRY(net_tls_new(certificate_path, key_path, net__accept_pin, &tls, err));
    /* A session holds what it needs of its context; the judge of certificates is looked up in the
     * new one, and is the same function. */
    net_tls_replace(mesh->tls, tls);
    mesh->own_pin = pin;
    struct error reason;
    for (size_t i = 0; i < mesh->peer_count; i++) {
        struct net_peer *peer = mesh->peers[i];
        (void)error_set(&reason, ERROR_TLS, "%s: our key has changed", peer->name);
        if (peer->lane[MESH_VOTES] != NULL || peer->lane[MESH_BULK] != NULL)
            net__peer_reset(peer, &reason);
    }
    return ERROR_NONE;
}

/* Signs of life, and their lack. */
static void connection_tick(struct net_connection *c, uint64_t now_ms) {
    const struct mesh_config *config = &c->mesh->config;
    struct error reason;
    bool running = c->state == NET_OPEN && c->peer->up;
    if (!running && now_ms - c->started_ms > config->handshake_ms_max) {
        (void)error_set(&reason, ERROR_TIMEOUT, "no connection within %u ms",
                        config->handshake_ms_max);
        net__fail(c, &reason);
        return;
    }
    if (!running)
        return;
    if (now_ms - c->pinged_ms >= config->keepalive_ms) {
        c->pinged_ms = now_ms;
        c->ping_due = true;
        net__mark_dirty(c);
    }
    bool waiting = c->queue.count > 0 || c->stage_at < c->stage_len;
    uint64_t patience = (uint64_t)config->silence_ms_max *
                        (c->lane == MESH_BULK ? NET_BULK_PATIENCE : 1);
    if (!c->paused && now_ms - c->heard_ms > config->silence_ms_max) {
        (void)error_set(&reason, ERROR_TIMEOUT, "nothing heard for %u ms", config->silence_ms_max);
        net__fail(c, &reason);
    } else if (waiting && now_ms - c->took_ms > patience) {
        (void)error_set(&reason, ERROR_TIMEOUT, "it took nothing for %u ms", (unsigned)patience);
        net__fail(c, &reason);
    }
}

/* Moves a moment forward, but never past now: something may have been heard since the gap. */
static void later(uint64_t *moment_ms, uint64_t by_ms, uint64_t now_ms) {
    *moment_ms = now_ms - *moment_ms > by_ms ? *moment_ms + by_ms : now_ms;
}

static void on_tick(uv_timer_t *timer) {
    struct mesh *mesh = timer->data;
    uint64_t now_ms = uv_now(mesh->loop);
    uint64_t gap_ms = now_ms - mesh->last_tick_ms;
    mesh->last_tick_ms = now_ms;
    /* A tick that comes late means that we were not looking, not that the others were silent. */
    uint64_t slept_ms = gap_ms > 4 * NET_TICK_MS ? gap_ms : 0;
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next) {
        if (c->state == NET_CLOSED)
            continue;
        later(&c->started_ms, slept_ms, now_ms);
        later(&c->heard_ms, slept_ms, now_ms);
        later(&c->took_ms, slept_ms, now_ms);
        connection_tick(c, now_ms);
    }
    for (size_t i = 0; i < mesh->peer_count && !mesh->closing; i++)
        net__peer_tick(mesh->peers[i], now_ms);
    if (mesh->listen_paused && !mesh->closing)
        net__listen_resume(mesh);
}

/* Once before the loop waits and once after: what timers and sockets made the owner say goes out
 * together, in few and large records. */
static void flush_all(struct mesh *mesh) {
    if (!mesh->dirty)
        return;
    mesh->dirty = false;
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next)
        if (c->dirty && !c->blocked && (c->state == NET_GREETING || c->state == NET_OPEN))
            net__flush(c);
    if (mesh->dirty) /* on_writable made the owner say more: the others get their turn first */
        net__wake(mesh);
}

static void on_prepare(uv_prepare_t *handle) {
    flush_all(handle->data);
}

static void on_check(uv_check_t *handle) {
    flush_all(handle->data);
}

static void start_handles(struct mesh *mesh) {
    uv_loop_t *loop = mesh->loop;
    int status = uv_timer_init(loop, &mesh->tick) | uv_prepare_init(loop, &mesh->prepare) |
                 uv_check_init(loop, &mesh->check) | uv_idle_init(loop, &mesh->idle);
    mesh->tick.data = mesh->prepare.data = mesh->check.data = mesh->idle.data = mesh;
    mesh->handles += 4;
    uv_update_time(loop);
    mesh->last_tick_ms = uv_now(loop);
    status |= uv_timer_start(&mesh->tick, on_tick, 0, NET_TICK_MS);
    status |= uv_prepare_start(&mesh->prepare, on_prepare);
    status |= uv_check_start(&mesh->check, on_check);
    assert(status == 0); /* these fail for a NULL callback only */
}

static void mesh_free(struct mesh *mesh) {
    net_tls_free(mesh->tls);
    for (size_t i = 0; i < mesh->peer_count; i++)
        net__peer_free(mesh->peers[i]);
    free(mesh->peers);
    free(mesh);
}

enum error_code mesh_new(uv_loop_t *loop, const struct mesh_config *config, struct mesh **ret_mesh,
                         struct error *err) {
    TRY(config_check(config, err));
    struct hash own_pin;
    TRY(certificate_pin(config->certificate_path, &own_pin, err));
    struct mesh *mesh = calloc(1, sizeof *mesh);
    if (mesh == NULL)
        return error_set(err, ERROR_NO_MEMORY, "mesh: no memory");
    mesh->loop = loop;
    mesh->config = *config;
    mesh->listen_fd = -1;
    mesh->own_pin = own_pin;
    enum error_code code = net_tls_new(config->certificate_path, config->key_path, net__accept_pin,
                                       &mesh->tls, err);
    if (code == ERROR_NONE)
        code = mesh_set_peers(mesh, config->self, config->peers, config->peer_count,
                              config->observers, config->observer_count, err);
    if (code == ERROR_NONE && config->listen != NULL)
        code = net__listen(mesh, config->listen, err);
    if (code != ERROR_NONE) {
        mesh_free(mesh);
        return code;
    }
    start_handles(mesh);
    *ret_mesh = mesh;
    return ERROR_NONE;
}

void net__release(struct mesh *mesh) {
    assert(mesh->handles > 0);
    if (--mesh->handles > 0 || !mesh->closing)
        return;
    void (*on_closed)(void *context) = mesh->on_closed;
    void *context = mesh->on_closed_context;
    mesh_free(mesh);
    if (on_closed != NULL)
        on_closed(context);
}

void net__handle_closed(uv_handle_t *handle) {
    net__release(handle->data);
}

void mesh_close(struct mesh *mesh, void (*on_closed)(void *context), void *context) {
    if (mesh == NULL)
        return;
    assert(!mesh->closing);
    mesh->closing = true;
    mesh->on_closed = on_closed;
    mesh->on_closed_context = context;
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next)
        net__close(c);
    for (size_t i = 0; i < mesh->peer_count; i++) {
        mesh->peers[i]->up = false;
        if (mesh->peers[i]->resolving)
            (void)uv_cancel((uv_req_t *)&mesh->peers[i]->resolve);
    }
    uv_close((uv_handle_t *)&mesh->tick, net__handle_closed);
    uv_close((uv_handle_t *)&mesh->prepare, net__handle_closed);
    uv_close((uv_handle_t *)&mesh->check, net__handle_closed);
    uv_close((uv_handle_t *)&mesh->idle, net__handle_closed);
    if (mesh->listen_fd >= 0) {
        uv_close((uv_handle_t *)&mesh->listen_poll, net__handle_closed);
        (void)close(mesh->listen_fd);
    }
}

uint16_t mesh_port(const struct mesh *mesh) {
    return mesh->port;
}

static struct net_peer *peer_by_id(const struct mesh *mesh, uint32_t id) {
    for (size_t i = 0; i < mesh->peer_count; i++)
        if (mesh->peers[i]->id == id)
            return mesh->peers[i];
    return NULL;
}

static enum mesh_sent enqueue(struct net_peer *peer, enum mesh_lane lane,
                              struct net_packet *packet) {
    struct net_connection *c = peer->lane[lane];
    bool idle = c->queue.count == 0 && c->stage_at == c->stage_len;
    if (packet == NULL || !net_queue_push(&c->queue, packet)) {
        peer->stats[lane].refused++;
        c->refused = true;
        net__mark_dirty(c); /* so that on_writable comes even where the queue is empty */
        return MESH_FULL;
    }
    if (idle)
        c->took_ms = uv_now(peer->mesh->loop);
    net__mark_dirty(c);
    return MESH_QUEUED;
}

static void check_message(enum mesh_lane lane, struct bytes bytes) {
    assert(lane == MESH_VOTES || lane == MESH_BULK);
    assert(bytes.len > 0);
    assert(bytes.len <= (lane == MESH_VOTES ? MESH_VOTE_BYTES_MAX : MESH_BULK_BYTES_MAX));
}

enum mesh_sent mesh_send(struct mesh *mesh, uint32_t peer_id, enum mesh_lane lane,
                         struct bytes bytes) {
    check_message(lane, bytes);
    struct net_peer *peer = peer_by_id(mesh, peer_id);
    if (peer == NULL || !peer->up)
        return MESH_DOWN;
    struct net_packet *packet = net_packet_new(bytes);
    enum mesh_sent sent = enqueue(peer, lane, packet);
    net_packet_release(packet);
    return sent;
}

size_t mesh_broadcast(struct mesh *mesh, enum mesh_lane lane, struct bytes bytes) {
    check_message(lane, bytes);
    size_t queued = 0;
    struct net_packet *packet = NULL;
    for (size_t i = 0; i < mesh->peer_count; i++) {
        struct net_peer *peer = mesh->peers[i];
        if (!peer->up || peer->id >= MESH_SOURCE_FIRST || (peer->observer && lane == MESH_BULK))
            continue;
        if (packet == NULL)
            packet = net_packet_new(bytes);
        queued += enqueue(peer, lane, packet) == MESH_QUEUED;
    }
    net_packet_release(packet);
    return queued;
}

void mesh_pause(struct mesh *mesh, uint32_t peer_id, enum mesh_lane lane, bool paused) {
    struct net_peer *peer = peer_by_id(mesh, peer_id);
    if (peer == NULL || !peer->up)
        return;
    struct net_connection *c = peer->lane[lane];
    if (c->paused == paused)
        return;
    c->paused = paused;
    if (!paused) {
        c->heard_ms = uv_now(mesh->loop);
        net__mark_ready(c);
    }
    net__interest(c);
}

void mesh_drop(struct mesh *mesh, uint32_t peer_id, const struct error *reason) {
    struct net_peer *peer = peer_by_id(mesh, peer_id);
    if (peer == NULL || !peer->up)
        return;
    struct error named = *reason;
    (void)error_wrap(&named, named.code, "%s: we hung up", peer->name);
    net__peer_reset(peer, &named);
    peer->banned_until_ms = uv_now(mesh->loop) + mesh->config.backoff_ms_max;
    peer->next_ms = peer->banned_until_ms;
}

bool mesh_is_up(const struct mesh *mesh, uint32_t peer_id) {
    const struct net_peer *peer = peer_by_id(mesh, peer_id);
    return peer != NULL && peer->up;
}

enum error_code mesh_stats(const struct mesh *mesh, uint32_t peer_id, struct mesh_stats *ret_stats,
                           struct error *err) {
    const struct net_peer *peer = peer_by_id(mesh, peer_id);
    if (peer == NULL)
        return error_set(err, ERROR_NOT_FOUND, "mesh: there is no peer %u", peer_id);
    struct mesh_stats stats = {
        .up = peer->up,
        .up_ms = peer->up ? uv_now(mesh->loop) - peer->up_since_ms : 0,
        .connections = peer->connections,
        .rtt_us = peer->rtt_us,
        .failures = peer->failures,
        .last_error = peer->last_error,
    };
    for (int lane = 0; lane < MESH_LANES; lane++) {
        const struct net_connection *c = peer->lane[lane];
        stats.lane[lane] = peer->stats[lane];
        if (c == NULL)
            continue;
        stats.lane[lane].queue_bytes = (uint32_t)(c->queue.bytes + c->stage_len - c->stage_at);
        (void)snprintf(stats.address, sizeof stats.address, "%s", c->address);
    }
    *ret_stats = stats;
    return ERROR_NONE;
}

void mesh_totals(const struct mesh *mesh, struct mesh_totals *ret_totals) {
    struct mesh_totals totals = {.strangers = mesh->strangers};
    for (size_t i = 0; i < mesh->peer_count; i++) {
        const struct net_peer *peer = mesh->peers[i];
        totals.peers_up += peer->up && peer->id < MESH_OBSERVER_FIRST;
        totals.observers_up += peer->up && peer->observer;
    }
    *ret_totals = totals;
}
