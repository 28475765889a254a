/* What of a peer's comings and goings is told: each row is one of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ledger/net/news.h"

enum { STEADY_MS = 60000, ABSENT_MS = 10000 };
enum what { UP, DOWN, STAYS_DOWN };

struct step {
    uint64_t after_ms; /* the step before */
    enum what what;
    bool told;
};

static void play(const struct step *steps, size_t count) {
    struct net_news news = {0};
    uint64_t now_ms = 1000;
    for (size_t i = 0; i < count; i++) {
        now_ms += steps[i].after_ms;
        bool told = steps[i].what == UP     ? net_news_up(&news, now_ms)
                    : steps[i].what == DOWN ? net_news_down(&news, now_ms, STEADY_MS)
                                            : net_news_absent(&news, now_ms, ABSENT_MS);
        if (told != steps[i].told)
            fail_msg("step %zu: found %d, expected %d", i, told, steps[i].told);
    }
}
#define PLAY(steps) play(steps, sizeof(steps) / sizeof *(steps))

static void the_first_loss_and_the_return_are_told(void **state) {
    (void)state;
    static const struct step steps[] = {
        {0, STAYS_DOWN, false}, /* never seen yet */
        {5000, UP, true},
        {1000, DOWN, true},
        {ABSENT_MS, STAYS_DOWN, false}, /* it was told */
        {0, UP, true},
    };
    PLAY(steps);
}

static void of_one_that_comes_and_goes_some_is_told(void **state) {
    (void)state;
    struct net_news news = {0};
    uint32_t told = 0;
    uint64_t now_ms = 0;
    (void)net_news_up(&news, now_ms);
    for (uint32_t losses = 1; losses <= 1000; losses++) {
        now_ms += STEADY_MS - 1;
        bool down = net_news_down(&news, now_ms, STEADY_MS);
        assert_int_equal(down, losses == 1 || losses == 2 || losses == 4 || losses == 8 ||
                                   losses == 16 || losses == 32 || losses == 64 ||
                                   losses == 128 || losses == 256 || losses == 512);
        assert_false(net_news_absent(&news, now_ms + ABSENT_MS - 1, ABSENT_MS));
        assert_int_equal(net_news_up(&news, now_ms + ABSENT_MS - 1), down);
        now_ms += ABSENT_MS - 1;
        told += down;
    }
    assert_int_equal(told, 10);
}

static void a_loss_that_was_not_told_and_lasts_is_told_once(void **state) {
    (void)state;
    static const struct step steps[] = {
        {0, UP, true},       {1, DOWN, true}, {1, UP, true}, {1, DOWN, true}, {1, UP, true},
        {1, DOWN, false}, /* the third */
        {ABSENT_MS - 1, STAYS_DOWN, false},
        {1, STAYS_DOWN, true},
        {1, STAYS_DOWN, false},
        {ABSENT_MS, STAYS_DOWN, false},
        {1, UP, true}, /* and so is the return */
        {1, DOWN, true}, /* the fourth */
    };
    PLAY(steps);
}

static void who_stayed_up_for_long_is_lost_for_the_first_time_again(void **state) {
    (void)state;
    static const struct step steps[] = {
        {0, UP, true},
        {1, DOWN, true},
        {1, UP, true},
        {1, DOWN, true},
        {1, UP, true},
        {1, DOWN, false},
        {1, UP, false},
        {STEADY_MS, DOWN, true},
        {1, UP, true},
        {1, DOWN, true}, /* the second */
        {STEADY_MS, UP, true}, /* to be away for long is not to be steady */
        {1, DOWN, false}, /* the third */
    };
    PLAY(steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_loss_and_the_return_are_told),
        cmocka_unit_test(of_one_that_comes_and_goes_some_is_told),
        cmocka_unit_test(a_loss_that_was_not_told_and_lasts_is_told_once),
        cmocka_unit_test(who_stayed_up_for_long_is_lost_for_the_first_time_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
