"""Log a Bluetooth heart-rate belt, as reference beside a watch.

    python examples/live_belt.py subject_walk_belt.csv [--seconds 600] [--name Polar]

Any belt with the standard Heart Rate service will do. The log has a line for each notification:
time (of arrival, UTC), heart_rate (bpm) and rr (s; the intervals between the beats since the last
one, with spaces between). `examples/own_recordings.py` reads it. Lines in which the belt has no
contact or no heart rate are left out. Ctrl-C ends it.

Needs bleak and a Bluetooth adapter: pip install "pulsehr[belt]".
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: Heart Rate service and Heart Rate Measurement characteristic, assigned numbers 0x180D and 0x2A37.
SERVICE = "0000180d-0000-1000-8000-00805f9b34fb"
MEASUREMENT = "00002a37-0000-1000-8000-00805f9b34fb"

#: Bits of the flags, the first byte of a notification.
TWO_BYTES, CONTACT, CONTACT_KNOWN, ENERGY, RR = 1, 2, 4, 8, 16

#: RR intervals are counted in this part of a second.
RR_UNIT = 1 / 1024

#: Seconds in which a belt that is worn says that it is there.
SEARCH_SECONDS = 20.0


@dataclass(frozen=True)
class BeltReading:
    """Hold what a notification says.

    Parameters
    ----------
    heart_rate : int
        In bpm; some belts say 0 until they know.
    contact : bool or None
        Whether the belt feels skin; None if it cannot tell.
    energy : int or None
        Kilojoules expended since the last reset, if it says so.
    rr : tuple of float
        RR intervals in seconds, oldest first.
    """

    heart_rate: int
    contact: bool | None = None
    energy: int | None = None
    rr: tuple[float, ...] = ()


def parse_measurement(data):
    """Read a notification of the Heart Rate Measurement characteristic ([1]_).

    Parameters
    ----------
    data : bytes
        Flags, then heart rate (1 or 2 bytes), energy (2 bytes) and RR intervals (2 bytes each), as
        far as the flags say that they are there; little endian.

    Returns
    -------
    BeltReading
        What it says.

    Raises
    ------
    ValueError
        If it is shorter or longer than its flags say.

    References
    ----------
    .. [1] Bluetooth SIG, Heart Rate Service 1.0, section 3.1.
    """
    flags = data[0] if data else 0
    layout = "<B" + ("H" if flags & TWO_BYTES else "B") + ("H" if flags & ENERGY else "")
    least = struct.calcsize(layout)
    n_rr, odd = divmod(len(data) - least, 2)
    if n_rr < 0 or odd or (n_rr and not flags & RR):
        raise ValueError(
            f"heart rate measurement: expected {least} bytes by its flags"
            f"{' and two for each RR interval' if flags & RR else ''}, got {len(data)}: "
            f"{bytes(data).hex(' ') or 'nothing'}"
        )
    _, heart_rate, *more = struct.unpack(f"{layout}{n_rr}H", data)
    return BeltReading(
        heart_rate,
        bool(flags & CONTACT) if flags & CONTACT_KNOWN else None,
        more.pop(0) if flags & ENERGY else None,
        tuple(interval * RR_UNIT for interval in more),
    )


class BeltLog:
    """Write notifications to a table, line by line.

    Parameters
    ----------
    file : text file
        Open for writing.
    """

    def __init__(self, file) -> None:
        self.file = file
        self.writer = csv.writer(file, lineterminator="\n")
        self.n_written = self.n_left_out = 0
        self.writer.writerow(["time", "heart_rate", "rr"])

    def __call__(self, data, now=None):
        """Write a notification that came now, if it holds a heart rate."""
        time = (now or datetime.now(UTC)).isoformat(timespec="microseconds")
        try:
            reading = parse_measurement(data)
        except ValueError as error:
            self.n_left_out += 1
            print(f"{time}  left out: {error}")
            return
        if reading.heart_rate == 0 or reading.contact is False:
            self.n_left_out += 1
            print(f"{time}  no contact, or no heart rate yet")
            return
        rr = " ".join(f"{interval:.4f}" for interval in reading.rr)
        self.writer.writerow([time, reading.heart_rate, rr])
        self.file.flush()  # whatever ends this, the line is there
        self.n_written += 1
        print(f"{time}  {reading.heart_rate} bpm  {rr}")


async def listen(bleak, log, seconds, name):
    """Find a belt, and log it until the seconds are over or it is gone."""

    def is_belt(device, advertised):
        return SERVICE in advertised.service_uuids and name in (device.name or "")

    device = await bleak.BleakScanner.find_device_by_filter(is_belt, timeout=SEARCH_SECONDS)
    if device is None:
        raise SystemExit(
            f"no heart-rate belt{f' called {name}' if name else ''} in {SEARCH_SECONDS:g} s: wear "
            f"it with moist electrodes, and end what else is connected to it"
        )
    gone, failed = asyncio.Event(), []

    def taken(_, data):
        try:
            log(data)
        except OSError as error:  # raised here it would end nothing
            failed.append(error)
            gone.set()

    async with bleak.BleakClient(device, disconnected_callback=lambda _: gone.set()) as client:
        print(f"connected to {device.name}")
        await client.start_notify(MEASUREMENT, taken)
        try:
            await asyncio.wait_for(gone.wait(), seconds)
        except TimeoutError:
            return
    if failed:
        raise SystemExit(f"the log ends here, its last line may be cut: {failed[0]}")
    print("the belt is out of reach: start again, with another file")


def main(output, seconds=None, name=""):
    """Log a belt; return how many lines were written."""
    try:
        import bleak
    except ImportError:
        raise SystemExit('bleak is not installed: pip install "pulsehr[belt]"') from None
    path = Path(output)
    try:
        file = path.open("x", newline="")
    except FileExistsError:
        raise SystemExit(f"{path} is there already: give another name") from None
    log = BeltLog(file)
    try:
        asyncio.run(listen(bleak, log, seconds, name))
    except KeyboardInterrupt:
        print("ended")
    except (bleak.exc.BleakError, OSError) as error:
        raise SystemExit(
            f"Bluetooth does not work here ({error}): it needs an adapter that is switched on, its "
            f"service (BlueZ on Linux) and the right to use it"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # of a full disk, which was told
            file.close()
        if log.n_written == 0:
            path.unlink()
    print(f"{log.n_written} lines in {path}, {log.n_left_out} notifications left out")
    return log.n_written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", help="CSV file to write, such as subject_walk_belt.csv")
    parser.add_argument("--seconds", type=float, help="how long; without, until Ctrl-C")
    parser.add_argument("--name", default="", help="part of the name of the belt, among several")
    main(**vars(parser.parse_args()))
