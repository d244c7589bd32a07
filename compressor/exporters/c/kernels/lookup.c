/* A function of one value, from its table. */
static void look_up(const int8_t *table, const int8_t *from, size_t count, int8_t *out)
{
    size_t k;
    for (k = 0; k < count; k++)
        out[k] = table[from[k] + 128];
}
