/*
 * `renkei grants`: the SQL that makes the account of a mapping, which may read the mapping's tables
 * and nothing else.
 *
 * The password itself is not in it: what stands there is what the database keeps of one, worked out
 * from the password file, so that the output may be looked at, kept and handed on to whoever runs the
 * database. It is a secret all the same where the password is a weak one.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/file.h"
#include "base/random.h"
#include "base/text.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/output.h"
#include "gateway/cli/source.h"

enum {
    SQL_BYTES_MAX = 1 << 20,
    PASSWORD_BYTES_MAX = 1024,
    DIGEST_BYTES_MAX = EVP_MAX_MD_SIZE,
    SHA1_BYTES = 20,
    SHA256_BYTES = 32,
    SCRAM_SALT_BYTES = 16,
    SCRAM_ITERATIONS = 4096, /* PostgreSQL's own */
};

struct grants {
    const struct mapping *mapping;
    const char *from; /* where the gateway connects from, as the database sees it */
    json_t *lines;    /* one statement or comment each */
    char verifier[256];
};

static const char *option(const struct mapping *m, const char *name, const char *otherwise) {
    for (size_t i = 0; i < m->option_count; i++)
        if (strcmp(m->options[i].name, name) == 0)
            return m->options[i].value;
    return otherwise;
}

static void add(struct grants *g, struct buffer *line) {
    json_array_append_new(g->lines, json_stringn((const char *)line->data, line->len));
    buffer_clear(line);
}

static void note(struct grants *g, const char *text) {
    SCOPED_BUFFER struct buffer line;
    buffer_init(&line, SQL_BYTES_MAX);
    buffer_append_format(&line, "-- %s", text);
    add(g, &line);
}

/* Between two quotes, a quote in it doubled. */
static void quoted(struct buffer *line, char quote, const char *text) {
    buffer_append_byte(line, (uint8_t)quote);
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buffer_append_byte(line, (uint8_t)quote);
        buffer_append_byte(line, (uint8_t)*text);
    }
    buffer_append_byte(line, (uint8_t)quote);
}

/* A backslash is an escape to one server and none to another: there is no one way to write it. */
static enum error_code check_name(const char *what, const char *name, struct error *err) {
    for (const char *c = name; *c != '\0'; c++)
        if (*c == '\\' || (uint8_t)*c < 0x20)
            return error_set(err, ERROR_MAPPING, "%s '%s': no backslash or control character can "
                             "stand in a grant", what, name);
    return ERROR_NONE;
}

/* --- passwords ---------------------------------------------------------------------------------- */

static enum error_code read_password(const char *path, char ret_password[PASSWORD_BYTES_MAX],
                                     struct error *err) {
    SCOPED_BUFFER struct buffer file;
    buffer_init(&file, PASSWORD_BYTES_MAX);
    TRY(file_read(path, &file, PASSWORD_BYTES_MAX - 1, err));
    size_t len = 0;
    while (len < file.len && file.data[len] != '\n' && file.data[len] != '\r')
        len++;
    memset(ret_password, 0, PASSWORD_BYTES_MAX);
    if (len > 0)
        memcpy(ret_password, file.data, len);
    explicit_bzero(file.data, file.len);
    return len > 0 ? ERROR_NONE : error_set(err, ERROR_CONFIG, "%s: the first line is empty", path);
}

static bool digest(const EVP_MD *kind, const void *data, size_t len, uint8_t *ret_digest) {
    return EVP_Digest(data, len, ret_digest, NULL, kind, NULL) == 1;
}

/* mysql_native_password keeps SHA1(SHA1(password)). */
static bool native_verifier(struct grants *g, const char *password) {
    uint8_t once[DIGEST_BYTES_MAX], twice[DIGEST_BYTES_MAX];
    char hex[2 * SHA1_BYTES + 1];
    if (!digest(EVP_sha1(), password, strlen(password), once) ||
        !digest(EVP_sha1(), once, SHA1_BYTES, twice))
        return false;
    text_hex(twice, SHA1_BYTES, hex);
    for (char *c = hex; *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'f' ? (char)(*c - 'a' + 'A') : *c;
    snprintf(g->verifier, sizeof g->verifier, "*%s", hex);
    explicit_bzero(once, sizeof once);
    return true;
}

static bool keyed(const uint8_t *salted, const char *what, uint8_t ret_key[SHA256_BYTES]) {
    unsigned len = 0;
    return HMAC(EVP_sha256(), salted, SHA256_BYTES, (const uint8_t *)what, strlen(what), ret_key,
                &len) != NULL;
}

/* SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> (RFC 5803, as PostgreSQL keeps it). */
static bool scram_verifier(struct grants *g, const char *password) {
    uint8_t salt[SCRAM_SALT_BYTES], salted[SHA256_BYTES], client[SHA256_BYTES];
    uint8_t stored[DIGEST_BYTES_MAX], server[SHA256_BYTES];
    random_bytes(salt, sizeof salt);
    bool good = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, sizeof salt,
                                  SCRAM_ITERATIONS, EVP_sha256(), sizeof salted, salted) == 1 &&
                keyed(salted, "Client Key", client) && keyed(salted, "Server Key", server) &&
                digest(EVP_sha256(), client, sizeof client, stored);
    SCOPED_BUFFER struct buffer text;
    buffer_init(&text, sizeof g->verifier - 1);
    buffer_append_format(&text, "SCRAM-SHA-256$%d:", SCRAM_ITERATIONS);
    text_base64(bytes_of(salt, sizeof salt), &text);
    buffer_append_byte(&text, '$');
    text_base64(bytes_of(stored, SHA256_BYTES), &text);
    buffer_append_byte(&text, ':');
    text_base64(bytes_of(server, sizeof server), &text);
    good = good && !text.failed;
    if (good)
        snprintf(g->verifier, sizeof g->verifier, "%.*s", (int)text.len, (const char *)text.data);
    explicit_bzero(salted, sizeof salted);
    explicit_bzero(client, sizeof client);
    return good;
}

/* g->verifier stays "" where the mapping names no password file. */
static enum error_code make_verifier(struct grants *g, bool scram, struct error *err) {
    const char *path = option(g->mapping, "password_file", NULL);
    char password[PASSWORD_BYTES_MAX];
    if (path == NULL)
        return ERROR_NONE;
    TRY(read_password(path, password, err));
    bool ascii = true;
    for (const char *c = password; *c != '\0'; c++)
        ascii = ascii && (*c & 0x80) == 0;
    bool good = scram ? scram_verifier(g, password) : native_verifier(g, password);
    explicit_bzero(password, sizeof password);
    if (scram && !ascii) /* it would have to be normalized first, as SASLprep says */
        return error_set(err, ERROR_CONFIG, "%s: a password of other than ASCII characters", path);
    return good ? ERROR_NONE
                : error_set(err, ERROR_INTERNAL, "%s: the password cannot be hashed", path);
}

/* --- MariaDB and MySQL -------------------------------------------------------------------------- */

static void mysql_account(const struct grants *g, struct buffer *line) {
    quoted(line, '\'', option(g->mapping, "user", ""));
    buffer_append_byte(line, '@');
    quoted(line, '\'', g->from);
}

static enum error_code grants_mysql(struct grants *g, struct error *err) {
    const struct mapping *m = g->mapping;
    const char *database = option(m, "database", "");
    bool tls = strcmp(option(m, "tls", "off"), "off") != 0;
    SCOPED_BUFFER struct buffer line;
    buffer_init(&line, SQL_BYTES_MAX);
    TRY(make_verifier(g, false, err));
    buffer_append_text(&line, "CREATE USER ");
    mysql_account(g, &line);
    if (g->verifier[0] != '\0')
        buffer_append_format(&line, " IDENTIFIED BY PASSWORD '%s'", g->verifier);
    else
        buffer_append_text(&line, " IDENTIFIED VIA unix_socket");
    buffer_append_text(&line, tls ? " REQUIRE SSL;" : ";");
    add(g, &line);
    for (size_t t = 0; t < m->table_count; t++) {
        const char *schema = m->tables[t].schema;
        TRY(check_name("table", m->tables[t].table, err));
        buffer_append_text(&line, "GRANT SELECT ON ");
        quoted(&line, '`', schema != NULL && schema[0] != '\0' ? schema : database);
        buffer_append_byte(&line, '.');
        quoted(&line, '`', m->tables[t].table);
        buffer_append_text(&line, " TO ");
        mysql_account(g, &line);
        buffer_append_byte(&line, ';');
        add(g, &line);
    }
    note(g, "MySQL 8 has no IDENTIFIED BY PASSWORD: write IDENTIFIED BY 'the password' there.");
    if (option(m, "replicas", NULL) != NULL)
        note(g, "To tell how far a replica is behind (MariaDB 10.5; SLAVE MONITOR before, "
                "REPLICATION CLIENT in MySQL): GRANT REPLICA MONITOR ON *.* TO the account.");
    return ERROR_NONE;
}

/* --- PostgreSQL --------------------------------------------------------------------------------- */

static const char *schema_of(const struct mapping_table *table) {
    return table->schema != NULL && table->schema[0] != '\0' ? table->schema : "public";
}

static void postgresql_to(const struct grants *g, struct buffer *line) {
    buffer_append_text(line, " TO ");
    quoted(line, '"', option(g->mapping, "user", ""));
    buffer_append_byte(line, ';');
}

static bool is_first_of_schema(const struct mapping *m, size_t table) {
    for (size_t t = 0; t < table; t++)
        if (strcmp(schema_of(&m->tables[t]), schema_of(&m->tables[table])) == 0)
            return false;
    return true;
}

static enum error_code grants_postgresql(struct grants *g, struct error *err) {
    const struct mapping *m = g->mapping;
    SCOPED_BUFFER struct buffer line;
    buffer_init(&line, SQL_BYTES_MAX);
    TRY(make_verifier(g, true, err));
    buffer_append_text(&line, "CREATE ROLE ");
    quoted(&line, '"', option(m, "user", ""));
    buffer_append_text(&line, " LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION "
                              "NOBYPASSRLS");
    if (g->verifier[0] != '\0')
        buffer_append_format(&line, " PASSWORD '%s'", g->verifier);
    buffer_append_byte(&line, ';');
    add(g, &line);
    buffer_append_text(&line, "ALTER ROLE ");
    quoted(&line, '"', option(m, "user", ""));
    buffer_append_text(&line, " SET default_transaction_read_only = on;");
    add(g, &line);
    buffer_append_text(&line, "GRANT CONNECT ON DATABASE ");
    quoted(&line, '"', option(m, "database", ""));
    postgresql_to(g, &line);
    add(g, &line);
    for (size_t t = 0; t < m->table_count; t++) {
        TRY(check_name("table", m->tables[t].table, err));
        if (is_first_of_schema(m, t)) {
            buffer_append_text(&line, "GRANT USAGE ON SCHEMA ");
            quoted(&line, '"', schema_of(&m->tables[t]));
            postgresql_to(g, &line);
            add(g, &line);
        }
        buffer_append_text(&line, "GRANT SELECT ON TABLE ");
        quoted(&line, '"', schema_of(&m->tables[t]));
        buffer_append_byte(&line, '.');
        quoted(&line, '"', m->tables[t].table);
        postgresql_to(g, &line);
        add(g, &line);
    }
    note(g, "Everybody (PUBLIC) may make temporary tables, and before PostgreSQL 15 tables in public.");
    note(g, "Taking that away is right, and concerns your other accounts too:");
    note(g, "REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC;");
    note(g, "A table with row-level security needs a policy that shows this account every row: rows");
    note(g, "that it does not see look deleted.");
    return ERROR_NONE;
}

/* --- the command -------------------------------------------------------------------------------- */

static void grants_odbc(struct grants *g) {
    note(g, "What an account is made with depends on the database behind the driver. It needs, of");
    note(g, "these tables, the right to read and no other; and to look up their columns:");
    for (size_t t = 0; t < g->mapping->table_count; t++)
        note(g, g->mapping->tables[t].table);
    note(g, "MariaDB and PostgreSQL: as the connectors mysql and postgresql have it printed here.");
    note(g, "SQL Server: CREATE LOGIN, CREATE USER, GRANT SELECT ON schema.table TO the user.");
    note(g, "Oracle: CREATE USER, GRANT CREATE SESSION, GRANT READ ON schema.table (12c; SELECT before).");
    note(g, "A file (SQLite, Access): let the gateway's user read it, and not write it.");
}

static enum error_code make(struct grants *g, struct error *err) {
    const struct mapping *m = g->mapping;
    TRY(check_name("user", option(m, "user", ""), err));
    TRY(check_name("database", option(m, "database", ""), err));
    TRY(check_name("--from", g->from, err));
    if (strcmp(m->connector, "mysql") == 0)
        return grants_mysql(g, err);
    if (strcmp(m->connector, "postgresql") == 0)
        return grants_postgresql(g, err);
    if (strcmp(m->connector, "odbc") == 0) {
        grants_odbc(g);
        return ERROR_NONE;
    }
    return error_set(err, ERROR_USAGE, "connector %s: how its accounts are made is not known here",
                     m->connector);
}

static enum error_code run_grants(const struct cli_call *call, struct error *err) {
    SCOPED_MAPPING struct mapping *mapping = NULL;
    TRY(mapping_load(call->arguments[0], &mapping, err));
    const char *nearby = option(mapping, "socket", NULL) != NULL ? "localhost" : "%";
    SCOPED_JSON json_t *lines = json_array();
    struct grants g = {
        .mapping = mapping, .from = cli_value_or(call, "from", nearby), .lines = lines};
    TRY(make(&g, err));
    if (call->json) {
        output_json(lines);
        return ERROR_NONE;
    }
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line)
        puts(json_string_value(line));
    return ERROR_NONE;
}

static const struct cli_option grants_options[] = {
    {"from", "HOST", "where the gateway connects from, as MariaDB sees it (default: localhost for a "
                     "socket, else any host)", false, false},
    CLI_OPTIONS_COMMON};

const struct cli_command cli_grants = {
    "grants", "Connect a database", "MAPPING", 1, 1,
    "print the SQL that makes the mapping's account, which may read its tables and nothing else",
    "renkei grants main.yaml | psql emr", grants_options, run_grants};
