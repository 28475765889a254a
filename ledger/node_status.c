/* What a node tells of itself: a JSON object for people and programs, text for metrics. */
#include "ledger/node_inside.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/text.h"

static json_t *hash_json(const struct hash *hash) {
    char text[2 * HASH_BYTES + 1];
    text_hex(hash->byte, HASH_BYTES, text);
    return json_string(text);
}

static json_t *time_json(uint64_t wall_ms) {
    char text[CLOCK_RFC3339_BYTES];
    clock_rfc3339(wall_ms, text);
    return json_string(text);
}

static json_int_t number(uint64_t value) {
    return (json_int_t)value;
}

static json_t *peer_json(const struct node *node, const struct pbft_status *status, uint32_t i) {
    const struct member_node *v = &node->members->validators[i];
    json_t *peer = json_object();
    json_object_set_new(peer, "name", json_string(v->name));
    if (v->suspended)
        json_object_set_new(peer, "suspended", json_true());
    if (i == node->self) {
        json_object_set_new(peer, "self", json_true());
        json_object_set_new(peer, "height", json_integer(number(status->committed)));
        return peer;
    }
    struct mesh_stats stats;
    bool known = node->mesh != NULL && mesh_stats(node->mesh, i, &stats, NULL) == ERROR_NONE;
    json_object_set_new(peer, "up", json_boolean(known && stats.up));
    json_object_set_new(peer, "height", json_integer(number(status->peer_heights[i])));
    json_object_set_new(peer, "view", json_integer(number(status->peer_views[i])));
    uint64_t lag = status->committed > status->peer_heights[i]
                       ? status->committed - status->peer_heights[i]
                       : 0;
    json_object_set_new(peer, "lag", json_integer(number(lag)));
    if (node->fetch.refused[i] > 0)
        json_object_set_new(peer, "transfer_refused",
                            json_integer(number(node->fetch.refused[i])));
    if (!known)
        return peer;
    json_object_set_new(peer, "rtt_us", json_integer(stats.rtt_us));
    json_object_set_new(peer, "queue_bytes",
                        json_integer((json_int_t)stats.lane[MESH_VOTES].queue_bytes +
                                     stats.lane[MESH_BULK].queue_bytes));
    if (stats.last_error.code != ERROR_NONE)
        json_object_set_new(peer, "last_error", json_string(stats.last_error.message));
    return peer;
}

static void warn_json(json_t *warnings, const char *what, const char *text) {
    json_t *warning = json_object();
    json_object_set_new(warning, "what", json_string(what));
    json_object_set_new(warning, "text", json_string(text));
    json_array_append_new(warnings, warning);
}

static void warn_clock(json_t *warnings, const char *name, int64_t ahead_ms) {
    char text[256];
    (void)snprintf(text, sizeof text, "the clock of %s is %llu ms %s the others'", name,
                   (unsigned long long)llabs(ahead_ms), ahead_ms < 0 ? "behind" : "ahead of");
    warn_json(warnings, "clock-skew", text);
}

/* What lasts of the troubles that node_watch.c logs. */
static json_t *warnings_json(const struct node *node) {
    const struct node_watch *watch = &node->watch;
    json_t *warnings = json_array();
    char text[256];
    if (watch->certificate_stage < CERTIFICATE_STAGES) {
        char end[CLOCK_RFC3339_BYTES];
        clock_rfc3339(watch->certificate_end_ms, end);
        (void)snprintf(text, sizeof text, "the TLS certificate %s at %s",
                       watch->certificate_stage == 0 ? "ended" : "ends", end);
        warn_json(warnings, watch->certificate_stage == 0 ? "certificate-ended"
                                                          : "certificate-ends", text);
    }
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        if (watch->clock[i].off)
            warn_clock(warnings, node->members->validators[i].name,
                       watch->skew_ms + (i == node->self ? 0 : watch->clock[i].ahead_ms));
    for (uint32_t i = 0; i < node->members->validator_count; i++) {
        if (!node->members->validators[i].suspended)
            continue;
        (void)snprintf(text, sizeof text,
                       "%s equivocated, and stays since fewer than %d would be left without it: replace "
                       "its key, or remove it",
                       node->members->validators[i].name, MEMBERS_EXPEL_LEAST);
        warn_json(warnings, "suspended", text);
    }
    if (node->mute)
        warn_json(warnings, "votes-unknown",
                  "this validator does not vote before the next epoch: what its key signed is not all in "
                  "its vote log");
    if (watch->disk_low) {
        (void)snprintf(text, sizeof text, "the disk of the data folder has %llu MiB free",
                       (unsigned long long)(watch->disk_free_bytes >> 20));
        warn_json(warnings, "disk-low", text);
    }
    return warnings;
}

static uint32_t suspended(const struct node *node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        count += node->members->validators[i].suspended ? 1 : 0;
    return count;
}

static json_t *observers_json(const struct node *node) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < node->members->observer_count; i++) {
        json_t *observer = json_object();
        json_object_set_new(observer, "name", json_string(node->members->observers[i].name));
        json_object_set_new(observer, "up", json_boolean(node->mesh != NULL &&
                                                         mesh_is_up(node->mesh,
                                                                    MESH_OBSERVER_FIRST + i)));
        json_array_append_new(list, observer);
    }
    return list;
}

/* How many records each hospital has on the chain. */
static enum error_code submitters_json(struct node *node, json_t *list, struct error *err) {
    for (uint32_t i = 0; i < node->members->submitter_count; i++) {
        const struct member_submitter *s = &node->members->submitters[i];
        struct state_submitter counts;
        if (s->removed || s->role == MEMBER_NODE)
            continue;
        TRY(chain_submitter(node->chain, s->key, &counts, err));
        json_t *one = json_object();
        json_object_set_new(one, "name", json_string(s->name));
        json_object_set_new(one, "transactions", json_integer(number(counts.next_sequence - 1)));
        json_object_set_new(one, "records", json_integer(number(counts.records)));
        json_object_set_new(one, "versions", json_integer(number(counts.versions)));
        json_array_append_new(list, one);
    }
    return ERROR_NONE;
}

/* Whether it votes, is a validator that still asks whether it may, or does not. */
static const char *votes_word(const struct node *node) {
    if (node->self == PBFT_OBSERVER || node->mute)
        return "no";
    return node->doubt.open ? "asking" : "yes";
}

static json_t *status_json(struct node *node) {
    struct pbft_status status;
    pbft_status(node->pbft, &status);
    const struct block_header *head = chain_head(node->chain);
    struct hash hash = chain_head_hash(node->chain);
    uint64_t now = clock_wall_ms();
    json_t *root = json_object();
    json_object_set_new(root, "chain", json_string(node->genesis->name));
    json_object_set_new(root, "chain_id", hash_json(&node->genesis->chain));
    json_object_set_new(root, "validator",
                        json_string(node_own_name(node)));
    json_object_set_new(root, "role", json_string(node_role(node)));
    json_object_set_new(root, "votes", json_string(votes_word(node)));
    json_object_set_new(root, "height", json_integer(number(head->height)));
    json_object_set_new(root, "head", hash_json(&hash));
    json_object_set_new(root, "head_time", time_json(head->time_ms));
    json_object_set_new(root, "head_age_ms",
                        json_integer(number(now > head->time_ms ? now - head->time_ms : 0)));
    json_object_set_new(root, "leaves", json_integer(number(head->log_size)));
    json_object_set_new(root, "log_root", hash_json(&head->log_root));
    json_object_set_new(root, "view", json_integer(number(status.view)));
    json_object_set_new(root, "view_state",
                        json_string(status.changing ? "changing" : "normal"));
    json_object_set_new(root, "last_view_change", json_string(pbft_cause_name(status.cause)));
    if (node->watch.view_changed_ms != 0)
        json_object_set_new(root, "last_view_change_time", time_json(node->watch.view_changed_ms));
    json_object_set_new(root, "leader",
                        json_string(node_validator_name(node, status.leader)));
    json_object_set_new(root, "epoch", json_integer(number(node->members->epoch)));
    json_object_set_new(root, "epoch_base",
                        json_integer(number(chain_epoch_base(node->chain)->height)));
    json_object_set_new(root, "members_hash", hash_json(&node->members->hash));
    json_object_set_new(root, "key_ready", json_boolean(node_key_is_ready(node, node->key_at)));
    json_object_set_new(root, "next_key", json_boolean(node->keys[1].signer != NULL));
    json_object_set_new(root, "next_key_ready", json_boolean(node_key_is_ready(node, 1)));
    json_object_set_new(root, "suspended", json_integer(suspended(node)));
    json_object_set_new(root, "evidence_waiting", json_integer((json_int_t)node->evidence_count));
    json_object_set_new(root, "validators", json_integer(node->members->validator_count));
    json_object_set_new(root, "quorum", json_integer(status.quorum));
    json_object_set_new(root, "faults_tolerated", json_integer(status.faults_tolerated));
    json_object_set_new(root, "pool_transactions",
                        json_integer((json_int_t)pool_count(node->pool)));
    json_object_set_new(root, "pool_bytes", json_integer((json_int_t)pool_bytes(node->pool)));
    json_object_set_new(root, "clock_skew_ms", json_integer((json_int_t)node->watch.skew_ms));
    json_object_set_new(root, "disk_free_bytes",
                        json_integer(number(node->watch.disk_free_bytes)));
    json_object_set_new(root, "certificate_end", time_json(node->watch.certificate_end_ms));
    json_object_set_new(root, "warnings", warnings_json(node));
    json_t *peers = json_array();
    for (uint32_t i = 0; i < node->members->validator_count; i++)
        json_array_append_new(peers, peer_json(node, &status, i));
    json_object_set_new(root, "peers", peers);
    json_object_set_new(root, "observers", observers_json(node));
    return root;
}

enum error_code node_status_json(struct node *node, struct buffer *out, struct error *err) {
    json_t *root = status_json(node);
    json_t *submitters = json_array();
    enum error_code code = submitters_json(node, submitters, err);
    json_object_set_new(root, "submitters", submitters);
    if (code != ERROR_NONE) {
        json_decref(root);
        return code;
    }
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL)
        return error_set(err, ERROR_NO_MEMORY, "status: no memory");
    buffer_append_text(out, text);
    free(text);
    return ERROR_NONE;
}

static void metric(struct buffer *out, const char *name, const char *type, const char *help,
                   uint64_t value) {
    buffer_append_format(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
                         (unsigned long long)value);
}

static void submitter_metrics(struct node *node, struct buffer *out) {
    buffer_append_text(out, "# HELP renkei_node_records Records that a hospital has on the chain.\n"
                            "# TYPE renkei_node_records gauge\n");
    for (uint32_t i = 0; i < node->members->submitter_count; i++) {
        const struct member_submitter *s = &node->members->submitters[i];
        struct state_submitter counts;
        if (!s->removed && s->role != MEMBER_NODE &&
            chain_submitter(node->chain, s->key, &counts, NULL) == ERROR_NONE)
            buffer_append_format(out, "renkei_node_records{submitter=\"%s\"} %llu\n", s->name,
                                 (unsigned long long)counts.records);
    }
}

void node_metrics(struct node *node, struct buffer *out) {
    struct pbft_status status;
    pbft_status(node->pbft, &status);
    const struct block_header *head = chain_head(node->chain);
    uint64_t now = clock_wall_ms();
    struct mesh_totals totals = {0};
    if (node->mesh != NULL)
        mesh_totals(node->mesh, &totals);
    metric(out, "renkei_node_height", "gauge", "Height of the last committed block.",
           head->height);
    metric(out, "renkei_node_head_age_ms", "gauge", "Age of the last committed block.",
           now > head->time_ms ? now - head->time_ms : 0);
    metric(out, "renkei_node_leaves", "gauge", "Leaves in the log.", head->log_size);
    metric(out, "renkei_node_view", "gauge", "View of the protocol.", status.view);
    metric(out, "renkei_node_view_changes_total", "counter", "View changes begun.",
           node->count.view_changes);
    metric(out, "renkei_node_epoch", "gauge", "Epoch: how often the members have changed.",
           node->members->epoch);
    metric(out, "renkei_node_votes", "gauge", "1 where this node votes in this epoch.",
           node->self != PBFT_OBSERVER && node_may_sign(node));
    metric(out, "renkei_node_votes_unknown", "gauge",
           "1 where this validator must not vote in this epoch: its vote log lacks votes of its key.",
           node->mute);
    metric(out, "renkei_node_suspended", "gauge",
           "Validators that equivocated and stay only because too few would be left.",
           suspended(node));
    metric(out, "renkei_node_observers", "gauge", "Observers of the chain.",
           node->members->observer_count);
    metric(out, "renkei_node_validators", "gauge", "Validators of the chain.",
           node->members->validator_count);
    metric(out, "renkei_node_peers_up", "gauge", "Validators that are connected.",
           totals.peers_up);
    metric(out, "renkei_node_blocks_total", "counter", "Blocks committed since the start.",
           node->count.blocks);
    metric(out, "renkei_node_transactions_total", "counter",
           "Transactions committed since the start.", node->count.transactions);
    metric(out, "renkei_node_transactions_failed_total", "counter",
           "Of these, without effect.", node->count.failed_transactions);
    metric(out, "renkei_node_submissions_refused_total", "counter", "Submissions refused.",
           node->count.refused);
    metric(out, "renkei_node_pool_transactions", "gauge", "Transactions that wait.",
           pool_count(node->pool));
    metric(out, "renkei_node_pool_bytes", "gauge", "Their bytes.", pool_bytes(node->pool));
    metric(out, "renkei_node_pool_ring_bytes", "gauge",
           "What the pool takes beside them, for submitters that were busy in the last minute.",
           pool_ring_bytes(node->pool));
    metric(out, "renkei_node_vote_log_bytes", "gauge", "Size of the vote log.",
           votes_bytes(node->votes));
    metric(out, "renkei_node_vote_syncs_total", "counter", "Syncs of the vote log.",
           node->count.syncs);
    metric(out, "renkei_node_block_bytes", "gauge", "Bytes of all stored blocks.",
           store_block_bytes(chain_store(node->chain)));
    metric(out, "renkei_node_peer_faults_total", "counter",
           "Messages that no honest node sends.", node->count.faults);
    metric(out, "renkei_node_equivocations_total", "counter", "Equivocations seen.",
           node->count.evidence);
    metric(out, "renkei_node_bad_transactions_total", "counter",
           "Invalid transactions that validators passed on.", node->count.bad_transactions);
    metric(out, "renkei_node_proposals_incomplete_total", "counter",
           "Proposals of which transactions were missing and asked for.",
           node->count.missing_asked);
    metric(out, "renkei_node_blocks_asked_total", "counter",
           "Times that a whole proposed block was asked for.", node->count.blocks_asked);
    metric(out, "renkei_node_over_budget_total", "counter",
           "Messages of peers that were not looked at: beyond their share, or while too much waited.",
           node->count.over_budget);
    metric(out, "renkei_node_peer_losses_total", "counter", "Times that a connected peer was lost.",
           node->count.peer_losses);
    metric(out, "renkei_node_strangers_total", "counter", "Connections turned away.",
           node->count.strangers);
    metric(out, "renkei_node_signatures_checked_total", "counter", "Signatures of votes checked.",
           status.signatures_checked);
    uint64_t end_ms = node->watch.certificate_end_ms;
    metric(out, "renkei_node_certificate_left_seconds", "gauge",
           "Until the TLS certificate ends.", end_ms > now ? (end_ms - now) / 1000 : 0);
    metric(out, "renkei_node_clock_skew_ms", "gauge",
           "Distance of the clock from the middle one of all validators.",
           (uint64_t)llabs(node->watch.skew_ms));
    metric(out, "renkei_node_disk_free_bytes", "gauge", "Free space for the data folder.",
           node->watch.disk_free_bytes);
    submitter_metrics(node, out);
    metric(out, "renkei_node_clients", "gauge", "Clients of the local socket.",
           local_clients(node->local));
}
