#include "normalizer/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/text.h"
#include "normalizer/address.h"

static enum error_code no_memory(const struct plan *plan, struct error *err) {
    return error_set(err, ERROR_NO_MEMORY, "the plan of table '%s': out of memory",
                     plan->table->table);
}

static enum error_code charset_of(struct plan *plan, enum renkei_charset id,
                                  struct charset **ret_charset, struct error *err) {
    if (plan->charsets[id] == NULL)
        TRY(charset_new(id, plan->gaiji, &plan->charsets[id], err));
    *ret_charset = plan->charsets[id];
    return ERROR_NONE;
}

static void ignore_character(void *context, enum character_kind kind, uint32_t code,
                             size_t offset) {
    (void)code;
    (void)offset;
    if (kind == CHARACTER_INVALID)
        *(bool *)context = true;
}

static enum renkei_charset declared_charset(const struct plan *plan,
                                            const struct renkei_column *column) {
    return column->charset != RENKEI_CHARSET_UNKNOWN ? column->charset : plan->mapping->charset;
}

/* A name of the source in UTF-8: names of a SQL_ASCII database are raw bytes in its charset. */
static enum error_code name_text(struct plan *plan, const struct renkei_column *column,
                                 const char **ret_text, struct error *err) {
    struct bytes raw = bytes_text(column->name);
    const char *text = NULL;
    if (text_utf8_valid(raw)) {
        text = arena_text(plan->arena, column->name);
    } else {
        enum renkei_charset id = declared_charset(plan, column);
        struct charset *charset = NULL;
        bool invalid = false;
        SCOPED_BUFFER struct buffer name;
        buffer_init(&name, 8 * RENKEI_NAME_BYTES_MAX);
        if (id <= RENKEI_CHARSET_BINARY || id > RENKEI_CHARSET_LATIN1)
            id = RENKEI_CHARSET_CP932;
        TRY(charset_of(plan, id, &charset, err));
        charset_decode(charset, raw, false, ignore_character, &invalid, &name);
        buffer_append_byte(&name, '\0');
        text = name.failed ? NULL : arena_text(plan->arena, (const char *)name.data);
    }
    if (text == NULL)
        return no_memory(plan, err);
    *ret_text = text;
    return ERROR_NONE;
}

struct source {
    const struct renkei_column *columns;
    const char **texts;
    uint32_t count;
};

static enum error_code no_column(const struct plan *plan, const struct source *source,
                                 unsigned line, const char *use, const char *name,
                                 struct error *err) {
    enum error_code code =
        error_set(err, ERROR_MAPPING, "%s:%u: table '%s': there is no column '%s' for %s",
                  plan->mapping->path, line, plan->table->table, name, use);
    const char *nearest = config_nearest(name, source->texts);
    if (nearest != NULL) {
        error_hint(err, "did you mean '%s'?", nearest);
        return code;
    }
    SCOPED_BUFFER struct buffer list;
    buffer_init(&list, 8 * ERROR_HINT_BYTES_MAX);
    for (uint32_t i = 0; i < source->count && list.len < ERROR_HINT_BYTES_MAX; i++)
        buffer_append_format(&list, "%s%s", i > 0 ? ", " : "", source->texts[i]);
    buffer_append_byte(&list, '\0');
    error_hint(err, "its columns: %s", list.failed ? "" : (const char *)list.data);
    return code;
}

/* The place of a column in the SELECT, where it is put when it is not there yet. */
static enum error_code select_column(struct plan *plan, const struct source *source,
                                     const char *name, unsigned line, const char *use,
                                     uint32_t *ret_column, struct error *err) {
    uint32_t i = 0;
    while (i < source->count && strcmp(source->texts[i], name) != 0)
        i++;
    if (i == source->count)
        return no_column(plan, source, line, use, name, err);
    uint32_t at = 0;
    while (at < plan->column_count && plan->columns[at].source != &source->columns[i])
        at++;
    if (at == plan->column_count) {
        plan->columns[at] =
            (struct plan_column){.name = arena_text(plan->arena, source->columns[i].name),
                                 .text = source->texts[i],
                                 .source = &source->columns[i],
                                 .charset = declared_charset(plan, &source->columns[i])};
        if (plan->columns[at].name == NULL)
            return no_memory(plan, err);
        plan->names[at] = plan->columns[at].name;
        plan->column_count++;
    }
    *ret_column = at;
    return ERROR_NONE;
}

/* What charset a rule decodes with. Texts need a declared one: none is ever guessed. */
static enum error_code rule_charset(struct plan *plan, const struct plan_column *column,
                                    unsigned line, struct value_rule *rule, struct error *err) {
    enum renkei_charset id = RENKEI_CHARSET_ASCII;
    if (rule->source == RENKEI_TYPE_BINARY)
        return ERROR_NONE;
    if (value_is_text(rule->source)) {
        id = column->charset;
        if (id == RENKEI_CHARSET_BINARY) {
            rule->source = RENKEI_TYPE_BINARY;
            return ERROR_NONE;
        }
        if (id <= RENKEI_CHARSET_UNKNOWN || id > RENKEI_CHARSET_LATIN1) {
            enum error_code code = error_set(
                err, ERROR_MAPPING, "%s:%u: table '%s': column '%s' has no charset: found '%s'",
                plan->mapping->path, line, plan->table->table, column->text,
                column->source->charset_name != NULL ? column->source->charset_name : "");
            error_hint(err, "name it: 'charset: cp932' in the field or at the top of the mapping");
            return code;
        }
    }
    return charset_of(plan, id, &rule->charset, err);
}

static enum error_code make_rule(struct plan *plan, uint32_t column,
                                 const struct mapping_field *field, unsigned line,
                                 struct value_rule *ret_rule, struct error *err) {
    struct plan_column *at = &plan->columns[column];
    if (field != NULL && field->charset != RENKEI_CHARSET_UNKNOWN)
        at->charset = field->charset;
    struct value_rule rule = {
        .source = at->source->type,
        .bits = at->source->bits,
        .type = value_default_type(at->source->type, at->source->bits),
        .offset_minutes = plan->mapping->offset_minutes,
    };
    if (field != NULL && field->typed)
        rule.type = field->type;
    if (field != NULL)
        rule.era = field->era;
    TRY(rule_charset(plan, at, line, &rule, err));
    if (rule.source == RENKEI_TYPE_BINARY && rule.type != VALUE_STRING)
        return error_set(
            err, ERROR_MAPPING, "%s:%u: table '%s': column '%s' is binary: it cannot become a %s",
            plan->mapping->path, line, plan->table->table, at->text, value_type_name(rule.type));
    *ret_rule = rule;
    return ERROR_NONE;
}

static int compare_fields(const void *a, const void *b) {
    const struct plan_field *left = a;
    const struct plan_field *right = b;
    return value_json_compare_names(bytes_text(left->field.name),
                                          bytes_text(right->field.name));
}

static enum error_code add_field(struct plan *plan, const struct source *source,
                                 const struct mapping_field *field, const char *column,
                                 bool personal, unsigned line, struct error *err) {
    struct plan_field *at = &plan->fields[plan->field_count];
    TRY(select_column(plan, source, column, line, "a field", &at->column, err));
    TRY(make_rule(plan, at->column, field, line, &at->rule, err));
    at->field = (struct normalizer_field){field != NULL ? field->name : column, personal};
    plan->field_count++;
    return ERROR_NONE;
}

static bool is_personal(const struct mapping_table *table, const char *column) {
    for (size_t i = 0; i < table->personal_count; i++)
        if (strcmp(table->personal[i], column) == 0)
            return true;
    return table->personal_all;
}

static enum error_code add_fields(struct plan *plan, const struct source *source,
                                  struct error *err) {
    const struct mapping_table *table = plan->table;
    for (size_t i = 0; i < table->field_count; i++) {
        const struct mapping_field *field = &table->fields[i];
        TRY(add_field(plan, source, field, field->column, field->personal, field->line, err));
    }
    if (!table->all_columns)
        return ERROR_NONE;
    for (uint32_t i = 0; i < source->count; i++)
        TRY(add_field(plan, source, NULL, source->texts[i], is_personal(table, source->texts[i]),
                      table->line, err));
    for (size_t i = 0; i < table->personal_count; i++) {
        uint32_t unused = 0;
        TRY(select_column(plan, source, table->personal[i], table->line, "'personal'", &unused,
                          err));
    }
    return ERROR_NONE;
}

static enum error_code finish_fields(struct plan *plan, struct error *err) {
    if (plan->field_count > 0)
        qsort(plan->fields, plan->field_count, sizeof *plan->fields, compare_fields);
    for (size_t i = 0; i < plan->field_count; i++) {
        struct plan_field *field = &plan->fields[i];
        if (i > 0 && compare_fields(field - 1, field) == 0)
            return error_set(err, ERROR_MAPPING, "%s:%u: table '%s': two fields are named '%s'",
                             plan->mapping->path, plan->table->line, plan->table->table,
                             field->field.name);
        SCOPED_BUFFER struct buffer prefix;
        buffer_init(&prefix, 16 * RENKEI_NAME_BYTES_MAX);
        if (i > 0)
            buffer_append_byte(&prefix, ',');
        value_json_string(bytes_text(field->field.name), &prefix);
        buffer_append_byte(&prefix, ':');
        field->prefix =
            prefix.failed ? bytes_of(NULL, 0) : arena_bytes(plan->arena, buffer_bytes(&prefix));
        if (field->prefix.data == NULL)
            return no_memory(plan, err);
        plan->field_list[i] = field->field;
        bool shows_date = plan->date != PLAN_NONE && field->column == (uint32_t)plan->date &&
                          field->rule.type == VALUE_DATE;
        if (shows_date)
            plan->date_field = (int)i;
    }
    return ERROR_NONE;
}

static enum error_code select_special(struct plan *plan, const struct source *source,
                                      struct error *err) {
    const struct mapping_table *table = plan->table;
    uint32_t column = 0;
    for (size_t i = 0; i < table->key_count; i++) {
        TRY(select_column(plan, source, table->keys[i], table->line, "'key'", &column, err));
        plan->key_count++;
    }
    if (table->patient != NULL) {
        TRY(select_column(plan, source, table->patient, table->line, "'patient'", &column, err));
        plan->patient = (int)column;
    }
    if (table->date != NULL) {
        TRY(select_column(plan, source, table->date, table->line, "'date'", &column, err));
        plan->date = (int)column;
    }
    return ERROR_NONE;
}

static const struct mapping_field *field_of_column(const struct mapping_table *table,
                                                   const char *column) {
    for (size_t i = 0; i < table->field_count; i++)
        if (strcmp(table->fields[i].column, column) == 0)
            return &table->fields[i];
    return NULL;
}

/* The rules for patient and date: as the column's field has it, but as text and as a date. */
static enum error_code make_special_rules(struct plan *plan, struct error *err) {
    const struct mapping_table *table = plan->table;
    if (plan->patient != PLAN_NONE) {
        TRY(make_rule(plan, (uint32_t)plan->patient, field_of_column(table, table->patient),
                      table->line, &plan->patient_rule, err));
        plan->patient_rule.type = VALUE_STRING;
    }
    if (plan->date != PLAN_NONE) {
        TRY(make_rule(plan, (uint32_t)plan->date, field_of_column(table, table->date), table->line,
                      &plan->date_rule, err));
        plan->date_rule.type = VALUE_DATE;
    }
    bool binary = plan->patient != PLAN_NONE && plan->patient_rule.source == RENKEI_TYPE_BINARY;
    if (binary || (plan->date != PLAN_NONE && plan->date_rule.source == RENKEI_TYPE_BINARY))
        return error_set(err, ERROR_MAPPING, "%s:%u: table '%s': column '%s' for %s is binary",
                         plan->mapping->path, table->line, table->table,
                         binary ? table->patient : table->date, binary ? "'patient'" : "'date'");
    return ERROR_NONE;
}

/* Which day an instant is, is a matter of place: a morning in Japan is the day before in Greenwich.
 * So the mapping must say, and no default is taken for a clinical date. */
static enum error_code check_zone(const struct plan *plan, const struct value_rule *rule,
                                  uint32_t column, struct error *err) {
    if (rule->type != VALUE_DATE || rule->source != RENKEI_TYPE_TIMESTAMP_ZONE ||
        plan->mapping->has_time_zone)
        return ERROR_NONE;
    error_set(err, ERROR_MAPPING,
              "%s:%u: table '%s': column '%s' holds instants, and the mapping has no 'time_zone' "
              "to tell which day they are",
              plan->mapping->path, plan->table->line, plan->table->table,
              plan->columns[column].text);
    error_hint(err, "add the hospital's own to the mapping: time_zone: \"+09:00\" is Japan's");
    return ERROR_MAPPING;
}

static enum error_code check_zones(const struct plan *plan, struct error *err) {
    for (size_t i = 0; i < plan->field_count; i++)
        TRY(check_zone(plan, &plan->fields[i].rule, plan->fields[i].column, err));
    return plan->date == PLAN_NONE
               ? ERROR_NONE
               : check_zone(plan, &plan->date_rule, (uint32_t)plan->date, err);
}

static enum error_code render(struct plan *plan, struct error *err) {
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, NORMALIZER_ADDRESS_BYTES_MAX);
    address_write(plan->hospital, plan->mapping->source, plan->table->table, bytes_of(NULL, 0),
                  &text);
    TRY(buffer_check(&text, "an address", err));
    plan->address = arena_bytes(plan->arena, buffer_bytes(&text));
    buffer_clear(&text);
    buffer_append_format(&text, "{\"address\":\"%.*s", (int)plan->address.len,
                         (const char *)plan->address.data);
    plan->opening = arena_bytes(plan->arena, buffer_bytes(&text));
    buffer_clear(&text);
    buffer_append_format(&text, "\",\"category\":\"%s\",\"fields\":{", plan->table->category);
    plan->middle = arena_bytes(plan->arena, buffer_bytes(&text));
    bool good = plan->address.data != NULL && plan->opening.data != NULL &&
                plan->middle.data != NULL && !text.failed;
    return good ? ERROR_NONE : no_memory(plan, err);
}

static enum error_code read_source(struct plan *plan, const struct renkei_column *columns,
                                   uint32_t count, struct source *ret_source, struct error *err) {
    const char **texts = arena_alloc(plan->arena, (count + 1) * sizeof *texts);
    if (texts == NULL)
        return no_memory(plan, err);
    for (uint32_t i = 0; i < count; i++)
        TRY(name_text(plan, &columns[i], &texts[i], err));
    *ret_source = (struct source){columns, texts, count};
    return ERROR_NONE;
}

enum error_code plan_make(struct plan *plan, const struct renkei_column *columns,
                          uint32_t column_count, const char *server_settings, struct error *err) {
    struct source source = {0};
    plan->patient = PLAN_NONE;
    plan->date = PLAN_NONE;
    plan->date_field = PLAN_NONE;
    if (column_count > RENKEI_COLUMNS_MAX)
        return error_set(err, ERROR_LIMIT, "table '%s': %u columns, more than %d",
                         plan->table->table, column_count, RENKEI_COLUMNS_MAX);
    plan->arena = arena_new(PLAN_BYTES_MAX);
    if (plan->arena == NULL)
        return no_memory(plan, err);
    size_t fields = plan->table->all_columns ? column_count : plan->table->field_count;
    plan->columns = arena_alloc(plan->arena, (column_count + 1) * sizeof *plan->columns);
    plan->names = arena_alloc(plan->arena, (column_count + 1) * sizeof *plan->names);
    plan->fields = arena_alloc(plan->arena, (fields + 1) * sizeof *plan->fields);
    plan->field_list = arena_alloc(plan->arena, (fields + 1) * sizeof *plan->field_list);
    plan->hospital = arena_text(plan->arena, plan->hospital);
    if (plan->columns == NULL || plan->names == NULL || plan->fields == NULL ||
        plan->field_list == NULL || plan->hospital == NULL)
        return no_memory(plan, err);
    if (plan->mapping->gaiji != NULL)
        TRY(gaiji_load(plan->mapping->gaiji, &plan->gaiji, err));
    TRY(read_source(plan, columns, column_count, &source, err));
    TRY(select_special(plan, &source, err));
    TRY(add_fields(plan, &source, err));
    TRY(finish_fields(plan, err));
    TRY(make_special_rules(plan, err));
    TRY(check_zones(plan, err));
    TRY(render(plan, err));
    return plan_describe(plan, server_settings, err);
}

void plan_done(struct plan *plan) {
    for (size_t i = 0; i < sizeof plan->charsets / sizeof plan->charsets[0]; i++)
        charset_free(plan->charsets[i]);
    gaiji_free(plan->gaiji);
    arena_free(plan->arena);
}
