INLINE static void ${name}_with(add_products *add, const struct planes *c, const uint16_t *map,
                                uint16_t *sums, $type *out)
{
    const int ${zeroed}least = $least, most = $most;
    const uint16_t *offsets = c->offsets;
    const int16_t *values = c->values;
    unsigned filter, y, x, k;
    for (filter = 0; filter < c->filters; filter++, out += c->plane) {
        const int32_t multiplier = c->multiplier[filter], constant = c->constant[filter];
        const unsigned shift = c->shift[filter], weights = c->weights[filter];
        const uint16_t *from = sums;
        $type *to = out;
        add(map, offsets, values, weights, c->start[filter], c->places, sums);
        offsets += weights;
        values += weights;
        for (y = 0; y < c->height; y++, from += $pooled * c->pitch, to += c->row) {
            for (x = 0; x < c->width; x += 8) {
                int32_t levels[8];
                $largest(from + $pooled * x, c->pitch, levels);
                AS_LOOP for (k = 0; k < 8; k++) {
                    const int32_t level = (levels[k] * multiplier + constant) >> shift;
                    levels[k] = level > most ? most : level < least ? least : level;
                }
                $store
            }
            $margin
        }
    }
}
