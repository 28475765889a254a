/*
 * Ending a query from another thread, in a way that holds for the driver: enum odbc_cancel.
 *
 * What is called here shares no handle with the thread that runs the query. The mutex keeps a cancel
 * from outliving the query that it is for: it would hit the next one.
 */
#include "connectors/odbc/odbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct odbc_canceller {
    pthread_mutex_t mutex;
    bool running;
    SQLHSTMT idle;                 /* ODBC_CANCEL_IDLE_STATEMENT: nothing is ever run in it */
    char backend[ODBC_NAME_BYTES]; /* ODBC_CANCEL_STATEMENT: digits; "": not known */
};

enum renkei_status odbc_canceller_new(struct renkei_session *s, struct renkei_fault *fault) {
    struct odbc_canceller *c = calloc(1, sizeof *c);
    if (c == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "no memory for a session");
    pthread_mutex_init(&c->mutex, NULL);
    c->idle = SQL_NULL_HSTMT;
    s->canceller = c;
    if (s->quirks->cancel == ODBC_CANCEL_IDLE_STATEMENT &&
        !SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, s->connection, &c->idle)))
        return odbc_fault(s, SQL_HANDLE_DBC, s->connection, "session", fault);
    if (s->quirks->cancel == ODBC_CANCEL_STATEMENT) {
        odbc_ask(s, s->quirks->backend_query, c->backend, sizeof c->backend);
        if (c->backend[strspn(c->backend, "0123456789")] != '\0')
            c->backend[0] = '\0';
    }
    return RENKEI_OK;
}

void odbc_canceller_free(struct renkei_session *s) {
    struct odbc_canceller *c = s->canceller;
    if (c == NULL)
        return;
    if (c->idle != SQL_NULL_HSTMT)
        SQLFreeHandle(SQL_HANDLE_STMT, c->idle);
    pthread_mutex_destroy(&c->mutex);
    free(c);
    s->canceller = NULL;
}

static void set_running(struct odbc_canceller *c, bool running) {
    pthread_mutex_lock(&c->mutex);
    c->running = running;
    pthread_mutex_unlock(&c->mutex);
}

void odbc_running(struct renkei_session *s) {
    set_running(s->canceller, true);
}

void odbc_not_running(struct renkei_session *s) {
    set_running(s->canceller, false);
}

static void run_beside(SQLHDBC connection, const char *sql) {
    SQLHSTMT statement = SQL_NULL_HSTMT;
    if (!SQL_SUCCEEDED(SQLAllocHandle(SQL_HANDLE_STMT, connection, &statement)))
        return;
    (void)SQLExecDirect(statement, (SQLCHAR *)(uintptr_t)sql, SQL_NTS);
    SQLFreeHandle(SQL_HANDLE_STMT, statement);
}

/* Where this fails the query goes on to its next row or its own timeout: there is nobody to tell. */
static void cancel_by_statement(const struct renkei_session *s, const char *backend) {
    SQLHENV environment = SQL_NULL_HENV;
    SQLHDBC connection = SQL_NULL_HDBC;
    bool connected = false;
    struct renkei_fault ignored;
    char sql[2 * ODBC_NAME_BYTES], password[SUPPORT_SECRET_BYTES_MAX];
    snprintf(sql, sizeof sql, s->quirks->cancel_format, backend);
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

void odbc_cancel(struct renkei_session *s) {
    struct odbc_canceller *c = s->canceller;
    atomic_store(&s->cancelled, true);
    pthread_mutex_lock(&c->mutex);
    if (c->running && c->idle != SQL_NULL_HSTMT)
        SQLCancel(c->idle);
    if (c->running && c->backend[0] != '\0')
        cancel_by_statement(s, c->backend);
    pthread_mutex_unlock(&c->mutex);
}
