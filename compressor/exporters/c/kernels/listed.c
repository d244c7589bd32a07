/* Fully connected layers as lists: of each unit how many fours of weights it has, and of each weight
 * the input that it multiplies, and its value. */
struct listed {
    const uint16_t *fours, *inputs;
    const int8_t *values;
};

static void multiply_listed(struct listed *l, const int8_t *from, unsigned units, int32_t *sums)
{
    for (; units > 0; units--) {
        int32_t sum = 0;
        unsigned left;
        for (left = *l->fours++; left > 0; left--, l->inputs += 4, l->values += 4)
            sum += l->values[0] * from[l->inputs[0]] + l->values[1] * from[l->inputs[1]] +
                   l->values[2] * from[l->inputs[2]] + l->values[3] * from[l->inputs[3]];
        *sums++ += sum;
    }
}
