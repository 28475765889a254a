/*
 * A validator of which nothing may wait for a sync but what one step of the protocol adds, and that ends
 * itself where more would. Linked with --wrap of the functions below; all else is the shipped node.
 */
#include <stdlib.h>

#include "ledger/node_inside.h"

enum error_code __real_node_load_keys(struct node *node, struct error *err);
enum error_code __wrap_node_load_keys(struct node *node, struct error *err);
void __real_pbft_step(struct pbft *pbft, const struct pbft_event *event,
                      struct pbft_effects *ret_effects);
void __wrap_pbft_step(struct pbft *pbft, const struct pbft_event *event,
                      struct pbft_effects *ret_effects);

static const struct node *tight;

enum error_code __wrap_node_load_keys(struct node *node, struct error *err) {
    node->held_bytes_max = 1;
    tight = node;
    return __real_node_load_keys(node, err);
}

/* A suspicion is the one event that does not wait its turn. */
void __wrap_pbft_step(struct pbft *pbft, const struct pbft_event *event,
                      struct pbft_effects *ret_effects) {
    if (tight->held_count > 0 && event->kind != PBFT_EVENT_SUSPECT)
        abort();
    __real_pbft_step(pbft, event, ret_effects);
}
