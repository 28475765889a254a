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
    if (snprintf(config, sizeof config, "%s/%s", folder, program->config) >= PATH_MAX ||
        snprintf(program->log, sizeof program->log, "%s/log/%s.log", folder, program->name) >=
            PATH_MAX)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes: %s", PATH_MAX, folder);
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
    if (snprintf(path, sizeof path, "%s/%s", folder, program->socket) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes: %s", PATH_MAX, folder);
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
    printf("ready%s%s; logs are in %s/log; ctrl-C ends it\n", *url != '\0' ? ": " : "", url, folder);
    json_decref(status);
    fflush(stdout);
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

static enum error_code run_start(const struct cli_call *call, struct error *err) {
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
    if (snprintf(path, sizeof path, "%s/log", folder) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes: %s", PATH_MAX, folder);
    TRY(file_make_folder(path, 0700, err));
    snprintf(path, sizeof path, "%.*s/gateway.yaml", PATH_MAX - 16, folder);
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
        code = watch(programs, count, &signals, err);
    }
    for (size_t i = count; i > 0; i--)
        stop(&programs[i - 1]);
    return code;
}

static const struct cli_option start_options[] = {
    CLI_OPTION_FOLDER,
    {"node-only", NULL, "start no gateway", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_start = {"start", "Set up", "", 0, 0,
                                      "run this hospital's node and gateway",
                                      "renkei start --folder ./clinic", start_options, run_start};
