/* Prints the table of routes: file, method, path, operation and who may ask, one route a line. */
#include <stdio.h>

#include "gateway/rest/state.h"

int main(void) {
    static const char *const who[] = {"anybody", "patient", "peer"};
    for (size_t i = 0; i < rest__route_count; i++) {
        const struct rest_route *route = &rest__routes[i];
        bool described = (route->listeners & (REST_PUBLIC | REST_MACHINE)) != 0;
        if (described)
            printf("openapi.yaml %s %s %s %s\n", route->method, route->path, route->operation,
                   who[route->who]);
        if ((route->listeners & REST_ADMIN) != 0 && route->path[1] != 'v')
            printf("openapi-admin.yaml %s %s %s %s\n", route->method, route->path, route->operation,
                   who[route->who]);
    }
    return 0;
}
