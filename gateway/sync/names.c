/* The words of the enumerations; apart, so that a program may have them without the rest. */
#include "gateway/sync/records.h"

const char *sync_mode_name(enum sync_mode mode) {
    static const char *const names[] = {[SYNC_FULL] = "full",
                                        [SYNC_WATERMARK] = "watermark",
                                        [SYNC_KEYS] = "keys",
                                        [SYNC_REPLAY] = "replay"};
    return mode >= SYNC_FULL && mode <= SYNC_REPLAY ? names[mode] : "full";
}

const char *sync_state_name(enum sync_state state) {
    static const char *const names[] = {
        [SYNC_NEVER] = "never",         [SYNC_QUEUED] = "queued", [SYNC_READING] = "reading",
        [SYNC_ANCHORING] = "anchoring", [SYNC_DONE] = "done",     [SYNC_FAILED] = "failed",
        [SYNC_CANCELLED] = "cancelled"};
    return names[state];
}

const char *verdict_name(enum verdict verdict) {
    switch (verdict) {
    case VERDICT_UNKNOWN:
        return "unknown";
    case VERDICT_MATCH:
        return "match";
    case VERDICT_MISMATCH:
        return "mismatch";
    case VERDICT_MISSING:
        return "missing";
    case VERDICT_UNANCHORED:
        return "unanchored";
    case VERDICT_ERASED:
        return "erased";
    case VERDICT_WITHHELD:
        return "withheld";
    }
    return "unknown";
}

const char *sync_pause_name(enum sync_pause pause) {
    static const char *const names[] = {
        [SYNC_NOT_PAUSED] = "", [SYNC_SLOWED] = "slowed", [SYNC_CLOSED] = "closed"};
    return names[pause];
}
