static void add_products_${wide}_$lanes(const uint16_t *map, const uint16_t *offsets,
                                const int16_t *values, unsigned weights, uint16_t start,
                                size_t places, uint16_t *sums)
{
    size_t x;
    for (x = 0; x < places; x++)
        sums[x] = start;
    for (; weights > 0; weights--, offsets++, values++)
        for (x = 0; x < places; x++)
            sums[x] = (uint16_t)(sums[x] + (uint32_t)map[x + *offsets] * (uint16_t)*values);
}
