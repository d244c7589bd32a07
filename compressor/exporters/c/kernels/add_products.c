/* The sums of a filter at all places, $columns at once. No sum leaves its lane: it starts at what
 * products with negative weights can take away at most, and spans 16 bits at most, as the exporter
 * proved for every filter. */
${level}NOT_INLINE static void add_products_${wide}_$lanes(const uint16_t *map, const uint16_t *offsets,
                                       const int16_t *values, unsigned weights, uint16_t start,
                                       size_t places, uint16_t *sums)
{
    typedef uint16_t vector __attribute__((vector_size(2 * $wide)));
    size_t x;
    for (x = 0; x < places; x += $columns) {
        unsigned k;
        EACH(vector s# = (vector){0} + start;)
        for (k = 0; k < weights; k++) {
            const uint16_t *const from = map + x + offsets[k];
            const uint16_t value = (uint16_t)values[k];
            EACH(vector at#;)
            EACH(memcpy(&at#, from + $wide * #, sizeof at#);)
            EACH(s# += at# * value;)
        }
        EACH(memcpy(sums + x + $wide * #, &s#, sizeof s#);)
    }
}
