static void add_row(const struct pairs *p, const int8_t *first, const int8_t *second, int8_t *out)
{
    unsigned channel, x;
    for (channel = 0; channel < p->channels; channel++) {
        for (x = 0; x < p->width; x++) {
            const int32_t a = (first[x * p->first_column] - p->first_zero) * p->first;
            const int32_t b = (second[x * p->second_column] - p->second_zero) * p->second;
            *out++ = clip((a + b + ((int32_t)1 << (p->shift - 1))) >> p->shift, &p->limits);
        }
        first += p->first_channel;
        second += p->second_channel;
    }
}
