/* Two rows, value by value; a row of one pixel or of one value is the same everywhere. */
struct pairs {
    uint16_t width, channels;
    uint16_t first_channel, first_column, second_channel, second_column; /* steps */
    int16_t first_zero, second_zero;
    int32_t first, second; /* multipliers; of a product the first only */
    uint8_t shift;
    struct limits limits;
};
