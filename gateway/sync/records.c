#include "gateway/sync/records.h"

#include <string.h>

#include "gateway/sync/retrieval.h"

static enum error_code ask_head(struct sync *sync, struct ledger_head *ret_head,
                                struct error *err) {
    pthread_mutex_lock(&sync->ledger_lock);
    enum error_code code = ledger_head(sync->read_ledger, ret_head, err);
    pthread_mutex_unlock(&sync->ledger_lock);
    return code;
}

static enum error_code find_page(struct retrieval *r, const struct records_query *query,
                                 struct records *ret_records, struct error *err) {
    size_t limit = query->limit == 0 || query->limit > RECORDS_LIMIT_MAX ? RECORDS_LIMIT_MAX
                                                                         : query->limit;
    size_t from = 0;
    while (query->after != NULL && from < r->count &&
           strcmp(r->items[from].address, query->after) <= 0)
        from++;
    size_t to = r->count - from > limit ? from + limit : r->count;
    struct record *records = arena_alloc(r->arena, (to - from + 1) * sizeof *records);
    if (records == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    TRY(retrieval_fetch(r, from, to, err));
    TRY(retrieval_compare(r, from, to, records, err));
    ret_records->items = records;
    ret_records->count = to - from;
    ret_records->more = to < r->count;
    ret_records->errors = r->errors;
    ret_records->error_count = r->error_count;
    return ERROR_NONE;
}

static enum error_code check_patient(const char *patient, struct error *err) {
    size_t len = strlen(patient);
    if (len == 0 || len > SYNC_PATIENT_BYTES_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "a patient id is 1 to %d bytes, found %zu",
                         SYNC_PATIENT_BYTES_MAX, len);
    return ERROR_NONE;
}

enum error_code records_of_patient(struct sync *sync, const char *patient,
                                   const struct records_query *query, struct arena *arena,
                                   struct records *ret_records, struct error *err) {
    TRY(check_patient(patient, err));
    struct records found = {.has_head = true};
    struct retrieval r;
    enum error_code code = retrieval_init(&r, sync, patient, query->raw, arena, err);
    if (code == ERROR_NONE)
        code = ask_head(sync, &found.head, err);
    if (code == ERROR_NONE)
        code = retrieval_gather(&r, err);
    if (code == ERROR_NONE)
        code = find_page(&r, query, &found, err);
    retrieval_done(&r);
    if (code == ERROR_NONE)
        *ret_records = found;
    return code;
}

static enum error_code no_record(const char *address, struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "%.200s: there is no such record", address);
}

static struct sync__source *find_table(struct sync *sync, const struct address *a,
                                       size_t *ret_table) {
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        if (strcmp(source->mapping->source, a->source) != 0)
            continue;
        for (size_t t = 0; t < source->mapping->table_count; t++)
            if (strcmp(source->mapping->tables[t].table, a->table) == 0) {
                *ret_table = t;
                return source;
            }
    }
    return NULL;
}

/* May the patient see it? The vault's word, or the live row's where it is not anchored. */
static enum error_code check_owner(struct retrieval *r, const struct vault_record *record,
                                   bool in_vault, const char *address, struct error *err) {
    bool is = r->patient.data == NULL;
    if (!is && in_vault && record->latest.version > 0)
        TRY(vault_record_is_of(r->view, record, r->patient, &is, err));
    const struct worker_fetched_row *row = r->items[0].row;
    if (!is && row != NULL)
        is = bytes_equal(sync__patient_text(row->patient), r->patient);
    return is ? ERROR_NONE : no_record(address, err);
}

static enum error_code look_at(struct retrieval *r, const char *address, struct record *ret_record,
                               struct error *err) {
    struct address parsed;
    size_t table = 0;
    TRY(address_parse(bytes_text(address), &parsed, err));
    struct sync__source *source = strcmp(parsed.hospital, r->sync->hospital) == 0
                                      ? find_table(r->sync, &parsed, &table)
                                      : NULL;
    struct bytes key = bytes_text(parsed.key);
    if (source == NULL || key.len == 0 || key.len > VAULT_KEY_BYTES_MAX)
        return no_record(address, err);
    struct vault_record record;
    bool in_vault = false;
    TRY(vault_record_find(r->view, source->table_ids[table], key, &in_vault, &record, err));
    TRY(retrieval_add(r, source, table, key, in_vault ? record.id : 0, err));
    TRY(retrieval_fetch(r, 0, 1, err));
    const struct retrieval_item *item = &r->items[0];
    if (!in_vault && !item->fetched)
        return error_set(err, item->code, "%s", item->error);
    if ((!in_vault || record.latest.version == 0) && item->row == NULL)
        return no_record(address, err);
    TRY(check_owner(r, &record, in_vault, address, err));
    return retrieval_compare(r, 0, 1, ret_record, err);
}

enum error_code records_by_address(struct sync *sync, const char *address, const char *patient,
                                   const struct records_query *query, struct arena *arena,
                                   struct record *ret_record, struct error *err) {
    if (patient != NULL)
        TRY(check_patient(patient, err));
    struct ledger_head head;
    struct record found;
    struct retrieval r;
    enum error_code code = retrieval_init(&r, sync, patient, query->raw, arena, err);
    if (code == ERROR_NONE)
        code = ask_head(sync, &head, err);
    if (code == ERROR_NONE)
        code = look_at(&r, address, &found, err);
    retrieval_done(&r);
    if (code == ERROR_NONE)
        *ret_record = found;
    return code;
}
