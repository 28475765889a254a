/*
 * renkei-gateway: beside a hospital's databases, serves patients, other hospitals and the
 * hospital's own IT. deploy/examples/gateway.yaml shows its configuration.
 */
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/backend.h"
#include "gateway/listen.h"

enum { MALLOC_LARGE_BYTES = 256 << 10, MALLOC_KEPT_BYTES_MAX = 1 << 20 };

static const char usage[] =
    "usage: renkei-gateway --config FILE\n"
    "       renkei-gateway --version\n"
    "\n"
    "Serves a hospital's records to their patients, with verdicts. FILE is gateway.yaml;\n"
    "deploy/examples/gateway.yaml shows every key. SIGTERM ends it cleanly. Logs go to\n"
    "standard error, one JSON object a line.\n";

static void log_sync(void *context, const char *event, const char *source,
                     const struct error *err) {
    (void)context;
    log_event(err != NULL ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, event, "source",
              source != NULL ? source : "", "error", err != NULL ? error_info(err->code)->name : "",
              "detail", err != NULL ? err->message : "", NULL);
}

static struct sync_intervals intervals_of(const struct settings_intervals *i) {
    return (struct sync_intervals){i->full_s, i->watermark_s, i->keys_s, i->overlap_s,
                                   i->overlap_rows};
}

static enum error_code open_sync(const struct settings *settings, struct sync **ret_sync,
                                 struct error *err) {
    struct sync_source_options sources[SETTINGS_SOURCES_MAX];
    size_t table_count = 0;
    for (size_t i = 0; i < settings->source_count; i++)
        table_count += settings->sources[i].table_count;
    SCOPED_FREE struct sync_table_options *tables = calloc(table_count + 1, sizeof *tables);
    if (tables == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    table_count = 0;
    for (size_t i = 0; i < settings->source_count; i++) {
        const struct settings_source *s = &settings->sources[i];
        struct sync_table_options *own = tables + table_count;
        for (size_t t = 0; t < s->table_count; t++)
            tables[table_count++] = (struct sync_table_options){
                s->tables[t].table, intervals_of(&s->tables[t].intervals)};
        sources[i] =
            (struct sync_source_options){.mapping = s->mapping,
                                         .intervals = intervals_of(&s->intervals),
                                         .tables = own,
                                         .table_count = s->table_count,
                                         .rows_per_second_max = s->rows_per_second,
                                         .deletions_percent_max = s->deletions_percent_max,
                                         .windows = s->windows,
                                         .time_zone = s->time_zone,
                                         .latency_factor_max = s->latency_factor,
                                         .worker_memory_bytes_max = s->worker_memory_bytes,
                                         .worker_cpu_seconds_max = s->worker_cpu_s};
    }
    struct sync_options options = {.hospital = settings->hospital,
                                   .vault = settings->vault,
                                   .node_socket = settings->node_socket,
                                   .genesis = settings->genesis,
                                   .signer = settings->signer,
                                   .worker_program = settings->worker,
                                   .plugins = settings->plugins,
                                   .sources = sources,
                                   .source_count = settings->source_count,
                                   .event = log_sync};
    return sync_open(&options, ret_sync, err);
}

/* systemd's notification, where it asked for one: a datagram on a socket that the environment
 * names. */
static void notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || path[0] == '\0' || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
    close(fd);
}

/* The listeners are closed first, so that no request meets a vault that is closed. */
static enum error_code serve(const struct settings *settings, struct error *err) {
    struct sync *sync = NULL;
    struct backend *backend = NULL;
    struct rest *rest = NULL;
    enum error_code code = open_sync(settings, &sync, err);
    if (code == ERROR_NONE)
        code = backend_new(sync, settings->node_socket, settings->genesis, &backend, err);
    if (code == ERROR_NONE)
        code = listen_open(settings, backend_calls(backend), &rest, err);
    if (code == ERROR_NONE) {
        notify("READY=1");
        listen_wait(rest);
        notify("STOPPING=1");
        log_event(LOG_LEVEL_INFO, "stopping", NULL);
    }
    rest_close(rest);
    sync_close(sync);
    backend_free(backend);
    return code;
}

/* Large buffers come and go with each batch. Left to itself, malloc learns to keep what was freed,
 * and a gateway that has read a large table once would hold that memory for ever. */
static void give_memory_back(void) {
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_KEPT_BYTES_MAX);
}

int main(int argc, char **argv) {
    give_memory_back();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("renkei-gateway " RENKEI_VERSION);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        fputs(usage, stderr);
        return error_info(ERROR_USAGE)->exit_status;
    }
    listen_block_signals();
    log_start("renkei-gateway", LOG_LEVEL_INFO);
    struct error err = {0};
    struct settings *settings = NULL;
    enum error_code code = settings_load(argv[2], &settings, &err);
    if (code == ERROR_NONE) {
        log_start("renkei-gateway", settings->log_level);
        log_event(LOG_LEVEL_INFO, "starting", "hospital", settings->hospital, "version",
                  RENKEI_VERSION, NULL);
        code = serve(settings, &err);
    }
    if (code != ERROR_NONE)
        log_error(LOG_LEVEL_ERROR, "cannot-start", &err);
    else
        log_event(LOG_LEVEL_INFO, "stopped", NULL);
    settings_free(settings);
    return error_info(code)->exit_status;
}
