/* Where things are: the hospital's folder, this installation's programs, the gateway's socket. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/http.h"
#include "gateway/settings.h"

enum { ADMIN_TIMEOUT_MS = 60000 };

const char *cli_folder(const struct cli_call *call) {
    const char *folder = cli_value(call, "folder");
    if (folder == NULL)
        folder = getenv("RENKEI_FOLDER");
    return folder != NULL && *folder != '\0' ? folder : ".";
}

enum error_code cli_path(const char *folder, const char *name, char *ret_path, struct error *err) {
    if (snprintf(ret_path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return error_set(err, ERROR_LIMIT, "path longer than %d bytes: %s", PATH_MAX, folder);
    return ERROR_NONE;
}

enum error_code cli_program_path(enum cli_program what, char *ret_path, struct error *err) {
    /* Relative to this program's folder: as installed, and in the build tree. */
    static const struct {
        const char *name;
        const char *places[2];
    } rows[] = {
        [CLI_NODE] = {"renkei-node", {"renkei-node", "../../ledger/renkei-node"}},
        [CLI_GATEWAY] = {"renkei-gateway", {"renkei-gateway", "../renkei-gateway"}},
        [CLI_WORKER] = {"renkei-worker",
                        {"../libexec/renkei/renkei-worker", "../worker/renkei-worker"}},
        [CLI_PLUGINS] = {"the plugin folder", {"../lib/renkei/connectors", "../../connectors"}},
    };
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0)
        return file_error(err, errno, "cannot read", "/proc/self/exe");
    self[len] = '\0';
    const char *folder = dirname(self);
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        TRY(cli_path(folder, rows[what].places[i], path, err));
        if (access(path, X_OK) == 0) {
            memcpy(ret_path, path, strlen(path) + 1);
            return ERROR_NONE;
        }
    }
    error_set(err, ERROR_NOT_FOUND, "%s is neither in %s/%s nor in %s/%s", rows[what].name, folder,
              rows[what].places[0], folder, rows[what].places[1]);
    error_hint(err, "build or install all of Renkei");
    return ERROR_NOT_FOUND;
}

enum error_code cli_admin(const struct cli_call *call, const char *method, const char *path,
                          const json_t *body, json_t **ret_answer, struct error *err) {
    char config[PATH_MAX];
    char url[1024];
    TRY(cli_path(cli_folder(call), "gateway.yaml", config, err));
    snprintf(url, sizeof url, "http://gateway%s", path);
    struct settings *settings = NULL;
    TRY(settings_load(config, &settings, err));
    struct http_request request = {.method = method,
                                   .url = url,
                                   .socket = settings->admin_socket,
                                   .timeout_ms = ADMIN_TIMEOUT_MS};
    enum error_code code = http_json(request, body, ret_answer, err);
    settings_free(settings);
    return code;
}

void cli_yaml_add(struct buffer *text, const char *key, const char *item) {
    char line[64];
    snprintf(line, sizeof line, "\n%s:", key);
    buffer_append_byte(text, '\0');
    if (text->failed)
        return;
    text->len--;
    const char *found = strstr((const char *)text->data, line);
    const char *end = found != NULL ? strchr(found + 1, '\n') : NULL;
    size_t at = end != NULL ? (size_t)(end + 1 - (const char *)text->data) : text->len;
    char *rest = strdup((const char *)text->data + at);
    text->len = at;
    if (rest == NULL) {
        text->failed = true;
        return;
    }
    if (end == NULL)
        buffer_append_format(text, "%s:\n", key);
    buffer_append_text(text, item);
    buffer_append_text(text, rest);
    free(rest);
}

const char *cli_json_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

long long cli_json_number(const json_t *object, const char *name, long long otherwise) {
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (long long)json_integer_value(value) : otherwise;
}

void cli_json_free_scoped(json_t **json) {
    json_decref(*json);
}
