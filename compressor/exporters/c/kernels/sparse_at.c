/* Fully connected layers of which only weights that are not zero are stored: before each the number
 * of weights that are passed over, and then its value. */
struct sparse_at {
    const uint8_t *next;
    size_t index; /* of the next weight, from the first input of the unit */
};
