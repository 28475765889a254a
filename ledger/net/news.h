/*
 * Which of a peer's comings and goings are worth a line in a log. Its first loss is, and its return; of
 * one that is lost again and again, without ever staying up for long, the first loss of each power of
 * two, with the return from it. A loss that was not told and lasts is told after all, so that what was
 * told last of a peer is never wrong for long.
 */
#ifndef LEDGER_NET_NEWS_H
#define LEDGER_NET_NEWS_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: nothing was told yet. */
struct net_news {
    uint64_t losses;     /* since it last stayed up for long */
    uint64_t changed_ms; /* when it came or went last */
    bool told_up;        /* what was told last; else that it is not, or nothing */
};

/* It came up, or went down: true where that is to be told. */
bool net_news_up(struct net_news *news, uint64_t now_ms);
/* steady_ms: whoever stayed up for so long is lost for the first time again. */
bool net_news_down(struct net_news *news, uint64_t now_ms, uint64_t steady_ms);
/* It is down: true, once, where that was not told and has lasted for so long. */
bool net_news_absent(struct net_news *news, uint64_t now_ms, uint64_t absent_ms);

#endif
