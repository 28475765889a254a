/*
 * The live row beside the chain.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/sync/retrieval.h"

enum { CATCH_UP_MS_MAX = 3000 };

static enum error_code no_memory(struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
}

/* ------------------------------------------------------------------------ what is shown ---- */

static void show_date(uint32_t date, struct record *out, struct arena *arena) {
    if (out->date[0] != 0 || date == 0)
        return;
    char *text = arena_format(arena, "%04u/%02u/%02u", date / 10000, date / 100 % 100, date % 100);
    out->date = text != NULL ? text : "";
}

static enum error_code show_fields(const struct retrieval_item *item, struct arena *arena,
                                   struct record *out, struct error *err) {
    size_t count = item->plan->field_count;
    struct record_field *fields = arena_alloc(arena, (count + 1) * sizeof *fields);
    if (fields == NULL)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        fields[i].name = arena_text(arena, item->plan->fields[i].name);
        fields[i].type = item->row->types != NULL ? value_type_name(item->row->types[i]) : "string";
        fields[i].personal = item->plan->fields[i].personal;
        if (fields[i].name == NULL)
            return no_memory(err);
    }
    out->fields = fields;
    out->field_count = count;
    return ERROR_NONE;
}

static enum error_code show_document(const struct retrieval *r, const struct retrieval_item *item,
                                     struct record *out, struct error *err) {
    const struct worker_fetched_row *row = item->row;
    out->document = arena_bytes(r->arena, row->document);
    char *date = arena_format(r->arena, "%.*s", (int)row->date.len, (const char *)row->date.data);
    if (out->document.data == NULL || date == NULL)
        return no_memory(err);
    out->date = date;
    if (r->raw) {
        out->raw = arena_bytes(r->arena, row->raw);
        if (out->raw.data == NULL)
            return no_memory(err);
    }
    return show_fields(item, r->arena, out, err);
}

/* Why a row cannot be normalized: columns and reasons, no value. */
static void explain_unreadable(const struct retrieval *r, const struct retrieval_item *item,
                               struct record *out) {
    const struct worker_fetched_row *row = item->row;
    const char *column = "a column";
    const char *reason = "unreadable";
    if (row->reason_count > 0) {
        const struct normalized_reason *why = &row->reasons[0];
        reason = reason_name(why->reason);
        if (why->column < item->plan->column_count)
            column = item->plan->columns[why->column];
    }
    char *text = arena_format(r->arena, "%s: the row cannot be normalized: %s", column, reason);
    out->code = ERROR_VALUE;
    out->error = text != NULL ? text : "";
    out->hint = "'renkei quarantine list' shows the row's place";
}

/* -------------------------------------------------------------------------- the chain ---- */

static enum error_code ask_latest(struct sync *sync, const struct locator *locators, size_t count,
                                  struct ledger_version *ret_versions, struct error *err) {
    if (count == 0)
        return ERROR_NONE;
    pthread_mutex_lock(&sync->ledger_lock);
    enum error_code code = ledger_latest(sync->read_ledger, locators, count, ret_versions, err);
    pthread_mutex_unlock(&sync->ledger_lock);
    return code;
}

static bool chain_is_behind(const struct retrieval_anchored *a) {
    return !a->known || a->latest.leaf.version < a->record.latest.version;
}

/* The chain may be ahead of the vault for the moment between a commit and its being carried out
 * here, and a node that was away, or another one than anchored it, behind it until it has caught up. */
static enum error_code catch_up(struct retrieval *r, uint64_t id, uint64_t until_ms,
                                struct retrieval_anchored *a, struct error *err) {
    while (a->latest.leaf.version != a->record.latest.version && clock_monotonic_ms() < until_ms) {
        pthread_mutex_lock(&r->sync->lock);
        sync__wait_until(r->sync, clock_monotonic_ms() + 20);
        pthread_mutex_unlock(&r->sync->lock);
        if (chain_is_behind(a)) {
            TRY(ask_latest(r->sync, &a->record.locator, 1, &a->latest, err));
            a->known = a->latest.leaf.version > 0;
        } else {
            TRY(vault_view_renew(r->view, err));
            TRY(vault_record_read(r->view, id, &a->record, err));
        }
    }
    return ERROR_NONE;
}

static enum error_code read_anchored(struct retrieval *r, size_t from, size_t to,
                                     struct retrieval_anchored *list, struct error *err) {
    size_t count = to - from;
    SCOPED_FREE struct locator *locators = calloc(count + 1, sizeof *locators);
    SCOPED_FREE struct ledger_version *versions = calloc(count + 1, sizeof *versions);
    SCOPED_FREE size_t *places = calloc(count + 1, sizeof *places);
    if (locators == NULL || versions == NULL || places == NULL)
        return no_memory(err);
    size_t asked = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = r->items[from + i].record;
        enum error_code code =
            id == 0 ? ERROR_NOT_FOUND : vault_record_read(r->view, id, &list[i].record, err);
        if (code == ERROR_NOT_FOUND) /* not in the vault, or only pending */
            continue;
        if (code != ERROR_NONE)
            return code;
        list[i].in_vault = true;
        places[asked] = i;
        locators[asked++] = list[i].record.locator;
    }
    TRY(ask_latest(r->sync, locators, asked, versions, err));
    uint64_t until_ms = clock_monotonic_ms() + CATCH_UP_MS_MAX;
    for (size_t k = 0; k < asked; k++) {
        struct retrieval_anchored *a = &list[places[k]];
        a->latest = versions[k];
        a->known = versions[k].leaf.version > 0;
        TRY(catch_up(r, r->items[from + places[k]].record, until_ms, a, err));
    }
    return ERROR_NONE;
}

static void show_version(struct retrieval *r, const struct vault_record *record,
                         const struct ledger_version *from, struct record_version *to) {
    *to = (struct record_version){.leaf = from->leaf,
                                  .leaf_hash = from->leaf_hash,
                                  .transaction = from->transaction,
                                  .position = from->position,
                                  .anchored_ms = from->block_time_ms};
    struct vault_version kept;
    struct error ignored;
    if (vault_version_read(r->view, record, from->leaf.version, &kept, &ignored) != ERROR_NONE)
        return; /* shown without its r: it cannot be recomputed, but it is on the chain */
    to->has_r = from->leaf.operation != LEAF_DELETE;
    memcpy(to->r, kept.r, sizeof to->r);
}

static enum error_code show_versions(struct retrieval *r, const struct retrieval_anchored *a,
                                     struct record *out, struct error *err) {
    struct ledger_version *versions = NULL;
    SCOPED_FREE struct ledger_version *history = NULL;
    struct ledger_version latest = a->latest;
    size_t count = 1;
    uint64_t total = 1;
    versions = &latest;
    if (a->latest.leaf.version > 1) {
        history = calloc(RECORDS_VERSIONS_MAX, sizeof *history);
        if (history == NULL)
            return no_memory(err);
        pthread_mutex_lock(&r->sync->ledger_lock);
        enum error_code code = ledger_history(r->sync->read_ledger, &a->record.locator, history,
                                              RECORDS_VERSIONS_MAX, &count, &total, err);
        pthread_mutex_unlock(&r->sync->ledger_lock);
        if (code != ERROR_NONE)
            return code;
        versions = history;
    }
    struct record_version *shown = arena_alloc(r->arena, (count + 1) * sizeof *shown);
    if (shown == NULL)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        show_version(r, &a->record, &versions[i], &shown[i]);
    out->versions = shown;
    out->version_count = count;
    out->version_total = total;
    out->anchored_since_ms = count > 0 ? shown[0].anchored_ms : 0;
    out->observed_changes = a->record.observed_changes;
    return ERROR_NONE;
}

/* ------------------------------------------------------------------------ the verdict ---- */

static void unknown(struct record *out, enum error_code code, const char *error,
                    const char *hint) {
    out->verdict = VERDICT_UNKNOWN;
    out->code = code;
    out->error = error;
    out->hint = hint;
}

static void compute_live(struct sha256 *h, const struct retrieval_item *item,
                         const struct retrieval_anchored *a, struct record *out) {
    out->live = true;
    out->live_content = digest_content(h, a->record.latest.r, item->row->document);
    out->live_raw = digest_raw(h, a->record.latest.r, item->row->raw);
    out->live_mapping = item->plan->mapping_digest;
}

static void report_incident(struct retrieval *r, const struct retrieval_anchored *a,
                            const struct record *out) {
    if (out->verdict != VERDICT_MISMATCH && out->verdict != VERDICT_MISSING)
        return;
    struct ledger_incident incident = {.missing = out->verdict == VERDICT_MISSING,
                                       .locator = a->record.locator,
                                       .version = a->latest.leaf.version,
                                       .observed_ms = clock_wall_ms()};
    if (out->live) {
        incident.content = out->live_content;
        incident.raw = out->live_raw;
    }
    struct error failed;
    if (sync__anchor_incident(r->sync, &incident, &failed) != ERROR_NONE)
        sync__event(r->sync, "incident-not-anchored", out->source, &failed);
}

/* Is the row another patient's than who asks? Then its content is not theirs to see. */
static bool of_another(const struct retrieval *r, const struct retrieval_item *item) {
    return r->patient.data != NULL &&
           !bytes_equal(sync__patient_text(item->row->patient), r->patient);
}

/* May the row be shown as the earlier mapping read it? Not a column that the mapping in force reads
 * no more, and not to another patient than the one whom this one names. */
static bool may_show_earlier(const struct retrieval_item *item, const struct retrieval_anchored *a) {
    const struct worker_plan *earlier = a->earlier_plan;
    if (item->row->quarantined || !bytes_equal(item->row->patient, a->earlier->patient))
        return false;
    for (uint32_t i = 0; i < earlier->column_count; i++) {
        uint32_t j = 0;
        while (j < item->plan->column_count &&
               strcmp(earlier->columns[i], item->plan->columns[j]) != 0)
            j++;
        if (j == item->plan->column_count)
            return false;
    }
    return true;
}

/* The live row under the mapping that it was anchored by: where that gives the anchored digests, it is
 * what is shown, since only that document can be checked; where it does not, the row was changed. */
static void judge_earlier(struct retrieval_item *item, const struct retrieval_anchored *a,
                          struct sha256 *h, struct sync__comparison *c, struct record *out) {
    struct retrieval_item then = *item;
    then.plan = a->earlier_plan;
    then.row = a->earlier;
    struct record live = *out;
    compute_live(h, &then, a, &live);
    bool content_same = hash_equal(&live.live_content, &a->latest.leaf.content);
    bool raw_same = hash_equal(&live.live_raw, &a->latest.leaf.raw);
    if (content_same && raw_same && !may_show_earlier(item, a))
        return;
    *out = live;
    c->mapping_same = true;
    c->content_same = content_same;
    c->raw_same = raw_same;
    if (content_same && raw_same) {
        *item = then;
        out->category = a->earlier_category;
    }
}

static enum error_code judge(struct retrieval *r, struct retrieval_item *item,
                             struct retrieval_anchored *a, struct sha256 *h, struct record *out,
                             struct error *err) {
    if (a->known && a->latest.leaf.version < a->record.latest.version) {
        unknown(out, ERROR_NODE_STALE, "the node that answered does not know its latest version yet",
                "ask again when the node has caught up ('renkei status')");
        return ERROR_NONE;
    }
    if (a->known && a->latest.leaf.version != a->record.latest.version) {
        unknown(out, ERROR_CORRUPT, "the vault and the chain have different versions of it",
                "the vault is older than the chain: restore its newest backup");
        return ERROR_NONE;
    }
    if (!a->known && a->in_vault) {
        unknown(out, ERROR_VERIFY, "the vault says that it is anchored, the chain does not know it",
                "check that the node follows the right chain");
        return ERROR_NONE;
    }
    if (!item->fetched) {
        unknown(out, item->code, item->error, item->hint);
        return ERROR_NONE;
    }
    bool readable = item->row != NULL && !item->row->quarantined;
    if (readable && a->known && a->latest.leaf.operation != LEAF_DELETE)
        compute_live(h, item, a, out);
    struct sync__comparison c = {
        .chain_known = a->known,
        .operation = a->latest.leaf.operation,
        .row_found = item->row != NULL,
        .row_readable = readable,
        .mapping_same = hash_equal(&a->latest.leaf.mapping, &item->plan->mapping_digest),
        .content_same = out->live && hash_equal(&out->live_content, &a->latest.leaf.content),
        .raw_same = out->live && hash_equal(&out->live_raw, &a->latest.leaf.raw)};
    if (a->earlier != NULL)
        judge_earlier(item, a, h, &c, out);
    out->verdict = sync__verdict(&c);
    if (item->row != NULL && !readable)
        explain_unreadable(r, item, out);
    if (readable && of_another(r, item)) {
        out->code = ERROR_FORBIDDEN;
        out->error = "the row now belongs to another patient";
        out->hint = "the earlier versions' proofs stay";
        if (out->verdict == VERDICT_MATCH) /* the patient column is not in the digests: withhold */
            out->verdict = VERDICT_WITHHELD;
    } else if (readable) {
        TRY(show_document(r, item, out, err));
    }
    report_incident(r, a, out);
    return ERROR_NONE;
}

static enum error_code compare_one(struct retrieval *r, struct retrieval_item *item,
                                   struct retrieval_anchored *a, struct sha256 *h,
                                   struct record *out, struct error *err) {
    *out = (struct record){.address = item->address,
                           .hospital = r->sync->hospital,
                           .source = item->source_name,
                           .table = item->table_name,
                           .category = item->source != NULL
                                           ? item->source->mapping->tables[item->table].category
                                           : "",
                           .date = "",
                           .error = "",
                           .hint = ""};
    if (a->known)
        TRY(show_versions(r, a, out, err));
    TRY(judge(r, item, a, h, out, err));
    if (a->in_vault)
        show_date(a->record.latest.date, out, r->arena);
    return ERROR_NONE;
}

enum error_code retrieval_compare(struct retrieval *r, size_t from, size_t to,
                                  struct record *ret_records, struct error *err) {
    SCOPED_FREE struct retrieval_anchored *list = calloc(to - from + 1, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    TRY(read_anchored(r, from, to, list, err));
    struct sha256 *h = sha256_new();
    enum error_code code = retrieval_earlier(r, from, to, list, h, err);
    for (size_t i = from; code == ERROR_NONE && i < to; i++)
        code = compare_one(r, &r->items[i], &list[i - from], h, &ret_records[i - from], err);
    sha256_free(h);
    return code;
}
