  if ((long)(micros() - accTime) >= 0) {
    accTime += @upper@_ACC_PERIOD_US;
    status = @prefix@_push_acc(&memory.state, acceleration(A1), acceleration(A2), acceleration(A3));
  }
