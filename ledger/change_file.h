/*
 * A change of the members as a JSON file that goes from operator to operator, who read it, sign it and
 * hand it on; and the list of members as JSON. The bytes that are signed are made from the fields
 * (ledger/members.h), so that nobody signs what he cannot read.
 */
#ifndef LEDGER_CHANGE_FILE_H
#define LEDGER_CHANGE_FILE_H

#include "ledger/members.h"

enum { CHANGE_FILE_BYTES_MAX = 1 << 20 };

/* Reads a file for the members in force; ERROR_CONFIG where it is for another chain or epoch, or is no
 * such file. */
MUST_CHECK enum error_code change_file_read(const char *path, const struct members *members,
                                            struct change *ret_change, struct error *err);
/* Replaces the file. */
MUST_CHECK enum error_code change_file_write(const char *path, const struct members *members,
                                             const struct change *change, struct error *err);
/* Adds an operation written as KIND=NAME, or KIND=FILE of the member.json that tells its keys. */
MUST_CHECK enum error_code change_file_operation(const char *text, struct change *change,
                                                 struct error *err);
/* Puts a signature into its place; the same validator's earlier one goes. */
void change_add_signature(struct change *change, const struct change_signature *signature);
/* One line an operation: what it does to whom. */
MUST_CHECK enum error_code change_text(const struct change *change, struct buffer *out,
                                       struct error *err);
MUST_CHECK enum error_code members_json(const struct members *members, struct buffer *out,
                                        struct error *err);

#endif
