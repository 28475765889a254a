/*
 * The connector for PostgreSQL, by libpq.
 *
 * Rows come back in the server's own encoding: client_encoding is set to what server_encoding
 * says, so that nothing is converted. Statements hold identifiers in UTF-8 (they come from the
 * mapping), so where the server's encoding is neither UTF8 nor SQL_ASCII they are sent under
 * client_encoding UTF8, and the rows are fetched, by a cursor, after it is set back. Values in a
 * statement are hexadecimal and converted by the server to the column's own type.
 *
 * Rows are streamed from a cursor, two FETCHes in flight (libpq's pipeline mode): the server reads
 * the next rows while we work on these, and both sides' memory stays small. libpq keeps a whole
 * FETCH in memory, so a table that can hold cells past our limits is read in another way: the server
 * leaves out those cells (struct support_guard), and the rows come one by one (single-row mode).
 * That costs time, so a table is read so only where its TOAST holds enough for one such cell.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "connectors/postgresql/postgresql.h"

enum {
    CONNECT_MS_MAX = 10000,
    FETCH_ROWS_FIRST = 16, /* the size of a row is not known yet */
    FETCH_ROWS_MAX = 256,
    FETCH_BYTES = 256 << 10, /* aimed at */
    SQLSTATE_BYTES = 5,
    OID_BYTEA = 17,
};

static const struct renkei_option_spec option_specs[] = {
    {"host", RENKEI_OPTION_TEXT, 0, NULL, "name or address of the server; not with socket"},
    {"port", RENKEI_OPTION_NUMBER, 0, "5432", "port of the server; names the socket too"},
    {"socket", RENKEI_OPTION_TEXT, 0, NULL, "folder of the server's Unix socket"},
    {"user", RENKEI_OPTION_TEXT, 1, NULL, "account; it needs SELECT and nothing else"},
    {"password_file", RENKEI_OPTION_SECRET, 0, NULL, "file whose first line is the password"},
    {"database", RENKEI_OPTION_TEXT, 1, NULL, "database to read"},
    {"tls", RENKEI_OPTION_TEXT, 0, "off", "off, required (encrypted), verify (and checked)"},
    {"tls_ca", RENKEI_OPTION_TEXT, 0, NULL, "file of the authority that signed the server"},
    {"tls_certificate", RENKEI_OPTION_TEXT, 0, NULL, "our certificate"},
    {"tls_key", RENKEI_OPTION_TEXT, 0, NULL, "our certificate's key"},
    {"statement_timeout_ms", RENKEI_OPTION_NUMBER, 0, "3600000",
     "the server ends a statement that takes longer; 0: never"},
    SUPPORT_REPLICA_OPTIONS,
    {NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL},
};

/* --- errors --- */

static bool state_is(const char *state, const char *prefix) {
    return strncmp(state, prefix, strlen(prefix)) == 0;
}

static enum renkei_status status_of(const struct renkei_session *s, const char *state) {
    if (state_is(state, "57P") || state_is(state, "08") ||
        PQstatus(s->connection) == CONNECTION_BAD)
        return RENKEI_LOST;
    if (state_is(state, "57014"))
        return support_cancelled(&s->cancel) ? RENKEI_CANCELLED : RENKEI_TIMEOUT;
    if (state_is(state, "55P03") || state_is(state, "25P03"))
        return RENKEI_TIMEOUT;
    if (state_is(state, "42P01") || state_is(state, "3F000"))
        return RENKEI_NO_TABLE;
    if (state_is(state, "42703"))
        return RENKEI_NO_COLUMN;
    if (state_is(state, "53200") || state[0] == '\0')
        return RENKEI_NO_MEMORY; /* libpq's own failures have no SQLSTATE */
    return RENKEI_QUERY;
}

/* Only the texts of these are passed on: others may quote a value ("invalid input syntax ..."). */
static bool text_is_safe(const char *state) {
    return state_is(state, "42P01") || state_is(state, "42703") || state_is(state, "42501") ||
           state_is(state, "57") || state_is(state, "55P03") || state_is(state, "53") ||
           state_is(state, "25P03") || state_is(state, "3F000");
}

/* Takes the result, which may be NULL. */
enum renkei_status postgresql_query_fault(struct renkei_session *s, PGresult *result,
                                          const char *object, struct renkei_fault *fault) {
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL)
        state = "";
    enum renkei_status status = status_of(s, state);
    if (status == RENKEI_CANCELLED)
        support_fault(fault, status, 0, state, "%s: cancelled", object);
    else if (text != NULL && text_is_safe(state))
        support_fault(fault, status, 0, state, "%s: SQLSTATE %s: %s", object, state, text);
    else if (state[0] != '\0')
        support_fault(fault, status, 0, state, "%s: SQLSTATE %s", object, state);
    else
        support_fault(fault, status, 0, state, "%s: %s", object,
                      status == RENKEI_LOST ? "the server closed the connection"
                                            : "the client library ran out of memory");
    PQclear(result);
    return status;
}

/* libpq has no field for a failed login's SQLSTATE, but its verbose message has it before the
 * text, in every language: "FATAL:  28P01: ...". */
static enum renkei_status connect_fault(const PGconn *connection, struct renkei_fault *fault) {
    char text[RENKEI_FAULT_MESSAGE_BYTES_MAX];
    char state[SQLSTATE_BYTES + 1] = "";
    snprintf(text, sizeof text, "%s", PQerrorMessage(connection));
    text[strcspn(text, "\n")] = '\0';
    const char *shown = text;
    for (const char *at = text; (at = strchr(at, ':')) != NULL; at++) {
        const char *code = at + 1 + strspn(at + 1, " ");
        if (code[0] >= '0' && code[0] <= '9' &&
            strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == SQLSTATE_BYTES &&
            code[SQLSTATE_BYTES] == ':') {
            memcpy(state, code, SQLSTATE_BYTES);
            shown = code + SQLSTATE_BYTES + 1;
            shown += strspn(shown, " ");
            break;
        }
    }
    enum renkei_status status = RENKEI_UNREACHABLE;
    if (state_is(state, "28") || PQconnectionNeedsPassword(connection))
        status = RENKEI_LOGIN;
    else if (state_is(state, "3D000"))
        status = RENKEI_OPTION;
    else if (state_is(state, "42501"))
        status = RENKEI_LOGIN;
    return support_fault(fault, status, 0, state, "%s", shown);
}

/* --- open and close --- */

static const char *ssl_mode(const char *tls) {
    if (strcmp(tls, "off") == 0)
        return "disable";
    if (strcmp(tls, "required") == 0)
        return "require";
    return strcmp(tls, "verify") == 0 ? "verify-full" : NULL;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Verbose errors must be asked for before the login, hence not PQconnectdb. */
static bool connect_within_time(PGconn *connection) {
    PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
    uint64_t until = now_ms() + CONNECT_MS_MAX;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED) {
        uint64_t now = now_ms();
        if (now >= until)
            return false;
        struct pollfd pfd = {PQsocket(connection),
                             state == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
        if (poll(&pfd, 1, (int)(until - now)) > 0)
            state = PQconnectPoll(connection);
    }
    return state == PGRES_POLLING_OK;
}

static enum renkei_status dial(struct renkei_session *s, struct renkei_fault *fault) {
    const struct support_options *o = &s->options;
    const char *host = s->endpoint.host[0] == '\0' ? NULL : s->endpoint.host;
    const char *socket = host == NULL ? support_option(o, "socket") : NULL;
    const char *mode = ssl_mode(support_option(o, "tls"));
    if ((support_option(o, "socket") != NULL) == (support_option(o, "host") != NULL))
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "options 'socket' and 'host': expected one of them");
    if (mode == NULL)
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "option 'tls': expected off, required or verify");
    if (strcmp(mode, "verify-full") == 0 && support_option(o, "tls_ca") == NULL)
        return support_no_authority(fault);
    /* libpq takes no notice of sslmode there, and says nothing. */
    if (socket != NULL && strcmp(mode, "disable") != 0)
        return support_not_encrypted(fault);
    char password[SUPPORT_SECRET_BYTES_MAX];
    enum renkei_status status = support_secret(o, "password_file", password, fault);
    if (status != RENKEI_OK)
        return status;
    const char *const words[] = {"host", "port", "user", "password", "dbname", "sslmode",
                                 "sslrootcert", "sslcert", "sslkey", "application_name",
                                 "passfile", NULL};
    const char *const values[] = {socket != NULL ? socket : host,
                                  s->endpoint.port,
                                  support_option(o, "user"),
                                  password,
                                  support_option(o, "database"),
                                  mode,
                                  support_option(o, "tls_ca"),
                                  support_option(o, "tls_certificate"),
                                  support_option(o, "tls_key"),
                                  "renkei",
                                  "/dev/null", /* the password file is ours alone to name */
                                  NULL};
    s->connection = PQconnectStartParams(words, values, 0);
    support_wipe(password, sizeof password);
    if (s->connection == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a connection");
    if (PQstatus(s->connection) == CONNECTION_BAD || !connect_within_time(s->connection)) {
        if (PQerrorMessage(s->connection)[0] == '\0')
            return support_fault(fault, RENKEI_UNREACHABLE, 0, NULL,
                                 "the server did not answer within %d ms", CONNECT_MS_MAX);
        return connect_fault(s->connection, fault);
    }
    if (strcmp(mode, "disable") != 0 && !PQsslInUse(s->connection))
        return support_not_encrypted(fault);
    return RENKEI_OK;
}

static enum renkei_status command(struct renkei_session *s, const char *sql, const char *object,
                                  struct renkei_fault *fault) {
    PGresult *result = PQexec(s->connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        return postgresql_query_fault(s, result, object, fault);
    PQclear(result);
    return RENKEI_OK;
}

/* How far a replica is behind, by its own word: what it was sent and what it has applied; where
 * nothing is sent to it, the age of what it applied last. */
static int64_t replica_lag_s(struct renkei_session *s) {
    PGresult *result = PQexec(
        s->connection,
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL"
        " WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver)"
        "  AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
        " ELSE ceil(extract(epoch FROM now() - pg_last_xact_replay_timestamp()))::bigint END");
    int64_t lag_s = SUPPORT_LAG_UNKNOWN;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        lag_s = PQgetisnull(result, 0, 0) ? SUPPORT_LAG_STOPPED
                                          : strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return lag_s;
}

/* The first replica that is near enough, else the source itself. */
static enum renkei_status reach(struct renkei_session *s, struct renkei_fault *fault) {
    for (unsigned i = 0; support_replica(&s->options, i, &s->endpoint); i++) {
        struct renkei_fault why = {0};
        if (dial(s, &why) != RENKEI_OK)
            support_note(s->note, "replica %s:%s passed over: %s", s->endpoint.host,
                         s->endpoint.port, why.message);
        else if (support_replica_serves(&s->options, &s->endpoint, replica_lag_s(s), s->note))
            return RENKEI_OK;
        PQfinish(s->connection);
        s->connection = NULL;
    }
    support_endpoint(&s->options, &s->endpoint);
    if (s->note[0] != '\0')
        support_note(s->note, "reads the source itself");
    return dial(s, fault);
}

static enum renkei_status set_encoding(struct renkei_session *s, const char *encoding,
                                       struct renkei_fault *fault) {
    char sql[96]; /* not PQsetClientEncoding: it does not tell why it failed, a cancel above all */
    snprintf(sql, sizeof sql, "SET client_encoding='%s'", encoding);
    return command(s, sql, "client_encoding", fault);
}

static enum renkei_status set_session(struct renkei_session *s, struct renkei_fault *fault) {
    const char *encoding = PQparameterStatus(s->connection, "server_encoding");
    snprintf(s->encoding, sizeof s->encoding, "%s", encoding == NULL ? "" : encoding);
    s->switches = strcmp(s->encoding, "UTF8") != 0 && strcmp(s->encoding, "SQL_ASCII") != 0;
    enum renkei_status status = set_encoding(s, s->switches ? "UTF8" : s->encoding, fault);
    char sql[640];
    snprintf(sql, sizeof sql,
             "SET DateStyle='ISO, YMD'; SET TimeZone='UTC'; SET IntervalStyle='postgres';"
             "SET extra_float_digits=3; SET bytea_output='hex'; SET lc_monetary='C';"
             "SET standard_conforming_strings=on; SET cursor_tuple_fraction=1.0;"
             "SET statement_timeout=%u; SET default_transaction_read_only=on",
             support_option_number(&s->options, "statement_timeout_ms"));
    if (status == RENKEI_OK)
        status = command(s, sql, "session settings", fault);
    snprintf(s->settings, sizeof s->settings,
             "client_encoding=%s;DateStyle=ISO, YMD;TimeZone=UTC;IntervalStyle=postgres;"
             "extra_float_digits=3;bytea_output=hex;lc_monetary=C;",
             s->encoding);
    return status;
}

static void postgresql_close(struct renkei_session *s);

static enum renkei_status postgresql_open(const struct renkei_option *options,
                                          uint32_t option_count,
                                          struct renkei_session **ret_session,
                                          struct renkei_fault *fault) {
    struct renkei_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    support_cancel_init(&s->cancel, true);
    s->options = (struct support_options){option_specs, options, option_count};
    s->cursor.session = s;
    enum renkei_status status = support_options_check(&s->options, fault);
    if (status == RENKEI_OK)
        status = reach(s, fault);
    if (status == RENKEI_OK)
        status = set_session(s, fault);
    if (status == RENKEI_OK) {
        s->canceller = PQgetCancel(s->connection);
        *ret_session = s;
        return RENKEI_OK;
    }
    postgresql_close(s);
    return status;
}

/* Reads what is still in flight away, at most FETCHES_IN_FLIGHT small results. */
static void leave_pipeline(struct renkei_cursor *c) {
    PGconn *connection = c->session->connection;
    while (c->in_flight > 0 && PQstatus(connection) == CONNECTION_OK) {
        if (c->guarded)
            (void)PQsetSingleRowMode(connection);
        PGresult *result = PQgetResult(connection);
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
            c->in_flight--;
        PQclear(result);
    }
    PQexitPipelineMode(connection);
    c->pipelined = false;
}

static void postgresql_finish(struct renkei_cursor *c) {
    if (c == NULL || !c->open)
        return;
    struct renkei_session *s = c->session;
    struct renkei_fault ignored; /* what goes wrong here shows at the next query */
    bool had_cursor = c->pipelined;
    PQclear(c->result);
    c->result = NULL;
    if (c->pipelined)
        leave_pipeline(c);
    else if (c->guarded)
        while ((c->result = PQgetResult(s->connection)) != NULL)
            PQclear(c->result);
    /* What puts the session back is not the query that somebody wanted to end. */
    support_cancel_reaches(&s->cancel, false);
    if (c->own_transaction)
        (void)command(s, "ROLLBACK", "end of the query", &ignored);
    else if (had_cursor && PQtransactionStatus(s->connection) == PQTRANS_INTRANS)
        (void)command(s, "CLOSE renkei_rows", "end of the query", &ignored);
    if (s->switches)
        (void)set_encoding(s, "UTF8", &ignored);
    support_cancel_reaches(&s->cancel, true);
    support_batch_done(&c->batch);
    free(c->row_lengths);
    c->row_lengths = NULL;
    c->open = false;
}

static void postgresql_close(struct renkei_session *s) {
    if (s == NULL)
        return;
    if (s->cursor.open) {
        PQclear(s->cursor.result);
        support_batch_done(&s->cursor.batch);
        free(s->cursor.row_lengths);
    }
    support_cancel_reaches(&s->cancel, false);
    PQfreeCancel(s->canceller);
    PQfinish(s->connection);
    support_cancel_done(&s->cancel);
    support_tables_done(&s->tables);
    free(s);
}

static void cancel_query(struct renkei_session *s) {
    char ignored[256];
    if (s->canceller != NULL)
        (void)PQcancel(s->canceller, ignored, sizeof ignored);
}

static void postgresql_cancel(struct renkei_session *s) {
    support_cancel_ask(&s->cancel, cancel_query, s);
}

/* --- the server --- */

static enum renkei_status postgresql_server(struct renkei_session *s,
                                            struct renkei_server *ret_server,
                                            struct renkei_fault *fault) {
    enum renkei_status status = command(s, "SELECT 1", "server", fault);
    if (status != RENKEI_OK)
        return status;
    const char *version = PQparameterStatus(s->connection, "server_version");
    *ret_server = (struct renkei_server){
        .product = "PostgreSQL",
        .version = version == NULL ? "" : version,
        .charset = s->encoding,
        .time_zone = "UTC",
        .settings = s->settings,
        .read_only = 1,
        .note = s->note,
    };
    return RENKEI_OK;
}

/* --- the snapshot --- */

static enum renkei_status postgresql_begin(struct renkei_session *s, const char **ret_label,
                                           struct renkei_fault *fault) {
    PGresult *result = NULL;
    enum renkei_status status =
        command(s, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "snapshot", fault);
    /* The snapshot is taken by the first query, which is this one. */
    if (status == RENKEI_OK)
        status = postgresql_catalog(s,
                         "SELECT to_char(now(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\" \"snapshot \"')"
                         " || txid_current_snapshot()",
                         NULL, "snapshot", &result, fault);
    if (status != RENKEI_OK)
        return status;
    snprintf(s->label, sizeof s->label, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
    s->in_snapshot = true;
    *ret_label = s->label;
    return RENKEI_OK;
}

static enum renkei_status postgresql_end(struct renkei_session *s, struct renkei_fault *fault) {
    s->in_snapshot = false;
    return command(s, "ROLLBACK", "end of the snapshot", fault);
}

/* --- queries --- */

/* Bytes in the server's own encoding, made into a text by the server and cast to the column's
 * type, so that an index serves and char(n) compares as char(n). */
static void literal(void *context, struct support_sql *sql, const char *column,
                    const struct renkei_value *value) {
    const struct postgresql_select *l = context;
    const struct renkei_column *c = support_table_find_column(l->table, column);
    if (value->data == NULL) {
        support_sql_add(sql, "NULL");
        return;
    }
    bool binary = c != NULL && c->type == RENKEI_TYPE_BINARY;
    support_sql_add(sql, binary ? "'\\x" : "convert_from('\\x");
    support_sql_hex(sql, value->data, value->len);
    support_sql_add(sql, "'::bytea");
    if (binary)
        return;
    support_sql_add(sql, ", '");
    support_sql_add(sql, l->session->encoding);
    support_sql_add(sql, "')");
    if (c != NULL) {
        support_sql_add(sql, "::");
        support_sql_add(sql, c->declared_type);
    }
}

static bool ask_for_more(struct renkei_cursor *c) {
    char sql[64];
    PGconn *connection = c->session->connection;
    snprintf(sql, sizeof sql, "FETCH FORWARD %d FROM renkei_rows", c->fetch_rows);
    if (!PQsendQueryParams(connection, sql, 0, NULL, NULL, NULL, NULL, 0) ||
        !PQpipelineSync(connection))
        return false;
    c->asked[c->in_flight++] = c->fetch_rows;
    return true;
}

static enum renkei_status start_cursor(struct renkei_session *s, struct support_sql *select,
                                       struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    struct support_sql sql = {0};
    enum renkei_status status = RENKEI_OK;
    if (!s->in_snapshot) {
        status = command(s, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", c->table, fault);
        c->own_transaction = status == RENKEI_OK;
    }
    support_sql_add(&sql, "DECLARE renkei_rows NO SCROLL CURSOR FOR ");
    support_sql_bytes(&sql, select->text, select->len);
    if (status == RENKEI_OK)
        status = support_sql_check(&sql, fault);
    if (status == RENKEI_OK)
        status = command(s, sql.text, c->table, fault);
    if (status == RENKEI_OK && s->switches)
        status = set_encoding(s, s->encoding, fault);
    support_sql_done(&sql);
    if (status != RENKEI_OK)
        return status;
    c->fetch_rows = FETCH_ROWS_FIRST;
    c->pipelined = PQenterPipelineMode(s->connection) == 1;
    if (!c->pipelined || !ask_for_more(c) || !ask_for_more(c))
        return postgresql_query_fault(s, NULL, c->table, fault);
    return RENKEI_OK;
}

static enum renkei_status start_whole(struct renkei_session *s, const char *sql,
                                      struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    if (c->guarded) {
        if (!PQsendQueryParams(s->connection, sql, 0, NULL, NULL, NULL, NULL, 0))
            return postgresql_query_fault(s, NULL, c->table, fault);
        return RENKEI_OK;
    }
    PGresult *result = PQexecParams(s->connection, sql, 0, NULL, NULL, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        return postgresql_query_fault(s, result, c->table, fault);
    c->result = result;
    c->ended = true;
    return RENKEI_OK;
}

static enum renkei_status postgresql_query(struct renkei_session *s,
                                           const struct renkei_query *query,
                                           struct renkei_cursor **ret_cursor,
                                           struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    if (c->open)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL, "%s: a cursor is open already",
                             query->table);
    support_cancel_forget(&s->cancel);
    struct support_table *t = support_table_find(s->tables, query->schema, query->table);
    enum renkei_status status = RENKEI_OK;
    if (t == NULL)
        status = postgresql_describe(s, query->schema, query->table, &t, fault);
    if (status != RENKEI_OK)
        return status;
    struct postgresql_select x = {.session = s, .table = t};
    struct support_sql sql = {0};
    bool whole = !s->switches && (query->key_row_count > 0 ||
                                  (query->rows_max > 0 && query->rows_max <= RENKEI_BATCH_ROWS_MAX));
    *c = (struct renkei_cursor){.session = s, .table = t->table};
    status = postgresql_guard(s, &x, query, fault);
    c->guarded = x.guard.on;
    struct support_dialect dialect = {.quote = '"',
                                      .row_values = true,
                                      .literal = literal,
                                      .column = postgresql_select_column,
                                      .more = x.guard.more.text,
                                      .join = x.guard.join.text,
                                      .context = &x};
    if (status == RENKEI_OK)
        status = support_select(&dialect, query, &sql, fault);
    support_guard_done(&x.guard);
    if (status == RENKEI_OK)
        status = support_batch_init(&c->batch, query->column_count, fault);
    if (status == RENKEI_OK) {
        c->open = true;
        status = whole ? start_whole(s, sql.text, fault) : start_cursor(s, &sql, fault);
    }
    support_sql_done(&sql);
    if (status == RENKEI_OK)
        *ret_cursor = c;
    else
        postgresql_finish(c);
    return status;
}

/* --- rows --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* bytea's text form, \x and hexadecimal digits, back to the bytes. */
static bool write_bytes(uint8_t *at, const char *text, size_t len, uint32_t *ret_len) {
    if (len < 2 || text[0] != '\\' || text[1] != 'x' || len % 2 != 0)
        return false;
    for (size_t i = 2; i < len; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        *at++ = (uint8_t)(high << 4 | low);
    }
    *ret_len = (uint32_t)(len - 2) / 2;
    return true;
}

static enum renkei_status not_hex(const PGresult *r, int column, struct renkei_fault *fault) {
    return support_fault(fault, RENKEI_QUERY, 0, NULL,
                         "column %s: bytea in a form that is not hex", PQfname(r, column));
}

/* Of a row with a cell that is too long, all but that cell. */
static enum renkei_status add_long_row(struct renkei_cursor *c, struct renkei_fault *fault) {
    const PGresult *r = c->result;
    uint32_t columns = c->batch.column_count;
    if (c->row_lengths == NULL)
        c->row_lengths = calloc(columns, sizeof *c->row_lengths);
    if (c->row_lengths == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory", c->table);
    for (uint32_t i = 0; i < columns; i++) {
        uint32_t len = (uint32_t)PQgetlength(r, c->row, (int)i);
        bool binary = PQftype(r, (int)i) == OID_BYTEA;
        c->row_lengths[i] = PQgetisnull(r, c->row, (int)i) ? RENKEI_NULL : binary ? len / 2 : len;
    }
    if (c->guarded)
        support_guard_read(PQgetvalue(r, c->row, (int)columns), c->row_lengths, columns);
    enum renkei_status status =
        support_batch_reserve(&c->batch, support_row_fit(c->row_lengths, columns), fault);
    for (uint32_t i = 0; status == RENKEI_OK && i < columns; i++) {
        uint32_t len = c->row_lengths[i];
        const char *text = PQgetvalue(r, c->row, (int)i);
        if (len == RENKEI_TOO_LONG) {
            support_batch_too_long(&c->batch, i);
        } else if (len == RENKEI_NULL) {
            support_batch_null(&c->batch, i);
        } else {
            if (PQftype(r, (int)i) != OID_BYTEA)
                memcpy(support_batch_at(&c->batch), text, len);
            else if (!write_bytes(support_batch_at(&c->batch), text,
                                  (size_t)PQgetlength(r, c->row, (int)i), &len))
                return not_hex(r, (int)i, fault);
            support_batch_cell(&c->batch, i, len);
        }
    }
    if (status == RENKEI_OK)
        support_batch_row_end(&c->batch);
    return status;
}

static enum renkei_status add_row(struct renkei_cursor *c, struct renkei_fault *fault) {
    const PGresult *r = c->result;
    uint32_t columns = c->batch.column_count;
    size_t total = 0;
    for (uint32_t i = 0; i < columns; i++)
        total += (size_t)PQgetlength(r, c->row, (int)i);
    if (total > RENKEI_CELL_BYTES_MAX ||
        (c->guarded && PQgetlength(r, c->row, (int)columns) > 0))
        return add_long_row(c, fault);
    enum renkei_status status = support_batch_reserve(&c->batch, total, fault);
    if (status != RENKEI_OK)
        return status;
    for (uint32_t i = 0; i < columns; i++) {
        uint32_t len = (uint32_t)PQgetlength(r, c->row, (int)i);
        const char *text = PQgetvalue(r, c->row, (int)i);
        if (len == 0 && PQgetisnull(r, c->row, (int)i)) {
            support_batch_null(&c->batch, i);
            continue;
        }
        if (PQftype(r, (int)i) != OID_BYTEA)
            memcpy(support_batch_at(&c->batch), text, len);
        else if (!write_bytes(support_batch_at(&c->batch), text, len, &len))
            return not_hex(r, (int)i, fault);
        support_batch_cell(&c->batch, i, len);
    }
    support_batch_row_end(&c->batch);
    return RENKEI_OK;
}

/* The size of the next FETCH, by what rows weighed in this one. */
static void adapt(struct renkei_cursor *c, int rows, size_t bytes) {
    if (rows == 0)
        return;
    size_t each = bytes / (size_t)rows + 1;
    size_t fit = FETCH_BYTES / each;
    c->fetch_rows = fit < 1 ? 1 : fit > FETCH_ROWS_MAX ? FETCH_ROWS_MAX : (int)fit;
}

/* What follows a FETCH's rows is read to its end; the oldest FETCH is no more in flight. */
static bool end_fetch(struct renkei_cursor *c, int *ret_asked) {
    PGconn *connection = c->session->connection;
    bool synced = false;
    while (!synced && PQstatus(connection) == CONNECTION_OK) {
        PGresult *rest = PQgetResult(connection);
        synced = PQresultStatus(rest) == PGRES_PIPELINE_SYNC;
        PQclear(rest);
    }
    *ret_asked = c->asked[0];
    memmove(&c->asked[0], &c->asked[1], sizeof c->asked - sizeof c->asked[0]);
    c->in_flight--;
    return synced && PQstatus(connection) == CONNECTION_OK;
}

/* The answer to the oldest FETCH in flight, and a new FETCH in its place. */
static enum renkei_status receive(struct renkei_cursor *c, struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    PGresult *result = PQgetResult(s->connection);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        c->ended = true;
        return postgresql_query_fault(s, result, c->table, fault);
    }
    int asked;
    c->result = result;
    c->row = 0;
    if (!end_fetch(c, &asked)) {
        c->ended = true;
        return postgresql_query_fault(s, NULL, c->table, fault);
    }
    if (PQntuples(result) < asked)
        c->ended = true;
    else if (!ask_for_more(c))
        return postgresql_query_fault(s, NULL, c->table, fault);
    return RENKEI_OK;
}

/* Where rows come one by one: adds the next one, or sees the end of a FETCH or of all. */
static enum renkei_status receive_row(struct renkei_cursor *c, struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    int asked;
    (void)PQsetSingleRowMode(s->connection);
    PGresult *result = PQgetResult(s->connection);
    ExecStatusType got = PQresultStatus(result);
    if (got == PGRES_SINGLE_TUPLE) {
        c->result = result;
        c->row = 0;
        c->rows_got++;
        enum renkei_status status = add_row(c, fault);
        c->result = NULL;
        PQclear(result);
        return status;
    }
    if (got != PGRES_TUPLES_OK) {
        c->ended = true;
        return postgresql_query_fault(s, result, c->table, fault);
    }
    PQclear(result);
    if (!c->pipelined) {
        c->ended = true;
        return RENKEI_OK;
    }
    bool synced = end_fetch(c, &asked);
    c->ended = !synced || c->rows_got < asked;
    c->rows_got = 0;
    if (!synced || (!c->ended && !ask_for_more(c)))
        return postgresql_query_fault(s, NULL, c->table, fault);
    return RENKEI_OK;
}

static enum renkei_status next_rows(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                                    struct renkei_fault *fault) {
    while (!c->ended && !support_batch_full(&c->batch)) {
        enum renkei_status status = receive_row(c, fault);
        if (status != RENKEI_OK)
            return status;
    }
    if (c->batch.rows == 0)
        return RENKEI_END;
    adapt(c, (int)c->batch.rows, c->batch.used);
    support_batch_view(&c->batch, ret_batch);
    return RENKEI_OK;
}

static enum renkei_status postgresql_next(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                                          struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    enum renkei_status status = RENKEI_OK;
    support_batch_clear(&c->batch);
    if (support_cancelled(&s->cancel))
        return support_fault(fault, RENKEI_CANCELLED, 0, NULL, "%s: cancelled", c->table);
    if (c->guarded)
        return next_rows(c, ret_batch, fault);
    if (c->result == NULL && c->ended)
        return RENKEI_END;
    if (c->result == NULL)
        status = receive(c, fault);
    if (status != RENKEI_OK)
        return status;
    int count = PQntuples(c->result);
    while (c->row < count && !support_batch_full(&c->batch)) {
        status = add_row(c, fault);
        if (status != RENKEI_OK)
            return status;
        c->row++;
    }
    if (c->row == count) {
        adapt(c, (int)c->batch.rows, c->batch.used);
        PQclear(c->result);
        c->result = NULL;
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
    .name = "postgresql",
    .version = "1",
    .description = "PostgreSQL, by libpq",
    .capabilities = RENKEI_CAN_SNAPSHOT | RENKEI_CAN_CANCEL | RENKEI_CAN_KEY_RANGE |
                    RENKEI_CAN_WATERMARK | RENKEI_CAN_RIGHTS,
    .options = option_specs,
    .open = postgresql_open,
    .close = postgresql_close,
    .server = postgresql_server,
    .tables = postgresql_tables,
    .columns = postgresql_columns,
    .rights = postgresql_rights,
    .begin = postgresql_begin,
    .end = postgresql_end,
    .query = postgresql_query,
    .next = postgresql_next,
    .finish = postgresql_finish,
    .cancel = postgresql_cancel,
};
