/*
 * What the listeners share. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_STATE_H
#define GATEWAY_REST_STATE_H

#include "gateway/rest/http.h"
#include "gateway/rest/peers.h"

enum { REST_ROUTES_MAX = 64 };

struct rest_metrics {
    _Atomic uint64_t requests[REST_ROUTES_MAX][6]; /* by route and status / 100 */
    _Atomic uint64_t duration_ms[REST_ROUTES_MAX];
    _Atomic uint64_t sign_ins;
    _Atomic uint64_t refusals; /* 401 and 403 */
    _Atomic uint64_t verdicts[VERDICT_WITHHELD + 1];
    _Atomic uint64_t forwards_answered;
    _Atomic uint64_t late_connections; /* that were too slow and were closed */
    _Atomic int64_t running;
};

struct rest {
    char *hospital;
    char *url;
    char *machine_url;
    uint64_t certificate_end_ms; /* 0: there is no such listener */
    uint64_t machine_certificate_end_ms;
    struct rest_backend backend;
    struct identity *identity;
    struct peers *peers;
    rest_event_function *event;
    void *event_context;
    uint64_t started_ms;
    struct rest_metrics metrics;
    _Atomic int patient_requests;
    struct server *server;
};

typedef enum error_code rest_handler(struct rest *rest, struct rest_request *request,
                                     struct rest_answer *answer, struct error *err);

enum rest_who { WHO_ANYBODY, WHO_PATIENT, WHO_PEER };

struct rest_route {
    const char *method;
    const char *path; /* one segment may be {name} */
    const char *operation;
    unsigned listeners; /* of enum rest_listener */
    enum rest_who who;  /* REST_ADMIN: whoever may open the socket */
    rest_handler *handler;
};
extern const struct rest_route rest__routes[];
extern const size_t rest__route_count;

/* Finds the route, checks who asks, runs the handler; a failure becomes a problem document. The
 * answer's body must be initialised. ret_route: -1 where there is none. */
void rest__dispatch(struct rest *rest, struct rest_request *request, struct rest_answer *answer,
                    int *ret_route, struct error *ret_error);

/* Members of a ledger's head. */
void rest__emit_head(struct buffer *out, const char *name, const struct ledger_head *head);

#endif
