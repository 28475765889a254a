/*
 * What must outlive a crash, and how the state comes back from it. The byte layout of the records
 * stands in docs/formats.md; where they are kept (and their checksums) is the host's.
 */
#include <assert.h>
#include <stdlib.h>

#include "ledger/pbft/internal.h"

enum record_kind {
    RECORD_VIEW = 1,     /* VIEW-CHANGE for this view was sent */
    RECORD_ENTERED = 2,  /* normal in the view of this NEW-VIEW */
    RECORD_BALLOT = 3,   /* PROPOSE or PREPARE was signed */
    RECORD_PREPARED = 4, /* a prepared certificate, before the COMMIT */
};

/* ---- writing ---- */

static struct buffer *write_head(struct pbft *p, enum record_kind kind) {
    struct buffer *out = &p->scratch;
    buffer_clear(out);
    wire_u8(out, RECORD_VERSION);
    wire_u8(out, (uint8_t)kind);
    wire_u64(out, p->config.domain.epoch);
    return out;
}

static void write_view(struct pbft *p) {
    wire_u64(write_head(p, RECORD_VIEW), p->view);
}

static void write_entered(struct pbft *p, struct bytes new_view) {
    wire_bytes(write_head(p, RECORD_ENTERED), new_view);
}

static void write_ballot(struct pbft *p, enum pbft_type type, const struct block *block) {
    struct buffer *out = write_head(p, RECORD_BALLOT);
    wire_u8(out, (uint8_t)type);
    wire_u64(out, p->view);
    wire_bytes(out, bytes_of(block->header_bytes, block->header_len));
}

static void write_prepared(struct pbft *p, const struct slot *s) {
    struct buffer *out = write_head(p, RECORD_PREPARED);
    wire_bytes(out, buffer_bytes(&s->prepared_certificate));
    wire_bytes(out, bytes_of(s->prepared_block.header_bytes, s->prepared_block.header_len));
}

static void persist(struct pbft *p) {
    assert(!p->scratch.failed);
    struct bytes kept = pbft__keep(p, buffer_bytes(&p->scratch));
    pbft__effect(p, PBFT_EFFECT_PERSIST)->persist.record = kept;
}

void pbft__persist_view(struct pbft *p) {
    write_view(p);
    persist(p);
}

void pbft__persist_entered(struct pbft *p, struct bytes new_view) {
    write_entered(p, new_view);
    persist(p);
}

void pbft__persist_ballot(struct pbft *p, enum pbft_type type, const struct block *block) {
    write_ballot(p, type, block);
    persist(p);
}

void pbft__persist_prepared(struct pbft *p, const struct slot *s) {
    write_prepared(p, s);
    persist(p);
}

/* ---- reading ---- */

static const char *read_entered(struct pbft *p, struct wire_reader *r) {
    struct bytes bytes = wire_read_bytes(r, PBFT_MESSAGE_BYTES_MAX);
    struct message m;
    const char *wrong = r->failed ? "it is cut short" : pbft__message_decode(bytes, &m);
    if (wrong != NULL)
        return wrong;
    if (m.type != PBFT_NEW_VIEW || m.view < p->view)
        return "its view goes back";
    wrong = pbft__choose(p, &m);
    if (wrong != NULL)
        return wrong;
    p->view = m.view;
    p->changing = false;
    buffer_clear(&p->new_view);
    buffer_append(&p->new_view, bytes.data, bytes.len);
    return NULL;
}

/* The slot of a recovered block; *ret_slot NULL: its height is committed since. */
static const char *read_slot(struct pbft *p, struct bytes header, struct block *ret_block,
                             struct slot **ret_slot) {
    const char *wrong = pbft__block_read(p, header, ret_block);
    if (wrong != NULL)
        return wrong;
    *ret_slot = pbft__slot(p, ret_block->header.height);
    if (*ret_slot == NULL && ret_block->header.height > p->committed.header.height)
        return "its height is past the window: committed blocks are missing";
    return NULL;
}

static const char *read_ballot(struct pbft *p, struct wire_reader *r) {
    uint8_t type = wire_read_u8(r);
    uint64_t view = wire_read_u64(r);
    struct bytes header = wire_read_bytes(r, PBFT_HEADER_BYTES_MAX);
    if (r->failed || (type != PBFT_PROPOSE && type != PBFT_PREPARE) || view > p->view)
        return "it is malformed";
    struct block block;
    struct slot *s;
    const char *wrong = read_slot(p, header, &block, &s);
    if (wrong != NULL || s == NULL)
        return wrong;
    struct own_ballot *own = type == PBFT_PROPOSE ? &s->own_propose : &s->own_prepare;
    if (own->set && own->view == view && !hash_equal(&own->digest, &block.digest))
        return "it contradicts an earlier one";
    if (own->set && own->view > view)
        return "its view goes back";
    *own = (struct own_ballot){true, view, block.digest};
    s->has_block = true;
    s->block = block;
    return NULL;
}

static const char *read_prepared(struct pbft *p, struct wire_reader *r) {
    struct bytes certificate = wire_read_bytes(r, PBFT_CERTIFICATE_BYTES_MAX);
    struct bytes header = wire_read_bytes(r, PBFT_HEADER_BYTES_MAX);
    struct pbft_certificate c;
    if (r->failed || pbft_certificate_decode(certificate, &c, NULL) != ERROR_NONE)
        return "its certificate is malformed";
    struct block block;
    struct slot *s;
    const char *wrong = read_slot(p, header, &block, &s);
    if (wrong != NULL || s == NULL)
        return wrong;
    if (s->has_prepared_certificate && s->prepared_ballot.view > c.ballot.view)
        return NULL;
    s->has_prepared_certificate = true;
    s->prepared_ballot = c.ballot;
    s->prepared_block = block;
    buffer_clear(&s->prepared_certificate);
    buffer_append(&s->prepared_certificate, certificate.data, certificate.len);
    return NULL;
}

static const char *read_record(struct pbft *p, struct bytes record) {
    struct wire_reader r = wire_reader(record);
    if (wire_read_u8(&r) != RECORD_VERSION)
        return "it is not of format version 1";
    const char *wrong = NULL;
    uint8_t kind = wire_read_u8(&r);
    uint64_t epoch = wire_read_u64(&r);
    if (!r.failed && epoch < p->config.domain.epoch)
        return NULL; /* that epoch is over, and so is what was signed in it */
    if (!r.failed && epoch > p->config.domain.epoch)
        return "it is of a later epoch: the chain was rolled back";
    switch (kind) {
    case RECORD_VIEW: {
        uint64_t view = wire_read_u64(&r);
        if (r.failed || view < p->view || view > PBFT_VIEW_MAX)
            return "its view goes back";
        p->view = view;
        p->changing = true;
        break;
    }
    case RECORD_ENTERED:
        wrong = read_entered(p, &r);
        break;
    case RECORD_BALLOT:
        wrong = read_ballot(p, &r);
        break;
    case RECORD_PREPARED:
        wrong = read_prepared(p, &r);
        break;
    default:
        return "it is of an unknown kind";
    }
    if (wrong == NULL && !wire_read_end(&r))
        wrong = "it is cut short or has bytes after its end";
    return wrong;
}

/* Votes of the current view that the records hold come back into the tallies, our own signed
 * anew: signatures are deterministic, so it is the same vote. */
static void recover_votes(struct pbft *p, struct slot *s) {
    const struct own_ballot *prepare = &s->own_prepare, *propose = &s->own_propose;
    struct pbft_ballot ballot = {PBFT_PREPARE, p->view, s->height, s->block.digest};
    if (prepare->set && prepare->view == p->view) {
        struct tally *own = &s->prepares[p->config.self];
        struct hash statement = pbft_ballot_statement(&p->config.domain, &ballot);
        *own = (struct tally){.set = true, .view = p->view, .digest = s->block.digest};
        pbft__sign(p, &statement, own->signature);
    }
    if (propose->set && propose->view == p->view) {
        ballot.type = PBFT_PROPOSE;
        struct hash statement = pbft_ballot_statement(&p->config.domain, &ballot);
        pbft__sign(p, &statement, s->proposal_signature);
        s->has_proposal_signature = true;
    }
    struct pbft_certificate c;
    if (!s->has_prepared_certificate || s->prepared_ballot.view != p->view ||
        pbft_certificate_decode(buffer_bytes(&s->prepared_certificate), &c, NULL) != ERROR_NONE)
        return;
    for (uint32_t i = 0; i < c.seal_count; i++) {
        if (c.seals[i].signer >= p->config.n)
            continue;
        struct tally *t = &s->prepares[c.seals[i].signer];
        *t = (struct tally){.set = true, .view = p->view, .digest = c.ballot.digest};
        memcpy(t->signature, c.seals[i].signature, PBFT_SIGNATURE_BYTES);
    }
}

enum error_code pbft__recover(struct pbft *p, const struct bytes *records, size_t count,
                              struct error *err) {
    if (pbft__observer(p) && count > 0)
        return error_set(err, ERROR_CONFIG,
                         "vote log: found %zu records, expected none of an observer", count);
    if (count > PBFT_RECORDS_MAX)
        return error_set(err, ERROR_LIMIT, "vote log: found %zu records, expected at most %d",
                         count, PBFT_RECORDS_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *wrong = read_record(p, records[i]);
        if (wrong != NULL)
            return error_set(err, ERROR_CORRUPT, "vote log: record %zu: %s", i + 1, wrong);
    }
    if (pbft__observer(p))
        return ERROR_NONE;
    if (p->changing) {
        pbft__make_view_change(p);
        return ERROR_NONE;
    }
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++) {
        struct slot *s = pbft__slot(p, h);
        bool ours = (s->own_prepare.set && s->own_prepare.view == p->view) ||
                    (s->own_propose.set && s->own_propose.view == p->view);
        if (!ours)
            continue;
        pbft__accept(p, s, &s->block, PBFT_EVERYBODY);
        recover_votes(p, s);
        s->resend_ms = 0;
    }
    return ERROR_NONE;
}

/* ---- compaction ---- */

static void add_record(struct pbft *p, size_t *count) {
    struct bytes kept = pbft__keep(p, buffer_bytes(&p->scratch));
    p->records[(*count)++] = kept;
}

void pbft_records(struct pbft *p, const struct bytes **ret_records, size_t *ret_count) {
    arena_reset(p->arena);
    p->effect_count = 0;
    free(p->records);
    p->records = pbft__must(calloc(2 + 3 * (size_t)p->receive, sizeof *p->records));
    size_t count = 0;
    if (p->new_view.len > 0) {
        write_entered(p, buffer_bytes(&p->new_view));
        add_record(p, &count);
    }
    if (p->changing) {
        write_view(p);
        add_record(p, &count);
    }
    uint64_t first = p->committed.header.height + 1;
    for (uint64_t h = first; h < first + p->receive; h++) {
        struct slot *s = pbft__slot(p, h);
        if (s->has_prepared_certificate) {
            write_prepared(p, s);
            add_record(p, &count);
        }
        /* Ballots of earlier views bind nobody any more: nothing below the view is signed. */
        if (p->changing || !s->accepted)
            continue;
        if (s->own_propose.set && s->own_propose.view == p->view) {
            write_ballot(p, PBFT_PROPOSE, &s->block);
            add_record(p, &count);
        }
        if (s->own_prepare.set && s->own_prepare.view == p->view) {
            write_ballot(p, PBFT_PREPARE, &s->block);
            add_record(p, &count);
        }
    }
    *ret_records = p->records;
    *ret_count = count;
}
