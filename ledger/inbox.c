#include "ledger/inbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/wire.h"

/* Where a transaction begins, and what a proposal may name it by. */
struct place {
    uint32_t at;
    uint32_t submitter;
    uint64_t sequence;
};

struct inbox_message {
    struct inbox_message *next;
    uint64_t order;
    uint64_t searched_for; /* the proposal for which it was looked through last */
    size_t searched;       /* places up to here */
    struct place *places;
    size_t place_count;
    bool placed; /* they are known, by the list of this epoch: */
    uint64_t epoch;
    size_t at; /* the transaction whose turn it is */
    size_t len;
    uint8_t bytes[];
};

bool inbox_add(struct inbox *inbox, uint64_t order, struct bytes message) {
    struct inbox_message *added = malloc(sizeof *added + message.len);
    if (added == NULL)
        return false;
    *added = (struct inbox_message){.order = order, .len = message.len};
    memcpy(added->bytes, message.data, message.len);
    if (inbox->last != NULL)
        inbox->last->next = added;
    else
        inbox->first = added;
    inbox->last = added;
    inbox->bytes += sizeof *added + message.len;
    return true;
}

static void drop_first(struct inbox *inbox) {
    struct inbox_message *first = inbox->first;
    inbox->first = first->next;
    if (first->next == NULL)
        inbox->last = NULL;
    inbox->bytes -= sizeof *first + first->len;
    free(first->places);
    free(first);
}

size_t inbox_clear(struct inbox *inbox) {
    size_t count = 0;
    for (; inbox->first != NULL; count++)
        drop_first(inbox);
    return count;
}

static bool transaction_at(const struct inbox_message *message, size_t at,
                           struct bytes *ret_transaction) {
    struct wire_reader r = wire_reader(bytes_of(message->bytes + at, message->len - at));
    struct bytes transaction = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
    if (!r.failed)
        *ret_transaction = transaction;
    return !r.failed;
}

bool inbox_first(const struct inbox *inbox, struct bytes *ret_transaction) {
    return transaction_at(inbox->first, inbox->first->at, ret_transaction);
}

bool inbox_pass(struct inbox *inbox) {
    struct inbox_message *first = inbox->first;
    struct bytes transaction = {0};
    if (transaction_at(first, first->at, &transaction))
        first->at = (size_t)(transaction.data + transaction.len - first->bytes);
    if (first->at < first->len)
        return false;
    drop_first(inbox);
    return true;
}

/* What is cut short, or no transaction, is judged when its turn comes. */
static void find_places(struct inbox_message *message, const struct members *members) {
    size_t capacity = message->place_count;
    struct wire_reader r =
        wire_reader(bytes_of(message->bytes + message->at, message->len - message->at));
    message->place_count = 0;
    message->placed = true;
    message->epoch = members->epoch;
    while (wire_read_left(&r) > 0) {
        struct place place = {.at = (uint32_t)(r.at - message->bytes)};
        struct bytes bytes = wire_read_bytes(&r, TRANSACTION_BYTES_MAX);
        if (r.failed)
            break;
        if (!pool_peek(members, bytes, &place.submitter, &place.sequence))
            continue;
        message->places =
            array_grown(message->places, message->place_count, &capacity, sizeof place);
        message->places[message->place_count++] = place;
    }
    /* Most messages are of one transaction: room for more would be most of what an inbox takes. */
    struct place *fits = message->place_count == 0
                             ? NULL
                             : realloc(message->places, message->place_count * sizeof *fits);
    if (fits != NULL)
        message->places = fits;
}

static bool is_awaited(const struct inbox_search *search, const struct inbox_message *message,
                       const struct place *place) {
    return place->at >= message->at && place->sequence <= search->last[place->submitter] &&
           place->sequence >= pool_next(search->pool, place->submitter) &&
           pool_find(search->pool, place->submitter, place->sequence) == NULL;
}

bool inbox_search_next(struct inbox_search *search, struct bytes *ret_transaction) {
    for (; search->at != NULL; search->at = search->at->next) {
        struct inbox_message *message = search->at;
        if (message->order <= search->after)
            continue;
        if (!message->placed || message->epoch != search->members->epoch)
            find_places(message, search->members);
        if (message->searched_for != search->proposal)
            message->searched = 0;
        message->searched_for = search->proposal;
        while (message->searched < message->place_count) {
            const struct place *place = &message->places[message->searched++];
            if (is_awaited(search, message, place))
                return transaction_at(message, place->at, ret_transaction);
        }
    }
    return false;
}
