 * Push every sample as it comes; when a push returns @upper@_READY, a window is complete, and
 * @prefix@_heart_rate estimates the heart rate at its end:
 *
 *     static @prefix@_state state;
 *
 *     @prefix@_init(&state);
 *     for each sample, as it comes:
 *         status = @example_push@;
 *         if (status == @upper@_READY) {
 *             int32_t bpm_q8;
 *             if (@prefix@_heart_rate(&state, &bpm_q8) == @upper@_OK) { use bpm_q8 / 256 }
 *         }
 *
@units@
 *
 * Time is counted in samples: for n that are lost call
 * @example_skip@.
 * Windows over such a gap have no heart rate (@upper@_ERROR_GAP); those after it have.@or_ahead@
 * Quality is not measured: a heart rate comes for any signal.
