/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * execve: which file the kernel is to run. The rules are those of decide.h.
 *
 * Scripts are taken apart as the kernel's load_script does, because script and interpreter may each
 * be virtual or real. A program whose ELF interpreter is virtual runs from a copy that names the
 * interpreter's view instead. Set-id bits have no effect, since views are the user's own files.
 * Whether the task may run a real file, the kernel alone knows: if it is to run something else in
 * that file's place, the action says that it is to be asked first.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/view.h"

#define NANOSECONDS INT64_C(1000000000)
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

/* ELF */

/* Append a number to a text, in hexadecimal; -1 if it does not fit. */
static int append_number(char *text, size_t capacity, size_t *length, uint64_t number)
{
    char digits[16];
    size_t first = sizeof digits;

    do {
        digits[--first] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number > 0);
    return pp_append(text, capacity, length, digits + first, sizeof digits - first);
}

/* Append the name for all that the copy of a program depends on: the path of the interpreter's
 * view, and, of a real program, which file it is in which state; -1 if it does not fit. (What is in
 * a view's directory depends on the view's path alone.) */
static int append_state(struct pp_call *call, size_t *length, int is_virtual)
{
    const struct pp_program *program = &call->program;
    const struct pp_identity *identity = &program->image.identity;
    const uint64_t numbers[] = {identity->device, identity->inode, identity->size,
                                (uint64_t)identity->modified, (uint64_t)identity->changed};
    char *copy = call->program.copy;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !is_virtual; i++)
        if (append_number(copy, sizeof program->copy, length, numbers[i]) ||
            pp_append(copy, sizeof program->copy, length, "-", 1))
            return -1;
    return append_number(copy, sizeof program->copy, length,
                         pp_hash_name(program->interpreter, pp_length(program->interpreter)));
}

/* Write the path of the program's copy: 0, or -1 if it does not fit. */
static int name_copy(struct pp_call *call, const struct pp_place *program)
{
    const struct pp_namespace *space = call->space;
    char *copy = call->program.copy;
    const size_t capacity = sizeof call->program.copy;
    const int is_virtual = program->where == PP_VIRTUAL;
    const char *name = is_virtual ? pp_mount_view(program->mount) : "real";
    const char *path = is_virtual ? program->walk.path : program->path;
    size_t length = 0;

    return pp_append(copy, capacity, &length, space->views, space->views_length) ||
                   pp_append(copy, capacity, &length, "/", 1) ||
                   pp_append(copy, capacity, &length, name, pp_length(name)) ||
                   pp_append(copy, capacity, &length, PP_PROGRAM_SUFFIX "/",
                             sizeof PP_PROGRAM_SUFFIX) ||
                   append_state(call, &length, is_virtual) ||
                   pp_append(copy, capacity, &length, path, pp_length(path))
               ? -1
               : 0;
}

/* Whether the view of a place, which was looked at with this outcome, is what it was made as. */
static int is_intact(const struct pp_call *call, const struct pp_place *place,
                     const struct pp_image *image, int64_t error)
{
    const struct pp_view_status seen = {image->mode, image->identity.size,
                                        image->identity.modified / NANOSECONDS};
    return error == 0 && pp_view_is_intact(place->walk.record, seen, call->space->mark);
}

/* Whether an error says that a view is not there, or something else than a file in its place. */
static int is_spoilt(int64_t error)
{
    return error == 0 || error == -ENOENT || error == -ENOTDIR || error == -EACCES ||
           error == -ELOOP;
}

/* Write the path that the copy is to name for an interpreter: 0, -errno, or -ESTALE if its view has
 * to be made first. */
static int64_t find_view(struct pp_call *call, const struct pp_place *interpreter)
{
    struct pp_program *names = &call->program;

    if (interpreter->where == PP_MOVED) { /* a link in a repository leads to a real one */
        __builtin_memcpy(names->interpreter, interpreter->path, pp_length(interpreter->path) + 1);
        return 0;
    }
    int64_t error = refusal(interpreter);
    if (error)
        return error;
    error = pp_view_path(call, interpreter, names->interpreter, sizeof names->interpreter);
    if (error < 0)
        return error;
    error = call->task->operations->inspect(call->task, names->interpreter, 0, &names->other);
    if (is_intact(call, interpreter, &names->other, error))
        return 0;
    return is_spoilt(error) ? -ESTALE : error;
}

/* Let the copy of the program in `call->file` run that has the interpreter's view. */
static enum pp_action use_copy(struct pp_call *call, struct pp_place *program,
                               struct pp_place *interpreter)
{
    const struct pp_task_operations *task = call->task->operations;
    struct pp_program *names = &call->program;

    int64_t error = find_view(call, interpreter);
    if (error == -ESTALE)
        return pp_ask(call, interpreter, PP_NEEDS_VIEW);
    if (!error && name_copy(call, program))
        error = -ENAMETOOLONG;
    if (error)
        return pp_return(call, error);
    /* What makes the copy finds all three paths: `file`, and those in `program`. */
    error = task->inspect(call->task, names->copy, 0, &names->other);
    const int is_made =
        error == 0 &&
        pp_has_mark(names->other.identity.modified / NANOSECONDS, call->space->mark) &&
        names->other.kind == PP_IMAGE_INTERPRETED &&
        pp_equal(names->other.text, names->interpreter);
    if (!is_made)
        return is_spoilt(error) ? pp_ask(call, interpreter, PP_NEEDS_PROGRAM)
                                : pp_return(call, error);
    __builtin_memcpy(call->file, names->copy, pp_length(names->copy) + 1);
    return PP_EXEC;
}

/* The kernel will not look at the real file of this place, since something else runs: note that the
 * task has to be allowed to run it; -1 if there is no room. */
static int note_check(struct pp_call *call, const struct pp_place *place, unsigned depth)
{
    struct pp_exec *exec = &call->exec;
    const size_t size = pp_length(place->path) + 1;

    if (place->where == PP_VIRTUAL)
        return 0;
    if (depth == 0 && place->where == PP_REAL) {
        exec->checks_first = 1;
        return 0;
    }
    if (size > sizeof exec->checked - exec->checked_size)
        return -1;
    __builtin_memcpy(exec->checked + exec->checked_size, place->path, size);
    exec->checked_size += (uint32_t)size;
    return 0;
}

/* The program in `file`, which was inspected, is no script. `action` is what to do if nothing is to
 * be changed because of its ELF interpreter. */
static enum pp_action run_binary(struct pp_call *call, struct pp_place *place, unsigned depth,
                                 enum pp_action action)
{
    struct pp_place *loader = other_place(call, place);
    const struct pp_image *image = &call->program.image;

    if (image->kind != PP_IMAGE_INTERPRETED)
        return action;
    pp_resolve(loader, call->space, call->task, PP_CWD, image->text, 0);
    if (loader->where != PP_REAL && note_check(call, place, depth))
        return pp_return(call, -ENAMETOOLONG);
    if (is_settled(loader))
        return pp_settle(call, loader, PP_NONE);
    if (loader->where == PP_VIRTUAL || loader->where == PP_MOVED)
        return use_copy(call, place, loader);
    call->exec.loader = image->text;
    return action;
}

/* The program is a script: put its first line before the words, and go on with the interpreter's
 * place. 0, or -1 if the call is settled by `*action`, which was what to do if nothing is changed.
 */
static int enter_script(struct pp_call *call, struct pp_place **place, unsigned depth,
                        enum pp_action *action)
{
    struct pp_exec *exec = &call->exec;
    struct pp_image *image = &call->program.image;
    char *interpreter, *argument;

    const int error = depth < PP_SCRIPTS_MAX
                          ? parse_script(image->text, image->size, &interpreter, &argument)
                          : -ELOOP;
    if (error && *action == PP_RUN)
        return -1;
    if (note_check(call, *place, depth)) {
        *action = pp_return(call, -ENAMETOOLONG);
        return -1;
    }
    if (error) {
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

/* Follow scripts to the program that the kernel is to run. */
static enum pp_action find_program(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_place *place = &call->places[0];
    struct pp_image *image = &call->program.image;
    const int nofollow = pp_is_nofollow(spec, pp_flags(call, spec));
    /* As long as all is real the kernel can do it by itself. */
    enum pp_action action = place->where != PP_REAL ? PP_EXEC : PP_RUN;

    for (unsigned depth = 0;; depth++) {
        const int real = place->where != PP_VIRTUAL;
        const uint32_t follow = depth == 0 && nofollow ? PP_INSPECT_NOFOLLOW : 0;
        int64_t error = refusal(place);
        if (!error)
            error = name_file(call, place);
        if (error)
            return pp_return(call, error);
        error = call->task->operations->inspect(call->task, call->file,
                                                real ? PP_INSPECT_REAL | follow : 0, image);
        if (!real && is_spoilt(error) && !is_intact(call, place, image, error))
            return pp_ask(call, place, PP_NEEDS_VIEW);
        if (error == -EACCES && real) /* it takes no right to read to run something */
            return action;
        if (error)
            return action == PP_RUN ? PP_RUN : pp_return(call, error);
        if (image->kind != PP_IMAGE_SCRIPT)
            return run_binary(call, place, depth, action);
        if (enter_script(call, &place, depth, &action))
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
    call->exec.checks_first = call->exec.error = 0;
    call->exec.checked_size = 0;
    name_program(call, spec);
    call->exec.shown = call->given[0];
    action = find_program(call, spec);
    if (action == PP_RETURN && (call->exec.checks_first || call->exec.checked_size)) {
        call->exec.error = (int32_t)call->value;
        return PP_EXEC;
    }
    return action;
}
