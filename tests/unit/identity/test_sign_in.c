/* Sign-in, tokens and forward requests: the whole way, and each claim wrong in turn. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/identity/client.h"
#include "gateway/identity/identity.h"
#include "gateway/identity/jws.h"

#define URL       "https://west.example:8443"
#define TOKEN_URL URL "/v1/token"
#define DOCUMENT  URL "/v1/me/document"

static const uint64_t now = 1800000000000;

struct world {
    char folder[64];
    struct identity_key *key;     /* enrolled for 999-99-9999 */
    struct identity_key *other;   /* enrolled for 111-11-1111 */
    struct identity_key *unknown; /* not enrolled */
    struct identity *identity;
    bool ended; /* nobody is enrolled any more */
};

static bool key_is(const struct identity_key *key, const struct hash *thumbprint) {
    struct hash own = identity_key_thumbprint(key);
    return hash_equal(&own, thumbprint);
}

static enum error_code find(void *context, const struct hash *thumbprint,
                            struct identity_enrolment *ret_enrolment, struct error *err) {
    struct world *w = context;
    const struct identity_key *key = key_is(w->key, thumbprint)     ? w->key
                                     : key_is(w->other, thumbprint) ? w->other
                                                                    : NULL;
    if (key == NULL || w->ended)
        return error_set(err, ERROR_NOT_FOUND, "no such key");
    SCOPED_BUFFER struct buffer jwk;
    buffer_init(&jwk, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &jwk);
    snprintf(ret_enrolment->jwk, sizeof ret_enrolment->jwk, "%.*s", (int)jwk.len,
             (const char *)jwk.data);
    snprintf(ret_enrolment->patient, sizeof ret_enrolment->patient, "%s",
             key == w->key ? "999-99-9999" : "111-11-1111");
    return ERROR_NONE;
}

static struct identity_key *make_key(const char *folder, const char *name) {
    char path[128];
    struct identity_key *key = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(identity_key_create(path, NULL), ERROR_NONE);
    assert_int_equal(identity_key_load(path, &key, NULL), ERROR_NONE);
    unlink(path);
    return key;
}

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof *w);
    snprintf(w->folder, sizeof w->folder, "/tmp/renkei-sign-in-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->key = make_key(w->folder, "a");
    w->other = make_key(w->folder, "b");
    w->unknown = make_key(w->folder, "c");
    static const char *const urls[] = {"https://West.example:8443/", "https://127.0.0.1:8443"};
    struct identity_config config = {
        .hospital = "west", .urls = urls, .url_count = 2, .find = find, .find_context = w};
    assert_int_equal(identity_new(&config, &w->identity, NULL), ERROR_NONE);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    identity_free(w->identity);
    identity_key_free(w->key);
    identity_key_free(w->other);
    identity_key_free(w->unknown);
    rmdir(w->folder);
    free(w);
    return 0;
}

/* A JWS as the client makes it, its payload changed: name NULL: as it is; value NULL: the claim is
 * taken out. Signed by signer. */
static void change_claim(const struct buffer *made, const char *name, const char *value,
                         const struct identity_key *signer, const char *typ, struct buffer *out) {
    SCOPED_JWS struct jws jws = {0};
    assert_int_equal(jws_parse(buffer_bytes(made), typ, "it", &jws, NULL), ERROR_NONE);
    if (name != NULL && value == NULL)
        json_object_del(jws.payload, name);
    else if (name != NULL)
        json_object_set_new(jws.payload, name, json_loads(value, JSON_DECODE_ANY, NULL));
    char *header = json_dumps(jws.header, JSON_COMPACT);
    char *payload = json_dumps(jws.payload, JSON_COMPACT);
    buffer_clear(out);
    assert_int_equal(jws_sign(signer, bytes_text(header), bytes_text(payload), out, NULL),
                     ERROR_NONE);
    free(header);
    free(payload);
}

struct sign_in {
    struct buffer assertion;
    struct buffer proof;
    char nonce[IDENTITY_NONCE_TEXT_BYTES];
};

static void sign_in_init(struct world *w, struct sign_in *s, const struct identity_key *key) {
    buffer_init(&s->assertion, JWS_BYTES_MAX);
    buffer_init(&s->proof, JWS_BYTES_MAX);
    identity_nonce(w->identity, now, s->nonce);
    assert_int_equal(identity_client_assertion(key, TOKEN_URL, s->nonce, now, &s->assertion, NULL),
                     ERROR_NONE);
    assert_int_equal(identity_client_dpop(key, "POST", TOKEN_URL, NULL, now, &s->proof, NULL),
                     ERROR_NONE);
}

static void sign_in_done(struct sign_in *s) {
    buffer_done(&s->assertion);
    buffer_done(&s->proof);
}

static enum error_code send_sign_in(struct world *w, uint64_t at, struct sign_in *s,
                                    char *ret_token, struct error *err) {
    struct identity_session session;
    return identity_sign_in(w->identity, at, "/v1/token", buffer_bytes(&s->assertion),
                            buffer_bytes(&s->proof), ret_token, &session, err);
}

static void get_token(struct world *w, const struct identity_key *key, char *ret_token) {
    struct sign_in s;
    sign_in_init(w, &s, key);
    assert_int_equal(send_sign_in(w, now, &s, ret_token, NULL), ERROR_NONE);
    sign_in_done(&s);
}

static enum error_code ask(struct world *w, uint64_t at, const char *token, const char *proof,
                           struct identity_session *ret_session, struct error *err) {
    char authorization[128];
    snprintf(authorization, sizeof authorization, "DPoP %s", token);
    struct identity_request request = {
        .method = "GET", .path = "/v1/me/document", .authorization = authorization, .proof = proof};
    return identity_authenticate(w->identity, at, &request, ret_session, err);
}

static void a_patient_signs_in_and_asks(void **state) {
    struct world *w = *state;
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    get_token(w, w->key, token);
    assert_int_equal(identity_token_count(w->identity, now), 1);
    SCOPED_BUFFER struct buffer proof;
    buffer_init(&proof, JWS_BYTES_MAX);
    assert_int_equal(identity_client_dpop(w->key, "GET", DOCUMENT, token, now, &proof, NULL),
                     ERROR_NONE);
    buffer_append_byte(&proof, 0);
    struct identity_session session;
    struct error err = {0};
    assert_int_equal(ask(w, now, token, (char *)proof.data, &session, &err), ERROR_NONE);
    assert_string_equal(session.patient, "999-99-9999");
    /* The same proof a second time. */
    assert_int_equal(ask(w, now, token, (char *)proof.data, &session, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the DPoP proof: used before");
}

static void each_wrong_claim_of_an_assertion_is_refused(void **state) {
    struct world *w = *state;
    static const struct {
        const char *name, *value, *message;
    } cases[] = {
        {"iss", "\"x\"",
         "the sign-in assertion: iss and sub must both be the key's RFC 7638 thumbprint"},
        {"sub", NULL,
         "the sign-in assertion: the claim sub is missing or not a text of 1 to 64 bytes"},
        {"aud", "\"https://east.example/v1/token\"",
         "the sign-in assertion: made for another address"},
        {"aud", "\"" URL "/v1/me/document\"", "the sign-in assertion: made for another address"},
        {"aud", "[\"" TOKEN_URL "\"]",
         "the sign-in assertion: the claim aud is missing or not a text of 1 to 1024 bytes"},
        {"nonce", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
         "the sign-in assertion: its nonce is not one of this gateway's"},
        {"nonce", NULL,
         "the sign-in assertion: the claim nonce is missing or not a text of 1 to 64 bytes"},
        {"jti", NULL,
         "the sign-in assertion: the claim jti is missing or not a text of 1 to 128 bytes"},
        {"iat", "1800000031", "the sign-in assertion: issued in the future"},
        {"exp", "1800000000", "the sign-in assertion: it has ended"},
        {"exp", "1800000301",
         "the sign-in assertion: valid for longer than 300 s, or ends before it starts"},
        {"exp", "\"1800000060\"",
         "the sign-in assertion: the claim exp is missing or not a time in whole seconds"},
        {"cnf", "{\"jkt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         "the DPoP proof: its key is neither the sign-in key nor the one that the assertion "
         "confirms by cnf.jkt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sign_in s;
        sign_in_init(w, &s, w->key);
        SCOPED_BUFFER struct buffer changed;
        buffer_init(&changed, JWS_BYTES_MAX);
        change_claim(&s.assertion, cases[i].name, cases[i].value, w->key, "JWT", &changed);
        buffer_clear(&s.assertion);
        buffer_append(&s.assertion, changed.data, changed.len);
        struct error err = {0};
        char token[IDENTITY_TOKEN_TEXT_BYTES];
        assert_int_equal(send_sign_in(w, now, &s, token, &err), ERROR_UNAUTHENTICATED);
        assert_string_equal(err.message, cases[i].message);
        sign_in_done(&s);
    }
    assert_int_equal(identity_token_count(w->identity, now), 0);
}

static void strangers_and_forgers_are_refused(void **state) {
    struct world *w = *state;
    struct error err = {0};
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    struct sign_in s;
    sign_in_init(w, &s, w->unknown);
    assert_int_equal(send_sign_in(w, now, &s, token, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the sign-in assertion: this key is not enrolled at west");
    sign_in_done(&s);

    /* An enrolled patient's name under another enrolled patient's signature. */
    sign_in_init(w, &s, w->key);
    SCOPED_BUFFER struct buffer forged;
    buffer_init(&forged, JWS_BYTES_MAX);
    change_claim(&s.assertion, NULL, NULL, w->other, "JWT", &forged);
    buffer_clear(&s.assertion);
    buffer_append(&s.assertion, forged.data, forged.len);
    assert_int_equal(send_sign_in(w, now, &s, token, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the sign-in assertion: the signature is not this key's");
    sign_in_done(&s);

    /* An overheard assertion with the eavesdropper's own proof. */
    sign_in_init(w, &s, w->key);
    buffer_clear(&s.proof);
    assert_int_equal(identity_client_dpop(w->other, "POST", TOKEN_URL, NULL, now, &s.proof, NULL),
                     ERROR_NONE);
    assert_int_equal(send_sign_in(w, now, &s, token, &err), ERROR_UNAUTHENTICATED);
    sign_in_done(&s);
}

static void a_nonce_serves_once_and_for_two_minutes(void **state) {
    struct world *w = *state;
    struct error err = {0};
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    struct sign_in s, second;
    sign_in_init(w, &s, w->key);
    sign_in_init(w, &second, w->key);
    assert_int_equal(send_sign_in(w, now, &s, token, NULL), ERROR_NONE);
    buffer_clear(&second.assertion);
    assert_int_equal(
        identity_client_assertion(w->key, TOKEN_URL, s.nonce, now, &second.assertion, NULL),
        ERROR_NONE);
    assert_int_equal(send_sign_in(w, now, &second, token, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the sign-in assertion: used before");
    sign_in_done(&s);
    sign_in_done(&second);

    uint64_t late = now + IDENTITY_NONCE_LIFE_MS + 1000;
    sign_in_init(w, &s, w->key);
    buffer_clear(&s.assertion);
    assert_int_equal(
        identity_client_assertion(w->key, TOKEN_URL, s.nonce, late, &s.assertion, NULL),
        ERROR_NONE);
    assert_int_equal(send_sign_in(w, late, &s, token, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the sign-in assertion: its nonce is older than 120 s");
    sign_in_done(&s);
}

static void each_wrong_claim_of_a_proof_is_refused(void **state) {
    struct world *w = *state;
    static const struct {
        const char *name, *value, *message;
    } cases[] = {
        {"htm", "\"POST\"", "the DPoP proof: made for another method"},
        {"htu", "\"" URL "/v1/me/records\"", "the DPoP proof: made for another address"},
        {"htu", "\"https://east.example/v1/me/document\"",
         "the DPoP proof: made for another address"},
        {"htu", "\"http://west.example:8443/v1/me/document\"",
         "the DPoP proof: made for another address"},
        {"htu", "\"/v1/me/document\"", "the DPoP proof: made for another address"},
        {"htu", "\"" URL ".evil.example/v1/me/document\"",
         "the DPoP proof: made for another address"},
        {"iat", "1799999939", "the DPoP proof: its iat is not within the last 60 s"},
        {"iat", "1800000031", "the DPoP proof: its iat is not within the last 60 s"},
        {"ath", NULL, "the DPoP proof: the claim ath is missing or not a text of 1 to 64 bytes"},
        {"ath", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
         "the DPoP proof: made for another token"},
        {"jti", NULL, "the DPoP proof: the claim jti is missing or not a text of 1 to 128 bytes"},
    };
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    get_token(w, w->key, token);
    SCOPED_BUFFER struct buffer proof, changed;
    buffer_init(&proof, JWS_BYTES_MAX);
    buffer_init(&changed, JWS_BYTES_MAX);
    struct identity_session session;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buffer_clear(&proof);
        assert_int_equal(identity_client_dpop(w->key, "GET", DOCUMENT, token, now, &proof, NULL),
                         ERROR_NONE);
        change_claim(&proof, cases[i].name, cases[i].value, w->key, "dpop+jwt", &changed);
        buffer_append_byte(&changed, 0);
        struct error err = {0};
        assert_int_equal(ask(w, now, token, (char *)changed.data, &session, &err),
                         ERROR_UNAUTHENTICATED);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void an_address_is_compared_without_case_of_host_and_without_query(void **state) {
    struct world *w = *state;
    static const char *const urls[] = {"HTTPS://WEST.EXAMPLE:8443/v1/me/document",
                                       "https://127.0.0.1:8443/v1/me/document",
                                       DOCUMENT "?view=plain", DOCUMENT "#x"};
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    get_token(w, w->key, token);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        SCOPED_BUFFER struct buffer proof;
        buffer_init(&proof, JWS_BYTES_MAX);
        assert_int_equal(identity_client_dpop(w->key, "GET", urls[i], token, now, &proof, NULL),
                         ERROR_NONE);
        buffer_append_byte(&proof, 0);
        struct identity_session session;
        assert_int_equal(ask(w, now, token, (char *)proof.data, &session, NULL), ERROR_NONE);
    }
}

static void a_token_is_of_use_to_its_own_key_alone_and_ends(void **state) {
    struct world *w = *state;
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    get_token(w, w->key, token);
    SCOPED_BUFFER struct buffer proof;
    buffer_init(&proof, JWS_BYTES_MAX);
    struct identity_session session;
    struct error err = {0};
    assert_int_equal(identity_client_dpop(w->other, "GET", DOCUMENT, token, now, &proof, NULL),
                     ERROR_NONE);
    buffer_append_byte(&proof, 0);
    assert_int_equal(ask(w, now, token, (char *)proof.data, &session, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the DPoP proof: the token is bound to another key");

    uint64_t late = now + IDENTITY_TOKEN_LIFE_MS;
    buffer_clear(&proof);
    assert_int_equal(identity_client_dpop(w->key, "GET", DOCUMENT, token, late, &proof, NULL),
                     ERROR_NONE);
    buffer_append_byte(&proof, 0);
    assert_int_equal(ask(w, late, token, (char *)proof.data, &session, &err),
                     ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the token: unknown, or it has ended");

    /* An enrolment that has ended, ends its tokens. */
    w->ended = true;
    buffer_clear(&proof);
    assert_int_equal(identity_client_dpop(w->key, "GET", DOCUMENT, token, now, &proof, NULL),
                     ERROR_NONE);
    buffer_append_byte(&proof, 0);
    assert_int_equal(ask(w, now, token, (char *)proof.data, &session, &err), ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the token: this key is not enrolled at west");
    w->ended = false;

    struct hash key = identity_key_thumbprint(w->key);
    identity_forget(w->identity, &key);
    assert_int_equal(identity_token_count(w->identity, now), 0);
}

static void a_further_sign_in_ends_the_oldest_token_of_a_key(void **state) {
    struct world *w = *state;
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    for (int i = 0; i < IDENTITY_TOKENS_PER_KEY_MAX + 3; i++)
        get_token(w, w->key, token);
    get_token(w, w->other, token);
    assert_int_equal(identity_token_count(w->identity, now), IDENTITY_TOKENS_PER_KEY_MAX + 1);
}

static void too_many_requests_in_a_minute_are_refused(void **state) {
    struct world *w = *state;
    char token[IDENTITY_TOKEN_TEXT_BYTES];
    get_token(w, w->key, token);
    struct identity_session session;
    struct error err = {0};
    for (int i = 0; i < IDENTITY_TOKEN_REQUESTS_PER_MINUTE_MAX; i++)
        assert_int_equal(ask(w, now, token, "x", &session, NULL), ERROR_UNAUTHENTICATED);
    assert_int_equal(ask(w, now, token, "x", &session, &err), ERROR_RATE);
    assert_int_equal(ask(w, now + 60000, token, "x", &session, &err), ERROR_UNAUTHENTICATED);
}

static void a_forward_request_serves_once_for_its_reader(void **state) {
    struct world *w = *state;
    static const char *const hospitals[] = {"east", "west"};
    SCOPED_BUFFER struct buffer request;
    buffer_init(&request, JWS_BYTES_MAX);
    assert_int_equal(identity_client_forward(w->key, hospitals, 2, "north", now, &request, NULL),
                     ERROR_NONE);
    struct identity_session session;
    struct error err = {0};
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&request), "south", &session, &err),
        ERROR_FORBIDDEN);
    assert_string_equal(err.message,
                        "the forward request: its reader is another hospital than south");
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&request), "north", &session, &err),
        ERROR_NONE);
    assert_string_equal(session.patient, "999-99-9999");
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&request), "north", &session, &err),
        ERROR_UNAUTHENTICATED);
    assert_string_equal(err.message, "the forward request: used before");

    /* Not for this hospital; too old; a resource of another kind. */
    buffer_clear(&request);
    assert_int_equal(identity_client_forward(w->key, hospitals, 1, "north", now, &request, NULL),
                     ERROR_NONE);
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&request), "north", &session, &err),
        ERROR_FORBIDDEN);
    assert_string_equal(err.message, "the forward request: west is not in its aud");
    buffer_clear(&request);
    assert_int_equal(identity_client_forward(w->key, hospitals, 2, "north", now, &request, NULL),
                     ERROR_NONE);
    assert_int_equal(identity_check_forward(w->identity, now + 60000, buffer_bytes(&request),
                                            "north", &session, &err),
                     ERROR_UNAUTHENTICATED);
    SCOPED_BUFFER struct buffer changed;
    buffer_init(&changed, JWS_BYTES_MAX);
    change_claim(&request, "resource", "\"/v1/other\"", w->key, IDENTITY_FORWARD_TYP, &changed);
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&changed), "north", &session, &err),
        ERROR_FORBIDDEN);
    change_claim(&request, "exp", "1800000061", w->key, IDENTITY_FORWARD_TYP, &changed);
    assert_int_equal(
        identity_check_forward(w->identity, now, buffer_bytes(&changed), "north", &session, &err),
        ERROR_UNAUTHENTICATED);
}

static void an_outgoing_request_must_be_the_sessions_own(void **state) {
    struct world *w = *state;
    static const char *const hospitals[] = {"east"};
    SCOPED_BUFFER struct buffer request;
    buffer_init(&request, JWS_BYTES_MAX);
    struct identity_session session = {.key = identity_key_thumbprint(w->key)};
    assert_int_equal(identity_client_forward(w->key, hospitals, 1, "west", now, &request, NULL),
                     ERROR_NONE);
    for (int i = 0; i < 2; i++) /* looking at it does not use it up */
        assert_int_equal(
            identity_check_outgoing(w->identity, now, buffer_bytes(&request), &session, NULL),
            ERROR_NONE);
    session.key = identity_key_thumbprint(w->other);
    assert_int_equal(
        identity_check_outgoing(w->identity, now, buffer_bytes(&request), &session, NULL),
        ERROR_FORBIDDEN);
}

#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_patient_signs_in_and_asks),
        WITH_WORLD(each_wrong_claim_of_an_assertion_is_refused),
        WITH_WORLD(strangers_and_forgers_are_refused),
        WITH_WORLD(a_nonce_serves_once_and_for_two_minutes),
        WITH_WORLD(each_wrong_claim_of_a_proof_is_refused),
        WITH_WORLD(an_address_is_compared_without_case_of_host_and_without_query),
        WITH_WORLD(a_token_is_of_use_to_its_own_key_alone_and_ends),
        WITH_WORLD(a_further_sign_in_ends_the_oldest_token_of_a_key),
        WITH_WORLD(too_many_requests_in_a_minute_are_refused),
        WITH_WORLD(a_forward_request_serves_once_for_its_reader),
        WITH_WORLD(an_outgoing_request_must_be_the_sessions_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
