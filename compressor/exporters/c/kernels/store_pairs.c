for (k = 0; k < count; k++) {
                *out++ = level16(sums[k] & 0xffff, LEVEL_OF(c));
                if (2 * (x + k) + 1 < c->width)
                    *out++ = level16(sums[k] >> 16, LEVEL_OF(c));
            }
