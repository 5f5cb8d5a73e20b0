/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the C test programs share. Each runs all of its checks, says which failed, and ends with 1
 * if one did.
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdio.h>
#include <string.h>

extern int failed_checks;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);  \
            failed_checks++;                                                                       \
        }                                                                                          \
    } while (0)

#define CHECK_EQUAL(found, wanted)                                                                 \
    do {                                                                                           \
        const long long found_ = (long long)(found), wanted_ = (long long)(wanted);                \
        if (found_ != wanted_) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__,     \
                    #found, found_, wanted_);                                                      \
            failed_checks++;                                                                       \
        }                                                                                          \
    } while (0)

#define CHECK_TEXT(found, wanted)                                                                  \
    do {                                                                                           \
        if (strcmp(found, wanted) != 0) {                                                          \
            fprintf(stderr, "%s:%d: %s: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, __func__, \
                    #found, found, wanted);                                                        \
            failed_checks++;                                                                       \
        }                                                                                          \
    } while (0)

#endif
