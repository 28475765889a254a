/*
 * Charsets: raw bytes of a source become UTF-8. Inside the normalizer only.
 *
 * ICU's ibm-943_P15A-2003 is the authority for CP932; the hot path is a table that is filled from
 * it at start, with what differs from Windows patched: every byte below 0x80 is itself (ICU rotates
 * 1A, 1C and 7F), and 80, A0, FD to FF are not characters. Where a lead byte has no valid trail,
 * the lead byte alone is bad: an ASCII byte after it stays what it is.
 */
#ifndef NORMALIZER_CHARSET_H
#define NORMALIZER_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "connectors/connector.h"

/* "cp932", "utf-8", ...; "unknown". */
const char *charset_name(enum renkei_charset charset);

/* What a mapping may write, ended by NULL, and what each word means. */
extern const char *const charset_words[];
enum renkei_charset charset_of_word(int index);

#endif
