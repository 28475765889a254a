#include "gateway/rest/peers.h"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "gateway/rest/scan.h"

enum { PEM_BYTES_MAX = 1 << 20, POLL_MS = 1000 };

struct peer {
    char *name;
    char *url;
    char *certificate;
    X509_STORE *store;
    STACK_OF(X509) * own; /* the certificates of its file */
    uint64_t answer_ms;   /* under the lock */
    char error[256];
};

struct peers {
    struct peer *items;
    size_t count;
    char *own_certificate;
    char *own_key;
    struct buffer trust;
    pthread_mutex_t lock;
};

static enum error_code load_peer(struct peer *peer, struct buffer *trust, struct error *err) {
    SCOPED_BUFFER struct buffer pem;
    buffer_init(&pem, PEM_BYTES_MAX);
    TRY(file_read(peer->certificate, &pem, PEM_BYTES_MAX, err));
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    STACK_OF(X509_INFO) *infos = bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    peer->store = X509_STORE_new();
    peer->own = sk_X509_new_null();
    bool crl = false;
    for (int i = 0; peer->store != NULL && peer->own != NULL && i < sk_X509_INFO_num(infos); i++) {
        X509_INFO *info = sk_X509_INFO_value(infos, i);
        if (info->x509 != NULL && X509_STORE_add_cert(peer->store, info->x509) == 1 &&
            X509_up_ref(info->x509) == 1)
            sk_X509_push(peer->own, info->x509);
        if (info->crl != NULL)
            crl = X509_STORE_add_crl(peer->store, info->crl) == 1 || crl;
    }
    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    if (sk_X509_num(peer->own) <= 0)
        return error_set(err, ERROR_TLS, "hospital %s: no certificate in %s", peer->name,
                         peer->certificate);
    X509_STORE_set_flags(peer->store,
                         X509_V_FLAG_PARTIAL_CHAIN | (crl ? X509_V_FLAG_CRL_CHECK : 0));
    X509_STORE_set_purpose(peer->store, X509_PURPOSE_SSL_CLIENT);
    buffer_append(trust, pem.data, pem.len);
    buffer_append_byte(trust, '\n');
    return buffer_check(trust, "the other hospitals' certificates", err);
}

enum error_code peers_new(const struct rest_options *options, struct peers **ret_peers,
                          struct error *err) {
    if (options->peer_count > REST_PEERS_MAX)
        return error_set(err, ERROR_CONFIG, "hospitals: found %zu, expected at most %d",
                         options->peer_count, (int)REST_PEERS_MAX);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, ERROR_TLS, "libcurl cannot be started");
    struct peers *peers = calloc(1, sizeof *peers);
    if (peers == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the other hospitals");
    pthread_mutex_init(&peers->lock, NULL);
    buffer_init(&peers->trust, PEM_BYTES_MAX);
    peers->items = calloc(options->peer_count + 1, sizeof *peers->items);
    if (options->machine.address != NULL) {
        peers->own_certificate = strdup(options->machine.certificate);
        peers->own_key = strdup(options->machine.key);
    }
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; peers->items != NULL && code == ERROR_NONE && i < options->peer_count; i++) {
        struct peer *peer = &peers->items[peers->count++];
        peer->name = strdup(options->peers[i].name);
        peer->url = strdup(options->peers[i].url);
        peer->certificate = strdup(options->peers[i].certificate);
        if (peer->name == NULL || peer->url == NULL || peer->certificate == NULL)
            code = error_set(err, ERROR_NO_MEMORY, "no memory for the other hospitals");
        else
            code = load_peer(peer, &peers->trust, err);
    }
    if (peers->items == NULL)
        code = error_set(err, ERROR_NO_MEMORY, "no memory for the other hospitals");
    if (code != ERROR_NONE) {
        peers_free(peers);
        return code;
    }
    buffer_append_byte(&peers->trust, 0); /* GnuTLS takes a text */
    *ret_peers = peers;
    return ERROR_NONE;
}

void peers_free(struct peers *peers) {
    if (peers == NULL)
        return;
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->items[i];
        free(peer->name);
        free(peer->url);
        free(peer->certificate);
        X509_STORE_free(peer->store);
        sk_X509_pop_free(peer->own, X509_free);
    }
    free(peers->items);
    free(peers->own_certificate);
    free(peers->own_key);
    buffer_done(&peers->trust);
    pthread_mutex_destroy(&peers->lock);
    free(peers);
    curl_global_cleanup();
}

size_t peers_count(const struct peers *peers) {
    return peers->count;
}

const char *peers_name(const struct peers *peers, size_t index) {
    return peers->items[index].name;
}

const char *peers_url(const struct peers *peers, size_t index) {
    return peers->items[index].url;
}

void peers_last(struct peers *peers, size_t index, uint64_t *ret_answer_ms, char ret_error[256]) {
    pthread_mutex_lock(&peers->lock);
    *ret_answer_ms = peers->items[index].answer_ms;
    memcpy(ret_error, peers->items[index].error, sizeof peers->items[index].error);
    pthread_mutex_unlock(&peers->lock);
}

struct bytes peers_trust(const struct peers *peers) {
    return buffer_bytes(&peers->trust);
}

/* ---------------------------------------------------------------- who is calling us ---- */

static bool is_own(const struct peer *peer, const X509 *leaf) {
    for (int i = 0; i < sk_X509_num(peer->own); i++)
        if (X509_cmp(sk_X509_value(peer->own, i), leaf) == 0)
            return true;
    return false;
}

static bool names_hospital(const X509 *leaf, const char *name) {
    char uri[16 + IDENTITY_HOSPITAL_BYTES_MAX];
    int len = snprintf(uri, sizeof uri, "renkei://%s", name);
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *general = sk_GENERAL_NAME_value(names, i);
        if (general->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *text = general->d.uniformResourceIdentifier;
        found = found || (ASN1_STRING_length(text) == len &&
                          memcmp(ASN1_STRING_get0_data(text), uri, (size_t)len) == 0);
    }
    GENERAL_NAMES_free(names);
    return found;
}

static bool chain_holds(const struct peer *peer, X509 *leaf, STACK_OF(X509) * between) {
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool good = context != NULL && X509_STORE_CTX_init(context, peer->store, leaf, between) == 1 &&
                X509_verify_cert(context) == 1;
    X509_STORE_CTX_free(context);
    return good;
}

const char *peers_identify(const struct peers *peers, const struct bytes *chain, size_t count,
                           struct error *err) {
    STACK_OF(X509) *certificates = sk_X509_new_null();
    for (size_t i = 0; certificates != NULL && i < count; i++) {
        const uint8_t *at = chain[i].data;
        X509 *certificate = d2i_X509(NULL, &at, (long)chain[i].len);
        if (certificate == NULL)
            break;
        sk_X509_push(certificates, certificate);
    }
    const char *found = NULL;
    X509 *leaf = sk_X509_num(certificates) > 0 ? sk_X509_value(certificates, 0) : NULL;
    for (size_t i = 0; leaf != NULL && found == NULL && i < peers->count; i++) {
        const struct peer *peer = &peers->items[i];
        if ((is_own(peer, leaf) || names_hospital(leaf, peer->name)) &&
            chain_holds(peer, leaf, certificates))
            found = peer->name;
    }
    sk_X509_pop_free(certificates, X509_free);
    if (found == NULL)
        error_set(err, ERROR_FORBIDDEN,
                  "the client's certificate: belongs to no hospital of the configuration");
    return found;
}

/* -------------------------------------------------------------------- asking others ---- */

struct call {
    CURL *curl;
    struct buffer body;
    char detail[CURL_ERROR_SIZE];
    CURLcode result;
    bool running;
};

static size_t take_body(char *data, size_t size, size_t count, void *context) {
    struct call *call = context;
    buffer_append(&call->body, data, size * count);
    return call->body.failed ? 0 : size * count;
}

static bool start_call(const struct peers *peers, const struct peer *peer, struct bytes request,
                       struct curl_slist *headers, CURLM *multi, struct call *call) {
    char url[IDENTITY_URL_BYTES_MAX + 16];
    snprintf(url, sizeof url, "%s/v1/forward", peer->url);
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return false;
    call->curl = curl;
    bool good =
        curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)REST_PEER_CONNECT_MS_MAX) ==
            CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)REST_PEER_ANSWER_MS_MAX) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_CAINFO, peer->certificate) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_SSLCERT, peers->own_certificate) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_SSLKEY, peers->own_key) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)request.len) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, (const char *)request.data) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, call) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->detail) == CURLE_OK &&
        curl_multi_add_handle(multi, curl) == CURLM_OK;
    call->running = good;
    return good;
}

static void run_calls(CURLM *multi, struct call *calls, size_t count) {
    int running = 1;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return;
        CURLMsg *message;
        int left;
        while ((message = curl_multi_info_read(multi, &left)) != NULL)
            for (size_t i = 0; i < count; i++)
                if (calls[i].curl == message->easy_handle && message->msg == CURLMSG_DONE)
                    calls[i].result = message->data.result;
        if (running > 0 && curl_multi_poll(multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
            return;
    }
}

/* The other's problem document says in its own words why it refused. */
static enum error_code refusal(const struct call *call, long status, const char *name,
                               struct error *err) {
    struct bytes body = buffer_bytes(&call->body);
    char detail[256] = "";
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, sizeof detail - 1);
    if (scan_valid(body) && scan_text(scan_find(body, "detail"), &text) &&
        text_utf8_valid(buffer_bytes(&text)))
        memcpy(detail, text.data, text.len);
    enum error_code code = status == 401 || status == 403 ? ERROR_FORBIDDEN
                           : status == 503                ? ERROR_BUSY
                                                          : ERROR_PROTOCOL;
    return error_set(err, code, "hospital %s: answered with status %ld%s%s", name, status,
                     detail[0] != '\0' ? ": " : "", detail);
}

static void read_answer(struct peers *peers, struct peer *peer, struct call *call,
                        struct arena *arena, struct document_part *part) {
    struct error err = {0};
    long status = 0;
    enum error_code code;
    part->status = "unreachable";
    if (!call->running) {
        code =
            error_set(&err, ERROR_INTERNAL, "hospital %s: the call cannot be started", peer->name);
    } else if (call->result != CURLE_OK) {
        code = call->result == CURLE_OPERATION_TIMEDOUT ? ERROR_TIMEOUT : ERROR_TLS;
        error_set(&err, code, "hospital %s: %s", peer->name,
                  call->detail[0] != '\0' ? call->detail : curl_easy_strerror(call->result));
    } else {
        curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
        part->status = "refused";
        code = status == 200 ? document_part_read(buffer_bytes(&call->body), arena, part, &err)
                             : refusal(call, status, peer->name, &err);
    }
    part->code = code;
    if (code != ERROR_NONE) {
        part->error = arena_text(arena, err.message);
        part->hint = arena_text(arena, error_hint_text(&err));
    }
    pthread_mutex_lock(&peers->lock);
    if (code == ERROR_NONE)
        peer->answer_ms = clock_wall_ms();
    snprintf(peer->error, sizeof peer->error, "%.255s", err.message);
    pthread_mutex_unlock(&peers->lock);
}

static bool audience_has(struct bytes audience, const char *name) {
    struct scan scan = scan_open(audience);
    struct bytes none, item;
    while (scan_next(&scan, &none, &item))
        if (scan_is(item, name))
            return true;
    return false;
}

void peers_ask(struct peers *peers, struct bytes request, struct bytes audience,
               struct arena *arena, struct document_part *ret_parts) {
    struct call *calls = arena_alloc(arena, (peers->count + 1) * sizeof *calls);
    CURLM *multi = curl_multi_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/jwt");
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->items[i];
        bool asked = audience_has(audience, peer->name);
        ret_parts[i] = (struct document_part){.hospital = peer->name, .status = "not-asked"};
        if (calls == NULL || multi == NULL || headers == NULL || !asked)
            continue;
        buffer_init(&calls[i].body, REST_ANSWER_BYTES_MAX);
        calls[i].result = CURLE_OPERATION_TIMEDOUT;
        (void)start_call(peers, peer, request, headers, multi, &calls[i]);
    }
    if (calls != NULL && multi != NULL)
        run_calls(multi, calls, peers->count);
    for (size_t i = 0; calls != NULL && i < peers->count; i++) {
        if (calls[i].curl == NULL && !audience_has(audience, peers->items[i].name))
            continue;
        read_answer(peers, &peers->items[i], &calls[i], arena, &ret_parts[i]);
        if (calls[i].running)
            curl_multi_remove_handle(multi, calls[i].curl);
        curl_easy_cleanup(calls[i].curl);
        buffer_done(&calls[i].body);
    }
    curl_slist_free_all(headers);
    curl_multi_cleanup(multi);
}
