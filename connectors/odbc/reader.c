/*
 * Reading ahead: a thread of the cursor's own fetches rows while the worker makes documents of those
 * that it has. Where a driver computes in our own process (SQLite) fetching costs more than all that
 * follows, and the two go side by side on two processors.
 *
 * While the thread runs, statement and batch are its own; the worker's side touches what the mutex
 * guards and nothing else. cancel() comes from a third thread, as ever. Only streams are read so:
 * not a query by keys, nor a limited one.
 */
#include "connectors/odbc/odbc.h"

#include <stdlib.h>
#include <string.h>

struct odbc_reader {
    pthread_t thread;
    struct renkei_cursor *cursor;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct support_batch full[ODBC_READ_AHEAD]; /* from `first` on, in a ring */
    unsigned first;
    unsigned count;
    bool stop;
    bool ended; /* with this status, after what is in the ring */
    enum renkei_status status;
    struct renkei_fault fault;
    struct support_batch lent; /* the worker's, until its next call */
};

static void swap(struct support_batch *a, struct support_batch *b) {
    struct support_batch kept = *a;
    *a = *b;
    *b = kept;
}

/* Waits for a place and puts the cursor's batch there; false where nobody wants it. */
static bool hand_over(struct odbc_reader *r) {
    pthread_mutex_lock(&r->mutex);
    while (r->count == ODBC_READ_AHEAD && !r->stop)
        pthread_cond_wait(&r->changed, &r->mutex);
    bool wanted = !r->stop;
    if (wanted) {
        swap(&r->cursor->batch, &r->full[(r->first + r->count) % ODBC_READ_AHEAD]);
        r->count++;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->mutex);
    return wanted;
}

static void *read_rows(void *context) {
    struct odbc_reader *r = context;
    struct renkei_fault fault = {0};
    enum renkei_status status = RENKEI_OK;
    while (status == RENKEI_OK) {
        status = odbc_fill(r->cursor, &fault);
        if (status == RENKEI_OK && !hand_over(r))
            break;
    }
    pthread_mutex_lock(&r->mutex);
    r->ended = true;
    r->status = status;
    r->fault = fault;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

static void reader_free(struct odbc_reader *r) {
    for (unsigned i = 0; i < ODBC_READ_AHEAD; i++)
        support_batch_done(&r->full[i]);
    support_batch_done(&r->lent);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

enum renkei_status odbc_reader_start(struct renkei_cursor *c, struct renkei_fault *fault) {
    struct odbc_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return support_fault(fault, RENKEI_NO_MEMORY, 0, NULL, "%s: no memory", c->table);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->cursor = c;
    enum renkei_status status = support_batch_init(&r->lent, c->column_count, fault);
    for (unsigned i = 0; status == RENKEI_OK && i < ODBC_READ_AHEAD; i++)
        status = support_batch_init(&r->full[i], c->column_count, fault);
    /* Where there is no thread to be had, rows are read when they are asked for. */
    if (status != RENKEI_OK || pthread_create(&r->thread, NULL, read_rows, r) != 0) {
        reader_free(r);
        return status;
    }
    c->reader = r;
    return RENKEI_OK;
}

void odbc_reader_stop(struct renkei_cursor *c) {
    struct odbc_reader *r = c->reader;
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->mutex);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    /* The thread ends with the row that it is at. */
    atomic_store(&c->unwanted, true);
    pthread_join(r->thread, NULL);
    c->reader = NULL;
    reader_free(r);
}

static enum renkei_status take(struct odbc_reader *r, struct renkei_fault *fault) {
    enum renkei_status status = RENKEI_OK;
    pthread_mutex_lock(&r->mutex);
    while (r->count == 0 && !r->ended)
        pthread_cond_wait(&r->changed, &r->mutex);
    if (r->count > 0) {
        swap(&r->lent, &r->full[r->first]);
        r->first = (r->first + 1) % ODBC_READ_AHEAD;
        r->count--;
        pthread_cond_broadcast(&r->changed);
    } else {
        status = r->status;
        if (status != RENKEI_END)
            *fault = r->fault;
    }
    pthread_mutex_unlock(&r->mutex);
    return status;
}

enum renkei_status odbc_next(struct renkei_cursor *c, struct renkei_batch *ret_batch,
                             struct renkei_fault *fault) {
    struct odbc_reader *r = c->reader;
    enum renkei_status status = r != NULL ? take(r, fault) : odbc_fill(c, fault);
    if (status == RENKEI_OK) {
        support_batch_view(r != NULL ? &r->lent : &c->batch, ret_batch);
        ret_batch->column_count = c->asked_count;
    }
    return status;
}
