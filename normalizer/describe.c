/* The mapping's description: what must be known to read a digest again, as canonical JSON. Its
 * members stand in the order of RFC 8785, which for these names is the alphabet's. */
#include <string.h>

#include <unicode/uversion.h>

#include "base/text.h"
#include "normalizer/plan.h"

enum { DESCRIPTION_BYTES_MAX = 4 << 20, NORMALIZER_VERSION = 1 };

static void put_text(struct buffer *out, const char *prefix, const char *text) {
    buffer_append_text(out, prefix);
    if (text == NULL)
        buffer_append_text(out, "null");
    else
        value_json_string(bytes_text(text), out);
}

static const char *source_name(enum renkei_type type) {
    static const char *const names[] = {
        "other", "text",      "integer",        "decimal", "float",  "bool",    "date",
        "time",  "timestamp", "timestamp-zone", "year",    "binary", "bit",     "json",
        "array", "uuid",      "interval",       "money",   "enum",   "geometry"};
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "other";
}

static void put_column(struct buffer *out, const struct plan_column *column) {
    buffer_append_format(out, "{\"bits\":%u", column->source->bits);
    put_text(out, ",\"charset\":", charset_name(column->charset));
    put_text(out, ",\"name\":", column->text);
    buffer_append_text(out, ",\"raw_name\":\"");
    for (const char *at = column->name; *at != '\0'; at++)
        buffer_append_format(out, "%02x", (uint8_t)*at);
    put_text(out, "\",\"source\":", source_name(column->source->type));
    buffer_append_byte(out, '}');
}

static void put_field(struct buffer *out, const struct plan_field *field) {
    static const char *const eras[] = {"none", "strict", "flag", "reject"};
    buffer_append_format(out, "{\"column\":%u", field->column);
    put_text(out, ",\"era\":", eras[field->rule.era]);
    put_text(out, ",\"name\":", field->field.name);
    buffer_append_text(out, field->field.personal ? ",\"personal\":true" : ",\"personal\":false");
    put_text(out, ",\"type\":", value_type_name(field->rule.type));
    buffer_append_byte(out, '}');
}

static void put_digest(struct buffer *out, const struct gaiji *gaiji) {
    char hex[2 * HASH_BYTES + 1];
    if (gaiji == NULL) {
        buffer_append_text(out, ",\"gaiji\":null");
        return;
    }
    struct hash digest = gaiji_digest(gaiji);
    text_hex(digest.byte, HASH_BYTES, hex);
    put_text(out, ",\"gaiji\":", hex);
}

enum error_code plan_describe(struct plan *plan, const char *server_settings, struct error *err) {
    UVersionInfo version;
    char icu[U_MAX_VERSION_STRING_LENGTH];
    u_getVersion(version);
    u_versionToString(version, icu);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, DESCRIPTION_BYTES_MAX);
    buffer_append_format(&out, "{\"address\":\"%.*s\"", (int)plan->address.len,
                         (const char *)plan->address.data);
    put_text(&out, ",\"category\":", plan->table->category);
    buffer_append_text(&out, ",\"columns\":[");
    for (uint32_t i = 0; i < plan->column_count; i++) {
        if (i > 0)
            buffer_append_byte(&out, ',');
        put_column(&out, &plan->columns[i]);
    }
    put_text(&out, "],\"date\":", plan->table->date);
    buffer_append_text(&out, ",\"fields\":[");
    for (size_t i = 0; i < plan->field_count; i++) {
        if (i > 0)
            buffer_append_byte(&out, ',');
        put_field(&out, &plan->fields[i]);
    }
    buffer_append_byte(&out, ']');
    put_digest(&out, plan->gaiji);
    put_text(&out, ",\"icu\":", icu);
    put_text(&out, ",\"invalid_text\":",
             plan->mapping->invalid_text == MAPPING_REPLACE ? "replace" : "quarantine");
    buffer_append_format(&out, ",\"keys\":%u,\"offset_minutes\":%d", plan->key_count,
                         plan->mapping->offset_minutes);
    put_text(&out, ",\"patient\":", plan->table->patient);
    put_text(&out, ",\"schema\":", plan->table->schema);
    put_text(&out, ",\"settings\":", server_settings != NULL ? server_settings : "");
    buffer_append_format(&out, ",\"version\":%d}", NORMALIZER_VERSION);
    TRY(buffer_check(&out, "the mapping's description", err));
    plan->description = arena_bytes(plan->arena, buffer_bytes(&out));
    if (plan->description.data == NULL)
        return error_set(err, ERROR_NO_MEMORY, "the mapping's description: out of memory");
    struct bytes parts[] = {BYTES_LITERAL("renkei/mapping/1\n"), plan->description};
    plan->digest = sha256_of_parts(parts, 2);
    return ERROR_NONE;
}
