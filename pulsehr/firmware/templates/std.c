@starts@
/*
 * The network gives the binary logarithm of the standard deviation. Between 8 powers of each
 * octave lie straight lines, which are at most 0.1 % off.
 */
int @prefix@_std(const void *memory, int32_t *std_q8)
{
    /* 2 ^ (k / 8), in 2^-14 */
    static const uint16_t powers[9] = {@powers@};
    int32_t log2_q8;

    if (memory == NULL || std_q8 == NULL) {
        return @upper@_ERROR_NULL;
    }
    if ((uintptr_t)memory % @upper@_ARENA_ALIGNMENT != 0) {
        return @upper@_ERROR_ALIGNMENT;
    }
    memcpy(&log2_q8, memory, sizeof log2_q8);
    log2_q8 = log2_q8 < @upper@_LOG2_STD_MIN ? @upper@_LOG2_STD_MIN : log2_q8;
    log2_q8 = log2_q8 > @upper@_LOG2_STD_MAX ? @upper@_LOG2_STD_MAX : log2_q8;

    const int32_t place = log2_q8 + 8 * 256; /* from 1/256 bpm on */
    const int32_t octave = place / 256;
    const int32_t below = powers[place % 256 / 32];
    const int32_t above = powers[place % 256 / 32 + 1];
    const int32_t power = below + ((above - below) * (place % 32) + 16) / 32;

    *std_q8 = octave < 14 ? (power + (1 << (13 - octave))) >> (14 - octave)
                          : power * (1 << (octave - 14));
    return @upper@_OK;
}
