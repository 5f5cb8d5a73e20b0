/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Times look-ups in an index file: lookups INDEX PATHS ROUNDS
 *
 * PATHS has a path a line. A line of the output has nanoseconds: for present and absent ones; for
 * both again, with PP_WANT_PATH; and the floor, which is what two reads cost of which the second's
 * place depends on the first, both at random places of the same mapping: no look-up in a table and
 * a record can do with less. The clock is the thread's own CPU time, so that other programs disturb
 * little.
 */
#include "core/walk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READS_A_LOOKUP = 2, SMALLEST_RUN = 200000 };

struct file {
    uint8_t *bytes;
    size_t size;
};

static struct file map(const char *name)
{
    struct stat status;
    const int descriptor = open(name, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        perror(name);
        exit(1);
    }
    const size_t size = (size_t)status.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    close(descriptor);
    if (bytes == MAP_FAILED) {
        perror(name);
        exit(1);
    }
    return (struct file){bytes, size};
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* All of the paths, as they are or made absent, until it took long enough to be timed. */
static double look_up(const struct pp_snapshot *snapshot, const struct file *paths, int present,
                      uint32_t flags)
{
    static struct pp_walk walk;
    size_t count = 0;
    const double start = now();
    while (count < SMALLEST_RUN) {
        const char *path = (const char *)paths->bytes;
        const char *end = path + paths->size;
        while (path < end) {
            const char *line = memchr(path, '\n', (size_t)(end - path));
            if (!line)
                break;
            walk.snapshot = snapshot;
            walk.flags = flags;
            walk.links = 0;
            /* An absent name: the last letter is missing. */
            const size_t length = (size_t)(line - path) - (present ? 0 : 1);
            const enum pp_outcome outcome = pp_walk(&walk, path, length);
            if (outcome != (present ? PP_FOUND : PP_ERROR)) {
                fprintf(stderr, "%.*s: outcome %d\n", (int)length, path, (int)outcome);
                exit(1);
            }
            if (present && walk.record->inode == 0)
                exit(1);
            path = line + 1;
            count++;
        }
    }
    return (now() - start) / (double)count;
}

static double read_at_random(const struct file *file)
{
    uint64_t place = 88172645463325252u;
    const size_t words = file->size / 8;
    const double start = now();
    for (size_t i = 0; i < SMALLEST_RUN * READS_A_LOOKUP; i++) {
        uint64_t word;
        memcpy(&word, file->bytes + (size_t)((unsigned __int128)place * words >> 64) * 8, 8);
        place =
            (place + (word & 1)) * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    }
    const double spent = now() - start;
    if (place == 0)
        puts("never"); /* keeps the loop */
    return spent / SMALLEST_RUN;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const struct file file = map(argv[1]), paths = map(argv[2]);
    struct pp_index index;
    struct pp_mounted mounted[2] = {0};
    if (pp_index_open(&index, file.bytes, file.size) != 0) {
        fprintf(stderr, "%s: not an index\n", argv[1]);
        return 1;
    }
    const struct pp_snapshot snapshot = {
        .root = &index,
        .mounted = mounted,
        .mask = 1,
        .mountpoint = "/cvmfs/r",
        .mountpoint_length = 8,
    };
    for (int round = atoi(argv[3]); round > 0; round--) {
        for (uint32_t flags = 0; flags <= PP_WANT_PATH; flags += PP_WANT_PATH)
            for (int present = 1; present >= 0; present--)
                printf("%.1f ", look_up(&snapshot, &paths, present, flags));
        printf("%.1f\n", read_at_random(&file));
    }
    return 0;
}
