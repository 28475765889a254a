/* What an operator should hear of before it stops the node: a certificate that ends, a clock that is
 * off, a disk that fills up. Each is logged when it begins and when it is over, and stands in the
 * status as long as it lasts. */
#include "ledger/node_inside.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/certificate.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"

enum { CERTIFICATE_LOOK_MS = 3600000, DISK_FREE_PERCENT_MIN = 5 };
static const uint64_t disk_free_bytes_min = UINT64_C(1) << 30;

static void watch_certificate(struct node *node, uint64_t now_ms) {
    struct node_watch *watch = &node->watch;
    if (watch->certificate_looked_ms != 0 &&
        now_ms - watch->certificate_looked_ms < CERTIFICATE_LOOK_MS)
        return;
    watch->certificate_looked_ms = now_ms;
    uint64_t end_ms = 0;
    uint64_t wall_ms = clock_wall_ms();
    if (certificate_end(node->settings->tls_certificate, &end_ms, NULL) != ERROR_NONE)
        return; /* it was read at the start, and a file that is being replaced is no news */
    watch->certificate_end_ms = end_ms;
    unsigned stage = certificate_stage(end_ms, wall_ms);
    if (stage < watch->certificate_stage) {
        char end[CLOCK_RFC3339_BYTES];
        clock_rfc3339(end_ms, end);
        log_event(stage == 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
                  stage == 0 ? "certificate-ended" : "certificate-ends", "file",
                  node->settings->tls_certificate, "end", end, "days_left",
                  log_u64(stage > 0 ? (end_ms - wall_ms) / CERTIFICATE_DAY_MS : 0), NULL);
    }
    watch->certificate_stage = stage;
}

static int order(const void *a, const void *b) {
    const int64_t *x = a;
    const int64_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* How far our clock is from the middle one of all that we hear of and our own; how many they are. */
static int64_t own_skew(const struct node_watch *watch, uint64_t now_ms, size_t *ret_count) {
    int64_t all[GENESIS_VALIDATORS_MAX + 1] = {0};
    size_t count = 1; /* our own, which is no distance from itself */
    for (uint32_t i = 0; i < GENESIS_VALIDATORS_MAX; i++)
        if (watch->clock[i].heard_ms != 0 && now_ms - watch->clock[i].heard_ms < NODE_CLOCK_OLD_MS)
            all[count++] = watch->clock[i].ahead_ms;
    qsort(all, count, sizeof all[0], order);
    /* Of an even number, the one nearer to ours: two clocks cannot tell which of them is wrong, and
     * half of the others are no reason to doubt ours. */
    int64_t low = all[(count - 1) / 2];
    int64_t high = all[count / 2];
    *ret_count = count;
    return -(llabs(low) < llabs(high) ? low : high);
}

static bool beyond(const struct node *node, int64_t skew_ms) {
    return llabs(skew_ms) > (int64_t)node->genesis->parameters.clock_drift_ms_max / 2;
}

static void log_skew(const struct node *node, bool off, const char *whose, int64_t ahead_ms) {
    log_event(off ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, off ? "clock-skew" : "clock-agrees",
              "validator", whose, ahead_ms < 0 ? "behind_ms" : "ahead_ms",
              log_u64((uint64_t)llabs(ahead_ms)), "refused_beyond_ms",
              log_u64(node->genesis->parameters.clock_drift_ms_max), NULL);
}

/* Whoever is off is named by those that are not, and by itself. */
static void watch_clocks(struct node *node, uint64_t now_ms) {
    struct node_watch *watch = &node->watch;
    size_t count = 0;
    int64_t skew_ms = own_skew(watch, now_ms, &count);
    if (count < 3 && count < node->members->validator_count)
        return; /* the first that is heard of after a start may be the one that is off */
    watch->skew_ms = skew_ms;
    bool off = beyond(node, watch->skew_ms);
    uint32_t own = node->self == PBFT_OBSERVER ? GENESIS_VALIDATORS_MAX : node->self;
    if (off != watch->clock[own].off)
        log_skew(node, off, node_own_name(node), watch->skew_ms);
    watch->clock[own].off = off;
    for (uint32_t i = 0; i < node->members->validator_count; i++) {
        struct node_clock *clock = &watch->clock[i];
        if (i == node->self || clock->heard_ms == 0)
            continue;
        int64_t ahead_ms = clock->ahead_ms + watch->skew_ms; /* of the middle clock */
        bool peer_off = beyond(node, ahead_ms);
        if (peer_off != clock->off)
            log_skew(node, peer_off, node->members->validators[i].name, ahead_ms);
        clock->off = peer_off;
    }
}

void node_on_clock(struct node *node, uint32_t peer, struct bytes body) {
    struct wire_reader r = wire_reader(body);
    uint64_t theirs_ms = wire_read_u64(&r);
    if (!wire_read_end(&r) || peer >= node->members->validator_count ||
        theirs_ms > INT64_MAX / 2)
        return;
    node->watch.clock[peer].heard_ms = node_now_ms();
    node->watch.clock[peer].ahead_ms = (int64_t)theirs_ms - (int64_t)clock_wall_ms();
}

static void tell_clock(struct node *node, uint64_t now_ms) {
    if (node->mesh == NULL || (node->watch.clock_told_ms != 0 &&
                               now_ms - node->watch.clock_told_ms < NODE_CLOCK_MS))
        return;
    node->watch.clock_told_ms = now_ms;
    uint8_t raw[8];
    wire_store_u64(raw, clock_wall_ms());
    node_send(node, PBFT_EVERYBODY, MESH_VOTES, NODE_CLOCK, bytes_of(raw, sizeof raw));
}

static bool disk_of(const struct node *node, uint64_t *ret_free, uint64_t *ret_all) {
    struct statvfs disk;
    if (statvfs(node->settings->data, &disk) != 0)
        return false;
    *ret_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    *ret_all = (uint64_t)disk.f_blocks * disk.f_frsize;
    return true;
}

/* Who begins on a full disk fails in the middle of something: it is better not to begin, and to stop
 * while there is still room to close. */
enum error_code node_disk_room(const struct node *node, struct error *err) {
    uint64_t free_bytes = 0;
    uint64_t all = 0;
    if (!disk_of(node, &free_bytes, &all) || free_bytes >= NODE_DISK_BYTES_MIN)
        return ERROR_NONE;
    enum error_code code =
        error_set(err, ERROR_DISK_FULL, "%s: %llu KiB are free, at least %d MiB are needed to go on",
                  node->settings->data, (unsigned long long)(free_bytes >> 10),
                  NODE_DISK_BYTES_MIN >> 20);
    error_hint(err, "free some space and start the node; it goes on where it stopped, and has "
                    "promised nothing that is not on the disk");
    return code;
}

static void watch_disk(struct node *node) {
    struct node_watch *watch = &node->watch;
    struct error err;
    uint64_t all = 0;
    if (!disk_of(node, &watch->disk_free_bytes, &all))
        return;
    if (node_disk_room(node, &err) != ERROR_NONE) {
        node_fail(node, ERROR_DISK_FULL, &err);
        return;
    }
    bool low = watch->disk_free_bytes < disk_free_bytes_min ||
               watch->disk_free_bytes < all / 100 * DISK_FREE_PERCENT_MIN;
    if (low != watch->disk_low)
        log_event(low ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, low ? "disk-low" : "disk-enough",
                  "folder", node->settings->data, "free_mib",
                  log_u64(watch->disk_free_bytes >> 20), NULL);
    watch->disk_low = low;
}

void node_tell_progress(void *context, const struct application_progress *p) {
    struct node *node = context;
    struct node_watch *watch = &node->watch;
    uint64_t now_ms = node_now_ms();
    watch->executed_again = p->height - p->first + 1;
    if (p->height == p->first)
        watch->execution_began_ms = now_ms;
    if (now_ms - watch->progress_told_ms < NODE_PROGRESS_MS)
        return;
    uint64_t ms = now_ms - watch->execution_began_ms + 1;
    watch->progress_told_ms = now_ms;
    log_event(LOG_LEVEL_INFO, "executing-again", "height", log_u64(p->height), "of",
              log_u64(p->last), "percent", log_u64(p->bytes * 100 / p->bytes_all), "blocks_per_s",
              log_u64(watch->executed_again * 1000 / ms), "left_s",
              log_u64((p->bytes_all - p->bytes) * ms / p->bytes / 1000), NULL);
}

void node_watch(struct node *node, uint64_t now_ms) {
    tell_clock(node, now_ms);
    watch_certificate(node, now_ms);
    watch_clocks(node, now_ms);
    watch_disk(node);
}
