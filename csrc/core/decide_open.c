/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * open, openat2, creat. The rules are those of decide.h. A view is opened, whose name says for as
 * long as the descriptor exists which file it is.
 */
#include <linux/fcntl.h>
#include <linux/openat2.h>

#include "core/deciders.h"

#define WRITES(flags) (((flags)&O_ACCMODE) != O_RDONLY || (flags)&O_TRUNC)
#define TMPFILE_BIT 020000000u
#define MAKES (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define KNOWN_FLAGS                                                                                \
    (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | FASYNC | \
     O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH |          \
     TMPFILE_BIT)
#define KNOWN_RESOLVE 0x3fu

/* Whether the flags contradict one another: the kernel looks at that first. */
static int is_invalid(uint32_t flags)
{
    if (flags & O_PATH)
        return 0;
    if (flags & TMPFILE_BIT)
        return !(flags & O_DIRECTORY) || flags & O_CREAT || (flags & O_ACCMODE) == O_RDONLY;
    return flags & O_CREAT && flags & O_DIRECTORY;
}

/* The error for a path that leads to nothing: with O_CREAT it matters whether it could be made. */
static int64_t refuse_missing(const struct pp_place *place, uint32_t flags, int slash,
                              int64_t error)
{
    if (is_invalid(flags))
        return -EINVAL;
    if (!(flags & O_CREAT) || flags & O_PATH || place->where != PP_FAILED)
        return error;
    if (!place->walk.at_last || (error != -ENOENT && error != -ENOTDIR))
        return error;
    if (slash)
        return -EISDIR;
    return error == -ENOENT ? -EROFS : error;
}

/* Errors in the order in which the kernel finds them, on a file system that is read-only. */
static int64_t refusal(uint32_t type, uint32_t flags, int slash)
{
    const int is_directory = type == PP_TYPE_DIRECTORY;

    if (flags & O_PATH)
        return flags & O_DIRECTORY && !is_directory ? -ENOTDIR : 0;
    if (is_invalid(flags))
        return -EINVAL;
    if (flags & O_CREAT && slash)
        return -EISDIR;
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

/* Whether it may be long before the open of a file that is there returns: that of a FIFO waits for
 * another program, and signals end it. */
static int may_wait(uint32_t type, uint32_t flags)
{
    return type == PP_TYPE_FIFO && !(flags & O_NONBLOCK) && (flags & O_ACCMODE) != O_RDWR;
}

static enum pp_action decide(struct pp_call *call, const struct pp_spec *spec, uint32_t flags,
                             uint64_t resolve)
{
    enum pp_action action;
    struct pp_place *place = &call->places[0];
    const int nofollow =
        flags & O_NOFOLLOW || (flags & O_CREAT && flags & O_EXCL && !(flags & O_PATH));

    if (pp_read_path(call, 0, spec->path) || !call->given[0][0])
        return PP_RUN;
    const int slash = call->given[0][pp_length(call->given[0]) - 1] == '/';
    if (pp_resolve_path(call, 0, pp_descriptor(call, spec), spec->path, nofollow ? PP_NOFOLLOW : 0,
                        &action))
        return action == PP_RETURN
                   ? pp_return(call, refuse_missing(place, flags, slash, call->value))
                   : action;
    if (resolve & RESOLVE_NO_SYMLINKS && place->walk.links > 0)
        return pp_return(call, -ELOOP);
    const int64_t error = refusal(pp_type(place), flags, slash);
    if (error)
        return pp_return(call, error);
    const int64_t length = pp_view_path(call, place, call->file, sizeof call->file);
    if (length < 0)
        return pp_return(call, length);
    call->asking = place;
    place->need = PP_NEEDS_VIEW;
    /* The task opens itself what can't be passed to it as a descriptor, and what waits: nothing
     * else waits for as long, and is interrupted, as the task would be. */
    if (flags & O_PATH || may_wait(pp_type(place), flags)) {
        if (spec->flags != PP_NONE)
            call->args[spec->flags] &= ~(uint64_t)(O_CREAT | O_TRUNC); /* it must be there */
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

/* Whether the kernel would refuse it with any path: it is stricter here than with open. */
static int is_refused(const struct open_how *how)
{
    const uint64_t bounded = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    return how->flags & ~(uint64_t)KNOWN_FLAGS || how->resolve & ~(uint64_t)KNOWN_RESOLVE ||
           (how->resolve & bounded) == bounded ||
           (how->flags & O_PATH && how->flags & ~(uint64_t)PATH_FLAGS) ||
           how->mode & ~UINT64_C(07777) || (how->mode && !(how->flags & (O_CREAT | TMPFILE_BIT)));
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

/* Whether a path leaves the directory that it starts at, or the mount of that. */
static int leaves_start(struct pp_call *call, const struct pp_spec *spec,
                        const struct open_how *how)
{
    struct pp_place *start = &call->places[1];
    const struct pp_place *found = &call->places[0];

    pp_resolve(start, call->space, call->task, pp_descriptor(call, spec), "", PP_NOFOLLOW);
    /* The start has to be virtual, too, and what was found has to lie in it. */
    if (call->given[0][0] == '/' || start->where != PP_VIRTUAL ||
        start->mount->number != found->mount->number)
        return 1;
    return how->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) &&
           (escapes(call->given[0]) ||
            !pp_starts_with(found->walk.path, start->walk.path, start->walk.path_length));
}

enum pp_action pp_decide_openat2(struct pp_call *call, const struct pp_spec *spec)
{
    struct open_how how;
    const uint64_t bounded = RESOLVE_BENEATH | RESOLVE_IN_ROOT;

    if (call->args[spec->size] < sizeof how ||
        call->task->operations->read(call->task, call->args[spec->input], &how, sizeof how) ||
        is_refused(&how))
        return PP_RUN;
    const enum pp_action action = decide(call, spec, (uint32_t)how.flags, how.resolve);
    const struct pp_place *found = &call->places[0];
    if (found->where != PP_VIRTUAL || (action != PP_OPEN && action != PP_CHANGE))
        return action;
    if (how.resolve & (bounded | RESOLVE_NO_XDEV) && leaves_start(call, spec, &how))
        return pp_return(call, -EXDEV);
    if (action == PP_CHANGE) { /* the view is elsewhere, and the path to it may have symlinks */
        how.resolve = 0;
        how.flags &= ~(uint64_t)(O_CREAT | O_TRUNC);
        if (!(how.flags & TMPFILE_BIT))
            how.mode = 0;
        __builtin_memcpy(call->buffer, &how, sizeof how);
        call->changes[call->change_count++] =
            (struct pp_change){spec->input, sizeof how, call->buffer};
    }
    return action;
}
