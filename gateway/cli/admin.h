/* What the operator's commands share: passes that are followed, and lists that come in pages. */
#ifndef GATEWAY_CLI_ADMIN_H
#define GATEWAY_CLI_ADMIN_H

#include "gateway/cli/cli.h"

/* Asks for a pass and, unless `wait` is false, follows it to its end with progress. body: of POST
 * /admin/v1/sync. source NULL: all. ret_answer: the passes as they ended, a new reference; NULL
 * without waiting. */
MUST_CHECK enum error_code cli_pass(const struct cli_call *call, const char *source,
                                    const json_t *body, bool wait, json_t **ret_answer,
                                    struct error *err);
/* Of an answer of cli_pass: one flat object a source with its state and counts. A new reference. */
json_t *cli_pass_rows(const json_t *answer, const char *source);
/* The error of the first source whose pass failed. */
MUST_CHECK enum error_code cli_pass_error(const json_t *answer, const char *source,
                                          struct error *err);
/* Appends all pages of `path` to an array. list: the member that holds the rows. */
MUST_CHECK enum error_code cli_admin_pages(const struct cli_call *call, const char *path,
                                           const char *list, json_t *rows, struct error *err);
/* Appends a flat object for each column, kind and code of the character report. */
MUST_CHECK enum error_code cli_character_rows(const struct cli_call *call, const char *source,
                                              json_t *rows, struct error *err);

#endif
