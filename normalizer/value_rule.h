/* One column's rule: from the source's type to one of the five. Inside the normalizer only. */
#ifndef NORMALIZER_VALUE_RULE_H
#define NORMALIZER_VALUE_RULE_H

#include "normalizer/charset.h"
#include "normalizer/normalizer.h"
#include "normalizer/value.h"

struct value_rule {
    enum renkei_type source;
    uint32_t bits;
    enum value_type type; /* wanted */
    enum mapping_era era;
    int offset_minutes;      /* of timestamps with a zone */
    struct charset *charset; /* ASCII where the source's form is; NULL for BINARY */
};

/* Where values leave their reasons. */
struct value_notes {
    void (*note)(void *context, enum reason reason, uint32_t code);
    charset_visitor *visitor;
    void *context; /* of both */
    struct buffer scratch;
};

/* True where the form of the type is text in the column's charset. */
bool value_is_text(enum renkei_type type);
enum value_type value_default_type(enum renkei_type type, uint32_t bits);

/* Appends one value as it stands in the document; the type that it has there. */
enum value_type value_write(const struct value_rule *rule, struct bytes raw,
                            struct value_notes *notes, struct buffer *out);

#endif
