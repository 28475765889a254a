/*
 * The mapping: which tables and columns of a source are read, and what they become. One YAML file
 * a source, checked against a declared table: an unknown key is an error with file, line, column
 * and the nearest valid key.
 *
 *   source: main                    # stands in addresses: renkei://<hospital>/main/...
 *   connector: mysql                # the plugin's name
 *   connection:                     # the plugin's own declared options
 *     socket: /run/mysqld/mysqld.sock
 *     user: renkei
 *     password_file: /etc/renkei/main.password
 *     database: emr
 *   charset: cp932                  # where the source does not declare one (SQL_ASCII, ODBC)
 *   invalid_text: quarantine        # or: replace
 *   time_zone: "+09:00"             # the day that timestamps with a zone are shown as
 *   gaiji: gaiji.txt                # the hospital's own characters, see docs/types.md
 *   environment:                    # of this source's worker
 *     NLS_LANG: JAPANESE_JAPAN.JA16SJISTILDE
 *   tables:
 *     - table: visits
 *       category: EMR03
 *       key: [visit_no]
 *       patient: IdentificationID   # the column that says whose record it is
 *       date: RecordDate            # the record's date in the patient's document
 *       personal: [userName]        # columns that are personal information, or `all`
 *       fields:                     # none: every column under its own name and type
 *         - column: RecordDate
 *           name: recordDate
 *           type: date
 *         - column: allergy
 *           type: bool
 *
 * A mapping is immutable once loaded and may be read by several threads.
 */
#ifndef NORMALIZER_MAPPING_H
#define NORMALIZER_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "connectors/connector.h"

enum {
    MAPPING_BYTES_MAX = 1 << 20, /* the file */
    MAPPING_TABLES_MAX = 1024,
    MAPPING_NAME_BYTES_MAX = 64, /* hospital and source names, with the NUL */
};

enum value_type {
    VALUE_EMPTY = 0,
    VALUE_STRING = 1,
    VALUE_NUMBER = 2,
    VALUE_DATE = 3,
    VALUE_BOOL = 4,
};

const char *value_type_name(enum value_type type); /* "empty", "string", ... */

enum mapping_policy { MAPPING_QUARANTINE = 0, MAPPING_REPLACE = 1 };
enum mapping_era { MAPPING_ERA_NONE = 0, MAPPING_ERA_STRICT, MAPPING_ERA_FLAG, MAPPING_ERA_REJECT };

struct mapping_field {
    const char *column;
    const char *name;             /* in the document; the column's name by default */
    bool typed;                   /* the mapping names the type; else the source's decides */
    enum value_type type;
    enum renkei_charset charset;  /* UNKNOWN: the source's, else the mapping's default */
    enum mapping_era era;         /* of date fields read from text */
    bool personal;
    unsigned line;                /* in the file, for errors */
};

/* A path in the file (`gaiji`, and options of `connection` whose name ends in `_file`) stands
 * relative to the file's folder. */
struct mapping_table {
    const char *table;
    const char *schema;           /* "" : the session's default */
    const char *category;         /* "EMR01" .. "EMR16" */
    const char *const *keys;
    size_t key_count;
    const char *patient;          /* NULL: a table without a patient */
    const char *date;             /* NULL: none */
    const char *watermark;        /* NULL: none */
    const char *const *personal;  /* columns that are personal information */
    size_t personal_count;
    bool personal_all;
    bool all_columns;             /* no `fields:`: every column of the source */
    bool immutable;
    const struct mapping_field *fields;
    size_t field_count;
    unsigned line;
};

struct mapping {
    const char *path;
    const char *source;
    const char *connector;
    const struct renkei_option *options; /* of `connection:`; `..._file` made a path */
    const unsigned *option_lines;
    size_t option_count;
    enum renkei_charset charset;         /* default; UNKNOWN: none given */
    enum mapping_policy invalid_text;
    bool has_time_zone;
    int offset_minutes; /* timestamps with a zone are shown as the day they are that far east */
    const char *gaiji; /* the hospital's own gaiji table; NULL: none */
    const struct mapping_table *tables;
    size_t table_count;
    const struct renkei_option *environment; /* of `environment:`: the worker's own variables */
    size_t environment_count;
    struct bytes text;                   /* the file as read */
};

/* Loads and checks a file. ERROR_CONFIG names file, line and column. ret_mapping is freed by
 * mapping_free. */
MUST_CHECK enum error_code mapping_load(const char *path, struct mapping **ret_mapping,
                                        struct error *err);
/* The same from memory; path is for messages. */
MUST_CHECK enum error_code mapping_parse(const char *path, struct bytes text,
                                         struct mapping **ret_mapping, struct error *err);
void mapping_free(struct mapping *mapping);

/* What hospital and source names may be: [a-z0-9][a-z0-9-]{0,62}. */
bool mapping_name_valid(const char *name);

/* NULL: the mapping has no such table. */
const struct mapping_table *mapping_find(const struct mapping *mapping, const char *table);

#endif
