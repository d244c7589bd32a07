const unsigned columns = c->width - x < 8 ? c->width - x : 8;
                for (k = 0; k < columns; k++)
                    to[x + k] = (int8_t)(levels[k] + zero);
