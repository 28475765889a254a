#include "normalizer/charset.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/text.h"

struct charset {
    enum renkei_charset id;
    const struct gaiji *gaiji;
    bool vector;
    struct charset_icu *icu; /* ISO-2022-JP and UTF-16 */
};

const char *const charset_words[] = {"cp932",    "windows-31j", "shift_jis", "sjis",   "euc-jp",
                                     "eucjp",    "iso-2022-jp", "utf-8",     "utf8",   "utf-16le",
                                     "utf-16be", "latin1",      "ascii",     "binary", NULL};

enum renkei_charset charset_of_word(int index) {
    static const enum renkei_charset charsets[] = {
        RENKEI_CHARSET_CP932,       RENKEI_CHARSET_CP932,   RENKEI_CHARSET_CP932,
        RENKEI_CHARSET_SJIS,        RENKEI_CHARSET_EUC_JP,  RENKEI_CHARSET_EUC_JP,
        RENKEI_CHARSET_ISO_2022_JP, RENKEI_CHARSET_UTF8,    RENKEI_CHARSET_UTF8,
        RENKEI_CHARSET_UTF16LE,     RENKEI_CHARSET_UTF16BE, RENKEI_CHARSET_LATIN1,
        RENKEI_CHARSET_ASCII,       RENKEI_CHARSET_BINARY};
    return charsets[index];
}

const char *charset_name(enum renkei_charset charset) {
    static const char *const names[] = {
        [RENKEI_CHARSET_UNKNOWN] = "unknown",  [RENKEI_CHARSET_BINARY] = "binary",
        [RENKEI_CHARSET_ASCII] = "ascii",      [RENKEI_CHARSET_UTF8] = "utf-8",
        [RENKEI_CHARSET_CP932] = "cp932",      [RENKEI_CHARSET_SJIS] = "sjis",
        [RENKEI_CHARSET_EUC_JP] = "euc-jp",    [RENKEI_CHARSET_ISO_2022_JP] = "iso-2022-jp",
        [RENKEI_CHARSET_UTF16LE] = "utf-16le", [RENKEI_CHARSET_UTF16BE] = "utf-16be",
        [RENKEI_CHARSET_LATIN1] = "latin1",
    };
    return (unsigned)charset < sizeof names / sizeof names[0] ? names[charset] : "unknown";
}

/* --- the tables of the process --- */

static struct {
    pthread_once_t once;
    enum error_code code;
    struct error err;
    struct charset_cp932 cp932;
    struct charset_euc euc;
    uint32_t latin1[256];
    uint32_t ascii[256];
    bool stop_plain[256];  /* bytes that end a run of ASCII: 80 and above, */
    bool stop_escape[256]; /* and those that JSON escapes */
} tables = {.once = PTHREAD_ONCE_INIT};

static void fill_tables(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        tables.ascii[byte] = byte < 0x80 ? charset_entry(byte) : CHARSET_BAD;
        tables.stop_plain[byte] = byte >= 0x80;
        tables.stop_escape[byte] = byte >= 0x80 || byte < 0x20 || byte == '"' || byte == '\\';
    }
    tables.code = charset_fill_cp932(&tables.cp932, &tables.err);
    if (tables.code == ERROR_NONE)
        tables.code = charset_fill_euc(&tables.cp932, &tables.euc, &tables.err);
    if (tables.code == ERROR_NONE)
        tables.code = charset_fill_single("ibm-5348_P100-1997", tables.latin1, &tables.err);
}

enum error_code charset_new(enum renkei_charset id, const struct gaiji *gaiji,
                            struct charset **ret_charset, struct error *err) {
    assert(id > RENKEI_CHARSET_BINARY && id <= RENKEI_CHARSET_LATIN1);
    pthread_once(&tables.once, fill_tables);
    if (tables.code != ERROR_NONE)
        return error_set(err, tables.code, "%s", tables.err.message);
    struct charset *charset = calloc(1, sizeof *charset);
    if (charset == NULL)
        return error_set(err, ERROR_NO_MEMORY, "charset: out of memory");
    *charset = (struct charset){.id = id, .gaiji = gaiji, .vector = true};
    const char *icu = id == RENKEI_CHARSET_ISO_2022_JP ? "ISO-2022-JP"
                      : id == RENKEI_CHARSET_UTF16LE   ? "UTF-16LE"
                      : id == RENKEI_CHARSET_UTF16BE   ? "UTF-16BE"
                                                       : NULL;
    enum error_code code = ERROR_NONE;
    if (icu != NULL)
        code = charset_icu_new(icu, &charset->icu, err);
    if (code != ERROR_NONE) {
        charset_free(charset);
        return code;
    }
    *ret_charset = charset;
    return ERROR_NONE;
}

void charset_free(struct charset *charset) {
    if (charset == NULL)
        return;
    charset_icu_free(charset->icu);
    free(charset);
}

void charset_set_vector(struct charset *charset, bool vector) {
    charset->vector = vector;
}

/* --- one character --- */

static size_t put_escape(uint8_t *o, uint8_t byte) {
    static const char digits[] = "0123456789abcdef";
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    o[0] = '\\';
    if (byte == '"' || byte == '\\') {
        o[1] = byte;
        return 2;
    }
    if (letters[byte] != '\0') {
        o[1] = (uint8_t)letters[byte];
        return 2;
    }
    memcpy(o + 1, "u00", 3);
    o[4] = (uint8_t)digits[byte >> 4];
    o[5] = (uint8_t)digits[byte & 15];
    return 6;
}

static size_t put_code_point(uint8_t *o, uint32_t c) {
    if (c <= 0xFFFF) {
        uint32_t entry = charset_entry(c);
        for (unsigned i = 0; i < CHARSET_LENGTH(entry); i++)
            o[i] = (uint8_t)(entry >> 8 * i);
        return CHARSET_LENGTH(entry);
    }
    o[0] = (uint8_t)(0xF0 | c >> 18);
    o[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    o[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    o[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* Gaiji texts have nothing to escape: gaiji_parse refuses quotes, backslashes and controls. */
void charset_put(const struct charset *charset, uint32_t c, bool escape, struct buffer *out) {
    struct bytes text = gaiji_find(charset->gaiji, c);
    if (text.len > 0) {
        buffer_append(out, text.data, text.len);
        return;
    }
    uint8_t *o = buffer_reserve(out, CHARSET_GROWTH_MAX);
    if (o == NULL)
        return;
    bool escaped = escape && c < 0x80 && tables.stop_escape[c];
    out->len += escaped ? put_escape(o, (uint8_t)c) : put_code_point(o, c);
}

static bool is_private(uint32_t c) {
    return c >= GAIJI_FIRST && c <= GAIJI_LAST;
}

void charset_visit_private(const struct charset *charset, uint32_t c, size_t offset,
                           charset_visitor *visitor, void *context) {
    if (!is_private(c))
        return;
    bool mapped = gaiji_find(charset->gaiji, c).len > 0;
    visitor(context, mapped ? CHARACTER_GAIJI_MAPPED : CHARACTER_GAIJI, c, offset);
}

/* --- a run over one text --- */

struct run {
    const struct charset *charset;
    const uint8_t *begin;
    const uint8_t *stop; /* of this block: no character starts here or later */
    const uint8_t *end;  /* of the text */
    uint8_t *o;
    struct buffer *out;
    bool escape;
    charset_visitor *visitor;
    void *context;
};

/* Takes up the buffer's end again; false where it is full. What is left of the block fits. */
static bool run_room(struct run *run, const uint8_t *at) {
    size_t left = at < run->stop ? (size_t)(run->stop - at) : 0;
    run->o = buffer_reserve(run->out, left * CHARSET_GROWTH_MAX + CHARSET_SLACK_BYTES);
    return run->o != NULL;
}

static void run_close(struct run *run) {
    run->out->len = (size_t)(run->o - run->out->data);
}

static void run_visit(const struct run *run, enum character_kind kind, const uint8_t *at,
                      size_t len) {
    uint32_t code = 0;
    for (size_t i = 0; i < len; i++)
        code = code << 8 | at[i];
    run->visitor(run->context, kind, code, (size_t)(at - run->begin));
}

/* len bytes that are no character. */
static void run_bad(struct run *run, const uint8_t *at, size_t len) {
    run_visit(run, CHARACTER_INVALID, at, len);
    memcpy(run->o, "\xEF\xBF\xBD", 3);
    run->o += 3;
}

/* A private-use character: the hospital's table may say what it is, in more bytes than a block has
 * room for. */
static bool run_private(struct run *run, const uint8_t *at, size_t len, uint32_t code, uint32_t c) {
    bool mapped = gaiji_find(run->charset->gaiji, c).len > 0;
    run->visitor(run->context, mapped ? CHARACTER_GAIJI_MAPPED : CHARACTER_GAIJI, code,
                 (size_t)(at - run->begin));
    run_close(run);
    charset_put(run->charset, c, run->escape, run->out);
    return run_room(run, at + len);
}

/* A character of len bytes from a table. False where the output is full. */
static bool run_entry(struct run *run, const uint8_t *at, size_t len, uint32_t entry) {
    unsigned out_len = CHARSET_LENGTH(entry);
    if (out_len == 0) {
        run_bad(run, at, len);
        return true;
    }
    uint8_t utf8[4] = {(uint8_t)entry, (uint8_t)(entry >> 8), (uint8_t)(entry >> 16), 0};
    if ((entry & CHARSET_MARKED) != 0) {
        uint32_t c = (utf8[0] & 0x0Fu) << 12 | (utf8[1] & 0x3Fu) << 6 | (utf8[2] & 0x3Fu);
        if (out_len == 3 && is_private(c)) {
            uint32_t code = 0;
            for (size_t i = 0; i < len; i++)
                code = code << 8 | at[i];
            return run_private(run, at, len, code, c);
        }
        bool lossy = (entry & CHARSET_LOSSY) == CHARSET_LOSSY;
        run_visit(run, lossy ? CHARACTER_NOT_ROUND_TRIP : CHARACTER_WAVE_DASH, at, len);
    }
    memcpy(run->o, utf8, sizeof utf8);
    run->o += out_len;
    return true;
}

/* Copies plain ASCII from *at to *o, and leaves both where it ends: at stop at the latest. May write
 * 15 bytes more than it copies, which the run's slack has room for. */
static inline __attribute__((always_inline)) void copy_ascii(const uint8_t **at, uint8_t **o,
                                                             const uint8_t *stop, bool escape,
                                                             bool vector) {
    const uint8_t *from = *at;
    uint8_t *to = *o;
#ifdef __SSE2__
    while (vector && stop - from >= 16) {
        __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)from);
        __m128i stops = chunk; /* the top bit: 80 and above */
        if (escape) {
            stops = _mm_or_si128(stops, _mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')));
            stops = _mm_or_si128(stops, _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\')));
            stops = _mm_or_si128(stops, _mm_cmplt_epi8(chunk, _mm_set1_epi8(0x20)));
        }
        unsigned mask = (unsigned)_mm_movemask_epi8(stops);
        _mm_storeu_si128((__m128i *)(void *)to, chunk);
        unsigned plain = mask == 0 ? 16 : (unsigned)__builtin_ctz(mask);
        from += plain;
        to += plain;
        if (mask != 0) {
            *at = from;
            *o = to;
            return;
        }
    }
#else
    (void)vector;
#endif
    const bool *stops = escape ? tables.stop_escape : tables.stop_plain;
    while (from < stop && !stops[*from])
        *to++ = *from++;
    *at = from;
    *o = to;
}

static inline const uint8_t *run_ascii(struct run *run, const uint8_t *at, bool escape,
                                       bool vector) {
    uint8_t *o = run->o;
    copy_ascii(&at, &o, run->stop, escape, vector);
    run->o = o;
    return at;
}

/* --- a block in each charset: from at to run->stop, or NULL where the output is full --- */

static __attribute__((noinline)) const uint8_t *cp932_slow(struct run *run, const uint8_t *at) {
    const uint8_t lead = at[0];
    if (lead < 0x80) {
        run->o += put_escape(run->o, lead);
        return at + 1;
    }
    int row = tables.cp932.lead[lead];
    if (row < 0)
        return run_entry(run, at, 1, tables.cp932.single[lead]) ? at + 1 : NULL;
    bool trail = at + 1 < run->end && at[1] >= 0x40 && at[1] <= 0xFC && at[1] != 0x7F;
    if (!trail) {
        run_bad(run, at, 1);
        return at + 1;
    }
    return run_entry(run, at, 2, tables.cp932.pair[256 * row + at[1]]) ? at + 2 : NULL;
}

/* The hot path keeps its place in locals: a store through a byte pointer may change any struct, so
 * that the compiler would read run's fields again after each character. */
static inline __attribute__((always_inline)) const uint8_t *
cp932_block(struct run *run, const uint8_t *at, bool escape, bool vector) {
    const bool *stops = escape ? tables.stop_escape : tables.stop_plain;
    const uint8_t *const stop = run->stop;
    const uint8_t *const end = run->end;
    uint8_t *o = run->o;
    while (at < stop) {
        const uint8_t lead = *at;
        if (!stops[lead]) {
            copy_ascii(&at, &o, stop, escape, vector);
            continue;
        }
        const int row = tables.cp932.lead[lead];
        uint32_t entry = CHARSET_BAD;
        if (row >= 0 && end - at >= 2)
            entry = tables.cp932.pair[256 * row + at[1]];
        else if (lead >= 0x80 && row < 0)
            entry = tables.cp932.single[lead];
        if (entry >= CHARSET_MARKED) {
            run->o = o;
            at = cp932_slow(run, at);
            o = run->o;
            if (at == NULL)
                return NULL;
            continue;
        }
        memcpy(o, &entry, 4);
        o += CHARSET_LENGTH(entry);
        at += row >= 0 ? 2 : 1;
    }
    run->o = o;
    return at;
}

static inline __attribute__((always_inline)) const uint8_t *
single_block(struct run *run, const uint8_t *at, const uint32_t *single, bool escape, bool vector) {
    const bool *stops = escape ? tables.stop_escape : tables.stop_plain;
    while (at != NULL && at < run->stop) {
        if (!stops[*at]) {
            at = run_ascii(run, at, escape, vector);
        } else if (*at < 0x80) {
            run->o += put_escape(run->o, *at);
            at++;
        } else {
            at = run_entry(run, at, 1, single[*at]) ? at + 1 : NULL;
        }
    }
    return at;
}

static bool is_set(const struct run *run, const uint8_t *at) {
    return at < run->end && *at >= 0xA1 && *at <= 0xFE;
}

static inline __attribute__((always_inline)) const uint8_t *
euc_block(struct run *run, const uint8_t *at, bool escape, bool vector) {
    const bool *stops = escape ? tables.stop_escape : tables.stop_plain;
    while (at != NULL && at < run->stop) {
        uint8_t lead = *at;
        if (!stops[lead]) {
            at = run_ascii(run, at, escape, vector);
            continue;
        }
        if (lead < 0x80) {
            run->o += put_escape(run->o, lead);
            at++;
            continue;
        }
        uint32_t entry = CHARSET_BAD;
        size_t len = 1; /* a lead without its trail is bad alone */
        if (is_set(run, at) && is_set(run, at + 1)) {
            entry = tables.euc.set1[(at[0] - 0xA1) * 94 + at[1] - 0xA1];
            len = 2;
        } else if (lead == 0x8E && at + 1 < run->end && at[1] >= 0xA1 && at[1] <= 0xDF) {
            entry = tables.euc.kana[at[1]];
            len = 2;
        } else if (lead == 0x8F && is_set(run, at + 1) && is_set(run, at + 2)) {
            entry = tables.euc.set3[(at[1] - 0xA1) * 94 + at[2] - 0xA1];
            len = 3;
        }
        at = run_entry(run, at, len, entry) ? at + len : NULL;
    }
    return at;
}

/* The length of the well-formed character at `at` (Unicode 15, table 3-7), or 0 and in *ret_bad
 * how many bytes make one U+FFFD: the longest beginning of a character. */
static size_t utf8_length(const uint8_t *at, const uint8_t *end, size_t *ret_bad) {
    uint8_t lead = at[0];
    size_t len = lead >= 0xC2 && lead <= 0xDF   ? 2
                 : lead >= 0xE0 && lead <= 0xEF ? 3
                 : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                : 0;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    *ret_bad = 1;
    for (size_t i = 1; i < len; i++) {
        if (at + i >= end || at[i] < low || at[i] > high)
            return 0;
        *ret_bad = i + 1;
        low = 0x80;
        high = 0xBF;
    }
    return len;
}

static inline __attribute__((always_inline)) const uint8_t *
utf8_block(struct run *run, const uint8_t *at, bool escape, bool vector) {
    const bool *stops = escape ? tables.stop_escape : tables.stop_plain;
    while (at != NULL && at < run->stop) {
        if (!stops[*at]) {
            at = run_ascii(run, at, escape, vector);
            continue;
        }
        if (*at < 0x80) {
            run->o += put_escape(run->o, *at);
            at++;
            continue;
        }
        size_t bad = 0;
        size_t len = utf8_length(at, run->end, &bad);
        if (len == 0) {
            run_bad(run, at, bad);
            at += bad;
            continue;
        }
        if (len == 3 && at[0] >= 0xEE) {
            uint32_t c = (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
            if (is_private(c)) {
                at = run_private(run, at, len, c, c) ? at + len : NULL;
                continue;
            }
        }
        memcpy(run->o, at, len);
        run->o += len;
        at += len;
    }
    return at;
}

static inline __attribute__((always_inline)) const uint8_t *
block(struct run *run, const uint8_t *at, bool escape, bool vector) {
    switch (run->charset->id) {
    case RENKEI_CHARSET_CP932:
    case RENKEI_CHARSET_SJIS:
        return cp932_block(run, at, escape, vector);
    case RENKEI_CHARSET_EUC_JP:
        return euc_block(run, at, escape, vector);
    case RENKEI_CHARSET_UTF8:
        return utf8_block(run, at, escape, vector);
    case RENKEI_CHARSET_LATIN1:
        return single_block(run, at, tables.latin1, escape, vector);
    case RENKEI_CHARSET_ASCII:
        return single_block(run, at, tables.ascii, escape, vector);
    case RENKEI_CHARSET_UNKNOWN:
    case RENKEI_CHARSET_BINARY:
    case RENKEI_CHARSET_ISO_2022_JP:
    case RENKEI_CHARSET_UTF16LE:
    case RENKEI_CHARSET_UTF16BE:
        break;
    }
    assert(!"a charset with a block decoder");
    return NULL;
}

static const uint8_t *run_block(struct run *run, const uint8_t *at, bool vector) {
    if (vector)
        return run->escape ? block(run, at, true, true) : block(run, at, false, true);
    return run->escape ? block(run, at, true, false) : block(run, at, false, false);
}

/* Quotes stand in the slack of the first and the last block. */
static void decode(struct charset *charset, struct bytes raw, bool escape, bool quotes,
                   charset_visitor *visitor, void *context, struct buffer *out) {
    struct run run = {.charset = charset,
                      .begin = raw.data,
                      .end = raw.data + raw.len,
                      .out = out,
                      .escape = escape,
                      .visitor = visitor,
                      .context = context};
    const uint8_t *at = raw.data;
    do {
        run.stop = run.end - at > CHARSET_BLOCK_BYTES ? at + CHARSET_BLOCK_BYTES : run.end;
        if (!run_room(&run, at))
            return;
        if (quotes && at == run.begin)
            *run.o++ = '"';
        at = run_block(&run, at, charset->vector);
        if (at == NULL)
            return;
        if (quotes && at >= run.end)
            *run.o++ = '"';
        run_close(&run);
    } while (at < run.end);
}

void charset_decode(struct charset *charset, struct bytes raw, bool escape,
                    charset_visitor *visitor, void *context, struct buffer *out) {
    if (charset->icu != NULL)
        charset_icu_decode(charset, charset->icu, raw, escape, visitor, context, out);
    else if (raw.len > 0)
        decode(charset, raw, escape, false, visitor, context, out);
}

void charset_decode_string(struct charset *charset, struct bytes raw, charset_visitor *visitor,
                           void *context, struct buffer *out) {
    if (charset->icu == NULL && raw.len > 0) {
        decode(charset, raw, true, true, visitor, context, out);
        return;
    }
    buffer_append_byte(out, '"');
    charset_decode(charset, raw, true, visitor, context, out);
    buffer_append_byte(out, '"');
}

/* --- back --- */

static bool find_cp932(uint32_t entry, struct buffer *out) {
    for (unsigned byte = 0xA1; byte <= 0xDF; byte++) {
        if (tables.cp932.single[byte] == entry) {
            buffer_append_byte(out, (uint8_t)byte);
            return true;
        }
    }
    for (unsigned lead = 0x81; lead <= 0xFC; lead++) {
        if (tables.cp932.lead[lead] < 0)
            continue;
        const uint32_t *pairs = &tables.cp932.pair[256 * tables.cp932.lead[lead]];
        for (unsigned trail = 0x40; trail <= 0xFC; trail++) {
            bool lossy = (pairs[trail] & CHARSET_LOSSY) == CHARSET_LOSSY;
            if (lossy || (pairs[trail] & ~CHARSET_MARKED) != entry)
                continue;
            buffer_append_byte(out, (uint8_t)lead);
            buffer_append_byte(out, (uint8_t)trail);
            return true;
        }
    }
    return false;
}

static bool find_set(const uint32_t *set, uint32_t entry, bool third, struct buffer *out) {
    for (unsigned i = 0; i < 94 * 94; i++) {
        if ((set[i] & CHARSET_LOSSY) == CHARSET_LOSSY || (set[i] & ~CHARSET_MARKED) != entry)
            continue;
        if (third)
            buffer_append_byte(out, 0x8F);
        buffer_append_byte(out, (uint8_t)(i / 94 + 0xA1));
        buffer_append_byte(out, (uint8_t)(i % 94 + 0xA1));
        return true;
    }
    return false;
}

static bool find_euc(uint32_t entry, struct buffer *out) {
    for (unsigned byte = 0xA1; byte <= 0xDF; byte++) {
        if (tables.euc.kana[byte] == entry) {
            buffer_append_byte(out, 0x8E);
            buffer_append_byte(out, (uint8_t)byte);
            return true;
        }
    }
    return find_set(tables.euc.set1, entry, false, out) ||
           find_set(tables.euc.set3, entry, true, out);
}

static bool find_single(const uint32_t *single, uint32_t entry, struct buffer *out) {
    for (unsigned byte = 0x80; byte < 256; byte++) {
        if (single[byte] == entry) {
            buffer_append_byte(out, (uint8_t)byte);
            return true;
        }
    }
    return false;
}

/* A search through the table: for names and patient ids, a few characters at a time. */
static bool encode_one(const struct charset *charset, uint32_t c, struct buffer *out) {
    if (c < 0x80) {
        buffer_append_byte(out, (uint8_t)c);
        return true;
    }
    if (c > 0xFFFF)
        return false;
    switch (charset->id) {
    case RENKEI_CHARSET_CP932:
    case RENKEI_CHARSET_SJIS:
        return find_cp932(charset_entry(c), out);
    case RENKEI_CHARSET_EUC_JP:
        return find_euc(charset_entry(c), out);
    case RENKEI_CHARSET_LATIN1:
        return find_single(tables.latin1, charset_entry(c), out);
    case RENKEI_CHARSET_UNKNOWN:
    case RENKEI_CHARSET_BINARY:
    case RENKEI_CHARSET_ASCII:
    case RENKEI_CHARSET_UTF8:
    case RENKEI_CHARSET_ISO_2022_JP:
    case RENKEI_CHARSET_UTF16LE:
    case RENKEI_CHARSET_UTF16BE:
        break;
    }
    return false;
}

bool charset_encode(struct charset *charset, struct bytes text, struct buffer *out) {
    if (!text_utf8_valid(text))
        return false;
    if (charset->icu != NULL)
        return charset_icu_encode(charset->icu, text, out);
    if (charset->id == RENKEI_CHARSET_UTF8) {
        buffer_append(out, text.data, text.len);
        return !out->failed;
    }
    for (size_t i = 0; i < text.len;) {
        const uint8_t *at = text.data + i;
        size_t bad = 0;
        size_t len = at[0] < 0x80 ? 1 : utf8_length(at, text.data + text.len, &bad);
        uint32_t c = len == 1 ? at[0] : at[0] & (0xFFu >> (len + 1));
        for (size_t k = 1; k < len; k++)
            c = c << 6 | (at[k] & 0x3Fu);
        if (!encode_one(charset, c, out))
            return false;
        i += len;
    }
    return !out->failed;
}
