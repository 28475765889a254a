#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/wire.h"
#include "ledger/checkpoint.h"
#include "ledger/client.h"
#include "ledger/genesis.h"
#include "ledger/lane.h"
#include "ledger/merkle/map.h"
#include "ledger/members.h"
#include "ledger/signer.h"
#include "ledger/transaction.h"
#include "ledger/trust.h"

enum {
    CALL_MS = 30000,
    CALL_AMONG_MS = 8000,          /* where another node can be asked */
    RECONNECT_MS = 100,
    PROBE_MS = 1000,               /* of silence, before it is asked for a sign of life */
    SILENCE_MS_MAX = 4000,         /* before another node is asked, where there is one */
    IN_FLIGHT_MAX = 2048,          /* submissions that wait for their receipt */
    IN_FLIGHT_BYTES_MAX = 8 << 20, /* of them, not yet written */
    READ_BYTES = 64 << 10,
};

struct client {
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    struct genesis *genesis;
    struct trust *trust;
    int fd; /* -1: not connected */
    uint32_t call_ms_max;
    uint32_t request;
    struct buffer out;
    size_t out_done;
    struct buffer in;
    size_t in_done; /* of it, frames that are handled */
    struct hash checked; /* the block whose certificate was checked last */
    struct hash checked_certificate;
    uint32_t checked_signatures;
    uint64_t checked_view;
};

/* The connection. */

static void disconnect(struct client *client) {
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    buffer_clear(&client->out);
    buffer_clear(&client->in);
    client->in_done = 0;
    client->out_done = 0;
}

static enum error_code unreachable(struct client *client, int number, struct error *err) {
    char reason[128];
    const char *text = strerror_r(number, reason, sizeof reason);
    disconnect(client);
    return error_set(err, ERROR_NODE_UNREACHABLE, "ledger node at %s: %s", client->path, text);
}

static enum error_code lost(struct client *client, struct error *err) {
    disconnect(client);
    return error_set(err, ERROR_NODE_UNREACHABLE, "ledger node at %s: it closed the connection",
                     client->path);
}

static enum error_code connect_node(struct client *client, struct error *err) {
    if (client->fd >= 0)
        return ERROR_NONE;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, client->path, sizeof address.sun_path);
    /* A process that stands still and whose queue is full would hold a blocking connect for ever. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return unreachable(client, errno, err);
    client->fd = fd;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return unreachable(client, errno, err);
    return ERROR_NONE;
}

static uint32_t put_request(struct client *client, enum lane_kind kind, struct bytes body) {
    uint32_t number = ++client->request;
    wire_u32(&client->out, (uint32_t)(LANE_HEAD_BYTES - 4 + body.len));
    wire_u8(&client->out, (uint8_t)kind);
    wire_u32(&client->out, number);
    wire_fixed(&client->out, body.data, body.len);
    return number;
}

static enum error_code write_some(struct client *client, struct error *err) {
    while (client->out_done < client->out.len) {
        ssize_t sent = send(client->fd, client->out.data + client->out_done,
                            client->out.len - client->out_done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERROR_NONE;
        if (sent < 0)
            return unreachable(client, errno, err);
        client->out_done += (size_t)sent;
    }
    buffer_clear(&client->out);
    client->out_done = 0;
    return ERROR_NONE;
}

static enum error_code read_some(struct client *client, struct error *err) {
    if (client->in_done > 0) { /* once a reading, not once a frame */
        client->in.len -= client->in_done;
        memmove(client->in.data, client->in.data + client->in_done, client->in.len);
        client->in_done = 0;
    }
    uint8_t *room = buffer_reserve(&client->in, READ_BYTES);
    if (room == NULL)
        return lost(client, err);
    ssize_t got = recv(client->fd, room, READ_BYTES, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return ERROR_NONE;
    if (got < 0)
        return unreachable(client, errno, err);
    if (got == 0)
        return lost(client, err);
    client->in.len += (size_t)got;
    return ERROR_NONE;
}

/* Writes what there is and waits until something was read. */
static enum error_code exchange(struct client *client, uint64_t deadline_ms, struct error *err) {
    uint64_t now = clock_monotonic_ms();
    if (now >= deadline_ms)
        return error_set(err, ERROR_TIMEOUT, "ledger node at %s: no answer in time", client->path);
    TRY(write_some(client, err));
    short wanted = POLLIN;
    if (client->out.len > 0)
        wanted = POLLIN | POLLOUT;
    struct pollfd poll_fd = {.fd = client->fd, .events = wanted};
    uint64_t left = deadline_ms - now;
    int ready = poll(&poll_fd, 1, left > CALL_MS ? CALL_MS : (int)left);
    if (ready < 0 && errno != EINTR)
        return unreachable(client, errno, err);
    if (ready > 0 && (poll_fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        return read_some(client, err);
    return ERROR_NONE;
}

struct frame {
    unsigned kind;
    uint32_t request;
    struct bytes body; /* in client->in, until more is read */
    size_t len;        /* of the whole frame */
};

/* The first whole frame of what was read and is not handled. */
static enum error_code next_frame(struct client *client, struct frame *ret_frame, bool *ret_some,
                                  struct error *err) {
    *ret_some = false;
    size_t left = client->in.len - client->in_done;
    if (left < LANE_HEAD_BYTES)
        return ERROR_NONE;
    const uint8_t *at = client->in.data + client->in_done;
    uint32_t len = wire_load_u32(at);
    if (len < LANE_HEAD_BYTES - 4 || len > LANE_ANSWER_BYTES_MAX) {
        disconnect(client);
        return error_set(err, ERROR_PROTOCOL, "ledger node at %s: a frame of %u bytes",
                         client->path, len);
    }
    if (left < 4 + (size_t)len)
        return ERROR_NONE;
    *ret_frame = (struct frame){at[4], wire_load_u32(at + 5),
                                bytes_of(at + LANE_HEAD_BYTES, len + 4 - LANE_HEAD_BYTES),
                                4 + (size_t)len};
    *ret_some = true;
    return ERROR_NONE;
}

static void drop_frame(struct client *client, const struct frame *frame) {
    if (client->fd >= 0) /* else nothing of what was read is left */
        client->in_done += frame->len;
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
static enum error_code call_once(struct client *client, enum lane_kind kind, struct bytes body,
                                 struct buffer *ret_body, struct error *err) {
    uint64_t deadline_ms = clock_monotonic_ms() + client->call_ms_max;
    TRY(connect_node(client, err));
    uint32_t number = put_request(client, kind, body);
    for (;;) {
        struct frame frame;
        bool some = false;
        TRY(next_frame(client, &frame, &some, err));
        if (!some) {
            TRY(exchange(client, deadline_ms, err));
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
        drop_frame(client, &frame); /* answers to what timed out before are dropped, too */
        if (ours)
            return code != ERROR_NONE ? code : buffer_check(ret_body, "ledger node's answer", err);
    }
}

/* A node that was restarted since the last call is met by connecting anew, once. */
static enum error_code call(struct client *client, enum lane_kind kind, struct bytes body,
                            struct buffer *ret_body, struct error *err) {
    bool connected = client->fd >= 0;
    enum error_code code = call_once(client, kind, body, ret_body, err);
    if (code == ERROR_NODE_UNREACHABLE && connected) {
        buffer_clear(ret_body);
        code = call_once(client, kind, body, ret_body, err);
    }
    if (code == ERROR_TIMEOUT)
        disconnect(client);
    return code;
}

enum error_code client_open(const char *node_socket, const char *genesis, bool alone,
                            struct client **ret_client, struct error *err) {
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_set(err, ERROR_NO_MEMORY, "ledger: no memory");
    client->fd = -1;
    client->call_ms_max = alone ? CALL_MS : CALL_AMONG_MS;
    buffer_init(&client->out, IN_FLIGHT_BYTES_MAX + LANE_REQUEST_BYTES_MAX + LANE_HEAD_BYTES);
    buffer_init(&client->in, LANE_ANSWER_BYTES_MAX + 4 + READ_BYTES);
    size_t len = strlen(node_socket);
    enum error_code code =
        len >= sizeof client->path
            ? error_set(err, ERROR_CONFIG, "socket %s: the path has %zu bytes, at most %zu can be",
                        node_socket, len, sizeof client->path - 1)
            : genesis_load(genesis, &client->genesis, err);
    if (code != ERROR_NONE) {
        client_close(client);
        return code;
    }
    memcpy(client->path, node_socket, len + 1);
    client->trust = trust_new(client->genesis);
    *ret_client = client;
    return ERROR_NONE;
}

void client_disconnect(struct client *client) {
    disconnect(client);
}

void client_close(struct client *client) {
    if (client == NULL)
        return;
    disconnect(client);
    buffer_done(&client->out);
    buffer_done(&client->in);
    trust_free(client->trust);
    genesis_free(client->genesis);
    free(client);
}

struct hash client_chain(const struct client *client) {
    return client->genesis->chain;
}

uint32_t client_validator_count(const struct client *client) {
    return trust_validator_count(client->trust);
}

/* Checks: what a node says is believed only so far as Q validators of the genesis signed it, and the
 * validators of later epochs only so far as those before them did. */

static enum error_code prove_some(struct client *client, struct client *side, struct error *err) {
    uint8_t request[8];
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    uint64_t before = trust_epoch(client->trust);
    wire_store_u64(request, before);
    TRY(call(side, LANE_EPOCHS, bytes_of(request, sizeof request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    uint32_t count = wire_read_count(&r, TRUST_EPOCHS_MAX, BLOCK_HEADER_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        struct lane_head last;
        TRY(lane_read_head(&r, &last, err));
        struct bytes list = wire_read_bytes(&r, MEMBERS_BYTES_MAX);
        TRY(trust_next(client->trust, &last.header, last.certificate, list, err));
    }
    if (!wire_read_end(&r) || trust_epoch(client->trust) == before)
        return error_set(err, ERROR_VERIFY, "members: the node does not prove those of epoch %llu",
                         (unsigned long long)before + 1);
    return ERROR_NONE;
}

/* Proves one epoch after another until that of a head; any node may be asked, since each step stands
 * on the one before, and the first on the genesis. By a connection of its own: on the usual one
 * answers to other requests may be under way. */
static enum error_code prove_epochs(struct client *client, uint64_t epoch, struct error *err) {
    struct client side = {.fd = -1, .call_ms_max = client->call_ms_max};
    memcpy(side.path, client->path, sizeof side.path);
    buffer_init(&side.out, LANE_REQUEST_BYTES_MAX + LANE_HEAD_BYTES);
    buffer_init(&side.in, LANE_ANSWER_BYTES_MAX + 4 + READ_BYTES);
    enum error_code code = ERROR_NONE;
    while (code == ERROR_NONE && trust_epoch(client->trust) < epoch)
        code = prove_some(client, &side, err);
    disconnect(&side);
    buffer_done(&side.out);
    buffer_done(&side.in);
    return code;
}

static enum error_code check_head(struct client *client, const struct lane_head *head,
                                  struct error *err) {
    struct hash hash = block_hash(&head->header);
    struct hash certificate_hash = sha256_of(head->certificate);
    if (hash_equal(&hash, &client->checked) &&
        hash_equal(&certificate_hash, &client->checked_certificate))
        return ERROR_NONE;
    struct pbft_certificate certificate;
    TRY(trust_fits(client->trust, &head->header, head->certificate, &certificate, err));
    if (head->header.epoch > trust_epoch(client->trust))
        TRY(prove_epochs(client, head->header.epoch, err));
    TRY(trust_check(client->trust, &head->header, head->certificate, &certificate, err));
    client->checked = hash;
    client->checked_certificate = certificate_hash;
    client->checked_signatures = certificate.seal_count;
    client->checked_view = certificate.ballot.view;
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
static enum error_code check_receipt(struct client *client, const struct lane_receipt *receipt,
                                     const struct transaction *tx,
                                     struct ledger_receipt *ret_receipt, struct error *err) {
    TRY(check_head(client, &receipt->head, err));
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

static void send_more(struct client *client, struct batch *batch) {
    while (batch->next < batch->count && batch->in_flight < IN_FLIGHT_MAX &&
           client->out.len < IN_FLIGHT_BYTES_MAX) {
        struct submission *s = &batch->submissions[batch->next];
        if (!s->done) {
            s->request = put_request(client, LANE_SUBMIT, batch->transactions[batch->next]);
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

static enum error_code take_answer(struct client *client, struct batch *batch,
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
    TRY(check_receipt(client, &receipt, &s->tx, &batch->receipts[index], err));
    s->done = true;
    batch->done++;
    batch->in_flight--;
    return ERROR_NONE;
}

/* Waits for an answer. Where there is another node to ask, a node that says nothing is asked for its
 * head: one that lives says that at once, however long the chain takes for a block. */
static enum error_code wait_for_answer(struct client *client, uint64_t deadline_ms, bool alone,
                                       uint64_t heard_ms, bool *probed, struct error *err) {
    uint64_t until = heard_ms + (*probed ? SILENCE_MS_MAX : PROBE_MS);
    if (alone || until > deadline_ms)
        until = deadline_ms;
    enum error_code code = exchange(client, until, err);
    if (code != ERROR_TIMEOUT || *probed || until == deadline_ms)
        return code;
    *probed = true;
    (void)put_request(client, LANE_HEAD, bytes_of(NULL, 0)); /* whatever it answers is dropped */
    return ERROR_NONE;
}

/* One connection's worth: until all are done or something fails. */
static enum error_code run_batch(struct client *client, struct batch *batch, uint64_t deadline_ms,
                                 bool alone, struct error *err) {
    TRY(connect_node(client, err));
    batch->next = batch->first = batch->in_flight = 0;
    uint64_t heard_ms = clock_monotonic_ms();
    bool probed = false;
    while (batch->done < batch->count) {
        struct frame frame;
        bool some = false;
        TRY(next_frame(client, &frame, &some, err));
        if (!some) {
            send_more(client, batch);
            TRY(wait_for_answer(client, deadline_ms, alone, heard_ms, &probed, err));
            continue;
        }
        heard_ms = clock_monotonic_ms();
        probed = false;
        enum error_code code = take_answer(client, batch, &frame, err);
        drop_frame(client, &frame);
        if (code != ERROR_NONE)
            return code;
    }
    return ERROR_NONE;
}

/* The same bytes give the same receipt, so a node that went away, or another one, is simply asked
 * again: at once where there is one that was not asked since the last rest, else after a rest. */
static enum error_code run_nodes(struct client *const *nodes, size_t node_count, size_t *at,
                                 struct batch *batch, uint64_t until, struct error *err) {
    size_t refused = 0; /* nodes that gave an answer which waiting does not change */
    for (size_t tried = 1;; tried++) {
        struct client *node = nodes[*at];
        enum error_code code = run_batch(node, batch, until, node_count == 1, err);
        if (code == ERROR_NONE)
            return code;
        disconnect(node); /* late answers are nobody's */
        bool transient = code == ERROR_NODE_UNREACHABLE || code == ERROR_BUSY;
        refused += transient || code == ERROR_TIMEOUT ? 0 : 1;
        if (refused == node_count || clock_monotonic_ms() + RECONNECT_MS >= until ||
            code == ERROR_NO_MEMORY)
            return code;
        *at = (*at + 1) % node_count;
        if (tried % node_count == 0 || code == ERROR_BUSY)
            clock_sleep_ms(RECONNECT_MS);
    }
}

enum error_code client_submit_all(struct client *const *nodes, size_t node_count, size_t *at,
                                  const struct bytes *transactions, size_t count,
                                  uint32_t deadline_ms, struct ledger_receipt *ret_receipts,
                                  struct error *err) {
    SCOPED_FREE struct submission *submissions = calloc(count + 1, sizeof *submissions);
    SCOPED_FREE struct ledger_receipt *receipts = calloc(count + 1, sizeof *receipts);
    if (submissions == NULL || receipts == NULL)
        return error_set(err, ERROR_NO_MEMORY, "submit: no memory");
    for (size_t i = 0; i < count; i++)
        TRY(transaction_decode(transactions[i], &submissions[i].tx, err));
    struct batch batch = {transactions, submissions, receipts, count, 0, 0, 0, 0};
    TRY(run_nodes(nodes, node_count, at, &batch, clock_monotonic_ms() + deadline_ms, err));
    memcpy(ret_receipts, receipts, count * sizeof *receipts);
    return ERROR_NONE;
}

/* Asking. */

enum error_code client_next_sequence(struct client *client, const uint8_t submitter[32],
                                     uint64_t *ret_sequence, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, LANE_SEQUENCE, bytes_of(submitter, TRANSACTION_KEY_BYTES), &body, err));
    if (body.len != 8)
        return error_set(err, ERROR_PROTOCOL, "sequence: the node's answer has %zu bytes",
                         body.len);
    *ret_sequence = wire_load_u64(body.data);
    return ERROR_NONE;
}

enum error_code client_head(struct client *client, struct ledger_head *ret_head,
                            struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, LANE_HEAD, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
    TRY(check_fresh(&head, err));
    *ret_head = (struct ledger_head){
        .height = head.header.height,
        .view = client->checked_view,
        .time_ms = head.header.time_ms,
        .leaves = head.header.log_size,
        .block = client->checked,
        .log_root = head.header.log_root,
        .validators = trust_validator_count(client->trust),
        .faults_tolerated = pbft_faults(trust_validator_count(client->trust)),
        .signatures = client->checked_signatures,
    };
    return ERROR_NONE;
}

/* The list that certifies what comes after the head: of the next epoch, where the head ended one. */
enum error_code client_members(struct client *client, struct members **ret_members,
                               struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, LANE_HEAD, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
    TRY(check_fresh(&head, err));
    const struct members *members = trust_members(client->trust);
    if (members->epoch == head.header.epoch && !hash_equal(&members->hash, &head.header.members))
        TRY(prove_epochs(client, head.header.epoch + 1, err));
    *ret_members = members_copy(trust_members(client->trust));
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

enum error_code client_history(struct client *client, const struct locator *locator,
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
    TRY(call(client, LANE_HISTORY, buffer_bytes(&request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
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

enum error_code client_latest(struct client *client, const struct locator *locators, size_t count,
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
    TRY(call(client, LANE_LATEST, buffer_bytes(&request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
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

/* What the certified map root says of a record: the leaf itself follows where it knows one, and must
 * be the one that the map names. */
static enum error_code read_proof(struct wire_reader *r, const struct lane_head *head,
                                  const struct locator *locator,
                                  struct ledger_version *ret_version, struct error *err) {
    struct map_proof proof;
    struct ledger_version version;
    struct hash key = map_key(locator->byte);
    map_proof_decode(r, &proof);
    enum map_answer answer =
        r->failed ? MAP_WRONG : map_verify(&proof, &key, &head->header.map_root);
    if (answer == MAP_WRONG)
        return error_set(err, ERROR_VERIFY,
                         "record: the node's proof is not of the map root in block %llu",
                         (unsigned long long)head->header.height);
    *ret_version = (struct ledger_version){.position = {0}};
    if (answer == MAP_ABSENT)
        return ERROR_NONE;
    TRY(read_version(r, head, locator, &version, err));
    if (version.leaf.version != proof.value.version ||
        version.position.log_index != proof.value.log_index ||
        !hash_equal(&version.leaf_hash, &proof.value.leaf))
        return error_set(err, ERROR_VERIFY, "record: version %u is not the latest, that is %u",
                         version.leaf.version, proof.value.version);
    *ret_version = version;
    return ERROR_NONE;
}

enum error_code client_prove(struct client *client, const struct locator *locators, size_t count,
                             struct ledger_version *ret_versions, uint64_t *ret_height,
                             struct error *err) {
    SCOPED_BUFFER struct buffer request;
    SCOPED_BUFFER struct buffer body;
    buffer_init(&request, LANE_REQUEST_BYTES_MAX);
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    if (count > LANE_PROVE_MAX)
        return error_set(err, ERROR_LIMIT, "prove: %zu locators, expected at most %d", count,
                         LANE_PROVE_MAX);
    wire_u32(&request, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        wire_fixed(&request, locators[i].byte, LOCATOR_BYTES);
    TRY(call(client, LANE_PROVE, buffer_bytes(&request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct lane_head head;
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
    TRY(check_fresh(&head, err));
    if (wire_read_u32(&r) != count)
        return error_set(err, ERROR_PROTOCOL, "prove: the node answered another question");
    SCOPED_FREE struct ledger_version *versions = calloc(count + 1, sizeof *versions);
    if (versions == NULL)
        return error_set(err, ERROR_NO_MEMORY, "prove: no memory");
    for (size_t i = 0; i < count; i++)
        TRY(read_proof(&r, &head, &locators[i], &versions[i], err));
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "prove: the node's answer is not whole");
    memcpy(ret_versions, versions, count * sizeof *versions);
    *ret_height = head.header.map_height;
    return ERROR_NONE;
}

enum error_code client_block(struct client *client, uint64_t height, struct buffer *ret_block,
                             struct buffer *ret_certificate, struct error *err) {
    uint8_t request[8];
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    wire_store_u64(request, height);
    TRY(call(client, LANE_BLOCK, bytes_of(request, sizeof request), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes raw = wire_read_bytes(&r, BLOCK_BYTES_MAX);
    struct bytes certificate = wire_read_bytes(&r, LANE_CERTIFICATE_BYTES_MAX);
    struct block block;
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "block: the node's answer is not whole");
    TRY(block_decode(raw, &block, err));
    struct lane_head head = {block.header, certificate};
    TRY(check_head(client, &head, err));
    if (block.header.height != height || !block_entries_fit(raw))
        return error_set(err, ERROR_VERIFY, "block %llu: its entries are not what its header binds",
                         (unsigned long long)height);
    buffer_append(ret_block, raw.data, raw.len);
    buffer_append(ret_certificate, certificate.data, certificate.len);
    TRY(buffer_check(ret_block, "block", err));
    return buffer_check(ret_certificate, "certificate", err);
}

enum error_code client_transaction(struct client *client, const struct hash *id,
                                   struct buffer *ret_transaction,
                                   struct ledger_receipt *ret_receipt, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, LANE_TRANSACTION, hash_bytes(id), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes raw = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
    struct lane_receipt receipt;
    TRY(lane_read_receipt(&r, &receipt, err));
    struct transaction tx;
    TRY(transaction_decode(raw, &tx, err));
    if (!hash_equal(&tx.id, id))
        return error_set(err, ERROR_VERIFY, "transaction: the node answered with another one");
    struct ledger_receipt checked;
    TRY(check_receipt(client, &receipt, &tx, &checked, err));
    buffer_append(ret_transaction, raw.data, raw.len);
    TRY(buffer_check(ret_transaction, "transaction", err));
    *ret_receipt = checked;
    return ERROR_NONE;
}

/* Checkpoints. */

/* All epochs that have ended, as the nodes tell them, from the genesis on. */
static enum error_code read_epochs(struct client *client, uint64_t count, struct buffer *out,
                                   struct error *err) {
    for (uint64_t at = 0; at < count;) {
        uint8_t request[8];
        SCOPED_BUFFER struct buffer body;
        buffer_init(&body, LANE_ANSWER_BYTES_MAX);
        wire_store_u64(request, at);
        TRY(call(client, LANE_EPOCHS, bytes_of(request, sizeof request), &body, err));
        struct wire_reader r = wire_reader(buffer_bytes(&body));
        uint32_t some = wire_read_count(&r, TRUST_EPOCHS_MAX, BLOCK_HEADER_BYTES);
        for (uint32_t i = 0; i < some && at < count; i++, at++) {
            struct lane_head last;
            TRY(lane_read_head(&r, &last, err));
            struct bytes list = wire_read_bytes(&r, MEMBERS_BYTES_MAX);
            lane_write_head(out, &last.header, last.certificate);
            wire_bytes(out, list);
        }
        if (r.failed || some == 0)
            return error_set(err, ERROR_PROTOCOL, "members: the node's answer is not whole");
        TRY(buffer_check(out, "checkpoint", err));
    }
    return ERROR_NONE;
}

enum error_code client_checkpoint(struct client *client, struct bytes genesis,
                                  struct buffer *ret_body, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    SCOPED_BUFFER struct buffer epochs;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    buffer_init(&epochs, CHECKPOINT_BYTES_MAX);
    struct lane_head head;
    struct block_header proven;
    TRY(call(client, LANE_HEAD, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    TRY(lane_read_head(&r, &head, err));
    TRY(check_head(client, &head, err));
    TRY(read_epochs(client, head.header.epoch, &epochs, err));
    size_t start = ret_body->len;
    TRY(checkpoint_encode(genesis, (uint32_t)head.header.epoch, buffer_bytes(&epochs),
                          &head.header, head.certificate, ret_body, err));
    return checkpoint_prove(bytes_of(ret_body->data + start, ret_body->len - start), &proven, err);
}

enum error_code client_checkpoint_of(struct client *client, const struct hash *chain,
                                     struct hash *ret_transaction, struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, LANE_CHECKPOINT, hash_bytes(chain), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    bool found = wire_read_u8(&r) == 1;
    struct hash id;
    wire_read_fixed(&r, id.byte, HASH_BYTES);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "checkpoint: the node's answer is not whole");
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "checkpoint: the chain has none of that chain");
    *ret_transaction = id;
    return ERROR_NONE;
}

/* What the node tells of itself: nobody signs that. */

static enum error_code text_call(struct client *client, enum lane_kind kind, struct buffer *out,
                                 struct error *err) {
    SCOPED_BUFFER struct buffer body;
    buffer_init(&body, LANE_ANSWER_BYTES_MAX);
    TRY(call(client, kind, bytes_of(NULL, 0), &body, err));
    struct wire_reader r = wire_reader(buffer_bytes(&body));
    struct bytes text = wire_read_bytes(&r, LEDGER_STATUS_BYTES_MAX);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL, "status: the node's answer is not whole");
    buffer_append(out, text.data, text.len);
    return buffer_check(out, "status", err);
}

enum error_code client_status(struct client *client, struct buffer *ret_json, struct error *err) {
    return text_call(client, LANE_STATUS, ret_json, err);
}

enum error_code client_metrics(struct client *client, struct buffer *ret_text,
                               struct error *err) {
    return text_call(client, LANE_METRICS, ret_text, err);
}
