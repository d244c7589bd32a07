/* The rows of a window that lie in a ring, whose next row is `next`: NULL for one outside of the map,
 * or all of zeros. Returns whether there is another. */
struct window {
    uint32_t row; /* values from one to the next */
    uint16_t height, span, rows, dilation, stride, parts;
};

/* How far a ring is filled. */
struct filled {
    uint16_t next, place; /* the next row, and where in the ring it goes */
    uint16_t any;         /* a bit for each place: whether its row has a value that is not zero */
};

static void fill(struct filled *f, unsigned span, unsigned any)
{
    f->any = (uint16_t)((f->any & ~(1u << f->place)) | any << f->place);
    f->next++;
    if (++f->place == span)
        f->place = 0;
}

NOT_INLINE static int window_rows(const struct window *w, const uint16_t *ring,
                                  const struct filled *f, int top, const uint16_t **rows)
{
    int found = 0;
    unsigned part, k;
    for (part = 0; part < w->parts; part++, top += w->stride) {
        int at = top;
        for (k = 0; k < w->rows; k++, at += w->dilation) {
            const uint16_t *row = NULL;
            if (at >= 0 && at < w->height) {
                /* The window lies in the last `span` rows. */
                int place = f->place - (f->next - at);
                if (place < 0)
                    place += w->span;
                if ((f->any >> place & 1) != 0) {
                    row = ring + (size_t)place * w->row;
                    found = 1;
                }
            }
            *rows++ = row;
        }
    }
    return found;
}
