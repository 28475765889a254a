/*
 * renkei-node's commands about what lies in the data folder: backup, restore, fsck.
 */
#ifndef LEDGER_BACKUP_COMMAND_H
#define LEDGER_BACKUP_COMMAND_H

#include "ledger/members_command.h"

/* Copies the blocks, which are all that cannot be made anew, to a new folder, each one proven from the
 * genesis on the way. The node may run. */
MUST_CHECK enum error_code ledger_backup(const struct members_call *call, struct error *err);
/* Makes the data folder of such a copy, proven again. Votes are never restored: the node follows until
 * the next epoch; with call->alone, for the only validator of a chain, it votes at once. */
MUST_CHECK enum error_code ledger_restore(const struct members_call *call, struct error *err);
/* Looks through the data folder of a node that does not run. ERROR_CORRUPT where anything is damaged.
 * With call->repair what can be made anew from whole blocks is removed, and is made at the next start. */
MUST_CHECK enum error_code ledger_fsck(const struct members_call *call, struct error *err);

#endif
