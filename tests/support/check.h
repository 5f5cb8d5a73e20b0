/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PYPARROT_CHECK_H
#define PYPARROT_CHECK_H

#include <stdio.h>
#include <stdlib.h>

/* Say where something is not as it has to be, and end. */
#define CHECK(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    while (0)

#endif
