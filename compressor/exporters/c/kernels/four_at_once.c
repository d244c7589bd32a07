#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_UNALIGNED)
/* Four integers of a row become two pairs of the ring, without their zero and at most 7 bits. Returns
 * the same as bytes. */
static uint32_t import_four(const int8_t *from, uint16_t *to)
{
    const uint32_t most = UINT32_C(0x7f7f7f7f);
    uint32_t four, first, second;
    memcpy(&four, from, sizeof four);
    four ^= UINT32_C(0x80808080);
    __usub8(most, four);
    four = __sel(four, most);
    first = (four & 0xff) | (four >> 8 & 0xff) << 16;
    second = (four >> 16 & 0xff) | four >> 24 << 16;
    memcpy(to, &first, sizeof first);
    memcpy(to + 2, &second, sizeof second);
    return four;
}
#endif
