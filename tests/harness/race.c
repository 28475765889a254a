/* Two threads count without a lock: what tests/harness/tsan.py must find, to be believed. */
#include <pthread.h>
#include <stdio.h>

enum { TIMES = 100000 };

static unsigned count;

static void *add(void *unused) {
    for (int i = 0; i < TIMES; i++)
        count++;
    return unused;
}

int main(void) {
    pthread_t other;
    if (pthread_create(&other, NULL, add, NULL) != 0)
        return 1;
    (void)add(NULL);
    (void)pthread_join(other, NULL);
    (void)printf("%u\n", count);
    return 0;
}
