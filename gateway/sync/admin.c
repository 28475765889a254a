/*
 * Quarantine and enrolments: the vault's tables, in the words of this room.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/sync/sync_internal.h"

_Static_assert((int)SYNC_PATIENT_BYTES_MAX == (int)VAULT_PATIENT_BYTES_MAX, "one limit");
_Static_assert((int)SYNC_JWK_BYTES_MAX == (int)VAULT_JWK_BYTES_MAX, "one limit");
_Static_assert((int)SYNC_THUMBPRINT_BYTES_MAX == (int)VAULT_THUMBPRINT_BYTES_MAX, "one limit");

/* NULL: the table is not configured any more. */
static const struct sync__source *source_of_table(const struct sync *sync, uint32_t table,
                                                  size_t *ret_index) {
    for (size_t i = 0; i < sync->source_count; i++)
        for (size_t t = 0; t < sync->sources[i].mapping->table_count; t++)
            if (sync->sources[i].table_ids[t] == table) {
                *ret_index = t;
                return &sync->sources[i];
            }
    return NULL;
}

static enum error_code is_anchored(struct sync *sync, const struct vault_quarantined *row,
                                   bool *ret_anchored, struct error *err) {
    struct vault_view *view;
    struct vault_record record;
    bool found = false;
    TRY(vault_view_open(sync->vault, &view, err));
    enum error_code code = row->key.len == 0 ? ERROR_NONE
                                             : vault_record_find(view, row->table, row->key,
                                                                 &found, &record, err);
    vault_view_close(view);
    if (code == ERROR_NONE)
        *ret_anchored = found && record.latest.version > 0;
    return code;
}

enum error_code sync_quarantine_list(struct sync *sync, const char *source, uint64_t after,
                                     size_t limit, struct arena *arena,
                                     const struct sync_quarantined **ret_rows, size_t *ret_count,
                                     struct error *err) {
    size_t room = limit == 0 || limit > SYNC_LIST_MAX ? SYNC_LIST_MAX : limit;
    struct sync_quarantined *rows = arena_alloc(arena, room * sizeof *rows);
    if (rows == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the quarantine's list: no memory");
    size_t count = 0;
    for (bool more = true; more && count < room;) {
        struct vault_quarantined *found;
        size_t got = 0;
        TRY(vault_quarantine_list(sync->vault, 0, after, room, arena, &found, &got, err));
        more = got == room;
        for (size_t i = 0; i < got && count < room; i++) {
            after = found[i].id;
            size_t t;
            const struct sync__source *s = source_of_table(sync, found[i].table, &t);
            if (s == NULL || (source != NULL && strcmp(s->mapping->source, source) != 0))
                continue;
            struct sync_quarantined *row = &rows[count++];
            *row = (struct sync_quarantined){
                .id = found[i].id,
                .source = s->mapping->source,
                .table = s->mapping->tables[t].table,
                .key = arena_format(arena, "%.*s", (int)found[i].key.len,
                                    (const char *)found[i].key.data),
                .column = found[i].column,
                .reason = found[i].reason,
                .code = found[i].code,
                .first_ms = found[i].first_ms,
                .last_ms = found[i].last_ms};
            if (row->key == NULL)
                return error_set(err, ERROR_NO_MEMORY, "the quarantine's list: no memory");
            TRY(is_anchored(sync, &found[i], &row->anchored, err));
        }
    }
    *ret_rows = rows;
    *ret_count = count;
    return ERROR_NONE;
}

enum error_code sync_quarantine_drop(struct sync *sync, uint64_t id, struct error *err) {
    return vault_quarantine_drop(sync->vault, id, err);
}

enum error_code sync_enrol(struct sync *sync, const char *thumbprint, const char *patient,
                           const char *public_jwk, struct error *err) {
    struct vault_enrolment enrolment = {.thumbprint = thumbprint,
                                        .patient = patient,
                                        .public_jwk = public_jwk,
                                        .enrolled_ms = clock_wall_ms()};
    return vault_enrolment_put(sync->vault, &enrolment, err);
}

static struct sync_enrolment as_ours(const struct vault_enrolment *e) {
    return (struct sync_enrolment){.thumbprint = e->thumbprint,
                                   .patient = e->patient,
                                   .public_jwk = e->public_jwk,
                                   .enrolled_ms = e->enrolled_ms};
}

enum error_code sync_enrolment_find(struct sync *sync, const char *thumbprint,
                                    struct arena *arena, struct sync_enrolment *ret_enrolment,
                                    struct error *err) {
    struct vault_enrolment found;
    TRY(vault_enrolment_read(sync->vault, thumbprint, arena, &found, err));
    *ret_enrolment = as_ours(&found);
    return ERROR_NONE;
}

enum error_code sync_enrolment_remove(struct sync *sync, const char *thumbprint,
                                      struct error *err) {
    return vault_enrolment_remove(sync->vault, thumbprint, err);
}

enum error_code sync_enrolment_list(struct sync *sync, const char *after, size_t limit,
                                    struct arena *arena, const struct sync_enrolment **ret_list,
                                    size_t *ret_count, struct error *err) {
    size_t room = limit == 0 || limit > SYNC_LIST_MAX ? SYNC_LIST_MAX : limit;
    struct vault_enrolment *found;
    size_t count = 0;
    TRY(vault_enrolment_list(sync->vault, after, room, arena, &found, &count, err));
    struct sync_enrolment *list = arena_alloc(arena, (count + 1) * sizeof *list);
    if (list == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the enrolments: no memory");
    for (size_t i = 0; i < count; i++)
        list[i] = as_ours(&found[i]);
    *ret_list = list;
    *ret_count = count;
    return ERROR_NONE;
}
