/*
 * What another hospital says matches, checked here: its document's digest, under the r that it
 * gives, must be the content digest of the record's latest version on this gateway's own chain. The
 * raw digest is the other hospital's word, since raw bytes do not travel. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_CLAIMS_H
#define GATEWAY_REST_CLAIMS_H

#include "gateway/rest/document.h"
#include "gateway/rest/rest.h"

/* For a part that document_part_read accepted. A claim that the chain contradicts: the section is
 * dropped, status `refused`, ERROR_VERIFY. Claims about blocks that this gateway's node does not
 * have yet, or a node that cannot be asked: the section stays, status `partial`, with the error. */
void claims_check(const struct rest_backend *backend, struct arena *arena,
                  struct document_part *part);

#endif
