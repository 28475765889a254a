/*
 * What the gateway and a worker say to each other over their socket pair. Inside gateway/worker
 * only: both ends are of one build, so there are no versions, only a check that they are the same.
 *
 *   frame = u32 length of what follows, u8 type, payload in the encoding of base/wire
 *
 * One request at a time; its answer ends with END, or with ERROR. In a pull the worker sends KEYS,
 * the gateway answers SALTS (or STOP), the worker sends ROWS; the worker may send the KEYS of the
 * next batch before it has the SALTS of this one, so that both sides work at the same time.
 */
#ifndef GATEWAY_WORKER_PROTOCOL_H
#define GATEWAY_WORKER_PROTOCOL_H

#include "base/bytes.h"
#include "base/wire.h"
#include "normalizer/normalizer.h"

enum frame_type {
    /* gateway -> worker */
    FRAME_DESCRIBE = 1,  /* - */
    FRAME_COLUMNS = 2,   /* schema, table */
    FRAME_PLAN = 3,      /* table */
    FRAME_PREVIEW = 4,   /* table, u32 rows */
    FRAME_PULL = 5,      /* table, u8 mode, watermark, u32 rows a second, u32 n, n keys, u32 n, n
                            descriptions of mappings */
    FRAME_FETCH = 6,     /* table, u32 n, n x {key, u8 has r, r} */
    FRAME_PATIENT = 7,   /* table, patient, u32 rows_max */
    FRAME_SALTS = 8,     /* u32 n, n x {u8 known, fresh, [stored, content, raw, u8 earlier]} */
    FRAME_STOP = 9,      /* instead of SALTS: the gateway wants no more */
    FRAME_CANCEL = 10,   /* at any time during a request */
    FRAME_UNDER = 11,    /* table, description of a mapping, then as FRAME_FETCH from its n on */
    /* worker -> gateway */
    FRAME_READY = 20,    /* version text */
    FRAME_ERROR = 21,    /* u32 code, message, hint */
    FRAME_END = 22,      /* totals, after a pull; else empty */
    FRAME_SERVER = 23,   /* what describe tells but for tables and rights */
    FRAME_TABLE = 24,    /* one table, with n columns */
    FRAME_RIGHT = 25,    /* one right */
    FRAME_PLANNED = 26,  /* a plan */
    FRAME_ROW = 27,      /* one row of a preview or a fetch */
    FRAME_KEYS = 28,     /* u32 n, n keys */
    FRAME_ROWS = 29,     /* u32 n, n rows of a pull */
    FRAME_CHARACTERS = 30, /* before a pull's END: u64 beyond, u32 n, n x {u32 column, u8 kind,
                              u32 code, u64 count, key} */
    FRAME_LOAD = 31,     /* during a pull: u8 pause, u64 until, totals */
};

enum { FRAME_HEADER_BYTES = 5, FRAME_BYTES_MAX = 128 << 20 };

/* A frame is built in a buffer: begin, append the payload, then hand frame_end's bytes to the
 * socket. */
void frame_begin(struct buffer *b, enum frame_type type);
struct bytes frame_end(struct buffer *b);

/* Shared pieces of payloads. Texts travel as byte strings without NUL. */
void frame_text(struct buffer *b, const char *text);
void frame_reasons(struct buffer *b, const struct normalized_reason *reasons, size_t count);

/* Flags of a row in FRAME_ROW. */
enum { ROW_FOUND = 1, ROW_QUARANTINED = 2, ROW_HAS_CELLS = 4, ROW_HAS_DIGESTS = 8 };

#endif
