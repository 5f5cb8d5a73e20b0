/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/resolve.h"

#include <asm/errno.h>

#include "core/text.h"

#define DELETED " (deleted)" /* what /proc adds to a name that was removed */
#define REAL_VIEW "real" PP_PROGRAM_SUFFIX

static void fail(struct pp_place *place, int error)
{
    place->where = PP_FAILED;
    place->error = error;
}

static void miss(struct pp_place *place, enum pp_need need)
{
    place->where = PP_MISSING;
    place->need = need;
}

/* Views */

/* Where the path in a mount begins that a view's path stands for; `*mount` is NULL for a real one.
 */
static int unview(const struct pp_namespace *space, const char *path, const struct pp_mount **mount,
                  size_t *start)
{
    const size_t real = sizeof REAL_VIEW - 1;
    const size_t base = space->views_length + 1;

    *mount = pp_view_match(space, path, start);
    if (*mount)
        return 1;
    if (!pp_starts_with(path, space->views, space->views_length) || path[base - 1] != '/' ||
        !pp_starts_with(path + base, REAL_VIEW "/", real + 1))
        return 0;
    *start = pp_behind_state(path, base + real);
    return path[*start] == '/';
}

int64_t pp_shown(const struct pp_namespace *space, const char *path, char *output, size_t capacity)
{
    const struct pp_mount *mount;
    size_t start, length = 0;

    if (!unview(space, path, &mount, &start))
        return -1;
    const size_t whole = pp_length(path), deleted = sizeof DELETED - 1;
    const size_t end = whole > start + deleted && pp_equal(path + whole - deleted, DELETED)
                           ? whole - deleted
                           : whole;
    if (mount && pp_append(output, capacity, &length, mount->path, mount->path_length))
        return -ENAMETOOLONG;
    if (pp_append(output, capacity, &length, path + start, end - start))
        return -ENAMETOOLONG;
    return (int64_t)length;
}

/* Mounts */

/* Nothing is mounted at a name in an automount directory. Whether to ask for it: if so, the name is
 * all that is left in `place->path`. */
static int needs_mount(struct pp_place *place, const struct pp_mounts *mounts, size_t end,
                       int64_t now)
{
    const struct pp_mount *mount = place->mount;
    size_t start = end;

    while (place->path[start] == '/' ||
           (place->path[start] == '.' && place->path[start + 1] == '/'))
        start++;
    size_t stop = start;
    while (place->path[stop] && place->path[stop] != '/')
        stop++;
    const size_t length = stop - start;
    if (length == 0 || length > PP_NAME_MAX || place->path[start] == '.')
        return 0;
    const uint64_t hash = pp_hash_child(pp_path_hash(PP_HASH_ROOT, mount->path, mount->path_length),
                                        pp_hash_name(place->path + start, length));
    if (pp_mounts_is_negative(mounts, hash, now))
        return 0;
    __builtin_memmove(place->path, place->path + start, length);
    place->path[length] = 0;
    return 1;
}

/* Whether the real path of `length` bytes is a mount point. */
static int is_mount_point(const struct pp_mounts *mounts, char *path, size_t length)
{
    size_t end;
    const char after = path[length];
    path[length] = 0;
    const struct pp_mount *mount = pp_mounts_match(mounts, path, &end);
    path[length] = after;
    return mount && end == length;
}

/* The real file system */

/* In `path`, replace what stands before `rest` by a symlink's target; -1 if it does not fit. */
static int put_before(char *path, size_t capacity, size_t rest, const char *target, size_t length)
{
    const size_t kept = pp_length(path + rest);

    if (length + kept + 1 > capacity)
        return -1;
    __builtin_memmove(path + length, path + rest, kept + 1);
    __builtin_memcpy(path, target, length);
    return 0;
}

/* Whether what looks like a relative target is none: "pipe:[1]" and its like, which the kernel
 * alone can follow. */
static int is_magic(const char *path, const char *target)
{
    if (!pp_starts_with(path, "/proc/", 6))
        return 0;
    while (*target && *target != ':')
        target++;
    return *target == ':';
}

/* If `place->path` is that of a view, replace it by the path that programs see; 1 if so. */
static int leave_view(struct pp_place *place, const struct pp_namespace *space)
{
    char shown[PP_PATH_MAX];

    const int64_t length = pp_shown(space, place->path, shown, sizeof shown);
    if (length < 0)
        return 0;
    __builtin_memcpy(place->path, shown, (size_t)length + 1);
    place->passed = 1;
    return 1;
}

/* The walk through the real file system */

/* How a step of it ends. */
enum step {
    STEP_ON,   /* there may be more components */
    STEP_REAL, /* `path` is real, without symlinks as far as it exists; the kernel does the rest */
    STEP_VIRTUAL, /* `path` starts with a mount point */
    STEP_FAILED,  /* `error` of the place says why */
};

/* A component of `place->path`: what is before it is known to be real. */
struct component {
    size_t before; /* where the part before it ends */
    size_t start, end;
    int is_last;
};

/* The component behind the first `before` bytes of a path; its length, 0 at the end of the path. */
static size_t find_component(const char *path, size_t before, struct component *component)
{
    size_t start = before;

    while (path[start] == '/')
        start++;
    size_t end = start;
    while (path[end] && path[end] != '/')
        end++;
    *component = (struct component){before, start, end, path[end] == 0};
    return end - start;
}

/* Read the symlink that the first `length` bytes of `path` name; as the operation `read_link`. */
static int64_t read_link(struct pp_task *task, char *path, size_t length, char *target)
{
    const char behind = path[length];

    path[length] = 0;
    const int64_t size = task->operations->read_link(task, path, target, PP_PATH_MAX);
    path[length] = behind;
    return size;
}

/* Take the bytes from `start` to `end` out of a path. */
static void cut(char *path, size_t start, size_t end)
{
    __builtin_memmove(path + start, path + end, pp_length(path + end) + 1);
}

static enum step step_up(struct pp_place *place, struct pp_task *task,
                         const struct component *component, size_t *done)
{
    char *path = place->path;

    if (read_link(task, path, component->end, place->walk.rest) != -EINVAL)
        return STEP_REAL; /* what is before it is no directory: the kernel knows what to say */
    size_t parent = component->before;
    while (parent > 0 && path[--parent] != '/')
        ;
    cut(path, parent, component->end);
    if (!path[0]) {
        path[0] = '/';
        path[1] = 0;
    }
    *done = parent;
    return STEP_ON;
}

static enum step fail_step(struct pp_place *place, int error)
{
    place->error = error;
    return STEP_FAILED;
}

/* Put the target of a relative symlink in its place. */
static enum step follow_relative(struct pp_place *place, const char *target, size_t size,
                                 const struct component *component)
{
    char *path = place->path;
    char rest[2 * PP_PATH_MAX];
    size_t kept = 0, total = component->before;

    if (is_magic(path, target))
        return STEP_REAL;
    if (pp_append(rest, sizeof rest, &kept, path + component->end,
                  pp_length(path + component->end)) ||
        pp_append(path, sizeof place->path, &total, "/", 1) ||
        pp_append(path, sizeof place->path, &total, target, size) ||
        pp_append(path, sizeof place->path, &total, rest, kept))
        return fail_step(place, ENAMETOOLONG);
    return STEP_ON;
}

static enum step follow_absolute(struct pp_place *place, const struct pp_namespace *space,
                                 const char *target, size_t size, const struct component *component,
                                 size_t *done)
{
    if (put_before(place->path, sizeof place->path, component->end, target, size))
        return fail_step(place, ENAMETOOLONG);
    if (leave_view(place, space))
        return STEP_VIRTUAL;
    *done = 0;
    return STEP_ON;
}

/* Go on to what a name is: a directory or a file, or a symlink that is to be followed. */
static enum step step_down(struct pp_place *place, const struct pp_namespace *space,
                           struct pp_task *task, const struct component *component, size_t *done)
{
    char *target = place->walk.rest; /* free for now: there is no walk in a repository yet */
    const int64_t size = read_link(task, place->path, component->end, target);

    if (size == -EINVAL) {
        *done = component->end;
        return STEP_ON;
    }
    if (size < 0)
        return STEP_REAL; /* it ends here, and the kernel knows how */
    target[size] = 0;
    if (++place->walk.links > PP_LINKS_MAX)
        return fail_step(place, ELOOP);
    return target[0] == '/' ? follow_absolute(place, space, target, (size_t)size, component, done)
                            : follow_relative(place, target, (size_t)size, component);
}

/* Walk the real path `place->path` by its components, until it ends or leads into something
 * virtual. */
static enum step walk_real(struct pp_place *place, const struct pp_namespace *space,
                           const struct pp_mounts *mounts, struct pp_task *task, int follow)
{
    char *path = place->path;
    size_t done = 0; /* the part of the path that is known to be real */
    enum step step = STEP_ON;

    while (step == STEP_ON) {
        struct component component;
        const size_t length = find_component(path, done, &component);
        const char *name = path + component.start;
        if (length == 0)
            return STEP_REAL;
        if (length == 1 && name[0] == '.') {
            if (component.is_last)
                return STEP_REAL; /* what is before it has to be a directory: the kernel looks */
            cut(path, done, component.end);
        } else if (length == 2 && name[0] == '.' && name[1] == '.') {
            step = step_up(place, task, &component, &done);
        } else if (is_mount_point(mounts, path, component.end)) {
            return STEP_VIRTUAL;
        } else if (component.is_last && !follow) {
            return STEP_REAL;
        } else {
            step = step_down(place, space, task, &component, &done);
        }
    }
    return step;
}

/* What a descriptor names, as programs see it, in `place->path`: 1 if it is virtual, of
 * `place->mount` then, which may have been replaced where it was; 0 if it is a real path, -1 if it
 * is none at all. */
static int start_at(struct pp_place *place, const struct pp_namespace *space, struct pp_task *task,
                    int descriptor)
{
    char real[PP_PATH_MAX + sizeof DELETED];
    const int64_t length = task->operations->link(task, descriptor, real, sizeof real - 1);
    size_t start;

    if (length < 0 || real[0] != '/')
        return -1;
    real[length] = 0;
    if (unview(space, real, &place->mount, &start) &&
        pp_shown(space, real, place->path, PP_PATH_MAX) >= 0)
        return 1;
    __builtin_memcpy(place->path, real, (size_t)length + 1);
    return 0;
}

/* Walk on in `place->mount`, to which the path leads up to `end`: 0 if it leads out again. */
static int walk_mount(struct pp_place *place, const struct pp_namespace *space,
                      const struct pp_mounts *mounts, struct pp_task *task, size_t end,
                      uint32_t flags)
{
    place->passed = 1;
    place->walk.snapshot = pp_mount_snapshot(space, place->mount);
    if (!place->walk.snapshot) {
        miss(place, PP_NEEDS_MOUNT);
        return 1;
    }
    place->walk.flags = flags | PP_WANT_PATH;
    switch (pp_walk(&place->walk, place->path + end, pp_length(place->path + end))) {
    case PP_FOUND:
        place->where = PP_VIRTUAL;
        return 1;
    case PP_ERROR:
        if (place->walk.error == ENOENT && place->mount->flags & PP_AUTOMOUNT &&
            place->walk.path_length == 0 &&
            needs_mount(place, mounts, end, task->operations->now(task)))
            miss(place, PP_NEEDS_MOUNT);
        else
            fail(place, place->walk.error);
        return 1;
    case PP_OUTSIDE:
        __builtin_memcpy(place->path, place->walk.path, place->walk.path_length + 1u);
        return 0;
    case PP_NEED_CATALOG:
        miss(place, PP_NEEDS_CATALOG);
        return 1;
    default:
        fail(place, EIO);
        return 1;
    }
}

/* Leave out "." and empty components, except for the last: with a symlink's target put before its
 * rest, a path may have become longer than the kernel takes. */
static void squeeze(char *path)
{
    size_t kept = 0;

    for (size_t i = 0; path[i];) {
        size_t next = i + 1; /* path[i] is a slash */
        while (path[next] && path[next] != '/')
            next++;
        const size_t length = next - i - 1;
        if (path[next] && (length == 0 || (length == 1 && path[i + 1] == '.'))) {
            i = next;
            continue;
        }
        __builtin_memmove(path + kept, path + i, next - i);
        kept += next - i;
        i = next;
    }
    path[kept] = 0;
}

/* The path is real to its end: say so. */
static void end_real(struct pp_place *place)
{
    place->where = place->passed ? PP_MOVED : PP_REAL;
    if (place->passed)
        squeeze(place->path);
}

/* Go on where the path is absolute, in `place->path`. */
static void resolve_absolute(struct pp_place *place, const struct pp_namespace *space,
                             struct pp_task *task, uint32_t flags)
{
    const struct pp_mounts *mounts = __atomic_load_n(&space->mounts, __ATOMIC_ACQUIRE);
    const int follow = !(flags & PP_NOFOLLOW);
    size_t end;

    for (;;) {
        place->mount = pp_mounts_match(mounts, place->path, &end);
        if (place->mount) {
            if (walk_mount(place, space, mounts, task, end, flags))
                return;
            flags |= PP_JOINED; /* a target and what was left: no program gave that path */
            continue;
        }
        if (leave_view(place, space))
            continue;
        if (!place->passed && !pp_has_dots(place->path) &&
            task->operations->has_no_symlinks(task, place->path, follow)) {
            place->where = PP_REAL;
            return;
        }
        const enum step step = walk_real(place, space, mounts, task, follow);
        if (step == STEP_FAILED)
            return fail(place, place->error);
        if (step == STEP_REAL)
            return end_real(place);
    }
}

/* Whether a descriptor is that of a symlink (by O_PATH and O_NOFOLLOW), which nothing lies in. */
static int is_link(struct pp_task *task, int descriptor)
{
    char path[PP_PATH_MAX], target[1];
    const int64_t length = task->operations->link(task, descriptor, path, sizeof path - 1);

    if (length < 0)
        return 0;
    path[length] = 0;
    return task->operations->read_link(task, path, target, sizeof target) >= 0;
}

void pp_resolve(struct pp_place *place, const struct pp_namespace *space, struct pp_task *task,
                int descriptor, const char *path, uint32_t flags)
{
    size_t length = 0;
    int start = 0;

    place->need = PP_NEEDS_NOTHING;
    place->where = PP_REAL;
    place->passed = 0;
    place->walk.links = 0;
    place->walk.at_last = 0;
    place->path[0] = 0;
    if (path[0] != '/') {
        start = start_at(place, space, task, descriptor);
        if (start < 0 || (start == 0 && !path[0]))
            return;
        if (!path[0] && place->mount) { /* the very file, whatever its path leads to by now */
            const struct pp_mounts *mounts = __atomic_load_n(&space->mounts, __ATOMIC_ACQUIRE);
            if (walk_mount(place, space, mounts, task, place->mount->path_length, flags))
                return;
        }
        length = pp_length(place->path);
        if (path[0] && pp_append(place->path, sizeof place->path, &length, "/", 1))
            return fail(place, ENAMETOOLONG);
        flags |= PP_JOINED;
    }
    if (pp_append(place->path, sizeof place->path, &length, path, pp_length(path)))
        return fail(place, ENAMETOOLONG);
    resolve_absolute(place, space, task, flags);
    if (path[0] && path[0] != '/' && place->walk.links > 0 && is_link(task, descriptor))
        fail(place, ENOTDIR);
}
