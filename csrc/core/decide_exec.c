/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * execve: which file the kernel is to run. The rules are those of decide.h.
 *
 * Scripts are taken apart as the kernel's load_script does, because script and interpreter may each
 * be virtual or real. A program whose ELF interpreter is virtual runs from a copy that names the
 * interpreter's view instead. Set-id bits have no effect, since views are the user's own files.
 */
#include <linux/elf.h>
#include <linux/fcntl.h>

#include "core/deciders.h"

#define HEADERS_MAX 128u
#define BLANK(c) ((c) == ' ' || (c) == '\t')

/* The command line so far */

/* Put a word before those that are there; -1 if there is no room. */
static int put_first(struct pp_exec *exec, const char *word, size_t length)
{
    if (exec->size + length + 1 > sizeof exec->text)
        return -1;
    __builtin_memmove(exec->text + length + 1, exec->text, exec->size);
    __builtin_memcpy(exec->text, word, length);
    exec->text[length] = 0;
    exec->size += (uint32_t)length + 1;
    exec->words++;
    return 0;
}

/* Scripts */

/* Take the first line of a script apart. `*argument` is NULL if it has none; 0, or -ENOEXEC. */
static int parse_script(char *head, size_t size, char **interpreter, char **argument)
{
    size_t end = 2;
    while (end < size && head[end] && head[end] != '\n')
        end++;
    const int cut = end == PP_SHEBANG_MAX; /* the kernel's own buffer has room for a NUL */
    if (cut)
        end--;
    size_t start = 2;
    while (start < end && BLANK(head[start]))
        start++;
    size_t stop = start;
    while (stop < end && !BLANK(head[stop]))
        stop++;
    /* A name that is cut off would be another name; an argument may be. */
    if (stop == start || (stop == end && cut))
        return -ENOEXEC;
    while (end > stop && BLANK(head[end - 1]))
        end--;
    *interpreter = head + start;
    *argument = NULL;
    size_t next = stop;
    while (next < end && BLANK(head[next]))
        next++;
    if (next < end)
        *argument = head + next;
    head[stop] = 0;
    head[end] = 0;
    return 0;
}

/* ELF */

/* The path of the program's interpreter, into `output`: 0 if it has one. */
static int find_interpreter(struct pp_call *call, const char *file, int real, const void *head,
                            size_t head_size, char *output)
{
    const struct pp_task_operations *task = call->task->operations;
    Elf64_Ehdr header;
    Elf64_Phdr segments[HEADERS_MAX];

    if (head_size < sizeof header)
        return -1;
    __builtin_memcpy(&header, head, sizeof header);
    if (__builtin_memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof segments[0] ||
        header.e_phnum == 0 || header.e_phnum > HEADERS_MAX)
        return -1;
    const size_t size = header.e_phnum * sizeof segments[0];
    if (task->read_file(call->task, file, real, header.e_phoff, segments, size) != (int64_t)size)
        return -1;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (segments[i].p_type != PT_INTERP)
            continue;
        const uint64_t length = segments[i].p_filesz;
        if (length < 2 || length > PP_PATH_MAX ||
            task->read_file(call->task, file, real, segments[i].p_offset, output, length) !=
                (int64_t)length ||
            output[length - 1] != 0)
            return -1;
        return 0;
    }
    return -1;
}

/* The copy of the program in `call->file` that has the interpreter's view, in the same place. */
static enum pp_action use_copy(struct pp_call *call, struct pp_place *program,
                               struct pp_place *interpreter, enum pp_action action)
{
    const struct pp_namespace *space = call->space;
    char *copy = call->program.copy;
    const size_t capacity = sizeof call->program.copy;
    const int is_virtual = program->where == PP_VIRTUAL;
    const char *name = is_virtual ? pp_mount_view(program->mount) : "real";
    const char *path = is_virtual ? program->walk.path : program->path;
    size_t length = 0;
    char byte;

    if (pp_append(copy, capacity, &length, space->views, space->views_length) ||
        pp_append(copy, capacity, &length, "/", 1) ||
        pp_append(copy, capacity, &length, name, pp_length(name)) ||
        pp_append(copy, capacity, &length, PP_PROGRAM_SUFFIX, sizeof PP_PROGRAM_SUFFIX - 1) ||
        pp_append(copy, capacity, &length, path, pp_length(path)))
        return pp_return(call, -ENAMETOOLONG);
    if (call->task->operations->read_file(call->task, copy, 0, 0, &byte, 1) < 1) {
        /* What makes the copy finds all three paths: `file`, and those in `program`. */
        if (pp_view_path(call, interpreter, call->program.interpreter,
                         sizeof call->program.interpreter) < 0)
            return pp_return(call, -ENAMETOOLONG);
        return pp_ask(call, interpreter, PP_NEEDS_PROGRAM);
    }
    __builtin_memcpy(call->file, copy, length + 1);
    return action;
}

/* Make given[0] the name that the program was started by: the kernel has one for what a descriptor
 * is, too. It stays as it is if there is no room. */
static void name_program(struct pp_call *call, const struct pp_spec *spec)
{
    const int descriptor = pp_descriptor(call, spec);
    char *given = call->given[0], digits[12];
    const size_t kept = pp_length(given);
    size_t length = 0, first = sizeof digits;

    if (given[0] == '/' || descriptor == PP_CWD)
        return;
    for (int rest = descriptor; rest > 0 || first == sizeof digits; rest /= 10)
        digits[--first] = (char)('0' + rest % 10);
    if (pp_append(call->buffer, PP_PATH_MAX, &length, "/dev/fd/", 8) ||
        pp_append(call->buffer, PP_PATH_MAX, &length, digits + first, sizeof digits - first) ||
        (kept > 0 && (pp_append(call->buffer, PP_PATH_MAX, &length, "/", 1) ||
                      pp_append(call->buffer, PP_PATH_MAX, &length, given, kept))))
        return;
    __builtin_memcpy(given, call->buffer, length + 1);
}

/* Why a virtual file can't be run: -errno, or 0. */
static int64_t refusal(const struct pp_place *place)
{
    if (place->where != PP_VIRTUAL)
        return 0;
    if (pp_type(place) == PP_TYPE_SYMLINK)
        return -ELOOP;
    if (pp_type(place) != PP_TYPE_REGULAR || !(place->walk.record->mode & PP_ANY_EXECUTE))
        return -EACCES;
    return 0;
}

static int is_settled(const struct pp_place *place)
{
    return place->where == PP_FAILED || place->where == PP_MISSING;
}

/* The other of the two places: a script and its interpreter take turns. */
static struct pp_place *other_place(struct pp_call *call, const struct pp_place *place)
{
    return place == &call->places[0] ? &call->places[1] : &call->places[0];
}

/* Write the file's name for the engine into `file`: a view's, or the real one; 0, or -errno. */
static int64_t name_file(struct pp_call *call, const struct pp_place *place)
{
    if (place->where == PP_VIRTUAL) {
        const int64_t length = pp_view_path(call, place, call->file, sizeof call->file);
        return length < 0 ? length : 0;
    }
    __builtin_memcpy(call->file, place->path, pp_length(place->path) + 1);
    return 0;
}

/* The program in `file`, of which `head` was read, is no script. `action` is what to do if nothing
 * is to be changed because of its ELF interpreter. */
static enum pp_action run_binary(struct pp_call *call, struct pp_place *place, const char *head,
                                 size_t size, enum pp_action action)
{
    struct pp_place *loader = other_place(call, place);
    char *path = call->program.loader;

    if (find_interpreter(call, call->file, place->where != PP_VIRTUAL, head, size, path))
        return action;
    pp_resolve(loader, call->space, call->task, PP_CWD, path, 0);
    if (is_settled(loader))
        return pp_settle(call, loader, PP_NONE);
    if (loader->where == PP_VIRTUAL)
        return use_copy(call, place, loader, PP_EXEC);
    call->exec.loader = path;
    return action;
}

/* The program is a script: put its first line before the words, and go on with the interpreter's
 * place. 0, or -1 if the call is settled by `*action`, which was what to do if nothing is changed.
 */
static int enter_script(struct pp_call *call, struct pp_place **place, char *head, size_t size,
                        unsigned depth, enum pp_action *action)
{
    struct pp_exec *exec = &call->exec;
    char *interpreter, *argument;

    const int error =
        depth < PP_SCRIPTS_MAX ? parse_script(head, size, &interpreter, &argument) : -ELOOP;
    if (error) {
        if (*action == PP_EXEC)
            *action = pp_return(call, error);
        return -1;
    }
    if ((depth == 0 && put_first(exec, exec->shown, pp_length(exec->shown))) ||
        (argument && put_first(exec, argument, pp_length(argument))) ||
        put_first(exec, interpreter, pp_length(interpreter))) {
        *action = pp_return(call, -ENAMETOOLONG);
        return -1;
    }
    *place = other_place(call, *place);
    pp_resolve(*place, call->space, call->task, PP_CWD, interpreter, 0);
    if (is_settled(*place)) {
        *action = pp_settle(call, *place, PP_NONE);
        return -1;
    }
    if ((*place)->where != PP_REAL)
        *action = PP_EXEC;
    return 0;
}

/* What exec gives for a file of which reading has given `error`: only a regular file can be run. */
static int64_t execution_error(int64_t error)
{
    return error == -EISDIR || error == -ESPIPE ? -EACCES : error;
}

/* Follow scripts to the program that the kernel is to run. */
static enum pp_action find_program(struct pp_call *call)
{
    struct pp_place *place = &call->places[0];
    /* As long as all is real the kernel can do it by itself. */
    enum pp_action action = place->where != PP_REAL ? PP_EXEC : PP_RUN;
    char head[PP_SHEBANG_MAX + 1];

    for (unsigned depth = 0;; depth++) {
        const int real = place->where != PP_VIRTUAL;
        int64_t error = refusal(place);
        if (!error)
            error = name_file(call, place);
        if (error)
            return pp_return(call, error);
        const int64_t size = call->task->operations->read_file(call->task, call->file, real, 0,
                                                               head, PP_SHEBANG_MAX);
        if (size == -ENOENT && !real)
            return pp_ask(call, place, PP_NEEDS_VIEW);
        if (size == -EACCES && real) /* it takes no right to read to run something */
            return action;
        if (size < 0)
            return action == PP_RUN ? PP_RUN : pp_return(call, execution_error(size));
        if (size < 2 || head[0] != '#' || head[1] != '!')
            return run_binary(call, place, head, (size_t)size, action);
        head[size] = 0;
        if (enter_script(call, &place, head, (size_t)size, depth, &action))
            return action;
    }
}

enum pp_action pp_decide_exec(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const struct pp_place *place = &call->places[0];

    if (pp_has_other_flags(call, spec, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return PP_RUN;
    if (pp_resolve_call(call, spec, &action) && (action == PP_ASK || action == PP_RETURN))
        return action;
    if (place->path[0] != '/' && place->where != PP_VIRTUAL)
        return PP_RUN; /* no path at all, or no way to know */
    call->change_count = 0;
    call->exec.words = call->exec.size = 0;
    call->exec.loader = NULL;
    name_program(call, spec);
    call->exec.shown = call->given[0];
    return find_program(call);
}
