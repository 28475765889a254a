/*
 * A hospital's own characters (gaiji): what stands for each private-use code. Inside the
 * normalizer only. A text file, one code a line:
 *
 *   # code  what it is
 *   F040    U+9AD9
 *   F041    U+845B U+E0100          # with a variation selector
 *   U+E002  "(はしご高)"             # a placeholder
 *
 * A code is CP932's (F040 to F9FC) or the code point that it decodes to (U+E000 to U+F8FF).
 */
#ifndef NORMALIZER_GAIJI_H
#define NORMALIZER_GAIJI_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

enum {
    GAIJI_BYTES_MAX = 1 << 20,    /* the file */
    GAIJI_TEXT_BYTES_MAX = 48,    /* what one code becomes, as UTF-8 */
    GAIJI_FIRST = 0xE000,
    GAIJI_LAST = 0xF8FF,
};

struct gaiji;

MUST_CHECK enum error_code gaiji_load(const char *path, struct gaiji **ret_gaiji,
                                      struct error *err);
MUST_CHECK enum error_code gaiji_parse(const char *path, struct bytes text,
                                       struct gaiji **ret_gaiji, struct error *err);
void gaiji_free(struct gaiji *gaiji); /* NULL is fine */

/* The UTF-8 text of a private-use code point; empty: the table has none. gaiji may be NULL. */
struct bytes gaiji_find(const struct gaiji *gaiji, uint32_t code_point);
/* SHA-256 of the file's bytes. */
struct hash gaiji_digest(const struct gaiji *gaiji);

#endif
