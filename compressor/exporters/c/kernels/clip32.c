/* A level in the bounds of its map, within 32 bits. */
static int8_t clip32(int32_t level, const struct limits *limits)
{
    level += limits->zero;
    level = level > limits->high ? limits->high : level;
    level = level < limits->low ? limits->low : level;
    return (int8_t)level;
}
