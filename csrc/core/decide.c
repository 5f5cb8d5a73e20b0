/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/decide.h"

#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "core/deciders.h"

/* Younger than the headers of some distributions that we build on. */
enum {
    SYS_FCHMODAT2 = 452,
    SYS_SETXATTRAT = 463,
    SYS_GETXATTRAT = 464,
    SYS_LISTXATTRAT = 465,
    SYS_REMOVEXATTRAT = 466,
    SYS_END = 470
};

#define NO PP_NONE

/* The table names deciders by number: the shim is loaded without anybody to relocate addresses in
 * it. */
#define DECIDERS                                                                                   \
    DECIDER(stat)                                                                                  \
    DECIDER(statx)                                                                                 \
    DECIDER(access)                                                                                \
    DECIDER(readlink) DECIDER(entries) DECIDER(getcwd) DECIDER(chdir) DECIDER(statfs)              \
        DECIDER(getxattr) DECIDER(listxattr) DECIDER(watch) DECIDER(unsupported) DECIDER(open)     \
            DECIDER(creat) DECIDER(openat2) DECIDER(exec) DECIDER(modify) DECIDER(truncate)        \
                DECIDER(create) DECIDER(remove) DECIDER(rename) DECIDER(link) DECIDER(bind)        \
                    DECIDER(connect)
#define BY(name) DECIDER_##name
#define DECIDER(name) BY(name),
enum { NOBODY, DECIDERS };
#undef DECIDER

/* Every call that names a file, or whose answer depends on which file a descriptor is. What only
 * uses a descriptor (read, mmap, lseek, fchdir, …) is not here: a view is a real file. */
static const struct pp_spec specs[SYS_END] = {
    /*                   decider      dir path flags result walk */
    [__NR_stat] = {BY(stat), NO, 0, NO, 1, 0},
    [__NR_lstat] = {BY(stat), NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_fstat] = {BY(stat), 0, NO, NO, 1, 0},
    [__NR_newfstatat] = {BY(stat), 0, 1, 3, 2, 0},
    [__NR_statx] = {BY(statx), 0, 1, 2, 4, 0},
    [__NR_access] = {BY(access), NO, 0, NO, 1, 0},
    [__NR_faccessat] = {BY(access), 0, 1, NO, 2, 0},
    [PP_FACCESSAT2] = {BY(access), 0, 1, 3, 2, 0},
    [__NR_readlink] = {BY(readlink), NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_readlinkat] = {BY(readlink), 0, 1, NO, 2, PP_NOFOLLOW},
    [__NR_getdents] = {BY(entries), 0, NO, NO, 1, 0},
    [__NR_getdents64] = {BY(entries), 0, NO, NO, 1, 0},
    [__NR_getcwd] = {BY(getcwd), NO, NO, NO, 0, 0},
    [__NR_chdir] = {BY(chdir), NO, 0, NO, NO, 0},
    [__NR_statfs] = {BY(statfs), NO, 0, NO, 1, 0},
    [__NR_fstatfs] = {BY(statfs), 0, NO, NO, 1, 0},
    [__NR_getxattr] = {BY(getxattr), NO, 0, NO, 1, 0},
    [__NR_lgetxattr] = {BY(getxattr), NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_fgetxattr] = {BY(getxattr), 0, NO, NO, 1, 0},
    [SYS_GETXATTRAT] = {BY(getxattr), 0, 1, 2, 3, 0},
    [__NR_listxattr] = {BY(listxattr), NO, 0, NO, 1, 0},
    [__NR_llistxattr] = {BY(listxattr), NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_flistxattr] = {BY(listxattr), 0, NO, NO, 1, 0},
    [SYS_LISTXATTRAT] = {BY(listxattr), 0, 1, 2, 3, 0},
    [__NR_inotify_add_watch] = {BY(watch), NO, 1, NO, NO, 0},
    [__NR_fanotify_mark] = {BY(watch), 3, 4, NO, NO, 0},
    [__NR_name_to_handle_at] = {BY(unsupported), 0, 1, 4, EOPNOTSUPP, PP_NOFOLLOW},
    [__NR_chroot] = {BY(unsupported), NO, 0, NO, EPERM, 0},

    [__NR_open] = {BY(open), NO, 0, 1, NO, 0},
    [__NR_openat] = {BY(open), 0, 1, 2, NO, 0},
    [__NR_openat2] = {BY(openat2), 0, 1, NO, 2, 0},
    [__NR_creat] = {BY(creat), NO, 0, NO, NO, 0},
    [__NR_execve] = {BY(exec), NO, 0, NO, 1, 0},
    [__NR_execveat] = {BY(exec), 0, 1, 4, 2, 0},

    [__NR_chmod] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_fchmod] = {BY(modify), 0, NO, NO, NO, 0},
    [__NR_fchmodat] = {BY(modify), 0, 1, NO, NO, 0},
    [SYS_FCHMODAT2] = {BY(modify), 0, 1, 3, NO, 0},
    [__NR_chown] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_lchown] = {BY(modify), NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fchown] = {BY(modify), 0, NO, NO, NO, 0},
    [__NR_fchownat] = {BY(modify), 0, 1, 4, NO, 0},
    [__NR_utime] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_utimes] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_futimesat] = {BY(modify), 0, 1, NO, NO, 0},
    [__NR_utimensat] = {BY(modify), 0, 1, 3, NO, 0},
    [__NR_setxattr] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_lsetxattr] = {BY(modify), NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fsetxattr] = {BY(modify), 0, NO, NO, NO, 0},
    [SYS_SETXATTRAT] = {BY(modify), 0, 1, 2, NO, 0},
    [__NR_removexattr] = {BY(modify), NO, 0, NO, NO, 0},
    [__NR_lremovexattr] = {BY(modify), NO, 0, NO, NO, PP_NOFOLLOW},
    [__NR_fremovexattr] = {BY(modify), 0, NO, NO, NO, 0},
    [SYS_REMOVEXATTRAT] = {BY(modify), 0, 1, 2, NO, 0},
    [__NR_truncate] = {BY(truncate), NO, 0, NO, NO, 0},

    [__NR_mkdir] = {BY(create), NO, 0, NO, NO, 0},
    [__NR_mkdirat] = {BY(create), 0, 1, NO, NO, 0},
    [__NR_mknod] = {BY(create), NO, 0, NO, NO, 0},
    [__NR_mknodat] = {BY(create), 0, 1, NO, NO, 0},
    [__NR_symlink] = {BY(create), NO, 1, NO, NO, 0},
    [__NR_symlinkat] = {BY(create), 1, 2, NO, NO, 0},
    [__NR_unlink] = {BY(remove), NO, 0, NO, NO, 0},
    [__NR_unlinkat] = {BY(remove), 0, 1, NO, NO, 0},
    [__NR_rmdir] = {BY(remove), NO, 0, NO, NO, 0},
    [__NR_rename] = {BY(rename), NO, 0, NO, 1, 0},
    [__NR_renameat] = {BY(rename), 0, 1, NO, 3, 0},
    [__NR_renameat2] = {BY(rename), 0, 1, NO, 3, 0},
    [__NR_link] = {BY(link), NO, 0, NO, 1, PP_NOFOLLOW},
    [__NR_linkat] = {BY(link), 0, 1, 4, 3, PP_NOFOLLOW},
    [__NR_bind] = {BY(bind), NO, NO, NO, 1, 0},
    [__NR_connect] = {BY(connect), NO, NO, NO, 1, 0},
};

const struct pp_spec *pp_spec_of(int number)
{
    return number >= 0 && number < SYS_END && specs[number].decider ? &specs[number] : NULL;
}

int pp_changes(int number)
{
    const struct pp_spec *spec = pp_spec_of(number);

    switch (spec ? spec->decider : NOBODY) {
    case BY(modify):
    case BY(truncate):
    case BY(create):
    case BY(remove):
    case BY(rename):
    case BY(link):
    case BY(creat):
        return 1;
    default:
        return 0;
    }
}

int pp_has_second_path(int number)
{
    const struct pp_spec *spec = pp_spec_of(number);
    return spec && (spec->decider == BY(rename) || spec->decider == BY(link));
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
    switch (spec ? spec->decider : NOBODY) {
#define DECIDER(name)                                                                              \
    case BY(name):                                                                                 \
        return pp_decide_##name(call, spec);
        DECIDERS
#undef DECIDER
    default:
        return PP_RUN;
    }
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
        call->changes[call->change_count++] =
            (struct pp_change){path_argument, (uint32_t)pp_length(place->path) + 1, place->path};
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

/* Newer kernels take AT_FDCWD for the working directory in these. */
static int takes_directory(int number)
{
    return number == __NR_fsetxattr || number == __NR_fgetxattr;
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
        if (descriptor < 0 && !(flags & AT_EMPTY_PATH) && !takes_directory(call->number))
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
    const struct pp_walk *walk = &place->walk;
    const int64_t length =
        pp_view_of(call->space, place->mount, walk->path, walk->path_length, output, capacity);
    return length < 0 ? -ENAMETOOLONG : length;
}

enum pp_action pp_use_view(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_place *place = &call->places[0];

    const int64_t length = pp_view_path(call, place, call->file, PP_PATH_MAX);
    if (length < 0)
        return pp_return(call, length);
    call->changes[call->change_count++] =
        (struct pp_change){spec->path, (uint32_t)length + 1, call->file};
    call->asking = place;
    place->need = PP_NEEDS_VIEW;
    return PP_CHANGE;
}
