#include "ledger/pbft/pbft.h"

#include <assert.h>
#include <stdlib.h>

#include "ledger/pbft/internal.h"

enum {
    TIMEOUT_DEFAULT_MS = 1000,
    TIMEOUT_DEFAULT_MS_MAX = 10000,
    RESEND_DEFAULT_MS = 250,
    STATUS_DEFAULT_MS = 1000,
    DRIFT_DEFAULT_MS_MAX = 30000,
    INTERVAL_MS_MAX = 3600 * 1000,
};

void pbft_config_defaults(struct pbft_config *ret_config) {
    *ret_config = (struct pbft_config){
        .window = 4,
        .timeout_ms = TIMEOUT_DEFAULT_MS,
        .timeout_ms_max = TIMEOUT_DEFAULT_MS_MAX,
        .resend_ms = RESEND_DEFAULT_MS,
        .status_ms = STATUS_DEFAULT_MS,
        .drift_ms_max = DRIFT_DEFAULT_MS_MAX,
    };
}

uint32_t pbft_leader(uint32_t n, uint64_t rotation, uint64_t view, uint64_t height) {
    uint64_t turn = rotation == 0 ? 0 : height / rotation;
    return (uint32_t)((view % n + turn % n) % n);
}

const char *pbft_cause_name(enum pbft_cause cause) {
    static const char *const names[] = {
        [PBFT_CAUSE_NONE] = "none",
        [PBFT_CAUSE_TIMEOUT] = "timeout",
        [PBFT_CAUSE_NEW_VIEW_TIMEOUT] = "new-view-timeout",
        [PBFT_CAUSE_JOIN] = "join",
        [PBFT_CAUSE_INVALID] = "invalid-block",
        [PBFT_CAUSE_EQUIVOCATION] = "equivocation",
        [PBFT_CAUSE_CENSORSHIP] = "censorship",
        [PBFT_CAUSE_NEW_VIEW] = "new-view",
        [PBFT_CAUSE_READMIT] = "readmit",
    };
    return (unsigned)cause < sizeof names / sizeof names[0] ? names[cause] : "unknown";
}

const char *pbft_type_name(enum pbft_type type) {
    static const char *const names[] = {
        [PBFT_PROPOSE] = "propose",         [PBFT_PREPARE] = "prepare",
        [PBFT_COMMIT] = "commit",           [PBFT_VIEW_CHANGE] = "view-change",
        [PBFT_NEW_VIEW] = "new-view",       [PBFT_STATUS] = "status",
    };
    return (unsigned)type < sizeof names / sizeof names[0] && names[type] != NULL ? names[type]
                                                                                  : "unknown";
}

/* ---- helpers ---- */

void *pbft__must(void *memory) {
    if (memory == NULL)
        abort();
    return memory;
}

struct pbft_effect *pbft__effect(struct pbft *p, enum pbft_effect_kind kind) {
    if (p->effect_count == p->effect_capacity) {
        p->effect_capacity = p->effect_capacity == 0 ? 16 : p->effect_capacity * 2;
        p->effects = pbft__must(realloc(p->effects, p->effect_capacity * sizeof *p->effects));
    }
    struct pbft_effect *effect = &p->effects[p->effect_count++];
    *effect = (struct pbft_effect){.kind = kind};
    return effect;
}

struct bytes pbft__keep(struct pbft *p, struct bytes data) {
    struct bytes kept = arena_bytes(p->arena, data);
    pbft__must((void *)(uintptr_t)kept.data);
    return kept;
}

void pbft__fault(struct pbft *p, uint32_t from, const char *what) {
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_FAULT);
    effect->fault.from = from;
    effect->fault.what = what;
}

bool pbft__observer(const struct pbft *p) {
    return p->config.self == PBFT_OBSERVER;
}

/* What the base says of its own epoch is past. */
bool pbft__ended(const struct pbft *p) {
    return p->committed.header.last && p->committed.header.height > p->base.header.height;
}

void pbft__sign(struct pbft *p, const struct hash *statement, uint8_t *ret_signature) {
    assert(!pbft__observer(p));
    p->signatures_made++;
    p->config.host.sign(p->config.host.context, statement, ret_signature);
}

bool pbft__verify(struct pbft *p, uint32_t signer, const struct hash *statement,
                  const uint8_t *signature) {
    p->signatures_checked++;
    return p->config.host.verify(p->config.host.context, signer, statement, signature);
}

void pbft__send_raw(struct pbft *p, uint32_t to, enum pbft_lane lane, struct bytes message) {
    if (p->config.n == 1 && to == PBFT_EVERYBODY)
        return;
    assert(to == PBFT_EVERYBODY || to < p->config.n);
    struct bytes kept = pbft__keep(p, message);
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_SEND);
    effect->send.to = to;
    effect->send.lane = lane;
    effect->send.message = kept;
}

void pbft__send(struct pbft *p, uint32_t to, const struct message *message) {
    buffer_clear(&p->scratch);
    pbft__message_encode(message, &p->scratch);
    if (message->type != PBFT_STATUS)
        buffer_append(&p->scratch, message->signature, PBFT_SIGNATURE_BYTES);
    /* Sizes are bounded by the window and the number of validators: message.c, static assert. */
    assert(!p->scratch.failed);
    bool bulk = message->type == PBFT_VIEW_CHANGE || message->type == PBFT_NEW_VIEW;
    pbft__send_raw(p, to, bulk ? PBFT_LANE_BULK : PBFT_LANE_VOTE, buffer_bytes(&p->scratch));
}

void pbft__send_status(struct pbft *p, uint32_t to) {
    if (pbft__observer(p))
        return;
    struct message m = {
        .type = PBFT_STATUS,
        .signer = (uint16_t)p->config.self,
        .epoch = p->config.domain.epoch,
        .view = p->view,
        .height = p->committed.header.height,
        .digest = p->committed.digest,
        .changing = p->changing,
    };
    pbft__send(p, to, &m);
}

/* Backoff by 3/2 a failed view, with a cap: uncapped doubling reached over an hour elsewhere. */
uint32_t pbft__timeout(const struct pbft *p) {
    uint64_t timeout_ms = p->config.timeout_ms;
    for (uint32_t i = 0; i < p->attempts && timeout_ms < p->config.timeout_ms_max; i++)
        timeout_ms += timeout_ms / 2;
    return (uint32_t)(timeout_ms < p->config.timeout_ms_max ? timeout_ms
                                                            : p->config.timeout_ms_max);
}

struct slot *pbft__slot(struct pbft *p, uint64_t height) {
    uint64_t committed = p->committed.header.height;
    if (height <= committed || height - committed > p->receive)
        return NULL;
    struct slot *s = &p->slots[height % p->receive];
    assert(s->height == height);
    return s;
}

const char *pbft__block_read(const struct pbft *p, struct bytes header, struct block *ret_block) {
    if (header.len > PBFT_HEADER_BYTES_MAX)
        return "a header goes past its limit";
    if (!p->config.host.header_read(p->config.host.context, header, &ret_block->header))
        return "a header is not well formed";
    if (ret_block->header.epoch != p->config.domain.epoch)
        return "a header is of another epoch";
    if (ret_block->header.height > PBFT_HEIGHT_MAX)
        return "a header's height is out of range";
    /* The digest is always computed anew from the bytes, never taken from a message: elsewhere a
     * decoded message's hash was believed, and forged blocks went through. */
    ret_block->digest = pbft_block_digest(header);
    ret_block->header_len = (uint32_t)header.len;
    memcpy(ret_block->header_bytes, header.data, header.len);
    return NULL;
}

const char *pbft__certificate_check(struct pbft *p, struct bytes bytes, enum pbft_type type,
                                    struct pbft_certificate *ret_certificate) {
    if (pbft_certificate_decode(bytes, ret_certificate, NULL) != ERROR_NONE)
        return "a certificate is malformed";
    if (ret_certificate->ballot.type != type)
        return "a certificate is of the wrong type";
    struct hash id = sha256_of(bytes);
    for (uint32_t i = 0; i < VERIFIED_MAX; i++)
        if (hash_equal(&p->verified[i], &id))
            return NULL;
    p->signatures_checked += ret_certificate->seal_count;
    if (pbft_certificate_verify(ret_certificate, &p->config.domain, p->config.n,
                                p->config.host.verify, p->config.host.context,
                                NULL) != ERROR_NONE)
        return "a certificate does not verify";
    p->verified[p->verified_next++ % VERIFIED_MAX] = id;
    return NULL;
}

void pbft__heard_height(struct pbft *p, uint32_t peer, uint64_t height) {
    if (peer < p->config.n && height > p->peers[peer].height)
        p->peers[peer].height = height;
}

/* ---- birth and end ---- */

static enum error_code config_check(const struct pbft_config *c, struct error *err) {
    if (c->n < 1 || c->n > PBFT_VALIDATORS_MAX)
        return error_set(err, ERROR_CONFIG, "validators: found %u, expected 1 to %d", c->n,
                         PBFT_VALIDATORS_MAX);
    if (c->self != PBFT_OBSERVER && c->self >= c->n)
        return error_set(err, ERROR_CONFIG, "own index: found %u, expected less than %u", c->self,
                         c->n);
    if (c->window < 1 || c->window > PBFT_WINDOW_MAX)
        return error_set(err, ERROR_CONFIG, "window: found %u, expected 1 to %d", c->window,
                         PBFT_WINDOW_MAX);
    if (c->timeout_ms < 1 || c->timeout_ms_max < c->timeout_ms ||
        c->timeout_ms_max > INTERVAL_MS_MAX)
        return error_set(err, ERROR_CONFIG,
                         "view timeout: found %u to %u ms, expected ascending within 1 to %d",
                         c->timeout_ms, c->timeout_ms_max, INTERVAL_MS_MAX);
    if (c->resend_ms < 1 || c->resend_ms > INTERVAL_MS_MAX || c->status_ms < 1 ||
        c->status_ms > INTERVAL_MS_MAX)
        return error_set(err, ERROR_CONFIG,
                         "resend and status interval: found %u and %u ms, expected 1 to %d",
                         c->resend_ms, c->status_ms, INTERVAL_MS_MAX);
    return ERROR_NONE;
}

/* The base may be of the epoch before: only its height and digest matter. */
static enum error_code read_committed(struct pbft *p, struct error *err) {
    const struct pbft_config *c = &p->config;
    if (c->base_header.len > PBFT_HEADER_BYTES_MAX ||
        !c->host.header_read(c->host.context, c->base_header, &p->base.header))
        return error_set(err, ERROR_CORRUPT, "base block: its header cannot be read");
    p->base.digest = pbft_block_digest(c->base_header);
    p->base.header_len = (uint32_t)c->base_header.len;
    memcpy(p->base.header_bytes, c->base_header.data, c->base_header.len);
    if (bytes_equal(c->base_header, c->committed_header)) {
        p->committed = p->base;
        return ERROR_NONE;
    }
    const char *wrong = pbft__block_read(p, c->committed_header, &p->committed);
    if (wrong != NULL)
        return error_set(err, ERROR_CORRUPT, "last committed block: %s", wrong);
    struct pbft_certificate certificate;
    wrong = pbft__certificate_check(p, c->committed_certificate, PBFT_COMMIT, &certificate);
    if (wrong != NULL)
        return error_set(err, ERROR_CORRUPT, "last committed block: %s", wrong);
    if (certificate.ballot.height != p->committed.header.height ||
        !hash_equal(&certificate.ballot.digest, &p->committed.digest))
        return error_set(err, ERROR_CORRUPT,
                         "last committed block: the certificate is of another block");
    buffer_append(&p->committed_certificate, c->committed_certificate.data,
                  c->committed_certificate.len);
    return ERROR_NONE;
}

static void slots_new(struct pbft *p) {
    p->receive = 2 * p->config.window;
    p->slots = pbft__must(calloc(p->receive, sizeof *p->slots));
    for (uint32_t i = 0; i < p->receive; i++) {
        struct slot *s = &p->slots[i];
        buffer_init(&s->prepared_certificate, PBFT_CERTIFICATE_BYTES_MAX);
        buffer_init(&s->commit_certificate, PBFT_CERTIFICATE_BYTES_MAX);
        s->prepares = pbft__must(calloc(p->config.n, sizeof *s->prepares));
        s->commits = pbft__must(calloc(p->config.n, sizeof *s->commits));
    }
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++)
        p->slots[h % p->receive].height = h;
    p->peers = pbft__must(calloc(p->config.n, sizeof *p->peers));
    for (uint32_t i = 0; i < p->config.n; i++)
        buffer_init(&p->peers[i].view_change, PBFT_MESSAGE_BYTES_MAX);
}

enum error_code pbft_new(const struct pbft_config *config, struct pbft **ret_pbft,
                         struct error *err) {
    assert(config->host.header_read != NULL);
    assert(config->host.verify != NULL);
    assert(config->host.sign != NULL || config->self == PBFT_OBSERVER);
    TRY(config_check(config, err));
    struct pbft *p = pbft__must(calloc(1, sizeof *p));
    p->config = *config;
    p->faults = pbft_faults(config->n);
    p->quorum = pbft_quorum(config->n);
    p->arena = pbft__must(arena_new(EFFECT_ARENA_BYTES_MAX));
    buffer_init(&p->scratch, PBFT_RECORD_BYTES_MAX);
    buffer_init(&p->committed_certificate, PBFT_CERTIFICATE_BYTES_MAX);
    buffer_init(&p->new_view, PBFT_MESSAGE_BYTES_MAX);
    enum error_code code = read_committed(p, err);
    if (code == ERROR_NONE) {
        slots_new(p);
        code = pbft__recover(p, config->records, config->record_count, err);
    }
    if (code != ERROR_NONE) {
        pbft_free(p);
        return code;
    }
    *ret_pbft = p;
    return ERROR_NONE;
}

void pbft_free(struct pbft *p) {
    if (p == NULL)
        return;
    for (uint32_t i = 0; p->slots != NULL && i < p->receive; i++) {
        buffer_done(&p->slots[i].prepared_certificate);
        buffer_done(&p->slots[i].commit_certificate);
        free(p->slots[i].prepares);
        free(p->slots[i].commits);
    }
    for (uint32_t i = 0; p->peers != NULL && i < p->config.n; i++)
        buffer_done(&p->peers[i].view_change);
    free(p->slots);
    free(p->peers);
    pbft__choice_clear(&p->choice);
    buffer_done(&p->new_view);
    buffer_done(&p->committed_certificate);
    buffer_done(&p->scratch);
    arena_free(p->arena);
    free(p->effects);
    free(p->records);
    free(p);
}

/* ---- the step ---- */

static void on_status(struct pbft *p, uint32_t from, const struct message *m) {
    /* A STATUS is unsigned: it counts only for the peer that the transport authenticated. */
    if (from != m->signer) {
        pbft__fault(p, from, "a STATUS in another's name");
        return;
    }
    struct peer *peer = &p->peers[from];
    peer->heard = true;
    peer->view = m->view;
    pbft__heard_height(p, from, m->height);
    bool lags_in_view = m->view < p->view || (m->view == p->view && m->changing && !p->changing);
    if (lags_in_view || m->height < p->committed.header.height)
        pbft__answer_lagging(p, from, lags_in_view);
}

/* Nothing of another epoch counts here, and nobody is to blame for it: the signers' numbers and keys
 * are those of another list. It shows who is behind. */
static void on_other_epoch(struct pbft *p, uint32_t from, const struct message *m) {
    if (m->epoch < p->config.domain.epoch)
        pbft__answer_lagging(p, from, false);
    else if (m->type == PBFT_STATUS)
        pbft__heard_height(p, from, m->height);
}

static void on_message(struct pbft *p, uint32_t from, struct bytes bytes) {
    struct message m;
    const char *wrong = pbft__message_decode(bytes, &m);
    if (wrong == NULL && m.epoch != p->config.domain.epoch) {
        on_other_epoch(p, from, &m);
        return;
    }
    if (wrong == NULL && m.signer >= p->config.n)
        wrong = "the signer is no validator";
    if (wrong != NULL) {
        pbft__fault(p, from, wrong);
        return;
    }
    if (m.signer == p->config.self)
        return; /* our own words, reflected: nothing in them is new */
    if (pbft__ended(p)) {
        pbft__answer_lagging(p, from, false);
        return;
    }
    switch (m.type) {
    case PBFT_PROPOSE:
        pbft__on_propose(p, from, &m);
        return;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        pbft__on_vote(p, from, &m);
        return;
    case PBFT_VIEW_CHANGE:
        pbft__on_view_change(p, from, &m, bytes);
        return;
    case PBFT_NEW_VIEW:
        pbft__on_new_view(p, from, &m, bytes);
        return;
    case PBFT_STATUS:
        on_status(p, from, &m);
        return;
    }
}

static void on_connected(struct pbft *p, uint32_t peer) {
    if (peer >= p->config.n || peer == p->config.self || pbft__observer(p))
        return;
    pbft__send_status(p, peer);
    if (p->changing) {
        pbft__send_raw(p, peer, PBFT_LANE_BULK,
                       buffer_bytes(&p->peers[p->config.self].view_change));
        return;
    }
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++)
        pbft__resend_slot(p, pbft__slot(p, h), peer);
}

/* Whether the view timer has a reason to run: Castro and Liskov 1999, section 4.4: "a backup is
 * waiting for a request if it received a valid request and has not executed it". */
static bool has_work(struct pbft *p) {
    if (p->pending)
        return true;
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++)
        if (pbft__slot(p, h)->accepted)
            return true;
    return false;
}

void pbft__progress_arm(struct pbft *p) {
    if (p->changing || pbft__observer(p) || pbft__ended(p) || !has_work(p))
        p->progress_ms = 0;
    else if (p->progress_ms == 0)
        p->progress_ms = p->now_ms + pbft__timeout(p);
}

/* f + 1 others say that they have more: at least one honest one does, so not the leader is slow
 * but we are behind, and a view change of ours would only disturb them. */
static bool behind_others(const struct pbft *p) {
    uint32_t ahead = 0;
    for (uint32_t i = 0; i < p->config.n; i++)
        if (i != p->config.self && p->peers[i].height > p->committed.header.height)
            ahead++;
    return ahead > p->faults;
}

static void progress_tick(struct pbft *p) {
    if (p->changing || p->progress_ms == 0 || p->now_ms < p->progress_ms)
        return;
    if (behind_others(p)) {
        p->progress_ms = p->now_ms + pbft__timeout(p);
        return;
    }
    p->attempts++;
    pbft__start_change(p, p->view + 1, PBFT_CAUSE_TIMEOUT);
}

static void resend_tick(struct pbft *p) {
    if (p->changing || pbft__observer(p))
        return;
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++) {
        struct slot *s = pbft__slot(p, h);
        if (s->accepted && p->now_ms >= s->resend_ms)
            pbft__resend_slot(p, s, PBFT_EVERYBODY);
    }
}

/* Whom to fetch from: another peer each time, so that one that lies or is dead cannot hold us
 * back. UINT32_MAX where nobody says that he has more. */
static uint32_t fetch_candidate(const struct pbft *p) {
    for (uint32_t i = 1; i <= p->config.n; i++) {
        uint32_t candidate = (p->fetch_peer + i) % p->config.n;
        if (candidate != p->config.self &&
            p->peers[candidate].height > p->committed.header.height)
            return candidate;
    }
    return UINT32_MAX;
}

/* The (f + 1)-th highest of what the others say that they have: one of these is honest. */
static uint64_t vouched_height(const struct pbft *p) {
    uint64_t heights[PBFT_VALIDATORS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->config.n; i++) {
        if (i == p->config.self)
            continue;
        uint32_t at = count++;
        for (; at > 0 && heights[at - 1] < p->peers[i].height; at--)
            heights[at] = heights[at - 1];
        heights[at] = p->peers[i].height;
    }
    return count > p->faults ? heights[p->faults] : 0;
}

/* How far the candidate is. One alone may be the only one that has the next few; that there are more is
 * not believed of him, or we would look for ever for what does not exist. */
static uint64_t fetch_target(const struct pbft *p, uint32_t candidate) {
    uint64_t claimed = p->peers[candidate].height;
    uint64_t most = p->committed.header.height + p->receive;
    if (claimed <= most)
        return claimed;
    uint64_t vouched = vouched_height(p);
    if (most < vouched)
        most = vouched;
    return claimed < most ? claimed : most;
}

static void fetch_tick(struct pbft *p) {
    uint32_t candidate = pbft__ended(p) ? UINT32_MAX : fetch_candidate(p);
    if (candidate == UINT32_MAX) {
        p->fetch_ms = 0;
        return;
    }
    uint64_t committed = p->committed.header.height, to = fetch_target(p, candidate);
    if (p->fetch_ms == 0) {
        /* A peer that is a few heights ahead is normal under load: our own votes will get there.
         * Past the receive window they cannot. */
        p->fetch_ms = to - committed > p->receive ? p->now_ms : p->now_ms + p->config.resend_ms;
    }
    if (p->now_ms < p->fetch_ms)
        return;
    p->fetch_peer = candidate;
    p->fetch_ms = p->now_ms + p->config.resend_ms;
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_FETCH);
    effect->fetch.from = candidate;
    effect->fetch.first = committed + 1;
    effect->fetch.to = to;
}

static void tell_height(struct pbft *p) {
    if (p->now_ms < p->status_ms)
        return;
    p->status_ms = p->now_ms + p->config.status_ms;
    pbft__send_status(p, PBFT_EVERYBODY);
}

static void on_tick(struct pbft *p) {
    progress_tick(p);
    pbft__change_tick(p);
    resend_tick(p);
    tell_height(p);
}

/* Who lacks the last block gets it by transfer, with its certificate: no vote of ours would add to
 * that. */
static void step_ended(struct pbft *p, const struct pbft_event *event) {
    if (event->kind == PBFT_EVENT_MESSAGE)
        on_message(p, event->message.from, event->message.bytes);
    else if (event->kind == PBFT_EVENT_CONNECTED && event->connected.peer < p->config.n)
        pbft__answer_lagging(p, event->connected.peer, false);
    else
        tell_height(p);
}

static void step(struct pbft *p, const struct pbft_event *event) {
    switch (event->kind) {
    case PBFT_EVENT_TICK:
        on_tick(p);
        break;
    case PBFT_EVENT_MESSAGE:
        on_message(p, event->message.from, event->message.bytes);
        break;
    case PBFT_EVENT_CONNECTED:
        on_connected(p, event->connected.peer);
        break;
    case PBFT_EVENT_PENDING:
        p->pending = event->pending.pending;
        break;
    case PBFT_EVENT_SUSPECT:
        if (!p->changing && !pbft__observer(p))
            pbft__start_change(p, p->view + 1, event->suspect.cause);
        break;
    case PBFT_EVENT_PROPOSAL:
        pbft__on_proposal(p, event->proposal.header);
        break;
    case PBFT_EVENT_EXECUTED:
        pbft__on_executed(p, event->executed.height, &event->executed.digest,
                          event->executed.valid);
        break;
    case PBFT_EVENT_BLOCK:
        pbft__on_block(p, event->block.header, event->block.certificate);
        break;
    }
    pbft__advance(p);
    pbft__progress_arm(p);
    fetch_tick(p);
}

void pbft_step(struct pbft *p, const struct pbft_event *event, struct pbft_effects *ret_effects) {
    arena_reset(p->arena);
    p->effect_count = 0;
    /* A clock that goes back would only delay timers; it is not allowed to. */
    if (event->now_ms > p->now_ms)
        p->now_ms = event->now_ms;
    p->wall_ms = event->wall_ms;
    if (pbft__ended(p))
        step_ended(p, event);
    else
        step(p, event);
    ret_effects->list = p->effects;
    ret_effects->count = p->effect_count;
}

void pbft_status(const struct pbft *p, struct pbft_status *ret_status) {
    struct pbft_status s = {
        .epoch = p->config.domain.epoch,
        .ended = pbft__ended(p),
        .view = p->view,
        .changing = p->changing,
        .cause = p->cause,
        .committed = p->committed.header.height,
        .committed_digest = p->committed.digest,
        .proposed = p->committed.header.height,
        .leader = pbft_leader(p->config.n, p->config.rotation, p->view,
                              p->committed.header.height + 1),
        .faults_tolerated = p->faults,
        .quorum = p->quorum,
        .signatures_made = p->signatures_made,
        .signatures_checked = p->signatures_checked,
    };
    while (s.proposed - s.committed < p->receive &&
           p->slots[(s.proposed + 1) % p->receive].accepted)
        s.proposed++;
    for (uint32_t i = 0; i < p->config.n; i++) {
        s.peer_heights[i] = p->peers[i].height;
        s.peer_views[i] = p->peers[i].view;
    }
    *ret_status = s;
}
