/* Takes a backtrace before every instruction of the shim that the function `framed` comes to.

   argv: the library, from where to where its shim lies, and where its only site returns to
   (addresses in the library, decimal). Prints what `framed` returns; then a line for each
   instruction: its address in the library, how many functions of the shim have called it, whether
   the backtrace goes on behind the site and then on to its callers. */

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define DEPTH 64
#define STEPS 4096
#define FLAGS(change) __asm__ volatile("pushfq\n" change "\npopfq")
static uintptr_t start, end, back;
static void *outside[DEPTH];
static int depth, count;
static struct {
    uintptr_t place;
    int inside, good;
} steps[STEPS];

static int is_inside(void *place)
{
    return (uintptr_t)place >= start && (uintptr_t)place < end;
}

static void step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    void *place = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if (!is_inside(place) || count == STEPS)
        return;
    void *trace[DEPTH];
    const int length = backtrace(trace, DEPTH);
    int i = 0, inside = -1;
    while (i < length && trace[i] != place)
        i++;
    for (; i < length && is_inside(trace[i]); i++)
        inside++;
    /* Then the caller, which has another return address now; and the caller of that. */
    const int good = i + 2 < length && trace[i] == (void *)back && length - (i + 2) == depth - 1 &&
                     trace[i + 2] == outside[1];
    steps[count].place = (uintptr_t)place;
    steps[count].inside = inside;
    steps[count++].good = good;
}

static __attribute__((noinline)) int probe(int (*framed)(const char *, void *))
{
    char status[512];
    depth = backtrace(outside, DEPTH);
    FLAGS("orq $0x100, (%rsp)");
    int result = framed("/", status);
    FLAGS("andq $~0x100, (%rsp)");
    return result;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct link_map *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        return puts(dlerror()), 1;
    const uintptr_t base = library->l_addr;
    start = base + strtoul(argv[2], NULL, 10);
    end = base + strtoul(argv[3], NULL, 10);
    back = base + strtoul(argv[4], NULL, 10);
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    const int result = probe((int (*)(const char *, void *))dlsym(library, "framed"));
    printf("%d\n", result);
    for (int i = 0; i < count; i++)
        printf("%lu %d %d\n", steps[i].place - base, steps[i].inside, steps[i].good);
    return count == STEPS;
}
