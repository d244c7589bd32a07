struct $name {
    const uint16_t *start; /* where the sums of a filter begin */
    const int32_t *constant; /* bias, rounding and start, times the multiplier */
    const int16_t *multiplier;
    const uint8_t *shift;
    const $offset *offsets;
    const $count *counts; /* weights of each row of each filter */
    const int8_t *values;
    uint16_t filters, width, rows;
    uint16_t share; /* filters that see the same channels */
    uint32_t group; /* from the channels of one share to the next */
    int16_t zero, least, most; /* the bounds without the zero */
};
