/*
 * A gateway's sync over the fakes, in a folder of its own.
 */
#ifndef TESTS_UNIT_SYNC_FIXTURE_H
#define TESTS_UNIT_SYNC_FIXTURE_H

#include "gateway/sync/records.h"
#include "tests/unit/sync/fakes.h"

enum { WAIT_MS = 120000 };

struct fixture {
    char folder[64];
    struct sync *sync;
    struct arena *arena;
    struct sync_intervals intervals;
    struct sync_table_options table; /* table NULL: none has intervals of its own */
};

int fixture_set_up(void **state);
int fixture_tear_down(void **state);

void fixture_path_of(const struct fixture *f, const char *name, char ret_path[128]);
/* The mapping of the one source, with more lines of its table; read at the next opening. */
void fixture_write_mapping(struct fixture *f, const char *more);
enum error_code fixture_try_open(struct fixture *f, struct error *err);
void fixture_open_sync(struct fixture *f);
void fixture_restart(struct fixture *f);

struct sync_source_status fixture_status_of(struct fixture *f);
void fixture_start(struct fixture *f, const struct sync_request *r);
/* A full pass that must end in the state given; its counts. */
struct sync_counts fixture_pass(struct fixture *f, enum sync_state expected);
/* Rows 0 to count - 1, of ten patients. */
void fixture_put_many(size_t count);
/* The same sync with its table immutable, rows 0 to 2 in it anchored by a full pass. */
void fixture_open_immutable(struct fixture *f);
struct records fixture_records_of(struct fixture *f, const char *patient);
struct record fixture_one_record(struct fixture *f, const char *key);

#endif
