/*
 * The inside of renkei-worker: one mapping, one plugin, one session, and the requests of the
 * gateway. Inside gateway/worker only.
 *
 * Two threads: the main one does the requests, a second one reads the socket, so that a cancel is
 * seen while a query runs and the gateway's end ends us too.
 */
#ifndef GATEWAY_WORKER_HOST_H
#define GATEWAY_WORKER_HOST_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "gateway/worker/plugin.h"
#include "gateway/worker/protocol.h"
#include "gateway/worker/window.h"
#include "gateway/worker/worker.h"

/* A table of the mapping, made ready for the session that is open. */
struct host_table {
    struct host_table *next;
    const struct mapping_table *mapped;
    struct normalizer *normalizer;
    const char *const *columns;
    uint32_t column_count;
    /* What the source says of the table; asked once a session. */
    bool looked_up;
    int transactional;
    int64_t rows_estimate;
    char engine[64];
};

struct host {
    int fd;
    const char *hospital;
    struct windows *windows; /* NULL: always open */
    uint32_t latency_factor_max;
    uint64_t latency_base_us; /* the best round trip seen, 0: none */
    uint32_t cpu_seconds_max;
    struct mapping *mapping;
    struct plugin *plugin;
    const struct renkei_connector *connector;
    struct renkei_session *session; /* NULL: none is open */
    struct host_table *tables;
    struct buffer out;
    bool answered; /* a part of the request's answer is sent */

    /* Shared with the reading thread. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct buffer inbox; /* one frame */
    enum frame_type inbox_type;
    bool inbox_full;
    bool inbox_held; /* the main thread reads it: given back by the next host_receive */
    bool busy; /* a request runs: a cancel is for it */
    atomic_bool cancelled;
};

/* Loads mapping and plugin. */
MUST_CHECK enum error_code host_start(struct host *h, const char *mapping_path,
                                      const char *plugin_folder, struct error *err);
/* Serves until the gateway closes the socket; does not return. */
_Noreturn void host_serve(struct host *h);

/* --- for the requests --- */

/* Opens a session where none is. */
MUST_CHECK enum error_code host_session(struct host *h, struct error *err);
void host_drop_session(struct host *h);
/* Closes the session; what is known of the tables stays. */
void host_rest(struct host *h);
/* Times a round trip of a session, and keeps the best; false: the source does not answer. */
bool host_round_trip(struct host *h, struct renkei_session *session, uint64_t *ret_us);
/* After a rest: ERROR_MAPPING where the source describes the table in another way than before. */
MUST_CHECK enum error_code host_check_same(struct host *h, const struct host_table *t,
                                           struct error *err);
/* A fault as an error; a session that cannot go on is dropped. */
enum error_code host_fault(struct host *h, const struct renkei_fault *fault, struct error *err);
/* The mapping's table with its normalizer; anew: ask the source again what its columns are. */
MUST_CHECK enum error_code host_table(struct host *h, const char *name, bool anew,
                                      struct host_table **ret_table, struct error *err);
/* Fills engine, transactional and rows_estimate. */
MUST_CHECK enum error_code host_look_up(struct host *h, struct host_table *t, struct error *err);
/* The values of a canonical key's columns, copied into the arena: mapped->key_count of them. */
MUST_CHECK enum error_code host_key_values(const struct host_table *t, struct arena *arena,
                                           struct bytes key, struct renkei_value *ret_values,
                                           struct error *err);
MUST_CHECK enum error_code host_check_cancelled(struct host *h, struct error *err);

/* Sends h->out. A gateway that is gone ends the process. */
MUST_CHECK enum error_code host_send(struct host *h, struct error *err);
/* The next frame of the gateway; valid until the next host_receive. */
enum frame_type host_receive(struct host *h, struct wire_reader *ret_payload);
MUST_CHECK enum error_code host_send_plan(struct host *h, const struct host_table *t,
                                          const char *snapshot, struct error *err);

enum error_code host_bad_request(struct error *err);
/* A text of a payload with its NUL, in one of the host's own places: valid until it is used again.
 * false: too long, or it holds a NUL. */
bool host_text(struct wire_reader *r, char *ret_text, size_t size);

/* A row in the layout of FRAME_ROW; batch: where its cells are, NULL: without them. r: NULL: no
 * digests. */
void host_write_row(struct host *h, uint32_t index, const struct normalized_row *row,
                    size_t field_count, const struct renkei_batch *batch, uint32_t batch_row,
                    const uint8_t *r);

/* The requests, one a function: read the payload, answer all but END (pull sends its own). */
MUST_CHECK enum error_code host_describe(struct host *h, struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_columns(struct host *h, struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_plan(struct host *h, struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_preview(struct host *h, struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_fetch(struct host *h, struct wire_reader *r, struct error *err);
/* The rest of a fetch's payload, of a table that need not be the mapping's in force. */
MUST_CHECK enum error_code host_fetch_from(struct host *h, struct host_table *t,
                                           struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_patient(struct host *h, struct wire_reader *r, struct error *err);
MUST_CHECK enum error_code host_pull(struct host *h, struct wire_reader *r, struct error *err);

#endif
