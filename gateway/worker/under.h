/*
 * A table as an earlier mapping read it. Inside gateway/worker only.
 *
 * A row that was anchored under another mapping than the present one can be compared with the chain
 * only as it was read then. What must be known for that is the earlier mapping's description
 * (docs/formats.md, "Mapping description"); whether it sufficed, the description itself tells: the
 * normalizer made of it must give the same one again, byte for byte.
 */
#ifndef GATEWAY_WORKER_UNDER_H
#define GATEWAY_WORKER_UNDER_H

#include "gateway/worker/host.h"

/* What a description says, in the arena: hands out a table and the mapping that it stands in, made
 * from the present ones. columns: as the source describes them now. ERROR_MAPPING where the
 * description makes no sense. */
MUST_CHECK enum error_code under_read(const struct mapping *now, const struct mapping_table *table,
                                      struct bytes description,
                                      const struct renkei_column *columns, uint32_t column_count,
                                      struct arena *arena, struct mapping *ret_mapping,
                                      struct mapping_table *ret_table, struct error *err);

/* FRAME_UNDER: as a fetch, but under the mapping of the description that comes with it. ERROR_MAPPING
 * where the table cannot be read so any more: a column is gone or of another type, the session's
 * settings, the converters or the gaiji file are others. */
MUST_CHECK enum error_code host_under(struct host *h, struct wire_reader *r, struct error *err);

#endif
