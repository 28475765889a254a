/*
 * Retrieval: live rows, normalized again and compared with the chain. Never a record without its
 * verdict.
 *
 * What could not be looked at is never made to look like anything else: where a database is down,
 * its records keep VERDICT_UNKNOWN and the error, and the others are shown.
 */
#ifndef GATEWAY_SYNC_RECORDS_H
#define GATEWAY_SYNC_RECORDS_H

#include "gateway/sync/sync.h"
#include "ledger/leaf.h"
#include "ledger/ledger.h"

enum {
    RECORDS_LIMIT_MAX = 1000,    /* records in one answer */
    RECORDS_PATIENT_MAX = 20000, /* records of one patient at one hospital */
    RECORDS_VERSIONS_MAX = 64,   /* earlier versions listed with a record; the total is said */
};

enum verdict {
    VERDICT_UNKNOWN = 0, /* could not be looked at; code and error say why */
    VERDICT_MATCH,       /* equals the latest anchored version */
    VERDICT_MISMATCH,    /* differs from it: changed since the last sync, or tampered with */
    VERDICT_MISSING,     /* the row is gone and no deletion is anchored */
    VERDICT_UNANCHORED,  /* not yet synced, or not since a mapping that cannot be compared with */
    VERDICT_ERASED,      /* an erasure is on the chain */
    VERDICT_WITHHELD,    /* refused without an erasure; `error` says why */
};
const char *verdict_name(enum verdict verdict); /* "unknown", "match", ... */

struct record_field {
    const char *name;
    const char *type; /* "string", "number", "date", "bool", "empty" */
    bool personal;
};

/* One anchored version. */
struct record_version {
    struct leaf leaf; /* operation, origin, version, locator, digests */
    struct hash leaf_hash;
    struct hash transaction;
    struct ledger_position position;
    uint64_t anchored_ms; /* the block's time */
    bool has_r;
    uint8_t r[32]; /* what the patient needs to recompute the digests */
};

/* A record as it is shown. Everything is the arena's. */
struct record {
    const char *address;
    const char *hospital;
    const char *source;
    const char *table;
    const char *category; /* "EMR01" .. "EMR16" */
    const char *date;     /* "yyyy/mm/dd" or "" */
    struct bytes document; /* canonical bytes (RFC 8785) of the live row; empty where there is no
                              live row, or it may not be shown */
    const struct record_field *fields; /* of the document, in its own order */
    size_t field_count;
    struct bytes raw; /* raw preimage of the live row, where asked for */

    enum verdict verdict;
    enum error_code code; /* of UNKNOWN and WITHHELD; also why a live row cannot be shown */
    const char *error;    /* "" where none */
    const char *hint;

    bool live;                  /* live_* below are set */
    struct hash live_content;   /* digests of the live row under the r of versions[0] */
    struct hash live_raw;
    struct hash live_mapping;

    uint64_t anchored_since_ms; /* the time of versions[0]; 0: not anchored */
    uint32_t observed_changes;  /* versions after the first whose origin is observed */
    const struct record_version *versions; /* latest first; [0] is what the verdict compares with */
    size_t version_count;
    uint64_t version_total;
};

struct records_error {
    const char *source;
    const char *table; /* "": the whole source */
    enum error_code code;
    const char *error;
    const char *hint;
};

struct records {
    const struct record *items; /* in the order of their addresses' bytes */
    size_t count;
    bool more; /* there are more: ask again with after = the last address */
    const struct records_error *errors;
    size_t error_count;
    bool has_head;
    struct ledger_head head; /* the chain the verdicts were made against */
};

struct records_query {
    bool raw;          /* hand over raw preimages */
    size_t limit;      /* 1 .. RECORDS_LIMIT_MAX; 0: RECORDS_LIMIT_MAX */
    const char *after; /* address; NULL: from the first */
};

/* All records of a patient of this hospital, also rows that are not synced yet. An unknown patient
 * gives no record and no error. Fails as a whole only where the chain cannot be asked
 * (ERROR_NODE_UNREACHABLE, ERROR_NODE_STALE) or a limit is passed. */
MUST_CHECK enum error_code records_of_patient(struct sync *sync, const char *patient,
                                              const struct records_query *query,
                                              struct arena *arena, struct records *ret_records,
                                              struct error *err);

/* One record. ERROR_NOT_FOUND where neither the vault nor the source has such a record, or it is
 * not the patient's (patient NULL: of anybody, for operators). */
MUST_CHECK enum error_code records_by_address(struct sync *sync, const char *address,
                                              const char *patient,
                                              const struct records_query *query,
                                              struct arena *arena, struct record *ret_record,
                                              struct error *err);

#endif
