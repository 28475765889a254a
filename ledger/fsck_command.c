/*
 * fsck: is what lies in the data folder what it ought to be? Blocks are proven from the genesis on, and
 * all else is held against what they say. Reads only; with --repair it removes what the next start makes
 * anew from the blocks, and nothing else.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "base/wire.h"
#include "ledger/backup_command.h"
#include "ledger/fsck_derived.h"
#include "ledger/fsck_executed.h"
#include "ledger/node_inside.h"
#include "ledger/store/segments.h"
#include "ledger/walk.h"

enum { HEIGHT_BYTES = 16, FINDINGS_MAX = 1000 };

struct fsck {
    const struct members_call *call;
    struct walk *walk;
    struct derived *derived_files;
    int heights_fd;
    json_t *findings; /* {"file", "text", "made_anew"} */
    json_t *notes;
    size_t votes;
    bool derived; /* something is damaged that is made anew from the blocks */
    bool truth;   /* something is damaged that is not */
};

static enum error_code path_in(const struct fsck *f, const char *name, char *ret_path,
                               struct error *err) {
    if (snprintf(ret_path, NODE_PATH_BYTES_MAX, "%s/%s", f->call->data, name) >=
        NODE_PATH_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", f->call->data);
    return ERROR_NONE;
}

static void find(struct fsck *f, const char *file, const char *text, bool made_anew) {
    *(made_anew ? &f->derived : &f->truth) = true;
    if (json_array_size(f->findings) >= FINDINGS_MAX)
        return;
    json_t *finding = json_object();
    json_object_set_new(finding, "file", json_string(file));
    json_object_set_new(finding, "text", json_string(text));
    json_object_set_new(finding, "made_anew", json_boolean(made_anew));
    json_array_append_new(f->findings, finding);
}

static void find_derived(void *self, const char *file, const char *text) {
    find(self, file, text, true);
}

static void note(struct fsck *f, const char *text) {
    json_array_append_new(f->notes, json_string(text));
}

/* The index of blocks by height may lag behind, as long as what it says is so. */
static enum error_code check_height(struct fsck *f, const struct segments_record *record,
                                    struct error *err) {
    uint8_t raw[HEIGHT_BYTES];
    uint8_t nothing[HEIGHT_BYTES] = {0};
    char text[256];
    uint64_t at = (record->height - 1) * HEIGHT_BYTES;
    size_t got = 0;
    if (f->heights_fd >= 0)
        TRY(file_read_at(f->heights_fd, raw, sizeof raw, at, "heights", &got, err));
    if (got != sizeof raw || memcmp(raw, nothing, sizeof raw) == 0 ||
        (wire_load_u32(raw) == record->segment && wire_load_u64(raw + 4) == record->offset))
        return ERROR_NONE;
    (void)snprintf(text, sizeof text,
                   "byte %llu: block %llu: found segment %u, byte %llu, expected segment %u, byte %llu",
                   (unsigned long long)at, (unsigned long long)record->height, wire_load_u32(raw),
                   (unsigned long long)wire_load_u64(raw + 4), record->segment,
                   (unsigned long long)record->offset);
    find(f, "heights", text, true);
    return ERROR_NONE;
}

static enum error_code take(void *context, const struct segments_record *record,
                            struct error *err) {
    struct fsck *f = context;
    TRY(walk_block(f->walk, record->block, record->certificate, err));
    return check_height(f, record, err);
}

static enum error_code check_blocks(struct fsck *f, struct error *err) {
    struct error found;
    struct segments_end end;
    char path[NODE_PATH_BYTES_MAX];
    char name[32];
    char text[128];
    TRY(path_in(f, "heights", path, err));
    f->heights_fd = open(path, O_RDONLY | O_CLOEXEC);
    enum error_code code = segments_scan(f->call->data, take, f, &end, &found);
    if (f->heights_fd >= 0)
        (void)close(f->heights_fd);
    (void)snprintf(name, sizeof name, "blocks/%08u", end.segment);
    if (code == ERROR_CORRUPT) {
        find(f, name, found.message, false);
        return ERROR_NONE;
    }
    if (code != ERROR_NONE) {
        if (err != NULL)
            *err = found;
        return code;
    }
    (void)snprintf(text, sizeof text, "%s: %llu bytes after block %llu are no whole block", name,
                   (unsigned long long)end.torn, (unsigned long long)end.height);
    if (end.torn > 0)
        note(f, text); /* a crash leaves that; the next start cuts it off */
    return ERROR_NONE;
}

static enum error_code check_votes(struct fsck *f, struct error *err) {
    struct error found;
    char path[NODE_PATH_BYTES_MAX];
    char text[128];
    uint64_t torn = 0;
    TRY(path_in(f, "votes", path, err));
    if (access(path, F_OK) != 0) {
        note(f, "votes: there is no vote log; the node follows without voting until the next epoch");
        return ERROR_NONE;
    }
    enum error_code code = votes_check(path, &f->votes, &torn, &found);
    if (code == ERROR_CORRUPT || code == ERROR_LIMIT)
        find(f, "votes", found.message, false);
    else if (code != ERROR_NONE) {
        if (err != NULL)
            *err = found;
        return code;
    }
    (void)snprintf(text, sizeof text, "votes: %llu bytes at the end are no whole record",
                   (unsigned long long)torn);
    if (torn > 0)
        note(f, text);
    return ERROR_NONE;
}

/* What stands in a folder; not what stands in folders in it. */
static enum error_code remove_all(const char *path, struct error *err) {
    DIR *folder = opendir(path);
    if (folder == NULL)
        return errno == ENOENT ? ERROR_NONE : file_error(err, errno, "cannot open folder", path);
    enum error_code code = ERROR_NONE;
    for (const struct dirent *e; code == ERROR_NONE && (e = readdir(folder)) != NULL;)
        if (e->d_type != DT_DIR && unlinkat(dirfd(folder), e->d_name, 0) != 0)
            code = file_error(err, errno, "cannot remove", e->d_name);
    if (code == ERROR_NONE && fsync(dirfd(folder)) != 0)
        code = file_error(err, errno, "cannot sync folder", path);
    (void)closedir(folder);
    return code;
}

/* The state first: without it the next start makes all of the rest anew, too, whatever is left of it. */
static enum error_code repair(const struct fsck *f, struct error *err) {
    static const char *const folders[] = {"state", "log", "map"};
    static const char *const files[] = {"places", "heights"};
    char path[NODE_PATH_BYTES_MAX];
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        TRY(path_in(f, folders[i], path, err));
        TRY(remove_all(path, err));
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        TRY(path_in(f, files[i], path, err));
        if (unlink(path) != 0 && errno != ENOENT)
            return file_error(err, errno, "cannot remove", path);
    }
    return file_sync_folder(f->call->data, err);
}

static void print_text(const struct fsck *f, bool repaired) {
    size_t i;
    const json_t *one;
    const struct block_header *head = walk_head(f->walk);
    (void)printf("%s: %llu blocks, %llu leaves, %zu records of votes\n", f->call->data,
                 (unsigned long long)head->height, (unsigned long long)head->log_size, f->votes);
    json_array_foreach(f->findings, i, one)
        (void)printf("DAMAGED %s: %s\n", json_string_value(json_object_get(one, "file")),
                     json_string_value(json_object_get(one, "text")));
    json_array_foreach(f->notes, i, one)
        (void)printf("note: %s\n", json_string_value(one));
    if (repaired)
        (void)puts("what is damaged was removed; the next start makes it anew from the blocks");
}

static void print_json(const struct fsck *f, bool repaired) {
    const struct block_header *head = walk_head(f->walk);
    struct hash hash = walk_head_hash(f->walk);
    char hex[2 * HASH_BYTES + 1];
    text_hex(hash.byte, HASH_BYTES, hex);
    json_t *root = json_object();
    json_object_set_new(root, "folder", json_string(f->call->data));
    json_object_set_new(root, "height", json_integer((json_int_t)head->height));
    json_object_set_new(root, "head", json_string(hex));
    json_object_set_new(root, "leaves", json_integer((json_int_t)head->log_size));
    json_object_set_new(root, "votes", json_integer((json_int_t)f->votes));
    json_object_set(root, "findings", f->findings);
    json_object_set(root, "notes", f->notes);
    json_object_set_new(root, "repaired", json_boolean(repaired));
    char *text = json_dumps(root, JSON_COMPACT);
    (void)puts(text != NULL ? text : "{}");
    free(text);
    json_decref(root);
}

/* Against blocks that are damaged nothing can be held. */
static enum error_code check_derived(struct fsck *f, struct error *err) {
    bool all = true;
    if (f->truth)
        return ERROR_NONE;
    TRY(derived_check(f->derived_files, walk_head(f->walk), &all, err));
    if (!all)
        note(f, "places and map/ were not compared leaf by leaf: there are too many leaves");
    return ERROR_NONE;
}

static void find_executed(void *self, const char *file, const char *text, bool made_anew) {
    find(self, file, text, made_anew);
}

static void note_executed(void *self, const char *text) {
    note(self, text);
}

static enum error_code check_executed(struct fsck *f, const struct genesis *genesis,
                                      struct error *err) {
    struct executed_report report = {find_executed, note_executed, f};
    if (f->truth)
        return ERROR_NONE;
    return executed_check(genesis, f->call->data, walk_head(f->walk), &report, err);
}

static enum error_code look(struct fsck *f, const struct genesis *genesis, struct error *err) {
    TRY(check_blocks(f, err));
    TRY(check_derived(f, err));
    TRY(check_executed(f, genesis, err));
    TRY(check_votes(f, err));
    bool repaired = f->call->repair && f->derived && !f->truth;
    if (repaired)
        TRY(repair(f, err));
    if (f->call->json)
        print_json(f, repaired);
    else
        print_text(f, repaired);
    if (repaired || (!f->truth && !f->derived))
        return ERROR_NONE;
    enum error_code code = error_set(err, ERROR_CORRUPT, "%s: found %zu damages, expected none",
                                     f->call->data, json_array_size(f->findings));
    if (!f->truth)
        error_hint(err, "all of it is made anew from the blocks: renkei-node fsck --repair");
    else
        error_hint(err, "move the folder away and start anew: the blocks come from the other nodes, "
                        "or from a backup by renkei-node restore");
    return code;
}

enum error_code ledger_fsck(const struct members_call *call, struct error *err) {
    struct fsck f = {.call = call, .heights_fd = -1};
    struct genesis *genesis = NULL;
    char path[NODE_PATH_BYTES_MAX];
    SCOPED_FD int lock_fd = -1;
    if (access(call->data, R_OK) != 0)
        return file_error(err, errno, "cannot open", call->data);
    TRY(path_in(&f, "lock", path, err));
    TRY(file_lock(path, &lock_fd, err));
    TRY(genesis_load(call->genesis, &genesis, err));
    f.findings = json_array();
    f.notes = json_array();
    struct derived_report report = {find_derived, &f};
    f.derived_files = derived_new(call->data, &report);
    struct walk_sink sink = derived_sink(f.derived_files);
    f.walk = walk_new(genesis, &sink);
    enum error_code code = look(&f, genesis, err);
    walk_free(f.walk);
    derived_free(f.derived_files);
    json_decref(f.findings);
    json_decref(f.notes);
    genesis_free(genesis);
    return code;
}
