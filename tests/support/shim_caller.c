/* Calls four functions of the library argv[1] with its slots (at argv[2]) empty, then filled. */

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* What the shim does: answer -ENOENT or 0 by turns, the same comparison, back to %r11. */
#define ENTRY(name, slot, compare)                                                              \
    void name(void);                                                                            \
    __asm__(".text\n" #name ":\n"                                                               \
            "lea calls(%rip), %rcx\n incq (%rcx)\n"                                             \
            "mov %rax, 8(%rcx)\n mov %rdi, 16(%rcx)\n movq $" #slot ", 24(%rcx)\n"              \
            "testb $1, (%rcx)\n mov $0, %eax\n jz 1f\n mov $-2, %rax\n"                         \
            "1: " compare "\n jmp *%r11\n");
struct { long count, number, path, slot; } calls;
ENTRY(enter0, 0, "cmp $-4095, %rax")
ENTRY(enter1, 1, "cmp $-4096, %rax")
ENTRY(enter2, 2, "cmp $0xfffff001, %eax")
ENTRY(enter3, 3, "cmp $0xfffff000, %eax")

int main(int argc, char **argv)
{
    (void)argc;
    struct link_map *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        return puts(dlerror()), 1;
    void (**slots)(void) = (void *)(library->l_addr + strtoul(argv[2], 0, 0));
    void (*entries[4])(void) = {enter0, enter1, enter2, enter3};
    for (int i = 0; i < 4; i++) {
        char name[] = {'s', 't', 'a', 't', '0' + i, 0};
        int (*ours)(const char *, struct stat *) = dlsym(library, name);
        struct stat status;
        int present = ours("/", &status), absent = ours("/nowhere/at/all", &status);
        printf("%d %d %d", present, S_ISDIR(status.st_mode) ? 1 : 0, absent);
        if (slots[i])
            return 2;
        slots[i] = entries[i];
        const char *path = "/";
        int first = ours(path, &status), second = ours("/nowhere/at/all", &status);
        ours(path, &status);
        printf(" %d %d %ld %ld %ld %d\n", first, second, calls.count, calls.number, calls.slot,
               calls.path == (long)path);
        slots[i] = 0;
    }
    return 0;
}
