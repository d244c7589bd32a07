/* sum * multiplier / 2^shift, rounded half up and clipped. No shift is below 33, so that the lower half
 * of a product counts for nothing. */
static int8_t rescale(int32_t sum, int32_t multiplier, unsigned shift, const struct limits *limits)
{
    const int32_t high = (int32_t)((int64_t)sum * multiplier >> 32);
    return clip32((high + ((int32_t)1 << (shift - 33))) >> (shift - 32), limits);
}
