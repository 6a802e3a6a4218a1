"""Drivers: one module or package per family of QKD devices, found by entry point."""
