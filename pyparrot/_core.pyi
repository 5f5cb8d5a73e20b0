"""The C core for the type checker. Written by csrc/python/stub.py; do not edit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import Buffer, Self, TypeAlias

_T = TypeVar("_T")

class Struct:
    """A struct, or a pointer to one, or an array of them."""

    def __getitem__(self, index: int, /) -> Self: ...

class Pointer(Generic[_T]):
    """A pointer to anything but structs."""

    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[_T]: ...
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    def __add__(self, number: int, /) -> Pointer[_T]: ...

class Array(Pointer[_T]):
    """An array."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T]: ...

_Memory: TypeAlias = Pointer[Any] | Struct
_Address: TypeAlias = _Memory | bytes
_Text: TypeAlias = Pointer[bytes] | bytes
_Texts: TypeAlias = Pointer[Pointer[bytes]]
_Bytes: TypeAlias = Pointer[int] | bytes
_Integers: TypeAlias = Pointer[int] | Sequence[int]

class PpAttribute(Struct):
    name: Pointer[int]
    value: Pointer[int]
    name_length: int
    value_length: int

class PpAttributes(Struct):
    next: Pointer[int]
    end: Pointer[int]

class PpBuilder(Struct):
    pass

class PpCall(Struct):
    number: int
    args: Array[int]
    space: PpNamespace
    task: PpTask
    value: int
    open_flags: int
    change_count: int
    changes: Array[PpChange]
    asking: PpPlace
    given: Array[Array[bytes]]
    places: Array[PpPlace]
    file: Array[bytes]
    attribute: Array[bytes]
    attribute_fetched: int
    attribute_size: int
    exec: PpExec
    buffer: Array[bytes]
    program: PpProgram

class PpChange(Struct):
    argument: int
    size: int
    data: Pointer[Any]

class PpCopy(Struct):
    device: int
    inode: int
    size: int
    modified: int
    changed: int
    file: Pointer[bytes]

class PpCounters(Struct):
    calls: int
    ran: int
    answered: int
    opened: int
    changed: int
    asked: int

class PpEngine(Struct):
    operations: PpEngineOperations
    space: PpNamespace
    cookie: int
    mark: int
    memory: PpEngineMemory
    hook: PpHook
    state: PpSharedState
    shared: PpSharedUsage
    family: PpFamily
    idle: int
    received: int
    is_short: int

class PpEngineMemory(Struct):
    pass

class PpEngineOperations(Struct):
    pass

class PpEvent(Struct):
    kind: int
    need: int
    library: int
    task: int
    text: Pointer[bytes]

class PpExec(Struct):
    shown: Pointer[bytes]
    loader: Pointer[bytes]
    words: int
    size: int
    text: Array[bytes]
    checks_first: int
    error: int
    checked_size: int
    checked: Array[bytes]

class PpFamily(Struct):
    frontend: int
    monitor: int
    command: int
    reaper: PpReaper

class PpFileIdentity(Struct):
    device: int
    inode: int
    changed: int

class PpFound(Struct):
    index: PpIndex
    record: PpRecord
    hash: int

class PpHook(Struct):
    received: Pointer[Any]
    opened: Pointer[Any]

class PpIdentity(Struct):
    device: int
    inode: int
    size: int
    modified: int
    changed: int

class PpImage(Struct):
    identity: PpIdentity
    mode: int
    kind: int
    size: int
    text: Array[bytes]

class PpIndex(Struct):
    header: PpIndexHeader
    table: PpSlot
    records: Pointer[int]
    extras: Pointer[int]
    mask: int
    records_size: int
    touched: Pointer[int]

class PpIndexHeader(Struct):
    magic: int
    version: int
    header_size: int
    file_size: int
    root_hash: int
    table_offset: int
    table_mask: int
    records_offset: int
    records_size: int
    extras_offset: int
    extras_size: int
    entries: int
    revision: int
    ttl: int
    handle_size: int
    padding: Array[int]

class PpLinker(Struct):
    image: PpLinkerImage
    file: Pointer[bytes]

class PpLinkerImage(Struct):
    magic: Array[bytes]
    memory: int
    memory_size: int
    base: int
    bootstrap: int
    room: int
    cookie: int
    pages: int
    pages_size: int
    pages_copy: int
    sites_count: int
    sites: Array[PpLinkerSite]

class PpLinkerSite(Struct):
    address: int
    length: int
    stub: int
    behind: int
    original: Array[int]
    detour: Array[int]
    bootstrap: Array[int]

class PpListing(Struct):
    rows: PpRow
    row_count: int
    texts: Pointer[bytes]
    texts_size: int
    handle: Pointer[int]
    handle_size: int
    root: Array[int]
    root_hash: int
    revision: int
    ttl: int

class PpMount(Struct):
    device: int
    blocks: int
    number: int
    flags: int
    path_length: int
    view_length: int
    environment: int
    path: Array[bytes]

class PpMountSlot(Struct):
    hash: int
    entry: int

class PpMounted(Struct):
    hash: int
    index: PpIndex

class PpMounts(Struct):
    offset: int
    mask: int
    depth: int
    negatives: int
    slots: Array[PpMountSlot]

class PpNamespace(Struct):
    mounts: PpMounts
    snapshots: PpSnapshots
    views: Pointer[bytes]
    views_length: int
    mark: int

class PpNegativeEntry(Struct):
    hash: int
    until: int

class PpNegatives(Struct):
    entries: Array[PpNegativeEntry]

class PpNotify(Struct):
    engine: PpEngine
    listener: int
    workers: int

class PpPlace(Struct):
    where: int
    error: int
    need: int
    passed: int
    mount: PpMount
    walk: PpWalk
    path: Array[bytes]

class PpProgram(Struct):
    image: PpImage
    other: PpImage
    copy: Array[bytes]
    interpreter: Array[bytes]

class PpReaper(Struct):
    number: int
    asked: int
    to_frontend: int

class PpRecord(Struct):
    parent_hash: int
    inode: int
    size: int
    mtime: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    nlink: int
    parent: int
    first_child: int
    children: int
    extra: int
    handle_size: int
    xattr_size: int
    flags: int
    name_length: int
    target_length: int
    padding: Array[int]
    text: Array[bytes]

class PpRow(Struct):
    key: Array[int]
    parent: Array[int]
    size: int
    mtime: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    nlink: int
    link_group: int
    handle_size: int
    xattr_size: int
    flags: int
    name_length: int
    target_length: int
    padding: int

class PpSharedCatalog(Struct):
    next: int
    mount: int
    root_hash: int
    touched: int
    file: int
    path: int
    identity: PpFileIdentity

class PpSharedState(Struct):
    magic: Array[bytes]
    cookie: int
    mark: int
    views_device: int
    filters: int
    flags: int
    generation: int
    directories: int
    table: int
    catalogs: int
    shared: int
    views: int
    views_length: int
    used: int
    words: int
    monitor: int
    owner: int
    shared_identity: PpFileIdentity

class PpSharedUsage(Struct):
    order: int
    pipes: int
    padding: Array[int]
    answered: int
    ran: int
    left: int
    padding_too: Array[int]
    programs: Array[int]
    words: Array[int]

class PpSlot(Struct):
    tag: int
    record: int

class PpSnapshot(Struct):
    root: PpIndex
    mounted: PpMounted
    mask: int
    mountpoint: Pointer[bytes]
    mountpoint_length: int
    environment: Pointer[Pointer[bytes]]
    covered: Pointer[int]

class PpSnapshots(Struct):
    count: int
    of: Array[PpSnapshot]

class PpStart(Struct):
    task: int
    address: int
    calls: int
    stage: int
    linker: int
    site: int
    base: int

class PpSubstitution(Struct):
    hook: PpHook
    state: int
    tells: int
    filters: int
    copies_count: int
    linkers_count: int
    linkers_told: int
    copies: Array[PpCopy]
    linkers: Array[PpLinker]
    starts: Array[PpStart]

class PpTask(Struct):
    pass

class PpWalk(Struct):
    snapshot: PpSnapshot
    flags: int
    links: int
    error: int
    at_last: int
    path_length: int
    index: PpIndex
    record: PpRecord
    hash: int
    path: Array[bytes]
    rest: Array[bytes]

class PpWitness(Struct):
    thread: int
    count: int
    ring: Array[PpWitnessed]

class PpWitnessed(Struct):
    time: int
    number: int

class PpWorker(Struct):
    pass

class _Lib:
    PP_ASK: Final[int]
    PP_AUTOMOUNT: Final[int]
    PP_BLOCK_SIZE: Final[int]
    PP_BUFFER_SIZE: Final[int]
    PP_BUILD_CLASH: Final[int]
    PP_BUILD_DUPLICATE: Final[int]
    PP_BUILD_LOOP: Final[int]
    PP_BUILD_MEMORY: Final[int]
    PP_BUILD_NAME: Final[int]
    PP_BUILD_NO_ROOT: Final[int]
    PP_BUILD_NUMBER: Final[int]
    PP_BUILD_OK: Final[int]
    PP_BUILD_SIZE: Final[int]
    PP_BUILD_TARGET: Final[int]
    PP_BUILD_TYPE: Final[int]
    PP_CHANGE: Final[int]
    PP_COPIES_MAX: Final[int]
    PP_DAMAGED: Final[int]
    PP_ERROR: Final[int]
    PP_EVENT_END: Final[int]
    PP_EVENT_LIBRARY: Final[int]
    PP_EVENT_LINKER: Final[int]
    PP_EVENT_LOG: Final[int]
    PP_EVENT_NEED: Final[int]
    PP_EVENT_NONE: Final[int]
    PP_EVENT_SPARE: Final[int]
    PP_EXEC: Final[int]
    PP_FAILED: Final[int]
    PP_FOUND: Final[int]
    PP_HASH_ROOT: Final[int]
    PP_HIDDEN: Final[int]
    PP_HOOK_ENDED: Final[int]
    PP_HOOK_PASSED: Final[int]
    PP_IMAGE_INTERPRETED: Final[int]
    PP_IMAGE_OTHER: Final[int]
    PP_IMAGE_SCRIPT: Final[int]
    PP_JOINED: Final[int]
    PP_LINKERS_MAX: Final[int]
    PP_LINKER_BOOTSTRAP_MAX: Final[int]
    PP_LINKER_FAILED_MODE: Final[int]
    PP_LINKER_LIBC_MODE: Final[int]
    PP_LINKER_MAGIC: Final[Pointer[bytes]]
    PP_LINKER_PAGE: Final[int]
    PP_LINKER_SITES_MAX: Final[int]
    PP_LINKS_MAX: Final[int]
    PP_MISSING: Final[int]
    PP_MOVED: Final[int]
    PP_NAME_MAX: Final[int]
    PP_NEEDS_CATALOG: Final[int]
    PP_NEEDS_MOUNT: Final[int]
    PP_NEEDS_NOTHING: Final[int]
    PP_NEEDS_PROGRAM: Final[int]
    PP_NEEDS_VIEW: Final[int]
    PP_NEEDS_XATTR: Final[int]
    PP_NEED_CATALOG: Final[int]
    PP_NEGATIVE_SETS: Final[int]
    PP_NEGATIVE_WAYS: Final[int]
    PP_NESTED: Final[int]
    PP_NOFOLLOW: Final[int]
    PP_OPEN: Final[int]
    PP_OUTSIDE: Final[int]
    PP_PATH_MAX: Final[int]
    PP_PROGRAMS: Final[int]
    PP_PROGRAM_SUFFIX: Final[Pointer[bytes]]
    PP_REAL: Final[int]
    PP_RETURN: Final[int]
    PP_RUN: Final[int]
    PP_SCRIPTS_MAX: Final[int]
    PP_SHARED_COUNTS: Final[int]
    PP_SHARED_CWD_APART: Final[int]
    PP_SHARED_SHADOWS: Final[int]
    PP_SHARED_STATE_MAGIC: Final[Pointer[bytes]]
    PP_SHARED_STATE_MODE: Final[int]
    PP_SHARED_STATE_PATH: Final[Pointer[bytes]]
    PP_SHARED_STATE_SIZE: Final[int]
    PP_SHARED_USAGE_SIZE: Final[int]
    PP_SHEBANG_MAX: Final[int]
    PP_STARTS: Final[int]
    PP_TARGET_MAX: Final[int]
    PP_TOUCH_OPENED: Final[int]
    PP_TOUCH_UNIT: Final[int]
    PP_VARIANT: Final[int]
    PP_VIRTUAL: Final[int]
    PP_WANT_PATH: Final[int]
    PP_WITNESSED: Final[int]
    PP_WORKERS_MAX: Final[int]
    pp_become_subreaper: Callable[[], int]
    pp_behind_state: Callable[[_Text, int], int]
    pp_builder_fill: Callable[[PpBuilder, _Address], int]
    pp_builder_free: Callable[[PpBuilder], None]
    pp_builder_new: Callable[[PpListing], PpBuilder]
    pp_builder_plan: Callable[[PpBuilder, _Integers], int]
    pp_builder_size: Callable[[PpBuilder], int]
    pp_chunk_cut: Callable[[_Bytes, int, int, int, int], int]
    pp_concerns_shim: Callable[[int], int]
    pp_engine_memory_count: Callable[[PpEngineMemory, PpCounters], None]
    pp_engine_memory_held: Callable[[PpEngineMemory], int]
    pp_engine_memory_hold_none: Callable[[PpEngineMemory], None]
    pp_engine_memory_new: Callable[[], PpEngineMemory]
    pp_engine_wait_for_shortage: Callable[[PpEngine], None]
    pp_execute: Callable[[_Text, _Texts, _Texts], int]
    pp_expand: Callable[[_Text, int, _Texts, _Text, int], int]
    pp_filter_install: Callable[[int, int], int]
    pp_find: Callable[[PpSnapshot, PpFound, _Text, int, PpFound], int]
    pp_find_root: Callable[[PpSnapshot, PpFound], None]
    pp_has_fine_times: Callable[[int], int]
    pp_has_zero: Callable[[int], int]
    pp_index_attributes: Callable[[PpIndex, PpRecord], PpAttributes]
    pp_index_extra: Callable[[PpIndex, PpRecord, _Integers], Pointer[int]]
    pp_index_handle: Callable[[PpIndex, _Integers], Pointer[int]]
    pp_index_next: Callable[[PpIndex, PpRecord], PpRecord]
    pp_index_offset: Callable[[PpIndex, PpRecord], int]
    pp_index_open: Callable[[PpIndex, _Address, int], int]
    pp_index_record: Callable[[PpIndex, int], PpRecord]
    pp_index_root: Callable[[PpIndex], PpRecord]
    pp_index_touched: Callable[[PpIndex, _Integers, int, _Integers], PpRecord]
    pp_is_look_up: Callable[[int], int]
    pp_is_name: Callable[[_Text, int], int]
    pp_is_trapped: Callable[[int], int]
    pp_mount_at: Callable[[PpMounts, int], PpMount]
    pp_mount_by_offset: Callable[[PpMounts, int], PpMount]
    pp_mount_snapshot: Callable[[PpNamespace, PpMount], PpSnapshot]
    pp_mount_view: Callable[[PpMount], Pointer[bytes]]
    pp_mounts_covered: Callable[[PpMounts, int], int]
    pp_mounts_enter: Callable[[PpMounts, int, int, int], int]
    pp_mounts_is_negative: Callable[[PpMounts, int, int], int]
    pp_mounts_match: Callable[[PpMounts, _Text, _Integers], PpMount]
    pp_mounts_mount: Callable[[PpMounts, int], int]
    pp_mounts_open: Callable[[_Address, int, int], PpMounts]
    pp_negatives_add: Callable[[PpNegatives, int, int], None]
    pp_next_attribute: Callable[[PpAttributes, PpAttribute], int]
    pp_notify_prepare: Callable[[PpNotify], None]
    pp_notify_probe: Callable[[int, _Texts], int]
    pp_notify_under_way: Callable[[PpNotify], int]
    pp_notify_worker_new: Callable[[PpNotify], PpWorker]
    pp_numbers_end: Callable[[], int]
    pp_path_hash: Callable[[int, _Text, int], int]
    pp_reaper_find: Callable[[PpReaper], None]
    pp_reaper_new: Callable[[int], PpReaper]
    pp_record_size: Callable[[PpRecord], int]
    pp_record_target: Callable[[PpRecord], Pointer[bytes]]
    pp_record_units: Callable[[PpRecord], int]
    pp_remote_number: Callable[[PpTask], int]
    pp_resolve: Callable[[PpPlace, PpNamespace, PpTask, int, _Text, int], None]
    pp_share_heap: Callable[[], None]
    pp_shared_state_moved: Callable[[PpSharedState], None]
    pp_shared_state_set: Callable[[PpSharedState, int], None]
    pp_shown: Callable[[PpNamespace, _Text, _Text, int], int]
    pp_snapshot_copy: Callable[[PpSnapshot, PpSnapshot, PpMounted, int], int]
    pp_snapshot_find: Callable[[PpSnapshot, int], PpIndex]
    pp_snapshot_has_room: Callable[[PpSnapshot], int]
    pp_snapshot_mount: Callable[[PpSnapshot, PpIndex], int]
    pp_substitution_register: Callable[[PpSubstitution, PpEngine], None]
    pp_touch_word: Callable[[PpIndex, PpRecord], int]
    pp_tracer_start: Callable[[PpEngineMemory, int, int, _Integers], int]
    pp_view_match: Callable[[PpNamespace, _Text, _Integers], PpMount]
    pp_view_named: Callable[[PpNamespace, _Text, _Integers], PpMount]
    pp_view_of: Callable[[PpNamespace, PpMount, _Text, int, _Text, int], int]
    pp_walk: Callable[[PpWalk, _Text, int], int]
    pp_walk_enter: Callable[[PpWalk], int]
    pp_witness_new: Callable[[], PpWitness]
    pp_witness_signals: Callable[[PpWitness], None]
    pp_worker_call: Callable[[PpWorker], PpCall]
    pp_worker_refuse: Callable[[PpWorker, int], None]
    pp_worker_rest: Callable[[PpWorker], None]
    pp_worker_serve: Callable[[PpWorker], PpEvent]
    syncfs: Callable[[int], int]

class _View(Buffer):
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...
    def __setitem__(self, index: slice, value: bytes, /) -> None: ...

class _Ffi:
    """As much of cffi.FFI as is used. Memory that is not cffi's own is untyped: `cast`."""

    NULL: Any
    errno: int
    error: type[Exception]
    @overload
    def new(self, cdecl: Literal["struct pp_attribute *", "struct pp_attribute[]"], init: Any = ...) -> PpAttribute: ...
    @overload
    def new(self, cdecl: Literal["struct pp_attributes *", "struct pp_attributes[]"], init: Any = ...) -> PpAttributes: ...
    @overload
    def new(self, cdecl: Literal["struct pp_call *", "struct pp_call[]"], init: Any = ...) -> PpCall: ...
    @overload
    def new(self, cdecl: Literal["struct pp_change *", "struct pp_change[]"], init: Any = ...) -> PpChange: ...
    @overload
    def new(self, cdecl: Literal["struct pp_copy *", "struct pp_copy[]"], init: Any = ...) -> PpCopy: ...
    @overload
    def new(self, cdecl: Literal["struct pp_counters *", "struct pp_counters[]"], init: Any = ...) -> PpCounters: ...
    @overload
    def new(self, cdecl: Literal["struct pp_engine *", "struct pp_engine[]"], init: Any = ...) -> PpEngine: ...
    @overload
    def new(self, cdecl: Literal["struct pp_event *", "struct pp_event[]"], init: Any = ...) -> PpEvent: ...
    @overload
    def new(self, cdecl: Literal["struct pp_exec *", "struct pp_exec[]"], init: Any = ...) -> PpExec: ...
    @overload
    def new(self, cdecl: Literal["struct pp_family *", "struct pp_family[]"], init: Any = ...) -> PpFamily: ...
    @overload
    def new(self, cdecl: Literal["struct pp_file_identity *", "struct pp_file_identity[]"], init: Any = ...) -> PpFileIdentity: ...
    @overload
    def new(self, cdecl: Literal["struct pp_found *", "struct pp_found[]"], init: Any = ...) -> PpFound: ...
    @overload
    def new(self, cdecl: Literal["struct pp_hook *", "struct pp_hook[]"], init: Any = ...) -> PpHook: ...
    @overload
    def new(self, cdecl: Literal["struct pp_identity *", "struct pp_identity[]"], init: Any = ...) -> PpIdentity: ...
    @overload
    def new(self, cdecl: Literal["struct pp_image *", "struct pp_image[]"], init: Any = ...) -> PpImage: ...
    @overload
    def new(self, cdecl: Literal["struct pp_index *", "struct pp_index[]"], init: Any = ...) -> PpIndex: ...
    @overload
    def new(self, cdecl: Literal["struct pp_index_header *", "struct pp_index_header[]"], init: Any = ...) -> PpIndexHeader: ...
    @overload
    def new(self, cdecl: Literal["struct pp_linker *", "struct pp_linker[]"], init: Any = ...) -> PpLinker: ...
    @overload
    def new(self, cdecl: Literal["struct pp_linker_image *", "struct pp_linker_image[]"], init: Any = ...) -> PpLinkerImage: ...
    @overload
    def new(self, cdecl: Literal["struct pp_linker_site *", "struct pp_linker_site[]"], init: Any = ...) -> PpLinkerSite: ...
    @overload
    def new(self, cdecl: Literal["struct pp_listing *", "struct pp_listing[]"], init: Any = ...) -> PpListing: ...
    @overload
    def new(self, cdecl: Literal["struct pp_mount *", "struct pp_mount[]"], init: Any = ...) -> PpMount: ...
    @overload
    def new(self, cdecl: Literal["struct pp_mount_slot *", "struct pp_mount_slot[]"], init: Any = ...) -> PpMountSlot: ...
    @overload
    def new(self, cdecl: Literal["struct pp_mounted *", "struct pp_mounted[]"], init: Any = ...) -> PpMounted: ...
    @overload
    def new(self, cdecl: Literal["struct pp_mounts *", "struct pp_mounts[]"], init: Any = ...) -> PpMounts: ...
    @overload
    def new(self, cdecl: Literal["struct pp_namespace *", "struct pp_namespace[]"], init: Any = ...) -> PpNamespace: ...
    @overload
    def new(self, cdecl: Literal["struct pp_negative_entry *", "struct pp_negative_entry[]"], init: Any = ...) -> PpNegativeEntry: ...
    @overload
    def new(self, cdecl: Literal["struct pp_negatives *", "struct pp_negatives[]"], init: Any = ...) -> PpNegatives: ...
    @overload
    def new(self, cdecl: Literal["struct pp_notify *", "struct pp_notify[]"], init: Any = ...) -> PpNotify: ...
    @overload
    def new(self, cdecl: Literal["struct pp_place *", "struct pp_place[]"], init: Any = ...) -> PpPlace: ...
    @overload
    def new(self, cdecl: Literal["struct pp_program *", "struct pp_program[]"], init: Any = ...) -> PpProgram: ...
    @overload
    def new(self, cdecl: Literal["struct pp_reaper *", "struct pp_reaper[]"], init: Any = ...) -> PpReaper: ...
    @overload
    def new(self, cdecl: Literal["struct pp_record *", "struct pp_record[]"], init: Any = ...) -> PpRecord: ...
    @overload
    def new(self, cdecl: Literal["struct pp_row *", "struct pp_row[]"], init: Any = ...) -> PpRow: ...
    @overload
    def new(self, cdecl: Literal["struct pp_shared_catalog *", "struct pp_shared_catalog[]"], init: Any = ...) -> PpSharedCatalog: ...
    @overload
    def new(self, cdecl: Literal["struct pp_shared_state *", "struct pp_shared_state[]"], init: Any = ...) -> PpSharedState: ...
    @overload
    def new(self, cdecl: Literal["struct pp_shared_usage *", "struct pp_shared_usage[]"], init: Any = ...) -> PpSharedUsage: ...
    @overload
    def new(self, cdecl: Literal["struct pp_slot *", "struct pp_slot[]"], init: Any = ...) -> PpSlot: ...
    @overload
    def new(self, cdecl: Literal["struct pp_snapshot *", "struct pp_snapshot[]"], init: Any = ...) -> PpSnapshot: ...
    @overload
    def new(self, cdecl: Literal["struct pp_snapshots *", "struct pp_snapshots[]"], init: Any = ...) -> PpSnapshots: ...
    @overload
    def new(self, cdecl: Literal["struct pp_start *", "struct pp_start[]"], init: Any = ...) -> PpStart: ...
    @overload
    def new(self, cdecl: Literal["struct pp_substitution *", "struct pp_substitution[]"], init: Any = ...) -> PpSubstitution: ...
    @overload
    def new(self, cdecl: Literal["struct pp_walk *", "struct pp_walk[]"], init: Any = ...) -> PpWalk: ...
    @overload
    def new(self, cdecl: Literal["struct pp_witness *", "struct pp_witness[]"], init: Any = ...) -> PpWitness: ...
    @overload
    def new(self, cdecl: Literal["struct pp_witnessed *", "struct pp_witnessed[]"], init: Any = ...) -> PpWitnessed: ...
    @overload
    def new(self, cdecl: Literal["size_t *", "uint32_t *"], init: int = ...) -> Pointer[int]: ...
    @overload
    def new(self, cdecl: Literal["char[]"], init: int | bytes = ...) -> Array[bytes]: ...
    @overload
    def new(self, cdecl: Literal["uint64_t[]"], init: Any = ...) -> Array[int]: ...
    @overload
    def new(self, cdecl: Literal["char *[]"], init: Any = ...) -> Array[Pointer[bytes]]: ...
    @overload
    def new(self, cdecl: Literal["const char **"], init: Any = ...) -> Pointer[Pointer[bytes]]: ...
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    @overload
    def from_buffer(self, buffer: Buffer, /, require_writable: bool = ...) -> Array[bytes]: ...
    @overload
    def from_buffer(self, cdecl: str, buffer: Buffer, /, require_writable: bool = ...) -> Any: ...
    def addressof(self, cdata: _Memory, /, *fields: str | int) -> Any: ...
    def buffer(self, cdata: _Memory, size: int = ...) -> _View: ...
    def cast(self, cdecl: str, value: _Memory | int) -> Any: ...
    def gc(self, cdata: _T, destructor: Callable[[_T], object], size: int = ...) -> _T: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...
    def memmove(self, dest: _Memory | Buffer, src: _Memory | Buffer, n: int) -> None: ...
    def offsetof(self, cdecl: str, /, *fields: str | int) -> int: ...
    def release(self, cdata: _Memory, /) -> None: ...
    def sizeof(self, cdecl: str | _Memory, /) -> int: ...
    def string(self, cdata: Pointer[bytes], maxlen: int = ...) -> bytes: ...
    def typeof(self, cdecl: Any, /) -> Any: ...

ffi: _Ffi
lib: _Lib
