/* Takes a backtrace before every instruction of the stub that the function `framed` uses.

   argv: the library, the address of the stubs in it, and where the stub returns to. */

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define DEPTH 64
#define FLAGS(change) __asm__ volatile("pushfq\n" change "\npopfq")
static void *start, *end, *back, *outside[DEPTH];
static int depth, seen, good;

static void step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    void *place = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if (place < start || place >= end)
        return;
    seen++;
    void *trace[DEPTH];
    int length = backtrace(trace, DEPTH);
    for (int i = 0; i + 2 < length; i++)
        if (trace[i] == place && trace[i + 1] == back)
            /* Then who called, which stands elsewhere in itself now; and who called that. */
            good += length - (i + 3) == depth - 1 && trace[i + 3] == outside[1];
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
    start = (char *)library->l_addr + strtoul(argv[2], 0, 0);
    end = (char *)start + 4096;
    back = (char *)library->l_addr + strtoul(argv[3], 0, 0);
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    int result = probe(dlsym(library, "framed"));
    printf("%d %d %d\n", result, seen, good);
    return 0;
}
