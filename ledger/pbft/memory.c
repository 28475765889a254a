/*
 * What others hold of a validator's votes, and whether that validator still knows them. The safety
 * proof (Castro and Liskov 1999, section 4.5) lets nobody forget a vote: who restores an old disk, or
 * runs one identity twice, would contradict itself without ever lying on purpose. Its own signatures
 * in others' hands tell; nobody can forge these.
 */
#include "ledger/pbft/internal.h"

static void add_message(struct pbft *p, const struct message *m, const uint8_t *signature,
                        struct buffer *out) {
    buffer_clear(&p->scratch);
    pbft__message_encode(m, &p->scratch);
    buffer_append(&p->scratch, signature, PBFT_SIGNATURE_BYTES);
    wire_bytes(out, buffer_bytes(&p->scratch));
}

static void add_tally(struct pbft *p, const struct tally *t, enum pbft_type type, uint64_t height,
                      uint32_t validator, struct buffer *out) {
    if (!t->set)
        return;
    struct message m = {.type = type,
                        .signer = (uint16_t)validator,
                        .epoch = p->config.domain.epoch,
                        .view = t->view,
                        .height = height,
                        .digest = t->digest};
    add_message(p, &m, t->signature, out);
}

static void add_proposal(struct pbft *p, const struct slot *s, uint32_t validator,
                         struct buffer *out) {
    if (!s->accepted || !s->has_proposal_signature ||
        pbft_leader(p->config.n, p->config.rotation, p->view, s->height) != validator)
        return;
    struct message m = {.type = PBFT_PROPOSE,
                        .signer = (uint16_t)validator,
                        .epoch = p->config.domain.epoch,
                        .view = p->view,
                        .height = s->height,
                        .digest = s->block.digest,
                        .header = bytes_of(s->block.header_bytes, s->block.header_len)};
    add_message(p, &m, s->proposal_signature, out);
}

void pbft_votes_of(struct pbft *p, uint32_t validator, struct buffer *out) {
    if (validator >= p->config.n || validator == p->config.self)
        return;
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++) {
        const struct slot *s = pbft__slot(p, h);
        add_proposal(p, s, validator, out);
        add_tally(p, &s->prepares[validator], PBFT_PREPARE, h, validator, out);
        add_tally(p, &s->commits[validator], PBFT_COMMIT, h, validator, out);
    }
    if (p->peers[validator].has_view_change)
        wire_bytes(out, buffer_bytes(&p->peers[validator].view_change));
}

/* Whether the state has a COMMIT of ours, or what makes it harmless: the prepared certificate that
 * stood before it, or that of a later view. */
static bool knows_commit(const struct slot *s, uint64_t view, const struct hash *digest) {
    return s->has_prepared_certificate &&
           (s->prepared_ballot.view > view ||
            (s->prepared_ballot.view == view && hash_equal(&s->prepared_ballot.digest, digest)));
}

/* What is committed cannot be contradicted any more, and in a view below ours nothing is signed. */
static bool knows_ballot(struct pbft *p, enum pbft_type type, uint64_t view, uint64_t height,
                         const struct hash *digest) {
    if (height <= p->committed.header.height)
        return true;
    const struct slot *s = pbft__slot(p, height);
    if (s == NULL || view > p->view)
        return false;
    if (type == PBFT_COMMIT)
        return knows_commit(s, view, digest);
    const struct own_ballot *own = type == PBFT_PROPOSE ? &s->own_propose : &s->own_prepare;
    return view < p->view ||
           (own->set && own->view == view && hash_equal(&own->digest, digest));
}

bool pbft_has_forgotten(struct pbft *p, struct bytes message) {
    struct message m;
    if (pbft__observer(p) || pbft__message_decode(message, &m) != NULL ||
        m.signer != p->config.self || m.epoch != p->config.domain.epoch)
        return false;
    struct hash statement;
    switch (m.type) {
    case PBFT_PROPOSE:
    case PBFT_PREPARE:
    case PBFT_COMMIT: {
        struct pbft_ballot ballot = {m.type, m.view, m.height, m.digest};
        if (knows_ballot(p, m.type, m.view, m.height, &m.digest))
            return false;
        statement = pbft_ballot_statement(&p->config.domain, &ballot);
        break;
    }
    case PBFT_VIEW_CHANGE:
        if (m.view <= p->view)
            return false;
        statement = pbft_statement(&p->config.domain, m.type, m.signed_body);
        break;
    case PBFT_NEW_VIEW: /* chosen by everybody alike */
    case PBFT_STATUS:   /* not signed */
        return false;
    }
    return pbft__verify(p, m.signer, &statement, m.signature);
}

bool pbft_has_forgotten_seal(struct pbft *p, struct bytes certificate) {
    struct pbft_certificate c;
    if (pbft__observer(p) || pbft_certificate_decode(certificate, &c, NULL) != ERROR_NONE ||
        c.epoch != p->config.domain.epoch || c.ballot.type != PBFT_COMMIT ||
        knows_ballot(p, PBFT_COMMIT, c.ballot.view, c.ballot.height, &c.ballot.digest))
        return false;
    for (uint32_t i = 0; i < c.seal_count; i++)
        if (c.seals[i].signer == p->config.self) {
            struct hash statement = pbft_ballot_statement(&p->config.domain, &c.ballot);
            return pbft__verify(p, p->config.self, &statement, c.seals[i].signature);
        }
    return false;
}
