"""Memory of some boards and chips, from their data sheets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """A chip, or a board with one.

    Parameters
    ----------
    name : str
        As its maker writes it.
    core : str
        And its highest clock.
    flash_kib, ram_kib : int
        Memory for code and constants, and for all else, in units of 1,024 bytes.
    """

    name: str
    core: str
    flash_kib: int
    ram_kib: int


#: The least memory first.
BOARDS = (
    # Nordic, nRF52810 Product Specification, "Memory"
    Board("nRF52810", "Cortex-M4 64 MHz", 192, 24),
    # Microchip, SAM D21 data sheet DS40001882, ATSAMD21G18 (Arduino Zero)
    Board("Arduino Zero (SAMD21G18)", "Cortex-M0+ 48 MHz", 256, 32),
    # Nordic, nRF52832 Product Specification, variant QFAA
    Board("nRF52832", "Cortex-M4F 64 MHz", 512, 64),
    # Analog Devices (Maxim), MAX32660 data sheet
    Board("MAX32660", "Cortex-M4F 96 MHz", 256, 96),
    # ST, STM32F411xE data sheet DS10314
    Board("STM32F411RE (Nucleo)", "Cortex-M4F 100 MHz", 512, 128),
    # ST, STM32L476xx data sheet DS10198
    Board("STM32L476RG (Nucleo)", "Cortex-M4F 80 MHz", 1024, 128),
    # Nordic, nRF52840 Product Specification
    Board("nRF52840", "Cortex-M4F 64 MHz", 1024, 256),
    # Raspberry Pi, RP2040 data sheet; 2 MB of flash are on the board of the Pico
    Board("Raspberry Pi Pico (RP2040)", "Cortex-M0+ 133 MHz", 2048, 264),
    # Ambiq, Apollo3 Blue data sheet
    Board("Apollo3 Blue", "Cortex-M4F 48 MHz", 1024, 384),
    # Espressif, ESP32-C3 data sheet; 4 MB of flash are in the ESP32-C3FH4
    Board("ESP32-C3FH4", "RISC-V 160 MHz", 4096, 400),
)
