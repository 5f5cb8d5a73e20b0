/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The program "pyparrot": it starts Python, so that nothing which the user has set up for the
 * command disturbs that, and so that Python knows all that it changes by itself.
 *
 * It is the user's own process, before it becomes Python. Rules: no C library (none of LD_PRELOAD
 * is loaded here, and the start costs no time), nothing opened that stays open, nothing of the
 * process changed, no memory but one mapping for the new arguments. What it does:
 *
 * - Variables that concern Python and the dynamic linker get PP_ASIDE before their names. Python
 * gives them back to the command (pyparrot/given.py); it can do so byte for byte, since each
 * variable keeps its place.
 * - A first variable, PP_LAUNCHED, says which of the signals were ignored: Python ignores SIGPIPE
 * and SIGXFSZ when it starts, and what was before can't be known then.
 *
 * Which Python it is: that beside this file if both are in a virtual environment, else that which
 * has built it.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/resource.h>
#include <linux/signal.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/gate.h"
#include "arch/start.h"

/* The Python that has built this, as setup.py says. */
#ifndef PP_PYTHON
#define PP_PYTHON "/usr/bin/python3"
#endif

/* Whether that finds its libraries by LD_LIBRARY_PATH only. */
#ifndef PP_KEEP_LIBRARY_PATH
#define PP_KEEP_LIBRARY_PATH 0
#endif

#define PP_ASIDE "PYPARROT_ASIDE_"
#define PP_LAUNCHED "PYPARROT_LAUNCHED="

/* What Python runs. It must not look for modules in the working directory, as it does for -c. If it
 * does not find pyparrot without the variables that were put aside (pip install --target), it gets
 * them. */
#define PP_CODE                                                                                    \
    "import sys\n"                                                                                 \
    "sys.path[:] = filter(None, sys.path)\n"                                                       \
    "try:\n"                                                                                       \
    "    from pyparrot.cli import main\n"                                                          \
    "except ImportError:\n"                                                                        \
    "    import os\n"                                                                              \
    "    given = {n.replace(b'" PP_ASIDE "', b'', 1): v for n, v in os.environb.items()}\n"        \
    "    if given == os.environb: raise\n"                                                         \
    "    with open('/proc/self/cmdline', 'rb') as line: words = line.read().split(b'\\0')[:-1]\n"  \
    "    os.execve(sys.executable, words, given)\n"                                                \
    "sys.exit(main())"

#define PATH_SIZE 4096
#define DESCRIPTORS_LEAST 8
#define STACK_LEAST (256u << 10)
#define DATA_LEAST (16u << 20) /* Python itself; pyparrot says when it needs more */
#define ADDRESSES_LEAST (32u << 20)

PP_START;
void pp_start(uint64_t *stack);

static int64_t call(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return pp_system_call(number, a, b, c, d, 0, 0);
}

static size_t length(const char *text)
{
    size_t size = 0;
    while (text[size])
        size++;
    return size;
}

static int starts(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return 0;
    return 1;
}

static char *append(char *end, const char *text)
{
    while (*text)
        *end++ = *text++;
    *end = 0;
    return end;
}

/* Whether a variable would change how Python starts. */
static int concerns_python(const char *variable)
{
    if (PP_KEEP_LIBRARY_PATH && starts(variable, "LD_LIBRARY_PATH="))
        return 0;
    return starts(variable, "PYTHON") || starts(variable, "LD_") ||
           starts(variable, "GLIBC_TUNABLES=") || starts(variable, "MALLOC_") ||
           starts(variable, PP_ASIDE) || starts(variable, PP_LAUNCHED);
}

/* The signals that are ignored, a bit for each. */
static uint64_t ignored_signals(void)
{
    uint64_t ignored = 0;
    for (unsigned number = 1; number <= 64; number++) {
        struct sigaction action;
        if (call(__NR_rt_sigaction, number, 0, (uint64_t)&action, sizeof action.sa_mask) == 0 &&
            action.sa_handler == SIG_IGN)
            ignored |= UINT64_C(1) << (number - 1);
    }
    return ignored;
}

static char *append_hexadecimal(char *end, uint64_t number)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *end++ = "0123456789abcdef"[number >> shift & 15];
    *end = 0;
    return end;
}

/* Environment *to*, without what concerns Python; *room* is for new strings. */
static void set_aside(char **to, char *const *from, char *room)
{
    char *end = append(room, PP_LAUNCHED);
    *to++ = room;
    end = append_hexadecimal(end, ignored_signals()) + 1;
    for (; *from; from++) {
        if (concerns_python(*from)) {
            *to++ = end;
            end = append(append(end, PP_ASIDE), *from) + 1;
        } else {
            *to++ = *from;
        }
    }
    *to = NULL;
}

static int exists(const char *path)
{
    return call(__NR_faccessat, (uint64_t)AT_FDCWD, (uint64_t)path, 0, 0) == 0;
}

/* In *room*, the Python of the virtual environment that this file lies in; 0 if it lies in none. */
static int find_environment(char *room)
{
    int64_t size = call(__NR_readlinkat, (uint64_t)AT_FDCWD, (uint64_t) "/proc/self/exe",
                        (uint64_t)room, PATH_SIZE - 32);
    char *last = NULL, *before = NULL; /* slashes in it */
    for (int64_t i = 0; i < size; i++)
        if (room[i] == '/') {
            before = last;
            last = room + i;
        }
    if (!before)
        return 0;
    append(before, "/pyvenv.cfg");
    int found = exists(room);
    append(append(before, "/bin"), "/python3");
    return found && exists(room);
}

static void fail(const char *python, int64_t error)
{
    char line[PATH_SIZE + 128], digits[24], *digit = digits + sizeof digits - 1;
    *digit = 0;
    for (int64_t left = -error; left > 0; left /= 10)
        *--digit = (char)('0' + left % 10);
    char *end = append(append(append(line, "pyparrot: "), python), ": can't be run: error ");
    end = append(append(end, digit), " (install pyparrot again)\n");
    call(__NR_write, 2, (uint64_t)line, (uint64_t)(end - line), 0);
}

/* End with a line if Python can't start within a limit: it would end with many. */
static void check_limit(uint64_t resource, uint64_t least, const char *message)
{
    struct rlimit64 limit;
    if (call(__NR_prlimit64, 0, resource, 0, (uint64_t)&limit) || limit.rlim_cur >= least)
        return;
    call(__NR_write, 2, (uint64_t)message, length(message), 0);
    call(__NR_exit_group, 125, 0, 0, 0);
}

/* Become Python; gives an error number, negative, if that has failed. */
static int64_t run_python(char *python, uint64_t count, char **arguments, char **environment)
{
    size_t size = (count + 3) * sizeof(char *) + 2 * sizeof(char *) + sizeof(PP_LAUNCHED) + 17;
    for (char **each = environment; *each; each++)
        size += sizeof(char *) + sizeof(PP_ASIDE) + length(*each) + 1;
    int64_t memory = pp_system_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
    if (memory < 0 && memory > -PATH_SIZE)
        return memory;
    char **words = (char **)memory, **next = words;
    *next++ = python;
    *next++ = "-c";
    *next++ = PP_CODE;
    for (uint64_t i = 1; i < count; i++)
        *next++ = arguments[i];
    *next++ = NULL;
    char **variables = next;
    for (char **each = environment; *each; each++)
        next++;
    set_aside(variables, environment, (char *)(next + 2));
    return call(__NR_execve, (uint64_t)python, (uint64_t)words, (uint64_t)variables, 0);
}

void pp_start(uint64_t *stack)
{
    uint64_t count = stack[0];
    char **arguments = (char **)(stack + 1), room[PATH_SIZE];
    check_limit(RLIMIT_NOFILE, DESCRIPTORS_LEAST,
                "pyparrot: system: too few open files are allowed (ulimit -n: at least 8)\n");
    check_limit(RLIMIT_STACK, STACK_LEAST,
                "pyparrot: system: the stack is limited too much (ulimit -s: at least 256)\n");
    check_limit(RLIMIT_DATA, DATA_LEAST,
                "pyparrot: system: memory is limited too much (ulimit -d: at least 16384)\n");
    check_limit(RLIMIT_AS, ADDRESSES_LEAST,
                "pyparrot: system: memory is limited too much (ulimit -v: at least 32768)\n");
    char *python = find_environment(room) ? room : PP_PYTHON;
    fail(python, run_python(python, count, arguments, arguments + count + 1));
    call(__NR_exit_group, 125, 0, 0, 0);
}
