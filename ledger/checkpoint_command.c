#include "ledger/checkpoint_command.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ledger/checkpoint.h"
#include "ledger/genesis.h"
#include "ledger/ledger.h"
#include "ledger/signer.h"
#include "ledger/transaction.h"

enum { SUBMIT_MS = 60000, HEX_BYTES = 2 * HASH_BYTES + 1 };

/* A head's hashes, as they are shown. */
struct head_text {
    char chain[HEX_BYTES];
    char block[HEX_BYTES];
    char log_root[HEX_BYTES];
};

static struct head_text head_text(const struct block_header *head) {
    struct head_text text;
    struct hash block = block_hash(head);
    text_hex(head->chain.byte, HASH_BYTES, text.chain);
    text_hex(block.byte, HASH_BYTES, text.block);
    text_hex(head->log_root.byte, HASH_BYTES, text.log_root);
    return text;
}

static void print_head(const struct block_header *head) {
    struct head_text shown = head_text(head);
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(head->time_ms, time);
    (void)printf("chain    %s\nblock    %llu of %s\n         %s\nleaves   %llu\nlog root %s\n",
                 shown.chain, (unsigned long long)head->height, time, shown.block,
                 (unsigned long long)head->log_size, shown.log_root);
}

enum error_code checkpoint_make(const struct members_call *call, struct error *err) {
    struct ledger *ledger = NULL;
    struct block_header head;
    SCOPED_BUFFER struct buffer genesis;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&genesis, GENESIS_BYTES_MAX);
    buffer_init(&body, CHECKPOINT_BYTES_MAX);
    if (call->out == NULL)
        return error_set(err, ERROR_USAGE, "checkpoint: --out FILE is missing");
    TRY(file_read(call->genesis, &genesis, GENESIS_BYTES_MAX, err));
    TRY(ledger_open(call->socket, call->genesis, &ledger, err));
    enum error_code code = ledger_checkpoint(ledger, buffer_bytes(&genesis), &body, err);
    ledger_close(ledger);
    if (code == ERROR_NONE)
        code = checkpoint_decode(buffer_bytes(&body), &head, err);
    if (code == ERROR_NONE)
        code = file_replace(call->out, buffer_bytes(&body), 0644, err);
    if (code == ERROR_NONE)
        print_head(&head);
    return code;
}

static enum error_code submit(struct ledger *ledger, const struct ledger_signer *signer,
                              struct bytes body, struct ledger_receipt *ret_receipt,
                              struct error *err) {
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, TRANSACTION_BYTES_MAX);
    uint8_t key[SIGNER_KEY_BYTES];
    struct transaction tx = {.type = TRANSACTION_CHECKPOINT,
                             .chain = ledger_chain(ledger),
                             .wall_ms = clock_wall_ms(),
                             .body = body};
    ledger_signer_public(signer, key);
    TRY(ledger_next_sequence(ledger, key, &tx.sequence, err));
    TRY(transaction_sign(signer, &tx, &bytes, err));
    return ledger_submit(ledger, buffer_bytes(&bytes), SUBMIT_MS, ret_receipt, err);
}

enum error_code checkpoint_anchor(const struct members_call *call, struct error *err) {
    struct ledger *ledger = NULL;
    struct ledger_signer *signer = NULL;
    struct block_header head;
    struct ledger_receipt receipt = {.result = LEDGER_FAILED};
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, CHECKPOINT_BYTES_MAX);
    if (call->word_count != 1)
        return error_set(err, ERROR_USAGE, "anchor: expected one file");
    TRY(file_read(call->words[0], &body, CHECKPOINT_BYTES_MAX, err));
    if (checkpoint_prove(buffer_bytes(&body), &head, err) != ERROR_NONE)
        return error_wrap(err, ERROR_VERIFY, "%s", call->words[0]);
    enum error_code code = ledger_open(call->socket, call->genesis, &ledger, err);
    if (code == ERROR_NONE)
        code = ledger_signer_load(call->vote_key, &signer, err);
    if (code == ERROR_NONE)
        code = submit(ledger, signer, buffer_bytes(&body), &receipt, err);
    ledger_close(ledger);
    ledger_signer_free(signer);
    if (code == ERROR_NONE && receipt.result != LEDGER_COMMITTED)
        code = error_set(err, ERROR_TX_REJECTED, "%s: block %llu: %s", call->words[0],
                         (unsigned long long)receipt.position.height, receipt.reason);
    if (code == ERROR_NONE) {
        print_head(&head);
        (void)printf("anchored in block %llu\n", (unsigned long long)receipt.position.height);
    }
    return code;
}

static enum error_code print_json(const struct block_header *head,
                                  const struct ledger_receipt *receipt, struct error *err) {
    struct head_text shown = head_text(head);
    char id[HEX_BYTES];
    text_hex(receipt->transaction.byte, HASH_BYTES, id);
    json_t *all = json_pack(
        "{s:s, s:I, s:s, s:I, s:I, s:s, s:s, s:I, s:I}", "chain", shown.chain, "height",
        (json_int_t)head->height, "block", shown.block, "time_ms", (json_int_t)head->time_ms,
        "leaves", (json_int_t)head->log_size, "log_root", shown.log_root, "transaction", id,
        "anchored_height",
        (json_int_t)receipt->position.height, "anchored_ms", (json_int_t)receipt->block_time_ms);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "anchored: no memory");
    (void)puts(text);
    free(text);
    return ERROR_NONE;
}

enum error_code checkpoint_show(const struct members_call *call, struct error *err) {
    struct ledger *ledger = NULL;
    struct genesis *genesis = NULL;
    struct block_header head;
    struct ledger_receipt receipt;
    if (call->word_count != 1)
        return error_set(err, ERROR_USAGE, "anchored: expected the other chain's genesis file");
    TRY(genesis_load(call->words[0], &genesis, err));
    struct hash chain = genesis->chain;
    genesis_free(genesis);
    TRY(ledger_open(call->socket, call->genesis, &ledger, err));
    enum error_code code = ledger_checkpoint_of(ledger, &chain, &head, &receipt, err);
    ledger_close(ledger);
    if (code != ERROR_NONE)
        return code;
    if (call->json)
        return print_json(&head, &receipt, err);
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(receipt.block_time_ms, time);
    print_head(&head);
    (void)printf("anchored in block %llu of %s\n", (unsigned long long)receipt.position.height,
                 time);
    return ERROR_NONE;
}
