#include "gateway/worker/host.h"
#include "gateway/worker/under.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { LEAVE_S_MAX = 3, ROUND_TRIPS_FIRST = 3 };

/* --- the socket --- */

/* The gateway is gone: what runs in the database is asked to end, within a time. */
static _Noreturn void leave(struct host *h) {
    alarm(LEAVE_S_MAX);
    pthread_mutex_lock(&h->mutex);
    if (h->busy && h->session != NULL && (h->connector->capabilities & RENKEI_CAN_CANCEL) != 0)
        h->connector->cancel(h->session);
    _exit(0);
}

static void read_exactly(struct host *h, uint8_t *data, size_t len) {
    size_t done = 0;
    while (done < len) {
        ssize_t got = recv(h->fd, data + done, len - done, 0);
        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            leave(h);
    }
}

static void take_cancel(struct host *h) {
    pthread_mutex_lock(&h->mutex);
    if (h->busy) {
        atomic_store(&h->cancelled, true);
        if (h->session != NULL && (h->connector->capabilities & RENKEI_CAN_CANCEL) != 0)
            h->connector->cancel(h->session);
    }
    pthread_mutex_unlock(&h->mutex);
}

static void *read_socket(void *context) {
    struct host *h = context;
    for (;;) {
        uint8_t header[FRAME_HEADER_BYTES];
        read_exactly(h, header, sizeof header);
        uint32_t len = wire_load_u32(header);
        if (len == 0 || len > FRAME_BYTES_MAX)
            leave(h);
        if (header[4] == FRAME_CANCEL) {
            take_cancel(h);
            continue;
        }
        pthread_mutex_lock(&h->mutex);
        while (h->inbox_full)
            pthread_cond_wait(&h->changed, &h->mutex);
        pthread_mutex_unlock(&h->mutex);
        buffer_clear(&h->inbox);
        uint8_t *data = buffer_reserve(&h->inbox, len);
        if (data == NULL)
            leave(h);
        read_exactly(h, data, len - 1);
        h->inbox.len = len - 1;
        pthread_mutex_lock(&h->mutex);
        h->inbox_type = (enum frame_type)header[4];
        h->inbox_full = true;
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->mutex);
    }
    return NULL;
}

enum frame_type host_receive(struct host *h, struct wire_reader *ret_payload) {
    pthread_mutex_lock(&h->mutex);
    if (h->inbox_held) {
        h->inbox_held = false;
        h->inbox_full = false;
        pthread_cond_signal(&h->changed);
    }
    while (!h->inbox_full)
        pthread_cond_wait(&h->changed, &h->mutex);
    enum frame_type type = h->inbox_type;
    h->inbox_held = true;
    pthread_mutex_unlock(&h->mutex);
    *ret_payload = wire_reader(buffer_bytes(&h->inbox));
    return type;
}

/* The CPU's limit is for the time between two messages: a worker that gets on has no end of it. */
static void renew_cpu(const struct host *h) {
    struct rusage used;
    if (h->cpu_seconds_max == 0 || getrusage(RUSAGE_SELF, &used) != 0)
        return;
    rlim_t seconds = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1;
    struct rlimit limits = {seconds + h->cpu_seconds_max, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_CPU, &limits);
}

enum error_code host_send(struct host *h, struct error *err) {
    struct bytes data = frame_end(&h->out);
    renew_cpu(h);
    TRY(buffer_check(&h->out, "a worker's message", err));
    size_t done = 0;
    while (done < data.len) {
        ssize_t sent = send(h->fd, data.data + done, data.len - done, MSG_NOSIGNAL);
        if (sent >= 0)
            done += (size_t)sent;
        else if (errno != EINTR)
            leave(h);
    }
    h->answered = true;
    return ERROR_NONE;
}

static void send_error(struct host *h, const struct error *err) {
    frame_begin(&h->out, FRAME_ERROR);
    wire_u32(&h->out, (uint32_t)err->code);
    frame_text(&h->out, err->message);
    frame_text(&h->out, err->hint);
    if (host_send(h, NULL) != ERROR_NONE)
        leave(h);
}

/* --- the session --- */

static void drop_tables(struct host *h) {
    while (h->tables != NULL) {
        struct host_table *t = h->tables;
        h->tables = t->next;
        normalizer_free(t->normalizer);
        free(t);
    }
}

void host_drop_session(struct host *h) {
    drop_tables(h);
    host_rest(h);
}

void host_rest(struct host *h) {
    pthread_mutex_lock(&h->mutex);
    struct renkei_session *session = h->session;
    h->session = NULL;
    pthread_mutex_unlock(&h->mutex);
    h->connector->close(session);
}

bool host_round_trip(struct host *h, struct renkei_session *session, uint64_t *ret_us) {
    struct renkei_server server = {0};
    struct renkei_fault ignored = {0};
    uint64_t since = clock_monotonic_ns();
    if (h->connector->server(session, &server, &ignored) != RENKEI_OK)
        return false;
    *ret_us = (clock_monotonic_ns() - since) / 1000 + 1;
    if (h->latency_base_us == 0 || *ret_us < h->latency_base_us)
        h->latency_base_us = *ret_us;
    return true;
}

enum error_code host_session(struct host *h, struct error *err) {
    if (h->session != NULL)
        return ERROR_NONE;
    struct renkei_session *session = NULL;
    struct renkei_fault fault = {0};
    if (h->connector->open(h->mapping->options, (uint32_t)h->mapping->option_count, &session,
                           &fault) != RENKEI_OK)
        return plugin_fault(err, h->mapping->source, &fault);
    pthread_mutex_lock(&h->mutex);
    h->session = session;
    pthread_mutex_unlock(&h->mutex);
    /* Before our own load is on it. A session that fails here does so again where it is told. */
    uint64_t us;
    for (int i = 0; h->latency_factor_max > 0 && i < ROUND_TRIPS_FIRST; i++)
        if (!host_round_trip(h, session, &us))
            break;
    return ERROR_NONE;
}

enum error_code host_fault(struct host *h, const struct renkei_fault *fault, struct error *err) {
    /* What is wrong with one query leaves the session as it was; anything else may not. */
    bool keeps = fault->status == RENKEI_NO_TABLE || fault->status == RENKEI_NO_COLUMN ||
                 fault->status == RENKEI_QUERY || fault->status == RENKEI_UNSUPPORTED;
    if (keeps)
        drop_tables(h);
    else
        host_drop_session(h);
    return plugin_fault(err, h->mapping->source, fault);
}

enum error_code host_check_cancelled(struct host *h, struct error *err) {
    if (!atomic_load(&h->cancelled))
        return ERROR_NONE;
    return error_set(err, ERROR_SOURCE_CANCELLED, "source %s: cancelled", h->mapping->source);
}

enum error_code host_bad_request(struct error *err) {
    return error_set(err, ERROR_PROTOCOL, "worker: a request that makes no sense");
}

/* --- tables --- */

static enum error_code make_normalizer(struct host *h, const struct mapping_table *mapped,
                                       struct normalizer **ret_normalizer, struct error *err) {
    struct renkei_fault fault = {0};
    struct renkei_server server = {0};
    const struct renkei_column *columns = NULL;
    uint32_t count = 0;
    if (h->connector->server(h->session, &server, &fault) != RENKEI_OK ||
        h->connector->columns(h->session, mapped->schema, mapped->table, &columns, &count,
                              &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    return normalizer_new(h->mapping, mapped, h->hospital, columns, count, server.settings,
                          ret_normalizer, err);
}

enum error_code host_check_same(struct host *h, const struct host_table *t, struct error *err) {
    struct normalizer *now = NULL;
    struct hash before = normalizer_mapping_digest(t->normalizer);
    const char *name = t->mapped->table;
    TRY(make_normalizer(h, t->mapped, &now, err));
    struct hash digest = normalizer_mapping_digest(now);
    normalizer_free(now);
    if (hash_equal(&before, &digest))
        return ERROR_NONE;
    error_set(err, ERROR_MAPPING, "table %s: its columns changed since the last work window", name);
    error_hint(err, "the next pass starts over and reads it as it is now");
    return ERROR_MAPPING;
}

static enum error_code make_table(struct host *h, const struct mapping_table *mapped,
                                  struct host_table **ret_table, struct error *err) {
    struct host_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return error_set(err, ERROR_NO_MEMORY, "table %s: no memory", mapped->table);
    enum error_code code = make_normalizer(h, mapped, &t->normalizer, err);
    if (code != ERROR_NONE) {
        free(t);
        return code;
    }
    t->mapped = mapped;
    t->columns = normalizer_columns(t->normalizer, &t->column_count);
    t->transactional = -1;
    t->rows_estimate = -1;
    t->next = h->tables;
    h->tables = t;
    *ret_table = t;
    return ERROR_NONE;
}

enum error_code host_table(struct host *h, const char *name, bool anew,
                           struct host_table **ret_table, struct error *err) {
    const struct mapping_table *mapped = mapping_find(h->mapping, name);
    if (mapped == NULL)
        return error_set(err, ERROR_NOT_FOUND, "mapping %s has no table '%s'", h->mapping->path,
                         name);
    for (struct host_table **at = &h->tables; *at != NULL; at = &(*at)->next) {
        struct host_table *t = *at;
        if (t->mapped != mapped)
            continue;
        if (!anew) {
            *ret_table = t;
            return ERROR_NONE;
        }
        *at = t->next;
        normalizer_free(t->normalizer);
        free(t);
        break;
    }
    return make_table(h, mapped, ret_table, err);
}

static void on_table(void *context, const struct renkei_table *table) {
    struct host_table *t = context;
    bool same_schema = t->mapped->schema == NULL || t->mapped->schema[0] == '\0' ||
                       strcmp(table->schema, t->mapped->schema) == 0;
    if (strcmp(table->name, t->mapped->table) != 0 || !same_schema || t->looked_up)
        return;
    t->looked_up = true;
    t->transactional = table->transactional;
    t->rows_estimate = table->rows_estimate;
    snprintf(t->engine, sizeof t->engine, "%s", table->engine);
}

enum error_code host_look_up(struct host *h, struct host_table *t, struct error *err) {
    struct renkei_fault fault = {0};
    if (t->looked_up)
        return ERROR_NONE;
    if (h->connector->tables(h->session, on_table, t, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    t->looked_up = true;
    return ERROR_NONE;
}

enum error_code host_key_values(const struct host_table *t, struct arena *arena,
                                struct bytes key, struct renkei_value *ret_values,
                                struct error *err) {
    const struct renkei_value *parts = NULL;
    uint32_t count = 0;
    TRY(normalizer_key_values(t->normalizer, key, &parts, &count, err));
    if (count != t->mapped->key_count)
        return host_bad_request(err);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes copy = arena_bytes(arena, bytes_of(parts[i].data, parts[i].len));
        if (parts[i].len > 0 && copy.data == NULL)
            return error_set(err, ERROR_NO_MEMORY, "table %s: no memory", t->mapped->table);
        ret_values[i] = (struct renkei_value){
            parts[i].len == 0 ? (const uint8_t *)"" : copy.data, parts[i].len};
    }
    return ERROR_NONE;
}

enum error_code host_send_plan(struct host *h, const struct host_table *t, const char *snapshot,
                               struct error *err) {
    struct hash digest = normalizer_mapping_digest(t->normalizer);
    size_t field_count;
    const struct normalizer_field *fields = normalizer_fields(t->normalizer, &field_count);
    struct buffer *out = &h->out;
    frame_begin(out, FRAME_PLANNED);
    frame_text(out, t->mapped->table);
    wire_fixed(out, digest.byte, HASH_BYTES);
    wire_bytes(out, normalizer_mapping_description(t->normalizer));
    wire_u32(out, t->column_count);
    for (uint32_t i = 0; i < t->column_count; i++)
        frame_text(out, t->columns[i]);
    wire_u32(out, (uint32_t)field_count);
    for (size_t i = 0; i < field_count; i++) {
        frame_text(out, fields[i].name);
        wire_u8(out, fields[i].personal);
    }
    wire_u8(out, (uint8_t)t->transactional);
    frame_text(out, t->engine);
    frame_text(out, snapshot);
    wire_u64(out, (uint64_t)t->rows_estimate);
    return host_send(h, err);
}

/* --- requests --- */

static enum error_code serve(struct host *h, enum frame_type type, struct wire_reader *r,
                             struct error *err) {
    TRY(host_session(h, err));
    switch (type) {
    case FRAME_DESCRIBE:
        return host_describe(h, r, err);
    case FRAME_COLUMNS:
        return host_columns(h, r, err);
    case FRAME_PLAN:
        return host_plan(h, r, err);
    case FRAME_PREVIEW:
        return host_preview(h, r, err);
    case FRAME_FETCH:
        return host_fetch(h, r, err);
    case FRAME_PATIENT:
        return host_patient(h, r, err);
    case FRAME_UNDER:
        return host_under(h, r, err);
    case FRAME_PULL:
    case FRAME_SALTS:
    case FRAME_STOP:
    case FRAME_CANCEL:
    case FRAME_READY:
    case FRAME_ERROR:
    case FRAME_END:
    case FRAME_SERVER:
    case FRAME_TABLE:
    case FRAME_RIGHT:
    case FRAME_PLANNED:
    case FRAME_ROW:
    case FRAME_KEYS:
    case FRAME_ROWS:
    case FRAME_CHARACTERS:
    case FRAME_LOAD:
        break;
    }
    return host_bad_request(err);
}

/* A session may have died of old age, or with its server, since the last request: then the request
 * is done once more in a new one, unless a part of the answer is sent already. */
static enum error_code serve_twice(struct host *h, enum frame_type type, struct wire_reader *r,
                                   struct error *err) {
    struct wire_reader again = *r;
    bool had_session = h->session != NULL;
    struct error first = {0};
    h->answered = false;
    enum error_code code = serve(h, type, r, &first);
    if (code == ERROR_SOURCE_LOST && had_session && !h->answered && !atomic_load(&h->cancelled))
        return serve(h, type, &again, err);
    if (code != ERROR_NONE && err != NULL)
        *err = first;
    return code;
}

static void set_busy(struct host *h, bool busy) {
    pthread_mutex_lock(&h->mutex);
    h->busy = busy;
    atomic_store(&h->cancelled, false);
    pthread_mutex_unlock(&h->mutex);
}

static void do_request(struct host *h) {
    struct wire_reader r;
    struct error err = {0};
    enum frame_type type = host_receive(h, &r);
    set_busy(h, true);
    enum error_code code;
    if (type == FRAME_PULL) {
        code = host_pull(h, &r, &err);
    } else {
        code = serve_twice(h, type, &r, &err);
        if (code == ERROR_NONE) {
            frame_begin(&h->out, FRAME_END);
            code = host_send(h, &err);
        }
    }
    set_busy(h, false);
    if (code != ERROR_NONE)
        send_error(h, &err);
}

_Noreturn void host_serve(struct host *h) {
    pthread_t reader;
    frame_begin(&h->out, FRAME_READY);
    frame_text(&h->out, RENKEI_VERSION);
    if (host_send(h, NULL) != ERROR_NONE || pthread_create(&reader, NULL, read_socket, h) != 0)
        _exit(1);
    for (;;)
        do_request(h);
}

enum error_code host_start(struct host *h, const char *mapping_path, const char *plugin_folder,
                           struct error *err) {
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->changed, NULL);
    buffer_init(&h->out, FRAME_BYTES_MAX);
    buffer_init(&h->inbox, FRAME_BYTES_MAX);
    enum error_code code = mapping_load(mapping_path, &h->mapping, err);
    /* Before the plugin is loaded: some client libraries read their variables at that time. */
    for (size_t i = 0; code == ERROR_NONE && i < h->mapping->environment_count; i++) {
        const struct renkei_option *variable = &h->mapping->environment[i];
        if (strncmp(variable->name, "LD_", 3) == 0)
            code = error_set(err, ERROR_CONFIG,
                             "%s: environment: %s would change which libraries are loaded",
                             mapping_path, variable->name);
        else
            setenv(variable->name, variable->value, 1);
    }
    if (code == ERROR_NONE)
        code = plugin_load(plugin_folder, h->mapping->connector, &h->plugin, err);
    if (code == ERROR_NONE) {
        h->connector = plugin_connector(h->plugin);
        code = plugin_check_options(h->connector, h->mapping->options, h->mapping->option_lines,
                                    (uint32_t)h->mapping->option_count, mapping_path, err);
    }
    if (code != ERROR_NONE && err != NULL)
        send_error(h, err);
    return code;
}
