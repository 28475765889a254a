#include "gateway/settings.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/config.h"

enum { ARENA_BYTES_MAX = 4 << 20 };

static const char *const level_words[] = {"debug", "info", "warning", "error", NULL};

#define LISTEN_KEYS                                                                                \
    {.name = "address", .kind = CONFIG_TEXT, .required = true, .max = 64},                         \
        {.name = "port", .kind = CONFIG_NUMBER, .required = true, .min = 0, .max = 65535},         \
        {.name = "certificate", .kind = CONFIG_PATH, .required = true}, {                          \
        .name = "key", .kind = CONFIG_PATH, .required = true                                       \
    }

static const struct config_key listen_keys[] = {
    LISTEN_KEYS, {.name = "urls", .kind = CONFIG_TEXTS, .max = SETTINGS_URLS_MAX}, {0}};
static const struct config_key machine_keys[] = {LISTEN_KEYS, {0}};
static const struct config_key hospital_keys[] = {
    {.name = "name", .kind = CONFIG_TEXT, .required = true, .max = SETTINGS_HOSPITAL_BYTES_MAX},
    {.name = "url", .kind = CONFIG_TEXT, .required = true, .max = 1024},
    {.name = "certificate", .kind = CONFIG_PATH, .required = true},
    {0}};
#define INTERVAL_KEYS                                                                              \
    {.name = "interval", .kind = CONFIG_DURATION, .min = 1000, .max = 7 * 86400000LL},             \
        {.name = "watermark_interval", .kind = CONFIG_DURATION, .min = 1000,                       \
         .max = 7 * 86400000LL},                                                                   \
        {.name = "keys_interval", .kind = CONFIG_DURATION, .min = 1000, .max = 7 * 86400000LL},    \
        {.name = "watermark_overlap", .kind = CONFIG_DURATION, .min = 1000,                        \
         .max = 7 * 86400000LL},                                                                   \
    {                                                                                              \
        .name = "watermark_overlap_rows", .kind = CONFIG_NUMBER, .min = 1, .max = 1000000000       \
    }

static const struct config_key table_keys[] = {
    {.name = "table", .kind = CONFIG_TEXT, .required = true, .max = 511}, INTERVAL_KEYS, {0}};
static const struct config_key source_keys[] = {
    {.name = "mapping", .kind = CONFIG_PATH, .required = true},
    INTERVAL_KEYS,
    {.name = "tables", .kind = CONFIG_MAPS, .keys = table_keys, .max = SETTINGS_TABLES_MAX},
    {.name = "rows_per_second",
     .kind = CONFIG_NUMBER,
     .default_text = "0",
     .min = 0,
     .max = 100000000},
    {.name = "deletions_percent_max",
     .kind = CONFIG_NUMBER,
     .default_text = "10",
     .min = 0,
     .max = 100},
    {.name = "windows", .kind = CONFIG_TEXTS, .max = SETTINGS_WINDOWS_MAX},
    {.name = "time_zone", .kind = CONFIG_TEXT, .default_text = "UTC", .max = 63},
    {.name = "latency_factor", .kind = CONFIG_NUMBER, .default_text = "4", .min = 0, .max = 1000},
    {.name = "worker_memory_mib",
     .kind = CONFIG_NUMBER,
     .default_text = "512",
     .min = 64,
     .max = 1 << 20},
    {.name = "worker_cpu",
     .kind = CONFIG_DURATION,
     .default_text = "60s",
     .min = 1000,
     .max = 86400000LL},
    {0}};
static const struct config_key root_keys[] = {
    {.name = "hospital", .kind = CONFIG_TEXT, .required = true, .max = SETTINGS_HOSPITAL_BYTES_MAX},
    {.name = "log_level", .kind = CONFIG_ENUM, .words = level_words, .default_text = "info"},
    {.name = "listen", .kind = CONFIG_MAP, .keys = listen_keys, .required = true},
    {.name = "machine", .kind = CONFIG_MAP, .keys = machine_keys},
    {.name = "hospitals",
     .kind = CONFIG_MAPS,
     .keys = hospital_keys,
     .max = SETTINGS_HOSPITALS_MAX},
    {.name = "admin_socket", .kind = CONFIG_PATH, .required = true},
    {.name = "node_socket", .kind = CONFIG_PATH, .required = true},
    {.name = "more_node_sockets", .kind = CONFIG_TEXTS, .max = SETTINGS_MORE_NODES_MAX},
    {.name = "genesis", .kind = CONFIG_PATH, .required = true},
    {.name = "signer", .kind = CONFIG_PATH, .required = true},
    {.name = "vault", .kind = CONFIG_PATH, .required = true},
    {.name = "worker", .kind = CONFIG_PATH},
    {.name = "plugins", .kind = CONFIG_PATH},
    {.name = "sources", .kind = CONFIG_MAPS, .keys = source_keys, .max = SETTINGS_SOURCES_MAX},
    {0}};

/* What settings_load gives out: the struct first, so that a pointer to it is a pointer to this. */
struct loaded {
    struct settings settings;
    struct config *config;
    struct arena *arena;
};

/* docs/formats.md: [a-z0-9][a-z0-9-]{0,62} */
static bool is_hospital_name(const char *name) {
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && name[len] == '\0' && name[0] != '-';
}

static enum error_code read_listen(struct arena *arena, const struct config_map *root,
                                   const char *key, struct settings_listen *ret_listen,
                                   struct error *err) {
    const struct config_map *map = config_child(root, key);
    if (map == NULL)
        return ERROR_NONE;
    struct settings_listen listen = {.address = config_text(map, "address"),
                                     .port = (uint16_t)config_number(map, "port"),
                                     .certificate = config_text(map, "certificate"),
                                     .key = config_text(map, "key")};
    if (strcmp(key, "listen") == 0)
        listen.url_count = config_count(map, "urls");
    const char **urls = arena_alloc(arena, (listen.url_count + 1) * sizeof *urls);
    if (urls == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < listen.url_count; i++) {
        urls[i] = config_text_at(map, "urls", i);
        const char *host = strncmp(urls[i], "https://", 8) == 0 ? urls[i] + 8 : "";
        if (host[0] == '\0' || strcspn(host, "/?#") != strlen(host))
            return config_error(map, "urls", err,
                                "found %s, expected https://<host> or https://<host>:<port>",
                                urls[i]);
    }
    listen.urls = urls;
    *ret_listen = listen;
    return ERROR_NONE;
}

static enum error_code read_hospitals(struct loaded *loaded, const struct config_map *root,
                                      struct error *err) {
    size_t count = config_count(root, "hospitals");
    struct settings_hospital *hospitals =
        arena_alloc(loaded->arena, (count + 1) * sizeof *hospitals);
    if (hospitals == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < count; i++) {
        const struct config_map *map = config_item(root, "hospitals", i);
        struct settings_hospital *h = &hospitals[i];
        *h = (struct settings_hospital){config_text(map, "name"), config_text(map, "url"),
                                        config_text(map, "certificate")};
        if (!is_hospital_name(h->name))
            return config_error(map, "name", err, "found %s, expected a-z, 0-9 and -", h->name);
        if (strcmp(h->name, loaded->settings.hospital) == 0)
            return config_error(map, "name", err, "%s is this hospital itself", h->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(h->name, hospitals[k].name) == 0)
                return config_error(map, "name", err, "%s stands twice", h->name);
        if (strncmp(h->url, "https://", 8) != 0)
            return config_error(map, "url", err, "found %s, expected https://...", h->url);
    }
    loaded->settings.hospitals = hospitals;
    loaded->settings.hospital_count = count;
    return ERROR_NONE;
}

/* The list as one text; worker_new reads it. NULL: there is none. */
static enum error_code read_windows(struct arena *arena, const struct config_map *map,
                                    const char **ret_windows, struct error *err) {
    const char *all = NULL;
    for (size_t i = 0; i < config_count(map, "windows"); i++) {
        const char *one = config_text_at(map, "windows", i);
        all = all == NULL ? arena_text(arena, one) : arena_format(arena, "%s,%s", all, one);
        if (all == NULL)
            return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    }
    *ret_windows = all;
    return ERROR_NONE;
}

static struct settings_intervals read_intervals(const struct config_map *map) {
    return (struct settings_intervals){
        .full_s = (uint32_t)(config_duration_ms(map, "interval") / 1000),
        .watermark_s = (uint32_t)(config_duration_ms(map, "watermark_interval") / 1000),
        .keys_s = (uint32_t)(config_duration_ms(map, "keys_interval") / 1000),
        .overlap_s = (uint32_t)(config_duration_ms(map, "watermark_overlap") / 1000),
        .overlap_rows = (uint32_t)config_number(map, "watermark_overlap_rows")};
}

static enum error_code read_tables(struct arena *arena, const struct config_map *map,
                                   struct settings_source *source, struct error *err) {
    size_t count = config_count(map, "tables");
    struct settings_table *tables = arena_alloc(arena, (count + 1) * sizeof *tables);
    if (tables == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < count; i++) {
        const struct config_map *item = config_item(map, "tables", i);
        tables[i] = (struct settings_table){config_text(item, "table"), read_intervals(item)};
        for (size_t k = 0; k < i; k++)
            if (strcmp(tables[i].table, tables[k].table) == 0)
                return config_error(item, "table", err, "%s stands twice", tables[i].table);
    }
    source->tables = tables;
    source->table_count = count;
    return ERROR_NONE;
}

static enum error_code read_sources(struct loaded *loaded, const struct config_map *root,
                                    struct error *err) {
    size_t count = config_count(root, "sources");
    struct settings_source *sources = arena_alloc(loaded->arena, (count + 1) * sizeof *sources);
    if (sources == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < count; i++) {
        const struct config_map *map = config_item(root, "sources", i);
        sources[i] = (struct settings_source){
            .mapping = config_text(map, "mapping"),
            .intervals = read_intervals(map),
            .rows_per_second = (uint32_t)config_number(map, "rows_per_second"),
            .deletions_percent_max = (uint32_t)config_number(map, "deletions_percent_max"),
            .time_zone = config_text(map, "time_zone"),
            .latency_factor = (uint32_t)config_number(map, "latency_factor"),
            .worker_memory_bytes = (uint64_t)config_number(map, "worker_memory_mib") << 20,
            .worker_cpu_s = (uint32_t)((config_duration_ms(map, "worker_cpu") + 999) / 1000)};
        TRY(read_windows(loaded->arena, map, &sources[i].windows, err));
        TRY(read_tables(loaded->arena, map, &sources[i], err));
    }
    loaded->settings.sources = sources;
    loaded->settings.source_count = count;
    return ERROR_NONE;
}

/* The first of the candidates (relative to the running program's folder) that is there; where none
 * is, the last, so that an error names the installed place. */
static const char *beside_program(struct arena *arena, const char *const *candidates) {
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len <= 0)
        return candidates[0];
    program[len] = '\0';
    char *slash = strrchr(program, '/');
    *slash = '\0';
    const char *path = NULL;
    for (; *candidates != NULL; candidates++) {
        path = arena_format(arena, "%s/%s", program, *candidates);
        if (path != NULL && access(path, F_OK) == 0)
            return path;
    }
    return path;
}

/* The own node's socket and those of the others, as ledger_open takes them. */
static enum error_code read_node_sockets(struct loaded *loaded, const struct config_map *root,
                                         struct error *err) {
    const char *all = config_text(root, "node_socket");
    if (strchr(all, ',') != NULL)
        return config_error(root, "node_socket", err, "a socket's path has no comma");
    for (size_t i = 0; i < config_count(root, "more_node_sockets") && all != NULL; i++) {
        const char *more = config_text_at(root, "more_node_sockets", i);
        if (*more != '/' || strchr(more, ',') != NULL)
            return config_error(root, "more_node_sockets", err,
                                "'%s': expected an absolute path without a comma", more);
        all = arena_format(loaded->arena, "%s,%s", all, more);
    }
    if (all == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    loaded->settings.node_socket = all;
    return ERROR_NONE;
}

static enum error_code read_paths(struct loaded *loaded, const struct config_map *root,
                                  struct error *err) {
    /* In a build folder renkei-gateway is in gateway/ and renkei in gateway/cli/; installed, both
     * are in bin/. */
    static const char *const workers[] = {"worker/renkei-worker", "../worker/renkei-worker",
                                          "renkei-worker", "../libexec/renkei/renkei-worker", NULL};
    static const char *const plugins[] = {"../connectors", "../../connectors",
                                          "../lib/renkei/connectors", NULL};
    struct settings *s = &loaded->settings;
    s->admin_socket = config_text(root, "admin_socket");
    TRY(read_node_sockets(loaded, root, err));
    s->genesis = config_text(root, "genesis");
    s->signer = config_text(root, "signer");
    s->vault = config_text(root, "vault");
    s->worker = config_has(root, "worker") ? config_text(root, "worker")
                                           : beside_program(loaded->arena, workers);
    s->plugins = config_has(root, "plugins") ? config_text(root, "plugins")
                                             : beside_program(loaded->arena, plugins);
    if (s->worker == NULL || s->plugins == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    return ERROR_NONE;
}

static enum error_code read_all(struct loaded *loaded, struct error *err) {
    const struct config_map *root = config_root(loaded->config);
    struct settings *s = &loaded->settings;
    s->hospital = config_text(root, "hospital");
    s->log_level = (enum log_level)config_enum(root, "log_level");
    if (!is_hospital_name(s->hospital))
        return config_error(root, "hospital", err, "found %s, expected a-z, 0-9 and -",
                            s->hospital);
    TRY(read_listen(loaded->arena, root, "listen", &s->listen, err));
    TRY(read_listen(loaded->arena, root, "machine", &s->machine, err));
    TRY(read_hospitals(loaded, root, err));
    TRY(read_sources(loaded, root, err));
    return read_paths(loaded, root, err);
}

enum error_code settings_load(const char *path, struct settings **ret_settings, struct error *err) {
    struct loaded *loaded = calloc(1, sizeof *loaded);
    if (loaded == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the configuration");
    loaded->arena = arena_new(ARENA_BYTES_MAX);
    enum error_code code = loaded->arena != NULL
                               ? config_load(path, root_keys, &loaded->config, err)
                               : error_set(err, ERROR_NO_MEMORY, "no memory for %s", path);
    if (code == ERROR_NONE)
        code = read_all(loaded, err);
    if (code != ERROR_NONE) {
        settings_free(&loaded->settings);
        return code;
    }
    *ret_settings = &loaded->settings;
    return ERROR_NONE;
}

void settings_free(struct settings *settings) {
    if (settings == NULL)
        return;
    struct loaded *loaded = (struct loaded *)settings;
    config_free(loaded->config);
    arena_free(loaded->arena);
    free(loaded);
}
