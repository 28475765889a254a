#include "ledger/backup_command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ledger/node_inside.h"
#include "ledger/store/segments.h"
#include "ledger/walk.h"

enum { MANIFEST_BYTES_MAX = 4096, GENESIS_FILE_BYTES_MAX = 16 << 20 };

/* Blocks on their way from one folder to another. */
struct copy {
    struct walk *walk;
    char target[NODE_PATH_BYTES_MAX];
    uint32_t segment; /* that fd is of; 0: none yet */
    int fd;
    struct buffer certificate; /* of the last block */
};

static enum error_code path_in(const char *folder, const char *name, char *ret_path,
                               struct error *err) {
    if (snprintf(ret_path, NODE_PATH_BYTES_MAX, "%s/%s", folder, name) >= NODE_PATH_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    return ERROR_NONE;
}

static enum error_code close_segment(struct copy *copy, struct error *err) {
    int fd = copy->fd;
    copy->fd = -1;
    if (fd < 0)
        return ERROR_NONE;
    int failed = fdatasync(fd) != 0 ? errno : 0;
    (void)close(fd);
    return failed == 0 ? ERROR_NONE : file_error(err, failed, "cannot sync", copy->target);
}

static enum error_code open_segment(struct copy *copy, uint32_t segment, struct error *err) {
    char name[32];
    char path[NODE_PATH_BYTES_MAX];
    TRY(close_segment(copy, err));
    (void)snprintf(name, sizeof name, "blocks/%08" PRIu32, segment);
    TRY(path_in(copy->target, name, path, err));
    copy->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (copy->fd < 0)
        return file_error(err, errno, "cannot create", path);
    copy->segment = segment;
    return ERROR_NONE;
}

static enum error_code take(void *context, const struct segments_record *record,
                            struct error *err) {
    struct copy *copy = context;
    TRY(walk_block(copy->walk, record->block, record->certificate, err));
    if (copy->segment != record->segment)
        TRY(open_segment(copy, record->segment, err));
    buffer_clear(&copy->certificate);
    buffer_append(&copy->certificate, record->certificate.data, record->certificate.len);
    TRY(buffer_check(&copy->certificate, "certificate", err));
    return file_write_all(copy->fd, record->raw, copy->target, err);
}

/* All blocks of one folder into a new one, every one checked. */
static enum error_code copy_blocks(struct copy *copy, const char *from, struct error *err) {
    struct segments_end end;
    char path[NODE_PATH_BYTES_MAX];
    TRY(path_in(copy->target, "blocks", path, err));
    TRY(file_make_folder(path, 0700, err));
    enum error_code code = segments_scan(from, take, copy, &end, err);
    if (code == ERROR_NONE)
        code = close_segment(copy, err);
    if (copy->fd >= 0)
        (void)close(copy->fd);
    copy->fd = -1;
    TRY(code);
    TRY(file_sync_folder(path, err));
    return file_sync_folder(copy->target, err);
}

static void copy_init(struct copy *copy, const struct genesis *genesis) {
    *copy = (struct copy){.walk = walk_new(genesis, NULL), .fd = -1};
    buffer_init(&copy->certificate, PBFT_CERTIFICATE_BYTES_MAX);
}

static void copy_done(struct copy *copy) {
    walk_free(copy->walk);
    buffer_done(&copy->certificate);
}

static json_t *hash_json(const struct hash *hash) {
    char text[2 * HASH_BYTES + 1];
    text_hex(hash->byte, HASH_BYTES, text);
    return json_string(text);
}

static enum error_code write_manifest(const struct copy *copy, const struct genesis *genesis,
                                      struct error *err) {
    const struct block_header *head = walk_head(copy->walk);
    struct hash hash = walk_head_hash(copy->walk);
    char time[CLOCK_RFC3339_BYTES];
    char path[NODE_PATH_BYTES_MAX];
    clock_rfc3339(head->time_ms, time);
    json_t *root = json_object();
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "chain", json_string(genesis->name));
    json_object_set_new(root, "chain_id", hash_json(&genesis->chain));
    json_object_set_new(root, "height", json_integer((json_int_t)head->height));
    json_object_set_new(root, "head", hash_json(&hash));
    json_object_set_new(root, "head_time", json_string(time));
    json_object_set_new(root, "leaves", json_integer((json_int_t)head->log_size));
    json_object_set_new(root, "log_root", hash_json(&head->log_root));
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "backup: no memory");
    enum error_code code = path_in(copy->target, "backup.json", path, err);
    if (code == ERROR_NONE)
        code = file_replace(path, bytes_of(text, strlen(text)), 0600, err);
    free(text);
    return code;
}

static enum error_code copy_genesis(const struct members_call *call, const char *target,
                                    struct error *err) {
    SCOPED_BUFFER struct buffer text;
    char path[NODE_PATH_BYTES_MAX];
    buffer_init(&text, GENESIS_FILE_BYTES_MAX);
    TRY(file_read(call->genesis, &text, GENESIS_FILE_BYTES_MAX, err));
    TRY(path_in(target, "genesis.json", path, err));
    return file_replace(path, buffer_bytes(&text), 0644, err);
}

static enum error_code tell_json(const struct copy *copy, const char *folder, struct error *err) {
    const struct block_header *head = walk_head(copy->walk);
    struct hash head_hash = walk_head_hash(copy->walk);
    json_t *root = json_object();
    json_object_set_new(root, "folder", json_string(folder)); /* none where it is not UTF-8 */
    json_object_set_new(root, "height", json_integer((json_int_t)head->height));
    json_object_set_new(root, "head", hash_json(&head_hash));
    json_object_set_new(root, "leaves", json_integer((json_int_t)head->log_size));
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "backup: no memory");
    (void)puts(text);
    free(text);
    return ERROR_NONE;
}

static enum error_code tell(const struct members_call *call, const struct copy *copy,
                            const char *done, const char *folder, struct error *err) {
    const struct block_header *head = walk_head(copy->walk);
    char hash[2 * HASH_BYTES + 1];
    struct hash head_hash = walk_head_hash(copy->walk);
    if (call->json)
        return tell_json(copy, folder, err);
    text_hex(head_hash.byte, HASH_BYTES, hash);
    (void)printf("%s %s: %llu blocks, %llu leaves, head %s\n", done, folder,
                 (unsigned long long)head->height, (unsigned long long)head->log_size, hash);
    return ERROR_NONE;
}

static enum error_code wrong_words(struct error *err, const char *command) {
    return error_set(err, ERROR_USAGE, "%s: expected one folder", command);
}

enum error_code ledger_backup(const struct members_call *call, struct error *err) {
    if (call->word_count != 1)
        return wrong_words(err, "backup");
    const char *target = call->words[0];
    struct genesis *genesis = NULL;
    struct copy copy;
    if (strlen(target) >= sizeof copy.target)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", target);
    if (access(target, F_OK) == 0)
        return error_set(err, ERROR_EXISTS, "%s exists already", target);
    TRY(genesis_load(call->genesis, &genesis, err));
    copy_init(&copy, genesis);
    (void)snprintf(copy.target, sizeof copy.target, "%s", target);
    enum error_code code = copy_blocks(&copy, call->data, err);
    if (code == ERROR_NONE)
        code = copy_genesis(call, target, err);
    if (code == ERROR_NONE) /* last: a folder without it is no backup */
        code = write_manifest(&copy, genesis, err);
    if (code == ERROR_NONE)
        code = tell(call, &copy, "backed up to", target, err);
    copy_done(&copy);
    genesis_free(genesis);
    return code;
}

/* The backup must have all that it says it has. */
static enum error_code check_manifest(const struct copy *copy, const char *folder,
                                      struct error *err) {
    SCOPED_BUFFER struct buffer text;
    char path[NODE_PATH_BYTES_MAX];
    char hash[2 * HASH_BYTES + 1];
    struct hash head = walk_head_hash(copy->walk);
    text_hex(head.byte, HASH_BYTES, hash);
    buffer_init(&text, MANIFEST_BYTES_MAX);
    TRY(path_in(folder, "backup.json", path, err));
    TRY(file_read(path, &text, MANIFEST_BYTES_MAX, err));
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *wanted = json_string_value(json_object_get(root, "head"));
    json_int_t height = json_integer_value(json_object_get(root, "height"));
    enum error_code code = ERROR_NONE;
    if (wanted == NULL || strcmp(wanted, hash) != 0)
        code = error_set(err, ERROR_CORRUPT,
                         "%s: found %llu blocks up to %s, expected %lld blocks up to %s", folder,
                         (unsigned long long)walk_head(copy->walk)->height, hash,
                         (long long)height, wanted != NULL ? wanted : "a head that it does not name");
    json_decref(root);
    return code;
}

/* A vote log that says that nothing is forgotten: true of nobody but who is alone, and says so. */
static enum error_code write_votes(const struct members_call *call, const struct copy *copy,
                                   struct error *err) {
    const struct members *members = walk_members(copy->walk);
    struct node_key key = {.founding = false, .since_ms = 0};
    TRY(ledger_signer_load(call->vote_key, &key.signer, err));
    ledger_signer_public(key.signer, key.public);
    ledger_signer_free(key.signer);
    if (members->validator_count != 1 || members_validator_by_key(members, key.public) != 0)
        return error_set(err, ERROR_USAGE,
                         "--alone: found %u validators, expected this node to be the only one",
                         members->validator_count);
    char path[NODE_PATH_BYTES_MAX];
    uint8_t entry[NODE_IDENTITY_BYTES];
    struct votes *votes = NULL;
    const struct votes_entry *entries = NULL;
    size_t count = 0;
    TRY(path_in(copy->target, "votes", path, err));
    TRY(votes_open(path, &votes, &entries, &count, err));
    node_identity_entry(&key, entry);
    votes_add(votes, VOTES_IDENTITY, bytes_of(entry, sizeof entry));
    if (copy->certificate.len > 0)
        votes_add(votes, VOTES_COMMITTED, buffer_bytes(&copy->certificate));
    enum error_code code = votes_sync(votes, err);
    votes_close(votes);
    TRY(code);
    return file_sync_folder(copy->target, err);
}

static enum error_code restore(const struct members_call *call, struct copy *copy,
                               struct error *err) {
    const char *from = call->words[0];
    if (snprintf(copy->target, sizeof copy->target, "%s.restoring", call->data) >=
        (int)sizeof copy->target)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", call->data);
    if (access(copy->target, F_OK) == 0)
        return error_set(err, ERROR_EXISTS,
                         "%s exists already: a restore before this one did not end; remove it",
                         copy->target);
    TRY(copy_blocks(copy, from, err));
    TRY(check_manifest(copy, from, err));
    if (call->alone)
        TRY(write_votes(call, copy, err));
    if (rename(copy->target, call->data) != 0) /* an empty folder makes place, another does not */
        return errno == ENOTEMPTY || errno == EEXIST
                   ? error_set(err, ERROR_EXISTS, "%s exists already and is not empty", call->data)
                   : file_error(err, errno, "cannot rename to", call->data);
    TRY(file_sync_parent(call->data, err));
    TRY(tell(call, copy, "restored to", call->data, err));
    if (!call->json && !call->alone && walk_members(copy->walk)->validator_count > 0)
        (void)puts("the node follows without voting until the next epoch, since a backup has none of "
                   "its votes");
    return ERROR_NONE;
}

enum error_code ledger_restore(const struct members_call *call, struct error *err) {
    if (call->word_count != 1)
        return wrong_words(err, "restore");
    char lock[NODE_PATH_BYTES_MAX];
    SCOPED_FD int lock_fd = -1;
    struct genesis *genesis = NULL;
    struct copy copy;
    if (snprintf(lock, sizeof lock, "%s.lock", call->vote_key) >= (int)sizeof lock)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", call->vote_key);
    TRY(file_lock(lock, &lock_fd, err)); /* no node runs with this key */
    TRY(genesis_load(call->genesis, &genesis, err));
    copy_init(&copy, genesis);
    enum error_code code = restore(call, &copy, err);
    copy_done(&copy);
    genesis_free(genesis);
    return code;
}
