#include "gateway/sync/sync_internal.h"

/*
 * The comparison of what the database holds now with what the chain says was anchored last. Both
 * are known when this is asked: a database or a chain that could not be asked is VERDICT_UNKNOWN
 * before it comes here.
 */
enum verdict sync__verdict(const struct sync__comparison *c) {
    if (!c->chain_known && !c->row_found)
        return VERDICT_UNKNOWN;
    if (!c->chain_known) /* nothing to compare with; what cannot be normalized is not shown */
        return c->row_readable ? VERDICT_UNANCHORED : VERDICT_WITHHELD;
    if (c->operation == LEAF_DELETE) /* gone, as anchored; a row that came back is a new one */
        return c->row_found ? VERDICT_UNANCHORED : VERDICT_MATCH;
    if (!c->row_found)
        return VERDICT_MISSING;
    if (c->row_readable && c->content_same && c->raw_same)
        return VERDICT_MATCH;
    /* Under another mapping the digests differ though nobody touched the row: that is for the next
     * sync to anchor, and must not look like tampering. */
    if (!c->mapping_same)
        return c->row_readable ? VERDICT_UNANCHORED : VERDICT_WITHHELD;
    return VERDICT_MISMATCH;
}
