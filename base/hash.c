#include "base/hash.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static EVP_MD *fetched;
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;

struct sha256 {
    EVP_MD_CTX *context;
};

static void free_thread_context(void *h) {
    sha256_free(h);
}

/* One context a thread serves sha256_of. The main thread's goes at exit, for the leak checker. */
static void free_main_context(void) {
    sha256_free(pthread_getspecific(thread_key));
    pthread_setspecific(thread_key, NULL);
    EVP_MD_free(fetched);
}

static void fetch(void) {
    fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (fetched == NULL || pthread_key_create(&thread_key, free_thread_context) != 0)
        abort();
    atexit(free_main_context);
}

struct sha256 *sha256_new(void) {
    pthread_once(&fetch_once, fetch);
    struct sha256 *h = calloc(1, sizeof *h);
    if (h != NULL)
        h->context = EVP_MD_CTX_new();
    if (h == NULL || h->context == NULL)
        abort();
    return h;
}

void sha256_free(struct sha256 *h) {
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->context);
    free(h);
}

void sha256_begin(struct sha256 *h) {
    if (EVP_DigestInit_ex2(h->context, fetched, NULL) != 1)
        abort();
}

void sha256_add(struct sha256 *h, const void *data, size_t len) {
    if (EVP_DigestUpdate(h->context, data, len) != 1)
        abort();
}

struct hash sha256_end(struct sha256 *h) {
    struct hash result;
    unsigned len = HASH_BYTES;
    if (EVP_DigestFinal_ex(h->context, result.byte, &len) != 1)
        abort();
    return result;
}

static struct sha256 *thread_context(void) {
    pthread_once(&fetch_once, fetch);
    struct sha256 *h = pthread_getspecific(thread_key);
    if (h == NULL) {
        h = sha256_new();
        pthread_setspecific(thread_key, h);
    }
    return h;
}

static struct hash of_parts_plain(const struct bytes *parts, size_t count) {
    struct sha256 *h = thread_context();
    sha256_begin(h);
    for (size_t i = 0; i < count; i++)
        sha256_add(h, parts[i].data, parts[i].len);
    return sha256_end(h);
}

/* Most are short, and of a short one OpenSSL's preparations cost more than the hashing. */
struct hash sha256_of_parts(const struct bytes *parts, size_t count) {
    struct sha256_message message = {0};
    struct hash result;
    if (count > 2 || (count == 2 && parts[0].len > SHA256_HEAD_BYTES_MAX))
        return of_parts_plain(parts, count);
    if (count == 2)
        message.head = parts[0];
    if (count > 0)
        message.body = parts[count - 1];
    sha256_many(&message, 1, &result);
    return result;
}

void sha256_many_plain(const struct sha256_message *messages, size_t count,
                       struct hash *ret_hashes) {
    for (size_t i = 0; i < count; i++) {
        struct bytes parts[] = {messages[i].head, messages[i].body};
        ret_hashes[i] = of_parts_plain(parts, 2);
    }
}

struct hash sha256_of(struct bytes data) {
    return sha256_of_parts(&data, 1);
}

/* RFC 2104. */
void hmac_key_init(struct hmac_key *ret_hmac_key, struct bytes key) {
    struct hash short_key;
    if (key.len > HMAC_BLOCK_BYTES) {
        short_key = sha256_of(key);
        key = hash_bytes(&short_key);
    }
    memset(ret_hmac_key->inner, 0x36, HMAC_BLOCK_BYTES);
    memset(ret_hmac_key->outer, 0x5c, HMAC_BLOCK_BYTES);
    for (size_t i = 0; i < key.len; i++) {
        ret_hmac_key->inner[i] ^= key.data[i];
        ret_hmac_key->outer[i] ^= key.data[i];
    }
}

void hmac_sha256_many(const struct hmac_key *key, const struct bytes *data, size_t count,
                      struct hash *ret_macs) {
    enum { AT_ONCE = 64 };
    struct sha256_message messages[AT_ONCE];
    struct hash inside[AT_ONCE];
    while (count > 0) {
        size_t some = count < AT_ONCE ? count : AT_ONCE;
        for (size_t i = 0; i < some; i++)
            messages[i] =
                (struct sha256_message){bytes_of(key->inner, HMAC_BLOCK_BYTES), data[i]};
        sha256_many(messages, some, inside);
        for (size_t i = 0; i < some; i++)
            messages[i] = (struct sha256_message){bytes_of(key->outer, HMAC_BLOCK_BYTES),
                                                  hash_bytes(&inside[i])};
        sha256_many(messages, some, ret_macs);
        ret_macs += some;
        data += some;
        count -= some;
    }
}

/* Not by OpenSSL's HMAC(), which fetches and frees what it needs at every call: that costs more than
 * the hashing itself. */
struct hash hmac_sha256(struct bytes key, struct bytes data) {
    struct hmac_key k;
    struct hash mac;
    hmac_key_init(&k, key);
    hmac_sha256_many(&k, &data, 1, &mac);
    explicit_bzero(&k, sizeof k);
    return mac;
}

void hkdf_sha256(struct bytes secret, struct bytes salt, struct bytes info, uint8_t *ret_key,
                 size_t len) {
    assert(len <= HASH_BYTES);
    static const uint8_t zero_salt[HASH_BYTES];
    if (salt.len == 0)
        salt = bytes_of(zero_salt, sizeof zero_salt);
    struct hash extracted = hmac_sha256(salt, secret);
    SCOPED_BUFFER struct buffer block;
    buffer_init(&block, 4096);
    buffer_append(&block, info.data, info.len);
    buffer_append_byte(&block, 1);
    assert(!block.failed);
    struct hash expanded = hmac_sha256(hash_bytes(&extracted), buffer_bytes(&block));
    memcpy(ret_key, expanded.byte, len);
}

bool hash_equal(const struct hash *a, const struct hash *b) {
    return memcmp(a->byte, b->byte, HASH_BYTES) == 0;
}

bool hash_is_zero(const struct hash *h) {
    static const struct hash zero;
    return hash_equal(h, &zero);
}
