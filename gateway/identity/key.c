#include "gateway/identity/key.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

enum { COORDINATE_BYTES = 32, POINT_BYTES = 1 + 2 * COORDINATE_BYTES, PEM_BYTES_MAX = 8192 };

struct identity_key {
    EVP_PKEY *pkey;
    uint8_t x[COORDINATE_BYTES];
    uint8_t y[COORDINATE_BYTES];
    bool private;
};

void identity_key_free(struct identity_key *key) {
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

void identity_key_free_scoped(struct identity_key **key) {
    identity_key_free(*key);
}

/* Takes pkey over, also on failure. */
static enum error_code wrap_pkey(EVP_PKEY *pkey, bool private, const char *what,
                                 struct identity_key **ret_key, struct error *err) {
    char group[32] = "";
    uint8_t point[POINT_BYTES];
    size_t len = 0;
    bool good = EVP_PKEY_is_a(pkey, "EC") == 1 &&
                EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1 &&
                strcmp(group, "prime256v1") == 0 &&
                EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                               "uncompressed") == 1 &&
                EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point,
                                                &len) == 1 &&
                len == POINT_BYTES && point[0] == 4;
    if (!good) {
        EVP_PKEY_free(pkey);
        return error_set(err, ERROR_CRYPTO, "%s: not a P-256 key", what);
    }
    struct identity_key *key = calloc(1, sizeof *key);
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory for the key", what);
    }
    key->pkey = pkey;
    key->private = private;
    memcpy(key->x, point + 1, COORDINATE_BYTES);
    memcpy(key->y, point + 1 + COORDINATE_BYTES, COORDINATE_BYTES);
    *ret_key = key;
    return ERROR_NONE;
}

enum error_code identity_key_create(const char *path, struct error *err) {
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    enum error_code code = ERROR_CRYPTO;
    if (pkey == NULL || bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        error_set(err, code, "%s: cannot make a P-256 key", path);
    } else {
        char *text = NULL;
        long len = BIO_get_mem_data(bio, &text);
        code = file_create(path, bytes_of(text, (size_t)len), 0600, err);
    }
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return code;
}

enum error_code identity_key_load(const char *path, struct identity_key **ret_key,
                                  struct error *err) {
    SCOPED_BUFFER struct buffer pem;
    buffer_init(&pem, PEM_BYTES_MAX);
    TRY(file_read(path, &pem, PEM_BYTES_MAX, err));
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *pkey = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    OPENSSL_cleanse(pem.data, pem.len);
    if (pkey == NULL)
        return error_set(err, ERROR_CRYPTO, "%s: not a private key in PEM form", path);
    return wrap_pkey(pkey, true, path, ret_key, err);
}

/* A coordinate is exactly 32 bytes (RFC 7518 section 6.2.1.2). */
static bool read_coordinate(json_t *jwk, const char *name, uint8_t *ret_at) {
    const char *text = json_string_value(json_object_get(jwk, name));
    if (text == NULL)
        return false;
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, COORDINATE_BYTES);
    if (!text_unbase64url(bytes_text(text), &raw) || raw.len != COORDINATE_BYTES)
        return false;
    memcpy(ret_at, raw.data, COORDINATE_BYTES);
    return true;
}

static EVP_PKEY *pkey_from_point(uint8_t *point) {
    char group[] = "prime256v1";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, POINT_BYTES),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        EVP_PKEY_CTX_free(context);
        return NULL;
    }
    EVP_PKEY_CTX_free(context);
    /* Cofactor 1: a point on the curve that is not infinity is in the group. */
    context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (context == NULL || EVP_PKEY_public_check(context) != 1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(context);
    return pkey;
}

enum error_code identity_key_from_jwk(struct bytes json, struct identity_key **ret_key,
                                      struct error *err) {
    if (json.len > IDENTITY_JWK_BYTES_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "JWK: longer than %d bytes",
                         (int)IDENTITY_JWK_BYTES_MAX);
    json_t *jwk = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    const char *kty = json_string_value(json_object_get(jwk, "kty"));
    const char *crv = json_string_value(json_object_get(jwk, "crv"));
    uint8_t point[POINT_BYTES] = {4};
    enum error_code code = ERROR_BAD_REQUEST;
    EVP_PKEY *pkey = NULL;
    if (!json_is_object(jwk))
        error_set(err, code, "JWK: not a JSON object");
    else if (json_object_get(jwk, "d") != NULL || json_object_get(jwk, "k") != NULL)
        error_set(err, code, "JWK: holds a private key; give the public part only");
    else if (kty == NULL || strcmp(kty, "EC") != 0 || crv == NULL || strcmp(crv, "P-256") != 0)
        error_set(err, code, "JWK: found another key type, expected kty EC with crv P-256");
    else if (!read_coordinate(jwk, "x", point + 1) ||
             !read_coordinate(jwk, "y", point + 1 + COORDINATE_BYTES))
        error_set(err, code, "JWK: x and y must be 32 bytes each in base64url");
    else if ((pkey = pkey_from_point(point)) == NULL)
        error_set(err, code, "JWK: the point is not on the curve P-256");
    else
        code = ERROR_NONE;
    json_decref(jwk);
    if (code != ERROR_NONE)
        return code;
    return wrap_pkey(pkey, false, "JWK", ret_key, err);
}

void identity_key_jwk(const struct identity_key *key, struct buffer *out) {
    buffer_append_text(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    text_base64url(bytes_of(key->x, sizeof key->x), out);
    buffer_append_text(out, "\",\"y\":\"");
    text_base64url(bytes_of(key->y, sizeof key->y), out);
    buffer_append_text(out, "\"}");
}

struct hash identity_key_thumbprint(const struct identity_key *key) {
    SCOPED_BUFFER struct buffer jwk;
    buffer_init(&jwk, IDENTITY_JWK_BYTES_MAX);
    identity_key_jwk(key, &jwk);
    return sha256_of(buffer_bytes(&jwk));
}

void identity_thumbprint_text(const struct hash *thumbprint,
                              char ret_text[IDENTITY_THUMBPRINT_TEXT_BYTES]) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, IDENTITY_THUMBPRINT_TEXT_BYTES);
    text_base64url(hash_bytes(thumbprint), &text);
    memset(ret_text, 0, IDENTITY_THUMBPRINT_TEXT_BYTES);
    if (text.data != NULL)
        memcpy(ret_text, text.data, text.len);
}

bool identity_thumbprint_parse(struct bytes text, struct hash *ret_thumbprint) {
    SCOPED_BUFFER struct buffer raw;
    buffer_init(&raw, HASH_BYTES);
    if (!text_unbase64url(text, &raw) || raw.len != HASH_BYTES)
        return false;
    memcpy(ret_thumbprint->byte, raw.data, HASH_BYTES);
    return true;
}

/* DER to r ‖ s. */
static bool raw_from_der(const uint8_t *der, size_t len, uint8_t *ret_raw) {
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    if (sig == NULL)
        return false;
    bool good =
        BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret_raw, COORDINATE_BYTES) >= 0 &&
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret_raw + COORDINATE_BYTES, COORDINATE_BYTES) >= 0;
    ECDSA_SIG_free(sig);
    return good;
}

enum error_code identity_key_sign(const struct identity_key *key, struct bytes data,
                                  uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES],
                                  struct error *err) {
    uint8_t der[128];
    uint8_t raw[IDENTITY_SIGNATURE_BYTES];
    size_t len = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = key->private && context != NULL &&
                EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, key->pkey, NULL) == 1 &&
                EVP_DigestSign(context, der, &len, data.data, data.len) == 1 &&
                raw_from_der(der, len, raw);
    EVP_MD_CTX_free(context);
    if (!good)
        return error_set(err, ERROR_CRYPTO, "cannot sign with this key");
    memcpy(ret_signature, raw, sizeof raw);
    return ERROR_NONE;
}

bool identity_key_verify(const struct identity_key *key, struct bytes data,
                         const uint8_t signature[IDENTITY_SIGNATURE_BYTES]) {
    uint8_t *der = NULL;
    int len = -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, COORDINATE_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(signature + COORDINATE_BYTES, COORDINATE_BYTES, NULL);
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = NULL; /* the signature owns them now */
        s = NULL;
        len = i2d_ECDSA_SIG(sig, &der);
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good =
        len > 0 && context != NULL &&
        EVP_DigestVerifyInit_ex(context, NULL, "SHA256", NULL, NULL, key->pkey, NULL) == 1 &&
        EVP_DigestVerify(context, der, (size_t)len, data.data, data.len) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    BN_free(r);
    BN_free(s);
    return good;
}
