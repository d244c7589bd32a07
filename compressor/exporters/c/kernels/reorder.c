/* A map from one order in memory to the other: the steps are those of the map that is read. */
static void reorder(const int8_t *from, unsigned height, unsigned outer, unsigned inner, int8_t *out)
{
    unsigned y, a, b;
    for (y = 0; y < height; y++, from += (size_t)outer * inner)
        for (a = 0; a < outer; a++)
            for (b = 0; b < inner; b++)
                *out++ = from[(size_t)b * outer + a];
}
