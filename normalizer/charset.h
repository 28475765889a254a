/*
 * Charsets: raw bytes of a source become UTF-8. Inside the normalizer only.
 *
 * ICU's ibm-943_P15A-2003 is the authority for CP932; the hot path is a table that is filled from
 * it once a process, with what differs from Windows patched: every byte below 0x80 is itself (ICU
 * rotates 1A, 1C and 7F). 80, A0 and FD to FF are not characters. Where a lead byte has no valid
 * trail, the lead byte alone is bad: an ASCII byte after it stays what it is.
 *
 * Nothing here is silent: each character that is invalid, that does not round-trip, that is private
 * (gaiji) or that tools disagree about (wave dash and its kin) is reported to a visitor with the
 * bytes it was and their offset.
 */
#ifndef NORMALIZER_CHARSET_H
#define NORMALIZER_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "connectors/connector.h"
#include "normalizer/gaiji.h"
#include "normalizer/normalizer.h"

/* "cp932", "utf-8", ...; "unknown". */
const char *charset_name(enum renkei_charset charset);

/* What a mapping may write, ended by NULL, and what each word means. */
extern const char *const charset_words[];
enum renkei_charset charset_of_word(int index);

/* code: the bytes that were met, first byte highest (0x8160, 0x8FF4FB); of UTF-8 and UTF-16 the
 * code point where it is a valid character. offset: of its first byte. */
typedef void charset_visitor(void *context, enum character_kind kind, uint32_t code,
                             size_t offset);

struct charset;

/* gaiji may be NULL and must outlive the charset. ERROR_INTERNAL where ICU's data is not the one
 * that is needed; UNKNOWN and BINARY are programmer's errors. */
MUST_CHECK enum error_code charset_new(enum renkei_charset id, const struct gaiji *gaiji,
                                       struct charset **ret_charset, struct error *err);
void charset_free(struct charset *charset); /* NULL is fine */

/* Tests compare the vector path with the plain one. */
void charset_set_vector(struct charset *charset, bool vector);

/* Appends the text to out as UTF-8. escape: as RFC 8785 writes it between quotes. What is invalid
 * becomes U+FFFD. A full buffer fails as buffers do. */
void charset_decode(struct charset *charset, struct bytes raw, bool escape,
                    charset_visitor *visitor, void *context, struct buffer *out);

/* The same with escape, between quotes: a whole JSON string. */
void charset_decode_string(struct charset *charset, struct bytes raw, charset_visitor *visitor,
                           void *context, struct buffer *out);

/* UTF-8 text as this charset writes it; false where it cannot. Appends to out. */
MUST_CHECK bool charset_encode(struct charset *charset, struct bytes text, struct buffer *out);

/* --- between the files of the normalizer --- */

enum {
    CHARSET_BLOCK_BYTES = 4096, /* input between two looks at the output's room */
    CHARSET_GROWTH_MAX = 6,     /* output bytes an input byte: \u001f */
    CHARSET_SLACK_BYTES = 64,   /* what a store may write beyond, and one longest character */
};

/* A character in a table: its UTF-8 in the low 24 bits, first byte lowest; its length in bits 24
 * and 25; a mark that makes it leave the hot path. */
#define CHARSET_LENGTH(entry) ((entry) >> 24 & 3)
#define CHARSET_MARKED        UINT32_C(0x80000000)
#define CHARSET_BAD           UINT32_C(0x80000000) /* marked, and of no length */
#define CHARSET_LOSSY         UINT32_C(0xC0000000) /* does not round-trip */

uint32_t charset_entry(uint32_t code_point);

/* Filled once a process. */
struct charset_cp932 {
    uint32_t single[256];
    uint32_t pair[60 * 256];  /* of lead bytes 81..9F, E0..FC */
    int8_t lead[256];         /* its row in pair, or -1 */
};
struct charset_euc {
    uint32_t set1[94 * 94]; /* JIS X 0208 with the vendors' rows */
    uint32_t set3[94 * 94]; /* after 8F: JIS X 0212 with the vendors' rows */
    uint32_t kana[256];     /* after 8E */
};

MUST_CHECK enum error_code charset_fill_cp932(struct charset_cp932 *ret_table, struct error *err);
MUST_CHECK enum error_code charset_fill_euc(const struct charset_cp932 *cp932,
                                            struct charset_euc *ret_table, struct error *err);
MUST_CHECK enum error_code charset_fill_single(const char *icu_name, uint32_t ret_single[256],
                                               struct error *err);

/* One character that cannot go the hot path: escapes, gaiji, replacement. */
void charset_put(const struct charset *charset, uint32_t code_point, bool escape,
                 struct buffer *out);

/* Reports a code point of a Unicode charset where it is private. */
void charset_visit_private(const struct charset *charset, uint32_t code_point, size_t offset,
                           charset_visitor *visitor, void *context);

/* ISO-2022-JP and UTF-16, by ICU. */
struct charset_icu;
MUST_CHECK enum error_code charset_icu_new(const char *name, struct charset_icu **ret_icu,
                                           struct error *err);
void charset_icu_free(struct charset_icu *icu);
void charset_icu_decode(struct charset *charset, struct charset_icu *icu, struct bytes raw,
                        bool escape, charset_visitor *visitor, void *context,
                        struct buffer *out);
MUST_CHECK bool charset_icu_encode(struct charset_icu *icu, struct bytes text, struct buffer *out);

#endif
