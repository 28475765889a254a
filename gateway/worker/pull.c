/*
 * A pull: batches of rows, normalized and kept for the moment between their keys and their salts.
 * Two batches are in hand at a time: while the gateway looks up the salts of one, the next is read
 * and normalized.
 */
#include "gateway/worker/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/worker/earlier.h"
#include "gateway/worker/pace.h"

enum {
    /* Rows of one short range of a table without snapshots; what it aims at. */
    RANGE_ROWS_FIRST = 128,
    RANGE_ROWS_MAX = 1024,
    RANGE_US = 10000,
    RANGE_BYTES = 1 << 20,
    SLOT_BYTES_MAX = 256 << 20,
    SLOT_BYTES = 4 << 20, /* after which a batch is handed over, however few its rows are */
    GROUP_ROWS = 32,      /* whose digests are made together */
    TABLE_BYTES = RENKEI_NAME_BYTES_MAX + 1,
    KEY_COMPONENTS_MAX = RENKEI_KEY_COLUMNS_MAX,
    WATERMARK_BYTES = 256,
    DESCRIPTION_BYTES_MAX = 2 << 20,
    TO_COME_MS = 2 * 24 * 3600 * 1000, /* time zones, and clocks that are ahead */
};

struct span {
    uint32_t at;
    uint32_t len;
};

/* One row, its bytes standing in the slot's buffer: offsets, since the buffer moves. */
struct kept_row {
    struct span address; /* within raw */
    struct span raw, document, patient, date;
    struct span beyond; /* what only earlier mappings read */
    uint32_t key_bytes; /* the address's last */
    bool quarantined;
    uint32_t reasons_at;
    uint32_t reason_count;
};

struct slot {
    struct kept_row rows[WORKER_BATCH_ROWS_MAX];
    uint32_t count;
    struct buffer data;
    struct normalized_reason *reasons; /* NORMALIZER_REASONS_MAX a row */
    uint32_t reason_count;
};

struct decided {
    enum worker_change change;
    uint8_t differs; /* 1: content, 2: raw, 4: though the bytes are the same */
    struct hash hashes[2]; /* content, raw */
};

/* Rows whose digests are made together. */
struct group {
    uint32_t count;
    struct worker_salt salts[GROUP_ROWS];
    struct decided decided[GROUP_ROWS];
    struct digest_heads heads[GROUP_ROWS];
    struct sha256_message messages[2 * GROUP_ROWS];
    struct hash hashes[2 * GROUP_ROWS];
};

struct pulling {
    struct host *host;
    struct host_table *table;
    enum worker_mode mode;
    char name[TABLE_BYTES];
    char watermark_from[WATERMARK_BYTES];
    struct pace pace;
    bool closed; /* the work window has ended */
    struct arena *given; /* what the request gave: */
    struct bytes *keys;  /* of mode listed */
    uint32_t key_count;
    struct bytes *descriptions; /* of earlier mappings */
    uint32_t description_count;
    struct earlier *earlier; /* NULL: there is none, or only keys are read */
    int watermark_column; /* index, -1: none */
    char to_come[CLOCK_RFC3339_BYTES]; /* dates behind this one are */
    struct worker_totals totals;
    struct slot slots[2];
    struct group group;
    unsigned filling;
    bool due;     /* the other slot's keys are sent, its salts not yet received */
    bool stopped; /* the gateway wants no more */
    /* Where the next short range begins. */
    struct buffer after_data;
    struct renkei_value after[KEY_COMPONENTS_MAX];
    bool has_after;
    bool unordered; /* the connector refused to order rows */
    uint32_t range_rows;
};

static uint64_t lap_us(uint64_t *since_ns) {
    uint64_t now = clock_monotonic_ns();
    uint64_t us = (now - *since_ns) / 1000;
    *since_ns = now;
    return us;
}

/* --- one batch: keys out, salts in, rows out --- */

static struct span keep(struct buffer *data, struct bytes bytes) {
    struct span span = {(uint32_t)data->len, (uint32_t)bytes.len};
    buffer_append(data, bytes.data, bytes.len);
    return span;
}

/* What the normalizer wrote into the slot's buffer itself. */
static struct span within(const struct buffer *data, struct bytes bytes) {
    return (struct span){(uint32_t)(bytes.data - data->data), (uint32_t)bytes.len};
}

static enum error_code keep_row(struct pulling *p, struct slot *slot,
                                const struct renkei_batch *batch, uint32_t at,
                                const struct normalized_row *row, struct error *err) {
    struct kept_row *k = &slot->rows[slot->count];
    struct buffer *data = &slot->data;
    *k = (struct kept_row){.address = within(data, row->address),
                           .raw = within(data, row->raw),
                           .document = within(data, row->document),
                           .key_bytes = (uint32_t)row->key.len,
                           .quarantined = row->quarantined,
                           .reasons_at = slot->reason_count,
                           .reason_count = (uint32_t)row->reason_count};
    if (row->quarantined || p->mode == WORKER_KEYS)
        data->len = k->address.at + k->address.len; /* the rest is not needed */
    k->patient = keep(data, row->patient);
    k->date = keep(data, row->date);
    k->beyond.at = (uint32_t)data->len;
    if (p->earlier != NULL && !row->quarantined)
        earlier_keep(p->earlier, batch, at, data);
    k->beyond.len = (uint32_t)data->len - k->beyond.at;
    if (row->reason_count > 0)
        memcpy(slot->reasons + slot->reason_count, row->reasons,
               row->reason_count * sizeof *row->reasons);
    slot->reason_count += k->reason_count;
    slot->count++;
    return buffer_check(data, "a batch of a pull", err);
}

static struct bytes part(const struct slot *slot, struct span span) {
    return bytes_of(slot->data.data + span.at, span.len);
}

static struct bytes key_of(const struct slot *slot, const struct kept_row *k) {
    return bytes_of(slot->data.data + k->address.at + k->address.len - k->key_bytes, k->key_bytes);
}

static enum error_code send_keys(struct pulling *p, const struct slot *slot, struct error *err) {
    struct buffer *out = &p->host->out;
    frame_begin(out, FRAME_KEYS);
    wire_u32(out, slot->count);
    for (uint32_t i = 0; i < slot->count; i++)
        wire_bytes(out, key_of(slot, &slot->rows[i]));
    return host_send(p->host, err);
}

/* Change is found by the stored r; what changed gets digests under the fresh one. */
static void decide_known(struct pulling *p, const struct slot *slot, const struct kept_row *k,
                         const struct worker_salt *salt, struct decided *d) {
    struct bytes raw = part(slot, k->raw);
    d->differs = (uint8_t)((hash_equal(&d->hashes[0], &salt->content) ? 0 : 1) |
                           (hash_equal(&d->hashes[1], &salt->raw) ? 0 : 2));
    d->change = d->differs == 0 ? WORKER_SAME : WORKER_CHANGED;
    if (d->change == WORKER_SAME)
        return;
    if (p->earlier != NULL && earlier_same(p->earlier, salt->earlier, raw, part(slot, k->beyond),
                                           salt->stored, &salt->raw))
        d->differs |= 4;
    digest_both(salt->fresh, part(slot, k->document), raw, &d->hashes[0], &d->hashes[1]);
}

/* Decides on the rows from `first` on; their salts are in the group. */
static void decide(struct pulling *p, const struct slot *slot, uint32_t first) {
    struct group *g = &p->group;
    size_t messages = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct kept_row *k = &slot->rows[first + i];
        const struct worker_salt *salt = &g->salts[i];
        g->decided[i] = (struct decided){.change = WORKER_QUARANTINED};
        if (k->quarantined)
            continue;
        digest_messages(salt->known ? salt->stored : salt->fresh, part(slot, k->document),
                        part(slot, k->raw), &g->heads[i], g->messages + messages);
        messages += 2;
    }
    sha256_many(g->messages, messages, g->hashes);
    const struct hash *hashes = g->hashes;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct kept_row *k = &slot->rows[first + i];
        struct decided *d = &g->decided[i];
        if (k->quarantined)
            continue;
        memcpy(d->hashes, hashes, sizeof d->hashes);
        hashes += 2;
        d->change = WORKER_NEW;
        if (g->salts[i].known)
            decide_known(p, slot, k, &g->salts[i], d);
    }
}

static void count_row(struct worker_totals *t, enum worker_change change) {
    t->rows++;
    t->rows_new += change == WORKER_NEW;
    t->rows_same += change == WORKER_SAME;
    t->rows_changed += change == WORKER_CHANGED;
    t->rows_quarantined += change == WORKER_QUARANTINED;
}

static uint8_t *put(uint8_t *o, struct bytes bytes) {
    wire_store_u32(o, (uint32_t)bytes.len);
    if (bytes.len > 0)
        memcpy(o + 4, bytes.data, bytes.len);
    return o + 4 + bytes.len;
}

/* As answer_pull_row reads it. */
static void write_row(struct pulling *p, const struct slot *slot, const struct kept_row *k,
                      const struct decided *d) {
    struct buffer *out = &p->host->out;
    size_t bytes = 2 + 4 * 4 + k->key_bytes + k->address.len + k->patient.len + k->date.len +
                   sizeof d->hashes;
    uint8_t *o = buffer_reserve(out, bytes);
    count_row(&p->totals, d->change);
    if (o == NULL)
        return;
    *o++ = (uint8_t)d->change;
    *o++ = d->differs;
    o = put(o, key_of(slot, k));
    o = put(o, part(slot, k->address));
    o = put(o, part(slot, k->patient));
    o = put(o, part(slot, k->date));
    memcpy(o, d->hashes, sizeof d->hashes);
    out->len += bytes;
    frame_reasons(out, slot->reasons + k->reasons_at, k->reason_count);
}

static void read_salt(struct wire_reader *r, struct worker_salt *ret_salt) {
    memset(ret_salt, 0, sizeof *ret_salt);
    ret_salt->known = wire_read_u8(r) != 0;
    wire_read_fixed(r, ret_salt->fresh, WORKER_SALT_BYTES);
    if (!ret_salt->known)
        return;
    wire_read_fixed(r, ret_salt->stored, WORKER_SALT_BYTES);
    wire_read_fixed(r, ret_salt->content.byte, HASH_BYTES);
    wire_read_fixed(r, ret_salt->raw.byte, HASH_BYTES);
    ret_salt->earlier = wire_read_u8(r);
}

/* salts: NULL where only keys are asked for. */
static enum error_code send_rows(struct pulling *p, const struct slot *slot,
                                 struct wire_reader *salts, struct error *err) {
    static const struct decided key_only = {.change = WORKER_KEY};
    struct group *g = &p->group;
    frame_begin(&p->host->out, FRAME_ROWS);
    wire_u32(&p->host->out, slot->count);
    for (uint32_t first = 0; first < slot->count; first += g->count) {
        uint32_t left = slot->count - first;
        g->count = left < GROUP_ROWS ? left : GROUP_ROWS;
        for (uint32_t i = 0; salts != NULL && i < g->count; i++)
            read_salt(salts, &g->salts[i]);
        if (salts != NULL)
            decide(p, slot, first);
        for (uint32_t i = 0; i < g->count; i++)
            write_row(p, slot, &slot->rows[first + i], salts != NULL ? &g->decided[i] : &key_only);
    }
    if (salts != NULL && !wire_read_end(salts))
        return host_bad_request(err);
    return host_send(p->host, err);
}

/* The batch whose keys were sent gets its salts and is finished. */
static enum error_code settle(struct pulling *p, struct error *err) {
    struct wire_reader r;
    const struct slot *slot = &p->slots[p->filling ^ 1];
    if (!p->due)
        return ERROR_NONE;
    p->due = false;
    uint64_t since = clock_monotonic_ns();
    enum frame_type type = host_receive(p->host, &r);
    p->totals.wait_us += lap_us(&since);
    if (type == FRAME_STOP) {
        p->stopped = true;
        return ERROR_NONE;
    }
    /* Both ends are of one build: what does not fit is memory gone wrong, and no state to go on
     * from. The gateway sees this process end. */
    if (type != FRAME_SALTS || wire_read_u32(&r) != slot->count ||
        send_rows(p, slot, &r, err) != ERROR_NONE)
        _exit(error_info(ERROR_PROTOCOL)->exit_status);
    p->totals.digest_us += lap_us(&since);
    return ERROR_NONE;
}

/* The gateway answers the oldest keys before it reads on, also before it reads our error: that
 * answer must not be taken for the next request. */
static void forget_salts(struct pulling *p) {
    struct wire_reader r;
    if (p->due)
        (void)host_receive(p->host, &r);
    p->due = false;
}

static enum error_code hand_over(struct pulling *p, struct error *err) {
    struct slot *slot = &p->slots[p->filling];
    if (slot->count > 0 && p->mode == WORKER_KEYS) {
        TRY(send_rows(p, slot, NULL, err));
    } else if (slot->count > 0) {
        TRY(send_keys(p, slot, err));
        TRY(settle(p, err));
        p->due = !p->stopped;
        p->filling ^= 1;
    }
    slot = &p->slots[p->filling];
    slot->count = 0;
    slot->reason_count = 0;
    buffer_clear(&slot->data);
    return ERROR_NONE;
}

/* --- reading --- */

/* A date that is yet to come (9999-12-31, infinity) does not tell when its row was written: behind it
 * no pass would find anything. */
static bool is_to_come(const struct pulling *p, const uint8_t *value, uint32_t len) {
    enum { DATE_BYTES = 10 };
    if (len >= 8 && memcmp(value, "infinity", 8) == 0)
        return true;
    if (len < DATE_BYTES || value[4] != '-' || value[7] != '-')
        return false;
    return memcmp(value, p->to_come, DATE_BYTES) > 0;
}

static void note_watermark(struct pulling *p, const struct renkei_batch *batch, uint32_t row) {
    if (p->watermark_column < 0)
        return;
    const struct renkei_batch_column *c = &batch->columns[p->watermark_column];
    uint32_t len = c->length[row];
    if (len >= sizeof p->totals.watermark) /* NULL too */
        return;
    const uint8_t *value = c->data + c->offset[row];
    struct bytes most = bytes_text(p->totals.watermark);
    struct bytes this = bytes_of(value, len);
    /* Numbers of different lengths do not sort as texts do. */
    bool digits = len > 0;
    for (uint32_t i = 0; i < len; i++)
        digits = digits && value[i] >= '0' && value[i] <= '9';
    bool greater = digits && most.len != this.len ? this.len > most.len
                                                  : bytes_compare(this, most) > 0;
    if (!greater || memchr(value, 0, len) != NULL || is_to_come(p, value, len))
        return;
    memcpy(p->totals.watermark, value, len);
    p->totals.watermark[len] = '\0';
}

static void note_last_key(struct pulling *p, const struct renkei_batch *batch) {
    uint32_t row = batch->row_count - 1;
    size_t count = p->table->mapped->key_count;
    buffer_clear(&p->after_data);
    for (size_t i = 0; i < count; i++) {
        const struct renkei_batch_column *c = &batch->columns[i];
        uint32_t len = c->length[row] >= RENKEI_TOO_LONG ? 0 : c->length[row];
        buffer_append(&p->after_data, c->data + c->offset[row], len);
        p->after[i].len = len;
    }
    const uint8_t *at = p->after_data.data == NULL ? (const uint8_t *)"" : p->after_data.data;
    for (size_t i = 0; i < count; i++) {
        p->after[i].data = at;
        at += p->after[i].len;
    }
    p->has_after = true;
}

/* The normalizer writes right into the slot. */
static enum error_code take_rows(struct pulling *p, const struct renkei_batch *batch,
                                 struct error *err) {
    struct normalizer *normalizer = p->table->normalizer;
    struct renkei_batch own = *batch; /* without what only earlier mappings read */
    if (p->earlier != NULL)
        own.column_count = p->table->column_count;
    for (uint32_t i = 0; i < batch->row_count && !p->stopped; i++) {
        struct normalized_row row;
        struct slot *slot = &p->slots[p->filling];
        normalizer_append_to(normalizer, &slot->data);
        TRY(p->mode == WORKER_KEYS ? normalizer_row_key(normalizer, &own, i, &row, err)
                                   : normalizer_row(normalizer, &own, i, &row, err));
        TRY(keep_row(p, slot, batch, i, &row, err));
        note_watermark(p, batch, i);
        if (slot->count == WORKER_BATCH_ROWS_MAX || slot->data.len >= SLOT_BYTES)
            TRY(hand_over(p, err));
    }
    return ERROR_NONE;
}

static enum error_code take_batch(struct pulling *p, const struct renkei_batch *batch,
                                  struct error *err) {
    enum error_code code = take_rows(p, batch, err);
    normalizer_append_to(p->table->normalizer, NULL); /* the slots go with the pull */
    if (code != ERROR_NONE || p->stopped)
        return code;
    for (uint32_t i = 0; i < batch->column_count; i++)
        for (uint32_t row = 0; row < batch->row_count; row++)
            if (batch->columns[i].length[row] < RENKEI_TOO_LONG)
                p->totals.raw_bytes += batch->columns[i].length[row];
    p->range_rows += batch->row_count;
    note_last_key(p, batch);
    return ERROR_NONE;
}

/* fault->status stays RENKEI_OK where the rows came whole, or where the error is not the source's. */
static enum error_code read_cursor(struct pulling *p, struct renkei_cursor *cursor,
                                   struct renkei_fault *fault, struct error *err) {
    struct host *h = p->host;
    while (!p->stopped && !p->closed) {
        struct renkei_batch batch;
        uint64_t since = clock_monotonic_ns();
        enum renkei_status status = h->connector->next(cursor, &batch, fault);
        p->totals.source_us += lap_us(&since);
        if (status != RENKEI_OK) {
            fault->status = status == RENKEI_END ? RENKEI_OK : status;
            return ERROR_NONE;
        }
        uint64_t waited = p->totals.wait_us, hashed = p->totals.digest_us;
        TRY(take_batch(p, &batch, err));
        /* What settle() counted as waiting and hashing is not counted twice. */
        uint64_t inside = p->totals.wait_us - waited + p->totals.digest_us - hashed;
        p->totals.normalize_us += lap_us(&since) - inside;
        TRY(pace_rows(&p->pace, batch.row_count, &p->closed, err));
    }
    return ERROR_NONE;
}

static enum error_code run(struct pulling *p, const struct renkei_query *query,
                           struct error *err) {
    struct host *h = p->host;
    struct renkei_fault fault = {0};
    struct renkei_cursor *cursor = NULL;
    uint64_t since = clock_monotonic_ns();
    enum renkei_status status = h->connector->query(h->session, query, &cursor, &fault);
    p->totals.queries++;
    p->totals.source_us += lap_us(&since);
    p->unordered = status == RENKEI_UNSUPPORTED && query->order_by_key && !p->has_after;
    if (p->unordered)
        return ERROR_NONE;
    if (status != RENKEI_OK)
        return host_fault(h, &fault, err);
    enum error_code code = read_cursor(p, cursor, &fault, err);
    h->connector->finish(cursor);
    if (code == ERROR_NONE && fault.status != RENKEI_OK)
        return host_fault(h, &fault, err);
    return code;
}

static struct renkei_query query_of(const struct pulling *p) {
    const struct host_table *t = p->table;
    struct renkei_query q = {
        .schema = t->mapped->schema,
        .table = t->mapped->table,
        .columns = t->columns,
        .column_count = t->column_count,
        .key_columns = t->mapped->keys,
        .key_column_count = (uint32_t)t->mapped->key_count,
    };
    if (p->mode == WORKER_KEYS) /* nothing else of the rows is asked of the database */
        q.column_count = normalizer_key_columns(t->normalizer);
    if (p->earlier != NULL)
        q.columns = earlier_columns(p->earlier, &q.column_count);
    if (p->mode == WORKER_WATERMARK && p->watermark_from[0] != '\0') {
        q.watermark_column = t->mapped->watermark;
        q.watermark_from = (struct renkei_value){(const uint8_t *)p->watermark_from,
                                                 (uint32_t)strlen(p->watermark_from)};
    }
    return q;
}

/* Outside of the work windows nothing of ours is in the source: no rows under way, no session. */
static enum error_code rest(struct pulling *p, struct error *err) {
    TRY(hand_over(p, err));
    TRY(settle(p, err));
    p->closed = false;
    if (p->stopped)
        return ERROR_NONE;
    pace_done(&p->pace);
    host_rest(p->host);
    TRY(pace_window(&p->pace, err));
    TRY(host_session(p->host, err));
    p->totals.queries++;
    return host_check_same(p->host, p->table, err);
}

/* Between begin and end, where there is a snapshot. ret_label: NULL: is not asked for. */
static enum error_code begin(struct pulling *p, bool *ret_begun, const char **ret_label,
                             struct error *err) {
    struct host *h = p->host;
    struct renkei_fault fault = {0};
    *ret_begun = false;
    if ((h->connector->capabilities & RENKEI_CAN_SNAPSHOT) == 0)
        return ERROR_NONE;
    enum renkei_status status = h->connector->begin(h->session, ret_label, &fault);
    /* A connector for many databases finds out here whether this one has snapshots. */
    if (status != RENKEI_OK && status != RENKEI_UNSUPPORTED)
        return host_fault(h, &fault, err);
    *ret_begun = status == RENKEI_OK;
    p->totals.queries += *ret_begun;
    return ERROR_NONE;
}

static void end(struct pulling *p) {
    struct host *h = p->host;
    struct renkei_fault fault = {0};
    p->totals.queries++;
    /* All rows came, or an error is told already: only the session is of no more use. The table is:
     * what was counted in it is sent yet. */
    if (h->session != NULL && h->connector->end(h->session, &fault) != RENKEI_OK)
        host_rest(h);
}

/* One stream in one snapshot; where windows may end it, in the order of the key and a snapshot a
 * window. */
static enum error_code run_stream(struct pulling *p, bool snapshot, struct error *err) {
    struct host *h = p->host;
    bool ordered = h->windows != NULL && !p->unordered &&
                   (h->connector->capabilities & RENKEI_CAN_KEY_RANGE) != 0;
    const char *label;
    for (;;) {
        struct renkei_query q = query_of(p);
        q.order_by_key = ordered;
        q.after = ordered && p->has_after ? p->after : NULL;
        enum error_code code = run(p, &q, err);
        if (p->unordered && ordered) { /* nothing was read: once more, as the rows come */
            ordered = false;
            continue;
        }
        if (snapshot)
            end(p);
        TRY(code);
        if (!p->closed || p->stopped)
            return ERROR_NONE;
        if (!ordered)
            return error_set(err, ERROR_LIMIT,
                             "table %s: the work window ended; its rows do not come in the order "
                             "of their key, so that the next pass starts over",
                             p->name);
        TRY(rest(p, err));
        if (!p->stopped)
            TRY(begin(p, &snapshot, &label, err));
    }
}

/* A table without snapshots is read in short ranges by its key, each fetched whole: no writer of
 * the hospital's waits for us longer than one of them takes. A range is as long as is read in
 * RANGE_US. A connector that cannot order this database's rows is asked for all of them at once. */
static enum error_code run_ranges(struct pulling *p, struct error *err) {
    uint32_t rows = RANGE_ROWS_FIRST;
    bool more = true;
    while (more && !p->stopped) {
        struct renkei_query q = query_of(p);
        uint64_t before_us = p->totals.source_us, before_bytes = p->totals.raw_bytes;
        q.order_by_key = 1;
        q.rows_max = rows;
        q.after = p->has_after ? p->after : NULL;
        p->range_rows = 0;
        TRY(run(p, &q, err));
        if (p->unordered)
            return run_stream(p, false, err);
        more = p->range_rows == rows || p->closed;
        uint64_t us = p->totals.source_us - before_us;
        uint64_t bytes = p->totals.raw_bytes - before_bytes;
        if (us > RANGE_US || bytes > RANGE_BYTES)
            rows = rows > 1 ? rows / 2 : 1;
        else if (us < RANGE_US / 2 && bytes < RANGE_BYTES / 2)
            rows = rows < RANGE_ROWS_MAX ? rows * 2 : RANGE_ROWS_MAX;
        if (p->closed)
            TRY(rest(p, err));
    }
    return ERROR_NONE;
}

/* Few rows, each found by its key: no writer waits for them long, in no engine. */
static enum error_code run_listed(struct pulling *p, struct error *err) {
    struct renkei_query q = query_of(p);
    struct renkei_value *values =
        arena_alloc(p->given, (size_t)p->key_count * q.key_column_count * sizeof *values + 1);
    if (values == NULL)
        return error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    for (uint32_t i = 0; i < p->key_count; i++)
        TRY(host_key_values(p->table, p->given, p->keys[i],
                            values + (size_t)i * q.key_column_count, err));
    q.keys = values;
    q.key_row_count = p->key_count;
    return run(p, &q, err);
}

static enum error_code send_characters(struct pulling *p, struct error *err) {
    size_t count;
    uint64_t beyond;
    const struct character_count *counts =
        normalizer_characters(p->table->normalizer, &count, &beyond);
    struct buffer *out = &p->host->out;
    frame_begin(out, FRAME_CHARACTERS);
    wire_u64(out, beyond);
    wire_u32(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        wire_u32(out, counts[i].column);
        wire_u8(out, (uint8_t)counts[i].kind);
        wire_u32(out, counts[i].code);
        wire_u64(out, counts[i].count);
        frame_text(out, counts[i].sample_key);
    }
    return host_send(p->host, err);
}

static enum error_code finish(struct pulling *p, struct error *err) {
    if (!p->stopped)
        TRY(hand_over(p, err));
    if (!p->stopped)
        TRY(settle(p, err));
    if (!p->stopped && p->mode != WORKER_KEYS)
        TRY(send_characters(p, err));
    frame_begin(&p->host->out, FRAME_END);
    pace_write_totals(&p->host->out, &p->totals);
    return host_send(p->host, err);
}

/* --- the request --- */

static int find_column(const struct host_table *t, const char *name) {
    for (uint32_t i = 0; name != NULL && i < t->column_count; i++)
        if (strcmp(t->columns[i], name) == 0)
            return (int)i;
    return -1;
}

static enum error_code prepare(struct pulling *p, struct error *err) {
    struct host *h = p->host;
    TRY(host_session(h, err));
    enum error_code code = host_table(h, p->name, true, &p->table, err);
    /* The one place where a pull meets a session that died of old age: nothing is sent yet. */
    if (code == ERROR_SOURCE_LOST) {
        TRY(host_session(h, err));
        code = host_table(h, p->name, true, &p->table, err);
    }
    TRY(code);
    TRY(host_look_up(h, p->table, err));
    p->watermark_column = p->mode == WORKER_KEYS
                              ? -1
                              : find_column(p->table, p->table->mapped->watermark);
    clock_rfc3339(clock_wall_ms() + TO_COME_MS, p->to_come);
    if (p->mode == WORKER_WATERMARK && p->table->mapped->watermark == NULL)
        return error_set(err, ERROR_MAPPING, "table %s: its mapping names no watermark column",
                         p->name);
    if (p->mode == WORKER_KEYS || p->description_count == 0)
        return ERROR_NONE;
    p->totals.queries++;
    return earlier_new(h, p->table, p->descriptions, p->description_count, &p->earlier, err);
}

static enum error_code pull(struct pulling *p, struct error *err) {
    struct host *h = p->host;
    const char *label = "";
    bool snapshot = false;
    /* A few rows by their keys are looked at whenever somebody asks. */
    bool listed = p->mode == WORKER_LISTED;
    if (!listed)
        TRY(pace_window(&p->pace, err));
    TRY(prepare(p, err));
    bool ranges = !listed && p->table->transactional == 0 &&
                  (h->connector->capabilities & RENKEI_CAN_KEY_RANGE) != 0;
    if (!ranges)
        TRY(begin(p, &snapshot, &label, err));
    enum error_code code = host_send_plan(h, p->table, label, err);
    if (code != ERROR_NONE && snapshot)
        end(p);
    TRY(code);
    if (ranges) {
        TRY(run_ranges(p, err));
    } else if (listed) {
        code = run_listed(p, err);
        if (snapshot)
            end(p);
        TRY(code);
    } else {
        TRY(run_stream(p, snapshot, err));
    }
    return finish(p, err);
}

static void pulling_done(struct pulling *p) {
    for (int i = 0; i < 2; i++) {
        buffer_done(&p->slots[i].data);
        free(p->slots[i].reasons);
    }
    pace_done(&p->pace);
    buffer_done(&p->after_data);
    earlier_free(p->earlier);
    arena_free(p->given);
    free(p);
}

/* They outlive the request's frame: salts come in while they are used. */
static enum error_code read_list(struct pulling *p, struct wire_reader *r, size_t count_max,
                                 size_t bytes_max, struct bytes **ret_list, uint32_t *ret_count,
                                 struct error *err) {
    uint32_t count = wire_read_count(r, (uint32_t)count_max, 4);
    struct bytes *list = arena_alloc(p->given, (count + 1) * sizeof *list);
    if (list == NULL)
        return error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    for (uint32_t i = 0; i < count; i++) {
        struct bytes item = wire_read_bytes(r, bytes_max);
        list[i] = arena_bytes(p->given, item);
        if (item.len > 0 && list[i].data == NULL)
            return error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    }
    *ret_list = list;
    *ret_count = count;
    return ERROR_NONE;
}

static enum error_code read_lists(struct pulling *p, struct wire_reader *r, struct error *err) {
    p->given = arena_new(WORKER_FETCH_BYTES_MAX);
    if (p->given == NULL)
        return error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    TRY(read_list(p, r, WORKER_FETCH_KEYS_MAX, NORMALIZER_KEY_BYTES_MAX, &p->keys, &p->key_count,
                  err));
    TRY(read_list(p, r, WORKER_EARLIER_MAX, DESCRIPTION_BYTES_MAX, &p->descriptions,
                  &p->description_count, err));
    bool fits = p->mode == WORKER_LISTED ? p->key_count > 0 : p->key_count == 0;
    return fits && wire_read_end(r) ? ERROR_NONE : host_bad_request(err);
}

enum error_code host_pull(struct host *h, struct wire_reader *r, struct error *err) {
    struct pulling *p = calloc(1, sizeof *p);
    if (p == NULL)
        return error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    p->host = h;
    buffer_init(&p->after_data, RENKEI_BATCH_BYTES_MAX);
    bool good = true;
    for (int i = 0; i < 2; i++) {
        buffer_init(&p->slots[i].data, SLOT_BYTES_MAX);
        p->slots[i].reasons = calloc((size_t)WORKER_BATCH_ROWS_MAX * NORMALIZER_REASONS_MAX,
                                     sizeof *p->slots[i].reasons);
        good = good && p->slots[i].reasons != NULL;
    }
    enum error_code code =
        good ? ERROR_NONE : error_set(err, ERROR_NO_MEMORY, "pull: no memory");
    good = host_text(r, p->name, sizeof p->name);
    uint8_t mode = wire_read_u8(r);
    p->mode = (enum worker_mode)mode;
    good = good && host_text(r, p->watermark_from, sizeof p->watermark_from);
    pace_start(&p->pace, h, &p->totals, wire_read_u32(r));
    if (code == ERROR_NONE && (!good || r->failed || mode > WORKER_LISTED))
        code = host_bad_request(err);
    if (code == ERROR_NONE)
        code = read_lists(p, r, err);
    if (code == ERROR_NONE)
        code = pull(p, err);
    if (h->session == NULL)
        host_drop_session(h); /* the next one looks at the tables anew */
    if (code != ERROR_NONE)
        forget_salts(p);
    pulling_done(p);
    return code;
}
