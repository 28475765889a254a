/*
 * The state's database, looked at without a store: how far it goes, and two of them held against each
 * other. For fsck. Reads only, and takes no lock: no store may be open on the folder.
 *
 * LMDB's pages have no checksums. Of a damaged file anything may come, a crash of the reader among it:
 * who asks about a file that may be damaged asks in a process of its own.
 */
#ifndef LEDGER_STORE_COMPARE_H
#define LEDGER_STORE_COMPARE_H

#include "base/bytes.h"
#include "base/error.h"

/* ERROR_NOT_FOUND where there is no database in the data folder, or nothing in it; ERROR_CORRUPT. */
MUST_CHECK enum error_code store_compare_height(const char *folder, uint64_t *ret_height,
                                                struct error *err);

/* Of an entry that only one of the two has, the other's value has no data. */
typedef void (*store_differs_fn)(void *self, struct bytes key, struct bytes found,
                                 struct bytes expected);
/* Tells of every entry that is not the same in the two data folders' states. */
MUST_CHECK enum error_code store_compare(const char *found, const char *expected,
                                         store_differs_fn differs, void *self, struct error *err);

#endif
