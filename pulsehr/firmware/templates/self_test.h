/* Optional: does this build compute here what was computed where the model was exported? */
#ifndef @upper@_SELF_TEST_H
#define @upper@_SELF_TEST_H

#include <stdint.h>

#include "@prefix@.h"

#define @upper@_SELF_TEST_BYTES   @self_test_bytes@ /* of memory, at a multiple of @alignment@ */
#define @upper@_SELF_TEST_WINDOWS @n_windows@ /* its first vectors; heart rates of a stream follow */

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Compare the heart rates of made-up windows@and_stream@ with
 * those expected, bit for bit.
 *
 * memory: @upper@_SELF_TEST_BYTES bytes at a multiple of @alignment@; overwritten.
 *
 * Returns 0, or the number (from 1) of the first vector that differs, or @upper@_ERROR_NULL.
 */
int @prefix@_self_test(void *memory);

/* Make up window `vector` (0 to @upper@_SELF_TEST_WINDOWS - 1): the first are at the rails. */
void @prefix@_self_test_window(int32_t vector, int8_t window[@upper@_INPUT_BYTES]);
@signals@
#ifdef __cplusplus
}
#endif

#endif
