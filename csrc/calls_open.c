/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * open and its family. The rules are those of syscalls.h. What is opened is a view, so that the
 * descriptor knows for ever which file it is.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>

#include "calls.h"

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || (flags) & O_TRUNC)
#define TMPFILE_BIT 020000000u
#define MAKES (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_NOFOLLOW)

/* A name that is not there: with O_CREAT it matters whether it could be made. */
static enum pp_action decide_missing(struct pp_call *call, const struct pp_spec *spec,
                                     uint32_t flags, enum pp_action action)
{
    if (action != PP_RETURN || call->value != -ENOENT || !(flags & O_CREAT) || flags & O_PATH)
        return action;
    const size_t length = pp_length(call->given[0]);
    if (length > 0 && call->given[0][length - 1] == '/')
        return pp_return(call, -EISDIR);
    if (pp_look_up_parent(call, 0, pp_descriptor(call, spec), spec->path, &action))
        return action;
    return pp_return(call, -EROFS);
}

/* Errors in the order in which the kernel finds them, on a file system that is read-only. */
static int64_t refusal(uint32_t type, uint32_t flags)
{
    const int is_directory = type == PP_TYPE_DIRECTORY;

    if (flags & O_PATH)
        return flags & O_DIRECTORY && !is_directory ? -ENOTDIR : 0;
    if (flags & O_CREAT && flags & O_EXCL)
        return -EEXIST;
    if ((flags & TMPFILE_BIT) && is_directory)
        return -EROFS;
    if (flags & O_CREAT && is_directory)
        return -EISDIR;
    if (flags & O_DIRECTORY && !is_directory)
        return -ENOTDIR;
    if (type == PP_TYPE_SYMLINK)
        return -ELOOP;
    if (is_directory)
        return WRITES(flags) ? -EISDIR : 0;
    if (type == PP_TYPE_REGULAR)
        return WRITES(flags) ? -EROFS : 0;
    if (type == PP_TYPE_SOCKET)
        return -ENXIO;
    return type == PP_TYPE_FIFO ? 0 : -EACCES; /* a device, where devices do nothing */
}

static enum pp_action decide(struct pp_call *call, const struct pp_spec *spec, uint32_t flags,
                             uint64_t resolve)
{
    enum pp_action action;
    struct pp_place *place = &call->places[0];
    const int nofollow = flags & O_NOFOLLOW || (flags & O_CREAT && flags & O_EXCL);

    if (pp_read_path(call, 0, spec->path) || !call->given[0][0])
        return PP_RUN;
    if (pp_look_up_path(call, 0, pp_descriptor(call, spec), spec->path,
                        nofollow ? PP_NOFOLLOW : 0, &action))
        return decide_missing(call, spec, flags, action);
    if (resolve & RESOLVE_NO_SYMLINKS && place->walk.links > 0)
        return pp_return(call, -ELOOP);
    const int64_t error = refusal(pp_type(place), flags);
    if (error)
        return pp_return(call, error);
    const int64_t length = pp_view_path(call, place, call->file, sizeof call->file);
    if (length < 0)
        return pp_return(call, length);
    call->asking = place;
    place->need = PP_NEEDS_VIEW;
    if (flags & O_PATH) { /* nobody can give such a descriptor away: the task opens it itself */
        call->changes[call->change_count++] =
            (struct pp_change){spec->path, (uint32_t)length + 1, call->file};
        return PP_CHANGE;
    }
    call->open_flags = (int)(flags & ~(uint32_t)MAKES);
    return PP_OPEN;
}

enum pp_action pp_decide_open(struct pp_call *call, const struct pp_spec *spec)
{
    return decide(call, spec, (uint32_t)call->args[spec->flags], 0);
}

enum pp_action pp_decide_creat(struct pp_call *call, const struct pp_spec *spec)
{
    return decide(call, spec, O_CREAT | O_WRONLY | O_TRUNC, 0);
}

/* Whether a relative path stays below its start at every step: what RESOLVE_BENEATH wants. Symlinks
 * are not looked into: those that leave are caught by where the path ends. */
static int escapes(const char *path)
{
    int depth = 0;

    for (size_t i = 0; path[i];) {
        while (path[i] == '/')
            i++;
        const size_t start = i;
        while (path[i] && path[i] != '/')
            i++;
        const size_t length = i - start;
        if (length == 2 && path[start] == '.' && path[start + 1] == '.') {
            if (--depth < 0)
                return 1;
        } else if (length > 0 && !(length == 1 && path[start] == '.')) {
            depth++;
        }
    }
    return 0;
}

enum pp_action pp_decide_openat2(struct pp_call *call, const struct pp_spec *spec)
{
    struct open_how how;
    const uint64_t bounded = RESOLVE_BENEATH | RESOLVE_IN_ROOT;

    if (call->args[3] < sizeof how ||
        call->task->operations->read(call->task, call->args[spec->result], &how, sizeof how) ||
        how.flags > UINT32_MAX)
        return PP_RUN;
    const enum pp_action action = decide(call, spec, (uint32_t)how.flags, how.resolve);
    if ((action != PP_OPEN && action != PP_CHANGE) || !(how.resolve & bounded))
        return action;
    /* The start has to be virtual, too, and what was found has to lie in it. */
    struct pp_place *start = &call->places[1];
    const struct pp_place *found = &call->places[0];
    pp_resolve(start, call->space, call->task, pp_descriptor(call, spec), "", PP_NOFOLLOW);
    if (call->given[0][0] == '/' || escapes(call->given[0]) || start->where != PP_VIRTUAL ||
        start->mount != found->mount ||
        !pp_starts_with(found->walk.path, start->walk.path, start->walk.path_length))
        return pp_return(call, -EXDEV);
    return action;
}
