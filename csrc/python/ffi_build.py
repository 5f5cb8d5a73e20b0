"""Describe the C core to cffi (API mode, out of line): the module ``pyparrot._core``."""

from glob import glob

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef("""
    size_t pp_chunk_cut(const uint8_t *data, size_t length,
                        size_t minimum, size_t average, size_t maximum);
    int syncfs(int fd);
    int pp_become_subreaper(void);

    enum { PP_NESTED, PP_VARIANT, PP_CHUNKED, PP_EXTERNAL, PP_HIDDEN, PP_BODY, PP_BIND, ... };

    struct pp_index_header {
        uint64_t root_hash;
        uint64_t entries;
        uint64_t revision;
        uint64_t ttl;
        uint8_t catalog[20];
        uint8_t algorithm;
        ...;
    };
    struct pp_record {
        uint64_t parent_hash;
        uint64_t inode;
        uint64_t size;
        int64_t mtime;
        uint32_t mtime_ns;
        uint32_t mode;
        uint32_t uid;
        uint32_t gid;
        uint32_t nlink;
        uint32_t parent;
        uint32_t first_child;
        uint32_t children;
        uint32_t extra;
        uint32_t xattr_size;
        uint16_t flags;
        uint16_t storage;
        uint16_t name_length;
        uint16_t target_length;
        uint8_t digest[20];
        char text[];
        ...;
    };
    struct pp_chunk {
        uint64_t offset;
        uint64_t size;
        uint8_t digest[20];
        ...;
    };
    struct pp_index {
        const struct pp_index_header *header;
        uint64_t records_size;
        uint32_t *touched;
        ...;
    };
    int pp_index_open(struct pp_index *index, const void *base, size_t size);
    const struct pp_record *pp_index_record(const struct pp_index *index, uint64_t offset);
    const struct pp_record *pp_index_root(const struct pp_index *index);
    #define PP_TOUCH_UNIT ...
    const struct pp_record *pp_index_touched(const struct pp_index *index, const uint32_t *words,
                                             uint64_t offset, uint32_t *word);
    uint32_t pp_index_offset(const struct pp_index *index, const struct pp_record *record);
    const struct pp_record *pp_index_next(const struct pp_index *index,
                                          const struct pp_record *record);
    const uint8_t *pp_index_extra(const struct pp_index *index, const struct pp_record *record,
                                  size_t *size);

    #define PP_HASH_ROOT ...
    #define PP_PATH_MAX ...
    struct pp_mounted { uint64_t hash; ...; };
    struct pp_snapshot {
        const struct pp_index *root;
        struct pp_mounted *mounted;
        uint64_t mask;
        const char *mountpoint;
        uint64_t mountpoint_length;
        const char *const *environment;
        const uint64_t *covered;
    };
    enum { PP_NOFOLLOW, PP_WANT_PATH, ... };
    enum { PP_FOUND, PP_ERROR, PP_OUTSIDE, PP_NEED_CATALOG, PP_DAMAGED, ... };
    struct pp_walk {
        const struct pp_snapshot *snapshot;
        uint32_t flags;
        uint32_t links;
        int32_t error;
        uint32_t path_length;
        const struct pp_index *index;
        const struct pp_record *record;
        uint64_t hash;
        char path[...];
        ...;
    };
    int pp_walk(struct pp_walk *walk, const char *path, size_t length);
    int pp_walk_enter(struct pp_walk *walk);
    uint64_t pp_path_hash(uint64_t start, const char *path, size_t length);
    int pp_snapshot_mount(struct pp_snapshot *snapshot, const struct pp_index *index);
    const struct pp_index *pp_snapshot_find(const struct pp_snapshot *snapshot, uint64_t hash);
    int pp_snapshot_has_room(const struct pp_snapshot *snapshot);
    int pp_snapshot_copy(struct pp_snapshot *copy, const struct pp_snapshot *snapshot,
                         struct pp_mounted *table, uint64_t capacity);
    size_t pp_expand(const char *target, size_t length, const char *const *environment,
                     char *output, size_t capacity);

    struct pp_builder;
    struct pp_builder *pp_builder_new(const void *rows, size_t row_count, const char *texts,
                                      size_t texts_size, const void *chunks, size_t chunk_count,
                                      const int64_t root[2], uint64_t root_hash);
    int pp_builder_plan(struct pp_builder *builder, size_t *bad_row);
    size_t pp_builder_size(const struct pp_builder *builder);
    int pp_builder_fill(const struct pp_builder *builder, void *output, const uint8_t catalog[20],
                        uint8_t algorithm, uint64_t revision, uint64_t ttl);
    void pp_builder_free(struct pp_builder *builder);
""")

ffibuilder.cdef("""
    enum { PP_AUTOMOUNT, ... };
    struct pp_mount {
        uint64_t device;
        uint64_t blocks;
        uint32_t number;
        uint32_t flags;
        uint32_t path_length;
        uint32_t view_length;
        uint32_t environment;
        char path[];
    };
    struct pp_mount_slot {
        uint64_t hash;
        uint32_t mount;
        uint32_t covered;
    };
    struct pp_negative_entry { uint64_t hash; int64_t until; };
    struct pp_mounts {
        uint32_t offset;
        uint32_t mask;
        uint32_t depth;
        uint32_t negatives;
        struct pp_mount_slot slots[];
    };
    struct pp_snapshots {
        uint64_t count;
        const struct pp_snapshot *of[];
    };
    struct pp_namespace {
        const struct pp_mounts *mounts;
        const struct pp_snapshots *snapshots;
        const char *views;
        uint64_t views_length;
    };
    const struct pp_mount *pp_mount_at(const struct pp_mounts *mounts, uint64_t slot);
    const struct pp_snapshot *pp_mount_snapshot(const struct pp_namespace *space,
                                                const struct pp_mount *mount);
    const struct pp_mounts *pp_mounts_open(const void *memory, uint64_t size, uint32_t offset);
    const struct pp_mount *pp_mounts_match(const struct pp_mounts *mounts, const char *path,
                                           size_t *end);
    int pp_mounts_is_negative(const struct pp_mounts *mounts, uint64_t hash, int64_t now);
    int64_t pp_shown(const struct pp_namespace *space, const char *path, char *output,
                     size_t capacity);

    enum {
        PP_NEEDS_NOTHING, PP_NEEDS_CATALOG, PP_NEEDS_MOUNT, PP_NEEDS_VIEW, PP_NEEDS_PROGRAM,
        PP_NEEDS_XATTR, PP_NEEDS_PATCHING, PP_NEEDS_TELLING, ...
    };
    struct pp_place {
        const struct pp_mount *mount;
        struct pp_walk walk;
        char path[...];
        ...;
    };
    struct pp_call {
        int number;
        struct pp_place *asking;
        char file[...];
        char text[...];
        int asked;
        int64_t answer;
        char buffer[...];
        ...;
    };
    int pp_is_trapped(int number);

    int pp_filter_install(uint64_t cookie, int wait_killable);

    struct pp_mapping_pool;
    struct pp_mapping_pool *pp_mapping_pool_new(void);
    void pp_mapping_pool_free(struct pp_mapping_pool *mappings);

    enum { PP_SHARED_SHADOWS, PP_SHARED_COUNTS, ... };
    static char *const PP_SHARED_STATE_MAGIC;
    #define PP_SHARED_STATE_SIZE ...
    #define PP_SHARED_USAGE_SIZE ...
    #define PP_TOUCH_OPENED ...
    #define PP_COPIES_MAX ...
    struct pp_shared_catalog {
        uint32_t next;
        uint32_t mount;
        uint64_t root_hash;
        uint64_t touched;
        uint32_t file;
        uint32_t padding;
    };
    struct pp_shared_state {
        char magic[16];
        uint64_t cookie;
        int64_t mark;
        uint64_t views_device;
        uint32_t flags;
        uint32_t generation;
        uint32_t directories;
        uint32_t table;
        uint32_t catalogs;
        uint32_t shared;
        uint32_t views, views_length;
        uint32_t used;
        ...;
    };
    struct pp_shared_usage {
        uint32_t order;
        uint64_t answered;
        uint64_t ran;
        uint64_t left;
        ...;
    };

    struct pp_copy {
        uint64_t device, inode, size;
        int64_t modified, changed;
        const char *file;
    };
    struct pp_substitution {
        int state;
        int tells;
        uint32_t filters;
        uint32_t copies_count;
        struct pp_copy copies[...];
        ...;
    };

    struct pp_counters {
        uint64_t calls;
        uint64_t ran;
        uint64_t answered;
        uint64_t opened;
        uint64_t changed;
        uint64_t asked;
    };
    struct pp_engine {
        int listener;
        const struct pp_namespace *space;
        uint64_t cookie;
        struct pp_mapping_pool *mappings;
        int64_t mark;
        int roots_differ;
        int tasks_differ;
        int idle;
        struct pp_substitution *substitution;
        struct pp_shared_state *state;
        struct pp_shared_usage *shared;
    };
    struct pp_worker;
    struct pp_worker *pp_worker_new(struct pp_engine *engine);
    int pp_worker_serve(struct pp_worker *worker);
    void pp_worker_refuse(struct pp_worker *worker, int error);
    struct pp_call *pp_worker_call(struct pp_worker *worker);
    const struct pp_counters *pp_worker_counters(const struct pp_worker *worker);
    void pp_listener_prepare(int listener);
    int pp_probe(int task, const char **what);
""")

_FOLDERS = ("core", "engine", "libc", "python", "task")
_SOURCES = sorted(source for folder in _FOLDERS for source in glob(f"csrc/{folder}/*.c"))
_HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

ffibuilder.set_source(
    "pyparrot._core",
    """
    #include <sys/prctl.h>
    #include <unistd.h>
    #include "python/chunk.h"
    #include "engine/filter.h"
    #include "python/index_build.h"
    #include "engine/notify.h"
    """,
    sources=_SOURCES,
    include_dirs=["csrc"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
    depends=_HEADERS,
)
