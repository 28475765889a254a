#include "gateway/worker/earlier.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum {
    EARLIER_BYTES_MAX = 16 << 20,
    CELL_HEAD_BYTES = 1 + 4, /* of a preimage: docs/formats.md, "Raw preimage" */
    ADDRESS_AT = 1 + 4,
    CELL_NONE = 2, /* in the place of NULL or not: the value is not there to be compared */
};

/* The columns of one earlier mapping, as places among the selected ones. */
struct list {
    bool readable;
    uint32_t count;
    uint32_t *at;
};

struct earlier {
    const struct host_table *table;
    struct arena *arena;
    const char **columns;
    uint32_t count;
    struct list lists[WORKER_EARLIER_MAX];
    size_t list_count;
    struct bytes *cells; /* of one row, in the order of columns */
    struct buffer preimage;
    struct sha256 *sha256;
};

static enum error_code no_memory(const struct host_table *t, struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "table %s: no memory for the columns of earlier mappings",
                     t->mapped->table);
}

/* --- making it --- */

static void json_done(json_t **json) {
    json_decref(*json);
}

/* The place of a column among the selected ones, which it joins where it is none of them but the
 * source has it. */
static bool place_of(struct earlier *e, const char *name, const struct renkei_column *source,
                     uint32_t source_count, uint32_t *ret_at) {
    uint32_t at = 0;
    while (at < e->count && strcmp(e->columns[at], name) != 0)
        at++;
    *ret_at = at;
    if (at < e->count)
        return true;
    uint32_t i = 0;
    while (i < source_count && strcmp(source[i].name, name) != 0)
        i++;
    if (i == source_count || e->count == RENKEI_COLUMNS_MAX)
        return false;
    char *copy = arena_text(e->arena, name);
    if (copy == NULL)
        return false;
    e->columns[e->count++] = copy;
    return true;
}

/* A column's name as the source has it; false: the description makes no sense. */
static bool read_name(const json_t *column, char ret_name[RENKEI_NAME_BYTES_MAX + 1]) {
    const char *hex = json_string_value(json_object_get(column, "raw_name"));
    size_t len = hex != NULL ? strlen(hex) : 0;
    if (len == 0 || len % 2 != 0 || len / 2 > RENKEI_NAME_BYTES_MAX ||
        !text_unhex(hex, len / 2, (uint8_t *)ret_name))
        return false;
    ret_name[len / 2] = '\0';
    return true;
}

static void read_list(struct earlier *e, struct bytes description,
                      const struct renkei_column *source, uint32_t source_count,
                      struct list *list) {
    __attribute__((cleanup(json_done))) json_t *root =
        json_loadb((const char *)description.data, description.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *columns = json_object_get(root, "columns");
    size_t count = json_array_size(columns);
    if (count == 0 || count > RENKEI_COLUMNS_MAX)
        return;
    list->at = arena_alloc(e->arena, count * sizeof *list->at);
    list->readable = list->at != NULL;
    for (size_t i = 0; list->readable && i < count; i++) {
        char name[RENKEI_NAME_BYTES_MAX + 1];
        list->readable = read_name(json_array_get(columns, i), name) &&
                         place_of(e, name, source, source_count, &list->at[i]);
    }
    list->count = (uint32_t)count;
}

/* Some columns may not be readable any more: who stops reading one takes the right away, too. That
 * is asked before the pull, which must not fail of it. */
static enum error_code try_columns(struct earlier *e, struct host *h, struct error *err) {
    const struct host_table *t = e->table;
    struct renkei_fault fault = {0};
    struct renkei_cursor *cursor = NULL;
    struct renkei_batch batch;
    struct renkei_query q = {
        .schema = t->mapped->schema,
        .table = t->mapped->table,
        .columns = e->columns + t->column_count,
        .column_count = e->count - t->column_count,
        .key_columns = t->mapped->keys,
        .key_column_count = (uint32_t)t->mapped->key_count,
        .rows_max = 1,
    };
    if (q.column_count == 0)
        return ERROR_NONE;
    enum renkei_status status = h->connector->query(h->session, &q, &cursor, &fault);
    if (status == RENKEI_OK) {
        status = h->connector->next(cursor, &batch, &fault);
        h->connector->finish(cursor);
    }
    if (status == RENKEI_OK || status == RENKEI_END)
        return ERROR_NONE;
    if (status != RENKEI_QUERY && status != RENKEI_NO_COLUMN && status != RENKEI_UNSUPPORTED)
        return host_fault(h, &fault, err);
    for (size_t i = 0; i < e->list_count; i++)
        for (uint32_t c = 0; e->lists[i].readable && c < e->lists[i].count; c++)
            e->lists[i].readable = e->lists[i].at[c] < t->column_count;
    e->count = t->column_count;
    return ERROR_NONE;
}

static enum error_code fill(struct earlier *e, struct host *h, const struct bytes *descriptions,
                            size_t count, struct error *err) {
    const struct host_table *t = e->table;
    struct renkei_fault fault = {0};
    const struct renkei_column *source = NULL;
    uint32_t source_count = 0;
    buffer_init(&e->preimage, RENKEI_BATCH_BYTES_MAX);
    e->sha256 = sha256_new();
    e->arena = arena_new(EARLIER_BYTES_MAX);
    if (e->arena != NULL) {
        e->columns = arena_alloc(e->arena, RENKEI_COLUMNS_MAX * sizeof *e->columns);
        e->cells = arena_alloc(e->arena, RENKEI_COLUMNS_MAX * sizeof *e->cells);
    }
    if (e->arena == NULL || e->columns == NULL || e->cells == NULL)
        return no_memory(t, err);
    if (h->connector->columns(h->session, t->mapped->schema, t->mapped->table, &source,
                              &source_count, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    for (uint32_t i = 0; i < t->column_count; i++)
        e->columns[i] = t->columns[i];
    e->count = t->column_count;
    e->list_count = count;
    for (size_t i = 0; i < count; i++)
        read_list(e, descriptions[i], source, source_count, &e->lists[i]);
    return try_columns(e, h, err);
}

enum error_code earlier_new(struct host *h, const struct host_table *t,
                            const struct bytes *descriptions, size_t count,
                            struct earlier **ret_earlier, struct error *err) {
    struct earlier *e = calloc(1, sizeof *e);
    if (e == NULL)
        return no_memory(t, err);
    e->table = t;
    enum error_code code = fill(e, h, descriptions, count, err);
    if (code == ERROR_NONE)
        *ret_earlier = e;
    else
        earlier_free(e);
    return code;
}

void earlier_free(struct earlier *e) {
    if (e == NULL)
        return;
    buffer_done(&e->preimage);
    sha256_free(e->sha256);
    arena_free(e->arena);
    free(e);
}

/* --- using it --- */

const char *const *earlier_columns(const struct earlier *e, uint32_t *ret_count) {
    *ret_count = e->count;
    return e->columns;
}

void earlier_keep(const struct earlier *e, const struct renkei_batch *batch, uint32_t row,
                  struct buffer *data) {
    for (uint32_t i = e->table->column_count; i < e->count; i++) {
        const struct renkei_batch_column *c = &batch->columns[i];
        bool none = c->length[row] == RENKEI_TOO_LONG, null = c->length[row] == RENKEI_NULL;
        uint32_t len = none || null ? 0 : c->length[row];
        uint8_t head[CELL_HEAD_BYTES];
        head[0] = (uint8_t)(none ? CELL_NONE : null);
        wire_store_u32(head + 1, len);
        buffer_append(data, head, sizeof head);
        if (len > 0)
            buffer_append(data, c->data + c->offset[row], len);
    }
}

/* Cells, one behind the other. They are our own process's: what does not fit is memory gone wrong,
 * and then the row is not called the same. */
static bool read_cells(struct bytes bytes, struct bytes *cells, uint32_t count) {
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (bytes.len - at < CELL_HEAD_BYTES)
            return false;
        size_t len = CELL_HEAD_BYTES + (size_t)wire_load_u32(bytes.data + at + 1);
        if (bytes.len - at < len)
            return false;
        cells[i] = bytes_of(bytes.data + at, len);
        at += len;
    }
    return at == bytes.len;
}

bool earlier_same(struct earlier *e, uint32_t number, struct bytes raw, struct bytes kept,
                  const uint8_t r[WORKER_SALT_BYTES], const struct hash *anchored) {
    if (number == 0 || number > e->list_count || !e->lists[number - 1].readable ||
        raw.len < ADDRESS_AT)
        return false;
    const struct list *list = &e->lists[number - 1];
    uint32_t own = e->table->column_count;
    size_t head = ADDRESS_AT + (size_t)wire_load_u32(raw.data + 1);
    if (raw.len < head + 4 ||
        !read_cells(bytes_of(raw.data + head + 4, raw.len - head - 4), e->cells, own) ||
        !read_cells(kept, e->cells + own, e->count - own))
        return false;
    buffer_clear(&e->preimage);
    buffer_append(&e->preimage, raw.data, head);
    wire_u32(&e->preimage, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        buffer_append(&e->preimage, e->cells[list->at[i]].data, e->cells[list->at[i]].len);
    if (e->preimage.failed)
        return false;
    struct hash hash = digest_raw(e->sha256, r, buffer_bytes(&e->preimage));
    return hash_equal(&hash, anchored);
}
