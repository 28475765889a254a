/* The matrix: what each type of a source becomes. docs/types.md shows it to people. */
#include "normalizer/value_rule.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

enum { SCRATCH_BYTES_MAX = NORMALIZER_DOCUMENT_BYTES_MAX };

bool value_is_text(enum renkei_type type) {
    switch (type) {
    case RENKEI_TYPE_OTHER:
    case RENKEI_TYPE_TEXT:
    case RENKEI_TYPE_JSON:
    case RENKEI_TYPE_ARRAY:
    case RENKEI_TYPE_ENUM:
    case RENKEI_TYPE_MONEY:
    case RENKEI_TYPE_GEOMETRY:
        return true;
    case RENKEI_TYPE_INTEGER:
    case RENKEI_TYPE_DECIMAL:
    case RENKEI_TYPE_FLOAT:
    case RENKEI_TYPE_BOOL:
    case RENKEI_TYPE_DATE:
    case RENKEI_TYPE_TIME:
    case RENKEI_TYPE_TIMESTAMP:
    case RENKEI_TYPE_TIMESTAMP_ZONE:
    case RENKEI_TYPE_YEAR:
    case RENKEI_TYPE_BINARY:
    case RENKEI_TYPE_BIT:
    case RENKEI_TYPE_UUID:
    case RENKEI_TYPE_INTERVAL:
        break;
    }
    return false;
}

enum value_type value_default_type(enum renkei_type type, uint32_t bits) {
    switch (type) {
    case RENKEI_TYPE_INTEGER:
    case RENKEI_TYPE_DECIMAL:
    case RENKEI_TYPE_FLOAT:
    case RENKEI_TYPE_YEAR:
        return VALUE_NUMBER;
    case RENKEI_TYPE_BOOL:
        return VALUE_BOOL;
    case RENKEI_TYPE_BIT:
        return bits == 1 ? VALUE_BOOL : VALUE_STRING;
    case RENKEI_TYPE_DATE:
    case RENKEI_TYPE_TIMESTAMP:
    case RENKEI_TYPE_TIMESTAMP_ZONE:
        return VALUE_DATE;
    case RENKEI_TYPE_OTHER:
    case RENKEI_TYPE_TEXT:
    case RENKEI_TYPE_TIME:
    case RENKEI_TYPE_BINARY:
    case RENKEI_TYPE_JSON:
    case RENKEI_TYPE_ARRAY:
    case RENKEI_TYPE_UUID:
    case RENKEI_TYPE_INTERVAL:
    case RENKEI_TYPE_MONEY:
    case RENKEI_TYPE_ENUM:
    case RENKEI_TYPE_GEOMETRY:
        break;
    }
    return VALUE_STRING;
}

static void note(struct value_notes *notes, enum reason reason) {
    notes->note(notes->context, reason, 0);
}

static enum value_type write_empty(struct buffer *out) {
    buffer_append(out, "null", 4);
    return VALUE_EMPTY;
}

/* A value that is not what the mapping says: the row is quarantined by whoever hears the reason. */
static enum value_type refuse(struct value_notes *notes, struct buffer *out) {
    note(notes, REASON_TYPE);
    return write_empty(out);
}

/* The cell as UTF-8 in the scratch buffer. */
static struct bytes text_of(const struct value_rule *rule, struct bytes raw,
                            struct value_notes *notes) {
    buffer_clear(&notes->scratch);
    charset_decode(rule->charset, raw, false, notes->visitor, notes->context, &notes->scratch);
    return buffer_bytes(&notes->scratch);
}

/* CHAR columns are padded, and people leave blanks around numbers. */
static struct bytes trim(struct bytes text) {
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_of(text.data + 1, text.len - 1);
    return text;
}

/* Full-width ASCII (U+FF01 to U+FF5E: EF BC 81 to EF BD 9E) and U+3000 become ASCII, in place. */
static struct bytes fold_width(struct buffer *text, bool *ret_folded) {
    size_t to = 0;
    for (size_t from = 0; from < text->len; to++) {
        const uint8_t *at = text->data + from;
        size_t left = text->len - from;
        if (left >= 3 && at[0] == 0xEF && (at[1] == 0xBC || at[1] == 0xBD)) {
            unsigned low = (at[1] & 3u) << 6 | (at[2] & 0x3Fu); /* of U+FFxx's FF00 */
            if (low >= 0x01 && low <= 0x5E) {
                text->data[to] = (uint8_t)(low + 0x20);
                from += 3;
                *ret_folded = true;
                continue;
            }
        }
        if (left >= 3 && memcmp(at, "\xE3\x80\x80", 3) == 0) {
            text->data[to] = ' ';
            from += 3;
            continue;
        }
        text->data[to] = text->data[from++];
    }
    text->len = to;
    return buffer_bytes(text);
}

static void write_base64(struct bytes raw, struct buffer *out) {
    buffer_append_byte(out, '"');
    text_base64(raw, out);
    buffer_append_byte(out, '"');
}

static void write_text(const struct value_rule *rule, struct bytes raw, struct value_notes *notes,
                       struct buffer *out) {
    charset_decode_string(rule->charset, raw, notes->visitor, notes->context, out);
}

static void write_json(const struct value_rule *rule, struct bytes raw, struct value_notes *notes,
                       struct buffer *out) {
    SCOPED_BUFFER struct buffer canonical;
    buffer_init(&canonical, SCRATCH_BYTES_MAX);
    struct bytes text = text_of(rule, raw, notes);
    bool inexact = false;
    bool good = rule->source == RENKEI_TYPE_ARRAY
                    ? value_json_from_array(text, &canonical)
                    : value_json_canonical(text, &canonical, &inexact);
    if (!good)
        note(notes, inexact ? REASON_BIG_NUMBER : REASON_NOT_CANONICAL);
    value_json_string(good ? buffer_bytes(&canonical) : text, out);
}

static enum value_type write_string(const struct value_rule *rule, struct bytes raw,
                                    struct value_notes *notes, struct buffer *out) {
    if (rule->source == RENKEI_TYPE_BINARY)
        write_base64(raw, out);
    else if (rule->source == RENKEI_TYPE_JSON || rule->source == RENKEI_TYPE_ARRAY)
        write_json(rule, raw, notes, out);
    else
        write_text(rule, raw, notes, out);
    return VALUE_STRING;
}

/* Puts what was written since `from` between quotes. */
static void quote_since(struct buffer *out, size_t from) {
    buffer_append(out, "\"\"", 2);
    if (out->failed)
        return;
    memmove(out->data + from + 1, out->data + from, out->len - from - 2);
    out->data[from] = '"';
}

static enum value_type write_number_text(struct bytes text, struct value_notes *notes,
                                         struct buffer *out) {
    size_t from = out->len;
    switch (number_write(text, out)) {
    case NUMBER_JSON:
        return VALUE_NUMBER;
    case NUMBER_EXACT:
        quote_since(out, from);
        note(notes, REASON_BIG_NUMBER);
        return VALUE_NUMBER;
    case NUMBER_SPECIAL:
        note(notes, REASON_NOT_A_NUMBER);
        value_json_string(text, out);
        return VALUE_STRING;
    case NUMBER_BAD:
        break;
    }
    return refuse(notes, out);
}

static enum value_type write_bits(struct bytes raw, struct value_notes *notes, struct buffer *out) {
    uint64_t value = 0;
    char text[24];
    if (raw.len == 0 || raw.len > 64)
        return refuse(notes, out);
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.data[i] != '0' && raw.data[i] != '1')
            return refuse(notes, out);
        value = value << 1 | (raw.data[i] - '0');
    }
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return write_number_text(bytes_of(text + at, sizeof text - at), notes, out);
}

/* -1: neither. */
static int bool_of(struct bytes text) {
    static const char *const words[] = {
        "f", "t", "false", "true",  "0",    "1",     "n",    "y",  "no",  "yes", "F",
        "T", "N", "Y",     "False", "True", "FALSE", "TRUE", "No", "Yes", "NO",  "YES"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (bytes_equal(text, bytes_text(words[i])))
            return (int)(i % 2);
    return -1;
}

static enum value_type write_number(const struct value_rule *rule, struct bytes raw,
                                    struct value_notes *notes, struct buffer *out) {
    if (rule->source == RENKEI_TYPE_BIT)
        return write_bits(raw, notes, out);
    if (rule->source == RENKEI_TYPE_BOOL) {
        int truth = bool_of(raw);
        if (truth < 0)
            return refuse(notes, out);
        buffer_append_byte(out, (uint8_t)('0' + truth));
        return VALUE_NUMBER;
    }
    if (value_default_type(rule->source, rule->bits) == VALUE_NUMBER)
        return write_number_text(raw, notes, out);
    if (!value_is_text(rule->source))
        return refuse(notes, out);
    bool folded = false;
    (void)text_of(rule, raw, notes);
    struct bytes text = trim(fold_width(&notes->scratch, &folded));
    if (text.len == 0) {
        note(notes, REASON_BLANK);
        return write_empty(out);
    }
    enum value_type type = write_number_text(text, notes, out);
    if (folded && type == VALUE_NUMBER)
        note(notes, REASON_FULL_WIDTH);
    return type;
}

static enum value_type write_bool(const struct value_rule *rule, struct bytes raw,
                                  struct value_notes *notes, struct buffer *out) {
    struct bytes text = raw;
    bool folded = false;
    if (value_is_text(rule->source)) {
        (void)text_of(rule, raw, notes);
        text = trim(fold_width(&notes->scratch, &folded));
        if (text.len == 0) {
            note(notes, REASON_BLANK);
            return write_empty(out);
        }
    } else if (rule->source != RENKEI_TYPE_BOOL && rule->source != RENKEI_TYPE_INTEGER &&
               rule->source != RENKEI_TYPE_BIT && rule->source != RENKEI_TYPE_DECIMAL) {
        return refuse(notes, out);
    }
    int truth = bool_of(text);
    if (truth < 0)
        return refuse(notes, out);
    if (folded)
        note(notes, REASON_FULL_WIDTH);
    buffer_append_text(out, truth ? "true" : "false");
    return VALUE_BOOL;
}

static enum value_type write_day(const struct date *date, struct value_notes *notes,
                                 struct buffer *out) {
    uint8_t text[DATE_BYTES + 2] = {'"'};
    date_write(date, text + 1);
    text[DATE_BYTES + 1] = '"';
    buffer_append(out, text, sizeof text);
    if (date->time)
        note(notes, REASON_TIME_DROPPED);
    if (date->overrun)
        note(notes, REASON_ERA_OVERRUN);
    if (date->full_width)
        note(notes, REASON_FULL_WIDTH);
    return VALUE_DATE;
}

/* What a date may be read from: date types, texts, and integers such as 20110324. */
static enum date_form read_date(const struct value_rule *rule, struct bytes raw,
                                struct value_notes *notes, struct date *ret_date, bool *ret_blank) {
    if (value_default_type(rule->source, rule->bits) == VALUE_DATE)
        return date_from_source(raw, rule->source == RENKEI_TYPE_TIMESTAMP_ZONE,
                                rule->offset_minutes, ret_date);
    if (rule->source == RENKEI_TYPE_INTEGER || rule->source == RENKEI_TYPE_DECIMAL) {
        bool zero = raw.len == 1 && raw.data[0] == '0';
        return zero ? DATE_ZERO : date_from_text(raw, MAPPING_ERA_NONE, ret_date);
    }
    if (!value_is_text(rule->source))
        return DATE_BAD;
    struct bytes text = trim(text_of(rule, raw, notes));
    *ret_blank = text.len == 0;
    return date_from_text(text, rule->era, ret_date);
}

static enum value_type write_date(const struct value_rule *rule, struct bytes raw,
                                  struct value_notes *notes, struct buffer *out) {
    struct date date;
    bool blank = false;
    enum date_form form = read_date(rule, raw, notes, &date, &blank);
    if (blank) {
        note(notes, REASON_BLANK);
        return write_empty(out);
    }
    switch (form) {
    case DATE_GOOD:
        return write_day(&date, notes, out);
    case DATE_ZERO:
        note(notes, REASON_ZERO_DATE);
        return write_empty(out);
    case DATE_RANGE:
        note(notes, REASON_OUT_OF_RANGE_DATE);
        write_text(rule, raw, notes, out);
        return VALUE_STRING;
    case DATE_OVERRUN:
        note(notes, REASON_ERA_OVERRUN);
        if (rule->era == MAPPING_ERA_REJECT)
            return refuse(notes, out);
        value_json_string(buffer_bytes(&notes->scratch), out); /* only texts have eras */
        return VALUE_STRING;
    case DATE_BAD:
        break;
    }
    return refuse(notes, out);
}

enum value_type value_write(const struct value_rule *rule, struct bytes raw,
                            struct value_notes *notes, struct buffer *out) {
    switch (rule->type) {
    case VALUE_STRING:
        return write_string(rule, raw, notes, out);
    case VALUE_NUMBER:
        return write_number(rule, raw, notes, out);
    case VALUE_DATE:
        return write_date(rule, raw, notes, out);
    case VALUE_BOOL:
        return write_bool(rule, raw, notes, out);
    case VALUE_EMPTY:
        break;
    }
    assert(!"a rule has a type");
    return write_empty(out);
}
