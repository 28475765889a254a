/*
 * Simulated disks under the real store and vote log. The libc calls by which they (and LMDB) write
 * are taken over: what is written goes to a real folder in memory, and until it is synced it is also
 * remembered how to take it back.
 *
 * What a power cut may do, and nothing else:
 *   lost     of what was written to a file since its last sync, everything behind a random write
 *   torn     that write itself, from a random byte on; its rest is lost, or is zeros. In LMDB's file,
 *            from a random sector of 512 bytes on: LMDB counts on a meta page's first one being whole
 *   names    a file made or renamed since its folder was last synced is not there, or is the old one
 *   corrupt  disk_flip(): one bit of what was synced. No promise: the reader must notice it
 * A write through O_DSYNC is synced. What was synced is never lost. A sync that fails, and a sync that
 * lies, are not simulated (ledger/store ends the node on the first; nothing helps against the second).
 */
#ifndef TESTS_SIM_STACK_DISK_H
#define TESTS_SIM_STACK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything under root belongs to disk number N by its first folder's name: root/N/... */
void disk_root(const char *root);
/* Until disk_power(), writes of this disk go nowhere: for closing what a crash leaves open. */
void disk_freeze(uint32_t disk);
/* Takes back what the power cut took: for each file the seed and its name decide, so that what a thread
 * of the store had written elsewhere by then changes nothing. Nothing of the disk may be open. */
void disk_power_cut(uint32_t disk, uint64_t seed);
/* Forgets what could be taken back: the run is over, or the folder was removed. */
void disk_forget(uint32_t disk);
/* Flips one bit of a file. */
bool disk_flip(const char *path, size_t at, uint8_t bit);
uint64_t disk_syncs(void);
uint64_t disk_taken_back(void); /* writes and names, by all power cuts */

#endif
