/*
 * Checkpoints: the head of another chain, proven from that chain's genesis on. A hospital that kept a
 * chain of its own before it joined anchors its last one, so that all of the old chain stays provable
 * by a block that many have signed.
 *
 * Owns: the body's layout (docs/formats.md) and its proof. Pure: no input or output.
 */
#ifndef LEDGER_CHECKPOINT_H
#define LEDGER_CHECKPOINT_H

#include "ledger/block.h"

/* Bounds what one transaction may cost in signatures: about 1,000. */
enum { CHECKPOINT_BYTES_MAX = 64 << 10 };

/* genesis: the file. epochs: those that have ended, one after another, each its last block's header,
 * u32 bytes certificate, u32 bytes list. ERROR_LIMIT. */
MUST_CHECK enum error_code checkpoint_encode(struct bytes genesis, uint32_t epoch_count,
                                             struct bytes epochs, const struct block_header *head,
                                             struct bytes certificate, struct buffer *out,
                                             struct error *err);
/* The layout only; the head names its chain. */
MUST_CHECK enum error_code checkpoint_decode(struct bytes body, struct block_header *ret_head,
                                             struct error *err);
/* Everything: the epochs follow from the genesis, and the last one's validators certified the head.
 * ERROR_VERIFY, ERROR_PROTOCOL. */
MUST_CHECK enum error_code checkpoint_prove(struct bytes body, struct block_header *ret_head,
                                            struct error *err);

#endif
