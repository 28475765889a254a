#include "gateway/identity/identity.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "base/wire.h"
#include "gateway/identity/jws.h"
#include "gateway/identity/replay.h"

/* A nonce: when it ends (u64, ms), 8 random bytes, the first 16 bytes of
 * HMAC-SHA-256(process key, domain ‖ the first 16 bytes). */
enum { NONCE_BYTES = 32, NONCE_HEAD_BYTES = 16, MINUTE_MS = 60000 };

struct token {
    struct hash id; /* SHA-256 of the token's text */
    struct hash key;
    struct hash proof_key; /* thumbprint that DPoP proofs must have (RFC 9449's cnf.jkt) */
    uint64_t end_ms;       /* 0: the slot is free */
    uint64_t minute_ms;    /* start of the minute that is counted */
    uint32_t requests;
};

struct identity {
    char hospital[IDENTITY_HOSPITAL_BYTES_MAX];
    char *urls[IDENTITY_URLS_MAX];
    size_t url_count;
    identity_find *find;
    void *find_context;
    uint8_t nonce_key[HASH_BYTES];

    pthread_mutex_t lock; /* of what follows */
    struct replay *replay;
    struct token *tokens;
};

static void lower_text(char *text) {
    for (; *text != '\0'; text++)
        *text = (char)tolower((unsigned char)*text);
}

enum error_code identity_new(const struct identity_config *config, struct identity **ret_identity,
                             struct error *err) {
    if (config->url_count == 0 || config->url_count > IDENTITY_URLS_MAX)
        return error_set(err, ERROR_CONFIG, "public URLs: found %zu, expected 1 to %d",
                         config->url_count, (int)IDENTITY_URLS_MAX);
    struct identity *identity = calloc(1, sizeof *identity);
    if (identity == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the sign-in state");
    pthread_mutex_init(&identity->lock, NULL);
    identity->find = config->find;
    identity->find_context = config->find_context;
    snprintf(identity->hospital, sizeof identity->hospital, "%s", config->hospital);
    random_bytes(identity->nonce_key, sizeof identity->nonce_key);
    identity->replay = replay_new(IDENTITY_REPLAYS_MAX);
    identity->tokens = calloc(IDENTITY_TOKENS_MAX, sizeof *identity->tokens);
    bool good = identity->replay != NULL && identity->tokens != NULL;
    for (size_t i = 0; good && i < config->url_count; i++) {
        char *url = strdup(config->urls[i]);
        good = url != NULL;
        if (!good)
            break;
        lower_text(url);
        size_t len = strlen(url);
        if (len > 0 && url[len - 1] == '/')
            url[len - 1] = '\0';
        identity->urls[identity->url_count++] = url;
    }
    if (!good) {
        identity_free(identity);
        return error_set(err, ERROR_NO_MEMORY, "no memory for the sign-in state");
    }
    *ret_identity = identity;
    return ERROR_NONE;
}

void identity_free(struct identity *identity) {
    if (identity == NULL)
        return;
    for (size_t i = 0; i < identity->url_count; i++)
        free(identity->urls[i]);
    replay_free(identity->replay);
    free(identity->tokens);
    pthread_mutex_destroy(&identity->lock);
    free(identity);
}

static void nonce_mac(const struct identity *identity, const uint8_t *head, uint8_t *ret_mac) {
    uint8_t data[32] = "renkei/nonce/1\n";
    size_t domain = strlen("renkei/nonce/1\n");
    memcpy(data + domain, head, NONCE_HEAD_BYTES);
    struct hash mac = hmac_sha256(bytes_of(identity->nonce_key, sizeof identity->nonce_key),
                                  bytes_of(data, domain + NONCE_HEAD_BYTES));
    memcpy(ret_mac, mac.byte, NONCE_BYTES - NONCE_HEAD_BYTES);
}

void identity_nonce(struct identity *identity, uint64_t now_ms,
                    char ret_nonce[IDENTITY_NONCE_TEXT_BYTES]) {
    struct hash nonce;
    wire_store_u64(nonce.byte, now_ms + IDENTITY_NONCE_LIFE_MS);
    random_bytes(nonce.byte + 8, NONCE_HEAD_BYTES - 8);
    nonce_mac(identity, nonce.byte, nonce.byte + NONCE_HEAD_BYTES);
    identity_thumbprint_text(&nonce, ret_nonce);
}

static enum error_code check_nonce(const struct identity *identity, uint64_t now_ms,
                                   const char *text, uint64_t *ret_end_ms, struct error *err) {
    struct hash nonce;
    uint8_t mac[NONCE_BYTES - NONCE_HEAD_BYTES];
    bool good = identity_thumbprint_parse(bytes_text(text), &nonce);
    if (good) {
        nonce_mac(identity, nonce.byte, mac);
        good = bytes_equal_secret(bytes_of(mac, sizeof mac),
                                  bytes_of(nonce.byte + NONCE_HEAD_BYTES, sizeof mac));
    }
    if (!good)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the sign-in assertion: its nonce is not one of this gateway's");
    uint64_t end_ms = wire_load_u64(nonce.byte);
    if (end_ms < now_ms)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the sign-in assertion: its nonce is older than %d s",
                         IDENTITY_NONCE_LIFE_MS / 1000);
    *ret_end_ms = end_ms;
    return ERROR_NONE;
}

/* use: what sort of thing it is; owner: the key whose thing it is. */
static enum error_code use_once(struct identity *identity, const char *use,
                                const struct hash *owner, const char *id, uint64_t now_ms,
                                uint64_t until_ms, const char *what, struct error *err) {
    struct bytes parts[] = {bytes_of(use, strlen(use) + 1), hash_bytes(owner), bytes_text(id)};
    struct hash name = sha256_of_parts(parts, 3);
    pthread_mutex_lock(&identity->lock);
    enum error_code code = replay_use(identity->replay, &name, now_ms, until_ms);
    pthread_mutex_unlock(&identity->lock);
    if (code == ERROR_EXISTS)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: used before", what);
    if (code != ERROR_NONE)
        return error_set(err, ERROR_BUSY, "%s: too many sign-ins and requests at this moment",
                         what);
    return ERROR_NONE;
}

/* The URL without query and fragment, its scheme and host in lower case, is one of ours with this
 * path (RFC 9449 section 4.3). */
static bool url_is_ours(const struct identity *identity, const char *url, const char *path) {
    char base[IDENTITY_URL_BYTES_MAX + 1];
    const char *authority = strstr(url, "://");
    if (authority == NULL)
        return false;
    size_t base_len = (size_t)(authority - url) + 3;
    base_len += strcspn(authority + 3, "/?#");
    if (base_len > IDENTITY_URL_BYTES_MAX)
        return false;
    memcpy(base, url, base_len);
    base[base_len] = '\0';
    lower_text(base);
    bool ours = false;
    for (size_t i = 0; i < identity->url_count; i++)
        ours = ours || strcmp(identity->urls[i], base) == 0;
    const char *found = url + base_len;
    size_t path_len = strcspn(found, "?#");
    return ours && path_len == strlen(path) && memcmp(found, path, path_len) == 0;
}

/* Finds the enrolment of a thumbprint and its key. */
static enum error_code find_enrolled(struct identity *identity, const struct hash *thumbprint,
                                     const char *what, struct identity_enrolment *ret_enrolment,
                                     struct identity_key **ret_key, struct error *err) {
    enum error_code code = identity->find(identity->find_context, thumbprint, ret_enrolment, err);
    if (code == ERROR_NOT_FOUND) {
        error_set(err, ERROR_UNAUTHENTICATED, "%s: this key is not enrolled at %s", what,
                  identity->hospital);
        error_hint(err, "ask the hospital to enrol your public key");
        return ERROR_UNAUTHENTICATED;
    }
    TRY(code);
    if (ret_key == NULL)
        return ERROR_NONE;
    return identity_key_from_jwk(bytes_text(ret_enrolment->jwk), ret_key, err);
}

/* iss and sub, which are equal, name the key; the key is enrolled and made the signature. */
static enum error_code check_signer(struct identity *identity, const struct jws *jws,
                                    const char *what, struct identity_session *ret_session,
                                    struct error *err) {
    const char *iss, *sub;
    TRY(jws_claim_text(jws, "iss", what, 64, &iss, err));
    TRY(jws_claim_text(jws, "sub", what, 64, &sub, err));
    struct identity_session session;
    if (strcmp(iss, sub) != 0 || !identity_thumbprint_parse(bytes_text(iss), &session.key))
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: iss and sub must both be the key's RFC 7638 thumbprint", what);
    struct identity_enrolment enrolment;
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    TRY(find_enrolled(identity, &session.key, what, &enrolment, &key, err));
    if (!jws_verify(jws, key))
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: the signature is not this key's", what);
    memcpy(session.patient, enrolment.patient, sizeof session.patient);
    *ret_session = session;
    return ERROR_NONE;
}

/* Not issued in the future, not ended, and not longer than allowed. */
static enum error_code check_life(const struct jws *jws, const char *what, uint64_t now_ms,
                                  uint64_t life_ms_max, uint64_t *ret_end_ms, struct error *err) {
    uint64_t iat_ms, exp_ms;
    TRY(jws_claim_time(jws, "iat", what, &iat_ms, err));
    TRY(jws_claim_time(jws, "exp", what, &exp_ms, err));
    if (iat_ms > now_ms + IDENTITY_CLOCK_AHEAD_MS_MAX) {
        error_set(err, ERROR_UNAUTHENTICATED, "%s: issued in the future", what);
        error_hint(err, "set the client's clock");
        return ERROR_UNAUTHENTICATED;
    }
    if (exp_ms <= now_ms)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: it has ended", what);
    if (exp_ms < iat_ms || exp_ms - iat_ms > life_ms_max)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "%s: valid for longer than %u s, or ends before it starts", what,
                         (unsigned)(life_ms_max / 1000));
    *ret_end_ms = exp_ms;
    return ERROR_NONE;
}

/* Checks everything but who the key belongs to; the caller compares ret_key. The jti is used up by
 * use_proof, last, so that a stranger cannot fill the memory. */
static enum error_code check_proof(const struct identity *identity, uint64_t now_ms,
                                   const char *method, const char *path, const char *token,
                                   const struct jws *proof, struct hash *ret_key,
                                   struct error *err) {
    static const char what[] = "the DPoP proof";
    json_t *jwk_object = json_object_get(proof->header, "jwk");
    if (!json_is_object(jwk_object))
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: no jwk in its header", what);
    char jwk[IDENTITY_JWK_BYTES_MAX];
    size_t len = json_dumpb(jwk_object, jwk, sizeof jwk, JSON_COMPACT);
    SCOPED_IDENTITY_KEY struct identity_key *key = NULL;
    if (len == 0 || len > sizeof jwk ||
        identity_key_from_jwk(bytes_of(jwk, len), &key, err) != ERROR_NONE)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: its jwk is not a public P-256 key", what);
    if (!jws_verify(proof, key))
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: the signature is not its jwk's", what);
    const char *htm, *htu;
    uint64_t iat_ms;
    TRY(jws_claim_text(proof, "htm", what, 16, &htm, err));
    TRY(jws_claim_text(proof, "htu", what, IDENTITY_URL_BYTES_MAX, &htu, err));
    TRY(jws_claim_time(proof, "iat", what, &iat_ms, err));
    if (strcmp(htm, method) != 0)
        return error_set(err, ERROR_UNAUTHENTICATED, "%s: made for another method", what);
    if (!url_is_ours(identity, htu, path)) {
        error_set(err, ERROR_UNAUTHENTICATED, "%s: made for another address", what);
        error_hint(err, "htu must be the address as configured, here %s%s", identity->urls[0],
                   path);
        return ERROR_UNAUTHENTICATED;
    }
    if (iat_ms > now_ms + IDENTITY_CLOCK_AHEAD_MS_MAX ||
        iat_ms + IDENTITY_PROOF_AGE_MS_MAX < now_ms) {
        error_set(err, ERROR_UNAUTHENTICATED, "%s: its iat is not within the last %d s", what,
                  IDENTITY_PROOF_AGE_MS_MAX / 1000);
        error_hint(err, "make a fresh proof for every request; set the client's clock");
        return ERROR_UNAUTHENTICATED;
    }
    if (token != NULL) {
        const char *ath;
        struct hash named, hash = sha256_of(bytes_text(token));
        TRY(jws_claim_text(proof, "ath", what, 64, &ath, err));
        if (!identity_thumbprint_parse(bytes_text(ath), &named) || !hash_equal(&named, &hash))
            return error_set(err, ERROR_UNAUTHENTICATED, "%s: made for another token", what);
    }
    *ret_key = identity_key_thumbprint(key);
    return ERROR_NONE;
}

static enum error_code use_proof(struct identity *identity, uint64_t now_ms,
                                 const struct jws *proof, const struct hash *key,
                                 struct error *err) {
    static const char what[] = "the DPoP proof";
    const char *jti;
    uint64_t iat_ms;
    TRY(jws_claim_text(proof, "jti", what, IDENTITY_JTI_BYTES_MAX, &jti, err));
    TRY(jws_claim_time(proof, "iat", what, &iat_ms, err));
    return use_once(identity, "dpop", key, jti, now_ms, iat_ms + IDENTITY_PROOF_AGE_MS_MAX, what,
                    err);
}

/* A proof by another key than the sign-in key is accepted where the assertion names that key in
 * cnf.jkt: else whoever overheard an assertion could bind a token to a key of their own. */
static bool assertion_confirms(const struct jws *assertion, const struct hash *sign_key,
                               const struct hash *proof_key) {
    json_t *cnf = json_object_get(assertion->payload, "cnf");
    if (cnf == NULL)
        return hash_equal(sign_key, proof_key);
    const char *jkt = json_string_value(json_object_get(cnf, "jkt"));
    struct hash named;
    return jkt != NULL && identity_thumbprint_parse(bytes_text(jkt), &named) &&
           hash_equal(&named, proof_key);
}

/* Gives out a token; ends the oldest of a key that has its maximum. */
static enum error_code store_token(struct identity *identity, uint64_t now_ms,
                                   const struct token *token, struct error *err) {
    struct token *unused = NULL, *oldest = NULL;
    size_t own = 0;
    pthread_mutex_lock(&identity->lock);
    for (size_t i = 0; i < IDENTITY_TOKENS_MAX; i++) {
        struct token *slot = &identity->tokens[i];
        if (slot->end_ms <= now_ms) {
            unused = unused != NULL ? unused : slot;
            continue;
        }
        if (!hash_equal(&slot->key, &token->key))
            continue;
        own++;
        if (oldest == NULL || slot->end_ms < oldest->end_ms)
            oldest = slot;
    }
    struct token *chosen = own >= IDENTITY_TOKENS_PER_KEY_MAX ? oldest : unused;
    if (chosen != NULL)
        *chosen = *token;
    pthread_mutex_unlock(&identity->lock);
    if (chosen == NULL)
        return error_set(err, ERROR_BUSY, "tokens: %d are in use at this moment",
                         (int)IDENTITY_TOKENS_MAX);
    return ERROR_NONE;
}

enum error_code identity_sign_in(struct identity *identity, uint64_t now_ms, const char *path,
                                 struct bytes assertion, struct bytes proof,
                                 char ret_token[IDENTITY_TOKEN_TEXT_BYTES],
                                 struct identity_session *ret_session, struct error *err) {
    static const char what[] = "the sign-in assertion";
    SCOPED_JWS struct jws jws = {0};
    SCOPED_JWS struct jws dpop = {0};
    TRY(jws_parse(assertion, "JWT", what, &jws, err));
    TRY(jws_parse(proof, "dpop+jwt", "the DPoP proof", &dpop, err));
    struct identity_session session;
    TRY(check_signer(identity, &jws, what, &session, err));
    const char *aud, *nonce, *jti;
    uint64_t end_ms = 0, nonce_end_ms = 0;
    TRY(jws_claim_text(&jws, "aud", what, IDENTITY_URL_BYTES_MAX, &aud, err));
    TRY(jws_claim_text(&jws, "nonce", what, 64, &nonce, err));
    TRY(jws_claim_text(&jws, "jti", what, IDENTITY_JTI_BYTES_MAX, &jti, err));
    if (!url_is_ours(identity, aud, path)) {
        error_set(err, ERROR_UNAUTHENTICATED, "%s: made for another address", what);
        error_hint(err, "aud must be the address as configured, here %s%s", identity->urls[0],
                   path);
        return ERROR_UNAUTHENTICATED;
    }
    TRY(check_life(&jws, what, now_ms, IDENTITY_ASSERTION_LIFE_MS_MAX, &end_ms, err));
    TRY(check_nonce(identity, now_ms, nonce, &nonce_end_ms, err));
    struct hash proof_key;
    TRY(check_proof(identity, now_ms, "POST", path, NULL, &dpop, &proof_key, err));
    if (!assertion_confirms(&jws, &session.key, &proof_key))
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the DPoP proof: its key is neither the sign-in key nor the one that the "
                         "assertion confirms by cnf.jkt");
    static const struct hash everybody;
    TRY(use_once(identity, "nonce", &everybody, nonce, now_ms, nonce_end_ms, what, err));
    TRY(use_once(identity, "assertion", &session.key, jti, now_ms, end_ms, what, err));
    TRY(use_proof(identity, now_ms, &dpop, &proof_key, err));
    struct hash secret;
    char text[IDENTITY_TOKEN_TEXT_BYTES];
    random_bytes(secret.byte, sizeof secret.byte);
    identity_thumbprint_text(&secret, text);
    struct token token = {.id = sha256_of(bytes_text(text)),
                          .key = session.key,
                          .proof_key = proof_key,
                          .end_ms = now_ms + IDENTITY_TOKEN_LIFE_MS,
                          .minute_ms = now_ms};
    TRY(store_token(identity, now_ms, &token, err));
    memcpy(ret_token, text, sizeof text);
    *ret_session = session;
    return ERROR_NONE;
}

static enum error_code find_token(struct identity *identity, uint64_t now_ms, const char *text,
                                  struct token *ret_token, struct error *err) {
    struct hash id = sha256_of(bytes_text(text));
    bool found = false, too_many = false;
    pthread_mutex_lock(&identity->lock);
    for (size_t i = 0; i < IDENTITY_TOKENS_MAX; i++) {
        struct token *slot = &identity->tokens[i];
        if (slot->end_ms <= now_ms || !hash_equal(&slot->id, &id))
            continue;
        if (now_ms - slot->minute_ms >= MINUTE_MS) {
            slot->minute_ms = now_ms;
            slot->requests = 0;
        }
        too_many = slot->requests++ >= IDENTITY_TOKEN_REQUESTS_PER_MINUTE_MAX;
        *ret_token = *slot;
        found = true;
        break;
    }
    pthread_mutex_unlock(&identity->lock);
    if (!found)
        return error_set(err, ERROR_UNAUTHENTICATED, "the token: unknown, or it has ended");
    if (too_many)
        return error_set(err, ERROR_RATE, "the token: more than %d requests in a minute",
                         (int)IDENTITY_TOKEN_REQUESTS_PER_MINUTE_MAX);
    return ERROR_NONE;
}

enum error_code identity_authenticate(struct identity *identity, uint64_t now_ms,
                                      const struct identity_request *request,
                                      struct identity_session *ret_session, struct error *err) {
    static const char scheme[] = "DPoP ";
    size_t scheme_len = sizeof scheme - 1;
    if (request->authorization == NULL)
        return error_set(err, ERROR_UNAUTHENTICATED, "no Authorization header");
    if (strncasecmp(request->authorization, scheme, scheme_len) != 0)
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the Authorization header: expected the scheme DPoP");
    const char *text = request->authorization + scheme_len;
    if (request->proof == NULL)
        return error_set(err, ERROR_UNAUTHENTICATED, "no DPoP header");
    struct token token;
    TRY(find_token(identity, now_ms, text, &token, err));
    SCOPED_JWS struct jws proof = {0};
    TRY(jws_parse(bytes_text(request->proof), "dpop+jwt", "the DPoP proof", &proof, err));
    struct hash proof_key;
    TRY(check_proof(identity, now_ms, request->method, request->path, text, &proof, &proof_key,
                    err));
    if (!hash_equal(&proof_key, &token.proof_key))
        return error_set(err, ERROR_UNAUTHENTICATED,
                         "the DPoP proof: the token is bound to another key");
    TRY(use_proof(identity, now_ms, &proof, &proof_key, err));
    struct identity_enrolment enrolment;
    TRY(find_enrolled(identity, &token.key, "the token", &enrolment, NULL, err));
    ret_session->key = token.key;
    memcpy(ret_session->patient, enrolment.patient, sizeof ret_session->patient);
    return ERROR_NONE;
}

/* aud is a list of hospitals; wanted NULL: any. */
static bool audience_names(const struct jws *jws, const char *wanted) {
    json_t *audience = json_object_get(jws->payload, "aud");
    size_t count = json_array_size(audience);
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(audience, i));
        if (name == NULL)
            return false;
        found = found || wanted == NULL || strcmp(name, wanted) == 0;
    }
    return found;
}

static enum error_code check_forward_claims(const struct jws *jws, const char *reader,
                                            struct error *err) {
    static const char what[] = "the forward request";
    const char *htm, *resource, *named;
    TRY(jws_claim_text(jws, "htm", what, 16, &htm, err));
    TRY(jws_claim_text(jws, "resource", what, IDENTITY_URL_BYTES_MAX, &resource, err));
    TRY(jws_claim_text(jws, "reader", what, IDENTITY_HOSPITAL_BYTES_MAX, &named, err));
    if (strcmp(htm, "GET") != 0 || strcmp(resource, IDENTITY_FORWARD_RESOURCE) != 0)
        return error_set(err, ERROR_FORBIDDEN,
                         "%s: made for another method or resource, expected "
                         "GET %s",
                         what, IDENTITY_FORWARD_RESOURCE);
    if (strcmp(named, reader) != 0)
        return error_set(err, ERROR_FORBIDDEN, "%s: its reader is another hospital than %s", what,
                         reader);
    return ERROR_NONE;
}

enum error_code identity_check_forward(struct identity *identity, uint64_t now_ms,
                                       struct bytes request, const char *from,
                                       struct identity_session *ret_session, struct error *err) {
    static const char what[] = "the forward request";
    SCOPED_JWS struct jws jws = {0};
    TRY(jws_parse(request, IDENTITY_FORWARD_TYP, what, &jws, err));
    struct identity_session session;
    TRY(check_signer(identity, &jws, what, &session, err));
    if (!audience_names(&jws, identity->hospital))
        return error_set(err, ERROR_FORBIDDEN, "%s: %s is not in its aud", what,
                         identity->hospital);
    TRY(check_forward_claims(&jws, from, err));
    uint64_t end_ms;
    const char *jti;
    TRY(check_life(&jws, what, now_ms, IDENTITY_FORWARD_LIFE_MS_MAX, &end_ms, err));
    TRY(jws_claim_text(&jws, "jti", what, IDENTITY_JTI_BYTES_MAX, &jti, err));
    TRY(use_once(identity, "forward", &session.key, jti, now_ms, end_ms, what, err));
    *ret_session = session;
    return ERROR_NONE;
}

enum error_code identity_check_outgoing(struct identity *identity, uint64_t now_ms,
                                        struct bytes request,
                                        const struct identity_session *session, struct error *err) {
    static const char what[] = "the forward request";
    SCOPED_JWS struct jws jws = {0};
    TRY(jws_parse(request, IDENTITY_FORWARD_TYP, what, &jws, err));
    struct identity_session signer;
    TRY(check_signer(identity, &jws, what, &signer, err));
    if (!hash_equal(&signer.key, &session->key))
        return error_set(err, ERROR_FORBIDDEN, "%s: signed by another key than the session's",
                         what);
    if (!audience_names(&jws, NULL))
        return error_set(err, ERROR_BAD_REQUEST, "%s: its aud is not a list of hospitals", what);
    TRY(check_forward_claims(&jws, identity->hospital, err));
    uint64_t end_ms;
    return check_life(&jws, what, now_ms, IDENTITY_FORWARD_LIFE_MS_MAX, &end_ms, err);
}

void identity_forget(struct identity *identity, const struct hash *key) {
    pthread_mutex_lock(&identity->lock);
    for (size_t i = 0; i < IDENTITY_TOKENS_MAX; i++)
        if (hash_equal(&identity->tokens[i].key, key))
            identity->tokens[i].end_ms = 0;
    pthread_mutex_unlock(&identity->lock);
}

size_t identity_token_count(struct identity *identity, uint64_t now_ms) {
    size_t count = 0;
    pthread_mutex_lock(&identity->lock);
    for (size_t i = 0; i < IDENTITY_TOKENS_MAX; i++)
        count += identity->tokens[i].end_ms > now_ms;
    pthread_mutex_unlock(&identity->lock);
    return count;
}
