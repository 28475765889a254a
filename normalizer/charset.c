#include "normalizer/charset.h"

const char *const charset_words[] = {"cp932",      "windows-31j", "shift_jis",   "sjis",
                                     "euc-jp",     "eucjp",       "iso-2022-jp", "utf-8",
                                     "utf8",       "utf-16le",    "utf-16be",    "latin1",
                                     "ascii",      "binary",      NULL};

enum renkei_charset charset_of_word(int index) {
    static const enum renkei_charset charsets[] = {
        RENKEI_CHARSET_CP932,   RENKEI_CHARSET_CP932,   RENKEI_CHARSET_CP932,
        RENKEI_CHARSET_SJIS,    RENKEI_CHARSET_EUC_JP,  RENKEI_CHARSET_EUC_JP,
        RENKEI_CHARSET_ISO_2022_JP, RENKEI_CHARSET_UTF8, RENKEI_CHARSET_UTF8,
        RENKEI_CHARSET_UTF16LE, RENKEI_CHARSET_UTF16BE, RENKEI_CHARSET_LATIN1,
        RENKEI_CHARSET_ASCII,   RENKEI_CHARSET_BINARY};
    return charsets[index];
}

const char *charset_name(enum renkei_charset charset) {
    static const char *const names[] = {
        [RENKEI_CHARSET_UNKNOWN] = "unknown",     [RENKEI_CHARSET_BINARY] = "binary",
        [RENKEI_CHARSET_ASCII] = "ascii",         [RENKEI_CHARSET_UTF8] = "utf-8",
        [RENKEI_CHARSET_CP932] = "cp932",         [RENKEI_CHARSET_SJIS] = "sjis",
        [RENKEI_CHARSET_EUC_JP] = "euc-jp",       [RENKEI_CHARSET_ISO_2022_JP] = "iso-2022-jp",
        [RENKEI_CHARSET_UTF16LE] = "utf-16le",    [RENKEI_CHARSET_UTF16BE] = "utf-16be",
        [RENKEI_CHARSET_LATIN1] = "latin1",
    };
    return (unsigned)charset < sizeof names / sizeof names[0] ? names[charset] : "unknown";
}
