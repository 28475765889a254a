#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/wire.h"
#include "ledger/genesis.h"
#include "ledger/lane.h"
#include "ledger/ledger.h"
#include "ledger/pbft/vote.h"
#include "ledger/signer.h"
#include "ledger/transaction.h"

enum {
    CALL_MS = 30000,
    RECONNECT_MS = 100,
    IN_FLIGHT_MAX = 2048,          /* submissions that wait for their receipt */
    IN_FLIGHT_BYTES_MAX = 8 << 20, /* of them, not yet written */
    READ_BYTES = 64 << 10,
};

struct ledger {
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    struct genesis *genesis;
    int fd; /* -1: not connected */
    uint32_t request;
    struct buffer out;
    size_t out_done;
    struct buffer in;
    struct hash checked; /* the block whose certificate was checked last */
    struct hash checked_certificate;
    uint32_t checked_signatures;
    uint64_t checked_view;
};

/* The connection. */

static void disconnect(struct ledger *ledger) {
    if (ledger->fd >= 0)
        (void)close(ledger->fd);
    ledger->fd = -1;
    buffer_clear(&ledger->out);
    buffer_clear(&ledger->in);
    ledger->out_done = 0;
}

static enum error_code unreachable(struct ledger *ledger, int number, struct error *err) {
    char reason[128];
    const char *text = strerror_r(number, reason, sizeof reason);
    disconnect(ledger);
    return error_set(err, ERROR_NODE_UNREACHABLE, "ledger node at %s: %s", ledger->path, text);
}

static enum error_code lost(struct ledger *ledger, struct error *err) {
    disconnect(ledger);
    return error_set(err, ERROR_NODE_UNREACHABLE, "ledger node at %s: it closed the connection",
                     ledger->path);
}

static enum error_code connect_node(struct ledger *ledger, struct error *err) {
    if (ledger->fd >= 0)
        return ERROR_NONE;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, ledger->path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return unreachable(ledger, errno, err);
    ledger->fd = fd;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return unreachable(ledger, errno, err);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return unreachable(ledger, errno, err);
    return ERROR_NONE;
}

static uint32_t put_request(struct ledger *ledger, enum lane_kind kind, struct bytes body) {
    uint32_t number = ++ledger->request;
    wire_u32(&ledger->out, (uint32_t)(LANE_HEAD_BYTES - 4 + body.len));
    wire_u8(&ledger->out, (uint8_t)kind);
    wire_u32(&ledger->out, number);
    wire_fixed(&ledger->out, body.data, body.len);
    return number;
}

static enum error_code write_some(struct ledger *ledger, struct error *err) {
    while (ledger->out_done < ledger->out.len) {
        ssize_t sent = send(ledger->fd, ledger->out.data + ledger->out_done,
                            ledger->out.len - ledger->out_done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERROR_NONE;
        if (sent < 0)
            return unreachable(ledger, errno, err);
        ledger->out_done += (size_t)sent;
    }
    buffer_clear(&ledger->out);
    ledger->out_done = 0;
    return ERROR_NONE;
}

static enum error_code read_some(struct ledger *ledger, struct error *err) {
    uint8_t *room = buffer_reserve(&ledger->in, READ_BYTES);
    if (room == NULL)
        return lost(ledger, err);
    ssize_t got = recv(ledger->fd, room, READ_BYTES, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return ERROR_NONE;
    if (got < 0)
        return unreachable(ledger, errno, err);
    if (got == 0)
        return lost(ledger, err);
    ledger->in.len += (size_t)got;
    return ERROR_NONE;
}

/* Writes what there is and waits until something was read. */
static enum error_code exchange(struct ledger *ledger, uint64_t deadline_ms, struct error *err) {
    uint64_t now = clock_monotonic_ms();
    if (now >= deadline_ms)
        return error_set(err, ERROR_TIMEOUT, "ledger node at %s: no answer in time", ledger->path);
    TRY(write_some(ledger, err));
    short wanted = POLLIN;
    if (ledger->out.len > 0)
        wanted = POLLIN | POLLOUT;
    struct pollfd poll_fd = {.fd = ledger->fd, .events = wanted};
    uint64_t left = deadline_ms - now;
    int ready = poll(&poll_fd, 1, left > CALL_MS ? CALL_MS : (int)left);
    if (ready < 0 && errno != EINTR)
        return unreachable(ledger, errno, err);
    if (ready > 0 && (poll_fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        return read_some(ledger, err);
    return ERROR_NONE;
}

struct frame {
    unsigned kind;
    uint32_t request;
    struct bytes body; /* in ledger->in */
    size_t len;        /* of the whole frame */
};

/* The first whole frame of what was read. */
static enum error_code next_frame(struct ledger *ledger, struct frame *ret_frame, bool *ret_some,
                                  struct error *err) {
    *ret_some = false;
    if (ledger->in.len < LANE_HEAD_BYTES)
        return ERROR_NONE;
    uint32_t len = wire_load_u32(ledger->in.data);
    if (len < LANE_HEAD_BYTES - 4 || len > LANE_ANSWER_BYTES_MAX) {
        disconnect(ledger);
        return error_set(err, ERROR_PROTOCOL, "ledger node at %s: a frame of %u bytes",
                         ledger->path, len);
    }
    if (ledger->in.len < 4 + (size_t)len)
        return ERROR_NONE;
    *ret_frame = (struct frame){
        ledger->in.data[4], wire_load_u32(ledger->in.data + 5),
        bytes_of(ledger->in.data + LANE_HEAD_BYTES, len + 4 - LANE_HEAD_BYTES), 4 + (size_t)len};
    *ret_some = true;
    return ERROR_NONE;
}

static void drop_frame(struct ledger *ledger, const struct frame *frame) {
    memmove(ledger->in.data, ledger->in.data + frame->len, ledger->in.len - frame->len);
    ledger->in.len -= frame->len;
}

/* What the node refused with: its error becomes ours. */
static enum error_code refusal(const struct frame *frame, struct error *err) {
    struct wire_reader r = wire_reader(frame->body);
    struct bytes name = wire_read_bytes(&r, ERROR_HINT_BYTES_MAX);
    struct bytes message = wire_read_bytes(&r, ERROR_MESSAGE_BYTES_MAX);
    struct bytes hint = wire_read_bytes(&r, ERROR_HINT_BYTES_MAX);
    char name_text[64] = "";
    if (!wire_read_end(&r) || name.len >= sizeof name_text)
        return error_set(err, ERROR_PROTOCOL, "ledger node: a refusal that cannot be read");
    memcpy(name_text, name.data, name.len);
    enum error_code code = error_code_from_name(name_text);
    if (code == ERROR_NONE)
        code = ERROR_PROTOCOL;
    error_set(err, code, "%.*s", (int)message.len, (const char *)message.data);
    if (hint.len > 0)
        error_hint(err, "%.*s", (int)hint.len, (const char *)hint.data);
    return code;
}

/* One request and its answer, appended to ret_body. */
static enum error_code call_once(struct ledger *ledger, enum lane_kind kind, struct bytes body,
                                 struct buffer *ret_body, struct error *err) {
    uint64_t deadline_ms = clock_monotonic_ms() + CALL_MS;
    TRY(connect_node(ledger, err));
    uint32_t number = put_request(ledger, kind, body);
    for (;;) {
        struct frame frame;
        bool some = false;
        TRY(next_frame(ledger, &frame, &some, err));
        if (!some) {
            TRY(exchange(ledger, deadline_ms, err));
            continue;
        }
        enum error_code code = ERROR_NONE;
        bool ours = frame.request == number;
        if (ours && frame.kind == LANE_ERROR)
            code = refusal(&frame, err);
        else if (ours && frame.kind != ((unsigned)kind | LANE_ANSWER))
            code = error_set(err, ERROR_PROTOCOL, "ledger node: an answer of kind %u", frame.kind);
        else if (ours)
            buffer_append(ret_body, frame.body.data, frame.body.len);
        drop_frame(ledger, &frame); /* answers to what timed out before are dropped, too */
        if (ours)
            return code != ERROR_NONE ? code : buffer_check(ret_body, "ledger node's answer", err);
    }
}

/* A node that was restarted since the last call is met by connecting anew, once. */
static enum error_code call(struct ledger *ledger, enum lane_kind kind, struct bytes body,
                            struct buffer *ret_body, struct error *err) {
    bool connected = ledger->fd >= 0;
    enum error_code code = call_once(ledger, kind, body, ret_body, err);
    if (code == ERROR_NODE_UNREACHABLE && connected) {
        buffer_clear(ret_body);
        code = call_once(ledger, kind, body, ret_body, err);
    }
    if (code == ERROR_TIMEOUT)
        disconnect(ledger);
    return code;
}

enum error_code ledger_open(const char *node_socket, const char *genesis,
                            struct ledger **ret_ledger, struct error *err) {
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL)
        return error_set(err, ERROR_NO_MEMORY, "ledger: no memory");
    ledger->fd = -1;
    buffer_init(&ledger->out, IN_FLIGHT_BYTES_MAX + LANE_REQUEST_BYTES_MAX + LANE_HEAD_BYTES);
    buffer_init(&ledger->in, LANE_ANSWER_BYTES_MAX + 4 + READ_BYTES);
    size_t len = strlen(node_socket);
    enum error_code code =
        len >= sizeof ledger->path
            ? error_set(err, ERROR_CONFIG, "socket %s: the path has %zu bytes, at most %zu can be",
                        node_socket, len, sizeof ledger->path - 1)
            : genesis_load(genesis, &ledger->genesis, err);
    if (code != ERROR_NONE) {
        ledger_close(ledger);
        return code;
    }
    memcpy(ledger->path, node_socket, len + 1);
    *ret_ledger = ledger;
    return ERROR_NONE;
}

void ledger_close(struct ledger *ledger) {
    if (ledger == NULL)
        return;
    disconnect(ledger);
    buffer_done(&ledger->out);
    buffer_done(&ledger->in);
    genesis_free(ledger->genesis);
    free(ledger);
}

struct hash ledger_chain(const struct ledger *ledger) {
    return ledger->genesis->chain;
}

uint32_t ledger_validator_count(const struct ledger *ledger) {
    return ledger->genesis->validator_count;
}

/* Checks: what a node says is believed only so far as Q validators of the genesis signed it. */

static bool verify_vote(void *context, uint32_t signer, const struct hash *statement,
                        const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    const struct genesis *genesis = context;
    return signer < genesis->validator_count &&
           signature_valid(genesis->validators[signer].vote_key, statement, signature);
}

static enum error_code check_certificate(const struct ledger *ledger,
                                         const struct block_header *header,
                                         const struct hash *hash,
                                         const struct pbft_certificate *certificate,
                                         struct error *err) {
    if (certificate->ballot.type != PBFT_COMMIT || certificate->ballot.height != header->height ||
        !hash_equal(&certificate->ballot.digest, hash))
        return error_set(err, ERROR_VERIFY, "block %llu: its certificate is of another block",
                         (unsigned long long)header->height);
    struct pbft_domain domain = {ledger->genesis->chain, header->epoch};
    return pbft_certificate_verify(certificate, &domain, ledger->genesis->validator_count,
                                   verify_vote, ledger->genesis, err);
}

static enum error_code check_head(struct ledger *ledger, const struct lane_head *head,
                                  struct error *err) {
    struct hash hash = block_hash(&head->header);
    struct hash certificate_hash = sha256_of(head->certificate);
    if (hash_equal(&hash, &ledger->checked) &&
        hash_equal(&certificate_hash, &ledger->checked_certificate))
        return ERROR_NONE;
    struct block_header genesis;
    block_genesis_header(ledger->genesis, &genesis);
    struct hash genesis_hash = block_hash(&genesis);
    struct pbft_certificate certificate = {.seal_count = 0};
    if (!hash_equal(&hash, &genesis_hash)) { /* which needs no signature: it is what we trust */
        if (!hash_equal(&head->header.chain, &ledger->genesis->chain) ||
            !hash_equal(&head->header.validators, &ledger->genesis->validators_hash))
            return error_set(err, ERROR_VERIFY, "block %llu: it is of another chain",
                             (unsigned long long)head->header.height);
        TRY(pbft_certificate_decode(head->certificate, &certificate, err));
        TRY(check_certificate(ledger, &head->header, &hash, &certificate, err));
    }
    ledger->checked = hash;
    ledger->checked_certificate = certificate_hash;
    ledger->checked_signatures = certificate.seal_count;
    ledger->checked_view = certificate.ballot.view;
    return ERROR_NONE;
}

static enum error_code check_fresh(const struct lane_head *head, struct error *err) {
    uint64_t now = clock_wall_ms();
    if (now > head->header.time_ms && now - head->header.time_ms > LEDGER_HEAD_AGE_MS_MAX)
        return error_set(err, ERROR_NODE_STALE,
                         "ledger: the head, block %llu, is %llu s old, expected at most %d s",
                         (unsigned long long)head->header.height,
                         (unsigned long long)(now - head->header.time_ms) / 1000,
                         LEDGER_HEAD_AGE_MS_MAX / 1000);
    return ERROR_NONE;
}

/* The receipt is of this transaction, and the certified header binds it. */
static enum error_code check_receipt(struct ledger *ledger, const struct lane_receipt *receipt,
                                     const struct transaction *tx,
                                     struct ledger_receipt *ret_receipt, struct error *err) {
    TRY(check_head(ledger, &receipt->head, err));
    if (!hash_equal(&receipt->id, &tx->id) ||
        memcmp(receipt->signature, tx->signature, sizeof tx->signature) != 0)
        return error_set(err, ERROR_VERIFY, "receipt: it is of another transaction");
    struct hash leaf = block_transaction_leaf(tx, receipt->status);
    if (!merkle_verify_inclusion(&leaf, receipt->index, receipt->head.header.transaction_count,
                                 &receipt->path, &receipt->head.header.transaction_root))
        return error_set(err, ERROR_VERIFY, "receipt: block %llu does not hold the transaction",
                         (unsigned long long)receipt->head.header.height);
    struct ledger_receipt r = {
        .transaction = tx->id,
        .result = receipt->status == TX_DONE ? LEDGER_COMMITTED : LEDGER_FAILED,
        .position = {receipt->head.header.height, receipt->index, 0, receipt->log_index},
        .block_time_ms = receipt->head.header.time_ms,
    };
    if (receipt->status != TX_DONE) {
        const char *text = transaction_status_text(receipt->status);
        size_t len = strlen(text);
        len = len < sizeof r.reason ? len : sizeof r.reason - 1;
        memcpy(r.reason, text, len);
    }
    *ret_receipt = r;
    return ERROR_NONE;
}

/* Submitting. */

struct submission {
    struct transaction tx;
    uint32_t request; /* 0: not under way */
    bool done;
};

struct batch {
    const struct bytes *transactions;
    struct submission *submissions;
    struct ledger_receipt *receipts;
    size_t count;
    size_t done;
    size_t next; /* the first that was not sent yet on this connection */
    size_t in_flight;
    size_t first; /* of those under way, where to look for an answer's owner */
};

static void send_more(struct ledger *ledger, struct batch *batch) {
    while (batch->next < batch->count && batch->in_flight < IN_FLIGHT_MAX &&
           ledger->out.len < IN_FLIGHT_BYTES_MAX) {
        struct submission *s = &batch->submissions[batch->next];
        if (!s->done) {
            s->request = put_request(ledger, LANE_SUBMIT, batch->transactions[batch->next]);
            batch->in_flight++;
        }
        batch->next++;
    }
}

static struct submission *owner(struct batch *batch, uint32_t request) {
    while (batch->first < batch->next && batch->submissions[batch->first].done)
        batch->first++;
    for (size_t i = batch->first; i < batch->next; i++)
        if (!batch->submissions[i].done && batch->submissions[i].request == request)
            return &batch->submissions[i];
    return NULL;
}

static enum error_code take_answer(struct ledger *ledger, struct batch *batch,
                                   const struct frame *frame, struct error *err) {
    struct submission *s = owner(batch, frame->request);
    if (s == NULL)
        return ERROR_NONE;
    size_t index = (size_t)(s - batch->submissions);
    if (frame->kind == LANE_ERROR)
        return refusal(frame, err);
    struct wire_reader r = wire_reader(frame->body);
    struct lane_receipt receipt;
    TRY(lane_read_receipt(&r, &receipt, err));
    TRY(check_receipt(ledger, &receipt, &s->tx, &batch->receipts[index], err));
    s->done = true;
    batch->done++;
    batch->in_flight--;
    return ERROR_NONE;
}

/* One connection's worth: until all are done or something fails. */
static enum error_code run_batch(struct ledger *ledger, struct batch *batch, uint64_t deadline_ms,
                                 struct error *err) {
    TRY(connect_node(ledger, err));
    batch->next = batch->first = batch->in_flight = 0;
    while (batch->done < batch->count) {
        struct frame frame;
        bool some = false;
        TRY(next_frame(ledger, &frame, &some, err));
        if (!some) {
            send_more(ledger, batch);
            TRY(exchange(ledger, deadline_ms, err));
            continue;
        }
        enum error_code code = take_answer(ledger, batch, &frame, err);
        drop_frame(ledger, &frame);
        if (code != ERROR_NONE)
            return code;
    }
    return ERROR_NONE;
}

enum error_code ledger_submit_all(struct ledger *ledger, const struct bytes *transactions,
                                  size_t count, uint32_t deadline_ms,
                                  struct ledger_receipt *ret_receipts, struct error *err) {
    SCOPED_FREE struct submission *submissions = calloc(count + 1, sizeof *submissions);
    SCOPED_FREE struct ledger_receipt *receipts = calloc(count + 1, sizeof *receipts);
    if (submissions == NULL || receipts == NULL)
        return error_set(err, ERROR_NO_MEMORY, "submit: no memory");
    for (size_t i = 0; i < count; i++)
        TRY(transaction_decode(transactions[i], &submissions[i].tx, err));
    struct batch batch = {transactions, submissions, receipts, count, 0, 0, 0, 0};
    uint64_t until = clock_monotonic_ms() + deadline_ms;
    enum error_code code;
    /* The same bytes give the same receipt, so a node that went away is simply asked again. */
    for (;;) {
        code = run_batch(ledger, &batch, until, err);
        if ((code != ERROR_NODE_UNREACHABLE && code != ERROR_BUSY) ||
            clock_monotonic_ms() + RECONNECT_MS >= until)
            break;
        disconnect(ledger);
        clock_sleep_ms(RECONNECT_MS);
    }
    if (code != ERROR_NONE) {
        disconnect(ledger); /* late answers are nobody's */
        return code;
    }
    memcpy(ret_receipts, receipts, count * sizeof *receipts);
    return ERROR_NONE;
}

enum error_code ledger_submit(struct ledger *ledger, struct bytes transaction,
                              uint32_t deadline_ms, struct ledger_receipt *ret_receipt,
                              struct error *err) {
    return ledger_submit_all(ledger, &transaction, 1, deadline_ms, ret_receipt, err);
}

/* Asking. */

enum error_code ledger_next_sequence(struct ledger *ledger, const uint8_t submitter[32],
                                     uint64_t *ret_sequence, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(ledger, LANE_SEQUENCE, bytes_of(submitter, TRANSACTION_KEY_BYTES), &body, err));
    if (body.len != 8)
        return error_set(err, ERROR_PROTOCOL, "sequence: the node's answer has %zu bytes",
                         body.len);
    *ret_sequence = wire_load_u64(body.data);
    return ERROR_NONE;
}

enum error_code ledger_head(struct ledger *ledger, struct ledger_head *ret_head,
                            struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(ledger, LANE_HEAD, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(ledger, &head, err));
    TRY(check_fresh(&head, err));
    *ret_head = (struct ledger_head){
        .height = head.header.height,
        .view = ledger->checked_view,
        .time_ms = head.header.time_ms,
        .leaves = head.header.log_size,
        .block = ledger->checked,
        .log_root = head.header.log_root,
        .validators = ledger->genesis->validator_count,
        .faults_tolerated = pbft_faults(ledger->genesis->validator_count),
        .signatures = ledger->checked_signatures,
    };
    return ERROR_NONE;
}

/* Reads a version and checks that the head's log holds it where the node says. */
static enum error_code read_version(struct wire_reader *r, const struct lane_head *head,
                                    const struct locator *locator,
                                    struct ledger_version *ret_version, struct error *err) {
    struct lane_version v;
    TRY(lane_read_version(r, &v, err));
    struct hash hash = leaf_hash(&v.leaf);
    if (memcmp(v.leaf.locator.byte, locator->byte, LOCATOR_BYTES) != 0)
        return error_set(err, ERROR_VERIFY, "record: the node answered with another one");
    if (!merkle_verify_inclusion(&hash, v.log_index, head->header.log_size, &v.path,
                                 &head->header.log_root))
        return error_set(err, ERROR_VERIFY,
                         "record: version %u is not in the log of block %llu", v.leaf.version,
                         (unsigned long long)head->header.height);
    *ret_version = (struct ledger_version){
        .leaf = v.leaf,
        .leaf_hash = hash,
        .position = {v.height, v.transaction, v.leaf_index, v.log_index},
        .block_time_ms = v.block_time_ms,
        .transaction = v.id,
    };
    return ERROR_NONE;
}

/* The latest has the number of versions, each is linked to the next older one, and the oldest that
 * was asked for is the first where there are no more. */
static enum error_code check_links(const struct ledger_version *versions, uint32_t count,
                                   uint64_t total, struct error *err) {
    for (uint32_t i = 0; i < count; i++) {
        const struct ledger_version *v = &versions[i];
        bool linked = i + 1 == count ||
                      hash_equal(&v->leaf.previous, &versions[i + 1].leaf_hash);
        if (v->leaf.version != total - i || !linked)
            return error_set(err, ERROR_VERIFY,
                             "record: version %u of %llu is not linked to the one before",
                             v->leaf.version, (unsigned long long)total);
    }
    return ERROR_NONE;
}

enum error_code ledger_history(struct ledger *ledger, const struct locator *locator,
                               struct ledger_version *ret_versions, size_t versions_max,
                               size_t *ret_count, uint64_t *ret_total, struct error *err) {
    SCOPED_BUFFER struct buffer request;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&request, 64);
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    if (versions_max == 0 || versions_max > LEDGER_HISTORY_MAX)
        return error_set(err, ERROR_LIMIT, "history: room for %zu versions, expected 1 to %d",
                         versions_max, LEDGER_HISTORY_MAX);
    wire_fixed(&request, locator->byte, LOCATOR_BYTES);
    wire_u32(&request, (uint32_t)versions_max);
    TRY(call(ledger, LANE_HISTORY, buffer_bytes(&request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(ledger, &head, err));
    TRY(check_fresh(&head, err));
    uint64_t total = wire_read_u64(&r);
    uint32_t count = wire_read_count(&r, (uint32_t)versions_max, LEAF_BYTES);
    if (r.failed || count > total || (count < versions_max && count < total))
        return error_set(err, ERROR_PROTOCOL, "history: the node's answer has %u of %llu versions",
                         count, (unsigned long long)total);
    SCOPED_FREE struct ledger_version *versions = calloc((size_t)count + 1, sizeof *versions);
    if (versions == NULL)
        return error_set(err, ERROR_NO_MEMORY, "history: no memory");
    for (uint32_t i = 0; i < count; i++)
        TRY(read_version(&r, &head, locator, &versions[i], err));
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "history: the node's answer is too long");
    TRY(check_links(versions, count, total, err));
    memcpy(ret_versions, versions, count * sizeof *versions);
    *ret_count = count;
    *ret_total = total;
    return ERROR_NONE;
}

enum error_code ledger_latest(struct ledger *ledger, const struct locator *locators, size_t count,
                              struct ledger_version *ret_versions, struct error *err) {
    SCOPED_BUFFER struct buffer request;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&request, LANE_REQUEST_BYTES_MAX);
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    if (count > LANE_LOCATORS_MAX)
        return error_set(err, ERROR_LIMIT, "latest: %zu locators, expected at most %d", count,
                         LANE_LOCATORS_MAX);
    wire_u32(&request, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        wire_fixed(&request, locators[i].byte, LOCATOR_BYTES);
    TRY(call(ledger, LANE_LATEST, buffer_bytes(&request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(ledger, &head, err));
    TRY(check_fresh(&head, err));
    if (wire_read_u32(&r) != count)
        return error_set(err, ERROR_PROTOCOL, "latest: the node answered another question");
    SCOPED_FREE struct ledger_version *versions = calloc(count + 1, sizeof *versions);
    if (versions == NULL)
        return error_set(err, ERROR_NO_MEMORY, "latest: no memory");
    for (size_t i = 0; i < count; i++)
        if (wire_read_u8(&r) != 0)
            TRY(read_version(&r, &head, &locators[i], &versions[i], err));
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "latest: the node's answer is not whole");
    memcpy(ret_versions, versions, count * sizeof *versions);
    return ERROR_NONE;
}

enum error_code ledger_block(struct ledger *ledger, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err) {
    uint8_t request[8];
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    wire_store_u64(request, height);
    TRY(call(ledger, LANE_BLOCK, bytes_of(request, sizeof request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes raw = wire_read_bytes(&r, BLOCK_BYTES_MAX);
    struct bytes certificate = wire_read_bytes(&r, LANE_CERTIFICATE_BYTES_MAX);
    struct block block;
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "block: the node's answer is not whole");
    TRY(block_decode(raw, &block, err));
    struct lane_head head = {block.header, certificate};
    TRY(check_head(ledger, &head, err));
    if (block.header.height != height || !block_entries_fit(raw))
        return error_set(err, ERROR_VERIFY, "block %llu: its entries are not what its header binds",
                         (unsigned long long)height);
    buffer_append(ret_block, raw.data, raw.len);
    buffer_append(ret_certificate, certificate.data, certificate.len);
    TRY(buffer_check(ret_block, "block", err));
    return buffer_check(ret_certificate, "certificate", err);
}

enum error_code ledger_transaction(struct ledger *ledger, const struct hash *id,
                                   struct buffer *ret_transaction,
                                   struct ledger_receipt *ret_receipt, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(ledger, LANE_TRANSACTION, hash_bytes(id), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes raw = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
    struct lane_receipt receipt;
    TRY(lane_read_receipt(&r, &receipt, err));
    struct transaction tx;
    TRY(transaction_decode(raw, &tx, err));
    if (!hash_equal(&tx.id, id))
        return error_set(err, ERROR_VERIFY, "transaction: the node answered with another one");
    struct ledger_receipt checked;
    TRY(check_receipt(ledger, &receipt, &tx, &checked, err));
    buffer_append(ret_transaction, raw.data, raw.len);
    TRY(buffer_check(ret_transaction, "transaction", err));
    *ret_receipt = checked;
    return ERROR_NONE;
}

/* What the node tells of itself: nobody signs that. */

static enum error_code text_call(struct ledger *ledger, enum lane_kind kind, struct buffer *out,
                                 struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(ledger, kind, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes text = wire_read_bytes(&r, LEDGER_STATUS_BYTES_MAX);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "status: the node's answer is not whole");
    buffer_append(out, text.data, text.len);
    return buffer_check(out, "status", err);
}

enum error_code ledger_status(struct ledger *ledger, struct buffer *ret_json, struct error *err) {
    return text_call(ledger, LANE_STATUS, ret_json, err);
}

enum error_code ledger_metrics(struct ledger *ledger, struct buffer *ret_text,
                               struct error *err) {
    return text_call(ledger, LANE_METRICS, ret_text, err);
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

enum error_code ledger_status_text(struct ledger *ledger, struct buffer *ret_text,
                                   struct error *err) {
    static const char *const lines[][2] = {
        {"chain", "chain"},
        {"validator", "validator"},
        {"role", "role"},
        {"height", "height"},
        {"head_time", "head's time"},
        {"leaves", "leaves"},
        {"view", "view"},
        {"view_state", "view's state"},
        {"last_view_change", "last view change"},
        {"leader", "leader"},
        {"quorum", "quorum"},
        {"faults_tolerated", "faults tolerated"},
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
    buffer_append_text(ret_text, "peers\n");
    const json_t *peers = json_object_get(root, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++)
        peer_line(ret_text, json_array_get(peers, i));
    json_decref(root);
    return buffer_check(ret_text, "status", err);
}
