#include "normalizer/normalizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "normalizer/address.h"
#include "normalizer/plan.h"
#include "normalizer/report.h"

enum {
    RAW_VERSION = 1,
    RAW_ADDRESS_AT = 1 + 4,
    RAW_BYTES_MAX = NORMALIZER_DOCUMENT_BYTES_MAX,
    PATIENT_BYTES_MAX = 4096,
    ENCODED_BYTES_MAX = 4096,
};

struct normalizer {
    struct plan plan;
    struct report *report;
    struct value_notes notes;

    /* of the running row */
    uint32_t column;
    bool quarantined;
    bool patient_invalid;
    struct normalized_reason reasons[NORMALIZER_REASONS_MAX];
    size_t reason_count;
    size_t reasons_beyond;
    struct buffer key;
    struct buffer patient;
    struct buffer date;
    struct buffer *out; /* the preimage, which begins with the address, then the document */
    struct buffer own;
    size_t raw_at;
    size_t document_at;
    enum value_type *types;

    /* of normalizer_key_values and normalizer_patient_value */
    struct buffer encoded;
    struct renkei_value key_values[RENKEI_KEY_COLUMNS_MAX];
};

const char *reason_name(enum reason reason) {
    static const char *const names[] = {
        [REASON_NONE] = "none",
        [REASON_INVALID_BYTES] = "invalid-bytes",
        [REASON_NOT_ROUND_TRIP] = "not-round-trip",
        [REASON_GAIJI] = "gaiji",
        [REASON_ZERO_DATE] = "zero-date",
        [REASON_OUT_OF_RANGE_DATE] = "out-of-range-date",
        [REASON_NOT_A_NUMBER] = "not-a-number",
        [REASON_BIG_NUMBER] = "big-number",
        [REASON_TIME_DROPPED] = "time-dropped",
        [REASON_ERA_OVERRUN] = "era-overrun",
        [REASON_TYPE] = "type",
        [REASON_LIMIT] = "limit",
        [REASON_FULL_WIDTH] = "full-width",
        [REASON_NOT_CANONICAL] = "not-canonical",
        [REASON_BLANK] = "blank",
    };
    return (unsigned)reason < sizeof names / sizeof names[0] ? names[reason] : "unknown";
}

const char *character_kind_name(enum character_kind kind) {
    static const char *const names[] = {"invalid", "not-round-trip", "gaiji", "gaiji-mapped",
                                        "wave-dash"};
    return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

/* --- reasons --- */

static void note_reason(struct normalizer *n, enum reason reason, uint32_t code) {
    if (reason == REASON_TYPE || reason == REASON_LIMIT)
        n->quarantined = true;
    for (size_t i = 0; i < n->reason_count; i++) {
        if (n->reasons[i].column == n->column && n->reasons[i].reason == reason) {
            n->reasons[i].count++;
            return;
        }
    }
    if (n->reason_count == NORMALIZER_REASONS_MAX) {
        n->reasons_beyond++;
        return;
    }
    n->reasons[n->reason_count++] =
        (struct normalized_reason){.column = n->column, .reason = reason, .code = code, .count = 1};
}

static void on_note(void *context, enum reason reason, uint32_t code) {
    note_reason(context, reason, code);
}

static void on_character(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    struct normalizer *n = context;
    (void)offset;
    report_count(n->report, n->column, kind, code, buffer_bytes(&n->key));
    switch (kind) {
    case CHARACTER_INVALID:
        note_reason(n, REASON_INVALID_BYTES, code);
        if (n->plan.mapping->invalid_text == MAPPING_QUARANTINE)
            n->quarantined = true;
        break;
    case CHARACTER_NOT_ROUND_TRIP:
        note_reason(n, REASON_NOT_ROUND_TRIP, code);
        break;
    case CHARACTER_GAIJI:
        note_reason(n, REASON_GAIJI, code);
        break;
    case CHARACTER_GAIJI_MAPPED:
    case CHARACTER_WAVE_DASH:
        break; /* counted in the report, nothing of the value is lost */
    }
}

/* A patient's id is a field as well, most often: its characters are counted there. */
static void on_patient_character(void *context, enum character_kind kind, uint32_t code,
                                 size_t offset) {
    struct normalizer *n = context;
    (void)offset;
    if (kind != CHARACTER_INVALID)
        return;
    n->patient_invalid = true;
    note_reason(n, REASON_INVALID_BYTES, code);
}

/* --- life --- */

enum error_code normalizer_new(const struct mapping *mapping, const struct mapping_table *table,
                               const char *hospital, const struct renkei_column *columns,
                               uint32_t column_count, const char *server_settings,
                               struct normalizer **ret_normalizer, struct error *err) {
    if (!mapping_name_valid(hospital))
        return error_set(err, ERROR_CONFIG,
                         "the hospital's name '%.64s' cannot stand in an address", hospital);
    struct normalizer *n = calloc(1, sizeof *n);
    if (n == NULL)
        return error_set(err, ERROR_NO_MEMORY, "normalizer: out of memory");
    n->plan.mapping = mapping;
    n->plan.table = table;
    n->plan.hospital = hospital;
    n->notes = (struct value_notes){.note = on_note, .visitor = on_character, .context = n};
    buffer_init(&n->notes.scratch, NORMALIZER_DOCUMENT_BYTES_MAX);
    buffer_init(&n->key, NORMALIZER_KEY_BYTES_MAX);
    buffer_init(&n->patient, PATIENT_BYTES_MAX);
    buffer_init(&n->date, PATIENT_BYTES_MAX);
    buffer_init(&n->own, RAW_BYTES_MAX + NORMALIZER_DOCUMENT_BYTES_MAX);
    n->out = &n->own;
    buffer_init(&n->encoded, ENCODED_BYTES_MAX);
    enum error_code code = plan_make(&n->plan, columns, column_count, server_settings, err);
    if (code == ERROR_NONE) {
        n->report = report_new();
        n->types = calloc(n->plan.field_count + 1, sizeof *n->types);
        if (n->report == NULL || n->types == NULL)
            code = error_set(err, ERROR_NO_MEMORY, "normalizer: out of memory");
    }
    if (code != ERROR_NONE) {
        normalizer_free(n);
        return code;
    }
    *ret_normalizer = n;
    return ERROR_NONE;
}

void normalizer_free(struct normalizer *n) {
    if (n == NULL)
        return;
    plan_done(&n->plan);
    report_free(n->report);
    free(n->types);
    buffer_done(&n->notes.scratch);
    buffer_done(&n->key);
    buffer_done(&n->patient);
    buffer_done(&n->date);
    buffer_done(&n->own);
    buffer_done(&n->encoded);
    free(n);
}

void normalizer_append_to(struct normalizer *n, struct buffer *out) {
    n->out = out != NULL ? out : &n->own;
}

const char *const *normalizer_columns(const struct normalizer *n, uint32_t *ret_count) {
    *ret_count = n->plan.column_count;
    return n->plan.names;
}

const struct normalizer_field *normalizer_fields(const struct normalizer *n, size_t *ret_count) {
    *ret_count = n->plan.field_count;
    return n->plan.field_list;
}

struct hash normalizer_mapping_digest(const struct normalizer *n) {
    return n->plan.digest;
}

struct bytes normalizer_mapping_description(const struct normalizer *n) {
    return n->plan.description;
}

const struct character_count *normalizer_characters(const struct normalizer *n, size_t *ret_count,
                                                    uint64_t *ret_beyond) {
    return report_counts(n->report, ret_count, ret_beyond);
}

/* --- a row --- */

struct cell {
    bool null;
    struct bytes raw;
};

static struct cell cell_at(const struct renkei_batch *batch, uint32_t column, uint32_t row) {
    const struct renkei_batch_column *at = &batch->columns[column];
    if (at->length[row] >= RENKEI_TOO_LONG)
        return (struct cell){true, bytes_of(NULL, 0)};
    return (struct cell){false, bytes_of(at->data + at->offset[row], at->length[row])};
}

static void write_key(struct normalizer *n, const struct renkei_batch *batch, uint32_t row) {
    for (uint32_t i = 0; i < n->plan.key_count; i++) {
        struct cell cell = cell_at(batch, i, row);
        n->column = i;
        if (cell.null)
            note_reason(n, REASON_TYPE, 0);
        if (i > 0)
            buffer_append_byte(&n->key, ',');
        address_escape(cell.raw, &n->key);
        if (n->key.failed) {
            note_reason(n, REASON_LIMIT, 0);
            buffer_clear(&n->key);
            return;
        }
    }
}

static enum error_code write_raw(struct normalizer *n, const struct renkei_batch *batch,
                                 uint32_t row, struct error *err) {
    enum { CELL_HEAD_BYTES = 1 + 4 };
    struct bytes prefix = n->plan.address, key = buffer_bytes(&n->key);
    size_t bytes = RAW_ADDRESS_AT + prefix.len + key.len + 4;
    for (uint32_t i = 0; i < n->plan.column_count; i++) {
        bytes += CELL_HEAD_BYTES + cell_at(batch, i, row).raw.len;
        if (batch->columns[i].length[row] == RENKEI_TOO_LONG) {
            n->column = i;
            note_reason(n, REASON_LIMIT, 0);
        }
    }
    n->raw_at = n->out->len;
    uint8_t *o = bytes <= RAW_BYTES_MAX ? buffer_reserve(n->out, bytes) : NULL;
    if (o == NULL)
        return error_set(err, ERROR_LIMIT, "a raw preimage: more than %d bytes", RAW_BYTES_MAX);
    o[0] = RAW_VERSION;
    wire_store_u32(o + 1, (uint32_t)(prefix.len + key.len));
    o += RAW_ADDRESS_AT;
    memcpy(o, prefix.data, prefix.len);
    o += prefix.len;
    if (key.len > 0)
        memcpy(o, key.data, key.len);
    o += key.len;
    wire_store_u32(o, n->plan.column_count);
    o += 4;
    for (uint32_t i = 0; i < n->plan.column_count; i++) {
        struct cell cell = cell_at(batch, i, row);
        o[0] = cell.null;
        wire_store_u32(o + 1, (uint32_t)cell.raw.len);
        if (cell.raw.len > 0)
            memcpy(o + CELL_HEAD_BYTES, cell.raw.data, cell.raw.len);
        o += CELL_HEAD_BYTES + cell.raw.len;
    }
    n->out->len += bytes;
    return ERROR_NONE;
}

static void write_patient(struct normalizer *n, const struct renkei_batch *batch, uint32_t row) {
    if (n->plan.patient == PLAN_NONE)
        return;
    struct cell cell = cell_at(batch, (uint32_t)n->plan.patient, row);
    if (cell.null)
        return;
    n->column = (uint32_t)n->plan.patient;
    n->patient_invalid = false;
    charset_decode(n->plan.patient_rule.charset, cell.raw, false, on_patient_character, n,
                   &n->patient);
    while (n->patient.len > 0 && n->patient.data[n->patient.len - 1] == ' ')
        n->patient.len--; /* CHAR columns are padded */
    if (n->patient.failed)
        note_reason(n, REASON_LIMIT, 0);
    /* Whose record it is must not rest on a replaced character, whatever the policy. */
    if (n->patient_invalid)
        n->quarantined = true;
}

/* Takes the date from the field that shows it, or reads the column for it alone: then what is no
 * date leaves the record without one, and does not cost the record. */
static void write_date(struct normalizer *n, const struct renkei_batch *batch, uint32_t row,
                       size_t field_at) {
    if (n->plan.date == PLAN_NONE)
        return;
    if (n->plan.date_field != PLAN_NONE) {
        if (n->types[n->plan.date_field] == VALUE_DATE && !n->out->failed)
            buffer_append(&n->date, n->out->data + field_at + 1, DATE_BYTES);
        return;
    }
    struct cell cell = cell_at(batch, (uint32_t)n->plan.date, row);
    if (cell.null)
        return;
    bool quarantined = n->quarantined;
    n->column = (uint32_t)n->plan.date;
    enum value_type type = value_write(&n->plan.date_rule, cell.raw, &n->notes, &n->date);
    n->quarantined = quarantined;
    if (type != VALUE_DATE || n->date.failed) {
        buffer_clear(&n->date);
        return;
    }
    memmove(n->date.data, n->date.data + 1, DATE_BYTES);
    n->date.len = DATE_BYTES;
}

static void write_document(struct normalizer *n, const struct renkei_batch *batch, uint32_t row) {
    const struct plan *plan = &n->plan;
    struct buffer *out = n->out;
    size_t date_at = 0;
    n->document_at = out->len;
    buffer_append(out, plan->opening.data, plan->opening.len);
    buffer_append(out, n->key.data, n->key.len);
    buffer_append(out, plan->middle.data, plan->middle.len);
    for (size_t i = 0; i < plan->field_count; i++) {
        const struct plan_field *field = &plan->fields[i];
        struct cell cell = cell_at(batch, field->column, row);
        buffer_append(out, field->prefix.data, field->prefix.len);
        n->column = field->column;
        if ((int)i == plan->date_field)
            date_at = out->len;
        if (cell.null) {
            buffer_append(out, "null", 4);
            n->types[i] = VALUE_EMPTY;
        } else if (cell.raw.len > RENKEI_CELL_BYTES_MAX) {
            note_reason(n, REASON_LIMIT, 0);
            n->types[i] = VALUE_EMPTY;
        } else {
            n->types[i] = value_write(&field->rule, cell.raw, &n->notes, out);
        }
    }
    buffer_append(out, "}}", 2);
    bool too_long = out->len - n->document_at > NORMALIZER_DOCUMENT_BYTES_MAX;
    if (out->failed || too_long || n->notes.scratch.failed)
        note_reason(n, REASON_LIMIT, 0);
    write_date(n, batch, row, date_at);
}

static void begin_row(struct normalizer *n) {
    n->quarantined = false;
    n->reason_count = 0;
    n->reasons_beyond = 0;
    buffer_clear(&n->key);
    buffer_clear(&n->patient);
    buffer_clear(&n->date);
    if (n->out == &n->own)
        buffer_clear(&n->own);
    buffer_clear(&n->notes.scratch);
}

enum error_code normalizer_row(struct normalizer *n, const struct renkei_batch *batch, uint32_t row,
                               struct normalized_row *ret_row, struct error *err) {
    if (batch->column_count != n->plan.column_count || row >= batch->row_count)
        return error_set(err, ERROR_PLUGIN,
                         "the connector gave a batch of %u columns and %u rows: expected %u columns"
                         " and row %u",
                         batch->column_count, batch->row_count, n->plan.column_count, row);
    begin_row(n);
    write_key(n, batch, row);
    TRY(write_raw(n, batch, row, err));
    write_patient(n, batch, row);
    write_document(n, batch, row);
    if (n->quarantined) {
        n->out->len = n->document_at;
        n->out->failed = false;
    }
    const uint8_t *raw = n->out->data + n->raw_at;
    const uint8_t *document = n->out->data + n->document_at;
    *ret_row = (struct normalized_row){
        .key = buffer_bytes(&n->key),
        .address = bytes_of(raw + RAW_ADDRESS_AT, n->plan.address.len + n->key.len),
        .patient = buffer_bytes(&n->patient),
        .date = buffer_bytes(&n->date),
        .document = bytes_of(document, n->out->len - n->document_at),
        .raw = bytes_of(raw, n->document_at - n->raw_at),
        .quarantined = n->quarantined,
        .reasons = n->reasons,
        .reason_count = n->reason_count,
        .reasons_beyond = n->reasons_beyond,
        .types = n->types,
    };
    return ERROR_NONE;
}

uint32_t normalizer_key_columns(const struct normalizer *n) {
    return n->plan.key_count;
}

enum error_code normalizer_row_key(struct normalizer *n, const struct renkei_batch *batch,
                                   uint32_t row, struct normalized_row *ret_row,
                                   struct error *err) {
    if (batch->column_count != n->plan.key_count || row >= batch->row_count)
        return error_set(err, ERROR_PLUGIN,
                         "the connector gave a batch of %u columns and %u rows: expected the %u key"
                         " columns and row %u",
                         batch->column_count, batch->row_count, n->plan.key_count, row);
    begin_row(n);
    write_key(n, batch, row);
    size_t at = n->out->len;
    buffer_append(n->out, n->plan.address.data, n->plan.address.len);
    buffer_append(n->out, n->key.data, n->key.len);
    TRY(buffer_check(n->out, "an address", err));
    size_t bytes = n->out->len - at;
    struct bytes nothing = bytes_of(n->out->data + n->out->len, 0);
    *ret_row = (struct normalized_row){.key = buffer_bytes(&n->key),
                                       .address = bytes_of(n->out->data + at, bytes),
                                       .document = nothing,
                                       .raw = nothing,
                                       .quarantined = n->quarantined,
                                       .reasons = n->reasons,
                                       .reason_count = n->reason_count,
                                       .reasons_beyond = n->reasons_beyond};
    return ERROR_NONE;
}

/* --- back to the source --- */

enum error_code normalizer_key_values(struct normalizer *n, struct bytes key,
                                      const struct renkei_value **ret_values, uint32_t *ret_count,
                                      struct error *err) {
    size_t ends[RENKEI_KEY_COLUMNS_MAX];
    uint32_t count = 0;
    size_t start = 0;
    buffer_clear(&n->encoded);
    bool good = key.len <= NORMALIZER_KEY_BYTES_MAX;
    for (size_t i = 0; good && i <= key.len; i++) {
        if (i < key.len && key.data[i] != ',')
            continue;
        good = count < n->plan.key_count &&
               address_unescape(bytes_of(key.data + start, i - start), &n->encoded);
        if (good)
            ends[count++] = n->encoded.len;
        start = i + 1;
    }
    if (!good || count != n->plan.key_count)
        return error_set(err, ERROR_BAD_REQUEST, "table '%s': not a canonical key of %u components",
                         n->plan.table->table, n->plan.key_count);
    static const uint8_t nothing[1] = {0};
    const uint8_t *data = n->encoded.data != NULL ? n->encoded.data : nothing;
    for (uint32_t i = 0; i < count; i++) {
        size_t from = i > 0 ? ends[i - 1] : 0;
        n->key_values[i] = (struct renkei_value){data + from, (uint32_t)(ends[i] - from)};
    }
    *ret_values = n->key_values;
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code normalizer_patient_value(struct normalizer *n, struct bytes text,
                                         struct renkei_value *ret_value, struct error *err) {
    if (n->plan.patient == PLAN_NONE)
        return error_set(err, ERROR_MAPPING, "table '%s' has no patient column",
                         n->plan.table->table);
    buffer_clear(&n->encoded);
    if (!charset_encode(n->plan.patient_rule.charset, text, &n->encoded))
        return error_set(err, ERROR_BAD_REQUEST,
                         "table '%s': this patient's name has no form in the charset of '%s'",
                         n->plan.table->table, n->plan.table->patient);
    static const uint8_t nothing[1] = {0};
    *ret_value = (struct renkei_value){n->encoded.data != NULL ? n->encoded.data : nothing,
                                       (uint32_t)n->encoded.len};
    return ERROR_NONE;
}

/* --- digests --- */

#define CONTENT_DOMAIN "renkei/content/1\n"
#define RAW_DOMAIN     "renkei/raw/1\n"
enum { CONTENT_DOMAIN_BYTES = sizeof CONTENT_DOMAIN - 1, RAW_DOMAIN_BYTES = sizeof RAW_DOMAIN - 1 };

static struct hash digest(struct sha256 *h, struct bytes domain, const uint8_t r[32],
                          struct bytes data) {
    sha256_begin(h);
    sha256_add(h, domain.data, domain.len);
    sha256_add(h, r, 32);
    sha256_add(h, data.data, data.len);
    return sha256_end(h);
}

struct hash digest_content(struct sha256 *h, const uint8_t r[32], struct bytes document) {
    return digest(h, BYTES_LITERAL(CONTENT_DOMAIN), r, document);
}

struct hash digest_raw(struct sha256 *h, const uint8_t r[32], struct bytes raw_preimage) {
    return digest(h, BYTES_LITERAL(RAW_DOMAIN), r, raw_preimage);
}

void digest_messages(const uint8_t r[32], struct bytes document, struct bytes raw_preimage,
                     struct digest_heads *heads, struct sha256_message ret_messages[2]) {
    memcpy(heads->content, CONTENT_DOMAIN, CONTENT_DOMAIN_BYTES);
    memcpy(heads->content + CONTENT_DOMAIN_BYTES, r, 32);
    memcpy(heads->raw, RAW_DOMAIN, RAW_DOMAIN_BYTES);
    memcpy(heads->raw + RAW_DOMAIN_BYTES, r, 32);
    ret_messages[0] = (struct sha256_message){
        bytes_of(heads->content, CONTENT_DOMAIN_BYTES + 32), document};
    ret_messages[1] =
        (struct sha256_message){bytes_of(heads->raw, RAW_DOMAIN_BYTES + 32), raw_preimage};
}

void digest_both(const uint8_t r[32], struct bytes document, struct bytes raw_preimage,
                 struct hash *ret_content, struct hash *ret_raw) {
    struct digest_heads heads;
    struct sha256_message messages[2];
    struct hash hashes[2];
    digest_messages(r, document, raw_preimage, &heads, messages);
    sha256_many(messages, 2, hashes);
    *ret_content = hashes[0];
    *ret_raw = hashes[1];
}
