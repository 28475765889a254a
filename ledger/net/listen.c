#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "ledger/net/inside.h"

enum { BACKLOG = 128 };

enum error_code net__address_split(const char *address, char ret_host[NET_HOST_BYTES_MAX + 1],
                                   char ret_port[6], struct error *err) {
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t host_len = colon == NULL ? 0 : (size_t)(colon - address);
    bool bracketed = host_len > 2 && host[0] == '[' && host[host_len - 1] == ']';
    if (bracketed) {
        host++;
        host_len -= 2;
    }
    uint64_t port = 0;
    bool plain = bracketed || memchr(host, ':', host_len) == NULL;
    if (host_len == 0 || host_len > NET_HOST_BYTES_MAX || !plain || strlen(colon + 1) > 5 ||
        !text_u64(colon + 1, &port) || port > UINT16_MAX)
        return error_set(err, ERROR_CONFIG, "'%s': expected host:port or [host]:port", address);
    memcpy(ret_host, host, host_len);
    ret_host[host_len] = '\0';
    (void)snprintf(ret_port, 6, "%u", (unsigned)port);
    return ERROR_NONE;
}

void net__address_numeric(const struct sockaddr *address, char ret_text[NET_NUMERIC_BYTES_MAX]) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof six);
        (void)inet_ntop(AF_INET6, &six.sin6_addr, host, sizeof host);
        (void)snprintf(ret_text, NET_NUMERIC_BYTES_MAX, "[%s]:%u", host, ntohs(six.sin6_port));
    } else {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof four);
        (void)inet_ntop(AF_INET, &four.sin_addr, host, sizeof host);
        (void)snprintf(ret_text, NET_NUMERIC_BYTES_MAX, "%s:%u", host, ntohs(four.sin_port));
    }
}

/* A connection whose hello has not come costs memory, and anybody can make one. Who has waited
 * longest gives way: an honest peer's hello takes a moment, not seconds. */
static void make_room(struct mesh *mesh) {
    size_t unknown = 0;
    struct net_connection *oldest = NULL;
    for (struct net_connection *c = mesh->connections; c != NULL; c = c->next) {
        if (c->state == NET_CLOSED || c->adopted)
            continue;
        unknown++;
        oldest = c; /* new ones stand first in the list */
    }
    if (unknown < NET_UNKNOWN_MAX)
        return;
    struct error reason;
    (void)error_set(&reason, ERROR_BUSY, "%d connections have not said who they are",
                    NET_UNKNOWN_MAX);
    net__fail(oldest, &reason);
}

static void on_knock(uv_poll_t *poll, int status, int events) {
    struct mesh *mesh = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < NET_ACCEPTS_PER_TURN_MAX && !mesh->closing; i++) {
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof from;
        int fd = accept4(mesh->listen_fd, (struct sockaddr *)&from, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            /* Out of descriptors the knock would stay, and be seen again at once. */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                mesh->listen_paused = true;
                (void)uv_poll_stop(&mesh->listen_poll);
            }
            return;
        }
        make_room(mesh);
        if (mesh->closing) {
            (void)close(fd);
            return;
        }
        struct error reason;
        if (net__accepted(mesh, fd, (struct sockaddr *)&from, &reason) != ERROR_NONE)
            mesh->strangers++;
    }
}

void net__listen_resume(struct mesh *mesh) {
    mesh->listen_paused = false;
    (void)uv_poll_start(&mesh->listen_poll, UV_READABLE, on_knock);
}

static uint16_t bound_port(int fd) {
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &len) != 0)
        return 0;
    if (own.ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, &own, sizeof six);
        return ntohs(six.sin6_port);
    }
    struct sockaddr_in four;
    memcpy(&four, &own, sizeof four);
    return ntohs(four.sin_port);
}

static int bound_socket(const struct addrinfo *to) {
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0)
        return -1;
    /* A restarted node gets its port back at once. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, to->ai_addr, to->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int kept = errno;
    (void)close(fd);
    errno = kept;
    return -1;
}

enum error_code net__listen(struct mesh *mesh, const char *address, struct error *err) {
    char host[NET_HOST_BYTES_MAX + 1];
    char port[6];
    TRY(net__address_split(address, host, port, err));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int status = getaddrinfo(host, port, &hints, &list);
    if (status != 0)
        return error_set(err, ERROR_CONFIG, "listen address '%s': %s", address,
                         gai_strerror(status));
    int fd = bound_socket(list);
    int failure = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot listen on %s: %s", address, strerror(failure));
    status = uv_poll_init(mesh->loop, &mesh->listen_poll, fd);
    if (status != 0) {
        (void)close(fd);
        return error_set(err, ERROR_IO, "cannot watch %s: %s", address, uv_strerror(status));
    }
    mesh->listen_fd = fd;
    mesh->listen_poll.data = mesh;
    mesh->port = bound_port(fd);
    mesh->handles++;
    net__listen_resume(mesh);
    return ERROR_NONE;
}
