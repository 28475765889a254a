/*
 * One pass over one table: every row's digests are compared with what was anchored, what differs
 * becomes leaves, what was not met is looked for once more and then anchored as deleted.
 *
 * The rows never come here, only their keys and digests: the worker computes them with the r's it
 * is given batch by batch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "gateway/sync/batch.h"
#include "gateway/sync/keyset.h"
#include "gateway/sync/mappings.h"
#include "gateway/sync/sync_internal.h"

enum {
    SEEN_BYTES_MIN = 1 << 16,
    SEEN_BYTES_MAX = 1 << 27, /* one bit a record: 10^9 records of a gateway */
    ALARMS_LOGGED_MAX = 16, /* of one pass, one by one */
    /* Names of columns, and descriptions of mappings. */
    PASS_ARENA_BYTES_MAX = 4 * RENKEI_COLUMNS_MAX * RENKEI_NAME_BYTES_MAX +
                           SYNC__MAPPINGS_MAX * VAULT_MAPPING_BYTES_MAX,
    REPLAY_ARENA_BYTES_MAX = 8 << 20, /* WORKER_FETCH_KEYS_MAX entries of the quarantine */
};

static const char IMMUTABLE_DELETED[] = "immutable-deleted"; /* a reason of the quarantine's */

/* What the vault said of a key when its salt was given. */
struct lookup {
    uint64_t record; /* 0: unknown */
    uint32_t version;
    uint32_t mapping;
    uint32_t date;
    enum leaf_operation operation;
    struct locator locator;
    struct hash leaf;
};

struct pass {
    struct sync__source *source;
    struct sync *sync;
    const struct mapping_table *table;
    size_t index;
    uint64_t number;
    enum sync_mode mode;
    bool dry_run;
    bool declared;
    bool accept_deletions;
    uint64_t immutable_changed;
    struct vault_view *view;
    struct vault_table before;

    /* Of the pull's plan, copied at its start. */
    char snapshot[VAULT_SNAPSHOT_BYTES_MAX + 1];
    struct hash mapping_digest;
    uint32_t mapping; /* 0: of a dry run, and the vault does not know it */
    struct sync__mappings mappings; /* that records may be anchored under */
    struct arena *names;
    const char **columns;
    uint32_t column_count;

    struct lookup lookups[WORKER_BATCH_ROWS_MAX];
    uint8_t fresh[WORKER_BATCH_ROWS_MAX][WORKER_SALT_BYTES];
    uint8_t locators[WORKER_BATCH_ROWS_MAX][LOCATOR_BYTES]; /* fresh ones as well */
    struct vault_quarantined bad[WORKER_BATCH_ROWS_MAX];
    size_t bad_count;
    struct sync__filling *filling;
    struct sync__keyset *keyset; /* NULL: this pass does not meet every row, or anchors nothing */

    uint8_t *seen; /* a bit a record */
    uint64_t seen_bytes;
    uint64_t seen_live; /* of those seen, how many were live in the vault */

    struct bytes gone[WORKER_FETCH_KEYS_MAX]; /* keys not met, the view's memory */
    uint64_t gone_ids[WORKER_FETCH_KEYS_MAX];
    size_t gone_count;

    struct sync_counts counts;
    struct sync_counts earlier; /* of the pass's tables before this one */
};

/* --------------------------------------------------------------------------------- seen ---- */

static enum error_code seen_grow(struct pass *p, uint64_t record, struct error *err) {
    uint64_t bytes = p->seen_bytes == 0 ? SEEN_BYTES_MIN : p->seen_bytes;
    while (bytes <= record / 8)
        bytes *= 2;
    if (bytes > SEEN_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "more than %llu records in one gateway",
                         (unsigned long long)SEEN_BYTES_MAX * 8);
    uint8_t *grown = realloc(p->seen, bytes);
    if (grown == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    memset(grown + p->seen_bytes, 0, bytes - p->seen_bytes);
    p->seen = grown;
    p->seen_bytes = bytes;
    return ERROR_NONE;
}

/* ret_again: it was seen before. */
static enum error_code mark_seen(struct pass *p, uint64_t record, bool *ret_again,
                                 struct error *err) {
    if (record / 8 >= p->seen_bytes)
        TRY(seen_grow(p, record, err));
    uint8_t bit = (uint8_t)(1u << (record % 8));
    *ret_again = (p->seen[record / 8] & bit) != 0;
    p->seen[record / 8] |= bit;
    return ERROR_NONE;
}

static bool was_seen(const struct pass *p, uint64_t record) {
    return record / 8 < p->seen_bytes && (p->seen[record / 8] >> (record % 8) & 1) != 0;
}

/* ----------------------------------------------------------------------------- progress ---- */

static void show_progress(struct pass *p) {
    struct sync__source *s = p->source;
    pthread_mutex_lock(&p->sync->lock);
    struct sync_counts *shown = &s->progress.counts;
    shown->read = p->earlier.read + p->counts.read;
    shown->unchanged = p->earlier.unchanged + p->counts.unchanged;
    shown->created = p->earlier.created + p->counts.created;
    shown->modified = p->earlier.modified + p->counts.modified;
    shown->deleted = p->earlier.deleted + p->counts.deleted;
    shown->quarantined = p->earlier.quarantined + p->counts.quarantined;
    shown->remapped = p->earlier.remapped + p->counts.remapped;
    uint64_t spent_ms = clock_monotonic_ms() - s->pass_started_monotonic_ms + 1;
    s->progress.rows_per_second = shown->read * 1000 / spent_ms;
    int64_t left = s->progress.rows_expected - (int64_t)shown->read;
    s->progress.left_ms = s->progress.rows_expected < 0 || s->progress.rows_per_second == 0 ? -1
                          : left <= 0 ? 0
                                      : left * 1000 / (int64_t)s->progress.rows_per_second;
    pthread_mutex_unlock(&p->sync->lock);
}

static void on_load(void *context, const struct worker_totals *t, enum worker_pause pause,
                    uint64_t until_ms) {
    struct pass *p = context;
    struct sync__source *s = p->source;
    pthread_mutex_lock(&p->sync->lock);
    s->loads[p->index] = (struct sync_load){.pass = p->number,
                                            .rows = t->rows,
                                            .bytes = t->raw_bytes,
                                            .queries = t->queries,
                                            .source_ms = t->source_us / 1000,
                                            .wait_ms = t->wait_us / 1000,
                                            .paused_ms = t->paused_us / 1000,
                                            .slowed_ms = t->slowed_us / 1000,
                                            .closed_ms = t->closed_us / 1000,
                                            .latency_us = t->latency_us,
                                            .latency_base_us = t->latency_base_us};
    s->progress.pause = pause == WORKER_CLOSED   ? SYNC_CLOSED
                        : pause == WORKER_SLOWED ? SYNC_SLOWED
                                                 : SYNC_NOT_PAUSED;
    s->progress.pause_until_ms = until_ms;
    pthread_mutex_unlock(&p->sync->lock);
}

/* The load of the pass before joins the total: from here on its place is this pass's. */
static void begin_load(struct pass *p) {
    pthread_mutex_lock(&p->sync->lock);
    struct sync_load *last = &p->source->loads[p->index];
    p->source->loads_total[p->index] = sync__load_sum(&p->source->loads_total[p->index], last);
    *last = (struct sync_load){.pass = p->number};
    pthread_mutex_unlock(&p->sync->lock);
}

/* ------------------------------------------------------------------------------ anchors ---- */

static enum error_code flush(struct pass *p, struct error *err) {
    struct sync__batch *batch = sync__filling_batch(p->filling);
    if (batch->count == 0)
        return ERROR_NONE;
    if (!p->dry_run)
        TRY(sync__anchor(p->source, p->index, p->snapshot, batch, err));
    for (uint32_t i = 0; !p->dry_run && i < batch->count; i++) {
        bool again;
        TRY(mark_seen(p, batch->items[i].record, &again, err));
    }
    sync__filling_clear(p->filling);
    return ERROR_NONE;
}

static enum error_code add_item(struct pass *p, const struct vault_item *item,
                                const struct hash *previous, struct error *err) {
    TRY(sync__filling_add(p->filling, item, previous, &p->mapping_digest, err));
    if (sync__filling_batch(p->filling)->count == VAULT_ITEMS_MAX)
        return flush(p, err);
    return ERROR_NONE;
}

static uint32_t date_number(struct bytes date) {
    uint32_t number = 0;
    size_t digits = 0;
    for (size_t i = 0; i < date.len; i++)
        if (date.data[i] >= '0' && date.data[i] <= '9') {
            number = number * 10 + (uint32_t)(date.data[i] - '0');
            digits++;
        }
    return digits == 8 ? number : 0;
}

static enum error_code add_version(struct pass *p, const struct worker_row *row, size_t i,
                                   bool remapped, struct error *err) {
    const struct lookup *known = &p->lookups[i];
    struct vault_item item = {.record = known->record,
                              .locator = known->locator,
                              .version = known->version + 1,
                              .operation = row->change == WORKER_NEW ? LEAF_CREATE : LEAF_MODIFY,
                              .origin = p->declared || remapped ? LEAF_DECLARED : LEAF_OBSERVED,
                              .content = row->content,
                              .raw = row->raw,
                              .mapping = p->mapping,
                              .date = date_number(row->date),
                              .patient = sync__patient_text(row->patient),
                              .key = row->key};
    memcpy(item.r, p->fresh[i], VAULT_R_BYTES);
    if (known->version == 0) /* nothing of it is on the chain yet */
        memcpy(item.locator.byte, p->locators[i], LOCATOR_BYTES);
    struct hash none = {0};
    return add_item(p, &item, known->version == 0 ? &none : &known->leaf, err);
}

/* ----------------------------------------------------------------------- rows of a pull ---- */

static void put_aside(struct pass *p, struct bytes key, const char *column, const char *reason,
                      uint32_t code) {
    uint64_t now_ms = clock_wall_ms();
    p->counts.quarantined++;
    p->bad[p->bad_count++] = (struct vault_quarantined){.table = p->before.id,
                                                        .key = key,
                                                        .column = column,
                                                        .reason = reason,
                                                        .code = code,
                                                        .pass = p->number,
                                                        .first_ms = now_ms,
                                                        .last_ms = now_ms};
}

static enum error_code keep_aside(struct pass *p, struct error *err) {
    size_t count = p->bad_count;
    p->bad_count = 0;
    if (count == 0 || p->dry_run)
        return ERROR_NONE;
    size_t kept;
    return vault_quarantine_put(p->sync->vault, p->bad, count, &kept, err);
}

static void put_aside_unreadable(struct pass *p, const struct worker_row *row) {
    const struct normalized_reason *r = NULL;
    for (size_t i = 0; i < row->reason_count; i++) {
        enum reason reason = row->reasons[i].reason;
        bool fatal = reason == REASON_INVALID_BYTES || reason == REASON_TYPE ||
                     reason == REASON_LIMIT || reason == REASON_ERA_OVERRUN;
        if (fatal || r == NULL)
            r = &row->reasons[i];
        if (fatal)
            break;
    }
    bool named = r != NULL && r->column < p->column_count;
    put_aside(p, row->key, named ? p->columns[r->column] : "",
              r != NULL ? reason_name(r->reason) : "unreadable", r != NULL ? r->code : 0);
}

/* A table that the hospital declared immutable: a change is an alarm, and is not anchored as a
 * new version, so that the record stays a mismatch until somebody has looked. */
static void alarm(struct pass *p, struct bytes key, const char *reason) {
    struct error err;
    error_set(&err, ERROR_VERIFY, "%s/%s is immutable, and a row of it: %s",
              p->source->mapping->source, p->table->table, reason);
    error_hint(&err, "'renkei quarantine list' names the row");
    put_aside(p, key, "", reason, 0);
    if (++p->immutable_changed <= ALARMS_LOGGED_MAX)
        sync__event(p->sync, "immutable-table-changed", p->source->mapping->source, &err);
}

static void keep_alarms(struct pass *p, uint64_t vanished) {
    struct sync__alarms *alarms = &p->source->alarms[p->index];
    pthread_mutex_lock(&p->sync->lock);
    alarms->vanished = vanished;
    /* Keys do not say what changed. */
    if (p->mode == SYNC_FULL || p->immutable_changed > alarms->immutable_changed)
        alarms->immutable_changed = p->immutable_changed;
    pthread_mutex_unlock(&p->sync->lock);
    if (p->immutable_changed <= ALARMS_LOGGED_MAX)
        return;
    struct error err;
    error_set(&err, ERROR_VERIFY, "%s/%s is immutable, and %llu rows of it changed or are gone",
              p->source->mapping->source, p->table->table,
              (unsigned long long)p->immutable_changed);
    sync__event(p->sync, "immutable-table-changed", p->source->mapping->source, &err);
}

static bool known_live(const struct lookup *l) {
    return l->version > 0 && l->operation != LEAF_DELETE;
}

/* The row keeps the version that it has. */
static void stays(struct pass *p, const struct lookup *known) {
    if (known_live(known))
        sync__mappings_stays(&p->mappings, known->mapping);
}

static enum error_code take_changed(struct pass *p, const struct worker_row *row, size_t i,
                                    struct error *err) {
    const struct lookup *known = &p->lookups[i];
    if (sync__patient_text(row->patient).len > VAULT_PATIENT_BYTES_MAX) {
        stays(p, known);
        put_aside(p, row->key, p->table->patient != NULL ? p->table->patient : "",
                  reason_name(REASON_LIMIT), 0);
        return ERROR_NONE;
    }
    /* The hospital's own doing, said in its mapping: no change of the row. What cannot be told from
     * one, since the earlier mapping's columns are not there any more, is one. */
    bool remapped = row->change == WORKER_CHANGED && row->same_bytes;
    if (p->table->immutable && row->change == WORKER_CHANGED && !remapped) {
        stays(p, known);
        alarm(p, row->key, "immutable-changed");
        return ERROR_NONE;
    }
    p->counts.created += row->change == WORKER_NEW;
    p->counts.modified += row->change == WORKER_CHANGED;
    p->counts.remapped += remapped;
    return add_version(p, row, i, remapped, err);
}

static enum error_code take_row(struct pass *p, const struct worker_row *row, size_t i,
                                struct error *err) {
    const struct lookup *known = &p->lookups[i];
    bool again = false;
    p->counts.read++;
    if (known->record != 0)
        TRY(mark_seen(p, known->record, &again, err));
    else if (row->change != WORKER_KEY && row->key.len > 0)
        again = sync__filling_has(p->filling, row->key);
    if (!again && known_live(known))
        p->seen_live++;
    if (row->change == WORKER_QUARANTINED) {
        stays(p, known);
        put_aside_unreadable(p, row);
        return ERROR_NONE;
    }
    if (again) { /* the mapping's key is none: two rows would be one record */
        stays(p, known);
        put_aside(p, row->key, "", "duplicate-key", 0);
        return ERROR_NONE;
    }
    switch (row->change) {
    case WORKER_SAME:
        stays(p, known);
        p->counts.unchanged++;
        return ERROR_NONE;
    case WORKER_KEY:
        p->counts.unchanged += known_live(known);
        return ERROR_NONE;
    case WORKER_NEW:
    case WORKER_CHANGED:
        return take_changed(p, row, i, err);
    case WORKER_QUARANTINED:
        break;
    }
    return error_set(err, ERROR_PROTOCOL, "the worker gave a row of an unknown kind");
}

static enum error_code look_up(struct pass *p, struct bytes key, struct lookup *ret_lookup,
                               struct vault_record *record, struct error *err) {
    memset(ret_lookup, 0, sizeof *ret_lookup);
    bool found = false;
    if (key.len > 0 && key.len <= VAULT_KEY_BYTES_MAX)
        TRY(vault_record_find(p->view, p->before.id, key, &found, record, err));
    if (!found)
        return ERROR_NONE;
    *ret_lookup = (struct lookup){.record = record->id,
                                  .version = record->latest.version,
                                  .mapping = record->latest.mapping,
                                  .date = record->latest.date,
                                  .operation = record->latest.operation,
                                  .locator = record->locator,
                                  .leaf = record->latest.leaf};
    return ERROR_NONE;
}

static enum error_code on_salts(void *context, const struct bytes *keys, size_t count,
                                struct worker_salt *ret_salts, struct error *err) {
    struct pass *p = context;
    if (count > WORKER_BATCH_ROWS_MAX)
        return error_set(err, ERROR_PROTOCOL, "the worker asked for %zu salts at once", count);
    TRY(vault_view_renew(p->view, err));
    random_bytes(p->fresh, count * WORKER_SALT_BYTES);
    random_bytes(p->locators, count * LOCATOR_BYTES);
    struct vault_record record;
    for (size_t i = 0; i < count; i++) {
        TRY(look_up(p, keys[i], &p->lookups[i], &record, err));
        struct worker_salt *salt = &ret_salts[i];
        memset(salt, 0, sizeof *salt);
        memcpy(salt->fresh, p->fresh[i], WORKER_SALT_BYTES);
        salt->known = known_live(&p->lookups[i]);
        if (salt->known) {
            memcpy(salt->stored, record.latest.r, WORKER_SALT_BYTES);
            salt->content = record.latest.content;
            salt->raw = record.latest.raw;
            if (record.latest.mapping != p->mapping)
                salt->earlier = sync__mappings_place(&p->mappings, record.latest.mapping);
        }
    }
    return ERROR_NONE;
}

static enum error_code add_keys(struct pass *p, const struct worker_row *rows, size_t count,
                                struct error *err) {
    struct bytes keys[WORKER_BATCH_ROWS_MAX];
    size_t some = 0;
    if (p->keyset == NULL)
        return ERROR_NONE;
    for (size_t i = 0; i < count; i++)
        if (rows[i].key.len > 0)
            keys[some++] = rows[i].key;
    return sync__keyset_add(p->keyset, keys, some, err);
}

static enum error_code on_rows(void *context, const struct worker_row *rows, size_t count,
                               struct error *err) {
    struct pass *p = context;
    if (count > WORKER_BATCH_ROWS_MAX)
        return error_set(err, ERROR_PROTOCOL, "the worker gave %zu rows at once", count);
    struct vault_record record;
    if (p->mode == SYNC_KEYS)
        TRY(vault_view_renew(p->view, err));
    TRY(add_keys(p, rows, count, err));
    for (size_t i = 0; i < count; i++) {
        if (p->mode == SYNC_KEYS)
            TRY(look_up(p, rows[i].key, &p->lookups[i], &record, err));
        TRY(take_row(p, &rows[i], i, err));
    }
    TRY(keep_aside(p, err));
    show_progress(p);
    if (sync__pass_must_stop(p->source))
        return error_set(err, ERROR_SOURCE_CANCELLED, "%s: the pass was cancelled",
                         p->source->mapping->source);
    return ERROR_NONE;
}

static enum error_code on_characters(void *context, const struct character_count *counts,
                                     size_t count, uint64_t beyond, struct error *err) {
    struct pass *p = context;
    struct sync__characters pass = {.pass = p->number,
                                    .full = p->mode == SYNC_FULL,
                                    .rows = p->counts.read,
                                    .columns = p->columns,
                                    .column_count = p->column_count};
    return sync__characters_keep(p->sync, p->before.id, &pass, counts, count, beyond, err);
}

static enum error_code copy_columns(struct pass *p, const struct worker_plan *plan,
                                    struct error *err) {
    p->columns = arena_alloc(p->names, (plan->column_count + 1) * sizeof *p->columns);
    for (uint32_t i = 0; p->columns != NULL && i < plan->column_count; i++) {
        p->columns[i] = arena_text(p->names, plan->columns[i]);
        if (p->columns[i] == NULL)
            return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    }
    if (p->columns == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    p->column_count = plan->column_count;
    return ERROR_NONE;
}

/* A dry run stores nothing, not even that there is a new mapping. */
static enum error_code number_mapping(struct pass *p, const struct worker_plan *plan,
                                      struct error *err) {
    SCOPED_BUFFER struct buffer known;
    buffer_init(&known, VAULT_MAPPING_BYTES_MAX);
    enum error_code code = vault_mapping_read(p->sync->vault, &plan->mapping_digest, &known, err);
    if (code != ERROR_NONE && code != ERROR_NOT_FOUND)
        return code;
    if (code == ERROR_NONE || !p->dry_run)
        TRY(vault_mapping(p->sync->vault, &plan->mapping_digest, plan->mapping_description,
                          &p->mapping, err));
    return p->dry_run ? ERROR_NONE
                      : sync__mappings_use(&p->mappings, p->sync->vault, p->before.id,
                                           &plan->mapping_digest, err);
}

static enum error_code on_start(void *context, const struct worker_plan *plan, struct error *err) {
    struct pass *p = context;
    snprintf(p->snapshot, sizeof p->snapshot, "%s", plan->snapshot);
    p->mapping_digest = plan->mapping_digest;
    TRY(copy_columns(p, plan, err));
    TRY(number_mapping(p, plan, err));
    pthread_mutex_lock(&p->sync->lock);
    if (p->before.passes == 0 && plan->rows_estimate > 0)
        p->source->progress.rows_expected =
            (p->source->progress.rows_expected > 0 ? p->source->progress.rows_expected : 0) +
            plan->rows_estimate;
    pthread_mutex_unlock(&p->sync->lock);
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------------ deleted ---- */

static enum error_code delete_gone(struct pass *p, uint64_t id, struct error *err) {
    struct vault_record record;
    TRY(vault_record_read(p->view, id, &record, err));
    struct bytes key = bytes_of(record.key, record.key_len);
    if (p->table->immutable) {
        sync__mappings_stays(&p->mappings, record.latest.mapping);
        alarm(p, key, IMMUTABLE_DELETED);
        return keep_aside(p, err);
    }
    p->counts.deleted++;
    struct vault_item item = {.record = id,
                              .locator = record.locator,
                              .version = record.latest.version + 1,
                              .operation = LEAF_DELETE,
                              .origin = p->declared ? LEAF_DECLARED : LEAF_OBSERVED,
                              .mapping = p->mapping,
                              .date = record.latest.date,
                              .key = key};
    return add_item(p, &item, &record.latest.leaf, err);
}

/* Rows that were not met are looked for by their keys before they are called deleted: a table
 * without snapshots can move a row from under a reader, and a false deletion harms. */
static enum error_code take_gone(struct pass *p, struct error *err) {
    size_t count = p->gone_count;
    p->gone_count = 0;
    if (count == 0)
        return ERROR_NONE;
    struct worker_fetch_key keys[WORKER_FETCH_KEYS_MAX];
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct worker_fetch_key){.key = p->gone[i]};
    const struct worker_fetched *fetched;
    TRY(worker_fetch(p->source->puller, p->table->table, keys, count, &fetched, err));
    enum error_code code = ERROR_NONE;
    if (fetched->row_count != count)
        code = error_set(err, ERROR_PROTOCOL, "the worker answered %zu of %zu keys",
                         fetched->row_count, count);
    for (size_t i = 0; code == ERROR_NONE && i < count; i++) {
        const struct worker_fetched_row *row = &fetched->rows[i];
        /* A collation may find another row under this key: then this one is gone. */
        bool there = row->found && (row->key.len == 0 || bytes_equal(row->key, keys[i].key));
        if (!there)
            code = delete_gone(p, p->gone_ids[i], err);
        else
            sync__mappings_stays(&p->mappings, 0);
    }
    worker_result_free(fetched);
    return code;
}

static enum error_code visit_row(void *context, uint64_t id, struct bytes key,
                                 struct error *err) {
    struct pass *p = context;
    struct lookup known;
    struct vault_record record;
    if (was_seen(p, id))
        return ERROR_NONE;
    TRY(look_up(p, key, &known, &record, err));
    if (!known_live(&known))
        return ERROR_NONE;
    p->gone[p->gone_count] = key;
    p->gone_ids[p->gone_count++] = id;
    if (p->gone_count == WORKER_FETCH_KEYS_MAX)
        return take_gone(p, err);
    return ERROR_NONE;
}

/* A database restored from an old backup, a wrong one behind the same name, a key column that reads
 * differently: what looks like a great many deletions seldom is one, and an anchored deletion stays.
 * So nothing is anchored as deleted until somebody has looked. */
static enum error_code check_vanished(struct pass *p, uint64_t vanished, struct error *err) {
    uint64_t live = p->before.live;
    bool emptied = vanished == live && live > SYNC_EMPTIED_MIN;
    bool many = vanished > SYNC_DELETIONS_MIN &&
                vanished > live / 100 * p->source->deletions_percent_max +
                               live % 100 * p->source->deletions_percent_max / 100;
    if (p->accept_deletions || p->table->immutable || p->source->deletions_percent_max >= 100 ||
        !(emptied || many))
        return ERROR_NONE;
    keep_alarms(p, vanished);
    error_set(err, ERROR_VANISHED,
              "%s/%s: %llu of its %llu records have vanished from the database, at most %u %% are "
              "anchored as deleted unasked", p->source->mapping->source, p->table->table,
              (unsigned long long)vanished, (unsigned long long)live,
              p->source->deletions_percent_max);
    error_hint(err, "look at the database first; if the rows are gone: renkei sync %s "
               "--accept-deletions %s", p->source->mapping->source, p->table->table);
    sync__event(p->sync, "deletions-held-back", p->source->mapping->source, err);
    return ERROR_VANISHED;
}

static enum error_code find_deleted(struct pass *p, struct error *err) {
    if (p->seen_live == p->before.live)
        return ERROR_NONE;
    if (!p->dry_run) {
        /* What is new is anchored all the same. */
        TRY(flush(p, err));
        TRY(check_vanished(p, p->before.live - p->seen_live, err));
    }
    if (p->dry_run) {
        p->counts.deleted += p->before.live - p->seen_live;
        return ERROR_NONE;
    }
    TRY(vault_view_renew(p->view, err));
    TRY(vault_rows_visit(p->view, p->before.id, visit_row, p, err));
    return take_gone(p, err);
}

/* ---------------------------------------------------------------------------- the whole ---- */

static enum error_code pull(struct pass *p, struct worker_totals *ret_totals, struct error *err) {
    static const enum worker_mode modes[] = {[SYNC_FULL] = WORKER_FULL,
                                             [SYNC_WATERMARK] = WORKER_WATERMARK,
                                             [SYNC_KEYS] = WORKER_KEYS};
    char from[SYNC__WATERMARK_BYTES_MAX + 1] = "";
    if (p->mode == SYNC_WATERMARK)
        TRY(sync__watermark_from(p->sync, p->before.id, &p->source->overlaps[p->index], from, err));
    struct worker_pull_calls calls = {.context = p,
                                      .earlier = p->mappings.descriptions,
                                      .earlier_count = p->mappings.count,
                                      .start = on_start,
                                      .salts = on_salts,
                                      .rows = on_rows,
                                      .characters = on_characters,
                                      .load = on_load};
    begin_load(p);
    return worker_pull(p->source->puller, p->table->table, modes[p->mode], from, &calls,
                       ret_totals, err);
}

static uint64_t failed_anchors(struct pass *p) {
    pthread_mutex_lock(&p->sync->lock);
    uint64_t failed = p->source->anchors_failed;
    pthread_mutex_unlock(&p->sync->lock);
    return failed;
}

static enum error_code wait_for_chain(struct pass *p, uint64_t failed_before, struct error *err) {
    pthread_mutex_lock(&p->sync->lock);
    p->source->progress.state = SYNC_ANCHORING;
    pthread_mutex_unlock(&p->sync->lock);
    TRY(sync__wait_pending(p->sync, p->source, p->before.id, 0, err));
    if (failed_anchors(p) == failed_before)
        return ERROR_NONE;
    pthread_mutex_lock(&p->sync->lock);
    error_set(err, p->source->anchor_failure.code, "%s", p->source->anchor_failure.message);
    pthread_mutex_unlock(&p->sync->lock);
    return ERROR_TX_REJECTED;
}

/* --------------------------------------------------------------------------- quarantine ---- */

/* A row without a key cannot be asked for, and the alarm that a row is gone is not over because it
 * is gone: both wait for a full pass. */
static bool can_replay(const struct vault_quarantined *row) {
    return row->key.len > 0 && strcmp(row->reason, IMMUTABLE_DELETED) != 0;
}

/* Entries that this pass put in again stay; the others' rows are well, or gone. */
static enum error_code release(struct pass *p, const struct vault_quarantined *asked, size_t count,
                               struct error *err) {
    SCOPED_ARENA struct arena *arena = arena_new(REPLAY_ARENA_BYTES_MAX);
    struct vault_quarantined *now;
    size_t now_count = 0;
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    TRY(vault_quarantine_list(p->sync->vault, p->before.id, asked[0].id - 1, count, arena, &now,
                              &now_count, err));
    for (size_t i = 0; i < now_count; i++)
        if (can_replay(&now[i]) && now[i].pass != p->number && now[i].id <= asked[count - 1].id)
            TRY(vault_quarantine_drop(p->sync->vault, now[i].id, err));
    return ERROR_NONE;
}

/* One page of the quarantine. ret_after: where the next begins; 0: there is none. */
static enum error_code replay_page(struct pass *p, uint64_t after, uint64_t *ret_after,
                                   struct error *err) {
    SCOPED_ARENA struct arena *arena = arena_new(REPLAY_ARENA_BYTES_MAX);
    struct vault_quarantined *rows;
    size_t count = 0, listed = 0;
    struct bytes keys[WORKER_FETCH_KEYS_MAX];
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    TRY(vault_quarantine_list(p->sync->vault, p->before.id, after, WORKER_FETCH_KEYS_MAX, arena,
                              &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        if (can_replay(&rows[i]))
            keys[listed++] = rows[i].key;
    *ret_after = count == WORKER_FETCH_KEYS_MAX ? rows[count - 1].id : 0;
    if (listed == 0)
        return ERROR_NONE;
    struct worker_pull_calls calls = {.context = p,
                                      .earlier = p->mappings.descriptions,
                                      .earlier_count = p->mappings.count,
                                      .start = on_start,
                                      .salts = on_salts,
                                      .rows = on_rows};
    TRY(worker_pull_keys(p->source->puller, p->table->table, keys, listed, &calls, NULL, err));
    TRY(flush(p, err));
    return p->dry_run ? ERROR_NONE : release(p, rows, count, err);
}

static enum error_code replay(struct pass *p, struct error *err) {
    uint64_t failed_before = failed_anchors(p);
    uint64_t after = 0;
    do
        TRY(replay_page(p, after, &after, err));
    while (after != 0);
    show_progress(p);
    return p->dry_run ? ERROR_NONE : wait_for_chain(p, failed_before, err);
}

static enum error_code run(struct pass *p, struct error *err) {
    if (p->mode == SYNC_REPLAY)
        return replay(p, err);
    uint64_t failed_before = failed_anchors(p);
    struct worker_totals totals = {0};
    TRY(pull(p, &totals, err));
    if (p->mode != SYNC_WATERMARK) /* only a pass that met every row knows what is gone */
        TRY(find_deleted(p, err));
    TRY(flush(p, err));
    show_progress(p);
    if (p->dry_run)
        return ERROR_NONE;
    if (p->mode != SYNC_WATERMARK) {
        keep_alarms(p, 0);
        TRY(sync__keyset_anchor(p->source, p->index, p->mode, p->number, p->snapshot, p->keyset,
                                err));
    }
    TRY(wait_for_chain(p, failed_before, err));
    if (p->mode == SYNC_WATERMARK || p->table->watermark != NULL)
        TRY(sync__watermark_moved(p->sync, p->before.id, totals.watermark, err));
    if (p->mode == SYNC_WATERMARK)
        return ERROR_NONE;
    if (p->mode == SYNC_FULL)
        TRY(sync__mappings_passed(&p->mappings, p->sync->vault, p->before.id, &p->mapping_digest,
                                  err));
    return vault_table_passed(p->sync->vault, p->before.id, p->number, p->counts.read,
                              clock_wall_ms(), err);
}

static enum error_code start(struct pass *p, struct error *err) {
    char name[VAULT_TABLE_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s/%s", p->source->mapping->source, p->table->table);
    p->names = arena_new(PASS_ARENA_BYTES_MAX);
    if (p->names == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    TRY(sync__filling_new(&p->filling, err));
    if (!p->dry_run && (p->mode == SYNC_FULL || p->mode == SYNC_KEYS))
        TRY(sync__keyset_of_table(p->sync, p->source->table_ids[p->index], &p->keyset, err));
    /* What an earlier pass left pending is carried out first: then the vault is the chain's, and
     * no row is anchored twice. */
    uint32_t id = p->source->table_ids[p->index];
    TRY(sync__wait_pending(p->sync, p->source, id, 0, err));
    TRY(vault_table(p->sync->vault, name, &p->before, err));
    TRY(sync__mappings_load(&p->mappings, p->sync->vault, id, p->names, err));
    return vault_view_open(p->sync->vault, &p->view, err);
}

enum error_code sync__pass_table(struct sync__source *source, size_t table, uint64_t number,
                                 struct error *err) {
    struct pass *p = calloc(1, sizeof *p);
    if (p == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory");
    p->source = source;
    p->sync = source->sync;
    p->table = &source->mapping->tables[table];
    p->index = table;
    p->number = number;
    pthread_mutex_lock(&p->sync->lock);
    p->mode = source->mode;
    p->dry_run = source->dry_run;
    p->declared = source->declared;
    p->accept_deletions = source->accept_deletions;
    p->earlier = source->progress.counts;
    pthread_mutex_unlock(&p->sync->lock);
    enum error_code code = start(p, err);
    if (code == ERROR_NONE)
        code = run(p, err);
    if (p->filling != NULL)
        show_progress(p);
    vault_view_close(p->view);
    sync__filling_free(p->filling);
    sync__keyset_free(p->keyset);
    arena_free(p->names);
    free(p->seen);
    free(p);
    return code;
}
