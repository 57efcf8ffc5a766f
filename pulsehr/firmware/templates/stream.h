@filter@
/* All that is kept between calls; its fields are no part of the interface. */
typedef struct {
@state@
} @prefix@_state;

/* Start a stream. Returns @upper@_OK or @upper@_ERROR_NULL. */
int @prefix@_init(@prefix@_state *state);

/*
 * Take a sample of the PPG@clause_acc@.
 * Counts of the PPG beyond 24 bits are limited to them.
 *
 * Returns @upper@_READY if a window is complete, @upper@_OK if not@clause_ahead@,
 * @upper@_ERROR_NOT_STARTED or @upper@_ERROR_NULL.
 */
@pushes@

/*
 * Say that samples of the PPG@clause_acc@ are missing:
 * the next n, or none if n is 0 or less.
 *
 * After a gap filters begin as at the start. No heart rate is estimated of a window in which a
 * sample is missing. Windows that end up to five rows before a gap may be complete once it is
 * known: skip its first sample by itself, and estimate, if no heart rate shall be lost.
 *
 * Returns what a push would@clause_far@.
 */
@skips@

/*
 * Estimate the heart rate at the end of the newest complete window, once for each window.
 *
 * bpm_q8: the heart rate in 1/256 bpm: bpm_q8 / 256 are whole bpm; written only if @upper@_OK is
 *         returned.
 *
 * Call it before more than @upper@_SLACK samples (of the windows' rate) of a sensor have come
 * after the window, of which a sensor that is ahead uses up what it is ahead.
 *
 * Returns @upper@_OK, @upper@_ERROR_NULL, @upper@_ERROR_NOT_READY, @upper@_ERROR_LATE or, if samples
 * of the window are missing, @upper@_ERROR_GAP.
 */
int @prefix@_heart_rate(@prefix@_state *state, int32_t *bpm_q8);
