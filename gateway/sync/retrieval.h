/*
 * Retrieval, shared by its files: gather.c finds which records there are, compare.c looks at each
 * and gives the verdict.
 */
#ifndef GATEWAY_SYNC_RETRIEVAL_H
#define GATEWAY_SYNC_RETRIEVAL_H

#include "gateway/sync/sync_internal.h"

/* One record to look at. */
struct retrieval_item {
    const char *address;
    const char *source_name;
    const char *table_name;
    struct sync__source *source; /* NULL: not configured any more */
    size_t table;
    struct bytes key;
    uint64_t record; /* of the vault; 0: not in it */
    const struct worker_plan *plan;
    const struct worker_fetched_row *row; /* NULL: not fetched */
    bool fetched;                         /* the source was asked: row NULL means gone */
    enum error_code code;                 /* why it could not be asked */
    const char *error;
    const char *hint;
};

/* What the vault and the chain say of one record. */
struct retrieval_anchored {
    bool in_vault;
    bool known; /* the chain has it */
    struct vault_record record;
    struct ledger_version latest;
    /* Where it was anchored under an earlier mapping: the live row as that one reads it, or NULL. */
    const struct worker_plan *earlier_plan;
    const struct worker_fetched_row *earlier;
    const char *earlier_category;
};

enum { RETRIEVAL_RESULTS_MAX = 8192 };

struct retrieval {
    struct sync *sync;
    struct arena *arena;
    struct vault_view *view;
    struct bytes patient; /* empty: of anybody */
    bool raw;
    struct retrieval_item *items; /* of malloc */
    size_t count;
    size_t room;
    struct records_error *errors; /* the arena's */
    size_t error_count;
    size_t error_room;
    const void **results; /* of the workers, freed at the end */
    size_t result_count;
};

MUST_CHECK enum error_code retrieval_init(struct retrieval *r, struct sync *sync,
                                          const char *patient, bool raw, struct arena *arena,
                                          struct error *err);
void retrieval_done(struct retrieval *r);
MUST_CHECK enum error_code retrieval_gather(struct retrieval *r, struct error *err);
MUST_CHECK enum error_code retrieval_add(struct retrieval *r, struct sync__source *source,
                                         size_t table, struct bytes key, uint64_t record,
                                         struct error *err);
/* The result is freed with the retrieval, or at once where it fails. */
MUST_CHECK enum error_code retrieval_keep(struct retrieval *r, const void *result,
                                          struct error *err);
/* Asks the sources for the rows of items[from..to) that are not here yet. What fails is kept with
 * the items. */
MUST_CHECK enum error_code retrieval_fetch(struct retrieval *r, size_t from, size_t to,
                                           struct error *err);
/* Rows of items[from..to) that were anchored under an earlier mapping than the one in force, and do
 * not have the anchored digests under this one, are read as the earlier one read them: list[i] is of
 * items[from + i]. What cannot be read so any more stays without. */
MUST_CHECK enum error_code retrieval_earlier(struct retrieval *r, size_t from, size_t to,
                                             struct retrieval_anchored *list, struct sha256 *h,
                                             struct error *err);
/* Verdicts of items[from..to) into ret_records. */
MUST_CHECK enum error_code retrieval_compare(struct retrieval *r, size_t from, size_t to,
                                             struct record *ret_records, struct error *err);

#endif
