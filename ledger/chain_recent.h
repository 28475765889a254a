/*
 * Committed changes of records that the map does not have yet, in memory: found by key, and handed to
 * the map in the order of the log. Inside the chain only.
 */
#ifndef LEDGER_CHAIN_RECENT_H
#define LEDGER_CHAIN_RECENT_H

#include "ledger/store/map.h"

struct recent;
struct recent *recent_new(void); /* ends the process where memory runs out, as all here */
void recent_free(struct recent *recent);
void recent_put(struct recent *recent, const struct map_change *change);
/* The last change of a record; NULL: none. Borrowed until the next put. */
const struct map_change *recent_find(const struct recent *recent, const struct hash *key);
size_t recent_count(const struct recent *recent);
const struct map_change *recent_changes(const struct recent *recent);

#endif
