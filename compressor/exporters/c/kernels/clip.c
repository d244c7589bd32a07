/* A level in the bounds of its map. */
static int8_t clip(int64_t level, const struct limits *limits)
{
    level += limits->zero;
    if (level < limits->low)
        level = limits->low;
    if (level > limits->high)
        level = limits->high;
    return (int8_t)level;
}
