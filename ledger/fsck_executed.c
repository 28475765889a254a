#include "ledger/fsck_executed.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "base/wire.h"
#include "ledger/application.h"
#include "ledger/store/compare.h"
#include "ledger/store/segments.h"

enum {
    PATH_BYTES = 4096,
    TOLD_BYTES_MAX = 64 << 10, /* by a process of its own */
    FOLDERS_OPEN_MAX = 16,
    PROGRESS_MS = 5000,
    FREE_BYTES_MIN = 64 << 20, /* that stay free beside the second state */
    FIELDS_MAX = 5,
    KEY_SHOWN_BYTES = 8,
};

struct field {
    const char *name;
    uint8_t at;
    uint8_t bytes; /* more than 8: a hash, or the like */
};

/* What stands in the database (docs/formats.md). */
static const struct table {
    uint8_t kind;
    const char *name;
    struct field fields[FIELDS_MAX];
} tables[] = {
    {STATE_SUBMITTER, "submitters", {{"next sequence", 0, 8}, {"records", 8, 8}, {"versions", 16, 8}}},
    {STATE_TRANSACTION,
     "transactions",
     {{"block", 0, 8}, {"index", 8, 4}, {"status", 12, 1}, {"log number", 13, 8}}},
    {STATE_ANCHOR, "anchors", {{"id", 0, HASH_BYTES}}},
    {STATE_EPOCH, "epochs", {{"block", 0, 8}}},
    {STATE_CHECKPOINT, "checkpoints", {{"height", 0, 8}, {"transaction", 8, HASH_BYTES}}},
    {STATE_PERSON,
     "persons",
     {{"version", 0, 4}, {"kind", 4, 1}, {"operation", 5, 1}, {"submitter", 6, 4},
      {"commitment", 10, HASH_BYTES}}},
    {STATE_PERMISSION,
     "permissions",
     {{"version", 0, 4}, {"operation", 4, 1}, {"submitter", 5, 4}, {"grantee", 9, 4}}},
    {STATE_REFERENCE, "references", {{"block", 0, 8}, {"transaction", 8, 4}, {"leaf", 12, 4}}},
    {(uint8_t)STORE_META_KEY[0], "meta", {{"height", STORE_META_HEIGHT_AT, 8},
                                 {"log size", STORE_META_HEIGHT_AT + 8, 8}}},
    {0, "no table's entries", {{NULL, 0, 0}}},
};

enum { TABLES = sizeof tables / sizeof tables[0], FIRST_BYTES = 256 };

struct tally {
    uint64_t other;
    uint64_t missing;
    uint64_t extra;
    char first[FIRST_BYTES];
};

struct check {
    const struct genesis *genesis;
    const char *folder;
    const struct executed_report *report;
    char scratch[PATH_BYTES];
    uint64_t height; /* of the state on disk */
    uint64_t last;   /* block */
    uint64_t began_ms;
    uint64_t told_ms;
    struct chain *chain;
    uint32_t segment; /* of the block that is executed */
};

/* A process of its own, since it may die of what it reads. */

/* Runs work there; *ret_told is what it wrote. ERROR_CORRUPT where it did not come to its end. */
static enum error_code apart(struct check *c, void (*work)(struct check *c, FILE *out),
                             struct buffer *ret_told, struct error *err) {
    int ends[2];
    uint8_t piece[4096];
    ssize_t got = 0;
    int status = 0;
    if (pipe(ends) != 0)
        return error_set(err, ERROR_IO, "fsck: no pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        FILE *out = fdopen(ends[1], "w");
        if (out != NULL)
            work(c, out);
        _exit(out != NULL && fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    int failed = child < 0 ? errno : 0;
    (void)close(ends[1]);
    while (child > 0 && ((got = read(ends[0], piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR)))
        if (got > 0)
            buffer_append(ret_told, piece, (size_t)got);
    (void)close(ends[0]);
    if (failed != 0)
        return error_set(err, ERROR_IO, "fsck: no process: %s", strerror(failed));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_CORRUPT, "found pages that end whoever reads them by signal %d, "
                         "expected a database", WTERMSIG(status));
    if (status != 0)
        return error_set(err, ERROR_CORRUPT, "found pages that cannot be read, expected a database");
    return buffer_check(ret_told, "fsck", err);
}

/* What it tells begins with a letter: a height, that there is no state, or a finding. */
static void tell_height(struct check *c, FILE *out) {
    struct error err;
    uint64_t height = 0;
    enum error_code code = store_compare_height(c->folder, &height, &err);
    if (code == ERROR_NONE)
        (void)fprintf(out, "H%" PRIu64 "\n", height);
    else if (code == ERROR_NOT_FOUND)
        (void)fputs("N\n", out);
    else
        (void)fprintf(out, "F%s\n", err.message);
}

/* The first field that is another, else that the length is. */
static void describe(const struct table *table, struct bytes found, struct bytes expected,
                     char ret_text[FIRST_BYTES]) {
    for (size_t i = 0; found.len == expected.len && i < FIELDS_MAX; i++) {
        const struct field *f = &table->fields[i];
        uint64_t values[2] = {0, 0};
        if (f->name == NULL || (size_t)f->at + f->bytes > found.len ||
            memcmp(found.data + f->at, expected.data + f->at, f->bytes) == 0)
            continue;
        if (f->bytes > sizeof values[0]) {
            (void)snprintf(ret_text, FIRST_BYTES, "%s: found another, expected that of the blocks",
                           f->name);
            return;
        }
        for (size_t k = 0; k < f->bytes; k++) {
            values[0] = values[0] << 8 | found.data[f->at + k];
            values[1] = values[1] << 8 | expected.data[f->at + k];
        }
        (void)snprintf(ret_text, FIRST_BYTES, "%s: found %" PRIu64 ", expected %" PRIu64, f->name,
                       values[0], values[1]);
        return;
    }
    (void)snprintf(ret_text, FIRST_BYTES, "found a value of %zu bytes, expected another of %zu",
                   found.len, expected.len);
}

static size_t table_of(struct bytes key) {
    bool meta = bytes_equal(key, bytes_text(STORE_META_KEY));
    size_t t = 0;
    while (tables[t].kind != 0 && (key.len == 0 || key.data[0] != tables[t].kind ||
                                   key.len != (meta ? strlen(STORE_META_KEY) : STATE_KEY_BYTES)))
        t++;
    return t;
}

/* A store_differs_fn. Counts all, and keeps the first of each table. */
static void differs(void *self, struct bytes key, struct bytes found, struct bytes expected) {
    struct tally *tallies = self;
    size_t t = table_of(key);
    struct tally *tally = &tallies[t];
    char what[FIRST_BYTES];
    char hex[2 * KEY_SHOWN_BYTES + 1] = "itself";
    if (found.data == NULL)
        (void)snprintf(what, sizeof what, "found none, expected one");
    else if (expected.data == NULL)
        (void)snprintf(what, sizeof what, "found one, expected none");
    else
        describe(&tables[t], found, expected, what);
    if (key.len > KEY_SHOWN_BYTES)
        text_hex(key.data + 1, KEY_SHOWN_BYTES, hex);
    if (tally->other + tally->missing + tally->extra == 0)
        (void)snprintf(tally->first, sizeof tally->first, "%s: %.160s", hex, what);
    *(found.data == NULL ? &tally->missing : expected.data == NULL ? &tally->extra : &tally->other) += 1;
}

static void tell_differences(struct check *c, FILE *out) {
    struct error err;
    struct tally tallies[TABLES];
    memset(tallies, 0, sizeof tallies);
    if (store_compare(c->folder, c->scratch, differs, tallies, &err) != ERROR_NONE)
        (void)fprintf(out, "Ffound that %s\n", err.message);
    for (size_t i = 0; i < TABLES; i++) {
        const struct tally *t = &tallies[i];
        if (t->other + t->missing + t->extra > 0)
            (void)fprintf(out,
                          "F%s: %" PRIu64 " entries are not as the blocks make them, %" PRIu64
                          " are missing, %" PRIu64 " are too many; the first, %s\n",
                          tables[i].name, t->other, t->missing, t->extra, t->first);
    }
}

static void report_findings(const struct check *c, struct bytes told) {
    char line[2 * FIRST_BYTES];
    for (size_t at = 0; at < told.len;) {
        const uint8_t *end = memchr(told.data + at, '\n', told.len - at);
        size_t len = end != NULL ? (size_t)(end - told.data) - at : told.len - at;
        (void)snprintf(line, sizeof line, "%.*s", (int)len, (const char *)told.data + at);
        if (line[0] == 'F')
            c->report->find(c->report->self, "state/", line + 1, true);
        at += len + 1;
    }
}

/* Sets c->height. *ret_some: there is a state to compare. */
static enum error_code find_height(struct check *c, bool *ret_some, struct error *err) {
    struct error found;
    SCOPED_BUFFER struct buffer told;
    buffer_init(&told, TOLD_BYTES_MAX);
    *ret_some = false;
    enum error_code code = apart(c, tell_height, &told, &found);
    if (code == ERROR_CORRUPT) {
        c->report->find(c->report->self, "state/", found.message, true);
        return ERROR_NONE;
    }
    if (code != ERROR_NONE) {
        if (err != NULL)
            *err = found;
        return code;
    }
    report_findings(c, buffer_bytes(&told));
    if (told.len > 0 && told.data[0] == 'N')
        c->report->note(c->report->self, "state/: there is none; the next start makes it");
    buffer_append(&told, "", 1);
    TRY(buffer_check(&told, "fsck", err));
    if (told.data[0] != 'H' || sscanf((const char *)told.data, "H%" SCNu64, &c->height) != 1)
        return ERROR_NONE;
    char text[128];
    (void)snprintf(text, sizeof text, "found the state of block %" PRIu64 ", the last one is %" PRIu64,
                   c->height, c->last);
    *ret_some = c->height <= c->last;
    if (!*ret_some)
        c->report->find(c->report->self, "state/", text, true);
    return ERROR_NONE;
}

/* Executing. */

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *ftw) {
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static enum error_code remove_scratch(const struct check *c, struct error *err) {
    if (nftw(c->scratch, remove_entry, FOLDERS_OPEN_MAX, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return file_error(err, errno, "cannot remove", c->scratch);
    return ERROR_NONE;
}

static uint64_t counted_bytes;

static int count_entry(const char *path, const struct stat *stat, int kind, struct FTW *ftw) {
    (void)path;
    (void)ftw;
    counted_bytes += kind == FTW_F ? (uint64_t)stat->st_blocks * 512 : 0;
    return 0;
}

/* A second state, log and map, and the blocks again: as much as there is already. */
static bool has_room(const struct check *c) {
    struct statvfs disk;
    char text[160];
    counted_bytes = 0;
    if (nftw(c->folder, count_entry, FOLDERS_OPEN_MAX, FTW_PHYS) != 0 ||
        statvfs(c->folder, &disk) != 0)
        return true; /* then making it says what is wrong */
    uint64_t needed = counted_bytes + FREE_BYTES_MIN;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    (void)snprintf(text, sizeof text,
                   "state/ was not compared: executing the blocks anew needs %" PRIu64
                   " MiB beside them, %" PRIu64 " MiB are free",
                   needed >> 20, free_bytes >> 20);
    if (free_bytes < needed)
        c->report->note(c->report->self, text);
    return free_bytes >= needed;
}

static void tell_progress(struct check *c, uint64_t height) {
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms - c->told_ms < PROGRESS_MS)
        return;
    c->told_ms = now_ms;
    uint64_t ms = now_ms - c->began_ms;
    (void)fprintf(stderr, "fsck: executed %" PRIu64 " of %" PRIu64 " blocks, about %" PRIu64 " s left\n",
                  height, c->last, (c->last - height) * ms / height / 1000);
}

/* Flushed where the state on disk was, and not later: so the two are of one height. */
static enum error_code flush_if_due(const struct check *c, uint64_t height, struct error *err) {
    struct store *store = chain_store(c->chain);
    if (height > c->height || (height < c->height && !store_flush_due(store)))
        return ERROR_NONE;
    store_flush_start(store);
    TRY(store_flush_run(store, err));
    store_flush_finish(store);
    return ERROR_NONE;
}

static enum error_code execute(void *context, const struct segments_record *record,
                               struct error *err) {
    struct check *c = context;
    struct application_result result;
    c->segment = record->segment;
    TRY(application_finalize(c->chain, NULL, record->block, &result, err));
    TRY(application_commit(c->chain, record->certificate, NULL, err));
    TRY(flush_if_due(c, record->height, err));
    tell_progress(c, record->height);
    return ERROR_NONE;
}

/* *ret_valid: so far as all blocks do what they say. */
static enum error_code execute_all(struct check *c, bool *ret_valid, struct error *err) {
    struct segments_end end;
    struct error found;
    char file[32];
    TRY(application_open(c->genesis, c->scratch, NULL, NULL, &c->chain, err));
    c->began_ms = c->told_ms = clock_monotonic_ms();
    enum error_code code = flush_if_due(c, 0, &found);
    if (code == ERROR_NONE)
        code = segments_scan(c->folder, execute, c, &end, &found);
    application_close(c->chain);
    *ret_valid = code == ERROR_NONE;
    (void)snprintf(file, sizeof file, "blocks/%08" PRIu32, c->segment);
    if (code == ERROR_VERIFY)
        c->report->find(c->report->self, file, found.message, false);
    else if (code != ERROR_NONE && err != NULL)
        *err = found;
    return code == ERROR_VERIFY ? ERROR_NONE : code;
}

static enum error_code compare(struct check *c, struct error *err) {
    struct error found;
    SCOPED_BUFFER struct buffer told;
    buffer_init(&told, TOLD_BYTES_MAX);
    enum error_code code = apart(c, tell_differences, &told, &found);
    if (code == ERROR_NONE)
        report_findings(c, buffer_bytes(&told));
    else if (code == ERROR_CORRUPT)
        c->report->find(c->report->self, "state/", found.message, true);
    else if (err != NULL)
        *err = found;
    return code == ERROR_CORRUPT ? ERROR_NONE : code;
}

enum error_code executed_check(const struct genesis *genesis, const char *folder,
                               const struct block_header *head,
                               const struct executed_report *report, struct error *err) {
    struct check c = {.genesis = genesis, .folder = folder, .report = report, .last = head->height,
                      .segment = 1};
    bool some = false;
    bool valid = false;
    if (snprintf(c.scratch, sizeof c.scratch, "%s/fsck", folder) >= (int)sizeof c.scratch)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    TRY(remove_scratch(&c, err)); /* of one that was interrupted */
    TRY(find_height(&c, &some, err));
    if (!some || !has_room(&c))
        return ERROR_NONE;
    TRY(file_make_folder(c.scratch, 0700, err));
    enum error_code code = execute_all(&c, &valid, err);
    if (code == ERROR_NONE && valid)
        code = compare(&c, err);
    struct error ignored;
    enum error_code removed = remove_scratch(&c, code == ERROR_NONE ? err : &ignored);
    return code == ERROR_NONE ? removed : code;
}
