/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a call does to the caller's stack and registers: nothing, says the kernel; see look.h. All
 * calls are made by libc's syscall(), whose own stack is the return address alone.
 */
#include "look.h"
#include <ucontext.h>

#define STACK 8192u
#define RED_ZONE 128
#define AT_MOST 512
#define PAINT 0xa5

struct call {
    const char *name;
    long words[7];
};

static struct stat status;
static char buffer[4096];
static int directory, file, etc;
static struct call calls[32];
static int call_count;

static void add(const char *name, long number, long a, long b, long c, long d, long e)
{
    calls[call_count++] = (struct call){name, {number, a, b, c, d, e, 0}};
}

#define TEXT(text) ((long)(text))

static void make_calls(void)
{
    static char path_file_in_file[600];
    snprintf(path_file_in_file, sizeof path_file_in_file, "%s/x", path_file);
    const long here = AT_FDCWD, at = TEXT(buffer);
    directory = must(open(path_dir, O_RDONLY), "open");
    file = must(open(path_file, O_RDONLY), "open");
    etc = must(open("/etc", O_RDONLY), "open");
    add("stat", SYS_stat, TEXT(path_file), TEXT(&status), 0, 0, 0);
    add("stat, absent", SYS_stat, TEXT(path_absent), TEXT(&status), 0, 0, 0);
    add("stat, real", SYS_stat, TEXT("/etc/passwd"), TEXT(&status), 0, 0, 0);
    add("stat, real, absent", SYS_stat, TEXT("/etc/nothing/at/all"), TEXT(&status), 0, 0, 0);
    add("stat, NULL", SYS_stat, 0, TEXT(&status), 0, 0, 0);
    add("newfstatat", SYS_newfstatat, directory, TEXT("../file"), TEXT(&status), 0, 0);
    add("newfstatat, real", SYS_newfstatat, etc, TEXT("passwd"), TEXT(&status), 0, 0);
    add("newfstatat, fd", SYS_newfstatat, file, TEXT(""), TEXT(&status), AT_EMPTY_PATH, 0);
    add("statx", SYS_statx, here, TEXT(path_file), 0, 0xfff, at);
    add("statx, link", SYS_statx, here, TEXT(path_link), 0, 0xfff, at);
    add("fstat", SYS_fstat, file, TEXT(&status), 0, 0, 0);
    add("fstat, real", SYS_fstat, etc, TEXT(&status), 0, 0, 0);
    add("access", SYS_access, TEXT(path_file), R_OK, 0, 0, 0);
    add("faccessat2", 439, here, TEXT(path_file), X_OK, 0, 0);
    add("readlink", SYS_readlink, TEXT(path_link), at, sizeof buffer, 0, 0);
    add("readlink, real", SYS_readlink, TEXT("/proc/self/exe"), at, sizeof buffer, 0, 0);
    add("getdents64", SYS_getdents64, directory, at, 1024, 0, 0);
    add("getdents64, real", SYS_getdents64, etc, at, 1024, 0, 0);
    add("lseek", SYS_lseek, directory, 0, SEEK_SET, 0, 0);
    add("getcwd", SYS_getcwd, at, sizeof buffer, 0, 0, 0);
    add("statfs", SYS_statfs, TEXT(path_file), at, 0, 0, 0);
    add("open", SYS_open, TEXT(path_file), O_RDONLY, 0, 0, 0);
    add("openat, directory", SYS_openat, here, TEXT(path_dir), O_RDONLY | O_DIRECTORY, 0, 0);
    add("openat, real", SYS_openat, here, TEXT("/etc/passwd"), O_RDONLY, 0, 0);
    add("openat, absent", SYS_openat, directory, TEXT("absent"), O_RDONLY, 0, 0);
    add("unlink", SYS_unlink, TEXT(path_file_in_file), 0, 0, 0, 0);
    add("mkdir", SYS_mkdir, TEXT("/etc/passwd/x"), 0700, 0, 0, 0);
    add("execve, absent", SYS_execve, TEXT(path_absent), 0, 0, 0, 0);
    add("chdir", SYS_chdir, TEXT(path_dir), 0, 0, 0, 0);
    add("chdir, real", SYS_chdir, TEXT("/"), 0, 0, 0, 0);
    add("getpid", SYS_getpid, 0, 0, 0, 0, 0);
}

/* Registers: before the call all have a mark, except for its arguments; after it, those of the
 * kernel's rules must have it still. syscall() itself puts its arguments one register on. */

struct registers {
    uint64_t kept[6];  /* rbx rbp r12 r13 r14 r15 */
    uint64_t words[6]; /* rdi rsi rdx r10 r8 r9 */
    uint64_t result, flags;
    unsigned char vector[16][32];
} before, after;

/* mark_and_call(before, after, words): with vectors of 32 bytes, or of 16. */
#define MARK_AND_CALL(name, move, size)                                                            \
    __asm__(".text\n" #name ":\n"                                                                  \
            "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"                   \
            "push %rsi\n" /* after; from here on 16-aligned */                                     \
            "mov %rdx,%rax\n"                                                                      \
            "mov %rdi,%r11\n"                                                                      \
            "mov (%r11),%rbx; mov 8(%r11),%rbp; mov 16(%r11),%r12; mov 24(%r11),%r13\n"            \
            "mov 32(%r11),%r14; mov 40(%r11),%r15\n"                                               \
            ".set i,0\n .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" move                       \
            " 112+32*\\n(%r11),%" size "\\n\n .endr\n"                                             \
            "push 48(%rax)\n" /* the seventh word */                                               \
            "mov (%rax),%rdi; mov 8(%rax),%rsi; mov 16(%rax),%rdx; mov 24(%rax),%rcx\n"            \
            "mov 32(%rax),%r8; mov 40(%rax),%r9\n"                                                 \
            "call *syscall@GOTPCREL(%rip)\n"                                                       \
            "lea 8(%rsp),%rsp\n"                                                                   \
            "pop %r11\n"                                                                           \
            "mov %rbx,(%r11); mov %rbp,8(%r11); mov %r12,16(%r11); mov %r13,24(%r11)\n"            \
            "mov %r14,32(%r11); mov %r15,40(%r11)\n"                                               \
            "mov %rdi,48(%r11); mov %rsi,56(%r11); mov %rdx,64(%r11); mov %r10,72(%r11)\n"         \
            "mov %r8,80(%r11); mov %r9,88(%r11); mov %rax,96(%r11)\n"                              \
            "pushf; pop 104(%r11)\n"                                                               \
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" move " %" size                        \
            "\\n,112+32*\\n(%r11)\n .endr\n"                                                       \
            "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"                         \
            "ret\n");                                                                              \
    void name(const struct registers *, struct registers *, const long *)

MARK_AND_CALL(with_sse, "movups", "xmm");
MARK_AND_CALL(with_avx, "vmovups", "ymm");

/* What libc's syscall() loads belongs to the call, unless errno was set. */
static void compare_registers(const struct call *call, size_t vector_size)
{
    if (memcmp(before.kept, after.kept, sizeof before.kept) != 0)
        printf("%s: rbx, rbp or r12 to r15 have changed\n", call->name);
    for (int i = 0; i < 6 && (int64_t)after.result != -1; i++)
        if (after.words[i] != (uint64_t)call->words[i + 1])
            printf("%s: argument %d has changed\n", call->name, i);
    if (after.flags & 0x400)
        printf("%s: the direction flag is set\n", call->name);
    for (int i = 0; i < 16; i++)
        if (memcmp(before.vector[i], after.vector[i], vector_size) != 0)
            printf("%s: vector register %d has changed\n", call->name, i);
}

static void do_registers(void)
{
    const int has_avx = __builtin_cpu_supports("avx");
    const size_t vector_size = has_avx ? 32 : 16;
    make_calls();
    for (int i = 0; i < 6; i++)
        before.kept[i] = 0x1111111111111111u * (uint64_t)(i + 3);
    memset(before.vector, 0x5a, sizeof before.vector);
    for (int i = 0; i < 16; i++)
        before.vector[i][7] = before.vector[i][29] = (unsigned char)i;
    for (int i = 0; i < call_count; i++) {
        (has_avx ? with_avx : with_sse)(&before, &after, calls[i].words);
        compare_registers(&calls[i], vector_size);
    }
}

/* The stack */

__asm__(".text\n on_stack:\n" /* on_stack(top, words) */
        "push %rbx\n mov %rsp,%rbx\n mov %rsi,%rax\n"
        "mov %rdi,%rsp\n push 48(%rax)\n"
        "mov (%rax),%rdi; mov 8(%rax),%rsi; mov 16(%rax),%rdx; mov 24(%rax),%rcx\n"
        "mov 32(%rax),%r8; mov 40(%rax),%r9\n"
        "call *syscall@GOTPCREL(%rip)\n"
        "mov %rbx,%rsp\n pop %rbx\n ret\n");
long on_stack(void *top, const long *words);

/* A stack of which `size` bytes can be touched, above memory that can't be. */
static unsigned char *guarded_stack(size_t size)
{
    unsigned char *memory =
        mmap(NULL, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        wrong("mmap");
    mprotect(memory, 4096, PROT_NONE);
    return memory + 4096 + size;
}

static void paint(const struct call *call, unsigned char *top)
{
    unsigned char *at = top - STACK;
    memset(at, PAINT, STACK);
    on_stack(top, call->words);
    unsigned char *const pointer = top - 16; /* at the call: a word and the return address */
    while (at < pointer && *at == PAINT)
        at++;
    if (pointer - at > AT_MOST)
        printf("%s: wrote %ld bytes below the stack pointer\n", call->name, (long)(pointer - at));
    for (at = pointer - RED_ZONE; at < pointer; at++)
        if (*at != PAINT) {
            printf("%s: wrote into the red zone\n", call->name);
            break;
        }
}

static void do_paint(void)
{
    unsigned char *top = guarded_stack(STACK);
    make_calls();
    for (int i = 0; i < call_count; i++)
        if (calls[i].words[0] != SYS_execve) /* on success it would not come back */
            paint(&calls[i], top);
}

static void do_one_kib(void)
{
    unsigned char *top = guarded_stack(1024 + 16);
    make_calls();
    for (int i = 0; i < call_count; i++) {
        const long result = on_stack(top, calls[i].words);
        printf("%s: %s\n", calls[i].name, result < 0 ? strerror(errno) : "done");
    }
}

/* Coroutines on stacks of which libc's functions may have one KiB. */

static ucontext_t main_context, coroutines[20];

static void run_coroutine(int number)
{
    for (int i = 0; i < 50; i++) {
        if (stat(path_file, &status) || readlink(path_link, buffer, sizeof buffer) != 7)
            _exit(3);
        swapcontext(&coroutines[number], &main_context);
        const int opened = open(path_dir, O_RDONLY);
        if (opened < 0 || syscall(SYS_getdents64, opened, buffer, sizeof buffer) <= 0 ||
            close(opened))
            _exit(4);
        swapcontext(&coroutines[number], &main_context);
    }
}

static void do_coroutines(void)
{
    for (int i = 0; i < 20; i++) {
        getcontext(&coroutines[i]);
        unsigned char *top = guarded_stack(1024 + 256); /* and what the coroutine itself has */
        coroutines[i].uc_stack.ss_sp = top - 1024 - 256;
        coroutines[i].uc_stack.ss_size = 1024 + 256;
        coroutines[i].uc_link = &main_context;
        makecontext(&coroutines[i], (void (*)(void))run_coroutine, 1, i);
    }
    for (int i = 0; i < 20 * 100; i++)
        swapcontext(&main_context, &coroutines[i % 20]);
}

static void do_errno(void)
{
    make_calls();
    for (int i = 0; i < call_count; i++) {
        const long *words = calls[i].words;
        errno = 77;
        const long result =
            syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
        printf("%s: %s\n", calls[i].name,
               result == -1  ? strerror(errno)
               : errno == 77 ? "done"
                             : "done, but errno has changed");
    }
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"registers", do_registers},   {"paint", do_paint}, {"one-kib", do_one_kib},
        {"coroutines", do_coroutines}, {"errno", do_errno}, {NULL, NULL},
    };
    return look_main(count, words, cases);
}
