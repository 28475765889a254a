/*
 * What a node makes from its blocks, held against a walk over them: log/, places, map/. Inside fsck only;
 * reads, and changes nothing.
 */
#ifndef LEDGER_FSCK_DERIVED_H
#define LEDGER_FSCK_DERIVED_H

#include "ledger/walk.h"

struct derived_report {
    void (*find)(void *self, const char *file, const char *text);
    void *self;
};

struct derived;
/* Ends the process where memory runs out: about 150 bytes a leaf. */
struct derived *derived_new(const char *folder, const struct derived_report *report);
void derived_free(struct derived *derived);
/* For the walk: compares the log's tree on the way, and keeps the leaves. */
struct walk_sink derived_sink(struct derived *derived);
/* After it. ret_all is false where there are too many leaves to keep: then of places and map only the
 * files' own checksums were looked at. */
MUST_CHECK enum error_code derived_check(struct derived *derived, const struct block_header *head,
                                         bool *ret_all, struct error *err);

#endif
