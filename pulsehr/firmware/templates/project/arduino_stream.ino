/*
 * Heart rate from analog sensors: a PPG sensor with an amplifier on A0@arduino_acc@.
 *
 * For sensors with a bus (MAX3010x, MAX86141, LSM6DS, BMA4xx) replace analogRead by the reading of
 * their driver, one sample for each push, at the rates of @prefix@.h.
 * Nothing is read while a heart rate is estimated; the samples that were due are read afterwards,
 * late. A sensor with a FIFO, or a timer that fills a queue, keeps the time.
 */
#include <@prefix@.h>
#include <@prefix@_self_test.h>

static union {
  @prefix@_state state;
  uint32_t self_test[@upper@_SELF_TEST_BYTES / 4 + 1];
} memory;

static unsigned long ppgTime;
@arduino_times@
void setup() {
  Serial.begin(115200);
  int result = @prefix@_self_test(&memory);
  Serial.print("self-test: ");
  Serial.println(result);  // 0: as expected
  @prefix@_init(&memory.state);
  ppgTime = micros();
@arduino_start@}

void loop() {
  int status = @upper@_OK;
@arduino_read_acc@  if ((long)(micros() - ppgTime) >= 0) {
    ppgTime += @upper@_PPG_PERIOD_US;
    int ppg = @prefix@_push_ppg(&memory.state, analogRead(A0));
    status = ppg != @upper@_OK ? ppg : status;
  }
  if (status == @upper@_READY) {
    int32_t bpm_q8;
    if (@prefix@_heart_rate(&memory.state, &bpm_q8) == @upper@_OK) {
      Serial.print(bpm_q8 / 256.0);
      Serial.println(" bpm");
    }
  }
}
