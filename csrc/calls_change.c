/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls that would change something. Nothing virtual can be changed, but the errors have an order:
 * what the kernel finds before it comes to EROFS on a read-only file system is found here, too.
 * The rules are those of syscalls.h.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "calls.h"

#define UNIX_FAMILY 1
#define UNIX_PATH_OFFSET 2
#define UNIX_ADDRESS_MAX 110

enum pp_action pp_decide_modify(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_look_up(call, spec, &action) ? action : pp_return(call, -EROFS);
}

enum pp_action pp_decide_truncate(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if ((int64_t)call->args[1] < 0 || pp_look_up(call, spec, &action))
        return (int64_t)call->args[1] < 0 ? PP_RUN : action;
    const uint32_t type = pp_type(&call->places[0]);
    if (type == PP_TYPE_DIRECTORY)
        return pp_return(call, -EISDIR);
    return pp_return(call, type == PP_TYPE_REGULAR ? -EROFS : -EINVAL);
}

/* Whether the `which`th path is, or would be, an entry of a virtual directory: PP_RUN if it is real.
 * `*exists` tells whether it is there, `*mount` where. */
static int is_virtual_entry(struct pp_call *call, int which, int descriptor, int path_argument,
                            int *exists, const struct pp_mount **mount, enum pp_action *action)
{
    *exists = 0;
    *action = PP_RUN;
    if (!call->given[which][0])
        return 0;
    if (!pp_look_up_path(call, which, descriptor, path_argument, PP_NOFOLLOW, action)) {
        *exists = 1;
        *mount = call->places[which].mount;
        return 1;
    }
    if (*action != PP_RETURN || call->value != -ENOENT)
        return 0;
    if (pp_look_up_parent(call, which, descriptor, path_argument, action))
        return 0;
    *mount = call->places[which].mount;
    return 1;
}

static int ends_with_slash(const char *path)
{
    const size_t length = pp_length(path);
    return length > 1 && path[length - 1] == '/';
}

enum pp_action pp_decide_create(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const struct pp_mount *mount;
    int exists;
    const int is_mkdir = call->number == __NR_mkdir || call->number == __NR_mkdirat;

    if (pp_read_path(call, 0, spec->path))
        return PP_RUN;
    const int slash = ends_with_slash(call->given[0]);
    if (!is_virtual_entry(call, 0, pp_descriptor(call, spec), spec->path, &exists, &mount, &action))
        return action;
    if (exists)
        return pp_return(call, -EEXIST);
    return pp_return(call, slash && !is_mkdir ? -ENOENT : -EROFS);
}

/* What the last component is, if it is none that can be removed: the kernel looks at that first. */
static int64_t last_is_special(const char *path, int removes_directory)
{
    size_t end = pp_length(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    const size_t whole = end;
    while (end > 0 && path[end - 1] != '/')
        end--;
    const size_t length = whole - end;
    if (length == 1 && path[end] == '.')
        return removes_directory ? -EINVAL : -EISDIR;
    if (length == 2 && path[end] == '.' && path[end + 1] == '.')
        return removes_directory ? -ENOTEMPTY : -EISDIR;
    return 0;
}

enum pp_action pp_decide_remove(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const struct pp_mount *mount;
    int exists;
    const int removes_directory =
        call->number == __NR_rmdir ||
        (call->number == __NR_unlinkat && (uint32_t)call->args[2] == AT_REMOVEDIR);

    if (pp_read_path(call, 0, spec->path))
        return PP_RUN;
    const int64_t special = last_is_special(call->given[0], removes_directory);
    if (!is_virtual_entry(call, 0, pp_descriptor(call, spec), spec->path, &exists, &mount, &action))
        return action;
    if (exists && special)
        return pp_return(call, special);
    if (exists && call->places[0].walk.path_length == 0)
        return pp_return(call, removes_directory ? -EBUSY : -EISDIR);
    return pp_return(call, -EROFS);
}

enum pp_action pp_decide_rename(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action actions[2];
    const struct pp_mount *mounts[2] = {0};
    int exists, virtual_count = 0;

    const int paths[2] = {spec->path, spec->result};
    const int descriptors[2] = {
        pp_descriptor(call, spec),
        spec->descriptor == PP_NONE ? PP_CWD : (int)call->args[spec->result - 1],
    };
    for (int i = 0; i < 2; i++)
        if (pp_read_path(call, i, paths[i]))
            return PP_RUN;
    for (int i = 0; i < 2; i++) {
        const uint32_t before = call->change_count;
        if (is_virtual_entry(call, i, descriptors[i], paths[i], &exists, &mounts[i], &actions[i])) {
            call->change_count = before;
            virtual_count++;
        } else if (actions[i] == PP_ASK || actions[i] == PP_RETURN) {
            return actions[i];
        }
    }
    if (virtual_count == 0)
        return actions[0] == PP_CHANGE ? PP_CHANGE : actions[1];
    return pp_return(call, mounts[0] == mounts[1] ? -EROFS : -EXDEV);
}

enum pp_action pp_decide_link(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action old_action = PP_RUN, new_action;
    const struct pp_mount *mount;
    int exists;
    const uint32_t flags = pp_flags(call, spec);
    const int new_descriptor =
        spec->descriptor == PP_NONE ? PP_CWD : (int)call->args[spec->result - 1];

    if (pp_read_path(call, 0, spec->path) || pp_read_path(call, 1, spec->result))
        return PP_RUN;
    if (!call->given[0][0] && !(flags & AT_EMPTY_PATH))
        return PP_RUN;
    const int old_is_virtual =
        !pp_look_up_path(call, 0, pp_descriptor(call, spec), spec->path,
                         flags & AT_SYMLINK_FOLLOW ? 0 : PP_NOFOLLOW, &old_action);
    if (old_action == PP_ASK || old_action == PP_RETURN)
        return old_action;
    const uint32_t before = call->change_count;
    if (is_virtual_entry(call, 1, new_descriptor, spec->result, &exists, &mount, &new_action)) {
        call->change_count = before;
        return pp_return(call, exists ? -EEXIST : -EROFS);
    }
    if (new_action == PP_ASK || new_action == PP_RETURN)
        return new_action;
    if (old_is_virtual)
        return pp_return(call, -EXDEV);
    return old_action == PP_CHANGE ? PP_CHANGE : new_action;
}

/* Sockets with a name */

/* The path in a socket's address, into given[0]; -1 if it has none. */
static int read_socket_path(struct pp_call *call, const struct pp_spec *spec)
{
    char address[UNIX_ADDRESS_MAX + 1];
    uint16_t family;
    const uint64_t size = (uint32_t)call->args[2];

    if (size <= UNIX_PATH_OFFSET || size > UNIX_ADDRESS_MAX ||
        call->task->operations->read(call->task, call->args[spec->result], address, size))
        return -1;
    address[size] = 0;
    __builtin_memcpy(&family, address, sizeof family);
    if (family != UNIX_FAMILY || !address[UNIX_PATH_OFFSET])
        return -1;
    const char *path = address + UNIX_PATH_OFFSET;
    __builtin_memcpy(call->given[0], path, pp_length(path) + 1);
    return 0;
}

/* An address with a path that leads through something virtual to something real. */
static enum pp_action change_address(struct pp_call *call)
{
    const struct pp_change *change = &call->changes[0];
    const uint16_t family = UNIX_FAMILY;

    if (change->size > UNIX_ADDRESS_MAX - UNIX_PATH_OFFSET)
        return pp_return(call, -ENAMETOOLONG);
    __builtin_memcpy(call->buffer, &family, sizeof family);
    __builtin_memcpy(call->buffer + UNIX_PATH_OFFSET, change->data, change->size);
    call->args[2] = UNIX_PATH_OFFSET + change->size;
    call->changes[0] = (struct pp_change){1, UNIX_PATH_OFFSET + change->size, call->buffer};
    return PP_CHANGE;
}

enum pp_action pp_decide_bind(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const struct pp_mount *mount;
    int exists;

    if (read_socket_path(call, spec))
        return PP_RUN;
    if (is_virtual_entry(call, 0, PP_CWD, spec->result, &exists, &mount, &action))
        return pp_return(call, exists ? -EADDRINUSE : -EROFS);
    return action == PP_CHANGE ? change_address(call) : action;
}

enum pp_action pp_decide_connect(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (read_socket_path(call, spec))
        return PP_RUN;
    if (!pp_look_up_path(call, 0, PP_CWD, spec->result, 0, &action))
        return pp_return(call, -ECONNREFUSED); /* nobody listens in a repository */
    return action == PP_CHANGE ? change_address(call) : action;
}
