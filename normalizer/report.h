/* Characters counted by column, kind and code. Inside the normalizer only. */
#ifndef NORMALIZER_REPORT_H
#define NORMALIZER_REPORT_H

#include "normalizer/normalizer.h"

struct report;

struct report *report_new(void); /* NULL: out of memory */
void report_free(struct report *report);
void report_count(struct report *report, uint32_t column, enum character_kind kind, uint32_t code,
                  struct bytes key);
const struct character_count *report_counts(const struct report *report, size_t *ret_count,
                                            uint64_t *ret_beyond);

#endif
