/*
 * Configuration: a YAML file checked against a declared table.
 *
 * The caller declares which keys there are, of what kind, with which default; what the file holds
 * beyond that is an error with file, line, column and the nearest valid key. Refused too: duplicate
 * keys, tags, anchors and aliases, several documents, keys without a value, and numbers, words and
 * durations that are not written out plainly. A text is what stands there: nothing becomes a bool
 * or a number because of how it looks.
 *
 *   static const char *const levels[] = {"debug", "info", NULL};
 *   static const struct config_key listen_keys[] = {
 *       {.name = "port", .kind = CONFIG_NUMBER, .default_text = "8443", .min = 1, .max = 65535},
 *       {.name = "certificate", .kind = CONFIG_PATH, .required = true},
 *       {0}};
 *   static const struct config_key keys[] = {
 *       {.name = "log_level", .kind = CONFIG_ENUM, .words = levels, .default_text = "info"},
 *       {.name = "timeout", .kind = CONFIG_DURATION, .default_text = "30s", .min = 1},
 *       {.name = "listen", .kind = CONFIG_MAPS, .keys = listen_keys, .required = true},
 *       {0}};
 *   struct config *config = NULL;
 *   TRY(config_load("/etc/renkei/gateway.yaml", keys, &config, err));
 *   const struct config_map *root = config_root(config);
 *   for (size_t i = 0; i < config_count(root, "listen"); i++)
 *       port = config_number(config_item(root, "listen", i), "port");
 *
 * The accessors assert that the key is declared and of the right kind: asking for another is a
 * programmer's error. Everything they give is owned by the struct config and immutable.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum {
    CONFIG_BYTES_MAX = 1 << 20,      /* a file */
    CONFIG_DEPTH_MAX = 16,           /* maps in maps */
    CONFIG_ITEMS_MAX = 4096,         /* a list, where its key says nothing else */
    CONFIG_TEXT_BYTES_MAX = 4096,    /* a scalar, where its key says nothing else */
    CONFIG_MEMORY_BYTES_MAX = 64 << 20,
};

enum config_kind {
    CONFIG_TEXT = 0, /* min, max: bytes */
    CONFIG_NUMBER,   /* decimal digits with an optional minus; min, max: the value */
    CONFIG_BOOL,     /* true or false */
    CONFIG_ENUM,     /* one of words */
    CONFIG_PATH,     /* resolved against the folder of the file; never empty */
    CONFIG_DURATION, /* 250ms 30s 5m 2h 1d; min, max: milliseconds */
    CONFIG_TEXTS,    /* a list of texts, or one text alone; min, max: how many */
    CONFIG_MAP,      /* keys: its table */
    CONFIG_MAPS,     /* a list of maps; keys: their table; min, max: how many */
    CONFIG_PAIRS,    /* a map of names that are not declared here, to texts; max: how many */
};

/* A row of a declared table; a row whose name is NULL ends it. Tables are static. */
struct config_key {
    const char *name;
    enum config_kind kind;
    bool required;
    const char *default_text; /* of scalars, as it would stand in the file; NULL: none */
    int64_t min;              /* max == 0 and min == 0: the kind's own limits; */
    int64_t max;              /* max == 0 alone: no upper limit of the key's own */
    const char *const *words; /* CONFIG_ENUM: ended by NULL */
    const struct config_key *keys;
};

struct config;
struct config_map;

/* ERROR_CONFIG with "file:line:column: what", ERROR_IO, ERROR_LIMIT. */
MUST_CHECK enum error_code config_load(const char *path, const struct config_key *table,
                                       struct config **ret_config, struct error *err);
/* The same from memory; path is for messages and for resolving CONFIG_PATH. */
MUST_CHECK enum error_code config_parse(const char *path, struct bytes text,
                                        const struct config_key *table,
                                        struct config **ret_config, struct error *err);
void config_free(struct config *config); /* NULL is fine */
void config_free_scoped(struct config **config);
#define SCOPED_CONFIG __attribute__((cleanup(config_free_scoped)))

const struct config_map *config_root(const struct config *config);

/* True where the key stands in the file, not only in the table's defaults. */
bool config_has(const struct config_map *map, const char *key);

/* CONFIG_TEXT, CONFIG_PATH and, as written, CONFIG_ENUM. NULL: absent without a default. */
const char *config_text(const struct config_map *map, const char *key);
/* Absent without a default: 0. */
int64_t config_number(const struct config_map *map, const char *key);
bool config_bool(const struct config_map *map, const char *key);      /* ... false */
int64_t config_duration_ms(const struct config_map *map, const char *key); /* ... 0 */
/* The index into words. Absent without a default: -1. */
int config_enum(const struct config_map *map, const char *key);

/* CONFIG_MAP. An absent map whose keys are all optional is there with their defaults; one that has
 * a required key is NULL. config_has() tells an absent map from an empty one. */
const struct config_map *config_child(const struct config_map *map, const char *key);

/* How many items CONFIG_TEXTS, CONFIG_MAPS and CONFIG_PAIRS have; absent: 0. */
size_t config_count(const struct config_map *map, const char *key);
const char *config_text_at(const struct config_map *map, const char *key, size_t index);
const struct config_map *config_item(const struct config_map *map, const char *key, size_t index);

struct config_pair {
    const char *name;
    const char *value;
    unsigned line;
    unsigned column;
};
const struct config_pair *config_pair(const struct config_map *map, const char *key, size_t index);

/* Where a map, or one of its values, starts; 0 where it is absent. key == NULL: the map. */
unsigned config_line(const struct config_map *map, const char *key);

/* For checks that a table cannot express: ERROR_CONFIG "file:line:column: " and the text, at the
 * key's value (or at the map, where key is NULL or absent). */
enum error_code config_error(const struct config_map *map, const char *key, struct error *err,
                             const char *format, ...) PRINTF_LIKE(4, 5);

/* The nearest of the names, ended by NULL, for a hint; NULL where none is near. */
const char *config_nearest(const char *word, const char *const *names);

#endif
