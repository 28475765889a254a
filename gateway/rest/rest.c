#include "gateway/rest/rest.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/rest/server.h"
#include "gateway/rest/state.h"

static enum error_code find_enrolment(void *context, const struct hash *thumbprint,
                                      struct identity_enrolment *ret_enrolment, struct error *err) {
    struct rest *rest = context;
    char text[IDENTITY_THUMBPRINT_TEXT_BYTES];
    identity_thumbprint_text(thumbprint, text);
    SCOPED_ARENA struct arena *arena = arena_new(1 << 16);
    if (arena == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for an enrolment");
    struct sync_enrolment found;
    TRY(rest->backend.enrolment_find(rest->backend.context, text, arena, &found, err));
    size_t patient_len = strlen(found.patient), jwk_len = strlen(found.public_jwk);
    if (patient_len > IDENTITY_PATIENT_BYTES_MAX || jwk_len > IDENTITY_JWK_BYTES_MAX)
        return error_set(err, ERROR_CORRUPT, "an enrolment is larger than its limits");
    memcpy(ret_enrolment->patient, found.patient, patient_len + 1);
    memcpy(ret_enrolment->jwk, found.public_jwk, jwk_len + 1);
    return ERROR_NONE;
}

static enum error_code open_identity(struct rest *rest, const struct rest_options *options,
                                     struct error *err) {
    const char *own[] = {rest_url(rest)};
    bool given = options->listen.url_count > 0;
    struct identity_config config = {
        .hospital = rest->hospital,
        .urls = given ? options->listen.urls : own,
        .url_count = given ? options->listen.url_count : 1,
        .find = find_enrolment,
        .find_context = rest,
    };
    return identity_new(&config, &rest->identity, err);
}

enum error_code rest_open(const struct rest_options *options, struct rest **ret_rest,
                          struct error *err) {
    struct rest *rest = calloc(1, sizeof *rest);
    if (rest == NULL)
        return error_set(err, ERROR_NO_MEMORY, "no memory for the REST interface");
    rest->backend = *options->backend;
    rest->event = options->event;
    rest->event_context = options->event_context;
    rest->started_ms = clock_wall_ms();
    rest->hospital = strdup(options->hospital);
    enum error_code code =
        rest->hospital != NULL ? ERROR_NONE : error_set(err, ERROR_NO_MEMORY, "no memory");
    if (code == ERROR_NONE)
        code = peers_new(options, &rest->peers, err);
    if (code == ERROR_NONE)
        code = server_bind(rest, options, &rest->server, err);
    if (code == ERROR_NONE && options->listen.url_count > 0) {
        char *first = strdup(options->listen.urls[0]);
        free(rest->url);
        rest->url = first;
    }
    if (code == ERROR_NONE)
        code = open_identity(rest, options, err);
    if (code == ERROR_NONE)
        code = server_start(rest->server, err);
    if (code != ERROR_NONE) {
        rest_close(rest);
        return code;
    }
    *ret_rest = rest;
    return ERROR_NONE;
}

void rest_close(struct rest *rest) {
    if (rest == NULL)
        return;
    server_stop(rest->server);
    identity_free(rest->identity);
    peers_free(rest->peers);
    free(rest->hospital);
    free(rest->url);
    free(rest->machine_url);
    free(rest);
}

const char *rest_url(const struct rest *rest) {
    return rest->url != NULL ? rest->url : "";
}

const char *rest_machine_url(const struct rest *rest) {
    return rest->machine_url != NULL ? rest->machine_url : "";
}

uint64_t rest_certificate_end_ms(const struct rest *rest) {
    return rest->certificate_end_ms;
}

uint64_t rest_machine_certificate_end_ms(const struct rest *rest) {
    return rest->machine_certificate_end_ms;
}
