/*
 * Loads connector plugins. A plugin is <folder>/<name>.so; its magic block is checked before
 * anything of it is called, and every slot that its capabilities promise must be there. What does
 * not fit is ERROR_PLUGIN, with what was found and what is needed.
 */
#ifndef GATEWAY_WORKER_PLUGIN_H
#define GATEWAY_WORKER_PLUGIN_H

#include "base/error.h"
#include "connectors/connector.h"

struct plugin;

/* name: letters, digits, '-' and '_' only, so that it cannot leave the folder. */
MUST_CHECK enum error_code plugin_load(const char *folder, const char *name,
                                       struct plugin **ret_plugin, struct error *err);
/* The same by the path of the file; name: what the connector must call itself, NULL: anything. */
MUST_CHECK enum error_code plugin_load_file(const char *path, const char *name,
                                            struct plugin **ret_plugin, struct error *err);
/* NULL is fine. The shared object stays mapped: client libraries keep threads and exit handlers. */
void plugin_free(struct plugin *plugin);

const struct renkei_connector *plugin_connector(const struct plugin *plugin);

/* The plugin's options, checked against its declared table: an unknown one is ERROR_CONFIG with
 * the nearest valid name. where: "file" for messages; lines may be NULL. */
MUST_CHECK enum error_code plugin_check_options(const struct renkei_connector *connector,
                                                const struct renkei_option *options,
                                                const unsigned *lines, uint32_t option_count,
                                                const char *where, struct error *err);

/* A connector's fault as an error; source: the mapping's `source:`. */
enum error_code plugin_fault(struct error *err, const char *source,
                             const struct renkei_fault *fault);

#endif
