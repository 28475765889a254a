/*
 * What the bytes of a column look like, whatever charset they are declared to be in: evidence for a
 * person who checks a mapping. Nothing is ever decoded by it.
 */
#ifndef NORMALIZER_EVIDENCE_H
#define NORMALIZER_EVIDENCE_H

#include "base/bytes.h"
#include "base/error.h"
#include "connectors/connector.h"

struct evidence;

/* declared: as the mapping or the source says. */
MUST_CHECK enum error_code evidence_new(enum renkei_charset declared,
                                        struct evidence **ret_evidence, struct error *err);
void evidence_free(struct evidence *evidence); /* NULL is fine */

/* One value of the column. Values that are ASCII alone say nothing and are not counted. */
void evidence_add(struct evidence *evidence, struct bytes raw);

struct evidence_finding {
    uint64_t values;             /* that are not ASCII alone */
    uint64_t invalid;            /* of them, not valid in the declared charset */
    enum renkei_charset looks_like; /* a charset in which all of them are valid, and that fits
                                       better than the declared one; UNKNOWN: none does */
};
/* Of the Japanese charsets and UTF-8 only; a column declared in UTF-16, ISO-2022-JP or as binary
 * gives no evidence. */
struct evidence_finding evidence_judge(const struct evidence *evidence);

#endif
