/* One run: where the input, the output and the workspace lie. */
struct run {
    const int8_t *input;
    int8_t *output;
    uint8_t *workspace;
};

/* What a map of integers may hold: its zero, and its bounds. */
struct limits {
    int16_t zero, low, high;
};
