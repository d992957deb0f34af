"""What semcast is measured against: Deep JSCC, and photo codecs over a digital modem."""
