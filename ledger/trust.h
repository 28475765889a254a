/*
 * What is believed with nothing but the genesis file: a block whose certificate Q validators of its
 * epoch signed; and the list of an epoch, because the last block of the epoch before names its hash and
 * was certified by that epoch's validators, and so on down to the genesis.
 *
 * Owns: the validators' keys of every epoch that was proven. Pure.
 */
#ifndef LEDGER_TRUST_H
#define LEDGER_TRUST_H

#include "ledger/block.h"
#include "ledger/genesis.h"
#include "ledger/pbft/vote.h"

enum { TRUST_EPOCHS_MAX = 1 << 20 };

struct trust;
/* Epoch 0 is proven by the genesis. Ends the process where memory runs out. */
struct trust *trust_new(const struct genesis *genesis);
void trust_free(struct trust *trust);

struct members;
/* The last list that is proven; borrowed until the next one is. */
const struct members *trust_members(const struct trust *trust);
/* The last epoch that is proven, and how many validate in it. */
uint64_t trust_epoch(const struct trust *trust);
uint32_t trust_validator_count(const struct trust *trust);

/* Proves the next epoch by the last block of this one and the list that it gave way to. ERROR_VERIFY,
 * ERROR_PROTOCOL. */
MUST_CHECK enum error_code trust_next(struct trust *trust, const struct block_header *last,
                                      struct bytes certificate, struct bytes list,
                                      struct error *err);
/* What can be told before the header's epoch is proven: the certificate is of this header. */
MUST_CHECK enum error_code trust_fits(const struct trust *trust, const struct block_header *header,
                                      struct bytes certificate,
                                      struct pbft_certificate *ret_certificate,
                                      struct error *err);
/* ERROR_VERIFY where the certificate does not prove this header; the genesis' own needs none.
 * The header's epoch must be proven before. ret_certificate may be NULL. */
MUST_CHECK enum error_code trust_check(const struct trust *trust, const struct block_header *header,
                                       struct bytes certificate,
                                       struct pbft_certificate *ret_certificate,
                                       struct error *err);

#endif
