/*
 * A database and a chain behind the real doors worker.h and ledger.h, for orders of faults that
 * real ones cannot be made to show. The chain is strict: it takes exact bytes, in order, once, and
 * checks every leaf against the record's history.
 */
#ifndef TESTS_UNIT_SYNC_FAKES_H
#define TESTS_UNIT_SYNC_FAKES_H

#include "gateway/worker/worker.h"
#include "ledger/ledger.h"

enum { FAKE_ROWS_MAX = 20000, FAKE_LEAVES_MAX = 60000, FAKE_TRANSACTIONS_MAX = 512 };

struct fake_row {
    char key[16];
    char patient[16];
    char text[32];  /* what the document shows */
    char shadow[8]; /* what only the raw preimage has */
    bool unreadable;
    bool hidden_from_pull; /* a reader without a snapshot misses it */
};

struct fake_database {
    struct fake_row rows[FAKE_ROWS_MAX];
    size_t count;
    uint8_t mapping; /* fills the mapping digest */
    uint32_t columns_read; /* of mapping 2 and later; 0: all */
    bool forgets_mappings; /* no row can be read any more as an earlier mapping read it */
    _Atomic bool down;
    size_t lose_after; /* rows of a pull until the connection breaks; 0: never */
    uint32_t batch_rows;
    bool cancelled;
    uint64_t wave_dashes; /* that a pull reports, and one character beyond its list */
};
extern struct fake_database fake_database;
void fake_database_reset(void);
struct fake_row *fake_put(const char *key, const char *patient, const char *text);
struct fake_row *fake_find(const char *key);
void fake_remove(const char *key);

struct fake_chain {
    struct ledger_version leaves[FAKE_LEAVES_MAX];
    size_t leaf_count;
    struct hash ids[FAKE_TRANSACTIONS_MAX]; /* by sequence - 1 */
    struct ledger_receipt receipts[FAKE_TRANSACTIONS_MAX];
    uint64_t committed; /* transactions */
    size_t incidents;
    size_t notes;
    _Atomic bool down;
    size_t behind;             /* so many answers more come from a node without the last leaf */
    bool drop_reply;           /* commits, then says that it cannot be reached */
    uint64_t without_effect;   /* this sequence commits without effect; 0: none */
    const char *broken;        /* the first rule that was broken; NULL: none */
    size_t submissions;
    _Atomic size_t sequences_asked;    /* how often where the submitter stands was asked */
};
extern struct fake_chain fake_chain;
void fake_chain_reset(void);

#endif
