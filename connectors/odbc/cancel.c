/*
 * Ending a query from another thread, in a way that holds for the driver: enum odbc_cancel. What is
 * called here shares no handle with the thread that runs the query.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <string.h>

enum renkei_status odbc_cancel_prepare(struct renkei_session *s, struct renkei_fault *fault) {
    if (s->quirks->cancel == ODBC_CANCEL_IDLE_STATEMENT &&
        !SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &s->idle)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, "session", fault);
    if (s->quirks->cancel == ODBC_CANCEL_STATEMENT) {
        odbc_ask(s, s->quirks->backend_query, s->backend, sizeof s->backend);
        if (s->backend[strspn(s->backend, "0123456789")] != '\0')
            s->backend[0] = '\0';
    }
    return RENKEI_OK;
}

void odbc_cancel_done(struct renkei_session *s) {
    support_cancel_reaches(&s->cancel, false);
    if (s->idle != SQL_NULL_HSTMT)
        SQLFreeHandle(SQL_HANDLE_STMT, s->idle);
    s->idle = SQL_NULL_HSTMT;
    support_cancel_done(&s->cancel);
}

static void run_beside(SQLHDBC connection, const char *sql) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, connection, &statement)))
        return;
    (void)SQLExecDirect(statement, (SQLCHAR *)(uintptr_t)sql, SQL_NTS);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
}

/* Where this fails the query goes on to its next row or its own timeout: there is nobody to tell. */
static void cancel_by_statement(const struct renkei_session *s) {
    SQLHENV environment = SQL_NULL_HENV;
    SQLHDBC connection = SQL_NULL_HDBC;
    bool connected = false;
    struct renkei_fault ignored;
    char sql[2 * ODBC_NAME_BYTES], password[SUPPORT_SECRET_BYTES_MAX];
    snprintf(sql, sizeof sql, s->quirks->cancel_format, s->backend);
    if (support_secret(&s->options, "password_file", password, &ignored) != RENKEI_OK)
        return;
    if (odbc_environment(&environment, &ignored) == RENKEI_OK &&
        odbc_dial(s, environment, password, &connection, &connected, &ignored) == RENKEI_OK)
        run_beside(connection, sql);
    support_wipe(password, sizeof password);
    if (connected)
        SQLDisconnect(connection);
    if (connection != SQL_NULL_HDBC)
        SQLFreeHandle(SQL_HANDLE_DBC, connection);
    if (environment != SQL_NULL_HENV)
        SQLFreeHandle(SQL_HANDLE_ENV, environment);
}

static void cancel_query(struct renkei_session *s) {
    if (s->idle != SQL_NULL_HSTMT)
        SQLCancel(s->idle);
    if (s->backend[0] != '\0')
        cancel_by_statement(s);
}

void odbc_cancel(struct renkei_session *s) {
    support_cancel_ask(&s->cancel, cancel_query, s);
}
