/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the deciders share, and the shim with them: constants of the kernel's interface, and the
 * steps that most decisions are made of. A decider gets a call and what syscalls.tbl says of it. It
 * may be asked again and again about the same call (decide.h).
 */
#ifndef PYPARROT_DECIDERS_H
#define PYPARROT_DECIDERS_H

#include <asm/errno.h>
#include <linux/fcntl.h>

#include "core/decide.h"
#include "core/file_types.h"
#include "core/text.h"

#define PP_STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)
#define PP_STATX_SYNC_FLAGS 0x6000u
#define PP_STATX_RESERVED 0x80000000u
#define PP_EACCESS_FLAG 0x200u
#define PP_ACCESS_MODES 7u /* R_OK | W_OK | X_OK */
#define PP_UNIX_FAMILY 1
#define PP_UNIX_PATH_OFFSET 2 /* in a socket's address */

#define DECIDER(name, operation)                                                                   \
    enum pp_action pp_decide_##name(struct pp_call *call, const struct pp_spec *spec);
PP_DECIDERS(DECIDER)
#undef DECIDER

static inline enum pp_action pp_return(struct pp_call *call, int64_t value)
{
    call->value = value;
    return PP_RETURN;
}

static inline uint32_t pp_type_of(const struct pp_record *record)
{
    return record->mode & PP_TYPE_MASK;
}

static inline uint32_t pp_type(const struct pp_place *place)
{
    return pp_type_of(place->walk.record);
}

/* Write an answer; the call returns `value` then, or EFAULT. */
static inline enum pp_action pp_answer(struct pp_call *call, uint64_t address, const void *data,
                                       size_t size, int64_t value)
{
    const int error = call->task->operations->write(call->task, address, data, size);
    return pp_return(call, error ? error : value);
}

/* Resolve what the call's descriptor and path name, into places[0]. 0 if it is virtual; else the
 * `*action` is settled: it failed, is real, or something is needed first. */
int pp_resolve_call(struct pp_call *call, const struct pp_spec *spec, enum pp_action *action);

/* The same for the `which`th path, of which `given` was read. `walk` is PP_NOFOLLOW or 0. */
int pp_resolve_path(struct pp_call *call, int which, int descriptor, int path_argument,
                    uint32_t walk, enum pp_action *action);

/* Read the `which`th path of the call; -1 if the kernel has to say what is wrong with it. */
int pp_read_path(struct pp_call *call, int which, int argument);

/* What to do about a place that is not virtual. */
enum pp_action pp_settle(struct pp_call *call, struct pp_place *place, int path_argument);

/* Something is needed before this can be decided. */
enum pp_action pp_ask(struct pp_call *call, struct pp_place *place, enum pp_need need);

/* Let the call run with the path of the view instead of its own. */
enum pp_action pp_use_view(struct pp_call *call, const struct pp_spec *spec);

/* The path of a place's view, into `output`: its length, or -ENAMETOOLONG. */
int64_t pp_view_path(const struct pp_call *call, const struct pp_place *place, char *output,
                     size_t capacity);

/* The flags among the arguments of a call; 0 if it has none. */
static inline uint32_t pp_flags_in(const struct pp_spec *spec, const uint64_t args[6])
{
    return spec->flags == PP_NONE ? 0 : (uint32_t)args[spec->flags];
}

static inline uint32_t pp_flags(const struct pp_call *call, const struct pp_spec *spec)
{
    return pp_flags_in(spec, call->args);
}

/* Flags that the kernel does not know are its to refuse. */
static inline int pp_has_other_flags(const struct pp_call *call, const struct pp_spec *spec,
                                     uint32_t known)
{
    return (pp_flags(call, spec) & ~known) != 0;
}

/* Whether a symlink at the end of the path is not followed. */
static inline int pp_is_nofollow(const struct pp_spec *spec, uint32_t flags)
{
    return spec->options & PP_SPEC_NOFOLLOW || flags & AT_SYMLINK_NOFOLLOW;
}

/* The descriptor of a call, or the working directory; and the one that a second path starts from.
 */
static inline int pp_first_descriptor(const struct pp_spec *spec, const uint64_t args[6])
{
    return spec->descriptor == PP_NONE ? PP_CWD : (int)args[spec->descriptor];
}

static inline int pp_second_descriptor(const struct pp_spec *spec, const uint64_t args[6])
{
    return spec->second_descriptor == PP_NONE ? PP_CWD : (int)args[spec->second_descriptor];
}

static inline int pp_descriptor(const struct pp_call *call, const struct pp_spec *spec)
{
    return pp_first_descriptor(spec, call->args);
}

/* Whether the call is about a descriptor that was opened with O_PATH, which can't be used so. */
static inline int pp_is_path_only(const struct pp_call *call, const struct pp_spec *spec)
{
    const int descriptor = pp_descriptor(call, spec);
    return (spec->path == PP_NONE || call->args[spec->path] == 0) && descriptor >= 0 &&
           call->task->operations->seek(call->task, descriptor, -1) == -EBADF;
}

#endif
