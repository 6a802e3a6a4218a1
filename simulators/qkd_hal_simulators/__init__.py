"""The BB84 optical-modem pair: light source, fibre, detector, Eve and the modem process."""
