/*
 * Reads one table of a real database once and says how long it took: either a bare scan by the
 * client library, which looks at every cell's length and does nothing else, or the worker's whole
 * path (pull, transcode, normalize, canonical JSON, both digests), with the leaf hashed here.
 *
 *   sources_pull scan mysql SOCKET DATABASE TABLE
 *   sources_pull scan postgresql SOCKET-FOLDER:PORT DATABASE TABLE
 *   sources_pull scan odbc DSN - TABLE
 *   sources_pull path WORKER PLUGINS MAPPING TABLE full|again|keys|watermark
 *
 * Prints one JSON object; tests/bench/sources makes a table of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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

/* What the client spent, its worker included once that was waited for. */
static uint64_t cpu_us(void) {
    static const int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    uint64_t us = 0;
    for (size_t i = 0; i < sizeof who / sizeof who[0]; i++) {
        struct rusage usage;
        if (getrusage(who[i], &usage) != 0)
            die("no usage");
        us += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
              (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return us;
}

/* --- the worker's path --- */

struct digests {
    struct hash content;
    struct hash raw;
};

struct path {
    bool known;        /* rows have the digests of an earlier pull */
    uint64_t rows;     /* whose digests are asked for or given so far */
    uint64_t answered;
    struct digests *digests; /* in the order of the rows; NULL: not kept */
    size_t digest_count_max;
    uint64_t leaves;
    uint64_t leaf_us;
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

/* Salts that are not secret, but the same in every run: the key's own bytes. */
static enum error_code on_salts(void *context, const struct bytes *keys, size_t count,
                                struct worker_salt *ret_salts, struct error *err) {
    struct path *path = context;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        size_t len = keys[i].len < WORKER_SALT_BYTES ? keys[i].len : WORKER_SALT_BYTES;
        ret_salts[i] = (struct worker_salt){.known = path->known};
        memcpy(ret_salts[i].fresh, keys[i].data, len);
        if (!path->known)
            continue;
        if (path->rows == path->digest_count_max)
            die("more rows than before");
        memcpy(ret_salts[i].stored, ret_salts[i].fresh, WORKER_SALT_BYTES);
        ret_salts[i].content = path->digests[path->rows].content;
        ret_salts[i].raw = path->digests[path->rows].raw;
        path->rows++;
    }
    return ERROR_NONE;
}

static void keep_digests(struct path *path, const struct worker_row *rows, size_t count) {
    if (path->answered + count > path->digest_count_max) {
        path->digest_count_max = 2 * (path->answered + count);
        path->digests =
            realloc(path->digests, path->digest_count_max * sizeof *path->digests);
        if (path->digests == NULL)
            die("no memory");
    }
    for (size_t i = 0; i < count; i++)
        path->digests[path->answered + i] = (struct digests){rows[i].content, rows[i].raw};
    path->answered += count;
}

static enum error_code on_rows(void *context, const struct worker_row *rows, size_t count,
                               struct error *err) {
    static struct leaf leaves[WORKER_BATCH_ROWS_MAX];
    static struct hash hashes[WORKER_BATCH_ROWS_MAX];
    struct path *path = context;
    size_t leaf_count = 0;
    uint64_t from = now_us();
    (void)err;
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
    path->leaf_us += now_us() - from;
    if (path->digests != NULL && !path->known)
        keep_digests(path, rows, count);
    return ERROR_NONE;
}

static void pull(struct worker *worker, const char *table, enum worker_mode mode,
                 struct path *path, struct worker_totals *ret_totals) {
    struct error err = {0};
    struct worker_pull_calls calls = {.context = path, .start = on_start, .salts = on_salts,
                                      .rows = on_rows};
    if (worker_pull(worker, table, mode, "", &calls, ret_totals, &err) != ERROR_NONE)
        die(err.message);
}

static int run_path(char **argv) {
    struct error err = {0};
    struct path path = {0};
    struct worker *worker = NULL;
    struct worker_totals totals;
    struct worker_config config = {.program = argv[2], .plugin_folder = argv[3],
                                   .mapping_path = argv[4], .hospital = "bench", .source = "bench"};
    bool again = strcmp(argv[6], "again") == 0;
    enum worker_mode mode = strcmp(argv[6], "keys") == 0        ? WORKER_KEYS
                            : strcmp(argv[6], "watermark") == 0 ? WORKER_WATERMARK
                                                                : WORKER_FULL;
    if (worker_new(&config, &worker, &err) != ERROR_NONE)
        die(err.message);
    if (again) {
        struct path first = {.digests = malloc(sizeof *first.digests), .digest_count_max = 1};
        if (first.digests == NULL)
            die("no memory");
        pull(worker, argv[5], mode, &first, &totals);
        path = (struct path){.known = true, .digests = first.digests,
                             .digest_count_max = first.answered};
    }
    pull(worker, argv[5], mode, &path, &totals);
    uint64_t us = now_us() - path.first_us;
    worker_free(worker);
    printf("{\"rows\":%" PRIu64 ",\"same\":%" PRIu64 ",\"leaves\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"us\":%" PRIu64 ",\"cpu_us\":%" PRIu64 ",\"source_us\":%" PRIu64
           ",\"normalize_us\":%" PRIu64 ",\"digest_us\":%" PRIu64 ",\"wait_us\":%" PRIu64
           ",\"leaf_us\":%" PRIu64 ",\"leaves_xor\":\"",
           totals.rows, totals.rows_same, path.leaves, totals.raw_bytes, us, cpu_us(),
           totals.source_us, totals.normalize_us, totals.digest_us, totals.wait_us, path.leaf_us);
    /* The salts are fixed: what the leaves give together must be the same in every run. */
    for (int b = 0; b < HASH_BYTES; b++)
        printf("%02x", path.sum.byte[b]);
    printf("\"}\n");
    free(path.digests);
    return 0;
}

int main(int argc, char **argv) {
    struct scan scan;
    char query[QUERY_BYTES_MAX];
    if (argc == 7 && strcmp(argv[1], "path") == 0)
        return run_path(argv);
    if (argc != 6 || strcmp(argv[1], "scan") != 0)
        return 2;
    snprintf(query, sizeof query, "SELECT * FROM %s", argv[5]);
    if (strcmp(argv[2], "mysql") == 0)
        scan = scan_mysql(argv[3], argv[4], query);
    else if (strcmp(argv[2], "postgresql") == 0)
        scan = scan_postgresql(argv[3], argv[4], query);
    else
        scan = scan_odbc(argv[3], query);
    printf("{\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"us\":%" PRIu64 ",\"cpu_us\":%" PRIu64
           "}\n",
           scan.rows, scan.bytes, scan.us, cpu_us());
    return 0;
}
