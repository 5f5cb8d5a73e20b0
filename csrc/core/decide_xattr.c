/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * getxattr, listxattr. The rules are those of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"

#define XATTR_ARGS_MAX 4096u /* bytes of a struct xattr_args, which may grow */

static enum pp_action give_value(struct pp_call *call, uint64_t address, uint64_t capacity,
                                 const void *value, size_t size)
{
    if (capacity == 0)
        return pp_return(call, (int64_t)size);
    if (size > capacity)
        return pp_return(call, -ERANGE);
    return pp_answer(call, address, value, size, (int64_t)size);
}

/* Where the value is to be written: getxattrat has that in memory. -1 if there is something that
 * the kernel refuses, which it does before it looks at the path. */
static int read_value_arguments(struct pp_call *call, const struct pp_spec *spec, uint64_t *address,
                                uint64_t *capacity)
{
    const uint64_t size = call->args[spec->size];
    struct {
        uint64_t value;
        uint32_t size;
        uint32_t flags;
    } in_memory;

    if (spec->output != PP_NONE) {
        *address = call->args[spec->output];
        *capacity = size;
        return 0;
    }
    if (size < sizeof in_memory || size > XATTR_ARGS_MAX ||
        call->task->operations->read(call->task, call->args[spec->input], &in_memory,
                                     sizeof in_memory) ||
        in_memory.flags != 0)
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
    struct pp_attribute attribute;

    if (read_value_arguments(call, spec, &address, &capacity) ||
        pp_has_other_flags(call, spec, PP_STAT_FLAGS) || pp_resolve_call(call, spec, &action))
        return action;
    if (pp_is_path_only(call, spec))
        return pp_return(call, -EBADF);
    const int64_t length = call->task->operations->read_text(
        call->task, call->args[spec->name], call->attribute, sizeof call->attribute);
    if (length < 0)
        return pp_return(call, length == -ENAMETOOLONG ? -ERANGE : length);
    if (length == 0)
        return pp_return(call, -ERANGE);
    if (pp_equal(call->attribute, "user."))
        return pp_return(call, -EINVAL);
    struct pp_attributes all = pp_index_attributes(place->walk.index, place->walk.record);
    while (pp_next_attribute(&all, &attribute))
        if (attribute.name_length == (size_t)length &&
            pp_starts_with((const char *)attribute.name, call->attribute, (size_t)length))
            return give_value(call, address, capacity, attribute.value, attribute.value_length);
    if (!pp_starts_with(call->attribute, "user.", 5))
        return pp_return(call, -ENODATA);
    if (!call->attribute_fetched)
        return pp_ask(call, place, PP_NEEDS_XATTR);
    if (call->attribute_size < 0)
        return pp_return(call, call->attribute_size);
    return give_value(call, address, capacity, call->buffer, (size_t)call->attribute_size);
}

enum pp_action pp_decide_listxattr(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct pp_attribute attribute;
    size_t length = 0;

    if (pp_has_other_flags(call, spec, PP_STAT_FLAGS) || pp_resolve_call(call, spec, &action))
        return action;
    if (pp_is_path_only(call, spec))
        return pp_return(call, -EBADF);
    const struct pp_walk *walk = &call->places[0].walk;
    struct pp_attributes all = pp_index_attributes(walk->index, walk->record);
    while (pp_next_attribute(&all, &attribute)) {
        if (pp_append(call->buffer, sizeof call->buffer, &length, (const char *)attribute.name,
                      attribute.name_length))
            break;
        length++; /* the NUL */
    }
    return give_value(call, call->args[spec->output], call->args[spec->size], call->buffer, length);
}
