/* Preloaded into the nodes for the bench's second rows: what the disk's syncs cost. A chain that
 * runs so loses what it promised with the first power cut. */
#include <unistd.h>

int fsync(int fd) {
    (void)fd;
    return 0;
}

int fdatasync(int fd) {
    (void)fd;
    return 0;
}
