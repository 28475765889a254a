#include "gateway/rest/section.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/rest/emit.h"
#include "gateway/rest/scan.h"
#include "gateway/rest/state.h"

void section_record_id(const char *address, struct buffer *out) {
    text_base64url(bytes_text(address), out);
}

static const char *operation_name(enum leaf_operation operation) {
    switch (operation) {
    case LEAF_CREATE:
        return "create";
    case LEAF_MODIFY:
        return "modify";
    case LEAF_DELETE:
        return "delete";
    }
    return "unknown";
}

static const char *origin_name(enum leaf_origin origin) {
    return origin == LEAF_DECLARED ? "declared" : "observed";
}

static void emit_version(struct buffer *out, const char *name, const struct record_version *v) {
    emit_object(out, name);
    emit_u64(out, "version", v->leaf.version);
    emit_text(out, "operation", operation_name(v->leaf.operation));
    emit_text(out, "origin", origin_name(v->leaf.origin));
    emit_time(out, "anchored", v->anchored_ms);
    emit_u64(out, "height", v->position.height);
    emit_hash(out, "transaction", &v->transaction);
    emit_u64(out, "leafIndex", v->position.leaf);
    emit_u64(out, "logIndex", v->position.log_index);
    emit_hash(out, "leaf", &v->leaf_hash);
    emit_hash(out, "content", &v->leaf.content);
    emit_hash(out, "raw", &v->leaf.raw);
    emit_hash(out, "mapping", &v->leaf.mapping);
    if (v->has_r)
        emit_hex(out, "r", bytes_of(v->r, sizeof v->r));
    emit_object_end(out);
}

static void emit_chain_part(struct buffer *out, const struct record *record) {
    const struct record_version *latest = &record->versions[0];
    emit_object(out, "anchored");
    emit_time(out, "since", record->anchored_since_ms);
    emit_text(out, "origin", origin_name(latest->leaf.origin));
    emit_u64(out, "observedChanges", record->observed_changes);
    emit_hex(out, "locator", bytes_of(latest->leaf.locator.byte, LOCATOR_BYTES));
    emit_u64(out, "versions", record->version_total);
    emit_object_end(out);
    emit_list(out, "history");
    for (size_t i = 0; i < record->version_count; i++)
        emit_version(out, NULL, &record->versions[i]);
    emit_list_end(out);
}

static void emit_types(struct buffer *out, const struct record *record) {
    emit_object(out, "types");
    for (size_t i = 0; i < record->field_count; i++)
        emit_text(out, record->fields[i].name, record->fields[i].type);
    emit_object_end(out);
    emit_list(out, "personal");
    for (size_t i = 0; i < record->field_count; i++)
        if (record->fields[i].personal)
            emit_text(out, NULL, record->fields[i].name);
    emit_list_end(out);
}

/* The verdict stands before the fields, for whoever reads from the top. */
void section_record(struct buffer *out, const struct record *record) {
    emit_object(out, NULL);
    SCOPED_BUFFER struct buffer id;
    buffer_init(&id, REST_SEGMENT_BYTES_MAX);
    section_record_id(record->address, &id);
    buffer_append_text(out, "\"id\":\"");
    buffer_append(out, id.data, id.len);
    buffer_append_byte(out, '"');
    emit_text(out, "address", record->address);
    emit_text(out, "hospital", record->hospital);
    emit_text(out, "category", record->category);
    if (record->date != NULL && record->date[0] != '\0')
        emit_text(out, "date", record->date);
    emit_text(out, "verdict", verdict_name(record->verdict));
    if (record->code != ERROR_NONE)
        rest__emit_error(out, "error", record->code, record->error, record->hint);
    if (record->version_count > 0)
        emit_chain_part(out, record);
    if (record->live) {
        emit_object(out, "live");
        emit_hash(out, "content", &record->live_content);
        emit_hash(out, "raw", &record->live_raw);
        emit_hash(out, "mapping", &record->live_mapping);
        emit_object_end(out);
    }
    struct bytes fields = scan_find(record->document, "fields");
    if (fields.len > 0) {
        emit_types(out, record);
        emit_raw(out, "fields", fields);
    }
    emit_object_end(out);
}

static void emit_errors(struct buffer *errors, const struct records *records) {
    for (size_t i = 0; i < records->error_count; i++) {
        const struct records_error *e = &records->errors[i];
        emit_object(errors, NULL);
        emit_text(errors, "source", e->source);
        if (e->table[0] != '\0')
            emit_text(errors, "table", e->table);
        rest__emit_error(errors, "error", e->code, e->error, e->hint);
        emit_object_end(errors);
    }
}

/* Page by page, so that a limit of one answer is not a limit of the document. The errors of the
 * first page are those of all: every page looks at the same sources. */
enum error_code section_make(const struct rest_backend *backend, const char *hospital,
                             const char *patient, struct arena *arena, struct buffer *out,
                             struct error *err) {
    SCOPED_BUFFER struct buffer items, errors;
    buffer_init(&items, REST_ANSWER_BYTES_MAX);
    buffer_init(&errors, REST_ANSWER_BYTES_MAX);
    struct records_query query = {.limit = RECORDS_LIMIT_MAX};
    struct ledger_head head;
    bool has_head = false, more = true;
    size_t count = 0;
    while (more && count < REST_DOCUMENT_RECORDS_MAX) {
        struct records records;
        TRY(backend->records_of_patient(backend->context, patient, &query, arena, &records, err));
        for (size_t i = 0; i < records.count; i++)
            section_record(&items, &records.items[i]);
        if (query.after == NULL)
            emit_errors(&errors, &records);
        has_head = records.has_head;
        head = records.head;
        count += records.count;
        more = records.more && records.count > 0;
        if (more)
            query.after = records.items[records.count - 1].address;
    }
    TRY(buffer_check(&items, "the patient's records", err));
    emit_object(out, NULL);
    emit_text(out, "hospital", hospital);
    emit_text(out, "status", more ? "truncated" : errors.len > 0 ? "partial" : "complete");
    if (has_head)
        rest__emit_head(out, "chain", &head);
    emit_list(out, "errors");
    buffer_append(out, errors.data, errors.len);
    emit_list_end(out);
    emit_list(out, "records");
    buffer_append(out, items.data, items.len);
    emit_list_end(out);
    emit_object_end(out);
    return buffer_check(out, "the patient's records", err);
}
