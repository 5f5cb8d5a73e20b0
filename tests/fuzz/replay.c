/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs a fuzzer's target on the files that are named, without libFuzzer, so that any compiler will
 * do. Each content lies in memory of its own size.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file || fseek(file, 0, SEEK_END) != 0) {
            perror(argv[i]);
            return 2;
        }
        const long size = ftell(file);
        uint8_t *data = malloc((size_t)size);
        rewind(file);
        if (size < 0 || fread(data, 1, (size_t)size, file) != (size_t)size) {
            perror(argv[i]);
            return 2;
        }
        fclose(file);
        LLVMFuzzerTestOneInput(data, (size_t)size);
        free(data);
    }
    return 0;
}
