#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "gateway/rest/embedded.h"
#include "gateway/rest/routes.h"

enum error_code health_live(struct rest *rest, struct rest_request *request,
                            struct rest_answer *answer, struct error *err) {
    (void)rest;
    (void)request;
    (void)err;
    buffer_append_text(&answer->body, "alive\n");
    answer->content_type = "text/plain";
    return ERROR_NONE;
}

/* Ready: the node answers with a head that is not stale, and the vault can be read. */
enum error_code health_ready(struct rest *rest, struct rest_request *request,
                             struct rest_answer *answer, struct error *err) {
    struct ledger_head head;
    struct sync_status status;
    TRY(rest->backend.head(rest->backend.context, &head, err));
    TRY(rest->backend.status(rest->backend.context, request->arena, &status, err));
    buffer_append_text(&answer->body, "ready\n");
    answer->content_type = "text/plain";
    return ERROR_NONE;
}

enum error_code health_openapi(struct rest *rest, struct rest_request *request,
                               struct rest_answer *answer, struct error *err) {
    (void)rest;
    (void)request;
    (void)err;
    buffer_append(&answer->body, embedded_openapi, embedded_openapi_len);
    answer->content_type = "application/yaml";
    answer->cacheable = true;
    return ERROR_NONE;
}

enum error_code health_openapi_admin(struct rest *rest, struct rest_request *request,
                                     struct rest_answer *answer, struct error *err) {
    (void)rest;
    (void)request;
    (void)err;
    buffer_append(&answer->body, embedded_openapi_admin, embedded_openapi_admin_len);
    answer->content_type = "application/yaml";
    answer->cacheable = true;
    return ERROR_NONE;
}

/* -------------------------------------------------------------------------- metrics ---- */

static void metric(struct buffer *out, const char *name, const char *type, const char *help) {
    buffer_append_format(out, "# HELP renkei_%s %s\n# TYPE renkei_%s %s\n", name, help, name, type);
}

static void value(struct buffer *out, const char *name, uint64_t number) {
    buffer_append_format(out, "renkei_%s %" PRIu64 "\n", name, number);
}

static void request_metrics(struct rest *rest, struct buffer *out) {
    metric(out, "http_requests_total", "counter", "Requests by operation and status class.");
    for (size_t i = 0; i < rest__route_count; i++)
        for (unsigned c = 1; c < 6; c++)
            if (rest->metrics.requests[i][c] > 0)
                buffer_append_format(out,
                                     "renkei_http_requests_total{operation=\"%s\","
                                     "status=\"%uxx\"} %" PRIu64 "\n",
                                     rest__routes[i].operation, c,
                                     (uint64_t)rest->metrics.requests[i][c]);
    metric(out, "http_request_duration_milliseconds_total", "counter",
           "Time spent on answers, by operation.");
    for (size_t i = 0; i < rest__route_count; i++)
        if (rest->metrics.duration_ms[i] > 0)
            buffer_append_format(
                out,
                "renkei_http_request_duration_milliseconds_total{operation=\"%s\"} %" PRIu64 "\n",
                rest__routes[i].operation, (uint64_t)rest->metrics.duration_ms[i]);
    metric(out, "verdicts_total", "counter", "Verdicts of records that were shown.");
    for (int i = 0; i <= VERDICT_WITHHELD; i++)
        buffer_append_format(out, "renkei_verdicts_total{verdict=\"%s\"} %" PRIu64 "\n",
                             verdict_name((enum verdict)i), (uint64_t)rest->metrics.verdicts[i]);
    metric(out, "sign_ins_total", "counter", "Tokens given out.");
    value(out, "sign_ins_total", rest->metrics.sign_ins);
    metric(out, "refusals_total", "counter", "Answers 401 and 403.");
    value(out, "refusals_total", rest->metrics.refusals);
    metric(out, "forwards_answered_total", "counter", "Requests of other hospitals answered.");
    value(out, "forwards_answered_total", rest->metrics.forwards_answered);
    metric(out, "late_connections_total", "counter", "Connections closed for being too slow.");
    value(out, "late_connections_total", rest->metrics.late_connections);
}

/* What was asked of the sources since the start, by table. */
static void load_metrics(const struct sync_status *status, struct buffer *out) {
    static const struct {
        const char *name, *help;
        size_t at;
    } counters[] = {
        {"source_rows_total", "Rows read.", offsetof(struct sync_load, rows)},
        {"source_bytes_total", "Bytes of cells read.", offsetof(struct sync_load, bytes)},
        {"source_queries_total", "Statements sent.", offsetof(struct sync_load, queries)},
        {"source_milliseconds_total", "Time waited for the source.",
         offsetof(struct sync_load, source_ms)},
        {"source_paused_milliseconds_total", "Time waited for the cap of rows a second.",
         offsetof(struct sync_load, paused_ms)},
        {"source_slowed_milliseconds_total", "Time given to a source that answered slowly.",
         offsetof(struct sync_load, slowed_ms)},
    };
    for (size_t c = 0; c < sizeof counters / sizeof counters[0]; c++) {
        metric(out, counters[c].name, "counter", counters[c].help);
        for (size_t i = 0; i < status->source_count; i++)
            for (size_t t = 0; t < status->sources[i].table_count; t++) {
                const struct sync_table_status *table = &status->sources[i].tables[t];
                uint64_t number;
                memcpy(&number, (const char *)&table->load_total + counters[c].at, sizeof number);
                buffer_append_format(out,
                                     "renkei_%s{source=\"%s\",table=\"%s\"} %" PRIu64 "\n",
                                     counters[c].name, status->sources[i].source, table->table,
                                     number);
            }
    }
}

static void source_metrics(const struct sync_status *status, struct buffer *out) {
    metric(out, "source_failures", "gauge", "Passes of a source that failed one after another.");
    for (size_t i = 0; i < status->source_count; i++)
        buffer_append_format(out, "renkei_source_failures{source=\"%s\"} %u\n",
                             status->sources[i].source, status->sources[i].failures);
    metric(out, "source_last_pass_seconds", "gauge", "End of a source's last whole pass.");
    for (size_t i = 0; i < status->source_count; i++)
        buffer_append_format(out, "renkei_source_last_pass_seconds{source=\"%s\"} %" PRIu64 "\n",
                             status->sources[i].source, status->sources[i].last_pass_ms / 1000);
    metric(out, "source_pending_anchors", "gauge", "Durable anchors that are not yet committed.");
    for (size_t i = 0; i < status->source_count; i++)
        buffer_append_format(out, "renkei_source_pending_anchors{source=\"%s\"} %" PRIu64 "\n",
                             status->sources[i].source, status->sources[i].pending);
    metric(out, "quarantined_rows", "gauge", "Rows that could not be read, by table.");
    for (size_t i = 0; i < status->source_count; i++)
        for (size_t t = 0; t < status->sources[i].table_count; t++)
            buffer_append_format(
                out, "renkei_quarantined_rows{source=\"%s\",table=\"%s\"} %" PRIu64 "\n",
                status->sources[i].source, status->sources[i].tables[t].table,
                status->sources[i].tables[t].quarantined);
    metric(out, "vanished_rows", "gauge",
           "Rows that are gone, too many at once to be anchored as deleted unasked.");
    for (size_t i = 0; i < status->source_count; i++)
        for (size_t t = 0; t < status->sources[i].table_count; t++)
            buffer_append_format(
                out, "renkei_vanished_rows{source=\"%s\",table=\"%s\"} %" PRIu64 "\n",
                status->sources[i].source, status->sources[i].tables[t].table,
                status->sources[i].tables[t].vanished);
    metric(out, "immutable_changed_rows", "gauge",
           "Rows of immutable tables that changed or are gone.");
    for (size_t i = 0; i < status->source_count; i++)
        for (size_t t = 0; t < status->sources[i].table_count; t++)
            buffer_append_format(
                out, "renkei_immutable_changed_rows{source=\"%s\",table=\"%s\"} %" PRIu64 "\n",
                status->sources[i].source, status->sources[i].tables[t].table,
                status->sources[i].tables[t].immutable_changed);
    load_metrics(status, out);
    metric(out, "vault_bytes", "gauge", "Size of the vault.");
    value(out, "vault_bytes", status->vault_bytes);
    metric(out, "enrolments", "gauge", "Enrolled keys.");
    value(out, "enrolments", status->enrolments);
}

static void certificate_metric(const struct rest *rest, uint64_t now_ms, struct buffer *out) {
    const struct {
        const char *listener;
        uint64_t end_ms;
    } ends[] = {{"patients", rest->certificate_end_ms},
                {"machines", rest->machine_certificate_end_ms}};
    metric(out, "certificate_left_seconds", "gauge", "Until a listener's TLS certificate ends.");
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends[i].end_ms > 0)
            buffer_append_format(
                out, "renkei_certificate_left_seconds{listener=\"%s\"} %" PRIu64 "\n",
                ends[i].listener,
                ends[i].end_ms > now_ms ? (ends[i].end_ms - now_ms) / 1000 : 0);
}

enum error_code health_metrics(struct rest *rest, struct rest_request *request,
                               struct rest_answer *answer, struct error *err) {
    (void)err;
    struct buffer *out = &answer->body;
    request_metrics(rest, out);
    metric(out, "tokens", "gauge", "Tokens that have not ended.");
    value(out, "tokens", identity_token_count(rest->identity, request->now_ms));
    certificate_metric(rest, request->now_ms, out);
    struct ledger_head head;
    if (rest->backend.head(rest->backend.context, &head, NULL) == ERROR_NONE) {
        metric(out, "chain_height", "gauge", "Height of the chain's head.");
        value(out, "chain_height", head.height);
        metric(out, "chain_time_seconds", "gauge", "Time of the chain's head.");
        value(out, "chain_time_seconds", head.time_ms / 1000);
    }
    struct sync_status status;
    if (rest->backend.status(rest->backend.context, request->arena, &status, NULL) == ERROR_NONE)
        source_metrics(&status, out);
    answer->content_type = "text/plain; version=0.0.4";
    return ERROR_NONE;
}
