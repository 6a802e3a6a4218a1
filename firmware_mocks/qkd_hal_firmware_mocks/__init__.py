"""The other end of each driver's wire, written from the specification alone."""
