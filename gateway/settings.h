/*
 * gateway.yaml: what renkei-gateway and the `renkei` command read of a hospital's configuration.
 * deploy/examples/gateway.yaml shows every key. May use: base. Immutable once loaded.
 */
#ifndef GATEWAY_SETTINGS_H
#define GATEWAY_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"

enum {
    SETTINGS_SOURCES_MAX = 64,
    SETTINGS_HOSPITALS_MAX = 100,
    SETTINGS_TABLES_MAX = 1024, /* of a source, with intervals of their own */
    SETTINGS_URLS_MAX = 16,
    SETTINGS_WINDOWS_MAX = 16, /* of a source */
    SETTINGS_MORE_NODES_MAX = 15,
    SETTINGS_HOSPITAL_BYTES_MAX = 63,
};

struct settings_listen {
    const char *address; /* NULL: there is no such listener */
    uint16_t port;
    const char *certificate;
    const char *key;
    const char *const *urls;
    size_t url_count;
};

/* Between two passes of a mode; 0: on demand only. */
struct settings_intervals {
    uint32_t full_s;
    uint32_t watermark_s;
    uint32_t keys_s;
    uint32_t overlap_s; /* of passes by watermark; both 0: to the pass before the last */
    uint32_t overlap_rows;
};

struct settings_table {
    const char *table;
    struct settings_intervals intervals;
};

struct settings_source {
    const char *mapping;
    struct settings_intervals intervals;
    const struct settings_table *tables; /* with intervals of their own */
    size_t table_count;
    uint32_t rows_per_second;
    uint32_t deletions_percent_max;
    const char *windows; /* with commas between; NULL: always */
    const char *time_zone;
    uint32_t latency_factor; /* 0: a slow source does not slow a pass down */
    uint64_t worker_memory_bytes;
    uint32_t worker_cpu_s;
};

struct settings_hospital {
    const char *name;
    const char *url;
    const char *certificate;
};

/* Paths are absolute, or relative to the process's folder where the file's path is. */
struct settings {
    const char *hospital;
    enum log_level log_level;
    struct settings_listen listen;
    struct settings_listen machine;
    const struct settings_hospital *hospitals;
    size_t hospital_count;
    const char *admin_socket;
    const char *node_socket; /* the own node's, then a comma and another's, and so on */
    const char *genesis;
    const char *signer;
    const char *vault;
    const char *worker; /* by default beside the running program, see settings.c */
    const char *plugins;
    const struct settings_source *sources;
    size_t source_count;
};

/* ERROR_CONFIG with file, line and column. */
MUST_CHECK enum error_code settings_load(const char *path, struct settings **ret_settings,
                                         struct error *err);
void settings_free(struct settings *settings); /* NULL is fine */

#endif
