/* An integer without its zero, which is the least, and at most 7 bits. */
static uint16_t seven_bits(int value)
{
    value -= INT8_MIN;
    return (uint16_t)(value > 127 ? 127 : value < 0 ? 0 : value);
}
