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
#if defined(__ARM_FEATURE_SIMD32)
    return larger(both, both >> 16 | both << 16) & 0xffff;
#else
    return (both & 0xffff) > both >> 16 ? both & 0xffff : both >> 16;
#endif
}
