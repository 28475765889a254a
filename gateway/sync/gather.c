/*
 * Which records a patient has: what the vault lists, and what the databases hold now.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/sync/retrieval.h"

enum error_code retrieval_init(struct retrieval *r, struct sync *sync, const char *patient,
                               bool raw, struct arena *arena, struct error *err) {
    *r = (struct retrieval){.sync = sync, .arena = arena, .raw = raw};
    if (patient != NULL)
        r->patient = sync__patient_text(bytes_text(patient));
    for (size_t i = 0; i < sync->source_count; i++)
        r->error_room += sync->sources[i].mapping->table_count;
    r->errors = arena_alloc(arena, (r->error_room + 1) * sizeof *r->errors);
    r->results = calloc(RETRIEVAL_RESULTS_MAX, sizeof *r->results);
    if (r->errors == NULL || r->results == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    return vault_view_open(sync->vault, &r->view, err);
}

void retrieval_done(struct retrieval *r) {
    vault_view_close(r->view);
    for (size_t i = 0; i < r->result_count; i++)
        worker_result_free(r->results[i]);
    free(r->results);
    free(r->items);
}

enum error_code retrieval_keep(struct retrieval *r, const void *result, struct error *err) {
    if (r->result_count == RETRIEVAL_RESULTS_MAX) {
        worker_result_free(result);
        return error_set(err, ERROR_LIMIT, "retrieval: more than %d answers of sources",
                         RETRIEVAL_RESULTS_MAX);
    }
    r->results[r->result_count++] = result;
    return ERROR_NONE;
}

static enum error_code grow(struct retrieval *r, struct error *err) {
    if (r->count < r->room)
        return ERROR_NONE;
    if (r->room >= RECORDS_PATIENT_MAX)
        return error_set(err, ERROR_LIMIT, "a patient with more than %d records",
                         RECORDS_PATIENT_MAX);
    size_t room = r->room == 0 ? 64 : r->room * 2;
    room = room > RECORDS_PATIENT_MAX ? RECORDS_PATIENT_MAX : room;
    struct retrieval_item *grown = realloc(r->items, room * sizeof *grown);
    if (grown == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    r->items = grown;
    r->room = room;
    return ERROR_NONE;
}

static enum error_code write_address(struct retrieval *r, struct retrieval_item *item,
                                     struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, NORMALIZER_ADDRESS_BYTES_MAX);
    address_write(r->sync->hospital, item->source_name, item->table_name, item->key, &text);
    TRY(buffer_check(&text, "an address", err));
    item->address = arena_format(r->arena, "%.*s", (int)text.len, (const char *)text.data);
    return item->address != NULL ? ERROR_NONE
                                 : error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
}

static enum error_code add_item(struct retrieval *r, const struct retrieval_item *item,
                                struct error *err) {
    TRY(grow(r, err));
    struct retrieval_item *added = &r->items[r->count];
    *added = *item;
    added->key = arena_bytes(r->arena, item->key);
    if (added->key.data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    TRY(write_address(r, added, err));
    r->count++;
    return ERROR_NONE;
}

enum error_code retrieval_add(struct retrieval *r, struct sync__source *source, size_t table,
                              struct bytes key, uint64_t record, struct error *err) {
    struct retrieval_item item = {.source = source,
                                  .source_name = source->mapping->source,
                                  .table_name = source->mapping->tables[table].table,
                                  .table = table,
                                  .key = key,
                                  .record = record};
    return add_item(r, &item, err);
}

/* A record of a table that the configuration does not name any more: it is shown, as unknown. */
static enum error_code add_orphan(struct retrieval *r, const struct vault_record *record,
                                  struct error *err) {
    SCOPED_BUFFER struct buffer name;
    buffer_init(&name, VAULT_TABLE_BYTES_MAX + 1);
    TRY(vault_table_name(r->sync->vault, record->table, &name, err));
    char *text = arena_text(r->arena, (const char *)name.data);
    char *slash = text != NULL ? strchr(text, '/') : NULL;
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    if (slash == NULL)
        return error_set(err, ERROR_CORRUPT, "the vault holds a damaged table name");
    *slash = 0;
    struct retrieval_item item = {.source_name = text,
                                  .table_name = slash + 1,
                                  .key = bytes_of(record->key, record->key_len),
                                  .record = record->id,
                                  .code = ERROR_NOT_FOUND,
                                  .error = "its source or table is not configured any more",
                                  .hint = "put the mapping back, or see the operator's manual"};
    return add_item(r, &item, err);
}

static enum error_code add_vault_record(struct retrieval *r, uint64_t id, struct error *err) {
    struct vault_record record;
    TRY(vault_record_read(r->view, id, &record, err));
    struct bytes key = bytes_of(record.key, record.key_len);
    for (size_t i = 0; i < r->sync->source_count; i++)
        for (size_t t = 0; t < r->sync->sources[i].mapping->table_count; t++)
            if (r->sync->sources[i].table_ids[t] == record.table)
                return retrieval_add(r, &r->sync->sources[i], t, key, id, err);
    return add_orphan(r, &record, err);
}

static enum error_code gather_vault(struct retrieval *r, struct error *err) {
    uint64_t ids[256];
    uint64_t after = 0;
    size_t count = 0;
    do {
        TRY(vault_records_of_patient(r->view, r->patient, after, ids, 256, &count, err));
        for (size_t i = 0; i < count; i++)
            TRY(add_vault_record(r, ids[i], err));
        after = count > 0 ? ids[count - 1] : after;
    } while (count == 256);
    return ERROR_NONE;
}

static void note_error(struct retrieval *r, const struct sync__source *source, size_t table,
                       const struct error *failed) {
    if (r->error_count == r->error_room)
        return;
    struct records_error *e = &r->errors[r->error_count++];
    const char *name = source->mapping->tables[table].table;
    char *message = arena_text(r->arena, failed->message);
    char *hint = arena_text(r->arena, error_hint_text(failed));
    *e = (struct records_error){.source = source->mapping->source,
                                .table = name,
                                .code = failed->code,
                                .error = message != NULL ? message : "",
                                .hint = hint != NULL ? hint : ""};
}

/* The item of this table and key among the first `count`, NULL where there is none. */
static struct retrieval_item *find_item(struct retrieval *r, size_t count,
                                        const struct sync__source *source, size_t table,
                                        struct bytes key) {
    for (size_t i = 0; i < count; i++)
        if (r->items[i].source == source && r->items[i].table == table &&
            bytes_equal(r->items[i].key, key))
            return &r->items[i];
    return NULL;
}

static enum error_code take_live_row(struct retrieval *r, size_t listed,
                                     struct sync__source *source, size_t table,
                                     const struct worker_fetched *fetched, size_t i,
                                     struct error *err) {
    const struct worker_fetched_row *row = &fetched->rows[i];
    /* The database's comparison may be looser than ours (case, width): what is not the same text
     * is another patient. */
    if (row->key.len == 0 || row->key.len > VAULT_KEY_BYTES_MAX ||
        !bytes_equal(sync__patient_text(row->patient), r->patient))
        return ERROR_NONE;
    struct retrieval_item *item = find_item(r, listed, source, table, row->key);
    if (item == NULL) {
        bool found = false;
        struct vault_record record;
        TRY(vault_record_find(r->view, source->table_ids[table], row->key, &found, &record, err));
        TRY(retrieval_add(r, source, table, row->key, found ? record.id : 0, err));
        item = &r->items[r->count - 1];
    }
    item->plan = fetched->plan;
    item->row = row;
    item->fetched = true;
    return ERROR_NONE;
}

static enum error_code gather_live(struct retrieval *r, struct sync__source *source, size_t table,
                                   struct error *err) {
    const struct mapping_table *t = &source->mapping->tables[table];
    if (t->patient == NULL)
        return ERROR_NONE;
    char patient[VAULT_PATIENT_BYTES_MAX + 1];
    if (r->patient.len >= sizeof patient)
        return ERROR_NONE;
    memcpy(patient, r->patient.data, r->patient.len);
    patient[r->patient.len] = 0;
    size_t listed = r->count;
    const struct worker_fetched *fetched;
    struct error failed;
    if (worker_fetch_patient(source->fetcher, t->table, patient, RECORDS_PATIENT_MAX, &fetched,
                             &failed) != ERROR_NONE) {
        note_error(r, source, table, &failed);
        return ERROR_NONE;
    }
    TRY(retrieval_keep(r, fetched, err));
    for (size_t i = 0; i < fetched->row_count; i++)
        TRY(take_live_row(r, listed, source, table, fetched, i, err));
    return ERROR_NONE;
}

static int by_address(const void *a, const void *b) {
    return strcmp(((const struct retrieval_item *)a)->address,
                  ((const struct retrieval_item *)b)->address);
}

enum error_code retrieval_gather(struct retrieval *r, struct error *err) {
    TRY(gather_vault(r, err));
    for (size_t i = 0; i < r->sync->source_count; i++)
        for (size_t t = 0; t < r->sync->sources[i].mapping->table_count; t++)
            TRY(gather_live(r, &r->sync->sources[i], t, err));
    if (r->count > 0)
        qsort(r->items, r->count, sizeof *r->items, by_address);
    return ERROR_NONE;
}

/* ----------------------------------------------------------------------- rows by their key ---- */

static bool wanted(const struct retrieval_item *item) {
    return item->source != NULL && !item->fetched && item->code == ERROR_NONE;
}

static void keep_failure(struct retrieval *r, struct retrieval_item **items, size_t count,
                         const struct error *failed) {
    char *message = arena_text(r->arena, failed->message);
    char *hint = arena_text(r->arena, error_hint_text(failed));
    for (size_t i = 0; i < count; i++) {
        items[i]->code = failed->code;
        items[i]->error = message != NULL ? message : "";
        items[i]->hint = hint != NULL ? hint : "";
    }
    for (size_t i = 0; i < r->error_count; i++)
        if (r->errors[i].source == items[0]->source_name &&
            r->errors[i].table == items[0]->table_name)
            return;
    note_error(r, items[0]->source, items[0]->table, failed);
}

static enum error_code fetch_some(struct retrieval *r, struct retrieval_item **items, size_t count,
                                  struct error *err) {
    struct worker_fetch_key keys[WORKER_FETCH_KEYS_MAX];
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct worker_fetch_key){.key = items[i]->key};
    const struct worker_fetched *fetched;
    struct error failed;
    enum error_code code = worker_fetch(items[0]->source->fetcher, items[0]->table_name, keys,
                                        count, &fetched, &failed);
    if (code == ERROR_NONE && fetched->row_count != count) {
        worker_result_free(fetched);
        code = error_set(&failed, ERROR_PROTOCOL, "the worker answered another number of keys");
    }
    if (code != ERROR_NONE) {
        keep_failure(r, items, count, &failed);
        return ERROR_NONE;
    }
    TRY(retrieval_keep(r, fetched, err));
    for (size_t i = 0; i < count; i++) {
        const struct worker_fetched_row *row = &fetched->rows[i];
        bool there = row->found && (row->key.len == 0 || bytes_equal(row->key, items[i]->key));
        items[i]->plan = fetched->plan;
        items[i]->row = there ? row : NULL;
        items[i]->fetched = true;
    }
    return ERROR_NONE;
}

enum error_code retrieval_fetch(struct retrieval *r, size_t from, size_t to, struct error *err) {
    struct retrieval_item *some[WORKER_FETCH_KEYS_MAX];
    for (size_t i = from; i < to; i++) {
        if (!wanted(&r->items[i]))
            continue;
        size_t count = 0;
        for (size_t j = i; j < to && count < WORKER_FETCH_KEYS_MAX; j++)
            if (wanted(&r->items[j]) && r->items[j].source == r->items[i].source &&
                r->items[j].table == r->items[i].table)
                some[count++] = &r->items[j];
        TRY(fetch_some(r, some, count, err));
    }
    return ERROR_NONE;
}
