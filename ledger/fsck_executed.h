/*
 * What the blocks do, held against what the folder says they did: executes all of them anew in a folder
 * of its own, signatures and all roots checked, and compares the entries of the state's database. Inside
 * fsck only; what it makes beside the data, it takes away again.
 */
#ifndef LEDGER_FSCK_EXECUTED_H
#define LEDGER_FSCK_EXECUTED_H

#include "ledger/block.h"
#include "ledger/genesis.h"

struct executed_report {
    void (*find)(void *self, const char *file, const char *text, bool made_anew);
    void (*note)(void *self, const char *text);
    void *self;
};

/* head: the last block's, all of them proven from the genesis before. Says on standard error how far it
 * is, as it takes as long as executing does. */
MUST_CHECK enum error_code executed_check(const struct genesis *genesis, const char *folder,
                                          const struct block_header *head,
                                          const struct executed_report *report,
                                          struct error *err);

#endif
