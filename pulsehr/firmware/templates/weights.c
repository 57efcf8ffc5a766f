/* The layers: shape, weights and multipliers of each. */
#include "@prefix@_weights.h"

@tables@
