/*
 * Errors: what happened, to which object, found against expected, and a hint.
 *
 * Every function that can fail returns an enum error_code (ERROR_NONE is 0), is MUST_CHECK, and
 * takes a struct error last. On failure the struct is filled and every ret_* output is untouched;
 * on success the struct is untouched. err may be NULL where the caller wants the code only.
 *
 * Messages never contain a record's value, a password or a key.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

enum error_code {
    ERROR_NONE = 0,
#define ERROR(id, name, exit_status, http_status, en, ja, hint) ERROR_##id,
#include "base/error_table.h"
#undef ERROR
    ERROR_COUNT
};

enum { ERROR_MESSAGE_BYTES_MAX = 768, ERROR_HINT_BYTES_MAX = 256 };

struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_BYTES_MAX]; /* "what: which object: found X, expected Y" */
    char hint[ERROR_HINT_BYTES_MAX];       /* empty: the table's hint holds */
};

/* One row of the table. All strings are static. */
struct error_info {
    const char *name;
    int exit_status;
    int http_status;
    const char *title_en;
    const char *title_ja;
    const char *hint;
};

/* Never NULL: an unknown code gives the row of ERROR_INTERNAL. */
const struct error_info *error_info(enum error_code code);

/* ERROR_NONE where no row has this name. */
enum error_code error_code_from_name(const char *name);

/* Fills err (which may be NULL) and returns code, so that a caller can `return error_set(...)`.
 * A message longer than its field is cut at a character's boundary. */
enum error_code error_set(struct error *err, enum error_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Replaces the hint of an error that is set. Does nothing with err == NULL. */
void error_hint(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "context: " before the message of an error that is set; returns its code. */
enum error_code error_wrap(struct error *err, enum error_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The hint to show: the error's own, else the table's. */
const char *error_hint_text(const struct error *err);

#define TRY(expression)                                                                            \
    do {                                                                                           \
        enum error_code try_code_ = (expression);                                                  \
        if (try_code_ != ERROR_NONE)                                                               \
            return try_code_;                                                                      \
    } while (0)

#endif
