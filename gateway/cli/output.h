/*
 * What commands print: a JSON value, or the same value as a table for people. Widths are those of
 * a terminal, where 髙 takes two columns.
 */
#ifndef GATEWAY_CLI_OUTPUT_H
#define GATEWAY_CLI_OUTPUT_H

#include "base/bytes.h"
#include "gateway/cli/cli.h"

struct output_column {
    const char *key; /* of the row's object; NULL ends the table. Missing members print as "-" */
    const char *title;
    bool right; /* numbers */
};

/* rows: an array of objects. With --json the rows themselves are printed. Borrows rows. */
void output_table(const struct cli_call *call, const struct output_column *columns,
                  const json_t *rows);
/* Indented JSON and a line's end. */
void output_json(const json_t *value);
/* The same from JSON text, token by token: a number keeps its digits, which a double would not. */
void output_json_text(struct bytes text);

/* "1,234,567" into one of a few static buffers. */
const char *output_count(unsigned long long number);

/* One line of progress on standard error: a bar on a terminal, and a plain line at most every five
 * seconds elsewhere. expected 0: unknown. */
struct output_progress {
    const char *what;
    unsigned long long done;
    unsigned long long expected;
    unsigned long long rate; /* a second */
    long long left_ms;       /* -1: unknown */
};
void output_progress(const struct cli_call *call, const struct output_progress *progress,
                     unsigned long long now_ms);
/* The last line, which stays: the bar, how many rows, how long and how fast. */
void output_progress_end(const struct cli_call *call, const struct output_progress *progress,
                         unsigned long long elapsed_ms);

#endif
