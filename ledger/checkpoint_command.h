/*
 * renkei-node's commands about checkpoints: a chain's head, anchored on another chain.
 */
#ifndef LEDGER_CHECKPOINT_COMMAND_H
#define LEDGER_CHECKPOINT_COMMAND_H

#include "ledger/members_command.h"

/* Writes the head of this node's chain, proven, to a file. */
MUST_CHECK enum error_code checkpoint_make(const struct members_call *call, struct error *err);
/* Anchors such a file on this node's chain, signed with this node's key. */
MUST_CHECK enum error_code checkpoint_anchor(const struct members_call *call, struct error *err);
/* Tells what this node's chain has of the chain of a genesis file. */
MUST_CHECK enum error_code checkpoint_show(const struct members_call *call, struct error *err);

#endif
