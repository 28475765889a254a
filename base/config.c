#include "base/config.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/text.h"

enum { FOUND_BYTES_MAX = 40, NEAR_EDITS_MAX = 3, TABLE_KEYS_MAX = 64 };

struct config_value {
    bool present;
    unsigned line;
    unsigned column;
    const char *text;
    int64_t number;
    size_t count;
    struct config_map *map;
    struct config_map **maps;
    const char **texts;
    struct config_pair *pairs;
};

struct config_map {
    const struct config *config;
    const struct config_key *table;
    unsigned line;
    unsigned column;
    struct config_value *values; /* one a key of the table */
};

struct config {
    struct arena *arena;
    const char *path;
    struct config_map *root;
};

struct parser {
    yaml_parser_t yaml;
    struct config *config;
    struct error *err;
    unsigned depth;
};

static void event_done(yaml_event_t *event) {
    yaml_event_delete(event);
}
#define SCOPED_EVENT __attribute__((cleanup(event_done)))

static enum error_code fail_at_va(const struct config *config, unsigned line, unsigned column,
                                  struct error *err, const char *format, va_list args) {
    char text[ERROR_MESSAGE_BYTES_MAX];
    vsnprintf(text, sizeof text, format, args);
    return error_set(err, ERROR_CONFIG, "%s:%u:%u: %s", config->path, line, column, text);
}

static enum error_code fail_at(const struct config *config, unsigned line, unsigned column,
                               struct error *err, const char *format, ...) PRINTF_LIKE(5, 6);

static enum error_code fail_at(const struct config *config, unsigned line, unsigned column,
                               struct error *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    enum error_code code = fail_at_va(config, line, column, err, format, args);
    va_end(args);
    return code;
}

static unsigned line_of(const yaml_event_t *event) {
    return (unsigned)event->start_mark.line + 1;
}

static unsigned column_of(const yaml_event_t *event) {
    return (unsigned)event->start_mark.column + 1;
}

#define FAIL(parser, event, ...)                                                                   \
    fail_at((parser)->config, line_of(event), column_of(event), (parser)->err, __VA_ARGS__)

static enum error_code no_room(struct parser *p) {
    return error_set(p->err, ERROR_LIMIT, "%s: needs more than %d bytes of memory", p->config->path,
                     CONFIG_MEMORY_BYTES_MAX);
}

/* The next event; what no file of ours may use is refused here, for all callers. */
static enum error_code next_event(struct parser *p, yaml_event_t *ret_event) {
    if (!yaml_parser_parse(&p->yaml, ret_event)) {
        const char *problem = p->yaml.problem != NULL ? p->yaml.problem : "cannot be read as YAML";
        if (p->yaml.error == YAML_MEMORY_ERROR)
            return error_set(p->err, ERROR_NO_MEMORY, "%s: out of memory", p->config->path);
        unsigned line = (unsigned)p->yaml.problem_mark.line + 1;
        unsigned column = (unsigned)p->yaml.problem_mark.column + 1;
        if (p->yaml.error == YAML_READER_ERROR)
            return error_set(p->err, ERROR_CONFIG, "%s: byte %zu: %s", p->config->path,
                             p->yaml.problem_offset, problem);
        return fail_at(p->config, line, column, p->err, "%s", problem);
    }
    const yaml_char_t *tag = NULL;
    const yaml_char_t *anchor = NULL;
    if (ret_event->type == YAML_ALIAS_EVENT)
        return FAIL(p, ret_event, "aliases (*name) are not allowed");
    if (ret_event->type == YAML_SCALAR_EVENT) {
        tag = ret_event->data.scalar.tag;
        anchor = ret_event->data.scalar.anchor;
    } else if (ret_event->type == YAML_MAPPING_START_EVENT) {
        tag = ret_event->data.mapping_start.tag;
        anchor = ret_event->data.mapping_start.anchor;
    } else if (ret_event->type == YAML_SEQUENCE_START_EVENT) {
        tag = ret_event->data.sequence_start.tag;
        anchor = ret_event->data.sequence_start.anchor;
    }
    if (tag != NULL)
        return FAIL(p, ret_event, "tags (!name) are not allowed");
    if (anchor != NULL)
        return FAIL(p, ret_event, "anchors (&name) are not allowed");
    return ERROR_NONE;
}

static size_t table_size(const struct config_key *table) {
    size_t count = 0;
    while (table[count].name != NULL)
        count++;
    assert(count <= TABLE_KEYS_MAX);
    return count;
}

const char *config_nearest(const char *word, const char *const *names) {
    const char *nearest = NULL;
    unsigned best = NEAR_EDITS_MAX + 1;
    for (; *names != NULL; names++) {
        unsigned distance = text_distance(word, *names, NEAR_EDITS_MAX);
        if (distance < best && distance < strlen(*names)) {
            best = distance;
            nearest = *names;
        }
    }
    return nearest;
}

static void hint_names(struct error *err, const char *word, const char *const *names,
                       const char *what) {
    const char *nearest = config_nearest(word, names);
    if (nearest != NULL) {
        error_hint(err, "did you mean '%s'?", nearest);
        return;
    }
    char list[ERROR_HINT_BYTES_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; names[i] != NULL && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", names[i]);
    error_hint(err, "%s: %s", what, list);
}

static void hint_keys(struct error *err, const char *word, const struct config_key *table) {
    const char *names[TABLE_KEYS_MAX + 1];
    size_t count = table_size(table);
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].name;
    names[count] = NULL;
    hint_names(err, word, names, "keys here");
}

/* The scalar's text in the arena. `null`, `~` and nothing at all are not texts. */
static enum error_code scalar_text(struct parser *p, const yaml_event_t *event, const char *key,
                                   const char **ret_text) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && (length == 0 || strcmp(value, "~") == 0 || strcmp(value, "null") == 0)) {
        enum error_code code = FAIL(p, event, "'%s' has no value", key);
        error_hint(p->err, "leave the key out, or write \"\" for an empty text");
        return code;
    }
    if (memchr(value, '\0', length) != NULL)
        return FAIL(p, event, "'%s' has a NUL in it", key);
    if (length > CONFIG_TEXT_BYTES_MAX)
        return FAIL(p, event, "'%s' is longer than %d bytes", key, CONFIG_TEXT_BYTES_MAX);
    const char *text = arena_text(p->config->arena, value);
    if (text == NULL)
        return no_room(p);
    *ret_text = text;
    return ERROR_NONE;
}

static bool in_limits(const struct config_key *key, int64_t value) {
    return value >= key->min && (key->max == 0 || value <= key->max);
}

/* "8443", "-1"; nothing else. */
static bool read_number(const char *text, int64_t *ret_number) {
    bool minus = text[0] == '-';
    uint64_t value = 0;
    if (!text_u64(text + minus, &value) || value > INT64_MAX)
        return false;
    *ret_number = minus ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool read_duration(const char *text, int64_t *ret_ms) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char digits[20];
    size_t count = strspn(text, "0123456789");
    if (count == 0 || count >= sizeof digits)
        return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    uint64_t value = 0;
    if (!text_u64(digits, &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + count, units[i].unit) != 0)
            continue;
        if (value > (uint64_t)(INT64_MAX / units[i].ms))
            return false;
        *ret_ms = (int64_t)value * units[i].ms;
        return true;
    }
    return false;
}

/* The text of a path, against the folder of the file that names it. */
static const char *resolve_path(struct config *config, const char *text) {
    const char *slash = strrchr(config->path, '/');
    if (text[0] == '/' || slash == NULL)
        return arena_text(config->arena, text);
    return arena_format(config->arena, "%.*s/%s", (int)(slash - config->path), config->path, text);
}

/* How much of a foreign word a message shows, for "%.*s". */
static int shown(const char *word) {
    return (int)text_utf8_whole(word, strnlen(word, FOUND_BYTES_MAX));
}

static enum error_code expected(struct parser *p, const struct config_key *key,
                                const struct config_value *at, const char *found,
                                const char *what) {
    return fail_at(p->config, at->line, at->column, p->err, "'%s': found '%.*s', expected %s",
                   key->name, shown(found), found, what);
}

static enum error_code out_of_limits(struct parser *p, const struct config_key *key,
                                     const struct config_value *at, int64_t found,
                                     const char *unit) {
    if (key->max == 0)
        return fail_at(p->config, at->line, at->column, p->err,
                       "'%s': found %lld%s, expected at least %lld%s", key->name, (long long)found,
                       unit, (long long)key->min, unit);
    return fail_at(p->config, at->line, at->column, p->err,
                   "'%s': found %lld%s, expected %lld to %lld%s", key->name, (long long)found, unit,
                   (long long)key->min, (long long)key->max, unit);
}

static enum error_code check_enum(struct parser *p, const struct config_key *key,
                                  struct config_value *value, const char *text) {
    for (int i = 0; key->words[i] != NULL; i++) {
        if (strcmp(key->words[i], text) == 0) {
            value->text = text;
            value->number = i;
            return ERROR_NONE;
        }
    }
    enum error_code code =
        fail_at(p->config, value->line, value->column, p->err,
                "'%s': '%.*s' is not one of its words", key->name, shown(text), text);
    hint_names(p->err, text, key->words, "words here");
    return code;
}

/* A scalar by its key's kind; also for the table's defaults, which must pass. */
static enum error_code check_scalar(struct parser *p, const struct config_key *key,
                                    struct config_value *value, const char *text) {
    switch (key->kind) {
    case CONFIG_TEXT:
        if ((key->min != 0 || key->max != 0) && !in_limits(key, (int64_t)strlen(text)))
            return out_of_limits(p, key, value, (int64_t)strlen(text), " bytes");
        value->text = text;
        return ERROR_NONE;
    case CONFIG_PATH:
        if (text[0] == '\0')
            return expected(p, key, value, text, "a path");
        value->text = resolve_path(p->config, text);
        return value->text != NULL ? ERROR_NONE : no_room(p);
    case CONFIG_NUMBER:
        if (!read_number(text, &value->number))
            return expected(p, key, value, text, "a whole number");
        if ((key->min != 0 || key->max != 0) && !in_limits(key, value->number))
            return out_of_limits(p, key, value, value->number, "");
        return ERROR_NONE;
    case CONFIG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return expected(p, key, value, text, "true or false");
        value->number = text[0] == 't';
        return ERROR_NONE;
    case CONFIG_DURATION:
        if (!read_duration(text, &value->number))
            return expected(p, key, value, text, "a duration such as 250ms, 30s, 5m, 2h or 1d");
        if ((key->min != 0 || key->max != 0) && !in_limits(key, value->number))
            return out_of_limits(p, key, value, value->number, " ms");
        return ERROR_NONE;
    case CONFIG_ENUM:
        return check_enum(p, key, value, text);
    case CONFIG_TEXTS:
    case CONFIG_MAP:
    case CONFIG_MAPS:
    case CONFIG_PAIRS:
        break;
    }
    assert(!"not a scalar");
    return ERROR_INTERNAL;
}

static bool is_scalar(enum config_kind kind) {
    return kind < CONFIG_TEXTS;
}

static struct config_map *new_map(struct config *config, const struct config_key *table,
                                  unsigned line, unsigned column) {
    struct config_map *map = arena_alloc(config->arena, sizeof *map);
    struct config_value *values =
        arena_alloc(config->arena, (table_size(table) + 1) * sizeof *values);
    if (map == NULL || values == NULL)
        return NULL;
    *map = (struct config_map){config, table, line, column, values};
    return map;
}

/* Gives absent keys their defaults; refuses absent keys that are required. */
static enum error_code fill_defaults(struct parser *p, struct config_map *map);

static bool has_required(const struct config_key *table) {
    for (; table->name != NULL; table++)
        if (table->required)
            return true;
    return false;
}

static enum error_code fill_defaults(struct parser *p, struct config_map *map) {
    for (size_t i = 0; map->table[i].name != NULL; i++) {
        const struct config_key *key = &map->table[i];
        struct config_value *value = &map->values[i];
        if (value->present)
            continue;
        if (key->required)
            return fail_at(p->config, map->line, map->column, p->err, "'%s' is missing", key->name);
        if (key->kind == CONFIG_MAP && !has_required(key->keys)) {
            value->map = new_map(p->config, key->keys, map->line, map->column);
            if (value->map == NULL)
                return no_room(p);
            TRY(fill_defaults(p, value->map));
        } else if (is_scalar(key->kind)) {
            value->number = key->kind == CONFIG_ENUM ? -1 : 0;
            if (key->default_text != NULL)
                TRY(check_scalar(p, key, value, key->default_text));
        }
    }
    return ERROR_NONE;
}

/* Makes room for one more item; lists double, so the arena wastes at most as much again. */
static void *grow(struct parser *p, void *items, size_t count, size_t item_size) {
    if (count > 0 && (count & (count - 1)) != 0)
        return items;
    size_t capacity = count == 0 ? 1 : count * 2;
    void *grown = arena_alloc(p->config->arena, capacity * item_size);
    if (grown != NULL && count > 0)
        memcpy(grown, items, count * item_size);
    return grown;
}

static enum error_code parse_map(struct parser *p, const struct config_key *table,
                                 const yaml_event_t *start, struct config_map **ret_map);

static enum error_code parse_pairs(struct parser *p, const struct config_key *key,
                                   struct config_value *value) {
    size_t most = key->max > 0 ? (size_t)key->max : CONFIG_ITEMS_MAX;
    for (;;) {
        SCOPED_EVENT yaml_event_t name = {0};
        TRY(next_event(p, &name));
        if (name.type == YAML_MAPPING_END_EVENT)
            return ERROR_NONE;
        if (name.type != YAML_SCALAR_EVENT)
            return FAIL(p, &name, "'%s': expected a name", key->name);
        struct config_pair pair = {.line = line_of(&name), .column = column_of(&name)};
        TRY(scalar_text(p, &name, key->name, &pair.name));
        for (size_t i = 0; i < value->count; i++)
            if (strcmp(value->pairs[i].name, pair.name) == 0)
                return FAIL(p, &name, "duplicate key '%s'", pair.name);
        SCOPED_EVENT yaml_event_t text = {0};
        TRY(next_event(p, &text));
        if (text.type != YAML_SCALAR_EVENT)
            return FAIL(p, &text, "'%s': expected a text", pair.name);
        TRY(scalar_text(p, &text, pair.name, &pair.value));
        if (value->count == most)
            return FAIL(p, &name, "'%s': more than %zu entries", key->name, most);
        value->pairs = grow(p, value->pairs, value->count, sizeof *value->pairs);
        if (value->pairs == NULL)
            return no_room(p);
        value->pairs[value->count++] = pair;
    }
}

static enum error_code add_text(struct parser *p, const struct config_key *key,
                                const yaml_event_t *event, struct config_value *value) {
    if (event->type != YAML_SCALAR_EVENT)
        return FAIL(p, event, "'%s': expected a list of texts", key->name);
    const char *text = NULL;
    TRY(scalar_text(p, event, key->name, &text));
    value->texts = grow(p, value->texts, value->count, sizeof *value->texts);
    if (value->texts == NULL)
        return no_room(p);
    value->texts[value->count++] = text;
    return ERROR_NONE;
}

static enum error_code add_map(struct parser *p, const struct config_key *key,
                               const yaml_event_t *event, struct config_value *value) {
    if (event->type != YAML_MAPPING_START_EVENT)
        return FAIL(p, event, "'%s': expected a list of maps", key->name);
    struct config_map *map = NULL;
    TRY(parse_map(p, key->keys, event, &map));
    value->maps = grow(p, value->maps, value->count, sizeof(struct config_map *));
    if (value->maps == NULL)
        return no_room(p);
    value->maps[value->count++] = map;
    return ERROR_NONE;
}

static enum error_code check_count(struct parser *p, const struct config_key *key,
                                   const struct config_value *value) {
    if ((key->min != 0 || key->max != 0) && !in_limits(key, (int64_t)value->count))
        return out_of_limits(p, key, value, (int64_t)value->count, " items");
    return ERROR_NONE;
}

static enum error_code parse_list(struct parser *p, const struct config_key *key,
                                  struct config_value *value) {
    size_t most = key->max > 0 ? (size_t)key->max : CONFIG_ITEMS_MAX;
    for (;;) {
        SCOPED_EVENT yaml_event_t item = {0};
        TRY(next_event(p, &item));
        if (item.type == YAML_SEQUENCE_END_EVENT)
            return check_count(p, key, value);
        if (value->count == most)
            return FAIL(p, &item, "'%s': more than %zu items", key->name, most);
        if (key->kind == CONFIG_TEXTS)
            TRY(add_text(p, key, &item, value));
        else
            TRY(add_map(p, key, &item, value));
    }
}

static enum error_code parse_value(struct parser *p, const struct config_key *key,
                                   struct config_value *value) {
    SCOPED_EVENT yaml_event_t event = {0};
    TRY(next_event(p, &event));
    value->line = line_of(&event);
    value->column = column_of(&event);
    value->present = true;
    bool scalar = event.type == YAML_SCALAR_EVENT;
    switch (key->kind) {
    case CONFIG_MAP:
        if (event.type != YAML_MAPPING_START_EVENT)
            return FAIL(p, &event, "'%s': expected a map", key->name);
        return parse_map(p, key->keys, &event, &value->map);
    case CONFIG_PAIRS:
        if (event.type != YAML_MAPPING_START_EVENT)
            return FAIL(p, &event, "'%s': expected a map", key->name);
        return parse_pairs(p, key, value);
    case CONFIG_MAPS:
        if (event.type != YAML_SEQUENCE_START_EVENT)
            return FAIL(p, &event, "'%s': expected a list of maps", key->name);
        return parse_list(p, key, value);
    case CONFIG_TEXTS:
        if (event.type == YAML_SEQUENCE_START_EVENT)
            return parse_list(p, key, value);
        TRY(add_text(p, key, &event, value));
        return check_count(p, key, value);
    case CONFIG_TEXT:
    case CONFIG_NUMBER:
    case CONFIG_BOOL:
    case CONFIG_ENUM:
    case CONFIG_PATH:
    case CONFIG_DURATION:
        break;
    }
    if (!scalar)
        return FAIL(p, &event, "'%s': expected one value, not a list or map", key->name);
    const char *text = NULL;
    TRY(scalar_text(p, &event, key->name, &text));
    return check_scalar(p, key, value, text);
}

static enum error_code parse_map(struct parser *p, const struct config_key *table,
                                 const yaml_event_t *start, struct config_map **ret_map) {
    struct config_map *map = new_map(p->config, table, line_of(start), column_of(start));
    if (map == NULL)
        return no_room(p);
    if (++p->depth > CONFIG_DEPTH_MAX)
        return FAIL(p, start, "more than %d maps in one another", CONFIG_DEPTH_MAX);
    for (;;) {
        SCOPED_EVENT yaml_event_t name = {0};
        TRY(next_event(p, &name));
        if (name.type == YAML_MAPPING_END_EVENT)
            break;
        if (name.type != YAML_SCALAR_EVENT)
            return FAIL(p, &name, "expected a key");
        const char *word = (const char *)name.data.scalar.value;
        size_t i = 0;
        while (table[i].name != NULL && strcmp(table[i].name, word) != 0)
            i++;
        if (table[i].name == NULL || strlen(word) != name.data.scalar.length) {
            enum error_code code = FAIL(p, &name, "unknown key '%.*s'", shown(word), word);
            hint_keys(p->err, word, table);
            return code;
        }
        if (map->values[i].present)
            return FAIL(p, &name, "duplicate key '%s'", word);
        TRY(parse_value(p, &table[i], &map->values[i]));
    }
    p->depth--;
    TRY(fill_defaults(p, map));
    *ret_map = map;
    return ERROR_NONE;
}

static enum error_code expect_event(struct parser *p, yaml_event_type_t type, const char *what) {
    SCOPED_EVENT yaml_event_t event = {0};
    TRY(next_event(p, &event));
    if (event.type != type)
        return FAIL(p, &event, "%s", what);
    return ERROR_NONE;
}

static enum error_code parse_file(struct parser *p, const struct config_key *table) {
    TRY(expect_event(p, YAML_STREAM_START_EVENT, "expected a file"));
    TRY(expect_event(p, YAML_DOCUMENT_START_EVENT, "the file is empty"));
    SCOPED_EVENT yaml_event_t start = {0};
    TRY(next_event(p, &start));
    if (start.type != YAML_MAPPING_START_EVENT)
        return FAIL(p, &start, "expected 'key: value' at the top of the file");
    TRY(parse_map(p, table, &start, &p->config->root));
    TRY(expect_event(p, YAML_DOCUMENT_END_EVENT, "expected the end of the file"));
    return expect_event(p, YAML_STREAM_END_EVENT, "a second document in one file is not allowed");
}

static struct config *new_config(const char *path) {
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL)
        return NULL;
    config->arena = arena_new(CONFIG_MEMORY_BYTES_MAX);
    config->path = config->arena != NULL ? arena_text(config->arena, path) : NULL;
    if (config->path == NULL) {
        config_free(config);
        return NULL;
    }
    return config;
}

enum error_code config_parse(const char *path, struct bytes text, const struct config_key *table,
                             struct config **ret_config, struct error *err) {
    static const uint8_t mark[] = {0xEF, 0xBB, 0xBF};
    if (text.len > CONFIG_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: larger than %d bytes", path, CONFIG_BYTES_MAX);
    SCOPED_CONFIG struct config *config = new_config(path);
    struct parser p = {.config = config, .err = err};
    if (config == NULL || !yaml_parser_initialize(&p.yaml))
        return error_set(err, ERROR_NO_MEMORY, "%s: out of memory", path);
    /* Editors on Windows begin a file with a byte order mark. */
    if (text.len >= sizeof mark && memcmp(text.data, mark, sizeof mark) == 0)
        text = bytes_of(text.data + sizeof mark, text.len - sizeof mark);
    yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.yaml, text.len > 0 ? text.data : mark, text.len);
    enum error_code code = parse_file(&p, table);
    yaml_parser_delete(&p.yaml);
    if (code != ERROR_NONE)
        return code;
    *ret_config = config;
    config = NULL;
    return ERROR_NONE;
}

enum error_code config_load(const char *path, const struct config_key *table,
                            struct config **ret_config, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, CONFIG_BYTES_MAX);
    TRY(file_read(path, &text, CONFIG_BYTES_MAX, err));
    return config_parse(path, buffer_bytes(&text), table, ret_config, err);
}

void config_free(struct config *config) {
    if (config == NULL)
        return;
    arena_free(config->arena);
    free(config);
}

void config_free_scoped(struct config **config) {
    config_free(*config);
}

const struct config_map *config_root(const struct config *config) {
    return config->root;
}

static size_t key_index(const struct config_map *map, const char *key) {
    for (size_t i = 0; map->table[i].name != NULL; i++)
        if (strcmp(map->table[i].name, key) == 0)
            return i;
    assert(!"the key is declared in the table");
    abort();
}

static const struct config_value *value_of(const struct config_map *map, const char *key,
                                           unsigned kinds) {
    size_t i = key_index(map, key);
    assert((1u << map->table[i].kind & kinds) != 0);
    return &map->values[i];
}

bool config_has(const struct config_map *map, const char *key) {
    return map->values[key_index(map, key)].present;
}

const char *config_text(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_TEXT | 1u << CONFIG_PATH | 1u << CONFIG_ENUM)->text;
}

int64_t config_number(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_NUMBER)->number;
}

bool config_bool(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_BOOL)->number != 0;
}

int64_t config_duration_ms(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_DURATION)->number;
}

int config_enum(const struct config_map *map, const char *key) {
    return (int)value_of(map, key, 1u << CONFIG_ENUM)->number;
}

const struct config_map *config_child(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_MAP)->map;
}

size_t config_count(const struct config_map *map, const char *key) {
    return value_of(map, key, 1u << CONFIG_TEXTS | 1u << CONFIG_MAPS | 1u << CONFIG_PAIRS)->count;
}

const char *config_text_at(const struct config_map *map, const char *key, size_t index) {
    const struct config_value *value = value_of(map, key, 1u << CONFIG_TEXTS);
    assert(index < value->count);
    return value->texts[index];
}

const struct config_map *config_item(const struct config_map *map, const char *key, size_t index) {
    const struct config_value *value = value_of(map, key, 1u << CONFIG_MAPS);
    assert(index < value->count);
    return value->maps[index];
}

const struct config_pair *config_pair(const struct config_map *map, const char *key, size_t index) {
    const struct config_value *value = value_of(map, key, 1u << CONFIG_PAIRS);
    assert(index < value->count);
    return &value->pairs[index];
}

unsigned config_line(const struct config_map *map, const char *key) {
    return key == NULL ? map->line : map->values[key_index(map, key)].line;
}

enum error_code config_error(const struct config_map *map, const char *key, struct error *err,
                             const char *format, ...) {
    unsigned line = map->line;
    unsigned column = map->column;
    if (key != NULL && map->values[key_index(map, key)].present) {
        line = map->values[key_index(map, key)].line;
        column = map->values[key_index(map, key)].column;
    }
    va_list args;
    va_start(args, format);
    enum error_code code = fail_at_va(map->config, line, column, err, format, args);
    va_end(args);
    return code;
}
