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

/* Both halves, each the larger of two. */
static uint32_t larger(uint32_t first, uint32_t second)
{
#if defined(__ARM_FEATURE_SIMD32)
    __usub16(first, second);
    return __sel(first, second);
#else
    const uint32_t low = (first & 0xffff) > (second & 0xffff) ? first : second;
    const uint32_t high = first >> 16 > second >> 16 ? first : second;
    return (high & UINT32_C(0xffff0000)) | (low & 0xffff);
#endif
}

static uint32_t largest(uint32_t both)
{
    return (both & 0xffff) > both >> 16 ? both & 0xffff : both >> 16;
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
