#if defined(__GNUC__)
/* Compute it now, instead of once more at every use. */
#define KEEP(pointer) __asm__("" : "+r"(pointer))
#define ALIGNED(pointer) __builtin_assume_aligned(pointer, 4)
#else
#define KEEP(pointer) (void)(pointer)
#define ALIGNED(pointer) (pointer)
#endif
#if defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed sums take a little-endian processor"
#endif

/* Two neighbours$story. */
static uint32_t pair(const uint16_t *at)
{
    uint32_t both;
    memcpy(&both, $at, sizeof both);
    return both;
}

/* A sum, rescaled and clipped; all stays within 32 bits. */
static int8_t level16(uint32_t sum, int32_t multiplier, int32_t constant, unsigned shift, int zero,
                      int least, int most)
{
    int32_t level = ((int32_t)sum * multiplier + constant) >> shift;
    level = level > most ? most : level;
    level = level < least ? least : level;
    return (int8_t)(level + zero);
}
