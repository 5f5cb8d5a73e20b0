/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The seccomp filter: it makes the system calls stop that syscalls.tbl says are decided or noticed,
 * and asks the engine about them.
 */
#ifndef PYPARROT_FILTER_H
#define PYPARROT_FILTER_H

#include <stdint.h>

/* cffi: begin */

/* Install the filter in the calling thread, for it and all that it starts. Calls with `cookie` as
 * the sixth argument pass. `wait_killable`: signals that do not kill wait for answers. Returns the
 * listener's descriptor, or -errno. */
int pp_filter_install(uint64_t cookie, int wait_killable);

/* cffi: end */

#endif
