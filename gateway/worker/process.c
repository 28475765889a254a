#include "gateway/worker/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    CHILD_FD = 3,
    STOP_MS_MAX = 2000,  /* how long a child may take to end by itself */
    STOP_STEP_MS = 5,
    ENVIRONMENT_MAX = 16,
    ARGUMENTS_MAX = 24,
    WORD_BYTES_MAX = 32,
    LOOK_MS = 100, /* between two looks at a child's memory */
    MIB = 1 << 20,
};

/* What a sanitizer takes beside what the program asks for. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_BYTES (UINT64_C(768) << 20)
#else
#define SANITIZER_BYTES UINT64_C(0)
#endif

/* What of our own environment a worker gets; a source's own variables come by its mapping. */
static const char *const inherited[] = {
    "PATH", "HOME", "LANG", "TMPDIR", "ODBCSYSINI", "ODBCINI", "ODBCINSTINI",
    "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS",
};

static void build_environment(char *ret_environment[ENVIRONMENT_MAX]) {
    size_t count = 0;
    for (char **at = environ; *at != NULL && count < ENVIRONMENT_MAX - 1; at++)
        for (size_t i = 0; i < sizeof inherited / sizeof inherited[0]; i++) {
            size_t len = strlen(inherited[i]);
            if (strncmp(*at, inherited[i], len) == 0 && (*at)[len] == '=') {
                ret_environment[count++] = *at;
                break;
            }
        }
    ret_environment[count] = NULL;
}

static int spawn(const struct process *p, int fd, pid_t *ret_pid) {
    char memory[WORD_BYTES_MAX], cpu[WORD_BYTES_MAX], factor[WORD_BYTES_MAX];
    snprintf(factor, sizeof factor, "%u", p->config.latency_factor_max);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)p->config.memory_bytes_max);
    snprintf(cpu, sizeof cpu, "%u", p->config.cpu_seconds_max);
    /* No secret is among them: a command line is readable by everybody. */
    const char *words[ARGUMENTS_MAX] = {
        "renkei-worker",       "--plugins",   p->config.plugin_folder, "--mapping",
        p->config.mapping_path, "--hospital", p->config.hospital,      "--memory-bytes-max",
        memory,                "--cpu-seconds-max", cpu,               "--latency-factor-max",
        factor,                NULL,
    };
    if (p->config.windows != NULL) {
        size_t count = 0;
        while (words[count] != NULL)
            count++;
        words[count++] = "--windows";
        words[count++] = p->config.windows;
        words[count++] = "--time-zone";
        words[count] = p->config.time_zone == NULL ? "UTC" : p->config.time_zone;
    }
    char *environment[ENVIRONMENT_MAX];
    build_environment(environment);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, standard;
    sigemptyset(&none);
    sigemptyset(&standard);
    sigaddset(&standard, SIGPIPE);
    sigaddset(&standard, SIGCHLD);
    sigaddset(&standard, SIGTERM);
    sigaddset(&standard, SIGINT);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, CHILD_FD + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    /* A group of its own: a terminal's interrupt is for the gateway, which then ends us. */
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    char *arguments[ARGUMENTS_MAX];
    memcpy(arguments, words, sizeof arguments);
    int number = posix_spawn(ret_pid, p->config.program, &actions, &attributes, arguments,
                             environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return number;
}

/* How a child ended, and the most memory it ever had. */
struct ending {
    int status;
    uint64_t memory_bytes;
};

static bool try_reap(struct process *p, int options, struct ending *ret_ending) {
    struct rusage used;
    pid_t got;
    while ((got = wait4(p->pid, &ret_ending->status, options, &used)) < 0 && errno == EINTR)
        ;
    if (got == p->pid)
        ret_ending->memory_bytes = (uint64_t)used.ru_maxrss * 1024;
    return got != 0;
}

/* Waits for the child's end, kills it when it is late. */
static struct ending reap(struct process *p, uint32_t ms_max) {
    struct ending ending = {0};
    uint64_t until = clock_monotonic_ms() + ms_max;
    for (;;) {
        if (try_reap(p, WNOHANG, &ending))
            return ending;
        if (clock_monotonic_ms() >= until)
            break;
        clock_sleep_ms(STOP_STEP_MS);
    }
    kill(p->pid, SIGKILL);
    (void)try_reap(p, 0, &ending);
    return ending;
}

/* The child is gone after this; how it ended is told. */
static struct ending hang_up(struct process *p, uint32_t ms_max) {
    pthread_mutex_lock(&p->send_mutex);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    pthread_mutex_unlock(&p->send_mutex);
    struct ending ending = {0};
    if (p->pid > 0)
        ending = reap(p, ms_max);
    /* The system's own count of the most that it had may lag behind what was seen. */
    if (ending.memory_bytes < p->ended_at_bytes)
        ending.memory_bytes = p->ended_at_bytes;
    p->ended_at_bytes = 0;
    p->pid = 0;
    return ending;
}

void process_stop(struct process *p) {
    hang_up(p, STOP_MS_MAX);
}

static void count_death(struct process *p) {
    uint64_t backoff_ms = 0;
    if (p->deaths > 0) {
        backoff_ms = WORKER_BACKOFF_MS_MIN;
        for (unsigned i = 1; i < p->deaths && backoff_ms < WORKER_BACKOFF_MS_MAX; i++)
            backoff_ms *= 2;
        if (backoff_ms > WORKER_BACKOFF_MS_MAX)
            backoff_ms = WORKER_BACKOFF_MS_MAX;
    }
    p->deaths++;
    p->start_at_ms = clock_monotonic_ms() + backoff_ms;
}

static enum error_code too_much_memory(struct process *p, uint64_t bytes, struct error *err) {
    error_set(err, ERROR_WORKER,
              "source %s: the worker used %llu MiB of memory and was ended, at most %llu MiB are "
              "possible (worker_memory_mib)",
              p->config.source, (unsigned long long)bytes / MIB,
              (unsigned long long)p->config.memory_bytes_max / MIB);
    error_hint(err, "a driver that holds whole results needs more: see worker_memory_mib of the "
                    "source in gateway.yaml");
    return ERROR_WORKER;
}

static uint64_t memory_allowed(const struct process *p) {
    return p->config.memory_bytes_max + SANITIZER_BYTES;
}

static enum error_code died(struct process *p, struct error *err) {
    pid_t pid = p->pid;
    struct ending ending = hang_up(p, STOP_MS_MAX);
    int status = ending.status;
    count_death(p);
    /* One that got no more memory ends in its own way, mostly by a signal. */
    if (WIFSIGNALED(status) && ending.memory_bytes >= memory_allowed(p))
        return too_much_memory(p, ending.memory_bytes, err);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return error_set(err, ERROR_WORKER,
                         "source %s: the worker used the CPU for %u s without an answer and was "
                         "ended (worker_cpu)",
                         p->config.source, p->config.cpu_seconds_max);
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_WORKER, "source %s: worker process %d ended by signal %d (%s)",
                         p->config.source, (int)pid, WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    return error_set(err, ERROR_WORKER, "source %s: worker process %d ended with exit status %d",
                     p->config.source, (int)pid, WEXITSTATUS(status));
}

enum error_code process_broken(struct process *p, const char *what, struct error *err) {
    if (p->pid > 0)
        kill(p->pid, SIGKILL);
    hang_up(p, STOP_MS_MAX);
    count_death(p);
    return error_set(err, ERROR_WORKER, "source %s: the worker's message makes no sense: %s",
                     p->config.source, what);
}

static enum error_code too_late(struct process *p, struct error *err) {
    if (p->pid > 0)
        kill(p->pid, SIGKILL);
    hang_up(p, STOP_MS_MAX);
    count_death(p);
    return error_set(err, ERROR_TIMEOUT,
                     "source %s: the worker did not answer in time and was ended",
                     p->config.source);
}

/* The child's resident memory now; 0: it cannot be told. */
static uint64_t memory_of(pid_t pid) {
    char path[40], text[64];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    char *second = strchr(text, ' ');
    if (second != NULL)
        pages = strtoull(second, NULL, 10);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Waits for an event of the socket; false: the deadline has passed, or the child has grown past its
 * memory and was killed: then the next use of its socket tells. */
static bool wait_for(struct process *p, short events, uint64_t deadline_ms) {
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        if (now >= deadline_ms)
            return false;
        uint64_t left = deadline_ms - now;
        struct pollfd pfd = {p->fd, events, 0};
        if (poll(&pfd, 1, left > LOOK_MS ? LOOK_MS : (int)left) > 0)
            return true;
        uint64_t bytes = memory_of(p->pid);
        if (bytes <= memory_allowed(p))
            continue;
        p->ended_at_bytes = bytes;
        kill(p->pid, SIGKILL);
    }
}

static enum error_code send_all(struct process *p, struct bytes data, uint64_t deadline_ms,
                                struct error *err) {
    size_t done = 0;
    while (done < data.len) {
        ssize_t sent = send(p->fd, data.data + done, data.len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            done += (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for(p, POLLOUT, deadline_ms))
                return ERROR_TIMEOUT;
        } else if (errno != EINTR)
            return ERROR_WORKER;
    }
    (void)err;
    return ERROR_NONE;
}

enum error_code process_send(struct process *p, struct buffer *frame, uint64_t deadline_ms,
                             struct error *err) {
    struct bytes data = frame_end(frame);
    TRY(buffer_check(frame, "message to the worker", err));
    pthread_mutex_lock(&p->send_mutex);
    enum error_code code = send_all(p, data, deadline_ms, err);
    pthread_mutex_unlock(&p->send_mutex);
    if (code == ERROR_TIMEOUT)
        return too_late(p, err);
    return code == ERROR_NONE ? ERROR_NONE : died(p, err);
}

static enum error_code receive_exactly(struct process *p, uint8_t *data, size_t len,
                                       uint64_t deadline_ms, struct error *err) {
    size_t done = 0;
    while (done < len) {
        ssize_t got = recv(p->fd, data + done, len - done, MSG_DONTWAIT);
        if (got > 0)
            done += (size_t)got;
        else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!wait_for(p, POLLIN, deadline_ms))
                return too_late(p, err);
        } else if (got == 0 || errno != EINTR)
            return died(p, err);
    }
    return ERROR_NONE;
}

/* The error that the worker sent, as ours. */
static enum error_code as_error(struct process *p, struct wire_reader *r, struct error *err) {
    uint32_t code = wire_read_u32(r);
    struct bytes message = wire_read_bytes(r, ERROR_MESSAGE_BYTES_MAX);
    struct bytes hint = wire_read_bytes(r, ERROR_HINT_BYTES_MAX);
    if (!wire_read_end(r) || code == ERROR_NONE || code >= ERROR_COUNT)
        return process_broken(p, "error", err);
    error_set(err, (enum error_code)code, "%.*s", (int)message.len, (const char *)message.data);
    if (hint.len > 0)
        error_hint(err, "%.*s", (int)hint.len, (const char *)hint.data);
    return (enum error_code)code;
}

enum error_code process_receive(struct process *p, struct buffer *into, uint64_t deadline_ms,
                                struct frame *ret_frame, struct error *err) {
    uint8_t header[FRAME_HEADER_BYTES];
    TRY(receive_exactly(p, header, sizeof header, deadline_ms, err));
    uint32_t len = wire_load_u32(header);
    if (len == 0 || len > FRAME_BYTES_MAX)
        return process_broken(p, "length of a message", err);
    buffer_clear(into);
    uint8_t *data = buffer_reserve(into, len - 1);
    if (data == NULL && len > 1)
        return process_broken(p, "no memory for a message", err);
    TRY(receive_exactly(p, data, len - 1, deadline_ms, err));
    into->len = len - 1;
    struct frame frame = {(enum frame_type)header[4], wire_reader(buffer_bytes(into))};
    if (frame.type == FRAME_ERROR)
        return as_error(p, &frame.payload, err);
    *ret_frame = frame;
    return ERROR_NONE;
}

static enum error_code greet(struct process *p, struct error *err) {
    struct frame frame;
    uint64_t deadline_ms = clock_monotonic_ms() + p->config.call_ms_max;
    TRY(process_receive(p, &p->in[0], deadline_ms, &frame, err));
    struct bytes version = wire_read_bytes(&frame.payload, 64);
    if (frame.type != FRAME_READY || !wire_read_end(&frame.payload))
        return process_broken(p, "greeting", err);
    if (!bytes_equal(version, BYTES_LITERAL(RENKEI_VERSION))) {
        process_broken(p, "version", NULL);
        return error_set(err, ERROR_WORKER,
                         "source %s: %s: found version %.*s, expected " RENKEI_VERSION,
                         p->config.source, p->config.program, (int)version.len,
                         (const char *)version.data);
    }
    return ERROR_NONE;
}

enum error_code process_start(struct process *p, struct error *err) {
    if (p->pid > 0)
        return ERROR_NONE;
    uint64_t now = clock_monotonic_ms();
    if (now < p->start_at_ms)
        return error_set(err, ERROR_WORKER,
                         "source %s: the worker ended %u times in a row; it is started again in "
                         "%llu ms",
                         p->config.source, p->deaths,
                         (unsigned long long)(p->start_at_ms - now));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set(err, ERROR_IO, "source %s: socket pair: %s", p->config.source,
                         strerror(errno));
    pid_t pid = 0;
    int number = spawn(p, pair[1], &pid);
    close(pair[1]);
    if (number != 0) {
        close(pair[0]);
        return error_set(err, ERROR_WORKER, "source %s: cannot start %s: %s", p->config.source,
                         p->config.program, strerror(number));
    }
    p->pid = pid;
    pthread_mutex_lock(&p->send_mutex);
    p->fd = pair[0];
    pthread_mutex_unlock(&p->send_mutex);
    enum error_code code = greet(p, err);
    /* An error it told, such as a mapping that is wrong, is no death: it ended in good order. */
    if (code != ERROR_NONE && p->pid > 0)
        process_stop(p);
    return code;
}

void process_cancel(struct process *p) {
    static const uint8_t frame[FRAME_HEADER_BYTES] = {0, 0, 0, 1, FRAME_CANCEL};
    pthread_mutex_lock(&p->send_mutex);
    /* Five bytes go through or the socket is full of what the worker has yet to read. */
    if (p->fd >= 0 && p->in_call)
        (void)!send(p->fd, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
    pthread_mutex_unlock(&p->send_mutex);
}
