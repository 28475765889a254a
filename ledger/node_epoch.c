/* Epochs: who this node is by the list of members in force, with which keys; the core's object of the
 * epoch; the passage to the next one; what becomes of evidence. */
#include "ledger/node_inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/wire.h"

enum {
    TIMEOUT_GROWTH_MAX = 10,
    RESEND_MS = 250,
    STATUS_MS = 250,
    LONELY_MS = 5000, /* nobody lets us in for so long: perhaps they know our other key */
};

static const char next_suffix[] = ".next";

const char *node_validator_name(const struct node *node, uint32_t index) {
    return index < node->members->validator_count ? node->members->validators[index].name : "?";
}

const char *node_own_name(const struct node *node) {
    return node->own != NULL ? node->own->name : "-";
}

const char *node_role(const struct node *node) {
    if (node->self == PBFT_OBSERVER)
        return node->own != NULL ? "observer" : "outsider";
    return node->mute ? "observer" : "validator";
}

/* Keys. */

static enum error_code path_of(const char *path, bool next, char *ret_path, struct error *err) {
    if (snprintf(ret_path, NODE_PATH_BYTES_MAX, "%s%s", path, next ? next_suffix : "") >=
        NODE_PATH_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", path);
    return ERROR_NONE;
}

/* A key that votes has one process on this machine, whatever folder it works in. */
static enum error_code lock_key(struct node *node, struct error *err) {
    char path[NODE_PATH_BYTES_MAX];
    if (snprintf(path, sizeof path, "%s.lock", node->settings->vote_key) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", node->settings->vote_key);
    return file_lock(path, &node->key_lock_fd, err);
}

enum error_code node_load_keys(struct node *node, struct error *err) {
    char path[NODE_PATH_BYTES_MAX];
    TRY(lock_key(node, err));
    TRY(ledger_signer_load(node->settings->vote_key, &node->keys[0].signer, err));
    ledger_signer_public(node->keys[0].signer, node->keys[0].public);
    TRY(path_of(node->settings->vote_key, true, path, err));
    if (access(path, R_OK) == 0) {
        TRY(ledger_signer_load(path, &node->keys[1].signer, err));
        ledger_signer_public(node->keys[1].signer, node->keys[1].public);
    }
    return ERROR_NONE;
}

/* A key for the next epoch that was made while the node runs. */
void node_look_for_next_key(struct node *node) {
    char path[NODE_PATH_BYTES_MAX];
    struct ledger_signer *signer = NULL;
    if (node->keys[1].signer != NULL ||
        path_of(node->settings->vote_key, true, path, NULL) != ERROR_NONE ||
        access(path, R_OK) != 0 || ledger_signer_load(path, &signer, NULL) != ERROR_NONE)
        return; /* it may be half written: it is looked for again */
    struct node_key *key = &node->keys[1];
    *key = (struct node_key){.signer = signer, .since_ms = clock_wall_ms()};
    ledger_signer_public(signer, key->public);
    node_remember_key(node, key);
    log_event(LOG_LEVEL_INFO, "next-key", "file", path, NULL);
}

void node_remember_key(struct node *node, const struct node_key *key) {
    uint8_t entry[NODE_IDENTITY_BYTES];
    node_identity_entry(key, entry);
    votes_add(node->votes, VOTES_IDENTITY, bytes_of(entry, sizeof entry));
}

void node_identity_entry(const struct node_key *key, uint8_t ret_entry[NODE_IDENTITY_BYTES]) {
    memcpy(ret_entry, key->public, SIGNER_KEY_BYTES);
    ret_entry[SIGNER_KEY_BYTES] = key->founding ? 1 : 0;
    wire_store_u64(ret_entry + SIGNER_KEY_BYTES + 1, key->since_ms);
}

/* Since when the votes of our keys are all in the log. ERROR_CORRUPT for an entry of another layout. */
enum error_code node_read_identities(struct node *node, const struct votes_entry *entries,
                                     size_t count, struct error *err) {
    for (int k = 0; k < NODE_KEYS; k++) {
        struct node_key *key = &node->keys[k];
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            struct bytes b = entries[i].bytes;
            if (entries[i].kind != VOTES_IDENTITY)
                continue;
            if (b.len != SIGNER_KEY_BYTES && b.len != NODE_IDENTITY_BYTES)
                return error_set(err, ERROR_CORRUPT, "%s: the vote log names a key of %zu bytes",
                                 node->settings->data, b.len);
            if (key->signer == NULL || memcmp(b.data, key->public, SIGNER_KEY_BYTES) != 0)
                continue;
            known = true;
            key->founding = b.len == SIGNER_KEY_BYTES || b.data[SIGNER_KEY_BYTES] == 1;
            key->since_ms = b.len == SIGNER_KEY_BYTES
                                ? 0
                                : wire_load_u64(b.data + SIGNER_KEY_BYTES + 1);
        }
        if (key->signer == NULL || known)
            continue;
        /* A folder that is as new as the log cannot have lost any vote that counts in epoch 0. */
        key->founding = count == 0 && chain_height(node->chain) == 0;
        key->since_ms = clock_wall_ms();
        node_remember_key(node, key);
        node_remember_head(node);
        if (!key->founding && k == 0)
            log_event(LOG_LEVEL_ERROR, count == 0 ? "vote-log-lost" : "vote-key-new", "folder",
                      node->settings->data, "effect",
                      "this node does not vote before the next epoch: what its key signed before is "
                      "not known",
                      NULL);
    }
    return ERROR_NONE;
}

/* True where no vote of the key in this epoch can be missing in the log: the epoch began after the log
 * did. Its base says so where it is later by two drifts, since a block's time is bound to the clocks by
 * one. That we executed a boundary as it was agreed on would say nothing: old proposals and votes are
 * signed for ever, and a liar can walk a node through them once more. */
static bool votes_are_known(const struct node *node, const struct node_key *key) {
    const struct block_header *base = chain_epoch_base(node->chain);
    return key->since_ms == 0 || (key->founding && base->height == 0) ||
           base->time_ms > key->since_ms + 2ull * node->genesis->parameters.clock_drift_ms_max;
}

/* A block that we executed as it was agreed on, in an epoch in which our votes are known, and that is
 * later than the log's beginning: the log holds all votes of later epochs. By two drifts; but of a
 * founder in epoch 0 by less than one, since all founders begin at once, and a chain whose members
 * changed within two drifts of its first block would have nobody left who votes. */
void node_votes_live(struct node *node) {
    struct node_key *key = &node->keys[node->key_at];
    uint64_t time_ms = chain_head(node->chain)->time_ms;
    uint64_t drift_ms = node->genesis->parameters.clock_drift_ms_max;
    bool founder = key->founding && node->members->epoch == 0;
    if (node->self == PBFT_OBSERVER || node->mute || key->since_ms == 0 ||
        (founder ? time_ms + drift_ms < key->since_ms : time_ms <= key->since_ms + 2 * drift_ms))
        return;
    key->since_ms = 0;
    node_remember_key(node, key);
}

/* Which of our keys the list names, and as what. */
static void choose_role(struct node *node) {
    const struct members *m = node->members;
    node->self = PBFT_OBSERVER;
    node->own = NULL;
    node->mute = false;
    for (int k = 0; k < NODE_KEYS && node->own == NULL; k++) {
        const struct node_key *key = &node->keys[k];
        if (key->signer == NULL)
            continue;
        int validator = members_validator_by_key(m, key->public);
        int observer = members_observer_by_key(m, key->public);
        if (validator < 0 && observer < 0)
            continue;
        node->key_at = k;
        node->own = validator >= 0 ? &m->validators[validator] : &m->observers[observer];
        node->self = validator >= 0 ? (uint32_t)validator : PBFT_OBSERVER;
        node->mute = validator >= 0 && !votes_are_known(node, key);
    }
    if (node->keys[node->key_at].signer == NULL)
        node->key_at = 0;
    node->signer = node->keys[node->key_at].signer;
}

bool node_key_is_ready(const struct node *node, int k) {
    const struct node_key *key = &node->keys[k];
    uint64_t drift_ms = node->genesis->parameters.clock_drift_ms_max;
    return key->signer != NULL &&
           (key->since_ms == 0 || clock_wall_ms() > key->since_ms + 2 * drift_ms);
}

static enum error_code tls_paths(const struct node *node, int at, char *ret_certificate,
                                 char *ret_key, struct error *err) {
    TRY(path_of(node->settings->tls_certificate, at == 1, ret_certificate, err));
    return path_of(node->settings->tls_key, at == 1, ret_key, err);
}

/* The TLS key whose pin stands in our entry; the first one where we have no entry. */
static void choose_tls(struct node *node) {
    char certificate[NODE_PATH_BYTES_MAX];
    char key[NODE_PATH_BYTES_MAX];
    struct hash pin;
    for (int at = 0; node->own != NULL && at < NODE_KEYS; at++)
        if (tls_paths(node, at, certificate, key, NULL) == ERROR_NONE &&
            access(certificate, R_OK) == 0 && certificate_pin(certificate, &pin, NULL) == 0 &&
            hash_equal(&pin, &node->own->tls_pin)) {
            node->tls_at = at;
            return;
        }
}

enum error_code node_tls_paths(const struct node *node, char *ret_certificate, char *ret_key,
                               struct error *err) {
    return tls_paths(node, node->tls_at, ret_certificate, ret_key, err);
}

static enum error_code use_tls(struct node *node, struct error *err) {
    char certificate[NODE_PATH_BYTES_MAX];
    char key[NODE_PATH_BYTES_MAX];
    TRY(node_tls_paths(node, certificate, key, err));
    return mesh_set_identity(node->mesh, certificate, key, err);
}

/* Who lags by the epoch in which its key was replaced is known to the others by the new one only. */
void node_try_other_tls(struct node *node, uint64_t now_ms) {
    char certificate[NODE_PATH_BYTES_MAX];
    char key[NODE_PATH_BYTES_MAX];
    struct mesh_totals totals;
    struct error err;
    if (node->mesh == NULL)
        return;
    mesh_totals(node->mesh, &totals);
    if (totals.peers_up > 0 || node->lonely_ms == 0)
        node->lonely_ms = now_ms;
    if (now_ms - node->lonely_ms < LONELY_MS ||
        tls_paths(node, 1 - node->tls_at, certificate, key, NULL) != ERROR_NONE ||
        access(certificate, R_OK) != 0 || access(key, R_OK) != 0)
        return;
    node->lonely_ms = now_ms;
    node->tls_at = 1 - node->tls_at;
    if (use_tls(node, &err) != ERROR_NONE)
        log_error(LOG_LEVEL_WARNING, "tls-key", &err);
}

static void take_next_file(const char *path) {
    char next[NODE_PATH_BYTES_MAX];
    if (path_of(path, true, next, NULL) == ERROR_NONE && access(next, F_OK) == 0 &&
        (rename(next, path) != 0 || file_sync_parent(path, NULL) != ERROR_NONE))
        log_event(LOG_LEVEL_WARNING, "next-key-stays", "file", next, NULL);
}

/* The new keys take the old ones' places, and the old ones are gone: nobody may sign with them in an
 * epoch that is over. At a start, too: the epoch may have begun just before the node died, with none
 * of the files in its place or some of them. */
void node_promote_keys(struct node *node) {
    if (node->key_at == 1) {
        take_next_file(node->settings->vote_key);
        ledger_signer_free(node->keys[0].signer);
        node->keys[0] = node->keys[1];
        node->keys[1] = (struct node_key){.signer = NULL};
        node->key_at = 0;
    }
    if (node->tls_at == 1 && node->own != NULL) {
        take_next_file(node->settings->tls_key);
        take_next_file(node->settings->tls_certificate);
        node->tls_at = 0;
    }
}

/* The core. */

static bool header_read(void *context, struct bytes header, struct pbft_header *ret_header) {
    const struct node *node = context;
    struct block_header h;
    if (block_header_decode(header, &h, NULL) != ERROR_NONE ||
        !hash_equal(&h.chain, &node->genesis->chain))
        return false;
    bool last = h.epoch == node->members->epoch && !hash_equal(&h.members, &node->members->hash);
    *ret_header = (struct pbft_header){h.height, h.epoch, h.previous, h.time_ms, last};
    return true;
}

static void sign(void *context, const struct hash *statement,
                 uint8_t ret_signature[PBFT_SIGNATURE_BYTES]) {
    const struct node *node = context;
    ledger_signer_sign(node->signer, statement, ret_signature);
}

static bool verify(void *context, uint32_t signer, const struct hash *statement,
                   const uint8_t signature[PBFT_SIGNATURE_BYTES]) {
    struct node *node = context;
    node->signatures_asked++;
    return signer < node->members->validator_count &&
           signature_valid(node->members->validators[signer].vote_key, statement, signature);
}

enum error_code node_new_core(struct node *node, const struct bytes *records, size_t count,
                              struct error *err) {
    uint8_t base_raw[BLOCK_HEADER_BYTES];
    uint8_t head_raw[BLOCK_HEADER_BYTES];
    block_header_encode(chain_epoch_base(node->chain), base_raw);
    struct application_info info; /* where the chain stands is where the core goes on */
    application_info(node->chain, &info);
    block_header_encode(info.header, head_raw);
    bool votes = node->self != PBFT_OBSERVER && !node->mute;
    const struct genesis_parameters *p = &node->genesis->parameters;
    struct pbft_config config;
    pbft_config_defaults(&config);
    config.self = votes ? node->self : PBFT_OBSERVER;
    config.n = info.members->validator_count;
    config.domain = (struct pbft_domain){node->genesis->chain, info.members->epoch};
    config.window = p->window;
    config.rotation = p->rotate_blocks;
    config.timeout_ms = p->view_timeout_ms;
    config.timeout_ms_max = p->view_timeout_ms * TIMEOUT_GROWTH_MAX;
    config.resend_ms = RESEND_MS;
    config.status_ms = STATUS_MS;
    config.drift_ms_max = p->clock_drift_ms_max;
    config.base_header = bytes_of(base_raw, sizeof base_raw);
    config.committed_header = bytes_of(head_raw, sizeof head_raw);
    if (info.height > chain_epoch_base(node->chain)->height)
        config.committed_certificate = info.certificate;
    config.records = votes ? records : NULL; /* who does not vote has none of its own */
    config.record_count = votes ? count : 0;
    config.host = (struct pbft_host){node, header_read, sign, verify};
    TRY(pbft_new(&config, &node->pbft, err));
    node_doubt_begin(node);
    return ERROR_NONE;
}

void node_choose_identity(struct node *node) {
    node->members = chain_members(node->chain);
    choose_role(node);
    choose_tls(node);
}

/* Who waits for a transaction that the new list's rules shut out is told so. */
static void refuse_shut_out(struct node *node) {
    struct error err;
    struct pool_cursor cursor = {0, 0};
    for (struct pool_entry *e; (e = pool_each(node->pool, &cursor)) != NULL;) {
        if (members_submitter_by_key(node->members, e->checked->tx.submitter) >= 0)
            continue;
        error_set(&err, ERROR_TX_REJECTED,
                  "transaction: its submitter is not among the members of epoch %llu",
                  (unsigned long long)node->members->epoch);
        for (struct pool_waiter *w = e->waiters; w != NULL; w = w->next)
            local_refuse(node->local, w->client, w->request, &err);
    }
    pool_members(node->pool, node->members);
}

void node_forget_core(struct node *node) {
    while (node->event_count > 0) {
        struct own_event *own = &node->events[node->event_first];
        buffer_done(&own->header);
        buffer_done(&own->certificate);
        node->event_first = (node->event_first + 1) % NODE_EVENTS_MAX;
        node->event_count--;
    }
    for (size_t i = 0; i < sizeof node->wanted / sizeof node->wanted[0]; i++)
        node->wanted[i].active = false;
    payloads_forget_senders(node->payloads);
    node->proposal.open = false;
    node->pending_told = false;
    node->fetch.fed = chain_height(node->chain);
    node->fetch.asked_to = chain_height(node->chain);
    node_inbox_epoch(node);
    /* What is kept by a validator's number is of another one now. */
    memset(node->budgets, 0, sizeof node->budgets);
    memset(node->equivocations, 0, sizeof node->equivocations);
    memset(node->watch.clock, 0, sizeof node->watch.clock);
    memset(node->fetch.refused, 0, sizeof node->fetch.refused);
    memset(node->fetch.asked_of, 0, sizeof node->fetch.asked_of);
    node->epoch_over = false;
    pbft_free(node->pbft);
    node->pbft = NULL;
}

void node_log_suspended(const struct node *node) {
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        if (node->members->validators[i].suspended)
            log_event(LOG_LEVEL_ERROR, "suspended", "validator", node->members->validators[i].name,
                      "effect", "it equivocated, and without it fewer than four would be left", NULL);
}

void node_next_epoch(struct node *node) {
    struct error err;
    const char *before = node_role(node);
    node_forget_core(node);
    node_choose_identity(node);
    refuse_shut_out(node);
    enum error_code code = ERROR_NONE;
    if (node->mesh != NULL)
        code = use_tls(node, &err);
    if (code == ERROR_NONE)
        code = node_open_mesh(node, &err);
    if (code != ERROR_NONE) /* it goes on with the peers that it has, and is seen */
        log_error(LOG_LEVEL_ERROR, "mesh", &err);
    node_promote_keys(node);
    code = node_new_core(node, NULL, 0, &err);
    if (code != ERROR_NONE) {
        node_fail(node, code, &err);
        return;
    }
    log_event(LOG_LEVEL_INFO, "epoch", "epoch", log_u64(node->members->epoch), "base",
              log_u64(chain_height(node->chain)), "validators",
              log_u64(node->members->validator_count), "role", node_role(node), "role_before",
              before, NULL);
    node_log_suspended(node);
    node_tell_connected(node);
}

/* Evidence: whoever saw it submits it; the chain judges. */

/* True while the chain would still do something about it. */
static bool evidence_counts(const struct node *node, const struct pbft_evidence *e) {
    const struct members *then = chain_members_of(node->chain, e->domain.epoch);
    if (then == NULL || e->signer >= then->validator_count)
        return false;
    int now = members_validator_by_key(node->members, then->validators[e->signer].vote_key);
    return now >= 0 && !(node->members->validators[now].suspended &&
                         node->members->validator_count <= MEMBERS_EXPEL_LEAST);
}

static bool evidence_read(const uint8_t *bytes, struct pbft_evidence *ret_evidence) {
    return pbft_evidence_decode(bytes_of(bytes, PBFT_EVIDENCE_BYTES), ret_evidence, NULL) ==
           ERROR_NONE;
}

/* One of each signer is enough, and leaves room for the others'. */
void node_keep_evidence(struct node *node, struct bytes evidence) {
    struct pbft_evidence e;
    struct pbft_evidence kept;
    if (evidence.len != PBFT_EVIDENCE_BYTES || node->evidence_count == NODE_EVIDENCE_MAX ||
        !evidence_read(evidence.data, &e) || !evidence_counts(node, &e))
        return;
    for (size_t i = 0; i < node->evidence_count; i++)
        if (evidence_read(node->evidence[i], &kept) && kept.signer == e.signer &&
            kept.domain.epoch == e.domain.epoch)
            return;
    memcpy(node->evidence[node->evidence_count++], evidence.data, PBFT_EVIDENCE_BYTES);
}

static enum error_code submit_own(struct node *node, enum transaction_type type,
                                  struct bytes body, struct error *err) {
    SCOPED_BUFFER struct buffer bytes;
    buffer_init(&bytes, TRANSACTION_BYTES_MAX);
    struct state_submitter self;
    struct checked_transaction *checked = NULL;
    struct pool_entry *entry = NULL;
    TRY(chain_submitter(node->chain, node->keys[node->key_at].public, &self, err));
    struct transaction tx = {.type = type,
                             .chain = node->genesis->chain,
                             .sequence = self.next_sequence,
                             .wall_ms = clock_wall_ms(),
                             .body = body};
    TRY(transaction_sign(node->signer, &tx, &bytes, err));
    TRY(application_check(node->chain, buffer_bytes(&bytes), &checked, err));
    uint64_t now_ms = node_now_ms();
    if (pool_add(node->pool, checked, now_ms, chain_height(node->chain), &entry) != POOL_ADDED) {
        checked_transaction_free(checked); /* one of ours waits already: again after it */
        return ERROR_NONE;
    }
    entry->sent_ms = now_ms;
    if (node->mesh != NULL)
        wire_bytes(&node->outgoing, buffer_bytes(&bytes));
    return ERROR_NONE;
}

void node_submit_evidence(struct node *node) {
    struct error err;
    struct pbft_evidence e;
    while (node->evidence_count > 0 &&
           !(evidence_read(node->evidence[0], &e) && evidence_counts(node, &e))) {
        node->evidence_count--;
        memmove(node->evidence[0], node->evidence[1],
                node->evidence_count * sizeof node->evidence[0]);
    }
    if (node->evidence_count == 0 ||
        members_submitter_by_key(node->members, node->keys[node->key_at].public) < 0)
        return;
    if (submit_own(node, TRANSACTION_EVIDENCE,
                   bytes_of(node->evidence[0], PBFT_EVIDENCE_BYTES), &err) != ERROR_NONE)
        log_error(LOG_LEVEL_WARNING, "evidence", &err);
}
