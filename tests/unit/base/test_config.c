/* The configuration: what a file may say, what it may not, and the exact words of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"

static const char *const levels[] = {"debug", "info", "warning", NULL};

static const struct config_key listen_keys[] = {
    {.name = "port", .kind = CONFIG_NUMBER, .default_text = "8443", .min = 1, .max = 65535},
    {.name = "certificate", .kind = CONFIG_PATH, .required = true},
    {0}};

static const struct config_key limit_keys[] = {
    {.name = "rows", .kind = CONFIG_NUMBER, .default_text = "100"},
    {.name = "timeout", .kind = CONFIG_DURATION, .default_text = "30s", .min = 1, .max = 3600000},
    {0}};

static const struct config_key keys[] = {
    {.name = "hospital", .kind = CONFIG_TEXT, .required = true, .min = 1, .max = 16},
    {.name = "log_level", .kind = CONFIG_ENUM, .words = levels, .default_text = "info"},
    {.name = "verbose", .kind = CONFIG_BOOL},
    {.name = "offset", .kind = CONFIG_NUMBER},
    {.name = "listen", .kind = CONFIG_MAPS, .keys = listen_keys, .max = 2},
    {.name = "limits", .kind = CONFIG_MAP, .keys = limit_keys},
    {.name = "tls", .kind = CONFIG_MAP, .keys = listen_keys},
    {.name = "names", .kind = CONFIG_TEXTS, .max = 3},
    {.name = "connection", .kind = CONFIG_PAIRS},
    {0}};

static struct config *parse(const char *text) {
    struct config *config = NULL;
    struct error err = {0};
    if (config_parse("/etc/renkei/a.yaml", bytes_text(text), keys, &config, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return config;
}

static void a_whole_file_reads_as_declared(void **state) {
    (void)state;
    SCOPED_CONFIG struct config *config = parse("# a comment\n"
                                                "hospital: \"東京\"\n"
                                                "log_level: warning\n"
                                                "verbose: true\n"
                                                "offset: -15\n"
                                                "listen:\n"
                                                "  - {certificate: a.pem, port: 1}\n"
                                                "  - certificate: /abs/b.pem\n"
                                                "limits: {timeout: 2m}\n"
                                                "names: [a, \"\", no]\n"
                                                "connection:\n"
                                                "  user: renkei\n"
                                                "  port: 0123\n");
    const struct config_map *root = config_root(config);
    assert_string_equal(config_text(root, "hospital"), "東京");
    assert_int_equal(config_enum(root, "log_level"), 2);
    assert_true(config_bool(root, "verbose"));
    assert_int_equal(config_number(root, "offset"), -15);
    assert_int_equal(config_count(root, "listen"), 2);
    const struct config_map *first = config_item(root, "listen", 0);
    assert_int_equal(config_number(first, "port"), 1);
    assert_string_equal(config_text(first, "certificate"), "/etc/renkei/a.pem");
    const struct config_map *second = config_item(root, "listen", 1);
    assert_int_equal(config_number(second, "port"), 8443);
    assert_string_equal(config_text(second, "certificate"), "/abs/b.pem");
    assert_int_equal(config_line(second, NULL), 8);
    const struct config_map *limits = config_child(root, "limits");
    assert_int_equal(config_duration_ms(limits, "timeout"), 120000);
    assert_int_equal(config_number(limits, "rows"), 100);
    assert_int_equal(config_count(root, "names"), 3);
    assert_string_equal(config_text_at(root, "names", 1), "");
    assert_string_equal(config_text_at(root, "names", 2), "no");
    assert_int_equal(config_count(root, "connection"), 2);
    const struct config_pair *pair = config_pair(root, "connection", 1);
    assert_string_equal(pair->name, "port");
    assert_string_equal(pair->value, "0123");
    assert_int_equal(pair->line, 13);
    struct error err = {0};
    assert_int_equal(config_error(second, "port", &err, "no"), ERROR_CONFIG);
    assert_string_equal(err.message, "/etc/renkei/a.yaml:8:5: no");
    assert_int_equal(config_error(root, "offset", &err, "no"), ERROR_CONFIG);
    assert_string_equal(err.message, "/etc/renkei/a.yaml:5:9: no");
}

static void absent_keys_have_their_defaults(void **state) {
    (void)state;
    SCOPED_CONFIG struct config *config = parse("\xEF\xBB\xBFhospital: a\r\nnames: alone\r\n");
    const struct config_map *root = config_root(config);
    assert_int_equal(config_enum(root, "log_level"), 1);
    assert_string_equal(config_text(root, "log_level"), "info");
    assert_false(config_has(root, "log_level"));
    assert_true(config_has(root, "hospital"));
    assert_false(config_bool(root, "verbose"));
    assert_int_equal(config_count(root, "listen"), 0);
    assert_int_equal(config_duration_ms(config_child(root, "limits"), "timeout"), 30000);
    assert_null(config_child(root, "tls"));
    assert_int_equal(config_count(root, "names"), 1);
    assert_string_equal(config_text_at(root, "names", 0), "alone");
}

static void what_is_not_declared_is_refused_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *message; /* after the file's name */
        const char *hint;    /* NULL: the table's */
    } rows[] = {
        {"hospitl: a\n", "1:1: unknown key 'hospitl'", "did you mean 'hospital'?"},
        {"hospital: a\nlimits:\n  rowz: 1\n", "3:3: unknown key 'rowz'", "did you mean 'rows'?"},
        {"hospital: a\nlimits:\n  xyzzy: 1\n", "3:3: unknown key 'xyzzy'",
         "keys here: rows, timeout"},
        {"hospital: a\nhospital: b\n", "2:1: duplicate key 'hospital'", NULL},
        {"hospital: a\nconnection: {user: a, user: b}\n", "2:23: duplicate key 'user'", NULL},
        {"verbose: true\n", "1:1: 'hospital' is missing", NULL},
        {"hospital: a\nlisten:\n  - port: 1\n", "3:5: 'certificate' is missing", NULL},
        {"hospital: a\nlisten: 3\n", "2:9: 'listen': expected a list of maps", NULL},
        {"hospital: a\nlisten: [3]\n", "2:10: 'listen': expected a list of maps", NULL},
        {"hospital: a\nlimits: []\n", "2:9: 'limits': expected a map", NULL},
        {"hospital: [a]\n", "1:11: 'hospital': expected one value, not a list or map", NULL},
        {"hospital: a\nnames: {a: b}\n", "2:8: 'names': expected a list of texts", NULL},
        {"hospital: a\nnames: [a, b, c, d]\n", "2:18: 'names': more than 3 items", NULL},
        {"hospital:\n", "1:10: 'hospital' has no value",
         "leave the key out, or write \"\" for an empty text"},
        {"hospital: ~\n", "1:11: 'hospital' has no value",
         "leave the key out, or write \"\" for an empty text"},
        {"hospital: \"\"\n", "1:11: 'hospital': found 0 bytes, expected 1 to 16 bytes", NULL},
        {"hospital: \"a\\0b\"\n", "1:11: 'hospital' has a NUL in it", NULL},
        {"hospital: a\nverbose: yes\n", "2:10: 'verbose': found 'yes', expected true or false",
         NULL},
        {"hospital: a\noffset: 1.5\n", "2:9: 'offset': found '1.5', expected a whole number", NULL},
        {"hospital: a\noffset: 0x10\n", "2:9: 'offset': found '0x10', expected a whole number",
         NULL},
        {"hospital: a\noffset: 9223372036854775808\n",
         "2:9: 'offset': found '9223372036854775808', expected a whole number", NULL},
        {"hospital: a\nlisten: [{certificate: a, port: 0}]\n",
         "2:33: 'port': found 0, expected 1 to 65535", NULL},
        {"hospital: a\nlimits: {timeout: 2h}\n",
         "2:19: 'timeout': found 7200000 ms, expected 1 to 3600000 ms", NULL},
        {"hospital: a\nlimits: {timeout: 30}\n",
         "2:19: 'timeout': found '30', expected a duration such as 250ms, 30s, 5m, 2h or 1d", NULL},
        {"hospital: a\nlog_level: warn\n", "2:12: 'log_level': 'warn' is not one of its words",
         "did you mean 'warning'?"},
        {"hospital: a\nlog_level: loudest\n",
         "2:12: 'log_level': 'loudest' is not one of its words",
         "words here: debug, info, warning"},
        {"hospital: &x a\n", "1:11: anchors (&name) are not allowed", NULL},
        {"hospital: !!str a\n", "1:11: tags (!name) are not allowed", NULL},
        {"hospital: a\nnames: *x\n", "2:8: aliases (*name) are not allowed", NULL},
        {"hospital: a\n<<: b\n", "2:1: unknown key '<<'",
         "keys here: hospital, log_level, verbose, offset, listen, limits, tls, names, connection"},
        {"hospital: a\n---\nhospital: b\n", "2:1: a second document in one file is not allowed",
         NULL},
        {"", "1:1: the file is empty", NULL},
        {"- a\n", "1:1: expected 'key: value' at the top of the file", NULL},
        {"hospital: \"a\n", "2:1: found unexpected end of stream", NULL},
        {"[a]: b\n", "1:1: expected a key", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *untouched = NULL;
        struct error err = {0};
        char message[256];
        snprintf(message, sizeof message, "a.yaml:%s", rows[i].message);
        assert_int_equal(config_parse("a.yaml", bytes_text(rows[i].text), keys, &untouched, &err),
                         ERROR_CONFIG);
        assert_string_equal(err.message, message);
        assert_string_equal(error_hint_text(&err),
                            rows[i].hint != NULL ? rows[i].hint : error_info(ERROR_CONFIG)->hint);
        assert_null(untouched);
    }
}

static void bytes_that_are_not_utf8_are_refused(void **state) {
    (void)state;
    struct config *untouched = NULL;
    struct error err = {0};
    assert_int_equal(config_parse("a.yaml", BYTES_LITERAL("hospital: \x93\x8C\x8B\x9E\n"), keys,
                                  &untouched, &err),
                     ERROR_CONFIG);
    assert_string_equal(err.message, "a.yaml: byte 10: invalid leading UTF-8 octet");
}

static void a_file_has_limits(void **state) {
    (void)state;
    struct config *untouched = NULL;
    struct error err = {0};
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, CONFIG_BYTES_MAX + 100);
    buffer_append_text(&text, "hospital: ");
    while (text.len <= CONFIG_BYTES_MAX)
        buffer_append_text(&text, "aaaaaaaaaaaaaaaa");
    assert_int_equal(config_parse("a.yaml", buffer_bytes(&text), keys, &untouched, &err),
                     ERROR_LIMIT);
    assert_string_equal(err.message, "a.yaml: larger than 1048576 bytes");
    text.len = CONFIG_TEXT_BYTES_MAX + 20;
    assert_int_equal(config_parse("a.yaml", buffer_bytes(&text), keys, &untouched, &err),
                     ERROR_CONFIG);
    assert_string_equal(err.message, "a.yaml:1:11: 'hospital' is longer than 4096 bytes");
}

static const struct config_key nested[] = {{.name = "in", .kind = CONFIG_MAPS, .keys = nested},
                                           {0}};

static void maps_do_not_nest_without_end(void **state) {
    (void)state;
    struct config *untouched = NULL;
    struct error err = {0};
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, 1000);
    buffer_append_text(&text, "in: ");
    for (int i = 0; i < CONFIG_DEPTH_MAX; i++)
        buffer_append_text(&text, "[{in: ");
    assert_int_equal(config_parse("a.yaml", buffer_bytes(&text), nested, &untouched, &err),
                     ERROR_CONFIG);
    assert_string_equal(err.message, "a.yaml:1:96: more than 16 maps in one another");
}

static void a_file_is_loaded_and_its_paths_stand_beside_it(void **state) {
    (void)state;
    char folder[] = "/tmp/renkei-config-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof path, "%s/a.yaml", folder);
    struct error err = {0};
    struct config *config = NULL;
    assert_int_equal(config_load(path, keys, &config, &err), ERROR_IO);
    assert_int_equal(
        file_replace(path, BYTES_LITERAL("hospital: a\ntls: {certificate: c/d.pem}\n"), 0600, &err),
        ERROR_NONE);
    assert_int_equal(config_load(path, keys, &config, &err), ERROR_NONE);
    char expected[64];
    snprintf(expected, sizeof expected, "%s/c/d.pem", folder);
    assert_string_equal(config_text(config_child(config_root(config), "tls"), "certificate"),
                        expected);
    config_free(config);
    config_free(NULL);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_reads_as_declared),
        cmocka_unit_test(absent_keys_have_their_defaults),
        cmocka_unit_test(what_is_not_declared_is_refused_with_its_place),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused),
        cmocka_unit_test(a_file_has_limits),
        cmocka_unit_test(maps_do_not_nest_without_end),
        cmocka_unit_test(a_file_is_loaded_and_its_paths_stand_beside_it),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
