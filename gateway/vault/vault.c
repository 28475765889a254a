#include "gateway/vault/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "gateway/vault/vault_internal.h"

static const char *const dbi_names[VAULT__DBI_COUNT] = {
    "meta",    "table",      "table_name", "row",        "record",         "version", "patient",
    "patient_record", "anchor", "pending",    "mapping",    "mapping_id",     "quarantine",
    "quarantine_key", "enrolment",
};

enum error_code vault__error(struct error *err, int number, const char *doing) {
    if (number == MDB_MAP_FULL) {
        error_set(err, ERROR_DISK_FULL, "the vault has reached its size limit while %s", doing);
        error_hint(err, "raise the vault's size limit; the work goes on where it stopped");
        return ERROR_DISK_FULL;
    }
    if (number == ENOSPC || number == EDQUOT)
        return error_set(err, ERROR_DISK_FULL, "the vault's disk is full while %s", doing);
    if (number == ENOMEM)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory while %s", doing);
    if (number == MDB_CORRUPTED || number == MDB_PAGE_NOTFOUND || number == MDB_PANIC ||
        number == MDB_INVALID || number == MDB_VERSION_MISMATCH)
        return error_set(err, ERROR_CORRUPT, "the vault is damaged, met while %s: %s", doing,
                         mdb_strerror(number));
    return error_set(err, ERROR_IO, "the vault failed while %s: %s", doing, mdb_strerror(number));
}

enum error_code vault__corrupt(struct error *err, const char *what) {
    return error_set(err, ERROR_CORRUPT, "the vault holds a damaged %s", what);
}

enum error_code vault__begin(struct vault *vault, unsigned flags, MDB_txn **ret_txn,
                             struct error *err) {
    int rc = mdb_txn_begin(vault->env, NULL, flags, ret_txn);
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "beginning a transaction");
}

/* A write that a full disk cut short is EIO to LMDB. */
static int commit_error(MDB_env *env, int rc) {
    enum { FULL_BYTES_MAX = 16 << 20 };
    const char *path;
    struct statvfs disk;
    bool full = rc == EIO && mdb_env_get_path(env, &path) == 0 && statvfs(path, &disk) == 0 &&
                (uint64_t)disk.f_bavail * disk.f_frsize < FULL_BYTES_MAX;
    return full ? ENOSPC : rc;
}

enum error_code vault__commit(MDB_txn **txn, struct error *err) {
    MDB_txn *taken = *txn;
    *txn = NULL;
    MDB_env *env = mdb_txn_env(taken);
    int rc = commit_error(env, mdb_txn_commit(taken));
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "committing");
}

void vault__abort_scoped(MDB_txn **txn) {
    if (*txn != NULL)
        mdb_txn_abort(*txn);
}

void vault__cursor_scoped(MDB_cursor **cursor) {
    if (*cursor != NULL)
        mdb_cursor_close(*cursor);
}

enum error_code vault__get(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes *ret_value,
                           bool *ret_found, struct error *err) {
    MDB_val k = vault__val(key);
    MDB_val v;
    int rc = mdb_get(txn, dbi, &k, &v);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return vault__error(err, rc, "reading");
    if (rc == 0 && ret_value != NULL)
        *ret_value = vault__bytes(v);
    *ret_found = rc == 0;
    return ERROR_NONE;
}

enum error_code vault__put(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes value,
                           unsigned flags, struct error *err) {
    MDB_val k = vault__val(key);
    MDB_val v = vault__val(value);
    int rc = mdb_put(txn, dbi, &k, &v, flags);
    if (rc == MDB_KEYEXIST)
        return error_set(err, ERROR_EXISTS, "the vault has this entry already");
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "writing");
}

enum error_code vault__put_last(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes value,
                                struct error *err) {
    MDB_val k = vault__val(key);
    MDB_val v = vault__val(value);
    int rc = mdb_put(txn, dbi, &k, &v, MDB_APPEND);
    if (rc == MDB_KEYEXIST) {
        k = vault__val(key);
        v = vault__val(value);
        rc = mdb_put(txn, dbi, &k, &v, 0);
    }
    return rc == 0 ? ERROR_NONE : vault__error(err, rc, "writing");
}

enum error_code vault__delete(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct error *err) {
    MDB_val k = vault__val(key);
    int rc = mdb_del(txn, dbi, &k, NULL);
    return rc == 0 || rc == MDB_NOTFOUND ? ERROR_NONE : vault__error(err, rc, "removing");
}

enum error_code vault__number(MDB_txn *txn, const struct vault *vault, const char *name,
                              uint64_t *ret_value, struct error *err) {
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__META], bytes_text(name), &value, &found, err));
    if (found && value.len != 8)
        return vault__corrupt(err, name);
    *ret_value = found ? wire_load_u64(value.data) : 0;
    return ERROR_NONE;
}

enum error_code vault__number_set(MDB_txn *txn, const struct vault *vault, const char *name,
                                  uint64_t value, struct error *err) {
    uint8_t bytes[8];
    wire_store_u64(bytes, value);
    return vault__put(txn, vault->dbi[VAULT__META], bytes_text(name), bytes_of(bytes, 8), 0, err);
}

/* ------------------------------------------------------------------------------- memory ---- */

/* Pages of files in this process's memory: the third number of /proc/self/statm. 0: unknown. */
static uint64_t mapped_bytes(const struct vault *vault) {
    char text[128];
    ssize_t len = pread(vault->statm_fd, text, sizeof text - 1, 0);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    unsigned long long pages = 0;
    if (sscanf(text, "%*u %*u %llu", &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Whether this thread has met a few pages that were not in its memory since it was asked last: asking
 * that is a tenth of the price of asking what is mapped in. */
static bool has_faulted(void) {
    static _Thread_local long faults_then;
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return true;
    long faults = usage.ru_minflt + usage.ru_majflt;
    if (faults - faults_then < VAULT__FAULTS_MAX)
        return false;
    faults_then = faults;
    return true;
}

void vault__looked_up(struct vault *vault) {
    if (++vault->lookups % VAULT__LOOKUPS_MAX == 0 && has_faulted())
        vault__let_go(vault);
}

void vault__let_go(struct vault *vault) {
    if (vault->statm_fd < 0 || vault->map == NULL ||
        mapped_bytes(vault) <= VAULT__MAPPED_BYTES_MAX)
        return;
    /* The map is shared and only read, so nothing is lost: who reads on maps them in again. */
    (void)madvise(vault->map, vault->map_bytes, MADV_DONTNEED);
}

/* Where LMDB mapped its file, which it does not say: looked up by the file's number. */
static void find_map(struct vault *vault) {
    struct stat file;
    mdb_filehandle_t fd;
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "re");
    bool known = mdb_env_get_fd(vault->env, &fd) == 0 && fstat(fd, &file) == 0;
    while (known && maps != NULL && vault->map == NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long long start, end, offset, inode;
        unsigned major, minor;
        if (sscanf(line, "%llx-%llx %*s %llx %x:%x %llu", &start, &end, &offset, &major, &minor,
                   &inode) != 6 || inode != file.st_ino || offset != 0 ||
            makedev(major, minor) != file.st_dev)
            continue;
        vault->map = (void *)(uintptr_t)start;
        vault->map_bytes = (size_t)(end - start);
    }
    if (maps != NULL)
        (void)fclose(maps);
}

/* -------------------------------------------------------------------------- open, close ---- */

/* The format and the secret: made in a new vault, checked in an old one. */
static enum error_code found_or_check(struct vault *vault, MDB_txn *txn, uint64_t now_ms,
                                      struct error *err) {
    uint64_t format;
    TRY(vault__number(txn, vault, "format", &format, err));
    if (format == 0) {
        random_bytes(vault->secret, sizeof vault->secret);
        TRY(vault__number_set(txn, vault, "format", VAULT__FORMAT, err));
        TRY(vault__number_set(txn, vault, "made", now_ms, err));
        return vault__put(txn, vault->dbi[VAULT__META], BYTES_LITERAL("secret"),
                          bytes_of(vault->secret, sizeof vault->secret), 0, err);
    }
    if (format != VAULT__FORMAT)
        return error_set(err, ERROR_CORRUPT, "%s: vault format %llu, this version reads %d",
                         vault->folder, (unsigned long long)format, VAULT__FORMAT);
    struct bytes secret;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__META], BYTES_LITERAL("secret"), &secret, &found, err));
    if (!found || secret.len != sizeof vault->secret)
        return vault__corrupt(err, "secret");
    memcpy(vault->secret, secret.data, sizeof vault->secret);
    return ERROR_NONE;
}

static enum error_code open_environment(struct vault *vault, uint64_t now_ms, struct error *err) {
    int rc = mdb_env_create(&vault->env);
    if (rc != 0)
        return vault__error(err, rc, "opening");
    (void)mdb_env_set_maxdbs(vault->env, VAULT__DBI_COUNT);
    (void)mdb_env_set_mapsize(vault->env, (size_t)vault->bytes_max);
    /* Without MDB_NOTLS a thread could not hold a view and read by the side. Keys come in any order:
     * reading ahead of them would only fill the memory. */
    rc = mdb_env_open(vault->env, vault->folder, MDB_NOTLS | MDB_NORDAHEAD, 0600);
    if (rc != 0)
        return error_wrap(err, vault__error(err, rc, "opening"), "%s", vault->folder);
    find_map(vault);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    for (int i = 0; i < VAULT__DBI_COUNT; i++) {
        rc = mdb_dbi_open(txn, dbi_names[i], MDB_CREATE, &vault->dbi[i]);
        if (rc != 0)
            return vault__error(err, rc, "opening its tables");
    }
    TRY(found_or_check(vault, txn, now_ms, err));
    return vault__commit(&txn, err);
}

static enum error_code open_locked(struct vault *vault, uint64_t now_ms, struct error *err) {
    TRY(file_make_folder(vault->folder, 0700, err));
    char lock[4096];
    if (snprintf(lock, sizeof lock, "%s/vault.lock", vault->folder) >= (int)sizeof lock)
        return error_set(err, ERROR_LIMIT, "the vault's path is too long");
    TRY(file_lock(lock, &vault->lock_fd, err));
    vault->index_lock_made = pthread_mutex_init(&vault->index_lock, NULL) == 0;
    if (!vault->index_lock_made)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    vault->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return open_environment(vault, now_ms, err);
}

enum error_code vault_open(const char *folder, uint64_t bytes_max, uint64_t now_ms,
                           struct vault **ret_vault, struct error *err) {
    struct vault *vault = calloc(1, sizeof *vault);
    if (vault == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the vault: no memory");
    vault->lock_fd = -1;
    vault->statm_fd = -1;
    vault->bytes_max = bytes_max == 0 ? UINT64_C(1) << 40 : bytes_max;
    vault->folder = strdup(folder);
    enum error_code code = vault->folder == NULL
                               ? error_set(err, ERROR_NO_MEMORY, "the vault: no memory")
                               : open_locked(vault, now_ms, err);
    if (code != ERROR_NONE)
        vault_close(vault);
    else
        *ret_vault = vault;
    return code;
}

void vault_close(struct vault *vault) {
    if (vault == NULL)
        return;
    if (vault->env != NULL)
        mdb_env_close(vault->env);
    if (vault->lock_fd >= 0)
        close(vault->lock_fd);
    if (vault->statm_fd >= 0)
        close(vault->statm_fd);
    if (vault->index_lock_made)
        (void)pthread_mutex_destroy(&vault->index_lock);
    explicit_bzero(vault->secret, sizeof vault->secret);
    free(vault->folder);
    free(vault);
}

enum error_code vault_size(struct vault *vault, uint64_t *ret_bytes, uint64_t *ret_bytes_max,
                           struct error *err) {
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_env_info(vault->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(vault->env, &stat);
    if (rc != 0)
        return vault__error(err, rc, "asking its size");
    *ret_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    *ret_bytes_max = vault->bytes_max;
    return ERROR_NONE;
}

void vault_secret(const struct vault *vault, const char *purpose, uint8_t ret_key[32]) {
    hkdf_sha256(bytes_of(vault->secret, sizeof vault->secret),
                BYTES_LITERAL("renkei/vault/1\n"), bytes_text(purpose), ret_key, 32);
}

/* ------------------------------------------------------------------------------- tables ---- */

enum error_code vault__table_read(MDB_txn *txn, const struct vault *vault, uint32_t table,
                                  struct vault_table *ret_table, struct bytes *ret_name,
                                  struct error *err) {
    uint8_t key[4];
    wire_store_u32(key, table);
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__TABLE], bytes_of(key, 4), &value, &found, err));
    if (!found)
        return vault__corrupt(err, "table number");
    struct wire_reader r = wire_reader(value);
    struct vault_table t = {.id = table};
    uint8_t format = wire_read_u8(&r);
    t.live = wire_read_u64(&r);
    t.deleted = wire_read_u64(&r);
    t.quarantined = wire_read_u64(&r);
    t.batches = wire_read_u64(&r);
    t.passes = wire_read_u64(&r);
    t.last_pass_ms = wire_read_u64(&r);
    t.last_pass_rows = wire_read_u64(&r);
    struct bytes name = wire_read_bytes(&r, VAULT_TABLE_BYTES_MAX);
    if (format != 1 || !wire_read_end(&r))
        return vault__corrupt(err, "table entry");
    *ret_table = t;
    *ret_name = name;
    return ERROR_NONE;
}

enum error_code vault__table_write(MDB_txn *txn, const struct vault *vault,
                                   const struct vault_table *table, struct bytes name,
                                   struct error *err) {
    uint8_t key[4];
    wire_store_u32(key, table->id);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 1024);
    wire_u8(&out, 1);
    wire_u64(&out, table->live);
    wire_u64(&out, table->deleted);
    wire_u64(&out, table->quarantined);
    wire_u64(&out, table->batches);
    wire_u64(&out, table->passes);
    wire_u64(&out, table->last_pass_ms);
    wire_u64(&out, table->last_pass_rows);
    wire_bytes(&out, name);
    TRY(buffer_check(&out, "the vault's table entry", err));
    return vault__put(txn, vault->dbi[VAULT__TABLE], bytes_of(key, 4), buffer_bytes(&out), 0, err);
}

static enum error_code make_table(struct vault *vault, MDB_txn *txn, struct bytes name,
                                  struct vault_table *ret_table, struct error *err) {
    uint64_t last;
    TRY(vault__number(txn, vault, "table", &last, err));
    TRY(vault__number_set(txn, vault, "table", last + 1, err));
    struct vault_table table = {.id = (uint32_t)(last + 1)};
    uint8_t id[4];
    wire_store_u32(id, table.id);
    TRY(vault__put(txn, vault->dbi[VAULT__TABLE_NAME], name, bytes_of(id, 4), 0, err));
    TRY(vault__table_write(txn, vault, &table, name, err));
    *ret_table = table;
    return ERROR_NONE;
}

/* The name as an LMDB key: names longer than a key may be are hashed. */
static struct bytes table_key(struct bytes name, struct hash *room) {
    if (name.len <= 500)
        return name;
    *room = sha256_of(name);
    return hash_bytes(room);
}

enum error_code vault_table(struct vault *vault, const char *name, struct vault_table *ret_table,
                            struct error *err) {
    struct bytes text = bytes_text(name);
    if (text.len == 0 || text.len > VAULT_TABLE_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a table's name of %zu bytes, at most %d", text.len,
                         VAULT_TABLE_BYTES_MAX);
    struct hash room;
    struct bytes key = table_key(text, &room);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__TABLE_NAME], key, &value, &found, err));
    if (found && value.len != 4)
        return vault__corrupt(err, "table name");
    if (!found) {
        struct vault_table made;
        TRY(make_table(vault, txn, key, &made, err));
        TRY(vault__table_write(txn, vault, &made, text, err));
        TRY(vault__commit(&txn, err));
        *ret_table = made;
        return ERROR_NONE;
    }
    struct bytes stored;
    return vault__table_read(txn, vault, wire_load_u32(value.data), ret_table, &stored, err);
}

enum error_code vault_table_name(struct vault *vault, uint32_t table, struct buffer *ret_name,
                                 struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    uint8_t key[4];
    wire_store_u32(key, table);
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__TABLE], bytes_of(key, 4), NULL, &found, err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "the vault has no table %u", table);
    struct vault_table t;
    struct bytes name;
    TRY(vault__table_read(txn, vault, table, &t, &name, err));
    buffer_append(ret_name, name.data, name.len);
    buffer_append_byte(ret_name, 0);
    return buffer_check(ret_name, "a table's name", err);
}

enum error_code vault_table_passed(struct vault *vault, uint32_t table, uint64_t pass_id,
                                   uint64_t rows, uint64_t now_ms, struct error *err) {
    pthread_mutex_lock(&vault->index_lock);
    enum error_code code = vault__patient_index(vault, 0, err);
    pthread_mutex_unlock(&vault->index_lock);
    TRY(code);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    struct vault_table t;
    struct bytes stored;
    TRY(vault__table_read(txn, vault, table, &t, &stored, err));
    char name[VAULT_TABLE_BYTES_MAX]; /* what is stored moves when its page is written */
    memcpy(name, stored.data, stored.len);
    uint64_t dropped;
    TRY(vault__quarantine_sweep(txn, vault, table, pass_id, &dropped, err));
    t.quarantined -= dropped < t.quarantined ? dropped : t.quarantined;
    t.passes++;
    t.last_pass_ms = now_ms;
    t.last_pass_rows = rows;
    TRY(vault__table_write(txn, vault, &t, bytes_of(name, stored.len), err));
    return vault__commit(&txn, err);
}

/* --------------------------------------------------------------------------- small ones ---- */

static enum error_code meta_name(const char *kind, const char *name, char *ret_text, size_t room,
                                 struct error *err) {
    if (snprintf(ret_text, room, "%s/%s", kind, name) >= (int)room)
        return error_set(err, ERROR_LIMIT, "a name of %zu bytes in the vault, at most %zu",
                         strlen(name), room - strlen(kind) - 2);
    return ERROR_NONE;
}

enum error_code vault_count(struct vault *vault, const char *counter, uint64_t *ret_value,
                            struct error *err) {
    char name[VAULT_NAME_BYTES_MAX - 1];
    TRY(meta_name("count", counter, name, sizeof name, err));
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    uint64_t value;
    TRY(vault__number(txn, vault, name, &value, err));
    TRY(vault__number_set(txn, vault, name, value + 1, err));
    TRY(vault__commit(&txn, err));
    *ret_value = value + 1;
    return ERROR_NONE;
}

enum error_code vault_put(struct vault *vault, const char *name, struct bytes value,
                          struct error *err) {
    char full[VAULT_NAME_BYTES_MAX - 1];
    TRY(meta_name("value", name, full, sizeof full, err));
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    TRY(vault__put(txn, vault->dbi[VAULT__META], bytes_text(full), value, 0, err));
    return vault__commit(&txn, err);
}

enum error_code vault_get(struct vault *vault, const char *name, struct buffer *ret_value,
                          struct error *err) {
    char full[VAULT_NAME_BYTES_MAX - 1];
    TRY(meta_name("value", name, full, sizeof full, err));
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__META], bytes_text(full), &value, &found, err));
    if (found)
        buffer_append(ret_value, value.data, value.len);
    return buffer_check(ret_value, "a value of the vault", err);
}

enum error_code vault_mapping(struct vault *vault, const struct hash *digest,
                              struct bytes description, uint32_t *ret_id, struct error *err) {
    if (description.len > VAULT_MAPPING_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a mapping's description of %zu bytes, at most %d",
                         description.len, VAULT_MAPPING_BYTES_MAX);
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, 0, &txn, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__MAPPING], hash_bytes(digest), &value, &found, err));
    if (found && value.len < 4)
        return vault__corrupt(err, "mapping");
    if (found) {
        *ret_id = wire_load_u32(value.data);
        return ERROR_NONE;
    }
    uint64_t last;
    TRY(vault__number(txn, vault, "mapping", &last, err));
    TRY(vault__number_set(txn, vault, "mapping", last + 1, err));
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, VAULT_MAPPING_BYTES_MAX + 16);
    wire_u32(&out, (uint32_t)(last + 1));
    wire_fixed(&out, description.data, description.len);
    TRY(buffer_check(&out, "a mapping's description", err));
    TRY(vault__put(txn, vault->dbi[VAULT__MAPPING], hash_bytes(digest), buffer_bytes(&out), 0,
                   err));
    TRY(vault__put(txn, vault->dbi[VAULT__MAPPING_ID], bytes_of(out.data, 4), hash_bytes(digest),
                   0, err));
    TRY(vault__commit(&txn, err));
    *ret_id = (uint32_t)(last + 1);
    return ERROR_NONE;
}

enum error_code vault_mapping_read(struct vault *vault, const struct hash *digest,
                                   struct buffer *ret_description, struct error *err) {
    SCOPED_TXN MDB_txn *txn = NULL;
    TRY(vault__begin(vault, MDB_RDONLY, &txn, err));
    struct bytes value;
    bool found;
    TRY(vault__get(txn, vault->dbi[VAULT__MAPPING], hash_bytes(digest), &value, &found, err));
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "the vault has no mapping of this digest");
    if (value.len < 4)
        return vault__corrupt(err, "mapping");
    buffer_append(ret_description, value.data + 4, value.len - 4);
    return buffer_check(ret_description, "a mapping's description", err);
}
