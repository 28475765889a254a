#include "ledger/members_command.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ledger/change_file.h"
#include "ledger/ledger.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"
#include "ledger/transaction.h"

enum { PATH_BYTES_MAX = 4096, SUBMIT_MS = 60000, CERTIFICATE_DAYS = 3650 };

/* The node, the list in force, and our place in it. */
struct session {
    struct ledger *ledger;
    struct members *members;
    struct ledger_signer *signer;
    uint8_t key[SIGNER_KEY_BYTES];
    int validator; /* -1: our key is no validator's */
};

static void session_done(struct session *s) {
    ledger_close(s->ledger);
    members_free(s->members);
    ledger_signer_free(s->signer);
}

static enum error_code session_open(const struct members_call *call, struct session *ret_session,
                                    struct error *err) {
    struct session s = {.ledger = NULL};
    enum error_code code = ledger_open(call->socket, call->genesis, &s.ledger, err);
    if (code == ERROR_NONE)
        code = ledger_members(s.ledger, &s.members, err);
    if (code == ERROR_NONE)
        code = ledger_signer_load(call->vote_key, &s.signer, err);
    if (code != ERROR_NONE) {
        session_done(&s);
        return code;
    }
    ledger_signer_public(s.signer, s.key);
    s.validator = members_validator_by_key(s.members, s.key);
    *ret_session = s;
    return ERROR_NONE;
}

static void print(const struct buffer *text) {
    (void)fwrite(text->data, 1, text->len, stdout);
}

static void show_nodes(const char *kind, const struct member_node *nodes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        (void)printf("  %-10s %-24s %s%s\n", kind, nodes[i].name, nodes[i].address,
                     nodes[i].suspended ? "  SUSPENDED" : "");
}

static void show_text(const struct members *m) {
    (void)printf("epoch %llu: %u validators, a quorum is %u, %u may fail\n",
                 (unsigned long long)m->epoch, m->validator_count,
                 pbft_quorum(m->validator_count), pbft_faults(m->validator_count));
    show_nodes("validator", m->validators, m->validator_count);
    show_nodes("observer", m->observers, m->observer_count);
    for (uint32_t i = 0; i < m->submitter_count; i++)
        if (!m->submitters[i].removed && m->submitters[i].role != MEMBER_NODE)
            (void)printf("  %-10s %s\n",
                         m->submitters[i].role == MEMBER_AUDITOR ? "auditor" : "submitter",
                         m->submitters[i].name);
}

enum error_code members_show(const struct members_call *call, struct error *err) {
    struct session s;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, LEDGER_STATUS_BYTES_MAX);
    TRY(session_open(call, &s, err));
    enum error_code code = ERROR_NONE;
    if (call->json)
        code = members_json(s.members, &text, err);
    else
        show_text(s.members);
    session_done(&s);
    if (code == ERROR_NONE && call->json) {
        print(&text);
        (void)fputc('\n', stdout);
    }
    return code;
}

static enum error_code next_path(const char *path, char *ret_path, struct error *err) {
    if (snprintf(ret_path, PATH_BYTES_MAX, "%s.next", path) >= PATH_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", path);
    return ERROR_NONE;
}

static enum error_code write_member(const struct members_call *call, const char *name,
                                    const char *address, const char *vote_path,
                                    const char *certificate_path, struct error *err) {
    struct hash pin;
    struct ledger_signer *signer = NULL;
    uint8_t key[SIGNER_KEY_BYTES];
    char key_text[2 * SIGNER_KEY_BYTES + 1];
    char pin_text[2 * HASH_BYTES + 1];
    TRY(certificate_pin(certificate_path, &pin, err));
    TRY(ledger_signer_load(vote_path, &signer, err));
    ledger_signer_public(signer, key);
    ledger_signer_free(signer);
    text_hex(key, sizeof key, key_text);
    text_hex(pin.byte, HASH_BYTES, pin_text);
    json_t *member = json_pack("{s:s, s:s, s:s, s:s}", "name", name, "vote_key", key_text, "tls_pin",
                               pin_text, "address", address);
    char *text = member == NULL ? NULL : json_dumps(member, JSON_INDENT(2));
    json_decref(member);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "keys: no memory");
    enum error_code code = file_replace(call->out, bytes_of(text, strlen(text)), 0644, err);
    free(text);
    return code;
}

enum error_code members_keys(const struct members_call *call, struct error *err) {
    struct session s;
    char vote[PATH_BYTES_MAX];
    char tls[PATH_BYTES_MAX];
    char certificate[PATH_BYTES_MAX];
    if (call->out == NULL)
        return error_set(err, ERROR_USAGE, "keys: --out FILE is missing");
    TRY(next_path(call->vote_key, vote, err));
    TRY(next_path(call->tls_key, tls, err));
    TRY(next_path(call->tls_certificate, certificate, err));
    TRY(session_open(call, &s, err));
    int observer = members_observer_by_key(s.members, s.key);
    const struct member_node *own = s.validator >= 0 ? &s.members->validators[s.validator]
                                    : observer >= 0  ? &s.members->observers[observer]
                                                     : NULL;
    enum error_code code =
        own == NULL ? error_set(err, ERROR_CONFIG, "%s: no member has this key", call->vote_key)
                    : ERROR_NONE;
    struct certificate_request request = {.name = own == NULL ? "" : own->name,
                                          .days = CERTIFICATE_DAYS,
                                          .wall_ms = clock_wall_ms()};
    /* The vote key last: when it is there, the node takes it up, and the others must be there too. */
    if (code == ERROR_NONE)
        code = certificate_create(&request, tls, certificate, err);
    if (code == ERROR_NONE)
        code = ledger_signer_create(vote, err);
    if (code == ERROR_NONE)
        code = write_member(call, own->name, own->address, vote, certificate, err);
    session_done(&s);
    if (code == ERROR_NONE)
        (void)printf("keys of the next epoch: %s, %s, %s\n%s tells them to the others\n", vote, tls,
                     certificate, call->out);
    return code;
}

static void sign(const struct session *s, struct change *change) {
    struct hash statement = change_statement(change, &s->members->chain);
    struct change_signature signature = {.validator = (uint16_t)s->validator};
    ledger_signer_sign(s->signer, &statement, signature.signature);
    change_add_signature(change, &signature);
}

static enum error_code tell(const struct session *s, const struct change *change,
                            struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, CHANGE_FILE_BYTES_MAX);
    TRY(change_text(change, &text, err));
    (void)printf("change of epoch %llu:\n", (unsigned long long)change->epoch);
    print(&text);
    (void)printf("signed by %u of %u validators, needed are %u\n", change->signature_count,
                 s->members->validator_count, pbft_quorum(s->members->validator_count));
    return ERROR_NONE;
}

/* What would become of it is told before anybody signs. */
static enum error_code try_change(const struct session *s, const struct change *change,
                                  struct error *err) {
    struct members *next = NULL;
    TRY(members_change(s->members, change, &next, err));
    members_free(next);
    return ERROR_NONE;
}

enum error_code members_make(const struct members_call *call, struct error *err) {
    struct session s;
    struct change *change = calloc(1, sizeof *change);
    if (change == NULL)
        return error_set(err, ERROR_NO_MEMORY, "change: no memory");
    enum error_code code =
        call->out == NULL || call->word_count == 0
            ? error_set(err, ERROR_USAGE, "change: expected --out FILE and at least one operation")
            : session_open(call, &s, err);
    if (code != ERROR_NONE) {
        free(change);
        return code;
    }
    change->epoch = s.members->epoch;
    for (size_t i = 0; i < call->word_count && code == ERROR_NONE; i++)
        code = change_file_operation(call->words[i], change, err);
    if (code == ERROR_NONE)
        code = try_change(&s, change, err);
    if (code == ERROR_NONE && s.validator >= 0)
        sign(&s, change);
    if (code == ERROR_NONE)
        code = change_file_write(call->out, s.members, change, err);
    if (code == ERROR_NONE)
        code = tell(&s, change, err);
    session_done(&s);
    free(change);
    return code;
}

enum error_code members_sign(const struct members_call *call, struct error *err) {
    struct session s;
    if (call->word_count != 1)
        return error_set(err, ERROR_USAGE, "sign: expected one file");
    struct change *change = calloc(1, sizeof *change);
    if (change == NULL)
        return error_set(err, ERROR_NO_MEMORY, "change: no memory");
    enum error_code code = session_open(call, &s, err);
    if (code != ERROR_NONE) {
        free(change);
        return code;
    }
    if (s.validator < 0)
        code = error_set(err, ERROR_CONFIG, "%s: no validator has this key", call->vote_key);
    if (code == ERROR_NONE)
        code = change_file_read(call->words[0], s.members, change, err);
    if (code == ERROR_NONE)
        code = try_change(&s, change, err);
    if (code == ERROR_NONE) {
        sign(&s, change);
        code = change_file_write(call->out != NULL ? call->out : call->words[0], s.members, change,
                                 err);
    }
    if (code == ERROR_NONE)
        code = tell(&s, change, err);
    session_done(&s);
    free(change);
    return code;
}

/* All files must say the same; their signatures are put together. */
static enum error_code merge(const struct members_call *call, const struct session *s,
                             struct change *ret_change, struct error *err) {
    struct change *other = calloc(1, sizeof *other);
    if (other == NULL)
        return error_set(err, ERROR_NO_MEMORY, "change: no memory");
    enum error_code code = change_file_read(call->words[0], s->members, ret_change, err);
    struct hash statement = change_statement(ret_change, &s->members->chain);
    for (size_t i = 1; i < call->word_count && code == ERROR_NONE; i++) {
        code = change_file_read(call->words[i], s->members, other, err);
        struct hash says = change_statement(other, &s->members->chain);
        if (code == ERROR_NONE && !hash_equal(&says, &statement))
            code = error_set(err, ERROR_CONFIG, "%s: another change than %s", call->words[i],
                             call->words[0]);
        for (uint32_t j = 0; code == ERROR_NONE && j < other->signature_count; j++)
            change_add_signature(ret_change, &other->signatures[j]);
    }
    free(other);
    return code;
}

static enum error_code submit(const struct session *s, const struct change *change,
                              struct ledger_receipt *ret_receipt, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&body, CHANGE_BYTES_MAX);
    buffer_init(&bytes, TRANSACTION_BYTES_MAX);
    struct transaction tx = {.type = TRANSACTION_CHANGE,
                             .chain = s->members->chain,
                             .wall_ms = clock_wall_ms()};
    TRY(change_encode(change, &body, err));
    tx.body = buffer_bytes(&body);
    TRY(ledger_next_sequence(s->ledger, s->key, &tx.sequence, err));
    TRY(transaction_sign(s->signer, &tx, &bytes, err));
    return ledger_submit(s->ledger, buffer_bytes(&bytes), SUBMIT_MS, ret_receipt, err);
}

enum error_code members_submit(const struct members_call *call, struct error *err) {
    struct session s;
    if (call->word_count == 0)
        return error_set(err, ERROR_USAGE, "submit: expected at least one file");
    struct change *change = calloc(1, sizeof *change);
    if (change == NULL)
        return error_set(err, ERROR_NO_MEMORY, "change: no memory");
    enum error_code code = session_open(call, &s, err);
    if (code != ERROR_NONE) {
        free(change);
        return code;
    }
    struct ledger_receipt receipt = {.result = LEDGER_FAILED};
    code = merge(call, &s, change, err);
    if (code == ERROR_NONE && change_check_signatures(change, s.members, err) != ERROR_NONE) {
        code = error_wrap(err, ERROR_TX_REJECTED, "%s", call->words[0]);
        error_hint(err, "let further validators sign it: renkei-node sign");
    }
    if (code == ERROR_NONE)
        code = try_change(&s, change, err);
    if (code == ERROR_NONE)
        code = submit(&s, change, &receipt, err);
    if (code == ERROR_NONE && receipt.result != LEDGER_COMMITTED)
        code = error_set(err, ERROR_TX_REJECTED, "change: block %llu: %s",
                         (unsigned long long)receipt.position.height, receipt.reason);
    if (code == ERROR_NONE && call->json)
        (void)printf("{\"epoch\":%llu,\"height\":%llu}\n", (unsigned long long)change->epoch + 1,
                     (unsigned long long)receipt.position.height);
    else if (code == ERROR_NONE)
        (void)printf("block %llu ends epoch %llu; the members are others from the next block on\n",
                     (unsigned long long)receipt.position.height,
                     (unsigned long long)change->epoch);
    session_done(&s);
    free(change);
    return code;
}
