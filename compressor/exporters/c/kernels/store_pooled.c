{
                uint32_t below[$lanes];
                (void)${name}_sums(weights, rows + c->rows, c->rows, group + 2 * x, start, below);
                for (k = 0; k < count; k++)
                    *out++ = level16(largest(larger(sums[k], below[k])), multiplier, constant, shift, zero, least, most);
            }
