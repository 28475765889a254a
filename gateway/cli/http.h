/*
 * The command's HTTP client, over libcurl: to the gateway's administration socket, and to a
 * gateway's HTTPS. An answer that is a problem document becomes the error it names.
 */
#ifndef GATEWAY_CLI_HTTP_H
#define GATEWAY_CLI_HTTP_H

#include <jansson.h>

#include "base/bytes.h"
#include "base/error.h"

enum { HTTP_ANSWER_BYTES_MAX = 256 << 20, HTTP_HEADERS_MAX = 8 };

struct http_request {
    const char *method;
    const char *url;
    const char *socket;       /* path of a Unix socket; NULL: TCP */
    const char *ca;           /* PEM file that is trusted; NULL: the system's */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", ended by NULL */
    const char *content_type; /* of body */
    struct bytes body;
    uint32_t timeout_ms;
};

/* ERROR_NONE for 2xx only; the body is appended to ret_body. */
MUST_CHECK enum error_code http_send(const struct http_request *request, struct buffer *ret_body,
                                     struct error *err);
/* The same with JSON on both sides: body may be NULL, *ret_answer is a new reference (null where
 * the answer has no body). */
MUST_CHECK enum error_code http_json(struct http_request request, const json_t *body,
                                     json_t **ret_answer, struct error *err);

#endif
