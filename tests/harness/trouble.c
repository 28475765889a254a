/*
 * Preloaded into a program under test: a clock that is off by RENKEI_SKEW_MS, and a disk of 100 GiB
 * of which RENKEI_DISK_FREE_MIB are free.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

enum { BLOCK_BYTES = 4096, MIB = 1 << 20 };

int clock_gettime(clockid_t id, struct timespec *ret_time) {
    int (*real)(clockid_t, struct timespec *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    const char *skew = getenv("RENKEI_SKEW_MS");
    int result = real(id, ret_time);
    if (result == 0 && id == CLOCK_REALTIME && skew != NULL) {
        long long ns = strtoll(skew, NULL, 10) * 1000000 + ret_time->tv_nsec;
        ret_time->tv_sec += ns / 1000000000;
        ret_time->tv_nsec = ns % 1000000000;
        if (ret_time->tv_nsec < 0) {
            ret_time->tv_sec--;
            ret_time->tv_nsec += 1000000000;
        }
    }
    return result;
}

int statvfs(const char *restrict path, struct statvfs *restrict ret_disk) {
    int (*real)(const char *, struct statvfs *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "statvfs");
    const char *free_mib = getenv("RENKEI_DISK_FREE_MIB");
    int result = real(path, ret_disk);
    if (result == 0 && free_mib != NULL) {
        ret_disk->f_frsize = BLOCK_BYTES;
        ret_disk->f_blocks = 100L * 1024 * MIB / BLOCK_BYTES;
        ret_disk->f_bavail = strtoul(free_mib, NULL, 10) * (MIB / BLOCK_BYTES);
    }
    return result;
}
