/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the core needs of <string.h>: it has to do without a libc.
 */
#ifndef PYPARROT_TEXT_H
#define PYPARROT_TEXT_H

#include <stddef.h>

static inline size_t pp_length(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

/* Whether the first `length` bytes of two texts are the same; both have so many. */
static inline int pp_is_same(const char *a, const char *b, size_t length)
{
    unsigned long x, y;
    for (; length >= sizeof x; length -= sizeof x, a += sizeof x, b += sizeof x) {
        __builtin_memcpy(&x, a, sizeof x);
        __builtin_memcpy(&y, b, sizeof y);
        if (x != y)
            return 0;
    }
    while (length > 0 && *a == *b)
        a++, b++, length--;
    return length == 0;
}

static inline int pp_starts_with(const char *text, const char *start, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != start[i])
            return 0;
    return 1;
}

static inline int pp_equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline const char *pp_base_name(const char *path)
{
    const char *name = path;
    for (; *path; path++)
        if (*path == '/')
            name = path + 1;
    return name;
}

/* Whether a path has a component "..". */
static inline int pp_has_dots(const char *path)
{
    for (size_t i = 0; path[i]; i++)
        if (path[i] == '.' && path[i + 1] == '.' && (i == 0 || path[i - 1] == '/') &&
            (path[i + 2] == '/' || path[i + 2] == 0))
            return 1;
    return 0;
}

/* Append to the text of `*length` bytes in `buffer`, with a NUL at the end; -1 if it does not fit.
 */
static inline int pp_append(char *buffer, size_t capacity, size_t *length, const char *text,
                            size_t text_length)
{
    if (text_length >= capacity || *length >= capacity - text_length)
        return -1;
    __builtin_memcpy(buffer + *length, text, text_length);
    *length += text_length;
    buffer[*length] = 0;
    return 0;
}

#endif
