/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes random system calls, and prints a line for each: run natively and in a run, by calls.py.
 *
 *     calls FIRST COUNT STEPS WORDS PLACE...
 *
 * For each of COUNT seeds from FIRST on, STEPS calls are made in a process of its own; all choices
 * follow from the seed and from what earlier calls gave. WORDS is a file of paths, each with the
 * number of the place that it is in (a digit) before it and a NUL behind.
 * The first place is the directory that calls may change; before each seed it is filled from the
 * directory beside it whose name has ".new" at the end. A working directory outside of all places
 * is left at once for the second.
 *
 * What need not be equal is not printed: inodes and devices are numbered as they come, directories
 * have no size, times of access and all that is recent count for nothing, names are sorted.
 */
#include "calls.h"

#define PLACES_MAX 16
#define WORDS_MAX 8192

static const char *places[PLACES_MAX], *words[WORDS_MAX];
static int place_count, word_count;

/* Choices (splitmix64) */

static uint64_t state;

uint64_t roll(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

unsigned below(unsigned end)
{
    return (unsigned)(roll() % end);
}

int once_in(unsigned times)
{
    return below(times) == 0;
}

/* Paths */

static const char *component(void)
{
    static const char *const usual[] = {
        ".",     "..",   "",         "...",   "file",   "dir",  "sub",        "absent",
        "link",  "loop", "dangling", "inner", "nested", "many", "entry-0042", "new",
        "other", "out",  "back",     "up",    "self",   "fd",   "emptydir"};
    if (once_in(3))
        return usual[below(sizeof usual / sizeof usual[0])];
    const char *word = words[below((unsigned)word_count)] + 1, *slash = strrchr(word, '/');
    return slash ? slash + 1 : word;
}

static void append(char *path, const char *text)
{
    const size_t length = strlen(path);
    snprintf(path + length, PATH_SIZE - length, "%s", text);
}

static void long_path(char *path)
{
    if (once_in(2)) { /* a long name */
        const size_t length = strlen(path), wanted = 250 + below(10);
        memset(path + length, 'x', wanted);
        path[length + wanted] = 0;
        return;
    }
    const size_t wanted = 4090 + below(12); /* PATH_MAX is 4096, with the NUL */
    while (strlen(path) < wanted)
        append(path, strlen(path) % 2 ? "/" : ".");
}

static void append_special(char *path)
{
    static const char *const special[] = {
        "/proc/self/cwd", "/proc/self/exe", "/proc/self/root",  "/",
        "/etc/passwd",    "/etc",           "/proc/self/cwd/.."};
    const unsigned kind = below(14);
    const size_t length = strlen(path);
    if (kind < 7)
        append(path, special[kind]);
    else
        snprintf(path + length, PATH_SIZE - length,
                 kind < 10   ? "/proc/self/fd/%u"
                 : kind < 12 ? "/dev/fd/%u"
                             : "/proc/thread-self/fd/%u",
                 3 + below(12));
}

/* A path: from a place or from the working directory, somewhere, with something odd in it. */
const char *any_path(void)
{
    static char path[PATH_SIZE];
    path[0] = 0;
    if (once_in(60))
        return once_in(2) ? NULL : (const char *)0x8000000000000000u;
    if (once_in(40))
        return "";
    const char *word = words[below((unsigned)word_count)];
    if (once_in(20))
        append_special(path);
    else if (once_in(4))
        append(path, places[below((unsigned)place_count)]);
    else if (once_in(2))
        append(path, places[word[0] - '0']);
    if (once_in(6))
        return path[0] ? path : ".";
    if (path[0])
        append(path, once_in(8) ? "//" : "/");
    append(path, path[0] || once_in(2) ? word + 1 : component());
    while (once_in(4)) {
        append(path, once_in(6) ? "//" : "/");
        append(path, component());
    }
    if (once_in(60))
        long_path(path);
    if (once_in(8))
        append(path, once_in(4) ? "/." : "/");
    return path;
}

/* One that can be changed, if any: in the first place. */
const char *changed_path(void)
{
    static char path[PATH_SIZE];
    if (once_in(2))
        return any_path();
    const char *directory = once_in(3) ? "/dir" : "";
    snprintf(path, sizeof path, "%s%s/%s", places[0], directory, component());
    return path;
}

const char *safe_place(void)
{
    return places[1];
}

int is_inside(const char *path)
{
    for (int i = 0; i < place_count; i++)
        if (strncmp(path, places[i], strlen(places[i])) == 0)
            return 1;
    return 0;
}

/* Descriptors: small numbers, most of them open; AT_FDCWD; what is none at all. */

int any_descriptor(void)
{
    if (once_in(12))
        return -1 - (int)below(300);
    int descriptor = 3 + (int)below(DESCRIPTORS);
    for (int i = 0; i < 20 && fcntl(descriptor, F_GETFD) < 0; i++)
        descriptor = 3 + (int)below(DESCRIPTORS);
    return descriptor;
}

int any_directory(void)
{
    return once_in(2) ? AT_FDCWD : any_descriptor();
}

/* As the kernel gets it: of what is an int only the lower half counts. */
long wide(int value)
{
    return once_in(6) ? (long)(uint32_t)value | (long)(roll() << 32) : value;
}

unsigned any_of(const unsigned *flags, unsigned count, unsigned chance)
{
    unsigned chosen = 0;
    for (unsigned i = 0; i < count; i++)
        if (once_in(chance))
            chosen |= flags[i];
    return once_in(80) ? chosen | 1u << below(32) : chosen;
}

/* Or is a link that does. */
int ends_with_slash(const char *path)
{
    const size_t length = strlen(path);
    return (length && path[length - 1] == '/') ||
           (length > 4 && strcmp(path + length - 5, "slash") == 0);
}

/* Where a result goes: usually to memory. */
void *any_memory(void *memory)
{
    if (once_in(60))
        return once_in(2) ? NULL : (void *)0x8000000000000000u;
    return memory;
}

unsigned any_size(unsigned usual)
{
    return once_in(3) ? below(usual) : once_in(30) ? 0 : usual;
}

/* Output */

static char line[PATH_SIZE * 4];
static size_t line_length;
static unsigned step;

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line + line_length, sizeof line - line_length, format, arguments);
    va_end(arguments);
    line_length += (size_t)length;
    if (line_length >= sizeof line)
        line_length = sizeof line - 1;
}

void say_path(const char *path)
{
    if ((uintptr_t)path < 4096 || (intptr_t)path < 0) {
        say("%p", (const void *)path);
        return;
    }
    say("\"");
    const size_t length = strlen(path);
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)path[i];
        if (length > 600 && i == 200)
            say("<%zu more>", length - 400), i = length - 200;
        else if (c < ' ' || c > '~' || c == '"' || c == '\\')
            say("\\x%02x", c);
        else
            say("%c", c);
    }
    say("\"");
}

void say_text(const char *text, long size)
{
    char shown[PATH_SIZE];
    int length;
    memcpy(shown, text, (size_t)size);
    shown[size] = 0;
    /* Numbers of processes differ from run to run. */
    if (sscanf(shown, "/proc/%*d%n", &length) == 0 && strncmp(shown, "/proc/", 6) == 0 &&
        shown[6] <= '9')
        memmove(shown + 6, shown + length, strlen(shown + length) + 1);
    say(" ");
    say_path(shown);
}

/* A result: a number, or an error's name. Gives whether the call was successful. */
int say_result(long result)
{
    if (result == -1)
        say(" = %s", strerrorname_np(errno) ? strerrorname_np(errno) : "?");
    else
        say(" = %ld", result);
    return result != -1;
}

void end_line(void)
{
    line[line_length++] = '\n';
    for (size_t done = 0; done < line_length;) {
        const ssize_t size = write(1, line + done, line_length - done);
        if (size <= 0)
            _exit(98);
        done += (size_t)size;
    }
    line_length = 0;
}

int is_of_proc(uint64_t device)
{
    static uint64_t of_proc;
    struct stat status;
    if (!of_proc)
        of_proc = stat("/proc", &status) ? 0 : status.st_dev;
    return device == of_proc;
}

/* What is equal if it is the same file: its number in the order in which files were met. What is in
 * /proc gets another inode whenever it is made anew. */
unsigned number_of(uint64_t device, uint64_t inode)
{
    static struct {
        uint64_t device, inode;
    } met[65536];
    static unsigned count;
    if (is_of_proc(device))
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (met[i].inode == inode && met[i].device == device)
            return i + 1;
    if (count < sizeof met / sizeof met[0])
        met[count].device = device, met[count++].inode = inode;
    return count;
}

/* Calls */

static void make_call(void)
{
    static void (*const calls[])(void) = {
        call_stat,    call_stat,       call_stat,     call_stat,   call_statx,
        call_fstat,   call_statfs,     call_access,   call_access, call_readlink,
        call_getcwd,  call_xattr,      call_open,     call_open,   call_open,
        call_open,    call_descriptor, call_seek,     call_list,   call_list,
        call_opendir, call_chdir,      call_realpath, call_change, call_change,
    };
    if (once_in(40))
        call_exec();
    else
        calls[below(sizeof calls / sizeof calls[0])]();
}

/* Seeds */

static void make_steps(unsigned count);

/* A child makes the next calls, or a thread does. */
static void *make_steps_in_thread(void *count)
{
    make_steps((unsigned)(uintptr_t)count);
    return NULL;
}

static void go_on_elsewhere(void)
{
    const unsigned count = 1 + below(20);
    int status;
    if (once_in(3)) {
        pthread_t thread;
        say("a thread");
        end_line();
        pthread_create(&thread, NULL, make_steps_in_thread, (void *)(uintptr_t)count);
        pthread_join(thread, NULL);
        return;
    }
    say("fork");
    end_line();
    const pid_t child = fork();
    if (child == 0) {
        make_steps(count);
        _exit(0);
    }
    waitpid(child, &status, 0);
    roll();
    say("the child ended with %#x", (unsigned)status);
    end_line();
}

static void make_steps(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        say("%u ", ++step);
        if (once_in(100))
            go_on_elsewhere();
        else {
            make_call();
            end_line();
        }
    }
}

static void run_seed(uint64_t seed, unsigned steps)
{
    state = seed * 0xd1342543de82ef95u + 1;
    for (int i = 0; i < 4; i++)
        roll();
    alarm(20);
    umask(022);
    if (chdir(places[below((unsigned)place_count)]))
        _exit(97);
    make_steps(steps);
    _exit(0);
}

static void refill(const char *program)
{
    char command[8192];
    chmod(program, 0755); /* the calls may have reached it, through /proc/self/exe */
    snprintf(command, sizeof command,
             "cd / && chmod -R u+rwX '%s' && find '%s' -mindepth 1 -delete &&"
             " cp -a '%s.new/.' '%s' && chmod 0 '%s/noaccess' '%s/locked'",
             places[0], places[0], places[0], places[0], places[0], places[0]);
    if (system(command)) {
        fprintf(stderr, "calls: could not fill %s\n", places[0]);
        exit(96);
    }
    removexattr(places[0], "user.one"), removexattr(places[0], "user.second");
    removexattr(places[0], "user.directory"), removexattr(places[0], "user.absent");
}

static void read_words(const char *file)
{
    static char text[1 << 20];
    const int descriptor = open(file, O_RDONLY);
    const ssize_t size = read(descriptor, text, sizeof text - 1);
    if (size <= 0) {
        perror(file);
        exit(95);
    }
    close(descriptor);
    for (char *word = text; word < text + size && word_count < WORDS_MAX; word += strlen(word) + 1)
        words[word_count++] = word;
}

int main(int count, char **arguments)
{
    if (count < 6 || count - 5 > PLACES_MAX)
        return 64;
    const uint64_t first = strtoull(arguments[1], NULL, 0),
                   end = first + strtoull(arguments[2], NULL, 0);
    read_words(arguments[4]);
    for (int i = 5; i < count; i++)
        places[place_count++] = arguments[i];
    for (uint64_t seed = first; seed < end; seed++) {
        int status;
        refill(arguments[0]);
        say("seed %llu", (unsigned long long)seed);
        end_line();
        const pid_t child = fork();
        if (child == 0)
            run_seed(seed, (unsigned)atoi(arguments[3]));
        waitpid(child, &status, 0);
        say("end %#x", (unsigned)status);
        end_line();
    }
    return 0;
}
