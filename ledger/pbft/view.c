/*
 * View change (Castro and Liskov 1999, section 4.4). The leader of the change to view v is
 * validator v mod n. A NEW-VIEW carries the Q VIEW-CHANGEs themselves, and everybody computes from
 * them what is proposed again: nothing that the new leader says about it is believed.
 */
#include <assert.h>
#include <stdlib.h>

#include "ledger/pbft/internal.h"

static uint32_t collector_of(const struct pbft *p, uint64_t view) {
    return (uint32_t)(view % p->config.n);
}

static void tell_view(struct pbft *p) {
    struct pbft_effect *effect = pbft__effect(p, PBFT_EFFECT_VIEW);
    effect->view.view = p->view;
    effect->view.changing = p->changing;
    effect->view.cause = p->cause;
    effect->view.leader = pbft_leader(p->config.n, p->config.rotation, p->view,
                                      p->committed.header.height + 1);
}

/* Signs a VIEW-CHANGE or NEW-VIEW into `out`. */
static void sign_into(struct pbft *p, const struct message *m, struct buffer *out) {
    buffer_clear(out);
    pbft__message_encode(m, out);
    struct hash statement = pbft_statement(&p->config.domain, m->type, buffer_bytes(out));
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    pbft__sign(p, &statement, signature);
    buffer_append(out, signature, sizeof signature);
    assert(!out->failed);
}

void pbft__make_view_change(struct pbft *p) {
    struct message m = {
        .type = PBFT_VIEW_CHANGE,
        .signer = (uint16_t)p->config.self,
        .epoch = p->config.domain.epoch,
        .view = p->view,
        .header = bytes_of(p->committed.header_bytes, p->committed.header_len),
        .certificate = buffer_bytes(&p->committed_certificate),
    };
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->config.window; h++) {
        struct slot *s = pbft__slot(p, h);
        if (!s->has_prepared_certificate)
            continue;
        struct message_prepared *prepared = &m.prepared[m.prepared_count++];
        prepared->certificate = buffer_bytes(&s->prepared_certificate);
        prepared->header =
            bytes_of(s->prepared_block.header_bytes, s->prepared_block.header_len);
    }
    struct peer *own = &p->peers[p->config.self];
    sign_into(p, &m, &own->view_change);
    own->has_view_change = true;
    own->change_view = p->view;
}

/* ---- checking a VIEW-CHANGE ---- */

static const char *check_committed(struct pbft *p, const struct message *m,
                                   struct block *ret_block) {
    struct bytes base = bytes_of(p->base.header_bytes, p->base.header_len);
    if (bytes_equal(m->header, base)) {
        *ret_block = p->base;
        return m->certificate.len == 0 ? NULL : "a VIEW-CHANGE certifies the epoch's base";
    }
    struct pbft_certificate c;
    const char *wrong = pbft__block_read(p, m->header, ret_block);
    if (wrong == NULL)
        wrong = pbft__certificate_check(p, m->certificate, PBFT_COMMIT, &c);
    if (wrong != NULL)
        return wrong;
    if (c.ballot.height != ret_block->header.height ||
        !hash_equal(&c.ballot.digest, &ret_block->digest))
        return "a VIEW-CHANGE's commit certificate is of another block";
    return NULL;
}

static const char *check_prepared(struct pbft *p, const struct message *m,
                                  const struct message_prepared *prepared, uint64_t above,
                                  uint64_t committed, uint64_t *ret_height) {
    struct block block;
    struct pbft_certificate c;
    const char *wrong = pbft__block_read(p, prepared->header, &block);
    if (wrong == NULL)
        wrong = pbft__certificate_check(p, prepared->certificate, PBFT_PREPARE, &c);
    if (wrong != NULL)
        return wrong;
    if (c.ballot.view >= m->view)
        return "a VIEW-CHANGE carries a certificate of its own or a later view";
    if (c.ballot.height <= above || c.ballot.height - committed > p->config.window)
        return "a VIEW-CHANGE's certificates are out of order or of the window";
    if (c.ballot.height != block.header.height || !hash_equal(&c.ballot.digest, &block.digest))
        return "a VIEW-CHANGE's prepared certificate is of another block";
    *ret_height = c.ballot.height;
    return NULL;
}

static const char *check_view_change(struct pbft *p, const struct message *m,
                                     uint64_t *ret_committed) {
    struct hash statement = pbft_statement(&p->config.domain, PBFT_VIEW_CHANGE, m->signed_body);
    if (!pbft__verify(p, m->signer, &statement, m->signature))
        return "a VIEW-CHANGE's signature is wrong";
    struct block block;
    const char *wrong = check_committed(p, m, &block);
    uint64_t committed = block.header.height, above = committed;
    for (uint32_t i = 0; wrong == NULL && i < m->prepared_count; i++)
        wrong = check_prepared(p, m, &m->prepared[i], above, committed, &above);
    if (wrong == NULL)
        *ret_committed = committed;
    return wrong;
}

/* ---- choosing what is proposed again ---- */

/* The facts of one VIEW-CHANGE that was checked: read again, without signatures. */
struct vouched {
    struct block committed;
    uint32_t count;
    struct pbft_ballot ballots[PBFT_WINDOW_MAX];
    struct bytes headers[PBFT_WINDOW_MAX];
};

static const char *vouched_read(const struct pbft *p, struct bytes bytes, struct vouched *v) {
    struct message m;
    const char *wrong = pbft__message_decode(bytes, &m);
    if (wrong != NULL)
        return wrong;
    struct bytes base = bytes_of(p->base.header_bytes, p->base.header_len);
    if (bytes_equal(m.header, base))
        v->committed = p->base;
    else if ((wrong = pbft__block_read(p, m.header, &v->committed)) != NULL)
        return wrong;
    v->count = m.prepared_count;
    for (uint32_t i = 0; i < m.prepared_count; i++) {
        struct pbft_certificate c;
        if (pbft_certificate_decode(m.prepared[i].certificate, &c, NULL) != ERROR_NONE)
            return "a certificate is malformed";
        v->ballots[i] = c.ballot;
        v->headers[i] = m.prepared[i].header;
    }
    return NULL;
}

/* The header of the highest-view certificate for this height; data NULL: a gap. */
static struct bytes highest_certified(const struct vouched *vouched, uint32_t count,
                                      uint64_t height) {
    struct bytes header = {NULL, 0};
    uint64_t view = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < vouched[i].count; j++) {
            const struct pbft_ballot *b = &vouched[i].ballots[j];
            if (b->height == height && (header.data == NULL || b->view > view)) {
                header = vouched[i].headers[j];
                view = b->view;
            }
        }
    return header;
}

void pbft__choice_clear(struct choice *choice) {
    for (uint32_t i = 0; i < choice->count; i++)
        free(choice->blocks[i]);
    *choice = (struct choice){0};
}

/* Section 4.4, the computation of O, for a chain: the base is the highest commit (min-s there);
 * above it, height by height, the certificate of the highest view. A committed block is never left
 * out: Q COMMITs stand behind it, so one honest validator among any Q brings its certificate, and
 * later views can have certified nothing else at its height. */
const char *pbft__choose(struct pbft *p, const struct message *new_view) {
    uint32_t count = new_view->view_change_count;
    struct vouched *vouched = pbft__must(calloc(count, sizeof *vouched));
    const char *wrong = NULL;
    for (uint32_t i = 0; wrong == NULL && i < count; i++)
        wrong = vouched_read(p, new_view->view_changes[i], &vouched[i]);
    if (wrong != NULL) {
        free(vouched);
        return wrong;
    }
    struct choice choice = {0};
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (vouched[i].committed.header.height > vouched[best].committed.header.height)
            best = i;
    choice.base = vouched[best].committed.header.height;
    choice.base_digest = vouched[best].committed.digest;
    struct hash parent = choice.base_digest;
    while (choice.count < p->config.window) {
        struct bytes header = highest_certified(vouched, count, choice.base + choice.count + 1);
        struct block block;
        if (header.data == NULL || pbft__block_read(p, header, &block) != NULL ||
            !hash_equal(&block.header.parent, &parent))
            break;
        struct block *kept = pbft__must(malloc(sizeof *kept));
        *kept = block;
        choice.blocks[choice.count++] = kept;
        parent = block.digest;
    }
    free(vouched);
    pbft__choice_clear(&p->choice);
    p->choice = choice;
    return NULL;
}

/* ---- entering a view ---- */

static void enter(struct pbft *p, const struct message *m, struct bytes bytes) {
    const char *wrong = pbft__choose(p, m);
    /* Everything that choosing reads was decoded and checked just before. */
    assert(wrong == NULL);
    if (m->view > p->view)
        p->cause = PBFT_CAUSE_NEW_VIEW;
    p->view = m->view;
    p->changing = false;
    pbft__leave_view(p);
    p->new_view_ms = 0;
    buffer_clear(&p->new_view);
    buffer_append(&p->new_view, bytes.data, bytes.len);
    assert(!p->new_view.failed);
    if (!pbft__observer(p))
        pbft__persist_entered(p, bytes);
    tell_view(p);
}

static void try_new_view(struct pbft *p) {
    if (!p->changing || pbft__observer(p) || collector_of(p, p->view) != p->config.self)
        return;
    struct message m = {.type = PBFT_NEW_VIEW,
                        .signer = (uint16_t)p->config.self,
                        .epoch = p->config.domain.epoch,
                        .view = p->view};
    for (uint32_t i = 0; i < p->config.n && m.view_change_count < p->quorum; i++) {
        const struct peer *peer = &p->peers[i];
        if (peer->has_view_change && peer->change_view == p->view)
            m.view_changes[m.view_change_count++] = buffer_bytes(&peer->view_change);
    }
    if (m.view_change_count < p->quorum)
        return;
    struct buffer out;
    buffer_init(&out, PBFT_MESSAGE_BYTES_MAX);
    sign_into(p, &m, &out);
    enter(p, &m, buffer_bytes(&out));
    pbft__send_raw(p, PBFT_EVERYBODY, PBFT_LANE_BULK, buffer_bytes(&out));
    buffer_done(&out);
}

/* ---- leaving a view ---- */

void pbft__start_change(struct pbft *p, uint64_t view, enum pbft_cause cause) {
    assert(!pbft__observer(p));
    assert(view > p->view);
    if (view > PBFT_VIEW_MAX)
        return; /* 2^62 view changes cannot have happened; stay rather than overflow */
    p->view = view;
    p->changing = true;
    p->cause = cause;
    pbft__leave_view(p);
    p->new_view_ms = 0;
    /* From here on nothing below this view is signed, also not after a crash. */
    pbft__persist_view(p);
    pbft__make_view_change(p);
    p->change_resend_ms = p->now_ms + p->config.resend_ms;
    pbft__send_raw(p, PBFT_EVERYBODY, PBFT_LANE_BULK,
                   buffer_bytes(&p->peers[p->config.self].view_change));
    tell_view(p);
    try_new_view(p);
}

/* Section 4.5.2: with VIEW-CHANGEs of f + 1 others for higher views, one honest validator is
 * there. The (f + 1)-th highest view is reached, not the highest: f liars with huge view numbers
 * move nobody. */
static void join(struct pbft *p) {
    uint64_t views[PBFT_VALIDATORS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->config.n; i++) {
        const struct peer *peer = &p->peers[i];
        if (i == p->config.self || !peer->has_view_change || peer->change_view <= p->view)
            continue;
        uint32_t at = count++;
        for (; at > 0 && views[at - 1] < peer->change_view; at--)
            views[at] = views[at - 1];
        views[at] = peer->change_view;
    }
    if (count > p->faults)
        pbft__start_change(p, views[p->faults], PBFT_CAUSE_JOIN);
}

void pbft__on_view_change(struct pbft *p, uint32_t from, const struct message *m,
                          struct bytes bytes) {
    if (pbft__observer(p))
        return;
    struct peer *peer = &p->peers[m->signer];
    if (m->view < p->view || (m->view == p->view && !p->changing)) {
        pbft__answer_lagging(p, m->signer, true);
        return;
    }
    if (peer->has_view_change && m->view <= peer->change_view)
        return;
    uint64_t committed;
    const char *wrong = check_view_change(p, m, &committed);
    if (wrong != NULL) {
        pbft__fault(p, from, wrong);
        return;
    }
    peer->has_view_change = true;
    peer->change_view = m->view;
    peer->change_ms = p->now_ms;
    buffer_clear(&peer->view_change);
    buffer_append(&peer->view_change, bytes.data, bytes.len);
    pbft__heard_height(p, m->signer, committed);
    join(p);
    try_new_view(p);
}

/* ---- receiving a NEW-VIEW ---- */

static const char *check_inner(struct pbft *p, const struct message *m, struct bytes bytes,
                               int *last_signer) {
    struct message inner;
    const char *wrong = pbft__message_decode(bytes, &inner);
    if (wrong != NULL)
        return wrong;
    if (inner.type != PBFT_VIEW_CHANGE || inner.epoch != m->epoch || inner.view != m->view)
        return "a NEW-VIEW carries what is no VIEW-CHANGE for it";
    if (inner.signer >= p->config.n || (int)inner.signer <= *last_signer)
        return "a NEW-VIEW's VIEW-CHANGEs are not in order of their signers";
    *last_signer = inner.signer;
    struct peer *peer = &p->peers[inner.signer];
    uint64_t committed;
    if (peer->has_view_change && bytes_equal(buffer_bytes(&peer->view_change), bytes))
        return NULL; /* the same bytes were checked when they came by themselves */
    wrong = check_view_change(p, &inner, &committed);
    if (wrong == NULL)
        pbft__heard_height(p, inner.signer, committed);
    return wrong;
}

static const char *check_new_view(struct pbft *p, const struct message *m) {
    if (m->signer != collector_of(p, m->view))
        return "a NEW-VIEW of one who does not lead the change";
    if (m->view_change_count != p->quorum)
        return "a NEW-VIEW without exactly Q VIEW-CHANGEs";
    struct hash statement = pbft_statement(&p->config.domain, PBFT_NEW_VIEW, m->signed_body);
    if (!pbft__verify(p, m->signer, &statement, m->signature))
        return "a NEW-VIEW's signature is wrong";
    int last_signer = -1;
    const char *wrong = NULL;
    for (uint32_t i = 0; wrong == NULL && i < m->view_change_count; i++)
        wrong = check_inner(p, m, m->view_changes[i], &last_signer);
    return wrong;
}

void pbft__on_new_view(struct pbft *p, uint32_t from, const struct message *m,
                       struct bytes bytes) {
    if (m->view < p->view || (m->view == p->view && !p->changing))
        return;
    const char *wrong = check_new_view(p, m);
    if (wrong != NULL) {
        pbft__fault(p, from, wrong);
        return;
    }
    enter(p, m, bytes);
}

/* ---- time ---- */

/* The timer runs only where Q validators are in this view or a later one: Castro and Liskov 1999,
 * section 4.5.2. Who is alone waits and repeats himself instead of running ahead, and who missed a
 * VIEW-CHANGE whose sender has moved on still counts him. */
static uint32_t changers(const struct pbft *p) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->config.n; i++)
        if (p->peers[i].has_view_change && p->peers[i].change_view >= p->view)
            count++;
    return count;
}

/* Who left the view alone may not sign in it any more, and would stay mute for as long as the
 * others are content: one of f spent for nothing. After some patience they change the view with
 * him, and with all who wait: of f liars each would else cost a view change in that time, which in a
 * large consortium is more views than a block can be agreed on in. */
static void readmit(struct pbft *p) {
    uint64_t patience_ms = (uint64_t)READMIT_TIMEOUTS * p->config.timeout_ms;
    bool due = false;
    for (uint32_t i = 0; i < p->config.n; i++) {
        const struct peer *peer = &p->peers[i];
        due = due || (peer->has_view_change && peer->change_view > p->view &&
                      p->now_ms - peer->change_ms >= patience_ms);
    }
    if (!due)
        return;
    for (uint32_t i = 0; i < p->config.n; i++)
        p->peers[i].change_ms = p->now_ms;
    pbft__start_change(p, p->view + 1, PBFT_CAUSE_READMIT);
}

void pbft__change_tick(struct pbft *p) {
    if (pbft__observer(p))
        return;
    if (!p->changing) {
        readmit(p);
        return;
    }
    if (changers(p) < p->quorum)
        p->new_view_ms = 0;
    else if (p->new_view_ms == 0)
        p->new_view_ms = p->now_ms + pbft__timeout(p);
    else if (p->now_ms >= p->new_view_ms) {
        p->attempts++;
        pbft__start_change(p, p->view + 1, PBFT_CAUSE_NEW_VIEW_TIMEOUT);
        return;
    }
    if (p->now_ms >= p->change_resend_ms) {
        p->change_resend_ms = p->now_ms + p->config.resend_ms;
        pbft__send_raw(p, PBFT_EVERYBODY, PBFT_LANE_BULK,
                       buffer_bytes(&p->peers[p->config.self].view_change));
    }
}

void pbft__answer_lagging(struct pbft *p, uint32_t peer, bool in_view) {
    if (peer >= p->config.n || pbft__observer(p) || p->now_ms < p->peers[peer].reply_ms)
        return;
    p->peers[peer].reply_ms = p->now_ms + p->config.resend_ms;
    if (in_view && !p->changing && p->new_view.len > 0)
        pbft__send_raw(p, peer, PBFT_LANE_BULK, buffer_bytes(&p->new_view));
    pbft__send_status(p, peer);
}
