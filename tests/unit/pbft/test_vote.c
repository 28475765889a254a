/* Certificates and evidence: canonical bytes, defects refused; the signed hash by an oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/text.h"
#include "base/wire.h"
#include "ledger/pbft/vote.h"

static bool verify_first_byte(void *context, uint32_t signer, const struct hash *statement,
                              const uint8_t *signature) {
    (void)context;
    return signature[0] == (uint8_t)signer &&
           memcmp(signature + 1, statement->byte, HASH_BYTES) == 0;
}

static struct pbft_certificate make(uint32_t seals) {
    struct pbft_domain domain = {.epoch = 3};
    struct pbft_certificate c = {.ballot = {PBFT_COMMIT, 7, 42, {{0xab}}}, .epoch = 3};
    c.seal_count = seals;
    struct hash statement = pbft_ballot_statement(&domain, &c.ballot);
    for (uint32_t i = 0; i < seals; i++) {
        c.seals[i].signer = (uint16_t)i;
        c.seals[i].signature[0] = (uint8_t)i;
        memcpy(c.seals[i].signature + 1, statement.byte, HASH_BYTES);
    }
    return c;
}

static void check(const struct pbft_certificate *c, const char *expected) {
    struct pbft_domain domain = {.epoch = 3};
    struct error err = {0};
    enum error_code code = pbft_certificate_verify(c, &domain, 4, verify_first_byte, NULL, &err);
    assert_int_equal(code, expected == NULL ? ERROR_NONE : ERROR_VERIFY);
    assert_string_equal(err.message, expected == NULL ? "" : expected);
}

static void certificate_is_checked_in_every_part(void **state) {
    (void)state;
    struct pbft_certificate c = make(3);
    check(&c, NULL);
    c = make(2);
    check(&c, "certificate of height 42: found 2 signatures, expected at least 3 of 4");
    c = make(3);
    c.seals[2] = c.seals[1];
    check(&c, "certificate of height 42: signer 1 is not in its place");
    c = make(3);
    c.seals[2].signature[5] ^= 1;
    check(&c, "certificate of height 42: the signature of validator 2 is wrong");
    c = make(3);
    c.epoch = 2;
    check(&c, "certificate of height 42: found epoch 2, expected 3");
    c = make(3);
    c.seals[2].signer = 4;
    check(&c, "certificate of height 42: signer 4 is not in its place");
    c = make(3);
    c.ballot.view++; /* every signed field counts */
    check(&c, "certificate of height 42: the signature of validator 0 is wrong");
    c = make(3);
    c.ballot.digest.byte[31] ^= 1;
    check(&c, "certificate of height 42: the signature of validator 0 is wrong");
}

static void certificate_bytes_are_canonical(void **state) {
    (void)state;
    struct pbft_certificate c = make(3), back;
    struct buffer out, again;
    buffer_init(&out, PBFT_CERTIFICATE_BYTES_MAX);
    buffer_init(&again, PBFT_CERTIFICATE_BYTES_MAX);
    pbft_certificate_encode(&c, &out);
    assert_int_equal(out.len, 60 + 3 * 66);
    assert_int_equal(pbft_certificate_decode(buffer_bytes(&out), &back, NULL), ERROR_NONE);
    pbft_certificate_encode(&back, &again);
    assert_true(bytes_equal(buffer_bytes(&out), buffer_bytes(&again)));
    /* Cut anywhere, or with one byte more, it is refused and the output is untouched. */
    back.seal_count = 77;
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(pbft_certificate_decode(bytes_of(out.data, len), &back, NULL),
                         ERROR_PROTOCOL);
    buffer_append_byte(&out, 0);
    assert_int_equal(pbft_certificate_decode(buffer_bytes(&out), &back, NULL), ERROR_PROTOCOL);
    assert_int_equal(back.seal_count, 77);
    buffer_done(&out);
    buffer_done(&again);
}

static bool verify_in_epoch_3(void *context, uint64_t epoch, uint32_t signer,
                              const struct hash *statement, const uint8_t *signature) {
    return epoch == 3 && signer < 4 && verify_first_byte(context, signer, statement, signature);
}

static const struct hash CHAIN = {{0xc4}};

static struct pbft_evidence make_evidence(void) {
    struct pbft_evidence e = {.domain = {CHAIN, 3}, .signer = 2};
    for (int i = 0; i < 2; i++) {
        e.ballots[i] = (struct pbft_ballot){PBFT_PREPARE, 7, 42, {{(uint8_t)(i + 1)}}};
        struct hash statement = pbft_ballot_statement(&e.domain, &e.ballots[i]);
        e.signatures[i][0] = 2;
        memcpy(e.signatures[i] + 1, statement.byte, HASH_BYTES);
    }
    return e;
}

static enum error_code check_evidence(const struct pbft_evidence *e, struct error *err) {
    struct buffer out;
    buffer_init(&out, PBFT_EVIDENCE_BYTES);
    pbft_evidence_encode(e, &out);
    struct pbft_evidence back = {.signer = 99};
    enum error_code code = pbft_evidence_check(buffer_bytes(&out), &CHAIN, verify_in_epoch_3, NULL,
                                               &back, err);
    assert_int_equal(back.signer, code == ERROR_NONE ? e->signer : 99);
    buffer_done(&out);
    return code;
}

static void evidence_convinces_a_stranger(void **state) {
    (void)state;
    struct error err;
    struct pbft_evidence e = make_evidence();
    assert_int_equal(check_evidence(&e, &err), ERROR_NONE);
    e.signer = 1; /* somebody else's signatures accuse nobody */
    assert_int_equal(check_evidence(&e, &err), ERROR_VERIFY);
    assert_string_equal(err.message,
                        "evidence: signature 1 is not that of validator 1 of epoch 3");
    e = make_evidence();
    e.signatures[1][5] ^= 1;
    assert_int_equal(check_evidence(&e, &err), ERROR_VERIFY);
    assert_string_equal(err.message,
                        "evidence: signature 2 is not that of validator 2 of epoch 3");
    e = make_evidence();
    e.domain.epoch = 2; /* what was signed in one epoch says nothing of another */
    assert_int_equal(check_evidence(&e, &err), ERROR_VERIFY);
    e = make_evidence();
    e.domain.chain.byte[0] ^= 1;
    assert_int_equal(check_evidence(&e, &err), ERROR_VERIFY);
    assert_string_equal(err.message, "evidence: it speaks of another chain");
}

static void evidence_needs_a_contradiction(void **state) {
    (void)state;
    struct error err;
    struct pbft_evidence e = make_evidence();
    e.ballots[1] = e.ballots[0];
    memcpy(e.signatures[1], e.signatures[0], PBFT_SIGNATURE_BYTES);
    assert_int_equal(check_evidence(&e, &err), ERROR_PROTOCOL);
    assert_string_equal(err.message, "evidence: its two digests are not in ascending order");
    e = make_evidence(); /* one form only: the same evidence has one id */
    struct pbft_ballot first = e.ballots[0];
    e.ballots[0] = e.ballots[1];
    e.ballots[1] = first;
    assert_int_equal(check_evidence(&e, &err), ERROR_PROTOCOL);
    e = make_evidence(); /* VIEW-CHANGEs of two views do not contradict each other */
    e.ballots[0].type = e.ballots[1].type = PBFT_VIEW_CHANGE;
    assert_int_equal(check_evidence(&e, &err), ERROR_PROTOCOL);
    assert_string_equal(err.message, "evidence: type 4 is no ballot");
}

/* Oracle: (printf 'renkei/vote/1\n'; head -c32 /dev/zero; printf '\0\0\0\0\0\0\0\003\003';
 * printf '\0\0\0\0\0\0\0\007\0\0\0\0\0\0\0\052'; printf '\253'; head -c31 /dev/zero) | sha256sum */
static void statement_is_what_sha256sum_says(void **state) {
    (void)state;
    struct pbft_domain domain = {.epoch = 3};
    struct pbft_ballot ballot = {PBFT_COMMIT, 7, 42, {{0xab}}};
    struct hash statement = pbft_ballot_statement(&domain, &ballot);
    char hex[2 * HASH_BYTES + 1];
    text_hex(statement.byte, HASH_BYTES, hex);
    assert_string_equal(hex, "e3f31d4fe80586044fd46913af0775764a5d20d7a3e6dac9d3a9e560521882cd");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificate_is_checked_in_every_part),
        cmocka_unit_test(certificate_bytes_are_canonical),
        cmocka_unit_test(evidence_convinces_a_stranger),
        cmocka_unit_test(evidence_needs_a_contradiction),
        cmocka_unit_test(statement_is_what_sha256sum_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
