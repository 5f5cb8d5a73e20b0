/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls that look at something and answer from its record. The rules are those of decide.h.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/kernel_structs.h"

enum pp_action pp_decide_stat(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct stat status;

    /* The kernel does not look at other flags if there is no path, so that it is an fstat. */
    if (pp_has_other_flags(call, spec, PP_LOOK_FLAGS) && pp_flags(call, spec) & AT_EMPTY_PATH &&
        (!call->args[spec->path] || (!pp_read_path(call, 0, spec->path) && !call->given[0][0])))
        call->args[spec->flags] &= PP_LOOK_FLAGS;
    if (pp_has_other_flags(call, spec, PP_LOOK_FLAGS | PP_STATX_SYNC_FLAGS) ||
        pp_look_up(call, spec, &action))
        return action;
    const struct pp_walk *walk = &call->places[0].walk;
    pp_fill_stat(&status, call->places[0].mount, walk->snapshot, walk->record);
    return pp_answer(call, call->args[spec->result], &status, sizeof status, 0);
}

enum pp_action pp_decide_statx(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct statx status;

    if (pp_has_other_flags(call, spec, PP_LOOK_FLAGS | PP_STATX_SYNC_FLAGS) ||
        (pp_flags(call, spec) & PP_STATX_SYNC_FLAGS) == PP_STATX_SYNC_FLAGS ||
        call->args[3] & PP_STATX_RESERVED || pp_look_up(call, spec, &action))
        return action;
    const struct pp_walk *walk = &call->places[0].walk;
    pp_fill_statx(&status, call->places[0].mount, walk->snapshot, walk->record);
    return pp_answer(call, call->args[spec->result], &status, sizeof status, 0);
}

enum pp_action pp_decide_access(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    const uint64_t mode = (uint32_t)call->args[spec->result];

    if (mode > PP_ACCESS_MODES ||
        pp_has_other_flags(call, spec, AT_SYMLINK_NOFOLLOW | PP_EACCESS_FLAG | AT_EMPTY_PATH) ||
        pp_look_up(call, spec, &action))
        return action;
    return pp_return(call, pp_access(call->places[0].walk.record, (uint32_t)mode));
}

/* What /proc says of descriptors, working directories and programs, as programs shall see it. */
static enum pp_action translate_link(struct pp_call *call, uint64_t address, uint64_t size)
{
    const struct pp_place *place = &call->places[0];

    if (place->where != PP_REAL || !pp_starts_with(place->path, "/proc/", 6))
        return PP_RUN;
    const int64_t length =
        call->task->operations->read_link(call->task, place->path, call->file, PP_PATH_MAX - 1);
    if (length <= 0)
        return PP_RUN;
    call->file[length] = 0;
    const int64_t shown = pp_shown(call->space, call->file, call->buffer, PP_PATH_MAX);
    if (shown < 0)
        return PP_RUN;
    const uint64_t fitting = (uint64_t)shown < size ? (uint64_t)shown : size;
    return pp_answer(call, address, call->buffer, fitting, (int64_t)fitting);
}

enum pp_action pp_decide_readlink(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const uint64_t address = call->args[spec->result];
    const int64_t capacity = (int)call->args[spec->result + 1];

    if (capacity <= 0)
        return PP_RUN;
    if (pp_look_up(call, spec, &action))
        return action == PP_RUN ? translate_link(call, address, (uint64_t)capacity) : action;
    const struct pp_walk *walk = &call->places[0].walk;
    if (pp_type(&call->places[0]) != PP_TYPE_SYMLINK)
        return pp_return(call, call->given[0][0] ? -EINVAL : -ENOENT);
    const char *target = pp_record_target(walk->record);
    size_t length = walk->record->target_length;
    if (walk->record->flags & PP_VARIANT) {
        length = pp_expand(target, length, walk->snapshot->environment, call->buffer,
                           sizeof call->buffer);
        target = call->buffer;
        length = length < sizeof call->buffer ? length : sizeof call->buffer;
    }
    const uint64_t fitting = length < (uint64_t)capacity ? length : (uint64_t)capacity;
    return pp_answer(call, address, target, fitting, (int64_t)fitting);
}

enum pp_action pp_decide_entries(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    struct pp_place *place = &call->places[0];
    const int descriptor = (int)call->args[0];
    uint64_t capacity = (uint32_t)call->args[2];

    if (pp_look_up(call, spec, &action))
        return action;
    const struct pp_walk *walk = &place->walk;
    const uint64_t parent_inode = pp_parent_inode(walk->snapshot, walk->record);
    switch (pp_walk_enter(&place->walk)) {
    case PP_FOUND:
        break;
    case PP_NEED_CATALOG:
        return pp_ask(call, place, PP_NEEDS_CATALOG);
    default:
        return pp_return(call, -EIO);
    }
    if (pp_type(place) != PP_TYPE_DIRECTORY)
        return PP_RUN;
    int64_t cursor = call->task->operations->seek(call->task, descriptor, -1);
    if (cursor < 0)
        return pp_return(call, cursor);
    if (capacity > sizeof call->buffer)
        capacity = sizeof call->buffer;
    const struct pp_found directory = {walk->index, walk->record, walk->hash};
    const int64_t size = pp_list(&directory, parent_inode,
                                 call->number == __NR_getdents64 ? PP_ENTRIES_64 : PP_ENTRIES_OLD,
                                 &cursor, call->buffer, capacity);
    if (size <= 0)
        return pp_return(call, size);
    const int error = call->task->operations->write(call->task, call->args[spec->result],
                                                    call->buffer, (size_t)size);
    if (error)
        return pp_return(call, error);
    const int64_t moved = call->task->operations->seek(call->task, descriptor, cursor);
    return pp_return(call, moved < 0 ? moved : size);
}

enum pp_action pp_decide_getcwd(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_place *place = &call->places[0];

    const int64_t length =
        call->task->operations->link(call->task, PP_CWD, call->file, PP_PATH_MAX - 1);
    if (length < 0)
        return PP_RUN;
    call->file[length] = 0;
    const int64_t shown = pp_shown(call->space, call->file, place->path, PP_PATH_MAX);
    if (shown < 0)
        return PP_RUN;
    if ((uint64_t)shown + 1 > call->args[1])
        return pp_return(call, -ERANGE);
    return pp_answer(call, call->args[spec->result], place->path, (size_t)shown + 1, shown + 1);
}

/* Let the call run with the path of the view instead. */
static enum pp_action use_view(struct pp_call *call, const struct pp_spec *spec)
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

enum pp_action pp_decide_chdir(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (pp_look_up(call, spec, &action))
        return action;
    if (pp_type(&call->places[0]) != PP_TYPE_DIRECTORY)
        return pp_return(call, -ENOTDIR);
    return use_view(call, spec);
}

enum pp_action pp_decide_watch(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_look_up(call, spec, &action) ? action : use_view(call, spec);
}

enum pp_action pp_decide_unsupported(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_look_up(call, spec, &action) ? action : pp_return(call, -spec->result);
}

enum pp_action pp_decide_statfs(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    struct statfs status;

    if (pp_look_up(call, spec, &action))
        return action;
    pp_fill_statfs(&status, call->places[0].mount, call->places[0].walk.snapshot);
    return pp_answer(call, call->args[spec->result], &status, sizeof status, 0);
}

/* Extended attributes. The blob is as CernVM-FS's xattr.cc has it: a version, the number of
 * attributes, then for each the lengths of name and value (a byte each), name, value. */

struct attribute {
    const uint8_t *name, *value;
    size_t name_length, value_length;
};

struct attributes {
    const uint8_t *next, *end;
    unsigned left;
};

static struct attributes attributes_of(const struct pp_walk *walk)
{
    size_t size;
    struct attributes attributes = {0};
    const uint8_t *extra = pp_index_extra(walk->index, walk->record, &size);

    if (!extra || walk->record->xattr_size < 2)
        return attributes;
    const uint8_t *blob = extra + size - walk->record->xattr_size;
    attributes.next = blob + 2;
    attributes.end = extra + size;
    attributes.left = blob[1];
    return attributes;
}

static int next_attribute(struct attributes *attributes, struct attribute *attribute)
{
    const uint8_t *head = attributes->next;
    if (attributes->left == 0 || attributes->end - head < 2 ||
        attributes->end - head - 2 < head[0] + head[1])
        return 0;
    *attribute = (struct attribute){head + 2, head + 2 + head[0], head[0], head[1]};
    attributes->next = attribute->value + attribute->value_length;
    attributes->left--;
    return 1;
}

static enum pp_action give_value(struct pp_call *call, uint64_t address, uint64_t capacity,
                                 const void *value, size_t size)
{
    if (capacity == 0)
        return pp_return(call, (int64_t)size);
    if (size > capacity)
        return pp_return(call, -ERANGE);
    return pp_answer(call, address, value, size, (int64_t)size);
}

/* Where getxattrat and listxattrat's cousins want their answer; -1 if the kernel has to complain.
 */
static int value_arguments(struct pp_call *call, const struct pp_spec *spec, uint64_t *address,
                           uint64_t *capacity)
{
    struct {
        uint64_t value;
        uint32_t size;
        uint32_t flags;
    } in_memory;

    if (spec->flags == PP_NONE) {
        *address = call->args[2];
        *capacity = call->args[3];
        return 0;
    }
    if (call->args[5] < sizeof in_memory ||
        call->task->operations->read(call->task, call->args[4], &in_memory, sizeof in_memory))
        return -1;
    *address = in_memory.value;
    *capacity = in_memory.size;
    return 0;
}

enum pp_action pp_decide_getxattr(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct pp_place *place = &call->places[0];
    uint64_t address, capacity;
    struct attribute attribute;

    if (pp_has_other_flags(call, spec, PP_LOOK_FLAGS) || pp_look_up(call, spec, &action))
        return action;
    if (pp_is_path_only(call, spec))
        return pp_return(call, -EBADF);
    const int64_t length = call->task->operations->read_text(call->task, call->args[spec->result],
                                                             call->text, sizeof call->text);
    if (length < 0)
        return pp_return(call, length == -ENAMETOOLONG ? -ERANGE : length);
    if (length == 0)
        return pp_return(call, -ERANGE);
    if (pp_equal(call->text, "user."))
        return pp_return(call, -EINVAL);
    if (value_arguments(call, spec, &address, &capacity))
        return pp_return(call, -EINVAL);
    for (struct attributes all = attributes_of(&place->walk); next_attribute(&all, &attribute);)
        if (attribute.name_length == (size_t)length &&
            pp_starts_with((const char *)attribute.name, call->text, (size_t)length))
            return give_value(call, address, capacity, attribute.value, attribute.value_length);
    if (!pp_starts_with(call->text, "user.", 5))
        return pp_return(call, -ENODATA);
    if (!call->asked)
        return pp_ask(call, place, PP_NEEDS_XATTR);
    if (call->answer < 0)
        return pp_return(call, call->answer);
    return give_value(call, address, capacity, call->buffer, (size_t)call->answer);
}

enum pp_action pp_decide_listxattr(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct attribute attribute;
    size_t length = 0;
    const int is_at = spec->flags != PP_NONE;

    if (pp_has_other_flags(call, spec, PP_LOOK_FLAGS) || pp_look_up(call, spec, &action))
        return action;
    if (pp_is_path_only(call, spec))
        return pp_return(call, -EBADF);
    for (struct attributes all = attributes_of(&call->places[0].walk);
         next_attribute(&all, &attribute);) {
        if (pp_append(call->buffer, sizeof call->buffer, &length, (const char *)attribute.name,
                      attribute.name_length))
            break;
        length++; /* the NUL */
    }
    return give_value(call, call->args[is_at ? 3 : 1], call->args[is_at ? 4 : 2], call->buffer,
                      length);
}
