
/*
 * Tell the standard deviation of the heart rate that was estimated last.
 *
 * memory: what that call worked in: the arena of @prefix@_predict@or_state@.
 *         Not changed.
 * std_q8: the standard deviation in 1/256 bpm@not_tracked@.
 *
 * Returns @upper@_OK, @upper@_ERROR_NULL or @upper@_ERROR_ALIGNMENT; nothing is written on errors.
 */
int @prefix@_std(const void *memory, int32_t *std_q8);
