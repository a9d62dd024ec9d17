/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A harness is one function in fuzz-NAME.c. It is linked twice: with libFuzzer (-Dfuzzers=true, clang), and
 * always with replay-main.c, which runs it over corpus/NAME as an ordinary test. A harness does not only wait
 * for a crash: it states with EXPECT what must hold for every input. */

#include <stdio.h>

#include "base/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), but active in every build. */
#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (false)

/* Safe for a terminal, as messages about hostile input must be. */
static inline bool is_printable(const char *s) {
    for (; *s; s++)
        if ((unsigned char) *s < 0x20 || *s == 0x7f)
            return false;
    return true;
}
