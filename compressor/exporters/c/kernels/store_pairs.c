for (k = 0; k < columns; k++) {
                $put level16(sums[k] & 0xffff, multiplier, constant, shift, zero, least, most);
                if (2 * (x + k) + 1 < c->width)
                    $put level16(sums[k] >> 16, multiplier, constant, shift, zero, least, most);
            }
