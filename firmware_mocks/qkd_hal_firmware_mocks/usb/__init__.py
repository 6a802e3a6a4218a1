"""USB without hardware: one firmware object on a virtual bus, or a real kernel by USB/IP."""
