/*
 * What transactions do: deterministic execution of blocks over the committed state.
 *
 * Owns: the rules (exactly once by submitter and sequence, registered submitters, a record's
 * versions and owner), the log's tree, layers of tentative blocks that can be dropped. May use:
 * base, the ledger's formats, merkle. Refuses: files, clocks, randomness; what lies below the
 * tentative layers is asked through struct state_base, which the store implements.
 */
#ifndef LEDGER_STATE_H
#define LEDGER_STATE_H

#include "ledger/anchor.h"
#include "ledger/block.h"
#include "ledger/merkle/merkle.h"
#include "ledger/people.h"
#include "ledger/state/epochs.h"
#include "ledger/state/table.h"
#include "ledger/transaction.h"

enum { STATE_LAYERS_MAX = 16 };

/* The committed state. */
struct state_base {
    MUST_CHECK enum error_code (*get)(void *self, const struct state_key *key,
                                      struct state_value *ret_value, bool *ret_found,
                                      struct error *err);
    void *self;
};

/* A transaction whose every check that needs no state was made: layout, chain, submitter,
 * signature, leaf hashes, root. Owns its bytes. */
struct checked_transaction {
    struct transaction tx;
    uint32_t submitter; /* its number: index in the list of members */
    struct anchor anchor;
    struct hash *leaf_hashes; /* of an anchor, else NULL */
    struct hash *map_keys;    /* of its leaves' locators */
    struct hash done;         /* its leaf in the tree of a block that says TX_DONE of it */
    size_t len;
    uint8_t bytes[];
};
/* The endorsement: a node takes a transaction and passes it on only where it checks out and its
 * submitter's role may submit the type. ERROR_TX_REJECTED or ERROR_PROTOCOL: no node takes these bytes
 * while the members are these. */
MUST_CHECK enum error_code transaction_check(const struct members *members, struct bytes input,
                                             struct checked_transaction **ret_checked,
                                             struct error *err);
/* The same for what stands in a block, without the role: that is judged in executing it, since a
 * role may have changed after it was asked. */
MUST_CHECK enum error_code transaction_check_ordered(const struct members *members,
                                                     struct bytes input,
                                                     struct checked_transaction **ret_checked,
                                                     struct error *err);
/* The same for what stands in a block of the own store, without signatures, its own and a checkpoint's:
 * they were checked before the block was stored. That is nearly all that executing it costs. */
MUST_CHECK enum error_code transaction_check_stored(const struct members *members,
                                                    struct bytes input,
                                                    struct checked_transaction **ret_checked,
                                                    struct error *err);
bool transaction_permitted(enum member_role role, enum transaction_type type);
/* Its leaf in the tree of a block that says this of it. */
struct hash checked_transaction_leaf(const struct checked_transaction *checked,
                                     enum transaction_status status);
void checked_transaction_free(struct checked_transaction *checked);

/* The latest version of a record, as it stands under its map key. */
struct state_record {
    uint32_t version;
    enum leaf_operation operation;
    uint32_t owner; /* the submitter's number */
    struct hash leaf;
    uint64_t log_index;
};
void state_record_encode(const struct state_record *record, struct state_value *ret_value);
void state_record_decode(const struct state_value *value, struct state_record *ret_record);

/* Where a transaction stands. */
struct state_place {
    uint64_t height;
    uint32_t index;
    enum transaction_status status;
    uint64_t log_index; /* of its first leaf, where it has any */
};
void state_place_decode(const struct state_value *value, struct state_place *ret_place);

/* What the chain counts of a submitter. */
struct state_submitter {
    uint64_t next_sequence; /* that its next transaction must have, from 1 */
    uint64_t records;       /* that it owns and has not deleted */
    uint64_t versions;      /* of all its records, deletions among them */
};
void state_submitter_encode(const struct state_submitter *submitter, struct state_value *ret_value);
void state_submitter_decode(const struct state_value *value,
                            struct state_submitter *ret_submitter);

/* The latest version of a patient's or a doctor's registration, under its reference. */
struct state_person {
    uint32_t version;
    enum person_kind kind;
    enum person_operation operation;
    uint32_t owner; /* the submitter's number */
    struct hash key; /* the commitment */
};
void state_person_decode(const struct state_value *value, struct state_person *ret_person);

/* The latest version of a permission, under its name. */
struct state_permission {
    uint32_t version;
    enum permission_operation operation;
    uint32_t owner;   /* the submitter's number */
    uint32_t grantee; /* the number of the submitter that may query; the owner's where it is revoked */
};
void state_permission_decode(const struct state_value *value,
                             struct state_permission *ret_permission);

/* Where a reference to a person's key stands: whoever can make it finds what is about the person. */
struct state_reference {
    uint64_t height;
    uint32_t transaction; /* index in the block */
    uint32_t leaf;        /* index in the anchor; 0 in other transactions */
};
void state_reference_decode(const struct state_value *value,
                            struct state_reference *ret_reference);

/* The highest checkpoint of another chain. */
struct state_checkpoint {
    uint64_t height; /* in that chain */
    struct hash transaction;
};
void state_checkpoint_decode(const struct state_value *value,
                             struct state_checkpoint *ret_checkpoint);

/* Where a leaf stands, by its number in the log. */
struct leaf_place {
    uint64_t height;
    uint32_t submitter;   /* its number */
    uint32_t transaction; /* index in the block */
    uint32_t leaf;        /* index in the anchor */
    uint32_t transaction_at; /* byte offset of the transaction in the block */
    uint32_t leaf_at;        /* byte offset of the compact leaf in the block */
    uint64_t previous; /* log number of the version before plus one, 0 for version 1 */
};

/* Under a height and a transaction's index in the block: the id of an anchor that has leaves. */
struct state_key state_anchor_key(uint64_t height, uint32_t index);

struct state;
/* epochs: the lists of members at the committed height, taken over. frontier: the log's, at that
 * height. seed: of the tables, any number. Ends the process where memory runs out. */
struct state *state_new(const struct epochs *epochs, const struct state_base *base, uint64_t height,
                        const struct merkle_frontier *frontier, uint64_t seed);
void state_free(struct state *state);

/* The list in force at the committed height and in all layers: a block that changes it is the last
 * of its epoch, and nothing stands on it before it is committed. Borrowed until the next epoch. */
const struct members *state_members(const struct state *state);
/* Those of an epoch that evidence may speak of; NULL of others. */
const struct members *state_members_of(const struct state *state, uint64_t epoch);

/* The height of the top layer. */
uint64_t state_height(const struct state *state);
uint64_t state_committed(const struct state *state);

/* A new layer on the top one. */
MUST_CHECK enum error_code state_begin(struct state *state, struct error *err);
/* So many transactions are to be executed on the layer that was begun: room for them at once. */
void state_expect(struct state *state, size_t transactions);
/* Executes on the top layer. ERROR_TX_REJECTED where the sequence is not the submitter's next one:
 * such a transaction may not stand in a block. at: its byte offset in the block. */
MUST_CHECK enum error_code state_execute(struct state *state,
                                         const struct checked_transaction *checked, uint32_t index,
                                         uint32_t at, enum transaction_status *ret_status,
                                         struct error *err);
/* To be called after a block's last transaction: the epoch's end takes effect on the layer. */
MUST_CHECK enum error_code state_end(struct state *state, struct error *err);
/* The hash of the list that certifies what comes after the top layer. */
struct hash state_members_hash(const struct state *state);
uint64_t state_log_size(const struct state *state);
struct hash state_log_root(const struct state *state);
/* Drops the layers of this height and above. */
void state_undo(struct state *state, uint64_t height);

/* Reads through all layers. */
MUST_CHECK enum error_code state_get(struct state *state, const struct state_key *key,
                                     struct state_value *ret_value, bool *ret_found,
                                     struct error *err);
/* As of the top layer; of who never submitted, as if from the start. */
MUST_CHECK enum error_code state_submitter(struct state *state, const uint8_t *submitter,
                                           struct state_submitter *ret_submitter,
                                           struct error *err);

/* What one block changed. Borrowed from the state. */
struct state_nodes {
    uint64_t first; /* number of the first of these subtrees in its level */
    size_t count;
    size_t capacity;
    struct hash *hash;
};
struct state_change {
    uint64_t height;
    const struct state_table *entries;
    const struct merkle_frontier *frontier; /* after it */
    uint64_t places_first;
    size_t place_count;
    const struct leaf_place *places;
    const struct state_nodes *levels; /* MERKLE_LEVELS_MAX */
};
/* The lowest tentative layer; false where there is none. */
bool state_lowest(const struct state *state, struct state_change *ret_change);
/* Its entries are in the base now: the layer goes. True where the epoch ended with it: the list in
 * force is the next one. */
bool state_settle(struct state *state);

#endif
