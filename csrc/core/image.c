/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/image.h"

#include <linux/elf.h>

#include "core/text.h"

#define HEAD_SIZE 1024u /* the headers and the interpreter of nearly every program lie there */
#define HEADERS_MAX 128u

/* A file, of which the beginning was read. */
struct source {
    pp_read_at read;
    const void *file;
    const char *head;
    size_t size;
};

/* Read exactly so many bytes: 0, or -1. */
static int fetch(const struct source *source, uint64_t offset, void *buffer, size_t size)
{
    if (offset <= source->size && size <= source->size - offset) {
        __builtin_memcpy(buffer, source->head + offset, size);
        return 0;
    }
    return source->read(source->file, offset, buffer, size) == (int64_t)size ? 0 : -1;
}

/* The path that a PT_INTERP names: 0, or -1 if it is none. */
static int read_interpreter(struct pp_image *image, const struct source *source,
                            const Elf64_Phdr *segment)
{
    const uint64_t size = segment->p_filesz;

    if (size < 2 || size > PP_PATH_MAX || fetch(source, segment->p_offset, image->text, size) ||
        image->text[size - 1] != 0)
        return -1;
    image->size = (uint32_t)pp_length(image->text);
    return 0;
}

/* Look for the interpreter that an ELF file names: 0 if there is one. */
static int find_interpreter(struct pp_image *image, const struct source *source)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment;

    if (source->size < sizeof header)
        return -1;
    __builtin_memcpy(&header, source->head, sizeof header);
    if (__builtin_memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof segment ||
        header.e_phnum > HEADERS_MAX)
        return -1;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (fetch(source, header.e_phoff + i * sizeof segment, &segment, sizeof segment))
            return -1;
        if (segment.p_type == PT_INTERP)
            return read_interpreter(image, source, &segment);
    }
    return -1;
}

int64_t pp_image_read(struct pp_image *image, pp_read_at read, const void *file)
{
    char head[HEAD_SIZE];

    image->kind = PP_IMAGE_OTHER;
    image->size = 0;
    image->text[0] = 0;
    const int64_t size = read(file, 0, head, sizeof head);
    if (size < 0)
        return size;
    if (size >= 2 && head[0] == '#' && head[1] == '!') {
        image->kind = PP_IMAGE_SCRIPT;
        image->size = size < PP_SHEBANG_MAX ? (uint32_t)size : PP_SHEBANG_MAX;
        __builtin_memcpy(image->text, head, image->size);
        image->text[image->size] = 0;
        return 0;
    }
    const struct source source = {read, file, head, (size_t)size};
    if (find_interpreter(image, &source) == 0)
        image->kind = PP_IMAGE_INTERPRETED;
    return 0;
}
