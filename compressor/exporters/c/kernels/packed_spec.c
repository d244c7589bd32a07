struct $name {
    const uint16_t *start; /* where the sums of a filter begin */
    const int32_t *constant; /* bias, rounding and start, times the multiplier */
    const int16_t *multiplier;
    const uint8_t *shift;
    $members
    uint16_t filters, width, rows;
    $share
$bounds};
