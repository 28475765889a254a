#include "tests/unit/net/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"

static char folder[] = "/tmp/renkei-net-XXXXXX";
static struct hash pins[FIXTURE_NODES];

static void path_of(const char *in, uint32_t number, const char *end, char ret_path[128]) {
    (void)snprintf(ret_path, 128, "%s/%u.%s", in, number, end);
}

/* So that the lower number has the lower pin, and dials. */
static int sort_keys(void) {
    for (uint32_t i = 0; i < FIXTURE_NODES; i++)
        for (uint32_t j = i + 1; j < FIXTURE_NODES; j++) {
            if (memcmp(pins[i].byte, pins[j].byte, HASH_BYTES) < 0)
                continue;
            struct hash pin = pins[i];
            pins[i] = pins[j];
            pins[j] = pin;
            for (int k = 0; k < 2; k++) {
                char one[128];
                char other[128];
                char third[160];
                path_of(folder, i, k == 0 ? "key" : "pem", one);
                path_of(folder, j, k == 0 ? "key" : "pem", other);
                (void)snprintf(third, sizeof third, "%s.swap", one);
                if (rename(one, third) != 0 || rename(other, one) != 0 || rename(third, other) != 0)
                    return -1;
            }
        }
    return 0;
}

int fixture_keys(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    for (uint32_t i = 0; i < FIXTURE_NODES; i++) {
        char key[128];
        char certificate[128];
        struct certificate_request request = {.name = "node", .days = 1};
        request.wall_ms = clock_wall_ms();
        struct error err;
        path_of(folder, i, "key", key);
        path_of(folder, i, "pem", certificate);
        if (certificate_create(&request, key, certificate, &err) != ERROR_NONE ||
            certificate_pin(certificate, &pins[i], &err) != ERROR_NONE) {
            print_error("%s\n", err.message);
            return -1;
        }
    }
    return sort_keys();
}

int fixture_remove(void **state) {
    (void)state;
    for (uint32_t i = 0; i < FIXTURE_NODES; i++) {
        char path[128];
        path_of(folder, i, "key", path);
        (void)unlink(path);
        path_of(folder, i, "pem", path);
        (void)unlink(path);
    }
    return rmdir(folder);
}

void fixture_path(const struct fixture *f, uint32_t number, const char *end, char ret_path[128]) {
    path_of(f->folder, number, end, ret_path);
}

static void on_watchdog(uv_timer_t *timer) {
    (void)timer; /* only wakes the loop, so that fixture_turn looks at the clock */
}

int fixture_begin(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL || uv_loop_init(&f->loop) != 0)
        return -1;
    (void)snprintf(f->folder, sizeof f->folder, "%s", folder);
    (void)uv_timer_init(&f->loop, &f->watchdog);
    for (uint32_t i = 0; i < FIXTURE_NODES; i++) {
        f->pin[i] = pins[i];
        (void)snprintf(f->address[i], sizeof f->address[i], "127.0.0.1:1");
        f->peers[i] = (struct mesh_peer){i, f->address[i], pins[i], false};
        f->node[i].fixture = f;
        f->node[i].number = i;
    }
    *state = f;
    return 0;
}

static void on_stopped(void *context) {
    struct node *node = context;
    node->mesh = NULL;
}

void fixture_stop(struct fixture *f, uint32_t number) {
    mesh_close(f->node[number].mesh, on_stopped, &f->node[number]);
    fixture_until(f, f->node[number].mesh == NULL);
}

int fixture_end(void **state) {
    struct fixture *f = *state;
    for (uint32_t i = 0; i < FIXTURE_NODES; i++)
        if (f->node[i].mesh != NULL)
            mesh_close(f->node[i].mesh, on_stopped, &f->node[i]);
    uv_close((uv_handle_t *)&f->watchdog, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&f->loop); /* UV_EBUSY where a handle was forgotten */
    free(f);
    return status;
}

static uint64_t deadline_ms;

void fixture_watch(struct fixture *f) {
    deadline_ms = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;
    (void)uv_timer_start(&f->watchdog, on_watchdog, 20, 20);
}

void fixture_turn(struct fixture *f, const char *waiting_for) {
    if (clock_monotonic_ms() > deadline_ms)
        fail_msg("waited in vain for: %s", waiting_for);
    (void)uv_run(&f->loop, UV_RUN_ONCE);
}

static void on_message(void *context, uint32_t peer, enum mesh_lane lane, struct bytes bytes) {
    struct node *node = context;
    node->messages[lane]++;
    if (node->on_message != NULL)
        node->on_message(node, peer, lane, bytes);
}

static void on_up(void *context, uint32_t peer, bool news) {
    struct node *node = context;
    node->ups++;
    node->news += news;
    if (node->on_up != NULL)
        node->on_up(node, peer);
}

static void on_down(void *context, uint32_t peer, bool news, const struct error *reason) {
    struct node *node = context;
    node->downs++;
    node->down_peer = peer;
    node->news += news;
    node->down = *reason;
}

static void on_writable(void *context, uint32_t peer, enum mesh_lane lane) {
    struct node *node = context;
    node->writables++;
    if (node->on_writable != NULL)
        node->on_writable(node, peer, lane);
}

static void look(struct node *node, const struct error *reason) {
    if (node->look_for != NULL && strstr(reason->message, node->look_for) != NULL)
        node->found = true;
}

static void on_trouble(void *context, uint32_t peer, const struct error *reason) {
    struct node *node = context;
    (void)peer;
    node->troubles++;
    node->trouble = *reason;
    look(node, reason);
}

static void on_stranger(void *context, const char *address, const struct error *reason) {
    struct node *node = context;
    assert_memory_equal(address, "127.0.0.1:", 10);
    node->strangers++;
    node->stranger = *reason;
    look(node, reason);
}

void fixture_config(struct fixture *f, uint32_t number, uint32_t count,
                    struct mesh_config *config) {
    mesh_config_defaults(config);
    config->self = number;
    memset(config->chain.byte, 7, HASH_BYTES);
    config->peers = f->peers;
    config->peer_count = count;
    config->listen = "127.0.0.1:0";
    config->backoff_ms = 20;
    config->backoff_ms_max = 200;
    config->trouble_ms = 0;
    config->callbacks = (struct mesh_callbacks){
        .context = &f->node[number],
        .on_message = on_message,
        .on_peer_up = on_up,
        .on_peer_down = on_down,
        .on_writable = on_writable,
        .on_peer_trouble = on_trouble,
        .on_stranger = on_stranger,
    };
}

void fixture_start(struct fixture *f, uint32_t number, const struct mesh_config *config) {
    struct mesh_config own = *config;
    char key[128];
    char certificate[128];
    path_of(f->folder, number, "key", key);
    path_of(f->folder, number, "pem", certificate);
    own.key_path = key;
    own.certificate_path = certificate;
    struct error err;
    if (mesh_new(&f->loop, &own, &f->node[number].mesh, &err) != ERROR_NONE)
        fail_msg("node %u: %s", number, err.message);
    f->node[number].port = mesh_port(f->node[number].mesh);
    (void)snprintf(f->address[number], sizeof f->address[number], "127.0.0.1:%u",
                   f->node[number].port);
}

void fixture_start_all(struct fixture *f, uint32_t count) {
    for (uint32_t i = count; i-- > 0;) {
        struct mesh_config config;
        fixture_config(f, i, count, &config);
        fixture_start(f, i, &config);
    }
}

bool fixture_all_up(struct fixture *f, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct mesh_totals totals;
        mesh_totals(f->node[i].mesh, &totals);
        if (totals.peers_up != count - 1)
            return false;
    }
    return true;
}

struct mesh_stats fixture_stats(struct fixture *f, uint32_t number, uint32_t peer) {
    struct mesh_stats stats;
    struct error err;
    assert_int_equal(mesh_stats(f->node[number].mesh, peer, &stats, &err), ERROR_NONE);
    return stats;
}

static SSL *rogue_connect(struct rogue *rogue, SSL_CTX *context) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rogue->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        abort();
    SSL *ssl = SSL_new(context);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
        abort();
    return ssl;
}

static void rogue_close(SSL *ssl) {
    int fd = SSL_get_fd(ssl);
    SSL_free(ssl);
    (void)close(fd);
}

static void rogue_run(void *argument) {
    struct rogue *rogue = argument;
    char key[128];
    char certificate[128];
    path_of(rogue->fixture->folder, rogue->number, "key", key);
    path_of(rogue->fixture->folder, rogue->number, "pem", certificate);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_use_certificate_file(context, certificate, 1) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, 1) != 1)
        abort();
    if (rogue->tls12)
        (void)SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL *first = rogue_connect(rogue, context);
    SSL *second = NULL;
    uint8_t heard[4096];
    if (SSL_connect(first) == 1) {
        (void)SSL_write(first, rogue->say.data, (int)rogue->say.len);
        int n = SSL_read(first, heard, sizeof heard);
        if (n > 0 && rogue->say_too.len > 0) {
            second = rogue_connect(rogue, context);
            if (SSL_connect(second) == 1)
                (void)SSL_write(second, rogue->say_too.data, (int)rogue->say_too.len);
        }
        for (; n > 0; n = SSL_read(first, heard, sizeof heard))
            rogue->heard += (size_t)n;
    }
    if (second != NULL)
        rogue_close(second);
    rogue_close(first);
    SSL_CTX_free(context);
}

void rogue_start(struct rogue *rogue) {
    assert_int_equal(uv_thread_create(&rogue->thread, rogue_run, rogue), 0);
}

void rogue_join(struct rogue *rogue) {
    assert_int_equal(uv_thread_join(&rogue->thread), 0);
}
