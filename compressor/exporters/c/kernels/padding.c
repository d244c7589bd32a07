/* One row of a padded map; `from` is NULL for a row of padding only. */
struct padding {
    uint16_t width, channels, out_width, out_channels, left, before; /* before: channels */
    int8_t value;
};

static void pad_row(const struct padding *p, const int8_t *from, int8_t *out)
{
    unsigned channel;
    memset(out, p->value, (size_t)p->out_width * p->out_channels);
    if (from == NULL)
        return;
    out += (size_t)p->before * p->out_width + p->left;
    for (channel = 0; channel < p->channels; channel++)
        memcpy(out + (size_t)channel * p->out_width, from + (size_t)channel * p->width, p->width);
}
