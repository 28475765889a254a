/*
 * Reads one table of a real database once and says how long it took: either a bare scan by the
 * client library, which looks at every cell's length and does nothing else, or the worker's whole
 * path (pull, transcode, normalize, canonical JSON, both digests), with the leaf hashed here.
 *
 *   sources_pull scan mysql SOCKET DATABASE TABLE
 *   sources_pull scan postgresql SOCKET-FOLDER:PORT DATABASE TABLE
 *   sources_pull scan odbc DSN - TABLE
 *   sources_pull path WORKER PLUGINS MAPPING TABLE
 *
 * Prints one JSON object; tests/bench/sources makes a table of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>
#include <mysql.h>
#include <sql.h>
#include <sqlext.h>

#include "base/clock.h"
#include "gateway/worker/worker.h"
#include "ledger/leaf.h"

enum { CELL_BYTES_MAX = 512, COLUMNS_MAX = 64, QUERY_BYTES_MAX = 256 };

struct scan {
    uint64_t rows;
    uint64_t bytes;
    uint64_t us;
};

static uint64_t now_us(void) {
    return clock_monotonic_ns() / 1000;
}

static void die(const char *words) {
    fprintf(stderr, "sources_pull: %s\n", words);
    exit(1);
}

static struct scan scan_mysql(const char *socket, const char *database, const char *query) {
    struct scan scan = {0};
    MYSQL *mysql = mysql_init(NULL);
    if (mysql_real_connect(mysql, NULL, "root", NULL, database, 0, socket, 0) == NULL ||
        mysql_query(mysql, "SET character_set_results=NULL") != 0)
        die(mysql_error(mysql));
    uint64_t from = now_us();
    if (mysql_query(mysql, query) != 0)
        die(mysql_error(mysql));
    MYSQL_RES *result = mysql_use_result(mysql);
    unsigned columns = mysql_num_fields(result);
    while (mysql_fetch_row(result) != NULL) {
        const unsigned long *lengths = mysql_fetch_lengths(result);
        for (unsigned i = 0; i < columns; i++)
            scan.bytes += lengths[i];
        scan.rows++;
    }
    if (mysql_errno(mysql) != 0)
        die(mysql_error(mysql));
    scan.us = now_us() - from;
    mysql_free_result(result);
    mysql_close(mysql);
    return scan;
}

static struct scan scan_postgresql(const char *place, const char *database, const char *query) {
    struct scan scan = {0};
    char connection[QUERY_BYTES_MAX];
    const char *colon = strrchr(place, ':');
    if (colon == NULL)
        die("expected SOCKET-FOLDER:PORT");
    snprintf(connection, sizeof connection,
             "host=%.*s port=%s dbname=%s user=postgres client_encoding=SQL_ASCII",
             (int)(colon - place), place, colon + 1, database);
    PGconn *connected = PQconnectdb(connection);
    if (PQstatus(connected) != CONNECTION_OK)
        die(PQerrorMessage(connected));
    uint64_t from = now_us();
    if (!PQsendQuery(connected, query) || !PQsetSingleRowMode(connected))
        die(PQerrorMessage(connected));
    for (PGresult *row = PQgetResult(connected); row != NULL; row = PQgetResult(connected)) {
        if (PQresultStatus(row) == PGRES_FATAL_ERROR)
            die(PQerrorMessage(connected));
        for (int i = 0; PQresultStatus(row) == PGRES_SINGLE_TUPLE && i < PQnfields(row); i++)
            scan.bytes += (uint64_t)PQgetlength(row, 0, i);
        scan.rows += PQresultStatus(row) == PGRES_SINGLE_TUPLE;
        PQclear(row);
    }
    scan.us = now_us() - from;
    PQfinish(connected);
    return scan;
}

static void must(SQLRETURN result, const char *what) {
    if (!SQL_SUCCEEDED(result))
        die(what);
}

static struct scan scan_odbc(const char *dsn, const char *query) {
    static SQLCHAR cells[COLUMNS_MAX][CELL_BYTES_MAX];
    static SQLLEN lengths[COLUMNS_MAX];
    struct scan scan = {0};
    SQLHENV environment = NULL;
    SQLHDBC connection = NULL;
    SQLHSTMT statement = NULL;
    SQLSMALLINT columns = 0;
    char text[QUERY_BYTES_MAX];
    snprintf(text, sizeof text, "DSN=%s", dsn);
    must(SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &environment), "an ODBC environment");
    must(SQLSetEnvAttr(environment, SQL_ATTR_ODBC_VERSION, (SQLPOINTER)SQL_OV_ODBC3, 0), "ODBC 3");
    must(SQLAllocHandle(SQL_HANDLE_DBC, environment, &connection), "a connection");
    must(SQLDriverConnect(connection, NULL, (SQLCHAR *)text, SQL_NTS, NULL, 0, NULL,
                          SQL_DRIVER_NOPROMPT),
         "connecting to the data source");
    must(SQLAllocHandle(SQL_HANDLE_STMT, connection, &statement), "a statement");
    uint64_t from = now_us();
    snprintf(text, sizeof text, "%s", query);
    must(SQLExecDirect(statement, (SQLCHAR *)text, SQL_NTS), "the query");
    must(SQLNumResultCols(statement, &columns), "the columns");
    if (columns > COLUMNS_MAX)
        die("too many columns");
    for (SQLSMALLINT i = 0; i < columns; i++)
        must(SQLBindCol(statement, (SQLUSMALLINT)(i + 1), SQL_C_CHAR, cells[i], CELL_BYTES_MAX,
                        &lengths[i]),
             "binding a column");
    for (SQLRETURN got = SQLFetch(statement); got != SQL_NO_DATA; got = SQLFetch(statement)) {
        must(got, "fetching a row");
        for (SQLSMALLINT i = 0; i < columns; i++)
            scan.bytes += lengths[i] > 0 ? (uint64_t)lengths[i] : 0;
        scan.rows++;
    }
    scan.us = now_us() - from;
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
    SQLDisconnect(connection);
    SQLFreeHandle(SQL_HANDLE_DBC, connection);
    SQLFreeHandle(SQL_HANDLE_ENV, environment);
    return scan;
}

struct path {
    uint64_t leaves;
    struct hash sum;
    uint64_t first_us; /* when the rows began to come: the child and its session are up */
};

static enum error_code on_start(void *context, const struct worker_plan *plan, struct error *err) {
    struct path *path = context;
    (void)plan;
    (void)err;
    path->first_us = now_us();
    return ERROR_NONE;
}

/* Fresh salts for rows that were never seen, as in a first sync; not secret ones, but the same in
 * every run. */
static enum error_code on_salts(void *context, const struct bytes *keys, size_t count,
                                struct worker_salt *ret_salts, struct error *err) {
    (void)context;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        size_t len = keys[i].len < WORKER_SALT_BYTES ? keys[i].len : WORKER_SALT_BYTES;
        ret_salts[i] = (struct worker_salt){.known = false};
        memcpy(ret_salts[i].fresh, keys[i].data, len);
    }
    return ERROR_NONE;
}

static enum error_code on_rows(void *context, const struct worker_row *rows, size_t count,
                               struct error *err) {
    struct path *path = context;
    (void)err;
    static struct leaf leaves[WORKER_BATCH_ROWS_MAX];
    static struct hash hashes[WORKER_BATCH_ROWS_MAX];
    size_t leaf_count = 0;
    for (size_t i = 0; i < count; i++)
        if (rows[i].change == WORKER_NEW)
            leaves[leaf_count++] = (struct leaf){.operation = LEAF_CREATE,
                                                 .origin = LEAF_OBSERVED,
                                                 .version = 1,
                                                 .content = rows[i].content,
                                                 .raw = rows[i].raw};
    leaf_hashes(leaves, leaf_count, hashes);
    for (size_t i = 0; i < leaf_count; i++)
        for (int b = 0; b < HASH_BYTES; b++)
            path->sum.byte[b] ^= hashes[i].byte[b];
    path->leaves += leaf_count;
    return ERROR_NONE;
}

static int run_path(char **argv) {
    struct error err = {0};
    struct path path = {0};
    struct worker *worker = NULL;
    struct worker_totals totals;
    struct worker_config config = {.program = argv[2], .plugin_folder = argv[3],
                                   .mapping_path = argv[4], .hospital = "bench", .source = "bench"};
    struct worker_pull_calls calls = {.context = &path, .start = on_start, .salts = on_salts,
                                      .rows = on_rows};
    if (worker_new(&config, &worker, &err) != ERROR_NONE)
        die(err.message);
    if (worker_pull(worker, argv[5], WORKER_FULL, "", &calls, &totals, &err) != ERROR_NONE)
        die(err.message);
    uint64_t us = now_us() - path.first_us;
    printf("{\"rows\":%" PRIu64 ",\"leaves\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"us\":%" PRIu64
           ",\"source_us\":%" PRIu64 ",\"normalize_us\":%" PRIu64 ",\"wait_us\":%" PRIu64
           ",\"leaves_xor\":\"",
           totals.rows, path.leaves, totals.raw_bytes, us, totals.source_us, totals.normalize_us,
           totals.wait_us);
    /* The salts are fixed: what the leaves give together must be the same in every run. */
    for (int b = 0; b < HASH_BYTES; b++)
        printf("%02x", path.sum.byte[b]);
    printf("\"}\n");
    worker_free(worker);
    return 0;
}

int main(int argc, char **argv) {
    struct scan scan;
    char query[QUERY_BYTES_MAX];
    if (argc != 6)
        return 2;
    if (strcmp(argv[1], "path") == 0)
        return run_path(argv);
    snprintf(query, sizeof query, "SELECT * FROM %s", argv[5]);
    if (strcmp(argv[2], "mysql") == 0)
        scan = scan_mysql(argv[3], argv[4], query);
    else if (strcmp(argv[2], "postgresql") == 0)
        scan = scan_postgresql(argv[3], argv[4], query);
    else
        scan = scan_odbc(argv[3], query);
    printf("{\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"us\":%" PRIu64 "}\n", scan.rows,
           scan.bytes, scan.us);
    return 0;
}
