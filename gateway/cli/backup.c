/* renkei backup, restore: the gateway's vault, encrypted, beside a gateway that runs. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/cli/cli.h"
#include "gateway/settings.h"
#include "gateway/vault/backup.h"

static const struct cli_option backup_options[] = {
    CLI_OPTION_FOLDER,
    {"key", "FILE", "the backups' key; made when missing: keep a copy elsewhere", true, false},
    CLI_OPTIONS_COMMON};

static const struct cli_option restore_options[] = {
    CLI_OPTION_FOLDER,
    {"key", "FILE", "the key file that the backup was made with", true, false},
    CLI_OPTIONS_COMMON};

static enum error_code load(const struct cli_call *call, struct settings **ret_settings,
                            struct error *err) {
    char path[PATH_MAX];
    TRY(cli_path(cli_folder(call), "gateway.yaml", path, err));
    return settings_load(path, ret_settings, err);
}

static enum error_code run_backup(const struct cli_call *call, struct error *err) {
    const char *key = cli_value(call, "key");
    struct settings *settings = NULL;
    TRY(load(call, &settings, err));
    bool made = access(key, F_OK) != 0;
    enum error_code code = made ? backup_key_create(key, err) : ERROR_NONE;
    if (code == ERROR_NONE)
        code = backup_write(settings->vault, key, call->arguments[0], err);
    settings_free(settings);
    if (code == ERROR_NONE && made)
        fprintf(stderr, "made the key %s: without it no backup can be read\n", key);
    return code;
}

static enum error_code run_restore(const struct cli_call *call, struct error *err) {
    struct settings *settings = NULL;
    TRY(load(call, &settings, err));
    enum error_code code =
        backup_restore(call->arguments[0], cli_value(call, "key"), settings->vault, err);
    settings_free(settings);
    return code;
}

const struct cli_command cli_backup = {
    "backup", "Operate", "FILE", 1, 1, "copy the vault, encrypted, while the gateway runs",
    "renkei backup vault-monday.backup --key backup.key", backup_options, run_backup};

const struct cli_command cli_restore = {
    "restore", "Operate", "FILE", 1, 1, "make the vault from a backup, before the gateway starts",
    "renkei restore vault-monday.backup --key backup.key", restore_options, run_restore};
