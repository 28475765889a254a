#include "gateway/vault/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/wire.h"
#include "gateway/vault/vault.h"
#include "gateway/vault/vault_internal.h"

enum {
    SALT_BYTES = 32,
    HEADER_BYTES = 8 + 2 + SALT_BYTES,
    TAG_BYTES = 16,
    NONCE_BYTES = 12,
    PATH_ROOM = 4096,
};

static const uint8_t magic[8] = {'R', 'E', 'N', 'K', 'E', 'I', 'V', 'B'};

/* A stream of chunks being written or read. */
struct stream {
    EVP_CIPHER_CTX *context;
    uint8_t header[HEADER_BYTES];
    uint8_t key[32];
    uint64_t chunk;
};

static enum error_code crypto_error(struct error *err, const char *path) {
    return error_set(err, ERROR_CRYPTO, "%s: the encryption failed", path);
}

static void header_make(uint8_t header[HEADER_BYTES]) {
    memcpy(header, magic, sizeof magic);
    header[8] = 1; /* format */
    header[9] = 1; /* AES-256-GCM in chunks */
    random_bytes(header + 10, SALT_BYTES);
}

static enum error_code stream_init(struct stream *s, const char *key_path, struct error *err) {
    SCOPED_BUFFER struct buffer secret;
    buffer_init(&secret, BACKUP_KEY_BYTES_MAX);
    TRY(file_read(key_path, &secret, BACKUP_KEY_BYTES_MAX, err));
    if (secret.len < BACKUP_KEY_BYTES_MIN)
        return error_set(err, ERROR_CRYPTO, "%s: the backup key has %zu bytes, at least %d",
                         key_path, secret.len, BACKUP_KEY_BYTES_MIN);
    hkdf_sha256(buffer_bytes(&secret), bytes_of(s->header + 10, SALT_BYTES),
                BYTES_LITERAL("renkei/backup/1\n"), s->key, sizeof s->key);
    explicit_bzero(secret.data, secret.len);
    s->context = EVP_CIPHER_CTX_new();
    return s->context != NULL ? ERROR_NONE : crypto_error(err, key_path);
}

static void stream_done(struct stream *s) {
    EVP_CIPHER_CTX_free(s->context);
    explicit_bzero(s->key, sizeof s->key);
}

/* The nonce counts the chunks and marks the last: no chunk can be moved, repeated or left out. */
static void make_nonce(struct stream *s, bool last, uint8_t nonce[NONCE_BYTES]) {
    memset(nonce, 0, NONCE_BYTES);
    wire_store_u64(nonce + 3, s->chunk++);
    nonce[11] = last;
}

static bool seal(struct stream *s, bool last, const uint8_t *plain, int len, uint8_t *sealed) {
    uint8_t nonce[NONCE_BYTES];
    int done = 0;
    int end = 0;
    make_nonce(s, last, nonce);
    return EVP_EncryptInit_ex(s->context, EVP_aes_256_gcm(), NULL, s->key, nonce) == 1 &&
           EVP_EncryptUpdate(s->context, NULL, &done, s->header, HEADER_BYTES) == 1 &&
           EVP_EncryptUpdate(s->context, sealed, &done, plain, len) == 1 &&
           EVP_EncryptFinal_ex(s->context, sealed + done, &end) == 1 &&
           EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, sealed + len) == 1;
}

static bool unseal(struct stream *s, bool last, uint8_t *sealed, int len, uint8_t *plain) {
    uint8_t nonce[NONCE_BYTES];
    int done = 0;
    int end = 0;
    make_nonce(s, last, nonce);
    return EVP_DecryptInit_ex(s->context, EVP_aes_256_gcm(), NULL, s->key, nonce) == 1 &&
           EVP_DecryptUpdate(s->context, NULL, &done, s->header, HEADER_BYTES) == 1 &&
           EVP_DecryptUpdate(s->context, plain, &done, sealed, len) == 1 &&
           EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, sealed + len) == 1 &&
           EVP_DecryptFinal_ex(s->context, plain + done, &end) == 1;
}

/* Fills the buffer as far as there is input. */
static enum error_code read_full(int fd, uint8_t *data, size_t len, size_t *ret_got,
                                 const char *what, struct error *err) {
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, data + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_error(err, errno, "cannot read", what);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return ERROR_NONE;
}

enum error_code backup_key_create(const char *key_path, struct error *err) {
    uint8_t key[32];
    random_bytes(key, sizeof key);
    enum error_code code = file_create(key_path, bytes_of(key, sizeof key), 0600, err);
    explicit_bzero(key, sizeof key);
    return code;
}

/* ------------------------------------------------------------------------------ writing ---- */

/* LMDB writes the copy into a pipe from a thread of its own. */
struct copier {
    MDB_env *env;
    int fd;
    int result;
};

static void *copy_thread(void *context) {
    struct copier *c = context;
    c->result = mdb_env_copyfd2(c->env, c->fd, MDB_CP_COMPACT);
    close(c->fd);
    return NULL;
}

static enum error_code seal_all(struct stream *s, int in, int out, const char *path,
                                struct error *err) {
    SCOPED_FREE uint8_t *plain = malloc(2 * BACKUP_CHUNK_BYTES);
    SCOPED_FREE uint8_t *sealed = malloc(BACKUP_CHUNK_BYTES + TAG_BYTES);
    if (plain == NULL || sealed == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory", path);
    size_t have = 0;
    TRY(read_full(in, plain, BACKUP_CHUNK_BYTES, &have, path, err));
    for (bool last = false; !last;) { /* one chunk ahead: the last must know that it is */
        size_t next = 0;
        TRY(read_full(in, plain + BACKUP_CHUNK_BYTES, BACKUP_CHUNK_BYTES, &next, path, err));
        last = next == 0;
        if (!seal(s, last, plain, (int)have, sealed))
            return crypto_error(err, path);
        TRY(file_write_all(out, bytes_of(sealed, have + TAG_BYTES), path, err));
        memcpy(plain, plain + BACKUP_CHUNK_BYTES, next);
        have = next;
    }
    return ERROR_NONE;
}

static enum error_code copy_environment(MDB_env *env, struct stream *s, int out, const char *path,
                                        struct error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return file_error(err, errno, "cannot make a pipe for", path);
    struct copier copier = {.env = env, .fd = ends[1]};
    pthread_t thread;
    if (pthread_create(&thread, NULL, copy_thread, &copier) != 0) {
        close(ends[0]);
        close(ends[1]);
        return error_set(err, ERROR_NO_MEMORY, "%s: cannot start a thread", path);
    }
    enum error_code code = seal_all(s, ends[0], out, path, err);
    close(ends[0]); /* where sealing failed, the copier's next write fails and it ends */
    (void)pthread_join(thread, NULL);
    if (code == ERROR_NONE && copier.result != 0)
        code = error_set(err, ERROR_IO, "%s: copying the vault failed: %s", path,
                         mdb_strerror(copier.result));
    return code;
}

static enum error_code write_stream(MDB_env *env, const char *folder, const char *key_path,
                                    int out, const char *path, struct error *err) {
    /* Read only, and without the vault's lock: LMDB lets readers of other processes in. */
    int rc = mdb_env_set_mapsize(env, (size_t)1 << 40);
    if (rc == 0)
        rc = mdb_env_open(env, folder, MDB_RDONLY, 0600);
    if (rc != 0)
        return error_set(err, rc == ENOENT ? ERROR_NOT_FOUND : ERROR_IO,
                         "%s: cannot open the vault: %s", folder, mdb_strerror(rc));
    struct stream s = {0};
    header_make(s.header);
    enum error_code code = stream_init(&s, key_path, err);
    if (code == ERROR_NONE)
        code = file_write_all(out, bytes_of(s.header, HEADER_BYTES), path, err);
    if (code == ERROR_NONE)
        code = copy_environment(env, &s, out, path, err);
    stream_done(&s);
    if (code == ERROR_NONE && fdatasync(out) != 0)
        code = file_error(err, errno, "cannot write", path);
    return code;
}

enum error_code backup_write(const char *folder, const char *key_path, const char *path,
                             struct error *err) {
    SCOPED_FD int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return errno == EEXIST ? error_set(err, ERROR_EXISTS, "%s exists already", path)
                               : file_error(err, errno, "cannot create", path);
    MDB_env *env = NULL;
    enum error_code code = mdb_env_create(&env) == 0
                               ? write_stream(env, folder, key_path, out, path, err)
                               : error_set(err, ERROR_NO_MEMORY, "%s: no memory", path);
    if (env != NULL)
        mdb_env_close(env);
    if (code != ERROR_NONE)
        unlink(path);
    return code;
}

/* ---------------------------------------------------------------------------- restoring ---- */

static enum error_code damaged(const char *path, struct error *err) {
    error_set(err, ERROR_CORRUPT, "%s: the backup is damaged or not whole, or the key is another",
              path);
    error_hint(err, "nothing was restored; use the key file that the backup was made with");
    return ERROR_CORRUPT;
}

static enum error_code unseal_all(struct stream *s, int in, int out, const char *path,
                                  struct error *err) {
    enum { SEALED = BACKUP_CHUNK_BYTES + TAG_BYTES };
    SCOPED_FREE uint8_t *sealed = malloc(2 * SEALED);
    SCOPED_FREE uint8_t *plain = malloc(BACKUP_CHUNK_BYTES);
    if (plain == NULL || sealed == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: no memory", path);
    size_t have = 0;
    TRY(read_full(in, sealed, SEALED, &have, path, err));
    for (bool last = false; !last;) {
        size_t next = 0;
        TRY(read_full(in, sealed + SEALED, SEALED, &next, path, err));
        last = next == 0;
        if (have < TAG_BYTES || !unseal(s, last, sealed, (int)(have - TAG_BYTES), plain))
            return damaged(path, err);
        TRY(file_write_all(out, bytes_of(plain, have - TAG_BYTES), path, err));
        memcpy(sealed, sealed + SEALED, next);
        have = next;
    }
    return fdatasync(out) == 0 ? ERROR_NONE : file_error(err, errno, "cannot write", path);
}

static enum error_code read_stream(const char *path, const char *key_path, int out,
                                   struct error *err) {
    SCOPED_FD int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return file_error(err, errno, "cannot open", path);
    struct stream s = {0};
    size_t got = 0;
    TRY(read_full(in, s.header, HEADER_BYTES, &got, path, err));
    if (got != HEADER_BYTES || memcmp(s.header, magic, sizeof magic) != 0 || s.header[8] != 1 ||
        s.header[9] != 1)
        return error_set(err, ERROR_CORRUPT, "%s: no backup of a vault that this version reads",
                         path);
    enum error_code code = stream_init(&s, key_path, err);
    if (code == ERROR_NONE)
        code = unseal_all(&s, in, out, path, err);
    stream_done(&s);
    return code;
}

enum error_code backup_restore(const char *path, const char *key_path, const char *folder,
                               struct error *err) {
    char data[PATH_ROOM];
    char fresh[PATH_ROOM + 8];
    if (snprintf(data, sizeof data, "%s/data.mdb", folder) >= (int)sizeof data)
        return error_set(err, ERROR_LIMIT, "the vault's path is too long");
    snprintf(fresh, sizeof fresh, "%s.new", data);
    TRY(file_make_folder(folder, 0700, err));
    if (access(data, F_OK) == 0)
        return error_set(err, ERROR_EXISTS, "%s has a vault already", folder);
    int out = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0)
        return file_error(err, errno, "cannot create", fresh);
    enum error_code code = read_stream(path, key_path, out, err);
    close(out);
    if (code == ERROR_NONE && rename(fresh, data) != 0)
        code = file_error(err, errno, "cannot rename", fresh);
    if (code != ERROR_NONE) {
        unlink(fresh);
        return code;
    }
    return file_sync_folder(folder, err);
}
