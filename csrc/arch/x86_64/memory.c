/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The functions that a compiler calls by itself: the shim has no libc.
 */
#include <stddef.h>

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN void *memcpy(void *restrict to, const void *restrict from, size_t size);
HIDDEN void *memmove(void *to, const void *from, size_t size);
HIDDEN void *memset(void *at, int value, size_t size);
HIDDEN int memcmp(const void *a, const void *b, size_t size);

/* Most copies are of a few words, for which the string instructions take too long to begin. The
 * words are marked as volatile: otherwise the compiler would recognize a memcpy, and call it. */
#define WORDS_MAX 256u

static void copy_up(char *to, const char *from, size_t size)
{
    for (; size >= 8; size -= 8, to += 8, from += 8) {
        unsigned long word;
        __builtin_memcpy(&word, from, 8);
        *(volatile unsigned long __attribute__((aligned(1))) *)to = word;
    }
    for (; size; size--)
        *(volatile char *)to++ = *from++;
}

static void copy_down(char *to, const char *from, size_t size)
{
    while (size >= 8) {
        unsigned long word;
        size -= 8;
        __builtin_memcpy(&word, from + size, 8);
        *(volatile unsigned long __attribute__((aligned(1))) *)(to + size) = word;
    }
    while (size) {
        size--;
        *(volatile char *)(to + size) = from[size];
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    if (size <= WORDS_MAX) {
        copy_up(to, from, size);
        return to;
    }
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    if ((size_t)((char *)to - (const char *)from) >= size)
        copy_up(to, from, size);
    else
        copy_down((char *)to, from, size);
    return to;
}

void *memset(void *at, int value, size_t size)
{
    void *to = at;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return at;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}
