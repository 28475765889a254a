/*
 * Plugins that must be refused, one a build: BAD_MAGIC, BAD_ABI, BAD_SIZE, BAD_SLOT, BAD_NAME,
 * BAD_SYMBOL. Each differs from a good one in one point, and ends the process if anything of it is
 * called.
 */
#include <stdlib.h>

#include "connectors/connector.h"

#define ABI_VERSION RENKEI_CONNECTOR_ABI_VERSION
#if defined(BAD_ABI)
#undef ABI_VERSION
#define ABI_VERSION (RENKEI_CONNECTOR_ABI_VERSION + 1)
#endif
#if defined(BAD_MAGIC)
#define MAGIC 0xDEADBEEFu
#else
#define MAGIC RENKEI_CONNECTOR_MAGIC
#endif
#if defined(BAD_SIZE)
#define SIZE (sizeof(struct renkei_connector) - 8)
#else
#define SIZE sizeof(struct renkei_connector)
#endif
#if defined(BAD_SYMBOL)
#define SYMBOL renkei_connektor
#else
#define SYMBOL renkei_connector
#endif

static const struct renkei_option_spec options[] = {{NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL}};

static enum renkei_status never_open(const struct renkei_option *o, uint32_t n,
                                     struct renkei_session **s, struct renkei_fault *f) {
    (void)o;
    (void)n;
    (void)s;
    (void)f;
    abort();
}

static void never_close(struct renkei_session *s) {
    (void)s;
}

static enum renkei_status never_server(struct renkei_session *s, struct renkei_server *r,
                                       struct renkei_fault *f) {
    (void)s;
    (void)r;
    (void)f;
    abort();
}

static enum renkei_status never_tables(struct renkei_session *s, renkei_table_visitor *v, void *c,
                                       struct renkei_fault *f) {
    (void)s;
    (void)v;
    (void)c;
    (void)f;
    abort();
}

static enum renkei_status never_columns(struct renkei_session *s, const char *a, const char *b,
                                        const struct renkei_column **c, uint32_t *n,
                                        struct renkei_fault *f) {
    (void)s;
    (void)a;
    (void)b;
    (void)c;
    (void)n;
    (void)f;
    abort();
}

static enum renkei_status never_query(struct renkei_session *s, const struct renkei_query *q,
                                      struct renkei_cursor **c, struct renkei_fault *f) {
    (void)s;
    (void)q;
    (void)c;
    (void)f;
    abort();
}

#if !defined(BAD_SLOT)
static enum renkei_status never_next(struct renkei_cursor *c, struct renkei_batch *b,
                                     struct renkei_fault *f) {
    (void)c;
    (void)b;
    (void)f;
    abort();
}
#else
#define never_next NULL
#endif

static void never_finish(struct renkei_cursor *c) {
    (void)c;
}

__attribute__((visibility("default"))) extern const struct renkei_connector SYMBOL;

const struct renkei_connector SYMBOL = {
    .magic = {MAGIC, ABI_VERSION, SIZE, 0},
    .name = "another",
    .version = "1",
    .description = "refused",
    .options = options,
    .open = never_open,
    .close = never_close,
    .server = never_server,
    .tables = never_tables,
    .columns = never_columns,
    .query = never_query,
    .next = never_next,
    .finish = never_finish,
};
