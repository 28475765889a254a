/*
 * An example of a connector: CSV files in a folder, one table a file, the first line its columns'
 * names. Read it to write one of your own; docs/connectors.md walks through it.
 *
 * Cells are handed over as the file holds them, in an encoding that only the mapping knows (charset
 * UNKNOWN): no byte of a Shift_JIS character is a quote, a comma or a line's end, so the file is read
 * byte by byte. An empty cell without quotes is NULL. It uses support.h for options, faults, batches
 * and the choice of rows; a plugin may do without, connector.h is all that Renkei asks for.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connectors/support.h"

enum { CELLS_MAX = 256, ROW_BYTES_MAX = 1 << 20, PATH_BYTES_MAX = 4096 };

static const struct renkei_option_spec option_specs[] = {
    {"folder", RENKEI_OPTION_TEXT, 1, NULL, "folder that holds the .csv files"},
    {NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL},
};

struct renkei_cursor {
    FILE *file;
    struct support_rows rows;
    struct renkei_value cells[CELLS_MAX]; /* of the line that was read last */
    uint8_t bytes[ROW_BYTES_MAX];
};

struct renkei_session {
    struct support_options options; /* first */
    struct support_table *tables;
    struct renkei_cursor cursor; /* one at a time */
};

/* One line, which goes on where an end of a line is between quotes. RENKEI_END at the file's end. */
static enum renkei_status read_line(void *context, const struct renkei_value **ret_cells,
                                    uint32_t *ret_count, struct renkei_fault *fault) {
    struct renkei_cursor *c = context;
    bool in_quotes = false, had_quotes = false; /* within the cell that is read */
    uint32_t count = 0, used = 0, start = 0;
    for (int byte; (byte = getc(c->file)) != EOF;) {
        if (used == ROW_BYTES_MAX || count == CELLS_MAX)
            return support_fault(fault, RENKEI_LIMIT, 0, NULL, "a line of over %d bytes or %d cells",
                                 ROW_BYTES_MAX, CELLS_MAX);
        if (byte == '"' && (had_quotes || used == start)) {
            if (had_quotes && !in_quotes) /* the second of two quotes stands for one */
                c->bytes[used++] = '"';
            in_quotes = !in_quotes;
            had_quotes = true;
        } else if (!in_quotes && (byte == ',' || byte == '\n')) {
            if (byte == '\n' && !had_quotes && used > start && c->bytes[used - 1] == '\r')
                used--;
            bool null = used == start && !had_quotes;
            c->cells[count++] = (struct renkei_value){null ? NULL : c->bytes + start, used - start};
            start = used;
            had_quotes = false;
            if (byte == '\n') {
                *ret_cells = c->cells;
                *ret_count = count;
                return RENKEI_OK;
            }
        } else if (in_quotes || (!had_quotes && byte != '"')) {
            c->bytes[used++] = (uint8_t)byte;
        } else if (byte != '\r') {
            return support_fault(fault, RENKEI_QUERY, 0, NULL, "a quote in the middle of a cell");
        }
    }
    if (count == 0 && used == 0 && !had_quotes && !ferror(c->file))
        return RENKEI_END;
    /* A last line without its end may have been cut off: no row is made of it. */
    return support_fault(fault, RENKEI_LOST, 0, NULL, "the file ends within a line");
}

static void csv_finish(struct renkei_cursor *c) {
    if (c == NULL || c->file == NULL)
        return;
    fclose(c->file);
    c->file = NULL;
    support_rows_done(&c->rows);
}

/* Opens a table's file and reads its header; the description lives in the session. */
static enum renkei_status open_table(struct renkei_session *s, const char *name,
                                     struct renkei_fault *fault) {
    char path[PATH_BYTES_MAX];
    struct renkei_cursor *c = &s->cursor;
    const char *folder = support_option(&s->options, "folder");
    int len = snprintf(path, sizeof path, "%s/%s.csv", folder, name);
    csv_finish(c);
    if (strchr(name, '/') == NULL && len < (int)sizeof path)
        c->file = fopen(path, "re");
    const struct renkei_value *cells = NULL;
    uint32_t count = 0;
    if (c->file == NULL || read_line(c, &cells, &count, fault) != RENKEI_OK)
        return support_fault(fault, RENKEI_NO_TABLE, 0, NULL, "no file %s.csv with a header in %s",
                             name, folder);
    struct support_table *t = support_table_of_texts(name, cells, count);
    if (t == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s.csv: no memory", name);
    support_table_keep(&s->tables, t);
    return RENKEI_OK;
}

static void csv_close(struct renkei_session *s) {
    if (s == NULL)
        return;
    csv_finish(&s->cursor);
    support_tables_done(&s->tables);
    free(s);
}

static enum renkei_status csv_open(const struct renkei_option *options, uint32_t option_count,
                                   struct renkei_session **ret_session, struct renkei_fault *fault) {
    return support_session_new(option_specs, options, option_count, sizeof **ret_session,
                               (void **)ret_session, fault);
}

static enum renkei_status csv_server(struct renkei_session *s, struct renkei_server *ret_server,
                                     struct renkei_fault *fault) {
    (void)s, (void)fault;
    *ret_server = (struct renkei_server){"CSV files", "1", "", "", "null=empty-unquoted;", 1, ""};
    return RENKEI_OK;
}

static enum renkei_status csv_tables(struct renkei_session *s, renkei_table_visitor *visitor,
                                     void *context, struct renkei_fault *fault) {
    DIR *folder = opendir(support_option(&s->options, "folder"));
    if (folder == NULL)
        return support_fault(fault, RENKEI_UNREACHABLE, 0, NULL, "the folder cannot be read");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char *end = strrchr(entry->d_name, '.');
        if (end == NULL || strcmp(end, ".csv") != 0)
            continue;
        *end = '\0';
        struct renkei_table table = {entry->d_name, "", "table", "csv", -1, -1};
        visitor(context, &table);
    }
    closedir(folder);
    return RENKEI_OK;
}

static enum renkei_status csv_columns(struct renkei_session *s, const char *schema,
                                      const char *table, const struct renkei_column **ret_columns,
                                      uint32_t *ret_count, struct renkei_fault *fault) {
    (void)schema;
    enum renkei_status status = open_table(s, table, fault);
    csv_finish(&s->cursor);
    if (status != RENKEI_OK)
        return status;
    *ret_columns = s->tables->columns;
    *ret_count = s->tables->column_count;
    return RENKEI_OK;
}

/* What it cannot do is refused by support_rows_init, never ignored: a condition that is not applied
 * would hand over rows that nobody asked for. */
static enum renkei_status csv_query(struct renkei_session *s, const struct renkei_query *q,
                                    struct renkei_cursor **ret_cursor, struct renkei_fault *fault) {
    enum renkei_status status = open_table(s, q->table, fault);
    if (status == RENKEI_OK)
        status = support_rows_init(&s->cursor.rows, s->tables, q, fault);
    if (status == RENKEI_OK)
        *ret_cursor = &s->cursor;
    else
        csv_finish(&s->cursor);
    return status;
}

static enum renkei_status csv_next(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                                   struct renkei_fault *fault) {
    return support_rows_next(&c->rows, read_line, c, ret_batch, fault);
}

__attribute__((visibility("default"))) extern const struct renkei_connector renkei_connector;

const struct renkei_connector renkei_connector = {
    .magic = {RENKEI_CONNECTOR_MAGIC, RENKEI_CONNECTOR_ABI_VERSION, sizeof(struct renkei_connector), 0},
    .name = "csv",
    .version = "1",
    .description = "an example: CSV files in a folder",
    .capabilities = 0, /* no snapshot, cancel, ranges or rights: those slots stay NULL */
    .options = option_specs,
    .open = csv_open, .close = csv_close, .server = csv_server,
    .tables = csv_tables, .columns = csv_columns,
    .query = csv_query, .next = csv_next, .finish = csv_finish,
};
