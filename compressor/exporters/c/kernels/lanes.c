/* Compiled once for each set of instructions, of which the processor's best is taken. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(ONE_LEVEL)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "sse4.1", "default")))
#else
#define CLONES
#endif

#if defined(__GNUC__)
#define ADD_PRODUCT(sum, at, factor) sum += at * factor
#else
#define ADD_PRODUCT(sum, at, factor)                                                       \
    for (size_t lane = 0; lane < sizeof(sum) / 2; lane++)                                  \
        sum.lane[lane] = (uint16_t)(sum.lane[lane] + (uint32_t)at.lane[lane] * factor)
#endif
