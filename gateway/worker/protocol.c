#include "gateway/worker/protocol.h"

void frame_begin(struct buffer *b, enum frame_type type) {
    buffer_clear(b);
    wire_u32(b, 0);
    wire_u8(b, (uint8_t)type);
}

struct bytes frame_end(struct buffer *b) {
    if (!b->failed)
        wire_store_u32(b->data, (uint32_t)(b->len - 4));
    return buffer_bytes(b);
}

void frame_text(struct buffer *b, const char *text) {
    wire_bytes(b, bytes_text(text == NULL ? "" : text));
}

void frame_reasons(struct buffer *b, const struct normalized_reason *reasons, size_t count) {
    wire_u32(b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        wire_u32(b, reasons[i].column);
        wire_u32(b, (uint32_t)reasons[i].reason);
        wire_u32(b, reasons[i].code);
        wire_u32(b, reasons[i].count);
    }
}
