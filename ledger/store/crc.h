/*
 * CRC-32C (Castagnoli) for records on disk: finds torn and damaged writes, proves nothing.
 */
#ifndef LEDGER_STORE_CRC_H
#define LEDGER_STORE_CRC_H

#include "base/bytes.h"

/* crc of what came before, 0 at first. */
uint32_t crc32c(uint32_t crc, struct bytes data);
/* The same without the processor's instruction for it. */
uint32_t crc32c_portable(uint32_t crc, struct bytes data);

#endif
