/* The vault: what is pending happens once, what was anchored stays, what is private is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/vault/backup.h"
#include "gateway/vault/vault.h"
#include "gateway/vault/vault_internal.h"

struct fixture {
    char folder[64];
    struct vault *vault;
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/renkei-test-vault-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return 1;
    *state = f;
    return (int)vault_open(f->folder, 64 << 20, 1000, &f->vault, NULL);
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    vault_close(f->vault);
    const char *files[] = {"data.mdb", "lock.mdb", "vault.lock"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", f->folder, files[i]);
        unlink(path);
    }
    int rc = rmdir(f->folder);
    free(f);
    return rc;
}

static void reopen(struct fixture *f) {
    vault_close(f->vault);
    f->vault = NULL;
    assert_int_equal(vault_open(f->folder, 64 << 20, 2000, &f->vault, NULL), ERROR_NONE);
}

static struct vault_table table_of(struct fixture *f, const char *name) {
    struct vault_table t;
    struct error err = {0};
    enum error_code code = vault_table(f->vault, name, &t, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, ERROR_NONE);
    return t;
}

/* A new record, or a new version of one. Digests are filled with marks made of the numbers. */
static struct vault_item item_of(uint64_t record, uint32_t version, enum leaf_operation operation,
                                 const char *key, const char *patient) {
    struct vault_item item = {.record = record, .version = version, .operation = operation,
                              .origin = version == 1 ? LEAF_DECLARED : LEAF_OBSERVED,
                              .mapping = 1, .date = 20110324, .key = bytes_text(key),
                              .patient = bytes_text(patient)};
    memset(item.locator.byte, key[0], LOCATOR_BYTES);
    memset(item.r, (int)version, VAULT_R_BYTES);
    memset(item.content.byte, (int)(0x10 + version), HASH_BYTES);
    memset(item.raw.byte, (int)(0x20 + version), HASH_BYTES);
    memset(item.leaf.byte, (int)(0x30 + version), HASH_BYTES);
    return item;
}

static enum error_code add(struct fixture *f, const char *name, struct vault_item *items,
                           uint32_t count, struct error *err) {
    struct vault_table t = table_of(f, name);
    uint64_t sequence;
    assert_int_equal(vault_sequence_next(f->vault, &sequence, NULL), ERROR_NONE);
    struct vault_pending p = {.sequence = sequence, .table = t.id, .batch = t.batches + 1,
                              .transaction = BYTES_LITERAL("signed bytes"), .items = items,
                              .item_count = count};
    return vault_pending_add(f->vault, &p, err);
}

static void decide(struct fixture *f, uint64_t sequence, bool committed) {
    struct vault_outcome o = {.committed = committed,
                              .anchor = {.sequence = sequence, .height = 7, .transaction_index = 2,
                                         .log_index = 40, .block_time_ms = 5000}};
    assert_int_equal(vault_pending_apply(f->vault, &o, 1, NULL), ERROR_NONE);
}

static bool find(struct fixture *f, const char *name, const char *key, struct vault_record *ret) {
    struct vault_table t = table_of(f, name);
    struct vault_view *view;
    bool found;
    assert_int_equal(vault_view_open(f->vault, &view, NULL), ERROR_NONE);
    assert_int_equal(vault_record_find(view, t.id, bytes_text(key), &found, ret, NULL),
                     ERROR_NONE);
    vault_view_close(view);
    return found;
}

static size_t of_patient(struct fixture *f, const char *patient, uint64_t *ids, size_t room) {
    struct vault_view *view;
    size_t count;
    assert_int_equal(vault_view_open(f->vault, &view, NULL), ERROR_NONE);
    assert_int_equal(vault_records_of_patient(view, bytes_text(patient), 0, ids, room, &count,
                                              NULL), ERROR_NONE);
    vault_view_close(view);
    return count;
}

static uint64_t waiting(struct fixture *f) {
    uint64_t count;
    assert_int_equal(vault_pending_count(f->vault, 0, &count, NULL), ERROR_NONE);
    return count;
}

static void files_are_private_and_one_process_has_them(void **state) {
    struct fixture *f = *state;
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/data.mdb", f->folder);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    struct vault *second;
    assert_int_equal(vault_open(f->folder, 0, 1, &second, NULL), ERROR_LOCKED);
}

static void a_pending_record_is_found_without_a_version_and_committed_once(void **state) {
    struct fixture *f = *state;
    struct vault_item items[2] = {item_of(0, 1, LEAF_CREATE, "a", "P1"),
                                  item_of(0, 1, LEAF_CREATE, "b", "P2")};
    assert_int_equal(add(f, "s/t", items, 2, NULL), ERROR_NONE);
    assert_int_equal(items[0].record, 1);
    assert_int_equal(items[1].record, 2);
    struct vault_record record;
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.version, 0);
    assert_int_equal(record.id, 1);

    reopen(f); /* as after a crash: the exact bytes are there to be sent again */
    uint64_t sequence;
    uint32_t table;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, 1000);
    assert_int_equal(vault_pending_read(f->vault, 0, &sequence, &table, &bytes, NULL), ERROR_NONE);
    assert_int_equal(sequence, 1);
    assert_int_equal(table, table_of(f, "s/t").id);
    assert_true(bytes_equal(buffer_bytes(&bytes), bytes_text("signed bytes")));

    decide(f, 1, true);
    decide(f, 1, true); /* twice is once */
    assert_int_equal(waiting(f), 0);
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.version, 1);
    assert_int_equal(record.latest.content.byte[5], 0x11);
    assert_int_equal(record.latest.raw.byte[31], 0x21);
    assert_int_equal(record.latest.r[0], 1);
    assert_int_equal(record.latest.leaf.byte[0], 0x31);
    assert_int_equal(record.latest.date, 20110324);
    assert_int_equal(record.latest.sequence, 1);
    assert_int_equal(record.observed_changes, 0);
    assert_memory_equal(record.key, "a", 1);
    assert_true(find(f, "s/t", "b", &record));
    assert_int_equal(record.latest.leaf_index, 1);
    assert_false(find(f, "s/t", "c", &record));
    assert_false(find(f, "s/other", "a", &record));
    assert_int_equal(table_of(f, "s/t").live, 2);
    assert_int_equal(table_of(f, "s/t").batches, 1);

    struct vault_view *view;
    struct vault_anchor anchor;
    assert_int_equal(vault_view_open(f->vault, &view, NULL), ERROR_NONE);
    assert_int_equal(vault_anchor_read(view, 1, &anchor, NULL), ERROR_NONE);
    assert_int_equal(vault_anchor_read(view, 2, &anchor, NULL), ERROR_NOT_FOUND);
    vault_view_close(view);
    assert_int_equal(anchor.height, 7);
    assert_int_equal(anchor.log_index, 40);
    assert_int_equal(anchor.leaf_count, 2);
    assert_int_equal(anchor.batch, 1);
}

static void a_transaction_without_effect_leaves_the_row_to_be_tried_again(void **state) {
    struct fixture *f = *state;
    struct vault_item item = item_of(0, 1, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &item, 1, NULL), ERROR_NONE);
    decide(f, 1, false);
    assert_int_equal(waiting(f), 0);
    assert_int_equal(table_of(f, "s/t").live, 0);
    struct vault_record record;
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.version, 0);

    struct vault_item again = item_of(record.id, 1, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &again, 1, NULL), ERROR_NONE);
    decide(f, 2, true);
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.version, 1);
    assert_int_equal(record.latest.sequence, 2);
    uint64_t ids[4];
    assert_int_equal(of_patient(f, "P1", ids, 4), 1);
}

static void earlier_versions_stay_and_observed_changes_are_counted(void **state) {
    struct fixture *f = *state;
    struct vault_item item = item_of(0, 1, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &item, 1, NULL), ERROR_NONE);
    decide(f, 1, true);
    struct vault_item second = item_of(1, 2, LEAF_MODIFY, "a", "P1");
    assert_int_equal(add(f, "s/t", &second, 1, NULL), ERROR_NONE);
    decide(f, 2, true);
    struct vault_item third = item_of(1, 3, LEAF_DELETE, "a", "");
    assert_int_equal(add(f, "s/t", &third, 1, NULL), ERROR_NONE);
    decide(f, 3, true);

    struct vault_record record;
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.operation, LEAF_DELETE);
    assert_int_equal(record.observed_changes, 2);
    assert_int_equal(table_of(f, "s/t").live, 0);
    assert_int_equal(table_of(f, "s/t").deleted, 1);
    struct vault_view *view;
    struct vault_version v;
    assert_int_equal(vault_view_open(f->vault, &view, NULL), ERROR_NONE);
    assert_int_equal(vault_version_read(view, &record, 1, &v, NULL), ERROR_NONE);
    assert_int_equal(v.r[9], 1);
    assert_int_equal(v.content.byte[0], 0x11);
    assert_int_equal(vault_version_read(view, &record, 2, &v, NULL), ERROR_NONE);
    assert_int_equal(v.origin, LEAF_OBSERVED);
    assert_int_equal(vault_version_read(view, &record, 3, &v, NULL), ERROR_NONE);
    assert_int_equal(v.operation, LEAF_DELETE);
    assert_int_equal(vault_version_read(view, &record, 4, &v, NULL), ERROR_NOT_FOUND);
    bool is;
    assert_int_equal(vault_record_is_of(view, &record, bytes_text("P1"), &is, NULL), ERROR_NONE);
    assert_true(is); /* a deleted record stays its patient's */
    assert_int_equal(vault_record_is_of(view, &record, bytes_text("P2"), &is, NULL), ERROR_NONE);
    assert_false(is);
    vault_view_close(view);

    struct vault_item back = item_of(1, 4, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &back, 1, NULL), ERROR_NONE);
    decide(f, 4, true);
    assert_int_equal(table_of(f, "s/t").live, 1);
    assert_int_equal(table_of(f, "s/t").deleted, 0);
}

static void a_patient_has_all_records_before_and_after_they_are_indexed(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 1000 };
    struct vault_item *items = calloc(COUNT, sizeof *items);
    char (*keys)[16] = calloc(COUNT, sizeof *keys);
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "k%04d", i);
        items[i] = item_of(0, 1, LEAF_CREATE, keys[i], i % 10 == 3 ? "P3" : "P9");
    }
    assert_int_equal(add(f, "s/t", items, COUNT, NULL), ERROR_NONE);
    uint64_t ids[COUNT];
    assert_int_equal(of_patient(f, "P3", ids, COUNT), 0); /* pending is not there yet */
    /* The table is passed while they are pending: they still come into the index. */
    assert_int_equal(vault_table_passed(f->vault, table_of(f, "s/t").id, 1, COUNT, 1, NULL),
                     ERROR_NONE);
    decide(f, 1, true);
    assert_int_equal(of_patient(f, "P3", ids, COUNT), 100);
    assert_int_equal(ids[0], 4);
    assert_int_equal(ids[99], 994);

    struct vault_item late = item_of(0, 1, LEAF_CREATE, "late", "P3");
    assert_int_equal(add(f, "s/t", &late, 1, NULL), ERROR_NONE);
    decide(f, 2, true);
    assert_int_equal(of_patient(f, "P3", ids, COUNT), 101); /* the last is not indexed */
    assert_int_equal(vault_table_passed(f->vault, table_of(f, "s/t").id, 2, COUNT, 1, NULL),
                     ERROR_NONE);
    assert_int_equal(of_patient(f, "P3", ids, COUNT), 101);
    assert_int_equal(ids[100], COUNT + 1);

    /* A row that goes to another patient goes in the index too. */
    struct vault_item moved = item_of(4, 2, LEAF_MODIFY, "k0003", "P9");
    assert_int_equal(add(f, "s/t", &moved, 1, NULL), ERROR_NONE);
    decide(f, 3, true);
    assert_int_equal(of_patient(f, "P3", ids, COUNT), 100);
    assert_int_equal(of_patient(f, "P9", ids, COUNT), 901);
    assert_int_equal(of_patient(f, "nobody", ids, COUNT), 0);
    free(keys);
    free(items);
}

static void records_that_move_in_great_numbers_are_all_there(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 4000, FLIGHT = 4 }; /* entries of a flight; the second has a transaction of its own */
    struct vault_item *items = calloc(COUNT, sizeof *items);
    char (*keys)[16] = calloc(COUNT, sizeof *keys);
    struct vault_outcome outcomes[FLIGHT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "k%04d", i);
        items[i] = item_of(0, 1, LEAF_CREATE, keys[i], "P3");
    }
    assert_int_equal(add(f, "s/t", items, COUNT, NULL), ERROR_NONE);
    decide(f, 1, true);
    for (uint32_t e = 0; e < FLIGHT; e++) {
        for (uint32_t i = 0; i < COUNT; i++)
            items[i] = item_of(i + 1, 2 + e, LEAF_MODIFY, keys[i], e % 2 == 0 ? "P9" : "P3");
        assert_int_equal(add(f, "s/t", items, COUNT / (1 + e), NULL), ERROR_NONE);
        outcomes[e] = (struct vault_outcome){.committed = true, .anchor = {.sequence = 2 + e}};
    }
    for (int times = 0; times < 2; times++) { /* as after an error */
        assert_int_equal(vault_pending_apply(f->vault, outcomes, FLIGHT, NULL), ERROR_NONE);
        assert_int_equal(waiting(f), 0);
        uint64_t ids[COUNT];
        assert_int_equal(of_patient(f, "P9", ids, COUNT), COUNT - COUNT / 2 + COUNT / 3 - COUNT / 4);
        assert_int_equal(of_patient(f, "P3", ids, COUNT), COUNT / 2 - COUNT / 3 + COUNT / 4);
    }
    struct vault_record record;
    assert_true(find(f, "s/t", "k0000", &record));
    assert_int_equal(record.latest.version, 1 + FLIGHT);
    free(keys);
    free(items);
}

static void a_doubled_key_and_a_wrong_number_are_refused_whole(void **state) {
    struct fixture *f = *state;
    struct vault_item items[2] = {item_of(0, 1, LEAF_CREATE, "a", "P1"),
                                  item_of(0, 1, LEAF_CREATE, "a", "P1")};
    assert_int_equal(add(f, "s/t", items, 2, NULL), ERROR_EXISTS);
    assert_int_equal(items[0].record, 0);
    assert_int_equal(waiting(f), 0);
    struct vault_record record;
    assert_false(find(f, "s/t", "a", &record));
    struct vault_pending p = {.sequence = 2, .transaction = BYTES_LITERAL("x")};
    assert_int_equal(vault_pending_add(f->vault, &p, NULL), ERROR_INTERNAL);
}

static void a_new_vault_may_start_where_the_chain_stands_and_an_old_one_may_not(void **state) {
    struct fixture *f = *state;
    uint64_t next;
    assert_int_equal(vault_sequence_start(f->vault, 12, NULL), ERROR_NONE);
    assert_int_equal(vault_sequence_next(f->vault, &next, NULL), ERROR_NONE);
    assert_int_equal(next, 12);
    struct error err;
    assert_int_equal(vault_sequence_start(f->vault, 20, &err), ERROR_CORRUPT);
    assert_string_equal(err.message, "the vault has given out transactions up to 11 already");
}

static void quarantine_keeps_one_entry_a_row_and_forgets_what_is_well_again(void **state) {
    struct fixture *f = *state;
    uint32_t t = table_of(f, "s/t").id;
    struct vault_quarantined rows[3] = {
        {.table = t, .key = BYTES_LITERAL("1"), .column = "name", .reason = "invalid-bytes",
         .code = 0x8320, .pass = 1, .first_ms = 10, .last_ms = 10},
        {.table = t, .key = BYTES_LITERAL("2"), .column = "name", .reason = "invalid-bytes",
         .pass = 1, .first_ms = 10, .last_ms = 10},
        {.table = t, .key = {NULL, 0}, .column = "id", .reason = "type", .pass = 1,
         .first_ms = 10, .last_ms = 10}};
    size_t kept;
    assert_int_equal(vault_quarantine_put(f->vault, rows, 3, &kept, NULL), ERROR_NONE);
    assert_int_equal(kept, 3);
    assert_int_equal(table_of(f, "s/t").quarantined, 3);
    rows[0].pass = rows[2].pass = 2;
    rows[0].first_ms = rows[0].last_ms = 20;
    assert_int_equal(vault_quarantine_put(f->vault, &rows[0], 1, &kept, NULL), ERROR_NONE);
    assert_int_equal(vault_quarantine_put(f->vault, &rows[2], 1, &kept, NULL), ERROR_NONE);
    assert_int_equal(vault_table_passed(f->vault, t, 2, 5, 21, NULL), ERROR_NONE);

    SCOPED_ARENA struct arena *arena = arena_new(1 << 20);
    struct vault_quarantined *list;
    size_t count;
    assert_int_equal(vault_quarantine_list(f->vault, 0, 0, 10, arena, &list, &count, NULL),
                     ERROR_NONE);
    assert_int_equal(count, 2);
    assert_true(bytes_equal(list[0].key, bytes_text("1")));
    assert_int_equal(list[0].first_ms, 10);
    assert_int_equal(list[0].last_ms, 20);
    assert_int_equal(list[0].code, 0x8320);
    assert_string_equal(list[1].column, "id");
    assert_int_equal(table_of(f, "s/t").quarantined, 2);
    assert_int_equal(table_of(f, "s/t").passes, 1);
    assert_int_equal(vault_quarantine_drop(f->vault, list[0].id, NULL), ERROR_NONE);
    assert_int_equal(vault_quarantine_drop(f->vault, list[0].id, NULL), ERROR_NOT_FOUND);
    assert_int_equal(table_of(f, "s/t").quarantined, 1);
}

static void a_key_is_enrolled_for_one_patient(void **state) {
    struct fixture *f = *state;
    struct vault_enrolment e = {.thumbprint = "abc", .patient = "999-99-9999",
                                .public_jwk = "{}", .enrolled_ms = 5};
    assert_int_equal(vault_enrolment_put(f->vault, &e, NULL), ERROR_NONE);
    assert_int_equal(vault_enrolment_put(f->vault, &e, NULL), ERROR_NONE);
    e.patient = "111";
    assert_int_equal(vault_enrolment_put(f->vault, &e, NULL), ERROR_EXISTS);
    e.thumbprint = "abd";
    assert_int_equal(vault_enrolment_put(f->vault, &e, NULL), ERROR_NONE);
    e.patient = "";
    assert_int_equal(vault_enrolment_put(f->vault, &e, NULL), ERROR_BAD_REQUEST);
    reopen(f);
    SCOPED_ARENA struct arena *arena = arena_new(1 << 20);
    struct vault_enrolment got;
    assert_int_equal(vault_enrolment_read(f->vault, "abc", arena, &got, NULL), ERROR_NONE);
    assert_string_equal(got.patient, "999-99-9999");
    struct vault_enrolment *list;
    size_t count;
    assert_int_equal(vault_enrolment_list(f->vault, "abc", 10, arena, &list, &count, NULL),
                     ERROR_NONE);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].patient, "111");
    assert_int_equal(vault_enrolment_remove(f->vault, "abc", NULL), ERROR_NONE);
    assert_int_equal(vault_enrolment_read(f->vault, "abc", arena, &got, NULL), ERROR_NOT_FOUND);
    uint64_t total;
    assert_int_equal(vault_enrolment_count(f->vault, &total, NULL), ERROR_NONE);
    assert_int_equal(total, 1);
}

static void mappings_counters_and_secrets_last(void **state) {
    struct fixture *f = *state;
    struct hash one = {{1}};
    struct hash two = {{2}};
    uint32_t id;
    uint8_t before[32];
    uint8_t after[32];
    vault_secret(f->vault, "key set", before);
    assert_int_equal(vault_mapping(f->vault, &one, BYTES_LITERAL("{1}"), &id, NULL), ERROR_NONE);
    assert_int_equal(id, 1);
    assert_int_equal(vault_mapping(f->vault, &two, BYTES_LITERAL("{2}"), &id, NULL), ERROR_NONE);
    assert_int_equal(id, 2);
    reopen(f);
    assert_int_equal(vault_mapping(f->vault, &one, BYTES_LITERAL("{1}"), &id, NULL), ERROR_NONE);
    assert_int_equal(id, 1);
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, 100);
    assert_int_equal(vault_mapping_read(f->vault, &two, &text, NULL), ERROR_NONE);
    assert_true(bytes_equal(buffer_bytes(&text), bytes_text("{2}")));
    uint64_t n;
    assert_int_equal(vault_count(f->vault, "pass/main", &n, NULL), ERROR_NONE);
    assert_int_equal(vault_count(f->vault, "pass/main", &n, NULL), ERROR_NONE);
    assert_int_equal(n, 2);
    buffer_clear(&text);
    assert_int_equal(vault_put(f->vault, "watermark", BYTES_LITERAL("2026"), NULL), ERROR_NONE);
    assert_int_equal(vault_get(f->vault, "watermark", &text, NULL), ERROR_NONE);
    assert_int_equal(vault_get(f->vault, "nothing", &text, NULL), ERROR_NONE);
    assert_true(bytes_equal(buffer_bytes(&text), bytes_text("2026")));
    vault_secret(f->vault, "key set", after);
    assert_memory_equal(before, after, 32);
    vault_secret(f->vault, "other", after);
    assert_memory_not_equal(before, after, 32);
}

static enum error_code count_row(void *context, uint64_t id, struct bytes key, struct error *err) {
    (void)err;
    uint64_t *sum = context;
    *sum += id * 1000 + key.len;
    return ERROR_NONE;
}

static void rows_of_one_table_are_visited_and_no_others(void **state) {
    struct fixture *f = *state;
    struct vault_item a = item_of(0, 1, LEAF_CREATE, "aa", "P1");
    struct vault_item b = item_of(0, 1, LEAF_CREATE, "bbb", "P1");
    assert_int_equal(add(f, "s/t", &a, 1, NULL), ERROR_NONE);
    assert_int_equal(add(f, "s/u", &b, 1, NULL), ERROR_NONE);
    struct vault_view *view;
    uint64_t sum = 0;
    assert_int_equal(vault_view_open(f->vault, &view, NULL), ERROR_NONE);
    assert_int_equal(vault_rows_visit(view, table_of(f, "s/u").id, count_row, &sum, NULL),
                     ERROR_NONE);
    assert_int_equal(sum, 2003);
    vault_view_close(view);
}

static void a_full_vault_says_so_and_goes_on_after_it_was_given_more(void **state) {
    struct fixture *f = *state;
    vault_close(f->vault);
    f->vault = NULL;
    assert_int_equal(vault_open(f->folder, 1 << 20, 3000, &f->vault, NULL), ERROR_NONE);
    static uint8_t large[200000];
    struct error err = {0};
    enum error_code code = ERROR_NONE;
    uint64_t added = 0;
    while (code == ERROR_NONE && added < 50) {
        uint64_t sequence;
        assert_int_equal(vault_sequence_next(f->vault, &sequence, NULL), ERROR_NONE);
        struct vault_pending p = {.sequence = sequence,
                                  .transaction = bytes_of(large, sizeof large)};
        code = vault_pending_add(f->vault, &p, &err);
        added += code == ERROR_NONE;
    }
    assert_int_equal(code, ERROR_DISK_FULL);
    assert_string_equal(err.message, "the vault has reached its size limit while writing");
    assert_int_equal(waiting(f), added);
    reopen(f);
    assert_int_equal(waiting(f), added);
    struct vault_item item = item_of(0, 1, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &item, 1, NULL), ERROR_NONE);
}

static void assert_restored(struct fixture *f, const char *folder) {
    vault_close(f->vault);
    f->vault = NULL;
    assert_int_equal(vault_open(folder, 64 << 20, 4000, &f->vault, NULL), ERROR_NONE);
    struct vault_record record;
    assert_true(find(f, "s/t", "a", &record));
    assert_int_equal(record.latest.version, 1);
    assert_false(find(f, "s/t", "later", &record));
    uint64_t ids[4];
    assert_int_equal(of_patient(f, "P1", ids, 4), 1); /* the vault's own secret came with it */
}

/* Flips one byte, or cuts the file, and hands it to the restore, which must put nothing there. */
static void assert_refused(const char *backup, const char *key, const char *folder, long at,
                           bool cut) {
    FILE *file = fopen(backup, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    at = at < 0 ? size + at : at;
    static uint8_t kept[1 << 20];
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    size_t count = fread(kept, 1, sizeof kept, file);
    uint8_t other = (uint8_t)(kept[0] ^ 1);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    if (cut)
        assert_int_equal(ftruncate(fileno(file), at), 0);
    else
        assert_int_equal(fwrite(&other, 1, 1, file), 1);
    assert_int_equal(fflush(file), 0);
    struct error err;
    assert_int_equal(backup_restore(backup, key, folder, &err), ERROR_CORRUPT);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(kept, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* From another process, as the command does it: one process has an LMDB environment open once. */
static enum error_code write_elsewhere(const char *folder, const char *key, const char *backup) {
    pid_t child = fork();
    if (child == 0)
        _exit((int)backup_write(folder, key, backup, NULL));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return (enum error_code)WEXITSTATUS(status);
}

static void a_backup_of_a_running_vault_restores_whole_or_not_at_all(void **state) {
    struct fixture *f = *state;
    struct vault_item item = item_of(0, 1, LEAF_CREATE, "a", "P1");
    assert_int_equal(add(f, "s/t", &item, 1, NULL), ERROR_NONE);
    decide(f, 1, true);
    static const uint8_t large[300000]; /* several chunks */
    assert_int_equal(vault_put(f->vault, "large", bytes_of(large, sizeof large), NULL),
                     ERROR_NONE);
    char key[96];
    char other_key[96];
    char backup[96];
    char folder[96];
    snprintf(key, sizeof key, "%s.key", f->folder);
    snprintf(other_key, sizeof other_key, "%s.other", f->folder);
    snprintf(backup, sizeof backup, "%s.backup", f->folder);
    snprintf(folder, sizeof folder, "%s.restored", f->folder);
    assert_int_equal(backup_key_create(key, NULL), ERROR_NONE);
    assert_int_equal(backup_key_create(key, NULL), ERROR_EXISTS);
    assert_int_equal(backup_key_create(other_key, NULL), ERROR_NONE);
    assert_int_equal(write_elsewhere(f->folder, key, backup), ERROR_NONE);
    assert_int_equal(write_elsewhere(f->folder, key, backup), ERROR_EXISTS);
    struct vault_item late = item_of(0, 1, LEAF_CREATE, "later", "P1");
    assert_int_equal(add(f, "s/t", &late, 1, NULL), ERROR_NONE);

    assert_refused(backup, key, folder, 11, false);    /* the salt */
    assert_refused(backup, key, folder, 5000, false);  /* a page */
    assert_refused(backup, key, folder, -3, false);    /* the last tag */
    assert_refused(backup, key, folder, -20, true);
    assert_refused(backup, key, folder, 42 + 65536 + 16, true); /* at a chunk's end */
    assert_int_equal(backup_restore(backup, other_key, folder, NULL), ERROR_CORRUPT);
    assert_int_equal(backup_restore(backup, key, f->folder, NULL), ERROR_EXISTS);
    assert_int_equal(backup_restore(backup, key, folder, NULL), ERROR_NONE);
    assert_restored(f, folder);
    vault_close(f->vault);
    assert_int_equal(vault_open(f->folder, 0, 1, &f->vault, NULL), ERROR_NONE);
    char path[128];
    const char *files[] = {"data.mdb", "lock.mdb", "vault.lock"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    unlink(key);
    unlink(other_key);
    unlink(backup);
}

/* As a crash leaves it: the pairs of some records are in the index, the mark is not moved yet. */
static void index_half(struct fixture *f, uint64_t patient, uint64_t record) {
    uint8_t pair[16];
    MDB_txn *txn = NULL;
    wire_store_u64(pair, patient);
    wire_store_u64(pair + 8, record);
    assert_int_equal(vault__begin(f->vault, 0, &txn, NULL), ERROR_NONE);
    assert_int_equal(vault__put(txn, f->vault->dbi[VAULT__PATIENT_RECORD], bytes_of(pair, 16),
                                bytes_of("", 0), 0, NULL), ERROR_NONE);
    assert_int_equal(vault__number_set(txn, f->vault, "indexing", record, NULL), ERROR_NONE);
    assert_int_equal(vault__commit(&txn, NULL), ERROR_NONE);
}

static void a_crash_while_indexing_shows_no_record_twice_and_to_nobody_else(void **state) {
    struct fixture *f = *state;
    struct vault_item first = item_of(0, 1, LEAF_CREATE, "1", "anna");
    assert_int_equal(add(f, "main/visits", &first, 1, NULL), ERROR_NONE);
    decide(f, 1, true);
    index_half(f, 1, 1);
    reopen(f);
    uint64_t ids[4];
    assert_int_equal(of_patient(f, "anna", ids, 4), 1);
    struct vault_item second = item_of(1, 2, LEAF_MODIFY, "1", "berta");
    assert_int_equal(add(f, "main/visits", &second, 1, NULL), ERROR_NONE);
    decide(f, 2, true);
    struct vault_table t = table_of(f, "main/visits");
    assert_int_equal(vault_table_passed(f->vault, t.id, 1, 1, 1000, NULL), ERROR_NONE);
    assert_int_equal(of_patient(f, "anna", ids, 4), 0);
    assert_int_equal(of_patient(f, "berta", ids, 4), 1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(files_are_private_and_one_process_has_them),
        CASE(a_pending_record_is_found_without_a_version_and_committed_once),
        CASE(a_transaction_without_effect_leaves_the_row_to_be_tried_again),
        CASE(earlier_versions_stay_and_observed_changes_are_counted),
        CASE(a_patient_has_all_records_before_and_after_they_are_indexed),
        CASE(a_crash_while_indexing_shows_no_record_twice_and_to_nobody_else),
        CASE(records_that_move_in_great_numbers_are_all_there),
        CASE(a_doubled_key_and_a_wrong_number_are_refused_whole),
        CASE(a_new_vault_may_start_where_the_chain_stands_and_an_old_one_may_not),
        CASE(quarantine_keeps_one_entry_a_row_and_forgets_what_is_well_again),
        CASE(a_key_is_enrolled_for_one_patient),
        CASE(mappings_counters_and_secrets_last),
        CASE(rows_of_one_table_are_visited_and_no_others),
        CASE(a_backup_of_a_running_vault_restores_whole_or_not_at_all),
        CASE(a_full_vault_says_so_and_goes_on_after_it_was_given_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
