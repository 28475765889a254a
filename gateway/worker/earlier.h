/*
 * What earlier mappings read of a table, read beside what the one in force does. Inside
 * gateway/worker only.
 *
 * A row that was anchored under an earlier mapping has other digests under the one in force, whether
 * anybody touched it or not. Its anchored raw digest tells: it is over the bytes of the columns that
 * the earlier mapping read, in that order, and no converter had a part in it. So a pull selects these
 * columns too, and makes that preimage once more where a row's digests differ.
 */
#ifndef GATEWAY_WORKER_EARLIER_H
#define GATEWAY_WORKER_EARLIER_H

#include "gateway/worker/host.h"

struct earlier;

/* descriptions: of mappings, at most WORKER_EARLIER_MAX. Of one whose columns are not all there any
 * more, or may not be read any more, no row is said to be the same. t must outlive it. */
MUST_CHECK enum error_code earlier_new(struct host *h, const struct host_table *t,
                                       const struct bytes *descriptions, size_t count,
                                       struct earlier **ret_earlier, struct error *err);
void earlier_free(struct earlier *e); /* NULL is fine */

/* What to select: the table's own columns, then those that only earlier mappings read. */
const char *const *earlier_columns(const struct earlier *e, uint32_t *ret_count);

/* Appends what the row has in the columns behind the table's own. */
void earlier_keep(const struct earlier *e, const struct renkei_batch *batch, uint32_t row,
                  struct buffer *data);

/* Is the row what was anchored with these r and raw digest under descriptions[number - 1]? raw: its
 * preimage under the mapping in force; kept: what earlier_keep appended. */
bool earlier_same(struct earlier *e, uint32_t number, struct bytes raw, struct bytes kept,
                  const uint8_t r[WORKER_SALT_BYTES], const struct hash *anchored);

#endif
