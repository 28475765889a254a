/* A proposal by digest, or a request for what is missing, as a validator may send it, against a pool of
 * four notes. What is made of it is never larger than its header says, names what it holds byte for
 * byte, and what it lacks can be asked for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/proposal.h"
#include "ledger/signer.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOTES = 4 };

static struct genesis_submitter submitter;
static struct genesis genesis = {.submitters = &submitter, .submitter_count = 1};
static struct members *members;
static struct pool *pool;

static void done(void) {
    pool_free(pool);
    members_free(members);
}

static void begin(void) {
    struct ledger_signer *signer = NULL;
    uint8_t seed[32] = {1};
    struct error err;
    REQUIRE(ledger_signer_seeded(seed, &signer, &err) == ERROR_NONE);
    ledger_signer_public(signer, submitter.key);
    members = members_of_genesis(&genesis);
    pool = pool_new(members);
    for (uint64_t i = 1; i <= NOTES; i++) {
        SCOPED_BUFFER struct buffer out;
        struct checked_transaction *checked = NULL;
        struct pool_entry *entry = NULL;
        buffer_init(&out, LEDGER_TRANSACTION_BYTES_MAX);
        REQUIRE(ledger_build_note(signer, &genesis.chain, i, 1, bytes_text("note"), &out, &err) ==
                ERROR_NONE);
        REQUIRE(transaction_check(members, buffer_bytes(&out), &checked, &err) == ERROR_NONE);
        REQUIRE(pool_add(pool, checked, 0, 0, &entry) == POOL_ADDED);
    }
    ledger_signer_free(signer);
    (void)atexit(done);
}

static void ask(const struct proposal *p) {
    uint32_t indexes[PROPOSAL_MISSING_MAX];
    uint64_t last = 0;
    uint32_t count = proposal_missing(p, pool, members, indexes);
    proposal_awaits(p, members, &last);
    if (count == 0 || count > PROPOSAL_MISSING_MAX)
        return;
    SCOPED_BUFFER struct buffer out;
    struct proposal_request request;
    struct error err;
    buffer_init(&out, 8 + HASH_BYTES + 4 * PROPOSAL_MISSING_MAX);
    proposal_ask(p, indexes, count, &out);
    REQUIRE(proposal_request_read(buffer_bytes(&out), &request, &err) == ERROR_NONE);
    REQUIRE(request.count == count && request.indexes[count - 1] == indexes[count - 1]);
}

static void try_proposal(struct bytes input) {
    struct proposal *p = NULL;
    struct error err;
    if (proposal_read(input, &p, &err) != ERROR_NONE)
        return;
    enum proposal_state state = proposal_rebuild(p, pool, members);
    if (state == PROPOSAL_MISSING || state == PROPOSAL_OTHER)
        ask(p);
    if (state == PROPOSAL_WHOLE) {
        SCOPED_BUFFER struct buffer block;
        SCOPED_BUFFER struct buffer again;
        struct block decoded;
        proposal_take(p, &block);
        REQUIRE(block_decode(buffer_bytes(&block), &decoded, &err) == ERROR_NONE);
        buffer_init(&again, PROPOSAL_BYTES_MAX);
        proposal_write(pool, members, buffer_bytes(&block), &again);
        REQUIRE(bytes_equal(buffer_bytes(&again), input));
    }
    proposal_free(p);
}

/* Of a request, a byte for how much of the block there is, then the block. */
static void try_request(struct bytes input) {
    struct proposal_request request;
    struct error err;
    size_t split = input.len > 0 ? input.data[0] : 0;
    if (split + 1 > input.len)
        return;
    struct bytes block = bytes_of(input.data + 1 + split, input.len - 1 - split);
    if (proposal_request_read(bytes_of(input.data + 1, split), &request, &err) != ERROR_NONE)
        return;
    REQUIRE(request.count >= 1 && request.count <= PROPOSAL_MISSING_MAX);
    SCOPED_BUFFER struct buffer answer;
    buffer_init(&answer, BLOCK_BYTES_MAX);
    proposal_answer(block, &request, &answer);
    REQUIRE(!answer.failed && answer.len <= block.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (pool == NULL)
        begin();
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        try_proposal(bytes_of(data + 1, size - 1));
    else
        try_request(bytes_of(data + 1, size - 1));
    return 0;
}
