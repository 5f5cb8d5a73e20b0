/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes the system calls that a script asks for, and prints what came of them; see program.py.
 *
 *     steps SCRIPT
 *
 * A line of the script is a case: steps between ";". A step is "VARIABLE CALL ARGUMENT...", where
 * the variable is a number (-1: none) that later steps may use, and the call is a number, or
 * "!NAME" for one of the few things below that are more than a system call. Arguments: n123  a
 * number     v3  a variable     sHEX  a string, with a NUL     uHEX  one without, at the end of the
 * memory that can be read     oSIZE  memory for a result, all of which is printed     bSIZE  the
 * same, of which as much is printed as the call returns     xSIZE  the same, of which a struct
 * xattr_args tells     rSIZE  memory that can't be written, printed nowhere. A case runs in a
 * process of its own. Its line of output has for each step the result
 * (-errno if it failed), and ":" and hex digits for each result in memory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 6
#define VARIABLES_MAX 32
#define WORDS_MAX 4200
#define CASE_SECONDS 20
#define SIZE_OF_PAGE 4096u

static void die(const char *what)
{
    fprintf(stderr, "steps: %s: %s\n", what, strerror(errno));
    exit(99);
}

/* Memory for arguments */

/* `size` bytes that end where memory that can't be touched begins. */
static char *guarded(size_t size)
{
    const size_t pages = (size + SIZE_OF_PAGE - 1) / SIZE_OF_PAGE + 1;
    char *memory = mmap(NULL, pages * SIZE_OF_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    char *end = memory + (pages - 1) * SIZE_OF_PAGE;
    mprotect(end, SIZE_OF_PAGE, PROT_NONE);
    return end - size;
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static char *from_hex(const char *hex, int with_nul)
{
    const size_t length = strlen(hex) / 2;
    char *text = guarded(length + (size_t)with_nul);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    if (with_nul)
        text[length] = 0;
    return text;
}

/* Output */

static char output[1 << 20];
static size_t output_length;

static void put(char c)
{
    if (output_length < sizeof output)
        output[output_length++] = c;
}

static void put_result(int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, " %lld", (long long)value);
    for (const char *c = text; *c; c++)
        put(*c);
}

static void put_bytes(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    put(':');
    for (size_t i = 0; i < size; i++) {
        put("0123456789abcdef"[bytes[i] >> 4]);
        put("0123456789abcdef"[bytes[i] & 15]);
    }
}

static void flush(void)
{
    size_t done = 0;
    while (done < output_length) {
        const ssize_t size = write(1, output + done, output_length - done);
        if (size < 0)
            _exit(98);
        done += (size_t)size;
    }
    output_length = 0;
}

/* What is more than a system call. Each gets the words behind its name. */

struct words {
    int count;
    char *word[WORDS_MAX];
};

static pid_t parent_of_cases;
static int64_t variables[VARIABLES_MAX];

static int64_t number_of(const char *word)
{
    if (word[0] == 'v')
        return variables[atoi(word + 1)];
    return strtoll(word + 1, NULL, 0);
}

static int64_t result_of(int64_t value)
{
    return value < 0 ? -errno : value;
}

/* Read a whole directory in pieces: fd, size of a piece, the call. */
static void list(const struct words *words)
{
    static char all[1 << 19];
    size_t length = 0;
    long size;

    const size_t piece = (size_t)number_of(words->word[1]);
    char *buffer = guarded(piece);
    while ((size = syscall(number_of(words->word[2]), (int)number_of(words->word[0]), buffer,
                           piece)) > 0 &&
           length + (size_t)size <= sizeof all) {
        memcpy(all + length, buffer, (size_t)size);
        length += (size_t)size;
    }
    put_result(result_of(size));
    put_bytes(all, length);
}

/* How many entries of a directory tell another inode or type than stat does. */
static void compare_entries(const struct words *words)
{
    int64_t wrong = 0, all = 0;
    DIR *directory = fdopendir((int)number_of(words->word[0]));
    if (!directory)
        return put_result(-errno);
    for (struct dirent *entry; (entry = readdir(directory)); all++) {
        struct stat status;
        if (strcmp(entry->d_name, "..") == 0)
            continue; /* above a mount point it is another file system's */
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) ||
            status.st_ino != entry->d_ino || IFTODT(status.st_mode) != entry->d_type)
            wrong++;
    }
    closedir(directory);
    put_result(all > 2 ? wrong : -ENOENT);
}

/* Go back to each entry by its d_off: the rest has to be the same again. Gives how many are not. */
static void go_back(const struct words *words)
{
    static char buffer[1 << 16];
    const int directory = (int)number_of(words->word[0]);
    int64_t wrong = 0;
    struct {
        int64_t offset;
        char name[256];
    } seen[64];
    int count = 0;

    for (long size; (size = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0;)
        for (long at = 0; at < size && count < 64; count++) {
            const char *entry = buffer + at;
            memcpy(&seen[count].offset, entry + 8, 8);
            strcpy(seen[count].name, entry + 19);
            uint16_t step;
            memcpy(&step, entry + 16, 2);
            at += step;
        }
    for (int i = 0; i < count; i++) {
        if (lseek(directory, seen[i].offset, SEEK_SET) != seen[i].offset)
            wrong++;
        const long size = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
        if (i + 1 < count ? size <= 0 || strcmp(buffer + 19, seen[i + 1].name) != 0 : size != 0)
            wrong++;
    }
    lseek(directory, 0, SEEK_SET);
    if (syscall(SYS_getdents64, directory, buffer, sizeof buffer) <= 0 ||
        strcmp(buffer + 19, seen[0].name) != 0)
        wrong++;
    put_result(count > 3 ? wrong : -ENOENT);
}

/* Whether two paths name the same file. */
static void same(const struct words *words)
{
    struct stat first, second;
    if (lstat(from_hex(words->word[0] + 1, 1), &first) ||
        lstat(from_hex(words->word[1] + 1, 1), &second))
        return put_result(-errno);
    put_result(first.st_ino == second.st_ino && first.st_dev == second.st_dev);
}

/* Map a file and print `size` bytes of it. */
static void map(const struct words *words)
{
    const size_t size = (size_t)number_of(words->word[1]);
    const char *memory = mmap(NULL, size, (int)number_of(words->word[2]),
                              (int)number_of(words->word[3]), (int)number_of(words->word[0]), 0);
    if (memory == MAP_FAILED)
        return put_result(-errno);
    put_result(0);
    put_bytes(memory, size);
}

/* Send a descriptor through a socket, and close it: another number for the same open file. */
static int64_t pass(const struct words *words)
{
    int pair[2], descriptor = (int)number_of(words->word[0]);
    char byte = 'x', control[CMSG_SPACE(sizeof descriptor)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        die("socketpair");
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(sizeof descriptor), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    if (sendmsg(pair[0], &message, 0) != 1)
        return -errno;
    close(descriptor);
    if (recvmsg(pair[1], &message, 0) != 1)
        return -errno;
    memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
    return descriptor;
}

/* Run programs: how, fd, path, flags, words. The call is execveat if there are fd or flags. */

struct exec {
    int descriptor, flags, report;
    char *path, **arguments;
};

static char *const environment[] = {"LANG=C", "MARK=here", NULL};

static void *do_exec(void *exec_pointer)
{
    const struct exec *exec = exec_pointer;
    if (exec->descriptor == AT_FDCWD && exec->flags == 0)
        syscall(SYS_execve, exec->path, exec->arguments, environment);
    else
        syscall(SYS_execveat, exec->descriptor, exec->path, exec->arguments, environment,
                exec->flags);
    const int error = errno;
    if (write(exec->report, &error, sizeof error) < 0)
        _exit(97);
    _exit(127);
}

static pid_t start(const char *how, struct exec *exec, int to)
{
    pid_t child = 0;
    if (strcmp(how, "spawn") == 0) {
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, to, 1);
        const int error =
            posix_spawn(&child, exec->path, &actions, NULL, exec->arguments, environment);
        if (error && write(exec->report, &error, sizeof error) < 0)
            die("report");
        return error ? 0 : child;
    }
    if (strcmp(how, "vfork") == 0)
        child = vfork();
    else if (strcmp(how, "clone3") == 0) {
        struct {
            uint64_t flags, pidfd, child_tid, parent_tid, signal, rest[3];
        } arguments = {.signal = SIGCHLD};
        child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    } else
        child = fork();
    if (child)
        return child;
    dup2(to, 1);
    if (strcmp(how, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, do_exec, exec);
        pause();
    }
    do_exec(exec);
    return 0;
}

static void run(const struct words *words)
{
    static char said[1 << 18];
    size_t length = 0;
    int from[2], report[2], error, status = 0;
    char *arguments[WORDS_MAX] = {0};
    struct exec exec = {(int)number_of(words->word[1]), (int)number_of(words->word[3]), 0,
                        words->word[2][0] == 's' ? from_hex(words->word[2] + 1, 1)
                                                 : (char *)number_of(words->word[2]),
                        arguments};

    for (int i = 4; i < words->count; i++)
        arguments[i - 4] = from_hex(words->word[i] + 1, 1);
    if (pipe2(from, O_CLOEXEC) || pipe2(report, O_CLOEXEC))
        die("pipe");
    exec.report = report[1];
    const pid_t child = start(words->word[0], &exec, from[1]);
    close(from[1]);
    close(report[1]);
    for (ssize_t size; (size = read(from[0], said + length, sizeof said - length)) > 0;)
        length += (size_t)size;
    if (child > 0)
        waitpid(child, &status, 0);
    if (read(report[0], &error, sizeof error) == sizeof error)
        put_result(-error);
    else
        put_result(status);
    put_bytes(said, length);
    close(from[0]);
    close(report[0]);
}

/* Steps */

static char *rest_of_case;

static void run_steps(void);

static void *run_steps_in_thread(void *unused)
{
    run_steps();
    return unused;
}

/* The steps that follow run in a child, or in another thread. */
static void go_on_elsewhere(int in_thread)
{
    if (in_thread) {
        pthread_t thread;
        pthread_create(&thread, NULL, run_steps_in_thread, NULL);
        pthread_join(thread, NULL);
        return;
    }
    flush();
    const pid_t child = fork();
    if (child == 0) {
        run_steps();
        flush();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    *rest_of_case = 0;
}

static int64_t run_special(const char *name, const struct words *words)
{
    if (strcmp(name, "pass") == 0) {
        const int64_t descriptor = pass(words);
        put_result(descriptor);
        return descriptor;
    }
    if (strcmp(name, "list") == 0)
        list(words);
    else if (strcmp(name, "entries") == 0)
        compare_entries(words);
    else if (strcmp(name, "back") == 0)
        go_back(words);
    else if (strcmp(name, "same") == 0)
        same(words);
    else if (strcmp(name, "map") == 0)
        map(words);
    else if (strcmp(name, "run") == 0)
        run(words);
    else if (strcmp(name, "fork") == 0 || strcmp(name, "thread") == 0)
        go_on_elsewhere(name[0] == 't');
    else {
        errno = EINVAL;
        die(name);
    }
    return 0;
}

/* As in linux/xattr.h, since 6.13. */
struct xattr_args {
    uint64_t value;
    uint32_t size;
    uint32_t flags;
};

static int64_t run_call(int64_t number, const struct words *words)
{
    uint64_t arguments[ARGUMENTS_MAX] = {0};
    struct {
        const char *memory;
        size_t size;
        int counted;
    } results[ARGUMENTS_MAX];
    int count = 0;

    for (int i = 0; i < words->count && i < ARGUMENTS_MAX; i++) {
        const char *word = words->word[i];
        const size_t size = (size_t)strtoull(word + 1, NULL, 0);
        if (word[0] == 's' || word[0] == 'u') {
            arguments[i] = (uint64_t)from_hex(word + 1, word[0] == 's');
        } else if (word[0] == 'o' || word[0] == 'b' || word[0] == 'x') {
            char *memory = guarded(size);
            memset(memory, 0xa5, size);
            arguments[i] = (uint64_t)memory;
            if (word[0] == 'x') {
                struct xattr_args *args = (void *)guarded(sizeof *args);
                *args = (struct xattr_args){(uint64_t)memory, (uint32_t)size, 0};
                arguments[i] = (uint64_t)args;
            }
            results[count].memory = memory;
            results[count].counted = word[0] != 'o';
            results[count++].size = size;
        } else if (word[0] == 'r') {
            char *memory = guarded(size);
            mprotect((char *)((uintptr_t)memory & ~(uintptr_t)(SIZE_OF_PAGE - 1)), SIZE_OF_PAGE,
                     PROT_READ);
            arguments[i] = (uint64_t)memory;
        } else {
            arguments[i] = (uint64_t)number_of(word);
        }
    }
    int64_t value = result_of(syscall(number, arguments[0], arguments[1], arguments[2],
                                      arguments[3], arguments[4], arguments[5]));
    if (number == SYS_getppid) /* another number each time: only whether it is this program's */
        value = value == parent_of_cases;
    put_result(value);
    for (int i = 0; i < count && value >= 0; i++)
        put_bytes(results[i].memory, results[i].counted && (size_t)value < results[i].size
                                         ? (size_t)value
                                         : results[i].size);
    return value;
}

static void run_steps(void)
{
    while (*rest_of_case) {
        struct words *words = calloc(1, sizeof *words);
        char *step = rest_of_case, *position;
        size_t length = strcspn(step, ";\n");
        rest_of_case = step + length + (step[length] != 0);
        step[length] = 0;
        const char *variable = strtok_r(step, " ", &position);
        const char *call = strtok_r(NULL, " ", &position);
        for (char *word; (word = strtok_r(NULL, " ", &position)) && words->count < WORDS_MAX;)
            words->word[words->count++] = word;
        const int64_t value =
            call[0] == '!' ? run_special(call + 1, words) : run_call(strtoll(call, NULL, 0), words);
        const int index = atoi(variable);
        if (index >= 0 && index < VARIABLES_MAX)
            variables[index] = value;
        free(words);
    }
}

static void run_case(char *line, long number)
{
    printf("%ld", number);
    fflush(stdout);
    parent_of_cases = getpid();
    const pid_t child = fork();
    if (child == 0) {
        alarm(CASE_SECONDS);
        umask(022);
        rest_of_case = line;
        run_steps();
        flush();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf(" signal %d", WTERMSIG(status));
    printf("\n");
    fflush(stdout);
}

int main(int count, char **words)
{
    char *line = NULL;
    size_t size = 0;
    long number = 0;

    if (count != 2)
        return 99;
    FILE *script = fopen(words[1], "re");
    if (!script)
        die(words[1]);
    if (chdir("/"))
        die("/");
    while (getline(&line, &size, script) > 0)
        run_case(line, number++);
    free(line);
    return 0;
}
