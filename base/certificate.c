#include "base/certificate.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/file.h"
#include "base/random.h"

enum { PEM_BYTES_MAX = 64 << 10, SERIAL_BYTES = 16 };

static enum error_code crypto_error(struct error *err, const char *doing, const char *path) {
    return error_set(err, ERROR_CRYPTO, "%s: cannot %s", path, doing);
}

/* "DNS:a,IP:127.0.0.1,URI:renkei://west" */
static enum error_code alternative_names(const struct certificate_request *request,
                                         struct buffer *out, struct error *err) {
    for (size_t i = 0; i < request->address_count; i++) {
        uint8_t parsed[16];
        const char *address = request->addresses[i];
        bool is_ip = inet_pton(AF_INET, address, parsed) == 1 ||
                     inet_pton(AF_INET6, address, parsed) == 1;
        for (const char *c = address; *c != '\0'; c++)
            if (*c == ',' || (unsigned char)*c <= ' ')
                return error_set(err, ERROR_CONFIG, "address '%s' is not a host's", address);
        buffer_append_format(out, "%s%s:%s", out->len > 0 ? "," : "", is_ip ? "IP" : "DNS",
                             address);
    }
    if (request->uri != NULL)
        buffer_append_format(out, "%sURI:%s", out->len > 0 ? "," : "", request->uri);
    buffer_append_byte(out, '\0');
    return buffer_check(out, "subjectAltName", err);
}

static bool add_extension(X509 *x, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension != NULL && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool set_serial(X509 *x) {
    uint8_t raw[SERIAL_BYTES];
    random_bytes(raw, sizeof raw);
    raw[0] = (uint8_t)((raw[0] & 0x7F) | 0x40);
    BIGNUM *number = BN_bin2bn(raw, sizeof raw, NULL);
    bool set = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;
    BN_free(number);
    return set;
}

static bool fill(X509 *x, const struct certificate_request *request, const char *names,
                 EVP_PKEY *key) {
    time_t now = (time_t)(request->wall_ms / 1000);
    X509_NAME *subject = X509_get_subject_name(x);
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
           X509_time_adj_ex(X509_getm_notBefore(x), 0, -3600, &now) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), (int)request->days, 0, &now) != NULL &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)request->name, -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key) == 1 &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(x, NID_subject_key_identifier, "hash") &&
           (names[0] == '\0' || add_extension(x, NID_subject_alt_name, names)) &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

static enum error_code write_pem(BIO *bio, const char *path, mode_t mode, struct error *err) {
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    return file_create(path, bytes_of(data, (size_t)len), mode, err);
}

static enum error_code create_with(EVP_PKEY *key, X509 *x, BIO *key_pem, BIO *x_pem,
                                   const struct certificate_request *request,
                                   const char *key_path, const char *certificate_path,
                                   struct error *err) {
    SCOPED_BUFFER struct buffer names;
    buffer_init(&names, 4096);
    TRY(alternative_names(request, &names, err));
    if (key == NULL || x == NULL || key_pem == NULL || x_pem == NULL ||
        !fill(x, request, (const char *)names.data, key) ||
        PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(x_pem, x) != 1)
        return crypto_error(err, "make a certificate", certificate_path);
    TRY(write_pem(key_pem, key_path, 0600, err));
    return write_pem(x_pem, certificate_path, 0644, err);
}

enum error_code certificate_create(const struct certificate_request *request,
                                   const char *key_path, const char *certificate_path,
                                   struct error *err) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *key_pem = BIO_new(BIO_s_secmem());
    BIO *x_pem = BIO_new(BIO_s_mem());
    enum error_code code =
        create_with(key, x, key_pem, x_pem, request, key_path, certificate_path, err);
    BIO_free(x_pem);
    BIO_free(key_pem);
    X509_free(x);
    EVP_PKEY_free(key);
    return code;
}

static enum error_code read_first(const char *path, X509 **ret_x, struct error *err) {
    SCOPED_BUFFER struct buffer pem;
    buffer_init(&pem, PEM_BYTES_MAX);
    TRY(file_read(path, &pem, PEM_BYTES_MAX, err));
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *x = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (x == NULL)
        return crypto_error(err, "read a PEM certificate", path);
    *ret_x = x;
    return ERROR_NONE;
}

enum error_code certificate_pin(const char *certificate_path, struct hash *ret_pin,
                                struct error *err) {
    X509 *x = NULL;
    TRY(read_first(certificate_path, &x, err));
    unsigned char *spki = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &spki);
    if (len > 0)
        *ret_pin = sha256_of(bytes_of(spki, (size_t)len));
    OPENSSL_free(spki);
    X509_free(x);
    if (len <= 0)
        return crypto_error(err, "read a PEM certificate", certificate_path);
    return ERROR_NONE;
}

enum error_code certificate_end(const char *certificate_path, uint64_t *ret_wall_ms,
                                struct error *err) {
    X509 *x = NULL;
    TRY(read_first(certificate_path, &x, err));
    struct tm end;
    int good = ASN1_TIME_to_tm(X509_get0_notAfter(x), &end);
    X509_free(x);
    time_t seconds = good == 1 ? timegm(&end) : -1;
    if (seconds < 0)
        return crypto_error(err, "read the end of a PEM certificate", certificate_path);
    *ret_wall_ms = (uint64_t)seconds * 1000;
    return ERROR_NONE;
}

unsigned certificate_stage(uint64_t end_ms, uint64_t wall_ms) {
    static const uint64_t days[CERTIFICATE_STAGES] = {0, 1, 7, 30};
    uint64_t left_ms = end_ms > wall_ms ? end_ms - wall_ms : 0;
    unsigned stage = 0;
    while (stage < CERTIFICATE_STAGES && left_ms > days[stage] * CERTIFICATE_DAY_MS)
        stage++;
    return stage;
}
