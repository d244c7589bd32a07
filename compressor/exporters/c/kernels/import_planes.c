/* A row of int8 becomes a row of each plane: without its zero, and at most 7 bits. */
struct import_planes {
    uint16_t width, channels;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    uint16_t plane;
};

static void import_planes(const struct import_planes *m, const int8_t *from, uint16_t *to)
{
    unsigned channel, k;
    for (channel = 0; channel < m->channels; channel++, from += m->channel, to += m->plane) {
        if (m->column == 1) /* which compilers make vectors of */
            for (k = 0; k < m->width; k++)
                to[k] = seven_bits(from[k]);
        else
            for (k = 0; k < m->width; k++)
                to[k] = seven_bits(from[(size_t)k * m->column]);
    }
}
