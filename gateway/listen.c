#include "gateway/listen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/log.h"

enum { LOOK_S = 3600 };

/* What monitors and progress bars ask all the time. */
static bool is_watching(const char *operation) {
    static const char *const operations[] = {"live",        "ready",        "metrics",
                                             "adminStatus", "adminSources", "adminSyncProgress"};
    bool watching = false;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        watching = watching || strcmp(operation, operations[i]) == 0;
    return watching;
}

static void log_request(void *context, const struct rest_event *event) {
    (void)context;
    char status[8];
    snprintf(status, sizeof status, "%u", event->status);
    bool failed = event->status >= 500;
    bool quiet = event->status < 400 && is_watching(event->operation);
    const struct error *err = event->err;
    log_event(failed  ? LOG_LEVEL_WARNING
              : quiet ? LOG_LEVEL_DEBUG
                      : LOG_LEVEL_INFO,
              event->event, "listener", event->listener, "operation", event->operation, "method",
              event->method, "status", status, "ms", log_u64(event->duration_ms), "who", event->who,
              "request", event->request, "error", err != NULL ? error_info(err->code)->name : "",
              "detail", err != NULL ? err->message : "", NULL);
}

static struct rest_listen listener_of(const struct settings_listen *from) {
    return (struct rest_listen){.address = from->address,
                                .port = from->port,
                                .certificate = from->certificate,
                                .key = from->key,
                                .urls = from->urls,
                                .url_count = from->url_count};
}

enum error_code listen_open(const struct settings *settings, const struct rest_backend *backend,
                            struct rest **ret_rest, struct error *err) {
    struct rest_peer peers[SETTINGS_HOSPITALS_MAX];
    for (size_t i = 0; i < settings->hospital_count; i++)
        peers[i] = (struct rest_peer){settings->hospitals[i].name, settings->hospitals[i].url,
                                      settings->hospitals[i].certificate};
    struct rest_options options = {.hospital = settings->hospital,
                                   .listen = listener_of(&settings->listen),
                                   .machine = listener_of(&settings->machine),
                                   .peers = peers,
                                   .peer_count = settings->hospital_count,
                                   .admin_socket = settings->admin_socket,
                                   .backend = backend,
                                   .event = log_request};
    struct rest *rest = NULL;
    TRY(rest_open(&options, &rest, err));
    log_event(LOG_LEVEL_INFO, "listening", "url", rest_url(rest), "machine_url",
              rest_machine_url(rest), "admin_socket", settings->admin_socket, NULL);
    *ret_rest = rest;
    return ERROR_NONE;
}

static void stop_signals(sigset_t *ret_set) {
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGHUP);
}

void listen_block_signals(void) {
    sigset_t set;
    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Says each time that an end came nearer by a stage. */
static void watch_certificate(const char *listener, uint64_t end_ms, unsigned *stage) {
    uint64_t now_ms = clock_wall_ms();
    unsigned now = end_ms > 0 ? certificate_stage(end_ms, now_ms) : CERTIFICATE_STAGES;
    if (now < *stage) {
        char end[CLOCK_RFC3339_BYTES];
        clock_rfc3339(end_ms, end);
        log_event(now == 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
                  now == 0 ? "certificate-ended" : "certificate-ends", "listener", listener, "end",
                  end, "days_left",
                  log_u64(now > 0 ? (end_ms - now_ms) / CERTIFICATE_DAY_MS : 0), NULL);
    }
    *stage = now;
}

void listen_wait(const struct rest *rest) {
    const struct timespec look = {.tv_sec = LOOK_S};
    unsigned stages[2] = {CERTIFICATE_STAGES, CERTIFICATE_STAGES};
    sigset_t set;
    stop_signals(&set);
    int number;
    do {
        watch_certificate("patients", rest_certificate_end_ms(rest), &stages[0]);
        watch_certificate("machines", rest_machine_certificate_end_ms(rest), &stages[1]);
        number = sigtimedwait(&set, NULL, &look);
    } while (number != SIGTERM && number != SIGINT);
    /* SIGHUP goes by: a terminal that goes away does not end a daemon. */
}
