/* Escaping of addresses and keys, for the files of the normalizer. */
#ifndef NORMALIZER_ADDRESS_H
#define NORMALIZER_ADDRESS_H

#include "normalizer/normalizer.h"

/* A-Z a-z 0-9 . _ - as they are, every other byte as %XX. */
void address_escape(struct bytes raw, struct buffer *out);
/* The reverse; false where the text is not what address_escape writes. */
MUST_CHECK bool address_unescape(struct bytes text, struct buffer *out);
/* A canonical key: escaped components with commas between them, within the limit. */
bool address_key_valid(struct bytes key);

#endif
