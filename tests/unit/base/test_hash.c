/* Messages hashed side by side give what OpenSSL gives for each alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/hash.h"

enum { BODY_BYTES_MAX = 300, LONG_BYTES = 20000, COUNT_MAX = 17 };

static uint8_t text[LONG_BYTES + BODY_BYTES_MAX];

static int fill(void **state) {
    uint32_t x = 1;
    (void)state;
    for (size_t i = 0; i < sizeof text; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = (uint8_t)(x >> 24);
    }
    return 0;
}

static void compare(const struct sha256_message *messages, size_t count) {
    struct hash many[COUNT_MAX], plain[COUNT_MAX];
    sha256_many(messages, count, many);
    sha256_many_plain(messages, count, plain);
    assert_memory_equal(many, plain, count * sizeof *many);
}

static void the_empty_message_and_abc_are_as_fips_180_4_has_them(void **state) {
    static const uint8_t empty[4] = {0xE3, 0xB0, 0xC4, 0x42}, abc[4] = {0xBA, 0x78, 0x16, 0xBF};
    struct sha256_message messages[2] = {{0}, {BYTES_LITERAL("a"), BYTES_LITERAL("bc")}};
    struct hash hashes[2];
    (void)state;
    sha256_many(messages, 2, hashes);
    assert_memory_equal(hashes[0].byte, empty, sizeof empty);
    assert_memory_equal(hashes[1].byte, abc, sizeof abc);
}

/* Every place where a head, a body or the padding can meet a block's end; the other lane has
 * another length, another alignment, or nothing. */
static void every_head_and_body_length_equals_openssl(void **state) {
    (void)state;
    for (size_t head = 0; head < SHA256_HEAD_BYTES_MAX; head++) {
        for (size_t body = 0; body <= BODY_BYTES_MAX; body++) {
            size_t other = (body * 7 + head * 13) % BODY_BYTES_MAX;
            struct sha256_message messages[2] = {
                {bytes_of(text + 5, head), bytes_of(text + head + 1, body)},
                {bytes_of(text + body, (head + 31) % SHA256_HEAD_BYTES_MAX),
                 bytes_of(text + other % 64, other)}};
            compare(messages, 2);
        }
    }
}

static void a_long_message_beside_many_short_ones_equals_openssl(void **state) {
    (void)state;
    for (size_t count = 0; count <= COUNT_MAX; count++) {
        for (size_t at = 0; at < count; at++) {
            struct sha256_message messages[COUNT_MAX];
            for (size_t i = 0; i < count; i++) {
                size_t len = i == at ? LONG_BYTES + count : (i * 37 + count * 11 + at) % 200;
                messages[i] = (struct sha256_message){bytes_of(text + i, (i * 5 + at) % 64),
                                                      bytes_of(text + i, len)};
            }
            compare(messages, count);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_message_and_abc_are_as_fips_180_4_has_them),
        cmocka_unit_test(every_head_and_body_length_equals_openssl),
        cmocka_unit_test(a_long_message_beside_many_short_ones_equals_openssl),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
