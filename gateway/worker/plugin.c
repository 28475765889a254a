#include "gateway/worker/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { PLUGIN_PATH_BYTES_MAX = 4096, PLUGIN_NAME_BYTES_MAX = 64, PLUGIN_OPTION_DISTANCE_MAX = 4 };

struct plugin {
    const struct renkei_connector *connector;
};

static enum error_code check_slots(const struct renkei_connector *c, const char *path,
                                   struct error *err) {
    const uint64_t has = c->capabilities;
    const struct {
        const char *name;
        bool there;
        bool needed;
    } slots[] = {
        {"name", c->name != NULL, true},
        {"version", c->version != NULL, true},
        {"description", c->description != NULL, true},
        {"options", c->options != NULL, true},
        {"open", c->open != NULL, true},
        {"close", c->close != NULL, true},
        {"server", c->server != NULL, true},
        {"tables", c->tables != NULL, true},
        {"columns", c->columns != NULL, true},
        {"rights", c->rights != NULL, (has & RENKEI_CAN_RIGHTS) != 0},
        {"begin", c->begin != NULL, (has & RENKEI_CAN_SNAPSHOT) != 0},
        {"end", c->end != NULL, (has & RENKEI_CAN_SNAPSHOT) != 0},
        {"query", c->query != NULL, true},
        {"next", c->next != NULL, true},
        {"finish", c->finish != NULL, true},
        {"cancel", c->cancel != NULL, (has & RENKEI_CAN_CANCEL) != 0},
    };
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        if (slots[i].needed && !slots[i].there)
            return error_set(err, ERROR_PLUGIN,
                             "plugin %s: slot '%s': found NULL, expected a value", path,
                             slots[i].name);
    return ERROR_NONE;
}

/* Nothing but the magic block is read until it fits. */
static enum error_code check_magic(const struct renkei_connector *c, const char *path,
                                   struct error *err) {
    const struct renkei_magic *m = &c->magic;
    if (m->magic != RENKEI_CONNECTOR_MAGIC)
        return error_set(err, ERROR_PLUGIN, "plugin %s: found magic %08x, expected %08x", path,
                         m->magic, RENKEI_CONNECTOR_MAGIC);
    if (m->abi_version != RENKEI_CONNECTOR_ABI_VERSION)
        return error_set(err, ERROR_PLUGIN, "plugin %s: found ABI version %u, expected %u", path,
                         m->abi_version, RENKEI_CONNECTOR_ABI_VERSION);
    if (m->struct_size != sizeof(struct renkei_connector))
        return error_set(err, ERROR_PLUGIN, "plugin %s: found a table of %u bytes, expected %zu",
                         path, m->struct_size, sizeof(struct renkei_connector));
    return ERROR_NONE;
}

enum error_code plugin_load_file(const char *path, const char *name, struct plugin **ret_plugin,
                                 struct error *err) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return error_set(err, ERROR_PLUGIN, "plugin %s: %s", path, dlerror());
    const struct renkei_connector *c = dlsym(handle, RENKEI_CONNECTOR_SYMBOL);
    if (c == NULL)
        return error_set(err, ERROR_PLUGIN, "plugin %s: found no symbol '%s', expected one", path,
                         RENKEI_CONNECTOR_SYMBOL);
    TRY(check_magic(c, path, err));
    TRY(check_slots(c, path, err));
    if (name != NULL && strcmp(c->name, name) != 0)
        return error_set(err, ERROR_PLUGIN, "plugin %s: found connector '%s', expected '%s'", path,
                         c->name, name);
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL)
        return error_set(err, ERROR_NO_MEMORY, "plugin %s: no memory", path);
    plugin->connector = c;
    *ret_plugin = plugin;
    return ERROR_NONE;
}

enum error_code plugin_load(const char *folder, const char *name, struct plugin **ret_plugin,
                            struct error *err) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t len = strlen(name);
    if (len == 0 || len > PLUGIN_NAME_BYTES_MAX || strspn(name, allowed) != len)
        return error_set(err, ERROR_PLUGIN,
                         "connector '%.64s': expected 1 to %d letters, digits, '-' and '_'", name,
                         PLUGIN_NAME_BYTES_MAX);
    char path[PLUGIN_PATH_BYTES_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s.so", folder, name) >= sizeof path)
        return error_set(err, ERROR_LIMIT, "plugin folder: a path of more than %d bytes",
                         PLUGIN_PATH_BYTES_MAX - 1);
    return plugin_load_file(path, name, ret_plugin, err);
}

void plugin_free(struct plugin *plugin) {
    free(plugin);
}

const struct renkei_connector *plugin_connector(const struct plugin *plugin) {
    return plugin->connector;
}

static enum error_code unknown_option(const struct renkei_connector *c,
                                      const struct renkei_option *option, const char *place,
                                      struct error *err) {
    const char *nearest = NULL;
    unsigned least = PLUGIN_OPTION_DISTANCE_MAX;
    for (const struct renkei_option_spec *spec = c->options; spec->name != NULL; spec++) {
        unsigned distance = text_distance(option->name, spec->name, PLUGIN_OPTION_DISTANCE_MAX);
        if (distance < least) {
            least = distance;
            nearest = spec->name;
        }
    }
    error_set(err, ERROR_CONFIG, "%s: connector %s has no option '%.128s'", place, c->name,
              option->name);
    if (nearest != NULL)
        error_hint(err, "did you mean '%s'?", nearest);
    return ERROR_CONFIG;
}

enum error_code plugin_check_options(const struct renkei_connector *c,
                                     const struct renkei_option *options, const unsigned *lines,
                                     uint32_t option_count, const char *where,
                                     struct error *err) {
    char place[512];
    for (uint32_t i = 0; i < option_count; i++) {
        if (lines != NULL)
            snprintf(place, sizeof place, "%s:%u", where, lines[i]);
        else
            snprintf(place, sizeof place, "%s", where);
        const struct renkei_option_spec *spec = c->options;
        while (spec->name != NULL && strcmp(spec->name, options[i].name) != 0)
            spec++;
        if (spec->name == NULL)
            return unknown_option(c, &options[i], place, err);
    }
    for (const struct renkei_option_spec *spec = c->options; spec->name != NULL; spec++) {
        bool given = !spec->required;
        for (uint32_t i = 0; !given && i < option_count; i++)
            given = strcmp(options[i].name, spec->name) == 0;
        if (!given)
            return error_set(err, ERROR_CONFIG, "%s: connection: option '%s' of connector %s is "
                             "missing (%s)", where, spec->name, c->name, spec->help);
    }
    return ERROR_NONE;
}

enum error_code plugin_fault(struct error *err, const char *source,
                             const struct renkei_fault *fault) {
    enum error_code code = ERROR_INTERNAL;
    switch (fault->status) {
    case RENKEI_UNREACHABLE:
        code = ERROR_SOURCE_UNREACHABLE;
        break;
    case RENKEI_LOGIN:
        code = ERROR_SOURCE_LOGIN;
        break;
    case RENKEI_NO_TABLE:
        code = ERROR_SOURCE_TABLE;
        break;
    case RENKEI_NO_COLUMN:
        code = ERROR_SOURCE_COLUMN;
        break;
    case RENKEI_QUERY:
    case RENKEI_UNSUPPORTED:
        code = ERROR_SOURCE_QUERY;
        break;
    case RENKEI_LOST:
        code = ERROR_SOURCE_LOST;
        break;
    case RENKEI_CANCELLED:
        code = ERROR_SOURCE_CANCELLED;
        break;
    case RENKEI_TIMEOUT:
        code = ERROR_TIMEOUT;
        break;
    case RENKEI_LIMIT:
        code = ERROR_LIMIT;
        break;
    case RENKEI_OPTION:
        code = ERROR_CONFIG;
        break;
    case RENKEI_NO_MEMORY:
        code = ERROR_NO_MEMORY;
        break;
    case RENKEI_OK:
    case RENKEI_END:
    case RENKEI_INTERNAL:
        break;
    }
    return error_set(err, code, "source %s: %s", source, fault->message);
}
