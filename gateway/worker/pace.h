/*
 * How fast, and when, a source may be read: the cap of rows a second, the work windows, and the
 * source's own latency, which slows a pull down by itself. Inside gateway/worker only.
 */
#ifndef GATEWAY_WORKER_PACE_H
#define GATEWAY_WORKER_PACE_H

#include "gateway/worker/host.h"

struct pace {
    struct host *host;
    struct worker_totals *totals;
    uint32_t rows_per_second; /* 0: no cap */
    uint64_t rows;            /* since started_ns, without the time in which windows were closed */
    uint64_t started_ns;
    uint64_t next_look_ms;
    /* A session beside the one that reads, for round trips; opened once a pull is a long one. */
    struct renkei_session *probe;
    bool probe_failed;
    uint64_t last_us; /* the round trip before the latest */
    uint32_t slow_ms; /* what is waited after each batch */
};

void pace_start(struct pace *pace, struct host *host, struct worker_totals *totals,
                uint32_t rows_per_second);
void pace_done(struct pace *pace);

/* After a batch: waits as long as cap and latency ask for. ret_closed: the work window has ended. */
MUST_CHECK enum error_code pace_rows(struct pace *pace, uint64_t rows, bool *ret_closed,
                                     struct error *err);
/* Waits until a window is open, without a session. */
MUST_CHECK enum error_code pace_window(struct pace *pace, struct error *err);

/* The payload that END and LOAD share. */
void pace_write_totals(struct buffer *out, const struct worker_totals *totals);

#endif
