#include "tests/unit/sync/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static const char mapping_text[] = "source: main\n"
                                   "connector: mysql\n"
                                   "connection:\n"
                                   "  database: emr\n"
                                   "charset: cp932\n"
                                   "tables:\n"
                                   "  - table: visits\n"
                                   "    category: EMR03\n"
                                   "    key: [id]\n"
                                   "    patient: patient\n";

void fixture_path_of(const struct fixture *f, const char *name, char ret_path[128]) {
    snprintf(ret_path, 128, "%s/%s", f->folder, name);
}

enum error_code fixture_try_open(struct fixture *f, struct error *err) {
    char mapping[128];
    char key[128];
    char vault[128];
    fixture_path_of(f, "main.yaml", mapping);
    fixture_path_of(f, "key.pem", key);
    fixture_path_of(f, "vault", vault);
    struct sync_source_options source = {.mapping = mapping,
                                         .deletions_percent_max = 10,
                                         .intervals = f->intervals,
                                         .tables = &f->table,
                                         .table_count = f->table.table != NULL};
    struct sync_options options = {.hospital = "st-luke",
                                   .vault = vault,
                                   .node_socket = "none",
                                   .genesis = "none",
                                   .signer = key,
                                   .worker_program = "none",
                                   .plugins = "none",
                                   .sources = &source,
                                   .source_count = 1};
    return sync_open(&options, &f->sync, err);
}

void fixture_open_sync(struct fixture *f) {
    struct error err = {0};
    enum error_code code = fixture_try_open(f, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, ERROR_NONE);
}

void fixture_restart(struct fixture *f) {
    sync_close(f->sync);
    f->sync = NULL;
    fixture_open_sync(f);
}

void fixture_write_mapping(struct fixture *f, const char *more) {
    char path[128];
    char text[1024];
    fixture_path_of(f, "main.yaml", path);
    snprintf(text, sizeof text, "%s%s", mapping_text, more);
    assert_int_equal(file_replace(path, bytes_text(text), 0600, NULL), ERROR_NONE);
}

int fixture_set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/renkei-test-sync-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return 1;
    fake_database_reset();
    fake_chain_reset();
    char path[128];
    fixture_path_of(f, "key.pem", path);
    if (ledger_signer_create(path, NULL) != ERROR_NONE)
        return 1;
    fixture_write_mapping(f, "");
    f->arena = arena_new(64 << 20);
    fixture_open_sync(f);
    *state = f;
    return 0;
}

int fixture_tear_down(void **state) {
    struct fixture *f = *state;
    sync_close(f->sync);
    arena_free(f->arena);
    const char *files[] = {"vault/data.mdb", "vault/lock.mdb", "vault/vault.lock", "main.yaml",
                           "key.pem"};
    char path[128];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        fixture_path_of(f, files[i], path);
        unlink(path);
    }
    fixture_path_of(f, "vault", path);
    rmdir(path);
    int rc = rmdir(f->folder);
    free(f);
    return rc;
}

struct sync_source_status fixture_status_of(struct fixture *f) {
    struct sync_status status;
    assert_int_equal(sync_status(f->sync, f->arena, &status, NULL), ERROR_NONE);
    return status.sources[0];
}

void fixture_start(struct fixture *f, const struct sync_request *r) {
    struct error err = {0};
    enum error_code code = sync_start(f->sync, r, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, ERROR_NONE);
}

struct sync_counts fixture_pass(struct fixture *f, enum sync_state expected) {
    fixture_start(f, &(struct sync_request){.source = "main", .mode = SYNC_FULL});
    /* A key set's note belongs to no source's batches. */
    assert_int_equal(sync_wait(f->sync, expected == SYNC_DONE ? NULL : "main", WAIT_MS, NULL),
                     ERROR_NONE);
    struct sync_source_status s = fixture_status_of(f);
    if (expected == SYNC_DONE)
        assert_string_equal(s.progress.error, "");
    assert_int_equal(s.progress.state, expected);
    assert_string_equal(fake_chain.broken != NULL ? fake_chain.broken : "", "");
    return s.progress.counts;
}

void fixture_put_many(size_t count) {
    for (size_t i = 0; i < count; i++) {
        char key[32];
        char patient[16];
        snprintf(key, sizeof key, "%zu", i);
        snprintf(patient, sizeof patient, "P%zu", i % 10);
        fake_put(key, patient, "text");
    }
}

void fixture_open_immutable(struct fixture *f) {
    sync_close(f->sync);
    f->sync = NULL;
    fixture_write_mapping(f, "    immutable: true\n");
    fixture_open_sync(f);
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
}

struct records fixture_records_of(struct fixture *f, const char *patient) {
    struct records records;
    struct error err = {0};
    struct records_query query = {.raw = true};
    enum error_code code =
        records_of_patient(f->sync, patient, &query, f->arena, &records, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, ERROR_NONE);
    return records;
}

struct record fixture_one_record(struct fixture *f, const char *key) {
    struct record record;
    struct error err = {0};
    char address[64];
    snprintf(address, sizeof address, "renkei://st-luke/main/visits/%s", key);
    struct records_query query = {.raw = true};
    enum error_code code =
        records_by_address(f->sync, address, NULL, &query, f->arena, &record, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, ERROR_NONE);
    return record;
}
