/* Calls the functions record0 to record3 of libraries and prints the words that they leave.

   argv: a path, a number (hexadecimal), then libraries. Each function is called with that path and
   with one where nothing is, a buffer, the number, and room for its record. A line for each call:
   the buffer, then the record. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER 18
#define RECORD 64

typedef void function(const char *path, uint64_t *buffer, uint64_t number, uint64_t *record);

int main(int argc, char **argv)
{
    static uint64_t words[BUFFER + RECORD];
    const char *const paths[] = {argv[1], "/nowhere/at/all"};
    for (int i = 3; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (!library)
            return puts(dlerror()), 1;
        for (int call = 0; call < 8; call++) {
            char name[] = {'r', 'e', 'c', 'o', 'r', 'd', '0' + call / 2, 0};
            function *record = (function *)dlsym(library, name);
            memset(words, 0, sizeof words);
            record(paths[call % 2], words, strtoul(argv[2], NULL, 16), words + BUFFER);
            for (int word = 0; word < BUFFER + RECORD; word++)
                printf("%lx ", words[word]);
            putchar('\n');
        }
    }
    return 0;
}
