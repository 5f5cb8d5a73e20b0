/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/walk.h"

#include "core/file_types.h"

/* The values are Linux's own on every architecture that matters; errno.h belongs to libc. */
enum { NOT_FOUND = 2, NOT_A_DIRECTORY = 20, NAME_TOO_LONG = 36, TOO_MANY_LINKS = 40 };

static int is_directory(const struct pp_record *record)
{
    return (record->mode & PP_TYPE_MASK) == PP_TYPE_DIRECTORY;
}

static int is_symlink(const struct pp_record *record)
{
    return (record->mode & PP_TYPE_MASK) == PP_TYPE_SYMLINK;
}

static enum pp_outcome fail(struct pp_walk *walk, int error)
{
    walk->error = error;
    return PP_ERROR;
}

/* A component of a path, and the hash of the path that ends with it. */
struct component {
    const char *name;
    size_t length;
    uint64_t hash;
};

static int is_dots(const char *name, size_t length)
{
    return name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'));
}

void pp_find_root(const struct pp_snapshot *snapshot, struct pp_found *found)
{
    found->index = snapshot->root;
    found->record = pp_index_root(snapshot->root);
    found->hash = snapshot->root->header->root_hash;
}

#define NOT_THERE (-2)
#define MOST_ABSENT 8 /* directories of a path that are not there either: more take a walk */

/* As pp_find, but NOT_THERE if no index has the path. */
static inline __attribute__((always_inline)) int find_present(const struct pp_snapshot *snapshot,
                                                              const struct pp_found *start,
                                                              const char *path, size_t length,
                                                              struct pp_found *found)
{
    const struct pp_index *index = start->index;
    uint64_t hash = start->hash, parent = 0;
    size_t begin = 0, size = 0;

    for (size_t i = 0;;) {
        while (i < length && path[i] == '/')
            i++;
        if (i == length)
            break;
        begin = i;
        while (i < length && path[i] != '/')
            i++;
        size = i - begin;
        if (is_dots(path + begin, size))
            return -1;
        const struct pp_index *nested = pp_snapshot_find(snapshot, hash);
        if (nested)
            index = nested;
        parent = hash;
        hash = pp_hash_child(parent, pp_hash_name(path + begin, size));
    }
    if (size == 0) {
        *found = *start;
        return PP_FOUND;
    }
    if (path[length - 1] == '/' || size > PP_NAME_MAX)
        return -1; /* a slash at the end means: a directory */
    const struct pp_record *record = pp_index_find(index, hash, parent, path + begin, size);
    if (!record)
        return NOT_THERE;
    *found = (struct pp_found){index, record, hash};
    return PP_FOUND;
}

/* Whether there is nothing at a path that was not found: PP_ERROR then, and -1 if that takes a
 * walk. So it is if the last of its directories that was found has all that is in it. Called in
 * place of pp_find, whose frame has gone by then: stacks can be tiny. */
static __attribute__((noinline)) int find_nothing(const struct pp_snapshot *snapshot,
                                                  const struct pp_found *start, const char *path,
                                                  size_t length, struct pp_found *directory)
{
    const struct pp_found from = *start; /* `directory` may be the same */
    int outcome = NOT_THERE;

    for (int i = 0; outcome == NOT_THERE && i < MOST_ABSENT; i++) {
        while (length > 0 && path[length - 1] != '/')
            length--;
        while (length > 0 && path[length - 1] == '/')
            length--;
        outcome = find_present(snapshot, &from, path, length, directory);
    }
    if (outcome != PP_FOUND || !is_directory(directory->record))
        return -1;
    return directory->record->flags & PP_NESTED && !pp_snapshot_find(snapshot, directory->hash)
               ? -1
               : PP_ERROR;
}

int pp_find(const struct pp_snapshot *snapshot, const struct pp_found *start, const char *path,
            size_t length, struct pp_found *found)
{
    const int outcome = find_present(snapshot, start, path, length, found);
    return outcome == NOT_THERE ? find_nothing(snapshot, start, path, length, found) : outcome;
}

/* Take a path for one without symlinks, as most are: a single look-up. -1 if it needs more. */
static int walk_directly(struct pp_walk *walk, const char *path, size_t length)
{
    struct pp_found found;

    pp_find_root(walk->snapshot, &found);
    const int outcome = pp_find(walk->snapshot, &found, path, length, &found);
    if (outcome == PP_ERROR)
        return fail(walk, NOT_FOUND);
    if (outcome != PP_FOUND || (is_symlink(found.record) && !(walk->flags & PP_NOFOLLOW)))
        return -1;
    walk->index = found.index;
    walk->record = found.record;
    walk->hash = found.hash;
    return PP_FOUND;
}

/* Set the walk to the directory at its own `path`, which is real. */
static enum pp_outcome go_to_path(struct pp_walk *walk)
{
    const uint32_t flags = walk->flags;
    walk->flags |= PP_NOFOLLOW;
    const int outcome = walk_directly(walk, walk->path, walk->path_length);
    walk->flags = flags;
    return outcome == PP_FOUND ? PP_FOUND : PP_DAMAGED;
}

enum pp_outcome pp_walk_enter(struct pp_walk *walk)
{
    if (!(walk->record->flags & PP_NESTED))
        return PP_FOUND;
    const struct pp_index *nested = pp_snapshot_find(walk->snapshot, walk->hash);
    if (!nested)
        return PP_NEED_CATALOG;
    walk->index = nested;
    walk->record = pp_index_root(nested);
    return walk->record ? PP_FOUND : PP_DAMAGED;
}

/* Make the rest of the way start with a symlink's target. -1 if it does not fit. */
static int64_t prepend_target(struct pp_walk *walk, const struct pp_record *link, size_t position)
{
    size_t kept = 0;
    while (walk->rest[position + kept])
        kept++;
    const char *target = pp_record_target(link);
    size_t length = link->target_length;
    if (link->flags & PP_VARIANT)
        length = pp_expand(target, link->target_length, walk->snapshot->environment, NULL, 0);
    if (length >= PP_PATH_MAX || length + kept + 1 > sizeof walk->rest)
        return -1;
    __builtin_memmove(walk->rest + length, walk->rest + position, kept + 1);
    if (link->flags & PP_VARIANT)
        pp_expand(target, link->target_length, walk->snapshot->environment, walk->rest, length);
    else
        __builtin_memcpy(walk->rest, target, length);
    return (int64_t)length;
}

static enum pp_outcome leave(struct pp_walk *walk, const char *start, size_t start_length,
                             const char *rest)
{
    size_t length = 0;
    while (rest[length])
        length++;
    if (start_length + length >= sizeof walk->path)
        return fail(walk, NAME_TOO_LONG);
    __builtin_memmove(walk->path + start_length, rest, length + 1);
    __builtin_memcpy(walk->path, start, start_length);
    walk->path_length = (uint32_t)(start_length + length);
    return PP_OUTSIDE;
}

static int starts_with_mountpoint(const struct pp_snapshot *snapshot, const char *path)
{
    const size_t length = snapshot->mountpoint_length;
    for (size_t i = 0; i < length; i++)
        if (path[i] != snapshot->mountpoint[i])
            return 0;
    return path[length] == 0 || path[length] == '/';
}

/* Follow the symlink that was found; `*position` is where the rest of the way starts. */
static enum pp_outcome follow(struct pp_walk *walk, const struct pp_record *link, size_t *position)
{
    if (++walk->links > PP_LINKS_MAX)
        return fail(walk, TOO_MANY_LINKS);
    const int64_t length = prepend_target(walk, link, *position);
    if (length < 0)
        return fail(walk, NAME_TOO_LONG);
    if (length == 0)
        return fail(walk, NOT_FOUND);
    *position = 0;
    if (walk->rest[0] != '/')
        return PP_FOUND;
    if (!starts_with_mountpoint(walk->snapshot, walk->rest))
        return leave(walk, "", 0, walk->rest);
    *position = walk->snapshot->mountpoint_length;
    walk->path_length = 0;
    return go_to_path(walk);
}

/* Go up, or out if this is the root already. */
static enum pp_outcome go_up(struct pp_walk *walk, size_t position)
{
    if (walk->path_length == 0) {
        const struct pp_snapshot *snapshot = walk->snapshot;
        size_t length = snapshot->mountpoint_length;
        while (length > 0 && snapshot->mountpoint[length - 1] != '/')
            length--;
        if (length > 1 && !walk->rest[position])
            length--; /* a slash at the end would ask for a directory, which the program has not
                         done */
        return leave(walk, snapshot->mountpoint, length, walk->rest + position);
    }
    while (walk->path[walk->path_length - 1] != '/')
        walk->path_length--;
    walk->path_length--;
    return go_to_path(walk);
}

/* Look up a name in the directory where the walk is; the walk stays there. */
static enum pp_outcome look_up(struct pp_walk *walk, const char *name, size_t length,
                               struct component *child, const struct pp_record **record)
{
    const enum pp_outcome entered = pp_walk_enter(walk);
    if (entered != PP_FOUND)
        return entered;
    if (length > PP_NAME_MAX)
        return fail(walk, NAME_TOO_LONG);
    *child =
        (struct component){name, length, pp_hash_child(walk->hash, pp_hash_name(name, length))};
    *record = pp_index_find(walk->index, child->hash, walk->hash, name, length);
    return *record ? PP_FOUND : fail(walk, NOT_FOUND);
}

static enum pp_outcome go_down(struct pp_walk *walk, const struct component *child,
                               const struct pp_record *record)
{
    if (walk->path_length + 1 + child->length >= PP_PATH_MAX)
        return fail(walk, NAME_TOO_LONG);
    walk->path[walk->path_length++] = '/';
    __builtin_memcpy(walk->path + walk->path_length, child->name, child->length);
    walk->path_length += (uint32_t)child->length;
    walk->path[walk->path_length] = 0;
    walk->record = record;
    walk->hash = child->hash;
    return PP_FOUND;
}

uint64_t pp_path_hash(uint64_t start, const char *path, size_t length)
{
    uint64_t hash = start;

    for (size_t i = 0; i < length;) {
        const size_t begin = i;
        while (i < length && path[i] != '/')
            i++;
        if (i > begin)
            hash = pp_hash_child(hash, pp_hash_name(path + begin, i - begin));
        i++;
    }
    return hash;
}

/* Whether something else is mounted at a name in the directory where the walk is. */
static int is_covered(const struct pp_walk *walk, const char *name, size_t length)
{
    const uint64_t *covered = walk->snapshot->covered;
    if (!covered || !*covered)
        return 0;
    const uint64_t hash = pp_hash_child(walk->hash, pp_hash_name(name, length));
    while (*covered && *covered != hash)
        covered++;
    return *covered != 0;
}

/* Leave the repository for what is mounted at a name in the directory where the walk is. */
static enum pp_outcome cross(struct pp_walk *walk, const char *rest)
{
    char start[PP_PATH_MAX];
    const size_t head = walk->snapshot->mountpoint_length, length = head + walk->path_length;

    if (length + 1 >= sizeof start)
        return fail(walk, NAME_TOO_LONG);
    __builtin_memcpy(start, walk->snapshot->mountpoint, head);
    __builtin_memcpy(start + head, walk->path, walk->path_length);
    start[length] = '/';
    return leave(walk, start, length + 1, rest);
}

/* Take the step to the component at `*position` of the rest. */
static enum pp_outcome step(struct pp_walk *walk, size_t *position)
{
    const size_t start = *position;
    size_t end = start;
    while (walk->rest[end] && walk->rest[end] != '/')
        end++;
    const size_t length = end - start;
    const int slash = walk->rest[end] == '/';
    *position = end;
    while (walk->rest[end] == '/')
        end++;
    const int last = walk->rest[end] == 0;

    if (is_dots(walk->rest + start, length)) {
        if (length == 1)
            return PP_FOUND;
        return go_up(walk, *position);
    }
    if (is_covered(walk, walk->rest + start, length))
        return cross(walk, walk->rest + start);
    struct component child;
    const struct pp_record *record;
    const enum pp_outcome outcome = look_up(walk, walk->rest + start, length, &child, &record);
    walk->at_last = last;
    if (outcome != PP_FOUND)
        return outcome;
    const int must_be_directory = !last || slash;
    if (is_symlink(record) && (must_be_directory || !(walk->flags & PP_NOFOLLOW)))
        return follow(walk, record, position);
    if (must_be_directory && !is_directory(record))
        return fail(walk, NOT_A_DIRECTORY);
    return go_down(walk, &child, record);
}

enum pp_outcome pp_walk(struct pp_walk *walk, const char *path, size_t length)
{
    if (length >= (walk->flags & PP_JOINED ? sizeof walk->rest : PP_PATH_MAX))
        return fail(walk, NAME_TOO_LONG);
    const uint64_t *covered = walk->snapshot->covered;
    if (!(walk->flags & PP_WANT_PATH) && !(covered && *covered)) {
        const int outcome = walk_directly(walk, path, length);
        if (outcome >= 0)
            return (enum pp_outcome)outcome;
    }
    __builtin_memcpy(walk->rest, path, length);
    walk->rest[length] = 0;
    walk->path_length = 0;
    walk->path[0] = 0;
    walk->at_last = 0;
    enum pp_outcome outcome = go_to_path(walk);
    for (size_t position = 0; outcome == PP_FOUND;) {
        while (walk->rest[position] == '/')
            position++;
        if (!walk->rest[position])
            break;
        outcome = step(walk, &position);
    }
    return outcome;
}
