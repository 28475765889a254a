#include "gateway/rest/claims.h"

#include <string.h>

#include "base/text.h"
#include "gateway/rest/scan.h"

enum { CLAIMS_BATCH_MAX = LEDGER_ANCHOR_LEAVES_MAX };

struct claim {
    struct locator locator;
    uint64_t version;
    bool deleted; /* it matches in that it is gone, as anchored */
    struct hash content;
};

static bool read_hex(struct bytes raw, uint8_t *ret_data, size_t len) {
    char text[2 * HASH_BYTES + 1];
    if (raw.len != 2 * len + 2 || len > HASH_BYTES || raw.data[0] != '"')
        return false;
    memcpy(text, raw.data + 1, 2 * len);
    text[2 * len] = '\0';
    return text_unhex(text, len, ret_data);
}

static bool read_number(struct bytes raw, uint64_t *ret_value) {
    char text[24];
    if (raw.len == 0 || raw.len >= sizeof text)
        return false;
    memcpy(text, raw.data, raw.len);
    text[raw.len] = '\0';
    return text_u64(text, ret_value);
}

/* SHA-256(domain ‖ r ‖ document); the document's canonical bytes are put together from members that
 * stand in the section as they stand in it. */
static struct hash content_digest(struct bytes record, const uint8_t r[HASH_BYTES]) {
    struct bytes parts[] = {
        BYTES_LITERAL("renkei/content/1\n"),
        bytes_of(r, HASH_BYTES),
        BYTES_LITERAL("{\"address\":"),
        scan_find(record, "address"),
        BYTES_LITERAL(",\"category\":"),
        scan_find(record, "category"),
        BYTES_LITERAL(",\"fields\":"),
        scan_find(record, "fields"),
        BYTES_LITERAL("}"),
    };
    return sha256_of_parts(parts, sizeof parts / sizeof parts[0]);
}

static bool read_claim(struct bytes record, struct claim *ret_claim) {
    struct claim claim = {0};
    struct bytes anchored = scan_find(record, "anchored");
    struct scan history = scan_open(scan_find(record, "history"));
    struct bytes none, latest;
    uint8_t r[HASH_BYTES];
    if (!read_hex(scan_find(anchored, "locator"), claim.locator.byte, LOCATOR_BYTES) ||
        !scan_next(&history, &none, &latest) ||
        !read_number(scan_find(latest, "version"), &claim.version))
        return false;
    claim.deleted = scan_is(scan_find(latest, "operation"), "delete");
    bool fields = scan_find(record, "fields").len > 0;
    if (claim.deleted ? fields : !fields || !read_hex(scan_find(latest, "r"), r, HASH_BYTES))
        return false;
    if (!claim.deleted)
        claim.content = content_digest(record, r);
    *ret_claim = claim;
    return true;
}

enum standing { STANDS, BEHIND, MOVED_ON, CONTRADICTED };

/* A version that the own chain does not have yet is no lie by itself; one that it has, and another
 * content in it, is. Where the chain has a newer one the record may just have been synced: it is
 * not shown as a match, but nobody is blamed. */
static enum standing compare(const struct claim *claim, const struct ledger_version *own) {
    if (claim->version == 0)
        return CONTRADICTED;
    if (own->leaf.version < claim->version)
        return BEHIND;
    bool deleted = own->leaf.operation == LEAF_DELETE;
    if (own->leaf.version > claim->version)
        return MOVED_ON;
    if (deleted != claim->deleted)
        return CONTRADICTED;
    return deleted || hash_equal(&own->leaf.content, &claim->content) ? STANDS : CONTRADICTED;
}

static void refuse(struct arena *arena, struct document_part *part, enum error_code code,
                   const char *status, const char *error) {
    part->status = status;
    part->code = code;
    part->error = arena_format(arena, "hospital %s: %s", part->hospital, error);
    part->hint = error_info(code)->hint;
    if (strcmp(status, "refused") == 0)
        part->section = bytes_of(NULL, 0);
}

struct check {
    const struct rest_backend *backend;
    struct claim *claims;
    struct locator *locators;
    struct ledger_version *versions;
    size_t count;
    size_t behind;
};

/* Asks the own node for a batch. ERROR_VERIFY: a claim is contradicted. */
static enum error_code check_batch(struct check *check, struct error *err) {
    if (check->count == 0)
        return ERROR_NONE;
    for (size_t i = 0; i < check->count; i++)
        check->locators[i] = check->claims[i].locator;
    TRY(check->backend->latest(check->backend->context, check->locators, check->count,
                               check->versions, err));
    for (size_t i = 0; i < check->count; i++) {
        enum standing standing = compare(&check->claims[i], &check->versions[i]);
        if (standing == CONTRADICTED)
            return error_set(err, ERROR_VERIFY,
                             "a record that it calls a match is not what this "
                             "gateway's own chain has of it");
        if (standing == MOVED_ON)
            return error_set(err, ERROR_BUSY,
                             "a record changed on the chain while it was asked "
                             "for; ask again");
        check->behind += standing == BEHIND;
    }
    check->count = 0;
    return ERROR_NONE;
}

static enum error_code check_all(struct check *check, struct bytes section, struct error *err) {
    struct scan scan = scan_open(scan_find(section, "records"));
    struct bytes none, record;
    while (scan_next(&scan, &none, &record)) {
        if (!scan_is(scan_find(record, "verdict"), verdict_name(VERDICT_MATCH)))
            continue;
        if (!read_claim(record, &check->claims[check->count]))
            return error_set(err, ERROR_VERIFY,
                             "a record that it calls a match comes without "
                             "what is needed to check it");
        if (++check->count == CLAIMS_BATCH_MAX)
            TRY(check_batch(check, err));
    }
    return check_batch(check, err);
}

void claims_check(const struct rest_backend *backend, struct arena *arena,
                  struct document_part *part) {
    struct error err = {0};
    struct check check = {.backend = backend};
    check.claims = arena_alloc(arena, CLAIMS_BATCH_MAX * sizeof *check.claims);
    check.locators = arena_alloc(arena, CLAIMS_BATCH_MAX * sizeof *check.locators);
    check.versions = arena_alloc(arena, CLAIMS_BATCH_MAX * sizeof *check.versions);
    enum error_code code;
    if (check.claims == NULL || check.locators == NULL || check.versions == NULL)
        code = error_set(&err, ERROR_NO_MEMORY, "no memory to check its records");
    else
        code = check_all(&check, part->section, &err);
    if (code == ERROR_VERIFY || code == ERROR_BUSY)
        refuse(arena, part, code, "refused", err.message);
    else if (code != ERROR_NONE)
        refuse(arena, part, code, "partial", err.message);
    else if (check.behind > 0)
        refuse(arena, part, ERROR_NODE_STALE, "partial",
               "some of its records are newer than what this gateway's own node has; they could "
               "not be checked here");
}
