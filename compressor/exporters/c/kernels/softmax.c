/* Softmax over the channels of every pixel; the table holds e^-distance as 15 bits. */
static void softmax(const uint16_t *table, unsigned height, unsigned width, unsigned channels,
                    const int8_t *from, int8_t *out)
{
    unsigned y, x, k;
    for (y = 0; y < height; y++)
        for (x = 0; x < width; x++) {
            const size_t at = (size_t)y * width * channels + x;
            int8_t most = INT8_MIN;
            uint32_t total = 0;
            for (k = 0; k < channels; k++)
                if (from[at + (size_t)k * width] > most)
                    most = from[at + (size_t)k * width];
            for (k = 0; k < channels; k++)
                total += table[most - from[at + (size_t)k * width]];
            for (k = 0; k < channels; k++) {
                const uint32_t power = table[most - from[at + (size_t)k * width]];
                const uint32_t level = (256 * power + total / 2) / total;
                out[at + (size_t)k * width] = (int8_t)((int32_t)(level < 255 ? level : 255) - 128);
            }
        }
}
