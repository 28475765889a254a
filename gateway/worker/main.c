/*
 * renkei-worker: reads one source. Started by the gateway, never by hand; its socket is descriptor
 * 3, its limits and paths come as arguments, everything else comes over the socket.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "gateway/worker/host.h"

enum { SOCKET_FD = 3 };

struct arguments {
    const char *plugins;
    const char *mapping;
    const char *hospital;
    uint64_t memory_bytes_max;
    uint64_t cpu_seconds_max;
    const char *windows;
    const char *time_zone;
    uint64_t latency_factor_max;
};

static bool parse(int argc, char **argv, struct arguments *ret_arguments) {
    static const struct option options[] = {
        {"plugins", required_argument, NULL, 'p'},
        {"mapping", required_argument, NULL, 'm'},
        {"hospital", required_argument, NULL, 'h'},
        {"memory-bytes-max", required_argument, NULL, 'b'},
        {"cpu-seconds-max", required_argument, NULL, 'c'},
        {"windows", required_argument, NULL, 'w'},
        {"time-zone", required_argument, NULL, 'z'},
        {"latency-factor-max", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    struct arguments a = {0};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = true;
        if (option == 'p')
            a.plugins = optarg;
        else if (option == 'm')
            a.mapping = optarg;
        else if (option == 'h')
            a.hospital = optarg;
        else if (option == 'b')
            good = text_u64(optarg, &a.memory_bytes_max);
        else if (option == 'c')
            good = text_u64(optarg, &a.cpu_seconds_max);
        else if (option == 'w')
            a.windows = optarg;
        else if (option == 'z')
            a.time_zone = optarg;
        else if (option == 'l')
            good = text_u64(optarg, &a.latency_factor_max);
        else
            good = false;
        if (!good)
            return false;
    }
    if (a.plugins == NULL || a.mapping == NULL || a.hospital == NULL || optind != argc)
        return false;
    *ret_arguments = a;
    return true;
}

/* What may be written to: heap, stacks of threads, private files. The gateway looks at what is
 * really used and ends us at memory_bytes_max with a clear word; this is for one that is too fast to
 * be seen. A sanitizer of addresses or threads reserves more than any limit. */
static void limit_memory(uint64_t bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct rlimit limits = {bytes, bytes};
    if (bytes > 0 && setrlimit(RLIMIT_DATA, &limits) != 0)
        log_event(LOG_LEVEL_WARNING, "limit-not-set", "limit", "memory-bytes-max", "reason",
                  strerror(errno), NULL);
#else
    (void)bytes;
#endif
}

int main(int argc, char **argv) {
    static struct host host;
    struct arguments arguments;
    struct error err = {0};
    log_start("renkei-worker", LOG_LEVEL_INFO);
    if (!parse(argc, argv, &arguments)) {
        fprintf(stderr, "renkei-worker is started by renkei-gateway and renkei, not by hand\n");
        return error_info(ERROR_USAGE)->exit_status;
    }
    limit_memory(2 * arguments.memory_bytes_max);
    /* A core file would hold records. */
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    host.fd = SOCKET_FD;
    host.hospital = arguments.hospital;
    host.cpu_seconds_max = (uint32_t)arguments.cpu_seconds_max;
    host.latency_factor_max = (uint32_t)arguments.latency_factor_max;
    if (arguments.windows != NULL && windows_parse(arguments.windows, arguments.time_zone,
                                                   &host.windows, &err) != ERROR_NONE)
        return error_info(err.code)->exit_status; /* worker_new has looked at them already */
    if (host_start(&host, arguments.mapping, arguments.plugins, &err) != ERROR_NONE)
        return error_info(err.code)->exit_status;
    host_serve(&host);
}
