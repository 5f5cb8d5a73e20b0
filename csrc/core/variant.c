/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/variant.h"

static const char *value_of(const char *const *environment, const char *name, size_t length)
{
    for (; environment && *environment; environment++) {
        size_t i = 0;
        while (i < length && (*environment)[i] == name[i] && name[i] != '=')
            i++;
        if (i == length && (*environment)[i] == '=')
            return *environment + i + 1;
    }
    return NULL;
}

static size_t find(const char *text, size_t start, size_t length, char wanted)
{
    while (start < length && text[start] != wanted)
        start++;
    return start;
}

size_t pp_expand(const char *target, size_t length, const char *const *environment, char *output,
                 size_t capacity)
{
    size_t written = 0;
    size_t i = 0;

    while (i < length) {
        const char *piece = target + i;
        size_t piece_length = 1;
        const int opens = piece[0] == '$' && i + 1 < length && piece[1] == '(';
        const size_t end = opens ? find(target, i + 2, length, ')') : length;
        if (end == length) {
            i++;
        } else {
            /* NAME or NAME:-default */
            const size_t name = i + 2;
            size_t name_end = find(target, name, end, ':');
            while (name_end < end && target[name_end + 1] != '-')
                name_end = find(target, name_end + 1, end, ':');
            piece = value_of(environment, target + name, name_end - name);
            piece_length = 0;
            if (piece) {
                while (piece[piece_length])
                    piece_length++;
            } else if (name_end < end) {
                piece = target + name_end + 2;
                piece_length = end - name_end - 2;
            }
            i = end + 1;
        }
        for (size_t k = 0; k < piece_length; k++, written++)
            if (written < capacity)
                output[written] = piece[k];
    }
    return written;
}
