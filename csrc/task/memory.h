/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Copying to and from another task's memory.
 */
#ifndef PYPARROT_MEMORY_H
#define PYPARROT_MEMORY_H

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Copy all of `size` bytes from or to the task's memory: 0 or -EFAULT. */
static inline int pp_memory_read(pid_t task, uint64_t address, void *buffer, size_t size)
{
    const struct iovec here = {buffer, size}, there = {(void *)(uintptr_t)address, size};
    return process_vm_readv(task, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

static inline int pp_memory_write(pid_t task, uint64_t address, const void *data, size_t size)
{
    const struct iovec here = {(void *)(uintptr_t)data, size},
                       there = {(void *)(uintptr_t)address, size};
    return process_vm_writev(task, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

#endif
