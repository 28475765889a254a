#include "gateway/rest/document.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/rest/emit.h"
#include "gateway/rest/http.h"
#include "gateway/rest/scan.h"

/* -------------------------------------------------------------------------- reading ---- */

static bool is_verdict(struct bytes raw, size_t *ret_index) {
    for (size_t i = 0; i <= VERDICT_WITHHELD; i++) {
        if (scan_is(raw, verdict_name((enum verdict)i))) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool is_string(struct bytes raw) {
    return raw.len >= 2 && raw.data[0] == '"';
}

static bool is_open(struct bytes raw, uint8_t bracket) {
    return raw.len >= 2 && raw.data[0] == bracket;
}

/* A record that can be shown has an address of its hospital and a verdict; its fields, where it has
 * some, are an object, and so said which of them are personal. */
static bool record_is_sound(struct bytes record, const char *hospital) {
    size_t index;
    struct bytes address = scan_find(record, "address");
    static const char scheme[] = "\"renkei://";
    size_t scheme_len = sizeof scheme - 1, name_len = strlen(hospital);
    if (address.len < scheme_len + name_len + 2 || memcmp(address.data, scheme, scheme_len) != 0 ||
        memcmp(address.data + scheme_len, hospital, name_len) != 0 ||
        address.data[scheme_len + name_len] != '/')
        return false;
    struct bytes fields = scan_find(record, "fields");
    struct bytes date = scan_find(record, "date");
    return is_open(record, '{') && is_verdict(scan_find(record, "verdict"), &index) &&
           (date.len == 0 || is_string(date)) &&
           (fields.len == 0 ||
            (is_open(fields, '{') && is_open(scan_find(record, "personal"), '[')));
}

enum error_code document_part_read(struct bytes section, struct arena *arena,
                                   struct document_part *part, struct error *err) {
    static const char *const statuses[] = {"complete", "partial", "truncated"};
    const char *status = NULL;
    if (!scan_valid(section) || !scan_is(scan_find(section, "hospital"), part->hospital))
        return error_set(err, ERROR_PROTOCOL, "hospital %s: its answer is not its records",
                         part->hospital);
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (scan_is(scan_find(section, "status"), statuses[i]))
            status = statuses[i];
    struct bytes records = scan_find(section, "records");
    bool sound =
        status != NULL && is_open(records, '[') && is_open(scan_find(section, "errors"), '[');
    struct scan scan = scan_open(records);
    struct bytes name, record;
    while (sound && scan_next(&scan, &name, &record))
        sound = record_is_sound(record, part->hospital);
    if (!sound)
        return error_set(err, ERROR_PROTOCOL,
                         "hospital %s: its answer has a record without a verdict, or another shape",
                         part->hospital);
    struct bytes kept = arena_bytes(arena, section);
    if (kept.data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the answer of %s", part->hospital);
    part->section = kept;
    part->status = status;
    return ERROR_NONE;
}

void document_summarise(const struct document_part *parts, size_t count,
                        struct document_summary *ret_summary) {
    struct document_summary s = {.complete = true};
    for (size_t i = 0; i < count; i++) {
        s.complete = s.complete && strcmp(parts[i].status, "complete") == 0;
        struct scan scan = scan_open(scan_find(parts[i].section, "records"));
        struct bytes name, record;
        size_t index;
        while (scan_next(&scan, &name, &record)) {
            s.records++;
            if (is_verdict(scan_find(record, "verdict"), &index))
                s.verdicts[index]++;
        }
    }
    *ret_summary = s;
}

void document_summary_text(const struct document_summary *summary, struct buffer *out) {
    bool first = true;
    for (size_t i = 0; i <= VERDICT_WITHHELD; i++) {
        if (summary->verdicts[i] == 0)
            continue;
        buffer_append_format(out, "%s%s=%llu", first ? "" : ", ", verdict_name((enum verdict)i),
                             (unsigned long long)summary->verdicts[i]);
        first = false;
    }
    if (first)
        buffer_append_text(out, "none");
}

/* ------------------------------------------------------------------------- verified ---- */

static void emit_part(struct buffer *out, const struct document_part *part) {
    emit_object(out, NULL);
    emit_text(out, "hospital", part->hospital);
    emit_text(out, "status", part->status);
    struct document_summary summary;
    document_summarise(part, 1, &summary);
    emit_u64(out, "records", summary.records);
    struct bytes chain = scan_find(part->section, "chain");
    if (chain.len > 0)
        emit_raw(out, "chain", chain);
    struct bytes errors = scan_find(part->section, "errors");
    if (errors.len > 2)
        emit_raw(out, "errors", errors);
    if (part->code != ERROR_NONE)
        rest__emit_error(out, "error", part->code, part->error, part->hint);
    emit_object_end(out);
}

enum error_code document_verified(const char *hospital, uint64_t now_ms,
                                  const struct document_part *parts, size_t count,
                                  struct arena *arena, struct buffer *out, struct error *err) {
    (void)arena;
    struct document_summary summary;
    document_summarise(parts, count, &summary);
    emit_object(out, NULL);
    emit_text(out, "servedBy", hospital);
    emit_time(out, "made", now_ms);
    emit_bool(out, "complete", summary.complete);
    emit_object(out, "verdicts");
    for (size_t i = 0; i <= VERDICT_WITHHELD; i++)
        if (summary.verdicts[i] > 0)
            emit_u64(out, verdict_name((enum verdict)i), summary.verdicts[i]);
    emit_object_end(out);
    emit_list(out, "hospitals");
    for (size_t i = 0; i < count; i++)
        emit_part(out, &parts[i]);
    emit_list_end(out);
    emit_list(out, "records");
    for (size_t i = 0; i < count; i++) {
        struct scan scan = scan_open(scan_find(parts[i].section, "records"));
        struct bytes name, record;
        while (scan_next(&scan, &name, &record))
            emit_raw(out, NULL, record);
    }
    emit_list_end(out);
    emit_object_end(out);
    buffer_append_byte(out, '\n');
    return buffer_check(out, "the document", err);
}

/* ---------------------------------------------------------------------------- plain ---- */

struct plain_field {
    struct bytes name;  /* its text */
    struct bytes value; /* raw JSON */
    size_t order;
};

struct plain_record {
    struct bytes address; /* raw strings */
    struct bytes date;
    struct bytes verdict;
    struct bytes fields;
    struct bytes personal;
    size_t order;
};

struct plain {
    struct arena *arena;
    struct plain_record *records;
    size_t record_count;
    struct plain_field *personal;
    size_t personal_count;
    struct plain_field *scratch; /* the fields of the record that is being written */
};

/* RFC 8785 sorts names by their UTF-16 units: as UTF-8 sorts, but that characters beyond U+FFFF
 * (lead bytes F0..F4) come before U+E000..U+FFFF (lead bytes EE, EF). */
static int compare_names(struct bytes a, struct bytes b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < shorter; i++) {
        uint8_t x = a.data[i], y = b.data[i];
        if (x == y)
            continue;
        if (x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0))
            return x >= 0xF0 ? -1 : 1;
        return x < y ? -1 : 1;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_fields(const void *a, const void *b) {
    const struct plain_field *x = a, *y = b;
    int order = compare_names(x->name, y->name);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

/* By date, those without one last; then as the hospitals gave them. */
static int compare_records(const void *a, const void *b) {
    const struct plain_record *x = a, *y = b;
    if ((x->date.len == 0) != (y->date.len == 0))
        return x->date.len == 0 ? 1 : -1;
    int order = bytes_compare(x->date, y->date);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

static bool list_has(struct bytes list, struct bytes raw) {
    struct scan scan = scan_open(list);
    struct bytes name, value;
    while (scan_next(&scan, &name, &value))
        if (bytes_equal(value, raw))
            return true;
    return false;
}

/* Names that start with @ are this view's own: a field's own @ is doubled. */
static enum error_code field_name(struct arena *arena, struct bytes raw, struct bytes *ret_name,
                                  struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, raw.len + 8);
    if (raw.len > 1 && raw.data[1] == '@')
        buffer_append_byte(&text, '@');
    if (!scan_text(raw, &text))
        return error_set(err, ERROR_PROTOCOL, "a record's field name is not a text");
    struct bytes name = arena_bytes(arena, buffer_bytes(&text));
    if (name.data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the document");
    *ret_name = name;
    return ERROR_NONE;
}

static bool is_empty_value(struct bytes raw) {
    return scan_is(raw, "") || bytes_equal(raw, BYTES_LITERAL("null"));
}

/* Fig. 5 writes bool as text. */
static void emit_plain_value(struct buffer *out, const char *name, struct bytes raw) {
    if (bytes_equal(raw, BYTES_LITERAL("true")))
        emit_text(out, name, "True");
    else if (bytes_equal(raw, BYTES_LITERAL("false")))
        emit_text(out, name, "False");
    else
        emit_raw(out, name, raw);
}

static void emit_field(struct buffer *out, const struct plain_field *field) {
    uint8_t last = out->len > 0 ? out->data[out->len - 1] : '{';
    if (last != '{')
        buffer_append_byte(out, ',');
    emit_string(out, field->name);
    buffer_append_byte(out, ':');
    SCOPED_BUFFER struct buffer value;
    buffer_init(&value, field->value.len + 16);
    emit_plain_value(&value, NULL, field->value);
    buffer_append(out, value.data, value.len);
}

/* A value that another record gave differently is not lost: it stands under name@address. */
static enum error_code add_personal(struct plain *plain, struct bytes name, struct bytes value,
                                    struct bytes address, struct error *err) {
    for (size_t i = 0; i < plain->personal_count; i++) {
        struct plain_field *known = &plain->personal[i];
        if (!bytes_equal(known->name, name))
            continue;
        if (bytes_equal(known->value, value) || is_empty_value(value))
            return ERROR_NONE;
        if (is_empty_value(known->value)) {
            known->value = value;
            return ERROR_NONE;
        }
        SCOPED_BUFFER struct buffer longer;
        buffer_init(&longer, name.len + address.len + 8);
        buffer_append(&longer, name.data, name.len);
        buffer_append_byte(&longer, '@');
        if (!scan_text(address, &longer))
            return error_set(err, ERROR_PROTOCOL, "a record's address is not a text");
        struct bytes kept = arena_bytes(plain->arena, buffer_bytes(&longer));
        if (kept.data == NULL)
            return error_set(err, ERROR_NO_MEMORY, "no memory for the document");
        name = kept;
        break;
    }
    if (plain->personal_count == DOCUMENT_FIELDS_MAX)
        return error_set(err, ERROR_LIMIT, "personal information: more than %d values",
                         (int)DOCUMENT_FIELDS_MAX);
    plain->personal[plain->personal_count] =
        (struct plain_field){name, value, plain->personal_count};
    plain->personal_count++;
    return ERROR_NONE;
}

static enum error_code collect(struct plain *plain, const struct document_part *parts, size_t count,
                               size_t total, struct error *err) {
    plain->records = arena_alloc(plain->arena, (total + 1) * sizeof *plain->records);
    plain->personal = arena_alloc(plain->arena, DOCUMENT_FIELDS_MAX * sizeof *plain->personal);
    plain->scratch = arena_alloc(plain->arena, (DOCUMENT_FIELDS_MAX + 2) * sizeof *plain->scratch);
    if (plain->records == NULL || plain->personal == NULL || plain->scratch == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the document");
    for (size_t i = 0; i < count; i++) {
        struct scan scan = scan_open(scan_find(parts[i].section, "records"));
        struct bytes name, record;
        while (plain->record_count < total && scan_next(&scan, &name, &record)) {
            struct plain_record *r = &plain->records[plain->record_count];
            *r = (struct plain_record){.address = scan_find(record, "address"),
                                       .date = scan_find(record, "date"),
                                       .verdict = scan_find(record, "verdict"),
                                       .fields = scan_find(record, "fields"),
                                       .personal = scan_find(record, "personal"),
                                       .order = plain->record_count};
            plain->record_count++;
            struct scan fields = scan_open(r->fields);
            struct bytes raw_name, value, text;
            while (scan_next(&fields, &raw_name, &value)) {
                if (!list_has(r->personal, raw_name))
                    continue;
                TRY(field_name(plain->arena, raw_name, &text, err));
                TRY(add_personal(plain, text, value, r->address, err));
            }
        }
    }
    return ERROR_NONE;
}

/* A record whose verdict is not match carries it, with its address; a record that matches and has
 * personal fields only is not said twice. */
static enum error_code emit_plain_record(struct plain *plain, const struct plain_record *record,
                                         struct buffer *out, struct error *err) {
    bool match = scan_is(record->verdict, verdict_name(VERDICT_MATCH));
    struct plain_field *fields = plain->scratch;
    size_t count = 0;
    if (!match) {
        fields[count++] = (struct plain_field){BYTES_LITERAL("@address"), record->address, 0};
        fields[count++] = (struct plain_field){BYTES_LITERAL("@verdict"), record->verdict, 1};
    }
    struct scan scan = scan_open(record->fields);
    struct bytes raw_name, value;
    while (scan_next(&scan, &raw_name, &value)) {
        if (list_has(record->personal, raw_name))
            continue;
        if (count == DOCUMENT_FIELDS_MAX)
            return error_set(err, ERROR_LIMIT, "a record: more than %d fields",
                             (int)DOCUMENT_FIELDS_MAX);
        fields[count] = (struct plain_field){.value = value, .order = count};
        TRY(field_name(plain->arena, raw_name, &fields[count].name, err));
        count++;
    }
    if (count == 0)
        return ERROR_NONE;
    qsort(fields, count, sizeof *fields, compare_fields);
    emit_object(out, NULL);
    for (size_t i = 0; i < count; i++)
        emit_field(out, &fields[i]);
    emit_object_end(out);
    return ERROR_NONE;
}

/* What is not in the array is said at its end. */
static void emit_gaps(struct buffer *out, const struct document_part *part) {
    if (strcmp(part->status, "complete") == 0)
        return;
    struct scan scan = scan_open(scan_find(part->section, "errors"));
    struct bytes name, error;
    bool named = false;
    while (scan_next(&scan, &name, &error)) {
        emit_object(out, NULL);
        emit_text(out, "@hospital", part->hospital);
        struct bytes source = scan_find(error, "source"), table = scan_find(error, "table");
        struct bytes code = scan_find(scan_find(error, "error"), "code");
        if (source.len > 0)
            emit_raw(out, "@source", source);
        if (code.len > 0)
            emit_raw(out, "@status", code);
        if (table.len > 0)
            emit_raw(out, "@table", table);
        emit_object_end(out);
        named = true;
    }
    if (named && strcmp(part->status, "partial") == 0)
        return;
    emit_object(out, NULL);
    emit_text(out, "@hospital", part->hospital);
    emit_text(out, "@status", part->status);
    emit_object_end(out);
}

enum error_code document_plain(const struct document_part *parts, size_t count, struct arena *arena,
                               struct buffer *out, struct error *err) {
    struct plain plain = {.arena = arena};
    struct document_summary summary;
    document_summarise(parts, count, &summary);
    TRY(collect(&plain, parts, count, summary.records, err));
    if (plain.record_count > 1)
        qsort(plain.records, plain.record_count, sizeof *plain.records, compare_records);
    if (plain.personal_count > 1)
        qsort(plain.personal, plain.personal_count, sizeof *plain.personal, compare_fields);
    emit_list(out, NULL);
    emit_object(out, NULL);
    for (size_t i = 0; i < plain.personal_count; i++)
        emit_field(out, &plain.personal[i]);
    emit_object_end(out);
    for (size_t i = 0; i < plain.record_count; i++)
        TRY(emit_plain_record(&plain, &plain.records[i], out, err));
    for (size_t i = 0; i < count; i++)
        emit_gaps(out, &parts[i]);
    emit_list_end(out);
    buffer_append_byte(out, '\n');
    return buffer_check(out, "the document", err);
}
