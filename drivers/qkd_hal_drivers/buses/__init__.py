"""What is plugged into this machine: USB devices, serial ports, card readers. Opens nothing."""
