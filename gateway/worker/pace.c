#include "gateway/worker/pace.h"

#include <string.h>

#include "base/clock.h"

enum {
    PAUSE_STEP_MS = 50,
    LOOK_MS = 1000, /* between two looks at latency and windows */
    SLOW_MS_MIN = 50,
    SLOW_MS_MAX = 2000,
    /* What a round trip may always take: less says nothing of a source's state. */
    LATENCY_FLOOR_US = 20000,
};

void pace_start(struct pace *pace, struct host *host, struct worker_totals *totals,
                uint32_t rows_per_second) {
    *pace = (struct pace){.host = host,
                          .totals = totals,
                          .rows_per_second = rows_per_second,
                          .started_ns = clock_monotonic_ns(),
                          .next_look_ms = clock_monotonic_ms() + LOOK_MS};
}

void pace_done(struct pace *pace) {
    if (pace->probe != NULL)
        pace->host->connector->close(pace->probe);
    pace->probe = NULL;
}

void pace_write_totals(struct buffer *out, const struct worker_totals *t) {
    wire_u64(out, t->rows);
    wire_u64(out, t->rows_new);
    wire_u64(out, t->rows_same);
    wire_u64(out, t->rows_changed);
    wire_u64(out, t->rows_quarantined);
    wire_u64(out, t->raw_bytes);
    wire_u64(out, t->queries);
    wire_u64(out, t->source_us);
    wire_u64(out, t->normalize_us);
    wire_u64(out, t->digest_us);
    wire_u64(out, t->wait_us);
    wire_u64(out, t->paused_us);
    wire_u64(out, t->slowed_us);
    wire_u64(out, t->closed_us);
    wire_u64(out, t->latency_us);
    wire_u64(out, t->latency_base_us);
    frame_text(out, t->watermark);
}

static enum error_code tell(struct pace *pace, enum worker_pause pause, uint64_t until_ms,
                            struct error *err) {
    struct buffer *out = &pace->host->out;
    frame_begin(out, FRAME_LOAD);
    wire_u8(out, (uint8_t)pause);
    wire_u64(out, until_ms);
    pace_write_totals(out, pace->totals);
    return host_send(pace->host, err);
}

/* The cap holds for the time in which reading is allowed. */
static enum error_code keep_rate(struct pace *pace, struct error *err) {
    uint64_t since = clock_monotonic_ns();
    if (pace->rows_per_second == 0)
        return ERROR_NONE;
    for (;;) {
        uint64_t passed_ms = (clock_monotonic_ns() - pace->started_ns) / 1000000;
        if (passed_ms * pace->rows_per_second >= pace->rows * 1000)
            break;
        TRY(host_check_cancelled(pace->host, err));
        clock_sleep_ms(PAUSE_STEP_MS);
    }
    pace->totals->paused_us += (clock_monotonic_ns() - since) / 1000;
    return ERROR_NONE;
}

static enum error_code keep_slow(struct pace *pace, struct error *err) {
    uint64_t since = clock_monotonic_ns();
    if (pace->slow_ms == 0)
        return ERROR_NONE;
    for (uint32_t left_ms = pace->slow_ms; left_ms > 0;) {
        uint32_t step_ms = left_ms < PAUSE_STEP_MS ? left_ms : PAUSE_STEP_MS;
        TRY(host_check_cancelled(pace->host, err));
        clock_sleep_ms(step_ms);
        left_ms -= step_ms;
    }
    pace->totals->slowed_us += (clock_monotonic_ns() - since) / 1000;
    return ERROR_NONE;
}

/* A round trip now against the best one that this source was seen to have. One slow answer alone
 * changes nothing. */
static void look_at_latency(struct pace *pace) {
    struct host *h = pace->host;
    struct renkei_fault ignored = {0};
    uint64_t us;
    if (h->latency_factor_max == 0 || pace->probe_failed)
        return;
    /* A source that has no room for a second session is read without it. */
    if (pace->probe == NULL)
        pace->probe_failed = h->connector->open(h->mapping->options,
                                                (uint32_t)h->mapping->option_count, &pace->probe,
                                                &ignored) != RENKEI_OK;
    if (!pace->probe_failed)
        pace->probe_failed = !host_round_trip(h, pace->probe, &us);
    if (pace->probe_failed) {
        pace_done(pace);
        pace->slow_ms = 0;
        return;
    }
    pace->totals->queries++;
    uint64_t now_us = us < pace->last_us ? us : pace->last_us;
    pace->last_us = us;
    pace->totals->latency_us = us;
    pace->totals->latency_base_us = h->latency_base_us;
    if (now_us > h->latency_base_us * h->latency_factor_max + LATENCY_FLOOR_US)
        pace->slow_ms = pace->slow_ms == 0                ? SLOW_MS_MIN
                        : pace->slow_ms * 2 < SLOW_MS_MAX ? pace->slow_ms * 2
                                                          : SLOW_MS_MAX;
    else
        pace->slow_ms = pace->slow_ms > SLOW_MS_MIN ? pace->slow_ms / 2 : 0;
}

static bool is_closed(struct host *h, uint64_t *ret_until_ms) {
    *ret_until_ms = 0;
    return h->windows != NULL && !windows_open_at(h->windows, clock_wall_ms(), ret_until_ms);
}

enum error_code pace_rows(struct pace *pace, uint64_t rows, bool *ret_closed, struct error *err) {
    pace->rows += rows;
    TRY(keep_rate(pace, err));
    TRY(keep_slow(pace, err));
    if (clock_monotonic_ms() >= pace->next_look_ms) {
        uint64_t until_ms;
        look_at_latency(pace);
        TRY(tell(pace, pace->slow_ms > 0 ? WORKER_SLOWED : WORKER_READING, 0, err));
        *ret_closed = is_closed(pace->host, &until_ms);
        pace->next_look_ms = clock_monotonic_ms() + LOOK_MS;
    }
    return host_check_cancelled(pace->host, err);
}

enum error_code pace_window(struct pace *pace, struct error *err) {
    uint64_t since = clock_monotonic_ns(), until_ms, told_ms = 0;
    while (is_closed(pace->host, &until_ms)) {
        if (told_ms == 0 || clock_monotonic_ms() - told_ms >= LOOK_MS) {
            TRY(tell(pace, WORKER_CLOSED, until_ms, err));
            told_ms = clock_monotonic_ms();
        }
        TRY(host_check_cancelled(pace->host, err));
        clock_sleep_ms(PAUSE_STEP_MS);
    }
    uint64_t closed_ns = clock_monotonic_ns() - since;
    pace->started_ns += closed_ns;
    if (told_ms != 0)
        pace->totals->closed_us += closed_ns / 1000;
    return ERROR_NONE;
}
