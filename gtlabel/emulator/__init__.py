"""AWS's protocol on this machine: moto, with the engine, a trainer and devices behind it."""
