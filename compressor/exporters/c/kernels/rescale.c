/* sum * multiplier / 2^shift, rounded half up and clipped. */
static int8_t rescale(int32_t sum, int32_t multiplier, unsigned shift, const struct limits *limits)
{
    const int64_t product = (int64_t)sum * multiplier + ((int64_t)1 << (shift - 1));
    return clip(product >> shift, limits);
}
