/*
 * A hash table of state entries in memory: what a block changes, and what is committed but not yet
 * in the database. Keys are short and of fixed kinds; a value can be taken back, so that a
 * transaction takes effect wholly or not at all.
 */
#ifndef LEDGER_STATE_TABLE_H
#define LEDGER_STATE_TABLE_H

#include "base/bytes.h"

enum { STATE_KEY_BYTES = 33, STATE_VALUE_BYTES_MAX = 54 };

/* Kind and up to 32 bytes, zero-padded: all keys have one width. */
struct state_key {
    uint8_t byte[STATE_KEY_BYTES];
};
enum state_kind {
    STATE_RECORD = 'L',
    STATE_SUBMITTER = 'S',
    STATE_TRANSACTION = 'T',
    STATE_EPOCH = 'E',
    STATE_CHECKPOINT = 'K',
    STATE_ANCHOR = 'A',
    STATE_PERSON = 'P',
    STATE_PERMISSION = 'G',
    STATE_REFERENCE = 'R',
};
struct state_key state_key(enum state_kind kind, const uint8_t *data, size_t len);

struct state_value {
    uint8_t len; /* 0: no value here; ask the layer below */
    uint8_t byte[STATE_VALUE_BYTES_MAX];
};

struct state_entry {
    struct state_key key;
    struct state_value value;
};

struct state_table;
struct state_table *state_table_new(uint64_t seed); /* ends the process where memory runs out */
/* Room for so many at once, in an empty table: growing to it would move each entry several times. */
void state_table_reserve(struct state_table *table, size_t count);
void state_table_free(struct state_table *table);
size_t state_table_count(const struct state_table *table);
/* NULL where the table has no value for the key. Borrowed until the next put. */
const struct state_value *state_table_get(const struct state_table *table,
                                          const struct state_key *key);
/* The value before, with len 0 where there was none. */
struct state_value state_table_put(struct state_table *table, const struct state_key *key,
                                   const struct state_value *value);
/* Entries with a value, in the order of their first put; NULL after the last. *cursor starts at 0. */
const struct state_entry *state_table_each(const struct state_table *table, size_t *cursor);

#endif
