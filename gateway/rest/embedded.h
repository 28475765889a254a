/*
 * Files of schemas/ that are part of the program; embed.py writes the definitions.
 */
#ifndef GATEWAY_REST_EMBEDDED_H
#define GATEWAY_REST_EMBEDDED_H

#include <stddef.h>

extern const unsigned char embedded_openapi[];
extern const size_t embedded_openapi_len;
extern const unsigned char embedded_openapi_admin[];
extern const size_t embedded_openapi_admin_len;

#endif
