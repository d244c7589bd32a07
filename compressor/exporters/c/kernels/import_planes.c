/* A row of int8 becomes a row of each plane: without its zero$bits. */
struct $name {
    uint16_t width, channels;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    uint16_t plane;
    $member
};

static void $name(const struct $name *m, const int8_t *from, uint16_t *to)
{
    unsigned channel, k;
    for (channel = 0; channel < m->channels; channel++, from += m->channel, to += m->plane) {
        if (m->column == 1) /* which compilers make vectors of */
            for (k = 0; k < m->width; k++)
                to[k] = $level(from[k]$zero);
        else
            for (k = 0; k < m->width; k++)
                to[k] = $level(from[(size_t)k * m->column]$zero);
    }
}
