/* What the commands that look at a source database themselves share. */
#ifndef GATEWAY_CLI_SOURCE_H
#define GATEWAY_CLI_SOURCE_H

#include "gateway/cli/cli.h"
#include "gateway/worker/worker.h"

/* A worker for a mapping file, beside no gateway. */
MUST_CHECK enum error_code cli_source_worker(const char *mapping_path, const char *source,
                                             struct worker **ret_worker, struct error *err);

void cli_worker_free_scoped(struct worker **worker);
#define SCOPED_WORKER __attribute__((cleanup(cli_worker_free_scoped)))
void cli_result_free_scoped(void *result);
#define SCOPED_RESULT __attribute__((cleanup(cli_result_free_scoped)))
void cli_mapping_free_scoped(struct mapping **mapping);
#define SCOPED_MAPPING __attribute__((cleanup(cli_mapping_free_scoped)))

#endif
