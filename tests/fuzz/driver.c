/*
 * A coverage-guided fuzzer for targets in the form that libFuzzer knows,
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
 *
 * so that a target runs under libFuzzer or AFL++ as it is, and under this one where there is only
 * gcc. The target's sources are compiled with -fsanitize-coverage=trace-pc, this file is not. An
 * input that reaches a pair of places that none before it reached joins the corpus in memory.
 *
 * usage: fuzz_TARGET [--seconds N] [--runs N] [--seed N] [--keep FOLDER] [FILE or FOLDER...]
 *
 * Every given file is run first, and fails the run alone if it crashes. The same seed, files and
 * runs give the same inputs. A crash leaves its input in crash-TARGET.bin in the working folder.
 *
 * Coverage is told in two ways: edges, which steer the search, and places (the basic blocks that
 * are marked) reached of all that the program has. Their number is counted in the program itself,
 * by its calls of the mark.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);
void __asan_on_error(void);

enum {
    MAP_SIZE = 1 << 16,
    INPUT_BYTES_MAX = 16 << 10,
    CORPUS_MAX = 20000,
    STACKED_MAX = 6, /* mutations on one input */
    PATH_BYTES_MAX = 1024,
    HANG_SECONDS = 60, /* of CPU; 256 inputs that take longer are a finding too */
};

struct input {
    uint8_t *data;
    size_t len;
};

static uint8_t seen[MAP_SIZE];  /* by any input */
static uint8_t map[MAP_SIZE];   /* by this one */
static uint32_t touched[MAP_SIZE];
static uint32_t touched_count;
static uintptr_t previous_place;
static struct {
    const uint8_t *begin;
    size_t len;
    uint8_t *reached; /* a byte for each of the code's: marks that were passed */
} code;
static struct input corpus[CORPUS_MAX];
static size_t corpus_count;
static uint8_t current[INPUT_BYTES_MAX];
static size_t current_len;
static uint64_t random_state = 1;
static const char *program;

/* A call instruction's length. */
#if defined(__x86_64__)
enum { CALL_BYTES = 5 };
#else
enum { CALL_BYTES = 4 };
#endif

/* Called by gcc's instrumentation at every edge. The pair of places stands for the edge. */
void __sanitizer_cov_trace_pc(void) {
    uintptr_t place = (uintptr_t)__builtin_return_address(0);
    /* Outside of it where a function ends in a jump to the mark. */
    if (code.reached != NULL && place - (uintptr_t)code.begin < code.len)
        code.reached[place - (uintptr_t)code.begin] = 1;
    place = (place * UINT64_C(0x9e3779b97f4a7c15)) >> 40;
    uint32_t slot = (uint32_t)(place ^ (previous_place >> 1)) & (MAP_SIZE - 1);
    previous_place = place;
    if (map[slot] == 0)
        touched[touched_count++] = slot;
    if (map[slot] < 255)
        map[slot]++;
}

static uint32_t next_random(uint32_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % below);
}

/* 1, 2, 3, 4-7, 8-15, 16-31, 32-127, more: how often an edge was taken, as bits. */
static uint8_t bucket(uint8_t count) {
    if (count <= 3)
        return (uint8_t)(1 << (count - 1));
    return count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128;
}

static bool run_current(void) {
    touched_count = 0;
    previous_place = 0;
    (void)LLVMFuzzerTestOneInput(current, current_len);
    bool fresh = false;
    for (uint32_t i = 0; i < touched_count; i++) {
        uint8_t bit = bucket(map[touched[i]]);
        fresh = fresh || (seen[touched[i]] & bit) == 0;
        seen[touched[i]] |= bit;
        map[touched[i]] = 0;
    }
    return fresh;
}

static void write_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        return;
    (void)!write(fd, current, current_len);
    (void)close(fd);
}

static void keep(const char *folder) {
    if (corpus_count == CORPUS_MAX)
        return;
    struct input *input = &corpus[corpus_count];
    input->data = malloc(current_len + 1);
    if (input->data == NULL)
        abort();
    memcpy(input->data, current, current_len);
    input->len = current_len;
    if (folder != NULL) {
        char path[PATH_BYTES_MAX];
        (void)snprintf(path, sizeof path, "%s/found-%05zu.bin", folder, corpus_count);
        write_file(path);
    }
    corpus_count++;
}

static void crashed(void) {
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "crash-%s.bin", program);
    write_file(path);
    (void)!write(2, "the input is in ", 16);
    (void)!write(2, path, strlen(path));
    (void)!write(2, "\n", 1);
}

/* Called by the address sanitizer before it ends the process. */
void __asan_on_error(void) {
    crashed();
}

static void on_signal(int number) {
    crashed();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static const uint32_t INTERESTING[] = {0,      1,      2,       3,          0x7f,      0x80,
                                       0xff,   0x100,  0xffff,  0x10000,    0x7fffffff, 0x80000000,
                                       0xffff00, 0xfffffffe, 0xffffffff};

static void mutate_insert(void) {
    size_t room = INPUT_BYTES_MAX - current_len;
    size_t n = 1 + next_random(next_random(8) == 0 ? 256 : 8);
    if (n > room)
        return;
    size_t at = next_random((uint32_t)current_len + 1);
    memmove(current + at + n, current + at, current_len - at);
    for (size_t i = 0; i < n; i++)
        current[at + i] = current_len > 0 && next_random(2) != 0
                              ? current[(at + n + i) % current_len]
                              : (uint8_t)next_random(256);
    current_len += n;
}

static void mutate_splice(void) {
    const struct input *other = &corpus[next_random((uint32_t)corpus_count)];
    if (other->len == 0)
        return;
    size_t from = next_random((uint32_t)other->len);
    size_t n = 1 + next_random((uint32_t)(other->len - from));
    size_t at = next_random((uint32_t)current_len + 1);
    if (at + n > INPUT_BYTES_MAX)
        n = INPUT_BYTES_MAX - at;
    memcpy(current + at, other->data + from, n);
    current_len = at + n > current_len ? at + n : current_len;
}

/* One, two or four bytes as a big-endian number, which is what our formats hold. */
static void mutate_number(void) {
    size_t width = (size_t)1 << next_random(3);
    if (current_len < width)
        return;
    size_t at = next_random((uint32_t)(current_len - width + 1));
    uint32_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | current[at + i];
    switch (next_random(3)) {
    case 0:
        value = INTERESTING[next_random(sizeof INTERESTING / sizeof *INTERESTING)];
        break;
    case 1:
        value += 1 + next_random(16);
        break;
    default:
        value -= 1 + next_random(16);
        break;
    }
    for (size_t i = width; i-- > 0; value >>= 8)
        current[at + i] = (uint8_t)value;
}

static void mutate_delete(void) {
    if (current_len == 0)
        return;
    size_t at = next_random((uint32_t)current_len);
    size_t n = 1 + next_random(next_random(4) == 0 ? (uint32_t)(current_len - at) : 4);
    if (n > current_len - at)
        n = current_len - at;
    memmove(current + at, current + at + n, current_len - at - n);
    current_len -= n;
}

static void mutate(void) {
    for (uint32_t i = 1 + next_random(STACKED_MAX); i > 0; i--) {
        switch (next_random(6)) {
        case 0:
            if (current_len > 0)
                current[next_random((uint32_t)current_len)] ^= (uint8_t)(1 << next_random(8));
            break;
        case 1:
            if (current_len > 0)
                current[next_random((uint32_t)current_len)] = (uint8_t)next_random(256);
            break;
        case 2:
            mutate_number();
            break;
        case 3:
            mutate_insert();
            break;
        case 4:
            mutate_delete();
            break;
        default:
            mutate_splice();
            break;
        }
    }
}

static void load_file(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        perror(path);
        exit(2);
    }
    ssize_t n = read(fd, current, sizeof current);
    (void)close(fd);
    if (n < 0) {
        perror(path);
        exit(2);
    }
    current_len = (size_t)n;
    (void)run_current();
    keep(NULL);
}

static void load(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        exit(2);
    }
    if (!S_ISDIR(info.st_mode)) {
        load_file(path);
        return;
    }
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort); /* in one order, so that a seed replays */
    for (int i = 0; i < count; i++) {
        char file[PATH_BYTES_MAX];
        (void)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            load_file(file);
        free(names[i]);
    }
    free(names);
}

static uint32_t edges(void) {
    uint32_t count = 0;
    for (size_t i = 0; i < MAP_SIZE; i++)
        count += seen[i] != 0;
    return count;
}

/* Where a call instruction that begins here goes to; 0: it is none. */
static uintptr_t call_target(const uint8_t *at) {
    int32_t distance = 0;
#if defined(__x86_64__)
    memcpy(&distance, at + 1, sizeof distance);
    return at[0] == 0xE8 ? (uintptr_t)(at + 5) + (uintptr_t)(intptr_t)distance : 0;
#elif defined(__aarch64__)
    uint32_t word;
    memcpy(&word, at, sizeof word);
    distance = (int32_t)(word << 6) >> 4;
    return ((uintptr_t)at & 3) == 0 && word >> 26 == 0x25
               ? (uintptr_t)at + (uintptr_t)(intptr_t)distance
               : 0;
#else
    (void)at;
    return (uintptr_t)distance;
#endif
}

static bool is_mark(const uint8_t *at) {
    return call_target(at) == (uintptr_t)__sanitizer_cov_trace_pc;
}

/* Of the program itself, the first object that is told: its code, counted and noted. */
static int count_places(struct dl_phdr_info *info, size_t size, void *context) {
    uint32_t *ret_count = context;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0 || code.len != 0)
            continue;
        code.begin = (const uint8_t *)(uintptr_t)(info->dlpi_addr + part->p_vaddr);
        code.len = part->p_memsz;
    }
    for (size_t at = 0; at + CALL_BYTES <= code.len; at++)
        *ret_count += is_mark(code.begin + at);
    return 1;
}

static uint32_t places_reached(void) {
    uint32_t count = 0;
    for (size_t i = CALL_BYTES; i < code.len; i++)
        count += code.reached[i] != 0 && is_mark(code.begin + i - CALL_BYTES);
    return count;
}

/* By CPU and not by the clock: a machine that is busy, or a process that was stopped, hangs
 * nothing. */
static void watch_for_hangs(void) {
    static const struct itimerval limit = {.it_value = {.tv_sec = HANG_SECONDS}};
    (void)setitimer(ITIMER_PROF, &limit, NULL);
}

static uint64_t fuzz(uint64_t runs_max, uint64_t end_ms, const char *keep_folder) {
    uint64_t runs = 0;
    for (; runs < runs_max; runs++) {
        if (runs % 256 == 0) {
            watch_for_hangs();
            if (clock_monotonic_ms() >= end_ms)
                break;
        }
        /* Every other time one of the last found: they are the least explored. */
        size_t recent = corpus_count > 32 && next_random(2) != 0 ? corpus_count - 32 : 0;
        const struct input *from =
            &corpus[recent + next_random((uint32_t)(corpus_count - recent))];
        memcpy(current, from->data, from->len);
        current_len = from->len;
        mutate();
        if (run_current())
            keep(keep_folder);
    }
    return runs;
}

int main(int argc, char **argv) {
    uint64_t seconds = 0;
    uint64_t runs_max = UINT64_MAX;
    uint64_t seed = 1;
    const char *keep_folder = NULL;
    program = strrchr(argv[0], '/') == NULL ? argv[0] : strrchr(argv[0], '/') + 1;
    static const int FATAL[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPROF};
    for (size_t i = 0; i < sizeof FATAL / sizeof *FATAL; i++)
        (void)signal(FATAL[i], on_signal);
    uint32_t places = 0;
    (void)dl_iterate_phdr(count_places, &places);
    code.reached = calloc(1, code.len);
    if (code.reached == NULL)
        return 2;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (more && strcmp(argv[i], "--seconds") == 0)
            seconds = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--runs") == 0)
            runs_max = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--keep") == 0)
            keep_folder = argv[++i];
        else
            load(argv[i]);
    }
    if (corpus_count == 0)
        keep(NULL); /* the empty input */
    size_t given = corpus_count;
    uint32_t edges_given = edges();
    random_state = seed * 2 + 1;
    uint64_t begin_ms = clock_monotonic_ms();
    uint64_t end_ms = seconds == 0 ? UINT64_MAX : begin_ms + seconds * 1000;
    if (seconds == 0 && runs_max == UINT64_MAX)
        runs_max = 0; /* the given inputs only */
    uint64_t runs = fuzz(runs_max, end_ms, keep_folder);
    printf("%s: seed %llu, %zu given inputs (%u edges), %llu runs in %llu ms, %u edges, %zu found, "
           "%u of %u places reached\n",
           program, (unsigned long long)seed, given, edges_given, (unsigned long long)runs,
           (unsigned long long)(clock_monotonic_ms() - begin_ms), edges(), corpus_count - given,
           places_reached(), places);
    for (size_t i = 0; i < corpus_count; i++)
        free(corpus[i].data);
    free(code.reached);
    code.reached = NULL;
    return 0;
}
