/* Rows that were anchored under an earlier mapping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/vault/vault.h"
#include "tests/unit/sync/fixture.h"

static void a_new_mapping_is_counted_and_not_taken_for_tampering(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_database.mapping = 2;
    fake_database.forgets_mappings = true;
    assert_int_equal(fixture_one_record(f, "1").verdict, VERDICT_UNANCHORED);
    assert_int_equal(fake_chain.incidents, 0);
    /* Nobody can tell any more that the rows are the same: not silently, then. */
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified, 3);
    assert_int_equal(c.remapped, 0);
    assert_int_equal(fixture_one_record(f, "1").verdict, VERDICT_MATCH);
    assert_int_equal(fixture_one_record(f, "1").observed_changes, 1);
}

/* The origin of a record's latest version. */
static enum leaf_origin origin_of(struct fixture *f, const char *key) {
    return fixture_one_record(f, key).versions[0].leaf.origin;
}

static void a_new_mapping_alone_is_no_observed_change(void **state) {
    struct fixture *f = *state;
    fixture_put_many(6000);
    fixture_pass(f, SYNC_DONE);
    fake_database.mapping = 2;
    snprintf(fake_find("5999")->shadow, 8, "x"); /* by the back door */
    fixture_start(f, &(struct sync_request){.source = "main", .mode = SYNC_FULL, .dry_run = true});
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fixture_status_of(f).progress.counts.remapped, 5999);
    fake_database.lose_after = 5000; /* a pass that is cut, and a new program */
    assert_int_equal(fixture_pass(f, SYNC_FAILED).remapped, 5000);
    fake_database.lose_after = 0;
    fixture_restart(f);
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified + c.unchanged, 6000);
    assert_int_equal(c.modified, 6000 - VAULT_ITEMS_MAX);
    assert_int_equal(c.remapped, c.modified - 1);
    size_t observed = 0;
    for (size_t i = 6000; i < fake_chain.leaf_count; i++)
        observed += fake_chain.leaves[i].leaf.origin == LEAF_OBSERVED;
    assert_int_equal(observed, 1);
    assert_int_equal(origin_of(f, "0"), LEAF_DECLARED);
    assert_int_equal(fixture_one_record(f, "0").observed_changes, 0);
    assert_int_equal(origin_of(f, "5999"), LEAF_OBSERVED);
    assert_int_equal(fixture_one_record(f, "5999").observed_changes, 1);
    /* And under the same mapping a change is one. */
    snprintf(fake_find("0")->shadow, 8, "y");
    c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified, 1);
    assert_int_equal(c.remapped, 0);
    assert_int_equal(fixture_one_record(f, "0").observed_changes, 1);
}

static void a_row_that_stood_aside_is_compared_under_its_own_mapping_later(void **state) {
    struct fixture *f = *state;
    fixture_put_many(4);
    fixture_pass(f, SYNC_DONE);
    fake_find("1")->unreadable = true;
    fake_find("2")->unreadable = true;
    for (uint8_t mapping = 2; mapping < 5; mapping++) {
        fake_database.mapping = mapping;
        assert_int_equal(fixture_pass(f, SYNC_DONE).remapped, 2);
    }
    fixture_restart(f);
    fake_find("1")->unreadable = false;
    fake_find("2")->unreadable = false;
    snprintf(fake_find("2")->text, 32, "changed");
    assert_int_equal(fixture_pass(f, SYNC_DONE).remapped, 1);
    assert_int_equal(fixture_one_record(f, "1").observed_changes, 0);
    assert_int_equal(fixture_one_record(f, "2").observed_changes, 1);
}

static void a_new_mapping_hides_no_change_of_an_immutable_table(void **state) {
    struct fixture *f = *state;
    fixture_open_immutable(f);
    fake_database.mapping = 2;
    snprintf(fake_find("1")->text, 32, "changed");
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified, 2);
    assert_int_equal(c.remapped, 2);
    assert_int_equal(c.quarantined, 1);
    assert_int_equal(fixture_one_record(f, "1").verdict, VERDICT_MISMATCH);
    assert_int_equal(fixture_pass(f, SYNC_DONE).quarantined, 1);
}

static void more_mappings_than_are_kept_cost_the_proof_and_nothing_else(void **state) {
    struct fixture *f = *state;
    enum { ROWS = 40, KEPT = WORKER_EARLIER_MAX };
    fixture_put_many(ROWS);
    fixture_pass(f, SYNC_DONE);
    for (uint8_t mapping = 2; mapping < ROWS; mapping++) { /* one row stays under each */
        fake_database.rows[mapping].unreadable = true;
        fake_database.mapping = mapping;
        fixture_pass(f, SYNC_DONE);
    }
    for (size_t i = 0; i < ROWS; i++)
        fake_database.rows[i].unreadable = false;
    fake_database.mapping = ROWS;
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified, ROWS);
    assert_int_equal(c.remapped, KEPT + 1); /* the last has two rows */
    assert_int_equal(fixture_one_record(f, "2").observed_changes, 1);
    assert_int_equal(fixture_one_record(f, "39").observed_changes, 0);
    assert_int_equal(fixture_pass(f, SYNC_DONE).unchanged, ROWS);
}

static void a_row_is_compared_under_the_mapping_that_it_was_anchored_by(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_database.mapping = 2;
    struct record record = fixture_one_record(f, "1");
    assert_int_equal(record.verdict, VERDICT_MATCH);
    /* What is shown is what was anchored: only that can be checked. */
    assert_string_equal(record.category, "EMR01");
    assert_non_null(memmem(record.document.data, record.document.len, "{\"m\":1,", 7));
    assert_true(hash_equal(&record.live_content, &record.versions[0].leaf.content));
    assert_true(hash_equal(&record.live_raw, &record.versions[0].leaf.raw));
    assert_true(hash_equal(&record.live_mapping, &record.versions[0].leaf.mapping));
    snprintf(fake_find("1")->text, sizeof fake_find("1")->text, "changed");
    record = fixture_one_record(f, "1");
    assert_int_equal(record.verdict, VERDICT_MISMATCH);
    assert_non_null(memmem(record.document.data, record.document.len, "{\"m\":2,", 7));
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fake_chain.incidents, 1);
    assert_int_equal(fixture_one_record(f, "2").verdict, VERDICT_MATCH);
    fake_find("2")->unreadable = true; /* under either */
    assert_int_equal(fixture_one_record(f, "2").verdict, VERDICT_WITHHELD);
    fake_find("2")->unreadable = false;
    assert_int_equal(fixture_pass(f, SYNC_DONE).remapped, 2);
    record = fixture_one_record(f, "1");
    assert_int_equal(record.observed_changes, 1);
    assert_int_equal(record.verdict, VERDICT_MATCH);
    assert_non_null(memmem(record.document.data, record.document.len, "{\"m\":2,", 7));
}

static void a_column_that_is_not_read_any_more_is_not_shown(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_database.mapping = 2;
    fake_database.columns_read = 2;
    struct record record = fixture_one_record(f, "1");
    assert_int_equal(record.verdict, VERDICT_UNANCHORED);
    assert_non_null(memmem(record.document.data, record.document.len, "{\"m\":2,", 7));
    /* That it was changed is said all the same. */
    snprintf(fake_find("1")->text, sizeof fake_find("1")->text, "changed");
    assert_int_equal(fixture_one_record(f, "1").verdict, VERDICT_MISMATCH);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_new_mapping_is_counted_and_not_taken_for_tampering),
        CASE(a_new_mapping_alone_is_no_observed_change),
        CASE(a_row_that_stood_aside_is_compared_under_its_own_mapping_later),
        CASE(a_new_mapping_hides_no_change_of_an_immutable_table),
        CASE(more_mappings_than_are_kept_cost_the_proof_and_nothing_else),
        CASE(a_row_is_compared_under_the_mapping_that_it_was_anchored_by),
        CASE(a_column_that_is_not_read_any_more_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
