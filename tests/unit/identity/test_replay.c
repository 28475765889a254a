/* The memory of what was used once: never forgets early, never grows. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/wire.h"
#include "gateway/identity/replay.h"

static struct hash id_of(uint64_t number) {
    struct hash id = {{0}};
    wire_store_u64(id.byte, number);
    return id;
}

static void an_id_is_used_once_until_it_ends(void **state) {
    (void)state;
    struct replay *replay = replay_new(4);
    struct hash id = id_of(1);
    assert_int_equal(replay_use(replay, &id, 1000, 2000), ERROR_NONE);
    assert_int_equal(replay_use(replay, &id, 1000, 2000), ERROR_EXISTS);
    assert_int_equal(replay_use(replay, &id, 2000, 9000), ERROR_EXISTS); /* its last moment */
    assert_int_equal(replay_use(replay, &id, 2001, 9000), ERROR_NONE);
    replay_free(replay);
}

static void a_full_memory_refuses_and_frees_what_has_ended(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    struct replay *replay = replay_new(COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct hash id = id_of(i);
        assert_int_equal(replay_use(replay, &id, 5000, 6000 + i), ERROR_NONE);
    }
    struct hash further = id_of(COUNT);
    assert_int_equal(replay_use(replay, &further, 5000, 9000), ERROR_BUSY);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct hash id = id_of(i);
        assert_int_equal(replay_use(replay, &id, 5000, 9000), ERROR_EXISTS);
    }
    /* At 6500 half of them have ended. */
    assert_int_equal(replay_use(replay, &further, 6500, 9000), ERROR_NONE);
    size_t taken = 1;
    for (uint64_t i = COUNT + 1; i < 2 * COUNT; i++) {
        struct hash id = id_of(i);
        taken += replay_use(replay, &id, 6500, 9000) == ERROR_NONE;
    }
    assert_int_equal(taken, 500);
    struct hash kept = id_of(COUNT - 1);
    assert_int_equal(replay_use(replay, &kept, 6500, 9000), ERROR_EXISTS);
    replay_free(replay);
    replay_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_used_once_until_it_ends),
        cmocka_unit_test(a_full_memory_refuses_and_frees_what_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
