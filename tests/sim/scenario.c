/*
 * scenario FILE...: runs readable scenarios (tests/scenarios/README.md) in a world without chance:
 * every message takes 10 ms, nothing is lost unless the scenario says so. The checkers of the
 * simulator run along; a scenario asserts the exact view reached.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "tests/sim/world.h"

enum { WORDS_MAX = 32, LINE_BYTES_MAX = 256 };

struct scenario {
    const char *file;
    unsigned line;
    struct sim_config config;
    struct world *w; /* NULL until the first command that needs it */
    bool failed;
    enum broken expected_broken;
    char *words[WORDS_MAX];
    unsigned word_count;
};

static void fail(struct scenario *s, const char *format, ...) PRINTF_LIKE(2, 3);
static void fail(struct scenario *s, const char *format, ...) {
    va_list args;
    s->failed = true;
    printf("%s:%u: ", s->file, s->line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static uint64_t number(struct scenario *s, unsigned at) {
    uint64_t value = 0;
    if (at >= s->word_count || !text_u64(s->words[at], &value))
        fail(s, "found %s, expected a number", at < s->word_count ? s->words[at] : "the end");
    return value;
}

static uint32_t node(struct scenario *s, unsigned at) {
    uint64_t value = number(s, at);
    if (value >= s->w->instance_count) {
        fail(s, "there is no node %" PRIu64, value);
        return 0;
    }
    return (uint32_t)value;
}

static bool is(const struct scenario *s, unsigned at, const char *word) {
    return at < s->word_count && strcmp(s->words[at], word) == 0;
}

/* ---- before the start ---- */

static void do_nodes(struct scenario *s) {
    s->config.n = (uint32_t)number(s, 1);
    for (unsigned i = 2; i + 1 < s->word_count; i += 2) {
        uint32_t value = (uint32_t)number(s, i + 1);
        if (is(s, i, "window"))
            s->config.window = value;
        else if (is(s, i, "rotation"))
            s->config.rotation = value;
        else if (is(s, i, "timeout"))
            s->config.timeout_ms = value;
        else if (is(s, i, "status"))
            s->config.status_ms = value;
        else if (is(s, i, "spare"))
            s->config.spare = value;
        else if (is(s, i, "drift"))
            s->config.drift_ms_max = value;
        else if (is(s, i, "cap"))
            s->config.timeout_ms_max = value;
        else if (is(s, i, "delay"))
            s->config.delay_ms_min = s->config.delay_ms_max = value;
        else if (is(s, i, "sync"))
            s->config.sync_ms_max = value;
        else if (is(s, i, "execute"))
            s->config.execute_ms_max = value;
        else
            fail(s, "nodes has no setting '%s'", s->words[i]);
    }
}

static void do_lie(struct scenario *s) {
    static const char *const names[] = {"twin",     "amnesia", "equivocate", "vote-all",
                                        "withhold", "forge",   "replay",     "view-spam",
                                        "status",   "garbage", "invalid",    "silent"};
    uint32_t who = (uint32_t)number(s, 1) % SIM_NODES_MAX;
    for (unsigned i = 2; i < s->word_count; i++) {
        bool known = false;
        for (unsigned k = 0; k < sizeof names / sizeof names[0]; k++)
            if (is(s, i, names[k])) {
                s->config.lies[who] |= 1u << k;
                known = true;
            }
        if (!known)
            fail(s, "there is no lie '%s'", s->words[i]);
    }
}

/* ---- what happens ---- */

static void for_nodes(struct scenario *s, unsigned first,
                      void (*act)(struct scenario *s, uint32_t who)) {
    if (is(s, first, "all")) {
        for (uint32_t i = 0; i < s->w->instance_count; i++)
            act(s, i);
        return;
    }
    if (first >= s->word_count)
        fail(s, "found the end, expected nodes");
    for (unsigned i = first; i < s->word_count; i++)
        act(s, node(s, i));
}

static void act_crash(struct scenario *s, uint32_t who) {
    world_crash(s->w, who);
}

static void act_restart(struct scenario *s, uint32_t who) {
    world_restart(s->w, who, false);
}

static void act_forget(struct scenario *s, uint32_t who) {
    world_restart(s->w, who, true);
}

static void act_lose(struct scenario *s, uint32_t who) {
    world_lose(s->w, who);
}

static void act_compact(struct scenario *s, uint32_t who) {
    world_compact(s->w, who);
}

static void act_suspect(struct scenario *s, uint32_t who) {
    struct pbft_event event = {.kind = PBFT_EVENT_SUSPECT, .suspect = {PBFT_CAUSE_CENSORSHIP}};
    world_step(s->w, &s->w->instances[who], &event);
}

/* members [add I...] [remove I...] [rekey I...]: one request that changes the list. */
static void do_members(struct scenario *s) {
    struct sim_change change = {0};
    uint32_t *mask = NULL;
    for (unsigned i = 1; i < s->word_count; i++) {
        if (is(s, i, "add"))
            mask = &change.add;
        else if (is(s, i, "remove"))
            mask = &change.remove;
        else if (is(s, i, "rekey"))
            mask = &change.rekey;
        else if (mask == NULL)
            fail(s, "found %s, expected add, remove or rekey", s->words[i]);
        else
            *mask |= 1u << number(s, i) % SIM_NODES_MAX;
    }
    uint64_t request = s->w->request_count + 1;
    s->w->changes_asked[request] = change;
    world_request(s->w, request, 0);
}

static void do_part(struct scenario *s) {
    uint32_t group = 0;
    for (unsigned i = 1; i < s->word_count; i++) {
        if (is(s, i, "|"))
            group++;
        else
            s->w->groups[node(s, i)] = group;
    }
}

static uint32_t type_of(struct scenario *s, const char *name) {
    for (uint32_t type = PBFT_PROPOSE; type <= PBFT_STATUS; type++)
        if (strcmp(name, pbft_type_name((enum pbft_type)type)) == 0)
            return type;
    if (strcmp(name, "*") != 0)
        fail(s, "there is no message type '%s'", name);
    return 0;
}

static void do_drop(struct scenario *s) {
    struct drop_rule rule = {.set = true, .from = UINT32_MAX, .to = UINT32_MAX};
    if (s->word_count != 4) {
        fail(s, "found %u words, expected: drop TYPE FROM TO", s->word_count);
        return;
    }
    rule.type = type_of(s, s->words[1]);
    if (!is(s, 2, "*"))
        rule.from = node(s, 2);
    if (!is(s, 3, "*"))
        rule.to = node(s, 3);
    for (size_t i = 0; i < sizeof s->w->drops / sizeof s->w->drops[0]; i++)
        if (!s->w->drops[i].set) {
            s->w->drops[i] = rule;
            return;
        }
    fail(s, "too many drop rules");
}

static void hand_in(struct scenario *s, uint32_t from, uint32_t to, struct bytes message) {
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE, .message = {from, message}};
    world_step(s->w, &s->w->instances[to], &event);
}

/* inject FROM TO view-change VIEW | length-bomb | garbage COUNT | other-header */
static void do_inject(struct scenario *s) {
    uint32_t from = node(s, 1), to = node(s, 2);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, PBFT_MESSAGE_BYTES_MAX);
    struct message m = {.signer = (uint16_t)from};
    if (is(s, 3, "view-change")) {
        m.type = PBFT_VIEW_CHANGE;
        m.view = number(s, 4);
        m.header = bytes_of(s->w->genesis, SIM_HEADER_BYTES);
        pbft__message_encode(&m, &out);
        struct pbft_domain domain = {{{0}}, 0};
        struct hash statement = pbft_statement(&domain, m.type, buffer_bytes(&out));
        world_epoch_sign(s->w, 0, from, &statement, m.signature);
        buffer_append(&out, m.signature, PBFT_SIGNATURE_BYTES);
        hand_in(s, from, to, buffer_bytes(&out));
    } else if (is(s, 3, "length-bomb")) {
        /* A VIEW-CHANGE, a NEW-VIEW and a PROPOSE whose first length says 4 GiB. */
        static const enum pbft_type types[] = {PBFT_VIEW_CHANGE, PBFT_NEW_VIEW, PBFT_PROPOSE};
        for (int i = 0; i < 3; i++) {
            buffer_clear(&out);
            wire_u8(&out, MESSAGE_VERSION);
            wire_u8(&out, (uint8_t)types[i]);
            wire_u16(&out, (uint16_t)from);
            wire_u64(&out, 0);
            wire_u64(&out, 0);
            for (int k = 0; k < 200; k++)
                wire_u8(&out, 0xff);
            hand_in(s, from, to, buffer_bytes(&out));
        }
    } else if (is(s, 3, "garbage")) {
        for (uint64_t i = number(s, 4); i > 0; i--) {
            buffer_clear(&out);
            uint32_t len = world_below(s->w, 300);
            wire_u8(&out, MESSAGE_VERSION);
            wire_u8(&out, (uint8_t)(1 + world_below(s->w, 6)));
            for (uint32_t k = 0; k < len; k++)
                wire_u8(&out, (uint8_t)world_random(s->w));
            hand_in(s, from, to, buffer_bytes(&out));
        }
    } else {
        fail(s, "cannot inject that");
    }
}

/* relay-altered TO: the last PROPOSE that anybody sent, its header changed under the signature. */
static void do_relay_altered(struct scenario *s) {
    uint32_t from = node(s, 1), to = node(s, 2);
    for (uint32_t i = 1; i <= SIM_REPLAY_MAX; i++) {
        struct blob *blob = s->w->replay[(s->w->replay_next - i) % SIM_REPLAY_MAX];
        if (blob == NULL || blob->data[1] != PBFT_PROPOSE)
            continue;
        struct blob *altered = blob_new(blob_bytes(blob));
        altered->data[143] ^= 1;
        hand_in(s, from, to, blob_bytes(altered));
        blob_unref(altered);
        return;
    }
    fail(s, "nobody proposed yet");
}

/* ---- what is expected ---- */

static struct pbft_status status_of(struct scenario *s, uint32_t who) {
    struct pbft_status status = {0};
    if (s->w->instances[who].core == NULL)
        fail(s, "node %u is down", who);
    else
        pbft_status(s->w->instances[who].core, &status);
    return status;
}

static void expect_view(struct scenario *s, uint32_t who) {
    struct pbft_status status = status_of(s, who);
    if (status.view != number(s, 2) || status.changing)
        fail(s, "node %u: found %s view %" PRIu64 ", expected normal in view %s", who,
             status.changing ? "changing to" : "normal in", status.view, s->words[2]);
}

static void expect_changing(struct scenario *s, uint32_t who) {
    struct pbft_status status = status_of(s, who);
    if (status.view != number(s, 2) || !status.changing)
        fail(s, "node %u: found %s view %" PRIu64 ", expected changing to view %s", who,
             status.changing ? "changing to" : "normal in", status.view, s->words[2]);
}

static void expect_height(struct scenario *s, uint32_t who) {
    struct pbft_status status = status_of(s, who);
    if (status.committed != number(s, 2))
        fail(s, "node %u: found height %" PRIu64 ", expected %s", who, status.committed,
             s->words[2]);
}

static void expect_epoch(struct scenario *s, uint32_t who) {
    struct pbft_status status = status_of(s, who);
    if (status.epoch != number(s, 2))
        fail(s, "node %u: found epoch %" PRIu64 ", expected %s", who, status.epoch, s->words[2]);
}

static void expect_validator(struct scenario *s, uint32_t who) {
    status_of(s, who);
    if (s->w->instances[who].self == PBFT_OBSERVER)
        fail(s, "node %u: found an observer, expected a validator", who);
}

static void expect_observer(struct scenario *s, uint32_t who) {
    status_of(s, who);
    if (s->w->instances[who].self != PBFT_OBSERVER)
        fail(s, "node %u: found a validator, expected an observer", who);
}

static void expect_cause(struct scenario *s, uint32_t who) {
    struct pbft_status status = status_of(s, who);
    if (!is(s, 2, pbft_cause_name(status.cause)))
        fail(s, "node %u: found cause %s, expected %s", who, pbft_cause_name(status.cause),
             s->words[2]);
}

/* The request that the block at this height carries, as committed by the node. */
static void expect_request(struct scenario *s, uint32_t who) {
    uint64_t request = number(s, 2), height = number(s, 3);
    const struct sim_instance *in = &s->w->instances[who];
    struct registered *block =
        in->committed >= height ? world_block(s->w, &in->chain[height]) : NULL;
    if (block == NULL || block->request != request)
        fail(s, "node %u: height %" PRIu64 " holds request %" PRIu64 ", expected %" PRIu64, who,
             height, block == NULL ? 0 : block->request, request);
}

static void do_expect(struct scenario *s) {
    static const struct {
        const char *name;
        unsigned first; /* where the nodes begin */
        void (*act)(struct scenario *s, uint32_t who);
    } table[] = {{"view", 4, expect_view},
                 {"changing", 4, expect_changing},
                 {"height", 4, expect_height},
                 {"epoch", 4, expect_epoch},
                 {"validator", 3, expect_validator},
                 {"observer", 3, expect_observer},
                 {"cause", 4, expect_cause},
                 {"request", 5, expect_request}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (is(s, 1, table[i].name)) {
            if (!is(s, table[i].first - 1, "at"))
                fail(s, "expected 'at' before the nodes");
            else
                for_nodes(s, table[i].first, table[i].act);
            return;
        }
    if (is(s, 1, "evidence")) {
        if ((s->w->evidence_against >> node(s, 2) & 1) == 0)
            fail(s, "nobody holds evidence against %s", s->words[2]);
    } else if (is(s, 1, "no-evidence")) {
        if (s->w->evidence_against != 0)
            fail(s, "found evidence against %x, expected none", s->w->evidence_against);
    } else if (is(s, 1, "nobody-blamed")) {
        if (s->w->faults_named != 0)
            fail(s, "found blame for %x, expected none", s->w->faults_named);
    } else if (is(s, 1, "blamed")) {
        if ((s->w->faults_named >> node(s, 2) & 1) == 0)
            fail(s, "nobody blames %s", s->words[2]);
    } else if (is(s, 1, "broken")) {
        for (int i = 0; i < BROKEN_COUNT; i++)
            if (is(s, 2, broken_name((enum broken)i)))
                s->expected_broken = (enum broken)i;
    } else {
        fail(s, "cannot expect '%s'", s->word_count > 1 ? s->words[1] : "nothing");
    }
}

/* ---- reading ---- */

static void start(struct scenario *s) {
    s->w = world_new(&s->config);
    world_start(s->w);
}

static void do_line(struct scenario *s) {
    if (is(s, 0, "nodes")) {
        do_nodes(s);
        return;
    }
    if (is(s, 0, "lie")) {
        do_lie(s);
        return;
    }
    if (s->w == NULL)
        start(s);
    struct world *w = s->w;
    if (is(s, 0, "run"))
        world_run(w, w->now_ms + number(s, 1));
    else if (is(s, 0, "request"))
        for (uint64_t i = number(s, 1); i > 0; i--)
            world_request(w, w->request_count + 1, 0);
    else if (is(s, 0, "crash"))
        for_nodes(s, 1, act_crash);
    else if (is(s, 0, "restart"))
        for_nodes(s, 1, act_restart);
    else if (is(s, 0, "forget"))
        for_nodes(s, 1, act_forget);
    else if (is(s, 0, "lose"))
        for_nodes(s, 1, act_lose);
    else if (is(s, 0, "members"))
        do_members(s);
    else if (is(s, 0, "compact"))
        for_nodes(s, 1, act_compact);
    else if (is(s, 0, "suspect"))
        for_nodes(s, 1, act_suspect);
    else if (is(s, 0, "part"))
        do_part(s);
    else if (is(s, 0, "join"))
        memset(w->groups, 0, sizeof w->groups);
    else if (is(s, 0, "drop"))
        do_drop(s);
    else if (is(s, 0, "undrop"))
        memset(w->drops, 0, sizeof w->drops);
    else if (is(s, 0, "inject"))
        do_inject(s);
    else if (is(s, 0, "relay-altered"))
        do_relay_altered(s);
    else if (is(s, 0, "expect"))
        do_expect(s);
    else
        fail(s, "there is no command '%s'", s->words[0]);
}

static bool run_file(const char *path, bool trace) {
    struct scenario s = {.file = path};
    sim_config_defaults(&s.config);
    s.config.trace = trace;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        printf("%s: cannot be read\n", path);
        return false;
    }
    char line[LINE_BYTES_MAX];
    while (!s.failed && fgets(line, sizeof line, file) != NULL) {
        s.line++;
        s.word_count = 0;
        line[strcspn(line, "#\n")] = '\0';
        if (trace && line[0] != '\0')
            printf("%s:%u: %s\n", path, s.line, line);
        char *rest = line;
        for (char *word = strsep(&rest, " "); word != NULL && s.word_count < WORDS_MAX;
             word = strsep(&rest, " "))
            if (*word != '\0')
                s.words[s.word_count++] = word;
        if (s.word_count > 0)
            do_line(&s);
    }
    fclose(file);
    if (!s.failed && s.w != NULL && s.w->broken != s.expected_broken)
        fail(&s, "found broken: %s (%s), expected: %s", broken_name(s.w->broken),
             s.w->broken_text, broken_name(s.expected_broken));
    if (!s.failed && s.w == NULL)
        fail(&s, "nothing happens in this scenario");
    world_free(s.w);
    return !s.failed;
}

int main(int argc, char **argv) {
    int failed = 0, count = 0;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
            continue;
        }
        count++;
        bool good = run_file(argv[i], trace);
        failed += !good;
        if (good)
            printf("ok  %s\n", argv[i]);
    }
    printf("%d of %d scenarios as expected\n", count - failed, count);
    return failed == 0 && count > 0 ? 0 : 1;
}
