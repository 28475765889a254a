/*
 * A request and its answer, apart from the server that carries them. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_HTTP_H
#define GATEWAY_REST_HTTP_H

#include <stdatomic.h>

#include "base/random.h"
#include "gateway/rest/rest.h"

enum rest_listener { REST_PUBLIC = 1, REST_MACHINE = 2, REST_ADMIN = 4 };
const char *rest__listener_name(enum rest_listener listener);

/* Headers that are read; each may stand once. */
enum rest_header {
    HEADER_AUTHORIZATION,
    HEADER_DPOP,
    HEADER_FORWARD,
    HEADER_CONTENT_TYPE,
    HEADER_ACCEPT,
    HEADER_ACCEPT_LANGUAGE,
    HEADER_ACCEPT_ENCODING,
    HEADER_IF_NONE_MATCH,
    HEADER_COUNT
};
const char *rest__header_name(enum rest_header header);

enum {
    REST_SEGMENT_BYTES_MAX = 8192,
    REST_QUERY_MAX = 8,
    REST_EXTRA_HEADERS_MAX = 8,
    REST_GZIP_BYTES_MIN = 1024, /* what is shorter is sent as it is */
};

struct rest_query_item {
    const char *name;
    const char *value;
};

struct rest_request {
    enum rest_listener listener;
    const char *method;
    const char *path; /* as it was sent, without query */
    const char *header[HEADER_COUNT];
    struct rest_query_item query[REST_QUERY_MAX];
    size_t query_count;
    struct bytes body;
    const char *segment; /* what stood for {...} in the route; NULL: the route has none */
    const char *peer;    /* machine listener: the hospital that the certificate belongs to */
    uint64_t now_ms;
    char id[RANDOM_UUID_BYTES];
    struct arena *arena;
    struct identity_session session; /* of routes that need a patient */
};

struct rest_answer {
    unsigned status;
    const char *content_type; /* static; NULL: no body */
    struct buffer body;
    bool cacheable; /* gets an ETag and may be kept, after asking again */
    struct {
        const char *name; /* static */
        char *value;      /* the arena's */
    } extra[REST_EXTRA_HEADERS_MAX];
    size_t extra_count;
};

/* NULL: absent. */
const char *rest__query(const struct rest_request *request, const char *name);
/* ERROR_BAD_REQUEST where another parameter than these (ended by NULL) is there. */
MUST_CHECK enum error_code rest__query_only(const struct rest_request *request,
                                            const char *const *names, struct error *err);
/* A parameter as a number of min .. max. */
MUST_CHECK enum error_code rest__query_number(const struct rest_request *request, const char *name,
                                              uint64_t absent, uint64_t min, uint64_t max,
                                              uint64_t *ret_value, struct error *err);
/* Extra headers past the maximum, and values with bytes that no header may hold, are left out. */
void rest__header(struct rest_request *request, struct rest_answer *answer, const char *name,
                  const char *format, ...) PRINTF_LIKE(4, 5);
/* True where an Accept-like header names the type, or everything. */
bool rest__accepts(const char *header, const char *token);
bool rest__wants_japanese(const char *accept_language);

/* Turns an error into a problem document (RFC 9457). What a stranger should not read (paths of this
 * machine) stays out of it; it is in the log under the request's id. */
void rest__problem(struct rest_request *request, struct rest_answer *answer,
                   const struct error *err);
/* Members of an error as an object of a document. */
void rest__emit_error(struct buffer *out, const char *name, enum error_code code,
                      const char *detail, const char *hint);

/* gzip (RFC 1952) in place. False: it is left as it is. */
bool rest__gzip(struct buffer *body);

#endif
