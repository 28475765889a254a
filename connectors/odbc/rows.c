/*
 * Rows by ODBC. A column is bound to a short buffer where the driver is known to tell truncation
 * and to give the whole cell by SQLGetData afterwards; else every cell goes by SQLGetData, in
 * ascending order, the one thing that every driver can do. The rowset is one row: after a truncated
 * block fetch a driver returned another row's value.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No driver reports this: where half of it is still there, the driver wrote 32 bits of a length
 * that has 64. */
static const SQLLEN untouched = (SQLLEN)0x5A5A5A5A5A5A5A5A;

/* --- statements --- */

struct literal_context {
    struct renkei_session *session;
    const struct support_table *table;
    const struct support_guard *guard;
    bool too_many;
};

static void add_hex(struct support_sql *sql, const char *before, const struct renkei_value *value,
                    const char *after) {
    support_sql_add(sql, before);
    support_sql_hex(sql, value->data, value->len);
    support_sql_add(sql, after);
}

static bool is_number(const struct renkei_value *v) {
    for (uint32_t i = 0; i < v->len; i++) {
        uint8_t b = v->data[i];
        if ((b < '0' || b > '9') && b != '-' && b != '.')
            return false;
    }
    return v->len > 0;
}

static void add_parameter(struct literal_context *l, struct support_sql *sql,
                          const struct renkei_value *value) {
    struct renkei_session *s = l->session;
    if (s->parameter_count == ODBC_PARAMETERS_MAX) {
        l->too_many = true;
        return;
    }
    s->parameters[s->parameter_count++] = value;
    support_sql_add(sql, "?");
}

static void literal(void *context, struct support_sql *sql, const char *column,
                    const struct renkei_value *value) {
    struct literal_context *l = context;
    const struct renkei_column *c = support_table_find_column(l->table, column);
    bool binary = c != NULL && c->type == RENKEI_TYPE_BINARY;
    bool text = c == NULL || c->type == RENKEI_TYPE_TEXT || c->type == RENKEI_TYPE_OTHER ||
                c->type == RENKEI_TYPE_ENUM;
    if (value->data == NULL) {
        support_sql_add(sql, "NULL");
        return;
    }
    switch (l->session->quirks->literal) {
    case ODBC_PARAMETER:
        add_parameter(l, sql, value);
        break;
    case ODBC_SQLITE:
        add_hex(sql, binary ? "X'" : "CAST(X'", value, binary ? "'" : "' AS TEXT)");
        break;
    case ODBC_MARIADB:
        if (text && c != NULL && c->charset_name[0] != '\0') {
            support_sql_add(sql, "_");
            support_sql_add(sql, c->charset_name);
            add_hex(sql, " X'", value, "'");
        } else if (!text && !binary && is_number(value)) {
            support_sql_add(sql, "'");
            support_sql_bytes(sql, value->data, value->len);
            support_sql_add(sql, "'");
        } else {
            add_hex(sql, "X'", value, "'");
        }
        break;
    case ODBC_POSTGRESQL:
        if (binary) {
            add_hex(sql, "'\\x", value, "'::bytea");
            break;
        }
        add_hex(sql, "convert_from('\\x", value, "'::bytea, '");
        support_sql_add(sql, l->session->encoding);
        support_sql_add(sql, "')::");
        /* char(n) compared as text would lose its blanks on one side only. */
        if (c != NULL && support_starts(c->declared_type, "bpchar"))
            support_sql_add(sql, "bpchar");
        else
            support_sql_add(sql, c == NULL || text ? "text" : c->declared_type);
        break;
    }
}

static bool is_text(const struct renkei_column *c) {
    return c->type == RENKEI_TYPE_TEXT || c->type == RENKEI_TYPE_OTHER;
}

static bool reads_as_blob(const struct renkei_session *s, const struct renkei_column *c) {
    return s->quirks->literal == ODBC_SQLITE && s->texts_as_blobs && c->type != RENKEI_TYPE_BINARY;
}

static void add_check(const struct renkei_session *s, const struct support_table *t,
                      const struct renkei_query *q, struct support_sql *sql) {
    enum { TERMS_MAX = 64 }; /* SQLite's expressions are at most 1,000 deep */
    support_sql_add(sql, ", (0");
    for (uint32_t i = 0; i < q->column_count; i++) {
        if (i % TERMS_MAX == TERMS_MAX - 1)
            support_sql_add(sql, ") + (0");
        odbc_check_select(s, support_table_find_column(t, q->columns[i]), sql);
    }
    support_sql_add(sql, ")");
}

/* What to select for a column, where the column itself would come back changed: psqlodbc turns an
 * infinite timestamp into the year 9999, and money into a float. */
static void select_column(void *context, struct support_sql *sql, const char *column) {
    const struct literal_context *l = context;
    const struct renkei_session *s = l->session;
    const struct renkei_column *c = support_table_find_column(l->table, column);
    bool blob = c != NULL && reads_as_blob(s, c);
    bool text = s->quirks->literal == ODBC_POSTGRESQL && c != NULL && !is_text(c) &&
                c->type != RENKEI_TYPE_BINARY;
    support_sql_add(sql, blob ? "CAST(" : "");
    bool guarded = l->guard->on && odbc_can_be_long(s, c);
    if (guarded)
        support_guard_column(l->guard, sql, column);
    else
        odbc_reals_select(s, c == NULL ? ODBC_REALS_NONE : odbc_reals_of(s, c), sql, column);
    /* Named anew: ORDER BY would take the name of a result's column before the table's, and sort
     * numbers as texts. */
    support_sql_add(sql, blob ? " AS BLOB)" : text ? "::text AS renkei_text"
                         : guarded                ? " AS renkei_text"
                                                  : "");
}

/* SQLite takes an unknown name in double quotes for a text: SELECT "tpyo" gives 'tpyo' in every
 * row. So names are checked here, for every driver. */
static enum renkei_status check_names(const struct support_table *t, const struct renkei_query *q,
                                      struct renkei_fault *fault) {
    for (uint32_t i = 0; i < q->column_count + q->key_column_count; i++) {
        const char *name = i < q->column_count ? q->columns[i] : q->key_columns[i - q->column_count];
        if (support_table_find_column(t, name) == NULL)
            return support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s: no column %s", t->table,
                                 name);
    }
    if (q->equals_column != NULL && support_table_find_column(t, q->equals_column) == NULL)
        return support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s: no column %s", t->table,
                             q->equals_column);
    if (q->watermark_column != NULL && support_table_find_column(t, q->watermark_column) == NULL)
        return support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s: no column %s", t->table,
                             q->watermark_column);
    return RENKEI_OK;
}

static enum renkei_status bind_parameters(struct renkei_session *s, SQLHSTMT statement,
                                          const char *table, struct renkei_fault *fault) {
    for (uint32_t i = 0; i < s->parameter_count; i++) {
        const struct renkei_value *v = s->parameters[i];
        s->parameter_lengths[i] = (SQLLEN)v->len;
        if (!SQL_SUCCEEDED(SQLBindParameter(statement, (SQLUSMALLINT)(i + 1), SQL_PARAM_INPUT,
                                            SQL_C_CHAR, SQL_VARCHAR, v->len == 0 ? 1 : v->len, 0,
                                            (SQLPOINTER)(uintptr_t)v->data, (SQLLEN)v->len,
                                            &s->parameter_lengths[i])))
            return odbc_fault(s, SQL_HANDLE_STMT, statement, table, fault);
    }
    return RENKEI_OK;
}

/* --- the cursor --- */

void odbc_finish(struct renkei_cursor *c) {
    if (c == NULL || !c->open)
        return;
    odbc_reader_stop(c);
    support_cancel_reaches(&c->session->cancel, false);
    if (c->statement != SQL_NULL_HSTMT)
        SQLFreeHandle(SQL_HANDLE_STMT, c->statement);
    support_batch_done(&c->batch);
    support_match_done(&c->match);
    free(c->names);
    free(c->c_types);
    free(c->is_text);
    free(c->counted);
    free(c->shortens);
    free(c->exact_sql);
    free(c->bits);
    free(c->bound);
    free(c->indicators);
    free(c->piece);
    struct renkei_session *s = c->session;
    memset(c, 0, sizeof *c);
    c->session = s;
}

/* Whether one more column is fetched than those of the table. */
static bool has_more(const struct renkei_cursor *c) {
    return c->checks || c->guarded;
}

static enum renkei_status make_room(struct renkei_cursor *c, uint32_t columns,
                                    struct renkei_fault *fault) {
    uint32_t batch_columns = columns;
    c->column_count = columns;
    columns += has_more(c);
    c->is_text = calloc(columns, sizeof *c->is_text);
    c->counted = calloc(columns, sizeof *c->counted);
    c->shortens = calloc(columns, sizeof *c->shortens);
    c->names = calloc(columns, sizeof *c->names);
    c->c_types = calloc(columns, sizeof *c->c_types);
    c->indicators = calloc(columns, sizeof *c->indicators);
    c->bound = calloc(columns, ODBC_BIND_BYTES);
    c->piece = malloc(ODBC_PIECE_BYTES);
    c->bits = calloc(columns, sizeof *c->bits);
    if (c->names == NULL || c->c_types == NULL || c->indicators == NULL || c->bound == NULL ||
        c->piece == NULL || c->bits == NULL || c->is_text == NULL || c->counted == NULL ||
        c->shortens == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory for a row",
                             c->table);
    return support_batch_init(&c->batch, batch_columns, fault);
}

static void note_columns(struct renkei_cursor *c, const struct support_table *t,
                         const struct renkei_query *q) {
    const struct renkei_session *s = c->session;
    for (uint32_t i = 0; i < c->column_count; i++) {
        const struct renkei_column *column = support_table_find_column(t, q->columns[i]);
        snprintf(c->names[i], sizeof c->names[i], "%s", q->columns[i]);
        c->is_text[i] = is_text(column);
        c->counted[i] = c->checks && odbc_is_counted(s, column);
        c->shortens[i] = odbc_reals_of(s, column) == ODBC_REALS_AND_NUMBERS;
        c->bits[i] = s->quirks->literal == ODBC_MARIADB ? column->bits : 0;
        bool binary = column->type == RENKEI_TYPE_BINARY || c->bits[i] > 0 ||
                      reads_as_blob(s, column);
        c->c_types[i] = binary ? SQL_C_BINARY : SQL_C_CHAR;
    }
    if (has_more(c))
        c->c_types[c->column_count] = SQL_C_CHAR;
}

static enum renkei_status bind_columns(struct renkei_cursor *c, struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    SQLSMALLINT count = 0;
    uint32_t expected = c->column_count + has_more(c);
    if (!SQL_SUCCEEDED(SQLNumResultCols(c->statement, &count)))
        return odbc_fault(s, SQL_HANDLE_STMT, c->statement, c->table, fault);
    if ((uint32_t)count != expected)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL,
                             "%s: the driver gives %d columns, %u were asked for", c->table,
                             (int)count, expected);
    c->binds = s->quirks->binds && s->can_get_bound;
    for (uint32_t i = 0; c->binds && i < expected; i++)
        if (!SQL_SUCCEEDED(SQLBindCol(c->statement, (SQLUSMALLINT)(i + 1), c->c_types[i],
                                      c->bound + (size_t)i * ODBC_BIND_BYTES, ODBC_BIND_BYTES,
                                      &c->indicators[i])))
            return odbc_fault(s, SQL_HANDLE_STMT, c->statement, c->table, fault);
    return RENKEI_OK;
}

static enum renkei_status start(struct renkei_cursor *c, const char *sql,
                                struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &c->statement)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, c->table, fault);
    uint32_t timeout_s = (support_option_number(&s->options, "statement_timeout_ms") + 999) / 1000;
    /* Many drivers ignore both. */
    SQLSetStmtAttr(c->statement, SQL_ATTR_QUERY_TIMEOUT, (SQLPOINTER)(uintptr_t)timeout_s, 0);
    SQLSetStmtAttr(c->statement, SQL_ATTR_CURSOR_TYPE,
                   (SQLPOINTER)(uintptr_t)SQL_CURSOR_FORWARD_ONLY, 0);
    enum renkei_status status = bind_parameters(s, c->statement, c->table, fault);
    if (status != RENKEI_OK)
        return status;
    support_cancel_reaches(&s->cancel, true);
    SQLRETURN result = SQLExecDirect(c->statement, (SQLCHAR *)(uintptr_t)sql, SQL_NTS);
    if (!SQL_SUCCEEDED(result))
        return odbc_fault(s, SQL_HANDLE_STMT, c->statement, c->table, fault);
    return bind_columns(c, fault);
}

/* The query's text, with its parameters noted in the session. */
static enum renkei_status write_query(struct renkei_session *s, const struct support_table *t,
                                      const struct renkei_query *query, bool checks,
                                      struct support_sql *sql, struct renkei_fault *fault) {
    struct odbc_guard guard;
    struct literal_context context = {s, t, &guard.guard, false};
    struct support_sql check = {0};
    struct renkei_query q = *query;
    if (!s->quirks->limit)
        q.rows_max = 0; /* the rows are counted as they come */
    if (s->quirks->chooses_here) {
        q.key_row_count = 0;
        q.equals_column = NULL;
    }
    enum renkei_status status = odbc_guard_make(&guard, s, t, query, fault);
    s->cursor.guarded = guard.guard.on;
    if (checks)
        add_check(s, t, query, &check);
    struct support_dialect dialect = {.quote = s->quote,
                                      .literal = literal,
                                      .column = select_column,
                                      .more = checks ? check.text : guard.guard.more.text,
                                      .join = guard.guard.join.text,
                                      .context = &context};
    s->parameter_count = 0;
    if (status == RENKEI_OK)
        status = support_sql_check(&check, fault);
    if (status == RENKEI_OK)
        status = support_select(&dialect, &q, sql, fault);
    if (status == RENKEI_OK && context.too_many)
        status = support_fault(fault, RENKEI_LIMIT, 0, NULL, "%s: more than %d values in a query",
                               query->table, ODBC_PARAMETERS_MAX);
    support_sql_done(&check);
    support_guard_done(&guard.guard);
    return status;
}

static void add_column(const char **columns, struct renkei_query *q, const char *name) {
    for (uint32_t i = 0; i < q->column_count; i++)
        if (strcmp(columns[i], name) == 0)
            return;
    columns[q->column_count++] = name;
}

/* Where rows are chosen here, what they are chosen by must be fetched: it stands behind the columns
 * that were asked for. */
static void add_chosen_by(const char **columns, const struct renkei_query *asked,
                          struct renkei_query *ret_query) {
    *ret_query = *asked;
    ret_query->columns = columns;
    memcpy(columns, asked->columns, asked->column_count * sizeof *columns);
    for (uint32_t i = 0; asked->key_row_count > 0 && i < asked->key_column_count; i++)
        add_column(columns, ret_query, asked->key_columns[i]);
    if (asked->equals_column != NULL)
        add_column(columns, ret_query, asked->equals_column);
}

static enum renkei_status open_cursor(struct renkei_session *s, const struct support_table *t,
                                      const struct renkei_query *asked,
                                      struct renkei_fault *fault) {
    const char *columns[RENKEI_COLUMNS_MAX + RENKEI_KEY_COLUMNS_MAX + 1];
    struct renkei_query wider;
    const struct renkei_query *query = asked;
    if (s->quirks->chooses_here && asked->column_count <= RENKEI_COLUMNS_MAX &&
        asked->key_column_count <= RENKEI_KEY_COLUMNS_MAX) { /* else support_select refuses it */
        add_chosen_by(columns, asked, &wider);
        query = &wider;
    }
    struct renkei_cursor *c = &s->cursor;
    struct support_sql sql = {0}, exact = {0};
    c->open = true;
    c->table = t->table;
    c->asked_count = asked->column_count;
    c->rows_max = query->rows_max == 0 ? UINT64_MAX : query->rows_max;
    c->checks = s->quirks->literal == ODBC_SQLITE && !s->texts_as_blobs;
    enum renkei_status status = RENKEI_OK;
    if (s->quirks->chooses_here)
        status = support_match_init(&c->match, query, query->columns, query->column_count, fault);
    if (c->checks) {
        s->texts_as_blobs = true;
        status = write_query(s, t, query, false, &exact, fault);
        s->texts_as_blobs = false;
        c->exact_sql = exact.text; /* the cursor's from here on */
    }
    if (status == RENKEI_OK)
        status = write_query(s, t, query, c->checks, &sql, fault);
    if (status == RENKEI_OK)
        status = make_room(c, query->column_count, fault);
    if (status == RENKEI_OK) {
        note_columns(c, t, query);
        status = start(c, sql.text, fault);
    }
    if (status == RENKEI_OK && s->quirks->reads_ahead && query->rows_max == 0 &&
        query->key_row_count == 0)
        status = odbc_reader_start(c, fault);
    support_sql_done(&sql);
    return status;
}

enum renkei_status odbc_query(struct renkei_session *s, const struct renkei_query *query,
                              struct renkei_cursor **ret_cursor, struct renkei_fault *fault) {
    if (s->cursor.open)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL, "%s: a cursor is open already",
                             query->table);
    support_cancel_forget(&s->cancel);
    struct support_table *t = support_table_find(s->tables, query->schema, query->table);
    enum renkei_status status = RENKEI_OK;
    if (t == NULL)
        status = odbc_describe(s, query->schema, query->table, &t, fault);
    if (status == RENKEI_OK)
        status = check_names(t, query, fault);
    if (status == RENKEI_OK && query->order_by_key && !s->quirks->order)
        status = support_fault(fault, RENKEI_UNSUPPORTED, 0, NULL,
                               "%s: the driver cannot order rows", query->table);
    if (status != RENKEI_OK)
        return status;
    status = open_cursor(s, t, query, fault);
    if (status == RENKEI_OK)
        *ret_cursor = &s->cursor;
    else
        odbc_finish(&s->cursor);
    return status;
}

/* --- cells --- */

static enum renkei_status lie(const struct renkei_cursor *c, uint32_t column, const char *what,
                              struct renkei_fault *fault) {
    return support_fault(fault, RENKEI_INTERNAL, 0, NULL,
                         "%s, column %s: the driver %s; its rows cannot be trusted", c->table,
                         c->names[column], what);
}

static bool half_written(SQLLEN indicator) {
    uint64_t bits = (uint64_t)indicator ^ (uint64_t)untouched;
    return bits >> 32 == 0;
}

/* One call of SQLGetData into the piece. ret_len: bytes got; ret_more: there is more. */
static enum renkei_status get_piece(struct renkei_cursor *c, uint32_t column, SQLLEN *ret_total,
                                    size_t *ret_len, bool *ret_more, struct renkei_fault *fault) {
    bool text = c->c_types[column] == SQL_C_CHAR;
    size_t fits = ODBC_PIECE_BYTES - (text ? 1 : 0);
    SQLLEN indicator = untouched;
    SQLRETURN result = SQLGetData(c->statement, (SQLUSMALLINT)(column + 1), c->c_types[column],
                                  c->piece, ODBC_PIECE_BYTES, &indicator);
    if (result == SQL_NO_DATA && c->session->quirks->no_data_is_null) {
        result = SQL_SUCCESS;
        indicator = SQL_NULL_DATA;
    }
    if (!SQL_SUCCEEDED(result))
        return result == SQL_NO_DATA
                   ? lie(c, column, "gave no data for a cell that has some", fault)
                   : odbc_fault(c->session, SQL_HANDLE_STMT, c->statement, c->table, fault);
    if (half_written(indicator))
        return lie(c, column, "writes lengths of 32 bits", fault);
    *ret_total = indicator;
    if (indicator == SQL_NULL_DATA) {
        *ret_len = 0;
        *ret_more = false;
        return RENKEI_OK;
    }
    if (indicator < 0 && indicator != SQL_NO_TOTAL)
        return lie(c, column, "reports a negative length", fault);
    bool more = indicator == SQL_NO_TOTAL || (size_t)indicator > fits;
    if (indicator == SQL_NO_TOTAL && result == SQL_SUCCESS) {
        /* All of it, but the driver does not say how much: text ends at its NUL. */
        if (!text)
            return lie(c, column, "does not tell the length of binary data", fault);
        *ret_len = strnlen((const char *)c->piece, fits);
        *ret_more = false;
        return RENKEI_OK;
    }
    *ret_len = more ? fits : (size_t)indicator;
    *ret_more = more;
    if (text && c->piece[*ret_len] != '\0')
        return lie(c, column, "reports a length that its data does not have", fault);
    return RENKEI_OK;
}

/* BIT comes as bytes, most significant first; its text form is one digit a bit. They are written
 * over the bytes. */
static enum renkei_status spread_bits(struct renkei_cursor *c, uint32_t column, size_t len,
                                      struct renkei_fault *fault) {
    uint8_t bytes[8] = {0};
    uint32_t bits = c->bits[column];
    if (len > sizeof bytes)
        return lie(c, column, "gave more bits than the column has", fault);
    enum renkei_status status = support_batch_reserve(&c->batch, bits, fault);
    if (status != RENKEI_OK)
        return status;
    uint8_t *at = support_batch_at(&c->batch);
    memcpy(bytes + sizeof bytes - len, at, len);
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t from_end = bits - 1 - i;
        at[i] = (uint8_t)('0' + ((bytes[7 - from_end / 8] >> (from_end % 8)) & 1));
    }
    support_batch_cell(&c->batch, column, bits);
    return RENKEI_OK;
}

/* A driver that cannot write a character writes `??`, and nobody can tell it from a `??` that somebody
 * typed. Both become bytes that no charset has, so that the mapping's policy decides, and the
 * character is never wrong without a word. */
static void mark_lost_characters(uint8_t *text, size_t len) {
    enum { NO_CHARACTER = 0xFF };
    for (size_t i = 0; i + 1 < len; i++) {
        if (text[i] != '?' || text[i + 1] != '?')
            continue;
        text[i] = NO_CHARACTER;
        text[++i] = NO_CHARACTER;
    }
}

/* A cell that stands whole at the batch's end, with room behind it for the text of a number. */
static enum renkei_status end_cell(struct renkei_cursor *c, uint32_t column, size_t len,
                                   struct renkei_fault *fault) {
    const struct odbc_quirks *quirks = c->session->quirks;
    if (c->bits[column] > 0)
        return spread_bits(c, column, len, fault);
    if (c->counted[column])
        c->counted_bytes += len;
    if (c->shortens[column])
        len = odbc_real_shorten(c->session, support_batch_at(&c->batch), len);
    if (c->is_text[column] && quirks->loses_characters)
        mark_lost_characters(support_batch_at(&c->batch), len);
    support_batch_cell(&c->batch, column, (uint32_t)len);
    return RENKEI_OK;
}

/* A whole cell by SQLGetData, its pieces joined as bytes: a piece may end within a character. */
static enum renkei_status get_cell(struct renkei_cursor *c, uint32_t column,
                                   struct renkei_fault *fault) {
    size_t start = c->batch.used, done = 0;
    SQLLEN first_total = 0;
    for (bool more = true, first = true; more; first = false) {
        SQLLEN total = 0;
        size_t len = 0;
        enum renkei_status status = get_piece(c, column, &total, &len, &more, fault);
        if (status != RENKEI_OK)
            return status;
        if (first && total == SQL_NULL_DATA) {
            support_batch_null(&c->batch, column);
            return RENKEI_OK;
        }
        if (first)
            first_total = total;
        if (total == SQL_NULL_DATA || (more && len == 0))
            return lie(c, column, "changed its mind about a cell", fault);
        if (first_total > RENKEI_CELL_BYTES_MAX || done + len > RENKEI_CELL_BYTES_MAX ||
            start - c->row_start + done + len > RENKEI_ROW_BYTES_MAX) {
            support_batch_too_long(&c->batch, column);
            if (c->counted[column] && first_total > 0)
                c->counted_bytes += (uint64_t)first_total;
            return RENKEI_OK;
        }
        status = support_batch_reserve(&c->batch, done + len + ODBC_REAL_BYTES_MAX, fault);
        if (status != RENKEI_OK)
            return status;
        memcpy(c->batch.data + start + done, c->piece, len);
        done += len;
    }
    if (first_total >= 0 && (size_t)first_total != done)
        return lie(c, column, "gave another number of bytes than it reported", fault);
    const struct odbc_quirks *quirks = c->session->quirks;
    if (c->is_text[column] && quirks->text_bytes_max > 0 && done > quirks->text_bytes_max) {
        support_batch_too_long(&c->batch, column);
        return RENKEI_OK;
    }
    return end_cell(c, column, done, fault);
}

static enum renkei_status take_bound(struct renkei_cursor *c, uint32_t column,
                                     struct renkei_fault *fault) {
    SQLLEN len = c->indicators[column];
    const uint8_t *data = c->bound + (size_t)column * ODBC_BIND_BYTES;
    bool text = c->c_types[column] == SQL_C_CHAR;
    if (len == SQL_NULL_DATA) {
        support_batch_null(&c->batch, column);
        return RENKEI_OK;
    }
    if (half_written(len))
        return lie(c, column, "writes lengths of 32 bits", fault);
    if (len == SQL_NO_TOTAL || len > ODBC_BIND_BYTES - (text ? 1 : 0))
        return get_cell(c, column, fault);
    if (len < 0)
        return lie(c, column, "reports a negative length", fault);
    if (text && data[len] != '\0')
        return lie(c, column, "reports a length that its data does not have", fault);
    enum renkei_status status =
        support_batch_reserve(&c->batch, (size_t)len + ODBC_REAL_BYTES_MAX, fault);
    if (status != RENKEI_OK)
        return status;
    memcpy(support_batch_at(&c->batch), data, (size_t)len);
    return end_cell(c, column, (size_t)len, fault);
}

/* Whether the row's texts came as they are: with as many bytes as the database says, and none in the form
 * in which the driver writes a blob, which is longer than the blob. */
static bool row_is_whole(const struct renkei_cursor *c) {
    const char *sum = (const char *)c->bound + (size_t)c->column_count * ODBC_BIND_BYTES;
    if (c->indicators[c->column_count] <= 0 || strtoull(sum, NULL, 10) != c->counted_bytes)
        return false;
    for (uint32_t i = 0; i < c->column_count; i++) {
        size_t at = (size_t)i * SUPPORT_BATCH_ROWS + c->batch.rows;
        const uint8_t *cell = c->batch.data + c->batch.offsets[at];
        if (c->c_types[i] == SQL_C_CHAR && c->batch.lengths[at] < RENKEI_TOO_LONG &&
            c->batch.lengths[at] >= 3 && cell[0] == 'X' && cell[1] == '\'')
            return false;
    }
    return true;
}

/* The cells that the server left out, which came as NULL. */
static void mark_left_out(struct renkei_cursor *c) {
    enum { LIST_BYTES_MAX = 6 * RENKEI_COLUMNS_MAX };
    char list[LIST_BYTES_MAX];
    uint32_t lengths[RENKEI_COLUMNS_MAX] = {0};
    const uint8_t *bound = c->bound + (size_t)c->column_count * ODBC_BIND_BYTES;
    if (c->binds && c->indicators[c->column_count] == 0 && bound[0] == '\0')
        return;
    odbc_text(c->statement, (SQLUSMALLINT)(c->column_count + 1), list, sizeof list);
    support_guard_read(list, lengths, c->column_count);
    for (uint32_t i = 0; i < c->column_count; i++)
        if (lengths[i] == RENKEI_TOO_LONG)
            support_batch_too_long(&c->batch, i);
}

static bool is_wanted(const struct renkei_cursor *c) {
    struct renkei_value cells[RENKEI_COLUMNS_MAX];
    if (c->match.rows == 0)
        return true;
    for (uint32_t i = 0; i < c->column_count; i++) {
        size_t at = (size_t)i * SUPPORT_BATCH_ROWS + c->batch.rows;
        bool value = c->batch.lengths[at] < RENKEI_TOO_LONG;
        cells[i].data = value ? c->batch.data + c->batch.offsets[at] : NULL;
        cells[i].len = value ? c->batch.lengths[at] : 0;
    }
    return support_match_row(&c->match, cells);
}

/* Adds the row that was fetched. *ret_whole is false, and no row added, where a text of it came
 * cut. */
static enum renkei_status add_row(struct renkei_cursor *c, bool *ret_whole,
                                  struct renkei_fault *fault) {
    size_t used = c->batch.used;
    c->row_start = used;
    c->counted_bytes = 0;
    for (uint32_t i = 0; i < c->column_count; i++) {
        enum renkei_status status = c->binds ? take_bound(c, i, fault) : get_cell(c, i, fault);
        if (status != RENKEI_OK)
            return status;
    }
    if (c->guarded)
        mark_left_out(c);
    *ret_whole = !c->checks || !c->binds || row_is_whole(c);
    if (*ret_whole && is_wanted(c))
        support_batch_row_end(&c->batch);
    else
        c->batch.used = used;
    return RENKEI_OK;
}

static enum renkei_status fetch(struct renkei_cursor *c, bool *ret_end,
                                struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    for (uint32_t i = 0; c->binds && i < c->column_count + has_more(c); i++)
        c->indicators[i] = untouched;
    SQLRETURN result = SQLFetch(c->statement);
    if (support_cancelled(&s->cancel))
        return support_fault(fault, RENKEI_CANCELLED, 0, NULL, "%s: cancelled", c->table);
    if (SQL_SUCCEEDED(result) || result == SQL_NO_DATA) {
        *ret_end = result == SQL_NO_DATA;
        return RENKEI_OK;
    }
    c->ended = true;
    return odbc_fault(s, SQL_HANDLE_STMT, c->statement, c->table, fault);
}

/* Runs the query once more with texts as blobs, up to the row that came cut. Within a snapshot its
 * rows and their order are the same; without one that holds only as long as none is given out. */
static enum renkei_status read_exactly(struct renkei_cursor *c, struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    if (s->wide)
        return support_fault(fault, RENKEI_UNSUPPORTED, 0, NULL,
                             "%s: a text with a NUL byte, or a blob in a column of another type; in a"
                             " database of UTF-16 the driver cannot give either whole",
                             c->table);
    s->texts_as_blobs = true;
    if (!s->in_snapshot && c->delivered > 0)
        return support_fault(fault, RENKEI_QUERY, 0, NULL,
                             "%s: a text with a NUL byte was met; the next run reads it whole",
                             c->table);
    uint64_t skip = c->delivered;
    if (s->in_snapshot)
        skip += c->batch.rows;
    else
        support_batch_clear(&c->batch);
    SQLFreeHandle(SQL_HANDLE_STMT, c->statement);
    c->statement = SQL_NULL_HSTMT;
    c->checks = false;
    for (uint32_t i = 0; i < c->column_count; i++)
        c->c_types[i] = SQL_C_BINARY;
    enum renkei_status status = start(c, c->exact_sql, fault);
    for (bool end = false; status == RENKEI_OK && skip > 0; skip--) {
        status = fetch(c, &end, fault);
        if (status == RENKEI_OK && end)
            return support_fault(fault, RENKEI_INTERNAL, 0, NULL,
                                 "%s: fewer rows at the second reading of a snapshot", c->table);
    }
    return status;
}

enum renkei_status odbc_fill(struct renkei_cursor *c, struct renkei_fault *fault) {
    support_batch_clear(&c->batch);
    while (!c->ended && c->delivered + c->batch.rows < c->rows_max &&
           !support_batch_full(&c->batch) && !atomic_load(&c->unwanted)) {
        bool whole = true;
        enum renkei_status status = fetch(c, &c->ended, fault);
        if (status == RENKEI_OK && c->ended)
            break;
        if (status == RENKEI_OK)
            status = add_row(c, &whole, fault);
        if (status == RENKEI_OK && !whole)
            status = read_exactly(c, fault);
        if (status != RENKEI_OK)
            return status;
    }
    if (c->batch.rows == 0)
        return RENKEI_END;
    c->delivered += c->batch.rows;
    return RENKEI_OK;
}
