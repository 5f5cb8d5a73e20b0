/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bind, connect: sockets with a name. The rules are those of decide.h.
 */
#include "core/deciders.h"
#include "core/name.h"

#define UNIX_ADDRESS_MAX 110
/* Whether the call's descriptor is a socket at all: the kernel looks at that first. */
static int is_socket(struct pp_call *call, const struct pp_spec *spec)
{
    char *what = call->file;
    const int64_t length =
        call->task->operations->link(call->task, pp_descriptor(call, spec), what, 8);
    return length == 8 && pp_starts_with(what, "socket:[", 8);
}

/* The path in a socket's address, into given[0]; -1 if it has none. */
static int read_socket_path(struct pp_call *call, const struct pp_spec *spec)
{
    char address[UNIX_ADDRESS_MAX + 1];
    uint16_t family;
    const uint64_t size = (uint32_t)call->args[spec->size];

    if (size <= PP_UNIX_PATH_OFFSET || size > UNIX_ADDRESS_MAX ||
        call->task->operations->read(call->task, call->args[spec->input], address, size))
        return -1;
    address[size] = 0;
    __builtin_memcpy(&family, address, sizeof family);
    if (family != PP_UNIX_FAMILY || !address[PP_UNIX_PATH_OFFSET])
        return -1;
    const char *path = address + PP_UNIX_PATH_OFFSET;
    __builtin_memcpy(call->given[0], path, pp_length(path) + 1);
    return 0;
}

/* Let the call run with the real path that its address leads to through something virtual. */
static enum pp_action change_address(struct pp_call *call, const struct pp_spec *spec)
{
    const struct pp_change *change = &call->changes[0];
    const uint16_t family = PP_UNIX_FAMILY;

    if (change->size > UNIX_ADDRESS_MAX - PP_UNIX_PATH_OFFSET)
        return pp_return(call, -ENAMETOOLONG);
    __builtin_memcpy(call->buffer, &family, sizeof family);
    __builtin_memcpy(call->buffer + PP_UNIX_PATH_OFFSET, change->data, change->size);
    call->args[spec->size] = PP_UNIX_PATH_OFFSET + change->size;
    call->changes[0] =
        (struct pp_change){spec->input, PP_UNIX_PATH_OFFSET + change->size, call->buffer};
    return PP_CHANGE;
}

enum pp_action pp_decide_bind(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_name entry;

    if (!is_socket(call, spec) || read_socket_path(call, spec))
        return PP_RUN;
    if (pp_find_directory(call, 0, PP_CWD, spec->input, &entry))
        return entry.action;
    const int64_t error = pp_refuse_new(call, 0, PP_CWD, 0, &entry);
    if (error)
        return pp_return(call, error == -EEXIST ? -EADDRINUSE : error);
    return entry.action == PP_CHANGE ? change_address(call, spec) : entry.action;
}

enum pp_action pp_decide_connect(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (!is_socket(call, spec) || read_socket_path(call, spec))
        return PP_RUN;
    if (pp_resolve_path(call, 0, PP_CWD, spec->input, 0, &action))
        return action == PP_CHANGE ? change_address(call, spec) : action;
    const uint32_t type = pp_type(&call->places[0]);
    /* To connect is to write, and no socket in a repository has a listener. */
    const int is_refused = type == PP_TYPE_REGULAR || type == PP_TYPE_DIRECTORY;
    return pp_return(call, is_refused ? -EROFS : -ECONNREFUSED);
}
