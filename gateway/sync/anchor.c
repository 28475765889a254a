/*
 * From leaves to the chain. Building is serialised, because the chain executes a submitter's
 * transactions in the order of their numbers; threads submit what is pending and carry out, in that
 * order, what the chain decided.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/sync/sync_internal.h"

/* ------------------------------------------------------------------------------ building ---- */

static void make_leaves(struct sync__batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct vault_item *item = &batch->items[i];
        batch->leaves[i] = (struct leaf){.operation = item->operation,
                                         .origin = item->origin,
                                         .version = item->version,
                                         .locator = item->locator,
                                         .previous = batch->previous[i],
                                         .content = item->content,
                                         .raw = item->raw,
                                         .mapping = batch->mapping[i]};
    }
    leaf_hashes(batch->leaves, batch->count, batch->leaf_hashes);
    for (uint32_t i = 0; i < batch->count; i++)
        batch->items[i].leaf = batch->leaf_hashes[i];
}

struct hash sync__source_tag(const struct sync__source *source, const char *table) {
    struct bytes parts[5] = {bytes_text(source->sync->hospital), BYTES_LITERAL("/"),
                             bytes_text(source->mapping->source), BYTES_LITERAL("/"),
                             bytes_text(table)};
    return sha256_of_parts(parts, 5);
}

static void announce_added(struct sync *sync) {
    pthread_mutex_lock(&sync->lock);
    sync->added++;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
}

/* With anchor_lock held: number, build, keep. */
static enum error_code add_anchor(struct sync__source *source, size_t table, const char *snapshot,
                                  struct sync__batch *batch, struct error *err) {
    struct sync *sync = source->sync;
    const char *table_name = source->mapping->tables[table].table;
    char name[VAULT_TABLE_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s/%s", source->mapping->source, table_name);
    struct vault_table state;
    TRY(vault_table(sync->vault, name, &state, err));
    uint64_t sequence;
    TRY(vault_sequence_next(sync->vault, &sequence, err));
    size_t label = strlen(snapshot);
    struct ledger_anchor anchor = {
        .source = sync__source_tag(source, table_name),
        .batch = state.batches + 1,
        .snapshot = bytes_of(snapshot,
                             label < VAULT_SNAPSHOT_BYTES_MAX ? label : VAULT_SNAPSHOT_BYTES_MAX),
        .leaves = batch->leaves,
        .leaf_hashes = batch->leaf_hashes,
        .leaf_count = batch->count};
    SCOPED_BUFFER struct buffer transaction;
    buffer_init(&transaction, LEDGER_TRANSACTION_BYTES_MAX);
    TRY(ledger_build_anchor(sync->signer, &sync->chain, sequence, clock_wall_ms(), &anchor,
                            &transaction, err));
    struct vault_pending pending = {.sequence = sequence,
                                    .table = state.id,
                                    .batch = anchor.batch,
                                    .transaction = buffer_bytes(&transaction),
                                    .items = batch->items,
                                    .item_count = batch->count};
    return vault_pending_add(sync->vault, &pending, err);
}

/* A vault that is known to be older than the chain takes nothing more: numbers that the chain has
 * already would be given out again, and hide that it is. */
static enum error_code check_current(struct sync *sync, struct error *err) {
    pthread_mutex_lock(&sync->lock);
    bool old = sync->vault_is_old;
    pthread_mutex_unlock(&sync->lock);
    if (!old)
        return ERROR_NONE;
    error_set(err, ERROR_CORRUPT, "the vault is older than the chain, nothing is anchored");
    error_hint(err, "restore its newest backup; a vault that is new needs a key of its own");
    return ERROR_CORRUPT;
}

enum error_code sync__anchor(struct sync__source *source, size_t table, const char *snapshot,
                             struct sync__batch *batch, struct error *err) {
    struct sync *sync = source->sync;
    TRY(sync__wait_pending(sync, source, 0, SYNC__PENDING_MAX, err));
    make_leaves(batch);
    pthread_mutex_lock(&sync->anchor_lock);
    enum error_code code = add_anchor(source, table, snapshot, batch, err);
    pthread_mutex_unlock(&sync->anchor_lock);
    if (code == ERROR_NONE)
        announce_added(sync);
    return code;
}

static enum error_code add_note(struct sync *sync, struct bytes note, uint64_t *ret_sequence,
                                struct error *err) {
    uint64_t sequence;
    TRY(vault_sequence_next(sync->vault, &sequence, err));
    SCOPED_BUFFER struct buffer transaction;
    buffer_init(&transaction, LEDGER_TRANSACTION_BYTES_MAX);
    TRY(ledger_build_note(sync->signer, &sync->chain, sequence, clock_wall_ms(), note,
                          &transaction, err));
    struct vault_pending pending = {.sequence = sequence,
                                    .transaction = buffer_bytes(&transaction)};
    TRY(vault_pending_add(sync->vault, &pending, err));
    *ret_sequence = sequence;
    return ERROR_NONE;
}

enum error_code sync__anchor_note(struct sync__source *source, struct bytes note,
                                  uint64_t *ret_sequence, struct error *err) {
    struct sync *sync = source->sync;
    TRY(sync__wait_pending(sync, source, 0, SYNC__PENDING_MAX, err));
    pthread_mutex_lock(&sync->anchor_lock);
    enum error_code code = add_note(sync, note, ret_sequence, err);
    pthread_mutex_unlock(&sync->anchor_lock);
    if (code == ERROR_NONE)
        announce_added(sync);
    return code;
}

static enum error_code add_incident(struct sync *sync, const struct ledger_incident *incident,
                                    const char *mark, struct error *err) {
    uint64_t sequence;
    TRY(vault_sequence_next(sync->vault, &sequence, err));
    SCOPED_BUFFER struct buffer transaction;
    buffer_init(&transaction, LEDGER_TRANSACTION_BYTES_MAX);
    TRY(ledger_build_incident(sync->signer, &sync->chain, sequence, clock_wall_ms(), incident,
                              &transaction, err));
    struct vault_pending pending = {
        .sequence = sequence, .transaction = buffer_bytes(&transaction), .mark = mark};
    return vault_pending_add(sync->vault, &pending, err);
}

enum error_code sync__anchor_incident(struct sync *sync, const struct ledger_incident *incident,
                                      struct error *err) {
    struct bytes parts[2] = {hash_bytes(&incident->content), hash_bytes(&incident->raw)};
    struct hash observed = sha256_of_parts(parts, 2);
    char locator[2 * LOCATOR_BYTES + 1];
    char digest[2 * HASH_BYTES + 1];
    char mark[160];
    text_hex(incident->locator.byte, LOCATOR_BYTES, locator);
    text_hex(observed.byte, HASH_BYTES, digest);
    snprintf(mark, sizeof mark, "incident/%s/%u/%s", locator, incident->version,
             incident->missing ? "missing" : digest);
    TRY(check_current(sync, err));
    pthread_mutex_lock(&sync->anchor_lock);
    enum error_code code = add_incident(sync, incident, mark, err);
    pthread_mutex_unlock(&sync->anchor_lock);
    if (code == ERROR_EXISTS)
        return ERROR_NONE;
    if (code == ERROR_NONE)
        announce_added(sync);
    return code;
}

/* A chain that cannot be reached is waited for. A full disk is not: somebody must make room, and who
 * asked for the pass is to be told. */
static enum error_code check_room(struct sync *sync, uint64_t troubles, struct error *err) {
    enum error_code code = ERROR_NONE;
    pthread_mutex_lock(&sync->lock);
    if (sync->troubles != troubles && sync->ledger_failure.code == ERROR_DISK_FULL) {
        code = error_set(err, ERROR_DISK_FULL, "%s", sync->ledger_failure.message);
        error_hint(err, "%s", sync->ledger_failure.hint);
    }
    pthread_mutex_unlock(&sync->lock);
    return code;
}

/* How often anchoring has failed so far; where a full disk stops it, it tries again at once. */
static uint64_t troubles_so_far(struct sync *sync) {
    pthread_mutex_lock(&sync->lock);
    uint64_t troubles = sync->troubles;
    if (sync->ledger_failure.code == ERROR_DISK_FULL) {
        sync->retries++;
        pthread_cond_broadcast(&sync->changed);
    }
    pthread_mutex_unlock(&sync->lock);
    return troubles;
}

enum error_code sync__wait_pending(struct sync *sync, struct sync__source *source, uint32_t table,
                                   uint64_t most, struct error *err) {
    uint64_t troubles = troubles_so_far(sync);
    TRY(check_current(sync, err));
    for (;;) {
        pthread_mutex_lock(&sync->lock);
        uint64_t applied = sync->applied;
        pthread_mutex_unlock(&sync->lock);
        uint64_t count;
        TRY(vault_pending_count(sync->vault, table, &count, err));
        if (count <= most)
            return ERROR_NONE;
        TRY(check_room(sync, troubles, err));
        pthread_mutex_lock(&sync->lock);
        bool stop = sync->stopping || (source != NULL && source->cancelled);
        if (!stop && sync->applied == applied)
            sync__wait_until(sync, clock_monotonic_ms() + 1000);
        pthread_mutex_unlock(&sync->lock);
        if (stop)
            return error_set(err, ERROR_SOURCE_CANCELLED, "%s: the pass was cancelled",
                             source != NULL ? source->mapping->source : "sync");
    }
}

/* ---------------------------------------------------------------------------- submitting ---- */

enum error_code sync__where_vault_stands(struct sync *sync, struct error *err) {
    uint32_t table;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, VAULT_TRANSACTION_BYTES_MAX);
    TRY(vault_sequence_next(sync->vault, &sync->next_at_start, err));
    return vault_pending_read(sync->vault, 0, &sync->lowest_at_start, &table, &bytes, err);
}

/* Vault and chain must agree on where this gateway stands, before anything new is sent. A vault
 * that is behind the chain is an old backup: it would anchor a second time, with other locators,
 * what is anchored already. What a pass has put in since the start says nothing: nothing of it was
 * sent. */
static enum error_code check_chain(struct sync__lane *lane, struct error *err) {
    struct sync *sync = lane->sync;
    uint64_t expected;
    uint64_t next = sync->next_at_start;
    uint64_t lowest = sync->lowest_at_start;
    TRY(ledger_next_sequence(lane->ledger, sync->submitter, &expected, err));
    pthread_mutex_lock(&sync->lock);
    sync->vault_is_old = expected > next;
    pthread_mutex_unlock(&sync->lock);
    if (expected > next) {
        error_set(err, ERROR_CORRUPT,
                  "the chain has %llu transactions of this gateway's key, the vault knows of %llu",
                  (unsigned long long)(expected - 1), (unsigned long long)(next - 1));
        error_hint(err, "the vault is older than the chain: restore its newest backup; a vault "
                        "that is new needs a key of its own");
        return ERROR_CORRUPT;
    }
    uint64_t least = lowest != 0 ? lowest : next;
    if (expected < least)
        return error_set(err, ERROR_CORRUPT,
                         "the chain has %llu transactions of this gateway's key, the vault saw "
                         "%llu committed", (unsigned long long)(expected - 1),
                         (unsigned long long)(least - 1));
    return ERROR_NONE;
}

/* Several lanes have a flight under way each, so that the chain never waits for the vault. A flight is
 * submitted at once and carried out in its turn: a record's second version stands on its first. */
struct flight {
    uint64_t number;
    struct buffer bytes[SYNC__SUBMIT_MAX];
    struct bytes transactions[SYNC__SUBMIT_MAX];
    uint64_t sequences[SYNC__SUBMIT_MAX];
    uint32_t tables[SYNC__SUBMIT_MAX];
    struct ledger_receipt receipts[SYNC__SUBMIT_MAX];
    struct vault_outcome outcomes[SYNC__SUBMIT_MAX];
    size_t count;
};

static enum error_code read_flight(struct sync *sync, struct flight *f, struct error *err) {
    f->count = 0;
    uint64_t from = sync->claimed;
    while (f->count < SYNC__SUBMIT_MAX) {
        struct buffer *b = &f->bytes[f->count];
        buffer_clear(b);
        uint64_t sequence;
        TRY(vault_pending_read(sync->vault, from, &sequence, &f->tables[f->count], b, err));
        if (sequence == 0)
            break;
        f->sequences[f->count] = sequence;
        f->transactions[f->count] = buffer_bytes(b);
        f->count++;
        from = sequence + 1;
    }
    return ERROR_NONE;
}

/* A transaction that is in a block without effect: its rows are found again by the next pass. */
static void note_failed(struct sync *sync, uint32_t table, const char *reason) {
    struct error err;
    error_set(&err, ERROR_TX_REJECTED, "an anchor is on the chain without effect: %s", reason);
    const char *name = NULL;
    pthread_mutex_lock(&sync->lock);
    for (size_t i = 0; i < sync->source_count; i++) {
        struct sync__source *source = &sync->sources[i];
        for (size_t t = 0; t < source->mapping->table_count; t++) {
            if (table == 0 || source->table_ids[t] != table)
                continue;
            source->anchors_failed++;
            sync__failure_set(&source->anchor_failure, &err);
            name = source->mapping->source;
        }
    }
    pthread_mutex_unlock(&sync->lock);
    sync__event(sync, "anchor-without-effect", name, &err);
}

static void count_anchored(struct sync *sync, uint32_t table, uint64_t leaves) {
    for (size_t i = 0; i < sync->source_count; i++)
        for (size_t t = 0; t < sync->sources[i].mapping->table_count; t++)
            if (table != 0 && sync->sources[i].table_ids[t] == table)
                sync->sources[i].progress.counts.anchored += leaves;
}

static enum error_code leaves_of(struct sync *sync, uint64_t sequence, uint32_t *ret_leaves,
                                 struct error *err) {
    struct vault_view *view;
    struct vault_anchor anchor;
    TRY(vault_view_open(sync->vault, &view, err));
    enum error_code code = vault_anchor_read(view, sequence, &anchor, err);
    vault_view_close(view);
    if (code == ERROR_NONE)
        *ret_leaves = anchor.leaf_count;
    return code;
}

static enum error_code carry_out(struct sync *sync, struct flight *f, struct error *err) {
    for (size_t i = 0; i < f->count; i++) {
        const struct ledger_receipt *receipt = &f->receipts[i];
        f->outcomes[i] = (struct vault_outcome){
            .committed = receipt->result == LEDGER_COMMITTED,
            .anchor = {.sequence = f->sequences[i],
                       .transaction = receipt->transaction,
                       .height = receipt->position.height,
                       .transaction_index = receipt->position.transaction,
                       .log_index = receipt->position.log_index,
                       .block_time_ms = receipt->block_time_ms}};
    }
    TRY(vault_pending_apply(sync->vault, f->outcomes, f->count, err));
    for (size_t i = 0; i < f->count; i++) {
        uint32_t leaves = 0;
        if (!f->outcomes[i].committed)
            note_failed(sync, f->tables[i], f->receipts[i].reason);
        else
            TRY(leaves_of(sync, f->sequences[i], &leaves, err));
        pthread_mutex_lock(&sync->lock);
        count_anchored(sync, f->tables[i], leaves);
        pthread_mutex_unlock(&sync->lock);
    }
    pthread_mutex_lock(&sync->lock);
    sync->applied += f->count;
    sync->ledger_failure.code = ERROR_NONE;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    return ERROR_NONE;
}

/* With claim_lock held: the next of what is pending, at most SYNC__SUBMIT_MAX. */
static enum error_code claim_flight(struct sync__lane *lane, struct flight *f, struct error *err) {
    struct sync *sync = lane->sync;
    if (!sync->chain_checked) {
        TRY(check_chain(lane, err));
        pthread_mutex_lock(&sync->lock);
        sync->chain_checked = true;
        sync->ledger_failure.code = ERROR_NONE;
        pthread_cond_broadcast(&sync->changed);
        pthread_mutex_unlock(&sync->lock);
    }
    TRY(read_flight(sync, f, err));
    if (f->count > 0) {
        TRY(vault_pending_sync(sync->vault, err));
        sync->claimed = f->sequences[f->count - 1] + 1;
        f->number = sync->flights++;
    }
    return ERROR_NONE;
}

static enum error_code claim(struct sync__lane *lane, struct flight *f, struct error *err) {
    pthread_mutex_lock(&lane->sync->claim_lock);
    f->count = 0;
    enum error_code code = claim_flight(lane, f, err);
    pthread_mutex_unlock(&lane->sync->claim_lock);
    return code;
}

/* False where the program ends first. */
static bool wait_turn(struct sync *sync, const struct flight *f) {
    pthread_mutex_lock(&sync->lock);
    while (!sync->stopping && sync->carried != f->number)
        sync__wait_until(sync, clock_monotonic_ms() + 60000);
    bool mine = sync->carried == f->number;
    pthread_mutex_unlock(&sync->lock);
    return mine;
}

/* The same bytes may be submitted as often as need be. */
static enum error_code fly(struct sync__lane *lane, struct flight *f, struct error *err) {
    struct sync *sync = lane->sync;
    TRY(ledger_submit_all(lane->ledger, f->transactions, f->count, SYNC__SUBMIT_MS_MAX,
                          f->receipts, err));
    if (!wait_turn(sync, f))
        return error_set(err, ERROR_SOURCE_CANCELLED, "the program ends");
    TRY(carry_out(sync, f, err));
    pthread_mutex_lock(&sync->lock);
    sync->carried++;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    return ERROR_NONE;
}

static void note_trouble(struct sync *sync, struct error *err, uint32_t *backoff_ms) {
    sync__explain_full(sync, -1, err);
    pthread_mutex_lock(&sync->lock);
    bool fresh = sync->ledger_failure.code != err->code;
    sync__failure_set(&sync->ledger_failure, err);
    sync->troubles++;
    pthread_cond_broadcast(&sync->changed);
    pthread_mutex_unlock(&sync->lock);
    if (fresh)
        sync__event(sync, "anchoring-waits", NULL, err);
    pthread_mutex_lock(&sync->lock);
    uint64_t retries = sync->retries;
    uint64_t until = clock_monotonic_ms() + *backoff_ms;
    while (!sync->stopping && sync->retries == retries && clock_monotonic_ms() < until)
        sync__wait_until(sync, until);
    pthread_mutex_unlock(&sync->lock);
    *backoff_ms = *backoff_ms * 2 < SYNC__BACKOFF_MS_MAX ? *backoff_ms * 2 : SYNC__BACKOFF_MS_MAX;
}

static bool stopping(struct sync *sync) {
    pthread_mutex_lock(&sync->lock);
    bool stop = sync->stopping;
    pthread_mutex_unlock(&sync->lock);
    return stop;
}

/* One flight, however often it must be tried; or waits until there is one. */
static void run_lane(struct sync__lane *lane, struct flight *f) {
    struct sync *sync = lane->sync;
    struct error err = {0};
    uint32_t backoff_ms = SYNC__BACKOFF_MS_MIN;
    pthread_mutex_lock(&sync->lock);
    uint64_t added = sync->added;
    pthread_mutex_unlock(&sync->lock);
    while (claim(lane, f, &err) != ERROR_NONE && !stopping(sync))
        note_trouble(sync, &err, &backoff_ms);
    backoff_ms = SYNC__BACKOFF_MS_MIN;
    while (f->count > 0 && !stopping(sync) && fly(lane, f, &err) != ERROR_NONE && !stopping(sync))
        note_trouble(sync, &err, &backoff_ms);
    pthread_mutex_lock(&sync->lock);
    while (f->count == 0 && !sync->stopping && sync->added == added)
        sync__wait_until(sync, clock_monotonic_ms() + 60000);
    pthread_mutex_unlock(&sync->lock);
}

void *sync__anchor_thread(void *context) {
    struct sync__lane *lane = context;
    struct flight *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    for (size_t i = 0; i < SYNC__SUBMIT_MAX; i++)
        buffer_init(&f->bytes[i], VAULT_TRANSACTION_BYTES_MAX);
    while (!stopping(lane->sync))
        run_lane(lane, f);
    for (size_t i = 0; i < SYNC__SUBMIT_MAX; i++)
        buffer_done(&f->bytes[i]);
    free(f);
    return NULL;
}
