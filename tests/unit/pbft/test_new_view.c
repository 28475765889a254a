/*
 * NEW-VIEW: what is chosen from given VIEW-CHANGEs, and that every defect is refused by its name.
 * The test holds everybody's keys, so it can build what no liar could.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ledger/pbft/internal.h"

enum { HEADER_BYTES = 72, N = 4, Q = 3 };

static void fake_signature(uint32_t signer, const struct hash *statement, uint8_t *ret_signature) {
    memset(ret_signature, 0, PBFT_SIGNATURE_BYTES);
    wire_store_u32(ret_signature, signer);
    memcpy(ret_signature + 4, statement->byte, HASH_BYTES);
}

static void sign(void *context, const struct hash *statement, uint8_t *ret_signature) {
    (void)context;
    fake_signature(2, statement, ret_signature);
}

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t *signature) {
    (void)context;
    uint8_t expected[PBFT_SIGNATURE_BYTES];
    fake_signature(signer, statement, expected);
    return memcmp(expected, signature, sizeof expected) == 0;
}

static bool header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    (void)context;
    if (header.len != HEADER_BYTES)
        return false;
    ret_header->height = wire_load_u64(header.data);
    ret_header->epoch = wire_load_u64(header.data + 8);
    memcpy(ret_header->parent.byte, header.data + 16, HASH_BYTES);
    ret_header->time_ms = wire_load_u64(header.data + 48);
    ret_header->last = false;
    return true;
}

struct made {
    uint8_t bytes[HEADER_BYTES];
    struct hash digest;
};

static struct made make(uint64_t height, const struct made *parent, uint64_t salt) {
    struct made made = {{0}, {{0}}};
    wire_store_u64(made.bytes, height);
    if (parent != NULL)
        memcpy(made.bytes + 16, parent->digest.byte, HASH_BYTES);
    wire_store_u64(made.bytes + 48, 1000);
    wire_store_u64(made.bytes + 56, salt);
    made.digest = pbft_block_digest(bytes_of(made.bytes, HEADER_BYTES));
    return made;
}

static const struct pbft_domain domain;

static void certify(struct buffer *out, enum pbft_type type, uint64_t view, uint64_t height,
                    const struct made *block, uint32_t seals) {
    struct pbft_certificate c = {.ballot = {type, view, height, block->digest},
                                 .seal_count = seals};
    struct hash statement = pbft_ballot_statement(&domain, &c.ballot);
    for (uint32_t i = 0; i < seals; i++) {
        c.seals[i].signer = (uint16_t)i;
        fake_signature(i, &statement, c.seals[i].signature);
    }
    buffer_init(out, PBFT_CERTIFICATE_BYTES_MAX);
    pbft_certificate_encode(&c, out);
}

static void seal(struct buffer *out, struct message *m) {
    buffer_init(out, PBFT_MESSAGE_BYTES_MAX);
    pbft__message_encode(m, out);
    struct hash statement = pbft_statement(&domain, m->type, buffer_bytes(out));
    fake_signature(m->signer, &statement, m->signature);
    buffer_append(out, m->signature, PBFT_SIGNATURE_BYTES);
}

struct claim {
    uint64_t view; /* of the prepared certificate */
    const struct made *block;
};

struct fixture {
    struct pbft *core; /* validator 2, window 4 */
    struct made genesis, a1, b1, a2, b2, a3;
    uint64_t view; /* of the NEW-VIEW under test */
    struct buffer changes[N], certificates[64];
    uint32_t certificate_count;
    struct message new_view;
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof *f);
    f->genesis = make(0, NULL, 0);
    f->a1 = make(1, &f->genesis, 1);
    f->b1 = make(1, &f->genesis, 2);
    f->a2 = make(2, &f->a1, 1);
    f->b2 = make(2, &f->b1, 2);
    f->a3 = make(3, &f->a2, 1);
    f->view = 5; /* of validator 1 */
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = 2;
    config.n = N;
    config.base_header = config.committed_header = bytes_of(f->genesis.bytes, HEADER_BYTES);
    config.host = (struct pbft_host){NULL, header_read, sign, verify};
    assert_int_equal(pbft_new(&config, &f->core, NULL), ERROR_NONE);
    f->new_view = (struct message){.type = PBFT_NEW_VIEW, .signer = 1, .view = f->view};
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    pbft_free(f->core);
    for (uint32_t i = 0; i < N; i++)
        buffer_done(&f->changes[i]);
    for (uint32_t i = 0; i < f->certificate_count; i++)
        buffer_done(&f->certificates[i]);
    test_free(f);
    return 0;
}

/* committed NULL: the base. Claims end at the first without a block. */
static struct message change(struct fixture *f, uint32_t signer, const struct made *committed,
                             const struct claim *claims) {
    struct message m = {.type = PBFT_VIEW_CHANGE,
                        .signer = (uint16_t)signer,
                        .view = f->view,
                        .header = bytes_of(f->genesis.bytes, HEADER_BYTES)};
    if (committed != NULL) {
        struct buffer *out = &f->certificates[f->certificate_count++];
        certify(out, PBFT_COMMIT, 1, wire_load_u64(committed->bytes), committed, Q);
        m.header = bytes_of(committed->bytes, HEADER_BYTES);
        m.certificate = buffer_bytes(out);
    }
    for (uint32_t i = 0; claims[i].block != NULL; i++) {
        struct buffer *out = &f->certificates[f->certificate_count++];
        certify(out, PBFT_PREPARE, claims[i].view, wire_load_u64(claims[i].block->bytes),
                claims[i].block, Q);
        m.prepared[i].certificate = buffer_bytes(out);
        m.prepared[i].header = bytes_of(claims[i].block->bytes, HEADER_BYTES);
        m.prepared_count = i + 1;
    }
    return m;
}

static void add(struct fixture *f, struct message m) {
    uint32_t at = f->new_view.view_change_count++;
    seal(&f->changes[at], &m);
    f->new_view.view_changes[at] = buffer_bytes(&f->changes[at]);
}

/* Hands the NEW-VIEW in; gives the text of the first FAULT, or NULL. */
static const char *hand_in(struct fixture *f) {
    struct buffer out;
    seal(&out, &f->new_view);
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE, .now_ms = 1, .wall_ms = 1000};
    event.message.from = 1;
    event.message.bytes = buffer_bytes(&out);
    struct pbft_effects effects;
    pbft_step(f->core, &event, &effects);
    buffer_done(&out);
    for (size_t i = 0; i < effects.count; i++)
        if (effects.list[i].kind == PBFT_EFFECT_FAULT)
            return effects.list[i].fault.what;
    return NULL;
}

static void check_choice(struct fixture *f, uint64_t base, const struct made *first,
                         const struct made *second, const struct made *third) {
    const struct made *expected[] = {first, second, third};
    assert_null(hand_in(f));
    struct pbft_status status;
    pbft_status(f->core, &status);
    assert_int_equal(status.view, f->view);
    assert_false(status.changing);
    assert_int_equal(f->core->choice.base, base);
    uint32_t count = 0;
    while (count < 3 && expected[count] != NULL)
        count++;
    assert_int_equal(f->core->choice.count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(hash_equal(&f->core->choice.blocks[i]->digest, &expected[i]->digest));
}

static const struct claim nothing[] = {{0, NULL}};

static void nothing_prepared_chooses_nothing(void **state) {
    struct fixture *f = *state;
    for (uint32_t i = 0; i < Q; i++)
        add(f, change(f, i, NULL, nothing));
    check_choice(f, 0, NULL, NULL, NULL);
}

static void the_highest_view_wins(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{1, &f->a1}, {0, NULL}}));
    add(f, change(f, 1, NULL, (struct claim[]){{3, &f->b1}, {0, NULL}}));
    add(f, change(f, 3, NULL, (struct claim[]){{2, &f->a1}, {0, NULL}}));
    check_choice(f, 0, &f->b1, NULL, NULL);
}

static void one_certificate_is_enough(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, nothing));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, (struct claim[]){{0, &f->a1}, {0, &f->a2}, {0, &f->a3}, {0, NULL}}));
    check_choice(f, 0, &f->a1, &f->a2, &f->a3);
}

static void the_first_gap_ends_it(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{0, &f->a1}, {0, &f->a3}, {0, NULL}}));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    check_choice(f, 0, &f->a1, NULL, NULL);
}

static void a_block_on_another_parent_ends_it(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{1, &f->a1}, {1, &f->a2}, {1, &f->a3}, {0, NULL}}));
    add(f, change(f, 1, NULL, (struct claim[]){{2, &f->b1}, {0, NULL}}));
    add(f, change(f, 3, NULL, nothing));
    check_choice(f, 0, &f->b1, NULL, NULL);
}

static void the_base_is_the_highest_commit(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{1, &f->a1}, {0, NULL}}));
    add(f, change(f, 1, &f->a2, (struct claim[]){{1, &f->a3}, {0, NULL}}));
    add(f, change(f, 3, &f->a1, nothing));
    check_choice(f, 2, &f->a3, NULL, NULL);
}

static void refuse(struct fixture *f, const char *expected) {
    const char *found = hand_in(f);
    assert_non_null(found);
    assert_string_equal(found, expected);
    struct pbft_status status;
    pbft_status(f->core, &status);
    assert_int_equal(status.view, 0);
}

static void fewer_than_q_is_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, nothing));
    add(f, change(f, 1, NULL, nothing));
    refuse(f, "a NEW-VIEW without exactly Q VIEW-CHANGEs");
}

static void one_signer_twice_is_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, nothing));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 1, NULL, nothing));
    refuse(f, "a NEW-VIEW's VIEW-CHANGEs are not in order of their signers");
}

static void of_another_leader_is_refused(void **state) {
    struct fixture *f = *state;
    for (uint32_t i = 0; i < Q; i++)
        add(f, change(f, i, NULL, nothing));
    f->new_view.signer = 3;
    refuse(f, "a NEW-VIEW of one who does not lead the change");
}

static void view_changes_of_another_view_are_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, nothing));
    f->view = 6;
    add(f, change(f, 1, NULL, nothing));
    f->view = 5;
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a NEW-VIEW carries what is no VIEW-CHANGE for it");
}

static void a_forged_view_change_is_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, nothing));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    f->changes[2].data[f->changes[2].len - 40] ^= 1;
    refuse(f, "a VIEW-CHANGE's signature is wrong");
}

static void a_thin_certificate_is_refused(void **state) {
    struct fixture *f = *state;
    struct buffer thin;
    certify(&thin, PBFT_PREPARE, 1, 1, &f->a1, Q - 1);
    struct message m = change(f, 0, NULL, (struct claim[]){{1, &f->a1}, {0, NULL}});
    m.prepared[0].certificate = buffer_bytes(&thin);
    add(f, m);
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a certificate does not verify");
    buffer_done(&thin);
}

static void prepares_do_not_prove_a_commit(void **state) {
    struct fixture *f = *state;
    struct buffer prepares;
    certify(&prepares, PBFT_PREPARE, 1, 1, &f->a1, Q);
    struct message m = change(f, 0, &f->a1, nothing);
    m.certificate = buffer_bytes(&prepares);
    add(f, m);
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a certificate is of the wrong type");
    buffer_done(&prepares);
}

static void a_certificate_of_another_block_is_refused(void **state) {
    struct fixture *f = *state;
    struct message m = change(f, 0, NULL, (struct claim[]){{1, &f->a1}, {0, NULL}});
    m.prepared[0].header = bytes_of(f->b1.bytes, HEADER_BYTES);
    add(f, m);
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a VIEW-CHANGE's prepared certificate is of another block");
}

static void a_commit_of_another_block_is_refused(void **state) {
    struct fixture *f = *state;
    struct message m = change(f, 0, &f->a1, nothing);
    m.header = bytes_of(f->b1.bytes, HEADER_BYTES);
    add(f, m);
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a VIEW-CHANGE's commit certificate is of another block");
}

static void certificates_of_this_view_are_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{5, &f->a1}, {0, NULL}}));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a VIEW-CHANGE carries a certificate of its own or a later view");
}

static void certificates_out_of_order_are_refused(void **state) {
    struct fixture *f = *state;
    add(f, change(f, 0, NULL, (struct claim[]){{1, &f->a2}, {1, &f->a1}, {0, NULL}}));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a VIEW-CHANGE's certificates are out of order or of the window");
}

static void certificates_past_the_window_are_refused(void **state) {
    struct fixture *f = *state;
    struct made far = make(5, &f->a3, 9);
    add(f, change(f, 0, NULL, (struct claim[]){{1, &far}, {0, NULL}}));
    add(f, change(f, 1, NULL, nothing));
    add(f, change(f, 3, NULL, nothing));
    refuse(f, "a VIEW-CHANGE's certificates are out of order or of the window");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(nothing_prepared_chooses_nothing),
        CASE(the_highest_view_wins),
        CASE(one_certificate_is_enough),
        CASE(the_first_gap_ends_it),
        CASE(a_block_on_another_parent_ends_it),
        CASE(the_base_is_the_highest_commit),
        CASE(fewer_than_q_is_refused),
        CASE(one_signer_twice_is_refused),
        CASE(of_another_leader_is_refused),
        CASE(view_changes_of_another_view_are_refused),
        CASE(a_forged_view_change_is_refused),
        CASE(a_thin_certificate_is_refused),
        CASE(prepares_do_not_prove_a_commit),
        CASE(a_certificate_of_another_block_is_refused),
        CASE(a_commit_of_another_block_is_refused),
        CASE(certificates_of_this_view_are_refused),
        CASE(certificates_out_of_order_are_refused),
        CASE(certificates_past_the_window_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
