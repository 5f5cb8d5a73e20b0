/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/name.h"

#include "core/deciders.h"

static void split(const char *path, struct pp_name *entry)
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
    entry->last = PP_LAST_NAME;
    if (entry->name_length <= 2 && path[start] == '.') {
        if (entry->name_length == 1)
            entry->last = PP_LAST_DOT;
        else if (path[start + 1] == '.')
            entry->last = PP_LAST_DOT_DOT;
    }
}

/* Append the entry's name to its directory's real path; -1 if there is no room. */
static int append_name(struct pp_call *call, int which, const struct pp_name *entry)
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

int pp_find_directory(struct pp_call *call, int which, int descriptor, int path_argument,
                      struct pp_name *entry)
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
        return -1; /* it is "/": the kernel has its own errors for that */
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
        entry->is_mount_point = entry->last == PP_LAST_NAME && entry->name_length > 0 &&
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
static int exists(struct pp_call *call, int which, int descriptor, struct pp_name *entry)
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

int64_t pp_refuse_new(struct pp_call *call, int which, int descriptor, int may_have_slash,
                      struct pp_name *entry)
{
    if (!entry->is_virtual)
        return entry->is_mount_point ? -EEXIST : 0;
    if (entry->last != PP_LAST_NAME)
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

int64_t pp_missing(const struct pp_call *call, const char *path)
{
    char target[1];
    const int64_t length =
        call->task->operations->read_link(call->task, path, target, sizeof target);
    return length >= 0 || length == -EINVAL ? 0 : length;
}

int64_t pp_missing_directory(struct pp_call *call, int which, const struct pp_name *entry)
{
    char *path = call->places[which].path;
    const size_t cut =
        pp_length(path) - pp_length(call->given[which] + entry->name); /* behind the slash */
    const char kept[2] = {path[cut], path[cut + 1]};

    path[cut] = '.';
    path[cut + 1] = 0;
    const int64_t error = pp_missing(call, path);
    path[cut] = kept[0];
    path[cut + 1] = kept[1];
    return error;
}
