/*
 * Backups of a vault: encrypted, taken while the gateway runs, and restored whole or not at all.
 *
 * The file is docs/formats.md's "Vault backup": chunks of AES-256-GCM under a key derived from a
 * key file, each numbered and the last one marked, so that a file that was cut, reordered or
 * changed is refused before anything is put in place.
 */
#ifndef GATEWAY_VAULT_BACKUP_H
#define GATEWAY_VAULT_BACKUP_H

#include "base/error.h"

enum {
    BACKUP_CHUNK_BYTES = 65536,
    BACKUP_KEY_BYTES_MIN = 32, /* of the key file */
    BACKUP_KEY_BYTES_MAX = 4096,
};

/* A fresh key file of 32 random bytes, mode 0600. ERROR_EXISTS where there is one. */
MUST_CHECK enum error_code backup_key_create(const char *key_path, struct error *err);

/* Copies the vault in folder, which a gateway may have open, to path (mode 0600). The copy is one
 * consistent moment. ERROR_EXISTS where path is there. */
MUST_CHECK enum error_code backup_write(const char *folder, const char *key_path,
                                        const char *path, struct error *err);

/* Makes the vault in folder from path. ERROR_EXISTS where the folder has a vault; ERROR_CORRUPT
 * where the file is damaged or the key is another one. */
MUST_CHECK enum error_code backup_restore(const char *path, const char *key_path,
                                          const char *folder, struct error *err);

#endif
