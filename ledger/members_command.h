/*
 * renkei-node's commands for operators about the members: show, keys, change, sign, submit.
 */
#ifndef LEDGER_MEMBERS_COMMAND_H
#define LEDGER_MEMBERS_COMMAND_H

#include "base/bytes.h"
#include "base/error.h"

enum { MEMBERS_WORDS_MAX = 64 };

struct members_call {
    const char *genesis;
    const char *data; /* the node's folder */
    const char *socket;
    const char *vote_key;
    const char *tls_key;
    const char *tls_certificate;
    const char *out; /* a file to write, or NULL */
    const char *words[MEMBERS_WORDS_MAX];
    size_t word_count;
    bool json;
    bool alone;
    bool repair;
};

MUST_CHECK enum error_code members_show(const struct members_call *call, struct error *err);
/* Makes the keys of the next epoch beside those in use, and tells them in a member.json. */
MUST_CHECK enum error_code members_keys(const struct members_call *call, struct error *err);
/* Makes a change from its operations, signed by this node's key where that is a validator's. */
MUST_CHECK enum error_code members_make(const struct members_call *call, struct error *err);
/* Adds this validator's signature to a change. */
MUST_CHECK enum error_code members_sign(const struct members_call *call, struct error *err);
/* Puts the signatures of all the files together and submits the change. */
MUST_CHECK enum error_code members_submit(const struct members_call *call, struct error *err);

#endif
