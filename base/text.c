#include "base/text.h"

#include <string.h>

void text_hex(const uint8_t *data, size_t len, char *ret_text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        ret_text[2 * i] = digits[data[i] >> 4];
        ret_text[2 * i + 1] = digits[data[i] & 15];
    }
    ret_text[2 * len] = '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool text_unhex(const char *text, size_t len, uint8_t *ret_data) {
    if (strlen(text) != 2 * len)
        return false;
    for (size_t i = 0; i < 2 * len; i++)
        if (hex_digit(text[i]) < 0)
            return false;
    for (size_t i = 0; i < len; i++)
        ret_data[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return true;
}

static const char alphabet_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char alphabet_std[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64_encode(struct bytes data, const char *alphabet, bool pad, struct buffer *out) {
    for (size_t i = 0; i < data.len; i += 3) {
        size_t left = data.len - i;
        uint32_t group = (uint32_t)data.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)data.data[i + 1] << 8;
        if (left > 2)
            group |= data.data[i + 2];
        size_t digits = left >= 3 ? 4 : left + 1;
        char quad[4] = {'=', '=', '=', '='};
        for (size_t d = 0; d < digits; d++)
            quad[d] = alphabet[group >> (18 - 6 * d) & 63];
        buffer_append(out, quad, pad ? 4 : digits);
    }
}

void text_base64url(struct bytes data, struct buffer *out) {
    base64_encode(data, alphabet_url, false, out);
}

void text_base64(struct bytes data, struct buffer *out) {
    base64_encode(data, alphabet_std, true, out);
}

static int base64url_digit(uint8_t c) {
    const char *at = c != '\0' ? strchr(alphabet_url, c) : NULL;
    return at != NULL ? (int)(at - alphabet_url) : -1;
}

bool text_unbase64url(struct bytes text, struct buffer *out) {
    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (base64url_digit(text.data[i]) < 0)
            return false;
    size_t spare_bits = text.len % 4 == 2 ? 4 : text.len % 4 == 3 ? 2 : 0;
    if (spare_bits > 0 &&
        (base64url_digit(text.data[text.len - 1]) & ((1 << spare_bits) - 1)) != 0)
        return false;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        bits = bits << 6 | (uint32_t)base64url_digit(text.data[i]);
        count += 6;
        if (count >= 8) {
            count -= 8;
            buffer_append_byte(out, (uint8_t)(bits >> count));
        }
    }
    return !out->failed;
}

/* The length of the well-formed character at the start of text (Unicode 15, table 3-7), or 0. */
static size_t utf8_character(struct bytes text) {
    const uint8_t *s = text.data;
    uint8_t lead = s[0];
    if (lead < 0x80)
        return 1;
    size_t len = lead >= 0xC2 && lead <= 0xDF ? 2 : lead >= 0xE0 && lead <= 0xEF ? 3
                 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
    if (len == 0 || text.len < len)
        return 0;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool text_utf8_valid(struct bytes text) {
    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_character(bytes_of(text.data + i, text.len - i));
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

size_t text_utf8_whole(const char *text, size_t len) {
    size_t start = len;
    while (start > 0 && len - start < 3 && ((uint8_t)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return 0;
    start--;
    struct bytes last = bytes_of(text + start, len - start);
    return utf8_character(last) == last.len ? len : start;
}

bool text_u64(const char *text, uint64_t *ret_value) {
    if (*text == '\0')
        return false;
    uint64_t value = 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

enum { DISTANCE_TEXT_MAX = 64 };

unsigned text_distance(const char *a, const char *b, unsigned most) {
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > DISTANCE_TEXT_MAX || b_len > DISTANCE_TEXT_MAX)
        return most + 1;
    unsigned row[DISTANCE_TEXT_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned above = row[j];
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b_len] <= most ? row[b_len] : most + 1;
}
