#include "ledger/budget.h"

enum { GAP_MS_MAX = 3600000, COST_MAX = 1 << 30 };

bool budget_left(struct budget *budget, int64_t per_s, int64_t full, uint64_t now_ms) {
    if (!budget->used) {
        *budget = (struct budget){full, now_ms, true};
        return full > 0;
    }
    uint64_t gap_ms = now_ms > budget->filled_ms ? now_ms - budget->filled_ms : 0;
    int64_t earned = (int64_t)(gap_ms < GAP_MS_MAX ? gap_ms : GAP_MS_MAX) * per_s / 1000;
    if (earned > 0) { /* else the time is kept until it is worth a unit */
        budget->left += earned;
        budget->filled_ms = now_ms;
    }
    if (budget->left > full)
        budget->left = full;
    return budget->left > 0;
}

void budget_spend(struct budget *budget, uint64_t cost) {
    budget->left -= cost < COST_MAX ? (int64_t)cost : COST_MAX;
}

int64_t budget_rate(int64_t most, int64_t together, uint32_t hostile) {
    int64_t each = hostile > 0 ? together / hostile : most;
    return each < most ? each : most;
}
