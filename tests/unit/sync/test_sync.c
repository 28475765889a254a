/* Passes, restarts and verdicts over a database and a chain that fail when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "gateway/sync/keyset.h"
#include "tests/unit/sync/fixture.h"

/* -------------------------------------------------------------------------------- passes ---- */

static void a_first_pass_anchors_every_row_once_and_a_second_nothing(void **state) {
    struct fixture *f = *state;
    fixture_put_many(10000);
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.read, 10000);
    assert_int_equal(c.created, 10000);
    assert_int_equal(c.anchored, 10000);
    assert_int_equal(fake_chain.leaf_count, 10000);
    assert_int_equal(fake_chain.committed, 4); /* 4096 + 4096 + 1808, and the key set */
    assert_int_equal(fake_chain.leaves[0].leaf.origin, LEAF_OBSERVED);
    c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.unchanged, 10000);
    assert_int_equal(fake_chain.leaf_count, 10000);
    struct sync_source_status s = fixture_status_of(f);
    assert_int_equal(s.tables[0].records, 10000);
    assert_int_equal(s.tables[0].batches, 3);
    assert_int_equal(s.progress.pass, 2);
    assert_int_equal(s.pending, 0);
    assert_true(s.last_pass_ms > 0);
}

static void changes_deletions_and_returns_become_versions_of_one_record(void **state) {
    struct fixture *f = *state;
    fixture_put_many(5);
    fixture_pass(f, SYNC_DONE);
    snprintf(fake_find("1")->text, 32, "changed");
    snprintf(fake_find("2")->shadow, 8, "12:30");
    fake_remove("3");
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified, 2);
    assert_int_equal(c.deleted, 1);
    assert_int_equal(c.unchanged, 2);
    assert_int_equal(fake_chain.leaf_count, 8);
    assert_int_equal(fixture_status_of(f).tables[0].records, 4);
    assert_int_equal(fixture_status_of(f).tables[0].deleted, 1);
    c = fixture_pass(f, SYNC_DONE); /* what was deleted is not deleted again */
    assert_int_equal(c.deleted, 0);
    fake_put("3", "P3", "back");
    c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.created, 1);
    assert_int_equal(fake_chain.leaf_count, 9);
    assert_int_equal(fake_chain.leaves[8].leaf.version, 3);
    assert_int_equal(fake_chain.leaves[8].leaf.operation, LEAF_CREATE);
}

static void a_declared_pass_says_so_on_the_chain(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL, .declared = true});
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fake_chain.leaves[2].leaf.origin, LEAF_DECLARED);
}

static void a_dry_run_counts_and_leaves_nothing(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_put("new", "P1", "text");
    fake_remove("1");
    fake_put("bad", "P1", "text")->unreadable = true;
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL, .dry_run = true});
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    struct sync_source_status s = fixture_status_of(f);
    assert_int_equal(s.progress.counts.created, 1);
    assert_int_equal(s.progress.counts.deleted, 1);
    assert_int_equal(s.progress.counts.quarantined, 1);
    assert_int_equal(s.tables[0].quarantined, 0);
    assert_int_equal(fake_chain.leaf_count, 3);
}

static void a_pass_that_was_not_whole_deletes_nothing(void **state) {
    struct fixture *f = *state;
    fixture_put_many(6000);
    fake_database.lose_after = 5000;
    fixture_pass(f, SYNC_FAILED);
    assert_string_equal(fixture_status_of(f).progress.error, "main: the connection was lost");
    assert_string_equal(fixture_status_of(f).error, "main: the connection was lost");
    assert_int_equal(fake_chain.leaf_count, 4096); /* what was full stays anchored */
    fake_database.lose_after = 0;
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.unchanged, 4096);
    assert_int_equal(c.created, 6000 - 4096);
    assert_int_equal(fixture_status_of(f).failures, 0);
    fake_database.lose_after = 1000;
    c = fixture_pass(f, SYNC_FAILED);
    assert_int_equal(c.deleted, 0);
    assert_int_equal(fake_chain.leaf_count, 6000);
}

static void a_row_that_a_reader_missed_is_not_called_deleted(void **state) {
    struct fixture *f = *state;
    fixture_put_many(5);
    fixture_pass(f, SYNC_DONE);
    fake_find("2")->hidden_from_pull = true;
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.read, 4);
    assert_int_equal(c.deleted, 0);
    assert_int_equal(fake_chain.leaf_count, 5);
}

static struct sync_keyset keyset_of(struct fixture *f) {
    const struct sync_keyset *list;
    size_t count = 0;
    assert_int_equal(sync_keysets(f->sync, "main", f->arena, &list, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 1);
    return list[0];
}

static void a_whole_pass_anchors_which_keys_there_were(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    assert_int_equal(keyset_of(f).pass, 0);
    fixture_pass(f, SYNC_DONE);
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    struct sync_keyset first = keyset_of(f);
    assert_int_equal(first.count, 3);
    assert_int_equal(first.sequence, 2);
    assert_int_equal(first.height, 2);
    assert_int_equal(fake_chain.notes, 1);
    fixture_start(f, &(struct sync_request){.source = "main", .mode = SYNC_KEYS});
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    struct sync_keyset second = keyset_of(f);
    assert_memory_equal(&second.root, &first.root, sizeof first.root);
    assert_int_equal(second.mode, SYNC_KEYS);
    fake_put("new", "P1", "text");
    fake_find("new")->unreadable = true; /* it is not anchored, but it is there */
    fixture_pass(f, SYNC_DONE);
    struct sync_keyset third = keyset_of(f);
    assert_int_equal(third.count, 4);
    assert_memory_not_equal(&third.root, &first.root, sizeof first.root);
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL, .dry_run = true});
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(keyset_of(f).pass, third.pass);
    fake_database.lose_after = 2;
    fixture_pass(f, SYNC_FAILED);
    assert_int_equal(keyset_of(f).pass, third.pass);
    assert_int_equal(fake_chain.notes, 3);
}

static int compare_hashes(const void *a, const void *b) {
    return memcmp(a, b, HASH_BYTES);
}

/* RFC 6962, 2.1, as it is written there. */
static struct hash tree_hash(const struct hash *leaves, size_t count) {
    if (count == 1) {
        struct bytes leaf[2] = {bytes_of("", 1), hash_bytes(&leaves[0])};
        return sha256_of_parts(leaf, 2);
    }
    size_t left = 1;
    while (left * 2 < count)
        left *= 2;
    struct hash a = tree_hash(leaves, left);
    struct hash b = tree_hash(leaves + left, count - left);
    struct bytes node[3] = {BYTES_LITERAL("\1"), hash_bytes(&a), hash_bytes(&b)};
    return sha256_of_parts(node, 3);
}

static void a_key_set_that_is_sorted_in_a_file_has_the_same_root(void **state) {
    static const size_t sizes[] = {1, 2, 7, 256, 257, 512, 5000, 300000};
    struct fixture *f = *state;
    uint8_t secret[32] = {1, 2, 3};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t size = sizes[s];
        struct hash *all = malloc(size * sizeof *all);
        struct sync__keyset *k;
        assert_int_equal(sync__keyset_new(f->folder, secret, &k, NULL), ERROR_NONE);
        for (size_t i = 0; i < size; i++) {
            char key[24];
            snprintf(key, sizeof key, "%zu", i);
            struct bytes text = bytes_text(key);
            all[i] = hmac_sha256(bytes_of(secret, 32), text);
            assert_int_equal(sync__keyset_add(k, &text, 1, NULL), ERROR_NONE);
            if (i % 1000 == 0) /* a second time */
                assert_int_equal(sync__keyset_add(k, &text, 1, NULL), ERROR_NONE);
        }
        qsort(all, size, sizeof *all, compare_hashes);
        struct hash expected = tree_hash(all, size);
        struct hash root;
        uint64_t count;
        assert_int_equal(sync__keyset_root(k, &root, &count, NULL), ERROR_NONE);
        assert_int_equal(count, size);
        assert_memory_equal(&root, &expected, sizeof root);
        sync__keyset_free(k);
        free(all);
    }
}

/* Waits for the end of the pass of this number, which nobody asked for. */
static struct sync_progress scheduled_pass(struct fixture *f, uint64_t number) {
    struct sync_progress p = fixture_status_of(f).progress;
    for (int i = 0; i < WAIT_MS / 10 && (p.pass < number || p.state != SYNC_DONE); i++) {
        clock_sleep_ms(10);
        p = fixture_status_of(f).progress;
    }
    assert_int_equal(p.pass, number);
    assert_int_equal(p.state, SYNC_DONE);
    return p;
}

static void each_mode_has_its_own_interval(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    f->intervals = (struct sync_intervals){.full_s = 3600, .keys_s = 1};
    fixture_restart(f);
    assert_int_equal(scheduled_pass(f, 1).mode, SYNC_FULL);
    assert_true(fixture_status_of(f).next_pass_ms > 0);
    assert_int_equal(scheduled_pass(f, 2).mode, SYNC_KEYS);
    assert_int_equal(scheduled_pass(f, 3).mode, SYNC_KEYS);
}

static void a_table_with_an_interval_of_its_own_is_left_out_of_the_source_s(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    f->intervals = (struct sync_intervals){.full_s = 3600};
    f->table = (struct sync_table_options){"visits", {.full_s = 3600, .keys_s = 3600}};
    fixture_restart(f);
    struct sync_progress first = scheduled_pass(f, 2);
    assert_int_equal(first.tables, 1); /* of the two passes, the later one is the table's */
    assert_int_equal(first.counts.read, 3);
    assert_int_equal(fixture_status_of(f).tables[0].records, 3);
}

static void intervals_that_cannot_be_kept_are_refused(void **state) {
    struct fixture *f = *state;
    struct error err = {0};
    sync_close(f->sync);
    f->sync = NULL;
    f->intervals = (struct sync_intervals){.watermark_s = 60};
    assert_int_equal(fixture_try_open(f, &err), ERROR_CONFIG);
    assert_non_null(strstr(err.message, "passes by watermark are asked for, but no table has a "
                                        "watermark: in the mapping"));
    f->intervals = (struct sync_intervals){0};
    f->table = (struct sync_table_options){"visit", {.full_s = 60}};
    assert_int_equal(fixture_try_open(f, &err), ERROR_CONFIG);
    assert_non_null(strstr(err.message, "has no table 'visit', which gateway.yaml gives "
                                        "intervals"));
}

static void accept_deletions(struct fixture *f, enum sync_state expected) {
    fixture_start(f, &(struct sync_request){.source = "main", .table = "visits", .mode = SYNC_FULL,
                                    .accept_deletions = true});
    assert_int_equal(sync_wait(f->sync, "main", WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fixture_status_of(f).progress.state, expected);
}

static void many_vanished_rows_are_held_back_until_somebody_has_looked(void **state) {
    struct fixture *f = *state;
    fixture_put_many(1000);
    fixture_pass(f, SYNC_DONE);
    for (size_t i = 0; i < 101; i++) {
        char key[16];
        snprintf(key, sizeof key, "%zu", i);
        fake_remove(key);
    }
    fake_put("new", "P1", "text");
    struct sync_counts c = fixture_pass(f, SYNC_FAILED);
    assert_int_equal(c.deleted, 0);
    assert_int_equal(c.created, 1);
    assert_int_equal(fake_chain.leaf_count, 1001); /* what is new is anchored all the same */
    struct sync_source_status s = fixture_status_of(f);
    assert_int_equal(s.code, ERROR_VANISHED);
    assert_string_equal(s.error, "main/visits: 101 of its 1000 records have vanished from the "
                                 "database, at most 10 % are anchored as deleted unasked");
    assert_string_equal(s.hint, "look at the database first; if the rows are gone: renkei sync "
                                "main --accept-deletions visits");
    assert_int_equal(s.tables[0].vanished, 101);
    fixture_pass(f, SYNC_FAILED); /* asking again is not looking */
    struct error err = {0};
    assert_int_equal(sync_start(f->sync, &(struct sync_request){.mode = SYNC_FULL,
                                                                .accept_deletions = true}, &err),
                     ERROR_BAD_REQUEST);
    assert_string_equal(err.message, "deletions are accepted of one table, not of all");
    accept_deletions(f, SYNC_DONE);
    s = fixture_status_of(f);
    assert_int_equal(s.progress.counts.deleted, 101);
    assert_int_equal(s.tables[0].vanished, 0);
    assert_int_equal(s.tables[0].records, 900);
    assert_int_equal(s.code, ERROR_NONE);
}

static void a_share_of_deletions_is_ordinary_and_an_emptied_table_is_not(void **state) {
    struct fixture *f = *state;
    fixture_put_many(1000);
    fixture_pass(f, SYNC_DONE);
    for (size_t i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%zu", i);
        fake_remove(key);
    }
    assert_int_equal(fixture_pass(f, SYNC_DONE).deleted, 100);
    size_t leaves = fake_chain.leaf_count;
    fake_database_reset(); /* a new, empty database behind the same name */
    fixture_start(f, &(struct sync_request){.source = "main", .mode = SYNC_KEYS});
    assert_int_equal(sync_wait(f->sync, "main", WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fixture_status_of(f).progress.state, SYNC_FAILED);
    fixture_pass(f, SYNC_FAILED);
    assert_int_equal(fixture_status_of(f).tables[0].vanished, 900);
    assert_int_equal(fake_chain.leaf_count, leaves);
    fixture_put_many(1000); /* the right one is back */
    assert_int_equal(fixture_pass(f, SYNC_DONE).unchanged, 900);
    assert_int_equal(fixture_status_of(f).tables[0].vanished, 0);
}

static void an_unreadable_row_is_kept_aside_and_is_not_deleted(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_find("1")->unreadable = true;
    fake_put("9", "P9", "x")->unreadable = true;
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.quarantined, 2);
    assert_int_equal(c.deleted, 0);
    const struct sync_quarantined *rows;
    size_t count;
    assert_int_equal(sync_quarantine_list(f->sync, "main", 0, 10, f->arena, &rows, &count, NULL),
                     ERROR_NONE);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].key, "1");
    assert_string_equal(rows[0].column, "text");
    assert_string_equal(rows[0].reason, "invalid-bytes");
    assert_int_equal(rows[0].code, 0x8320);
    assert_true(rows[0].anchored);
    assert_false(rows[1].anchored);
    fake_find("1")->unreadable = false;
    c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.unchanged, 3);
    assert_int_equal(fixture_status_of(f).tables[0].quarantined, 1);
}

static struct sync_counts replay(struct fixture *f) {
    fixture_start(f, &(struct sync_request){.source = "main", .mode = SYNC_REPLAY});
    assert_int_equal(sync_wait(f->sync, "main", WAIT_MS, NULL), ERROR_NONE);
    struct sync_source_status s = fixture_status_of(f);
    assert_string_equal(s.progress.error, "");
    assert_int_equal(s.progress.state, SYNC_DONE);
    assert_string_equal(fake_chain.broken != NULL ? fake_chain.broken : "", "");
    return s.progress.counts;
}

static void a_replay_reads_only_the_rows_in_quarantine_and_takes_up_what_is_well(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fake_find("1")->unreadable = true;
    fake_put("8", "P8", "x")->unreadable = true;
    fake_put("9", "P9", "x")->unreadable = true;
    assert_int_equal(fixture_pass(f, SYNC_DONE).quarantined, 3);
    assert_int_equal(fake_chain.leaf_count, 2);
    struct sync_counts c = replay(f); /* nothing is well yet */
    assert_int_equal(c.read, 3);
    assert_int_equal(c.quarantined, 3);
    assert_int_equal(fixture_status_of(f).tables[0].quarantined, 3);
    fake_find("1")->unreadable = false;
    fake_remove("8");
    fake_put("7", "P7", "a new row is not a replay's business");
    c = replay(f);
    assert_int_equal(c.read, 2);
    assert_int_equal(c.created, 1);
    assert_int_equal(c.quarantined, 1);
    assert_int_equal(c.deleted, 0);
    assert_int_equal(fake_chain.leaf_count, 3);
    assert_int_equal(fixture_status_of(f).tables[0].quarantined, 1);
    const struct sync_quarantined *rows;
    size_t count;
    assert_int_equal(sync_quarantine_list(f->sync, NULL, 0, 10, f->arena, &rows, &count, NULL),
                     ERROR_NONE);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].key, "9");
    assert_int_equal(fixture_pass(f, SYNC_DONE).created, 1);
}

static void the_character_report_outlives_a_restart(void **state) {
    struct fixture *f = *state;
    const struct sync_characters *reports;
    size_t count;
    assert_int_equal(sync_characters(f->sync, NULL, f->arena, &reports, &count, NULL), ERROR_NONE);
    assert_int_equal(count, 0);
    fixture_put_many(2);
    fake_database.wave_dashes = 5;
    fixture_pass(f, SYNC_DONE);
    fake_database.wave_dashes = 2;
    fixture_pass(f, SYNC_DONE);
    fixture_restart(f);
    assert_int_equal(sync_characters(f->sync, "main", f->arena, &reports, &count, NULL),
                     ERROR_NONE);
    assert_int_equal(count, 1);
    assert_string_equal(reports[0].source, "main");
    assert_int_equal(reports[0].rows, 2);
    assert_int_equal(reports[0].passes, 1);
    assert_int_equal(reports[0].beyond, 1);
    assert_int_equal(reports[0].count, 1);
    assert_string_equal(reports[0].list[0].column, "text");
    assert_string_equal(reports[0].list[0].kind, "wave-dash");
    assert_int_equal(reports[0].list[0].code, 0x8160);
    assert_int_equal(reports[0].list[0].count, 2); /* a full pass replaces what was before */
    assert_string_equal(reports[0].list[0].sample_key, "0");
    struct error err;
    assert_int_equal(sync_characters(f->sync, "nobody", f->arena, &reports, &count, &err),
                     ERROR_NOT_FOUND);
    assert_string_equal(err.message, "there is no source 'nobody'");
}

static void rows_with_one_key_are_one_record_and_a_complaint(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fake_put("1", "P7", "the same key");
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.created, 3);
    assert_int_equal(c.quarantined, 1);
    fake_database.batch_rows = 2; /* and where they come in two batches */
    c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.quarantined, 1);
    assert_int_equal(fake_chain.leaf_count, 3);
}

static void an_immutable_table_raises_an_alarm_and_anchors_no_change(void **state) {
    struct fixture *f = *state;
    fixture_open_immutable(f);
    snprintf(fake_find("1")->text, 32, "changed");
    fake_remove("2");
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.modified + c.deleted, 0);
    assert_int_equal(c.quarantined, 2);
    assert_int_equal(fake_chain.leaf_count, 3);
    assert_int_equal(fixture_one_record(f, "1").verdict, VERDICT_MISMATCH);
    assert_int_equal(fixture_one_record(f, "2").verdict, VERDICT_MISSING);
}

static void a_cancelled_pass_says_so(void **state) {
    struct fixture *f = *state;
    fixture_put_many(20000);
    fake_chain.down = true; /* so that the pass waits for the chain in its middle or at its end */
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL});
    while (fixture_status_of(f).progress.state != SYNC_ANCHORING)
        usleep(1000);
    assert_int_equal(sync_start(f->sync, &(struct sync_request){.mode = SYNC_FULL}, NULL),
                     ERROR_BUSY);
    assert_int_equal(sync_cancel(f->sync, "main", NULL), ERROR_NONE);
    while (fixture_status_of(f).progress.state == SYNC_ANCHORING)
        usleep(1000);
    assert_int_equal(fixture_status_of(f).progress.state, SYNC_CANCELLED);
    fake_chain.down = false;
    assert_int_equal(fixture_pass(f, SYNC_DONE).unchanged, 20000);
    assert_int_equal(fake_chain.leaf_count, 20000);
}

static void a_wrong_name_is_named(void **state) {
    struct fixture *f = *state;
    struct error err;
    assert_int_equal(sync_start(f->sync, &(struct sync_request){.source = "mian",
                                .mode = SYNC_FULL}, &err), ERROR_NOT_FOUND);
    assert_string_equal(err.message, "there is no source 'mian'");
    assert_int_equal(sync_start(f->sync, &(struct sync_request){.source = "main",
                                .table = "vists", .mode = SYNC_FULL}, &err), ERROR_NOT_FOUND);
    assert_string_equal(err.message, "the source 'main' has no table 'vists'");
    assert_int_equal(sync_start(f->sync, &(struct sync_request){.mode = SYNC_WATERMARK}, &err),
                     ERROR_MAPPING);
}

/* ------------------------------------------------------------------------------ restarts ---- */

static void what_was_pending_is_sent_again_byte_for_byte(void **state) {
    struct fixture *f = *state;
    fixture_put_many(10000);
    fake_chain.down = true;
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL});
    while (fixture_status_of(f).progress.state != SYNC_ANCHORING)
        usleep(1000);
    assert_int_equal(fixture_status_of(f).pending, 3);
    sync_close(f->sync);
    f->sync = NULL;
    fake_chain.down = false;
    fixture_open_sync(f);
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.unchanged, 10000);
    assert_int_equal(fake_chain.leaf_count, 10000);
}

static void a_lost_reply_does_not_anchor_twice(void **state) {
    struct fixture *f = *state;
    fixture_put_many(10000);
    fake_chain.drop_reply = true;
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.created, 10000);
    assert_int_equal(fake_chain.leaf_count, 10000);
    assert_true(fake_chain.submissions > fake_chain.committed);
    fixture_restart(f);
    assert_int_equal(fixture_pass(f, SYNC_DONE).unchanged, 10000);
}

static void a_transaction_without_effect_fails_the_pass_and_the_next_repairs_it(void **state) {
    struct fixture *f = *state;
    fixture_put_many(10000);
    fake_chain.without_effect = 2;
    fixture_pass(f, SYNC_FAILED);
    assert_string_equal(fixture_status_of(f).progress.error,
                        "an anchor is on the chain without effect: test");
    assert_int_equal(fake_chain.leaf_count, 10000 - 4096);
    struct sync_counts c = fixture_pass(f, SYNC_DONE);
    assert_int_equal(c.created, 4096);
    assert_int_equal(fake_chain.leaf_count, 10000);
}

static void a_vault_older_than_the_chain_anchors_nothing(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    sync_close(f->sync);
    f->sync = NULL;
    char path[128];
    fixture_path_of(f, "vault/data.mdb", path);
    unlink(path);
    fake_chain.sequences_asked = 0;
    fixture_open_sync(f);
    fixture_start(f, &(struct sync_request){.mode = SYNC_FULL});
    struct sync_status status;
    do { /* what the pass may have put in meanwhile hides nothing when it is asked again */
        usleep(1000);
        assert_int_equal(sync_status(f->sync, f->arena, &status, NULL), ERROR_NONE);
    } while (status.ledger_code == ERROR_NONE || fake_chain.sequences_asked < 5);
    assert_string_equal(status.ledger_error, "the chain has 2 transactions of this gateway's key, "
                                             "the vault knows of 0");
    assert_int_equal(fake_chain.leaf_count, 3);
}

/* ------------------------------------------------------------------------------ verdicts ---- */

static void every_record_has_its_verdict(void **state) {
    struct fixture *f = *state;
    const char *keys[] = {"1", "2", "3", "4"};
    for (size_t i = 0; i < 4; i++)
        fake_put(keys[i], "P1", "text");
    fake_put("other", "P2", "text");
    fixture_pass(f, SYNC_DONE);
    snprintf(fake_find("2")->text, 32, "changed");
    snprintf(fake_find("3")->shadow, 8, "12:30");
    fake_remove("4");
    fake_put("5", "P1", "new");
    struct records all = fixture_records_of(f, "P1");
    assert_int_equal(all.count, 5);
    assert_int_equal(all.error_count, 0);
    assert_false(all.more);
    assert_string_equal(all.items[0].address, "renkei://st-luke/main/visits/1");
    assert_int_equal(all.items[0].verdict, VERDICT_MATCH);
    assert_int_equal(all.items[1].verdict, VERDICT_MISMATCH);
    assert_int_equal(all.items[2].verdict, VERDICT_MISMATCH); /* what the shown form drops */
    assert_int_equal(all.items[3].verdict, VERDICT_MISSING);
    assert_int_equal(all.items[4].verdict, VERDICT_UNANCHORED);
    const struct record *match = &all.items[0];
    assert_int_equal(match->version_count, 1);
    assert_true(match->versions[0].has_r);
    assert_int_equal(match->anchored_since_ms, 1000001);
    assert_string_equal(match->date, "2011/03/24");
    assert_string_equal(match->category, "EMR03");
    assert_int_equal(match->field_count, 2);
    assert_string_equal(match->fields[0].name, "patient");
    assert_true(match->fields[0].personal);
    struct bytes parts[3] = {BYTES_LITERAL("renkei/content/1\n"),
                             bytes_of(match->versions[0].r, 32), match->document};
    struct hash again = sha256_of_parts(parts, 3); /* as a patient checks it */
    assert_true(hash_equal(&again, &match->versions[0].leaf.content));
    assert_int_equal(all.items[3].document.len, 0);
    assert_string_equal(all.items[3].date, "2011/03/24");

    fixture_pass(f, SYNC_DONE);
    all = fixture_records_of(f, "P1");
    for (size_t i = 0; i < all.count; i++)
        assert_int_equal(all.items[i].verdict, VERDICT_MATCH);
    assert_int_equal(all.items[1].version_total, 2);
    assert_int_equal(all.items[1].observed_changes, 1);
    assert_int_equal(all.items[1].versions[1].leaf.version, 1);
    assert_true(all.items[1].versions[1].has_r);
    assert_int_equal(all.items[3].versions[0].leaf.operation, LEAF_DELETE);
    assert_int_equal(all.items[3].document.len, 0);
}

static void a_node_that_is_behind_is_waited_for(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    fake_put("9", "P9", "new");
    fixture_pass(f, SYNC_DONE);
    fake_chain.behind = 3; /* it does not know the record yet */
    assert_int_equal(fixture_one_record(f, "9").verdict, VERDICT_MATCH);
    assert_int_equal(fake_chain.behind, 0);
    snprintf(fake_find("9")->text, sizeof fake_find("9")->text, "changed");
    fixture_pass(f, SYNC_DONE);
    fake_chain.behind = 3; /* nor its latest version */
    assert_int_equal(fixture_one_record(f, "9").verdict, VERDICT_MATCH);
    fake_chain.behind = 1000000;
    struct record record = fixture_one_record(f, "9");
    assert_int_equal(record.verdict, VERDICT_UNKNOWN);
    assert_int_equal(record.code, ERROR_NODE_STALE);
}

static void a_mismatch_that_was_met_is_anchored_once(void **state) {
    struct fixture *f = *state;
    fixture_put_many(3);
    fixture_pass(f, SYNC_DONE);
    snprintf(fake_find("1")->text, 32, "changed");
    fake_remove("2");
    for (int i = 0; i < 3; i++) {
        fixture_one_record(f, "1");
        fixture_one_record(f, "2");
    }
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fake_chain.incidents, 2);
    snprintf(fake_find("1")->text, 32, "changed again");
    fixture_one_record(f, "1");
    assert_int_equal(sync_wait(f->sync, NULL, WAIT_MS, NULL), ERROR_NONE);
    assert_int_equal(fake_chain.incidents, 3);
}

static void a_database_that_is_down_hides_nothing(void **state) {
    struct fixture *f = *state;
    fixture_put_many(20);
    fixture_pass(f, SYNC_DONE);
    fake_database.down = true;
    struct records all = fixture_records_of(f, "P1");
    assert_int_equal(all.count, 2);
    assert_int_equal(all.items[0].verdict, VERDICT_UNKNOWN);
    assert_int_equal(all.items[0].code, ERROR_SOURCE_UNREACHABLE);
    assert_string_equal(all.items[0].error, "main: the database is down");
    assert_int_equal(all.items[0].version_count, 1); /* what the chain says is still shown */
    assert_int_equal(all.error_count, 1);
    assert_string_equal(all.errors[0].source, "main");
    assert_int_equal(fake_chain.incidents, 0);
    struct records records;
    fake_chain.down = true;
    assert_int_equal(records_of_patient(f->sync, "P1", &(struct records_query){0}, f->arena,
                                        &records, NULL), ERROR_NODE_UNREACHABLE);
}

static void a_patient_sees_own_records_only(void **state) {
    struct fixture *f = *state;
    fake_put("1", "P1", "text");
    fake_put("2", "P2", "text");
    fixture_pass(f, SYNC_DONE);
    assert_int_equal(fixture_records_of(f, "P1").count, 1);
    assert_int_equal(fixture_records_of(f, "P3").count, 0);
    /* Looser equality is the database's own. */
    assert_int_equal(fixture_records_of(f, "p1").count, 0);
    struct record record;
    struct error err;
    assert_int_equal(records_by_address(f->sync, "renkei://st-luke/main/visits/2", "P1",
                                        &(struct records_query){0}, f->arena, &record, &err),
                     ERROR_NOT_FOUND);
    assert_int_equal(records_by_address(f->sync, "renkei://elsewhere/main/visits/1", "P1",
                                        &(struct records_query){0}, f->arena, &record, &err),
                     ERROR_NOT_FOUND);
    assert_int_equal(records_by_address(f->sync, "renkei://st-luke/main/visits/7", "P1",
                                        &(struct records_query){0}, f->arena, &record, &err),
                     ERROR_NOT_FOUND);
    /* A row that somebody gave to another patient: a mismatch to the first, without content. */
    snprintf(fake_find("1")->patient, 16, "P2");
    struct records first = fixture_records_of(f, "P1");
    assert_int_equal(first.count, 1);
    assert_int_equal(first.items[0].verdict, VERDICT_MISMATCH);
    assert_int_equal(first.items[0].document.len, 0);
    assert_int_equal(first.items[0].raw.len, 0);
    assert_int_equal(first.items[0].code, ERROR_FORBIDDEN);
    struct records second = fixture_records_of(f, "P2");
    assert_int_equal(second.count, 2);
    assert_int_equal(second.items[0].verdict, VERDICT_MISMATCH);
    assert_true(second.items[0].document.len > 0);
}

static void a_row_that_became_unreadable_is_a_mismatch_with_its_reason(void **state) {
    struct fixture *f = *state;
    fake_put("1", "P1", "text");
    fixture_pass(f, SYNC_DONE);
    fake_find("1")->unreadable = true;
    struct record record = fixture_one_record(f, "1");
    assert_int_equal(record.verdict, VERDICT_MISMATCH);
    assert_string_equal(record.error, "text: the row cannot be normalized: invalid-bytes");
    fake_put("2", "P1", "text")->unreadable = true;
    assert_int_equal(fixture_one_record(f, "2").verdict, VERDICT_WITHHELD);
}

static void pages_have_every_record_once(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 25; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        fake_put(key, "P1", "text");
    }
    fixture_pass(f, SYNC_DONE);
    struct records_query query = {.limit = 10};
    size_t seen = 0;
    struct records page;
    do {
        assert_int_equal(records_of_patient(f->sync, "P1", &query, f->arena, &page, NULL),
                         ERROR_NONE);
        seen += page.count;
        for (size_t i = 0; i < page.count; i++) {
            if (query.after != NULL)
                assert_true(strcmp(page.items[i].address, query.after) > 0);
            query.after = page.items[i].address;
        }
    } while (page.more);
    assert_int_equal(seen, 25);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_first_pass_anchors_every_row_once_and_a_second_nothing),
        CASE(changes_deletions_and_returns_become_versions_of_one_record),
        CASE(a_declared_pass_says_so_on_the_chain),
        CASE(a_dry_run_counts_and_leaves_nothing),
        CASE(a_pass_that_was_not_whole_deletes_nothing),
        CASE(a_row_that_a_reader_missed_is_not_called_deleted),
        CASE(each_mode_has_its_own_interval),
        CASE(a_table_with_an_interval_of_its_own_is_left_out_of_the_source_s),
        CASE(intervals_that_cannot_be_kept_are_refused),
        CASE(a_whole_pass_anchors_which_keys_there_were),
        CASE(a_key_set_that_is_sorted_in_a_file_has_the_same_root),
        CASE(many_vanished_rows_are_held_back_until_somebody_has_looked),
        CASE(a_share_of_deletions_is_ordinary_and_an_emptied_table_is_not),
        CASE(an_unreadable_row_is_kept_aside_and_is_not_deleted),
        CASE(a_replay_reads_only_the_rows_in_quarantine_and_takes_up_what_is_well),
        CASE(the_character_report_outlives_a_restart),
        CASE(rows_with_one_key_are_one_record_and_a_complaint),
        CASE(an_immutable_table_raises_an_alarm_and_anchors_no_change),
        CASE(a_cancelled_pass_says_so),
        CASE(a_wrong_name_is_named),
        CASE(what_was_pending_is_sent_again_byte_for_byte),
        CASE(a_lost_reply_does_not_anchor_twice),
        CASE(a_transaction_without_effect_fails_the_pass_and_the_next_repairs_it),
        CASE(a_vault_older_than_the_chain_anchors_nothing),
        CASE(every_record_has_its_verdict),
        CASE(a_node_that_is_behind_is_waited_for),
        CASE(a_mismatch_that_was_met_is_anchored_once),
        CASE(a_database_that_is_down_hides_nothing),
        CASE(a_patient_sees_own_records_only),
        CASE(a_row_that_became_unreadable_is_a_mismatch_with_its_reason),
        CASE(pages_have_every_record_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
