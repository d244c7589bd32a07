/* A convolution of a whole map whose sums need 32 bits. The weights of a filter are in groups, whose
 * sums fit 16 bits, as the exporter proved for each: those are added to the sums of the filter. */
struct wide_planes {
    add_products *add[3]; /* for each level */
    const uint16_t *groups;  /* how many each filter has */
    const uint16_t *weights; /* how many each group has */
    const uint16_t *offsets; /* of each weight, from a place of the output */
    const int16_t *values;
    const uint16_t *start; /* where the sums of a group begin */
    const int32_t *bias;   /* less the starts of all groups, modulo 2^32 */
    const int32_t *multiplier;
    const uint8_t *shift;
    uint16_t filters, height, width; /* of the output */
    uint16_t pitch, places;          /* of the planes: from row to row; to the last one computed */
    uint32_t totals;                 /* from the sums of a group to those of a filter */
    struct limits limits;
};

INLINE static void convolve_wide_map_with(add_products *add, const struct wide_planes *c,
                                          const uint16_t *map, uint16_t *sums, int8_t *out)
{
    const struct limits limits = c->limits;
    uint32_t *const totals = (uint32_t *)(void *)(sums + c->totals);
    const uint16_t *weights = c->weights, *offsets = c->offsets, *start = c->start;
    const int16_t *values = c->values;
    const size_t places = c->places, row = (size_t)c->filters * c->width;
    size_t x;
    unsigned filter, group, y, k;
    for (filter = 0; filter < c->filters; filter++, out += c->width) {
        const int32_t multiplier = c->multiplier[filter];
        const uint32_t bias = (uint32_t)c->bias[filter];
        const unsigned shift = c->shift[filter];
        for (x = 0; x < places; x += 16)
            AS_LOOP for (k = 0; k < 16; k++)
                totals[x + k] = bias;
        for (group = 0; group < c->groups[filter]; group++) {
            add(map, offsets, values, *weights, *start++, places, sums);
            offsets += *weights;
            values += *weights++;
            for (x = 0; x < places; x += 16)
                AS_LOOP for (k = 0; k < 16; k++)
                    totals[x + k] += sums[x + k];
        }
        for (y = 0; y < c->height; y++)
            for (x = 0; x < c->width; x++)
                out[y * row + x] =
                    rescale((int32_t)totals[y * c->pitch + x], multiplier, shift, &limits);
    }
}
