/*
 * A plugin that goes wild once: in server(), as long as the file of its option `once` is there,
 * which it removes first. mode: greedy (allocates and writes without end), hoarding (allocates
 * without end, writes nothing), spinning (uses the CPU without end). Then it behaves.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connectors/connector.h"

enum { PIECE_BYTES = 1 << 20 };

static const struct renkei_option_spec options[] = {
    {"mode", RENKEI_OPTION_TEXT, 1, NULL, "greedy, hoarding or spinning"},
    {"once", RENKEI_OPTION_TEXT, 1, NULL, "file; while it is there"},
    {NULL, RENKEI_OPTION_TEXT, 0, NULL, NULL}};

struct renkei_session {
    const char *mode;
    const char *once;
};

static enum renkei_status rude_open(const struct renkei_option *o, uint32_t n,
                                    struct renkei_session **ret_session, struct renkei_fault *f) {
    struct renkei_session *s = calloc(1, sizeof *s);
    (void)f;
    if (s == NULL)
        return RENKEI_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        s->mode = strcmp(o[i].name, "mode") == 0 ? o[i].value : s->mode;
        s->once = strcmp(o[i].name, "once") == 0 ? o[i].value : s->once;
    }
    *ret_session = s;
    return RENKEI_OK;
}

static void rude_close(struct renkei_session *s) {
    free(s);
}

static volatile unsigned long turns;

static void go_wild(const struct renkei_session *s) {
    while (strcmp(s->mode, "spinning") == 0)
        turns++;
    for (;;) {
        volatile char *piece = malloc(PIECE_BYTES);
        if (piece == NULL)
            abort(); /* as a driver does that never looks */
        for (size_t i = 0; strcmp(s->mode, "greedy") == 0 && i < PIECE_BYTES; i += 4096)
            piece[i] = 1;
    }
}

static enum renkei_status rude_server(struct renkei_session *s, struct renkei_server *ret_server,
                                      struct renkei_fault *f) {
    (void)f;
    if (unlink(s->once) == 0)
        go_wild(s);
    *ret_server = (struct renkei_server){.product = "Rude",
                                         .version = "1",
                                         .charset = "",
                                         .time_zone = "",
                                         .settings = ""};
    return RENKEI_OK;
}

static enum renkei_status rude_tables(struct renkei_session *s, renkei_table_visitor *v, void *c,
                                      struct renkei_fault *f) {
    (void)s;
    (void)v;
    (void)c;
    (void)f;
    return RENKEI_OK;
}

static enum renkei_status nothing(struct renkei_fault *f) {
    f->status = RENKEI_NO_TABLE;
    return RENKEI_NO_TABLE;
}

static enum renkei_status rude_columns(struct renkei_session *s, const char *a, const char *b,
                                       const struct renkei_column **c, uint32_t *n,
                                       struct renkei_fault *f) {
    (void)s;
    (void)a;
    (void)b;
    (void)c;
    (void)n;
    return nothing(f);
}

static enum renkei_status rude_query(struct renkei_session *s, const struct renkei_query *q,
                                     struct renkei_cursor **c, struct renkei_fault *f) {
    (void)s;
    (void)q;
    (void)c;
    return nothing(f);
}

static enum renkei_status rude_next(struct renkei_cursor *c, struct renkei_batch *b,
                                    struct renkei_fault *f) {
    (void)c;
    (void)b;
    return nothing(f);
}

static void rude_finish(struct renkei_cursor *c) {
    (void)c;
}

__attribute__((visibility("default"))) extern const struct renkei_connector renkei_connector;

const struct renkei_connector renkei_connector = {
    .magic = {RENKEI_CONNECTOR_MAGIC, RENKEI_CONNECTOR_ABI_VERSION,
              sizeof(struct renkei_connector), 0},
    .name = "rude",
    .version = "1",
    .description = "goes wild once",
    .options = options,
    .open = rude_open,
    .close = rude_close,
    .server = rude_server,
    .tables = rude_tables,
    .columns = rude_columns,
    .query = rude_query,
    .next = rude_next,
    .finish = rude_finish,
};
