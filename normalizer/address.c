/* Addresses and canonical keys: docs/formats.md. */
#include "normalizer/address.h"

#include <string.h>

#include "base/text.h"

static bool is_plain(uint8_t byte) {
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

void address_escape(struct bytes raw, struct buffer *out) {
    static const char digits[] = "0123456789ABCDEF";
    if (raw.len > out->bytes_max) {
        out->failed = true;
        return;
    }
    uint8_t *o = buffer_reserve(out, raw.len);
    size_t i = 0;
    if (o == NULL)
        return;
    for (; i < raw.len && is_plain(raw.data[i]); i++)
        o[i] = raw.data[i];
    out->len += i;
    for (; i < raw.len; i++) {
        uint8_t byte = raw.data[i];
        uint8_t escaped[3] = {'%', (uint8_t)digits[byte >> 4], (uint8_t)digits[byte & 15]};
        buffer_append(out, is_plain(byte) ? &raw.data[i] : escaped, is_plain(byte) ? 1 : 3);
    }
}

static int upper_hex(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool address_unescape(struct bytes text, struct buffer *out) {
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%') {
            if (text.len - i < 3)
                return false;
            int high = upper_hex(text.data[i + 1]);
            int low = upper_hex(text.data[i + 2]);
            if (high < 0 || low < 0)
                return false;
            byte = (uint8_t)(high << 4 | low);
            /* One row has one address: what needs no escape has none. */
            if (is_plain(byte))
                return false;
            i += 2;
        } else if (!is_plain(byte)) {
            return false;
        }
        buffer_append_byte(out, byte);
    }
    return !out->failed;
}

void address_write(const char *hospital, const char *source, const char *table, struct bytes key,
                   struct buffer *out) {
    buffer_append_format(out, "renkei://%s/%s/", hospital, source);
    address_escape(bytes_text(table), out);
    buffer_append_byte(out, '/');
    buffer_append(out, key.data, key.len);
}

static enum error_code fail(struct error *err, const char *what) {
    enum error_code code = error_set(err, ERROR_BAD_REQUEST, "not an address: %s", what);
    error_hint(err, "renkei://<hospital>/<source>/<table>/<key>, as in docs/formats.md");
    return code;
}

/* Cuts off what stands before the next '/'. */
static bool next_part(struct bytes *rest, struct bytes *ret_part) {
    const uint8_t *slash = rest->len > 0 ? memchr(rest->data, '/', rest->len) : NULL;
    if (slash == NULL)
        return false;
    size_t len = (size_t)(slash - rest->data);
    *ret_part = bytes_of(rest->data, len);
    *rest = bytes_of(slash + 1, rest->len - len - 1);
    return true;
}

static bool copy_name(struct bytes part, char name[MAPPING_NAME_BYTES_MAX]) {
    if (part.len >= MAPPING_NAME_BYTES_MAX || memchr(part.data, '\0', part.len) != NULL)
        return false;
    memcpy(name, part.data, part.len);
    name[part.len] = '\0';
    return mapping_name_valid(name);
}

static bool copy_table(struct bytes part, char table[RENKEI_NAME_BYTES_MAX]) {
    SCOPED_BUFFER struct buffer name;
    buffer_init(&name, RENKEI_NAME_BYTES_MAX - 1);
    if (part.len == 0 || !address_unescape(part, &name))
        return false;
    if (!text_utf8_valid(buffer_bytes(&name)) || memchr(name.data, '\0', name.len) != NULL)
        return false;
    memcpy(table, name.data, name.len);
    table[name.len] = '\0';
    return true;
}

bool address_key_valid(struct bytes key) {
    if (key.len > NORMALIZER_KEY_BYTES_MAX)
        return false;
    SCOPED_BUFFER struct buffer component;
    buffer_init(&component, NORMALIZER_KEY_BYTES_MAX);
    size_t start = 0;
    for (size_t i = 0; i <= key.len; i++) {
        if (i < key.len && key.data[i] != ',')
            continue;
        buffer_clear(&component);
        if (!address_unescape(bytes_of(key.data + start, i - start), &component))
            return false;
        start = i + 1;
    }
    return true;
}

enum error_code address_parse(struct bytes text, struct address *ret_address, struct error *err) {
    static const char scheme[] = "renkei://";
    struct address address = {0};
    struct bytes part = {0};
    size_t scheme_len = sizeof scheme - 1;
    if (text.len > NORMALIZER_ADDRESS_BYTES_MAX)
        return fail(err, "longer than 4096 bytes");
    if (text.len < scheme_len || memcmp(text.data, scheme, scheme_len) != 0)
        return fail(err, "it does not begin with renkei://");
    struct bytes rest = bytes_of(text.data + scheme_len, text.len - scheme_len);
    if (!next_part(&rest, &part) || !copy_name(part, address.hospital))
        return fail(err, "its hospital is no name");
    if (!next_part(&rest, &part) || !copy_name(part, address.source))
        return fail(err, "its source is no name");
    if (!next_part(&rest, &part) || !copy_table(part, address.table))
        return fail(err, "its table is no name");
    if (!address_key_valid(rest))
        return fail(err, "its key is not canonical");
    if (rest.len > 0)
        memcpy(address.key, rest.data, rest.len);
    *ret_address = address;
    return ERROR_NONE;
}
