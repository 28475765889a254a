/*
 * The connector for MySQL and MariaDB, by Debian's libmariadb.
 *
 * Statements travel as UTF-8 (identifiers come from the mapping in UTF-8), results come back as
 * the columns' own bytes: character_set_results is NULL, so that the server converts nothing.
 * Values in a statement are hexadecimal literals with the column's charset as introducer, so that
 * no byte of a key, 0x5C and 0x60 among them, can be taken for syntax.
 *
 * Rows are streamed by mysql_use_result. A limited query is read whole into one batch where it fits
 * SUPPORT_WHOLE_BYTES: a stream that is held open on a MyISAM table blocks the hospital's own
 * writers.
 */
#include <mysql.h>
#include <errmsg.h>
#include <mysqld_error.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connectors/support.h"

enum {
    CONNECT_S_MAX = 10,
    SETTINGS_BYTES_MAX = 512,
    LABEL_BYTES_MAX = 256,
    /* Of the client: rows of many TEXT columns are longer than what we hand over of them. */
    PACKET_BYTES_MAX = 2 * RENKEI_BATCH_BYTES_MAX,
    PACKET_HEAD_BYTES = 64 << 10, /* what is left of the server's packet for short columns */
    MEDIUM_BYTES_MAX = (1 << 24) - 1,
};

/* Errors of MySQL's and MariaDB's that the client's header does not name. */
enum {
    SERVER_MARIADB_STATEMENT_TIMEOUT = 1969,
    SERVER_MARIADB_CONNECTION_KILLED = 1927,
    SERVER_MYSQL_STATEMENT_TIMEOUT = 3024,
    SERVER_ACCESS_DENIED_NO_PASSWORD = 1698,
};

static const struct renkei_option_spec option_specs[] = {
    {"host", RENKEI_OPTION_TEXT, 0, NULL, "name or address of the server; not with socket"},
    {"port", RENKEI_OPTION_NUMBER, 0, "3306", "port of the server"},
    {"socket", RENKEI_OPTION_TEXT, 0, NULL, "path of the server's Unix socket"},
    {"user", RENKEI_OPTION_TEXT, 1, NULL, "account; it needs SELECT and nothing else"},
    {"password_file", RENKEI_OPTION_SECRET, 0, NULL, "file whose first line is the password"},
    {"database", RENKEI_OPTION_TEXT, 1, NULL, "database (schema) to read"},
    {"tls", RENKEI_OPTION_TEXT, 0, "off", "off, required (encrypted), verify (and checked)"},
    {"tls_ca", RENKEI_OPTION_TEXT, 0, NULL, "file of the authority that signed the server"},
    {"tls_certificate", RENKEI_OPTION_TEXT, 0, NULL, "our certificate"},
    {"tls_key", RENKEI_OPTION_TEXT, 0, NULL, "our certificate's key"},
    {"statement_timeout_ms", RENKEI_OPTION_NUMBER, 0, "3600000",
     "the server ends a statement that takes longer; 0: never"},
    SUPPORT_REPLICA_OPTIONS,
    {NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL},
};

struct renkei_cursor {
    struct renkei_session *session;
    MYSQL_RES *result;
    struct support_batch batch;
    uint32_t column_count;
    MYSQL_FIELD *fields;
    const char *table; /* borrowed from the description, for messages */
    bool open;
    bool whole; /* read into few, large batches */
    bool guarded; /* one more column tells which cells were left out */
    bool ended;
    uint32_t *row_lengths; /* of a row with a long cell */
};

struct renkei_session {
    MYSQL mysql;
    bool initialised; /* mysql_close is due */
    struct support_options options;
    struct support_endpoint endpoint;
    char note[SUPPORT_NOTE_BYTES_MAX];
    struct support_cancel cancel;
    unsigned long thread_id;
    bool mariadb;
    bool in_snapshot;
    bool transaction_read_only;
    uint64_t packet_bytes_max; /* of the server: a longer row is an error */
    struct support_table *tables;
    struct renkei_cursor cursor;
    char version[64];
    char charset[64];
    char settings[SETTINGS_BYTES_MAX];
    char label[LABEL_BYTES_MAX];
};

/* --- errors --- */

static bool is_lost(unsigned number) {
    return number == CR_SERVER_GONE_ERROR || number == CR_SERVER_LOST ||
           number == ER_SERVER_SHUTDOWN || number == SERVER_MARIADB_CONNECTION_KILLED ||
           number == CR_MALFORMED_PACKET || number == ER_NET_READ_ERROR ||
           number == ER_NET_READ_INTERRUPTED || number == ER_NET_ERROR_ON_WRITE ||
           number == ER_NET_WRITE_INTERRUPTED;
}

/* Only the texts of these errors are passed on: others may quote a piece of the statement. */
static bool text_is_safe(unsigned number) {
    return number == ER_NO_SUCH_TABLE || number == ER_BAD_FIELD_ERROR ||
           number == ER_TABLEACCESS_DENIED_ERROR || number == ER_COLUMNACCESS_DENIED_ERROR ||
           number == ER_DBACCESS_DENIED_ERROR || number == ER_ACCESS_DENIED_ERROR ||
           number == ER_BAD_DB_ERROR || number == ER_CON_COUNT_ERROR ||
           number == ER_SPECIFIC_ACCESS_DENIED_ERROR || number == ER_LOCK_WAIT_TIMEOUT ||
           number == SERVER_ACCESS_DENIED_NO_PASSWORD || number >= CR_MIN_ERROR;
}

static enum renkei_status status_of(const struct renkei_session *s, unsigned number) {
    switch (number) {
    case ER_NO_SUCH_TABLE:
    case ER_BAD_TABLE_ERROR:
        return RENKEI_NO_TABLE;
    case ER_BAD_FIELD_ERROR:
        return RENKEI_NO_COLUMN;
    case SERVER_MARIADB_STATEMENT_TIMEOUT:
    case SERVER_MYSQL_STATEMENT_TIMEOUT:
    case ER_LOCK_WAIT_TIMEOUT:
        return RENKEI_TIMEOUT;
    case ER_QUERY_INTERRUPTED:
        return support_cancelled(&s->cancel) ? RENKEI_CANCELLED : RENKEI_TIMEOUT;
    case CR_NET_PACKET_TOO_LARGE:
    case ER_NET_PACKET_TOO_LARGE:
        return RENKEI_LIMIT;
    case CR_OUT_OF_MEMORY:
    case ER_OUTOFMEMORY:
    case ER_OUT_OF_RESOURCES:
        return RENKEI_NO_MEMORY;
    default:
        return is_lost(number) ? RENKEI_LOST : RENKEI_QUERY;
    }
}

static enum renkei_status query_fault(struct renkei_session *s, const char *object,
                                      struct renkei_fault *fault) {
    unsigned number = mysql_errno(&s->mysql);
    enum renkei_status status = status_of(s, number);
    const char *state = mysql_sqlstate(&s->mysql);
    if (status == RENKEI_LIMIT)
        return support_fault(fault, status, number, state,
                             "%s: a row of more than %d bytes or the server's max_allowed_packet",
                             object, PACKET_BYTES_MAX);
    if (status == RENKEI_CANCELLED)
        return support_fault(fault, status, number, state, "%s: cancelled", object);
    if (text_is_safe(number))
        return support_fault(fault, status, number, state, "%s: server error %u: %s", object,
                             number, mysql_error(&s->mysql));
    return support_fault(fault, status, number, state, "%s: server error %u, SQLSTATE %s", object,
                         number, state);
}

static enum renkei_status connect_fault(MYSQL *mysql, struct renkei_fault *fault) {
    unsigned number = mysql_errno(mysql);
    enum renkei_status status = RENKEI_UNREACHABLE;
    if (number == ER_ACCESS_DENIED_ERROR || number == ER_DBACCESS_DENIED_ERROR ||
        number == SERVER_ACCESS_DENIED_NO_PASSWORD || number == ER_HOST_NOT_PRIVILEGED ||
        number == ER_NOT_SUPPORTED_AUTH_MODE || number == CR_AUTH_PLUGIN_CANNOT_LOAD)
        status = RENKEI_LOGIN;
    else if (number == ER_BAD_DB_ERROR)
        status = RENKEI_OPTION;
    return support_fault(fault, status, number, mysql_sqlstate(mysql), "%s", mysql_error(mysql));
}

/* --- open and close --- */

static enum renkei_status set_tls(const struct renkei_session *s, MYSQL *mysql,
                                  struct renkei_fault *fault) {
    const char *tls = support_option(&s->options, "tls");
    my_bool on = 1;
    my_bool verify = strcmp(tls, "verify") == 0;
    if (strcmp(tls, "off") == 0)
        return RENKEI_OK;
    if (!verify && strcmp(tls, "required") != 0)
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "option 'tls': expected off, required or verify");
    if (verify && support_option(&s->options, "tls_ca") == NULL)
        return support_no_authority(fault);
    mysql_ssl_set(mysql, support_option(&s->options, "tls_key"),
                  support_option(&s->options, "tls_certificate"),
                  support_option(&s->options, "tls_ca"), NULL, NULL);
    mysql_optionsv(mysql, MYSQL_OPT_SSL_ENFORCE, &on);
    mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    return RENKEI_OK;
}

static enum renkei_status prepare(const struct renkei_session *s, MYSQL *mysql,
                                  struct renkei_fault *fault) {
    unsigned connect_s = CONNECT_S_MAX;
    unsigned long packet_bytes_max = PACKET_BYTES_MAX;
    my_bool off = 0;
    mysql_optionsv(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_optionsv(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_bytes_max);
    mysql_optionsv(mysql, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_optionsv(mysql, MYSQL_OPT_RECONNECT, &off);
    return set_tls(s, mysql, fault);
}

/* mysql is closed by the caller also where this fails. */
static enum renkei_status dial(const struct renkei_session *s, MYSQL *mysql,
                               struct renkei_fault *fault) {
    const struct support_options *o = &s->options;
    const char *socket = support_option(o, "socket");
    const char *host = s->endpoint.host[0] == '\0' ? NULL : s->endpoint.host;
    if (socket != NULL && support_option(o, "host") != NULL)
        return support_fault(fault, RENKEI_OPTION, 0, NULL,
                             "options 'socket' and 'host': expected one of them");
    char password[SUPPORT_SECRET_BYTES_MAX];
    enum renkei_status status = support_secret(o, "password_file", password, fault);
    if (status != RENKEI_OK)
        return status;
    status = prepare(s, mysql, fault);
    /* utf8mb4 is not known before MySQL 5.5.3; utf8 serves for identifiers there. */
    for (int attempt = 0; status == RENKEI_OK && attempt < 2; attempt++) {
        mysql_optionsv(mysql, MYSQL_SET_CHARSET_NAME, attempt == 0 ? "utf8mb4" : "utf8");
        if (mysql_real_connect(mysql, host, support_option(o, "user"), password,
                               support_option(o, "database"),
                               host == NULL ? 0 : (unsigned)strtoul(s->endpoint.port, NULL, 10),
                               host == NULL ? socket : NULL, 0) != NULL)
            break;
        if (attempt == 1 || mysql_errno(mysql) != ER_UNKNOWN_CHARACTER_SET)
            status = connect_fault(mysql, fault);
    }
    support_wipe(password, sizeof password);
    if (status == RENKEI_OK && strcmp(support_option(o, "tls"), "off") != 0 &&
        mysql_get_ssl_cipher(mysql) == NULL)
        return support_not_encrypted(fault);
    return status;
}

static bool run(struct renkei_session *s, const char *sql) {
    return mysql_real_query(&s->mysql, sql, strlen(sql)) == 0;
}

/* One cell of one row, "" where there is none. Settings only, never data. */
static void ask(struct renkei_session *s, const char *sql, char *ret_text, size_t size) {
    ret_text[0] = '\0';
    if (!run(s, sql))
        return;
    MYSQL_RES *result = mysql_store_result(&s->mysql);
    MYSQL_ROW row = result == NULL ? NULL : mysql_fetch_row(result);
    if (row != NULL && row[0] != NULL)
        snprintf(ret_text, size, "%s", row[0]);
    mysql_free_result(result);
}

/* How far a replica is behind, by its own word. */
static int64_t replica_lag_s(struct renkei_session *s) {
    static const char *const asked[] = {"SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS",
                                        "SHOW SLAVE STATUS"};
    MYSQL_RES *result = NULL;
    for (size_t i = 0; result == NULL && i < sizeof asked / sizeof asked[0]; i++)
        result = run(s, asked[i]) ? mysql_store_result(&s->mysql) : NULL;
    if (result == NULL)
        return SUPPORT_LAG_UNKNOWN;
    MYSQL_ROW row = mysql_fetch_row(result);
    const MYSQL_FIELD *fields = mysql_fetch_fields(result);
    int64_t lag_s = SUPPORT_LAG_STOPPED; /* no row: it is no replica */
    for (unsigned i = 0; row != NULL && i < mysql_num_fields(result); i++)
        if (support_starts(fields[i].name, "Seconds_Behind_") && row[i] != NULL)
            lag_s = strtoll(row[i], NULL, 10);
    mysql_free_result(result);
    return lag_s;
}

/* The first replica that is near enough, else the source itself. */
static enum renkei_status reach(struct renkei_session *s, struct renkei_fault *fault) {
    for (unsigned i = 0; support_replica(&s->options, i, &s->endpoint); i++) {
        struct renkei_fault why = {0};
        if (dial(s, &s->mysql, &why) != RENKEI_OK)
            support_note(s->note, "replica %s:%s passed over: %s", s->endpoint.host,
                         s->endpoint.port, why.message);
        else if (support_replica_serves(&s->options, &s->endpoint, replica_lag_s(s), s->note))
            return RENKEI_OK;
        mysql_close(&s->mysql);
        s->initialised = mysql_init(&s->mysql) != NULL;
        if (!s->initialised)
            return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a connection");
    }
    support_endpoint(&s->options, &s->endpoint);
    if (s->note[0] != '\0')
        support_note(s->note, "reads the source itself");
    return dial(s, &s->mysql, fault);
}

/* Settings that must hold; each is told in server().settings. */
static enum renkei_status set_session(struct renkei_session *s, struct renkei_fault *fault) {
    static const char *const must[] = {
        "SET SESSION sql_mode=''",
        "SET SESSION time_zone='+00:00'",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION net_write_timeout=600",
        "SET character_set_results=NULL",
    };
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++)
        if (!run(s, must[i]))
            return query_fault(s, must[i], fault);
    /* Not known before MySQL 5.6 and MariaDB 10.0; said in read_only. */
    s->transaction_read_only = run(s, "SET SESSION TRANSACTION READ ONLY");

    uint32_t timeout_ms = support_option_number(&s->options, "statement_timeout_ms");
    char sql[96];
    if (s->mariadb)
        snprintf(sql, sizeof sql, "SET SESSION max_statement_time=%u.%03u", timeout_ms / 1000,
                 timeout_ms % 1000);
    else
        snprintf(sql, sizeof sql, "SET SESSION max_execution_time=%u", timeout_ms);
    bool has_timeout = run(s, sql); /* none in old servers: the worker's own deadline holds */
    snprintf(s->settings, sizeof s->settings,
             "character_set_results=NULL;sql_mode=;time_zone=+00:00;"
             "transaction_isolation=REPEATABLE-READ;statement_timeout=%s;",
             has_timeout ? "server" : "none");
    return RENKEI_OK;
}

static void mysql_connector_close(struct renkei_session *s);

static enum renkei_status mysql_connector_open(const struct renkei_option *options,
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
    if (status == RENKEI_OK && mysql_init(&s->mysql) == NULL)
        status = support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a connection");
    else if (status == RENKEI_OK)
        s->initialised = true;
    if (status == RENKEI_OK)
        status = reach(s, fault);
    if (status == RENKEI_OK) {
        ask(s, "SELECT VERSION()", s->version, sizeof s->version);
        ask(s, "SELECT @@character_set_database", s->charset, sizeof s->charset);
        char packet[24];
        ask(s, "SELECT @@max_allowed_packet", packet, sizeof packet);
        s->packet_bytes_max = strtoull(packet, NULL, 10);
        s->mariadb = strstr(s->version, "MariaDB") != NULL;
        s->thread_id = mysql_thread_id(&s->mysql);
        status = set_session(s, fault);
    }
    if (status != RENKEI_OK) {
        mysql_connector_close(s);
        return status;
    }
    *ret_session = s;
    return RENKEI_OK;
}

/* Over a connection of its own, as the protocol wants it. From any thread. */
static void kill_query(struct renkei_session *s) {
    MYSQL killer;
    if (s->thread_id != 0 && mysql_init(&killer) != NULL) {
        struct renkei_fault fault;
        char sql[48];
        snprintf(sql, sizeof sql, "KILL QUERY %lu", s->thread_id);
        /* Where this fails the query goes on to its own timeout: there is nobody to tell. */
        if (dial(s, &killer, &fault) == RENKEI_OK)
            (void)mysql_real_query(&killer, sql, strlen(sql));
        mysql_close(&killer);
    }
}

static void mysql_connector_cancel(struct renkei_session *s) {
    support_cancel_ask(&s->cancel, kill_query, s);
}

static void mysql_connector_finish(struct renkei_cursor *c) {
    if (c == NULL || !c->open)
        return;
    struct renkei_session *s = c->session;
    support_cancel_reaches(&s->cancel, false);
    /* Freeing a stream reads its rest, which could take minutes: the server is asked to end it. */
    if (!c->ended)
        kill_query(s);
    mysql_free_result(c->result);
    support_batch_done(&c->batch);
    free(c->row_lengths);
    c->row_lengths = NULL;
    c->open = false;
    support_cancel_reaches(&s->cancel, true);
}

static void mysql_connector_close(struct renkei_session *s) {
    if (s == NULL)
        return;
    mysql_connector_finish(&s->cursor);
    support_cancel_reaches(&s->cancel, false);
    if (s->initialised)
        mysql_close(&s->mysql);
    support_tables_done(&s->tables);
    support_cancel_done(&s->cancel);
    free(s);
}

/* --- what there is --- */

static enum renkei_status mysql_connector_server(struct renkei_session *s,
                                                 struct renkei_server *ret_server,
                                                 struct renkei_fault *fault) {
    if (mysql_ping(&s->mysql) != 0)
        return query_fault(s, "server", fault);
    *ret_server = (struct renkei_server){
        .product = s->mariadb ? "MariaDB" : "MySQL",
        .version = s->version,
        .charset = s->charset,
        .time_zone = "+00:00",
        .settings = s->settings,
        .read_only = s->transaction_read_only,
        .note = s->note,
    };
    return RENKEI_OK;
}

/* Runs a query of the connector's own and keeps its whole result. */
static enum renkei_status catalog(struct renkei_session *s, const char *sql, const char *object,
                                  MYSQL_RES **ret_result, struct renkei_fault *fault) {
    MYSQL_RES *result = run(s, sql) ? mysql_store_result(&s->mysql) : NULL;
    if (result == NULL)
        return query_fault(s, object, fault);
    *ret_result = result;
    return RENKEI_OK;
}

static int64_t number_or(const char *text, int64_t otherwise) {
    return text == NULL ? otherwise : strtoll(text, NULL, 10);
}

static enum renkei_status mysql_connector_tables(struct renkei_session *s,
                                                 renkei_table_visitor *visitor, void *context,
                                                 struct renkei_fault *fault) {
    MYSQL_RES *result = NULL;
    enum renkei_status status = catalog(
        s,
        "SELECT t.TABLE_NAME, t.TABLE_TYPE, IFNULL(t.ENGINE, ''), t.TABLE_ROWS, e.TRANSACTIONS"
        " FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e"
        " ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = DATABASE() ORDER BY t.TABLE_NAME",
        "list of tables", &result, fault);
    if (status != RENKEI_OK)
        return status;
    for (MYSQL_ROW row; (row = mysql_fetch_row(result)) != NULL;) {
        bool view = row[1] != NULL && strstr(row[1], "VIEW") != NULL;
        struct renkei_table table = {
            .name = row[0],
            .schema = "",
            .kind = view ? "view" : "table",
            .engine = row[2],
            .transactional = row[4] == NULL ? -1 : strcmp(row[4], "YES") == 0,
            .rows_estimate = number_or(row[3], -1),
        };
        visitor(context, &table);
    }
    mysql_free_result(result);
    return RENKEI_OK;
}

static enum renkei_type type_of(const char *data_type) {
    static const struct {
        const char *name;
        enum renkei_type type;
    } table[] = {
        {"tinyint", RENKEI_TYPE_INTEGER},     {"smallint", RENKEI_TYPE_INTEGER},
        {"mediumint", RENKEI_TYPE_INTEGER},   {"int", RENKEI_TYPE_INTEGER},
        {"bigint", RENKEI_TYPE_INTEGER},      {"decimal", RENKEI_TYPE_DECIMAL},
        {"float", RENKEI_TYPE_FLOAT},         {"double", RENKEI_TYPE_FLOAT},
        {"bit", RENKEI_TYPE_BIT},             {"date", RENKEI_TYPE_DATE},
        {"datetime", RENKEI_TYPE_TIMESTAMP},  {"timestamp", RENKEI_TYPE_TIMESTAMP_ZONE},
        {"time", RENKEI_TYPE_TIME},           {"year", RENKEI_TYPE_YEAR},
        {"char", RENKEI_TYPE_TEXT},           {"varchar", RENKEI_TYPE_TEXT},
        {"tinytext", RENKEI_TYPE_TEXT},       {"text", RENKEI_TYPE_TEXT},
        {"mediumtext", RENKEI_TYPE_TEXT},     {"longtext", RENKEI_TYPE_TEXT},
        {"binary", RENKEI_TYPE_BINARY},       {"varbinary", RENKEI_TYPE_BINARY},
        {"tinyblob", RENKEI_TYPE_BINARY},     {"blob", RENKEI_TYPE_BINARY},
        {"mediumblob", RENKEI_TYPE_BINARY},   {"longblob", RENKEI_TYPE_BINARY},
        {"enum", RENKEI_TYPE_ENUM},           {"set", RENKEI_TYPE_ENUM},
        {"json", RENKEI_TYPE_JSON},           {"uuid", RENKEI_TYPE_UUID},
        {"geometry", RENKEI_TYPE_GEOMETRY},   {"point", RENKEI_TYPE_GEOMETRY},
        {"linestring", RENKEI_TYPE_GEOMETRY}, {"polygon", RENKEI_TYPE_GEOMETRY},
        {"multipoint", RENKEI_TYPE_GEOMETRY}, {"multilinestring", RENKEI_TYPE_GEOMETRY},
        {"multipolygon", RENKEI_TYPE_GEOMETRY},
        {"geometrycollection", RENKEI_TYPE_GEOMETRY},
        {"geomcollection", RENKEI_TYPE_GEOMETRY},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, data_type) == 0)
            return table[i].type;
    return RENKEI_TYPE_OTHER;
}

enum { COLUMN_NAME, COLUMN_DATA_TYPE, COLUMN_TYPE, COLUMN_CHARSET, COLUMN_NULLABLE,
       COLUMN_BITS, COLUMN_KEY_POSITION, COLUMN_INDEXED };

static bool describe_column(struct support_table *t, MYSQL_ROW row) {
    struct renkei_column *c = support_table_column(t);
    if (c == NULL)
        return false;
    const char *charset = row[COLUMN_CHARSET] != NULL ? row[COLUMN_CHARSET] : "";
    c->name = support_pool_text(&t->pool, row[COLUMN_NAME], strlen(row[COLUMN_NAME]));
    c->declared_type = support_pool_text(&t->pool, row[COLUMN_TYPE], strlen(row[COLUMN_TYPE]));
    c->charset_name = support_pool_text(&t->pool, charset, strlen(charset));
    c->type = type_of(row[COLUMN_DATA_TYPE]);
    c->nullable = strcmp(row[COLUMN_NULLABLE], "YES") == 0;
    c->key_position = (int)number_or(row[COLUMN_KEY_POSITION], 0);
    c->indexed = number_or(row[COLUMN_INDEXED], 0) > 0;
    if (c->type == RENKEI_TYPE_BIT)
        c->bits = (uint32_t)number_or(row[COLUMN_BITS], 1);
    else if (support_starts(c->declared_type, "tinyint(1)"))
        c->bits = 1;
    if (charset[0] != '\0')
        c->charset = support_charset(charset);
    else if (c->type == RENKEI_TYPE_BINARY || c->type == RENKEI_TYPE_GEOMETRY)
        c->charset = RENKEI_CHARSET_BINARY;
    else if (c->type == RENKEI_TYPE_JSON)
        c->charset = RENKEI_CHARSET_UTF8;
    else
        c->charset = RENKEI_CHARSET_ASCII;
    return true;
}

/* The schema's name as a condition's right side. */
static void add_schema(struct support_sql *sql, const char *schema) {
    if (schema == NULL || schema[0] == '\0') {
        support_sql_add(sql, "DATABASE()");
        return;
    }
    support_sql_add(sql, "_utf8 X'");
    support_sql_hex(sql, schema, strlen(schema));
    support_sql_add(sql, "'");
}

static void add_columns_query(struct support_sql *sql, const char *schema, const char *table) {
    support_sql_add(
        sql, "SELECT c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.CHARACTER_SET_NAME,"
             " c.IS_NULLABLE, c.NUMERIC_PRECISION, MAX(IF(s.INDEX_NAME = 'PRIMARY',"
             " s.SEQ_IN_INDEX, 0)), MAX(IF(s.SEQ_IN_INDEX = 1, 1, 0))"
             " FROM information_schema.COLUMNS c LEFT JOIN information_schema.STATISTICS s"
             " ON s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME"
             " AND s.COLUMN_NAME = c.COLUMN_NAME WHERE c.TABLE_SCHEMA = ");
    add_schema(sql, schema);
    support_sql_add(sql, " AND c.TABLE_NAME = _utf8 X'");
    support_sql_hex(sql, table, strlen(table));
    support_sql_add(sql, "' GROUP BY c.ORDINAL_POSITION, c.COLUMN_NAME, c.DATA_TYPE,"
                         " c.COLUMN_TYPE, c.CHARACTER_SET_NAME, c.IS_NULLABLE,"
                         " c.NUMERIC_PRECISION ORDER BY c.ORDINAL_POSITION");
}

static enum renkei_status describe(struct renkei_session *s, const char *schema,
                                   const char *table, struct support_table **ret_table,
                                   struct renkei_fault *fault) {
    struct support_sql sql = {0};
    add_columns_query(&sql, schema, table);
    enum renkei_status status = support_sql_check(&sql, fault);
    MYSQL_RES *result = NULL;
    if (status == RENKEI_OK)
        status = catalog(s, sql.text, table, &result, fault);
    support_sql_done(&sql);
    if (status != RENKEI_OK)
        return status;
    struct support_table *t = support_table_new(schema, table);
    bool fits = t != NULL;
    for (MYSQL_ROW row; fits && (row = mysql_fetch_row(result)) != NULL;)
        fits = describe_column(t, row);
    mysql_free_result(result);
    if (fits && t->column_count > 0) {
        support_table_keep(&s->tables, t);
        *ret_table = t;
        return RENKEI_OK;
    }
    support_table_free(t);
    if (!fits)
        return support_fault(fault, RENKEI_LIMIT, 0, NULL,
                             "%s: more than %d columns, or no memory for them", table,
                             RENKEI_COLUMNS_MAX);
    return support_fault(fault, RENKEI_NO_TABLE, 0, NULL,
                         "no table %s in the database, or none that the account may see", table);
}

static enum renkei_status mysql_connector_columns(struct renkei_session *s, const char *schema,
                                                  const char *table,
                                                  const struct renkei_column **ret_columns,
                                                  uint32_t *ret_count,
                                                  struct renkei_fault *fault) {
    struct support_table *t = NULL;
    enum renkei_status status = describe(s, schema, table, &t, fault);
    if (status != RENKEI_OK)
        return status;
    *ret_columns = t->columns;
    *ret_count = t->column_count;
    return RENKEI_OK;
}

/* "GRANT SELECT, SHOW VIEW ON ...": 0 where every privilege only reads. */
static int right_writes(const char *line) {
    static const char *const reading[] = {"SELECT", "USAGE", "SHOW VIEW", "SHOW DATABASES",
                                          "REPLICATION CLIENT", "BINLOG MONITOR"};
    const char *end = strstr(line, " ON ");
    if (!support_starts(line, "GRANT ") || end == NULL)
        return -1;
    if (strstr(end, "WITH GRANT OPTION") != NULL)
        return 1;
    for (const char *at = line + 6; at < end;) {
        size_t i = 0, count = sizeof reading / sizeof reading[0];
        while (i < count && !support_starts(at, reading[i]))
            i++;
        if (i == count)
            return 1;
        at += strlen(reading[i]);
        if (at[0] == ' ' && at[1] == '(') { /* the columns that it is for */
            at = strchr(at, ')');
            if (at == NULL)
                return -1;
            at++;
        }
        if (at < end && strncmp(at, ", ", 2) != 0)
            return 1;
        at += 2;
    }
    return 0;
}

static enum renkei_status mysql_connector_rights(struct renkei_session *s,
                                                 renkei_right_visitor *visitor, void *context,
                                                 struct renkei_fault *fault) {
    MYSQL_RES *result = NULL;
    enum renkei_status status = catalog(s, "SHOW GRANTS", "rights of the account", &result, fault);
    if (status != RENKEI_OK)
        return status;
    for (MYSQL_ROW row; (row = mysql_fetch_row(result)) != NULL;) {
        /* MariaDB shows the password's hash. */
        char *secret = strstr(row[0], " IDENTIFIED ");
        if (secret != NULL)
            *secret = '\0';
        visitor(context, row[0], right_writes(row[0]));
    }
    mysql_free_result(result);
    return RENKEI_OK;
}

/* --- the snapshot --- */

static enum renkei_status mysql_connector_begin(struct renkei_session *s, const char **ret_label,
                                                struct renkei_fault *fault) {
    /* READ ONLY is not known before MySQL 5.6. */
    if (!run(s, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY") &&
        (mysql_errno(&s->mysql) != ER_PARSE_ERROR ||
         !run(s, "START TRANSACTION WITH CONSISTENT SNAPSHOT")))
        return query_fault(s, "snapshot", fault);
    char time[40], position[160];
    ask(s, "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')", time, sizeof time);
    ask(s, s->mariadb ? "SELECT @@GLOBAL.gtid_binlog_pos" : "SELECT @@GLOBAL.gtid_executed",
        position, sizeof position);
    snprintf(s->label, sizeof s->label, "%s%s%s", time, position[0] != '\0' ? " gtid " : "",
             position);
    s->in_snapshot = true;
    *ret_label = s->label;
    return RENKEI_OK;
}

static enum renkei_status mysql_connector_end(struct renkei_session *s,
                                              struct renkei_fault *fault) {
    s->in_snapshot = false;
    if (!run(s, "ROLLBACK"))
        return query_fault(s, "end of the snapshot", fault);
    return RENKEI_OK;
}

/* --- rows --- */

static bool is_plain(const struct renkei_value *v) {
    for (uint32_t i = 0; i < v->len; i++) {
        uint8_t b = v->data[i];
        bool plain = (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') ||
                     b == ' ' || b == '.' || b == ':' || b == '-' || b == '+';
        if (!plain)
            return false;
    }
    return true;
}

static bool is_bits(const struct renkei_value *v) {
    for (uint32_t i = 0; i < v->len; i++)
        if (v->data[i] != '0' && v->data[i] != '1')
            return false;
    return v->len > 0;
}

/* What a query's text is made from. */
struct select_context {
    const struct support_table *table;
    struct support_guard guard;
    const struct renkei_query *query;
};

static void cell_length(void *context, struct support_sql *sql, const char *column) {
    (void)context;
    support_sql_add(sql, "LENGTH(");
    support_sql_name(sql, '`', column);
    support_sql_add(sql, ")");
}

static bool holds_long(const struct renkei_column *c) {
    return c->type == RENKEI_TYPE_JSON || c->type == RENKEI_TYPE_GEOMETRY ||
           support_starts(c->declared_type, "long");
}

static bool holds_medium(const struct renkei_column *c) {
    return support_starts(c->declared_type, "mediumtext") ||
           support_starts(c->declared_type, "mediumblob");
}

/* A MEDIUMTEXT alone is below every limit: it counts only where a row can be too long. */
static enum renkei_status guard_query(const struct renkei_session *s, struct select_context *x,
                                      struct renkei_fault *fault) {
    struct support_guard *g = &x->guard;
    uint64_t possible = 0;
    bool any_long = false;
    g->quote = '`';
    g->length = cell_length;
    g->row_bytes_max = RENKEI_ROW_BYTES_MAX;
    if (s->packet_bytes_max > 2 * PACKET_HEAD_BYTES &&
        s->packet_bytes_max - PACKET_HEAD_BYTES < g->row_bytes_max)
        g->row_bytes_max = s->packet_bytes_max - PACKET_HEAD_BYTES;
    for (uint32_t i = 0; i < x->query->column_count; i++) {
        const struct renkei_column *c =
            support_table_find_column(x->table, x->query->columns[i]);
        if (c == NULL)
            continue;
        any_long = any_long || holds_long(c);
        possible += holds_medium(c) ? MEDIUM_BYTES_MAX : 0;
        g->guarded[i] = holds_long(c) || holds_medium(c);
    }
    if (!any_long && possible <= g->row_bytes_max)
        memset(g->guarded, 0, sizeof g->guarded);
    return support_guard_make(g, x->query, fault);
}

static void select_column(void *context, struct support_sql *sql, const char *column) {
    const struct select_context *x = context;
    const struct renkei_column *c = support_table_find_column(x->table, column);
    if (x->guard.on && c != NULL && (holds_long(c) || holds_medium(c)))
        support_guard_column(&x->guard, sql, column);
    else
        support_sql_name(sql, '`', column);
}

static void literal(void *context, struct support_sql *sql, const char *column,
                    const struct renkei_value *value) {
    const struct select_context *x = context;
    const struct renkei_column *c = support_table_find_column(x->table, column);
    bool text = c != NULL && c->charset_name[0] != '\0';
    if (value->data == NULL) {
        support_sql_add(sql, "NULL");
    } else if (c != NULL && c->type == RENKEI_TYPE_BIT && is_bits(value)) {
        support_sql_add(sql, "b'");
        support_sql_bytes(sql, value->data, value->len);
        support_sql_add(sql, "'");
    } else if (c != NULL && !text && c->charset == RENKEI_CHARSET_ASCII && is_plain(value)) {
        support_sql_add(sql, "'");
        support_sql_bytes(sql, value->data, value->len);
        support_sql_add(sql, "'");
    } else {
        if (text) {
            support_sql_add(sql, "_");
            support_sql_add(sql, c->charset_name);
            support_sql_add(sql, " ");
        }
        support_sql_add(sql, "X'");
        support_sql_hex(sql, value->data, value->len);
        support_sql_add(sql, "'");
    }
}

static enum renkei_status start_rows(struct renkei_session *s, const char *sql, bool guarded,
                                     const struct renkei_query *query,
                                     const struct support_table *t, struct renkei_fault *fault) {
    struct renkei_cursor *c = &s->cursor;
    c->result = run(s, sql) ? mysql_use_result(&s->mysql) : NULL;
    if (c->result == NULL)
        return query_fault(s, t->table, fault);
    c->column_count = query->column_count;
    c->fields = mysql_fetch_fields(c->result);
    /* Rows by key are few: fetched whole, as limited ones are. */
    c->whole = query->key_row_count > 0 ||
               (query->rows_max > 0 && query->rows_max <= RENKEI_BATCH_ROWS_MAX);
    c->guarded = guarded;
    c->ended = false;
    c->table = t->table;
    c->open = true;
    enum renkei_status status = support_batch_init(&c->batch, c->column_count, fault);
    if (status == RENKEI_OK && mysql_num_fields(c->result) != c->column_count + c->guarded)
        status = support_fault(fault, RENKEI_INTERNAL, 0, NULL, "%s: %u columns, expected %u",
                               t->table, mysql_num_fields(c->result),
                               c->column_count + c->guarded);
    if (status != RENKEI_OK)
        mysql_connector_finish(c);
    return status;
}

static enum renkei_status mysql_connector_query(struct renkei_session *s,
                                                const struct renkei_query *query,
                                                struct renkei_cursor **ret_cursor,
                                                struct renkei_fault *fault) {
    if (s->cursor.open)
        return support_fault(fault, RENKEI_INTERNAL, 0, NULL, "%s: a cursor is open already",
                             query->table);
    support_cancel_forget(&s->cancel);
    struct support_table *t = support_table_find(s->tables, query->schema, query->table);
    enum renkei_status status = RENKEI_OK;
    if (t == NULL)
        status = describe(s, query->schema, query->table, &t, fault);
    if (status != RENKEI_OK)
        return status;
    struct select_context x = {.table = t, .query = query};
    struct support_sql sql = {0};
    status = guard_query(s, &x, fault);
    struct support_dialect dialect = {.quote = '`',
                                      .literal = literal,
                                      .column = select_column,
                                      .more = x.guard.more.text,
                                      .context = &x};
    if (status == RENKEI_OK)
        status = support_select(&dialect, query, &sql, fault);
    if (status == RENKEI_OK)
        status = start_rows(s, sql.text, x.guard.on, query, t, fault);
    support_guard_done(&x.guard);
    support_sql_done(&sql);
    if (status == RENKEI_OK)
        *ret_cursor = &s->cursor;
    return status;
}

/* BIT comes as bytes, most significant first; its text form is one digit a bit. */
static uint32_t write_bits(uint8_t *at, const uint8_t *data, size_t len, uint32_t bits) {
    for (uint32_t i = 0; i < bits; i++) {
        size_t from_end = (bits - 1 - i) / 8;
        uint8_t byte = from_end < len ? data[len - 1 - from_end] : 0;
        at[i] = (uint8_t)('0' + ((byte >> ((bits - 1 - i) % 8)) & 1));
    }
    return bits;
}

/* Of a row with a cell that is too long, all but that cell. */
static enum renkei_status add_long_row(struct renkei_cursor *c, MYSQL_ROW row,
                                       const unsigned long *lengths, struct renkei_fault *fault) {
    if (c->row_lengths == NULL)
        c->row_lengths = calloc(c->column_count, sizeof *c->row_lengths);
    if (c->row_lengths == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory", c->table);
    for (uint32_t i = 0; i < c->column_count; i++) {
        bool bit = c->fields[i].type == MYSQL_TYPE_BIT;
        unsigned long len = bit ? c->fields[i].length : lengths[i];
        c->row_lengths[i] = row[i] == NULL                  ? RENKEI_NULL
                            : len > RENKEI_CELL_BYTES_MAX ? RENKEI_TOO_LONG
                                                            : (uint32_t)len;
    }
    if (c->guarded)
        support_guard_read(row[c->column_count], c->row_lengths, c->column_count);
    enum renkei_status status = support_batch_reserve(
        &c->batch, support_row_fit(c->row_lengths, c->column_count), fault);
    for (uint32_t i = 0; status == RENKEI_OK && i < c->column_count; i++) {
        uint32_t len = c->row_lengths[i];
        uint8_t *at = support_batch_at(&c->batch);
        if (len == RENKEI_TOO_LONG) {
            support_batch_too_long(&c->batch, i);
        } else if (len == RENKEI_NULL) {
            support_batch_null(&c->batch, i);
        } else {
            if (c->fields[i].type == MYSQL_TYPE_BIT)
                write_bits(at, (const uint8_t *)row[i], lengths[i], len);
            else
                memcpy(at, row[i], len);
            support_batch_cell(&c->batch, i, len);
        }
    }
    if (status == RENKEI_OK)
        support_batch_row_end(&c->batch);
    return status;
}

static enum renkei_status add_row(struct renkei_cursor *c, MYSQL_ROW row,
                                  const unsigned long *lengths, struct renkei_fault *fault) {
    size_t total = 0;
    for (uint32_t i = 0; i < c->column_count; i++)
        total += c->fields[i].type == MYSQL_TYPE_BIT ? c->fields[i].length : lengths[i];
    if (total > RENKEI_CELL_BYTES_MAX || (c->guarded && lengths[c->column_count] > 0))
        return add_long_row(c, row, lengths, fault);
    enum renkei_status status = support_batch_reserve(&c->batch, total, fault);
    if (status != RENKEI_OK)
        return status;
    for (uint32_t i = 0; i < c->column_count; i++) {
        if (row[i] == NULL) {
            support_batch_null(&c->batch, i);
            continue;
        }
        uint8_t *at = support_batch_at(&c->batch);
        uint32_t len = (uint32_t)lengths[i];
        if (c->fields[i].type == MYSQL_TYPE_BIT)
            len = write_bits(at, (const uint8_t *)row[i], len, (uint32_t)c->fields[i].length);
        else
            memcpy(at, row[i], len);
        support_batch_cell(&c->batch, i, len);
    }
    support_batch_row_end(&c->batch);
    return RENKEI_OK;
}

static bool batch_full(const struct renkei_cursor *c) {
    return c->batch.rows == SUPPORT_BATCH_ROWS ||
           c->batch.used >= (size_t)(c->whole ? SUPPORT_WHOLE_BYTES : SUPPORT_BATCH_BYTES);
}

static enum renkei_status mysql_connector_next(struct renkei_cursor *c,
                                               struct renkei_batch *ret_batch,
                                               struct renkei_fault *fault) {
    struct renkei_session *s = c->session;
    support_batch_clear(&c->batch);
    while (!c->ended && !batch_full(c)) {
        MYSQL_ROW row = mysql_fetch_row(c->result);
        if (row == NULL) {
            /* The end and a broken connection look the same but for the error's number. */
            c->ended = true;
            if (mysql_errno(&s->mysql) != 0)
                return query_fault(s, c->table, fault);
            break;
        }
        enum renkei_status status = add_row(c, row, mysql_fetch_lengths(c->result), fault);
        if (status != RENKEI_OK)
            return status;
    }
    if (support_cancelled(&s->cancel))
        return support_fault(fault, RENKEI_CANCELLED, 0, NULL, "%s: cancelled", c->table);
    if (c->batch.rows == 0)
        return RENKEI_END;
    support_batch_view(&c->batch, ret_batch);
    return RENKEI_OK;
}

__attribute__((visibility("default"))) extern const struct renkei_connector renkei_connector;

const struct renkei_connector renkei_connector = {
    .magic = {RENKEI_CONNECTOR_MAGIC, RENKEI_CONNECTOR_ABI_VERSION,
              sizeof(struct renkei_connector), 0},
    .name = "mysql",
    .version = "1",
    .description = "MySQL and MariaDB, by the MariaDB client library",
    .capabilities = RENKEI_CAN_SNAPSHOT | RENKEI_CAN_CANCEL | RENKEI_CAN_KEY_RANGE |
                    RENKEI_CAN_WATERMARK | RENKEI_CAN_RIGHTS,
    .options = option_specs,
    .open = mysql_connector_open,
    .close = mysql_connector_close,
    .server = mysql_connector_server,
    .tables = mysql_connector_tables,
    .columns = mysql_connector_columns,
    .rights = mysql_connector_rights,
    .begin = mysql_connector_begin,
    .end = mysql_connector_end,
    .query = mysql_connector_query,
    .next = mysql_connector_next,
    .finish = mysql_connector_finish,
    .cancel = mysql_connector_cancel,
};
