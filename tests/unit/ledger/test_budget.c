/* A peer's budget: what is left of it, how it fills, and that a flood gets its rate and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ledger/budget.h"

enum { PER_S = 2000, FULL = 5000 };

static void it_starts_full_and_is_never_more(void **state) {
    (void)state;
    struct budget b = {0};
    assert_true(budget_left(&b, PER_S, FULL, 1000));
    assert_int_equal(b.left, FULL);
    assert_true(budget_left(&b, PER_S, FULL, 99999999));
    assert_int_equal(b.left, FULL);
}

static void one_message_may_overdraw_and_waits_for_it(void **state) {
    (void)state;
    struct budget b = {0};
    assert_true(budget_left(&b, PER_S, FULL, 1000));
    budget_spend(&b, FULL + 400);
    assert_false(budget_left(&b, PER_S, FULL, 1000));
    assert_false(budget_left(&b, PER_S, FULL, 1199));
    assert_true(budget_left(&b, PER_S, FULL, 1201)); /* 400 units are 200 ms */
}

static void a_flood_gets_its_rate(void **state) {
    (void)state;
    struct budget b = {0};
    uint64_t spent = 0;
    for (uint64_t us = 0; us < 10000000; us += 50) /* ten seconds, a message of one unit each 50 us */
        if (budget_left(&b, PER_S, FULL, 1000 + us / 1000)) {
            budget_spend(&b, 1);
            spent++;
        }
    assert_in_range(spent, FULL + 10 * PER_S - 10, FULL + 10 * PER_S);
}

/* A tenth of the time, in microseconds, on machines of very different speed: each is asked again as
 * soon as it has answered, or refused. */
static void a_share_of_time_is_kept_however_slow_the_machine(void **state) {
    (void)state;
    enum { SHARE_US_PER_S = 100000, SHARE_US_MAX = 200000, REFUSAL_US = 7, LASTS_US = 60000000 };
    const uint64_t answer_us[] = {1, 300, 20000, 900000};
    for (size_t i = 0; i < sizeof answer_us / sizeof answer_us[0]; i++) {
        struct budget b = {0};
        uint64_t spent_us = 0;
        uint64_t refused = 0;
        for (uint64_t now_us = 0; now_us < LASTS_US;) {
            bool answered = budget_left(&b, SHARE_US_PER_S, SHARE_US_MAX, now_us / 1000);
            if (answered)
                budget_spend(&b, answer_us[i]);
            spent_us += answered ? answer_us[i] : 0;
            refused += answered ? 0 : 1;
            now_us += answered ? answer_us[i] : REFUSAL_US;
        }
        assert_true(spent_us <= SHARE_US_MAX + LASTS_US / 10 + answer_us[i]);
        assert_true(spent_us >= LASTS_US / 10);
        assert_true(refused > 0);
    }
}

static void a_slow_rate_loses_no_time(void **state) {
    (void)state;
    struct budget b = {0};
    assert_true(budget_left(&b, 10, 1, 0));
    budget_spend(&b, 1);
    for (uint64_t ms = 0; ms < 100; ms++)
        assert_false(budget_left(&b, 10, 1, ms));
    assert_true(budget_left(&b, 10, 1, 100));
}

static void time_that_goes_back_and_huge_costs_do_no_harm(void **state) {
    (void)state;
    struct budget b = {0};
    assert_true(budget_left(&b, PER_S, FULL, 5000));
    assert_true(budget_left(&b, PER_S, FULL, 10));
    budget_spend(&b, UINT64_MAX);
    assert_false(budget_left(&b, PER_S, FULL, 6000));
    assert_false(budget_left(&b, PER_S, FULL, UINT64_MAX));
}

static void many_share_what_they_may_cost_together(void **state) {
    (void)state;
    assert_int_equal(budget_rate(2000, 8000, 0), 2000);
    assert_int_equal(budget_rate(2000, 8000, 1), 2000);
    assert_int_equal(budget_rate(2000, 8000, 4), 2000);
    assert_int_equal(budget_rate(2000, 8000, 5), 1600);
    assert_int_equal(budget_rate(2000, 8000, 33), 242);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_starts_full_and_is_never_more),
        cmocka_unit_test(one_message_may_overdraw_and_waits_for_it),
        cmocka_unit_test(a_flood_gets_its_rate),
        cmocka_unit_test(a_share_of_time_is_kept_however_slow_the_machine),
        cmocka_unit_test(a_slow_rate_loses_no_time),
        cmocka_unit_test(time_that_goes_back_and_huge_costs_do_no_harm),
        cmocka_unit_test(many_share_what_they_may_cost_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
