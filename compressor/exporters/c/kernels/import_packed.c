/* A row of int8 becomes a row of a ring: without its zero, and at most 7 bits.$story
 * Returns 1, or 0 where all of it is zero: such a row is passed over. */
struct import_packed {
    uint16_t width, channels, before, pitch$part;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
};

static uint16_t import_row_packed(const struct import_packed *m, const int8_t *from, uint16_t *to)
{
    const size_t column = m->column, width = m->width;
    uint16_t *row = to + m->before;
    unsigned channel, any = 0;
    for (channel = 0; channel < m->channels; channel++) {
        $declared
        size_t k = 0;
        $fours
        for (; k < width; k++) {
            row[k] = seven_bits(from[k * column]);
            any |= row[k];
            $second
        }
        row += m->pitch;
        from += m->channel;
    }
    $whole
    return (uint16_t)(any != 0);
}
