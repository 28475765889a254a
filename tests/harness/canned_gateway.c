/*
 * renkei-gateway's REST interface over canned answers: no database, no node, no vault. For tests of
 * everything that is REST's own: canned_gateway --config gateway.yaml.
 *
 * Patients: "999-99-9999" has records (which ones depends on the hospital's name), "partial" has
 * one and a source that is down, "stale" meets a chain that stands still, "many" has 2,500, any
 * other has none.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/listen.h"
#include "gateway/rest/emit.h"

enum { ENROLMENTS_MAX = 64, MANY = 2500 };

struct enrolment {
    char thumbprint[64];
    char patient[300];
    char jwk[1100];
    uint64_t enrolled_ms;
};

static struct {
    pthread_mutex_t lock;
    const char *hospital;
    struct enrolment enrolments[ENROLMENTS_MAX];
    size_t count;
    bool syncing;
} canned = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct canned_field {
    const char *name, *type, *value; /* value: JSON */
    bool personal;
};

struct canned_record {
    const char *table, *key, *category, *date;
    enum verdict verdict;
    struct canned_field fields[8];
};

static const struct canned_record west_records[] = {
    {"patients",
     "999-99-9999",
     "EMR01",
     "",
     VERDICT_MATCH,
     {{"IdentificationID", "string", "\"999-99-9999\"", true},
      {"address", "string", "\"9999 Computer Dr\"", true},
      {"birthday", "date", "\"1953/09/09\"", true},
      {"userName", "string", "\"Bill Windows\"", true}}},
    {"visits",
     "17",
     "EMR03",
     "2011/03/24",
     VERDICT_MATCH,
     {{"Allergy", "bool", "false", false},
      {"IdentificationID", "string", "\"999-99-9999\"", false},
      {"dose", "number", "0.1", false},
      {"note", "string", "\"①㈱髙﨑～ソ表十ｱ\\\"\\\\\"", false},
      {"timestamp", "date", "\"2011/03/24\"", false}}},
};

static const struct canned_record east_records[] = {
    {"records",
     "1",
     "EMR05",
     "2010/08/06",
     VERDICT_MISMATCH,
     {{"IdentificationID", "string", "\"999-99-9999\"", false},
      {"address", "string", "\"1 Elsewhere\"", true},
      {"problems", "string", "\"DIABETES MELLITUS\"", false},
      {"userName", "string", "\"Bill Windows\"", true}}},
    {"records", "2", "EMR05", "", VERDICT_MISSING, {{0}}},
};

/* What east gives the patients "honest", "liar" and "early", all as a match: what the chain has;
 * another content; a record that the chain does not have yet. */
static const struct canned_record honest_record = {
    "records",     "3",
    "EMR05",       "2012/01/01",
    VERDICT_MATCH, {{"dose", "number", "0.10", false}, {"name", "string", "\"A\"", true}}};
static const struct canned_record liars_record = {
    "records",     "3",
    "EMR05",       "2012/01/01",
    VERDICT_MATCH, {{"dose", "number", "10", false}, {"name", "string", "\"A\"", true}}};
static const struct canned_record early_record = {
    "records", "4", "EMR05", "2012/01/01", VERDICT_MATCH, {{"dose", "number", "1", false}}};

static void make_document(struct buffer *out, const char *address, const char *category,
                          const struct canned_field *fields) {
    emit_object(out, NULL);
    emit_text(out, "address", address);
    emit_text(out, "category", category);
    emit_object(out, "fields");
    for (; fields->name != NULL; fields++)
        emit_raw(out, fields->name, bytes_text(fields->value));
    emit_object_end(out);
    emit_object_end(out);
}

/* The record's name on the canned chain. */
static struct locator locator_of(const char *address) {
    struct hash hash = sha256_of(bytes_text(address));
    struct locator locator;
    memcpy(locator.byte, hash.byte, sizeof locator.byte);
    locator.byte[0] = 0x5A;
    return locator;
}

static const uint8_t salt[32] = {0x11};

static struct leaf leaf_of(const struct record *r) {
    struct leaf leaf = {.operation = LEAF_CREATE,
                        .origin = LEAF_OBSERVED,
                        .version = 1,
                        .locator = locator_of(r->address)};
    struct bytes parts[] = {BYTES_LITERAL("renkei/content/1\n"), bytes_of(salt, sizeof salt),
                            r->document};
    leaf.content = sha256_of_parts(parts, 3);
    return leaf;
}

static void fill_chain(struct arena *arena, const struct canned_record *from, struct record *r) {
    struct record_version *v = arena_alloc(arena, sizeof *v);
    *v = (struct record_version){.leaf = leaf_of(r), .anchored_ms = 1700000000000, .has_r = true};
    v->leaf_hash = leaf_hash(&v->leaf);
    memcpy(v->r, salt, sizeof v->r);
    r->versions = v;
    r->version_count = 1;
    r->version_total = 1;
    r->anchored_since_ms = v->anchored_ms;
    r->live = from->fields[0].name != NULL;
}

static void fill_record(struct arena *arena, const char *hospital, const struct canned_record *from,
                        const char *key, struct record *r) {
    *r = (struct record){.hospital = hospital,
                         .source = "main",
                         .table = from->table,
                         .category = from->category,
                         .date = from->date,
                         .verdict = from->verdict,
                         .error = "",
                         .hint = ""};
    r->address = arena_format(arena, "renkei://%s/main/%s/%s", hospital, from->table, key);
    size_t count = 0;
    struct record_field *fields = arena_alloc(arena, 8 * sizeof *fields);
    for (; count < 8 && from->fields[count].name != NULL; count++)
        fields[count] = (struct record_field){from->fields[count].name, from->fields[count].type,
                                              from->fields[count].personal};
    r->fields = fields;
    r->field_count = count;
    if (count > 0) {
        SCOPED_BUFFER struct buffer document;
        buffer_init(&document, 1 << 20);
        make_document(&document, r->address, from->category, from->fields);
        r->document = arena_bytes(arena, buffer_bytes(&document));
        r->raw = arena_bytes(arena, BYTES_LITERAL("raw\0bytes"));
    }
    fill_chain(arena, from, r);
}

static void fill_head(struct ledger_head *head) {
    *head = (struct ledger_head){.height = 3,
                                 .time_ms = clock_wall_ms(),
                                 .leaves = 4,
                                 .validators = 4,
                                 .faults_tolerated = 1,
                                 .signatures = 3};
}

static const struct canned_record *records_here(size_t *ret_count) {
    bool east = strcmp(canned.hospital, "east") == 0;
    *ret_count = 2;
    return east ? east_records : west_records;
}

static enum error_code fill_many(const struct records_query *query, struct arena *arena,
                                 struct records *ret, struct error *err) {
    size_t first = 0, limit = query->limit > 0 ? query->limit : RECORDS_LIMIT_MAX;
    if (query->after != NULL) {
        const char *slash = strrchr(query->after, '/');
        if (slash == NULL)
            return error_set(err, ERROR_BAD_REQUEST, "the cursor: no address");
        first = (size_t)strtoul(slash + 1, NULL, 10) + 1;
    }
    struct record *items = arena_alloc(arena, limit * sizeof *items);
    size_t count = 0;
    for (; count < limit && first + count < MANY; count++) {
        char *key = arena_format(arena, "%05zu", first + count);
        fill_record(arena, canned.hospital, &west_records[1], key, &items[count]);
    }
    ret->items = items;
    ret->count = count;
    ret->more = first + count < MANY;
    return ERROR_NONE;
}

static enum error_code canned_records(void *context, const char *patient,
                                      const struct records_query *query, struct arena *arena,
                                      struct records *ret_records, struct error *err) {
    (void)context;
    struct records records = {.has_head = true};
    fill_head(&records.head);
    bool partial = strcmp(patient, "partial") == 0;
    if (strcmp(patient, "stale") == 0)
        return error_set(err, ERROR_NODE_STALE, "the chain's head is 300 s old");
    if (strcmp(patient, "many") == 0) {
        TRY(fill_many(query, arena, &records, err));
    } else if (partial || strcmp(patient, "999-99-9999") == 0) {
        size_t count = 0;
        const struct canned_record *from = records_here(&count);
        struct record *items = arena_alloc(arena, count * sizeof *items);
        for (size_t i = 0; i < count; i++)
            fill_record(arena, canned.hospital, &from[i], from[i].key, &items[i]);
        records.items = items;
        records.count = partial ? 1 : count;
    }
    const struct canned_record *claimed = strcmp(patient, "honest") == 0  ? &honest_record
                                          : strcmp(patient, "liar") == 0  ? &liars_record
                                          : strcmp(patient, "early") == 0 ? &early_record
                                                                          : NULL;
    if (claimed != NULL && strcmp(canned.hospital, "east") == 0) {
        struct record *item = arena_alloc(arena, sizeof *item);
        fill_record(arena, canned.hospital, claimed, claimed->key, item);
        records.items = item;
        records.count = 1;
    }
    if (partial) {
        struct records_error *error = arena_alloc(arena, sizeof *error);
        *error = (struct records_error){"second", "", ERROR_SOURCE_UNREACHABLE,
                                        "source second: cannot connect", ""};
        records.errors = error;
        records.error_count = 1;
    }
    *ret_records = records;
    return ERROR_NONE;
}

static enum error_code record_by_address(void *context, const char *address, const char *patient,
                                         const struct records_query *query, struct arena *arena,
                                         struct record *ret_record, struct error *err) {
    struct records records;
    TRY(canned_records(context, patient, query, arena, &records, err));
    for (size_t i = 0; i < records.count; i++)
        if (strcmp(records.items[i].address, address) == 0) {
            *ret_record = records.items[i];
            return ERROR_NONE;
        }
    return error_set(err, ERROR_NOT_FOUND, "there is no such record of this patient");
}

static enum error_code status(void *context, struct arena *arena, struct sync_status *ret_status,
                              struct error *err) {
    (void)context;
    (void)err;
    struct sync_source_status *source = arena_alloc(arena, sizeof *source);
    struct sync_table_status *table = arena_alloc(arena, sizeof *table);
    *table = (struct sync_table_status){.table = "visits", .category = "EMR03", .records = 2};
    *source =
        (struct sync_source_status){.source = "main",
                                    .connector = "mysql",
                                    .mapping = "main.yaml",
                                    .tables = table,
                                    .table_count = 1,
                                    .progress = {.pass = 1,
                                                 .state = canned.syncing ? SYNC_READING : SYNC_DONE,
                                                 .mode = SYNC_FULL,
                                                 .table = "visits",
                                                 .tables = 1,
                                                 .rows_expected = 2,
                                                 .started_ms = 1700000000000,
                                                 .left_ms = -1,
                                                 .error = "",
                                                 .hint = ""}};
    *ret_status =
        (struct sync_status){.sources = source, .source_count = 1, .enrolments = canned.count};
    return ERROR_NONE;
}

static enum error_code sync_start_(void *context, const struct sync_request *request,
                                   struct error *err) {
    (void)context;
    if (request->source != NULL && strcmp(request->source, "main") != 0)
        return error_set(err, ERROR_NOT_FOUND, "source %s is not configured", request->source);
    if (canned.syncing)
        return error_set(err, ERROR_BUSY, "source main: a pass is running");
    canned.syncing = true;
    return ERROR_NONE;
}

static enum error_code sync_cancel_(void *context, const char *source, struct error *err) {
    (void)context;
    (void)source;
    (void)err;
    canned.syncing = false;
    return ERROR_NONE;
}

static enum error_code quarantine_list(void *context, const char *source, uint64_t after,
                                       size_t limit, struct arena *arena,
                                       const struct sync_quarantined **ret_rows, size_t *ret_count,
                                       struct error *err) {
    (void)context;
    (void)source;
    (void)limit;
    (void)err;
    struct sync_quarantined *row = arena_alloc(arena, sizeof *row);
    *row = (struct sync_quarantined){.id = 7,
                                     .source = "main",
                                     .table = "visits",
                                     .key = "9",
                                     .column = "note",
                                     .reason = "invalid-bytes",
                                     .code = 0x81,
                                     .first_ms = 1,
                                     .last_ms = 2};
    *ret_rows = row;
    *ret_count = after < 7 ? 1 : 0;
    return ERROR_NONE;
}

static enum error_code quarantine_drop(void *context, uint64_t id, struct error *err) {
    (void)context;
    return id == 7 ? ERROR_NONE
                   : error_set(err, ERROR_NOT_FOUND, "no row %llu in quarantine",
                               (unsigned long long)id);
}

static enum error_code characters(void *context, const char *source, struct arena *arena,
                                  const struct sync_characters **ret_reports, size_t *ret_count,
                                  struct error *err) {
    (void)context;
    if (source != NULL && strcmp(source, "main") != 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no source '%s'", source);
    static const struct sync_character list[] = {
        {.column = "note", .kind = "wave-dash", .code = 0x8160, .count = 3, .sample_key = "9"}};
    struct sync_characters *report = arena_alloc(arena, sizeof *report);
    *report = (struct sync_characters){.source = "main", .table = "visits", .pass = 4,
                                       .ended_ms = 2, .passes = 2, .rows = 10, .list = list,
                                       .count = 1};
    *ret_reports = report;
    *ret_count = 1;
    return ERROR_NONE;
}

static enum error_code keysets(void *context, const char *source, struct arena *arena,
                               const struct sync_keyset **ret_keysets, size_t *ret_count,
                               struct error *err) {
    (void)context;
    if (source != NULL && strcmp(source, "main") != 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no source '%s'", source);
    struct sync_keyset *keyset = arena_alloc(arena, sizeof *keyset);
    *keyset = (struct sync_keyset){.source = "main", .table = "visits", .secret = {7}, .pass = 4,
                                   .mode = SYNC_KEYS, .count = 2, .root = {{9}},
                                   .snapshot = "s", .sequence = 3, .height = 2};
    *ret_keysets = keyset;
    *ret_count = 1;
    return ERROR_NONE;
}

static struct enrolment *find_locked(const char *thumbprint) {
    for (size_t i = 0; i < canned.count; i++)
        if (strcmp(canned.enrolments[i].thumbprint, thumbprint) == 0)
            return &canned.enrolments[i];
    return NULL;
}

static enum error_code enrol(void *context, const char *thumbprint, const char *patient,
                             const char *public_jwk, struct error *err) {
    (void)context;
    enum error_code code = ERROR_NONE;
    pthread_mutex_lock(&canned.lock);
    struct enrolment *known = find_locked(thumbprint);
    if (known != NULL && strcmp(known->patient, patient) != 0) {
        code = error_set(err, ERROR_EXISTS, "this key is enrolled for another patient");
    } else if (known == NULL && canned.count < ENROLMENTS_MAX) {
        struct enrolment *e = &canned.enrolments[canned.count++];
        snprintf(e->thumbprint, sizeof e->thumbprint, "%s", thumbprint);
        snprintf(e->patient, sizeof e->patient, "%s", patient);
        snprintf(e->jwk, sizeof e->jwk, "%s", public_jwk);
        e->enrolled_ms = clock_wall_ms();
    }
    pthread_mutex_unlock(&canned.lock);
    return code;
}

static void copy_enrolment(struct arena *arena, const struct enrolment *e,
                           struct sync_enrolment *ret) {
    *ret = (struct sync_enrolment){arena_text(arena, e->thumbprint), arena_text(arena, e->patient),
                                   arena_text(arena, e->jwk), e->enrolled_ms};
}

static enum error_code enrolment_find(void *context, const char *thumbprint, struct arena *arena,
                                      struct sync_enrolment *ret, struct error *err) {
    (void)context;
    pthread_mutex_lock(&canned.lock);
    struct enrolment *known = find_locked(thumbprint);
    if (known != NULL)
        copy_enrolment(arena, known, ret);
    pthread_mutex_unlock(&canned.lock);
    return known != NULL ? ERROR_NONE : error_set(err, ERROR_NOT_FOUND, "this key is not enrolled");
}

static enum error_code enrolment_remove(void *context, const char *thumbprint, struct error *err) {
    (void)context;
    pthread_mutex_lock(&canned.lock);
    struct enrolment *known = find_locked(thumbprint);
    if (known != NULL)
        *known = canned.enrolments[--canned.count];
    pthread_mutex_unlock(&canned.lock);
    return known != NULL ? ERROR_NONE : error_set(err, ERROR_NOT_FOUND, "this key is not enrolled");
}

static enum error_code enrolment_list(void *context, const char *after, size_t limit,
                                      struct arena *arena, const struct sync_enrolment **ret_list,
                                      size_t *ret_count, struct error *err) {
    (void)context;
    (void)after;
    (void)limit;
    (void)err;
    struct sync_enrolment *list = arena_alloc(arena, (ENROLMENTS_MAX + 1) * sizeof *list);
    pthread_mutex_lock(&canned.lock);
    for (size_t i = 0; i < canned.count; i++)
        copy_enrolment(arena, &canned.enrolments[i], &list[i]);
    *ret_count = canned.count;
    pthread_mutex_unlock(&canned.lock);
    *ret_list = list;
    return ERROR_NONE;
}

static enum error_code head(void *context, struct ledger_head *ret_head, struct error *err) {
    (void)context;
    (void)err;
    fill_head(ret_head);
    return ERROR_NONE;
}

static enum error_code block(void *context, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err) {
    (void)context;
    (void)ret_block;
    (void)ret_certificate;
    return error_set(err, ERROR_NOT_FOUND, "there is no block %llu", (unsigned long long)height);
}

static enum error_code transaction(void *context, const struct hash *id, struct buffer *ret_tx,
                                   struct ledger_receipt *ret_receipt, struct error *err) {
    (void)context;
    (void)id;
    (void)ret_tx;
    (void)ret_receipt;
    return error_set(err, ERROR_NOT_FOUND, "there is no such transaction");
}

/* The canned chain has the honest record, whoever asks. */
static enum error_code latest(void *context, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err) {
    (void)context;
    SCOPED_ARENA struct arena *arena = arena_new(1 << 20);
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory");
    struct record record;
    fill_record(arena, "east", &honest_record, honest_record.key, &record);
    for (size_t i = 0; i < count; i++) {
        bool known =
            memcmp(locators[i].byte, record.versions[0].leaf.locator.byte, LOCATOR_BYTES) == 0;
        ret_versions[i] = (struct ledger_version){0};
        if (known)
            ret_versions[i].leaf = record.versions[0].leaf;
    }
    return ERROR_NONE;
}

static enum error_code history(void *context, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err) {
    (void)context;
    (void)err;
    if (locator->byte[0] != 0x5A || versions_max == 0) {
        *ret_count = 0;
        return ERROR_NONE;
    }
    ret_versions[0] = (struct ledger_version){
        .leaf = {
            .operation = LEAF_CREATE, .origin = LEAF_OBSERVED, .version = 1, .locator = *locator}};
    *ret_count = 1;
    *ret_total = 1;
    return ERROR_NONE;
}

int main(int argc, char **argv) {
    struct error err = {0};
    struct settings *settings = NULL;
    struct rest *rest = NULL;
    if (argc != 3 || strcmp(argv[1], "--config") != 0)
        return 2;
    listen_block_signals();
    log_start("canned-gateway", LOG_LEVEL_INFO);
    struct rest_backend backend = {.records_of_patient = canned_records,
                                   .record_by_address = record_by_address,
                                   .status = status,
                                   .sync_start = sync_start_,
                                   .sync_cancel = sync_cancel_,
                                   .quarantine_list = quarantine_list,
                                   .quarantine_drop = quarantine_drop,
                                   .characters = characters,
                                   .keysets = keysets,
                                   .enrol = enrol,
                                   .enrolment_find = enrolment_find,
                                   .enrolment_remove = enrolment_remove,
                                   .enrolment_list = enrolment_list,
                                   .head = head,
                                   .block = block,
                                   .transaction = transaction,
                                   .latest = latest,
                                   .history = history};
    enum error_code code = settings_load(argv[2], &settings, &err);
    if (code == ERROR_NONE) {
        canned.hospital = settings->hospital;
        code = listen_open(settings, &backend, &rest, &err);
    }
    if (code != ERROR_NONE) {
        log_error(LOG_LEVEL_ERROR, "cannot-start", &err);
    } else {
        listen_wait(rest);
        log_event(LOG_LEVEL_INFO, "stopped", NULL);
    }
    rest_close(rest);
    settings_free(settings);
    return error_info(code)->exit_status;
}
