/* What the shim does, and nothing else: makes the call, compares, and goes back to %r11. */

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY(name, compare)                                                                    \
    void name(void);                                                                            \
    __asm__(".text\n" #name ":\n lock incq count(%rip)\n lea -128(%rsp), %rsp\n push %r11\n"    \
            "syscall\n pop %r11\n lea 128(%rsp), %rsp\n" compare "\n jmp *%r11\n");
__attribute__((visibility("hidden"))) long count;
ENTRY(enter0, "cmp $-4095, %rax")
ENTRY(enter1, "cmp $-4096, %rax")
ENTRY(enter2, "cmp $0xfffff001, %eax")
ENTRY(enter3, "cmp $0xfffff000, %eax")

__attribute__((constructor)) static void begin(void)
{
    void (*entries[4])(void) = {enter0, enter1, enter2, enter3};
    for (struct link_map *each = _r_debug.r_map; each; each = each->l_next)
        if (strstr(each->l_name, "/libc.so.6"))
            memcpy((void *)(each->l_addr + atol(getenv("SLOTS"))), entries, sizeof entries);
}

__attribute__((destructor)) static void end(void)
{
    const char *name = getenv("TELL");
    FILE *file = name ? fopen(name, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", count);
        fclose(file);
    }
}
