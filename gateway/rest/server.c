#include "gateway/rest/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

enum {
    TLS_FILE_BYTES_MAX = 1 << 20,
    THREAD_STACK_BYTES = 1 << 20,
    PEER_CHAIN_MAX = 8,
    LISTEN_BACKLOG = 128,
    REAP_MS = 500,
};

static const char tls_priorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:"
    "+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE:%NO_TICKETS";

/* One open connection; the list is walked by the reaper. */
struct connection {
    struct connection *next;
    struct connection *previous;
    int fd;
    uint64_t deadline_ms; /* monotonic */
};

struct listener {
    struct server *server;
    enum rest_listener kind;
    int fd; /* -1: there is none */
    struct buffer certificate;
    struct buffer key;
    struct MHD_Daemon *daemon;
};

struct server {
    struct rest *rest;
    struct listener listeners[3];
    char *admin_path;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct connection connections; /* head of a ring */
    pthread_t reaper;
    bool reaping;
    bool stopping;
};

/* ------------------------------------------------------------------------ deadlines ---- */

static void set_deadline(struct server *server, struct connection *connection, uint64_t ms) {
    if (connection == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    connection->deadline_ms = clock_monotonic_ms() + ms;
    pthread_mutex_unlock(&server->lock);
}

/* A client that sends a byte now and then keeps its connection open for ever; libmicrohttpd's own
 * timeout counts from the last byte. */
static void *reap(void *context) {
    struct server *server = context;
    pthread_mutex_lock(&server->lock);
    while (!server->stopping) {
        uint64_t now_ms = clock_monotonic_ms();
        for (struct connection *c = server->connections.next; c != &server->connections;
             c = c->next) {
            if (c->deadline_ms > now_ms)
                continue;
            c->deadline_ms = now_ms + REST_ANSWER_MS_MAX;
            server->rest->metrics.late_connections++;
            (void)shutdown(c->fd, SHUT_RDWR);
        }
        uint64_t until_ms = now_ms + REAP_MS;
        struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                 .tv_nsec = (long)(until_ms % 1000) * 1000000};
        (void)pthread_cond_timedwait(&server->wake, &server->lock, &until);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void connection_starts(struct listener *listener, struct MHD_Connection *mhd,
                              void **socket_context) {
    struct server *server = listener->server;
    struct connection *c = calloc(1, sizeof *c);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    *socket_context = c;
    if (c == NULL)
        return;
    c->fd = info != NULL ? info->connect_fd : -1;
    pthread_mutex_lock(&server->lock);
    c->deadline_ms = clock_monotonic_ms() + REST_RECEIVE_MS_MAX;
    c->next = &server->connections;
    c->previous = server->connections.previous;
    c->previous->next = c;
    server->connections.previous = c;
    pthread_mutex_unlock(&server->lock);
    if (listener->kind != REST_MACHINE)
        return;
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info != NULL)
        gnutls_certificate_server_set_request(info->tls_session, GNUTLS_CERT_REQUIRE);
}

static void connection_notice(void *context, struct MHD_Connection *mhd, void **socket_context,
                              enum MHD_ConnectionNotificationCode code) {
    struct listener *listener = context;
    struct server *server = listener->server;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_starts(listener, mhd, socket_context);
        return;
    }
    struct connection *c = *socket_context;
    if (c == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    c->previous->next = c->next;
    c->next->previous = c->previous;
    pthread_mutex_unlock(&server->lock);
    free(c);
    *socket_context = NULL;
}

/* ------------------------------------------------------------------------- requests ---- */

/* A request while its bytes come in. */
struct incoming {
    struct rest_request request;
    struct buffer body;
    bool too_large;
    bool two_lengths; /* Content-Length beside Transfer-Encoding: where a proxy reads the one and we
                         the other, a request can be smuggled past it */
    uint64_t start_ms;
};

static struct incoming *incoming_new(struct listener *listener, const char *method,
                                     const char *path) {
    struct incoming *in = calloc(1, sizeof *in);
    if (in == NULL)
        return NULL;
    in->request.arena = arena_new(REST_ARENA_BYTES_MAX);
    if (in->request.arena == NULL) {
        free(in);
        return NULL;
    }
    buffer_init(&in->body, REST_BODY_BYTES_MAX + 1);
    in->start_ms = clock_monotonic_ms();
    in->request.listener = listener->kind;
    in->request.method = arena_text(in->request.arena, method);
    in->request.path = arena_text(in->request.arena, path);
    random_uuid(in->request.id);
    return in;
}

static void incoming_free(struct incoming *in) {
    if (in == NULL)
        return;
    buffer_done(&in->body);
    arena_free(in->request.arena);
    free(in);
}

struct header_walk {
    struct rest_request *request;
    struct error *err;
    enum error_code code;
};

static enum MHD_Result take_header(void *context, enum MHD_ValueKind kind, const char *name,
                                   const char *value) {
    struct header_walk *walk = context;
    (void)kind;
    for (int i = 0; i < HEADER_COUNT; i++) {
        if (strcasecmp(name, rest__header_name((enum rest_header)i)) != 0)
            continue;
        if (walk->request->header[i] != NULL)
            walk->code = error_set(walk->err, ERROR_BAD_REQUEST, "the header %s stands twice",
                                   rest__header_name((enum rest_header)i));
        walk->request->header[i] = arena_text(walk->request->arena, value != NULL ? value : "");
    }
    return MHD_YES;
}

static enum MHD_Result take_query(void *context, enum MHD_ValueKind kind, const char *name,
                                  const char *value) {
    struct header_walk *walk = context;
    (void)kind;
    if (walk->request->query_count == REST_QUERY_MAX) {
        walk->code = error_set(walk->err, ERROR_BAD_REQUEST, "the query: more than %d parameters",
                               (int)REST_QUERY_MAX);
        return MHD_NO;
    }
    struct rest_query_item *item = &walk->request->query[walk->request->query_count++];
    item->name = arena_text(walk->request->arena, name);
    item->value = arena_text(walk->request->arena, value != NULL ? value : "");
    return MHD_YES;
}

static enum error_code take_headers(struct MHD_Connection *mhd, struct rest_request *request,
                                    struct error *err) {
    struct header_walk walk = {request, err, ERROR_NONE};
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, take_header, &walk);
    MHD_get_connection_values(mhd, MHD_GET_ARGUMENT_KIND, take_query, &walk);
    return walk.code;
}

/* The other hospital's certificate was asked for in connection_starts; here it is checked: by
 * GnuTLS, whose handshake goes through with a forged one, and then by OpenSSL. */
static enum error_code take_peer(struct rest *rest, struct MHD_Connection *mhd,
                                 struct rest_request *request, struct error *err) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned status = 1, count = 0;
    if (info == NULL ||
        gnutls_certificate_verify_peers2(info->tls_session, &status) != GNUTLS_E_SUCCESS ||
        status != 0)
        return error_set(err, ERROR_FORBIDDEN,
                         "the client's certificate: missing, or not one of the configuration's");
    const gnutls_datum_t *list = gnutls_certificate_get_peers(info->tls_session, &count);
    struct bytes chain[PEER_CHAIN_MAX];
    if (list == NULL || count == 0 || count > PEER_CHAIN_MAX)
        return error_set(err, ERROR_FORBIDDEN,
                         "the client's certificate: a chain of 1 to %d "
                         "certificates is expected",
                         (int)PEER_CHAIN_MAX);
    for (unsigned i = 0; i < count; i++)
        chain[i] = bytes_of(list[i].data, list[i].size);
    const char *name = peers_identify(rest->peers, chain, count, err);
    if (name == NULL)
        return ERROR_FORBIDDEN;
    request->peer = name;
    return ERROR_NONE;
}

static void add_header(struct MHD_Response *response, const char *name, const char *value) {
    (void)MHD_add_response_header(response, name, value);
}

static void add_headers(struct MHD_Response *response, const struct rest_request *request,
                        const struct rest_answer *answer) {
    if (answer->content_type != NULL)
        add_header(response, "Content-Type", answer->content_type);
    for (size_t i = 0; i < answer->extra_count; i++)
        add_header(response, answer->extra[i].name, answer->extra[i].value);
    add_header(response, "Renkei-Request", request->id);
    add_header(response, "Cache-Control", answer->cacheable ? "private, no-cache" : "no-store");
    add_header(response, "Vary", "Accept-Encoding, Accept-Language, Authorization");
    add_header(response, "X-Content-Type-Options", "nosniff");
    add_header(response, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    add_header(response, "Referrer-Policy", "no-referrer");
    if (request->listener != REST_ADMIN)
        add_header(response, "Strict-Transport-Security", "max-age=31536000");
}

/* A strong ETag over the content; the tag of the zipped form differs (RFC 9110 section 8.8.3.3). */
static void make_etag(struct rest_request *request, struct rest_answer *answer, bool zipped) {
    struct hash hash = sha256_of(buffer_bytes(&answer->body));
    char text[33];
    text_hex(hash.byte, 16, text);
    char tag[64];
    snprintf(tag, sizeof tag, "\"%s%s\"", text, zipped ? "-z" : "");
    rest__header(request, answer, "ETag", "%s", tag);
    const char *known = request->header[HEADER_IF_NONE_MATCH];
    if (known != NULL && (strcmp(known, "*") == 0 || strstr(known, tag) != NULL)) {
        answer->status = 304;
        answer->content_type = NULL;
        buffer_clear(&answer->body);
    }
}

static enum MHD_Result send_answer(struct MHD_Connection *mhd, struct rest_request *request,
                                   struct rest_answer *answer) {
    bool get = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    bool zip = answer->content_type != NULL && answer->body.len >= REST_GZIP_BYTES_MIN &&
               rest__accepts(request->header[HEADER_ACCEPT_ENCODING], "gzip");
    if (answer->cacheable && get && answer->status == 200)
        make_etag(request, answer, zip);
    bool zipped = zip && rest__gzip(&answer->body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer->body.len, answer->body.data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        buffer_done(&answer->body);
        return MHD_NO;
    }
    answer->body = (struct buffer){0}; /* the response frees the memory */
    if (zipped)
        add_header(response, "Content-Encoding", "gzip");
    add_headers(response, request, answer);
    enum MHD_Result result = MHD_queue_response(mhd, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static const char *who_asked(const struct rest_request *request, char text[12]) {
    if (request->peer != NULL)
        return request->peer;
    text[0] = '\0';
    if (!hash_is_zero(&request->session.key)) {
        char whole[IDENTITY_THUMBPRINT_TEXT_BYTES];
        identity_thumbprint_text(&request->session.key, whole);
        snprintf(text, 12, "%.8s", whole);
    }
    return text;
}

static void tell(struct rest *rest, const struct incoming *in, int route, unsigned status,
                 const struct error *err) {
    char who[12];
    uint64_t duration_ms = clock_monotonic_ms() - in->start_ms;
    if (route >= 0) {
        rest->metrics.requests[route][status / 100 % 6]++;
        rest->metrics.duration_ms[route] += duration_ms;
    }
    if (status == 401 || status == 403)
        rest->metrics.refusals++;
    if (rest->event == NULL)
        return;
    struct rest_event event = {
        .event = "request",
        .listener = rest__listener_name(in->request.listener),
        .operation = route >= 0 ? rest__routes[route].operation : "none",
        .method = route >= 0 ? rest__routes[route].method : "",
        .request = in->request.id,
        .who = who_asked(&in->request, who),
        .status = status,
        .duration_ms = duration_ms,
        .err = err->code != ERROR_NONE ? err : NULL,
    };
    rest->event(rest->event_context, &event);
}

static enum MHD_Result answer_request(struct listener *listener, struct MHD_Connection *mhd,
                                      struct incoming *in) {
    struct rest *rest = listener->server->rest;
    struct rest_answer answer = {.status = 200};
    struct error err = {0};
    int route = -1;
    buffer_init(&answer.body, REST_ANSWER_BYTES_MAX);
    in->request.now_ms = clock_wall_ms();
    in->request.body = buffer_bytes(&in->body);
    rest->metrics.running++;
    if (in->two_lengths)
        error_set(&err, ERROR_BAD_REQUEST,
                  "the request has both Content-Length and Transfer-Encoding");
    else if (in->too_large)
        error_set(&err, ERROR_LIMIT, "the request's body: more than %d bytes",
                  (int)REST_BODY_BYTES_MAX);
    else if (take_headers(mhd, &in->request, &err) == ERROR_NONE &&
             (listener->kind != REST_MACHINE ||
              take_peer(rest, mhd, &in->request, &err) == ERROR_NONE))
        rest__dispatch(rest, &in->request, &answer, &route, &err);
    if (err.code != ERROR_NONE)
        rest__problem(&in->request, &answer, &err);
    tell(rest, in, route, answer.status, &err);
    enum MHD_Result result = send_answer(mhd, &in->request, &answer);
    rest->metrics.running--;
    return result;
}

static struct connection *connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* Called once with the head of a request, then with pieces of its body, then with none. */
static enum MHD_Result handle(void *context, struct MHD_Connection *mhd, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **request_context) {
    struct listener *listener = context;
    struct incoming *in = *request_context;
    (void)version;
    if (in == NULL) {
        in = incoming_new(listener, method, path);
        *request_context = in;
        if (in == NULL)
            return MHD_NO;
        const char *length =
            MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
        uint64_t bytes = 0;
        in->too_large =
            length != NULL && (!text_u64(length, &bytes) || bytes > REST_BODY_BYTES_MAX);
        in->two_lengths = length != NULL &&
                          MHD_lookup_connection_value(mhd, MHD_HEADER_KIND,
                                                      MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
        /* Before the body comes: a body that is too large is not waited for. */
        return in->too_large || in->two_lengths ? answer_request(listener, mhd, in) : MHD_YES;
    }
    if (*size > 0) {
        buffer_append(&in->body, data, *size);
        in->too_large = in->body.failed || in->body.len > REST_BODY_BYTES_MAX;
        *size = 0;
        return MHD_YES;
    }
    set_deadline(listener->server, connection_of(mhd), REST_ANSWER_MS_MAX);
    return answer_request(listener, mhd, in);
}

static void request_ends(void *context, struct MHD_Connection *mhd, void **request_context,
                         enum MHD_RequestTerminationCode code) {
    struct listener *listener = context;
    (void)code;
    incoming_free(*request_context);
    *request_context = NULL;
    set_deadline(listener->server, connection_of(mhd), REST_RECEIVE_MS_MAX);
}

/* Paths and queries stay as they were sent: nothing of ours needs an escape in them. */
static size_t leave_escapes(void *context, struct MHD_Connection *mhd, char *text) {
    (void)context;
    (void)mhd;
    return strlen(text);
}

/* libmicrohttpd's own words, which may quote a request, are not kept. */
static void drop_words(void *context, const char *format, va_list args) {
    (void)context;
    (void)format;
    (void)args;
}

/* ------------------------------------------------------------------------ listeners ---- */

static enum error_code bind_inet(const struct rest_listen *listen_at, int *ret_fd, char **ret_url,
                                 struct error *err) {
    char port[8];
    snprintf(port, sizeof port, "%u", listen_at->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (getaddrinfo(listen_at->address, port, &hints, &found) != 0)
        return error_set(err, ERROR_CONFIG, "listen: %s is not a numeric address",
                         listen_at->address);
    int family = found->ai_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
    int number = errno;
    freeaddrinfo(found);
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    if (!good || getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
        if (fd >= 0)
            close(fd);
        char what[128];
        snprintf(what, sizeof what, "%.64s port %s", listen_at->address, port);
        return file_error(err, number, "cannot listen on", what);
    }
    uint16_t own = ntohs(family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                            : ((struct sockaddr_in *)&bound)->sin_port);
    char url[256];
    snprintf(url, sizeof url, family == AF_INET6 ? "https://[%s]:%u" : "https://%s:%u",
             listen_at->address, own);
    *ret_url = strdup(url);
    *ret_fd = fd;
    return ERROR_NONE;
}

/* The folder of the socket decides who may come near it; the mode who may open it. A socket that a
 * dead gateway left is replaced; that no living one has it is known by the vault's lock. */
static enum error_code bind_unix(const char *path, int *ret_fd, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, ERROR_CONFIG, "admin_socket: %s is longer than %zu bytes", path,
                         sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return file_error(err, errno, "cannot make a socket for", path);
    (void)unlink(path);
    mode_t mask = umask(0177);
    bool good = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    int number = errno;
    umask(mask);
    if (good && listen(fd, LISTEN_BACKLOG) != 0) {
        good = false;
        number = errno;
    }
    if (!good) {
        close(fd);
        return file_error(err, number, "cannot listen on", path);
    }
    *ret_fd = fd;
    return ERROR_NONE;
}

static enum error_code load_tls(struct listener *listener, const struct rest_listen *from,
                                struct error *err) {
    TRY(file_read(from->certificate, &listener->certificate, TLS_FILE_BYTES_MAX, err));
    TRY(file_read(from->key, &listener->key, TLS_FILE_BYTES_MAX, err));
    buffer_append_byte(&listener->certificate, 0);
    buffer_append_byte(&listener->key, 0);
    TRY(buffer_check(&listener->certificate, from->certificate, err));
    return buffer_check(&listener->key, from->key, err);
}

static enum error_code start_listener(struct listener *listener, struct error *err) {
    bool tls = listener->kind != REST_ADMIN;
    bool machine = listener->kind == REST_MACHINE;
    struct MHD_OptionItem options[16];
    size_t n = 0;
    if (tls) {
        options[n++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, listener->certificate.data};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, listener->key.data};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                               (void *)(uintptr_t)tls_priorities};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                                               REST_CONNECTIONS_PER_ADDRESS_MAX, NULL};
    }
    if (machine)
        options[n++] = (struct MHD_OptionItem){
            MHD_OPTION_HTTPS_MEM_TRUST, 0,
            (void *)(uintptr_t)peers_trust(listener->server->rest->peers).data};
    options[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    listener->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0),
        0, NULL, NULL, handle, listener, MHD_OPTION_EXTERNAL_LOGGER, drop_words, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)REST_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)REST_IDLE_S_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REST_HEADER_BYTES_MAX,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, leave_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED,
        request_ends, listener, MHD_OPTION_NOTIFY_CONNECTION, connection_notice, listener,
        MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (listener->daemon == NULL)
        return error_set(err, ERROR_TLS,
                         "the %s listener cannot be started: its certificate and key do not fit",
                         rest__listener_name(listener->kind));
    listener->fd = -1; /* the daemon closes it */
    return ERROR_NONE;
}

enum error_code server_bind(struct rest *rest, const struct rest_options *options,
                            struct server **ret_server, struct error *err) {
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the listeners");
    server->rest = rest;
    server->connections.next = server->connections.previous = &server->connections;
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    static const enum rest_listener kinds[] = {REST_ADMIN, REST_PUBLIC, REST_MACHINE};
    for (int i = 0; i < 3; i++) {
        server->listeners[i] = (struct listener){.server = server, .kind = kinds[i], .fd = -1};
        buffer_init(&server->listeners[i].certificate, TLS_FILE_BYTES_MAX + 1);
        buffer_init(&server->listeners[i].key, TLS_FILE_BYTES_MAX + 1);
    }
    enum error_code code = ERROR_NONE;
    if (options->admin_socket != NULL) {
        server->admin_path = strdup(options->admin_socket);
        code = bind_unix(options->admin_socket, &server->listeners[0].fd, err);
    }
    const struct rest_listen *wanted[] = {NULL, &options->listen, &options->machine};
    char **urls[] = {NULL, &rest->url, &rest->machine_url};
    uint64_t *ends[] = {NULL, &rest->certificate_end_ms, &rest->machine_certificate_end_ms};
    for (int i = 1; i < 3 && code == ERROR_NONE; i++) {
        if (wanted[i]->address == NULL)
            continue;
        code = load_tls(&server->listeners[i], wanted[i], err);
        /* What is no certificate is refused when the listener starts. */
        if (certificate_end(wanted[i]->certificate, ends[i], NULL) != ERROR_NONE)
            *ends[i] = 0;
        if (code == ERROR_NONE)
            code = bind_inet(wanted[i], &server->listeners[i].fd, urls[i], err);
    }
    if (code != ERROR_NONE) {
        server_stop(server);
        return code;
    }
    *ret_server = server;
    return ERROR_NONE;
}

enum error_code server_start(struct server *server, struct error *err) {
    for (int i = 0; i < 3; i++)
        if (server->listeners[i].fd >= 0)
            TRY(start_listener(&server->listeners[i], err));
    if (pthread_create(&server->reaper, NULL, reap, server) != 0)
        return error_set(err, ERROR_INTERNAL, "no thread for the connections' deadlines");
    server->reaping = true;
    return ERROR_NONE;
}

void server_stop(struct server *server) {
    if (server == NULL)
        return;
    if (server->admin_path != NULL)
        (void)unlink(server->admin_path);
    for (int i = 0; i < 3; i++) {
        struct listener *listener = &server->listeners[i];
        if (listener->daemon != NULL)
            MHD_stop_daemon(listener->daemon);
        if (listener->fd >= 0)
            close(listener->fd);
        if (listener->key.data != NULL)
            gnutls_memset(listener->key.data, 0, listener->key.len);
        buffer_done(&listener->key);
        buffer_done(&listener->certificate);
    }
    if (server->reaping) {
        pthread_mutex_lock(&server->lock);
        server->stopping = true;
        pthread_cond_signal(&server->wake);
        pthread_mutex_unlock(&server->lock);
        pthread_join(server->reaper, NULL);
    }
    free(server->admin_path);
    pthread_cond_destroy(&server->wake);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
