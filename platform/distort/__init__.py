"""Distort: self-play in which a distorter is paid for what a competitor cannot predict."""
