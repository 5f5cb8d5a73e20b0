/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * When descriptors are short. Those of pyparrot's processes are held for moments, each by one
 * thread: so what has failed for want of one is tried again. A program is not told of it, since it
 * would take that for its own limit; and the user is.
 */
#ifndef PYPARROT_DESCRIPTORS_H
#define PYPARROT_DESCRIPTORS_H

/* Whether a call that has failed with errno is to be made once more, after a pause; `tries` starts
 * with 0. If there is no hope, a line says so on standard error, once in a process. */
int pp_is_to_be_tried_again(int *tries);

/* The value of an expression that gives a descriptor, or -1 and errno. */
#define PP_DESCRIPTOR(expression)                                                                  \
    __extension__({                                                                                \
        int tries_ = 0, descriptor_;                                                               \
        do                                                                                         \
            descriptor_ = (int)(expression);                                                       \
        while (descriptor_ < 0 && pp_is_to_be_tried_again(&tries_));                               \
        descriptor_;                                                                               \
    })

#endif
