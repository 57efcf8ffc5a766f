/* Optional: samples in floating point to the integers of @prefix@_predict. */
#include "@prefix@_quantize.h"

/* more steps than this saturate at any zero point */
#define @upper@_SATURATED @saturated@

static int8_t @prefix@_quantize_sample(float sample)
{
    const float steps = sample / @upper@_INPUT_SCALE;
    const float capped = steps > @upper@_SATURATED    ? @upper@_SATURATED
                         : steps < -@upper@_SATURATED ? -@upper@_SATURATED
                         : steps == steps             ? steps
                                                      : 0.0f;
    int32_t whole = (int32_t)capped;
    const float rest = capped - (float)whole;

    /* rest is exact, capped + 0.5f would not be */
    whole += rest >= 0.5f ? 1 : rest <= -0.5f ? -1 : 0;
    whole += @upper@_INPUT_ZERO_POINT;
    return (int8_t)(whole < INT8_MIN ? INT8_MIN : whole > INT8_MAX ? INT8_MAX : whole);
}

void @prefix@_quantize_window(
    const float window[@upper@_INPUT_BYTES], int8_t quantized[@upper@_INPUT_BYTES])
{
    for (int32_t i = 0; i < @upper@_INPUT_BYTES; ++i) {
        quantized[i] = @prefix@_quantize_sample(window[i]);
    }
}
