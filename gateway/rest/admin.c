#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/text.h"
#include "gateway/rest/emit.h"
#include "gateway/rest/routes.h"

static const char type_json[] = "application/json";
static const char *const no_query[] = {NULL};

/* --------------------------------------------------------------------------- status ---- */

static void emit_counts(struct buffer *out, const struct sync_counts *counts) {
    emit_object(out, "counts");
    emit_u64(out, "read", counts->read);
    emit_u64(out, "unchanged", counts->unchanged);
    emit_u64(out, "created", counts->created);
    emit_u64(out, "modified", counts->modified);
    emit_u64(out, "deleted", counts->deleted);
    emit_u64(out, "quarantined", counts->quarantined);
    emit_u64(out, "anchored", counts->anchored);
    emit_u64(out, "remapped", counts->remapped);
    emit_object_end(out);
}

static void emit_progress(struct buffer *out, const struct sync_progress *p) {
    emit_object(out, "progress");
    emit_u64(out, "pass", p->pass);
    emit_text(out, "state", sync_state_name(p->state));
    if (p->pass > 0) {
        emit_text(out, "mode", sync_mode_name(p->mode));
        emit_bool(out, "dryRun", p->dry_run);
        emit_bool(out, "declared", p->declared);
        emit_text(out, "table", p->table);
        if (p->pause != SYNC_NOT_PAUSED)
            emit_text(out, "pause", sync_pause_name(p->pause));
        if (p->pause_until_ms > 0)
            emit_time(out, "pauseUntil", p->pause_until_ms);
        emit_u64(out, "tablesDone", p->tables_done);
        emit_u64(out, "tables", p->tables);
        emit_counts(out, &p->counts);
        if (p->rows_expected >= 0)
            emit_u64(out, "rowsExpected", (uint64_t)p->rows_expected);
        emit_time(out, "started", p->started_ms);
        if (p->ended_ms > 0)
            emit_time(out, "ended", p->ended_ms);
        emit_u64(out, "rowsPerSecond", p->rows_per_second);
        if (p->left_ms >= 0)
            emit_u64(out, "leftMs", (uint64_t)p->left_ms);
    }
    if (p->code != ERROR_NONE)
        rest__emit_error(out, "error", p->code, p->error, p->hint);
    emit_object_end(out);
}

static void emit_load(struct buffer *out, const char *name, const struct sync_load *load) {
    emit_object(out, name);
    emit_u64(out, "pass", load->pass);
    emit_u64(out, "rows", load->rows);
    emit_u64(out, "bytes", load->bytes);
    emit_u64(out, "queries", load->queries);
    emit_u64(out, "sourceMs", load->source_ms);
    emit_u64(out, "waitMs", load->wait_ms);
    emit_u64(out, "pausedMs", load->paused_ms);
    emit_u64(out, "slowedMs", load->slowed_ms);
    emit_u64(out, "closedMs", load->closed_ms);
    if (load->latency_us > 0) {
        emit_u64(out, "latencyUs", load->latency_us);
        emit_u64(out, "latencyBestUs", load->latency_base_us);
    }
    emit_object_end(out);
}

static void emit_tables(struct buffer *out, const struct sync_source_status *source) {
    emit_list(out, "tables");
    for (size_t i = 0; i < source->table_count; i++) {
        const struct sync_table_status *t = &source->tables[i];
        emit_object(out, NULL);
        emit_text(out, "table", t->table);
        emit_text(out, "category", t->category);
        emit_u64(out, "records", t->records);
        emit_u64(out, "deleted", t->deleted);
        emit_u64(out, "quarantined", t->quarantined);
        emit_u64(out, "batches", t->batches);
        emit_u64(out, "vanished", t->vanished);
        emit_u64(out, "immutableChanged", t->immutable_changed);
        if (t->last_pass_ms > 0)
            emit_time(out, "lastPass", t->last_pass_ms);
        if (t->load.pass > 0) {
            emit_load(out, "load", &t->load);
            emit_load(out, "loadTotal", &t->load_total);
        }
        emit_object_end(out);
    }
    emit_list_end(out);
}

static void emit_source(struct buffer *out, const struct sync_source_status *s) {
    emit_object(out, NULL);
    emit_text(out, "source", s->source);
    emit_text(out, "connector", s->connector);
    emit_text(out, "mapping", s->mapping);
    emit_u64(out, "intervalSeconds", s->interval_s);
    if (s->last_pass_ms > 0)
        emit_time(out, "lastPass", s->last_pass_ms);
    if (s->next_pass_ms > 0)
        emit_time(out, "nextPass", s->next_pass_ms);
    emit_u64(out, "failures", s->failures);
    emit_u64(out, "pending", s->pending);
    emit_progress(out, &s->progress);
    emit_tables(out, s);
    if (s->code != ERROR_NONE)
        rest__emit_error(out, "error", s->code, s->error, s->hint);
    emit_object_end(out);
}

static void emit_sources(struct buffer *out, const struct sync_status *status) {
    emit_list(out, "sources");
    for (size_t i = 0; i < status->source_count; i++)
        emit_source(out, &status->sources[i]);
    emit_list_end(out);
}

static bool is_running(const struct sync_status *status) {
    /* What waits for room on a disk waits for somebody, who is not to wait for it. */
    bool running = status->pending > 0 && status->ledger_code != ERROR_DISK_FULL;
    for (size_t i = 0; i < status->source_count; i++) {
        enum sync_state state = status->sources[i].progress.state;
        running =
            running || state == SYNC_QUEUED || state == SYNC_READING || state == SYNC_ANCHORING;
    }
    return running;
}

static enum error_code get_status(struct rest *rest, struct rest_request *request,
                                  struct sync_status *ret_status, struct error *err) {
    return rest->backend.status(rest->backend.context, request->arena, ret_status, err);
}

static void emit_warning(struct buffer *out, const char *whose, uint64_t end_ms, uint64_t now_ms) {
    unsigned stage = certificate_stage(end_ms, now_ms);
    if (end_ms == 0 || stage == CERTIFICATE_STAGES)
        return;
    char end[CLOCK_RFC3339_BYTES], text[128];
    clock_rfc3339(end_ms, end);
    snprintf(text, sizeof text, "the TLS certificate of the %s' listener %s at %s", whose,
             stage == 0 ? "ended" : "ends", end);
    emit_object(out, NULL);
    emit_text(out, "what", stage == 0 ? "certificate-ended" : "certificate-ends");
    emit_text(out, "text", text);
    emit_object_end(out);
}

/* What an operator should see to before it stops somebody. */
static void emit_warnings(struct buffer *out, const struct rest *rest, uint64_t now_ms) {
    emit_list(out, "warnings");
    emit_warning(out, "patients", rest->certificate_end_ms, now_ms);
    emit_warning(out, "machines", rest->machine_certificate_end_ms, now_ms);
    emit_list_end(out);
}

enum error_code admin_status(struct rest *rest, struct rest_request *request,
                             struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    struct sync_status status;
    TRY(get_status(rest, request, &status, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_text(out, "hospital", rest->hospital);
    emit_text(out, "version", RENKEI_VERSION);
    emit_time(out, "started", rest->started_ms);
    emit_text(out, "url", rest_url(rest));
    emit_text(out, "machineUrl", rest_machine_url(rest));
    struct ledger_head head;
    struct error chain = {0};
    if (rest->backend.head(rest->backend.context, &head, &chain) == ERROR_NONE)
        rest__emit_head(out, "chain", &head);
    else
        rest__emit_error(out, "chainError", chain.code, chain.message, chain.hint);
    if (status.ledger_code != ERROR_NONE)
        rest__emit_error(out, "submissionError", status.ledger_code, status.ledger_error, NULL);
    emit_warnings(out, rest, request->now_ms);
    emit_u64(out, "patients", status.enrolments);
    emit_u64(out, "tokens", identity_token_count(rest->identity, request->now_ms));
    emit_u64(out, "pending", status.pending);
    emit_u64(out, "sequence", status.sequence);
    emit_u64(out, "vaultBytes", status.vault_bytes);
    emit_u64(out, "vaultBytesMax", status.vault_bytes_max);
    emit_sources(out, &status);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

enum error_code admin_sources(struct rest *rest, struct rest_request *request,
                              struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    struct sync_status status;
    TRY(get_status(rest, request, &status, err));
    emit_object(&answer->body, NULL);
    emit_sources(&answer->body, &status);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* ----------------------------------------------------------------------------- sync ---- */

static enum error_code answer_progress(struct rest *rest, struct rest_request *request,
                                       struct rest_answer *answer, struct error *err) {
    struct sync_status status;
    TRY(get_status(rest, request, &status, err));
    emit_object(&answer->body, NULL);
    emit_bool(&answer->body, "running", is_running(&status));
    emit_sources(&answer->body, &status);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

enum error_code admin_sync_progress(struct rest *rest, struct rest_request *request,
                                    struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    return answer_progress(rest, request, answer, err);
}

/* A JSON object with these members only (ended by NULL); an absent body is an empty object. */
static enum error_code read_object(struct rest_request *request, const char *const *names,
                                   json_t **ret_object, struct error *err) {
    json_error_t at;
    json_t *object = request->body.len == 0
                         ? json_object()
                         : json_loadb((const char *)request->body.data, request->body.len,
                                      JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(err, ERROR_BAD_REQUEST, "the body: expected a JSON object");
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        bool known = false;
        for (const char *const *n = names; *n != NULL; n++)
            known = known || strcmp(name, *n) == 0;
        if (!known) {
            json_decref(object);
            return error_set(err, ERROR_BAD_REQUEST,
                             "the body: a member that this resource does not have");
        }
    }
    *ret_object = object;
    return ERROR_NONE;
}

/* What a member of the body should be, or is absent. */
static bool is_text_or_absent(const json_t *object, const char *name) {
    json_t *value = json_object_get(object, name);
    return value == NULL || json_is_string(value);
}

static bool is_bool_or_absent(const json_t *object, const char *name) {
    json_t *value = json_object_get(object, name);
    return value == NULL || json_is_boolean(value);
}

static enum error_code read_sync_request(const json_t *body, struct sync_request *ret_request,
                                         struct error *err) {
    const char *mode = json_string_value(json_object_get(body, "mode"));
    struct sync_request r = {.mode = SYNC_FULL};
    bool good = is_text_or_absent(body, "source") && is_text_or_absent(body, "table") &&
                is_text_or_absent(body, "mode") && is_bool_or_absent(body, "declared") &&
                is_bool_or_absent(body, "dryRun") && is_bool_or_absent(body, "acceptDeletions");
    if (mode != NULL) {
        r.mode = (enum sync_mode)0;
        for (int i = SYNC_FULL; i <= SYNC_REPLAY; i++)
            if (strcmp(mode, sync_mode_name((enum sync_mode)i)) == 0)
                r.mode = (enum sync_mode)i;
        good = good && r.mode != (enum sync_mode)0;
    }
    if (!good)
        return error_set(err, ERROR_BAD_REQUEST,
                         "the body: source, table and mode (full, watermark, keys or replay) are texts, "
                         "declared, dryRun and acceptDeletions are true or false");
    r.source = json_string_value(json_object_get(body, "source"));
    r.table = json_string_value(json_object_get(body, "table"));
    r.declared = json_is_true(json_object_get(body, "declared"));
    r.dry_run = json_is_true(json_object_get(body, "dryRun"));
    r.accept_deletions = json_is_true(json_object_get(body, "acceptDeletions"));
    *ret_request = r;
    return ERROR_NONE;
}

enum error_code admin_sync_start(struct rest *rest, struct rest_request *request,
                                 struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"source", "table", "mode", "declared", "dryRun",
                                        "acceptDeletions", NULL};
    TRY(rest__query_only(request, no_query, err));
    json_t *body = NULL;
    TRY(read_object(request, names, &body, err));
    struct sync_request start;
    enum error_code code = read_sync_request(body, &start, err);
    if (code == ERROR_NONE)
        code = rest->backend.sync_start(rest->backend.context, &start, err);
    json_decref(body);
    TRY(code);
    answer->status = 202;
    return answer_progress(rest, request, answer, err);
}

enum error_code admin_sync_cancel(struct rest *rest, struct rest_request *request,
                                  struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"source", NULL};
    TRY(rest__query_only(request, names, err));
    TRY(rest->backend.sync_cancel(rest->backend.context, rest__query(request, "source"), err));
    answer->status = 204;
    return ERROR_NONE;
}

/* ----------------------------------------------------------------------- quarantine ---- */

enum error_code admin_quarantine(struct rest *rest, struct rest_request *request,
                                 struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"source", "cursor", "limit", NULL};
    TRY(rest__query_only(request, names, err));
    uint64_t limit = 0, after = 0;
    TRY(rest__query_number(request, "limit", 100, 1, SYNC_LIST_MAX, &limit, err));
    TRY(rest__query_number(request, "cursor", 0, 0, UINT64_MAX, &after, err));
    const struct sync_quarantined *rows = NULL;
    size_t count = 0;
    TRY(rest->backend.quarantine_list(rest->backend.context, rest__query(request, "source"), after,
                                      limit, request->arena, &rows, &count, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_list(out, "rows");
    for (size_t i = 0; i < count; i++) {
        emit_object(out, NULL);
        emit_u64(out, "id", rows[i].id);
        emit_text(out, "source", rows[i].source);
        emit_text(out, "table", rows[i].table);
        emit_text(out, "key", rows[i].key);
        emit_text(out, "column", rows[i].column);
        emit_text(out, "reason", rows[i].reason);
        emit_u64(out, "code", rows[i].code);
        emit_time(out, "first", rows[i].first_ms);
        emit_time(out, "last", rows[i].last_ms);
        emit_bool(out, "anchored", rows[i].anchored);
        emit_object_end(out);
    }
    emit_list_end(out);
    if (count == limit)
        buffer_append_format(out, ",\"next\":\"%llu\"", (unsigned long long)rows[count - 1].id);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

enum error_code admin_quarantine_drop(struct rest *rest, struct rest_request *request,
                                      struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    uint64_t id = 0;
    if (!text_u64(request->segment, &id))
        return error_set(err, ERROR_BAD_REQUEST, "the row: its id is a number");
    TRY(rest->backend.quarantine_drop(rest->backend.context, id, err));
    answer->status = 204;
    return ERROR_NONE;
}

/* ----------------------------------------------------------------------- characters ---- */

static void emit_character(struct buffer *out, const struct sync_character *character) {
    char code[16];
    snprintf(code, sizeof code, "%02X", character->code);
    emit_object(out, NULL);
    emit_text(out, "column", character->column);
    emit_text(out, "kind", character->kind);
    emit_text(out, "code", code);
    emit_u64(out, "count", character->count);
    emit_text(out, "sampleKey", character->sample_key);
    emit_object_end(out);
}

enum error_code admin_characters(struct rest *rest, struct rest_request *request,
                                 struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"source", NULL};
    TRY(rest__query_only(request, names, err));
    const struct sync_characters *reports = NULL;
    size_t count = 0;
    TRY(rest->backend.characters(rest->backend.context, rest__query(request, "source"),
                                 request->arena, &reports, &count, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_list(out, "tables");
    for (size_t i = 0; i < count; i++) {
        emit_object(out, NULL);
        emit_text(out, "source", reports[i].source);
        emit_text(out, "table", reports[i].table);
        emit_u64(out, "pass", reports[i].pass);
        emit_u64(out, "passes", reports[i].passes);
        emit_time(out, "ended", reports[i].ended_ms);
        emit_u64(out, "rows", reports[i].rows);
        emit_u64(out, "beyond", reports[i].beyond);
        emit_list(out, "characters");
        for (size_t c = 0; c < reports[i].count; c++)
            emit_character(out, &reports[i].list[c]);
        emit_list_end(out);
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------- key sets ---- */

enum error_code admin_keysets(struct rest *rest, struct rest_request *request,
                              struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"source", NULL};
    TRY(rest__query_only(request, names, err));
    const struct sync_keyset *list = NULL;
    size_t count = 0;
    TRY(rest->backend.keysets(rest->backend.context, rest__query(request, "source"),
                              request->arena, &list, &count, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_list(out, "tables");
    for (size_t i = 0; i < count; i++) {
        emit_object(out, NULL);
        emit_text(out, "source", list[i].source);
        emit_text(out, "table", list[i].table);
        emit_hex(out, "secret", bytes_of(list[i].secret, sizeof list[i].secret));
        emit_u64(out, "pass", list[i].pass);
        if (list[i].pass > 0) {
            emit_text(out, "mode", sync_mode_name(list[i].mode));
            emit_u64(out, "count", list[i].count);
            emit_hash(out, "root", &list[i].root);
            emit_text(out, "snapshot", list[i].snapshot);
            emit_u64(out, "sequence", list[i].sequence);
        }
        if (list[i].height > 0)
            emit_u64(out, "height", list[i].height);
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------- patients ---- */

static void emit_enrolment(struct buffer *out, const struct sync_enrolment *enrolment) {
    emit_object(out, NULL);
    emit_text(out, "key", enrolment->thumbprint);
    emit_text(out, "patient", enrolment->patient);
    emit_time(out, "enrolled", enrolment->enrolled_ms);
    emit_object_end(out);
}

enum error_code admin_patients(struct rest *rest, struct rest_request *request,
                               struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"cursor", "limit", NULL};
    TRY(rest__query_only(request, names, err));
    uint64_t limit = 0;
    TRY(rest__query_number(request, "limit", 100, 1, SYNC_LIST_MAX, &limit, err));
    const struct sync_enrolment *list = NULL;
    size_t count = 0;
    TRY(rest->backend.enrolment_list(rest->backend.context, rest__query(request, "cursor"), limit,
                                     request->arena, &list, &count, err));
    emit_object(&answer->body, NULL);
    emit_list(&answer->body, "patients");
    for (size_t i = 0; i < count; i++)
        emit_enrolment(&answer->body, &list[i]);
    emit_list_end(&answer->body);
    if (count == limit)
        emit_text(&answer->body, "next", list[count - 1].thumbprint);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

struct enrolling {
    const char *patient;
    char jwk[IDENTITY_JWK_BYTES_MAX + 1];
    char thumbprint[IDENTITY_THUMBPRINT_TEXT_BYTES];
};

/* What is kept is the key's minimal form, whatever else the client's JWK held. */
static enum error_code read_enrolling(const json_t *body, struct enrolling *ret_enrolling,
                                      struct error *err) {
    json_t *patient = json_object_get(body, "patient");
    json_t *jwk = json_object_get(body, "key");
    size_t len = json_string_length(patient);
    if (!json_is_string(patient) || len == 0 || len > SYNC_PATIENT_BYTES_MAX ||
        !json_is_object(jwk))
        return error_set(err, ERROR_BAD_REQUEST,
                         "the body: patient must be a text of 1 to %d bytes and key a JWK",
                         (int)SYNC_PATIENT_BYTES_MAX);
    char text[IDENTITY_JWK_BYTES_MAX];
    size_t jwk_len = json_dumpb(jwk, text, sizeof text, JSON_COMPACT);
    if (jwk_len == 0 || jwk_len > sizeof text)
        return error_set(err, ERROR_BAD_REQUEST, "JWK: longer than %d bytes",
                         (int)IDENTITY_JWK_BYTES_MAX);
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    TRY(identity_key_from_jwk(bytes_of(text, jwk_len), &key, err));
    SCOPED_BUFFER struct buffer minimal;
    buffer_init(&minimal, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &minimal);
    TRY(buffer_check(&minimal, "JWK", err));
    memcpy(ret_enrolling->jwk, minimal.data, minimal.len);
    ret_enrolling->jwk[minimal.len] = '\0';
    struct hash thumbprint = identity_key_thumbprint(key);
    identity_thumbprint_text(&thumbprint, ret_enrolling->thumbprint);
    ret_enrolling->patient = json_string_value(patient);
    return ERROR_NONE;
}

enum error_code admin_enrol(struct rest *rest, struct rest_request *request,
                            struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"patient", "key", NULL};
    TRY(rest__query_only(request, no_query, err));
    json_t *body = NULL;
    TRY(read_object(request, names, &body, err));
    struct enrolling enrolling;
    struct sync_enrolment enrolment;
    void *context = rest->backend.context;
    bool known = false;
    enum error_code code = read_enrolling(body, &enrolling, err);
    if (code == ERROR_NONE) {
        known = rest->backend.enrolment_find(context, enrolling.thumbprint, request->arena,
                                             &enrolment, NULL) == ERROR_NONE;
        code = rest->backend.enrol(context, enrolling.thumbprint, enrolling.patient, enrolling.jwk,
                                   err);
    }
    if (code == ERROR_NONE)
        code = rest->backend.enrolment_find(context, enrolling.thumbprint, request->arena,
                                            &enrolment, err);
    json_decref(body);
    TRY(code);
    emit_enrolment(&answer->body, &enrolment);
    answer->status = known ? 200 : 201;
    answer->content_type = type_json;
    return ERROR_NONE;
}

enum error_code admin_revoke(struct rest *rest, struct rest_request *request,
                             struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    struct hash key;
    if (!identity_thumbprint_parse(bytes_text(request->segment), &key))
        return error_set(err, ERROR_BAD_REQUEST, "the key: not an RFC 7638 thumbprint");
    TRY(rest->backend.enrolment_remove(rest->backend.context, request->segment, err));
    identity_forget(rest->identity, &key);
    answer->status = 204;
    return ERROR_NONE;
}

enum error_code admin_hospitals(struct rest *rest, struct rest_request *request,
                                struct rest_answer *answer, struct error *err) {
    TRY(rest__query_only(request, no_query, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    emit_list(out, "hospitals");
    for (size_t i = 0; i < peers_count(rest->peers); i++) {
        uint64_t answer_ms;
        char error[256];
        peers_last(rest->peers, i, &answer_ms, error);
        emit_object(out, NULL);
        emit_text(out, "hospital", peers_name(rest->peers, i));
        emit_text(out, "url", peers_url(rest->peers, i));
        if (answer_ms > 0)
            emit_time(out, "lastAnswer", answer_ms);
        if (error[0] != '\0')
            emit_text(out, "lastError", error);
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}
