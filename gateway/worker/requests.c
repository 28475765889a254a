#include "gateway/worker/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { TEXT_BYTES = RENKEI_NAME_BYTES_MAX + 1, PATIENT_BYTES = 1024 };

bool host_text(struct wire_reader *r, char *ret_text, size_t size) {
    struct bytes text = wire_read_bytes(r, size - 1);
    if (r->failed || (text.len > 0 && memchr(text.data, 0, text.len) != NULL))
        return false;
    if (text.len > 0)
        memcpy(ret_text, text.data, text.len);
    ret_text[text.len] = '\0';
    return true;
}

/* --- describe, columns, plan --- */

static void write_table(struct buffer *out, const struct renkei_table *table,
                        const struct renkei_column *columns, uint32_t count) {
    frame_begin(out, FRAME_TABLE);
    frame_text(out, table->name);
    frame_text(out, table->schema);
    frame_text(out, table->kind);
    frame_text(out, table->engine);
    wire_u8(out, (uint8_t)table->transactional);
    wire_u64(out, (uint64_t)table->rows_estimate);
    wire_u32(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct renkei_column *c = &columns[i];
        frame_text(out, c->name);
        frame_text(out, c->declared_type);
        wire_u8(out, (uint8_t)c->type);
        wire_u8(out, (uint8_t)c->charset);
        frame_text(out, c->charset_name);
        wire_u32(out, c->bits);
        wire_u8(out, (uint8_t)c->nullable);
        wire_u8(out, (uint8_t)c->key_position);
        wire_u8(out, (uint8_t)c->indexed);
    }
}

/* A visitor cannot return an error: the first one is kept here. */
struct visiting {
    struct host *host;
    enum error_code code;
    struct error *err;
};

static void visit_table(void *context, const struct renkei_table *table) {
    struct visiting *v = context;
    if (v->code != ERROR_NONE)
        return;
    write_table(&v->host->out, table, NULL, 0);
    v->code = host_send(v->host, v->err);
}

static void visit_right(void *context, const char *right, int write) {
    struct visiting *v = context;
    if (v->code != ERROR_NONE)
        return;
    frame_begin(&v->host->out, FRAME_RIGHT);
    frame_text(&v->host->out, right);
    wire_u8(&v->host->out, (uint8_t)write);
    v->code = host_send(v->host, v->err);
}

enum error_code host_describe(struct host *h, struct wire_reader *r, struct error *err) {
    const struct renkei_connector *c = h->connector;
    struct renkei_fault fault = {0};
    struct renkei_server server = {0};
    if (!wire_read_end(r))
        return host_bad_request(err);
    if (c->server(h->session, &server, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    frame_begin(&h->out, FRAME_SERVER);
    frame_text(&h->out, c->name);
    frame_text(&h->out, c->version);
    wire_u64(&h->out, c->capabilities);
    frame_text(&h->out, server.product);
    frame_text(&h->out, server.version);
    frame_text(&h->out, server.charset);
    frame_text(&h->out, server.time_zone);
    frame_text(&h->out, server.settings);
    wire_u8(&h->out, server.read_only != 0);
    frame_text(&h->out, server.note == NULL ? "" : server.note);
    TRY(host_send(h, err));
    struct visiting visiting = {h, ERROR_NONE, err};
    if (c->tables(h->session, visit_table, &visiting, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    TRY(visiting.code);
    if ((c->capabilities & RENKEI_CAN_RIGHTS) != 0 &&
        c->rights(h->session, visit_right, &visiting, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    return visiting.code;
}

struct finding {
    const char *schema;
    const char *name;
    struct renkei_table table; /* texts point to static ones or into engine and kind */
    char engine[64];
    bool found;
};

static void find_table(void *context, const struct renkei_table *table) {
    struct finding *f = context;
    if (f->found || strcmp(table->name, f->name) != 0 ||
        (f->schema[0] != '\0' && strcmp(table->schema, f->schema) != 0))
        return;
    f->found = true;
    snprintf(f->engine, sizeof f->engine, "%s", table->engine);
    f->table = *table;
    f->table.kind = strcmp(table->kind, "view") == 0 ? "view" : "table";
    f->table.engine = f->engine;
}

enum error_code host_columns(struct host *h, struct wire_reader *r, struct error *err) {
    char schema[TEXT_BYTES], name[TEXT_BYTES];
    struct renkei_fault fault = {0};
    const struct renkei_column *columns = NULL;
    uint32_t count = 0;
    if (!host_text(r, schema, sizeof schema) || !host_text(r, name, sizeof name) ||
        !wire_read_end(r))
        return host_bad_request(err);
    struct finding f = {.schema = schema, .name = name};
    f.table = (struct renkei_table){.kind = "table", .transactional = -1, .rows_estimate = -1};
    f.table.engine = "";
    if (h->connector->tables(h->session, find_table, &f, &fault) != RENKEI_OK ||
        h->connector->columns(h->session, schema, name, &columns, &count, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    f.table.name = name;
    f.table.schema = schema;
    write_table(&h->out, &f.table, columns, count);
    return host_send(h, err);
}

enum error_code host_plan(struct host *h, struct wire_reader *r, struct error *err) {
    char name[TEXT_BYTES];
    struct host_table *t;
    if (!host_text(r, name, sizeof name) || !wire_read_end(r))
        return host_bad_request(err);
    TRY(host_table(h, name, true, &t, err));
    TRY(host_look_up(h, t, err));
    return host_send_plan(h, t, "", err);
}

/* --- rows of a preview or a fetch --- */

static void write_cells(struct buffer *out, const struct renkei_batch *batch, uint32_t row) {
    wire_u32(out, batch->column_count);
    for (uint32_t i = 0; i < batch->column_count; i++) {
        const struct renkei_batch_column *c = &batch->columns[i];
        bool null = c->length[row] >= RENKEI_TOO_LONG;
        wire_u8(out, null);
        if (!null)
            wire_bytes(out, bytes_of(c->data + c->offset[row], c->length[row]));
    }
}

void host_write_row(struct host *h, uint32_t index, const struct normalized_row *row,
                    size_t field_count, const struct renkei_batch *batch, uint32_t batch_row,
                    const uint8_t *r) {
    static const struct normalized_row nothing;
    struct hash content = {0}, raw = {0};
    uint8_t flags = row == NULL ? 0 : ROW_FOUND;
    if (row == NULL)
        row = &nothing;
    if (row->quarantined)
        flags |= ROW_QUARANTINED;
    if (batch != NULL)
        flags |= ROW_HAS_CELLS;
    if (r != NULL && (flags & ROW_FOUND) != 0 && !row->quarantined) {
        digest_both(r, row->document, row->raw, &content, &raw);
        flags |= ROW_HAS_DIGESTS;
    }
    struct buffer *out = &h->out;
    frame_begin(out, FRAME_ROW);
    wire_u32(out, index);
    wire_u8(out, flags);
    wire_bytes(out, row->key);
    wire_bytes(out, row->address);
    wire_bytes(out, row->patient);
    wire_bytes(out, row->date);
    wire_bytes(out, row->document);
    wire_bytes(out, row->raw);
    size_t type_count = row->types == NULL || row->quarantined ? 0 : field_count;
    wire_u32(out, (uint32_t)type_count);
    for (size_t i = 0; i < type_count; i++)
        wire_u8(out, (uint8_t)row->types[i]);
    wire_fixed(out, content.byte, HASH_BYTES);
    wire_fixed(out, raw.byte, HASH_BYTES);
    frame_reasons(out, row->reasons, row->reason_count);
    if (batch != NULL)
        write_cells(out, batch, batch_row);
}

/* What to do with each row of a query. */
typedef enum error_code on_row(void *context, struct host *h, const struct host_table *t,
                               const struct normalized_row *row, const struct renkei_batch *batch,
                               uint32_t batch_row, struct error *err);

/* fault->status stays RENKEI_OK where the rows came whole, or where the error is not the source's. */
static enum error_code each_row(struct host *h, struct host_table *t, struct renkei_cursor *cursor,
                                on_row *visit, void *context, struct renkei_fault *fault,
                                struct error *err) {
    struct renkei_batch batch;
    enum renkei_status status;
    while ((status = h->connector->next(cursor, &batch, fault)) == RENKEI_OK) {
        TRY(host_check_cancelled(h, err));
        for (uint32_t i = 0; i < batch.row_count; i++) {
            struct normalized_row row;
            TRY(normalizer_row(t->normalizer, &batch, i, &row, err));
            TRY(visit(context, h, t, &row, &batch, i, err));
        }
    }
    fault->status = status == RENKEI_END ? RENKEI_OK : status;
    return ERROR_NONE;
}

/* Runs a query and hands over its rows. */
static enum error_code run_query(struct host *h, struct host_table *t,
                                 const struct renkei_query *query, on_row *visit, void *context,
                                 struct error *err) {
    struct renkei_fault fault = {0};
    struct renkei_cursor *cursor = NULL;
    enum renkei_status status = h->connector->query(h->session, query, &cursor, &fault);
    /* A driver for which the connector has no ORDER BY gives its rows in its own order. */
    struct renkei_query unordered = *query;
    unordered.order_by_key = 0;
    if (status == RENKEI_UNSUPPORTED && query->order_by_key && query->after == NULL)
        status = h->connector->query(h->session, &unordered, &cursor, &fault);
    if (status != RENKEI_OK)
        return host_fault(h, &fault, err);
    enum error_code code = each_row(h, t, cursor, visit, context, &fault, err);
    h->connector->finish(cursor);
    if (code == ERROR_NONE && fault.status != RENKEI_OK)
        return host_fault(h, &fault, err);
    return code;
}

static struct renkei_query query_of(const struct host_table *t) {
    return (struct renkei_query){
        .schema = t->mapped->schema,
        .table = t->mapped->table,
        .columns = t->columns,
        .column_count = t->column_count,
        .key_columns = t->mapped->keys,
        .key_column_count = (uint32_t)t->mapped->key_count,
    };
}

/* --- preview --- */

struct previewing {
    uint32_t count;
    size_t field_count;
};

static enum error_code preview_row(void *context, struct host *h, const struct host_table *t,
                                   const struct normalized_row *row,
                                   const struct renkei_batch *batch, uint32_t batch_row,
                                   struct error *err) {
    struct previewing *p = context;
    (void)t;
    host_write_row(h, p->count++, row, p->field_count, batch, batch_row, NULL);
    return host_send(h, err);
}

enum error_code host_preview(struct host *h, struct wire_reader *r, struct error *err) {
    char name[TEXT_BYTES];
    struct host_table *t;
    struct previewing p = {0};
    bool good = host_text(r, name, sizeof name);
    uint32_t rows_max = wire_read_u32(r);
    if (!good || !wire_read_end(r) || rows_max == 0 || rows_max > WORKER_PREVIEW_ROWS_MAX)
        return host_bad_request(err);
    TRY(host_table(h, name, true, &t, err));
    TRY(host_look_up(h, t, err));
    TRY(host_send_plan(h, t, "", err));
    struct renkei_query query = query_of(t);
    query.rows_max = rows_max;
    query.order_by_key = (h->connector->capabilities & RENKEI_CAN_KEY_RANGE) != 0;
    (void)normalizer_fields(t->normalizer, &p.field_count);
    return run_query(h, t, &query, preview_row, &p, err);
}

/* --- fetch --- */

struct wanted {
    struct bytes key;
    const uint8_t *r;
    uint32_t index;
    bool found;
};

struct fetching {
    struct wanted *wanted; /* sorted by key */
    uint32_t count;
    size_t field_count;
    size_t bytes; /* sent so far */
    bool plan_sent;
};

static int compare_wanted(const void *a, const void *b) {
    return bytes_compare(((const struct wanted *)a)->key, ((const struct wanted *)b)->key);
}

static enum error_code send_counted(struct host *h, const struct host_table *t, size_t *bytes,
                                    struct error *err) {
    *bytes += h->out.len;
    if (*bytes > WORKER_FETCH_BYTES_MAX)
        return error_set(err, ERROR_LIMIT,
                         "table %s: one fetch of more than %d bytes (WORKER_FETCH_BYTES_MAX)",
                         t->mapped->table, WORKER_FETCH_BYTES_MAX);
    return host_send(h, err);
}

static enum error_code send_plan_once(struct host *h, const struct host_table *t, bool *sent,
                                      struct error *err) {
    if (*sent)
        return ERROR_NONE;
    *sent = true;
    return host_send_plan(h, t, "", err);
}

/* The database's collation may call two keys equal whose bytes differ ('a' and 'A', trailing
 * blanks): such a row is another record's, and is passed over. */
static enum error_code fetched_row(void *context, struct host *h, const struct host_table *t,
                                   const struct normalized_row *row,
                                   const struct renkei_batch *batch, uint32_t batch_row,
                                   struct error *err) {
    struct fetching *f = context;
    struct wanted key = {.key = row->key};
    struct wanted *w = bsearch(&key, f->wanted, f->count, sizeof *f->wanted, compare_wanted);
    (void)batch;
    (void)batch_row;
    if (w == NULL)
        return ERROR_NONE;
    if (w->found) {
        error_set(err, ERROR_MAPPING, "table %s: its key names more than one row",
                  t->mapped->table);
        error_hint(err, "name all columns of the primary key under 'key:' in the mapping");
        return ERROR_MAPPING;
    }
    w->found = true;
    TRY(send_plan_once(h, t, &f->plan_sent, err));
    host_write_row(h, w->index, row, f->field_count, NULL, 0, w->r);
    return send_counted(h, t, &f->bytes, err);
}

static enum error_code read_wanted(struct host_table *t, struct arena *arena,
                                   struct wire_reader *r, uint32_t count, struct fetching *f,
                                   struct renkei_query *query, struct error *err) {
    uint32_t components = query->key_column_count;
    struct renkei_value *values =
        arena_alloc(arena, (size_t)count * components * sizeof *values + 1);
    f->wanted = arena_alloc(arena, (size_t)count * sizeof *f->wanted + 1);
    if (values == NULL || f->wanted == NULL)
        return error_set(err, ERROR_NO_MEMORY, "table %s: no memory", t->mapped->table);
    for (uint32_t i = 0; i < count; i++) {
        struct wanted *w = &f->wanted[i];
        w->index = i;
        w->key = wire_read_bytes(r, NORMALIZER_KEY_BYTES_MAX);
        w->r = wire_read_u8(r) != 0 ? wire_read_raw(r, WORKER_SALT_BYTES).data : NULL;
        if (r->failed)
            return host_bad_request(err);
        TRY(host_key_values(t, arena, w->key, values + (size_t)i * components, err));
    }
    f->count = count;
    qsort(f->wanted, count, sizeof *f->wanted, compare_wanted);
    /* The same key twice would have one of its two rows never answered. */
    for (uint32_t i = 1; i < count; i++)
        if (bytes_equal(f->wanted[i - 1].key, f->wanted[i].key))
            return error_set(err, ERROR_BAD_REQUEST, "table %s: one key is asked for twice",
                             t->mapped->table);
    query->keys = values;
    query->key_row_count = count;
    return wire_read_end(r) ? ERROR_NONE : host_bad_request(err);
}

enum error_code host_fetch_from(struct host *h, struct host_table *t, struct wire_reader *r,
                                struct error *err) {
    struct fetching f = {0};
    uint32_t count = wire_read_count(r, WORKER_FETCH_KEYS_MAX, 5);
    if (r->failed || count == 0)
        return host_bad_request(err);
    SCOPED_ARENA struct arena *arena = arena_new(WORKER_FETCH_BYTES_MAX);
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "table %s: no memory", t->mapped->table);
    struct renkei_query query = query_of(t);
    (void)normalizer_fields(t->normalizer, &f.field_count);
    TRY(read_wanted(t, arena, r, count, &f, &query, err));
    TRY(run_query(h, t, &query, fetched_row, &f, err));
    TRY(send_plan_once(h, t, &f.plan_sent, err));
    for (uint32_t i = 0; i < count; i++) {
        if (f.wanted[i].found)
            continue;
        host_write_row(h, f.wanted[i].index, NULL, 0, NULL, 0, NULL);
        TRY(host_send(h, err));
    }
    return ERROR_NONE;
}

enum error_code host_fetch(struct host *h, struct wire_reader *r, struct error *err) {
    char name[TEXT_BYTES];
    struct host_table *t;
    if (!host_text(r, name, sizeof name))
        return host_bad_request(err);
    TRY(host_table(h, name, false, &t, err));
    return host_fetch_from(h, t, r, err);
}

/* --- a patient's rows --- */

struct patient_rows {
    struct bytes patient;
    uint32_t count;
    uint32_t rows_max;
    size_t field_count;
    size_t bytes;
    bool plan_sent;
};

static enum error_code patient_row(void *context, struct host *h, const struct host_table *t,
                                   const struct normalized_row *row,
                                   const struct renkei_batch *batch, uint32_t batch_row,
                                   struct error *err) {
    struct patient_rows *p = context;
    (void)batch;
    (void)batch_row;
    /* As with keys: equal to the database's collation is not the same patient. A row that cannot
     * be normalized may have no readable id; it is counted as the query found it. */
    if (!row->quarantined && !bytes_equal(row->patient, p->patient))
        return ERROR_NONE;
    if (p->count == p->rows_max)
        return error_set(err, ERROR_LIMIT, "table %s: a patient with more than %u rows",
                         t->mapped->table, p->rows_max);
    TRY(send_plan_once(h, t, &p->plan_sent, err));
    host_write_row(h, p->count++, row, p->field_count, NULL, 0, NULL);
    return send_counted(h, t, &p->bytes, err);
}

static bool is_ascii(const char *text) {
    for (; *text != '\0'; text++)
        if ((*text & 0x80) != 0)
            return false;
    return true;
}

/* The charset that the patient's column was read in, by what the source says of it now. */
static enum error_code check_patient(struct host *h, const struct host_table *t,
                                     const char *patient, struct error *err) {
    struct renkei_fault fault = {0};
    const struct renkei_column *columns = NULL;
    uint32_t count = 0;
    if (is_ascii(patient))
        return ERROR_NONE;
    if (h->connector->columns(h->session, t->mapped->schema, t->mapped->table, &columns, &count,
                              &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(columns[i].name, t->mapped->patient) == 0 &&
            columns[i].charset == RENKEI_CHARSET_UTF8)
            return ERROR_NONE;
    return error_set(err, ERROR_BAD_REQUEST,
                     "table %s: a patient's id that is not ASCII can be looked up in UTF-8 "
                     "columns only",
                     t->mapped->table);
}

enum error_code host_patient(struct host *h, struct wire_reader *r, struct error *err) {
    char name[TEXT_BYTES], patient[PATIENT_BYTES];
    struct host_table *t;
    bool good = host_text(r, name, sizeof name) && host_text(r, patient, sizeof patient);
    uint32_t rows_max = wire_read_u32(r);
    if (!good || !wire_read_end(r) || patient[0] == '\0')
        return host_bad_request(err);
    TRY(host_table(h, name, false, &t, err));
    if (t->mapped->patient == NULL)
        return error_set(err, ERROR_MAPPING, "table %s: its mapping names no patient column",
                         name);
    TRY(check_patient(h, t, patient, err));
    struct patient_rows p = {.patient = bytes_text(patient), .rows_max = rows_max};
    (void)normalizer_fields(t->normalizer, &p.field_count);
    struct renkei_query query = query_of(t);
    query.equals_column = t->mapped->patient;
    query.equals_value = (struct renkei_value){p.patient.data, (uint32_t)p.patient.len};
    TRY(run_query(h, t, &query, patient_row, &p, err));
    return send_plan_once(h, t, &p.plan_sent, err);
}
