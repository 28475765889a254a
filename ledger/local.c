#include "ledger/local.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/wire.h"

enum { READ_BYTES = 32 << 10, BACKLOG = 64, PATH_BYTES_MAX = 107 };

struct client {
    uv_pipe_t pipe;
    struct local *local;
    struct client *next;
    uint64_t number;
    bool closing;
    struct buffer in;
    struct buffer out;
};

struct writing {
    uv_write_t request;
    struct buffer bytes;
};

struct local {
    uv_pipe_t listener;
    char path[PATH_BYTES_MAX + 1];
    local_request_fn on_request;
    void *context;
    struct client *clients;
    size_t count;
    uint64_t numbers;
    bool closing;
    bool listener_closed;
    uint8_t read[READ_BYTES];
};

static void free_if_done(struct local *local) {
    if (local->closing && local->listener_closed && local->clients == NULL)
        free(local);
}

static void on_client_closed(uv_handle_t *handle) {
    struct client *client = handle->data;
    struct local *local = client->local;
    for (struct client **at = &local->clients; *at != NULL; at = &(*at)->next)
        if (*at == client) {
            *at = client->next;
            break;
        }
    local->count--;
    buffer_done(&client->in);
    buffer_done(&client->out);
    free(client);
    free_if_done(local);
}

static void hang_up(struct client *client) {
    if (client->closing)
        return;
    client->closing = true;
    uv_close((uv_handle_t *)&client->pipe, on_client_closed);
}

static void on_written(uv_write_t *request, int status) {
    struct writing *writing = request->data;
    struct client *client = request->handle->data;
    buffer_done(&writing->bytes);
    free(writing);
    if (status != 0)
        hang_up(client);
}

static void flush_client(struct client *client) {
    if (client->closing || client->out.len == 0)
        return;
    if (client->out.failed ||
        uv_stream_get_write_queue_size((uv_stream_t *)&client->pipe) + client->out.len >
            LOCAL_QUEUE_BYTES_MAX) {
        hang_up(client); /* it asks and does not listen */
        return;
    }
    struct writing *writing = calloc(1, sizeof *writing);
    if (writing == NULL) {
        hang_up(client);
        return;
    }
    writing->bytes = client->out;
    writing->request.data = writing;
    buffer_init(&client->out, LOCAL_QUEUE_BYTES_MAX);
    uv_buf_t buf = uv_buf_init((char *)writing->bytes.data, (unsigned)writing->bytes.len);
    if (uv_write(&writing->request, (uv_stream_t *)&client->pipe, &buf, 1, on_written) != 0) {
        buffer_done(&writing->bytes);
        free(writing);
        hang_up(client);
    }
}

void local_flush(struct local *local) {
    for (struct client *client = local->clients; client != NULL; client = client->next)
        flush_client(client);
}

static struct client *find(const struct local *local, uint64_t number) {
    for (struct client *client = local->clients; client != NULL; client = client->next)
        if (client->number == number)
            return client->closing ? NULL : client;
    return NULL;
}

void local_answer(struct local *local, uint64_t number, unsigned kind, uint32_t request,
                  struct bytes body) {
    struct client *client = find(local, number);
    if (client == NULL)
        return;
    wire_u32(&client->out, (uint32_t)(LANE_HEAD_BYTES - 4 + body.len));
    wire_u8(&client->out, (uint8_t)kind);
    wire_u32(&client->out, request);
    wire_fixed(&client->out, body.data, body.len);
}

void local_refuse(struct local *local, uint64_t number, uint32_t request,
                  const struct error *reason) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, sizeof *reason + 256);
    wire_bytes(&body, bytes_text(error_info(reason->code)->name));
    wire_bytes(&body, bytes_text(reason->message));
    wire_bytes(&body, bytes_text(reason->hint));
    local_answer(local, number, LANE_ERROR, request, buffer_bytes(&body));
}

/* Hands out every whole frame; false where the client breaks the protocol. */
static bool take_frames(struct client *client) {
    size_t at = 0;
    while (!client->closing && client->in.len - at >= LANE_HEAD_BYTES) {
        const uint8_t *frame = client->in.data + at;
        uint32_t len = wire_load_u32(frame);
        if (len < LANE_HEAD_BYTES - 4 || len > LANE_REQUEST_BYTES_MAX)
            return false;
        if (client->in.len - at < 4 + (size_t)len)
            break;
        client->local->on_request(client->local->context, client->number, frame[4],
                                  wire_load_u32(frame + 5),
                                  bytes_of(frame + LANE_HEAD_BYTES, len - LANE_HEAD_BYTES + 4));
        at += 4 + (size_t)len;
    }
    if (at > 0) {
        memmove(client->in.data, client->in.data + at, client->in.len - at);
        client->in.len -= at;
    }
    return true;
}

static void give_read_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf) {
    (void)suggested;
    struct client *client = handle->data;
    *ret_buf = uv_buf_init((char *)client->local->read, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    struct client *client = stream->data;
    if (got == 0 || client->closing)
        return;
    if (got < 0) {
        hang_up(client);
        return;
    }
    buffer_append(&client->in, buf->base, (size_t)got);
    if (client->in.failed || !take_frames(client))
        hang_up(client);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct local *local = listener->data;
    if (status != 0 || local->closing)
        return;
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL || uv_pipe_init(listener->loop, &client->pipe, 0) != 0) {
        free(client);
        return;
    }
    client->local = local;
    client->pipe.data = client;
    client->number = ++local->numbers;
    buffer_init(&client->in, LANE_REQUEST_BYTES_MAX + 4 + READ_BYTES);
    buffer_init(&client->out, LOCAL_QUEUE_BYTES_MAX);
    client->next = local->clients;
    local->clients = client;
    local->count++;
    if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0 ||
        local->count > LOCAL_CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&client->pipe, give_read_buffer, on_read) != 0)
        hang_up(client);
}

static void on_listener_closed(uv_handle_t *handle) {
    struct local *local = handle->data;
    local->listener_closed = true;
    free_if_done(local);
}

size_t local_clients(const struct local *local) {
    return local->count;
}

bool local_is_there(const struct local *local, uint64_t number) {
    return find(local, number) != NULL;
}

void local_close(struct local *local) {
    if (local == NULL)
        return;
    local->closing = true;
    for (struct client *client = local->clients; client != NULL; client = client->next)
        hang_up(client);
    uv_close((uv_handle_t *)&local->listener, on_listener_closed);
    (void)unlink(local->path);
}

enum error_code local_new(uv_loop_t *loop, const char *path, local_request_fn on_request,
                          void *context, struct local **ret_local, struct error *err) {
    size_t len = strlen(path);
    if (len > PATH_BYTES_MAX)
        return error_set(err, ERROR_CONFIG, "socket %s: %zu bytes, a socket's path has at most %d",
                         path, len, PATH_BYTES_MAX);
    struct local *local = calloc(1, sizeof *local);
    if (local == NULL)
        return error_set(err, ERROR_NO_MEMORY, "socket %s: no memory", path);
    memcpy(local->path, path, len + 1);
    local->on_request = on_request;
    local->context = context;
    (void)unlink(path);
    int rc = uv_pipe_init(loop, &local->listener, 0);
    assert(rc == 0);
    local->listener.data = local;
    rc = uv_pipe_bind(&local->listener, path);
    if (rc == 0 && chmod(path, LOCAL_SOCKET_MODE) != 0)
        rc = UV_EACCES;
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&local->listener, BACKLOG, on_connection);
    if (rc != 0) {
        error_set(err, ERROR_IO, "cannot listen on socket %s: %s", path, uv_strerror(rc));
        local_close(local);
        return ERROR_IO;
    }
    *ret_local = local;
    return ERROR_NONE;
}
