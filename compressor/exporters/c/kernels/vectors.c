/* Vectors of 16-bit lanes, as wide as the registers of the processor, which is asked at run time, or,
 * with ONE_LEVEL defined, as the compiler's flags say. */
#if defined(__GNUC__) && defined(__x86_64__)
#define LEVELS
#define FOR_AVX2 __attribute__((target("avx2")))
#define FOR_AVX512 __attribute__((target("avx512bw,avx512vl")))
#if !defined(ONE_LEVEL)
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#define HAS_AVX512 (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
#elif defined(__AVX512BW__) && defined(__AVX512VL__)
#define HAS_AVX2 1
#define HAS_AVX512 1
#elif defined(__AVX2__)
#define HAS_AVX2 1
#define HAS_AVX512 0
#else
#define HAS_AVX2 0
#define HAS_AVX512 0
#endif
#endif
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define AS_LOOP _Pragma("GCC unroll 1") /* which becomes one of vectors; unrolled it does not */
#else
#define AS_LOOP
#endif

#if defined(LEVELS)
#define ADD_PRODUCTS(plain, avx2, avx512) {plain, avx2, avx512}
#else
#define ADD_PRODUCTS(plain, avx2, avx512) {plain}
#endif

typedef void add_products(const uint16_t *map, const uint16_t *offsets, const int16_t *values,
                          unsigned weights, uint16_t start, size_t places, uint16_t *sums);

/* A convolution of a whole map, whose channels lie in planes: 16-bit integers without their zero, row
 * by row, with margins of zeros. */
struct planes {
    add_products *add[3]; /* for each level */
    const uint16_t *weights; /* how many each filter has */
    const uint16_t *offsets; /* of each weight, from a place of the output */
    const int16_t *values;
    const uint16_t *start;   /* where the sums of a filter begin */
    const int32_t *constant; /* bias, rounding and start, times the multiplier */
    const int16_t *multiplier;
    const uint8_t *shift;
    uint16_t filters, height, width; /* of the output */
    uint16_t pitch, places;          /* of the planes: from row to row; to the last one computed */
    uint32_t row, plane;             /* of the output: from row to row, and from filter to filter */
    int16_t zero, least, most;       /* the bounds without the zero */
};
