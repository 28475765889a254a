/* Looking at a source database before it is mapped: discover, preview. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/output.h"
#include "gateway/cli/source.h"

enum { YAML_BYTES_MAX = 1 << 20, PREVIEW_ROWS_DEFAULT = 3, PREVIEW_BYTES_MAX = 256 << 20, SETTING_BYTES_MAX = 4096 };

void cli_worker_free_scoped(struct worker **worker) {
    worker_free(*worker);
}

void cli_result_free_scoped(void *result) {
    worker_result_free(*(const void **)result);
}

void cli_mapping_free_scoped(struct mapping **mapping) {
    mapping_free(*mapping);
}

/* The hospital's name stands in addresses only, which are shown here as an example. */
enum error_code cli_source_worker(const char *mapping_path, const char *source,
                                  struct worker **ret_worker, struct error *err) {
    char program[PATH_MAX];
    char plugins[PATH_MAX];
    TRY(cli_program_path(CLI_WORKER, program, err));
    TRY(cli_program_path(CLI_PLUGINS, plugins, err));
    struct worker_config config = {.program = program,
                                   .plugin_folder = plugins,
                                   .mapping_path = mapping_path,
                                   .hospital = "hospital",
                                   .source = source};
    return worker_new(&config, ret_worker, err);
}

/* --- discover ----------------------------------------------------------------------------------- */

/* A text as a YAML scalar in double quotes. */
static void yaml_text(struct buffer *out, const char *text) {
    buffer_append_byte(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buffer_append_byte(out, '\\');
        if ((uint8_t)*text < 0x20)
            buffer_append_format(out, "\\x%02x", (unsigned)(uint8_t)*text);
        else
            buffer_append_byte(out, (uint8_t)*text);
    }
    buffer_append_byte(out, '"');
}

/* One --set NAME=VALUE. A name that ends in _file is a path, made absolute: the mapping may lie in
 * another folder than the one this was typed in. */
static enum error_code write_setting(const char *setting, struct buffer *out, struct error *err) {
    const char *equals = strchr(setting, '=');
    if (equals == NULL || equals == setting)
        return error_set(err, ERROR_USAGE, "--set %s: expected NAME=VALUE", setting);
    const char *value = equals + 1;
    SCOPED_FREE char *absolute = NULL;
    if (equals - setting > 5 && strncmp(equals - 5, "_file", 5) == 0) {
        absolute = realpath(value, NULL);
        if (absolute == NULL)
            return error_set(err, ERROR_NOT_FOUND, "--set %s: there is no such file", setting);
        value = absolute;
    }
    buffer_append_format(out, "  %.*s: ", (int)(equals - setting), setting);
    yaml_text(out, value);
    buffer_append_byte(out, '\n');
    return ERROR_NONE;
}

/* The part of a mapping that says how to reach the source. */
static enum error_code write_connection(const struct cli_call *call, struct buffer *out,
                                        struct error *err) {
    buffer_append_format(out, "source: %s\nconnector: %s\nconnection:\n",
                         cli_value_or(call, "source", "main"), cli_value(call, "connector"));
    for (size_t i = 0; i < cli_count(call, "set"); i++)
        TRY(write_setting(cli_value_at(call, "set", i), out, err));
    if (cli_value(call, "charset") != NULL)
        buffer_append_format(out, "charset: %s\n", cli_value(call, "charset"));
    return ERROR_NONE;
}

/* The patient's column is a guess that a person must confirm: the mapping says so. */
static const char *guess_patient(const struct worker_table *table) {
    static const char *const words[] = {"patient", "identification", "kanja", "患者", NULL};
    for (size_t w = 0; words[w] != NULL; w++)
        for (uint32_t c = 0; c < table->column_count; c++)
            if (strcasestr(table->columns[c].name, words[w]) != NULL)
                return table->columns[c].name;
    return NULL;
}

static const char *first_date(const struct worker_table *table) {
    for (uint32_t c = 0; c < table->column_count; c++)
        if (table->columns[c].type == RENKEI_TYPE_DATE ||
            table->columns[c].type == RENKEI_TYPE_TIMESTAMP ||
            table->columns[c].type == RENKEI_TYPE_TIMESTAMP_ZONE)
            return table->columns[c].name;
    return NULL;
}

static void map_key(const struct worker_table *table, struct buffer *out) {
    size_t keys = 0;
    buffer_append_text(out, "    key: [");
    for (int position = 1; position <= (int)table->column_count; position++)
        for (uint32_t c = 0; c < table->column_count; c++)
            if (table->columns[c].key_position == position) {
                buffer_append_text(out, keys++ > 0 ? ", " : "");
                yaml_text(out, table->columns[c].name);
            }
    if (keys == 0)
        yaml_text(out, table->column_count > 0 ? table->columns[0].name : "");
    buffer_append_text(out, keys == 0 ? "]   # no primary key: which columns name a row?\n" : "]\n");
}

static void map_table(const struct worker_table *table, struct buffer *out) {
    buffer_append_text(out, "  - table: ");
    yaml_text(out, table->table.name);
    buffer_append_text(out, "\n    category: EMR01   # EMR01 to EMR16\n");
    map_key(table, out);
    const char *patient = guess_patient(table);
    if (patient != NULL) {
        buffer_append_text(out, "    patient: ");
        yaml_text(out, patient);
        buffer_append_text(out, "   # a guess: whose record is the row?\n");
    } else {
        buffer_append_text(out, "    # patient: which column says whose record the row is?\n");
    }
    if (first_date(table) != NULL) {
        buffer_append_text(out, "    date: ");
        yaml_text(out, first_date(table));
        buffer_append_byte(out, '\n');
    }
}

static void list_columns(json_t *rows, const struct worker_table *table) {
    for (uint32_t c = 0; c < table->column_count; c++) {
        const struct renkei_column *column = &table->columns[c];
        json_t *row = json_pack("{s:s%, s:s%, s:s, s:s, s:b}", "table", table->table.name,
                                strlen(table->table.name), "column", column->name,
                                strlen(column->name), "type", column->declared_type, "charset",
                                column->charset_name, "indexed", column->indexed);
        if (column->key_position > 0)
            json_object_set_new(row, "key", json_integer(column->key_position));
        json_array_append_new(rows, row);
    }
}

static bool has_instants(const struct worker_table *table) {
    for (uint32_t c = 0; c < table->column_count; c++)
        if (table->columns[c].type == RENKEI_TYPE_TIMESTAMP_ZONE)
            return true;
    return false;
}

/* This machine's own zone is a guess too, but one that stands where a person reads it. */
static void map_time_zone(struct buffer *out) {
    int minutes = clock_zone_minutes(clock_wall_ms());
    buffer_append_format(out, "time_zone: \"%c%02d:%02d\"   # instants are shown as the day they "
                         "are there: is it the hospital's?\n",
                         minutes < 0 ? '-' : '+', abs(minutes) / 60, abs(minutes) % 60);
}

static bool has_unnamed_charset(const struct worker_table *table) {
    for (uint32_t c = 0; c < table->column_count; c++)
        if (table->columns[c].type == RENKEI_TYPE_TEXT && *table->columns[c].charset_name == '\0')
            return true;
    return false;
}

static bool wanted(const struct cli_call *call, const char *table) {
    for (size_t i = 0; i < call->argument_count; i++)
        if (strcmp(call->arguments[i], table) == 0)
            return true;
    return call->argument_count == 0;
}

static enum error_code look_around(const struct cli_call *call, struct worker *worker,
                                   struct buffer *mapping, struct error *err) {
    SCOPED_RESULT const struct worker_description *all = NULL;
    SCOPED_JSON json_t *rows = json_array();
    TRY(worker_describe(worker, &all, err));
    buffer_append_text(mapping, "tables:\n");
    bool instants = false, unnamed = false;
    for (size_t i = 0; i < all->table_count; i++) {
        SCOPED_RESULT const struct worker_table *table = NULL;
        if (!wanted(call, all->tables[i].table.name))
            continue;
        TRY(worker_columns(worker, all->tables[i].table.schema, all->tables[i].table.name, &table,
                           err));
        list_columns(rows, table);
        map_table(table, mapping);
        instants = instants || has_instants(table);
        unnamed = unnamed || has_unnamed_charset(table);
    }
    if (unnamed && cli_value(call, "charset") == NULL)
        buffer_append_text(mapping, "# charset: cp932   # the database does not say: which one are "
                                    "its texts in?\n");
    if (instants)
        map_time_zone(mapping);
    if (json_array_size(rows) == 0)
        return error_set(err, ERROR_SOURCE_TABLE, "the account sees %zu tables, none of the name",
                         all->table_count);
    if (!call->json)
        printf("%s %s, charset %s\n\n", all->server.product, all->server.version,
               *all->server.charset != '\0' ? all->server.charset : "not declared");
    static const struct output_column columns[] = {
        {"table", "table", false},     {"column", "column", false}, {"type", "type", false},
        {"charset", "charset", false}, {"key", "key", true},        {NULL, NULL, false}};
    output_table(call, columns, rows);
    return ERROR_NONE;
}

/* Adds the mapping to the folder's gateway.yaml, if it is one that `renkei init` wrote. */
static enum error_code add_source(const struct cli_call *call, const char *mapping_path,
                                  struct error *err) {
    char path[PATH_MAX];
    TRY(cli_path(cli_folder(call), "gateway.yaml", path, err));
    if (access(path, F_OK) != 0)
        return ERROR_NONE;
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, YAML_BYTES_MAX + PATH_MAX);
    TRY(file_read(path, &text, YAML_BYTES_MAX, err));
    buffer_append_byte(&text, '\0');
    TRY(buffer_check(&text, path, err));
    text.len--;
    SCOPED_FREE char *absolute = realpath(mapping_path, NULL);
    SCOPED_FREE char *folder = realpath(cli_folder(call), NULL);
    if (absolute == NULL || folder == NULL)
        return error_set(err, ERROR_IO, "%s: cannot be found again", mapping_path);
    /* Within the folder by its relative name, so that the folder can be moved. */
    size_t len = strlen(folder);
    bool within = strncmp(absolute, folder, len) == 0 && absolute[len] == '/';
    SCOPED_BUFFER struct buffer item;
    buffer_init(&item, 2 * PATH_MAX);
    buffer_append_text(&item, "  - mapping: ");
    yaml_text(&item, within ? absolute + len + 1 : absolute);
    buffer_append_text(&item, "\n    interval: 10m\n");
    buffer_append_byte(&item, '\0');
    TRY(buffer_check(&item, path, err));
    if (strstr((const char *)text.data, (const char *)item.data) != NULL)
        return ERROR_NONE;
    cli_yaml_add(&text, "sources", (const char *)item.data);
    TRY(buffer_check(&text, path, err));
    TRY(file_replace(path, buffer_bytes(&text), 0644, err));
    fprintf(stderr, "added to %s\n", path);
    return ERROR_NONE;
}

/* The worker wants a mapping with a table; while there is none it gets one that is never read. */
static enum error_code discover_with(const struct cli_call *call, const char *temporary,
                                     struct buffer *mapping, struct error *err) {
    SCOPED_WORKER struct worker *worker = NULL;
    SCOPED_BUFFER struct buffer first;
    buffer_init(&first, YAML_BYTES_MAX);
    buffer_append(&first, mapping->data, mapping->len);
    buffer_append_text(&first, "tables:\n  - table: t\n    category: EMR01\n    key: [k]\n");
    TRY(buffer_check(&first, "mapping", err));
    TRY(file_create(temporary, buffer_bytes(&first), 0600, err));
    TRY(cli_source_worker(temporary, cli_value_or(call, "source", "main"), &worker, err));
    return look_around(call, worker, mapping, err);
}

static enum error_code run_discover(const struct cli_call *call, struct error *err) {
    const char *path = cli_value(call, "mapping");
    if (path != NULL && access(path, F_OK) == 0)
        return error_set(err, ERROR_EXISTS, "%s is there already", path);
    SCOPED_BUFFER struct buffer mapping;
    buffer_init(&mapping, YAML_BYTES_MAX);
    TRY(write_connection(call, &mapping, err));
    char folder[] = "/tmp/renkei-discover-XXXXXX";
    char temporary[sizeof folder + 16];
    if (mkdtemp(folder) == NULL)
        return error_set(err, ERROR_IO, "%s: cannot be made", folder);
    snprintf(temporary, sizeof temporary, "%s/mapping.yaml", folder);
    enum error_code code = discover_with(call, temporary, &mapping, err);
    unlink(temporary);
    rmdir(folder);
    if (code != ERROR_NONE || path == NULL)
        return code;
    TRY(buffer_check(&mapping, path, err));
    TRY(file_create(path, buffer_bytes(&mapping), 0644, err));
    fprintf(stderr, "written: %s; read it before you trust it, then 'renkei preview %s'\n", path,
            path);
    return add_source(call, path, err);
}

static const struct cli_option discover_options[] = {
    {"connector", "NAME", "mysql, postgresql, odbc or another plugin", true, false},
    {"set", "NAME=VALUE", "an option of the connector: socket, host, user", true, true},
    {"charset", "NAME", "where the source declares none (SQL_ASCII, ODBC)", false, false},
    {"source", "NAME", "its name in addresses (default: main)", false, false},
    {"mapping", "FILE", "write a mapping, and add it to gateway.yaml", false, false},
    CLI_OPTION_FOLDER,
    CLI_OPTIONS_COMMON};

const struct cli_command cli_discover = {
    "discover", "Connect a database", "[TABLE...]", 0, CLI_ARGUMENTS_MAX,
    "list tables and columns, write a mapping to start from",
    "renkei discover --connector mysql --set socket=/run/mysqld/mysqld.sock \\\n"
    "      --set user=renkei --set password_file=emr.password --set database=emr \\\n"
    "      --mapping main.yaml",
    discover_options, run_discover};

/* --- preview ------------------------------------------------------------------------------------ */

/* Bytes as they are where they are ASCII, \xHH where they are not: what the source really holds. */
static void raw_text(struct bytes cell, struct buffer *out) {
    for (size_t i = 0; i < cell.len; i++) {
        uint8_t byte = cell.data[i];
        if (byte >= 0x20 && byte < 0x7F && byte != '\\')
            buffer_append_byte(out, byte);
        else
            buffer_append_format(out, "\\x%02X", byte);
    }
}

static json_t *raw_json(const struct worker_preview_row *row, const struct worker_plan *plan) {
    json_t *raw = json_object();
    for (uint32_t c = 0; c < plan->column_count; c++) {
        SCOPED_BUFFER struct buffer text;
        SCOPED_BUFFER struct buffer name;
        buffer_init(&text, RENKEI_CELL_BYTES_MAX * (size_t)4);
        buffer_init(&name, RENKEI_NAME_BYTES_MAX * 4 + 1);
        /* A column's name may be raw bytes, too. */
        if (text_utf8_valid(bytes_text(plan->columns[c])))
            buffer_append_text(&name, plan->columns[c]);
        else
            raw_text(bytes_text(plan->columns[c]), &name);
        buffer_append_byte(&name, '\0');
        json_t *value = json_null();
        if (row->cells[c].data != NULL) {
            raw_text(bytes_of(row->cells[c].data, row->cells[c].len), &text);
            value = json_stringn(text.data != NULL ? (const char *)text.data : "", text.len);
        }
        json_object_set_new(raw, (const char *)name.data, value);
    }
    return raw;
}

static json_t *reasons_json(const struct worker_preview_row *row, const struct worker_plan *plan) {
    json_t *reasons = json_array();
    for (size_t i = 0; i < row->reason_count; i++) {
        const struct normalized_reason *reason = &row->reasons[i];
        const char *column = reason->column < plan->column_count ? plan->columns[reason->column] : "";
        json_array_append_new(reasons, json_pack("{s:s, s:s, s:I}", "column", column, "reason",
                                                 reason_name(reason->reason), "count",
                                                 (json_int_t)reason->count));
    }
    return reasons;
}

/* The document's own bytes stand in it: parsed and written again, a number might lose digits. */
static void row_text(const char *table, const struct worker_preview_row *row,
                     const struct worker_plan *plan, struct buffer *out) {
    SCOPED_JSON json_t *shown = json_pack("{s:s, s:b, s:o, s:o}", "table", table, "quarantined",
                                          row->quarantined, "raw", raw_json(row, plan), "reasons",
                                          reasons_json(row, plan));
    SCOPED_FREE char *text = json_dumps(shown, JSON_COMPACT);
    if (text == NULL)
        return;
    buffer_append(out, text, strlen(text) - 1);
    if (!row->quarantined) {
        buffer_append_text(out, ",\"document\":");
        buffer_append(out, row->document.data, row->document.len);
    }
    buffer_append_byte(out, '}');
}

static void print_side_by_side(const struct worker_preview_row *row,
                               const struct worker_plan *plan) {
    SCOPED_JSON json_t *raw = raw_json(row, plan);
    SCOPED_JSON json_t *reasons = reasons_json(row, plan);
    const char *name;
    json_t *value;
    json_object_foreach(raw, name, value)
        printf("  %-20s %s\n", name, json_is_string(value) ? json_string_value(value) : "NULL");
    printf("  -> ");
    if (row->quarantined)
        printf("quarantined\n");
    else
        output_json_text(row->document);
    size_t i;
    json_t *reason;
    json_array_foreach(reasons, i, reason)
        printf("  note: %s in column %s\n", cli_json_text(reason, "reason"),
               cli_json_text(reason, "column"));
    putchar('\n');
}

/* With --json the rows are collected in out, separated by commas. */
static enum error_code preview_table(const struct cli_call *call, struct worker *worker,
                                     const char *table, uint32_t rows, struct buffer *out,
                                     struct error *err) {
    SCOPED_RESULT const struct worker_preview *preview = NULL;
    TRY(worker_preview(worker, table, rows, &preview, err));
    if (!call->json)
        printf("%s: %zu %s, raw and as %s will be\n\n", table, preview->row_count,
               preview->row_count == 1 ? "row" : "rows", preview->row_count == 1 ? "it" : "they");
    for (size_t i = 0; i < preview->row_count; i++) {
        if (!call->json) {
            print_side_by_side(&preview->rows[i], preview->plan);
            continue;
        }
        buffer_append_text(out, out->len > 1 ? "," : "");
        row_text(table, &preview->rows[i], preview->plan, out);
    }
    return buffer_check(out, "preview", err);
}

static enum error_code run_preview(const struct cli_call *call, struct error *err) {
    SCOPED_MAPPING struct mapping *mapping = NULL;
    SCOPED_WORKER struct worker *worker = NULL;
    SCOPED_BUFFER struct buffer list;
    buffer_init(&list, PREVIEW_BYTES_MAX);
    buffer_append_byte(&list, '[');
    unsigned long rows = 0;
    const char *path = call->arguments[0];
    TRY(cli_number(call, "rows", 1, WORKER_PREVIEW_ROWS_MAX, PREVIEW_ROWS_DEFAULT, &rows, err));
    TRY(mapping_load(path, &mapping, err));
    TRY(cli_source_worker(path, mapping->source, &worker, err));
    for (size_t t = 0; t < mapping->table_count; t++) {
        const char *table = mapping->tables[t].table;
        if (call->argument_count == 1 || strcmp(call->arguments[1], table) == 0)
            TRY(preview_table(call, worker, table, (uint32_t)rows, &list, err));
    }
    if (call->argument_count == 2 && mapping_find(mapping, call->arguments[1]) == NULL)
        return error_set(err, ERROR_NOT_FOUND, "%s: the mapping has no table '%s'", path,
                         call->arguments[1]);
    buffer_append_byte(&list, ']');
    TRY(buffer_check(&list, "preview", err));
    if (call->json)
        output_json_text(buffer_bytes(&list));
    return ERROR_NONE;
}

static const struct cli_option preview_options[] = {
    {"rows", "N", "how many rows of each table (default: 3)", false, false}, CLI_OPTIONS_COMMON};

const struct cli_command cli_preview = {
    "preview", "Connect a database", "MAPPING [TABLE]", 1, 2,
    "show patients' rows as they will be: raw bytes beside JSON",
    "renkei preview main.yaml visits --rows 5", preview_options, run_preview};
