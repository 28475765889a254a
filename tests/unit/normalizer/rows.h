/* Batches of one row, made of texts: for the tests of the normalizer. */
#ifndef TESTS_NORMALIZER_ROWS_H
#define TESTS_NORMALIZER_ROWS_H

#include <stdint.h>

#include "normalizer/normalizer.h"

enum { ROW_CELLS_MAX = 32 };

struct one_row {
    struct renkei_batch batch;
    struct renkei_batch_column columns[ROW_CELLS_MAX];
    uint32_t offset;
    uint32_t lengths[ROW_CELLS_MAX];
};

/* data == NULL is SQL NULL. */
static inline void one_row_set(struct one_row *row, const struct bytes *cells, uint32_t count) {
    row->offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        row->lengths[i] = cells[i].data != NULL ? (uint32_t)cells[i].len : RENKEI_NULL;
        row->columns[i] =
            (struct renkei_batch_column){cells[i].data, &row->offset, &row->lengths[i]};
    }
    row->batch = (struct renkei_batch){1, count, row->columns};
}

#endif
