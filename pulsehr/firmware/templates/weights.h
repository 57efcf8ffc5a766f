/* The layers: shape, weights and multipliers of each. */
#ifndef @upper@_WEIGHTS_H
#define @upper@_WEIGHTS_H

#include "@prefix@_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const @prefix@_segment @prefix@_segments[@n_segments@];
@dense_records@

#ifdef __cplusplus
}
#endif

#endif
