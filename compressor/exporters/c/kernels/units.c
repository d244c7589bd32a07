/* Scales of units of fully connected layers; the zero of the input is part of the bias. */
struct units {
    const $bias *bias;
    const $multiplier *multiplier;
    $shift_member
    struct limits limits;
};

NOT_INLINE static void finish_sums(const struct units *u, unsigned first, unsigned count,
                                   const int32_t *sums, int8_t *out)
{
    for (; count > 0; count--, first++)
        out[first] = $rescale;
}
