/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls that would make, move or remove a name in a directory. The rules are those of decide.h.
 *
 * The kernel walks to the directory first, and looks at its file system before it looks at the
 * name: so it is done here, and the errors come in the same order as on a read-only file system.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "core/deciders.h"

#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u
#define RENAME_WHITEOUT 4u
#define RENAME_ALL 7u
#define UNIX_ADDRESS_MAX 110

enum last { LAST_NAME, LAST_DOT, LAST_DOT_DOT };

struct entry {
    enum last last;
    int slash;                /* whether one follows the name */
    size_t name, name_length; /* where in `given` it is */
    /* What is to be done if the directory is real; of no meaning if it is virtual. */
    int is_virtual;
    int is_mount_point; /* of a real directory */
    enum pp_action action;
};

static void split(const char *path, struct entry *entry)
{
    size_t end = pp_length(path);
    const size_t whole = end;

    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    entry->slash = end < whole;
    entry->name = start;
    entry->name_length = end - start;
    entry->last = LAST_NAME;
    if (entry->name_length <= 2 && path[start] == '.') {
        if (entry->name_length == 1)
            entry->last = LAST_DOT;
        else if (path[start + 1] == '.')
            entry->last = LAST_DOT_DOT;
    }
}

/* Append the entry's name to its directory's real path; -1 if there is no room. */
static int append_name(struct pp_call *call, int which, const struct entry *entry)
{
    char *path = call->places[which].path;
    size_t length = pp_length(path);

    return pp_append(path, sizeof call->places[which].path, &length, "/", 1) ||
                   pp_append(path, sizeof call->places[which].path, &length,
                             call->given[which] + entry->name,
                             pp_length(call->given[which] + entry->name))
               ? -1
               : 0;
}

/* Find the directory of the `which`th path, which was read: its place is places[which]. Gives -1 if
 * the call is settled, by `entry->action`. */
static int find_directory(struct pp_call *call, int which, int descriptor, int path_argument,
                          struct entry *entry)
{
    struct pp_place *place = &call->places[which];
    char *given = call->given[which];
    size_t end;

    entry->action = PP_RUN;
    entry->is_virtual = entry->is_mount_point = 0;
    if (!given[0])
        return -1;
    split(given, entry);
    if (entry->name_length == 0)
        return -1; /* it is "/", which the kernel knows what to say of */
    const char first = given[entry->name];
    given[entry->name] = 0;
    pp_resolve(place, call->space, call->task, descriptor, given[0] ? given : ".", 0);
    given[entry->name] = first;
    switch (place->where) {
    case PP_VIRTUAL:
        entry->is_virtual = 1;
        if (pp_type(place) == PP_TYPE_DIRECTORY)
            return 0;
        entry->action = pp_return(call, -ENOTDIR);
        return -1;
    case PP_REAL:
    case PP_MOVED:
        if (place->path[0] != '/')
            return -1; /* no descriptor of a directory */
        if (append_name(call, which, entry)) {
            entry->action = pp_return(call, -ENAMETOOLONG);
            return -1;
        }
        const struct pp_mounts *mounts = __atomic_load_n(&call->space->mounts, __ATOMIC_ACQUIRE);
        entry->is_mount_point = entry->last == LAST_NAME && entry->name_length > 0 &&
                                pp_mounts_match(mounts, place->path, &end) &&
                                pp_length(place->path + end) == (size_t)entry->slash;
        if (place->where == PP_MOVED)
            entry->action = pp_settle(call, place, path_argument);
        return 0;
    default:
        entry->action = pp_settle(call, place, path_argument);
        return -1;
    }
}

/* Whether an entry of a virtual directory is there. -1 if something is needed first. */
static int exists(struct pp_call *call, int which, int descriptor, struct entry *entry)
{
    struct pp_place *place = &call->places[which];
    char *given = call->given[which];
    const size_t end = entry->name + entry->name_length;
    const char after = given[end];

    given[end] = 0;
    pp_resolve(place, call->space, call->task, descriptor, given, PP_NOFOLLOW);
    given[end] = after;
    if (place->where == PP_MISSING) {
        entry->action = pp_settle(call, place, PP_NONE);
        return -1;
    }
    return place->where != PP_FAILED;
}

/* What is wrong with a name that shall be new: 0 if it is in a real directory, and not our
 * business. */
static int64_t refuse_new(struct pp_call *call, int which, int descriptor, int may_have_slash,
                          struct entry *entry)
{
    if (!entry->is_virtual)
        return entry->is_mount_point ? -EEXIST : 0;
    if (entry->last != LAST_NAME)
        return -EEXIST;
    const int is_there = exists(call, which, descriptor, entry);
    if (is_there < 0)
        return 0;
    if (is_there)
        return -EEXIST;
    if (call->places[which].error == ENAMETOOLONG)
        return -ENAMETOOLONG;
    return entry->slash && !may_have_slash ? -ENOENT : -EROFS;
}

/* What mknod thinks of the type before it looks at the path. */
static int64_t refuse_type(const struct pp_call *call)
{
    const uint64_t mode = call->args[call->number == __NR_mknod ? 1 : 2];

    switch (mode & PP_TYPE_MASK) {
    case 0:
    case PP_TYPE_REGULAR:
    case PP_TYPE_FIFO:
    case PP_TYPE_SOCKET:
    case 0020000: /* devices */
    case 0060000:
        return 0;
    default:
        return (mode & PP_TYPE_MASK) == PP_TYPE_DIRECTORY ? -EPERM : -EINVAL;
    }
}

enum pp_action pp_decide_create(struct pp_call *call, const struct pp_spec *spec)
{
    struct entry entry;
    const int number = call->number;
    const int is_mkdir = number == __NR_mkdir || number == __NR_mkdirat;
    const int is_mknod = number == __NR_mknod || number == __NR_mknodat;

    if (is_mknod && refuse_type(call))
        return pp_return(call, refuse_type(call));
    if (number == __NR_symlink || number == __NR_symlinkat) { /* the target comes first */
        const int64_t length = call->task->operations->read_text(call->task, call->args[0],
                                                                 call->given[1], PP_PATH_MAX);
        if (length <= 0)
            return pp_return(call, length ? length : -ENOENT);
    }
    const int descriptor = pp_descriptor(call, spec);
    if (pp_read_path(call, 0, spec->path))
        return PP_RUN;
    if (find_directory(call, 0, descriptor, spec->path, &entry))
        return entry.action;
    const int64_t error = refuse_new(call, 0, descriptor, is_mkdir, &entry);
    return error ? pp_return(call, error) : entry.action;
}

enum pp_action pp_decide_remove(struct pp_call *call, const struct pp_spec *spec)
{
    struct entry entry;
    const int is_at = call->number == __NR_unlinkat;
    const uint32_t flags = is_at ? (uint32_t)call->args[2] : 0;
    const int removes_directory = call->number == __NR_rmdir || flags & AT_REMOVEDIR;

    if (flags & ~(uint32_t)AT_REMOVEDIR || pp_read_path(call, 0, spec->path))
        return PP_RUN;
    if (find_directory(call, 0, pp_descriptor(call, spec), spec->path, &entry))
        return entry.action;
    if (!entry.is_virtual && entry.is_mount_point)
        return pp_return(call, removes_directory ? -EBUSY : -EISDIR);
    if (!entry.is_virtual)
        return entry.action;
    if (entry.last == LAST_NAME)
        return pp_return(call, -EROFS);
    if (!removes_directory)
        return pp_return(call, -EISDIR);
    return pp_return(call, entry.last == LAST_DOT ? -EINVAL : -ENOTEMPTY);
}

/* Why a real path can't be reached; 0 if something is there. */
static int64_t missing(const struct pp_call *call, const char *path)
{
    char target[1];
    const int64_t length =
        call->task->operations->read_link(call->task, path, target, sizeof target);
    return length >= 0 || length == -EINVAL ? 0 : length;
}

/* The same of the directory of a real entry, whose path is in its place. */
static int64_t missing_directory(struct pp_call *call, int which, const struct entry *entry)
{
    char *path = call->places[which].path;
    const size_t cut =
        pp_length(path) - pp_length(call->given[which] + entry->name); /* behind the slash */
    const char kept[2] = {path[cut], path[cut + 1]};

    path[cut] = '.';
    path[cut + 1] = 0;
    const int64_t error = missing(call, path);
    path[cut] = kept[0];
    path[cut + 1] = kept[1];
    return error;
}

enum pp_action pp_decide_rename(struct pp_call *call, const struct pp_spec *spec)
{
    struct entry entries[2];
    const int paths[2] = {spec->path, spec->result};
    const int descriptors[2] = {
        pp_descriptor(call, spec),
        pp_second_descriptor(spec, call->args),
    };

    if (call->number == __NR_renameat2) {
        const uint32_t flags = (uint32_t)call->args[4], replaces = flags & RENAME_NOREPLACE;
        if (flags & ~(uint32_t)RENAME_ALL ||
            (flags & RENAME_EXCHANGE && (replaces || flags & RENAME_WHITEOUT)))
            return PP_RUN;
    }
    for (int i = 0; i < 2; i++)
        if (pp_read_path(call, i, paths[i]))
            return PP_RUN;
    for (int i = 0; i < 2; i++)
        if (find_directory(call, i, descriptors[i], paths[i], &entries[i]))
            return entries[i].action;
    if (!entries[0].is_virtual && !entries[1].is_virtual) {
        if (entries[0].is_mount_point || entries[1].is_mount_point)
            return pp_return(call, -EBUSY);
        return call->change_count ? PP_CHANGE : PP_RUN;
    }
    for (int i = 0; i < 2; i++) {
        const int64_t error = entries[i].is_virtual ? 0 : missing_directory(call, i, &entries[i]);
        if (error)
            return pp_return(call, error);
    }
    if (entries[0].is_virtual != entries[1].is_virtual ||
        call->places[0].mount != call->places[1].mount)
        return pp_return(call, -EXDEV);
    if (entries[0].last != LAST_NAME || entries[1].last != LAST_NAME)
        return pp_return(call, -EBUSY);
    return pp_return(call, -EROFS);
}

/* What link says of a new name in a real directory, if the file is virtual. */
static int64_t refuse_real_link(struct pp_call *call, const struct entry *entry)
{
    const int64_t error = missing_directory(call, 1, entry);
    if (error)
        return error;
    if (!missing(call, call->places[1].path))
        return -EEXIST;
    return entry->slash ? -ENOENT : -EXDEV;
}

enum pp_action pp_decide_link(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action old_action = PP_RUN;
    struct entry entry;
    const uint32_t flags = pp_flags(call, spec);
    const int new_descriptor = pp_second_descriptor(spec, call->args);

    if (pp_has_other_flags(call, spec, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) ||
        pp_read_path(call, 0, spec->path) || pp_read_path(call, 1, spec->result))
        return PP_RUN;
    if (!call->given[0][0] && !(flags & AT_EMPTY_PATH))
        return PP_RUN;
    const int old_is_virtual =
        !pp_look_up_path(call, 0, pp_descriptor(call, spec), spec->path,
                         flags & AT_SYMLINK_FOLLOW ? 0 : PP_NOFOLLOW, &old_action);
    if (old_action == PP_ASK || old_action == PP_RETURN)
        return old_action;
    if (find_directory(call, 1, new_descriptor, spec->result, &entry))
        return entry.action;
    if (!entry.is_virtual && !old_is_virtual)
        return entry.is_mount_point ? pp_return(call, -EEXIST)
               : call->change_count ? PP_CHANGE
                                    : PP_RUN;
    if (!old_is_virtual) {
        const int is_path = call->given[0][0] && call->places[0].path[0] == '/';
        const int64_t error = is_path ? missing(call, call->places[0].path) : 0;
        if (error)
            return pp_return(call, error);
    }
    int64_t error = refuse_new(call, 1, new_descriptor, 0, &entry);
    if (!error && entry.action == PP_ASK)
        return PP_ASK;
    if (!error)
        error = refuse_real_link(call, &entry);
    return pp_return(call, error);
}

/* Sockets with a name */

/* Whether the call's descriptor is a socket at all: the kernel looks at that first. */
static int is_socket(struct pp_call *call)
{
    char *what = call->file;
    const int64_t length = call->task->operations->link(call->task, (int)call->args[0], what, 8);
    return length == 8 && pp_starts_with(what, "socket:[", 8);
}

/* The path in a socket's address, into given[0]; -1 if it has none. */
static int read_socket_path(struct pp_call *call, const struct pp_spec *spec)
{
    char address[UNIX_ADDRESS_MAX + 1];
    uint16_t family;
    const uint64_t size = (uint32_t)call->args[2];

    if (size <= PP_UNIX_PATH_OFFSET || size > UNIX_ADDRESS_MAX ||
        call->task->operations->read(call->task, call->args[spec->result], address, size))
        return -1;
    address[size] = 0;
    __builtin_memcpy(&family, address, sizeof family);
    if (family != PP_UNIX_FAMILY || !address[PP_UNIX_PATH_OFFSET])
        return -1;
    const char *path = address + PP_UNIX_PATH_OFFSET;
    __builtin_memcpy(call->given[0], path, pp_length(path) + 1);
    return 0;
}

/* An address with a path that leads through something virtual to something real. */
static enum pp_action change_address(struct pp_call *call)
{
    const struct pp_change *change = &call->changes[0];
    const uint16_t family = PP_UNIX_FAMILY;

    if (change->size > UNIX_ADDRESS_MAX - PP_UNIX_PATH_OFFSET)
        return pp_return(call, -ENAMETOOLONG);
    __builtin_memcpy(call->buffer, &family, sizeof family);
    __builtin_memcpy(call->buffer + PP_UNIX_PATH_OFFSET, change->data, change->size);
    call->args[2] = PP_UNIX_PATH_OFFSET + change->size;
    call->changes[0] = (struct pp_change){1, PP_UNIX_PATH_OFFSET + change->size, call->buffer};
    return PP_CHANGE;
}

enum pp_action pp_decide_bind(struct pp_call *call, const struct pp_spec *spec)
{
    struct entry entry;

    if (!is_socket(call) || read_socket_path(call, spec))
        return PP_RUN;
    if (find_directory(call, 0, PP_CWD, spec->result, &entry))
        return entry.action;
    const int64_t error = refuse_new(call, 0, PP_CWD, 0, &entry);
    if (error)
        return pp_return(call, error == -EEXIST ? -EADDRINUSE : error);
    return entry.action == PP_CHANGE ? change_address(call) : entry.action;
}

enum pp_action pp_decide_connect(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (!is_socket(call) || read_socket_path(call, spec))
        return PP_RUN;
    if (pp_look_up_path(call, 0, PP_CWD, spec->result, 0, &action))
        return action == PP_CHANGE ? change_address(call) : action;
    const uint32_t type = pp_type(&call->places[0]);
    /* Connecting is writing; and nobody listens in a repository. */
    const int is_refused = type == PP_TYPE_REGULAR || type == PP_TYPE_DIRECTORY;
    return pp_return(call, is_refused ? -EROFS : -ECONNREFUSED);
}
