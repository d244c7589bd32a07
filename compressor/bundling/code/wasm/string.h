/* All of the C library that generated code uses; WebAssembly has none. */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);

/* Copies of a known size become loads and stores. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset

#endif
