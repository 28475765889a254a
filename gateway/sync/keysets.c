/*
 * Key-set roots: anchored as notes after each pass that met every row, and remembered in the vault.
 * Byte formats: docs/formats.md, "Key set" and "Vault".
 */
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "gateway/sync/keyset.h"
#include "gateway/sync/sync_internal.h"

enum { FORMAT = 1, NOTE_BYTES_MAX = 512, KEPT_BYTES_MAX = 512, NAME_BYTES = 64 };

static const char NOTE_DOMAIN[] = "renkei/keyset/1\n";

_Static_assert((int)SYNC_SNAPSHOT_BYTES_MAX == (int)VAULT_SNAPSHOT_BYTES_MAX, "one limit");

static void table_secret(const struct sync *sync, uint32_t table, uint8_t ret_secret[32]) {
    char purpose[NAME_BYTES];
    snprintf(purpose, sizeof purpose, "keyset/%u", table);
    vault_secret(sync->vault, purpose, ret_secret);
}

enum error_code sync__keyset_of_table(struct sync *sync, uint32_t table,
                                      struct sync__keyset **ret_keyset, struct error *err) {
    uint8_t secret[32];
    table_secret(sync, table, secret);
    enum error_code code = sync__keyset_new(sync->vault_folder, secret, ret_keyset, err);
    explicit_bzero(secret, sizeof secret);
    return code;
}

static struct bytes snapshot_label(const char *snapshot) {
    struct bytes label = bytes_text(snapshot);
    label.len = label.len < SYNC_SNAPSHOT_BYTES_MAX ? label.len : SYNC_SNAPSHOT_BYTES_MAX;
    return label;
}

/* What note and vault have in common. */
static void encode(uint64_t pass, enum sync_mode mode, uint64_t count, const struct hash *root,
                   struct bytes snapshot, struct buffer *out) {
    wire_u64(out, pass);
    wire_u8(out, (uint8_t)mode);
    wire_u64(out, count);
    wire_fixed(out, root->byte, HASH_BYTES);
    wire_bytes(out, snapshot);
}

static void kept_name(uint32_t table, char ret_name[NAME_BYTES]) {
    snprintf(ret_name, NAME_BYTES, "keyset/%u", table);
}

enum error_code sync__keyset_anchor(struct sync__source *source, size_t table,
                                    enum sync_mode mode, uint64_t pass, const char *snapshot,
                                    struct sync__keyset *keyset, struct error *err) {
    struct hash root;
    uint64_t count;
    uint64_t sequence;
    TRY(sync__keyset_root(keyset, &root, &count, err));
    struct bytes label = snapshot_label(snapshot);
    struct hash tag = sync__source_tag(source, source->mapping->tables[table].table);
    SCOPED_BUFFER struct buffer note;
    SCOPED_BUFFER struct buffer kept;
    buffer_init(&note, NOTE_BYTES_MAX);
    buffer_init(&kept, KEPT_BYTES_MAX);
    wire_fixed(&note, NOTE_DOMAIN, sizeof NOTE_DOMAIN - 1);
    wire_fixed(&note, tag.byte, HASH_BYTES);
    encode(pass, mode, count, &root, label, &note);
    TRY(buffer_check(&note, "a key set's note", err));
    TRY(sync__anchor_note(source, buffer_bytes(&note), &sequence, err));
    wire_u8(&kept, FORMAT);
    wire_u64(&kept, sequence);
    encode(pass, mode, count, &root, label, &kept);
    TRY(buffer_check(&kept, "a key set", err));
    char name[NAME_BYTES];
    kept_name(source->table_ids[table], name);
    return vault_put(source->sync->vault, name, buffer_bytes(&kept), err);
}

static bool decode(struct bytes data, struct arena *arena, struct sync_keyset *ret_keyset) {
    struct wire_reader r = wire_reader(data);
    uint8_t format = wire_read_u8(&r);
    ret_keyset->sequence = wire_read_u64(&r);
    ret_keyset->pass = wire_read_u64(&r);
    ret_keyset->mode = (enum sync_mode)wire_read_u8(&r);
    ret_keyset->count = wire_read_u64(&r);
    wire_read_fixed(&r, ret_keyset->root.byte, HASH_BYTES);
    struct bytes label = wire_read_bytes(&r, SYNC_SNAPSHOT_BYTES_MAX);
    ret_keyset->snapshot = arena_format(arena, "%.*s", (int)label.len, (const char *)label.data);
    return format == FORMAT && wire_read_end(&r) && ret_keyset->snapshot != NULL;
}

static enum error_code read_one(const struct sync__source *source, size_t table,
                                struct vault_view *view, struct arena *arena,
                                struct sync_keyset *ret_keyset, struct error *err) {
    struct sync *sync = source->sync;
    struct sync_keyset found = {.source = source->mapping->source,
                                .table = source->mapping->tables[table].table,
                                .mode = SYNC_FULL,
                                .snapshot = ""};
    char name[NAME_BYTES];
    kept_name(source->table_ids[table], name);
    table_secret(sync, source->table_ids[table], found.secret);
    SCOPED_BUFFER struct buffer kept;
    buffer_init(&kept, KEPT_BYTES_MAX);
    TRY(vault_get(sync->vault, name, &kept, err));
    if (kept.len > 0 && !decode(buffer_bytes(&kept), arena, &found))
        return error_set(err, ERROR_CORRUPT, "the vault's key set of table %u",
                         source->table_ids[table]);
    struct vault_anchor anchor;
    if (found.sequence > 0) {
        enum error_code code = vault_anchor_read(view, found.sequence, &anchor, err);
        if (code != ERROR_NONE && code != ERROR_NOT_FOUND)
            return code;
        found.height = code == ERROR_NONE ? anchor.height : 0;
    }
    *ret_keyset = found;
    return ERROR_NONE;
}

static enum error_code read_all(struct sync *sync, const char *source, struct arena *arena,
                                struct vault_view *view, struct sync_keyset *list,
                                size_t *ret_count, struct error *err) {
    size_t count = 0;
    for (size_t i = 0; i < sync->source_count; i++) {
        const struct sync__source *s = &sync->sources[i];
        if (source != NULL && strcmp(s->mapping->source, source) != 0)
            continue;
        for (size_t t = 0; t < s->mapping->table_count; t++)
            TRY(read_one(s, t, view, arena, &list[count++], err));
    }
    if (source != NULL && count == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no source '%s'", source);
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code sync_keysets(struct sync *sync, const char *source, struct arena *arena,
                             const struct sync_keyset **ret_keysets, size_t *ret_count,
                             struct error *err) {
    size_t tables = 0;
    for (size_t i = 0; i < sync->source_count; i++)
        tables += sync->sources[i].mapping->table_count;
    struct sync_keyset *list = arena_alloc(arena, (tables + 1) * sizeof *list);
    struct vault_view *view;
    if (list == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the key sets: no memory");
    TRY(vault_view_open(sync->vault, &view, err));
    size_t count = 0;
    enum error_code code = read_all(sync, source, arena, view, list, &count, err);
    vault_view_close(view);
    if (code != ERROR_NONE)
        return code;
    *ret_keysets = list;
    *ret_count = count;
    return ERROR_NONE;
}
