#include "gateway/rest/routes.h"

#include <string.h>

#define EVERYWHERE (REST_PUBLIC | REST_MACHINE | REST_ADMIN)

/* schemas/openapi.yaml and schemas/openapi-admin.yaml describe exactly these. */
const struct rest_route rest__routes[] = {
    {"POST", "/v1/nonce", "newNonce", REST_PUBLIC, WHO_ANYBODY, patient_nonce},
    {"POST", "/v1/token", "newToken", REST_PUBLIC, WHO_ANYBODY, patient_token},
    {"GET", "/v1/hospitals", "hospitals", REST_PUBLIC, WHO_ANYBODY, patient_hospitals},
    {"GET", "/v1/me/document", "myDocument", REST_PUBLIC, WHO_PATIENT, patient_document},
    {"GET", "/v1/me/records", "myRecords", REST_PUBLIC, WHO_PATIENT, patient_records},
    {"GET", "/v1/records/{record}", "record", REST_PUBLIC, WHO_PATIENT, patient_record},
    {"GET", "/v1/records/{record}/document", "recordDocument", REST_PUBLIC, WHO_PATIENT,
     patient_record_document},
    {"GET", "/v1/records/{record}/raw", "recordRaw", REST_PUBLIC, WHO_PATIENT, patient_record_raw},
    {"GET", "/v1/chain/status", "chainStatus", REST_PUBLIC | REST_ADMIN, WHO_PATIENT, chain_status},
    {"GET", "/v1/chain/blocks", "chainBlocks", REST_PUBLIC | REST_ADMIN, WHO_PATIENT, chain_blocks},
    {"GET", "/v1/chain/blocks/{height}", "chainBlock", REST_PUBLIC | REST_ADMIN, WHO_PATIENT,
     chain_block},
    {"GET", "/v1/chain/transactions/{transaction}", "chainTransaction", REST_PUBLIC | REST_ADMIN,
     WHO_PATIENT, chain_transaction},
    {"GET", "/v1/chain/records/{locator}", "chainRecord", REST_PUBLIC | REST_ADMIN, WHO_PATIENT,
     chain_history},
    {"POST", "/v1/forward", "forward", REST_MACHINE, WHO_PEER, machine_forward},
    {"GET", "/v1/openapi.yaml", "openapi", REST_PUBLIC | REST_ADMIN, WHO_ANYBODY, health_openapi},
    {"GET", "/admin/v1/openapi.yaml", "adminOpenapi", REST_ADMIN, WHO_ANYBODY,
     health_openapi_admin},
    {"GET", "/admin/v1/status", "adminStatus", REST_ADMIN, WHO_ANYBODY, admin_status},
    {"GET", "/admin/v1/sources", "adminSources", REST_ADMIN, WHO_ANYBODY, admin_sources},
    {"GET", "/admin/v1/sync", "adminSyncProgress", REST_ADMIN, WHO_ANYBODY, admin_sync_progress},
    {"POST", "/admin/v1/sync", "adminSyncStart", REST_ADMIN, WHO_ANYBODY, admin_sync_start},
    {"DELETE", "/admin/v1/sync", "adminSyncCancel", REST_ADMIN, WHO_ANYBODY, admin_sync_cancel},
    {"GET", "/admin/v1/quarantine", "adminQuarantine", REST_ADMIN, WHO_ANYBODY, admin_quarantine},
    {"DELETE", "/admin/v1/quarantine/{id}", "adminQuarantineDrop", REST_ADMIN, WHO_ANYBODY,
     admin_quarantine_drop},
    {"GET", "/admin/v1/characters", "adminCharacters", REST_ADMIN, WHO_ANYBODY, admin_characters},
    {"GET", "/admin/v1/keysets", "adminKeysets", REST_ADMIN, WHO_ANYBODY, admin_keysets},
    {"GET", "/admin/v1/patients", "adminPatients", REST_ADMIN, WHO_ANYBODY, admin_patients},
    {"POST", "/admin/v1/patients", "adminEnrol", REST_ADMIN, WHO_ANYBODY, admin_enrol},
    {"DELETE", "/admin/v1/patients/{key}", "adminRevoke", REST_ADMIN, WHO_ANYBODY, admin_revoke},
    {"GET", "/admin/v1/hospitals", "adminHospitals", REST_ADMIN, WHO_ANYBODY, admin_hospitals},
    {"GET", "/live", "live", EVERYWHERE, WHO_ANYBODY, health_live},
    {"GET", "/ready", "ready", EVERYWHERE, WHO_ANYBODY, health_ready},
    {"GET", "/metrics", "metrics", REST_ADMIN, WHO_ANYBODY, health_metrics},
};
const size_t rest__route_count = sizeof rest__routes / sizeof rest__routes[0];
_Static_assert(sizeof rest__routes / sizeof rest__routes[0] <= REST_ROUTES_MAX, "metrics' room");

/* Segments compare byte by byte; {name} takes one that is not empty. */
static bool path_fits(const char *pattern, const char *path, struct bytes *ret_segment) {
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t len = strcspn(path, "/");
        if (len == 0 || len > REST_SEGMENT_BYTES_MAX)
            return false;
        *ret_segment = bytes_of(path, len);
        path += len;
        pattern = strchr(pattern, '}') + 1;
    }
    return *path == '\0';
}

static bool method_fits(const char *wanted, const char *method) {
    return strcmp(wanted, method) == 0 ||
           (strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* Which methods a path has, for the Allow header: at most GET, HEAD, POST, DELETE. */
static int find_route(const struct rest_request *request, struct bytes *ret_segment,
                      char ret_allow[32]) {
    ret_allow[0] = '\0';
    for (size_t i = 0; i < rest__route_count; i++) {
        const struct rest_route *route = &rest__routes[i];
        struct bytes segment = {NULL, 0};
        if ((route->listeners & (unsigned)request->listener) == 0 ||
            !path_fits(route->path, request->path, &segment))
            continue;
        if (method_fits(route->method, request->method)) {
            *ret_segment = segment;
            return (int)i;
        }
        size_t used = strlen(ret_allow);
        memcpy(ret_allow + used, used > 0 ? ", " : "", used > 0 ? 3 : 1);
        used = strlen(ret_allow);
        if (used + strlen(route->method) < 31)
            memcpy(ret_allow + used, route->method, strlen(route->method) + 1);
    }
    return -1;
}

static enum error_code check_who(struct rest *rest, const struct rest_route *route,
                                 struct rest_request *request, struct error *err) {
    if (route->who != WHO_PATIENT || request->listener == REST_ADMIN)
        return ERROR_NONE;
    struct identity_request asked = {.method = request->method,
                                     .path = request->path,
                                     .authorization = request->header[HEADER_AUTHORIZATION],
                                     .proof = request->header[HEADER_DPOP]};
    return identity_authenticate(rest->identity, request->now_ms, &asked, &request->session, err);
}

/* Requests that read sources are few at once: the worker of a source takes one at a time, and the
 * others should learn soon that they must wait. */
static bool reads_sources(const struct rest_route *route) {
    return route->handler == patient_document || route->handler == patient_records ||
           route->handler == patient_record || route->handler == patient_record_document ||
           route->handler == patient_record_raw || route->handler == machine_forward;
}

static enum error_code run(struct rest *rest, const struct rest_route *route,
                           struct rest_request *request, struct rest_answer *answer,
                           struct error *err) {
    if (!reads_sources(route))
        return route->handler(rest, request, answer, err);
    enum error_code code;
    if (rest->patient_requests++ >= REST_PATIENT_REQUESTS_MAX)
        code = error_set(err, ERROR_BUSY, "records: %d requests are answered at this moment",
                         (int)REST_PATIENT_REQUESTS_MAX);
    else
        code = route->handler(rest, request, answer, err);
    rest->patient_requests--;
    return code;
}

void rest__dispatch(struct rest *rest, struct rest_request *request, struct rest_answer *answer,
                    int *ret_route, struct error *ret_error) {
    struct bytes segment = {NULL, 0};
    char allow[32];
    int index = find_route(request, &segment, allow);
    if (index < 0) {
        if (allow[0] == '\0')
            error_set(ret_error, ERROR_NOT_FOUND, "there is no such resource");
        else
            error_set(ret_error, ERROR_METHOD, "this resource has the methods %s", allow);
        return;
    }
    const struct rest_route *route = &rest__routes[index];
    *ret_route = index;
    if (segment.data != NULL) {
        char *text = arena_alloc(request->arena, segment.len + 1);
        if (text != NULL)
            memcpy(text, segment.data, segment.len);
        request->segment = text != NULL ? text : "";
    }
    enum error_code code = check_who(rest, route, request, ret_error);
    if (code == ERROR_NONE)
        code = run(rest, route, request, answer, ret_error);
    if (code == ERROR_NONE)
        code = buffer_check(&answer->body, "the answer", ret_error);
    if (code != ERROR_NONE && ret_error->code == ERROR_NONE)
        error_set(ret_error, code, "%s", error_info(code)->title_en);
}
