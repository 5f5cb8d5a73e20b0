/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a large file is cut into chunks.
 *
 * Rules that hold here:
 *  - No allocation, no libc, no state: a cut depends on the bytes before it alone.
 *  - The cuts are the ones that the CernVM-FS server tools make, so that a file published by
 *    either shares its chunks with the other (checked against repositories made by them).
 *
 * The method is the xor32 rolling checksum (Kutzner, Igor-FS): shift left by one, xor the byte in.
 * After 32 shifts a byte has left the word, so only the last 32 bytes count, and the first
 * `minimum - 32` bytes of a chunk need not be looked at.
 */
#include "python/chunk.h"

#define WINDOW 32u
#define CENTRE INT32_MAX /* a cut is where the checksum, as a signed word, comes near this */

static uint32_t xor32(uint32_t sum, uint8_t byte)
{
    return (sum << 1) ^ byte;
}

size_t pp_chunk_cut(const uint8_t *data, size_t length, size_t minimum, size_t average,
                    size_t maximum)
{
    const size_t end = length < maximum ? length : maximum;
    const uint32_t threshold = UINT32_MAX / (uint32_t)average;
    uint32_t sum = 0;

    if (length <= minimum)
        return length;
    for (size_t i = minimum > WINDOW ? minimum - WINDOW : 0; i < minimum; i++)
        sum = xor32(sum, data[i]);
    for (size_t i = minimum; i < end; i++) {
        sum = xor32(sum, data[i]);
        /* The distance wraps as a 32 bit word does, and counts in both directions. */
        const uint32_t distance = sum - (uint32_t)CENTRE;
        if (distance < threshold || 0u - distance < threshold)
            return i;
    }
    return end;
}
