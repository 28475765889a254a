/*
 * Rows as an earlier mapping read them: until the next sync has anchored a row under the mapping in
 * force, only the one that it was anchored under can tell whether it is still the same.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/sync/retrieval.h"

/* Its digests under the mapping in force cannot be compared with the anchored ones. */
static bool is_behind(const struct retrieval_item *item, const struct retrieval_anchored *a,
                      struct sha256 *h) {
    const struct leaf *leaf = &a->latest.leaf;
    if (!a->known || leaf->operation == LEAF_DELETE || !item->fetched || item->row == NULL ||
        leaf->version != a->record.latest.version ||
        hash_equal(&leaf->mapping, &item->plan->mapping_digest))
        return false;
    if (item->row->quarantined)
        return true;
    struct hash content = digest_content(h, a->record.latest.r, item->row->document);
    struct hash raw = digest_raw(h, a->record.latest.r, item->row->raw);
    return !hash_equal(&content, &leaf->content) || !hash_equal(&raw, &leaf->raw);
}

/* Those of one source, table and earlier mapping. */
struct behind {
    struct retrieval_item *items[WORKER_FETCH_KEYS_MAX];
    struct retrieval_anchored *anchored[WORKER_FETCH_KEYS_MAX];
    size_t count;
};

/* What the description says, in the arena; NULL where it says nothing. */
static const char *category_of(struct arena *arena, struct bytes description) {
    json_t *root = json_loadb((const char *)description.data, description.len, 0, NULL);
    const char *category = json_string_value(json_object_get(root, "category"));
    char *copy = category != NULL ? arena_text(arena, category) : NULL;
    json_decref(root);
    return copy;
}

static void take_rows(const struct behind *b, const struct worker_fetched *fetched,
                      const char *category) {
    for (size_t i = 0; i < b->count; i++) {
        const struct worker_fetched_row *row = &fetched->rows[i];
        bool there = row->found && !row->quarantined &&
                     (row->key.len == 0 || bytes_equal(row->key, b->items[i]->key));
        if (!there) /* gone or spoilt since a moment ago: the next look tells */
            continue;
        b->anchored[i]->earlier_plan = fetched->plan;
        b->anchored[i]->earlier = row;
        b->anchored[i]->earlier_category = category;
    }
}

/* What cannot be read so any more is no failure of the retrieval: these rows wait for a sync. */
static enum error_code read_earlier(struct retrieval *r, const struct behind *b,
                                    struct error *err) {
    SCOPED_BUFFER struct buffer description;
    buffer_init(&description, VAULT_MAPPING_BYTES_MAX);
    struct hash mapping = b->anchored[0]->latest.leaf.mapping;
    enum error_code code = vault_mapping_read(r->sync->vault, &mapping, &description, err);
    if (code == ERROR_NOT_FOUND)
        return ERROR_NONE;
    if (code != ERROR_NONE)
        return code;
    SCOPED_FREE struct worker_fetch_key *keys = calloc(b->count, sizeof *keys);
    if (keys == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    for (size_t i = 0; i < b->count; i++)
        keys[i].key = b->items[i]->key;
    const struct worker_fetched *fetched;
    struct error failed;
    if (worker_fetch_under(b->items[0]->source->fetcher, b->items[0]->table_name,
                           buffer_bytes(&description), keys, b->count, &fetched,
                           &failed) != ERROR_NONE)
        return ERROR_NONE;
    TRY(retrieval_keep(r, fetched, err));
    const char *category = category_of(r->arena, buffer_bytes(&description));
    if (category != NULL && fetched->row_count == b->count &&
        hash_equal(&fetched->plan->mapping_digest, &mapping))
        take_rows(b, fetched, category);
    return ERROR_NONE;
}

static bool belongs(const struct behind *b, const struct retrieval_item *item,
                    const struct retrieval_anchored *a) {
    return b->count == 0 || (item->source == b->items[0]->source &&
                             item->table == b->items[0]->table &&
                             hash_equal(&a->latest.leaf.mapping,
                                        &b->anchored[0]->latest.leaf.mapping));
}

enum error_code retrieval_earlier(struct retrieval *r, size_t from, size_t to,
                                  struct retrieval_anchored *list, struct sha256 *h,
                                  struct error *err) {
    SCOPED_FREE bool *behind = calloc(to - from + 1, sizeof *behind);
    SCOPED_FREE struct behind *b = malloc(sizeof *b);
    if (behind == NULL || b == NULL)
        return error_set(err, ERROR_NO_MEMORY, "retrieval: no memory");
    for (size_t i = from; i < to; i++)
        behind[i - from] = is_behind(&r->items[i], &list[i - from], h);
    for (size_t i = from; i < to; i++) {
        if (!behind[i - from])
            continue;
        b->count = 0;
        for (size_t j = i; j < to && b->count < WORKER_FETCH_KEYS_MAX; j++) {
            if (!behind[j - from] || !belongs(b, &r->items[j], &list[j - from]))
                continue;
            b->items[b->count] = &r->items[j];
            b->anchored[b->count++] = &list[j - from];
            behind[j - from] = false;
        }
        TRY(read_earlier(r, b, err));
    }
    return ERROR_NONE;
}
