#include "normalizer/evidence.h"

#include <stdlib.h>

#include "base/text.h"
#include "normalizer/charset.h"

enum {
    VALUES_MIN = 3, /* fewer that are valid as declared are no evidence against it */
    DECODED_BYTES_MAX = RENKEI_CELL_BYTES_MAX * 3 + CHARSET_SLACK_BYTES,
};

/* The strongest first: text that is valid UTF-8 is hardly anything else. */
static const enum renkei_charset CANDIDATES[] = {
    RENKEI_CHARSET_UTF8, RENKEI_CHARSET_EUC_JP, RENKEI_CHARSET_CP932};
enum { CANDIDATE_COUNT = sizeof CANDIDATES / sizeof CANDIDATES[0] };

/* How the values read in one charset. Characters count where they are not ASCII. */
struct reading {
    struct charset *charset;
    uint64_t invalid; /* values */
    uint64_t characters;
    uint64_t japanese;   /* kana, kanji, full-width forms and punctuation */
    uint64_t kana;       /* hiragana and katakana, which real text always has */
    uint64_t half_width; /* katakana of half width, which real text has little of */
};

struct evidence {
    enum renkei_charset declared;
    struct reading as_declared;
    struct reading readings[CANDIDATE_COUNT];
    struct buffer decoded;
    uint64_t values;
};

static bool gives_evidence(enum renkei_charset charset) {
    return charset == RENKEI_CHARSET_ASCII || charset == RENKEI_CHARSET_UTF8 ||
           charset == RENKEI_CHARSET_CP932 || charset == RENKEI_CHARSET_SJIS ||
           charset == RENKEI_CHARSET_EUC_JP || charset == RENKEI_CHARSET_LATIN1;
}

enum error_code evidence_new(enum renkei_charset declared, struct evidence **ret_evidence,
                             struct error *err) {
    struct evidence *e = calloc(1, sizeof *e);
    if (e == NULL)
        return error_set(err, ERROR_NO_MEMORY, "a column's charset: no memory");
    e->declared = declared;
    buffer_init(&e->decoded, DECODED_BYTES_MAX);
    enum error_code code = ERROR_NONE;
    if (gives_evidence(declared))
        code = charset_new(declared, NULL, &e->as_declared.charset, err);
    for (size_t i = 0; code == ERROR_NONE && i < CANDIDATE_COUNT; i++)
        code = charset_new(CANDIDATES[i], NULL, &e->readings[i].charset, err);
    if (code == ERROR_NONE)
        *ret_evidence = e;
    else
        evidence_free(e);
    return code;
}

void evidence_free(struct evidence *evidence) {
    if (evidence == NULL)
        return;
    charset_free(evidence->as_declared.charset);
    for (size_t i = 0; i < CANDIDATE_COUNT; i++)
        charset_free(evidence->readings[i].charset);
    buffer_done(&evidence->decoded);
    free(evidence);
}

static void note_invalid(void *context, enum character_kind kind, uint32_t code, size_t offset) {
    bool *invalid = context;
    (void)code;
    (void)offset;
    *invalid = *invalid || kind == CHARACTER_INVALID;
}

/* The next code point of valid UTF-8. */
static uint32_t next_character(const uint8_t **at) {
    const uint8_t *p = *at;
    unsigned more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : p[0] >= 0xC0 ? 1 : 0;
    uint32_t c = more == 0 ? p[0] : p[0] & (0x3Fu >> more);
    for (unsigned i = 1; i <= more; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    *at = p + 1 + more;
    return c;
}

static void count_characters(struct reading *reading, struct bytes text) {
    const uint8_t *at = text.data;
    while (at < text.data + text.len) {
        uint32_t c = next_character(&at);
        if (c < 0x80)
            continue;
        bool half_width = c >= 0xFF61 && c <= 0xFF9F;
        bool kana = c >= 0x3041 && c <= 0x30FE;
        reading->characters++;
        reading->half_width += half_width;
        reading->kana += kana;
        reading->japanese += kana || half_width || (c >= 0x3000 && c <= 0x303F) ||
                             (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xFF01 && c <= 0xFFE5);
    }
}

static void read_as(struct evidence *e, struct reading *reading, struct bytes raw) {
    bool invalid = false;
    buffer_clear(&e->decoded);
    charset_decode(reading->charset, raw, false, note_invalid, &invalid, &e->decoded);
    reading->invalid += invalid || e->decoded.failed;
    if (!invalid && !e->decoded.failed)
        count_characters(reading, buffer_bytes(&e->decoded));
}

void evidence_add(struct evidence *evidence, struct bytes raw) {
    bool ascii = true;
    for (size_t i = 0; i < raw.len && ascii; i++)
        ascii = raw.data[i] < 0x80;
    if (ascii || evidence->as_declared.charset == NULL)
        return;
    evidence->values++;
    read_as(evidence, &evidence->as_declared, raw);
    for (size_t i = 0; i < CANDIDATE_COUNT; i++)
        read_as(evidence, &evidence->readings[i], raw);
}

static bool same_family(enum renkei_charset a, enum renkei_charset b) {
    return a == b || (a == RENKEI_CHARSET_SJIS && b == RENKEI_CHARSET_CP932);
}

/* Nine of ten characters are Japanese, there is kana among them, and not mostly of half width:
 * other charsets' bytes rarely read so. */
static bool reads_as_japanese(const struct reading *reading) {
    return reading->japanese * 10 >= reading->characters * 9 && reading->kana > 0 &&
           reading->half_width * 2 < reading->characters;
}

/* What is valid as declared is doubted only where it reads as nobody writes. */
static bool declared_reads_oddly(const struct evidence *e) {
    const struct reading *d = &e->as_declared;
    return e->declared == RENKEI_CHARSET_LATIN1 || d->half_width * 2 > d->characters ||
           d->japanese * 10 < d->characters * 9;
}

static bool fits_better(const struct evidence *e, size_t candidate) {
    const struct reading *reading = &e->readings[candidate];
    if (same_family(e->declared, CANDIDATES[candidate]) || reading->invalid > 0)
        return false;
    if (e->as_declared.invalid > 0)
        return CANDIDATES[candidate] == RENKEI_CHARSET_UTF8 || reads_as_japanese(reading);
    if (e->values < VALUES_MIN)
        return false;
    if (CANDIDATES[candidate] == RENKEI_CHARSET_UTF8)
        return true;
    return declared_reads_oddly(e) && reads_as_japanese(reading);
}

struct evidence_finding evidence_judge(const struct evidence *evidence) {
    struct evidence_finding finding = {.values = evidence->values,
                                       .invalid = evidence->as_declared.invalid,
                                       .looks_like = RENKEI_CHARSET_UNKNOWN};
    for (size_t i = 0; evidence->values > 0 && i < CANDIDATE_COUNT; i++)
        if (finding.looks_like == RENKEI_CHARSET_UNKNOWN && fits_better(evidence, i))
            finding.looks_like = CANDIDATES[i];
    return finding;
}
