#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_BYTES_MAX = 4096, SLOTS = 8, SLOT_BYTES = 24 };

static const char *program_name = "renkei";
static enum log_level least_level = LOG_LEVEL_INFO;
static const char *const level_names[] = {"debug", "info", "warning", "error"};

struct line {
    char text[LINE_BYTES_MAX];
    size_t used;
};

void log_start(const char *program, enum log_level least) {
    program_name = program;
    least_level = least;
}

/* Puts a JSON string; returns false, with nothing put, where it does not fit (2 bytes are kept for
 * the line's end). */
static bool put_string(struct line *line, const char *text) {
    char escaped[7];
    size_t at = line->used;
    size_t room = sizeof line->text - 2;
    if (at + 2 > room)
        return false;
    line->text[at++] = '"';
    struct bytes whole = bytes_text(text);
    for (size_t i = 0; i < whole.len; i++) {
        uint8_t c = whole.data[i];
        int len;
        if (c == '"' || c == '\\')
            len = snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20)
            len = snprintf(escaped, sizeof escaped, "\\u%04x", c);
        else
            len = snprintf(escaped, sizeof escaped, "%c", c);
        if (at + (size_t)len + 1 > room)
            return false;
        memcpy(line->text + at, escaped, (size_t)len);
        at += (size_t)len;
    }
    line->text[at++] = '"';
    line->used = at;
    return true;
}

static void put_field(struct line *line, const char *name, const char *value) {
    size_t before = line->used;
    if (before + 1 >= sizeof line->text)
        return;
    line->text[before] = before == 0 ? '{' : ',';
    line->used = before + 1;
    if (put_string(line, name) && line->used + 3 < sizeof line->text) {
        line->text[line->used++] = ':';
        if (put_string(line, value))
            return;
    }
    line->used = before;
}

static void put_head(struct line *line, enum log_level level, const char *event) {
    char time[CLOCK_RFC3339_BYTES];
    clock_rfc3339(clock_wall_ms(), time);
    put_field(line, "time", time);
    put_field(line, "level", level_names[level]);
    put_field(line, "program", program_name);
    put_field(line, "event", event);
}

/* One write a line, so that the lines of several processes on one descriptor do not mix. */
static void put_end(struct line *line) {
    line->text[line->used++] = '}';
    line->text[line->used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line->text, line->used);
    (void)written; /* a log that cannot be written has nowhere to say so */
}

void log_event(enum log_level level, const char *event, ...) {
    if (level < least_level)
        return;
    struct line line = {.used = 0};
    put_head(&line, level, event);
    va_list args;
    va_start(args, event);
    const char *name;
    while ((name = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        if (value == NULL)
            break;
        put_field(&line, name, value);
    }
    va_end(args);
    put_end(&line);
}

void log_error(enum log_level level, const char *event, const struct error *err) {
    log_event(level, event, "error", error_info(err->code)->name, "message", err->message, "hint",
              error_hint_text(err), NULL);
}

bool log_is_due(uint64_t count) {
    return (count & (count - 1)) == 0;
}

const char *log_u64(uint64_t value) {
    static _Thread_local char slots[SLOTS][SLOT_BYTES];
    static _Thread_local unsigned next;
    char *slot = slots[next++ % SLOTS];
    snprintf(slot, SLOT_BYTES, "%" PRIu64, value);
    return slot;
}
