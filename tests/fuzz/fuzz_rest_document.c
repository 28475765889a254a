/* What another hospital's gateway answers: a section of JSON, taken apart without being read. What
 * is accepted must give two views that are JSON themselves, with a verdict for every record. */
#include <stdint.h>
#include <string.h>

#include "gateway/rest/document.h"
#include "gateway/rest/scan.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    SCOPED_ARENA struct arena *arena = arena_new(16 << 20);
    SCOPED_BUFFER struct buffer out;
    buffer_init(&out, 16 << 20);
    struct document_part part = {.hospital = "east", .status = "refused"};
    struct error err;
    struct bytes section = bytes_of(data, size);
    if (scan_valid(section)) {
        SCOPED_BUFFER struct buffer text;
        buffer_init(&text, size + 16);
        (void)!scan_text(section, &text);
    }
    if (document_part_read(section, arena, &part, &err) != ERROR_NONE)
        return 0;
    struct document_summary summary;
    document_summarise(&part, 1, &summary);
    uint64_t verdicts = 0;
    for (size_t i = 0; i < sizeof summary.verdicts / sizeof summary.verdicts[0]; i++)
        verdicts += summary.verdicts[i];
    REQUIRE(verdicts == summary.records);
    REQUIRE(document_verified("west", 0, &part, 1, arena, &out, &err) == ERROR_NONE);
    REQUIRE(scan_valid(buffer_bytes(&out)));
    buffer_clear(&out);
    if (document_plain(&part, 1, arena, &out, &err) == ERROR_NONE)
        REQUIRE(scan_valid(buffer_bytes(&out)));
    return 0;
}
