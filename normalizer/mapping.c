#include "normalizer/mapping.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/config.h"
#include "base/file.h"
#include "normalizer/charset.h"

enum {
    FIELDS_MAX = RENKEI_COLUMNS_MAX,
    OPTIONS_MAX = 64,
    NAME_MAX_BYTES = RENKEI_NAME_BYTES_MAX - 1,
};

static const char *const policy_words[] = {"quarantine", "replace", NULL};
static const char *const era_words[] = {"none", "strict", "flag", "reject", NULL};
static const char *const type_words[] = {"string", "number", "date", "bool", NULL};
static const char *const category_words[] = {"EMR01", "EMR02", "EMR03", "EMR04", "EMR05", "EMR06",
                                             "EMR07", "EMR08", "EMR09", "EMR10", "EMR11", "EMR12",
                                             "EMR13", "EMR14", "EMR15", "EMR16", NULL};

#define NAME_KEY(key, needed)                                                                      \
    { .name = key, .kind = CONFIG_TEXT, .required = needed, .min = 1, .max = NAME_MAX_BYTES }

static const struct config_key field_keys[] = {
    NAME_KEY("column", true),
    NAME_KEY("name", false),
    {.name = "type", .kind = CONFIG_ENUM, .words = type_words},
    {.name = "charset", .kind = CONFIG_ENUM, .words = charset_words},
    {.name = "era", .kind = CONFIG_ENUM, .words = era_words, .default_text = "none"},
    {0}};

static const struct config_key table_keys[] = {
    NAME_KEY("table", true),
    NAME_KEY("schema", false),
    {.name = "category", .kind = CONFIG_ENUM, .words = category_words, .required = true},
    {.name = "key",
     .kind = CONFIG_TEXTS,
     .required = true,
     .min = 1,
     .max = RENKEI_KEY_COLUMNS_MAX},
    NAME_KEY("patient", false),
    NAME_KEY("date", false),
    NAME_KEY("watermark", false),
    {.name = "personal", .kind = CONFIG_TEXTS, .max = FIELDS_MAX},
    {.name = "immutable", .kind = CONFIG_BOOL},
    {.name = "fields", .kind = CONFIG_MAPS, .keys = field_keys, .min = 1, .max = FIELDS_MAX},
    {0}};

static const struct config_key keys[] = {
    {.name = "source", .kind = CONFIG_TEXT, .required = true},
    {.name = "connector", .kind = CONFIG_TEXT, .required = true, .min = 1, .max = 63},
    {.name = "connection", .kind = CONFIG_PAIRS, .max = OPTIONS_MAX},
    {.name = "environment", .kind = CONFIG_PAIRS, .max = OPTIONS_MAX},
    {.name = "charset", .kind = CONFIG_ENUM, .words = charset_words},
    {.name = "invalid_text",
     .kind = CONFIG_ENUM,
     .words = policy_words,
     .default_text = "quarantine"},
    {.name = "gaiji", .kind = CONFIG_PATH},
    {.name = "time_zone", .kind = CONFIG_TEXT},
    {.name = "tables",
     .kind = CONFIG_MAPS,
     .keys = table_keys,
     .required = true,
     .min = 1,
     .max = MAPPING_TABLES_MAX},
    {0}};

/* The public struct stands first, so that mapping_free finds the rest. */
struct mapping_owner {
    struct mapping mapping;
    struct config *config; /* owns every text */
    struct arena *arena;   /* owns the arrays */
    struct buffer text;
};

const char *value_type_name(enum value_type type) {
    static const char *const names[] = {"empty", "string", "number", "date", "bool"};
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

bool mapping_name_valid(const char *name) {
    size_t len = strlen(name);
    if (len == 0 || len >= MAPPING_NAME_BYTES_MAX || name[0] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static enum error_code no_memory(const struct mapping_owner *owner, struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "%s: out of memory", owner->mapping.path);
}

static void *array(struct mapping_owner *owner, size_t count, size_t size) {
    return arena_alloc(owner->arena, (count + 1) * size);
}

static enum renkei_charset charset_at(const struct config_map *map) {
    int word = config_enum(map, "charset");
    return word < 0 ? RENKEI_CHARSET_UNKNOWN : charset_of_word(word);
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Options whose name ends in _file are paths beside the mapping, like every other path in it. */
static const char *option_value(struct mapping_owner *owner, const struct config_pair *pair) {
    const char *path = owner->mapping.path;
    const char *slash = strrchr(path, '/');
    if (!ends_with(pair->name, "_file") || pair->value[0] == '/' || slash == NULL)
        return pair->value;
    return arena_format(owner->arena, "%.*s/%s", (int)(slash - path), path, pair->value);
}

static enum error_code read_options(struct mapping_owner *owner, const struct config_map *root,
                                    struct error *err) {
    size_t count = config_count(root, "connection");
    struct renkei_option *options = array(owner, count, sizeof *options);
    unsigned *lines = array(owner, count, sizeof *lines);
    if (options == NULL || lines == NULL)
        return no_memory(owner, err);
    for (size_t i = 0; i < count; i++) {
        const struct config_pair *pair = config_pair(root, "connection", i);
        options[i] = (struct renkei_option){pair->name, option_value(owner, pair)};
        if (options[i].value == NULL)
            return no_memory(owner, err);
        lines[i] = pair->line;
    }
    owner->mapping.options = options;
    owner->mapping.option_lines = lines;
    owner->mapping.option_count = count;
    return ERROR_NONE;
}

static enum error_code read_environment(struct mapping_owner *owner, const struct config_map *root,
                                        struct error *err) {
    size_t count = config_count(root, "environment");
    struct renkei_option *variables = array(owner, count, sizeof *variables);
    if (variables == NULL)
        return no_memory(owner, err);
    for (size_t i = 0; i < count; i++) {
        const struct config_pair *pair = config_pair(root, "environment", i);
        bool good = !isdigit((unsigned char)pair->name[0]);
        for (const char *at = pair->name; *at != '\0'; at++)
            good = good && (isalnum((unsigned char)*at) || *at == '_');
        if (!good)
            return error_set(err, ERROR_CONFIG, "%s:%u:%u: '%s' is not a variable's name",
                             owner->mapping.path, pair->line, pair->column, pair->name);
        variables[i] = (struct renkei_option){pair->name, pair->value};
    }
    owner->mapping.environment = variables;
    owner->mapping.environment_count = count;
    return ERROR_NONE;
}

static enum error_code read_names(struct mapping_owner *owner, const struct config_map *map,
                                  const char *key, const char *const **ret_names, size_t *ret_count,
                                  struct error *err) {
    size_t count = config_count(map, key);
    const char **names = array(owner, count, sizeof *names);
    if (names == NULL)
        return no_memory(owner, err);
    for (size_t i = 0; i < count; i++) {
        names[i] = config_text_at(map, key, i);
        if (names[i][0] == '\0' || strlen(names[i]) > NAME_MAX_BYTES)
            return config_error(map, key, err, "'%s': a name has 1 to %d bytes", key,
                                NAME_MAX_BYTES);
        for (size_t before = 0; before < i; before++)
            if (strcmp(names[before], names[i]) == 0)
                return config_error(map, key, err, "'%s' names '%s' twice", key, names[i]);
    }
    *ret_names = names;
    *ret_count = count;
    return ERROR_NONE;
}

static enum error_code read_field(const struct config_map *map, struct mapping_field *ret_field,
                                  struct error *err) {
    static const enum value_type types[] = {VALUE_STRING, VALUE_NUMBER, VALUE_DATE, VALUE_BOOL};
    const char *column = config_text(map, "column");
    const char *name = config_text(map, "name");
    int type = config_enum(map, "type");
    struct mapping_field field = {
        .column = column,
        .name = name != NULL ? name : column,
        .typed = type >= 0,
        .type = type >= 0 ? types[type] : VALUE_EMPTY,
        .charset = charset_at(map),
        .era = (enum mapping_era)config_enum(map, "era"),
        .line = config_line(map, NULL),
    };
    if (field.era != MAPPING_ERA_NONE && field.type != VALUE_DATE)
        return config_error(map, "era", err, "'era' is for fields with 'type: date'");
    *ret_field = field;
    return ERROR_NONE;
}

static struct mapping_field *field_of(struct mapping_field *fields, size_t count,
                                      const char *column) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].column, column) == 0)
            return &fields[i];
    return NULL;
}

static enum error_code read_fields(struct mapping_owner *owner, const struct config_map *map,
                                   struct mapping_table *table, struct error *err) {
    size_t count = config_count(map, "fields");
    struct mapping_field *fields = array(owner, count, sizeof *fields);
    if (fields == NULL)
        return no_memory(owner, err);
    for (size_t i = 0; i < count; i++) {
        const struct config_map *item = config_item(map, "fields", i);
        TRY(read_field(item, &fields[i], err));
        fields[i].personal = table->personal_all;
        for (size_t before = 0; before < i; before++) {
            if (strcmp(fields[before].name, fields[i].name) == 0)
                return config_error(item, "name", err, "the field '%s' is there twice",
                                    fields[i].name);
        }
    }
    for (size_t i = 0; i < table->personal_count && count > 0; i++) {
        struct mapping_field *field = field_of(fields, count, table->personal[i]);
        if (field == NULL)
            return config_error(map, "personal", err, "'personal' names '%s', no field's column",
                                table->personal[i]);
        field->personal = true;
    }
    table->fields = fields;
    table->field_count = count;
    table->all_columns = count == 0;
    return ERROR_NONE;
}

static enum error_code read_table(struct mapping_owner *owner, const struct config_map *map,
                                  struct mapping_table *table, struct error *err) {
    const char *schema = config_text(map, "schema");
    *table = (struct mapping_table){
        .table = config_text(map, "table"),
        .schema = schema != NULL ? schema : "",
        .category = config_text(map, "category"),
        .patient = config_text(map, "patient"),
        .date = config_text(map, "date"),
        .watermark = config_text(map, "watermark"),
        .immutable = config_bool(map, "immutable"),
        .line = config_line(map, NULL),
    };
    TRY(read_names(owner, map, "key", &table->keys, &table->key_count, err));
    TRY(read_names(owner, map, "personal", &table->personal, &table->personal_count, err));
    if (table->personal_count == 1 && strcmp(table->personal[0], "all") == 0) {
        table->personal_all = true;
        table->personal_count = 0;
    }
    return read_fields(owner, map, table, err);
}

static enum error_code read_tables(struct mapping_owner *owner, const struct config_map *root,
                                   struct error *err) {
    size_t count = config_count(root, "tables");
    struct mapping_table *tables = array(owner, count, sizeof *tables);
    if (tables == NULL)
        return no_memory(owner, err);
    owner->mapping.tables = tables;
    for (size_t i = 0; i < count; i++) {
        const struct config_map *map = config_item(root, "tables", i);
        /* Addresses have no schema: two tables of one name would share theirs. */
        if (mapping_find(&owner->mapping, config_text(map, "table")) != NULL)
            return config_error(map, "table", err, "the table '%s' is there twice",
                                config_text(map, "table"));
        TRY(read_table(owner, map, &tables[i], err));
        owner->mapping.table_count = i + 1;
    }
    return ERROR_NONE;
}

/* "+09:00": no zone's rules are needed to say which day an instant is in Japan. */
static bool read_offset(const char *text, int *ret_minutes) {
    int hours = 0;
    int minutes = 0;
    int used = 0;
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-'))
        return false;
    if (sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5)
        return false;
    if (hours < 0 || hours > 15 || minutes < 0 || minutes > 59)
        return false;
    *ret_minutes = (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static enum error_code read_root(struct mapping_owner *owner, const char *path, struct error *err) {
    const struct config_map *root = config_root(owner->config);
    owner->mapping.path = arena_text(owner->arena, path);
    if (owner->mapping.path == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: out of memory", path);
    owner->mapping.source = config_text(root, "source");
    if (!mapping_name_valid(owner->mapping.source)) {
        enum error_code code =
            config_error(root, "source", err, "'source': '%.64s' cannot stand in an address",
                         owner->mapping.source);
        error_hint(err, "1 to %d of a-z, 0-9 and -, not - first", MAPPING_NAME_BYTES_MAX - 1);
        return code;
    }
    owner->mapping.connector = config_text(root, "connector");
    owner->mapping.charset = charset_at(root);
    owner->mapping.invalid_text = (enum mapping_policy)config_enum(root, "invalid_text");
    owner->mapping.has_time_zone = config_has(root, "time_zone");
    if (owner->mapping.has_time_zone &&
        !read_offset(config_text(root, "time_zone"), &owner->mapping.offset_minutes))
        return config_error(root, "time_zone", err, "'time_zone': expected an offset, \"+09:00\"");
    owner->mapping.gaiji = config_text(root, "gaiji");
    owner->mapping.text = buffer_bytes(&owner->text);
    TRY(read_options(owner, root, err));
    TRY(read_environment(owner, root, err));
    return read_tables(owner, root, err);
}

static struct mapping_owner *new_owner(struct bytes text) {
    struct mapping_owner *owner = calloc(1, sizeof *owner);
    if (owner == NULL)
        return NULL;
    buffer_init(&owner->text, MAPPING_BYTES_MAX);
    buffer_append(&owner->text, text.data, text.len);
    owner->arena = arena_new(CONFIG_MEMORY_BYTES_MAX);
    if (owner->arena == NULL || owner->text.failed) {
        mapping_free(&owner->mapping);
        return NULL;
    }
    return owner;
}

enum error_code mapping_parse(const char *path, struct bytes text, struct mapping **ret_mapping,
                              struct error *err) {
    if (text.len > MAPPING_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: larger than %d bytes", path, MAPPING_BYTES_MAX);
    struct mapping_owner *owner = new_owner(text);
    if (owner == NULL)
        return error_set(err, ERROR_NO_MEMORY, "%s: out of memory", path);
    enum error_code code = config_parse(path, text, keys, &owner->config, err);
    if (code == ERROR_NONE)
        code = read_root(owner, path, err);
    if (code != ERROR_NONE) {
        mapping_free(&owner->mapping);
        return code;
    }
    *ret_mapping = &owner->mapping;
    return ERROR_NONE;
}

enum error_code mapping_load(const char *path, struct mapping **ret_mapping, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, MAPPING_BYTES_MAX);
    TRY(file_read(path, &text, MAPPING_BYTES_MAX, err));
    return mapping_parse(path, buffer_bytes(&text), ret_mapping, err);
}

void mapping_free(struct mapping *mapping) {
    if (mapping == NULL)
        return;
    struct mapping_owner *owner = (struct mapping_owner *)mapping;
    config_free(owner->config);
    arena_free(owner->arena);
    buffer_done(&owner->text);
    free(owner);
}

const struct mapping_table *mapping_find(const struct mapping *mapping, const char *table) {
    for (size_t i = 0; i < mapping->table_count; i++)
        if (strcmp(mapping->tables[i].table, table) == 0)
            return &mapping->tables[i];
    return NULL;
}
