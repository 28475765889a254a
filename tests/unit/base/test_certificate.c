/* The openssl command is the oracle: it verifies the certificate and computes the pin anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/text.h"

static char folder[] = "/tmp/renkei-test-certificate-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink("key.pem");
    unlink("cert.pem");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void output_of(const char *command, char *ret_text, size_t size) {
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(ret_text, 1, size - 1, pipe);
    ret_text[got] = '\0';
    assert_int_equal(pclose(pipe), 0);
}

static void openssl_agrees_with_certificate_and_pin(void **state) {
    (void)state;
    static const char *const addresses[] = {"localhost", "127.0.0.1", "::1"};
    struct certificate_request request = {.name = "west", .addresses = addresses,
                                          .address_count = 3, .uri = "renkei://west",
                                          .days = 30, .wall_ms = clock_wall_ms()};
    struct error err;
    assert_int_equal(certificate_create(&request, "key.pem", "cert.pem", &err), ERROR_NONE);
    struct stat info;
    assert_int_equal(stat("key.pem", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);

    char text[8192];
    output_of("openssl verify -CAfile cert.pem -verify_hostname localhost cert.pem", text,
              sizeof text);
    assert_string_equal(text, "cert.pem: OK\n");
    output_of("openssl verify -CAfile cert.pem -verify_ip 127.0.0.1 cert.pem", text, sizeof text);
    assert_string_equal(text, "cert.pem: OK\n");
    output_of("openssl x509 -in cert.pem -noout -text", text, sizeof text);
    assert_non_null(strstr(text, "URI:renkei://west"));
    assert_non_null(strstr(text, "prime256v1"));

    uint64_t end_ms = 0;
    assert_int_equal(certificate_end("cert.pem", &end_ms, &err), ERROR_NONE);
    char wanted[64];
    output_of("date -u +%s -d \"$(openssl x509 -in cert.pem -noout -enddate | cut -d= -f2)\"",
              wanted, sizeof wanted);
    char got[64];
    snprintf(got, sizeof got, "%llu\n", (unsigned long long)(end_ms / 1000));
    assert_string_equal(got, wanted);
    assert_int_equal(certificate_end("key.pem", &end_ms, &err), ERROR_CRYPTO);

    struct hash pin;
    assert_int_equal(certificate_pin("cert.pem", &pin, &err), ERROR_NONE);
    char hex[2 * HASH_BYTES + 1];
    text_hex(pin.byte, HASH_BYTES, hex);
    output_of("openssl pkey -in key.pem -pubout -outform DER | openssl dgst -sha256 -r", text,
              sizeof text);
    assert_memory_equal(text, hex, 64);

    assert_int_equal(certificate_create(&request, "key.pem", "cert.pem", &err), ERROR_EXISTS);
    assert_string_equal(err.message, "key.pem exists already");
    assert_int_equal(certificate_pin("key.pem", &pin, &err), ERROR_CRYPTO);
    assert_string_equal(err.message, "key.pem: cannot read a PEM certificate");
}

static void the_end_comes_nearer_by_stages(void **state) {
    (void)state;
    const uint64_t end_ms = UINT64_C(1795294564103), day_ms = CERTIFICATE_DAY_MS;
    const struct {
        uint64_t left_ms;
        unsigned stage;
    } cases[] = {{400 * day_ms, 4}, {30 * day_ms + 1, 4}, {30 * day_ms, 3}, {7 * day_ms + 1, 3},
                 {7 * day_ms, 2},   {day_ms + 1, 2},      {day_ms, 1},      {1, 1},
                 {0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(certificate_stage(end_ms, end_ms - cases[i].left_ms), cases[i].stage);
    assert_int_equal(certificate_stage(end_ms, end_ms + 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_agrees_with_certificate_and_pin),
        cmocka_unit_test(the_end_comes_nearer_by_stages),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
