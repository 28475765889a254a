/* Numbers, JSON texts, arrays and addresses from any bytes; the first byte says which. What was
 * written once is written the same again, and a number keeps its value. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "normalizer/normalizer.h"
#include "normalizer/value.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 21 };

static struct buffer once = {.bytes_max = TEXT_MAX};
static struct buffer twice = {.bytes_max = TEXT_MAX};

static double read_double(struct bytes text) {
    char *copy = calloc(1, text.len + 1);
    REQUIRE(copy != NULL);
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    double value = strtod(copy, NULL);
    free(copy);
    return value;
}

static void check_number(struct bytes text) {
    enum number_form form = number_write(text, &once);
    if (form == NUMBER_SPECIAL || form == NUMBER_BAD) {
        REQUIRE(once.len == 0);
        return;
    }
    REQUIRE(number_write(buffer_bytes(&once), &twice) == form);
    REQUIRE(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
    /* The C library's reading of both is the same. */
    double value = read_double(text);
    REQUIRE(value == read_double(buffer_bytes(&once)));
    if (form == NUMBER_JSON) {
        char shortest[NUMBER_SHORTEST_BYTES_MAX];
        size_t len = number_shortest(value, shortest);
        REQUIRE(bytes_equal(bytes_of(shortest, len), buffer_bytes(&once)));
    }
}

static void check_double(struct bytes bits) {
    double value = 0;
    char text[NUMBER_SHORTEST_BYTES_MAX + 1];
    if (bits.len < sizeof value)
        return;
    memcpy(&value, bits.data, sizeof value);
    if (!isfinite(value))
        return;
    size_t len = number_shortest(value, text);
    text[len] = '\0';
    REQUIRE(len < NUMBER_SHORTEST_BYTES_MAX);
    REQUIRE(strtod(text, NULL) == value);
}

static void check_json(struct bytes text) {
    bool inexact = false;
    if (!value_json_canonical(text, &once, &inexact)) {
        REQUIRE(once.len == 0);
        return;
    }
    REQUIRE(value_json_canonical(buffer_bytes(&once), &twice, &inexact));
    REQUIRE(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
}

static void check_array(struct bytes text) {
    bool inexact = false;
    if (!value_json_from_array(text, &once)) {
        REQUIRE(once.len == 0);
        return;
    }
    REQUIRE(value_json_canonical(buffer_bytes(&once), &twice, &inexact));
    REQUIRE(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
}

static void check_address(struct bytes text) {
    struct address address;
    if (address_parse(text, &address, NULL) != ERROR_NONE)
        return;
    address_write(address.hospital, address.source, address.table, bytes_text(address.key), &once);
    REQUIRE(bytes_equal(buffer_bytes(&once), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(struct bytes text) = {check_number, check_double, check_json,
                                                        check_array, check_address};
    if (size == 0)
        return 0;
    buffer_clear(&once);
    buffer_clear(&twice);
    checks[data[0] % (sizeof checks / sizeof checks[0])](bytes_of(data + 1, size - 1));
    return 0;
}
