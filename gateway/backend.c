#include "gateway/backend.h"

#include <pthread.h>
#include <stdlib.h>

/* A ledger client is for one thread at a time. */
struct backend {
    struct rest_backend calls;
    struct sync *sync;
    pthread_mutex_t lock; /* of ledger */
    struct ledger *ledger;
};

static enum error_code records_of_patient_(void *context, const char *patient,
                                           const struct records_query *query, struct arena *arena,
                                           struct records *ret_records, struct error *err) {
    struct backend *backend = context;
    return records_of_patient(backend->sync, patient, query, arena, ret_records, err);
}

static enum error_code record_by_address(void *context, const char *address, const char *patient,
                                         const struct records_query *query, struct arena *arena,
                                         struct record *ret_record, struct error *err) {
    struct backend *backend = context;
    return records_by_address(backend->sync, address, patient, query, arena, ret_record, err);
}

static enum error_code status(void *context, struct arena *arena, struct sync_status *ret_status,
                              struct error *err) {
    struct backend *backend = context;
    return sync_status(backend->sync, arena, ret_status, err);
}

static enum error_code start(void *context, const struct sync_request *request, struct error *err) {
    struct backend *backend = context;
    return sync_start(backend->sync, request, err);
}

static enum error_code cancel(void *context, const char *source, struct error *err) {
    struct backend *backend = context;
    return sync_cancel(backend->sync, source, err);
}

static enum error_code quarantine_list(void *context, const char *source, uint64_t after,
                                       size_t limit, struct arena *arena,
                                       const struct sync_quarantined **ret_rows, size_t *ret_count,
                                       struct error *err) {
    struct backend *backend = context;
    return sync_quarantine_list(backend->sync, source, after, limit, arena, ret_rows, ret_count,
                                err);
}

static enum error_code quarantine_drop(void *context, uint64_t id, struct error *err) {
    struct backend *backend = context;
    return sync_quarantine_drop(backend->sync, id, err);
}

static enum error_code characters(void *context, const char *source, struct arena *arena,
                                  const struct sync_characters **ret_reports, size_t *ret_count,
                                  struct error *err) {
    struct backend *backend = context;
    return sync_characters(backend->sync, source, arena, ret_reports, ret_count, err);
}

static enum error_code keysets(void *context, const char *source, struct arena *arena,
                               const struct sync_keyset **ret_keysets, size_t *ret_count,
                               struct error *err) {
    struct backend *backend = context;
    return sync_keysets(backend->sync, source, arena, ret_keysets, ret_count, err);
}

static enum error_code enrol(void *context, const char *thumbprint, const char *patient,
                             const char *public_jwk, struct error *err) {
    struct backend *backend = context;
    return sync_enrol(backend->sync, thumbprint, patient, public_jwk, err);
}

static enum error_code enrolment_find(void *context, const char *thumbprint, struct arena *arena,
                                      struct sync_enrolment *ret_enrolment, struct error *err) {
    struct backend *backend = context;
    return sync_enrolment_find(backend->sync, thumbprint, arena, ret_enrolment, err);
}

static enum error_code enrolment_remove(void *context, const char *thumbprint, struct error *err) {
    struct backend *backend = context;
    return sync_enrolment_remove(backend->sync, thumbprint, err);
}

static enum error_code enrolment_list(void *context, const char *after, size_t limit,
                                      struct arena *arena, const struct sync_enrolment **ret_list,
                                      size_t *ret_count, struct error *err) {
    struct backend *backend = context;
    return sync_enrolment_list(backend->sync, after, limit, arena, ret_list, ret_count, err);
}

static enum error_code head(void *context, struct ledger_head *ret_head, struct error *err) {
    struct backend *backend = context;
    pthread_mutex_lock(&backend->lock);
    enum error_code code = ledger_head(backend->ledger, ret_head, err);
    pthread_mutex_unlock(&backend->lock);
    return code;
}

static enum error_code block(void *context, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err) {
    struct backend *backend = context;
    pthread_mutex_lock(&backend->lock);
    enum error_code code = ledger_block(backend->ledger, height, ret_block, ret_certificate, err);
    pthread_mutex_unlock(&backend->lock);
    return code;
}

static enum error_code transaction(void *context, const struct hash *id,
                                   struct buffer *ret_transaction,
                                   struct ledger_receipt *ret_receipt, struct error *err) {
    struct backend *backend = context;
    pthread_mutex_lock(&backend->lock);
    enum error_code code =
        ledger_transaction(backend->ledger, id, ret_transaction, ret_receipt, err);
    pthread_mutex_unlock(&backend->lock);
    return code;
}

static enum error_code latest(void *context, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err) {
    struct backend *backend = context;
    pthread_mutex_lock(&backend->lock);
    enum error_code code = ledger_latest(backend->ledger, locators, count, ret_versions, err);
    pthread_mutex_unlock(&backend->lock);
    return code;
}

static enum error_code history(void *context, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err) {
    struct backend *backend = context;
    pthread_mutex_lock(&backend->lock);
    enum error_code code = ledger_history(backend->ledger, locator, ret_versions, versions_max,
                                          ret_count, ret_total, err);
    pthread_mutex_unlock(&backend->lock);
    return code;
}

enum error_code backend_new(struct sync *sync, const char *node_socket, const char *genesis,
                            struct backend **ret_backend, struct error *err) {
    struct ledger *ledger = NULL;
    TRY(ledger_open(node_socket, genesis, &ledger, err));
    struct backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        ledger_close(ledger);
        return error_set(err, ERROR_NO_MEMORY, "no memory for the gateway");
    }
    backend->sync = sync;
    backend->ledger = ledger;
    pthread_mutex_init(&backend->lock, NULL);
    backend->calls = (struct rest_backend){
        .context = backend,
        .records_of_patient = records_of_patient_,
        .record_by_address = record_by_address,
        .status = status,
        .sync_start = start,
        .sync_cancel = cancel,
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
        .history = history,
    };
    *ret_backend = backend;
    return ERROR_NONE;
}

void backend_free(struct backend *backend) {
    if (backend == NULL)
        return;
    ledger_close(backend->ledger);
    pthread_mutex_destroy(&backend->lock);
    free(backend);
}

const struct rest_backend *backend_calls(const struct backend *backend) {
    return &backend->calls;
}
