/*
 * A hospital's part of a patient's document, as JSON: its own records with their verdicts, the
 * chain they were compared with, and what could not be looked at. The same bytes go to another
 * hospital's gateway that asked for the patient. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_SECTION_H
#define GATEWAY_REST_SECTION_H

#include "gateway/rest/http.h"

/* One record as an object. */
void section_record(struct buffer *out, const struct record *record);

/* All records of a patient of this hospital. */
MUST_CHECK enum error_code section_make(const struct rest_backend *backend, const char *hospital,
                                        const char *patient, struct arena *arena,
                                        struct buffer *out, struct error *err);

/* The name of a record in paths: base64url of its address. */
void section_record_id(const char *address, struct buffer *out);

#endif
