/* gateway.yaml: the example in deploy/ is read as it says, and mistakes are named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "gateway/settings.h"

static const char least[] =
    "hospital: west\n"
    "listen: {address: 127.0.0.1, port: 0, certificate: a.crt, key: a.key}\n"
    "admin_socket: admin.sock\n"
    "node_socket: /run/node.sock\n"
    "genesis: genesis.json\n"
    "signer: signer.pem\n"
    "vault: vault\n";

static enum error_code load(const char *text, const char *more, struct settings **ret,
                            struct error *err) {
    char folder[] = "/tmp/renkei-settings-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof path, "%s/gateway.yaml", folder);
    SCOPED_BUFFER struct buffer all;
    buffer_init(&all, 65536);
    buffer_append_text(&all, text);
    buffer_append_text(&all, more);
    assert_int_equal(file_replace(path, buffer_bytes(&all), 0600, NULL), ERROR_NONE);
    enum error_code code = settings_load(path, ret, err);
    unlink(path);
    rmdir(folder);
    /* The folder's name is random: messages are compared from the file's name on. */
    const char *at = strstr(err->message, "gateway.yaml");
    if (at != NULL)
        memmove(err->message, at, strlen(at) + 1);
    return code;
}

static void the_least_file_has_defaults(void **state) {
    (void)state;
    struct settings *s = NULL;
    struct error err = {0};
    assert_int_equal(load(least, "", &s, &err), ERROR_NONE);
    assert_string_equal(s->hospital, "west");
    assert_int_equal(s->log_level, LOG_LEVEL_INFO);
    assert_string_equal(s->listen.address, "127.0.0.1");
    assert_int_equal(s->listen.url_count, 0);
    assert_null(s->machine.address);
    assert_int_equal(s->source_count, 0);
    assert_int_equal(s->hospital_count, 0);
    assert_string_equal(s->node_socket, "/run/node.sock");
    assert_non_null(strstr(s->vault, "/vault"));
    assert_non_null(s->worker);
    assert_non_null(s->plugins);
    settings_free(s);
    settings_free(NULL);
}

static void the_example_in_deploy_is_valid(void **state) {
    (void)state;
    struct settings *s = NULL;
    struct error err = {0};
    const char *root = getenv("MESON_SOURCE_ROOT");
    char path[4096];
    snprintf(path, sizeof path, "%s/deploy/examples/gateway.yaml", root != NULL ? root : ".");
    assert_int_equal(settings_load(path, &s, &err), ERROR_NONE);
    assert_string_equal(s->machine.address, "127.0.0.1");
    assert_int_equal(s->machine.port, 9443);
    assert_int_equal(s->hospital_count, 1);
    assert_string_equal(s->hospitals[0].name, "east");
    assert_int_equal(s->listen.url_count, 1);
    assert_string_equal(s->listen.urls[0], "https://127.0.0.1:8443");
    assert_int_equal(s->source_count, 1);
    assert_int_equal(s->sources[0].intervals.full_s, 600);
    settings_free(s);
}

static void further_nodes_stand_behind_the_own_one(void **state) {
    (void)state;
    struct settings *s = NULL;
    struct error err = {0};
    assert_int_equal(load(least, "more_node_sockets: [/run/b.sock, /run/c.sock]\n", &s, &err),
                     ERROR_NONE);
    assert_string_equal(s->node_socket, "/run/node.sock,/run/b.sock,/run/c.sock");
    settings_free(s);
}

static void mistakes_are_named_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *more, *message;
    } cases[] = {
        {"vaults: x\n", "gateway.yaml:8:1: "},
        {"hospitals: [{name: East, url: 'https://e', certificate: e.crt}]\n",
         "gateway.yaml:8:20: found East, expected a-z, 0-9 and -"},
        {"hospitals: [{name: west, url: 'https://e', certificate: e.crt}]\n",
         "gateway.yaml:8:20: west is this hospital itself"},
        {"hospitals: [{name: e, url: 'http://e', certificate: e.crt}]\n",
         "gateway.yaml:8:28: found http://e, expected https://..."},
        {"more_node_sockets: [run/b.sock]\n",
         "gateway.yaml:8:20: 'run/b.sock': expected an absolute path without a comma"},
        {"sources: [{mapping: m.yaml, interval: 10}]\n", "gateway.yaml:8:39: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings *s = NULL;
        struct error err = {0};
        assert_int_equal(load(least, cases[i].more, &s, &err), ERROR_CONFIG);
        assert_null(s);
        if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s", err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_file_has_defaults),
        cmocka_unit_test(the_example_in_deploy_is_valid),
        cmocka_unit_test(further_nodes_stand_behind_the_own_one),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
