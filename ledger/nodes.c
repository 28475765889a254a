/*
 * The clients' door over one or several nodes: asks the one that served last, and goes on to the next
 * where it is away, silent, stale, or says what cannot be proved.
 */
#include "ledger/client.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/checkpoint.h"
#include "ledger/ledger.h"
#include "ledger/transaction.h"

struct ledger {
    struct client *nodes[LEDGER_NODES_MAX];
    size_t count;
    size_t at; /* the node that is asked first */
};

/* Whether the next node is worth asking after this answer; then it is the one that is asked. */
static bool move_on(struct ledger *ledger, enum error_code code, size_t *tried) {
    bool other_may_do = code == ERROR_NODE_UNREACHABLE || code == ERROR_NODE_STALE ||
                        code == ERROR_TIMEOUT || code == ERROR_PROTOCOL || code == ERROR_VERIFY ||
                        code == ERROR_BUSY || code == ERROR_CORRUPT;
    if (!other_may_do || ++*tried >= ledger->count)
        return false;
    client_disconnect(ledger->nodes[ledger->at]);
    ledger->at = (ledger->at + 1) % ledger->count;
    return true;
}

static struct client *node(const struct ledger *ledger) {
    return ledger->nodes[ledger->at];
}

static enum error_code open_nodes(struct ledger *ledger, char *paths, const char *genesis,
                                  struct error *err) {
    bool alone = strchr(paths, ',') == NULL;
    for (char *path; (path = strsep(&paths, ",")) != NULL;) {
        if (*path == '\0')
            continue;
        if (ledger->count == LEDGER_NODES_MAX)
            return error_set(err, ERROR_CONFIG, "node sockets: more than %d", LEDGER_NODES_MAX);
        TRY(client_open(path, genesis, alone, &ledger->nodes[ledger->count], err));
        ledger->count++;
    }
    if (ledger->count == 0)
        return error_set(err, ERROR_CONFIG, "node sockets: none is named");
    return ERROR_NONE;
}

enum error_code ledger_open(const char *node_sockets, const char *genesis,
                            struct ledger **ret_ledger, struct error *err) {
    SCOPED_FREE char *paths = strdup(node_sockets);
    struct ledger *ledger = calloc(1, sizeof *ledger);
    enum error_code code = paths == NULL || ledger == NULL
                               ? error_set(err, ERROR_NO_MEMORY, "ledger: no memory")
                               : open_nodes(ledger, paths, genesis, err);
    if (code != ERROR_NONE) {
        ledger_close(ledger);
        return code;
    }
    *ret_ledger = ledger;
    return ERROR_NONE;
}

void ledger_close(struct ledger *ledger) {
    if (ledger == NULL)
        return;
    for (size_t i = 0; i < ledger->count; i++)
        client_close(ledger->nodes[i]);
    free(ledger);
}

struct hash ledger_chain(const struct ledger *ledger) {
    return client_chain(ledger->nodes[0]);
}

uint32_t ledger_validator_count(const struct ledger *ledger) {
    return client_validator_count(node(ledger));
}

enum error_code ledger_submit_all(struct ledger *ledger, const struct bytes *transactions,
                                  size_t count, uint32_t deadline_ms,
                                  struct ledger_receipt *ret_receipts, struct error *err) {
    return client_submit_all(ledger->nodes, ledger->count, &ledger->at, transactions, count,
                             deadline_ms, ret_receipts, err);
}

enum error_code ledger_submit(struct ledger *ledger, struct bytes transaction,
                              uint32_t deadline_ms, struct ledger_receipt *ret_receipt,
                              struct error *err) {
    return ledger_submit_all(ledger, &transaction, 1, deadline_ms, ret_receipt, err);
}

enum error_code ledger_next_sequence(struct ledger *ledger, const uint8_t submitter[32],
                                     uint64_t *ret_sequence, struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_next_sequence(node(ledger), submitter, ret_sequence, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

/* One head more: the higher one stands, and how many told of one is counted. */
static enum error_code take_head(struct ledger_head *best, const struct ledger_head *head,
                                 struct error *err) {
    uint32_t answered = best->nodes_answered + 1;
    if (answered > 1 && head->height == best->height && !hash_equal(&head->block, &best->block))
        return error_set(err, ERROR_VERIFY,
                         "block %llu: two nodes have two different blocks, each with a certificate",
                         (unsigned long long)head->height);
    if (answered == 1 || head->height > best->height)
        *best = *head;
    best->nodes_answered = answered;
    return ERROR_NONE;
}

enum error_code ledger_head(struct ledger *ledger, struct ledger_head *ret_head,
                            struct error *err) {
    struct ledger_head best = {.nodes_answered = 0};
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < ledger->count; i++) {
        struct ledger_head head;
        struct client *asked = ledger->nodes[(ledger->at + i) % ledger->count];
        enum error_code failed = client_head(asked, &head, code == ERROR_NONE ? err : NULL);
        if (failed == ERROR_NONE) {
            TRY(take_head(&best, &head, err));
            if (best.nodes_answered > best.faults_tolerated)
                break;
        } else if (code == ERROR_NONE) {
            code = failed; /* the first node's trouble is what is told, where none answers */
        }
    }
    if (best.nodes_answered == 0)
        return code;
    *ret_head = best;
    return ERROR_NONE;
}

enum error_code ledger_history(struct ledger *ledger, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_history(node(ledger), locator, ret_versions, versions_max, ret_count,
                              ret_total, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_latest(struct ledger *ledger, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_latest(node(ledger), locators, count, ret_versions, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_prove(struct ledger *ledger, const struct locator *locators, size_t count,
                             struct ledger_version *ret_versions, uint64_t *ret_height,
                             struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_prove(node(ledger), locators, count, ret_versions, ret_height, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_block(struct ledger *ledger, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_block(node(ledger), height, ret_block, ret_certificate, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_transaction(struct ledger *ledger, const struct hash *id,
                                   struct buffer *ret_transaction,
                                   struct ledger_receipt *ret_receipt, struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_transaction(node(ledger), id, ret_transaction, ret_receipt, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_members(struct ledger *ledger, struct members **ret_members,
                               struct error *err) {
    enum error_code code;
    size_t tried = 0;
    do
        code = client_members(node(ledger), ret_members, err);
    while (code != ERROR_NONE && move_on(ledger, code, &tried));
    return code;
}

enum error_code ledger_checkpoint(struct ledger *ledger, struct bytes genesis,
                                  struct buffer *ret_body, struct error *err) {
    return client_checkpoint(node(ledger), genesis, ret_body, err);
}

enum error_code ledger_checkpoint_of(struct ledger *ledger, const struct hash *chain,
                                     struct block_header *ret_head,
                                     struct ledger_receipt *ret_receipt, struct error *err) {
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, TRANSACTION_BYTES_MAX);
    struct hash id;
    struct transaction tx;
    TRY(client_checkpoint_of(node(ledger), chain, &id, err));
    TRY(ledger_transaction(ledger, &id, &bytes, ret_receipt, err));
    TRY(transaction_decode(buffer_bytes(&bytes), &tx, err));
    struct block_header head;
    if (tx.type != TRANSACTION_CHECKPOINT || ret_receipt->result != LEDGER_COMMITTED)
        return error_set(err, ERROR_VERIFY, "checkpoint: the node answered with something else");
    TRY(checkpoint_prove(tx.body, &head, err));
    if (!hash_equal(&head.chain, chain))
        return error_set(err, ERROR_VERIFY, "checkpoint: the node answered with another chain's");
    *ret_head = head;
    return ERROR_NONE;
}

/* What the first node tells of itself: nobody signs that, and nobody else can tell it. */

enum error_code ledger_status(struct ledger *ledger, struct buffer *ret_json, struct error *err) {
    return client_status(ledger->nodes[0], ret_json, err);
}

enum error_code ledger_metrics(struct ledger *ledger, struct buffer *ret_text,
                               struct error *err) {
    return client_metrics(ledger->nodes[0], ret_text, err);
}

static void text_line(struct buffer *out, const json_t *root, const char *key,
                      const char *label) {
    const json_t *value = json_object_get(root, key);
    if (json_is_string(value))
        buffer_append_format(out, "%-18s %s\n", label, json_string_value(value));
    else if (json_is_integer(value))
        buffer_append_format(out, "%-18s %lld\n", label, (long long)json_integer_value(value));
}

static void peer_line(struct buffer *out, const json_t *peer) {
    const char *name = json_string_value(json_object_get(peer, "name"));
    bool self = json_is_true(json_object_get(peer, "self"));
    bool up = json_is_true(json_object_get(peer, "up"));
    buffer_append_format(out, "  %-24s %-6s height %lld, %lld behind\n", name != NULL ? name : "?",
                         self ? "(self)" : up ? "up" : "DOWN",
                         (long long)json_integer_value(json_object_get(peer, "height")),
                         (long long)json_integer_value(json_object_get(peer, "lag")));
}

static void submitter_line(struct buffer *out, const json_t *submitter) {
    const char *name = json_string_value(json_object_get(submitter, "name"));
    buffer_append_format(out, "  %-24s %lld records, %lld versions, %lld transactions\n",
                         name != NULL ? name : "?",
                         (long long)json_integer_value(json_object_get(submitter, "records")),
                         (long long)json_integer_value(json_object_get(submitter, "versions")),
                         (long long)json_integer_value(json_object_get(submitter, "transactions")));
}

enum error_code ledger_status_text(struct ledger *ledger, struct buffer *ret_text,
                                   struct error *err) {
    static const char *const lines[][2] = {
        {"chain", "chain"},
        {"validator", "validator"},
        {"role", "role"},
        {"votes", "votes"},
        {"height", "height"},
        {"head_time", "head's time"},
        {"leaves", "leaves"},
        {"epoch", "epoch"},
        {"view", "view"},
        {"view_state", "view's state"},
        {"last_view_change", "last view change"},
        {"last_view_change_time", "  at"},
        {"leader", "leader"},
        {"quorum", "quorum"},
        {"faults_tolerated", "faults tolerated"},
        {"suspended", "suspended"},
        {"pool_transactions", "waiting"},
    };
    SCOPED_BUFFER struct buffer json;
    buffer_init(&json, LEDGER_STATUS_BYTES_MAX);
    TRY(ledger_status(ledger, &json, err));
    json_t *root = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return error_set(err, ERROR_PROTOCOL, "status: the node's answer is not JSON");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        text_line(ret_text, root, lines[i][0], lines[i][1]);
    const json_t *warnings = json_object_get(root, "warnings");
    for (size_t i = 0; i < json_array_size(warnings); i++)
        text_line(ret_text, json_array_get(warnings, i), "text", "WARNING");
    buffer_append_text(ret_text, "peers\n");
    const json_t *peers = json_object_get(root, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++)
        peer_line(ret_text, json_array_get(peers, i));
    buffer_append_text(ret_text, "submitters\n");
    const json_t *submitters = json_object_get(root, "submitters");
    for (size_t i = 0; i < json_array_size(submitters); i++)
        submitter_line(ret_text, json_array_get(submitters, i));
    json_decref(root);
    return buffer_check(ret_text, "status", err);
}
