{
                uint32_t below[$lanes];
                below[0] = start;
                (void)${name}_sums(tap, rows + c->rows, c->rows, ${group}2 * x, below);
                for (k = 0; k < columns; k++)
                    $put level16(largest(larger(sums[k], below[k])), multiplier, constant, shift, zero, least, most);
            }
