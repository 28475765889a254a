#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct error_info infos[ERROR_COUNT] = {
    [ERROR_NONE] = {"none", 0, 200, "no error", "正常", ""},
#define ERROR(id, name, exit_status, http_status, en, ja, hint)                                    \
    [ERROR_##id] = {name, exit_status, http_status, en, ja, hint},
#include "base/error_table.h"
#undef ERROR
};

const struct error_info *error_info(enum error_code code) {
    if ((unsigned)code >= ERROR_COUNT)
        return &infos[ERROR_INTERNAL];
    return &infos[code];
}

enum error_code error_code_from_name(const char *name) {
    for (int i = 1; i < ERROR_COUNT; i++)
        if (strcmp(infos[i].name, name) == 0)
            return (enum error_code)i;
    return ERROR_NONE;
}

/* Formats into a field; a text that was cut ends at the start of its last whole character. */
static void format_field(char *field, size_t size, const char *format, va_list args) {
    int wanted = vsnprintf(field, size, format, args);
    if (wanted < 0)
        field[0] = '\0';
    else if ((size_t)wanted >= size)
        field[text_utf8_whole(field, size - 1)] = '\0';
}

enum error_code error_set(struct error *err, enum error_code code, const char *format, ...) {
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    format_field(err->message, sizeof err->message, format, args);
    va_end(args);
    err->code = code;
    err->hint[0] = '\0';
    return code;
}

void error_hint(struct error *err, const char *format, ...) {
    if (err == NULL)
        return;
    va_list args;
    va_start(args, format);
    format_field(err->hint, sizeof err->hint, format, args);
    va_end(args);
}

enum error_code error_wrap(struct error *err, enum error_code code, const char *format, ...) {
    if (err == NULL)
        return code;
    char inner[ERROR_MESSAGE_BYTES_MAX];
    memcpy(inner, err->message, sizeof inner);
    va_list args;
    va_start(args, format);
    format_field(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    size_t room = sizeof err->message - used;
    int wanted = snprintf(err->message + used, room, ": %s", inner);
    if (wanted > 0 && (size_t)wanted >= room)
        err->message[text_utf8_whole(err->message, sizeof err->message - 1)] = '\0';
    return code;
}

const char *error_hint_text(const struct error *err) {
    return err->hint[0] != '\0' ? err->hint : error_info(err->code)->hint;
}
