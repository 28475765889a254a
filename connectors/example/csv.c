/*
 * An example of a connector: CSV files in a folder, one table a file, the first line its columns'
 * names. Read it to write one of your own: docs/connectors.md walks through it.
 *
 * It uses support.h for options, faults and batches; a plugin may do without, connector.h is all
 * that Renkei asks for. Cells are handed over as the file holds them, in an encoding that only the
 * mapping knows (charset UNKNOWN). An empty cell without quotes is NULL.
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

/* One row: cells as offsets into bytes. */
struct row {
    uint32_t at[CELLS_MAX], len[CELLS_MAX], count;
    uint8_t bytes[ROW_BYTES_MAX];
};

struct renkei_cursor {
    FILE *file;
    struct support_batch batch;
    uint32_t wanted[RENKEI_COLUMNS_MAX]; /* the file's column of each asked for */
    /* Rows by key, or by one column's value: `match_count` columns, `match_rows` alternatives. */
    uint32_t match_at[RENKEI_KEY_COLUMNS_MAX];
    uint32_t match_count, match_rows;
    struct support_pool match_pool;
    struct renkei_value *match_values;
    uint64_t rows_left;
};

struct renkei_session {
    const char *folder;
    struct support_table *tables;
    struct renkei_cursor cursor;
    struct row row;
};

/* Reads one line, quotes and line ends within quotes understood. RENKEI_END at the file's end. */
static enum renkei_status read_row(FILE *file, struct row *row, struct renkei_fault *fault) {
    uint32_t used = 0;
    bool quoted = false, was_quoted = false, any = false;
    row->count = 0;
    row->at[0] = 0;
    for (int c; (c = getc(file)) != EOF;) {
        any = true;
        if (c == '"') {
            int next = quoted ? getc(file) : EOF;
            if (quoted && next != '"') {
                ungetc(next, file);
                quoted = false;
                continue;
            }
            if (!quoted) {
                quoted = was_quoted = true;
                continue;
            }
        }
        bool ends_cell = !quoted && (c == ',' || c == '\n');
        if (!ends_cell && (quoted || c != '\r')) {
            if (used == ROW_BYTES_MAX)
                return support_fault(fault, RENKEI_LIMIT, 0, NULL, "a line of more than %d bytes",
                                     ROW_BYTES_MAX);
            row->bytes[used++] = (uint8_t)c;
        }
        if (ends_cell) {
            uint32_t len = used - row->at[row->count];
            row->len[row->count++] = len == 0 && !was_quoted ? RENKEI_NULL : len;
            was_quoted = false;
            if (c == '\n')
                return RENKEI_OK;
            if (row->count == CELLS_MAX)
                return support_fault(fault, RENKEI_LIMIT, 0, NULL, "more than %d columns",
                                     CELLS_MAX);
            row->at[row->count] = used;
        }
    }
    if (ferror(file) || any) /* a last line without its end may have been cut off */
        return support_fault(fault, RENKEI_LOST, 0, NULL, "the file ends within a line");
    return RENKEI_END;
}

static enum renkei_status open_file(const struct renkei_session *s, const char *table,
                                    FILE **ret_file, struct renkei_fault *fault) {
    char path[PATH_BYTES_MAX];
    FILE *file = NULL;
    if (strchr(table, '/') == NULL &&
        snprintf(path, sizeof path, "%s/%s.csv", s->folder, table) < (int)sizeof path)
        file = fopen(path, "re");
    if (file == NULL)
        return support_fault(fault, RENKEI_NO_TABLE, 0, NULL, "no file %s.csv in %s", table,
                             s->folder);
    *ret_file = file;
    return RENKEI_OK;
}

static void csv_finish(struct renkei_cursor *c) {
    if (c == NULL || c->file == NULL)
        return;
    fclose(c->file);
    support_batch_done(&c->batch);
    support_pool_done(&c->match_pool);
    c->file = NULL;
}

static void csv_close(struct renkei_session *s) {
    if (s == NULL)
        return;
    csv_finish(&s->cursor);
    support_tables_done(&s->tables);
    free(s);
}

static enum renkei_status csv_open(const struct renkei_option *options, uint32_t option_count,
                                   struct renkei_session **ret_session,
                                   struct renkei_fault *fault) {
    struct support_options o = {option_specs, options, option_count};
    enum renkei_status status = support_options_check(&o, fault);
    if (status != RENKEI_OK)
        return status;
    struct renkei_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    s->folder = support_option(&o, "folder"); /* options live until close() */
    *ret_session = s;
    return RENKEI_OK;
}

static enum renkei_status csv_server(struct renkei_session *s, struct renkei_server *ret_server,
                                     struct renkei_fault *fault) {
    (void)s;
    (void)fault;
    *ret_server = (struct renkei_server){"CSV files", "1", "", "", "null=empty-unquoted;", 1};
    return RENKEI_OK;
}

static enum renkei_status csv_tables(struct renkei_session *s, renkei_table_visitor *visitor,
                                     void *context, struct renkei_fault *fault) {
    DIR *folder = opendir(s->folder);
    if (folder == NULL)
        return support_fault(fault, RENKEI_UNREACHABLE, 0, NULL, "no readable folder %s",
                             s->folder);
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

/* The header's names, kept in the session. */
static enum renkei_status describe(struct renkei_session *s, const char *name, FILE *file,
                                   struct renkei_fault *fault) {
    enum renkei_status status = read_row(file, &s->row, fault);
    struct support_table *t = status == RENKEI_OK ? support_table_new("", name) : NULL;
    if (t == NULL)
        return status == RENKEI_OK || status == RENKEI_END
                   ? support_fault(fault, RENKEI_NO_TABLE, 0, NULL, "%s.csv has no header", name)
                   : status;
    for (uint32_t i = 0; i < s->row.count; i++) {
        struct renkei_column *c = support_table_column(t);
        if (c == NULL)
            break;
        uint32_t len = s->row.len[i] == RENKEI_NULL ? 0 : s->row.len[i];
        c->name = support_pool_text(&t->pool, (const char *)s->row.bytes + s->row.at[i], len);
        c->declared_type = "text";
        c->type = RENKEI_TYPE_TEXT;
    }
    support_table_keep(&s->tables, t);
    return RENKEI_OK;
}

static enum renkei_status csv_columns(struct renkei_session *s, const char *schema,
                                      const char *table, const struct renkei_column **ret_columns,
                                      uint32_t *ret_count, struct renkei_fault *fault) {
    FILE *file = NULL;
    (void)schema;
    enum renkei_status status = open_file(s, table, &file, fault);
    if (status != RENKEI_OK)
        return status;
    status = describe(s, table, file, fault);
    fclose(file);
    if (status != RENKEI_OK)
        return status;
    *ret_columns = s->tables->columns;
    *ret_count = s->tables->column_count;
    return RENKEI_OK;
}

static enum renkei_status find(const struct support_table *t, const char *const *names,
                               uint32_t count, uint32_t *ret_at, struct renkei_fault *fault) {
    for (uint32_t i = 0; i < count; i++) {
        const struct renkei_column *c = support_table_find_column(t, names[i]);
        if (c == NULL)
            return support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s.csv: no column %s",
                                 t->table, names[i]);
        ret_at[i] = (uint32_t)(c - t->columns);
    }
    return RENKEI_OK;
}

/* The values must outlive the call of query(): they are copied. */
static enum renkei_status set_match(struct renkei_session *s, const struct renkei_query *q,
                                    struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    bool by_key = q->key_row_count > 0;
    c->match_count = by_key ? q->key_column_count : q->equals_column != NULL;
    c->match_rows = by_key ? q->key_row_count : c->match_count;
    uint32_t count = c->match_count * c->match_rows;
    const struct renkei_value *values = by_key ? q->keys : &q->equals_value;
    enum renkei_status status = find(s->tables, by_key ? q->key_columns : &q->equals_column,
                                     c->match_count, c->match_at, fault);
    c->match_values = support_pool_alloc(&c->match_pool, (count + 1) * sizeof *values);
    if (status == RENKEI_OK && c->match_values == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s.csv: no memory", q->table);
    for (uint32_t i = 0; status == RENKEI_OK && i < count; i++) {
        const char *copy = support_pool_text(&c->match_pool, (const char *)values[i].data,
                                             values[i].len);
        c->match_values[i] = (struct renkei_value){(const uint8_t *)copy, values[i].len};
    }
    return status;
}

static bool matches(const struct renkei_cursor *c, const struct row *row) {
    for (uint32_t i = 0; i < c->match_rows; i++) {
        bool same = true;
        for (uint32_t k = 0; same && k < c->match_count; k++) {
            const struct renkei_value *v = &c->match_values[i * c->match_count + k];
            uint32_t at = c->match_at[k];
            same = row->len[at] == v->len && memcmp(row->bytes + row->at[at], v->data, v->len) == 0;
        }
        if (same)
            return true;
    }
    return c->match_rows == 0;
}

/* What is beyond this connector's capabilities is refused, never ignored: a condition that is not
 * applied would give rows that were not asked for. */
static enum renkei_status csv_query(struct renkei_session *s, const struct renkei_query *q,
                                    struct renkei_cursor **ret_cursor,
                                    struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    if (q->after != NULL || q->order_by_key || q->watermark_column != NULL ||
        (q->key_row_count > 0 && q->equals_column != NULL))
        return support_fault(fault, RENKEI_UNSUPPORTED, 0, NULL, "%s.csv: not by such a query",
                             q->table);
    enum renkei_status status = open_file(s, q->table, &c->file, fault);
    if (status == RENKEI_OK)
        status = describe(s, q->table, c->file, fault);
    if (status == RENKEI_OK)
        status = find(s->tables, q->columns, q->column_count, c->wanted, fault);
    if (status == RENKEI_OK)
        status = set_match(s, q, fault);
    if (status == RENKEI_OK)
        status = support_batch_init(&c->batch, q->column_count, fault);
    c->rows_left = q->rows_max == 0 ? UINT64_MAX : q->rows_max;
    if (status == RENKEI_OK)
        *ret_cursor = c;
    else
        csv_finish(c);
    return status;
}

static enum renkei_status csv_next(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                                   struct renkei_fault *fault) {
    struct renkei_session *s =
        (struct renkei_session *)(void *)((char *)c - offsetof(struct renkei_session, cursor));
    const struct row *row = &s->row;
    support_batch_clear(&c->batch);
    while (c->rows_left > 0 && !support_batch_full(&c->batch)) {
        enum renkei_status status = read_row(c->file, &s->row, fault);
        if (status == RENKEI_END)
            break;
        if (status == RENKEI_OK && row->count != s->tables->column_count)
            status = support_fault(fault, RENKEI_QUERY, 0, NULL,
                                   "%s.csv: a line of %u cells, expected %u", s->tables->table,
                                   row->count, s->tables->column_count);
        if (status == RENKEI_OK)
            status = support_batch_reserve(&c->batch, ROW_BYTES_MAX, fault);
        if (status != RENKEI_OK)
            return status;
        if (!matches(c, row))
            continue;
        c->rows_left--;
        for (uint32_t i = 0; i < c->batch.column_count; i++) {
            uint32_t len = row->len[c->wanted[i]];
            if (len == RENKEI_NULL) {
                support_batch_null(&c->batch, i);
                continue;
            }
            memcpy(support_batch_at(&c->batch), row->bytes + row->at[c->wanted[i]], len);
            support_batch_cell(&c->batch, i, len);
        }
        support_batch_row_end(&c->batch);
    }
    if (c->batch.rows == 0)
        return RENKEI_END;
    support_batch_view(&c->batch, ret_batch);
    return RENKEI_OK;
}

__attribute__((visibility("default"))) extern const struct renkei_connector renkei_connector;

const struct renkei_connector renkei_connector = {
    .magic = {RENKEI_CONNECTOR_MAGIC, RENKEI_CONNECTOR_ABI_VERSION,
              sizeof(struct renkei_connector), 0},
    .name = "csv",
    .version = "1",
    .description = "an example: CSV files in a folder",
    .capabilities = 0, /* no snapshot, cancel, ranges or rights: those slots stay NULL */
    .options = option_specs,
    .open = csv_open,
    .close = csv_close,
    .server = csv_server,
    .tables = csv_tables,
    .columns = csv_columns,
    .query = csv_query,
    .next = csv_next,
    .finish = csv_finish,
};
