/*
 * The patient's unified document: several hospitals' sections put together, in two views. Pure; the
 * sections may come from other hospitals, so that nothing in them is believed to be well formed.
 * Internal to gateway/rest; docs/document.md is what it promises.
 */
#ifndef GATEWAY_REST_DOCUMENT_H
#define GATEWAY_REST_DOCUMENT_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"

enum { DOCUMENT_PARTS_MAX = 101, DOCUMENT_FIELDS_MAX = 4096 };

/* What became of asking one hospital. */
struct document_part {
    const char *hospital;
    const char *status;   /* "complete", "partial", "truncated", "unreachable", "refused",
                             "not-asked" */
    struct bytes section; /* section_make's bytes; len 0: there is none */
    enum error_code code;
    const char *error; /* why there is none; NULL or "" */
    const char *hint;
};

/* Checks a section that came from elsewhere: JSON, of this hospital, its records complete enough to
 * be shown. Fills part's section and status. ERROR_PROTOCOL. */
MUST_CHECK enum error_code document_part_read(struct bytes section, struct arena *arena,
                                              struct document_part *part, struct error *err);

/* Every record with all that is known of it. */
MUST_CHECK enum error_code document_verified(const char *hospital, uint64_t now_ms,
                                             const struct document_part *parts, size_t count,
                                             struct arena *arena, struct buffer *out,
                                             struct error *err);

/* The array of Wang, Jiang and Wang's Fig. 5: personal information, then the records by date. */
MUST_CHECK enum error_code document_plain(const struct document_part *parts, size_t count,
                                          struct arena *arena, struct buffer *out,
                                          struct error *err);

struct document_summary {
    uint64_t verdicts[8]; /* by enum verdict's order: unknown first */
    uint64_t records;
    bool complete;
};
/* Counts; also for the headers of the plain view. */
void document_summarise(const struct document_part *parts, size_t count,
                        struct document_summary *ret_summary);
/* "match=3, mismatch=1" */
void document_summary_text(const struct document_summary *summary, struct buffer *out);

#endif
