/*
 * Self-signed certificates for machines: a fresh P-256 key and a certificate that names the machine.
 *
 * Trust in them is by their key's pin (ledger nodes, other hospitals' gateways), or by a person who
 * hands the certificate on (patients' HTTPS of a first try); a hospital's own authority replaces
 * them where there is one.
 */
#ifndef BASE_CERTIFICATE_H
#define BASE_CERTIFICATE_H

#include "base/hash.h"

struct certificate_request {
    const char *name;             /* common name: a machine's, never a person's */
    const char *const *addresses; /* DNS names and IP addresses for subjectAltName */
    size_t address_count;
    const char *uri;              /* "renkei://west" in subjectAltName; NULL: none */
    uint32_t days;
    uint64_t wall_ms;             /* valid from an hour before, for clocks that differ */
};

/* Writes the key (PKCS#8 PEM, mode 0600) and the certificate (PEM, mode 0644); an existing file is
 * never written over (ERROR_EXISTS). */
MUST_CHECK enum error_code certificate_create(const struct certificate_request *request,
                                              const char *key_path, const char *certificate_path,
                                              struct error *err);

/* SHA-256 of the SubjectPublicKeyInfo of the first certificate of a PEM file. */
MUST_CHECK enum error_code certificate_pin(const char *certificate_path, struct hash *ret_pin,
                                           struct error *err);

/* When the first certificate of a PEM file ends. */
MUST_CHECK enum error_code certificate_end(const char *certificate_path, uint64_t *ret_wall_ms,
                                           struct error *err);

/* How near the end is: 0: it has ended; 1, 2, 3: within 1, 7, 30 days; CERTIFICATE_STAGES: there is
 * nothing to say yet. */
enum { CERTIFICATE_STAGES = 4, CERTIFICATE_DAY_MS = 86400000 };
unsigned certificate_stage(uint64_t end_ms, uint64_t wall_ms);

#endif
