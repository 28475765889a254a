#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/identity/client.h"
#include "gateway/rest/claims.h"
#include "gateway/rest/document.h"
#include "gateway/rest/emit.h"
#include "gateway/rest/routes.h"
#include "gateway/rest/scan.h"
#include "gateway/rest/section.h"

static const char type_json[] = "application/json";
static const char type_ndjson[] = "application/x-ndjson";

/* -------------------------------------------------------------------------- sign-in ---- */

enum error_code patient_nonce(struct rest *rest, struct rest_request *request,
                              struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    char nonce[IDENTITY_NONCE_TEXT_BYTES];
    identity_nonce(rest->identity, request->now_ms, nonce);
    emit_object(&answer->body, NULL);
    emit_text(&answer->body, "nonce", nonce);
    emit_u64(&answer->body, "expires_in", IDENTITY_NONCE_LIFE_MS / 1000);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One value of a form, percent-decoded; a name that stands twice is refused. */
static enum error_code form_value(struct bytes form, const char *name, struct buffer *out,
                                  struct error *err) {
    size_t name_len = strlen(name);
    bool found = false, good = true;
    for (size_t start = 0; start < form.len;) {
        size_t end = start;
        while (end < form.len && form.data[end] != '&')
            end++;
        const uint8_t *at = form.data + start;
        size_t len = end - start;
        start = end + 1;
        if (len <= name_len || memcmp(at, name, name_len) != 0 || at[name_len] != '=')
            continue;
        good = good && !found;
        found = true;
        for (size_t i = name_len + 1; i < len; i++) {
            int high = i + 2 < len ? hex_digit(at[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(at[i + 2]) : -1;
            if (at[i] == '%') {
                good = good && high >= 0 && low >= 0;
                buffer_append_byte(out, (uint8_t)((unsigned)high << 4 | (unsigned)low));
                i += 2;
            } else {
                buffer_append_byte(out, at[i] == '+' ? ' ' : at[i]);
            }
        }
    }
    if (!found || !good || out->failed)
        return error_set(err, ERROR_BAD_REQUEST,
                         "the form: %s is missing, stands twice, or is not percent-encoded", name);
    return ERROR_NONE;
}

static bool content_is(const struct rest_request *request, const char *type) {
    const char *found = request->header[HEADER_CONTENT_TYPE];
    size_t len = strlen(type);
    return found != NULL && strncasecmp(found, type, len) == 0 &&
           (found[len] == '\0' || found[len] == ';' || found[len] == ' ');
}

enum error_code patient_token(struct rest *rest, struct rest_request *request,
                              struct rest_answer *answer, struct error *err) {
    static const char form_type[] = "application/x-www-form-urlencoded";
    if (!content_is(request, form_type))
        return error_set(err, ERROR_BAD_REQUEST, "the Content-Type: expected %s", form_type);
    SCOPED_BUFFER struct buffer grant, assertion;
    buffer_init(&grant, 128);
    buffer_init(&assertion, REST_BODY_BYTES_MAX);
    TRY(form_value(request->body, "grant_type", &grant, err));
    if (!bytes_equal(buffer_bytes(&grant), BYTES_LITERAL(IDENTITY_GRANT_TYPE)))
        return error_set(err, ERROR_BAD_REQUEST, "the form: grant_type must be %s",
                         IDENTITY_GRANT_TYPE);
    TRY(form_value(request->body, "assertion", &assertion, err));
    if (request->header[HEADER_DPOP] == NULL)
        return error_set(err, ERROR_UNAUTHENTICATED, "no DPoP header");
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    TRY(identity_sign_in(rest->identity, request->now_ms, request->path, buffer_bytes(&assertion),
                         bytes_text(request->header[HEADER_DPOP]), token, &request->session, err));
    rest->metrics.sign_ins++;
    emit_object(&answer->body, NULL);
    emit_text(&answer->body, "access_token", token);
    emit_text(&answer->body, "token_type", "DPoP");
    emit_u64(&answer->body, "expires_in", IDENTITY_TOKEN_LIFE_MS / 1000);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* What a client needs to know to ask for all hospitals: their names, for its forward request. */
enum error_code patient_hospitals(struct rest *rest, struct rest_request *request,
                                  struct rest_answer *answer, struct error *err) {
    (void)request;
    (void)err;
    emit_object(&answer->body, NULL);
    emit_text(&answer->body, "hospital", rest->hospital);
    emit_text(&answer->body, "url", rest_url(rest));
    emit_list(&answer->body, "hospitals");
    for (size_t i = 0; i < peers_count(rest->peers); i++)
        emit_text(&answer->body, NULL, peers_name(rest->peers, i));
    emit_list_end(&answer->body);
    emit_object_end(&answer->body);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------- document ---- */

/* The audience as it stands in the request's payload; identity has checked the request. */
static enum error_code read_audience(struct rest_request *request, struct bytes *ret_audience,
                                     struct error *err) {
    const char *text = request->header[HEADER_FORWARD];
    const char *start = strchr(text, '.');
    size_t len = start != NULL ? strcspn(start + 1, ".") : 0;
    SCOPED_BUFFER struct buffer payload;
    buffer_init(&payload, REST_HEADER_BYTES_MAX);
    if (len == 0 || !text_unbase64url(bytes_of(start + 1, len), &payload))
        return error_set(err, ERROR_BAD_REQUEST, "the forward request: no payload");
    struct bytes kept = arena_bytes(request->arena, buffer_bytes(&payload));
    if (kept.data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the forward request");
    *ret_audience = scan_find(kept, "aud");
    return ERROR_NONE;
}

static enum error_code collect_parts(struct rest *rest, struct rest_request *request,
                                     struct buffer *own, struct document_part *parts,
                                     size_t *ret_count, struct error *err) {
    struct bytes audience = {NULL, 0}, forward = {NULL, 0};
    if (request->header[HEADER_FORWARD] != NULL) {
        forward = bytes_text(request->header[HEADER_FORWARD]);
        TRY(identity_check_outgoing(rest->identity, request->now_ms, forward, &request->session,
                                    err));
        TRY(read_audience(request, &audience, err));
    }
    parts[0] = (struct document_part){.hospital = rest->hospital};
    TRY(section_make(&rest->backend, rest->hospital, request->session.patient, request->arena, own,
                     err));
    TRY(document_part_read(buffer_bytes(own), request->arena, &parts[0], err));
    peers_ask(rest->peers, forward, audience, request->arena, parts + 1);
    *ret_count = 1 + peers_count(rest->peers);
    for (size_t i = 1; i < *ret_count; i++)
        if (parts[i].section.len > 0)
            claims_check(&rest->backend, request->arena, &parts[i]);
    return ERROR_NONE;
}

static void count_verdicts(struct rest *rest, const struct document_summary *summary) {
    for (size_t i = 0; i <= VERDICT_WITHHELD; i++)
        rest->metrics.verdicts[i] += summary->verdicts[i];
}

enum error_code patient_document(struct rest *rest, struct rest_request *request,
                                 struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"view", NULL};
    TRY(rest__query_only(request, names, err));
    const char *view = rest__query(request, "view");
    bool plain = view != NULL && strcmp(view, "plain") == 0;
    if (view != NULL && !plain && strcmp(view, "verified") != 0)
        return error_set(err, ERROR_BAD_REQUEST, "the query: view must be verified or plain");
    struct document_part parts[DOCUMENT_PARTS_MAX];
    size_t count = 0;
    SCOPED_BUFFER struct buffer own;
    buffer_init(&own, REST_ANSWER_BYTES_MAX);
    TRY(collect_parts(rest, request, &own, parts, &count, err));
    struct document_summary summary;
    document_summarise(parts, count, &summary);
    count_verdicts(rest, &summary);
    if (plain)
        TRY(document_plain(parts, count, request->arena, &answer->body, err));
    else
        TRY(document_verified(rest->hospital, request->now_ms, parts, count, request->arena,
                              &answer->body, err));
    SCOPED_BUFFER struct buffer verdicts;
    buffer_init(&verdicts, 512);
    document_summary_text(&summary, &verdicts);
    rest__header(request, answer, "Renkei-Verdicts", "%.*s", (int)verdicts.len,
                 (const char *)verdicts.data);
    rest__header(request, answer, "Renkei-Complete", "%s", summary.complete ? "true" : "false");
    rest__header(request, answer, "Link", "</v1/me/document?view=%s>; rel=\"alternate\"",
                 plain ? "verified" : "plain");
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* -------------------------------------------------------------------------- records ---- */

/* The address that a record's id stands for. */
static enum error_code read_id(struct rest_request *request, const char *id, const char *what,
                               const char **ret_address, struct error *err) {
    SCOPED_BUFFER struct buffer address;
    buffer_init(&address, REST_SEGMENT_BYTES_MAX);
    bool good = text_unbase64url(bytes_text(id), &address) && address.len > 0 &&
                memchr(address.data, 0, address.len) == NULL;
    buffer_append_byte(&address, 0);
    if (!good || address.failed)
        return error_set(err, ERROR_BAD_REQUEST, "%s: not the base64url of a record's address",
                         what);
    const char *text = arena_text(request->arena, (const char *)address.data);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the address");
    *ret_address = text;
    return ERROR_NONE;
}

static enum error_code records_as_lines(struct rest *rest, struct rest_request *request,
                                        struct records_query *query, struct rest_answer *answer,
                                        struct error *err) {
    struct records records = {.more = true};
    while (records.more) {
        TRY(rest->backend.records_of_patient(rest->backend.context, request->session.patient, query,
                                             request->arena, &records, err));
        for (size_t i = 0; i < records.count; i++) {
            section_record(&answer->body, &records.items[i]);
            buffer_append_byte(&answer->body, '\n');
        }
        if (query->after == NULL) {
            for (size_t i = 0; i < records.error_count; i++) {
                const struct records_error *e = &records.errors[i];
                emit_object(&answer->body, NULL);
                emit_text(&answer->body, "source", e->source);
                rest__emit_error(&answer->body, "error", e->code, e->error, e->hint);
                emit_object_end(&answer->body);
                buffer_append_byte(&answer->body, '\n');
            }
        }
        records.more = records.more && records.count > 0;
        if (records.count > 0)
            query->after = records.items[records.count - 1].address;
        TRY(buffer_check(&answer->body, "the records", err));
    }
    answer->content_type = type_ndjson;
    return ERROR_NONE;
}

enum error_code patient_records(struct rest *rest, struct rest_request *request,
                                struct rest_answer *answer, struct error *err) {
    static const char *const names[] = {"cursor", "limit", NULL};
    TRY(rest__query_only(request, names, err));
    uint64_t limit = 0;
    TRY(rest__query_number(request, "limit", 100, 1, RECORDS_LIMIT_MAX, &limit, err));
    struct records_query query = {.limit = limit};
    if (rest__query(request, "cursor") != NULL)
        TRY(read_id(request, rest__query(request, "cursor"), "the cursor", &query.after, err));
    if (rest__accepts(request->header[HEADER_ACCEPT], type_ndjson))
        return records_as_lines(rest, request, &query, answer, err);
    struct records records;
    TRY(rest->backend.records_of_patient(rest->backend.context, request->session.patient, &query,
                                         request->arena, &records, err));
    struct buffer *out = &answer->body;
    emit_object(out, NULL);
    if (records.has_head)
        rest__emit_head(out, "chain", &records.head);
    emit_list(out, "errors");
    for (size_t i = 0; i < records.error_count; i++) {
        emit_object(out, NULL);
        emit_text(out, "source", records.errors[i].source);
        rest__emit_error(out, "error", records.errors[i].code, records.errors[i].error,
                         records.errors[i].hint);
        emit_object_end(out);
    }
    emit_list_end(out);
    emit_list(out, "records");
    for (size_t i = 0; i < records.count; i++) {
        section_record(out, &records.items[i]);
        rest->metrics.verdicts[records.items[i].verdict]++;
    }
    emit_list_end(out);
    if (records.more && records.count > 0) {
        buffer_append_text(out, ",\"next\":\"");
        section_record_id(records.items[records.count - 1].address, out);
        buffer_append_byte(out, '"');
    }
    emit_object_end(out);
    answer->content_type = type_json;
    return ERROR_NONE;
}

static enum error_code one_record(struct rest *rest, struct rest_request *request, bool raw,
                                  struct record *ret_record, struct rest_answer *answer,
                                  struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    const char *address = NULL;
    TRY(read_id(request, request->segment, "the record", &address, err));
    struct records_query query = {.raw = raw};
    enum error_code code =
        rest->backend.record_by_address(rest->backend.context, address, request->session.patient,
                                        &query, request->arena, ret_record, err);
    /* The same words for another patient's record and for none; and an address holds a row's key,
     * which is not for the log. */
    if (code == ERROR_NOT_FOUND)
        error_set(err, code, "there is no such record of this patient");
    TRY(code);
    rest->metrics.verdicts[ret_record->verdict]++;
    rest__header(request, answer, "Renkei-Verdict", "%s", verdict_name(ret_record->verdict));
    return ERROR_NONE;
}

enum error_code patient_record(struct rest *rest, struct rest_request *request,
                               struct rest_answer *answer, struct error *err) {
    struct record record;
    TRY(one_record(rest, request, false, &record, answer, err));
    section_record(&answer->body, &record);
    answer->content_type = type_json;
    return ERROR_NONE;
}

static enum error_code no_live_row(const struct record *record, struct error *err) {
    return error_set(err, ERROR_NOT_FOUND,
                     "the record has no row that can be shown; its verdict "
                     "is %s",
                     verdict_name(record->verdict));
}

/* The exact bytes that the content digest is over. */
enum error_code patient_record_document(struct rest *rest, struct rest_request *request,
                                        struct rest_answer *answer, struct error *err) {
    struct record record;
    TRY(one_record(rest, request, false, &record, answer, err));
    if (record.document.len == 0)
        return no_live_row(&record, err);
    buffer_append(&answer->body, record.document.data, record.document.len);
    answer->content_type = type_json;
    return ERROR_NONE;
}

/* The exact bytes that the raw digest is over. */
enum error_code patient_record_raw(struct rest *rest, struct rest_request *request,
                                   struct rest_answer *answer, struct error *err) {
    struct record record;
    TRY(one_record(rest, request, true, &record, answer, err));
    if (record.raw.len == 0)
        return no_live_row(&record, err);
    buffer_append(&answer->body, record.raw.data, record.raw.len);
    answer->content_type = "application/octet-stream";
    return ERROR_NONE;
}

/* -------------------------------------------------------------- for other hospitals ---- */

enum error_code machine_forward(struct rest *rest, struct rest_request *request,
                                struct rest_answer *answer, struct error *err) {
    static const char *const none[] = {NULL};
    TRY(rest__query_only(request, none, err));
    if (!content_is(request, "application/jwt"))
        return error_set(err, ERROR_BAD_REQUEST, "the Content-Type: expected application/jwt");
    TRY(identity_check_forward(rest->identity, request->now_ms, request->body, request->peer,
                               &request->session, err));
    TRY(section_make(&rest->backend, rest->hospital, request->session.patient, request->arena,
                     &answer->body, err));
    rest->metrics.forwards_answered++;
    answer->content_type = type_json;
    return ERROR_NONE;
}
