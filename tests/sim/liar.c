/*
 * Liars: identities that run the core and bend what comes out of it, with their own key and with
 * everything that they ever heard. They cannot make another's signature.
 */
#include "tests/sim/world.h"

#include <stdlib.h>

static void remember(struct blob **place, struct bytes message) {
    blob_unref(*place);
    *place = blob_new(message);
}

void liar_heard(struct world *w, struct bytes message) {
    if (!w->any_lies || message.len < 20)
        return;
    remember(&w->replay[w->replay_next++ % SIM_REPLAY_MAX], message);
    uint32_t signer = (uint32_t)message.data[2] << 8 | message.data[3];
    if (message.data[1] == PBFT_VIEW_CHANGE && signer < SIM_NODES_MAX)
        remember(&w->changes[signer], message);
}

/* Identities, not places in a list, are what messages go to. */
static uint32_t anybody(struct world *w) {
    return world_below(w, w->identities);
}

static void post_signed(struct world *w, struct sim_instance *in, uint32_t to, struct message *m) {
    struct pbft_domain domain = {{{0}}, m->epoch};
    struct buffer out;
    buffer_init(&out, PBFT_MESSAGE_BYTES_MAX);
    pbft__message_encode(m, &out);
    if (m->type != PBFT_STATUS) {
        struct hash statement;
        if (m->type == PBFT_VIEW_CHANGE || m->type == PBFT_NEW_VIEW) {
            statement = pbft_statement(&domain, m->type, buffer_bytes(&out));
        } else {
            struct pbft_ballot ballot = {m->type, m->view, m->height, m->digest};
            statement = pbft_ballot_statement(&domain, &ballot);
        }
        world_epoch_sign(w, m->epoch, m->signer, &statement, m->signature);
        buffer_append(&out, m->signature, PBFT_SIGNATURE_BYTES);
    }
    check_sent(w, in, buffer_bytes(&out));
    struct blob *blob = blob_new(buffer_bytes(&out));
    world_post(w, in->number, to, blob);
    blob_unref(blob);
    buffer_done(&out);
}

/* At some places, and then to everybody, so that there may be a quorum for it. */
static bool lies_about_epoch(const struct world *w, const struct message *m) {
    return (w->config.seed + 3 * m->view + m->height) % 16 == 0;
}

/* A second proposal for the same place: a block with another salt, or of another epoch. */
static void equivocate(struct world *w, struct sim_instance *in, uint32_t to,
                       const struct message *m) {
    uint8_t bytes[SIM_HEADER_BYTES];
    memcpy(bytes, m->header.data, SIM_HEADER_BYTES);
    if (lies_about_epoch(w, m))
        bytes[15] ^= 1; /* the epoch's last byte */
    else
        bytes[64] = (uint8_t)(1 + world_below(w, 2));
    struct message other = *m;
    other.header = bytes_of(bytes, sizeof bytes);
    struct registered *block = world_register(w, other.header, in->identity);
    block->holders = UINT32_MAX;
    other.digest = block->digest;
    post_signed(w, in, to, &other);
}

/* A certificate for a block of our own that Q validators never saw. */
static void invent_certificate(struct world *w, struct sim_instance *in, struct message *m,
                               uint8_t *header_bytes, struct buffer *certificate) {
    struct pbft_certificate c = {.epoch = m->epoch,
                                 .seal_count = pbft_quorum(world_epoch(w, m->epoch)->n)};
    struct bytes header = world_header(header_bytes, in->committed + 1, m->epoch,
                                       &in->chain[in->committed], SIM_WALL_MS + w->now_ms, 0,
                                       UINT64_C(0xf00) + in->identity, false);
    struct registered *block = world_register(w, header, in->identity);
    block->holders = UINT32_MAX;
    c.ballot = (struct pbft_ballot){PBFT_PREPARE, m->view - 1, in->committed + 1, block->digest};
    for (uint32_t i = 0; i < c.seal_count; i++)
        c.seals[i].signer = (uint16_t)i;
    pbft_certificate_encode(&c, certificate);
    m->prepared[0].certificate = buffer_bytes(certificate);
    m->prepared[0].header = header;
    m->prepared_count = 1;
}

/* Our VIEW-CHANGE without some of its certificates, or with a certificate that nobody signed. */
static void forge_view_change(struct world *w, struct sim_instance *in, uint32_t to,
                              const struct message *m) {
    struct message other = *m;
    uint8_t forged[PBFT_CERTIFICATE_BYTES_MAX], header_bytes[SIM_HEADER_BYTES];
    SCOPED_BUFFER struct buffer invented;
    buffer_init(&invented, PBFT_CERTIFICATE_BYTES_MAX);
    if (other.view > 0 && world_chance(w, 250)) {
        invent_certificate(w, in, &other, header_bytes, &invented);
    } else if (other.prepared_count > 0 && world_chance(w, 700)) {
        other.prepared_count = world_below(w, other.prepared_count);
    } else if (other.prepared_count > 0 && world_chance(w, 500)) {
        struct bytes certificate = other.prepared[0].certificate;
        memcpy(forged, certificate.data, certificate.len);
        forged[world_below(w, (uint32_t)certificate.len)] ^= (uint8_t)(1 << world_below(w, 8));
        other.prepared[0].certificate = bytes_of(forged, certificate.len);
    } else if (other.certificate.len > 0) {
        /* An older commit: true, but not the latest. */
        uint64_t base = world_epoch(w, m->epoch)->base;
        uint64_t h = in->committed > base ? base + world_below(w, (uint32_t)(in->committed - base))
                                          : base;
        other.header = h == 0 ? bytes_of(w->genesis, SIM_HEADER_BYTES) : blob_bytes(in->headers[h]);
        other.certificate = h == base ? (struct bytes){NULL, 0} : blob_bytes(in->certificates[h]);
        other.prepared_count = 0;
    }
    post_signed(w, in, to, &other);
}

static struct bytes base_header(const struct world *w, const struct sim_instance *in,
                                uint64_t epoch) {
    uint64_t base = world_epoch(w, epoch)->base;
    return base == 0 || in->committed < base ? bytes_of(w->genesis, SIM_HEADER_BYTES)
                                             : blob_bytes(in->headers[base]);
}

/* A NEW-VIEW made of another subset of the VIEW-CHANGEs, our own one stripped. */
static void forge_new_view(struct world *w, struct sim_instance *in, uint32_t to,
                           const struct message *m) {
    struct message other = *m;
    struct message own = {.type = PBFT_VIEW_CHANGE,
                          .signer = m->signer,
                          .epoch = m->epoch,
                          .view = m->view,
                          .header = base_header(w, in, m->epoch)};
    struct pbft_domain domain = {{{0}}, m->epoch};
    struct buffer stripped;
    buffer_init(&stripped, PBFT_MESSAGE_BYTES_MAX);
    pbft__message_encode(&own, &stripped);
    struct hash statement = pbft_statement(&domain, PBFT_VIEW_CHANGE, buffer_bytes(&stripped));
    world_epoch_sign(w, own.epoch, own.signer, &statement, own.signature);
    buffer_append(&stripped, own.signature, PBFT_SIGNATURE_BYTES);
    uint32_t n = world_epoch(w, m->epoch)->n, quorum = pbft_quorum(n), skip = world_below(w, n);
    if (world_chance(w, 100))
        quorum--; /* one too few: must be refused */
    other.view_change_count = 0;
    for (uint32_t i = 0; i < n && other.view_change_count < quorum; i++) {
        struct bytes change = i == m->signer ? buffer_bytes(&stripped) : blob_bytes(w->changes[i]);
        if ((i == skip && i != m->signer) || change.len < 20 ||
            wire_load_u64(change.data + 4) != m->epoch ||
            wire_load_u64(change.data + 12) != m->view)
            continue;
        other.view_changes[other.view_change_count++] = change;
    }
    post_signed(w, in, to, &other);
    buffer_done(&stripped);
}

static void vote_for(struct world *w, struct sim_instance *in, const struct message *m) {
    /* In an epoch that is over too, with a key of then. */
    uint32_t signer = world_index(w, m->epoch, in->identity);
    for (uint32_t to = 0; to < w->identities && signer != PBFT_OBSERVER; to++) {
        struct message vote = {.signer = (uint16_t)signer,
                               .epoch = m->epoch,
                               .view = m->view,
                               .height = m->height,
                               .digest = m->digest};
        if (to == in->identity)
            continue;
        vote.type = PBFT_PREPARE;
        post_signed(w, in, to, &vote);
        vote.type = PBFT_COMMIT;
        post_signed(w, in, to, &vote);
    }
}

/* True: the message was replaced or swallowed. */
static bool bend(struct world *w, struct sim_instance *in, uint32_t to, const struct message *m) {
    uint32_t lies = w->config.lies[in->identity];
    if ((lies & LIE_SILENT) != 0)
        return true;
    if ((lies & LIE_WITHHOLD) != 0 && world_chance(w, 350))
        return true;
    if ((lies & LIE_EQUIVOCATE) != 0 && m->type == PBFT_PROPOSE &&
        (lies_about_epoch(w, m) || world_chance(w, 500))) {
        equivocate(w, in, to, m);
        return true;
    }
    if ((lies & LIE_FORGE) != 0 && m->type == PBFT_VIEW_CHANGE && world_chance(w, 600)) {
        forge_view_change(w, in, to, m);
        return true;
    }
    if ((lies & LIE_FORGE) != 0 && m->type == PBFT_NEW_VIEW && world_chance(w, 600)) {
        forge_new_view(w, in, to, m);
        return true;
    }
    return false;
}

void liar_send(struct world *w, struct sim_instance *in, struct bytes message, uint32_t to_mask) {
    struct message m;
    uint32_t lies = w->config.lies[in->identity];
    bool readable = pbft__message_decode(message, &m) == NULL;
    for (uint32_t to = 0; to < w->identities; to++) {
        if ((to_mask >> to & 1) == 0)
            continue;
        if (readable && bend(w, in, to, &m))
            continue;
        struct blob *blob = blob_new(message);
        if ((lies & LIE_GARBAGE) != 0 && world_chance(w, 150))
            blob->data[world_below(w, blob->len)] ^= (uint8_t)(1 << world_below(w, 8));
        world_post(w, in->number, to, blob);
        blob_unref(blob);
    }
}

/* Something that anybody said before, to anybody: as it was, with bits flipped, or with its type,
 * view or height changed under the old signature. */
static void replay_one(struct world *w, struct sim_instance *in) {
    struct blob *old = w->replay[world_below(w, SIM_REPLAY_MAX)];
    if (old == NULL)
        return;
    struct blob *blob = blob_new(blob_bytes(old));
    bool vote = blob->data[1] == PBFT_PREPARE || blob->data[1] == PBFT_COMMIT;
    switch (world_below(w, 6)) {
    case 0:
        blob->data[world_below(w, blob->len)] ^= (uint8_t)(1 << world_below(w, 8));
        break;
    case 1:
        if (vote)
            blob->data[1] ^= PBFT_PREPARE ^ PBFT_COMMIT;
        break;
    case 2:
        if (vote)
            blob->data[19] = (uint8_t)(blob->data[19] + 1); /* the view's last byte */
        break;
    case 3:
        /* Inside a proposal's header: what a relay could do if the digest were believed. */
        if (blob->data[1] == PBFT_PROPOSE && blob->len > 148)
            blob->data[143] ^= 1;
        break;
    default:
        break;
    }
    world_post(w, in->number, anybody(w), blob);
    blob_unref(blob);
}

/* Votes in everybody's name, for a block of our own, with signatures that nobody made. */
static void forge_votes(struct world *w, struct sim_instance *in) {
    struct message m;
    struct blob *blob = w->replay[world_below(w, SIM_REPLAY_MAX)];
    if (blob == NULL || blob->data[1] != PBFT_PROPOSE ||
        pbft__message_decode(blob_bytes(blob), &m) != NULL)
        return;
    uint32_t to = anybody(w);
    const struct sim_epoch *list = world_epoch(w, m.epoch);
    for (uint32_t name = 0; list != NULL && name < list->n; name++) {
        struct message vote = {.type = world_chance(w, 500) ? PBFT_PREPARE : PBFT_COMMIT,
                               .signer = (uint16_t)name,
                               .epoch = m.epoch,
                               .view = m.view,
                               .height = m.height,
                               .digest = m.digest};
        struct buffer out;
        buffer_init(&out, PBFT_MESSAGE_BYTES_MAX);
        pbft__message_encode(&vote, &out);
        buffer_append(&out, vote.signature, PBFT_SIGNATURE_BYTES);
        struct blob *forged = blob_new(buffer_bytes(&out));
        if (list->member[name] != in->identity)
            world_post(w, in->number, to, forged);
        blob_unref(forged);
        buffer_done(&out);
    }
}

/* A block above the last one of an epoch that is over, by its leader of some view. */
static void propose_beyond(struct world *w, struct sim_instance *in, uint32_t to) {
    uint64_t epoch = in->epoch == 0 ? 0 : in->epoch - 1;
    uint32_t signer = world_index(w, epoch, in->identity);
    uint64_t height = world_epoch(w, in->epoch)->base + 1;
    if (in->epoch == 0 || signer == PBFT_OBSERVER || in->committed < height - 1)
        return;
    uint8_t header[SIM_HEADER_BYTES];
    struct message m = {.type = PBFT_PROPOSE, .signer = (uint16_t)signer, .epoch = epoch};
    m.height = height;
    m.header = world_header(header, height, epoch, &in->chain[height - 1], SIM_WALL_MS + w->now_ms,
                            0, UINT64_C(0xbe70) + in->identity, false);
    m.view = world_below(w, 8);
    struct registered *block = world_register(w, m.header, in->identity);
    block->holders = UINT32_MAX;
    m.digest = block->digest;
    post_signed(w, in, to, &m);
}

void liar_tick(struct world *w, struct sim_instance *in) {
    uint32_t lies = w->config.lies[in->identity];
    if ((lies & LIE_SILENT) != 0)
        return;
    uint32_t to = anybody(w);
    if (to == in->identity)
        return;
    if ((lies & LIE_REPLAY) != 0 && world_chance(w, 500))
        replay_one(w, in);
    if ((lies & LIE_FORGE) != 0 && world_chance(w, 200))
        propose_beyond(w, in, to);
    if (in->self == PBFT_OBSERVER)
        return;
    if ((lies & LIE_VIEW_SPAM) != 0 && world_chance(w, 300)) {
        struct message m = {.type = PBFT_VIEW_CHANGE,
                            .signer = (uint16_t)in->self,
                            .epoch = in->epoch,
                            .view = world_chance(w, 500) ? PBFT_VIEW_MAX - world_below(w, 3)
                                                         : in->last_view + world_below(w, 6),
                            .header = base_header(w, in, in->epoch)};
        post_signed(w, in, to, &m);
    }
    if ((lies & LIE_FORGE) != 0 && world_chance(w, 300))
        forge_votes(w, in);
    if ((lies & LIE_STATUS) != 0 && world_chance(w, 300)) {
        struct message m = {.type = PBFT_STATUS,
                            .signer = (uint16_t)in->self,
                            .epoch = in->epoch + world_below(w, 2),
                            .view = world_below(w, 9),
                            .height = in->committed + 1 + world_below(w, 1000)};
        post_signed(w, in, to, &m);
    }
    if ((lies & LIE_VOTE_ALL) != 0) {
        for (int i = 0; i < SIM_REPLAY_MAX; i++) {
            struct message m;
            struct blob *blob = w->replay[(w->replay_next + (uint32_t)i) % SIM_REPLAY_MAX];
            if (blob == NULL || blob->data[1] != PBFT_PROPOSE || !world_chance(w, 300) ||
                pbft__message_decode(blob_bytes(blob), &m) != NULL ||
                m.height <= in->committed)
                continue;
            vote_for(w, in, &m);
        }
    }
}
