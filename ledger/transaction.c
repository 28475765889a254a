#include "ledger/transaction.h"

#include <sodium.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/anchor.h"
#include "ledger/checkpoint.h"
#include "ledger/members.h"
#include "ledger/pbft/vote.h"
#include "ledger/people.h"
#include "ledger/signer.h"

enum {
    TRANSACTION_FORMAT = 1,
    TRANSACTION_ED25519 = 1,
    INCIDENT_FORMAT = 1,
    /* What stands around the body where there are no extensions. */
    FRAME_BYTES = TRANSACTION_BODY_AT + 4 + 2 + TRANSACTION_SIGNATURE_BYTES,
};

static const char domain[] = "renkei/transaction/1\n";

const char *transaction_type_name(enum transaction_type type) {
    static const char *const names[TRANSACTION_TYPE_COUNT] = {
        [TRANSACTION_ANCHOR] = "anchor",         [TRANSACTION_NOTE] = "note",
        [TRANSACTION_INCIDENT] = "incident",     [TRANSACTION_CHANGE] = "change",
        [TRANSACTION_EVIDENCE] = "evidence",     [TRANSACTION_CHECKPOINT] = "checkpoint",
        [TRANSACTION_PERSON] = "person",         [TRANSACTION_PERMISSION] = "permission",
        [TRANSACTION_QUERY] = "query",
    };
    bool known = (unsigned)type < TRANSACTION_TYPE_COUNT && names[type] != NULL;
    return known ? names[type] : "unknown";
}

static struct hash unsigned_id(struct bytes unsigned_bytes) {
    struct bytes parts[] = {bytes_of(domain, sizeof domain - 1), unsigned_bytes};
    return sha256_of_parts(parts, 2);
}

/* The list: a count, then type, length and bytes of each, types strictly ascending. */
static enum error_code check_extensions(struct wire_reader *r, struct error *err) {
    unsigned count = wire_read_u16(r);
    if (count > TRANSACTION_EXTENSIONS_MAX)
        return error_set(err, ERROR_PROTOCOL, "transaction: %u extensions, expected at most %d",
                         count, TRANSACTION_EXTENSIONS_MAX);
    unsigned last = 0;
    for (unsigned i = 0; i < count && !r->failed; i++) {
        unsigned type = wire_read_u16(r);
        wire_read_bytes(r, TRANSACTION_EXTENSION_BYTES_MAX);
        if (type <= last)
            return error_set(err, ERROR_PROTOCOL,
                             "transaction: extension %u stands after %u, expected ascending", type,
                             last);
        if (type < TRANSACTION_EXTENSION_OPTIONAL)
            return error_set(err, ERROR_PROTOCOL,
                             "transaction: extension %u must be understood and is not known", type);
        last = type;
    }
    return ERROR_NONE;
}

static enum error_code check_body(const struct transaction *tx, struct error *err) {
    switch (tx->type) {
    case TRANSACTION_ANCHOR: {
        struct anchor anchor;
        return anchor_decode(tx->body, &anchor, err);
    }
    case TRANSACTION_NOTE:
        if (tx->body.len > NOTE_BYTES_MAX)
            return error_set(err, ERROR_PROTOCOL, "note: %zu bytes, expected at most %d",
                             tx->body.len, NOTE_BYTES_MAX);
        return ERROR_NONE;
    case TRANSACTION_INCIDENT: {
        struct incident incident;
        return incident_decode(tx->body, &incident, err);
    }
    case TRANSACTION_CHANGE: {
        struct change change;
        return change_decode(tx->body, &change, err);
    }
    case TRANSACTION_EVIDENCE: {
        struct pbft_evidence evidence;
        return pbft_evidence_decode(tx->body, &evidence, err);
    }
    case TRANSACTION_CHECKPOINT: {
        struct block_header head;
        return checkpoint_decode(tx->body, &head, err);
    }
    case TRANSACTION_PERSON: {
        struct person person;
        return person_decode(tx->body, &person, err);
    }
    case TRANSACTION_PERMISSION: {
        struct permission permission;
        return permission_decode(tx->body, &permission, err);
    }
    case TRANSACTION_QUERY: {
        struct query query;
        return query_decode(tx->body, &query, err);
    }
    case TRANSACTION_TYPE_COUNT:
    default:
        return error_set(err, ERROR_PROTOCOL, "transaction: type %d is not known", (int)tx->type);
    }
}

enum error_code transaction_decode(struct bytes input, struct transaction *ret_tx,
                                   struct error *err) {
    if (input.len > TRANSACTION_BYTES_MAX)
        return error_set(err, ERROR_PROTOCOL, "transaction: %zu bytes, expected at most %d",
                         input.len, TRANSACTION_BYTES_MAX);
    struct wire_reader r = wire_reader(input);
    unsigned format = wire_read_u8(&r);
    unsigned algorithm = wire_read_u8(&r);
    if (format != TRANSACTION_FORMAT || algorithm != TRANSACTION_ED25519)
        return error_set(err, ERROR_PROTOCOL,
                         "transaction: format %u, algorithm %u; expected 1 and 1", format,
                         algorithm);
    struct transaction tx = {.type = (enum transaction_type)wire_read_u16(&r)};
    wire_read_fixed(&r, tx.chain.byte, HASH_BYTES);
    wire_read_fixed(&r, tx.submitter, sizeof tx.submitter);
    tx.sequence = wire_read_u64(&r);
    tx.wall_ms = wire_read_u64(&r);
    tx.body = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
    const uint8_t *extensions_at = r.at;
    TRY(check_extensions(&r, err));
    tx.extensions = bytes_of(extensions_at, (size_t)(r.at - extensions_at));
    struct bytes unsigned_bytes = bytes_of(input.data, (size_t)(r.at - input.data));
    wire_read_fixed(&r, tx.signature, sizeof tx.signature);
    if (!wire_read_end(&r))
        return error_set(err, ERROR_PROTOCOL,
                         "transaction: %zu bytes are not one whole transaction", input.len);
    if (tx.sequence == 0)
        return error_set(err, ERROR_PROTOCOL, "transaction: sequence 0, expected 1 or more");
    TRY(check_body(&tx, err));
    tx.id = unsigned_id(unsigned_bytes);
    *ret_tx = tx;
    return ERROR_NONE;
}

enum error_code transaction_verify(const struct transaction *tx, struct error *err) {
    if (crypto_sign_verify_detached(tx->signature, tx->id.byte, HASH_BYTES, tx->submitter) != 0)
        return error_set(err, ERROR_TX_REJECTED,
                         "transaction: the signature is not the submitter's");
    return ERROR_NONE;
}

enum error_code transaction_sign(const struct ledger_signer *signer, const struct transaction *tx,
                                 struct buffer *out, struct error *err) {
    size_t start = out->len;
    uint8_t key[TRANSACTION_KEY_BYTES];
    ledger_signer_public(signer, key);
    (void)buffer_reserve(out, FRAME_BYTES + tx->body.len); /* at once, instead of growing to it */
    wire_u8(out, TRANSACTION_FORMAT);
    wire_u8(out, TRANSACTION_ED25519);
    wire_u16(out, (uint16_t)tx->type);
    wire_fixed(out, tx->chain.byte, HASH_BYTES);
    wire_fixed(out, key, sizeof key);
    wire_u64(out, tx->sequence);
    wire_u64(out, tx->wall_ms);
    wire_bytes(out, tx->body);
    wire_u16(out, 0);
    TRY(buffer_check(out, "transaction", err));
    struct hash id = unsigned_id(bytes_of(out->data + start, out->len - start));
    uint8_t signature[TRANSACTION_SIGNATURE_BYTES];
    ledger_signer_sign(signer, &id, signature);
    wire_fixed(out, signature, sizeof signature);
    TRY(buffer_check(out, "transaction", err));
    if (out->len - start > TRANSACTION_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "transaction: %zu bytes, at most %d are allowed",
                         out->len - start, TRANSACTION_BYTES_MAX);
    return ERROR_NONE;
}

void incident_encode(const struct incident *incident, uint8_t ret_bytes[INCIDENT_BYTES]) {
    ret_bytes[0] = INCIDENT_FORMAT;
    ret_bytes[1] = (uint8_t)incident->kind;
    memcpy(ret_bytes + 2, incident->locator.byte, LOCATOR_BYTES);
    wire_store_u32(ret_bytes + 18, incident->version);
    memcpy(ret_bytes + 22, incident->content.byte, HASH_BYTES);
    memcpy(ret_bytes + 54, incident->raw.byte, HASH_BYTES);
    wire_store_u64(ret_bytes + 86, incident->observed_ms);
}

enum error_code incident_decode(struct bytes body, struct incident *ret_incident,
                                struct error *err) {
    if (body.len != INCIDENT_BYTES || body.data[0] != INCIDENT_FORMAT)
        return error_set(err, ERROR_PROTOCOL, "incident: %zu bytes, expected %d of format 1",
                         body.len, INCIDENT_BYTES);
    struct incident incident = {
        .kind = (enum incident_kind)body.data[1],
        .version = wire_load_u32(body.data + 18),
        .observed_ms = wire_load_u64(body.data + 86),
    };
    memcpy(incident.locator.byte, body.data + 2, LOCATOR_BYTES);
    memcpy(incident.content.byte, body.data + 22, HASH_BYTES);
    memcpy(incident.raw.byte, body.data + 54, HASH_BYTES);
    if (incident.kind != INCIDENT_MISMATCH && incident.kind != INCIDENT_MISSING)
        return error_set(err, ERROR_PROTOCOL, "incident: kind %d, expected 1 or 2",
                         (int)incident.kind);
    if (incident.version == 0)
        return error_set(err, ERROR_PROTOCOL, "incident: version 0, expected 1 or more");
    bool missing = incident.kind == INCIDENT_MISSING;
    if (hash_is_zero(&incident.content) != missing || hash_is_zero(&incident.raw) != missing)
        return error_set(err, ERROR_PROTOCOL, "incident: digests do not fit kind %d",
                         (int)incident.kind);
    *ret_incident = incident;
    return ERROR_NONE;
}
