
_Static_assert(offsetof(@prefix@_state, arena) == 0, "a state starts with its arena");
