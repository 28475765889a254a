#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "gateway/sync/sync_internal.h"

static void an_overlap_is_taken_off_by_what_the_watermark_is(void **state) {
    (void)state;
    static const struct {
        const char *reached;
        struct sync__overlap overlap;
        const char *from; /* NULL: does not fit, the pass before the last tells */
    } cases[] = {
        {"2024-03-01 00:10:00", {900, 0}, "2024-02-29 23:55:00"},
        {"2024-01-01 00:00:00.123456+00", {1, 0}, "2023-12-31 23:59:59.123456+00"},
        {"2024-03-01", {900, 0}, "2024-02-29"}, /* a whole day, or none of its rows is met */
        {"2024-03-01", {86401, 0}, "2024-02-28"},
        {"0001-01-01 00:00:00", {3600, 0}, NULL}, /* there is no year 0 */
        {"1200", {0, 200}, "1000"},
        {"100", {0, 200}, "0"},
        {"12.5", {0, 200}, NULL},
        {"-5", {0, 200}, NULL},
        {"1234567890123456789", {0, 200}, NULL}, /* may not fit 64 bits */
        {"1200", {900, 0}, NULL},
        {"2024-03-01 00:10:00", {0, 200}, NULL},
        {"2024-03-01T00:10:00", {900, 0}, NULL},
        {"1200", {900, 200}, "1000"},
        {"2024-03-01 00:10:00", {0, 0}, NULL},
        {"", {900, 200}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[SYNC__WATERMARK_BYTES_MAX + 1];
        snprintf(text, sizeof text, "%s", cases[i].reached);
        assert_int_equal(sync__watermark_back(&cases[i].overlap, text), cases[i].from != NULL);
        assert_string_equal(text, cases[i].from != NULL ? cases[i].from : cases[i].reached);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overlap_is_taken_off_by_what_the_watermark_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
