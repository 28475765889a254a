/*
 * The normalizer: a row of raw columns becomes a document in canonical bytes, and its two digests.
 *
 * Owns: charsets (raw bytes -> text), values (text -> five types), documents (values -> RFC 8785
 * bytes), the raw preimage, digests, addresses. May use: base, the record types of connector.h,
 * ICU. Refuses: to guess a charset, to drop a digit, to turn an invalid byte or a zero date into
 * something plausible, to log.
 *
 * A document is
 *   {"address":"renkei://...","category":"EMR03","fields":{"name":value,...}}
 * with its members sorted and written as RFC 8785 says. Fields that are personal information are
 * in it too; which ones they are is said beside it. Byte formats: docs/formats.md.
 */
#ifndef NORMALIZER_NORMALIZER_H
#define NORMALIZER_NORMALIZER_H

#include "base/bytes.h"
#include "base/hash.h"
#include "connectors/connector.h"
#include "normalizer/mapping.h"

enum {
    NORMALIZER_DOCUMENT_BYTES_MAX = 64 << 20,
    NORMALIZER_ROW_BYTES_MAX = 2 * NORMALIZER_DOCUMENT_BYTES_MAX, /* preimage and document */
    NORMALIZER_KEY_BYTES_MAX = 400, /* the canonical key: with its table it fits an LMDB key */
    NORMALIZER_ADDRESS_BYTES_MAX = 4096,
    NORMALIZER_REASONS_MAX = 64, /* reasons kept a row; more are counted */
    NORMALIZER_CHARACTERS_MAX = 4096, /* codes counted by normalizer_characters */
};

/* Why a value is not simply what the source holds. Never has the value itself. */
enum reason {
    REASON_NONE = 0,
    REASON_INVALID_BYTES,     /* not valid in the charset; replaced by U+FFFD, or quarantined */
    REASON_NOT_ROUND_TRIP,    /* several byte sequences give this character (EEE0, FBFC) */
    REASON_GAIJI,             /* a private-use character */
    REASON_ZERO_DATE,         /* 0000-00-00 and partial zero dates: empty */
    REASON_OUT_OF_RANGE_DATE, /* infinity, BC, year > 9999: string */
    REASON_NOT_A_NUMBER,      /* NaN, Infinity: string */
    REASON_BIG_NUMBER,        /* exact decimal string instead of a JSON number */
    REASON_TIME_DROPPED,      /* a date whose time of day is not midnight */
    REASON_ERA_OVERRUN,       /* 平成31年5月1日 */
    REASON_TYPE,              /* does not fit the mapping's type: quarantined */
    REASON_LIMIT,             /* longer than a limit: quarantined */
    REASON_FULL_WIDTH,        /* full-width digits read as digits */
    REASON_NOT_CANONICAL,     /* a json or array text that is kept as it is: a string */
    REASON_BLANK,             /* blank text where a number, date or bool is mapped: empty */
};

const char *reason_name(enum reason reason); /* "invalid-bytes", ... */

struct normalized_reason {
    uint32_t column; /* index into normalizer_columns */
    enum reason reason;
    uint32_t code; /* the byte sequence or code point that was met first, 0 if none */
    uint32_t count;
};

/* One row. Everything borrows from the normalizer and is valid until its next row. */
struct normalized_row {
    struct bytes key;      /* canonical key, docs/formats.md */
    struct bytes address;  /* UTF-8 */
    struct bytes patient;  /* UTF-8; empty: no patient column, or it is NULL */
    struct bytes date;     /* "yyyy/mm/dd", or empty */
    struct bytes document; /* RFC 8785; empty where the row is quarantined */
    struct bytes raw;      /* the raw preimage */
    bool quarantined;
    const struct normalized_reason *reasons;
    size_t reason_count;
    size_t reasons_beyond;        /* reasons that did not fit */
    const enum value_type *types; /* of each field, in normalizer_fields' order */
};

/* Characters that a hospital should look at, counted over all rows of a normalizer. */
enum character_kind {
    CHARACTER_INVALID = 0,
    CHARACTER_NOT_ROUND_TRIP, /* two byte sequences, one character: EEE0 and FBFC are both 髙 */
    CHARACTER_GAIJI,          /* private use, and no gaiji table says what it is */
    CHARACTER_GAIJI_MAPPED,   /* private use, shown as the gaiji table says */
    CHARACTER_WAVE_DASH,      /* 8160 and its kin, which converters disagree about */
};

const char *character_kind_name(enum character_kind kind); /* "invalid", "gaiji", ... */

struct character_count {
    uint32_t column; /* index into normalizer_columns */
    enum character_kind kind;
    uint32_t code; /* the bytes, first byte highest; of Unicode charsets the code point */
    uint64_t count;
    const char *sample_key; /* the canonical key of the first row that has it */
};

struct normalizer;

/* For one table of one session. columns: as the connector describes them; server_settings: from
 * renkei_server.settings. ERROR_MAPPING where the mapping names a column that is not there, has a
 * key that is none, or leaves a column without a charset: the message names file, line, column,
 * and what there is. The mapping must outlive the normalizer. */
MUST_CHECK enum error_code normalizer_new(const struct mapping *mapping,
                                          const struct mapping_table *table, const char *hospital,
                                          const struct renkei_column *columns,
                                          uint32_t column_count, const char *server_settings,
                                          struct normalizer **ret_normalizer, struct error *err);
void normalizer_free(struct normalizer *n);

/* What to SELECT, in this order: key columns first, then patient, date and mapped columns, each
 * once. */
const char *const *normalizer_columns(const struct normalizer *n, uint32_t *ret_count);

struct normalizer_field {
    const char *name;
    bool personal;
};
/* The document's fields in the order of its canonical bytes. */
const struct normalizer_field *normalizer_fields(const struct normalizer *n, size_t *ret_count);

/* SHA-256 over the canonical description of names, charsets, types, policies, session settings and
 * converter versions: what must be known to read a digest again. The description is JSON. */
struct hash normalizer_mapping_digest(const struct normalizer *n);
struct bytes normalizer_mapping_description(const struct normalizer *n);

/* Row `row` of a batch whose columns stand in the order of normalizer_columns. A row that cannot
 * be normalized is not an error: ret_row->quarantined is set, with its reasons. */
MUST_CHECK enum error_code normalizer_row(struct normalizer *n, const struct renkei_batch *batch,
                                          uint32_t row, struct normalized_row *ret_row,
                                          struct error *err);

/* From now on rows stand in out, one behind the other: their preimages, which hold the address and
 * with it the key, and their documents. They last as long as out does; a row's pointers are valid
 * until out grows. out must hold NORMALIZER_ROW_BYTES_MAX more than it has before each row. NULL: a
 * row is valid until the next one. */
void normalizer_append_to(struct normalizer *n, struct buffer *out);

/* Key and address alone, of a batch that has the key columns only: the first of
 * normalizer_columns. */
MUST_CHECK enum error_code normalizer_row_key(struct normalizer *n,
                                              const struct renkei_batch *batch, uint32_t row,
                                              struct normalized_row *ret_row, struct error *err);
uint32_t normalizer_key_columns(const struct normalizer *n);

/* The characters met so far, by column, kind and code; ret_beyond: how many characters were of
 * codes that did not fit. Valid until the next row. */
const struct character_count *normalizer_characters(const struct normalizer *n, size_t *ret_count,
                                                    uint64_t *ret_beyond);

/* UTF-8 text as the patient column's charset writes it, to ask the source for one patient's rows;
 * valid until the next call. ERROR_MAPPING where the table has no patient column,
 * ERROR_BAD_REQUEST where the charset has no such character. */
MUST_CHECK enum error_code normalizer_patient_value(struct normalizer *n, struct bytes text,
                                                    struct renkei_value *ret_value,
                                                    struct error *err);

/* Canonical key -> the values to put into renkei_query.keys, valid until the next call.
 * ERROR_BAD_REQUEST for a key of another shape. */
MUST_CHECK enum error_code normalizer_key_values(struct normalizer *n, struct bytes key,
                                                 const struct renkei_value **ret_values,
                                                 uint32_t *ret_count, struct error *err);

/* Digests: SHA-256(domain || r || bytes). */
struct hash digest_content(struct sha256 *h, const uint8_t r[32], struct bytes document);
struct hash digest_raw(struct sha256 *h, const uint8_t r[32], struct bytes raw_preimage);
/* Both at once. */
void digest_both(const uint8_t r[32], struct bytes document, struct bytes raw_preimage,
                 struct hash *ret_content, struct hash *ret_raw);

/* The two messages, content first, for whoever hashes many rows by sha256_many; they borrow from
 * all that is given. */
struct digest_heads {
    uint8_t content[SHA256_HEAD_BYTES_MAX];
    uint8_t raw[SHA256_HEAD_BYTES_MAX];
};
void digest_messages(const uint8_t r[32], struct bytes document, struct bytes raw_preimage,
                     struct digest_heads *heads, struct sha256_message ret_messages[2]);

/* Address grammar (docs/formats.md). */
struct address {
    char hospital[MAPPING_NAME_BYTES_MAX];
    char source[MAPPING_NAME_BYTES_MAX];
    char table[RENKEI_NAME_BYTES_MAX];
    char key[NORMALIZER_KEY_BYTES_MAX + 1]; /* canonical */
};
MUST_CHECK enum error_code address_parse(struct bytes text, struct address *ret_address,
                                         struct error *err);
void address_write(const char *hospital, const char *source, const char *table, struct bytes key,
                   struct buffer *out);

#endif
