/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "syscalls.h"

#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "calls.h"

/* Younger than the headers of some distributions that we build on. */
enum {
    SYS_FACCESSAT2 = 439,
    SYS_FCHMODAT2 = 452,
    SYS_SETXATTRAT = 463,
    SYS_GETXATTRAT = 464,
    SYS_LISTXATTRAT = 465,
    SYS_REMOVEXATTRAT = 466,
    SYS_END = 470
};

#define NO PP_NONE

/* Every call that names a file, or whose answer depends on which file a descriptor is. What only
 * uses a descriptor (read, mmap, lseek, fchdir, …) is not here: a view is a real file. */
static const struct pp_spec specs[SYS_END] = {
    /*                          decide               dir path flags result walk */
    [__NR_stat] = {pp_decide_stat, NO, 0, NO, 1, 0},
    [__NR_lstat] = {pp_decide_stat, NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_fstat] = {pp_decide_stat, 0, NO, NO, 1, 0},
    [__NR_newfstatat] = {pp_decide_stat, 0, 1, 3, 2, 0},
    [__NR_statx] = {pp_decide_statx, 0, 1, 2, 4, 0},
    [__NR_access] = {pp_decide_access, NO, 0, NO, 1, 0},
    [__NR_faccessat] = {pp_decide_access, 0, 1, NO, 2, 0},
    [SYS_FACCESSAT2] = {pp_decide_access, 0, 1, 3, 2, 0},
    [__NR_readlink] = {pp_decide_readlink, NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_readlinkat] = {pp_decide_readlink, 0, 1, NO, 2, PP_NOFOLLOW},
    [__NR_getdents] = {pp_decide_entries, 0, NO, NO, 1, 0},
    [__NR_getdents64] = {pp_decide_entries, 0, NO, NO, 1, 0},
    [__NR_getcwd] = {pp_decide_getcwd, NO, NO, NO, 0, 0},
    [__NR_chdir] = {pp_decide_chdir, NO, 0, NO, NO, 0},
    [__NR_statfs] = {pp_decide_statfs, NO, 0, NO, 1, 0},
    [__NR_fstatfs] = {pp_decide_statfs, 0, NO, NO, 1, 0},
    [__NR_getxattr] = {pp_decide_getxattr, NO, 0, NO, 1, 0},
    [__NR_lgetxattr] = {pp_decide_getxattr, NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_fgetxattr] = {pp_decide_getxattr, 0, NO, NO, 1, 0},
    [SYS_GETXATTRAT] = {pp_decide_getxattr, 0, 1, 2, 3, 0},
    [__NR_listxattr] = {pp_decide_listxattr, NO, 0, NO, 1, 0},
    [__NR_llistxattr] = {pp_decide_listxattr, NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_flistxattr] = {pp_decide_listxattr, 0, NO, NO, 1, 0},
    [SYS_LISTXATTRAT] = {pp_decide_listxattr, 0, 1, 2, 3, 0},
    [__NR_inotify_add_watch] = {pp_decide_watch, NO, 1, NO, NO, 0},
    [__NR_fanotify_mark] = {pp_decide_watch, 3, 4, NO, NO, 0},
    [__NR_name_to_handle_at] = {pp_decide_unsupported, 0, 1, 4, EOPNOTSUPP, PP_NOFOLLOW},
    [__NR_chroot] = {pp_decide_unsupported, NO, 0, NO, EPERM, 0},

    [__NR_open] = {pp_decide_open, NO, 0, 1, NO, 0},
    [__NR_openat] = {pp_decide_open, 0, 1, 2, NO, 0},
    [__NR_openat2] = {pp_decide_openat2, 0, 1, NO, 2, 0},
    [__NR_creat] = {pp_decide_creat, NO, 0, NO, NO, 0},
    [__NR_execve] = {pp_decide_exec, NO, 0, NO, 1, 0},
    [__NR_execveat] = {pp_decide_exec, 0, 1, 4, 2, 0},

    [__NR_chmod] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_fchmod] = {pp_decide_modify, 0, NO, NO, NO, 0},
    [__NR_fchmodat] = {pp_decide_modify, 0, 1, NO, NO, 0},
    [SYS_FCHMODAT2] = {pp_decide_modify, 0, 1, 3, NO, 0},
    [__NR_chown] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_lchown] = {pp_decide_modify, NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fchown] = {pp_decide_modify, 0, NO, NO, NO, 0},
    [__NR_fchownat] = {pp_decide_modify, 0, 1, 4, NO, 0},
    [__NR_utime] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_utimes] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_futimesat] = {pp_decide_modify, 0, 1, NO, NO, 0},
    [__NR_utimensat] = {pp_decide_modify, 0, 1, 3, NO, 0},
    [__NR_setxattr] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_lsetxattr] = {pp_decide_modify, NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fsetxattr] = {pp_decide_modify, 0, NO, NO, NO, 0},
    [SYS_SETXATTRAT] = {pp_decide_modify, 0, 1, 2, NO, 0},
    [__NR_removexattr] = {pp_decide_modify, NO, 0, NO, NO, 0},
    [__NR_lremovexattr] = {pp_decide_modify, NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fremovexattr] = {pp_decide_modify, 0, NO, NO, NO, 0},
    [SYS_REMOVEXATTRAT] = {pp_decide_modify, 0, 1, 2, NO, 0},
    [__NR_truncate] = {pp_decide_truncate, NO, 0, NO, NO, 0},

    [__NR_mkdir] = {pp_decide_create, NO, 0, NO, NO, 0},
    [__NR_mkdirat] = {pp_decide_create, 0, 1, NO, NO, 0},
    [__NR_mknod] = {pp_decide_create, NO, 0, NO, NO, 0},
    [__NR_mknodat] = {pp_decide_create, 0, 1, NO, NO, 0},
    [__NR_symlink] = {pp_decide_create, NO, 1, NO, NO, 0},
    [__NR_symlinkat] = {pp_decide_create, 1, 2, NO, NO, 0},
    [__NR_unlink] = {pp_decide_remove, NO, 0, NO, NO, 0},
    [__NR_unlinkat] = {pp_decide_remove, 0, 1, NO, NO, 0},
    [__NR_rmdir] = {pp_decide_remove, NO, 0, NO, NO, 0},
    [__NR_rename] = {pp_decide_rename, NO, 0, NO, 1, 0},
    [__NR_renameat] = {pp_decide_rename, 0, 1, NO, 3, 0},
    [__NR_renameat2] = {pp_decide_rename, 0, 1, NO, 3, 0},
    [__NR_link] = {pp_decide_link, NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_linkat] = {pp_decide_link, 0, 1, 4, 3, PP_NOFOLLOW},
    [__NR_bind] = {pp_decide_bind, NO, NO, NO, 1, 0},
    [__NR_connect] = {pp_decide_connect, NO, NO, NO, 1, 0},
};

const struct pp_spec *pp_spec_of(int number)
{
    return number >= 0 && number < SYS_END && specs[number].decide ? &specs[number] : NULL;
}

int pp_is_trapped(int number)
{
    return pp_spec_of(number) != NULL;
}

enum pp_action pp_decide(struct pp_call *call)
{
    call->change_count = 0;
    call->asking = NULL;
    const struct pp_spec *spec = pp_spec_of(call->number);
    return spec ? spec->decide(call, spec) : PP_RUN;
}

/* What the deciders share */

int pp_read_path(struct pp_call *call, int which, int argument)
{
    return call->task->operations->read_text(call->task, call->args[argument], call->given[which],
                                             PP_PATH_MAX) < 0
               ? -1
               : 0;
}

enum pp_action pp_ask(struct pp_call *call, struct pp_place *place, enum pp_need need)
{
    place->need = need;
    call->asking = place;
    return PP_ASK;
}

enum pp_action pp_settle(struct pp_call *call, struct pp_place *place, int path_argument)
{
    switch (place->where) {
    case PP_FAILED:
        return pp_return(call, -place->error);
    case PP_MISSING:
        call->asking = place;
        return PP_ASK;
    case PP_MOVED:
        call->changes[call->change_count++] = (struct pp_change){
            path_argument, (uint32_t)pp_length(place->path) + 1, place->path};
        return PP_CHANGE;
    default:
        return PP_RUN;
    }
}

int pp_look_up_path(struct pp_call *call, int which, int descriptor, int path_argument,
                    uint32_t walk, enum pp_action *action)
{
    struct pp_place *place = &call->places[which];

    pp_resolve(place, call->space, call->task, descriptor, call->given[which], walk);
    if (place->where == PP_VIRTUAL)
        return 0;
    *action = pp_settle(call, place, path_argument);
    return -1;
}

/* Whether the call has no path, and takes that for the file that the descriptor is. */
static int takes_nothing(const struct pp_call *call, const struct pp_spec *spec, uint32_t flags)
{
    if (call->args[spec->path])
        return 0;
    return call->number == __NR_utimensat || call->number == __NR_futimesat ||
           (flags & AT_EMPTY_PATH &&
            (call->number == __NR_newfstatat || call->number == __NR_statx));
}

int pp_look_up(struct pp_call *call, const struct pp_spec *spec, enum pp_action *action)
{
    const uint32_t flags = pp_flags(call, spec);
    const int descriptor = pp_descriptor(call, spec);
    const uint32_t walk = flags & AT_SYMLINK_NOFOLLOW ? PP_NOFOLLOW : spec->walk;

    *action = PP_RUN;
    call->given[0][0] = 0;
    call->places[0].where = PP_REAL; /* and nothing that an earlier call has left there */
    call->places[0].path[0] = 0;
    if (spec->path == PP_NONE || takes_nothing(call, spec, flags)) {
        if (descriptor < 0 && !(flags & AT_EMPTY_PATH))
            return -1;
    } else {
        if (pp_read_path(call, 0, spec->path))
            return -1;
        if (!call->given[0][0] && !(flags & AT_EMPTY_PATH) && call->number != __NR_readlinkat)
            return -1;
    }
    return pp_look_up_path(call, 0, descriptor, spec->path, call->given[0][0] ? walk : PP_NOFOLLOW,
                           action);
}

int64_t pp_view_path(const struct pp_call *call, const struct pp_place *place, char *output,
                     size_t capacity)
{
    size_t length = 0;

    if (pp_append(output, capacity, &length, call->space->views, call->space->views_length) ||
        pp_append(output, capacity, &length, "/", 1) ||
        pp_append(output, capacity, &length, place->mount->view, place->mount->view_length) ||
        pp_append(output, capacity, &length, place->walk.path, place->walk.path_length))
        return -ENAMETOOLONG;
    return (int64_t)length;
}
