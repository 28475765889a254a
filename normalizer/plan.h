/*
 * The plan of one table: which columns are selected, by which rules they become fields, and the
 * parts of a document that are the same for every row. Inside the normalizer only.
 */
#ifndef NORMALIZER_PLAN_H
#define NORMALIZER_PLAN_H

#include "base/arena.h"
#include "normalizer/gaiji.h"
#include "normalizer/value_rule.h"

enum { PLAN_BYTES_MAX = 32 << 20, PLAN_NONE = -1 };

struct plan_column {
    const char *name; /* as the source has it, in its bytes */
    const char *text; /* in UTF-8 */
    const struct renkei_column *source;
    enum renkei_charset charset;
};

struct plan_field {
    struct normalizer_field field;
    struct value_rule rule;
    uint32_t column; /* index into columns */
    struct bytes prefix; /* ,"name": */
};

struct plan {
    const struct mapping *mapping;
    const struct mapping_table *table;
    const char *hospital;
    struct arena *arena;
    struct gaiji *gaiji;
    struct charset *charsets[RENKEI_CHARSET_LATIN1 + 1];

    struct plan_column *columns; /* in the order of the SELECT */
    uint32_t column_count;
    const char **names;
    uint32_t key_count; /* the first columns */

    struct plan_field *fields; /* in the order of the document */
    struct normalizer_field *field_list;
    size_t field_count;

    int patient; /* column, or PLAN_NONE */
    struct value_rule patient_rule;
    int date;       /* column, or PLAN_NONE */
    int date_field; /* the field that shows it as a date already, or PLAN_NONE */
    struct value_rule date_rule;

    struct bytes address;  /* renkei://hospital/source/table/ */
    struct bytes opening;  /* {"address":"renkei://.../ */
    struct bytes middle;   /* ","category":"EMR03","fields":{ */
    struct bytes description;
    struct hash digest;
};

/* On failure what was made stays in ret_plan: plan_done frees it in any case. */
MUST_CHECK enum error_code plan_make(struct plan *plan, const struct renkei_column *columns,
                                     uint32_t column_count, const char *server_settings,
                                     struct error *err);
void plan_done(struct plan *plan);

/* Writes plan->description and plan->digest. */
MUST_CHECK enum error_code plan_describe(struct plan *plan, const char *server_settings,
                                         struct error *err);

#endif
