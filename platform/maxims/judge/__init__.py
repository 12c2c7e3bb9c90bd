"""The judge: independent of the detector, it says how people's a reply is."""
