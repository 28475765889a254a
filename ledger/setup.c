#include "ledger/setup.h"

#include <stdio.h>
#include <string.h>

#include "base/certificate.h"
#include "base/file.h"
#include "ledger/ledger.h"

enum {
    PATH_BYTES_MAX = 4096,
    CERTIFICATE_DAYS = 3650, /* peers go by the pin, not by the date */
};

struct path {
    char text[PATH_BYTES_MAX];
};

static enum error_code join(const char *folder, const char *name, struct path *ret_path,
                            struct error *err) {
    struct path path;
    int len = snprintf(path.text, sizeof path.text, "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof path.text)
        return error_set(err, ERROR_LIMIT, "%s: the path is longer than %d bytes", folder,
                         PATH_BYTES_MAX - 1);
    *ret_path = path;
    return ERROR_NONE;
}

static enum error_code write_tls(const char *folder, const char *name, uint64_t wall_ms,
                                 struct error *err) {
    struct path key;
    struct path certificate;
    TRY(join(folder, SETUP_TLS_KEY, &key, err));
    TRY(join(folder, SETUP_TLS_CERTIFICATE, &certificate, err));
    struct certificate_request request = {
        .name = name,
        .days = CERTIFICATE_DAYS,
        .wall_ms = wall_ms,
    };
    return certificate_create(&request, key.text, certificate.text, err);
}

static enum error_code write_config(const char *folder, struct error *err) {
    struct path path;
    TRY(join(folder, SETUP_CONFIG, &path, err));
    static const char text[] = "# A node of the ledger. Paths are relative to this file.\n"
                               "genesis: " SETUP_GENESIS "\n"
                               "data: data\n"
                               "vote_key: " SETUP_VOTE_KEY "\n"
                               "tls_key: " SETUP_TLS_KEY "\n"
                               "tls_certificate: " SETUP_TLS_CERTIFICATE "\n"
                               "socket: node.sock\n";
    return file_create(path.text, bytes_of(text, sizeof text - 1), 0644, err);
}

static enum error_code copy_text(char *to, size_t size, const char *from, const char *what,
                                 struct error *err) {
    size_t len = strlen(from);
    if (len == 0 || len >= size)
        return error_set(err, ERROR_USAGE, "%s: %zu bytes, expected 1 to %zu", what, len, size - 1);
    memcpy(to, from, len + 1);
    return ERROR_NONE;
}

enum error_code setup_node_read(const char *folder, const char *name, const char *address,
                                struct genesis_validator *ret_validator, struct error *err) {
    struct genesis_validator v = {.name = ""};
    TRY(copy_text(v.name, sizeof v.name, name, "node's name", err));
    TRY(copy_text(v.address, sizeof v.address, address, "node's address", err));
    struct path path;
    TRY(join(folder, SETUP_TLS_CERTIFICATE, &path, err));
    TRY(certificate_pin(path.text, &v.tls_pin, err));
    TRY(join(folder, SETUP_VOTE_KEY, &path, err));
    struct ledger_signer *signer = NULL;
    TRY(ledger_signer_load(path.text, &signer, err));
    ledger_signer_public(signer, v.vote_key);
    ledger_signer_free(signer);
    *ret_validator = v;
    return ERROR_NONE;
}

enum error_code setup_node(const char *folder, const char *name, const char *address,
                           uint64_t wall_ms, struct genesis_validator *ret_validator,
                           struct error *err) {
    struct path path;
    TRY(file_make_folder(folder, 0700, err));
    TRY(join(folder, SETUP_VOTE_KEY, &path, err));
    TRY(ledger_signer_create(path.text, err));
    TRY(write_tls(folder, name, wall_ms, err));
    TRY(write_config(folder, err));
    return setup_node_read(folder, name, address, ret_validator, err);
}
