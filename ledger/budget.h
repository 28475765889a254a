/*
 * What a peer may cost: so many units a second, and what it did not use, up to a maximum.
 *
 * A message is looked at while anything is left, whatever it then costs; so one message may overdraw,
 * by its own cost at most, and what it overdrew is earned back before the next is looked at.
 */
#ifndef LEDGER_BUDGET_H
#define LEDGER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
    int64_t left;
    uint64_t filled_ms;
    bool used; /* zeroed: full, and never asked yet */
};

bool budget_left(struct budget *budget, int64_t per_s, int64_t full, uint64_t now_ms);
void budget_spend(struct budget *budget, uint64_t cost);
/* The rate of each of so many who may be hostile: most, or its part of what they may cost together. */
int64_t budget_rate(int64_t most, int64_t together, uint32_t hostile);

#endif
