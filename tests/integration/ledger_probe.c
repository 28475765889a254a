/*
 * Asks a node through the clients' door and prints what is believed of its answer. For the test
 * that stands between the two and changes bytes.
 *
 *   ledger_probe SOCKET GENESIS head | history HEX | latest HEX | block N | transaction HEX |
 *                               submit FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "ledger/ledger.h"

enum { VERSIONS = 8, DEADLINE_MS = 2000 };

static void print_hash(const char *name, const struct hash *hash) {
    char text[2 * HASH_BYTES + 1];
    text_hex(hash->byte, HASH_BYTES, text);
    (void)printf("%s %s\n", name, text);
}

static void print_version(const struct ledger_version *v) {
    if (v->leaf.version == 0) {
        (void)puts("unknown");
        return;
    }
    print_hash("leaf", &v->leaf_hash);
    (void)printf("version %u log %llu\n", v->leaf.version,
                 (unsigned long long)v->position.log_index);
}

static enum error_code head(struct ledger *ledger, struct error *err) {
    struct ledger_head h;
    TRY(ledger_head(ledger, &h, err));
    print_hash("block", &h.block);
    (void)printf("height %llu leaves %llu nodes %u\n", (unsigned long long)h.height,
                 (unsigned long long)h.leaves, h.nodes_answered);
    return ERROR_NONE;
}

static enum error_code history(struct ledger *ledger, const char *hex, bool all,
                               struct error *err) {
    struct locator locator;
    struct ledger_version versions[VERSIONS] = {0};
    size_t count = 1;
    uint64_t total = 1;
    if (!text_unhex(hex, LOCATOR_BYTES, locator.byte))
        return error_set(err, ERROR_USAGE, "locator: expected 32 digits");
    if (all)
        TRY(ledger_history(ledger, &locator, versions, VERSIONS, &count, &total, err));
    else
        TRY(ledger_latest(ledger, &locator, 1, versions, err));
    (void)printf("total %llu\n", (unsigned long long)total);
    for (size_t i = 0; i < count; i++)
        print_version(&versions[i]);
    return ERROR_NONE;
}

static enum error_code prove(struct ledger *ledger, const char *hex, struct error *err) {
    struct locator locator;
    struct ledger_version version;
    uint64_t height = 0;
    if (!text_unhex(hex, LOCATOR_BYTES, locator.byte))
        return error_set(err, ERROR_USAGE, "locator: expected 32 digits");
    TRY(ledger_prove(ledger, &locator, 1, &version, &height, err));
    print_version(&version);
    return ERROR_NONE;
}

static enum error_code block(struct ledger *ledger, const char *height, struct error *err) {
    uint64_t number = 0;
    SCOPED_BUFFER struct buffer bytes;
    SCOPED_BUFFER struct buffer certificate;
    buffer_init(&bytes, 16 << 20);
    buffer_init(&certificate, 1 << 20);
    if (!text_u64(height, &number))
        return error_set(err, ERROR_USAGE, "height: expected a number");
    TRY(ledger_block(ledger, number, &bytes, &certificate, err));
    struct hash hash = sha256_of(buffer_bytes(&bytes));
    print_hash("bytes", &hash);
    return ERROR_NONE;
}

static void print_receipt(const struct ledger_receipt *r) {
    print_hash("transaction", &r->transaction);
    (void)printf("result %d height %llu index %u\n", (int)r->result,
                 (unsigned long long)r->position.height, r->position.transaction);
}

static enum error_code transaction(struct ledger *ledger, const char *hex, struct error *err) {
    struct hash id;
    struct ledger_receipt receipt;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, 16 << 20);
    if (!text_unhex(hex, HASH_BYTES, id.byte))
        return error_set(err, ERROR_USAGE, "id: expected 64 digits");
    TRY(ledger_transaction(ledger, &id, &bytes, &receipt, err));
    struct hash hash = sha256_of(buffer_bytes(&bytes));
    print_hash("bytes", &hash);
    print_receipt(&receipt);
    return ERROR_NONE;
}

static enum error_code submit(struct ledger *ledger, const char *path, struct error *err) {
    struct ledger_receipt receipt;
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, LEDGER_TRANSACTION_BYTES_MAX);
    TRY(file_read(path, &bytes, LEDGER_TRANSACTION_BYTES_MAX, err));
    TRY(ledger_submit(ledger, buffer_bytes(&bytes), DEADLINE_MS, &receipt, err));
    print_receipt(&receipt);
    return ERROR_NONE;
}

int main(int argc, char **argv) {
    struct error err;
    struct ledger *ledger = NULL;
    if (argc < 4)
        return EXIT_FAILURE;
    const char *what = argv[3];
    const char *argument = argc > 4 ? argv[4] : "";
    enum error_code code = ledger_open(argv[1], argv[2], &ledger, &err);
    if (code == ERROR_NONE) {
        if (strcmp(what, "head") == 0)
            code = head(ledger, &err);
        else if (strcmp(what, "block") == 0)
            code = block(ledger, argument, &err);
        else if (strcmp(what, "transaction") == 0)
            code = transaction(ledger, argument, &err);
        else if (strcmp(what, "prove") == 0)
            code = prove(ledger, argument, &err);
        else if (strcmp(what, "submit") == 0)
            code = submit(ledger, argument, &err);
        else
            code = history(ledger, argument, strcmp(what, "history") == 0, &err);
    }
    ledger_close(ledger);
    if (code == ERROR_NONE)
        return EXIT_SUCCESS;
    (void)printf("error %s: %s\n", error_info(code)->name, err.message);
    return error_info(code)->exit_status;
}
