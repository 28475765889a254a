/* Dates from any text under every policy: a date that comes out is a day of the calendar, and reads
 * as itself when it is written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "normalizer/value.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_day(const struct date *date) {
    struct tm tm = {.tm_year = date->year - 1900, .tm_mon = date->month - 1, .tm_mday = date->day};
    REQUIRE(date->year >= 1 && date->year <= 9999);
    (void)timegm(&tm); /* moves what is no day */
    REQUIRE(tm.tm_year == date->year - 1900 && tm.tm_mon == date->month - 1 &&
            tm.tm_mday == date->day);
    uint8_t text[DATE_BYTES];
    struct date again;
    date_write(date, text);
    REQUIRE(date_from_text(bytes_of(text, sizeof text), MAPPING_ERA_NONE, &again) == DATE_GOOD);
    REQUIRE(again.year == date->year && again.month == date->month && again.day == date->day);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct bytes text = bytes_of(data + 1, size - 1);
    struct date date = {0};
    if (data[0] % 5 == 4) {
        if (date_from_source(text, (data[0] & 8) != 0, (int)data[0] * 7 - 900, &date) == DATE_GOOD)
            check_day(&date);
        return 0;
    }
    enum mapping_era era = (enum mapping_era)(data[0] % 5);
    if (date_from_text(text, era, &date) == DATE_GOOD) {
        check_day(&date);
        REQUIRE(!date.overrun || era == MAPPING_ERA_FLAG);
    }
    return 0;
}
