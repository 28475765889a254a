#include "connectors/odbc/odbc.h"

static const char *const mariadb_session[] = {
    "SET SESSION sql_mode=''",
    "SET SESSION time_zone='+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION TRANSACTION READ ONLY",
    "SET character_set_results=NULL",
    NULL,
};

static const char *const postgresql_session[] = {
    "SET DateStyle='ISO, YMD'",
    "SET TimeZone='UTC'",
    "SET IntervalStyle='postgres'",
    "SET extra_float_digits=3",
    "SET lc_monetary='C'",
    "SET standard_conforming_strings=on",
    "SET default_transaction_read_only=on",
    NULL,
};

static const char *const sqlite_session[] = {
    "PRAGMA query_only=ON",
    NULL,
};

/* Tested with Debian 12's versions, but for those that say unverified. docs/connectors.md tells
 * the reason of each. */
static const struct odbc_quirks table[] = {
    {
        .driver = "sqlite3odbc",
        .product = "SQLite (ODBC)",
        /* Without it the driver holds the whole result in memory. */
        .connect = "StepAPI=1;",
        .session = sqlite_session,
        .read_only = true,
        /* With autocommit off the driver reads a whole result into memory, whatever StepAPI says. */
        .begin = "BEGIN",
        .end = "ROLLBACK",
        .reads_ahead = true,
        /* It interrupts the connection's database, which is made for that, and then closes the
         * statement that it was given: one that has nothing to close. */
        .cancel = ODBC_CANCEL_IDLE_STATEMENT,
        .literal = ODBC_SQLITE,
        .limit = true,
        .binds = true,
        .order = true,
        .transactional = 1,
    },
    {
        .driver = "maodbc",
        .product = "MariaDB (ODBC)",
        .connect = "FORWARDONLY=1;CHARSET=utf8mb4;INITSTMT={SET character_set_results=NULL};",
        .session = mariadb_session,
        .read_only = true,
        .begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        .cancel = ODBC_CANCEL_STATEMENT,
        .backend_query = "SELECT CONNECTION_ID()",
        .cancel_format = "KILL QUERY %s",
        .packet_query = "SELECT @@max_allowed_packet",
        .literal = ODBC_MARIADB,
        .catalog = true,
        .limit = true,
        .binds = true,
        .order = true,
        .transactional = -1,
    },
    {
        .driver = "psqlodbc",
        .product = "PostgreSQL (ODBC)",
        .connect = "UseDeclareFetch=1;Fetch=1000;BoolsAsChar=1;TextAsLongVarchar=0;"
                   "UnknownsAsLongVarchar=0;MaxVarcharSize=8000;ByteaAsLongVarBinary=1;",
        .encoding_query = "SHOW server_encoding",
        /* The driver sets UTF8 by itself, which fails at the first row of raw bytes. */
        .encoding_connect = "ConnSettings={set client_encoding='%s'};",
        .session = postgresql_session,
        .read_only = true,
        .begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        .cancel = ODBC_CANCEL_STATEMENT,
        .backend_query = "SELECT pg_backend_pid()",
        .cancel_format = "SELECT pg_cancel_backend(%s)",
        .literal = ODBC_POSTGRESQL,
        .limit = true,
        .binds = true,
        .order = true,
        .transactional = 1,
    },
    {
        .driver = "mdbtools", /* it has no driver's name, but a product's */
        .product = "Access (MDBTools)",
        .read_only = true, /* it opens the file for reading, and its SQL has no word that writes */
        .begin = "",
        /* No brackets, no IN, no quote within a text: an answer of no rows would mean nothing. */
        .chooses_here = true,
        .no_data_is_null = true,
        .loses_characters = true,
        .text_bytes_max = 16384 - 1 - 3, /* a buffer, its NUL, a character that did not fit */
        .no_statistics = true, /* SQLStatistics succeeds without a result: SQLFetch crashes */
        /* Jet 4 holds UTF-16, which mdbtools hands over as UTF-8; Jet 3 by MDB_JET3_CHARSET. */
        .text = RENKEI_CHARSET_UTF8,
        .transactional = 0,
    },
    {
        .driver = "tdsodbc", /* unverified */
        .product = "SQL Server (FreeTDS)",
        .begin = NULL,
        .literal = ODBC_PARAMETER,
        .order = true,
        .transactional = -1,
    },
    {
        .driver = "sqora", /* unverified: run against a driver that is made to be like it */
        .product = "Oracle (ODBC)",
        /* Without it, or with one that lacks a character, the driver writes ? and says nothing. */
        .environment = "NLS_LANG",
        .begin = NULL,
        .literal = ODBC_PARAMETER,
        .order = true,
        .transactional = -1,
    },
    /* Everybody else: nothing is taken for granted. */
    {
        .driver = "",
        .product = NULL,
        .literal = ODBC_PARAMETER,
        .order = true,
        .transactional = -1,
    },
};

const struct odbc_quirks *odbc_quirks_of(const char *driver) {
    size_t i = 0;
    while (!support_starts(driver, table[i].driver))
        i++;
    return &table[i];
}
