/*
 * Drives one connector plugin from a script of commands on standard input and prints what it
 * returns, one JSON object a line, every name and cell in hexadecimal: so that the conformance
 * suite in Python can compare bytes with what the database says itself. A plugin of another's
 * making is driven in the same way: renkei-connector-probe PLUGIN.so < commands.
 *
 *   option NAME VALUE
 *   open | close | server | tables | rights | begin | end | cancel-later | pause
 *   columns TABLE | schema NAME
 *   table TABLE | column NAME | key NAME | value HEX | after HEX | equals NAME HEX
 *   watermark NAME HEX | order | limit N | pause-after BATCHES | cancel-after BATCHES
 *   cancel-often | stop-after BATCHES | count | rows
 *
 * `cancel-often`: another thread cancels again and again from before the query until it is finished.
 *
 * Names are written in hexadecimal too. `rows` runs the query described so far and forgets it.
 * `pause` prints {"paused":true} and waits for a line, so that a test can act in between.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/worker/plugin.h"

enum { LINE_BYTES_MAX = 1 << 20, WORDS_MAX = 4, ITEMS_MAX = 65536 };

struct probe {
    const struct renkei_connector *connector;
    struct renkei_session *session;
    struct renkei_option options[64];
    uint32_t option_count;
    struct renkei_query query;
    char *columns[RENKEI_COLUMNS_MAX];
    char *keys[RENKEI_KEY_COLUMNS_MAX];
    struct renkei_value values[ITEMS_MAX];
    uint32_t value_count;
    struct renkei_value after[RENKEI_KEY_COLUMNS_MAX];
    uint32_t after_count;
    uint64_t pause_after, cancel_after, stop_after;
    int count_only, cancel_often;
    atomic_bool finished;
};

static char line[LINE_BYTES_MAX];

static void print_hex(const void *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        printf("%02x", ((const uint8_t *)data)[i]);
}

static void print_text(const char *name, const char *text) {
    printf("\"%s\":\"", name);
    print_hex(text, strlen(text));
    printf("\"");
}

/* What a word stood for lives until the end: options and queries keep pointing at it. */
struct kept {
    struct kept *next;
    uint8_t data[];
};
static struct kept *all_kept;

static void free_kept(void) {
    while (all_kept != NULL) {
        struct kept *next = all_kept->next;
        free(all_kept);
        all_kept = next;
    }
}

/* The bytes that a word stands for, NUL after them. */
static struct renkei_value unhex(const char *word) {
    size_t len = word == NULL ? 0 : strlen(word) / 2;
    struct kept *kept = calloc(1, sizeof *kept + len + 1);
    if (kept == NULL || (len > 0 && !text_unhex(word, len, kept->data))) {
        fprintf(stderr, "probe: not hexadecimal\n");
        exit(2);
    }
    kept->next = all_kept;
    all_kept = kept;
    return (struct renkei_value){kept->data, (uint32_t)len};
}

static char *unhex_text(const char *word) {
    (void)unhex(word);
    return (char *)all_kept->data;
}

static void print_fault(const struct renkei_fault *fault) {
    printf("{\"fault\":%d,\"server_code\":%lld,\"sqlstate\":\"%s\",", fault->status,
           (long long)fault->server_code, fault->sqlstate);
    print_text("message", fault->message);
    printf("}\n");
}

static void pause_here(void) {
    printf("{\"paused\":true}\n");
    fflush(stdout);
    char answer[16];
    if (fgets(answer, sizeof answer, stdin) == NULL)
        exit(2);
}

static void on_table(void *context, const struct renkei_table *t) {
    (void)context;
    printf("{");
    print_text("table", t->name);
    printf(",");
    print_text("schema", t->schema);
    printf(",\"kind\":\"%s\",\"engine\":\"%s\",\"transactional\":%d,\"rows_estimate\":%lld}\n",
           t->kind, t->engine, t->transactional, (long long)t->rows_estimate);
}

static void on_right(void *context, const char *right, int write) {
    (void)context;
    printf("{");
    print_text("right", right);
    printf(",\"write\":%d}\n", write);
}

static void print_columns(const struct renkei_column *columns, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct renkei_column *c = &columns[i];
        printf("{");
        print_text("column", c->name);
        printf(",");
        print_text("declared", c->declared_type);
        printf(",\"type\":%d,\"charset\":%d,\"charset_name\":\"%s\",\"bits\":%u,\"nullable\":%d,"
               "\"key_position\":%d,\"indexed\":%d}\n",
               c->type, c->charset, c->charset_name, c->bits, c->nullable, c->key_position,
               c->indexed);
    }
}

static void print_batch(const struct renkei_batch *batch) {
    for (uint32_t row = 0; row < batch->row_count; row++) {
        printf("{\"row\":[");
        for (uint32_t i = 0; i < batch->column_count; i++) {
            const struct renkei_batch_column *c = &batch->columns[i];
            printf(i > 0 ? "," : "");
            if (c->length[row] == RENKEI_NULL) {
                printf("null");
                continue;
            }
            if (c->length[row] == RENKEI_TOO_LONG) {
                printf("\"too long\"");
                continue;
            }
            printf("\"");
            print_hex(c->data + c->offset[row], c->length[row]);
            printf("\"");
        }
        printf("]}\n");
    }
}

static void *cancel_from_beside(void *context) {
    struct probe *p = context;
    p->connector->cancel(p->session);
    return NULL;
}

static void cancel(struct probe *p) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancel_from_beside, p) != 0)
        exit(2);
    pthread_join(thread, NULL);
}

static void *cancel_often(void *context) {
    struct probe *p = context;
    while (!atomic_load(&p->finished)) {
        p->connector->cancel(p->session);
        (void)poll(NULL, 0, 1); /* or nobody else gets the mutex */
    }
    return NULL;
}

static enum renkei_status read_rows(struct probe *p, struct renkei_cursor *cursor,
                                    struct renkei_fault *fault) {
    uint64_t rows = 0, batches = 0;
    enum renkei_status status;
    struct renkei_batch batch;
    while ((status = p->connector->next(cursor, &batch, fault)) == RENKEI_OK) {
        rows += batch.row_count;
        if (!p->count_only)
            print_batch(&batch);
        batches++;
        if (batches == p->pause_after)
            pause_here();
        if (batches == p->cancel_after)
            cancel(p);
        if (batches == p->stop_after)
            break;
    }
    if (status == RENKEI_END || status == RENKEI_OK)
        printf("{\"rows\":%llu,\"batches\":%llu,\"whole\":%s}\n", (unsigned long long)rows,
               (unsigned long long)batches, status == RENKEI_END ? "true" : "false");
    return status == RENKEI_END ? RENKEI_OK : status;
}

static enum renkei_status run_rows(struct probe *p, struct renkei_fault *fault) {
    struct renkei_query *q = &p->query;
    q->columns = (const char *const *)p->columns;
    q->key_columns = (const char *const *)p->keys;
    q->keys = p->values;
    q->key_row_count = q->key_column_count == 0 ? 0 : p->value_count / q->key_column_count;
    q->after = p->after_count == 0 ? NULL : p->after;
    struct renkei_cursor *cursor = NULL;
    pthread_t canceller;
    atomic_store(&p->finished, false);
    if (p->cancel_often && pthread_create(&canceller, NULL, cancel_often, p) != 0)
        exit(2);
    enum renkei_status status = p->connector->query(p->session, q, &cursor, fault);
    if (status == RENKEI_OK)
        status = read_rows(p, cursor, fault);
    p->connector->finish(cursor);
    atomic_store(&p->finished, true);
    if (p->cancel_often)
        pthread_join(canceller, NULL);
    memset(q, 0, sizeof *q);
    p->value_count = p->after_count = 0;
    p->pause_after = p->cancel_after = p->stop_after = 0;
    p->count_only = p->cancel_often = 0;
    return status;
}

/* Words that describe the next query. */
static int describe(struct probe *p, char **word) {
    struct renkei_query *q = &p->query;
    if (strcmp(word[0], "table") == 0)
        q->table = unhex_text(word[1]);
    else if (strcmp(word[0], "schema") == 0)
        q->schema = unhex_text(word[1]);
    else if (strcmp(word[0], "column") == 0 && q->column_count < RENKEI_COLUMNS_MAX)
        p->columns[q->column_count++] = unhex_text(word[1]);
    else if (strcmp(word[0], "key") == 0 && q->key_column_count < RENKEI_KEY_COLUMNS_MAX)
        p->keys[q->key_column_count++] = unhex_text(word[1]);
    else if (strcmp(word[0], "value") == 0 && p->value_count < ITEMS_MAX)
        p->values[p->value_count++] = unhex(word[1]);
    else if (strcmp(word[0], "after") == 0 && p->after_count < RENKEI_KEY_COLUMNS_MAX)
        p->after[p->after_count++] = unhex(word[1]);
    else if (strcmp(word[0], "equals") == 0) {
        q->equals_column = unhex_text(word[1]);
        q->equals_value = unhex(word[2]);
    } else if (strcmp(word[0], "watermark") == 0) {
        q->watermark_column = unhex_text(word[1]);
        q->watermark_from = unhex(word[2]);
    } else if (strcmp(word[0], "order") == 0)
        q->order_by_key = 1;
    else if (strcmp(word[0], "limit") == 0)
        q->rows_max = strtoull(word[1], NULL, 10);
    else if (strcmp(word[0], "pause-after") == 0)
        p->pause_after = strtoull(word[1], NULL, 10);
    else if (strcmp(word[0], "cancel-after") == 0)
        p->cancel_after = strtoull(word[1], NULL, 10);
    else if (strcmp(word[0], "stop-after") == 0)
        p->stop_after = strtoull(word[1], NULL, 10);
    else if (strcmp(word[0], "cancel-often") == 0)
        p->cancel_often = 1;
    else if (strcmp(word[0], "count") == 0)
        p->count_only = 1;
    else
        return 0;
    return 1;
}

static enum renkei_status server(struct probe *p, struct renkei_fault *fault) {
    struct renkei_server s;
    enum renkei_status status = p->connector->server(p->session, &s, fault);
    if (status != RENKEI_OK)
        return status;
    printf("{\"product\":\"%s\",\"version\":\"%s\",\"charset\":\"%s\",\"time_zone\":\"%s\","
           "\"read_only\":%d,",
           s.product, s.version, s.charset, s.time_zone, s.read_only);
    print_text("settings", s.settings);
    printf("}\n");
    return RENKEI_OK;
}

/* Words that do something. RENKEI_OK also where there was nothing to do. */
static enum renkei_status act(struct probe *p, char **word, struct renkei_fault *fault) {
    const struct renkei_connector *c = p->connector;
    enum renkei_status status = RENKEI_OK;
    if (strcmp(word[0], "open") == 0) {
        status = c->open(p->options, p->option_count, &p->session, fault);
        if (status == RENKEI_OK)
            printf("{\"open\":\"%s\"}\n", c->name);
    } else if (strcmp(word[0], "close") == 0) {
        c->close(p->session);
        p->session = NULL;
    } else if (strcmp(word[0], "server") == 0) {
        status = server(p, fault);
    } else if (strcmp(word[0], "tables") == 0) {
        status = c->tables(p->session, on_table, NULL, fault);
    } else if (strcmp(word[0], "rights") == 0) {
        status = c->rights(p->session, on_right, NULL, fault);
    } else if (strcmp(word[0], "columns") == 0) {
        const struct renkei_column *columns = NULL;
        uint32_t count = 0;
        char *table = unhex_text(word[1]);
        status = c->columns(p->session, p->query.schema, table, &columns, &count, fault);
        if (status == RENKEI_OK)
            print_columns(columns, count);
    } else if (strcmp(word[0], "begin") == 0) {
        const char *label = "";
        status = c->begin(p->session, &label, fault);
        if (status == RENKEI_OK) {
            printf("{");
            print_text("snapshot", label);
            printf("}\n");
        }
    } else if (strcmp(word[0], "end") == 0) {
        status = c->end(p->session, fault);
    } else if (strcmp(word[0], "rows") == 0) {
        status = run_rows(p, fault);
    } else if (strcmp(word[0], "pause") == 0) {
        pause_here();
    } else {
        fprintf(stderr, "probe: unknown command %s\n", word[0]);
        exit(2);
    }
    return status;
}

static void add_option(struct probe *p, char **word) {
    if (p->option_count == 64 || word[1] == NULL || word[2] == NULL)
        exit(2);
    p->options[p->option_count].name = strdup(word[1]);
    p->options[p->option_count++].value = unhex_text(word[2]);
}

int main(int argc, char **argv) {
    static struct probe probe;
    struct error err;
    struct plugin *plugin = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: renkei-connector-probe PLUGIN.so < commands\n");
        return 2;
    }
    if (plugin_load_file(argv[1], NULL, &plugin, &err) != ERROR_NONE) {
        printf("{\"error\":\"%s\",", error_info(err.code)->name);
        print_text("message", err.message);
        printf("}\n");
        return 1;
    }
    probe.connector = plugin_connector(plugin);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *word[WORDS_MAX] = {NULL}, *rest = NULL;
        int words = 0;
        for (char *at = strtok_r(line, " \n", &rest); at != NULL && words < WORDS_MAX;
             at = strtok_r(NULL, " \n", &rest))
            word[words++] = at;
        if (words == 0)
            continue;
        struct renkei_fault fault = {0};
        if (strcmp(word[0], "option") == 0)
            add_option(&probe, word);
        else if (!describe(&probe, word) && act(&probe, word, &fault) != RENKEI_OK)
            print_fault(&fault);
        fflush(stdout);
    }
    probe.connector->close(probe.session);
    plugin_free(plugin);
    free_kept();
    return 0;
}
