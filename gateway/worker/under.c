#include "gateway/worker/under.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "normalizer/charset.h"

enum { UNDER_BYTES_MAX = 16 << 20, TABLE_BYTES = RENKEI_NAME_BYTES_MAX + 1 };

static void json_done(json_t **json) {
    json_decref(*json);
}

/* --- reading a description ------------------------------------------------------------------- */

struct reading {
    const struct mapping *now;
    const json_t *root;
    const json_t *columns;
    struct arena *arena;
    struct mapping *mapping;
    struct mapping_table *table;
};

static enum error_code makes_no_sense(const struct reading *d, const char *what,
                                      struct error *err) {
    return error_set(err, ERROR_MAPPING, "table %s: the earlier mapping's description: %s",
                     d->table->table, what);
}

/* The arena's copy; NULL where the member is null, no text, or there is no memory. */
static const char *text_of(const struct reading *d, const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? arena_text(d->arena, text) : NULL;
}

static enum renkei_charset charset_of(const json_t *column) {
    const char *name = json_string_value(json_object_get(column, "charset"));
    for (int id = RENKEI_CHARSET_UNKNOWN; name != NULL && id <= RENKEI_CHARSET_LATIN1; id++)
        if (strcmp(charset_name((enum renkei_charset)id), name) == 0)
            return (enum renkei_charset)id;
    return RENKEI_CHARSET_UNKNOWN;
}

static bool read_type(const json_t *field, enum value_type *ret_type) {
    const char *name = json_string_value(json_object_get(field, "type"));
    for (int type = VALUE_EMPTY; name != NULL && type <= VALUE_BOOL; type++) {
        if (strcmp(value_type_name((enum value_type)type), name) == 0) {
            *ret_type = (enum value_type)type;
            return true;
        }
    }
    return false;
}

static bool read_era(const json_t *field, enum mapping_era *ret_era) {
    static const char *const names[] = {"none", "strict", "flag", "reject"};
    const char *name = json_string_value(json_object_get(field, "era"));
    for (int era = MAPPING_ERA_NONE; name != NULL && era <= MAPPING_ERA_REJECT; era++) {
        if (strcmp(names[era], name) == 0) {
            *ret_era = (enum mapping_era)era;
            return true;
        }
    }
    return false;
}

static bool read_field(const struct reading *d, const json_t *field,
                       struct mapping_field *ret_field) {
    const json_t *column =
        json_array_get(d->columns, (size_t)json_integer_value(json_object_get(field, "column")));
    *ret_field = (struct mapping_field){.column = text_of(d, column, "name"),
                                        .name = text_of(d, field, "name"),
                                        .typed = true,
                                        .charset = charset_of(column),
                                        .personal =
                                            json_is_true(json_object_get(field, "personal"))};
    return ret_field->column != NULL && ret_field->name != NULL &&
           read_type(field, &ret_field->type) && read_era(field, &ret_field->era);
}

/* A table's columns are selected in the order in which its fields name them: so these stand in the
 * order of their columns, not in the document's. */
static enum error_code read_fields(struct reading *d, struct error *err) {
    const json_t *list = json_object_get(d->root, "fields");
    size_t count = json_array_size(list), taken = 0;
    if (count > RENKEI_COLUMNS_MAX)
        return makes_no_sense(d, "more fields than a table has columns", err);
    struct mapping_field *fields = arena_alloc(d->arena, (count + 1) * sizeof *fields);
    if (fields == NULL)
        return makes_no_sense(d, "no memory", err);
    for (size_t column = 0; column < json_array_size(d->columns); column++)
        for (size_t i = 0; i < count; i++) {
            const json_t *field = json_array_get(list, i);
            if ((size_t)json_integer_value(json_object_get(field, "column")) != column)
                continue;
            if (!read_field(d, field, &fields[taken++]))
                return makes_no_sense(d, "a field", err);
        }
    d->table->fields = fields;
    d->table->field_count = taken;
    return ERROR_NONE;
}

/* The key's columns are the first ones. That the others are read, whether a field shows them or not,
 * is said as a mapping says it. */
static enum error_code read_columns(struct reading *d, struct error *err) {
    json_int_t keys = json_integer_value(json_object_get(d->root, "keys"));
    size_t count = json_array_size(d->columns);
    if (keys < 1 || (size_t)keys > count || count > RENKEI_COLUMNS_MAX)
        return makes_no_sense(d, "its columns", err);
    const char **names = arena_alloc(d->arena, count * sizeof *names);
    for (size_t i = 0; names != NULL && i < count; i++) {
        names[i] = text_of(d, json_array_get(d->columns, i), "name");
        if (names[i] == NULL)
            return makes_no_sense(d, "a column", err);
    }
    if (names == NULL)
        return makes_no_sense(d, "no memory", err);
    d->table->keys = names;
    d->table->key_count = (size_t)keys;
    d->table->personal = names;
    d->table->personal_count = count;
    return ERROR_NONE;
}

/* The charset that stood for columns whose own the source does not declare. */
static enum renkei_charset read_default(const struct reading *d,
                                        const struct renkei_column *columns, uint32_t count) {
    for (size_t i = 0; i < json_array_size(d->columns); i++) {
        const json_t *column = json_array_get(d->columns, i);
        const char *name = json_string_value(json_object_get(column, "name"));
        for (uint32_t c = 0; name != NULL && c < count; c++)
            if (strcmp(columns[c].name, name) == 0 &&
                columns[c].charset == RENKEI_CHARSET_UNKNOWN &&
                charset_of(column) != RENKEI_CHARSET_UNKNOWN)
                return charset_of(column);
    }
    return d->now->charset;
}

static void read_policies(struct reading *d) {
    const char *invalid = json_string_value(json_object_get(d->root, "invalid_text"));
    d->mapping->invalid_text = invalid != NULL && strcmp(invalid, "replace") == 0
                                   ? MAPPING_REPLACE
                                   : MAPPING_QUARANTINE;
    d->mapping->has_time_zone = true; /* what it was is known; only a new mapping must say it */
    d->mapping->offset_minutes =
        (int)json_integer_value(json_object_get(d->root, "offset_minutes"));
    if (json_is_null(json_object_get(d->root, "gaiji")))
        d->mapping->gaiji = NULL;
}

enum error_code under_read(const struct mapping *now, const struct mapping_table *table,
                           struct bytes description, const struct renkei_column *columns,
                           uint32_t column_count, struct arena *arena,
                           struct mapping *ret_mapping, struct mapping_table *ret_table,
                           struct error *err) {
    __attribute__((cleanup(json_done))) json_t *root = json_loadb(
        (const char *)description.data, description.len, JSON_REJECT_DUPLICATES, NULL);
    struct reading d = {.now = now,
                        .root = root,
                        .columns = json_object_get(root, "columns"),
                        .arena = arena,
                        .mapping = ret_mapping,
                        .table = ret_table};
    *ret_mapping = *now;
    *ret_table = (struct mapping_table){.table = table->table,
                                        .schema = text_of(&d, root, "schema"),
                                        .category = text_of(&d, root, "category"),
                                        .patient = text_of(&d, root, "patient"),
                                        .date = text_of(&d, root, "date"),
                                        .line = table->line};
    if (ret_table->category == NULL)
        return makes_no_sense(&d, "no JSON, or without a category", err);
    if (strcmp(ret_table->schema != NULL ? ret_table->schema : "",
               table->schema != NULL ? table->schema : "") != 0)
        return makes_no_sense(&d, "of another schema than the table is read from now", err);
    TRY(read_columns(&d, err));
    TRY(read_fields(&d, err));
    ret_mapping->charset = read_default(&d, columns, column_count);
    read_policies(&d);
    return ERROR_NONE;
}

/* --- fetching -------------------------------------------------------------------------------- */

/* A table of no mapping in force, for one request. */
struct under {
    struct mapping mapping;
    struct mapping_table mapped;
    struct host_table table;
};

static enum error_code check_same(const struct under *u, struct bytes description,
                                  struct error *err) {
    if (bytes_equal(normalizer_mapping_description(u->table.normalizer), description))
        return ERROR_NONE;
    error_set(err, ERROR_MAPPING, "table %s cannot be read any more as the earlier mapping read it",
              u->mapped.table);
    error_hint(err, "its columns, the session's settings, the gaiji file or the converters have "
                    "changed: the next sync anchors it anew");
    return ERROR_MAPPING;
}

static enum error_code prepare(struct host *h, const char *name, struct bytes description,
                               struct arena *arena, struct under *u, struct error *err) {
    const struct mapping_table *now = mapping_find(h->mapping, name);
    struct renkei_fault fault = {0};
    struct renkei_server server = {0};
    const struct renkei_column *columns = NULL;
    uint32_t count = 0;
    if (now == NULL)
        return error_set(err, ERROR_NOT_FOUND, "mapping %s has no table '%s'", h->mapping->path,
                         name);
    if (h->connector->server(h->session, &server, &fault) != RENKEI_OK ||
        h->connector->columns(h->session, now->schema, name, &columns, &count, &fault) != RENKEI_OK)
        return host_fault(h, &fault, err);
    TRY(under_read(h->mapping, now, description, columns, count, arena, &u->mapping, &u->mapped,
                   err));
    TRY(normalizer_new(&u->mapping, &u->mapped, h->hospital, columns, count, server.settings,
                       &u->table.normalizer, err));
    u->table.mapped = &u->mapped;
    u->table.columns = normalizer_columns(u->table.normalizer, &u->table.column_count);
    u->table.transactional = -1;
    u->table.rows_estimate = -1;
    return check_same(u, description, err);
}

enum error_code host_under(struct host *h, struct wire_reader *r, struct error *err) {
    char name[TABLE_BYTES];
    bool good = host_text(r, name, sizeof name);
    struct bytes description = wire_read_bytes(r, UNDER_BYTES_MAX);
    if (!good || r->failed)
        return host_bad_request(err);
    SCOPED_ARENA struct arena *arena = arena_new(UNDER_BYTES_MAX);
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "table %s: no memory", name);
    struct under u = {.table = {.normalizer = NULL}};
    enum error_code code = prepare(h, name, description, arena, &u, err);
    if (code == ERROR_NONE)
        code = host_fetch_from(h, &u.table, r, err);
    normalizer_free(u.table.normalizer);
    return code;
}
