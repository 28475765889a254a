#include "ledger/net/news.h"

#include "base/log.h"

bool net_news_up(struct net_news *news, uint64_t now_ms) {
    bool tell = !news->told_up;
    news->changed_ms = now_ms;
    news->told_up = true;
    return tell;
}

bool net_news_down(struct net_news *news, uint64_t now_ms, uint64_t steady_ms) {
    if (now_ms - news->changed_ms >= steady_ms)
        news->losses = 0;
    news->losses++;
    news->changed_ms = now_ms;
    news->told_up = !log_is_due(news->losses);
    return !news->told_up;
}

bool net_news_absent(struct net_news *news, uint64_t now_ms, uint64_t absent_ms) {
    if (!news->told_up || now_ms - news->changed_ms < absent_ms)
        return false;
    news->told_up = false;
    return true;
}
