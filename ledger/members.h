/*
 * The members of an epoch: who validates, who reads along, who may submit. The genesis names those of
 * epoch 0; ordered transactions make the list of the next epoch from that of this one.
 *
 * Owns: the list, its canonical bytes and hash, the changes that the validators sign together, the
 * rule of what a proven equivocation costs. Refuses: files, clocks, certificates, and to change a list
 * in place: the next epoch's is another object. Pure.
 */
#ifndef LEDGER_MEMBERS_H
#define LEDGER_MEMBERS_H

#include "base/bytes.h"
#include "base/hash.h"
#include "ledger/genesis.h"

enum {
    MEMBERS_OBSERVERS_MAX = 100,
    /* Removed ones and the nodes' own keys included: numbers own records and are never used again. */
    MEMBERS_SUBMITTERS_MAX = 4000,
    MEMBERS_BYTES_MAX = 1 << 20,
    MEMBERS_EXPEL_LEAST = 4, /* with fewer validators than this left, f would be 0: suspend */
    CHANGE_OPERATIONS_MAX = 32,
    CHANGE_SIGNATURE_BYTES = 64,
    CHANGE_BYTES_MAX = 32 << 10,
};

/* A validator, or an observer: that has no address, since it is never dialled. */
struct member_node {
    char name[GENESIS_NAME_BYTES_MAX + 1];
    char address[GENESIS_ADDRESS_BYTES_MAX + 1];
    uint8_t vote_key[GENESIS_KEY_BYTES];
    struct hash tls_pin;
    bool suspended; /* equivocated, and too few would be left without it: stays, and is shown */
};

/* Which role may submit what is ledger/state/check.c's. */
enum member_role {
    MEMBER_GATEWAY = 1, /* a hospital's */
    MEMBER_NODE = 2,    /* a node's own key, by which the member governs */
    MEMBER_AUDITOR = 3,
};

/* "gateway" ...; NULL and 0 where there is no such role. */
const char *member_role_name(enum member_role role);
enum member_role member_role_by_name(const char *name);

struct member_submitter {
    char name[GENESIS_NAME_BYTES_MAX + 1];
    uint8_t key[GENESIS_KEY_BYTES];
    enum member_role role;
    bool removed; /* its number still owns its records */
};

struct members {
    struct hash chain;
    uint64_t epoch;
    uint32_t validator_count;
    uint32_t observer_count;
    uint32_t submitter_count;
    struct member_node *validators;
    struct member_node *observers;
    struct member_submitter *submitters;
    uint32_t *by_key; /* submitters by hash of the key; see members.c */
    uint32_t by_key_mask;
    struct hash hash; /* what the header of the block before this epoch names */
};

/* These end the process where memory runs out. */
struct members *members_of_genesis(const struct genesis *genesis);
struct members *members_copy(const struct members *members);
void members_free(struct members *members);
/* To be called after the lists were changed: the hash and the index are made anew. */
void members_seal(struct members *members);

/* Appends the canonical bytes; hash = SHA-256("renkei/members/1\n" || bytes). */
void members_encode(const struct members *members, struct buffer *out);
/* Accepts exactly what encode writes. */
MUST_CHECK enum error_code members_decode(struct bytes input, struct members **ret_members,
                                          struct error *err);

/* -1 where there is none. Removed submitters have no key any more. */
int members_validator_by_key(const struct members *members, const uint8_t *vote_key);
int members_validator_by_name(const struct members *members, const char *name);
int members_observer_by_key(const struct members *members, const uint8_t *vote_key);
int members_submitter_by_key(const struct members *members, const uint8_t *key);

enum change_kind {
    CHANGE_ADD_VALIDATOR = 1, /* an observer of the same name and keys becomes a validator */
    CHANGE_REMOVE_VALIDATOR,
    CHANGE_REPLACE_VALIDATOR, /* new keys and address under the same name; ends a suspension */
    CHANGE_ADD_OBSERVER,
    CHANGE_REMOVE_OBSERVER,
    CHANGE_REPLACE_OBSERVER,
    CHANGE_ADD_SUBMITTER,
    CHANGE_REMOVE_SUBMITTER,
    CHANGE_REPLACE_SUBMITTER, /* a new key under the same name and number: it keeps its records */
    CHANGE_KIND_COUNT
};
/* "add-validator" ...; NULL and 0 where there is no such kind. */
const char *change_kind_name(enum change_kind kind);
enum change_kind change_kind_by_name(const char *name);

/* What a kind has no use for is zero. */
struct change_operation {
    enum change_kind kind;
    enum member_role role; /* of submitters */
    char name[GENESIS_NAME_BYTES_MAX + 1];
    uint8_t key[GENESIS_KEY_BYTES];
    struct hash tls_pin;
    char address[GENESIS_ADDRESS_BYTES_MAX + 1];
};

struct change_signature {
    uint16_t validator; /* in the list of the epoch */
    uint8_t signature[CHANGE_SIGNATURE_BYTES];
};

/* The body of a TRANSACTION_CHANGE: one step from the list of `epoch` to that of the next. */
struct change {
    uint64_t epoch;
    uint32_t operation_count;
    struct change_operation operations[CHANGE_OPERATIONS_MAX];
    uint32_t signature_count;
    struct change_signature signatures[GENESIS_VALIDATORS_MAX]; /* ascending by validator */
};
MUST_CHECK enum error_code change_encode(const struct change *change, struct buffer *out,
                                         struct error *err);
/* Checks the layout, also whether each operation has what its kind needs and nothing else. */
MUST_CHECK enum error_code change_decode(struct bytes input, struct change *ret_change,
                                         struct error *err);
/* What is signed: SHA-256("renkei/change/1\n" || chain || epoch || operations). */
struct hash change_statement(const struct change *change, const struct hash *chain);
/* ERROR_VERIFY where not Q of the validators signed it well. Whoever holds Q vote keys can certify
 * any list there is: asking the operators for further keys would add nothing but keys to lose. */
MUST_CHECK enum error_code change_check_signatures(const struct change *change,
                                                   const struct members *members,
                                                   struct error *err);
/* The list of the next epoch. ERROR_TX_REJECTED where the change does not fit this one; signatures
 * are not looked at. */
MUST_CHECK enum error_code members_change(const struct members *members,
                                          const struct change *change,
                                          struct members **ret_next, struct error *err);
/* A validator was proven to have equivocated: the next list is without it, or has it suspended.
 * ERROR_TX_REJECTED where it is suspended already. */
MUST_CHECK enum error_code members_expel(const struct members *members, uint32_t validator,
                                         struct members **ret_next, struct error *err);

#endif
