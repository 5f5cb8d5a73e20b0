/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first look at a call, on the program's own stack: what can be answered with a look-up or two, and
 * what has nothing to do with us. The rest takes the brain (think.c).
 *
 * Stack is scarce (shim.h). So the file that a call starts from is found first, and its status has gone
 * from the stack when the path is looked up; and what is called last is called in place of its caller.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "../answers.h"
#include "../calls.h"
#include "shim.h"

#define LOOK_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)
#define STATX_SYNC_FLAGS 0x6000u
#define STATX_RESERVED 0x80000000u
#define EACCESS_FLAG 0x200u
#define ACCESS_MODES 7u
#define FACCESSAT2 439
#define VERIFIED 256u
#define UNIX_FAMILY 1
#define UNIX_PATH_OFFSET 2
#define PLAIN_OPEN_FLAGS \
    (O_NONBLOCK | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_NOCTTY)

/* Where a path leads. */
enum way { WAY_FOUND, WAY_ABSENT, WAY_REAL, WAY_UNKNOWN };

static uint32_t type_of(const struct pp_record *record)
{
    return record->mode & PP_TYPE_MASK;
}

/* Whether the kernel may find something at a real path that programs shall see otherwise: through
 * /proc one gets at views, and /dev has links that lead there. */
static int is_devious(const char *path)
{
    while (path[1] == '/')
        path++;
    if (path[1] == '.')
        return 1;
    if (pp_starts_with(path, "/proc", 5) || pp_starts_with(path, "/dev/fd", 7) ||
        pp_starts_with(path, "/dev/std", 8))
        return 1;
    return pp_starts_with(path, pp_shim.space.views, pp_shim.space.views_length);
}

/* Whether a real symlink may lead the kernel to something real where a mount point is. */
static int is_covering(void)
{
    return pp_shim.board->flags & PP_BOARD_COVERS;
}

/* Whether a file with this status may be a view. */
static int may_be_view(const struct stat *status)
{
    if ((status->st_mode & PP_TYPE_MASK) == PP_TYPE_REGULAR)
        return (int64_t)status->st_mtime == pp_shim.board->mark;
    return status->st_dev == pp_shim.board->views_device;
}

static int64_t get_status(int descriptor, struct stat *status)
{
    return pp_gate(__NR_fstat, (uint64_t)descriptor, (uint64_t)status, 0, 0, 0);
}

/* What a descriptor is; 0 if that has to be learnt first. */
static __attribute__((noinline)) int describe(int descriptor, struct pp_spot *spot)
{
    struct stat status;

    spot->mount = NULL;
    if (get_status(descriptor, &status) < 0 || !may_be_view(&status))
        return 1;
    return pp_identity_find(&status, spot);
}

static const struct pp_snapshot *snapshot_of(const struct pp_spot *spot)
{
    return __atomic_load_n(&spot->mount->snapshot, __ATOMIC_ACQUIRE);
}

/* Where a path leads. A relative one starts at `spot`. */
static inline __attribute__((always_inline)) enum way locate(uint64_t address, struct pp_spot *spot)
{
    const char *path = (const char *)address;
    size_t start = 0, length = 0;

    if (!address || (pp_is_address(address) && !path[0]))
        return WAY_UNKNOWN; /* some calls take nothing for the descriptor's file */
    if (!pp_is_address(address))
        return WAY_REAL;
    if (path[0] == '/') {
        spot->mount = pp_mounts_match(pp_shim.space.mounts, path, &start);
        if (!spot->mount)
            return is_covering() || is_devious(path) ? WAY_UNKNOWN : WAY_REAL;
    } else if (!spot->mount) {
        return is_covering() ? WAY_UNKNOWN : WAY_REAL;
    }
    const struct pp_snapshot *snapshot = snapshot_of(spot);
    if (!snapshot || (snapshot->covered && *snapshot->covered))
        return WAY_UNKNOWN;
    if (path[0] == '/')
        pp_find_root(snapshot, &spot->found);
    path += start;
    while (path[length])
        if (++length == PP_PATH_MAX - 256)
            return WAY_UNKNOWN;
    const int outcome = pp_find(snapshot, &spot->found, path, length, &spot->found);
    if (outcome == PP_FOUND)
        return WAY_FOUND;
    return outcome == PP_ERROR && !(spot->mount->flags & PP_AUTOMOUNT) ? WAY_ABSENT : WAY_UNKNOWN;
}

/* What to do if nothing was found. */
static enum pp_verdict otherwise(enum way way, struct pp_glance *glance)
{
    glance->value = -ENOENT;
    if (way == WAY_ABSENT)
        return PP_DONE;
    return way == WAY_REAL ? PP_NATIVE : PP_UNKNOWN;
}

/* A symlink at the end that is to be followed takes a walk. */
static int is_followed(const struct pp_spot *spot, int nofollow)
{
    return !nofollow && type_of(spot->found.record) == PP_TYPE_SYMLINK;
}

static __attribute__((noinline)) enum pp_verdict
look_stat(uint64_t path, int nofollow, uint64_t output, struct pp_glance *glance)
{
    struct pp_spot *spot = &glance->spot;
    const enum way way = locate(path, spot);

    if (way != WAY_FOUND)
        return otherwise(way, glance);
    if (is_followed(spot, nofollow) || !pp_is_address(output))
        return PP_UNKNOWN;
    glance->value = 0;
    pp_touch(pp_shim.shared, &spot->found, 0);
    pp_fill_stat((struct stat *)output, spot->mount, snapshot_of(spot), spot->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict look_fstat(int descriptor, uint64_t output,
                                                            struct pp_glance *glance)
{
    struct pp_spot *spot = &glance->spot;
    struct stat *status = (struct stat *)output;

    glance->value = get_status(descriptor, status);
    if (glance->value < 0 || !may_be_view(status))
        return PP_DONE;
    if (!pp_identity_find(status, spot)) {
        glance->learn = descriptor;
        return PP_UNKNOWN;
    }
    if (spot->mount)
        pp_fill_stat(status, spot->mount, snapshot_of(spot), spot->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict look_statx(const uint64_t *args,
                                                            struct pp_glance *glance)
{
    struct pp_spot *spot = &glance->spot;
    const uint32_t flags = (uint32_t)args[2];

    if (flags & ~(LOOK_FLAGS | STATX_SYNC_FLAGS) ||
        (flags & STATX_SYNC_FLAGS) == STATX_SYNC_FLAGS || args[3] & STATX_RESERVED)
        return PP_UNKNOWN;
    const enum way way = locate(args[1], spot);
    if (way != WAY_FOUND)
        return otherwise(way, glance);
    if (is_followed(spot, flags & AT_SYMLINK_NOFOLLOW) || !pp_is_address(args[4]))
        return PP_UNKNOWN;
    glance->value = 0;
    pp_touch(pp_shim.shared, &spot->found, 0);
    pp_fill_statx((struct statx *)args[4], spot->mount, snapshot_of(spot), spot->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict
look_access(uint64_t path, uint32_t mode, uint32_t flags, struct pp_glance *glance)
{
    struct pp_spot *spot = &glance->spot;

    if (mode > ACCESS_MODES || flags & ~(AT_SYMLINK_NOFOLLOW | EACCESS_FLAG | AT_EMPTY_PATH))
        return PP_UNKNOWN;
    const enum way way = locate(path, spot);
    if (way != WAY_FOUND)
        return otherwise(way, glance);
    if (is_followed(spot, flags & AT_SYMLINK_NOFOLLOW))
        return PP_UNKNOWN;
    pp_touch(pp_shim.shared, &spot->found, 0);
    glance->value = pp_access(spot->found.record, mode);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict
look_readlink(uint64_t path, uint64_t output, int64_t capacity, struct pp_glance *glance)
{
    struct pp_spot *spot = &glance->spot;

    if (capacity <= 0)
        return PP_UNKNOWN;
    const enum way way = locate(path, spot);
    if (way != WAY_FOUND)
        return otherwise(way, glance);
    const struct pp_record *record = spot->found.record;
    if (record->flags & PP_VARIANT || !pp_is_address(output))
        return PP_UNKNOWN;
    glance->value = -EINVAL;
    if (type_of(record) == PP_TYPE_SYMLINK) {
        glance->value = record->target_length < capacity ? record->target_length : capacity;
        __builtin_memcpy((char *)output, pp_record_target(record), (size_t)glance->value);
    }
    pp_touch(pp_shim.shared, &spot->found, 0);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict look_entries(const struct pp_entry *entry,
                                                              struct pp_glance *glance)
{
    const uint64_t *args = entry->args;
    struct pp_spot *spot = &glance->spot;

    if (!spot->mount)
        return PP_NATIVE;
    const struct pp_snapshot *snapshot = snapshot_of(spot);
    if (type_of(spot->found.record) != PP_TYPE_DIRECTORY || !pp_is_address(args[1]))
        return PP_UNKNOWN;
    const uint64_t parent_inode = pp_parent_inode(snapshot, spot->found.record);
    if (spot->found.record->flags & PP_NESTED) {
        const struct pp_index *nested = pp_snapshot_find(snapshot, spot->found.hash);
        if (!nested)
            return PP_UNKNOWN;
        spot->found.index = nested;
        spot->found.record = pp_index_root(nested);
    }
    int64_t cursor = pp_gate(__NR_lseek, args[0], 0, 1 /* SEEK_CUR */, 0, 0);
    const int64_t before = cursor;
    glance->value = cursor;
    if (cursor < 0)
        return PP_DONE;
    glance->value =
        pp_list(&spot->found, parent_inode,
                (int)entry->number == __NR_getdents64 ? PP_ENTRIES_64 : PP_ENTRIES_OLD, &cursor,
                (char *)args[1], (uint32_t)args[2]);
    if (cursor != before)
        pp_gate(__NR_lseek, args[0], (uint64_t)cursor, 0 /* SEEK_SET */, 0, 0);
    return PP_DONE;
}

/* The kernel's answer is the view's path: it is made the one that programs see, in its place. */
static __attribute__((noinline)) enum pp_verdict look_getcwd(uint64_t output, uint64_t capacity,
                                                             struct pp_glance *glance)
{
    char *path = (char *)output;
    size_t end;

    const struct pp_namespace *space = &pp_shim.space;
    if (pp_is_address(output) && (glance->value = pp_cwd_path(path, capacity)) > 0)
        return PP_DONE;
    const int64_t size = glance->value = pp_gate(__NR_getcwd, output, capacity, 0, 0, 0);
    if (size == -ERANGE || size == -ENOENT)
        return PP_UNKNOWN;
    if (size <= (int64_t)space->views_length ||
        !pp_is_same(path, space->views, space->views_length))
        return PP_DONE;
    if (!pp_cwd_find(&glance->spot)) { /* once it is known there is no need to ask the kernel */
        glance->learn = AT_FDCWD;
        return PP_UNKNOWN;
    }
    const struct pp_mount *mount = pp_view_named(space, path, &end);
    if (!mount || mount->path_length + (uint64_t)size - end > capacity)
        return PP_UNKNOWN;
    __builtin_memmove(path + mount->path_length, path + end, (uint64_t)size - end);
    __builtin_memcpy(path, mount->path, mount->path_length);
    glance->value = (int64_t)(mount->path_length + (uint64_t)size - end);
    return PP_DONE;
}

/* Open */

/* The path of a view whose path in its mount is as the program gave it; -1 if it does not fit. */
static int write_view(struct pp_note *note, const struct pp_spot *spot, const char *path)
{
    const struct pp_namespace *space = &pp_shim.space;
    size_t length = 0, start;

    pp_mounts_match(space->mounts, path, &start);
    return pp_append(note->path, sizeof note->path, &length, space->views, space->views_length) ||
                   pp_append(note->path, sizeof note->path, &length, "/", 1) ||
                   pp_append(note->path, sizeof note->path, &length, spot->mount->view,
                             spot->mount->view_length) ||
                   pp_append(note->path, sizeof note->path, &length, path + start,
                             pp_length(path + start))
               ? -1
               : 0;
}

/* Records whose views were verified lately, by their addresses. */
static const struct pp_record *verified[VERIFIED];

static const struct pp_record **verified_place(const struct pp_record *record)
{
    return &verified[((uint64_t)record >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

int64_t pp_verify_view(int64_t descriptor, const struct pp_spot *spot, struct stat *status)
{
    const struct pp_record **place = verified_place(spot->found.record);
    const uint32_t type = type_of(spot->found.record);

    if (__atomic_load_n(place, __ATOMIC_RELAXED) == spot->found.record)
        return 0;
    if (get_status((int)descriptor, status) < 0)
        return 0;
    if (type == PP_TYPE_REGULAR &&
        ((int64_t)status->st_mtime != pp_shim.board->mark ||
         (status->st_mode & PP_TYPE_MASK) != PP_TYPE_REGULAR ||
         (uint64_t)status->st_size != spot->found.record->size)) {
        pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
        return -1;
    }
    if (type == PP_TYPE_DIRECTORY || status->st_nlink <= 2)
        pp_identity_keep(status, spot);
    __atomic_store_n(place, spot->found.record, __ATOMIC_RELAXED);
    return 0;
}

/* A relative path leads from one view to the next by itself: they are named as what they are of. */
static __attribute__((noinline)) enum pp_verdict
open_view(int descriptor, uint64_t path, uint32_t flags, struct pp_glance *glance)
{
    const int which = pp_take(pp_shim.wiped->notes, PP_NOTES);
    if (which < 0)
        return PP_UNKNOWN;
    struct pp_note *note = &pp_shim.notes[which];
    const char *given = (const char *)path;
    enum pp_verdict verdict = PP_UNKNOWN;

    if (given[0] != '/' || write_view(note, &glance->spot, given) == 0) {
        const int64_t opened = glance->value =
            pp_gate(__NR_openat, (uint64_t)descriptor,
                    given[0] == '/' ? (uint64_t)note->path : path, flags, 0, 0);
        if (opened >= 0 ? !pp_verify_view(opened, &glance->spot, &note->status)
                        : opened != -ENOENT && opened != -ELOOP && opened != -ENOTDIR)
            verdict = PP_DONE;
    }
    pp_release(&pp_shim.wiped->notes[which]);
    return verdict;
}

static __attribute__((noinline)) enum pp_verdict
look_open(int descriptor, uint64_t path, uint32_t flags, struct pp_glance *glance)
{
    const struct pp_spot *spot = &glance->spot;
    const enum way way = locate(path, &glance->spot);

    if (way == WAY_REAL)
        return PP_NATIVE;
    if (way == WAY_UNKNOWN || flags & ~(uint32_t)PLAIN_OPEN_FLAGS)
        return PP_UNKNOWN;
    glance->value = -ENOENT;
    if (way == WAY_ABSENT)
        return PP_DONE;
    const uint32_t type = type_of(spot->found.record);
    if (type != PP_TYPE_DIRECTORY && (type != PP_TYPE_REGULAR || flags & O_DIRECTORY))
        return PP_UNKNOWN;
    pp_touch(pp_shim.shared, &spot->found, PP_TOUCH_OPENED);
    return open_view(descriptor, path, flags & ~(uint32_t)O_NOCTTY, glance);
}

/* Everything else */

/* A call's second path. */
static __attribute__((noinline)) enum pp_verdict look_second(const struct pp_entry *entry,
                                                             struct pp_glance *glance)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);
    const uint64_t *args = entry->args;
    const int descriptor = spec->descriptor == PP_NONE ? AT_FDCWD : (int)args[spec->result - 1];
    const uint64_t path = args[spec->result];

    if (pp_is_address(path) && *(const char *)path != '/' &&
        (descriptor != AT_FDCWD || !pp_cwd_find(&glance->spot)))
        return PP_UNKNOWN;
    return locate(path, &glance->spot) == WAY_REAL ? PP_NATIVE : PP_UNKNOWN;
}

/* What can only be told not to be ours. */
static __attribute__((noinline)) enum pp_verdict look_other(const struct pp_entry *entry,
                                                            struct pp_glance *glance)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    if (spec->path != PP_NONE && entry->args[spec->path]
            ? locate(entry->args[spec->path], &glance->spot) != WAY_REAL
            : glance->spot.mount != NULL)
        return PP_UNKNOWN;
    return pp_names_two((int)entry->number) ? look_second(entry, glance) : PP_NATIVE;
}

/* Sockets are ours only if they have a path. */
static enum pp_verdict look_socket(const uint64_t *args)
{
    const uint16_t *family = (const uint16_t *)args[1];
    const char *path = (const char *)args[1] + UNIX_PATH_OFFSET;

    if (!pp_is_address(args[1]) || (uint32_t)args[2] <= UNIX_PATH_OFFSET || *family != UNIX_FAMILY ||
        !*path)
        return PP_NATIVE;
    return PP_LEFT;
}

/* Only what lies in a repository by its absolute path is worth a thought. */
static enum pp_verdict look_exec(uint64_t path)
{
    size_t end;

    return pp_is_address(path) && *(const char *)path == '/' &&
                   pp_mounts_match(pp_shim.space.mounts, (const char *)path, &end)
               ? PP_UNKNOWN
               : PP_LEFT;
}

/* What the call starts from, if it is not an absolute path; 0 if that has to be learnt first. */
static int find_start(const struct pp_spec *spec, const struct pp_entry *entry,
                      struct pp_glance *glance)
{
    const uint64_t path = spec->path == PP_NONE ? 0 : entry->args[spec->path];
    const int descriptor =
        spec->descriptor == PP_NONE ? AT_FDCWD : (int)entry->args[spec->descriptor];

    if (spec->path == PP_NONE ? spec->descriptor == PP_NONE
                              : path && (!pp_is_address(path) || *(const char *)path == '/'))
        return 1;
    glance->learn = descriptor;
    if (descriptor == AT_FDCWD ? !pp_cwd_find(&glance->spot)
                               : !describe(descriptor, &glance->spot))
        return 0;
    glance->learn = PP_NOTHING_TO_LEARN;
    return 1;
}

enum pp_verdict pp_look(const struct pp_entry *entry, struct pp_glance *glance)
{
    const uint64_t *args = entry->args;
    const int number = (int)entry->number;

    glance->learn = PP_NOTHING_TO_LEARN;
    const uint32_t generation = __atomic_load_n(&pp_shim.generation, __ATOMIC_ACQUIRE);
    if (!generation || generation != __atomic_load_n(&pp_shim.board->generation, __ATOMIC_RELAXED))
        return PP_UNKNOWN;
    switch (number) { /* those that do not begin with a look at where they start */
    case __NR_fstat:
        return look_fstat((int)args[0], args[1], glance);
    case __NR_newfstatat:
        if ((uint32_t)args[3] & ~(uint32_t)LOOK_FLAGS)
            return PP_UNKNOWN;
        if (args[3] & AT_EMPTY_PATH && pp_is_address(args[1]) && !*(const char *)args[1] &&
            (int)args[0] != AT_FDCWD)
            return look_fstat((int)args[0], args[2], glance);
        break;
    case __NR_getcwd:
        return look_getcwd(args[0], args[1], glance);
    case __NR_bind:
    case __NR_connect:
        glance->value = 0;
        return look_socket(args);
    case __NR_execve: /* a real program is the supervisor's: it has more to look at than we save */
        glance->value = 0;
        return look_exec(args[0]);
    case __NR_execveat:
    case __NR_fanotify_mark:
        glance->value = 0;
        return PP_LEFT;
    }
    if (!find_start(pp_spec_of(number), entry, glance))
        return PP_UNKNOWN;
    switch (number) {
    case __NR_stat:
        return look_stat(args[0], 0, args[1], glance);
    case __NR_lstat:
        return look_stat(args[0], 1, args[1], glance);
    case __NR_newfstatat:
        return look_stat(args[1], args[3] & AT_SYMLINK_NOFOLLOW, args[2], glance);
    case __NR_statx:
        return look_statx(args, glance);
    case __NR_access:
        return look_access(args[0], (uint32_t)args[1], 0, glance);
    case __NR_faccessat:
        return look_access(args[1], (uint32_t)args[2], 0, glance);
    case FACCESSAT2:
        return look_access(args[1], (uint32_t)args[2], (uint32_t)args[3], glance);
    case __NR_readlink:
        return look_readlink(args[0], args[1], (int)args[2], glance);
    case __NR_readlinkat:
        return look_readlink(args[1], args[2], (int)args[3], glance);
    case __NR_getdents:
    case __NR_getdents64:
        return look_entries(entry, glance);
    case __NR_open:
        return look_open(AT_FDCWD, args[0], (uint32_t)args[1], glance);
    case __NR_openat:
        return look_open((int)args[0], args[1], (uint32_t)args[2], glance);
    default:
        return look_other(entry, glance);
    }
}
