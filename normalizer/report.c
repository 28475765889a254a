#include "normalizer/report.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4 * NORMALIZER_CHARACTERS_MAX };

struct report {
    struct character_count counts[NORMALIZER_CHARACTERS_MAX];
    size_t count;
    uint64_t beyond;
    uint16_t slots[SLOTS]; /* 1 + index into counts; open addressing, at most a quarter full */
};

struct report *report_new(void) {
    return calloc(1, sizeof(struct report));
}

void report_free(struct report *report) {
    if (report == NULL)
        return;
    for (size_t i = 0; i < report->count; i++)
        free((void *)(uintptr_t)report->counts[i].sample_key);
    free(report);
}

static size_t slot_of(uint32_t column, enum character_kind kind, uint32_t code) {
    uint64_t mixed = ((uint64_t)code << 16 ^ (uint64_t)column << 3 ^ (uint64_t)kind) *
                     UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed >> 40) % SLOTS;
}

void report_count(struct report *report, uint32_t column, enum character_kind kind, uint32_t code,
                  struct bytes key) {
    size_t slot = slot_of(column, kind, code);
    for (; report->slots[slot] != 0; slot = (slot + 1) % SLOTS) {
        struct character_count *found = &report->counts[report->slots[slot] - 1];
        if (found->column == column && found->kind == kind && found->code == code) {
            found->count++;
            return;
        }
    }
    char *sample = report->count < NORMALIZER_CHARACTERS_MAX ? malloc(key.len + 1) : NULL;
    if (sample == NULL) {
        report->beyond++;
        return;
    }
    if (key.len > 0)
        memcpy(sample, key.data, key.len);
    sample[key.len] = '\0';
    report->counts[report->count] = (struct character_count){
        .column = column, .kind = kind, .code = code, .count = 1, .sample_key = sample};
    report->slots[slot] = (uint16_t)++report->count;
}

const struct character_count *report_counts(const struct report *report, size_t *ret_count,
                                            uint64_t *ret_beyond) {
    *ret_count = report->count;
    *ret_beyond = report->beyond;
    return report->counts;
}
