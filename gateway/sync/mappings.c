/*
 * Which mappings a table's records may be anchored under, so that a pull can tell a row that only
 * reads differently from one that was changed. The list is kept in the vault: a mapping joins it
 * before a record is anchored under it, and leaves it after a whole pass that has left no record under
 * it. Byte format: docs/formats.md, "Vault".
 */
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "gateway/sync/mappings.h"

enum { FORMAT = 1, NAME_BYTES = 64, KEPT_BYTES_MAX = 1 + 4 + SYNC__MAPPINGS_MAX * HASH_BYTES };

static void kept_name(uint32_t table, char ret_name[NAME_BYTES]) {
    snprintf(ret_name, NAME_BYTES, "mappings/%u", table);
}

static enum error_code put(struct vault *vault, uint32_t table, const struct hash *digests,
                           uint32_t count, struct error *err) {
    char name[NAME_BYTES];
    SCOPED_BUFFER struct buffer kept;
    buffer_init(&kept, KEPT_BYTES_MAX);
    wire_u8(&kept, FORMAT);
    wire_u32(&kept, count);
    for (uint32_t i = 0; i < count; i++)
        wire_fixed(&kept, digests[i].byte, HASH_BYTES);
    TRY(buffer_check(&kept, "a list of mappings", err));
    kept_name(table, name);
    return vault_put(vault, name, buffer_bytes(&kept), err);
}

/* One that the vault does not know is passed over: then none of its records is told to be the same. */
static enum error_code add(struct sync__mappings *m, struct vault *vault,
                           const struct hash *digest, struct error *err) {
    SCOPED_BUFFER struct buffer description;
    buffer_init(&description, VAULT_MAPPING_BYTES_MAX);
    enum error_code code = vault_mapping_read(vault, digest, &description, err);
    if (code == ERROR_NOT_FOUND)
        return ERROR_NONE;
    if (code != ERROR_NONE)
        return code;
    uint32_t i = m->count;
    m->digests[i] = *digest;
    m->descriptions[i] = arena_bytes(m->arena, buffer_bytes(&description));
    if (m->descriptions[i].data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a pass: no memory for earlier mappings");
    TRY(vault_mapping(vault, digest, m->descriptions[i], &m->ids[i], err));
    m->count++;
    return ERROR_NONE;
}

enum error_code sync__mappings_load(struct sync__mappings *m, struct vault *vault, uint32_t table,
                                    struct arena *arena, struct error *err) {
    char name[NAME_BYTES];
    SCOPED_BUFFER struct buffer kept;
    buffer_init(&kept, KEPT_BYTES_MAX);
    *m = (struct sync__mappings){.arena = arena};
    kept_name(table, name);
    TRY(vault_get(vault, name, &kept, err));
    if (kept.len == 0)
        return ERROR_NONE;
    struct wire_reader r = wire_reader(buffer_bytes(&kept));
    uint8_t format = wire_read_u8(&r);
    uint32_t count = wire_read_count(&r, SYNC__MAPPINGS_MAX, HASH_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        struct hash digest;
        wire_read_fixed(&r, digest.byte, HASH_BYTES);
        TRY(add(m, vault, &digest, err));
    }
    if (format != FORMAT || !wire_read_end(&r))
        return error_set(err, ERROR_CORRUPT, "the vault holds a damaged list of mappings");
    return ERROR_NONE;
}

uint8_t sync__mappings_place(const struct sync__mappings *m, uint32_t id) {
    for (uint32_t i = 0; i < m->count; i++)
        if (m->ids[i] == id)
            return (uint8_t)(i + 1);
    return 0;
}

void sync__mappings_stays(struct sync__mappings *m, uint32_t id) {
    for (uint32_t i = 0; i < m->count; i++)
        m->stays[i] = m->stays[i] || id == 0 || m->ids[i] == id;
}

enum error_code sync__mappings_use(const struct sync__mappings *m, struct vault *vault,
                                   uint32_t table, const struct hash *digest, struct error *err) {
    struct hash digests[SYNC__MAPPINGS_MAX];
    /* Where there is no more room, the one that has been there for longest makes it. */
    uint32_t from = m->count == SYNC__MAPPINGS_MAX ? 1 : 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (hash_equal(&m->digests[i], digest))
            return ERROR_NONE;
    for (uint32_t i = from; i < m->count; i++)
        digests[count++] = m->digests[i];
    digests[count++] = *digest;
    return put(vault, table, digests, count, err);
}

enum error_code sync__mappings_passed(const struct sync__mappings *m, struct vault *vault,
                                      uint32_t table, const struct hash *digest,
                                      struct error *err) {
    struct hash digests[SYNC__MAPPINGS_MAX];
    uint32_t count = 0;
    bool gone = false;
    for (uint32_t i = 0; i < m->count; i++) {
        if (hash_equal(&m->digests[i], digest))
            continue;
        gone = gone || !m->stays[i];
        if (m->stays[i])
            digests[count++] = m->digests[i];
    }
    if (!gone)
        return ERROR_NONE; /* as sync__mappings_use left it */
    digests[count++] = *digest;
    return put(vault, table, digests, count, err);
}
