#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wire.h"
#include "ledger/net/inside.h"

static void on_poll(uv_poll_t *handle, int status, int events);

static size_t message_bytes_max(enum mesh_lane lane) {
    return lane == MESH_VOTES ? MESH_VOTE_BYTES_MAX : MESH_BULK_BYTES_MAX;
}

static enum error_code connection_new(struct mesh *mesh, int fd, bool dials,
                                      const struct sockaddr *other,
                                      struct net_connection **ret_connection, struct error *err) {
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct net_connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)close(fd);
        return error_set(err, ERROR_NO_MEMORY, "no memory for a connection");
    }
    enum error_code code = net_tls_session(mesh->tls, fd, dials, c, &c->ssl, err);
    int status = code == ERROR_NONE ? uv_poll_init(mesh->loop, &c->poll, fd) : 0;
    if (status != 0)
        code = error_set(err, ERROR_IO, "a socket cannot be watched: %s", uv_strerror(status));
    if (code != ERROR_NONE) {
        SSL_free(c->ssl);
        free(c);
        (void)close(fd);
        return code;
    }
    c->poll.data = c;
    c->mesh = mesh;
    c->fd = fd;
    c->dials = dials;
    c->started_ms = c->heard_ms = c->took_ms = c->pinged_ms = uv_now(mesh->loop);
    /* Until the lane is known only a hello can come, which has its own small maximum. */
    net_reader_init(&c->reader, 0);
    net__address_numeric(other, c->address);
    c->next = mesh->connections;
    if (c->next != NULL)
        c->next->previous = c;
    mesh->connections = c;
    mesh->handles++;
    *ret_connection = c;
    return ERROR_NONE;
}

enum error_code net__connect(struct net_peer *peer, enum mesh_lane lane, uint64_t session,
                             const struct sockaddr *to, struct error *err) {
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, ERROR_IO, "no socket: %s", strerror(errno));
    struct net_connection *c = NULL;
    TRY(connection_new(peer->mesh, fd, true, to, &c, err));
    c->peer = peer;
    c->lane = lane;
    c->session = session;
    c->state = NET_CONNECTING;
    c->adopted = true;
    peer->lane[lane] = c;
    socklen_t len = to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                              : sizeof(struct sockaddr_in);
    /* A failure is left in SO_ERROR too, or the socket is unconnected: both show at the poll. */
    if (connect(fd, to, len) != 0 && errno != EINPROGRESS)
        return error_set(err, ERROR_NODE_UNREACHABLE, "cannot connect: %s", strerror(errno));
    net__interest(c);
    return ERROR_NONE;
}

enum error_code net__accepted(struct mesh *mesh, int fd, const struct sockaddr *from,
                              struct error *err) {
    struct net_connection *c = NULL;
    TRY(connection_new(mesh, fd, false, from, &c, err));
    c->state = NET_HANDSHAKE;
    net__interest(c);
    return ERROR_NONE;
}

bool net__accept_pin(void *connection, const struct hash *pin) {
    struct net_connection *c = connection;
    struct net_peer *peer = net__peer_by_pin(c->mesh, pin);
    if (peer == NULL || (c->dials && peer != c->peer))
        return false;
    c->peer = peer;
    return true;
}

static void on_closed(uv_handle_t *handle) {
    struct net_connection *c = handle->data;
    struct mesh *mesh = c->mesh;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        mesh->connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    SSL_free(c->ssl);
    net_reader_done(&c->reader);
    net_queue_done(&c->queue);
    free(c);
    net__release(mesh);
}

/* Bytes that nobody has read make close() reset the connection, and a reset can overtake our last
 * words: the alert or hello that tells the other side why. */
static void drain(int fd) {
    uint8_t scrap[4096];
    for (int i = 0; i < 16 && recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) > 0; i++)
        continue;
}

void net__close(struct net_connection *c) {
    if (c->state == NET_CLOSED)
        return;
    if (c->state >= NET_GREETING && !c->broken && c->stage_at == c->stage_len)
        net_tls_goodbye(c->ssl);
    c->state = NET_CLOSED;
    if (c->adopted)
        c->peer->lane[c->lane] = NULL;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    (void)shutdown(c->fd, SHUT_WR);
    drain(c->fd);
    (void)close(c->fd);
}

void net__fail(struct net_connection *c, struct error *reason) {
    if (c->state == NET_CLOSED)
        return;
    struct mesh *mesh = c->mesh;
    struct net_peer *peer = c->peer;
    if (peer == NULL) {
        net__close(c);
        mesh->strangers++;
        (void)error_wrap(reason, reason->code, "%s", c->address);
        if (mesh->config.callbacks.on_stranger != NULL && !mesh->closing)
            mesh->config.callbacks.on_stranger(mesh->config.callbacks.context, c->address, reason);
        return;
    }
    (void)error_wrap(reason, reason->code, "%s", peer->name);
    if (c->adopted) {
        net__peer_reset(peer, reason);
    } else {
        net__close(c);
        net__peer_trouble(peer, reason);
    }
}

static void fail_text(struct net_connection *c, enum error_code code, const char *text) {
    struct error reason;
    (void)error_set(&reason, code, "%s", text);
    net__fail(c, &reason);
}

/* The session ended by itself: by the other's goodbye, or by a failure that reason tells. */
static void broken(struct net_connection *c, enum net_tls_result how, struct error *reason) {
    if (how == NET_TLS_FAILED) {
        c->broken = true;
        net__fail(c, reason);
    } else {
        fail_text(c, ERROR_TLS, "it hung up");
    }
}

/* Messages are read once the peer is up, and before that never a byte beyond the hello. */
static bool reads(const struct net_connection *c) {
    return c->state == NET_GREETING || (c->state == NET_OPEN && c->peer->up && !c->paused);
}

void net__interest(struct net_connection *c) {
    if (c->state == NET_CLOSED)
        return;
    int interest = 0;
    if (c->state == NET_CONNECTING || c->blocked)
        interest |= UV_WRITABLE;
    if (c->state == NET_HANDSHAKE || reads(c))
        interest |= UV_READABLE;
    if (interest == c->interest)
        return;
    c->interest = interest;
    int status = interest == 0 ? uv_poll_stop(&c->poll)
                               : uv_poll_start(&c->poll, interest, on_poll);
    assert(status == 0); /* fails for a closing handle only */
}

static void on_idle(uv_idle_t *handle) {
    struct mesh *mesh = handle->data;
    bool more = false;
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next) {
        if (c->state == NET_CLOSED || !c->ready)
            continue;
        c->ready = false;
        net__read(c);
        net__interest(c);
    }
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next)
        more = more || (c->state != NET_CLOSED && c->ready);
    if (!more && !mesh->dirty && !mesh->closing) {
        uv_idle_stop(&mesh->idle);
        mesh->idle_runs = false;
    }
}

void net__wake(struct mesh *mesh) {
    if (mesh->idle_runs || mesh->closing)
        return;
    mesh->idle_runs = true;
    (void)uv_idle_start(&mesh->idle, on_idle);
}

void net__mark_ready(struct net_connection *c) {
    c->ready = true;
    net__wake(c->mesh);
}

void net__mark_dirty(struct net_connection *c) {
    c->dirty = true;
    c->mesh->dirty = true;
}

static void stage_put(struct net_connection *c, enum net_frame_kind kind, const void *body,
                      size_t len) {
    assert(NET_CHUNK_BYTES - c->stage_len >= NET_HEAD_BYTES + len);
    net_head_write(c->stage + c->stage_len, kind, len);
    memcpy(c->stage + c->stage_len + NET_HEAD_BYTES, body, len);
    c->stage_len += NET_HEAD_BYTES + len;
}

void net__say_hello(struct net_connection *c) {
    const struct mesh_config *config = &c->mesh->config;
    struct net_hello hello = {MESH_VERSION, config->chain, (uint8_t)c->lane, config->self,
                              c->session};
    uint8_t body[NET_HELLO_BYTES];
    net_hello_write(&hello, body);
    stage_put(c, NET_FRAME_HELLO, body, sizeof body);
    net__mark_dirty(c);
}

/* Fills the empty stage: what keeps the connection alive first, then messages. */
static void stage_fill(struct net_connection *c) {
    c->stage_at = c->stage_len = 0;
    if (c->state != NET_OPEN)
        return;
    if (net_queue_at_boundary(&c->queue)) {
        if (c->pong_due)
            stage_put(c, NET_FRAME_PONG, c->pong, sizeof c->pong);
        c->pong_due = false;
        if (c->ping_due) {
            uint8_t body[NET_PING_BYTES];
            c->ping_ns = clock_monotonic_ns();
            wire_store_u64(body, c->ping_ns);
            stage_put(c, NET_FRAME_PING, body, sizeof body);
        }
        c->ping_due = false;
    }
    c->stage_len += net_queue_take(&c->queue, c->stage + c->stage_len,
                                   NET_CHUNK_BYTES - c->stage_len,
                                   &c->peer->stats[c->lane].messages_out);
}

static void tell_writable(struct net_connection *c) {
    const struct mesh_callbacks *call = &c->mesh->config.callbacks;
    if (!c->refused || c->queue.bytes > c->queue.bytes_max / 2 || c->state != NET_OPEN)
        return;
    c->refused = false;
    if (call->on_writable != NULL)
        call->on_writable(call->context, c->peer->id, c->lane);
}

void net__flush(struct net_connection *c) {
    struct error reason;
    size_t budget = NET_TURN_WRITE_BYTES_MAX;
    c->dirty = false;
    while (c->state == NET_GREETING || c->state == NET_OPEN) {
        if (c->stage_at == c->stage_len)
            stage_fill(c);
        if (c->stage_len == 0) {
            c->blocked = false;
            break;
        }
        size_t n = 0;
        enum net_tls_result got = net_tls_write(c->ssl, c->stage + c->stage_at,
                                                c->stage_len - c->stage_at, &n, &reason);
        if (got == NET_TLS_WANT_WRITE) {
            c->blocked = true;
            break;
        }
        if (got != NET_TLS_DONE) {
            /* Why it hung up may still wait to be read; if it does, that fails the connection. */
            if (c->state == NET_GREETING)
                net__read(c);
            broken(c, got, &reason);
            return;
        }
        c->stage_at += n;
        c->took_ms = uv_now(c->mesh->loop);
        if (c->peer != NULL && c->adopted)
            c->peer->stats[c->lane].bytes_out += n;
        if (n >= budget) {
            c->blocked = true; /* the rest in the next turn: the socket may be writable still */
            break;
        }
        budget -= n;
    }
    tell_writable(c);
    net__interest(c);
}

static void on_pong(struct net_connection *c, struct bytes body) {
    uint64_t sent = wire_load_u64(body.data);
    if (sent != c->ping_ns || sent == 0)
        return;
    c->ping_ns = 0;
    uint64_t us = (clock_monotonic_ns() - sent) / 1000;
    if (c->lane == MESH_VOTES)
        c->peer->rtt_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void handle(struct net_connection *c, const struct net_frame *frame) {
    const struct mesh_callbacks *call = &c->mesh->config.callbacks;
    struct error reason;
    switch (frame->kind) {
    case NET_FRAME_HELLO:
        if (net__peer_hello(c, frame->body, &reason) != ERROR_NONE)
            net__fail(c, &reason);
        break;
    case NET_FRAME_MESSAGE:
        c->peer->stats[c->lane].messages_in++;
        if (call->on_message != NULL)
            call->on_message(call->context, c->peer->id, c->lane, frame->body);
        break;
    case NET_FRAME_PING:
        memcpy(c->pong, frame->body.data, sizeof c->pong);
        c->pong_due = true;
        net__mark_dirty(c);
        break;
    case NET_FRAME_PONG:
        on_pong(c, frame->body);
        break;
    }
}

static void feed(struct net_connection *c, struct bytes input) {
    struct error reason;
    if (c->adopted)
        c->peer->stats[c->lane].bytes_in += input.len;
    while (input.len > 0 && c->state != NET_CLOSED) {
        bool whole = false;
        struct net_frame frame;
        /* The lane is known before anything but a hello may come: set when the hello is judged. */
        c->reader.message_bytes_max = c->reader.greeted ? message_bytes_max(c->lane) : 0;
        if (net_reader_next(&c->reader, &input, &whole, &frame, &reason) != ERROR_NONE) {
            net__fail(c, &reason);
            return;
        }
        if (whole)
            handle(c, &frame);
    }
}

void net__read(struct net_connection *c) {
    struct error reason;
    size_t budget = c->mesh->config.turn_bytes_max;
    while (reads(c)) {
        size_t room = NET_CHUNK_BYTES;
        if (c->state == NET_GREETING && net_reader_missing(&c->reader) < room)
            room = net_reader_missing(&c->reader);
        size_t n = 0;
        enum net_tls_result got = net_tls_read(c->ssl, c->mesh->chunk, room, &n, &reason);
        if (got == NET_TLS_WANT_READ || got == NET_TLS_WANT_WRITE) {
            c->blocked = c->blocked || got == NET_TLS_WANT_WRITE;
            return;
        }
        if (got != NET_TLS_DONE) {
            broken(c, got, &reason);
            return;
        }
        c->heard_ms = uv_now(c->mesh->loop);
        feed(c, bytes_of(c->mesh->chunk, n));
        if (n >= budget) {
            if (c->state != NET_CLOSED && SSL_has_pending(c->ssl))
                net__mark_ready(c);
            return;
        }
        budget -= n;
    }
}

static void handshake(struct net_connection *c) {
    struct error reason;
    enum net_tls_result got = net_tls_handshake(c->ssl, &reason);
    c->blocked = got == NET_TLS_WANT_WRITE;
    if (got == NET_TLS_WANT_READ || got == NET_TLS_WANT_WRITE)
        return;
    if (got != NET_TLS_DONE) {
        broken(c, got, &reason);
        return;
    }
    assert(c->peer != NULL); /* net__accept_pin has agreed, or the handshake had failed */
    c->state = NET_GREETING;
    if (c->dials)
        net__say_hello(c);
    /* The first bytes may have come with the end of the handshake. */
    net__mark_ready(c);
}

static void connected(struct net_connection *c) {
    int failure = 0;
    socklen_t len = sizeof failure;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0)
        failure = errno;
    if (failure != 0) {
        struct error reason;
        (void)error_set(&reason, ERROR_NODE_UNREACHABLE, "cannot connect: %s", strerror(failure));
        error_hint(&reason, "check that it runs, and its address in the genesis file");
        net__fail(c, &reason);
        return;
    }
    c->state = NET_HANDSHAKE;
    handshake(c);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct net_connection *c = poll->data;
    if (status < 0)
        c->interest = 0; /* libuv has stopped the poll: the socket is in error, or was reset */
    if (c->state == NET_CONNECTING) {
        connected(c);
    } else if (c->state == NET_HANDSHAKE) {
        handshake(c);
    } else {
        if ((events & UV_WRITABLE) != 0)
            net__flush(c);
        if (c->state != NET_CLOSED && (!c->ready || status < 0))
            net__read(c);
    }
    /* The steps above tell better what was wrong, and read an alert that came before a reset. */
    if (status < 0)
        fail_text(c, ERROR_IO, "the connection was lost");
    net__interest(c);
}
