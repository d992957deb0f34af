"""A radio station: photos → bursts on the air by any system, and whatever a recording holds → pictures.

::

    photo → system.encode → symbols → header, frame, wave → sound or I/Q          send
    recording → bursts → the header names the system → system.decode → picture    receive

A header holds a number for the system, 16 bits of its fingerprint, k and the SNR that it was designed for; the receiver loads
that system and says so where its own weights are others.
"""

from semcast.station.numbers import NUMBERS, REPLACED, header_of, spacing_of
from semcast.station.receiving import Heard, Station, receive
from semcast.station.sending import Signal, send

__all__ = ["NUMBERS", "REPLACED", "Heard", "Signal", "Station", "header_of", "receive", "send", "spacing_of"]
