#include "connectors/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum renkei_status support_fault(struct renkei_fault *fault, enum renkei_status status,
                                 int64_t server_code, const char *sqlstate, const char *format,
                                 ...) {
    fault->status = status;
    fault->server_code = server_code;
    memset(fault->sqlstate, 0, sizeof fault->sqlstate);
    if (sqlstate != NULL)
        memcpy(fault->sqlstate, sqlstate, strnlen(sqlstate, sizeof fault->sqlstate - 1));
    va_list args;
    va_start(args, format);
    vsnprintf(fault->message, sizeof fault->message, format, args);
    va_end(args);
    /* A server's text often ends with a line end. */
    size_t len = strlen(fault->message);
    while (len > 0 && (fault->message[len - 1] == '\n' || fault->message[len - 1] == ' '))
        fault->message[--len] = '\0';
    return status;
}

/* --- options --- */

static bool is_number(const char *text) {
    size_t len = strlen(text);
    return len > 0 && len <= 10 && strspn(text, "0123456789") == len &&
           strtoul(text, NULL, 10) <= SUPPORT_OPTION_NUMBER_MAX;
}

static bool is_bool(const char *text) {
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

static const struct renkei_option *find_option(const struct support_options *o,
                                               const char *name) {
    for (uint32_t i = 0; i < o->count; i++)
        if (strcmp(o->options[i].name, name) == 0)
            return &o->options[i];
    return NULL;
}

enum renkei_status support_options_check(const struct support_options *o,
                                         struct renkei_fault *fault) {
    for (uint32_t i = 0; i < o->count; i++) {
        const struct renkei_option_spec *spec = o->specs;
        while (spec->name != NULL && strcmp(spec->name, o->options[i].name) != 0)
            spec++;
        if (spec->name == NULL)
            return support_fault(fault, RENKEI_OPTION, 0, NULL,
                                 "option '%s' is not one of this connector", o->options[i].name);
        if (spec->kind == RENKEI_OPTION_NUMBER && !is_number(o->options[i].value))
            return support_fault(fault, RENKEI_OPTION, 0, NULL,
                                 "option '%s': expected a number up to %d", spec->name,
                                 (int)SUPPORT_OPTION_NUMBER_MAX);
        if (spec->kind == RENKEI_OPTION_BOOL && !is_bool(o->options[i].value))
            return support_fault(fault, RENKEI_OPTION, 0, NULL,
                                 "option '%s': expected true or false", spec->name);
    }
    for (const struct renkei_option_spec *spec = o->specs; spec->name != NULL; spec++)
        if (spec->required && find_option(o, spec->name) == NULL)
            return support_fault(fault, RENKEI_OPTION, 0, NULL, "option '%s' is missing",
                                 spec->name);
    return RENKEI_OK;
}

const char *support_option(const struct support_options *o, const char *name) {
    const struct renkei_option *option = find_option(o, name);
    if (option != NULL)
        return option->value;
    for (const struct renkei_option_spec *spec = o->specs; spec->name != NULL; spec++)
        if (strcmp(spec->name, name) == 0)
            return spec->default_value;
    return NULL;
}

uint32_t support_option_number(const struct support_options *o, const char *name) {
    const char *value = support_option(o, name);
    return value == NULL ? 0 : (uint32_t)strtoul(value, NULL, 10);
}

bool support_option_bool(const struct support_options *o, const char *name) {
    const char *value = support_option(o, name);
    return value != NULL && strcmp(value, "true") == 0;
}

enum renkei_status support_secret(const struct support_options *o, const char *name,
                                  char ret_secret[SUPPORT_SECRET_BYTES_MAX],
                                  struct renkei_fault *fault) {
    const char *path = support_option(o, name);
    char secret[SUPPORT_SECRET_BYTES_MAX] = "";
    if (path != NULL) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return support_fault(fault, RENKEI_OPTION, errno, NULL, "option '%s': %s: %s", name,
                                 path, strerror(errno));
        ssize_t got = read(fd, secret, sizeof secret);
        int number = errno;
        close(fd);
        if (got < 0)
            return support_fault(fault, RENKEI_OPTION, number, NULL, "option '%s': %s: %s", name,
                                 path, strerror(number));
        size_t len = 0;
        while (len < (size_t)got && secret[len] != '\n' && secret[len] != '\r')
            len++;
        if (len == sizeof secret) {
            support_wipe(secret, sizeof secret);
            return support_fault(fault, RENKEI_OPTION, 0, NULL,
                                 "option '%s': the first line of %s is longer than %d bytes", name,
                                 path, SUPPORT_SECRET_BYTES_MAX - 1);
        }
        memset(secret + len, 0, sizeof secret - len);
    }
    memcpy(ret_secret, secret, sizeof secret);
    support_wipe(secret, sizeof secret);
    return RENKEI_OK;
}

void support_wipe(void *data, size_t len) {
    explicit_bzero(data, len);
}

enum renkei_status support_no_authority(struct renkei_fault *fault) {
    return support_fault(fault, RENKEI_OPTION, 0, NULL,
                         "option 'tls': verify needs 'tls_ca', the file of the authority that "
                         "signed the server (of the system's own: "
                         "/etc/ssl/certs/ca-certificates.crt)");
}

enum renkei_status support_not_encrypted(struct renkei_fault *fault) {
    return support_fault(fault, RENKEI_OPTION, 0, NULL,
                         "option 'tls' asks for encryption, and this connection has none (over a "
                         "Unix socket write off)");
}

/* --- replicas --- */

bool support_replica(const struct support_options *o, unsigned index,
                     struct support_endpoint *ret_endpoint) {
    const char *at = support_option(o, "replicas");
    for (; at != NULL && index > 0; index--) {
        at = strchr(at, ',');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL)
        return false;
    at += strspn(at, " ");
    size_t len = strcspn(at, ", ");
    const char *colon = memchr(at, ':', len);
    size_t host = colon == NULL ? len : (size_t)(colon - at);
    if (len == 0 || host >= SUPPORT_HOST_BYTES_MAX || len - host > SUPPORT_PORT_BYTES_MAX)
        return false;
    support_endpoint(o, ret_endpoint);
    memcpy(ret_endpoint->host, at, host);
    ret_endpoint->host[host] = '\0';
    if (colon != NULL)
        snprintf(ret_endpoint->port, sizeof ret_endpoint->port, "%.*s", (int)(len - host - 1),
                 colon + 1);
    return true;
}

void support_endpoint(const struct support_options *o, struct support_endpoint *ret_endpoint) {
    const char *host = support_option(o, "host"), *port = support_option(o, "port");
    snprintf(ret_endpoint->host, sizeof ret_endpoint->host, "%s", host == NULL ? "" : host);
    snprintf(ret_endpoint->port, sizeof ret_endpoint->port, "%s", port == NULL ? "" : port);
}

void support_note(char note[SUPPORT_NOTE_BYTES_MAX], const char *format, ...) {
    size_t len = strlen(note);
    if (len > 0)
        len += (size_t)snprintf(note + len, SUPPORT_NOTE_BYTES_MAX - len, "; ");
    if (len >= SUPPORT_NOTE_BYTES_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(note + len, SUPPORT_NOTE_BYTES_MAX - len, format, args);
    va_end(args);
}

bool support_replica_serves(const struct support_options *o, const struct support_endpoint *replica,
                            int64_t lag_s, char note[SUPPORT_NOTE_BYTES_MAX]) {
    int64_t most_s = support_option_number(o, "replica_lag_max_s");
    const char *host = replica->host, *port = replica->port;
    if (lag_s == SUPPORT_LAG_STOPPED)
        support_note(note, "replica %s:%s passed over: it replicates nothing", host, port);
    else if (lag_s == SUPPORT_LAG_UNKNOWN)
        support_note(note, "reads replica %s:%s, which does not tell the account how far behind it is",
                     host, port);
    else if (lag_s > most_s)
        support_note(note, "replica %s:%s passed over: %lld s behind, at most %lld s are allowed",
                     host, port, (long long)lag_s, (long long)most_s);
    else
        support_note(note, "reads replica %s:%s, %lld s behind", host, port, (long long)lag_s);
    return lag_s != SUPPORT_LAG_STOPPED && lag_s <= most_s;
}

/* --- batches --- */

enum renkei_status support_batch_init(struct support_batch *b, uint32_t column_count,
                                      struct renkei_fault *fault) {
    memset(b, 0, sizeof *b);
    if (column_count == 0 || column_count > RENKEI_COLUMNS_MAX)
        return support_fault(fault, RENKEI_LIMIT, 0, NULL, "%u columns: 1 to %d are possible",
                             column_count, RENKEI_COLUMNS_MAX);
    b->column_count = column_count;
    b->capacity = SUPPORT_BATCH_BYTES;
    b->data = malloc(b->capacity);
    b->offsets = calloc((size_t)column_count * SUPPORT_BATCH_ROWS, sizeof *b->offsets);
    b->lengths = calloc((size_t)column_count * SUPPORT_BATCH_ROWS, sizeof *b->lengths);
    b->columns = calloc(column_count, sizeof *b->columns);
    if (b->data == NULL || b->offsets == NULL || b->lengths == NULL || b->columns == NULL) {
        support_batch_done(b);
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a batch");
    }
    return RENKEI_OK;
}

void support_batch_done(struct support_batch *b) {
    free(b->data);
    free(b->offsets);
    free(b->lengths);
    free(b->columns);
    memset(b, 0, sizeof *b);
}

void support_batch_clear(struct support_batch *b) {
    b->used = 0;
    b->rows = 0;
}

enum renkei_status support_batch_reserve(struct support_batch *b, size_t len,
                                         struct renkei_fault *fault) {
    if (len <= b->capacity - b->used)
        return RENKEI_OK;
    if (len > RENKEI_BATCH_BYTES_MAX || b->used + len > RENKEI_BATCH_BYTES_MAX)
        return support_fault(fault, RENKEI_LIMIT, 0, NULL,
                             "a row of more than %d bytes (RENKEI_BATCH_BYTES_MAX)",
                             RENKEI_BATCH_BYTES_MAX);
    size_t capacity = b->capacity;
    while (capacity < b->used + len)
        capacity *= 2;
    uint8_t *data = realloc(b->data, capacity);
    if (data == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for %zu bytes of rows",
                             capacity);
    b->data = data;
    b->capacity = capacity;
    return RENKEI_OK;
}

size_t support_row_fit(uint32_t *lengths, uint32_t column_count) {
    size_t total = 0;
    for (uint32_t i = 0; i < column_count; i++) {
        if (lengths[i] > RENKEI_CELL_BYTES_MAX && lengths[i] != RENKEI_NULL)
            lengths[i] = RENKEI_TOO_LONG;
        if (lengths[i] < RENKEI_TOO_LONG)
            total += lengths[i];
    }
    while (total > RENKEI_ROW_BYTES_MAX) {
        uint32_t longest = 0;
        for (uint32_t i = 0; i < column_count; i++)
            if (lengths[i] < RENKEI_TOO_LONG &&
                (lengths[longest] >= RENKEI_TOO_LONG || lengths[i] > lengths[longest]))
                longest = i;
        total -= lengths[longest];
        lengths[longest] = RENKEI_TOO_LONG;
    }
    return total;
}

void support_batch_view(struct support_batch *b, struct renkei_batch *ret_batch) {
    for (uint32_t i = 0; i < b->column_count; i++)
        b->columns[i] = (struct renkei_batch_column){
            .data = b->data,
            .offset = b->offsets + (size_t)i * SUPPORT_BATCH_ROWS,
            .length = b->lengths + (size_t)i * SUPPORT_BATCH_ROWS,
        };
    *ret_batch = (struct renkei_batch){b->rows, b->column_count, b->columns};
}

/* --- SQL text --- */

void support_sql_done(struct support_sql *s) {
    free(s->text);
    memset(s, 0, sizeof *s);
}

static char *sql_room(struct support_sql *s, size_t len) {
    if (s->failed || len > SUPPORT_SQL_BYTES_MAX || s->len + len + 1 > SUPPORT_SQL_BYTES_MAX) {
        s->failed = true;
        return NULL;
    }
    if (s->len + len + 1 > s->capacity) {
        size_t capacity = s->capacity == 0 ? 1024 : s->capacity;
        while (capacity < s->len + len + 1)
            capacity *= 2;
        char *text = realloc(s->text, capacity);
        if (text == NULL) {
            s->failed = true;
            return NULL;
        }
        s->text = text;
        s->capacity = capacity;
    }
    char *at = s->text + s->len;
    s->len += len;
    s->text[s->len] = '\0';
    return at;
}

void support_sql_bytes(struct support_sql *s, const void *data, size_t len) {
    char *at = sql_room(s, len);
    if (at != NULL && len > 0)
        memcpy(at, data, len);
}

void support_sql_add(struct support_sql *s, const char *text) {
    support_sql_bytes(s, text, strlen(text));
}

void support_sql_number(struct support_sql *s, uint64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    support_sql_add(s, text);
}

void support_sql_hex(struct support_sql *s, const void *data, size_t len) {
    static const char digits[] = "0123456789ABCDEF";
    if (len > SUPPORT_SQL_BYTES_MAX / 2) {
        s->failed = true;
        return;
    }
    char *at = sql_room(s, 2 * len);
    for (size_t i = 0; at != NULL && i < len; i++) {
        uint8_t byte = ((const uint8_t *)data)[i];
        at[2 * i] = digits[byte >> 4];
        at[2 * i + 1] = digits[byte & 15];
    }
}

void support_sql_name(struct support_sql *s, char quote, const char *name) {
    support_sql_bytes(s, &quote, 1);
    for (const char *at = name; *at != '\0';) {
        const char *next = strchr(at, quote);
        size_t len = next == NULL ? strlen(at) : (size_t)(next - at) + 1;
        support_sql_bytes(s, at, len);
        if (next != NULL)
            support_sql_bytes(s, &quote, 1);
        at += len;
    }
    support_sql_bytes(s, &quote, 1);
}

enum renkei_status support_sql_check(const struct support_sql *s, struct renkei_fault *fault) {
    if (s->failed)
        return support_fault(fault, RENKEI_LIMIT, 0, NULL,
                             "a statement of more than %d bytes, or no memory for it",
                             SUPPORT_SQL_BYTES_MAX);
    return RENKEI_OK;
}

/* --- SELECT --- */

static void add_list(const struct support_dialect *d, struct support_sql *sql,
                     const char *const *names, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            support_sql_add(sql, ", ");
        support_sql_name(sql, d->quote, names[i]);
    }
}

static void add_values(const struct support_dialect *d, struct support_sql *sql,
                       const char *const *names, uint32_t count,
                       const struct renkei_value *values) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            support_sql_add(sql, ", ");
        d->literal(d->context, sql, names[i], &values[i]);
    }
}

/* a = x AND b = y */
static void add_equal(const struct support_dialect *d, struct support_sql *sql,
                      const char *const *names, uint32_t count,
                      const struct renkei_value *values) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            support_sql_add(sql, " AND ");
        support_sql_name(sql, d->quote, names[i]);
        support_sql_add(sql, " = ");
        d->literal(d->context, sql, names[i], &values[i]);
    }
}

static void add_keys(const struct support_dialect *d, struct support_sql *sql,
                     const struct renkei_query *q) {
    uint32_t n = q->key_column_count;
    if (n == 1 || d->row_values) {
        support_sql_add(sql, n == 1 ? "" : "(");
        add_list(d, sql, q->key_columns, n);
        support_sql_add(sql, n == 1 ? " IN (" : ") IN (");
        for (uint32_t i = 0; i < q->key_row_count; i++) {
            support_sql_add(sql, i > 0 ? ", " : "");
            support_sql_add(sql, n == 1 ? "" : "(");
            add_values(d, sql, q->key_columns, n, q->keys + (size_t)i * n);
            support_sql_add(sql, n == 1 ? "" : ")");
        }
        support_sql_add(sql, ")");
        return;
    }
    for (uint32_t i = 0; i < q->key_row_count; i++) {
        support_sql_add(sql, i > 0 ? " OR (" : "(");
        add_equal(d, sql, q->key_columns, n, q->keys + (size_t)i * n);
        support_sql_add(sql, ")");
    }
}

/* a > x OR (a = x AND b > y) OR ...: the row comparison that every database can write. The first
 * condition a >= x lets the others' planners use an index on a. */
static void add_after(const struct support_dialect *d, struct support_sql *sql,
                      const struct renkei_query *q) {
    uint32_t n = q->key_column_count;
    if (n > 1 && d->row_values) {
        support_sql_add(sql, "(");
        add_list(d, sql, q->key_columns, n);
        support_sql_add(sql, ") > (");
        add_values(d, sql, q->key_columns, n, q->after);
        support_sql_add(sql, ")");
        return;
    }
    if (n > 1) {
        support_sql_name(sql, d->quote, q->key_columns[0]);
        support_sql_add(sql, " >= ");
        d->literal(d->context, sql, q->key_columns[0], &q->after[0]);
        support_sql_add(sql, " AND (");
    }
    for (uint32_t i = 0; i < n; i++) {
        support_sql_add(sql, i > 0 ? " OR (" : "(");
        add_equal(d, sql, q->key_columns, i, q->after);
        support_sql_add(sql, i > 0 ? " AND " : "");
        support_sql_name(sql, d->quote, q->key_columns[i]);
        support_sql_add(sql, " > ");
        d->literal(d->context, sql, q->key_columns[i], &q->after[i]);
        support_sql_add(sql, ")");
    }
    if (n > 1)
        support_sql_add(sql, ")");
}

static const char *start_condition(struct support_sql *sql, const char *word) {
    support_sql_add(sql, word);
    return " AND ";
}

static enum renkei_status check_query(const struct renkei_query *q, struct renkei_fault *fault) {
    if (q->table == NULL || q->table[0] == '\0' || q->column_count == 0 ||
        q->column_count > RENKEI_COLUMNS_MAX || q->key_column_count > RENKEI_KEY_COLUMNS_MAX ||
        q->key_row_count > RENKEI_BATCH_ROWS_MAX)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL,
                             "a query without table or columns, or past a limit");
    bool needs_key = q->key_row_count > 0 || q->after != NULL || q->order_by_key;
    if (needs_key && q->key_column_count == 0)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL, "table %s: a query by no key",
                             q->table);
    return RENKEI_OK;
}

enum renkei_status support_select(const struct support_dialect *d, const struct renkei_query *q,
                                  struct support_sql *sql, struct renkei_fault *fault) {
    enum renkei_status status = check_query(q, fault);
    if (status != RENKEI_OK)
        return status;
    support_sql_add(sql, "SELECT ");
    for (uint32_t i = 0; i < q->column_count; i++) {
        support_sql_add(sql, i > 0 ? ", " : "");
        if (d->column != NULL)
            d->column(d->context, sql, q->columns[i]);
        else
            support_sql_name(sql, d->quote, q->columns[i]);
    }
    support_sql_add(sql, d->more == NULL ? "" : d->more);
    support_sql_add(sql, " FROM ");
    if (q->schema != NULL && q->schema[0] != '\0') {
        support_sql_name(sql, d->quote, q->schema);
        support_sql_add(sql, ".");
    }
    support_sql_name(sql, d->quote, q->table);
    support_sql_add(sql, d->join == NULL ? "" : d->join);
    const char *word = " WHERE ";
    if (q->key_row_count > 0) {
        word = start_condition(sql, word);
        support_sql_add(sql, "(");
        add_keys(d, sql, q);
        support_sql_add(sql, ")");
    }
    if (q->equals_column != NULL) {
        word = start_condition(sql, word);
        add_equal(d, sql, &q->equals_column, 1, &q->equals_value);
    }
    if (q->after != NULL) {
        word = start_condition(sql, word);
        support_sql_add(sql, "(");
        add_after(d, sql, q);
        support_sql_add(sql, ")");
    }
    if (q->watermark_column != NULL && q->watermark_from.data != NULL) {
        word = start_condition(sql, word);
        support_sql_name(sql, d->quote, q->watermark_column);
        support_sql_add(sql, " >= ");
        d->literal(d->context, sql, q->watermark_column, &q->watermark_from);
    }
    if (q->order_by_key) {
        support_sql_add(sql, " ORDER BY ");
        add_list(d, sql, q->key_columns, q->key_column_count);
    }
    if (q->rows_max > 0) {
        support_sql_add(sql, " LIMIT ");
        support_sql_number(sql, q->rows_max);
    }
    return support_sql_check(sql, fault);
}

/* --- long cells --- */

/* What a cell may have at most: with several of them in a row, less where the row is too long. */
static void add_limit(const struct support_guard *g, struct support_sql *sql,
                      const struct renkei_query *q) {
    uint64_t row = g->row_bytes_max == 0 || g->row_bytes_max > RENKEI_ROW_BYTES_MAX
                       ? RENKEI_ROW_BYTES_MAX
                       : g->row_bytes_max;
    uint64_t cell = row < RENKEI_CELL_BYTES_MAX ? row : RENKEI_CELL_BYTES_MAX;
    if (g->count == 1) {
        support_sql_number(sql, cell);
        return;
    }
    support_sql_add(sql, "CASE WHEN 0");
    for (uint32_t i = 0; i < q->column_count; i++) {
        if (!g->guarded[i])
            continue;
        support_sql_add(sql, " + COALESCE(");
        g->length(g->context, sql, q->columns[i]);
        support_sql_add(sql, ", 0)");
    }
    support_sql_add(sql, " > ");
    support_sql_number(sql, row);
    support_sql_add(sql, " THEN ");
    support_sql_number(sql, row / g->count < cell ? row / g->count : cell);
    support_sql_add(sql, " ELSE ");
    support_sql_number(sql, cell);
    support_sql_add(sql, " END");
}

static void add_length_is(const struct support_guard *g, struct support_sql *sql,
                          const char *column, const char *compare) {
    support_sql_add(sql, "CASE WHEN ");
    g->length(g->context, sql, column);
    support_sql_add(sql, compare);
    support_sql_bytes(sql, g->limit.text, g->limit.len);
    support_sql_add(sql, " THEN ");
}

enum renkei_status support_guard_make(struct support_guard *g, const struct renkei_query *query,
                                      struct renkei_fault *fault) {
    g->count = 0;
    for (uint32_t i = 0; i < query->column_count; i++)
        g->count += g->guarded[i];
    g->on = g->count > 0;
    if (!g->on)
        return RENKEI_OK;
    if (g->lateral && g->count > 1) {
        /* OFFSET 0 keeps the planner from working it out again for every column. */
        support_sql_add(&g->join, " CROSS JOIN LATERAL (SELECT ");
        add_limit(g, &g->join, query);
        support_sql_add(&g->join, " AS \"renkei limit\" OFFSET 0) AS \"renkei guard\"");
        support_sql_add(&g->limit, "\"renkei limit\"");
    } else {
        add_limit(g, &g->limit, query);
    }
    support_sql_add(&g->more, ", CONCAT_WS(','");
    for (uint32_t i = 0; i < query->column_count; i++) {
        if (!g->guarded[i])
            continue;
        support_sql_add(&g->more, ", ");
        add_length_is(g, &g->more, query->columns[i], " > ");
        support_sql_add(&g->more, "'");
        support_sql_number(&g->more, i);
        support_sql_add(&g->more, "' END");
    }
    support_sql_add(&g->more, ")");
    enum renkei_status status = support_sql_check(&g->limit, fault);
    if (status == RENKEI_OK)
        status = support_sql_check(&g->more, fault);
    return status == RENKEI_OK ? support_sql_check(&g->join, fault) : status;
}

void support_guard_done(struct support_guard *g) {
    support_sql_done(&g->limit);
    support_sql_done(&g->more);
    support_sql_done(&g->join);
}

void support_guard_column(const struct support_guard *g, struct support_sql *sql,
                          const char *column) {
    add_length_is(g, sql, column, " <= ");
    support_sql_name(sql, g->quote, column);
    support_sql_add(sql, " END");
}

void support_guard_read(const char *list, uint32_t *lengths, uint32_t column_count) {
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long column = strtoul(list, &end, 10);
        if (column < column_count)
            lengths[column] = RENKEI_TOO_LONG;
        list = *end == ',' ? end + 1 : end;
    }
}

/* --- descriptions --- */

struct pool_block {
    struct pool_block *before;
    max_align_t data[];
};

void *support_pool_alloc(struct support_pool *pool, size_t size) {
    struct pool_block *block = calloc(1, sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->before = pool->last;
    pool->last = block;
    return block->data;
}

const char *support_pool_text(struct support_pool *pool, const char *data, size_t len) {
    char *copy = data == NULL ? NULL : support_pool_alloc(pool, len + 1);
    if (copy == NULL)
        return "";
    memcpy(copy, data, len);
    return copy;
}

void support_pool_done(struct support_pool *pool) {
    struct pool_block *block = pool->last;
    while (block != NULL) {
        struct pool_block *before = block->before;
        free(block);
        block = before;
    }
    pool->last = NULL;
}

struct support_table *support_table_new(const char *schema, const char *table) {
    struct support_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    if (schema == NULL)
        schema = "";
    t->schema = support_pool_text(&t->pool, schema, strlen(schema));
    t->table = support_pool_text(&t->pool, table, strlen(table));
    return t;
}

void support_table_free(struct support_table *table) {
    if (table == NULL)
        return;
    free(table->columns);
    support_pool_done(&table->pool);
    free(table);
}

struct support_table *support_table_find(struct support_table *first, const char *schema,
                                         const char *table) {
    for (struct support_table *t = first; t != NULL; t = t->next)
        if (strcmp(t->table, table) == 0 && strcmp(t->schema, schema == NULL ? "" : schema) == 0)
            return t;
    return NULL;
}

void support_table_keep(struct support_table **first, struct support_table *table) {
    uint32_t count = 1;
    struct support_table **at = first;
    while (*at != NULL) {
        struct support_table *t = *at;
        bool same = strcmp(t->table, table->table) == 0 && strcmp(t->schema, table->schema) == 0;
        if (same || ++count > SUPPORT_TABLES_MAX) {
            *at = t->next;
            support_table_free(t);
        } else {
            at = &t->next;
        }
    }
    table->next = *first;
    *first = table;
}

void support_tables_done(struct support_table **first) {
    while (*first != NULL) {
        struct support_table *t = *first;
        *first = t->next;
        support_table_free(t);
    }
}

struct renkei_column *support_table_column(struct support_table *table) {
    if (table->column_count == RENKEI_COLUMNS_MAX)
        return NULL;
    if ((table->column_count & (table->column_count - 1)) == 0) {
        size_t capacity = table->column_count == 0 ? 1 : 2 * (size_t)table->column_count;
        struct renkei_column *columns =
            realloc(table->columns, capacity * sizeof *table->columns);
        if (columns == NULL)
            return NULL;
        table->columns = columns;
    }
    struct renkei_column *c = &table->columns[table->column_count++];
    *c = (struct renkei_column){
        .name = "", .declared_type = "", .charset_name = "", .nullable = -1};
    return c;
}

struct support_table *support_table_of_texts(const char *table, const struct renkei_value *names,
                                             uint32_t count) {
    struct support_table *t = support_table_new("", table);
    for (uint32_t i = 0; t != NULL && i < count; i++) {
        struct renkei_column *column = support_table_column(t);
        if (column == NULL) {
            support_table_free(t);
            return NULL;
        }
        column->name = support_pool_text(&t->pool, (const char *)names[i].data, names[i].len);
        column->declared_type = "text";
        column->type = RENKEI_TYPE_TEXT;
    }
    return t;
}

const struct renkei_column *support_table_find_column(const struct support_table *table,
                                                      const char *name) {
    for (uint32_t i = 0; table != NULL && i < table->column_count; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return &table->columns[i];
    return NULL;
}

static uint32_t find_name(const char *const *names, uint32_t name_count, const char *name) {
    uint32_t i = 0;
    while (i < name_count && strcmp(names[i], name) != 0)
        i++;
    return i;
}

void support_match_done(struct support_match *m) {
    support_pool_done(&m->pool);
    memset(m, 0, sizeof *m);
}

enum renkei_status support_match_init(struct support_match *m, const struct renkei_query *q,
                                      const char *const *names, uint32_t name_count,
                                      struct renkei_fault *fault) {
    bool by_key = q->key_row_count > 0;
    if (q->after != NULL || q->order_by_key || q->watermark_column != NULL ||
        (by_key && q->equals_column != NULL) || q->key_column_count > RENKEI_KEY_COLUMNS_MAX)
        return support_fault(fault, RENKEI_UNSUPPORTED, 0, NULL, "%s: not by such a query",
                             q->table);
    const struct renkei_value *values = by_key ? q->keys : &q->equals_value;
    m->count = by_key ? q->key_column_count : q->equals_column != NULL;
    m->rows = by_key ? q->key_row_count : m->count;
    for (uint32_t i = 0; i < m->count; i++) {
        const char *name = by_key ? q->key_columns[i] : q->equals_column;
        m->at[i] = find_name(names, name_count, name);
        if (m->at[i] == name_count)
            return support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s: no column %s", q->table,
                                 name);
    }
    size_t count = (size_t)m->count * m->rows;
    m->values = support_pool_alloc(&m->pool, (count + 1) * sizeof *values);
    for (size_t i = 0; m->values != NULL && i < count; i++) {
        if (values[i].data == NULL)
            continue;
        uint8_t *copy = support_pool_alloc(&m->pool, values[i].len + 1);
        if (copy == NULL) {
            m->values = NULL;
            break;
        }
        memcpy(copy, values[i].data, values[i].len);
        m->values[i] = (struct renkei_value){copy, values[i].len};
    }
    return m->values != NULL ? RENKEI_OK
                             : support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory",
                                             q->table);
}

bool support_match_row(const struct support_match *m, const struct renkei_value *cells) {
    for (uint32_t row = 0; row < m->rows; row++) {
        bool same = true;
        for (uint32_t i = 0; same && i < m->count; i++) {
            const struct renkei_value *wanted = &m->values[(size_t)row * m->count + i];
            const struct renkei_value *found = &cells[m->at[i]];
            same = wanted->data != NULL && found->data != NULL && found->len == wanted->len &&
                   memcmp(found->data, wanted->data, wanted->len) == 0;
        }
        if (same)
            return true;
    }
    return m->rows == 0;
}

enum renkei_status support_session_new(const struct renkei_option_spec *specs,
                                       const struct renkei_option *options, uint32_t option_count,
                                       size_t size, void **ret_session, struct renkei_fault *fault) {
    struct support_options o = {specs, options, option_count};
    enum renkei_status status = support_options_check(&o, fault);
    if (status != RENKEI_OK)
        return status;
    void *session = calloc(1, size);
    if (session == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    memcpy(session, &o, sizeof o);
    *ret_session = session;
    return RENKEI_OK;
}

void support_rows_done(struct support_rows *rows) {
    support_batch_done(&rows->batch);
    support_match_done(&rows->match);
    memset(rows, 0, sizeof *rows);
}

enum renkei_status support_rows_init(struct support_rows *rows, const struct support_table *table,
                                     const struct renkei_query *q, struct renkei_fault *fault) {
    const char *names[RENKEI_COLUMNS_MAX];
    for (uint32_t i = 0; i < table->column_count; i++)
        names[i] = table->columns[i].name;
    *rows = (struct support_rows){.table = table, .left = q->rows_max};
    if (rows->left == 0)
        rows->left = UINT64_MAX;
    enum renkei_status status =
        support_match_init(&rows->match, q, names, table->column_count, fault);
    for (uint32_t i = 0; status == RENKEI_OK && i < q->column_count; i++) {
        rows->wanted[i] = find_name(names, table->column_count, q->columns[i]);
        if (rows->wanted[i] == table->column_count)
            status = support_fault(fault, RENKEI_NO_COLUMN, 0, NULL, "%s: no column %s", q->table,
                                   q->columns[i]);
    }
    if (status == RENKEI_OK)
        status = support_batch_init(&rows->batch, q->column_count, fault);
    if (status != RENKEI_OK)
        support_rows_done(rows);
    return status;
}

static enum renkei_status add_row(struct support_rows *rows, const struct renkei_value *cells,
                                  struct renkei_fault *fault) {
    struct support_batch *b = &rows->batch;
    uint32_t lengths[RENKEI_COLUMNS_MAX];
    for (uint32_t i = 0; i < b->column_count; i++) {
        const struct renkei_value *cell = &cells[rows->wanted[i]];
        lengths[i] = cell->data == NULL ? RENKEI_NULL : cell->len;
    }
    enum renkei_status status =
        support_batch_reserve(b, support_row_fit(lengths, b->column_count), fault);
    for (uint32_t i = 0; status == RENKEI_OK && i < b->column_count; i++) {
        if (lengths[i] == RENKEI_NULL) {
            support_batch_null(b, i);
        } else if (lengths[i] == RENKEI_TOO_LONG) {
            support_batch_too_long(b, i);
        } else {
            if (lengths[i] > 0)
                memcpy(support_batch_at(b), cells[rows->wanted[i]].data, lengths[i]);
            support_batch_cell(b, i, lengths[i]);
        }
    }
    if (status == RENKEI_OK)
        support_batch_row_end(b);
    return status;
}

enum renkei_status support_rows_next(struct support_rows *rows, support_read_row *read,
                                     void *context, struct renkei_batch *ret_batch,
                                     struct renkei_fault *fault) {
    support_batch_clear(&rows->batch);
    while (rows->left > 0 && !support_batch_full(&rows->batch)) {
        const struct renkei_value *cells = NULL;
        uint32_t count = 0;
        enum renkei_status status = read(context, &cells, &count, fault);
        if (status == RENKEI_END)
            break;
        if (status == RENKEI_OK && count != rows->table->column_count)
            status = support_fault(fault, RENKEI_QUERY, 0, NULL, "%s: a row of %u cells, expected %u",
                                   rows->table->table, count, rows->table->column_count);
        if (status == RENKEI_OK && support_match_row(&rows->match, cells)) {
            rows->left--;
            status = add_row(rows, cells, fault);
        }
        if (status != RENKEI_OK)
            return status;
    }
    if (rows->batch.rows == 0)
        return RENKEI_END;
    support_batch_view(&rows->batch, ret_batch);
    return RENKEI_OK;
}

bool support_starts(const char *text, const char *prefix) {
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

enum renkei_charset support_charset(const char *name) {
    static const struct {
        const char *name;
        enum renkei_charset charset;
    } table[] = {
        /* MariaDB and MySQL */
        {"utf8", RENKEI_CHARSET_UTF8},
        {"utf8mb3", RENKEI_CHARSET_UTF8},
        {"utf8mb4", RENKEI_CHARSET_UTF8},
        {"cp932", RENKEI_CHARSET_CP932},
        {"sjis", RENKEI_CHARSET_SJIS},
        {"ujis", RENKEI_CHARSET_EUC_JP},
        {"eucjpms", RENKEI_CHARSET_EUC_JP},
        {"latin1", RENKEI_CHARSET_LATIN1},
        {"ascii", RENKEI_CHARSET_ASCII},
        {"binary", RENKEI_CHARSET_BINARY},
        {"ucs2", RENKEI_CHARSET_UTF16BE},
        {"utf16", RENKEI_CHARSET_UTF16BE},
        {"utf16le", RENKEI_CHARSET_UTF16LE},
        /* PostgreSQL; its SQL_ASCII says nothing */
        {"UTF8", RENKEI_CHARSET_UTF8},
        {"EUC_JP", RENKEI_CHARSET_EUC_JP},
        /* Oracle */
        {"AL32UTF8", RENKEI_CHARSET_UTF8},
        {"JA16SJIS", RENKEI_CHARSET_CP932},
        {"JA16SJISTILDE", RENKEI_CHARSET_CP932},
        {"JA16EUC", RENKEI_CHARSET_EUC_JP},
        {"JA16EUCTILDE", RENKEI_CHARSET_EUC_JP},
        {"LATIN1", RENKEI_CHARSET_LATIN1},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcasecmp(name, table[i].name) == 0)
            return table[i].charset;
    return RENKEI_CHARSET_UNKNOWN;
}

/* --- cancel() --- */

void support_cancel_init(struct support_cancel *c, bool reaches) {
    pthread_mutex_init(&c->mutex, NULL);
    atomic_init(&c->asked, false);
    c->reaches = reaches;
}

void support_cancel_done(struct support_cancel *c) {
    pthread_mutex_destroy(&c->mutex);
}

void support_cancel_forget(struct support_cancel *c) {
    pthread_mutex_lock(&c->mutex);
    atomic_store(&c->asked, false);
    pthread_mutex_unlock(&c->mutex);
}

void support_cancel_reaches(struct support_cancel *c, bool reaches) {
    pthread_mutex_lock(&c->mutex);
    c->reaches = reaches;
    pthread_mutex_unlock(&c->mutex);
}

bool support_cancelled(const struct support_cancel *c) {
    return atomic_load(&c->asked);
}

void support_cancel_ask(struct support_cancel *c, void (*tell)(struct renkei_session *s),
                        struct renkei_session *s) {
    pthread_mutex_lock(&c->mutex);
    atomic_store(&c->asked, true);
    if (c->reaches)
        tell(s);
    pthread_mutex_unlock(&c->mutex);
}
