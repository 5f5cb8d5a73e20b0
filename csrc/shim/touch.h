/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The touch map: which records a session has used, in what order, and which of them were opened.
 */
#ifndef PYPARROT_TOUCH_H
#define PYPARROT_TOUCH_H

#include "core/walk.h"
#include "shim/shared_state.h"

/* Note in the touch map that a record was used; `opened` is PP_TOUCH_OPENED or 0. Other processes
 * may do so at the same time: an order may be given out without being used then. */
static inline void pp_touch(struct pp_shared_usage *shared, const struct pp_found *found,
                            uint32_t opened)
{
    if (!found->index->touched)
        return;
    uint32_t *word = &found->index->touched[pp_touch_word(found->index, found->record)];
    const uint32_t now = __atomic_load_n(word, __ATOMIC_RELAXED);
    if (now == 0) {
        const uint32_t order = __atomic_add_fetch(&shared->order, 1, __ATOMIC_RELAXED);
        __atomic_store_n(word, order | opened, __ATOMIC_RELAXED);
    } else if (opened & ~now) {
        __atomic_or_fetch(word, opened, __ATOMIC_RELAXED);
    }
}

#endif
