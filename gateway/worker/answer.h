/*
 * Answers of a worker, decoded into one arena each. Inside gateway/worker only.
 */
#ifndef GATEWAY_WORKER_ANSWER_H
#define GATEWAY_WORKER_ANSWER_H

#include "base/arena.h"
#include "gateway/worker/protocol.h"
#include "gateway/worker/worker.h"

enum { ANSWER_BYTES_MAX = 256 << 20 };

/* A result that worker_result_free frees together with everything that it points to. */
struct answer {
    struct arena *arena;
    void *result;
};

/* false: no memory. */
bool answer_new(size_t size, struct answer *ret_answer);
void answer_free(struct answer *answer); /* NULL result is fine */

/* Each reads a payload to its end; false: it makes no sense, or there is no memory. */
bool answer_plan(struct arena *arena, struct wire_reader *r, struct worker_plan *ret_plan);
bool answer_server(struct arena *arena, struct wire_reader *r,
                   struct worker_description *description);
bool answer_table(struct arena *arena, struct wire_reader *r, struct worker_table *ret_table);
bool answer_right(struct arena *arena, struct wire_reader *r, struct worker_right *ret_right);

/* A row of a preview or a fetch, with everything that either wants. */
struct answer_row {
    uint32_t index;
    struct worker_fetched_row row;
    const struct renkei_value *cells;
};
bool answer_row(struct arena *arena, struct wire_reader *r, struct answer_row *ret_row);

/* The characters of a pull. */
bool answer_characters(struct arena *arena, struct wire_reader *r,
                       const struct character_count **ret_counts, size_t *ret_count,
                       uint64_t *ret_beyond);

/* One row of a pull: borrows from the payload; its reasons go to `reasons`. */
enum { ANSWER_PULL_REASONS_MAX = 1 << 16 };
bool answer_pull_row(struct wire_reader *r, struct worker_row *ret_row,
                     struct normalized_reason *reasons, size_t reasons_max);

#endif
