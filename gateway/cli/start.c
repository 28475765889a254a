/*
 * renkei start: the node and the gateway of one folder in the foreground, their logs in files. For
 * a first try and for small hospitals; deploy/systemd has units for the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "gateway/cli/cli.h"

#define LOCK_FILE "start.lock"

enum { LOCK_BYTES_MAX = 64 };

enum { READY_MS_MAX = 60000, READY_POLL_MS = 20, STOP_MS_MAX = 30000, EXEC_FAILED_STATUS = 126 };

struct program {
    const char *name;
    enum cli_program which;
    const char *config;    /* in the folder */
    const char *socket;    /* in the folder; accepts once the program is ready */
    pid_t pid;             /* 0: does not run */
    char log[PATH_MAX];
};

/* In the child: its own group, so that ctrl-C reaches the parent only, which then ends the programs
 * in order; and the end of the parent, however it comes, is the end of the child. */
static void become(const char *path, const char *config, const char *log, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    int input = open("/dev/null", O_RDONLY);
    int output = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && input >= 0 &&
        output >= 0 && dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
        dup2(output, STDERR_FILENO) >= 0)
        execl(path, path, "--config", config, (char *)NULL);
    _exit(EXEC_FAILED_STATUS);
}

static enum error_code spawn(struct program *program, const char *folder, struct error *err) {
    char path[PATH_MAX];
    char config[PATH_MAX];
    TRY(cli_program_path(program->which, path, err));
    char log[64];
    snprintf(log, sizeof log, "log/%s.log", program->name);
    TRY(cli_path(folder, program->config, config, err));
    TRY(cli_path(folder, log, program->log, err));
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return file_error(err, errno, "cannot start", path);
    if (pid == 0)
        become(path, config, program->log, parent);
    program->pid = pid;
    return ERROR_NONE;
}

static bool accepts(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    SCOPED_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static enum error_code ended(const struct program *program, int status, struct error *err) {
    if (WIFSIGNALED(status))
        error_set(err, ERROR_INTERNAL, "%s was ended by signal %d", program->name,
                  WTERMSIG(status));
    else
        error_set(err, ERROR_INTERNAL, "%s ended with status %d", program->name,
                  WEXITSTATUS(status));
    error_hint(err, "its last words are in %s", program->log);
    return ERROR_INTERNAL;
}

/* Until the program's socket accepts, or it ends. */
static enum error_code wait_ready(struct program *program, const char *folder, struct error *err) {
    char path[PATH_MAX];
    TRY(cli_path(folder, program->socket, path, err));
    uint64_t until_ms = clock_monotonic_ms() + READY_MS_MAX;
    while (!accepts(path)) {
        int status;
        if (waitpid(program->pid, &status, WNOHANG) == program->pid) {
            program->pid = 0;
            return ended(program, status, err);
        }
        if (clock_monotonic_ms() > until_ms) {
            error_set(err, ERROR_TIMEOUT, "%s is not ready after %d s", program->name,
                      READY_MS_MAX / 1000);
            error_hint(err, "its last words are in %s", program->log);
            return ERROR_TIMEOUT;
        }
        clock_sleep_ms(READY_POLL_MS);
    }
    return ERROR_NONE;
}

static void stop(struct program *program) {
    if (program->pid == 0)
        return;
    kill(program->pid, SIGTERM);
    uint64_t until_ms = clock_monotonic_ms() + STOP_MS_MAX;
    while (waitpid(program->pid, NULL, WNOHANG) == 0) {
        if (clock_monotonic_ms() > until_ms)
            kill(program->pid, SIGKILL);
        clock_sleep_ms(READY_POLL_MS);
    }
    program->pid = 0;
}

static void say_ready(const struct cli_call *call, const char *folder, bool gateway) {
    json_t *status = NULL;
    if (gateway && cli_admin(call, "GET", "/admin/v1/status", NULL, &status, NULL) != ERROR_NONE)
        status = NULL;
    const char *url = cli_json_text(status, "url");
    printf("ready%s%s; logs are in %s/log; %s ends it\n", *url != '\0' ? ": " : "", url, folder,
           cli_flag(call, "background") ? "`renkei stop`" : "ctrl-C");
    json_decref(status);
    fflush(stdout);
}

/* One message to the process that waits in the foreground: an error, or that all is ready. */
static void tell_parent(int *told, const struct error *failed) {
    if (*told < 0)
        return;
    struct error message = {.code = ERROR_NONE};
    if (failed != NULL)
        message = *failed;
    ssize_t written = write(*told, &message, sizeof message);
    (void)written; /* a parent that is gone needs no answer */
    close(*told);
    *told = -1;
}

/* What a process in the background says goes to a file; whoever reads the command's output must
 * see its end. */
static enum error_code leave_terminal(const char *folder, struct error *err) {
    char path[PATH_MAX];
    TRY(cli_path(folder, "log/start.log", path, err));
    SCOPED_FD int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    SCOPED_FD int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (nothing < 0 || log < 0 || dup2(nothing, STDIN_FILENO) < 0 ||
        dup2(nothing, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        return file_error(err, errno, "cannot open", path);
    return ERROR_NONE;
}

/* Waits for a signal to end, or for the end of a program, which is an error. */
static enum error_code watch(struct program *programs, size_t count, const sigset_t *signals,
                             struct error *err) {
    for (;;) {
        int signal = sigwaitinfo(signals, NULL);
        if (signal == SIGINT || signal == SIGTERM)
            return ERROR_NONE;
        for (size_t i = 0; i < count; i++) {
            int status;
            if (programs[i].pid == 0 ||
                waitpid(programs[i].pid, &status, WNOHANG) != programs[i].pid)
                continue;
            programs[i].pid = 0;
            return ended(&programs[i], status, err);
        }
    }
}

static enum error_code start_all(struct program *programs, size_t count, const char *folder,
                                 struct error *err) {
    for (size_t i = 0; i < count; i++) {
        TRY(spawn(&programs[i], folder, err));
        TRY(wait_ready(&programs[i], folder, err));
    }
    return ERROR_NONE;
}

static enum error_code supervise(const struct cli_call *call, int *told, struct error *err) {
    const char *folder = cli_folder(call);
    struct program programs[] = {
        {.name = "renkei-node",
         .which = CLI_NODE,
         .config = "node/node.yaml",
         .socket = "node/node.sock"},
        {.name = "renkei-gateway",
         .which = CLI_GATEWAY,
         .config = "gateway.yaml",
         .socket = "admin.sock"},
    };
    char path[PATH_MAX];
    TRY(cli_path(folder, "log", path, err));
    TRY(file_make_folder(path, 0700, err));
    SCOPED_FD int lock = -1;
    TRY(cli_path(folder, LOCK_FILE, path, err));
    TRY(file_lock(path, &lock, err));
    TRY(cli_path(folder, "gateway.yaml", path, err));
    size_t count = access(path, F_OK) == 0 && !cli_flag(call, "node-only") ? 2 : 1;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    enum error_code code = start_all(programs, count, folder, err);
    if (code == ERROR_NONE) {
        say_ready(call, folder, count == 2);
        if (*told >= 0)
            code = leave_terminal(folder, err);
    }
    if (code == ERROR_NONE) {
        tell_parent(told, NULL);
        code = watch(programs, count, &signals, err);
    }
    for (size_t i = count; i > 0; i--)
        stop(&programs[i - 1]);
    return code;
}

/* A second process supervises; this one returns once that is ready, or with its error. */
static enum error_code in_background(const struct cli_call *call, struct error *err) {
    int told[2];
    if (pipe2(told, O_CLOEXEC) != 0)
        return file_error(err, errno, "cannot make", "a pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        return file_error(err, errno, "cannot start", "a process");
    if (pid == 0) {
        close(told[0]);
        setsid();
        struct error failed;
        if (supervise(call, &told[1], &failed) != ERROR_NONE) {
            if (told[1] < 0)
                cli_print_error(&failed, call->json);
            tell_parent(&told[1], &failed);
        }
        _exit(0);
    }
    close(told[1]);
    SCOPED_FD int from = told[0];
    struct error failed = {.code = ERROR_NONE};
    ssize_t got = read(from, &failed, sizeof failed);
    if (got == (ssize_t)sizeof failed && failed.code != ERROR_NONE) {
        if (err != NULL)
            *err = failed;
        return failed.code;
    }
    if (got != (ssize_t)sizeof failed)
        return error_set(err, ERROR_INTERNAL, "the process in the background ended at once");
    return ERROR_NONE;
}

static enum error_code run_start(const struct cli_call *call, struct error *err) {
    if (cli_flag(call, "background"))
        return in_background(call, err);
    int nobody = -1;
    return supervise(call, &nobody, err);
}

/* --- stop --------------------------------------------------------------------------------------- */

static enum error_code run_stop(const struct cli_call *call, struct error *err) {
    char path[PATH_MAX];
    TRY(cli_path(cli_folder(call), LOCK_FILE, path, err));
    SCOPED_BUFFER struct buffer holder;
    buffer_init(&holder, LOCK_BYTES_MAX);
    int lock = -1;
    if (access(path, F_OK) != 0 || file_lock(path, &lock, NULL) == ERROR_NONE) {
        file_close_scoped(&lock);
        return error_set(err, ERROR_NOT_FOUND, "nothing runs in %s", cli_folder(call));
    }
    TRY(file_read(path, &holder, LOCK_BYTES_MAX - 1, err));
    buffer_append_byte(&holder, '\0');
    long pid = strtol((const char *)holder.data, NULL, 10);
    if (pid <= 1 || kill((pid_t)pid, SIGTERM) != 0)
        return error_set(err, ERROR_IO, "process %ld, which holds %s, cannot be ended", pid, path);
    uint64_t until_ms = clock_monotonic_ms() + 2 * STOP_MS_MAX;
    while (file_lock(path, &lock, NULL) != ERROR_NONE) {
        if (clock_monotonic_ms() > until_ms)
            return error_set(err, ERROR_TIMEOUT, "process %ld still runs after %d s", pid,
                             2 * STOP_MS_MAX / 1000);
        clock_sleep_ms(READY_POLL_MS);
    }
    file_close_scoped(&lock);
    return ERROR_NONE;
}

static const struct cli_option stop_options[] = {CLI_OPTION_FOLDER, CLI_OPTIONS_COMMON};

const struct cli_command cli_stop = {"stop", "Set up", "", 0, 0,
                                     "end what `renkei start` runs",
                                     "renkei stop --folder ./clinic", stop_options, run_stop};

static const struct cli_option start_options[] = {
    CLI_OPTION_FOLDER,
    {"background", NULL, "return once all is ready; `renkei stop` ends it", false, false},
    {"node-only", NULL, "start no gateway", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_start = {"start", "Set up", "", 0, 0,
                                      "run this hospital's node and gateway",
                                      "renkei start --folder ./clinic", start_options, run_start};
