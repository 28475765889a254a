/* Buffers that must not grow past their maximum, and the wire encoding that must not read past its
 * input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/wire.h"

static void buffer_stops_at_its_maximum_and_stays_failed(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer b;
    buffer_init(&b, 10);
    buffer_append(&b, "0123456789", 10);
    assert_false(b.failed);
    buffer_append_byte(&b, 'x');
    assert_true(b.failed);
    assert_int_equal(b.len, 10);
    buffer_append(&b, "", 0);
    assert_true(b.failed);
    struct error err;
    assert_int_equal(buffer_check(&b, "reply", &err), ERROR_LIMIT);
    assert_string_equal(err.message, "reply: more than 10 bytes");
    buffer_clear(&b);
    buffer_append(&b, "again", 5);
    assert_int_equal(buffer_check(&b, "reply", &err), ERROR_NONE);
}

static void buffer_refuses_a_length_that_would_overflow(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer b;
    buffer_init(&b, SIZE_MAX);
    buffer_append(&b, "a", 1);
    assert_null(buffer_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
}

static void comparison_orders_like_memcmp_then_by_length(void **state) {
    (void)state;
    assert_true(bytes_compare(BYTES_LITERAL("a"), BYTES_LITERAL("ab")) < 0);
    assert_true(bytes_compare(BYTES_LITERAL("b"), BYTES_LITERAL("ab")) > 0);
    assert_true(bytes_compare(BYTES_LITERAL("\xFF"), BYTES_LITERAL("a")) > 0);
    assert_int_equal(bytes_compare(BYTES_LITERAL(""), (struct bytes){NULL, 0}), 0);
    assert_true(bytes_equal_secret(BYTES_LITERAL("key"), BYTES_LITERAL("key")));
    assert_false(bytes_equal_secret(BYTES_LITERAL("key"), BYTES_LITERAL("kez")));
    assert_false(bytes_equal_secret(BYTES_LITERAL("key"), BYTES_LITERAL("keyy")));
}

static void wire_writes_the_bytes_that_the_formats_name(void **state) {
    (void)state;
    SCOPED_BUFFER struct buffer b;
    buffer_init(&b, 100);
    wire_u8(&b, 0x01);
    wire_u16(&b, 0x0203);
    wire_u32(&b, 0x04050607);
    wire_u64(&b, UINT64_C(0x08090A0B0C0D0E0F));
    wire_bytes(&b, BYTES_LITERAL("xy"));
    static const uint8_t expected[] = {1, 2, 3, 4,  5,  6,  7,  8, 9, 10, 11,
                                       12, 13, 14, 15, 0, 0, 0, 2, 'x', 'y'};
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);

    struct wire_reader r = wire_reader(buffer_bytes(&b));
    assert_int_equal(wire_read_u8(&r), 1);
    assert_int_equal(wire_read_u16(&r), 0x0203);
    assert_int_equal(wire_read_u32(&r), 0x04050607);
    assert_true(wire_read_u64(&r) == UINT64_C(0x08090A0B0C0D0E0F));
    struct bytes text = wire_read_bytes(&r, 2);
    assert_true(bytes_equal(text, BYTES_LITERAL("xy")));
    assert_true(wire_read_end(&r));
}

static void wire_refuses_every_cut_and_every_byte_too_many(void **state) {
    (void)state;
    static const uint8_t whole[] = {0, 0, 0, 3, 'a', 'b', 'c', 9, 9};
    for (size_t len = 0; len <= sizeof whole; len++) {
        struct wire_reader r = wire_reader(bytes_of(whole, len));
        struct bytes text = wire_read_bytes(&r, 100);
        wire_read_u8(&r);
        bool complete = wire_read_end(&r);
        assert_int_equal(complete, len == 8);
        if (len < 7)
            assert_null(text.data);
    }
    struct wire_reader capped = wire_reader(bytes_of(whole, sizeof whole));
    assert_null(wire_read_bytes(&capped, 2).data);
    assert_true(capped.failed);
    assert_int_equal(wire_read_u8(&capped), 0);
}

static void wire_count_is_bounded_by_what_is_left(void **state) {
    (void)state;
    static const uint8_t lie[] = {0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4};
    struct wire_reader r = wire_reader(bytes_of(lie, sizeof lie));
    assert_int_equal(wire_read_count(&r, UINT32_MAX, 2), 0);
    assert_true(r.failed);
    static const uint8_t honest[] = {0, 0, 0, 2, 1, 2, 3, 4};
    r = wire_reader(bytes_of(honest, sizeof honest));
    assert_int_equal(wire_read_count(&r, 2, 2), 2);
    assert_false(r.failed);
    r = wire_reader(bytes_of(honest, sizeof honest));
    assert_int_equal(wire_read_count(&r, 1, 2), 0);
    assert_true(r.failed);
}

static void arena_is_zeroed_aligned_and_bounded(void **state) {
    (void)state;
    SCOPED_ARENA struct arena *arena = arena_new(1 << 16);
    for (int round = 0; round < 3; round++) {
        size_t given = 0;
        for (size_t size = 1;; size = size * 3 % 4001 + 1) {
            uint8_t *piece = arena_alloc(arena, size);
            if (piece == NULL)
                break;
            given += size;
            assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(piece[i], 0);
            memset(piece, 0xAA, size);
        }
        assert_true(given > 1 << 14);
        assert_true(given <= 1 << 16);
        arena_reset(arena);
    }
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_string_equal(arena_format(arena, "%s-%d", "kept", 7), "kept-7");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_stops_at_its_maximum_and_stays_failed),
        cmocka_unit_test(buffer_refuses_a_length_that_would_overflow),
        cmocka_unit_test(comparison_orders_like_memcmp_then_by_length),
        cmocka_unit_test(wire_writes_the_bytes_that_the_formats_name),
        cmocka_unit_test(wire_refuses_every_cut_and_every_byte_too_many),
        cmocka_unit_test(wire_count_is_bounded_by_what_is_left),
        cmocka_unit_test(arena_is_zeroed_aligned_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
